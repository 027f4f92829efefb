/**
 * The epoch record: what one epoch of one camera is, signed by the device key. Twin of `src/seal/record.rs`.
 *
 * What does not belong: how wraps open (wrap), where the record lies (segment). Clients only read records, never make
 * them. Invariant: parsed values are not changed, so that `bytes` stays their canonical form.
 */

import { concat, equal, u64, type Bytes } from './bytes.js'
import * as cbor from './cbor.js'
import { hash } from './digest.js'
import { demand, PeriError } from './errors.js'
import { SIGNATURE_LEN, type UserPublic } from './keys.js'
import { wrapHash, type Wrap } from './wrap.js'

/** The one suite so far. */
export const SUITE = 1
/** Most seats. */
export const SEATS_MAX = 16
/** Most wraps: 100 recipients and every seat. */
export const WRAPS_MAX = 100 + SEATS_MAX
/** Longest epoch, in nanoseconds. */
const EPOCH_MAX = 15n * 60n * 1_000_000_000n

/** Which epoch of which camera of which VM. */
export interface EpochId {
  readonly vm: Bytes
  readonly camera: Bytes
  readonly epoch: bigint
}

/** Everything about an epoch that is fixed before its wraps are made. */
export interface EpochContext extends EpochId {
  readonly suite: number
  /** First instant, nanoseconds since 1970. */
  readonly starts: bigint
  /** Planned end (exclusive). */
  readonly ends: bigint
  readonly rosterHead: Bytes
  readonly rosterLen: bigint
  readonly commitE: Bytes
  readonly commitX: Bytes
  readonly commitK: Bytes
  /** k */
  readonly threshold: number
  /** n */
  readonly seats: number
  /** The canonical bytes, as bound by every wrap. */
  readonly bytes: Bytes
}

/** The signed record. */
export interface EpochRecord {
  readonly context: EpochContext
  readonly wrapsHash: Bytes
  readonly wrapsCount: number
  readonly deviceSig: Bytes
  /** The canonical bytes. */
  readonly bytes: Bytes
}

/** VM ‖ camera ‖ epoch, for `info` strings. */
export const idBytes = (id: EpochId): Bytes => concat(id.vm, id.camera, u64(id.epoch))

/** A context from its canonical bytes. */
export const parseContext = (bytes: Bytes): EpochContext => cbor.decode('an epoch context', bytes, readContext)

/** A record from its canonical bytes; nothing but their form is checked. */
export function parseRecord(bytes: Bytes): EpochRecord {
  return cbor.decode('an epoch record', bytes, reader => {
    const from = reader.at
    reader.array(4)
    const context = readContext(reader)
    const wrapsHash = reader.bytes(32)
    const wrapsCount = reader.small(32)
    const deviceSig = reader.bytes(SIGNATURE_LEN)
    return { context, wrapsHash, wrapsCount, deviceSig, bytes: reader.since(from) }
  })
}

function readContext(reader: cbor.Reader): EpochContext {
  const from = reader.at
  reader.array(13)
  const fields = {
    suite: reader.small(16),
    vm: reader.bytes(16),
    camera: reader.bytes(16),
    epoch: reader.u64(),
    starts: reader.i64(),
    ends: reader.i64(),
    rosterHead: reader.bytes(32),
    rosterLen: reader.u64(),
    commitE: reader.bytes(32),
    commitX: reader.bytes(32),
    commitK: reader.bytes(32),
    threshold: reader.small(8),
    seats: reader.small(8),
  }
  return { ...fields, bytes: reader.since(from) }
}

/** Checks suite and ranges. */
export function validateContext(context: EpochContext): void {
  const { suite, epoch, starts, ends, threshold, seats } = context
  const refuse = (why: string): never => {
    throw new PeriError('bad_record', `epoch ${epoch}: ${why}`)
  }
  if (suite !== SUITE) refuse(`suite ${suite}, this version knows suite 1: upgrade`)
  if (epoch === 0n) refuse('epochs count from 1')
  if (ends <= starts || ends - starts > EPOCH_MAX) refuse('an epoch ends after it starts and lasts at most 15 minutes')
  if (threshold === 0 || threshold > seats || seats > SEATS_MAX) refuse('1 ≤ k ≤ n ≤ 16 seats')
}

/** Checks ranges and the device's signature. */
export async function verifyRecord(record: EpochRecord, device: UserPublic): Promise<void> {
  validateContext(record.context)
  const signed = cbor.array(record.context.bytes, cbor.bytes(record.wrapsHash), cbor.int(record.wrapsCount))
  await device.verify('epoch-record', signed, record.deviceSig).catch(() => {
    throw new PeriError('other_device', `epoch ${record.context.epoch} was not recorded by this device`)
  })
}

/** Checks that these are the wraps that were signed. */
export async function verifyWraps(record: EpochRecord, wraps: readonly Wrap[]): Promise<void> {
  const hashes = await Promise.all(wraps.map(wrapHash))
  const found = await hash('wraps', ...hashes)
  demand(
    wraps.length === record.wrapsCount && equal(found, record.wrapsHash),
    'bad_record',
    `the wraps of epoch ${record.context.epoch} are not those of its record: one was added, dropped or changed`,
  )
}

/** SHA-256 over the canonical bytes, signature included: the name of the epoch in every AAD and in the ledger. */
export const recordHash = (record: EpochRecord): Promise<Bytes> => hash('epoch-record', record.bytes)
