/**
 * Logins: what lets a person come back to a key, with the password on a known device or with the printed code. Twin of
 * `src/client/login.rs` and of the frames of `src/access/login.rs` and `setting.rs`.
 *
 * What does not belong: sessions, storage, asking people. Invariants: the appliance gets neither password nor code nor device
 * secret, only what is derived from them for it; what is derived is wiped once it is sent.
 */

import { cbor, hash, hex, KeyPair, random, unhex, userkey, words, type Bytes } from '../crypto/index.js'
import type { NewKey } from '../facade.js'
import { EngineError, refuse } from './errors.js'
import { encodeRedemption, Invitation } from './invite.js'
import { ask, localNow } from './session.js'
import { deviceSecretOf, type Store } from './store.js'
import { parseBirth, parseDone, parseLoggedIn, parseParameters, parseRedeemed, type Birth } from './wire.js'

/** Context of the roster key's signature over a setting. */
const SETTING_CONTEXT = 'login-setting'
/** Longest login name, bytes. */
const NAME_MAX = 254
/** Shortest password that is taken for a new login, characters. */
const PASSWORD_MIN = 12

/** How a login proves itself, in wire order. */
export const MEANS = ['password', 'recovery'] as const

/** A login name as it is sent: without blanks around it, in NFC, in lower case. */
export const fold = (name: string): string =>
  name
    .replace(/^\p{White_Space}+|\p{White_Space}+$/gu, '')
    .normalize('NFC')
    .toLowerCase()

/** Whose key came back. */
export interface Entered {
  readonly name: string
  readonly account: string
  readonly pair: KeyPair
}

/** One way in, as it is sent. */
export interface NewWay {
  readonly authKey: Bytes
  /** Commitment of the lane key. */
  readonly lane: Bytes
  /** Canonical wrapped key. */
  readonly wrapped: Bytes
}

/** The frame that asks how to stretch a password. */
export const encodePrelogin = (name: string): Bytes => frame(5, cbor.array(cbor.text(name)))

/** The frame of a login. */
export const encodeLogin = (name: string, means: (typeof MEANS)[number], authKey: Bytes, laneKey: Bytes): Bytes =>
  frame(
    6,
    cbor.array(cbor.text(name), cbor.int(MEANS.indexOf(means)), cbor.bytes(authKey), cbor.bytes(laneKey)),
  )

/** The frame that sets a login, signed by the key whose login it is. */
export async function encodeSetting(
  vm: Bytes,
  pair: KeyPair,
  name: string,
  issued: bigint,
  parameters: userkey.PasswordMethod,
  password: NewWay,
  recovery: NewWay | undefined,
): Promise<Bytes> {
  const way = ({ authKey, lane, wrapped }: NewWay): Bytes =>
    cbor.array(cbor.bytes(authKey), cbor.bytes(lane), cbor.bytes(wrapped))
  const setting = cbor.array(
    cbor.int(1),
    cbor.bytes(vm),
    cbor.bytes(pair.fingerprint),
    cbor.text(name),
    cbor.int(issued),
    cbor.array(cbor.int(parameters.rounds), cbor.bytes(parameters.salt)),
    way(password),
    ...(recovery ? [way(recovery)] : []),
  )
  return frame(7, cbor.array(setting, cbor.bytes(await pair.sign(SETTING_CONTEXT, setting))))
}

/** Who the appliance is; its certificate is fresh and signed by the device key that it names. */
export async function hello(): Promise<Birth> {
  const nonce = random(32)
  return parseBirth(await ask('hello', frame(0, cbor.bytes(nonce))), nonce)
}

/** Fetches the key of a login name with its password, on a device that has its device secret. */
export async function login(store: Store, typed: string, password: string): Promise<Entered> {
  const name = checkName(typed)
  const device = await store.deviceSecret(name)
  if (!device) {
    const detail = `this browser does not know the login ${JSON.stringify(name)}: take the printed recovery code, or the link of a new invitation`
    throw refuse('unknown_device', 'This device is not known', detail)
  }
  const parameters = parseParameters(await ask('prelogin', encodePrelogin(name)))
  const stretched = await userkey.Stretched.of(password, device, { kind: 'password', ...parameters })
  try {
    const [authKey, laneKey] = [await stretched.authKey(), await userkey.deviceLane(device)]
    const page = parseLoggedIn(await sent('login', encodeLogin(name, 'password', authKey, laneKey), authKey))
    const pair = await stretched.open(userkey.parseWrapped(page.wrapped))
    return { name, account: hex(page.account), pair }
  } finally {
    stretched.wipe()
    device.fill(0)
  }
}

/**
 * Fetches a key with its printed code, which is spent by it. The caller goes in with it, then sets the login anew
 * ({@link setLogin}) under the new password and the next code.
 */
export async function recover(store: Store, typed: string, text: string, password: string): Promise<Entered> {
  const name = checkName(typed)
  checkPassword(password)
  // A slip of the hand is named here, and costs no attempt.
  const code = await userkey.parseRecoveryText(text)
  // A browser that keeps nothing is found out while the code still holds.
  await deviceSecretOf(store, name)
  const [authKey, laneKey] = [await userkey.recoveryAuthKey(code), await userkey.recoveryLane(code)]
  const page = parseLoggedIn(await sent('login', encodeLogin(name, 'recovery', authKey, laneKey), authKey))
  const pair = await userkey.openWithRecovery(userkey.parseWrapped(page.wrapped), code)
  code.fill(0)
  const entered = { name, account: hex(page.account), pair }
  // The code is spent, and this is the only copy: kept before anything else is asked or can fail.
  await store.enter(name, entered.account, pair)
  return entered
}

/** Enrols a new key with an invitation and sets its login. A broken run goes on with the same key. */
export async function enrol(store: Store, link: string, typed: string, password: string): Promise<NewKey> {
  const name = checkName(typed)
  checkPassword(password)
  const invitation = await Invitation.parse(link)
  const id = hex(await invitation.id())
  const birth = await hello()
  const { vm } = birth
  await checkPlace(link, birth)
  const before = await store.enrolling(id)
  const pair = before ?? (await KeyPair.generate())
  if (!before) await store.keepEnrolling(id, pair)
  parseRedeemed(await ask('redeem', encodeRedemption(await invitation.redeem(vm, pair))))
  const code = await setLogin(store, vm, pair, name, password, true)
  await store.enrolled(id)
  invitation.wipe()
  const made = { words: words(pair.fingerprint), code: code! }
  pair.wipe()
  return made
}

/** Sets the login of a key: the wraps under password and device secret, and under a new recovery code, which is returned. */
export async function setLogin(
  store: Store,
  vm: Bytes,
  pair: KeyPair,
  name: string,
  password: string,
  sheet: boolean,
): Promise<string | undefined> {
  checkPassword(password)
  const device = await deviceSecretOf(store, name)
  const parameters = userkey.newPasswordMethod()
  const stretched = await userkey.Stretched.of(password, device, parameters)
  const byPassword = {
    authKey: await stretched.authKey(),
    lane: await userkey.commitLane(await userkey.deviceLane(device)),
    wrapped: userkey.encodeWrapped(await stretched.wrap(pair)),
  }
  stretched.wipe()
  device.fill(0)
  const code = sheet ? userkey.newRecoveryCode() : undefined
  const byCode = code && {
    authKey: await userkey.recoveryAuthKey(code),
    lane: await userkey.commitLane(await userkey.recoveryLane(code)),
    wrapped: userkey.encodeWrapped(await userkey.wrapWithRecovery(code, pair)),
  }
  const setting = await encodeSetting(vm, pair, name, localNow(), parameters, byPassword, byCode)
  try {
    parseDone(await sent('set', setting, byPassword.authKey))
  } catch (error) {
    throw notSet(error)
  }
  const text = code && (await userkey.recoveryText(code))
  code?.fill(0)
  return text
}

/** Refuses what is no login name. */
function checkName(typed: string): string {
  const name = fold(typed)
  const { length } = new TextEncoder().encode(name)
  if (length === 0 || length > NAME_MAX) {
    throw refuse('bad_name', 'Not a login name', `a login name has 1 to ${NAME_MAX} bytes, this one has ${length}`)
  }
  return name
}

function checkPassword(password: string): void {
  const found = [...password.normalize('NFC')].length
  if (found < PASSWORD_MIN) {
    const detail = `a password has at least ${PASSWORD_MIN} characters, this one has ${found}; four words that do not belong together make a good one`
    throw refuse('short_password', 'The password is too short', detail)
  }
}

/** What makes an appliance the one meant, beside the claim key. */
export const identity = ({ vm, device, provisioning }: Birth, claim: Bytes): Promise<Bytes> =>
  hash(
    'appliance-identity',
    cbor.array(cbor.bytes(vm), cbor.bytes(device.fingerprint), cbor.bytes(claim), cbor.bytes(provisioning)),
  )

/** A link of the command line names the appliance: `peri:enrol/CLAIM/APPLIANCE/ACCOUNT/ROLE#FRAGMENT`. */
async function checkPlace(link: string, birth: Birth): Promise<void> {
  const named = /^peri:enrol\/([0-9a-f]{64})\/([0-9a-f]{64})\//.exec(link.trim())
  if (!named || named[2] === hex(await identity(birth, unhex(named[1]!)))) return
  throw refuse('other_appliance', 'Another appliance', 'the invitation is for another appliance; nothing was sent to it')
}

/** Sends a secret and wipes it. */
async function sent(path: string, bytes: Bytes, secret: Bytes): Promise<Bytes> {
  try {
    return await ask(path, bytes)
  } finally {
    bytes.fill(0)
    secret.fill(0)
  }
}

/** The same error with what it means for the login. */
function notSet(error: unknown): unknown {
  if (!(error instanceof EngineError) || error.code !== 'unreachable') return error
  return refuse(
    'answer_lost',
    'The answer got lost',
    'the login may have been set, and older sheets may be void; do the same once more',
  )
}

const frame = (kind: number, ...fields: Bytes[]): Bytes => cbor.array(cbor.int(kind), cbor.array(...fields))

/** The frame that submits a statement; it proves its signers itself. */
export const encodeSubmit = (statement: Bytes): Bytes => frame(2, cbor.bytes(statement))
