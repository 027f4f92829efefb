//! The connection against a tiny appliance that answers frame by frame.

use super::*;
use peri_access::wire::{Health, SignedRequest};
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

#[test]
fn a_request_is_signed_over_the_nonce_and_a_problem_becomes_an_error() {
    let who = KeyPair::generate(&mut rng::system());
    let public = who.public().clone();
    let (mut connection, _) = server(move |ask| match ask {
        Ask::Nonce => answer(&Nonce([3; 16])),
        Ask::Signed(request @ SignedRequest { nonce: Nonce([3, ..]), .. }) if request.is_signed_by(&public) => {
            if request.method == Method::Health {
                answer(&Health { now: UtcNanos(5), cameras: vec![], alarms: vec![], free_bytes: 1, notices: vec![] })
            } else {
                vec![Reply::Problem(Problem::new(403, "not-entitled", "not entitled", "ask k seats"))]
            }
        }
        _ => vec![],
    });
    let health: Health = connection.request(VM, Method::Health, &(), &who).unwrap();
    assert_eq!(health.now, UtcNanos(5));
    let refused = connection.request::<_, Health>(VM, Method::Ledger, &(), &who).unwrap_err();
    assert_eq!((refused.exit_code(), refused.to_string()), (3, "not entitled: ask k seats".to_owned()));
    let health: Result<Health, _> = connection.request(VM, Method::Health, &(), &who);
    assert!(health.is_ok(), "a refusal leaves the connection usable");
}

#[test]
fn a_stream_is_read_to_its_end_and_the_connection_goes_on() {
    let who = KeyPair::generate(&mut rng::system());
    let (mut connection, _) = server(|ask| match ask {
        Ask::Nonce => answer(&Nonce([3; 16])),
        Ask::Signed(_) => vec![
            Reply::Stream { length: 5 },
            Reply::Chunk(b"abc".to_vec().into()),
            Reply::Chunk(b"de".to_vec().into()),
            Reply::End,
        ],
        _ => vec![],
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
