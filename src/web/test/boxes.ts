/**
 * Fragments as the recorder writes them, for tests.
 */

import { concat, u32, utf8, type Bytes } from '../crypto/index.js'

const box = (name: string, ...content: Uint8Array[]): Bytes => {
  const inside = concat(...content)
  return concat(u32(inside.length + 8), utf8(name), inside)
}
const zeros = (length: number): Bytes => new Uint8Array(length)

/** An init fragment as the recorder writes it, with this SPS. */
export function init(sps: Uint8Array): Bytes {
  const pps = Uint8Array.of(0x68, 0xee)
  const avcc = box(
    'avcC',
    Uint8Array.of(1, sps[1]!, sps[2]!, sps[3]!, 0xff, 0xe1, 0, sps.length),
    sps,
    Uint8Array.of(1, 0, pps.length),
    pps,
  )
  const entry = box('avc1', zeros(24), Uint8Array.of(3, 0xc0, 1, 0xe0), zeros(50), avcc)
  const stsd = box('stsd', zeros(4), u32(1), entry)
  const trak = box('trak', box('tkhd', zeros(4)), box('mdia', box('minf', box('stbl', stsd))))
  return concat(box('ftyp', utf8('iso5')), box('moov', box('mvhd', zeros(4)), trak))
}

/** A media fragment as the recorder writes it. */
export function fragment(time: bigint, key: boolean, durations: readonly number[]): Bytes {
  const tfdt = new Uint8Array(12)
  tfdt[0] = 1
  new DataView(tfdt.buffer).setBigUint64(4, time)
  const samples = durations.flatMap(duration => [u32(duration), u32(5)])
  const flags = key ? [u32(0x0000_0305), u32(durations.length), u32(0), u32(0x0200_0000)] : [u32(0x301), u32(durations.length), u32(0)]
  const traf = box('traf', box('tfhd', zeros(12)), box('tfdt', tfdt), box('trun', ...flags, ...samples))
  const data = durations.map(() => Uint8Array.of(0, 0, 0, 1, key ? 0x65 : 0x41))
  return concat(box('moof', box('mfhd', zeros(4), u32(77)), traf), box('mdat', ...data))
}

/** Two sequence parameter sets. */
export const ONE = Uint8Array.of(0x67, 0x4d, 0x00, 0x29, 0x9a)
export const TWO = Uint8Array.of(0x27, 0x64, 0xe0, 0x28, 0x8d, 0x68)
