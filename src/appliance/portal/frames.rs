//! Frames on a client's connection, each within its deadline.
//!
//! A client may keep an idle connection for a while. Once a frame has begun, its whole must come, or be taken, in time: one
//! that sends half a frame and waits, or lets bytes trickle, holds its place for seconds. What does not belong: what the
//! frames say.

use peri_access::wire::{FRAME_MAX, Problem, Reply};
use peri_domain::limits::{self, PORTAL_FRAME_IN_MAX, PORTAL_FRAME_OUT_MAX, PORTAL_IDLE_MAX};
use std::io::{self, ErrorKind};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

/// Longest frame from a client: a statement or a request with body and proof, never video.
const ASK_MAX: usize = limits::STATEMENT_MAX + 1024;

/// Reads one frame; `false` at the end of the connection.
pub(super) async fn read_frame<S>(stream: &mut S, frame: &mut Vec<u8>) -> io::Result<bool>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut length = [0; 4];
    if timeout(PORTAL_IDLE_MAX, stream.read(&mut length[..1])).await.map_err(|_| late())?? == 0 {
        return Ok(false);
    }
    let rest = async {
        stream.read_exact(&mut length[1..]).await?;
        let length = u32::from_be_bytes(length) as usize;
        if length <= ASK_MAX {
            frame.clear();
            frame.resize(length, 0);
            stream.read_exact(frame).await?;
        }
        io::Result::Ok(length)
    };
    let length = timeout(PORTAL_FRAME_IN_MAX, rest).await.map_err(|_| late())??;
    if length > ASK_MAX {
        let detail = format!("the frame has {length} bytes; at most {ASK_MAX} are accepted");
        write_frame(stream, &Reply::NotTaken(Problem::new(413, "too_long", "Frame too long", detail))).await?;
        return Ok(false);
    }
    Ok(true)
}

/// Writes one frame.
pub(super) async fn write_frame<S: AsyncWrite + Unpin>(stream: &mut S, reply: &Reply) -> io::Result<()> {
    let body = minicbor::to_vec(reply).map_err(|e| io::Error::other(e.to_string()))?;
    debug_assert!(body.len() <= FRAME_MAX);
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    let write = async {
        stream.write_all(&length.to_be_bytes()).await?;
        stream.write_all(&body).await
    };
    timeout(PORTAL_FRAME_OUT_MAX, write).await.map_err(|_| late())?
}

/// Writes sealed bytes as one frame.
pub(super) async fn write_chunk<S: AsyncWrite + Unpin>(stream: &mut S, bytes: Vec<u8>) -> io::Result<()> {
    write_frame(stream, &Reply::Chunk(bytes.into())).await
}

fn late() -> io::Error {
    ErrorKind::TimedOut.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;

    #[tokio::test(start_paused = true)]
    async fn a_frame_is_read_and_the_end_between_two_is_no_error() {
        let (mut ours, mut client) = duplex(1024);
        client.write_all(&[0, 0, 0, 3, 1, 2, 3]).await.unwrap();
        drop(client);
        let mut frame = Vec::new();
        assert!(read_frame(&mut ours, &mut frame).await.unwrap());
        assert_eq!(frame, [1, 2, 3]);
        assert!(!read_frame(&mut ours, &mut frame).await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_that_trickles_is_cut_at_its_deadline() {
        let (mut ours, mut client) = duplex(1024);
        let trickle = async {
            for byte in [0, 0, 0, 9, 1, 2, 3, 4, 5] {
                client.write_all(&[byte]).await.unwrap();
                tokio::time::sleep(PORTAL_FRAME_IN_MAX / 4).await;
            }
        };
        let mut frame = Vec::new();
        let begin = tokio::time::Instant::now();
        let (error, ()) = tokio::join!(read_frame(&mut ours, &mut frame), trickle);
        assert_eq!(error.unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(begin.elapsed() >= PORTAL_FRAME_IN_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_cut() {
        let (mut ours, _client) = duplex(1024);
        let error = write_chunk(&mut ours, vec![0; 65_536]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_that_is_too_long_is_refused_before_a_byte_of_it_is_kept() {
        let (mut ours, mut client) = duplex(1024);
        client.write_all(&u32::MAX.to_be_bytes()).await.unwrap();
        let mut frame = Vec::new();
        assert!(!read_frame(&mut ours, &mut frame).await.unwrap());
        assert!(frame.capacity() == 0);
        let mut said = [0; 4];
        client.read_exact(&mut said).await.unwrap();
        assert!(u32::from_be_bytes(said) > 0, "it is told why");
    }
}
