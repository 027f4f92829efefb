// Bundles, with esbuild alone and no plugins:
//
//   node build.mjs              the suites for their tests, and the page, into target/web
//   node build.mjs --page DIR   the page alone, for the program that embeds it (src/appliance/build.rs)
//
// The same sources give the same bytes, wherever they lie: no source maps, no paths, no times. What does not belong: types;
// `tsc -p .` checks them.

import { build } from 'esbuild'
import { copyFileSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = path => fileURLToPath(new URL(path, import.meta.url))
const common = {
  bundle: true,
  platform: 'browser', // so that nothing of Node's own slips in
  target: 'es2022',
  loader: { '.txt': 'text' },
  charset: 'utf8',
  legalComments: 'none',
  logLevel: 'warning',
  absWorkingDir: here('.'),
}

/** Files of the page that are served as they are. */
const FIXED = ['index.html', 'icon.svg', 'manifest.webmanifest']

async function page(out) {
  mkdirSync(out, { recursive: true })
  await build({
    ...common,
    entryPoints: { app: 'page/main.tsx', worker: 'video/worker.ts' },
    outdir: out,
    format: 'iife',
    minify: true,
    jsx: 'automatic',
    jsxImportSource: 'preact',
  })
  await build({ ...common, entryPoints: { app: 'page/app.css' }, outdir: out, minify: true })
  for (const name of FIXED) copyFileSync(here(`page/${name}`), join(out, name))
}

const at = process.argv.indexOf('--page')
if (at !== -1) {
  await page(process.argv[at + 1])
} else {
  const out = here('../../target/web')
  await build({
    ...common,
    entryPoints: { suite: 'test/suite.ts', page: 'test/page.ts' },
    outdir: out,
    outExtension: { '.js': '.mjs' },
    format: 'esm',
  })
  await page(join(out, 'page'))
}
