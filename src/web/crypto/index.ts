/**
 * The TypeScript twin of `src/seal`, `src/open` and the sessions and requests of `src/access`: what clients do with keys, in the
 * browser. Held to the same bytes and the same refusals by `tests/vectors/*.json`.
 *
 * What does not belong: network, storage, pages, decisions about who may look.
 */

export * as cbor from './cbor.js'
export { concat, equal, hex, random, u32, unhex, utf8, type Bytes } from './bytes.js'
export { contentKey, ContentKey, deriveContentKey, EpochSecret, XSecret } from './content.js'
export { cameraPassword, DEVICE_SECRET_BYTES_MAX, deviceInfo, sealToDevice } from './device.js'
export { hash, hkdf, labelled } from './digest.js'
export { demand, PeriError, type Code } from './errors.js'
export { decodeHeader, FragmentOpener, HEADER_LEN, Order, OVERHEAD, type FragmentHeader, type Opened } from './fragment.js'
export * as hpke from './hpke.js'
export { KeyPair, SIGNATURE_LEN, UserPublic } from './keys.js'
export { openPost, type PostId } from './post.js'
export { parseContext, parseRecord, recordHash, verifyRecord, verifyWraps } from './record.js'
export type { EpochContext, EpochId, EpochRecord } from './record.js'
export * as request from './request.js'
export { base64url, verifySession } from './sessionkey.js'
export { IncompleteHead, parseHead, Segment, split, tailHash, type Ending, type Expected, type Head } from './segment.js'
export { join } from './shares.js'
export * as userkey from './userkey.js'
export { words } from './words.js'
export { encodeWrap, findWrap, openShare, openWrap, openX, parseWrap, wrapShare } from './wrap.js'
export type { OpenedShare, Wrap, WrapKind } from './wrap.js'
