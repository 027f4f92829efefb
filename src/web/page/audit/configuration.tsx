/** How this house is set up: profile, seats, accounts, identity, notices. For auditors; nothing can be changed here. */

import { useEngine, useHouse, useLoad } from '../lib/hooks.js'
import { roleName, tenWords } from '../lib/names.js'
import { SECOND, span } from '../lib/time.js'
import { notice } from '../lib/trouble.js'
import { t, type Key } from '../lib/words.js'
import { Busy, Note, Sign, Trouble, Words } from '../ui/controls.js'
import { Facts, Page, Section, Table } from '../ui/page.js'

export function Configuration() {
  const engine = useEngine()
  const house = useHouse()
  const appliance = useLoad(() => engine.appliance(), [engine])
  return (
    <Page title={t('config.title')}>
      <Section title={t('config.profile')}>
        <Facts
          facts={[
            [t('config.quorum'), t('config.quorum.text', { k: house.k, n: house.n })],
            [t('config.retention'), span(house.retentionSecs * SECOND)],
            [t('config.ceiling'), span(house.ceilingSecs * SECOND)],
            [t('config.audio'), t('config.audio.no')],
          ]}
        />
      </Section>
      {house.notices.length > 0 && (
        <Section title={t('config.notices')}>
          <ul class="stack tight list">
            {house.notices.map(name => (
              <li key={name}>
                <Note tone="warn">{notice(name)}</Note>
              </li>
            ))}
          </ul>
        </Section>
      )}
      <Section title={t('config.seats')}>
        <Table
          label={t('config.seats')}
          head={[t('config.seat'), t('name'), t('config.kind'), t('people.state'), t('people.key')]}
          rows={house.seats.map(seat => ({
            key: `${seat.index} ${seat.key}`,
            class: seat.revoked ? 'past' : '',
            cells: [
              String(seat.index + 1),
              seat.name,
              t(`config.${seat.kind}` as Key),
              seat.revoked ? (
                <Sign tone="bad">{t('config.revoked')}</Sign>
              ) : (
                <Sign tone="good">{t('config.inoffice')}</Sign>
              ),
              <Words words={tenWords(seat.key)} small />,
            ],
          }))}
        />
      </Section>
      <Section title={t('config.accounts')}>
        <Table
          label={t('config.accounts')}
          head={[t('name'), t('people.role'), t('people.state'), t('people.key')]}
          rows={house.accounts.map(account => ({
            key: account.id,
            class: account.state === 'removed' ? 'past' : '',
            cells: [
              account.name,
              roleName(account.role),
              <Sign tone={account.state === 'in office' ? 'good' : account.state === 'removed' ? 'none' : 'bad'}>
                {t(`people.${account.state}` as Key)}
              </Sign>,
              <Words words={tenWords(account.key)} small />,
            ],
          }))}
        />
      </Section>
      <Section title={t('config.identity')}>
        <Trouble error={appliance.error} again={appliance.again} />
        {appliance.busy && !appliance.value && <Busy />}
        <Facts
          facts={[
            [t('config.vm'), <span class="mono">{house.vm}</span>],
            [t('config.device'), <Words words={house.deviceWords} small />],
            appliance.value && [
              t('config.page'),
              <>
                <span class="mono raw">{appliance.value.page}</span>
                <span class="hint block">{t('config.page.hint')}</span>
              </>,
            ],
            appliance.value && [t('config.tls'), <span class="mono raw">{appliance.value.tls_key}</span>],
            appliance.value && [t('config.provisioning'), <span class="mono raw">{appliance.value.provisioning}</span>],
          ]}
        />
      </Section>
    </Page>
  )
}
