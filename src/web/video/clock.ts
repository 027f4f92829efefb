/**
 * UTC and the timeline of a SourceBuffer: fragments of many epochs placed on one line so that `video.currentTime` is UTC, exact
 * to less than a picture.
 *
 * The line is UTC minus an origin, in ticks of 90 kHz. Inside a run of the camera's own clock its ticks are exact and are kept;
 * only when they and the UTC of the header differ by more than {@link DRIFT} (steering of the recorder's clock, another
 * connection, another epoch after a gap) the line is laid anew. What does not belong: boxes, players, time zones. Invariant:
 * placed pictures rise strictly as long as fragments come in their order.
 */

import { HZ, type Media } from './mp4.js'

/** Ticks by which ticks and UTC may differ before the line is laid anew: 5 ms, a fifth of the shortest usual picture. */
const DRIFT = 450n

/** Ticks of a stretch of nanoseconds, rounded. */
export const ticks = (nanos: bigint): bigint => {
  const scaled = nanos * 9n
  return scaled >= 0n ? (scaled + 50_000n) / 100_000n : -((-scaled + 50_000n) / 100_000n)
}

/** Nanoseconds of ticks, rounded. */
export const nanos = (of: bigint | number): bigint => (BigInt(of) * 100_000n + 4n) / 9n

/** Seconds on a line with this origin, as `currentTime` has them. */
export const seconds = (utc: bigint, origin: bigint): number => Number(ticks(utc - origin)) / HZ

/** UTC of a `currentTime`. */
export const utcOf = (time: number, origin: bigint): bigint => origin + nanos(BigInt(Math.round(time * HZ)))

/** Where a fragment lies. */
export interface Placed {
  /** Decode time of its first picture on the line. */
  readonly at: bigint
  /** UTC of each picture, and of the end of the last. */
  readonly pictures: readonly bigint[]
  readonly end: bigint
}

/** Places fragments in their order. After a seek, begin a new one. */
export class Placer {
  readonly #origin: bigint
  /** Line minus the camera's ticks. */
  #offset: bigint | undefined
  /** The last picture placed. */
  #last: bigint | undefined

  constructor(origin: bigint) {
    this.#origin = origin
  }

  /** `start`: UTC of the first picture, from the authenticated header. */
  place(start: bigint, media: Pick<Media, 'decodeTime' | 'samples'>): Placed {
    const exact = ticks(start - this.#origin)
    let at = this.#offset === undefined ? exact : media.decodeTime + this.#offset
    const off = at > exact ? at - exact : exact - at
    if (off > DRIFT) at = exact
    if (this.#last !== undefined && at <= this.#last) at = this.#last + 1n
    this.#offset = at - media.decodeTime
    const pictures: bigint[] = []
    let tick = at
    for (const { duration } of media.samples) {
      pictures.push(this.#origin + nanos(tick))
      this.#last = tick
      tick += BigInt(duration)
    }
    return { at, pictures, end: this.#origin + nanos(tick) }
  }
}
