/**
 * A proposal, its signatures, and their bytes: canonical CBOR `[proposal bytes, [[signer, signature]…]]`. Twin of
 * `src/roster/statement.rs`.
 *
 * What does not belong: whether the signers suffice (signers), what it means (body, describe). Invariants: a statement is
 * known by the hash of its proposal, never by its signatures (ECDSA is malleable); signers are strictly ascending; what is
 * signed are the very bytes that were read and shown.
 */

import { cbor, equal, hash, hex, type Bytes, type KeyPair, type UserPublic } from '../crypto/index.js'
import { readBody, withFingerprints, type Body } from './body.js'
import { encodeBody, type Made } from './draft.js'
import { refuse } from './errors.js'

const FORMAT = 1
/** Context of every signature over a proposal. */
export const SIGN_CONTEXT = 'roster-proposal'
/** Longest statement, bytes. */
export const STATEMENT_MAX = 32 * 1024
/** Every seat, and the claim key or an account. */
const SIGNATURES_MAX = 18

interface Signature {
  readonly signer: string
  readonly signature: Bytes
}

/** A proposal with the signatures collected so far. Nothing about it is verified yet. */
export class Statement {
  /** The canonical bytes of the proposal. */
  readonly proposal: Bytes
  /** Hexadecimal hash of the proposal. */
  readonly id: string
  readonly vm: string
  readonly body: Body
  readonly notAfter: bigint
  /** Hexadecimal; the id of the grant, hold … that it makes. */
  readonly nonce: string
  readonly seatSet: number
  readonly #signatures: readonly Signature[]

  private constructor(proposal: Bytes, read: Read, id: string, signatures: readonly Signature[]) {
    this.proposal = proposal
    this.id = id
    this.vm = read.vm
    this.body = read.body
    this.notAfter = read.notAfter
    this.nonce = read.nonce
    this.seatSet = read.seatSet
    this.#signatures = signatures
  }

  /** A new one without a signature; nothing takes effect like this. */
  static make(vm: Bytes, body: Made, notAfter: bigint, nonce: Bytes, seatSet: number): Promise<Statement> {
    const proposal = cbor.array(
      cbor.int(FORMAT),
      cbor.bytes(vm),
      encodeBody(body),
      cbor.int(notAfter),
      cbor.bytes(nonce),
      cbor.int(seatSet),
    )
    return Statement.#of(proposal, [])
  }

  /** From canonical bytes, checked in form; signatures are not verified. */
  static parse(bytes: Bytes): Promise<Statement> {
    if (bytes.length > STATEMENT_MAX) throw refuse('bad_encoding', 'No statement', 'it is longer than a statement may be')
    const { proposal, signatures } = cbor.decode('a roster statement', bytes, reader => {
      reader.array(2)
      const proposal = reader.blob(STATEMENT_MAX)
      const signatures = Array.from({ length: reader.list(SIGNATURES_MAX) }, () => {
        reader.array(2)
        return { signer: hex(reader.bytes(32)), signature: reader.bytes(96) }
      })
      const rising = signatures.every(({ signer }, at) => at === 0 || signatures[at - 1]!.signer < signer)
      if (!rising) reader.fail('signers are not strictly ascending')
      return { proposal, signatures }
    })
    return Statement.#of(proposal, signatures)
  }

  static async #of(proposal: Bytes, signatures: readonly Signature[]): Promise<Statement> {
    const read = readProposal(proposal)
    const body = await withFingerprints(read.body)
    return new Statement(proposal, { ...read, body }, hex(await hash('roster-statement', proposal)), signatures)
  }

  /** Whose signatures are there; not verified. */
  get signers(): string[] {
    return this.#signatures.map(({ signer }) => signer)
  }

  /** With one signature more (or a new one of the same signer). */
  async sign(who: KeyPair): Promise<Statement> {
    const signature = await who.sign(SIGN_CONTEXT, this.proposal)
    return this.#with([{ signer: hex(who.fingerprint), signature }])
  }

  /** With the signatures of another copy of the same proposal. */
  merge(other: Statement): Statement {
    if (!equal(this.proposal, other.proposal)) {
      throw refuse('other_proposal', 'Another proposal', 'signatures of different proposals cannot be joined')
    }
    return this.#with(other.#signatures)
  }

  /** Whether this key signed it. */
  async signedBy(key: UserPublic): Promise<boolean> {
    const found = this.#signatures.find(({ signer }) => signer === hex(key.fingerprint))
    if (!found) return false
    return key.verify(SIGN_CONTEXT, this.proposal, found.signature).then(
      () => true,
      () => false,
    )
  }

  /** Canonical bytes. */
  get bytes(): Bytes {
    const all = this.#signatures.map(({ signer, signature }) => cbor.array(bytesOf(signer), cbor.bytes(signature)))
    return cbor.array(cbor.bytes(this.proposal), cbor.array(...all))
  }

  #with(more: readonly Signature[]): Statement {
    const all = new Map([...this.#signatures, ...more].map(one => [one.signer, one]))
    const rising = [...all.values()].sort((one, other) => (one.signer < other.signer ? -1 : 1))
    return new Statement(this.proposal, this, this.id, rising)
  }
}

interface Read {
  readonly vm: string
  readonly body: Body
  readonly notAfter: bigint
  readonly nonce: string
  readonly seatSet: number
}

function readProposal(bytes: Bytes): Read {
  return cbor.decode('a roster proposal', bytes, reader => {
    reader.array(6)
    if (reader.small(16) !== FORMAT) reader.fail('a format that this version does not know: reload the page')
    const vm = hex(reader.bytes(16))
    const body = readBody(reader)
    const notAfter = reader.i64()
    return { vm, body, notAfter, nonce: hex(reader.bytes(16)), seatSet: reader.small(32) }
  })
}

const bytesOf = (id: string): Bytes =>
  cbor.bytes(Uint8Array.from(id.match(/../g) ?? [], pair => Number.parseInt(pair, 16)))

/** Body of `propose`. */
export const proposeBody = (statement: Statement): Bytes => cbor.array(cbor.bytes(statement.bytes))

