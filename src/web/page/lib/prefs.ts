/**
 * Language and theme: the only things that this page keeps in local storage.
 *
 * What does not belong: anything about a person or a session. A browser that forbids storage loses nothing but the
 * memory.
 */

export type Language = 'de' | 'en'
export type Theme = 'auto' | 'light' | 'dark'

const listeners = new Set<() => void>()

function read(key: string): string | null {
  try {
    return localStorage.getItem(key)
  } catch {
    return null
  }
}

function keep(key: string, value: string): void {
  try {
    localStorage.setItem(key, value)
  } catch {
    // Storage is forbidden or full: the choice holds until the page is closed.
  }
}

function first(): Language {
  const kept = read('language')
  if (kept === 'de' || kept === 'en') return kept
  // German first: English only for those whose browser asks for it before German.
  const wished = navigator.languages.find(tag => /^(de|en)\b/i.test(tag))
  return wished?.toLowerCase().startsWith('en') ? 'en' : 'de'
}

const kept = read('theme')
let lang: Language = first()
let look: Theme = kept === 'light' || kept === 'dark' ? kept : 'auto'

export const language = (): Language => lang
export const theme = (): Theme => look

export function setLanguage(value: Language): void {
  lang = value
  keep('language', value)
  apply()
}

export function setTheme(value: Theme): void {
  look = value
  keep('theme', value)
  apply()
}

/** Tells when one of them changed. */
export function onPrefs(listener: () => void): () => void {
  listeners.add(listener)
  return () => listeners.delete(listener)
}

/** Writes both to the document. */
export function apply(): void {
  const root = document.documentElement
  root.lang = lang
  if (look === 'auto') delete root.dataset['theme']
  else root.dataset['theme'] = look
  for (const listener of [...listeners]) listener()
}
