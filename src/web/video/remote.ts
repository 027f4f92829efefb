/**
 * The page's end of the worker: starts it, calls it, hears it.
 *
 * What does not belong: what calls mean. Invariant: the worker is made through the one Trusted Types policy there is, which
 * gives one constant URL.
 */

import type { House, Progress, State } from '../facade.js'
import { EngineError, refuse } from '../session/errors.js'
import type { CallMessage, Calls, LiveEvent, WorkerMessage } from './calls.js'

const WORKER = '/worker.js'

interface Events {
  state: State
  house: House
  notice: string
}

interface TrustedTypes {
  createPolicy(name: string, rules: { createScriptURL: (url: string) => string }): {
    createScriptURL(url: string): string
  }
}

let url: string | undefined

/** The one URL, as the policy `peri-worker` of the page gives it. */
function workerUrl(): string {
  const types = (globalThis as { trustedTypes?: TrustedTypes }).trustedTypes
  url ??= types ? types.createPolicy('peri-worker', { createScriptURL: () => WORKER }).createScriptURL('') : WORKER
  return url
}

/** See the file. */
export class Remote {
  readonly #worker: Worker
  readonly #pending = new Map<number, { resolve: (value: never) => void; reject: (error: Error) => void }>()
  readonly #events = new Map<keyof Events, (value: never) => void>()
  readonly #live = new Map<number, (event: LiveEvent) => void>()
  readonly #progress = new Map<number, (progress: Progress) => void>()
  #last = 0
  #dead: EngineError | undefined

  constructor() {
    this.#worker = new Worker(workerUrl(), { type: 'module', name: 'peri' })
    this.#worker.onmessage = ({ data }: MessageEvent<WorkerMessage>) => this.#hear(data)
    this.#worker.onerror = event => {
      event.preventDefault()
      this.#die(`${event.message || 'its script could not be loaded'}; reload the page`)
    }
    this.#worker.onmessageerror = () => this.#die('a message could not be read; reload the page')
  }

  /** Hears an event of the worker; one listener for each. */
  on<E extends keyof Events>(event: E, listener: (value: Events[E]) => void): void {
    this.#events.set(event, listener as (value: never) => void)
  }

  /** Calls. */
  call<C extends keyof Calls>(call: C, ...args: Parameters<Calls[C]>): Promise<ReturnType<Calls[C]>> {
    return new Promise((resolve, reject) => {
      if (this.#dead) return reject(this.#dead)
      const id = ++this.#last
      this.#pending.set(id, { resolve, reject })
      this.#worker.postMessage({ id, call, args } satisfies CallMessage)
    })
  }

  /** A number for something that goes on. */
  job(): number {
    return ++this.#last
  }

  /** Begins a live picture. */
  live(camera: string, origin: bigint, listener: (event: LiveEvent) => void): number {
    const job = this.job()
    this.#live.set(job, listener)
    this.call('live', job, camera, origin).catch((error: unknown) =>
      listener({ is: 'failed', error: EngineError.from(error).problem() }),
    )
    return job
  }

  /** Ends what goes on under a number. */
  stop(job: number): void {
    this.#live.delete(job)
    this.#progress.delete(job)
    this.call('stop', job).catch(() => undefined)
  }

  /** A call that tells how far it is. */
  async export(
    onProgress: (progress: Progress) => void,
    signal: AbortSignal | undefined,
    ...args: [string, bigint, bigint, string]
  ): Promise<ReturnType<Calls['export']>> {
    const job = this.job()
    this.#progress.set(job, onProgress)
    const stop = (): void => this.stop(job)
    signal?.addEventListener('abort', stop, { once: true })
    try {
      if (signal?.aborted) throw refuse('aborted', 'Ended', 'it was ended before it began')
      return await this.call('export', job, ...args)
    } finally {
      signal?.removeEventListener('abort', stop)
      this.#progress.delete(job)
    }
  }

  #hear(message: WorkerMessage): void {
    if ('event' in message) {
      this.#events.get(message.event)?.(message.value as never)
    } else if ('live' in message) {
      this.#live.get(message.job)?.(message.live)
    } else if ('progress' in message) {
      this.#progress.get(message.job)?.(message.progress)
    } else {
      const pending = this.#pending.get(message.id)
      this.#pending.delete(message.id)
      if ('error' in message) pending?.reject(new EngineError(message.error))
      else pending?.resolve(message.ok as never)
    }
  }

  #die(why: string): void {
    this.#dead = refuse('worker', 'This page failed', why)
    for (const { reject } of this.#pending.values()) reject(this.#dead)
    this.#pending.clear()
    this.#events.get('state')?.({ at: 'ended', reason: `this page failed: ${why}` } as never)
  }
}
