//! The socket of this machine: frames of CBOR for the command line, one connection after the other question.
//!
//! What does not belong: what is asked. Their number is bounded, in all and for each account of the system, and each frame has
//! its deadline ([`frames`]), so that no client takes the room of others.

use super::frames::{read_frame, write_chunk, write_frame};
use super::questions::{Questions, away};
use super::sealed::Sealed;
use crate::message::ScribeToPortal;
use peri_access::wire::{Ask, CHUNK_MAX, Problem, Reply, decode_strict};
use peri_domain::limits::{PORTAL_CONNECTIONS_MAX, PORTAL_CONNECTIONS_PER_UID};
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use tokio::net::{UnixListener, UnixStream};

/// Open connections by the account of the system that holds them.
type Connections = Rc<RefCell<HashMap<u32, usize>>>;

/// Serves the socket for ever.
///
/// # Errors
/// When it cannot be waited on.
pub(super) async fn serve(listener: std::os::unix::net::UnixListener, questions: Arc<Questions>) -> anyhow::Result<()> {
    let listener = UnixListener::from_std(listener)?;
    let connections = Connections::default();
    loop {
        let Ok((mut stream, _)) = listener.accept().await else { continue };
        match Place::take(&connections, &stream) {
            Ok(place) => {
                let questions = questions.clone();
                actix_web::rt::spawn(async move {
                    // The client is gone or broke the protocol; either way its connection ends, and nothing else does.
                    let _ = converse(&mut stream, &questions).await;
                    drop(place);
                });
            }
            Err(problem) => {
                actix_web::rt::spawn(async move { write_frame(&mut stream, &Reply::NotTaken(problem)).await });
            }
        }
    }
}

/// One of the connections that there may be; the peer's uid grants nothing, it only bounds what one account takes.
struct Place {
    connections: Connections,
    uid: u32,
}

impl Place {
    fn take(connections: &Connections, stream: &UnixStream) -> Result<Self, Problem> {
        let full = |detail: String| Problem::new(503, "too_many_connections", "Too many connections", detail);
        let peer = stream.peer_cred().map_err(|error| full(format!("who asks is unknown: {error}")))?;
        let uid = peer.uid();
        let mut open = connections.borrow_mut();
        if open.values().sum::<usize>() >= PORTAL_CONNECTIONS_MAX {
            return Err(full(format!("{PORTAL_CONNECTIONS_MAX} are open; try again in a moment")));
        }
        let own = open.entry(uid).or_default();
        if *own >= PORTAL_CONNECTIONS_PER_UID {
            return Err(full(format!("{PORTAL_CONNECTIONS_PER_UID} of your account are open; close some of them")));
        }
        *own += 1;
        drop(open);
        Ok(Self { connections: connections.clone(), uid })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut connections = self.connections.borrow_mut();
        if let Some(own) = connections.get_mut(&self.uid) {
            *own -= 1;
            if *own == 0 {
                connections.remove(&self.uid);
            }
        }
    }
}

async fn converse(stream: &mut UnixStream, questions: &Arc<Questions>) -> io::Result<()> {
    let mut frame = Vec::new();
    while read_frame(stream, &mut frame).await? {
        let ask = match decode_strict::<Ask>(&frame) {
            Ok(ask) => ask,
            Err(error) => {
                let problem = Problem::new(400, "malformed", "This frame is not a request", error.to_string());
                return write_frame(stream, &Reply::NotTaken(problem)).await;
            }
        };
        answer(stream, questions, ask).await?;
    }
    Ok(())
}

async fn answer(stream: &mut UnixStream, questions: &Arc<Questions>, ask: Ask) -> io::Result<()> {
    // Nobody waits for the answer any more, and the client's next request may say so already: passed on now, it could
    // look like somebody's copy.
    if is_over(stream) {
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    let mut question = match questions.ask(ask, None) {
        Ok(question) => question,
        Err(problem) => return write_frame(stream, &Reply::NotTaken(problem)).await,
    };
    let reply = match question.answer().await {
        Ok((ScribeToPortal::Answer { body, .. }, _)) => Reply::Answer(body),
        Ok((ScribeToPortal::Problem { problem, .. }, _)) => Reply::Problem(problem),
        Ok((ScribeToPortal::NotTaken { problem, .. }, _)) => Reply::NotTaken(problem),
        Ok((ScribeToPortal::Conflict { conflict, .. }, _)) => Reply::Conflict(conflict),
        Ok((ScribeToPortal::Stream { offset, end, follow_until, .. }, Some(fd))) => {
            let mut sealed = Sealed::new(fd, offset..end, follow_until);
            write_frame(stream, &Reply::Stream { length: end.saturating_sub(offset) }).await?;
            while let Some(bytes) = sealed.next(&mut question, CHUNK_MAX).await? {
                write_chunk(stream, bytes).await?;
            }
            Reply::End
        }
        Ok(_) => Reply::NotTaken(away()),
        Err(problem) => Reply::NotTaken(problem),
    };
    write_frame(stream, &reply).await
}

/// Whether the client has hung up: then the end lies ready to be read, behind nothing.
fn is_over(stream: &UnixStream) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd as _;
    let mut fds = [PollFd::new(stream.as_fd(), PollFlags::POLLHUP)];
    poll(&mut fds, PollTimeout::ZERO).is_ok() && fds[0].any().unwrap_or(false)
}
