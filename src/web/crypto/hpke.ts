/**
 * HPKE base mode (RFC 9180) with MLKEM1024-P384, HKDF-SHA-384, AES-256-GCM: encapsulation (1,665) ‖ ciphertext ‖ tag.
 *
 * WebCrypto does the KEM where it has ML-KEM, SHA-3 and cSHAKE (secrets then stay in native code, which runs in constant
 * time); elsewhere noble does, with the same bytes. HKDF and AES-GCM are WebCrypto's everywhere. What does not belong:
 * what `info` binds; the callers build it with a label of their own.
 */

import { KEM_MLKEM1024_P384 as kemOfNoble } from '@panva/hpke-noble'
import {
  AEAD_AES_256_GCM,
  CipherSuite,
  KDF_HKDF_SHA384,
  KEM_MLKEM1024_P384 as kemOfWebCrypto,
  type Key,
  type KEMFactory,
} from 'hpke'
import { concat, type Bytes } from './bytes.js'
import { PeriError } from './errors.js'
import { checkHpkePublic } from './points.js'

/** Bytes of an encapsulation and of a public key: ML-KEM-1024 (1,568) and uncompressed P-384 point (97). */
export const ENC_LEN = 1665
/** Bytes of a private key: the seed from which both halves are expanded. */
export const SEED_LEN = 32
/** Bytes of an AES-GCM tag. */
export const TAG_LEN = 16

/** Who does the KEM. */
export type Provider = 'webcrypto' | 'noble'

/** A private key that cannot be read out again. */
export interface HpkePrivate {
  readonly provider: Provider
  readonly key: Key
}

const suites = new Map<Provider, CipherSuite>()

function suite(provider: Provider): CipherSuite {
  const known = suites.get(provider)
  if (known) return known
  const kem: KEMFactory = provider === 'noble' ? kemOfNoble : (kemOfWebCrypto as KEMFactory)
  const made = new CipherSuite(kem, KDF_HKDF_SHA384, AEAD_AES_256_GCM)
  suites.set(provider, made)
  return made
}

let probed: Promise<Provider> | undefined

/** Who does the KEM here, found out once by making a key. */
export function provider(): Promise<Provider> {
  probed ??= webCryptoWorks().then(works => (works ? 'webcrypto' : 'noble'))
  return probed
}

async function webCryptoWorks(): Promise<boolean> {
  try {
    await suite('webcrypto').DeserializePrivateKey(new Uint8Array(SEED_LEN), false)
    return true
  } catch {
    return false // The engine lacks one of the algorithms, or knows no WebCrypto of this kind at all.
  }
}

/** The private key of a seed; every seed is one. */
export async function privateKey(seed: Bytes, by?: Provider): Promise<HpkePrivate> {
  const chosen = by ?? (await provider())
  return { provider: chosen, key: await suite(chosen).DeserializePrivateKey(seed, false) }
}

/** Seals; a public key that is none is refused with `bad_key`. */
export async function seal(
  recipient: Bytes,
  info: Bytes,
  aad: Bytes,
  plaintext: Bytes,
  by?: Provider,
): Promise<Bytes> {
  checkHpkePublic(recipient)
  const here = suite(by ?? (await provider()))
  try {
    const key = await here.DeserializePublicKey(recipient)
    const { encapsulatedSecret, ciphertext } = await here.Seal(key, plaintext, { info, aad })
    return concat(encapsulatedSecret, ciphertext)
  } catch {
    throw new PeriError('bad_key', 'nothing can be sealed to this HPKE key: its owner must enrol again')
  }
}

/** Opens; `undefined` when it was sealed to another key, with another `info` or AAD, or was changed. */
export async function open(own: HpkePrivate, info: Bytes, aad: Bytes, sealed: Bytes): Promise<Bytes | undefined> {
  if (sealed.length < ENC_LEN + TAG_LEN) return undefined
  try {
    const opened = await suite(own.provider).Open(own.key, sealed.slice(0, ENC_LEN), sealed.slice(ENC_LEN), { info, aad })
    return new Uint8Array(opened)
  } catch {
    return undefined
  }
}
