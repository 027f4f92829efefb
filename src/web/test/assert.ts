/**
 * Assertions that work in Node and in the browser.
 */

import { hex, PeriError } from '../crypto/index.js'
import { EngineError } from '../session/errors.js'

/** Throws unless both are the same. */
export function same(found: unknown, expected: unknown, what: string): void {
  const [one, other] = [text(found), text(expected)]
  if (one !== other) throw new Error(`${what}: found ${one.slice(0, 200)}, expected ${other.slice(0, 200)}`)
}

function text(value: unknown): string {
  return value instanceof Uint8Array ? hex(value) : typeof value === 'string' ? value : JSON.stringify(value)
}

/** The class of a refusal; anything that is not one is thrown on, `good` when nothing is refused. */
export async function classOf(run: () => unknown): Promise<string> {
  try {
    await run()
    return 'good'
  } catch (error) {
    if (error instanceof PeriError || error instanceof EngineError) return error.code
    throw error
  }
}

/** Throws unless this is refused with that class. */
export async function refused(code: string, what: string, run: () => unknown): Promise<void> {
  same(await classOf(run), code, what)
}
