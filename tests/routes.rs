//! The page's interface, tested from its one table of routes: no session, wrong role, foreign object, entry in the ledger, for
//! every route; and what a listener must not do (T4, T6 to T8, T10).
//!
//! A route that is added to the table is tested by being there; one whose expected answers are not in
//! `tests/golden/routes.txt` fails. `PERI_BLESS=1` writes that file anew. What does not belong: copies of requests
//! (`sessions.rs`), the page itself (`page.rs`).
#![allow(clippy::unwrap_used)]

mod support;

use peri_access::house::{HouseBody, HouseItem, HousePage, ProposalsPage, ProposeBody};
use peri_access::invite::{Invitation, InvitationId};
use peri_access::wire::{
    FetchBody, InvitationBody, LedgerBody, LedgerPage, Method, OpenBody, RosterBody, SpanBody, decode_strict,
};
use peri_appliance::routes::{Handler, ROUTES};
use peri_appliance::{POLICY, live};
use peri_domain::{AccountId, Action, CameraId, EpochNo, Hash, Nonce, Role};
use peri_ledger::Entry;
use peri_roster::Proposal;
use peri_roster::body::{Body, Cameras, Grant, NewAccount};
use peri_seal::keys::KeyPair;
use peri_seal::rng;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::sync::{Mutex, MutexGuard, OnceLock};
use support::https::{Answer, Https, Page, Signed, read_answer};
use support::*;

/// An appliance with a page and one camera nobody reaches; one test at a time.
struct House {
    app: Appliance,
    camera: CameraId,
}

fn house() -> MutexGuard<'static, House> {
    static HOUSE: OnceLock<Mutex<House>> = OnceLock::new();
    let house = HOUSE.get_or_init(|| {
        let app = Appliance::founded(AppConfig { page: true, ..AppConfig::default() });
        app.home.account("mounter", "technician", &["boss"]);
        app.home.account("police", "external", &["boss"]);
        app.home.camera(&CameraSpec {
            name: "gate",
            url: "rtsp://127.0.0.1:9/gate",
            pin: None,
            login: None,
            beside: None,
        });
        let camera = raw::camera(&app, "gate");
        Mutex::new(House { app, camera })
    });
    house.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The people of [`Home::found`] and of this house, and what each stands for.
const PEOPLE: [(&str, &str); 7] = [
    ("administrator", "boss"),
    ("seat", "dpo"),
    ("viewer", "guard"),
    ("external", "police"),
    ("technician", "mounter"),
    ("auditor", "rev"),
    ("claim key", "claim"),
];

/// A body that this method can read, about this camera.
fn body(method: Method, camera: CameraId, key: &KeyPair, vm: peri_domain::VmId) -> Vec<u8> {
    let (from, until) = (now(), now() + secs(1));
    let invitation = Invitation::generate(&mut rng::system());
    let encoded = |value: &dyn Fn() -> Vec<u8>| value();
    match method {
        Method::Roster => minicbor::to_vec(RosterBody { after: 0 }),
        Method::Segments => minicbor::to_vec(SpanBody { camera, from, until, action: Action::PlayBack }),
        Method::Open => {
            let epochs = vec![EpochNo(1)];
            minicbor::to_vec(OpenBody { camera, epochs, action: Action::PlayBack, purpose: String::new() })
        }
        Method::Fetch => {
            let action = Action::PlayBack;
            let (epoch, offset, length, follow) = (EpochNo(1), 0, Some(1), false);
            minicbor::to_vec(FetchBody { camera, epoch, offset, length, follow, action })
        }
        Method::Ledger => minicbor::to_vec(LedgerBody { from: 0 }),
        Method::Offer => minicbor::to_vec(invitation.offer(AccountId([9; 16]), until + secs(60))),
        Method::Invitation | Method::Withdraw => minicbor::to_vec(InvitationBody { id: InvitationId(Hash([1; 32])) }),
        Method::House => minicbor::to_vec(HouseBody { after: 0 }),
        Method::Propose => {
            let body = Body::Account(Box::new(NewAccount {
                id: AccountId([7; 16]),
                role: Role::Viewer,
                name: "somebody".into(),
                key: KeyPair::generate(&mut rng::system()).public().clone(),
            }));
            let proposal = Proposal::new(vm, body, until + secs(600), Nonce(random()), 1).unwrap();
            let statement = proposal.sign(key.signing(), key.fingerprint());
            minicbor::to_vec(ProposeBody { statement: statement.to_bytes().into() })
        }
        Method::Health | Method::Logout | Method::Proposals => Ok(encoded(&|| vec![0x80])),
    }
    .unwrap()
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

/// A body that is encoded already.
struct Encoded(Vec<u8>);

impl<C> minicbor::Encode<C> for Encoded {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.writer_mut().write_all(&self.0).map_err(minicbor::encode::Error::write)
    }
}

fn methods() -> Vec<Method> {
    ROUTES.iter().filter_map(|r| if let Handler::Session(method) = r.handler { Some(method) } else { None }).collect()
}

/// `status code` of an answer.
fn outcome(answer: &Answer) -> String {
    if answer.status == 200 {
        "200".into()
    } else {
        format!("{} {}", answer.status, answer.problem()["code"].as_str().unwrap())
    }
}

/// Entries from this leaf on.
fn ledger(page: &mut Page, from: u64) -> Vec<Entry> {
    let mut entries = Vec::new();
    loop {
        let answer = page.request(Method::Ledger, &LedgerBody { from: from + entries.len() as u64 });
        let found: LedgerPage = decode_strict(&answer.body).unwrap();
        if found.entries.is_empty() {
            return entries;
        }
        entries.extend(found.entries.iter().map(|bytes| Entry::from_bytes(bytes).unwrap()));
    }
}

#[test]
fn without_a_session_every_route_says_no_and_changes_nothing() {
    if quick() {
        return;
    }
    let house = house();
    let https = Https::to(&house.app);
    let guard = raw::key(&house.app.home, "guard");
    let (mut auditor, mut page) = (Page::open(&https, &raw::key(&house.app.home, "rev")), Page::open(&https, &guard));
    let before = ledger(&mut auditor, 0).len() as u64;
    for method in methods() {
        let body = body(method, house.camera, &guard, https.birth.vm);
        let own = page.sign(method, &Encoded(body.clone()));
        let mut forged = own.proof.clone().into_bytes();
        let last = forged.len() - 1;
        forged[last] = if forged[last] == b'A' { b'Q' } else { b'A' };
        let forged = String::from_utf8(forged).unwrap();
        let other = page.sign(if method == Method::Health { Method::House } else { Method::Health }, &());
        let cases: [(&str, Vec<(&str, &str)>); 6] = [
            ("no proof", vec![]),
            ("garbage", vec![("peri-proof", "garbage!")]),
            ("another signature", vec![("peri-proof", &forged)]),
            ("the proof of another path", vec![("peri-proof", &other.proof)]),
            ("a cookie", vec![("cookie", "session=1")]),
            ("a bearer token", vec![("authorization", "Bearer 1")]),
        ];
        for (what, headers) in cases {
            let answer = https.ask("POST", method.path(), &headers, &body);
            assert_eq!(answer.status, 401, "{} with {what}: {answer:?}", method.path());
            assert_eq!(answer.problem()["taken"], false, "{} with {what}", method.path());
        }
        let changed = https.ask("POST", method.path(), &[("peri-proof", &own.proof)], b"\x82\x00\x00");
        assert_eq!(changed.status, 401, "{} with another body", method.path());
        for verb in ["GET", "PUT", "DELETE", "OPTIONS"] {
            let answer = https.ask(verb, method.path(), &[("peri-proof", &own.proof)], &body);
            assert_eq!(answer.status, 405, "{verb} {}", method.path());
            assert_eq!(answer.header("allow"), Some("POST"));
        }
    }
    let kinds: BTreeSet<_> = ledger(&mut auditor, before).iter().map(|entry| entry.kind.to_string()).collect();
    let harmless = ["request_refused", "session_started", "checkpoint_block"];
    assert!(kinds.iter().all(|kind| harmless.contains(&kind.as_str())), "{kinds:?}");
    let answer = page.request(Method::House, &HouseBody { after: 0 });
    assert_eq!(answer.status, 200, "the session that was named in all that is as before");
}

#[test]
fn every_role_gets_from_every_route_what_the_golden_file_says_and_refusals_are_entered() {
    if quick() {
        return;
    }
    let house = house();
    let https = Https::to(&house.app);
    let mut auditor = Page::open(&https, &raw::key(&house.app.home, "rev"));
    let mut lines = String::from(
        "# Every role at every route that takes a session, about a camera nobody granted. PERI_BLESS=1 writes it anew.\n",
    );
    let people = PEOPLE.map(|(role, name)| (role, raw::key(&house.app.home, name)));
    let mut leaf = ledger(&mut auditor, 0).len() as u64;
    for method in methods().into_iter().filter(|method| *method != Method::Logout) {
        let _ = writeln!(lines, "{}", method.path());
        for (role, key) in &people {
            let Ok(mut page) = Page::try_open(&https, key) else {
                let _ = writeln!(lines, "  {role}: no session");
                continue;
            };
            let answer = page.request(method, &Encoded(body(method, house.camera, key, https.birth.vm)));
            let entries = ledger(&mut auditor, leaf);
            leaf += entries.len() as u64;
            // Of this asker; scribe's sums of what strangers did come when a minute is over.
            let own =
                |entry: &&Entry| entry.pseudonym.is_some_and(|own| own.0[..] == key.fingerprint().as_bytes()[..16]);
            let new: BTreeSet<_> = entries
                .iter()
                .filter(own)
                .map(|entry| entry.kind.to_string())
                .filter(|kind| {
                    kind.ends_with("_refused")
                        || !["session_started", "checkpoint_block", "tails"].contains(&kind.as_str())
                })
                .collect();
            let new: Vec<_> = new.into_iter().collect();
            let entered = if new.is_empty() { "no entry".to_owned() } else { new.join(", ") };
            let _ = writeln!(lines, "  {role}: {}; {entered}", outcome(&answer));
            let refused = matches!(answer.status, 403 | 404) && answer.problem()["code"] != "no_invitation";
            assert!(
                !refused || entered.contains("refused"),
                "{} as {role}: {} without an entry",
                method.path(),
                answer.status
            );
            let looks = matches!(method, Method::Segments | Method::Open | Method::Fetch);
            assert!(!looks || answer.status != 200, "{role} gets something from {}", method.path());
        }
    }
    let golden = root().join("tests/golden/routes.txt");
    if std::env::var_os("PERI_BLESS").is_some() {
        std::fs::write(&golden, &lines).unwrap();
    }
    let expected = std::fs::read_to_string(&golden).unwrap_or_default();
    assert_eq!(lines, expected, "tests/golden/routes.txt (PERI_BLESS=1 writes it anew; read the difference)");
}

#[test]
fn a_granted_viewer_gets_nothing_about_a_foreign_camera_from_any_route() {
    if quick() {
        return;
    }
    let house = house();
    let https = Https::to(&house.app);
    house.app.home.camera(&CameraSpec {
        name: "granted",
        url: "rtsp://127.0.0.2:9/granted",
        pin: None,
        login: None,
        beside: None,
    });
    house.app.home.grant("guard", "granted", "live,playback,export");
    let guard = raw::key(&house.app.home, "guard");
    let mut page = Page::open(&https, &guard);
    // A camera there is, one there is not: told apart by nobody who has no right to either.
    for camera in [house.camera, CameraId(random())] {
        let mut said = BTreeMap::new();
        for method in methods().into_iter().filter(|method| *method != Method::Logout) {
            let request = body(method, camera, &guard, https.birth.vm);
            let answer = page.request(method, &Encoded(request));
            let looks = matches!(method, Method::Segments | Method::Open | Method::Fetch);
            if looks {
                assert_eq!(outcome(&answer), "404 no_grant", "{} of {camera}", method.path());
                said.insert(method.path(), answer.body);
            } else if answer.status == 200 && method != Method::Roster {
                let text = String::from_utf8_lossy(&answer.body).into_owned();
                let bytes = &answer.body;
                let named = bytes.windows(16).any(|window| window == camera.0);
                assert!(!named && !text.contains("gate"), "{} names a foreign camera", method.path());
            }
        }
    }
    let answer = page.request(Method::House, &HouseBody { after: 0 });
    let found: HousePage = decode_strict(&answer.body).unwrap();
    let names: Vec<_> = found
        .items
        .iter()
        .filter_map(|item| if let HouseItem::Camera(camera) = item { Some(camera.name.as_str()) } else { None })
        .collect();
    assert_eq!(names, ["granted"]);
    assert!(!found.items.iter().any(|item| matches!(item, HouseItem::Seat(_))));
}

#[test]
fn a_session_of_one_house_is_nothing_to_another() {
    if quick() {
        return;
    }
    let house = house();
    let other = Appliance::founded(AppConfig { page: true, ..AppConfig::default() });
    let (here, there) = (Https::to(&house.app), Https::to(&other));
    let mut page = Page::open(&here, &raw::key(&house.app.home, "guard"));
    for method in methods() {
        let signed = page.sign(method, &());
        let answer = there.ask("POST", signed.path, &[("peri-proof", &signed.proof)], &signed.body);
        assert_eq!(answer.status, 401, "{}", signed.path);
    }
    // Nor does the authority of one vouch for the other.
    let mut strange = here.clone();
    strange.port = there.port;
    assert!(strange.connect().is_err(), "the other's certificate verifies under this authority");
}

#[test]
fn a_copy_of_an_answered_request_locks_the_session_of_a_page() {
    if quick() {
        return;
    }
    let house = house();
    let https = Https::to(&house.app);
    let mut page = Page::open(&https, &raw::key(&house.app.home, "guard"));
    let first = page.sign(Method::House, &HouseBody { after: 0 });
    assert_eq!(page.send(&first).status, 200);
    page.settle(&first, true);
    // Acknowledged by the next.
    assert_eq!(page.request(Method::House, &HouseBody { after: 0 }).status, 200);
    let copied = page.send(&first);
    assert_eq!((copied.status, copied.problem()["code"].as_str()), (423, Some("session_locked")));
    assert_eq!(page.request(Method::House, &HouseBody { after: 0 }).status, 423);
}

#[test]
fn the_listener_speaks_tls_1_3_alone_and_every_answer_carries_the_policy() {
    if quick() {
        return;
    }
    let house = house();
    let https = Https::to(&house.app);
    for route in ROUTES
        .iter()
        .filter(|route| matches!(route.handler, Handler::Page(_) | Handler::Identity | Handler::Description))
    {
        let answer = https.ask("GET", route.path, &[], b"");
        assert_eq!(answer.status, 200, "{}", route.path);
        assert!(!answer.body.is_empty());
        for (name, value) in [
            ("content-security-policy", POLICY),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
            ("x-frame-options", "DENY"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{} {name}", route.path);
        }
        assert!(answer.header("server").is_none() && answer.header("x-powered-by").is_none());
        assert!(answer.header("set-cookie").is_none());
        assert_eq!(https.ask("PUT", route.path, &[], b"").status, 405, "{}", route.path);
    }
    for (host, origin, status) in [
        ("evil.example", None, 421),
        ("localhost.evil.example", None, 421),
        ("localhost", Some("https://evil.example"), 403),
        ("localhost", Some("null"), 403),
        ("127.0.0.1", Some("https://127.0.0.1"), 200),
    ] {
        let mut headers = vec![("host", host)];
        headers.extend(origin.map(|origin| ("origin", origin)));
        let answer = https.ask("GET", "/.well-known/peri", &headers, b"");
        assert_eq!(answer.status, status, "{host} {origin:?}");
        assert_eq!(answer.header("content-security-policy"), Some(POLICY), "a refusal carries it, too");
    }
    let identity: Value = serde_json::from_slice(&https.ask("GET", "/.well-known/peri", &[], b"").body).unwrap();
    assert_eq!(identity["vm"], https.birth.vm.to_string());
    assert_eq!(identity["tls_key"], https.birth.tls.as_ref().unwrap().key.to_string());
    let old = std::process::Command::new("openssl")
        .args(["s_client", "-tls1_2", "-connect", &https.host()])
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&old.stdout).contains("Cipher is (NONE)"), "TLS 1.2 is spoken");
}

#[test]
fn a_socket_needs_the_page_s_origin_and_a_proof_in_its_first_message() {
    if quick() {
        return;
    }
    let house = house();
    let https = Https::to(&house.app);
    let host = https.host();
    let upgrade = |origin: Option<&str>| -> Answer {
        let mut headers = vec![
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        headers.extend(origin.map(|origin| ("origin", origin)));
        let mut stream = https.connect().unwrap();
        let mut head = format!("GET /v1/live HTTP/1.1\r\nhost: {host}\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
        read_answer(stream).unwrap()
    };
    assert_eq!(upgrade(None).status, 403);
    assert_eq!(upgrade(Some("https://evil.example")).status, 403);
    let own = format!("https://{host}");
    assert_eq!(upgrade(Some(&own)).status, 101);

    // A stream of a stranger's camera, of a plain fetch, of garbage: each is told no, and the socket sends no picture.
    let mut page = Page::open(&https, &raw::key(&house.app.home, "boss"));
    let fetch = |follow| FetchBody {
        camera: house.camera,
        epoch: EpochNo(1),
        offset: 0,
        length: None,
        follow,
        action: Action::WatchLive,
    };
    let told = socket(&https, &[page.sign(Method::Fetch, &fetch(true)), page.sign(Method::Fetch, &fetch(false))]);
    let told: Vec<_> = told.iter().map(|told| format!("{:?}", told.reply)).collect();
    assert!(told.iter().all(|reply| !reply.starts_with("Stream") && !reply.starts_with("Chunk")), "{told:?}");
    assert!(told.iter().any(|reply| reply.contains("forbidden")), "{told:?}");
    assert!(told.iter().any(|reply| reply.contains("a stream begins with a fetch that follows")), "{told:?}");
}

/// Starts streams over a socket and returns what is told in two seconds.
fn socket(https: &Https, starts: &[Signed]) -> Vec<live::Told> {
    let mut stream = https.connect().unwrap();
    let host = https.host();
    write!(
        stream,
        "GET /v1/live HTTP/1.1\r\nhost: {host}\r\norigin: https://{host}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    for (number, start) in starts.iter().enumerate() {
        let said = live::Said::Start { stream: number as u32, frame: start.frame.clone().into() };
        let payload = minicbor::to_vec(&said).unwrap();
        // RFC 6455 §5.2: one final binary frame, masked with zeros.
        let mut frame = vec![0x82, 0x80 | 126];
        frame.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
        frame.extend([0; 4]);
        frame.extend(payload);
        stream.write_all(&frame).unwrap();
    }
    stream.sock.set_read_timeout(Some(secs(2))).unwrap();
    let mut told = Vec::new();
    loop {
        let mut head = [0; 2];
        if stream.read_exact(&mut head).is_err() {
            return told;
        }
        let length = match head[1] {
            126 => {
                let mut length = [0; 2];
                stream.read_exact(&mut length).unwrap();
                u64::from(u16::from_be_bytes(length))
            }
            127 => {
                let mut length = [0; 8];
                stream.read_exact(&mut length).unwrap();
                u64::from_be_bytes(length)
            }
            short => u64::from(short),
        };
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        stream.read_exact(&mut payload).unwrap();
        if head[0] == 0x82 {
            told.push(decode_strict(&payload).unwrap());
        }
    }
}

#[test]
fn a_proposal_waits_for_signatures_and_none_that_is_not_genuine_is_taken() {
    if quick() {
        return;
    }
    let house = house();
    let https = Https::to(&house.app);
    let (dpo, council) = (raw::key(&house.app.home, "dpo"), raw::key(&house.app.home, "council"));
    let guard = raw::key(&house.app.home, "guard");
    let mut page = Page::open(&https, &dpo);
    let roster = page.request(Method::House, &HouseBody { after: 0 });
    let found: HousePage = decode_strict(&roster.body).unwrap();
    let account = found
        .items
        .iter()
        .find_map(|item| if let HouseItem::Account(a) = item { (a.name == "guard").then_some(a) } else { None })
        .unwrap();
    let grant = Body::Grant(Box::new(Grant {
        recipient: account.key,
        account: account.id,
        rights: peri_domain::Rights::ALL,
        cameras: Cameras::List(vec![house.camera]),
        // Not yet: the other tests ask about this camera.
        from: now() + secs(3600),
        until: now() + secs(7200),
        weekly: None,
    }));
    let proposal = Proposal::new(https.birth.vm, grant, now() + secs(600), Nonce(random()), found.seat_set).unwrap();
    let one = proposal.clone().sign(dpo.signing(), dpo.fingerprint());
    let put = |page: &mut Page, statement: &peri_roster::Statement| {
        outcome(&page.request(Method::Propose, &ProposeBody { statement: statement.to_bytes().into() }))
    };
    assert_eq!(put(&mut page, &one), "200");
    let mut other = Page::open(&https, &council);
    // Somebody else's name under my signature; a statement without mine.
    let forged =
        proposal.clone().sign(council.signing(), council.fingerprint()).sign(council.signing(), dpo.fingerprint());
    assert_eq!(put(&mut other, &forged), "400 not_signed");
    assert_eq!(put(&mut other, &one), "400 not_signed");
    let waiting: ProposalsPage = decode_strict(&other.request(Method::Proposals, &()).body).unwrap();
    let found = waiting.statements.iter().find(|bytes| ***bytes == one.to_bytes());
    let statement = peri_roster::Statement::from_bytes(found.unwrap()).unwrap();
    let both = statement.sign(council.signing(), council.fingerprint());
    assert_eq!(put(&mut other, &both), "200");
    // Complete, it goes to keeper as any statement; then it waits no more.
    let ask = peri_access::wire::Ask::Submit { statement: both.to_bytes().into() };
    assert_eq!(https.question("/v1/submit", &ask).status, 200);
    let waiting: ProposalsPage = decode_strict(&page.request(Method::Proposals, &()).body).unwrap();
    assert!(waiting.statements.iter().all(|bytes| **bytes != both.to_bytes()));
    let mut guards = Page::open(&https, &guard);
    assert_eq!(outcome(&guards.request(Method::Proposals, &())), "403 forbidden");
}
