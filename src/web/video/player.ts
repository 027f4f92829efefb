/**
 * Synchronised playback of one or more cameras over one clock of UTC.
 *
 * The first camera that plays leads: its element carries the clock; the others are held to it by small changes of rate, or moved
 * when they are a quarter of a second off. Where a camera has still to load, all wait, and say so; where nothing is recorded by
 * any, it jumps, and says so. Backwards it steps from key picture to key picture. What does not belong: loading (track).
 * Invariant: {@link SyncPlayer.now} is the time of the picture shown.
 */

import type { CameraStatus, Id, Player, PlayerEvent, Utc } from '../facade.js'
import type { Remote } from './remote.js'
import { Track, type Here } from './track.js'

const MS = 1_000_000n
const S = 1_000n * MS
const DAY = 86_400n * S
/** How often everything is looked at. */
const TICK_MS = 100
/** Fastest rate, either way. */
const RATE_MAX = 16
/** Seconds loaded ahead at rate 1, and at most. */
const AHEAD = 15
const AHEAD_MAX = 60
/** Off by more than this many seconds, an element is moved. */
const OFF = 0.25
/** A gap that is shorter passes in its own time. */
const SHORT = S
/** How long one camera at the end of its recording holds up the others. */
const EDGE_MS = 3_000
/** The line begins so long before the first time asked for, and is begun anew beyond twice that. */
const LINE = 180n * DAY

type PlayState = 'paused' | 'playing' | 'seeking' | 'waiting' | 'ended'

/** See the file. */
export class SyncPlayer implements Player {
  readonly #remote: Remote
  readonly #tracks: readonly Track[]
  readonly #closedFor: () => void
  readonly #listeners = new Set<(event: PlayerEvent) => void>()
  readonly #timer: ReturnType<typeof setInterval>
  readonly #said = new Map<Id, string>()
  #origin: Utc | undefined
  #clock: { utc: Utc; at: number } | undefined
  #rate = 1
  #wanted = false
  #state: PlayState = 'paused'
  #toldRate = 1
  /** Something that moves the clock by itself is under way. */
  #busy = false
  #turn = 0
  #edgeSince: number | undefined
  #closed = false

  constructor(
    remote: Remote,
    cameras: readonly { readonly camera: Id; readonly video: HTMLVideoElement }[],
    closed: () => void,
  ) {
    this.#remote = remote
    this.#tracks = cameras.map(({ camera, video }) => new Track(remote, camera, video, 0n))
    this.#closedFor = closed
    this.#timer = setInterval(() => this.#tick(), TICK_MS)
  }

  on(listener: (event: PlayerEvent) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  async seek(at: Utc): Promise<void> {
    if (this.#closed) return
    await this.#go(at)
  }

  play(): void {
    if (this.#closed || this.#wanted) return
    this.#wanted = true
    if (this.#clock) this.#clock = { utc: this.#clock.utc, at: performance.now() }
    this.#tick()
  }

  pause(): void {
    if (!this.#wanted) return
    const utc = this.#time()
    this.#wanted = false
    this.#halt()
    if (utc !== undefined) this.#clock = { utc, at: performance.now() }
    this.#become('paused')
  }

  rate(rate: number): void {
    if (rate === 0) return this.pause()
    const utc = this.#time()
    this.#rate = Math.max(-RATE_MAX, Math.min(RATE_MAX, rate))
    if (utc !== undefined) this.#clock = { utc, at: performance.now() }
    if (this.#rate < 0) this.#halt()
    else if (this.#wanted && utc !== undefined && this.#tracks.some(track => track.at(utc).is === 'loading')) void this.#go(utc)
    this.#become(this.#state)
  }

  shuttle(key: -1 | 0 | 1): void {
    if (key === 0) {
      this.pause()
      this.rate(1)
      return
    }
    const same = this.#wanted && Math.sign(this.#rate) === key
    this.rate(same ? this.#rate * 2 : key)
    this.play()
  }

  async step(frames: 1 | -1): Promise<void> {
    this.pause()
    const shown = this.now()
    const lead = shown === undefined ? undefined : this.#lead(shown)
    if (!lead || shown === undefined) return
    let next = frames > 0 ? lead.pictureAfter(shown) : lead.pictureBefore(shown)
    if (next === undefined && frames > 0) {
      lead.fill(shown, S)
      for (let wait = 0; wait < 30 && next === undefined; wait++) {
        await new Promise(resolve => setTimeout(resolve, TICK_MS))
        next = lead.pictureAfter(shown)
      }
    }
    if (next === undefined && frames < 0) {
      // The group before: its last picture is the one wanted.
      await lead.seek((lead.pictureAt(shown) ?? shown) - MS)
      next = lead.pictureAt((lead.pictureAt(shown) ?? shown) - MS)
    }
    if (next !== undefined) await this.#go(next)
  }

  now(): Utc | undefined {
    const utc = this.#time()
    if (utc === undefined) return undefined
    return this.#lead(utc)?.pictureAt(utc) ?? utc
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#turn++
    clearInterval(this.#timer)
    for (const track of this.#tracks) track.close()
    this.#listeners.clear()
    this.#closedFor()
  }

  /** The clock. */
  #time(): Utc | undefined {
    const clock = this.#clock
    if (!clock) return undefined
    if (!this.#wanted || this.#state !== 'playing') return clock.utc
    return clock.utc + BigInt(Math.round((performance.now() - clock.at) * this.#rate * 1e6))
  }

  #lead(utc: Utc): Track | undefined {
    return this.#tracks.find(track => track.at(utc).is === 'ready')
  }

  /** Everything to one time. */
  async #go(at: Utc): Promise<void> {
    const turn = ++this.#turn
    this.#busy = true
    this.#halt()
    this.#clock = { utc: at, at: performance.now() }
    this.#edgeSince = undefined
    this.#become('seeking')
    if (this.#origin === undefined || at - this.#origin < DAY || at - this.#origin > 2n * LINE) {
      this.#origin = at - LINE
      for (const track of this.#tracks) track.rebase(this.#origin)
    }
    await Promise.all(this.#tracks.map(track => track.seek(at)))
    if (turn !== this.#turn || this.#closed) return
    this.#busy = false
    this.#clock = { utc: at, at: performance.now() }
    for (const track of this.#tracks) this.#say(track, track.at(at))
    this.#become(this.#wanted ? 'waiting' : 'paused')
    this.#tell({ is: 'time', utc: this.now() ?? at })
    if (this.#wanted) this.#tick()
  }

  #tick(): void {
    const clock = this.#clock
    if (this.#closed || !this.#wanted || this.#busy || !clock) return
    if (this.#rate < 0) return this.#back()
    const utc = this.#time()!
    const here = this.#tracks.map(track => track.at(utc))
    const ahead = BigInt(Math.round(Math.min(AHEAD_MAX, AHEAD * Math.max(1, this.#rate)) * 1000)) * MS
    for (const [at, track] of this.#tracks.entries()) {
      track.fill(utc, ahead)
      this.#say(track, here[at]!)
    }
    if (here.some(one => one.is === 'loading') || this.#atEdge(here)) return this.#wait(utc)
    if (here.every(one => one.is === 'broken')) return this.#end()
    if (here.every(one => one.is !== 'ready')) return this.#over(utc, here)
    this.#steer(utc, here)
  }

  /** Whether to wait for what is not recorded yet: for all cameras, or a moment for some. */
  #atEdge(here: readonly Here[]): boolean {
    if (!here.some(one => one.is === 'edge')) {
      this.#edgeSince = undefined
      return false
    }
    this.#edgeSince ??= performance.now()
    return !here.some(one => one.is === 'ready') || performance.now() - this.#edgeSince < EDGE_MS
  }

  #wait(utc: Utc): void {
    this.#halt()
    this.#clock = { utc, at: performance.now() }
    this.#become('waiting')
  }

  /** Nothing anywhere: over it, in its own time if it is short. */
  #over(utc: Utc, here: readonly Here[]): void {
    const gaps = here.flatMap(one => (one.is === 'gap' ? [one.gap] : []))
    const first = gaps.reduce<(typeof gaps)[number] | undefined>(
      (least, gap) => (least === undefined || gap.until < least.until ? gap : least),
      undefined,
    )
    if (!first) return this.#end()
    if (first.until - utc < SHORT) return this.#steer(utc, here)
    this.#tell({ is: 'jumped', from: utc, until: first.until, kind: first.kind, cause: first.cause })
    void this.#go(first.until)
  }

  /** Elements to the clock, the clock to the one that leads. */
  #steer(utc: Utc, here: readonly Here[]): void {
    let lead: Track | undefined
    for (const [at, track] of this.#tracks.entries()) {
      const { video } = track
      if (here[at]!.is !== 'ready') {
        if (!video.paused) video.pause()
        continue
      }
      const behind = track.behind(utc)
      if (Math.abs(behind) > OFF * Math.max(1, this.#rate)) {
        if (!video.seeking) track.jump(utc)
      } else if (!lead && track.plays) {
        lead = track
        video.playbackRate = this.#rate
      } else {
        video.playbackRate = this.#rate * (1 + Math.max(-0.1, Math.min(0.1, behind)))
      }
      if (video.paused) video.play().catch(() => undefined)
    }
    this.#clock = { utc: lead && this.#state === 'playing' ? lead.shown : utc, at: performance.now() }
    this.#become('playing')
    this.#tell({ is: 'time', utc: this.now() ?? utc })
  }

  /** Backwards: the key picture at or before the time that it is by now. */
  #back(): void {
    const utc = this.#time()!
    const turn = this.#turn
    this.#busy = true
    this.#become('playing')
    void Promise.all(this.#tracks.map(track => track.key(utc).catch(() => undefined))).then(async found => {
      if (turn !== this.#turn || this.#closed) return
      const shown = found.reduce<Utc | undefined>(
        (most, one) => (one !== undefined && (most === undefined || one > most) ? one : most),
        undefined,
      )
      if (shown === undefined) {
        await this.#backOver(utc, turn)
      } else {
        for (const [at, track] of this.#tracks.entries()) {
          this.#say(track, found[at] === undefined ? track.at(utc) : { is: 'ready' })
        }
        this.#tell({ is: 'time', utc: shown })
      }
      if (turn === this.#turn) this.#busy = false
    })
  }

  /** Nothing here: to the end of what was recorded before. */
  async #backOver(utc: Utc, turn: number): Promise<void> {
    const gaps = this.#tracks.flatMap(track => {
      const here = track.at(utc)
      this.#say(track, here)
      return here.is === 'gap' && here.gap.began !== undefined && here.gap.began < utc ? [here.gap] : []
    })
    const [gap] = gaps.sort((one, other) => (one.began! > other.began! ? -1 : 1))
    if (gap) {
      this.#tell({ is: 'jumped', from: gap.began!, until: utc, kind: gap.kind, cause: gap.cause })
      this.#clock = { utc: gap.began! - MS, at: performance.now() }
      return
    }
    const lists = await Promise.all(
      this.#tracks.map(track => this.#remote.call('timeline', track.camera, utc - DAY, utc).catch(() => undefined)),
    )
    if (turn !== this.#turn) return
    const ends = lists.flatMap(list => list?.segments.filter(one => one.starts < utc).map(one => min(one.ends, utc)) ?? [])
    const last = ends.reduce<Utc | undefined>((most, end) => (most === undefined || end > most ? end : most), undefined)
    if (last === undefined || last - 100n * MS >= utc) return this.#end()
    const target = last - 100n * MS
    const said = lists.flatMap(list => list?.coverage ?? []).find(span => span.kind !== 'recorded' && span.until > target)
    this.#tell({ is: 'jumped', from: target, until: utc, kind: said?.kind ?? 'lost', cause: said?.cause ?? '' })
    this.#clock = { utc: target, at: performance.now() }
  }

  #end(): void {
    const utc = this.#time()
    this.#wanted = false
    this.#halt()
    if (utc !== undefined) this.#clock = { utc, at: performance.now() }
    this.#become('ended')
  }

  #halt(): void {
    for (const { video } of this.#tracks) if (!video.paused) video.pause()
  }

  /** What a camera shows, when it is another thing than before. */
  #say(track: Track, here: Here): void {
    const status = statusOf(here)
    const text = status.is === 'gap' ? `gap ${status.kind} ${status.until} ${status.cause}` : status.is
    if (this.#said.get(track.camera) === text) return
    this.#said.set(track.camera, text)
    this.#tell({ is: 'camera', camera: track.camera, status })
  }

  #become(state: PlayState): void {
    if (this.#state === state && this.#toldRate === this.#rate) return
    this.#state = state
    this.#toldRate = this.#rate
    this.#tell({ is: 'state', state, rate: this.#rate })
  }

  #tell(event: PlayerEvent): void {
    for (const listener of [...this.#listeners]) listener(event)
  }
}

function statusOf(here: Here): CameraStatus {
  switch (here.is) {
    case 'ready':
      return { is: 'playing' }
    case 'loading':
    case 'edge':
      return { is: 'waiting' }
    case 'broken':
      return here.status
    case 'gap': {
      const { kind, cause, until, lapsed } = here.gap
      if (lapsed !== undefined) return { is: 'lapsed', why: lapsed }
      return { is: 'gap', kind, cause, until }
    }
  }
}

const min = (one: bigint, other: bigint): bigint => (one < other ? one : other)
