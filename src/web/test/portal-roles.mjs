// What portal.mjs shows of the others: who has no grant, who gives one, who runs the place, who audits it.
//
// What does not belong: what a viewer does (portal-viewer.mjs). Invariant: nobody here but the stranger, once granted, has a
// picture on the screen.

import { check, LOOKS, seconds, sleep, until } from './portal-kit.mjs'
import { cameraId, epochsOf, probed } from './portal-viewer.mjs'

export async function strange(stranger) {
  const { report, page } = stranger
  await report.show('stranger-login', () => stranger.recover())
  await report.show('stranger-empty', async () => {
    const heading = page.getByRole('heading', { level: 1, name: 'Noch keine Kamera freigegeben' })
    await heading.waitFor()
    check((await stranger.media()).length === 0, 'a picture without a grant')
    check((await page.locator('.words li').count()) === 10, 'no ten words to tell the custodians')
    for (const path of ['/v1/open', '/v1/fetch', '/v1/segments']) check(stranger.count(path) === 0, `asked by ${path}`)
    await stranger.look('empty')
    return `${await heading.innerText()}: ${await page.locator('main p').first().innerText()}`
  })
}

/** The stranger's own key and session, past the page's manners. */
export async function refused(stranger, guard) {
  await stranger.report.show('stranger-refused', async () => {
    const camera = await cameraId(guard, stranger.config.clock)
    const epoch = (await epochsOf(guard, camera)).at(-2)?.epoch
    check(epoch, 'no epoch to ask for')
    await probed(stranger)
    const said = await stranger.page.evaluate(([id, no]) => globalThis.probe.knock(id, no), [camera, epoch])
    const asked = stranger.requests.filter(({ path }) => path === '/v1/open' || path === '/v1/fetch')
    check(asked.length >= 6 && said.length === 6, `only ${asked.length} requests in the network log: ${said}`)
    check(asked.every(({ status }) => status === 403 || status === 404), said.join(', '))
    check(said.every(one => /: (403|404) /.test(one)), said.join(', '))
    return said.join(', ')
  })
}

/** Pages that were looked at in both languages and themes, for somebody. */
const looked = new Set()

/** Walks through pages by their keys, looks at each, and holds that no page has a place for pictures or asks for any. */
async function walkThrough(person, role, places) {
  const { report, page } = person
  await report.show(`no-pictures-${role}`, async () => {
    for (const [at, heading] of places.entries()) {
      await page.keyboard.press(String(at + 1))
      await page.getByRole('heading', { level: 1, name: heading, exact: true }).waitFor()
      await until('the page is loaded', async () => (await page.locator('.busy').count()) === 0)
      const media = await person.media()
      check(media.length === 0, `${heading}: ${media.join(', ')}`)
      await person.look(`${role}-${at + 1}`, looked.has(heading) ? LOOKS.slice(1) : LOOKS)
      looked.add(heading)
    }
    const asked = ['/v1/open', '/v1/fetch', '/v1/segments', '/v1/live'].filter(path => person.count(path) > 0)
    check(asked.length === 0, `asked by ${asked.join(', ')}`)
    check(person.count('/v1/house') > 0, 'the network log is empty')
    return `${places.join(', ')}: nothing that shows a picture, none of ${person.requests.length} requests for one`
  })
}

export const administrator = async boss => {
  await boss.report.show('administrator-login', () => boss.recover())
  await walkThrough(boss, 'administrator', ['Personen', 'Kameras', 'Zustand', 'Aufbewahrung', 'Unterschriften'])
}

export const auditor = async rev => {
  await rev.report.show('auditor-login', () => rev.recover())
  await walkThrough(rev, 'auditor', ['Protokoll', 'Einrichtung', 'Zustand'])
}

/** One custodian proposes a grant for the stranger, another one signs it. */
export async function grant(first, second, stranger) {
  const { report, config } = first
  await report.show('custodian-logins', async () => {
    await Promise.all([first.recover(), second.recover()])
  })
  const given = await report.show('grant-in-browser', async () => {
    const { page } = first
    await page.keyboard.press('2')
    await first.button('Neue Freigabe').click()
    const whom = page.getByLabel('Für wen')
    await whom.selectOption(await whom.locator('option', { hasText: config.stranger_name }).getAttribute('value'))
    await page.getByRole('radio', { name: 'Alle Kameras' }).check()
    await first.look('grant')
    await first.button(/^Vorschlagen/).click()
    await page.getByText('Wartet auf weitere').first().waitFor()
    const { page: other } = second
    await other.keyboard.press('1')
    const card = other.locator('.proposal', { hasText: config.stranger_name })
    await until('the proposal', async () => {
      await second.button('Neu laden').click()
      await sleep(300)
      return (await card.count()) > 0
    })
    const facts = (await card.first().innerText()).replaceAll('\n', ' ')
    const plain = /Livebild.*Wiedergabe/.test(facts) && facts.includes(config.seats[0])
    check(plain, `the proposal does not say what it is: ${facts}`)
    await second.look('proposal')
    await card.first().getByRole('button', { name: 'Prüfen und unterschreiben' }).click()
    await second.look('sign')
    await second.button('Ja, unterschreiben').click()
    await other.getByText('Angenommen').first().waitFor()
    return `${config.seats[0]} proposed, ${config.seats[1]} signed: accepted`
  })
  return given ? Date.now() : undefined
}

export const custodian = seat =>
  walkThrough(seat, 'custodian', ['Unterschriften', 'Freigaben', 'Personen', 'Zustand', 'Protokoll'])

export const sees = (stranger, granted) =>
  stranger.report.show('stranger-sees', async () => {
    check(granted, 'there was no grant')
    const { page, config } = stranger
    const changed = await stranger.moving(config.cameras.length, page, config.epoch_secs * 1000 + 45_000)
    const took = seconds(Date.now() - granted)
    return `moving ${took} after the grant, without a reload; ${changed.join(' and ')} points change`
  })

export const revoke = (seat, stranger) =>
  seat.report.show('revocation-ends', async () => {
    const { page, config } = seat
    await page.keyboard.press('2')
    await page.getByRole('heading', { level: 1, name: 'Freigaben', exact: true }).waitFor()
    const row = page.getByRole('row', { name: config.stranger_name })
    await row.first().getByRole('button', { name: 'Widerrufen' }).click()
    await page.getByLabel('Grund').fill('Probe beendet')
    await seat.button('Widerrufen').last().click()
    await page.getByRole('dialog').waitFor({ state: 'detached' })
    const began = Date.now()
    const sentence = stranger.page.locator('.curtain strong, main h1:not(.unseen)').first()
    const said = await until(
      'the picture ends with a sentence',
      async () => {
        const moving = (await stranger.changes()).some(changed => changed > 0)
        const text = (await sentence.count()) > 0 && (await sentence.innerText().catch(() => ''))
        return !moving && /Keine Freigabe|keine Kamera freigegeben/.test(text) && text
      },
      config.epoch_secs * 1000 + 30_000,
    )
    const took = Date.now() - began
    await stranger.look('revoked')
    const answered = stranger.requests.filter(({ path }) => path === '/v1/open').at(-1)
    return `“${said}” ${seconds(took)} after the revocation; its last request for a key: ${answered?.status}`
  })
