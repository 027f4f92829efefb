// Loads the bundle into Node. Node 18 has WebCrypto, but not as a global.

import { webcrypto } from 'node:crypto'

export function load() {
  globalThis.crypto ??= webcrypto
  return import('../../../target/web/suite.mjs')
}
