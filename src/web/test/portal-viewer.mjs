// What portal.mjs shows of a viewer: getting in, live, the past, saving, windows, network, leaving.
//
// What does not belong: the other roles (portal-roles.mjs). Invariant: each step begins and ends where the next one begins: on
// the wall, live, in German.

import { build } from 'esbuild'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { check, run, seconds, sleep, until } from './portal-kit.mjs'

/** The probe, for any script of the page's origin. */
const probe = build({
  entryPoints: [fileURLToPath(new URL('portal-probe.ts', import.meta.url))],
  bundle: true,
  write: false,
  format: 'iife',
  target: 'es2022',
  loader: { '.txt': 'text' },
}).then(made => made.outputFiles[0].text)

/** Puts the probe into somebody's page, unless it is there. */
export async function probed({ page }) {
  if (!(await page.evaluate(() => 'probe' in globalThis))) await page.evaluate(await probe)
}

/** Starts of the epochs of a camera in the last seconds before now, as a granted viewer is told of them. */
export async function epochsOf(guard, camera, secs = 60) {
  await probed(guard)
  const now = Date.now()
  return guard.page.evaluate(([id, from, to]) => globalThis.probe.epochs(id, from, to), [camera, now - secs * 1000, now])
}

/** Id of a camera by the name on its tile. */
export const cameraId = ({ page }, name) =>
  page.getByRole('button', { name: `${name} groß zeigen` }).getAttribute('data-camera')

const open = async (guard, name) => {
  await guard.page.getByRole('button', { name: `${name} groß zeigen` }).click()
  await guard.page.locator('.stage').waitFor()
}

const toWall = async ({ page }) => {
  await page.keyboard.press('Escape')
  await page.locator('.wall').waitFor()
}

/** Waits until a picture of the past is on the stage. */
const shown = guard =>
  until('a picture of the past', () =>
    guard.page.evaluate(() => {
      const video = document.querySelector('.stage video')
      const busy = document.querySelector('.stage .working, .stage .curtain, .shown.live')
      return !busy && video?.readyState >= 2 && !video.seeking
    }),
  )

/** Types a time into the field, as people do, and waits for its picture; the stage pauses. */
async function goTo(guard, at) {
  const { page } = guard
  await page.keyboard.press('g')
  await page.keyboard.type(new Date(at).toISOString().replace(/\.\d+/, ''))
  await page.keyboard.press('Enter')
  await page.locator('.shown:not(.live)').waitFor()
  await shown(guard)
  await page.keyboard.press('k')
  await sleep(250)
  await shown(guard)
}

/** The burnt-in clock and the page's, which must agree; in words. */
async function agree(guard) {
  const { burnt, shown: said, said: text } = await guard.clocks()
  // The burnt-in clock stands for a whole second.
  const off = said < burnt ? said - burnt : Math.max(0, said - burnt - 1_000)
  const both = `the picture says ${new Date(burnt).toISOString()}, the page ${new Date(said).toISOString()}`
  // A second is the aim; what a busy machine delivers late is dated late.
  check(Math.abs(off) <= 2_000, both)
  const zoned = new Intl.DateTimeFormat('de-DE', { timeStyle: 'medium', timeZone: guard.config.zone }).format(said)
  check(text.startsWith(zoned), `the page writes ${text} where it is ${zoned} in ${guard.config.zone}`)
  return `${text} (${(off / 1000).toFixed(2)} s off)`
}

/** Watches the pictures that are presented until `done`; per <video> the longest time without a new one. */
async function stalls({ page }, done) {
  await page.evaluate(() => {
    globalThis.presented = [...document.querySelectorAll('video')].map(video => {
      const seen = { last: performance.now(), most: 0, count: 0 }
      const hear = now => {
        seen.most = Math.max(seen.most, now - seen.last)
        seen.last = now
        seen.count++
        video.requestVideoFrameCallback(hear)
      }
      video.requestVideoFrameCallback(hear)
      return seen
    })
  })
  await done()
  return page.evaluate(() =>
    globalThis.presented.map(({ last, most, count }) => ({ most: Math.max(most, performance.now() - last), count })),
  )
}

export async function live(guard) {
  const { report, page, config } = guard
  const tiles = config.cameras.length
  await report.show('code-login', () => guard.recover(true))
  await report.show('live-moves', async () => {
    const began = Date.now()
    const changed = await guard.moving(tiles)
    const words = (await page.locator('.tile .caption-name').allInnerTexts()).join(', ')
    return `${words}: moving ${seconds(Date.now() - began)} after the sheet; ${changed.join(' and ')} of 14400 points change`
  })
  await report.show('live-over-epoch', async () => {
    const before = guard.count('/v1/open')
    const one = await stalls(guard, async () => {
      const patience = config.epoch_secs * 1000 + 20_000
      await until('the next epoch of each tile', () => guard.count('/v1/open') >= before + tiles, patience)
      await sleep(2_000)
    })
    const most = Math.max(...one.map(each => each.most))
    // A second is the aim; on a machine that does much else at the same time it may be more.
    check(most <= 3_000, `a tile stood still for ${most.toFixed(0)} ms`)
    return `longest ${most.toFixed(0)} ms without a new picture; ${one.map(each => each.count).join(' and ')} pictures`
  })
  await report.show('look-wall', () => guard.look('wall'))
}

export async function past(guard) {
  const { report, page, config } = guard
  const camera = await cameraId(guard, config.clock)
  await open(guard, config.clock)
  // The last edge with enough recorded behind it; on any, the picture of the next epoch begins there.
  const edge = (await epochsOf(guard, camera)).map(one => one.starts).findLast(starts => starts < Date.now() - 6_000)
  await report.show('clock-at-seek', async () => {
    check(edge, 'no epoch began in the last minute')
    const said = []
    for (const at of [edge - 3_000, edge + 2_000, edge - 1_000]) {
      await goTo(guard, at)
      const { shown: there } = await guard.clocks()
      const both = `asked for ${new Date(at).toISOString()}, shown is ${new Date(there).toISOString()}`
      check(Math.abs(there - at) < 1_500, both)
      said.push(await agree(guard))
    }
    return `around the edge at ${new Date(edge).toISOString()}: ${said.join(', ')}`
  })
  await report.show('clock-over-edge', async () => {
    await goTo(guard, edge - 1_500)
    await page.keyboard.press(' ')
    await until('the picture behind the edge', async () => {
      const at = await page.locator('time.shown').getAttribute('datetime')
      return new Date(at).getTime() > edge + 1_000
    })
    await page.keyboard.press('k')
    await sleep(250)
    await shown(guard)
    return `played over it: ${await agree(guard)}`
  })
  for (const name of ['hour', 'dst']) {
    await report.show(`${name}-edge`, async () => {
      const around = config.edges?.[name]
      if (!around) return 'left out: no recording over such an edge'
      const said = []
      for (const by of [-2_000, 2_000]) {
        await goTo(guard, new Date(around).getTime() + by)
        said.push(await agree(guard))
      }
      return said.join(', ')
    })
  }
  await report.show('look-stage', async () => {
    await page.keyboard.press('i')
    await page.getByRole('button', { name: 'Vorschaubilder' }).click()
    await page.waitForTimeout(1_200)
    await guard.look('stage')
    await page.getByRole('button', { name: 'Vorschaubilder' }).click()
    await page.keyboard.press('z')
  })
  await report.show('gaps', async () => {
    if (!config.gap) return 'left out: no camera was away'
    await toWall(guard)
    await open(guard, config.gap)
    const summary = page.locator('details.gaps summary')
    await summary.waitFor()
    const bars = await page.locator('.lane i.lost').count()
    check(bars > 0, 'the timeline draws no gap')
    await summary.click()
    return `${await summary.innerText()}; ${bars} in the timeline; ${await page.locator('details.gaps li').last().innerText()}`
  })
  return edge
}

/** A whole second as German people write it. */
const written = (at, zone) =>
  new Intl.DateTimeFormat('de-DE', { dateStyle: 'medium', timeStyle: 'medium', timeZone: zone }).format(at).replace(',', '')

export async function save(guard, edge) {
  const { report, page, config } = guard
  await report.show('export', async () => {
    await toWall(guard)
    await open(guard, config.export.camera)
    const from = Math.floor(edge / 1000) * 1000 - 4_000
    await page.keyboard.press('e')
    await page.getByRole('dialog').waitFor()
    await page.getByLabel('Kamera', { exact: true }).selectOption({ label: config.export.camera })
    await page.getByLabel('Von', { exact: true }).fill(written(from, config.zone))
    await page.getByLabel('Bis', { exact: true }).fill(written(from + 6_000, config.zone))
    await page.getByLabel('Zweck').fill(config.export.purpose)
    await guard.look('export')
    const began = Date.now()
    const [download] = await Promise.all([page.waitForEvent('download'), guard.button('Als MP4 speichern').click()])
    const file = join(config.out, 'export.mp4')
    await download.saveAs(file)
    const took = Date.now() - began
    await page.getByRole('heading', { name: 'Gespeichert' }).waitFor()
    await guard.look('saved')
    await guard.button('Fertig').click()
    await toWall(guard)
    const decode = ['-xerror', '-i', file, '-map', '0:v', '-fps_mode', 'passthrough', '-f', 'framemd5', '-']
    const decoded = await run('ffmpeg', '-v', 'error', ...decode)
    const pictures = decoded.split('\n').filter(line => line && !line.startsWith('#')).length
    const count = ['-count_packets', '-select_streams', 'v', '-show_entries', 'stream=nb_read_packets', '-of', 'csv=p=0']
    const there = Number(await run('ffprobe', '-v', 'error', ...count, file))
    check(pictures === there, `${there} pictures in the file, ${pictures} decode`)
    // It begins with the key picture before the span: up to one group of pictures more.
    const [least, most] = config.export.pictures
    check(pictures >= least && pictures <= most, `${pictures} pictures where ${least} to ${most} are due`)
    return `${download.suggestedFilename()}: ${pictures} pictures, all decode, after ${seconds(took)}`
  })
}

export async function windows(guard) {
  const { report, page, context, config } = guard
  const tiles = config.cameras.length
  await report.show('reload', async () => {
    const began = Date.now()
    await page.reload()
    await page.locator('.tile').first().waitFor()
    check((await page.getByLabel('Passwort', { exact: true }).count()) === 0, 'a password is asked for')
    const inside = Date.now() - began
    await guard.moving(tiles)
    return `in again without a password after ${seconds(inside)}, moving after ${seconds(Date.now() - began)}`
  })
  await report.show('second-window', async () => {
    const began = Date.now()
    // As duplicated tabs and window.open do it: with a copy of the session storage.
    const [copy] = await Promise.all([
      context.waitForEvent('page'),
      page.evaluate(() => void globalThis.open(globalThis.location.href)),
    ])
    await guard.moving(tiles, copy)
    const took = Date.now() - began
    await guard.moving(tiles)
    await sleep(1_000)
    for (const one of [page, copy]) check((await one.locator('.tile').count()) === tiles, 'one of the windows is out')
    await copy.close()
    await guard.moving(tiles)
    return `both windows show moving pictures, the second after ${seconds(took)}; none is locked`
  })
}

export async function cut(guard) {
  const { report, page, context, config } = guard
  await report.show('network-cut', async () => {
    let began = Date.now()
    await context.setOffline(true)
    await page.locator('.banner').waitFor()
    const [said, after] = [await page.locator('.banner strong').innerText(), Date.now() - began]
    await until('the last picture is said to be old', () => page.locator('.curtain').first().isVisible())
    const tile = await page.locator('.curtain strong').first().innerText()
    await guard.look('away')
    began = Date.now()
    await context.setOffline(false)
    await page.locator('.banner').waitFor({ state: 'detached' })
    const back = Date.now() - began
    await guard.moving(config.cameras.length)
    const again = `back after ${seconds(back)}, moving after ${seconds(Date.now() - began)}`
    return `“${said}” after ${seconds(after)}, tile: “${tile}”; ${again}`
  })
}

/** What the database of the page holds: entries by store. */
const kept = page =>
  page.evaluate(async () => {
    const done = asked => new Promise((yes, no) => Object.assign(asked, { onsuccess: () => yes(asked.result), onerror: no }))
    const db = await done(globalThis.indexedDB.open('peri'))
    const stores = {}
    for (const name of db.objectStoreNames) {
      const values = await done(db.transaction(name).objectStore(name).getAll())
      stores[name] = { count: values.length, given: values.some(value => value.key?.extractable === true) }
    }
    db.close()
    return stores
  })

export async function leave(guard) {
  const { report, page, config, login } = guard
  await report.show('logout-wipes', async () => {
    const before = await kept(page)
    check(before.inside.count === 1 && !before.inside.given, `before: ${JSON.stringify(before)}`)
    await guard.button(/^Konto/).click()
    await guard.look('account')
    await guard.button('Abmelden').click()
    const heading = page.getByRole('heading', { name: 'Anmelden' })
    await heading.waitFor()
    const after = await until('the key is wiped', async () => {
      const now = await kept(page)
      return now.inside.count === 0 && now
    })
    check(after.keys.count === 0 && !after.devices.given, `afterwards: ${JSON.stringify(after)}`)
    check((await page.locator('video').count()) === 0, 'a picture outlived the logout')
    await page.goBack()
    await heading.waitFor()
    await sleep(500)
    check((await page.locator('.shell, video').count()) === 0, 'the back button shows the wall')
    const counts = Object.entries(after).map(([name, { count }]) => `${name} ${count}`)
    return `kept: ${counts.join(', ')}; the back button shows the login`
  })
  await report.show('password-login', async () => {
    await page.goto(config.url)
    await page.getByLabel('Passwort', { exact: true }).fill(login.password)
    const began = Date.now()
    await page.keyboard.press('Enter')
    await page.locator('.tile').first().waitFor()
    const inside = Date.now() - began
    await guard.moving(config.cameras.length)
    return `in after ${seconds(inside)}, first moving pictures ${seconds(Date.now() - began)} after Enter`
  })
}
