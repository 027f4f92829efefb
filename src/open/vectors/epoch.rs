//! Vectors of an epoch: K and commitments, shares, wraps, answers with X. What does not belong: fragments.

use super::{Rng, case, context, fixed, hex, unhex, with};
use crate::shares::{JoinError, OpenedShare, join};
use crate::wrap::{WrapOpenError, open_share, open_wrap, open_x};
use peri_domain::{CameraId, EpochNo, Fingerprint, Nonce, VmId};
use peri_seal::canonical;
use peri_seal::keys::KeyPair;
use peri_seal::record::{EpochContext, EpochId};
use peri_seal::secret::{EpochSecret, XSecret, derive_content_key};
use peri_seal::wrap::{Share, Wrap, seal_x, split_epoch, wrap_epoch, wrap_share};
use serde_json::{Value, json};

fn epoch_inputs(e: &EpochSecret, x: &XSecret, id: &EpochId) -> Value {
    json!({
        "e": hex(e.as_bytes()), "x": hex(x.as_bytes()), "vm": id.vm.to_string(), "camera": id.camera.to_string(),
        "epoch": id.epoch.0,
    })
}

pub(super) fn derive() -> Value {
    let mut rng = Rng::new("derive");
    let cases: Vec<_> = [1, 2, u64::MAX >> 12]
        .into_iter()
        .map(|epoch| {
            let (e, x) = (EpochSecret::generate(&mut rng), XSecret::generate(&mut rng));
            let id = EpochId { vm: VmId(rng.bytes()), camera: CameraId(rng.bytes()), epoch: EpochNo(epoch) };
            let k = derive_content_key(&e, &x, &id);
            let outputs = json!({
                "k": hex(k.as_bytes()), "commit_e": e.commit().to_string(), "commit_x": x.commit().to_string(),
                "commit_k": k.commit().to_string(),
            });
            case(&format!("epoch {epoch}"), "good", &epoch_inputs(&e, &x, &id), &outputs)
        })
        .collect();
    json!({
        "about": "K = HKDF-SHA-384(E || X, no salt, 'peri/v1/content-key\\0' || suite u16 || VM || camera || epoch u64), 32 bytes; \
                  commitments SHA-256('peri/v1/commit-e\\0' || E) and so on. Integers big-endian.",
        "cases": cases,
    })
}

pub(super) fn check_derive(case: &Value) -> String {
    let (inputs, outputs) = (&case["inputs"], &case["outputs"]);
    let id = EpochId {
        vm: VmId(fixed(&inputs["vm"])),
        camera: CameraId(fixed(&inputs["camera"])),
        epoch: EpochNo(inputs["epoch"].as_u64().unwrap()),
    };
    let (e, x) = (EpochSecret::from_bytes(fixed(&inputs["e"])), XSecret::from_bytes(fixed(&inputs["x"])));
    let k = derive_content_key(&e, &x, &id);
    assert_eq!(k.as_bytes()[..], unhex(&outputs["k"]));
    for (commitment, name) in [(e.commit(), "commit_e"), (x.commit(), "commit_x"), (k.commit(), "commit_k")] {
        assert_eq!(commitment.to_string(), outputs[name].as_str().unwrap());
    }
    "good".into()
}

/// One share with its origin, as JSON.
fn share_value(share: &Share, id: &EpochId, seat: u8) -> Value {
    json!({
        "index": share.index(), "value": hex(share.value()), "seat": Fingerprint([seat; 32]).to_string(),
        "vm": id.vm.to_string(), "camera": id.camera.to_string(), "epoch": id.epoch.0,
    })
}

pub(super) fn shares() -> Value {
    let mut rng = Rng::new("shares");
    let mut cases = Vec::new();
    for (k, n) in [(2, 3), (3, 5), (1, 2)] {
        let (e, x) = (EpochSecret::generate(&mut rng), XSecret::generate(&mut rng));
        let context = context(&e, &x, k, n);
        let split = split_epoch(&mut rng, &e, k, n).unwrap();
        let all: Vec<_> = split.iter().zip(1..).map(|(share, seat)| share_value(share, &context.id(), seat)).collect();
        let inputs = |shares: &[Value]| json!({ "context": hex(context.to_bytes()), "shares": shares });
        let outputs = json!({ "e": hex(e.as_bytes()) });
        let needed = usize::from(k);
        let mut add = |what: &str, expect: &str, shares: &[Value]| {
            cases.push(case(&format!("{k} of {n}, {what}"), expect, &inputs(shares), &outputs));
        };
        add("first seats", "good", &all[..needed]);
        add("last seats, reversed", "good", &all[all.len() - needed..].iter().rev().cloned().collect::<Vec<_>>());
        add("all seats", "good", &all);
        add("one too few", "too_few", &all[..needed - 1]);
        let changed = |field: &str, value: Value| {
            let mut shares = all[..needed].to_vec();
            shares[0][field] = value;
            shares
        };
        let mut flipped: [u8; 32] = *split[0].value();
        flipped[3] ^= 0x20;
        add("flipped bit", "mixed_shares", &changed("value", hex(flipped).into()));
        add("other epoch", "other_epoch", &changed("epoch", 8.into()));
        add("other camera", "other_camera", &changed("camera", CameraId([9; 16]).to_string().into()));
        add("other VM", "other_vm", &changed("vm", VmId([9; 16]).to_string().into()));
        add("index of no seat", "no_such_index", &changed("index", 17.into()));
        add("one seat twice", "same_seat_twice", &[all[0].clone(), all[0].clone()]);
        if k > 1 {
            let foreign = split_epoch(&mut rng, &EpochSecret::generate(&mut Rng::new("foreign")), k, n).unwrap();
            add("share of another secret", "mixed_shares", &changed("value", hex(foreign[0].value()).into()));
            let mut shares = all[..=needed].to_vec();
            shares[1]["value"] = hex(flipped).into();
            add("one more than needed, one wrong", "wrong_share", &shares);
        }
    }
    json!({
        "about": "Shares: value at x = index of one polynomial per byte of E over GF(256), 0x11b; npm shamir-secret-sharing's \
                  share is value || index. k = 1: the value is E and the index 0. What comes out must match commit_e of the \
                  context (canonical CBOR).",
        "cases": cases,
    })
}

pub(super) fn check_shares(case: &Value) -> String {
    let inputs = &case["inputs"];
    let bytes = unhex(&inputs["context"]);
    let context: EpochContext = canonical::decode("context", &bytes).unwrap();
    let shares: Vec<_> = inputs["shares"]
        .as_array()
        .unwrap()
        .iter()
        .map(|share| {
            let id = EpochId {
                vm: VmId(fixed(&share["vm"])),
                camera: CameraId(fixed(&share["camera"])),
                epoch: EpochNo(share["epoch"].as_u64().unwrap()),
            };
            let index = u8::try_from(share["index"].as_u64().unwrap()).unwrap();
            OpenedShare::new(Share::from_parts(index, fixed(&share["value"])), id, Fingerprint(fixed(&share["seat"])))
        })
        .collect();
    match join(&shares, &context) {
        Ok(e) => {
            assert_eq!(e.as_bytes()[..], unhex(&case["outputs"]["e"]));
            "good"
        }
        Err(JoinError::TooFew { .. }) => "too_few",
        Err(JoinError::SameSeatTwice { .. }) => "same_seat_twice",
        Err(JoinError::OtherVm { .. }) => "other_vm",
        Err(JoinError::OtherCamera { .. }) => "other_camera",
        Err(JoinError::OtherEpoch { .. }) => "other_epoch",
        Err(JoinError::Index { .. }) => "no_such_index",
        Err(JoinError::WrongShare { .. }) => "wrong_share",
        Err(JoinError::Commitment { .. }) => "mixed_shares",
    }
    .into()
}

pub(super) fn wraps() -> Value {
    let mut rng = Rng::new("wraps");
    let (user, other) = (KeyPair::generate(&mut rng), KeyPair::generate(&mut rng));
    let (e, x) = (EpochSecret::generate(&mut rng), XSecret::generate(&mut rng));
    let context = context(&e, &x, 2, 3);
    let share = &split_epoch(&mut rng, &e, 2, 3).unwrap()[1];
    let request = Nonce(rng.bytes());
    let sealed = [
        ("user", hex(canonical::encode(&wrap_epoch(&mut rng, &e, &context, user.public()).unwrap())), e.as_bytes()),
        (
            "share",
            hex(canonical::encode(&wrap_share(&mut rng, share, &context, user.public()).unwrap())),
            share.value(),
        ),
        ("x", hex(seal_x(&mut rng, &x, &context.id(), &request, user.public()).unwrap()), x.as_bytes()),
    ];
    let moved = EpochContext { epoch: context.epoch.next(), ..context.clone() };
    let mut cases = Vec::new();
    for (kind, bytes, secret) in sealed {
        let inputs = json!({
            "kind": kind, "hpke_seed": hex(user.hpke_secret()),
            "sign_scalar": hex(&user.signing().to_secret_bytes()[..]), "context": hex(context.to_bytes()),
            "request": request.to_string(), "sealed": bytes,
        });
        let outputs = json!({ "secret": hex(secret) });
        cases.push(case(kind, "good", &inputs, &outputs));
        let mut flipped = unhex(&inputs["sealed"]);
        let at = flipped.len() - 20;
        flipped[at] ^= 1;
        cases.push(case(
            &format!("{kind}, flipped bit"),
            "does_not_open",
            &with(&inputs, "sealed", hex(flipped).into()),
            &outputs,
        ));
        cases.push(case(
            &format!("{kind}, other epoch"),
            "does_not_open",
            &with(&inputs, "context", hex(moved.to_bytes()).into()),
            &outputs,
        ));
        let foreign = with(&inputs, "hpke_seed", hex(other.hpke_secret()).into());
        let expect = if kind == "x" { "does_not_open" } else { "not_recipient" };
        cases.push(case(&format!("{kind}, other key"), expect, &foreign, &outputs));
        if kind == "x" {
            let again = with(&inputs, "request", Nonce([0; 16]).to_string().into());
            cases.push(case("x, other request", "does_not_open", &again, &outputs));
        }
    }
    json!({
        "about": "HPKE base mode, MLKEM1024-P384, HKDF-SHA-384, AES-256-GCM, empty AAD; sealed = enc (1,665) || ciphertext || tag. \
                  user and share: canonical CBOR [suite, kind, recipient, index, sealed], info 'peri/v1/wrap\\0' || kind || index || \
                  recipient || context; plaintext E, or index || value. x: info 'peri/v1/x-answer\\0' || suite u16 || VM || camera || \
                  epoch u64 || request || recipient.",
        "cases": cases,
    })
}

pub(super) fn check_wraps(case: &Value) -> String {
    let inputs = &case["inputs"];
    let secret = [unhex(&inputs["hpke_seed"]), unhex(&inputs["sign_scalar"])].concat().try_into().unwrap();
    let pair = KeyPair::from_secret_bytes(&secret).unwrap();
    let (context, sealed) = (unhex(&inputs["context"]), unhex(&inputs["sealed"]));
    let context: EpochContext = canonical::decode("context", &context).unwrap();
    let wrap = || canonical::decode::<Wrap>("wrap", &sealed).unwrap();
    let opened = match inputs["kind"].as_str().unwrap() {
        "user" => open_wrap(&pair, &context, &wrap()).map(|e| *e.as_bytes()),
        "share" => open_share(&pair, &context, &wrap()).map(|share| *share.share().value()),
        _ => open_x(&pair, &context, &Nonce(fixed(&inputs["request"])), &sealed).map(|x| *x.as_bytes()),
    };
    match opened {
        Ok(secret) => {
            assert_eq!(secret[..], unhex(&case["outputs"]["secret"]));
            "good"
        }
        Err(WrapOpenError::NotRecipient { .. }) => "not_recipient",
        Err(WrapOpenError::Sealed { .. }) => "does_not_open",
        Err(_) => "other",
    }
    .into()
}
