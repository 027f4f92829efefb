/**
 * Invitations of this browser: waiting, used (compare and enter), over. Asks anew every few seconds while one waits.
 */

import { useEffect, useState } from 'preact/hooks'
import type { InvitationState, RememberedInvitation } from '../../engine.js'
import { useAction, useEngine, useHouse, useLoad } from '../lib/hooks.js'
import { roleName } from '../lib/names.js'
import { dateTime, ms, SECOND } from '../lib/time.js'
import { t } from '../lib/words.js'
import { notify } from '../ui/announce.js'
import { Busy, Button, Field, FieldError, Sign, Trouble } from '../ui/controls.js'
import { Dialog } from '../ui/dialog.js'
import { Section, Table } from '../ui/page.js'
import { tell } from './proposed.js'

interface Entry extends RememberedInvitation {
  readonly state: InvitationState | undefined
}

export function Invitations({ turn }: { turn: number }) {
  const engine = useEngine()
  const house = useHouse()
  const [entering, enter] = useState<Entry>()
  const list = useLoad<readonly Entry[]>(async () => {
    const known = await engine.invitations()
    return Promise.all(
      known.map(async one => {
        // One that the appliance no longer keeps is over; the others still show.
        const state = await engine.invitation(one.id).catch(() => undefined)
        return { ...one, state }
      }),
    )
  }, [engine, turn])
  const now = Date.now()
  const entered = (one: Entry) =>
    one.state?.key != null && house.accounts.some(account => account.key === one.state?.key)
  const open = (list.value ?? []).filter(
    one => one.state !== undefined && !entered(one) && (one.state.key !== null || ms(one.notAfter) > now),
  )
  const waiting = open.some(one => one.state?.key === null)
  useEffect(() => {
    if (!waiting) return
    const timer = setInterval(() => document.visibilityState === 'visible' && list.again(), 8 * SECOND)
    return () => clearInterval(timer)
  }, [waiting, list.again])
  const withdraw = useAction(async (one: Entry) => {
    await engine.withdraw(one.id)
    notify(t('invite.withdrawn'))
    list.again()
  })
  if (list.value === undefined && list.error === undefined) return <Busy />
  if (open.length === 0 && list.error === undefined) return null
  return (
    <Section title={t('invite.list')}>
      <Trouble error={list.error} again={list.again} />
      <Trouble error={withdraw.error} />
      <Table
        label={t('invite.list')}
        head={[t('name'), t('people.role'), t('people.state'), t('fact.until'), t('people.actions')]}
        rows={open.map(one => ({
          key: one.id,
          cells: [
            <>
              {one.name}
              {one.reset && <span class="tag">{t('invite.reset')}</span>}
            </>,
            roleName(one.role),
            one.state?.key ? (
              <Sign tone="warn">{t('invite.used')}</Sign>
            ) : (
              <Sign tone="none">{t('invite.waiting')}</Sign>
            ),
            <span class="figures">{dateTime(ms(one.notAfter))}</span>,
            <span class="row">
              {one.state?.key && (
                <Button small kind="main" onClick={() => enter(one)}>
                  {t('invite.enter')}
                </Button>
              )}
              {!one.state?.key && (
                <Button small busy={withdraw.busy} onClick={() => void withdraw.run(one)}>
                  {t('invite.withdraw')}
                </Button>
              )}
            </span>,
          ],
        }))}
      />
      {entering?.state?.words && (
        <Enter
          one={entering}
          words={entering.state.words}
          onClose={() => {
            enter(undefined)
            list.again()
          }}
        />
      )}
    </Section>
  )
}

/** Two different places of ten. */
function covered(): readonly [number, number] {
  const [a, b] = crypto.getRandomValues(new Uint8Array(2))
  const first = a! % 10
  return [first, (first + 1 + (b! % 9)) % 10].sort((x, y) => x - y) as unknown as readonly [number, number]
}

function Enter({ one, words, onClose }: { one: Entry; words: readonly string[]; onClose: () => void }) {
  const engine = useEngine()
  const [places] = useState(covered)
  const [heard, hear] = useState<readonly [string, string]>(['', ''])
  const [wrong, mistake] = useState(false)
  const enter = useAction(async () => {
    const said = words.map((word, at) => (places.includes(at) ? heard[places.indexOf(at)]!.trim().toLowerCase() : word))
    if (said.some((word, at) => word !== words[at])) {
      mistake(true)
      return
    }
    mistake(false)
    const draft = one.reset
      ? ({ kind: 'key reset', invitation: one.id, words: said } as const)
      : ({ kind: 'account', invitation: one.id, name: one.name, role: one.role, words: said } as const)
    tell(await engine.propose(draft), t('enter.done', { name: one.name }))
    onClose()
    await engine.house()
  })
  return (
    <Dialog title={t('enter.title', { name: one.name })} onClose={onClose}>
      <form
        class="stack"
        noValidate
        onSubmit={event => {
          event.preventDefault()
          void enter.run()
        }}
      >
        <p>{t('enter.text')}</p>
        <ol class="words" lang="en" aria-label={t('words.label')}>
          {words.map((word, at) => {
            const place = places.indexOf(at)
            return (
              <li key={at} class={place >= 0 ? 'covered' : ''}>
                {place >= 0 ? t('enter.word', { n: at + 1 }) : word}
              </li>
            )
          })}
        </ol>
        <div class="pair">
          {places.map((at, place) => (
            <Field
              key={at}
              label={t('enter.word', { n: at + 1 })}
              value={heard[place]!}
              autocomplete="off"
              autocapitalize="none"
              spellcheck={false}
              lang="en"
              first={place === 0}
              onValue={value => hear(place === 0 ? [value, heard[1]] : [heard[0], value])}
            />
          ))}
        </div>
        {wrong && (
          <div role="alert">
            <FieldError>{t('enter.wrong')}</FieldError>
          </div>
        )}
        <Trouble error={enter.error} />
        <div class="actions">
          <Button onClick={onClose}>{t('cancel')}</Button>
          <Button kind="main" type="submit" busy={enter.busy} disabled={heard.some(word => word.trim() === '')}>
            {t('enter.go')}
          </Button>
        </div>
      </form>
    </Dialog>
  )
}
