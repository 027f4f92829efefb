/**
 * The segment file: its head, and reading it to the end. Twin of `src/seal/segment.rs` and `src/open/segment.rs`; byte by
 * byte in `compliance/segment-format.md`.
 *
 * What does not belong: fetching, playing. Invariants: every length is checked against its bound before it is believed;
 * nothing is opened of a segment whose record was not verified.
 */

import { equal, hex, view, type Bytes } from './bytes.js'
import * as cbor from './cbor.js'
import type { ContentKey } from './content.js'
import { crc32c } from './crc32c.js'
import { hash } from './digest.js'
import { demand, PeriError } from './errors.js'
import { decodeHeader, FragmentOpener, HEADER_LEN, Order, OVERHEAD, type Opened } from './fragment.js'
import type { UserPublic } from './keys.js'
import { parseRecord, validateContext, verifyRecord, verifyWraps, WRAPS_MAX, type EpochRecord } from './record.js'
import { readWrap, WRAP_LEN_MAX, wrapFits, type Wrap } from './wrap.js'

const MAGIC = '5045524953454701'
/** Longest canonical record. */
const RECORD_LEN_MAX = 512
/** Longest wraps section: CBOR array head and the wraps. */
const WRAPS_LEN_MAX = 3 + WRAPS_MAX * WRAP_LEN_MAX
/** Longest head: magic, two sections with length and checksum. */
export const HEAD_LEN_MAX = 8 + 8 + RECORD_LEN_MAX + 8 + WRAPS_LEN_MAX

/** The head needs more bytes: `need` of them from the start of the file, at most {@link HEAD_LEN_MAX}. */
export class IncompleteHead extends PeriError {
  readonly need: number

  constructor(need: number) {
    super('bad_head', `the head of the segment is cut: it has at least ${need} bytes`)
    this.need = need
  }
}

/** The head of a segment. Signature and device are not checked yet. */
export interface Head {
  readonly record: EpochRecord
  readonly wraps: readonly Wrap[]
  /** Offset of the first fragment. */
  readonly length: number
}

/** Who must have recorded the segment. */
export interface Expected {
  readonly device: UserPublic
  readonly vm: Bytes
  readonly camera: Bytes
}

/** How a segment ended: `missing_final` is a running segment, a power cut, or a cut by somebody; the ledger tells which. */
export type Ending = 'final' | 'missing_final'

/** Reads a head from the first bytes of a segment; what follows it is ignored. */
export async function parseHead(bytes: Bytes): Promise<Head> {
  if (bytes.length < 8) throw new IncompleteHead(12)
  demand(hex(bytes.subarray(0, 8)) === MAGIC, 'bad_head', 'this is not a segment of format 1')
  const [recordBytes, at] = section('record', bytes, 8, RECORD_LEN_MAX)
  const [wrapsBytes, length] = section('wraps', bytes, at, WRAPS_LEN_MAX)
  try {
    const record = parseRecord(recordBytes)
    const wraps = cbor.decode('a list of wraps', wrapsBytes, reader =>
      Array.from({ length: reader.list(WRAPS_MAX) }, () => readWrap(reader)),
    )
    validateContext(record.context)
    const fit = wraps.every(wrap => wrapFits(wrap, record.context))
    demand(fit, 'bad_head', 'a wrap cannot be one of this epoch: kind, index or length is wrong')
    await verifyWraps(record, wraps)
    return { record, wraps, length }
  } catch (error) {
    throw error instanceof PeriError ? new PeriError('bad_head', error.message) : error
  }
}

function section(name: string, bytes: Bytes, at: number, most: number): [Bytes, number] {
  if (bytes.length < at + 4) throw new IncompleteHead(at + 4)
  const length = view(bytes).getUint32(at)
  demand(length <= most, 'bad_head', `the ${name} section claims ${length} bytes, at most ${most} are possible`)
  const end = at + 4 + length
  if (bytes.length < end + 4) throw new IncompleteHead(end + 4)
  const intact = crc32c(bytes.subarray(at, end)) === view(bytes).getUint32(end)
  demand(intact, 'bad_head', `the ${name} section is damaged (CRC-32C): restore the file from a copy`)
  return [bytes.slice(at + 4, end), end + 4]
}

/** A segment whose head is verified. */
export class Segment {
  readonly head: Head
  readonly #file: Bytes

  private constructor(file: Bytes, head: Head) {
    this.#file = file
    this.head = head
  }

  /** Parses and verifies the head. */
  static async open(file: Bytes, expected: Expected): Promise<Segment> {
    const head = await parseHead(file)
    await verifyRecord(head.record, expected.device)
    const { vm, camera } = head.record.context
    demand(equal(vm, expected.vm), 'other_vm', 'the segment belongs to another VM')
    demand(equal(camera, expected.camera), 'other_camera', 'the segment belongs to another camera')
    return new Segment(file, head)
  }

  /** The opened fragments in order; returns how the segment ended. What came before an error stays valid. */
  async *fragments(key: ContentKey): AsyncGenerator<Opened, Ending> {
    const opener = await FragmentOpener.of(key, this.head.record, Order.file())
    let init = false
    for (const fragment of split(this.#file, this.head.length)) {
      const opened = await opener.open(fragment)
      init ||= opened.header.kind === 'init'
      const playable = init || opened.payload.length === 0
      demand(playable, 'media_before_init', 'a picture comes before the parameters to decode it')
      yield opened
    }
    return opener.ended ? 'final' : 'missing_final'
  }
}

/** The whole fragments from a place on, unopened. */
export function* split(bytes: Bytes, from: number): Generator<Bytes, void> {
  for (let at = from; at < bytes.length; ) {
    const have = bytes.length - at
    demand(have >= HEADER_LEN, 'truncated', `a header is cut after ${have} bytes`)
    const need = decodeHeader(bytes.subarray(at, at + HEADER_LEN)).length + OVERHEAD
    demand(have >= need, 'truncated', `a fragment of ${need} bytes is cut after ${have}`)
    yield bytes.slice(at, at + need)
    at += need
  }
}

/** Hash over the whole fragments of a file in order, as it stands in the ledger. */
export async function tailHash(record: Bytes, fragments: Iterable<Bytes>): Promise<Bytes> {
  let tail = await hash('tail-start', record)
  for (const fragment of fragments) tail = await hash('tail', tail, fragment)
  return tail
}
