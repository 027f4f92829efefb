/**
 * Ten words for a fingerprint, to be read aloud and compared by people. Twin of `src/seal/words.rs`, from the same list.
 */

import list from '../../seal/words.txt'

const LIST = list.trimEnd().split('\n')
const WORDS = 10
/** 2^11 = 2,048 words. */
const BITS = 11

/** The first 110 bits of the fingerprint, most significant bit first, eleven per word. */
export function words(fingerprint: Uint8Array): string[] {
  if (LIST.length !== 1 << BITS || fingerprint.length !== 32) throw new RangeError('32 bytes and 2,048 words are expected')
  return Array.from({ length: WORDS }, (_, word) => {
    let index = 0
    for (let bit = word * BITS; bit < (word + 1) * BITS; bit++) {
      index = (index << 1) | ((fingerprint[bit >> 3]! >> (7 - (bit & 7))) & 1)
    }
    return LIST[index]!
  })
}
