//! The connection to an appliance: frames over a Unix socket, the birth certificate, signed requests, sealed streams.
//!
//! What does not belong: which key signs, what the answers mean. Invariants: a frame longer than
//! [`FRAME_MAX`](wire::FRAME_MAX) is refused before a byte of it is stored; answers are decoded strictly; a broken
//! connection is never used again (after an error in the middle of a frame the two ends disagree on where they are).

use minicbor::{Decode, Encode};
use peri_access::wire::{self, Ask, BirthCertificate, FetchBody, Method, Problem, Reply, decode_strict, sign_request};
use peri_domain::{Nonce, VmId};
use peri_seal::keys::KeyPair;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long an answer may take: the appliance makes an entry durable and seals at most 24 keys before it answers.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

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
    /// It speaks, but not our protocol.
    #[error("the appliance's answer is not understood ({0}); are client and appliance of the same version?")]
    Protocol(String),
    /// It refuses, and says why.
    #[error(transparent)]
    Refused(#[from] Problem),
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
            Self::Unreachable { .. } | Self::Broken(_) | Self::Protocol(_) => 4,
            Self::Forged => 5,
        }
    }
}

/// One connection; questions and answers alternate.
#[derive(Debug)]
pub struct Connection<S> {
    stream: S,
    /// After an error in the middle of a frame or a stream.
    broken: bool,
}

impl Connection<UnixStream> {
    /// Connects to the appliance's socket.
    ///
    /// # Errors
    /// [`ConnError::Unreachable`].
    pub fn open(path: &Path) -> Result<Self, ConnError> {
        let unreachable = |source| ConnError::Unreachable { path: path.to_owned(), source };
        let stream = UnixStream::connect(path).map_err(unreachable)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(unreachable)?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT)).map_err(unreachable)?;
        Ok(Self::over(stream))
    }

    /// Waits for answers as long as the connection stands (live pictures pause while a camera is away).
    ///
    /// # Errors
    /// [`ConnError::Broken`].
    pub fn wait_for_ever(&self) -> Result<(), ConnError> {
        Ok(self.stream.set_read_timeout(None)?)
    }
}

impl<S: Read + Write> Connection<S> {
    /// Speaks over any stream.
    pub const fn over(stream: S) -> Self {
        Self { stream, broken: false }
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

    /// A request signed by `who`; the body and answer types are those of the method ([`Method`]).
    ///
    /// # Errors
    /// [`ConnError`].
    pub fn request<B, A>(&mut self, vm: VmId, method: Method, body: &B, who: &KeyPair) -> Result<A, ConnError>
    where
        B: Encode<()>,
        A: for<'b> Decode<'b, ()> + Encode<()>,
    {
        self.request_with_nonce(vm, method, body, who).map(|(answer, _)| answer)
    }

    /// As [`Connection::request`], with the nonce used: X comes back bound to it.
    ///
    /// # Errors
    /// [`ConnError`].
    pub fn request_with_nonce<B, A>(
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
        let nonce = self.nonce()?;
        let request = sign_request(vm, method, encode(body), nonce, who);
        Ok((self.answer(&Ask::Signed(request))?, nonce))
    }

    /// Starts a stream of sealed bytes.
    ///
    /// # Errors
    /// [`ConnError`].
    pub fn fetch(&mut self, vm: VmId, body: &FetchBody, who: &KeyPair) -> Result<SealedStream<'_, S>, ConnError> {
        let nonce = self.nonce()?;
        let request = sign_request(vm, Method::Fetch, encode(body), nonce, who);
        match self.ask(&Ask::Signed(request))? {
            Reply::Stream { length } => {
                Ok(SealedStream { connection: self, length, chunk: Vec::new(), at: 0, ended: false, received: 0 })
            }
            other => Err(unexpected(&other)),
        }
    }

    fn nonce(&mut self) -> Result<Nonce, ConnError> {
        self.answer(&Ask::Nonce)
    }

    fn answer<A>(&mut self, ask: &Ask) -> Result<A, ConnError>
    where
        A: for<'b> Decode<'b, ()> + Encode<()>,
    {
        match self.ask(ask)? {
            Reply::Answer(bytes) => decode_strict(&bytes).map_err(|error| ConnError::Protocol(error.to_string())),
            other => Err(unexpected(&other)),
        }
    }

    /// One question, one frame back; a problem becomes an error.
    fn ask(&mut self, ask: &Ask) -> Result<Reply, ConnError> {
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
        match reply {
            Reply::Problem(problem) => Err(ConnError::Refused(problem)),
            reply => Ok(reply),
        }
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

/// Sealed bytes arriving: a [`Read`] that ends where the appliance says [`Reply::End`].
///
/// Dropped before its end it leaves the connection unusable, since the rest of the stream is still on its way.
pub struct SealedStream<'a, S: Read + Write> {
    connection: &'a mut Connection<S>,
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

    fn next_chunk(&mut self) -> Result<(), ConnError> {
        match self.connection.receive()? {
            Reply::Chunk(bytes) if bytes.len() <= wire::CHUNK_MAX => {
                self.received += bytes.len() as u64;
                self.chunk = bytes.into();
                self.at = 0;
            }
            Reply::End => {
                self.ended = true;
                self.connection.broken = false;
            }
            Reply::Problem(problem) => {
                self.ended = true;
                self.connection.broken = false;
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
        self.connection.broken = !self.ended;
    }
}

fn unexpected(reply: &Reply) -> ConnError {
    let what = match reply {
        Reply::Answer(_) => "an answer",
        Reply::Problem(_) => "a problem",
        Reply::Stream { .. } => "the start of a stream",
        Reply::Chunk(_) => "a chunk",
        Reply::End => "the end of a stream",
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
