/**
 * Accounts and invitations: for administrators, and for seats, whose signatures then count towards k.
 *
 * What does not belong: rights to pictures (custody/grants). Invariants: a key is entered only after its words were
 * heard – two of them are covered and typed; a link is shown once.
 */

import { useState } from 'preact/hooks'
import type { Account } from '../../engine.js'
import { useAction, useEngine, useHouse } from '../lib/hooks.js'
import { roleName, tenWords } from '../lib/names.js'
import { t, type Key } from '../lib/words.js'
import { Button, Field, Note, Sign, Trouble, Words } from '../ui/controls.js'
import { Dialog } from '../ui/dialog.js'
import { Page, Section, Table } from '../ui/page.js'
import { Invitations } from './invitations.js'
import { InviteDialog } from './invite.js'
import { tell } from './proposed.js'

type Asking = { readonly what: 'invite' } | { readonly what: 'remove' | 'revoke' | 'reset'; readonly account: Account }

export function People() {
  const house = useHouse()
  const [asking, ask] = useState<Asking>()
  const [all, showAll] = useState(false)
  const [turn, next] = useState(0)
  const gone = house.accounts.filter(account => account.state === 'removed')
  const shown = house.accounts.filter(account => all || account.state !== 'removed')
  const { me } = house
  const close = () => {
    ask(undefined)
    next(count => count + 1)
  }
  return (
    <Page
      title={t('people.title')}
      text={t('people.text')}
      actions={
        <Button kind="main" icon="add" onClick={() => ask({ what: 'invite' })}>
          {t('invite.open')}
        </Button>
      }
    >
      <Invitations turn={turn} />
      <Section title={t('people.accounts')}>
        <Table
          label={t('people.accounts')}
          head={[t('name'), t('people.role'), t('people.state'), t('people.key'), t('people.actions')]}
          rows={shown.map(account => {
            const mine = me.kind === 'account' && me.id === account.id
            const active = account.state === 'in office'
            return {
              key: account.id,
              class: account.state === 'removed' ? 'past' : '',
              cells: [
                <>
                  {account.name}
                  {mine && <span class="tag">{t('people.you')}</span>}
                </>,
                roleName(account.role),
                <Sign tone={active ? 'good' : account.state === 'removed' ? 'none' : 'bad'}>
                  {t(`people.${account.state}` as Key)}
                </Sign>,
                <Words words={tenWords(account.key)} small />,
                account.state === 'removed' || mine ? (
                  '–'
                ) : (
                  <span class="row">
                    {active && (
                      <Button small onClick={() => ask({ what: 'revoke', account })}>
                        {t('revoke.key')}
                      </Button>
                    )}
                    <Button small onClick={() => ask({ what: 'reset', account })}>
                      {t('reset.open')}
                    </Button>
                    <Button small kind="danger" onClick={() => ask({ what: 'remove', account })}>
                      {t('remove.open')}
                    </Button>
                  </span>
                ),
              ],
            }
          })}
        />
        {gone.length > 0 && !all && (
          <div>
            <Button small onClick={() => showAll(true)}>
              {t('people.gone', { n: gone.length })}
            </Button>
          </div>
        )}
      </Section>
      {asking?.what === 'invite' && <InviteDialog onClose={close} />}
      {asking?.what === 'reset' && <InviteDialog reset={asking.account} onClose={close} />}
      {asking?.what === 'remove' && <Remove account={asking.account} onClose={close} />}
      {asking?.what === 'revoke' && (
        <Revoke
          title={t('revoke.title', { name: asking.account.name })}
          text={t('revoke.text')}
          keys={[asking.account.key]}
          grants={[]}
          onClose={close}
        />
      )}
    </Page>
  )
}

function Remove({ account, onClose }: { account: Account; onClose: () => void }) {
  const engine = useEngine()
  const remove = useAction(async () => {
    tell(
      await engine.propose({ kind: 'account removal', account: account.id }),
      t('remove.done', { name: account.name }),
    )
    onClose()
    await engine.house()
  })
  return (
    <Dialog title={t('remove.title', { name: account.name })} onClose={onClose}>
      <Note tone="warn">{t('remove.text')}</Note>
      <Trouble error={remove.error} />
      <div class="actions">
        <Button onClick={onClose}>{t('cancel')}</Button>
        <Button kind="danger" busy={remove.busy} onClick={() => void remove.run()}>
          {t('remove.open')}
        </Button>
      </div>
    </Dialog>
  )
}

/** A revocation with its reason; also of grants (custody/grants). */
export function Revoke(props: {
  title: string
  text: string
  keys: readonly string[]
  grants: readonly string[]
  onClose: () => void
}) {
  const engine = useEngine()
  const [reason, type] = useState('')
  const [tried, attempt] = useState(false)
  const revoke = useAction(async () => {
    const { keys, grants } = props
    tell(await engine.propose({ kind: 'revocation', keys, grants, reason: reason.trim() }), t('revoke.done'))
    props.onClose()
    await engine.house()
  })
  return (
    <Dialog title={props.title} onClose={props.onClose}>
      <form
        class="stack"
        noValidate
        onSubmit={event => {
          event.preventDefault()
          attempt(true)
          if (reason.trim() !== '') void revoke.run()
        }}
      >
        <Note tone="warn">{props.text}</Note>
        <Field
          label={t('revoke.reason')}
          value={reason}
          onValue={type}
          maxLength={190}
          required
          first
          hint={t('revoke.reason.hint')}
          error={tried && reason.trim() === '' ? t('revoke.reason.missing') : undefined}
        />
        <Trouble error={revoke.error} />
        <div class="actions">
          <Button onClick={props.onClose}>{t('cancel')}</Button>
          <Button kind="danger" type="submit" busy={revoke.busy}>
            {t('grants.revoke')}
          </Button>
        </div>
      </form>
    </Dialog>
  )
}
