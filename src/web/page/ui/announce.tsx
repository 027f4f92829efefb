/**
 * What is read out and what is shown for a while: one polite and one urgent live region, and a stack of notices.
 */

import { useEffect, useState } from 'preact/hooks'
import { t } from '../lib/words.js'
import { Button } from './controls.js'
import { Icon } from './icons.js'

type Tone = 'info' | 'warn' | 'bad'

interface Notice {
  readonly id: number
  readonly tone: Tone
  readonly text: string
}

/** Good news goes by itself; it is read out when it comes and changes nothing when it goes. */
const INFO_MS = 12_000

let said = ''
let notices: readonly Notice[] = []
let next = 1
const listeners = new Set<() => void>()

function tell(): void {
  for (const listener of [...listeners]) listener()
}

/** Read out, not shown. */
export function announce(text: string): void {
  // A trailing space lets the same sentence be read twice.
  said = said === text ? `${text} ` : text
  tell()
}

/** Shown until it is closed and read out. */
export function notify(text: string, tone: Tone = 'info'): void {
  const id = next++
  notices = [...notices.filter(notice => notice.text !== text), { id, tone, text }].slice(-4)
  tell()
  if (tone === 'info') setTimeout(() => drop(id), INFO_MS)
}

function drop(id: number): void {
  notices = notices.filter(notice => notice.id !== id)
  tell()
}

export function clearNotices(): void {
  notices = []
  tell()
}

export function Announcer() {
  const [, redraw] = useState(0)
  useEffect(() => {
    const listener = () => redraw(value => value + 1)
    listeners.add(listener)
    return () => void listeners.delete(listener)
  }, [])
  return (
    <>
      <div class="unseen" role="status">
        {said}
      </div>
      <div class="notices" role="log" aria-label={t('notices')}>
        {notices.map(notice => (
          <div key={notice.id} class={`note ${notice.tone}`}>
            <Icon name={notice.tone} size={22} />
            <div>{notice.text}</div>
            <Button
              bare
              small
              kind="quiet"
              icon="close"
              onClick={() => {
                drop(notice.id)
              }}
            >
              {t('close')}
            </Button>
          </div>
        ))}
      </div>
    </>
  )
}
