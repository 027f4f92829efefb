/**
 * Wraps of E, shares and answers with X, opened with the private half of a person or seat; shares wrapped anew for whoever
 * k seats release them to. Twin of `src/seal/wrap.rs` and `src/open/wrap.rs`.
 *
 * What does not belong: joining shares (shares), deriving K (content). Invariant: what opens is compared with the
 * commitment where there is one.
 */

import { concat, equal, u16, type Bytes } from './bytes.js'
import * as cbor from './cbor.js'
import { EpochSecret, XSecret, type Secret } from './content.js'
import { hash, labelled } from './digest.js'
import { demand, PeriError } from './errors.js'
import * as hpke from './hpke.js'
import type { KeyPair, UserPublic } from './keys.js'
import { idBytes, SUITE, validateContext, type EpochContext, type EpochId } from './record.js'

/** Bytes of E, X and K. */
export const SECRET_LEN = 32
/** Bytes of the sealed part of a wrap for a person; one for a seat has one more, the index. */
const USER_SEALED_LEN = hpke.ENC_LEN + SECRET_LEN + hpke.TAG_LEN
/** Longest canonical wrap. */
export const WRAP_LEN_MAX = USER_SEALED_LEN + 1 + 44

/** What a wrap holds: E for a person, or a share of E for a seat. */
export type WrapKind = 'user' | 'share'

/** One sealed E or share: canonical CBOR `[suite, kind, recipient, share_index, sealed]`. */
export interface Wrap {
  readonly suite: number
  readonly kind: WrapKind
  readonly recipient: Bytes
  readonly shareIndex: number
  readonly sealed: Bytes
}

/** A share in clear with its origin. */
export interface OpenedShare {
  /** x, or 0 for the whole secret of a k = 1 epoch. */
  readonly index: number
  readonly value: Bytes
  readonly epoch: EpochId
  readonly seat: Bytes
}

/** Reads one wrap. */
export function readWrap(reader: cbor.Reader): Wrap {
  reader.array(5)
  const suite = reader.small(16)
  const kind = reader.small(32)
  if (kind > 1) reader.fail('an unknown kind of wrap')
  return {
    suite,
    kind: kind === 0 ? 'user' : 'share',
    recipient: reader.bytes(32),
    shareIndex: reader.small(8),
    sealed: reader.blob(WRAP_LEN_MAX),
  }
}

/** A wrap from its canonical bytes. */
export const parseWrap = (bytes: Bytes): Wrap => cbor.decode('a wrap', bytes, readWrap)

/** The canonical bytes. */
export const encodeWrap = (wrap: Wrap): Bytes =>
  cbor.array(
    cbor.int(wrap.suite),
    cbor.int(kindByte(wrap.kind)),
    cbor.bytes(wrap.recipient),
    cbor.int(wrap.shareIndex),
    cbor.bytes(wrap.sealed),
  )

/** SHA-256 over the canonical bytes under `peri/v1/wrap-hash\0`. */
export const wrapHash = (wrap: Wrap): Promise<Bytes> => hash('wrap-hash', encodeWrap(wrap))

/** Whether a share with this index may exist for k of n. */
export const indexFits = (index: number, k: number, n: number): boolean =>
  k === 1 ? index === 0 : index >= 1 && index <= n

/** Whether suite, index and length fit the kind and the context's k and n. */
export function wrapFits(wrap: Wrap, context: EpochContext): boolean {
  const user = wrap.kind === 'user'
  const index = user ? wrap.shareIndex === 0 : indexFits(wrap.shareIndex, context.threshold, context.seats)
  return wrap.suite === SUITE && index && wrap.sealed.length === USER_SEALED_LEN + (user ? 0 : 1)
}

/** The wrap of one recipient, if there is one of that kind. */
export const findWrap = (wraps: readonly Wrap[], recipient: Bytes, kind: WrapKind): Wrap | undefined =>
  wraps.find(wrap => wrap.kind === kind && equal(wrap.recipient, recipient))

/** Opens E with the key of an entitled person; never an E that the context does not commit to. */
export async function openWrap(user: KeyPair, context: EpochContext, wrap: Wrap, by?: hpke.Provider): Promise<EpochSecret> {
  const plaintext = await open(user, context, wrap, 'user', by)
  return committed(new EpochSecret(plaintext), context.commitE, context)
}

/** Opens the share of a seat. That it is the right one shows only when k of them are joined. */
export async function openShare(
  seat: KeyPair,
  context: EpochContext,
  wrap: Wrap,
  by?: hpke.Provider,
): Promise<OpenedShare> {
  const plaintext = await open(seat, context, wrap, 'share', by)
  const index = plaintext[0]!
  demand(index === wrap.shareIndex, 'wrong_commitment', `a share of epoch ${context.epoch} was given another index`)
  const { vm, camera, epoch } = context
  return { index, value: plaintext.slice(1), epoch: { vm, camera, epoch }, seat: seat.fingerprint }
}

/** Wraps a share for somebody else: to the successor of a seat, or to the person to whom k seats release the past. */
export async function wrapShare(
  share: Pick<OpenedShare, 'index' | 'value'>,
  context: EpochContext,
  recipient: UserPublic,
  by?: hpke.Provider,
): Promise<Wrap> {
  validateContext(context)
  const { index, value } = share
  const fits = indexFits(index, context.threshold, context.seats) && value.length === SECRET_LEN
  demand(fits, 'no_such_index', `share ${index} does not belong to epoch ${context.epoch}`)
  const info = wrapInfo(context, 'share', index, recipient.fingerprint)
  const plaintext = concat(Uint8Array.of(index), value)
  const sealed = await hpke.seal(recipient.hpke, info, new Uint8Array(0), plaintext, by)
  plaintext.fill(0)
  return { suite: SUITE, kind: 'share', recipient: recipient.fingerprint, shareIndex: index, sealed }
}

/** Opens the X that was answered to one request; never an X that the context does not commit to. */
export async function openX(
  user: KeyPair,
  context: EpochContext,
  request: Bytes,
  sealed: Bytes,
  by?: hpke.Provider,
): Promise<XSecret> {
  const info = labelled('x-answer', u16(SUITE), idBytes(context), request, user.fingerprint)
  const plaintext = await hpke.open(await user.hpkePrivate(by), info, new Uint8Array(0), sealed)
  if (!plaintext) throw sealedElsewhere(context)
  demand(plaintext.length === SECRET_LEN, 'wrong_form', `the answer for epoch ${context.epoch} is no X`)
  return committed(new XSecret(plaintext), context.commitX, context)
}

async function open(
  own: KeyPair,
  context: EpochContext,
  wrap: Wrap,
  expected: WrapKind,
  by: hpke.Provider | undefined,
): Promise<Bytes> {
  demand(wrap.kind === expected, 'wrong_kind', `expected a ${expected} wrap, found a ${wrap.kind} wrap`)
  demand(own.is(wrap.recipient), 'not_recipient', 'this is sealed to another key: use the key that was entitled then')
  demand(wrapFits(wrap, context), 'wrong_form', `suite, index or length of the wrap are none of epoch ${context.epoch}`)
  const info = wrapInfo(context, wrap.kind, wrap.shareIndex, wrap.recipient)
  const plaintext = await hpke.open(await own.hpkePrivate(by), info, new Uint8Array(0), wrap.sealed)
  if (!plaintext) throw sealedElsewhere(context)
  return plaintext
}

async function committed<S extends Secret>(secret: S, commitment: Bytes, context: EpochContext): Promise<S> {
  if (equal(await secret.commit(), commitment)) return secret
  const why = 'opens but is not the secret that its record commits to: the sealing side was wrong or lied'
  throw new PeriError('wrong_commitment', `what was sealed for epoch ${context.epoch} ${why}`)
}

const sealedElsewhere = (context: EpochContext): PeriError =>
  new PeriError(
    'does_not_open',
    `it does not open for epoch ${context.epoch}: it belongs to another epoch or request, or was changed`,
  )

const kindByte = (kind: WrapKind): number => (kind === 'user' ? 0 : 1)

const wrapInfo = (context: EpochContext, kind: WrapKind, index: number, recipient: Bytes): Bytes =>
  labelled('wrap', Uint8Array.of(kindByte(kind), index), recipient, context.bytes)
