/**
 * Key sets of users, seats and devices: an HPKE pair and an ECDSA P-384 signing pair. Twin of `src/seal/keys.rs`.
 *
 * What does not belong: how private halves are stored (userkey). Invariants: a private half is in no property that can be
 * read, printed or serialised; signatures always carry a context and are randomised by WebCrypto. ECDSA is malleable:
 * nothing may be identified by its signature bytes.
 */

import { p384 } from '@noble/curves/nist.js'
import { MLKEM1024P384 } from '@noble/post-quantum/hybrid.js'
import { concat, equal, random, type Bytes } from './bytes.js'
import * as cbor from './cbor.js'
import { hash, labelled } from './digest.js'
import { demand } from './errors.js'
import { ENC_LEN, privateKey, SEED_LEN, type HpkePrivate, type Provider } from './hpke.js'
import { checkHpkePublic, point } from './points.js'

/** The algorithms of a key set, as in `src/seal/keys.rs`. */
export const KEY_SUITE = 1
/** Bytes of a verifying key: SEC1 compressed P-384 point. */
export const SIGN_PUBLIC_LEN = 49
/** Bytes of a signing key: a P-384 scalar, big-endian. */
export const SCALAR_LEN = 48
/** Bytes of both private halves: HPKE seed ‖ signing scalar. */
export const SECRET_LEN = SEED_LEN + SCALAR_LEN
/** Bytes of a signature: r ‖ s. */
export const SIGNATURE_LEN = 96

const CURVE = { name: 'ECDSA', namedCurve: 'P-384' } as const
const ALGORITHM = { name: 'ECDSA', hash: 'SHA-384' } as const

/** The public halves of one user, seat or device: canonical CBOR `[suite, h'1,665 bytes', h'49 bytes']`. */
export class UserPublic {
  readonly hpke: Bytes
  readonly sign: Bytes
  /** The canonical bytes. */
  readonly bytes: Bytes
  /** SHA-256 over the canonical bytes under `peri/v1/user-public\0`. */
  readonly fingerprint: Bytes
  #verifying: Promise<CryptoKey> | undefined

  private constructor(hpke: Bytes, sign: Bytes, bytes: Bytes, fingerprint: Bytes) {
    this.hpke = hpke
    this.sign = sign
    this.bytes = bytes
    this.fingerprint = fingerprint
  }

  /** From both halves, unchecked but for their lengths. */
  static async fromParts(hpke: Bytes, sign: Bytes): Promise<UserPublic> {
    demand(hpke.length === ENC_LEN, 'bad_key', 'an HPKE public key has 1,665 bytes')
    demand(sign.length === SIGN_PUBLIC_LEN, 'bad_key', 'a verifying key has 49 bytes')
    const bytes = cbor.array(cbor.int(KEY_SUITE), cbor.bytes(hpke), cbor.bytes(sign))
    return new UserPublic(hpke, sign, bytes, await hash('user-public', bytes))
  }

  /** From canonical bytes. */
  static async fromBytes(bytes: Bytes): Promise<UserPublic> {
    const [hpke, sign] = cbor.decode('a public key set', bytes, reader => {
      reader.array(3)
      if (reader.small(16) !== KEY_SUITE) reader.fail('an unknown key suite; this version knows 1')
      return [reader.bytes(ENC_LEN), reader.bytes(SIGN_PUBLIC_LEN)]
    })
    return UserPublic.fromParts(hpke, sign)
  }

  /** Checks that both halves are keys. The enrolling side calls it once; sealing and verifying check what they use. */
  async validate(): Promise<void> {
    checkHpkePublic(this.hpke)
    await this.#verifyingKey()
  }

  /** Checks a signature over `peri/v1/sign/<context>\0 ‖ message` (SHA-384); refuses with `wrong_signature`. */
  async verify(context: string, message: Bytes, signature: Bytes): Promise<void> {
    const key = await this.#verifyingKey()
    const data = labelled(`sign/${context}`, message)
    const good = signature.length === SIGNATURE_LEN && (await crypto.subtle.verify(ALGORITHM, key, signature, data))
    demand(good, 'wrong_signature', `the signature for "${context}" is wrong: changed message, other key or other purpose`)
  }

  #verifyingKey(): Promise<CryptoKey> {
    this.#verifying ??= (async () => {
      // Engines need not take compressed points, so the curve's equation is solved here.
      const raw = point(this.sign, 'compressed', 'verifying key')
      return crypto.subtle.importKey('raw', raw, CURVE, false, ['verify'])
    })()
    return this.#verifying
  }
}

/** Both private halves of one user or seat, with the public ones. */
export class KeyPair {
  readonly public: UserPublic
  readonly #seed: Bytes
  readonly #scalar: Bytes
  readonly #signing: CryptoKey
  readonly #hpke = new Map<Provider | undefined, Promise<HpkePrivate>>()

  private constructor(pub: UserPublic, seed: Bytes, scalar: Bytes, signing: CryptoKey) {
    this.public = pub
    this.#seed = seed
    this.#scalar = scalar
    this.#signing = signing
  }

  /** A new key set. */
  static async generate(): Promise<KeyPair> {
    const scalar = new Uint8Array(p384.utils.randomSecretKey())
    const secret = concat(random(SEED_LEN), scalar)
    try {
      return await KeyPair.fromSecretBytes(secret)
    } finally {
      secret.fill(0)
      scalar.fill(0)
    }
  }

  /** From both private halves, HPKE seed ‖ signing scalar; the caller wipes its copy. */
  static async fromSecretBytes(secret: Bytes): Promise<KeyPair> {
    demand(secret.length === SECRET_LEN, 'bad_key', `both private halves have ${SECRET_LEN} bytes`)
    const [seed, scalar] = [secret.slice(0, SEED_LEN), secret.slice(SEED_LEN)]
    demand(p384.utils.isValidSecretKey(scalar), 'bad_key', 'the signing key is not a key of suite 1')
    const open = p384.getPublicKey(scalar, false)
    const jwk = {
      kty: 'EC',
      crv: 'P-384',
      d: base64url(scalar),
      x: base64url(open.subarray(1, 49)),
      y: base64url(open.subarray(49)),
    }
    const signing = await crypto.subtle.importKey('jwk', jwk, CURVE, false, ['sign'])
    // A copy: the library keeps the very bytes it is given as the secret key.
    const pair = MLKEM1024P384.keygen(seed.slice())
    pair.secretKey.fill(0)
    const verifying = new Uint8Array(p384.getPublicKey(scalar, true))
    const pub = await UserPublic.fromParts(new Uint8Array(pair.publicKey), verifying)
    return new KeyPair(pub, seed, scalar, signing)
  }

  /** The fingerprint of the public halves. */
  get fingerprint(): Bytes {
    return this.public.fingerprint
  }

  /** Both private halves; to be wrapped at once and wiped, never stored in clear. */
  secretBytes(): Bytes {
    return concat(this.#seed, this.#scalar)
  }

  /** The HPKE half, for opening. */
  hpkePrivate(by?: Provider): Promise<HpkePrivate> {
    let key = this.#hpke.get(by)
    if (!key) {
      key = privateKey(this.#seed, by)
      this.#hpke.set(by, key)
    }
    return key
  }

  /** Signs `peri/v1/sign/<context>\0 ‖ message` (SHA-384). */
  async sign(context: string, message: Bytes): Promise<Bytes> {
    const data = labelled(`sign/${context}`, message)
    return new Uint8Array(await crypto.subtle.sign(ALGORITHM, this.#signing, data))
  }

  /** Whether this is the key set with that fingerprint. */
  is(fingerprint: Bytes): boolean {
    return equal(this.fingerprint, fingerprint)
  }

  /** Wipes the private halves that lie in this object, at lock and logout. What WebCrypto holds goes with the object. */
  wipe(): void {
    this.#seed.fill(0)
    this.#scalar.fill(0)
    this.#hpke.clear()
  }
}

function base64url(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')
}
