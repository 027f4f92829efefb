//! The server side of one session: one video track over TCP interleaved, optional Digest. Serves the replayer of tests
//! and bench, later the gateway.
//!
//! What does not belong: sockets, pacing, several viewers of one connection.

use super::RtspError;
use super::wire::{self, Frame};
use crate::auth::{self, Challenge, Scheme};
use core::time::Duration;
use rtsp_types::{Method, Request, Response, StatusCode, Version, headers};
use zeroize::Zeroizing;

/// What is served.
#[derive(Debug)]
pub struct Config {
    /// Session description; its media control must be `track1`.
    pub sdp: String,
    /// Session id.
    pub session: String,
    /// Session timeout to announce.
    pub timeout: Duration,
    /// Who may look; `None`: everybody.
    pub auth: Option<Credentials>,
}

/// The one user, checked by Digest.
pub struct Credentials {
    /// Digest algorithm to ask for.
    pub scheme: Scheme,
    /// Realm to name.
    pub realm: String,
    /// Nonce to use for this connection.
    pub nonce: String,
    /// User name.
    pub user: String,
    /// Password.
    pub password: Zeroizing<String>,
}

impl core::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Credentials").field("realm", &self.realm).finish_non_exhaustive()
    }
}

/// The state machine: Init ─SETUP─▶ Ready ─PLAY─▶ Playing ─TEARDOWN─▶ Ended.
#[derive(Debug)]
pub struct Server {
    config: Config,
    channel: Option<u8>,
    playing: bool,
    ended: bool,
    out: Vec<u8>,
}

impl Server {
    /// For a fresh connection.
    #[must_use]
    pub const fn new(config: Config) -> Self {
        Self { config, channel: None, playing: false, ended: false, out: Vec::new() }
    }

    /// Takes bytes from the viewer; returns how many are done with.
    ///
    /// # Errors
    /// [`RtspError::Wire`].
    pub fn handle_input(&mut self, input: &[u8]) -> Result<usize, RtspError> {
        let mut used = 0;
        while let Some((frame, took)) = wire::next(&input[used..])? {
            if let Frame::Request(request) = frame {
                self.request(&request);
            }
            used += took;
        }
        Ok(used)
    }

    /// Answers to send.
    pub fn take_output(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.out)
    }

    /// Whether packets may be sent.
    #[must_use]
    pub const fn is_playing(&self) -> bool {
        self.playing && !self.ended
    }

    /// Whether the viewer has left.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        self.ended
    }

    /// Appends an RTP packet in its interleaved frame; before SETUP nothing happens.
    pub fn send(&self, packet: &[u8], out: &mut Vec<u8>) {
        if let Some(channel) = self.channel {
            wire::interleave(channel, packet, out);
        }
    }

    fn request(&mut self, request: &Request<&[u8]>) {
        let cseq = request.header(&headers::CSEQ).map_or("0", |v| v.as_str()).to_owned();
        let answer = |status| Response::builder(Version::V1_0, status).header(headers::CSEQ, cseq.as_str());
        let session = format!("{};timeout={}", self.config.session, self.config.timeout.as_secs());
        let url = request.request_uri().map(|u| u.as_str().trim_end_matches('/').to_owned()).unwrap_or_default();
        let named = request.header(&headers::SESSION).map(|v| v.as_str().split(';').next().unwrap_or("").trim());
        let response = if *request.method() == Method::Options {
            answer(StatusCode::Ok)
                .header(headers::PUBLIC, "OPTIONS, DESCRIBE, SETUP, PLAY, GET_PARAMETER, TEARDOWN")
                .build(Vec::new())
        } else if let Some(challenge) = self.refusal(request) {
            answer(StatusCode::Unauthorized).header(headers::WWW_AUTHENTICATE, challenge).build(Vec::new())
        } else if *request.method() == Method::Describe {
            answer(StatusCode::Ok)
                .header(headers::CONTENT_TYPE, "application/sdp")
                .header(headers::CONTENT_BASE, format!("{url}/"))
                .build(self.config.sdp.clone().into_bytes())
        } else if *request.method() == Method::Setup {
            let transport = request.header(&headers::TRANSPORT).map_or("", |v| v.as_str());
            let asked = transport.split(';').find_map(|p| p.trim().strip_prefix("interleaved="));
            let first = asked.and_then(|v| v.split('-').next()).and_then(|v| v.parse::<u8>().ok()).filter(|c| *c < 255);
            match first {
                Some(channel) if url.ends_with("track1") => {
                    self.channel = Some(channel);
                    let transport = format!("RTP/AVP/TCP;unicast;interleaved={channel}-{}", channel + 1);
                    answer(StatusCode::Ok)
                        .header(headers::TRANSPORT, transport)
                        .header(headers::SESSION, session)
                        .build(Vec::new())
                }
                Some(_) => answer(StatusCode::NotFound).build(Vec::new()),
                None => answer(StatusCode::UnsupportedTransport).build(Vec::new()),
            }
        } else if named != Some(self.config.session.as_str()) {
            answer(StatusCode::SessionNotFound).build(Vec::new())
        } else {
            let status = match request.method() {
                Method::Play if self.channel.is_none() => StatusCode::MethodNotValidInThisState,
                Method::Play => {
                    self.playing = true;
                    StatusCode::Ok
                }
                Method::Teardown => {
                    self.ended = true;
                    StatusCode::Ok
                }
                Method::GetParameter => StatusCode::Ok,
                _ => StatusCode::NotImplemented,
            };
            answer(status).header(headers::SESSION, session).build(Vec::new())
        };
        // Writing to a Vec does not fail.
        let _ = response.write(&mut self.out);
    }

    /// The challenge to send when the request is not authorised.
    fn refusal(&self, request: &Request<&[u8]>) -> Option<String> {
        let auth = self.config.auth.as_ref()?;
        let algorithm = match auth.scheme {
            Scheme::Basic | Scheme::DigestMd5 => "MD5",
            Scheme::DigestSha256 => "SHA-256",
            Scheme::DigestSha512_256 => "SHA-512-256",
        };
        let header = request.header(&headers::AUTHORIZATION).map_or("", |v| v.as_str());
        if authorised(auth, header, request.method().into()) {
            return None;
        }
        Some(format!("Digest realm=\"{}\", nonce=\"{}\", algorithm={algorithm}, qop=\"auth\"", auth.realm, auth.nonce))
    }
}

fn authorised(auth: &Credentials, header: &str, method: &str) -> bool {
    // An answer has the grammar of a challenge: scheme and parameters.
    let Ok(parsed) = http_auth::parse_challenges(header) else { return false };
    let Some(given) = parsed.first().filter(|c| c.scheme.eq_ignore_ascii_case("digest")) else { return false };
    let value = |name: &str| {
        given
            .params
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.to_unescaped())
            .unwrap_or_default()
    };
    let challenge = Challenge {
        scheme: auth.scheme,
        session: false,
        realm: auth.realm.clone(),
        nonce: auth.nonce.clone(),
        opaque: None,
        qop_auth: value("qop") == "auth",
        userhash: false,
        nc: u32::from_str_radix(&value("nc"), 16).unwrap_or(0),
        method: method.to_owned(),
        uri: value("uri"),
        stale: false,
    };
    let expected = auth::digest_response(&challenge, &auth.user, &auth.password, &value("cnonce"));
    let response = value("response");
    // Compared without an early end, so that time tells nothing about how much of it is right.
    let same = expected.len() == response.len()
        && expected.bytes().zip(response.bytes()).fold(0, |difference, (a, b)| difference | a ^ b) == 0;
    same && value("username") == auth.user && value("nonce") == auth.nonce
}
