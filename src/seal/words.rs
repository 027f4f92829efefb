//! Ten words for a fingerprint, to be read aloud and compared by people.
//!
//! The list is the English list of BIP-39 (2,048 words, no two alike in their first four letters; CC0 as shipped with
//! crate `bip39`), one per line in `words.txt`. Ten words carry 110 bits: whoever wants another key set with the same
//! words needs about 2^110 tries, as it is a second preimage that must be found, not a collision.

use peri_domain::Fingerprint;
use std::sync::LazyLock;

/// Words of one fingerprint.
pub const WORDS_LEN: usize = 10;

/// Bits of one word: 2^11 = 2,048 words.
const BITS: usize = 11;

static LIST: LazyLock<Vec<&'static str>> = LazyLock::new(|| include_str!("words.txt").lines().collect());

/// The first 110 bits of the fingerprint, most significant bit first, eleven per word.
#[must_use]
pub fn words(fingerprint: &Fingerprint) -> [&'static str; WORDS_LEN] {
    core::array::from_fn(|word| {
        let index = (word * BITS..(word + 1) * BITS).fold(0_usize, |index, bit| {
            let byte = fingerprint.as_bytes()[bit / 8];
            index << 1 | usize::from(byte >> (7 - bit % 8) & 1)
        });
        LIST[index]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_the_known_one() {
        assert_eq!(LIST.len(), 1 << BITS);
        assert!(LIST.is_sorted());
        assert_eq!((LIST[0], LIST[2047]), ("abandon", "zoo"));
    }

    #[test]
    fn words_follow_the_bits() {
        let mut bytes = [0; 32];
        assert_eq!(words(&Fingerprint(bytes)), ["abandon"; 10]);
        bytes[0] = 0xff;
        bytes[1] = 0xe0;
        assert_eq!(words(&Fingerprint(bytes))[..2], ["zoo", "abandon"]);
        // The last of the 110 bits is bit 2 of byte 13; the bit after it is in no word.
        bytes = [0; 32];
        bytes[13] = 0b0000_0100;
        assert_eq!(words(&Fingerprint(bytes))[9], "ability");
        bytes[13] = 0b0000_0011;
        assert_eq!(words(&Fingerprint(bytes)), ["abandon"; 10]);
    }
}
