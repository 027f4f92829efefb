//! A camera for measurements: one process serves any number of cameras from prerecorded pictures at almost no cost of
//! its own, so that what is measured is whoever records.
//!
//! Every path of the port is a camera: RTSP over TCP interleaved with Digest, 1080p, 15 pictures a second, 4.1 Mbit/s
//! constant, a key picture every 20. Pictures are packetised once; per camera only sequence number and timestamp are
//! patched. A picture leaves packet by packet, as from a camera's network interface, or where the replayer would be the
//! bottleneck in one write. Cameras do not tick in step. A viewer that does not take its bytes loses pictures, as with a
//! real camera, and that is counted.
//!
//! What does not belong: a camera that misbehaves, anything of the product.

use nix::sys::socket::{setsockopt, sockopt};
use peri_media::h264::packetize::{Packetizer, annex_b};
use peri_media::rtsp::server::{Config, Credentials, Server};
use peri_sandbox::clock::{Clock, SystemClock};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// Pictures a second.
pub(crate) const FPS: u32 = 15;
/// User of every camera.
pub(crate) const USER: &str = "bench";
/// Password of every camera.
pub(crate) const PASSWORD: &str = "prerecorded";

const KBIT: u32 = 4_100;
const GROUP: usize = 20;
const TICKS: u32 = 90_000 / FPS;
const SSRC: u32 = 0x5045_5249;
/// A picture every so often.
const STEP: Duration = Duration::from_nanos(1_000_000_000 / FPS as u64);
/// Sender reports come this often, in pictures.
const REPORT_EVERY: u64 = 5 * FPS as u64;
/// The interleaved frame before a packet.
const FRAME: usize = 4;

/// One picture, as it goes over the wire.
struct Picture {
    bytes: Vec<u8>,
    /// Where packets begin in it.
    packets: Vec<usize>,
}

/// What all cameras show.
struct Footage {
    sdp: String,
    pictures: Vec<Picture>,
    /// Packets of one whole round.
    packets: u64,
    /// A picture leaves in one write.
    whole: bool,
}

/// Encodes the prerecorded stream once; it lies beside the other footage.
pub(crate) fn material(footage: &Path) -> std::io::Result<std::path::PathBuf> {
    let target = footage.join(format!("bench-1080p{FPS}-{KBIT}.h264"));
    if target.exists() {
        return Ok(target);
    }
    let part = footage.join(format!("bench.{}.h264", std::process::id()));
    let rate = format!("{KBIT}k");
    let status = Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-i"])
        .arg(footage.join("vtest.mp4"))
        .args(["-vf", &format!("scale=1920:1080,setpts=N/({FPS}*TB)"), "-r", &FPS.to_string(), "-c:v", "libx264"])
        .args([
            "-preset",
            "veryfast",
            "-bf",
            "0",
            "-g",
            &GROUP.to_string(),
            "-sc_threshold",
            "0",
            "-pix_fmt",
            "yuv420p",
        ])
        .args(["-nal-hrd", "cbr", "-b:v", &rate, "-minrate", &rate, "-maxrate", &rate, "-bufsize", &rate])
        .args(["-bsf:v", "h264_metadata=aud=insert", "-an", "-f", "h264"])
        .arg(&part)
        .stdin(Stdio::null())
        .status()?;
    if !status.success() {
        return Err(std::io::Error::other(format!("ffmpeg ended with {status}")));
    }
    std::fs::rename(&part, &target)?;
    Ok(target)
}

impl Footage {
    fn read(path: &Path, whole: bool) -> Result<Self, String> {
        let stream = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let mut pictures = Vec::new();
        let mut sets: Vec<Vec<u8>> = Vec::new();
        let mut packets = 0;
        let mut cutter = Packetizer { mtu: 1_400, payload_type: 96, ssrc: SSRC, sequence: 0, aggregate: false };
        let mut unit: Vec<&[u8]> = Vec::new();
        let end: &[u8] = &[9];
        for nal in annex_b(&stream).chain([end]) {
            if nal[0] & 31 != 9 {
                if matches!(nal[0] & 31, 7 | 8) && sets.len() < 2 {
                    sets.push(nal.to_vec());
                }
                unit.push(nal);
            } else if !unit.is_empty() {
                let mut picture = Picture { bytes: Vec::new(), packets: Vec::new() };
                let timestamp = pictures.len() as u32 * TICKS;
                cutter.unit(timestamp, &unit, |packet| {
                    picture.packets.push(picture.bytes.len());
                    peri_media::rtsp::wire::interleave(0, packet, &mut picture.bytes);
                });
                packets += picture.packets.len() as u64;
                pictures.push(picture);
                unit.clear();
            }
        }
        // A round ends with whole groups of pictures.
        while pictures.len() % GROUP != 0 {
            packets -= pictures.pop().map_or(0, |p| p.packets.len() as u64);
        }
        let [sps, pps] = &sets[..] else { return Err(format!("{}: no parameter sets", path.display())) };
        let base64 = |bytes: &[u8]| base64(bytes);
        let sdp = format!(
            "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=Prerecorded\r\nt=0 0\r\na=control:*\r\nm=video 0 RTP/AVP 96\r\n\
             c=IN IP4 0.0.0.0\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1;profile-level-id={:02x}{:02x}{:02x};\
             sprop-parameter-sets={},{}\r\na=control:track1\r\n",
            sps[1],
            sps[2],
            sps[3],
            base64(sps),
            base64(pps)
        );
        Ok(Self { sdp, pictures, packets, whole })
    }

    /// Where the writes end that send picture number `at`, which has `len` bytes with what follows it.
    fn ends(&self, at: u64, len: usize) -> impl Iterator<Item = usize> {
        let picture = &self.pictures[(at % self.pictures.len() as u64) as usize];
        let starts = if self.whole { &[] } else { &picture.packets[1..] };
        starts.iter().copied().chain([len])
    }

    /// Picture number `at` of a camera that began at 0, ready to be sent.
    fn write(&self, at: u64, out: &mut Vec<u8>) {
        let (round, place) = (at / self.pictures.len() as u64, (at % self.pictures.len() as u64) as usize);
        let picture = &self.pictures[place];
        let sequence_by = (round * self.packets) as u16;
        let timestamp = (at * u64::from(TICKS)) as u32;
        out.clear();
        out.extend_from_slice(&picture.bytes);
        for start in &picture.packets {
            let header = &mut out[start + FRAME..start + FRAME + 12];
            let sequence = u16::from_be_bytes([header[2], header[3]]).wrapping_add(sequence_by);
            header[2..4].copy_from_slice(&sequence.to_be_bytes());
            header[4..8].copy_from_slice(&timestamp.to_be_bytes());
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |word, byte| (word << 8) | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = ALPHABET[(word >> (18 - 6 * place)) as usize & 63];
            text.push(if place > chunk.len() { '=' } else { char::from(digit) });
        }
    }
    text
}

/// A viewer that plays.
struct Viewer {
    stream: TcpStream,
    server: Server,
    input: Vec<u8>,
    next: Duration,
    at: u64,
    /// What the socket did not take yet.
    rest: Vec<u8>,
    path: String,
}

#[derive(Default)]
struct Counts {
    sent: u64,
    dropped: u64,
    late: Duration,
}

enum Word {
    Viewer(Box<Viewer>),
    Stats,
}

/// The process: prints one JSON line with its port, then one per line on standard input, and ends with it.
pub(crate) fn serve(path: &Path, whole: bool) -> Result<(), String> {
    let footage = Footage::read(path, whole)?;
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
    let port = listener.local_addr().map_err(|e| e.to_string())?.port();
    println!("{}", json!({ "port": port, "pictures": footage.pictures.len() }));
    let (sender, receiver) = channel();
    let sdp = footage.sdp.clone();
    let viewers = sender.clone();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().flatten().enumerate() {
            let (sender, sdp) = (viewers.clone(), sdp.clone());
            std::thread::spawn(move || {
                if let Some(viewer) = shake_hands(stream, sdp, number) {
                    let _ = sender.send(Word::Viewer(Box::new(viewer)));
                }
            });
        }
    });
    std::thread::spawn(move || listen_to_parent(&sender));
    pace(&footage, &receiver);
    Ok(())
}

fn listen_to_parent(sender: &Sender<Word>) {
    for line in std::io::stdin().lines() {
        if line.is_err() || sender.send(Word::Stats).is_err() {
            break;
        }
    }
    std::process::exit(0);
}

fn shake_hands(mut stream: TcpStream, sdp: String, number: usize) -> Option<Viewer> {
    stream.set_nodelay(true).ok()?;
    // Two seconds of pictures: what an encoder's output buffer holds at most.
    setsockopt(&stream, sockopt::SndBuf, &(1 << 20)).ok()?;
    let mut server = Server::new(Config {
        sdp,
        session: format!("{number:08x}"),
        timeout: Duration::from_secs(60),
        auth: Some(Credentials {
            scheme: peri_media::auth::Scheme::DigestMd5,
            realm: "bench".into(),
            nonce: format!("{number:032x}"),
            user: USER.into(),
            password: PASSWORD.to_owned().into(),
        }),
    });
    let mut input = Vec::new();
    let mut buffer = [0; 4096];
    let mut path = String::new();
    while !server.is_playing() {
        let got = stream.read(&mut buffer).ok().filter(|got| *got > 0)?;
        input.extend_from_slice(&buffer[..got]);
        if path.is_empty() {
            path = String::from_utf8_lossy(&input).split_whitespace().nth(1).unwrap_or_default().to_owned();
        }
        let used = server.handle_input(&input).ok()?;
        input.drain(..used);
        stream.write_all(&server.take_output()).ok()?;
    }
    stream.set_nonblocking(true).ok()?;
    Some(Viewer { stream, server, input, next: Duration::ZERO, at: 0, rest: Vec::new(), path })
}

/// The one thread that sends: each viewer's picture when it is due.
fn pace(footage: &Footage, words: &Receiver<Word>) {
    let clock = SystemClock;
    let mut viewers: Vec<Viewer> = Vec::new();
    let mut counts = Counts::default();
    let mut scratch = Vec::new();
    let mut number = 0_u32;
    loop {
        for word in words.try_iter() {
            match word {
                Word::Viewer(mut viewer) => {
                    // The golden ratio spreads any number of cameras evenly over the time of a picture.
                    let phase = STEP.mul_f64((f64::from(number) * 0.618_034).fract());
                    number += 1;
                    viewer.next = clock.monotonic() + phase;
                    viewers.push(*viewer);
                }
                Word::Stats => {
                    let paths: Vec<&str> = viewers.iter().map(|v| v.path.as_str()).collect();
                    println!(
                        "{}",
                        json!({ "viewers": viewers.len(), "paths": paths, "sent": counts.sent,
                            "dropped": counts.dropped, "late_ms": counts.late.as_secs_f64() * 1e3 })
                    );
                    counts = Counts::default();
                }
            }
        }
        let now = clock.monotonic();
        let mut wake = now + Duration::from_millis(20);
        viewers.retain_mut(|viewer| {
            let mut alive = true;
            while viewer.next <= now && alive {
                counts.late = counts.late.max(now - viewer.next);
                alive = viewer.send(footage, &mut scratch, &mut counts);
                viewer.next += STEP;
                viewer.at += 1;
            }
            wake = wake.min(viewer.next);
            alive
        });
        std::thread::sleep(wake.saturating_sub(clock.monotonic()).max(Duration::from_micros(500)));
    }
}

impl Viewer {
    /// `false`: gone.
    fn send(&mut self, footage: &Footage, scratch: &mut Vec<u8>, counts: &mut Counts) -> bool {
        if self.at.is_multiple_of(u64::from(FPS)) && !self.listen() {
            return false;
        }
        if !self.rest.is_empty() {
            match self.stream.write(&self.rest) {
                Ok(sent) => drop(self.rest.drain(..sent)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return false,
            }
            if !self.rest.is_empty() {
                counts.dropped += 1;
                return true;
            }
        }
        footage.write(self.at, scratch);
        if self.at.is_multiple_of(REPORT_EVERY) {
            self.report(scratch);
        }
        counts.sent += 1;
        let mut sent = 0;
        for end in footage.ends(self.at, scratch.len()) {
            match self.stream.write(&scratch[sent..end]) {
                Ok(taken) => sent += taken,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return false,
            }
            if sent < end {
                break;
            }
        }
        self.rest.extend_from_slice(&scratch[sent..]);
        true
    }

    /// Requests while playing: keep-alives and the end.
    fn listen(&mut self) -> bool {
        let mut buffer = [0; 4096];
        match self.stream.read(&mut buffer) {
            Ok(0) => return false,
            Ok(got) => self.input.extend_from_slice(&buffer[..got]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
            Err(_) => return false,
        }
        let Ok(used) = self.server.handle_input(&self.input) else { return false };
        self.input.drain(..used);
        // Between two pictures, so the answer never splits a packet.
        self.rest.extend_from_slice(&self.server.take_output());
        !self.server.has_ended()
    }

    /// A sender report (RFC 3550 §6.4.1) on the control channel.
    fn report(&self, out: &mut Vec<u8>) {
        let nanos = SystemClock.utc().0.unsigned_abs();
        let secs = nanos / 1_000_000_000 + 2_208_988_800;
        let ntp = (secs << 32) | (((nanos % 1_000_000_000) << 32) / 1_000_000_000);
        let timestamp = (self.at * u64::from(TICKS)) as u32;
        let mut report = vec![0x80, 200, 0, 6];
        report.extend_from_slice(&SSRC.to_be_bytes());
        report.extend_from_slice(&ntp.to_be_bytes());
        report.extend_from_slice(&timestamp.to_be_bytes());
        report.extend_from_slice(&[0; 8]);
        peri_media::rtsp::wire::interleave(1, &report, out);
    }
}

/// The replayer as a child of the bench.
pub(crate) struct Replayer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// Where it listens.
    pub(crate) port: u16,
}

impl Replayer {
    /// Starts it; `whole`: pictures leave in one write, not packet by packet.
    pub(crate) fn start(material: &Path, whole: bool) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program has a path"))
            .args([if whole { "--replay-whole" } else { "--replay" }.as_ref(), material.as_os_str()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the replayer starts");
        let input = child.stdin.take().expect("piped");
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        let port = line(&mut output)["port"].as_u64().and_then(|p| u16::try_from(p).ok()).expect("a port");
        Self { child, input, output, port }
    }

    /// Process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Address of camera `name`.
    pub(crate) fn url(&self, name: &str) -> String {
        format!("rtsp://127.0.0.1:{}/{name}", self.port)
    }

    /// What was sent since the last call: viewers, sent, dropped, `late_ms`.
    pub(crate) fn stats(&mut self) -> Value {
        self.input.write_all(b"stats\n").expect("the replayer lives");
        line(&mut self.output)
    }
}

impl Drop for Replayer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn line(output: &mut impl BufRead) -> Value {
    let mut line = String::new();
    output.read_line(&mut line).expect("the replayer lives");
    serde_json::from_str(&line).expect("the replayer speaks JSON")
}
