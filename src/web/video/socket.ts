/**
 * The one live socket of a page: streams of sealed fragments, each begun by a signed request and known by a number.
 *
 * What does not belong: keys, which epoch. Invariants: the request travels in the first message and works once; what became of
 * it is told to its channel; when the socket breaks every stream hears it, and the next one that begins opens it anew.
 */

import { cbor, request, type Bytes } from '../crypto/index.js'
import { EngineError, unreachable } from '../session/errors.js'
import type { Sent, Session } from '../session/session.js'
import { parseLive, type LiveReply } from '../session/wire.js'

/** What a stream hears. */
export type StreamEvent =
  | { readonly is: 'chunk'; readonly bytes: Bytes }
  | { readonly is: 'skipped'; readonly bytes: bigint }
  | { readonly is: 'end' }
  | { readonly is: 'error'; readonly error: EngineError }
  /** Sign and send it again. */
  | { readonly is: 'again' }

interface Stream {
  readonly sent: Sent
  readonly hear: (event: StreamEvent) => void
  settled: boolean
}

/** How long the socket may take to open. */
const OPEN_MS = 10_000

/** See the file. */
export class LiveSocket {
  readonly #session: Session
  readonly #streams = new Map<number, Stream>()
  #socket: WebSocket | undefined
  #opening: Promise<WebSocket> | undefined
  #last = 0

  constructor(session: Session) {
    this.#session = session
  }

  /** Begins a stream; its number. */
  async start(body: Bytes, hear: (event: StreamEvent) => void): Promise<number> {
    const socket = await this.#open()
    const sent = await this.#session.sign('fetch', body)
    const stream = ++this.#last
    this.#streams.set(stream, { sent, hear, settled: false })
    if (socket.readyState !== WebSocket.OPEN) {
      this.#finish(stream, { is: 'error', error: unreachable('the live connection broke') })
    } else {
      const frame = cbor.array(cbor.int(stream), cbor.bytes(request.encodeRequest(sent.request)))
      socket.send(cbor.array(cbor.int(0), frame))
    }
    return stream
  }

  /** Ends a stream; it hears nothing more. */
  stop(stream: number): void {
    const found = this.#streams.get(stream)
    if (!found) return
    this.#streams.delete(stream)
    if (!found.settled) found.sent.settle('failure')
    if (this.#socket?.readyState === WebSocket.OPEN) {
      this.#socket.send(cbor.array(cbor.int(1), cbor.array(cbor.int(stream))))
    }
  }

  /** Ends all. */
  close(): void {
    for (const stream of [...this.#streams.keys()]) this.stop(stream)
    this.#socket?.close()
    this.#socket = undefined
  }

  #open(): Promise<WebSocket> {
    if (this.#socket?.readyState === WebSocket.OPEN) return Promise.resolve(this.#socket)
    this.#opening ??= this.#connect().finally(() => (this.#opening = undefined))
    return this.#opening
  }

  #connect(): Promise<WebSocket> {
    return new Promise((resolve, reject) => {
      const { protocol, host } = self.location
      const socket = new WebSocket(`${protocol === 'https:' ? 'wss:' : 'ws:'}//${host}/v1/live`)
      socket.binaryType = 'arraybuffer'
      const late = setTimeout(() => socket.close(), OPEN_MS)
      socket.onopen = () => {
        clearTimeout(late)
        this.#socket = socket
        resolve(socket)
      }
      socket.onmessage = ({ data }: MessageEvent<ArrayBuffer>) => this.#hear(socket, new Uint8Array(data))
      socket.onclose = () => {
        clearTimeout(late)
        reject(unreachable('the live connection could not be made'))
        if (this.#socket !== socket) return
        this.#socket = undefined
        for (const stream of [...this.#streams.keys()]) {
          this.#finish(stream, { is: 'error', error: unreachable('the live connection broke') })
        }
      }
    })
  }

  #hear(socket: WebSocket, bytes: Uint8Array): void {
    let message: ReturnType<typeof parseLive>
    try {
      message = parseLive(bytes)
    } catch {
      // The two ends disagree; all streams begin anew.
      socket.close()
      return
    }
    const { stream, reply } = message
    const found = this.#streams.get(stream)
    if (found) this.#reply(stream, found, reply)
  }

  #reply(stream: number, found: Stream, reply: LiveReply): void {
    switch (reply.kind) {
      case 'stream':
      case 'answer':
        // The answer is here, and a socket is never re-sent by a browser; what follows is as long as the epoch.
        found.sent.settle('answer')
        found.settled = true
        return
      case 'chunk':
        return found.hear({ is: 'chunk', bytes: reply.bytes })
      case 'skipped':
        return found.hear({ is: 'skipped', bytes: reply.bytes })
      case 'end':
        return this.#finish(stream, { is: 'end' })
      case 'problem':
        if (reply.taken) {
          if (!found.settled) found.sent.settle('answer')
          found.settled = true
          return this.#finish(stream, { is: 'error', error: reply.error })
        }
        this.#streams.delete(stream)
        void this.#session.notTaken(found.sent, reply.error).then(
          again => found.hear(again ? { is: 'again' } : { is: 'error', error: reply.error }),
          (error: unknown) => found.hear({ is: 'error', error: EngineError.from(error) }),
        )
        return
      case 'conflict':
        this.#streams.delete(stream)
        this.#session.conflict(found.sent, reply.conflict)
        return found.hear({ is: 'again' })
    }
  }

  #finish(stream: number, event: StreamEvent): void {
    const found = this.#streams.get(stream)
    if (!found) return
    this.#streams.delete(stream)
    if (!found.settled) found.sent.settle(event.is === 'end' ? 'answer' : 'failure')
    found.hear(event)
  }
}
