/**
 * Saves a span of one camera as MP4, with an account of what is missing in it. Twin of `src/client/commands/export.rs` and
 * `src/client/footage/cut.rs`.
 *
 * What does not belong: asking for the purpose, saving the file. Invariants: keys are opened with the purpose, for the action
 * export, whatever was opened before; the file begins with parameters and a key picture; memory is one piece and one group of
 * pictures, because the browser keeps what is joined in blobs.
 */

import { decodeHeader, equal, HEADER_LEN, Order, OVERHEAD, type Bytes, type FragmentOpener, type Opened } from '../crypto/index.js'
import type { Coverage, Exported, Progress } from '../facade.js'
import { refuse } from '../session/errors.js'
import type { Segment } from '../session/wire.js'
import { nanos } from './clock.js'
import { Joiner } from './join.js'
import { lapsed, OPEN_MAX, type Source } from './keys.js'
import { wholeFragments } from './reader.js'

/** Bytes fetched by one request. */
const PIECE = 4 * 1024 * 1024
/** Joined bytes that are given to the browser at once. */
const PART = 8 * 1024 * 1024
/** Longest group of pictures that is held while looking for the start: half a minute at 16 Mbit/s. */
const LOOKBACK_MAX = 64 * 1024 * 1024
/** Lost time below this is rounding between two fragments. */
const GAP_MIN = 1_000_000n
/** A fragment of the next epoch that begins later than this behind the last one does not follow it. */
const HOLE = 250_000_000n
/** Longest purpose, bytes. */
const PURPOSE_MAX = 400

/** See the file. */
export async function exportSpan(
  keys: Source,
  camera: string,
  name: string,
  from: bigint,
  until: bigint,
  purpose: string,
  told: (progress: Progress) => void,
  signal: AbortSignal,
): Promise<Exported> {
  const why = purpose.trim()
  if (why === '') throw refuse('no_purpose', 'The purpose is missing', 'an export is entered with its purpose; give one')
  if (new TextEncoder().encode(why).length > PURPOSE_MAX) {
    throw refuse('too_much', 'The purpose is too long', `it has at most ${PURPOSE_MAX} bytes`)
  }
  if (from >= until) throw refuse('bad_span', 'Not a span', 'the span must begin before it ends')
  const { segments, coverage } = await plan(keys, camera, from, until)
  const gaps = missing(coverage, from, until)
  if (segments.length === 0) {
    const causes = gaps.map(gap => gap.cause).filter(cause => cause !== '')
    throw refuse('nothing', 'Nothing is recorded here', causes.join('; ') || 'nothing was recorded in this span')
  }
  const export_ = new Export(from, until)
  const total = segments.reduce((sum, { bytes, seek }) => sum + Number(bytes - seek), 0)
  let done = 0
  for (let at = 0; at < segments.length && !export_.over; at += OPEN_MAX) {
    const batch = segments.slice(at, at + OPEN_MAX)
    await keys.open(camera, batch.map(segment => segment.epoch), 'export', why)
    for (const segment of batch) {
      signal.throwIfAborted()
      const closed = await one(keys, camera, segment, export_, signal, bytes => {
        done += bytes
        told({ done: Math.min(done, total), total, at: export_.at })
      })
      if (closed !== undefined) {
        gaps.push({ from: max(segment.starts, from), until: min(segment.ends, until), kind: 'lost', cause: closed })
      }
      if (export_.over) break
    }
  }
  gaps.sort((one, other) => (one.from < other.from ? -1 : one.from > other.from ? 1 : 0))
  const made = export_.finish(gaps)
  told({ done: total, total, at: made.until })
  return { ...made, name: fileName(name, made.from), gaps }
}

/** One segment; the reason when it is not for us. */
async function one(
  keys: Source,
  camera: string,
  segment: Segment,
  export_: Export,
  signal: AbortSignal,
  told: (bytes: number) => void,
): Promise<string | undefined> {
  const { epoch } = segment
  let opened
  try {
    opened = await keys.epoch(camera, epoch, 'export')
  } catch (error) {
    const why = lapsed(error) ?? ((error as { code?: string }).code === 'erased' ? 'erased meanwhile' : undefined)
    if (why === undefined) throw error
    return why
  }
  const size = Number(segment.bytes)
  // The first one begins at the key picture before the span; its parameters stand at its beginning.
  let offset = Math.max(opened.start, Number(segment.seek))
  const first = wholeFragments(opened.ahead)[0]
  if (offset > opened.start && first) export_.push(epoch, await (await opened.opener(Order.file())).open(first))
  let opener: FragmentOpener | undefined
  let want = PIECE
  while (offset < size && !export_.over) {
    signal.throwIfAborted()
    const bytes = await keys.bytes(camera, epoch, offset, Math.min(want, size - offset), 'export')
    const fragments = wholeFragments(bytes)
    if (fragments.length === 0) {
      if (bytes.length < HEADER_LEN) break
      const need = decodeHeader(bytes).length + OVERHEAD
      // Cut at the end of what is recorded, or longer than a piece.
      if (need <= want || offset + need > size) break
      want = need
      continue
    }
    want = PIECE
    let taken = 0
    opener ??= await opened.opener(Order.file(decodeHeader(fragments[0]!).counter))
    for (const fragment of fragments) {
      export_.push(epoch, await opener.open(fragment))
      taken += fragment.length
      if (export_.over) break
    }
    offset += taken
    told(taken)
  }
  return undefined
}

/** What there is of a span. */
async function plan(
  keys: Source,
  camera: string,
  from: bigint,
  until: bigint,
): Promise<{ segments: Segment[]; coverage: Coverage[] }> {
  const segments: Segment[] = []
  const coverage: Coverage[] = []
  for (let at = from; ; ) {
    const page = await keys.segments(camera, at, until, 'export')
    const last = segments.at(-1)?.epoch ?? 0n
    segments.push(...page.segments.filter(segment => segment.epoch > last))
    coverage.push(...page.coverage)
    if (page.next === null) return { segments, coverage }
    if (page.next <= at) throw refuse('protocol', 'Not understood', 'the list of segments does not end')
    at = page.next
  }
}

/** What of the span is not there, and why. */
export const missing = (coverage: readonly Coverage[], from: bigint, until: bigint): Coverage[] =>
  coverage
    .filter(span => span.kind !== 'recorded')
    .map(span => ({ ...span, from: max(span.from, from), until: min(span.until, until) }))
    .filter(span => span.until - span.from >= GAP_MIN)

/** The cut and the file. */
class Export {
  readonly #from: bigint
  readonly #until: bigint
  readonly #joiner = new Joiner()
  readonly #blobs: Blob[] = []
  #parts: Bytes[] = []
  #bytes = 0
  /** The group of pictures that may contain the start. */
  #group: Opened[] = []
  #held = 0
  #started = false
  #init: Bytes | undefined
  #initDue = false
  #last: { epoch: bigint; ends: bigint } | undefined
  #torn = false
  #first: bigint | undefined
  /** Whether the span is over. */
  over = false
  /** How far it is. */
  at: bigint

  constructor(from: bigint, until: bigint) {
    this.#from = from
    this.#until = until
    this.at = from
  }

  push(epoch: bigint, opened: Opened): void {
    const { header, payload } = opened
    if (header.kind === 'init') {
      if (!this.#init || !equal(this.#init, payload)) {
        this.#init = payload
        this.#initDue = true
      }
      return
    }
    if (payload.length === 0) return
    if (header.start >= this.#until) {
      this.#release()
      this.over = true
      return
    }
    const ends = header.start + nanos(header.duration90k)
    const follows = !this.#last || this.#last.epoch === epoch || header.start <= this.#last.ends + HOLE
    this.#torn = !header.key && (this.#torn || !follows)
    this.#last = { epoch, ends }
    this.at = max(this.#from, min(header.start, this.#until))
    // What stands between an epoch that is missing and the next key picture shows in no player.
    if (this.#torn) return
    if (this.#started) return this.#emit(opened)
    if (header.key) {
      this.#group = []
      this.#held = 0
    } else if (this.#group.length === 0) {
      return
    }
    this.#held += payload.length
    if (this.#held > LOOKBACK_MAX) {
      const detail = 'more than 64 MiB without a key picture; set a shorter key interval at the camera'
      throw refuse('no_key_picture', 'No key picture', detail)
    }
    this.#group.push(opened)
    if (ends > this.#from) this.#release()
  }

  finish(gaps: readonly Coverage[]): Omit<Exported, 'name' | 'gaps'> {
    this.#release()
    const { header, until } = this.#joiner
    if (!header || until === undefined || this.#first === undefined) {
      const causes = gaps.map(gap => gap.cause).filter(cause => cause !== '')
      throw refuse('nothing', 'Nothing to save', causes.join('; ') || 'there is no key picture in this span; take a longer one')
    }
    this.#flush()
    const blob = new Blob([header, ...this.#blobs], { type: 'video/mp4' })
    return { blob, from: this.#first, until }
  }

  /** Hands on the held group if it reaches into the span. */
  #release(): void {
    const group = this.#group
    this.#group = []
    const last = group.at(-1)
    if (!last || last.header.start + nanos(last.header.duration90k) <= this.#from) return
    this.#started = true
    for (const opened of group) this.#emit(opened)
  }

  #emit({ header, payload }: Opened): void {
    if (this.#initDue && this.#init) this.#joiner.init(this.#init)
    this.#initDue = false
    this.#first ??= header.start
    const bytes = this.#joiner.media(payload, header.start)
    this.#parts.push(bytes)
    this.#bytes += bytes.length
    if (this.#bytes >= PART) this.#flush()
  }

  #flush(): void {
    this.#blobs.push(new Blob(this.#parts))
    this.#parts = []
    this.#bytes = 0
  }
}

/** Camera and start in UTC, in what every file system takes. */
function fileName(camera: string, from: bigint): string {
  const clean = camera.normalize('NFC').replace(/[^\p{L}\p{N}._-]+/gu, '-').replace(/^[-.]+|-+$/g, '') || 'camera'
  const time = new Date(Number(from / 1_000_000n)).toISOString().slice(0, 19).replaceAll(':', '')
  return `${clean}-${time}Z.mp4`
}

const max = (one: bigint, other: bigint): bigint => (one > other ? one : other)
const min = (one: bigint, other: bigint): bigint => (one < other ? one : other)
