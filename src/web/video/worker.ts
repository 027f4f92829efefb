/**
 * Entry of the worker: holds the keys, answers the page's calls.
 *
 * What does not belong: the document, players. Invariants: keys, passwords and codes leave this thread in no message; one
 * person is in at a time; a lock, an end or a logout here or in another page of this browser wipes keys in memory and storage.
 *
 * ```text
 *  out ── login, recover ──▶ working ──▶ in ⇄ away
 *   ▲ enrol (stays out)                   │ logout ▶ out · 423 ▶ locked · 401 ▶ ended (keys wiped)
 *   └──────────── F5: the opened key is here ──▶ working ──▶ in
 * ```
 */

import { hpke, words } from '../crypto/index.js'
import type { Appliance, State } from '../facade.js'
import { enrol, fold, hello, login, recover, setLogin, type Entered } from '../session/door.js'
import { EngineError, refuse } from '../session/errors.js'
import { published } from '../session/http.js'
import type { StoredSession, Watcher } from '../session/session.js'
import { Store } from '../session/store.js'
import type { CallMessage, Calls, WorkerMessage } from './calls.js'
import { Inside } from './inside.js'

/** The part of the worker's global scope that is used; the DOM types know the page's only. */
interface Scope {
  postMessage(message: WorkerMessage, transfer?: Transferable[]): void
  onmessage: ((event: MessageEvent<CallMessage>) => void) | null
}

const scope = self as unknown as Scope
/** How long nothing may answer before the page says so: a connection that breaks is made anew at once. */
const AWAY_MS = 1_500
/** Pause before a page that came back asks again for an appliance that does not answer. */
const AGAIN_MS = 3_000

let store: Promise<Store> | undefined
let inside: Inside | undefined
let silent: ReturnType<typeof setTimeout> | undefined
let state: State = { at: 'working', text: 'starting' }
const others = new BroadcastChannel('peri')

const kept = (): Promise<Store> => (store ??= Store.open())
const tell = (message: WorkerMessage, transfer: Transferable[] = []): void => scope.postMessage(message, transfer)

function become(next: State): void {
  state = next
  tell({ event: 'state', value: next })
}

async function out(): Promise<void> {
  become({ at: 'out', known: await (await kept()).known() })
}

/** What pages of this browser tell each other. */
type Told = { readonly what: 'entered'; readonly name: string } | { readonly what: 'left'; readonly next: State | undefined }

const spread = (told: Told): void => others.postMessage(told)

/** Wipes keys in memory and storage; other pages of this browser do the same. */
async function leave(goodbye: boolean, next: State | undefined): Promise<void> {
  const [was, wasIn] = [inside, state.at === 'in' || state.at === 'away']
  inside = undefined
  if (next) become(next)
  const held = await kept().catch(() => undefined)
  await held?.leave().catch(() => undefined)
  if (wasIn) spread({ what: 'left', next })
  await was?.leave(goodbye)
}

others.onmessage = ({ data }: MessageEvent<Told>) => {
  if (data.what === 'entered' && inside?.name === data.name) return
  if (data.what === 'entered' && !inside && state.at !== 'working') {
    // Somebody got in by another page: so does this one.
    void comeBack().catch(() => undefined)
    return
  }
  const was = inside
  if (!was) return
  inside = undefined
  void was.leave(false)
  if (data.what === 'entered') become({ at: 'ended', reason: `${data.name} logged in in another window of this browser` })
  else if (data.next) become(data.next)
  else void out()
}

/** What a session tells of whoever is in. */
function watcher(name: string): Watcher {
  return {
    locked: reason => void leave(false, { at: 'locked', reason }),
    ended: reason => void leave(false, { at: 'ended', reason }),
    reached(yes) {
      if (yes) {
        clearTimeout(silent)
        silent = undefined
        if (inside && state.at === 'away') become({ at: 'in', name })
        return
      }
      if (state.at !== 'in') return
      const since = Date.now()
      silent ??= setTimeout(() => {
        silent = undefined
        if (inside && state.at === 'in') become({ at: 'away', since, name })
      }, AWAY_MS)
    },
    keep: stored => void kept().then(held => held.keepSession(name, stored)).catch(() => undefined),
  }
}

/** Goes in with an opened key; the house is read when this is through. */
async function goIn(entered: Entered, stored?: StoredSession): Promise<void> {
  const { name, pair } = entered
  const appliance = await hello()
  const told = (house: Parameters<ConstructorParameters<typeof Inside>[5]>[0]): void => tell({ event: 'house', value: house })
  const next = new Inside(await kept(), name, pair, appliance, watcher(name), told, stored)
  const before = inside
  inside = next
  await before?.leave(true)
  await next.session.ready()
  await next.read()
  if (inside === next) become({ at: 'in', name })
}

/** Runs what lets somebody in; a failure leaves everybody out, and wipes what was kept unless it is the only copy. */
async function letIn(text: string, run: (held: Store) => Promise<Entered>, only = (): boolean => false): Promise<void> {
  const held = await kept()
  become({ at: 'working', text })
  try {
    const entered = await run(held)
    await held.enter(entered.name, entered.account, entered.pair)
    become({ at: 'working', text: 'opening the session' })
    await goIn(entered)
    spread({ what: 'entered', name: entered.name })
  } catch (error) {
    const was = inside
    inside = undefined
    await was?.leave(false)
    if (!only()) await held.leave().catch(() => undefined)
    await out()
    throw error
  }
}

/** After a reload: goes back in without a password, if an opened key is here. */
async function comeBack(): Promise<void> {
  const held = await kept()
  const me = await held.inside().catch(() => undefined)
  if (!me) return out()
  const { name } = me
  become({ at: 'working', text: 'coming back' })
  for (;;) {
    try {
      await goIn(me, me.session)
      return
    } catch (error) {
      const failed = EngineError.from(error)
      // What the watcher said already stands.
      const said: State['at'] = state.at
      if (said === 'locked' || said === 'ended' || said === 'out') return
      if (failed.code !== 'unreachable' && failed.status !== 503) {
        return leave(false, { at: 'ended', reason: failed.message })
      }
      if (said !== 'away') become({ at: 'away', since: Date.now(), name })
      await new Promise(resolve => setTimeout(resolve, AGAIN_MS))
      if ((await held.inside().catch(() => undefined)) === undefined) return out()
    }
  }
}

function me(): Inside {
  if (!inside) throw refuse('not_in', 'Not logged in', 'log in first')
  return inside
}

const calls: { [C in keyof Calls]: (...args: Parameters<Calls[C]>) => Promise<ReturnType<Calls[C]>> } = {
  async start() {
    void hpke.provider()
    // Who comes back does not keep the page waiting.
    void comeBack().catch(async (error: unknown) => become({ at: 'ended', reason: EngineError.from(error).message }))
  },
  async appliance() {
    const said = await published()
    const text = (name: string): string => (typeof said[name] === 'string' ? said[name] : '')
    const fields = { vm: text('vm'), provisioning: text('provisioning'), tls_key: text('tls_key') }
    return { ...fields, ca: text('ca'), page: text('page'), claimed: said['claimed'] === true } satisfies Appliance
  },
  async knownDevice(name) {
    return (await (await kept()).deviceSecret(fold(name))) !== undefined
  },
  login: (name, password) => letIn('stretching the password', held => login(held, name, password)),
  async recover(name, code, password) {
    let made: string | undefined
    let failed: unknown
    let key: readonly string[] = []
    const run = async (held: Store): Promise<Entered> => {
      const entered = await recover(held, name, code, password)
      key = words(entered.pair.fingerprint)
      try {
        const { vm } = await hello()
        made = await setLogin(held, vm, entered.pair, entered.name, password, true)
      } catch (error) {
        failed = error
      }
      return entered
    }
    try {
      await letIn('checking the recovery code', run, () => failed !== undefined)
    } catch (error) {
      // The next code must reach the person, whatever follows.
      if (made === undefined) throw error
    }
    if (made !== undefined) return { words: key, code: made }
    const why = EngineError.from(failed).message
    const detail = `the old code is spent, your key is in this browser, but its login could not be set anew (${why}); print a new sheet now, before you log out`
    throw refuse('login_not_set', 'No new sheet yet', detail)
  },
  async enrol(fragment, name, password) {
    const made = await enrol(await kept(), fragment, name, password)
    // This browser knows one login more.
    if (state.at === 'out') await out()
    return made
  },
  async changePassword(password) {
    const { vm, pair, name } = me()
    await setLogin(await kept(), vm, pair, name, password, false)
  },
  async newSheet(password) {
    const { vm, pair, name } = me()
    const code = await setLogin(await kept(), vm, pair, name, password, true)
    return { words: words(pair.fingerprint), code: code! }
  },
  async logout() {
    await leave(true, undefined)
    await out()
  },
  async forgetDevice(name) {
    await (await kept()).forgetDevice(fold(name))
    if (state.at === 'out') await out()
  },
  house: async () => (await me().read()).house,
  health: () => me().health(),
  ledger: from => me().ledger(from),
  invite: (whom, days) => me().people.invite(whom, days),
  invitation: id => me().people.invitation(id),
  invitations: () => me().people.invitations(),
  withdraw: id => me().people.withdraw(id),
  proposals: () => me().people.proposals(),
  propose: draft => me().people.propose(draft),
  sign: id => me().people.sign(id),
  submit: id => me().people.submit(id),
  timeline: (camera, from, until) => me().timeline(camera, from, until),
  thumbnail: (camera, at, width) => me().thumbnail(camera, at, width),
  export: (job, camera, from, until, purpose) =>
    me().export(job, camera, from, until, purpose, progress => tell({ job, progress })),
  async stop(job) {
    inside?.stop(job)
  },
  async live(job, camera, origin) {
    me().watch(job, camera, origin, (event, transfer) => tell({ job, live: event }, transfer))
  },
  load: (job, ask) => me().load(job, ask),
}

/** What is handed over rather than copied. */
function transfers(call: keyof Calls, value: unknown): Transferable[] {
  if (call === 'thumbnail') return [(value as ReturnType<Calls['thumbnail']>).image]
  if (call === 'load') return (value as ReturnType<Calls['load']>).parts.map(part => part.data.buffer)
  return []
}

scope.onmessage = ({ data: { id, call, args } }) => {
  const run = calls[call] as (...args: readonly unknown[]) => Promise<unknown>
  new Promise(resolve => resolve(run(...args))).then(
    value => tell({ id, ok: value }, transfers(call, value)),
    (error: unknown) => tell({ id, error: EngineError.from(error).problem() }),
  )
}

