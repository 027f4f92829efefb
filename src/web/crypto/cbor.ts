/**
 * Canonical CBOR (RFC 8949 §4.2.1), the part of it that Peri uses: integers, byte strings, text, arrays, true, false, null.
 *
 * What does not belong: shapes; the modules that own them read field by field. Invariant: a reader accepts the one
 * canonical form only – shortest lengths, nothing indefinite, no tags, maps or floats, nothing behind the value – so that
 * bytes that were read are the bytes that would be written.
 */

import { concat, type Bytes } from './bytes.js'
import { PeriError } from './errors.js'

const UINT = 0
const NINT = 1
const BYTES = 2
const TEXT = 3
const ARRAY = 4

/** What fits unsigned 64 bits. */
const U64_MAX = (1n << 64n) - 1n
const I64_MAX = (1n << 63n) - 1n

/** Reads one value from its first byte to its last. */
export class Reader {
  readonly #bytes: Bytes
  readonly #what: string
  #at = 0

  /** `what` names the value in errors. */
  constructor(what: string, bytes: Uint8Array) {
    this.#what = what
    // A copy: what was checked cannot change under the reader.
    this.#bytes = new Uint8Array(bytes)
  }

  /** Where the next item starts. */
  get at(): number {
    return this.#at
  }

  /** The bytes from `from` to here: the canonical form of what was read between. */
  since(from: number): Bytes {
    return this.#bytes.slice(from, this.#at)
  }

  /** Head of an array of exactly `length` items. */
  array(length: number): void {
    if (this.list(length) !== length) this.fail(`an array of ${length} is expected`)
  }

  /** Head of an array of at most `most` items; gives their number. */
  list(most: number): number {
    const length = this.#head(ARRAY, 'an array')
    if (length > BigInt(most)) this.fail(`an array of at most ${most} is expected`)
    return Number(length)
  }

  /** An unsigned integer of at most `max`. */
  uint(max: bigint): bigint {
    const value = this.#head(UINT, 'an unsigned integer')
    if (value > max) this.fail(`a number of at most ${max} is expected`)
    return value
  }

  /** An unsigned integer of 64 bits. */
  u64(): bigint {
    return this.uint(U64_MAX)
  }

  /** An unsigned integer of `bits` ≤ 32 bits. */
  small(bits: 8 | 16 | 32): number {
    return Number(this.uint((1n << BigInt(bits)) - 1n))
  }

  /** A signed integer of 64 bits. */
  i64(): bigint {
    const negative = this.#major() === NINT
    const value = this.#head(negative ? NINT : UINT, 'an integer')
    if (value > I64_MAX) this.fail('an integer of 64 bits is expected')
    return negative ? -1n - value : value
  }

  /** A byte string of exactly `length` bytes. */
  bytes(length: number): Bytes {
    const out = this.blob(length)
    if (out.length !== length) this.fail(`${length} bytes are expected, found ${out.length}`)
    return out
  }

  /** A byte string of at most `most` bytes. */
  blob(most: number): Bytes {
    return this.#take(BYTES, most, 'a byte string')
  }

  /** A text of at most `most` bytes of UTF-8. */
  text(most: number): string {
    const bytes = this.#take(TEXT, most, 'a text')
    try {
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    } catch {
      return this.fail('the text is not UTF-8')
    }
  }

  /** True or false. */
  bool(): boolean {
    const byte = this.#bytes[this.#at]
    if (byte !== 0xf4 && byte !== 0xf5) this.fail('true or false is expected')
    this.#at++
    return byte === 0xf5
  }

  /** Takes null, if that comes next. */
  null(): boolean {
    if (this.#bytes[this.#at] !== 0xf6) return false
    this.#at++
    return true
  }

  /** Nothing may be left. */
  end(): void {
    if (this.#at !== this.#bytes.length) this.fail('something follows')
  }

  /** Refuses what stands here. */
  fail(why: string): never {
    throw new PeriError('bad_encoding', `${this.#what} is not in canonical form: at byte ${this.#at}, ${why}`)
  }

  #major(): number {
    const byte = this.#bytes[this.#at]
    return byte === undefined ? this.fail('more bytes are expected') : byte >> 5
  }

  #head(major: number, what: string): bigint {
    if (this.#major() !== major) this.fail(`${what} is expected`)
    const low = this.#bytes[this.#at]! & 31
    if (low < 24) {
      this.#at++
      return BigInt(low)
    }
    if (low > 27) this.fail('a definite length is expected')
    const size = 1 << (low - 24)
    const end = this.#at + 1 + size
    if (end > this.#bytes.length) this.fail('more bytes are expected')
    let value = 0n
    for (const byte of this.#bytes.subarray(this.#at + 1, end)) value = (value << 8n) | BigInt(byte)
    // The next shorter form holds values below 2^(8·size/2), the immediate one below 24.
    if (value < (size === 1 ? 24n : 1n << BigInt(size * 4))) this.fail('the number is longer than it must be')
    this.#at = end
    return value
  }

  #take(major: number, most: number, what: string): Bytes {
    const length = this.#head(major, what)
    if (length > BigInt(most)) this.fail(`${what} of at most ${most} bytes is expected`)
    const end = this.#at + Number(length)
    if (end > this.#bytes.length) this.fail('more bytes are expected')
    const out = this.#bytes.slice(this.#at, end)
    this.#at = end
    return out
  }
}

/** Reads a whole value. */
export function decode<T>(what: string, bytes: Uint8Array, read: (reader: Reader) => T): T {
  const reader = new Reader(what, bytes)
  const value = read(reader)
  reader.end()
  return value
}

function head(major: number, value: bigint): Bytes {
  if (value < 24n) return Uint8Array.of((major << 5) | Number(value))
  const size = value < 1n << 8n ? 1 : value < 1n << 16n ? 2 : value < 1n << 32n ? 4 : 8
  const out = new Uint8Array(1 + size)
  out[0] = (major << 5) | (24 + Math.log2(size))
  for (let at = size, left = value; at > 0; at--, left >>= 8n) out[at] = Number(left & 255n)
  return out
}

/** An integer of 64 bits, signed or unsigned. */
export function int(value: bigint | number): Bytes {
  const big = BigInt(value)
  if (big > U64_MAX || big < -I64_MAX - 1n) throw new RangeError(`${big} has more than 64 bits`)
  return big < 0n ? head(NINT, -1n - big) : head(UINT, big)
}

/** A byte string. */
export const bytes = (value: Uint8Array): Bytes => concat(head(BYTES, BigInt(value.length)), value)

/** A text. */
export function text(value: string): Bytes {
  const utf8 = new TextEncoder().encode(value)
  return concat(head(TEXT, BigInt(utf8.length)), utf8)
}

/** An array of encoded items. */
export const array = (...items: readonly Uint8Array[]): Bytes => concat(head(ARRAY, BigInt(items.length)), ...items)

/** True or false. */
export const bool = (value: boolean): Bytes => Uint8Array.of(value ? 0xf5 : 0xf4)

/** Nothing. */
export const nil = (): Bytes => Uint8Array.of(0xf6)
