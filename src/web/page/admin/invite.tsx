/** Inviting: name and role (or another key for an account), then the link, once. */

import { useRef, useState } from 'preact/hooks'
import type { Account, Invitation, Role } from '../../engine.js'
import { useAction, useEngine } from '../lib/hooks.js'
import { roleName } from '../lib/names.js'
import { dateTime, ms } from '../lib/time.js'
import { t } from '../lib/words.js'
import { announce } from '../ui/announce.js'
import { Button, Field, Note, Select, Trouble } from '../ui/controls.js'
import { Dialog } from '../ui/dialog.js'
import { QrCode } from '../ui/qrcode.js'

/** Custodians hold seats, not accounts. */
const ROLES: readonly Role[] = ['viewer', 'external', 'technician', 'administrator', 'auditor']
const DAYS = ['1', '3', '7', '14'] as const

export function InviteDialog({ reset, onClose }: { reset?: Account; onClose: () => void }) {
  const engine = useEngine()
  const [name, type] = useState(reset?.name ?? '')
  const [role, choose] = useState<Role>('viewer')
  const [days, chooseDays] = useState<(typeof DAYS)[number]>('3')
  const [tried, attempt] = useState(false)
  const [made, become] = useState<Invitation>()
  const invite = useAction(async () => {
    become(await engine.invite(reset ? { account: reset.id } : { name: name.trim(), role }, Number(days)))
  })
  if (made) return <Made made={made} name={name.trim()} onClose={onClose} />
  return (
    <Dialog title={reset ? t('reset.title', { name: reset.name }) : t('invite.title')} onClose={onClose}>
      <form
        class="stack"
        noValidate
        onSubmit={event => {
          event.preventDefault()
          attempt(true)
          if (name.trim() !== '') void invite.run()
        }}
      >
        {reset ? (
          <Note tone="warn">{t('reset.text')}</Note>
        ) : (
          <>
            <Field
              label={t('invite.name')}
              value={name}
              onValue={type}
              maxLength={100}
              required
              first
              autocomplete="off"
              hint={t('invite.name.hint')}
              error={tried && name.trim() === '' ? t('login.missing') : undefined}
            />
            <Select
              label={t('people.role')}
              value={role}
              onValue={choose}
              options={ROLES.map(each => [each, roleName(each)] as const)}
              hint={t('invite.role.hint')}
            />
          </>
        )}
        <Select
          label={t('invite.days')}
          value={days}
          onValue={chooseDays}
          options={DAYS.map(each => [each, t('invite.day', { n: Number(each) })] as const)}
        />
        <Trouble error={invite.error} />
        <div class="actions">
          <Button onClick={onClose}>{t('cancel')}</Button>
          <Button kind="main" type="submit" busy={invite.busy}>
            {t('invite.go')}
          </Button>
        </div>
      </form>
    </Dialog>
  )
}

function Made({ made, name, onClose }: { made: Invitation; name: string; onClose: () => void }) {
  const field = useRef<HTMLInputElement>(null)
  const link = `${location.origin}/#${made.fragment}`
  const copy = async () => {
    field.current?.select()
    try {
      await navigator.clipboard.writeText(link)
      announce(t('copied'))
      say(t('copied'))
    } catch {
      // Without the right to the clipboard the link is selected; the keyboard copies it.
      say('')
    }
  }
  const [said, say] = useState('')
  return (
    <Dialog title={t('invite.made', { name })} onClose={onClose} wide>
      <Note tone="warn">{t('invite.made.text')}</Note>
      <div class="made">
        <div class="stack">
          <div class="field">
            <label for="invitation-link">{t('invite.link')}</label>
            <input
              id="invitation-link"
              ref={field}
              class="input mono"
              readOnly
              value={link}
              onFocus={event => event.currentTarget.select()}
            />
          </div>
          <div class="row">
            <Button icon="copy" onClick={() => void copy()}>
              {t('copy')}
            </Button>
            <span class="quiet">{said}</span>
          </div>
          <p class="hint">{t('invite.until', { at: dateTime(ms(made.notAfter)) })}</p>
          <p>{t('invite.next')}</p>
        </div>
        <QrCode text={link} label={t('invite.qr')} />
      </div>
      <div class="actions">
        <Button kind="main" onClick={onClose}>
          {t('done')}
        </Button>
      </div>
    </Dialog>
  )
}
