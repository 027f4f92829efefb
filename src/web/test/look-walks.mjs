// What look.mjs walks through: `as` says who is in (page-kit.ts), `walk` does what a person does and looks in between.
//
// What does not belong: how it is looked at. Invariant: things are found by role and name, as a reader finds them.

const fragment = '#Zm9yIGxvb2tpbmcgYXQgdGhlIHBhZ2Ugb25seSwgbm8ga2V5'

const check = (condition, what) => {
  if (!condition) throw new Error(what)
}
const noPictures = async page => {
  const media = await page.locator('video, audio, canvas, .tile, .stage').count()
  check(media === 0, 'there is a picture where none may be')
}

export const WALKS = [
  {
    name: 'login',
    as: 'known',
    async walk({ page, look, say }) {
      await page.getByRole('heading', { name: say('Anmelden', 'Log in') }).waitFor()
      await look()
      await page.getByLabel(say('Passwort', 'Password'), { exact: true }).fill('falsch')
      await page.keyboard.press('Enter')
      await page.getByRole('alert').waitFor()
      await look('refused')
      await page.getByLabel(say('Passwort', 'Password'), { exact: true }).fill('richtig')
      await page.keyboard.press('Enter')
      await page.locator('.tile').first().waitFor()
    },
  },
  {
    name: 'recover',
    as: 'out',
    async walk({ page, look, say }) {
      await page.getByRole('button', { name: say('Neues Gerät', 'New device') }).click()
      await look()
      await page.getByLabel(say('Anmeldename', 'Login name')).fill('nachtwache')
      await page.getByLabel(say('Gedruckter Code', 'Printed code')).fill('7Q3M')
      await page.getByLabel(say('Neues Passwort', 'New password'), { exact: true }).fill('vier zufaellige woerter hier')
      await page
        .getByLabel(say('Neues Passwort wiederholen', 'Repeat the new password'))
        .fill('vier zufaellige woerter hier')
      await look('filled')
      await page.keyboard.press('Enter')
      await page.locator('.sheet').waitFor()
      await look('sheet')
    },
  },
  {
    name: 'enrol',
    as: 'out',
    hash: fragment,
    async walk({ page, look, say }) {
      await page.getByLabel(say('Anmeldename', 'Login name')).waitFor()
      check(!page.url().includes('#'), 'the invitation stands in the address')
      await page.getByLabel(say('Anmeldename', 'Login name')).fill('nachtwache')
      await page.getByLabel(say('Neues Passwort', 'New password'), { exact: true }).fill('kurz')
      await page.keyboard.press('Enter')
      await look('short')
      await page.getByLabel(say('Neues Passwort', 'New password'), { exact: true }).fill('vier zufaellige woerter hier')
      await page
        .getByLabel(say('Neues Passwort wiederholen', 'Repeat the new password'))
        .fill('vier zufaellige woerter hier')
      await page.keyboard.press('Enter')
      await page.locator('.sheet').waitFor()
      await page.getByRole('checkbox').check()
      await page.getByLabel(say('Zur Kontrolle', 'To check')).fill('0S5J')
      await page.keyboard.press('Enter')
      await page.getByRole('heading', { name: say('Wörter vergleichen', 'Compare the words') }).waitFor()
      await look('words')
    },
  },
  {
    name: 'locked',
    as: 'locked',
    async walk({ page, look }) {
      await page.getByRole('alert').waitFor()
      await look()
    },
  },
  {
    name: 'ended',
    as: 'ended',
    sizes: ['desk'],
    async walk({ page, look }) {
      await page.getByRole('alert').waitFor()
      await look()
    },
  },
  {
    name: 'wall',
    as: 'viewer',
    async walk({ page, look, say }) {
      await page.locator('.tile').nth(5).waitFor()
      await page.waitForTimeout(700)
      await look()
      await page.keyboard.press('?')
      await page.getByRole('dialog').waitFor()
      await look('keys')
      await page.keyboard.press('Escape')
      await page.getByRole('button', { name: /Konto|Account/ }).click()
      await look('account')
      await page.keyboard.press('Escape')
      await page.getByRole('dialog').waitFor({ state: 'detached' })
      // A lock wipes the pictures and brings the same view back.
      await page.keyboard.press('ArrowRight')
      await page.keyboard.press('x')
      await page.evaluate(() => globalThis.kit.tell('state', { at: 'locked', reason: 'a copy of a request was seen' }))
      await page.getByRole('alert').waitFor()
      check((await page.locator('video').count()) === 0, 'a picture outlived the lock')
      await look('relock')
      await page.getByLabel(say('Passwort', 'Password'), { exact: true }).fill('richtig')
      await page.keyboard.press('Enter')
      await page.locator('.tile.ticked').waitFor()
    },
  },
  {
    name: 'many',
    as: 'many',
    async walk({ page, look }) {
      await page.locator('.tile').nth(7).waitFor()
      await page.waitForTimeout(500)
      await look()
    },
  },
  {
    name: 'empty',
    as: 'empty',
    sizes: ['desk'],
    async walk({ page, look }) {
      await page.getByRole('heading', { level: 1 }).waitFor()
      await look()
    },
  },
  {
    name: 'away',
    as: 'away',
    async walk({ page, look }) {
      await page.locator('.banner').waitFor()
      await page.waitForTimeout(400)
      await look()
    },
  },
  {
    name: 'night',
    as: 'viewer',
    async walk({ page, look, say }) {
      await page.locator('.tile').nth(5).waitFor()
      // Last night's picture by keyboard alone: a key, a time, Enter.
      await page.keyboard.press('g')
      await page.keyboard.type(say('gestern 23:30', 'yesterday 23:30'))
      await page.locator('.jump-said').waitFor()
      await look('typed')
      await page.keyboard.press('Enter')
      await page.locator('.stage').waitFor()
      await page.locator('.head').waitFor()
      await page.waitForTimeout(500)
      await look()
    },
  },
  {
    name: 'stage',
    as: 'viewer',
    async walk({ page, look, say, size }) {
      await page.locator('.tile-open').first().click()
      await page.locator('.stage').waitFor()
      await page.waitForTimeout(500)
      await look('live')
      await page.getByRole('button', { name: '24 h' }).click()
      const line = page.getByRole('slider', { name: say('Zeit der Wiedergabe', 'Time of playback') })
      const box = await line.boundingBox()
      await page.mouse.click(box.x + box.width * 0.8, box.y + 20)
      await page.waitForTimeout(700)
      await look('past')
      check((await page.locator('.head.live').count()) === 0, 'the head still says live')
      // Marks, steps, speed.
      await page.keyboard.press('k')
      await page.keyboard.press('i')
      await page.keyboard.press('Shift+ArrowRight')
      await page.keyboard.press('o')
      await page.keyboard.press(',')
      await page.getByRole('button', { name: say('Vorschaubilder', 'Previews') }).click()
      if (size === 'desk') await page.mouse.move(box.x + box.width * 0.6, box.y + 20)
      await page.waitForTimeout(1_300)
      await look('marked')
      await page.locator('summary').first().click()
      await look('gaps')
      await page
        .getByRole('button', { name: /27\.|\d\d[./]\d\d/ })
        .last()
        .click()
      await page.getByRole('grid').waitFor()
      await page.keyboard.press('Escape')
      await page.keyboard.press('e')
      await page.getByRole('dialog').waitFor()
      await page.waitForTimeout(500)
      await look('export')
      await page.keyboard.press('Enter')
      await page.getByLabel(say('Zweck', 'Purpose')).fill('langsam: Vorgang 2026-118')
      await page.getByRole('button', { name: say('Als MP4 speichern', 'Save as MP4') }).click()
      await page.getByRole('progressbar').waitFor()
      await page.waitForTimeout(900)
      await look('exporting')
      await page.getByRole('button', { name: say('Abbrechen', 'Cancel') }).click()
      await page.getByText(say('es wurde nichts gespeichert', 'nothing was saved')).waitFor()
      await page.getByLabel(say('Zweck', 'Purpose')).fill('Vorgang 2026-118')
      await page.getByRole('button', { name: say('Als MP4 speichern', 'Save as MP4') }).click()
      await page.getByRole('heading', { name: say('Gespeichert', 'Saved') }).waitFor()
      await look('saved')
      await page.getByRole('button', { name: say('Fertig', 'Done') }).click()
      await page.keyboard.press('End')
      await page.locator('.shown.live').waitFor()
      await page.keyboard.press('Escape')
      await page.locator('.wall').waitFor()
    },
  },
  {
    name: 'together',
    as: 'many',
    async walk({ page, look, say }) {
      await page.locator('.tile').nth(7).waitFor()
      for (const n of [0, 2, 4]) await page.locator('.tile-tick input').nth(n).check()
      await look('ticked')
      await page.getByRole('button', { name: say('3 Kameras gemeinsam öffnen', 'Open 3 cameras together') }).click()
      await page.locator('.stage').waitFor()
      await page.keyboard.press('j')
      await page.keyboard.press('l')
      await page.waitForTimeout(700)
      await look()
      await page.getByRole('button', { name: say('Kameras wählen', 'Choose cameras') }).click()
      await look('choose')
      await page.keyboard.press('Escape')
      await page.goBack()
      await page.locator('.wall').waitFor()
    },
  },
  {
    name: 'calendar',
    as: 'viewer',
    async walk({ page, look }) {
      await page.locator('.tile').first().waitFor()
      await page.locator('.jump > .button').first().click()
      await page.getByRole('grid').waitFor()
      await page.keyboard.press('ArrowLeft')
      await look()
    },
  },
  {
    name: 'administrator',
    as: 'administrator',
    async walk({ page, look, say }) {
      await page.getByRole('heading', { name: say('Personen', 'People'), level: 1 }).waitFor()
      await page.getByRole('button', { name: say('Vergleichen und eintragen', 'Compare and enter') }).waitFor()
      await noPictures(page)
      await look('people')
      await page.getByRole('button', { name: say('Vergleichen und eintragen', 'Compare and enter') }).click()
      await look('compare')
      await page.keyboard.press('Escape')
      await page.getByRole('button', { name: say('Einladen', 'Invite'), exact: true }).click()
      await page.getByLabel(say('Name im Haus', 'Name in the house')).fill('Nachtwache 4')
      await look('invite')
      await page.keyboard.press('Enter')
      await page.getByRole('img', { name: /QR/ }).waitFor()
      await look('invited')
      await page.keyboard.press('Escape')
      await page
        .getByRole('button', { name: say('Entfernen', 'Remove') })
        .first()
        .click()
      await look('remove')
      await page.keyboard.press('Escape')
      for (const [key, name] of [
        ['2', say('Kameras', 'Cameras')],
        ['3', say('Zustand', 'Health')],
        ['4', say('Aufbewahrung', 'Retention')],
      ]) {
        await page.keyboard.press(key)
        await page.getByRole('heading', { name, level: 1 }).waitFor()
        await page.waitForTimeout(250)
        await noPictures(page)
        await look(key)
      }
    },
  },
  {
    name: 'custodian',
    as: 'seat',
    async walk({ page, look, say }) {
      await page.locator('.proposal').first().waitFor()
      await look('proposals')
      await page
        .getByRole('button', { name: say('Prüfen und unterschreiben', 'Check and sign') })
        .first()
        .click()
      await look('sign')
      await page.getByRole('button', { name: say('Ja, unterschreiben', 'Yes, sign') }).click()
      await page.locator('.notices .note').waitFor()
      await look('signed')
      await page.keyboard.press('2')
      await page.getByRole('heading', { name: say('Freigaben', 'Grants'), level: 1 }).waitFor()
      await look('grants')
      await page.getByRole('button', { name: say('Neue Freigabe', 'New grant') }).click()
      await page.getByRole('checkbox', { name: say('Nur zu bestimmten', 'Only at certain') }).check()
      await page.getByRole('button', { name: say('Vorschlagen', 'Propose') }).click()
      await look('grant')
      await page.keyboard.press('Escape')
      await page
        .getByRole('button', { name: say('Widerrufen', 'Revoke'), exact: true })
        .first()
        .click()
      await look('revoke')
      await noPictures(page)
    },
  },
  {
    name: 'auditor',
    as: 'auditor',
    async walk({ page, look, say }) {
      await page.locator('tbody tr').nth(90).waitFor()
      await look('ledger')
      await page.getByRole('button', { name: say('Ältere', 'Older') }).click()
      await page.waitForTimeout(300)
      await page.keyboard.press('2')
      await page.getByRole('heading', { name: say('Einrichtung', 'Configuration'), level: 1 }).waitFor()
      await page.waitForTimeout(300)
      await noPictures(page)
      await look('configuration')
    },
  },
  {
    name: 'claim',
    as: 'claim',
    sizes: ['desk'],
    async walk({ page, look }) {
      await page.getByRole('heading', { level: 1 }).waitFor()
      await look()
    },
  },
]
