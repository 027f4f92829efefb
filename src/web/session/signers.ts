/**
 * Whether the signatures of a statement suffice now, as far as the house tells; what it says in one line. Twin of
 * `src/roster/signers.rs` (measured as *now*) and `describe.rs`, with the names of the house.
 *
 * What does not belong: the verdict; the appliance verifies everything itself, and its keeper again. What is here only decides
 * whether the page submits or asks others. Invariant: everything that decides who may look at what is in the line: key,
 * cameras, rights, span.
 */

import type { House } from '../facade.js'
import type { Body, Cameras, CameraSetup } from './body.js'
import type { Home } from './house.js'
import type { Statement } from './roster.js'

/** Who suffices; any one of a row. */
type Signers = 'claim key' | 'seats' | 'one seat' | 'one administrator' | 'setting technician' | 'old key'

/** The row of the table for a body. */
function row(body: Body, house: House): readonly Signers[] {
  switch (body.kind) {
    case 'genesis':
    case 'seat':
      return ['claim key']
    case 'account':
      return body.role === 'administrator' ? ['seats'] : ['one administrator', 'seats']
    case 'key change': {
      if (body.by === 'holder') return ['old key']
      const role = house.accounts.find(account => account.id === body.account)?.role
      return role === 'administrator' ? ['seats'] : ['one administrator', 'seats']
    }
    case 'account removal':
    case 'retention':
    case 'camera removal':
      return ['one administrator', 'seats']
    case 'revocation':
      return ['one seat', 'one administrator']
    case 'camera':
      return body.setup.trust.by === 'plain' || body.beside !== null
        ? ['seats']
        : ['one administrator', 'setting technician', 'seats']
    case 'camera registration':
      return ['setting technician', 'seats']
    default:
      return ['seats']
  }
}

/** How far a statement is: signatures that count for the alternative that is nearest, and who suffices. */
export interface Sufficiency {
  readonly have: number
  readonly need: number
  readonly who: string
  readonly complete: boolean
}

/** See {@link Sufficiency}. */
export function sufficiency(statement: Statement, home: Home): Sufficiency {
  const rows = row(statement.body, home.house)
  const signers = new Set(statement.signers)
  let best = { have: 0, need: Number.POSITIVE_INFINITY }
  for (const alternative of rows) {
    const found = count(alternative, statement, home, signers)
    const nearer = best.need - best.have - (found.need - found.have)
    // Of two that lack as many, the one on which somebody counts already.
    if (nearer > 0 || (nearer === 0 && found.have > best.have)) best = found
  }
  const words: Record<Signers, string> = {
    'claim key': 'the claim key',
    seats: `${home.house.k} seats`,
    'one seat': 'one seat',
    'one administrator': 'one administrator',
    'setting technician': 'the technician who sets the camera up',
    'old key': "the account's old key",
  }
  const who = rows.map(alternative => words[alternative]).join(', or ')
  return { have: best.have, need: best.need, who, complete: best.have >= best.need }
}

/** Whether a signature of the asker would count and is not there yet. */
export function wouldCount(statement: Statement, home: Home): boolean {
  if (statement.signers.includes(home.house.key)) return false
  const { house } = home
  return row(statement.body, house).some(alternative => {
    const found = count(alternative, statement, home, new Set(statement.signers))
    const more = count(alternative, statement, home, new Set([...statement.signers, house.key]))
    return more.have > found.have
  })
}

function count(
  alternative: Signers,
  statement: Statement,
  { house, seatSet }: Home,
  signers: ReadonlySet<string>,
): { have: number; need: number } {
  const any = (matches: boolean): { have: number; need: number } => ({ have: matches ? 1 : 0, need: 1 })
  const seats = house.seats.filter(seat => !seat.revoked && signers.has(seat.key)).length
  const inOffice = (role: string): boolean =>
    house.accounts.some(one => one.role === role && one.state === 'in office' && signers.has(one.key)) ||
    (house.me.kind === 'account' && house.me.role === role && signers.has(house.key))
  switch (alternative) {
    case 'seats':
      return { have: statement.seatSet === seatSet ? Math.min(seats, house.k) : 0, need: Math.max(house.k, 1) }
    case 'one seat':
      return any(seats > 0)
    case 'one administrator':
      return any(inOffice('administrator'))
    case 'setting technician':
      return any(inOffice('technician'))
    case 'old key':
      return any(statement.body.kind === 'key change' && signers.has(statement.body.old))
    case 'claim key':
      return any(house.me.kind === 'claim' && signers.has(house.key))
  }
}

/** What a statement says, in one line for people. */
export function describe(body: Body, house: House): string {
  const account = (id: string): string => {
    const found = house.accounts.find(one => one.id === id)
    return found ? `"${found.name}" (${found.role})` : `account ${id.slice(0, 8)}…`
  }
  const camera = (id: string): string => {
    const found = house.cameras.find(one => one.id === id)
    return found ? `"${found.name}"` : `camera ${id.slice(0, 8)}…`
  }
  const which = (cameras: Cameras): string =>
    cameras === 'all' ? 'ALL cameras, later ones too' : cameras.map(camera).join(', ')
  const stretch = (of: { cameras: Cameras; from: bigint; until: bigint; reason: string }): string =>
    `${which(of.cameras)} from ${at(of.from)} until ${at(of.until)}: ${of.reason}`
  const beside = (id: string | null): string => (id === null ? '' : `, SAME DEVICE as ${camera(id)}`)
  switch (body.kind) {
    case 'genesis':
      return `claim by the ${body.claimedBy}: ${body.k} of ${body.n} seats, device key ${short(body.device.fingerprint)}`
    case 'seat':
      return `seat ${body.index + 1} "${body.name}" (${body.holder}) for key ${short(body.key.fingerprint)}`
    case 'seat handover': {
      const { seat } = body
      const to = `"${seat.name}" (${seat.holder}), key ${short(seat.key.fingerprint)}`
      return `hand seat ${seat.index + 1} over from key ${short(body.from)} to ${to}`
    }
    case 'profile':
      return [
        `protection profile ${body.serial}: ${body.k} of ${body.n} seats, retention up to ${hours(body.ceilingSecs)}`,
        `no audio, ${body.masks} masks, ${body.exceptions.length} exceptions`,
      ].join(', ')
    case 'account':
      return `account "${body.name}" as ${body.role} with key ${short(body.key.fingerprint)}`
    case 'account removal':
      return `remove ${account(body.account)} for ever`
    case 'key change': {
      const what = body.by === 'holder' ? 'key change with all grants' : 'key reset without grants'
      return `${what} of ${account(body.account)} from ${short(body.old)} to ${short(body.new.fingerprint)}`
    }
    case 'grant': {
      const names = (['live', 'playback', 'export'] as const).filter(right => body.rights[right]).join(', ')
      const narrower = body.weekly ? `, only ${weekly(body.weekly)}` : ''
      const whom = `${account(body.account)} (key ${short(body.recipient)})`
      return `grant ${names} on ${which(body.cameras)} to ${whom} from ${at(body.from)} until ${at(body.until)}${narrower}`
    }
    case 'grant renewal':
      return `renew ${body.grants.length} grants (${body.grants.map(short).join(' ')}) until ${at(body.until)}`
    case 'revocation': {
      const keys = body.keys.map(key => `key ${short(key)}`)
      const grants = body.grants.map(nonce => `grant ${short(nonce)}`)
      return `revoke for ever: ${[...keys, ...grants].join(', ')}: ${body.reason}`
    }
    case 'camera':
      return `add camera${setup(body.setup)}${beside(body.beside)}`
    case 'camera registration':
      return `register ${camera(body.camera)}: its set-up is over`
    case 'camera removal':
      return `remove ${camera(body.camera)} and its device for ever`
    case 'camera re-set-up':
      return `set ${camera(body.camera)} up again (${body.serial})${setup(body.setup)}${beside(body.beside)}`
    case 'endpoint':
      return body.url === '' ? `end the endpoint for ${body.of}` : `allow calls for ${body.of} to ${body.url}`
    case 'retention':
      return `keep pictures for ${hours(body.secs)}`
    case 'release':
      return `release past pictures of ${stretch(body)}, to ${account(body.account)} (key ${short(body.recipient)})`
    case 'hold':
      return `hold pictures of ${stretch(body)}`
    case 'exception': {
      const where = body.camera === null ? 'all cameras' : camera(body.camera)
      return `exception from "${body.rule}" for ${where} until ${at(body.until)}: ${body.reason}`
    }
    case 'early erasure':
      return `erase pictures early of ${stretch(body)}`
    case 'post': {
      const members = body.members.map(member => `${account(member.account)} (key ${short(member.key)})`).join(', ')
      return `post "${body.name}" version ${body.serial} with key ${short(body.key.fingerprint)}: ${members}`
    }
    case 'snapshot':
      return `vouch for the first ${body.count} statements, head ${body.head}`
  }
}

/** Eight bytes tell keys of one roster apart; whoever compares across screens uses the ten words. */
const short = (fingerprint: string): string => fingerprint.slice(0, 16)

/** UTC to the second; pages that show local time format the body themselves. */
const at = (utc: bigint): string => {
  const ms = Number(utc / 1_000_000n)
  return Math.abs(ms) > 8.64e15 ? 'the end of time' : `${new Date(ms).toISOString().slice(0, 19)}Z`
}

const hours = (secs: bigint): string => (secs % 3600n === 0n ? `${secs / 3600n} h` : `${secs} s`)

function setup({ name, url, trust }: CameraSetup): string {
  const by = trust.by === 'pin' ? `pin ${trust.pin}` : trust.by === 'plain' ? 'NOTHING: plain RTSP' : 'an authority'
  return ` "${name}" at ${url} trusted by ${by}`
}

const DAYS = ['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun']

function weekly({ zone, spans }: { zone: string; spans: readonly { from: number; until: number }[] }): string {
  const moment = (minute: number): string => {
    const [day, rest] = [Math.floor(minute / 1440) % 7, minute % 1440]
    return `${DAYS[day]} ${String(Math.floor(rest / 60)).padStart(2, '0')}:${String(rest % 60).padStart(2, '0')}`
  }
  return `${spans.map(({ from, until }) => `${moment(from)} to ${moment(until)}`).join(', ')} (${zone})`
}
