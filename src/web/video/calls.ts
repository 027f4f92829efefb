/**
 * What passes between the page's thread and the worker: calls with their answers, events, and opened fragments by transfer.
 *
 * What does not belong: keys of any kind; nothing here has a place for one. Invariant: every value survives a structured clone.
 */

import type {
  Appliance,
  Coverage,
  Draft,
  Exported,
  Health,
  House,
  Invitation,
  InvitationState,
  Invitee,
  LedgerPart,
  NewKey,
  Progress,
  Proposal,
  Proposed,
  RememberedInvitation,
  State,
  Thumbnail,
  Timeline,
} from '../facade.js'
import type { Problem } from '../session/errors.js'

/** What the worker answers. */
export interface Calls {
  start(): void
  appliance(): Appliance
  knownDevice(name: string): boolean
  login(name: string, password: string): void
  recover(name: string, code: string, password: string): NewKey
  enrol(fragment: string, name: string, password: string): NewKey
  changePassword(password: string): void
  newSheet(password: string): NewKey
  logout(): void
  forgetDevice(name: string): void
  house(): House
  health(): Health
  ledger(from: bigint): LedgerPart
  invite(whom: Invitee, days: number): Invitation
  invitation(id: string): InvitationState
  invitations(): readonly RememberedInvitation[]
  withdraw(id: string): void
  proposals(): readonly Proposal[]
  propose(draft: Draft): Proposed
  sign(id: string): Proposed
  submit(id: string): void
  timeline(camera: string, from: bigint, until: bigint): Timeline
  thumbnail(camera: string, at: bigint, width: number): Thumbnail
  export(job: number, camera: string, from: bigint, until: bigint, purpose: string): Exported
  /** Ends a live picture, a track or an export by its number. */
  stop(job: number): void
  /** Begins a live picture; what comes is told as {@link LiveEvent}s under its number. */
  live(job: number, camera: string, origin: bigint): void
  /** Reads from a place of a recording on; `from` begins anew, else it goes on. */
  load(job: number, ask: LoadAsk): Loaded
}

/** What a player asks for. */
export interface LoadAsk {
  readonly camera: string
  /** Of the line of its SourceBuffer. */
  readonly origin: bigint
  /** Begins at the key picture at or before this; without it, goes on where the last answer ended. */
  readonly from?: bigint
  /** Only that key picture. */
  readonly keyOnly?: boolean
}

/** Opened pictures, ready for a SourceBuffer. */
export interface Part {
  /** Init fragment, if it is another one than that of the part before. */
  readonly init?: Uint8Array<ArrayBuffer>
  readonly codec: string
  readonly data: Uint8Array<ArrayBuffer>
  /** UTC of each picture in it, rising. */
  readonly pictures: readonly bigint[]
  /** Of these, key pictures. */
  readonly keys: readonly bigint[]
  readonly end: bigint
}

/** Where nothing is recorded, or nothing is for us. */
export interface Gap extends Coverage {
  /** Why it may not be looked at. */
  readonly lapsed?: string
  /** Since when, if that is known and before the place asked for. */
  readonly began?: bigint
}

/** Answer to a {@link LoadAsk}. */
export interface Loaded {
  readonly parts: readonly Part[]
  /** Up to here everything is accounted for by this answer: by its parts and its gap. */
  readonly until: bigint
  /** Where nothing is recorded behind the parts (or at the place asked for). */
  readonly gap?: Gap
  /** The end of what is recorded so far: ask again in a moment. */
  readonly edge: boolean
}

/** What a live picture tells. */
export type LiveEvent =
  | { readonly is: 'media'; readonly part: Part; readonly key: boolean }
  | { readonly is: 'waiting'; readonly why: string }
  | { readonly is: 'lost'; readonly since: bigint | null; readonly cause: string }
  | { readonly is: 'lapsed'; readonly why: string }
  | { readonly is: 'skipped'; readonly bytes: number }
  | { readonly is: 'failed'; readonly error: Problem }

/** From the page to the worker. */
export interface CallMessage {
  readonly id: number
  readonly call: keyof Calls
  readonly args: readonly unknown[]
}

/** From the worker to the page. */
export type WorkerMessage =
  | { readonly id: number; readonly ok: unknown }
  | { readonly id: number; readonly error: Problem }
  | { readonly event: 'state'; readonly value: State }
  | { readonly event: 'house'; readonly value: House }
  | { readonly event: 'notice'; readonly value: string }
  | { readonly job: number; readonly live: LiveEvent }
  | { readonly job: number; readonly progress: Progress }
