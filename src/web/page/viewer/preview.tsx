/**
 * Previews: one where the pointer rests on the timeline, and a strip of them when somebody asks for it.
 *
 * Invariants: opening one is a disclosure, so none is opened by passing over; an image is closed when it leaves the
 * page; where nothing was recorded none is asked for.
 */

import { useEffect, useRef, useState } from 'preact/hooks'
import type { Camera, Thumbnail } from '../../engine.js'
import { useEngine } from '../lib/hooks.js'
import { useStore } from '../lib/store.js'
import { clock, day, exact, ms, shortClock, utc } from '../lib/time.js'
import { brief, cause } from '../lib/trouble.js'
import { t, type Key } from '../lib/words.js'
import { Busy } from '../ui/controls.js'
import { Icon } from '../ui/icons.js'
import type { Lane } from './coverage.js'
import { view } from './view.js'

/** How long the pointer rests before a preview is opened. */
const REST_MS = 280
const BUBBLE = 208

const recorded = (lane: Lane | undefined, at: number): boolean | undefined => {
  if (!lane) return undefined
  return lane.stretches.some(stretch => stretch.kind === 'recorded' && stretch.from <= at && stretch.until > at)
}

/** The middle of the longest recorded part of a slot; of the slot itself where nothing is recorded. */
function middle(lane: Lane | undefined, from: number, until: number): number {
  let best = { at: (from + until) / 2, length: 0 }
  for (const stretch of lane?.stretches ?? []) {
    const [a, b] = [Math.max(from, stretch.from), Math.min(until, stretch.until)]
    if (stretch.kind === 'recorded' && b - a > best.length) best = { at: (a + b) / 2, length: b - a }
  }
  return best.at
}

/** Draws an image into a canvas that keeps its shape. */
function Picture({ image }: { image: ImageBitmap }) {
  const canvas = useRef<HTMLCanvasElement>(null)
  useEffect(() => {
    const element = canvas.current!
    element.width = image.width
    element.height = image.height
    element.getContext('2d')?.drawImage(image, 0, 0)
    return () => {
      element.width = 0
      image.close()
    }
  }, [image])
  return <canvas ref={canvas} aria-hidden="true" />
}

function useThumbnail(camera: string | undefined, at: number, delay: number, wanted: boolean) {
  const engine = useEngine()
  const [state, become] = useState<{ made?: Thumbnail; error?: unknown; busy: boolean }>({ busy: false })
  useEffect(() => {
    become({ busy: false })
    if (camera === undefined || !wanted) return
    let over = false
    const timer = setTimeout(() => {
      become({ busy: true })
      engine.thumbnail(camera, utc(at)).then(
        made => (over ? made.image.close() : become({ made, busy: false })),
        error => over || become({ error, busy: false }),
      )
    }, delay)
    return () => {
      over = true
      clearTimeout(timer)
    }
  }, [engine, camera, at, wanted])
  return state
}

/** The preview at the pointer. */
export function Bubble(props: {
  camera: Camera | undefined
  at: number
  left: number
  width: number
  lane: Lane | undefined
  now: number
}) {
  const { camera, lane } = props
  // A second of pointer movement is the same picture.
  const at = Math.round(props.at / 1000) * 1000
  const there = recorded(lane, at)
  const { made, error, busy } = useThumbnail(
    camera?.id,
    at,
    REST_MS,
    Boolean(camera?.rights.playback) && there === true,
  )
  const gap = lane?.stretches.find(stretch => stretch.kind !== 'recorded' && stretch.from <= at && stretch.until > at)
  const left = Math.max(BUBBLE / 2, Math.min(props.width - BUBBLE / 2, props.left * props.width))
  return (
    <div class="bubble" style={{ left: `${left}px` }} aria-hidden="true">
      {made ? (
        <Picture image={made.image} />
      ) : busy ? (
        <div class="blank">
          <Icon name="spin" class="spinner" />
        </div>
      ) : null}
      {error !== undefined && <div class="bubble-said">{brief(error)}</div>}
      {gap && (
        <div class="bubble-said">
          {t(`line.${gap.kind}` as Key)}
          {gap.cause && `: ${cause(gap.cause)}`}
        </div>
      )}
      <time class="figures">{at > props.now ? t('jump.future') : `${day(at)} ${clock(at)}`}</time>
    </div>
  )
}

/** A row of previews over the visible stretch; each is a button to its time. */
export function Strip(props: {
  camera: Camera
  lane: Lane | undefined
  now: number
  width: number
  onSeek: (at: number) => void
}) {
  const { from, span } = useStore(view)
  const [still, settle] = useState({ from, span })
  useEffect(() => {
    const timer = setTimeout(() => settle({ from, span }), 500)
    return () => clearTimeout(timer)
  }, [Math.round(from / 1000), span])
  const count = Math.max(3, Math.min(9, Math.floor(props.width / 150)))
  const times = Array.from({ length: count }, (_, n) => {
    const from = still.from + (still.span * n) / count
    return middle(props.lane, from, from + still.span / count)
  })
  return (
    <ol class="strip" aria-label={t('line.strip')} style={{ '--count': count }}>
      {times.map((at, n) => (
        <li key={n}>
          <Cell {...props} at={Math.round(at / 1000) * 1000} turn={n} />
        </li>
      ))}
    </ol>
  )
}

function Cell(props: {
  camera: Camera
  lane: Lane | undefined
  now: number
  at: number
  turn: number
  onSeek: (at: number) => void
}) {
  const there = props.at < props.now && recorded(props.lane, props.at)
  const { made, error, busy } = useThumbnail(props.camera.id, props.at, props.turn * 60, there === true)
  const shown = made ? ms(made.utc) : props.at
  return (
    <button
      type="button"
      class="cell"
      disabled={!there}
      aria-label={t('line.preview', { at: exact(shown) })}
      onClick={() => props.onSeek(props.at)}
    >
      {made ? (
        <Picture image={made.image} />
      ) : (
        <span class="blank">
          {busy ? (
            <Busy text="" />
          ) : there === false ? (
            <Icon name="cameraOff" size={18} />
          ) : error !== undefined ? (
            brief(error)
          ) : (
            ''
          )}
        </span>
      )}
      <time class="figures">{there === true ? clock(shown) : shortClock(props.at)}</time>
    </button>
  )
}
