/**
 * Invitations: a link that enrols one client key, once. Twin of the clients' side of `src/access/invite.rs`.
 *
 * What does not belong: rights (an invitation gives none), asking the appliance (door, people). Invariants: the secret is made
 * in the inviting client and travels only behind the `#` of the link, which browsers send to no server; what is sent of it is a
 * hash and a verification key.
 */

import { base64url, cbor, equal, hash, hkdf, labelled, random, request, type Bytes, type KeyPair } from '../crypto/index.js'
import { refuse } from './errors.js'

/** Context of both signatures of a redemption. */
export const INVITATION_CONTEXT = 'invitation'
/** Characters of a fragment. */
export const FRAGMENT_LEN = 48
const CHECKSUM_LEN = 4

/** What the inviting client gives to the server. */
export interface Offer {
  readonly id: Bytes
  /** Verifies its redemption. */
  readonly verify: Bytes
  readonly account: Bytes
  readonly notAfter: bigint
}

/** Enrols a key. */
export interface Redemption {
  readonly id: Bytes
  readonly key: Bytes
  readonly invited: Bytes
  readonly possession: Bytes
}

/** The secret of an invitation, on the inviter's and the invited one's side. */
export class Invitation {
  readonly #secret: Bytes

  private constructor(secret: Bytes) {
    this.#secret = secret
  }

  /** A new one, in the inviting client. */
  static generate(): Invitation {
    return new Invitation(random(32))
  }

  /**
   * Reads a fragment; blanks around it and what stands before a `#` do not matter. The refusal says what is wrong, never what
   * it holds.
   */
  static async parse(text: string): Promise<Invitation> {
    const fragment = text.trim().slice(text.trim().lastIndexOf('#') + 1)
    const bad = (why: string): never => {
      throw refuse('bad_link', 'This is no invitation', why)
    }
    const found = [...fragment].length
    if (found !== FRAGMENT_LEN) {
      bad(`an invitation has ${FRAGMENT_LEN} characters behind the #, this one has ${found}; copy the whole link`)
    }
    if (!/^[A-Za-z0-9_-]*$/.test(fragment)) {
      bad('the invitation holds a character that no invitation has; copy the link again')
    }
    const binary = atob(fragment.replaceAll('-', '+').replaceAll('_', '/'))
    const bytes = Uint8Array.from(binary, character => character.charCodeAt(0))
    const made = new Invitation(bytes.slice(0, 32))
    if (!equal(bytes.subarray(32), await made.#checksum())) {
      bad('the invitation has a typing error (its checksum does not fit); copy the link again')
    }
    return made
  }

  /** What stands behind the `#` of the link, and in the QR code. */
  async fragment(): Promise<string> {
    const bytes = new Uint8Array(32 + CHECKSUM_LEN)
    bytes.set(this.#secret)
    bytes.set(await this.#checksum(), 32)
    const text = base64url(bytes)
    bytes.fill(0)
    return text
  }

  /** Its id. */
  id(): Promise<Bytes> {
    return hash('invitation-id', this.#secret)
  }

  /** What the inviting client offers to the server. */
  async offer(account: Bytes, notAfter: bigint): Promise<Offer> {
    return { id: await this.id(), verify: (await this.#key()).public, account, notAfter }
  }

  /** What the invited client sends: its new key under both signatures. */
  async redeem(vm: Bytes, pair: KeyPair): Promise<Redemption> {
    const id = await this.id()
    const message = redemptionMessage(vm, id, pair.fingerprint)
    const invited = await (await this.#key()).sign(INVITATION_CONTEXT, message)
    return { id, key: pair.public.bytes, invited, possession: await pair.sign(INVITATION_CONTEXT, message) }
  }

  /** Wipes it. */
  wipe(): void {
    this.#secret.fill(0)
  }

  async #key(): Promise<request.SessionKey> {
    // A uniform 256-bit string is a scalar but for one in 2^32 (P-256 is that close to 2^256); then the next try.
    for (let attempt = 0; attempt < 256; attempt++) {
      const info = labelled('invitation-key', Uint8Array.of(attempt))
      const scalar = await hkdf('SHA-256', new Uint8Array(0), this.#secret, info)
      const key = await request.SessionKey.fromScalar(scalar)
      scalar.fill(0)
      if (key) return key
    }
    throw refuse('internal', 'This page failed', '256 failures in a row have a chance of 2^-8192')
  }

  async #checksum(): Promise<Bytes> {
    return (await hash('invitation-check', this.#secret)).slice(0, CHECKSUM_LEN)
  }
}

/** What both signatures of a redemption sign. */
export const redemptionMessage = (vm: Bytes, id: Bytes, fingerprint: Bytes): Bytes =>
  cbor.array(cbor.bytes(vm), cbor.bytes(id), cbor.bytes(fingerprint))

/** Body of `offer`. */
export const encodeOffer = ({ id, verify, account, notAfter }: Offer): Bytes =>
  cbor.array(cbor.bytes(id), cbor.bytes(verify), cbor.bytes(account), cbor.int(notAfter))

/** Body of `invitation` and `withdraw`. */
export const invitationBody = (id: Bytes): Bytes => cbor.array(cbor.bytes(id))

/** The frame that redeems an invitation. */
export const encodeRedemption = ({ id, key, invited, possession }: Redemption): Bytes =>
  cbor.array(cbor.int(8), cbor.array(cbor.array(cbor.bytes(id), key, cbor.bytes(invited), cbor.bytes(possession))))
