//! C2SP signed notes: a text, an empty line, signature lines; and the two keys that sign the ledger's checkpoints.
//!
//! Each checkpoint is signed twice over the same text: Ed25519 (signature type 0x01, what the ecosystem reads) and
//! ECDSA P-384 with SHA-384 (what BSI TR-02102 asks for). The C2SP list has no type for P-384, so it is the unassigned
//! type 0xff followed by a name of our own: the type bytes are `ff` ‖ `"peri/v1/ecdsa-p384-sha384"`, the public key is
//! the uncompressed SEC1 point (97 bytes), the signature r ‖ s (96 bytes). For both, key id = first 4 bytes of
//! SHA-256(name ‖ 0x0a ‖ type bytes ‖ public key), and the line is `— name base64(key id ‖ signature)`.
//!
//! Parsers that know one type ignore the other line; ours ignores every line of a key it was not given. Invariant: a
//! line of a *known* key that does not verify makes the whole note bad.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use core::fmt;
use core::str::FromStr;
use ed25519_dalek::Signer as _;
use p384::ecdsa::signature::{RandomizedSigner as _, Verifier as _};
use p384::elliptic_curve::Generate as _;
use p384::elliptic_curve::rand_core::TryCryptoRng;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Largest note read from outside: a checkpoint with [`SIGNATURES_MAX`] lines of some 220 bytes stays below it.
pub const NOTE_MAX: usize = 64 * 1024;

/// Signature lines in one note. C2SP asks that at least 16 be accepted; more than 128 is nobody's witness set.
pub const SIGNATURES_MAX: usize = 128;

/// Type bytes of an Ed25519 key (C2SP signed-note).
const TYPE_ED25519: &[u8] = &[0x01];

/// Type bytes of our ECDSA P-384 key: unassigned (0xff) and a name nobody else uses.
const TYPE_P384: &[u8] = b"\xffperi/v1/ecdsa-p384-sha384";

/// Em dash and space, which open each signature line.
const LINE_START: &str = "\u{2014} ";

/// Why a note or a key was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Not the shape of a signed note.
    #[error("not a signed note: {0}")]
    Malformed(&'static str),
    /// Not a verifier key.
    #[error("{found:?} is not a verifier key: {why}")]
    BadKey {
        /// The text, shortened.
        found: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A key whose signature is needed did not sign.
    #[error("no signature of {0}; the note comes from another log or was altered")]
    Missing(String),
    /// A key's line does not verify.
    #[error("the signature of {0} does not verify; the text or the line was altered")]
    BadSignature(String),
    /// The signer failed (random source, hardware).
    #[error("signing failed: {0}; nothing was appended")]
    Signer(String),
}

/// One signature line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureLine {
    /// Name of the key.
    pub name: String,
    /// Key id.
    pub id: [u8; 4],
    /// Signature bytes.
    pub signature: Vec<u8>,
}

impl fmt::Display for SignatureLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&self.id, self.signature.as_slice()].concat();
        writeln!(f, "{LINE_START}{} {}", self.name, BASE64.encode(bytes))
    }
}

/// A text with its signature lines, not verified by being parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    lines: Vec<SignatureLine>,
}

impl Note {
    /// From a text that ends with a newline and its lines.
    ///
    /// # Errors
    /// [`NoteError::Malformed`] when the text does not end with a newline or holds control characters.
    pub fn new(text: String, lines: Vec<SignatureLine>) -> Result<Self, NoteError> {
        if !text.ends_with('\n') {
            return Err(NoteError::Malformed("the text does not end with a newline"));
        }
        if text.chars().any(|c| c < ' ' && c != '\n') {
            return Err(NoteError::Malformed("a control character"));
        }
        Ok(Self { text, lines })
    }

    /// What the signatures cover, with its last newline.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signature lines.
    #[must_use]
    pub fn lines(&self) -> &[SignatureLine] {
        &self.lines
    }

    /// Verifies the line of every one of `keys` and ignores all other lines.
    ///
    /// # Errors
    /// [`NoteError::Missing`] or [`NoteError::BadSignature`], naming the key.
    pub fn verify(&self, keys: &[VerifyKey]) -> Result<(), NoteError> {
        for key in keys {
            let mut signed = false;
            for line in self.lines.iter().filter(|l| l.name == key.name && l.id == key.id()) {
                if !key.verifies(self.text.as_bytes(), &line.signature) {
                    return Err(NoteError::BadSignature(key.name_and_type()));
                }
                signed = true;
            }
            if !signed {
                return Err(NoteError::Missing(key.name_and_type()));
            }
        }
        Ok(())
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.lines.iter().try_for_each(|line| line.fmt(f))
    }
}

impl FromStr for Note {
    type Err = NoteError;

    fn from_str(note: &str) -> Result<Self, NoteError> {
        if note.len() > NOTE_MAX {
            return Err(NoteError::Malformed("longer than 64 KiB"));
        }
        // The last empty line ends the text, since a text may hold empty lines and signature lines cannot.
        let at = note.rfind("\n\n").ok_or(NoteError::Malformed("no empty line before the signatures"))?;
        let (text, block) = (&note[..=at], &note[at + 2..]);
        let block =
            block.strip_suffix('\n').ok_or(NoteError::Malformed("no signature line, or no newline at its end"))?;
        let lines = block.split('\n').map(parse_line).collect::<Result<Vec<_>, _>>()?;
        if lines.len() > SIGNATURES_MAX {
            return Err(NoteError::Malformed("more than 128 signature lines"));
        }
        Self::new(text.to_owned(), lines)
    }
}

fn parse_line(line: &str) -> Result<SignatureLine, NoteError> {
    let rest = line.strip_prefix(LINE_START).ok_or(NoteError::Malformed("a line that is no signature"))?;
    let (name, encoded) = rest.split_once(' ').ok_or(NoteError::Malformed("a signature line without a name"))?;
    if !is_name(name) {
        return Err(NoteError::Malformed("a key name that cannot be one"));
    }
    let bytes = BASE64.decode(encoded).map_err(|_| NoteError::Malformed("a signature that is not base64"))?;
    match bytes.split_first_chunk::<4>() {
        Some((id, signature)) if !signature.is_empty() => {
            Ok(SignatureLine { name: name.to_owned(), id: *id, signature: signature.to_vec() })
        }
        _ => Err(NoteError::Malformed("a signature line without a signature")),
    }
}

/// Key names are not empty and hold neither spaces nor plus signs (C2SP signed-note).
fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+')
}

/// The public half of a signing key, with its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyKey {
    name: String,
    key: PublicKey,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum PublicKey {
    Ed25519(ed25519_dalek::VerifyingKey),
    P384(Box<p384::ecdsa::VerifyingKey>),
}

impl VerifyKey {
    /// The key's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key id of C2SP signed-note.
    #[must_use]
    pub fn id(&self) -> [u8; 4] {
        let mut hash = Sha256::new();
        hash.update(self.name.as_bytes());
        hash.update(b"\n");
        hash.update(self.tagged());
        let digest: [u8; 32] = hash.finalize().into();
        [digest[0], digest[1], digest[2], digest[3]]
    }

    /// Type bytes and public key.
    fn tagged(&self) -> Vec<u8> {
        match &self.key {
            PublicKey::Ed25519(key) => [TYPE_ED25519, key.as_bytes()].concat(),
            PublicKey::P384(key) => [TYPE_P384, key.to_sec1_point(false).as_bytes()].concat(),
        }
    }

    fn name_and_type(&self) -> String {
        let kind = match self.key {
            PublicKey::Ed25519(_) => "Ed25519",
            PublicKey::P384(_) => "ECDSA P-384",
        };
        format!("{} ({kind})", self.name)
    }

    fn verifies(&self, text: &[u8], signature: &[u8]) -> bool {
        match &self.key {
            PublicKey::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(text, &signature).is_ok()),
            PublicKey::P384(key) => p384::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify(text, &signature).is_ok()),
        }
    }
}

impl fmt::Display for VerifyKey {
    /// The C2SP vkey form: name+id+base64(type ‖ key).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{:08x}+{}", self.name, u32::from_be_bytes(self.id()), BASE64.encode(self.tagged()))
    }
}

impl FromStr for VerifyKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let bad = |why| NoteError::BadKey { found: text.chars().take(80).collect(), why };
        // Base64 holds plus signs, so only the first two divide.
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(_), Some(encoded)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(bad("the form is name+id+key"));
        };
        if !is_name(name) {
            return Err(bad("the name is empty or holds a space"));
        }
        let tagged = BASE64.decode(encoded).map_err(|_| bad("the key is not base64"))?;
        let key = if let Some(point) = tagged.strip_prefix(TYPE_P384) {
            let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(point).map_err(|_| bad("no point of P-384"))?;
            PublicKey::P384(Box::new(key))
        } else if let Some(bytes) = tagged.strip_prefix(TYPE_ED25519) {
            let bytes = bytes.try_into().map_err(|_| bad("an Ed25519 key has 32 bytes"))?;
            PublicKey::Ed25519(ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| bad("no point of Ed25519"))?)
        } else {
            return Err(bad("neither Ed25519 nor our ECDSA P-384"));
        };
        let key = Self { name: name.to_owned(), key };
        if key.to_string() != text {
            return Err(bad("the id is not that of the key"));
        }
        Ok(key)
    }
}

/// Signs checkpoint texts. Implemented by [`LedgerSigner`]; a hardware key would be another.
pub trait CheckpointSigner {
    /// One line for each key, over exactly these bytes.
    ///
    /// # Errors
    /// [`NoteError::Signer`].
    fn sign(&mut self, text: &str) -> Result<Vec<SignatureLine>, NoteError>;

    /// The public keys, in the order of the lines.
    fn verify_keys(&self) -> Vec<VerifyKey>;
}

/// The two signing keys of a ledger. Both halves zeroise when dropped (the key types do so themselves).
pub struct LedgerKeys {
    name: String,
    ed25519: ed25519_dalek::SigningKey,
    p384: p384::ecdsa::SigningKey,
}

impl LedgerKeys {
    /// Bytes of [`Self::to_bytes`]: Ed25519 seed (32) ‖ P-384 scalar (48).
    pub const LEN: usize = 80;

    /// Draws new keys. The name is the log's origin.
    ///
    /// # Errors
    /// [`NoteError::Signer`] when the random source fails; [`NoteError::BadKey`] for a name that cannot be one.
    pub fn generate<R: TryCryptoRng>(name: &str, rng: &mut R) -> Result<Self, NoteError> {
        let mut seed = Zeroizing::new([0; 32]);
        rng.try_fill_bytes(seed.as_mut()).map_err(|e| NoteError::Signer(e.to_string()))?;
        let p384 = p384::ecdsa::SigningKey::try_generate_from_rng(rng).map_err(|e| NoteError::Signer(e.to_string()))?;
        Self::from_parts(name, ed25519_dalek::SigningKey::from_bytes(&seed), p384)
    }

    /// From the bytes that [`Self::to_bytes`] gave.
    ///
    /// # Errors
    /// [`NoteError::BadKey`] when a half is no key.
    pub fn from_bytes(name: &str, bytes: &[u8; Self::LEN]) -> Result<Self, NoteError> {
        let bad = |why| NoteError::BadKey { found: name.to_owned(), why };
        let (seed, scalar) = bytes.split_first_chunk::<32>().ok_or_else(|| bad("too short"))?;
        let p384 = p384::ecdsa::SigningKey::from_slice(scalar).map_err(|_| bad("the P-384 half is no scalar"))?;
        Self::from_parts(name, ed25519_dalek::SigningKey::from_bytes(seed), p384)
    }

    fn from_parts(
        name: &str,
        ed25519: ed25519_dalek::SigningKey,
        p384: p384::ecdsa::SigningKey,
    ) -> Result<Self, NoteError> {
        if !is_name(name) {
            return Err(NoteError::BadKey {
                found: name.to_owned(),
                why: "the name is empty or holds a space or plus",
            });
        }
        Ok(Self { name: name.to_owned(), ed25519, p384 })
    }

    /// The secret bytes, for the sealed key file.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; Self::LEN]> {
        let mut bytes = Zeroizing::new([0; Self::LEN]);
        bytes[..32].copy_from_slice(self.ed25519.as_bytes());
        let scalar = Zeroizing::new(<[u8; 48]>::from(self.p384.to_bytes()));
        bytes[32..].copy_from_slice(scalar.as_slice());
        bytes
    }

    /// Both public halves, Ed25519 first.
    #[must_use]
    pub fn verify_keys(&self) -> Vec<VerifyKey> {
        vec![
            VerifyKey { name: self.name.clone(), key: PublicKey::Ed25519(self.ed25519.verifying_key()) },
            VerifyKey { name: self.name.clone(), key: PublicKey::P384(Box::new(*self.p384.verifying_key())) },
        ]
    }

    /// Signs with both keys; the ECDSA nonce takes fresh randomness (a fault in a deterministic one would give the key
    /// away).
    ///
    /// # Errors
    /// [`NoteError::Signer`] when the random source fails.
    pub fn sign_with<R: TryCryptoRng>(&self, text: &str, rng: &mut R) -> Result<Vec<SignatureLine>, NoteError> {
        let ed25519 = self.ed25519.sign(text.as_bytes()).to_bytes().to_vec();
        let p384: p384::ecdsa::Signature =
            self.p384.try_sign_with_rng(rng, text.as_bytes()).map_err(|e| NoteError::Signer(e.to_string()))?;
        let signatures = [ed25519, p384.to_bytes().to_vec()];
        let lines = self.verify_keys().into_iter().zip(signatures).map(|(key, signature)| SignatureLine {
            name: self.name.clone(),
            id: key.id(),
            signature,
        });
        Ok(lines.collect())
    }
}

/// [`LedgerKeys`] with their random source.
pub struct LedgerSigner<R> {
    keys: LedgerKeys,
    rng: R,
}

impl<R: TryCryptoRng> LedgerSigner<R> {
    /// Keys and the source of the ECDSA nonces.
    #[must_use]
    pub const fn new(keys: LedgerKeys, rng: R) -> Self {
        Self { keys, rng }
    }
}

impl<R: TryCryptoRng> CheckpointSigner for LedgerSigner<R> {
    fn sign(&mut self, text: &str) -> Result<Vec<SignatureLine>, NoteError> {
        self.keys.sign_with(text, &mut self.rng)
    }

    fn verify_keys(&self) -> Vec<VerifyKey> {
        self.keys.verify_keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use getrandom::SysRng;
    use proptest::prelude::*;

    fn keys() -> LedgerKeys {
        LedgerKeys::generate("log.example/peri", &mut SysRng).unwrap()
    }

    fn signed(keys: &LedgerKeys, text: &str) -> Note {
        Note::new(text.to_owned(), keys.sign_with(text, &mut SysRng).unwrap()).unwrap()
    }

    #[test]
    fn the_published_note_of_the_format_verifies() {
        // Example of the Go package sumdb/note, which C2SP signed-note describes.
        let key: VerifyKey = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW".parse().unwrap();
        let note: Note = concat!(
            "If you think cryptography is the answer to your problem,\n",
            "then you don't know what your problem is.\n\n",
            "\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
        )
        .parse()
        .unwrap();
        note.verify(&[key]).unwrap();
    }

    #[test]
    fn both_signatures_verify_and_each_is_needed() {
        let keys = keys();
        let note: Note = signed(&keys, "log\n1\n").to_string().parse().unwrap();
        note.verify(&keys.verify_keys()).unwrap();
        for gone in 0..2 {
            let mut lines = note.lines().to_vec();
            lines.remove(gone);
            let note = Note::new(note.text().to_owned(), lines).unwrap();
            assert!(matches!(note.verify(&keys.verify_keys()), Err(NoteError::Missing(_))));
        }
        let other = Note::new("log\n2\n".to_owned(), note.lines().to_vec()).unwrap();
        assert!(matches!(other.verify(&keys.verify_keys()), Err(NoteError::BadSignature(_))));
    }

    #[test]
    fn a_bad_line_of_a_known_key_spoils_the_note_even_beside_a_good_one() {
        let keys = keys();
        let note = signed(&keys, "log\n1\n");
        let mut lines = note.lines().to_vec();
        let mut bad = lines[0].clone();
        bad.signature[5] ^= 1;
        lines.push(bad);
        let note = Note::new(note.text().to_owned(), lines).unwrap();
        assert!(matches!(note.verify(&keys.verify_keys()), Err(NoteError::BadSignature(_))));
    }

    #[test]
    fn lines_of_unknown_keys_are_ignored_up_to_many_witnesses() {
        let keys = keys();
        let note = signed(&keys, "log\n1\n");
        let mut lines: Vec<_> = (0..32)
            .map(|i| SignatureLine { name: format!("witness{i}"), id: [i; 4], signature: vec![i; 72] })
            .collect();
        lines.extend(note.lines().to_vec());
        let note: Note = Note::new(note.text().to_owned(), lines).unwrap().to_string().parse().unwrap();
        assert_eq!(note.lines().len(), 34);
        note.verify(&keys.verify_keys()).unwrap();
    }

    #[test]
    fn keys_survive_their_text_and_their_file() {
        let keys = keys();
        let again = LedgerKeys::from_bytes("log.example/peri", &keys.to_bytes()).unwrap();
        assert_eq!(again.verify_keys(), keys.verify_keys());
        for key in keys.verify_keys() {
            let text = key.to_string();
            assert_eq!(text.parse::<VerifyKey>(), Ok(key));
            assert!(text.replacen("log", "lot", 1).parse::<VerifyKey>().is_err());
        }
    }

    #[test]
    fn ecdsa_signatures_are_randomised() {
        let keys = keys();
        let (one, two) = (signed(&keys, "a\n"), signed(&keys, "a\n"));
        assert_eq!(one.lines()[0], two.lines()[0]);
        assert_ne!(one.lines()[1], two.lines()[1]);
    }

    proptest! {
        #[test]
        fn whatever_parses_prints_as_it_was(text in "([a-z/]{1,9}\n){1,3}", tail in "\\PC{0,40}") {
            let note = format!("{text}\n{LINE_START}k AAAAAAAA\n{tail}");
            if let Ok(parsed) = note.parse::<Note>() {
                prop_assert_eq!(parsed.to_string(), note);
            }
        }
    }
}
