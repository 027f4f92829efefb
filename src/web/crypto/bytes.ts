/**
 * Byte strings: joining, comparing, integers, hexadecimal. What does not belong: hashing, CBOR.
 */

/** Bytes in memory of their own, as WebCrypto takes them (never shared with another thread). */
export type Bytes = Uint8Array<ArrayBuffer>

const encoder = new TextEncoder()

/** UTF-8. */
export const utf8 = (text: string): Bytes => new Uint8Array(encoder.encode(text))

/** One after the other. */
export function concat(...parts: readonly Uint8Array[]): Bytes {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    out.set(part, at)
    at += part.length
  }
  return out
}

/** Whether both are the same; takes as long for unequal as for equal bytes of one length. */
export function equal(one: Uint8Array, other: Uint8Array): boolean {
  if (one.length !== other.length) return false
  let difference = 0
  for (let at = 0; at < one.length; at++) difference |= one[at]! ^ other[at]!
  return difference === 0
}

/** Big-endian, 2 bytes. */
export const u16 = (value: number): Bytes => Uint8Array.of(value >>> 8, value & 0xff)

/** Big-endian, 4 bytes. */
export function u32(value: number): Bytes {
  const out = new Uint8Array(4)
  new DataView(out.buffer).setUint32(0, value)
  return out
}

/** Big-endian, 8 bytes. */
export function u64(value: bigint): Bytes {
  const out = new Uint8Array(8)
  new DataView(out.buffer).setBigUint64(0, value)
  return out
}

/** For big-endian reads. */
export const view = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

/** Lower-case hexadecimal. */
export const hex = (bytes: Uint8Array): string => Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join('')

/** From hexadecimal in either case; anything else throws a `RangeError`. */
export function unhex(text: string): Bytes {
  if (!/^(?:[0-9a-fA-F]{2})*$/.test(text)) throw new RangeError('hexadecimal digits in pairs are expected')
  return Uint8Array.from(text.match(/../g) ?? [], pair => Number.parseInt(pair, 16))
}

/** Bytes of the system's randomness. */
export const random = (length: number): Bytes => crypto.getRandomValues(new Uint8Array(length))
