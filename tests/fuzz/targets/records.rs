//! Keys, records, wraps and stored user keys: one form each, and no signature or seal that nobody made.

use super::fixture::{KEYS, PAIRS, SEGMENTS, USERKEYS, WRAPS, fixed, unhex};
use super::{Input, canonical, reached};
use peri_domain::Nonce;
use peri_open::{userkey as opener, wrap as unwrapper};
use peri_seal::canonical as cbor;
use peri_seal::device::{open_on_device, seal_to_device};
use peri_seal::keys::{KeyPair, Signature, UserPublic};
use peri_seal::record::{EpochContext, EpochRecord};
use peri_seal::segment::{Head, parse_head};
use peri_seal::userkey::{DeviceSecret, Method, RecoveryCode, Stretched, WrappedUserKey};
use peri_seal::wrap::Wrap;
use std::sync::LazyLock;

/// A key set and a signature over the vector's message.
pub(crate) fn keys(data: &[u8]) {
    if canonical(data, |b| UserPublic::from_bytes(b).ok().map(|key| key.to_bytes())) {
        let key = UserPublic::from_bytes(data).expect("accepted before");
        let valid = key.validate().is_ok();
        let rebuilt = UserPublic::from_parts(*key.hpke(), *key.sign());
        assert_eq!((rebuilt.fingerprint(), rebuilt.validate().is_ok()), (key.fingerprint(), valid));
    }
    let (inputs, outputs) = (&KEYS[0]["inputs"], &KEYS[0]["outputs"]);
    if let Some(signature) = data.first_chunk::<96>() {
        let genuine: [u8; 96] = fixed(&inputs["signature"]);
        let key = UserPublic::from_bytes(&unhex(&outputs["public"])).expect("a vector");
        if key.verify("vector", &unhex(&inputs["message"]), &Signature(*signature)).is_ok() {
            // ECDSA is malleable in s alone.
            assert_eq!(signature[..48], genuine[..48], "a signature that nobody made");
        }
    }
    canonical(data, |b| cbor::decode::<Signature>("signature", b).ok().map(|s| cbor::encode(&s)));
}

static HEAD: LazyLock<Head> =
    LazyLock::new(|| parse_head(&unhex(&SEGMENTS[0]["inputs"]["file"])).expect("the vector of a whole segment"));
static DEVICE: LazyLock<UserPublic> =
    LazyLock::new(|| UserPublic::from_bytes(&unhex(&SEGMENTS[0]["inputs"]["device"])).expect("a vector"));

/// The key and context of the vectors of wraps; `kind` user, share or x, always the genuine case.
fn wrap_case(kind: usize) -> (KeyPair, EpochContext, &'static serde_json::Value) {
    let case = WRAPS.iter().filter(|case| case["expect"] == "good").nth(kind).expect("three kinds");
    let inputs = &case["inputs"];
    let secret = [unhex(&inputs["hpke_seed"]), unhex(&inputs["sign_scalar"])].concat();
    let pair = KeyPair::from_secret_bytes(&secret.try_into().expect("80 bytes")).expect("a vector");
    (pair, cbor::decode("context", &unhex(&inputs["context"])).expect("a vector"), case)
}

static CASES: LazyLock<Vec<(KeyPair, EpochContext, &'static serde_json::Value)>> =
    LazyLock::new(|| (0..3).map(wrap_case).collect());

/// First byte: record, context, wrap for a person, wrap for a seat, answer with X.
pub(crate) fn epoch_records(data: &[u8]) {
    let mut input = Input(data);
    let kind = input.byte() % 5;
    let bytes = input.0;
    match kind {
        0 => {
            if canonical(bytes, |b| EpochRecord::from_bytes(b).ok().map(|r| r.to_bytes())) {
                let record = EpochRecord::from_bytes(bytes).expect("accepted before");
                if record.verify(&DEVICE).is_ok() {
                    assert_eq!(record.context, HEAD.record.context, "a record that the device never signed");
                    assert_eq!(record.wraps_hash, HEAD.record.wraps_hash);
                }
            }
        }
        1 => {
            canonical(bytes, |b| cbor::decode::<EpochContext>("context", b).ok().map(|c| c.to_bytes()));
        }
        4 => {
            let (pair, context, case) = &CASES[2];
            let request = Nonce(fixed(&case["inputs"]["request"]));
            if let Ok(x) = unwrapper::open_x(pair, context, &request, bytes) {
                assert_eq!(bytes, unhex(&case["inputs"]["sealed"]), "an answer that nobody sealed");
                assert_eq!(x.as_bytes()[..], unhex(&case["outputs"]["secret"]));
            }
        }
        share_or_user => {
            if !canonical(bytes, |b| cbor::decode::<Wrap>("wrap", b).ok().map(|w| cbor::encode(&w))) {
                return;
            }
            let wrap: Wrap = cbor::decode("wrap", bytes).expect("accepted before");
            let (pair, context, case) = &CASES[usize::from(share_or_user - 2)];
            let opened = match share_or_user {
                2 => unwrapper::open_wrap(pair, context, &wrap).is_ok(),
                _ => unwrapper::open_share(pair, context, &wrap).is_ok(),
            };
            assert!(!opened || wrap.fits(context));
            assert!(!opened || bytes == unhex(&case["inputs"]["sealed"]), "a wrap that nobody sealed");
        }
    }
}

/// The password of the vectors, stretched once: it takes more than half a second.
static STRETCHED: LazyLock<Stretched> = LazyLock::new(|| {
    let inputs = &USERKEYS[0]["inputs"];
    let wrapped = WrappedUserKey::from_bytes(&unhex(&inputs["wrapped"])).expect("a vector");
    let Method::Password(parameters) = wrapped.method else { panic!("a password's vector") };
    let device = DeviceSecret::from_bytes(fixed(&inputs["device_secret"]));
    Stretched::new(inputs["password"].as_str().expect("text"), &device, parameters).expect("a vector")
});

/// A stored user key, or the text of a recovery code.
pub(crate) fn userkey(data: &[u8]) {
    if let Ok(code) = core::str::from_utf8(data).map_err(drop).and_then(|t| RecoveryCode::parse(t).map_err(drop)) {
        let text = code.to_text();
        let again = RecoveryCode::parse(&text).expect("what is printed can be typed");
        assert_eq!(again.as_bytes(), code.as_bytes());
        let noisy: String = text.chars().flat_map(|c| [c.to_ascii_lowercase(), ' ']).collect();
        assert_eq!(RecoveryCode::parse(&noisy).map(|c| *c.as_bytes()).ok(), Some(*code.as_bytes()));
    }
    if !canonical(data, |b| WrappedUserKey::from_bytes(b).ok().map(|w| w.to_bytes())) {
        return;
    }
    let wrapped = WrappedUserKey::from_bytes(data).expect("accepted before");
    let recovery = USERKEYS.iter().find(|case| case["inputs"]["code"].is_string()).expect("a vector with a code");
    let (case, opened) = match wrapped.method {
        Method::Password(_) => (&USERKEYS[0], opener::open_stretched(&wrapped, &STRETCHED)),
        Method::Recovery { .. } => {
            let code = RecoveryCode::parse(recovery["inputs"]["code"].as_str().expect("text")).expect("a vector");
            (recovery, opener::open_with_recovery(&wrapped, &code))
        }
    };
    if let Ok(pair) = opened {
        assert_eq!(data, unhex(&case["inputs"]["wrapped"]), "a stored key that nobody sealed");
        assert_eq!(pair.to_secret_bytes()[..], unhex(&case["outputs"]["secret"]));
    }
}

const PURPOSE: &[u8] = b"camera password 1";
const PASSWORD: &[u8] = b"correct horse";

/// A password as a client seals it to the device.
pub(crate) fn sealed_password() -> Vec<u8> {
    seal_to_device(&mut peri_seal::rng::system(), PAIRS[1].public(), PURPOSE, PASSWORD).expect("a short password")
}

/// A value sealed to the device opens to what was sealed, there, for its purpose, and nowhere else.
pub(crate) fn device_sealed(data: &[u8]) {
    let Ok(opened) = open_on_device(&PAIRS[1], PURPOSE, data) else { return };
    reached();
    assert_eq!(opened.as_slice(), PASSWORD, "a password that nobody sealed");
    assert!(open_on_device(&PAIRS[1], b"camera password 2", data).is_err(), "opens for another purpose");
    assert!(open_on_device(&PAIRS[2], PURPOSE, data).is_err(), "opens on another device");
    for other in [&data[..data.len() - 1], &[data, &[0]].concat()] {
        assert!(open_on_device(&PAIRS[1], PURPOSE, other).is_err(), "opens in another length");
    }
}
