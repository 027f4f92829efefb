/**
 * The engine behind the page: getting in, reading the house, watching, playing back, exporting. What the page imports.
 *
 * What does not belong: anything that is shown (page/), keys (they live in the worker, video/worker.ts, and never come
 * here), formats of time (UTC nanoseconds inside; the page formats). Invariants: every id is lower-case hexadecimal; every
 * time is nanoseconds since 1970 in UTC; what fails rejects with an {@link EngineError} or comes as a status, and is never
 * lost; nothing is disclosed by looking at a type here.
 */

import { Remote } from './video/remote.js'
import { LiveWatch } from './video/watch.js'
import { SyncPlayer } from './video/player.js'
import type {
  Appliance,
  Draft,
  Exported,
  Health,
  House,
  Id,
  Invitation,
  InvitationState,
  Invitee,
  LedgerPart,
  NewKey,
  Player,
  Progress,
  Proposal,
  Proposed,
  RememberedInvitation,
  State,
  Thumbnail,
  Timeline,
  Utc,
  Watch,
  WatchStatus,
} from './facade.js'

export type * from './facade.js'
export { EngineError } from './session/errors.js'
export type { Body, Cameras, CameraSetup, Role, Rights, WeeklyHours } from './session/body.js'

/** Events of the engine. */
export interface EngineEvents {
  state: State
  /** The house was read anew. */
  house: House
  /** Something that a person should know, once. */
  notice: string
}

type Listeners = { [E in keyof EngineEvents]: Set<(value: EngineEvents[E]) => void> }

/** See the file. */
export class Engine {
  readonly #remote: Remote
  readonly #listeners: Listeners = { state: new Set(), house: new Set(), notice: new Set() }
  readonly #pictures = new Set<{ close(): void }>()
  #state: State = { at: 'working', text: 'starting' }
  #house: House | undefined

  private constructor(remote: Remote) {
    this.#remote = remote
  }

  /** Starts the worker; goes back in without a password where this browser still holds an opened key. */
  static async start(): Promise<Engine> {
    const remote = new Remote()
    const engine = new Engine(remote)
    remote.on('state', state => engine.#become(state))
    remote.on('house', house => engine.#read(house))
    remote.on('notice', text => engine.#tell('notice', text))
    await remote.call('start')
    return engine
  }

  get state(): State {
    return this.#state
  }

  /** Listens; the returned function ends it. `state` is told at once what it is now. */
  on<E extends keyof EngineEvents>(event: E, listener: (value: EngineEvents[E]) => void): () => void {
    const set = this.#listeners[event] as Set<(value: EngineEvents[E]) => void>
    set.add(listener)
    if (event === 'state') (listener as (value: State) => void)(this.#state)
    if (event === 'house' && this.#house) (listener as (value: House) => void)(this.#house)
    return () => set.delete(listener)
  }

  /** What the appliance publishes about itself. */
  appliance(): Promise<Appliance> {
    return this.#remote.call('appliance')
  }

  /** Whether this browser has the device secret of that login name, so that name and password are enough. */
  knownDevice(name: string): Promise<boolean> {
    return this.#remote.call('knownDevice', name)
  }

  login(name: string, password: string): Promise<void> {
    return this.#remote.call('login', name, password)
  }

  /** With the printed code, which is spent by it; `code` of the answer is the next one. In afterwards. */
  recover(name: string, code: string, newPassword: string): Promise<NewKey> {
    return this.#remote.call('recover', name, code, newPassword)
  }

  /**
   * Enrols a key with the fragment of a link. The account is in office once the inviter has compared the words and its
   * statement is accepted; until then {@link State} stays `out`, and `login` works from then on.
   */
  enrol(fragment: string, name: string, password: string): Promise<NewKey> {
    return this.#remote.call('enrol', fragment, name, password)
  }

  /** Sets a new password for the login of whoever is in; the sheet holds on. */
  changePassword(password: string): Promise<void> {
    return this.#remote.call('changePassword', password)
  }

  /** Prints anew: a new recovery code; the old one is void. Asks for the password again, as both are set together. */
  newSheet(password: string): Promise<NewKey> {
    return this.#remote.call('newSheet', password)
  }

  /** Ends the session and wipes every key of this browser's memory and storage; device secrets stay. */
  async logout(): Promise<void> {
    this.#drop()
    await this.#remote.call('logout')
  }

  /** Forgets the device secret of a login name: only the recovery code works here then. */
  forgetDevice(name: string): Promise<void> {
    return this.#remote.call('forgetDevice', name)
  }

  /** Reads the house anew. */
  house(): Promise<House> {
    return this.#remote.call('house')
  }

  health(): Promise<Health> {
    return this.#remote.call('health')
  }

  ledger(from: bigint): Promise<LedgerPart> {
    return this.#remote.call('ledger', from)
  }

  /** Makes a link; at most 14 days, 3 by default. */
  invite(whom: Invitee, days = 3): Promise<Invitation> {
    return this.#remote.call('invite', whom, days)
  }

  /** What became of it. */
  invitation(id: Id): Promise<InvitationState> {
    return this.#remote.call('invitation', id)
  }

  /** Those that this browser made and the appliance still keeps. */
  invitations(): Promise<readonly RememberedInvitation[]> {
    return this.#remote.call('invitations')
  }

  withdraw(id: Id): Promise<void> {
    return this.#remote.call('withdraw', id)
  }

  /** What waits for signatures. */
  proposals(): Promise<readonly Proposal[]> {
    return this.#remote.call('proposals')
  }

  /** Makes and signs a statement; submits it where that is enough, else puts it into the inbox. */
  propose(draft: Draft): Promise<Proposed> {
    return this.#remote.call('propose', draft)
  }

  /** Signs one that waits, by its id: exactly the bytes that {@link proposals} showed last. */
  sign(id: Id): Promise<Proposed> {
    return this.#remote.call('sign', id)
  }

  /** Submits one that has its signatures (signing does it by itself; this is for one whose submission failed). */
  submit(id: Id): Promise<void> {
    return this.#remote.call('submit', id)
  }

  /** Shows a camera live in a `<video muted playsinline>`. */
  watch(camera: Id, video: HTMLVideoElement, on: (status: WatchStatus) => void): Watch {
    const watch = new LiveWatch(this.#remote, camera, video, on, () => this.#pictures.delete(watch))
    this.#pictures.add(watch)
    return watch
  }

  /** What there is of a stretch of camera time. */
  timeline(camera: Id, from: Utc, until: Utc): Promise<Timeline> {
    return this.#remote.call('timeline', camera, from, until)
  }

  /** The key picture at or before a time, at most `width` pixels wide. Each new epoch that is opened is a ledger entry. */
  thumbnail(camera: Id, at: Utc, width = 320): Promise<Thumbnail> {
    return this.#remote.call('thumbnail', camera, at, width)
  }

  /** Synchronised playback; `seek` shows the first picture. */
  player(cameras: readonly { readonly camera: Id; readonly video: HTMLVideoElement }[]): Player {
    const player = new SyncPlayer(this.#remote, cameras, () => this.#pictures.delete(player))
    this.#pictures.add(player)
    return player
  }

  /** Saves a span as MP4; `purpose` goes into the ledger (at most 400 bytes). `signal` ends it early. */
  exportSpan(
    camera: Id,
    from: Utc,
    until: Utc,
    purpose: string,
    onProgress: (progress: Progress) => void,
    signal?: AbortSignal,
  ): Promise<Exported> {
    return this.#remote.export(onProgress, signal, camera, from, until, purpose)
  }

  #become(state: State): void {
    this.#state = state
    if (state.at === 'locked' || state.at === 'ended' || state.at === 'out') this.#drop()
    this.#tell('state', state)
  }

  #read(house: House): void {
    this.#house = house
    this.#tell('house', house)
  }

  #tell<E extends keyof EngineEvents>(event: E, value: EngineEvents[E]): void {
    for (const listener of [...this.#listeners[event]]) (listener as (value: EngineEvents[E]) => void)(value)
  }

  /** Pictures leave the screen and the SourceBuffers. */
  #drop(): void {
    this.#house = undefined
    for (const picture of [...this.#pictures]) picture.close()
    this.#pictures.clear()
  }
}
