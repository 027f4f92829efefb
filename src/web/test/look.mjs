// Looks at every page with page-kit.ts in headless Chromium under the policy of the product: runs axe over each, in both
// languages and themes, on a desk and on a phone, and walks through what people do.
//
//   node src/web/test/look.mjs [--shots DIR] [--only NAME] [--quick]
//
// Prints JSON {looks, violations, policy, errors}; exits 1 when any of the last three is not empty. What does not belong: a
// real engine; the end-to-end test has one.

import axe from 'axe-core'
import { build } from 'esbuild'
import { createServer } from 'node:http'
import { mkdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { join } from 'node:path'
import { chromium } from 'playwright-core'
import { WALKS } from './look-walks.mjs'

const here = path => fileURLToPath(new URL(path, import.meta.url))
const option = name => {
  const at = process.argv.indexOf(`--${name}`)
  return at === -1 ? undefined : process.argv[at + 1]
}
const shots = option('shots')
const only = option('only')
/** One look at each size instead of both languages and themes at both. */
const quick = process.argv.includes('--quick')
if (shots) mkdirSync(shots, { recursive: true })

const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' blob:",
  "media-src 'self' blob:",
  "connect-src 'self'",
  "worker-src 'self'",
  "manifest-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  'trusted-types peri-worker',
].join('; ')

/** Sizes that are looked at: a desk, a phone. */
const SIZES = { desk: { width: 1440, height: 900 }, phone: { width: 360, height: 740 } }
/** Both languages and themes are seen at both sizes. */
const LOOKS = [
  ['desk', 'de', 'dark'],
  ['desk', 'en', 'light'],
  ['phone', 'de', 'light'],
  ['phone', 'en', 'dark'],
]
/** A walk and its wait end after this. */
const PATIENCE_MS = 15_000

const bundled = async (entry, loader) => {
  const made = await build({
    entryPoints: [here(entry)],
    bundle: true,
    write: false,
    format: 'iife',
    target: 'es2022',
    jsx: 'automatic',
    jsxImportSource: 'preact',
    loader: { '.txt': 'text', ...loader },
    logLevel: 'warning',
  })
  return made.outputFiles[0].contents
}
const files = {
  '/': ['text/html; charset=utf-8', readFileSync(here('../page/index.html'))],
  '/app.js': ['text/javascript; charset=utf-8', await bundled('page-kit.ts')],
  '/app.css': ['text/css; charset=utf-8', await bundled('../page/app.css')],
  '/icon.svg': ['image/svg+xml', readFileSync(here('../page/icon.svg'))],
  '/manifest.webmanifest': ['application/manifest+json', readFileSync(here('../page/manifest.webmanifest'))],
}

const server = createServer((request, response) => {
  const file = files[new URL(request.url, 'http://localhost').pathname]
  const headers = {
    'content-security-policy': POLICY,
    'x-content-type-options': 'nosniff',
    'cache-control': 'no-store',
  }
  if (file) response.writeHead(200, { ...headers, 'content-type': file[0] }).end(file[1])
  else response.writeHead(404, headers).end()
})
await new Promise(done => server.listen(0, '127.0.0.1', done))
const origin = `http://127.0.0.1:${server.address().port}`

const browser = await chromium.launch({
  executablePath: process.env.PERI_CHROMIUM ?? '/usr/bin/chromium',
  args: [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
  ],
})
const result = { looks: 0, violations: [], policy: [], errors: [] }

for (const [size, language, theme] of quick ? [LOOKS[0], LOOKS[3]] : LOOKS) {
  const context = await browser.newContext({
    viewport: SIZES[size],
    deviceScaleFactor: 1,
    hasTouch: size === 'phone',
    locale: language === 'de' ? 'de-DE' : 'en-GB',
    timezoneId: 'Europe/Berlin',
    colorScheme: theme,
    reducedMotion: 'reduce',
  })
  await context.addInitScript(() => {
    globalThis.violations = []
    document.addEventListener('securitypolicyviolation', event => {
      globalThis.violations.push(`${event.violatedDirective}: ${event.blockedURI} ${event.sample}`)
    })
  })
  for (const walk of WALKS) {
    if (only && !walk.name.includes(only)) continue
    if (walk.sizes && !walk.sizes.includes(size)) continue
    const page = await context.newPage()
    page.setDefaultTimeout(PATIENCE_MS)
    const name = `${walk.name} ${size} ${language} ${theme}`
    page.on('pageerror', error => result.errors.push(`${name}: ${error.message}`))
    page.on('console', message => message.type() === 'error' && result.errors.push(`${name}: ${message.text()}`))
    const look = async part => {
      const full = part ? `${name} ${part}` : name
      await page.waitForTimeout(120)
      result.policy.push(...(await page.evaluate('globalThis.violations.splice(0)')).map(each => `${full}: ${each}`))
      if (shots) await page.screenshot({ path: join(shots, `${full.replaceAll(' ', '-')}.png`) })
      const wide = await page.evaluate('document.documentElement.scrollWidth - innerWidth')
      if (wide > 0) result.violations.push({ look: full, rule: 'no sideways scrolling', at: [`${wide} px too wide`] })
      await page.evaluate(axe.source)
      const found = await page.evaluate(() =>
        globalThis.axe.run(document, {
          runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
        }),
      )
      // What axe does to the page by itself is not the page's.
      await page.evaluate('globalThis.violations.splice(0)')
      for (const each of found.violations) {
        const at = each.nodes
          .slice(0, 4)
          .map(node => `${node.target.join(' ')} ${node.any[0]?.message ?? node.failureSummary ?? ''}`)
        result.violations.push({ look: full, rule: each.id, help: each.help, at })
      }
      result.looks++
    }
    try {
      await page.goto(`${origin}/?as=${walk.as}${walk.hash ?? ''}`)
      await walk.walk({ page, look, say: (german, english) => (language === 'de' ? german : english), size })
    } catch (error) {
      result.errors.push(`${name}: ${error.message.split('\n').slice(0, 4).join(' ')}`)
      if (shots)
        await page.screenshot({ path: join(shots, `FAILED-${name.replaceAll(' ', '-')}.png`) }).catch(() => undefined)
    }
    await page.close()
  }
  await context.close()
}
await browser.close()
server.close()
console.log(JSON.stringify(result, null, 1))
process.exitCode = result.violations.length + result.policy.length + result.errors.length > 0 ? 1 : 0
