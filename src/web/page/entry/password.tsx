/**
 * A new password, typed twice, with an honest hint of its strength. What does not belong: the password's use.
 *
 * Invariant: nothing is sent anywhere to judge it; the estimate only counts, so it says "good" late rather than early.
 */

import { useState } from 'preact/hooks'
import { t, type Key } from '../lib/words.js'
import { Check, Field } from '../ui/controls.js'

/** Fewest characters of a password that the page takes. */
export const PASSWORD_MIN = 12

const COMMON = /(passwor[td]|qwert|asdf|12345|abc|hallo|sommer|winter|peri|kamera|geheim|letmein|admin)/gi

/** 0 to 3; bits as if an attacker knew which kinds of characters were used and how often they repeat. */
export function strength(password: string): 0 | 1 | 2 | 3 {
  const rest = password.replace(COMMON, 'x')
  const distinct = new Set(rest).size
  const pools = [
    [/[a-zäöüß]/, 26],
    [/[A-ZÄÖÜ]/, 26],
    [/\d/, 10],
    [/[^\p{L}\d]/u, 20],
  ] as const
  const pool = pools.reduce((sum, [kind, size]) => sum + (kind.test(rest) ? size : 0), 0)
  // Words carry about 2 bits per letter, random characters log2(pool): take the mean, and no more than repetition allows.
  const each = Math.log2(Math.max(2, pool)) / 2
  const bits = Math.min(rest.length, distinct * 2) * each
  if (password.length < PASSWORD_MIN || bits < 30) return 0
  return bits < 42 ? 1 : bits < 60 ? 2 : 3
}

export function NewPassword(props: {
  first: string
  second: string
  onFirst: (value: string) => void
  onSecond: (value: string) => void
  tried: boolean
}) {
  const [shown, show] = useState(false)
  const { first, second } = props
  const level = strength(first)
  const left = PASSWORD_MIN - first.length
  const error = props.tried && left > 0 ? t('password.short', { n: left }) : undefined
  const type = shown ? 'text' : 'password'
  return (
    <>
      <Field
        label={t('password.new')}
        type={type}
        autocomplete="new-password"
        required
        value={first}
        onValue={props.onFirst}
        hint={t('password.hint')}
        error={error}
      />
      <div class="strength" data-level={first === '' ? undefined : level}>
        <span class="bars" aria-hidden="true">
          <i />
          <i />
          <i />
        </span>
        <span role="status">
          {first === '' || error ? '' : left > 0 ? t('password.short', { n: left }) : t(`password.${level}` as Key)}
        </span>
      </div>
      <Field
        label={t('password.twice')}
        type={type}
        autocomplete="new-password"
        required
        value={second}
        onValue={props.onSecond}
        error={
          (props.tried || second.length >= first.length) && second !== '' && first !== second
            ? t('password.differ')
            : undefined
        }
      />
      <Check checked={shown} onValue={show}>
        {t('login.show')}
      </Check>
    </>
  )
}

/** Whether the page takes it. */
export const acceptable = (first: string, second: string): boolean => first.length >= PASSWORD_MIN && first === second
