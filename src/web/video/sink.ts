/**
 * A SourceBuffer with a queue: appends and removals one after the other, on whatever kind of MediaSource there is.
 *
 * What does not belong: what is appended, when. Invariants: at most one operation at a time; a full buffer drops what is
 * farthest from the picture and tries again; after {@link Sink.close} nothing is left in the element.
 */

import { refuse } from '../session/errors.js'

interface Kind {
  new (): MediaSource
  isTypeSupported(type: string): boolean
}

/** Longest line: a seek may go to any `currentTime` below it. */
const DURATION = 400 * 86_400

function kind(): Kind | undefined {
  const scope = globalThis as { ManagedMediaSource?: Kind; MediaSource?: Kind }
  return scope.MediaSource ?? scope.ManagedMediaSource
}

/** The MIME type of a codec. */
export const mime = (codec: string): string => `video/mp4; codecs="${codec}"`

/** Whether this browser can play it. */
export const plays = (codec: string): boolean => kind()?.isTypeSupported(mime(codec)) ?? false

/** See the file. */
export class Sink {
  readonly #video: HTMLVideoElement
  readonly #source: MediaSource
  readonly #url: string
  readonly #open: Promise<void>
  #buffer: SourceBuffer | undefined
  #codec = ''
  #queue: Promise<void> = Promise.resolve()
  #closed = false

  constructor(video: HTMLVideoElement) {
    const Source = kind()
    if (!Source) throw refuse('unsupported', 'No player', 'this browser has no Media Source Extensions')
    this.#video = video
    this.#source = new Source()
    // What a ManagedMediaSource wants before it opens.
    video.disableRemotePlayback = true
    this.#url = URL.createObjectURL(this.#source)
    this.#open = new Promise((resolve, reject) => {
      this.#source.addEventListener('sourceopen', () => resolve(), { once: true })
      video.addEventListener('error', () => reject(this.#broken()), { once: true })
    })
    this.#open.catch(() => undefined)
    video.src = this.#url
  }

  /** Why the element plays no more. */
  #broken(): Error {
    const { error } = this.#video
    return refuse('decode', 'It cannot be decoded', error?.message || 'this browser could not decode the picture')
  }

  /** Puts fragments in, behind their parameters where those are new. */
  append(part: { init?: Uint8Array<ArrayBuffer>; codec: string; data: Uint8Array<ArrayBuffer> }): Promise<void> {
    return this.#run(async () => {
      await this.#open
      if (!plays(part.codec)) throw refuse('unsupported', 'It cannot be played', part.codec)
      if (!this.#buffer) {
        if (this.#source.readyState !== 'open') throw this.#broken()
        this.#buffer = this.#source.addSourceBuffer(mime(part.codec))
        this.#buffer.mode = 'segments'
        this.#source.duration = DURATION
        this.#codec = part.codec
      } else if (part.codec !== this.#codec) {
        this.#buffer.changeType(mime(part.codec))
        this.#codec = part.codec
      }
      if (part.init) await this.#put(part.init)
      await this.#put(part.data)
    })
  }

  /** Takes out what lies between two times. */
  remove(from: number, until: number): Promise<void> {
    return this.#run(async () => {
      if (this.#buffer && until > from) await this.#do(buffer => buffer.remove(from, until))
    })
  }

  /** Takes everything out; the next fragment may lie anywhere. */
  clear(): Promise<void> {
    return this.#run(async () => {
      const buffer = this.#buffer
      if (!buffer || this.#source.readyState !== 'open') return
      buffer.abort()
      if (buffer.buffered.length > 0) await this.#do(one => one.remove(0, Number.POSITIVE_INFINITY))
    })
  }

  /** Whether there is a picture for that time. */
  has(time: number): boolean {
    return this.endOf(time) !== undefined
  }

  /** Until when there are pictures from that time on. */
  endOf(time: number): number | undefined {
    const ranges = this.#ranges()
    for (let at = 0; ranges && at < ranges.length; at++) {
      if (time >= ranges.start(at) - 0.001 && time < ranges.end(at)) return ranges.end(at)
    }
    return undefined
  }

  /** Start of what is there, and its end. */
  get extent(): [number, number] | undefined {
    const ranges = this.#ranges()
    return ranges && ranges.length > 0 ? [ranges.start(0), ranges.end(ranges.length - 1)] : undefined
  }

  /** Leaves nothing in the element. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    try {
      if (this.#buffer && this.#source.readyState === 'open') {
        this.#buffer.abort()
        this.#source.removeSourceBuffer(this.#buffer)
      }
    } catch {
      // It is gone already.
    }
    this.#buffer = undefined
    this.#video.removeAttribute('src')
    this.#video.load()
    URL.revokeObjectURL(this.#url)
  }

  #ranges(): TimeRanges | undefined {
    try {
      return this.#closed ? undefined : this.#buffer?.buffered
    } catch {
      return undefined
    }
  }

  #run(task: () => Promise<void>): Promise<void> {
    const done = this.#queue.then(async () => {
      if (!this.#closed) await task()
    })
    this.#queue = done.catch(() => undefined)
    return done
  }

  async #put(bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    for (let again = 0; ; again++) {
      try {
        return await this.#do(buffer => buffer.appendBuffer(bytes))
      } catch (error) {
        if (!(error instanceof DOMException && error.name === 'QuotaExceededError') || again > 2) throw error
        await this.#makeRoom()
      }
    }
  }

  /** What is far behind the picture goes first, then what is far ahead. */
  async #makeRoom(): Promise<void> {
    const now = this.#video.currentTime
    const extent = this.extent
    if (!extent) return
    if (extent[0] < now - 2) await this.#do(buffer => buffer.remove(extent[0], now - 1))
    else if (extent[1] > now + 10) await this.#do(buffer => buffer.remove(now + 10, extent[1]))
  }

  #do(operation: (buffer: SourceBuffer) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      const buffer = this.#buffer
      if (!buffer || this.#closed) return resolve()
      const off = (): void => {
        buffer.removeEventListener('updateend', good)
        buffer.removeEventListener('error', bad)
        this.#video.removeEventListener('error', bad)
      }
      const good = (): void => {
        off()
        resolve()
      }
      const bad = (): void => {
        off()
        reject(this.#broken())
      }
      buffer.addEventListener('updateend', good)
      buffer.addEventListener('error', bad)
      this.#video.addEventListener('error', bad)
      try {
        operation(buffer)
      } catch (error) {
        off()
        reject(error instanceof Error ? error : new Error(String(error)))
      }
    })
  }
}
