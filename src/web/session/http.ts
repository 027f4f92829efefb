/**
 * Requests over fetch: outside a session whole frames, in a session bodies with a proof in a header; problems as values.
 *
 * What does not belong: signing, what a refusal means for the session (session). Invariants: an answer counts only when it
 * was read to its end; a broken connection is a failure, never an answer; nothing is cached, no cookie is sent, no redirect
 * is followed.
 */

import { unhex, type Bytes } from '../crypto/index.js'
import { EngineError, protocol, unreachable } from './errors.js'

/** Longest answer that is not a stream: a frame. */
const ANSWER_MAX = 1024 * 1024 + 64
/** How long an answer may take to begin: the appliance makes an entry durable and seals 24 keys before it answers. */
const ANSWER_MS = 30_000
/** How long a stream may be silent. */
const SILENCE_MS = 30_000

/** Why a request was not executed although its proof is good. */
export type Conflict =
  | { readonly kind: 'copy'; readonly nonce: Bytes }
  | { readonly kind: 'given_up' }
  | { readonly kind: 'resync'; readonly boot: Bytes }
  | { readonly kind: 'channel_ended' }

/** What came back. */
export type Reply =
  | { readonly kind: 'answer'; readonly bytes: Bytes }
  | { readonly kind: 'stream'; readonly body: ByteStream }
  /** `taken`: an answer like any; else it was never taken up. */
  | { readonly kind: 'problem'; readonly error: EngineError; readonly taken: boolean }
  | { readonly kind: 'conflict'; readonly conflict: Conflict }

/** Bytes as they arrive; `undefined` at the end. */
export interface ByteStream {
  next(): Promise<Bytes | undefined>
  cancel(): void
}

/** Sends; rejects with `unreachable` when no whole answer came. */
export async function post(path: string, body: Bytes, proof?: string, signal?: AbortSignal): Promise<Reply> {
  const abort = new AbortController()
  const stop = (): void => abort.abort(signal?.reason)
  signal?.addEventListener('abort', stop, { once: true })
  if (signal?.aborted) stop()
  const late = setTimeout(() => abort.abort(), ANSWER_MS)
  let handed = false
  try {
    const headers: Record<string, string> = { 'content-type': 'application/cbor' }
    if (proof !== undefined) headers['peri-proof'] = proof
    const answer = await fetch(`/v1/${path}`, {
      method: 'POST',
      body,
      headers,
      signal: abort.signal,
      cache: 'no-store',
      credentials: 'omit',
      redirect: 'error',
      referrerPolicy: 'no-referrer',
    })
    const type = answer.headers.get('content-type')?.split(';')[0]?.trim()
    if (answer.ok && type === 'application/octet-stream') {
      handed = true
      return { kind: 'stream', body: stream(answer, abort, () => signal?.removeEventListener('abort', stop)) }
    }
    const bytes = await whole(answer)
    if (answer.ok && type === 'application/cbor') return { kind: 'answer', bytes }
    if (type === 'application/problem+json') return problem(bytes)
    const error = protocol(`status ${answer.status} with content type ${type ?? 'none'}`)
    return { kind: 'problem', error: new EngineError({ ...error.problem(), status: answer.status }), taken: false }
  } catch (error) {
    if (error instanceof EngineError) throw error
    if (signal?.aborted) throw error
    throw unreachable(abort.signal.aborted ? 'no answer for half a minute' : 'the connection broke or was refused')
  } finally {
    clearTimeout(late)
    if (!handed) signal?.removeEventListener('abort', stop)
  }
}

/** What the appliance publishes. */
export async function published(): Promise<Record<string, unknown>> {
  try {
    const answer = await fetch('/.well-known/peri', { cache: 'no-store', credentials: 'omit', redirect: 'error' })
    if (!answer.ok) throw protocol(`status ${answer.status}`)
    return (await answer.json()) as Record<string, unknown>
  } catch (error) {
    throw error instanceof EngineError ? error : unreachable('the connection broke or was refused')
  }
}

async function whole(answer: Response): Promise<Bytes> {
  const reader = answer.body?.getReader()
  if (!reader) return new Uint8Array(0)
  const parts: Uint8Array[] = []
  let length = 0
  for (;;) {
    const { done, value } = await reader.read()
    if (done) break
    length += value.length
    if (length > ANSWER_MAX) {
      void reader.cancel()
      throw protocol(`an answer of more than ${ANSWER_MAX} bytes`)
    }
    parts.push(value)
  }
  const out = new Uint8Array(length)
  let at = 0
  for (const part of parts) {
    out.set(part, at)
    at += part.length
  }
  return out
}

function stream(answer: Response, abort: AbortController, ended: () => void): ByteStream {
  const reader = answer.body?.getReader()
  return {
    async next() {
      if (!reader) return undefined
      const late = setTimeout(() => abort.abort(), SILENCE_MS)
      try {
        const { done, value } = await reader.read()
        if (done) ended()
        return done ? undefined : new Uint8Array(value)
      } catch {
        ended()
        throw unreachable('the connection broke in the middle of a recording')
      } finally {
        clearTimeout(late)
      }
    },
    cancel() {
      ended()
      abort.abort()
    },
  }
}

function problem(bytes: Bytes): Reply {
  let json: Record<string, unknown>
  try {
    json = JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>
  } catch {
    throw protocol('a problem that is not JSON')
  }
  const text = (name: string): string => (typeof json[name] === 'string' ? json[name] : '')
  const conflict = readConflict(text('conflict'), text('nonce'), text('boot'))
  if (conflict) return { kind: 'conflict', conflict }
  const status = typeof json['status'] === 'number' ? json['status'] : 0
  const retry = json['retry_after']
  const fields = { status, code: text('code'), title: text('title'), detail: text('detail') }
  const error = new EngineError(typeof retry === 'number' ? { ...fields, retryAfter: retry } : fields)
  return { kind: 'problem', error, taken: json['taken'] === true }
}

function readConflict(kind: string, nonce: string, boot: string): Conflict | undefined {
  const sixteen = (text: string): Bytes => {
    if (text.length !== 32) throw protocol('a conflict without its nonce')
    return unhex(text)
  }
  switch (kind) {
    case 'copy':
      return { kind, nonce: sixteen(nonce) }
    case 'resync':
      return { kind, boot: sixteen(boot) }
    case 'given_up':
    case 'channel_ended':
      return { kind }
    default:
      return undefined
  }
}
