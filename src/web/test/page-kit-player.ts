/** Recordings of page-kit.ts: which stretches there are, a drawing in a video, a player that keeps time. */

import type { Player, PlayerEvent, Timeline } from '../engine.js'
import { kit } from './page-kit-house.js'
import { draw } from './page-kit-pictures.js'

export const HOUR = 3_600_000
export const ns = (at: number): bigint => BigInt(Math.round(at)) * 1_000_000n
export const msOf = (at: bigint): number => Number(at / 1_000_000n)
export const soon = <T>(value: T, after = 30): Promise<T> => new Promise(done => setTimeout(() => done(value), after))

export const coverage = (from: number, until: number): Timeline => {
  const spans: Timeline['coverage'][number][] = []
  const put = (a: number, b: number, kind: Timeline['coverage'][number]['kind'], cause = '') => {
    const [x, y] = [Math.max(a, from), Math.min(b, until)]
    if (x < y) spans.push({ from: ns(x), until: ns(y), kind, cause })
  }
  const now = Date.now()
  put(now - 200 * HOUR, now - 72 * HOUR, 'erased', 'retention')
  put(now - 72 * HOUR, now - 9 * HOUR, 'recorded')
  put(now - 9 * HOUR, now - 8.7 * HOUR, 'lost', 'no answer')
  put(now - 8.7 * HOUR, now - 3 * HOUR, 'recorded')
  put(now - 3 * HOUR, now - 2.8 * HOUR, 'paused', 'works council')
  put(now - 2.8 * HOUR, now - 0.62 * HOUR, 'recorded')
  put(now - 0.62 * HOUR, now - 0.55 * HOUR, 'lost', 'the camera sent no video for 20 s; is its encoder running?')
  put(now - 0.55 * HOUR, now, 'recorded')
  return { coverage: spans, segments: [] }
}

/** Shows a drawing in a video, as the engine shows a picture. */
export function picture(video: HTMLVideoElement, camera: string, at: () => number | undefined): () => void {
  const canvas = document.createElement('canvas')
  canvas.width = 640
  canvas.height = 360
  const index = kit.cameras.indexOf(camera)
  const paint = () => {
    const time = at()
    if (time !== undefined) draw(canvas, Math.max(0, index), time)
  }
  paint()
  const timer = setInterval(paint, 100)
  video.srcObject = canvas.captureStream(10)
  void video.play().catch(() => undefined)
  return () => {
    clearInterval(timer)
    video.srcObject = null
  }
}

export class KitPlayer implements Player {
  readonly #listeners = new Set<(event: PlayerEvent) => void>()
  readonly #ends: (() => void)[]
  #at = Date.now() - HOUR
  #rate = 1
  #playing = false
  readonly #timer: ReturnType<typeof setInterval>

  constructor(readonly cameras: readonly { readonly camera: string; readonly video: HTMLVideoElement }[]) {
    this.#ends = cameras.map(({ camera, video }) => picture(video, camera, () => this.#at))
    this.#timer = setInterval(() => {
      if (!this.#playing) return
      this.#at += 100 * this.#rate
      this.#tell({ is: 'time', utc: ns(this.#at) })
    }, 100)
  }

  #tell(event: PlayerEvent): void {
    for (const listener of this.#listeners) listener(event)
  }

  #state(): void {
    this.#tell({ is: 'state', state: this.#playing ? 'playing' : 'paused', rate: this.#rate })
  }

  on(listener: (event: PlayerEvent) => void) {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  async seek(at: bigint) {
    this.#tell({ is: 'state', state: 'seeking', rate: this.#rate })
    await soon(undefined, 60)
    this.#at = msOf(at)
    const span = coverage(this.#at - 1, this.#at + 1).coverage[0]
    for (const { camera } of this.cameras) {
      const gap = span && span.kind !== 'recorded'
      this.#tell({
        is: 'camera',
        camera,
        status: gap
          ? { is: 'gap', kind: span.kind, cause: span.cause, until: ns(this.#at + 600_000) }
          : { is: 'playing' },
      })
    }
    this.#tell({ is: 'time', utc: at })
    this.#state()
  }

  play() {
    this.#playing = true
    this.#state()
  }

  pause() {
    this.#playing = false
    this.#state()
  }

  rate(rate: number) {
    this.#rate = rate
    this.#state()
  }

  shuttle(key: -1 | 0 | 1) {
    this.#playing = key !== 0
    this.#rate = key === 0 ? 1 : Math.sign(this.#rate) === key && this.#rate !== 1 ? this.#rate * 2 : key
    this.#state()
  }

  async step(frames: 1 | -1) {
    this.#playing = false
    this.#at += frames * 40
    this.#tell({ is: 'time', utc: ns(this.#at) })
    this.#state()
  }

  now() {
    return ns(this.#at)
  }

  close() {
    clearInterval(this.#timer)
    for (const end of this.#ends) end()
  }
}
