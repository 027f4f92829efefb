//! A second appliance for tests: one process, no sandbox, no disk; the roster's rules and the cryptography are the real
//! ones.

use crate::conn::{encode, random};
use minicbor::bytes::ByteVec;
use peri_access::decide::{authenticate, open_session};
use peri_access::proof::BootEpoch;
use peri_access::sessions::{Sessions, Verdict};
use peri_access::wire::{
    Ask, BirthCertificate, CHUNK_MAX, CoverageKind, CoverageSpan, FetchBody, Health, LedgerBody, LedgerPage, Method,
    OpenBody, OpenedPage, Problem, Reply, Request, RosterBody, RosterPage, SESSION_UNKNOWN, SealedX, SegmentInfo,
    SegmentsPage, SessionOpened, SpanBody, decode_strict, request_line,
};
use peri_domain::{CameraId, EpochNo, Hash, MediaDuration, Nonce, UtcNanos, VmId};
use peri_ledger::{Chain, EntryType, Event, LedgerKeys, LedgerSigner, origin_of};
use peri_media::fragment::{Fragment, Fragmenter, Kind, Output};
use peri_media::h264::Depacketizer;
use peri_media::rtp::Packet;
use peri_roster::provisioning::Provisioning;
use peri_roster::{Anchor, RosterSet};
use peri_sandbox::clock::{Clock, SystemClock};
use peri_seal::keys::{KeyPair, Signature};
use peri_seal::sealer::{FragmentMeta, Sealer, begin};
use peri_seal::secret::{EpochSecret, XSecret, derive_content_key};
use peri_seal::segment::{FragmentKind, encode_head};
use peri_seal::wrap::{seal_x, wrap_epoch};
use peri_seal::{EpochContext, EpochId, EpochRecord, SUITE, rng};
use std::collections::HashSet;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard};

pub(crate) const VM: VmId = VmId([0x5a; 16]);

/// One fragment of fMP4: its kind, whether it starts with a key picture, its start and length in ticks, its bytes.
pub(crate) struct Piece {
    kind: FragmentKind,
    key: bool,
    start_90k: i64,
    duration: u32,
    bytes: Vec<u8>,
}

struct Segment {
    info: SegmentInfo,
    camera: CameraId,
    x: XSecret,
    file: Vec<u8>,
}

pub(crate) struct State {
    set: RosterSet,
    statements: Vec<ByteVec>,
    nonces: HashSet<Nonce>,
    pub(crate) sessions: Sessions,
    segments: Vec<Segment>,
    entries: Vec<ByteVec>,
    note: String,
    /// Statements at the end that are withheld.
    pub(crate) withheld: usize,
    /// Purposes of disclosures.
    pub(crate) purposes: Vec<String>,
}

pub(crate) struct Appliance {
    pub(crate) device: KeyPair,
    provisioning: Hash,
    ledger_keys: Vec<String>,
    state: Mutex<State>,
}

impl Appliance {
    /// Starts on a socket with the provisioning data of an order.
    pub(crate) fn start(socket: &Path, provisioning: &[u8]) -> Arc<Self> {
        let provisioning = Provisioning::from_bytes(provisioning).unwrap();
        let device = KeyPair::generate(&mut rng::system());
        let anchor = Anchor {
            vm: VM,
            claim_key: provisioning.claim_key.fingerprint(),
            provisioning: provisioning.digest(),
            device: device.fingerprint(),
        };
        let origin = origin_of(VM);
        let keys = LedgerKeys::generate(&origin, &mut rng::system()).unwrap();
        let ledger_keys = keys.verify_keys().iter().map(ToString::to_string).collect();
        let mut signer = LedgerSigner::new(keys, rng::system());
        let events = [Event::new(EntryType::ApplianceStarted, now())];
        let (_, batch) = Chain::new(&origin).seal(&events, &mut signer).unwrap();
        let state = State {
            set: RosterSet::new(anchor),
            statements: vec![],
            nonces: HashSet::new(),
            sessions: Sessions::new(BootEpoch(Nonce(random()))),
            segments: vec![],
            entries: batch.entries.into_iter().map(|entry| ByteVec::from(entry.bytes)).collect(),
            note: batch.note.to_string(),
            withheld: 0,
            purposes: vec![],
        };
        let appliance =
            Arc::new(Self { device, provisioning: provisioning.digest(), ledger_keys, state: Mutex::new(state) });
        let listener = UnixListener::bind(socket).unwrap();
        let shared = Arc::clone(&appliance);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&shared);
                // A client that goes away ends its thread, not the appliance.
                std::thread::spawn(move || shared.serve(stream.unwrap()));
            }
        });
        appliance
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Records one epoch for whoever the roster names; `starts` is the first picture's time.
    pub(crate) fn record(&self, camera: CameraId, epoch: u64, starts: UtcNanos, pieces: &[Piece], complete: bool) {
        let mut state = self.state();
        let roster = state.set.verify(now());
        let (e, x) = (EpochSecret::generate(&mut rng::system()), XSecret::generate(&mut rng::system()));
        let id = EpochId { vm: VM, camera, epoch: EpochNo(epoch) };
        let key = derive_content_key(&e, &x, &id);
        let length: u64 = pieces.iter().map(|piece| u64::from(piece.duration)).sum();
        let ends = starts + core::time::Duration::from_nanos(length * 100_000 / 9);
        let context = EpochContext {
            suite: SUITE,
            vm: VM,
            camera,
            epoch: id.epoch,
            starts,
            ends,
            roster_head: roster.head(),
            roster_len: roster.len(),
            commit_e: e.commit(),
            commit_x: x.commit(),
            commit_k: key.commit(),
            threshold: 2,
            seats: 2,
        };
        let wraps: Vec<_> = roster
            .recipients(camera, starts)
            .unwrap()
            .into_iter()
            .map(|(public, _)| wrap_epoch(&mut rng::system(), &e, &context, public).unwrap())
            .collect();
        let record = EpochRecord::sign(context, &wraps, self.device.signing()).unwrap();
        let mut file = encode_head(&record, &wraps).unwrap();
        let mut sealer = Sealer::new(key, record.hash(), 1, 0).unwrap();
        let origin = pieces.iter().find(|piece| piece.duration > 0).map_or(0, |piece| piece.start_90k);
        for (at, piece) in pieces.iter().enumerate() {
            let since = u64::try_from(piece.start_90k - origin).unwrap_or(0);
            let meta = FragmentMeta {
                kind: piece.kind,
                key: piece.key,
                last: complete && at + 1 == pieces.len(),
                start: starts + core::time::Duration::from_nanos(since * 100_000 / 9),
                duration: MediaDuration(piece.duration),
            };
            let headroom = begin(&mut file);
            file.extend_from_slice(&piece.bytes);
            sealer.seal_in_place(meta, &mut file, headroom).unwrap();
        }
        let bytes = file.len() as u64;
        let info = SegmentInfo { epoch: id.epoch, starts, ends, bytes, running: false, seek: 0 };
        state.segments.push(Segment { info, camera, x, file });
    }

    fn serve(&self, mut stream: UnixStream) {
        let mut length = [0; 4];
        while stream.read_exact(&mut length).is_ok() {
            let mut bytes = vec![0; u32::from_be_bytes(length) as usize];
            stream.read_exact(&mut bytes).unwrap();
            for reply in self.answer(decode_strict(&bytes).unwrap()) {
                let bytes = encode(&reply);
                let framed = [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes.as_slice()].concat();
                if stream.write_all(&framed).is_err() {
                    return;
                }
            }
        }
    }

    fn answer(&self, ask: Ask) -> Vec<Reply> {
        match ask {
            Ask::Hello { nonce } => one(&self.certificate(nonce)),
            Ask::Nonce => {
                let nonce = Nonce(random());
                self.state().nonces.insert(nonce);
                one(&nonce)
            }
            Ask::Submit { statement } => {
                let mut state = self.state();
                match state.set.admit(&statement, now()) {
                    Ok(inserted) => {
                        if inserted.new {
                            state.statements.push(statement);
                        }
                        one(&())
                    }
                    Err(error) => problem(409, "roster-refused", &error.to_string()),
                }
            }
            Ask::Open(opening) => {
                let mut state = self.state();
                let roster = state.set.verify(now());
                let (session, _) = match open_session(&roster, &opening, now()) {
                    Ok(opened) if state.nonces.remove(&opening.nonce) => opened,
                    Ok(_) => return problem(401, "nonce", "stale"),
                    Err(denied) => return problem(401, "not_authenticated", &denied.to_string()),
                };
                state.sessions.admit(&session, now()).unwrap();
                one(&SessionOpened { boot: state.sessions.boot(), now: now() })
            }
            Ask::Request(request) => self.request(&request),
            // How keys come to people is shown against the real appliance (tests/getting_in.rs).
            Ask::Prelogin(_) | Ask::Login(_) | Ask::Set(_) | Ask::Redeem(_) => problem(501, "not-here", "not here"),
        }
    }

    fn certificate(&self, nonce: [u8; 32]) -> BirthCertificate {
        let roster = self.state().set.verify(now());
        let mut certificate = BirthCertificate {
            vm: VM,
            device: self.device.public().clone(),
            ledger_keys: self.ledger_keys.clone(),
            provisioning: self.provisioning,
            claimed: roster.claimed(),
            roster_head: roster.head(),
            roster_len: roster.len(),
            notices: vec!["unwitnessed".into()],
            nonce,
            signature: Signature([0; 96]),
            tls: None,
        };
        certificate.sign(self.device.signing());
        certificate
    }

    fn request(&self, request: &Request) -> Vec<Reply> {
        let mut state = self.state();
        let not_taken = |code: &str| vec![Reply::NotTaken(Problem::new(401, code, "refused", "log in"))];
        let Some(session) = state.sessions.session(request.proof.session, now()).cloned() else {
            return not_taken(SESSION_UNKNOWN);
        };
        let line = request_line(request.method, &request.body).unwrap();
        let Ok(genuine) = request.proof.clone().check(&session, &line, now()) else { return not_taken("proof") };
        let roster = state.set.verify(now());
        let Ok(principal) = authenticate(&roster, &session) else { return not_taken("out-of-office") };
        assert_eq!(
            state.sessions.arrive(&genuine, Nonce(random()), now()),
            Verdict::Execute,
            "our client repeats nothing"
        );
        let public = principal.key().clone();
        let body = request.body.as_slice();
        match request.method {
            Method::Roster => {
                let body: RosterBody = decode_strict(body).unwrap();
                let total = state.statements.len() - state.withheld;
                // One statement a page, so that paging is exercised.
                let page = state.statements[..total].iter().skip(body.after as usize).take(1).cloned().collect();
                one(&RosterPage { statements: page, total: total as u64, head: state.set.mark().head })
            }
            Method::Segments => {
                let body: SpanBody = decode_strict(body).unwrap();
                let fits = |s: &&Segment| s.info.starts < body.until && s.info.ends > body.from;
                let found: Vec<_> = state.segments.iter().filter(|s| s.camera == body.camera).filter(fits).collect();
                let (first, rest) = match found.split_first() {
                    Some((first, rest)) => (vec![first.info], rest),
                    None => (vec![], &[][..]),
                };
                let coverage = found.first().map(|s| CoverageSpan {
                    from: body.from,
                    until: s.info.ends,
                    kind: CoverageKind::Recorded,
                    cause: String::new(),
                });
                // One segment a page.
                let next = rest.first().map(|segment| segment.info.starts);
                let lost = next.is_none().then(|| CoverageSpan {
                    from: found.last().map_or(body.from, |s| s.info.ends),
                    until: body.until,
                    kind: CoverageKind::Lost,
                    cause: "camera unreachable".into(),
                });
                one(&SegmentsPage { segments: first, coverage: coverage.into_iter().chain(lost).collect(), next })
            }
            Method::Open => {
                let body: OpenBody = decode_strict(body).unwrap();
                state.purposes.push(body.purpose.clone());
                let newest = state.segments.iter().map(|s| s.info.epoch).max();
                let epochs = if body.epochs.is_empty() { newest.into_iter().collect() } else { body.epochs };
                let keys = state
                    .segments
                    .iter()
                    .filter(|s| s.camera == body.camera && epochs.contains(&s.info.epoch))
                    .map(|s| {
                        let id = EpochId { vm: VM, camera: s.camera, epoch: s.info.epoch };
                        let sealed =
                            seal_x(&mut rng::system(), &s.x, &id, &request.proof.request_id(), &public).unwrap();
                        SealedX { epoch: s.info.epoch, sealed: sealed.into() }
                    })
                    .collect();
                one(&OpenedPage { keys })
            }
            Method::Fetch => {
                let body: FetchBody = decode_strict(body).unwrap();
                let segment = state.segments.iter().find(|s| s.camera == body.camera && s.info.epoch == body.epoch);
                let Some(segment) = segment else { return problem(404, "no-such-epoch", "not there") };
                let bytes = &segment.file[body.offset as usize..];
                let mut replies = vec![Reply::Stream { length: bytes.len() as u64 }];
                // Small chunks, so that no boundary of chunk and fragment coincides.
                replies.extend(bytes.chunks(CHUNK_MAX.min(1_000)).map(|chunk| Reply::Chunk(chunk.to_vec().into())));
                replies.push(Reply::End);
                replies
            }
            Method::Health => {
                one(&Health { now: now(), cameras: vec![], alarms: vec![], free_bytes: 1, notices: vec![] })
            }
            Method::Offer
            | Method::Invitation
            | Method::Withdraw
            | Method::House
            | Method::Propose
            | Method::Proposals => problem(501, "not-here", "not here"),
            Method::Logout => {
                state.sessions.end(request.proof.session);
                one(&())
            }
            Method::Ledger => {
                let body: LedgerBody = decode_strict(body).unwrap();
                let entries = state.entries.iter().skip(body.from as usize).cloned().collect();
                one(&LedgerPage { entries, size: state.entries.len() as u64, checkpoint: state.note.clone() })
            }
        }
    }
}

pub(crate) fn now() -> UtcNanos {
    SystemClock.utc()
}

fn one<T: minicbor::Encode<()>>(value: &T) -> Vec<Reply> {
    vec![Reply::Answer(encode(value).into())]
}

fn problem(status: u16, code: &str, detail: &str) -> Vec<Reply> {
    vec![Reply::Problem(Problem::new(status, code, "refused", detail))]
}

/// Real H.264 (FFmpeg's test picture, 10 pictures a second, a key picture each second), as our fragments.
pub(crate) fn footage(secs: u32) -> Vec<Piece> {
    let source = format!("testsrc2=size=320x240:rate=10:duration={secs}");
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", &source, "-c:v", "libx264", "-preset", "ultrafast", "-bf", "0"])
        .args(["-g", "10", "-pix_fmt", "yuv420p", "-x264-params", "slices=1:sliced-threads=0", "-f", "h264", "-"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut depacketizer = Depacketizer::new(&[]);
    let mut fragmenter = Fragmenter::new(0);
    let mut out = Pieces::default();
    let mut picture = 0;
    for (at, nal) in nals(&output.stdout).into_iter().enumerate() {
        let slice = matches!(nal[0] & 31, 1 | 5);
        let packet = Packet {
            marker: slice,
            payload_type: 96,
            sequence: at as u16,
            timestamp: picture * 9_000,
            ssrc: 1,
            payload: nal,
        };
        depacketizer.push(&packet, 0, &mut fragmenter.with(&mut out)).unwrap();
        picture += u32::from(slice);
    }
    fragmenter.flush(&mut out);
    out.0
}

#[derive(Default)]
struct Pieces(Vec<Piece>);

impl Output for Pieces {
    fn fragment(&mut self, fragment: Fragment<'_>) {
        self.0.push(Piece {
            kind: match fragment.kind {
                Kind::Init => FragmentKind::Init,
                Kind::Media => FragmentKind::Media,
            },
            key: fragment.key,
            start_90k: fragment.start_90k,
            duration: fragment.duration.0,
            bytes: fragment.bytes().to_vec(),
        });
    }

    fn clock_jumped(&mut self, _: i64, by: i64) {
        panic!("clock jumped by {by}");
    }

    fn failed(&mut self, error: peri_media::fragment::Mp4Error) {
        panic!("{error}");
    }
}

/// NAL units of an Annex B byte stream.
fn nals(stream: &[u8]) -> Vec<&[u8]> {
    let starts: Vec<usize> = stream.windows(3).enumerate().filter(|(_, w)| *w == [0, 0, 1]).map(|(at, _)| at).collect();
    let ends = starts.iter().skip(1).copied().chain([stream.len()]);
    starts
        .iter()
        .zip(ends)
        .map(|(start, end)| {
            let nal = &stream[start + 3..end];
            let zeros = nal.iter().rev().take_while(|byte| **byte == 0).count();
            &nal[..nal.len() - zeros]
        })
        .collect()
}
