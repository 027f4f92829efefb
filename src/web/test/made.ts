/**
 * What this implementation makes for the Rust code to open and verify (tests/web_crypto.rs): the other direction of the
 * vectors.
 */

import {
  cameraPassword,
  encodeWrap,
  hex,
  hpke,
  KeyPair,
  parseContext,
  request,
  sealToDevice,
  unhex,
  userkey,
  utf8,
  wrapShare,
  type Bytes,
} from '../crypto/index.js'

/** What to make it for. */
export interface Order {
  /** Canonical epoch context of two of three seats, hexadecimal. */
  readonly context: string
}

/** Everything that a client seals or signs, as hexadecimal. */
export async function made({ context }: Order): Promise<Record<string, unknown>> {
  const own = await KeyPair.generate()
  const deviceSecret = userkey.newDeviceSecret()
  const password = 'Gru\u0308ße' // decomposed on purpose: it is normalised before it is stretched
  const stretched = await userkey.Stretched.of(password, deviceSecret, userkey.newPasswordMethod())
  const code = userkey.newRecoveryCode()
  const [vm, camera, nonce, message] = [filled(16, 1), filled(16, 2), filled(16, 3), utf8('what is signed')]
  const share = { index: 2, value: filled(32, 7) }
  const wraps = []
  const passwords = []
  const both: hpke.Provider[] = (await hpke.provider()) === 'webcrypto' ? ['noble', 'webcrypto'] : ['noble']
  for (const by of both) {
    wraps.push(hex(encodeWrap(await wrapShare(share, parseContext(unhex(context)), own.public, by))))
    passwords.push(hex(await sealToDevice(own.public, cameraPassword(camera), utf8('user:secret'), by)))
  }
  const body = request.fetchBody(camera, 5n, 1n << 33n, undefined, true, 'export')
  const session = await request.SessionKey.generate()
  const about = { vm, issued: 1_795_563_000_000_000_000n, notAfter: 1_795_566_600_000_000_000n, channels: 3 }
  const opening = await request.openSession(about, own, session, nonce)
  const progress = { settled: 4n, answered: [6n, 14n], reports: [{ counter: 3n }, { counter: 5n, nonce }] }
  const place = { channel: filled(16, 5), counter: 15n, progress, boot: filled(16, 6) }
  return {
    kem: both,
    public: hex(own.public.bytes),
    secret: hex(own.secretBytes()),
    device_secret: hex(deviceSecret),
    auth_key: hex(await stretched.authKey()),
    by_password: hex(userkey.encodeWrapped(await stretched.wrap(own))),
    recovery_code: await userkey.recoveryText(code),
    by_recovery: hex(userkey.encodeWrapped(await userkey.wrapWithRecovery(code, own))),
    signature: hex(await own.sign('vector', message)),
    opening: hex(request.encodeOpening(opening)),
    request: hex(request.encodeRequest(await request.signRequest(vm, 'fetch', body, place, session))),
    wraps,
    passwords,
  }
}

const filled = (length: number, byte: number): Bytes => new Uint8Array(length).fill(byte)
