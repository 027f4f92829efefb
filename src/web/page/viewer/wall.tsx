/**
 * The wall of live tiles: as large as the window allows, arrows move, Enter opens, X ticks for joint playback.
 *
 * What does not belong: time; a tile shows now or says why not.
 */

import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks'
import type { Camera } from '../../engine.js'
import { useHouse, useKeys, useNow } from '../lib/hooks.js'
import { useStore } from '../lib/store.js'
import { ms, SECOND } from '../lib/time.js'
import { t } from '../lib/words.js'
import { Button, Words } from '../ui/controls.js'
import { Icon } from '../ui/icons.js'
import { Jump } from './jump.js'
import { LivePicture } from './tile.js'
import { TOGETHER_MAX, view } from './view.js'

const GAP = 8
const NARROWEST = 250
/** The bar under the wall and the padding around the tiles. */
const BELOW = 76

/** The number of columns that makes 16:9 tiles largest in this room. */
export function columns(count: number, width: number, height: number): number {
  if (width < 2 * NARROWEST) return 1
  let best = { columns: 1, wide: 0 }
  for (let n = 1; n <= count; n++) {
    const rows = Math.ceil(count / n)
    const byWidth = (width - GAP * (n - 1)) / n
    const byHeight = ((height - GAP * (rows - 1)) / rows) * (16 / 9)
    const wide = Math.min(byWidth, byHeight)
    if (wide > best.wide) best = { columns: n, wide }
  }
  // Rather scroll than tiles in which nobody is recognised.
  return best.wide >= NARROWEST ? best.columns : Math.max(1, Math.floor((width + GAP) / (NARROWEST + GAP)))
}

export const visible = (camera: Camera): boolean =>
  !camera.removed && (camera.rights.live || camera.rights.playback || camera.rights.export)

export function Wall({ onOpen }: { onOpen: (cameras: readonly string[], at?: number) => void }) {
  const house = useHouse()
  const { ticked } = useStore(view)
  const now = useNow(SECOND)
  const cameras = house.cameras.filter(visible)
  const list = useRef<HTMLUListElement>(null)
  const wall = useRef<HTMLDivElement>(null)
  const [room, measure] = useState({ width: 1200, height: 700 })
  useLayoutEffect(() => {
    const element = wall.current
    if (!element) return
    // The room between the bars; the tiles themselves are no measure, for they follow from it.
    const settle = () => {
      const height = innerHeight - element.getBoundingClientRect().top - scrollY - BELOW
      measure({ width: element.clientWidth - 2 * GAP, height: Math.max(220, height) })
    }
    const observer = new ResizeObserver(settle)
    observer.observe(element)
    addEventListener('resize', settle)
    return () => {
      observer.disconnect()
      removeEventListener('resize', settle)
    }
  }, [cameras.length === 0])
  useEffect(() => void (document.title = `${t('wall.title')} · Peri`))

  const tick = (id: string) => {
    const on = ticked.includes(id)
    if (!on && ticked.length >= TOGETHER_MAX) return
    view.set({ ticked: on ? ticked.filter(other => other !== id) : [...ticked, id] })
  }
  useKeys(event => move(event, list.current) || (event.key.toLowerCase() === 'x' && tickFocused(tick)))

  if (cameras.length === 0) {
    return (
      <div class="page narrow stack">
        <h1>{t('wall.empty')}</h1>
        <p>{t('wall.empty.text')}</p>
        <Words words={house.keyWords} />
      </div>
    )
  }
  const wide = columns(cameras.length, room.width, room.height)
  const rows = Math.ceil(cameras.length / wide)
  const fitting = ((room.height - GAP * (rows - 1)) / rows) * (16 / 9)
  const playable = cameras.filter(camera => camera.rights.playback).map(camera => camera.id)
  const ahead = ms(house.now)
  const meant = (): readonly string[] => {
    if (ticked.length > 0) return ticked
    const focused = focusedTile()
    return focused && playable.includes(focused) ? [focused] : playable.slice(0, 4)
  }
  return (
    <div class="wall" ref={wall}>
      <h1 class="unseen">{t('wall.title')}</h1>
      <ul
        ref={list}
        class="tiles"
        style={{
          '--columns': wide,
          '--widest':
            wide === 1 && room.width < 2 * NARROWEST
              ? 'none'
              : `${Math.floor(wide * (Math.max(NARROWEST, fitting) + GAP) + GAP)}px`,
        }}
        aria-label={t('wall.count', { n: cameras.length })}
      >
        {cameras.map(camera => (
          <li key={camera.id} class={ticked.includes(camera.id) ? 'tile ticked' : 'tile'}>
            <LivePicture camera={camera} now={now}>
              <button
                type="button"
                class="tile-open"
                data-camera={camera.id}
                aria-label={t('wall.open', { name: camera.name })}
                onClick={() => onOpen([camera.id])}
              />
              {camera.rights.playback && (
                <label class="tile-tick" title={t('wall.tick', { name: camera.name })}>
                  <input type="checkbox" checked={ticked.includes(camera.id)} onChange={() => tick(camera.id)} />
                  <span class="unseen">{t('wall.tick', { name: camera.name })}</span>
                </label>
              )}
            </LivePicture>
          </li>
        ))}
      </ul>
      <section class="wall-bar" aria-label={t('wall.lookback')}>
        {ticked.length > 0 ? (
          <span class="row">
            <Button kind="main" icon="wall" onClick={() => onOpen(ticked)}>
              {t('wall.together', { n: ticked.length })}
            </Button>
            <Button kind="quiet" icon="close" bare onClick={() => view.set({ ticked: [] })}>
              {t('wall.untick')}
            </Button>
          </span>
        ) : (
          <span class="quiet row nowrap wide-only">
            <Icon name="clock" size={18} /> {t('wall.lookback')}
          </span>
        )}
        {playable.length > 0 && (
          <Jump now={Math.max(ahead, now)} onTime={at => onOpen(meant(), at)} onLive={() => onOpen(meant())} />
        )}
      </section>
    </div>
  )
}

const focusedTile = (): string | undefined => {
  const { activeElement } = document
  return activeElement instanceof HTMLElement ? activeElement.dataset['camera'] : undefined
}

function tickFocused(tick: (id: string) => void): boolean {
  const id = focusedTile()
  if (id !== undefined) tick(id)
  return id !== undefined
}

/** Arrows go from tile to tile as they lie on the screen. */
function move(event: KeyboardEvent, list: HTMLElement | null): boolean {
  if (!list || !event.key.startsWith('Arrow')) return false
  const tiles = [...list.querySelectorAll<HTMLElement>('.tile-open')]
  const at = tiles.indexOf(document.activeElement as HTMLElement)
  if (at < 0) {
    tiles[0]?.focus()
    return tiles.length > 0
  }
  const first = tiles[0]!.getBoundingClientRect().top
  const wide = Math.max(
    1,
    tiles.findIndex(tile => tile.getBoundingClientRect().top > first + 4),
  )
  const steps: Record<string, number> = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -wide, ArrowDown: wide }
  tiles[at + (steps[event.key] ?? 0)]?.focus()
  return true
}
