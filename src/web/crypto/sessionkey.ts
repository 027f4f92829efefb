/**
 * Session keys: ECDSA P-256, made here, non-extractable. Twin of the keys in `src/access/session.rs`.
 *
 * What does not belong: certificates and proofs (request). Invariant: the private half never leaves WebCrypto; what is kept
 * of it is a handle.
 */

import { p256 } from '@noble/curves/nist.js'
import type { Bytes } from './bytes.js'
import { hash, labelled } from './digest.js'
import { demand, PeriError } from './errors.js'

/** Bytes of a session's public key (SEC1 compressed P-256 point) and of its signatures (r ‖ s). */
export const SESSION_PUBLIC_LEN = 33
export const SESSION_SIGNATURE_LEN = 64

const CURVE = { name: 'ECDSA', namedCurve: 'P-256' } as const
const ALGORITHM = { name: 'ECDSA', hash: 'SHA-256' } as const

/** A session key as IndexedDB keeps it: the private half is a handle that cannot be read. */
export interface StoredSessionKey {
  readonly public: Bytes
  readonly private: CryptoKey
}

/** A session key; its private half cannot be read. */
export class SessionKey {
  /** SEC1 compressed point. */
  readonly public: Bytes
  readonly #private: CryptoKey

  private constructor(pub: Bytes, key: CryptoKey) {
    this.public = pub
    this.#private = key
  }

  /** A new key. */
  static async generate(): Promise<SessionKey> {
    const pair = await crypto.subtle.generateKey(CURVE, false, ['sign', 'verify'])
    const raw = new Uint8Array(await crypto.subtle.exportKey('raw', pair.publicKey))
    const compressed = new Uint8Array(SESSION_PUBLIC_LEN)
    compressed[0] = 2 + (raw[64]! & 1)
    compressed.set(raw.subarray(1, 33), 1)
    return new SessionKey(compressed, pair.privateKey)
  }

  /** From a scalar, big-endian; `undefined` when it is zero or not below the group order (one in 2^32 is). */
  static async fromScalar(scalar: Bytes): Promise<SessionKey | undefined> {
    if (!p256.utils.isValidSecretKey(scalar)) return undefined
    const open = p256.getPublicKey(scalar, false)
    const jwk = {
      kty: 'EC',
      crv: 'P-256',
      d: base64url(scalar),
      x: base64url(open.subarray(1, 33)),
      y: base64url(open.subarray(33)),
    }
    const key = await crypto.subtle.importKey('jwk', jwk, CURVE, false, ['sign'])
    return new SessionKey(new Uint8Array(p256.getPublicKey(scalar, true)), key)
  }

  /** From what {@link SessionKey.stored} gave. */
  static restore(stored: StoredSessionKey): SessionKey {
    return new SessionKey(stored.public, stored.private)
  }

  /** For IndexedDB. */
  stored(): StoredSessionKey {
    return { public: this.public, private: this.#private }
  }

  /** Signs `peri/v1/sign/<context>\0 ‖ message` (SHA-256). */
  async sign(context: string, message: Bytes): Promise<Bytes> {
    const data = labelled(`sign/${context}`, message)
    return new Uint8Array(await crypto.subtle.sign(ALGORITHM, this.#private, data))
  }
}

/** By what a session is known: the digest of its public key. */
export const sessionId = (pub: Bytes): Promise<Bytes> => hash('session-public', pub)

/** Checks a signature of {@link SessionKey.sign}; refuses with `bad_key` or `wrong_signature`. */
export async function verifySession(session: Bytes, context: string, message: Bytes, signature: Bytes): Promise<void> {
  let raw: Bytes
  try {
    if (session[0] !== 2 && session[0] !== 3) throw new RangeError('another form')
    // Engines need not take compressed points, so the curve's equation is solved here.
    raw = new Uint8Array(p256.Point.fromBytes(session).toBytes(false))
  } catch {
    throw new PeriError('bad_key', 'the session key is not a compressed P-256 point; make a new one')
  }
  const key = await crypto.subtle.importKey('raw', raw, CURVE, false, ['verify'])
  const good = await crypto.subtle.verify(ALGORITHM, key, signature, labelled(`sign/${context}`, message))
  demand(good, 'wrong_signature', `the session's signature for "${context}" is wrong: changed message or other key`)
}

/** Without padding (RFC 4648 §5). */
export function base64url(bytes: Uint8Array): string {
  let text = ''
  for (const byte of bytes) text += String.fromCharCode(byte)
  return btoa(text).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')
}
