//! Authentication: a chosen challenge is sane, and an answer by our client is taken by our server.

use super::canonical;
use core::time::Duration;
use peri_domain::limits::AUTH_PARAM_MAX;
use peri_media::auth::{self, Challenge, Scheme};
use peri_media::rtsp::server::{Config, Credentials, Server};

const URI: &str = "rtsp://192.0.2.7/live";

/// A header, with the connection's kind in the first byte.
pub(crate) fn auth(data: &[u8]) {
    let Some((first, text)) = data.split_first() else { return };
    let Ok(text) = core::str::from_utf8(text) else { return };
    if let Some(nonce) = auth::next_nonce(text) {
        assert!(!nonce.is_empty() && nonce.len() <= AUTH_PARAM_MAX && !nonce.chars().any(char::is_control));
    }
    let tls = first & 1 == 1;
    let Ok(mut challenge) = auth::choose(text, tls) else { return };
    assert!(tls || challenge.scheme != Scheme::Basic, "Basic without TLS");
    let texts = [Some(&challenge.realm), Some(&challenge.nonce), challenge.opaque.as_ref()];
    for text in texts.into_iter().flatten() {
        assert!(text.len() <= AUTH_PARAM_MAX && !text.chars().any(char::is_control), "{text:?}");
    }
    if !tls {
        // What TLS adds is Basic alone: the choice of Digest is the same.
        assert_eq!(auth::choose(text, true).as_ref(), Ok(&challenge));
    }
    challenge.method = "DESCRIBE".into();
    challenge.uri = URI.into();
    challenge.nc = u32::from(first >> 1) + 1;
    // As it travels from recorder to keeper.
    let bytes = peri_seal::canonical::encode(&challenge);
    assert!(canonical(&bytes, |b| {
        peri_seal::canonical::decode::<Challenge>("challenge", b).ok().map(|c| peri_seal::canonical::encode(&c))
    }));
    let answer = auth::answer(&challenge, "us\"er", "pa\\ss", "c0ffee").expect("a challenge without controls");
    assert!(!answer.as_str().chars().any(char::is_control));
    let plain = |text: &str| text.chars().all(|c| (' '..='~').contains(&c)) && text.trim() == text;
    if challenge.scheme != Scheme::Basic && !challenge.session && !challenge.userhash {
        // Headers are cut to printable ASCII on the way, so only such a realm arrives as it was sent.
        let opaque = challenge.opaque.as_deref().unwrap_or("");
        if plain(&challenge.realm) && plain(&challenge.nonce) && plain(opaque) {
            taken_by_our_server(&challenge, answer.as_str());
        }
    }
}

fn taken_by_our_server(challenge: &Challenge, answer: &str) {
    let ask = |password: &str| {
        let mut server = Server::new(Config {
            sdp: "v=0\r\n".into(),
            session: "s".into(),
            timeout: Duration::from_secs(60),
            auth: Some(Credentials {
                scheme: challenge.scheme,
                realm: challenge.realm.clone(),
                nonce: challenge.nonce.clone(),
                user: "us\"er".into(),
                password: password.to_owned().into(),
            }),
        });
        let request = format!("DESCRIBE {URI} RTSP/1.0\r\nCSeq: 1\r\nAuthorization: {answer}\r\n\r\n");
        server.handle_input(request.as_bytes()).expect("a request of our own");
        server.take_output()
    };
    let good = ask("pa\\ss");
    assert!(good.starts_with(b"RTSP/1.0 200 "), "{answer} → {}", String::from_utf8_lossy(&good));
    assert!(ask("wrong").starts_with(b"RTSP/1.0 401 "), "any password will do");
}
