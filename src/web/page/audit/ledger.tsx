/**
 * The ledger, newest first, a hundred entries at a time, types in words.
 *
 * What does not belong: proofs (`peri-verify`). Invariant: an entry that cannot be read is shown as such, not left out.
 */

import { useState } from 'preact/hooks'
import type { LedgerEntry } from '../../engine.js'
import { useEngine, useLoad } from '../lib/hooks.js'
import { exact, ms } from '../lib/time.js'
import { count, maybe, t, type Key } from '../lib/words.js'
import { Busy, Button, Trouble } from '../ui/controls.js'
import { Page } from '../ui/page.js'

const PAGE = 100n
const BOOKS = ['all', 'access', 'technical', 'billing'] as const

interface Shown {
  readonly entries: readonly LedgerEntry[]
  readonly from: bigint
  readonly size: bigint
  readonly checkpoint: string
}

export function LedgerPage() {
  const engine = useEngine()
  /** First entry that is shown; `undefined`: the newest. */
  const [from, go] = useState<bigint>()
  const [book, choose] = useState<(typeof BOOKS)[number]>('all')
  const load = useLoad<Shown>(async () => {
    let start = from
    let part = await engine.ledger(start ?? 0n)
    if (start === undefined) {
      start = part.size > PAGE ? part.size - PAGE : 0n
      if (start > 0n) part = await engine.ledger(start)
    }
    const wanted = start + PAGE < part.size ? start + PAGE : part.size
    const entries = [...part.entries]
    // An answer is as long as a message; a page may take more than one.
    while (entries.length > 0 && start + BigInt(entries.length) < wanted) {
      const more = await engine.ledger(start + BigInt(entries.length))
      if (more.entries.length === 0) break
      entries.push(...more.entries)
    }
    return { entries: entries.slice(0, Number(PAGE)), from: start, size: part.size, checkpoint: part.checkpoint }
  }, [engine, from])
  const { value } = load
  const shown = (value?.entries ?? []).filter(entry => book === 'all' || entry.ledger === book).reverse()
  return (
    <Page
      title={t('ledger.title')}
      text={t('ledger.text')}
      actions={
        <Button icon="refresh" busy={load.busy} onClick={load.again}>
          {t('refresh')}
        </Button>
      }
    >
      <div class="row apart">
        <div class="group" role="group" aria-label={t('ledger.which')}>
          {BOOKS.map(each => (
            <button
              key={each}
              type="button"
              class="button small"
              aria-pressed={book === each}
              onClick={() => choose(each)}
            >
              {t(`ledger.${each}` as Key)}
            </button>
          ))}
        </div>
        {value && <Pager shown={value} onGo={go} />}
      </div>
      <Trouble error={load.error} again={load.again} />
      {!value ? (
        load.busy && <Busy />
      ) : shown.length === 0 ? (
        <p>{t('ledger.none')}</p>
      ) : (
        <table class="table ledger" aria-label={t('ledger.title')}>
          <thead>
            <tr>
              <th scope="col">{t('ledger.index')}</th>
              <th scope="col">{t('time')}</th>
              <th scope="col">{t('ledger.what')}</th>
              <th scope="col">{t('ledger.which')}</th>
              <th scope="col">{t('ledger.whom')}</th>
              <th scope="col">{t('ledger.bytes')}</th>
            </tr>
          </thead>
          <tbody>
            {shown.map(entry => (
              <Row key={String(entry.index)} entry={entry} />
            ))}
          </tbody>
        </table>
      )}
      {value && (
        <details>
          <summary>{value.checkpoint ? t('ledger.checkpoint') : t('ledger.nocheckpoint')}</summary>
          <pre class="mono raw" tabIndex={0}>
            {value.checkpoint}
          </pre>
        </details>
      )}
    </Page>
  )
}

/** Types that an auditor looks for first. */
const GRAVE = new Set([
  'session_locked',
  'copy_unresolved',
  'invitation_misused',
  'sandbox_violation',
  'roster_alarm',
  'erased_early',
  'unreadable',
])

function Row({ entry }: { entry: LedgerEntry }) {
  const hexadecimal = [...entry.bytes].map(byte => byte.toString(16).padStart(2, '0')).join('')
  return (
    <tr class={GRAVE.has(entry.type) ? 'grave' : ''}>
      <th scope="row" class="figures" data-head={t('ledger.index')}>
        {count(entry.index)}
      </th>
      <td class="figures" data-head={t('time')}>
        {entry.time === 0n ? '–' : exact(ms(entry.time))}
      </td>
      <td data-head={t('ledger.what')}>
        <div>
          {maybe(`entry.${entry.type}`) ?? entry.type}
          <span class="hint block mono">{entry.type}</span>
        </div>
      </td>
      <td data-head={t('ledger.which')}>{maybe(`ledger.${entry.ledger}`) ?? entry.ledger}</td>
      <td data-head={t('ledger.whom')} class="mono">
        {entry.subject === null ? '–' : <span title={entry.subject}>{entry.subject.slice(0, 8)}</span>}
      </td>
      <td data-head={t('ledger.bytes')}>
        <details>
          <summary>
            {count(entry.bytes.length)} B<span class="unseen">: {t('ledger.show', { n: count(entry.index) })}</span>
          </summary>
          <code class="raw">{hexadecimal}</code>
        </details>
      </td>
    </tr>
  )
}

function Pager({ shown, onGo }: { shown: Shown; onGo: (from: bigint | undefined) => void }) {
  const { from, size, entries } = shown
  const end = from + BigInt(entries.length)
  return (
    <nav class="row" aria-label={t('ledger.size', { n: count(size) })}>
      <span class="figures quiet">
        {entries.length > 0 && t('ledger.page', { from: count(from), until: count(end - 1n), size: count(size) })}
      </span>
      <Button small disabled={end >= size} onClick={() => onGo(undefined)}>
        {t('ledger.newest')}
      </Button>
      <Button small icon="back" disabled={end >= size} onClick={() => onGo(end)}>
        {t('ledger.newer')}
      </Button>
      <Button small disabled={from === 0n} onClick={() => onGo(from > PAGE ? from - PAGE : 0n)}>
        {t('ledger.older')}
      </Button>
    </nav>
  )
}
