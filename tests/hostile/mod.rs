//! The corpus of hostile cameras: what each says to its recorder, and what must become of it.
//!
//! What does not belong: running them and judging (`tests/hostile_camera.rs`), an honest dialogue (`attack::camera`).
#![allow(unreachable_pub, clippy::unwrap_used, reason = "a script that breaks is the report")]

use crate::attack::camera::{Conn, Request, SDP, Script, TICKS, packet, pictures};
use std::io;
use std::time::Duration;

/// How long the corpus runs: every time-out of the recorder (10 s for an answer, 15 s of silence) has to pass once.
pub const SIEGE: Duration = Duration::from_secs(34);
/// What must become of a camera.
pub enum Fate {
    /// Nothing is recorded, for a cause that contains this.
    Lost(&'static str),
    /// It attacks, but its pictures are good: they are recorded.
    Records,
    /// Some of its pictures are recorded, and a loss for this cause is accounted.
    Both(&'static str),
}
pub use Fate::{Both, Lost, Records};

/// The corpus: name, script, fate.
pub const HOSTILE: &[(&str, Script, Fate)] = &[
    ("garbage", garbage, Lost("out of step")),
    ("endless-header", endless_header, Lost("header longer than")),
    ("oversized-line", oversized_line, Lost("header longer than")),
    ("huge-length", huge_length, Lost("body of 99999999999 bytes")),
    ("negative-length", negative_length, Lost("Content-Length")),
    ("two-lengths", two_lengths, Lost("Content-Length")),
    ("overflowing-length", overflowing_length, Lost("Content-Length")),
    ("slow-body", slow_body, Lost("no answer to DESCRIBE")),
    ("slowloris", slowloris, Lost("no answer to OPTIONS")),
    ("silent", silent, Lost("no answer to OPTIONS")),
    ("sdp-bomb", sdp_bomb, Lost("video")),
    ("sdp-garbage", sdp_garbage, Lost("description")),
    ("sdp-too-long", sdp_too_long, Lost("body of")),
    ("redirect", redirect, Lost("redirects")),
    ("redirect-request", redirect_request, Lost("redirects")),
    ("unauthorized", unauthorized, Lost("refuses user name or password")),
    ("challenge-bomb", challenge_bomb, Lost("no usable authentication")),
    ("control-elsewhere", control_elsewhere, Lost("answered SETUP with 404")),
    ("channel-lie", channel_lie, Lost("answer to SETUP is unusable")),
    ("request-flood", request_flood, Lost("no answer to OPTIONS")),
    ("no-rtp", no_rtp, Lost("no video for")),
    ("stray-channels", stray_channels, Lost("no video for")),
    ("wrong-ssrc", wrong_ssrc, Lost("changed its source")),
    ("wrong-version", wrong_version, Lost("RTP version")),
    ("endless-fu", endless_fu, Lost("access unit exceeds")),
    ("lying-stap", lying_stap, Lost("STAP-A")),
    ("huge-sps", huge_sps, Lost("impossible pic_width_in_mbs")),
    ("overflowing-sps", overflowing_sps, Lost("parameter set")),
    ("interleaved-mode", interleaved_mode, Lost("interleaved packetization")),
    ("nal-flood", nal_flood, Lost("access unit exceeds")),
    ("clock-jumps", clock_jumps, Records),
    ("sequence-jumps", sequence_jumps, Records),
    ("rtcp-garbage", rtcp_garbage, Records),
    ("closes", closes, Lost("the connection")),
    ("turns-bad", turns_bad, Both("out of step")),
    ("turns-empty", turns_empty, Both("does the camera ever send a key picture")),
];

/// Sequence numbers without end.
fn numbers(from: u16) -> impl Iterator<Item = u16> {
    std::iter::successors(Some(from), |number| Some(number.wrapping_add(1)))
}

fn garbage(conn: &mut Conn, _: Request) -> io::Result<()> {
    let noise: Vec<u8> = (0..65_536_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8 | 0x80).collect();
    conn.send(&noise)?;
    conn.hold(SIEGE)
}

fn endless_header(conn: &mut Conn, first: Request) -> io::Result<()> {
    conn.send(format!("RTSP/1.0 200 OK\r\nCSeq: {}\r\n", first.cseq).as_bytes())?;
    loop {
        conn.send(b"X-More: of the same, and more of it, and never an empty line\r\n")?;
    }
}

fn oversized_line(conn: &mut Conn, first: Request) -> io::Result<()> {
    conn.send(
        format!("RTSP/1.0 200 OK\r\nCSeq: {}\r\nServer: {}\r\n\r\n", first.cseq, "A".repeat(1 << 20)).as_bytes(),
    )?;
    conn.hold(SIEGE)
}

fn length(conn: &mut Conn, first: Request, lines: &str) -> io::Result<()> {
    let describe = conn.before(first, "DESCRIBE")?;
    conn.send(format!("RTSP/1.0 200 OK\r\nCSeq: {}\r\n{lines}\r\n", describe.cseq).as_bytes())?;
    conn.hold(SIEGE)
}

fn huge_length(conn: &mut Conn, first: Request) -> io::Result<()> {
    length(conn, first, "Content-Length: 99999999999\r\n")
}

fn negative_length(conn: &mut Conn, first: Request) -> io::Result<()> {
    length(conn, first, "Content-Length: -1\r\n")
}

fn two_lengths(conn: &mut Conn, first: Request) -> io::Result<()> {
    length(conn, first, "Content-Length: 10\r\nContent-Length: 20\r\n")
}

fn overflowing_length(conn: &mut Conn, first: Request) -> io::Result<()> {
    length(conn, first, "Content-Length: 18446744073709551617\r\n")
}

fn slow_body(conn: &mut Conn, first: Request) -> io::Result<()> {
    let describe = conn.before(first, "DESCRIBE")?;
    conn.send(format!("RTSP/1.0 200 OK\r\nCSeq: {}\r\nContent-Length: 60000\r\n\r\n", describe.cseq).as_bytes())?;
    loop {
        conn.send(b"a")?;
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn slowloris(conn: &mut Conn, _: Request) -> io::Result<()> {
    for byte in b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nPublic: ".iter().chain(std::iter::repeat(&b'A')) {
        conn.send(&[*byte])?;
        std::thread::sleep(Duration::from_millis(500));
    }
    Ok(())
}

fn silent(conn: &mut Conn, _: Request) -> io::Result<()> {
    conn.hold(SIEGE)
}

fn describes(conn: &mut Conn, first: Request, sdp: &str) -> io::Result<()> {
    let describe = conn.before(first, "DESCRIBE")?;
    conn.honest(&describe, sdp)?;
    conn.hold(SIEGE)
}

fn sdp_bomb(conn: &mut Conn, first: Request) -> io::Result<()> {
    // Thousands of tracks with thousands of attributes, none of them of use.
    let mut sdp = String::from("v=0\r\n");
    while sdp.len() < 64_000 {
        // Names that would make the cause itself a bomb.
        sdp.push_str("m=abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqr 0 RTP/AVP 107\r\n");
    }
    describes(conn, first, &sdp)
}

fn sdp_garbage(conn: &mut Conn, first: Request) -> io::Result<()> {
    describes(conn, first, &"\u{fffd}\u{0}=m=a=v\r".repeat(500))
}

fn sdp_too_long(conn: &mut Conn, first: Request) -> io::Result<()> {
    describes(conn, first, &SDP.repeat(2_000))
}

fn redirect(conn: &mut Conn, first: Request) -> io::Result<()> {
    let to = first.path;
    conn.send(
        format!("RTSP/1.0 302 Moved\r\nCSeq: {}\r\nLocation: rtsp://127.0.0.1/{to}\r\n\r\n", first.cseq).as_bytes(),
    )?;
    conn.hold(SIEGE)
}

fn redirect_request(conn: &mut Conn, first: Request) -> io::Result<()> {
    conn.playing(first)?;
    conn.send(b"REDIRECT rtsp://127.0.0.1/x RTSP/1.0\r\nCSeq: 9\r\nLocation: rtsp://192.0.2.1/\r\n\r\n")?;
    conn.hold(SIEGE)
}

fn unauthorized(conn: &mut Conn, first: Request) -> io::Result<()> {
    let mut request = first;
    for round in 0.. {
        // A new nonce each time, called stale, for ever.
        conn.send(
            format!(
                "RTSP/1.0 401 Unauthorized\r\nCSeq: {}\r\nWWW-Authenticate: Digest realm=\"r\", nonce=\"{round}\", \
                 stale=true\r\n\r\n",
                request.cseq
            )
            .as_bytes(),
        )?;
        request = conn.request()?;
    }
    Ok(())
}

fn challenge_bomb(conn: &mut Conn, first: Request) -> io::Result<()> {
    let line = format!(
        "WWW-Authenticate: Digest realm=\"{}\", nonce=\"\\\"\\\\\", algorithm=MD5-{}\r\n",
        "r".repeat(200),
        "x".repeat(200)
    );
    conn.send(format!("RTSP/1.0 401 Unauthorized\r\nCSeq: {}\r\n{}\r\n", first.cseq, line.repeat(30)).as_bytes())?;
    conn.hold(SIEGE)
}

fn control_elsewhere(conn: &mut Conn, first: Request) -> io::Result<()> {
    // The track is to be set up at another host: the connection stays where it is, whatever the URL says.
    let describe = conn.before(first, "DESCRIBE")?;
    conn.honest(&describe, &SDP.replace("a=control:track1", "a=control:rtsp://192.0.2.1:1/elsewhere"))?;
    let setup = conn.request()?;
    conn.send(format!("RTSP/1.0 404 Not Found\r\nCSeq: {}\r\n\r\n", setup.cseq).as_bytes())?;
    conn.hold(SIEGE)
}

fn channel_lie(conn: &mut Conn, first: Request) -> io::Result<()> {
    let setup = conn.before(first, "SETUP")?;
    conn.answer(&setup, "Transport: RTP/AVP;unicast;client_port=1-2;interleaved=255-256\r\nSession: 7\r\n", "")?;
    conn.hold(SIEGE)
}

fn request_flood(conn: &mut Conn, _: Request) -> io::Result<()> {
    // Requests of the camera's own instead of an answer, never reading what comes back.
    loop {
        conn.send(b"OPTIONS rtsp://127.0.0.1/ RTSP/1.0\r\nCSeq: 4294967295\r\n\r\n".repeat(50).as_slice())?;
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn no_rtp(conn: &mut Conn, first: Request) -> io::Result<()> {
    conn.playing(first)?;
    conn.hold(SIEGE)
}

fn stray_channels(conn: &mut Conn, first: Request) -> io::Result<()> {
    conn.playing(first)?;
    for i in numbers(0) {
        conn.send(&packet(2 + (i % 250) as u8, i, 0, 1, true, &[0x41; 1000]))?;
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn wrong_ssrc(conn: &mut Conn, first: Request) -> io::Result<()> {
    conn.playing(first)?;
    for i in numbers(0) {
        conn.rtp(i, 0, u32::from(i), true, &[0x41; 1000])?;
    }
    Ok(())
}

fn wrong_version(conn: &mut Conn, first: Request) -> io::Result<()> {
    conn.playing(first)?;
    let mut bytes = packet(0, 1, 0, 1, true, &[0x41; 40]);
    bytes[4] = 0x40;
    conn.send(&bytes)?;
    conn.hold(SIEGE)
}

/// Sends single payloads for ever, a new timestamp each.
fn payloads(conn: &mut Conn, payload: impl Fn(u32) -> Vec<u8>, pause: Duration) -> io::Result<()> {
    for i in 0_u32.. {
        conn.rtp(i as u16, i.wrapping_mul(TICKS), 7, true, &payload(i))?;
        std::thread::sleep(pause);
    }
    Ok(())
}

fn parameters(conn: &mut Conn) -> io::Result<()> {
    let sets: Vec<Vec<u8>> = pictures()[0].iter().filter(|nal| matches!(nal[0] & 0x1f, 7 | 8)).cloned().collect();
    for (i, set) in (0..).zip(&sets) {
        conn.rtp(i, 0, 7, false, set)?;
    }
    Ok(())
}

fn endless_fu(conn: &mut Conn, first: Request) -> io::Result<()> {
    conn.playing(first)?;
    parameters(conn)?;
    for i in numbers(2) {
        // Start bit in the first alone, end bit never; twenty megabytes a second.
        let mut payload = vec![0x7c, if i == 2 { 0x85 } else { 0x05 }];
        payload.resize(60_000, 0xAA);
        conn.rtp(i, 0, 7, false, &payload)?;
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn lying_stap(conn: &mut Conn, first: Request) -> io::Result<()> {
    conn.playing(first)?;
    payloads(
        conn,
        |i| match i % 4 {
            0 => vec![0x18, 0xff, 0xff, 0x65, 1, 2, 3],
            1 => vec![0x18, 0, 0, 0x65],
            2 => vec![0x18],
            _ => vec![0x18, 0, 4, 0x65, 1, 2, 3, 0],
        },
        Duration::from_millis(20),
    )
}

/// Bits, most significant first; the rest of the last byte is a stop bit and zeros.
fn bits(text: &str) -> Vec<u8> {
    let all: Vec<u8> = text.bytes().filter(|b| *b != b' ').map(|b| b - b'0').chain([1]).collect();
    all.chunks(8).map(|byte| byte.iter().enumerate().fold(0, |value, (i, bit)| value | bit << (7 - i))).collect()
}

/// `ue(v)` of H.264.
fn ue(value: u32) -> String {
    let code = format!("{:b}", u64::from(value) + 1);
    "0".repeat(code.len() - 1) + &code
}

fn sps(width_mbs: u32, height_mbs: u32) -> Vec<u8> {
    // Baseline: id, log2_max_frame_num, poc type 2, reference frames, gaps, width, height, frame_mbs_only, direct, crop, vui.
    let text = [ue(0), ue(0), ue(2), ue(1), "0".into(), ue(width_mbs - 1), ue(height_mbs - 1), "1000".into()].concat();
    let mut nal = vec![0x67, 66, 0, 62];
    nal.extend(bits(&text));
    nal
}

fn pictures_under(conn: &mut Conn, first: Request, sps: Vec<u8>) -> io::Result<()> {
    conn.playing(first)?;
    let pps = pictures()[0].iter().find(|nal| nal[0] & 0x1f == 8).unwrap().clone();
    for i in 0_u32.. {
        conn.picture(i.wrapping_mul(TICKS), &[sps.clone(), pps.clone(), [vec![0x65], vec![0x88; 500]].concat()])?;
        std::thread::sleep(Duration::from_millis(60));
    }
    Ok(())
}

fn huge_sps(conn: &mut Conn, first: Request) -> io::Result<()> {
    pictures_under(conn, first, sps(20_000, 20_000))
}

fn overflowing_sps(conn: &mut Conn, first: Request) -> io::Result<()> {
    // 63 zeros: a number that no integer holds; and cropping larger than the picture in the next field.
    let mut nal = vec![0x67, 66, 0, 62];
    nal.extend(bits(&format!("{}{}", ue(0), "0".repeat(63) + "1" + &"1".repeat(63))));
    pictures_under(conn, first, nal)
}

fn interleaved_mode(conn: &mut Conn, first: Request) -> io::Result<()> {
    conn.playing(first)?;
    payloads(conn, |_| vec![0x19, 0, 0, 0, 4, 0x65, 1, 2, 3], Duration::from_millis(20))
}

fn nal_flood(conn: &mut Conn, first: Request) -> io::Result<()> {
    conn.playing(first)?;
    parameters(conn)?;
    for i in numbers(2) {
        // One access unit of very many very small NAL units, without end.
        conn.rtp(i, 0, 7, false, &[0x06, 1, 1])?;
        if i % 64 == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    Ok(())
}

fn clock_jumps(conn: &mut Conn, first: Request) -> io::Result<()> {
    conn.playing(first)?;
    let jumps = [0_u32, 0x7fff_ffff, 0xffff_ff00, 90_000, 0x8000_0000];
    for (round, jump) in (0_u32..).zip(jumps.iter().cycle()) {
        // A group of pictures at its pace, then the clock leaps.
        for i in 0..15 {
            conn.picture(jump.wrapping_add(round).wrapping_add(i * TICKS), &pictures()[i as usize])?;
            std::thread::sleep(Duration::from_millis(66));
        }
    }
    Ok(())
}

fn sequence_jumps(conn: &mut Conn, first: Request) -> io::Result<()> {
    conn.playing(first)?;
    let mut at = 0;
    loop {
        // Out of step with the key pictures: a hole before each of them would rightly leave nothing to record.
        at = conn.roll(at, Duration::from_millis(1400))?;
        // A far-off sequence number in the middle, and back.
        conn.rtp(40_000, at * TICKS, 0x0BAD_CAFE, true, &[0x06, 5, 1, 0, 0x80])?;
    }
}

fn rtcp_garbage(conn: &mut Conn, first: Request) -> io::Result<()> {
    conn.playing(first)?;
    let mut at = 0;
    loop {
        at = conn.roll(at, Duration::from_millis(300))?;
        for rtcp in
            [&[0x80, 200, 0xff, 0xff, 1, 2][..], &[0x9f; 40], &[0x80, 200, 0, 6, 0, 0, 0, 1, 255, 255, 255, 255]]
        {
            let mut bytes = vec![b'$', 1];
            bytes.extend_from_slice(&u16::try_from(rtcp.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(rtcp);
            conn.send(&bytes)?;
        }
    }
}

fn turns_bad(conn: &mut Conn, first: Request) -> io::Result<()> {
    conn.playing(first)?;
    conn.roll(0, Duration::from_secs(3))?;
    // A packet that promises more than comes, then something else.
    conn.send(&[b'$', 0, 0, 4, 0x80, 0x60, 0, 1, 0xff, 0xfe])?;
    conn.hold(SIEGE)
}

fn turns_empty(conn: &mut Conn, first: Request) -> io::Result<()> {
    conn.playing(first)?;
    conn.roll(0, Duration::from_secs(3))?;
    // Packets go on, pictures do not.
    let mut i = 0;
    loop {
        conn.picture(3 * 90_000 + i * TICKS, &[vec![0x06, 5, 1, 0, 0x80]])?;
        i += 1;
        std::thread::sleep(Duration::from_millis(60));
    }
}

fn closes(conn: &mut Conn, first: Request) -> io::Result<()> {
    // Each connection gets a different number of bytes of an honest dialogue.
    let mut left = conn.attempt * 61;
    let mut request = first;
    loop {
        let answer = format!(
            "RTSP/1.0 200 OK\r\nCSeq: {}\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{SDP}",
            request.cseq,
            SDP.len()
        );
        let part = &answer.as_bytes()[..answer.len().min(left)];
        conn.send(part)?;
        left -= part.len();
        if part.len() < answer.len() {
            return Ok(());
        }
        request = conn.request()?;
    }
}
