//! portal: faces clients on a unix socket, holds nothing lasting, serves only sealed bytes.
//!
//! It reads frames, checks their bounds, forwards them to scribe as typed messages and streams sealed segments from
//! descriptors that scribe opened for reading. It has no file, no network, no key; whatever it says about who asks is
//! checked again by scribe. A thread per connection is enough for a control room; the number is bounded.

use crate::boot::{self, Control};
use crate::message::{Order, Peer, PortalToScribe, Report, ScribeToPortal, Start};
use peri_access::wire::{Ask, CHUNK_MAX, FRAME_MAX, Problem, Reply, decode_strict};
use peri_domain::{UtcNanos, limits};
use peri_sandbox::channel::Channel;
use peri_sandbox::clock::{Clock, SystemClock};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Connections at once. Each costs a thread and its stack; a page or a script needs a few.
const CONNECTIONS_MAX: usize = 64;
/// A client that sends nothing for so long is cut.
const CLIENT_IDLE: Duration = Duration::from_secs(120);
/// A client that takes nothing for so long is cut.
const CLIENT_STALLED: Duration = Duration::from_secs(30);
/// Longest wait for scribe: the ledger's batch, a database that is just coming back, 24 sealed X.
const SCRIBE_PATIENCE: Duration = Duration::from_secs(30);
/// How often a followed segment is looked at for growth: less than a fragment, so live waits for sealing, not for us.
const FOLLOW_EVERY: Duration = Duration::from_millis(100);
/// Longest frame from a client: a statement or a signed request with its body, never video.
const ASK_MAX: usize = limits::STATEMENT_MAX + 1024;

type FromScribe = (ScribeToPortal, Option<OwnedFd>);

struct Shared {
    scribe: Mutex<Option<Arc<Channel>>>,
    pending: Mutex<HashMap<u64, SyncSender<FromScribe>>>,
    next_id: AtomicU64,
    connections: AtomicUsize,
    clock: SystemClock,
}

/// Runs the role until the supervisor goes away.
///
/// # Errors
/// What made it impossible to start; afterwards only the loss of the supervisor ends it.
pub(crate) fn run(mut control: Control) -> anyhow::Result<()> {
    let (start, mut fds) = control.start()?;
    let Start::Portal { need_landlock } = start else { anyhow::bail!("portal was started as something else") };
    let listener = UnixListener::from(fds.pop().ok_or_else(|| anyhow::anyhow!("portal got no listening socket"))?);
    let shared = Arc::new(Shared {
        scribe: Mutex::new(None),
        pending: Mutex::new(HashMap::new()),
        next_id: AtomicU64::new(1),
        connections: AtomicUsize::new(0),
        clock: SystemClock,
    });
    let landlock_abi = boot::confine(peri_sandbox::seccomp::Role::Portal, &boot::only(Vec::new()), need_landlock)?;
    control.report(&Report::Ready { landlock_abi })?;
    let for_accept = shared.clone();
    std::thread::Builder::new().name("accept".into()).spawn(move || accept(&listener, &for_accept))?;
    loop {
        match control.next()? {
            Some((Order::Link(Peer::Scribe), Some(fd))) => {
                let channel = Arc::new(Channel::from(fd));
                // Questions to the old scribe are never answered; each waiting client is told at once.
                lock(&shared.pending).clear();
                *lock(&shared.scribe) = Some(channel.clone());
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
    }
}

fn accept(listener: &UnixListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        if shared.connections.fetch_add(1, Ordering::SeqCst) >= CONNECTIONS_MAX {
            shared.connections.fetch_sub(1, Ordering::SeqCst);
            let _ = stream.set_write_timeout(Some(Duration::from_secs(1)));
            let full = Problem::new(503, "too_many_connections", "Too many connections", "try again in a moment");
            let _ = write_frame(&mut stream, &Reply::Problem(full));
            continue;
        }
        let for_client = shared.clone();
        let spawned = std::thread::Builder::new().name("client".into()).stack_size(256 * 1024).spawn(move || {
            // The client is gone or broke the protocol; either way its connection ends, and nothing else does.
            let _ = serve(&mut stream, &for_client);
            for_client.connections.fetch_sub(1, Ordering::SeqCst);
        });
        if spawned.is_err() {
            shared.connections.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

fn serve(stream: &mut UnixStream, shared: &Shared) -> io::Result<()> {
    stream.set_read_timeout(Some(CLIENT_IDLE))?;
    stream.set_write_timeout(Some(CLIENT_STALLED))?;
    let mut frame = Vec::new();
    while read_frame(stream, &mut frame)? {
        let ask = match decode_strict::<Ask>(&frame) {
            Ok(ask) => ask,
            Err(error) => {
                let problem = Problem::new(400, "malformed", "This frame is not a request", error.to_string());
                write_frame(stream, &Reply::Problem(problem))?;
                return Ok(());
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
    let away = || {
        Reply::Problem(Problem::new(
            503,
            "scribe_away",
            "The appliance cannot answer just now",
            "its ledger process is restarting; recording goes on; try again in a few seconds",
        ))
    };
    let Some(scribe) = lock(&shared.scribe).clone() else { return write_frame(stream, &away()) };
    let message = minicbor::to_vec(PortalToScribe { id, ask }).map_err(|e| io::Error::other(e.to_string()))?;
    if scribe.send(&message, &[]).is_err() {
        return write_frame(stream, &away());
    }
    match receiver.recv_timeout(SCRIBE_PATIENCE) {
        Ok((ScribeToPortal::Answer { body, .. }, _)) => write_frame(stream, &Reply::Answer(body)),
        Ok((ScribeToPortal::Problem { problem, .. }, _)) => write_frame(stream, &Reply::Problem(problem)),
        Ok((ScribeToPortal::Stream { offset, end, follow_until, .. }, Some(fd))) => {
            write_frame(stream, &Reply::Stream { length: end.saturating_sub(offset) })?;
            pump(stream, shared, &File::from(fd), offset..end, follow_until, receiver)?;
            write_frame(stream, &Reply::End)
        }
        Ok((ScribeToPortal::Stream { .. } | ScribeToPortal::Closed { .. }, _)) | Err(_) => write_frame(stream, &away()),
    }
}

/// Streams sealed bytes; while following, until scribe says closed or the right ends.
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
            write_chunk(stream, &chunk[..got])?;
            at += got as u64;
        }
        if closed || follow_until.is_some_and(|until| shared.clock.utc() >= until) {
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

/// Reads one frame; `false` at the end of the connection.
fn read_frame(stream: &mut UnixStream, frame: &mut Vec<u8>) -> io::Result<bool> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        Err(error) => return Err(error),
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > ASK_MAX {
        let detail = format!("the frame has {length} bytes; at most {ASK_MAX} are accepted");
        write_frame(stream, &Reply::Problem(Problem::new(413, "too_long", "Frame too long", detail)))?;
        return Ok(false);
    }
    frame.clear();
    frame.resize(length, 0);
    stream.read_exact(frame)?;
    Ok(true)
}

fn write_frame(stream: &mut UnixStream, reply: &Reply) -> io::Result<()> {
    let body = minicbor::to_vec(reply).map_err(|e| io::Error::other(e.to_string()))?;
    debug_assert!(body.len() <= FRAME_MAX);
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(&body)
}

fn write_chunk(stream: &mut UnixStream, bytes: &[u8]) -> io::Result<()> {
    write_frame(stream, &Reply::Chunk(bytes.to_vec().into()))
}
