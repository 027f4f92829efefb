/**
 * Times as people on this computer read them: local days, days of 23 and 25 hours, ticks of a timeline.
 *
 * What does not belong: reading what somebody typed (asked.ts), words (words/). Invariants: inside the page an instant
 * is milliseconds since 1970 in UTC; a local time that exists twice or not at all is never silently taken for one
 * instant.
 */

import { language } from './prefs.js'

export const SECOND = 1_000
export const MINUTE = 60 * SECOND
export const HOUR = 60 * MINUTE
export const DAY = 24 * HOUR

/** Milliseconds of the engine's nanoseconds. */
export const ms = (utc: bigint): number => Number(utc / 1_000_000n)
/** The engine's nanoseconds. */
export const utc = (at: number): bigint => BigInt(Math.round(at)) * 1_000_000n

/** The zone that times are shown in: the one of this computer. */
export const zone = (): string => Intl.DateTimeFormat().resolvedOptions().timeZone

/** What local clocks are ahead of UTC at an instant. */
const offset = (at: number): number => -new Date(at).getTimezoneOffset() * MINUTE

export interface Local {
  readonly year: number
  /** 1 to 12. */
  readonly month: number
  readonly day: number
  readonly hour: number
  readonly minute: number
  readonly second: number
}

export function local(at: number): Local {
  const date = new Date(at)
  return {
    year: date.getFullYear(),
    month: date.getMonth() + 1,
    day: date.getDate(),
    hour: date.getHours(),
    minute: date.getMinutes(),
    second: date.getSeconds(),
  }
}

/** The instants at which local clocks show this: none, one or two, ascending. */
export function instants(when: Local): number[] {
  const naive = Date.UTC(when.year, when.month - 1, when.day, when.hour, when.minute, when.second)
  const offsets = new Set([offset(naive - DAY), offset(naive + DAY), offset(naive - offset(naive))])
  return [...offsets]
    .map(ahead => naive - ahead)
    .filter(at => naive - at === offset(at))
    .sort((a, b) => a - b)
}

/** Whether local clocks show at another instant what they show at this one. */
export const twice = (at: number): boolean => instants(local(at)).length > 1

/** First instant of the local day that is `days` after the one of `at`. */
export function dayStart(at: number, days = 0): number {
  const date = new Date(at)
  return new Date(date.getFullYear(), date.getMonth(), date.getDate() + days).getTime()
}

const formatters = new Map<string, Intl.DateTimeFormat>()

function formatter(name: string, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const locale = language() === 'de' ? 'de-DE' : 'en-GB'
  const key = `${locale} ${name}`
  let found = formatters.get(key)
  if (!found) {
    found = new Intl.DateTimeFormat(locale, options)
    formatters.set(key, found)
  }
  return found
}

const HOURS = { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' } as const

/** `02:13:05`; with the zone's name where that time exists twice. */
export const clock = (at: number): string =>
  twice(at)
    ? formatter('clock zone', { ...HOURS, second: '2-digit', timeZoneName: 'short' }).format(at)
    : formatter('clock', { ...HOURS, second: '2-digit' }).format(at)

/** `02:13`. */
export const shortClock = (at: number): string =>
  twice(at)
    ? formatter('short zone', { ...HOURS, timeZoneName: 'short' }).format(at)
    : formatter('short', HOURS).format(at)

/** `Fr., 27.11.`. */
export const day = (at: number): string =>
  formatter('day', { weekday: 'short', day: '2-digit', month: '2-digit' }).format(at)

/** `Freitag, 27. November 2026`. */
export const longDay = (at: number): string =>
  formatter('long day', { weekday: 'long', day: 'numeric', month: 'long', year: 'numeric' }).format(at)

/** `November 2026`. */
export const month = (at: number): string => formatter('month', { month: 'long', year: 'numeric' }).format(at)

/** `27.11.2026, 02:13`. */
export const dateTime = (at: number): string =>
  formatter('date time', {
    day: '2-digit',
    month: '2-digit',
    year: 'numeric',
    ...HOURS,
    ...(twice(at) ? { timeZoneName: 'short' } : {}),
  }).format(at)

/** `Fr., 27.11., 02:13:05 MEZ`: leaves nothing open. */
export const exact = (at: number): string =>
  formatter('exact', {
    weekday: 'short',
    day: '2-digit',
    month: '2-digit',
    year: 'numeric',
    ...HOURS,
    second: '2-digit',
    timeZoneName: 'short',
  }).format(at)

/** The seven days of a week, from Monday, shortened. */
export const weekdays = (): string[] =>
  Array.from({ length: 7 }, (_, at) => formatter('weekday', { weekday: 'short' }).format(new Date(2024, 0, 1 + at)))

/** Time of day alone where `at` is today, else day and time. */
export const since = (at: number, now: number): string =>
  dayStart(at) === dayStart(now) ? clock(at) : `${day(at)} ${shortClock(at)}`

/** A length: `45 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`. */
export function span(length: number): string {
  const seconds = Math.max(0, Math.round(length / SECOND))
  const two = (large: number, unit: string, small: number, smaller: string): string =>
    small > 0 ? `${large} ${unit} ${small} ${smaller}` : `${large} ${unit}`
  if (seconds < 60) return `${seconds} s`
  if (seconds < 3600) return two(Math.floor(seconds / 60), 'min', seconds % 60, 's')
  const minutes = Math.round(seconds / 60)
  if (minutes < 48 * 60) return two(Math.floor(minutes / 60), 'h', minutes % 60, 'min')
  const hours = Math.round(minutes / 60)
  return two(Math.floor(hours / 24), language() === 'de' ? 'T' : 'd', hours % 24, 'h')
}

export interface Tick {
  readonly at: number
  readonly label: string
  /** A day begins here. */
  readonly major: boolean
}

/** Minutes between ticks, from fine to coarse. */
const STEPS_MIN = [1, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440]

/**
 * Ticks of a stretch, at most `most`. Counted in hours that pass, labelled as clocks show them: the night in which
 * clocks go back has 02:00 twice, each with its zone, and the one in which they go on has none.
 */
export function ticks(from: number, until: number, most: number): Tick[] {
  const wanted = (until - from) / Math.max(1, most)
  const step = (STEPS_MIN.find(minutes => minutes * MINUTE >= wanted) ?? 1440) * MINUTE
  const out: Tick[] = []
  // Local hours lie on quarters of UTC hours everywhere.
  const stride = Math.min(step, HOUR)
  const first = Math.ceil((from + offset(from)) / stride) * stride - offset(from)
  for (let at = first; at < until; at += stride) {
    const { hour, minute } = local(at)
    const ofDay = hour * HOUR + minute * MINUTE
    if (ofDay % step !== 0) continue
    const major = ofDay === 0
    out.push({ at, label: major ? day(at) : shortClock(at), major })
  }
  return out
}
