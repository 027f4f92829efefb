//! Seeds: for every target inputs that its parser accepts, from which mutation starts. `scripts/fuzz --seeds` writes them
//! into the corpus; the short run also makes them afresh, so that a changed format shows here and not as a blind target.

use super::appliance::{birth, opening, request, setting};
use super::fixture::{HOUSE, KEYS, PAIRS, PPS, SEGMENTS, SPS, STATEMENTS, USERKEYS, VM, WRAPS, unhex};
use super::ledger::{checkpoint, signed};
use super::{access, client, mp4, tpm};
use minicbor::Encode;
use peri_access::attempts::{AttemptKey, Attempts};
use peri_access::login::{LoginRequest, Means, Prelogin};
use peri_access::onetime::{Holder, OneTimeKey};
use peri_access::wire::{self, Ask, Reply};
use peri_appliance::message as msg;
use peri_client::profile::Profile;
use peri_domain::{AccountId, Action, CameraId, EpochNo, Hash, Nonce, Pseudonym, UtcNanos};
use peri_ledger::{Entry, EntryType, Event, Ledger};
use peri_media::h264::packetize::Packetizer;
use peri_media::rtp::Packet;
use peri_roster::body::{Body, Minutes, Post, PostMember, WeeklyHours};
use peri_roster::{Proposal, Provisioning, Statement};
use peri_sandbox::durable::Dir;
use peri_seal::segment::parse_head;
use peri_store::root::{RootEntry, RootKey, tpm::NV_INDEX_BASE};
use peri_store::segments::TailLeaf;
use peri_store::spool::{SPOOL_FILE, Spool};

macro_rules! dialogues {
    ($($name:literal)*) => { [$(include_bytes!(concat!("../../fixtures/media/", $name, ".txt")).as_slice()),*] };
}

/// Recorded-style dialogues with cameras.
const DIALOGUES: [&[u8]; 12] = dialogues! {
    "absolute_controls_with_queries" "audio_is_left_alone" "challenge_per_request" "content_type_missing"
    "lower_case_headers" "no_control_at_all" "renumbered_channels" "session_with_spaces" "sha256_beats_md5"
    "short_status_line" "stale_nonce" "udp_only"
};

const SDP: &str = "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=x\r\nt=0 0\r\na=control:*\r\nm=audio 0 RTP/AVP 0\r\na=control:track2\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1;sprop-parameter-sets=Z00AKZpkA8ARPyzUBAQFAAADA+gAAOpgBA==,aO48gA==\r\na=control:track1\r\na=framerate:12.5\r\n";

const RTSP: &[u8] = b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 3\r\n\r\nabc$\x00\x00\x04abcdOPTIONS rtsp://c/ RTSP/1.0\ncseq : 4\n\n\r\n$\x01\x00\x00";

const REQUESTS: &[u8] = b"OPTIONS rtsp://c/ RTSP/1.0\r\nCSeq: 1\r\n\r\nDESCRIBE rtsp://c/ RTSP/1.0\r\nCSeq: 2\r\nAuthorization: Digest username=\"user\", realm=\"fuzz\", nonce=\"0123456789\", uri=\"rtsp://c/\", response=\"00\", qop=auth, nc=00000001, cnonce=\"x\"\r\n\r\nSETUP rtsp://c/track1 RTSP/1.0\r\nCSeq: 3\r\nTransport: RTP/AVP/TCP;interleaved=0-1\r\n\r\nPLAY rtsp://c/ RTSP/1.0\r\nCSeq: 4\r\nSession: abc\r\n\r\n";

const CHALLENGES: [&str; 4] = [
    "\0Digest realm=\"c\", nonce=\"1\", Digest realm=\"c\", nonce=\"3\", algorithm=SHA-512-256, qop=\"auth\", opaque=\"o\"",
    "\x01Basic realm=\"c\"",
    "\x05Digest realm=\"a \\\"b\\\" c\", nonce=\"n,1\", algorithm=SHA-256, stale=TRUE, qop=\"auth,auth-int\"",
    "\x02Digest realm=\"c\", nonce=\"2\", algorithm=MD5-sess, userhash=true, qop=auth",
];

const TYPED: [&str; 14] = [
    "now",
    "-10m",
    "+30d",
    "72h",
    "2026-11-24T22:10:00+01:00",
    "2024-02-29t23:59:59.123456789z",
    "2199-12-31 00:00:00-23:59",
    "1970-01-01T00:00:00.5+99:59",
    "2026-11-25T00:30:00+9999999999999999:00",
    "2026-11-25T00:30:00Z01:00",
    "0102030405060708090a0b0c0d0e0f10",
    "peri:enrol/0101010101010101010101010101010101010101010101010101010101010101/0101010101010101010101010101010101010101010101010101010101010101/02020202020202020202020202020202/viewer\
     #BQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUoy8ja",
    "Mon-Fri 08:00-18:00",
    "sat 22:00-06:00",
];

const CAMERA: CameraId = CameraId([1; 16]);
const AT: UtcNanos = UtcNanos(1_800_000_000_000_000_000);

/// The seeds of a target.
#[must_use]
pub(crate) fn seeds(target: &str) -> Vec<Vec<u8>> {
    match target {
        "rtsp_wire" => vec![RTSP.to_vec(), REQUESTS.to_vec()],
        "rtsp_client" => DIALOGUES.iter().map(|dialogue| dialogue.to_vec()).collect(),
        "rtsp_server" => vec![REQUESTS.to_vec()],
        "sdp" => vec![SDP.into(), SDP.replace("\r\n", "\r").into(), SDP.replace("12.5", "29.97").into()],
        "auth" => CHALLENGES.map(|text| text.as_bytes().to_vec()).to_vec(),
        "rtp" => vec![
            vec![
                0xb1, 0xe0, 0, 7, 0, 0, 0, 9, 0, 0, 0, 5, 1, 1, 1, 1, 0xbe, 0xde, 0, 1, 2, 2, 2, 2, b'h', b'i', 0, 2,
            ],
            vec![0x80, 0x60, 0, 1, 0, 0, 0, 9, 0, 0, 0, 5, 0x65],
            vec![0, 0, 1, 0, 0, 2, 0, 0, 2, 0, 0, 5, 0x80, 0, 6, 0, 0xff, 0xff],
        ],
        "rtcp" => vec![rtcp()],
        "sps" => vec![SPS.to_vec(), PPS.to_vec(), unhex(&"6764001facd9405005bb011000000300100000030320f1831960".into())],
        "h264" | "fragment" => [(200, false, 0), (30, true, 0), (1400, true, 0x10)].map(stream).to_vec(),
        "mp4join" => {
            let [init, one, two]: [Vec<u8>; 3] = mp4::good_fragments().try_into().expect("three");
            vec![[&[1][..], &piece(&one), &piece(&two)].concat(), [&[2][..], &piece(&init), &piece(&one)].concat()]
        }
        "segment_scan" | "segment_open" => [0, 1, 6].map(|at: usize| unhex(&SEGMENTS[at]["inputs"]["file"])).to_vec(),
        "fragment_header" => {
            let file = unhex(&SEGMENTS[0]["inputs"]["file"]);
            let at = parse_head(&file).expect("a vector").len;
            vec![file[at..at + 32].to_vec()]
        }
        "keys" => {
            let signature = unhex(&KEYS[0]["inputs"]["signature"]);
            vec![unhex(&KEYS[0]["outputs"]["public"]), [&[0x58, 96][..], &signature].concat(), signature]
        }
        "epoch_records" => {
            let record = parse_head(&unhex(&SEGMENTS[0]["inputs"]["file"])).expect("a vector").record;
            let sealed: Vec<_> = WRAPS.iter().filter(|case| case["expect"] == "good").collect();
            let mut out = vec![tagged(0, record.to_bytes()), tagged(1, record.context.to_bytes())];
            out.extend((2..).zip(sealed).map(|(kind, case)| tagged(kind, unhex(&case["inputs"]["sealed"]))));
            out
        }
        "userkey" => USERKEYS
            .iter()
            .filter(|case| case["expect"] == "good")
            .flat_map(|case| {
                let code = case["inputs"]["code"].as_str().map(|code| code.as_bytes().to_vec());
                [unhex(&case["inputs"]["wrapped"])].into_iter().chain(code)
            })
            .collect(),
        "statement" => {
            // Signed by nobody, so that the oracle need not know them.
            let unsigned = |number: u8, body| {
                let proposal = Proposal::new(VM, body, AT, Nonce([number; 16]), 1).expect("a sane body");
                Statement::unsigned(proposal).to_bytes()
            };
            let (id, key) = (AccountId([0xcc; 16]), PAIRS[0].public().clone());
            let sealed = vec![7; peri_seal::post::POST_SEALED_LEN];
            let members = vec![PostMember { account: AccountId([6; 16]), key: PAIRS[6].fingerprint(), sealed }];
            let post = Body::Post(Box::new(Post { id, serial: 1, name: "desk".into(), key, members }));
            let spans = vec![Minutes { from: 480, until: 1080 }, Minutes { from: 9960, until: 10_080 }];
            let hours = WeeklyHours { zone: "Europe/Berlin".into(), spans };
            let last = STATEMENTS.last().and_then(|bytes| Statement::from_bytes(bytes).ok()).expect("a grant");
            let Body::Grant(mut grant) = last.proposal().body.clone() else { panic!("the last statement is a grant") };
            grant.weekly = Some(hours);
            let more = [unsigned(0xe0, post), unsigned(0xe1, Body::Grant(grant))];
            STATEMENTS.iter().cloned().chain(more).collect()
        }
        "provisioning" => {
            let mut order = Provisioning::new(PAIRS[0].public().clone(), Some(Hash([1; 32])), [1, 2, 3], Nonce([4; 16]));
            order.witnesses.push("w+00000000+AQ==".into());
            vec![order.to_bytes()]
        }
        "snapshot" => {
            let body = Body::Snapshot(HOUSE.snapshot());
            let proposal = Proposal::new(VM, body, AT, Nonce([0xee; 16]), 1).expect("a snapshot");
            let sign = |s: Statement, i: usize| s.sign(PAIRS[i].signing(), PAIRS[i].fingerprint());
            vec![[2, 4].into_iter().fold(Statement::unsigned(proposal), sign).to_bytes()]
        }
        "ledger_entry" => ledger(),
        "note" => {
            let keys = super::ledger::KEYS.verify_keys();
            let texts = [signed().to_string(), checkpoint().to_string()];
            texts.into_iter().chain(keys.iter().map(ToString::to_string)).map(String::into_bytes).collect()
        }
        "access_wire" => access(),
        "messages" => messages(),
        "config" => vec![
            peri_appliance::config::EXAMPLE.into(),
            b"data = '/d'\nrun = '/r'\nprovisioning = '/p'\nroot_store = { tpm = '/t' }\n[dns]\nresolvers = ['::1', '192.0.2.53:54']\n[timing]\nepoch_secs = 7\n".to_vec(),
        ],
        "dns" => dns(),
        "spool" => vec![spool()],
        "tpm" => root_store(),
        "certificate" => vec![access::CERTIFICATE.to_bytes()],
        "proof" => {
            let lines = ["GET /", "POST /v1/x?y"].map(|line| tagged(1, line.into()));
            let proofs = access::PROOFS.iter().chain([&*access::BEYOND]);
            proofs.map(|proof| tagged(0, proof.to_text().into())).chain(lines).collect()
        }
        "invitation" => {
            let links = access::FRAGMENTS.map(|fragment| tagged(0, format!(" #{fragment}").into()));
            let stored = access::stored_invitations().map(|kept| tagged(1, kept));
            links.into_iter().chain(stored).collect()
        }
        "onetime" => {
            // A scalar of zero is no session's key.
            let key = |byte| OneTimeKey::from_bytes([byte; 32]);
            let halves = [Holder::Ready(key(1)), access::holder(1, 0), Holder::Redeeming(key(1), key(0))];
            let halves = halves.map(|holder| tagged(1, holder.to_bytes().to_vec()));
            let steps: [&[u8]; 3] = [&[0x08, 0x80, 0, 0x42, 0x16], &[0x08, 0x0c], &[0x40, 0x08, 0x42, 0]];
            let steps = steps.map(|steps| tagged(2, steps.to_vec()));
            [tagged(0, access::chain().to_bytes())].into_iter().chain(access::stored_chains()).chain(halves).chain(steps).collect()
        }
        "attempts" => vec![
            piece(&access::counted_twice()),
            [piece(&access::stored_attempts()), vec![4, 0x50, 4, 0, 0, 0x85, 9, 0x7f]].concat(),
            [piece(&Attempts::new(AttemptKey::from_bytes([3; 32])).to_bytes()), vec![5, 0, 5, 1, 5, 2, 6, 0x83]].concat(),
        ],
        "device_sealed" => vec![super::records::sealed_password()],
        "client_files" => {
            let profile = Profile { identity: client::identity(), socket: Some("/run/peri.sock".into()) };
            vec![
                tagged(0, client::identity().to_bytes()),
                cbor(1, &profile),
                tagged(2, client::key_file()),
                tagged(3, client::request().to_bytes()),
            ]
        }
        "typed" => TYPED.map(|text| text.as_bytes().to_vec()).to_vec(),
        "xfile" => vec![
            vec![],
            vec![0, 2, 0, 1, 5, 0, 0, 0, 3, 0, 1, 3],
            vec![4, 0, 2, 0, 7, 0, 0, 0],
            vec![2, 0, 9, 1, 1, 2, 0, 0],
        ],
        "leaves" => {
            let leaf = |no| TailLeaf { camera: CAMERA, epoch: EpochNo(no), run: 2, counter: 70, hash: Hash([3; 32]) };
            vec![encoded(&Vec::<TailLeaf>::new()), encoded(&vec![leaf(7), leaf(8)])]
        }
        other => panic!("{other} has no seeds: write some"),
    }
}

fn tagged(kind: u8, bytes: Vec<u8>) -> Vec<u8> {
    [vec![kind], bytes].concat()
}

fn encoded<T: Encode<()>>(value: &T) -> Vec<u8> {
    minicbor::to_vec(value).expect("a Vec takes everything")
}

fn cbor<T: Encode<()>>(kind: u8, value: &T) -> Vec<u8> {
    tagged(kind, encoded(value))
}

fn piece(bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).expect("a short piece");
    [&len.to_be_bytes(), bytes].concat()
}

fn rtcp() -> Vec<u8> {
    let mut out = vec![0x80, 200, 0, 6, 0, 0, 0, 1, 0xe9, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 77];
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&[0x81, 202, 0, 1, 0, 0, 0, 1, 0x81, 203, 0, 1, 0, 0, 0, 1]);
    out
}

/// A short stream as steps: parameter sets, a key picture in two slices, SEI, five further pictures.
fn stream((mtu, aggregate, flags): (usize, bool, u8)) -> Vec<u8> {
    let mut packets = Packetizer { mtu, payload_type: 96, ssrc: 1, sequence: 0, aggregate };
    let mut out = vec![0x91];
    for picture in 0..6_u8 {
        let long: Vec<u8> = (0..60).map(|at| at ^ picture | 1).collect();
        let (key, delta) = ([&[0x65], &long[..]].concat(), [0x41, picture | 1, 7]);
        let sei = [6, 5, 1, picture | 1];
        let units: Vec<&[u8]> = if picture == 0 { vec![SPS, PPS, &sei, &key, &key] } else { vec![&sei, &delta] };
        let mut first = true;
        packets.unit(0, &units, |bytes| {
            let packet = Packet::parse(bytes).expect("our own");
            let step = if core::mem::take(&mut first) { 10 } else { 0 };
            let cut = if step > 0 && picture == 3 { flags } else { 0 };
            out.extend_from_slice(&[u8::from(packet.marker) | cut, step]);
            out.extend_from_slice(&piece(packet.payload));
        });
    }
    out
}

fn event() -> Event {
    Event::new(EntryType::EpochOpened, AT)
        .about(Pseudonym([5; 16]))
        .with_digest(Hash([6; 32]))
        .with_detail(Nonce([7; 16]), &("camera", 3_u8))
}

fn ledger() -> Vec<Vec<u8>> {
    let entry = Entry {
        ledger: Ledger::Technical,
        ledger_seq: 3,
        prev_hash: Hash([1; 32]),
        time: AT,
        kind: EntryType::EpochOpened,
        pseudonym: Some(Pseudonym([5; 16])),
        commitments: vec![Hash([2; 32]), Hash([3; 32])],
    };
    vec![tagged(0, entry.to_bytes()), tagged(1, event().to_bytes())]
}

fn problem() -> wire::Problem {
    wire::Problem::new(404, "not_found", "No such camera", "ask an administrator")
}

fn access() -> Vec<Vec<u8>> {
    let span = wire::SpanBody { camera: CAMERA, from: AT, until: UtcNanos(AT.0 + 1), action: Action::PlayBack };
    let segment = wire::SegmentInfo { epoch: EpochNo(7), starts: AT, ends: AT, bytes: 9, running: true, seek: 4 };
    let lost = wire::CoverageSpan { from: AT, until: AT, kind: wire::CoverageKind::Lost, cause: "no answer".into() };
    let camera = wire::CameraHealth { camera: CAMERA, recorded_until: Some(AT), lost: String::new(), epoch: None };
    vec![
        cbor(0, &Ask::Hello { nonce: [4; 32] }),
        cbor(0, &Ask::Nonce),
        cbor(0, &Ask::Submit { statement: vec![1, 2, 3].into() }),
        cbor(0, &Ask::Open(opening())),
        cbor(0, &Ask::Request(request())),
        cbor(0, &Ask::Prelogin(Prelogin { name: "anna@example.org".into() })),
        cbor(
            0,
            &Ask::Login(LoginRequest {
                name: "anna@example.org".into(),
                means: Means::Recovery,
                auth_key: [1; 32],
                lane_key: [2; 32],
            }),
        ),
        cbor(0, &Ask::Set(setting())),
        cbor(0, &Ask::Redeem(access::ENROLMENTS[0].clone())),
        cbor(1, &Reply::Answer(vec![0xf6].into())),
        cbor(1, &Reply::Problem(problem())),
        cbor(1, &Reply::Stream { length: 70_000 }),
        cbor(1, &Reply::NotTaken(problem().retry_after(7))),
        cbor(1, &Reply::Conflict(wire::Conflict::Copy(Nonce([2; 16])))),
        cbor(2, &request()),
        cbor(3, &birth()),
        cbor(4, &wire::RosterBody { after: 300 }),
        cbor(5, &wire::RosterPage { statements: vec![vec![1].into()], total: 1, head: Hash([2; 32]) }),
        cbor(6, &span),
        cbor(7, &wire::SegmentsPage { segments: vec![segment], coverage: vec![lost], next: Some(AT) }),
        cbor(
            8,
            &wire::OpenBody { camera: CAMERA, epochs: vec![EpochNo(7)], action: Action::Export, purpose: "x".into() },
        ),
        cbor(9, &wire::OpenedPage { keys: vec![wire::SealedX { epoch: EpochNo(7), sealed: vec![1].into() }] }),
        cbor(
            10,
            &wire::FetchBody {
                camera: CAMERA,
                epoch: EpochNo(7),
                offset: 5,
                length: Some(9),
                follow: true,
                action: Action::WatchLive,
            },
        ),
        cbor(11, &wire::Health { now: AT, cameras: vec![camera], alarms: vec![], free_bytes: 1, notices: vec![] }),
        cbor(12, &wire::LedgerBody { from: 3 }),
        cbor(13, &wire::LedgerPage { entries: vec![vec![1].into()], size: 1, checkpoint: checkpoint().to_string() }),
        cbor(14, &problem()),
        cbor(15, &Nonce([3; 16])),
    ]
}

fn messages() -> Vec<Vec<u8>> {
    let handout = msg::EpochHandout {
        epoch: EpochNo(7),
        record_hash: Hash([1; 32]),
        key: msg::SecretBytes([2; 32]),
        run: 1,
        starts: AT,
        ends: UtcNanos(AT.0 + 5),
        head_len: 4_000,
    };
    let setup = msg::CameraSetup { url: "rtsps://c/1".into(), trust: msg::CameraTrust::Pin(Hash([1; 32])) };
    let challenge = peri_media::auth::choose(&CHALLENGES[0][1..], false).expect("a challenge");
    let progress = msg::Progress {
        epoch: EpochNo(7),
        bytes: 9_000,
        run: 1,
        counter: 12,
        tail: Hash([3; 32]),
        from: AT,
        until: UtcNanos(AT.0 + 7),
        keys: vec![(4_000, AT)],
        closed: false,
    };
    let noted = msg::Event::new(EntryType::CameraLost, Some(CAMERA), "no answer");
    let keeper = msg::Start::Keeper { provisioning: vec![1].into(), epoch_secs: 900, need_landlock: true };
    let port = msg::Start::Recorder { camera: CAMERA, resolvers: vec!["::1".into()], port: 322, need_landlock: false };
    let identity = msg::KeeperToScribe::Identity {
        vm: VM,
        device: PAIRS[1].public().clone(),
        provisioning: Hash([7; 32]),
        claim_key: PAIRS[0].fingerprint(),
        statements: 9,
    };
    vec![
        cbor(0, &msg::Order::Start(keeper)),
        cbor(0, &msg::Order::Start(port)),
        cbor(0, &msg::Order::Link(msg::Peer::Recorder(CAMERA))),
        cbor(0, &msg::Order::Record(noted.clone())),
        cbor(1, &msg::Report::Ready { landlock_abi: 4 }),
        cbor(1, &msg::Report::Cameras(vec![(CAMERA, 322)])),
        cbor(2, &identity),
        cbor(2, &msg::KeeperToScribe::Submitted { id: 3, refused: Some(problem()) }),
        cbor(2, &msg::KeeperToScribe::Opened { camera: CAMERA, record: vec![1].into(), head_len: 9 }),
        cbor(3, &msg::ScribeToKeeper::Prepared { camera: CAMERA, epoch: EpochNo(7), x: msg::SecretBytes([9; 32]) }),
        cbor(3, &msg::ScribeToKeeper::Submit { id: 3, statement: vec![1, 2].into() }),
        cbor(4, &msg::KeeperToRecorder::Epoch(handout)),
        cbor(4, &msg::KeeperToRecorder::Camera(setup)),
        cbor(5, &msg::RecorderToKeeper::NeedsAuth(msg::AuthQuestion { challenge, tls: true })),
        cbor(5, &msg::RecorderToKeeper::Again { epoch: EpochNo(7), damaged: true }),
        cbor(6, &msg::RecorderToScribe::Progress(progress)),
        cbor(6, &msg::RecorderToScribe::Lost { since: AT, until: AT, cause: "no answer".into() }),
        cbor(7, &msg::ScribeToRecorder::Room),
        cbor(8, &msg::PortalToScribe::Ask { id: 1, ask: Box::new(Ask::Nonce), source: None }),
        cbor(8, &msg::PortalToScribe::SignHandshake { id: 2, transcript: vec![1; 48].into() }),
        cbor(10, &peri_appliance::live::Said::Stop { stream: 1 }),
        cbor(10, &peri_appliance::live::Said::Start { stream: 2, frame: vec![0x80].into() }),
        cbor(9, &msg::ScribeToPortal::Answer { id: 1, body: vec![0xf6].into() }),
        cbor(9, &msg::ScribeToPortal::NotTaken { id: 1, problem: problem() }),
        cbor(9, &msg::ScribeToPortal::Conflict { id: 1, conflict: wire::Conflict::GivenUp }),
        cbor(9, &msg::ScribeToPortal::Stream { id: 1, offset: 2, end: 3, follow_until: Some(AT) }),
    ]
}

/// Answers with an address, an alias to one, an IPv6 address, and none at all.
fn dns() -> Vec<Vec<u8>> {
    let answer = |kind: u8, rcode: u8, records: &[&[u8]]| {
        let mut out = vec![0, 7, 0x81, 0x80 | rcode, 0, 1, 0, records.len() as u8, 0, 0, 0, 0];
        out.extend_from_slice(b"\x03cam\x07example\x00\x00");
        out.extend_from_slice(&[kind, 0, 1]);
        records.iter().for_each(|record| out.extend_from_slice(record));
        out
    };
    // Each name is a pointer to the question's; the alias points to a name of its own.
    let v4: &[u8] = &[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 7];
    let alias: &[u8] = b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x06\x04real\x00";
    let real: &[u8] = b"\x04real\x00\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x09";
    let v6: &[u8] = b"\xc0\x0c\x00\x1c\x00\x01\x00\x00\x00\x3c\x00\x10\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07";
    vec![answer(1, 0, &[v4]), answer(1, 0, &[alias, real]), answer(28, 0, &[v6]), answer(1, 3, &[])]
}

fn spool() -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut spool = Spool::open(&Dir::open(folder.path()).expect("a folder")).expect("an empty spool");
    let events = [event(), Event::new(EntryType::StoreGap, AT)];
    spool.push(Nonce([1; 16]), 41, &events).expect("room");
    std::fs::read(folder.path().join(SPOOL_FILE)).expect("the spool")
}

/// A TPM that has both indices, one with a root and one never written; and one that refuses.
fn root_store() -> Vec<Vec<u8>> {
    let public = |index: u32| {
        let mut area = Vec::new();
        area.extend_from_slice(&index.to_be_bytes());
        area.extend_from_slice(&[0, 0x0b, 0x22, 0x02, 0, 0x02, 0, 0, 0, 64]);
        let name = [&[0, 34, 0, 0x0b][..], &[0xaa; 32]].concat();
        tpm::answer(0, &[piece(&area), name].concat())
    };
    let entry = RootEntry { generation: 5, key: RootKey::generate().expect("random bytes") };
    let data = piece(&entry.encode()[..]);
    let parameters = (data.len() as u32).to_be_bytes();
    let mut read = tpm::answer(0, &[&parameters, &data[..], &[0, 0, 1, 0, 0]].concat());
    read[1] = 2;
    let both = [public(NV_INDEX_BASE), public(NV_INDEX_BASE + 1)];
    let unwritten = tpm::answer(0x14a, &[]);
    let good: Vec<u8> = both.iter().chain([&read, &unwritten]).flat_map(|answer| piece(answer)).collect();
    let refused = [tpm::answer(0x18b, &[]), tpm::answer(0x14b, &[])].iter().flat_map(|a| piece(a)).collect();
    vec![tagged(1, good), tagged(1, refused), tagged(0, piece(b"HTTP/1.1 400 Bad Request"))]
}
