/**
 * Channels, proofs, invitations, logins, answers and statements: what `session/` does without an appliance.
 */

import { cbor, hex, KeyPair, request, unhex, verifySession, words, type Bytes } from '../crypto/index.js'
import type { Body } from '../session/body.js'
import { Outbox } from '../session/channel.js'
import type { Made } from '../session/draft.js'
import { fold } from '../session/door.js'
import { parsePage } from '../session/house.js'
import { Invitation, redemptionMessage } from '../session/invite.js'
import { parseEntry } from '../session/ledger.js'
import { Statement } from '../session/roster.js'
import { describe, sufficiency, wouldCount } from '../session/signers.js'
import { parseHealth, parseLive, parseSegments } from '../session/wire.js'
import type { Home } from '../session/house.js'
import type { House } from '../facade.js'
import { refused, same } from './assert.js'
import type { Case } from './suite.js'

const filled = (length: number, byte: number): Bytes => new Uint8Array(length).fill(byte)
const said = ({ progress: { settled, answered, reports } }: { progress: request.Progress }): string =>
  `${settled} [${answered}] ${reports.map(one => `${one.counter}${one.nonce ? ` ${hex(one.nonce)}` : ''}`)}`

/** The cases. */
export function sessions(): Case[] {
  return [
    {
      name: 'a failure is repeated until a proof that carries it is answered',
      async run() {
        const outbox = new Outbox()
        const one = outbox.begin()
        same(outbox.finish(one.counter, 'failure'), true, 'on its way')
        const two = outbox.begin()
        same([String(two.counter), said(two)], ['2', '1 [] 1'], 'said')
        const three = outbox.begin()
        same(said(three), '1 [] 1', 'said again')
        outbox.finish(two.counter, 'answer')
        same(said(outbox.begin()), '2 [] ', 'not said any more')
        same(outbox.finish(two.counter, 'answer'), false, 'finished before')
        same(outbox.finish(three.counter, { nonce: filled(16, 7) }), true, 'on its way')
        same(said(outbox.begin()), `3 [] 3 ${'07'.repeat(16)}`, 'the nonce of a copy')
      },
    },
    {
      name: 'answers out of order are acknowledged one by one',
      async run() {
        const outbox = new Outbox()
        for (let count = 0; count < 5; count++) outbox.begin()
        outbox.finish(3n, 'answer')
        outbox.finish(5n, 'answer')
        same(said(outbox.begin()), '0 [3,5] ', 'two')
        outbox.finish(1n, 'answer')
        outbox.finish(2n, 'answer')
        same(said(outbox.begin()), '3 [5] ', 'four')
      },
    },
    {
      name: 'the window stops a client that nobody answers',
      async run() {
        const outbox = new Outbox()
        for (let count = 0; count < 1024; count++) outbox.begin()
        await refused('channel_full', 'one more', () => outbox.begin())
        outbox.finish(1n, 'answer')
        outbox.begin()
        same(outbox.pending, 1024, 'on their way')
        const failing = new Outbox()
        for (let counter = 1n; counter <= 20n; counter++) {
          failing.begin()
          failing.finish(counter, 'failure')
        }
        // More failures than one proof reports: the seventeenth waits, and settled with it.
        const { progress } = failing.begin()
        same([Number(progress.settled), progress.reports.length], [16, 16], 'reported')
      },
    },
    {
      name: 'the header of a request is its proof alone, without padding',
      async run() {
        const [key, vm] = [await request.SessionKey.generate(), filled(16, 1)]
        const place = { channel: filled(16, 2), counter: 2n, progress: new Outbox().begin().progress, boot: filled(16, 3) }
        const signed = await request.signRequest(vm, 'house', cbor.array(cbor.int(0)), place, key)
        const text = request.proofText(signed)
        same(/^[A-Za-z0-9_-]+$/.test(text), true, 'base64url')
        const bytes = Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), c => c.charCodeAt(0))
        const frame = request.encodeRequest(signed)
        same(hex(frame).endsWith(hex(bytes)), true, 'the last item of the frame')
        same(request.METHODS.indexOf('house'), 10, 'wire order')
        await request.verifyRequest(request.parseRequest(frame), vm, key.public)
      },
    },
    {
      name: 'a session key that was kept signs as before',
      async run() {
        const key = await request.SessionKey.generate()
        const again = request.SessionKey.restore(key.stored())
        const place = { channel: filled(16, 2), counter: 1n, progress: new Outbox().begin().progress, boot: filled(16, 3) }
        const signed = await request.signRequest(filled(16, 1), 'health', request.emptyBody(), place, again)
        await request.verifyRequest(signed, filled(16, 1), key.public)
        same(key.stored().private.extractable, false, 'cannot be read')
      },
    },
    {
      name: 'an invitation is read from its fragment, and a typing error is seen',
      async run() {
        const made = Invitation.generate()
        const fragment = await made.fragment()
        same(fragment.length, 48, 'characters')
        for (const text of [fragment, ` #${fragment}\n`, `https://gate.example/#${fragment}`, `peri:enrol/x/y/z/viewer#${fragment}`]) {
          same(await (await Invitation.parse(text)).id(), await made.id(), text)
        }
        const at = 20
        const other = fragment[at] === 'A' ? 'B' : 'A'
        const wrong = fragment.slice(0, at) + other + fragment.slice(at + 1)
        for (const [bad, word] of [
          [fragment.slice(1), '48 characters'],
          [`${fragment.slice(1)}+`, 'character that no invitation has'],
          [wrong, 'typing error'],
        ] as const) {
          const error = await Invitation.parse(bad).then(
            () => 'taken',
            (error: Error) => error.message,
          )
          same(error.includes(word) && !error.includes(bad), true, error)
        }
      },
    },
    {
      name: 'a redemption is signed by the invitation and by the key that is enrolled',
      async run() {
        const [made, pair, vm] = [Invitation.generate(), await KeyPair.generate(), filled(16, 4)]
        const offer = await made.offer(filled(16, 5), 7n)
        const redemption = await made.redeem(vm, pair)
        same(redemption.id, offer.id, 'the same invitation')
        const message = redemptionMessage(vm, offer.id, pair.fingerprint)
        await pair.public.verify('invitation', message, redemption.possession)
        await verifySession(offer.verify, 'invitation', message, redemption.invited)
        await refused('wrong_signature', 'another appliance', () =>
          verifySession(offer.verify, 'invitation', redemptionMessage(filled(16, 6), offer.id, pair.fingerprint), redemption.invited),
        )
      },
    },
    {
      name: 'a login name is one name however it is typed',
      async run() {
        same(fold(' Anna.M\u00fcller@Example.org\n'), fold('anna.mu\u0308ller@example.org'), 'one name')
        same(fold('anna'), 'anna', 'as it is')
        same(fold('\u2003A\u0085'), 'a', 'every blank of Unicode')
      },
    },
    {
      name: 'statements are read as they were written, and every change is seen',
      async run() {
        const pair = await KeyPair.generate()
        const key = { bytes: hex(pair.public.bytes), fingerprint: hex(pair.fingerprint) }
        const [account, camera] = [hex(filled(16, 1)), hex(filled(16, 2))]
        const weekly = { zone: 'Europe/Berlin', spans: [{ from: 0, until: 60 }, { from: 61, until: 10_080 }] }
        const rights = { live: true, playback: true, export: false }
        const when = { from: -5n, until: 1n << 61n }
        const bodies: Made[] = [
          { kind: 'account', id: account, role: 'auditor', name: 'Büro', key },
          { kind: 'account removal', account },
          { kind: 'key change', account, old: hex(filled(32, 3)), new: key, by: 'reset' },
          { kind: 'grant', recipient: key.fingerprint, account, rights, cameras: 'all', ...when, weekly: null },
          { kind: 'grant', recipient: key.fingerprint, account, rights, cameras: [account, camera], ...when, weekly },
          { kind: 'revocation', keys: [key.fingerprint], grants: [account], reason: 'lost' },
          { kind: 'retention', serial: 2, secs: 259_200n },
        ]
        const plain = (body: Body): string => JSON.stringify(body, (_, value) => (typeof value === 'bigint' ? `${value}` : value))
        for (const body of bodies) {
          const made = await Statement.make(filled(16, 9), body, 77n, filled(16, 8), 4)
          const signed = await made.sign(pair)
          const read = await Statement.parse(signed.bytes)
          same(plain(read.body), plain(body), body.kind)
          same([read.id, read.vm, read.nonce, read.seatSet], [made.id, '09'.repeat(16), '08'.repeat(16), 4], 'the rest')
          same(await read.signedBy(pair.public), true, 'signed')
          same(read.bytes, signed.bytes, 'the same bytes')
          const changed = new Uint8Array(signed.bytes)
          changed[25]! ^= 1
          const other = await Statement.parse(changed).catch(() => undefined)
          same((await other?.signedBy(pair.public)) ?? false, false, 'changed')
        }
      },
    },
    {
      name: 'signatures of one proposal are joined in order, those of another are not',
      async run() {
        const [one, two] = [await KeyPair.generate(), await KeyPair.generate()]
        const body: Made = { kind: 'retention', serial: 1, secs: 60n }
        const made = await Statement.make(filled(16, 9), body, 1n, filled(16, 8), 1)
        const both = (await made.sign(one)).merge(await made.sign(two))
        const again = await Statement.parse(both.bytes)
        same(again.signers, [hex(one.fingerprint), hex(two.fingerprint)].sort(), 'rising')
        same([await again.signedBy(one.public), await again.signedBy(two.public)], [true, true], 'both')
        const other = await Statement.make(filled(16, 9), body, 1n, filled(16, 7), 1)
        await refused('other_proposal', 'another', () => made.merge(other))
      },
    },
    {
      name: 'what the verifier would refuse is not proposed',
      async run() {
        const make = (body: Made) => Statement.make(filled(16, 9), body, 1n, filled(16, 8), 1)
        const rights = { live: true, playback: false, export: false }
        const grant = { kind: 'grant', recipient: '00'.repeat(32), account: '00'.repeat(16), rights, from: 0n, until: 1n } as const
        for (const bad of [
          { ...grant, cameras: [], weekly: null },
          { ...grant, cameras: 'all', weekly: null, until: 0n },
          { ...grant, cameras: 'all', weekly: null, rights: { live: false, playback: false, export: false } },
          { ...grant, cameras: 'all', weekly: { zone: 'UTC', spans: [{ from: 5, until: 5 }] } },
          { ...grant, cameras: 'all', weekly: { zone: 'UTC', spans: [{ from: 0, until: 5 }, { from: 5, until: 6 }] } },
          { kind: 'revocation', keys: [], grants: [], reason: 'x' },
          { kind: 'revocation', keys: ['00'.repeat(32)], grants: [], reason: 'turned \u202e round' },
          { kind: 'revocation', keys: ['00'.repeat(32)], grants: [], reason: ' ' },
        ] as Made[]) {
          await refused('invalid', JSON.stringify(bad, (_, value) => (typeof value === 'bigint' ? `${value}` : value)), () => make(bad))
        }
      },
    },
    {
      name: 'who must sign is counted by seats in office, administrators and the seat set',
      async run() {
        const [seat, administrator] = [await KeyPair.generate(), await KeyPair.generate()]
        const home = homeOf(hex(seat.fingerprint), hex(administrator.fingerprint))
        const make = (body: Made, seatSet = 2) => Statement.make(filled(16, 9), body, 1n, filled(16, 8), seatSet)
        const retention = await make({ kind: 'retention', serial: 1, secs: 60n })
        same(sufficiency(retention, home).complete, false, 'nobody')
        same(sufficiency(await retention.sign(administrator), home).complete, true, 'an administrator')
        const rights = { live: true, playback: false, export: false }
        const which = { recipient: '00'.repeat(32), account: '0a'.repeat(16), rights, weekly: null }
        const body: Made = { kind: 'grant', ...which, cameras: 'all', from: 0n, until: 1n }
        const grant = await make(body)
        const one = await grant.sign(seat)
        const { have, need, who } = sufficiency(one, home)
        same([have, need, who], [1, 2, '2 seats'], 'one of two')
        same(sufficiency(await (await make(body, 1)).sign(seat), home).have, 0, 'an older seat set')
        same(sufficiency(await grant.sign(administrator), home).have, 0, 'an administrator grants nothing')
        same([wouldCount(grant, home), wouldCount(one, home)], [true, false], 'whether ours counts')
        same(describe(one.body, home.house).includes('ALL cameras, later ones too to "Anna" (viewer)'), true, 'in words')
      },
    },
    {
      name: 'answers are read strictly, and what may be left out may be',
      async run() {
        const segment = cbor.array(cbor.int(5), cbor.int(1), cbor.int(2), cbor.int(300), cbor.bool(true), cbor.int(70))
        const span = cbor.array(cbor.int(1), cbor.int(2), cbor.int(1), cbor.text('away'))
        const page = parseSegments(cbor.array(cbor.array(segment), cbor.array(span)))
        same([page.segments[0]!.seek, page.coverage[0]!.kind, page.next].map(String), ['70', 'lost', 'null'], 'no more')
        same(parseSegments(cbor.array(cbor.array(), cbor.array(), cbor.int(9))).next === 9n, true, 'more')
        await refused('bad_encoding', 'something behind', () =>
          parseSegments(unhex(hex(cbor.array(cbor.array(), cbor.array(), cbor.int(9))) + '00')),
        )
        const camera = cbor.array(cbor.bytes(filled(16, 1)), cbor.nil(), cbor.text('no route'))
        const health = parseHealth(cbor.array(cbor.int(1), cbor.array(camera), cbor.array(), cbor.int(5), cbor.array()))
        same([health.cameras[0]!.lost, String(health.cameras[0]!.epoch)], ['no route', 'null'], 'no epoch')
        const skipped = parseLive(cbor.array(cbor.int(3), cbor.array(cbor.int(7), cbor.array(cbor.int(900)))))
        same([skipped.stream, skipped.reply.kind], [3, 'skipped'], 'skipped')
        const end = parseLive(cbor.array(cbor.int(3), cbor.array(cbor.int(4), cbor.array())))
        same(end.reply.kind, 'end', 'the end')
        const lost = cbor.array(cbor.int(404), cbor.text('no_grant'), cbor.text('No'), cbor.text('why'))
        const refusal = parseLive(cbor.array(cbor.int(3), cbor.array(cbor.int(1), cbor.array(lost)))).reply
        same(refusal.kind === 'problem' && refusal.error.code, 'no_grant', 'a problem')
      },
    },
    {
      name: 'a page of the house is read with all that it can hold',
      async run() {
        const pair = await KeyPair.generate()
        const id = (byte: number): Bytes => cbor.bytes(filled(16, byte))
        const fingerprint = cbor.bytes(pair.fingerprint)
        const item = (kind: number, ...fields: Bytes[]): Bytes => cbor.array(cbor.int(kind), cbor.array(cbor.array(...fields)))
        const flags = [cbor.bool(true), cbor.bool(false), cbor.bool(false)]
        const items = [
          item(0, id(1), cbor.text('gate'), ...flags, cbor.int(3), cbor.nil(), cbor.text('no route')),
          item(1, id(2), cbor.int(2), cbor.text('Anna'), fingerprint, cbor.int(2)),
          item(2, cbor.int(1), cbor.int(1), cbor.text('safe'), fingerprint, cbor.bool(false)),
          item(3, id(4), id(2), cbor.int(7), cbor.nil(), cbor.int(1), cbor.int(2), cbor.text(''), cbor.bool(true)),
          item(4, id(5), cbor.int(1), fingerprint, cbor.bytes(filled(1761, 3))),
        ]
        const me = cbor.array(cbor.int(2), cbor.array(id(2), cbor.int(2)))
        const numbers = [cbor.int(2), cbor.int(3), cbor.int(60), cbor.int(90), cbor.int(1)]
        const head = [cbor.int(9), id(6), pair.public.bytes, fingerprint, me, cbor.text('Anna'), ...numbers]
        const page = parsePage(cbor.array(...head, cbor.array(cbor.text('unwitnessed')), cbor.array(...items)))
        same(page.items.map(one => one.of), ['camera', 'account', 'seat', 'grant', 'membership'], 'all kinds')
        same([page.me, page.next], [{ kind: 'account', id: '02'.repeat(16), role: 'viewer' }, null], 'who')
        const [camera, account] = page.items
        same(camera?.of === 'camera' && camera.item.rights, { live: true, playback: true, export: false }, 'rights')
        same(account?.of === 'account' && account.item.state, 'key revoked', 'state')
      },
    },
    {
      name: 'a ledger entry is read, and one that cannot be read is shown as such',
      async run() {
        const fields = [cbor.int(0), cbor.int(4), cbor.bytes(filled(32, 1)), cbor.int(99), cbor.int(7)]
        const entry = parseEntry(12n, cbor.array(...fields, cbor.bytes(filled(16, 2)), cbor.array(cbor.bytes(filled(32, 3)))))
        same([entry.ledger, entry.type, entry.subject], ['access', 'live_intent', '02'.repeat(16)], 'a live picture')
        const tail = [cbor.int(2), cbor.int(4), cbor.bytes(filled(32, 1)), cbor.int(99), cbor.int(0x20b), cbor.nil(), cbor.array()]
        same(parseEntry(1n, cbor.array(...tail)).type, 'segment_tail', 'the technical ledger')
        same(parseEntry(1n, filled(3, 1)).type, 'unreadable', 'not an entry')
      },
    },
  ]
}

/** A house with one administrator in office and three seats, of which ours is the first. */
function homeOf(seat: string, administrator: string): Home {
  const account = (id: string, name: string, role: 'administrator' | 'viewer', key: string) =>
    ({ id: id.repeat(16), role, name, key, state: 'in office' }) as const
  const seats = [seat, '01'.repeat(32), '02'.repeat(32)].map((key, at) => ({
    index: at + 1,
    kind: 'person' as const,
    name: `seat ${at + 1}`,
    key,
    revoked: false,
  }))
  const house: House = {
    now: 0n,
    vm: '09'.repeat(16),
    device: '',
    deviceWords: [],
    key: seat,
    keyWords: words(unhex(seat)),
    me: { kind: 'seat', index: 0 },
    name: 'seat 1',
    k: 2,
    n: 3,
    retentionSecs: 60,
    ceilingSecs: 60,
    notices: [],
    cameras: [],
    accounts: [account('0a', 'Anna', 'viewer', '03'.repeat(32)), account('0b', 'Bert', 'administrator', administrator)],
    seats,
    grants: [],
  }
  return { house, vm: filled(16, 9), device: undefined as never, seatSet: 2, memberships: [] }
}
