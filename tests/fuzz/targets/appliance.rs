//! What reaches the appliance's processes: clients' frames, messages between roles, configuration, DNS answers, the spool.

use super::fixture::{PAIRS, VM};
use super::{Input, canonical, folder, reached};
use minicbor::{Decode, Encode};
use peri_access::proof::{BootEpoch, ChannelId, Progress, Proof};
use peri_access::session::{Opening, Session, SessionKey, SignedCertificate};
use peri_access::setting::{NewWay, SignedSetting};
use peri_access::wire::{self, Ask, BirthCertificate, Reply, Request, decode_strict, request_line};
use peri_appliance::config::{self, Config};
use peri_appliance::dns::{self, Answer, Kind};
use peri_appliance::message as msg;
use peri_domain::limits::{CAMERAS_MAX, MESSAGE_MAX, PBKDF2_ROUNDS_MIN};
use peri_domain::{Hash, Nonce, UtcNanos, VmId};
use peri_sandbox::channel::{Channel, Typed};
use peri_sandbox::durable::Dir;
use peri_seal::keys::Signature;
use peri_seal::rng;
use peri_seal::userkey::{AuthKey, DeviceSecret, PasswordParameters, RecoveryCode, Stretched, WrappedUserKey};
use peri_store::spool::{SPOOL_FILE, Spool, Spooled};
use std::net::IpAddr;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

fn strict<T: Encode<()> + for<'b> Decode<'b, ()>>(bytes: &[u8]) -> bool {
    canonical(bytes, |b| decode_strict::<T>(b).ok().and_then(|value| minicbor::to_vec(&value).ok()))
}

const ISSUED: UtcNanos = UtcNanos::from_secs(1_800_000_000);
const METHOD: wire::Method = wire::Method::Health;
const BODY: [u8; 1] = [0x80];

/// The one session that key 6 vouches for, as it was shown, and its one request.
static SHOWN: LazyLock<(Opening, Session, Request)> = LazyLock::new(|| {
    let rng = &mut rng::system();
    let key = SessionKey::generate(rng);
    let until = ISSUED + Duration::from_secs(3600);
    let certified = SignedCertificate::issue(VM, &PAIRS[6], key.public(), ISSUED, until, 1);
    let opening = Opening::new(rng, certified, Nonce([3; 16]), &key);
    let session = opening.verify(VM, PAIRS[6].public(), ISSUED).expect("a good certificate");
    let line = request_line(METHOD, &BODY).expect("a method of ours");
    let (boot, channel) = (BootEpoch(Nonce([5; 16])), ChannelId(Nonce([6; 16])));
    let proof = Proof::sign(rng, &key, VM, boot, channel, 2, Progress::new(1, [], vec![]), &line);
    (opening, session, Request { method: METHOD, body: BODY.to_vec().into(), proof })
});

/// The one opening.
pub(crate) fn opening() -> Opening {
    SHOWN.0.clone()
}

/// Name of the one login.
const LOGIN: &str = "anna@example.org";

/// The one login that key 6 sets, by password and printed code.
pub(crate) fn setting() -> SignedSetting {
    let rng = &mut rng::system();
    let (device, code) = (DeviceSecret::from_bytes([8; 16]), RecoveryCode::from_bytes([9; 16]));
    let parameters = PasswordParameters { rounds: PBKDF2_ROUNDS_MIN, salt: [7; 32] };
    let stretched = Stretched::new("a sentence nobody guesses", &device, parameters).expect("enough rounds");
    let way = |auth_key: &AuthKey, lane, wrapped: WrappedUserKey| NewWay {
        auth_key: *auth_key.as_bytes(),
        lane,
        wrapped: wrapped.to_bytes().into(),
    };
    let password = way(&stretched.auth_key(), device.lane_key().commit(), stretched.wrap(&PAIRS[6]));
    let recovery = way(&code.auth_key(), code.lane_key().commit(), code.wrap(rng, &PAIRS[6]));
    SignedSetting::new(VM, &PAIRS[6], LOGIN, ISSUED, parameters, password, Some(recovery))
}

/// The one request.
pub(crate) fn request() -> Request {
    SHOWN.2.clone()
}

/// The one birth certificate that the device signed.
pub(crate) fn birth() -> BirthCertificate {
    let mut birth = BirthCertificate {
        vm: VM,
        device: PAIRS[1].public().clone(),
        ledger_keys: super::ledger::KEYS.verify_keys().iter().map(ToString::to_string).collect(),
        provisioning: Hash([7; 32]),
        claimed: true,
        roster_head: Hash([8; 32]),
        roster_len: 9,
        notices: vec!["unwitnessed".into()],
        nonce: [4; 32],
        signature: Signature([0; 96]),
        tls: None,
    };
    birth.sign(PAIRS[1].signing());
    birth
}

/// First byte: which type of the wire between clients and the appliance.
pub(crate) fn access(data: &[u8]) {
    let mut input = Input(data);
    let which = input.byte() % 16;
    let bytes = input.0;
    match which {
        0 if strict::<Ask>(bytes) => match decode_strict(bytes) {
            Ok(Ask::Request(request)) => proven(&request),
            Ok(Ask::Open(opening)) => shown(&opening),
            Ok(Ask::Set(signed)) => set(&signed),
            _ => {}
        },
        1 => drop(strict::<Reply>(bytes)),
        2 if strict::<Request>(bytes) => proven(&decode_strict(bytes).expect("accepted before")),
        3 if strict::<BirthCertificate>(bytes) => {
            let found: BirthCertificate = decode_strict(bytes).expect("accepted before");
            if found.device == *PAIRS[1].public() && found.is_genuine(&found.nonce) {
                let bare = |b: BirthCertificate| BirthCertificate { signature: Signature([0; 96]), ..b };
                assert_eq!(bare(found), bare(birth()), "a birth certificate that the device never signed");
            }
        }
        4 => drop(strict::<wire::RosterBody>(bytes)),
        5 => drop(strict::<wire::RosterPage>(bytes)),
        6 => drop(strict::<wire::SpanBody>(bytes)),
        7 => drop(strict::<wire::SegmentsPage>(bytes)),
        8 => drop(strict::<wire::OpenBody>(bytes)),
        9 => drop(strict::<wire::OpenedPage>(bytes)),
        10 => drop(strict::<wire::FetchBody>(bytes)),
        11 => drop(strict::<wire::Health>(bytes)),
        12 => drop(strict::<wire::LedgerBody>(bytes)),
        13 => drop(strict::<wire::LedgerPage>(bytes)),
        14 => drop(strict::<wire::Problem>(bytes)),
        15 => drop(strict::<Nonce>(bytes)),
        _ => {}
    }
}

/// A login that key 6 set: for its own key, here, now, and by the name that it signed.
fn set(found: &SignedSetting) {
    if found.verify(VM, PAIRS[6].public(), ISSUED).is_ok() {
        assert_eq!(found.setting.name, LOGIN, "a login that nobody set");
        assert!(found.verify(VM, PAIRS[5].public(), ISSUED).is_err(), "counts for another key");
        assert!(found.verify(VmId([0x5e; 16]), PAIRS[6].public(), ISSUED).is_err(), "counts for another appliance");
        assert!(found.verify(VM, PAIRS[6].public(), ISSUED + Duration::from_secs(301)).is_err(), "counts for ever");
    }
}

/// Signatures are malleable; nothing that they cover may differ.
fn shown(found: &Opening) {
    if found.verify(VM, PAIRS[6].public(), ISSUED).is_ok() {
        let genuine = opening();
        assert_eq!(
            (&found.certified.certificate, found.nonce),
            (&genuine.certified.certificate, genuine.nonce),
            "an opening that nobody signed"
        );
    }
}

fn proven(found: &Request) {
    let line = request_line(found.method, &found.body).expect("a method of ours");
    if let Ok(genuine) = found.proof.clone().check(&SHOWN.1, &line, ISSUED) {
        let bare = |proof: &Proof| Proof { signature: SHOWN.2.proof.signature, ..proof.clone() };
        assert_eq!(
            (found.method, found.body.as_slice(), bare(genuine.proof())),
            (METHOD, BODY.as_slice(), SHOWN.2.proof.clone()),
            "a request that nobody signed"
        );
    }
}

/// Through a real channel: what the typed end accepts it sends again as the same bytes.
fn through_channel<T: Encode<()> + for<'b> Decode<'b, ()>>(bytes: &[u8]) {
    let accept = |bytes: &[u8]| {
        let (raw, typed) = Channel::pair().expect("a socket pair");
        let mut typed = Typed::<T, T>::new(typed);
        raw.send(bytes, &[]).ok()?;
        let message = typed.recv().ok()?.expect("it was sent");
        typed.send(&message).expect("what was received can be sent");
        let mut buffer = vec![0; MESSAGE_MAX];
        let (len, _) = raw.recv(&mut buffer).expect("the other end lives").expect("it was sent");
        buffer.truncate(len);
        Some(buffer)
    };
    if !bytes.is_empty() && bytes.len() < MESSAGE_MAX {
        canonical(bytes, accept);
    }
}

/// First byte: which direction of which link.
pub(crate) fn messages(data: &[u8]) {
    let mut input = Input(data);
    let which = input.byte() % 11;
    let bytes = input.0;
    match which {
        0 => through_channel::<msg::Order>(bytes),
        1 => through_channel::<msg::Report>(bytes),
        2 => through_channel::<msg::KeeperToScribe>(bytes),
        3 => through_channel::<msg::ScribeToKeeper>(bytes),
        4 => through_channel::<msg::KeeperToRecorder>(bytes),
        5 => through_channel::<msg::RecorderToKeeper>(bytes),
        6 => through_channel::<msg::RecorderToScribe>(bytes),
        7 => through_channel::<msg::ScribeToRecorder>(bytes),
        8 => through_channel::<msg::PortalToScribe>(bytes),
        9 => through_channel::<msg::ScribeToPortal>(bytes),
        _ => {
            strict::<peri_appliance::live::Said>(bytes);
        }
    }
}

/// A configuration that is accepted keeps its bounds, reads the same with comments, and admits no unknown key.
pub(crate) fn config(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else { return };
    let read = |text: &str| Config::parse(text, Path::new("fuzz.toml"));
    let Ok(config) = read(text) else { return };
    reached();
    assert!(config.data.is_absolute() && config.run.is_absolute());
    let most = config::TimingConfig::default();
    let timing = config.timing;
    for (value, most) in [
        (timing.epoch_secs, most.epoch_secs),
        (timing.rekey_secs, most.rekey_secs),
        (timing.retention_secs, most.retention_secs),
    ] {
        assert!((1..=most).contains(&value));
    }
    assert!(config.users.recorder_first >= 1000 && config.users.recorder_count as usize <= CAMERAS_MAX);
    let commented = format!("# a comment\n{text}\n# the end\n");
    assert_eq!(format!("{:?}", read(&commented).expect("a comment changes nothing")), format!("{config:?}"));
    assert!(read(&format!("surely_unknown = 1\n{text}")).is_err(), "an unknown key is accepted");
}

const NAME: &str = "cam.example";

/// A DNS answer: it counts only for its question, and every address stands in it.
pub(crate) fn dns(data: &[u8]) {
    let id = data.first_chunk().map_or(0, |id| u16::from_be_bytes(*id));
    for (kind, other) in [(Kind::V4, Kind::V6), (Kind::V6, Kind::V4)] {
        let Some(answer) = dns::answer(data, NAME, kind, id) else { continue };
        reached();
        assert_eq!(dns::answer(data, "CAM.EXAMPLE.", kind, id).as_ref(), Some(&answer), "case matters");
        for wrong in [
            dns::answer(data, NAME, kind, id ^ 1),
            dns::answer(data, NAME, other, id),
            dns::answer(data, "cam.example.org", kind, id),
        ] {
            assert_eq!(wrong, None, "an answer to another question counts");
        }
        let Answer::Addresses(addresses) = answer else { continue };
        for address in addresses {
            let stands = match address {
                IpAddr::V4(ip) => data.windows(4).any(|w| w == ip.octets()),
                IpAddr::V6(ip) => data.windows(16).any(|w| w == ip.octets()),
            };
            assert!(stands, "{address} came out of nowhere");
        }
    }
}

/// A spool after a power cut: what is read is its good beginning, and opening it again changes nothing more.
pub(crate) fn spool(data: &[u8]) {
    let mended = mended_spool(data);
    for bytes in [data, &mended] {
        let folder = folder("spool");
        std::fs::write(folder.join(SPOOL_FILE), bytes).expect("a file");
        let dir = Dir::open(&folder).expect("our folder");
        let read = |torn: u64| -> Vec<Spooled> {
            let spool = Spool::open(&dir).expect("any content opens");
            assert_eq!(spool.torn_bytes(), torn);
            let events = spool.read().expect("what was opened reads");
            assert_eq!((spool.len(), spool.is_empty()), (events.len(), events.is_empty()));
            events
        };
        let (count, good) = good_frames(bytes);
        if count > 0 {
            reached();
        }
        let events = read((bytes.len() - good) as u64);
        assert_eq!(events.len(), count);
        assert_eq!(std::fs::read(folder.join(SPOOL_FILE)).expect("a file"), bytes[..good]);
        assert_eq!(read(0), events, "opened twice");
        // Written anew event by event it reads the same.
        let mut again = Spool::open(&dir).expect("opened before");
        again.clear().expect("cleared");
        for event in &events {
            again.push(event.run, event.no, core::slice::from_ref(&event.event)).expect("room");
        }
        assert_eq!(again.read().expect("just written"), events);
    }
}

/// The frames whose length and checksum are right and whose event reads: count and bytes.
fn good_frames(bytes: &[u8]) -> (usize, usize) {
    let (mut at, mut count) = (0, 0);
    while let Some(head) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let len = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let crc = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        let Some(payload) = bytes.get(at + 8..at + 8 + len) else { break };
        let parts: Result<(Nonce, u64, minicbor::bytes::ByteVec), _> = minicbor::decode(payload);
        let event = parts.ok().and_then(|(_, _, event)| peri_ledger::Event::from_bytes(&event).ok());
        if crc32c::crc32c(payload) != crc || event.is_none() {
            break;
        }
        at += 8 + len;
        count += 1;
    }
    (count, at)
}

fn mended_spool(bytes: &[u8]) -> Vec<u8> {
    let (mut out, mut at) = (bytes.to_vec(), 0);
    while let Some(head) = out.get(at..).and_then(<[u8]>::first_chunk::<4>) {
        let end = at + 8 + u32::from_le_bytes(*head) as usize;
        let Some(payload) = out.get(at + 8..end) else { break };
        let crc = crc32c::crc32c(payload).to_le_bytes();
        out[at + 4..at + 8].copy_from_slice(&crc);
        at = end;
    }
    out
}
