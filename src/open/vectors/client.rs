//! Vectors of what clients send: signed requests, values sealed to the device. What does not belong: what they receive.

use super::{Rng, case, hex, unhex, with};
use peri_access::wire::{
    Ask, FetchBody, LedgerBody, Method, OpenBody, REQUEST_CONTEXT, RosterBody, SignedRequest, SpanBody, decode_strict,
};
use peri_domain::limits::DEVICE_SECRET_BYTES_MAX;
use peri_domain::{Action, CameraId, EpochNo, Nonce, UtcNanos, VmId, purpose};
use peri_seal::device::{DeviceError, open_on_device, seal_to_device};
use peri_seal::digest::hash;
use peri_seal::keys::{KeyPair, Signature, UserPublic};
use peri_seal::rng;
use serde_json::{Value, json};

const METHODS: [(&str, Method); 6] = [
    ("roster", Method::Roster),
    ("segments", Method::Segments),
    ("open", Method::Open),
    ("fetch", Method::Fetch),
    ("health", Method::Health),
    ("ledger", Method::Ledger),
];

/// The name of a method in the vectors.
fn name_of(method: Method) -> &'static str {
    METHODS.iter().find(|(_, known)| *known == method).unwrap().0
}

/// Each method's body: what it says, and its bytes.
fn bodies() -> [(Method, &'static str, Value, Vec<u8>); 8] {
    let camera = CameraId([0xc2; 16]);
    let (from, until) = (UtcNanos::from_secs(1_795_563_000), UtcNanos::from_secs(1_795_563_900));
    let action = Action::PlayBack;
    let span = SpanBody { camera, from, until, action };
    let live = OpenBody { camera, epochs: vec![], action: Action::WatchLive, purpose: String::new() };
    let epochs = vec![EpochNo(7), EpochNo(24), EpochNo(70_000)];
    let open = OpenBody { camera, epochs, action: Action::Export, purpose: "Diebstahl im Lager, Köln".into() };
    let rest = FetchBody { camera, epoch: EpochNo(7), offset: 4_294_967_296, length: None, follow: true, action };
    let part = FetchBody { offset: 2_080, length: Some(65_536), follow: false, ..rest };
    let camera = camera.to_string();
    [
        (Method::Roster, "from the first", json!({ "from": 0 }), bytes(&RosterBody { after: 0 })),
        (
            Method::Segments,
            "of a quarter of an hour",
            json!({
                "camera": camera, "from": from.0.to_string(), "until": until.0.to_string(), "action": "playback",
            }),
            bytes(&span),
        ),
        (
            Method::Open,
            "running epoch",
            json!({ "camera": camera, "epochs": [], "action": "live", "purpose": "" }),
            bytes(&live),
        ),
        (
            Method::Open,
            "past epochs",
            json!({ "camera": camera, "epochs": [7, 24, 70_000], "action": "export", "purpose": open.purpose }),
            bytes(&open),
        ),
        (
            Method::Fetch,
            "to the end and on",
            json!({
                "camera": camera, "epoch": 7, "offset": 4_294_967_296_u64, "length": null, "follow": true, "action": "playback",
            }),
            bytes(&rest),
        ),
        (
            Method::Fetch,
            "a part",
            json!({
                "camera": camera, "epoch": 7, "offset": 2_080, "length": 65_536, "follow": false, "action": "playback",
            }),
            bytes(&part),
        ),
        (Method::Health, "", json!({}), bytes(&())),
        (Method::Ledger, "from a leaf", json!({ "from": 1_000_000 }), bytes(&LedgerBody { from: 1_000_000 })),
    ]
}

fn bytes<T: minicbor::Encode<()>>(value: &T) -> Vec<u8> {
    minicbor::to_vec(value).unwrap()
}

/// As [`SignedRequest::sign`], but with fixed randomness, and written down a second time.
fn sign(rng: &mut Rng, vm: VmId, method: Method, body: Vec<u8>, who: &KeyPair) -> SignedRequest {
    let (nonce, signer) = (Nonce(rng.bytes()), who.fingerprint());
    let signed = minicbor::to_vec((vm, method, hash("request-body", &[&body]), nonce, signer)).unwrap();
    let signature = who.signing().sign_with(rng, REQUEST_CONTEXT, &signed);
    let request = SignedRequest { vm, method, body: body.into(), nonce, signer, signature };
    assert!(request.is_signed_by(who.public()));
    request
}

pub(super) fn requests() -> Value {
    let mut rng = Rng::new("request");
    let (who, other) = (KeyPair::generate(&mut rng), KeyPair::generate(&mut rng));
    let vm = VmId([0xa1; 16]);
    let mut cases = Vec::new();
    let (mut first, mut said) = (None, json!({}));
    for (method, what, body, bytes) in bodies() {
        let request = sign(&mut rng, vm, method, bytes, &who);
        let inputs = json!({
            "public": hex(who.public().to_bytes()), "request": hex(minicbor::to_vec(Ask::Signed(request.clone())).unwrap()),
        });
        let outputs = json!({
            "method": name_of(method), "vm": vm.to_string(), "nonce": request.nonce.to_string(), "body": body,
        });
        cases.push(case(format!("{} {what}", name_of(method)).trim(), "good", &inputs, &outputs));
        if first.is_none() {
            (first, said) = (Some((request, inputs)), outputs);
        }
    }
    let (good, inputs) = first.unwrap();
    let frame = |request: SignedRequest| hex(minicbor::to_vec(Ask::Signed(request)).unwrap());
    let mut signature = good.signature.0;
    signature[95] ^= 1;
    for (name, request) in [
        ("other VM", SignedRequest { vm: VmId([9; 16]), ..good.clone() }),
        ("other method", SignedRequest { method: Method::Ledger, ..good.clone() }),
        ("other body", SignedRequest { body: vec![0x81, 0x01].into(), ..good.clone() }),
        ("other nonce", SignedRequest { nonce: Nonce([9; 16]), ..good.clone() }),
        ("other signer named", SignedRequest { signer: other.fingerprint(), ..good.clone() }),
        ("signature changed", SignedRequest { signature: Signature(signature), ..good.clone() }),
    ] {
        cases.push(case(name, "wrong_signature", &with(&inputs, "request", frame(request).into()), &said));
    }
    let foreign = with(&inputs, "public", hex(other.public().to_bytes()).into());
    cases.push(case("other key", "wrong_signature", &foreign, &said));
    let whole = frame(good);
    // [3, [[vm, method, …]]]: the method is the byte after two heads and the VM with its own head.
    let at = 2 * (4 + 17);
    assert_eq!(&whole[..8], "82038186");
    for (name, form) in [
        ("something follows", format!("{whole}00")),
        ("cut", whole[..whole.len() - 2].to_owned()),
        ("method in a longer form", format!("{}18{}", &whole[..at], &whole[at..])),
        ("unknown method", format!("{}06{}", &whole[..at], &whole[at + 2..])),
        ("array without an end", format!("9f{}ff", &whole[2..])),
    ] {
        cases.push(case(name, "bad_encoding", &with(&inputs, "request", form.into()), &said));
    }
    json!({
        "about": "A client's frame with a signed request, without its length: canonical CBOR [3, [[vm, method, body, nonce, signer, \
                  signature]]]. Signed: canonical [vm, method, SHA-256('peri/v1/request-body\\0' || body), nonce, signer] under \
                  'peri/v1/sign/peri/v1/request\\0'. body: what the body says, see src/access/wire.rs; times in nanoseconds.",
        "cases": cases,
    })
}

pub(super) fn check_requests(case: &Value) -> String {
    let (inputs, outputs) = (&case["inputs"], &case["outputs"]);
    let bytes = unhex(&inputs["request"]);
    let Ok(Ask::Signed(request)) = decode_strict::<Ask>(&bytes) else { return "bad_encoding".into() };
    if !request.is_signed_by(&UserPublic::from_bytes(&unhex(&inputs["public"])).unwrap()) {
        return "wrong_signature".into();
    }
    assert_eq!(name_of(request.method), outputs["method"]);
    assert_eq!(request.vm.to_string(), outputs["vm"]);
    assert_eq!(request.nonce.to_string(), outputs["nonce"]);
    let said = bodies().into_iter().any(|(method, _, said, body)| {
        method == request.method && said == outputs["body"] && body == request.body.as_slice()
    });
    assert!(said, "the body is not what the vector says");
    "good".into()
}

pub(super) fn devices() -> Value {
    let mut rng = Rng::new("device");
    let (device, other) = (KeyPair::generate(&mut rng), KeyPair::generate(&mut rng));
    let label = purpose::camera_password(CameraId([0xc2; 16]));
    let mut sealed = |plaintext: &[u8]| hex(seal_to_device(&mut rng, device.public(), &label, plaintext).unwrap());
    let secret = "admin:Straße 7".as_bytes();
    let inputs = json!({
        "hpke_seed": hex(device.hpke_secret()), "sign_scalar": hex(&device.signing().to_secret_bytes()[..]),
        "purpose": hex(&label), "sealed": sealed(secret),
    });
    let outputs = json!({ "plaintext": hex(secret) });
    let empty = with(&inputs, "sealed", sealed(&[]).into());
    let longest = [7; DEVICE_SECRET_BYTES_MAX];
    let most = with(&inputs, "sealed", sealed(&longest).into());
    let mut flipped = unhex(&inputs["sealed"]);
    let at = flipped.len() - 1;
    flipped[at] ^= 1;
    let moved = hex(purpose::camera_password(CameraId([9; 16])));
    let cases = [
        case("camera password", "good", &inputs, &outputs),
        case("empty", "good", &empty, &json!({ "plaintext": "" })),
        case("the longest", "good", &most, &json!({ "plaintext": hex(longest) })),
        case("one byte too long", "too_long", &inputs, &json!({ "plaintext": hex([7; DEVICE_SECRET_BYTES_MAX + 1]) })),
        case("other camera", "does_not_open", &with(&inputs, "purpose", moved.into()), &outputs),
        case("other device", "does_not_open", &with(&inputs, "hpke_seed", hex(other.hpke_secret()).into()), &outputs),
        case("flipped bit", "does_not_open", &with(&inputs, "sealed", hex(flipped).into()), &outputs),
        case("cut", "does_not_open", &with(&inputs, "sealed", hex([1; 1_680]).into()), &outputs),
    ];
    json!({
        "about": "What a client seals to the device: HPKE as in wraps.json, info 'peri/v1/to-device\\0' || fingerprint of the device, \
                  AAD = purpose (for a camera's password 'camera-password\\0' || camera). too_long: sealing the plaintext is refused.",
        "cases": cases,
    })
}

pub(super) fn check_devices(case: &Value) -> String {
    let (inputs, outputs) = (&case["inputs"], &case["outputs"]);
    let secret = [unhex(&inputs["hpke_seed"]), unhex(&inputs["sign_scalar"])].concat().try_into().unwrap();
    let device = KeyPair::from_secret_bytes(&secret).unwrap();
    let (label, plaintext) = (unhex(&inputs["purpose"]), unhex(&outputs["plaintext"]));
    let again = match seal_to_device(&mut rng::system(), device.public(), &label, &plaintext) {
        Ok(again) => again,
        Err(DeviceError::TooLong { .. }) => return "too_long".into(),
        Err(error) => return error.to_string(),
    };
    assert_eq!(*open_on_device(&device, &label, &again).unwrap(), plaintext);
    match open_on_device(&device, &label, &unhex(&inputs["sealed"])) {
        Ok(opened) => {
            assert_eq!(*opened, plaintext);
            "good".into()
        }
        Err(_) => "does_not_open".into(),
    }
}
