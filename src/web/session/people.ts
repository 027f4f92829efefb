/**
 * Inviting, proposing, signing, submitting: what administrators and custodians do. Twin of `src/client/commands/invite.rs` and
 * `src/client/propose.rs`.
 *
 * What does not belong: forms of statements (roster, draft), who suffices (signers). Invariants: a key enters a statement only
 * as the inviter heard its words; what is signed are the bytes that were shown last under that id; an invitation is
 * remembered before it is offered, because an answer that is lost leaves something to take back.
 */

import { equal, hex, random, request, unhex, words, type Bytes, type KeyPair } from '../crypto/index.js'
import type { Draft, Invitation as Made, InvitationState, Invitee, Proposal, Proposed, RememberedInvitation } from '../facade.js'
import type { Made as Body } from './draft.js'
import { EngineError, refuse } from './errors.js'
import type { Home } from './house.js'
import { encodeOffer, Invitation, invitationBody } from './invite.js'
import { encodeSubmit } from './door.js'
import { proposeBody, Statement } from './roster.js'
import { ask, type Session } from './session.js'
import { describe, sufficiency, wouldCount } from './signers.js'
import type { Store } from './store.js'
import { parseDone, parseInvitation, parseProposals, parseRoster } from './wire.js'

const DAY = 86_400n * 1_000_000_000n
/** Longest life of an invitation, and how long the appliance keeps one afterwards. */
const INVITATION_MAX_DAYS = 14
/** How long a proposal may be accepted: custodians meet within a week. */
const OPEN_FOR = 7n * DAY

/** What this module needs of whoever is in. */
export interface Office {
  readonly session: Session
  readonly store: Store
  readonly pair: KeyPair
  home(): Promise<Home>
  /** The roster changed. */
  changed(): void
}

/** See the file. */
export class People {
  readonly #office: Office
  /** As they were shown last, by id. */
  #shown = new Map<string, Statement>()

  constructor(office: Office) {
    this.#office = office
  }

  /** Makes a link. */
  async invite(whom: Invitee, days: number): Promise<Made> {
    const { session, store, pair } = this.#office
    if (!(days > 0 && days <= INVITATION_MAX_DAYS)) {
      throw refuse('invalid', 'Not an invitation', `an invitation lasts at most ${INVITATION_MAX_DAYS} days`)
    }
    const reset = 'account' in whom
    const { house } = await this.#office.home()
    const found = reset ? house.accounts.find(one => one.id === whom.account) : undefined
    if (reset && !found) throw refuse('invalid', 'Not an invitation', 'there is no such account')
    const account = reset ? whom.account : hex(random(16))
    const name = found?.name ?? (whom as { name: string }).name
    const role = found?.role ?? (whom as { role: RememberedInvitation['role'] }).role
    const secret = Invitation.generate()
    // A minute short of the limit: the appliance's clock decides.
    const notAfter = session.now() + (BigInt(Math.round(days * 86_400)) - 60n) * 1_000_000_000n
    const offer = await secret.offer(unhex(account), notAfter)
    const by = hex(pair.fingerprint)
    const known = (await store.invited(by)).filter(one => one.notAfter + 14n * DAY > session.now())
    const one = { id: hex(offer.id), account, name, role, reset, notAfter }
    await store.keepInvited(by, [...known, one])
    parseDone((await session.request('offer', encodeOffer(offer))).bytes)
    const fragment = await secret.fragment()
    secret.wipe()
    return { id: one.id, fragment, account, notAfter }
  }

  /** Those made in this browser. */
  async invitations(): Promise<readonly RememberedInvitation[]> {
    const { session, store, pair } = this.#office
    return (await store.invited(hex(pair.fingerprint))).filter(one => one.notAfter + 14n * DAY > session.now())
  }

  async invitation(id: string): Promise<InvitationState> {
    return (await this.#state(id)).state
  }

  async withdraw(id: string): Promise<void> {
    const { session, store, pair } = this.#office
    parseDone((await session.request('withdraw', invitationBody(unhex(id)))).bytes)
    const by = hex(pair.fingerprint)
    await store.keepInvited(by, (await store.invited(by)).filter(one => one.id !== id))
  }

  /** What waits in the inbox. */
  async proposals(): Promise<readonly Proposal[]> {
    const { session, pair } = this.#office
    const home = await this.#office.home()
    const { bytes } = await session.request('proposals', request.emptyBody())
    const shown = new Map<string, Statement>()
    const out: Proposal[] = []
    for (const one of parseProposals(bytes)) {
      const statement = await Statement.parse(one)
      if (statement.vm !== home.house.vm) continue
      shown.set(statement.id, statement)
      out.push({
        id: statement.id,
        body: statement.body,
        text: describe(statement.body, home.house),
        notAfter: statement.notAfter,
        nonce: statement.nonce,
        seatSet: statement.seatSet,
        signers: statement.signers,
        ...sufficiency(statement, home),
        signed: await statement.signedBy(pair.public),
        maySign: wouldCount(statement, home),
        bytes: statement.bytes,
      })
    }
    this.#shown = shown
    return out
  }

  /** Makes and signs a statement. */
  async propose(draft: Draft): Promise<Proposed> {
    const { session, pair } = this.#office
    const home = await this.#office.home()
    const body = await this.#body(draft, home)
    const made = await Statement.make(home.vm, body, session.now() + OPEN_FOR, random(16), home.seatSet)
    return this.#handOn(await made.sign(pair), home)
  }

  /** Signs what {@link People.proposals} showed last. */
  async sign(id: string): Promise<Proposed> {
    const home = await this.#office.home()
    return this.#handOn(await (await this.#found(id)).sign(this.#office.pair), home)
  }

  /** Submits one that has its signatures. */
  async submit(id: string): Promise<void> {
    await this.#submit(await this.#found(id))
  }

  async #found(id: string): Promise<Statement> {
    const statement = this.#shown.get(id)
    if (!statement) throw refuse('not_shown', 'Look at it first', 'this proposal was not shown here; read the list anew')
    return statement
  }

  async #handOn(statement: Statement, home: Home): Promise<Proposed> {
    const { have, need, who, complete } = sufficiency(statement, home)
    this.#shown.set(statement.id, statement)
    if (complete) {
      await this.#submit(statement)
    } else {
      const { bytes } = await this.#office.session.request('propose', proposeBody(statement))
      parseDone(bytes)
    }
    return { id: statement.id, done: complete, have, need, who }
  }

  async #submit(statement: Statement): Promise<void> {
    await ask('submit', encodeSubmit(statement.bytes))
    this.#office.changed()
  }

  async #body(draft: Draft, home: Home): Promise<Body> {
    const { house } = home
    switch (draft.kind) {
      case 'account':
      case 'key reset': {
        const { state, key } = await this.#state(draft.invitation)
        if (!key) throw refuse('not_used', 'Not used yet', 'the invitation was not used yet')
        await key.validate()
        compareWords(key.fingerprint, draft.words)
        const name = { bytes: hex(key.bytes), fingerprint: hex(key.fingerprint) }
        if (draft.kind === 'account') {
          return { kind: 'account', id: state.account, role: draft.role, name: draft.name.trim(), key: name }
        }
        const account = house.accounts.find(one => one.id === state.account)
        if (!account) throw refuse('invalid', 'It cannot be proposed', 'the invitation is for no account that there is')
        return { kind: 'key change', account: account.id, old: account.key, new: name, by: 'reset' }
      }
      case 'account removal':
        return { kind: 'account removal', account: draft.account }
      case 'grant': {
        const account = house.accounts.find(one => one.id === draft.account)
        if (!account) throw refuse('invalid', 'It cannot be proposed', 'there is no such account')
        const { rights, cameras, from, until, weekly } = draft
        const fields = { recipient: account.key, account: account.id, rights, cameras, from, until }
        return { kind: 'grant', ...fields, weekly: weekly ?? null }
      }
      case 'revocation':
        return { kind: 'revocation', keys: draft.keys, grants: draft.grants, reason: draft.reason.trim() }
      case 'retention': {
        if (draft.secs > house.ceilingSecs) {
          const detail = `the profile allows at most ${Math.floor(house.ceilingSecs / 3600)} h; a new profile needs the custodians`
          throw refuse('invalid', 'It cannot be proposed', detail)
        }
        return { kind: 'retention', serial: (await this.#retentionSerial()) + 1, secs: BigInt(Math.round(draft.secs)) }
      }
    }
  }

  async #state(id: string): ReturnType<typeof parseInvitation> {
    const { bytes } = await this.#office.session.request('invitation', invitationBody(unhex(id)))
    return parseInvitation(unhex(id), bytes)
  }

  /** Number of the retention in force, from the statements themselves. */
  async #retentionSerial(): Promise<number> {
    let serial = 0
    for (let after = 0n; ; ) {
      const { bytes } = await this.#office.session.request('roster', request.fromBody(after))
      const page = parseRoster(bytes)
      for (const one of page.statements) {
        const body = await Statement.parse(one).then(
          statement => statement.body,
          () => undefined,
        )
        if (body?.kind === 'retention') serial = Math.max(serial, body.serial)
      }
      after += BigInt(page.statements.length)
      if (page.statements.length === 0 || after >= page.total) return serial
    }
  }
}

/** Refuses unless these are the ten words of the key. */
function compareWords(fingerprint: Bytes, heard: readonly string[]): void {
  const found = words(fingerprint)
  const said = heard.flatMap(word => word.trim().toLowerCase().split(/\s+/)).filter(word => word !== '')
  const encoder = new TextEncoder()
  if (equal(encoder.encode(found.join(' ')), encoder.encode(said.join(' ')))) return
  throw new EngineError({
    status: 0,
    code: 'other_words',
    title: 'The words do not fit',
    detail: 'the key that was enrolled has other words: somebody else used the link. Do not accept it; invite again by another way',
  })
}
