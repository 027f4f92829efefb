/**
 * What a person looks at: cameras, live or a time, stretch of the timeline, marks. Kept while he logs in again after a
 * lock, and dropped when somebody else comes in.
 *
 * What does not belong: pictures; those live and die with the components that show them. Invariant: nothing of it is
 * stored.
 */

import { Store } from '../lib/store.js'
import { HOUR } from '../lib/time.js'

export interface View {
  /** Those that are open; empty on the wall. */
  readonly cameras: readonly string[]
  /** Those that are ticked on the wall. */
  readonly ticked: readonly string[]
  /** Whose coverage, previews and exports are meant. */
  readonly focus: string
  readonly mode: 'live' | 'past'
  readonly playing: boolean
  readonly rate: number
  /** Start of the visible stretch and its length. */
  readonly from: number
  readonly span: number
  /** An instant of the day that was chosen. */
  readonly day: number | undefined
  readonly markIn: number | undefined
  readonly markOut: number | undefined
  readonly strip: boolean
}

/** The time that is shown, apart because it moves ten times a second. */
export interface Head {
  readonly at: number
}

export const SPANS = [HOUR, 6 * HOUR, 24 * HOUR, 72 * HOUR] as const
/** Most cameras in step: decoders of ordinary computers. */
export const TOGETHER_MAX = 9

const fresh = (): View => ({
  cameras: [],
  ticked: [],
  focus: '',
  mode: 'live',
  playing: false,
  rate: 1,
  from: Date.now() - HOUR,
  span: HOUR,
  day: undefined,
  markIn: undefined,
  markOut: undefined,
  strip: false,
})

export const view = new Store<View>(fresh())
export const head = new Store<Head>({ at: Date.now() })

let owner: string | undefined

/** Whose view it is; another person gets a new one. */
export function claimView(name: string): void {
  if (owner !== undefined && owner !== name) view.set(fresh())
  owner = name
}

/** Whether a view waits for its person. */
export const viewOwner = (): string | undefined => owner

/** After a logout nothing waits. */
export function dropView(): void {
  owner = undefined
  view.set(fresh())
}

/** Moves the visible stretch so that `at` lies in it. */
export function follow(at: number): void {
  const { from, span } = view.value
  if (at < from + span * 0.04 || at > from + span * 0.96) view.set({ from: at - span / 2 })
}

/** Another length of the stretch, around what is shown. */
export function zoom(span: number, now: number): void {
  const { mode } = view.value
  view.set(mode === 'live' ? { span, from: now - span * 0.94 } : { span, from: head.value.at - span / 2 })
}

/** Goes to a time, in the past. */
export function past(at: number, playing: boolean): void {
  head.set({ at })
  view.set({ mode: 'past', playing })
  follow(at)
}
