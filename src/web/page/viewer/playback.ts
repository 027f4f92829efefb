/**
 * Playback of the open cameras in step: the engine's player, tied to the view. Time, rate and state go into the stores;
 * what one camera says goes to its picture.
 *
 * What does not belong: what is drawn. Invariant: seeks while somebody drags are thinned out, the last one is always
 * made.
 */

import { useEffect, useRef, useState } from 'preact/hooks'
import type { CameraStatus, Player, PlayerEvent } from '../../engine.js'
import { announce } from '../ui/announce.js'
import { useEngine } from '../lib/hooks.js'
import { ms, shortClock, utc } from '../lib/time.js'
import { cause } from '../lib/trouble.js'
import { t, type Key } from '../lib/words.js'
import { follow, head, past, view } from './view.js'

export interface Playback {
  readonly state: 'paused' | 'playing' | 'seeking' | 'waiting' | 'ended'
  readonly rate: number
  readonly cameras: ReadonlyMap<string, CameraStatus>
  readonly error: unknown
  /** What was skipped last, in words. */
  readonly jumped: string | undefined
  /** Shows a time: from live, too. `done` is false while somebody still drags. */
  seek(at: number, done?: boolean): void
  play(): void
  pause(): void
  toggle(): void
  shuttle(key: -1 | 0 | 1): void
  step(frames: 1 | -1): void
  setRate(rate: number): void
}

const DRAG_MS = 180
const SAID_MS = 6_000

export function usePlayback(
  ids: readonly string[],
  video: (camera: string) => HTMLVideoElement | undefined,
  live: () => number,
): Playback {
  const engine = useEngine()
  const player = useRef<Player | undefined>(undefined)
  const drag = useRef<{ timer: ReturnType<typeof setTimeout> | undefined; at: number }>({ timer: undefined, at: 0 })
  const [state, become] = useState<Playback['state']>('paused')
  const [rate, setRate] = useState(1)
  const [cameras, setCameras] = useState<ReadonlyMap<string, CameraStatus>>(new Map())
  const [error, fail] = useState<unknown>()
  const [jumped, jump] = useState<string>()
  const { mode } = view.value

  const show = (at: number): void => {
    fail(undefined)
    player.current?.seek(utc(at)).catch(fail)
  }
  const hear = (event: PlayerEvent): void => {
    switch (event.is) {
      case 'state':
        become(event.state)
        setRate(event.rate)
        if (event.state === 'paused' || event.state === 'playing') {
          view.set({ playing: event.state === 'playing', rate: event.rate })
        }
        if (event.state === 'ended') announce(t('play.ended'))
        return
      case 'time':
        // While somebody drags, the head is where the pointer is.
        if (drag.current.timer !== undefined) return
        head.set({ at: ms(event.utc) })
        if (view.value.playing) follow(ms(event.utc))
        return
      case 'jumped': {
        const what = cause(event.cause) || t(`line.${event.kind}` as Key)
        const text = t('stage.jumped', { from: shortClock(ms(event.from)), until: shortClock(ms(event.until)), what })
        jump(text)
        announce(text)
        return
      }
      case 'camera':
        setCameras(now => new Map(now).set(event.camera, event.status))
    }
  }

  useEffect(() => {
    if (mode !== 'past') return
    const pairs = ids.flatMap(camera => {
      const element = video(camera)
      return element ? [{ camera, video: element }] : []
    })
    if (pairs.length === 0) return
    const made = engine.player(pairs)
    player.current = made
    setCameras(new Map())
    become('seeking')
    const off = made.on(hear)
    const { rate: wanted } = view.value
    if (wanted !== 1) made.rate(wanted)
    fail(undefined)
    made.seek(utc(head.value.at)).then(() => {
      // Whoever stopped it meanwhile meant it.
      if (view.value.playing && player.current === made) made.play()
    }, fail)
    return () => {
      clearTimeout(drag.current.timer)
      drag.current.timer = undefined
      off()
      made.close()
      player.current = undefined
    }
  }, [engine, mode, ids.join()])

  useEffect(() => {
    if (jumped === undefined) return
    const timer = setTimeout(() => jump(undefined), SAID_MS)
    return () => clearTimeout(timer)
  }, [jumped])

  const enter = (at: number, playing: boolean): void => past(at, playing)
  const shown = (): number => (view.value.mode === 'live' ? live() : head.value.at)
  return {
    state: mode === 'live' ? 'playing' : state,
    rate,
    cameras,
    error,
    jumped,
    seek(at, done = true) {
      if (view.value.mode === 'live') return enter(at, true)
      head.set({ at })
      const { current } = drag
      current.at = at
      if (done) {
        clearTimeout(current.timer)
        current.timer = undefined
        follow(at)
        show(at)
      } else if (current.timer === undefined) {
        current.timer = setTimeout(() => {
          current.timer = undefined
          show(current.at)
        }, DRAG_MS)
      }
    },
    play() {
      view.set({ playing: true })
      player.current?.play()
    },
    pause() {
      view.set({ playing: false })
      if (view.value.mode === 'live') enter(shown(), false)
      else player.current?.pause()
    },
    toggle() {
      const runs = state === 'playing' || state === 'waiting' || (state === 'seeking' && view.value.playing)
      if (view.value.mode === 'live' || runs) this.pause()
      else this.play()
    },
    shuttle(key) {
      if (view.value.mode === 'past') {
        view.set({ playing: key !== 0 })
        player.current?.shuttle(key)
      } else if (key <= 0) {
        view.set({ rate: key || 1 })
        enter(shown(), key < 0)
      }
    },
    step(frames) {
      if (view.value.mode === 'live') enter(shown(), false)
      else player.current?.step(frames).catch(fail)
    },
    setRate(wanted) {
      setRate(wanted)
      view.set({ rate: wanted })
      player.current?.rate(wanted)
    },
  }
}
