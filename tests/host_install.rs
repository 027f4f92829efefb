//! A host install as its unit starts it, in the hands of one person: the capabilities and bounds of the unit suffice, every
//! role has bounds of its own, k = 1 goes the whole way, and a local user is nobody without a key.
//!
//! What does not belong: what systemd itself does with a unit; two seats and more (`end_to_end`).
#![allow(clippy::unwrap_used)]

mod support;

use nix::unistd::User;
use peri_access::wire::{Health, Method, RosterBody, RosterPage};
use peri_client::conn::{ConnError, Connection};
use peri_domain::VmId;
use peri_open::{join, open_share, open_wrap};
use peri_seal::keys::KeyPair;
use peri_seal::wrap::WrapKind;
use std::fs;
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;
use support::*;

/// Values of a unit file by key; a key may stand several times.
fn unit(name: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(root().join("image/host").join(name)).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once('=')).map(|(key, value)| (key.into(), value.into())).collect()
}

fn value(unit: &[(String, String)], key: &str) -> String {
    let values: Vec<&String> = unit.iter().filter(|(found, _)| found == key).map(|(_, value)| value).collect();
    assert_eq!(values.len(), 1, "{key}: {values:?}");
    values[0].clone()
}

/// Hard bound of this process, which nobody below it can raise.
fn present(name: &str) -> u64 {
    bounds(std::process::id(), name).1
}

/// Soft and hard bound of a process: name as the kernel writes it.
fn bounds(pid: u32, name: &str) -> (u64, u64) {
    let text = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}: {text}"));
    let mut words = line.split_whitespace().map(|word| if word == "unlimited" { Ok(u64::MAX) } else { word.parse() });
    (words.next().unwrap().unwrap(), words.next().unwrap().unwrap())
}

/// What the service manager does to a process before it becomes the appliance, as far as it can be done without one.
fn as_the_unit_says() -> Vec<String> {
    let unit = unit("peri-appliance.service");
    let bounding = value(&unit, "CapabilityBoundingSet").to_lowercase().replace("cap_", "+").replace(' ', ",");
    assert_eq!(value(&unit, "NoNewPrivileges"), "yes");
    let limit = |option: &str, key: &str, name: &str| {
        let text = value(&unit, key);
        let (number, shift) = text.strip_suffix('M').map_or((text.as_str(), 0), |mib| (mib, 20));
        format!("--{option}={}", (number.parse::<u64>().unwrap() << shift).min(present(name)))
    };
    let limits = [
        limit("core", "LimitCORE", "Max core file size"),
        limit("nofile", "LimitNOFILE", "Max open files"),
        limit("memlock", "LimitMEMLOCK", "Max locked memory"),
    ];
    let privileges = [format!("--bounding-set=-all,{bounding}"), "--inh-caps=-all".into(), "--no-new-privs".into()];
    let words = ["env".into(), "-i".into(), "prlimit".into()].into_iter().chain(limits);
    words.chain(["setpriv".into()]).chain(privileges).collect()
}

struct House {
    app: Appliance,
    _camera: Camera,
}

/// Claimed by one seat alone, who signs everything; one camera and one viewer.
fn house() -> &'static House {
    static HOUSE: OnceLock<House> = OnceLock::new();
    HOUSE.get_or_init(|| {
        let config = AppConfig { epoch_secs: Some(6), wrapper: as_the_unit_says(), ..AppConfig::default() };
        let app = Appliance::start(config);
        let camera = Camera::start(CameraOptions::plain().mounts(&["footage"]));
        let home = &app.home;
        home.claim(&app, &["only"], 1);
        home.account("guard", "viewer", &["only"]);
        home.account("rev", "auditor", &["only"]);
        let url = camera.url("footage");
        home.signed(&["camera", "add", "--name", "footage", "--url", &url, "--plain-exception"], &["only"]);
        home.signed(&["camera", "register", "footage"], &["only"]);
        let grant =
            ["grant", "new", "--to", "guard", "--cameras", "all", "--rights", "playback,export", "--until", "+1d"];
        home.signed(&grant, &["only"]);
        House { app, _camera: camera }
    })
}

#[test]
fn the_unit_starts_what_is_tested_here_and_starts_it_again_however_often_it_ends() {
    for name in ["peri-appliance.service", "peri-tpm.service"] {
        let unit = unit(name);
        assert_eq!(value(&unit, "Restart"), "always", "{name}");
        // The service manager gives up after five starts in ten seconds unless it is told not to.
        assert_eq!(value(&unit, "StartLimitIntervalSec"), "0", "{name}");
    }
    let appliance = unit("peri-appliance.service");
    let start = value(&appliance, "ExecStart");
    assert_eq!(start.split(' ').skip(1).collect::<Vec<_>>(), ["run", "--config", "/etc/peri/appliance.toml"]);
    // A graceful stop needs the supervisor alone to be told, and its roles to end with it whatever happens.
    assert_eq!(value(&appliance, "KillMode"), "mixed");
    assert_eq!(value(&appliance, "Wants"), "peri-tpm.service");
    let tpm = value(&unit("peri-tpm.service"), "ExecStart");
    let socket = tpm.split("type=unixio,path=").nth(1).unwrap().split(' ').next().unwrap();
    assert!(tpm.contains("socket --tpm2 ") && tpm.contains("--flags not-need-init,startup-clear"), "{tpm}");
    let example = std::process::Command::new(appliance_program()).args(["config", "--example"]).output().unwrap();
    let example = String::from_utf8(example.stdout).unwrap();
    assert!(example.contains(socket), "the example of a configuration does not name the TPM's socket {socket}");
    for (key, part) in [("StateDirectory", "/var/lib/"), ("RuntimeDirectory", "/run/")] {
        let directory = format!("{part}{}", value(&appliance, key));
        assert!(example.contains(&directory), "the example of a configuration does not name {directory}");
    }
}

#[test]
fn one_seat_alone_claims_grants_and_releases_and_the_viewer_gets_the_cameras_own_pictures() {
    if quick() {
        return;
    }
    let House { app, .. } = house();
    let granted = now();
    app.wait_recorded("footage", granted + secs(13));
    let film = app.home.export("guard", "footage", granted + secs(7), granted + secs(12)).unwrap();
    let pictures = video::frame_hashes(&film);
    assert!((40..=75).contains(&pictures.len()), "{} pictures in 5 s at 10 a second", pictures.len());
    assert_eq!(video::runs_in_source(&pictures).len(), 1, "a picture is missing, twice there or changed");
    // One share is E: what a release by k seats would give.
    let (seat, guard) = (raw::key(&app.home, "only"), raw::key(&app.home, "guard"));
    let mut joined = 0;
    for (path, head) in app.heads() {
        let context = &head.record.context;
        let shares: Vec<_> = head.wraps.iter().filter(|wrap| wrap.kind == WrapKind::Share).collect();
        assert!(shares.len() == 1 && shares[0].recipient == seat.fingerprint(), "{}", path.display());
        let e = join(&[open_share(&seat, context, shares[0]).unwrap()], context).unwrap();
        let own = |wrap: &&peri_seal::wrap::Wrap| wrap.kind == WrapKind::User && wrap.recipient == guard.fingerprint();
        if let Some(wrap) = head.wraps.iter().find(own) {
            assert_eq!(open_wrap(&guard, context, wrap).unwrap().commit(), e.commit(), "{}", path.display());
            joined += 1;
        }
    }
    assert!(joined >= 2, "{joined} epochs were compared");
    assert_eq!(app.home.ledger(0)["verified"], true);
}

#[test]
fn every_running_role_has_bounds_that_it_cannot_raise() {
    if quick() {
        return;
    }
    const MIB: u64 = 1 << 20;
    let House { app, .. } = house();
    // Descriptors, heap, locked memory.
    let roles = [
        ("keeper", 4_096, 1024 * MIB, 16 * MIB),
        ("scribe", 4_096, 2048 * MIB, 64 * MIB),
        ("portal", 8_192, 2048 * MIB, MIB),
        ("recorder", 32, 64 * MIB, MIB),
        ("postgres", 1_024, 1024 * MIB, MIB),
    ];
    for (role, files, data, locked) in roles {
        let pids = wait_for(&format!("{role} runs"), secs(10), || Some(app.role_pids(role)).filter(|p| !p.is_empty()));
        for pid in pids {
            for (name, most) in [
                ("Max core file size", 0),
                ("Max open files", files),
                ("Max data size", data),
                ("Max locked memory", locked),
            ] {
                let most = most.min(present(name));
                assert_eq!(bounds(pid, name), (most, most), "{role}: {name}");
            }
        }
    }
}

/// Whether anything about appliance or pictures is told to a key over a connection.
fn refused(connection: &mut Connection<UnixStream>, vm: VmId, who: &KeyPair, what: &str) {
    let health: Result<Health, ConnError> = connection.request(vm, Method::Health, &(), who);
    let roster: Result<RosterPage, ConnError> = connection.request(vm, Method::Roster, &RosterBody { after: 0 }, who);
    for answer in [health.map(|_| "health"), roster.map(|_| "roster")] {
        let Err(ConnError::Refused(problem)) = answer else { panic!("{what} was told something: {answer:?}") };
        assert_eq!(problem.status, 401, "{what}: {problem}");
    }
}

#[test]
fn a_local_user_is_nobody_without_a_key_and_everybody_with_one() {
    if quick() {
        return;
    }
    let House { app, .. } = house();
    let (stranger, rev) = (KeyPair::generate(&mut peri_seal::rng::system()), raw::key(&app.home, "rev"));
    // Root, whose process this is and the supervisor's too.
    let (mut connection, certificate) = raw::connect(&app.socket());
    refused(&mut connection, certificate.vm, &stranger, "root");
    let uid = |name: &str| User::from_name(name).unwrap().unwrap_or_else(|| panic!("no user {name}")).uid.as_raw();
    for name in ["peri-keeper", "peri-scribe", "peri-portal", "peri-postgres", "nobody"] {
        let (mut connection, certificate, _relay) = raw::connect_as(uid(name), &app.socket());
        refused(&mut connection, certificate.vm, &stranger, name);
        let health: Health = connection.request(certificate.vm, Method::Health, &(), &rev).unwrap();
        assert_eq!(health.cameras.len(), 1, "{name} with the auditor's key");
    }
}
