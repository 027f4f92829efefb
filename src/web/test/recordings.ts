/**
 * Reading and saving recordings over the edges of epochs, from sealed fragments made here: no appliance, no player.
 */

import { FragmentOpener, type Bytes, type Order } from '../crypto/index.js'
import type { Coverage } from '../facade.js'
import { refuse } from '../session/errors.js'
import { FragmentCache } from '../video/cache.js'
import { exportSpan } from '../video/export.js'
import type { Epoch, Source } from '../video/keys.js'
import { media } from '../video/mp4.js'
import { RecordingReader } from '../video/reader.js'
import { refused, same } from './assert.js'
import { epoch, S, T, type Made, type Plan } from './sealed.js'
import type { Case } from './suite.js'

/** A source as the appliance is one. */
async function source(plans: readonly Plan[], coverage: readonly Coverage[]): Promise<{ keys: Source; opened: string[] }> {
  const all = await Promise.all(plans.map((plan, at) => epoch(BigInt(at + 1), plan)))
  const opened: string[] = []
  const of = (number: bigint): Made => all.find(one => one.epoch === number)!
  const keys: Source = {
    now: () => T + 3600n * S,
    async segments(_, from, until) {
      const segments = all
        .filter(one => one.starts < until && one.ends > from)
        .map(one => ({ ...one, seek: BigInt(one.gops.filter(gop => gop.starts <= from).at(-1)?.at ?? one.head) }))
      return { segments, coverage: coverage.filter(span => span.from < until && span.until > from), next: null }
    },
    missing: (_, epochs, action) => epochs.filter(number => !opened.includes(`${action} ${number}`)),
    async open(_, epochs, action) {
      opened.push(...epochs.map(number => `${action} ${number}`))
      return [...epochs]
    },
    async epoch(_, number) {
      const { head, file, record, key, ours } = of(number)
      if (!ours) throw refuse('not_entitled', 'Not sealed to you', 'no grant')
      const opener = (order: Order): Promise<FragmentOpener> => FragmentOpener.of(key, record, order)
      return { start: head, ahead: file.slice(head), opener } satisfies Epoch
    },
    async bytes(_, number, offset, length) {
      return of(number).file.slice(offset, offset + length)
    },
  }
  return { keys, opened }
}

const camera = 'a1'.repeat(16)
const group = (length: number): boolean[] => Array.from({ length }, (_, at) => at % 5 === 0)
const span = (from: bigint, until: bigint, kind: Coverage['kind'], cause = ''): Coverage => ({ from, until, kind, cause })

/** Two epochs of one run, the second of which begins in a group of pictures; a gap; another run. */
async function three(): Promise<{ keys: Source; opened: string[] }> {
  const plans = [
    { starts: T, keys: group(18), ticks: 777n },
    { starts: T + (36n * S) / 10n, keys: [false, false, ...group(10)], ticks: 777n + 18n * 18_000n },
    { starts: T + 60n * S, keys: group(10), ticks: 5n },
  ]
  const ends = T + 6n * S
  return source(plans, [span(T, ends, 'recorded'), span(ends, T + 60n * S, 'lost', 'away'), span(T + 60n * S, T + 62n * S, 'recorded')])
}

/** Everything from a place on, until a gap or the end. */
async function read(keys: Source, from: bigint): Promise<{ pictures: bigint[]; gap: string; until: bigint; inits: number }> {
  const reader = new RecordingReader(keys, new FragmentCache(), camera, T - 1000n * S)
  const ask = { camera, origin: T - 1000n * S }
  const [pictures, times]: [bigint[], bigint[]] = [[], []]
  let inits = 0
  for (let turn = 0; turn < 20; turn++) {
    const loaded = await reader.load(turn === 0 ? { ...ask, from } : ask)
    for (const part of loaded.parts) {
      pictures.push(...part.pictures)
      inits += part.init ? 1 : 0
      times.push(media(part.data.slice(0, partLength(part.data))).decodeTime)
    }
    if (loaded.gap || loaded.edge) {
      same(times.every((time, at) => at === 0 || time > times[at - 1]!), true, 'times rise')
      const { gap } = loaded
      const text = gap ? `${gap.kind} ${gap.lapsed ?? gap.cause} ${(gap.from - T) / S} to ${(gap.until - T) / S}` : 'edge'
      return { pictures, gap: text, until: loaded.until, inits }
    }
  }
  throw new Error('it does not end')
}

/** Length of the first `moof` and `mdat`. */
function partLength(bytes: Bytes): number {
  const at = new DataView(bytes.buffer).getUint32(0)
  return at + new DataView(bytes.buffer).getUint32(at)
}

const tenths = (pictures: readonly bigint[]): string => {
  const all = pictures.map(utc => Number((utc - T + 1_000_000n) / (S / 10n)))
  const whole = all.every((value, at) => at === 0 || value === all[at - 1]! + 1)
  return `${all[0]} to ${all.at(-1)}${whole ? '' : ' with holes'}`
}

/** The cases. */
export function recordings(): Case[] {
  return [
    {
      name: 'a recording is read from a key picture on over the edge of an epoch, up to a gap',
      async run() {
        const { keys, opened } = await three()
        const found = await read(keys, T + (25n * S) / 10n)
        same([tenths(found.pictures), found.gap, found.inits], ['20 to 59', 'lost away 6 to 60', 1], 'read')
        same(opened, ['playback 1', 'playback 2', 'playback 3'], 'opened ahead at once')
      },
    },
    {
      name: 'an epoch that begins in a group of pictures is read from the one before',
      async run() {
        const { keys } = await three()
        // The group began at 3.0 s, the epoch at 3.6 s.
        same(tenths((await read(keys, T + (37n * S) / 10n)).pictures), '30 to 59', 'from the key picture')
      },
    },
    {
      name: 'a place where nothing is recorded is a gap with its cause, and the end is no gap',
      async run() {
        const { keys } = await three()
        const gap = await read(keys, T + 30n * S)
        same([gap.pictures.length, gap.gap], [0, 'lost away 30 to 60'], 'in the gap')
        const last = await read(keys, T + 61n * S)
        same([tenths(last.pictures), last.gap], ['610 to 619', 'edge'], 'the end')
      },
    },
    {
      name: 'an epoch that is not sealed to us is a gap that says so, and what follows is read',
      async run() {
        const plans = [
          { starts: T, keys: group(10), ticks: 0n, ours: false },
          { starts: T + 2n * S, keys: group(10), ticks: 180_000n },
        ]
        const { keys } = await source(plans, [span(T, T + 4n * S, 'recorded')])
        same((await read(keys, T + S)).gap, 'lost no grant 1 to 2', 'closed')
        const reader = new RecordingReader(keys, new FragmentCache(), camera, T - S)
        await reader.load({ camera, origin: T - S, from: T + S })
        const next = await reader.load({ camera, origin: T - S })
        same(tenths(next.parts.flatMap(part => part.pictures)), '20 to 39', 'behind it')
      },
    },
    {
      name: 'only the key picture is read where only that is asked for',
      async run() {
        const { keys } = await three()
        const reader = new RecordingReader(keys, new FragmentCache(), camera, T - S, 1)
        const { parts } = await reader.load({ camera, origin: T - S, from: T + (29n * S) / 10n, keyOnly: true })
        same([parts.length, tenths(parts[0]!.pictures), parts[0]!.keys.length], [1, '20 to 21', 1], 'one fragment')
      },
    },
    {
      name: 'an export begins with a key picture, keeps gaps, and opens keys with its purpose alone',
      async run() {
        const { keys, opened } = await three()
        const told: number[] = []
        const progress = (step: { done: number }): void => void told.push(step.done)
        const save = (from: bigint, until: bigint, why = 'theft') =>
          exportSpan(keys, camera, 'Tor / Süd', from, until, why, progress, new AbortController().signal)
        const made = await save(T + (25n * S) / 10n, T + 61n * S)
        same([made.name, String((made.from - T) / (S / 10n))], ['Tor-Süd-2026-11-24T233002Z.mp4', '20'], 'from the key picture')
        same(made.gaps.map(gap => `${gap.cause} ${(gap.from - T) / S}-${(gap.until - T) / S}`), ['away 6-60'], 'gaps')
        same(opened, ['export 1', 'export 2', 'export 3'], 'opened for export')
        const bytes = new Uint8Array(await made.blob.arrayBuffer())
        same(String.fromCharCode(...bytes.subarray(4, 8)), 'ftyp', 'a header')
        let [at, first, last] = [0, -1n, -1n]
        while (at < bytes.length) {
          const size = new DataView(bytes.buffer).getUint32(at)
          const name = String.fromCharCode(...bytes.subarray(at + 4, at + 8))
          if (name === 'moof') {
            const whole = size + new DataView(bytes.buffer).getUint32(at + size)
            last = media(bytes.slice(at, at + whole)).decodeTime
            first = first < 0n ? last : first
          }
          at += size
        }
        // 2.0 s to 60.8 s on one timeline.
        same([first, last].map(String), ['0', String(588n * 9000n)], 'as long as the span')
        same(told.at(-1)! > 0, true, 'told')
        await refused('no_purpose', 'why', () => save(T, T + S, ' '))
        await refused('nothing', 'where', () => save(T + 10n * S, T + 20n * S))
      },
    },
  ]
}
