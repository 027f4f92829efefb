/**
 * To a time: a field that reads what people write, the calendar, and the hours of last night.
 *
 * Invariant: what the field understood stands under it before anything happens; a time that exists twice is chosen, not
 * guessed.
 */

import { useEffect, useId, useRef, useState } from 'preact/hooks'
import { asked, type Asked } from '../lib/asked.js'
import { useStore } from '../lib/store.js'
import { day, dayStart, exact, HOUR, instants, local, MINUTE, shortClock, zone } from '../lib/time.js'
import { t } from '../lib/words.js'
import { Button } from '../ui/controls.js'
import { announce } from '../ui/announce.js'
import { Calendar } from './calendar.js'
import { view } from './view.js'

/** The hours of the last night that have passed: 22:00 of yesterday to 06:00. */
export function lastNight(now: number): number[] {
  const [before, today] = [dayStart(now, -1), dayStart(now)]
  return (
    [
      [before, 22],
      [today, 0],
      [today, 2],
      [today, 4],
    ] as const
  )
    .map(([start, hour]) => instants({ ...local(start), hour, minute: 0, second: 0 })[0] ?? start + hour * HOUR)
    .filter(at => at < now - MINUTE)
}

export function Jump(props: {
  now: number
  onTime: (at: number) => void
  onLive: () => void
  /** Shown in the calendar's name. */
  at?: number
}) {
  const { now } = props
  const chosen = useStore(view).day
  const [text, type] = useState('')
  const [tried, attempt] = useState(false)
  const [calendar, open] = useState(false)
  const field = useRef<HTMLInputElement>(null)
  const id = useId()
  const understood = text.trim() === '' ? undefined : asked(text, now, chosen)
  const wrong = tried && understood && fault(understood, now)

  useEffect(() => {
    const listener = (event: KeyboardEvent) => {
      if (event.key.toLowerCase() !== 'g' && event.key !== '/') return
      if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return
      if (event.target instanceof HTMLInputElement || event.target instanceof HTMLTextAreaElement) return
      if (document.querySelector('dialog[open]')) return
      event.preventDefault()
      field.current?.focus()
      field.current?.select()
    }
    document.addEventListener('keydown', listener)
    return () => document.removeEventListener('keydown', listener)
  }, [])

  const take = (at: number) => {
    type('')
    attempt(false)
    announce(exact(at))
    field.current?.blur()
    props.onTime(at)
  }
  const submit = () => {
    attempt(true)
    if (!understood || fault(understood, now)) return
    if (understood.is === 'live') {
      type('')
      props.onLive()
    } else if (understood.is === 'time' && understood.other === undefined) take(understood.at)
  }
  return (
    <div class="jump">
      <form
        class="jump-form"
        role="search"
        aria-label={t('jump.field')}
        onSubmit={event => {
          event.preventDefault()
          submit()
        }}
      >
        <label class="unseen" for={id}>
          {t('jump.field')}
        </label>
        <input
          ref={field}
          id={id}
          class="input"
          value={text}
          placeholder={t('jump.placeholder')}
          title={t('jump.zone', { zone: zone() })}
          autocomplete="off"
          spellcheck={false}
          enterkeyhint="go"
          aria-describedby={`${id}-said`}
          aria-invalid={wrong ? 'true' : undefined}
          onInput={event => {
            type(event.currentTarget.value)
            attempt(false)
          }}
          onKeyDown={event => {
            if (event.key !== 'Escape') return
            event.stopPropagation()
            type('')
            event.currentTarget.blur()
          }}
        />
        <Button type="submit" class={text ? 'main' : ''}>
          {t('jump.go')}
        </Button>
        <div id={`${id}-said`} class={`jump-said ${wrong ? 'wrong' : ''}`} role="status" hidden={!understood}>
          {understood?.is === 'time' && understood.other !== undefined ? (
            <span class="row">
              {t('jump.twice')}
              {[understood.at, understood.other].map(at => (
                <Button key={at} small onClick={() => take(at)}>
                  {exact(at)}
                </Button>
              ))}
            </span>
          ) : (
            understood &&
            (fault(understood, now, !tried) ??
              (understood.is === 'live'
                ? t('jump.live')
                : understood.is === 'time'
                  ? t('jump.preview', { at: exact(understood.at) })
                  : '…'))
          )}
        </div>
      </form>
      <Button icon="calendar" aria-haspopup="dialog" onClick={() => open(true)}>
        {chosen === undefined ? day(props.at ?? now) : day(chosen)}
      </Button>
      <div class="row nowrap night" role="group" aria-label={t('jump.night')}>
        <span class="quiet nowrap night-name">{t('jump.night')}</span>
        {lastNight(now).map(at => (
          <Button key={at} small onClick={() => take(at)}>
            {shortClock(at)}
          </Button>
        ))}
      </div>
      {calendar && (
        <Calendar
          at={chosen ?? props.at ?? now}
          now={now}
          onClose={() => open(false)}
          onDay={start => {
            open(false)
            view.set({ day: start })
            // The same time of day as is shown now, on that day.
            const shown = local(props.at ?? now)
            const on = local(start)
            const [at] = instants({ ...on, hour: shown.hour, minute: shown.minute, second: shown.second })
            take(Math.min(at ?? start, now - 10_000))
          }}
        />
      )}
    </div>
  )
}

/** Why what was understood cannot be shown. While somebody still types, half a time is no fault. */
function fault(understood: Asked, now: number, typing = false): string | undefined {
  if (understood.is === 'unreadable') return typing ? undefined : t('jump.unreadable')
  if (understood.is === 'skipped') return t('jump.skipped')
  if (understood.is === 'time' && understood.at > now) return t('jump.future')
  return undefined
}
