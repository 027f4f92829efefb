/**
 * Times as people type them into the jump field: `02:13`, `2:13:05`, `gestern 22:00`, `yesterday 22`, `Mo 7:30`,
 * `27.11. 02:13`, ISO 8601, `jetzt`, `-10m`. German and English at once, whatever language the page shows.
 *
 * Invariants: a time of day alone means its latest passing before now, or the chosen day where one was chosen; what
 * exists twice comes back as two instants, what does not exist is said, and nothing is guessed silently.
 */

import { DAY, dayStart, HOUR, instants, local, MINUTE, SECOND, type Local } from './time.js'

export type Asked =
  /** One instant, or two when the clocks were set back. */
  | { readonly is: 'time'; readonly at: number; readonly other?: number }
  | { readonly is: 'live' }
  /** Clocks were set on: this time of day was left out. */
  | { readonly is: 'skipped' }
  | { readonly is: 'unreadable' }

const UNREADABLE: Asked = { is: 'unreadable' }
const UNITS: Readonly<Record<string, number>> = { s: SECOND, m: MINUTE, min: MINUTE, h: HOUR, d: DAY, t: DAY }
const NAMED: Readonly<Record<string, number>> = {
  heute: 0,
  today: 0,
  gestern: -1,
  yesterday: -1,
  vorgestern: -2,
}
/** From Monday. */
const WEEK = [
  'mo|mon|montag|monday',
  'di|tue|dienstag|tuesday',
  'mi|wed|mittwoch|wednesday',
  'do|thu|donnerstag|thursday',
  'fr|fri|freitag|friday',
  'sa|sat|samstag|sonnabend|saturday',
  'so|sun|sonntag|sunday',
]

interface Clock {
  readonly hour: number
  readonly minute: number
  readonly second: number
}

/** `now`: this moment. `chosen`: an instant of the day that was chosen, if one was. */
export function asked(text: string, now: number, chosen?: number): Asked {
  const plain = text.trim().toLowerCase().replace(/\s+/g, ' ').replace(/ uhr$/, '')
  if (plain === '') return UNREADABLE
  if (['jetzt', 'now', 'live'].includes(plain)) return { is: 'live' }
  return ago(plain, now) ?? iso(text.trim(), now) ?? dated(plain, now, chosen) ?? UNREADABLE
}

/** `-10m`, `vor 10 min`, `10 min ago`. */
function ago(text: string, now: number): Asked | undefined {
  const found = /^(?:-|vor )(\d{1,5}) ?(s|m|min|h|d|t)$/.exec(text) ?? /^(\d{1,5}) ?(s|m|min|h|d) ago$/.exec(text)
  return found ? { is: 'time', at: now - Number(found[1]) * UNITS[found[2]!]! } : undefined
}

/** `2026-11-27T02:13:05+01:00`, also without a zone, seconds or `T`. */
function iso(text: string, now: number): Asked | undefined {
  const found = /^(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}):(\d{2})(?::(\d{2})(?:\.\d+)?)?)? ?(z|[+-]\d{2}:?\d{2})?$/i.exec(
    text,
  )
  if (!found) return undefined
  const [, year, month, date, hour = '0', minute = '0', second = '0', zone] = found
  const when = { year: +year!, month: +month!, day: +date!, hour: +hour, minute: +minute, second: +second }
  if (!exists(when)) return UNREADABLE
  if (zone === undefined) return known(when, now)
  const sign = zone.startsWith('-') ? -1 : 1
  const digits = zone.replace(/\D/g, '').padEnd(4, '0')
  const ahead = sign * (Number(digits.slice(0, 2)) * HOUR + Number(digits.slice(2)) * MINUTE)
  return {
    is: 'time',
    at: Date.UTC(when.year, when.month - 1, when.day, when.hour, when.minute, when.second) - ahead,
  }
}

function dated(text: string, now: number, chosen?: number): Asked | undefined {
  const words = text
    .replace(/^(am|on|um|at) /, '')
    .replace(/,/g, ' ')
    .split(' ')
    .filter(word => word !== '' && word !== 'um')
  const time = words.length > 0 ? clockOf(words[words.length - 1]!) : undefined
  const [first] = words
  if (first === undefined || words.length > 2) return undefined
  if (words.length === 1 && time) return ofDay(time, now, chosen)
  if (words.length === 2 && !time) return undefined
  const start = dayOf(first, now)
  if (start === undefined) return undefined
  return known({ ...local(start), ...(words.length === 2 ? time : undefined) }, now)
}

/** A time of day alone. */
function ofDay(time: Clock, now: number, chosen?: number): Asked {
  if (chosen !== undefined) return known({ ...local(chosen), ...time }, now)
  const today = known({ ...local(now), ...time }, now)
  if (today.is !== 'time' || today.at <= now) return today
  return known({ ...local(dayStart(now, -1)), ...time }, now)
}

/** `2:13`, `02:13:05`, `2h`, `0213`; an hour alone only behind a day. */
function clockOf(text: string): Clock | undefined {
  const found =
    /^(\d{1,2})[:.](\d{2})(?:[:.](\d{2}))?$/.exec(text) ??
    /^(\d{2})(\d{2})(\d{2})?$/.exec(text) ??
    /^(\d{1,2})h?$/.exec(text)
  if (!found) return undefined
  const [hour, minute, second] = [Number(found[1]), Number(found[2] ?? 0), Number(found[3] ?? 0)]
  return hour < 24 && minute < 60 && second < 60 ? { hour, minute, second } : undefined
}

/** The start of a day: a name, a weekday (the latest, today included), `27.11.` with or without a year. */
function dayOf(text: string, now: number): number | undefined {
  const named = NAMED[text]
  if (named !== undefined) return dayStart(now, named)
  const weekday = WEEK.findIndex(names => names.split('|').includes(text.replace(/\.$/, '')))
  if (weekday >= 0) {
    const today = (new Date(now).getDay() + 6) % 7
    return dayStart(now, -((today - weekday + 7) % 7))
  }
  const found = /^(\d{1,2})\.(\d{1,2})\.(\d{4}|\d{2})?$/.exec(text)
  if (!found) return undefined
  const [date, month] = [Number(found[1]), Number(found[2])]
  const given = found[3]
  const year = given === undefined ? local(now).year : given.length === 2 ? 2000 + Number(given) : Number(given)
  const when = { year, month, day: date, hour: 0, minute: 0, second: 0 }
  if (!exists(when)) return undefined
  const at = new Date(year, month - 1, date).getTime()
  return given === undefined && at > now ? new Date(year - 1, month - 1, date).getTime() : at
}

function exists({ year, month, day, hour, minute, second }: Local): boolean {
  const date = new Date(Date.UTC(year, month - 1, day))
  return date.getUTCMonth() === month - 1 && date.getUTCDate() === day && hour < 24 && minute < 60 && second < 60
}

function known(when: Local, now: number): Asked {
  const found = instants(when)
  const past = found.filter(at => at <= now)
  const [at, other] = past.length > 0 ? past : found
  if (at === undefined) return { is: 'skipped' }
  return other === undefined ? { is: 'time', at } : { is: 'time', at, other }
}
