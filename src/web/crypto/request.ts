/**
 * Requests signed by a roster key, and the bodies that they carry. Twin of `src/access/wire.rs`.
 *
 * What does not belong: connections, answers. Invariant: a request names VM, method, body, nonce and signer under its
 * signature, so that it is nothing to another VM, for another question or a second time.
 */

import { type Bytes } from './bytes.js'
import * as cbor from './cbor.js'
import { hash } from './digest.js'
import { demand } from './errors.js'
import { SIGNATURE_LEN, type KeyPair, type UserPublic } from './keys.js'

/** Context of request signatures. */
const CONTEXT = 'peri/v1/request'
/** Longest body. */
const BODY_MAX = 16 * 1024
/** Number of the signed request among the frames of a client. */
const ASK_SIGNED = 3

/** What is asked, in wire order. */
export const METHODS = ['roster', 'segments', 'open', 'fetch', 'health', 'ledger'] as const
export type Method = (typeof METHODS)[number]

/** Why a picture is asked for, in wire order. */
export const ACTIONS = ['live', 'playback', 'export'] as const
export type Action = (typeof ACTIONS)[number]

/** A request under the roster key of its signer. */
export interface SignedRequest {
  readonly vm: Bytes
  readonly method: Method
  readonly body: Bytes
  /** From the appliance, used once. */
  readonly nonce: Bytes
  /** Fingerprint of the signer. */
  readonly signer: Bytes
  readonly signature: Bytes
}

/** Signs a request. */
export async function signRequest(
  vm: Bytes,
  method: Method,
  body: Bytes,
  nonce: Bytes,
  who: KeyPair,
): Promise<SignedRequest> {
  demand(body.length <= BODY_MAX, 'too_long', `a body of ${body.length} bytes; at most 16 KiB are possible`)
  const unsigned = { vm, method, body, nonce, signer: who.fingerprint }
  return { ...unsigned, signature: await who.sign(CONTEXT, await signed(unsigned)) }
}

/** Refuses with `wrong_signature` unless `public` is the signer named and signed this. */
export async function verifyRequest(request: SignedRequest, who: UserPublic): Promise<void> {
  const named = who.fingerprint.every((byte, at) => byte === request.signer[at])
  demand(named, 'wrong_signature', 'the request names another signer')
  await who.verify(CONTEXT, await signed(request), request.signature)
}

/** The client's frame with this request, without the length before it. */
export const encodeRequest = (request: SignedRequest): Bytes =>
  cbor.array(
    cbor.int(ASK_SIGNED),
    cbor.array(
      cbor.array(
        cbor.bytes(request.vm),
        cbor.int(METHODS.indexOf(request.method)),
        cbor.bytes(request.body),
        cbor.bytes(request.nonce),
        cbor.bytes(request.signer),
        cbor.bytes(request.signature),
      ),
    ),
  )

/** Reads what {@link encodeRequest} writes. */
export function parseRequest(bytes: Bytes): SignedRequest {
  return cbor.decode('a signed request', bytes, reader => {
    reader.array(2)
    if (reader.small(32) !== ASK_SIGNED) reader.fail('a signed request is expected')
    reader.array(1)
    reader.array(6)
    const vm = reader.bytes(16)
    const method = METHODS[reader.small(32)] ?? reader.fail('an unknown method')
    const body = reader.blob(BODY_MAX)
    return { vm, method, body, nonce: reader.bytes(16), signer: reader.bytes(32), signature: reader.bytes(SIGNATURE_LEN) }
  })
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

async function signed({ vm, method, body, nonce, signer }: Omit<SignedRequest, 'signature'>): Promise<Bytes> {
  return cbor.array(
    cbor.bytes(vm),
    cbor.int(METHODS.indexOf(method)),
    cbor.bytes(await hash('request-body', body)),
    cbor.bytes(nonce),
    cbor.bytes(signer),
  )
}
