/**
 * Joins the fragments of one or several epochs into one fragmented MP4 that players read. Twin of `src/media/mp4join.rs` with
 * gaps kept.
 *
 * Sequence numbers and decode times are rewritten to one timeline that begins at zero. Changed parameter sets are written in
 * band before the next picture; the header is then declared `avc3` ({@link Joiner.header}). What does not belong: unsealing,
 * choosing what to export. Invariant: nothing but the current fragment is held.
 */

import { concat, equal, type Bytes } from '../crypto/index.js'
import { ticks } from './clock.js'
import { declareInBand, format, HZ, media, parameterSets, rewritten } from './mp4.js'

/** A difference of UTC smaller than this between two fragments is drift and rounding, no gap. */
const GAP_MIN = 500_000_000n

/** See the file. */
export class Joiner {
  #first: Bytes | undefined
  #init: Bytes | undefined
  #changed = false
  #extra: Bytes | undefined
  #sequence = 0
  #clock: { end: bigint; sourceEnd: bigint; utcEnd: bigint } | undefined

  /** What stands before all fragments; known for certain at the end. `undefined`: there was no init fragment. */
  get header(): Bytes | undefined {
    return this.#first && (this.#changed ? declareInBand(this.#first) : this.#first)
  }

  /** UTC of the end of what was taken. */
  get until(): bigint | undefined {
    return this.#clock?.utcEnd
  }

  /** Takes an init fragment. */
  init(fragment: Bytes): void {
    format(fragment)
    if (!this.#first) {
      this.#first = fragment
    } else if (this.#init && !equal(this.#init, fragment)) {
      this.#changed = true
      this.#extra = parameterSets(fragment)
    }
    this.#init = fragment
  }

  /** Takes a media fragment whose first picture was taken at `at`; gives what goes into the file. */
  media(fragment: Bytes, at: bigint): Bytes {
    const parsed = media(fragment)
    const duration = BigInt(parsed.duration)
    const start = this.#start(parsed.decodeTime, at)
    const utcEnd = at + (duration * 100_000n) / 9n
    this.#clock = { end: start + duration, sourceEnd: parsed.decodeTime + duration, utcEnd }
    const extra = this.#extra
    this.#extra = undefined
    this.#sequence++
    return rewritten(fragment, parsed, { sequence: this.#sequence, decodeTime: start, ...(extra ? { extra } : {}) })
  }

  #start(decodeTime: bigint, at: bigint): bigint {
    const clock = this.#clock
    if (!clock) return 0n
    const missing = at - clock.utcEnd
    if (missing >= GAP_MIN) return clock.end + ticks(missing)
    // Inside one run the source's own times are exact; else the fragment follows directly.
    const step = decodeTime - clock.sourceEnd
    const near = BigInt(HZ / 2)
    if (step > near || step < -near) return clock.end
    const next = clock.end + step
    return next < 0n ? 0n : next
  }
}

/** The header and what follows it as one file. */
export const file = (header: Bytes, parts: readonly Bytes[]): Bytes => concat(header, ...parts)
