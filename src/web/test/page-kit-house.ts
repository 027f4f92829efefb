/** The house of page-kit.ts: people, cameras, grants, proposals, ledger entries; all made up. */

import { unhex } from '../crypto/bytes.js'
import { words } from '../crypto/words.js'
import type { Account, Body, Camera, Health, House, LedgerEntry, Proposal, Standing } from '../engine.js'

const HOUR = 3_600_000
const ns = (at: number): bigint => BigInt(Math.round(at)) * 1_000_000n
/** Numbers spread over all bits, always the same. */
const spread = (n: number, bytes: number): string => {
  let state = (n * 2_654_435_761) >>> 0
  return Array.from({ length: bytes }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return (state >>> 24).toString(16).padStart(2, '0')
  }).join('')
}
const id = (n: number): string => spread(n + 1000, 16)
const key = (n: number): string => spread(n + 5000, 32)
const tenWords = (of: string) => words(unhex(of))

const NAMES = [
  'Tor Süd',
  'Pforte',
  'Parkplatz West',
  'Laderampe 2',
  'Flur Verwaltung EG',
  'Serverraum',
  'Zaun Nordost',
  'Tiefgarage Einfahrt',
]
const cameras = NAMES.map((_, at) => id(at))
const ids = {
  administrator: id(20),
  viewer: id(21),
  viewer2: id(22),
  external: id(23),
  technician: id(24),
  auditor: id(25),
  gone: id(26),
}
const ALL = { live: true, playback: true, export: true }

const accounts: readonly Account[] = [
  { id: ids.administrator, role: 'administrator', name: 'Haustechnik', key: key(20), state: 'in office' },
  { id: ids.viewer, role: 'viewer', name: 'Nachtwache 1', key: key(21), state: 'in office' },
  { id: ids.viewer2, role: 'viewer', name: 'Nachtwache 2', key: key(22), state: 'key revoked' },
  { id: ids.external, role: 'external', name: 'Leitstelle Nord', key: key(23), state: 'in office' },
  { id: ids.technician, role: 'technician', name: 'Monteur Weber', key: key(24), state: 'in office' },
  { id: ids.auditor, role: 'auditor', name: 'Datenschutzprüfung', key: key(25), state: 'in office' },
  { id: ids.gone, role: 'viewer', name: 'Aushilfe Sommer', key: key(26), state: 'removed' },
]

const seats = [
  { index: 0, kind: 'person', name: 'Datenschutzbeauftragte', key: key(30), revoked: false },
  { index: 1, kind: 'person', name: 'Betriebsrat', key: key(31), revoked: false },
  { index: 2, kind: 'sheet', name: 'Geschäftsführung, Tresor', key: key(32), revoked: false },
] as const

function camerasOf(me: Standing, as: string): Camera[] {
  const sees = me.kind === 'account' && ['viewer', 'external', 'technician'].includes(me.role)
  const rights = sees && as !== 'empty' ? ALL : { live: false, playback: false, export: false }
  const few = as === 'many' ? 8 : 6
  return cameras.slice(0, few).map((camera, at) => ({
    id: camera,
    name: NAMES[at]!,
    registered: at !== 5 || as === 'many',
    removed: false,
    plain: at === 1,
    rights,
    recordedUntil: at === 5 && as !== 'many' ? null : ns(Date.now() - (at === 3 ? 3.2 * HOUR : 400)),
    lost: at === 3 && as !== 'many' ? 'no connection to 10.20.0.14:322: refused; is the camera on and reachable?' : '',
  }))
}

function house(me: Standing, as: string): House {
  const now = Date.now()
  const own =
    me.kind === 'seat' ? key(30) : me.kind === 'account' ? accounts.find(one => one.id === me.id)!.key : key(40)
  const name =
    me.kind === 'seat' ? seats[0].name : me.kind === 'account' ? accounts.find(one => one.id === me.id)!.name : 'claim'
  const grant = (n: number, account: string, from: number, until: number) => ({
    nonce: id(50 + n),
    account,
    rights: { live: true, playback: n !== 1, export: n === 0 },
    cameras: n === 0 ? null : [cameras[0]!, cameras[1]!],
    from: ns(now + from),
    until: ns(now + until),
    weekly: n === 1 ? 'Mon-Fri 22:00-06:00 (Europe/Berlin)' : '',
    revoked: n === 3,
  })
  return {
    now: ns(now),
    vm: id(1),
    device: key(1),
    deviceWords: tenWords(key(1)),
    key: own,
    keyWords: tenWords(own),
    me,
    name,
    k: 2,
    n: 3,
    retentionSecs: 72 * 3600,
    ceilingSecs: 240 * 3600,
    notices: ['unwitnessed'],
    cameras: camerasOf(me, as),
    accounts,
    seats,
    grants: [
      grant(0, ids.viewer, -HOUR * 200, HOUR * 24 * 60),
      grant(1, ids.external, -HOUR * 20, HOUR * 24 * 3),
      grant(2, ids.technician, -HOUR * 500, -HOUR * 40),
      grant(3, ids.viewer2, -HOUR * 300, HOUR * 24 * 60),
    ],
  }
}

function proposals({ vm }: House): Proposal[] {
  const now = Date.now()
  const one = (n: number, body: Body, more: Partial<Proposal>): Proposal => ({
    id: key(60 + n),
    body,
    text: '',
    notAfter: ns(now + 6 * 24 * HOUR),
    nonce: id(60 + n),
    seatSet: 1,
    signers: [key(31)],
    have: 1,
    need: 2,
    who: '2 seats',
    signed: false,
    maySign: true,
    complete: false,
    bytes: unhex(vm),
    ...more,
  })
  return [
    one(
      0,
      {
        kind: 'grant',
        recipient: key(23),
        account: ids.external,
        rights: { live: true, playback: true, export: false },
        cameras: [cameras[0]!, cameras[1]!],
        from: ns(now),
        until: ns(now + 30 * 24 * HOUR),
        weekly: {
          zone: 'Europe/Berlin',
          spans: [
            { from: 1320, until: 1800 },
            { from: 2760, until: 3240 },
          ],
        },
      },
      {},
    ),
    one(
      1,
      {
        kind: 'release',
        account: ids.viewer,
        recipient: key(21),
        cameras: [cameras[2]!],
        from: ns(now - 60 * HOUR),
        until: ns(now - 58 * HOUR),
        reason: 'Parkrempler am 25.11., Vorgang 2026-118',
      },
      { signers: [key(30)], signed: true },
    ),
    one(
      2,
      {
        kind: 'account',
        id: id(77),
        role: 'administrator',
        name: 'Haustechnik Vertretung',
        key: { bytes: '', fingerprint: key(77) },
      },
      {
        signers: [],
        have: 0,
      },
    ),
  ]
}

const health = (of: House): Health => ({
  now: of.now,
  cameras: of.cameras.map(camera => ({
    camera: camera.id,
    recordedUntil: camera.recordedUntil,
    lost: camera.lost,
    epoch: 812n,
  })),
  alarms: [`2026-11-27T17:31:02.450Z camera_lost: camera ${cameras[3]}: no answer`],
  freeBytes: 412_000_000_000n,
  notices: [...of.notices, "password_not_rotated: Pforte: whoever typed this camera's password can still use it"],
})

const TYPES = [
  'live_intent',
  'disclosure_intent',
  'segment_tail',
  'session_started',
  'epoch_opened',
  'export_intent',
  'logged_in',
  'checkpoint_block',
  'camera_lost',
  'session_locked',
  'vm_hours',
] as const

const entry = (at: bigint, size: bigint): LedgerEntry => {
  const type = TYPES[Number(at) % TYPES.length]!
  const access = [
    'live_intent',
    'disclosure_intent',
    'session_started',
    'export_intent',
    'logged_in',
    'session_locked',
  ].includes(type)
  return {
    index: at,
    ledger: type === 'vm_hours' ? 'billing' : access ? 'access' : 'technical',
    time: ns(Date.now() - Number(size - at) * 9_700),
    type,
    subject: access ? id(Number(at) % 4) : null,
    bytes: unhex(spread(Number(at), 96)),
  }
}

export const kit = {
  cameras,
  ids,
  id,
  key,
  house,
  proposals,
  health,
  entry,
  made: { words: tenWords(key(90)), code: '7Q3M-K9XP-2TWD-84HN-VC6B-RZ1F-0S5J' },
  checkpoint:
    'peri.example/appliance\n1243\nq83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=\n\n— peri.example/appliance abcd…',
}
