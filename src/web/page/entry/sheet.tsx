/**
 * The recovery sheet: shown once, printed alone on its page, and confirmed by its last characters.
 *
 * Invariant: the code is in no address, storage or clipboard of its own accord, and gone from the page once it is
 * confirmed.
 */

import { useState } from 'preact/hooks'
import type { NewKey } from '../../engine.js'
import { dateTime } from '../lib/time.js'
import { t } from '../lib/words.js'
import { Button, Check, Field, Note, Words } from '../ui/controls.js'
import { Mark } from '../ui/icons.js'

const bare = (code: string): string => code.replace(/[^0-9a-z]/gi, '').toUpperCase()

export function Sheet({ made, name, onDone }: { made: NewKey; name: string; onDone: () => void }) {
  const [kept, keep] = useState(false)
  const [check, type] = useState('')
  const [tried, attempt] = useState(false)
  const right = bare(made.code).endsWith(bare(check)) && bare(check).length === 4
  return (
    <form
      class="stack"
      noValidate
      onSubmit={event => {
        event.preventDefault()
        attempt(true)
        if (right && kept) onDone()
      }}
    >
      <p>{t('sheet.text')}</p>
      <section class="sheet" aria-label={t('sheet.title')}>
        <header>
          <Mark size={30} /> <strong>Peri · {t('sheet.title')}</strong>
        </header>
        <dl class="facts">
          <dt>{t('sheet.code')}</dt>
          <dd class="code">{made.code}</dd>
          <dt>{t('sheet.name')}</dt>
          <dd>{name}</dd>
          <dt>{t('sheet.address')}</dt>
          <dd class="mono">{location.origin}</dd>
          <dt>{t('sheet.made')}</dt>
          <dd>{dateTime(Date.now())}</dd>
          <dt>{t('words.label')}</dt>
          <dd>
            <Words words={made.words} small />
          </dd>
        </dl>
        <p class="hint">{t('sheet.warning')}</p>
      </section>
      <div class="row">
        <Button icon="print" onClick={() => window.print()}>
          {t('print')}
        </Button>
      </div>
      <Check checked={kept} onValue={keep}>
        {t('sheet.kept')}
      </Check>
      <Field
        label={t('sheet.check')}
        value={check}
        onValue={type}
        autocomplete="off"
        spellcheck={false}
        maxLength={6}
        error={tried && !right ? t('sheet.check.wrong') : undefined}
      />
      {tried && right && !kept && (
        <Note tone="warn" urgent>
          {t('sheet.kept')}?
        </Note>
      )}
      <div class="actions">
        <Button kind="main" type="submit">
          {t('sheet.go')}
        </Button>
      </div>
    </form>
  )
}
