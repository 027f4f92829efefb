//! A link between two roles: typed messages in both directions, with a bounded queue for when the peer is slow.
//!
//! Sending never blocks, so two roles can never wait for each other. What does not fit the socket waits in the queue
//! and goes out in order; a peer that lets the queue overflow is treated as gone and will be linked anew.

use minicbor::{Decode, Encode};
use peri_sandbox::channel::{Channel, RecvError, SendError, Typed};
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Messages waiting for a slow peer: a start of keeper streams its roster page by page, everything else is a handful.
const QUEUE_MAX: usize = 32_768;

/// Messages of one link taken in one turn: a peer that was taken over must not keep a role from the others.
pub(crate) const MESSAGES_PER_TURN: usize = 64;

/// Why a link is dead; its owner drops it and waits for the supervisor to bring a new one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// The other process ended or broke the rules of the channel.
    #[error("receive: {0}")]
    Recv(#[from] RecvError),
    /// The other process ended, or a message was impossible.
    #[error("send: {0}")]
    Send(#[from] SendError),
    /// The other process does not take its messages.
    #[error("the peer lets {QUEUE_MAX} messages wait")]
    Overflow,
}

/// One end of a link; `Tx` goes out, `Rx` comes in.
pub(crate) struct Link<Tx, Rx> {
    typed: Typed<Tx, Rx>,
    waiting: VecDeque<(Tx, Option<OwnedFd>)>,
}

impl<Tx: Encode<()>, Rx: Encode<()> + for<'b> Decode<'b, ()>> Link<Tx, Rx> {
    /// From the descriptor that the supervisor passed.
    #[must_use]
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self { typed: Typed::new(Channel::from(fd)), waiting: VecDeque::new() }
    }

    /// Sends, or queues when the peer's buffer is full.
    ///
    /// # Errors
    /// The link is dead.
    pub(crate) fn send(&mut self, message: Tx) -> Result<(), LinkError> {
        self.push(message, None)
    }

    /// As [`Link::send`], with a descriptor.
    ///
    /// # Errors
    /// The link is dead.
    pub(crate) fn send_with(&mut self, message: Tx, fd: OwnedFd) -> Result<(), LinkError> {
        self.push(message, Some(fd))
    }

    fn push(&mut self, message: Tx, fd: Option<OwnedFd>) -> Result<(), LinkError> {
        if self.waiting.is_empty() {
            // Straight away where it can be: a queue would keep moved copies of keys in its slots.
            let borrowed: Vec<BorrowedFd<'_>> = fd.iter().map(AsFd::as_fd).collect();
            match self.typed.send_with(&message, &borrowed) {
                Err(SendError::WouldBlock) => {}
                sent => return Ok(sent?),
            }
        }
        if self.waiting.len() >= QUEUE_MAX {
            return Err(LinkError::Overflow);
        }
        self.waiting.push_back((message, fd));
        self.flush()
    }

    /// Sends what waits, as far as the peer takes it.
    ///
    /// # Errors
    /// The link is dead.
    pub(crate) fn flush(&mut self) -> Result<(), LinkError> {
        while let Some((message, fd)) = self.waiting.front() {
            let borrowed: Vec<BorrowedFd<'_>> = fd.iter().map(AsFd::as_fd).collect();
            match self.typed.send_with(message, &borrowed) {
                Ok(()) => drop(self.waiting.pop_front()),
                Err(SendError::WouldBlock) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Whether [`Link::flush`] has something to do once the peer takes more.
    #[must_use]
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The next message, `None` when there is none now.
    ///
    /// # Errors
    /// The link is dead.
    pub(crate) fn recv(&mut self) -> Result<Option<(Rx, Option<OwnedFd>)>, LinkError> {
        Ok(self.typed.recv_with()?.map(|(message, mut fds)| (message, fds.pop())))
    }
}

/// The next message of a link that may be gone; one that dies now is dropped, and the supervisor brings another.
pub(crate) fn next_of<Tx, Rx>(slot: &mut Option<Link<Tx, Rx>>) -> Option<(Rx, Option<OwnedFd>)>
where
    Tx: Encode<()>,
    Rx: Encode<()> + for<'b> Decode<'b, ()>,
{
    match slot.as_mut()?.recv() {
        Ok(received) => received,
        Err(_) => {
            *slot = None;
            None
        }
    }
}

impl<Tx, Rx> AsFd for Link<Tx, Rx> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.typed.as_fd()
    }
}
