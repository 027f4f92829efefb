//! The whole path of the product: from real cameras to pictures in the hands of whoever the custodians named, and of
//! nobody else.
//!
//! One appliance for all tests of this file: two cameras (real footage by RTSPS, Digest and pin; a running clock by
//! plain RTSP under the custodians' exception), epochs of six seconds. What fails, and what is wrongly set up, is in
//! `bad_input.rs` and `outages.rs`.
#![allow(clippy::unwrap_used)]

mod attack;
mod support;

use attack::Desk;
use attack::camera::{Conn, Request, SDP, Scripted, pictures};
use peri_access::wire::{FetchBody, Method, OpenBody, OpenedPage, SegmentsPage, SpanBody};
use peri_client::conn::ConnError;
use peri_domain::{AccountId, Action, CameraId, EpochNo, Right, Rights, Role, UtcNanos};
use peri_roster::body::{Body, Cameras, Grant, NewAccount};
use peri_seal::keys::KeyPair;
use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::*;

struct House {
    app: Appliance,
    _cameras: [Camera; 2],
    /// From here on all cameras record, under the grants.
    from: UtcNanos,
    newcomers: Vec<Newcomer>,
}

/// A viewer whose key never lay in a file, and what his grant is for.
struct Newcomer {
    name: &'static str,
    key: KeyPair,
    camera: Option<CameraId>,
    actions: &'static [Action],
}

const ACTIONS: [Action; 3] = [Action::WatchLive, Action::PlayBack, Action::Export];

/// Name, rights, camera or all, from and until in seconds from now, what it gives now.
type Narrow = (&'static str, Rights, Option<CameraId>, i64, i64, &'static [Action]);

/// Accounts with narrow grants. The actions are those that the grant gives now; for one not begun or over there is none.
fn newcomers(app: &Appliance) -> Vec<Newcomer> {
    let footage = raw::camera(app, "footage");
    let mut desk = Desk::of(app, &["dpo", "council", "boss"]);
    let only = |right| Rights::NONE.with(right);
    const HOUR: i64 = 3_600;
    // From and until count in seconds from the moment of the grant; what is over by then was open while it was given.
    let list: [Narrow; 6] = [
        ("live only", only(Right::Live), None, -1, HOUR, &[Action::WatchLive]),
        ("playback only", only(Right::Playback), None, -1, HOUR, &[Action::PlayBack]),
        ("export only", only(Right::Export), None, -1, HOUR, &[Action::Export]),
        ("one camera", Rights::ALL, Some(footage), -1, HOUR, &ACTIONS),
        ("not begun", Rights::ALL, None, HOUR, 2 * HOUR, &[]),
        ("over", Rights::ALL, None, -HOUR, 15, &[]),
    ];
    let enrol = |(name, rights, camera, from, until, actions): Narrow| {
        let key = KeyPair::generate(&mut peri_seal::rng::system());
        let id = AccountId(attack::random());
        let account = NewAccount { id, role: Role::Viewer, name: name.into(), key: key.public().clone() };
        desk.say(Body::Account(Box::new(account)), &["boss"]);
        let cameras = camera.map_or(Cameras::All, |camera| Cameras::List(vec![camera]));
        let at = |secs: i64| UtcNanos(now().0 + secs * 1_000_000_000);
        let (recipient, from, until) = (key.fingerprint(), at(from), at(until));
        let grant = Grant { recipient, account: id, rights, cameras, from, until, weekly: None };
        desk.say(Body::Grant(Box::new(grant)), &["dpo", "council"]);
        Newcomer { name, key, camera, actions }
    };
    list.into_iter().map(enrol).collect()
}

/// The appliance of this file; ends with the test process.
fn house() -> &'static House {
    static HOUSE: OnceLock<House> = OnceLock::new();
    HOUSE.get_or_init(|| {
        let app = Appliance::founded(AppConfig { epoch_secs: Some(6), ..AppConfig::default() });
        let secure = Camera::start(CameraOptions::default().mounts(&["footage", "changing"]));
        let plain = Camera::start(CameraOptions::plain().mounts(&["clock"]));
        let home = &app.home;
        home.add_camera("footage", &secure.url("footage"), &secure.pin(), "cam", "secret1");
        home.camera(&CameraSpec { name: "clock", url: &plain.url("clock"), pin: None, login: None, beside: None });
        let (url, pin, login) = (secure.url("changing"), secure.pin(), Some(("cam", "secret1")));
        let beside = Some("footage");
        home.camera(&CameraSpec { name: "changing", url: &url, pin: Some(&pin), login, beside });
        home.account("stranger", "viewer", &["boss"]);
        home.account("former", "viewer", &["boss"]);
        home.grant("guard", "all", "live,playback,export");
        home.grant("former", "all", "live,playback,export");
        let newcomers = newcomers(&app);
        let granted = now();
        app.wait_recorded("footage", granted + secs(8));
        app.wait_recorded("clock", granted + secs(8));
        House { app, _cameras: [secure, plain], from: granted + secs(7), newcomers }
    })
}

/// Waits until a span of a camera is on the disk, and exports it.
fn exported(camera: &str, from: UtcNanos, seconds: u64) -> std::path::PathBuf {
    let House { app, .. } = house();
    app.wait_recorded(camera, from + secs(seconds + 1));
    app.home.export("guard", camera, from, from + secs(seconds)).unwrap()
}

#[test]
fn an_export_over_several_epochs_is_what_the_camera_sent_picture_for_picture() {
    if quick() {
        return;
    }
    let House { app, from, .. } = house();
    let file = exported("footage", *from, 13);
    let pictures = video::frame_hashes(&file);
    // The export begins with a key picture, of which the source has one every 20 pictures: before the span, or behind its
    // start where the epoch that it lies in began between two.
    assert!((110..=151).contains(&pictures.len()), "{} pictures in 13 s at 10 a second", pictures.len());
    assert_eq!(video::runs_in_source(&pictures).len(), 1, "a picture is missing, twice there or changed");
    let times = video::times(&file);
    let steps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(steps.iter().all(|step| (0.05..0.15).contains(step)), "a picture stands still or flies by: {steps:?}");
    let average = (times[times.len() - 1] - times[0]) / (times.len() - 1) as f64;
    assert!((average - 0.1).abs() < 0.001, "the film is too long or too short: {average} s a picture");
    let report = app.home.report(&file);
    assert_eq!(report["gaps"], serde_json::json!([]));
    assert_eq!(report["closed_epochs"], serde_json::json!([]));
    let epochs = epochs_between(*from, *from + secs(13));
    assert!(epochs >= 3, "13 s in epochs of at most 6 s lie in {epochs} segments");
    let stream = &video::probe(&file)["streams"][0];
    assert_eq!(
        (&stream["codec_name"], &stream["width"], &stream["height"]),
        (&"h264".into(), &768.into(), &576.into())
    );
}

/// Segments of the footage camera that hold a part of the span, by their signed records.
fn epochs_between(from: UtcNanos, until: UtcNanos) -> usize {
    let House { app, .. } = house();
    let camera = raw::camera(app, "footage");
    let contexts: Vec<_> = app
        .heads()
        .into_iter()
        .map(|(_, head)| head.record.context)
        .filter(|context| context.camera == camera)
        .collect();
    // What an epoch was signed for may reach further than it ran: the next one's start is its end.
    let starts: Vec<_> = contexts.iter().map(|context| context.starts).collect();
    starts
        .iter()
        .enumerate()
        .filter(|(i, start)| **start < until && starts.get(i + 1).is_none_or(|end| *end > from))
        .count()
}

#[test]
fn live_and_exported_pictures_of_a_clock_move_on() {
    if quick() {
        return;
    }
    let House { app, from, .. } = house();
    let live = app.home.path("live.mp4");
    app.home.ok(&["watch", "clock", "--as", "guard", "--for", "4s", "-o", live.to_str().unwrap()]);
    let shown = video::count(&live);
    assert!(shown >= 45, "{shown} pictures in 4 s at 15 a second");
    let difference = video::difference(&video::gray(&live, 0), &video::gray(&live, 40));
    assert!(difference > 0.1, "the live picture stands still ({difference})");
    let first = exported("clock", *from, 2);
    let second = exported("clock", *from + secs(3), 2);
    let difference = video::difference(&video::gray(&first, 0), &video::gray(&second, 0));
    assert!(difference > 0.1, "the clock shows the same three seconds later ({difference})");
}

#[test]
fn live_pictures_are_the_cameras_own() {
    if quick() {
        return;
    }
    let House { app, .. } = house();
    let live = app.home.path("live-footage.mp4");
    app.home.ok(&["watch", "footage", "--as", "guard", "--for", "8s", "-o", live.to_str().unwrap()]);
    let pictures = video::frame_hashes(&live);
    assert!(pictures.len() >= 70, "{} pictures in 8 s at 10 a second, over an epoch's end", pictures.len());
    // Each is the camera's own, which `runs_in_source` sees to, and they follow each other. Live means the running epoch:
    // a client that falls behind where other tests end epochs early goes on with the present, once at most in 8 s.
    let runs = video::runs_in_source(&pictures);
    assert!(runs.len() <= 2, "live pictures are missing or twice there: {runs:?}");
}

#[test]
fn health_names_the_camera_whose_password_a_person_typed_and_no_other() {
    if quick() {
        return;
    }
    let House { app, .. } = house();
    let health = app.home.health();
    let notices = health["notices"].as_array().unwrap();
    let named: Vec<&str> =
        notices.iter().filter_map(|notice| notice.as_str()?.strip_prefix("password_not_rotated: ")).collect();
    assert_eq!(named.len(), 1, "{notices:?}");
    // The footage and the changing camera were given one, the clock needs none.
    let cameras = named[0].split(": whoever typed").next().unwrap();
    assert!(cameras.contains("footage") && !cameras.contains("clock"), "{cameras}");
}

#[test]
fn account_without_a_grant_is_refused_and_the_ledger_says_so() {
    if quick() {
        return;
    }
    let House { app, from, .. } = house();
    let refusals = |ledger: &serde_json::Value| ledger["kinds"]["disclosure_refused"].as_u64().unwrap_or(0);
    let before = refusals(&app.home.ledger(0));
    let (code, text) = app.home.export("stranger", "footage", *from, *from + secs(1)).unwrap_err();
    assert_eq!(code, 3, "{text}");
    let out = app.home.path("stranger.mp4");
    app.home.fails(3, &["watch", "footage", "--as", "stranger", "--for", "1s", "-o", out.to_str().unwrap()]);
    assert!(!out.exists(), "a refused export leaves no file");
    let after = refusals(&app.home.ledger(0));
    assert!(after >= before + 2, "{before} refusals before, {after} after two");
}

/// Asks for X and for sealed bytes with everything a key can sign, past our own client's manners; how often it was refused.
fn gets_nothing(name: &str, who: &KeyPair) -> u64 {
    let House { app, .. } = house();
    let camera = raw::camera(app, "footage");
    let guard = raw::key(&app.home, "guard");
    let segments = raw::segments(app, &guard, camera, now() - secs(30), now()).unwrap();
    let epochs: Vec<_> = segments.iter().map(|segment| segment.epoch).collect();
    assert!(!epochs.is_empty());
    let (mut connection, certificate) = raw::connect(&app.socket());
    let mut refusals = 0;
    let mut refused = |what: String, answer: Result<(), ConnError>| {
        let Err(ConnError::Refused(problem)) = answer else { panic!("{name} got {what}: {answer:?}") };
        assert!(matches!(problem.status, 401 | 403 | 404), "{name}, {what}: {problem}");
        refusals += 1;
    };
    for action in ACTIONS {
        let body = OpenBody { camera, epochs: epochs.clone(), action, purpose: "curiosity".into() };
        let answer: Result<OpenedPage, ConnError> = connection.request(certificate.vm, Method::Open, &body, who);
        refused(format!("X by {action:?}"), answer.map(drop));
        let body = SpanBody { camera, from: now() - secs(30), until: now(), action };
        let answer: Result<SegmentsPage, ConnError> = connection.request(certificate.vm, Method::Segments, &body, who);
        match answer {
            // A list for somebody with no grant is empty: it does not even say whether anything was recorded.
            Ok(page) => assert!(page.segments.is_empty() && page.coverage.is_empty(), "{name}: {page:?}"),
            Err(error) => refused(format!("the list by {action:?}"), Err(error)),
        }
        for (epoch, follow) in epochs.iter().flat_map(|epoch| [(epoch, false), (epoch, true)]) {
            let body = FetchBody { camera, epoch: *epoch, offset: 0, length: None, follow, action };
            let answer = connection.fetch(certificate.vm, &body, who).map(drop);
            refused(format!("sealed bytes by {action:?}, following: {follow}"), answer);
        }
    }
    // Nor is E sealed to this key as to a viewer's in any segment.
    for (path, head) in app.heads() {
        let own: Vec<_> = head.wraps.iter().filter(|wrap| wrap.recipient == who.fingerprint()).collect();
        assert!(own.iter().all(|wrap| wrap.kind == peri_seal::wrap::WrapKind::Share), "{}", path.display());
    }
    refusals
}

#[test]
fn nobody_who_runs_the_place_gets_a_picture_by_any_route_and_every_attempt_is_in_the_ledger() {
    if quick() {
        return;
    }
    let House { app, .. } = house();
    let technician = KeyPair::generate(&mut peri_seal::rng::system());
    let account = NewAccount {
        id: AccountId(attack::random()),
        role: Role::Technician,
        name: "technician".into(),
        key: technician.public().clone(),
    };
    Desk::of(app, &["boss"]).say(Body::Account(Box::new(account)), &["boss"]);
    let entered = |kind: &str| app.home.ledger(0)["kinds"][kind].as_u64().unwrap_or(0);
    let (before, strangers) = (entered("disclosure_refused"), entered("request_refused"));
    let mut attempts = gets_nothing("technician", &technician);
    for name in ["boss", "dpo", "council", "mgmt", "rev", "stranger"] {
        attempts += gets_nothing(name, &raw::key(&app.home, name));
    }
    let after = entered("disclosure_refused");
    assert!(after >= before + attempts, "{attempts} attempts, {} entries", after - before);
    // Owner and reseller have no key that the customer's roster knows, nor has the claim key any right left.
    gets_nothing("owner or reseller", &KeyPair::generate(&mut peri_seal::rng::system()));
    gets_nothing("claim", &raw::key(&app.home, "claim"));
    // Whoever has no key in office is counted, and told once a minute: strangers do not fill the ledger.
    wait_for("their attempts are entered", secs(90), || (entered("request_refused") > strangers).then_some(()));
}

fn running(desk: &mut Desk, camera: CameraId) -> EpochNo {
    let epoch = |desk: &mut Desk| desk.health("rev").ok()?.cameras.iter().find(|found| found.camera == camera)?.epoch;
    wait_for("an epoch runs", secs(5), || epoch(desk))
}

/// What each grant leaves out is refused for X and for sealed bytes, past our own client; what it gives is given.
#[test]
fn a_grant_gives_its_rights_on_its_cameras_in_its_time_and_nothing_else() {
    if quick() {
        return;
    }
    let House { app, from, newcomers, .. } = house();
    let guard = raw::key(&app.home, "guard");
    let cameras = ["footage", "clock"].map(|name| raw::camera(app, name));
    app.wait_recorded("footage", *from + secs(13));
    app.wait_recorded("clock", *from + secs(13));
    let refusals = || app.home.ledger(0)["kinds"]["disclosure_refused"].as_u64().unwrap_or(0);
    let (before, mut refused) = (refusals(), 0);
    let mut desk = Desk::of(app, &["rev"]);
    for camera in cameras {
        // One that began under the grants and is over.
        let segments = raw::segments(app, &guard, camera, *from, *from + secs(12)).unwrap();
        let past = segments.iter().find(|segment| segment.starts >= *from && !segment.running).unwrap().epoch;
        for Newcomer { name, key, camera: only, actions } in newcomers {
            for action in ACTIONS {
                let given = actions.contains(&action) && only.is_none_or(|only| only == camera);
                // The running epoch changes while we ask.
                let mut epoch = || if action == Action::WatchLive { running(&mut desk, camera) } else { past };
                let what = format!("{name}, {action:?}, camera {camera}");
                if given {
                    let opened =
                        || raw::open(app, key, camera, &[epoch()], action).ok().filter(|page| !page.keys.is_empty());
                    assert_eq!(wait_for(&what, secs(5), opened).keys.len(), 1, "{what}");
                    let bytes = wait_for(&what, secs(5), || raw::fetch(app, key, camera, epoch(), action).ok());
                    assert!(bytes > 0, "{what}: no sealed byte");
                    continue;
                }
                let opened = raw::open(app, key, camera, &[epoch()], action).map(|page| page.keys.len());
                for answer in [opened, raw::fetch(app, key, camera, epoch(), action)] {
                    let Err(ConnError::Refused(problem)) = answer else { panic!("{what} got something: {answer:?}") };
                    assert_eq!(problem.status, 404, "{what}: {problem}");
                    refused += 1;
                }
            }
        }
    }
    assert!(refused >= 40, "{refused} questions were refused");
    let entered = refusals() - before;
    assert!(entered >= refused, "{refused} questions were refused, {entered} entries say so");
}

/// Every decoded picture of a film in its own size: bytes, and hash.
fn pictures_as_they_are(film: &Path) -> Vec<(usize, String)> {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-xerror", "-i"])
        .arg(film)
        .args(["-map", "0:v", "-fps_mode", "passthrough", "-autoscale", "0", "-f", "framemd5", "-"])
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.is_empty(), "{} does not decode: {stderr}", film.display());
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let picture = |line: &str| {
        let mut words = line.rsplit(',').map(str::trim);
        let hash = words.next()?.to_owned();
        Some((words.next()?.parse().ok()?, hash))
    };
    lines.filter_map(picture).collect()
}

#[test]
fn a_camera_that_changes_its_picture_in_mid_stream_is_recorded_and_exported_through() {
    if quick() {
        return;
    }
    let House { app, from, .. } = house();
    let until = *from + secs(13);
    app.wait_recorded("changing", until + secs(1));
    // A film with one set of parameters cannot hold it: the refusal names the way out, which then works.
    let (code, refusal) = app.home.export("guard", "changing", *from, until).unwrap_err();
    assert!(code == 2 && refusal.contains("--in-band"), "{code}: {refusal}");
    let film = app.home.export_with("guard", "changing", *from, until, &["--in-band"]).unwrap();
    let pictures = pictures_as_they_are(&film);
    assert_eq!(pictures.len(), video::count(&film), "every picture decodes");
    assert!((110..=151).contains(&pictures.len()), "{} pictures in 13 s at 10 a second", pictures.len());
    const SIZES: [usize; 2] = [768 * 576 * 3 / 2, 640 * 480 * 3 / 2];
    let mut sizes: Vec<usize> = pictures.iter().map(|(bytes, _)| *bytes).collect();
    sizes.dedup();
    // Five seconds each, so that 13 s see two changes or three.
    assert!(sizes.len() >= 3 && sizes.iter().all(|bytes| SIZES.contains(bytes)), "{sizes:?}");
    let source = video::frame_hashes(&video::source());
    let native: Vec<_> = pictures.iter().filter(|(bytes, _)| *bytes == SIZES[0]).collect();
    assert!(native.len() >= 30, "{} pictures of the first size", native.len());
    assert!(native.iter().all(|(_, hash)| source.contains(hash)), "a picture is not the camera's own");
}

#[test]
fn revoked_viewer_opens_nothing_of_later_epochs() {
    if quick() {
        return;
    }
    let House { app, from, .. } = house();
    app.wait_recorded("footage", *from + secs(3));
    app.home.export("former", "footage", *from, *from + secs(2)).unwrap();
    let former = raw::key(&app.home, "former");
    let before = app.segments().len();
    app.home.signed(&["revoke", "--key", "former", "--reason", "left the house"], &["dpo"]);
    let revoked = now();
    // A new epoch of each camera, at once and not only when the old one is over; nothing in it is for the revoked key.
    wait_for("a new epoch of both cameras", secs(20), || (app.segments().len() >= before + 2).then_some(()));
    app.wait_recorded("footage", revoked + secs(8));
    let heads: Vec<_> = app.heads().into_iter().map(|(_, head)| head).collect();
    let names = |head: &peri_seal::segment::Head| head.wraps.iter().any(|wrap| wrap.recipient == former.fingerprint());
    assert!(heads.iter().any(names), "before, the key had its wraps");
    let later: Vec<_> = heads.iter().filter(|head| head.record.context.starts > revoked + secs(6)).collect();
    assert!(!later.is_empty());
    assert!(!later.iter().any(|head| names(head)), "an epoch after the revocation is sealed to the revoked key");
    // Neither later pictures nor those of before: X is asked for now.
    for start in [revoked + secs(6), *from] {
        let (code, text) = app.home.export("former", "footage", start, start + secs(2)).unwrap_err();
        assert_eq!(code, 3, "{text}");
    }
    let pictures = video::frame_hashes(&exported("footage", revoked - secs(2), 9));
    assert_eq!(video::runs_in_source(&pictures).len(), 1, "the change of epoch lost a picture for the others");
}

/// SETUPs of the sound track of [`talker`].
static SOUND_ASKED: AtomicUsize = AtomicUsize::new(0);

/// A camera that offers sound before pictures, and would send it to whoever sets it up.
fn talker(conn: &mut Conn, mut request: Request) -> io::Result<()> {
    let (head, video) = SDP.split_at(SDP.find("m=video").expect("it has pictures"));
    let sdp = format!("{head}m=audio 0 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=control:sound\r\n{video}");
    while request.method != "PLAY" {
        if request.method == "SETUP" && request.text.contains("/sound") {
            SOUND_ASKED.fetch_add(1, Ordering::Relaxed);
        }
        conn.honest(&request, &sdp)?;
        request = conn.request()?;
    }
    conn.honest(&request, &sdp)?;
    conn.roll(0, secs(3600)).map(drop)
}

#[test]
fn sound_that_a_camera_offers_is_never_asked_for_and_is_in_no_film() {
    if quick() {
        return;
    }
    pictures();
    let House { app, .. } = house();
    let camera = Scripted::start(&[("talker", talker)]);
    let url = camera.url(0, "talker");
    app.home.camera(&CameraSpec { name: "talker", url: &url, pin: None, login: None, beside: None });
    app.home.grant("guard", "talker", "export");
    let granted = now();
    let film = exported("talker", granted + secs(7), 2);
    let probed = video::probe(&film);
    let streams = probed["streams"].as_array().unwrap();
    assert_eq!(streams.iter().map(|s| &s["codec_type"]).collect::<Vec<_>>(), ["video"]);
    assert!(camera.connections("talker") > 0);
    assert_eq!(SOUND_ASKED.load(Ordering::Relaxed), 0, "the recorder set up a sound track");
}
