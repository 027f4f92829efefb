/**
 * The live picture over a socket that is made here: joining, the next epoch, what is left out, a connection that breaks, rights
 * that end.
 */

import { cbor, FragmentOpener, type Bytes, type Order } from '../crypto/index.js'
import { refuse, unreachable } from '../session/errors.js'
import type { Home } from '../session/house.js'
import type { LiveEvent } from '../video/calls.js'
import type { Epoch, Source } from '../video/keys.js'
import { LivePicture } from '../video/live.js'
import type { StreamEvent } from '../video/socket.js'
import { same } from './assert.js'
import { epoch, S, T, type Made } from './sealed.js'
import type { Case } from './suite.js'

const camera = 'a1'.repeat(16)
const until = async (what: string, holds: () => boolean): Promise<void> => {
  for (let turn = 0; turn < 300; turn++) {
    if (holds()) return
    await new Promise(resolve => setTimeout(resolve, 10))
  }
  throw new Error(`it never came: ${what}`)
}

/** An appliance of one camera, whose running epoch and rights the test says. */
class Stage {
  readonly events: LiveEvent[] = []
  readonly starts: { offset: number; epoch: bigint; hear: (event: StreamEvent) => void }[] = []
  opened = 0
  running: Made | undefined
  readonly live: boolean
  refusing = false
  readonly #known: Made[] = []
  readonly picture: LivePicture

  constructor(running: Made, live: boolean) {
    this.live = live
    this.run(running)
    const socket = {
      start: async (body: Bytes, hear: (event: StreamEvent) => void) => {
        const [number, offset] = cbor.decode('a fetch', body, reader => {
          reader.array(6)
          reader.bytes(16)
          const found = [reader.u64(), Number(reader.u64())] as const
          same([reader.null(), reader.bool(), reader.small(8)], [true, true, 0], 'to the end, followed, live')
          return found
        })
        return this.starts.push({ offset, epoch: number, hear })
      },
      stop: () => undefined,
    }
    const home = async (): Promise<Home> => this.#home()
    const parts = { session: { now: () => T }, keys: this.#keys(), socket, home, read: home }
    this.picture = new LivePicture(parts, camera, T - S, event => this.events.push(event))
  }

  run(made: Made): void {
    this.running = made
    this.#known.push(made)
  }

  /** UTC of what was shown, tenths of a second. */
  get shown(): number[] {
    const parts = this.events.flatMap(event => (event.is === 'media' ? [event.part] : []))
    return parts.flatMap(part => part.pictures).map(utc => Number((utc - T + 1_000_000n) / (S / 10n)))
  }

  /** Fragments of an epoch to the newest stream, by their numbers (0: init). */
  send(made: Made, ...numbers: number[]): void {
    for (const number of numbers) {
      const bytes = made.file.slice(made.places[number], made.places[number + 1])
      this.starts.at(-1)!.hear({ is: 'chunk', bytes })
    }
  }

  tell(event: StreamEvent): void {
    this.starts.at(-1)!.hear(event)
  }

  #home(): Home {
    const rights = { live: this.live, playback: false, export: false }
    const one = { id: camera, name: 'gate', registered: true, removed: false, plain: false, rights, recordedUntil: null, lost: '' }
    return { house: { cameras: [one] } } as unknown as Home
  }

  #keys(): Source {
    const here = new Set<bigint>()
    return {
      now: () => T,
      segments: async () => {
        const { running } = this
        const segments = running ? [{ ...running, running: true, seek: BigInt(running.gops.at(-1)?.at ?? running.head) }] : []
        return { segments, coverage: [], next: null }
      },
      missing: (_, epochs) => epochs.filter(number => !here.has(number)),
      open: async () => {
        this.opened++
        if (this.refusing) throw refuse('no_grant', 'No such camera', 'the grant ended')
        if (!this.running) return []
        here.add(this.running.epoch)
        return [this.running.epoch]
      },
      epoch: async (_, number) => {
        const { head, file, record, key } = this.#known.find(one => one.epoch === number)!
        const opener = (order: Order): Promise<FragmentOpener> => FragmentOpener.of(key, record, order)
        return { start: head, ahead: file.slice(head), opener } satisfies Epoch
      },
      bytes: async () => new Uint8Array(0),
    }
  }
}

/** Runs on a stage that is cleared whatever happens. */
async function on(running: Made, live: boolean, run: (stage: Stage) => Promise<void>): Promise<void> {
  const stage = new Stage(running, live)
  try {
    await run(stage)
  } finally {
    stage.picture.close()
  }
}

const group = (length: number): boolean[] => Array.from({ length }, (_, at) => at % 5 === 0)

/** The cases. */
export function watching(): Case[] {
  const one = () => epoch(1n, { starts: T, keys: group(12), ticks: 7n })
  const two = () => epoch(2n, { starts: T + (24n * S) / 10n, keys: [false, ...group(10)], ticks: 7n + 12n * 18_000n })
  return [
    {
      name: 'a viewer joins at the last key picture and follows into the next epoch without a hole',
      async run() {
        const [first, second] = [await one(), await two()]
        await on(first, true, async stage => {
          await until('a stream', () => stage.starts.length === 1)
          same(stage.starts[0]!.offset, first.gops.at(-1)!.at, 'at the last key picture')
          stage.send(first, 11, 12, 13)
          await until('pictures', () => stage.shown.length === 4)
          stage.run(second)
          stage.tell({ is: 'end' })
          await until('the next stream', () => stage.starts.length === 2)
          same(stage.starts[1]!.offset, second.head, 'behind its head')
          stage.send(second, 0, 1, 2)
          await until('more pictures', () => stage.shown.length === 8)
          same(stage.shown, [20, 21, 22, 23, 24, 25, 26, 27], 'one after the other')
          const inits = stage.events.filter(event => event.is === 'media' && event.part.init)
          same([inits.length, stage.opened], [1, 2], 'the same parameters once, each epoch opened once')
        })
      },
    },
    {
      name: 'what was left out is said, and it goes on with a key picture',
      async run() {
        const first = await one()
        await on(first, true, async stage => {
          await until('a stream', () => stage.starts.length === 1)
          stage.send(first, 1, 2)
          stage.tell({ is: 'skipped', bytes: 900n })
          stage.send(first, 5, 6, 7)
          await until('pictures', () => stage.shown.length === 8)
          same(stage.shown, [0, 1, 2, 3, 10, 11, 12, 13], 'the one that is no key picture waits')
          same(stage.events.filter(event => event.is === 'skipped').length, 1, 'said')
        })
      },
    },
    {
      name: 'after a connection that broke the same epoch is followed again without another disclosure',
      async run() {
        const first = await one()
        await on(first, true, async stage => {
          await until('a stream', () => stage.starts.length === 1)
          stage.send(first, 11, 12)
          await until('pictures', () => stage.shown.length === 4)
          stage.tell({ is: 'error', error: unreachable('cut') })
          await until('again', () => stage.starts.length === 2)
          stage.send(first, 11, 12)
          same(stage.opened, 1, 'opened once')
          same(stage.events.filter(event => event.is === 'waiting').length, 1, 'said')
          await new Promise(resolve => setTimeout(resolve, 50))
          same(stage.shown, [20, 21, 22, 23], 'nothing twice')
        })
      },
    },
    {
      name: 'a right that ended is said, and nothing is asked without one',
      async run() {
        const first = await one()
        await on(first, true, async stage => {
          await until('a stream', () => stage.starts.length === 1)
          stage.refusing = true
          stage.tell({ is: 'end' })
          const said = (): boolean => stage.events.some(event => event.is === 'lapsed' && event.why === 'the grant ended')
          await until('the refusal', said)
          same(stage.opened, 2, 'asked once more')
        })
        await on(first, false, async stage => {
          await until('the missing right', () => stage.events.some(event => event.is === 'lapsed'))
          same(stage.opened, 0, 'not asked')
        })
      },
    },
  ]
}
