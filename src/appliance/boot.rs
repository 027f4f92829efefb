//! The first lines of every role: the control channel to the supervisor, and putting the walls up.
//!
//! A role takes its start message, opens nothing else, confines itself, and only then reads a message from a peer.

use crate::message::{Order, Report, Start};
use anyhow::{Context as _, bail};
use peri_sandbox::channel::{Channel, RecvError, Typed};
use peri_sandbox::durable::Dir;
use peri_sandbox::landlock::Rules;
use peri_sandbox::seccomp::Role;
use peri_sandbox::{confine, spawn};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

/// The supervisor speaks within milliseconds; a role that was started by hand ends instead of waiting for ever.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// The channel to the supervisor.
pub(crate) struct Control {
    typed: Typed<Report, Order>,
    gone: bool,
}

impl Control {
    /// Takes descriptor 3.
    ///
    /// # Errors
    /// When this process was not started by a supervisor.
    pub(crate) fn inherited() -> anyhow::Result<Self> {
        let channel = spawn::control_channel()
            .context("descriptor 3 is no control channel; roles are started by `peri-appliance run` only")?;
        Ok(Self { typed: Typed::new(channel), gone: false })
    }

    /// Waits for a start message and its descriptors.
    ///
    /// # Errors
    /// When none comes.
    pub(crate) fn start(&mut self) -> anyhow::Result<(Start, Vec<OwnedFd>)> {
        match self.typed.recv_wait(Some(START_PATIENCE))? {
            Some((Order::Start(start), fds)) => Ok((start, fds)),
            Some(_) => bail!("the supervisor's first message must be a start"),
            None => bail!("the supervisor sent no start message"),
        }
    }

    /// Tells the supervisor something. A lost supervisor is noticed by [`Control::poll`]; it kills its children anyway.
    ///
    /// # Errors
    /// When the supervisor is gone.
    pub(crate) fn report(&self, report: &Report) -> anyhow::Result<()> {
        Ok(self.typed.send(report)?)
    }

    /// A second handle for reports, for a role with more than one thread.
    ///
    /// # Errors
    /// Out of descriptors.
    pub(crate) fn reporter(&self) -> anyhow::Result<Reporter> {
        Ok(Channel::from(self.as_fd().try_clone_to_owned()?).into())
    }

    /// The next order if one is there.
    ///
    /// # Errors
    /// When the supervisor broke the rules of the channel.
    pub(crate) fn poll(&mut self) -> anyhow::Result<Option<(Order, Option<OwnedFd>)>> {
        match self.typed.recv_with() {
            Ok(received) => Ok(received.map(|(order, mut fds)| (order, fds.pop()))),
            Err(RecvError::PeerGone) => {
                self.gone = true;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for the next order; `None` when the supervisor is gone.
    ///
    /// # Errors
    /// As [`Control::poll`].
    pub(crate) fn next(&mut self) -> anyhow::Result<Option<(Order, Option<OwnedFd>)>> {
        loop {
            if let Some(order) = self.poll()? {
                return Ok(Some(order));
            }
            if self.gone {
                return Ok(None);
            }
            self.typed.channel().wait_readable(None)?;
        }
    }

    /// Whether the supervisor is gone.
    #[must_use]
    pub(crate) const fn is_gone(&self) -> bool {
        self.gone
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.typed.as_fd()
    }
}

/// Says something to the supervisor from any thread.
pub(crate) struct Reporter(Typed<Report, Order>);

impl Reporter {
    /// As [`Control::report`].
    ///
    /// # Errors
    /// When the supervisor is gone.
    pub(crate) fn report(&self, report: &Report) -> anyhow::Result<()> {
        Ok(self.0.send(report)?)
    }
}

impl From<Channel> for Reporter {
    fn from(channel: Channel) -> Self {
        Self(Typed::new(channel))
    }
}

/// A path to a directory that a role was handed: the kernel's link to the descriptor. The role knows no other, and needs
/// none.
#[must_use]
pub(crate) fn path_of(dir: &Dir) -> PathBuf {
    format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd()).into()
}

/// Puts the walls up: privileges, dumps, Landlock, seccomp. To be called with one thread, before any message of a peer
/// is read. Returns the Landlock version reached.
///
/// # Errors
/// Whoever gets one must end.
pub(crate) fn confine(role: Role, rules: &Rules, need_landlock: bool) -> anyhow::Result<u8> {
    let enforced = confine::confine(role, rules, &[], !need_landlock)?;
    Ok(u8::try_from(enforced.abi).unwrap_or(u8::MAX))
}
