/** The frame around everything that is shown before somebody is in: mark, card, language and theme. */

import type { ComponentChildren } from 'preact'
import { useEffect, useRef } from 'preact/hooks'
import { t } from '../lib/words.js'
import { Mark } from '../ui/icons.js'
import { LanguageSwitch, ThemeSwitch } from '../ui/switches.js'

export function Frame({ title, step, children }: { title: string; step?: string; children: ComponentChildren }) {
  const heading = useRef<HTMLHeadingElement>(null)
  useEffect(() => {
    document.title = `${title} · Peri`
    // A new step is read out; a field that wants the focus has it already.
    const { activeElement } = document
    if (!activeElement || activeElement === document.body) heading.current?.focus()
  }, [title])
  return (
    <div class="entry">
      <header class="entry-head">
        <span class="brand">
          <Mark /> Peri
        </span>
        <span class="row">
          <LanguageSwitch />
          <ThemeSwitch />
        </span>
      </header>
      <main class="card" id="main" tabIndex={-1}>
        {step && <p class="hint">{step}</p>}
        <h1 ref={heading} tabIndex={-1}>
          {title}
        </h1>
        {children}
      </main>
      <footer class="entry-foot hint">{t('login.certificate')}</footer>
    </div>
  )
}
