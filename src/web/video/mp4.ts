/**
 * The few boxes of a fragment that are read and rewritten: `avcC` of an init fragment; decode time, durations and sizes of a
 * media fragment. Twin of what `src/media/mp4.rs` writes and `mp4join.rs` reads.
 *
 * What does not belong: keys, UTC (clock), MSE. Invariants: one video track, timescale 90,000, `avc1`; nothing is believed
 * beyond the bytes that are there; rewriting changes lengths only where it says so.
 */

import { concat, hex, u32, type Bytes } from '../crypto/bytes.js'
import { PeriError } from '../crypto/errors.js'

/** Ticks of a second. */
export const HZ = 90_000
/** Most samples of a fragment, as in `src/domain/limits.rs`. */
const SAMPLES_MAX = 64

/** What a decoder must know. */
export interface Format {
  /** RFC 6381, `avc1.` and profile, constraints, level. */
  readonly codec: string
  /** The `avcC` box's content, for WebCodecs. */
  readonly description: Bytes
  readonly width: number
  readonly height: number
}

/** A picture of a fragment. */
export interface Sample {
  readonly duration: number
  readonly size: number
}

/** A media fragment taken apart; offsets count from its first byte. */
export interface Media {
  readonly decodeTime: bigint
  readonly key: boolean
  readonly samples: readonly Sample[]
  /** Sum of the durations. */
  readonly duration: number
  /** Where the samples begin. */
  readonly payload: number
  readonly sequenceAt: number
  readonly decodeTimeAt: number
  readonly samplesAt: number
  readonly mdatAt: number
}

const damaged = (why: string): PeriError => new PeriError('bad_encoding', `a fragment is not readable: ${why}`)

const at32 = (bytes: Uint8Array, at: number): number => {
  if (at < 0 || at + 4 > bytes.length) throw damaged('it is cut')
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0
}

/** Start and end of the content of the first box of that name between two places. */
function box(bytes: Uint8Array, name: string, from: number, until: number): [number, number] {
  for (let at = from; at + 8 <= until; ) {
    const size = at32(bytes, at)
    if (size < 8 || at + size > until) break
    if (named(bytes, at + 4) === name) return [at + 8, at + size]
    at += size
  }
  throw damaged(`no ${name} box`)
}

const named = (bytes: Uint8Array, at: number): string => String.fromCharCode(...bytes.subarray(at, at + 4))

/** The content of the one sample entry: its place, and that of `avcC`. */
function entry(init: Uint8Array): { at: number; end: number; avcc: [number, number] } {
  let [from, until] = box(init, 'moov', 0, init.length)
  for (const name of ['trak', 'mdia', 'minf', 'stbl', 'stsd']) [from, until] = box(init, name, from, until)
  // Version, flags and the number of entries stand before the first.
  const at = from + 8
  const end = at + at32(init, at)
  const name = named(init, at + 4)
  if (end > until || (name !== 'avc1' && name !== 'avc3')) throw damaged('no avc1 entry')
  return { at, end, avcc: box(init, 'avcC', at + 86, end) }
}

/** What an init fragment (`ftyp` + `moov`) says. */
export function format(init: Uint8Array): Format {
  const { at, avcc } = entry(init)
  const description = new Uint8Array(init.slice(avcc[0], avcc[1]))
  if (description.length < 7 || description[0] !== 1) throw damaged('no avcC of version 1')
  const size = at32(init, at + 32)
  return { codec: `avc1.${hex(description.subarray(1, 4))}`, description, width: size >>> 16, height: size & 0xffff }
}

/** SPS and PPS of an init fragment, each with a 4-byte length, to be written before a picture. */
export function parameterSets(init: Uint8Array): Bytes {
  const { description } = format(init)
  const parts: Uint8Array[] = []
  let at = 5
  for (const mask of [0x1f, 0xff]) {
    let count = description[at++]! & mask
    for (; count > 0; count--) {
      const length = (description[at]! << 8) | description[at + 1]!
      const set = description.subarray(at + 2, at + 2 + length)
      if (set.length !== length) throw damaged('parameter sets are cut')
      parts.push(u32(length), set)
      at += 2 + length
    }
  }
  return concat(...parts)
}

/** Declares that parameter sets may stand in band (`avc3`): four bytes of the header change. */
export function declareInBand(init: Uint8Array): Bytes {
  const out = new Uint8Array(init)
  out.set([0x61, 0x76, 0x63, 0x33], entry(out).at + 4)
  return out
}

/** A media fragment (`moof` + `mdat`). */
export function media(bytes: Uint8Array): Media {
  const [moof, moofEnd] = box(bytes, 'moof', 0, bytes.length)
  const [mfhd] = box(bytes, 'mfhd', moof, moofEnd)
  const [traf, trafEnd] = box(bytes, 'traf', moof, moofEnd)
  const [tfdt, tfdtEnd] = box(bytes, 'tfdt', traf, trafEnd)
  const [trun, trunEnd] = box(bytes, 'trun', traf, trafEnd)
  if (bytes[tfdt] !== 1 || tfdtEnd - tfdt !== 12) throw damaged('no decode time of 64 bits')
  const flags = at32(bytes, trun) & 0xffffff
  const first = (flags & 0x4) !== 0
  // Data offset, durations and sizes; nothing else that would stand between them.
  if ((flags & 0xfffffb) !== 0x301) throw damaged('samples of another form')
  const count = at32(bytes, trun + 4)
  const samplesAt = trun + 12 + (first ? 4 : 0)
  if (count === 0 || count > SAMPLES_MAX || samplesAt + count * 8 !== trunEnd) throw damaged('its samples do not fit')
  const samples: Sample[] = []
  let [duration, size] = [0, 0]
  for (let at = samplesAt; at < trunEnd; at += 8) {
    const sample = { duration: at32(bytes, at), size: at32(bytes, at + 4) }
    samples.push(sample)
    duration += sample.duration
    size += sample.size
  }
  const mdatAt = moofEnd
  if (at32(bytes, mdatAt) !== size + 8 || named(bytes, mdatAt + 4) !== 'mdat' || mdatAt + 8 + size !== bytes.length) {
    throw damaged('its samples do not fill mdat')
  }
  const decodeTime = (BigInt(at32(bytes, tfdt + 4)) << 32n) | BigInt(at32(bytes, tfdt + 8))
  // Depends on none: the flags that the recorder gives a key picture.
  const key = first && ((at32(bytes, trun + 8 + 4) >>> 16) & 1) === 0
  return {
    decodeTime,
    key,
    samples,
    duration,
    payload: mdatAt + 8,
    sequenceAt: mfhd + 4,
    decodeTimeAt: tfdt + 4,
    samplesAt,
    mdatAt,
  }
}

/** What {@link rewritten} changes. */
export interface Change {
  readonly sequence: number
  readonly decodeTime: bigint
  /** The last picture stands at least so long; players then bridge a step that was longer than announced. */
  readonly lastAtLeast?: number
  /** Written before the first picture. */
  readonly extra?: Uint8Array
}

/** A copy of a media fragment with other times. */
export function rewritten(bytes: Uint8Array, parsed: Media, change: Change): Bytes {
  const { extra } = change
  const out = extra
    ? concat(bytes.subarray(0, parsed.payload), extra, bytes.subarray(parsed.payload))
    : new Uint8Array(bytes)
  const write = new DataView(out.buffer)
  write.setUint32(parsed.sequenceAt, change.sequence >>> 0)
  write.setBigUint64(parsed.decodeTimeAt, change.decodeTime < 0n ? 0n : change.decodeTime)
  if (extra) {
    write.setUint32(parsed.samplesAt + 4, parsed.samples[0]!.size + extra.length)
    write.setUint32(parsed.mdatAt, at32(out, parsed.mdatAt) + extra.length)
  }
  const last = parsed.samples.length - 1
  const { lastAtLeast = 0 } = change
  if (parsed.samples[last]!.duration < lastAtLeast) write.setUint32(parsed.samplesAt + last * 8, lastAtLeast)
  return out
}
