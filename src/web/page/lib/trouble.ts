/**
 * Failures and causes in the reader's language. The appliance speaks English; its codes and the beginnings of its
 * sentences are translated here, and what is not known stands as it came.
 *
 * Invariant: nothing is swallowed; the appliance's own sentence stays readable beside the translation.
 */

import { language } from './prefs.js'
import { exact } from './time.js'
import { maybe, t } from './words.js'

export interface Plain {
  readonly title: string
  readonly detail: string
  readonly code: string
  /** Milliseconds after which another attempt may do better. */
  readonly retry: number | undefined
}

const text = (value: unknown): string => (typeof value === 'string' ? value : '')

/** Title, the sentence as it came, and the code of anything that was thrown. */
export function plain(error: unknown): Plain {
  const known = (typeof error === 'object' && error !== null ? error : {}) as Record<string, unknown>
  const code = text(known['code']) || (known['name'] === 'AbortError' ? 'aborted' : '')
  const detail = text(known['detail']) || text(known['message']) || String(error)
  const title = maybe(`code.${code}`) ?? (text(known['title']) || t('trouble.unknown'))
  const wait = known['retryAfter']
  return { title, detail, code, retry: typeof wait === 'number' && wait > 0 ? wait * 1000 : undefined }
}

/** What helps, where something is known to. */
export const remedy = (code: string): string | undefined => maybe(`help.${code}`)

/** One line: for statuses on tiles. */
export function brief(error: unknown): string {
  const { title, detail, code } = plain(error)
  return maybe(`code.${code}`) ? title : detail || title
}

/** Beginnings of the appliance's sentences about cameras, recordings and grants, with the German for each. */
const CAUSES: readonly (readonly [RegExp, string])[] = [
  [/^no connection to (.+?):.*/s, 'keine Verbindung zu $1; ist die Kamera an und erreichbar?'],
  [/^the connection to the camera broke.*/s, 'die Verbindung zur Kamera ist abgerissen'],
  [/^the camera closed the connection.*/s, 'die Kamera hat die Verbindung beendet'],
  [
    /^the camera refuses user name or password.*/s,
    'die Kamera nimmt Name oder Passwort nicht an; Zugangsdaten berichtigen',
  ],
  [/^the camera sent no video for (\d+) s.*/s, 'die Kamera sendet seit $1 s kein Bild; läuft ihr Encoder?'],
  [/^no answer to \S+ within (\d+) s.*/s, 'die Kamera antwortet seit $1 s nicht; ist sie überlastet?'],
  [/^no answer$/, 'keine Antwort'],
  [/^host unknown: (\S+).*/s, 'Kamera „$1“ ist im Netz nicht bekannt; Namen in der Adresse prüfen'],
  [/^no resolver answered.*/s, 'kein Namensdienst antwortet; Netz prüfen'],
  [/^the camera offers no video.*/s, 'die Kamera bietet kein Video an; Videostrom einschalten'],
  [
    /^the camera sends (\S+), which cannot be recorded.*/s,
    'die Kamera sendet $1, das nicht aufgezeichnet wird; auf H.264 stellen',
  ],
  [/^TLS: (.*)/s, 'verschlüsselte Verbindung zur Kamera scheitert: $1'],
  [/^its recorder does not run.*/s, 'ihr Aufzeichner läuft nicht'],
  [/^its recorder does not report.*/s, 'ihr Aufzeichner meldet sich nicht'],
  [/^disk full.*/s, 'der Speicher ist voll'],
  [/^key file full.*/s, 'die Schlüsseldatei ist voll'],
  [/^retention$/, 'Aufbewahrungsfrist abgelaufen'],
  [/^(the recorder is )?starting.*/s, 'die Aufzeichnung läuft an'],
  [/^no picture yet$/, 'noch kein Bild'],
  [/^the camera was removed$/, 'die Kamera wurde entfernt'],
  [/^power cut.*/s, 'Stromausfall'],
  [/^the appliance was (off|down|not running).*/s, 'das Gerät war aus'],
  [/^no grant covers this camera.*/s, 'für diese Kamera gilt keine Freigabe; die Treuhänder können eine erteilen'],
  [/^the grant was revoked.*/s, 'die Freigabe wurde widerrufen; die Treuhänder können eine neue erteilen'],
  [/^the grant does not give this right.*/s, 'die Freigabe umfasst dieses Recht nicht'],
  [/^the grant begins at .*/s, 'die Freigabe hat noch nicht begonnen'],
  [/^the grant ended at .*/s, 'die Freigabe ist abgelaufen; die Treuhänder können sie verlängern'],
  [/^it is outside the weekly hours.*/s, 'die Freigabe gilt nur zu bestimmten Wochenzeiten'],
  [/^the pictures lie outside the grant.*/s, 'diese Bilder liegen außerhalb der Freigabe'],
]

const CAUSE_WRAPS = /^(?:camera: |was lost: )/

/** A cause of the appliance in the reader's language. */
export function cause(sentence: string): string {
  const bare = sentence.replace(CAUSE_WRAPS, '')
  if (language() === 'en') return bare
  for (const [begins, german] of CAUSES) if (begins.test(bare)) return bare.replace(begins, german)
  return bare
}

/** A standing notice of the appliance: its name, or its name and what it is about. */
export function notice(text: string): string {
  const [, name = text, about = ''] = /^(\w+): ([^:]+): /.exec(text) ?? []
  const said = maybe(`notice.${name}`)
  return said === undefined ? text : said.replace('{about}', about)
}

/** An alarm, `TIME TYPE: text`, with its time as local clocks show it, its type in words and cameras by name. */
export function alarm(line: string, cameraName: (id: string) => string): string {
  const [, time, type, rest] = /^(\d{4}-\d\d-\d\dT[\d:.]+Z) (\w+): (.*)$/s.exec(line) ?? []
  if (time === undefined || type === undefined || rest === undefined) return line
  const [, camera, why] = /^camera ([0-9a-f]{32}): (.*)$/s.exec(rest) ?? []
  const what = camera === undefined ? rest : `${cameraName(camera)} – ${cause(why ?? '')}`
  return `${exact(new Date(time).getTime())}: ${maybe(`entry.${type}`) ?? type} – ${what}`
}
