// Bundles the code for its tests into target/web: one module that Node and the page both run. esbuild alone, no plugins.
//
// What does not belong: types; `tsc -p .` checks them.

import { build } from 'esbuild'
import { fileURLToPath } from 'node:url'

const here = path => fileURLToPath(new URL(path, import.meta.url))

await build({
  entryPoints: { suite: here('test/suite.ts'), page: here('test/page.ts') },
  outdir: here('../../target/web'),
  outExtension: { '.js': '.mjs' },
  bundle: true,
  format: 'esm',
  platform: 'browser', // so that nothing of Node's own slips in
  target: 'es2022',
  loader: { '.txt': 'text' },
  charset: 'utf8',
  legalComments: 'none',
  logLevel: 'warning',
})
