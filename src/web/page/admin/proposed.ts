/** What became of something that was proposed, in words for a notice. */

import type { Proposed } from '../../engine.js'
import { t } from '../lib/words.js'
import { notify } from '../ui/announce.js'

export function tell(proposed: Proposed, done: string): void {
  const { have, need } = proposed
  notify(proposed.done ? done : t('proposed.waits', { have, need }), 'info')
}
