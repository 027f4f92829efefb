/**
 * What a statement of the roster can say, read. Twin of `src/roster/body.rs`.
 *
 * What does not belong: writing (draft), who may say it (signers), signatures (roster), words for people (describe). Invariants: everything that
 * decides who may look at what is in the value that was read; bytes that were read are the bytes that would be written, because
 * the reader takes the canonical form alone; ids are hexadecimal, so that values pass between threads and compare as text.
 */

import { cbor, hash, hex, unhex } from '../crypto/index.js'

/** Roles, in wire order. */
export const ROLES = ['administrator', 'custodian', 'viewer', 'external', 'technician', 'auditor'] as const
export type Role = (typeof ROLES)[number]

/** Longest name or reason, bytes. */
export const TEXT_MAX = 200
const URL_MAX = 1024
const BLOB_MAX = 8192
/** Most keys, grants or list entries in one statement. */
export const LIST_MAX = 512

/** Live, playback, export. */
export interface Rights {
  readonly live: boolean
  readonly playback: boolean
  readonly export: boolean
}

/** Hours of the week in an IANA zone: minutes since Monday 00:00, ascending with a gap between each two. */
export interface WeeklyHours {
  readonly zone: string
  readonly spans: readonly { readonly from: number; readonly until: number }[]
}

/** Every camera, later ones too; or these. */
export type Cameras = 'all' | readonly string[]

/** A public key set: canonical bytes and fingerprint, both hexadecimal. */
export interface KeyName {
  readonly bytes: string
  readonly fingerprint: string
}

export interface CameraSetup {
  readonly name: string
  readonly device: string
  readonly url: string
  readonly trust: { readonly by: 'pin'; readonly pin: string } | { readonly by: 'authority' } | { readonly by: 'plain' }
  readonly user: string
}

interface Span {
  readonly cameras: Cameras
  readonly from: bigint
  readonly until: bigint
  readonly reason: string
}

interface SeatBody {
  readonly index: number
  readonly name: string
  readonly key: KeyName
  readonly holder: 'person' | 'sheet'
}

/** Everything a statement can say. */
export type Body =
  | {
      readonly kind: 'genesis'
      readonly provisioning: string
      readonly claimKey: KeyName
      readonly device: KeyName
      readonly image: string | null
      readonly k: number
      readonly n: number
      readonly claimedBy: 'customer' | 'reseller'
    }
  | ({ readonly kind: 'seat' } & SeatBody)
  | { readonly kind: 'seat handover'; readonly from: string; readonly seat: SeatBody }
  | {
      readonly kind: 'profile'
      readonly serial: number
      readonly k: number
      readonly n: number
      readonly ceilingSecs: bigint
      readonly masks: number
      readonly exceptions: readonly string[]
      readonly told: readonly string[]
    }
  | { readonly kind: 'account'; readonly id: string; readonly role: Role; readonly name: string; readonly key: KeyName }
  | { readonly kind: 'account removal'; readonly account: string }
  | {
      readonly kind: 'key change'
      readonly account: string
      readonly old: string
      readonly new: KeyName
      readonly by: 'holder' | 'reset'
    }
  | {
      readonly kind: 'grant'
      readonly recipient: string
      readonly account: string
      readonly rights: Rights
      readonly cameras: Cameras
      readonly from: bigint
      readonly until: bigint
      readonly weekly: WeeklyHours | null
    }
  | { readonly kind: 'grant renewal'; readonly grants: readonly string[]; readonly until: bigint }
  | { readonly kind: 'revocation'; readonly keys: readonly string[]; readonly grants: readonly string[]; readonly reason: string }
  | {
      readonly kind: 'camera'
      readonly camera: string
      readonly setup: CameraSetup
      readonly setUpBy: string | null
      readonly beside: string | null
    }
  | { readonly kind: 'camera registration'; readonly camera: string }
  | { readonly kind: 'camera removal'; readonly camera: string }
  | {
      readonly kind: 'camera re-set-up'
      readonly camera: string
      readonly serial: number
      readonly setup: CameraSetup
      readonly beside: string | null
    }
  | {
      readonly kind: 'endpoint'
      readonly id: string
      readonly serial: number
      readonly of: (typeof ENDPOINTS)[number]
      readonly url: string
      readonly key: string
    }
  | { readonly kind: 'retention'; readonly serial: number; readonly secs: bigint }
  | ({ readonly kind: 'release'; readonly account: string; readonly recipient: string } & Span)
  | ({ readonly kind: 'hold' } & Span)
  | {
      readonly kind: 'exception'
      readonly rule: string
      readonly camera: string | null
      readonly until: bigint
      readonly reason: string
    }
  | ({ readonly kind: 'early erasure' } & Span)
  | {
      readonly kind: 'post'
      readonly id: string
      readonly serial: number
      readonly name: string
      readonly key: KeyName
      readonly members: readonly { readonly account: string; readonly key: string }[]
    }
  | { readonly kind: 'snapshot'; readonly count: bigint; readonly head: string; readonly state: string }

const ENDPOINTS = ['webhook', 'mail', 'time stamps', 'updates', 'site', 'witness'] as const
const id16 = (reader: cbor.Reader): string => hex(reader.bytes(16))
const id32 = (reader: cbor.Reader): string => hex(reader.bytes(32))
const line = (reader: cbor.Reader): string => reader.text(TEXT_MAX)
const some = <T>(reader: cbor.Reader, read: (reader: cbor.Reader) => T): T[] =>
  Array.from({ length: reader.list(LIST_MAX) }, () => read(reader))
const pick = <T>(reader: cbor.Reader, names: readonly T[]): T => names[reader.small(8)] ?? reader.fail('an unknown kind')
/** A last field that may be left out: `have` fields of `at + 1`. */
const last = <T>(reader: cbor.Reader, have: number, all: number, read: (reader: cbor.Reader) => T): T | null =>
  have < all || reader.null() ? null : read(reader)

/** Head of an array of which the last `optional` items may be left out. */
function struct(reader: cbor.Reader, all: number, optional = 0): number {
  const have = reader.list(all)
  if (have < all - optional) reader.fail(`an array of ${all} is expected`)
  return have
}

/** Reads a body; fingerprints of the keys in it are filled in by {@link withFingerprints}. */
export function readBody(reader: cbor.Reader): Body {
  reader.array(2)
  const kind = reader.small(32)
  reader.array(1)
  const read = READERS[kind] ?? reader.fail('a kind of statement that this version does not know')
  return read(reader)
}

const READERS: readonly ((reader: cbor.Reader) => Body)[] = [
  reader => {
    struct(reader, 7)
    const [provisioning, claimKey, device] = [id32(reader), key(reader), key(reader)]
    const image = reader.null() ? null : id32(reader)
    const [k, n] = [reader.small(8), reader.small(8)]
    const claimedBy = pick(reader, ['customer', 'reseller'] as const)
    return { kind: 'genesis', provisioning, claimKey, device, image, k, n, claimedBy }
  },
  reader => ({ kind: 'seat', ...seat(reader) }),
  reader => {
    struct(reader, 2)
    return { kind: 'seat handover', from: id32(reader), seat: seat(reader) }
  },
  reader => {
    struct(reader, 8)
    const [serial, k, n, ceilingSecs] = [reader.small(32), reader.small(8), reader.small(8), reader.u64()]
    if (reader.bool()) reader.fail('audio is never recorded')
    const masks = some(reader, mask).length
    return { kind: 'profile', serial, k, n, ceilingSecs, masks, exceptions: some(reader, line), told: some(reader, line) }
  },
  reader => {
    struct(reader, 4)
    return { kind: 'account', id: id16(reader), role: pick(reader, ROLES), name: line(reader), key: key(reader) }
  },
  reader => {
    struct(reader, 1)
    return { kind: 'account removal', account: id16(reader) }
  },
  reader => {
    struct(reader, 4)
    const [account, old, next] = [id16(reader), id32(reader), key(reader)]
    return { kind: 'key change', account, old, new: next, by: pick(reader, ['holder', 'reset'] as const) }
  },
  reader => {
    const have = struct(reader, 7, 1)
    const [recipient, account] = [id32(reader), id16(reader)]
    const bits = reader.small(8)
    if ((bits & ~7) !== 0) reader.fail('an unknown right')
    const rights = { live: (bits & 1) !== 0, playback: (bits & 2) !== 0, export: (bits & 4) !== 0 }
    const [of, from, until] = [cameras(reader), reader.i64(), reader.i64()]
    return { kind: 'grant', recipient, account, rights, cameras: of, from, until, weekly: last(reader, have, 7, weekly) }
  },
  reader => {
    struct(reader, 2)
    return { kind: 'grant renewal', grants: some(reader, id16), until: reader.i64() }
  },
  reader => {
    struct(reader, 3)
    return { kind: 'revocation', keys: some(reader, id32), grants: some(reader, id16), reason: line(reader) }
  },
  reader => {
    const have = struct(reader, 4, 2)
    const [camera, made] = [id16(reader), setup(reader)]
    const setUpBy = last(reader, have, 3, id16)
    return { kind: 'camera', camera, setup: made, setUpBy, beside: last(reader, have, 4, id16) }
  },
  reader => {
    struct(reader, 1)
    return { kind: 'camera registration', camera: id16(reader) }
  },
  reader => {
    struct(reader, 1)
    return { kind: 'camera removal', camera: id16(reader) }
  },
  reader => {
    const have = struct(reader, 4, 1)
    const [camera, serial, made] = [id16(reader), reader.small(32), setup(reader)]
    return { kind: 'camera re-set-up', camera, serial, setup: made, beside: last(reader, have, 4, id16) }
  },
  reader => {
    struct(reader, 5)
    const [id, serial, of] = [id16(reader), reader.small(32), pick(reader, ENDPOINTS)]
    return { kind: 'endpoint', id, serial, of, url: reader.text(URL_MAX), key: reader.text(URL_MAX) }
  },
  reader => {
    struct(reader, 2)
    return { kind: 'retention', serial: reader.small(32), secs: reader.u64() }
  },
  reader => {
    struct(reader, 3)
    return { kind: 'release', account: id16(reader), recipient: id32(reader), ...span(reader) }
  },
  reader => ({ kind: 'hold', ...span(reader) }),
  reader => {
    struct(reader, 4)
    const rule = line(reader)
    const camera = reader.null() ? null : id16(reader)
    return { kind: 'exception', rule, camera, until: reader.i64(), reason: line(reader) }
  },
  reader => ({ kind: 'early erasure', ...span(reader) }),
  reader => {
    struct(reader, 5)
    const [id, serial, name, of] = [id16(reader), reader.small(32), line(reader), key(reader)]
    const members = some(reader, () => {
      struct(reader, 3)
      const member = { account: id16(reader), key: id32(reader) }
      reader.blob(BLOB_MAX)
      return member
    })
    return { kind: 'post', id, serial, name, key: of, members }
  },
  reader => {
    struct(reader, 2)
    struct(reader, 2)
    const [head, count] = mark(reader)
    return { kind: 'snapshot', count, head, state: id32(reader) }
  },
]

const mark = (reader: cbor.Reader): [string, bigint] => [id32(reader), reader.u64()]

function key(reader: cbor.Reader): KeyName {
  const from = reader.at
  struct(reader, 3)
  reader.small(16)
  reader.bytes(1665)
  reader.bytes(49)
  return { bytes: hex(reader.since(from)), fingerprint: '' }
}

function seat(reader: cbor.Reader): SeatBody {
  struct(reader, 4)
  const [index, name, of] = [reader.small(8), line(reader), key(reader)]
  return { index, name, key: of, holder: pick(reader, ['person', 'sheet'] as const) }
}

function mask(reader: cbor.Reader): string {
  struct(reader, 2)
  const camera = id16(reader)
  some(reader, () => {
    struct(reader, 2)
    return [reader.small(16), reader.small(16)]
  })
  return camera
}

function cameras(reader: cbor.Reader): Cameras {
  reader.array(2)
  const kind = reader.small(32)
  if (kind > 1) reader.fail('an unknown choice of cameras')
  reader.array(kind)
  return kind === 0 ? 'all' : some(reader, id16)
}

function weekly(reader: cbor.Reader): WeeklyHours {
  struct(reader, 2)
  const zone = line(reader)
  const spans = some(reader, () => {
    struct(reader, 2)
    return { from: reader.small(16), until: reader.small(16) }
  })
  return { zone, spans }
}

function setup(reader: cbor.Reader): CameraSetup {
  struct(reader, 6)
  const [name, device, url] = [line(reader), id32(reader), reader.text(URL_MAX)]
  reader.array(2)
  const kind = reader.small(32)
  if (kind > 2) reader.fail('an unknown kind of trust')
  reader.array(kind === 2 ? 0 : 1)
  let trust: CameraSetup['trust'] = { by: 'plain' }
  if (kind === 0) trust = { by: 'pin', pin: id32(reader) }
  if (kind === 1) {
    reader.blob(BLOB_MAX)
    trust = { by: 'authority' }
  }
  const user = line(reader)
  reader.blob(BLOB_MAX)
  return { name, device, url, trust, user }
}

function span(reader: cbor.Reader): Span {
  struct(reader, 4)
  return { cameras: cameras(reader), from: reader.i64(), until: reader.i64(), reason: line(reader) }
}

/** The same body with the fingerprints of the keys in it. */
export async function withFingerprints(body: Body): Promise<Body> {
  const name = async (of: KeyName): Promise<KeyName> => ({
    ...of,
    fingerprint: hex(await hash('user-public', unhex(of.bytes))),
  })
  switch (body.kind) {
    case 'genesis':
      return { ...body, claimKey: await name(body.claimKey), device: await name(body.device) }
    case 'seat':
    case 'account':
    case 'post':
      return { ...body, key: await name(body.key) } as Body
    case 'seat handover':
      return { ...body, seat: { ...body.seat, key: await name(body.seat.key) } }
    case 'key change':
      return { ...body, new: await name(body.new) }
    default:
      return body
  }
}
