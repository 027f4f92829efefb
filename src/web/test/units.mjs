// What the page computes by itself: times that people type, the nights in which clocks change, ticks, columns, strength
// of passwords, hours of a week, QR codes, texts. `TZ` is set here; run with `node --test src/web/test/units.mjs`.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { build } from 'esbuild'
import { fileURLToPath } from 'node:url'

process.env.TZ = 'Europe/Berlin'
Object.defineProperty(globalThis, 'navigator', { value: { languages: ['de-DE'] }, configurable: true })

const { outputFiles } = await build({
  entryPoints: [fileURLToPath(new URL('page-units.ts', import.meta.url))],
  bundle: true,
  write: false,
  format: 'esm',
  target: 'es2022',
  jsx: 'automatic',
  jsxImportSource: 'preact',
  loader: { '.txt': 'text' },
  logLevel: 'warning',
})
const page = await import(`data:text/javascript;base64,${Buffer.from(outputFiles[0].contents).toString('base64')}`)
const { asked, ticks, instants, dayStart, local, lastNight, columns, strength, weeklyHours, qr, words, span, clock } =
  page

const at = text => new Date(text).getTime()
const NOW = at('2026-11-27T05:30:00+01:00')
const time = (text, chosen) => asked(text, NOW, chosen)

test('a time of day alone means its latest passing', () => {
  assert.deepEqual(time('02:13'), { is: 'time', at: at('2026-11-27T02:13:00+01:00') })
  assert.deepEqual(time('2:13:05'), { is: 'time', at: at('2026-11-27T02:13:05+01:00') })
  assert.deepEqual(time('22:00 Uhr'), { is: 'time', at: at('2026-11-26T22:00:00+01:00') })
  assert.deepEqual(time('0213'), { is: 'time', at: at('2026-11-27T02:13:00+01:00') })
})

test('a chosen day binds a time of day alone, and a named day overrides it', () => {
  const chosen = at('2026-11-24T12:00:00+01:00')
  assert.deepEqual(time('22:00', chosen), { is: 'time', at: at('2026-11-24T22:00:00+01:00') })
  assert.deepEqual(time('gestern 22:00', chosen), { is: 'time', at: at('2026-11-26T22:00:00+01:00') })
})

test('days are understood in both languages', () => {
  for (const text of [
    'gestern 22:00',
    'yesterday 22:00',
    'Gestern, 22:00',
    'gestern um 22:00',
    'Do 22:00',
    'thu 22:00',
    '26.11. 22:00',
    '26.11.2026 22:00',
    '26.11.26 22',
    '2026-11-26 22:00',
    '2026-11-26T22:00:00',
    '2026-11-26T21:00Z',
    '2026-11-26T22:00+0100',
  ]) {
    assert.deepEqual(time(text), { is: 'time', at: at('2026-11-26T22:00:00+01:00') }, text)
  }
  assert.deepEqual(time('gestern'), { is: 'time', at: at('2026-11-26T00:00:00+01:00') })
  assert.deepEqual(
    time('24.12. 20:00'),
    { is: 'time', at: at('2025-12-24T20:00:00+01:00') },
    'the last one, not the next',
  )
})

test('spans back from now are understood', () => {
  for (const text of ['-10m', 'vor 10 min', '10 min ago', '-600s']) assert.equal(time(text).at, NOW - 600_000, text)
  assert.deepEqual(time('jetzt'), { is: 'live' })
})

test('nonsense is unreadable and never a time', () => {
  for (const text of [
    '',
    '25:00',
    '12:60',
    '31.02. 10:00',
    '2026-13-01',
    '2026-02-30 10:00',
    'morgen 8',
    'abc',
    '22:00 gestern abend',
    '1',
    '99.99.',
    '--5m',
    '2026-11-26T25:00',
  ]) {
    const found = time(text)
    assert.ok(found.is === 'unreadable' || (text === '1' && found.is === 'time'), `${text}: ${JSON.stringify(found)}`)
  }
})

test('an hour that exists twice comes back twice, and one that is left out is said', () => {
  const after = at('2026-10-25T12:00:00+01:00')
  assert.deepEqual(asked('02:30', after), {
    is: 'time',
    at: at('2026-10-25T02:30:00+02:00'),
    other: at('2026-10-25T02:30:00+01:00'),
  })
  assert.deepEqual(asked('02:30', at('2026-03-29T12:00:00+02:00')), { is: 'skipped' })
  assert.equal(instants({ year: 2026, month: 10, day: 25, hour: 2, minute: 0, second: 0 }).length, 2)
  assert.match(clock(at('2026-10-25T02:30:00+01:00')), /MEZ|CET|GMT\+1/)
  assert.doesNotMatch(clock(at('2026-10-25T04:30:00+01:00')), /MEZ|CET|GMT/)
})

test('days have 23, 24 and 25 hours', () => {
  const hours = text => (dayStart(at(text), 1) - dayStart(at(text))) / 3_600_000
  assert.deepEqual(
    [hours('2026-03-29T12:00+02:00'), hours('2026-06-01T12:00+02:00'), hours('2026-10-25T12:00+01:00')],
    [23, 24, 25],
  )
})

test('ticks show an hour twice when clocks go back, leave one out when they go on, and mark days', () => {
  const back = ticks(at('2026-10-25T00:00+02:00'), at('2026-10-25T06:00+01:00'), 8)
  assert.equal(back.filter(tick => local(tick.at).hour === 2).length, 2)
  assert.equal(new Set(back.map(tick => tick.label)).size, back.length, 'each reads differently')
  assert.ok(back[0].major)
  const on = ticks(at('2026-03-29T00:00+01:00'), at('2026-03-29T06:00+02:00'), 8)
  assert.deepEqual(
    on.map(tick => local(tick.at).hour),
    [0, 1, 3, 4, 5],
  )
  const three = ticks(at('2026-11-24T05:30+01:00'), NOW, 12)
  assert.equal(three.filter(tick => tick.major).length, 3)
  assert.ok(three.length <= 13)
})

test('last night begins yesterday at 22:00 and holds nothing that has not been', () => {
  assert.deepEqual(
    lastNight(NOW).map(each => local(each).hour),
    [22, 0, 2, 4],
  )
  assert.deepEqual(
    lastNight(at('2026-11-27T01:00:00+01:00')).map(each => local(each).hour),
    [22, 0],
  )
  assert.deepEqual(
    lastNight(at('2026-10-25T09:00:00+01:00')).map(each => local(each).hour),
    [22, 0, 2, 4],
  )
})

test('the wall is as large as the window allows', () => {
  assert.equal(columns(1, 1400, 760), 1)
  assert.equal(columns(4, 1400, 760), 2)
  assert.equal(columns(6, 1420, 760), 3)
  assert.equal(columns(16, 1400, 760), 4)
  assert.equal(columns(6, 344, 600), 1)
  assert.equal(columns(64, 1400, 760), 5, 'scrolls rather than shrinks')
})

test('a strength is said late rather than early', () => {
  assert.equal(strength('Passwort1234!'), 0)
  assert.equal(strength('aaaaaaaaaaaaaaaaaaaa'), 0)
  assert.equal(strength('kurz'), 0)
  assert.ok(strength('korrekt batterie pferd heftklammer') >= 2)
  assert.ok(strength('x7#Kq9!vLm2$Rt') >= 1)
})

test('weekly hours are ascending spans that are joined and wrap around the week', () => {
  const night = weeklyHours([false, false, false, false, false, false, true], '22:00', '06:00', 'Europe/Berlin')
  assert.deepEqual(night.spans, [
    { from: 0, until: 360 },
    { from: 9960, until: 10080 },
  ])
  const whole = weeklyHours(Array(7).fill(true), '00:00', '00:00', 'Europe/Berlin')
  assert.deepEqual(whole.spans, [{ from: 0, until: 10080 }])
})

test('QR codes have the size of their version and refuse what does not fit', () => {
  assert.equal(qr('a'.repeat(14)).length, 21)
  assert.equal(qr(`https://peri.example.de/#${'A'.repeat(48)}`).length, 37)
  assert.equal(qr('a'.repeat(213)).length, 57)
  assert.equal(qr('a'.repeat(214)), undefined)
})

test('texts exist in both languages with the same places to fill', () => {
  for (const [key, [german, english]] of Object.entries(words)) {
    const places = text =>
      [...text.matchAll(/\{(\w+)\}/g)]
        .map(found => found[1])
        .sort()
        .filter((name, n, all) => all.indexOf(name) === n)
        .join()
    assert.ok(german.length > 0 && english.length > 0, key)
    assert.equal(places(german), places(english), key)
    assert.equal(german.split('|').length, english.split('|').length, key)
  }
  assert.ok(Object.keys(words).length > 400)
})

test('lengths read naturally', () => {
  assert.deepEqual([45_000, 200_000, 7_500_000, 72 * 3_600_000, 76 * 3_600_000].map(span), [
    '45 s',
    '3 min 20 s',
    '2 h 5 min',
    '3 T',
    '3 T 4 h',
  ])
})
