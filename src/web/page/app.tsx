/**
 * Which door or which house is shown: getting in, enrolment, the shell of whoever is in.
 *
 * What does not belong: pages. Invariants: what was open stays open behind a lock – route and view, never pictures –
 * and waits for the same person only; a recovery sheet is confirmed before anything else is shown.
 */

import { useEffect, useRef, useState } from 'preact/hooks'
import type { House, NewKey, State } from '../engine.js'
import { Enrol } from './entry/enrol.js'
import { Frame } from './entry/frame.js'
import { Login, Recover } from './entry/login.js'
import { Sheet } from './entry/sheet.js'
import { takeFragment } from './lib/fragment.js'
import { HouseContext, useEngine } from './lib/hooks.js'
import { replace } from './lib/route.js'
import { t } from './lib/words.js'
import { Shell } from './shell.js'
import { Announcer, clearNotices, notify } from './ui/announce.js'
import { Busy, Button } from './ui/controls.js'
import { claimView, dropView } from './viewer/view.js'

export function App(props: { fragment: string | undefined }) {
  const engine = useEngine()
  const [state, become] = useState<State>(engine.state)
  /** The last state that was none of passage: forms stay while something takes a while. */
  const settled = useRef<State | undefined>(undefined)
  const [house, read] = useState<House>()
  const [known, know] = useState<readonly string[]>([])
  const [fragment, invite] = useState(props.fragment)
  const [recovering, recover] = useState<string>()
  const [sheet, print] = useState<{ made: NewKey; name: string }>()
  const last = useRef<string | undefined>(undefined)

  useEffect(() => {
    const ends = [
      engine.on('state', now => {
        if (now.at !== 'working') settled.current = now
        if (now.at === 'out') know(now.known)
        if (now.at === 'out' || now.at === 'locked' || now.at === 'ended') read(undefined)
        if (now.at === 'in') {
          if (last.current !== undefined && last.current !== now.name) replace('')
          last.current = now.name
          claimView(now.name)
          recover(undefined)
        }
        become(now)
      }),
      engine.on('house', read),
      engine.on('notice', text => notify(text, 'warn')),
    ]
    const listener = () => {
      const taken = takeFragment()
      if (taken !== undefined) invite(taken)
    }
    addEventListener('hashchange', listener)
    return () => {
      removeEventListener('hashchange', listener)
      for (const end of ends) end()
    }
  }, [engine])

  const logout = async () => {
    last.current = undefined
    dropView()
    clearNotices()
    replace('')
    await engine.logout()
  }
  const shown = state.at === 'working' ? (settled.current ?? state) : state
  const inside = shown.at === 'in' || shown.at === 'away'
  return (
    <>
      {content()}
      <Announcer />
    </>
  )

  function content() {
    if (sheet) {
      return (
        <Frame title={t('sheet.title')}>
          <Sheet {...sheet} onDone={() => print(undefined)} />
        </Frame>
      )
    }
    if (fragment !== undefined && inside) {
      return (
        <Frame title={t('enrol.title')}>
          <p>{t('enrol.inside', { name: shown.name })}</p>
          <div class="row apart">
            <Button onClick={() => invite(undefined)}>{t('cancel')}</Button>
            <Button kind="main" onClick={() => void logout()}>
              {t('menu.logout')}
            </Button>
          </div>
        </Frame>
      )
    }
    if (shown.at === 'working') {
      return (
        <Frame title="Peri">
          <Busy text={t('login.starting')} />
        </Frame>
      )
    }
    if (inside) {
      if (!house)
        return (
          <Frame title="Peri">
            <Busy />
          </Frame>
        )
      return (
        <HouseContext.Provider value={house}>
          <Shell state={shown} onLogout={logout} />
        </HouseContext.Provider>
      )
    }
    if (fragment !== undefined) {
      return (
        <Enrol
          fragment={fragment}
          onDone={name => {
            invite(undefined)
            if (name !== '') know(names => [name, ...names.filter(other => other !== name)])
          }}
        />
      )
    }
    if (recovering !== undefined) {
      return (
        <Recover name={recovering} onMade={(made, name) => print({ made, name })} onBack={() => recover(undefined)} />
      )
    }
    return (
      <Login
        state={shown}
        known={known}
        returning={shown.at === 'out' ? undefined : last.current}
        onRecover={recover}
      />
    )
  }
}
