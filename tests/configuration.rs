//! What a configuration asks for is done and told, or refused with its remedy: a root store without its state, a kernel
//! without Landlock accepted, a PostgreSQL that somebody else runs.
//!
//! What does not belong: the syntax of the file (`src/appliance/config.rs`), damaged inputs (`bad_input.rs`).

mod support;

use peri_store::schema::{SCRIBE, peer_config};
use peri_store::testdb::TestDb;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use support::{AppConfig, Appliance, Camera, CameraOptions, now, quick, secs, wait_for};

fn change(appliance: &Appliance, from: &str, to: &str) {
    let file = appliance.config_file();
    let text = fs::read_to_string(&file).expect("the configuration can be read");
    assert!(text.contains(from), "{text}");
    fs::write(&file, text.replacen(from, to, 1)).expect("it can be written");
}

#[test]
fn a_software_tpm_without_the_directory_of_its_state_is_refused_with_the_remedy() {
    let mut appliance = Appliance::ordered(AppConfig::default());
    let state = format!("state = {:?}\n", appliance.tpm().state());
    change(&appliance, &state, "");
    let (code, said) = appliance.start_refused();
    assert_eq!(code, 1, "{said}");
    for part in ["root_store.state", "socket of a software TPM", "must be given"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!appliance.data().join("scribe/x").exists(), "no key was made under a root that nobody checked");
    appliance.write_config();
    appliance.launch();
    appliance.wait_ready();
}

#[test]
fn whatever_the_configuration_accepts_stands_on_the_page_and_in_the_ledger() {
    let extra = "accept.no_landlock = true".to_owned();
    let appliance = Appliance::founded(AppConfig { recorder_first: 60_100, extra, ..AppConfig::default() });
    let health = appliance.home.health();
    let notices: Vec<&str> =
        health["notices"].as_array().expect("a list").iter().filter_map(serde_json::Value::as_str).collect();
    for name in ["unwitnessed", "no_landlock"] {
        assert!(notices.contains(&name), "{name}: {health}");
        wait_for("it is entered", secs(20), || {
            (appliance.home.ledger(0)["kinds"][name].as_u64().unwrap_or(0) > 0).then_some(())
        });
    }
    assert!(!notices.contains(&"root_store_same_disk"), "{health}");
}

/// A cluster with its own administrator, which lets scribe in by peer authentication.
fn foreign_cluster() -> TestDb {
    let mut cluster = TestDb::start_durable();
    fs::set_permissions(cluster.socket_dir(), fs::Permissions::from_mode(0o755)).expect("root");
    let pairs = [("postgres", "postgres"), ("root", "postgres"), ("peri-scribe", SCRIBE)];
    let (hba, ident) = peer_config(&pairs);
    fs::write(cluster.data().join("pg_hba.conf"), hba).expect("pg_hba.conf");
    fs::write(cluster.data().join("pg_ident.conf"), ident).expect("pg_ident.conf");
    cluster.pause();
    cluster.resume();
    cluster
}

#[test]
fn a_foreign_postgres_serves_and_erasure_is_not_called_proved_while_its_files_are_out_of_reach() {
    if quick() {
        return;
    }
    let cluster = foreign_cluster();
    let config = AppConfig {
        recorder_first: 60_200,
        epoch_secs: Some(4),
        rekey_secs: Some(4),
        retention_secs: Some(6),
        ..AppConfig::default()
    };
    let mut appliance = Appliance::ordered(config);
    change(&appliance, "[database]\n", &format!("[database]\nsocket_dir = {:?}\n", cluster.socket_dir()));
    appliance.launch();
    appliance.wait_ready();
    let home = appliance.home.clone();
    home.found(&appliance);
    assert!(appliance.role_pids("postgres").is_empty() && !appliance.data().join("postgres").exists());
    let camera = Camera::start(CameraOptions::default().mounts(&["footage"]));
    home.add_camera("footage", &camera.url("footage"), &camera.pin(), "cam", "secret1");
    let since = now();
    appliance.wait_recorded("footage", since);
    let erased = || home.ledger(0)["kinds"]["erased"].as_u64().filter(|erased| *erased > 0);
    wait_for("a segment past retention is erased", secs(60), erased);
    assert_eq!(appliance.stop(), 0, "{}", appliance.log());

    // Only what a row calls erased is to be searched for: nothing grows old while the checks run.
    change(&appliance, "retention_secs = 6", "retention_secs = 3600");
    let plain = appliance.fsck(&[]);
    assert!(plain.status.success(), "{}", String::from_utf8_lossy(&plain.stdout));
    let checked = appliance.fsck(&["--prove-erased"]);
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(!checked.status.success(), "what was not searched is no proof: {said}");
    let place = Path::new(cluster.socket_dir()).display().to_string();
    assert!(said.contains("not searched: files and WAL of the foreign cluster") && said.contains(&place), "{said}");
    assert!(said.contains("erasure not proved") && !said.contains("erasure proved"), "{said}");
    let checked = appliance.fsck(&["--prove-erased", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&checked.stdout).expect("one JSON document");
    assert_eq!(report["erased"]["proved"], false, "{report}");
    assert!(report["erased"]["suspects"].as_u64().is_some_and(|suspects| suspects > 0), "{report}");
    assert!(report["erased"]["found"].as_array().is_some_and(Vec::is_empty), "{report}");
}
