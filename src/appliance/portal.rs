//! portal: faces clients on a unix socket, holds nothing lasting, serves only sealed bytes.
//!
//! It reads frames, checks their bounds, forwards them to scribe as typed messages and streams sealed segments from
//! descriptors that scribe opened for reading. It has no file, no network, no key; whatever it says about who asks is
//! checked again by scribe. A thread per connection is enough for a control room; their number is bounded, in all and for
//! each account of the system, and each frame has its deadline ([`frames`]), so that no client takes the room of others.
//!
//! What it streams: the past up to the end that scribe knows as durable, never beyond; the live picture as it is written,
//! before it is durable, because a viewer who waits for the disk sees everything two seconds late.

mod frames;

use crate::boot::{self, Control, Reporter};
use crate::message::{Order, Peer, PortalToScribe, Report, ScribeToPortal, Start};
use crate::walls;
use frames::{read_frame, write_chunk, write_frame};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use peri_access::wire::{Ask, CHUNK_MAX, Problem, Reply, decode_strict};
use peri_domain::UtcNanos;
use peri_domain::limits::{self, PORTAL_CONNECTIONS_MAX, PORTAL_CONNECTIONS_PER_UID};
use peri_sandbox::channel::Channel;
use peri_sandbox::clock::{Clock, SystemClock};
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Longest wait for scribe: the ledger's batch, a database that is just coming back, 24 sealed X.
const SCRIBE_PATIENCE: Duration = Duration::from_secs(30);
/// How often a followed segment is looked at for growth: less than a fragment, so live waits for sealing, not for us.
const FOLLOW_EVERY: Duration = Duration::from_millis(100);
/// How long behind the end of its epoch a followed segment is waited for: its recorder writes what it still has of the
/// epoch, and scribe says closed. Where either is away, the stream ends without that.
const CLOSING: Duration = Duration::from_secs(2);
type FromScribe = (ScribeToPortal, Option<OwnedFd>);

struct Shared {
    scribe: Mutex<Option<Arc<Channel>>>,
    pending: Mutex<HashMap<u64, SyncSender<FromScribe>>>,
    next_id: AtomicU64,
    /// Open connections by the account of the system that holds them.
    connections: Mutex<HashMap<u32, usize>>,
    supervisor: Reporter,
    clock: SystemClock,
}

impl Shared {
    fn new(supervisor: Reporter) -> Self {
        Self {
            scribe: Mutex::new(None),
            pending: Mutex::new(HashMap::new()),
            next_id: AtomicU64::new(1),
            connections: Mutex::new(HashMap::new()),
            supervisor,
            clock: SystemClock,
        }
    }
}

/// Runs the role until the supervisor goes away.
///
/// # Errors
/// What made it impossible to start; afterwards only the loss of the supervisor ends it.
pub(crate) fn run(mut control: Control) -> anyhow::Result<()> {
    let (start, mut fds) = control.start()?;
    let Start::Portal { need_landlock } = start else { anyhow::bail!("portal was started as something else") };
    let listener = UnixListener::from(fds.pop().ok_or_else(|| anyhow::anyhow!("portal got no listening socket"))?);
    let shared = Arc::new(Shared::new(control.reporter()?));
    let landlock_abi = boot::confine(peri_sandbox::seccomp::Role::Portal, &walls::portal(), need_landlock)?;
    control.report(&Report::Ready { landlock_abi })?;
    let for_accept = shared.clone();
    std::thread::Builder::new().name("accept".into()).spawn(move || accept(&listener, &for_accept))?;
    loop {
        match control.next()? {
            Some((Order::Link(Peer::Scribe), Some(fd))) => {
                let channel = Arc::new(Channel::from(fd));
                *lock(&shared.scribe) = Some(channel.clone());
                // Questions to the old scribe are never answered; each waiting client is told at once.
                lock(&shared.pending).clear();
                let shared = shared.clone();
                std::thread::Builder::new().name("scribe".into()).spawn(move || receive(&channel, &shared))?;
            }
            Some((Order::Stop, _)) | None => return Ok(()),
            Some(_) => {}
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panicked thread leaves these maps whole: each change is one insert or remove.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes scribe's messages until the link dies. The supervisor makes it anew where scribe lives.
fn receive(channel: &Channel, shared: &Shared) {
    let mut buffer = vec![0; limits::MESSAGE_MAX];
    loop {
        let (length, mut fds) = match channel.recv(&mut buffer) {
            Ok(Some(received)) => received,
            Ok(None) => match channel.wait_readable(None) {
                Ok(_) => continue,
                Err(_) => break,
            },
            Err(_) => break,
        };
        let Ok(message) = decode_strict::<ScribeToPortal>(&buffer[..length]) else { break };
        let id = match &message {
            ScribeToPortal::Answer { id, .. }
            | ScribeToPortal::Problem { id, .. }
            | ScribeToPortal::NotTaken { id, .. }
            | ScribeToPortal::Conflict { id, .. }
            | ScribeToPortal::Stream { id, .. }
            | ScribeToPortal::Closed { id } => *id,
        };
        let waiting = lock(&shared.pending).get(&id).cloned();
        if let Some(waiting) = waiting {
            // The queue of one question holds all that scribe ever says to it; a full one belongs to a dead client.
            let _ = waiting.try_send((message, fds.pop()));
        }
    }
    let mut current = lock(&shared.scribe);
    if current.as_ref().is_some_and(|c| std::ptr::eq(Arc::as_ptr(c), channel)) {
        *current = None;
        drop(current);
        lock(&shared.pending).clear();
        // A supervisor that is gone ends this process anyway.
        let _ = shared.supervisor.report(&Report::LinkLost(Peer::Scribe));
    }
}

fn accept(listener: &UnixListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        let place = match Place::take(shared, &stream) {
            Ok(place) => place,
            Err(problem) => {
                // The buffer of a new connection takes it at once.
                let _ = write_frame(&mut stream, &shared.clock, &Reply::NotTaken(problem));
                continue;
            }
        };
        // Without a thread the closure ends here, and its place is free again.
        let _ = std::thread::Builder::new().name("client".into()).stack_size(256 * 1024).spawn(move || {
            // The client is gone or broke the protocol; either way its connection ends, and nothing else does.
            let _ = serve(&mut stream, &place.shared);
        });
    }
}

/// One of the connections that there may be; the peer's uid grants nothing, it only bounds what one account takes.
struct Place {
    shared: Arc<Shared>,
    uid: u32,
}

impl Place {
    fn take(shared: &Arc<Shared>, stream: &UnixStream) -> Result<Self, Problem> {
        let full = |detail: String| Problem::new(503, "too_many_connections", "Too many connections", detail);
        let peer =
            getsockopt(stream, PeerCredentials).map_err(|error| full(format!("who asks is unknown: {error}")))?;
        let mut connections = lock(&shared.connections);
        if connections.values().sum::<usize>() >= PORTAL_CONNECTIONS_MAX {
            return Err(full(format!("{PORTAL_CONNECTIONS_MAX} are open; try again in a moment")));
        }
        let own = connections.entry(peer.uid()).or_default();
        if *own >= PORTAL_CONNECTIONS_PER_UID {
            return Err(full(format!("{PORTAL_CONNECTIONS_PER_UID} of your account are open; close some of them")));
        }
        *own += 1;
        Ok(Self { shared: shared.clone(), uid: peer.uid() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut connections = lock(&self.shared.connections);
        if let Some(own) = connections.get_mut(&self.uid) {
            *own -= 1;
            if *own == 0 {
                connections.remove(&self.uid);
            }
        }
    }
}

fn serve(stream: &mut UnixStream, shared: &Shared) -> io::Result<()> {
    let mut frame = Vec::new();
    while read_frame(stream, &shared.clock, &mut frame)? {
        let ask = match decode_strict::<Ask>(&frame) {
            Ok(ask) => ask,
            Err(error) => {
                let problem = Problem::new(400, "malformed", "This frame is not a request", error.to_string());
                return write_frame(stream, &shared.clock, &Reply::NotTaken(problem));
            }
        };
        answer(stream, shared, ask)?;
    }
    Ok(())
}

fn answer(stream: &mut UnixStream, shared: &Shared, ask: Ask) -> io::Result<()> {
    let id = shared.next_id.fetch_add(1, Ordering::Relaxed);
    let (sender, receiver) = sync_channel(4);
    lock(&shared.pending).insert(id, sender);
    let result = converse(stream, shared, id, ask, &receiver);
    lock(&shared.pending).remove(&id);
    result
}

fn converse(
    stream: &mut UnixStream,
    shared: &Shared,
    id: u64,
    ask: Ask,
    receiver: &Receiver<FromScribe>,
) -> io::Result<()> {
    // Nobody waits for the answer any more, and the client's next request may say so already: passed on now, it could
    // look like somebody's copy.
    if is_over(stream)? {
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    let away = || {
        Reply::NotTaken(Problem::new(
            503,
            "scribe_away",
            "The appliance cannot answer just now",
            "its ledger process is restarting; recording goes on; try again in a few seconds",
        ))
    };
    let Some(scribe) = lock(&shared.scribe).clone() else { return write_frame(stream, &shared.clock, &away()) };
    let message = minicbor::to_vec(PortalToScribe { id, ask }).map_err(|e| io::Error::other(e.to_string()))?;
    if scribe.send(&message, &[]).is_err() {
        return write_frame(stream, &shared.clock, &away());
    }
    match receiver.recv_timeout(SCRIBE_PATIENCE) {
        Ok((ScribeToPortal::Answer { body, .. }, _)) => write_frame(stream, &shared.clock, &Reply::Answer(body)),
        Ok((ScribeToPortal::Problem { problem, .. }, _)) => {
            write_frame(stream, &shared.clock, &Reply::Problem(problem))
        }
        Ok((ScribeToPortal::NotTaken { problem, .. }, _)) => {
            write_frame(stream, &shared.clock, &Reply::NotTaken(problem))
        }
        Ok((ScribeToPortal::Conflict { conflict, .. }, _)) => {
            write_frame(stream, &shared.clock, &Reply::Conflict(conflict))
        }
        Ok((ScribeToPortal::Stream { offset, end, follow_until, .. }, Some(fd))) => {
            write_frame(stream, &shared.clock, &Reply::Stream { length: end.saturating_sub(offset) })?;
            pump(stream, shared, &File::from(fd), offset..end, follow_until, receiver)?;
            write_frame(stream, &shared.clock, &Reply::End)
        }
        Ok((ScribeToPortal::Stream { .. } | ScribeToPortal::Closed { .. }, _)) | Err(_) => {
            write_frame(stream, &shared.clock, &away())
        }
    }
}

/// Whether the client has hung up.
fn is_over(stream: &UnixStream) -> io::Result<bool> {
    let mut fds = [PollFd::new(stream.as_fd(), PollFlags::POLLHUP)];
    poll(&mut fds, PollTimeout::ZERO)?;
    Ok(fds[0].any().unwrap_or(false))
}

/// Streams sealed bytes: those of the range, which are durable; or, following, also those that are written and not
/// durable yet, until scribe says closed (what was recorded until the right ended may still be on its way to the file).
fn pump(
    stream: &mut UnixStream,
    shared: &Shared,
    file: &File,
    range: std::ops::Range<u64>,
    follow_until: Option<UtcNanos>,
    receiver: &Receiver<FromScribe>,
) -> io::Result<()> {
    let mut at = range.start;
    let mut chunk = vec![0; CHUNK_MAX];
    let mut closed = follow_until.is_none();
    loop {
        let known_end = if follow_until.is_some() { file.metadata()?.len() } else { range.end };
        while at < known_end {
            let want = usize::try_from(known_end - at).unwrap_or(CHUNK_MAX).min(CHUNK_MAX);
            let got = file.read_at(&mut chunk[..want], at)?;
            if got == 0 {
                return Ok(());
            }
            write_chunk(stream, &shared.clock, &chunk[..got])?;
            at += got as u64;
        }
        if closed || follow_until.is_some_and(|until| shared.clock.utc() >= until + CLOSING) {
            return Ok(());
        }
        closed = match receiver.recv_timeout(FOLLOW_EVERY) {
            Ok((ScribeToPortal::Closed { .. }, _)) => true,
            // Scribe is gone: what is written already is still the client's; then the stream ends.
            Err(RecvTimeoutError::Disconnected) => true,
            Ok(_) | Err(RecvTimeoutError::Timeout) => false,
        };
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use peri_sandbox::channel::Typed;

    fn shared() -> (Arc<Shared>, Typed<Order, Report>) {
        let (ours, theirs) = Channel::pair().unwrap();
        (Arc::new(Shared::new(ours.into())), Typed::new(theirs))
    }

    fn link(shared: &Arc<Shared>) -> (Channel, std::thread::JoinHandle<()>) {
        let (ours, scribe) = Channel::pair().unwrap();
        let ours = Arc::new(ours);
        *lock(&shared.scribe) = Some(ours.clone());
        let for_thread = shared.clone();
        (scribe, std::thread::spawn(move || receive(&ours, &for_thread)))
    }

    #[test]
    fn a_dead_link_is_reported_once_and_a_replaced_one_is_not() {
        let (shared, mut supervisor) = shared();
        let (old, old_thread) = link(&shared);
        let (new, new_thread) = link(&shared);
        drop(old);
        old_thread.join().unwrap();
        assert!(lock(&shared.scribe).is_some(), "the new link stands");
        assert_eq!(supervisor.recv().unwrap(), None);

        // Bytes that are no message break a link just as a dead peer does.
        let (sender, waiting) = sync_channel(1);
        lock(&shared.pending).insert(1, sender);
        new.send(&[0xff], &[]).unwrap();
        new_thread.join().unwrap();
        assert!(lock(&shared.scribe).is_none());
        assert_eq!(supervisor.recv().unwrap(), Some(Report::LinkLost(Peer::Scribe)));
        assert_eq!(supervisor.recv().unwrap(), None);
        assert!(waiting.recv().is_err(), "who waits is told at once");
    }

    #[test]
    fn one_account_cannot_take_the_connections_of_others() {
        let (shared, _supervisor) = shared();
        let (stream, _peer) = UnixStream::pair().unwrap();
        let mine = getsockopt(&stream, PeerCredentials).unwrap().uid();
        let taken: Vec<Place> =
            (0..PORTAL_CONNECTIONS_PER_UID).map(|_| Place::take(&shared, &stream).ok().unwrap()).collect();
        let Err(problem) = Place::take(&shared, &stream) else { panic!("one too many") };
        assert!(problem.code == "too_many_connections" && problem.detail.contains("of your account"), "{problem}");
        drop(taken);
        assert!(lock(&shared.connections).is_empty(), "each place comes back");
        // All of them taken by others.
        lock(&shared.connections).insert(mine + 1, PORTAL_CONNECTIONS_MAX);
        assert!(Place::take(&shared, &stream).is_err());
    }

    #[test]
    fn the_past_ends_where_it_is_durable_and_the_live_picture_goes_on_to_what_is_written() {
        let (shared, _supervisor) = shared();
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[7; 1000], 0).unwrap();
        let streamed = |follow_until| {
            let (mut stream, mut client) = UnixStream::pair().unwrap();
            let (_sender, receiver) = sync_channel::<FromScribe>(1);
            pump(&mut stream, &shared, &file, 100..600, follow_until, &receiver).unwrap();
            drop(stream);
            let mut got = Vec::new();
            io::Read::read_to_end(&mut client, &mut got).unwrap();
            got.iter().filter(|byte| **byte == 7).count()
        };
        assert_eq!(streamed(None), 500);
        // A right that ends at once still gets what was written until then.
        assert_eq!(streamed(Some(UtcNanos(0))), 900);
    }
}
