/**
 * What waits for signatures: who, what, why, how long; sign; see what is missing.
 *
 * Invariants: what is signed are the bytes whose facts are on the screen; a signature is a second, deliberate step.
 */

import { useEffect, useState } from 'preact/hooks'
import type { Proposal } from '../../engine.js'
import { tell } from '../admin/proposed.js'
import { useAction, useEngine, useHouse, useLoad } from '../lib/hooks.js'
import { holder } from '../lib/names.js'
import { dateTime, ms, SECOND } from '../lib/time.js'
import { t, type Key } from '../lib/words.js'
import { notify } from '../ui/announce.js'
import { Busy, Button, Note, Sign, Trouble } from '../ui/controls.js'
import { Dialog } from '../ui/dialog.js'
import { Facts, Page } from '../ui/page.js'
import { BodyFacts } from './body.js'

export function Proposals() {
  const engine = useEngine()
  const house = useHouse()
  const list = useLoad(() => engine.proposals(), [engine])
  const [signing, sign] = useState<Proposal>()
  useEffect(() => {
    // Not while somebody reads before he signs: what he sees must be what was shown last.
    if (signing) return
    const timer = setInterval(() => document.visibilityState === 'visible' && list.again(), 10 * SECOND)
    return () => clearInterval(timer)
  }, [list.again, signing])
  const close = () => {
    sign(undefined)
    list.again()
  }
  return (
    <Page
      title={t('proposals.title')}
      text={t('proposals.text', { k: house.k, n: house.n })}
      actions={
        <Button icon="refresh" busy={list.busy} onClick={list.again}>
          {t('refresh')}
        </Button>
      }
    >
      <Trouble error={list.error} again={list.again} />
      {list.value === undefined ? (
        list.busy && <Busy />
      ) : list.value.length === 0 ? (
        <div class="empty">
          <h2>{t('proposals.none')}</h2>
          <p class="hint">{t('proposals.none.text')}</p>
        </div>
      ) : (
        <ul class="cards">
          {list.value.map(proposal => (
            <li key={proposal.id}>
              <Card proposal={proposal} onSign={() => sign(proposal)} onDone={list.again} />
            </li>
          ))}
        </ul>
      )}
      {signing && <SignDialog proposal={signing} onClose={close} />}
    </Page>
  )
}

const title = (proposal: Proposal): string => t(`kind.${proposal.body.kind}` as Key)

/** Signatures as filled and empty seals, with the count in words. */
const Seals = ({ have, need }: { have: number; need: number }) => (
  <span class="seals">
    <span aria-hidden="true">
      {Array.from({ length: Math.max(have, need) }, (_, at) => (
        <i key={at} class={at < have ? 'seal set' : 'seal'} />
      ))}
    </span>
    {t('proposals.have', { have, need })}
  </span>
)

function Card({ proposal, onSign, onDone }: { proposal: Proposal; onSign: () => void; onDone: () => void }) {
  const engine = useEngine()
  const house = useHouse()
  const submit = useAction(async () => {
    await engine.submit(proposal.id)
    notify(t('proposals.accepted'))
    onDone()
  })
  const { have, need } = proposal
  return (
    <article class="proposal" aria-label={title(proposal)}>
      <header class="row apart">
        <h2>{title(proposal)}</h2>
        <Seals have={have} need={need} />
      </header>
      <BodyFacts body={proposal.body} house={house} />
      <Facts
        facts={[
          [t('proposals.by'), proposal.signers.map(key => holder(house, key)).join(', ') || t('none')],
          [t('proposals.ends'), <span class="figures">{dateTime(ms(proposal.notAfter))}</span>],
        ]}
      />
      <Trouble error={submit.error} />
      <footer class="row apart">
        {proposal.complete ? (
          <Sign tone="warn">{t('proposals.submit.text')}</Sign>
        ) : proposal.signed ? (
          <Sign tone="good">
            {t('proposals.signed')} · {t('proposals.missing', { n: need - have })}
          </Sign>
        ) : proposal.maySign ? (
          <Sign tone="none">{t('proposals.missing', { n: need - have })}</Sign>
        ) : (
          <Sign tone="none">
            {t('proposals.maynot')} · {t('proposals.missing', { n: need - have })}
          </Sign>
        )}
        {proposal.complete ? (
          <Button kind="main" busy={submit.busy} onClick={() => void submit.run()}>
            {t('proposals.submit')}
          </Button>
        ) : (
          proposal.maySign &&
          !proposal.signed && (
            <Button kind="main" icon="pen" aria-haspopup="dialog" onClick={onSign}>
              {t('proposals.sign')}
            </Button>
          )
        )}
      </footer>
    </article>
  )
}

function SignDialog({ proposal, onClose }: { proposal: Proposal; onClose: () => void }) {
  const engine = useEngine()
  const house = useHouse()
  const sign = useAction(async () => {
    tell(await engine.sign(proposal.id), t('proposals.accepted'))
    onClose()
    await engine.house()
  })
  return (
    <Dialog title={`${t('proposals.sure')}: ${title(proposal)}`} onClose={onClose} wide held={sign.busy}>
      <BodyFacts body={proposal.body} house={house} />
      <Note tone="warn">
        <p>{t('proposals.sure.text')}</p>
        <p class="hint">{t('proposals.cli')}</p>
      </Note>
      <Trouble error={sign.error} />
      <div class="actions">
        <Button onClick={onClose} disabled={sign.busy}>
          {t('cancel')}
        </Button>
        <Button kind="main" icon="pen" busy={sign.busy} onClick={() => void sign.run()}>
          {t('proposals.sure.yes')}
        </Button>
      </div>
    </Dialog>
  )
}
