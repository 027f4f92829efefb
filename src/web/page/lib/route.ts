/**
 * Where in the page somebody is: `#/people`. So back and forth of the browser work, and nothing of it reaches a server.
 *
 * What does not belong: cameras, times or names; an address never says what somebody looked at.
 */

import { useEffect, useState } from 'preact/hooks'

export const route = (): string => /^#\/([a-z]+)$/.exec(location.hash)?.[1] ?? ''

export function go(to: string): void {
  if (route() !== to) location.hash = `#/${to}`
}

/** Like {@link go}, without a step of the history. */
export function replace(to: string): void {
  history.replaceState(null, '', to === '' ? location.pathname : `#/${to}`)
  dispatchEvent(new HashChangeEvent('hashchange'))
}

export function useRoute(): string {
  const [at, become] = useState(route)
  useEffect(() => {
    const listener = () => become(route())
    addEventListener('hashchange', listener)
    return () => removeEventListener('hashchange', listener)
  }, [])
  return at
}
