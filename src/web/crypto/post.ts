/**
 * The key of a post, opened with the key of one of its members. Twin of `src/seal/post.rs` and `src/open/post.rs`.
 *
 * What does not belong: which posts there are. Invariant: what opens is the key that the roster names, or it is an error.
 */

import { u32, type Bytes } from './bytes.js'
import { labelled } from './digest.js'
import { PeriError } from './errors.js'
import * as hpke from './hpke.js'
import { KeyPair } from './keys.js'

/** Which version of which post. */
export interface PostId {
  readonly vm: Bytes
  readonly post: Bytes
  readonly serial: number
}

/** Opens the key of a version of a post, whose fingerprint the roster says is `key`. */
export async function openPost(
  member: KeyPair,
  id: PostId,
  key: Bytes,
  sealed: Bytes,
  by?: hpke.Provider,
): Promise<KeyPair> {
  const info = labelled('post-key', id.vm, id.post, u32(id.serial), key, member.fingerprint)
  const secret = await hpke.open(await member.hpkePrivate(by), info, new Uint8Array(0), sealed)
  if (!secret) throw new PeriError('does_not_open', `the key of version ${id.serial} of a post is not sealed to this key`)
  const pair = await KeyPair.fromSecretBytes(secret).catch(() => undefined)
  secret.fill(0)
  if (!pair?.is(key)) {
    pair?.wipe()
    throw new PeriError('other_key', `version ${id.serial} of a post opens to another key than the roster names`)
  }
  return pair
}
