/**
 * What became of camera time in the visible stretch: asked for with a margin, again when the stretch leaves it, and now
 * and then while the stretch holds the present.
 */

import { useEffect, useRef, useState } from 'preact/hooks'
import type { Coverage } from '../../engine.js'
import { useEngine } from '../lib/hooks.js'
import { ms, SECOND, utc } from '../lib/time.js'

/** A stretch in milliseconds. */
export interface Stretch {
  readonly from: number
  readonly until: number
  readonly kind: Coverage['kind']
  readonly cause: string
}

export interface Lane {
  readonly camera: string
  readonly stretches: readonly Stretch[]
  readonly error?: unknown
}

/** How often the present is asked for anew. */
const FRESH_MS = 15 * SECOND

export const stretches = (coverage: readonly Coverage[]): Stretch[] =>
  coverage.map(({ from, until, kind, cause }) => ({ from: ms(from), until: ms(until), kind, cause }))

interface Held extends Lane {
  readonly from: number
  readonly until: number
  readonly asked: number
}

/** Coverage of these cameras around `[from, until)`; grows as answers come. */
export function useCoverage(cameras: readonly string[], from: number, until: number): ReadonlyMap<string, Lane> {
  const engine = useEngine()
  const held = useRef(new Map<string, Held>())
  const asking = useRef(new Set<string>())
  const [, redraw] = useState(0)
  const [turn, next] = useState(0)
  useEffect(() => {
    const timer = setInterval(() => next(count => count + 1), FRESH_MS)
    return () => clearInterval(timer)
  }, [])
  useEffect(() => {
    const margin = (until - from) / 2
    const timer = setTimeout(
      () => {
        for (const camera of cameras) {
          const have = held.current.get(camera)
          const covers = have && have.from <= from && have.until >= Math.min(until, have.asked)
          const fresh = have && (have.until < have.asked || Date.now() - have.asked < FRESH_MS)
          if ((covers && fresh) || asking.current.has(camera)) continue
          asking.current.add(camera)
          const asked = Date.now()
          const [a, b] = [from - margin, until + margin]
          engine
            .timeline(camera, utc(a), utc(b))
            .then(
              answer =>
                held.current.set(camera, { camera, stretches: stretches(answer.coverage), from: a, until: b, asked }),
              error =>
                held.current.set(camera, {
                  ...(have ?? { camera, stretches: [], from: a, until: b }),
                  asked,
                  error,
                }),
            )
            .finally(() => {
              asking.current.delete(camera)
              redraw(count => count + 1)
            })
        }
      },
      held.current.size === 0 ? 0 : 120,
    )
    return () => clearTimeout(timer)
  }, [engine, cameras.join(), Math.round(from / 1000), Math.round(until / 1000), turn])
  return held.current
}
