//! What the command line reads: files that people hand to each other or keep in their home, and text that they type.

use super::appliance::birth;
use super::fixture::{NOW, PAIRS, USERKEYS, unhex};
use super::{Input, canonical, folder, reached};
use peri_client::commands::invite::Link;
use peri_client::hours;
use peri_client::profile::{Identity, Profile};
use peri_client::request::{KeyRequest, Wanted};
use peri_client::times;
use peri_client::vault::{KeyFile, KeyKind, Vault};
use peri_domain::{AccountId, CameraId, Role, UtcNanos};
use peri_roster::hours::{Minutes, WEEK_MINUTES};
use peri_seal::canonical as cbor;
use peri_seal::userkey::WrappedUserKey;
use std::path::Path;
use std::time::Duration;

/// The identity of the appliance whose device signed [`birth`].
pub(crate) fn identity() -> Identity {
    Identity::new(&birth(), PAIRS[0].fingerprint())
}

/// The one request that key 6 signed.
pub(crate) fn request() -> KeyRequest {
    KeyRequest::new(&PAIRS[6], Wanted::Account { id: AccountId([6; 16]), role: Role::Viewer }, "gate")
}

/// A key file, from its parts as they stand in it.
pub(crate) fn key_file() -> Vec<u8> {
    let wrapped = WrappedUserKey::from_bytes(&unhex(&USERKEYS[0]["inputs"]["wrapped"])).expect("a vector");
    cbor::encode(&(1_u16, KeyKind::Seat, PAIRS[2].public(), NOW, &wrapped, &wrapped))
}

/// First byte modulo 4: identity, profile, key file, request.
pub(crate) fn files(data: &[u8]) {
    let mut input = Input(data);
    let which = input.byte() % 4;
    let bytes = input.0;
    match which {
        0 => pinned(bytes),
        1 => {
            let vault = home();
            canonical(bytes, |b| {
                std::fs::write(vault.path().join("profile"), b).expect("a file");
                Profile::load(&vault).ok().map(|profile| cbor::encode(&profile))
            });
        }
        2 => {
            let vault = home();
            let read = |b: &[u8]| -> Option<KeyFile> {
                std::fs::write(vault.path().join("keys/k"), b).expect("a file");
                vault.key("k").ok()
            };
            let one_form = canonical(bytes, |b| read(b).map(|file| cbor::encode(&file)));
            assert_eq!((read(bytes).is_some(), vault.all().is_ok()), (one_form, one_form));
        }
        _ if canonical(bytes, |b| KeyRequest::from_bytes(b).map(|r| r.to_bytes())) => {
            let (found, genuine) = (KeyRequest::from_bytes(bytes).expect("accepted before"), request());
            let content = |r: &KeyRequest| (r.wanted(), r.name().to_owned(), r.public().clone(), r.words());
            assert_eq!(content(&found), content(&genuine), "a request that nobody signed");
        }
        _ => {}
    }
}

fn home() -> Vault {
    Vault::open(&folder("home")).expect("a home")
}

fn pinned(bytes: &[u8]) {
    let read = |b: &[u8]| Identity::from_bytes(Path::new("fuzz"), b).ok();
    if !canonical(bytes, |b| read(b).map(|identity| identity.to_bytes())) {
        return;
    }
    let (found, genuine) = (read(bytes).expect("accepted before"), identity());
    // People compare words: they are the same only where everything but the ledger's keys is, and those are compared too.
    let with = |claim, ledger_keys: &[String]| {
        let mut changed = found.clone();
        (changed.claim, changed.ledger_keys) = (claim, ledger_keys.to_vec());
        changed
    };
    let same = with(found.claim, &genuine.ledger_keys) == genuine;
    assert_eq!(found.words() == genuine.words(), same, "other words, or the same for another appliance");
    assert_eq!(found.anchor() == genuine.anchor(), same);
    let fits = with(genuine.claim, &found.ledger_keys) == genuine;
    assert_eq!(found.check(&birth()).is_ok(), fits, "the certificate of another appliance fits");
}

/// A time, a length, an id, a link or weekly hours as people type them.
pub(crate) fn typed(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else { return };
    if let Ok(id) = text.parse::<CameraId>() {
        reached();
        assert_eq!(id.to_string(), text.to_ascii_lowercase(), "an id in two forms");
        assert_eq!(CameraId::from_slice(id.as_bytes()), Some(id));
    }
    if let Ok(span) = times::length(text) {
        reached();
        let (number, unit) = text.split_at(text.len() - 1);
        let of = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400), ("w", 604_800)];
        let unit = of.iter().find(|(name, _)| *name == unit).expect("one of five").1;
        assert_eq!(u128::from(span.as_secs()), number.parse::<u128>().expect("digits") * unit);
        assert!(!times::human(span).is_empty());
        for (sign, expected) in [('-', NOW - span), ('+', NOW + span)] {
            assert_eq!(times::parse(&format!("{sign}{text}"), NOW), Ok(expected));
        }
    }
    if let Ok(link) = Link::parse(text) {
        reached();
        let written = link.to_text();
        assert_eq!(Link::parse(&written).expect("written by us").to_text(), written);
    }
    if let Ok(spans) = hours::parse(&[text.to_owned()]) {
        reached();
        let whole = |span: &Minutes| span.from < span.until && span.until <= WEEK_MINUTES;
        assert!(!spans.is_empty() && spans.iter().all(whole), "{spans:?}");
        assert!(spans.windows(2).all(|pair| pair[0].until < pair[1].from), "not in order, or not joined: {spans:?}");
    }
    let Ok(time) = times::parse(text, NOW) else { return };
    reached();
    assert_eq!(times::parse_span(text, "now", NOW).is_ok(), time < NOW);
    if text == "now" || text.starts_with(['-', '+']) {
        return;
    }
    // RFC 3339: the date and clock of a time in UTC stand there; another zone is the same clock, so much off.
    let zone_at = 19 + text[19..].find(['Z', 'z', '+', '-']).expect("a zone");
    let (clock, zone) = text.split_at(zone_at);
    let utc = times::parse(&format!("{clock}Z"), NOW).expect("the same clock in UTC");
    let shown: String = utc.to_string();
    assert!(shown[..10] == clock[..10] && shown[11..19] == clock[11..19], "{text} reads as {shown}");
    assert_eq!(times::parse(&shown, NOW), Ok(UtcNanos(utc.0 - utc.0.rem_euclid(1_000_000))));
    let fraction = format!("{:09}", utc.0.rem_euclid(1_000_000_000));
    let stated = clock[19..].trim_start_matches('.');
    assert!(fraction.starts_with(stated) && fraction[stated.len()..].bytes().all(|digit| digit == b'0'));
    let off = match zone.as_bytes() {
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let digits = [h1, h2, m1, m2].map(|digit| u64::from(digit - b'0'));
            let secs = (digits[0] * 10 + digits[1]) * 3600 + (digits[2] * 10 + digits[3]) * 60;
            (*sign == b'+', Duration::from_secs(secs))
        }
        _ => (true, Duration::ZERO),
    };
    assert!(off.1 < Duration::from_secs(86_400));
    assert_eq!(time, if off.0 { utc - off.1 } else { utc + off.1 });
}
