//! The whole way of a customer through the command line, against the second appliance of [`crate::testkit`]: claim,
//! seats, accounts, camera, grant, export, watch; and what must not work on it.

use crate::cli::{Cli, run};
use crate::context::Context;
use crate::exit::Error;
use crate::password::Passwords;
use crate::testkit::{Appliance, VM, footage, now};
use crate::ui::{Report, Ui};
use crate::vault::Vault;
use clap::Parser;
use peri_domain::CameraId;
use peri_sandbox::clock::SystemClock;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

struct Home {
    context: Context,
    dir: PathBuf,
}

impl Home {
    fn new(dir: &Path, name: &str, socket: &Path) -> Self {
        let password = dir.join("password");
        std::fs::write(&password, "a sentence nobody guesses\n").unwrap();
        let context = Context::new(
            Ui::new(false),
            Vault::open(&dir.join(name)).unwrap(),
            Passwords::from_lines(&[password.display().to_string()], Box::new(std::io::empty())),
            Box::new(SystemClock),
            Some(socket.to_owned()),
            None,
        );
        Self { context, dir: dir.to_owned() }
    }

    /// Runs a command line; `@name` is a file in the test's directory.
    fn run(&mut self, line: &str) -> Result<Report, Error> {
        let words: Vec<String> = line
            .split(' ')
            .map(|word| word.strip_prefix('@').map_or(word.to_owned(), |n| self.dir.join(n).display().to_string()))
            .collect();
        let cli = Cli::try_parse_from(core::iter::once("peri".to_owned()).chain(words)).unwrap();
        run(cli.command, &mut self.context)
    }

    fn must(&mut self, line: &str) -> Report {
        self.run(line).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    fn fails(&mut self, line: &str, code: u8, part: &str) {
        let error = self.run(line).map(|report| report.text).unwrap_err();
        assert_eq!(error.exit_code(), code, "{line}: {error}");
        assert!(error.to_string().contains(part), "{line}: {error}");
    }
}

struct Site {
    dir: tempfile::TempDir,
    home: Home,
    appliance: Arc<Appliance>,
}

/// Claims with 2 of 2 seats.
fn claimed() -> Site {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("socket");
    let mut home = Home::new(dir.path(), "home", &socket);
    home.must("claim new --out @order --no-sheet");
    let appliance = Appliance::start(&socket, &std::fs::read(dir.path().join("order")).unwrap());
    home.fails("claim use --seats 2 --threshold 1", 2, "--alone");
    let report = home.must("claim use --seats 2 --threshold 2");
    assert_eq!(report.json["words"].as_str().unwrap().split(' ').count(), 10);
    assert!(report.text.contains("declared") && report.text.contains("unwitnessed"), "{}", report.text);
    for seat in ["one", "two"] {
        home.must(&format!("seat new {seat} --no-sheet -o @{seat}.request"));
    }
    Site { dir, home, appliance }
}

/// With seats, accounts, a registered camera and a grant for the viewer.
fn furnished() -> (Site, CameraId) {
    let mut site = claimed();
    let home = &mut site.home;
    home.must("claim seat @one.request two");
    home.must("account request boss --role administrator --no-sheet -o @boss.request");
    home.fails("account new @boss.request --sign-as one", 7, "signed by 1 of 2");
    home.must("account new @boss.request --sign-as one --sign-as two");
    home.must("account request viewer --role viewer --no-sheet -o @viewer.request");
    home.must("account new @viewer.request --sign-as boss");
    std::fs::write(site.dir.path().join("camera-password"), "geheim").unwrap();
    let add = "camera add --name gate --url rtsp://192.0.2.1/1 --user admin --camera-password-file @camera-password";
    home.fails(&format!("{add} --sign-as one --sign-as two"), 2, "--plain-exception");
    let added = home.must(&format!("{add} --plain-exception --sign-as one -o @camera"));
    assert_eq!(added.json["submitted"], false);
    assert!(home.must("proposal show @camera").text.contains("gate"));
    let request = home.must("key list").json["keys"][0].clone();
    assert_eq!(request["key"], "boss");
    let shown = home.must("roster show");
    assert!(shown.text.contains(request["words"].as_str().unwrap()), "{}", shown.text);
    home.must("proposal sign @camera --sign-as two --submit");
    let camera = added.json["camera"].as_str().unwrap().parse().unwrap();
    home.must("camera register gate --sign-as one --sign-as two");
    home.must(
        "grant new --to viewer --cameras gate --rights live,playback,export --from -1d --until +30d --sign-as one --sign-as two",
    );
    (site, camera)
}

fn frames(file: &Path) -> String {
    let probe = ["-v", "error", "-count_frames", "-show_entries", "stream=codec_name,nb_read_frames", "-of", "csv=p=0"];
    let output = Command::new("ffprobe").args(probe).arg(file).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "ffprobe must not complain");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn from_the_claim_to_a_file_that_players_read() {
    let (mut site, camera) = furnished();
    let starts = now() - Duration::from_secs(60);
    let pieces = footage(5);
    site.appliance.record(camera, 1, starts, &pieces, true);
    site.appliance.record(camera, 2, starts + Duration::from_secs(5), &pieces, false);
    let home = &mut site.home;
    let span = format!("--from {} --to {}", starts + Duration::from_millis(1_500), starts + Duration::from_secs(9));
    let report = home.must(&format!("export gate {span} -o @x.mp4 --purpose theft"));
    // From the key picture at 1 s of the first epoch to the end of the span at 4 s of the second.
    assert_eq!(frames(&site.dir.path().join("x.mp4")), "h264,80");
    assert_eq!(report.json["cut_epochs"], serde_json::json!([]), "the span ends before the end of epoch 2");
    assert_eq!(site.appliance.state().purposes, ["theft"]);

    let whole = format!("--from {starts} --to {}", starts + Duration::from_secs(20));
    let report = home.must(&format!("export gate {whole} -o @x.mp4"));
    assert_eq!(frames(&site.dir.path().join("x.mp4")), "h264,100");
    assert_eq!(report.json["cut_epochs"], serde_json::json!([2]), "an end without its mark is reported");
    assert_eq!(report.json["gaps"][0]["cause"], "camera unreachable");

    home.fails(&format!("export gate --from -1d --to {} -o @y.mp4", starts - Duration::from_secs(1)), 8, "nothing");
    assert!(!site.dir.path().join("y.mp4").exists());

    // Live begins with the last key picture, one second before the end of what is there.
    home.must("watch gate -o @live.mp4 --for 0s");
    assert_eq!(frames(&site.dir.path().join("live.mp4")), "h264,10");

    let shown = home.must("roster show");
    for word in ["gate", "viewer", "live,playback,export", "2 of 2"] {
        assert!(shown.text.contains(word), "{word} in {}", shown.text);
    }
    assert_eq!(home.must("ledger").json["size"], 1);
    home.must("health");
}

#[test]
fn nobody_but_the_named_opens_and_a_failed_export_leaves_the_old_file() {
    let (mut site, camera) = furnished();
    let starts = now() - Duration::from_secs(60);
    site.appliance.record(camera, 1, starts, &footage(2), true);
    let file = site.dir.path().join("x.mp4");
    std::fs::write(&file, "old").unwrap();
    let span = format!("--from {starts} --to {}", starts + Duration::from_secs(2));
    site.home.must("account request curious --role viewer --no-sheet -o @curious.request");
    site.home.must("account new @curious.request --sign-as boss");
    let socket = site.dir.path().join("socket");
    let mut stranger = Home::new(site.dir.path(), "stranger", &socket);
    stranger.fails("roster show", 2, "peri trust import");
    site.home.must("trust export -o @identity");
    stranger.fails("trust import @identity --words abandon", 5, "do not fit");
    stranger.must("trust import @identity");
    std::fs::copy(site.dir.path().join("home/keys/curious"), site.dir.path().join("stranger/keys/curious")).unwrap();
    stranger.fails("roster show", 6, "does not open");
    std::fs::copy(site.dir.path().join("home/device-secret"), site.dir.path().join("stranger/device-secret")).unwrap();
    stranger.fails(&format!("export gate {span} -o @x.mp4"), 3, "not sealed to this key");
    assert_eq!(std::fs::read(&file).unwrap(), b"old");
}

#[test]
fn a_revoked_grant_takes_the_next_epoch_away() {
    let (mut site, camera) = furnished();
    let shown = site.home.must("roster show");
    let grant = shown.json["grants"][0]["grant"].as_str().unwrap().to_owned();
    site.home.must(&format!("revoke --grant {grant} --reason left --sign-as boss"));
    let starts = now() - Duration::from_secs(60);
    site.appliance.record(camera, 1, starts, &footage(1), true);
    let span = format!("--from {starts} --to {}", starts + Duration::from_secs(1));
    site.home.fails(&format!("export gate {span} -o @x.mp4"), 3, "not sealed to this key");
}

/// A home of one person: this key alone, on a device that knows the appliance.
fn alone(site: &mut Site, name: &str) -> Home {
    let mut home = Home::new(site.dir.path(), name, &site.dir.path().join("socket"));
    site.home.must("trust export -o @identity");
    home.must("trust import @identity");
    std::fs::copy(
        site.dir.path().join(format!("home/keys/{name}")),
        site.dir.path().join(format!("{name}/keys/{name}")),
    )
    .unwrap();
    std::fs::copy(site.dir.path().join("home/device-secret"), site.dir.path().join(name).join("device-secret"))
        .unwrap();
    home
}

#[test]
fn a_post_opens_for_each_of_its_members_and_no_later_epoch_for_who_left() {
    let (mut site, camera) = furnished();
    for name in ["anna", "bert"] {
        site.home.must(&format!("account request {name} --role external --no-sheet -o @{name}.request"));
        site.home.must(&format!("account new @{name}.request --sign-as boss"));
    }
    let (mut anna, mut bert) = (alone(&mut site, "anna"), alone(&mut site, "bert"));
    // A member makes the key; the seats only sign.
    anna.must("post new desk --members anna,bert -o @desk");
    site.home.fails("proposal submit @desk", 7, "signed by 0 of 2");
    site.home.must("proposal sign @desk --sign-as one");
    site.home.must("proposal sign @desk --sign-as two --submit");
    site.home
        .must("grant new --to desk --cameras gate --rights export --from -1d --until +1d --sign-as one --sign-as two");
    let starts = now() - Duration::from_secs(60);
    site.appliance.record(camera, 1, starts, &footage(1), true);
    // Whoever leaves, and whoever only signs, does not make the key.
    anna.fails("post change desk --members bert -o @desk2", 2, "a member makes the key");
    let mut seat = alone(&mut site, "one");
    seat.fails("post change desk --members bert -o @desk2", 2, "a member makes the key");
    bert.must("post change desk --members bert -o @desk2");
    site.home.must("proposal sign @desk2 --sign-as one");
    site.home.must("proposal sign @desk2 --sign-as two --submit");
    site.appliance.record(camera, 2, starts + Duration::from_secs(1), &footage(1), true);
    let span = |from: u64, to: u64| {
        format!("--from {} --to {}", starts + Duration::from_millis(from), starts + Duration::from_millis(to))
    };
    anna.must(&format!("export gate {} -o @a.mp4", span(0, 1_000)));
    anna.fails(&format!("export gate {} -o @a2.mp4", span(1_200, 2_000)), 3, "not sealed to this key");
    bert.must(&format!("export gate {} -o @b.mp4", span(0, 2_000)));
    assert_eq!(frames(&site.dir.path().join("a.mp4")), frames(&site.dir.path().join("b.mp4")).replace("20", "10"));
    let shown = site.home.must("roster show");
    assert_eq!(shown.json["posts"][0]["members"], serde_json::json!(["bert"]));
    assert!(shown.text.contains("desk") && shown.text.contains("version 2"), "{}", shown.text);
    // The post's key is revoked by its name.
    site.home.must("revoke --key desk --reason closed --sign-as one");
    assert!(site.home.must("roster show").text.contains("PAUSED"));
    site.home.fails("post new x --members one -o @x", 2, "no account is called");
}

#[test]
fn seats_change_hands_accounts_end_and_what_was_granted_before_goes_on() {
    let (mut site, camera) = furnished();
    let starts = now() - Duration::from_secs(60);
    let span = |from: u64, to: u64| {
        format!("--from {} --to {}", starts + Duration::from_secs(from), starts + Duration::from_secs(to))
    };
    let home = &mut site.home;
    home.must("seat new heir --no-sheet -o @heir.request");
    home.fails("seat handover one @heir.request --sign-as one", 7, "signed by 1 of 2");
    home.must("seat handover one @heir.request --sign-as one --sign-as two");
    let grant = "grant new --to viewer --cameras gate --rights live --until +30d";
    // The signer named first also reads the roster, which the former holder may no more.
    home.fails(&format!("{grant} --sign-as two --sign-as one"), 7, "signed by 1 of 2");
    home.fails("seat handover heir @heir.request --sign-as heir --sign-as two", 3, "in use already");
    site.appliance.record(camera, 1, starts, &footage(1), true);
    // The grant that the former seat signed still holds, and the seats of today renew it: each signs once.
    site.home.must(&format!("export gate {} -o @x.mp4", span(0, 1)));
    let id = site.home.must("roster show").json["grants"][0]["grant"].as_str().unwrap().to_owned();
    site.home.must(&format!("grant renew {id} --until +60d --sign-as heir -o @renewal"));
    site.home.must("proposal sign @renewal --sign-as two --submit");
    // The account ends; the person comes back with a new key and gets what is granted to that.
    site.home.must("account remove viewer --sign-as boss");
    site.appliance.record(camera, 2, starts + Duration::from_secs(1), &footage(1), true);
    site.home.fails(&format!("grant renew {id} --until +90d --sign-as heir --sign-as two"), 3, "sign a new grant");
    site.home.must("account request again --role viewer --no-sheet -o @again.request");
    site.home.must("account new @again.request --sign-as boss");
    let regrant = "grant new --to again --cameras gate --rights export --from -1d --until +30d --hours";
    let args = "--zone Europe/Berlin --sign-as heir --sign-as two";
    let error = site.home.run(&format!("{regrant} never {args}")).map(|report| report.text).unwrap_err();
    assert!(error.to_string().contains("Mon-Fri 08:00-18:00"), "{error}");
    site.home.must(&regrant.replace(" --hours", " --sign-as heir --sign-as two"));
    site.appliance.record(camera, 3, starts + Duration::from_secs(2), &footage(1), true);
    let (mut viewer, mut again) = (alone(&mut site, "viewer"), alone(&mut site, "again"));
    again.fails(&format!("export gate {} -o @y.mp4", span(1, 2)), 3, "not sealed to this key");
    again.must(&format!("export gate {} -o @y.mp4", span(2, 3)));
    viewer.fails(&format!("export gate {} -o @z.mp4", span(2, 3)), 3, "no longer) in office");
}

#[test]
fn profile_and_snapshot_are_statements_of_k_seats() {
    let (mut site, _) = furnished();
    let home = &mut site.home;
    home.fails("profile --sign-as one", 2, "--ceiling");
    home.fails("profile --ceiling 240h --told council --sign-as one", 7, "signed by 1 of 2");
    home.must("profile --ceiling 240h --told council --sign-as one --sign-as two");
    home.must("profile --exception lobby --sign-as one --sign-as two");
    let shown = home.must("roster show");
    let profile = &shown.json["profile"];
    assert_eq!((&profile["serial"], &profile["retention_ceiling_secs"]), (&2.into(), &864_000.into()));
    assert_eq!((&profile["told"][0], &profile["exceptions"][0]), (&"council".into(), &"lobby".into()));
    assert!(shown.text.contains("told: council") && shown.text.contains("exception: lobby"), "{}", shown.text);
    home.fails("roster snapshot --sign-as one", 7, "signed by 1 of 2");
    home.must("roster snapshot --sign-as one -o @snapshot");
    // What comes in while it passes between the seats does not spoil it.
    home.must("profile --ceiling 120h --sign-as one --sign-as two");
    home.must("proposal sign @snapshot --sign-as two --submit");
    let after = home.must("roster show");
    assert_eq!(after.json["statements"], shown.json["statements"].as_u64().unwrap() + 2);
    let restored = home.must("roster restore");
    assert_eq!(restored.json["present"], after.json["statements"]);
}

#[test]
fn a_withheld_statement_is_noticed() {
    let mut site = claimed();
    site.home.must("claim seat one two");
    site.home.must("roster show");
    site.appliance.state().withheld = 1;
    site.home.fails("roster show", 5, "withholds 1 of 3");
}

#[test]
fn an_appliance_with_another_claim_key_or_a_second_claim_is_refused() {
    let mut site = claimed();
    site.home.fails("claim use --seats 3 --threshold 2", 5, "claimed this appliance already");
    let socket = site.dir.path().join("socket");
    let mut other = Home::new(site.dir.path(), "other", &socket);
    other.must("claim new --out @other-order --no-sheet");
    other.fails("claim use --seats 2 --threshold 2", 5, "other provisioning data");
    // The same order, another device: a clone that was set up anew.
    let clone = site.dir.path().join("clone");
    Appliance::start(&clone, &std::fs::read(site.dir.path().join("order")).unwrap());
    let mut home = Home::new(site.dir.path(), "home", &clone);
    home.fails("claim seat one", 5, "THE APPLIANCE HAS CHANGED");
    assert_eq!(VM, site.home.context.session().unwrap().vm());
}
