/**
 * Answers of the appliance and the frames of the live socket, read strictly. Twin of the answer types in `src/access/wire.rs`.
 *
 * What does not belong: requests (crypto/request), the house (house), statements (roster). Invariant: every list and text is
 * bounded by what fits a frame; what is not canonical is refused.
 */

import { cbor, hex, UserPublic, type Bytes } from '../crypto/index.js'
import type { Coverage, Health, InvitationState, SegmentEntry } from '../facade.js'
import { words } from '../crypto/index.js'
import { EngineError } from './errors.js'

const LIST = 1 << 16
const TEXT = 1 << 16
const BLOB = 1 << 20

/** A last field that may be left out, or be null in the middle of an array. */
function optional<T>(reader: cbor.Reader, present: boolean, read: () => T): T | null {
  return !present || reader.null() ? null : read()
}

/** Head of an array whose last `optional` items may be left out. */
function struct(reader: cbor.Reader, length: number, options: number): number {
  const found = reader.list(length)
  if (found < length - options) reader.fail(`an array of ${length} is expected`)
  return found
}

const items = <T>(reader: cbor.Reader, read: (reader: cbor.Reader) => T): T[] =>
  Array.from({ length: reader.list(LIST) }, () => read(reader))

/** Answer to a question for a nonce. */
export const parseNonce = (bytes: Bytes): Bytes => cbor.decode('a nonce', bytes, reader => reader.bytes(16))

/** Answer to an opening: the life of scribe that proofs are for, and the appliance's clock. */
export const parseSessionOpened = (bytes: Bytes): { boot: Bytes; now: bigint } =>
  cbor.decode('an opened session', bytes, reader => {
    reader.array(2)
    return { boot: reader.bytes(16), now: reader.i64() }
  })

/** Nothing but that it was done. */
export const parseDone = (bytes: Bytes): void => cbor.decode('an empty answer', bytes, reader => reader.array(0))

/** Rounds and salt. */
export const parseParameters = (bytes: Bytes): { rounds: number; salt: Bytes } =>
  cbor.decode('password parameters', bytes, reader => {
    reader.array(2)
    return { rounds: reader.small(32), salt: reader.bytes(32) }
  })

/** The wrapped key of a login. */
export const parseLoggedIn = (bytes: Bytes): { account: Bytes; wrapped: Bytes } =>
  cbor.decode('a login', bytes, reader => {
    reader.array(2)
    return { account: reader.bytes(16), wrapped: reader.blob(4096) }
  })

/** The account for which a key was enrolled. */
export const parseRedeemed = (bytes: Bytes): Bytes =>
  cbor.decode('a redemption', bytes, reader => {
    reader.array(1)
    return reader.bytes(16)
  })

/** Who the appliance is. */
export interface Birth {
  readonly vm: Bytes
  readonly device: UserPublic
  /** Digest of what the customer ordered. */
  readonly provisioning: Bytes
}

/** Who the appliance is, signed over our nonce; what stands behind the device key is not used here. */
export async function parseBirth(bytes: Bytes, nonce: Bytes): Promise<Birth> {
  const found = cbor.decode('a birth certificate', bytes, reader => {
    const fields = struct(reader, 11, 1)
    const vm = reader.bytes(16)
    const from = reader.at
    reader.array(3)
    reader.small(16)
    reader.blob(4096)
    reader.blob(4096)
    const device = reader.since(from)
    items(reader, () => reader.text(TEXT))
    const provisioning = reader.bytes(32)
    reader.bool()
    reader.bytes(32)
    reader.u64()
    items(reader, () => reader.text(TEXT))
    const shown = reader.bytes(32)
    const signature = reader.bytes(96)
    const tlsFrom = reader.at
    optional(reader, fields > 10, () => {
      reader.array(2)
      reader.bytes(32)
      reader.blob(8192)
    })
    return { vm, device, provisioning, shown, signature, tlsFrom }
  })
  const device = await UserPublic.fromBytes(found.device)
  // Signed is the certificate with a signature of zeros in its place.
  const unsigned = new Uint8Array(bytes)
  unsigned.fill(0, found.tlsFrom - 96, found.tlsFrom)
  if (hex(found.shown) !== hex(nonce)) {
    throw new EngineError({
      status: 0,
      code: 'forged',
      title: 'The birth certificate is not fresh',
      detail: 'somebody replays or forges it; do not go on',
    })
  }
  await device.verify('peri/v1/birth', unsigned, found.signature)
  return { vm: found.vm, device, provisioning: found.provisioning }
}

/** A segment with the place where reading begins. */
export interface Segment extends SegmentEntry {
  readonly seek: bigint
}

/** What there is of a span. */
export interface SegmentsPage {
  readonly segments: readonly Segment[]
  readonly coverage: readonly Coverage[]
  readonly next: bigint | null
}

const KINDS = ['recorded', 'lost', 'paused', 'erased'] as const

/** Answer to `segments`. */
export const parseSegments = (bytes: Bytes): SegmentsPage =>
  cbor.decode('a page of segments', bytes, reader => {
    const fields = struct(reader, 3, 1)
    const segments = items(reader, () => {
      reader.array(6)
      return {
        epoch: reader.u64(),
        starts: reader.i64(),
        ends: reader.i64(),
        bytes: reader.u64(),
        running: reader.bool(),
        seek: reader.u64(),
      }
    })
    const coverage = items(reader, () => {
      reader.array(4)
      const [from, until] = [reader.i64(), reader.i64()]
      const kind = KINDS[reader.small(8)] ?? reader.fail('an unknown kind of coverage')
      return { from, until, kind, cause: reader.text(TEXT) }
    })
    return { segments, coverage, next: optional(reader, fields > 2, () => reader.i64()) }
  })

/** Answer to `open`: X of epochs, sealed. */
export const parseOpened = (bytes: Bytes): { epoch: bigint; sealed: Bytes }[] =>
  cbor.decode('opened epochs', bytes, reader => {
    reader.array(1)
    return items(reader, () => {
      reader.array(2)
      return { epoch: reader.u64(), sealed: reader.blob(4096) }
    })
  })

/** Answer to `health`. */
export const parseHealth = (bytes: Bytes): Health =>
  cbor.decode('the state of the appliance', bytes, reader => {
    reader.array(5)
    const now = reader.i64()
    const cameras = items(reader, () => {
      const fields = struct(reader, 4, 1)
      const camera = hex(reader.bytes(16))
      const recordedUntil = optional(reader, true, () => reader.i64())
      const lost = reader.text(TEXT)
      return { camera, recordedUntil, lost, epoch: optional(reader, fields > 3, () => reader.u64()) }
    })
    const alarms = items(reader, () => reader.text(TEXT))
    const freeBytes = reader.u64()
    return { now, cameras, alarms, freeBytes, notices: items(reader, () => reader.text(TEXT)) }
  })

/** Answer to `ledger`. */
export const parseLedger = (bytes: Bytes): { entries: Bytes[]; size: bigint; checkpoint: string } =>
  cbor.decode('a page of the ledger', bytes, reader => {
    reader.array(3)
    const entries = items(reader, () => reader.blob(1 << 16))
    return { entries, size: reader.u64(), checkpoint: reader.text(TEXT) }
  })

/** Answer to `invitation`, with the key that was enrolled. */
export async function parseInvitation(
  id: Bytes,
  bytes: Bytes,
): Promise<{ state: InvitationState; key: UserPublic | undefined }> {
  const { account, notAfter, key } = cbor.decode('an invitation', bytes, reader => {
    const fields = struct(reader, 3, 1)
    const account = hex(reader.bytes(16))
    const notAfter = reader.i64()
    const key = optional(reader, fields > 2, () => {
      const from = reader.at
      reader.array(3)
      reader.small(16)
      reader.blob(4096)
      reader.blob(4096)
      return reader.since(from)
    })
    return { account, notAfter, key }
  })
  const found = key ? await UserPublic.fromBytes(key) : undefined
  const named = found ? { key: hex(found.fingerprint), words: words(found.fingerprint) } : { key: null, words: null }
  return { state: { id: hex(id), account, notAfter, ...named }, key: found }
}

/** Answer to `roster`. */
export const parseRoster = (bytes: Bytes): { statements: Bytes[]; total: bigint } =>
  cbor.decode('a page of the roster', bytes, reader => {
    reader.array(3)
    const statements = items(reader, () => reader.blob(1 << 15))
    const total = reader.u64()
    reader.bytes(32)
    return { statements, total }
  })

/** Answer to `proposals`. */
export const parseProposals = (bytes: Bytes): Bytes[] =>
  cbor.decode('proposals', bytes, reader => {
    reader.array(1)
    return items(reader, () => reader.blob(1 << 15))
  })

/** The appliance's frame on the live socket. */
export type LiveReply =
  | { readonly kind: 'answer' }
  | { readonly kind: 'problem'; readonly error: EngineError; readonly taken: boolean }
  | { readonly kind: 'stream'; readonly length: bigint }
  | { readonly kind: 'chunk'; readonly bytes: Bytes }
  | { readonly kind: 'end' }
  | { readonly kind: 'conflict'; readonly conflict: import('./http.js').Conflict }
  | { readonly kind: 'skipped'; readonly bytes: bigint }

/** A message of the socket: for which stream, and what. */
export const parseLive = (bytes: Uint8Array): { stream: number; reply: LiveReply } =>
  cbor.decode('a message of the live socket', bytes, reader => {
    reader.array(2)
    const stream = reader.small(32)
    reader.array(2)
    return { stream, reply: liveReply(reader) }
  })

function liveReply(reader: cbor.Reader): LiveReply {
  const kind = reader.small(32)
  reader.array(kind === 4 ? 0 : 1)
  switch (kind) {
    case 0:
      reader.blob(BLOB)
      return { kind: 'answer' }
    case 1:
    case 5:
      return { kind: 'problem', error: readProblem(reader), taken: kind === 1 }
    case 2:
      return { kind: 'stream', length: reader.u64() }
    case 3:
      return { kind: 'chunk', bytes: reader.blob(BLOB) }
    case 4:
      return { kind: 'end' }
    case 6:
      return { kind: 'conflict', conflict: conflict(reader) }
    case 7:
      return { kind: 'skipped', bytes: reader.u64() }
    default:
      return reader.fail('an unknown reply')
  }
}

function readProblem(reader: cbor.Reader): EngineError {
  const fields = struct(reader, 5, 1)
  const status = reader.small(16)
  const [code, title, detail] = [reader.text(TEXT), reader.text(TEXT), reader.text(TEXT)]
  const retry = optional(reader, fields > 4, () => Number(reader.u64()))
  return new EngineError(
    retry === null ? { status, code, title, detail } : { status, code, title, detail, retryAfter: retry },
  )
}

function conflict(reader: cbor.Reader): import('./http.js').Conflict {
  reader.array(2)
  const kind = reader.small(32)
  reader.array(kind === 0 || kind === 2 ? 1 : 0)
  switch (kind) {
    case 0:
      return { kind: 'copy', nonce: reader.bytes(16) }
    case 1:
      return { kind: 'given_up' }
    case 2:
      return { kind: 'resync', boot: reader.bytes(16) }
    case 3:
      return { kind: 'channel_ended' }
    default:
      return reader.fail('an unknown conflict')
  }
}
