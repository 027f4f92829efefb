//! RTSP: what arrives in pieces is read as what arrives whole; nobody gets in without the password.

use super::{pieces, reached};
use core::time::Duration;
use peri_media::auth::{self, Scheme};
use peri_media::rtsp::client::{Client, Config, Event, Sink};
use peri_media::rtsp::server::{self, Server};
use peri_media::rtsp::wire::{self, Frame, WireError};
use peri_media::rtsp::{RtspError, Url};

/// Frames (as text), bytes taken, and how it ended.
fn frames<'a>(input: impl Iterator<Item = &'a [u8]>) -> (Vec<String>, usize, Option<WireError>) {
    let (mut buffer, mut out, mut at) = (Vec::new(), Vec::new(), 0);
    for piece in input {
        buffer.extend_from_slice(piece);
        loop {
            match wire::next(&buffer[at..]) {
                Ok(Some((frame, used))) => {
                    reached();
                    assert!(used > 0 && at + used <= buffer.len());
                    if let Frame::Data { channel, payload } = &frame {
                        let mut again = Vec::new();
                        wire::interleave(*channel, payload, &mut again);
                        assert!(buffer[at..at + used].ends_with(&again), "a packet is not what was sent");
                    }
                    out.push(format!("{frame:?}"));
                    at += used;
                }
                Ok(None) => break,
                Err(error) => return (out, at, Some(error)),
            }
        }
    }
    (out, at, None)
}

/// Frames do not depend on how the bytes arrive.
pub(crate) fn wire(data: &[u8]) {
    assert_eq!(frames(core::iter::once(data)), frames(pieces(data)));
}

#[derive(Default)]
struct Packets(Vec<(bool, Vec<u8>)>);

impl Sink for Packets {
    fn rtp(&mut self, packet: &[u8]) {
        self.0.push((true, packet.to_vec()));
    }

    fn rtcp(&mut self, packet: &[u8]) {
        self.0.push((false, packet.to_vec()));
    }
}

/// Everything that one side of a dialogue shows.
#[derive(Debug, Default, PartialEq)]
struct Shown {
    sent: Vec<Vec<u8>>,
    events: Vec<Event>,
    packets: Vec<(bool, Vec<u8>)>,
    stray: u64,
    error: Option<RtspError>,
}

const PASSWORD: &str = "correct horse battery";

/// A camera's side of a dialogue in the form of `tests/fixtures/media`: `# address:` first, answers divided by `----`.
/// What we send must be readable to our own server, and whatever the camera says, only one track is ever set up.
pub(crate) fn client(data: &[u8]) {
    let whole = dialogue(data, false);
    let cut = dialogue(data, true);
    assert_eq!(whole, cut, "the session depends on how the bytes arrive");
    let Some(shown) = whole else { return };
    if shown.sent.len() > 1 {
        reached();
    }
    let sent = shown.sent.concat();
    let (mut at, mut set_up) = (0, Vec::new());
    while let Some((frame, used)) = wire::next(&sent[at..]).expect("what we send is RTSP") {
        let text = &sent[at..at + used];
        match frame {
            Frame::Request(request) => {
                assert!(text.windows(14).filter(|w| w == b"Authorization:").count() <= 1);
                if text.starts_with(b"SETUP ") {
                    set_up.push(request.request_uri().cloned());
                }
            }
            Frame::Response(_) => {}
            Frame::Data { .. } => panic!("we send no packets"),
        }
        at += used;
    }
    assert_eq!(at, sent.len(), "half a request");
    set_up.dedup();
    assert!(set_up.len() <= 1, "more than one track: {set_up:?}");
    // Basic carries the password by design and only over TLS; nothing else ever does.
    assert!(!sent.windows(PASSWORD.len()).any(|w| w == PASSWORD.as_bytes()), "the password in clear");
}

fn dialogue(data: &[u8], cut: bool) -> Option<Shown> {
    let mut address = Url::parse("rtsp://192.0.2.7:554/live").expect("a URL");
    let mut answers = vec![Vec::new()];
    for line in data.split_inclusive(|b| *b == b'\n') {
        if let Some(text) = line.strip_prefix(b"# address:") {
            address = Url::parse(core::str::from_utf8(text).ok()?.trim()).ok()?;
        } else if line == b"----\n" {
            answers.push(Vec::new());
        } else if !line.starts_with(b"#") {
            answers.last_mut()?.extend_from_slice(line);
        }
    }
    let tls = address.scheme() == "rtsps";
    let mut now = Duration::from_secs(100);
    let mut client = Client::new(Config { url: address, user_agent: "fuzz".into(), tls }, now).ok()?;
    let (mut shown, mut packets, mut buffer) = (Shown::default(), Packets::default(), Vec::new());
    for answer in answers {
        settle(&mut client, &mut shown, now);
        let answer = filled(&answer, &shown);
        now += Duration::from_secs(3);
        let mut feed = |piece: &[u8]| {
            buffer.extend_from_slice(piece);
            let used = client.handle_input(&buffer, now, &mut packets)?;
            buffer.drain(..used);
            Ok::<(), RtspError>(())
        };
        let fed = if cut { pieces(&answer).try_for_each(&mut feed) } else { feed(&answer) };
        shown.error = fed.and_then(|()| client.handle_timeout(now)).err();
        if shown.error.is_some() {
            break;
        }
    }
    settle(&mut client, &mut shown, now);
    client.teardown(now);
    settle(&mut client, &mut shown, now);
    shown.packets = packets.0;
    shown.stray = client.stray_packets;
    Some(shown)
}

/// Takes what the client says and answers its challenges.
fn settle(client: &mut Client, shown: &mut Shown, now: Duration) {
    loop {
        if let Some(bytes) = client.poll_transmit().map(<[u8]>::to_vec) {
            client.transmitted(bytes.len());
            shown.sent.push(bytes);
        }
        let Some(event) = client.poll_event() else { return };
        if let Event::NeedsAuth(challenge) = &event {
            client.answer(auth::answer(challenge, "user", PASSWORD, "00112233445566778899").ok().as_ref(), now);
        }
        shown.events.push(event);
    }
}

/// Puts the number of the last request and the length of the body where the dialogue asks for them.
fn filled(answer: &[u8], shown: &Shown) -> Vec<u8> {
    let Ok(text) = core::str::from_utf8(answer) else { return answer.to_vec() };
    if !text.contains('{') {
        return answer.to_vec();
    }
    let last = shown.sent.last().map(|sent| String::from_utf8_lossy(sent).into_owned()).unwrap_or_default();
    let cseq = last.lines().rev().find_map(|line| line.strip_prefix("CSeq: ")).unwrap_or("1").to_owned();
    let body = text.trim_start().split_once("\n\n").map_or(0, |(_, body)| body.len());
    text.replace("{cseq}", &cseq).replace("{length}", &body.to_string()).into_bytes()
}

fn serve(input: &[u8], cut: bool) -> (Vec<u8>, bool) {
    let mut server = Server::new(server::Config {
        sdp: "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:track1\r\n".into(),
        session: "abc".into(),
        timeout: Duration::from_secs(60),
        auth: Some(server::Credentials {
            scheme: Scheme::DigestSha256,
            realm: "fuzz".into(),
            nonce: "0123456789".into(),
            user: "user".into(),
            password: String::from(PASSWORD).into(),
        }),
    });
    let (mut buffer, mut failed) = (Vec::new(), false);
    let mut feed = |piece: &[u8]| {
        if failed {
            return;
        }
        buffer.extend_from_slice(piece);
        match server.handle_input(&buffer) {
            Ok(used) => {
                if used > 0 {
                    reached();
                }
                buffer.drain(..used);
            }
            Err(_) => failed = true,
        }
    };
    if cut {
        pieces(input).for_each(&mut feed)
    } else {
        feed(input)
    }
    assert!(!server.is_playing(), "plays to somebody who does not know the password");
    (server.take_output(), failed)
}

/// Answers do not depend on how the bytes arrive, and nothing plays without the password.
pub(crate) fn server(data: &[u8]) {
    assert_eq!(serve(data, false), serve(data, true));
}
