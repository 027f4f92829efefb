// The suite in headless Chromium, under the policy that the product's pages get: `node src/web/test/browser.mjs ORDER`, after
// build.mjs. Prints the page's results as one line of JSON.
//
// Chromium ends with this process, however that ends (its debugging pipe closes), and this process ends when its standard
// input does: nothing outlives the test that started it.

import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const PATIENCE_MS = 60_000
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join('; ')
const HEADERS = { 'content-security-policy': POLICY, 'x-content-type-options': 'nosniff', 'cache-control': 'no-store' }
const order = process.argv[2]
const profile = mkdtempSync(join(tmpdir(), 'peri-web-'))
let chromium

function finish(status) {
  if (chromium?.pid) {
    try {
      process.kill(-chromium.pid, 'SIGKILL')
    } catch {
      // It ended by itself.
    }
  }
  rmSync(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 })
  process.exit(status)
}

function fail(why) {
  console.error(`browser: ${why}`)
  finish(1)
}

const file = path => readFileSync(new URL(`../../../${path}`, import.meta.url))
const pages = {
  '/': () => ['text/html; charset=utf-8', '<!doctype html><title>suite</title><script type="module" src="/page.mjs"></script>'],
  '/page.mjs': () => ['text/javascript; charset=utf-8', file('target/web/page.mjs')],
  '/order': () => ['application/json', order],
}

const server = createServer((request, response) => {
  if (request.method === 'POST' && request.url === '/results') {
    const parts = []
    request.on('data', part => parts.push(part))
    request.on('end', () => {
      response.end()
      process.stdout.write(`${Buffer.concat(parts).toString('utf8')}\n`, () => finish(0))
    })
    return
  }
  const vector = /^\/vectors\/([a-z]+)\.json$/.exec(request.url)
  const page = vector ? () => ['application/json', file(`tests/vectors/${vector[1]}.json`)] : pages[request.url]
  if (!page) {
    response.writeHead(404, HEADERS).end()
    return
  }
  let type, body
  try {
    ;[type, body] = page()
  } catch (error) {
    fail(error.message)
  }
  response.writeHead(200, { ...HEADERS, 'content-type': type }).end(body)
})

server.listen(0, '127.0.0.1', () => {
  const program = process.env.PERI_CHROMIUM ?? '/usr/bin/chromium'
  const options = [
    '--headless',
    '--no-sandbox', // tests run as root
    '--disable-gpu',
    '--disable-quic',
    '--disable-dev-shm-usage',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--remote-debugging-pipe',
    `--user-data-dir=${profile}`,
    `http://127.0.0.1:${server.address().port}/`,
  ]
  chromium = spawn(program, options, { detached: true, stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] })
  chromium.on('error', error => fail(`${program} does not start (scripts/setup installs it): ${error.message}`))
  chromium.on('exit', code => fail(`${program} ended with ${code} before the page was done`))
})

setTimeout(() => fail(`the page was not done after ${PATIENCE_MS / 1000} s`), PATIENCE_MS)
process.stdin.on('end', () => fail('nobody waits for the results any more')).resume()
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => fail(signal))
