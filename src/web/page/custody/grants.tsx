/** Who may see what and until when: the list, a new one, revoking. For seats. */

import { useState } from 'preact/hooks'
import type { GrantEntry } from '../../engine.js'
import { Revoke } from '../admin/people.js'
import { useHouse, useNow } from '../lib/hooks.js'
import { accountName, camerasText, rightsText, roleName } from '../lib/names.js'
import { DAY, dateTime, ms, SECOND, span } from '../lib/time.js'
import { t } from '../lib/words.js'
import { Button, Sign } from '../ui/controls.js'
import { Page, Table } from '../ui/page.js'
import { NewGrant } from './grant.js'

/** A grant that ends within this time says so. */
const SOON = 7 * DAY

export function Grants() {
  const house = useHouse()
  const now = useNow(30 * SECOND)
  const [making, make] = useState(false)
  const [revoking, revoke] = useState<GrantEntry>()
  const [all, showAll] = useState(false)
  const old = (grant: GrantEntry) => grant.revoked || ms(grant.until) <= now
  const shown = house.grants.filter(grant => all || !old(grant)).sort((a, b) => Number(a.until - b.until))
  const hidden = house.grants.filter(old).length
  return (
    <Page
      title={t('grants.title')}
      text={t('grants.text')}
      actions={
        <Button kind="main" icon="add" aria-haspopup="dialog" onClick={() => make(true)}>
          {t('grants.new')}
        </Button>
      }
    >
      {shown.length === 0 ? (
        <p>{t('grants.none')}</p>
      ) : (
        <Table
          label={t('grants.title')}
          head={[
            t('grants.account'),
            t('fact.rights'),
            t('fact.cameras'),
            t('fact.until'),
            t('people.state'),
            t('people.actions'),
          ]}
          rows={shown.map(grant => {
            const account = house.accounts.find(one => one.id === grant.account)
            return {
              key: grant.nonce,
              class: old(grant) ? 'past' : '',
              cells: [
                <>
                  {accountName(house, grant.account)}
                  {account && <span class="tag">{roleName(account.role)}</span>}
                </>,
                rightsText(grant.rights),
                <>
                  {camerasText(house, grant.cameras)}
                  {grant.weekly && <span class="hint block">{grant.weekly}</span>}
                </>,
                <span class="figures">{dateTime(ms(grant.until))}</span>,
                <GrantState grant={grant} now={now} />,
                old(grant) ? (
                  '–'
                ) : (
                  <Button small kind="danger" onClick={() => revoke(grant)}>
                    {t('grants.revoke')}
                  </Button>
                ),
              ],
            }
          })}
        />
      )}
      {hidden > 0 && !all && (
        <div>
          <Button small onClick={() => showAll(true)}>
            {t('grants.old', { n: hidden })}
          </Button>
        </div>
      )}
      {making && <NewGrant onClose={() => make(false)} />}
      {revoking && (
        <Revoke
          title={t('grants.revoke.title', { name: accountName(house, revoking.account) })}
          text={t('grants.revoke.text')}
          keys={[]}
          grants={[revoking.nonce]}
          onClose={() => revoke(undefined)}
        />
      )}
    </Page>
  )
}

function GrantState({ grant, now }: { grant: GrantEntry; now: number }) {
  const [from, until] = [ms(grant.from), ms(grant.until)]
  if (grant.revoked) return <Sign tone="bad">{t('grants.revoked')}</Sign>
  if (until <= now) return <Sign tone="none">{t('grants.ended')}</Sign>
  if (from > now) return <Sign tone="none">{t('grants.later', { at: dateTime(from) })}</Sign>
  if (until - now < SOON) return <Sign tone="warn">{t('grants.soon', { span: span(until - now) })}</Sign>
  return <Sign tone="good">{t('grants.active')}</Sign>
}
