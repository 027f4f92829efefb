/**
 * Fragments: header, order, opening. Twin of `src/seal/segment.rs` (header, order) and `src/open/fragment.rs`; byte by byte
 * in `compliance/segment-format.md`.
 *
 * What does not belong: files (segment). Invariants: nothing is returned that did not authenticate under K, this epoch's
 * record and its own header, in an order that a sealer makes; a fragment that is refused changes nothing.
 */

import { concat, equal, u32, u64, view, type Bytes } from './bytes.js'
import type { ContentKey } from './content.js'
import { crc32c } from './crc32c.js'
import { demand, PeriError } from './errors.js'
import { recordHash, type EpochRecord } from './record.js'

/** Bytes of a fragment header. */
export const HEADER_LEN = 32
/** Bytes around the ciphertext of a fragment: header, tag, checksum. */
export const OVERHEAD = HEADER_LEN + 16 + 4
/** Most bytes of ciphertext. */
export const FRAGMENT_BYTES_MAX = 8 * 1024 * 1024
/** Most fragments under one K (SP 800-38D §8.3). */
const COUNTERS = 1n << 32n

/** The clear header of a fragment, authenticated as AAD. */
export interface FragmentHeader {
  readonly kind: 'init' | 'media'
  /** Starts with a picture that decodes alone. */
  readonly key: boolean
  /** Nothing follows in this segment. */
  readonly last: boolean
  /** Bytes of ciphertext. */
  readonly length: number
  readonly run: number
  readonly counter: bigint
  /** UTC of the first picture, nanoseconds since 1970. */
  readonly start: bigint
  /** Media time it covers, ticks of 90 kHz. */
  readonly duration90k: number
}

/** An opened fragment. */
export interface Opened {
  readonly header: FragmentHeader
  /** fMP4. */
  readonly payload: Bytes
}

/** Reads the 32 bytes; what no sealer writes is refused. */
export function decodeHeader(bytes: Uint8Array): FragmentHeader {
  const refuse = (why: string): never => {
    throw new PeriError('flipped_bit', `damaged header: ${why}`)
  }
  if (bytes.length < HEADER_LEN) refuse('it is cut')
  const read = view(bytes)
  if (read.getUint16(0) !== 0x5046) refuse('no fragment starts here')
  const [kind, flags] = [bytes[2]!, bytes[3]!]
  if (kind !== 1 && kind !== 2) refuse(`unknown kind ${kind}`)
  if ((flags & ~3) !== 0) refuse(`unknown flags ${flags}`)
  const header: FragmentHeader = {
    kind: kind === 1 ? 'init' : 'media',
    key: (flags & 1) !== 0,
    last: (flags & 2) !== 0,
    length: read.getUint32(4),
    run: read.getUint32(8),
    counter: read.getBigUint64(12),
    start: read.getBigInt64(20),
    duration90k: read.getUint32(28),
  }
  const { length, last } = header
  if (length > FRAGMENT_BYTES_MAX || (length === 0 && !last)) refuse(`${length} bytes are impossible`)
  if (header.run === 0) refuse('runs count from 1')
  if (header.counter >= COUNTERS) refuse('the counter is beyond what one key may seal')
  if (kind === 1 && (flags !== 0 || header.duration90k !== 0)) refuse('an init fragment has no flags and no duration')
  return header
}

/** Where the fragments of one epoch stand, and which one may come next. */
export class Order {
  #next: bigint | undefined
  #run = 0
  #ended = false
  readonly #stream: boolean

  private constructor(next: bigint | undefined, stream: boolean) {
    this.#next = next
    this.#stream = stream
  }

  /** For a file, from the fragment with this counter: counters go on without a gap over all runs. */
  static file(next = 0n): Order {
    return new Order(next, false)
  }

  /** For live viewers: joins anywhere, and a new run may repeat counters that reached viewers but not the disk. */
  static stream(): Order {
    return new Order(undefined, true)
  }

  /** Whether the fragment marked as the last was taken. */
  get ended(): boolean {
    return this.#ended
  }

  /** Takes the next fragment; when refused, the state is unchanged. */
  take(header: FragmentHeader): void {
    const { run, counter, last } = header
    demand(!this.#ended, 'after_last', 'something follows the fragment that is marked as the last')
    demand(run >= this.#run, 'run_back', `run ${run} comes after run ${this.#run}: an older hand-out of the key`)
    const due = this.#stream && run > this.#run ? undefined : this.#next
    if (due !== undefined) {
      demand(counter >= due, 'repeated', `fragment ${counter} comes again or too late, ${due} was due`)
      demand(counter <= due, 'reordered', `fragment ${counter} comes where ${due} was due: missing or reordered`)
    }
    this.#next = counter + 1n
    this.#run = run
    this.#ended = last
  }
}

/** Opens the fragments of one epoch. */
export class FragmentOpener {
  readonly #key: CryptoKey
  readonly #recordHash: Bytes
  readonly #order: Order
  #queue: Promise<unknown> = Promise.resolve()

  private constructor(key: CryptoKey, hash: Bytes, order: Order) {
    this.#key = key
    this.#recordHash = hash
    this.#order = order
  }

  /** For the epoch of this record; refuses a K that the record does not commit to. */
  static async of(key: ContentKey, record: EpochRecord, order: Order): Promise<FragmentOpener> {
    const { epoch, commitK } = record.context
    demand(equal(await key.commit(), commitK), 'wrong_key', `the key in hand is not the one of epoch ${epoch}`)
    const aes = await crypto.subtle.importKey('raw', key.reveal(), 'AES-GCM', false, ['decrypt'])
    return new FragmentOpener(aes, await recordHash(record), order)
  }

  /** Whether the fragment marked as the last was opened. */
  get ended(): boolean {
    return this.#order.ended
  }

  /** Opens one whole fragment. Calls are taken one after the other, so that the order is that of the calls. */
  open(fragment: Uint8Array): Promise<Opened> {
    const mine = new Uint8Array(fragment)
    const opened = this.#queue.then(() => this.#open(mine))
    this.#queue = opened.catch(() => undefined)
    return opened
  }

  async #open(fragment: Bytes): Promise<Opened> {
    demand(fragment.length >= HEADER_LEN, 'truncated', `a fragment is cut after ${fragment.length} bytes`)
    const header = decodeHeader(fragment)
    const { run, counter } = header
    const need = header.length + OVERHEAD
    demand(fragment.length === need, 'truncated', `a fragment of ${need} bytes has ${fragment.length}`)
    const crc = view(fragment).getUint32(need - 4)
    const intact = crc32c(fragment.subarray(0, need - 4)) === crc
    demand(intact, 'flipped_bit', `fragment ${counter} is damaged (CRC-32C): fetch it again`)
    const algorithm = {
      name: 'AES-GCM',
      iv: concat(u32(run), u64(counter)),
      additionalData: concat(this.#recordHash, fragment.subarray(0, HEADER_LEN)),
    }
    const payload = await crypto.subtle
      .decrypt(algorithm, this.#key, fragment.subarray(HEADER_LEN, need - 4))
      .catch(() => undefined)
    if (!payload) {
      const why = 'was not sealed with this key for this epoch: it was changed or moved here'
      throw new PeriError('forged', `fragment ${counter} of run ${run} ${why}`)
    }
    this.#order.take(header)
    return { header, payload: new Uint8Array(payload) }
  }
}
