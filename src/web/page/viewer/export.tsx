/**
 * Saving the marked span as MP4: camera, span, purpose; progress with a way out; what is missing in the file.
 *
 * Invariants: without a purpose nothing is opened; what is cancelled leaves nothing; the object URL of the file ends
 * with the dialog.
 */

import { useEffect, useRef, useState } from 'preact/hooks'
import type { Camera, Exported, Progress } from '../../engine.js'
import { asked } from '../lib/asked.js'
import { useEngine } from '../lib/hooks.js'
import { clock, exact, instants, local, MINUTE, ms, span, utc } from '../lib/time.js'
import { cause, plain } from '../lib/trouble.js'
import { bytes, t, type Key } from '../lib/words.js'
import { Button, Field, Note, ProgressBar, Select, Trouble } from '../ui/controls.js'
import { Dialog } from '../ui/dialog.js'
import { stretches, type Stretch } from './coverage.js'
import { head, view } from './view.js'

const PURPOSE_BYTES_MAX = 400

/** What stands in the fields: read back by asked(). Where that time exists twice, ISO with its zone says which. */
function writable(at: number): string {
  const when = local(at)
  const two = (value: number) => String(value).padStart(2, '0')
  if (instants(when).length > 1) return new Date(at).toISOString().replace(/\.\d+/, '')
  return `${two(when.day)}.${two(when.month)}.${when.year} ${two(when.hour)}:${two(when.minute)}:${two(when.second)}`
}

export function ExportDialog(props: { cameras: readonly Camera[]; now: number; onClose: () => void }) {
  const engine = useEngine()
  const { markIn, markOut, focus, mode } = view.value
  const around = mode === 'live' ? props.now - MINUTE : head.value.at
  const [camera, choose] = useState(
    props.cameras.some(each => each.id === focus) ? focus : (props.cameras[0]?.id ?? ''),
  )
  const [from, typeFrom] = useState(() =>
    writable(markIn ?? (markOut !== undefined ? markOut - MINUTE : around - MINUTE / 2)),
  )
  const [until, typeUntil] = useState(() =>
    writable(markOut ?? (markIn !== undefined ? markIn + MINUTE : around + MINUTE / 2)),
  )
  const [purpose, typePurpose] = useState('')
  const [tried, attempt] = useState(false)
  const [progress, tell] = useState<Progress>()
  const [made, become] = useState<Exported>()
  const [error, fail] = useState<unknown>()
  const [cancelled, cancel] = useState(false)
  const abort = useRef<AbortController | undefined>(undefined)
  const [missing, miss] = useState<readonly Stretch[]>([])
  useEffect(() => () => abort.current?.abort(), [])

  const read = (text: string): number | undefined => {
    const time = asked(text, props.now, view.value.day ?? around)
    return time.is === 'time' && time.other === undefined && time.at <= props.now ? time.at : undefined
  }
  const [a, b] = [read(from), read(until)]
  const ordered = a !== undefined && b !== undefined && a < b
  const size = new TextEncoder().encode(purpose.trim()).length
  useEffect(() => {
    miss([])
    if (!ordered) return
    let over = false
    const timer = setTimeout(() => {
      engine.timeline(camera, utc(a), utc(b)).then(
        ({ coverage }) =>
          over || miss(stretches(coverage).filter(each => each.kind !== 'recorded' && each.until - each.from > 50)),
        () => {
          // The export itself says what is missing; this is only a word ahead of it.
        },
      )
    }, 300)
    return () => {
      over = true
      clearTimeout(timer)
    }
  }, [camera, a, b])

  const start = async () => {
    attempt(true)
    if (!ordered || size === 0 || size > PURPOSE_BYTES_MAX || camera === '') return
    const control = new AbortController()
    abort.current = control
    fail(undefined)
    cancel(false)
    tell({ done: 0, total: 0, at: utc(a) })
    try {
      const file = await engine.exportSpan(camera, utc(a), utc(b), purpose.trim(), tell, control.signal)
      if (control.signal.aborted) return
      become(file)
    } catch (reason) {
      if (control.signal.aborted || plain(reason).code === 'aborted') cancel(true)
      else fail(reason)
    } finally {
      tell(undefined)
    }
  }
  if (made) return <Saved made={made} onClose={props.onClose} />
  if (progress) {
    return (
      <Dialog title={t('export.title')} held onClose={props.onClose}>
        <ProgressBar
          label={t('export.running')}
          done={progress.done}
          total={progress.total}
          detail={t('export.progress', {
            done: bytes(progress.done),
            total: bytes(progress.total),
            at: clock(ms(progress.at)),
          })}
        />
        <div class="actions">
          <Button
            onClick={() => {
              abort.current?.abort()
              cancel(true)
              tell(undefined)
            }}
          >
            {t('cancel')}
          </Button>
        </div>
      </Dialog>
    )
  }
  const wrong = (at: number | undefined) => (tried && at === undefined ? t('jump.unreadable') : undefined)
  return (
    <Dialog title={t('export.title')} onClose={props.onClose}>
      <form
        class="stack"
        noValidate
        onSubmit={event => {
          event.preventDefault()
          void start()
        }}
      >
        {cancelled && <Note urgent>{t('export.cancelled')}</Note>}
        <Select
          label={t('export.camera')}
          value={camera}
          onValue={choose}
          options={props.cameras.map(each => [each.id, each.name] as const)}
        />
        <div class="pair">
          <Field
            label={t('export.from')}
            value={from}
            onValue={typeFrom}
            error={wrong(a)}
            hint={a !== undefined && exact(a)}
          />
          <Field
            label={t('export.until')}
            value={until}
            onValue={typeUntil}
            error={wrong(b) ?? (a !== undefined && b !== undefined && a >= b ? t('export.order') : undefined)}
            hint={ordered && `${exact(b)} · ${span(b - a)}`}
          />
        </div>
        <Field
          area
          label={t('export.purpose')}
          value={purpose}
          onValue={typePurpose}
          required
          first
          hint={t('export.purpose.hint')}
          error={
            tried && size === 0
              ? t('export.purpose.missing')
              : size > PURPOSE_BYTES_MAX
                ? t('export.purpose.long')
                : undefined
          }
        />
        {missing.length > 0 && <Missing gaps={missing} />}
        <Trouble error={error} />
        <div class="actions">
          <Button onClick={props.onClose}>{t('cancel')}</Button>
          <Button kind="main" type="submit" icon="save">
            {t('export.go')}
          </Button>
        </div>
      </form>
    </Dialog>
  )
}

const Missing = ({ gaps }: { gaps: readonly Stretch[] }) => (
  <Note tone="warn" title={t('export.missing')}>
    <ul class="plain">
      {gaps.slice(0, 8).map(gap => (
        <li key={gap.from}>
          {t('line.gap', { from: clock(gap.from), until: clock(gap.until), length: span(gap.until - gap.from) })} ·{' '}
          {t(`line.${gap.kind}` as Key)}
          {gap.cause && ` (${cause(gap.cause)})`}
        </li>
      ))}
      {gaps.length > 8 && <li>… {gaps.length - 8}</li>}
    </ul>
  </Note>
)

/** The file is there: the download starts by itself once. */
function Saved({ made, onClose }: { made: Exported; onClose: () => void }) {
  const [url] = useState(() => URL.createObjectURL(made.blob))
  const link = useRef<HTMLAnchorElement>(null)
  useEffect(() => {
    link.current?.click()
    return () => URL.revokeObjectURL(url)
  }, [])
  const gaps = stretches(made.gaps)
  return (
    <Dialog title={t('export.done')} onClose={onClose}>
      <p>
        <b class="mono">{made.name}</b> · {bytes(made.blob.size)} · {exact(ms(made.from))} – {clock(ms(made.until))}
      </p>
      {gaps.length > 0 && <Missing gaps={gaps} />}
      <Note tone="warn">{t('export.done.text')}</Note>
      <div class="actions">
        <a ref={link} class="button" href={url} download={made.name}>
          {t('export.again')}
        </a>
        <Button kind="main" onClick={onClose}>
          {t('done')}
        </Button>
      </div>
    </Dialog>
  )
}
