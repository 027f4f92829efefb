//! The connection against a tiny appliance that answers frame by frame.

use super::*;
use peri_access::proof::{BootEpoch, Report};
use peri_access::sessions::{Sessions, Verdict};
use peri_access::wire::{Health, Request, request_line};
use peri_domain::{Hash, UtcNanos};
use peri_seal::keys::Signature;
use peri_seal::rng;
use std::thread::JoinHandle;

const VM: VmId = VmId([7; 16]);

/// A tiny appliance: answers each frame by what `reply` returns until it returns nothing.
fn server(mut reply: impl FnMut(Ask) -> Vec<Reply> + Send + 'static) -> (Connection<UnixStream>, JoinHandle<()>) {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let thread = std::thread::spawn(move || {
        let mut length = [0; 4];
        while theirs.read_exact(&mut length).is_ok() {
            let mut bytes = vec![0; u32::from_be_bytes(length) as usize];
            theirs.read_exact(&mut bytes).unwrap();
            for reply in reply(decode_strict(&bytes).unwrap()) {
                let bytes = encode(&reply);
                theirs.write_all(&u32::try_from(bytes.len()).unwrap().to_be_bytes()).unwrap();
                if theirs.write_all(&bytes).is_err() {
                    return;
                }
            }
        }
    });
    (Connection::over(ours), thread)
}

fn answer<T: Encode<()>>(value: &T) -> Vec<Reply> {
    vec![Reply::Answer(encode(value).into())]
}

fn certificate(device: &KeyPair, nonce: [u8; 32]) -> BirthCertificate {
    let mut certificate = BirthCertificate {
        vm: VM,
        device: device.public().clone(),
        ledger_keys: vec![],
        provisioning: Hash([0; 32]),
        claimed: false,
        roster_head: Hash([0; 32]),
        roster_len: 0,
        notices: vec![],
        nonce,
        signature: Signature([0; 96]),
        tls: None,
    };
    certificate.sign(device.signing());
    certificate
}

#[test]
fn a_birth_certificate_over_our_nonce_is_accepted_and_a_replayed_one_is_not() {
    let device = KeyPair::generate(&mut rng::system());
    let public = device.public().clone();
    let mut replay = false;
    let (mut connection, _) = server(move |ask| match ask {
        Ask::Hello { nonce } => {
            let nonce = if core::mem::replace(&mut replay, true) { [9; 32] } else { nonce };
            answer(&certificate(&device, nonce))
        }
        _ => vec![],
    });
    assert_eq!(connection.hello().unwrap().device, public);
    assert!(matches!(connection.hello(), Err(ConnError::Forged)));
}

/// An appliance with sessions: proofs are checked for real, `reply` says what comes of a request.
fn with_sessions(
    who: &KeyPair,
    mut reply: impl FnMut(&mut Sessions, &Request, Verdict) -> Vec<Reply> + Send + 'static,
) -> Connection<UnixStream> {
    let public = who.public().clone();
    let mut sessions = Sessions::new(BootEpoch(Nonce([1; 16])));
    let (connection, _) = server(move |ask| match ask {
        Ask::Nonce => answer(&Nonce([3; 16])),
        Ask::Open(opening) => {
            assert_eq!(opening.nonce, Nonce([3; 16]));
            let session = opening.verify(VM, &public, SystemClock.utc()).unwrap();
            sessions.admit(&session, SystemClock.utc()).unwrap();
            answer(&SessionOpened { boot: sessions.boot(), now: UtcNanos(0) })
        }
        Ask::Request(request) => {
            let now = SystemClock.utc();
            let Some(session) = sessions.session(request.proof.session, now).cloned() else {
                return vec![Reply::NotTaken(Problem::new(401, wire::SESSION_UNKNOWN, "unknown", "log in"))];
            };
            let line = request_line(request.method, &request.body).unwrap();
            let genuine = request.proof.clone().check(&session, &line, now).unwrap();
            let verdict = sessions.arrive(&genuine, Nonce([7; 16]), now);
            if request.method == Method::Logout { answer(&()) } else { reply(&mut sessions, &request, verdict) }
        }
        _ => vec![],
    });
    connection
}

fn health() -> Vec<Reply> {
    answer(&Health { now: UtcNanos(5), cameras: vec![], alarms: vec![], free_bytes: 1, notices: vec![] })
}

fn ask_health(connection: &mut Connection<UnixStream>, who: &KeyPair) -> Result<Health, ConnError> {
    connection.request(VM, Method::Health, &(), who)
}

#[test]
fn requests_share_a_session_and_a_problem_becomes_an_error() {
    let who = KeyPair::generate(&mut rng::system());
    let mut seen = Vec::new();
    let mut connection = with_sessions(&who, move |_, request, verdict| {
        assert_eq!(verdict, Verdict::Execute);
        seen.push((request.proof.session, request.proof.channel));
        assert!(seen.iter().all(|first| *first == seen[0]) && request.proof.counter == seen.len() as u64);
        if request.method == Method::Health {
            health()
        } else {
            vec![Reply::Problem(Problem::new(403, "not-entitled", "not entitled", "ask k seats"))]
        }
    });
    assert_eq!(ask_health(&mut connection, &who).unwrap().now, UtcNanos(5));
    let refused = connection.request::<_, Health>(VM, Method::Ledger, &(), &who).unwrap_err();
    assert_eq!((refused.exit_code(), refused.to_string()), (3, "not entitled: ask k seats".to_owned()));
    assert!(ask_health(&mut connection, &who).is_ok(), "a refusal leaves the connection usable");
}

#[test]
fn a_scribe_that_restarted_is_shown_the_session_again_and_asked_anew() {
    let who = KeyPair::generate(&mut rng::system());
    let mut asked = 0;
    let mut connection = with_sessions(&who, move |sessions, request, verdict| {
        asked += 1;
        match asked {
            // It forgets everything after this answer.
            1 => *sessions = Sessions::new(BootEpoch(Nonce([2; 16]))),
            2 => assert_eq!((request.proof.boot, request.proof.counter), (BootEpoch(Nonce([2; 16])), 1)),
            // A new life that another process of this session was shown to already.
            3 => return vec![Reply::Conflict(Conflict::Resync(BootEpoch(Nonce([2; 16]))))],
            _ => assert_eq!(request.proof.counter, 1, "a new channel"),
        }
        assert_eq!(verdict, Verdict::Execute);
        health()
    });
    for _ in 0..3 {
        ask_health(&mut connection, &who).unwrap();
    }
}

#[test]
fn a_copy_that_came_first_is_reported_and_the_request_asked_once_more() {
    let who = KeyPair::generate(&mut rng::system());
    let mut asked = 0;
    let mut connection = with_sessions(&who, move |sessions, request, verdict| {
        asked += 1;
        if asked == 2 {
            assert_eq!(request.proof.progress.reports, [Report { counter: 1, seen: Seen::Nonce(Nonce([7; 16])) }]);
        }
        if asked == 2 || asked == 5 {
            return health();
        }
        assert_eq!(verdict, Verdict::Execute, "the copy, which the client knows nothing of");
        let session = sessions.session(request.proof.session, SystemClock.utc()).unwrap().clone();
        let line = request_line(request.method, &request.body).unwrap();
        let again = request.proof.clone().check(&session, &line, SystemClock.utc()).unwrap();
        match sessions.arrive(&again, Nonce([7; 16]), SystemClock.utc()) {
            Verdict::Copy(nonce) => vec![Reply::Conflict(Conflict::Copy(nonce))],
            other => panic!("{other:?}"),
        }
    });
    assert!(ask_health(&mut connection, &who).is_ok());
    assert!(matches!(ask_health(&mut connection, &who), Err(ConnError::Copied)), "twice is no accident");
    assert!(ask_health(&mut connection, &who).is_ok());
}

#[test]
fn what_was_not_taken_up_is_a_failure_and_never_an_answer() {
    let who = KeyPair::generate(&mut rng::system());
    let mut asked = 0;
    let mut connection = with_sessions(&who, move |sessions, request, _| {
        asked += 1;
        if asked == 1 {
            // As portal does when scribe is away: scribe never saw it.
            *sessions = Sessions::new(BootEpoch(Nonce([1; 16])));
            return vec![Reply::NotTaken(Problem::new(503, "scribe_away", "away", "try again"))];
        }
        assert_eq!(request.proof.progress.settled, 0);
        health()
    });
    let error = ask_health(&mut connection, &who).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    ask_health(&mut connection, &who).unwrap();
}

#[test]
fn a_connection_that_is_dropped_says_goodbye_to_its_sessions() {
    let (one, two) = (KeyPair::generate(&mut rng::system()), KeyPair::generate(&mut rng::system()));
    let (told, ended) = std::sync::mpsc::channel();
    let (mut connection, _) = server(move |ask| match ask {
        Ask::Nonce => answer(&Nonce([3; 16])),
        Ask::Open(_) => answer(&SessionOpened { boot: BootEpoch(Nonce([1; 16])), now: UtcNanos(0) }),
        Ask::Request(request) if request.method == Method::Logout => {
            told.send(request.proof.session).unwrap();
            answer(&())
        }
        Ask::Request(_) => health(),
        _ => vec![],
    });
    ask_health(&mut connection, &one).unwrap();
    ask_health(&mut connection, &two).unwrap();
    drop(connection);
    let ended: std::collections::HashSet<_> = ended.iter().collect();
    assert_eq!(ended.len(), 2);
}

#[test]
fn a_stream_is_read_to_its_end_and_the_connection_goes_on() {
    let who = KeyPair::generate(&mut rng::system());
    let mut asked = 0;
    let mut connection = with_sessions(&who, move |_, request, _| {
        asked += 1;
        assert_eq!(request.proof.progress.settled, asked - 1, "a stream that was read to its end was answered");
        vec![
            Reply::Stream { length: 5 },
            Reply::Chunk(b"abc".to_vec().into()),
            Reply::Chunk(b"de".to_vec().into()),
            Reply::End,
        ]
    });
    let body = FetchBody {
        camera: peri_domain::CameraId([1; 16]),
        epoch: peri_domain::EpochNo(1),
        offset: 0,
        length: None,
        follow: false,
        action: peri_domain::Action::Export,
    };
    for _ in 0..2 {
        let mut got = Vec::new();
        connection.fetch(VM, &body, &who).unwrap().read_to_end(&mut got).unwrap();
        assert_eq!(got, b"abcde");
    }
    let mut stream = connection.fetch(VM, &body, &who).unwrap();
    stream.read_exact(&mut [0; 2]).unwrap();
    drop(stream);
    assert!(matches!(connection.fetch(VM, &body, &who).map(drop), Err(ConnError::Broken(_))));
}

#[test]
fn an_oversized_frame_is_refused_before_it_is_stored() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(&u32::MAX.to_be_bytes()).unwrap();
    let error = Connection::over(ours).hello().unwrap_err();
    assert!(matches!(error, ConnError::Protocol(_)), "{error}");
}

#[test]
fn nobody_at_the_socket_is_named() {
    let error = Connection::open(Path::new("/nonexistent/peri.sock")).unwrap_err();
    assert_eq!(error.exit_code(), 4);
    assert!(error.to_string().contains("/nonexistent/peri.sock"), "{error}");
}
