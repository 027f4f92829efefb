/**
 * The calendar: one month as a grid for keyboard and finger. Arrows move by day and week, PageUp and PageDown by month.
 */

import { useEffect, useRef, useState } from 'preact/hooks'
import { useHouse } from '../lib/hooks.js'
import { dayStart, local, longDay, month, SECOND, weekdays } from '../lib/time.js'
import { t } from '../lib/words.js'
import { Button } from '../ui/controls.js'
import { Dialog } from '../ui/dialog.js'

export function Calendar(props: { at: number; now: number; onDay: (start: number) => void; onClose: () => void }) {
  const house = useHouse()
  const [shown, show] = useState(dayStart(props.at))
  const [moved, byKey] = useState(false)
  const grid = useRef<HTMLTableElement>(null)
  const today = dayStart(props.now)
  const oldest = dayStart(props.now - house.retentionSecs * SECOND)
  const { year, month: of } = local(shown)
  const first = new Date(year, of - 1, 1)
  const before = (first.getDay() + 6) % 7
  const weeks = Math.ceil((before + new Date(year, of, 0).getDate()) / 7)
  const names = weekdays()
  useEffect(() => {
    if (moved) grid.current?.querySelector<HTMLElement>('[tabindex="0"]')?.focus()
  }, [shown, moved])

  const month_ = (step: number) => {
    const last = new Date(year, of + step, 0).getDate()
    show(Math.min(today, new Date(year, of - 1 + step, Math.min(local(shown).day, last)).getTime()))
  }
  const onKeyDown = (event: KeyboardEvent) => {
    const steps: Record<string, number> = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -7, ArrowDown: 7 }
    const step = steps[event.key]
    if (step !== undefined) show(Math.min(today, dayStart(shown, step)))
    else if (event.key === 'PageUp') month_(-1)
    else if (event.key === 'PageDown') month_(1)
    else return
    event.preventDefault()
    byKey(true)
  }
  return (
    <Dialog title={t('calendar.title')} onClose={props.onClose}>
      <div class="row apart">
        <Button icon="back" bare onClick={() => month_(-1)}>
          {t('calendar.before')}
        </Button>
        <strong aria-live="polite">{month(shown)}</strong>
        <Button icon="forth" bare disabled={new Date(year, of, 1).getTime() > today} onClick={() => month_(1)}>
          {t('calendar.after')}
        </Button>
      </div>
      <table class="calendar" role="grid" ref={grid} aria-label={month(shown)} onKeyDown={onKeyDown}>
        <thead>
          <tr>
            {names.map(name => (
              <th key={name} scope="col">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {Array.from({ length: weeks }, (_, week) => (
            <tr key={week}>
              {Array.from({ length: 7 }, (_, column) => {
                const date = new Date(year, of - 1, 1 + week * 7 + column - before)
                const start = date.getTime()
                if (date.getMonth() !== of - 1) return <td key={column} />
                const kept = start >= oldest && start <= today
                return (
                  <td key={column} aria-selected={start === shown}>
                    <button
                      type="button"
                      class={kept ? 'day kept' : 'day'}
                      tabIndex={start === shown ? 0 : -1}
                      disabled={start > today}
                      aria-label={`${longDay(start)}${kept || start > today ? '' : `, ${t('calendar.gone')}`}`}
                      aria-current={start === today ? 'date' : undefined}
                      onClick={() => props.onDay(start)}
                    >
                      {date.getDate()}
                    </button>
                  </td>
                )
              })}
            </tr>
          ))}
        </tbody>
      </table>
      <div class="row apart">
        <span class="hint">{t('calendar.kept')}</span>
        <Button small onClick={() => props.onDay(today)}>
          {t('calendar.today')}
        </Button>
      </div>
    </Dialog>
  )
}
