//! T16: a day of 25 or 23 hours has just so many, and recording, live picture, playback and export go across the edges.
//!
//! The edges come to the test: the appliance runs in a time zone whose summer time begins and ends within half a minute,
//! so that an hour of the local clock is left out and another comes twice while it records.
//!
//! What does not belong: the parser of times alone, clocks that are wrong (`peri_media::wallclock`).
#![allow(clippy::unwrap_used)]

mod attack;
mod support;

use attack::camera::{Scripted, good};
use attack::{Desk, now, total, until};
use peri_access::wire::CoverageKind;
use peri_client::times;
use peri_domain::{CameraId, EpochNo, Hash, UtcNanos};
use peri_roster::body::Trust;
use peri_store::coverage::{Book, Coverage};
use peri_store::retention::{SegmentRow, SegmentState};
use peri_store::testdb::TestDb;
use std::process::Command;
use std::time::Duration;
use support::{AppConfig, Appliance, secs, video};

/// What `date` prints of an instant in a time zone.
fn date(zone: &str, at: UtcNanos, format: &str) -> String {
    let output = Command::new("date")
        .env("TZ", zone)
        .args(["-d", &format!("@{}", at.0 / 1_000_000_000), format])
        .output()
        .unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A time zone (POSIX.1 §8.3) whose summer time of one hour begins and ends at these instants; the judge is `date`.
fn zone(begins: UtcNanos, ends: UtcNanos) -> String {
    // The rule names the day of the year from zero and the local time that is valid before the edge.
    let rule = |edge: UtcNanos, local: UtcNanos| {
        let days = date("UTC0", edge, "+%j").parse::<i64>().unwrap() - 1;
        let (of_edge, of_local) = (date("UTC0", edge, "+%F"), date("UTC0", local, "+%F"));
        // Beyond midnight the day stays that of the edge, and the hours go on.
        let beyond = if of_edge == of_local { 0 } else { 24 };
        let hours = date("UTC0", local, "+%H").parse::<i64>().unwrap() + beyond;
        format!("{days}/{hours}{}", date("UTC0", local, "+:%M:%S"))
    };
    let zone = format!("AAA0BBB-1,{},{}", rule(begins, begins), rule(ends, ends + secs(3600)));
    let offsets: Vec<_> = [begins - secs(1), begins, ends - secs(1), ends].map(|at| date(&zone, at, "+%z")).into();
    assert_eq!(offsets, ["+0000", "+0100", "+0100", "+0000"], "{zone}");
    zone
}

fn recorded_beyond(appliance: &Appliance, time: UtcNanos) {
    let mut desk = Desk::of(appliance, &["rev"]);
    until(&format!("recorded beyond {time}; {}", appliance.log()), secs(180), || {
        let health = desk.health("rev").ok()?;
        health.cameras.iter().any(|c| c.recorded_until.is_some_and(|until| until > time)).then_some(())
    });
}

#[test]
fn recording_live_picture_and_export_go_over_the_edges_of_summer_time() {
    if support::quick() {
        return;
    }
    let scripted = Scripted::start(&[("good", good)]);
    let mut appliance = Appliance::founded(AppConfig { epoch_secs: Some(5), ..AppConfig::default() });
    let mut desk = Desk::of(&appliance, &["dpo", "council", "guard"]);
    let grant = desk.grant_of("guard");
    desk.say(grant, &["dpo", "council"]);
    let spec = ("door".to_owned(), scripted.url(0, "good"), Trust::Plain);
    let camera = desk.add_cameras(&[spec], ["dpo", "council"])[0];
    assert_eq!(appliance.stop(), 0);

    // Whole seconds, far enough ahead for the restart; where much else runs, farther the next time.
    let (zone, begins, ends) = [15, 30, 60, 120]
        .into_iter()
        .find_map(|lead| {
            let begins = UtcNanos(now().0 / 1_000_000_000 * 1_000_000_000) + secs(lead);
            let ends = begins + secs(8);
            let zone = zone(begins, ends);
            appliance.config_mut().wrapper = vec!["env".into(), format!("TZ={zone}")];
            appliance.launch();
            appliance.wait_ready();
            recorded_beyond(&appliance, begins - secs(5));
            let in_time = now() < begins - secs(2);
            if !in_time {
                assert_eq!(appliance.stop(), 0);
            }
            in_time.then_some((zone, begins, ends))
        })
        .expect("the appliance records within two minutes of its start");
    let mut desk = Desk::of(&appliance, &["guard"]);
    // Live over the first edge, by a client in the same zone.
    let live = appliance.home.path("live.mp4");
    let watched = appliance
        .home
        .command(&["watch", "door", "--as", "guard", "--for", "8s", "-o", live.to_str().unwrap()])
        .env("TZ", &zone)
        .output()
        .unwrap();
    assert!(watched.status.success(), "{}", String::from_utf8_lossy(&watched.stderr));
    assert!(now() > begins, "the live picture ended before the edge");
    assert!(video::count(&live) >= 100, "{} live pictures in 8 s at 15 a second", video::count(&live));
    recorded_beyond(&appliance, ends + secs(6));

    let account = desk.account_of(camera, begins - secs(5), "guard");
    let lost: Vec<_> = account.iter().filter(|stretch| stretch.kind != CoverageKind::Recorded).collect();
    assert!(lost.is_empty(), "{lost:#?}");
    assert!(total(&account, CoverageKind::Recorded) >= secs(19), "{account:#?}");

    // As people write it: from a winter time over the whole summer to a winter time, and from one summer to the next.
    let local = |at: UtcNanos| date(&zone, at, "+%FT%T%:z");
    for (name, from, to) in [
        ("both edges", begins - secs(4), ends + secs(4)),
        ("into summer time", begins - secs(3), begins + secs(3)),
        ("out of summer time", ends - secs(3), ends + secs(3)),
    ] {
        let file = appliance.home.path("edge.mp4");
        let _ = std::fs::remove_file(&file);
        let exported = appliance
            .home
            .command(&["export", "door", "--as", "guard", "--from", &local(from), "--to", &local(to)])
            .args(["--purpose", "the edges", "-o", file.to_str().unwrap()])
            .env("TZ", &zone)
            .output()
            .unwrap();
        assert!(exported.status.success(), "{name}: {}", String::from_utf8_lossy(&exported.stderr));
        let times = video::times(&file);
        let length = to.saturating_since(from).as_secs_f64();
        // Pictures come 15 a second, and the film begins with a key picture, of which there is one a second: before the
        // span, or behind its start where the epoch that it lies in began between two.
        let expected = length * 15.0;
        let pictures = times.len() as f64;
        assert!((expected - 16.0..expected + 17.0).contains(&pictures), "{name}: {pictures} pictures in {length} s");
        let steps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(steps.iter().all(|step| (0.03..0.14).contains(step)), "{name}: a gap or an overlap: {steps:?}");
    }
    // The hour that comes twice is two spans: its first half alone is the summer's.
    let (summer, winter) = (local(ends - secs(1)), local(ends + secs(1)));
    assert_eq!(times::parse_span(&summer, &winter, now()).unwrap(), (ends - secs(1), ends + secs(1)));
    assert!(summer[..19] > winter[..19], "{summer} {winter}: the local clock went back");
    assert_eq!(appliance.stop(), 0);
    let checked = appliance.fsck(&[]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}

fn time(text: &str) -> UtcNanos {
    times::parse(text, UtcNanos(0)).unwrap()
}

/// Berlin's day of 25 hours, and its day of 23.
const DAYS: [(&str, &str, u64); 2] = [
    ("2026-10-25T00:00:00+02:00", "2026-10-26T00:00:00+01:00", 25),
    ("2027-03-28T00:00:00+01:00", "2027-03-29T00:00:00+02:00", 23),
];

#[test]
fn a_day_of_25_or_23_hours_is_accounted_and_found_hour_by_hour() {
    const CAMERA: CameraId = CameraId([16; 16]);
    let cluster = TestDb::start();
    let mut db = cluster.db("dst.test");
    let mut book = Book::new();
    let mut epoch = 0;
    for (from, until, hours) in DAYS {
        let (from, until) = (time(from), time(until));
        assert_eq!(until.saturating_since(from), secs(hours * 3600));
        // Local noon to local noon as a person would ask for it, in either offset, is one span.
        assert_eq!(times::parse_span(&from.to_string(), &until.to_string(), UtcNanos(0)).unwrap(), (from, until));
        book.begin(CAMERA, from);
        book.report(CAMERA, from, Coverage::Lost, "between the days");
        let lost = from + secs(2 * 3600 + 1800)..from + secs(2 * 3600 + 1860);
        let mut at = from;
        while at < until {
            let next = at + secs(900);
            epoch += 1;
            db.segment_opened(&SegmentRow {
                key: (CAMERA, EpochNo(epoch)),
                starts: at,
                ends: next,
                bytes: 1,
                state: SegmentState::Open,
                record_hash: Hash([1; 32]),
                commit_x: Hash([2; 32]),
            })
            .unwrap();
            if at == lost.start {
                book.report(CAMERA, lost.end, Coverage::Lost, "a minute without the camera");
            }
            book.report(CAMERA, next, Coverage::Recorded, "");
            at = next;
        }
        book.flush(&mut db).unwrap();
        let account = db.coverage_between(CAMERA, from, until).unwrap();
        for pair in account.windows(2) {
            assert_eq!(pair[0].ends, pair[1].starts);
        }
        let sum = |state| -> Duration {
            let stretches = account.iter().filter(|span| span.state == state);
            stretches.map(|span| span.ends.min(until).saturating_since(span.starts.max(from))).sum()
        };
        assert_eq!(sum(Coverage::Lost), secs(60));
        assert_eq!(sum(Coverage::Recorded), secs(hours * 3600 - 60));
        let segments = db.segments_between(CAMERA, from, until).unwrap();
        assert_eq!(segments.len() as u64, hours * 4, "every quarter of an hour once");
        assert!(segments.windows(2).all(|pair| pair[0].ends == pair[1].starts));
    }

    // Half past two comes twice in October, and each is its own hour.
    let mut quarter = |from: &str, until: &str| {
        let (from, until) = times::parse_span(from, until, UtcNanos(0)).unwrap();
        db.segments_between(CAMERA, from, until).unwrap().iter().map(|row| row.starts).collect::<Vec<_>>()
    };
    let summer = quarter("2026-10-25T02:30:00+02:00", "2026-10-25T02:45:00+02:00");
    let winter = quarter("2026-10-25T02:30:00+01:00", "2026-10-25T02:45:00+01:00");
    assert_eq!(summer, [time("2026-10-25T00:30:00Z")]);
    assert_eq!(winter, [time("2026-10-25T01:30:00Z")]);
    assert_eq!(quarter("2026-10-25T02:00:00+02:00", "2026-10-25T03:00:00+01:00").len(), 8, "both hours");
    // In March the clock goes from two to three: a quarter before and after the edge follow each other.
    let over = quarter("2027-03-28T01:45:00+01:00", "2027-03-28T03:15:00+02:00");
    assert_eq!(over, [time("2027-03-28T00:45:00Z"), time("2027-03-28T01:00:00Z")]);
    // A local time alone would be two instants or none.
    for bare in ["2026-10-25T02:30:00", "2027-03-28 02:30", "2027-03-28T02:30:00 Europe/Berlin"] {
        assert!(times::parse(bare, UtcNanos(0)).is_err(), "{bare}");
    }
    // Nothing in the schema knows a local time.
    let mut client = peri_store::schema::Endpoint::superuser(cluster.socket_dir()).connect().unwrap();
    let local = client
        .query(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema LIKE 'peri%' \
             AND data_type IN ('timestamp without time zone', 'time without time zone', 'time with time zone', 'date', \
             'interval')",
            &[],
        )
        .unwrap();
    assert_eq!(local.len(), 0, "{local:?}");
}
