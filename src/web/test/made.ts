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
import type { Made } from '../session/draft.js'
import { encodeLogin, encodeSetting } from '../session/door.js'
import { encodeOffer, encodeRedemption, Invitation } from '../session/invite.js'
import { Statement } from '../session/roster.js'

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
  const byPassword = userkey.encodeWrapped(await stretched.wrap(own))
  const byRecovery = userkey.encodeWrapped(await userkey.wrapWithRecovery(code, own))
  const [authKey, codeKey] = [await stretched.authKey(), await userkey.recoveryAuthKey(code)]
  const [device, sheet] = [await userkey.deviceLane(deviceSecret), await userkey.recoveryLane(code)]
  const password_ = { authKey, lane: await userkey.commitLane(device), wrapped: byPassword }
  const recovery = { authKey: codeKey, lane: await userkey.commitLane(sheet), wrapped: byRecovery }
  const { issued, notAfter } = about
  const setting = (sheets: boolean): Promise<Bytes> =>
    encodeSetting(vm, own, 'anna', issued, stretched.method, password_, sheets ? recovery : undefined)
  const invitation = Invitation.generate()
  const account = filled(16, 8)
  const key = { bytes: hex(own.public.bytes), fingerprint: hex(own.fingerprint) }
  const states = async (body: Made): Promise<string> =>
    hex((await (await Statement.make(vm, body, notAfter, nonce, 2)).sign(own)).bytes)
  return {
    kem: both,
    public: hex(own.public.bytes),
    secret: hex(own.secretBytes()),
    device_secret: hex(deviceSecret),
    auth_key: hex(await stretched.authKey()),
    by_password: hex(byPassword),
    recovery_code: await userkey.recoveryText(code),
    by_recovery: hex(byRecovery),
    signature: hex(await own.sign('vector', message)),
    opening: hex(request.encodeOpening(opening)),
    request: hex(request.encodeRequest(await request.signRequest(vm, 'fetch', body, place, session))),
    logins: [
      hex(encodeLogin('anna', 'password', authKey, device)),
      hex(encodeLogin('anna', 'recovery', codeKey, sheet)),
    ],
    settings: [hex(await setting(true)), hex(await setting(false))],
    fragment: await invitation.fragment(),
    offer: hex(encodeOffer(await invitation.offer(account, notAfter))),
    redemption: hex(encodeRedemption(await invitation.redeem(vm, own))),
    statements: [
      await states({ kind: 'account', id: hex(account), role: 'viewer', name: 'gate', key }),
      await states(grant(key.fingerprint, hex(account))),
      await states({ kind: 'account removal', account: hex(account) }),
      await states({ kind: 'revocation', keys: [key.fingerprint], grants: [], reason: 'lost' }),
      await states({ kind: 'retention', serial: 3, secs: 86_400n }),
      await states({ kind: 'key change', account: hex(account), old: hex(filled(32, 9)), new: key, by: 'reset' }),
    ],
    wraps,
    passwords,
  }
}

/** A grant with everything that one can have. */
const grant = (recipient: string, account: string): Made => ({
  kind: 'grant',
  recipient,
  account,
  rights: { live: true, playback: false, export: true },
  cameras: [hex(filled(16, 3)), hex(filled(16, 2))],
  from: -1n,
  until: 1n << 60n,
  weekly: { zone: 'Europe/Berlin', spans: [{ from: 60, until: 120 }] },
})

const filled = (length: number, byte: number): Bytes => new Uint8Array(length).fill(byte)
