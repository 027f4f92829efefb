//! What people get wrong: each mistake gets an answer that names cause and remedy, and nothing else suffers.
//!
//! Two appliances: one without cameras (claim, order, configuration, a request meant for another), one with cameras that
//! cannot be recorded.
#![allow(clippy::unwrap_used)]

mod attack;
mod support;

use attack::Desk;
use peri_access::wire::{Health, Method};
use peri_client::conn::ConnError;
use peri_domain::{AccountId, Fingerprint, Nonce, Rights, UtcNanos};
use peri_roster::body::{Cameras, Grant, GrantRenewal, Trust};
use peri_roster::{Body, Proposal, Statement};
use std::net::{TcpListener, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock};
use support::guard::Guarded;
use support::*;

/// An appliance without cameras; one test at a time, each leaves it running and whole.
fn bare() -> MutexGuard<'static, Appliance> {
    static BARE: OnceLock<Mutex<Appliance>> = OnceLock::new();
    let bare = BARE.get_or_init(|| Mutex::new(Appliance::founded(AppConfig::default())));
    bare.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[test]
fn unknown_configuration_key_is_named_with_its_line() {
    let dir = Dir::new("config");
    let config = dir.join("appliance.toml");
    let example = Command::new(appliance_program()).args(["config", "--example"]).output().unwrap();
    let text = String::from_utf8(example.stdout).unwrap();
    std::fs::write(&config, format!("retentoin_secs = 5\n{text}")).unwrap();
    for command in [["config", "--config"], ["run", "--config"]] {
        let output = Command::new(appliance_program()).args(command).arg(&config).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr.contains("retentoin_secs") && stderr.contains("line 1"), "{stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
    }
}

#[test]
fn second_claim_is_refused_from_whoever_it_comes() {
    if quick() {
        return;
    }
    let app = bare();
    let socket = app.socket();
    let args = ["claim", "use", "--socket", socket.to_str().unwrap(), "--seats", "3", "--threshold", "2"];
    let text = app.home.fails(5, &args);
    assert!(text.contains("claimed this appliance already"), "{text}");
    let thief = Home::new(app.dir(), "thief");
    thief.claim_new();
    let text = thief.fails(5, &args);
    assert!(text.contains("other provisioning data"), "{text}");
    // Past our own client: a genesis by the true claim key, and one by the thief's.
    let head = app.home.ok(&["roster", "show", "--as", "rev"])["head"].clone();
    for home in [&app.home, &thief] {
        let key = raw::key(home, "claim");
        let (mut connection, certificate) = raw::connect(&socket);
        let genesis = peri_roster::body::Genesis {
            provisioning: certificate.provisioning,
            claim_key: key.public().clone(),
            device: certificate.device.clone(),
            image: None,
            k: 1,
            n: 1,
            claimed_by: peri_roster::body::ClaimedBy::Customer,
        };
        let body = Body::Genesis(Box::new(genesis));
        let proposal = Proposal::new(certificate.vm, body, now() + secs(600), Nonce([7; 16]), 0).unwrap();
        let answer = connection.submit(&proposal.sign(key.signing(), key.fingerprint()).to_bytes());
        let Err(ConnError::Refused(problem)) = answer else { panic!("a second claim was taken: {answer:?}") };
        assert_eq!(problem.status, 409, "{problem}");
    }
    assert_eq!(app.home.ok(&["roster", "show", "--as", "rev"])["head"], head, "the roster is what it was");
}

#[test]
fn appliance_started_with_another_order_names_the_swap_and_answers_nobody() {
    if quick() {
        return;
    }
    let mut app = bare();
    let other = Home::new(app.dir(), "other-order");
    let file = app.dir().join("provisioning.cbor");
    let own = std::fs::read(&file).unwrap();
    app.stop();
    std::fs::copy(other.claim_new(), &file).unwrap();
    let before = app.log().len();
    app.launch();
    wait_for("the log names the swap", secs(15), || {
        let log = app.log();
        (log[before..].contains("was born with provisioning data") && log[before..].contains("second claim"))
            .then_some(())
    });
    app.home.fails(3, &["health", "--as", "rev"]);
    app.stop();
    std::fs::write(&file, own).unwrap();
    app.restart();
    app.home.health();
}

/// Two appliances with the same auditor key; a man in the middle hands a session for one to the other.
#[test]
fn request_signed_for_one_appliance_is_nothing_to_another() {
    if quick() {
        return;
    }
    let app = bare();
    let other = Appliance::start(AppConfig::default());
    other.home.claim(&other, &["only"], 1);
    let request = app.home.path("rev.request");
    other.home.signed(&["account", "new", request.to_str().unwrap()], &["only"]);
    let rev = raw::key(&app.home, "rev");
    let (mut one, one_is) = raw::connect(&app.socket());
    let (mut two, two_is) = raw::connect(&other.socket());
    assert_ne!(one_is.vm, two_is.vm);
    let _: Health = one.request(one_is.vm, Method::Health, &(), &rev).unwrap();
    let _: Health = two.request(two_is.vm, Method::Health, &(), &rev).unwrap();
    for (connection, wrong) in [(&mut one, two_is.vm), (&mut two, one_is.vm)] {
        // The nonce is this appliance's own and fresh; only the appliance that the certificate names is the other.
        let answer: Result<Health, ConnError> = connection.request(wrong, Method::Health, &(), &rev);
        let Err(ConnError::Refused(problem)) = answer else { panic!("a request for another VM was answered") };
        assert_eq!(problem.status, 401, "{problem}");
    }
    // And the client does not take one for the other.
    let text = app.home.at(&other.socket()).fails(5, &["health", "--as", "rev"]);
    assert!(text.contains("THE APPLIANCE HAS CHANGED"), "{text}");
    app.home.ok(&["health", "--as", "rev", "--socket", app.socket().to_str().unwrap()]);
}

/// A grant of all rights for a day, as a program that asks nobody would write it.
fn forged_grant(recipient: Fingerprint, account: AccountId) -> Body {
    let (from, until) = (now(), now() + secs(86_400));
    Body::Grant(Box::new(Grant {
        recipient,
        account,
        rights: Rights::ALL,
        cameras: Cameras::All,
        from,
        until,
        weekly: None,
    }))
}

/// Submits a statement past our own client; returns what the appliance says.
fn refused_by(app: &Appliance, statement: &[u8]) -> String {
    let (mut connection, _) = raw::connect(&app.socket());
    match connection.submit(statement) {
        Err(ConnError::Refused(problem)) if problem.status == 409 => problem.to_string(),
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn what_the_roster_refuses_is_told_with_cause_and_remedy_by_client_and_appliance() {
    if quick() {
        return;
    }
    let app = bare();
    let home = &app.home;
    let head = || home.ok(&["roster", "show", "--as", "rev"])["head"].clone();
    let before = head();
    let grant = |more: &[&'static str]| {
        let args = ["grant", "new", "--cameras", "all", "--rights", "live", "--until", "+1d", "--sign-as", "dpo"];
        [&args[..], more].concat()
    };
    let says =
        |text: &str, parts: &[&str]| parts.iter().for_each(|part| assert!(text.contains(part), "{part}: {text}"));
    let (dpo, council) = (raw::key(home, "dpo"), raw::key(home, "council"));
    let vm = raw::connect(&app.socket()).1.vm;
    let sign = |body: Body, not_after: UtcNanos, both: bool| {
        let proposal = Proposal::new(vm, body, not_after, Nonce(attack::random()), 1).unwrap();
        let one = proposal.sign(dpo.signing(), dpo.fingerprint());
        if both { one.sign(council.signing(), council.fingerprint()) } else { one }
    };
    let guard = raw::key(home, "guard").fingerprint();
    let roster = home.ok(&["roster", "show", "--as", "rev"]);
    let id = |name: &str| -> AccountId {
        let accounts = roster["accounts"].as_array().unwrap();
        let account = accounts.iter().find(|account| account["name"] == name).unwrap();
        account["account"].as_str().unwrap().parse().unwrap()
    };
    let soon = now() + secs(3_600);

    // Without quorum.
    let quorum = ["a grant is signed by 1 of 2", "2 seats of seat set 1", "collect the missing signatures"];
    says(&home.fails(7, &grant(&["--to", "guard", "--submit"])), &quorum);
    says(&refused_by(&app, &sign(forged_grant(guard, id("guard")), soon, false).to_bytes()), &quorum);
    // For a custodian, and for roles that never look.
    let custodian = ["custodian's", "never look", "grant to a viewer's key"];
    says(&home.fails(3, &grant(&["--to", "council", "--sign-as", "council"])), &custodian);
    let to_seat = sign(forged_grant(council.fingerprint(), id("guard")), soon, true);
    says(&refused_by(&app, &to_seat.to_bytes()), &custodian);
    let role = ["administrator", "never receives a grant", "viewer"];
    says(&home.fails(3, &grant(&["--to", "boss", "--sign-as", "council"])), &role);
    let boss = raw::key(home, "boss").fingerprint();
    says(&refused_by(&app, &sign(forged_grant(boss, id("boss")), soon, true).to_bytes()), &role);
    // A format, and so a set of algorithms, that this version does not know.
    let mut unknown = sign(forged_grant(guard, id("guard")), soon, true).to_bytes();
    let proposal = Statement::from_bytes(&unknown).unwrap().proposal().to_bytes();
    let at = unknown.windows(proposal.len()).position(|window| window == proposal).unwrap() + 1;
    assert_eq!(unknown[at], 1, "the format stands behind the head of the array");
    unknown[at] = 2;
    let suite = ["format 2 is unknown", "this version knows 1", "update the older side"];
    says(&refused_by(&app, &unknown), &suite);
    std::fs::write(home.path("unknown.proposal"), &unknown).unwrap();
    says(&home.fails(3, &["proposal", "show", "unknown.proposal"]), &suite);
    says(&home.fails(3, &["proposal", "submit", "unknown.proposal"]), &suite);
    // Clocks: made too early or too late by the appliance's, on purpose or by a wrong clock.
    let late = ["here it is", "sign it again", "set the clock"];
    says(&home.fails(3, &grant(&["--to", "guard", "--sign-as", "council", "--accept-until", "-1h"])), &late);
    says(&refused_by(&app, &sign(forged_grant(guard, id("guard")), now() - secs(3_600), true).to_bytes()), &late);
    let early = ["more than 30 days", "shorten it", "set the clock"];
    says(&home.fails(3, &grant(&["--to", "guard", "--sign-as", "council", "--accept-until", "+60d"])), &early);
    let future = now() + secs(40 * 86_400);
    says(&refused_by(&app, &sign(forged_grant(guard, id("guard")), future, true).to_bytes()), &early);
    // What is not there, and hours of no place.
    let renewal = Body::GrantRenewal(GrantRenewal { grants: vec![Nonce([9; 16])], until: future });
    says(
        &refused_by(&app, &sign(renewal, soon, true).to_bytes()),
        &["waits for grant", "deliver that statement first"],
    );
    let hours = ["--to", "guard", "--sign-as", "council", "--hours", "Mon-Fri 08:00-18:00", "--zone", "Mars/Olympus"];
    says(&home.fails(3, &grant(&hours)), &["Mars/Olympus", "Europe/Berlin"]);
    let hours = ["--to", "guard", "--sign-as", "council", "--hours", "Monday 8-18", "--zone", "Europe/Berlin"];
    says(&home.fails(2, &grant(&hours)), &["Monday 8-18", "Mon-Fri 08:00-18:00"]);
    assert_eq!(head(), before, "the roster is what it was");
}

/// Answers A questions for these names of `.example` with 127.0.0.1 and denies every other name.
const NAMES: [&str; 4] = ["gate", "lawful", "foreign", "alias"];

/// See [`NAMES`].
fn name_server() -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let mut packet = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            // After the header of 12 bytes: the name as labels, its end, type and class.
            let Some(end) = packet[12..length].iter().position(|byte| *byte == 0) else { continue };
            let question = packet[12..12 + end + 5].to_vec();
            let asks = |name: &&str| question[1..].starts_with(format!("{name}\x07example\0").as_bytes());
            let known = NAMES.iter().any(|name| usize::from(question[0]) == name.len() && asks(name));
            let wants_v4 = question[end + 1..end + 3] == [0, 1];
            let mut answer = packet[..2].to_vec();
            answer.extend(if known { [0x81, 0x80] } else { [0x81, 0x83] });
            answer.extend([0, 1, 0, u8::from(known && wants_v4), 0, 0, 0, 0]);
            answer.extend(&question);
            if known && wants_v4 {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 127, 0, 0, 1]);
            }
            let _ = socket.send_to(&answer, from);
        }
    });
    address
}

struct Troubled {
    app: Appliance,
    /// The camera by name; may be switched off and on.
    gate: Camera,
    _others: Vec<Camera>,
    /// Shows a certificate that was good once.
    _expired: Guarded,
    _papers: Dir,
}

/// Certificates of an authority and of its cameras, made by OpenSSL.
struct Authority<'a> {
    dir: &'a Dir,
    name: &'a str,
}

impl<'a> Authority<'a> {
    fn new(dir: &'a Dir, name: &'a str) -> Self {
        let authority = Self { dir, name };
        let (key, cert) = (authority.path("key"), authority.path("pem"));
        let made =
            ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj"];
        openssl(&[&made[..], &["/CN=authority", "-keyout", &key, "-out", &cert]].concat());
        openssl(&["x509", "-in", &cert, "-outform", "DER", "-out", &authority.path("der")]);
        authority
    }

    fn path(&self, ending: &str) -> String {
        self.dir.join(format!("{}.{ending}", self.name)).display().to_string()
    }

    fn der(&self) -> Vec<u8> {
        std::fs::read(self.path("der")).unwrap()
    }

    /// A certificate for these names, good for so many days from now on; returns its file and that of its key.
    fn issue(&self, camera: &str, names: &str, days: &str) -> (String, String) {
        let file = |ending: &str| self.path(&format!("{camera}.{ending}"));
        let (key, request, names_file, cert) = (file("key"), file("csr"), file("ext"), file("pem"));
        let made = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=camera"];
        openssl(&[&made[..], &["-keyout", &key, "-out", &request]].concat());
        std::fs::write(&names_file, format!("subjectAltName={names}\n")).unwrap();
        let (ca, ca_key) = (self.path("pem"), self.path("key"));
        let signed = ["x509", "-req", "-in", &request, "-CA", &ca, "-CAkey", &ca_key, "-extfile", &names_file];
        openssl(&[&signed[..], &["-days", days, "-out", &cert]].concat());
        (cert, key)
    }
}

fn openssl(args: &[&str]) {
    let output = Command::new("openssl").args(args).output().unwrap();
    assert!(output.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn troubled() -> MutexGuard<'static, Troubled> {
    static TROUBLED: OnceLock<Mutex<Troubled>> = OnceLock::new();
    let troubled = TROUBLED.get_or_init(|| {
        let config = AppConfig { epoch_secs: Some(20), resolvers: vec![name_server()], ..AppConfig::default() };
        let app = Appliance::founded(config);
        let gate = Camera::start(CameraOptions::default().mounts(&["footage"]));
        let modern = Camera::start(CameraOptions::plain().mounts(&["hevc"]));
        let at = |host: &str| format!("rtsps://{host}:{}/footage", gate.port());
        let home = &app.home;
        home.grant("guard", "all", "live,playback,export");
        home.add_camera("gate", &at("gate.example"), &gate.pin(), "cam", "secret1");
        let plain = |name, url: &str| home.camera(&CameraSpec { name, url, pin: None, login: None, beside: None });
        plain("modern", &modern.url("hevc"));
        let pin = gate.pin();
        for (name, url, password, pin) in [
            ("forgetful", at("127.0.0.1"), "secret2", pin.clone()),
            ("nowhere", at("nowhere.example"), "secret1", pin.clone()),
            ("swapped", at("127.0.0.1"), "secret1", "00".repeat(32)),
        ] {
            let login = Some(("cam", password));
            home.camera(&CameraSpec { name, url: &url, pin: Some(&pin), login, beside: Some("gate") });
        }
        let papers = Dir::new("papers");
        let (lawful, expired) = authorities(&app, &papers);
        Mutex::new(Troubled { app, gate, _others: vec![modern, lawful], _expired: expired, _papers: papers })
    });
    troubled.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Cameras trusted by an authority: one as it should be, set up as people do, and three that must be refused.
fn authorities(app: &Appliance, papers: &Dir) -> (Camera, Guarded) {
    let ours = Authority::new(papers, "ours");
    let (cert, key) = ours.issue("lawful", "DNS:lawful.example,DNS:foreign.example", "2");
    let extra = vec!["--cert".into(), cert, "--key".into(), key];
    let camera = Camera::start(CameraOptions { extra, ..CameraOptions::plain() }.mounts(&["footage"]));
    let url = |host: &str, port: u16| format!("rtsps://{host}:{port}/footage");
    let lawful = url("lawful.example", camera.port());
    let add = ["camera", "add", "--name", "lawful", "--url", &lawful, "--ca"];
    // The form that most tools write is refused before anybody signs.
    let pem = ours.path("pem");
    let text = app.home.fails(2, &[&add[..], &[pem.as_str(), "--sign-as", "dpo"]].concat());
    assert!(text.contains("no DER certificate") && text.contains("-outform DER"), "{text}");
    let seats = ["dpo", "council"];
    let der = ours.path("der");
    app.home.signed(&[&add[..], &[der.as_str()]].concat(), &seats);
    app.home.signed(&["camera", "register", "lawful"], &seats);

    let (cert, key) = ours.issue("expired", "IP:127.0.0.1", "-1");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut server = Command::new("openssl");
    server.args(["s_server", "-quiet", "-accept", &format!("127.0.0.1:{port}"), "-cert", &cert, "-key", &key]);
    let expired = Guarded::spawn(server.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()));
    let theirs = Authority::new(papers, "theirs");
    let refused = [
        ("foreign", url("foreign.example", camera.port()), theirs.der()),
        ("alias", url("alias.example", camera.port()), ours.der()),
        ("expired", url("127.0.0.1", port), ours.der()),
    ];
    let specs = refused.map(|(name, url, der)| (name.to_owned(), url, Trust::Ca(der)));
    Desk::of(app, &seats).add_cameras(&specs, seats);
    (camera, expired)
}

fn lost<'a>(health: &'a serde_json::Value, name: &str) -> &'a str {
    camera_of(health, name).and_then(|camera| camera["lost"].as_str()).unwrap_or("")
}

#[test]
fn every_camera_that_cannot_be_recorded_says_why() {
    if quick() {
        return;
    }
    let house = troubled();
    let causes: [(&str, &[&str]); 7] = [
        // The realm that GStreamer's server names.
        ("forgetful", &["password", "GStreamer RTSP Server"]),
        ("nowhere", &["host unknown", "nowhere.example"]),
        ("modern", &["H265", "H.264"]),
        ("swapped", &["TLS", "pin"]),
        // Another authority that calls itself the same.
        ("foreign", &["TLS", "BadSignature", "authority"]),
        ("alias", &["TLS", "not valid for name", "alias.example"]),
        ("expired", &["TLS", "Expired"]),
    ];
    for (name, words) in causes {
        house.app.wait_until(&format!("{name} says {words:?}"), secs(20), |health| {
            words.iter().all(|word| lost(health, name).contains(word))
        });
    }
    // The others do not suffer, and the camera given by a name that resolves records.
    house.app.wait_recorded("gate", now());
    // So does the one that its authority vouches for.
    house.app.wait_recorded("lawful", now());
    let (code, text) = house.app.home.export("guard", "forgetful", now() - secs(5), now()).unwrap_err();
    assert!(code == 8 && text.contains("password"), "{code}: {text}");
}

#[test]
fn camera_that_went_away_is_lost_with_its_cause_and_comes_back() {
    if quick() {
        return;
    }
    let mut house = troubled();
    let begun = now();
    house.app.wait_recorded("gate", begun + secs(3));
    house.gate.quit();
    let gone = now();
    let health = house.app.wait_until("the camera is lost", secs(20), |health| !lost(health, "gate").is_empty());
    let cause = lost(&health, "gate").to_owned();
    assert!(cause.contains("closed") || cause.contains("connection"), "{cause}");
    house.gate.restart();
    house.app.wait_recorded("gate", now() + secs(4));
    let back = now();
    let kinds = house.app.home.ledger(0)["kinds"].clone();
    assert!(kinds["camera_lost"].as_u64() >= Some(1) && kinds["camera_back"].as_u64() >= Some(1), "{kinds}");
    let file = house.app.home.export("guard", "gate", begun, back).unwrap();
    let report = house.app.home.report(&file);
    let gaps = report["gaps"].as_array().unwrap();
    assert!(!gaps.is_empty(), "{report}");
    assert!(gaps.iter().all(|gap| gap["kind"] == "lost" && !gap["cause"].as_str().unwrap().is_empty()), "{report}");
    let (first, last) = (&gaps[0], &gaps[gaps.len() - 1]);
    let time = |gap: &serde_json::Value, key: &str| UtcNanos::parse_rfc3339(gap[key].as_str().unwrap()).unwrap();
    assert!(time(first, "from") > gone - secs(3) && time(last, "until") <= back, "{report}");
    assert_eq!(video::runs_in_source(&video::frame_hashes(&file)).len(), 2, "two runs of pictures with a gap between");
}
