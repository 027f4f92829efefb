/**
 * Entries of the ledger as a person reads them. Twin of the entry in `src/ledger/entry.rs`.
 *
 * What does not belong: proofs; `peri-verify` checks a ledger. Invariant: an entry that cannot be read is shown as such.
 */

import { cbor, hex, type Bytes } from '../crypto/index.js'
import type { LedgerEntry } from '../facade.js'

const LEDGERS = ['access', 'billing', 'technical'] as const

/** Names of the types, by code. */
const TYPES: Readonly<Record<number, string>> = Object.fromEntries(
  Object.entries({
    0x0001: `claim disclosure_intent disclosure_refused request_refused roster_proposal export_intent live_intent
      session_started session_ended session_locked copy_unresolved logged_in recovery_used login_set invitation_offered
      key_enrolled invitation_misused invitation_withdrawn proposal_signed`,
    0x0101: 'vm_hours billing_filler',
    0x0201: `checkpoint_block appliance_started appliance_stopped role_started role_died sandbox_violation roster_accepted
      roster_refused roster_alarm epoch_opened segment_tail camera_lost camera_back segment_closed erased erased_early
      erasure_pending rekeyed disk_full disk_ok clock_jump root_store_same_disk unwitnessed store_gap spool_replayed
      crypto_deviation stream_damaged camera_clock no_landlock`,
  }).flatMap(([first, names]) => names.split(/\s+/).map((name, at) => [Number(first) + at, name])),
)

/** One entry; its index is its place in the tree. */
export function parseEntry(index: bigint, bytes: Bytes): LedgerEntry {
  try {
    return cbor.decode('a ledger entry', bytes, reader => {
      reader.array(7)
      const ledger = LEDGERS[reader.small(8)] ?? reader.fail('an unknown ledger')
      reader.u64()
      reader.bytes(32)
      const time = reader.i64()
      const code = reader.small(16)
      const subject = reader.null() ? null : hex(reader.bytes(16))
      for (let left = reader.list(64); left > 0; left--) reader.bytes(32)
      return { index, ledger, time, type: TYPES[code] ?? `type ${code}`, subject, bytes }
    })
  } catch {
    return { index, ledger: 'unknown', time: 0n, type: 'unreadable', subject: null, bytes }
  }
}
