/** A value that components watch; outlives them, so that a view is there again after a lock. */

import { useEffect, useState } from 'preact/hooks'

export class Store<T extends object> {
  #value: T
  readonly #listeners = new Set<() => void>()

  constructor(value: T) {
    this.#value = value
  }

  get value(): T {
    return this.#value
  }

  set(patch: Partial<T>): void {
    const next = { ...this.#value, ...patch }
    if (Object.keys(patch).every(key => Object.is(next[key as keyof T], this.#value[key as keyof T]))) return
    this.#value = next
    for (const listener of [...this.#listeners]) listener()
  }

  on(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }
}

/** The value, and a new drawing whenever it changes. */
export function useStore<T extends object>(store: Store<T>): T {
  const [, redraw] = useState(0)
  useEffect(() => {
    const off = store.on(() => redraw(count => count + 1))
    return () => void off()
  }, [store])
  return store.value
}
