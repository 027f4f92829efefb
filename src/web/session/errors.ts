/**
 * What the appliance or this page refuses, as the page shows it.
 *
 * The terms of RFC 9457, as `Problem` in `src/access/wire.rs`; refusals of the cryptography keep their class as `code`. What
 * does not belong: decisions about what to do next. Invariant: no message holds a secret, because {@link PeriError} holds none.
 */

import { PeriError } from '../crypto/errors.js'

/** Fields of a failure; a plain object, so that it passes between threads. */
export interface Problem {
  /** As an HTTP status says it; 0: it never came to the appliance, or its answer never came. */
  readonly status: number
  /** Stable short name for programs. */
  readonly code: string
  /** What happened. */
  readonly title: string
  /** Cause and remedy. */
  readonly detail: string
  /** Seconds after which another attempt may do better. */
  readonly retryAfter?: number
}

/** A failure. */
export class EngineError extends Error {
  readonly status: number
  readonly code: string
  readonly title: string
  readonly detail: string
  readonly retryAfter: number | undefined

  constructor(problem: Problem) {
    super(`${problem.title}: ${problem.detail}`)
    this.name = 'EngineError'
    this.status = problem.status
    this.code = problem.code
    this.title = problem.title
    this.detail = problem.detail
    this.retryAfter = problem.retryAfter
  }

  /** The plain form. */
  problem(): Problem {
    const { status, code, title, detail, retryAfter } = this
    return retryAfter === undefined ? { status, code, title, detail } : { status, code, title, detail, retryAfter }
  }

  /** Whatever was thrown, as one. */
  static from(error: unknown): EngineError {
    if (error instanceof EngineError) return error
    if (error instanceof PeriError) return refuse(error.code, 'What came does not verify', error.message)
    if (error instanceof DOMException && error.name === 'AbortError') {
      return refuse('aborted', 'Ended', 'it was ended before it was through')
    }
    const detail = error instanceof Error ? error.message : String(error)
    return refuse('internal', 'This page failed', `${detail}; reload the page`)
  }
}

/** A refusal of this page itself. */
export const refuse = (code: string, title: string, detail: string): EngineError =>
  new EngineError({ status: 0, code, title, detail })

/** The appliance does not answer. */
export const unreachable = (detail: string): EngineError =>
  refuse('unreachable', 'The appliance does not answer', `${detail}; it is asked again`)

/** The appliance answers in a form that is none. */
export const protocol = (detail: string): EngineError =>
  refuse('protocol', 'The answer is not understood', `${detail}; are page and appliance of the same version? Reload the page`)
