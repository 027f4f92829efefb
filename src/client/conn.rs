//! The connection to an appliance: frames over a Unix socket, the birth certificate, requests in sessions, sealed streams.
//!
//! What does not belong: which key certifies, what the answers mean; [`session`] holds the keys and channels. Invariants: a
//! frame longer than [`FRAME_MAX`](wire::FRAME_MAX) is refused before a byte of it is stored; answers are decoded strictly;
//! a broken connection is never used again (after an error in the middle of a frame the two ends disagree on where they
//! are); what became of each request is told to its channel, because the next proof swears to it.
//!
//! A session begins with the first request of a roster key and ends with the connection: it says goodbye when it is
//! dropped. If scribe restarts meanwhile, the session is shown again; what was not executed is asked anew, nothing twice.

mod session;

use minicbor::{Decode, Encode};
use peri_access::channel::Outcome;
use peri_access::proof::Seen;
use peri_access::wire::{
    self, Ask, BirthCertificate, Conflict, FetchBody, Method, Problem, Reply, SessionOpened, decode_strict,
};
use peri_domain::{Fingerprint, Nonce, VmId};
use peri_sandbox::clock::{Clock, SystemClock};
use peri_seal::keys::KeyPair;
use session::Held;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long an answer may take: the appliance makes an entry durable and seals at most 24 keys before it answers.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a goodbye may take: a session that is not ended ends by itself.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);

/// How often one request is asked: scribe restarted, the channel ended, a copy came first. Each happens once at most.
const ATTEMPTS: usize = 4;

/// Why a conversation failed.
#[derive(Debug, thiserror::Error)]
pub enum ConnError {
    /// Nobody answers at the socket.
    #[error("cannot reach the appliance at {path:?}: {source}; is it running, and is --socket right?")]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// It answered before and does no longer.
    #[error("the connection to the appliance broke: {0}; try again, nothing was changed halfway")]
    Broken(#[from] std::io::Error),
    /// The question may have arrived, its answer did not; the text says what that means.
    #[error("the connection to the appliance broke before its answer came: {0}")]
    AnswerLost(String),
    /// It speaks, but not our protocol.
    #[error("the appliance's answer is not understood ({0}); are client and appliance of the same version?")]
    Protocol(String),
    /// It refuses, and says why.
    #[error(transparent)]
    Refused(#[from] Problem),
    /// Somebody or something sends our requests before we do.
    #[error(
        "copies of this request reached the appliance before it did; somebody may read this connection: nothing was \
         answered, tell the administrator"
    )]
    Copied,
    /// Too many requests without an answer.
    #[error(transparent)]
    Channel(#[from] peri_access::channel::ChannelError),
    /// The certificate is not signed by its own device key over our nonce: replayed or forged.
    #[error(
        "the birth certificate is not signed over this connection's nonce: somebody replays or forges it; do not go on"
    )]
    Forged,
}

impl ConnError {
    /// See [`crate::exit::EXIT_CODES`].
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(_) => 3,
            Self::Unreachable { .. } | Self::Broken(_) | Self::AnswerLost(_) | Self::Protocol(_) | Self::Channel(_) => {
                4
            }
            Self::Forged | Self::Copied => 5,
        }
    }
}

/// One connection; questions and answers alternate.
pub struct Connection<S: Read + Write> {
    stream: S,
    /// After an error in the middle of a frame or a stream.
    broken: bool,
    /// Without a limit to its patience: not the way to say goodbye.
    patient: bool,
    /// How to come again, for [`Connection::reopen`] and for the goodbye over a connection that broke.
    again: Option<Box<dyn Fn(Duration) -> std::io::Result<S> + Send + Sync>>,
    sessions: BTreeMap<(Fingerprint, VmId), Held>,
}

impl<S: Read + Write> core::fmt::Debug for Connection<S> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (broken, sessions) = (self.broken, self.sessions.len());
        f.debug_struct("Connection").field("broken", &broken).field("sessions", &sessions).finish_non_exhaustive()
    }
}

fn connect(path: &Path, timeout: Duration) -> std::io::Result<UnixStream> {
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    Ok(stream)
}

impl Connection<UnixStream> {
    /// Connects to the appliance's socket.
    ///
    /// # Errors
    /// [`ConnError::Unreachable`].
    pub fn open(path: &Path) -> Result<Self, ConnError> {
        let unreachable = |source| ConnError::Unreachable { path: path.to_owned(), source };
        let path = path.to_owned();
        let stream = connect(&path, ANSWER_TIMEOUT).map_err(unreachable)?;
        let mut connection = Self::over(stream);
        connection.again = Some(Box::new(move |timeout| connect(&path, timeout)));
        Ok(connection)
    }

    /// Waits for answers as long as the connection stands (live pictures pause while a camera is away).
    ///
    /// # Errors
    /// [`ConnError::Broken`].
    pub fn wait_for_ever(&mut self) -> Result<(), ConnError> {
        self.patient = true;
        Ok(self.stream.set_read_timeout(None)?)
    }
}

impl<S: Read + Write> Connection<S> {
    /// Speaks over any stream.
    pub const fn over(stream: S) -> Self {
        Self { stream, broken: false, patient: false, again: None, sessions: BTreeMap::new() }
    }

    /// Connects anew, after a stream was left before its end. The sessions go on; whether it is the same appliance is
    /// for [`Connection::hello`] to find out.
    ///
    /// # Errors
    /// [`ConnError::Broken`].
    pub fn reopen(&mut self) -> Result<(), ConnError> {
        let again = self.again.as_ref().ok_or_else(|| std::io::Error::from(std::io::ErrorKind::Unsupported))?;
        self.stream = again(ANSWER_TIMEOUT)?;
        (self.broken, self.patient) = (false, false);
        Ok(())
    }

    /// Asks who the appliance is and checks that the answer is fresh and signed by the device key it names. Whether
    /// that device is the right one is for [`crate::profile`] to say.
    ///
    /// # Errors
    /// [`ConnError`].
    pub fn hello(&mut self) -> Result<BirthCertificate, ConnError> {
        let nonce = random::<32>();
        let certificate: BirthCertificate = self.answer(&Ask::Hello { nonce })?;
        if certificate.is_genuine(&nonce) { Ok(certificate) } else { Err(ConnError::Forged) }
    }

    /// Submits a roster statement; the statement proves its signers itself.
    ///
    /// # Errors
    /// [`ConnError`].
    pub fn submit(&mut self, statement: &[u8]) -> Result<(), ConnError> {
        match self.ask(&Ask::Submit { statement: statement.to_vec().into() })? {
            Reply::Answer(_) => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// A request in a session of `who`; the body and answer types are those of the method ([`Method`]).
    ///
    /// # Errors
    /// [`ConnError`].
    pub fn request<B, A>(&mut self, vm: VmId, method: Method, body: &B, who: &KeyPair) -> Result<A, ConnError>
    where
        B: Encode<()>,
        A: for<'b> Decode<'b, ()> + Encode<()>,
    {
        self.request_with_id(vm, method, body, who).map(|(answer, _)| answer)
    }

    /// As [`Connection::request`], with the request's id: X comes back bound to it.
    ///
    /// # Errors
    /// [`ConnError`].
    pub fn request_with_id<B, A>(
        &mut self,
        vm: VmId,
        method: Method,
        body: &B,
        who: &KeyPair,
    ) -> Result<(A, Nonce), ConnError>
    where
        B: Encode<()>,
        A: for<'b> Decode<'b, ()> + Encode<()>,
    {
        let (reply, sent) = self.executed(vm, method, &encode(body), who)?;
        self.settle(&sent, Outcome::Answer);
        match reply {
            Reply::Answer(bytes) => {
                let answer = decode_strict(&bytes).map_err(|error| ConnError::Protocol(error.to_string()))?;
                Ok((answer, sent.id))
            }
            Reply::Problem(problem) => Err(ConnError::Refused(problem)),
            other => Err(unexpected(&other)),
        }
    }

    /// Starts a stream of sealed bytes.
    ///
    /// # Errors
    /// [`ConnError`].
    pub fn fetch(&mut self, vm: VmId, body: &FetchBody, who: &KeyPair) -> Result<SealedStream<'_, S>, ConnError> {
        let (reply, sent) = self.executed(vm, Method::Fetch, &encode(body), who)?;
        if let Reply::Stream { length } = reply {
            // Its outcome is known at its end; until then it is on its way.
            let stream =
                SealedStream { connection: self, sent, length, chunk: Vec::new(), at: 0, ended: false, received: 0 };
            return Ok(stream);
        }
        self.settle(&sent, Outcome::Answer);
        match reply {
            Reply::Problem(problem) => Err(ConnError::Refused(problem)),
            other => Err(unexpected(&other)),
        }
    }

    /// Ends the sessions; called when the connection is dropped, and by whoever wants to know whether it worked.
    ///
    /// # Errors
    /// [`ConnError`]; a session that could not be ended ends by itself.
    pub fn log_out(&mut self) -> Result<(), ConnError> {
        while let Some((_, mut held)) = self.sessions.pop_first() {
            if self.broken || self.patient && self.again.is_some() {
                let again =
                    self.again.as_ref().ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotConnected))?;
                self.stream = again(GOODBYE_TIMEOUT)?;
                (self.broken, self.patient) = (false, false);
            }
            let (request, _) = held.sign(Method::Logout, encode(&()))?;
            match self.exchange(&Ask::Request(request))? {
                Reply::Answer(_) | Reply::NotTaken(_) | Reply::Conflict(_) => {}
                other => return Err(unexpected(&other)),
            }
        }
        Ok(())
    }

    /// Sends a request until it was executed, and returns what came, not yet settled.
    fn executed(&mut self, vm: VmId, method: Method, body: &[u8], who: &KeyPair) -> Result<(Reply, Sent), ConnError> {
        let mut copies = 0;
        let mut shown = false;
        for _ in 0..ATTEMPTS {
            let slot = (who.fingerprint(), vm);
            if self.sessions.get(&slot).is_none_or(|held| held.is_ending(SystemClock.utc())) {
                self.begin(vm, who)?;
            }
            let Some(held) = self.sessions.get_mut(&slot) else { break };
            let (request, counter) = held.sign(method, body.to_vec())?;
            let sent = Sent { slot, counter, id: request.proof.request_id() };
            match self.exchange(&Ask::Request(request)) {
                Ok(Reply::NotTaken(problem)) => {
                    self.settle(&sent, Outcome::Other(Seen::Failure));
                    // Scribe restarted and knows no session: this one is shown again, once.
                    if problem.code == wire::SESSION_UNKNOWN && !core::mem::replace(&mut shown, true) {
                        self.show(vm, who)?;
                        continue;
                    }
                    if matches!(problem.status, 401 | 423) {
                        self.sessions.remove(&slot);
                    }
                    return Err(ConnError::Refused(problem));
                }
                Ok(Reply::Conflict(conflict)) => {
                    let seen = if let Conflict::Copy(nonce) = conflict { Seen::Nonce(nonce) } else { Seen::Failure };
                    self.settle(&sent, Outcome::Other(seen));
                    copies += usize::from(seen != Seen::Failure);
                    if copies > 1 {
                        return Err(ConnError::Copied);
                    }
                    if let Some(held) = self.sessions.get_mut(&slot) {
                        match conflict {
                            Conflict::Resync(boot) => held.new_channel(Some(boot)),
                            Conflict::ChannelEnded => held.new_channel(None),
                            Conflict::Copy(_) | Conflict::GivenUp => {}
                        }
                    }
                }
                Ok(reply) => return Ok((reply, sent)),
                Err(error) => {
                    self.settle(&sent, Outcome::Other(Seen::Failure));
                    return Err(error);
                }
            }
        }
        Err(ConnError::Protocol("the appliance does not take the request up, and asks for it again and again".into()))
    }

    /// Makes a session key, has `who` certify it, and shows it.
    fn begin(&mut self, vm: VmId, who: &KeyPair) -> Result<(), ConnError> {
        // In the place of one whose time is nearly over.
        self.sessions.insert((who.fingerprint(), vm), Held::new(vm, who, SystemClock.utc()));
        let shown = self.show(vm, who);
        if shown.is_err() {
            self.sessions.remove(&(who.fingerprint(), vm));
        }
        shown
    }

    /// Shows the session to scribe; a new channel begins.
    fn show(&mut self, vm: VmId, who: &KeyPair) -> Result<(), ConnError> {
        let nonce: Nonce = self.answer(&Ask::Nonce)?;
        let Some(held) = self.sessions.get(&(who.fingerprint(), vm)) else { return Ok(()) };
        let opened: SessionOpened = self.answer(&Ask::Open(held.opening(nonce)))?;
        if let Some(held) = self.sessions.get_mut(&(who.fingerprint(), vm)) {
            held.new_channel(Some(opened.boot));
        }
        Ok(())
    }

    fn settle(&mut self, sent: &Sent, outcome: Outcome) {
        if let Some(held) = self.sessions.get_mut(&sent.slot) {
            held.settle(sent.counter, outcome);
        }
    }

    /// Asks outside of a session.
    pub(crate) fn answer<A>(&mut self, ask: &Ask) -> Result<A, ConnError>
    where
        A: for<'b> Decode<'b, ()> + Encode<()>,
    {
        match self.ask(ask)? {
            Reply::Answer(bytes) => decode_strict(&bytes).map_err(|error| ConnError::Protocol(error.to_string())),
            other => Err(unexpected(&other)),
        }
    }

    /// One question, one frame back; a refusal becomes an error.
    fn ask(&mut self, ask: &Ask) -> Result<Reply, ConnError> {
        match self.exchange(ask)? {
            Reply::Problem(problem) | Reply::NotTaken(problem) => Err(ConnError::Refused(problem)),
            reply => Ok(reply),
        }
    }

    /// One question, one frame back.
    fn exchange(&mut self, ask: &Ask) -> Result<Reply, ConnError> {
        if self.broken {
            return Err(ConnError::Broken(std::io::ErrorKind::NotConnected.into()));
        }
        self.broken = true;
        let bytes = encode(ask);
        let length = u32::try_from(bytes.len()).ok().filter(|n| *n as usize <= wire::FRAME_MAX).ok_or_else(|| {
            ConnError::Protocol(format!("a question of {} bytes is longer than a frame may be", bytes.len()))
        })?;
        self.stream.write_all(&length.to_be_bytes())?;
        self.stream.write_all(&bytes)?;
        self.stream.flush()?;
        let reply = self.receive()?;
        self.broken = false;
        Ok(reply)
    }

    fn receive(&mut self) -> Result<Reply, ConnError> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > wire::FRAME_MAX {
            return Err(ConnError::Protocol(format!(
                "a frame of {length} bytes; at most {} are allowed",
                wire::FRAME_MAX
            )));
        }
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes)?;
        decode_strict(&bytes).map_err(|error| ConnError::Protocol(error.to_string()))
    }
}

impl<S: Read + Write> Drop for Connection<S> {
    fn drop(&mut self) {
        // Best effort: whoever cannot say goodbye has a session that ends by itself.
        let _ = self.log_out();
    }
}

/// A request on its way.
struct Sent {
    slot: (Fingerprint, VmId),
    counter: u64,
    id: Nonce,
}

/// Sealed bytes arriving: a [`Read`] that ends where the appliance says [`Reply::End`].
///
/// Dropped before its end it leaves the connection unusable, since the rest of the stream is still on its way.
pub struct SealedStream<'a, S: Read + Write> {
    connection: &'a mut Connection<S>,
    sent: Sent,
    length: u64,
    chunk: Vec<u8>,
    at: usize,
    ended: bool,
    received: u64,
}

impl<S: Read + Write> SealedStream<'_, S> {
    /// Bytes announced; a running segment may grow beyond.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Bytes received so far.
    #[must_use]
    pub const fn received(&self) -> u64 {
        self.received
    }

    fn end(&mut self) {
        self.ended = true;
        self.connection.broken = false;
        self.connection.settle(&self.sent, Outcome::Answer);
    }

    fn next_chunk(&mut self) -> Result<(), ConnError> {
        match self.connection.receive()? {
            Reply::Chunk(bytes) if bytes.len() <= wire::CHUNK_MAX => {
                self.received += bytes.len() as u64;
                self.chunk = bytes.into();
                self.at = 0;
            }
            Reply::End => self.end(),
            Reply::Problem(problem) => {
                self.end();
                return Err(ConnError::Refused(problem));
            }
            other => return Err(unexpected(&other)),
        }
        Ok(())
    }
}

impl<S: Read + Write> Read for SealedStream<'_, S> {
    /// The appliance's refusal in mid-stream comes as an [`std::io::Error`] around a [`ConnError`].
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        while self.at == self.chunk.len() && !self.ended {
            self.connection.broken = true;
            self.next_chunk().map_err(|error| match error {
                ConnError::Broken(source) => source,
                other => std::io::Error::other(other),
            })?;
        }
        let n = buf.len().min(self.chunk.len() - self.at);
        buf[..n].copy_from_slice(&self.chunk[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

impl<S: Read + Write> Drop for SealedStream<'_, S> {
    fn drop(&mut self) {
        if !self.ended {
            self.connection.broken = true;
            self.connection.settle(&self.sent, Outcome::Other(Seen::Failure));
        }
    }
}

fn unexpected(reply: &Reply) -> ConnError {
    let what = match reply {
        Reply::Answer(_) => "an answer",
        Reply::Problem(_) => "a problem",
        Reply::Stream { .. } => "the start of a stream",
        Reply::Chunk(_) => "a chunk",
        Reply::End => "the end of a stream",
        Reply::NotTaken(_) => "a refusal to take a request up",
        Reply::Conflict(_) => "a conflict",
        Reply::Skipped(_) => "a gap in a stream",
    };
    ConnError::Protocol(format!("{what} where something else was due"))
}

/// Canonical CBOR.
pub(crate) fn encode<T: Encode<()>>(value: &T) -> Vec<u8> {
    minicbor::to_vec(value).expect("encoding into a Vec cannot fail")
}

/// Random bytes from the operating system.
///
/// # Panics
/// When the kernel has no randomness: nothing useful can be done then, and going on would be worse.
#[must_use]
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes on every supported system");
    bytes
}

#[cfg(test)]
mod tests;
