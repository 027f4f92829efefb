/**
 * A session that this page holds: its key, its certificate, its present channel; requests until they were executed. Twin of
 * `src/client/conn.rs` (`executed`) and `src/client/conn/session.rs`.
 *
 * What does not belong: what answers mean, where keys come from. Invariants: what became of each request is told to its
 * channel, because the next proof swears to it; what was not executed is asked anew, nothing twice; channel ids are in
 * memory only; after a lock or an end nothing is signed any more.
 */

import { cbor, random, request, type Bytes, type KeyPair } from '../crypto/index.js'
import { Outbox, type Outcome } from './channel.js'
import { EngineError, refuse } from './errors.js'
import { post, type ByteStream, type Conflict, type Reply } from './http.js'
import { parseNonce, parseSessionOpened } from './wire.js'

/** Nanoseconds of a millisecond. */
const MS = 1_000_000n
/** Length of a session: `SESSION_MAX` of the appliance, a working shift. */
const LENGTH = 12n * 3600n * 1000n * MS
/** A session that ends so soon is not used for another request: the two clocks may differ by so much. */
const MARGIN = 60n * 1000n * MS
/** Pages that may be open at once in one session: reloads leave channels behind, and a person has some windows. */
const CHANNELS = 8
/** How often one request is asked: scribe restarted, the channel ended, a copy came first. Each happens once at most. */
const ATTEMPTS = 4

/** What is kept over a reload; the private half is a handle. */
export interface StoredSession {
  readonly key: request.StoredSessionKey
  readonly certified: request.SignedCertificate
}

/** What a session tells whoever holds it. */
export interface Watcher {
  /** 423, or copies were seen. */
  locked(reason: string): void
  /** 401: over, or the key is out of office. */
  ended(reason: string): void
  /** Whether the appliance answers. */
  reached(yes: boolean): void
  /** Keep it (a new one was begun). */
  keep(stored: StoredSession): void
}

/** A request that was signed and is on its way. */
export interface Sent {
  readonly request: request.Request
  /** What an answer is bound to. */
  readonly id: Bytes
  settle(outcome: Outcome): void
}

/** Bytes with the id of their request. */
export interface Answered {
  readonly bytes: Bytes
  readonly id: Bytes
}

/** Local clock, nanoseconds. */
export const localNow = (): bigint => BigInt(Date.now()) * MS

/** See the file. */
export class Session {
  readonly #vm: Bytes
  readonly #who: KeyPair
  readonly #watcher: Watcher
  #held: { key: request.SessionKey; certified: request.SignedCertificate } | undefined
  #boot: Bytes | undefined
  #channel = random(16)
  #outbox = new Outbox()
  #opening: Promise<void> | undefined
  #over = false
  /** The appliance's clock minus ours, nanoseconds. */
  #ahead = 0n

  constructor(vm: Bytes, who: KeyPair, watcher: Watcher, stored?: StoredSession) {
    this.#vm = vm
    this.#who = who
    this.#watcher = watcher
    if (stored) this.#held = { key: request.SessionKey.restore(stored.key), certified: stored.certified }
  }

  /** The appliance's clock, as far as known. */
  now(): bigint {
    return localNow() + this.#ahead
  }

  /** Learns the appliance's clock. */
  clock(now: bigint): void {
    this.#ahead = now - localNow()
  }

  /** Begins or shows the session, if that is still to do. */
  async ready(): Promise<void> {
    if (this.#over) throw over()
    if (this.#boot && this.#held && !this.#ending()) return
    await this.#open()
  }

  /** A request; rejects with the appliance's refusal. */
  async request(method: request.Method, body: Bytes, signal?: AbortSignal): Promise<Answered> {
    const { reply, sent } = await this.#executed(method, body, signal)
    sent.settle('answer')
    if (reply.kind === 'answer') return { bytes: reply.bytes, id: sent.id }
    if (reply.kind === 'stream') reply.body.cancel()
    throw reply.kind === 'problem' ? reply.error : refuse('protocol', 'Not understood', 'a stream where an answer was due')
  }

  /** A stream of sealed bytes; it is settled at its end, or when it is left. */
  async fetch(body: Bytes, signal?: AbortSignal): Promise<ByteStream> {
    const { reply, sent } = await this.#executed('fetch', body, signal)
    if (reply.kind === 'stream') {
      const { body: source } = reply
      return {
        async next() {
          try {
            const bytes = await source.next()
            if (!bytes) sent.settle('answer')
            return bytes
          } catch (error) {
            sent.settle('failure')
            throw error
          }
        },
        cancel() {
          source.cancel()
          sent.settle('failure')
        },
      }
    }
    sent.settle('answer')
    throw reply.kind === 'problem' ? reply.error : refuse('protocol', 'Not understood', 'an answer where a stream was due')
  }

  /** Signs a request that travels by another way (the live socket); the caller settles it. */
  async sign(method: request.Method, body: Bytes): Promise<Sent> {
    await this.ready()
    return this.#sign(method, body)
  }

  /** What a conflict on that other way means; true: sign again. */
  conflict(sent: Sent, conflict: Conflict): boolean {
    return this.#conflict(sent, conflict)
  }

  /** What a request that was never taken up means; true: the session was unknown and is shown again. */
  async notTaken(sent: Sent, error: EngineError): Promise<boolean> {
    sent.settle('failure')
    if (error.code !== 'session_unknown') return this.#verdict(error)
    this.#boot = undefined
    await this.#open()
    return true
  }

  /** Says goodbye; never rejects. */
  async logout(): Promise<void> {
    if (!this.#over && this.#boot) {
      const late = new AbortController()
      const timer = setTimeout(() => late.abort(), 2_000)
      await this.request('logout', request.emptyBody(), late.signal).catch(() => undefined)
      clearTimeout(timer)
    }
    this.stop()
  }

  /** Signs nothing any more. */
  stop(): void {
    this.#over = true
    this.#held = undefined
    this.#boot = undefined
  }

  /** Sends a request until it was executed; what came is not yet settled. */
  async #executed(
    method: request.Method,
    body: Bytes,
    signal?: AbortSignal,
  ): Promise<{ reply: Extract<Reply, { kind: 'answer' | 'stream' | 'problem' }>; sent: Sent }> {
    let copies = 0
    let shown = false
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      await this.ready()
      signal?.throwIfAborted()
      const sent = await this.#sign(method, body)
      let reply: Reply
      try {
        reply = await post(method, body, request.proofText(sent.request), signal)
      } catch (error) {
        sent.settle('failure')
        if (!signal?.aborted) this.#watcher.reached(false)
        throw error
      }
      this.#watcher.reached(true)
      if (reply.kind === 'conflict') {
        if (reply.conflict.kind === 'copy' && ++copies > 1) {
          sent.settle({ nonce: reply.conflict.nonce })
          throw copied()
        }
        this.#conflict(sent, reply.conflict)
        continue
      }
      if (reply.kind === 'problem' && !reply.taken) {
        sent.settle('failure')
        // Scribe restarted and knows no session: this one is shown again, once.
        if (reply.error.code === 'session_unknown' && !shown) {
          shown = true
          this.#boot = undefined
          continue
        }
        this.#verdict(reply.error)
        throw reply.error
      }
      return { reply, sent }
    }
    throw refuse('protocol', 'The appliance does not answer', 'it asks for the same request again and again')
  }

  async #sign(method: request.Method, body: Bytes): Promise<Sent> {
    const held = this.#held
    const boot = this.#boot
    if (this.#over || !held || !boot) throw over()
    const outbox = this.#outbox
    const { counter, progress } = outbox.begin()
    const channel = this.#channel
    try {
      const signed = await request.signRequest(this.#vm, method, body, { channel, counter, progress, boot }, held.key)
      const id = await request.requestId(signed)
      return { request: signed, id, settle: outcome => void outbox.finish(counter, outcome) }
    } catch (error) {
      outbox.finish(counter, 'failure')
      throw error
    }
  }

  #conflict(sent: Sent, conflict: Conflict): boolean {
    sent.settle(conflict.kind === 'copy' ? { nonce: conflict.nonce } : 'failure')
    // Another request may have moved on already.
    if (sent.request.channel === this.#channel) {
      if (conflict.kind === 'resync') this.#newChannel(conflict.boot)
      if (conflict.kind === 'channel_ended') this.#newChannel(this.#boot)
    }
    return true
  }

  #verdict(error: EngineError): boolean {
    if (error.status === 423) {
      this.stop()
      this.#watcher.locked(error.detail)
    } else if (error.status === 401) {
      this.stop()
      this.#watcher.ended(error.detail)
    }
    return false
  }

  #newChannel(boot: Bytes | undefined): void {
    this.#boot = boot
    this.#channel = random(16)
    this.#outbox = new Outbox()
  }

  #ending(): boolean {
    return this.#held !== undefined && localNow() + MARGIN >= this.#held.certified.certificate.notAfter
  }

  #open(): Promise<void> {
    this.#opening ??= this.#begin().finally(() => (this.#opening = undefined))
    return this.#opening
  }

  /** Makes a session key and has it certified, if there is none or its time is nearly over; shows it. */
  async #begin(): Promise<void> {
    const kept = this.#held !== undefined && !this.#ending()
    try {
      if (!kept) await this.#certify()
      await this.#show()
    } catch (error) {
      if (!(error instanceof EngineError)) throw error
      if (!kept || error.status !== 401) {
        this.#verdict(error)
        throw error
      }
      // The one that was kept over a reload is over: with the roster key open, a new one is made.
      await this.#certify()
      await this.#show().catch((again: unknown) => {
        if (again instanceof EngineError) this.#verdict(again)
        throw again
      })
    }
  }

  async #certify(): Promise<void> {
    const key = await request.SessionKey.generate()
    const issued = localNow()
    const about = { vm: this.#vm, issued, notAfter: issued + LENGTH, channels: CHANNELS }
    const certified = await request.certify(about, this.#who, key.public)
    if (this.#over) throw over()
    this.#held = { key, certified }
    this.#watcher.keep({ key: key.stored(), certified })
  }

  async #show(): Promise<void> {
    const nonce = parseNonce(await this.#ask('nonce', cbor.array(cbor.int(1), cbor.array())))
    const held = this.#held
    if (!held) throw over()
    const opening = await request.show(held.certified, held.key, nonce)
    const opened = parseSessionOpened(await this.#ask('open-session', request.encodeOpening(opening)))
    this.clock(opened.now)
    this.#newChannel(opened.boot)
  }

  async #ask(path: string, frame: Bytes): Promise<Bytes> {
    try {
      const bytes = await ask(path, frame)
      this.#watcher.reached(true)
      return bytes
    } catch (error) {
      if (error instanceof EngineError && error.code === 'unreachable') this.#watcher.reached(false)
      throw error
    }
  }
}

/** A question outside of a session. */
export async function ask(path: string, frame: Bytes): Promise<Bytes> {
  const reply = await post(path, frame)
  if (reply.kind === 'answer') return reply.bytes
  if (reply.kind === 'problem') throw reply.error
  throw refuse('protocol', 'Not understood', 'an answer of another kind than was due')
}

const over = (): EngineError => refuse('not_in', 'Not logged in', 'log in first')

/** Somebody or something sends our requests before we do. */
export const copied = (): EngineError =>
  refuse(
    'copied',
    'Copies of a request came first',
    'somebody may read this connection: nothing was answered, tell the administrator',
  )
