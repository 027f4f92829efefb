/** Play, pause, steps, speed, live, marks: buttons for what the keys do. */

import type { ComponentChildren } from 'preact'
import { useStore } from '../lib/store.js'
import { clock, day, dayStart, SECOND, span } from '../lib/time.js'
import { t } from '../lib/words.js'
import { Button } from '../ui/controls.js'
import { Icon } from '../ui/icons.js'
import type { Playback } from './playback.js'
import { head, view } from './view.js'

const RATES = [0.5, 1, 2, 4, 8, 16] as const

export function Transport(props: {
  playback: Playback
  can: boolean
  now: number
  onLive: () => void
  onSkip: (by: number) => void
  children?: ComponentChildren
}) {
  const { playback, can } = props
  const { mode } = useStore(view)
  const playing = mode === 'live' || playback.state === 'playing' || playback.state === 'waiting'
  const backwards = mode === 'past' && playback.rate < 0
  return (
    <div class="transport" role="group" aria-label={t('play.label')}>
      <Shown now={props.now} />
      {can && (
        <div class="row nowrap tight">
          <Button bare kind="quiet" icon="back10" onClick={() => props.onSkip(-10 * SECOND)}>
            {t('play.back10')}
          </Button>
          <Button bare kind="quiet" icon="frameBack" onClick={() => playback.step(-1)}>
            {t('play.frameback')}
          </Button>
          <Button bare kind="main" icon={playing ? 'pause' : 'play'} class="large" onClick={() => playback.toggle()}>
            {t(playing ? 'play.pause' : 'play.play')}
          </Button>
          <Button bare kind="quiet" icon="frameForth" disabled={mode === 'live'} onClick={() => playback.step(1)}>
            {t('play.frameforth')}
          </Button>
          <Button bare kind="quiet" icon="forth10" disabled={mode === 'live'} onClick={() => props.onSkip(10 * SECOND)}>
            {t('play.forth10')}
          </Button>
        </div>
      )}
      {can && mode === 'past' && (
        <label class="row nowrap speed">
          <span class="unseen">{t('play.speed')}</span>
          <select
            class="input small"
            value={String(playback.rate)}
            onChange={event => playback.setRate(Number(event.currentTarget.value))}
          >
            {!RATES.includes(playback.rate as 1) && (
              <option value={String(playback.rate)}>{String(playback.rate).replace('-', '−')}×</option>
            )}
            {RATES.map(rate => (
              <option key={rate} value={String(rate)}>
                {rate}×
              </option>
            ))}
          </select>
          {backwards && <span class="quiet">{t('play.reverse')}</span>}
        </label>
      )}
      <Button icon="live" aria-pressed={mode === 'live'} class="live-button" onClick={props.onLive}>
        {t('play.live')}
      </Button>
      <span class="push" />
      {props.children}
    </div>
  )
}

/** The time that is shown, large. */
function Shown({ now }: { now: number }) {
  const { mode } = useStore(view)
  const { at } = useStore(head)
  const time = mode === 'live' ? now : at
  const today = dayStart(time) === dayStart(now)
  return (
    <time class={mode === 'live' ? 'shown live' : 'shown'} dateTime={new Date(time).toISOString()}>
      <span class="shown-day">
        {mode === 'live' ? (
          <>
            <i class="dot" aria-hidden="true" /> {t('play.islive')}
          </>
        ) : today ? (
          `${t('calendar.today')}, ${day(time)}`
        ) : (
          day(time)
        )}
      </span>
      <span class="shown-clock">{clock(time)}</span>
    </time>
  )
}

export function Marks({ onMark, onSave }: { onMark: (which: 'markIn' | 'markOut') => void; onSave: () => void }) {
  const { markIn, markOut } = useStore(view)
  const some = markIn !== undefined || markOut !== undefined
  const said =
    markIn !== undefined && markOut !== undefined
      ? t('mark.span', { from: clock(markIn), until: clock(markOut), length: span(markOut - markIn) })
      : markIn !== undefined
        ? t('mark.from', { from: clock(markIn) })
        : markOut !== undefined
          ? t('mark.until', { until: clock(markOut) })
          : ''
  return (
    <div class="row marks-tools">
      <span class="quiet figures" role="status">
        {said}
      </span>
      <div class="group">
        <Button icon="markIn" bare aria-keyshortcuts="i" onClick={() => onMark('markIn')}>
          {t('mark.in')}
        </Button>
        <Button icon="markOut" bare aria-keyshortcuts="o" onClick={() => onMark('markOut')}>
          {t('mark.out')}
        </Button>
        {some && (
          <Button icon="close" bare onClick={() => view.set({ markIn: undefined, markOut: undefined })}>
            {t('mark.clear')}
          </Button>
        )}
      </div>
      <Button aria-haspopup="dialog" onClick={onSave}>
        <Icon name="save" size={18} /> {t('export.open')}
      </Button>
    </div>
  )
}
