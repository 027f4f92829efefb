//! Request files: "please put this key into the roster", carried from the key's owner to those who sign.
//!
//! A request is signed by the key it names, so that nobody enters a key that is not his. It holds nothing secret and
//! gives nothing: only the signatures of the roster's signers do. What does not belong: making keys.

use crate::exit::Error;
use crate::files;
use crate::vault::{KeyFile, KeyKind, Vault};
use minicbor::{Decode, Encode};
use peri_domain::{AccountId, Role};
use peri_roster::body::SeatKind;
use peri_seal::canonical;
use peri_seal::keys::{KeyPair, Signature, UserPublic};
use peri_seal::words::words;
use std::path::Path;

/// Context of the signature by which a key asks for itself.
const CONTEXT: &str = "key-request";
const VERSION: u16 = 1;

/// Longest request: a key set of 1.7 KiB, a signature, a name.
const REQUEST_MAX: usize = 4 * 1024;

/// What the key is to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Wanted {
    /// A custodian's seat.
    #[n(0)]
    Seat(#[n(0)] SeatKind),
    /// An account.
    #[n(1)]
    Account {
        /// Made with the key.
        #[n(0)]
        id: AccountId,
        /// The role asked for.
        #[n(1)]
        role: Role,
    },
}

/// What the signature covers.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
struct Content {
    #[n(0)]
    version: u16,
    #[n(1)]
    wanted: Wanted,
    #[n(2)]
    name: String,
    #[n(3)]
    public: UserPublic,
}

/// A request whose signature is checked when it is read.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct KeyRequest {
    #[n(0)]
    content: Content,
    #[n(1)]
    proof: Signature,
}

impl KeyRequest {
    /// A request by the owner of the key.
    #[must_use]
    pub fn new(pair: &KeyPair, wanted: Wanted, name: &str) -> Self {
        let content = Content { version: VERSION, wanted, name: name.to_owned(), public: pair.public().clone() };
        let proof = pair.sign(CONTEXT, &canonical::encode(&content));
        Self { content, proof }
    }

    /// From the bytes of a file; `None` when it is no request of this version signed by its own key.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let request: Self = canonical::decode("key request", bytes).ok()?;
        let signed = canonical::encode(&request.content);
        let content = &request.content;
        (content.version == VERSION
            && content.public.validate().is_ok()
            && content.public.verify(CONTEXT, &signed, &request.proof).is_ok())
        .then_some(request)
    }

    /// The bytes of a file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical::encode(self)
    }

    /// What the key is to become.
    #[must_use]
    pub const fn wanted(&self) -> Wanted {
        self.content.wanted
    }

    /// The name asked for; shown to the signers.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.content.name
    }

    /// The key.
    #[must_use]
    pub const fn public(&self) -> &UserPublic {
        &self.content.public
    }

    /// Ten words of the key, to be compared with its owner.
    #[must_use]
    pub fn words(&self) -> String {
        words(&self.public().fingerprint()).join(" ")
    }
}

/// A key to enter: from a request file, or one of this home by name.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// What it is to become.
    pub wanted: Wanted,
    /// The name for the roster.
    pub name: String,
    /// The key.
    pub public: UserPublic,
}

/// Reads `who`: the path of a request file, or the name of a key in this home.
///
/// # Errors
/// [`Error::Usage`] when it is neither.
pub fn candidate(vault: &Vault, who: &str) -> Result<Candidate, Error> {
    if let Ok(file) = vault.key(who) {
        return from_home(who, &file);
    }
    let path = Path::new(who);
    if !path.exists() {
        return Err(Error::Usage(format!("{who:?} is neither a request file nor the name of a key in this home")));
    }
    let bytes = files::read(path, REQUEST_MAX)?;
    let request = KeyRequest::from_bytes(&bytes).ok_or_else(|| {
        Error::Verification(format!(
            "{who:?} is no request signed by the key it names; ask its owner to make it again (`peri seat new`, \
             `peri account request`)"
        ))
    })?;
    Ok(Candidate { wanted: request.wanted(), name: request.name().to_owned(), public: request.public().clone() })
}

fn from_home(name: &str, file: &KeyFile) -> Result<Candidate, Error> {
    let wanted = match file.kind {
        KeyKind::Seat => Wanted::Seat(SeatKind::Person),
        KeyKind::Account { id, role } => Wanted::Account { id, role },
        KeyKind::Claim => return Err(Error::Usage(format!("{name:?} is a claim key; it makes seats, it is none"))),
    };
    Ok(Candidate { wanted, name: name.to_owned(), public: file.public.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use peri_seal::rng;

    #[test]
    fn a_request_for_somebody_elses_key_is_refused() {
        let (mine, theirs) = (KeyPair::generate(&mut rng::system()), KeyPair::generate(&mut rng::system()));
        let wanted = Wanted::Account { id: AccountId([1; 16]), role: Role::Viewer };
        let good = KeyRequest::new(&mine, wanted, "gate");
        assert_eq!(KeyRequest::from_bytes(&good.to_bytes()), Some(good.clone()));
        let mut stolen = good.clone();
        stolen.content.public = theirs.public().clone();
        assert_eq!(KeyRequest::from_bytes(&stolen.to_bytes()), None);
        let mut raised = good.clone();
        raised.content.wanted = Wanted::Account { id: AccountId([1; 16]), role: Role::Administrator };
        assert_eq!(KeyRequest::from_bytes(&raised.to_bytes()), None);
        let bytes = good.to_bytes();
        assert_eq!(KeyRequest::from_bytes(&bytes[..bytes.len() - 1]), None);
    }
}
