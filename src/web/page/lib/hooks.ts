/**
 * Hooks that several pages use: the engine, the house, values that load, keys of the keyboard.
 */

import { createContext } from 'preact'
import { useCallback, useContext, useEffect, useRef, useState } from 'preact/hooks'
import type { Engine, House } from '../../engine.js'

/** What the page needs of the engine; anything of this shape will do. */
export type Api = Pick<Engine, keyof Engine>

export const EngineContext = createContext<Api | undefined>(undefined)
export const HouseContext = createContext<House | undefined>(undefined)

export function useEngine(): Api {
  const engine = useContext(EngineContext)
  if (!engine) throw new Error('no engine around this component')
  return engine
}

export function useHouse(): House {
  const house = useContext(HouseContext)
  if (!house) throw new Error('no house around this component')
  return house
}

export interface Loaded<T> {
  readonly value: T | undefined
  readonly error: unknown
  readonly busy: boolean
  readonly again: () => void
}

/** Loads when it appears and when `on` changes; an answer that comes too late is dropped. */
export function useLoad<T>(load: () => Promise<T>, on: readonly unknown[]): Loaded<T> {
  const [state, become] = useState<{ value: T | undefined; error: unknown; busy: boolean }>({
    value: undefined,
    error: undefined,
    busy: true,
  })
  const turn = useRef(0)
  const again = useCallback(() => {
    const mine = ++turn.current
    become(now => ({ ...now, busy: true, error: undefined }))
    load().then(
      value => turn.current === mine && become({ value, error: undefined, busy: false }),
      error => turn.current === mine && become(now => ({ ...now, error, busy: false })),
    )
  }, on)
  useEffect(() => {
    again()
    return () => void turn.current++
  }, [again])
  return { ...state, again }
}

/** Something that a person starts: whether it runs and what went wrong. */
export function useAction<A extends unknown[]>(act: (...args: A) => Promise<void>) {
  const [state, become] = useState<{ busy: boolean; error: unknown }>({ busy: false, error: undefined })
  const there = useRef(true)
  const running = useRef(false)
  useEffect(() => () => void (there.current = false), [])
  const run = async (...args: A): Promise<void> => {
    if (running.current) return
    running.current = true
    become({ busy: true, error: undefined })
    try {
      await act(...args)
      if (there.current) become({ busy: false, error: undefined })
    } catch (error) {
      if (there.current) become({ busy: false, error })
    } finally {
      running.current = false
    }
  }
  return { ...state, run, clear: () => become(now => ({ ...now, error: undefined })) }
}

/** The moment, every `each` milliseconds; `ahead` is what the appliance's clock is ahead of this computer's. */
export function useNow(each: number, ahead = 0): number {
  const [now, become] = useState(() => Date.now() + ahead)
  useEffect(() => {
    const timer = setInterval(() => become(Date.now() + ahead), each)
    return () => clearInterval(timer)
  }, [each, ahead])
  return now
}

/** Whether keys belong to a field just now. */
export function typing(event: KeyboardEvent): boolean {
  const { target } = event
  if (!(target instanceof HTMLElement)) return false
  if (target.isContentEditable || target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement)
    return true
  return target instanceof HTMLInputElement && !['checkbox', 'radio', 'button'].includes(target.type)
}

/** Keys of the whole page while this component is there. Returns true from `on` when the key was taken. */
export function useKeys(on: (event: KeyboardEvent) => boolean | void): void {
  const latest = useRef(on)
  latest.current = on
  useEffect(() => {
    const listener = (event: KeyboardEvent) => {
      if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || typing(event)) return
      if (document.querySelector('dialog[open]')) return
      if (latest.current(event) === true) event.preventDefault()
    }
    document.addEventListener('keydown', listener)
    return () => document.removeEventListener('keydown', listener)
  }, [])
}
