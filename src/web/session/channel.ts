/**
 * The client's half of a channel: numbers requests, remembers what became of them, says so with every proof. Twin of
 * `Outbox` in `src/access/channel.rs`.
 *
 * What does not belong: signing (crypto/request), sending. Invariants: a counter is used once; an outcome is said once and
 * never changes; an outcome other than an answer is repeated until a proof that carries it was answered, because the proof
 * itself may be lost; `settled` never passes a request whose outcome this proof or an answered one does not give.
 */

import { request, type Bytes } from '../crypto/index.js'
import { refuse } from './errors.js'

/** What became of a request: its answer was read to its end, a failure, or the refusal of a copy with this nonce. */
export type Outcome = 'answer' | 'failure' | { readonly nonce: Bytes }

/** See the file. Lives in memory only; after a resync, or when the channel has ended, begin a new one. */
export class Outbox {
  #last = 0n
  #settled = 0n
  /** Sent, nothing seen yet; with the reports that went along. */
  readonly #pending = new Map<bigint, readonly bigint[]>()
  /** Above `settled`. */
  #answered = new Set<bigint>()
  /** Outcomes that scribe may not know yet. */
  readonly #unsaid = new Map<bigint, Exclude<Outcome, 'answer'>>()

  /** The next counter, and what to say with it; refuses with `channel_full`. */
  begin(): { counter: bigint; progress: request.Progress } {
    const unsaid = [...this.#unsaid].sort(([one], [other]) => (one < other ? -1 : 1))
    const carried = unsaid.slice(0, request.REPORTS_MAX)
    const counter = this.#last + 1n
    let settled = this.#last
    for (const pending of this.#pending.keys()) settled = min(settled, pending - 1n)
    const silent = unsaid[request.REPORTS_MAX]
    if (silent) settled = min(settled, silent[0] - 1n)
    if (counter - settled > request.WINDOW) {
      throw refuse('channel_full', 'Too many requests at once', '1,024 requests of this page are unsettled; wait for one')
    }
    this.#settled = settled
    this.#answered = new Set([...this.#answered].filter(answered => answered > settled))
    this.#last = counter
    this.#pending.set(
      counter,
      carried.map(([of]) => of),
    )
    const reports = carried.map(([of, seen]) => (seen === 'failure' ? { counter: of } : { counter: of, nonce: seen.nonce }))
    const answered = [...this.#answered].sort((one, other) => (one < other ? -1 : 1))
    return { counter, progress: { settled: this.#settled, answered, reports } }
  }

  /** What became of a request. False when it is not on its way: never sent, or finished before. */
  finish(counter: bigint, outcome: Outcome): boolean {
    const carried = this.#pending.get(counter)
    if (!carried) return false
    this.#pending.delete(counter)
    if (outcome === 'answer') {
      this.#answered.add(counter)
      for (const said of carried) this.#unsaid.delete(said)
    } else {
      this.#unsaid.set(counter, outcome)
    }
    return true
  }

  /** Requests on their way. */
  get pending(): number {
    return this.#pending.size
  }
}

const min = (one: bigint, other: bigint): bigint => (one < other ? one : other)
