/**
 * The timeline: one lane of coverage for each camera, ticks as clocks show them, the head, marks, and a preview where
 * the pointer rests.
 *
 * What does not belong: playback. Invariants: gaps are told apart by pattern and in words, never by colour alone; the
 * line is a slider for keyboard and reader; a preview is opened only when somebody rests on it, because it is a
 * disclosure.
 */

import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks'
import type { Camera } from '../../engine.js'
import { useStore } from '../lib/store.js'
import { clock, exact, HOUR, MINUTE, SECOND, span as length, ticks } from '../lib/time.js'
import { cause } from '../lib/trouble.js'
import { t, type Key } from '../lib/words.js'
import { Button } from '../ui/controls.js'
import type { Lane, Stretch } from './coverage.js'
import { Bubble } from './preview.js'
import { follow, head, SPANS, view, zoom } from './view.js'

/** Lost time below this is the seam between two fragments. */
const SEAM_MS = 50

export const gapsOf = (lane: Lane | undefined, from: number, until: number): Stretch[] =>
  (lane?.stretches ?? []).filter(
    gap => gap.kind !== 'recorded' && gap.until > from && gap.from < until && gap.until - gap.from > SEAM_MS,
  )

export function Timeline(props: {
  cameras: readonly Camera[]
  lanes: ReadonlyMap<string, Lane>
  now: number
  onSeek: (at: number, done: boolean) => void
}) {
  const { from, span, markIn, markOut, mode, focus } = useStore(view)
  const { at } = useStore(head)
  const until = from + span
  const line = useRef<HTMLDivElement>(null)
  const [width, measure] = useState(1000)
  const [rest, restAt] = useState<number>()
  const dragging = useRef(false)
  useLayoutEffect(() => {
    const observer = new ResizeObserver(() => measure(line.current?.clientWidth ?? 1000))
    observer.observe(line.current!)
    return () => observer.disconnect()
  }, [])
  const share = (time: number): string => `${(((time - from) / span) * 100).toFixed(4)}%`
  const timeAt = (event: { clientX: number }): number => {
    const box = line.current!.getBoundingClientRect()
    return from + Math.max(0, Math.min(1, (event.clientX - box.left) / box.width)) * span
  }
  // A wheel listener of its own: the browser must be told that the page does not scroll.
  useEffect(() => {
    const element = line.current!
    const listener = (event: WheelEvent) => {
      if (!event.ctrlKey && !event.shiftKey && Math.abs(event.deltaX) <= Math.abs(event.deltaY)) return
      event.preventDefault()
      const shown = view.value
      if (event.ctrlKey) {
        const next = Math.max(10 * MINUTE, Math.min(96 * HOUR, shown.span * (event.deltaY > 0 ? 1.25 : 0.8)))
        const box = element.getBoundingClientRect()
        const fixed = (event.clientX - box.left) / box.width
        view.set({ from: shown.from + (shown.span - next) * fixed, span: next })
      } else {
        const delta = Math.abs(event.deltaX) > Math.abs(event.deltaY) ? event.deltaX : event.deltaY
        view.set({ from: shown.from + (delta / element.clientWidth) * shown.span })
      }
    }
    element.addEventListener('wheel', listener, { passive: false })
    return () => element.removeEventListener('wheel', listener)
  }, [])

  const shown = mode === 'live' ? props.now : at
  const seek = (time: number, done: boolean) => props.onSeek(Math.min(time, props.now - SECOND), done)
  const marked = markIn !== undefined || markOut !== undefined
  return (
    <div class="line">
      <div class="line-names" aria-hidden="true">
        {props.cameras.length > 1 &&
          props.cameras.map(camera => (
            <div key={camera.id} class={camera.id === focus ? 'focus' : ''}>
              {camera.name}
            </div>
          ))}
      </div>
      <div
        ref={line}
        class="line-area"
        role="slider"
        tabIndex={0}
        aria-label={t('line.slider')}
        aria-valuemin={Math.round(from / SECOND)}
        aria-valuemax={Math.round(until / SECOND)}
        aria-valuenow={Math.round(Math.max(from, Math.min(until, shown)) / SECOND)}
        aria-valuetext={mode === 'live' ? t('play.islive') : exact(shown)}
        onPointerDown={event => {
          if (event.button !== 0) return
          event.currentTarget.setPointerCapture(event.pointerId)
          dragging.current = true
          restAt(timeAt(event))
          seek(timeAt(event), false)
        }}
        onPointerMove={event => {
          restAt(timeAt(event))
          if (dragging.current) seek(timeAt(event), false)
        }}
        onPointerUp={event => {
          if (dragging.current) seek(timeAt(event), true)
          dragging.current = false
          if (event.pointerType !== 'mouse') restAt(undefined)
        }}
        onPointerCancel={() => {
          dragging.current = false
          restAt(undefined)
        }}
        onPointerLeave={() => !dragging.current && restAt(undefined)}
      >
        <div class="lanes">
          {props.cameras.map(camera => (
            <LaneBar
              key={camera.id}
              lane={props.lanes.get(camera.id)}
              from={from}
              until={until}
              share={share}
              span={span}
            />
          ))}
        </div>
        <div class="future" style={{ left: share(Math.max(from, Math.min(until, props.now))) }} />
        <div class="ticks" aria-hidden="true">
          {ticks(from, until, Math.max(2, Math.floor(width / 74))).map(tick => (
            <span key={tick.at} class={tick.major ? 'tick major' : 'tick'} style={{ left: share(tick.at) }}>
              {tick.label}
            </span>
          ))}
        </div>
        {marked && (
          <div
            class={`marks ${markIn === undefined ? 'open-start' : ''} ${markOut === undefined ? 'open-end' : ''}`}
            style={{ left: share(markIn ?? from), right: `calc(100% - ${share(markOut ?? until)})` }}
          />
        )}
        {shown >= from && shown <= until && (
          <div class={mode === 'live' ? 'head live' : 'head'} style={{ left: share(shown) }} />
        )}
        {rest !== undefined && (
          <>
            <div class="rest" style={{ left: share(rest) }} />
            <Bubble
              camera={props.cameras.find(camera => camera.id === focus)}
              at={rest}
              left={(rest - from) / span}
              width={width}
              lane={props.lanes.get(focus)}
              now={props.now}
            />
          </>
        )}
      </div>
    </div>
  )
}

function LaneBar(props: {
  lane: Lane | undefined
  from: number
  until: number
  span: number
  share: (at: number) => string
}) {
  const { from, until, span, share } = props
  const part = (stretch: Stretch): string =>
    (((Math.min(until, stretch.until) - Math.max(from, stretch.from)) / span) * 100).toFixed(4)
  return (
    <div class="lane">
      {(props.lane?.stretches ?? [])
        .filter(stretch => stretch.until > from && stretch.from < until && stretch.until - stretch.from > SEAM_MS)
        .map(stretch => (
          <i
            key={`${stretch.kind}${stretch.from}`}
            class={stretch.kind}
            style={{
              left: share(Math.max(from, stretch.from)),
              width: `max(${stretch.kind === 'recorded' ? 0 : 3}px, ${part(stretch)}%)`,
            }}
          />
        ))}
    </div>
  )
}

/** Zoom, earlier, later. */
export function LineTools({ now }: { now: number }) {
  const { span, from, strip, mode } = useStore(view)
  return (
    <div class="row line-tools">
      <div class="group" role="group" aria-label={t('line.zoom')}>
        {SPANS.map(each => (
          <button
            key={each}
            type="button"
            class="button small figures"
            aria-pressed={Math.abs(span - each) < MINUTE}
            onClick={() => zoom(each, now)}
          >
            {each / HOUR} h
          </button>
        ))}
      </div>
      <div class="group">
        <Button small icon="back" bare onClick={() => view.set({ from: from - span * 0.75 })}>
          {t('line.earlier')}
        </Button>
        <Button
          small
          icon="forth"
          bare
          disabled={from + span > now + span * 0.1}
          onClick={() => view.set({ from: Math.min(from + span * 0.75, now - span * 0.94) })}
        >
          {t('line.later')}
        </Button>
      </div>
      <Button
        small
        aria-pressed={strip}
        icon="eye"
        title={t('line.strip.hint')}
        onClick={() => view.set({ strip: !strip })}
      >
        {t('line.strip')}
      </Button>
      {mode === 'past' && (head.value.at < from || head.value.at > from + span) && (
        <Button small onClick={() => follow(head.value.at)}>
          {clock(head.value.at)}
        </Button>
      )}
    </div>
  )
}

export const Legend = () => (
  <ul class="meanings" aria-hidden="true">
    {(['recorded', 'lost', 'paused', 'erased'] as const).map(kind => (
      <li key={kind}>
        <i class={kind} /> {t(`line.${kind}` as Key)}
      </li>
    ))}
  </ul>
)

/** The gaps of the visible stretch in words: since when, how long, why, and on to what follows. */
export function Gaps(props: { lane: Lane | undefined; now: number; onSeek: (at: number) => void }) {
  const { from, span } = useStore(view)
  const gaps = gapsOf(props.lane, from, Math.min(props.now, from + span))
  if (gaps.length === 0) return <p class="quiet gaps-none">{t('line.nogaps')}</p>
  return (
    <details class="gaps">
      <summary>{t('line.gaps', { n: gaps.length })}</summary>
      <ul class="plain">
        {gaps.slice(0, 60).map(gap => (
          <li key={gap.from} class="row">
            <i class={`swatch ${gap.kind}`} aria-hidden="true" />
            <span>
              <b>{t(`line.${gap.kind}` as Key)}</b>{' '}
              {t('line.gap', { from: exact(gap.from), until: clock(gap.until), length: length(gap.until - gap.from) })}
              {gap.cause && <> · {cause(gap.cause)}</>}
            </span>
            {gap.until < props.now - SECOND && (
              <Button small onClick={() => props.onSeek(gap.until + 40)}>
                {t('line.after')}
              </Button>
            )}
          </li>
        ))}
      </ul>
    </details>
  )
}
