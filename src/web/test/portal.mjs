// The page as it ships, in headless Chromium, against a running appliance whose authority was imported: what people do, and
// what must not happen. No flag makes the browser overlook a certificate, and nothing stands in between.
//
//   node src/web/test/portal.mjs CONFIG.json
//
// CONFIG: {url, ca, zone, epoch_secs, cameras: [names], clock, gap: names of the camera with the burnt-in clock and of one that
// was away, edges: {hour?, dst?} (recorded moments), export: {camera, purpose, pictures: [least, most]}, seats: [names],
// stranger_name, out: directory for pictures, logins: {viewer, stranger, administrator, auditor, first, second: {name, code,
// password}}}. Codes are spent by it.
//
// Prints one JSON document {ok, results: [{name, ok, detail, ms}], looks, ms}; exits 1 unless all are ok. Chromium ends with
// this process, and this process ends when its standard input does. What does not belong: the steps (portal-viewer.mjs,
// portal-roles.mjs). `PERI_TALK=1` tells each result as it comes.

import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Browser, check, Person, Report } from './portal-kit.mjs'
import * as roles from './portal-roles.mjs'
import * as viewer from './portal-viewer.mjs'

const PATIENCE_MS = 170_000
const began = Date.now()
const config = JSON.parse(readFileSync(process.argv[2], 'utf8'))
mkdirSync(config.out, { recursive: true })
const report = new Report()
const browsers = []
const people = []

async function finish(status) {
  if (status !== 0) {
    const pages = people.flatMap(({ context, login }) => context.pages().map((page, at) => [page, `${login.name}-${at}`]))
    const shoot = ([page, name]) =>
      page.screenshot({ path: join(config.out, `FAILED-${name}.png`), timeout: 3_000 }).catch(() => undefined)
    await Promise.all(pages.map(shoot))
  }
  await Promise.all(browsers.map(browser => browser.end()))
  process.exit(status)
}

const die = why => {
  console.error(`portal: ${why}; so far: ${JSON.stringify(report.results)}`)
  void finish(2)
}
setTimeout(() => die(`not done after ${PATIENCE_MS / 1000} s`), PATIENCE_MS)
process.stdin.on('end', () => die('nobody waits for the results any more')).resume()
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => die(signal))

async function start(authority) {
  const browser = await Browser.start(authority)
  browsers.push(browser)
  return browser
}

const unknown = report.show('certificate-unknown', async () => {
  const browser = await start(undefined)
  const page = await browser.chromium.newPage()
  const said = await page.goto(config.url).then(() => 'it was let through', error => error.message.split('\n')[0])
  check(said.includes('net::ERR_CERT_AUTHORITY_INVALID'), said)
  await browser.end()
  return said
})

async function walk() {
  const browser = await start(config.ca)
  const come = async who => {
    const person = await Person.come(browser, report, config, config.logins[who])
    people.push(person)
    return person
  }
  const [guard, stranger, boss, rev, first, second] = [
    await come('viewer'),
    await come('stranger'),
    await come('administrator'),
    await come('auditor'),
    await come('first'),
    await come('second'),
  ]

  await viewer.live(guard)
  await roles.strange(stranger)
  await roles.refused(stranger, guard)
  // What different people do at the same time.
  const custody = roles.grant(first, second, stranger).then(granted => roles.sees(stranger, granted))
  const auditing = roles.administrator(boss).then(() => roles.auditor(rev))
  const edge = await viewer.past(guard)
  await viewer.save(guard, edge)
  await custody
  const revoked = roles.revoke(second, stranger)
  await viewer.windows(guard)
  await revoked
  const signing = roles.custodian(first)
  await viewer.cut(guard)
  await viewer.leave(guard)
  await Promise.all([auditing, signing])
}
// A step that lost its way is a result as well.
await walk().catch(error => report.show('walk', () => Promise.reject(error)))
await unknown

await report.show('policy', () => {
  const violations = people.flatMap(person => person.policy)
  check(violations.length === 0, violations.join('; '))
  return 'no violation of the policy on any page'
})
await report.show('page-errors', () => {
  const errors = people.flatMap(person => person.errors)
  check(errors.length === 0, errors.join('; '))
  return 'no error on any page'
})
await report.show('accessibility', () => {
  check(report.barriers.length === 0, report.barriers.slice(0, 12).join(' | '))
  return `${report.looks} looks in German and English, light and dark: axe finds nothing`
})

const ok = report.results.every(result => result.ok)
const document = { ok, results: report.results, looks: report.looks, ms: Date.now() - began }
process.stdout.write(`${JSON.stringify(document, null, 1)}\n`, () => void finish(ok ? 0 : 1))
