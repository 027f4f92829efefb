//! C2SP tlog-checkpoint: the text of a signed note that names a log, its size and its root.
//!
//! `origin "\n" size "\n" base64(root) "\n"`, then optional extension lines, which we never write and carry along when
//! we read them. Invariant: one checkpoint has one text (a size with leading zeros is refused).

use crate::note::{CheckpointSigner, Note, NoteError};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use core::fmt;
use core::str::FromStr;
use peri_domain::{Hash, VmId};
use sha2::{Digest, Sha256};

/// The log's name: also the name of its keys.
#[must_use]
pub fn origin_of(vm: VmId) -> String {
    format!("peri/vm/{vm}/ledger")
}

/// What a log says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name.
    pub origin: String,
    /// Number of leaves.
    pub size: u64,
    /// RFC 6962 root over them.
    pub root: Hash,
    /// Extension lines, each without its newline and not empty.
    pub extensions: Vec<String>,
}

impl Checkpoint {
    /// A checkpoint without extensions.
    #[must_use]
    pub const fn new(origin: String, size: u64, root: Hash) -> Self {
        Self { origin, size, root, extensions: Vec::new() }
    }

    /// Signs the text.
    ///
    /// # Errors
    /// What the signer says.
    pub fn sign(&self, signer: &mut dyn CheckpointSigner) -> Result<Note, NoteError> {
        let text = self.to_string();
        let lines = signer.sign(&text)?;
        Note::new(text, lines)
    }

    /// What the first leaf of the next batch commits to: SHA-256("peri/v1/checkpoint\0" ‖ text). The signatures are left
    /// out, so that cosignatures gathered later do not change it.
    #[must_use]
    pub fn hash(&self) -> Hash {
        let mut hash = Sha256::new_with_prefix(b"peri/v1/checkpoint\0");
        hash.update(self.to_string().as_bytes());
        Hash(hash.finalize().into())
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}\n{}\n", self.origin, self.size, BASE64.encode(self.root.as_bytes()))?;
        self.extensions.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl FromStr for Checkpoint {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let body = text.strip_suffix('\n').ok_or(NoteError::Malformed("a checkpoint ends with a newline"))?;
        let mut lines = body.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(NoteError::Malformed("a checkpoint has at least three lines"));
        };
        let checkpoint = Self {
            origin: origin.to_owned(),
            size: size.parse().map_err(|_| NoteError::Malformed("the second line of a checkpoint is its size"))?,
            root: BASE64
                .decode(root)
                .ok()
                .and_then(|bytes| Hash::from_slice(&bytes))
                .ok_or(NoteError::Malformed("the third line of a checkpoint is a root of 32 bytes"))?,
            extensions: lines.map(str::to_owned).collect(),
        };
        if origin.is_empty() || checkpoint.extensions.iter().any(String::is_empty) || checkpoint.to_string() != text {
            return Err(NoteError::Malformed("a checkpoint in a form other than the one it has"));
        }
        Ok(checkpoint)
    }
}

impl TryFrom<&Note> for Checkpoint {
    type Error = NoteError;

    fn try_from(note: &Note) -> Result<Self, NoteError> {
        note.text().parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_has_one_text() {
        let checkpoint = Checkpoint::new("peri/x".to_owned(), 42, Hash([7; 32]));
        assert_eq!(checkpoint.to_string().parse::<Checkpoint>(), Ok(checkpoint.clone()));
        let good = checkpoint.to_string();
        for bad in [
            good.replace("42", "042"),
            good.replace("42", "+42"),
            good.replace("42", "-1"),
            good.replace("peri/x", ""),
            good.trim_end().to_owned(),
            format!("{good}\n"),
            "peri/x\n42\nAAAA\n".to_owned(),
        ] {
            assert!(bad.parse::<Checkpoint>().is_err(), "{bad:?}");
        }
        let extended: Checkpoint = format!("{good}more\n").parse().unwrap();
        assert_eq!(extended.extensions, ["more"]);
        assert_ne!(extended.hash(), checkpoint.hash());
    }
}
