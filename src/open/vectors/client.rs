//! Vectors of what clients send: openings of sessions, requests with their proofs, values sealed to the device. What does not
//! belong: what they receive.

use super::{Rng, case, fixed, hex, unhex, with};
use peri_access::proof::{BootEpoch, ChannelId, Progress, Proof, ProofError, Report, Seen};
use peri_access::session::{Opening, Session, SessionError, SessionKey, SessionPublic, SignedCertificate};
use peri_access::wire::{
    Ask, FetchBody, LedgerBody, Method, OpenBody, Request, RosterBody, SpanBody, decode_strict, request_line,
};
use peri_domain::limits::DEVICE_SECRET_BYTES_MAX;
use peri_domain::{Action, CameraId, EpochNo, Fingerprint, Nonce, UtcNanos, VmId, purpose};
use peri_seal::device::{DeviceError, open_on_device, seal_to_device};
use peri_seal::keys::{KeyPair, UserPublic};
use peri_seal::rng;
use serde_json::{Value, json};

const METHODS: [(&str, Method); 7] = [
    ("roster", Method::Roster),
    ("segments", Method::Segments),
    ("open", Method::Open),
    ("fetch", Method::Fetch),
    ("health", Method::Health),
    ("ledger", Method::Ledger),
    ("logout", Method::Logout),
];

const VM: VmId = VmId([0xa1; 16]);
const ISSUED: UtcNanos = UtcNanos::from_secs(1_795_563_000);
const NOT_AFTER: UtcNanos = UtcNanos::from_secs(1_795_566_600);

/// The name of a method in the vectors.
fn name_of(method: Method) -> &'static str {
    METHODS.iter().find(|(_, known)| *known == method).unwrap().0
}

/// Each method's body: what it says, and its bytes.
fn bodies() -> [(Method, &'static str, Value, Vec<u8>); 9] {
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
        (Method::Logout, "", json!({}), bytes(&())),
    ]
}

fn bytes<T: minicbor::Encode<()>>(value: &T) -> Vec<u8> {
    minicbor::to_vec(value).unwrap()
}

/// What a page has said by its fifteenth request: some are answered, one failed, one was a copy.
fn progress(counter: u64) -> Progress {
    if counter < 15 {
        return Progress::new(counter - 1, [], vec![]);
    }
    let reports =
        vec![Report { counter: 3, seen: Seen::Failure }, Report { counter: 5, seen: Seen::Nonce(Nonce([0x77; 16])) }];
    Progress::new(4, [6, 14], reports)
}

/// A request with fixed randomness.
fn sign(rng: &mut Rng, key: &SessionKey, counter: u64, method: Method, body: Vec<u8>) -> Request {
    let (boot, channel) = (BootEpoch(Nonce([0xb0; 16])), ChannelId(Nonce([0xc4; 16])));
    let line = request_line(method, &body).unwrap();
    let proof = Proof::sign(rng, key, VM, boot, channel, counter, progress(counter), &line);
    Request { method, body: body.into(), proof }
}

/// A session of this key at a VM, whoever vouches for it.
fn session_of(vm: VmId, key: SessionPublic) -> Session {
    let who = KeyPair::generate(&mut Rng::new("voucher"));
    let certified = SignedCertificate::issue(vm, &who, key, ISSUED, NOT_AFTER, 1);
    certified.verify(vm, who.public(), ISSUED).unwrap()
}

fn opening_cases(cases: &mut Vec<Value>) {
    let mut rng = Rng::new("opening");
    let (who, other) = (KeyPair::generate(&mut rng), KeyPair::generate(&mut rng));
    let (key, thief) = (SessionKey::generate(&mut rng), SessionKey::generate(&mut rng));
    let nonce = Nonce([0x4e; 16]);
    let mut certified = SignedCertificate::issue(VM, &who, key.public(), ISSUED, NOT_AFTER, 3);
    // The roster key signs with fixed randomness here.
    let encoded = bytes(&certified.certificate);
    certified.signature = who.signing().sign_with(&mut rng, "session-certificate", &encoded);
    let good = Opening::new(&mut rng, certified.clone(), nonce, &key);
    let frame = |opening: &Opening| hex(bytes(&Ask::Open(opening.clone())));
    let inputs = json!({ "vm": VM.to_string(), "public": hex(who.public().to_bytes()), "opening": frame(&good) });
    let outputs = json!({ "issued": ISSUED.0.to_string(), "not_after": NOT_AFTER.0.to_string(), "channels": 3 });
    cases.push(case("opening", "good", &inputs, &outputs));
    let mut wrong = |name: &str, expect: &str, change: &dyn Fn(&mut Opening)| {
        let mut opening = good.clone();
        change(&mut opening);
        cases.push(case(name, expect, &with(&inputs, "opening", frame(&opening).into()), &outputs));
    };
    wrong("opening for another VM", "other_vm", &|o| o.certified.certificate.vm = VmId([9; 16]));
    wrong("opening with another nonce", "wrong_signature", &|o| o.nonce = Nonce([9; 16]));
    wrong("opening of another session key", "wrong_signature", &|o| o.certified.certificate.session = thief.public());
    wrong("opening with more channels", "wrong_signature", &|o| o.certified.certificate.channels = 4);
    wrong("opening for longer", "wrong_signature", &|o| o.certified.certificate.not_after.0 += 1);
    wrong("opening in another name", "wrong_signature", &|o| o.certified.certificate.signer = Fingerprint([9; 32]));
    let stolen = Opening::new(&mut rng, certified, nonce, &thief);
    wrong("opening shown by somebody else", "wrong_signature", &|o| *o = stolen.clone());
    let foreign = with(&inputs, "public", hex(other.public().to_bytes()).into());
    cases.push(case("opening against another roster key", "wrong_signature", &foreign, &outputs));
    let cut = with(&inputs, "opening", frame(&good)[..300].into());
    cases.push(case("opening cut", "bad_encoding", &cut, &outputs));
}

pub(super) fn requests() -> Value {
    let mut rng = Rng::new("request");
    let (key, other) = (SessionKey::generate(&mut rng), SessionKey::generate(&mut rng));
    let session = hex(key.public().0);
    let mut cases = Vec::new();
    opening_cases(&mut cases);
    let (mut first, mut said) = (None, json!({}));
    // The last ones say a lot about those before.
    for ((method, what, body, bytes_of), counter) in bodies().into_iter().zip([1, 2, 3, 4, 5, 6, 7, 8, 15]) {
        let request = sign(&mut rng, &key, counter, method, bytes_of);
        let frame = hex(bytes(&Ask::Request(request.clone())));
        let inputs = json!({ "vm": VM.to_string(), "session": session, "request": frame });
        let outputs = json!({
            "method": name_of(method), "id": request.proof.request_id().to_string(), "counter": counter.to_string(),
            "body": body,
        });
        cases.push(case(format!("{} {what}", name_of(method)).trim(), "good", &inputs, &outputs));
        if first.is_none() {
            (first, said) = (Some((request, inputs)), outputs);
        }
    }
    let (good, inputs) = first.unwrap();
    let frame = |request: Request| hex(bytes(&Ask::Request(request)));
    let with_proof = |change: &dyn Fn(&mut Proof)| {
        let mut request = good.clone();
        change(&mut request.proof);
        request
    };
    for (name, request) in [
        ("other method", Request { method: Method::Ledger, ..good.clone() }),
        ("other body", Request { body: vec![0x81, 0x01].into(), ..good.clone() }),
        ("other channel", with_proof(&|proof| proof.channel = ChannelId(Nonce([9; 16])))),
        ("other counter", with_proof(&|proof| proof.counter = 2)),
        ("other life of the appliance", with_proof(&|proof| proof.boot = BootEpoch(Nonce([9; 16])))),
        ("other session named", with_proof(&|proof| proof.session = other.public().id())),
        ("signature changed", with_proof(&|proof| proof.signature.0[63] ^= 1)),
    ] {
        cases.push(case(name, "wrong_signature", &with(&inputs, "request", frame(request).into()), &said));
    }
    let foreign = with(&inputs, "session", hex(other.public().0).into());
    cases.push(case("other session key", "wrong_signature", &foreign, &said));
    let elsewhere = with(&inputs, "vm", VmId([9; 16]).to_string().into());
    cases.push(case("other VM", "wrong_signature", &elsewhere, &said));
    let whole = frame(good);
    // [4, [[method, body, proof]]]: the method is the byte after three heads and the number of the frame.
    assert_eq!(&whole[..10], "8204818300");
    for (name, form) in [
        ("something follows", format!("{whole}00")),
        ("cut", whole[..whole.len() - 2].to_owned()),
        ("method in a longer form", format!("{}18{}", &whole[..8], &whole[8..])),
        ("unknown method", format!("{}17{}", &whole[..8], &whole[10..])),
        ("array without an end", format!("9f{}ff", &whole[2..])),
    ] {
        cases.push(case(name, "bad_encoding", &with(&inputs, "request", form.into()), &said));
    }
    json!({
        "about": "Clients' frames without their length. opening: canonical CBOR [3, [[[certificate, signature], nonce, possession]]] with \
                  certificate [1, vm, signer, session key, issued, not after, channels], signed by the roster key under \
                  'peri/v1/sign/session-certificate\\0'; possession: by the session key over [certificate, nonce] under \
                  'peri/v1/sign/session-opening\\0'. request: [4, [[method, body, proof]]] with proof [session, channel, counter, [settled, \
                  answered, reports], boot, signature]; signed: [vm, 'POST', '/v1/' + method, SHA-256('peri/v1/request-body\\0' || body), \
                  proof without its signature] under 'peri/v1/sign/proof\\0'. body: what it says, see src/access/wire.rs; times in ns.",
        "cases": cases,
    })
}

fn check_opening(case: &Value) -> String {
    let (inputs, outputs) = (&case["inputs"], &case["outputs"]);
    let Ok(Ask::Open(opening)) = decode_strict::<Ask>(&unhex(&inputs["opening"])) else { return "bad_encoding".into() };
    let vm = inputs["vm"].as_str().unwrap().parse().unwrap();
    let public = UserPublic::from_bytes(&unhex(&inputs["public"])).unwrap();
    match opening.verify(vm, &public, ISSUED) {
        Ok(session) => {
            assert_eq!(session.not_after().0.to_string(), outputs["not_after"]);
            assert_eq!(opening.certified.certificate.issued.0.to_string(), outputs["issued"]);
            assert_eq!(session.channels(), outputs["channels"]);
            "good".into()
        }
        Err(SessionError::OtherVm { .. }) => "other_vm".into(),
        Err(SessionError::OtherSigner { .. } | SessionError::Signature(_) | SessionError::Proof) => {
            "wrong_signature".into()
        }
        Err(error) => error.to_string(),
    }
}

pub(super) fn check_requests(case: &Value) -> String {
    let (inputs, outputs) = (&case["inputs"], &case["outputs"]);
    if inputs["opening"].is_string() {
        return check_opening(case);
    }
    let Ok(Ask::Request(request)) = decode_strict::<Ask>(&unhex(&inputs["request"])) else {
        return "bad_encoding".into();
    };
    let vm = inputs["vm"].as_str().unwrap().parse().unwrap();
    let session = session_of(vm, SessionPublic(fixed(&inputs["session"])));
    let line = request_line(request.method, &request.body).unwrap();
    match request.proof.clone().check(&session, &line, ISSUED) {
        Ok(_) => {}
        Err(ProofError::OtherSession | ProofError::Signature(_)) => return "wrong_signature".into(),
        Err(error) => return error.to_string(),
    }
    assert_eq!(name_of(request.method), outputs["method"]);
    assert_eq!(request.proof.request_id().to_string(), outputs["id"]);
    assert_eq!(request.proof.counter.to_string(), outputs["counter"]);
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
