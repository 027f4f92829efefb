//! The client against recorded-style dialogues (`tests/fixtures/media`), our own server, and chance.

use super::*;
use crate::auth::Scheme;
use crate::rtsp::server::{self, Server};
use crate::rtsp::wire::WireError;
use proptest::prelude::*;

const NOW: Duration = Duration::from_secs(100);

#[derive(Default)]
struct Packets {
    rtp: Vec<Vec<u8>>,
    rtcp: Vec<Vec<u8>>,
}

impl Sink for Packets {
    fn rtp(&mut self, packet: &[u8]) {
        self.rtp.push(packet.to_vec());
    }

    fn rtcp(&mut self, packet: &[u8]) {
        self.rtcp.push(packet.to_vec());
    }
}

fn client(url: &str, tls: bool) -> Client {
    Client::new(Config { url: Url::parse(url).unwrap(), user_agent: "test".into(), tls }, NOW).unwrap()
}

fn sent(client: &mut Client) -> String {
    let text = String::from_utf8(client.poll_transmit().unwrap_or(b"").to_vec()).unwrap();
    client.transmitted(text.len());
    text
}

/// Plays a dialogue file: `#` lines say the address and what must happen, `----` separates the camera's answers.
fn dialogue(text: &str) {
    let note = |key: &'static str| text.lines().filter_map(move |l| l.strip_prefix(key)).map(str::trim);
    let mut client = client(note("# address:").next().unwrap(), false);
    let mut requests = String::new();
    let mut error = None;
    let body: String = text.lines().filter(|l| !l.starts_with('#')).map(|l| format!("{l}\n")).collect();
    for answer in body.split("----\n") {
        requests += &sent(&mut client);
        while let Some(event) = client.poll_event() {
            if let Event::NeedsAuth(challenge) = event {
                let answer = auth::answer(&challenge, "user", "secret", "00112233445566778899aabbccddeeff").unwrap();
                client.answer(Some(&answer), NOW);
                requests += &sent(&mut client);
            }
        }
        let (head, content) = answer.trim_start().split_once("\n\n").unwrap_or((answer.trim(), ""));
        let length = content.replace('\n', "\r\n").len();
        let head = head.replace("{cseq}", &client.cseq.to_string()).replace("{length}", &length.to_string());
        let bytes = format!("{}\r\n\r\n{}", head.trim_end().replace('\n', "\r\n"), content.replace('\n', "\r\n"));
        match client.handle_input(bytes.as_bytes(), NOW, &mut Packets::default()) {
            Ok(used) => assert_eq!(used, bytes.len(), "{bytes}"),
            Err(e) => {
                error = Some(e.to_string());
                break;
            }
        }
    }
    requests += &sent(&mut client);
    for expected in note("# sends:") {
        assert!(requests.lines().any(|l| l.trim() == expected), "{expected:?} not in\n{requests}");
    }
    for unwanted in note("# never sends:") {
        assert!(!requests.contains(unwanted), "{unwanted:?} in\n{requests}");
    }
    match note("# fails:").next() {
        Some(expected) => assert_eq!(error.as_deref(), Some(expected)),
        None => {
            assert_eq!(error, None);
            assert!(client.is_playing(), "{:?}", client.state);
            if let Some(expected) = note("# channel:").next() {
                assert_eq!(client.channel.map(|c| c.to_string()).as_deref(), Some(expected));
            }
            if let (Some(expected), State::Playing(session)) = (note("# timeout:").next(), &client.state) {
                assert_eq!(session.timeout.as_secs().to_string(), expected);
            }
        }
    }
}

macro_rules! dialogues {
    ($($name:ident)*) => {
        $(#[test] fn $name() {
            dialogue(include_str!(concat!("../../../../tests/fixtures/media/", stringify!($name), ".txt")));
        })*
    };
}

dialogues! {
    absolute_controls_with_queries audio_is_left_alone base_without_scheme challenge_per_request cseq_missing
    lower_case_headers no_control_at_all not_found_names_the_path redirect_is_refused renumbered_channels
    session_with_spaces short_status_line sha256_beats_md5 stale_nonce two_wrong_answers udp_only wrong_codec
    content_type_missing basic_without_tls trailing_slash_base options_unknown rtp_info_nonsense
}

fn serve(auth: Option<server::Credentials>) -> Server {
    let sdp = "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:track1\r\n";
    Server::new(server::Config { sdp: sdp.into(), session: "abc".into(), timeout: Duration::from_secs(60), auth })
}

/// Runs both sides until neither has anything to say.
fn converse(
    client: &mut Client,
    server: &mut Server,
    password: &str,
    packets: &mut Packets,
) -> Result<Vec<Event>, RtspError> {
    let mut events = Vec::new();
    loop {
        let request = sent(client);
        server.handle_input(request.as_bytes()).unwrap();
        let answer = server.take_output();
        let used = client.handle_input(&answer, NOW, packets)?;
        assert_eq!(used, answer.len());
        while let Some(event) = client.poll_event() {
            if let Event::NeedsAuth(challenge) = &event {
                let answer = auth::answer(challenge, "user", password, "0123456789abcdef0123456789abcdef").unwrap();
                client.answer(Some(&answer), NOW);
            }
            events.push(event);
        }
        if client.poll_transmit().is_none() {
            return Ok(events);
        }
    }
}

#[test]
fn plays_from_our_own_server_with_every_digest_and_keeps_alive() {
    for scheme in [Scheme::DigestMd5, Scheme::DigestSha256, Scheme::DigestSha512_256] {
        let auth = server::Credentials {
            scheme,
            realm: "cam".into(),
            nonce: "n0".into(),
            user: "user".into(),
            password: String::from("secret").into(),
        };
        let (mut client, mut server) = (client("rtsp://127.0.0.1/live", false), serve(Some(auth)));
        let mut packets = Packets::default();
        let events = converse(&mut client, &mut server, "secret", &mut packets).unwrap();
        assert!(events.contains(&Event::Playing { timeout: Duration::from_secs(60) }));
        let mut data = Vec::new();
        server.send(b"rtp", &mut data);
        wire::interleave(1, b"rtcp", &mut data);
        wire::interleave(9, b"stray", &mut data);
        assert_eq!(client.handle_input(&data[..data.len() - 1], NOW, &mut packets).unwrap(), data.len() - 9);
        assert_eq!(client.handle_input(&data[data.len() - 9..], NOW, &mut packets).unwrap(), 9);
        assert_eq!(
            (packets.rtp, packets.rtcp, client.stray_packets),
            (vec![b"rtp".to_vec()], vec![b"rtcp".to_vec()], 1)
        );
        assert_eq!(client.poll_timeout(), Some(NOW + RTP_SILENCE_MAX));
        client.last_packet = NOW + Duration::from_secs(29);
        assert_eq!(client.poll_timeout(), Some(NOW + Duration::from_secs(30)));
        client.handle_timeout(NOW + Duration::from_secs(30)).unwrap();
        let Some(Event::NeedsAuth(challenge)) = client.poll_event() else { panic!() };
        assert_eq!((challenge.method.as_str(), challenge.nc), ("GET_PARAMETER", 4));
        client.answer(None, NOW);
        assert!(sent(&mut client).starts_with("GET_PARAMETER rtsp://127.0.0.1/live/ RTSP/1.0"));
        // Never answered: no harm as long as packets come; then silence ends it.
        client.handle_timeout(NOW + Duration::from_secs(43)).unwrap();
        assert_eq!(client.handle_timeout(NOW + Duration::from_secs(44)), Err(RtspError::Silent));
        client.teardown(NOW);
        let events = converse(&mut client, &mut server, "secret", &mut Packets::default()).unwrap();
        assert_eq!(events.last(), Some(&Event::Closed));
    }
}

#[test]
fn wrong_password_names_the_realm() {
    let auth = server::Credentials {
        scheme: Scheme::DigestSha256,
        realm: "cam 7".into(),
        nonce: "n0".into(),
        user: "user".into(),
        password: String::from("secret").into(),
    };
    let (mut client, mut server) = (client("rtsp://127.0.0.1/live", false), serve(Some(auth)));
    let error = converse(&mut client, &mut server, "guess", &mut Packets::default()).unwrap_err();
    assert_eq!(error, RtspError::WrongPassword { realm: "cam 7".into() });
}

#[test]
fn packets_before_the_answer_to_play_are_taken() {
    let (mut client, mut server) = (client("rtsp://127.0.0.1/live", false), serve(None));
    let mut packets = Packets::default();
    for _ in 0..3 {
        let request = sent(&mut client);
        server.handle_input(request.as_bytes()).unwrap();
        client.handle_input(&server.take_output(), NOW, &mut packets).unwrap();
    }
    let mut early = Vec::new();
    wire::interleave(0, b"early", &mut early);
    client.handle_input(&early, NOW, &mut packets).unwrap();
    assert!(!client.is_playing());
    assert_eq!(packets.rtp, [b"early".to_vec()]);
}

#[test]
fn addresses_with_secrets_and_without_tls_are_refused_without_repeating_the_secret() {
    for (url, tls) in [("rtsp://u:hunter2@h/", true), ("rtsps://h/", false), ("http://h/", true)] {
        let config = Config { url: Url::parse(url).unwrap(), user_agent: String::new(), tls };
        let error = Client::new(config, NOW).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn silence_after_a_request_times_out_and_junk_ends_the_session() {
    let mut client = client("rtsp://h/", false);
    assert_eq!(client.poll_timeout(), Some(NOW + RTSP_RESPONSE_MAX));
    let error = client.handle_timeout(NOW + RTSP_RESPONSE_MAX).unwrap_err();
    assert_eq!(error, RtspError::Timeout { method: "OPTIONS" });
    let error = client.handle_input(b"\0\0\0", NOW, &mut Packets::default()).unwrap_err();
    assert_eq!(error, RtspError::Wire(WireError::OutOfStep(0)));
}

#[test]
fn only_neighbouring_channels_that_exist_are_taken() {
    for (channels, taken) in [
        ("0-1", Some(0)),
        ("254-255", Some(254)),
        ("255", Some(255)),
        ("255-256", None),
        ("255-0", None),
        ("4-6", None),
        ("256-257", None),
        ("1-x", None),
    ] {
        let transport = format!("RTP/AVP/TCP;unicast;interleaved={channels}");
        match (channel(Some(&transport)), taken) {
            (Ok(found), Some(taken)) => assert_eq!(found, taken, "{channels}"),
            (Err(error), None) => assert!(error.to_string().contains("answer to SETUP is unusable"), "{error}"),
            (answer, _) => panic!("{channels}: {answer:?}"),
        }
    }
}

proptest! {
    #[test]
    fn any_input_is_survived(chunks in prop::collection::vec(prop_oneof![
        prop::collection::vec(any::<u8>(), 0..60),
        "RTSP/1.0 (200|401|302|454) [ -~]{0,8}\r\n((CSeq|Session|Transport|WWW-Authenticate|Content-Length|Public): [ -~]{0,20}\r\n){0,4}\r\n"
            .prop_map(String::into_bytes),
        Just(b"RTSP/1.0 200 OK\r\n\r\n".to_vec()),
        Just(b"RTSP/1.0 401 X\r\nWWW-Authenticate: Digest realm=\"a\", nonce=\"b\"\r\n\r\n".to_vec()),
        Just(b"RTSP/1.0 200 OK\r\nContent-Length: 45\r\nSession: 1\r\n\r\nm=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000\n\n\n".to_vec()),
    ], 0..12)) {
        let mut client = client("rtsp://h/x", false);
        let mut buffer = Vec::new();
        for (i, chunk) in chunks.iter().enumerate() {
            buffer.extend_from_slice(chunk);
            let now = NOW + Duration::from_secs(i as u64);
            match client.handle_input(&buffer, now, &mut Packets::default()) {
                Ok(used) => { buffer.drain(..used); }
                Err(_) => break,
            }
            while let Some(event) = client.poll_event() {
                if matches!(event, Event::NeedsAuth(_)) {
                    client.answer(None, now);
                }
            }
            if client.handle_timeout(now).is_err() { break; }
            prop_assert!(client.out.len() < 64 * 1024);
        }
    }
}
