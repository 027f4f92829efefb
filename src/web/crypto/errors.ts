/**
 * What can go wrong, as short codes for programs and a sentence for people that names cause and remedy.
 *
 * The codes are the classes of `tests/vectors/*.json`, so that both implementations say the same of the same bytes. What
 * does not belong: secrets; no message ever holds one.
 */

/** Class of a failure. */
export type Code =
  | 'bad_encoding' // not canonical CBOR of the expected shape
  | 'bad_key' // not a point, not a scalar, or an ML-KEM key out of range
  | 'wrong_signature'
  | 'weak_rounds' // a stored key that somebody weakened
  | 'other_version' // written by a later version
  | 'bad_code' // recovery code with a typing error
  | 'wrong_method' // stored under the other kind of secret
  | 'does_not_open' // HPKE or AES-GCM refuses
  | 'other_key' // opens to another key set than it says
  | 'not_recipient'
  | 'wrong_kind' // a share where E was expected, or the other way round
  | 'wrong_form' // suite, index or length fits no wrap of this epoch
  | 'wrong_commitment' // opens, but is not what the record commits to
  | 'wrong_e'
  | 'wrong_x'
  | 'wrong_k'
  | 'too_few'
  | 'same_seat_twice'
  | 'other_vm'
  | 'other_camera'
  | 'other_epoch'
  | 'no_such_index'
  | 'wrong_share'
  | 'mixed_shares'
  | 'bad_head'
  | 'bad_record'
  | 'other_device'
  | 'wrong_key'
  | 'truncated'
  | 'flipped_bit'
  | 'forged'
  | 'reordered'
  | 'repeated'
  | 'run_back'
  | 'after_last'
  | 'media_before_init'
  | 'too_long'

/** A refusal. */
export class PeriError extends Error {
  readonly code: Code

  constructor(code: Code, message: string) {
    super(message)
    this.name = 'PeriError'
    this.code = code
  }
}

/** Throws unless `condition` holds. */
export function demand(condition: boolean, code: Code, message: string): asserts condition {
  if (!condition) throw new PeriError(code, message)
}
