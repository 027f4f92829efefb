//! One connection to the camera: transport (TCP or TLS), the RTSP machine, and the way of a packet to the fragmenter.
//!
//! While it plays the loop reads by the clock: bytes gather in the socket's buffer and are taken in one go, because a
//! wake-up per packet costs more than everything else together.

use super::dns::{self, ResolveError};
use super::tls::{self, TlsError};
use super::writer::Writer;
use crate::message::{CameraSetup, CameraTrust};
use nix::sys::socket::{setsockopt, sockopt};
use peri_domain::UtcNanos;
use peri_media::auth::{Answer, Challenge};
use peri_media::fragment::Fragmenter;
use peri_media::h264::Depacketizer;
use peri_media::rtp::{self, Packet, Receiver, Rtcp, SenderClock};
use peri_media::rtsp::client::{Client, Config, Event, Sink};
use peri_media::rtsp::{INPUT_BUFFER_MIN, RtspError, Url};
use peri_sandbox::clock::{Clock, SystemClock};
use peri_seal::segment::HEADER_LEN;
use rustls::ClientConnection;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

/// Bytes read at once: two wake-ups' worth at 8 Mbit/s, and a whole DESCRIBE answer.
const BUFFER: usize = if INPUT_BUFFER_MIN > 384 * 1024 { INPUT_BUFFER_MIN } else { 384 * 1024 };
/// Room in the socket for what gathers between two wake-ups; the kernel grants up to net.core.rmem_max.
const SOCKET_BUFFER: usize = 1024 * 1024;
/// Longest gathering: a fragment lasts 250 ms anyway.
const GATHER_MAX: Duration = Duration::from_millis(200);
/// Aimed-at bytes per wake-up: well below what the socket holds.
const GATHER_BYTES: u64 = 96 * 1024;
/// TCP and TLS each get so long.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// Why there is no session (any more); the text is what the page says.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    /// The URL or its combination with the trust.
    #[error("the camera's address cannot be used: {0}")]
    Address(String),
    /// Its name.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// TCP.
    #[error("no connection to {to}: {source}; is the camera on and reachable?")]
    Connect {
        /// Where.
        to: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// TLS could not be prepared.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The handshake.
    #[error(
        "TLS with the camera failed: {0}; if its certificate changed, k seats set the camera up again with the new pin or authority"
    )]
    Handshake(io::Error),
    /// The connection broke.
    #[error("the connection to the camera broke: {0}")]
    Broken(io::Error),
    /// The camera closed it.
    #[error("the camera closed the connection")]
    Closed,
    /// RTSP.
    #[error(transparent)]
    Rtsp(#[from] RtspError),
    /// RTP that cannot be used.
    #[error("{0}")]
    Media(String),
}

enum Transport {
    Plain(TcpStream),
    Tls(TcpStream, Box<ClientConnection>),
}

/// The streams's way from packets to fragments.
struct Stream {
    receiver: Receiver,
    depacketizer: Depacketizer,
    fragmenter: Fragmenter,
    sender: SenderClock,
}

pub(super) struct Session {
    transport: Transport,
    client: Client,
    buffer: Box<[u8]>,
    filled: usize,
    stream: Option<Stream>,
    playing_since: Option<Duration>,
    next_read: Duration,
    gather: Duration,
}

impl Session {
    /// Resolves, connects, shakes hands; RTSP begins with the first [`Session::turn`].
    pub(super) fn connect(
        setup: &CameraSetup,
        resolvers: &[SocketAddr],
        clock: &SystemClock,
    ) -> Result<Self, SessionError> {
        let url = Url::parse(&setup.url).map_err(|e| SessionError::Address(e.to_string()))?;
        let secure = match (url.scheme(), &setup.trust) {
            ("rtsps", CameraTrust::Pin(_) | CameraTrust::Ca(_)) => true,
            ("rtsp", CameraTrust::PlainException) => false,
            (scheme, _) => {
                return Err(SessionError::Address(format!(
                    "{scheme} does not go with this trust: rtsps takes a pin or CA, rtsp the custodians' exception"
                )));
            }
        };
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = url.port().unwrap_or(if secure { 322 } else { 554 });
        let addresses = match host.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) if !secure => {
                return Err(SessionError::Address("plain RTSP takes an address, because a name proves nothing".into()));
            }
            Err(_) => dns::resolve(&host, resolvers, random_id)?,
        };
        let stream = connect_any(&addresses, port)?;
        let transport = if secure {
            let tls = tls::connect(&host, &setup.trust)?;
            Transport::Tls(stream, tls)
        } else {
            Transport::Plain(stream)
        };
        let mut session = Self {
            transport,
            client: Client::new(
                Config { url, user_agent: concat!("Peri/", env!("CARGO_PKG_VERSION")).into(), tls: secure },
                clock.monotonic(),
            )?,
            buffer: vec![0; BUFFER].into_boxed_slice(),
            filled: 0,
            stream: None,
            playing_since: None,
            next_read: Duration::ZERO,
            gather: GATHER_MAX,
        };
        session.shake_hands(clock)?;
        Ok(session)
    }

    /// The whole handshake has its time, not each byte: a camera that sends one now and then would hold us for hours.
    fn shake_hands(&mut self, clock: &SystemClock) -> Result<(), SessionError> {
        let deadline = clock.monotonic() + CONNECT_MAX;
        if let Transport::Tls(stream, tls) = &mut self.transport {
            while tls.is_handshaking() || tls.wants_write() {
                let left = deadline.saturating_sub(clock.monotonic());
                if left.is_zero() {
                    let text = format!("it did not end within {} s", CONNECT_MAX.as_secs());
                    return Err(SessionError::Handshake(io::Error::new(io::ErrorKind::TimedOut, text)));
                }
                stream.set_read_timeout(Some(left)).map_err(SessionError::Broken)?;
                if tls.wants_write() {
                    tls.write_tls(stream).map_err(SessionError::Handshake)?;
                    continue;
                }
                match tls.read_tls(stream) {
                    Ok(0) => return Err(SessionError::Closed),
                    Ok(_) => {}
                    Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                        continue;
                    }
                    Err(error) => return Err(SessionError::Handshake(error)),
                }
                if let Err(error) = tls.process_new_packets() {
                    // The alert tells the other end why, if it still listens.
                    let _ = tls.write_tls(stream);
                    return Err(SessionError::Handshake(io::Error::other(error)));
                }
            }
        }
        self.socket().set_nonblocking(true).map_err(SessionError::Broken)
    }

    pub(super) const fn socket(&self) -> &TcpStream {
        match &self.transport {
            Transport::Plain(stream) | Transport::Tls(stream, _) => stream,
        }
    }

    pub(super) const fn is_tls(&self) -> bool {
        matches!(self.transport, Transport::Tls(..))
    }

    /// What of this connection lies outside TR-02102, for the ledger.
    pub(super) fn deviation(&self) -> Option<String> {
        match &self.transport {
            Transport::Plain(_) => Some("plain RTSP under the custodians' exception".into()),
            Transport::Tls(_, tls) => tls::deviation(tls),
        }
    }

    pub(super) const fn is_playing(&self) -> bool {
        self.playing_since.is_some()
    }

    pub(super) fn played_for(&self, now: Duration) -> Duration {
        self.playing_since.map_or(Duration::ZERO, |since| now.saturating_sub(since))
    }

    /// How long until the next turn is due.
    pub(super) fn wait(&self, now: Duration) -> Duration {
        let timeout = self.client.poll_timeout().unwrap_or(Duration::MAX).saturating_sub(now);
        if self.is_playing() { timeout.min(self.next_read.saturating_sub(now)) } else { timeout }
    }

    pub(super) fn authorize(&mut self, answer: &Answer, now: Duration) {
        self.client.answer(Some(answer), now);
        // Broken pipes show at the next read.
        let _ = self.transmit();
    }

    /// Lets a request go out without an answer to its challenge.
    pub(super) fn decline(&mut self, now: Duration) {
        self.client.answer(None, now);
        let _ = self.transmit();
    }

    /// Reads, handles, writes. Returns challenges that keeper must answer.
    pub(super) fn turn(
        &mut self,
        utc: UtcNanos,
        now: Duration,
        writer: &mut Writer,
    ) -> Result<Vec<Challenge>, SessionError> {
        if self.is_playing() && now < self.next_read {
            return Ok(Vec::new());
        }
        writer.arrival = utc;
        self.transmit()?;
        let mut taken = 0_u64;
        loop {
            let room = self.buffer.len() - self.filled;
            let got = match read(&mut self.transport, &mut self.buffer[self.filled..]) {
                Ok(0) => return Err(SessionError::Closed),
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(SessionError::Broken(error)),
            };
            taken += got as u64;
            self.filled += got;
            self.handle(now, writer)?;
            // Plain TCP gives all there is at once; TLS gives a record at a time. A camera that fills the buffer again and
            // again must not keep the loop from its other duties.
            if (got < room && !self.is_tls()) || taken > 4 * BUFFER as u64 {
                break;
            }
        }
        self.client.handle_timeout(now)?;
        let questions = self.events(now)?;
        self.transmit()?;
        if self.is_playing() {
            // Twice too much gathered: wake twice as often; slow cameras come back to the longest gathering.
            if taken > 2 * GATHER_BYTES {
                self.gather = (self.gather / 2).max(Duration::from_millis(10));
            } else if taken < GATHER_BYTES / 2 {
                self.gather = (self.gather * 2).min(GATHER_MAX);
            }
            self.next_read = now + self.gather;
        }
        Ok(questions)
    }

    fn handle(&mut self, now: Duration, writer: &mut Writer) -> Result<(), SessionError> {
        let mut feed = Feed { stream: self.stream.as_mut(), writer, failed: None };
        let used = self.client.handle_input(&self.buffer[..self.filled], now, &mut feed)?;
        if let Some(error) = feed.failed {
            return Err(error);
        }
        self.buffer.copy_within(used..self.filled, 0);
        self.filled -= used;
        Ok(())
    }

    fn events(&mut self, now: Duration) -> Result<Vec<Challenge>, SessionError> {
        let mut questions = Vec::new();
        while let Some(event) = self.client.poll_event() {
            match event {
                Event::NeedsAuth(challenge) => questions.push(challenge),
                // PLAY is sent only after this, so no packet of the track can have come before.
                Event::Ready(track) => {
                    self.stream = Some(Stream {
                        receiver: Receiver::new(track.payload_type),
                        depacketizer: Depacketizer::new(&track.parameter_sets),
                        fragmenter: Fragmenter::new(HEADER_LEN),
                        sender: SenderClock::default(),
                    });
                }
                Event::Playing { .. } => self.playing_since = Some(now),
                Event::Closed => return Err(SessionError::Closed),
            }
        }
        Ok(questions)
    }

    fn transmit(&mut self) -> Result<(), SessionError> {
        while let Some(bytes) = self.client.poll_transmit() {
            let sent = match &mut self.transport {
                Transport::Plain(stream) => stream.write(bytes),
                Transport::Tls(_, tls) => tls.writer().write(bytes),
            };
            match sent {
                Ok(sent) => self.client.transmitted(sent),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(SessionError::Broken(error)),
            }
        }
        if let Transport::Tls(stream, tls) = &mut self.transport {
            while tls.wants_write() {
                match tls.write_tls(stream) {
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(SessionError::Broken(error)),
                }
            }
        }
        Ok(())
    }

    /// Hands out everything complete: an epoch or the session ends here.
    pub(super) fn cut(&mut self, writer: &mut Writer) {
        if let Some(stream) = &mut self.stream {
            stream.fragmenter.cut(writer);
        }
    }

    /// Ends the session politely, as far as it goes at once.
    pub(super) fn goodbye(&mut self, now: Duration) {
        self.client.teardown(now);
        let _ = self.transmit();
    }
}

fn read(transport: &mut Transport, buffer: &mut [u8]) -> io::Result<usize> {
    match transport {
        Transport::Plain(stream) => stream.read(buffer),
        Transport::Tls(stream, tls) => loop {
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
            if tls.read_tls(stream)? == 0 {
                return Ok(0);
            }
            tls.process_new_packets().map_err(io::Error::other)?;
        },
    }
}

fn connect_any(addresses: &[IpAddr], port: u16) -> Result<TcpStream, SessionError> {
    let mut last = None;
    for address in addresses {
        let to = SocketAddr::new(*address, port);
        match TcpStream::connect_timeout(&to, CONNECT_MAX) {
            Ok(stream) => {
                let options = || -> io::Result<()> {
                    stream.set_nodelay(true)?;
                    stream.set_read_timeout(Some(CONNECT_MAX))?;
                    stream.set_write_timeout(Some(CONNECT_MAX))?;
                    setsockopt(&stream, sockopt::RcvBuf, &SOCKET_BUFFER)?;
                    Ok(())
                };
                options().map_err(|source| SessionError::Connect { to, source })?;
                return Ok(stream);
            }
            Err(source) => last = Some(SessionError::Connect { to, source }),
        }
    }
    Err(last.unwrap_or(SessionError::Closed))
}

fn random_id() -> u16 {
    let mut id = [0; 2];
    // A predictable id only weakens the defence against forged answers; the pin or CA still decides.
    let _ = getrandom::fill(&mut id);
    u16::from_ne_bytes(id)
}

/// Where the RTSP machine puts packets.
struct Feed<'a> {
    stream: Option<&'a mut Stream>,
    writer: &'a mut Writer,
    failed: Option<SessionError>,
}

impl Sink for Feed<'_> {
    fn rtp(&mut self, bytes: &[u8]) {
        let Some(stream) = self.stream.as_deref_mut() else { return };
        if self.failed.is_some() {
            return;
        }
        let outcome = (|| {
            let packet = Packet::parse(bytes).map_err(|e| e.to_string())?;
            let lost = match stream.receiver.accept(&packet).map_err(|e| e.to_string())? {
                rtp::Order::Next => 0,
                rtp::Order::Gap { lost } => {
                    self.writer.packets_lost(lost);
                    lost
                }
                rtp::Order::Duplicate => return Ok(()),
            };
            match stream.depacketizer.push(&packet, lost, &mut stream.fragmenter.with(self.writer)) {
                Err(error) if error.is_fatal() => Err(error.to_string()),
                Err(error) => {
                    self.writer.picture_dropped(&error.to_string());
                    Ok(())
                }
                Ok(()) => Ok(()),
            }
        })();
        if let Err(error) = outcome {
            self.failed = Some(SessionError::Media(error));
        }
    }

    fn rtcp(&mut self, bytes: &[u8]) {
        let Some(stream) = self.stream.as_deref_mut() else { return };
        let sender = &mut stream.sender;
        // A damaged report is no reason to lose pictures.
        let _ = rtp::parse_rtcp(bytes, |report| {
            if let Rtcp::SenderReport { ntp, rtp, .. } = report {
                sender.report(ntp, rtp);
            }
        });
        if let (Some(drift), Some((offset, _))) = (sender.drift_ppm(), sender.latest()) {
            self.writer.camera_clock(drift, offset);
        }
    }
}
