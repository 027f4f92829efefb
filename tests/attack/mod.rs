//! What the attack tests share beyond the harness: the pens of the custodians in this process (a roster statement costs
//! milliseconds instead of a password stretched per command), readers of the account and the ledger, a scripted camera.
//!
//! What does not belong: starting an appliance (`support`), what is attacked. Each test file uses its part of this.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "each test takes the part it needs; a panic is the report"
)]

pub mod camera;

use crate::support::Appliance;
use minicbor::bytes::ByteVec;
use peri_access::wire::{
    CoverageKind, Health, LedgerBody, LedgerPage, Method, RosterBody, RosterPage, SegmentsPage, SpanBody,
};
use peri_client::conn::{ConnError, Connection};
use peri_client::profile::{Identity, Profile};
use peri_client::vault::{KeyKind, Vault};
use peri_domain::{AccountId, Action, CameraId, Fingerprint, Nonce, Rights, UtcNanos};
use peri_ledger::{Entry, EntryType};
use peri_roster::body::{Body, CameraAdd, CameraRegister, CameraSetup, Cameras, Grant, Trust, device_identity};
use peri_roster::{Proposal, RosterSet, Statement};
use peri_sandbox::clock::{Clock, SystemClock};
use peri_seal::keys::KeyPair;
use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The present time.
pub fn now() -> UtcNanos {
    SystemClock.utc()
}

pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

/// Polls until `ready` gives something; panics with `what` when it does not in time.
pub fn until<T>(what: &str, patience: Duration, mut ready: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// One statement as the database's superuser, behind the walls of its own account.
pub fn superuser(appliance: &Appliance, sql: &str) -> String {
    let output = Command::new("runuser")
        .args(["-u", "peri-postgres", "--", "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "postgres"])
        .args(["-d", "peri", "-h"])
        .arg(appliance.dir().join("run/postgres"))
        .args(["-c", sql])
        .current_dir("/")
        .output()
        .unwrap();
    assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Opened keys of a home and a connection that is made anew when it breaks.
pub struct Desk {
    socket: PathBuf,
    pub identity: Identity,
    keys: BTreeMap<String, KeyPair>,
    kinds: BTreeMap<String, KeyKind>,
    conn: Option<Connection<UnixStream>>,
}

impl Desk {
    /// Opens these keys of the founders of an appliance.
    pub fn of(appliance: &Appliance, names: &[&str]) -> Self {
        let password = std::fs::read_to_string(appliance.home.path("password")).unwrap();
        Self::open(&appliance.home.keys(), &appliance.socket(), password.trim_end(), names)
    }

    /// Opens these keys of the home.
    pub fn open(home: &Path, socket: &Path, password: &str, names: &[&str]) -> Self {
        let vault = Vault::open(home).unwrap();
        let identity = Profile::load(&vault).unwrap().identity;
        let keys = names.iter().map(|name| ((*name).to_owned(), vault.unlock(name, password).unwrap())).collect();
        let kinds = names.iter().map(|name| ((*name).to_owned(), vault.key(name).unwrap().kind)).collect();
        Self { socket: socket.to_owned(), identity, keys, kinds, conn: None }
    }

    /// The next question goes over a new connection.
    pub fn hang_up(&mut self) {
        self.conn = None;
    }

    pub fn key(&self, name: &str) -> &KeyPair {
        &self.keys[name]
    }

    pub fn account(&self, name: &str) -> AccountId {
        match self.kinds[name] {
            KeyKind::Account { id, .. } => id,
            _ => panic!("{name} is no account"),
        }
    }

    /// One question; whatever fails closes the connection, so that the next one starts anew.
    pub fn talk<T>(
        &mut self,
        ask: impl FnOnce(&mut Connection<UnixStream>, &Identity, &BTreeMap<String, KeyPair>) -> Result<T, ConnError>,
    ) -> Result<T, ConnError> {
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => Connection::open(&self.socket)?,
        };
        let answered = ask(&mut conn, &self.identity, &self.keys);
        if matches!(answered, Ok(_) | Err(ConnError::Refused(_))) {
            self.conn = Some(conn);
        }
        answered
    }

    fn asked<B, A>(&mut self, method: Method, body: &B, who: &str) -> Result<A, ConnError>
    where
        B: minicbor::Encode<()>,
        A: for<'b> minicbor::Decode<'b, ()> + minicbor::Encode<()>,
    {
        self.talk(|conn, identity, keys| conn.request(identity.vm, method, body, &keys[who]))
    }

    /// A statement of these signers, ready to be submitted.
    pub fn statement(&self, body: Body, seat_set: u32, signers: &[&str]) -> Vec<u8> {
        let proposal =
            Proposal::new(self.identity.vm, body, now() + Duration::from_secs(3600), Nonce(random()), seat_set)
                .unwrap();
        let sign = |statement: Statement, name: &&str| {
            let pair = &self.keys[*name];
            statement.sign(pair.signing(), pair.fingerprint())
        };
        signers.iter().fold(Statement::unsigned(proposal), sign).to_bytes()
    }

    pub fn submit(&mut self, statement: &[u8]) -> Result<(), ConnError> {
        self.talk(|conn, _, _| conn.submit(statement))
    }

    /// Proposes, signs and submits under the founding seats.
    pub fn say(&mut self, body: Body, signers: &[&str]) {
        let seat_set = self.seat_set();
        self.submit(&self.statement(body, seat_set, signers)).unwrap();
    }

    pub fn statements(&mut self) -> Result<Vec<ByteVec>, ConnError> {
        let who = self.keys.keys().next().unwrap().clone();
        let mut statements = Vec::new();
        loop {
            let page: RosterPage = self.asked(Method::Roster, &RosterBody { after: statements.len() as u64 }, &who)?;
            if page.statements.is_empty() {
                return Ok(statements);
            }
            statements.extend(page.statements);
        }
    }

    fn seat_set(&mut self) -> u32 {
        let mut set = RosterSet::new(self.identity.anchor());
        for statement in self.statements().unwrap() {
            set.insert(&statement).unwrap();
        }
        set.verify(now()).seat_set()
    }

    /// Adds and registers cameras in the name of two seats; returns their ids.
    pub fn add_cameras(&mut self, cameras: &[(String, String, Trust)], seats: [&str; 2]) -> Vec<CameraId> {
        let seat_set = self.seat_set();
        let add = |(name, url, trust): &(String, String, Trust)| {
            let camera = CameraId(random());
            let setup = CameraSetup {
                name: name.clone(),
                device: device_identity("serial", &peri_domain::Hash(random()).to_string()),
                url: url.clone(),
                trust: trust.clone(),
                user: String::new(),
                sealed_password: Vec::new(),
            };
            let add = CameraAdd { camera, setup, set_up_by: None, beside: None };
            (camera, Body::CameraAdd(Box::new(add)))
        };
        let added: Vec<_> = cameras.iter().map(add).collect();
        let (ids, bodies): (Vec<_>, Vec<_>) = added.into_iter().unzip();
        let registered = ids.iter().map(|camera| Body::CameraRegister(CameraRegister { camera: *camera }));
        for body in bodies.into_iter().chain(registered) {
            self.submit(&self.statement(body, seat_set, &seats)).unwrap();
        }
        ids
    }

    /// A grant for all cameras with all rights, from now for a year.
    pub fn grant_of(&self, name: &str) -> Body {
        Body::Grant(Box::new(Grant {
            recipient: self.keys[name].fingerprint(),
            account: self.account(name),
            rights: Rights::ALL,
            cameras: Cameras::All,
            from: now() - Duration::from_secs(1),
            until: now() + Duration::from_secs(365 * 86_400),
            weekly: None,
        }))
    }

    pub fn health(&mut self, who: &str) -> Result<Health, ConnError> {
        self.asked(Method::Health, &(), who)
    }

    /// What a viewer is told about a span: segments and the account of the camera's time.
    pub fn segments(
        &mut self,
        camera: CameraId,
        from: UtcNanos,
        until: UtcNanos,
        who: &str,
    ) -> Result<SegmentsPage, ConnError> {
        let mut all = SegmentsPage { segments: Vec::new(), coverage: Vec::new(), next: None };
        let mut from = from;
        loop {
            let body = SpanBody { camera, from, until, action: Action::PlayBack };
            let page: SegmentsPage = self.asked(Method::Segments, &body, who)?;
            all.segments.extend(page.segments);
            all.coverage.extend(page.coverage);
            match page.next {
                Some(next) => from = next,
                None => break,
            }
        }
        all.segments.dedup();
        all.coverage.dedup();
        Ok(all)
    }

    /// The account of a camera's time as a list, begin to end without a hole; panics where there is one.
    pub fn account_of(&mut self, camera: CameraId, from: UtcNanos, who: &str) -> Vec<Stretch> {
        let page = self.segments(camera, from, now(), who).unwrap();
        let stretches: Vec<Stretch> = page
            .coverage
            .iter()
            .map(|span| Stretch { from: span.from, until: span.until, kind: span.kind, cause: span.cause.clone() })
            .collect();
        for pair in stretches.windows(2) {
            assert_eq!(pair[0].until, pair[1].from, "the account of {camera} has a hole or an overlap: {pair:#?}");
        }
        for stretch in &stretches {
            assert!(
                stretch.kind == CoverageKind::Recorded || !stretch.cause.is_empty(),
                "a stretch without a cause: {stretch:?}"
            );
        }
        stretches
    }

    /// Kinds of all entries of the ledger so far.
    pub fn entries(&mut self, who: &str) -> Vec<EntryType> {
        let mut kinds: Vec<EntryType> = Vec::new();
        loop {
            // A scribe that is just restarting answers a moment later.
            let page: LedgerPage = until("the ledger is read", Duration::from_secs(20), || {
                self.asked(Method::Ledger, &LedgerBody { from: kinds.len() as u64 }, who).ok()
            });
            if page.entries.is_empty() {
                return kinds;
            }
            kinds.extend(page.entries.iter().map(|bytes| Entry::from_bytes(bytes).unwrap().kind));
        }
    }
}

/// A stretch of a camera's time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    pub from: UtcNanos,
    pub until: UtcNanos,
    pub kind: CoverageKind,
    pub cause: String,
}

impl Stretch {
    pub fn length(&self) -> Duration {
        self.until.saturating_since(self.from)
    }
}

/// Time of one kind in an account.
pub fn total(account: &[Stretch], kind: CoverageKind) -> Duration {
    account.iter().filter(|stretch| stretch.kind == kind).map(Stretch::length).sum()
}

/// Fingerprints that the head of a segment file wraps E to as users, and its epoch.
pub fn wrapped_to(file: &Path) -> (u64, Vec<Fingerprint>) {
    let head = peri_seal::scan::read_head(&std::fs::File::open(file).unwrap()).unwrap();
    let users = head.wraps.iter().filter(|wrap| wrap.kind == peri_seal::wrap::WrapKind::User);
    (head.record.context.epoch.0, users.map(|wrap| wrap.recipient).collect())
}

/// Every regular file below a directory.
pub fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        // A file that goes while we look is none.
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

/// Segment files of an appliance's data directory.
pub fn segment_files(data: &Path) -> Vec<PathBuf> {
    let mut files = files_below(&data.join("store"));
    files.retain(|path| peri_seal::scan::read_head(&std::fs::File::open(path).unwrap()).is_ok());
    files
}
