/** A new grant: for whom (with the ten words to compare), what, which cameras, how long, which hours. */

import { useId, useState } from 'preact/hooks'
import type { WeeklyHours } from '../../engine.js'
import { tell } from '../admin/proposed.js'
import { useAction, useEngine, useHouse } from '../lib/hooks.js'
import { roleName, tenWords } from '../lib/names.js'
import { DAY, HOUR, local, ms, utc, weekdays, zone } from '../lib/time.js'
import { t, type Key } from '../lib/words.js'
import { Button, Check, Field, FieldError, Note, Select, Trouble, Words } from '../ui/controls.js'
import { Dialog } from '../ui/dialog.js'

const WEEK_MINUTES = 7 * 24 * 60
const MONTH = 30 * DAY

/** For `<input type="datetime-local">`, which reads and gives local time. */
function localInput(at: number): string {
  const { year, month, day, hour, minute } = local(at)
  const two = (value: number) => String(value).padStart(2, '0')
  return `${year}-${two(month)}-${two(day)}T${two(hour)}:${two(minute)}`
}

const minuteOf = (text: string): number => {
  const [hour = 0, minute = 0] = text.split(':').map(Number)
  return hour * 60 + minute
}

/** Spans of the week, ascending and joined where they touch, as a statement takes them. */
export function weeklyHours(days: readonly boolean[], from: string, until: string, inZone: string): WeeklyHours {
  const [a, b] = [minuteOf(from), minuteOf(until)]
  const length = b > a ? b - a : 1440 - a + b
  const spans = days.flatMap((on, day) => {
    if (!on) return []
    const start = day * 1440 + a
    const end = start + length
    return end > WEEK_MINUTES
      ? [
          { from: start, until: WEEK_MINUTES },
          { from: 0, until: end - WEEK_MINUTES },
        ]
      : [{ from: start, until: end }]
  })
  const joined: { from: number; until: number }[] = []
  for (const each of spans.filter(one => one.until > one.from).sort((x, y) => x.from - y.from)) {
    const last = joined[joined.length - 1]
    if (last && each.from <= last.until) last.until = Math.max(last.until, each.until)
    else joined.push({ ...each })
  }
  return { zone: inZone, spans: joined }
}

export function NewGrant({ onClose }: { onClose: () => void }) {
  const engine = useEngine()
  const house = useHouse()
  const eligible = house.accounts.filter(
    account => account.state === 'in office' && ['viewer', 'external', 'technician'].includes(account.role),
  )
  const [account, choose] = useState(eligible[0]?.id ?? '')
  const [rights, allow] = useState({ live: true, playback: true, export: false })
  const [all, every] = useState(false)
  const [some, pick] = useState<readonly string[]>([])
  const now = ms(house.now)
  const [from, typeFrom] = useState(() => localInput(now))
  const [until, typeUntil] = useState(() => localInput(now + MONTH))
  const [hours, limit] = useState(false)
  const [days, chooseDays] = useState<readonly boolean[]>([true, true, true, true, true, false, false])
  const [start, typeStart] = useState('08:00')
  const [end, typeEnd] = useState('18:00')
  const [tried, attempt] = useState(false)
  const radio = useId()
  const [a, b] = [new Date(from).getTime(), new Date(until).getTime()]
  const faults = {
    rights: !rights.live && !rights.playback && !rights.export,
    cameras: !all && some.length === 0,
    time: !(b > a && b > Date.now()),
    weekly: hours && (!days.includes(true) || start === end || start === '' || end === ''),
  }
  const key = house.accounts.find(one => one.id === account)?.key
  const grant = useAction(async () => {
    // "From now" means from now, not from the minute that began before the proposal.
    const first = Math.abs(a - now) < HOUR && from === localInput(now) ? now : a
    const weekly = hours ? { weekly: weeklyHours(days, start, end, zone()) } : {}
    const fields = {
      account,
      rights,
      cameras: all ? ('all' as const) : [...some].sort(),
      from: utc(first),
      until: utc(b),
    }
    tell(await engine.propose({ kind: 'grant', ...fields, ...weekly }), t('proposals.accepted'))
    onClose()
    await engine.house()
  })
  if (eligible.length === 0) {
    return (
      <Dialog title={t('grants.new')} onClose={onClose}>
        <Note tone="warn">{t('grants.account.none')}</Note>
      </Dialog>
    )
  }
  const names = weekdays()
  return (
    <Dialog title={t('grants.new')} onClose={onClose} wide>
      <form
        class="stack"
        noValidate
        onSubmit={event => {
          event.preventDefault()
          attempt(true)
          if (!Object.values(faults).includes(true)) void grant.run()
        }}
      >
        <Select
          label={t('grants.account')}
          value={account}
          onValue={choose}
          options={eligible.map(one => [one.id, `${one.name} (${roleName(one.role)})`] as const)}
        />
        {key && (
          <div class="stack tight">
            <p class="hint">{t('grants.compare')}</p>
            <Words words={tenWords(key)} />
          </div>
        )}
        <fieldset>
          <legend class="legend">{t('fact.rights')}</legend>
          <div class="row wide">
            {(['live', 'playback', 'export'] as const).map(right => (
              <Check
                key={right}
                checked={rights[right]}
                onValue={on =>
                  allow({ ...rights, [right]: on, ...(right === 'export' && on ? { playback: true } : {}) })
                }
              >
                {t(`right.${right}` as Key)}
              </Check>
            ))}
          </div>
          <p class="hint">{t('grants.rights.play')}</p>
          {tried && faults.rights && <FieldError>{t('grants.rights.missing')}</FieldError>}
        </fieldset>
        <fieldset>
          <legend class="legend">{t('fact.cameras')}</legend>
          <label class="choice">
            <input type="radio" name={radio} checked={!all} onChange={() => every(false)} />
            <span>{t('grants.cameras.some')}</span>
          </label>
          {!all && (
            <div class="columns indent">
              {house.cameras
                .filter(camera => !camera.removed)
                .map(camera => (
                  <Check
                    key={camera.id}
                    checked={some.includes(camera.id)}
                    onValue={on => pick(on ? [...some, camera.id] : some.filter(id => id !== camera.id))}
                  >
                    {camera.name}
                  </Check>
                ))}
            </div>
          )}
          <label class="choice">
            <input type="radio" name={radio} checked={all} onChange={() => every(true)} />
            <span>{t('grants.cameras.all')}</span>
          </label>
          {tried && faults.cameras && <FieldError>{t('grants.cameras.missing')}</FieldError>}
        </fieldset>
        <div class="pair">
          <Field label={t('fact.from')} type="datetime-local" value={from} onValue={typeFrom} />
          <Field
            label={t('fact.until')}
            type="datetime-local"
            value={until}
            onValue={typeUntil}
            error={tried && faults.time ? t('grants.time.bad') : undefined}
          />
        </div>
        <Check checked={hours} onValue={limit}>
          {t('grants.weekly')}
        </Check>
        {hours && (
          <fieldset class="indent stack tight">
            <legend class="unseen">{t('grants.weekly')}</legend>
            <div class="group" role="group" aria-label={t('grants.weekly.days')}>
              {names.map((name, at) => (
                <button
                  key={name}
                  type="button"
                  class="button small"
                  aria-pressed={days[at]}
                  onClick={() => chooseDays(days.map((on, other) => (other === at ? !on : on)))}
                >
                  {name}
                </button>
              ))}
            </div>
            <div class="pair">
              <Field label={t('grants.weekly.from')} type="time" value={start} onValue={typeStart} />
              <Field
                label={t('grants.weekly.until')}
                type="time"
                value={end}
                onValue={typeEnd}
                hint={end < start ? t('grants.weekly.night') : zone()}
              />
            </div>
            {tried && faults.weekly && <FieldError>{t('grants.weekly.bad')}</FieldError>}
          </fieldset>
        )}
        <Trouble error={grant.error} />
        <div class="actions">
          <Button onClick={onClose}>{t('cancel')}</Button>
          <Button kind="main" icon="pen" type="submit" busy={grant.busy}>
            {t('grants.go')}
          </Button>
        </div>
      </form>
    </Dialog>
  )
}
