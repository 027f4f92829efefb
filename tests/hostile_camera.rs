//! T12: cameras that attack their recorder. A corpus of scripts, each a camera of one appliance at the same time: every
//! recorder refuses or loses alone, with a cause that names what is wrong, in bounded memory, while an honest camera
//! beside them records on without a gap. Then RTSPS: garbage instead of TLS, and a certificate that does not fit the pin.
//!
//! What does not belong: the scripts (`hostile`), parsers alone (their crates). The close at every byte of the dialogue is
//! here, without sockets.
#![allow(clippy::disallowed_methods, reason = "a test looks at the same clock as the people who look at the product")]
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod attack;
mod hostile;
mod support;

use attack::camera::{SDP, Script, Scripted, good};
use attack::{Desk, now, random, total, until};
use hostile::{Both, HOSTILE, Lost, Records, SIEGE};
use peri_access::wire::CoverageKind;
use peri_domain::{CameraId, Hash};
use peri_ledger::EntryType;
use peri_media::rtsp::Url;
use peri_media::rtsp::client::{Client, Config, Sink};
use peri_roster::body::Trust;
use sha2::Digest as _;
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};
use support::guard::Guarded;
use support::{AppConfig, Appliance, Dir, secs};

/// The recorder's bound on its data segment; what is resident beyond it is shared program text.
const PSS_MAX_KIB: u64 = 64 * 1024;

struct Stage {
    appliance: Appliance,
    scripted: Scripted,
    honest: CameraId,
}

impl Stage {
    fn desk(&self) -> Desk {
        Desk::of(&self.appliance, &["dpo", "council", "guard", "rev"])
    }
}

/// The appliance of this file, with its honest camera.
fn stage() -> &'static Stage {
    static STAGE: LazyLock<Stage> = LazyLock::new(|| {
        let mut scripts: Vec<(&'static str, Script)> =
            HOSTILE.iter().map(|(name, script, _)| (*name, *script)).collect();
        scripts.push(("honest", good));
        let scripted = Scripted::start(&scripts);
        let appliance = Appliance::founded(AppConfig { epoch_secs: Some(20), ..AppConfig::default() });
        let mut stage = Stage { appliance, scripted, honest: CameraId([0; 16]) };
        let mut desk = stage.desk();
        let url = stage.scripted.url(0, "honest");
        stage.honest = desk.add_cameras(&[("honest".into(), url, Trust::Plain)], ["dpo", "council"])[0];
        let grant = desk.grant_of("guard");
        desk.say(grant, &["dpo", "council"]);
        until("the honest camera is recorded", secs(20), || {
            let health = desk.health("rev").ok()?;
            health.cameras.iter().any(|c| c.camera == stage.honest && c.recorded_until.is_some()).then_some(())
        });
        stage
    });
    &STAGE
}

/// Proportional set size of a process in KiB.
fn pss_kib(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("Pss:"))?.trim().trim_end_matches(" kB").parse().ok()
}

#[test]
fn hostile_cameras_lose_alone_with_a_cause_and_the_honest_one_records_on() {
    if support::quick() {
        return;
    }
    let stage = stage();
    let mut desk = stage.desk();
    let honest_recorder = stage.appliance.role_pids("recorder");
    let began = now();
    let specs: Vec<(String, String, Trust)> = HOSTILE
        .iter()
        .enumerate()
        .map(|(i, (name, ..))| ((*name).to_owned(), stage.scripted.url(i + 1, name), Trust::Plain))
        .collect();
    let cameras = desk.add_cameras(&specs, ["dpo", "council"]);
    let deadline = Instant::now() + SIEGE;
    let mut most = 0;
    while Instant::now() < deadline {
        for pid in stage.appliance.role_pids("recorder") {
            most = most.max(pss_kib(pid).unwrap_or(0));
        }
        // Health stays readable, whatever cameras say of themselves.
        let health = desk.health("rev").unwrap();
        for camera in &health.cameras {
            assert!(camera.lost.len() <= 400, "a cause of {} bytes: {:.200}", camera.lost.len(), camera.lost);
        }
        std::thread::sleep(secs(1));
    }
    assert!(most > 0 && most < PSS_MAX_KIB, "a recorder took {most} KiB");
    let mut wrong = Vec::new();
    for ((name, _, fate), camera) in HOSTILE.iter().zip(&cameras) {
        let account = desk.account_of(*camera, began, "guard");
        let causes: BTreeSet<&str> = account.iter().map(|stretch| stretch.cause.as_str()).collect();
        let recorded = total(&account, CoverageKind::Recorded);
        let named = |cause: &str| causes.iter().any(|found| found.contains(cause));
        let fits = match fate {
            Lost(cause) => named(cause) && recorded < secs(2),
            Records => recorded > SIEGE / 2,
            // Whatever there was of it before it went wrong: at least a few pictures.
            Both(cause) => named(cause) && recorded >= Duration::from_millis(500),
        };
        if !fits || stage.scripted.connections(name) == 0 {
            wrong.push(format!(
                "{name}: {recorded:?} recorded, {} connections, {causes:#?}",
                stage.scripted.connections(name)
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let account = desk.account_of(stage.honest, began, "guard");
    let missing: Vec<_> = account.iter().filter(|stretch| stretch.kind != CoverageKind::Recorded).collect();
    assert!(missing.is_empty(), "the honest camera missed something: {missing:#?}");
    assert!(total(&account, CoverageKind::Recorded) > SIEGE - secs(4), "{account:#?}");
    let recorders = stage.appliance.role_pids("recorder");
    assert!(honest_recorder.iter().all(|pid| recorders.contains(pid)), "the honest camera's recorder died");
    let entries = desk.entries("rev");
    assert!(!entries.contains(&EntryType::SandboxViolation), "a camera drove a recorder against its walls");
    assert!(!stage.appliance.log().contains("panicked"), "{}", stage.appliance.log());
}

/// A TLS server of OpenSSL that prints what it receives; returns port, pin and where it prints.
fn tls_server(dir: &Dir, name: &str) -> (Guarded, u16, Hash, PathBuf) {
    let (key, cert, out) =
        (dir.join(format!("{name}.key")), dir.join(format!("{name}.pem")), dir.join(format!("{name}.out")));
    let run = |command: &mut Command| {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    run(Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"])
        .args(["-subj", "/CN=camera", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&cert));
    let spki = run(Command::new("openssl").args(["pkey", "-pubout", "-outform", "DER", "-in"]).arg(&key));
    let pin = Hash(sha2::Sha256::digest(&spki).into());
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = Command::new("openssl");
    command
        .args(["s_server", "-quiet", "-naccept", "100", "-accept", &format!("127.0.0.1:{port}"), "-cert"])
        .arg(&cert);
    command.arg("-key").arg(&key).stdin(Stdio::piped()).stdout(fs::File::create(&out).unwrap()).stderr(Stdio::null());
    (Guarded::spawn(&mut command), port, pin, out)
}

#[test]
fn nothing_is_asked_of_a_camera_before_its_certificate_fits_the_pin() {
    if support::quick() {
        return;
    }
    let stage = stage();
    let mut desk = stage.desk();
    let dir = Dir::new("tls");
    let (_right, right_port, right_pin, right_out) = tls_server(&dir, "right");
    let (_wrong, wrong_port, _, wrong_out) = tls_server(&dir, "wrong");
    let garbage = TcpListener::bind("127.0.0.1:0").unwrap();
    let slow = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = |port: u16| format!("rtsps://127.0.0.1:{port}/x");
    let specs = [
        ("tls-right".to_owned(), url(right_port), Trust::Pin(right_pin)),
        ("tls-wrong".to_owned(), url(wrong_port), Trust::Pin(Hash(random()))),
        ("tls-garbage".to_owned(), url(garbage.local_addr().unwrap().port()), Trust::Pin(Hash(random()))),
        ("tls-slow".to_owned(), url(slow.local_addr().unwrap().port()), Trust::Pin(Hash(random()))),
    ];
    std::thread::spawn(move || {
        for mut stream in garbage.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(&[0x16, 3, 3, 0x40, 0, 2, 0xff, 0xff, 0xff, 1, 2, 3].repeat(5_000));
        }
    });
    std::thread::spawn(move || {
        for mut stream in slow.incoming().flatten() {
            std::thread::spawn(move || {
                // The beginning of a record of 16 KiB, a byte a second: four hours of handshake.
                for byte in [0x16, 3, 3, 0x40, 0].into_iter().chain(std::iter::repeat(2)) {
                    if stream.write_all(&[byte]).is_err() {
                        return;
                    }
                    std::thread::sleep(secs(1));
                }
            });
        }
    });
    let cameras = desk.add_cameras(&specs, ["dpo", "council"]);
    let began = now();
    let cause = |desk: &mut Desk, camera: CameraId, contains: &str| {
        until(&format!("{contains:?} is the cause"), secs(25), || {
            let health = desk.health("rev").ok()?;
            health.cameras.iter().find(|c| c.camera == camera && c.lost.contains(contains)).map(|_| ())
        });
    };
    cause(&mut desk, cameras[1], "TLS with the camera failed");
    cause(&mut desk, cameras[2], "TLS with the camera failed");
    // A handshake that never ends is given up like an answer that never comes.
    cause(&mut desk, cameras[3], "TLS with the camera failed");
    assert!(now().saturating_since(began) < secs(25));
    until("the camera with the right pin is asked", secs(10), || {
        fs::read_to_string(&right_out).ok()?.contains("OPTIONS rtsps://").then_some(())
    });
    assert_eq!(fs::read(&wrong_out).unwrap(), b"", "a camera with another key got to see a request");
    for camera in &cameras {
        let account = desk.account_of(*camera, began, "guard");
        assert_eq!(total(&account, CoverageKind::Recorded), Duration::ZERO);
    }
}

struct Deaf;

impl Sink for Deaf {
    fn rtp(&mut self, _: &[u8]) {}
    fn rtcp(&mut self, _: &[u8]) {}
}

#[test]
fn a_camera_may_hang_up_at_every_byte_of_the_dialogue() {
    let answers = [
        "RTSP/1.0 200 OK\r\nCSeq: 1\r\nPublic: DESCRIBE, SETUP, PLAY, GET_PARAMETER\r\n\r\n".to_owned(),
        format!(
            "RTSP/1.0 200 OK\r\nCSeq: 2\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{SDP}",
            SDP.len()
        ),
        "RTSP/1.0 200 OK\r\nCSeq: 3\r\nTransport: RTP/AVP/TCP;interleaved=0-1\r\nSession: 7;timeout=30\r\n\r\n"
            .to_owned(),
        "RTSP/1.0 200 OK\r\nCSeq: 4\r\nSession: 7\r\nRTP-Info: url=x;seq=1\r\n\r\n".to_owned(),
    ];
    let whole: Vec<u8> = answers.concat().into_bytes();
    let ends: Vec<usize> = (1..=answers.len()).map(|n| answers[..n].iter().map(String::len).sum()).collect();
    let url = Url::parse("rtsp://127.0.0.1/x").unwrap();
    for cut in 0..=whole.len() {
        let config = Config { url: url.clone(), user_agent: "test".into(), tls: false };
        let mut client = Client::new(config, Duration::ZERO).unwrap();
        // A byte at a time is the worst a network does, and each answer follows its request.
        let (mut buffer, mut asked) = (Vec::new(), 0);
        for byte in &whole[..cut] {
            while let Some(bytes) = client.poll_transmit() {
                let length = bytes.len();
                client.transmitted(length);
                asked += 1;
            }
            buffer.push(*byte);
            let used = client.handle_input(&buffer, Duration::ZERO, &mut Deaf).unwrap();
            buffer.drain(..used);
        }
        let answered = ends.iter().filter(|end| **end <= cut).count();
        assert_eq!(client.is_playing(), answered == 4, "after {cut} bytes");
        assert!(asked <= answered + 1, "after {cut} bytes {asked} requests");
        if answered < 4 {
            let late = client.handle_timeout(Duration::from_secs(11)).unwrap_err();
            assert!(late.to_string().contains("no answer to"), "after {cut} bytes: {late}");
        }
    }
}
