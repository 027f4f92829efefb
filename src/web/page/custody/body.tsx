/**
 * What a proposal says, as facts for whoever signs: read from the signed body itself, never from a sentence about it.
 *
 * Invariant: everything that decides who may look at what is shown – key in ten words, cameras, rights, span.
 */

import type { ComponentChildren } from 'preact'
import type { Body, House, WeeklyHours } from '../../engine.js'
import { accountName, cameraName, camerasText, holder, rightsText, roleName, tenWords } from '../lib/names.js'
import { dateTime, ms, SECOND, span, weekdays } from '../lib/time.js'
import { count, t, type Key } from '../lib/words.js'
import { Words } from '../ui/controls.js'
import { Facts } from '../ui/page.js'

type Fact = readonly [string, ComponentChildren]

/** `Mo 22:00 – Di 06:00, … (Europe/Berlin)`. */
export function weeklyText(weekly: WeeklyHours): string {
  const names = weekdays()
  const at = (minute: number) => {
    const [day, hour, min] = [Math.floor(minute / 1440) % 7, Math.floor(minute / 60) % 24, minute % 60]
    return `${names[day]} ${String(hour).padStart(2, '0')}:${String(min).padStart(2, '0')}`
  }
  return `${weekly.spans.map(each => `${at(each.from)} – ${at(each.until)}`).join(', ')} (${weekly.zone})`
}

const Key_ = ({ of }: { of: string }) => <Words words={tenWords(of)} small />

export function BodyFacts({ body, house }: { body: Body; house: House }) {
  return <Facts facts={factsOf(body, house)} />
}

function stretch(from: bigint, until: bigint): Fact[] {
  return [
    [t('fact.from'), <span class="figures">{dateTime(ms(from))}</span>],
    [t('fact.until'), <span class="figures">{dateTime(ms(until))}</span>],
    [t('fact.length'), span(ms(until) - ms(from))],
  ]
}

function setup(body: Extract<Body, { kind: 'camera' | 'camera re-set-up' }>, house: House): Fact[] {
  return [
    [t('fact.camera'), body.setup.name],
    [t('fact.address'), <span class="mono">{body.setup.url}</span>],
    [t('fact.trust'), t(`fact.trust.${body.setup.trust.by}` as Key)],
    ...(body.beside === null ? [] : [[t('fact.beside'), cameraName(house, body.beside)] as const]),
  ]
}

function factsOf(body: Body, house: House): Fact[] {
  const account = (id: string): Fact => {
    const role = house.accounts.find(one => one.id === id)?.role
    return [t('fact.account'), role ? `${accountName(house, id)} (${roleName(role)})` : accountName(house, id)]
  }
  switch (body.kind) {
    case 'grant':
      return [
        account(body.account),
        [t('fact.key'), <Key_ of={body.recipient} />],
        [t('fact.rights'), rightsText(body.rights)],
        [t('fact.cameras'), camerasText(house, body.cameras)],
        ...stretch(body.from, body.until),
        [t('fact.weekly'), body.weekly === null ? t('fact.always') : weeklyText(body.weekly)],
      ]
    case 'grant renewal':
      return [
        [t('fact.grants'), <GrantNames ids={body.grants} house={house} />],
        [t('fact.until'), <span class="figures">{dateTime(ms(body.until))}</span>],
      ]
    case 'revocation':
      return [
        ...body.keys.map((key): Fact => [
          t('fact.key'),
          <>
            {holder(house, key)}
            <Key_ of={key} />
          </>,
        ]),
        ...(body.grants.length > 0
          ? [[t('fact.grants'), <GrantNames ids={body.grants} house={house} />] as const]
          : []),
        [t('fact.reason'), body.reason],
      ]
    case 'account':
      return [
        [t('fact.account'), body.name],
        [t('fact.role'), roleName(body.role)],
        [t('fact.key'), <Key_ of={body.key.fingerprint} />],
      ]
    case 'account removal':
      return [account(body.account)]
    case 'key change':
      return [
        account(body.account),
        [t('fact.oldkey'), <Key_ of={body.old} />],
        [
          t('fact.key'),
          <>
            <Key_ of={body.new.fingerprint} />
            {t(`fact.by.${body.by}` as Key)}
          </>,
        ],
      ]
    case 'release':
    case 'hold':
    case 'early erasure':
      return [
        ...(body.kind === 'release'
          ? [account(body.account), [t('fact.key'), <Key_ of={body.recipient} />] as const]
          : []),
        [t('fact.cameras'), camerasText(house, body.cameras)],
        ...stretch(body.from, body.until),
        [t('fact.reason'), body.reason],
      ]
    case 'exception':
      return [
        [t('fact.rule'), body.rule],
        [t('fact.camera'), body.camera === null ? t('fact.allcameras') : cameraName(house, body.camera)],
        [t('fact.until'), <span class="figures">{dateTime(ms(body.until))}</span>],
        [t('fact.reason'), body.reason],
      ]
    case 'camera':
    case 'camera re-set-up':
      return setup(body, house)
    case 'camera registration':
    case 'camera removal':
      return [[t('fact.camera'), cameraName(house, body.camera)]]
    case 'retention':
      return [[t('fact.retention'), span(Number(body.secs) * SECOND)]]
    case 'profile':
      return [
        [t('fact.k'), `${body.k} / ${body.n}`],
        [t('config.ceiling'), span(Number(body.ceilingSecs) * SECOND)],
        [t('config.audio'), t('config.audio.no')],
        [t('fact.masks'), count(body.masks)],
        [t('fact.exceptions'), body.exceptions.join(' · ') || t('none')],
        [t('fact.told'), body.told.join(' · ') || t('none')],
      ]
    case 'seat':
      return [
        [t('fact.seat'), `${body.index + 1}: ${body.name}`],
        [t('fact.key'), <Key_ of={body.key.fingerprint} />],
      ]
    case 'seat handover':
      return [
        [t('fact.seat'), `${body.seat.index + 1}: ${body.seat.name}`],
        [t('fact.oldkey'), <Key_ of={body.from} />],
        [t('fact.key'), <Key_ of={body.seat.key.fingerprint} />],
      ]
    case 'post':
      return [
        [t('name'), body.name],
        [t('fact.key'), <Key_ of={body.key.fingerprint} />],
        ...body.members.map((member): Fact => [
          t('fact.members'),
          <>
            {accountName(house, member.account)}
            <Key_ of={member.key} />
          </>,
        ]),
      ]
    case 'endpoint':
      return [
        [t('fact.address'), <span class="mono">{body.url || t('none')}</span>],
        [t('config.kind'), body.of],
      ]
    case 'genesis':
      return [
        [t('fact.k'), `${body.k} / ${body.n}`],
        [t('config.device'), <Key_ of={body.device.fingerprint} />],
      ]
    case 'snapshot':
      return [[t('ledger.size', { n: count(body.count) }), <span class="mono">{body.head}</span>]]
  }
}

function GrantNames({ ids, house }: { ids: readonly string[]; house: House }) {
  return (
    <ul class="plain">
      {ids.map(id => {
        const grant = house.grants.find(one => one.nonce === id)
        return (
          <li key={id}>
            {grant ? (
              `${accountName(house, grant.account)}: ${rightsText(grant.rights)} · ${camerasText(house, grant.cameras)}`
            ) : (
              <span class="mono">{id.slice(0, 16)}</span>
            )}
          </li>
        )
      })}
    </ul>
  )
}
