/**
 * What vectors cannot hold: every flipped byte, every wrong form, keys of one engine used by the other.
 */

import {
  cbor,
  concat,
  contentKey,
  ContentKey,
  deriveContentKey,
  deviceInfo,
  encodeWrap,
  EpochSecret,
  findWrap,
  hpke,
  IncompleteHead,
  join,
  KeyPair,
  openShare,
  Order,
  parseContext,
  parseHead,
  parseRecord,
  PeriError,
  request,
  sealToDevice,
  Segment,
  unhex,
  userkey,
  UserPublic,
  utf8,
  verifyRecord,
  words,
  wrapShare,
  XSecret,
  FragmentOpener,
  type Bytes,
  type EpochContext,
  type FragmentHeader,
  type Wrap,
} from '../crypto/index.js'
import { crc32c } from '../crypto/crc32c.js'
import { u32, u64 } from '../crypto/bytes.js'
import { hash, hkdf, labelled } from '../crypto/digest.js'
import { recordHash } from '../crypto/record.js'
import { classOf, refused, same } from './assert.js'
import type { Case } from './suite.js'

const filled = (length: number, byte: number): Bytes => new Uint8Array(length).fill(byte)

function flipped(bytes: Uint8Array, at: number, bit = 1): Bytes {
  const out = new Uint8Array(bytes)
  out[at]! ^= bit
  return out
}

interface Secrets {
  e: EpochSecret
  x: XSecret
  k: ContentKey
  context: EpochContext
}

/** A context as the appliance makes one, with its secrets. */
async function epoch(threshold: number, seats: number): Promise<Secrets> {
  const [e, x] = [new EpochSecret(filled(32, 3)), new XSecret(filled(32, 4))]
  const [vm, camera] = [filled(16, 1), filled(16, 2)]
  const k = await deriveContentKey(e, x, { vm, camera, epoch: 7n })
  const fields = [
    cbor.int(1),
    cbor.bytes(vm),
    cbor.bytes(camera),
    cbor.int(7),
    cbor.int(-5n),
    cbor.int(899_999_999_995n),
    cbor.bytes(filled(32, 9)),
    cbor.int(12),
    cbor.bytes(await e.commit()),
    cbor.bytes(await x.commit()),
    cbor.bytes(await k.commit()),
    cbor.int(threshold),
    cbor.int(seats),
  ]
  return { e, x, k, context: parseContext(cbor.array(...fields)) }
}

/** A record over a context and its wraps, signed by that key. */
async function signedRecord(context: EpochContext, device: KeyPair, wraps: readonly Wrap[] = []): Promise<Bytes> {
  const hashes = await Promise.all(wraps.map(wrap => hash('wrap-hash', encodeWrap(wrap))))
  const rest = [context.bytes, cbor.bytes(await hash('wraps', ...hashes)), cbor.int(wraps.length)]
  return cbor.array(...rest, cbor.bytes(await device.sign('epoch-record', cbor.array(...rest))))
}

/** The head of a segment file. */
function headOf(record: Bytes, wraps: readonly Wrap[]): Bytes {
  const section = (bytes: Bytes): Bytes => {
    const whole = concat(u32(bytes.length), bytes)
    return concat(whole, u32(crc32c(whole)))
  }
  const magic = concat(utf8('PERISEG'), Uint8Array.of(1))
  return concat(magic, section(record), section(cbor.array(...wraps.map(encodeWrap))))
}

/** Who can do the KEM here. */
async function providers(): Promise<hpke.Provider[]> {
  return (await hpke.provider()) === 'webcrypto' ? ['noble', 'webcrypto'] : ['noble']
}

const CASES: Record<string, () => Promise<void>> = {
  'CBOR has one form: longer ones, indefinite ones and trailing bytes are refused': async () => {
    const read = {
      uint: (r: cbor.Reader) => r.u64(),
      int: (r: cbor.Reader) => r.i64(),
      bytes: (r: cbor.Reader) => r.blob(100),
      text: (r: cbor.Reader) => r.text(100),
      array: (r: cbor.Reader) => r.array(r.list(0)),
      bool: (r: cbor.Reader) => r.bool(),
    }
    const bad: [keyof typeof read, string][] = [
      ['uint', ''], ['uint', '1800'], ['uint', '1817'], ['uint', '190017'], ['uint', '1900ff'], ['uint', '1a0000ffff'],
      ['uint', '1b00000000ffffffff'], ['uint', '18'], ['uint', '19ff'], ['uint', '1c'], ['uint', '1f'], ['uint', '0000'],
      ['uint', '20'], ['uint', 'c001'], ['uint', 'f90000'], ['int', '3800'], ['int', '3b8000000000000000'],
      ['int', '1b8000000000000000'], ['bytes', '5800'], ['bytes', '5f4101ff'], ['bytes', '4201'], ['bytes', '59ffff'],
      ['bytes', '5865' + '00'.repeat(101)], ['bytes', '6161'], ['text', '62c328'], ['text', '4161'], ['text', '7f6161ff'],
      ['array', '9fff'], ['array', '81'], ['array', '9800'], ['bool', 'f6'], ['bool', 'f814'], ['bool', '01'], ['bool', ''],
    ] // prettier-ignore
    for (const [kind, form] of bad) {
      await refused('bad_encoding', `${kind} ${form}`, () => cbor.decode('a test', unhex(form), r => void read[kind](r)))
    }
    const numbers = [0n, 23n, 24n, 255n, 256n, 65_535n, 65_536n, (1n << 32n) - 1n, 1n << 32n, (1n << 63n) - 1n]
    for (const value of numbers) {
      for (const number of [value, -1n - value]) {
        same(cbor.decode('a test', cbor.int(number), r => r.i64()).toString(), number.toString(), 'round trip')
      }
    }
    same(cbor.int((1n << 64n) - 1n), '1bffffffffffffffff', 'the largest number')
    same(cbor.int(-1n - ((1n << 63n) - 1n)), '3b7fffffffffffffff', 'the least number')
    same(cbor.text('Köln'), '654bc3b66c6e', 'text')
  },

  'a checksum is the known one': async () => same(crc32c(utf8('123456789')), 0xe3069283, 'CRC-32C'),

  'what one engine seals the other opens, and only with everything right': async () => {
    const [device, other] = [await KeyPair.generate(), await KeyPair.generate()]
    for (const seal of await providers()) {
      for (const open of await providers()) {
        const sealed = await sealToDevice(device.public, utf8('camera 1'), utf8('secret'), seal)
        const tried = async (own: KeyPair, info: Bytes, aad: string, bytes: Bytes): Promise<boolean> =>
          (await hpke.open(await own.hpkePrivate(open), info, utf8(aad), bytes)) !== undefined
        const info = deviceInfo(device.public)
        same(await tried(device, info, 'camera 1', sealed), true, `${seal} to ${open}`)
        same(await tried(device, info, 'camera 2', sealed), false, 'other purpose')
        same(await tried(other, info, 'camera 1', sealed), false, 'other key')
        same(await tried(device, deviceInfo(other.public), 'camera 1', sealed), false, 'other device named')
        for (const at of [0, 1000, 1567, 1568, 1600, 1664, 1665, sealed.length - 1]) {
          same(await tried(device, info, 'camera 1', flipped(sealed, at)), false, `flipped byte ${at}`)
        }
        for (const length of [0, 100, 1665, 1680]) {
          same(await tried(device, info, 'camera 1', sealed.slice(0, length)), false, `cut to ${length}`)
        }
      }
    }
  },

  'nothing is sealed to a key that is none, and every such key is named at enrolment': async () => {
    const { public: good } = await KeyPair.generate()
    await good.validate()
    const lattice = new Uint8Array(good.hpke)
    lattice.fill(0xff, 0, 3) // a coefficient of 4,095 is not reduced modulo 3,329
    const offCurve = flipped(good.hpke, 1664)
    for (const hpkeHalf of [lattice, offCurve]) {
      const bad = await UserPublic.fromParts(hpkeHalf, good.sign)
      await refused('bad_key', 'validate', () => bad.validate())
      for (const by of await providers()) {
        await refused('bad_key', `seal with ${by}`, () => sealToDevice(bad, utf8(''), utf8(''), by))
      }
    }
    for (const tag of [0, 4, 5, 6]) {
      const bad = await UserPublic.fromParts(good.hpke, concat(Uint8Array.of(tag), good.sign.subarray(1)))
      await refused('bad_key', `point form ${tag}`, () => bad.validate())
      await refused('bad_key', `verify with form ${tag}`, () => bad.verify('x', utf8('m'), filled(96, 1)))
    }
    for (const scalar of [filled(48, 0), filled(48, 0xff)]) {
      await refused('bad_key', 'scalar', () => KeyPair.fromSecretBytes(concat(filled(32, 1), scalar)))
    }
  },

  'a signature holds for its message, context and key only, and is never the same twice': async () => {
    const [one, two] = [await KeyPair.generate(), await KeyPair.generate()]
    const message = utf8('message')
    const signature = await one.sign('grant', message)
    await one.public.verify('grant', message, signature)
    same(await classOf(() => one.public.verify('revocation', message, signature)), 'wrong_signature', 'other context')
    same(await classOf(() => one.public.verify('grant', utf8('massage'), signature)), 'wrong_signature', 'other message')
    same(await classOf(() => two.public.verify('grant', message, signature)), 'wrong_signature', 'other key')
    for (let at = 0; at < signature.length; at++) {
      await refused('wrong_signature', `byte ${at}`, () => one.public.verify('grant', message, flipped(signature, at)))
    }
    await refused('wrong_signature', 'cut', () => one.public.verify('grant', message, signature.slice(1)))
    const again = await one.sign('grant', message)
    same(again.some((byte, at) => byte !== signature[at]), true, 'randomised')
  },

  'a private half is in nothing that prints, copies or serialises a key set or a secret': async () => {
    const own = await KeyPair.generate()
    const secret = own.secretBytes()
    const { e } = await epoch(1, 1)
    for (const value of [own, e]) {
      const shown = JSON.stringify(value) + JSON.stringify(Object.entries(value)) + String(value)
      same(shown.includes(secret.subarray(0, 8).join(',')) || shown.includes('3,3,3,3'), false, 'secret bytes')
    }
    own.wipe()
    same(own.secretBytes().every(byte => byte === 0), true, 'wiped')
  },

  'a record changed in any byte is refused': async () => {
    const device = await KeyPair.generate()
    const { context } = await epoch(2, 3)
    const good = await signedRecord(context, device)
    await verifyRecord(parseRecord(good), device.public)
    for (let at = 0; at < good.length; at++) {
      const code = await classOf(() => verifyRecord(parseRecord(flipped(good, at)), device.public))
      same(code !== 'good', true, `flipped byte ${at}`)
    }
  },

  'a head is taken with the wraps that its device signed only, in their order, and no length is believed': async () => {
    const device = await KeyPair.generate()
    const { e, context } = await epoch(1, 2)
    const seats = [await KeyPair.generate(), await KeyPair.generate()]
    const wrapFor = (seat: KeyPair): Promise<Wrap> => wrapShare({ index: 0, value: e.reveal() }, context, seat.public)
    const [one, two] = [await wrapFor(seats[0]!), await wrapFor(seats[1]!)]
    const record = await signedRecord(context, device, [one, two])
    const head = (...wraps: Wrap[]): Bytes => headOf(record, wraps)
    const good = await parseHead(head(one, two))
    same(findWrap(good.wraps, seats[1]!.fingerprint, 'share')?.sealed, two.sealed, 'the wrap of the second seat')
    same(findWrap(good.wraps, seats[1]!.fingerprint, 'user') === undefined, true, 'no wrap of E for it')
    for (const wraps of [[two, one], [one], [one, two, two], [], [one, await wrapFor(seats[1]!)]]) {
      await refused('bad_head', `${wraps.length} wraps`, () => parseHead(head(...wraps)))
    }
    const misfit = { ...one, shareIndex: 1 }
    const signed = await signedRecord(context, device, [misfit])
    await refused('bad_head', 'a wrap that fits no seat', () => parseHead(headOf(signed, [misfit])))
    for (const at of [8, 8 + 4 + record.length + 4]) {
      const claim = head(one, two)
      claim.fill(0xff, at, at + 4)
      const error = await parseHead(claim).catch((error: unknown) => error)
      same(error instanceof PeriError && !(error instanceof IncompleteHead), true, `length at ${at} is refused at once`)
    }
  },

  'ranges that no appliance signs are refused although a device signed them': async () => {
    const device = await KeyPair.generate()
    const { context } = await epoch(2, 3)
    // Suite, epoch, k and n are one byte each at the places where the canonical form has them.
    const last = context.bytes.length - 1
    for (const [at, value] of [[1, 2], [36, 0], [last - 1, 0], [last - 1, 4], [last, 17]] as const) {
      const bytes = new Uint8Array(context.bytes)
      bytes[at] = value
      const record = parseRecord(await signedRecord(parseContext(bytes), device))
      await refused('bad_record', `byte ${at} is ${value}`, () => verifyRecord(record, device.public))
    }
    const longer = concat(context.bytes.subarray(0, 37), cbor.int(-6n), context.bytes.subarray(38))
    const record = parseRecord(await signedRecord(parseContext(longer), device))
    await refused('bad_record', 'longer than 15 minutes', () => verifyRecord(record, device.public))
  },

  'K comes out only when E, X and K are those of the record': async () => {
    const { e, x, k, context } = await epoch(2, 3)
    same((await contentKey(e, x, context)).reveal(), k.reveal(), 'K')
    await refused('wrong_e', 'E', () => contentKey(new EpochSecret(filled(32, 9)), x, context))
    await refused('wrong_x', 'X', () => contentKey(e, new XSecret(filled(32, 9)), context))
    await refused('wrong_k', 'K', () => contentKey(e, x, { ...context, commitK: filled(32, 9) }))
  },

  'a share goes to another key in the client, opens there under its own index only, and joins': async () => {
    const { e, context } = await epoch(1, 2)
    const [seat, requester] = [await KeyPair.generate(), await KeyPair.generate()]
    for (const by of await providers()) {
      const wrap = await wrapShare({ index: 0, value: e.reveal() }, context, requester.public, by)
      const opened = await openShare(requester, context, wrap, by)
      same((await join([opened], context)).reveal(), e.reveal(), 'E')
      await refused('not_recipient', 'other key', () => openShare(seat, context, wrap, by))
      const claimed = { ...wrap, recipient: seat.fingerprint }
      await refused('does_not_open', 'relabelled', () => openShare(seat, context, claimed, by))
      await refused('wrong_kind', 'as E', () => openShare(requester, context, { ...wrap, kind: 'user' }, by))
      await refused('wrong_form', 'other index', () => openShare(requester, context, { ...wrap, shareIndex: 1 }, by))
    }
    const { context: two } = await epoch(2, 3)
    const values = { index: 0, value: e.reveal() }
    await refused('no_such_index', 'whole secret as a share of two', () => wrapShare(values, two, seat.public))
    await refused('no_such_index', 'beyond n', () => wrapShare({ ...values, index: 4 }, two, seat.public))
    const share = await openShare(seat, two, await wrapShare({ ...values, index: 2 }, two, seat.public))
    const other = { ...share, index: 1, value: filled(32, 6), seat: filled(32, 5) }
    await refused('mixed_shares', 'shares of nothing', () => join([share, other], two))
    await refused('same_seat_twice', 'one index twice', () => join([share, { ...other, index: 2 }], two))
    // A sealer that lies about the index, so that the share would count as another seat's.
    const info = labelled('wrap', Uint8Array.of(1, 1), seat.fingerprint, two.bytes)
    const sealed = await hpke.seal(seat.public.hpke, info, new Uint8Array(0), concat(Uint8Array.of(2), filled(32, 3)))
    const lie = { suite: 1, kind: 'share', recipient: seat.fingerprint, shareIndex: 1, sealed } as const
    await refused('wrong_commitment', 'index inside and outside', () => openShare(seat, two, lie))
  },

  'a stored key opens with its own secret only, and a changed byte is refused': async () => {
    const [own, other] = [await KeyPair.generate(), await KeyPair.generate()]
    const code = userkey.newRecoveryCode()
    const wrapped = await userkey.wrapWithRecovery(code, own)
    const typed = await userkey.parseRecoveryText((await userkey.recoveryText(code)).toLowerCase().replaceAll('-', ' '))
    same((await userkey.openWithRecovery(wrapped, typed)).fingerprint, own.fingerprint, 'opened')
    await refused('does_not_open', 'other code', () => userkey.openWithRecovery(wrapped, userkey.newRecoveryCode()))
    const moved = { ...wrapped, fingerprint: other.fingerprint }
    await refused('does_not_open', 'moved', () => userkey.openWithRecovery(moved, code))
    await refused('wrong_method', 'password', () => userkey.openWithPassword(wrapped, 'x', filled(16, 1)))
    const stored = userkey.encodeWrapped(wrapped)
    for (let at = 0; at < stored.length; at++) {
      const tried = await classOf(() => userkey.openWithRecovery(userkey.parseWrapped(flipped(stored, at)), code))
      same(tried !== 'good', true, `flipped byte ${at}`)
    }
    // Whoever knows the code can seal other halves under the same name.
    const name = cbor.array(cbor.int(1), cbor.bytes(own.fingerprint), cbor.array(cbor.int(1), cbor.array(cbor.bytes(wrapped.method.salt))))
    const raw = await hkdf('SHA-512', wrapped.method.salt, code, labelled('recovery-wrap-key', own.fingerprint))
    const key = await crypto.subtle.importKey('raw', raw, 'AES-GCM', false, ['encrypt'])
    const gcm = { name: 'AES-GCM', iv: new Uint8Array(12), additionalData: labelled('user-key', name) }
    const sealed = new Uint8Array(await crypto.subtle.encrypt(gcm, key, other.secretBytes()))
    await refused('other_key', 'other halves', () => userkey.openWithRecovery({ ...wrapped, sealed }, code))
    await refused('bad_code', 'short', () => userkey.parseRecoveryText('HZ4B'))
    await refused('bad_code', 'letter', () => userkey.parseRecoveryText('U'.repeat(28)))
    const method = { kind: 'password', rounds: 599_999, salt: filled(32, 1) } as const
    await refused('weak_rounds', 'too few', () => userkey.Stretched.of('x', filled(16, 1), method))
    await refused('weak_rounds', 'too many', () =>
      userkey.Stretched.of('x', filled(16, 1), { ...method, rounds: 9_600_001 }),
    )
  },

  'no changed bit of a fragment opens even with a mended checksum': async () => {
    const device = await KeyPair.generate()
    const { k, context } = await epoch(1, 1)
    const record = parseRecord(await signedRecord(context, device))
    const name = await recordHash(record)
    const key = await crypto.subtle.importKey('raw', k.reveal(), 'AES-GCM', false, ['encrypt'])
    const sealed = async (counter: bigint, last: boolean, plaintext: Bytes, aad = name): Promise<Bytes> => {
      const kind = Uint8Array.of(0x50, 0x46, 2, last ? 2 : 0)
      const header = concat(kind, u32(plaintext.length), u32(1), u64(counter), u64(5n), u32(9000))
      const iv = concat(u32(1), u64(counter))
      const algorithm = { name: 'AES-GCM', iv, additionalData: concat(aad, header) }
      const body = concat(header, new Uint8Array(await crypto.subtle.encrypt(algorithm, key, plaintext)))
      return concat(body, u32(crc32c(body)))
    }
    const opener = await FragmentOpener.of(k, record, Order.file())
    const first = await sealed(0n, false, utf8('a picture'))
    const body = first.subarray(0, first.length - 4)
    for (let bit = 0; bit < body.length * 8; bit++) {
      const changed = flipped(body, bit >> 3, 1 << (bit & 7))
      const code = await classOf(() => opener.open(concat(changed, u32(crc32c(changed)))))
      same(['forged', 'flipped_bit', 'truncated'].includes(code), true, `bit ${bit} gives ${code}`)
    }
    await refused('forged', 'of another epoch', async () => opener.open(await sealed(0n, false, utf8('x'), filled(32, 1))))
    await refused('reordered', 'later', async () => opener.open(await sealed(1n, false, utf8('x'))))
    // Called without waiting: they are opened in the order of the calls, and a refusal between them changes nothing.
    const [one, again, two] = await Promise.allSettled([
      opener.open(first),
      opener.open(first),
      sealed(1n, true, new Uint8Array(0)).then(fragment => opener.open(fragment)),
    ])
    same([one.status, two.status, opener.ended], ['fulfilled', 'fulfilled', true], 'opened')
    same(again.status === 'rejected' && (again.reason as PeriError).code, 'repeated', 'opened twice')
    const file = concat(headOf(record.bytes, []), first)
    const segment = await Segment.open(file, { device: device.public, vm: context.vm, camera: context.camera })
    await refused('media_before_init', 'the start is missing', () => segment.fragments(k).next())
    for (const [at, value] of [[8, 1], [11, 255], [12, 0], [7, 2]] as const) {
      const bad = new Uint8Array(file)
      bad[at] = value
      await refused('bad_head', `head, byte ${at}`, () => parseHead(bad))
    }
    for (let cut = 0; cut < file.length - first.length; cut++) {
      const error = await parseHead(file.slice(0, cut)).catch((error: unknown) => error)
      const need = error instanceof IncompleteHead ? error.need : 0
      same(need > cut && need <= file.length - first.length, true, `cut at ${cut} asks for ${need}`)
    }
    await refused('wrong_key', 'other K', () => FragmentOpener.of(new ContentKey(filled(32, 1)), record, Order.file()))
  },

  'order names what is wrong, and a live viewer may see counters again under a higher run only': async () => {
    const header = (run: number, counter: bigint, last = false): FragmentHeader => ({
      kind: 'media', key: false, last, length: 1, run, counter, start: 0n, duration90k: 1,
    }) // prettier-ignore
    const file = Order.file()
    await refused('reordered', 'gap', () => file.take(header(1, 1n)))
    file.take(header(1, 0n))
    await refused('repeated', 'again', () => file.take(header(1, 0n)))
    file.take(header(3, 1n))
    await refused('run_back', 'older run', () => file.take(header(2, 2n)))
    await refused('repeated', 'higher run, old counter', () => file.take(header(4, 1n)))
    file.take(header(3, 2n, true))
    await refused('after_last', 'after the last', () => file.take(header(3, 3n)))
    const live = Order.stream()
    live.take(header(1, 40n))
    await refused('reordered', 'live gap', () => live.take(header(1, 42n)))
    live.take(header(1, 41n))
    live.take(header(2, 41n))
    await refused('run_back', 'live older run', () => live.take(header(1, 42n)))
  },

  'a request is nothing to another VM, with another body, place or session': async () => {
    const [own, other] = [await request.SessionKey.generate(), await request.SessionKey.generate()]
    const vm = filled(16, 1)
    const progress = { settled: 1n, answered: [3n], reports: [] }
    const place = { channel: filled(16, 2), counter: 4n, progress, boot: filled(16, 3) }
    const body = request.fromBody(0n)
    const good = await request.signRequest(vm, 'roster', body, place, own)
    await request.verifyRequest(request.parseRequest(request.encodeRequest(good)), vm, own.public)
    const changes: Partial<request.Request>[] = [
      { method: 'ledger' },
      { body: request.fromBody(1n) },
      { channel: filled(16, 9) },
      { counter: 5n },
      { boot: filled(16, 9) },
      { progress: { ...progress, settled: 2n } },
      { progress: { ...progress, answered: [] } },
      { progress: { ...progress, reports: [{ counter: 1n }] } },
      { session: await request.sessionId(other.public) },
    ]
    for (const change of changes) {
      const changed = { ...good, ...change }
      await refused('wrong_signature', Object.keys(change).join(), () => request.verifyRequest(changed, vm, own.public))
    }
    await refused('wrong_signature', 'other VM', () => request.verifyRequest(good, filled(16, 9), own.public))
    await refused('wrong_signature', 'other key', () => request.verifyRequest(good, vm, other.public))
    // Signed by somebody in the name of another.
    const named = { ...(await request.signRequest(vm, 'roster', body, place, other)), session: good.session }
    await refused('wrong_signature', 'in the name of another', () => request.verifyRequest(named, vm, own.public))
    await refused('bad_key', 'no point', () => {
      const none = filled(33, 5)
      return request.sessionId(none).then(session => request.verifyRequest({ ...good, session }, vm, none))
    })
    const long = new Uint8Array(16 * 1024 + 1)
    await refused('too_long', 'body', () => request.signRequest(vm, 'open', long, place, own))
  },

  'an administrator who enrols himself as somebody else shows in the ten words': async () => {
    const [one, two] = [await KeyPair.generate(), await KeyPair.generate()]
    const again = await UserPublic.fromBytes(one.public.bytes)
    same(words(again.fingerprint), words(one.fingerprint), 'same key on both screens')
    same(words(one.fingerprint).join() === words(two.fingerprint).join(), false, 'another key')
    // Exchanging one half only is another fingerprint, too.
    const mixed = await UserPublic.fromParts(two.public.hpke, one.public.sign)
    same(words(mixed.fingerprint).join() === words(one.fingerprint).join(), false, 'one half exchanged')
  },
}

/** All of them. */
export const attacks = (): Case[] => Object.entries(CASES).map(([name, run]) => ({ name, run }))
