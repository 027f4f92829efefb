// The main job's picture: somebody gets in with a printed code and sees cameras move, in headless Chromium that trusts the
// appliance because its authority was imported. For scripts/demo.
//
//   node src/web/test/wall.mjs CONFIG.json
//
// CONFIG: {url, ca, zone, cameras: number of tiles, out: directory for pictures, login: {name, code, password}}. The code is
// spent by it. Prints what was seen; exits 1 when it was not. What does not belong: everything else people do (portal.mjs).

import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Browser, Person, Report } from './portal-kit.mjs'

const config = JSON.parse(readFileSync(process.argv[2], 'utf8'))
mkdirSync(config.out, { recursive: true })
const report = new Report()
const browser = await Browser.start(config.ca)
const person = await Person.come(browser, report, config, config.login)
await report.show('gets in with the printed code', () => person.recover())
await report.show('decrypted pictures move', async () => {
  const changed = await person.moving(config.cameras)
  await person.page.screenshot({ path: join(config.out, 'wall.png') })
  return `${changed.join(' and ')} of 14400 points change`
})
await report.show('no error, no violation of the policy', async () => {
  const wrong = [...person.errors, ...person.policy]
  if (wrong.length > 0) throw new Error(wrong.join('; '))
})
await browser.end()
for (const { name, ok, detail, ms } of report.results) console.log(`${ok ? 'ok  ' : 'FAIL'} ${name} (${ms} ms) ${detail}`)
process.exit(report.results.every(result => result.ok) ? 0 : 1)
