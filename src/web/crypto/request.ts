/**
 * Sessions and the requests in them: the certificate by which a roster key vouches for a session key, how it is shown, the
 * proof that every request carries, and the bodies. Twin of `src/access/session.rs`, `proof.rs` and `wire.rs`.
 *
 * What does not belong: connections, answers, which requests were answered. Invariants: the private half of a session key
 * never leaves WebCrypto; a proof names session, channel, counter, method and body under its signature, so that it is
 * nothing to another VM, for another question or a second time.
 */

import { equal, type Bytes } from './bytes.js'
import * as cbor from './cbor.js'
import { hash } from './digest.js'
import { demand } from './errors.js'
import { SIGNATURE_LEN, type KeyPair, type UserPublic } from './keys.js'
import { base64url, SESSION_PUBLIC_LEN, SESSION_SIGNATURE_LEN, sessionId, SessionKey, verifySession } from './sessionkey.js'

export { SESSION_PUBLIC_LEN, SESSION_SIGNATURE_LEN, sessionId, SessionKey, type StoredSessionKey } from './sessionkey.js'

/** Contexts of the three signatures. */
const CERTIFICATE = 'session-certificate'
const OPENING = 'session-opening'
const PROOF = 'proof'
/** Format of a certificate. */
const VERSION = 1
/** Longest body. */
const BODY_MAX = 16 * 1024
/** Numbers of the frames of a client. */
const ASK_OPEN = 3
const ASK_REQUEST = 4
/** Requests of one channel that may be unsettled at once, and reports in one proof. */
export const WINDOW = 1024n
export const REPORTS_MAX = 16

/** What is asked, in wire order. */
export const METHODS = [
  'roster',
  'segments',
  'open',
  'fetch',
  'health',
  'ledger',
  'logout',
  'offer',
  'invitation',
  'withdraw',
  'house',
  'propose',
  'proposals',
] as const
export type Method = (typeof METHODS)[number]

/** Why a picture is asked for, in wire order. */
export const ACTIONS = ['live', 'playback', 'export'] as const
export type Action = (typeof ACTIONS)[number]

/** What the roster key vouches for. Times in nanoseconds. */
export interface Certificate {
  readonly vm: Bytes
  /** Fingerprint of the roster key. */
  readonly signer: Bytes
  readonly session: Bytes
  readonly issued: bigint
  readonly notAfter: bigint
  /** Pages that may be open at once. */
  readonly channels: number
}

/** A certificate as it is shown to the appliance, with the session key's signature over a nonce of it. */
export interface Opening {
  readonly certificate: Certificate
  readonly signature: Bytes
  readonly nonce: Bytes
  readonly possession: Bytes
}

/** What the client saw of a request instead of an answer: a failure, or the refusal of a copy with this nonce. */
export interface Report {
  readonly counter: bigint
  readonly nonce?: Bytes
}

/** What the client has seen of its own requests so far. */
export interface Progress {
  /** Every request up to this one is done. */
  readonly settled: bigint
  /** Answers seen behind it, rising. */
  readonly answered: readonly bigint[]
  /** Outcomes other than answers, by rising counter. */
  readonly reports: readonly Report[]
}

/** What a proof says beside its signature. */
export interface Place {
  readonly session: Bytes
  readonly channel: Bytes
  readonly counter: bigint
  readonly progress: Progress
  /** The life of the appliance that is meant. */
  readonly boot: Bytes
}

/** A request in a session. */
export interface Request extends Place {
  readonly method: Method
  readonly body: Bytes
  readonly signature: Bytes
}

/** Certifies a session key and shows it. */
export async function openSession(
  about: Omit<Certificate, 'signer' | 'session'>,
  who: KeyPair,
  key: SessionKey,
  nonce: Bytes,
): Promise<Opening> {
  return show(await certify(about, who, key.public), key, nonce)
}

/** Refuses with `other_vm` or `wrong_signature` unless `who` vouches for it at `vm` and the session key shows it. */
export async function verifyOpening(opening: Opening, vm: Bytes, who: UserPublic): Promise<void> {
  const { certificate, signature, nonce, possession } = opening
  demand(equal(certificate.vm, vm), 'other_vm', 'the certificate is for another appliance')
  demand(equal(certificate.signer, who.fingerprint), 'wrong_signature', 'the certificate names another signer')
  const encoded = certificateBytes(certificate)
  await who.verify(CERTIFICATE, encoded, signature)
  await verifySession(certificate.session, OPENING, cbor.array(encoded, cbor.bytes(nonce)), possession)
}

/** A certificate with the roster key's signature: what a client keeps of its session, beside the session key. */
export type SignedCertificate = Pick<Opening, 'certificate' | 'signature'>

/** Has a roster key vouch for a session key. */
export async function certify(
  about: Omit<Certificate, 'signer' | 'session'>,
  who: KeyPair,
  session: Bytes,
): Promise<SignedCertificate> {
  const certificate = { ...about, signer: who.fingerprint, session }
  return { certificate, signature: await who.sign(CERTIFICATE, certificateBytes(certificate)) }
}

/** Shows a certified session key over a nonce of the appliance. */
export async function show(certified: SignedCertificate, key: SessionKey, nonce: Bytes): Promise<Opening> {
  const shown = cbor.array(certificateBytes(certified.certificate), cbor.bytes(nonce))
  return { ...certified, nonce, possession: await key.sign(OPENING, shown) }
}

/** Signs a request. */
export async function signRequest(
  vm: Bytes,
  method: Method,
  body: Bytes,
  place: Omit<Place, 'session'>,
  key: SessionKey,
): Promise<Request> {
  demand(body.length <= BODY_MAX, 'too_long', `a body of ${body.length} bytes; at most 16 KiB are possible`)
  const unsigned = { ...place, session: await sessionId(key.public), method, body }
  return { ...unsigned, signature: await key.sign(PROOF, await signed(vm, unsigned)) }
}

/** Refuses with `wrong_signature` unless this session's key signed it for this appliance. */
export async function verifyRequest(request: Request, vm: Bytes, session: Bytes): Promise<void> {
  demand(equal(await sessionId(session), request.session), 'wrong_signature', 'the proof names another session')
  await verifySession(session, PROOF, await signed(vm, request), request.signature)
}

/** The client's frame that opens a session, without the length before it. */
export const encodeOpening = ({ certificate, signature, nonce, possession }: Opening): Bytes =>
  cbor.array(
    cbor.int(ASK_OPEN),
    cbor.array(
      cbor.array(
        cbor.array(certificateBytes(certificate), cbor.bytes(signature)),
        cbor.bytes(nonce),
        cbor.bytes(possession),
      ),
    ),
  )

/** Reads what {@link encodeOpening} writes. */
export function parseOpening(bytes: Bytes): Opening {
  return cbor.decode('an opening of a session', bytes, reader => {
    reader.array(2)
    if (reader.small(32) !== ASK_OPEN) reader.fail('an opening is expected')
    reader.array(1)
    reader.array(3)
    reader.array(2)
    reader.array(7)
    if (reader.small(16) !== VERSION) reader.fail('an unknown format; this version knows 1')
    const [vm, signer, session] = [reader.bytes(16), reader.bytes(32), reader.bytes(SESSION_PUBLIC_LEN)]
    const [issued, notAfter, channels] = [reader.i64(), reader.i64(), reader.small(16)]
    const certificate = { vm, signer, session, issued, notAfter, channels }
    const signature = reader.bytes(SIGNATURE_LEN)
    return { certificate, signature, nonce: reader.bytes(16), possession: reader.bytes(SESSION_SIGNATURE_LEN) }
  })
}

/** The client's frame with this request, without the length before it. */
export const encodeRequest = (request: Request): Bytes =>
  cbor.array(
    cbor.int(ASK_REQUEST),
    cbor.array(
      cbor.array(
        cbor.int(METHODS.indexOf(request.method)),
        cbor.bytes(request.body),
        cbor.array(...placeItems(request), cbor.bytes(request.signature)),
      ),
    ),
  )

/** The proof alone, as the header `Peri-Proof` carries it. */
export const proofText = (request: Request): string =>
  base64url(cbor.array(...placeItems(request), cbor.bytes(request.signature)))

/** Reads what {@link encodeRequest} writes. */
export function parseRequest(bytes: Bytes): Request {
  return cbor.decode('a request', bytes, reader => {
    reader.array(2)
    if (reader.small(32) !== ASK_REQUEST) reader.fail('a request is expected')
    reader.array(1)
    reader.array(3)
    const method = METHODS[reader.small(32)] ?? reader.fail('an unknown method')
    const body = reader.blob(BODY_MAX)
    reader.array(6)
    const [session, channel, counter] = [reader.bytes(32), reader.bytes(16), reader.u64()]
    reader.array(3)
    const settled = reader.u64()
    const answered = counters(settled, reader.blob(Number(WINDOW) / 8))
    const reports = Array.from({ length: reader.list(REPORTS_MAX) }, () => report(reader))
    const progress = { settled, answered, reports }
    const boot = reader.bytes(16)
    return { method, body, session, channel, counter, progress, boot, signature: reader.bytes(SESSION_SIGNATURE_LEN) }
  })
}

/** What an answer to this request is bound to. */
export async function requestId({ session, channel, counter }: Place): Promise<Bytes> {
  return (await hash('request-id', cbor.array(cbor.bytes(session), cbor.bytes(channel), cbor.int(counter)))).slice(0, 16)
}

/** Body of `roster` and `ledger`: what to skip, or the first leaf wanted. */
export const fromBody = (from: bigint): Bytes => cbor.array(cbor.int(from))

/** Body of `segments`: a camera and a half-open span of UTC nanoseconds. */
export const spanBody = (camera: Bytes, from: bigint, until: bigint, action: Action): Bytes =>
  cbor.array(cbor.bytes(camera), cbor.int(from), cbor.int(until), actionByte(action))

/** Body of `open`: no epochs for live, where the running one is meant; a purpose for export. */
export const openBody = (camera: Bytes, epochs: readonly bigint[], action: Action, purpose: string): Bytes =>
  cbor.array(cbor.bytes(camera), cbor.array(...epochs.map(cbor.int)), actionByte(action), cbor.text(purpose))

/** Body of `fetch`: `length` undefined means to the end; `follow` keeps streaming what is appended. */
export const fetchBody = (
  camera: Bytes,
  epoch: bigint,
  offset: bigint,
  length: bigint | undefined,
  follow: boolean,
  action: Action,
): Bytes =>
  cbor.array(
    cbor.bytes(camera),
    cbor.int(epoch),
    cbor.int(offset),
    length === undefined ? cbor.nil() : cbor.int(length),
    cbor.bool(follow),
    actionByte(action),
  )

/** Body of `health`. */
export const emptyBody = (): Bytes => cbor.array()

const actionByte = (action: Action): Bytes => cbor.int(ACTIONS.indexOf(action))

const certificateBytes = ({ vm, signer, session, issued, notAfter, channels }: Certificate): Bytes =>
  cbor.array(
    cbor.int(VERSION),
    cbor.bytes(vm),
    cbor.bytes(signer),
    cbor.bytes(session),
    cbor.int(issued),
    cbor.int(notAfter),
    cbor.int(channels),
  )

const placeItems = ({ session, channel, counter, progress, boot }: Place): Bytes[] => [
  cbor.bytes(session),
  cbor.bytes(channel),
  cbor.int(counter),
  cbor.array(
    cbor.int(progress.settled),
    cbor.bytes(bitmap(progress)),
    cbor.array(
      ...progress.reports.map(({ counter, nonce }) =>
        cbor.array(
          cbor.int(counter),
          nonce ? cbor.array(cbor.int(1), cbor.array(cbor.bytes(nonce))) : cbor.array(cbor.int(0), cbor.array()),
        ),
      ),
    ),
  ),
  cbor.bytes(boot),
]

/** Bit `i` (byte `i / 8`, least significant first) is counter `settled + 1 + i`. */
function bitmap({ settled, answered }: Progress): Bytes {
  const last = answered.at(-1)
  const out = new Uint8Array(last === undefined ? 0 : Number((last - settled + 7n) / 8n))
  for (const counter of answered) {
    const at = Number(counter - settled - 1n)
    out[at >> 3]! |= 1 << (at & 7)
  }
  return out
}

function counters(settled: bigint, bits: Bytes): bigint[] {
  const out: bigint[] = []
  for (let at = 0; at < bits.length * 8; at++) {
    if ((bits[at >> 3]! >> (at & 7)) & 1) out.push(settled + 1n + BigInt(at))
  }
  return out
}

function report(reader: cbor.Reader): Report {
  reader.array(2)
  const counter = reader.u64()
  reader.array(2)
  const kind = reader.small(32)
  if (kind === 0) {
    reader.array(0)
    return { counter }
  }
  if (kind !== 1) reader.fail('an unknown outcome')
  reader.array(1)
  return { counter, nonce: reader.bytes(16) }
}

/** Method, path, body and place of the request at this appliance. */
async function signed(vm: Bytes, request: Omit<Request, 'signature'>): Promise<Bytes> {
  return cbor.array(
    cbor.bytes(vm),
    cbor.text('POST'),
    cbor.text(`/v1/${request.method}`),
    cbor.bytes(await hash('request-body', request.body)),
    cbor.array(...placeItems(request)),
  )
}
