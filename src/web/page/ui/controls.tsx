/**
 * The small parts that every page is made of: buttons, fields, notes, words of a key, progress.
 *
 * What does not belong: what a page does. Invariants: every field has a label, every error is tied to its field, a
 * button that only shows an icon has a name.
 */

import type { ComponentChildren, JSX } from 'preact'
import { useEffect, useId, useRef, useState } from 'preact/hooks'
import { plain, remedy } from '../lib/trouble.js'
import { span } from '../lib/time.js'
import { t } from '../lib/words.js'
import { Icon, type IconName } from './icons.js'

type ButtonProps = JSX.IntrinsicElements['button'] & {
  icon?: IconName
  /** Shows the icon alone; the children are its name. */
  bare?: boolean
  kind?: 'main' | 'danger' | 'quiet'
  small?: boolean
  busy?: boolean
}

export function Button({ icon, bare, kind, small, busy, children, class: of, ...rest }: ButtonProps) {
  const look = ['button', kind === 'quiet' ? 'bare' : kind, small && 'small', bare && 'icon', of]
    .filter(Boolean)
    .join(' ')
  const name = bare && typeof children === 'string' ? { 'aria-label': children, title: children } : {}
  return (
    <button type="button" class={look} {...name} {...rest} aria-busy={busy ? 'true' : undefined}>
      {busy ? <Icon name="spin" class="spinner" size={18} /> : icon && <Icon name={icon} size={bare ? 20 : 18} />}
      {!bare && children}
    </button>
  )
}

interface FieldProps {
  label: string
  value: string
  onValue: (value: string) => void
  hint?: ComponentChildren
  error?: string | undefined
  area?: boolean
  /** Takes the focus when it appears. */
  first?: boolean
  class?: string
  type?: 'text' | 'password' | 'datetime-local' | 'time'
  name?: string
  autocomplete?: string
  autocapitalize?: 'none' | 'characters'
  spellcheck?: boolean
  required?: boolean
  maxLength?: number
  inputMode?: 'numeric'
  lang?: string
}

/** A labelled field of text. */
export function Field({ label, value, onValue, hint, error, area, first, class: of, ...rest }: FieldProps) {
  const id = useId()
  const about = [hint ? `${id}-hint` : '', error ? `${id}-error` : ''].filter(Boolean).join(' ')
  const field = useRef<HTMLInputElement & HTMLTextAreaElement>(null)
  useEffect(() => {
    if (first) field.current?.focus()
  }, [])
  const props = {
    id,
    ref: field,
    class: of ?? 'input',
    value,
    ...(about ? { 'aria-describedby': about } : {}),
    ...(error ? { 'aria-invalid': 'true' as const } : {}),
    onInput: (event: { currentTarget: { value: string } }) => onValue(event.currentTarget.value),
  }
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {area ? (
        <textarea {...props} required={rest.required ?? false} maxLength={rest.maxLength ?? 2000} />
      ) : (
        <input {...rest} {...props} type={(rest.type ?? 'text') as 'text'} />
      )}
      {hint && (
        <div class="hint" id={`${id}-hint`}>
          {hint}
        </div>
      )}
      {error && <FieldError id={`${id}-error`}>{error}</FieldError>}
    </div>
  )
}

export const FieldError = ({ id, children }: { id?: string; children: ComponentChildren }) => (
  <div class="error" id={id}>
    <Icon name="warn" size={18} />
    <span>{children}</span>
  </div>
)

/** A labelled choice from a list. */
export function Select<V extends string>(props: {
  label: string
  value: V
  onValue: (value: V) => void
  options: readonly (readonly [V, string])[]
  hint?: ComponentChildren
}) {
  const id = useId()
  return (
    <div class="field">
      <label for={id}>{props.label}</label>
      <select
        id={id}
        class="input"
        value={props.value}
        aria-describedby={props.hint ? `${id}-hint` : undefined}
        onChange={event => props.onValue(event.currentTarget.value as V)}
      >
        {props.options.map(([value, text]) => (
          <option key={value} value={value} selected={value === props.value}>
            {text}
          </option>
        ))}
      </select>
      {props.hint && (
        <div class="hint" id={`${id}-hint`}>
          {props.hint}
        </div>
      )}
    </div>
  )
}

/** A box to tick. */
export const Check = (props: {
  checked: boolean
  onValue: (on: boolean) => void
  disabled?: boolean
  children: ComponentChildren
}) => (
  <label class="choice">
    <input
      type="checkbox"
      checked={props.checked}
      disabled={props.disabled}
      onChange={event => props.onValue(event.currentTarget.checked)}
    />
    <span>{props.children}</span>
  </label>
)

type Tone = 'info' | 'warn' | 'bad'
const SIGNS: Record<Tone, IconName> = { info: 'info', warn: 'warn', bad: 'bad' }

/** Something to know. `urgent` is read out at once. */
export const Note = (props: { tone?: Tone; title?: string; urgent?: boolean; children?: ComponentChildren }) => (
  <div class={`note ${props.tone ?? 'info'}`} role={props.urgent ? 'alert' : undefined}>
    <Icon name={SIGNS[props.tone ?? 'info']} size={22} />
    <div>
      {props.title && <strong>{props.title}</strong>}
      {props.children}
    </div>
  </div>
)

/** What went wrong and what helps; the appliance's own words below. */
export function Trouble({ error, again }: { error: unknown; again?: () => void }) {
  if (error === undefined || error === null) return null
  const { title, detail, code, retry } = plain(error)
  const help = remedy(code)
  return (
    <Note tone="bad" title={title} urgent>
      {help && <p>{help}</p>}
      {retry !== undefined && <p>{t('trouble.retry', { span: span(retry) })}</p>}
      {detail && detail !== title && <p class="hint">{t('trouble.said', { detail })}</p>}
      {again && (
        <p>
          <Button small icon="refresh" onClick={again}>
            {t('again')}
          </Button>
        </p>
      )}
    </Note>
  )
}

/** A state in words with a sign. */
export const Sign = (props: { tone: 'good' | 'warn' | 'bad' | 'none'; children: ComponentChildren }) => (
  <span class={`state ${props.tone}`}>
    <Icon name={props.tone === 'good' ? 'check' : props.tone === 'none' ? 'info' : props.tone} size={18} />
    <span>{props.children}</span>
  </span>
)

/** Ten words of a key, to compare aloud. */
export const Words = ({ words, small, label }: { words: readonly string[]; small?: boolean; label?: string }) => (
  <ol class={small ? 'words small' : 'words'} aria-label={label ?? t('words.label')} lang="en">
    {words.map((word, at) => (
      <li key={at} title={word}>
        {word}
      </li>
    ))}
  </ol>
)

/** Says that something goes on, once it takes longer than a moment. */
export function Busy({ text }: { text?: string }) {
  const [shown, show] = useState(false)
  useEffect(() => {
    const timer = setTimeout(() => show(true), 250)
    return () => clearTimeout(timer)
  }, [])
  return (
    <div class="row busy" role="status">
      {shown && <Icon name="spin" class="spinner" />}
      {shown && <span>{text ?? t('loading')}</span>}
    </div>
  )
}

export function ProgressBar({
  label,
  done,
  total,
  detail,
}: {
  label: string
  done: number
  total: number
  detail?: string
}) {
  const id = useId()
  const share = total > 0 ? Math.min(100, Math.floor((done / total) * 100)) : undefined
  return (
    <div class="progress">
      <div class="row apart">
        <span id={id}>{label}</span>
        <span class="figures">{share === undefined ? '' : `${share} %`}</span>
      </div>
      <progress aria-labelledby={id} max={100} value={share} />
      {detail && <div class="hint figures">{detail}</div>}
    </div>
  )
}
