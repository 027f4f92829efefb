/**
 * A live tile: opened fragments into a `<video>`, a little behind the newest picture, and what the tile says of itself.
 *
 * What does not belong: keys, the socket (worker). Invariants: half a second to one behind the edge, caught up by a faster rate,
 * or by a jump when more than {@link JUMP} behind; at most {@link KEEP} seconds are held; what is old never counts as live: the
 * status says `frozen` {@link FROZEN_MS} after the last picture.
 */

import type { Utc, Watch, WatchStatus } from '../facade.js'
import { EngineError } from '../session/errors.js'
import type { LiveEvent, Part } from './calls.js'
import { seconds, utcOf } from './clock.js'
import type { Remote } from './remote.js'
import { plays, Sink } from './sink.js'

/** Seconds behind the edge at which playing begins, and between which it plays at its own rate. */
const TARGET = 0.6
const SLACK = 0.3
/** Seconds behind the edge from which it jumps. */
const JUMP = 3
/** How much faster it catches up. */
const FASTER = 1.1
/** Seconds that are held behind the picture. */
const KEEP = 30
/** Seconds of the line before the first picture, so that no time is negative. */
const LEAD = 60n * 1_000_000_000n
const FROZEN_MS = 2_000
const TICK_MS = 250
/** How often playing is told. */
const TELL_MS = 500

/** See the file. */
export class LiveWatch implements Watch {
  readonly #remote: Remote
  readonly #camera: string
  readonly #video: HTMLVideoElement
  readonly #on: (status: WatchStatus) => void
  readonly #closedFor: () => void
  readonly #timer: ReturnType<typeof setInterval>
  #sink: Sink | undefined
  #job: number | undefined
  #origin: Utc = 0n
  /** UTC of the newest picture, and when it came. */
  #edge: Utc | undefined
  #cameAt = 0
  #toldAt = 0
  #status: WatchStatus | undefined
  /** What holds while no pictures come. */
  #reason: WatchStatus | undefined
  #paused = false
  #closed = false

  constructor(
    remote: Remote,
    camera: string,
    video: HTMLVideoElement,
    on: (status: WatchStatus) => void,
    closed: () => void,
  ) {
    this.#remote = remote
    this.#camera = camera
    this.#video = video
    this.#on = on
    this.#closedFor = closed
    this.#timer = setInterval(() => this.#tick(), TICK_MS)
    // A tab that comes back to the front is at once where it belongs.
    video.ownerDocument.addEventListener('visibilitychange', this.#tick)
    this.#begin()
  }

  pause(): void {
    if (this.#paused || this.#closed) return
    this.#paused = true
    this.#end()
    this.#say({ is: 'paused' })
  }

  resume(): void {
    if (!this.#paused || this.#closed) return
    this.#paused = false
    this.#begin()
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    clearInterval(this.#timer)
    this.#video.ownerDocument.removeEventListener('visibilitychange', this.#tick)
    this.#end()
    this.#closedFor()
  }

  #begin(): void {
    this.#say({ is: 'starting' })
    try {
      this.#sink = new Sink(this.#video)
    } catch (error) {
      return this.#say({ is: 'failed', error: EngineError.from(error) })
    }
    this.#edge = undefined
    this.#reason = undefined
    this.#video.muted = true
    this.#origin = BigInt(Date.now()) * 1_000_000n - LEAD
    this.#job = this.#remote.live(this.#camera, this.#origin, event => this.#hear(event))
  }

  #end(): void {
    if (this.#job !== undefined) this.#remote.stop(this.#job)
    this.#job = undefined
    this.#sink?.close()
    this.#sink = undefined
  }

  #hear(event: LiveEvent): void {
    if (this.#closed || this.#paused) return
    switch (event.is) {
      case 'media':
        return this.#media(event.part)
      case 'skipped':
        return this.#say({ is: 'skipped', bytes: event.bytes })
      case 'failed':
        return this.#holds({ is: 'failed', error: new EngineError(event.error) })
      default:
        return this.#holds(event)
    }
  }

  /** What is said as long as nothing plays. */
  #holds(status: WatchStatus): void {
    this.#reason = status
    if (!this.#playing()) this.#say(status)
  }

  #media(part: Part): void {
    const sink = this.#sink
    if (!sink) return
    if (!plays(part.codec)) {
      this.#end()
      return this.#say({ is: 'unsupported', codec: part.codec })
    }
    this.#reason = undefined
    sink.append(part).then(
      () => {
        if (this.#sink !== sink) return
        this.#edge = part.end
        this.#cameAt = performance.now()
        this.#steer()
      },
      (error: unknown) => {
        if (this.#sink !== sink) return
        this.#end()
        this.#say({ is: 'failed', error: EngineError.from(error) })
        // A decoder that gave up is given another go.
        setTimeout(() => {
          if (!this.#closed && !this.#paused && !this.#sink) this.#begin()
        }, 2_000)
      },
    )
  }

  readonly #tick = (): void => {
    if (this.#closed || this.#paused || !this.#sink) return
    this.#steer()
    if (this.#edge !== undefined && performance.now() - this.#cameAt > FROZEN_MS) {
      return this.#say(this.#reason ?? { is: 'frozen', since: this.#edge })
    }
    if (this.#playing() && this.#edge !== undefined && performance.now() - this.#toldAt >= TELL_MS) {
      const utc = utcOf(this.#video.currentTime, this.#origin)
      this.#say({ is: 'playing', utc, behind: Math.max(0, Number((this.#edge - utc) / 1_000_000n)) })
    }
  }

  #playing(): boolean {
    return this.#edge !== undefined && performance.now() - this.#cameAt <= FROZEN_MS && !this.#video.paused
  }

  /** Keeps the picture where it belongs. */
  #steer(): void {
    const [video, sink, edge] = [this.#video, this.#sink, this.#edge]
    if (!sink || edge === undefined) return
    const end = seconds(edge, this.#origin)
    const behind = end - video.currentTime
    const here = sink.has(video.currentTime)
    if (!here || behind > JUMP) {
      // To where a picture is, as near to the target as there is one.
      const extent = sink.extent
      if (!extent) return
      const target = Math.max(end - TARGET, this.#startOf(sink, end) + 0.001)
      if (target < end && sink.has(target) && Math.abs(target - video.currentTime) > 0.05) video.currentTime = target
    } else {
      const rate = behind > TARGET + SLACK ? FASTER : behind < TARGET - SLACK ? 1 / FASTER : 1
      const settled = Math.abs(behind - TARGET) < SLACK / 3
      if (rate !== 1 || settled) video.playbackRate = rate
    }
    if (video.paused) video.play().catch(() => undefined)
    const extent = sink.extent
    if (extent && extent[0] < video.currentTime - KEEP) {
      void sink.remove(extent[0], video.currentTime - KEEP / 2).catch(() => undefined)
    }
  }

  /** Where the pictures begin that reach to the edge. */
  #startOf(sink: Sink, end: number): number {
    let start = end
    for (let back = 0.05; back <= JUMP && sink.has(end - back); back += 0.05) start = end - back
    return start
  }

  #say(status: WatchStatus): void {
    const same = this.#status?.is === status.is && status.is !== 'playing' && status.is !== 'skipped'
    if (same && JSON.stringify(status, plain) === JSON.stringify(this.#status, plain)) return
    this.#status = status
    this.#toldAt = performance.now()
    this.#on(status)
  }
}

const plain = (_: string, value: unknown): unknown => (typeof value === 'bigint' ? String(value) : value)
