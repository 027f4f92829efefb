//! Sessions at the socket of a running appliance: what a copied request leads to, what garbage does, when a session is
//! over. The rules themselves are held against a model in `src/access`; here is what a thief of bytes reaches.
//!
//! What does not belong: what a session may do (`end_to_end.rs`), how keys come to people (`getting_in.rs`).
#![allow(clippy::unwrap_used)]

mod support;

use nix::sys::signal::Signal;
use peri_access::channel::{Outbox, Outcome};
use peri_access::proof::{BootEpoch, ChannelId, Progress, Proof, Seen};
use peri_access::session::{Opening, SessionKey, SignedCertificate};
use peri_access::wire::{
    Ask, Conflict, Health, Method, Problem, Reply, Request, SESSION_UNKNOWN, SessionOpened, decode_strict, request_line,
};
use peri_client::conn::ConnError;
use peri_domain::{Nonce, UtcNanos, VmId};
use peri_seal::keys::KeyPair;
use peri_seal::rng;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::Duration;
use support::*;

/// An appliance without cameras; one test at a time.
fn house() -> MutexGuard<'static, Appliance> {
    static HOUSE: OnceLock<Mutex<Appliance>> = OnceLock::new();
    let house = HOUSE.get_or_init(|| {
        let app = Appliance::founded(AppConfig::default());
        app.home.account("leaver", "auditor", &["boss"]);
        Mutex::new(app)
    });
    house.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

/// One frame to the appliance and what comes back, over a connection of its own.
fn exchange(socket: &Path, frame: &[u8]) -> Reply {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(secs(35))).unwrap();
    stream.write_all(&u32::try_from(frame.len()).unwrap().to_be_bytes()).unwrap();
    stream.write_all(frame).unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut bytes = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut bytes).unwrap();
    decode_strict(&bytes).unwrap()
}

fn frame(ask: &Ask) -> Vec<u8> {
    minicbor::to_vec(ask).unwrap()
}

/// A page with a session of its own; its frames can be copied.
struct Page {
    socket: PathBuf,
    vm: VmId,
    key: SessionKey,
    certified: SignedCertificate,
    boot: BootEpoch,
    channel: ChannelId,
    outbox: Outbox,
}

impl Page {
    fn new(app: &Appliance, who: &KeyPair) -> Self {
        Self::shown_at(app, who, now())
    }

    fn shown_at(app: &Appliance, who: &KeyPair, issued: UtcNanos) -> Self {
        let mut page = Self::hidden(app, who, issued);
        let Reply::Answer(bytes) = page.show(&page.opening()) else { panic!("the session is not opened") };
        page.boot = decode_strict::<SessionOpened>(&bytes).unwrap().boot;
        page
    }

    fn hidden(app: &Appliance, who: &KeyPair, issued: UtcNanos) -> Self {
        let vm = raw::connect(&app.socket()).1.vm;
        let key = SessionKey::generate(&mut rng::system());
        let certified = SignedCertificate::issue(vm, who, key.public(), issued, issued + secs(3600), 2);
        let (boot, channel) = (BootEpoch(Nonce([0; 16])), ChannelId(Nonce(random())));
        Self { socket: app.socket(), vm, key, certified, boot, channel, outbox: Outbox::default() }
    }

    fn opening(&self) -> Opening {
        let Reply::Answer(nonce) = exchange(&self.socket, &frame(&Ask::Nonce)) else { panic!("no nonce") };
        Opening::new(&mut rng::system(), self.certified.clone(), decode_strict(&nonce).unwrap(), &self.key)
    }

    fn show(&self, opening: &Opening) -> Reply {
        exchange(&self.socket, &frame(&Ask::Open(opening.clone())))
    }

    /// The next request as it travels, and its number.
    fn next(&mut self, method: Method) -> (Vec<u8>, u64) {
        let (counter, progress) = self.outbox.begin().unwrap();
        (self.signed(method, counter, progress), counter)
    }

    fn signed(&self, method: Method, counter: u64, progress: Progress) -> Vec<u8> {
        let body = minicbor::to_vec(()).unwrap();
        let line = request_line(method, &body).unwrap();
        let (rng, key) = (&mut rng::system(), &self.key);
        let proof = Proof::sign(rng, key, self.vm, self.boot, self.channel, counter, progress, &line);
        frame(&Ask::Request(Request { method, body: body.into(), proof }))
    }

    /// Asks for health, sees the answer; returns the frame for whoever copies it.
    fn answered(&mut self) -> Vec<u8> {
        let (frame, counter) = self.next(Method::Health);
        assert!(is_health(&exchange(&self.socket, &frame)));
        self.outbox.finish(counter, Outcome::Answer).unwrap();
        frame
    }

    /// Asks for health; what comes must be a refusal to take it up.
    fn refused(&mut self) -> Problem {
        let (frame, counter) = self.next(Method::Health);
        let problem = not_taken(exchange(&self.socket, &frame));
        self.outbox.finish(counter, Outcome::Other(Seen::Failure)).unwrap();
        problem
    }
}

fn is_health(reply: &Reply) -> bool {
    matches!(reply, Reply::Answer(bytes) if decode_strict::<Health>(bytes).is_ok())
}

fn not_taken(reply: Reply) -> Problem {
    let Reply::NotTaken(problem) = reply else { panic!("{reply:?}") };
    problem
}

fn entries(app: &Appliance, kind: &str) -> u64 {
    app.home.ledger(0)["kinds"][kind].as_u64().unwrap_or(0)
}

/// Waits until scribe knows the roster again.
fn again(app: &Appliance) {
    wait_for("the appliance answers again", secs(30), || {
        (app.home.run(&["health", "--as", "rev"]).code == 0).then_some(())
    });
}

#[test]
fn a_captured_request_played_after_its_acknowledgement_locks_and_the_lock_outlives_scribe() {
    if quick() {
        return;
    }
    let app = house();
    let who = raw::key(&app.home, "rev");
    let before = entries(&app, "session_locked");
    let mut page = Page::new(&app, &who);
    let captured = page.answered();
    let last = page.answered();
    // The one before the last is acknowledged by the last; a copy of it can only be somebody else's.
    let begun = now();
    let problem = not_taken(exchange(&app.socket(), &captured));
    let took = now().saturating_since(begun);
    assert_eq!((problem.status, problem.code.as_str()), (423, "session_locked"), "{problem}");
    assert!(took < secs(5), "the lock came after {took:?}");
    for frame in [&captured, &last] {
        assert_eq!(not_taken(exchange(&app.socket(), frame)).status, 423);
    }
    assert_eq!(page.refused().status, 423, "the honest page is told, too");
    wait_for("the lock is in the ledger", secs(10), || (entries(&app, "session_locked") == before + 1).then_some(()));
    assert!(app.home.health()["alarms"].to_string().contains("session_locked"));

    app.kill_role("scribe", Signal::SIGKILL);
    again(&app);
    let Reply::Problem(problem) = page.show(&page.opening()) else { panic!("a locked session came back") };
    assert_eq!(problem.status, 423, "{problem}");
    // Another session of the same person is not concerned.
    Page::new(&app, &who).answered();
}

#[test]
fn a_copy_before_the_acknowledgement_executes_nothing_and_the_next_message_tells_whose_it_was() {
    if quick() {
        return;
    }
    let app = house();
    let who = raw::key(&app.home, "rev");
    // The browser sent it twice by itself: the page saw the refusal with its nonce, and says so.
    let mut page = Page::new(&app, &who);
    let (sent, counter) = page.next(Method::Health);
    assert!(is_health(&exchange(&app.socket(), &sent)));
    let Reply::Conflict(Conflict::Copy(nonce)) = exchange(&app.socket(), &sent) else { panic!("a copy was executed") };
    page.outbox.finish(counter, Outcome::Other(Seen::Nonce(nonce))).unwrap();
    page.answered();
    assert_eq!(exchange(&app.socket(), &sent), Reply::Conflict(Conflict::GivenUp));
    page.answered();
    // Somebody copied it: the page saw the answer.
    let mut page = Page::new(&app, &who);
    let (sent, counter) = page.next(Method::Health);
    assert!(is_health(&exchange(&app.socket(), &sent)));
    assert!(matches!(exchange(&app.socket(), &sent), Reply::Conflict(Conflict::Copy(_))));
    page.outbox.finish(counter, Outcome::Answer).unwrap();
    assert_eq!(page.refused().status, 423);
}

#[test]
fn garbage_and_foreign_signatures_change_nothing() {
    if quick() {
        return;
    }
    let app = house();
    let who = raw::key(&app.home, "rev");
    let (locked, mut page) = (entries(&app, "session_locked"), Page::new(&app, &who));
    let copied = page.answered();
    for at in [0, 5, copied.len() / 2, copied.len() - 70, copied.len() - 1] {
        let mut garbage = copied.clone();
        garbage[at] ^= 0x10;
        let problem = not_taken(exchange(&app.socket(), &garbage));
        assert!(matches!(problem.status, 400 | 401), "byte {at}: {problem}");
    }
    // Counters, acknowledgements and reports of somebody without the session key, and of a session that nobody knows.
    let other = Page { key: SessionKey::generate(&mut rng::system()), ..Page::hidden(&app, &who, now()) };
    let foreign = Page { boot: page.boot, channel: page.channel, vm: page.vm, ..other };
    for (counter, settled) in [(1, 0), (2, 1), (900, 800)] {
        let frame = foreign.signed(Method::Health, counter, Progress::new(settled, [], vec![]));
        assert_eq!(not_taken(exchange(&app.socket(), &frame)).code, SESSION_UNKNOWN);
        let Ok(Ask::Request(mut forged)) = decode_strict::<Ask>(&frame) else { unreachable!() };
        forged.proof.session = page.key.public().id();
        assert_eq!(not_taken(exchange(&app.socket(), &self::frame(&Ask::Request(forged)))).status, 401);
    }
    page.answered();
    page.answered();
    assert_eq!(entries(&app, "session_locked"), locked);
}

#[test]
fn a_session_that_was_ended_is_over_and_a_copied_opening_opens_nothing() {
    if quick() {
        return;
    }
    let app = house();
    let who = raw::key(&app.home, "rev");
    let page = Page::hidden(&app, &who, now());
    let opening = page.opening();
    assert!(matches!(page.show(&opening), Reply::Answer(_)));
    let Reply::Problem(problem) = page.show(&opening) else { panic!("a nonce worked twice") };
    assert_eq!((problem.status, problem.code.as_str()), (401, "nonce"), "{problem}");
    let mut page = Page::new(&app, &who);
    let copied = page.answered();
    let (goodbye, _) = page.next(Method::Logout);
    assert!(matches!(exchange(&app.socket(), &goodbye), Reply::Answer(_)));
    for frame in [&copied, &goodbye] {
        assert_eq!(not_taken(exchange(&app.socket(), frame)).code, SESSION_UNKNOWN);
    }
    let Reply::Problem(problem) = page.show(&page.opening()) else { panic!("an ended session came back") };
    assert_eq!(problem.status, 401, "{problem}");
    // Clocks: a certificate from the future, and one whose time is over.
    for (issued, words) in [(now() + secs(600), "ahead of the appliance's clock"), (now() - secs(4000), "ended")] {
        let page = Page::hidden(&app, &who, issued);
        let Reply::Problem(problem) = page.show(&page.opening()) else { panic!("issued at {issued}") };
        assert!(problem.status == 401 && problem.detail.contains(words), "{problem}");
    }
}

#[test]
fn a_revoked_key_loses_its_sessions_with_the_statement() {
    if quick() {
        return;
    }
    let app = house();
    let mut page = Page::new(&app, &raw::key(&app.home, "leaver"));
    page.answered();
    let before = entries(&app, "session_ended");
    app.home.signed(&["revoke", "--key", "leaver", "--reason", "left"], &["dpo"]);
    assert_eq!(page.refused().status, 401);
    let Reply::Problem(problem) = page.show(&page.opening()) else { panic!("a revoked key opened a session") };
    assert_eq!(problem.status, 401, "{problem}");
    // The page's, and those of the two commands that ran since: `ledger` and `revoke` say goodbye.
    assert_eq!(entries(&app, "session_ended"), before + 3);
}

#[test]
fn an_honest_client_goes_on_after_a_restart_of_scribe() {
    if quick() {
        return;
    }
    let app = house();
    let who = raw::key(&app.home, "rev");
    let (mut connection, certificate) = raw::connect(&app.socket());
    let mut page = Page::new(&app, &who);
    let copied = page.answered();
    let _: Health = connection.request(certificate.vm, Method::Health, &(), &who).unwrap();
    app.kill_role("scribe", Signal::SIGKILL);
    again(&app);
    let answer: Health = wait_for("the same connection is answered", Duration::from_secs(20), || {
        match connection.request(certificate.vm, Method::Health, &(), &who) {
            Ok(health) => Some(health),
            Err(ConnError::Refused(problem)) if problem.status == 503 => None,
            Err(error) => panic!("{error}"),
        }
    });
    assert!(answer.now > page.certified.certificate.issued);
    // Copies from before are worth nothing, even once the session is shown again.
    assert_eq!(not_taken(exchange(&app.socket(), &copied)).code, SESSION_UNKNOWN);
    assert!(matches!(page.show(&page.opening()), Reply::Answer(_)));
    assert!(matches!(exchange(&app.socket(), &copied), Reply::Conflict(Conflict::Resync(_))));
}
