/**
 * Joining shares to E. Twin of `src/open/shares.rs`.
 *
 * Interpolation never fails by itself: mixed shares give *some* secret. So every share carries where it comes from, and
 * what comes out is compared with the commitment to E. k = 1 is a path of its own, without polynomials.
 */

import { combine as interpolate } from 'shamir-secret-sharing'
import { concat, equal, type Bytes } from './bytes.js'
import { EpochSecret } from './content.js'
import { demand, PeriError } from './errors.js'
import type { EpochContext } from './record.js'
import { indexFits, type OpenedShare } from './wrap.js'

/** Joins the shares of at least k seats; never an E that the context does not commit to. */
export async function join(shares: readonly OpenedShare[], context: EpochContext): Promise<EpochSecret> {
  for (const [at, share] of shares.entries()) {
    checkOrigin(share, context)
    const twice = shares
      .slice(0, at)
      .some(other => equal(other.seat, share.seat) || (context.threshold > 1 && other.index === share.index))
    demand(!twice, 'same_seat_twice', `the share with index ${share.index} was given twice: ask another seat`)
  }
  const [have, need] = [shares.length, Math.max(context.threshold, 1)]
  demand(have >= need, 'too_few', `${have} of the ${need} shares that are needed: ask ${need - have} more seats`)
  const e = await combine(shares, context)
  if (e) return e
  // With one share more than needed a single wrong one shows: without it the others fit.
  if (have > need) {
    for (const suspect of shares) {
      const without = await combine(shares.filter(share => share !== suspect), context)
      demand(!without, 'wrong_share', `the share with index ${suspect.index} is wrong: leave it out, and tell that seat`)
    }
  }
  throw new PeriError(
    'mixed_shares',
    `the shares do not give the secret of epoch ${context.epoch}: at least one was changed; ask a further seat to find which`,
  )
}

function checkOrigin({ epoch, index }: OpenedShare, context: EpochContext): void {
  demand(equal(epoch.vm, context.vm), 'other_vm', 'a share belongs to another VM')
  demand(equal(epoch.camera, context.camera), 'other_camera', 'a share belongs to another camera: ask for the right one')
  demand(
    epoch.epoch === context.epoch,
    'other_epoch',
    `a share belongs to epoch ${epoch.epoch}, not ${context.epoch}: ask for the right one`,
  )
  const fits = indexFits(index, context.threshold, context.seats)
  demand(fits, 'no_such_index', `a share has index ${index}, which no seat of this epoch has`)
}

/** The value at 0 of the polynomials through these shares, if it is E. With k = 1 every share must be E itself. */
async function combine(shares: readonly OpenedShare[], context: EpochContext): Promise<EpochSecret | undefined> {
  let candidate: Bytes
  if (context.threshold === 1) {
    const first = shares[0]!.value
    if (!shares.every(share => equal(share.value, first))) return undefined
    candidate = first.slice()
  } else {
    // The library's share is value ‖ index.
    const points = shares.map(share => concat(share.value, Uint8Array.of(share.index)))
    candidate = new Uint8Array(await interpolate(points))
    for (const point of points) point.fill(0)
  }
  const e = new EpochSecret(candidate)
  return equal(await e.commit(), context.commitE) ? e : undefined
}
