/**
 * Enrolment behind an invitation's link, in three steps: name and password, ten words to read aloud, the recovery
 * sheet.
 *
 * Invariant: the link's fragment is taken out of the address before anything is shown (main.tsx), so no history keeps
 * it.
 */

import { useState } from 'preact/hooks'
import type { NewKey } from '../../engine.js'
import { useAction, useEngine } from '../lib/hooks.js'
import { t } from '../lib/words.js'
import { Button, Busy, Check, Field, Note, Trouble, Words } from '../ui/controls.js'
import { Frame } from './frame.js'
import { acceptable, NewPassword } from './password.js'
import { Sheet } from './sheet.js'

/** Whether it has the form of an invitation: 48 characters of base64url. */
export const invitation = (fragment: string): boolean => /^[A-Za-z0-9_-]{48}$/.test(fragment)

export function Enrol({ fragment, onDone }: { fragment: string; onDone: (name: string) => void }) {
  const engine = useEngine()
  const [name, typeName] = useState('')
  const [first, typeFirst] = useState('')
  const [second, typeSecond] = useState('')
  const [tried, attempt] = useState(false)
  const [made, become] = useState<NewKey>()
  const [step, go] = useState<'sheet' | 'words' | 'ready'>('sheet')
  const enrol = useAction(async () => {
    become(await engine.enrol(fragment, name.trim(), first))
    typeFirst('')
    typeSecond('')
  })
  if (!invitation(fragment)) {
    return (
      <Frame title={t('enrol.bad')}>
        <Note tone="warn">{t('enrol.bad.text')}</Note>
        <div class="actions">
          <Button onClick={() => onDone('')}>{t('login.title')}</Button>
        </div>
      </Frame>
    )
  }
  if (made && step === 'sheet') {
    return (
      <Frame title={t('sheet.title')} step={t('enrol.steps', { n: 2 })}>
        <Sheet made={made} name={name.trim()} onDone={() => go('words')} />
      </Frame>
    )
  }
  if (made && step === 'words') return <Compare words={made.words} onDone={() => go('ready')} />
  if (made) {
    return (
      <Frame title={t('enrol.ready')}>
        <p>{t('enrol.ready.text')}</p>
        <Words words={made.words} />
        <div class="actions">
          <Button kind="main" onClick={() => onDone(name.trim())}>
            {t('login.title')}
          </Button>
        </div>
      </Frame>
    )
  }
  return (
    <Frame title={t('enrol.title')} step={t('enrol.steps', { n: 1 })}>
      <p>{t('enrol.text')}</p>
      <form
        class="stack"
        noValidate
        onSubmit={event => {
          event.preventDefault()
          attempt(true)
          if (name.trim() !== '' && acceptable(first, second)) void enrol.run()
        }}
      >
        <Field
          label={t('login.name')}
          autocomplete="username"
          autocapitalize="none"
          spellcheck={false}
          required
          first
          value={name}
          onValue={typeName}
          hint={t('enrol.name.hint')}
          error={tried && name.trim() === '' ? t('login.missing') : undefined}
        />
        <NewPassword first={first} second={second} onFirst={typeFirst} onSecond={typeSecond} tried={tried} />
        <Trouble error={enrol.error} />
        <Button kind="main" type="submit" busy={enrol.busy}>
          {t('enrol.go')}
        </Button>
        {enrol.busy && <Busy text={t('enrol.working')} />}
      </form>
    </Frame>
  )
}

function Compare({ words, onDone }: { words: readonly string[]; onDone: () => void }) {
  const [read, become] = useState(false)
  return (
    <Frame title={t('enrol.compare')} step={t('enrol.steps', { n: 3 })}>
      <p>{t('enrol.compare.text')}</p>
      <Words words={words} />
      <Check checked={read} onValue={become}>
        {t('enrol.compared')}
      </Check>
      <div class="actions">
        <Button onClick={onDone}>{t('enrol.later')}</Button>
        <Button kind="main" disabled={!read} onClick={onDone}>
          {t('done')}
        </Button>
      </div>
    </Frame>
  )
}
