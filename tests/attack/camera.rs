//! A camera by script: plain RTSP on 127.0.0.0/8, one script per path, so that every way to misbehave is a few lines.
//! `good` is the honest one: an endless loop of real pictures at their pace, a key picture a second.

use peri_media::h264::packetize::{Packetizer, annex_b};
use peri_media::rtsp::wire::interleave;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

pub const FPS: u32 = 15;
pub const TICKS: u32 = 90_000 / FPS;

/// What an honest camera says of itself.
pub const SDP: &str = "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=control:*\r\nm=video 0 RTP/AVP 96\r\n\
                       a=rtpmap:96 H264/90000\r\na=control:track1\r\n";

/// A script: the first request of the connection has been read and is handed over.
pub type Script = fn(&mut Conn, Request) -> io::Result<()>;

/// Pictures as NAL units.
pub type Film = [Vec<Vec<u8>>];

/// Four seconds of pictures, a key picture a second, parameter sets before each.
pub fn pictures() -> &'static Film {
    static PICTURES: OnceLock<Vec<Vec<Vec<u8>>>> = OnceLock::new();
    PICTURES.get_or_init(|| film(FPS))
}

/// The same with one key picture in four seconds: a group of pictures longer than may stay unsynced.
pub fn seldom_key_pictures() -> &'static Film {
    static PICTURES: OnceLock<Vec<Vec<Vec<u8>>>> = OnceLock::new();
    PICTURES.get_or_init(|| film(4 * FPS))
}

fn film(keyint: u32) -> Vec<Vec<Vec<u8>>> {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", "testsrc2=s=640x360:r=15", "-frames:v", "60", "-c:v", "libx264"])
        .args(["-preset", "ultrafast", "-bf", "0", "-pix_fmt", "yuv420p", "-b:v", "600k", "-x264-params"])
        .arg(format!("keyint={keyint}:scenecut=0:repeat-headers=1:aud=1:sliced-threads=0:threads=1"))
        .args(["-f", "h264", "-"])
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
    assert_eq!(units.len(), 60);
    let is_key = |unit: &&Vec<Vec<u8>>| unit.iter().any(|nal| nal[0] & 0x1f == 5);
    assert_eq!(units.iter().filter(is_key).count() as u32, 60 / keyint);
    units
}

/// One RTSP request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub cseq: String,
    pub text: String,
}

/// A connection of the recorder.
pub struct Conn {
    pub stream: TcpStream,
    /// Which connection to this path it is, from 0.
    pub attempt: usize,
    stop: Arc<AtomicBool>,
    input: Vec<u8>,
    packets: Packetizer,
}

impl Conn {
    /// The next request; an error when the recorder hangs up.
    pub fn request(&mut self) -> io::Result<Request> {
        loop {
            if let Some(end) = self.input.windows(4).position(|window| window == b"\r\n\r\n") {
                let head: Vec<u8> = self.input.drain(..end + 4).collect();
                let text = String::from_utf8_lossy(&head).into_owned();
                let mut words = text.split(' ');
                let method = words.next().unwrap_or("").to_owned();
                let url = words.next().unwrap_or("");
                let path = url.splitn(4, '/').nth(3).unwrap_or("").split('/').next().unwrap_or("").to_owned();
                let cseq = text.lines().find_map(|line| line.strip_prefix("CSeq: ")).unwrap_or("0").to_owned();
                return Ok(Request { method, path, cseq, text });
            }
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => self.input.extend_from_slice(&chunk[..read]),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    self.alive()?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// An error once the test is over, so that no thread outlives it.
    pub fn alive(&self) -> io::Result<()> {
        if self.stop.load(Ordering::Relaxed) { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.alive()?;
        self.stream.write_all(bytes)
    }

    /// 200 with these header lines (each ended by CR LF) and a body.
    pub fn answer(&mut self, to: &Request, lines: &str, body: &str) -> io::Result<()> {
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        self.send(format!("RTSP/1.0 200 OK\r\nCSeq: {}\r\n{lines}{length}\r\n{body}", to.cseq).as_bytes())
    }

    /// Answers as an honest camera would.
    pub fn honest(&mut self, to: &Request, sdp: &str) -> io::Result<()> {
        match to.method.as_str() {
            "DESCRIBE" => self.answer(to, "Content-Type: application/sdp\r\n", sdp),
            "SETUP" => self.answer(to, "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 7\r\n", ""),
            "PLAY" => self.answer(to, "Session: 7\r\n", ""),
            _ => self.answer(to, "Public: DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER\r\n", ""),
        }
    }

    /// Honest until a request of this method, which is returned unanswered.
    pub fn before(&mut self, mut request: Request, method: &str) -> io::Result<Request> {
        while request.method != method {
            self.honest(&request, SDP)?;
            request = self.request()?;
        }
        Ok(request)
    }

    /// Honest until PLAY is answered.
    pub fn playing(&mut self, first: Request) -> io::Result<()> {
        let play = self.before(first, "PLAY")?;
        self.honest(&play, SDP)
    }

    /// One RTP packet on the video channel.
    pub fn rtp(&mut self, sequence: u16, timestamp: u32, ssrc: u32, marker: bool, payload: &[u8]) -> io::Result<()> {
        self.send(&packet(0, sequence, timestamp, ssrc, marker, payload))
    }

    /// One picture in as many packets as it takes; the sequence goes on from the last.
    pub fn picture(&mut self, timestamp: u32, nals: &[Vec<u8>]) -> io::Result<()> {
        let nals: Vec<&[u8]> = nals.iter().map(Vec::as_slice).collect();
        let mut bytes = Vec::new();
        self.packets.unit(timestamp, &nals, |packet| interleave(0, packet, &mut bytes));
        self.send(&bytes)
    }

    /// Pictures at their pace for so long, beginning with picture `from`; answers keep-alives.
    pub fn roll(&mut self, from: u32, length: Duration) -> io::Result<u32> {
        self.roll_of(pictures(), from, length)
    }

    /// The same with the pictures of a film.
    pub fn roll_of(&mut self, film: &Film, from: u32, length: Duration) -> io::Result<u32> {
        let began = Instant::now();
        self.stream.set_read_timeout(Some(Duration::from_millis(1)))?;
        let mut at = from;
        while began.elapsed() < length {
            self.picture(at.wrapping_mul(TICKS), &film[at as usize % film.len()])?;
            at += 1;
            let due = Duration::from_secs(1) * (at - from) / FPS;
            std::thread::sleep(due.saturating_sub(began.elapsed()));
            let mut chunk = [0; 2048];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => self.input.extend_from_slice(&chunk[..read]),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(error) => return Err(error),
            }
            if self.input.windows(4).any(|window| window == b"\r\n\r\n") {
                let request = self.request()?;
                self.honest(&request, SDP)?;
            }
        }
        Ok(at)
    }

    /// Says nothing and reads what comes, until the recorder hangs up or the time is over.
    pub fn hold(&mut self, length: Duration) -> io::Result<()> {
        let deadline = Instant::now() + length;
        let mut chunk = [0; 4096];
        while Instant::now() < deadline {
            self.alive()?;
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// An interleaved RTP packet.
pub fn packet(channel: u8, sequence: u16, timestamp: u32, ssrc: u32, marker: bool, payload: &[u8]) -> Vec<u8> {
    let mut rtp = Vec::new();
    peri_media::rtp::Packet { marker, payload_type: 96, sequence, timestamp, ssrc, payload }.write(&mut rtp);
    let mut bytes = Vec::new();
    interleave(channel, &rtp, &mut bytes);
    bytes
}

/// The honest camera.
pub fn good(conn: &mut Conn, first: Request) -> io::Result<()> {
    conn.playing(first)?;
    conn.roll(0, Duration::from_secs(86_400)).map(drop)
}

/// An honest camera with a key picture in four seconds.
pub fn seldom_keys(conn: &mut Conn, first: Request) -> io::Result<()> {
    conn.playing(first)?;
    conn.roll_of(seldom_key_pictures(), 0, Duration::from_secs(86_400)).map(drop)
}

/// Good pictures of a camera whose clock shows the year 2001, and whose media clock runs one per cent too fast by it.
pub fn wrong_clock(conn: &mut Conn, first: Request) -> io::Result<()> {
    // 2001-01-01 as NTP counts, from 1900.
    const BEGAN: f64 = 3_187_296_000.0;
    conn.playing(first)?;
    let mut at = 0;
    loop {
        let media = at * TICKS;
        let ntp = BEGAN + f64::from(media) / 90_000.0 / 1.01;
        // RFC 3550 section 6.4.1: a sender report without report blocks.
        let mut report = vec![0x80, 200, 0, 6];
        report.extend(0x0BAD_CAFE_u32.to_be_bytes());
        report.extend((ntp as u32).to_be_bytes());
        report.extend(((ntp.fract() * 4_294_967_296.0) as u32).to_be_bytes());
        report.extend(media.to_be_bytes());
        report.extend([0; 8]);
        let mut bytes = Vec::new();
        interleave(1, &report, &mut bytes);
        conn.send(&bytes)?;
        at = conn.roll(at, Duration::from_secs(1))?;
    }
}

/// The server; ends with its value.
pub struct Scripted {
    pub port: u16,
    /// Connections to each path so far.
    seen: Arc<Mutex<BTreeMap<String, usize>>>,
    stop: Arc<AtomicBool>,
}

impl Scripted {
    /// Serves these scripts under their names, on every address of 127.0.0.0/8.
    pub fn start(scripts: &[(&'static str, Script)]) -> Self {
        pictures();
        let scripts: BTreeMap<&'static str, Script> = scripts.iter().copied().collect();
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
        let stop = Arc::new(AtomicBool::new(false));
        let (counts, over) = (Arc::clone(&seen), Arc::clone(&stop));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (scripts, counts, stop) = (scripts.clone(), Arc::clone(&counts), Arc::clone(&over));
                std::thread::spawn(move || serve(stream, &scripts, &counts, stop));
            }
        });
        Self { port, seen, stop }
    }

    /// Connections to this path so far.
    pub fn connections(&self, path: &str) -> usize {
        self.seen.lock().unwrap().get(path).copied().unwrap_or(0)
    }

    /// The URL of a script; each has an address of its own, because a camera's address is its device's.
    pub fn url(&self, index: usize, path: &str) -> String {
        format!("rtsp://127.0.{}.{}:{}/{path}", 1 + index / 250, 1 + index % 250, self.port)
    }
}

fn serve(
    stream: TcpStream,
    scripts: &BTreeMap<&'static str, Script>,
    counts: &Mutex<BTreeMap<String, usize>>,
    stop: Arc<AtomicBool>,
) {
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.set_nodelay(true).unwrap();
    let packets = Packetizer { mtu: 1400, payload_type: 96, ssrc: 0x0BAD_CAFE, sequence: 1, aggregate: false };
    let mut conn = Conn { stream, attempt: 0, stop, input: Vec::new(), packets };
    let Ok(first) = conn.request() else { return };
    let Some(script) = scripts.get(first.path.as_str()) else { return };
    conn.attempt = {
        let mut counts = counts.lock().unwrap();
        let count = counts.entry(first.path.clone()).or_default();
        *count += 1;
        *count - 1
    };
    // The recorder hanging up is how most scripts end.
    let _ = script(&mut conn, first);
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}
