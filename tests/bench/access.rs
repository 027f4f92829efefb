//! What people's keys cost: reading a roster with and without a snapshot, wrapping an epoch, a proof of each request, a
//! login. Each beside the raw primitive in the same run, so that what our own code adds shows.
//!
//! What does not belong: processes, disks, networks.

use crate::crypto::{best, seconds};
use crate::meter::own_cpu;
use crate::{Goal, Measure};
use peri_access::attempts::{AttemptKey, Attempts};
use peri_access::login::{
    Argon2id, Credential, Credentials, Door, KeyHash, LoginRequest, Means, NotDurable, Prelogin, SaltKey, Way,
};
use peri_access::proof::{BootEpoch, ChannelId, Progress, Proof, RequestLine};
use peri_access::session::{SessionKey, SignedCertificate};
use peri_domain::limits::PBKDF2_ROUNDS_MIN;
use peri_domain::{AccountId, CameraId, EpochNo, Fingerprint, Hash, Nonce, Rights, Role, UtcNanos, VmId};
use peri_open::userkey::open_stretched;
use peri_roster::body::{Body, Cameras, ClaimedBy, Genesis, Grant, NewAccount, Revocation, Seat, SeatKind};
use peri_roster::{Anchor, Proposal, RosterSet, Statement};
use peri_seal::keys::KeyPair;
use peri_seal::secret::{EpochSecret, XSecret};
use peri_seal::userkey::{DeviceSecret, PasswordParameters, Stretched, WrappedUserKey};
use peri_seal::wrap::{hpke_seal, wrap_epoch};
use peri_seal::{EpochContext, SUITE, rng};
use std::net::{IpAddr, Ipv4Addr};

const VM: VmId = VmId([9; 16]);
const NOW: UtcNanos = UtcNanos::from_secs(1_800_000_000);

/// `roster.verify_1000`, `roster.verify_1000_snapshot`: seconds to read a history of 1,000 statements of a typical mix.
pub(crate) fn roster() -> Vec<Measure> {
    let history = History::new(1_000);
    let vouched = history.under_snapshot(&history.read(&history.statements, false));
    let without = best(|| drop(history.read(&history.statements, false)));
    let with = best(|| drop(history.read(&vouched, true)));
    let signatures = history.signatures;
    let (pair, message) = (KeyPair::generate(&mut rng::system()), [7; 300]);
    let signature = pair.sign("bench", &message);
    let raw = best(|| {
        for _ in 0..signatures {
            pair.public().verify("bench", &message, &signature).expect("our own signature");
        }
    });
    let measure = |name: &str, value, baseline, goal, note| Measure {
        name: name.into(),
        value,
        unit: "s",
        baseline: Some(baseline),
        goal: Some(goal),
        note,
    };
    vec![
        measure(
            "roster.verify_1000",
            without,
            raw,
            Goal::RatioAtMost(1.25),
            format!("baseline: the {signatures} ECDSA P-384 signatures alone"),
        ),
        measure(
            "roster.verify_1000_snapshot",
            with,
            without,
            Goal::ValueAtMost(0.1),
            "baseline: the same without a snapshot".into(),
        ),
    ]
}

/// `roster.verify_10000_snapshot`: CPU seconds to read a history of 10,000 statements of the same mix under a snapshot.
pub(crate) fn large_roster() -> Vec<Measure> {
    let history = History::new(10_000);
    // Once only, because it takes its time; the snapshot comes out of it.
    let (set, without) = own_cpu(|| history.read(&history.statements, false));
    let vouched = history.under_snapshot(&set);
    let with = (0..3).map(|_| own_cpu(|| drop(history.read(&vouched, true))).1).fold(f64::MAX, f64::min);
    vec![Measure {
        name: "roster.verify_10000_snapshot".into(),
        value: with,
        unit: "s",
        baseline: Some(without),
        goal: Some(Goal::ValueAtMost(1.0)),
        note: format!(
            "CPU, user and system, of one reading of {} statements; baseline: the same without a snapshot, {} signatures",
            vouched.len(),
            history.signatures
        ),
    }]
}

/// What an appliance has accepted.
struct History {
    anchor: Anchor,
    statements: Vec<Vec<u8>>,
    signatures: usize,
    /// Two seats in office.
    seats: Vec<KeyPair>,
}

impl History {
    /// A claim with 2 of 3 seats, an administrator, then accounts with two grants and a revocation each: at least so many
    /// statements, each with genuine signatures.
    fn new(least: usize) -> Self {
        let keys: Vec<KeyPair> = (0..8).map(|_| KeyPair::generate(&mut rng::system())).collect();
        let [claim, device, one, two, three, boss] = [0, 1, 2, 3, 4, 5].map(|at| &keys[at]);
        let anchor = Anchor {
            vm: VM,
            claim_key: claim.fingerprint(),
            provisioning: Hash([7; 32]),
            device: device.fingerprint(),
        };
        let (mut statements, mut signatures, mut number) = (Vec::new(), 0, 0_u128);
        let mut say = |body: Body, seat_set: u32, signers: &[&KeyPair]| {
            number += 1;
            let nonce = Nonce(number.to_be_bytes());
            let proposal = Proposal::new(VM, body, NOW, nonce, seat_set).expect("a sane body");
            let sign = |s: Statement, key: &&KeyPair| s.sign(key.signing(), key.fingerprint());
            signatures += signers.len();
            statements.push(signers.iter().fold(Statement::unsigned(proposal), sign).to_bytes());
            nonce
        };
        let genesis = Genesis {
            provisioning: Hash([7; 32]),
            claim_key: claim.public().clone(),
            device: device.public().clone(),
            image: None,
            k: 2,
            n: 3,
            claimed_by: ClaimedBy::Customer,
        };
        say(Body::Genesis(Box::new(genesis)), 0, &[claim]);
        for (index, key) in (0..).zip([one, two, three]) {
            let seat = Seat { index, name: format!("seat {index}"), key: key.public().clone(), kind: SeatKind::Person };
            say(Body::Seat(Box::new(seat)), 0, &[claim]);
        }
        let account = |id: u32, role, key: &KeyPair| {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&id.to_be_bytes());
            let (id, name) = (AccountId(bytes), format!("person {id}"));
            (id, Body::Account(Box::new(NewAccount { id, role, name, key: key.public().clone() })))
        };
        say(account(0, Role::Administrator, boss).1, 1, &[one, two]);
        for person in 1..=(least as u32).div_ceil(4) {
            let key = KeyPair::generate(&mut rng::system());
            let (id, body) = account(person, Role::Viewer, &key);
            say(body, 1, &[boss]);
            let grants = [0, 1].map(|_| {
                let grant = Grant {
                    recipient: key.fingerprint(),
                    account: id,
                    rights: Rights::ALL,
                    cameras: Cameras::All,
                    from: NOW,
                    until: UtcNanos::from_secs(1_800_086_400),
                    weekly: None,
                };
                say(Body::Grant(Box::new(grant)), 1, &[one, three])
            });
            let gone = Revocation { keys: vec![], grants: vec![grants[0]], reason: "shift over".into() };
            say(Body::Revocation(gone), 1, &[two]);
        }
        let seats = keys.into_iter().skip(2).take(2).collect();
        Self { anchor, statements, signatures, seats }
    }

    /// Reads statements as a start does, down to the verified roster.
    fn read(&self, statements: &[Vec<u8>], vouched: bool) -> RosterSet {
        let reading = RosterSet::read(self.anchor, statements);
        let used = reading.snapshot.is_some_and(|outcome| outcome.is_ok());
        assert!(reading.left_out.is_empty() && used == vouched, "a genuine history");
        assert_eq!(reading.set.verify(NOW).len(), statements.len() as u64, "all of it");
        reading.set
    }

    /// All statements, and a snapshot of them that k seats signed.
    fn under_snapshot(&self, set: &RosterSet) -> Vec<Vec<u8>> {
        let body = Body::Snapshot(set.snapshot());
        let proposal = Proposal::new(VM, body, NOW, Nonce([0xff; 16]), 1).expect("a snapshot");
        let sign = |s: Statement, key: &KeyPair| s.sign(key.signing(), key.fingerprint());
        let snapshot = self.seats.iter().fold(Statement::unsigned(proposal), sign).to_bytes();
        self.statements.iter().cloned().chain([snapshot]).collect()
    }
}

/// `wrap.per_second`: E wrapped to people, as keeper does it.
pub(crate) fn wraps() -> Vec<Measure> {
    const COUNT: usize = 200;
    let person = KeyPair::generate(&mut rng::system());
    let (e, x) = (EpochSecret::generate(&mut rng::system()), XSecret::generate(&mut rng::system()));
    let context = EpochContext {
        suite: SUITE,
        vm: VM,
        camera: CameraId([2; 16]),
        epoch: EpochNo(1),
        starts: NOW,
        ends: UtcNanos::from_secs(1_800_000_900),
        roster_head: Hash([3; 32]),
        roster_len: 10,
        commit_e: e.commit(),
        commit_x: x.commit(),
        commit_k: Hash([4; 32]),
        threshold: 2,
        seats: 3,
    };
    let mut rng = rng::system();
    let ours = best(|| {
        (0..COUNT).for_each(|_| drop(wrap_epoch(&mut rng, &e, &context, person.public()).expect("a fresh key")));
    });
    let raw = best(|| {
        (0..COUNT)
            .for_each(|_| drop(hpke_seal(&mut rng, person.public(), b"", b"", e.as_bytes()).expect("a fresh key")));
    });
    vec![rate("wrap.per_second", COUNT, ours, raw, "baseline: HPKE MLKEM1024-P384 sealing alone, one core")]
}

/// `auth.proof_verify`: proofs that scribe checks in a second, each read from its header.
pub(crate) fn proofs() -> Vec<Measure> {
    const COUNT: usize = 1_000;
    let user = KeyPair::generate(&mut rng::system());
    let key = SessionKey::generate(&mut rng::system());
    let certificate = SignedCertificate::issue(VM, &user, key.public(), NOW, UtcNanos::from_secs(1_800_003_600), 4);
    let session = certificate.verify(VM, user.public(), NOW).expect("a certificate of our own");
    let request = RequestLine::new("POST", "/v1/segments", &[7; 200]).expect("a request line");
    let (boot, channel) = (BootEpoch(Nonce([3; 16])), ChannelId(Nonce([4; 16])));
    let progress = Progress::new(5, [7, 9], Vec::new());
    let proof = Proof::sign(&mut rng::system(), &key, VM, boot, channel, 21, progress, &request);
    let text = proof.to_text();
    let ours = best(|| {
        for _ in 0..COUNT {
            let proof = Proof::from_text(&text).expect("our own proof");
            proof.check(&session, &request, NOW).expect("a genuine proof");
        }
    });
    let message = [7; 300];
    let signature = key.sign(&mut rng::system(), "bench", &message);
    let public = key.public();
    let raw = best(|| {
        (0..COUNT).for_each(|_| public.verify("bench", &message, &signature).expect("our own signature"));
    });
    vec![rate(
        "auth.proof_verify",
        COUNT,
        ours,
        raw,
        "baseline: an ECDSA P-256 signature alone, its key parsed; one core",
    )]
}

fn rate(name: &str, count: usize, ours: f64, raw: f64, note: &str) -> Measure {
    Measure {
        name: name.into(),
        value: count as f64 / ours,
        unit: "1/s",
        baseline: Some(count as f64 / raw),
        goal: Some(Goal::RatioAtLeast(0.8)),
        note: note.into(),
    }
}

struct Book(Credential);

impl Credentials for Book {
    fn find(&self, _: &str) -> Option<&Credential> {
        Some(&self.0)
    }

    fn spend_recovery(&mut self, _: AccountId) -> Result<bool, NotDurable> {
        Ok(self.0.recovery.take().is_some())
    }
}

/// `auth.login`: milliseconds of both sides for one login: stretching the password, the server's hash, opening the key.
pub(crate) fn login() -> Vec<Measure> {
    const PASSWORD: &str = "a sentence nobody guesses";
    let (pair, device) = (KeyPair::generate(&mut rng::system()), DeviceSecret::from_bytes([4; 16]));
    let hash = Argon2id::STANDARD;
    let stretched =
        Stretched::new(PASSWORD, &device, PasswordParameters::generate(&mut rng::system())).expect("sane parameters");
    let way = Way {
        phc: hash.hash(&stretched.auth_key(), &[1; 16]).expect("a machine with 64 MiB"),
        lane: device.lane_key().commit(),
        wrapped: stretched.wrap(&pair).to_bytes().into(),
    };
    let parameters = *stretched.parameters();
    let mut book = Book(Credential { account: AccountId([1; 16]), parameters, password: way.clone(), recovery: None });
    let door = Door::new(SaltKey::from_bytes([2; 32]), hash.nobody(&mut rng::system()));
    let mut attempts = Attempts::new(AttemptKey::from_bytes([3; 32]));
    let source = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let ours = best(|| {
        let parameters = door.prelogin(&Prelogin { name: "anna".into() }, &book).expect("a name");
        let stretched = Stretched::new(PASSWORD, &device, parameters).expect("sane parameters");
        let request = LoginRequest {
            name: "anna".into(),
            means: Means::Password,
            auth_key: *stretched.auth_key().as_bytes(),
            lane_key: *device.lane_key().as_bytes(),
        };
        let pending = door.begin(&request, Some(source), &book, &mut attempts, NOW).expect("no failure before");
        let compared = pending.run(&hash).expect("a machine with 64 MiB");
        let answer = door.finish(compared, &mut book, &mut attempts).expect("the right password");
        let wrapped = WrappedUserKey::from_bytes(&answer.wrapped).expect("our own wrap");
        let opened = open_stretched(&wrapped, &stretched).expect("our own wrap");
        assert_eq!(opened.fingerprint(), pair.fingerprint());
    });
    let salt = Fingerprint([5; 32]);
    let raw = best(|| {
        let mut out = [0; 64];
        pbkdf2::pbkdf2_hmac::<sha2::Sha512>(PASSWORD.as_bytes(), salt.as_bytes(), PBKDF2_ROUNDS_MIN, &mut out);
        let params = argon2::Params::new(64 * 1024, 3, 1, Some(32)).expect("parameters as Argon2id::STANDARD");
        let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
        let mut tag = [0; 32];
        argon2.hash_password_into(&out[..32], &salt.as_bytes()[..16], &mut tag).expect("a machine with 64 MiB");
        std::hint::black_box(tag);
    });
    let hashing = seconds(|| drop(hash.hash(&stretched.auth_key(), &[1; 16])));
    vec![Measure {
        name: "auth.login".into(),
        value: ours * 1e3,
        unit: "ms",
        baseline: Some(raw * 1e3),
        goal: Some(Goal::RatioAtMost(1.1)),
        note: format!(
            "baseline: PBKDF2-HMAC-SHA-512 with {PBKDF2_ROUNDS_MIN} rounds and Argon2id with 64 MiB and 3 passes, alone; the \
             server's part of it: {:.0} ms",
            hashing * 1e3
        ),
    }]
}
