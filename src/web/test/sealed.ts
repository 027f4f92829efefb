/**
 * Epochs sealed in tests as the appliance seals them, but for heads: what a client reads behind the head.
 */

import { concat, u32, type Bytes } from '../crypto/index.js'
import { u64 } from '../crypto/bytes.js'
import { ContentKey } from '../crypto/content.js'
import { crc32c } from '../crypto/crc32c.js'
import { recordHash, type EpochRecord } from '../crypto/record.js'
import type { Segment } from '../session/wire.js'
import { fragment, init, ONE } from './boxes.js'

export const S = 1_000_000_000n
/** Late in 2026, so that rounding would show. */
export const T = 1_795_563_000n * S
/** Two pictures of a tenth of a second. */
const PAIR = [9000, 9000]

/** An epoch of one fragment each 200 ms, key pictures where `keys` says so. */
export interface Plan {
  readonly starts: bigint
  readonly keys: readonly boolean[]
  /** The camera's ticks at its start. */
  readonly ticks: bigint
  readonly ours?: boolean
}

/** One that was made. */
export interface Made extends Segment {
  readonly file: Bytes
  readonly head: number
  /** Offsets of all fragments. */
  readonly places: readonly number[]
  readonly gops: readonly { readonly at: number; readonly starts: bigint }[]
  readonly record: EpochRecord
  readonly key: ContentKey
  readonly ours: boolean
}

/** Makes it. */
export async function epoch(number: bigint, { starts, keys, ticks, ours = true }: Plan): Promise<Made> {
  const key = new ContentKey(new Uint8Array(32).fill(Number(number)))
  const context = { epoch: number, commitK: await key.commit() }
  const record = { context, bytes: u64(number) } as unknown as EpochRecord
  const name = await recordHash(record)
  const aes = await crypto.subtle.importKey('raw', key.reveal(), 'AES-GCM', false, ['encrypt'])
  const head = 40
  let [file, counter] = [new Uint8Array(head), 0n]
  const gops: { at: number; starts: bigint }[] = []
  const places: number[] = []
  const seal = async (kind: number, flags: number, payload: Bytes, start: bigint, duration: number): Promise<void> => {
    const header = new Uint8Array(32)
    const write = new DataView(header.buffer)
    write.setUint16(0, 0x5046)
    header.set([kind, flags], 2)
    write.setUint32(4, payload.length)
    write.setUint32(8, 1)
    write.setBigUint64(12, counter)
    write.setBigInt64(20, start)
    write.setUint32(28, duration)
    const algorithm = { name: 'AES-GCM', iv: concat(u32(1), u64(counter)), additionalData: concat(name, header) }
    const sealed = concat(header, new Uint8Array(await crypto.subtle.encrypt(algorithm, aes, payload)))
    places.push(file.length)
    if ((flags & 1) !== 0) gops.push({ at: file.length, starts: start })
    file = concat(file, sealed, u32(crc32c(sealed)))
    counter++
  }
  await seal(1, 0, init(ONE), starts, 0)
  for (const [at, isKey] of keys.entries()) {
    const tick = ticks + BigInt(at) * 18_000n
    await seal(2, isKey ? 1 : 0, fragment(tick, isKey, PAIR), starts + (BigInt(at) * S) / 5n, 18_000)
  }
  const ends = starts + (BigInt(keys.length) * S) / 5n
  await seal(2, 2, new Uint8Array(0), ends, 0)
  const fields = { epoch: number, starts, ends, bytes: BigInt(file.length), running: false, seek: BigInt(head) }
  return { ...fields, file, head, places, gops, record, key, ours }
}
