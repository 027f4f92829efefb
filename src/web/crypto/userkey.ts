/**
 * A user's private halves as they are stored: under password and device secret, and under the recovery code. Twin of
 * `src/seal/userkey.rs` and `src/open/userkey.rs`, where the construction is written out and why its nonce is fixed.
 *
 * What does not belong: where the wraps and the device secret lie. Invariant: what opens is the key set whose fingerprint
 * stands on the wrap, or an error. JavaScript cannot wipe a password's text; everything derived from it is wiped.
 */

import { concat, random, u16, utf8, view, type Bytes } from './bytes.js'
import * as cbor from './cbor.js'
import { hash, hkdf, labelled } from './digest.js'
import { demand, PeriError } from './errors.js'
import { KeyPair, SECRET_LEN } from './keys.js'

/** Fewest PBKDF2 rounds that are made or believed, as in `src/domain/limits.rs`. */
export const ROUNDS_MIN = 600_000
/** Most PBKDF2 rounds that a stored key is believed. */
export const ROUNDS_MAX = 16 * ROUNDS_MIN
/** Bytes of a salt. */
export const SALT_LEN = 32
/** Bytes of the device secret and of the recovery code. */
export const DEVICE_SECRET_LEN = 16

const VERSION = 1
const SEALED_LEN = SECRET_LEN + 16
const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'
/** 128 bits and 12 of checksum are 140 bits: 28 characters of five bits. */
const CODE_CHARS = 28

/** How a wrap key is made. */
export type Method =
  | { readonly kind: 'password'; readonly rounds: number; readonly salt: Bytes }
  | { readonly kind: 'recovery'; readonly salt: Bytes }

/** Rounds and salt of a password; not secret. */
export type PasswordMethod = Extract<Method, { kind: 'password' }>

/** The stored form: canonical CBOR `[version, fingerprint, method, sealed]`. */
export interface WrappedUserKey {
  readonly fingerprint: Bytes
  readonly method: Method
  /** Ciphertext (80) ‖ tag (16). */
  readonly sealed: Bytes
}

/** A new salt and the least rounds. */
export const newPasswordMethod = (): PasswordMethod => ({
  kind: 'password',
  rounds: ROUNDS_MIN,
  salt: random(SALT_LEN),
})

/** What a user's known devices keep: 128 random bits made at enrolment. */
export const newDeviceSecret = (): Bytes => random(DEVICE_SECRET_LEN)

/** A new recovery code: 128 random bits. */
export const newRecoveryCode = (): Bytes => random(DEVICE_SECRET_LEN)

/** Proves that a request comes from a known device or from whoever has the sheet: it gets a lane of its own. */
export const deviceLane = (deviceSecret: Bytes): Promise<Bytes> =>
  hkdf('SHA-512', new Uint8Array(0), deviceSecret, labelled('device-lane'))

/** The same for a recovery code. */
export const recoveryLane = (code: Bytes): Promise<Bytes> =>
  hkdf('SHA-512', new Uint8Array(0), code, labelled('recovery-lane'))

/** What the server keeps of a lane key. */
export const commitLane = (lane: Bytes): Promise<Bytes> => hash('lane-key', lane)

/** What is proven with a recovery code. */
export const recoveryAuthKey = (code: Bytes): Promise<Bytes> =>
  hkdf('SHA-512', new Uint8Array(0), code, labelled('recovery-auth-key'))

/** The stretched password with the device secret, from which both keys come. */
export class Stretched {
  readonly method: PasswordMethod
  readonly #ikm: Bytes

  private constructor(method: PasswordMethod, ikm: Bytes) {
    this.method = method
    this.#ikm = ikm
  }

  /** Stretches a password, normalised to NFC. Takes about half a second; weak rounds are refused before. */
  static async of(password: string, deviceSecret: Bytes, method: PasswordMethod): Promise<Stretched> {
    checkRounds(method)
    demand(deviceSecret.length === DEVICE_SECRET_LEN, 'wrong_form', 'a device secret has 16 bytes')
    const text = utf8(password.normalize('NFC'))
    const key = await crypto.subtle.importKey('raw', text, 'PBKDF2', false, ['deriveBits'])
    text.fill(0)
    const { rounds: iterations, salt } = method
    const bits = await crypto.subtle.deriveBits({ name: 'PBKDF2', hash: 'SHA-512', salt, iterations }, key, 512)
    const stretched = new Uint8Array(bits)
    const ikm = concat(stretched, deviceSecret)
    stretched.fill(0)
    return new Stretched(method, ikm)
  }

  /** What is proven at login. */
  authKey(): Promise<Bytes> {
    return hkdf('SHA-512', new Uint8Array(0), this.#ikm, labelled('user-auth-key'))
  }

  /** Wraps the private halves. */
  async wrap(pair: KeyPair): Promise<WrappedUserKey> {
    return sealHalves(await this.#wrapKey(pair.fingerprint), this.method, pair)
  }

  /** Opens what {@link Stretched.wrap} of the same password, device and parameters made. */
  async open(wrapped: WrappedUserKey): Promise<KeyPair> {
    const { method } = wrapped
    const same = method.kind === 'password' && method.rounds === this.method.rounds
    demand(
      same && method.salt.every((byte, at) => byte === this.method.salt[at]),
      'wrong_method',
      'the stored key is wrapped under other parameters than this password was stretched with',
    )
    return openHalves(await this.#wrapKey(wrapped.fingerprint), wrapped, 'password on this device')
  }

  /** Wipes it, once both keys are made. */
  wipe(): void {
    this.#ikm.fill(0)
  }

  #wrapKey(fingerprint: Bytes): Promise<Bytes> {
    return hkdf('SHA-512', new Uint8Array(0), this.#ikm, labelled('user-wrap-key', fingerprint))
  }
}

/** Opens with password and device secret. */
export async function openWithPassword(
  wrapped: WrappedUserKey,
  password: string,
  deviceSecret: Bytes,
): Promise<KeyPair> {
  const { method } = wrapped
  demand(method.kind === 'password', 'wrong_method', 'the stored key is wrapped under the recovery code')
  const stretched = await Stretched.of(password, deviceSecret, method)
  try {
    return await stretched.open(wrapped)
  } finally {
    stretched.wipe()
  }
}

/** Wraps the private halves under a recovery code. */
export async function wrapWithRecovery(code: Bytes, pair: KeyPair): Promise<WrappedUserKey> {
  const salt = random(SALT_LEN)
  return sealHalves(await recoveryKey(code, salt, pair.fingerprint), { kind: 'recovery', salt }, pair)
}

/** Opens with the printed recovery code. */
export async function openWithRecovery(wrapped: WrappedUserKey, code: Bytes): Promise<KeyPair> {
  const { method, fingerprint } = wrapped
  demand(method.kind === 'recovery', 'wrong_method', 'the stored key is wrapped under password and device')
  return openHalves(await recoveryKey(code, method.salt, fingerprint), wrapped, 'recovery code')
}

/** For printing: seven groups of four, Crockford's alphabet: the 128 bits, then 12 bits of checksum. */
export async function recoveryText(code: Bytes): Promise<string> {
  demand(code.length === DEVICE_SECRET_LEN, 'bad_code', 'a recovery code has 128 bits')
  const checksum = await codeChecksum(code)
  const bits = concat(code, u16(checksum << 4))
  let text = ''
  for (let at = 0; at < CODE_CHARS; at++) {
    if (at > 0 && at % 4 === 0) text += '-'
    let five = 0
    for (let bit = at * 5; bit < at * 5 + 5; bit++) five = (five << 1) | ((bits[bit >> 3]! >> (7 - (bit & 7))) & 1)
    text += ALPHABET[five]
  }
  return text
}

/** Reads what was printed: case, spaces and hyphens do not matter, I and L are 1, O is 0. */
export async function parseRecoveryText(text: string): Promise<Bytes> {
  const characters = [...text].filter(c => c !== '-' && !/\p{White_Space}/u.test(c))
  const bits = new Uint8Array(18) // 140 bits and four that stay zero
  for (const [at, character] of characters.entries()) {
    const upper = /^[a-z]$/.test(character) ? character.toUpperCase() : character
    const value = ALPHABET.indexOf(upper === 'O' ? '0' : upper === 'I' || upper === 'L' ? '1' : upper)
    demand(value >= 0, 'bad_code', `the character ${JSON.stringify(character)} is in no recovery code`)
    if (at < CODE_CHARS) {
      for (let bit = 0; bit < 5; bit++) bits[(at * 5 + bit) >> 3]! |= ((value >> (4 - bit)) & 1) << (7 - ((at * 5 + bit) & 7))
    }
  }
  const found = characters.length
  demand(found === CODE_CHARS, 'bad_code', `a recovery code has 28 letters and digits, this one has ${found}`)
  const code = bits.slice(0, DEVICE_SECRET_LEN)
  const good = view(bits).getUint16(DEVICE_SECRET_LEN) >> 4 === (await codeChecksum(code))
  demand(good, 'bad_code', 'the recovery code has a typing error; compare it with the printed sheet')
  return code
}

/** From stored bytes. */
export function parseWrapped(bytes: Bytes): WrappedUserKey {
  return cbor.decode('a stored user key', bytes, reader => {
    reader.array(4)
    const version = reader.small(16)
    demand(version === VERSION, 'other_version', `a stored key of format ${version}, this version knows 1: upgrade`)
    const fingerprint = reader.bytes(32)
    reader.array(2)
    const kind = reader.small(32)
    if (kind > 1) reader.fail('an unknown method')
    let method: Method
    reader.array(1)
    if (kind === 0) {
      reader.array(2)
      method = { kind: 'password', rounds: reader.small(32), salt: reader.bytes(SALT_LEN) }
      checkRounds(method)
    } else {
      method = { kind: 'recovery', salt: reader.bytes(SALT_LEN) }
    }
    return { fingerprint, method, sealed: reader.bytes(SEALED_LEN) }
  })
}

/** The canonical bytes. */
export const encodeWrapped = (wrapped: WrappedUserKey): Bytes =>
  cbor.array(...named(wrapped), cbor.bytes(wrapped.sealed))

function checkRounds(method: PasswordMethod): void {
  demand(
    method.rounds >= ROUNDS_MIN && method.rounds <= ROUNDS_MAX,
    'weak_rounds',
    `${method.rounds} PBKDF2 rounds, ${ROUNDS_MIN} to ${ROUNDS_MAX} are allowed: the stored key was weakened or damaged; use the recovery code`,
  )
}

/** Version, fingerprint and method: what is authenticated with the sealed halves. */
function named({ fingerprint, method }: Pick<WrappedUserKey, 'fingerprint' | 'method'>): Bytes[] {
  const parameters =
    method.kind === 'password'
      ? cbor.array(cbor.int(0), cbor.array(cbor.array(cbor.int(method.rounds), cbor.bytes(method.salt))))
      : cbor.array(cbor.int(1), cbor.array(cbor.bytes(method.salt)))
  return [cbor.int(VERSION), cbor.bytes(fingerprint), parameters]
}

const gcm = (wrapped: Pick<WrappedUserKey, 'fingerprint' | 'method'>): AesGcmParams => ({
  name: 'AES-GCM',
  iv: new Uint8Array(12),
  additionalData: labelled('user-key', cbor.array(...named(wrapped))),
})

const recoveryKey = (code: Bytes, salt: Bytes, fingerprint: Bytes): Promise<Bytes> =>
  hkdf('SHA-512', salt, code, labelled('recovery-wrap-key', fingerprint))

async function sealHalves(raw: Bytes, method: Method, pair: KeyPair): Promise<WrappedUserKey> {
  const { fingerprint } = pair
  const key = await crypto.subtle.importKey('raw', raw, 'AES-GCM', false, ['encrypt'])
  raw.fill(0)
  const halves = pair.secretBytes()
  const sealed = await crypto.subtle.encrypt(gcm({ fingerprint, method }), key, halves)
  halves.fill(0)
  return { fingerprint, method, sealed: new Uint8Array(sealed) }
}

async function openHalves(raw: Bytes, wrapped: WrappedUserKey, secret: string): Promise<KeyPair> {
  const key = await crypto.subtle.importKey('raw', raw, 'AES-GCM', false, ['decrypt'])
  raw.fill(0)
  const opened = await crypto.subtle.decrypt(gcm(wrapped), key, wrapped.sealed).catch(() => undefined)
  // Wrong password, device or code, or a changed wrap: it cannot be told which, and must not be.
  if (!opened) throw new PeriError('does_not_open', `the stored key does not open with this ${secret}`)
  const halves = new Uint8Array(opened)
  const pair = await KeyPair.fromSecretBytes(halves).catch(() => undefined)
  halves.fill(0)
  if (!pair?.is(wrapped.fingerprint)) {
    throw new PeriError('other_key', 'the stored key opens to another key set than it says: it was made wrongly')
  }
  return pair
}

async function codeChecksum(code: Bytes): Promise<number> {
  return view(await hash('recovery-check', code)).getUint16(0) >> 4
}
