/**
 * The live picture of one camera: the running epoch, the next one, and what to say in between. In the worker.
 *
 * ```text
 * segments (from now − 1 ms) → running epoch and the place of its last key picture
 * open (live, no epochs) → X → K;  head over HTTP;  then the socket from that place
 * End → open again each 200 ms → next epoch, its head, the socket from behind the head
 * ```
 * Each epoch asks for its X anew, so a revocation ends the picture with the running epoch. What does not belong: MSE. Invariants:
 * nothing is handed on that did not authenticate; after `skipped` it goes on with a key picture; a refusal is said, and is not
 * asked again before the house says that there is a right.
 */

import { decodeHeader, equal, Order, request, split, unhex, type Bytes, type FragmentOpener, type Opened } from '../crypto/index.js'
import { EngineError } from '../session/errors.js'
import type { Home } from '../session/house.js'
import type { Session } from '../session/session.js'
import type { LiveEvent, Part } from './calls.js'
import { Placer } from './clock.js'
import { lapsed, type Epoch, type Source } from './keys.js'
import { format, media, rewritten } from './mp4.js'
import { STAND } from './reader.js'
import type { LiveSocket, StreamEvent } from './socket.js'

const MS = 1_000_000n
/** Pause before asking again while the next epoch has not begun; after a while less often. */
const RETRY_MS = 200
const RETRY_SLOW_MS = 2_000
const RETRIES_QUICK = 25
/** Pause after a failure, doubled up to the second number. */
const BACK_OFF_MS = [500, 15_000] as const
/** How often the house is looked at for a right that is missing. */
const RIGHT_MS = 5_000
/** No picture for so long: the house may know why. */
const SILENT_MS = 3_000
/** Bytes that wait to be opened; beyond it this page is too slow, and the same is done as by the portal. */
const WAITING_MAX = 8 * 1024 * 1024

/** What a live picture needs. */
export interface Live {
  readonly session: Pick<Session, 'now'>
  readonly keys: Source
  readonly socket: Pick<LiveSocket, 'start' | 'stop'>
  home(): Promise<Home>
  /** The house, read anew. */
  read(): Promise<Home>
}

/** See the file. */
export class LivePicture {
  readonly #live: Live
  readonly #camera: string
  readonly #tell: (event: LiveEvent, transfer: Transferable[]) => void
  readonly #placer: Placer
  #closed = false
  #wake: (() => void) | undefined
  #stream: number | undefined
  #epoch = 0n
  #init: Bytes | undefined
  #sentInit: Bytes | undefined
  #codec = ''
  #sequence = 0
  /** Waits for a key picture. */
  #torn = true
  /** Joins the running epoch at its last key picture, rather than following into the next from its head. */
  #join = true
  /** Start of the newest fragment handed on. */
  #newest = -1n
  #said = ''

  constructor(
    live: Live,
    camera: string,
    origin: bigint,
    tell: (event: LiveEvent, transfer: Transferable[]) => void,
  ) {
    this.#live = live
    this.#camera = camera
    this.#tell = tell
    this.#placer = new Placer(origin)
    void this.#run()
  }

  /** Ends it. */
  close(): void {
    this.#closed = true
    if (this.#stream !== undefined) this.#live.socket.stop(this.#stream)
    this.#wake?.()
  }

  async #run(): Promise<void> {
    let wait: number = BACK_OFF_MS[0]
    let idle = 0
    while (!this.#closed) {
      try {
        if (!(await this.#mayLook())) continue
        const began = await this.#next()
        wait = BACK_OFF_MS[0]
        idle = began ? 0 : idle + 1
        if (!began) {
          if (idle > RETRIES_QUICK) await this.#sayLost()
          else if (this.#epoch === 0n) this.#say({ is: 'waiting', why: 'no picture yet' })
          await this.#pause(idle > RETRIES_QUICK ? RETRY_SLOW_MS : RETRY_MS)
        }
      } catch (error) {
        if (this.#closed) return
        const why = lapsed(error)
        if (why !== undefined) {
          this.#say({ is: 'lapsed', why })
          await this.#pause(RIGHT_MS * 6)
          continue
        }
        const failed = EngineError.from(error)
        this.#torn = this.#join = true
        if (failed.code === 'unreachable') this.#say({ is: 'waiting', why: failed.detail })
        // It may be over by now: the next one is asked for.
        else if (failed.code !== 'no_segment') this.#say({ is: 'failed', error: failed.problem() })
        await this.#pause(failed.retryAfter === undefined ? wait : failed.retryAfter * 1000)
        wait = Math.min(wait * 2, BACK_OFF_MS[1])
      }
    }
  }

  /** Whether the house says that there is a right; waits a little if not. */
  async #mayLook(): Promise<boolean> {
    const camera = this.#of(await this.#live.home())
    if (camera && camera.rights.live && !camera.removed) return true
    const why = camera ? 'there is no right to the live picture now' : 'no such camera for this account'
    this.#say({ is: 'lapsed', why: camera?.removed ? 'the camera was removed' : why })
    await this.#pause(RIGHT_MS)
    return false
  }

  /** Follows the running epoch to its end. False when there is none that is new. */
  async #next(): Promise<boolean> {
    const { keys, session } = this.#live
    if (!this.#join) {
      const epoch = await this.#open()
      // It was ended for us, and goes on.
      if (epoch === this.#epoch) this.#join = true
      return epoch > this.#epoch && this.#follow(epoch, 0)
    }
    // Its key may still be here, after a connection that broke.
    const known = this.#epoch !== 0n && keys.missing(this.#camera, [this.#epoch], 'live').length === 0
    const epoch = known ? this.#epoch : await this.#open()
    if (epoch === 0n) return false
    const now = session.now()
    const { segments } = await keys.segments(this.#camera, now - MS, now + 1n, 'live')
    const running = segments.find(one => one.running && one.epoch === epoch)
    this.#join = false
    return running !== undefined && this.#follow(epoch, Number(running.seek))
  }

  /** The running epoch, whose X is here now; 0: none. */
  async #open(): Promise<bigint> {
    const epochs = await this.#live.keys.open(this.#camera, [], 'live')
    return epochs.reduce((most, one) => (one > most ? one : most), 0n)
  }

  async #follow(epoch: bigint, seek: number): Promise<boolean> {
    const opened = await this.#live.keys.epoch(this.#camera, epoch, 'live')
    if (this.#epoch !== 0n && epoch > this.#epoch + 1n) this.#torn = true
    this.#epoch = epoch
    const offset = Math.max(seek, opened.start)
    // The parameters stand at the beginning; who joins later reads them there.
    if (offset > opened.start) await this.#parameters(opened)
    for (let again = true; again && !this.#closed; ) again = await this.#follows(opened, epoch, offset)
    return true
  }

  async #parameters(opened: Epoch): Promise<void> {
    const first = firstWhole(opened.ahead)
    if (!first) return
    const opener = await opened.opener(Order.stream())
    this.#take(await opener.open(first))
  }

  /** One stream of the socket to its end; true: sign it again. */
  async #follows(opened: Epoch, epoch: bigint, offset: number): Promise<boolean> {
    const body = request.fetchBody(unhex(this.#camera), epoch, BigInt(offset), undefined, true, 'live')
    const events = new Events()
    this.#stream = await this.#live.socket.start(body, event => events.put(event))
    this.#wake = () => events.wake()
    const position = { opener: await opened.opener(Order.stream()), run: 0, counter: -1n }
    try {
      while (!this.#closed) {
        const event = await events.next(SILENT_MS)
        if (!event) {
          if (!this.#closed) await this.#silent()
          continue
        }
        switch (event.is) {
          case 'chunk':
            await this.#chunk(event.bytes, position)
            break
          case 'skipped':
            position.opener = await opened.opener(Order.stream())
            this.#torn = true
            this.#tell({ is: 'skipped', bytes: Number(event.bytes) }, [])
            this.#said = ''
            break
          case 'end':
            return false
          case 'again':
            return true
          case 'error':
            throw event.error
        }
      }
      return false
    } finally {
      if (this.#stream !== undefined) this.#live.socket.stop(this.#stream)
      this.#stream = undefined
    }
  }

  async #chunk(bytes: Bytes, position: { opener: FragmentOpener; run: number; counter: bigint }): Promise<void> {
    const batch: Opened[] = []
    for (const fragment of split(bytes, 0)) {
      const opened = await position.opener.open(fragment)
      const { run, counter } = opened.header
      // After something was left out the order begins anew, but it never goes back.
      if (run < position.run || (run === position.run && counter <= position.counter)) continue
      position.run = run
      position.counter = counter
      batch.push(opened)
    }
    if (this.#closed) return
    for (const opened of batch) this.#hand(opened)
  }

  #take({ payload }: Opened): void {
    if (this.#init && equal(this.#init, payload)) return
    this.#init = payload.slice()
    this.#codec = format(payload).codec
  }

  #hand(opened: Opened): void {
    const { header, payload } = opened
    if (header.kind === 'init') return this.#take(opened)
    if (payload.length === 0) return
    this.#torn &&= !header.key
    // Read again, after a connection that broke: what follows it follows what is there.
    if (header.start <= this.#newest) return
    if (this.#torn || !this.#init) return
    this.#newest = header.start
    const parsed = media(payload)
    const { at, pictures, end } = this.#placer.place(header.start, parsed)
    const data = rewritten(payload, parsed, { sequence: ++this.#sequence, decodeTime: at, lastAtLeast: STAND })
    payload.fill(0)
    const init = this.#init === this.#sentInit ? undefined : this.#init
    this.#sentInit = this.#init
    const keys = header.key ? [pictures[0]!] : []
    const part: Part = { ...(init ? { init: init.slice() } : {}), codec: this.#codec, data, pictures, keys, end }
    this.#said = ''
    this.#tell({ is: 'media', part, key: header.key }, [data.buffer])
  }

  /** Why there is no picture, as the house knows it; the next one is joined. */
  async #sayLost(): Promise<void> {
    this.#torn = this.#join = true
    const camera = this.#of(await this.#live.home())
    const cause = camera?.lost || 'the camera is not being recorded'
    this.#say({ is: 'lost', since: camera?.recordedUntil ?? null, cause })
  }

  /** The epoch runs, and no picture comes. */
  async #silent(): Promise<void> {
    const camera = this.#of(await this.#live.read().catch(() => this.#live.home()))
    if (camera?.lost) this.#say({ is: 'lost', since: camera.recordedUntil, cause: camera.lost })
  }

  #of({ house }: Home): Home['house']['cameras'][number] | undefined {
    return house.cameras.find(one => one.id === this.#camera)
  }

  /** Says something once. */
  #say(event: LiveEvent): void {
    const text = JSON.stringify(event, (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value))
    if (text === this.#said) return
    this.#said = text
    this.#tell(event, [])
  }

  #pause(ms: number): Promise<void> {
    if (this.#closed) return Promise.resolve()
    return new Promise(resolve => {
      const timer = setTimeout(resolve, ms)
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }
}

/** What a stream told and nobody took yet; bounded. */
class Events {
  #all: StreamEvent[] = []
  #bytes = 0
  #more: (() => void) | undefined

  put(event: StreamEvent): void {
    this.#all.push(event)
    if (event.is === 'chunk') this.#bytes += event.bytes.length
    if (this.#bytes > WAITING_MAX) this.#skip()
    this.wake()
  }

  /** The next one; `undefined` when none came for so long, or after {@link Events.wake}. */
  async next(ms: number): Promise<StreamEvent | undefined> {
    if (this.#all.length === 0) {
      await new Promise<void>(resolve => {
        const timer = setTimeout(resolve, ms)
        this.#more = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
    const event = this.#all.shift()
    if (event?.is === 'chunk') this.#bytes -= event.bytes.length
    return event
  }

  wake(): void {
    this.#more?.()
    this.#more = undefined
  }

  /** Leaves out what waits, but for parameters. */
  #skip(): void {
    const kept: StreamEvent[] = [{ is: 'skipped', bytes: BigInt(this.#bytes) }]
    for (const event of this.#all) {
      if (event.is === 'skipped') kept.push(event)
      if (event.is !== 'chunk') continue
      for (const fragment of split(event.bytes, 0)) {
        if (decodeHeader(fragment).kind === 'init') kept.push({ is: 'chunk', bytes: fragment })
      }
    }
    this.#all = kept
    this.#bytes = kept.reduce((sum, event) => sum + (event.is === 'chunk' ? event.bytes.length : 0), 0)
  }
}

function firstWhole(bytes: Bytes): Bytes | undefined {
  try {
    return split(bytes, 0).next().value ?? undefined
  } catch {
    return undefined
  }
}
