/**
 * Whoever is in: the roster key, the session, the keys of epochs, the pictures that run. In the worker.
 *
 * What does not belong: getting in (worker), what is shown. Invariants: all of it is wiped by {@link Inside.leave}; afterwards
 * nothing of it can be used.
 */

import { request, type Bytes, type KeyPair, type UserPublic } from '../crypto/index.js'
import type { Exported, Health, House, LedgerPart, Progress, Thumbnail, Timeline } from '../facade.js'
import { refuse } from '../session/errors.js'
import { readHouse, type Home } from '../session/house.js'
import { parseEntry } from '../session/ledger.js'
import { People } from '../session/people.js'
import { Session, type StoredSession, type Watcher } from '../session/session.js'
import type { Store } from '../session/store.js'
import { parseHealth, parseLedger, type Birth } from '../session/wire.js'
import { FragmentCache } from './cache.js'
import type { LiveEvent, LoadAsk, Loaded } from './calls.js'
import { exportSpan } from './export.js'
import { Keys } from './keys.js'
import { LivePicture } from './live.js'
import { RecordingReader } from './reader.js'
import { LiveSocket } from './socket.js'
import { Thumbnails } from './thumbnail.js'

/** How often the house is read anew: what became of cameras and rights shows within it. */
const HOUSE_MS = 15_000
/** Pages of a timeline. */
const PAGES_MAX = 256

interface Track {
  readonly reader: RecordingReader
  queue: Promise<unknown>
}

/** See the file. */
export class Inside {
  readonly name: string
  readonly pair: KeyPair
  readonly vm: Bytes
  readonly session: Session
  readonly people: People
  readonly #device: UserPublic
  readonly #told: (house: House) => void
  readonly #keys: Keys
  readonly #cache = new FragmentCache()
  readonly #socket: LiveSocket
  readonly #thumbnails: Thumbnails
  readonly #live = new Map<number, LivePicture>()
  readonly #tracks = new Map<number, Track>()
  readonly #exports = new Map<number, AbortController>()
  readonly #poll: ReturnType<typeof setInterval>
  #home: Home | undefined
  #reading: Promise<Home> | undefined
  #left = false

  constructor(
    store: Store,
    name: string,
    pair: KeyPair,
    appliance: Birth,
    watcher: Watcher,
    told: (house: House) => void,
    stored?: StoredSession,
  ) {
    this.name = name
    this.pair = pair
    this.vm = appliance.vm
    this.#device = appliance.device
    this.#told = told
    this.session = new Session(appliance.vm, pair, watcher, stored)
    const { session } = this
    const home = (): Promise<Home> => this.home()
    this.people = new People({ session, store, pair, home: () => this.read(), changed: () => void this.#again() })
    this.#keys = new Keys({ session, pair, home })
    this.#socket = new LiveSocket(session)
    this.#thumbnails = new Thumbnails(this.#keys, this.#cache)
    this.#poll = setInterval(() => void this.read().catch(() => undefined), HOUSE_MS)
  }

  /** The house as it was read last. */
  async home(): Promise<Home> {
    return this.#home ?? this.read()
  }

  /** Reads the house anew. */
  read(): Promise<Home> {
    this.#reading ??= readHouse(this.session, this.#device)
      .then(home => {
        if (this.#left) throw refuse('not_in', 'Not logged in', 'log in first')
        this.#home = home
        this.#told(home.house)
        return home
      })
      .finally(() => (this.#reading = undefined))
    return this.#reading
  }

  /** A statement was accepted: the appliance takes a moment until its roster says so. */
  async #again(): Promise<void> {
    for (const ms of [300, 1_500]) {
      await new Promise(resolve => setTimeout(resolve, ms))
      if (this.#left) return
      await this.read().catch(() => undefined)
    }
  }

  async health(): Promise<Health> {
    return parseHealth((await this.session.request('health', request.emptyBody())).bytes)
  }

  async ledger(from: bigint): Promise<LedgerPart> {
    const { bytes } = await this.session.request('ledger', request.fromBody(from))
    const { entries, size, checkpoint } = parseLedger(bytes)
    return { entries: entries.map((entry, at) => parseEntry(from + BigInt(at), entry)), size, checkpoint }
  }

  /** What there is of a span, whatever may be done with it. */
  async timeline(camera: string, from: bigint, until: bigint): Promise<Timeline> {
    const { house } = await this.home()
    const rights = house.cameras.find(one => one.id === camera)?.rights
    const action = rights?.playback === false && rights.export ? 'export' : 'playback'
    const segments: Timeline['segments'][number][] = []
    const coverage: Timeline['coverage'][number][] = []
    for (let at = from, pages = 0; pages < PAGES_MAX; pages++) {
      const page = await this.#keys.segments(camera, at, until, action)
      const last = segments.at(-1)?.epoch ?? 0n
      segments.push(...page.segments.filter(one => one.epoch > last))
      const covered = coverage.at(-1)?.until
      coverage.push(...page.coverage.filter(span => covered === undefined || span.from >= covered))
      if (page.next === null || page.next <= at) break
      at = page.next
    }
    return { segments, coverage }
  }

  thumbnail(camera: string, at: bigint, width: number): Promise<Thumbnail> {
    return this.#thumbnails.of(camera, at, width)
  }

  /** Begins a live picture. */
  watch(
    job: number,
    camera: string,
    origin: bigint,
    tell: (event: LiveEvent, transfer: Transferable[]) => void,
  ): void {
    const parts = { session: this.session, keys: this.#keys, socket: this.#socket, home: () => this.home(), read: () => this.read() }
    this.#live.set(job, new LivePicture(parts, camera, origin, tell))
  }

  /** The next piece for a player; one after the other for each track. */
  load(job: number, ask: LoadAsk): Promise<Loaded> {
    let track = this.#tracks.get(job)
    if (!track) {
      track = { reader: new RecordingReader(this.#keys, this.#cache, ask.camera, ask.origin), queue: Promise.resolve() }
      this.#tracks.set(job, track)
    }
    const { reader } = track
    const loaded = track.queue.then(() => reader.load(ask))
    track.queue = loaded.catch(() => undefined)
    return loaded
  }

  async export(
    job: number,
    camera: string,
    from: bigint,
    until: bigint,
    purpose: string,
    told: (progress: Progress) => void,
  ): Promise<Exported> {
    const abort = new AbortController()
    this.#exports.set(job, abort)
    try {
      const name = (await this.home()).house.cameras.find(one => one.id === camera)?.name ?? camera
      return await exportSpan(this.#keys, camera, name, from, until, purpose, told, abort.signal)
    } finally {
      this.#exports.delete(job)
    }
  }

  /** Ends what goes on under a number. */
  stop(job: number): void {
    this.#live.get(job)?.close()
    this.#live.delete(job)
    this.#tracks.delete(job)
    this.#exports.get(job)?.abort()
  }

  /** Ends and wipes everything; with a goodbye to the appliance, if it is one. */
  async leave(goodbye: boolean): Promise<void> {
    if (this.#left) return
    this.#left = true
    clearInterval(this.#poll)
    for (const job of [...this.#live.keys(), ...this.#tracks.keys(), ...this.#exports.keys()]) this.stop(job)
    this.#socket.close()
    this.#keys.wipe()
    this.#cache.wipe()
    this.#home = undefined
    if (goodbye) await this.session.logout()
    this.session.stop()
    this.pair.wipe()
  }
}
