//! One run of the program: home, opened keys, connection, roster.
//!
//! What does not belong: commands, printing. Invariants: a key is opened once per run, so its password is asked for
//! once; the roster is derived from verified statements, is rooted in the pinned identity and never shrinks unnoticed.

use crate::conn::Connection;
use crate::exit::Error;
use crate::password::Passwords;
use crate::profile::{Profile, ProfileError};
use crate::ui::Ui;
use crate::vault::{KeyFile, KeyKind, Vault, VaultError};
use minicbor::bytes::ByteVec;
use peri_access::decide;
use peri_access::wire::{BirthCertificate, Method, RosterBody, RosterPage};
use peri_domain::limits::{STATEMENT_MAX, STATEMENTS_MAX};
use peri_domain::{UtcNanos, VmId};
use peri_roster::{Roster, RosterSet, Verified};
use peri_sandbox::clock::Clock;
use peri_seal::keys::KeyPair;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// File of the statements seen last.
const ROSTER_FILE: &str = "roster";

/// Longest roster file: bounded by what a roster may hold, at the size of a typical statement with three signatures.
const ROSTER_FILE_MAX: usize = STATEMENTS_MAX * (STATEMENT_MAX / 8);

/// What every command has at hand.
pub struct Context {
    /// How to talk.
    pub ui: Ui,
    /// The home.
    pub vault: Vault,
    /// Where passwords come from.
    pub passwords: Passwords,
    clock: Box<dyn Clock>,
    socket: Option<PathBuf>,
    signing_as: Option<String>,
    opened: BTreeMap<String, Rc<KeyPair>>,
}

impl Context {
    /// Assembles a run. `socket` and `signing_as` as given on the command line.
    #[must_use]
    pub fn new(
        ui: Ui,
        vault: Vault,
        passwords: Passwords,
        clock: Box<dyn Clock>,
        socket: Option<PathBuf>,
        signing_as: Option<String>,
    ) -> Self {
        Self { ui, vault, passwords, clock, socket, signing_as, opened: BTreeMap::new() }
    }

    /// The present time.
    #[must_use]
    pub fn now(&self) -> UtcNanos {
        self.clock.utc()
    }

    /// Opens a key of this home, asking for its password at the first use.
    ///
    /// # Errors
    /// [`VaultError`], password errors.
    pub fn unlock(&mut self, name: &str) -> Result<Rc<KeyPair>, Error> {
        if let Some(pair) = self.opened.get(name) {
            return Ok(Rc::clone(pair));
        }
        self.vault.key(name)?;
        let password = self.passwords.existing(name)?;
        let pair = Rc::new(self.vault.unlock(name, &password)?);
        self.opened.insert(name.to_owned(), Rc::clone(&pair));
        Ok(pair)
    }

    /// Keeps a key that was just made open for this run.
    pub fn remember(&mut self, name: &str, pair: KeyPair) -> Rc<KeyPair> {
        let pair = Rc::new(pair);
        self.opened.insert(name.to_owned(), Rc::clone(&pair));
        pair
    }

    /// The key that signs requests: `--as`, else one opened already, else the only key that fits `preferred`, else the
    /// only key.
    ///
    /// # Errors
    /// [`VaultError::Ambiguous`] when it is not clear which.
    pub fn requester(&mut self, preferred: fn(&KeyFile) -> bool) -> Result<Rc<KeyPair>, Error> {
        if let Some(name) = self.signing_as.clone() {
            return self.unlock(&name);
        }
        let keys = self.vault.all()?;
        let fitting: Vec<_> = keys.iter().filter(|(_, file)| preferred(file)).map(|(name, _)| name.clone()).collect();
        if let Some(pair) = fitting.iter().find_map(|name| self.opened.get(name)) {
            return Ok(Rc::clone(pair));
        }
        if let Some(pair) = self.opened.values().next()
            && fitting.is_empty()
        {
            return Ok(Rc::clone(pair));
        }
        let all: Vec<_> = keys.into_iter().map(|(name, _)| name).collect();
        let name = match (fitting.as_slice(), all.as_slice()) {
            ([one], _) | ([], [one]) => one.clone(),
            ([], _) => return Err(VaultError::Ambiguous { option: "--as NAME", candidates: all }.into()),
            _ => return Err(VaultError::Ambiguous { option: "--as NAME", candidates: fitting }.into()),
        };
        self.unlock(&name)
    }

    /// The key that reads the roster, which every key in it may: `--as`, else one opened already, else an account's, a
    /// seat's, the claim key; keys in office by the roster seen last come before all others.
    ///
    /// # Errors
    /// [`VaultError::Ambiguous`] when there is no key.
    pub fn reader(&mut self) -> Result<Rc<KeyPair>, Error> {
        if let Some(name) = self.signing_as.clone() {
            return self.unlock(&name);
        }
        let keys = self.vault.all()?;
        // Nothing to choose from, nothing to verify.
        let roster = if keys.len() > 1 { self.roster_seen_last()? } else { None };
        let in_office = |file: &KeyFile| {
            roster.as_ref().is_some_and(|roster| decide::standing(roster, file.public.fingerprint()).is_some())
        };
        let rank = |name: &String, file: &KeyFile| {
            let kind = match file.kind {
                KeyKind::Account { .. } => 0,
                KeyKind::Seat => 1,
                KeyKind::Claim => 2,
            };
            (!in_office(file), !self.opened.contains_key(name), kind)
        };
        let best = keys.into_iter().min_by_key(|(name, file)| rank(name, file));
        match best {
            Some((name, _)) => self.unlock(&name),
            None => Err(VaultError::Ambiguous { option: "--as NAME", candidates: vec![] }.into()),
        }
    }

    /// Statements of the roster seen last.
    pub(crate) fn statements(&self) -> Result<Vec<ByteVec>, Error> {
        Ok(self.vault.state(ROSTER_FILE, ROSTER_FILE_MAX)?.unwrap_or_default())
    }

    /// Adds statements that the appliance has just taken from this home to those seen last, so that it cannot hold them
    /// back either.
    pub(crate) fn seen(&self, taken: impl IntoIterator<Item = Vec<u8>>) -> Result<(), Error> {
        let mut statements = self.statements()?;
        statements.extend(taken.into_iter().map(ByteVec::from));
        Ok(self.vault.set_state(ROSTER_FILE, &statements)?)
    }

    /// The roster that follows from the statements seen last; `None` before there is an appliance or a statement.
    ///
    /// # Errors
    /// File errors of the home.
    pub(crate) fn roster_seen_last(&self) -> Result<Option<Verified<Roster>>, Error> {
        let statements = self.statements()?;
        let Some(profile) = Profile::load(&self.vault).ok().filter(|_| !statements.is_empty()) else { return Ok(None) };
        let history: Vec<&[u8]> = statements.iter().map(|statement| statement.as_slice()).collect();
        Ok(Some(RosterSet::read(profile.identity.anchor(), &history).set.verify(self.now())))
    }

    /// The socket given, or the one remembered.
    ///
    /// # Errors
    /// [`ProfileError::NoSocket`].
    pub fn socket(&self, remembered: Option<&str>) -> Result<PathBuf, Error> {
        let socket = self.socket.clone().or_else(|| remembered.map(PathBuf::from));
        let socket = socket.ok_or(ProfileError::NoSocket)?;
        // Remembered for runs in other directories.
        Ok(std::path::absolute(&socket).unwrap_or(socket))
    }

    /// Connects to the pinned appliance and checks that it is the one.
    ///
    /// # Errors
    /// [`ProfileError::Unknown`], [`ProfileError::Changed`], connection errors.
    pub fn session(&self) -> Result<Session, Error> {
        let profile = Profile::load(&self.vault)?;
        let path = self.socket(profile.socket.as_deref())?;
        let (conn, certificate) = connect(&path)?;
        profile.identity.check(&certificate)?;
        if profile.socket.as_deref().map(Path::new) != Some(&path) {
            Profile::pin(&self.vault, profile.identity.clone(), Some(&path))?;
        }
        Ok(Session { conn, certificate, profile })
    }
}

/// Connects and checks that the certificate is genuine; whose it is, is another question.
///
/// # Errors
/// [`crate::conn::ConnError`].
pub fn connect(path: &Path) -> Result<(Connection<UnixStream>, BirthCertificate), Error> {
    let mut conn = Connection::open(path)?;
    let certificate = conn.hello()?;
    Ok((conn, certificate))
}

/// A connection to the appliance that this home trusts.
pub struct Session {
    /// The connection.
    pub conn: Connection<UnixStream>,
    /// What it said of itself.
    pub certificate: BirthCertificate,
    /// Whom we trust.
    pub profile: Profile,
}

/// The roster as this client verified it.
pub struct Known {
    /// Its statements.
    pub set: RosterSet,
    /// What follows from them.
    pub roster: Verified<Roster>,
}

impl Session {
    /// The VM.
    #[must_use]
    pub const fn vm(&self) -> VmId {
        self.profile.identity.vm
    }

    /// A fresh connection, after a stream was left before its end. It must be the same appliance.
    ///
    /// # Errors
    /// As [`Context::session`].
    pub fn reconnect(&mut self) -> Result<(), Error> {
        self.conn.reopen()?;
        let certificate = self.conn.hello()?;
        self.profile.identity.check(&certificate)?;
        self.certificate = certificate;
        Ok(())
    }

    /// Fetches what is new in the roster, verifies it and remembers it.
    ///
    /// # Errors
    /// [`Error::Verification`] when the appliance holds back statements that this home has seen.
    pub fn roster(&mut self, context: &Context, who: &KeyPair) -> Result<Known, Error> {
        let now = context.now();
        let cached = context.statements()?;
        let mut statements = Vec::new();
        loop {
            let body = RosterBody { after: statements.len() as u64 };
            let page: RosterPage = self.conn.request(self.vm(), Method::Roster, &body, who)?;
            let done = page.statements.is_empty() || statements.len() + page.statements.len() >= page.total as usize;
            statements.extend(page.statements);
            if statements.len() > STATEMENTS_MAX {
                return Err(Error::Verification(format!("the appliance sends more than {STATEMENTS_MAX} statements")));
            }
            if done {
                break;
            }
        }
        let sent: BTreeSet<&[u8]> = statements.iter().map(|statement| statement.as_slice()).collect();
        let missing = cached.iter().filter(|statement| !sent.contains(statement.as_slice())).count();
        if missing > 0 {
            return Err(Error::Verification(format!(
                "the appliance withholds {missing} of {} roster statements that this home has seen: it was rolled back \
                 or somebody tampers with it. Do not release anything; tell the other custodians. `peri roster restore` \
                 hands them back",
                cached.len()
            )));
        }
        let history: Vec<&[u8]> = statements.iter().map(|statement| statement.as_slice()).collect();
        let reading = RosterSet::read(self.profile.identity.anchor(), &history);
        if let Some((_, why)) = reading.left_out.into_iter().next() {
            return Err(why.into());
        }
        let set = reading.set;
        if statements.len() != cached.len() {
            context.vault.set_state(ROSTER_FILE, &statements)?;
        }
        let roster = set.verify(now);
        Ok(Known { set, roster })
    }
}
