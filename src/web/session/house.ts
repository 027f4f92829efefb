/**
 * The house: what the appliance says of its roster to this account, page by page. Twin of the types in `src/access/house.rs`.
 *
 * What does not belong: statements (roster), decisions. Invariants: nothing here is a permission, the appliance decides again
 * with each request; the device key that verifies records stays the same as long as the page is open.
 */

import { cbor, equal, hex, UserPublic, words, type Bytes, type PostId } from '../crypto/index.js'
import type { Account, Camera, GrantEntry, House, MyRights, Seat, Standing } from '../facade.js'
import { ROLES, type Role } from './body.js'
import { protocol, refuse } from './errors.js'
import type { Session } from './session.js'

const TEXT = 1 << 12
const LIST = 1 << 12
/** Pages of a house: 512 cameras and some thousand people fit a hundred. */
const PAGES_MAX = 512

/** A version of a post whose key is sealed to ours: what is wrapped to the post opens with it. */
export interface Membership {
  readonly id: PostId
  /** Fingerprint of the version's key. */
  readonly key: Bytes
  readonly sealed: Bytes
}

/** A house with what only the worker needs of it. */
export interface Home {
  readonly house: House
  readonly vm: Bytes
  readonly device: UserPublic
  readonly seatSet: number
  readonly memberships: readonly Membership[]
}

interface Page {
  readonly now: bigint
  readonly vm: Bytes
  readonly device: Bytes
  readonly key: Bytes
  readonly me: Standing
  readonly name: string
  readonly k: number
  readonly n: number
  readonly retentionSecs: number
  readonly ceilingSecs: number
  readonly seatSet: number
  readonly notices: readonly string[]
  readonly items: readonly Item[]
  readonly next: bigint | null
}

/** What an item is of. */
interface Items {
  camera: Camera
  account: Account
  seat: Seat
  grant: GrantEntry
  membership: { post: Bytes; serial: number; key: Bytes; sealed: Bytes }
}

type Item = { [O in keyof Items]: { readonly of: O; readonly item: Items[O] } }[keyof Items]

/** Reads all pages; a roster that changed in between is read once more. */
export async function readHouse(session: Session, device: UserPublic): Promise<Home> {
  const items: Item[] = []
  let after = 0n
  for (let pages = 0; pages < PAGES_MAX; pages++) {
    const { bytes } = await session.request('house', cbor.array(cbor.int(after)))
    const page = parsePage(bytes)
    session.clock(page.now)
    items.push(...page.items)
    if (page.next === null) return home(page, items, device)
    if (page.next <= after) break
    after = page.next
  }
  throw protocol('the list of what there is does not end')
}

function home(page: Page, items: readonly Item[], device: UserPublic): Home {
  if (!equal(page.device, device.bytes)) {
    const detail = 'what it shows is not signed by the device key that it showed at the login; do not go on, tell the custodians'
    throw refuse('other_device', 'Another appliance answers', detail)
  }
  // A page that moved on while it was read may name something twice.
  const all = <O extends keyof Items>(of: O, id: (item: Items[O]) => string): Items[O][] => {
    const found = items.filter(item => item.of === of).map(({ item }) => item as Items[O])
    return [...new Map(found.map(item => [id(item), item])).values()]
  }
  const house: House = {
    now: page.now,
    vm: hex(page.vm),
    device: hex(device.fingerprint),
    deviceWords: words(device.fingerprint),
    key: hex(page.key),
    keyWords: words(page.key),
    me: page.me,
    name: page.name,
    k: page.k,
    n: page.n,
    retentionSecs: page.retentionSecs,
    ceilingSecs: page.ceilingSecs,
    notices: page.notices,
    cameras: all('camera', camera => camera.id),
    accounts: all('account', account => account.id),
    seats: all('seat', seat => String(seat.index)),
    grants: all('grant', grant => grant.nonce),
  }
  const memberships = all('membership', ({ post, serial }) => `${hex(post)} ${serial}`).map(item => ({
    id: { vm: page.vm, post: item.post, serial: item.serial },
    key: item.key,
    sealed: item.sealed,
  }))
  return { house, vm: page.vm, device, seatSet: page.seatSet, memberships }
}

/** One page. */
export const parsePage = (bytes: Bytes): Page =>
  cbor.decode('a page of the house', bytes, reader => {
    const fields = reader.list(14)
    if (fields < 13) reader.fail('an array of 14 is expected')
    return {
      now: reader.i64(),
      vm: reader.bytes(16),
      device: publicBytes(reader),
      key: reader.bytes(32),
      me: standing(reader),
      name: reader.text(TEXT),
      k: reader.small(8),
      n: reader.small(8),
      retentionSecs: Number(reader.u64()),
      ceilingSecs: Number(reader.u64()),
      seatSet: reader.small(32),
      notices: Array.from({ length: reader.list(LIST) }, () => reader.text(TEXT)),
      items: Array.from({ length: reader.list(LIST) }, () => item(reader)),
      next: fields < 14 || reader.null() ? null : reader.u64(),
    }
  })

/** The canonical bytes of a public key set. */
export function publicBytes(reader: cbor.Reader): Bytes {
  const from = reader.at
  reader.array(3)
  reader.small(16)
  reader.blob(TEXT)
  reader.blob(TEXT)
  return reader.since(from)
}

/** A role by its number. */
export const role = (reader: cbor.Reader): Role => ROLES[reader.small(8)] ?? reader.fail('an unknown role')

/** Rights by their bits. */
export function rights(reader: cbor.Reader): MyRights {
  const bits = reader.small(8)
  if ((bits & ~7) !== 0) reader.fail('an unknown right')
  return { live: (bits & 1) !== 0, playback: (bits & 2) !== 0, export: (bits & 4) !== 0 }
}

function standing(reader: cbor.Reader): Standing {
  reader.array(2)
  const kind = reader.small(32)
  switch (kind) {
    case 0:
      reader.array(0)
      return { kind: 'claim' }
    case 1:
      reader.array(1)
      return { kind: 'seat', index: reader.small(8) }
    case 2:
      reader.array(2)
      return { kind: 'account', id: hex(reader.bytes(16)), role: role(reader) }
    default:
      return reader.fail('an unknown standing')
  }
}

const STATES = ['in office', 'removed', 'key revoked'] as const
const SEATS = ['person', 'sheet'] as const

function item(reader: cbor.Reader): Item {
  reader.array(2)
  const kind = reader.small(32)
  reader.array(1)
  switch (kind) {
    case 0:
      return { of: 'camera', item: camera(reader) }
    case 1: {
      reader.array(5)
      const fields = { id: hex(reader.bytes(16)), role: role(reader), name: reader.text(TEXT), key: hex(reader.bytes(32)) }
      const state = STATES[reader.small(8)] ?? reader.fail('an unknown state')
      return { of: 'account', item: { ...fields, state } }
    }
    case 2: {
      reader.array(5)
      const index = reader.small(8)
      const of = SEATS[reader.small(8)] ?? reader.fail('an unknown kind of seat')
      const [name, key] = [reader.text(TEXT), hex(reader.bytes(32))]
      return { of: 'seat', item: { index, kind: of, name, key, revoked: reader.bool() } }
    }
    case 3:
      return { of: 'grant', item: grant(reader) }
    case 4: {
      reader.array(4)
      const [post, serial, key] = [reader.bytes(16), reader.small(32), reader.bytes(32)]
      return { of: 'membership', item: { post, serial, key, sealed: reader.blob(TEXT) } }
    }
    default:
      return reader.fail('an unknown item')
  }
}

function camera(reader: cbor.Reader): Camera {
  reader.array(8)
  const [id, name] = [hex(reader.bytes(16)), reader.text(TEXT)]
  const [registered, removed, plain] = [reader.bool(), reader.bool(), reader.bool()]
  const mine = rights(reader)
  const recordedUntil = reader.null() ? null : reader.i64()
  return { id, name, registered, removed, plain, rights: mine, recordedUntil, lost: reader.text(TEXT) }
}

function grant(reader: cbor.Reader): GrantEntry {
  reader.array(8)
  const [nonce, account, given] = [hex(reader.bytes(16)), hex(reader.bytes(16)), rights(reader)]
  const cameras = reader.null() ? null : Array.from({ length: reader.list(LIST) }, () => hex(reader.bytes(16)))
  const [from, until, weekly] = [reader.i64(), reader.i64(), reader.text(TEXT)]
  return { nonce, account, rights: given, cameras, from, until, weekly, revoked: reader.bool() }
}
