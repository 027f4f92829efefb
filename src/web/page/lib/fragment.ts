/** The fragment of an invitation's link: everything behind the `#` that is no place in the page. */

/** Takes it out of the address. */
export function takeFragment(): string | undefined {
  const { hash } = location
  if (hash.length < 2 || hash.startsWith('#/')) return undefined
  history.replaceState(null, '', location.pathname)
  return hash.slice(1)
}
