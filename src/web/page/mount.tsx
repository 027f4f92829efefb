/** Puts the app into the document; also for tests, with an engine of their own. */

import { Component, render, type ComponentChildren } from 'preact'
import { App } from './app.js'
import { Frame } from './entry/frame.js'
import { EngineContext, type Api } from './lib/hooks.js'
import { apply, onPrefs } from './lib/prefs.js'
import { plain } from './lib/trouble.js'
import { t } from './lib/words.js'
import { Button, Note, Trouble } from './ui/controls.js'

/** What fails while it is drawn says so, instead of an empty page. */
class Guard extends Component<{ children: ComponentChildren }, { error: unknown }> {
  override state = { error: undefined as unknown }

  static override getDerivedStateFromError(error: unknown) {
    return { error }
  }

  override componentDidCatch(error: unknown) {
    console.error(error)
  }

  override render() {
    if (this.state.error === undefined) return this.props.children
    return (
      <Frame title={t('crash.title')}>
        <Note tone="bad" urgent>
          <p>{t('crash.text')}</p>
          <p class="hint">{plain(this.state.error).detail}</p>
        </Note>
        <div class="actions">
          <Button kind="main" onClick={() => location.reload()}>
            {t('crash.reload')}
          </Button>
        </div>
      </Frame>
    )
  }
}

function show(draw: () => ComponentChildren): void {
  const root = document.getElementById('app')!
  root.textContent = ''
  const redraw = () => render(<Guard>{draw()}</Guard>, root)
  // A new language is a new drawing of everything.
  onPrefs(redraw)
  apply()
}

export function mount(engine: Api, fragment: string | undefined): void {
  show(() => (
    <EngineContext.Provider value={engine}>
      <App fragment={fragment} />
    </EngineContext.Provider>
  ))
}

/** The engine did not start: an old browser, forbidden storage, no secure connection. */
export function mountFailure(error: unknown): void {
  console.error(error)
  show(() => (
    <Frame title={t('login.failed')}>
      <Trouble error={error} />
      <div class="actions">
        <Button kind="main" onClick={() => location.reload()}>
          {t('crash.reload')}
        </Button>
      </div>
    </Frame>
  ))
}
