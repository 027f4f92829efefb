//! Frames on a client's connection, each within its deadline.
//!
//! A client may keep an idle connection for a while. Once a frame has begun, its whole must come, or be taken, in time: one
//! that sends half a frame and waits, or lets bytes trickle, holds its place for seconds. What does not belong: what the
//! frames say.

use peri_access::wire::{FRAME_MAX, Problem, Reply};
use peri_domain::limits::{self, PORTAL_FRAME_IN_MAX, PORTAL_FRAME_OUT_MAX, PORTAL_IDLE_MAX};
use peri_sandbox::clock::Clock;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Longest frame from a client: a statement or a request with body and proof, never video.
const ASK_MAX: usize = limits::STATEMENT_MAX + 1024;

/// Reads one frame; `false` at the end of the connection.
pub(super) fn read_frame(stream: &mut UnixStream, clock: &dyn Clock, frame: &mut Vec<u8>) -> io::Result<bool> {
    let mut length = [0; 4];
    let idle_until = clock.monotonic() + PORTAL_IDLE_MAX;
    if let Err(error) = read_until(stream, clock, &mut length[..1], idle_until) {
        return if error.kind() == ErrorKind::UnexpectedEof { Ok(false) } else { Err(error) };
    }
    let deadline = clock.monotonic() + PORTAL_FRAME_IN_MAX;
    read_until(stream, clock, &mut length[1..], deadline)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > ASK_MAX {
        let detail = format!("the frame has {length} bytes; at most {ASK_MAX} are accepted");
        write_frame(stream, clock, &Reply::NotTaken(Problem::new(413, "too_long", "Frame too long", detail)))?;
        return Ok(false);
    }
    frame.clear();
    frame.resize(length, 0);
    read_until(stream, clock, frame, deadline)?;
    Ok(true)
}

/// Writes one frame.
pub(super) fn write_frame(stream: &mut UnixStream, clock: &dyn Clock, reply: &Reply) -> io::Result<()> {
    let body = minicbor::to_vec(reply).map_err(|e| io::Error::other(e.to_string()))?;
    debug_assert!(body.len() <= FRAME_MAX);
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    let deadline = clock.monotonic() + PORTAL_FRAME_OUT_MAX;
    write_until(stream, clock, &length.to_be_bytes(), deadline)?;
    write_until(stream, clock, &body, deadline)
}

/// Writes sealed bytes as one frame.
pub(super) fn write_chunk(stream: &mut UnixStream, clock: &dyn Clock, bytes: &[u8]) -> io::Result<()> {
    write_frame(stream, clock, &Reply::Chunk(bytes.to_vec().into()))
}

fn left(clock: &dyn Clock, deadline: Duration) -> io::Result<Duration> {
    // The socket takes no time-out of zero: that would be none.
    let left = deadline.saturating_sub(clock.monotonic());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}

fn read_until(stream: &mut UnixStream, clock: &dyn Clock, mut into: &mut [u8], deadline: Duration) -> io::Result<()> {
    while !into.is_empty() {
        stream.set_read_timeout(Some(left(clock, deadline)?))?;
        match stream.read(into) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(got) => into = &mut into[got..],
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn write_until(stream: &mut UnixStream, clock: &dyn Clock, mut bytes: &[u8], deadline: Duration) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.set_write_timeout(Some(left(clock, deadline)?))?;
        match stream.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(taken) => bytes = &bytes[taken..],
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use peri_domain::UtcNanos;
    use std::sync::Mutex;

    /// A clock that moves by a step at each look, so that a deadline passes without waiting.
    struct Steps(Duration, Mutex<Duration>);

    impl Clock for Steps {
        fn utc(&self) -> UtcNanos {
            UtcNanos(0)
        }

        fn monotonic(&self) -> Duration {
            let mut now = self.1.lock().unwrap();
            *now += self.0;
            *now
        }
    }

    fn every(step: Duration) -> Steps {
        Steps(step, Mutex::new(Duration::ZERO))
    }

    #[test]
    fn a_frame_is_read_and_the_end_between_two_is_no_error() {
        let (mut ours, mut client) = UnixStream::pair().unwrap();
        client.write_all(&[0, 0, 0, 3, 1, 2, 3]).unwrap();
        drop(client);
        let clock = every(Duration::from_millis(1));
        let mut frame = Vec::new();
        assert!(read_frame(&mut ours, &clock, &mut frame).unwrap());
        assert_eq!(frame, [1, 2, 3]);
        assert!(!read_frame(&mut ours, &clock, &mut frame).unwrap());
    }

    #[test]
    fn a_frame_that_trickles_is_cut_at_its_deadline() {
        // Half of the time of a frame passes with each look at the clock; the bytes are there, one by one.
        let clock = every(PORTAL_FRAME_IN_MAX / 2);
        let (mut ours, mut client) = UnixStream::pair().unwrap();
        client.write_all(&[0, 0, 0, 3, 1]).unwrap();
        let error = read_frame(&mut ours, &clock, &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }

    #[test]
    fn a_client_that_takes_nothing_is_cut() {
        let (mut ours, _client) = UnixStream::pair().unwrap();
        let clock = every(PORTAL_FRAME_OUT_MAX / 4);
        let mut error = None;
        for _ in 0..64 {
            if let Err(cut) =
                write_chunk(&mut ours, &every(PORTAL_FRAME_OUT_MAX - Duration::from_millis(50)), &[0; 65_536])
            {
                error = Some(cut);
                break;
            }
        }
        assert_eq!(error.unwrap().kind(), ErrorKind::TimedOut);
        assert!(write_until(&mut ours, &clock, b"", Duration::ZERO).is_ok(), "nothing to write takes no time");
    }
}
