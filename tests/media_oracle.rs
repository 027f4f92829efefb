//! The video path against independent judges: `retina` must see the same access units in the same packets, `mp4-atom`
//! and FFmpeg must like what comes out.
//!
//! A small TCP server built from `rtsp::server` replays packets that FFmpeg's encoder made and our packetiser cut, with
//! FU-A, STAP-A, SEI, several slices, a change of picture size on the way, and loss.
#![allow(clippy::disallowed_methods, reason = "a test looks at the same clock as everybody")]
#![allow(clippy::unwrap_used)]

use futures::StreamExt;
use peri_domain::UtcNanos;
use peri_domain::limits::FRAGMENT_MAX;
use peri_media::auth::{self, Scheme};
use peri_media::fragment::{Fragment, Fragmenter, Kind, Mp4Error, Output};
use peri_media::h264::packetize::{Packetizer, annex_b};
use peri_media::h264::{Depacketizer, Picture, Sink, Unit, UnitBuffer};
use peri_media::mp4join::{Entry, Gaps, Joiner};
use peri_media::rtp::{Order, Packet, Receiver};
use peri_media::rtsp::client::{self, Client, Event};
use peri_media::rtsp::server::{self, Server};
use peri_media::rtsp::{INPUT_BUFFER_MIN, Url};
use retina::codec::{CodecItem, FrameFormat};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

/// Access units (NAL units) of `frames` pictures at 15 fps, from FFmpeg's test picture.
fn encode(size: &str, frames: u32, seed: u32) -> Vec<Vec<Vec<u8>>> {
    let output = Command::new("ffmpeg")
        .args([
            "-v",
            "error",
            "-f",
            "lavfi",
            "-i",
            &format!("testsrc2=s={size}:r=15"),
            "-frames:v",
            &frames.to_string(),
        ])
        .args(["-vf", &format!("hue=h={}", seed * 60)])
        .args(["-c:v", "libx264", "-preset", "veryfast", "-bf", "0", "-pix_fmt", "yuv420p"])
        .args(["-x264-params", "slices=3:keyint=15:scenecut=0:repeat-headers=1:aud=1", "-f", "h264", "-"])
        .output()
        .expect("ffmpeg is installed by scripts/setup");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut units: Vec<Vec<Vec<u8>>> = Vec::new();
    for nal in annex_b(&output.stdout) {
        if nal[0] & 0x1f == 9 {
            units.push(Vec::new());
        }
        units.last_mut().unwrap().push(nal.to_vec());
    }
    assert_eq!(units.len(), frames as usize);
    units
}

fn packets(units: &[Vec<Vec<u8>>], mtu: usize, aggregate: bool) -> Vec<Vec<u8>> {
    let mut packetizer = Packetizer { mtu, payload_type: 96, ssrc: 0x1234_5678, sequence: 65_000, aggregate };
    let mut out = Vec::new();
    for (i, unit) in units.iter().enumerate() {
        let nals: Vec<&[u8]> = unit.iter().map(Vec::as_slice).collect();
        // Starts shortly before the 32 bits wrap.
        let timestamp = (u32::MAX - 60_000).wrapping_add(i as u32 * 6000);
        packetizer.unit(timestamp, &nals, |packet| out.push(packet.to_vec()));
    }
    out
}

/// Serves the packets to so many connections, one after the other.
fn serve(packets: Vec<Vec<u8>>, connections: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for _ in 0..connections {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let sdp = "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=control:*\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:track1\r\n";
            let mut server = Server::new(server::Config {
                sdp: sdp.into(),
                session: "oracle".into(),
                timeout: Duration::from_secs(60),
                auth: Some(server::Credentials {
                    scheme: Scheme::DigestMd5,
                    realm: "oracle".into(),
                    nonce: "0815".into(),
                    user: "user".into(),
                    password: String::from("secret").into(),
                }),
            });
            let mut input = Vec::new();
            while !server.is_playing() {
                let mut chunk = [0; 4096];
                let read = stream.read(&mut chunk).unwrap();
                assert!(read > 0, "the viewer left early");
                input.extend_from_slice(&chunk[..read]);
                let used = server.handle_input(&input).unwrap();
                input.drain(..used);
                stream.write_all(&server.take_output()).unwrap();
            }
            let mut data = Vec::new();
            packets.iter().for_each(|packet| server.send(packet, &mut data));
            stream.write_all(&data).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            while matches!(stream.read(&mut [0; 4096]), Ok(1..)) {}
        }
    });
    address
}

type Units = Vec<(u32, Vec<u8>)>;

/// What retina makes of it, and the size of the last picture.
fn through_retina(address: SocketAddr) -> (Units, Option<(u32, u32)>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let url = Url::parse(&format!("rtsp://{address}/live")).unwrap();
        let credentials = retina::client::Credentials { username: "user".into(), password: "secret".into() };
        let options = retina::client::SessionOptions::default()
            .creds(Some(credentials))
            .teardown(retina::client::TeardownPolicy::Never);
        let mut session = retina::client::Session::describe(url, options).await.unwrap();
        session.setup(0, retina::client::SetupOptions::default().frame_format(FrameFormat::MP4)).await.unwrap();
        let mut stream = session.play(retina::client::PlayOptions::default()).await.unwrap().demuxed().unwrap();
        let mut units = Vec::new();
        while let Some(item) = stream.next().await {
            if let CodecItem::VideoFrame(frame) = item.unwrap() {
                units.push((frame.timestamp().timestamp() as u32, frame.data().to_vec()));
            }
        }
        let size = match stream.streams()[0].parameters() {
            Some(retina::codec::ParametersRef::Video(video)) => Some(video.pixel_dimensions()),
            _ => None,
        };
        (units, size)
    })
}

/// Fragments as the recorder would get them.
#[derive(Default)]
struct Fragments {
    inits: usize,
    all: Vec<(Kind, i64, u32, Vec<u8>)>,
}

impl Output for Fragments {
    fn fragment(&mut self, fragment: Fragment<'_>) {
        assert!(fragment.duration.to_duration() <= FRAGMENT_MAX);
        self.inits += usize::from(fragment.kind == Kind::Init);
        self.all.push((fragment.kind, fragment.start_90k, fragment.samples, fragment.bytes().to_vec()));
    }

    fn clock_jumped(&mut self, _: i64, _: i64) {
        panic!("the timestamps wrap but do not jump");
    }

    fn failed(&mut self, error: Mp4Error) {
        panic!("{error}");
    }
}

/// One packet stream into two depacketisers: whole access units, and fragments.
struct Ours {
    receiver: Receiver,
    whole: (Depacketizer, Whole),
    cut: (Depacketizer, Fragmenter, Fragments),
}

#[derive(Default)]
struct Whole {
    buffer: UnitBuffer,
    units: Units,
}

impl Sink for Whole {
    fn buffer(&mut self) -> &mut UnitBuffer {
        &mut self.buffer
    }

    fn picture(&mut self, _: &Picture<'_>) {}

    fn unit(&mut self, unit: Unit) {
        self.units.push((unit.timestamp, self.buffer.unit().to_vec()));
        self.buffer.drop_unit();
    }
}

impl client::Sink for Ours {
    fn rtp(&mut self, packet: &[u8]) {
        let packet = Packet::parse(packet).unwrap();
        let lost = match self.receiver.accept(&packet).unwrap() {
            Order::Next => 0,
            Order::Gap { lost } => lost,
            Order::Duplicate => return,
        };
        self.whole.0.push(&packet, lost, &mut self.whole.1).unwrap();
        self.cut.0.push(&packet, lost, &mut self.cut.1.with(&mut self.cut.2)).unwrap();
    }

    fn rtcp(&mut self, _: &[u8]) {}
}

/// The same packets through our client over a real connection.
fn through_us(address: SocketAddr) -> Ours {
    let begin = Instant::now();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let url = Url::parse(&format!("rtsp://{address}/live")).unwrap();
    let mut client =
        Client::new(client::Config { url, user_agent: "oracle".into(), tls: false }, begin.elapsed()).unwrap();
    let mut ours = Ours {
        receiver: Receiver::new(96),
        whole: (Depacketizer::new(&[]), Whole::default()),
        cut: (Depacketizer::new(&[]), Fragmenter::new(64), Fragments::default()),
    };
    let mut buffer = vec![0; INPUT_BUFFER_MIN];
    let mut filled = 0;
    loop {
        while let Some(event) = client.poll_event() {
            if let Event::NeedsAuth(challenge) = event {
                let answer = auth::answer(&challenge, "user", "secret", "00112233445566778899aabbccddeeff").unwrap();
                client.answer(Some(&answer), begin.elapsed());
            }
        }
        while let Some(bytes) = client.poll_transmit() {
            let sent = stream.write(bytes).unwrap();
            client.transmitted(sent);
        }
        let read = stream.read(&mut buffer[filled..]).unwrap();
        if read == 0 {
            break;
        }
        filled += read;
        let used = client.handle_input(&buffer[..filled], begin.elapsed(), &mut ours).unwrap();
        buffer.copy_within(used..filled, 0);
        filled -= used;
    }
    ours.cut.1.flush(&mut ours.cut.2);
    ours
}

/// Two sizes of picture, one after the other.
fn footage() -> Vec<Vec<Vec<u8>>> {
    let mut units = encode("640x360", 45, 0);
    units.extend(encode("320x240", 30, 1));
    units
}

#[test]
fn access_units_are_those_of_retina_with_fragments_aggregates_and_a_change_of_size() {
    for (mtu, aggregate) in [(200, false), (1400, true), (60_000, true)] {
        let units = footage();
        let address = serve(packets(&units, mtu, aggregate), 2);
        let (expected, size) = through_retina(address);
        let ours = through_us(address);
        assert_eq!(ours.whole.1.units.len(), units.len());
        assert!(ours.whole.1.units == expected, "access units differ at MTU {mtu}");
        let sps = ours.whole.0.parameters().sps().unwrap();
        assert_eq!(Some((u32::from(sps.width), u32::from(sps.height))), size);
        assert_eq!(ours.cut.2.inits, 2);
    }
}

#[test]
fn access_units_are_those_of_retina_under_loss() {
    let units = footage();
    for step in [7, 23, 61] {
        let mut kept = packets(&units, 500, true);
        let all = kept.len();
        let mut n = 0;
        kept.retain(|_| {
            n += 1;
            n < 20 || n == all || n % step != 0 && n % 53 > 2
        });
        let address = serve(kept, 2);
        let (expected, _) = through_retina(address);
        let ours = through_us(address);
        assert!(ours.receiver.lost > 0 && expected.len() < units.len());
        let timestamps = |units: &Units| units.iter().map(|u| u.0).collect::<Vec<_>>();
        assert_eq!(timestamps(&ours.whole.1.units), timestamps(&expected), "every {step}th packet lost");
        assert!(ours.whole.1.units == expected, "every {step}th packet lost");
    }
}

/// Runs ffprobe, which must not complain; returns what it prints.
fn ffprobe(file: &std::path::Path) -> String {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-count_frames", "-show_entries", "stream=width,height,nb_read_frames", "-of", "csv=p=0"])
        .arg(file)
        .output()
        .expect("ffprobe is installed by scripts/setup");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn fragments_are_valid_to_independent_readers() {
    use mp4_atom::{Any, Decode};
    let units = encode("640x360", 60, 0);
    let ours = through_us(serve(packets(&units, 1400, false), 1));
    let file: Vec<u8> = ours.cut.2.all.iter().flat_map(|f| f.3.clone()).collect();
    let mut rest = &file[..];
    let (mut samples, mut decode_time, mut sizes) = (0, None, 0);
    while !rest.is_empty() {
        match Any::decode(&mut rest).unwrap() {
            Any::Moov(moov) => {
                let track = &moov.trak[0];
                assert_eq!((track.tkhd.width.integer(), track.tkhd.height.integer()), (640, 360));
                assert_eq!(track.mdia.mdhd.timescale, 90_000);
            }
            Any::Moof(moof) => {
                let traf = &moof.traf[0];
                let time = traf.tfdt.as_ref().unwrap().base_media_decode_time;
                assert!(decode_time.is_none_or(|expected| expected == time), "{decode_time:?} {time}");
                let entries = &traf.trun[0].samples;
                decode_time = Some(time + entries.iter().map(|e| u64::from(e.duration.unwrap())).sum::<u64>());
                samples += entries.len();
                sizes = entries.iter().map(|e| e.size.unwrap() as usize).sum();
            }
            Any::Mdat(mdat) => assert_eq!(mdat.data.len(), sizes),
            Any::Ftyp(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(samples, units.len());
    let path = std::env::temp_dir().join(format!("peri-oracle-{}.mp4", std::process::id()));
    std::fs::write(&path, &file).unwrap();
    let seen = ffprobe(&path);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(seen, "640,360,60");
}

#[test]
fn joined_export_over_a_change_of_size_plays_from_zero() {
    let units = footage();
    let ours = through_us(serve(packets(&units, 1400, false), 1));
    for gaps in [Gaps::Keep, Gaps::Close] {
        let mut join = Joiner::new(Vec::new(), gaps, Entry::Avc3);
        let mut pause = 0;
        for (kind, start, _, bytes) in &ours.cut.2.all {
            match kind {
                Kind::Init => {
                    join.init(bytes).unwrap();
                    pause += 5_000_000_000;
                }
                Kind::Media => join.media(bytes, UtcNanos(start * 100_000 / 9 + pause)).unwrap(),
            }
        }
        let file = join.finish().unwrap();
        let path = std::env::temp_dir().join(format!("peri-join-{}-{gaps:?}.mp4", std::process::id()));
        std::fs::write(&path, &file).unwrap();
        let seen = ffprobe(&path);
        let decoded =
            Command::new("ffmpeg").args(["-v", "error", "-i"]).arg(&path).args(["-f", "null", "-"]).output().unwrap();
        let times = Command::new("ffprobe")
            .args(["-v", "error", "-show_entries", "packet=pts_time", "-of", "csv=p=0"])
            .arg(&path)
            .output()
            .unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(String::from_utf8_lossy(&decoded.stderr), "");
        assert_eq!(seen, "640,360,75");
        let times = String::from_utf8(times.stdout).unwrap();
        let times: Vec<f64> = times.lines().map(|l| l.trim_matches(',').parse().unwrap()).collect();
        assert_eq!(times[0], 0.0);
        assert!(times.windows(2).all(|w| w[0] < w[1]));
        let expected = 74.0 / 15.0 + if gaps == Gaps::Keep { 5.0 } else { 0.0 };
        assert!((times[74] - expected).abs() < 0.01, "{}", times[74]);
    }
}
