//! What targets judge against: parameter sets, the vectors of `tests/vectors`, and a small founded roster with fixed keys.
//!
//! Keys are fixed so that a committed corpus of signed things stays genuine. They are of course known to everybody; the
//! point is that the fuzzer cannot sign.

use peri_domain::{AccountId, CameraId, Fingerprint, Hash, Nonce, Right, Rights, Role, UtcNanos, VmId};
use peri_roster::body::{
    Body, CameraAdd, CameraRegister, Cameras, ClaimedBy, Genesis, Grant, NewAccount, Seat, SeatKind, device_identity,
};
use peri_roster::{Anchor, CameraSetup, Proposal, RosterSet, Statement, Trust};
use peri_seal::keys::KeyPair;
use serde_json::Value;
use std::sync::LazyLock;

/// 1920 × 1080, main profile.
pub(crate) const SPS: &[u8] = &[
    0x67, 0x4d, 0x00, 0x29, 0x9a, 0x64, 0x03, 0xc0, 0x11, 0x3f, 0x2c, 0xd4, 0x04, 0x04, 0x05, 0x00, 0x00, 0x03, 0x03,
    0xe8, 0x00, 0x00, 0xea, 0x60, 0x04,
];
/// Belongs to [`SPS`].
pub(crate) const PPS: &[u8] = &[0x68, 0xee, 0x3c, 0x80];

/// The cases of a vector file: (expectation, inputs, outputs).
fn cases(text: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(text).expect("vectors are JSON");
    file["cases"].as_array().expect("cases").clone()
}

/// `tests/vectors/segment.json`.
pub(crate) static SEGMENTS: LazyLock<Vec<Value>> = LazyLock::new(|| cases(include_str!("../../vectors/segment.json")));
/// `tests/vectors/keys.json`.
pub(crate) static KEYS: LazyLock<Vec<Value>> = LazyLock::new(|| cases(include_str!("../../vectors/keys.json")));
/// `tests/vectors/wraps.json`.
pub(crate) static WRAPS: LazyLock<Vec<Value>> = LazyLock::new(|| cases(include_str!("../../vectors/wraps.json")));
/// `tests/vectors/userkey.json`.
pub(crate) static USERKEYS: LazyLock<Vec<Value>> = LazyLock::new(|| cases(include_str!("../../vectors/userkey.json")));

/// Bytes of a hexadecimal field.
pub(crate) fn unhex(value: &Value) -> Vec<u8> {
    let text = value.as_str().expect("hexadecimal text");
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal")).collect()
}

/// Bytes of a hexadecimal field of known length.
pub(crate) fn fixed<const N: usize>(value: &Value) -> [u8; N] {
    unhex(value).try_into().expect("a field of this length")
}

/// The VM of the roster.
pub(crate) const VM: VmId = VmId([9; 16]);
/// When it is judged.
pub(crate) const NOW: UtcNanos = UtcNanos::from_secs(1_800_000_000);

/// Fixed key sets; 0 claims, 1 is the device, 2 to 4 are the seats, 5 administers, 6 may look.
pub(crate) static PAIRS: LazyLock<Vec<KeyPair>> = LazyLock::new(|| {
    (1..=7_u8).map(|i| KeyPair::from_secret_bytes(&[i; 80]).expect("a small scalar is below the order")).collect()
});

fn fingerprint(index: usize) -> Fingerprint {
    PAIRS[index].fingerprint()
}

/// What the roster is rooted in.
pub(crate) fn anchor() -> Anchor {
    Anchor { vm: VM, claim_key: fingerprint(0), provisioning: Hash([7; 32]), device: fingerprint(1) }
}

/// Bodies with the seat set they name and their signers, in order; the last one is never admitted to [`HOUSE`].
fn bodies() -> Vec<(Body, u32, &'static [usize])> {
    let key = |index: usize| PAIRS[index].public().clone();
    let genesis = Genesis {
        provisioning: Hash([7; 32]),
        claim_key: key(0),
        device: key(1),
        image: None,
        k: 2,
        n: 3,
        claimed_by: ClaimedBy::Customer,
    };
    let seat = |index: u8| {
        let key = key(2 + usize::from(index));
        Body::Seat(Box::new(Seat { index, name: format!("seat {index}"), key, kind: SeatKind::Person }))
    };
    let person = |index: usize, role| {
        let id = AccountId([index as u8; 16]);
        Body::Account(Box::new(NewAccount { id, role, name: format!("person {index}"), key: key(index) }))
    };
    let camera = CameraId([1; 16]);
    let setup = CameraSetup {
        name: "door".into(),
        device: device_identity("serial", "1"),
        url: "rtsps://10.0.0.1/stream".into(),
        trust: Trust::Pin(Hash([1; 32])),
        user: "peri".into(),
        sealed_password: vec![1, 2, 3],
    };
    let grant = Grant {
        recipient: fingerprint(6),
        account: AccountId([6; 16]),
        rights: Rights::NONE.with(Right::Live).with(Right::Playback),
        cameras: Cameras::All,
        from: NOW,
        until: UtcNanos::from_secs(1_800_003_600),
        weekly: None,
    };
    vec![
        (Body::Genesis(Box::new(genesis)), 0, &[0]),
        (seat(0), 0, &[0]),
        (seat(1), 0, &[0]),
        (seat(2), 0, &[0]),
        (person(5, Role::Administrator), 1, &[2, 3]),
        (person(6, Role::Viewer), 1, &[5]),
        (Body::CameraAdd(Box::new(CameraAdd { camera, setup, set_up_by: None, beside: None })), 1, &[2, 4]),
        (Body::CameraRegister(CameraRegister { camera }), 1, &[2, 4]),
        (Body::Grant(Box::new(grant)), 1, &[3, 4]),
    ]
}

/// Genuine statements, in order.
pub(crate) static STATEMENTS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let all = bodies().into_iter().enumerate();
    all.map(|(number, (body, seat_set, signers))| {
        let nonce = Nonce([number as u8 + 1; 16]);
        let until = UtcNanos::from_secs(NOW.secs() + 3600);
        let proposal = Proposal::new(VM, body, until, nonce, seat_set).expect("a sane body");
        let sign = |s: Statement, i: &usize| s.sign(PAIRS[*i].signing(), fingerprint(*i));
        signers.iter().fold(Statement::unsigned(proposal), sign).to_bytes()
    })
    .collect()
});

/// A founded roster that holds every genuine statement but the last, a grant.
pub(crate) static HOUSE: LazyLock<RosterSet> = LazyLock::new(|| {
    let mut set = RosterSet::new(anchor());
    let (_, known) = STATEMENTS.split_last().expect("statements");
    known.iter().for_each(|bytes| assert!(set.admit(bytes, NOW).expect("a genuine statement").new));
    set
});
