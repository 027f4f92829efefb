//! Logins with a counting hash: who gets the wrapped key, what costs a hash, what tells a stranger nothing.

use super::*;
use crate::attempts::AttemptKey;
use core::cell::Cell;
use peri_domain::UtcNanos;
use peri_seal::rng;
use peri_seal::userkey::{DeviceSecret, RecoveryCode};
use std::collections::HashMap;

const HERE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));
const THERE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 1)));

/// Compares in clear and counts.
#[derive(Default)]
struct Counting(Cell<u32>);

impl KeyHash for Counting {
    fn hash(&self, key: &AuthKey, _: &[u8; 16]) -> Result<String, HashError> {
        Ok(format!("{:?}", key.as_bytes()))
    }

    fn verify(&self, key: &AuthKey, phc: &str) -> Result<bool, HashError> {
        self.0.set(self.0.get() + 1);
        Ok(format!("{:?}", key.as_bytes()) == phc)
    }
}

struct Book {
    accounts: HashMap<String, Credential>,
    durable: bool,
}

impl Credentials for Book {
    fn find(&self, name: &str) -> Option<&Credential> {
        self.accounts.get(name)
    }

    fn spend_recovery(&mut self, account: AccountId) -> Result<bool, NotDurable> {
        if !self.durable {
            return Err(NotDurable);
        }
        let found = self.accounts.values_mut().find(|credential| credential.account == account);
        Ok(found.is_some_and(|credential| credential.recovery.take().is_some()))
    }
}

struct World {
    hash: Counting,
    door: Door,
    attempts: Attempts,
    book: Book,
}

fn device() -> DeviceSecret {
    DeviceSecret::from_bytes([4; 16])
}

fn code() -> RecoveryCode {
    RecoveryCode::from_bytes([5; 16])
}

fn world() -> World {
    let hash = Counting::default();
    let way = |key: &AuthKey, lane: LaneKey, wrapped: &[u8]| Way {
        phc: hash.hash(key, &[0; 16]).unwrap(),
        lane: lane.commit(),
        wrapped: wrapped.to_vec().into(),
    };
    let anna = Credential {
        account: AccountId([1; 16]),
        parameters: PasswordParameters::generate(&mut rng::system()),
        password: way(&AuthKey::from_bytes([1; 32]), device().lane_key(), b"by password"),
        recovery: Some(way(&code().auth_key(), code().lane_key(), b"by code")),
    };
    let door = Door::new(SaltKey::from_bytes([2; 32]), "nobody".into());
    let book = Book { accounts: HashMap::from([("anna".into(), anna)]), durable: true };
    World { hash, door, attempts: Attempts::new(AttemptKey::from_bytes([3; 32])), book }
}

fn at(secs: i64) -> UtcNanos {
    UtcNanos::from_secs(1_700_000_000 + secs)
}

fn password(name: &str, auth_key: u8, lane: Option<LaneKey>) -> LoginRequest {
    let lane_key = lane.map_or([0; 32], |lane| *lane.as_bytes());
    LoginRequest { name: name.into(), means: Means::Password, auth_key: [auth_key; 32], lane_key }
}

fn recovery() -> LoginRequest {
    let (auth_key, lane_key) = (*code().auth_key().as_bytes(), *code().lane_key().as_bytes());
    LoginRequest { name: "anna".into(), means: Means::Recovery, auth_key, lane_key }
}

impl World {
    fn login(&mut self, request: &LoginRequest, source: Option<IpAddr>, now: i64) -> Result<LoggedIn, LoginError> {
        let pending = self.door.begin(request, source, &self.book, &mut self.attempts, at(now))?;
        let compared = pending.run(&self.hash)?;
        self.door.finish(compared, &mut self.book, &mut self.attempts)
    }
}

#[test]
fn the_wrapped_key_is_for_the_right_auth_key_only() {
    let mut world = world();
    assert_eq!(world.login(&password("anna", 9, None), HERE, 0), Err(LoginError::Wrong));
    assert_eq!(world.login(&password("anna", 9, Some(device().lane_key())), HERE, 0), Err(LoginError::Wrong));
    let inside = world.login(&password("anna", 1, Some(device().lane_key())), HERE, 100).unwrap();
    assert_eq!((inside.account, inside.wrapped.as_slice()), (AccountId([1; 16]), b"by password".as_slice()));
    assert_eq!(world.login(&password("anna", 1, None), THERE, 200).unwrap().wrapped, b"by password");
    assert!(matches!(world.login(&password("", 1, None), HERE, 300), Err(LoginError::Name { found: 0 })));
    assert!(matches!(world.login(&password(&"x".repeat(255), 1, None), HERE, 300), Err(LoginError::Name { .. })));
}

#[test]
fn an_early_attempt_touches_no_hash_even_with_the_right_password() {
    let mut world = world();
    assert_eq!(world.login(&password("anna", 9, None), HERE, 0), Err(LoginError::Wrong));
    let hashes = world.hash.0.get();
    let early = world.login(&password("anna", 1, None), THERE, 0).unwrap_err();
    assert_eq!(early, LoginError::TooEarly(TooEarly { retry_after_s: 1 }));
    assert_eq!(world.hash.0.get(), hashes);
    // And 10,000 at once, none of which has ended.
    let all = (0..10_000).filter(|_| {
        world.door.begin(&password("anna", 9, None), HERE, &world.book, &mut world.attempts, at(50)).is_ok()
    });
    assert_eq!(all.count(), 1);
}

#[test]
fn an_unknown_name_looks_like_a_known_one() {
    let mut world = world();
    let ask = |name: &str| world.door.prelogin(&Prelogin { name: name.into() }, &world.book).unwrap();
    assert_eq!(ask("nobody"), ask("nobody"));
    assert!(ask("nobody").salt != ask("nobody2").salt && ask("nobody").rounds == ask("anna").rounds);
    // The hash of the key that unknown names are compared with opens nothing either.
    for (now, name) in [(0, "anna"), (100, "nobody")] {
        let before = world.hash.0.get();
        let source = if name == "anna" { HERE } else { THERE };
        assert_eq!(world.login(&password(name, 9, None), source, now), Err(LoginError::Wrong));
        assert_eq!(world.hash.0.get(), before + 1);
        let early = world.login(&password(name, 9, None), source, now).unwrap_err();
        assert_eq!(early, LoginError::TooEarly(TooEarly { retry_after_s: 1 }));
    }
}

#[test]
fn strangers_cannot_keep_a_known_device_or_the_printed_code_out() {
    let mut world = world();
    for n in 0..100 {
        let _ = world.login(&password("anna", 9, None), HERE, 3_600 * n);
    }
    let now = 3_600 * 99;
    assert!(matches!(world.login(&password("anna", 1, None), HERE, now), Err(LoginError::TooEarly(_))));
    assert!(world.login(&password("anna", 1, Some(device().lane_key())), HERE, now).is_ok());
    assert!(world.login(&recovery(), HERE, now).is_ok());
    // The device secret of one person is no lane to another's name.
    assert!(matches!(
        world.login(&password("nobody", 1, Some(device().lane_key())), HERE, now),
        Err(LoginError::TooEarly(_))
    ));
}

#[test]
fn a_recovery_code_works_once_and_only_when_that_is_durable() {
    let mut world = world();
    world.book.durable = false;
    assert_eq!(world.login(&recovery(), HERE, 0), Err(LoginError::NotDurable(NotDurable)));
    world.book.durable = true;
    // Two at once: both hashes were right, one gets the key.
    let begin = |world: &mut World, now| {
        world
            .door
            .begin(&recovery(), HERE, &world.book, &mut world.attempts, at(now))
            .unwrap()
            .run(&world.hash)
            .unwrap()
    };
    let (one, two) = (begin(&mut world, 10), begin(&mut world, 100));
    assert_eq!(world.door.finish(one, &mut world.book, &mut world.attempts).unwrap().wrapped, b"by code");
    assert_eq!(world.door.finish(two, &mut world.book, &mut world.attempts), Err(LoginError::Wrong));
    assert_eq!(world.login(&recovery(), HERE, 10_000), Err(LoginError::Wrong));
    assert!(world.login(&password("anna", 1, None), THERE, 10_100).is_ok(), "the password still works");
}

#[test]
fn a_password_changed_meanwhile_is_not_taken() {
    let mut world = world();
    let pending = world.door.begin(&password("anna", 1, None), HERE, &world.book, &mut world.attempts, at(0)).unwrap();
    let compared = pending.run(&world.hash).unwrap();
    world.book.accounts.get_mut("anna").unwrap().password.phc = "changed".into();
    assert_eq!(world.door.finish(compared, &mut world.book, &mut world.attempts), Err(LoginError::Wrong));
}

#[test]
fn argon2id_hashes_are_phc_and_weak_or_ruinous_ones_are_refused() {
    let key = AuthKey::from_bytes([1; 32]);
    let phc = Argon2id::STANDARD.hash(&key, &[2; 16]).unwrap();
    assert!(phc.starts_with("$argon2id$v=19$m=65536,t=3,p=1$"), "{phc}");
    assert_eq!(Argon2id::SMALL.verify(&key, &phc), Ok(true));
    assert_eq!(Argon2id::SMALL.verify(&AuthKey::from_bytes([3; 32]), &phc), Ok(false));
    for (from, to) in [("m=65536", "m=8"), ("m=65536", "m=4194304"), ("t=3", "t=1"), ("t=3", "t=100000")] {
        let changed = phc.replace(from, to);
        assert!(matches!(Argon2id::SMALL.verify(&key, &changed), Err(HashError::Policy { .. })), "{changed}");
    }
    for bad in ["", "x", &phc.replace("argon2id", "argon2i"), &phc.replace("v=19", "v=16"), &phc[..40]] {
        assert_eq!(Argon2id::SMALL.verify(&key, bad), Err(HashError::Form), "{bad}");
    }
    let short: String = phc.rsplit_once('$').map(|(head, tail)| format!("{head}${}", &tail[..24])).unwrap();
    assert!(Argon2id::SMALL.verify(&key, &short).is_err());
}

#[test]
fn the_hash_of_nobody_is_checked_like_any_and_no_key_has_it() {
    let nobody = Argon2id::SMALL.nobody(&mut rng::system());
    let key = AuthKey::from_bytes([1; 32]);
    assert_eq!(Argon2id::SMALL.verify(&key, &nobody), Ok(false));
    let somebody = Argon2id::SMALL.hash(&key, &[2; 16]).unwrap();
    assert_eq!(nobody.len(), somebody.len());
    assert_eq!(nobody[..30], somebody[..30], "algorithm, version and costs");
}
