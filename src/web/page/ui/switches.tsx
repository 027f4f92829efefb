/** Switches of language and theme; both are remembered by the browser. */

import { language, setLanguage, setTheme, theme, type Theme } from '../lib/prefs.js'
import { announce } from './announce.js'
import { t, type Key } from '../lib/words.js'
import { Button } from './controls.js'
import type { IconName } from './icons.js'

export const LanguageSwitch = () => (
  <div class="group" role="group" aria-label={t('menu.language')}>
    {(
      [
        ['de', 'Deutsch'],
        ['en', 'English'],
      ] as const
    ).map(([code, name]) => (
      <button
        key={code}
        type="button"
        class="button small"
        lang={code}
        title={name}
        aria-label={`${code.toUpperCase()} – ${name}`}
        aria-pressed={language() === code}
        onClick={() => setLanguage(code)}
      >
        {code.toUpperCase()}
      </button>
    ))}
  </div>
)

const NEXT: Record<Theme, Theme> = { auto: 'light', light: 'dark', dark: 'auto' }
const SIGN: Record<Theme, IconName> = { auto: 'half', light: 'sun', dark: 'night' }

/** One button: like the system, light, dark. */
export const ThemeSwitch = () => {
  const name = (value: Theme) => `${t('menu.theme')}: ${t(`theme.${value}` as Key)}`
  return (
    <Button
      bare
      kind="quiet"
      icon={SIGN[theme()]}
      onClick={() => {
        setTheme(NEXT[theme()])
        announce(name(theme()))
      }}
    >
      {name(theme())}
    </Button>
  )
}
