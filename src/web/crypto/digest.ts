/**
 * SHA-256 and byte strings with domain separation: `peri/v1/<what>\0 ‖ parts…`; HKDF. Twin of `src/seal/digest.rs`.
 *
 * What does not belong: what the labels mean. Invariant: the parts of one `what` have fixed lengths or are canonical CBOR.
 */

import { concat, utf8, type Bytes } from './bytes.js'

/** The byte string `peri/v1/<what>\0 ‖ parts…`, as HPKE or HKDF `info` or as AAD. */
export const labelled = (what: string, ...parts: readonly Uint8Array[]): Bytes =>
  concat(utf8(`peri/v1/${what}\0`), ...parts)

/** SHA-256 over {@link labelled}. */
export async function hash(what: string, ...parts: readonly Uint8Array[]): Promise<Bytes> {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', labelled(what, ...parts)))
}

/** HKDF (RFC 5869), 32 bytes. No salt is the empty one: HMAC pads either to the same zeros. */
export async function hkdf(hash: 'SHA-256' | 'SHA-384' | 'SHA-512', salt: Bytes, ikm: Bytes, info: Bytes): Promise<Bytes> {
  const key = await crypto.subtle.importKey('raw', ikm, 'HKDF', false, ['deriveBits'])
  return new Uint8Array(await crypto.subtle.deriveBits({ name: 'HKDF', hash, salt, info }, key, 256))
}
