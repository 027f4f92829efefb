//! The client side of one session with one camera, without a socket.
//!
//! ```text
//! Options ─▶ Describe ─▶ Setup (video only) ─▶ Play ─▶ Playing ─▶ Closing ─▶ Closed
//!    │ each request: 401 ─▶ Event::NeedsAuth ─▶ answer() ─▶ the same request again
//!    └ once a challenge is known, every request asks for its answer first
//! ```
//! The caller moves bytes and time: `poll_transmit` gives what to send, `handle_input` takes what came, `poll_event` says
//! what happened, `poll_timeout` when to call `handle_timeout`. One request is outstanding at a time, so an answer without
//! `CSeq` is still unambiguous. `handle_input` works on a big read buffer and hands RTP packets to the [`Sink`] as slices
//! of it.
//!
//! Known faults of cameras that are tolerated here: RTP before the answer to PLAY; other interleaved channels than asked
//! for; `RTP-Info` and `ssrc` absent or wrong (never used: source and sequence are learned from the packets); missing
//! `CSeq`, `Content-Type`, `Transport`; `Content-Base` without scheme; keep-alives never answered.
//!
//! Invariants: an audio track is never set up; no password is in here, and what carries one is wiped once it is sent; a
//! redirect is never followed.

use super::wire::{self, Frame};
use super::{RtspError, Url};
use crate::auth::{self, Answer, Challenge};
use crate::sdp::{self, VideoTrack};
use core::time::Duration;
use peri_domain::limits::{RTP_SILENCE_MAX, RTSP_RESPONSE_MAX, RTSP_SESSION_DEFAULT};
use rtsp_types::{HeaderName, Method, Request, Response, StatusCode, Version, headers};
use std::collections::VecDeque;
use zeroize::{Zeroize, Zeroizing};

/// Answers to one request that a camera may call stale before it is disbelieved.
const STALE_MAX: u8 = 3;

/// Bounds of a session timeout that make sense: shorter would flood the camera, longer would outlive its patience.
const SESSION_TIMEOUT: core::ops::RangeInclusive<u64> = 10..=3600;

/// What to connect to.
#[derive(Debug, Clone)]
pub struct Config {
    /// `rtsp://` or `rtsps://` address without user and password.
    pub url: Url,
    /// `User-Agent` header.
    pub user_agent: String,
    /// Whether the connection is encrypted (also through a tunnel): only then may Basic be answered.
    pub tls: bool,
}

/// Where packets go while input is handled.
pub trait Sink {
    /// An RTP packet of the video track.
    fn rtp(&mut self, packet: &[u8]);
    /// An RTCP packet of the video track.
    fn rtcp(&mut self, packet: &[u8]);
}

/// What the caller should know or do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The next request must be authorised: compute the answer and call [`Client::answer`].
    NeedsAuth(Challenge),
    /// SETUP has succeeded: packets may come from now on.
    Ready(Box<VideoTrack>),
    /// PLAY has succeeded.
    Playing {
        /// Session timeout of the camera.
        timeout: Duration,
    },
    /// The session is over after [`Client::teardown`].
    Closed,
}

/// A camera's session after SETUP.
#[derive(Debug)]
struct Session {
    id: String,
    timeout: Duration,
    aggregate: Url,
}

#[derive(Debug)]
enum State {
    Options,
    Describe,
    Setup { aggregate: Url, track: Box<VideoTrack> },
    Play(Session),
    Playing(Session),
    Closing,
    Closed,
}

#[derive(Debug)]
struct Pending {
    cseq: u32,
    method: Method,
    url: Url,
    extra: Vec<(HeaderName, String)>,
    since: Duration,
    waiting_for_answer: bool,
    /// Nonce of the answer that was sent.
    answered: Option<String>,
    refused: u8,
    stale: u8,
    declined: bool,
}

/// The state machine. Times are monotonic, from any origin.
#[derive(Debug)]
pub struct Client {
    config: Config,
    state: State,
    pending: Option<Pending>,
    cseq: u32,
    challenge: Option<Challenge>,
    out: Zeroizing<Vec<u8>>,
    sent: usize,
    events: VecDeque<Event>,
    channel: Option<u8>,
    knows_get_parameter: bool,
    keep_alive_at: Duration,
    last_packet: Duration,
    /// Interleaved packets on channels that are not ours; dropped.
    pub stray_packets: u64,
}

impl Client {
    /// Begins a session: the first request is ready to be sent.
    ///
    /// # Errors
    /// [`RtspError::Address`].
    pub fn new(mut config: Config, now: Duration) -> Result<Self, RtspError> {
        let secret = !config.url.username().is_empty() || config.url.password().is_some();
        let reason = if secret {
            Some("user name and password do not belong into the address; enter them apart")
        } else if !matches!(config.url.scheme(), "rtsp" | "rtsps") {
            Some("it must begin with rtsp:// or rtsps://")
        } else if config.url.scheme() == "rtsps" && !config.tls {
            Some("rtsps:// needs a TLS connection")
        } else if !config.url.has_host() {
            Some("it names no host")
        } else {
            None
        };
        if let Some(reason) = reason {
            let _ = config.url.set_username("");
            let _ = config.url.set_password(None);
            return Err(RtspError::Address { url: config.url.to_string(), reason });
        }
        config.url.set_fragment(None);
        config.user_agent.retain(|c| (' '..='~').contains(&c));
        let mut client = Self {
            state: State::Options,
            pending: None,
            cseq: 0,
            challenge: None,
            out: Zeroizing::new(Vec::new()),
            sent: 0,
            events: VecDeque::new(),
            channel: None,
            knows_get_parameter: false,
            keep_alive_at: Duration::MAX,
            last_packet: now,
            stray_packets: 0,
            config,
        };
        let url = client.config.url.clone();
        client.request(Method::Options, url, Vec::new(), now);
        Ok(client)
    }

    /// Bytes to send, if any; report them with [`Self::transmitted`].
    pub fn poll_transmit(&mut self) -> Option<&[u8]> {
        (self.sent < self.out.len()).then(|| &self.out[self.sent..])
    }

    /// So many bytes of [`Self::poll_transmit`] are sent.
    pub fn transmitted(&mut self, bytes: usize) {
        self.sent = self.out.len().min(self.sent + bytes);
        if self.sent == self.out.len() {
            self.out.zeroize();
            self.sent = 0;
        }
    }

    /// What happened, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`Self::handle_timeout`] at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        let answer = self.pending.as_ref().map(|p| p.since + RTSP_RESPONSE_MAX);
        let playing = matches!(self.state, State::Playing(_)).then(|| {
            let silence = self.last_packet + RTP_SILENCE_MAX;
            if self.pending.is_none() { silence.min(self.keep_alive_at) } else { silence }
        });
        answer.into_iter().chain(playing).min()
    }

    /// Time has passed.
    ///
    /// # Errors
    /// [`RtspError::Timeout`], [`RtspError::Silent`].
    pub fn handle_timeout(&mut self, now: Duration) -> Result<(), RtspError> {
        if let Some(late) = self.pending.take_if(|p| now >= p.since + RTSP_RESPONSE_MAX) {
            match self.state {
                // Some cameras never answer keep-alives; packets show that they live.
                State::Playing(_) => {}
                State::Closing => self.close(),
                _ => return Err(RtspError::Timeout { method: name(&late.method) }),
            }
        }
        if let State::Playing(session) = &self.state {
            if now >= self.last_packet + RTP_SILENCE_MAX {
                return Err(RtspError::Silent);
            }
            if self.pending.is_none() && now >= self.keep_alive_at {
                let method = if self.knows_get_parameter { Method::GetParameter } else { Method::Options };
                let (url, id) = (session.aggregate.clone(), session.id.clone());
                self.keep_alive_at = now + session.timeout / 2;
                self.request(method, url, vec![(headers::SESSION, id)], now);
            }
        }
        Ok(())
    }

    /// Takes the answer to [`Event::NeedsAuth`]; `None` sends the request without one (a Basic password already wiped).
    pub fn answer(&mut self, answer: Option<&Answer>, now: Duration) {
        let Some(mut pending) = self.pending.take_if(|p| p.waiting_for_answer) else { return };
        pending.waiting_for_answer = false;
        pending.since = now;
        pending.declined = answer.is_none();
        pending.answered = answer.and(self.challenge.as_ref()).map(|c| c.nonce.clone());
        self.write(&mut pending, answer);
        self.pending = Some(pending);
    }

    /// Ends the session politely; [`Event::Closed`] follows.
    pub fn teardown(&mut self, now: Duration) {
        self.pending = None;
        match core::mem::replace(&mut self.state, State::Closing) {
            State::Play(session) | State::Playing(session) => {
                self.request(Method::Teardown, session.aggregate, vec![(headers::SESSION, session.id)], now);
            }
            _ => self.close(),
        }
    }

    /// Whether PLAY has been answered.
    #[must_use]
    pub const fn is_playing(&self) -> bool {
        matches!(self.state, State::Playing(_))
    }

    /// Takes bytes from the connection and returns how many are done with; the rest must be offered again with more
    /// behind it. A buffer of [`super::INPUT_BUFFER_MIN`] bytes always suffices.
    ///
    /// # Errors
    /// [`RtspError`]; the session is then over.
    pub fn handle_input(&mut self, input: &[u8], now: Duration, sink: &mut impl Sink) -> Result<usize, RtspError> {
        let mut used = 0;
        while used < input.len() && !matches!(self.state, State::Closed) {
            let Some((frame, took)) = wire::next(&input[used..])? else { break };
            match frame {
                Frame::Data { channel, payload } => match self.channel {
                    Some(ours) if ours == channel => {
                        self.last_packet = now;
                        sink.rtp(payload);
                    }
                    Some(ours) if ours.checked_add(1) == Some(channel) => sink.rtcp(payload),
                    _ => self.stray_packets += 1,
                },
                Frame::Response(response) => self.response(&response, now)?,
                Frame::Request(request) => self.server_request(&request)?,
            }
            used += took;
        }
        Ok(used)
    }

    fn close(&mut self) {
        self.pending = None;
        self.state = State::Closed;
        self.events.push_back(Event::Closed);
    }

    fn request(&mut self, method: Method, url: Url, extra: Vec<(HeaderName, String)>, now: Duration) {
        self.send(Pending {
            cseq: 0,
            method,
            url,
            extra,
            since: now,
            waiting_for_answer: false,
            answered: None,
            refused: 0,
            stale: 0,
            declined: false,
        });
    }

    fn send(&mut self, mut pending: Pending) {
        if let Some(challenge) = &mut self.challenge {
            challenge.nc = challenge.nc.saturating_add(1);
            pending.waiting_for_answer = true;
            let mut bound = challenge.clone();
            bound.method = name(&pending.method).to_owned();
            bound.uri = pending.url.to_string();
            self.events.push_back(Event::NeedsAuth(bound));
        } else {
            self.write(&mut pending, None);
        }
        self.pending = Some(pending);
    }

    fn write(&mut self, pending: &mut Pending, answer: Option<&Answer>) {
        self.cseq = self.cseq.wrapping_add(1);
        pending.cseq = self.cseq;
        let mut request = Request::builder(pending.method.clone(), Version::V1_0)
            .request_uri(pending.url.clone())
            .header(headers::CSEQ, self.cseq.to_string())
            .header(headers::USER_AGENT, self.config.user_agent.as_str());
        for (name, value) in &pending.extra {
            request = request.header(name.clone(), value.as_str());
        }
        // The header map would keep a copy of a password beyond our reach, so that line is written by hand.
        let mut text = Vec::new();
        if request.empty().write(&mut text).is_err() {
            return;
        }
        text.truncate(text.len().saturating_sub(2));
        self.push(&text);
        if let Some(answer) = answer {
            self.push(b"Authorization: ");
            self.push(answer.as_str().as_bytes());
            self.push(b"\r\n");
        }
        self.push(b"\r\n");
    }

    /// Appends to what goes out. A vector that grows by itself would leave its old copy, with a password in it, behind.
    fn push(&mut self, bytes: &[u8]) {
        let needed = self.out.len() + bytes.len();
        if needed > self.out.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(needed.next_power_of_two().max(4_096)));
            larger.extend_from_slice(&self.out);
            self.out = larger;
        }
        self.out.extend_from_slice(bytes);
    }

    /// A camera may ask us things; only an answer in step matters.
    fn server_request(&mut self, request: &Request<&[u8]>) -> Result<(), RtspError> {
        if *request.method() == Method::Redirect {
            return Err(redirected(request.header(&headers::LOCATION).map(|v| v.as_str())));
        }
        let known = matches!(request.method(), Method::Options | Method::GetParameter | Method::SetParameter);
        let status = if known { "200 OK" } else { "501 Not Implemented" };
        // The head was cut to printable ASCII, so what is echoed cannot break out of its line; keep it a number anyway.
        let cseq = request.header(&headers::CSEQ).and_then(|v| v.as_str().parse::<u32>().ok());
        let cseq = cseq.map(|n| format!("CSeq: {n}\r\n")).unwrap_or_default();
        // A camera that asks faster than it reads gets no answers rather than all our memory.
        if self.out.len() < peri_domain::limits::RTSP_HEADER_MAX {
            self.push(format!("RTSP/1.0 {status}\r\n{cseq}\r\n").as_bytes());
        }
        Ok(())
    }

    fn response(&mut self, response: &Response<&[u8]>, now: Duration) -> Result<(), RtspError> {
        let cseq = response.header(&headers::CSEQ).and_then(|v| v.as_str().trim().parse::<u32>().ok());
        let ours = |p: &mut Pending| !p.waiting_for_answer && cseq.is_none_or(|n| n == p.cseq);
        // An answer to nothing, or a late one to a keep-alive that was given up.
        let Some(pending) = self.pending.take_if(ours) else { return Ok(()) };
        let method = name(&pending.method);
        if let Some(nonce) = response.header(&headers::AUTHENTICATION_INFO).and_then(|v| auth::next_nonce(v.as_str()))
            && let Some(challenge) = &mut self.challenge
        {
            challenge.nonce = nonce;
            challenge.nc = 0;
        }
        let status = u16::from(response.status());
        match status {
            200..=299 => {}
            300..=399 => return Err(redirected(response.header(&headers::LOCATION).map(|v| v.as_str()))),
            401 if !pending.declined => return self.unauthorized(response, pending),
            _ if matches!(self.state, State::Closing) => {}
            // Not every camera knows OPTIONS, and a keep-alive only has to arrive.
            405 | 501 | 551 if matches!(self.state, State::Playing(_)) => {
                self.knows_get_parameter = false;
                return Ok(());
            }
            454 => return Err(refused(method, status, response)),
            _ if matches!(self.state, State::Options | State::Playing(_)) => {}
            _ => return Err(refused(method, status, response)),
        }
        let state = core::mem::replace(&mut self.state, State::Closed);
        self.state = self.advance(state, response, now)?;
        Ok(())
    }

    /// One step along the drawing above, on a good answer.
    fn advance(&mut self, state: State, response: &Response<&[u8]>, now: Duration) -> Result<State, RtspError> {
        let header = |name: &HeaderName| response.header(name).map(|v| v.as_str());
        Ok(match state {
            State::Options => {
                let public = header(&headers::PUBLIC).unwrap_or("");
                self.knows_get_parameter = public.split(',').any(|m| m.trim().eq_ignore_ascii_case("GET_PARAMETER"));
                let url = self.config.url.clone();
                self.request(Method::Describe, url, vec![(headers::ACCEPT, "application/sdp".into())], now);
                State::Describe
            }
            State::Describe => {
                if let Some(kind) = header(&headers::CONTENT_TYPE)
                    && !kind.trim().to_ascii_lowercase().starts_with("application/sdp")
                {
                    return Err(bad("DESCRIBE", format!("content type {kind:?} instead of application/sdp")));
                }
                let description = sdp::parse(response.body())?;
                let base = base_url(&self.config.url, header);
                let track = Box::new(description.video);
                let aggregate =
                    description.control.as_deref().map_or_else(|| base.clone(), |control| join(&base, control));
                let url = track.control.as_deref().map_or_else(|| aggregate.clone(), |control| join(&base, control));
                let transport = "RTP/AVP/TCP;unicast;interleaved=0-1".to_owned();
                self.request(Method::Setup, url, vec![(headers::TRANSPORT, transport)], now);
                State::Setup { aggregate, track }
            }
            State::Setup { aggregate, track } => {
                self.channel = Some(channel(header(&headers::TRANSPORT))?);
                let (id, timeout) = session(header(&headers::SESSION))?;
                let session = Session { id, timeout, aggregate };
                self.events.push_back(Event::Ready(track));
                let extra = vec![(headers::SESSION, session.id.clone()), (headers::RANGE, "npt=0.000-".into())];
                self.request(Method::Play, session.aggregate.clone(), extra, now);
                State::Play(session)
            }
            State::Play(session) => {
                self.last_packet = now;
                self.keep_alive_at = now + session.timeout / 2;
                self.events.push_back(Event::Playing { timeout: session.timeout });
                State::Playing(session)
            }
            State::Closing => {
                self.events.push_back(Event::Closed);
                State::Closed
            }
            State::Playing(_) | State::Closed => state,
        })
    }

    fn unauthorized(&mut self, response: &Response<&[u8]>, mut pending: Pending) -> Result<(), RtspError> {
        let header = response.header(&headers::WWW_AUTHENTICATE).map(|v| v.as_str());
        let header = header.ok_or_else(|| bad(name(&pending.method), "401 without WWW-Authenticate".into()))?;
        let fresh = auth::choose(header, self.config.tls)?;
        if let Some(answered) = &pending.answered {
            if fresh.stale && fresh.nonce != *answered {
                pending.stale += 1;
            } else {
                pending.refused += 1;
            }
            // A new nonce deserves one more try: some cameras change it with every answer and never say stale.
            if pending.refused > 1 || pending.stale > STALE_MAX || fresh.nonce == *answered {
                return Err(RtspError::WrongPassword { realm: fresh.realm.chars().take(80).collect() });
            }
        }
        self.challenge = Some(fresh);
        pending.answered = None;
        self.send(pending);
        Ok(())
    }
}

fn name(method: &Method) -> &'static str {
    match method {
        Method::Options => "OPTIONS",
        Method::Describe => "DESCRIBE",
        Method::Setup => "SETUP",
        Method::Play => "PLAY",
        Method::GetParameter => "GET_PARAMETER",
        Method::Teardown => "TEARDOWN",
        _ => "request",
    }
}

fn bad(method: &'static str, what: String) -> RtspError {
    RtspError::BadAnswer { method, what }
}

fn redirected(location: Option<&str>) -> RtspError {
    RtspError::Redirected { location: location.unwrap_or("nowhere").chars().take(200).collect() }
}

fn refused(method: &'static str, status: u16, response: &Response<&[u8]>) -> RtspError {
    let remedy = match response.status() {
        StatusCode::NotFound => "; check the path in the camera's address",
        StatusCode::Forbidden => "; allow this user to see the live picture in the camera",
        StatusCode::UnsupportedTransport => "; allow RTSP over TCP in the camera",
        StatusCode::NotEnoughBandwidth | StatusCode::ServiceUnavailable => "; the camera has too many viewers",
        StatusCode::SessionNotFound => "; the camera has dropped the session, reconnect",
        _ => "",
    };
    RtspError::Refused { method, status, reason: response.reason_phrase().chars().take(80).collect(), remedy }
}

/// RFC 2326 appendix C.1.1, with repairs.
fn base_url<'h>(requested: &Url, header: impl Fn(&HeaderName) -> Option<&'h str>) -> Url {
    let usable = |url: &Url| matches!(url.scheme(), "rtsp" | "rtsps") && url.has_host();
    [headers::CONTENT_BASE, headers::CONTENT_LOCATION]
        .iter()
        .filter_map(|name| header(name).map(str::trim).filter(|v| !v.is_empty()))
        .find_map(|text| {
            let whole = Url::parse(text).ok().filter(usable);
            let schemeless = || Url::parse(&format!("{}://{text}", requested.scheme())).ok();
            let relative = || requested.join(text).ok();
            let repaired = || if text.starts_with('/') { relative() } else { schemeless() };
            whole.or_else(repaired).filter(usable)
        })
        .unwrap_or_else(|| requested.clone())
}

/// Joins as live555 and FFmpeg do, which is what cameras are tested with: by appending, not by RFC 3986.
fn join(base: &Url, control: &str) -> Url {
    let control = control.trim();
    if control.is_empty() || control == "*" {
        return base.clone();
    }
    if let Ok(url) = Url::parse(control)
        && matches!(url.scheme(), "rtsp" | "rtsps")
    {
        return url;
    }
    let slash = if base.as_str().ends_with('/') { "" } else { "/" };
    Url::parse(&format!("{base}{slash}{control}")).unwrap_or_else(|_| base.clone())
}

/// The RTP channel that the camera chose; ours where it says nothing.
fn channel(transport: Option<&str>) -> Result<u8, RtspError> {
    let Some(transport) = transport else { return Ok(0) };
    let wrong = || bad("SETUP", format!("transport {:?}", transport.chars().take(120).collect::<String>()));
    let parts = || transport.split(';').map(str::trim);
    if let Some(value) = parts().find_map(|p| p.strip_prefix("interleaved=")) {
        let (first, second) = value.split_once('-').unwrap_or((value, ""));
        let first: u8 = first.trim().parse().map_err(|_| wrong())?;
        // A second one beyond 255 is none.
        let follows = |second: u8| first.checked_add(1) == Some(second);
        let adjacent = second.is_empty() || second.trim().parse().is_ok_and(follows);
        return if adjacent { Ok(first) } else { Err(wrong()) };
    }
    if parts().any(|p| p.starts_with("server_port=") || p.eq_ignore_ascii_case("RTP/AVP/UDP")) {
        return Err(bad("SETUP", "the camera insists on UDP; allow RTSP over TCP in the camera".into()));
    }
    Ok(0)
}

fn session(header: Option<&str>) -> Result<(String, Duration), RtspError> {
    let mut parts = header.unwrap_or("").split(';').map(str::trim);
    let id = parts.next().filter(|id| !id.is_empty()).ok_or_else(|| bad("SETUP", "no Session header".into()))?;
    let timeout = parts
        .find_map(|p| p.strip_prefix("timeout="))
        .and_then(|v| v.trim().parse::<u64>().ok())
        .filter(|secs| *secs > 0)
        .map_or(RTSP_SESSION_DEFAULT, |secs| {
            Duration::from_secs(secs.clamp(*SESSION_TIMEOUT.start(), *SESSION_TIMEOUT.end()))
        });
    Ok((id.to_owned(), timeout))
}

#[cfg(test)]
mod tests;
