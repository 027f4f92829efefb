//! Cutting a byte stream into RTSP messages and interleaved packets (RFC 2326 sections 4, 10.12).
//!
//! The head of a message is brought into the strict form that `rtsp-types` reads: cameras end lines with LF alone, put
//! Latin-1 into `Server`, leave out the reason phrase, send lines without a colon. Nothing is guessed about *where* a
//! message ends: bytes that begin neither a message nor a packet end the connection, there is no resynchronisation.
//!
//! Invariants: payloads are borrowed from the input; nothing is buffered here; a message that could exceed its limits is
//! refused before it is complete.

use peri_domain::limits::{RTSP_HEADER_MAX, SDP_MAX};
use rtsp_types::{Message, Request, Response};

/// The stream is not RTSP (any more).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Neither `$` nor the beginning of a message.
    #[error("the camera's RTSP stream is out of step (byte {0:#04x} where a message or packet must begin)")]
    OutOfStep(u8),
    /// Head too long.
    #[error("the camera sends an RTSP header longer than {RTSP_HEADER_MAX} bytes")]
    HeadTooLong,
    /// Body too long.
    #[error("the camera sends an RTSP body of {0} bytes, more than {SDP_MAX}")]
    BodyTooLong(u64),
    /// Unreadable length.
    #[error("the camera sends the unreadable Content-Length {0:?}")]
    Length(String),
    /// Unreadable head.
    #[error("the camera sends an unreadable RTSP message beginning {0:?}")]
    Unreadable(String),
}

/// One item of the stream.
#[derive(Debug)]
pub enum Frame<'a> {
    /// Interleaved packet.
    Data {
        /// Channel.
        channel: u8,
        /// RTP or RTCP packet.
        payload: &'a [u8],
    },
    /// Answer.
    Response(Response<&'a [u8]>),
    /// Request of the other side.
    Request(Request<&'a [u8]>),
}

/// Reads the next item; `Ok(None)`: more bytes are needed. The number is how many bytes it took, blank lines before it
/// included.
///
/// # Errors
/// [`WireError`]; the connection is then of no further use.
pub fn next(input: &[u8]) -> Result<Option<(Frame<'_>, usize)>, WireError> {
    // RFC 2326 section 4.1 allows empty lines before a message.
    let blank = input.iter().position(|b| !matches!(b, b'\r' | b'\n')).unwrap_or(input.len());
    let rest = &input[blank..];
    if blank > RTSP_HEADER_MAX {
        return Err(WireError::HeadTooLong);
    }
    match rest.first() {
        None => return Ok(None),
        Some(b'$') => {
            let Some((head, after)) = rest.split_first_chunk::<4>() else { return Ok(None) };
            let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
            let Some(payload) = after.get(..len) else { return Ok(None) };
            return Ok(Some((Frame::Data { channel: head[1], payload }, blank + 4 + len)));
        }
        Some(b'A'..=b'Z') => {}
        Some(other) => return Err(WireError::OutOfStep(*other)),
    }
    let window = &rest[..rest.len().min(RTSP_HEADER_MAX)];
    let end = head_end(window);
    // A message begins with printable ASCII; anything else will never become one, whether its end is here or not.
    let begin = &window[..end.unwrap_or(window.len()).min(8)];
    if let Some(bad) = begin.iter().find(|b| !(b' '..=b'~').contains(*b) && !matches!(b, b'\r' | b'\n')) {
        return Err(WireError::OutOfStep(*bad));
    }
    let Some(head_len) = end else {
        return if rest.len() >= RTSP_HEADER_MAX { Err(WireError::HeadTooLong) } else { Ok(None) };
    };
    let (head, body_len) = tidy(&rest[..head_len])?;
    let Some(body) = rest.get(head_len..head_len + body_len) else { return Ok(None) };
    let unreadable = || WireError::Unreadable(String::from_utf8_lossy(&head).chars().take(60).collect());
    let (message, used) = Message::<Vec<u8>>::parse(&head).map_err(|_| unreadable())?;
    if used != head.len() {
        return Err(unreadable());
    }
    let frame = match message {
        Message::Response(response) => Frame::Response(response.map_body(|_| body)),
        Message::Request(request) => Frame::Request(request.map_body(|_| body)),
        Message::Data(_) => return Err(unreadable()),
    };
    Ok(Some((frame, blank + head_len + body_len)))
}

/// Length of the head including its empty line.
fn head_end(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|b| *b == b'\n') {
        from += at + 1;
        match bytes.get(from..)? {
            [b'\n', ..] => return Some(from + 1),
            [b'\r', b'\n', ..] => return Some(from + 2),
            _ => {}
        }
    }
    None
}

/// The head as strict ASCII with CR LF and without `Content-Length`, whose value comes back apart.
fn tidy(head: &[u8]) -> Result<(Vec<u8>, usize), WireError> {
    let mut out = Vec::with_capacity(head.len() + 16);
    let mut length: Option<u64> = None;
    let mut folded_into_nothing = false;
    for (i, line) in head.split(|b| *b == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let before = out.len();
        if i > 0 {
            if matches!(line[0], b' ' | b'\t') {
                // Continuation of the line above: lives and falls with it.
                if !folded_into_nothing {
                    out.truncate(out.len() - 2);
                    push_ascii(&mut out, line);
                    out.extend_from_slice(b"\r\n");
                }
                continue;
            }
            folded_into_nothing = true;
            let Some(colon) = line.iter().position(|b| *b == b':') else { continue };
            let name = line[..colon].trim_ascii();
            if name.is_empty() || !name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-' || *b == b'_') {
                continue;
            }
            let value = line[colon + 1..].trim_ascii();
            if name.eq_ignore_ascii_case(b"Content-Length") {
                let text = String::from_utf8_lossy(value);
                let parsed = text.parse::<u64>().ok().filter(|n| length.is_none_or(|l| l == *n));
                length = Some(parsed.ok_or_else(|| WireError::Length(text.chars().take(40).collect()))?);
                continue;
            }
            folded_into_nothing = false;
            out.extend_from_slice(name);
            out.extend_from_slice(b": ");
            push_ascii(&mut out, value);
        } else {
            push_ascii(&mut out, line.trim_ascii_end());
            if out.starts_with(b"RTSP/") && out[before..].iter().filter(|b| **b == b' ').count() == 1 {
                out.push(b' ');
            }
        }
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    let length = length.unwrap_or(0);
    let body = usize::try_from(length).ok().filter(|l| *l <= SDP_MAX).ok_or(WireError::BodyTooLong(length))?;
    Ok((out, body))
}

fn push_ascii(out: &mut Vec<u8>, text: &[u8]) {
    out.extend(text.iter().map(|b| match b {
        b'\t' => b' ',
        b' '..=b'~' => *b,
        _ => b'?',
    }));
}

/// Writes the four bytes before an interleaved packet, and the packet. Packets beyond 65,535 bytes cannot exist and are
/// dropped.
pub fn interleave(channel: u8, packet: &[u8], out: &mut Vec<u8>) {
    if let Ok(len) = u16::try_from(packet.len()) {
        out.extend_from_slice(&[b'$', channel]);
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(packet);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sloppy_heads_are_read() {
        let text = b"\r\nRTSP/1.0 200\ncseq : 4\nServer: caf\xe9\nnonsense\nX: a\n\tb\nContent-length: 3 \n\nabcREST";
        let (frame, used) = next(text).unwrap().unwrap();
        let Frame::Response(response) = frame else { panic!() };
        assert_eq!(*response.body(), b"abc");
        assert_eq!(&text[used..], b"REST");
        assert_eq!(response.header(&rtsp_types::headers::CSEQ).map(|v| v.as_str()), Some("4"));
        assert_eq!(response.header(&rtsp_types::headers::SERVER).map(|v| v.as_str()), Some("caf?"));
    }

    #[test]
    fn packets_are_borrowed_and_junk_ends_the_stream() {
        let mut bytes = Vec::new();
        interleave(2, b"hello", &mut bytes);
        let (Frame::Data { channel: 2, payload }, 9) = next(&bytes).unwrap().unwrap() else { panic!() };
        assert!(bytes.as_ptr_range().contains(&payload.as_ptr()));
        assert!(next(&bytes[..8]).unwrap().is_none());
        assert_eq!(next(b"\x80\x60").unwrap_err(), WireError::OutOfStep(0x80));
        assert_eq!(next(b"R\x00").unwrap_err(), WireError::OutOfStep(0));
        assert_eq!(next(&[b'A'; RTSP_HEADER_MAX]).unwrap_err(), WireError::HeadTooLong);
        let long = b"RTSP/1.0 200 OK\r\nContent-Length: 99999999999\r\n\r\n";
        assert_eq!(next(long).unwrap_err(), WireError::BodyTooLong(99_999_999_999));
        let two = b"RTSP/1.0 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n";
        assert!(matches!(next(two), Err(WireError::Length(_))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            if let Ok(Some((_, used))) = next(&bytes) {
                prop_assert!(used <= bytes.len() && used > 0);
            }
        }

        #[test]
        fn any_text_is_survived(lines in prop::collection::vec("[ -~\u{e4}\t]{0,40}", 0..8)) {
            let text = format!("RTSP/1.0 {}\r\n\r\n", lines.join("\r\n"));
            let _ = next(text.as_bytes());
            let _ = next(format!("GET {}\n\n", lines.join("\n")).as_bytes());
        }
    }
}
