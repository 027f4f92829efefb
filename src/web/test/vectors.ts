/**
 * The vectors of `tests/vectors/*.json`, which the Rust code writes and reads: what is good gives the same bytes, what is
 * bad is refused with the same class.
 */

import {
  deriveContentKey,
  deviceInfo,
  EpochSecret,
  ContentKey,
  equal,
  hex,
  hpke,
  join,
  KeyPair,
  openShare,
  openWrap,
  openX,
  parseContext,
  parseHead,
  parseWrap,
  PeriError,
  recordHash,
  request,
  sealToDevice,
  Segment,
  split,
  tailHash,
  unhex,
  userkey,
  UserPublic,
  words,
  XSecret,
  type Bytes,
} from '../crypto/index.js'
import { classOf, same } from './assert.js'
import type { Case } from './suite.js'

/** The shape of each case is what its check reads. */
type Json = any

/** One file. */
export interface VectorFile {
  readonly cases: readonly { name: string; expect: string; inputs: Json; outputs: Json }[]
}

type Check = (inputs: Json, outputs: Json, by: hpke.Provider) => Promise<string>

const CHECKS: Record<string, Check> = { keys, derive, shares, wraps, userkey: userkeys, segment, request: requests, device }

/** The files, and whether their checks depend on who does the KEM. */
export const VECTOR_FILES = Object.keys(CHECKS)
const WITH_KEM = ['wraps', 'device']

/** Every case; those that use the KEM with noble and, where it can, with WebCrypto. */
export function vectorCases(vectors: ReadonlyMap<string, VectorFile>): Case[] {
  return VECTOR_FILES.flatMap(file => {
    const cases = vectors.get(file)?.cases ?? []
    if (cases.length < 3) throw new Error(`${file}.json has ${cases.length} cases`)
    return cases.map(({ name, expect, inputs, outputs }) => ({
      name: `${file}: ${name}`,
      run: async () => {
        const native = WITH_KEM.includes(file) && (await hpke.provider()) === 'webcrypto'
        for (const by of native ? (['noble', 'webcrypto'] as const) : (['noble'] as const)) {
          same(await CHECKS[file]!(inputs, outputs, by), expect, `class with ${by}`)
        }
      },
    }))
  })
}

const pair = (inputs: Json): Promise<KeyPair> => KeyPair.fromSecretBytes(unhex(inputs.hpke_seed + inputs.sign_scalar))

async function keys(inputs: Json, outputs: Json): Promise<string> {
  if (inputs.fingerprint) {
    same(words(unhex(inputs.fingerprint)), outputs.words, 'words')
    return 'words'
  }
  const own = await pair(inputs)
  same(own.public.bytes, outputs.public, 'public half')
  const parsed = await UserPublic.fromBytes(unhex(outputs.public))
  await parsed.validate()
  same(parsed.fingerprint, outputs.fingerprint, 'fingerprint')
  same(words(parsed.fingerprint), outputs.words, 'words')
  const [message, signature] = [unhex(inputs.message), unhex(inputs.signature)]
  await parsed.verify('again', message, await own.sign('again', message))
  return classOf(() => parsed.verify(inputs.context, message, signature))
}

async function derive(inputs: Json, outputs: Json): Promise<string> {
  const [e, x] = [new EpochSecret(unhex(inputs.e)), new XSecret(unhex(inputs.x))]
  const id = { vm: unhex(inputs.vm), camera: unhex(inputs.camera), epoch: BigInt(inputs.epoch) }
  const k = await deriveContentKey(e, x, id)
  same(k.reveal(), outputs.k, 'K')
  same(await e.commit(), outputs.commit_e, 'commitment to E')
  same(await x.commit(), outputs.commit_x, 'commitment to X')
  same(await k.commit(), outputs.commit_k, 'commitment to K')
  return 'good'
}

async function shares(inputs: Json, outputs: Json): Promise<string> {
  const context = parseContext(unhex(inputs.context))
  const opened = inputs.shares.map((share: Json) => ({
    index: share.index,
    value: unhex(share.value),
    epoch: { vm: unhex(share.vm), camera: unhex(share.camera), epoch: BigInt(share.epoch) },
    seat: unhex(share.seat),
  }))
  return classOf(async () => same((await join(opened, context)).reveal(), outputs.e, 'E'))
}

async function wraps(inputs: Json, outputs: Json, by: hpke.Provider): Promise<string> {
  const own = await pair(inputs)
  const context = parseContext(unhex(inputs.context))
  const sealed = unhex(inputs.sealed)
  return classOf(async () => {
    let secret: Bytes
    if (inputs.kind === 'user') secret = (await openWrap(own, context, parseWrap(sealed), by)).reveal()
    else if (inputs.kind === 'share') secret = (await openShare(own, context, parseWrap(sealed), by)).value
    else secret = (await openX(own, context, unhex(inputs.request), sealed, by)).reveal()
    same(secret, outputs.secret, 'secret')
  })
}

async function userkeys(inputs: Json, outputs: Json): Promise<string> {
  return classOf(async () => {
    const wrapped = userkey.parseWrapped(unhex(inputs.wrapped))
    same(userkey.encodeWrapped(wrapped), inputs.wrapped, 'stored form')
    let own: KeyPair
    if (inputs.password) {
      if (wrapped.method.kind !== 'password') throw new Error('the method is another')
      const stretched = await userkey.Stretched.of(inputs.password, unhex(inputs.device_secret), wrapped.method)
      own = await stretched.open(wrapped)
      same(await stretched.authKey(), outputs.auth_key, 'authKey')
      // Sealing has one result: the wrap is made again, byte for byte.
      same(userkey.encodeWrapped(await stretched.wrap(own)), inputs.wrapped, 'wrap made again')
    } else {
      const code = await userkey.parseRecoveryText(inputs.code)
      same(await userkey.recoveryText(code), inputs.code, 'printed form')
      own = await userkey.openWithRecovery(wrapped, code)
    }
    same(own.secretBytes(), outputs.secret, 'private halves')
  })
}

async function segment(inputs: Json, outputs: Json): Promise<string> {
  const file = unhex(inputs.file)
  const device = await UserPublic.fromBytes(unhex(inputs.device))
  const expected = { device, vm: unhex(inputs.vm), camera: unhex(inputs.camera) }
  const opened: string[] = []
  let ending = ''
  const code = await classOf(async () => {
    const fragments = (await Segment.open(file, expected)).fragments(new ContentKey(unhex(inputs.k)))
    for (;;) {
      const next = await fragments.next()
      if (next.done) {
        ending = next.value
        return
      }
      opened.push(hex(next.value.payload))
    }
  })
  same(opened, outputs.plaintexts, 'what opens before the end')
  if (code !== 'good') return code
  const { record, length } = await parseHead(file)
  same(await recordHash(record), outputs.record_hash, 'hash of the record')
  if (ending !== 'final') return ending
  same(await tailHash(await recordHash(record), split(file, length)), outputs.tail_hash, 'tail hash')
  return 'good'
}

const bodies: Record<string, (fields: Json) => Bytes> = {
  roster: fields => request.fromBody(BigInt(fields.from)),
  ledger: fields => request.fromBody(BigInt(fields.from)),
  health: () => request.emptyBody(),
  logout: () => request.emptyBody(),
  segments: ({ camera, from, until, action }) => request.spanBody(unhex(camera), BigInt(from), BigInt(until), action),
  open: ({ camera, epochs, action, purpose }) =>
    request.openBody(unhex(camera), epochs.map((epoch: number) => BigInt(epoch)), action, purpose),
  fetch: ({ camera, epoch, offset, length, follow, action }) => {
    const bytes = length === null ? undefined : BigInt(length)
    return request.fetchBody(unhex(camera), BigInt(epoch), BigInt(offset), bytes, follow, action)
  },
}

async function requests(inputs: Json, outputs: Json): Promise<string> {
  const vm = unhex(inputs.vm)
  return classOf(async () => {
    if (inputs.opening) {
      const parsed = request.parseOpening(unhex(inputs.opening))
      same(request.encodeOpening(parsed), inputs.opening, 'frame written again')
      await request.verifyOpening(parsed, vm, await UserPublic.fromBytes(unhex(inputs.public)))
      same(String(parsed.certificate.issued), outputs.issued, 'issued')
      same(String(parsed.certificate.notAfter), outputs.not_after, 'not after')
      same(parsed.certificate.channels, outputs.channels, 'channels')
      return
    }
    const parsed = request.parseRequest(unhex(inputs.request))
    same(request.encodeRequest(parsed), inputs.request, 'frame written again')
    await request.verifyRequest(parsed, vm, unhex(inputs.session))
    same(parsed.method, outputs.method, 'method')
    same(await request.requestId(parsed), outputs.id, 'id')
    same(String(parsed.counter), outputs.counter, 'counter')
    same(parsed.body, bodies[parsed.method]!(outputs.body), 'body')
  })
}

async function device(inputs: Json, outputs: Json, by: hpke.Provider): Promise<string> {
  const own = await pair(inputs)
  const purpose = unhex(inputs.purpose)
  return classOf(async () => {
    const again = await sealToDevice(own.public, purpose, unhex(outputs.plaintext), by)
    const info = deviceInfo(own.public)
    const key = await own.hpkePrivate(by)
    same(await hpke.open(key, info, purpose, again), outputs.plaintext, 'sealed here and opened here')
    const opened = await hpke.open(key, info, purpose, unhex(inputs.sealed))
    if (!opened) throw new PeriError('does_not_open', 'it was not sealed to this device for this purpose')
    same(equal(opened, unhex(outputs.plaintext)), true, 'plaintext')
  })
}

