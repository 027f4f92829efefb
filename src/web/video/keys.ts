/**
 * Keys of epochs: from the right to look to something that opens fragments. Twin of `src/client/footage.rs`.
 *
 * ```text
 * open    X of up to 24 epochs, sealed to our key – the disclosure, in the ledger before it is answered
 * head    record signed by the device key of the house? camera and epoch as asked for?
 *         → E from our own wrap or that of a post, X from the answer, K as the record commits to them
 * ```
 * What does not belong: which fragments, pictures. Invariants: K leaves this module only inside a {@link FragmentOpener}; a
 * key was opened for one action and serves that one alone, so that the ledger says what was done; all keys are wiped on lock
 * and logout; at most {@link KEYS_MAX} are held.
 */

import {
  contentKey,
  equal,
  findWrap,
  FragmentOpener,
  hex,
  IncompleteHead,
  openPost,
  openWrap,
  openX,
  parseHead,
  PeriError,
  request,
  unhex,
  verifyRecord,
  type Bytes,
  type ContentKey,
  type EpochRecord,
  type Head,
  type KeyPair,
  type Order,
} from '../crypto/index.js'
import { EngineError, refuse } from '../session/errors.js'
import type { Home } from '../session/house.js'
import type { Session } from '../session/session.js'
import { parseOpened, parseSegments, type SegmentsPage } from '../session/wire.js'

/** Epochs of one request, as in `src/access/wire.rs`. */
export const OPEN_MAX = 24
/** Keys held at once: a day of one camera, or a wall of them for hours. */
const KEYS_MAX = 512
/** First bytes of a segment: the head of an epoch of some thirty recipients, and its init fragment. */
const HEAD_FIRST = 64 * 1024

/** What this module needs of whoever is in. */
export interface Eyes {
  readonly session: Session
  readonly pair: KeyPair
  home(): Promise<Home>
}

/** Where recordings are read from; {@link Keys} of whoever is in. */
export type Source = Pick<Keys, 'now' | 'segments' | 'missing' | 'open' | 'epoch' | 'bytes'>

/** What is known of an epoch once it is opened. */
export interface Epoch {
  /** Offset of the first fragment. */
  readonly start: number
  /** What was read behind the head. */
  readonly ahead: Bytes
  opener(order: Order): Promise<FragmentOpener>
}

interface Held extends Epoch {
  readonly record: EpochRecord
  readonly key: ContentKey
}

interface Sealed {
  readonly request: Bytes
  readonly sealed: Bytes
}

/** See the file. */
export class Keys {
  readonly #eyes: Eyes
  /** By action, camera and epoch; the one used longest ago first. */
  readonly #held = new Map<string, Held>()
  readonly #sealed = new Map<string, Sealed>()
  readonly #opening = new Map<string, Promise<Held>>()
  readonly #posts = new Map<string, Promise<KeyPair>>()
  #wiped = false

  constructor(eyes: Eyes) {
    this.#eyes = eyes
  }

  /** The appliance's clock. */
  now(): bigint {
    return this.#eyes.session.now()
  }

  /** What there is of a span; one page. */
  async segments(camera: string, from: bigint, until: bigint, action: request.Action): Promise<SegmentsPage> {
    const body = request.spanBody(unhex(camera), from, until, action)
    return parseSegments((await this.#eyes.session.request('segments', body)).bytes)
  }

  /** Which of these epochs were not opened for this action yet. */
  missing(camera: string, epochs: readonly bigint[], action: request.Action): bigint[] {
    return epochs.filter(epoch => {
      const name = nameOf(camera, epoch, action)
      return !this.#held.has(name) && !this.#sealed.has(name)
    })
  }

  /**
   * Asks for X of epochs (for live: of the running one); gives those that were answered. This is what the ledger records as a
   * disclosure.
   */
  async open(camera: string, epochs: readonly bigint[], action: request.Action, purpose = ''): Promise<bigint[]> {
    const body = request.openBody(unhex(camera), epochs.slice(0, OPEN_MAX), action, purpose)
    const answer = await this.#eyes.session.request('open', body)
    const opened = parseOpened(answer.bytes)
    for (const { epoch, sealed } of opened) {
      this.#sealed.set(nameOf(camera, epoch, action), { request: answer.id, sealed })
    }
    trim(this.#sealed, KEYS_MAX)
    return opened.map(({ epoch }) => epoch)
  }

  /** An epoch whose X was answered. Refuses with `erased` when it was not, with `not_entitled` when nothing is sealed to us. */
  async epoch(camera: string, epoch: bigint, action: request.Action): Promise<Epoch> {
    const name = nameOf(camera, epoch, action)
    const held = this.#held.get(name)
    if (held) {
      // The one used last goes last.
      this.#held.delete(name)
      this.#held.set(name, held)
      return held
    }
    let opening = this.#opening.get(name)
    if (!opening) {
      opening = this.#derive(camera, epoch, action, name).finally(() => this.#opening.delete(name))
      this.#opening.set(name, opening)
    }
    return opening
  }

  /** Sealed bytes of an epoch. */
  async bytes(camera: string, epoch: bigint, offset: number, length: number, action: request.Action): Promise<Bytes> {
    const body = request.fetchBody(unhex(camera), epoch, BigInt(offset), BigInt(length), false, action)
    const stream = await this.#eyes.session.fetch(body)
    const out = new Uint8Array(length)
    let have = 0
    for (let bytes = await stream.next(); bytes; bytes = await stream.next()) {
      if (have + bytes.length > length) {
        stream.cancel()
        throw refuse('protocol', 'Not understood', 'more bytes came than were asked for')
      }
      out.set(bytes, have)
      have += bytes.length
    }
    return have === length ? out : out.slice(0, have)
  }

  /** Wipes every key. */
  wipe(): void {
    this.#wiped = true
    for (const held of this.#held.values()) held.key.wipe()
    for (const post of this.#posts.values()) void post.then(pair => pair.wipe(), () => undefined)
    this.#held.clear()
    this.#sealed.clear()
    this.#posts.clear()
  }

  async #derive(camera: string, epoch: bigint, action: request.Action, name: string): Promise<Held> {
    const home = await this.#eyes.home()
    const { head, bytes } = await this.#head(camera, epoch, action)
    const { record } = head
    await verifyRecord(record, home.device)
    const { context } = record
    if (!equal(context.vm, home.vm) || hex(context.camera) !== camera || context.epoch !== epoch) {
      const detail = `epoch ${context.epoch} of another camera or appliance came where epoch ${epoch} was asked for`
      throw new PeriError('other_epoch', detail)
    }
    const sealed = this.#sealed.get(name)
    if (!sealed) throw refuse('erased', 'Erased', `epoch ${epoch} was erased before its key was answered`)
    const e = await this.#e(head, home)
    const x = await openX(this.#eyes.pair, context, sealed.request, sealed.sealed)
    const key = await contentKey(e, x, context)
    e.wipe()
    x.wipe()
    const opener = (order: Order): Promise<FragmentOpener> => FragmentOpener.of(key, record, order)
    const ahead = bytes.slice(head.length)
    const held = { record, start: head.length, ahead, key, opener }
    if (this.#wiped) {
      key.wipe()
      throw refuse('not_in', 'Not logged in', 'log in first')
    }
    this.#sealed.delete(name)
    this.#held.set(name, held)
    // What WebCrypto made of a key lives on in the openers that are in use.
    trim(this.#held, KEYS_MAX)
    return held
  }

  async #head(camera: string, epoch: bigint, action: request.Action): Promise<{ head: Head; bytes: Bytes }> {
    let want = HEAD_FIRST
    for (;;) {
      const bytes = await this.bytes(camera, epoch, 0, want, action)
      try {
        return { head: await parseHead(bytes), bytes }
      } catch (error) {
        if (!(error instanceof IncompleteHead) || error.need <= want || bytes.length < want) throw error
        want = error.need
      }
    }
  }

  /** E from our own wrap, or from that of a post whose key is sealed to ours. */
  async #e({ record, wraps }: Head, home: Home): ReturnType<typeof openWrap> {
    const { context } = record
    const own = findWrap(wraps, this.#eyes.pair.fingerprint, 'user')
    if (own) return openWrap(this.#eyes.pair, context, own)
    for (const membership of home.memberships) {
      const wrap = findWrap(wraps, membership.key, 'user')
      if (!wrap) continue
      const name = hex(membership.key)
      let post = this.#posts.get(name)
      if (!post) {
        post = openPost(this.#eyes.pair, membership.id, membership.key, membership.sealed)
        this.#posts.set(name, post)
      }
      return openWrap(await post, context, wrap)
    }
    throw refuse(
      'not_entitled',
      'Not sealed to you',
      'when this was recorded, no grant named your key, or a post of yours, for this camera; custodians can release the past',
    )
  }
}

const nameOf = (camera: string, epoch: bigint, action: request.Action): string => `${action} ${camera} ${epoch}`

/** Forgets what was put in first. */
function trim<T>(map: Map<string, T>, most: number): void {
  for (const name of map.keys()) {
    if (map.size <= most) return
    map.delete(name)
  }
}

/** Whether a refusal says that there is no right to it; the words for people. */
export function lapsed(error: unknown): string | undefined {
  if (!(error instanceof EngineError)) return undefined
  const { status, code, detail } = error
  if (code === 'no_grant' || code === 'not_entitled' || code === 'not_live' || (status === 403 && code === 'forbidden')) {
    return detail
  }
  return undefined
}
