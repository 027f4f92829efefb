/**
 * The frame around whoever is in: mark, sections of his role, notices, account; and the page itself.
 *
 * Invariants: a role's pages are mounted for that role alone – nothing of the wall exists in an administrator's page;
 * an old state says that it is old.
 */

import type { ComponentChildren } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import type { House, State } from '../engine.js'
import { AccountDialog, HelpDialog, NoticesDialog } from './account.js'
import { People } from './admin/people.js'
import { Cameras, HealthPage, Retention } from './admin/state.js'
import { Configuration } from './audit/configuration.js'
import { LedgerPage } from './audit/ledger.js'
import { Grants } from './custody/grants.js'
import { Proposals } from './custody/proposals.js'
import { Frame } from './entry/frame.js'
import { useEngine, useHouse, useKeys } from './lib/hooks.js'
import { standingName } from './lib/names.js'
import { go, replace, useRoute } from './lib/route.js'
import { clock, SECOND } from './lib/time.js'
import { t, type Key } from './lib/words.js'
import { announce } from './ui/announce.js'
import { Button, Note } from './ui/controls.js'
import { Icon, Mark, type IconName } from './ui/icons.js'
import { LanguageSwitch, ThemeSwitch } from './ui/switches.js'
import { Viewer } from './viewer/viewer.js'

interface Place {
  readonly route: string
  readonly icon: IconName
  readonly page: () => ComponentChildren
}

const PEOPLE: Place = { route: 'people', icon: 'people', page: () => <People /> }
const CAMERAS: Place = { route: 'cameras', icon: 'camera', page: () => <Cameras /> }
const HEALTH: Place = { route: 'health', icon: 'heart', page: () => <HealthPage /> }
const RETENTION: Place = { route: 'retention', icon: 'clock', page: () => <Retention /> }
const PROPOSALS: Place = { route: 'proposals', icon: 'pen', page: () => <Proposals /> }
const GRANTS: Place = { route: 'grants', icon: 'eye', page: () => <Grants /> }
const LEDGER: Place = { route: 'ledger', icon: 'book', page: () => <LedgerPage /> }
const CONFIGURATION: Place = { route: 'configuration', icon: 'gear', page: () => <Configuration /> }
const WALL: Place = { route: 'wall', icon: 'wall', page: () => <Viewer /> }

/** The sections of a role; the first is where it begins. */
export function places({ me }: House): readonly Place[] {
  if (me.kind === 'claim') return []
  if (me.kind === 'seat') return [PROPOSALS, GRANTS, PEOPLE, HEALTH, LEDGER]
  switch (me.role) {
    case 'administrator':
      return [PEOPLE, CAMERAS, HEALTH, RETENTION, PROPOSALS]
    case 'custodian':
      return [PROPOSALS, GRANTS, PEOPLE, HEALTH, LEDGER]
    case 'auditor':
      return [LEDGER, CONFIGURATION, HEALTH]
    case 'viewer':
    case 'external':
    case 'technician':
      return [WALL]
  }
}

/** The house is read anew this often. */
const HOUSE_MS = 20 * SECOND

export function Shell({
  state,
  onLogout,
}: {
  state: Extract<State, { at: 'in' | 'away' }>
  onLogout: () => Promise<void>
}) {
  const engine = useEngine()
  const house = useHouse()
  const route = useRoute()
  const [open, show] = useState<'account' | 'help' | 'notices'>()
  const mine = places(house)
  const place = mine.find(one => one.route === route || (one === WALL && route === 'see')) ?? mine[0]
  useEffect(() => {
    if (place && place.route !== route && !(place === WALL && route === 'see')) replace(place.route)
  }, [place, route])
  useEffect(() => {
    const timer = setInterval(() => {
      // A failure shows as the state `away`; the house that is here stays.
      if (document.visibilityState === 'visible') engine.house().catch(() => undefined)
    }, HOUSE_MS)
    return () => clearInterval(timer)
  }, [engine])
  const away = state.at === 'away'
  const [wasAway, remember] = useState(false)
  useEffect(() => {
    if (!away && wasAway) announce(t('away.back'))
    remember(away)
  }, [away])
  useKeys(event => {
    if (event.key === '?') {
      show('help')
      return true
    }
    const section = mine[Number(event.key) - 1]
    if (section && /^[1-9]$/.test(event.key)) {
      go(section.route)
      return true
    }
    return false
  })
  if (!place)
    return (
      <Frame title={t('claim.title')}>
        <p>{t('claim.text')}</p>
        <Button onClick={() => void onLogout()}>{t('menu.logout')}</Button>
      </Frame>
    )
  return (
    <div class={place === WALL ? 'shell control-room' : 'shell'}>
      <a
        class="skip unseen"
        href="#main"
        onClick={event => {
          event.preventDefault()
          document.getElementById('main')?.focus()
        }}
      >
        {t('skip')}
      </a>
      <header class="bar">
        <span class="brand">
          <Mark />
          <span>Peri</span>
        </span>
        {mine.length > 1 && (
          <nav aria-label={t('nav.label')}>
            <ul class="nav">
              {mine.map(one => (
                <li key={one.route}>
                  <a href={`#/${one.route}`} aria-current={one === place ? 'page' : undefined}>
                    <Icon name={one.icon} size={18} />
                    <span>{t(`nav.${one.route}` as Key)}</span>
                  </a>
                </li>
              ))}
            </ul>
          </nav>
        )}
        <span class="push" />
        {house.notices.length > 0 && (
          <Button
            small
            kind="quiet"
            icon="info"
            class="notice-button"
            aria-haspopup="dialog"
            onClick={() => show('notices')}
          >
            <span class="wide-only">{t('notices')} </span>
            {house.notices.length}
            <span class="unseen"> {t('notices')}</span>
          </Button>
        )}
        <span class="wide-only row nowrap">
          <LanguageSwitch />
          <ThemeSwitch />
        </span>
        <Button bare kind="quiet" icon="help" aria-haspopup="dialog" onClick={() => show('help')}>
          {t('menu.help')}
        </Button>
        <Button small kind="quiet" aria-haspopup="dialog" onClick={() => show('account')} class="me">
          <span class="unseen">{t('menu.account')}: </span>
          <span class="me-name">{house.name}</span>
          <span class="me-role">{standingName(house.me)}</span>
        </Button>
      </header>
      {away && (
        <div class="banner">
          <Note tone="warn" urgent title={t('away.title', { since: clock(state.since) })}>
            {t('away.text')}
          </Note>
        </div>
      )}
      <main id="main" tabIndex={-1}>
        {place.page()}
      </main>
      {open === 'account' && <AccountDialog name={state.name} onClose={() => show(undefined)} onLogout={onLogout} />}
      {open === 'help' && <HelpDialog viewer={place === WALL} onClose={() => show(undefined)} />}
      {open === 'notices' && <NoticesDialog onClose={() => show(undefined)} />}
    </div>
  )
}
