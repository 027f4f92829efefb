/**
 * One camera of a player: what is loaded around the time shown, and the `<video>` that shows it.
 *
 * What does not belong: the common clock (player), keys (worker). Invariants: `currentTime` is UTC minus the origin; at most
 * {@link KEEP} seconds behind the picture and what was asked for ahead of it are held; an answer to an older question is
 * dropped.
 */

import type { CameraStatus, Id, Utc } from '../facade.js'
import { EngineError } from '../session/errors.js'
import type { Gap, Loaded } from './calls.js'
import { seconds, utcOf } from './clock.js'
import type { Remote } from './remote.js'
import { plays, Sink } from './sink.js'

const S = 1_000_000_000n
/** Seconds held behind the picture. */
const KEEP = 20
/** Pause before asking again at the end of what is recorded. */
const EDGE_MS = 1_000
/** How long a seek of the element may take. */
const SEEK_MS = 5_000
/** Lands inside a picture rather than on its edge, seconds. */
const INSIDE = 0.002

/** What there is at a time. `edge`: the end of what is recorded so far. */
export type Here =
  | { readonly is: 'ready' }
  | { readonly is: 'loading' }
  | { readonly is: 'edge' }
  | { readonly is: 'gap'; readonly gap: Gap }
  | { readonly is: 'broken'; readonly status: CameraStatus }

/** See the file. */
export class Track {
  readonly camera: Id
  readonly video: HTMLVideoElement
  readonly #remote: Remote
  #job: number
  #origin: Utc
  #sink: Sink | undefined
  /** Start of the first picture, and up to where all is accounted for. */
  #from: Utc | undefined
  #until: Utc = 0n
  #gaps: Gap[] = []
  #pictures: Utc[] = []
  #edgeAt = 0
  #broken: CameraStatus | undefined
  #turn = 0
  #loading: Promise<void> | undefined

  constructor(remote: Remote, camera: Id, video: HTMLVideoElement, origin: Utc) {
    this.#remote = remote
    this.camera = camera
    this.video = video
    this.#origin = origin
    this.#job = remote.job()
    video.muted = true
  }

  /** Another origin: everything begins anew. */
  rebase(origin: Utc): void {
    if (origin === this.#origin) return
    this.#turn++
    this.#origin = origin
    this.#sink?.close()
    this.#sink = undefined
    this.#remote.stop(this.#job)
    this.#job = this.#remote.job()
    this.#forget()
  }

  /** What there is at a time. */
  at(utc: Utc): Here {
    if (this.#broken) return { is: 'broken', status: this.#broken }
    const gap = this.#gaps.find(one => one.from <= utc && utc < one.until)
    if (gap) return { is: 'gap', gap }
    if (this.#from !== undefined && utc >= this.#from && utc < this.#until) return { is: 'ready' }
    return this.#edgeAt > 0 && utc >= this.#until ? { is: 'edge' } : { is: 'loading' }
  }

  /** Loads so that there is something at a time; resolves when that is so, or a gap or failure is known. */
  async seek(utc: Utc): Promise<void> {
    const turn = ++this.#turn
    await this.#loading?.catch(() => undefined)
    if (turn !== this.#turn) return
    this.#broken = undefined
    if (!this.#holds(utc)) {
      this.#forget()
      await this.#sink?.clear()
      await this.#load(utc, turn)
      for (let more = 0; more < 64 && turn === this.#turn && this.at(utc).is === 'loading'; more++) {
        await this.#load(undefined, turn)
      }
    }
    if (turn === this.#turn && this.at(utc).is === 'ready') await this.show(utc)
  }

  /** Only the key picture at or before a time; its time, if there is one. */
  async key(utc: Utc): Promise<Utc | undefined> {
    const turn = ++this.#turn
    await this.#loading?.catch(() => undefined)
    if (turn !== this.#turn) return undefined
    this.#forget()
    const loaded = await this.#remote.call('load', this.#job, this.#ask(utc, true))
    if (turn !== this.#turn) return undefined
    await this.#take(loaded, turn)
    const found = this.#pictures[0]
    if (found !== undefined && turn === this.#turn) await this.show(found)
    return found
  }

  /** Loads ahead. */
  fill(utc: Utc, ahead: bigint): void {
    if (this.#loading || this.#broken || this.#from === undefined || this.#until >= utc + ahead) return
    if (this.#edgeAt > 0 && performance.now() - this.#edgeAt < EDGE_MS) return
    const turn = this.#turn
    this.#loading = this.#load(undefined, turn)
      .then(() => this.#tidy(utc))
      .catch(() => undefined)
      .finally(() => (this.#loading = undefined))
  }

  /** Shows the picture of a time; resolves when it is there. */
  async show(utc: Utc): Promise<void> {
    const { video } = this
    const picture = this.pictureAt(utc) ?? utc
    const time = seconds(picture, this.#origin) + INSIDE
    if (Math.abs(video.currentTime - time) < 0.0005 && !video.seeking) return
    await new Promise<void>(resolve => {
      const done = (): void => {
        clearTimeout(late)
        video.removeEventListener('seeked', done)
        resolve()
      }
      const late = setTimeout(done, SEEK_MS)
      video.addEventListener('seeked', done)
      video.currentTime = time
    })
  }

  /** The picture that is shown at a time: the last one that began. */
  pictureAt(utc: Utc): Utc | undefined {
    const at = above(this.#pictures, utc)
    return at > 0 ? this.#pictures[at - 1] : undefined
  }

  /** The picture after a time. */
  pictureAfter(utc: Utc): Utc | undefined {
    return this.#pictures[above(this.#pictures, utc)]
  }

  /** The picture before the one of a time. */
  pictureBefore(utc: Utc): Utc | undefined {
    const at = above(this.#pictures, utc)
    return at > 1 ? this.#pictures[at - 2] : undefined
  }

  /** UTC of what the element shows. */
  get shown(): Utc {
    return utcOf(this.video.currentTime, this.#origin)
  }

  /** Seconds by which the element is behind a time. */
  behind(utc: Utc): number {
    return seconds(utc, this.#origin) - this.video.currentTime
  }

  /** Moves the element without waiting. */
  jump(utc: Utc): void {
    this.video.currentTime = seconds(utc, this.#origin) + INSIDE
  }

  /** Whether the element can go on. */
  get plays(): boolean {
    return !this.video.seeking && this.video.readyState >= 3
  }

  close(): void {
    this.#turn++
    this.#remote.stop(this.#job)
    this.#sink?.close()
    this.#sink = undefined
    this.#forget()
  }

  #holds(utc: Utc): boolean {
    return (
      this.at(utc).is === 'ready' &&
      this.#pictures[0] !== undefined &&
      this.#pictures[0] <= utc &&
      this.#sink?.has(seconds(utc, this.#origin)) === true
    )
  }

  #forget(): void {
    this.#from = undefined
    this.#until = 0n
    this.#gaps = []
    this.#pictures = []
    this.#edgeAt = 0
  }

  #ask(from: Utc | undefined, keyOnly: boolean) {
    const fixed = { camera: this.camera, origin: this.#origin, keyOnly }
    return from === undefined ? fixed : { ...fixed, from }
  }

  async #load(from: Utc | undefined, turn: number): Promise<void> {
    try {
      const loaded = await this.#remote.call('load', this.#job, this.#ask(from, false))
      if (turn === this.#turn) await this.#take(loaded, turn, from)
    } catch (error) {
      if (turn !== this.#turn) return
      const failed = EngineError.from(error)
      // It is asked again as at the end of a recording.
      if (failed.code === 'unreachable') {
        if (from !== undefined) [this.#from, this.#until] = [from, from]
        this.#edgeAt = performance.now()
      } else if (failed.code === 'unsupported') this.#broken = { is: 'unsupported', codec: failed.detail }
      else this.#broken = { is: 'failed', error: failed }
    }
  }

  async #take(loaded: Loaded, turn: number, from?: Utc): Promise<void> {
    for (const part of loaded.parts) {
      if (!plays(part.codec)) {
        this.#broken = { is: 'unsupported', codec: part.codec }
        return
      }
      this.#sink ??= new Sink(this.video)
      await this.#sink.append(part)
      if (turn !== this.#turn) return
      this.#from ??= part.pictures[0]!
      this.#pictures.push(...part.pictures)
    }
    this.#from ??= from ?? this.#until
    this.#until = loaded.until
    if (loaded.gap) this.#gaps.push(loaded.gap)
    this.#edgeAt = loaded.edge ? performance.now() : 0
  }

  /** Lets go of what is far behind. */
  async #tidy(utc: Utc): Promise<void> {
    const extent = this.#sink?.extent
    const now = seconds(utc, this.#origin)
    if (!extent || extent[0] > now - KEEP * 1.5) return
    const until = utc - BigInt(KEEP) * S
    await this.#sink?.remove(extent[0], now - KEEP)
    this.#pictures = this.#pictures.slice(Math.max(0, above(this.#pictures, until)))
    this.#gaps = this.#gaps.filter(gap => gap.until > until)
    if (this.#pictures[0] !== undefined) this.#from = this.#pictures[0]
  }
}

/** Index of the first that is greater. */
function above(rising: readonly bigint[], value: bigint): number {
  let [low, high] = [0, rising.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (rising[middle]! > value) high = middle
    else low = middle + 1
  }
  return low
}
