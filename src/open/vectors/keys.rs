//! Vectors of key sets, signatures, words and stored user keys. What does not belong: epochs and segments.

use super::{Rng, case, fixed, hex, unhex, with};
use crate::userkey;
use peri_domain::Fingerprint;
use peri_seal::keys::{KeyPair, Signature, UserPublic};
use peri_seal::userkey::{DeviceSecret, Method, PasswordParameters, RecoveryCode, Stretched, WrappedUserKey};
use peri_seal::words::words;
use serde_json::{Value, json};

pub(super) fn keys() -> Value {
    let mut cases = Vec::new();
    for name in ["one", "two"] {
        let mut rng = Rng::new(name);
        let pair = KeyPair::generate(&mut rng);
        let message = b"what is signed";
        let signature = pair.signing().sign_with(&mut rng, "vector", message);
        let inputs = json!({
            "hpke_seed": hex(pair.hpke_secret()), "sign_scalar": hex(&pair.signing().to_secret_bytes()[..]),
            "context": "vector", "message": hex(message), "signature": hex(signature.0),
        });
        let outputs = json!({
            "public": hex(pair.public().to_bytes()), "fingerprint": pair.fingerprint().to_string(),
            "words": words(&pair.fingerprint()),
        });
        cases.push(case(name, "good", &inputs, &outputs));
        let mut bad = signature.0;
        bad[60] ^= 1;
        cases.push(case(
            &format!("{name}, signature changed"),
            "wrong_signature",
            &with(&inputs, "signature", hex(bad).into()),
            &outputs,
        ));
        cases.push(case(
            &format!("{name}, message changed"),
            "wrong_signature",
            &with(&inputs, "message", hex(b"what was signed").into()),
            &outputs,
        ));
    }
    for (name, bytes) in [
        ("all zero", [0; 32]),
        ("all one", [0xff; 32]),
        ("rising", core::array::from_fn(|at| u8::try_from(at * 8).unwrap())),
    ] {
        let fingerprint = Fingerprint(bytes);
        let inputs = json!({ "fingerprint": fingerprint.to_string() });
        cases.push(case(&format!("words, {name}"), "words", &inputs, &json!({ "words": words(&fingerprint) })));
    }
    json!({
        "about": "Key sets: public = canonical CBOR [1, hpke, sign]; fingerprint = SHA-256('peri/v1/user-public\\0' || public); \
                  signature = ECDSA P-384 SHA-384 (r || s) over 'peri/v1/sign/<context>\\0' || message; words = first 110 bits.",
        "cases": cases,
    })
}

pub(super) fn check_keys(case: &Value) -> String {
    let (inputs, outputs) = (&case["inputs"], &case["outputs"]);
    let expected: Vec<&str> = outputs["words"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    if case["expect"] == "words" {
        assert_eq!(words(&Fingerprint(fixed(&inputs["fingerprint"])))[..], expected);
        return "words".into();
    }
    let secret = [unhex(&inputs["hpke_seed"]), unhex(&inputs["sign_scalar"])].concat().try_into().unwrap();
    let pair = KeyPair::from_secret_bytes(&secret).unwrap();
    let public = UserPublic::from_bytes(&unhex(&outputs["public"])).unwrap();
    assert_eq!(*pair.public(), public);
    assert_eq!(public.fingerprint().to_string(), outputs["fingerprint"].as_str().unwrap());
    assert_eq!(words(&public.fingerprint())[..], expected);
    match public.verify("vector", &unhex(&inputs["message"]), &Signature(fixed(&inputs["signature"]))) {
        Ok(()) => "good".into(),
        Err(_) => "wrong_signature".into(),
    }
}

pub(super) fn userkeys() -> Value {
    let mut rng = Rng::new("userkey");
    let pair = KeyPair::generate(&mut rng);
    let device = DeviceSecret::generate(&mut rng);
    let parameters = PasswordParameters::generate(&mut rng);
    let stretched = Stretched::new("Grüße aus Köln", &device, parameters).unwrap();
    let code = RecoveryCode::generate(&mut rng);
    let secret =
        json!({ "secret": hex(&pair.to_secret_bytes()[..]), "auth_key": hex(stretched.auth_key().as_bytes()) });
    let password = json!({
        "password": "Grüße aus Köln", "device_secret": hex(device.as_bytes()), "wrapped": hex(stretched.wrap(&pair).to_bytes()),
    });
    let recovery = json!({ "code": *code.to_text(), "wrapped": hex(code.wrap(&mut rng, &pair).to_bytes()) });
    let mut weak = stretched.wrap(&pair);
    weak.method = Method::Password(PasswordParameters { rounds: 100_000, ..parameters });
    let mut typo = code.to_text().to_string();
    typo.replace_range(0..1, if typo.starts_with('7') { "8" } else { "7" });
    let cases = [
        case("password", "good", &password, &secret),
        case("wrong password", "does_not_open", &with(&password, "password", "grüße aus Köln".into()), &secret),
        case("other device", "does_not_open", &with(&password, "device_secret", hex([0; 16]).into()), &secret),
        case("weakened rounds", "weak_rounds", &with(&password, "wrapped", hex(weak.to_bytes()).into()), &secret),
        case("recovery code", "good", &recovery, &json!({ "secret": hex(&pair.to_secret_bytes()[..]) })),
        case("recovery code, typing error", "bad_code", &with(&recovery, "code", typo.into()), &secret),
        case(
            "other recovery code",
            "does_not_open",
            &with(&recovery, "code", RecoveryCode::from_bytes([5; 16]).to_text().to_string().into()),
            &secret,
        ),
    ];
    json!({
        "about": "Stored user keys: canonical CBOR [1, fingerprint, method, sealed]; method [0, [[rounds, salt]]] or [1, [salt]]; \
                  AES-256-GCM, nonce 0, AAD 'peri/v1/user-key\\0' || canonical [1, fingerprint, method]. ikm = PBKDF2-HMAC-SHA-512 \
                  (64 bytes) || device secret; keys by HKDF-SHA-512, see src/seal/userkey.rs.",
        "cases": cases,
    })
}

pub(super) fn check_userkeys(case: &Value) -> String {
    let (inputs, outputs) = (&case["inputs"], &case["outputs"]);
    let Ok(wrapped) = WrappedUserKey::from_bytes(&unhex(&inputs["wrapped"])) else { return "weak_rounds".into() };
    let opened = if let Some(password) = inputs["password"].as_str() {
        let Method::Password(parameters) = wrapped.method else { panic!("method") };
        let device = DeviceSecret::from_bytes(fixed(&inputs["device_secret"]));
        let stretched = Stretched::new(password, &device, parameters).unwrap();
        if case["expect"] == "good" {
            assert_eq!(stretched.auth_key().as_bytes()[..], unhex(&outputs["auth_key"]));
        }
        userkey::open_stretched(&wrapped, &stretched)
    } else {
        let Ok(code) = RecoveryCode::parse(inputs["code"].as_str().unwrap()) else { return "bad_code".into() };
        userkey::open_with_recovery(&wrapped, &code)
    };
    match opened {
        Ok(pair) => {
            assert_eq!(pair.to_secret_bytes()[..], unhex(&outputs["secret"]));
            "good".into()
        }
        Err(_) => "does_not_open".into(),
    }
}
