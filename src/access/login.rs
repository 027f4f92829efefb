//! Login and recovery at scribe: salts for every name, one hash per reserved attempt, the wrapped key for whoever
//! proves `authKey`, and nothing that tells a known name from an unknown one.
//!
//! What does not belong: the stretch of the password (client), delays (attempts), where credentials lie (store), and
//! the session, which only the unwrapped roster key can certify. Invariants: no hash without a reserved attempt; the
//! wrapped key leaves only after `authKey` was right; a recovery code works once, and that is durable before its
//! wrapped key leaves; an unknown name costs the same hash as a wrong password.
//!
//! ```text
//!  client                                        scribe
//!  Prelogin(name) ─────────────────────────────▶ rounds and salt (of an unknown name: HMAC)
//!  authKey = HKDF(PBKDF2(password) ‖ device secret)
//!  LoginRequest(name, authKey, laneKey) ───────▶ begin: reserve ─▶ Pending: records durable ─▶ run: Argon2id
//!  wrapped key ◀──────────────────────────────── finish: ticket returned, recovery spent
//! ```
//! Argon2id stands behind a secret that already has the 128 bits of the device secret, so it matters only to whoever
//! has stolen a known device *and* the database. 64 MiB, 3 passes, 1 lane (RFC 9106's second choice, its four lanes
//! run as one because scribe hashes one attempt at a time) take about 0.2 s of one core; small hosts may have 19 MiB
//! and 2 passes (OWASP's least). Weaker stored hashes are refused, and so are stronger ones than a host can bear.

use crate::attempts::{Attempt, Attempts, Record, Ticket, TooEarly};
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use minicbor::{Decode, Encode};
use peri_domain::limits::{LOGIN_NAME_MAX, PBKDF2_ROUNDS_MIN};
use peri_domain::{AccountId, Hash};
use peri_seal::digest::labelled;
use peri_seal::rng::CryptoRng;
use peri_seal::userkey::{AuthKey, LaneKey, PasswordParameters};
use sha2::Sha256;
use std::net::IpAddr;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Least memory of a stored hash, KiB.
const MEMORY_MIN_KIB: u32 = 19 * 1024;
/// Most memory of a stored hash, KiB: a changed database must not fill the machine.
const MEMORY_MAX_KIB: u32 = 256 * 1024;

/// Asks how to stretch the password of a name.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Prelogin {
    /// As typed, folded and normalised by the client; at most [`LOGIN_NAME_MAX`] bytes.
    #[n(0)]
    pub name: String,
}

/// What a login proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Means {
    /// Password and device secret.
    #[n(0)]
    Password,
    /// The printed code.
    #[n(1)]
    Recovery,
}

/// A login. Wiped on drop.
#[derive(Clone, PartialEq, Eq, Encode, Decode, Zeroize, ZeroizeOnDrop)]
pub struct LoginRequest {
    /// As in [`Prelogin`].
    #[n(0)]
    pub name: String,
    /// By what.
    #[n(1)]
    #[zeroize(skip)]
    pub means: Means,
    /// `authKey` of password or code.
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    pub auth_key: [u8; 32],
    /// `laneKey` of device secret or code.
    #[n(3)]
    #[cbor(with = "minicbor::bytes")]
    pub lane_key: [u8; 32],
}

impl core::fmt::Debug for LoginRequest {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("LoginRequest").field("means", &self.means).finish_non_exhaustive()
    }
}

/// One way in, as the server keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Way {
    /// Argon2id of `authKey` in PHC form.
    #[n(0)]
    pub phc: String,
    /// Commitment of `laneKey`.
    #[n(1)]
    pub lane: Hash,
    /// Canonical `WrappedUserKey`.
    #[n(2)]
    pub wrapped: minicbor::bytes::ByteVec,
}

/// What the server keeps of an account's login.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Credential {
    /// Whose.
    #[n(0)]
    pub account: AccountId,
    /// Rounds and salt of the password.
    #[n(1)]
    pub parameters: PasswordParameters,
    /// Password and device secret of the one device that set the login last. From another device of the person neither
    /// lane nor password fits, until it sets the login in turn.
    #[n(2)]
    pub password: Way,
    /// Recovery code; `None` once spent, until the person prints the next.
    #[n(3)]
    pub recovery: Option<Way>,
}

/// Where credentials are kept.
pub trait Credentials {
    /// By login name.
    fn find(&self, name: &str) -> Option<&Credential>;

    /// Takes the account's recovery away and makes that durable. `false` when there was none any more.
    ///
    /// # Errors
    /// When it could not be made durable: then the recovery stays, and nothing is handed out.
    fn spend_recovery(&mut self, account: AccountId) -> Result<bool, NotDurable>;
}

/// The store did not take what must not be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the use of the recovery code could not be stored for certain, so nothing was handed out; try again, and if the code is \
     refused then, it was spent all the same: a device that holds the key prints a new sheet, else an administrator resets"
)]
pub struct NotDurable;

/// A slow hash in PHC form.
pub trait KeyHash {
    /// Hashes.
    ///
    /// # Errors
    /// [`HashError`].
    fn hash(&self, key: &AuthKey, salt: &[u8; 16]) -> Result<String, HashError>;

    /// Whether `phc` is a hash of `key`.
    ///
    /// # Errors
    /// [`HashError`] when it cannot be told.
    fn verify(&self, key: &AuthKey, phc: &str) -> Result<bool, HashError>;
}

/// A hash that cannot be made or checked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// Not Argon2id 1.3 in PHC form.
    #[error("a stored login hash is not Argon2id in PHC form; the account must enrol again")]
    Form,
    /// Outside the policy.
    #[error(
        "a stored login hash has {memory_kib} KiB and {passes} passes, allowed are {MEMORY_MIN_KIB} to {MEMORY_MAX_KIB} \
         KiB and 2 to 10 passes: it was changed or damaged; the account must enrol again"
    )]
    Policy {
        /// Memory.
        memory_kib: u32,
        /// Passes.
        passes: u32,
    },
    /// The machine has no memory for it.
    #[error("the login hash could not be computed: {0}")]
    Failed(String),
}

/// Argon2id with the costs of new hashes; checks old ones with theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Argon2id {
    memory_kib: u32,
    passes: u32,
}

/// Why there is no wrapped key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// 429 with Retry-After.
    #[error(transparent)]
    TooEarly(#[from] TooEarly),
    /// 401. One text for unknown names, wrong passwords, other devices, and wrong or spent codes.
    #[error("name, password or recovery code is wrong, the code was used before, or this device is not known")]
    Wrong,
    /// 400.
    #[error("a login name has 1 to {LOGIN_NAME_MAX} bytes, this one has {found}")]
    Name {
        /// Bytes found.
        found: usize,
    },
    /// 503.
    #[error(transparent)]
    NotDurable(#[from] NotDurable),
    /// 500; the attempt stays counted.
    #[error(transparent)]
    Hash(#[from] HashError),
}

/// Keys the salts of unknown names; drawn once, durable, so that an unknown name's salt never changes.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SaltKey([u8; 32]);

/// See the module.
pub struct Door {
    salts: SaltKey,
    /// Hash of a key that nobody has, for unknown names.
    nobody: String,
}

/// A reserved attempt.
#[must_use = "make its records durable, run it, finish it"]
pub struct Pending {
    ticket: Ticket,
    name: String,
    means: Means,
    key: AuthKey,
    phc: String,
    known: bool,
}

/// A [`Pending`] whose key was compared.
#[must_use = "finish it"]
pub struct Compared {
    ticket: Ticket,
    name: String,
    means: Means,
    phc: String,
    right: bool,
}

/// A login that succeeded.
#[derive(Debug, PartialEq, Eq)]
pub struct LoggedIn {
    /// Who.
    pub account: AccountId,
    /// By what; after [`Means::Recovery`] the client sets a new password and prints the next code.
    pub means: Means,
    /// Canonical `WrappedUserKey` for the client to open.
    pub wrapped: Vec<u8>,
    /// To be made durable with the others.
    pub records: Vec<Record>,
}

impl SaltKey {
    /// From stored bytes, or freshly drawn ones.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl Credential {
    /// One of the ways in.
    #[must_use]
    pub const fn way(&self, means: Means) -> Option<&Way> {
        match means {
            Means::Password => Some(&self.password),
            Means::Recovery => self.recovery.as_ref(),
        }
    }
}

impl Door {
    /// At the start; `nobody` is a hash that no key has, for the names that nobody has ([`Argon2id::nobody`]).
    #[must_use]
    pub const fn new(salts: SaltKey, nobody: String) -> Self {
        Self { salts, nobody }
    }

    /// Rounds and salt of any name. Everybody has the least rounds, so they tell nothing either.
    ///
    /// # Errors
    /// [`LoginError::Name`].
    pub fn prelogin(&self, ask: &Prelogin, credentials: &impl Credentials) -> Result<PasswordParameters, LoginError> {
        check_name(&ask.name)?;
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.salts.0).expect("HMAC takes a key of any length");
        mac.update(&labelled("unknown-salt", &[ask.name.as_bytes()]));
        let unknown = PasswordParameters { rounds: PBKDF2_ROUNDS_MIN, salt: mac.finalize().into_bytes().into() };
        Ok(credentials.find(&ask.name).map_or(unknown, |credential| credential.parameters))
    }

    /// Whether the request comes from a device or a sheet that is known: it has a lane of its own.
    #[must_use]
    pub fn knows(request: &LoginRequest, credentials: &impl Credentials) -> bool {
        let way = credentials.find(&request.name).and_then(|credential| credential.way(request.means));
        let lane = LaneKey::from_bytes(request.lane_key).commit();
        way.is_some_and(|way| bool::from(way.lane.0.ct_eq(&lane.0)))
    }

    /// Reserves the attempt. No hash is computed here.
    ///
    /// # Errors
    /// [`LoginError::TooEarly`], [`LoginError::Name`].
    pub fn begin(
        &self,
        request: &LoginRequest,
        source: Option<IpAddr>,
        credentials: &impl Credentials,
        attempts: &mut Attempts,
        now: peri_domain::UtcNanos,
    ) -> Result<Pending, LoginError> {
        check_name(&request.name)?;
        let way = credentials.find(&request.name).and_then(|credential| credential.way(request.means));
        let lane = LaneKey::from_bytes(request.lane_key).commit();
        let stranger = Attempt::Stranger { name: &request.name, source };
        let known = Self::knows(request, credentials);
        let ticket = attempts.reserve(if known { Attempt::Known(lane) } else { stranger }, now)?;
        Ok(Pending {
            ticket,
            name: request.name.clone(),
            means: request.means,
            key: AuthKey::from_bytes(request.auth_key),
            phc: way.map_or_else(|| self.nobody.clone(), |way| way.phc.clone()),
            known: way.is_some(),
        })
    }

    /// Ends the attempt. A password that was changed, or a code that was spent, while the hash was computed is wrong.
    ///
    /// # Errors
    /// [`LoginError::Wrong`], [`LoginError::NotDurable`].
    pub fn finish(
        &self,
        compared: Compared,
        credentials: &mut impl Credentials,
        attempts: &mut Attempts,
    ) -> Result<LoggedIn, LoginError> {
        let Compared { ticket, name, means, phc, right } = compared;
        let found = credentials.find(&name).and_then(|credential| Some((credential.account, credential.way(means)?)));
        let (account, way) = found.filter(|(_, way)| right && way.phc == phc).ok_or(LoginError::Wrong)?;
        let wrapped = way.wrapped.to_vec();
        if means == Means::Recovery && !credentials.spend_recovery(account)? {
            return Err(LoginError::Wrong);
        }
        Ok(LoggedIn { account, means, wrapped, records: attempts.succeeded(ticket) })
    }
}

impl Pending {
    /// What to make durable before [`Pending::run`].
    pub fn records(&self) -> impl Iterator<Item = Record> + '_ {
        self.ticket.records()
    }

    /// The one hash of this attempt; runs where it may take its time.
    ///
    /// # Errors
    /// [`LoginError::Hash`]; the attempt stays counted.
    pub fn run(self, hash: &impl KeyHash) -> Result<Compared, LoginError> {
        let Self { ticket, name, means, key, phc, known } = self;
        let right = hash.verify(&key, &phc)? && known;
        Ok(Compared { ticket, name, means, phc, right })
    }
}

impl Compared {
    /// The name that was tried.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Argon2id {
    /// 64 MiB, 3 passes: every host but small ones.
    pub const STANDARD: Self = Self { memory_kib: 64 * 1024, passes: 3 };
    /// 19 MiB, 2 passes: hosts with less than a gigabyte.
    pub const SMALL: Self = Self { memory_kib: MEMORY_MIN_KIB, passes: 2 };
}

impl Argon2id {
    /// A hash of a key that nobody has: its output is drawn, so no key is known to give it, and checking one against it
    /// costs what any check costs.
    pub fn nobody(&self, rng: &mut impl CryptoRng) -> String {
        let (mut salt, mut output) = ([0; 16], [0; 32]);
        rng.fill_bytes(&mut salt);
        rng.fill_bytes(&mut output);
        let (memory, passes) = (self.memory_kib, self.passes);
        format!(
            "$argon2id$v=19$m={memory},t={passes},p=1${}${}",
            STANDARD_NO_PAD.encode(salt),
            STANDARD_NO_PAD.encode(output)
        )
    }
}

impl KeyHash for Argon2id {
    fn hash(&self, key: &AuthKey, salt: &[u8; 16]) -> Result<String, HashError> {
        let failed = |what: &dyn core::fmt::Display| HashError::Failed(what.to_string());
        let params = Params::new(self.memory_kib, self.passes, 1, Some(32)).map_err(|error| failed(&error))?;
        let hash = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_with_salt(key.as_bytes(), salt)
            .map_err(|error| failed(&error))?;
        Ok(hash.to_string())
    }

    fn verify(&self, key: &AuthKey, phc: &str) -> Result<bool, HashError> {
        let stored = PasswordHash::new(phc).map_err(|_| HashError::Form)?;
        if stored.algorithm.as_str() != "argon2id" || stored.version != Some(0x13) || stored.hash.is_none() {
            return Err(HashError::Form);
        }
        let params = Params::try_from(&stored).map_err(|_| HashError::Form)?;
        let (memory_kib, passes) = (params.m_cost(), params.t_cost());
        if !(MEMORY_MIN_KIB..=MEMORY_MAX_KIB).contains(&memory_kib)
            || !(2..=10).contains(&passes)
            || params.p_cost() > 4
            || stored.hash.is_none_or(|output| output.len() < 32)
        {
            return Err(HashError::Policy { memory_kib, passes });
        }
        match Argon2::default().verify_password(key.as_bytes(), &stored) {
            Ok(()) => Ok(true),
            Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
            Err(error) => Err(HashError::Failed(error.to_string())),
        }
    }
}

fn check_name(name: &str) -> Result<(), LoginError> {
    if (1..=LOGIN_NAME_MAX).contains(&name.len()) { Ok(()) } else { Err(LoginError::Name { found: name.len() }) }
}

#[cfg(test)]
#[path = "tests_login.rs"]
mod tests;
