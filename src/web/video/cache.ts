/**
 * Opened fragments of recordings, bounded by bytes: stepping back and scrubbing open nothing twice.
 *
 * What does not belong: keys. Invariants: at most {@link BYTES_MAX} of payload, the one used longest ago goes first; wiped
 * with the keys.
 */

import type { Opened } from '../crypto/index.js'

/** Two minutes of one camera at 4 Mbit/s. */
const BYTES_MAX = 64 * 1024 * 1024

/** See the file. */
export class FragmentCache {
  readonly #all = new Map<string, Opened>()
  #bytes = 0

  get(camera: string, epoch: bigint, offset: number): Opened | undefined {
    const name = `${camera} ${epoch} ${offset}`
    const found = this.#all.get(name)
    if (found) {
      this.#all.delete(name)
      this.#all.set(name, found)
    }
    return found
  }

  put(camera: string, epoch: bigint, offset: number, opened: Opened): void {
    const name = `${camera} ${epoch} ${offset}`
    if (this.#all.has(name)) return
    this.#all.set(name, opened)
    this.#bytes += opened.payload.length
    for (const [oldest, { payload }] of this.#all) {
      if (this.#bytes <= BYTES_MAX || oldest === name) break
      this.#bytes -= payload.length
      this.#all.delete(oldest)
    }
  }

  /** Wipes everything. */
  wipe(): void {
    for (const { payload } of this.#all.values()) payload.fill(0)
    this.#all.clear()
    this.#bytes = 0
  }
}
