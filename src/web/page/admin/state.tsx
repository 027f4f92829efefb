/**
 * Cameras, health and retention: state without a picture.
 *
 * Invariant: no media element and no code of the wall is reached from here.
 */

import { useEffect, useState } from 'preact/hooks'
import { useAction, useEngine, useHouse, useLoad } from '../lib/hooks.js'
import { cameraName } from '../lib/names.js'
import { clock, exact, HOUR, ms, SECOND, since, span } from '../lib/time.js'
import { alarm, cause, notice } from '../lib/trouble.js'
import { bytes, t } from '../lib/words.js'
import { Busy, Button, Field, Note, Sign, Trouble } from '../ui/controls.js'
import { Facts, Page, Section, Table } from '../ui/page.js'
import { tell } from './proposed.js'

const EVERY_MS = 15 * SECOND

function useEvery(again: () => void): void {
  useEffect(() => {
    const timer = setInterval(() => document.visibilityState === 'visible' && again(), EVERY_MS)
    return () => clearInterval(timer)
  }, [again])
}

export function Cameras() {
  const engine = useEngine()
  const house = useHouse()
  const fresh = useLoad(() => engine.house(), [engine])
  useEvery(fresh.again)
  const now = ms(house.now)
  const there = house.cameras.filter(camera => !camera.removed)
  return (
    <Page title={t('cameras.title')} text={t('cameras.text')}>
      <Trouble error={fresh.error} again={fresh.again} />
      {there.length === 0 ? (
        <p>{t('cameras.none')}</p>
      ) : (
        <Table
          label={t('cameras.title')}
          head={[
            t('cameras.camera'),
            t('cameras.recording'),
            t('cameras.until'),
            t('cameras.line'),
            t('cameras.setup'),
          ]}
          rows={there.map(camera => ({
            key: camera.id,
            cells: [
              camera.name,
              camera.lost === '' ? (
                <Sign tone="good">{t('tile.rec')}</Sign>
              ) : (
                <span>
                  <Sign tone="bad">{t('tile.norec')}</Sign>
                  <span class="hint block">{cause(camera.lost)}</span>
                </span>
              ),
              <span class="figures">
                {camera.recordedUntil === null ? t('cameras.never') : since(ms(camera.recordedUntil), now)}
              </span>,
              camera.plain ? (
                <Sign tone="warn">{t('cameras.plain')}</Sign>
              ) : (
                <Sign tone="good">{t('cameras.sealed')}</Sign>
              ),
              camera.registered ? t('cameras.registered') : <Sign tone="warn">{t('cameras.unregistered')}</Sign>,
            ],
          }))}
        />
      )}
    </Page>
  )
}

export function HealthPage() {
  const engine = useEngine()
  const house = useHouse()
  const health = useLoad(() => engine.health(), [engine])
  useEvery(health.again)
  const { value } = health
  return (
    <Page
      title={t('health.title')}
      text={value && t('health.asof', { at: clock(ms(value.now)) })}
      actions={
        <Button icon="refresh" busy={health.busy} onClick={health.again}>
          {t('refresh')}
        </Button>
      }
    >
      <Trouble error={health.error} again={health.again} />
      {!value ? (
        health.busy && <Busy />
      ) : (
        <>
          <Section title={t('health.alarms')}>
            {value.alarms.length === 0 ? (
              <Sign tone="good">{t('health.noalarms')}</Sign>
            ) : (
              <ul class="stack tight list">
                {value.alarms.map(line => (
                  <li key={line}>
                    <Note tone="bad">{alarm(line, id => cameraName(house, id))}</Note>
                  </li>
                ))}
              </ul>
            )}
          </Section>
          <Facts
            facts={[
              [
                t('health.recording'),
                `${value.cameras.filter(camera => camera.lost === '').length} / ${value.cameras.length}`,
              ],
              [t('health.free'), bytes(Number(value.freeBytes))],
              [t('health.clock'), <Off at={ms(value.now)} />],
            ]}
          />
          <Section title={t('cameras.title')}>
            <Table
              label={t('cameras.title')}
              head={[t('cameras.camera'), t('cameras.recording'), t('cameras.until')]}
              rows={value.cameras.map(camera => ({
                key: camera.camera,
                cells: [
                  cameraName(house, camera.camera),
                  camera.lost === '' ? (
                    <Sign tone="good">{t('tile.rec')}</Sign>
                  ) : (
                    <Sign tone="bad">{cause(camera.lost)}</Sign>
                  ),
                  <span class="figures">
                    {camera.recordedUntil === null
                      ? t('cameras.never')
                      : since(ms(camera.recordedUntil), ms(value.now))}
                  </span>,
                ],
              }))}
            />
          </Section>
          <Section title={t('health.notices')}>
            {value.notices.length === 0 ? (
              <p>{t('health.nonotices')}</p>
            ) : (
              <ul class="stack tight list">
                {value.notices.map(name => (
                  <li key={name}>
                    <Note tone="warn">{notice(name)}</Note>
                  </li>
                ))}
              </ul>
            )}
          </Section>
        </>
      )}
    </Page>
  )
}

/** The appliance's clock, with what it is off from this computer's. */
function Off({ at }: { at: number }) {
  const [seen] = useState(() => Date.now())
  const off = Math.abs(at - seen)
  return (
    <span class="figures">
      {exact(at)}
      {off > 5 * SECOND && off < 86_400_000 && <> · {t('health.off', { span: span(off) })}</>}
    </span>
  )
}

/** In a sentence, whole days are written out. */
const days = (secs: number): string =>
  secs % 86_400 === 0 ? t('invite.day', { n: secs / 86_400 }) : span(secs * SECOND)

export function Retention() {
  const engine = useEngine()
  const house = useHouse()
  const hours = Math.round((house.retentionSecs * SECOND) / HOUR)
  const max = Math.floor((house.ceilingSecs * SECOND) / HOUR)
  const [text, type] = useState(String(hours))
  const [tried, attempt] = useState(false)
  const wanted = /^\d+$/.test(text.trim()) ? Number(text) : 0
  const good = wanted >= 1 && wanted <= max
  const change = useAction(async () => {
    tell(await engine.propose({ kind: 'retention', secs: wanted * 3600 }), t('retention.done'))
    await engine.house()
  })
  return (
    <Page title={t('retention.title')}>
      <p class="lead">{t('retention.now', { span: days(house.retentionSecs) })}</p>
      <p class="hint">{t('retention.ceiling', { span: days(house.ceilingSecs), k: house.k })}</p>
      <form
        class="stack narrow"
        noValidate
        onSubmit={event => {
          event.preventDefault()
          attempt(true)
          if (good && wanted !== hours) void change.run()
        }}
      >
        <Field
          label={t('retention.hours')}
          inputMode="numeric"
          value={text}
          onValue={type}
          hint={t('retention.hint', {
            days: (wanted / 24).toLocaleString(undefined, { maximumFractionDigits: 1 }),
            max,
          })}
          error={tried && !good ? t('retention.bad', { max }) : undefined}
        />
        {good && wanted < hours && <Note tone="warn">{t('retention.shorter')}</Note>}
        <Trouble error={change.error} />
        <div>
          <Button kind="main" type="submit" busy={change.busy} disabled={wanted === hours}>
            {t('retention.go')}
          </Button>
        </div>
      </form>
    </Page>
  )
}
