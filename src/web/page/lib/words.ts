/**
 * The texts of the page: `t('key', { n: 2 })`. Each key has German and English side by side, so that none can be
 * missing.
 *
 * A text with `|` has one form for one and one for many, chosen by `n`. What does not belong: the texts (words/).
 */

import { audit } from '../words/audit.js'
import { common } from '../words/common.js'
import { custody } from '../words/custody.js'
import { entry } from '../words/entry.js'
import { people } from '../words/people.js'
import { trouble } from '../words/trouble.js'
import { viewer } from '../words/viewer.js'
import { language } from './prefs.js'

/** German, English. */
export type Pair = readonly [string, string]

export const all = { ...common, ...entry, ...viewer, ...people, ...custody, ...audit, ...trouble } satisfies Record<
  string,
  Pair
>

export type Key = keyof typeof all

export function t(key: Key, values: Readonly<Record<string, string | number>> = {}): string {
  const pair: Pair = all[key]
  const text = pair[language() === 'de' ? 0 : 1]
  const forms = text.split('|')
  const form = forms.length === 2 && values['n'] !== 1 ? forms[1]! : forms[0]!
  return form.replace(/\{(\w+)\}/g, (whole, name: string) => (name in values ? String(values[name]) : whole))
}

/** A key that is put together at run time, where there is one. */
export const maybe = (key: string): string | undefined => (Object.hasOwn(all, key) ? t(key as Key) : undefined)

/** A count in the language's digits. */
export const count = (value: number | bigint): string => value.toLocaleString(language() === 'de' ? 'de-DE' : 'en-GB')

/** Bytes as people read them. */
export function bytes(value: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  let at = 0
  let left = value
  while (left >= 1000 && at < units.length - 1) {
    left /= 1000
    at++
  }
  const digits = left < 10 && at > 0 ? 1 : 0
  return `${left.toLocaleString(language() === 'de' ? 'de-DE' : 'en-GB', { maximumFractionDigits: digits })} ${units[at]}`
}
