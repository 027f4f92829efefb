//! Getting in: certificates of sessions, proofs, invitations, one-time keys and counted attempts. Each has one form, none
//! counts that the key in question did not sign, and what is stored goes on after a restart as if there had been none.

use super::fixture::{NOW, PAIRS, VM};
use super::{Input, canonical, reached};
use peri_access::attempts::{Attempt, AttemptKey, Attempts, Tally};
use peri_access::invite::{FRAGMENT_LEN, Invitation, Invitations, InviteError, Offer, Redemption as Enrolment};
use peri_access::onetime::{Chain, ChainError, ChainLock, Confirmation, Holder, OneTimeKey, Redemption};
use peri_access::proof::{BootEpoch, ChannelId, PROOF_TEXT_MAX, Progress, Proof, RequestLine};
use peri_access::session::{Session, SessionKey, SessionSignature, SignedCertificate};
use peri_access::sessions::{Sessions, Verdict};
use peri_domain::limits::{PROOF_REPORTS_MAX, PROOF_WINDOW, SESSION_MAX};
use peri_domain::{AccountId, Fingerprint, Hash, Nonce, UtcNanos};
use peri_seal::keys::Signature;
use peri_seal::rng;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

fn session_key(number: u8) -> SessionKey {
    SessionKey::from_secret_bytes(&[number; 32]).expect("below the order")
}

fn later(secs: i64) -> UtcNanos {
    UtcNanos::from_secs(NOW.secs() + secs)
}

/// The one certificate that key 6 signed.
pub(crate) static CERTIFICATE: LazyLock<SignedCertificate> =
    LazyLock::new(|| SignedCertificate::issue(VM, &PAIRS[6], session_key(7).public(), NOW, later(3600), 4));

static SESSION: LazyLock<Session> =
    LazyLock::new(|| CERTIFICATE.verify(VM, PAIRS[6].public(), NOW).expect("a genuine certificate"));

/// A certificate: one form, and none counts that key 6 did not sign.
pub(crate) fn certificate(data: &[u8]) {
    if !canonical(data, |b| SignedCertificate::from_bytes(b).ok().map(|c| c.to_bytes())) {
        return;
    }
    let found = SignedCertificate::from_bytes(data).expect("accepted before");
    let stated = &found.certificate;
    if let Ok(session) = found.verify(VM, PAIRS[6].public(), NOW) {
        assert_eq!(*stated, CERTIFICATE.certificate, "a certificate that nobody signed");
        assert_eq!((session.id(), session.signer()), (stated.session.id(), stated.signer));
        assert!(found.verify(VM, PAIRS[5].public(), NOW).is_err(), "counts for another key");
        assert!(found.verify(VM, PAIRS[6].public(), stated.not_after).is_err(), "counts after its end");
    }
    // Whatever is asked for, signed as it stands: a session is never longer or wider than the rules say.
    let again = SignedCertificate::issue(
        stated.vm,
        &PAIRS[6],
        stated.session,
        stated.issued,
        stated.not_after,
        stated.channels,
    );
    if let Ok(session) = again.verify(VM, PAIRS[6].public(), NOW) {
        assert!(session.not_after().saturating_since(stated.issued) <= SESSION_MAX && session.not_after() > NOW);
        assert!((1..=64).contains(&session.channels()) && matches!(stated.session.0[0], 2 | 3));
    }
}

const BODY: &[u8] = b"body";

fn line() -> RequestLine<'static> {
    RequestLine::new("POST", "/v1/x?y", BODY).expect("a request of ours")
}

const BOOT: BootEpoch = BootEpoch(Nonce([5; 16]));

/// A proof of the session's key.
pub(crate) fn proof_of(channel: ChannelId, counter: u64, progress: Progress) -> Proof {
    Proof::sign(&mut rng::system(), &session_key(7), VM, BOOT, channel, counter, progress, &line())
}

/// The proofs that the session's key signed, and that the corpus is made of.
pub(crate) static PROOFS: LazyLock<Vec<Proof>> = LazyLock::new(|| {
    use peri_access::proof::{Report, Seen};
    let report = |counter, seen| Report { counter, seen };
    let reports = vec![report(3, Seen::Failure), report(6, Seen::Nonce(Nonce([4; 16])))];
    let channel = |id| ChannelId(Nonce([id; 16]));
    vec![
        proof_of(channel(1), 1, Progress::new(0, [], vec![])),
        proof_of(channel(1), 9, Progress::new(2, [4, 5, 8], reports)),
        proof_of(channel(2), u64::MAX, Progress::new(u64::MAX - 5, [u64::MAX - 3], vec![])),
    ]
});

/// A proof that acknowledges what lies beyond every counter; no proof.
pub(crate) static BEYOND: LazyLock<Proof> = LazyLock::new(|| {
    let progress = Progress { settled: u64::MAX - 1, answered: vec![2].into(), reports: vec![] };
    proof_of(ChannelId(Nonce([1; 16])), u64::MAX, progress)
});

/// First byte even: a proof as header text. Odd: method, blank, path.
pub(crate) fn proof(data: &[u8]) {
    let mut input = Input(data);
    let which = input.byte();
    let Ok(text) = core::str::from_utf8(input.0) else { return };
    if which & 1 == 1 {
        return request_line(text);
    }
    let Ok(found) = Proof::from_text(text) else { return };
    reached();
    assert_eq!(found.to_text(), text, "read, but written otherwise");
    for other in [format!("{text}A"), format!("{text}="), format!(" {text}"), text[1..].into(), text[..1].into()] {
        assert!(Proof::from_text(&other).is_err(), "{other} reads too");
    }
    assert!(text.len() <= PROOF_TEXT_MAX && !text.contains(['+', '/', '=']));
    well_shaped(&found);
    let bare = |p: &Proof| Proof { signature: SessionSignature([0; 64]), ..p.clone() };
    if found.clone().check(&SESSION, &line(), NOW).is_ok() {
        assert!(PROOFS.iter().any(|genuine| bare(genuine) == bare(&found)), "a proof that nobody signed");
        for (method, path, body) in [("GET", "/v1/x?y", BODY), ("POST", "/v1/x", BODY), ("POST", "/v1/x?y", b"bodY")] {
            let other = RequestLine::new(method, path, body).expect("a request of ours");
            assert!(found.clone().check(&SESSION, &other, NOW).is_err(), "counts for another request");
        }
        assert!(found.clone().check(&SESSION, &line(), SESSION.not_after()).is_err(), "counts after the end");
    }
    // Signed as it stands, scribe's memory takes it: the first one at once, a copy never, a changed one ends all.
    let mine = || proof_of(found.channel, found.counter, found.progress.clone());
    let genuine = |p: Proof| p.check(&SESSION, &line(), NOW).expect("just signed");
    let (first, second) = (genuine(mine()), genuine(mine()));
    let mut sessions = Sessions::new(BOOT);
    sessions.admit(&SESSION, NOW).expect("room");
    let nonce = |n| Nonce([n; 16]);
    let verdict = sessions.arrive(&first, nonce(1), NOW);
    if verdict == Verdict::Execute {
        assert_eq!(sessions.arrive(&first, nonce(2), NOW), Verdict::Copy(nonce(2)), "executed twice");
        assert!(matches!(sessions.arrive(&second, nonce(3), NOW), Verdict::Lock(_)), "two signers of one request");
        assert_eq!(sessions.arrive(&first, nonce(4), NOW), Verdict::Locked);
    } else {
        // An empty channel: what it says about earlier requests can only be invented.
        assert!(matches!(verdict, Verdict::Lock(_)) && found.progress != Progress::new(0, [], vec![]));
    }
}

/// The rules of a proof's form, one by one and slowly.
fn well_shaped(proof: &Proof) {
    let Progress { settled, answered, reports } = &proof.progress;
    assert!(proof.counter > *settled && proof.counter - settled <= PROOF_WINDOW);
    let bits = (0..8 * answered.len() as u64).filter(|at| answered[*at as usize / 8] >> (at % 8) & 1 == 1);
    let counters: Vec<u64> = bits.map(|at| settled.checked_add(1 + at).expect("below the proof's own")).collect();
    assert_eq!(proof.progress.answered_counters().collect::<Vec<_>>(), counters);
    assert!(counters.iter().all(|counter| *counter < proof.counter) && counters.first() != Some(&(settled + 1)));
    assert_eq!(Progress::new(*settled, counters.iter().copied(), reports.clone()), proof.progress, "a longer bitmap");
    assert!(reports.len() <= PROOF_REPORTS_MAX && reports.windows(2).all(|two| two[0].counter < two[1].counter));
    for report in reports {
        assert!((1..proof.counter).contains(&report.counter) && !counters.contains(&report.counter));
    }
}

fn request_line(text: &str) {
    let (method, path) = text.split_once(' ').unwrap_or((text, ""));
    let Ok(line) = RequestLine::new(method, path, BODY) else { return };
    reached();
    assert!(!method.is_empty() && method.chars().all(|c| c.is_ascii_uppercase()));
    assert!(path.starts_with('/') && path.chars().all(|c| c.is_ascii_graphic() && c != '#'));
    assert_ne!(Ok(line), RequestLine::new(method, path, b"other").map_err(drop));
}

/// The invitation that key 6 redeems, and a foreign one.
static INVITATIONS: LazyLock<[Invitation; 2]> = LazyLock::new(|| {
    let made = |text: &str| Invitation::parse(text).expect("a fragment of ours");
    [made(FRAGMENTS[0]), made(FRAGMENTS[1])]
});

/// Links, as they were once printed.
pub(crate) const FRAGMENTS: [&str; 2] =
    ["BQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUoy8ja", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh_d-eLM"];

const ACCOUNT: AccountId = AccountId([6; 16]);

pub(crate) static ENROLMENTS: LazyLock<[Enrolment; 2]> =
    LazyLock::new(|| [0, 1].map(|at: usize| INVITATIONS[0].redeem(&mut rng::system(), VM, &PAIRS[6 - at])));

/// Who invites.
const INVITER: Fingerprint = Fingerprint([3; 32]);

/// What the server keeps of an invitation that was used, and of one that was not.
pub(crate) fn stored_invitations() -> [Vec<u8>; 2] {
    let mut kept = Invitations::default();
    for invitation in INVITATIONS.iter() {
        kept.offer(invitation.offer(ACCOUNT, later(600)), INVITER, NOW).expect("an offer of ours");
    }
    kept.redeem(VM, &ENROLMENTS[0], NOW).expect("a redemption of ours");
    [0, 1].map(|at: usize| kept.entry(INVITATIONS[at].id()).expect("it is kept"))
}

/// First byte even: what stands behind the `#` of a link. Odd: the server's stored invitations.
pub(crate) fn invitation(data: &[u8]) {
    let mut input = Input(data);
    let which = input.byte();
    if which & 1 == 0 {
        let Ok(text) = core::str::from_utf8(input.0) else { return };
        let Ok(found) = Invitation::parse(text) else { return };
        reached();
        let written = found.to_fragment();
        assert_eq!(text.trim().trim_start_matches('#'), written.as_str(), "read, but written otherwise");
        assert_eq!(written.len(), FRAGMENT_LEN);
        let Offer { id, verify, .. } = found.offer(ACCOUNT, NOW);
        let ours = FRAGMENTS.contains(&written.as_str());
        assert!(ours == INVITATIONS.iter().any(|one| one.id() == id && one.offer(ACCOUNT, NOW).verify == verify));
        for at in 0..FRAGMENT_LEN {
            let mut wrong = written.as_bytes().to_vec();
            wrong[at] = if wrong[at] == b'A' { b'B' } else { b'A' };
            let wrong = String::from_utf8(wrong).expect("ASCII");
            assert!(Invitation::parse(&wrong).is_err(), "a typing error at {at} reads");
        }
        return;
    }
    let bytes = input.0;
    let read = |bytes: &[u8]| {
        let mut kept = Invitations::default();
        kept.restore(bytes).ok().map(|()| kept)
    };
    let Some(mut kept) = read(bytes) else { return };
    reached();
    if let Some(written) = INVITATIONS.iter().find_map(|one| kept.entry(one.id())) {
        assert_eq!(written, bytes, "read, but written otherwise");
    }
    // One enrols, the other comes too late, and a withdrawn invitation is none; each time as it was stored.
    let first = INVITATIONS[0].id();
    let _ = kept.offer(INVITATIONS[0].offer(ACCOUNT, later(600)), INVITER, NOW);
    let enrolled = kept.redeem(VM, &ENROLMENTS[0], NOW);
    let mut again = kept.entry(first).and_then(|entry| read(&entry)).expect("what is written can be read");
    match enrolled {
        Ok(done) => {
            assert_eq!(done.fingerprint, PAIRS[6].fingerprint());
            let repeated = again.redeem(VM, &ENROLMENTS[0], later(1));
            assert_eq!(repeated, Ok(peri_access::invite::Enrolled { first: false, ..done }));
            let by = PAIRS[6].fingerprint();
            assert_eq!(again.redeem(VM, &ENROLMENTS[1], NOW), Err(InviteError::Used { by }), "used twice");
            assert!(!again.withdraw(first, INVITER), "a used one was taken back");
        }
        Err(why) => assert_eq!(again.redeem(VM, &ENROLMENTS[0], NOW), Err(why), "a restart changes the answer"),
    }
    let forged = Enrolment { id: INVITATIONS[1].id(), ..ENROLMENTS[0].clone() };
    let before = again.entry(first);
    assert!(again.redeem(VM, &forged, NOW).is_err(), "an enrolment that nobody signed");
    assert_eq!(again.entry(first), before, "a refusal changes something");
}

const KEYS: u8 = 4;
const SESSIONS: u8 = 2;

fn one_time(number: u8) -> OneTimeKey {
    OneTimeKey::from_bytes([number; 32])
}

/// What the client's key 6 signs of key `K` for a session: all of them, made by the client's own half.
static REDEMPTIONS: LazyLock<Vec<Redemption>> = LazyLock::new(|| {
    let made = (0..KEYS).flat_map(|key| (0..SESSIONS).map(move |session| (key, session)));
    made.map(|(key, session)| holder(key, session).redeem(&mut rng::system(), VM, &PAIRS[6]).0).collect()
});

static CONFIRMATIONS: LazyLock<Vec<Confirmation>> = LazyLock::new(|| {
    let made = (0..KEYS).map(|key| holder(key, 0).answered(VM, &PAIRS[6], one_time(key)));
    made.map(|confirmation| confirmation.expect("something was being redeemed")).collect()
});

/// A client that consumes this key for this session.
pub(crate) fn holder(key: u8, session: u8) -> Holder {
    Holder::Redeeming(one_time(key), OneTimeKey::from_bytes([session + 1; 32]))
}

/// A chain that begins with key 0.
pub(crate) fn chain() -> Chain {
    Chain::new(PAIRS[6].fingerprint(), one_time(0).commit())
}

/// Chains that have gone on: one answered, one locked.
pub(crate) fn stored_chains() -> [Vec<u8>; 2] {
    let mut answered = chain();
    redeem(&mut answered, &REDEMPTIONS[0], 1).expect("the first key");
    let mut locked = answered.clone();
    redeem(&mut locked, &REDEMPTIONS[1], 1).expect_err("another session");
    [answered, locked].map(|chain| [&[0], &chain.to_bytes()[..]].concat())
}

/// What a step is held against.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Model {
    Ready(u8),
    Answered { spent: u8, session: u8, next: u8 },
    Locked,
}

/// First byte modulo 3: a chain, a client's half, steps on a chain.
pub(crate) fn onetime(data: &[u8]) {
    let mut input = Input(data);
    let which = input.byte() % 3;
    let bytes = input.0;
    match which {
        0 if canonical(bytes, |b| Chain::from_bytes(b).ok().map(|c| c.to_bytes())) => {
            let mut chain = Chain::from_bytes(bytes).expect("accepted before");
            let forged = Redemption { signature: Signature([1; 96]), ..REDEMPTIONS[0].clone() };
            let refused = redeem(&mut chain, &forged, 1);
            assert!(matches!(refused, Err(ChainError::Signature { .. })), "a redemption that nobody signed");
            assert_eq!(chain.to_bytes(), bytes, "a refusal changes something");
        }
        1 if canonical(bytes, |b| Holder::from_bytes(b).ok().map(|h| h.to_bytes().to_vec())) => {
            let mut found = Holder::from_bytes(bytes).expect("accepted before");
            let (first, _) = found.redeem(&mut rng::system(), VM, &PAIRS[6]);
            let mut restarted = Holder::from_bytes(&found.to_bytes()).expect("just written");
            let (again, _) = restarted.redeem(&mut rng::system(), VM, &PAIRS[6]);
            assert!(again.session == first.session && again.key == first.key, "a restart takes another session");
        }
        2 => steps(bytes),
        _ => {}
    }
}

fn redeem(chain: &mut Chain, redemption: &Redemption, next: u8) -> Result<(Vec<u8>, bool), ChainError> {
    let seal = |_: &Hash, key: &OneTimeKey| Ok(key.as_bytes().to_vec());
    let done = chain.redeem(VM, PAIRS[6].public(), redemption, &one_time(next), seal)?;
    Ok((done.sealed, done.first))
}

/// Each byte a redemption, a confirmation or a restart; the chain does what the drawing in its module says.
fn steps(bytes: &[u8]) {
    let (mut chain, mut model) = (chain(), Model::Ready(0));
    for byte in bytes.iter().take(6) {
        let (key, session, next) = (byte & 3, byte >> 2 & 1, byte >> 3 & 3);
        reached();
        if byte & 0x80 != 0 {
            chain = Chain::from_bytes(&chain.to_bytes()).expect("just written");
            continue;
        }
        if byte & 0x40 != 0 {
            let confirmed = chain.confirm(VM, PAIRS[6].public(), &CONFIRMATIONS[usize::from(key)]);
            let (expected, after) = match model {
                Model::Locked => (false, model),
                Model::Ready(at) | Model::Answered { next: at, .. } if at == key => (true, Model::Ready(key)),
                other => (false, other),
            };
            assert_eq!(confirmed.is_ok(), expected, "{model:?}, {confirmed:?}");
            model = after;
        } else {
            let redemption = &REDEMPTIONS[usize::from(key * SESSIONS + session)];
            let done = redeem(&mut chain, redemption, next).map_err(|why| matches!(why, ChainError::Lock(_)));
            let answer = |next: u8, first| Ok((vec![next; 32], first));
            let (expected, after) = match model {
                Model::Locked => (Err(false), model),
                Model::Answered { spent, session: before, next } if spent == key && before == session => {
                    (answer(next, false), model)
                }
                Model::Answered { spent, .. } if spent == key => (Err(true), Model::Locked),
                Model::Ready(at) | Model::Answered { next: at, .. } if at == key => {
                    (answer(next, true), Model::Answered { spent: key, session, next })
                }
                _ => (Err(true), Model::Locked),
            };
            assert_eq!(done, expected, "{model:?}");
            model = after;
        }
        assert_eq!(chain.locked().is_some(), model == Model::Locked);
        assert!(chain.locked().is_none_or(|why| matches!(why, ChainLock::TwoSessions | ChainLock::SpentKey)));
    }
}

fn attempts_of(bytes: &[u8]) -> Option<Attempts> {
    Attempts::from_bytes(AttemptKey::from_bytes([3; 32]), bytes).ok()
}

/// Attempts from five places at two names and one lane.
fn attempt(byte: u8) -> Attempt<'static> {
    let v6 = |last: u16| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, last, 0, 0, 0, 1));
    let source = [IpAddr::V4(Ipv4Addr::LOCALHOST), v6(0), v6(1), v6(0x100)][usize::from(byte & 3)];
    match byte >> 2 & 3 {
        0 => Attempt::Known(Hash([byte & 3; 32])),
        1 => Attempt::Stranger { name: "anna", source: Some(source) },
        _ => Attempt::Stranger { name: "bert", source: Some(source) },
    }
}

/// The stored state, its length before it, and then steps of two bytes: who, and how long after the step before.
pub(crate) fn attempts(data: &[u8]) {
    let mut input = Input(data);
    let bytes = input.piece();
    if !canonical(bytes, |b| attempts_of(b).map(|a| a.to_bytes())) {
        return;
    }
    let mut straight = attempts_of(bytes).expect("accepted before");
    let mut restarted = attempts_of(bytes).expect("accepted before");
    let mut now = NOW;
    for _ in 0..16 {
        if input.is_empty() {
            break;
        }
        let (who, wait) = (input.byte(), input.byte());
        now = UtcNanos(now.0.saturating_add(i64::from(wait & 0x7f) * i64::from(wait & 0x7f) * 1_000_000_000));
        let before = straight.to_bytes();
        let (one, two) = (straight.reserve(attempt(who), now), restarted.reserve(attempt(who), now));
        match (one, two) {
            (Ok(one), Ok(two)) => {
                let records = one.records().map(|record| record.tally).collect::<Vec<_>>();
                assert_eq!(records, two.records().map(|record| record.tally).collect::<Vec<_>>());
                let at_once = straight.reserve(attempt(who), now).map(drop).expect_err("two attempts at once");
                assert!((1..=3600).contains(&at_once.retry_after_s), "{at_once}");
                if wait & 0x80 != 0 {
                    assert_eq!(straight.succeeded(one), restarted.succeeded(two));
                }
            }
            (Err(one), Err(two)) => {
                assert_eq!(one, two, "a restart changes the delay");
                let swept = attempts_of(&straight.to_bytes()).expect("just written").to_bytes();
                assert!(swept.len() <= before.len(), "a refusal counts something");
            }
            (one, two) => panic!("a restart changes the answer: {:?}, {:?}", one.is_ok(), two.is_ok()),
        }
        restarted = attempts_of(&restarted.to_bytes()).expect("just written");
        assert_eq!(straight.to_bytes(), restarted.to_bytes(), "a restart forgets");
    }
}

/// What is stored after some attempts.
pub(crate) fn stored_attempts() -> Vec<u8> {
    let mut kept = Attempts::new(AttemptKey::from_bytes([3; 32]));
    for (at, who) in [4, 5, 6, 0, 9, 1].into_iter().enumerate() {
        let ticket = kept.reserve(attempt(who), later(at as i64 * 4000)).expect("hours lie between");
        drop(ticket);
    }
    kept.to_bytes()
}

/// Stored attempts in which a subject stands twice; none that the server writes.
pub(crate) fn counted_twice() -> Vec<u8> {
    let ticket = Attempts::new(AttemptKey::from_bytes([3; 32])).reserve(attempt(4), NOW).expect("the first");
    let record = ticket.records().next().expect("of a name");
    minicbor::to_vec((1_u16, [Tally::default(); 2], vec![record, record])).expect("a Vec takes everything")
}
