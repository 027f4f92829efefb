/**
 * Public keys that come from outside, checked before anything is sealed to them or verified with them.
 *
 * Neither WebCrypto nor the libraries promise every check, so all of them stand here: points on the curve and not at
 * infinity, in the one form that is expected (SEC1 §2.3.4, SP 800-56A §5.6.2.3), ML-KEM coefficients reduced (FIPS 203 §7.2).
 */

import { p384 } from '@noble/curves/nist.js'
import type { Bytes } from './bytes.js'
import { demand, PeriError } from './errors.js'

/** Bytes of the coefficients of an ML-KEM-1024 encapsulation key; a seed of 32 follows. */
const COEFFICIENTS = 1536
/** Bytes of an ML-KEM-1024 encapsulation key. */
const LATTICE = COEFFICIENTS + 32
/** The modulus. */
const Q = 3329

/** A P-384 point in uncompressed form; refuses with `bad_key` what is none or comes in another form than `form`. */
export function point(bytes: Uint8Array, form: 'compressed' | 'uncompressed', what: string): Bytes {
  const tag = bytes[0]
  const expected = form === 'compressed' ? tag === 2 || tag === 3 : tag === 4
  try {
    if (!expected) throw new RangeError('another form')
    const on = p384.Point.fromBytes(bytes)
    on.assertValidity()
    return new Uint8Array(on.toBytes(false))
  } catch {
    throw new PeriError('bad_key', `the ${what} is not a key of suite 1; its owner must enrol again`)
  }
}

/** Refuses with `bad_key` unless both parts of an HPKE public key are keys. */
export function checkHpkePublic(key: Uint8Array): void {
  let reduced = key.length === LATTICE + 97
  for (let at = 0; at < COEFFICIENTS; at += 3) {
    const [low, middle, high] = [key[at]!, key[at + 1]!, key[at + 2]!]
    reduced &&= (low | ((middle & 15) << 8)) < Q && ((middle >> 4) | (high << 4)) < Q
  }
  demand(reduced, 'bad_key', 'the HPKE public key is not a key of suite 1; its owner must enrol again')
  point(key.subarray(LATTICE), 'uncompressed', 'HPKE public key')
}
