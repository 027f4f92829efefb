/** Dialogs that everybody has: the own account, keys of the keyboard, standing notices. */

import { useState } from 'preact/hooks'
import type { NewKey } from '../engine.js'
import { acceptable, NewPassword } from './entry/password.js'
import { Sheet } from './entry/sheet.js'
import { useAction, useEngine, useHouse } from './lib/hooks.js'
import { standingName } from './lib/names.js'
import { notice } from './lib/trouble.js'
import { t } from './lib/words.js'
import { notify } from './ui/announce.js'
import { Button, Field, Note, Trouble, Words } from './ui/controls.js'
import { Dialog } from './ui/dialog.js'
import { LanguageSwitch, ThemeSwitch } from './ui/switches.js'

type Step = 'menu' | 'password' | 'sheet' | 'forget'

export function AccountDialog(props: { name: string; onClose: () => void; onLogout: () => Promise<void> }) {
  const house = useHouse()
  const engine = useEngine()
  const [step, go] = useState<Step>('menu')
  const logout = useAction(async () => {
    props.onClose()
    await props.onLogout()
  })
  const forget = useAction(async () => {
    await engine.forgetDevice(props.name)
    await props.onLogout()
  })
  if (step === 'password') return <ChangePassword onClose={props.onClose} />
  if (step === 'sheet') return <NewSheet name={props.name} onClose={props.onClose} />
  if (step === 'forget') {
    return (
      <Dialog title={t('menu.forget')} onClose={props.onClose}>
        <Note tone="warn">{t('menu.forget.sure', { name: props.name })}</Note>
        <Trouble error={forget.error} />
        <div class="actions">
          <Button onClick={() => go('menu')}>{t('cancel')}</Button>
          <Button kind="danger" busy={forget.busy} onClick={() => void forget.run()}>
            {t('menu.forget.yes')}
          </Button>
        </div>
      </Dialog>
    )
  }
  return (
    <Dialog title={`${house.name} · ${standingName(house.me)}`} onClose={props.onClose}>
      <section class="stack tight">
        <h3>{t('menu.words')}</h3>
        <Words words={house.keyWords} />
      </section>
      <details>
        <summary>{t('menu.device')}</summary>
        <Words words={house.deviceWords} />
      </details>
      <div class="row apart narrow-only">
        <LanguageSwitch />
        <ThemeSwitch />
      </div>
      <div class="menu">
        <Button icon="lock" onClick={() => go('password')}>
          {t('menu.password')}
        </Button>
        <Button icon="print" onClick={() => go('sheet')}>
          {t('menu.sheet')}
        </Button>
        <Button icon="trash" onClick={() => go('forget')}>
          {t('menu.forget')}
        </Button>
        <Button icon="out" kind="main" busy={logout.busy} onClick={() => void logout.run()}>
          {t('menu.logout')}
        </Button>
      </div>
      <Trouble error={logout.error} />
    </Dialog>
  )
}

function ChangePassword({ onClose }: { onClose: () => void }) {
  const engine = useEngine()
  const [first, typeFirst] = useState('')
  const [second, typeSecond] = useState('')
  const [tried, attempt] = useState(false)
  const change = useAction(async () => {
    await engine.changePassword(first)
    notify(t('password.changed'))
    onClose()
  })
  return (
    <Dialog title={t('password.change')} onClose={onClose} held={change.busy}>
      <form
        class="stack"
        noValidate
        onSubmit={event => {
          event.preventDefault()
          attempt(true)
          if (acceptable(first, second)) void change.run()
        }}
      >
        <NewPassword first={first} second={second} onFirst={typeFirst} onSecond={typeSecond} tried={tried} />
        <Trouble error={change.error} />
        <div class="actions">
          <Button onClick={onClose}>{t('cancel')}</Button>
          <Button kind="main" type="submit" busy={change.busy}>
            {t('password.change')}
          </Button>
        </div>
      </form>
    </Dialog>
  )
}

function NewSheet({ name, onClose }: { name: string; onClose: () => void }) {
  const engine = useEngine()
  const [password, type] = useState('')
  const [made, become] = useState<NewKey>()
  const print = useAction(async () => become(await engine.newSheet(password)))
  return (
    <Dialog title={t('menu.sheet')} onClose={onClose} held={made !== undefined || print.busy}>
      {made ? (
        <Sheet made={made} name={name} onDone={onClose} />
      ) : (
        <form
          class="stack"
          onSubmit={event => {
            event.preventDefault()
            if (password !== '') void print.run()
          }}
        >
          <p>{t('sheet.new.text')}</p>
          <Field
            label={t('login.password')}
            type="password"
            autocomplete="current-password"
            required
            first
            value={password}
            onValue={type}
          />
          <Trouble error={print.error} />
          <div class="actions">
            <Button onClick={onClose}>{t('cancel')}</Button>
            <Button kind="main" type="submit" busy={print.busy}>
              {t('menu.sheet')}
            </Button>
          </div>
        </form>
      )}
    </Dialog>
  )
}

export function NoticesDialog({ onClose }: { onClose: () => void }) {
  const house = useHouse()
  return (
    <Dialog title={t('notices')} onClose={onClose}>
      <ul class="stack tight list">
        {house.notices.map(name => (
          <li key={name}>
            <Note tone="warn">{notice(name)}</Note>
          </li>
        ))}
      </ul>
    </Dialog>
  )
}

export function HelpDialog({ viewer, onClose }: { viewer: boolean; onClose: () => void }) {
  return (
    <Dialog title={t('keys.title')} onClose={onClose} wide>
      <div class="keys">
        <Keys
          title={t('keys.everywhere')}
          keys={[
            [['?'], t('keys.help')],
            ...(viewer ? [] : [[['1', '…', '5'], t('keys.nav')] as const]),
            [['Esc'], t('keys.escape')],
          ]}
        />
        {viewer && (
          <>
            <Keys
              title={t('keys.wall')}
              keys={[
                [['←', '↑', '→', '↓'], t('keys.tiles')],
                [['Enter'], t('keys.open')],
                [['X'], t('keys.select')],
                [['G', '/'], t('keys.jump')],
              ]}
            />
            <Keys
              title={t('keys.player')}
              keys={[
                [['Space'], t('keys.space')],
                [['J', 'K', 'L'], t('keys.jkl')],
                [[',', '.'], t('keys.frames')],
                [['←', '→'], t('keys.arrows')],
                [['Home', 'End'], t('keys.homeend')],
                [['I', 'O'], t('keys.marks')],
                [['Z'], t('keys.clear')],
                [['E'], t('keys.export')],
                [['+', '-'], t('keys.zoom')],
                [['G', '/'], t('keys.jump')],
                [['F'], t('keys.full')],
              ]}
            />
          </>
        )}
      </div>
      <p class="hint">{t('keys.hint')}</p>
    </Dialog>
  )
}

const Keys = ({ title, keys }: { title: string; keys: readonly (readonly [readonly string[], string])[] }) => (
  <section>
    <h3>{title}</h3>
    <dl>
      {keys.map(([names, text]) => (
        <div key={text}>
          <dt>{names.map(name => (name === '…' ? ' … ' : <kbd key={name}>{name}</kbd>))}</dt>
          <dd>{text}</dd>
        </div>
      ))}
    </dl>
  </section>
)
