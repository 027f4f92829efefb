/**
 * Bodies of statements that this page makes, as canonical bytes. Twin of `src/roster/body.rs` and, for them, `check.rs`.
 *
 * What does not belong: reading (body), signatures (roster). Invariant: what the verifier would refuse in form is refused here
 * in words, before anybody signs it.
 */

import { cbor, unhex, type Bytes } from '../crypto/index.js'
import { LIST_MAX, ROLES, TEXT_MAX, type Body, type WeeklyHours } from './body.js'
import { refuse } from './errors.js'

/** Bodies that this page makes. */
export type Made = Extract<
  Body,
  { kind: 'account' | 'account removal' | 'key change' | 'grant' | 'revocation' | 'retention' }
>

/** The canonical bytes of a body that this page makes; what the verifier would refuse is refused here in words. */
export function encodeBody(body: Made): Bytes {
  const ids = (list: readonly string[]): Bytes => cbor.array(...list.map(id => cbor.bytes(unhex(id))))
  const id = (text: string): Bytes => cbor.bytes(unhex(text))
  const of = (kind: number, ...fields: Bytes[]): Bytes => cbor.array(cbor.int(kind), cbor.array(cbor.array(...fields)))
  switch (body.kind) {
    case 'account':
      demandLine('name', body.name)
      return of(4, id(body.id), cbor.int(ROLES.indexOf(body.role)), cbor.text(body.name), unhex(body.key.bytes))
    case 'account removal':
      return of(5, id(body.account))
    case 'key change':
      return of(6, id(body.account), id(body.old), unhex(body.new.bytes), cbor.int(body.by === 'holder' ? 0 : 1))
    case 'grant': {
      const { rights, cameras: which, weekly: hours } = body
      const bits = (rights.live ? 1 : 0) | (rights.playback ? 2 : 0) | (rights.export ? 4 : 0)
      if (bits === 0) throw invalid('the grant gives no right; name live, playback or export')
      if (body.from >= body.until) throw invalid('the grant ends before it begins')
      const all = which === 'all'
      if (!all && which.length === 0) throw invalid('the grant names no camera')
      const chosen = all
        ? cbor.array(cbor.int(0), cbor.array())
        : cbor.array(cbor.int(1), cbor.array(ids(ascending('cameras', which))))
      const spans = hours?.spans.map(one => cbor.array(cbor.int(one.from), cbor.int(one.until))) ?? []
      if (hours) demandHours(hours)
      const narrower = hours ? [cbor.array(cbor.text(hours.zone), cbor.array(...spans))] : []
      const when = [cbor.int(body.from), cbor.int(body.until)]
      return of(7, id(body.recipient), id(body.account), cbor.int(bits), chosen, ...when, ...narrower)
    }
    case 'revocation': {
      if (body.keys.length + body.grants.length === 0) throw invalid('the revocation names neither key nor grant')
      demandLine('reason', body.reason)
      const [keys, grants] = [ids(ascending('keys', body.keys)), ids(ascending('grants', body.grants))]
      return of(9, keys, grants, cbor.text(body.reason))
    }
    case 'retention':
      return of(15, cbor.int(body.serial), cbor.int(body.secs))
  }
}

/** Hexadecimal of one length sorts as its bytes do. */
function ascending(what: string, list: readonly string[]): string[] {
  if (list.length > LIST_MAX) throw invalid(`more than ${LIST_MAX} ${what}; split it`)
  return [...new Set(list)].sort()
}

function demandLine(what: string, text: string): void {
  if (text.trim() === '') throw invalid(`the ${what} is empty`)
  if (new TextEncoder().encode(text).length > TEXT_MAX) throw invalid(`the ${what} is longer than ${TEXT_MAX} bytes`)
  // What would make a signer see something else than what is there (Unicode UAX #9).
  if (/[\p{Cc}\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/u.test(text)) {
    throw invalid(`the ${what} contains a hidden or control character`)
  }
}

function demandHours({ spans }: WeeklyHours): void {
  const sane = spans.every(({ from, until }) => from < until && until <= 7 * 24 * 60)
  const apart = spans.every(({ from }, at) => at === 0 || spans[at - 1]!.until < from)
  if (spans.length === 0 || spans.length > 28 || !sane || !apart) {
    throw invalid('weekly hours are 1 to 28 spans of the week from Monday, ascending, with a gap between each two')
  }
}

const invalid = (why: string): Error => refuse('invalid', 'It cannot be proposed', why)
