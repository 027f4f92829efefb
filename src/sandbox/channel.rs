//! Bounded messages with descriptors between two processes: a `SOCK_SEQPACKET` socket pair.
//!
//! What does not belong: the messages themselves. Invariants: a message arrives whole or not at all; one that was cut
//! (bytes or descriptors) is an error and its descriptors are closed; received descriptors are close-on-exec; the typed
//! form accepts only the canonical encoding.

use core::marker::PhantomData;
use core::time::Duration;
use minicbor::{Decode, Encode};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use peri_domain::limits::{MESSAGE_FDS_MAX, MESSAGE_MAX};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use zeroize::Zeroize;

/// Why a message was not sent. Nothing of it was.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The peer does not keep up; wait for room, or drop what may be dropped.
    #[error("the peer's queue is full; it does not keep up")]
    WouldBlock,
    /// The peer ended; its supervisor restarts it.
    #[error("the peer is gone")]
    PeerGone,
    /// Beyond the bounds of `peri_domain::limits`, or empty.
    #[error(
        "message of {bytes} bytes and {fds} descriptors: 1 to {MESSAGE_MAX} bytes and at most {MESSAGE_FDS_MAX} descriptors are allowed"
    )]
    TooLong {
        /// Length of the message.
        bytes: usize,
        /// Descriptors with it.
        fds: usize,
    },
    /// Out of descriptors or memory.
    #[error("sendmsg: {0}")]
    System(Errno),
}

/// Why nothing was received.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecvError {
    /// The peer ended and everything it sent was received.
    #[error("the peer is gone")]
    PeerGone,
    /// The peer sent more bytes or descriptors than allowed: it is broken or hostile, close the channel.
    #[error("the peer sent a message beyond the limits; close the channel")]
    TooLong,
    /// Not the canonical encoding of the expected type: the peer is broken or hostile, close the channel.
    #[error("the peer sent what is no canonical message of the expected type; close the channel")]
    Malformed,
    /// Out of descriptors or memory.
    #[error("recvmsg: {0}")]
    System(Errno),
}

/// One end of a socket pair between two roles. All sends are non-blocking; [`Channel::wait_readable`] and
/// [`Channel::wait_writable`] make a blocking form.
#[derive(Debug)]
pub struct Channel {
    fd: OwnedFd,
}

impl Channel {
    /// Two ends that talk to each other.
    ///
    /// # Errors
    /// When descriptors run out.
    pub fn pair() -> Result<(Self, Self), Errno> {
        let (one, other) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        Ok((Self { fd: one }, Self { fd: other }))
    }

    /// Sends one message with descriptors (duplicated; the caller keeps its own). Never blocks, never raises SIGPIPE.
    ///
    /// # Errors
    /// See [`SendError`]; on each nothing was sent.
    pub fn send(&self, message: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), SendError> {
        if message.is_empty() || message.len() > MESSAGE_MAX || fds.len() > MESSAGE_FDS_MAX {
            return Err(SendError::TooLong { bytes: message.len(), fds: fds.len() });
        }
        let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [nix::sys::socket::ControlMessage::ScmRights(&raw)];
        let control = if raw.is_empty() { &rights[..0] } else { &rights[..] };
        let flags = nix::sys::socket::MsgFlags::MSG_DONTWAIT | nix::sys::socket::MsgFlags::MSG_NOSIGNAL;
        let bytes = [std::io::IoSlice::new(message)];
        loop {
            return match nix::sys::socket::sendmsg::<()>(self.fd.as_raw_fd(), &bytes, control, flags, None) {
                Ok(_) => Ok(()),
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN | Errno::ETOOMANYREFS) => Err(SendError::WouldBlock),
                Err(Errno::EPIPE | Errno::ECONNRESET | Errno::ENOTCONN) => Err(SendError::PeerGone),
                Err(errno) => Err(SendError::System(errno)),
            };
        }
    }

    /// Receives one message into `buffer` (at least [`MESSAGE_MAX`] long, else longer messages are refused). `None`:
    /// nothing there now.
    ///
    /// # Errors
    /// See [`RecvError`]; a message beyond the limits is consumed and its descriptors are closed.
    pub fn recv(&self, buffer: &mut [u8]) -> Result<Option<(usize, Vec<OwnedFd>)>, RecvError> {
        let Some((length, flags, fds)) = self.receive_raw(buffer)? else { return Ok(None) };
        if flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0 {
            return Err(RecvError::TooLong);
        }
        if length == 0 {
            return Err(RecvError::PeerGone);
        }
        Ok(Some((length, fds)))
    }

    /// Waits until there is something to receive (or the peer is gone); `false` when the time is over.
    ///
    /// # Errors
    /// Never on a live channel.
    pub fn wait_readable(&self, timeout: Option<Duration>) -> Result<bool, Errno> {
        wait(self.fd.as_fd(), PollFlags::POLLIN, timeout)
    }

    /// Waits until there is room to send (or the peer is gone); `false` when the time is over.
    ///
    /// # Errors
    /// Never on a live channel.
    pub fn wait_writable(&self, timeout: Option<Duration>) -> Result<bool, Errno> {
        wait(self.fd.as_fd(), PollFlags::POLLOUT, timeout)
    }

    /// Raw recvmsg: nix refuses to hand out the descriptors of a message whose control part was cut, which would leak
    /// them into this process.
    fn receive_raw(&self, buffer: &mut [u8]) -> Result<Option<(usize, i32, Vec<OwnedFd>)>, RecvError> {
        let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        let mut control = ControlBuffer([0; CONTROL_LEN]);
        // SAFETY: all-zero is a valid msghdr (no name, no vectors, no control).
        let mut header: libc::msghdr = unsafe { core::mem::zeroed() };
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        header.msg_control = control.0.as_mut_ptr().cast();
        header.msg_controllen = CONTROL_LEN as _;
        let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
        let length = loop {
            // SAFETY: the header points to the live buffers above with their true lengths.
            let got = unsafe { libc::recvmsg(self.fd.as_raw_fd(), &raw mut header, flags) };
            match usize::try_from(got) {
                Ok(length) => break length,
                Err(_) => match Errno::last() {
                    Errno::EINTR => continue,
                    Errno::EAGAIN => return Ok(None),
                    Errno::ECONNRESET | Errno::ENOTCONN => return Err(RecvError::PeerGone),
                    errno => return Err(RecvError::System(errno)),
                },
            }
        };
        // SAFETY: the kernel filled `control` and set msg_controllen to what it wrote.
        let fds = unsafe { received_fds(&header) };
        Ok(Some((length, header.msg_flags, fds)))
    }
}

/// Room for exactly [`MESSAGE_FDS_MAX`] descriptors. Should padding leave room for more, the typed limit below the
/// kernel's still holds, since each is taken over and counted.
// SAFETY of the call: CMSG_SPACE only computes.
const CONTROL_LEN: usize = unsafe { libc::CMSG_SPACE((MESSAGE_FDS_MAX * size_of::<RawFd>()) as u32) } as usize;

/// Aligned as `cmsghdr` wants it.
#[repr(C, align(8))]
struct ControlBuffer([u8; CONTROL_LEN]);

/// Takes over every descriptor of a received message.
///
/// # Safety
/// `header` must be as recvmsg(2) left it, its control buffer alive, and this must be called once per message.
unsafe fn received_fds(header: &libc::msghdr) -> Vec<OwnedFd> {
    let mut fds = Vec::new();
    // SAFETY: by the caller, the control part is what the kernel wrote; CMSG_NXTHDR stays inside it. Descriptors that
    // the kernel put there are new and owned by nobody else.
    unsafe {
        let mut next = libc::CMSG_FIRSTHDR(header);
        while let Some(message) = next.as_ref() {
            if message.cmsg_level == libc::SOL_SOCKET && message.cmsg_type == libc::SCM_RIGHTS {
                let data = libc::CMSG_DATA(next);
                let bytes = message.cmsg_len.saturating_sub(libc::CMSG_LEN(0) as usize);
                for at in 0..bytes / size_of::<RawFd>() {
                    let fd = data.add(at * size_of::<RawFd>()).cast::<RawFd>().read_unaligned();
                    fds.push(OwnedFd::from_raw_fd(fd));
                }
            }
            next = libc::CMSG_NXTHDR(header, next);
        }
    }
    fds
}

fn wait(fd: BorrowedFd<'_>, flags: PollFlags, timeout: Option<Duration>) -> Result<bool, Errno> {
    let timeout = timeout.map_or(PollTimeout::NONE, |span| {
        let millis = span.as_nanos().div_ceil(1_000_000);
        PollTimeout::try_from(millis.min(i32::MAX as u128)).unwrap_or(PollTimeout::MAX)
    });
    match poll(&mut [PollFd::new(fd, flags)], timeout) {
        Ok(count) => Ok(count > 0),
        Err(Errno::EINTR) => Ok(false),
        Err(errno) => Err(errno),
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<OwnedFd> for Channel {
    /// A descriptor that was inherited or received. A socket of another type is noticed at the first message.
    fn from(fd: OwnedFd) -> Self {
        Self { fd }
    }
}

impl From<Channel> for OwnedFd {
    fn from(channel: Channel) -> Self {
        channel.fd
    }
}

/// A channel whose messages have types: `Tx` goes out, `Rx` comes in.
///
/// Messages may carry keys, so the buffers are wiped after every message.
pub struct Typed<Tx, Rx> {
    channel: Channel,
    buffer: Vec<u8>,
    types: PhantomData<fn(Tx) -> Rx>,
}

impl<Tx: Encode<()>, Rx: Encode<()> + for<'b> Decode<'b, ()>> Typed<Tx, Rx> {
    /// Wraps an end.
    #[must_use]
    pub fn new(channel: Channel) -> Self {
        Self { channel, buffer: vec![0; MESSAGE_MAX], types: PhantomData }
    }

    /// Sends without descriptors.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send(&self, message: &Tx) -> Result<(), SendError> {
        self.send_with(message, &[])
    }

    /// Sends with descriptors.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send_with(&self, message: &Tx, fds: &[BorrowedFd<'_>]) -> Result<(), SendError> {
        // Room for the longest message at once: a growing vector would leave copies of keys behind.
        let mut bytes = Vec::with_capacity(MESSAGE_MAX);
        let encoded = minicbor::encode(message, &mut bytes);
        let sent = match encoded {
            Ok(()) => self.channel.send(&bytes, fds),
            Err(_) => Err(SendError::TooLong { bytes: bytes.len(), fds: fds.len() }),
        };
        bytes.zeroize();
        sent
    }

    /// Receives without descriptors; some that came all the same are closed and refused. `None`: nothing there now.
    ///
    /// # Errors
    /// See [`RecvError`].
    pub fn recv(&mut self) -> Result<Option<Rx>, RecvError> {
        match self.recv_with()? {
            Some((message, fds)) if fds.is_empty() => Ok(Some(message)),
            Some(_) => Err(RecvError::Malformed),
            None => Ok(None),
        }
    }

    /// Receives with descriptors. `None`: nothing there now.
    ///
    /// # Errors
    /// See [`RecvError`].
    pub fn recv_with(&mut self) -> Result<Option<(Rx, Vec<OwnedFd>)>, RecvError> {
        let Some((length, fds)) = self.channel.recv(&mut self.buffer)? else { return Ok(None) };
        let message = decode_canonical(&self.buffer[..length]);
        self.buffer[..length].zeroize();
        Ok(Some((message?, fds)))
    }

    /// Sends, then waits for the one answer. For a client of a request-and-answer channel that has nothing else to do.
    /// `None`: no answer in time.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn call(
        &mut self,
        message: &Tx,
        fds: &[BorrowedFd<'_>],
        timeout: Duration,
    ) -> Result<Option<(Rx, Vec<OwnedFd>)>, CallError> {
        if !self.channel.wait_writable(Some(timeout)).map_err(RecvError::System)? {
            return Err(SendError::WouldBlock.into());
        }
        self.send_with(message, fds)?;
        self.recv_wait(Some(timeout)).map_err(CallError::from)
    }

    /// Receives, waiting for at most `timeout` (`None`: for ever). `None`: nothing came in time.
    ///
    /// # Errors
    /// See [`RecvError`].
    pub fn recv_wait(&mut self, timeout: Option<Duration>) -> Result<Option<(Rx, Vec<OwnedFd>)>, RecvError> {
        loop {
            if let Some(received) = self.recv_with()? {
                return Ok(Some(received));
            }
            let ready = self.channel.wait_readable(timeout).map_err(RecvError::System)?;
            if !ready && timeout.is_some() {
                return Ok(None);
            }
        }
    }

    /// The channel, to poll it.
    pub fn channel(&self) -> &Channel {
        &self.channel
    }
}

/// Why a call got no answer.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The question was not sent.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The answer was not received.
    #[error(transparent)]
    Recv(#[from] RecvError),
}

impl<Tx, Rx> AsFd for Typed<Tx, Rx> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

/// Decodes only what encodes to the same bytes again (RFC 8949 §4.2.1 asks the same of deterministic encoders), so one
/// meaning has one form and trailing bytes are refused.
fn decode_canonical<T: Encode<()> + for<'b> Decode<'b, ()>>(bytes: &[u8]) -> Result<T, RecvError> {
    let message: T = minicbor::decode(bytes).map_err(|_| RecvError::Malformed)?;
    let mut again = Vec::with_capacity(MESSAGE_MAX);
    let same = minicbor::encode(&message, &mut again).is_ok() && again == bytes;
    again.zeroize();
    if same { Ok(message) } else { Err(RecvError::Malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[derive(Debug, PartialEq, Encode, Decode)]
    struct Note(#[n(0)] u64, #[n(1)] minicbor::bytes::ByteVec);

    #[test]
    fn messages_keep_their_edges_and_descriptors_travel() {
        let (one, other) = Channel::pair().unwrap();
        let file = std::fs::File::open("/proc/self/stat").unwrap();
        one.send(b"first", &[]).unwrap();
        one.send(b"second", &[file.as_fd(), file.as_fd()]).unwrap();
        let mut buffer = [0; 64];
        let (length, fds) = other.recv(&mut buffer).unwrap().unwrap();
        assert_eq!((&buffer[..length], fds.len()), (&b"first"[..], 0));
        let (length, fds) = other.recv(&mut buffer).unwrap().unwrap();
        assert_eq!((&buffer[..length], fds.len()), (&b"second"[..], 2));
        let flags = nix::fcntl::fcntl(&fds[0], nix::fcntl::FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
        let mut text = String::new();
        std::fs::File::from(fds.into_iter().next().unwrap()).read_to_string(&mut text).unwrap();
        assert!(text.starts_with(&std::process::id().to_string()));
        assert!(other.recv(&mut buffer).unwrap().is_none());
        drop(one);
        assert_eq!(other.recv(&mut buffer).unwrap_err(), RecvError::PeerGone);
        assert_eq!(other.send(b"x", &[]), Err(SendError::PeerGone));
    }

    #[test]
    fn a_message_beyond_the_limits_is_neither_sent_nor_received() {
        let (one, other) = Channel::pair().unwrap();
        assert!(matches!(one.send(&vec![0; MESSAGE_MAX + 1], &[]), Err(SendError::TooLong { .. })));
        assert!(matches!(one.send(b"", &[]), Err(SendError::TooLong { .. })));
        let fds = [one.as_fd(); MESSAGE_FDS_MAX + 1];
        assert!(matches!(one.send(b"x", &fds), Err(SendError::TooLong { .. })));
        one.send(b"longer than the buffer", &[]).unwrap();
        assert_eq!(other.recv(&mut [0; 4]).unwrap_err(), RecvError::TooLong);
        one.send(&vec![1; MESSAGE_MAX], &[]).unwrap();
        assert_eq!(other.recv(&mut vec![0; MESSAGE_MAX]).unwrap().unwrap().0, MESSAGE_MAX);
    }

    #[test]
    fn too_many_descriptors_are_refused_and_closed() {
        let (one, other) = Channel::pair().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        let (watched, far) = std::os::unix::net::UnixStream::pair().unwrap();
        let raw = [far.as_raw_fd(), null.as_raw_fd(), null.as_raw_fd(), null.as_raw_fd()];
        nix::sys::socket::sendmsg::<()>(
            one.fd.as_raw_fd(),
            &[std::io::IoSlice::new(b"x")],
            &[nix::sys::socket::ControlMessage::ScmRights(&raw)],
            nix::sys::socket::MsgFlags::empty(),
            None,
        )
        .unwrap();
        drop(far);
        assert_eq!(other.recv(&mut [0; 4]).unwrap_err(), RecvError::TooLong);
        watched.set_nonblocking(true).unwrap();
        assert_eq!((&watched).read(&mut [0]).unwrap(), 0, "every copy of the far end is closed");
    }

    #[test]
    fn a_full_queue_blocks_nobody() {
        let (one, _other) = Channel::pair().unwrap();
        let message = vec![0; MESSAGE_MAX];
        let error = (0..1000).find_map(|_| one.send(&message, &[]).err());
        assert_eq!(error, Some(SendError::WouldBlock));
        assert!(!one.wait_writable(Some(Duration::ZERO)).unwrap());
    }

    #[test]
    fn only_the_canonical_form_of_the_expected_type_is_accepted() {
        let (one, other) = Channel::pair().unwrap();
        let (sender, mut receiver) = (Typed::<Note, Note>::new(one), Typed::<Note, Note>::new(other));
        let note = Note(5, vec![1, 2].into());
        sender.send(&note).unwrap();
        assert_eq!(receiver.recv().unwrap(), Some(note));
        assert!(receiver.buffer.iter().all(|b| *b == 0), "wiped after use");
        for bytes in [
            &[0x82, 0x18, 0x05, 0x41, 0x01][..], // 5 in two bytes
            &[0x82, 0x05, 0x41, 0x01, 0x00],     // a trailing byte
            &[0x9f, 0x05, 0x41, 0x01, 0xff],     // indefinite length
            &[0x82, 0x05],                       // cut
        ] {
            sender.channel.send(bytes, &[]).unwrap();
            assert_eq!(receiver.recv(), Err(RecvError::Malformed), "{bytes:x?}");
        }
        sender.send_with(&Note(1, vec![].into()), &[sender.as_fd()]).unwrap();
        assert_eq!(receiver.recv(), Err(RecvError::Malformed), "a descriptor nobody asked for");
    }
}
