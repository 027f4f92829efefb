/**
 * Name and password; the printed code on a new device. Also after a lock or an end, with the view behind kept.
 *
 * What does not belong: keys and tries (engine). Invariants: the password stays in its field's state and is gone with
 * it; the page never says whether a name exists.
 */

import { useEffect, useState } from 'preact/hooks'
import type { NewKey, State } from '../../engine.js'
import { useAction, useEngine } from '../lib/hooks.js'
import { t } from '../lib/words.js'
import { Button, Busy, Check, Field, Note, Trouble } from '../ui/controls.js'
import { Frame } from './frame.js'
import { acceptable, NewPassword } from './password.js'

/** Why somebody stands before the door. */
function Reason({ state, returning }: { state: State; returning: boolean }) {
  if (state.at === 'locked') {
    return (
      <Note tone="bad" title={t('locked.title')} urgent>
        <p>{t('locked.text')}</p>
        {state.reason && <p class="hint">{t('trouble.said', { detail: state.reason })}</p>}
        {returning && <p>{t('return.text')}</p>}
      </Note>
    )
  }
  if (state.at === 'ended') {
    return (
      <Note tone="warn" title={t('ended.title')} urgent>
        <p>{t('ended.text')}</p>
        {state.reason && <p class="hint">{t('trouble.said', { detail: state.reason })}</p>}
        {returning && <p>{t('return.text')}</p>}
      </Note>
    )
  }
  return null
}

export function Login(props: {
  state: State
  known: readonly string[]
  /** Who was in before, when a view waits. */
  returning: string | undefined
  onRecover: (name: string) => void
}) {
  const engine = useEngine()
  const [name, type] = useState(props.returning ?? props.known[0] ?? '')
  const [password, typePassword] = useState('')
  // The known names may come after the form; what somebody typed stays.
  useEffect(() => {
    if (name === '' && props.known[0] !== undefined) type(props.known[0])
  }, [props.known])
  const [shown, show] = useState(false)
  const [tried, attempt] = useState(false)
  const [strange, wonder] = useState(false)
  const login = useAction(async () => {
    wonder(!(await engine.knownDevice(name.trim())))
    await engine.login(name.trim(), password)
  })
  return (
    <Frame title={t('login.title')}>
      <Reason state={props.state} returning={props.returning !== undefined} />
      {props.state.at === 'out' && <p class="hint">{t('login.promise')}</p>}
      <form
        class="stack"
        noValidate
        onSubmit={event => {
          event.preventDefault()
          attempt(true)
          if (name.trim() !== '' && password !== '') void login.run()
        }}
      >
        <Field
          label={t('login.name')}
          name="username"
          autocomplete="username"
          autocapitalize="none"
          spellcheck={false}
          required
          first={name === ''}
          value={name}
          onValue={type}
          error={tried && name.trim() === '' ? t('login.missing') : undefined}
        />
        {props.known.length > 1 && (
          <div class="row" role="group" aria-label={t('login.known')}>
            {props.known.map(known => (
              <Button key={known} small aria-pressed={known === name} onClick={() => type(known)}>
                {known}
              </Button>
            ))}
          </div>
        )}
        <Field
          label={t('login.password')}
          name="password"
          type={shown ? 'text' : 'password'}
          autocomplete="current-password"
          required
          first={name !== ''}
          value={password}
          onValue={typePassword}
          error={tried && password === '' ? t('login.missing') : undefined}
        />
        <Check checked={shown} onValue={show}>
          {t('login.show')}
        </Check>
        {login.error !== undefined && <Trouble error={login.error} />}
        {login.error !== undefined && strange && <Note tone="warn">{t('login.unknown')}</Note>}
        <Button kind="main" type="submit" busy={login.busy}>
          {t('login.go')}
        </Button>
        {login.busy && <Busy text={t('login.working')} />}
      </form>
      <div class="stack tight after">
        <Button kind="quiet" icon="key" onClick={() => props.onRecover(name.trim())}>
          {t('login.new')}
        </Button>
        <p class="hint">{t('login.invited')}</p>
      </div>
    </Frame>
  )
}

export function Recover(props: { name: string; onMade: (made: NewKey, name: string) => void; onBack: () => void }) {
  const engine = useEngine()
  const [name, typeName] = useState(props.name)
  const [code, typeCode] = useState('')
  const [first, typeFirst] = useState('')
  const [second, typeSecond] = useState('')
  const [tried, attempt] = useState(false)
  const recover = useAction(async () => {
    const made = await engine.recover(name.trim(), code, first)
    props.onMade(made, name.trim())
  })
  return (
    <Frame title={t('recover.title')}>
      <p class="hint">{t('recover.text')}</p>
      <form
        class="stack"
        noValidate
        onSubmit={event => {
          event.preventDefault()
          attempt(true)
          if (name.trim() !== '' && code.trim() !== '' && acceptable(first, second)) void recover.run()
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
          error={tried && name.trim() === '' ? t('login.missing') : undefined}
        />
        <Field
          label={t('recover.code')}
          class="input mono"
          autocomplete="off"
          autocapitalize="characters"
          spellcheck={false}
          required
          value={code}
          onValue={typeCode}
          hint={t('recover.code.hint')}
          error={tried && code.trim() === '' ? t('login.missing') : undefined}
        />
        <NewPassword first={first} second={second} onFirst={typeFirst} onSecond={typeSecond} tried={tried} />
        <Trouble error={recover.error} />
        <div class="row apart">
          <Button icon="back" onClick={props.onBack}>
            {t('back')}
          </Button>
          <Button kind="main" type="submit" busy={recover.busy}>
            {t('recover.go')}
          </Button>
        </div>
        {recover.busy && <Busy text={t('login.working')} />}
      </form>
    </Frame>
  )
}
