/**
 * The stage: one camera or several in step, live or in the past, with timeline, jump, marks and export.
 *
 * What does not belong: the wall. Invariants: one clock for all pictures; a camera that has nothing at a time says so
 * while the others go on; the keyboard can do everything that the pointer can.
 */

import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks'
import type { Camera, CameraStatus } from '../../engine.js'
import { useHouse, useKeys, useNow } from '../lib/hooks.js'
import { useStore } from '../lib/store.js'
import { HOUR, MINUTE, ms, SECOND, shortClock } from '../lib/time.js'
import { brief, cause } from '../lib/trouble.js'
import { t, type Key } from '../lib/words.js'
import { Button, Check, Trouble } from '../ui/controls.js'
import { Dialog } from '../ui/dialog.js'
import { Icon } from '../ui/icons.js'
import { useCoverage } from './coverage.js'
import { ExportDialog } from './export.js'
import { Jump } from './jump.js'
import { usePlayback } from './playback.js'
import { Strip } from './preview.js'
import { Caption, Curtain, LivePicture, type Saying } from './tile.js'
import { Gaps, Legend, LineTools, Timeline } from './timeline.js'
import { Marks, Transport } from './transport.js'
import { head, SPANS, TOGETHER_MAX, view, zoom } from './view.js'
import { columns, visible } from './wall.js'

function told(status: CameraStatus | undefined): Saying | undefined {
  switch (status?.is) {
    case undefined:
    case 'playing':
      return undefined
    case 'waiting':
      return { icon: 'spin', title: t('play.seeking'), tone: 'calm', over: true }
    case 'gap':
      return {
        icon: 'cameraOff',
        title: t(`tile.gap.${status.kind}` as Key),
        text: [cause(status.cause), t('tile.gap.until', { until: shortClock(ms(status.until)) })]
          .filter(Boolean)
          .join(' · '),
        tone: 'calm',
        over: false,
      }
    case 'lapsed':
      return { icon: 'lock', title: t('tile.lapsed'), text: cause(status.why), tone: 'warn', over: false }
    case 'unsupported':
      return {
        icon: 'bad',
        title: t('tile.unsupported', { codec: status.codec }),
        text: t('tile.unsupported.help'),
        tone: 'bad',
        over: false,
      }
    case 'failed':
      return { icon: 'bad', title: brief(status.error), tone: 'bad', over: false }
  }
}

export function Stage({ onBack }: { onBack: () => void }) {
  const house = useHouse()
  const now = useNow(SECOND)
  const shown = useStore(view)
  const cameras = shown.cameras.flatMap(id => house.cameras.filter(camera => camera.id === id && visible(camera)))
  const focus = cameras.find(camera => camera.id === shown.focus) ?? cameras[0]
  const videos = useRef(new Map<string, HTMLVideoElement>())
  const pictures = useRef<HTMLDivElement>(null)
  const [choosing, choose] = useState(false)
  const [saving, save] = useState(false)
  const playable = cameras.filter(camera => camera.rights.playback).map(camera => camera.id)
  const playback = usePlayback(
    playable,
    id => videos.current.get(id),
    () => Date.now() - SECOND,
  )
  const lanes = useCoverage(playable, shown.from, shown.from + shown.span)
  const [room, measure] = useState({ width: 1000, height: 560 })

  useLayoutEffect(() => {
    const observer = new ResizeObserver(() => {
      const element = pictures.current
      if (element) measure({ width: element.clientWidth, height: element.clientHeight })
    })
    observer.observe(pictures.current!)
    return () => observer.disconnect()
  }, [])
  useEffect(() => {
    document.title = `${cameras.map(camera => camera.name).join(', ') || t('wall.title')} · Peri`
  })
  useEffect(() => {
    if (focus && focus.id !== shown.focus) view.set({ focus: focus.id })
  }, [focus?.id])
  // Live: the stretch moves on with the present.
  useEffect(() => {
    if (view.value.mode === 'live') head.set({ at: now })
    const { from, span, mode } = view.value
    if (mode === 'live' && (now > from + span * 0.98 || now < from)) view.set({ from: now - span * 0.94 })
  }, [now])

  const live = () => view.set({ mode: 'live', from: Date.now() - shown.span * 0.94, day: undefined })
  const at = () => (view.value.mode === 'live' ? Date.now() : head.value.at)
  const mark = (which: 'markIn' | 'markOut') => {
    const { markIn, markOut } = view.value
    const time = at()
    if (which === 'markIn')
      view.set({ markIn: time, markOut: markOut !== undefined && markOut <= time ? undefined : markOut })
    else view.set({ markOut: time, markIn: markIn !== undefined && markIn >= time ? undefined : markIn })
  }
  const skip = (by: number) => playback.seek(Math.min(at() + by, Date.now() - SECOND))
  const zoomBy = (step: number) => {
    const near = SPANS.findIndex(each => each >= view.value.span - MINUTE)
    zoom(SPANS[Math.max(0, Math.min(SPANS.length - 1, (near < 0 ? SPANS.length - 1 : near) + step))] ?? HOUR, now)
  }
  const savable = cameras.filter(camera => camera.rights.export)
  const full = () =>
    void (document.fullscreenElement ? document.exitFullscreen() : pictures.current?.requestFullscreen())

  useKeys(event => {
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key
    const onButton = event.target instanceof HTMLButtonElement
    const can = playable.length > 0
    const acts: Record<string, () => void> = {
      Escape: onBack,
      f: full,
      '+': () => zoomBy(-1),
      '-': () => zoomBy(1),
      i: () => mark('markIn'),
      o: () => mark('markOut'),
      z: () => view.set({ markIn: undefined, markOut: undefined }),
      ...(savable.length > 0 ? { e: () => save(true) } : {}),
      ...(can
        ? {
            j: () => playback.shuttle(-1),
            k: () => playback.shuttle(0),
            l: () => playback.shuttle(1),
            ',': () => playback.step(-1),
            '.': () => playback.step(1),
            ArrowLeft: () => skip(event.shiftKey ? -MINUTE : -10 * SECOND),
            ArrowRight: () => skip(event.shiftKey ? MINUTE : 10 * SECOND),
            Home: () => playback.seek(view.value.from),
            End: live,
            ...(onButton ? {} : { ' ': () => playback.toggle() }),
          }
        : {}),
    }
    const act = Object.hasOwn(acts, key) ? acts[key] : undefined
    act?.()
    return act !== undefined
  })

  const across = columns(cameras.length, room.width, room.height)
  return (
    <div class="stage">
      <header class="stage-head">
        <Button icon="back" small onClick={onBack}>
          {t('stage.back')}
        </Button>
        <h1>{cameras.map(camera => camera.name).join(' · ')}</h1>
        <span class="push" />
        <Button icon="camera" small aria-haspopup="dialog" onClick={() => choose(true)}>
          {t('stage.cameras')}
        </Button>
        <Button icon="full" small bare onClick={full}>
          {t('stage.full')}
        </Button>
      </header>
      <div
        class="pictures"
        ref={pictures}
        role="group"
        aria-label={t('stage.pictures')}
        style={{ '--columns': across, '--rows': Math.ceil(cameras.length / across) }}
      >
        {cameras.map(camera => (
          <div
            key={`${camera.id} ${shown.mode}`}
            class={cameras.length > 1 && camera.id === focus?.id ? 'picture focus' : 'picture'}
            onClick={() => view.set({ focus: camera.id })}
          >
            {shown.mode === 'live' ? (
              <LivePicture camera={camera} now={now} />
            ) : (
              <PastPicture
                camera={camera}
                status={playback.cameras.get(camera.id)}
                busy={playback.state === 'seeking' || playback.state === 'waiting'}
                hold={element =>
                  void (element ? videos.current.set(camera.id, element) : videos.current.delete(camera.id))
                }
              />
            )}
          </div>
        ))}
        {playback.jumped && shown.mode === 'past' && (
          <p class="jumped">
            <Icon name="forth" size={18} /> {playback.jumped}
          </p>
        )}
      </div>
      <div class="desk">
        {shown.mode === 'past' && playback.error !== undefined && (
          <Trouble error={playback.error} again={() => playback.seek(head.value.at)} />
        )}
        <Transport playback={playback} can={playable.length > 0} now={now} onLive={live} onSkip={skip}>
          {savable.length > 0 && <Marks onMark={mark} onSave={() => save(true)} />}
        </Transport>
        {focus && playable.length > 0 ? (
          <section aria-label={t('line.label')} class="stack tight">
            {shown.strip && focus.rights.playback && (
              <Strip
                camera={focus}
                lane={lanes.get(focus.id)}
                now={now}
                width={room.width}
                onSeek={time => playback.seek(time)}
              />
            )}
            <Timeline
              cameras={cameras.filter(camera => camera.rights.playback)}
              lanes={lanes}
              now={now}
              onSeek={(time, done) => playback.seek(time, done)}
            />
            <div class="row apart desk-foot">
              <LineTools now={now} />
              <Jump now={now} at={at()} onTime={time => playback.seek(time)} onLive={live} />
            </div>
            <div class="row apart gaps-row">
              <Gaps lane={lanes.get(focus.id)} now={now} onSeek={time => playback.seek(time)} />
              <Legend />
            </div>
          </section>
        ) : (
          <p class="quiet">{t('stage.noplayback')}</p>
        )}
      </div>
      {choosing && <Choose onClose={() => choose(false)} />}
      {saving && <ExportDialog cameras={savable} now={now} onClose={() => save(false)} />}
    </div>
  )
}

function PastPicture(props: {
  camera: Camera
  status: CameraStatus | undefined
  busy: boolean
  hold: (element: HTMLVideoElement | null) => void
}) {
  const { camera, status } = props
  const { at } = useStore(head)
  const barred: Saying = { icon: 'lock', title: t('stage.noplayback'), tone: 'calm', over: false }
  const what = camera.rights.playback ? told(status) : barred
  return (
    <>
      <video
        ref={props.hold}
        muted
        playsInline
        disablePictureInPicture
        tabIndex={-1}
        aria-hidden="true"
        class={what ? (what.over ? 'stale' : 'gone') : ''}
      />
      {what ? (
        <Curtain saying={what} />
      ) : (
        props.busy && (
          <div class="working">
            <Icon name="spin" class="spinner" size={26} />
          </div>
        )
      )}
      <Caption camera={camera} at={at} />
      <span class="unseen" role="status">
        {what && status?.is !== 'waiting' ? `${camera.name}: ${what.title}` : ''}
      </span>
    </>
  )
}

/** Which cameras are shown together. */
function Choose({ onClose }: { onClose: () => void }) {
  const house = useHouse()
  const { cameras } = useStore(view)
  return (
    <Dialog title={t('stage.cameras')} onClose={onClose}>
      <p class="hint">{t('stage.cameras.hint', { n: TOGETHER_MAX })}</p>
      <div class="stack tight columns">
        {house.cameras.filter(visible).map(camera => {
          const on = cameras.includes(camera.id)
          return (
            <Check
              key={camera.id}
              checked={on}
              disabled={on ? cameras.length === 1 : cameras.length >= TOGETHER_MAX}
              onValue={add =>
                view.set({ cameras: add ? [...cameras, camera.id] : cameras.filter(id => id !== camera.id) })
              }
            >
              {camera.name}
            </Check>
          )
        })}
      </div>
      <div class="actions">
        <Button kind="main" onClick={onClose}>
          {t('done')}
        </Button>
      </div>
    </Dialog>
  )
}
