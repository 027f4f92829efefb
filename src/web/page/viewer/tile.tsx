/**
 * A live picture: on the wall and, large, on the stage. Says what it shows, since when and why not.
 *
 * What does not belong: fetching and opening (engine). Invariants: out of sight nothing is fetched or decoded; what is
 * old never looks as if it were live – it is dimmed and says since when; state stands in words.
 */

import type { ComponentChildren } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import type { Camera, Watch, WatchStatus } from '../../engine.js'
import { useEngine } from '../lib/hooks.js'
import { clock, ms, SECOND, since, span } from '../lib/time.js'
import { brief, cause } from '../lib/trouble.js'
import { bytes, t } from '../lib/words.js'
import { Icon, type IconName } from '../ui/icons.js'

/** What a picture says about itself, or nothing while it is simply live. */
export interface Saying {
  readonly icon: IconName
  readonly title: string
  readonly text?: string
  readonly tone: 'calm' | 'warn' | 'bad'
  /** The last picture stays visible behind it. */
  readonly over: boolean
}

export function saying(status: WatchStatus, now: number): Saying | undefined {
  switch (status.is) {
    case 'playing':
      return undefined
    case 'starting':
      return { icon: 'spin', title: t('tile.starting'), tone: 'calm', over: true }
    case 'waiting':
      return { icon: 'clock', title: t('tile.waiting', { why: cause(status.why) }), tone: 'calm', over: true }
    case 'frozen':
      return {
        icon: 'pause',
        title: t('tile.frozen', { since: since(ms(status.since), now) }),
        text: t('tile.frozen.why'),
        tone: 'warn',
        over: true,
      }
    case 'lost':
      return {
        icon: 'cameraOff',
        title: status.since === null ? t('tile.lost.ever') : t('tile.lost', { since: since(ms(status.since), now) }),
        text: cause(status.cause),
        tone: 'bad',
        over: false,
      }
    case 'lapsed':
      return { icon: 'lock', title: t('tile.lapsed'), text: cause(status.why), tone: 'warn', over: false }
    case 'erased':
      return { icon: 'trash', title: t('tile.erased'), tone: 'calm', over: false }
    case 'skipped':
      return { icon: 'warn', title: t('tile.skipped', { size: bytes(status.bytes) }), tone: 'warn', over: true }
    case 'unsupported':
      return {
        icon: 'bad',
        title: t('tile.unsupported', { codec: status.codec }),
        text: t('tile.unsupported.help'),
        tone: 'bad',
        over: false,
      }
    case 'paused':
      return { icon: 'pause', title: t('wall.offscreen'), tone: 'calm', over: true }
    case 'failed':
      return { icon: 'bad', title: brief(status.error), tone: 'bad', over: false }
  }
}

/** Starts the picture, pauses it out of sight, ends it with the component. */
function useWatch(camera: string, live: boolean) {
  const engine = useEngine()
  const video = useRef<HTMLVideoElement>(null)
  const [status, become] = useState<WatchStatus>({ is: 'starting' })
  useEffect(() => {
    if (!live) return
    const element = video.current!
    become({ is: 'starting' })
    let watch: Watch | undefined
    let seen = false
    const settle = () => {
      const wanted = seen && document.visibilityState === 'visible'
      if (wanted && !watch) watch = engine.watch(camera, element, become)
      else if (wanted) watch?.resume()
      else watch?.pause()
    }
    const observer = new IntersectionObserver(
      entries => {
        seen = entries[entries.length - 1]!.isIntersecting
        settle()
      },
      { rootMargin: '15%' },
    )
    observer.observe(element)
    document.addEventListener('visibilitychange', settle)
    return () => {
      observer.disconnect()
      document.removeEventListener('visibilitychange', settle)
      watch?.close()
    }
  }, [engine, camera, live])
  return { video, status }
}

/** The line under a picture: name, marks of its state, clock. */
export function Caption(props: { camera: Camera; at: number | undefined; mark?: ComponentChildren; behind?: number }) {
  const { camera, at } = props
  return (
    <div class="caption">
      <span class="caption-name">{camera.name}</span>
      {props.mark}
      {camera.plain && (
        <span class="chip" title={t('tile.plain')}>
          <Icon name="warn" size={15} />
          <span class="wide-only">{t('tile.plain')}</span>
          <span class="unseen">{t('tile.plain')}</span>
        </span>
      )}
      {!camera.registered && <span class="chip">{t('tile.setup')}</span>}
      <span class="push" />
      {(props.behind ?? 0) > 5 * SECOND && <span class="chip">{t('tile.behind', { span: span(props.behind!) })}</span>}
      {at !== undefined && (
        <time class="caption-clock" dateTime={new Date(at).toISOString()}>
          {clock(at)}
        </time>
      )}
    </div>
  )
}

export const Recording = ({ camera }: { camera: Camera }) =>
  camera.lost === '' ? (
    <span class="chip rec" title={t('tile.rec')}>
      <i class="dot" aria-hidden="true" />
      <span class="wide-only">REC</span>
      <span class="unseen">{t('tile.rec')}</span>
    </span>
  ) : (
    <span class="chip norec" title={cause(camera.lost)}>
      <Icon name="cameraOff" size={15} />
      {t('tile.norec')}
    </span>
  )

/** Over or instead of the picture. */
export const Curtain = ({ saying: what }: { saying: Saying }) => (
  <div class={`curtain ${what.tone} ${what.over ? 'over' : ''}`}>
    <Icon name={what.icon} size={26} class={what.icon === 'spin' ? 'spinner' : ''} />
    <strong>{what.title}</strong>
    {what.text && <span>{what.text}</span>}
  </div>
)

/** A live picture with its sayings. `large` says more of itself to readers. */
export function LivePicture({ camera, now, children }: { camera: Camera; now: number; children?: ComponentChildren }) {
  const { video, status } = useWatch(camera.id, camera.rights.live)
  const barred: Saying = { icon: 'clock', title: t('tile.playbackonly'), tone: 'calm', over: false }
  const what = camera.rights.live ? saying(status, now) : barred
  const at = status.is === 'playing' ? ms(status.utc) : undefined
  return (
    <>
      <video
        ref={video}
        muted
        playsInline
        disablePictureInPicture
        tabIndex={-1}
        aria-hidden="true"
        class={what ? (what.over ? 'stale' : 'gone') : ''}
      />
      {what && <Curtain saying={what} />}
      <Caption
        camera={camera}
        at={at}
        mark={<Recording camera={camera} />}
        behind={status.is === 'playing' ? status.behind : 0}
      />
      {children}
      <span class="unseen" role="status">
        {what && status.is !== 'starting' && status.is !== 'paused' ? `${camera.name}: ${what.title}` : ''}
      </span>
    </>
  )
}
