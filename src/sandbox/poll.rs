//! Waiting: epoll with tokens and a deadline, signals as descriptors.
//!
//! What does not belong: an executor, callbacks, reading or writing what became ready. Invariant: level-triggered, so
//! whoever leaves something unread is told again.

use core::time::Duration;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::os::fd::{AsFd, BorrowedFd};

/// A call to the kernel failed that only fails when descriptors or memory run out, or on a programming error.
#[derive(Debug, thiserror::Error)]
#[error("{call}: {source}; check the descriptor limit of this role")]
pub struct PollError {
    call: &'static str,
    source: Errno,
}

/// Gives the failed call its name.
const fn failed(call: &'static str) -> impl Fn(Errno) -> PollError {
    move |source| PollError { call, source }
}

/// What the caller calls a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// What to wait for. Hang-up and error are always reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// Something to read, or the peer closed.
    Read,
    /// Room to write.
    Write,
    /// Both.
    ReadWrite,
    /// Only hang-up and error: for a peer that is not to be read for a while (back-pressure).
    Hangup,
}

impl Interest {
    const fn flags(self) -> EpollFlags {
        match self {
            Self::Read => EpollFlags::EPOLLIN.union(EpollFlags::EPOLLRDHUP),
            Self::Write => EpollFlags::EPOLLOUT,
            Self::ReadWrite => EpollFlags::EPOLLIN.union(EpollFlags::EPOLLRDHUP).union(EpollFlags::EPOLLOUT),
            Self::Hangup => EpollFlags::empty(),
        }
    }
}

/// One descriptor that became ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// As given to [`Poller::add`].
    pub token: Token,
    /// Something to read, or end of stream.
    pub readable: bool,
    /// Room to write.
    pub writable: bool,
    /// The peer closed (its end at least for writing) or the descriptor is in error; read what is left.
    pub closed: bool,
}

/// An epoll instance.
#[derive(Debug)]
pub struct Poller {
    epoll: Epoll,
}

/// Most events of one wait: a recorder has fewer than ten descriptors, scribe one per role and client.
const EVENTS_MAX: usize = 64;

impl Poller {
    /// A poller without descriptors.
    ///
    /// # Errors
    /// When descriptors run out.
    pub fn new() -> Result<Self, PollError> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(failed("epoll_create1"))?;
        Ok(Self { epoll })
    }

    /// Starts to watch. The descriptor must be removed before it is closed if a duplicate stays open elsewhere.
    ///
    /// # Errors
    /// When it is watched already, or is a regular file.
    pub fn add(&self, fd: impl AsFd, token: Token, interest: Interest) -> Result<(), PollError> {
        self.epoll.add(fd, EpollEvent::new(interest.flags(), token.0)).map_err(failed("epoll_ctl add"))
    }

    /// Changes what is waited for.
    ///
    /// # Errors
    /// When it is not watched.
    pub fn modify(&self, fd: impl AsFd, token: Token, interest: Interest) -> Result<(), PollError> {
        let mut event = EpollEvent::new(interest.flags(), token.0);
        self.epoll.modify(fd, &mut event).map_err(failed("epoll_ctl modify"))
    }

    /// Stops to watch.
    ///
    /// # Errors
    /// When it is not watched.
    pub fn remove(&self, fd: impl AsFd) -> Result<(), PollError> {
        self.epoll.delete(fd).map_err(failed("epoll_ctl delete"))
    }

    /// Waits until something is ready or the time is over (`None`: for ever) and fills `ready`, which is cleared first.
    /// Times are rounded up to milliseconds. An interrupted wait returns with nothing ready.
    ///
    /// # Errors
    /// Never on a live poller.
    pub fn wait(&self, ready: &mut Vec<Ready>, timeout: Option<Duration>) -> Result<(), PollError> {
        ready.clear();
        let timeout = timeout.map_or(EpollTimeout::NONE, |span| {
            let millis = span.as_nanos().div_ceil(1_000_000);
            EpollTimeout::try_from(millis.min(i32::MAX as u128)).unwrap_or(EpollTimeout::MAX)
        });
        let mut events = [EpollEvent::empty(); EVENTS_MAX];
        let count = match self.epoll.wait(&mut events, timeout) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(source) => return Err(failed("epoll_wait")(source)),
        };
        ready.extend(events[..count].iter().map(|event| {
            let flags = event.events();
            let closed = flags.intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR | EpollFlags::EPOLLRDHUP);
            Ready {
                token: Token(event.data()),
                readable: flags.contains(EpollFlags::EPOLLIN) || closed,
                writable: flags.contains(EpollFlags::EPOLLOUT),
                closed,
            }
        }));
        Ok(())
    }
}

/// Signals as a descriptor. While it lives they interrupt nothing.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
}

impl Signals {
    /// What a supervisor listens to: a child ended, stop, stop, read the configuration again.
    pub const SUPERVISOR: [Signal; 4] = [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];

    /// Blocks the signals in this thread (start here, before any other thread) and reads them from a descriptor.
    /// Children must unblock them again; [`crate::poll::unblock_all`] does.
    ///
    /// # Errors
    /// When descriptors run out.
    pub fn watch(signals: &[Signal]) -> Result<Self, PollError> {
        let mut set = SigSet::empty();
        signals.iter().for_each(|signal| set.add(*signal));
        set.thread_block().map_err(failed("sigprocmask"))?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        SignalFd::with_flags(&set, flags).map(|fd| Self { fd }).map_err(failed("signalfd"))
    }

    /// The next signal, `None` when there is none now. Several of one kind may arrive as one: after SIGCHLD reap until
    /// nothing is left.
    ///
    /// # Errors
    /// Never on a live descriptor.
    pub fn next_signal(&self) -> Result<Option<Signal>, PollError> {
        match self.fd.read_signal() {
            Ok(info) => Ok(info.and_then(|i| Signal::try_from(i32::try_from(i.ssi_signo).ok()?).ok())),
            Err(source) => Err(failed("read of signals")(source)),
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Unblocks every signal of this thread (for a fresh child of a process that watches signals).
///
/// # Errors
/// Never.
pub fn unblock_all() -> Result<(), PollError> {
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).map_err(failed("sigprocmask"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_readable_peer_a_silent_one_and_a_closed_one_are_told_apart() {
        let poller = Poller::new().unwrap();
        let (near, mut far) = UnixStream::pair().unwrap();
        let (silent, _held) = UnixStream::pair().unwrap();
        poller.add(&near, Token(1), Interest::Read).unwrap();
        poller.add(&silent, Token(2), Interest::Read).unwrap();
        let mut ready = Vec::new();
        poller.wait(&mut ready, Some(Duration::ZERO)).unwrap();
        assert_eq!(ready, []);

        far.write_all(b"x").unwrap();
        poller.wait(&mut ready, None).unwrap();
        assert_eq!(ready, [Ready { token: Token(1), readable: true, writable: false, closed: false }]);

        poller.modify(&near, Token(1), Interest::Hangup).unwrap();
        poller.wait(&mut ready, Some(Duration::ZERO)).unwrap();
        assert_eq!(ready, [], "only the end of a peer counts now");

        drop(far);
        poller.wait(&mut ready, None).unwrap();
        assert!(ready[0].closed && ready[0].token == Token(1));
        poller.remove(&near).unwrap();
        poller.wait(&mut ready, Some(Duration::from_micros(1))).unwrap();
        assert_eq!(ready, []);
    }

    #[test]
    fn a_watched_signal_is_read_and_interrupts_nothing() {
        let thread = std::thread::spawn(|| {
            let signals = Signals::watch(&[Signal::SIGUSR2]).unwrap();
            assert_eq!(signals.next_signal().unwrap(), None);
            nix::sys::signal::raise(Signal::SIGUSR2).unwrap();
            assert_eq!(signals.next_signal().unwrap(), Some(Signal::SIGUSR2));
            unblock_all().unwrap();
        });
        thread.join().unwrap();
    }
}
