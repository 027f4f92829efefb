/**
 * A second implementation of the engine, for looking at the page: a house with people, cameras in every state, drawn
 * pictures. `?as=` says who is in. Never shipped; look.mjs bundles it apart from the product.
 *
 * What does not belong: keys, network. Invariant: it has the engine's type, so a page that works here asks nothing
 * else.
 */

import type {
  Draft,
  Engine,
  EngineEvents,
  Exported,
  House,
  Invitation,
  InvitationState,
  LedgerEntry,
  NewKey,
  Player,
  Proposal,
  Proposed,
  RememberedInvitation,
  Standing,
  State,
  Thumbnail,
  Timeline,
  Watch,
  WatchStatus,
} from '../engine.js'
import { words } from '../crypto/words.js'
import { unhex } from '../crypto/bytes.js'
import { EngineError } from '../session/errors.js'
import { takeFragment } from '../page/lib/fragment.js'
import { mount } from '../page/mount.js'
import { kit } from './page-kit-house.js'
import { draw } from './page-kit-pictures.js'
import { coverage, HOUR, KitPlayer, msOf, ns, picture, soon } from './page-kit-player.js'

type Api = Pick<Engine, keyof Engine>

const query = new URLSearchParams(location.search)
const as = query.get('as') ?? 'out'

const standings: Record<string, Standing> = {
  viewer: { kind: 'account', id: kit.ids.viewer, role: 'viewer' },
  empty: { kind: 'account', id: kit.ids.viewer, role: 'viewer' },
  many: { kind: 'account', id: kit.ids.viewer, role: 'viewer' },
  away: { kind: 'account', id: kit.ids.viewer, role: 'viewer' },
  administrator: { kind: 'account', id: kit.ids.administrator, role: 'administrator' },
  auditor: { kind: 'account', id: kit.ids.auditor, role: 'auditor' },
  seat: { kind: 'seat', index: 0 },
  claim: { kind: 'claim' },
}

const states: Record<string, State> = {
  out: { at: 'out', known: [] },
  known: { at: 'out', known: ['nachtwache', 'leitstand'] },
  locked: { at: 'locked', reason: 'a copy of a request was seen' },
  ended: { at: 'ended', reason: 'the grant of this account ended' },
  away: { at: 'away', since: Date.now() - 75_000, name: 'nachtwache' },
}

const house = (): House => kit.house(standings[as] ?? standings['viewer']!, as)

/** Statuses of live pictures by camera, so that every state is seen. */
const statuses: Record<string, WatchStatus> = {
  [kit.cameras[2]!]: { is: 'frozen', since: ns(Date.now() - 95_000) },
  [kit.cameras[3]!]: {
    is: 'lost',
    since: ns(Date.now() - 3.2 * HOUR),
    cause: 'no connection to 10.20.0.14:322: refused; is the camera on and reachable?',
  },
  [kit.cameras[5]!]: { is: 'waiting', why: 'starting' },
}

/** See the file. */
class Kit implements Api {
  state: State = states[as] ?? { at: 'in', name: 'nachtwache' }
  readonly #listeners = new Map<string, Set<(value: never) => void>>()
  #proposals: readonly Proposal[] = kit.proposals(house())

  on<E extends keyof EngineEvents>(event: E, listener: (value: EngineEvents[E]) => void): () => void {
    const set = this.#listeners.get(event) ?? new Set()
    this.#listeners.set(event, set)
    set.add(listener as (value: never) => void)
    if (event === 'state') (listener as (value: State) => void)(this.state)
    if (event === 'house' && (this.state.at === 'in' || this.state.at === 'away'))
      (listener as (value: House) => void)(house())
    return () => set.delete(listener as (value: never) => void)
  }

  tell<E extends keyof EngineEvents>(event: E, value: EngineEvents[E]): void {
    if (event === 'state') this.state = value as State
    for (const listener of [...(this.#listeners.get(event) ?? [])])
      (listener as (value: EngineEvents[E]) => void)(value)
  }

  appliance() {
    return soon({
      vm: kit.id(1),
      claimed: true,
      provisioning: kit.key(2),
      tls_key: kit.key(3),
      ca: kit.key(4),
      page: kit.key(5),
    })
  }

  knownDevice(name: string) {
    return soon(name !== 'fremd')
  }

  async login(name: string, password: string) {
    await soon(undefined, 200)
    if (password !== 'richtig') {
      throw new EngineError({
        status: 401,
        code: 'wrong_login',
        title: 'Not logged in',
        detail: 'name or password is wrong',
      })
    }
    this.tell('state', { at: 'in', name })
    this.tell('house', house())
  }

  recover(): Promise<NewKey> {
    return soon(kit.made)
  }

  enrol(): Promise<NewKey> {
    return soon(kit.made, 150)
  }

  changePassword() {
    return soon(undefined)
  }

  newSheet(): Promise<NewKey> {
    return soon(kit.made)
  }

  async logout() {
    this.tell('state', { at: 'out', known: ['nachtwache'] })
  }

  forgetDevice() {
    return soon(undefined)
  }

  house() {
    return soon(house())
  }

  health() {
    return soon(kit.health(house()))
  }

  ledger(from: bigint) {
    const size = 1_243n
    const entries: LedgerEntry[] = []
    for (let at = from; at < size && entries.length < 60; at++) entries.push(kit.entry(at, size))
    return soon({ entries, size, checkpoint: kit.checkpoint })
  }

  invite(): Promise<Invitation> {
    return soon({
      id: kit.key(70),
      fragment: 'Zm9yIGxvb2tpbmcgYXQgdGhlIHBhZ2Ugb25seSwgbm8ga2V5',
      account: kit.id(71),
      notAfter: ns(Date.now() + 72 * HOUR),
    })
  }

  invitation(id: string): Promise<InvitationState> {
    const used = id === kit.key(72)
    const key = used ? kit.key(74) : null
    return soon({
      id,
      account: kit.id(75),
      notAfter: ns(Date.now() + 40 * HOUR),
      key,
      words: key === null ? null : words(unhex(key)),
    })
  }

  invitations(): Promise<readonly RememberedInvitation[]> {
    const one = { account: kit.id(75), reset: false, notAfter: ns(Date.now() + 40 * HOUR) }
    return soon([
      { ...one, id: kit.key(72), name: 'Nachtwache 3', role: 'viewer' },
      { ...one, id: kit.key(73), name: 'Leitstelle Nord', role: 'external' },
    ])
  }

  withdraw() {
    return soon(undefined)
  }

  proposals() {
    return soon(this.#proposals)
  }

  propose(draft: Draft): Promise<Proposed> {
    const alone = draft.kind === 'revocation' || standings[as]?.kind === 'account'
    return soon({ id: kit.key(80), done: alone, have: 1, need: alone ? 1 : 2, who: '2 seats' })
  }

  sign(id: string): Promise<Proposed> {
    this.#proposals = this.#proposals.filter(one => one.id !== id)
    return soon({ id, done: true, have: 2, need: 2, who: '2 seats' })
  }

  submit() {
    return soon(undefined)
  }

  watch(camera: string, video: HTMLVideoElement, on: (status: WatchStatus) => void): Watch {
    const status = as === 'many' ? undefined : statuses[camera]
    let running = true
    let end: (() => void) | undefined
    const began = Date.now()
    const timer = setInterval(() => {
      if (!running) return
      if (status) on(status)
      else on({ is: 'playing', utc: ns(Date.now() - 300), behind: 300 })
    }, 250)
    if (!status || status.is === 'frozen') {
      end = picture(video, camera, () => (running ? (status ? began - 95_000 : Date.now() - 300) : undefined))
    }
    return {
      pause() {
        running = false
        on({ is: 'paused' })
      },
      resume: () => void (running = true),
      close() {
        clearInterval(timer)
        end?.()
      },
    }
  }

  timeline(_camera: string, from: bigint, until: bigint): Promise<Timeline> {
    return soon(coverage(msOf(from), msOf(until)))
  }

  async thumbnail(camera: string, at: bigint, width = 320): Promise<Thumbnail> {
    const canvas = document.createElement('canvas')
    canvas.width = width
    canvas.height = (width * 9) / 16
    draw(canvas, Math.max(0, kit.cameras.indexOf(camera)), msOf(at))
    await soon(undefined, 60)
    return { image: await createImageBitmap(canvas), utc: at - 800_000_000n }
  }

  player(cameras: readonly { readonly camera: string; readonly video: HTMLVideoElement }[]): Player {
    return new KitPlayer(cameras)
  }

  async exportSpan(
    _camera: string,
    from: bigint,
    until: bigint,
    purpose: string,
    onProgress: (progress: { done: number; total: number; at: bigint }) => void,
    signal?: AbortSignal,
  ): Promise<Exported> {
    const slow = purpose.includes('langsam')
    for (let at = 0; at <= 10; at++) {
      onProgress({ done: at * 1_843_200, total: 18_432_000, at: from + ((until - from) * BigInt(at)) / 10n })
      await soon(undefined, slow ? 700 : 25)
      signal?.throwIfAborted()
    }
    return {
      blob: new Blob([new Uint8Array(2048)], { type: 'video/mp4' }),
      name: 'Tor-Sued_2026-11-27_0213.mp4',
      from,
      until,
      gaps: [],
    }
  }
}

const engine = new Kit()
Object.assign(globalThis, { kit: engine })
mount(engine, takeFragment())
