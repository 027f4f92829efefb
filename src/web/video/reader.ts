/**
 * Reads one camera's recording from a place on, over the edges of epochs: key picture, then what follows, opened and placed.
 *
 * What does not belong: buffers, players (they ask piece by piece). Invariants: nothing is handed on that did not authenticate;
 * what goes out begins with parameters and a key picture, and behind an epoch that is missing it goes on with a key picture;
 * memory is one piece and the bytes of the cache.
 */

import {
  decodeHeader,
  equal,
  HEADER_LEN,
  Order,
  OVERHEAD,
  split,
  type Bytes,
  type FragmentOpener,
  type Opened,
} from '../crypto/index.js'
import type { Coverage } from '../facade.js'
import type { Segment } from '../session/wire.js'
import { Placer } from './clock.js'
import type { LoadAsk, Loaded, Part } from './calls.js'
import { FragmentCache } from './cache.js'
import { lapsed, OPEN_MAX, type Epoch, type Source } from './keys.js'
import { HZ, format, media, rewritten } from './mp4.js'

/** Nanoseconds of a second. */
const S = 1_000_000_000n
/** How far ahead the list of segments is asked for; further where nothing is. */
const WINDOWS = [3600n * S, 24n * 3600n * S, 90n * 24n * 3600n * S] as const
/** Epochs whose keys are opened ahead: an hour. Each is a ledger entry of something that may not be looked at. */
const AHEAD = 4
/** First piece after a seek, and later ones: a picture soon, then fewer requests. */
const FIRST = 256 * 1024
const PIECE = 1536 * 1024
/** A fragment of the next epoch that begins later than this behind the last one does not follow it. */
const HOLE = S / 4n
/** The last picture of a fragment stands at least a quarter of a second for a player, which bridges jitter of the camera. */
export const STAND = HZ / 4

interface Place {
  readonly segment: Segment
  readonly epoch: Epoch
  offset: number
  opener: FragmentOpener | undefined
  ended: boolean
}

/** See the file. */
export class RecordingReader {
  readonly #keys: Source
  readonly #cache: FragmentCache
  readonly #camera: string
  readonly #origin: bigint
  readonly #ahead: number
  #segments: readonly Segment[] = []
  #coverage: readonly Coverage[] = []
  /** Up to here segments and coverage are known. */
  #known = 0n
  #place: Place | undefined
  #placer: Placer
  #sequence = 0
  #init: Bytes | undefined
  #codec = ''
  #sentInit: Bytes | undefined
  /** End of the last picture handed on (or of the gap said). */
  #until = 0n
  /** Waits for a key picture. */
  #torn = true
  #first = true

  /** `ahead`: epochs whose keys are opened together. */
  constructor(keys: Source, cache: FragmentCache, camera: string, origin: bigint, ahead = AHEAD) {
    this.#keys = keys
    this.#ahead = ahead
    this.#cache = cache
    this.#camera = camera
    this.#origin = origin
    this.#placer = new Placer(origin)
  }

  /** The next piece. */
  async load(ask: LoadAsk): Promise<Loaded> {
    try {
      if (ask.from !== undefined) {
        const gap = await this.#seek(ask.from)
        if (gap) return gap
      }
      return ask.keyOnly ? await this.#key() : await this.#next()
    } catch (error) {
      const why = lapsed(error)
      if (why === undefined) throw error
      return this.#closed(why)
    }
  }

  /** Goes to the key picture at or before a place; a gap if nothing is recorded there. */
  async #seek(at: bigint): Promise<Loaded | undefined> {
    this.#restart(at)
    await this.#list(at)
    const here = this.#segments.find(one => one.starts <= at && at < one.ends)
    if (!here) return this.#gap(at)
    await this.#go(here, Number(here.seek))
    if (await this.#startsWithKey()) return undefined
    // The epoch began in the middle of a group of pictures: its key picture is in the one before.
    const before = (await this.#keys.segments(this.#camera, here.starts - 1n, here.starts, 'playback')).segments
    const last = before.filter(one => one.epoch < here.epoch && one.ends + HOLE >= here.starts).at(-1)
    if (last) {
      this.#segments = [last, ...this.#segments.filter(one => one.epoch > last.epoch)]
      await this.#go(last, Number(last.seek))
    }
    return undefined
  }

  #restart(at: bigint): void {
    this.#place = undefined
    this.#placer = new Placer(this.#origin)
    this.#until = at
    this.#torn = true
    this.#first = true
    this.#sentInit = undefined
  }

  /** Learns segments and coverage from a place on. */
  async #list(from: bigint): Promise<void> {
    for (const window of WINDOWS) {
      const page = await this.#keys.segments(this.#camera, from, from + window, 'playback')
      this.#segments = page.segments
      this.#coverage = page.coverage
      this.#known = page.next !== null && page.next > from ? page.next : from + window
      if (page.segments.length > 0 || this.#known >= this.#keys.now()) return
    }
  }

  /** Opens a segment at an offset of a fragment. */
  async #go(segment: Segment, offset: number): Promise<void> {
    const { epoch } = segment
    const missing = this.#keys.missing(this.#camera, [epoch], 'playback')
    if (missing.length > 0) {
      const ahead = this.#segments.filter(one => one.epoch >= epoch).map(one => one.epoch)
      const due = this.#keys.missing(this.#camera, ahead.slice(0, this.#ahead), 'playback').slice(0, OPEN_MAX)
      await this.#open(due, epoch)
    }
    const opened = await this.#keys.epoch(this.#camera, epoch, 'playback')
    this.#place = { segment, epoch: opened, offset: Math.max(offset, opened.start), opener: undefined, ended: false }
    await this.#readInit(opened)
  }

  /** One that is not ours must not keep those before it shut. */
  async #open(epochs: readonly bigint[], wanted: bigint): Promise<void> {
    try {
      await this.#keys.open(this.#camera, epochs, 'playback')
    } catch (error) {
      if (lapsed(error) === undefined || epochs.length === 1) throw error
      await this.#keys.open(this.#camera, [wanted], 'playback')
    }
  }

  /** The parameters at the beginning of an epoch. */
  async #readInit(epoch: Epoch): Promise<void> {
    const { ahead } = epoch
    if (ahead.length < HEADER_LEN) return
    const header = decodeHeader(ahead)
    if (header.kind !== 'init' || ahead.length < header.length + OVERHEAD) return
    const opener = await epoch.opener(Order.file(header.counter))
    this.#take(await opener.open(ahead.subarray(0, header.length + OVERHEAD)))
  }

  async #startsWithKey(): Promise<boolean> {
    for (;;) {
      const opened = await this.#fragment(FIRST)
      if (!opened) return false
      if (opened.header.kind === 'media' && opened.payload.length > 0) {
        this.#place!.offset -= opened.header.length + OVERHEAD
        return opened.header.key
      }
      this.#take(opened)
    }
  }

  /** The next fragment of the segment; `undefined` at the end of what there is. */
  async #fragment(piece: number): Promise<Opened | undefined> {
    const place = this.#place
    if (!place || place.ended) return undefined
    const { epoch } = place.segment
    let cached = this.#cache.get(this.#camera, epoch, place.offset)
    if (!cached) {
      await this.#fetch(place, piece)
      cached = this.#cache.get(this.#camera, epoch, place.offset)
    }
    if (!cached) return undefined
    place.offset += cached.header.length + OVERHEAD
    place.ended = cached.header.last
    return cached
  }

  /** Fetches and opens whole fragments from the place on, into the cache. */
  async #fetch(place: Place, piece: number): Promise<void> {
    const { segment, offset } = place
    const left = segment.running ? piece : Number(segment.bytes) - offset
    if (left <= 0) return
    let bytes = await this.#keys.bytes(this.#camera, segment.epoch, offset, Math.min(piece, left), 'playback')
    if (bytes.length < HEADER_LEN) return
    const header = decodeHeader(bytes)
    const need = header.length + OVERHEAD
    if (bytes.length < need) {
      // One that is longer than a piece, or still being written.
      bytes = await this.#keys.bytes(this.#camera, segment.epoch, offset, need, 'playback')
      if (bytes.length < need) return
    }
    const opener = await place.epoch.opener(Order.file(header.counter))
    let at = offset
    for (const fragment of wholeFragments(bytes)) {
      this.#cache.put(this.#camera, segment.epoch, at, await opener.open(fragment))
      at += fragment.length
    }
  }

  /** Remembers parameters. */
  #take({ header, payload }: Opened): void {
    if (header.kind !== 'init' || (this.#init && equal(this.#init, payload))) return
    this.#init = payload
    this.#codec = format(payload).codec
  }

  /** The key picture at the place, alone. */
  async #key(): Promise<Loaded> {
    const parts: Part[] = []
    while (parts.length === 0) {
      const opened = await this.#fragment(FIRST)
      if (!opened) return this.#behind(parts)
      this.#add(parts, [opened])
    }
    return { parts, until: this.#until, edge: false }
  }

  /** Pictures up to the end of a piece, of the segment, or of what there is. */
  async #next(): Promise<Loaded> {
    if (!this.#place) {
      const gap = await this.#on(this.#until)
      if (gap) return gap
    }
    const piece = this.#first ? FIRST : PIECE
    this.#first = false
    const parts: Part[] = []
    let bytes = 0
    const batch: Opened[] = []
    while (bytes < piece) {
      const opened = await this.#fragment(piece)
      if (!opened) break
      batch.push(opened)
      bytes += opened.payload.length
    }
    this.#add(parts, batch)
    if (bytes >= piece) return { parts, until: this.#until, edge: false }
    return this.#behind(parts)
  }

  /** Behind the end of a segment: the next one, a gap, or the end of what is recorded. */
  async #behind(parts: Part[]): Promise<Loaded> {
    const place = this.#place
    if (place && place.segment.running && !place.ended) {
      // Perhaps it has ended meanwhile.
      await this.#list(this.#until)
      const same = this.#segments.find(one => one.epoch === place.segment.epoch)
      if (!same || same.running || Number(same.bytes) > place.offset) {
        if (same) this.#place = { ...place, segment: same }
        if (same?.running || Number(same?.bytes ?? 0) > place.offset) return { parts, until: this.#until, edge: true }
      }
    }
    const closed = place && !place.ended && !place.segment.running
    const end = closed ? max(this.#until, place.segment.ends) : this.#until
    const before = place?.segment.epoch ?? 0n
    this.#place = undefined
    const known = this.#segments.find(one => one.epoch > before && one.starts < this.#known)
    if (!known || known.running) await this.#list(max(this.#until, end - S))
    const next = this.#segments.find(one => one.epoch > before)
    if (next && next.starts <= end + HOLE) {
      await this.#go(next, 0)
      return { parts, until: this.#until, edge: false }
    }
    const gap = this.#gap(end, before)
    return { ...gap, parts }
  }

  /** Goes on at a place where no segment is open. */
  async #on(at: bigint): Promise<Loaded | undefined> {
    await this.#list(at)
    const next = this.#segments.find(one => at < one.ends)
    if (next && next.starts <= at + HOLE) {
      this.#torn = true
      await this.#go(next, next.starts <= at ? Number(next.seek) : 0)
      return undefined
    }
    return this.#gap(at)
  }

  /** What is not recorded from a place on, and until when; the end of what is recorded, if nothing is said of it yet. */
  #gap(at: bigint, before = 0n): Loaded {
    this.#torn = true
    this.#place = undefined
    this.#placer = new Placer(this.#origin)
    const next = this.#segments.find(one => one.epoch > before && one.starts > at)
    const spans = this.#coverage.filter(span => span.kind !== 'recorded' && span.until > at)
    const last = spans.at(-1)
    const past = this.#known < this.#keys.now() ? this.#known : undefined
    const until = next?.starts ?? past ?? (last && min(last.until, this.#keys.now()))
    if (until === undefined || until <= at) {
      this.#until = at
      return { parts: [], until: at, edge: true }
    }
    this.#until = until
    const said = spans.find(span => span.from <= at + S) ?? spans[0]
    const began = said && said.from < at ? { began: said.from } : {}
    const gap = { from: at, until, kind: said?.kind ?? 'lost', cause: said?.cause ?? '', ...began } as const
    return { parts: [], until, gap, edge: false }
  }

  /** A segment that is not for us. */
  #closed(why: string): Loaded {
    const at = this.#until
    const here = this.#place?.segment ?? this.#segments.find(one => one.starts <= at && at < one.ends)
    const until = max(here?.ends ?? at + WINDOWS[0], at + 1n)
    this.#place = undefined
    this.#torn = true
    this.#until = until
    const began = here ? { began: here.starts } : {}
    return { parts: [], until, gap: { from: at, until, kind: 'lost', cause: why, lapsed: why, ...began }, edge: false }
  }

  /** Makes parts of opened fragments: one for each run under the same parameters. */
  #add(parts: Part[], batch: readonly Opened[]): void {
    let run: { data: Bytes[]; pictures: bigint[]; keys: bigint[]; end: bigint } | undefined
    const close = (): void => {
      if (!run) return
      const init = this.#init && this.#sentInit !== this.#init ? this.#init : undefined
      this.#sentInit = this.#init
      const { data, pictures, keys, end } = run
      parts.push({ ...(init ? { init: init.slice() } : {}), codec: this.#codec, data: joined(data), pictures, keys, end })
      run = undefined
    }
    for (const opened of batch) {
      const { header, payload } = opened
      if (header.kind === 'init') {
        if (!this.#init || !equal(this.#init, payload)) close()
        this.#take(opened)
        continue
      }
      if (payload.length === 0) continue
      this.#torn &&= !header.key
      if (this.#torn || !this.#init) continue
      const parsed = media(payload)
      const placed = this.#placer.place(header.start, parsed)
      const data = rewritten(payload, parsed, { sequence: ++this.#sequence, decodeTime: placed.at, lastAtLeast: STAND })
      run ??= { data: [], pictures: [], keys: [], end: 0n }
      run.data.push(data)
      run.pictures.push(...placed.pictures)
      if (header.key) run.keys.push(placed.pictures[0]!)
      run.end = this.#until = placed.end
    }
    close()
  }
}

/** Whole fragments; what is cut at the end is left out. */
export function wholeFragments(bytes: Bytes): Bytes[] {
  let at = 0
  while (at + HEADER_LEN <= bytes.length) {
    const next = at + decodeHeader(bytes.subarray(at)).length + OVERHEAD
    if (next > bytes.length) break
    at = next
  }
  return [...split(bytes.subarray(0, at) as Bytes, 0)]
}

function joined(parts: readonly Bytes[]): Bytes {
  if (parts.length === 1) return parts[0]!
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    out.set(part, at)
    at += part.length
  }
  return out
}

const max = (one: bigint, other: bigint): bigint => (one > other ? one : other)
const min = (one: bigint, other: bigint): bigint => (one < other ? one : other)
