/**
 * E, X and K: K comes out of both others, checked against the record. Twin of `src/seal/secret.rs`, `src/open/content.rs`.
 *
 * What does not belong: where E and X come from (wrap, shares). Invariants: a secret is in no property that can be read,
 * printed or serialised by accident; K is returned only when all three commitments of the record hold.
 */

import { concat, equal, u16, type Bytes } from './bytes.js'
import { hash, hkdf, labelled } from './digest.js'
import { demand } from './errors.js'
import { idBytes, SUITE, type EpochContext, type EpochId } from './record.js'

/** 32 secret bytes with the label of their commitment. */
export abstract class Secret {
  readonly #bytes: Bytes
  protected abstract readonly label: string

  /** Takes the bytes over. */
  constructor(bytes: Bytes) {
    demand(bytes.length === 32, 'wrong_form', 'a secret of an epoch has 32 bytes')
    this.#bytes = bytes
  }

  /** The bytes themselves, not a copy. */
  reveal(): Bytes {
    return this.#bytes
  }

  /** SHA-256 under the secret's own label. */
  commit(): Promise<Bytes> {
    return hash(this.label, this.#bytes)
  }

  /** Wipes it. */
  wipe(): void {
    this.#bytes.fill(0)
  }
}

/** E: wrapped to the entitled, shared to the seats. */
export class EpochSecret extends Secret {
  protected readonly label = 'commit-e'
}

/** X: handed out per disclosure. */
export class XSecret extends Secret {
  protected readonly label = 'commit-x'
}

/** K: seals the fragments of one epoch of one camera. */
export class ContentKey extends Secret {
  protected readonly label = 'commit-k'
}

/** K = HKDF-SHA-384(E ‖ X, no salt, `peri/v1/content-key\0` ‖ suite ‖ VM ‖ camera ‖ epoch). */
export async function deriveContentKey(e: EpochSecret, x: XSecret, epoch: EpochId): Promise<ContentKey> {
  const ikm = concat(e.reveal(), x.reveal())
  const info = labelled('content-key', u16(SUITE), idBytes(epoch))
  const key = await hkdf('SHA-384', new Uint8Array(0), ikm, info)
  ikm.fill(0)
  return new ContentKey(key)
}

/** Derives K and checks everything; errors say which of the three is wrong. */
export async function contentKey(e: EpochSecret, x: XSecret, context: EpochContext): Promise<ContentKey> {
  const { epoch } = context
  demand(equal(await e.commit(), context.commitE), 'wrong_e', `E is not the one of epoch ${epoch}`)
  demand(
    equal(await x.commit(), context.commitX),
    'wrong_x',
    `X is not the one of epoch ${epoch}: ask the appliance for this epoch`,
  )
  const key = await deriveContentKey(e, x, context)
  demand(
    equal(await key.commit(), context.commitK),
    'wrong_k',
    `the record of epoch ${epoch} commits to a key that does not come from its own E and X`,
  )
  return key
}
