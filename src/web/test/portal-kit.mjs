// What portal.mjs stands on: Chromium that trusts what its user imported, people in it, pictures and clocks read off the
// screen, results.
//
// What does not belong: what is shown (portal-walk.mjs, portal-roles.mjs). Invariants: no flag makes Chromium overlook a
// certificate; what the page says wrong anywhere (errors, policy, barriers) is kept and becomes a result.

import axe from 'axe-core'
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { chromium } from 'playwright-core'

const exec = promisify(execFile)
const PATIENCE_MS = 30_000
const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']
/** Language and theme of each look. */
export const LOOKS = [
  ['de', 'light'],
  ['en', 'dark'],
]
/** A failed request is a line in the console; those that a test wants are no fault of the page. */
const WANTED = /Failed to load resource|ERR_INTERNET_DISCONNECTED|WebSocket connection to .* failed/
const ARGS = [
  '--no-sandbox', // tests run as root
  '--disable-gpu',
  '--disable-quic',
  '--disable-dev-shm-usage',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

export const sleep = ms => new Promise(done => setTimeout(done, ms))
export const seconds = ms => `${(ms / 1000).toFixed(1)} s`
export const check = (condition, what) => {
  if (!condition) throw new Error(what)
}

/** Polls until `found` gives something other than undefined or false. */
export async function until(what, found, patience = PATIENCE_MS, pause = 100) {
  const end = Date.now() + patience
  for (;;) {
    const value = await found()
    if (value !== undefined && value !== false) return value
    if (Date.now() > end) throw new Error(`${what}: not within ${patience / 1000} s`)
    await sleep(pause)
  }
}

/** Runs a program; what it prints. */
export async function run(program, ...args) {
  const env = { ...process.env, OMP_THREAD_LIMIT: '1' }
  const { stdout } = await exec(program, args, { env, maxBuffer: 64 << 20 })
  return stdout
}

/** Named results, in order. */
export class Report {
  results = []
  /** Looks at pages that were made, and what axe found. */
  looks = 0
  barriers = []

  /** Runs a step; what it returns is the detail. A failure is a result like any other. */
  async show(name, step) {
    const began = Date.now()
    let ok = true
    let detail
    try {
      detail = await step()
    } catch (error) {
      ok = false
      detail = String(error?.message ?? error).split('\n').slice(0, 6).join(' ')
    }
    this.results.push({ name, ok, detail: detail ?? '', ms: Date.now() - began })
    if (process.env.PERI_TALK) console.error(`${ok ? 'ok  ' : 'FAIL'} ${name} ${Date.now() - began} ms: ${detail ?? ''}`)
    return ok
  }
}

/** Chromium with a home of its own, in whose store the authority was imported as a person imports one; or none was. */
export class Browser {
  static async start(authority) {
    const home = mkdtempSync(join(tmpdir(), 'peri-portal-'))
    if (authority) {
      const store = join(home, '.pki/nssdb')
      mkdirSync(store, { recursive: true })
      await run('certutil', '-d', `sql:${store}`, '-N', '--empty-password')
      await run('certutil', '-d', `sql:${store}`, '-A', '-t', 'C,,', '-n', 'peri', '-i', authority)
    }
    const executablePath = process.env.PERI_CHROMIUM ?? '/usr/bin/chromium'
    const own = { HOME: home, XDG_CONFIG_HOME: join(home, 'config'), XDG_CACHE_HOME: join(home, 'cache') }
    const env = { ...process.env, ...own }
    try {
      return new Browser(home, await chromium.launch({ executablePath, args: ARGS, env }))
    } catch (error) {
      rmSync(home, { recursive: true, force: true })
      throw error
    }
  }

  constructor(home, chromium) {
    this.home = home
    this.chromium = chromium
  }

  async end() {
    await this.chromium.close().catch(() => undefined)
    rmSync(this.home, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 })
  }
}

/** Somebody with a browser profile of his own. */
export class Person {
  /** Every request of page and worker to the interface: `{path, status}`; status 0 while there is no answer. */
  requests = []
  errors = []
  policy = []
  #axing = false

  static async come(browser, report, config, login) {
    const context = await browser.chromium.newContext({
      viewport: { width: 1440, height: 900 },
      locale: 'de-DE',
      timezoneId: config.zone,
      colorScheme: 'light',
      acceptDownloads: true,
    })
    const person = new Person(context, report, config, login)
    await context.exposeBinding('violated', (_, what) => void (person.#axing || person.policy.push(what)))
    await context.addInitScript(() =>
      document.addEventListener('securitypolicyviolation', event =>
        globalThis.violated(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`),
      ),
    )
    person.page = await context.newPage()
    return person
  }

  constructor(context, report, config, login) {
    Object.assign(this, { context, report, config, login })
    context.setDefaultTimeout(PATIENCE_MS)
    context.on('request', request => {
      const path = new URL(request.url()).pathname
      if (path.startsWith('/v1/')) this.requests.push({ path, status: 0, request })
    })
    context.on('response', response => {
      const entry = this.requests.findLast(one => one.request === response.request())
      if (entry) entry.status = response.status()
    })
    context.on('page', page => {
      page.on('websocket', socket => this.requests.push({ path: new URL(socket.url()).pathname, status: 101 }))
      page.on('pageerror', error => this.errors.push(`${login?.name}: ${error.message}`))
      page.on('console', message => {
        if (message.type() !== 'error' || this.#axing || WANTED.test(message.text())) return
        this.errors.push(`${login?.name}: ${message.text().slice(0, 300)}`)
      })
    })
  }

  /** How often the interface was asked by this path. */
  count = path => this.requests.filter(one => one.path === path).length

  button = name => this.page.getByRole('button', typeof name === 'string' ? { name, exact: true } : { name })

  /** Gets in with the printed code and confirms the next sheet; looks on the way where `look` is set. */
  async recover(look = false) {
    const { page, login } = this
    await page.goto(this.config.url)
    await this.button(/^Neues Gerät/).waitFor()
    if (look) await this.look('login')
    await this.button(/^Neues Gerät/).click()
    await page.getByLabel('Anmeldename').fill(login.name)
    await page.getByLabel('Gedruckter Code').fill(login.code)
    await page.getByLabel('Neues Passwort', { exact: true }).fill(login.password)
    await page.getByLabel('Neues Passwort wiederholen').fill(login.password)
    if (look) await this.look('code')
    await page.keyboard.press('Enter')
    const sheet = page.locator('.sheet .code')
    await sheet.or(page.getByRole('alert')).first().waitFor()
    if (!(await sheet.count())) throw new Error(await page.getByRole('alert').innerText())
    if (look) await this.look('sheet')
    const next = await sheet.innerText()
    check(next.replaceAll('-', '') !== login.code.replaceAll('-', ''), 'the next code is the old one')
    await page.getByRole('checkbox').check()
    await page.getByLabel('Zur Kontrolle').fill(next.slice(-4))
    await page.keyboard.press('Enter')
    await page.locator('.shell').waitFor()
  }

  /** Looks at what is on the screen, a picture of it and axe: in both languages and themes, or once where somebody else did. */
  async look(name, looks = LOOKS) {
    const { page, report, config } = this
    // Also behind an open dialog, where a pointer does not reach.
    const language = code => page.evaluate(of => document.querySelector(`button.small[lang="${of}"]`)?.click(), code)
    for (const [code, theme] of looks) {
      await page.emulateMedia({ colorScheme: theme })
      await language(code)
      await page.waitForTimeout(150)
      await page.screenshot({ path: join(config.out, `${name}-${code}-${theme}.png`) })
      this.#axing = true
      if (!(await page.evaluate(() => 'axe' in globalThis))) await page.evaluate(axe.source)
      // Of long lists the beginning: the hundredth row is like the tenth, and axe takes its time for each.
      const found = await page.evaluate(
        runOnly => globalThis.axe.run({ exclude: ['tbody tr:nth-child(n + 13)'] }, { runOnly, resultTypes: ['violations'] }),
        RULES,
      )
      await page.evaluate(() => undefined)
      this.#axing = false
      for (const { id, help, nodes } of found.violations) {
        const at = nodes.slice(0, 3).map(node => `${node.target.join(' ')} ${node.any[0]?.message ?? ''}`)
        report.barriers.push(`${name} ${code} ${theme}: ${id}, ${help}: ${at.join('; ')}`)
      }
      report.looks++
    }
    await page.emulateMedia({ colorScheme: 'light' })
    await language('de')
  }

  /** What could show a picture, on this page now. */
  media() {
    return this.page.evaluate(() => {
      const those = 'video, audio, canvas, picture, object, embed, iframe, img:not([src^="/"]), .tile, .stage'
      return [...document.querySelectorAll(those)].map(found => found.tagName.toLowerCase())
    })
  }

  /** Of each <video>, how many of 14,400 points changed within `pause` ms; −1 where there is no picture. */
  changes(page = this.page, pause = 400) {
    return page.evaluate(async wait => {
      const points = () =>
        [...document.querySelectorAll('video')].map(video => {
          if (video.readyState < 2 || !video.videoWidth) return undefined
          const canvas = new OffscreenCanvas(160, 90)
          const context = canvas.getContext('2d', { willReadFrequently: true })
          context.drawImage(video, 0, 0, 160, 90)
          return context.getImageData(0, 0, 160, 90).data
        })
      const before = points()
      await new Promise(done => setTimeout(done, wait))
      return points().map((now, at) => {
        const was = before[at]
        if (!now || !was) return -1
        let count = 0
        for (let i = 0; i < now.length; i += 4) if (Math.abs(now[i] - was[i]) > 12) count++
        return count
      })
    }, pause)
  }

  /** Waits until so many pictures are there and all move; how many points changed. */
  async moving(count, page = this.page, patience = PATIENCE_MS) {
    let changed
    const moved = async () => {
      changed = await this.changes(page)
      return changed.length === count && changed.every(each => each >= 3) && changed
    }
    try {
      return await until(`${count} moving pictures`, moved, patience, 20)
    } catch (error) {
      const said = (await page.locator('.curtain, .caption-clock, h1').allInnerTexts()).join(' | ')
      const asked = this.requests.slice(-12).map(({ path, status }) => `${path} ${status}`)
      throw new Error(`${error.message}; changed ${changed}; on the page: ${said}; asked: ${asked.join(', ')}`)
    }
  }

  /** Milliseconds of the clock that is burnt into the picture, and of the time that the page says it shows. */
  async clocks() {
    const { page, config } = this
    const { png, shown, said } = await page.evaluate(async () => {
      const video = document.querySelector('.stage video')
      const [width, height] = [video.videoWidth, video.videoHeight]
      // Top left, as reading likes it: black on white, with a margin.
      const [w, h] = [Math.round(width * 0.775), Math.round(height * 0.155)]
      const canvas = new OffscreenCanvas(w * 0.6 + 80, h * 0.6 + 60)
      const context = canvas.getContext('2d')
      context.fillRect(0, 0, canvas.width, canvas.height)
      context.drawImage(video, 0, Math.round(height * 0.027), w, h, 40, 30, w * 0.6, h * 0.6)
      context.globalCompositeOperation = 'difference'
      context.fillStyle = 'white'
      context.fillRect(0, 0, canvas.width, canvas.height)
      const time = document.querySelector('time.shown')
      const said = time.querySelector('.shown-clock').textContent
      const shown = new Date(time.dateTime).getTime()
      const bytes = new Uint8Array(await (await canvas.convertToBlob({ type: 'image/png' })).arrayBuffer())
      return { png: btoa(String.fromCharCode(...bytes)), shown, said }
    })
    const file = join(config.out, 'clock.png')
    writeFileSync(file, Buffer.from(png, 'base64'))
    const text = (await run('tesseract', file, '-', '--psm', '7', '-c', 'tessedit_char_whitelist=0123456789-: ')).trim()
    // Of the dashes one may be overlooked; of the digits none.
    const read = /^(\d{4})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})$/.exec(text.replace(/\D/g, ''))
    check(read, `no clock in the picture: ${JSON.stringify(text)}`)
    const [, year, month, day, hour, minute, second] = read.map(Number)
    // The camera's clock is this computer's, in this computer's zone.
    return { burnt: new Date(year, month - 1, day, hour, minute, second).getTime(), shown, said, text }
  }
}
