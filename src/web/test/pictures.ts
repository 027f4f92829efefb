/**
 * Boxes, the timeline and joining: what `video/` does without keys, sockets or players.
 */

import { hex, utf8 } from '../crypto/index.js'
import { nanos, Placer, seconds, ticks, utcOf } from '../video/clock.js'
import { missing } from '../video/export.js'
import { Joiner } from '../video/join.js'
import { declareInBand, format, media, parameterSets, rewritten } from '../video/mp4.js'
import { refused, same } from './assert.js'
import { fragment, init, ONE, TWO } from './boxes.js'
import type { Case } from './suite.js'

const S = 1_000_000_000n
/** Late in 2026, so that rounding would show. */
const T = 1_795_563_000n * S

/** The cases. */
export function pictures(): Case[] {
  return [
    {
      name: 'an init fragment says what a decoder must know',
      async run() {
        const { codec, description, width, height } = format(init(ONE))
        same([codec, width, height], ['avc1.4d0029', 960, 480], 'format')
        same(description[0], 1, 'avcC')
        same(parameterSets(init(ONE)), '00000005674d00299a0000000268ee', 'with lengths')
        same(format(declareInBand(init(ONE))).codec, 'avc1.4d0029', 'the parameters stay')
        same(hex(declareInBand(init(ONE))).includes(hex(utf8('avc3'))), true, 'declared')
        const cut = init(ONE)
        await refused('bad_encoding', 'cut', () => format(cut.subarray(0, cut.length - 9)))
      },
    },
    {
      name: 'times of a fragment are read and rewritten, and nothing else changes',
      async run() {
        const bytes = fragment(5_000_000_000n, true, [9000, 9001])
        const parsed = media(bytes)
        same([String(parsed.decodeTime), parsed.key, parsed.duration], ['5000000000', true, 18_001], 'read')
        same(media(fragment(1n, false, [1])).key, false, 'not a key picture')
        const other = rewritten(bytes, parsed, { sequence: 3, decodeTime: 1n << 40n, lastAtLeast: 22_500 })
        const again = media(other)
        same([String(again.decodeTime), again.duration, other.length], [String(1n << 40n), 31_500, bytes.length], 'written')
        same(other.subarray(again.payload), bytes.subarray(parsed.payload), 'the pictures')
        const longer = rewritten(bytes, parsed, { sequence: 3, decodeTime: 0n, extra: Uint8Array.of(1, 2, 3) })
        same([media(longer).samples[0]!.size, longer.length], [8, bytes.length + 3], 'with more in front')
        for (let at = 0; at < bytes.length; at += 3) {
          const flipped = new Uint8Array(bytes)
          flipped[at]! ^= 0x81
          // Read or refused, never anything else.
          await refused('bad_encoding', 'flipped', () => {
            media(flipped)
            throw new RangeError('read')
          }).catch((error: Error) => same(error instanceof RangeError || error.message.includes('found good'), true, error.message))
        }
      },
    },
    {
      name: 'ticks and nanoseconds are each other to a rounding',
      async run() {
        for (const value of [0n, 1n, 3n, 89_999n, 1n << 40n]) same(ticks(nanos(value)) === value, true, `${value} ticks`)
        const origin = T - 30n * 86_400n * S
        for (const utc of [T, T + 33_333_333n, T + 66_666_667n]) {
          const off = utcOf(seconds(utc, origin), origin) - utc
          same(off >= -6_000n && off <= 6_000n, true, `${off} ns off after a month on the line`)
        }
      },
    },
    {
      name: 'fragments lie on one line by UTC over the edges of epochs, and pictures rise',
      async run() {
        const origin = T - S
        const placer = new Placer(origin)
        const one = placer.place(T, media(fragment(5_000_000_000n, true, [9000, 9000])))
        same([String(one.at), String(one.end - T)], ['90000', '200000000'], 'by UTC')
        // The recorder's clock was steered by a millisecond: the camera's ticks are kept.
        const two = placer.place(T + 201_000_000n, media(fragment(5_000_018_000n, false, [9000])))
        same(String(two.at), '108000', 'the camera counts')
        // The next epoch of the same run: the same ticks, another init.
        const three = placer.place(T + 300_000_000n, media(fragment(5_000_027_000n, false, [9000])))
        same(String(three.at), '117000', 'over the edge')
        // Another connection after a gap: other ticks.
        const four = placer.place(T + 10n * S, media(fragment(40n, true, [9000])))
        same(String(four.at), '990000', 'behind a gap')
        // A clock that would lie before the last picture: it still rises.
        const five = placer.place(T + 9n * S, media(fragment(7n, true, [9000])))
        same(five.at > four.at, true, 'never back')
        same(four.pictures[0]! - T === 10n * S, true, 'the time of a picture')
      },
    },
    {
      name: 'epochs become one file with gaps kept, and changed parameters go in band',
      async run() {
        const join = new Joiner()
        join.init(init(ONE))
        const parts = [
          join.media(fragment(5_000_000_000n, true, [9000, 9000]), T),
          join.media(fragment(5_000_018_003n, false, [9000, 9000]), T + 200_000_000n),
        ]
        join.init(init(ONE))
        parts.push(join.media(fragment(40n, true, [9000, 9000]), T + 10_400_000_000n))
        same(
          parts.map(part => String(media(part).decodeTime)),
          ['0', '18003', String(18_000 + 18_003 + 900_000)],
          'times',
        )
        same(join.header, init(ONE), 'one format')
        join.init(init(TWO))
        const changed = join.media(fragment(18_040n, true, [9000]), T + 10_600_000_000n)
        same(media(changed).samples[0]!.size, 5 + 4 + TWO.length + 4 + 2, 'in band')
        same(hex(join.header!).includes(hex(utf8('avc3'))), true, 'declared at last')
      },
    },
    {
      name: 'gaps of an export are clipped to its span and named',
      async run() {
        const span = (from: bigint, until: bigint, kind: 'lost' | 'recorded' | 'erased', cause: string) => ({
          from: from * S,
          until: until * S,
          kind,
          cause,
        })
        const all = [span(0n, 10n, 'lost', 'away'), span(10n, 20n, 'recorded', ''), span(20n, 40n, 'erased', ''), span(40n, 50n, 'lost', 'out')]
        const found = missing(all, 5n * S, 30n * S).map(gap => `${gap.kind} ${gap.from / S}-${gap.until / S} ${gap.cause}`)
        same(found, ['lost 5-10 away', 'erased 20-30 '], 'clipped')
      },
    },
  ]
}
