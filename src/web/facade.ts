/**
 * What the engine gives and takes: the types between the page and everything behind it.
 *
 * What does not belong: code. Invariants: every id is lower-case hexadecimal; every time is nanoseconds since 1970 in UTC; every
 * value but a {@link Watch} and a {@link Player} survives a structured clone; nothing here has a place for a key.
 */

import type { Body, Role, WeeklyHours } from './session/body.js'
import type { EngineError } from './session/errors.js'

/** Lower-case hexadecimal. */
export type Id = string
/** UTC nanoseconds since 1970. */
export type Utc = bigint

/** Where the person stands. */
export type State =
  /** Not in; `known`: login names that this browser knows (it has their device secret). */
  | { readonly at: 'out'; readonly known: readonly string[] }
  /** Something takes a while; `text` says what. */
  | { readonly at: 'working'; readonly text: string }
  | { readonly at: 'in'; readonly name: string }
  /** The appliance locked the session (423), or a copy of a request was seen. Keys are wiped; only logging in helps. */
  | { readonly at: 'locked'; readonly reason: string }
  /** The session or the right to one ended. Keys are wiped. */
  | { readonly at: 'ended'; readonly reason: string }
  /** In, but the appliance does not answer; what is shown is old. `since`: milliseconds of this computer's clock. */
  | { readonly at: 'away'; readonly since: number; readonly name: string }

/** What `/.well-known/peri` says, unsigned. */
export interface Appliance {
  readonly vm: Id
  readonly claimed: boolean
  readonly provisioning: Id
  readonly tls_key: Id
  readonly ca: Id
  readonly page: Id
}

/** Who the asker is in this house. */
export type Standing =
  | { readonly kind: 'claim' }
  | { readonly kind: 'seat'; readonly index: number }
  | { readonly kind: 'account'; readonly id: Id; readonly role: Role }

/** What somebody may do with a camera now. */
export interface MyRights {
  readonly live: boolean
  readonly playback: boolean
  readonly export: boolean
}

export interface Camera {
  readonly id: Id
  readonly name: string
  readonly registered: boolean
  readonly removed: boolean
  /** Plain RTSP: say so on the tile. */
  readonly plain: boolean
  /** What the asker may do with it now. */
  readonly rights: MyRights
  readonly recordedUntil: Utc | null
  /** Why it is not recording; empty while it is. */
  readonly lost: string
}

export interface Account {
  readonly id: Id
  readonly role: Role
  readonly name: string
  /** Fingerprint of its key. */
  readonly key: Id
  readonly state: 'in office' | 'removed' | 'key revoked'
}

export interface Seat {
  readonly index: number
  readonly kind: 'person' | 'sheet'
  readonly name: string
  readonly key: Id
  readonly revoked: boolean
}

export interface GrantEntry {
  /** The grant's id. */
  readonly nonce: Id
  readonly account: Id
  readonly rights: MyRights
  /** `null`: all, later ones too. */
  readonly cameras: readonly Id[] | null
  readonly from: Utc
  readonly until: Utc
  /** Weekly hours in words; empty: always. */
  readonly weekly: string
  readonly revoked: boolean
}

/** The roster as the page shows it to this account. */
export interface House {
  /** The appliance's clock when it answered. */
  readonly now: Utc
  readonly vm: Id
  /** Fingerprint and ten words of the appliance's device key. */
  readonly device: Id
  readonly deviceWords: readonly string[]
  /** Fingerprint and ten words of the asker's key. */
  readonly key: Id
  readonly keyWords: readonly string[]
  readonly me: Standing
  /** The asker's pseudonym or the seat's name. */
  readonly name: string
  readonly k: number
  readonly n: number
  readonly retentionSecs: number
  readonly ceilingSecs: number
  readonly notices: readonly string[]
  readonly cameras: readonly Camera[]
  readonly accounts: readonly Account[]
  readonly seats: readonly Seat[]
  readonly grants: readonly GrantEntry[]
}

export interface Health {
  readonly now: Utc
  readonly cameras: readonly {
    readonly camera: Id
    readonly recordedUntil: Utc | null
    readonly lost: string
    readonly epoch: bigint | null
  }[]
  readonly alarms: readonly string[]
  readonly freeBytes: bigint
  readonly notices: readonly string[]
}

/** Entries of the ledger in leaf order. */
export interface LedgerPart {
  readonly entries: readonly LedgerEntry[]
  readonly size: bigint
  readonly checkpoint: string
}

/** One entry: what a person reads, and the bytes. */
export interface LedgerEntry {
  readonly index: bigint
  readonly ledger: string
  readonly time: Utc
  readonly type: string
  /** Pseudonym of whom it is about; `null`: nobody. */
  readonly subject: Id | null
  readonly bytes: Uint8Array
}

/** An invitation that was made. Its `fragment` stands behind the `#` of the link and is shown once. */
export interface Invitation {
  readonly id: Id
  readonly fragment: string
  readonly account: Id
  readonly notAfter: Utc
}

/** What became of an invitation of one's own; `key` once it was used: compare `words` with the invited person. */
export interface InvitationState {
  readonly id: Id
  readonly account: Id
  readonly notAfter: Utc
  readonly key: Id | null
  readonly words: readonly string[] | null
}

/** Whom to invite: a new account, or another key for one that there is (its holder lost everything). */
export type Invitee = { readonly name: string; readonly role: Role } | { readonly account: Id }

/** An invitation that this browser made and remembers. */
export interface RememberedInvitation {
  readonly id: Id
  readonly account: Id
  readonly name: string
  readonly role: Role
  readonly reset: boolean
  readonly notAfter: Utc
}

/** A statement that waits for signatures. */
export interface Proposal {
  /** The statement's id. */
  readonly id: Id
  readonly body: Body
  /** In one line for people, with the names of the house. */
  readonly text: string
  readonly notAfter: Utc
  /** Id of the grant, hold … that it makes. */
  readonly nonce: Id
  readonly seatSet: number
  /** Fingerprints, each signature checked where the signer's key is known here. */
  readonly signers: readonly Id[]
  /** How many signatures count, of how many, by whom. */
  readonly have: number
  readonly need: number
  readonly who: string
  /** Whether the asker signed, and whether his signature would count. */
  readonly signed: boolean
  readonly maySign: boolean
  readonly complete: boolean
  readonly bytes: Uint8Array
}

/** What the page can propose. */
export type Draft =
  /** The account of an invited person; `words` are those he read aloud (refused when they do not fit). */
  | {
      readonly kind: 'account'
      readonly invitation: Id
      readonly name: string
      readonly role: Role
      readonly words: readonly string[]
    }
  /** Another key for an account, likewise. */
  | { readonly kind: 'key reset'; readonly invitation: Id; readonly words: readonly string[] }
  | { readonly kind: 'account removal'; readonly account: Id }
  | {
      readonly kind: 'grant'
      readonly account: Id
      readonly rights: MyRights
      readonly cameras: readonly Id[] | 'all'
      readonly from: Utc
      readonly until: Utc
      readonly weekly?: WeeklyHours
    }
  | { readonly kind: 'revocation'; readonly keys: readonly Id[]; readonly grants: readonly Id[]; readonly reason: string }
  | { readonly kind: 'retention'; readonly secs: number }

/** Of proposing and signing: `done` once the statement is in the roster, else it waits in the inbox. */
export interface Proposed {
  readonly id: Id
  readonly done: boolean
  readonly have: number
  readonly need: number
  readonly who: string
}

/** What a picture on the page is doing. */
export type WatchStatus =
  | { readonly is: 'starting' }
  /** `utc`: time of the picture shown; `behind`: milliseconds behind the newest one here. */
  | { readonly is: 'playing'; readonly utc: Utc; readonly behind: number }
  /** Nothing to show yet; `why` for people. */
  | { readonly is: 'waiting'; readonly why: string }
  /** The picture shown is old: nothing came since (time of the last picture). */
  | { readonly is: 'frozen'; readonly since: Utc }
  /** The camera is not recording: since when, if known, and why. */
  | { readonly is: 'lost'; readonly since: Utc | null; readonly cause: string }
  /** There is no right now: no grant, or it ended, or its hours are over. */
  | { readonly is: 'lapsed'; readonly why: string }
  | { readonly is: 'erased' }
  /** Too slow: so many bytes were left out. `playing` follows. */
  | { readonly is: 'skipped'; readonly bytes: number }
  /** This browser cannot decode it. */
  | { readonly is: 'unsupported'; readonly codec: string }
  | { readonly is: 'paused' }
  | { readonly is: 'failed'; readonly error: EngineError }

/** A live tile. */
export interface Watch {
  /** Off screen: nothing is fetched, opened or decoded. */
  pause(): void
  resume(): void
  close(): void
}

/** A stretch of camera time. */
export interface Coverage {
  readonly from: Utc
  readonly until: Utc
  readonly kind: 'recorded' | 'lost' | 'paused' | 'erased'
  /** Cause or actor; empty for recorded. */
  readonly cause: string
}

export interface SegmentEntry {
  readonly epoch: bigint
  readonly starts: Utc
  readonly ends: Utc
  readonly bytes: bigint
  readonly running: boolean
}

export interface Timeline {
  readonly coverage: readonly Coverage[]
  readonly segments: readonly SegmentEntry[]
}

export interface Thumbnail {
  readonly image: ImageBitmap
  /** Time of the picture: that of the key picture at or before the time asked for. */
  readonly utc: Utc
}

/** What a player tells. */
export type PlayerEvent =
  | { readonly is: 'state'; readonly state: 'paused' | 'playing' | 'seeking' | 'waiting' | 'ended'; readonly rate: number }
  /** The time shown moved (about 10 times a second while it plays). */
  | { readonly is: 'time'; readonly utc: Utc }
  /** Nothing is recorded by any camera of the player in this stretch: it went on behind it (or before it, backwards). */
  | { readonly is: 'jumped'; readonly from: Utc; readonly until: Utc; readonly kind: Coverage['kind']; readonly cause: string }
  /** One camera has nothing here while others play, or cannot be shown. `playing` ends it. */
  | { readonly is: 'camera'; readonly camera: Id; readonly status: CameraStatus }

export type CameraStatus =
  | { readonly is: 'playing' }
  | { readonly is: 'waiting' }
  | { readonly is: 'gap'; readonly kind: Coverage['kind']; readonly cause: string; readonly until: Utc }
  | { readonly is: 'lapsed'; readonly why: string }
  | { readonly is: 'unsupported'; readonly codec: string }
  | { readonly is: 'failed'; readonly error: EngineError }

/** Synchronised playback of one or more cameras. */
export interface Player {
  on(listener: (event: PlayerEvent) => void): () => void
  /** Shows the picture at this time; resolves when it is there (or the gap is said). */
  seek(at: Utc): Promise<void>
  play(): void
  pause(): void
  /** 1 is real time; up to 16 forwards; negative steps back over key pictures. */
  rate(rate: number): void
  /** J (−1), K (0), L (1): each further press of J or L doubles the speed, K stops. */
  shuttle(key: -1 | 0 | 1): void
  /** One picture on or back; pauses first. */
  step(frames: 1 | -1): Promise<void>
  /** UTC of what is shown. */
  now(): Utc | undefined
  close(): void
}

export interface Exported {
  /** `video/mp4`, fragmented, one track per camera format. */
  readonly blob: Blob
  /** Suggested name. */
  readonly name: string
  /** First and last instant in the file. */
  readonly from: Utc
  readonly until: Utc
  /** What is missing in it. */
  readonly gaps: readonly Coverage[]
}

/** Of an export: bytes fetched of all, and which stretch of time is through. */
export interface Progress {
  readonly done: number
  readonly total: number
  readonly at: Utc
}

/** What was made for a person: compare the words; print the code, it is shown once. */
export interface NewKey {
  readonly words: readonly string[]
  readonly code: string
}
