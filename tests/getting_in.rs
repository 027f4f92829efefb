//! How people come to their keys, on running appliances: invitations, enrolment, logins, recovery, guessing, and what a
//! stolen database is worth.
//!
//! What does not belong: what a session does with a copied request (`sessions.rs`), who may look (`end_to_end.rs`).
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a panic is the report")]

mod attack;
mod support;

use attack::superuser;
use peri_access::login::{Argon2id, Credential, KeyHash, LoginRequest, Means, Prelogin};
use peri_access::wire::{Ask, Problem, Reply, decode_strict};
use peri_client::vault::Vault;
use peri_open::userkey::open_stretched;
use peri_seal::canonical;
use peri_seal::userkey::{DeviceSecret, PasswordParameters, Stretched, WrappedUserKey};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::*;

const LOGIN: &str = "anna@example.org";

fn connect(socket: &Path) -> UnixStream {
    let stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(secs(60))).unwrap();
    stream
}

fn exchange(stream: &mut UnixStream, ask: &Ask) -> Reply {
    let frame = minicbor::to_vec(ask).unwrap();
    stream.write_all(&u32::try_from(frame.len()).unwrap().to_be_bytes()).unwrap();
    stream.write_all(&frame).unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut bytes = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut bytes).unwrap();
    decode_strict(&bytes).unwrap()
}

fn login(name: &str, auth_key: [u8; 32], lane_key: [u8; 32]) -> Ask {
    Ask::Login(LoginRequest { name: name.into(), means: Means::Password, auth_key, lane_key })
}

fn problem(reply: Reply) -> Problem {
    match reply {
        Reply::Problem(problem) | Reply::NotTaken(problem) => problem,
        other => panic!("{other:?}"),
    }
}

/// The boss invites; returns where the link lies.
fn invite(app: &Appliance, name: &str, more: &[&str]) -> String {
    let link = app.home.path(&format!("{name}.link")).to_str().unwrap().to_owned();
    let mut args = vec!["invite", "new", name, "--link-file", &link, "--as", "boss"];
    args.extend(more);
    app.home.ok(&args);
    link
}

/// Somebody enrols from a home of his own; his home and what he was told.
fn enrol(app: &Appliance, home: &str, link: &str, login: &str) -> (Home, serde_json::Value) {
    let home = Home::new(app.dir(), home);
    let socket = app.socket();
    let told = home.ok(&[
        "enrol",
        "key",
        "--link-file",
        link,
        "--login",
        login,
        "--sheet",
        "-",
        "--socket",
        socket.to_str().unwrap(),
    ]);
    (home, told)
}

/// The boss takes somebody in whose words he compared; returns when the login stands.
fn accept(app: &Appliance, name: &str, words: &str) -> serde_json::Value {
    let accepted =
        app.home.ok(&["invite", "accept", name, "--words", words, "--sign-as", "boss", "--as", "boss", "--submit"]);
    let waiting = || superuser(app, "SELECT count(*) FROM peri.credential_waiting");
    wait_for("the login stands", secs(20), || (waiting().trim() == "0").then_some(()));
    accepted
}

fn text<'a>(value: &'a serde_json::Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value}"))
}

#[test]
fn an_invited_person_enrols_is_taken_by_ten_words_and_comes_back_with_the_printed_code() {
    if quick() {
        return;
    }
    let app = Appliance::founded(AppConfig::default());
    let link = invite(&app, "anna", &["--role", "viewer"]);
    let (anna, told) = enrol(&app, "anna", &link, " Anna@Example.org ");
    let words = text(&told, "words");

    // An administrator (or whoever reads the link) who enrols himself in her place has other words.
    app.home.fails(5, &["invite", "accept", "anna", "--words", "abandon ability", "--sign-as", "boss", "--as", "boss"]);
    // Until she is in office nobody gets in by what she set.
    let early = anna.fails(3, &["login", LOGIN, "--name", "early"]);
    assert!(early.contains("wrong_login"), "{early}");
    let accepted = accept(&app, "anna", words);
    assert_eq!(text(&accepted, "words"), words);
    anna.ok(&["roster", "show", "--as", "key"]);

    // The same command again is the same person; another key is somebody else, and an alarm.
    let socket = app.socket();
    let again =
        ["enrol", "key", "--link-file", &link, "--login", LOGIN, "--sheet", "-", "--socket", socket.to_str().unwrap()];
    let told = anna.ok(&again);
    let thief = Home::new(app.dir(), "thief");
    let refused = thief.fails(3, &again);
    assert!(refused.contains("was used before") && refused.contains("invitation_used"), "{refused}");
    assert!(app.home.health()["alarms"].to_string().contains("invitation_misused"));

    // Another device, with the identity file and the printed sheet.
    let identity = app.home.path("identity");
    app.home.ok(&["trust", "export", "-o", identity.to_str().unwrap()]);
    let elsewhere = Home::new(app.dir(), "elsewhere");
    elsewhere.ok(&["trust", "import", identity.to_str().unwrap(), "--socket", socket.to_str().unwrap()]);
    let code = elsewhere.path("code");
    let recover = ["recover", LOGIN, "--name", "back", "--code-file", code.to_str().unwrap(), "--sheet", "-"];
    let printed = text(&told, "recovery_code");
    let slip = printed.replacen(&printed[..1], if printed.starts_with('A') { "B" } else { "A" }, 1);
    std::fs::write(&code, slip).unwrap();
    let refused = elsewhere.fails(2, &recover);
    assert!(refused.contains("typing error"), "{refused}");
    std::fs::write(&code, printed).unwrap();
    let back = elsewhere.ok(&recover);
    assert_eq!(text(&back, "words"), words, "the same key");
    elsewhere.ok(&["roster", "show", "--as", "back"]);
    // The code is spent, and replaced by one that works.
    let other = Home::new(app.dir(), "other");
    other.ok(&["trust", "import", identity.to_str().unwrap(), "--socket", socket.to_str().unwrap()]);
    let refused = other.fails(3, &recover);
    assert!(refused.contains("wrong_login"), "{refused}");
    std::fs::write(&code, text(&back, "recovery_code")).unwrap();
    other.ok(&recover);

    // A new password of the device that came back last is the login's, too.
    let new = other.path("new-password");
    std::fs::write(&new, "another sentence entirely\n").unwrap();
    other.ok(&["key", "password", "back", "--new-password-file", new.to_str().unwrap()]);
    std::fs::remove_file(other.keys().join("keys/back")).unwrap();
    let fetch = ["login", LOGIN, "--name", "back"];
    let refused = other.fails(3, &fetch);
    assert!(refused.contains("wrong_login"), "the old password: {refused}");
    std::fs::copy(&new, other.path("password")).unwrap();
    let fetched = wait_for("the delay of one wrong attempt is over", secs(20), || {
        let outcome = other.run(&fetch);
        assert!(outcome.code == 0 || outcome.stderr.contains("too_early"), "{}", outcome.stderr);
        (outcome.code == 0).then(|| outcome.json())
    });
    assert_eq!(text(&fetched, "words"), words);
    let kinds = app.home.ledger(0)["kinds"].clone();
    for (kind, count) in [("key_enrolled", 1), ("recovery_used", 2), ("logged_in", 1), ("invitation_misused", 1)] {
        assert_eq!(kinds[kind], count, "{kind}: {kinds}");
    }

    // Whoever has a link for her account sets a login that counts for nothing: hers stands, and brings her key.
    let rows = || superuser(&app, "SELECT md5(string_agg(name::text || credential::text, '')) FROM peri.credential");
    let before = rows();
    let link = invite(&app, "anna", &["--reset"]);
    let (mallory, _) = enrol(&app, "mallory", &link, LOGIN);
    assert_eq!((rows(), superuser(&app, "SELECT count(*) FROM peri.credential_waiting").trim()), (before, "1"));
    std::fs::remove_file(mallory.keys().join("keys/key")).unwrap();
    let refused = mallory.fails(3, &["login", LOGIN, "--name", "key"]);
    assert!(refused.contains("wrong_login") || refused.contains("too_early"), "{refused}");

    // Whoever only looks invites nobody; whoever is removed leaves no login behind.
    anna.fails(3, &["invite", "new", "friend", "--role", "viewer", "--as", "key"]);
    let logins = || superuser(&app, "SELECT count(*) FROM peri.credential");
    assert_eq!(logins().trim(), "1");
    app.home.ok(&["account", "remove", "anna", "--sign-as", "boss"]);
    wait_for("her login is forgotten", secs(20), || (logins().trim() == "0").then_some(()));
    let refused = other.fails(3, &["key", "password", "back", "--new-password-file", new.to_str().unwrap()]);
    assert!(refused.contains("not_authenticated"), "{refused}");
    assert_eq!(logins().trim(), "0", "a login of somebody removed");
    let refused = anna.fails(3, &["login", LOGIN, "--name", "again"]);
    assert!(refused.contains("wrong_login") || refused.contains("too_early"), "{refused}");
}

#[test]
fn whoever_lost_everything_gets_a_new_key_by_a_new_invitation_and_late_links_are_named() {
    if quick() {
        return;
    }
    let app = Appliance::founded(AppConfig::default());
    let ends = now() + secs(20);
    let link = invite(&app, "late", &["--role", "viewer", "--until", &ends.to_string()]);
    wait_for("the link is over", secs(30), || (now() > ends).then_some(()));
    let home = Home::new(app.dir(), "late");
    let socket = app.socket();
    let again = ["enrol", "key", "--link-file", &link, "--no-sheet", "--socket", socket.to_str().unwrap()];
    let refused = home.fails(3, &again);
    assert!(refused.contains("invitation_expired") && refused.contains("ended"), "{refused}");

    let before = app.home.ok(&["roster", "show", "--as", "rev"]);
    let link = invite(&app, "guard", &["--reset"]);
    let (guard, told) = enrol(&app, "guard-again", &link, "guard");
    let words = text(&told, "words");
    app.home.ok(&["invite", "accept", "guard", "--words", words, "--sign-as", "boss", "--as", "boss", "--submit"]);
    guard.ok(&["roster", "show", "--as", "key"]);
    let refused = app.home.fails(3, &["roster", "show", "--as", "guard"]);
    assert!(refused.contains("not_authenticated"), "the lost key: {refused}");
    assert_eq!(
        before["accounts"].as_array().unwrap().len(),
        app.home.ok(&["roster", "show", "--as", "rev"])["accounts"].as_array().unwrap().len(),
        "the account is the same"
    );

    // One that was taken back, and invitations over a restart.
    let link = invite(&app, "nobody", &["--role", "viewer"]);
    app.home.ok(&["invite", "withdraw", "nobody", "--as", "boss"]);
    let refused = Home::new(app.dir(), "nobody")
        .fails(3, &["enrol", "key", "--link-file", &link, "--no-sheet", "--socket", socket.to_str().unwrap()]);
    assert!(refused.contains("no_invitation"), "{refused}");
    let link = invite(&app, "bert", &["--role", "auditor"]);
    app.kill_role("scribe", nix::sys::signal::Signal::SIGKILL);
    wait_for("scribe knows the roster again", secs(30), || {
        (app.home.run(&["health", "--as", "rev"]).code == 0).then_some(())
    });
    let (bert, told) = enrol(&app, "bert", &link, "bert");
    let listed = app.home.ok(&["invite", "list", "--as", "boss"]);
    assert!(listed.to_string().contains(text(&told, "words")), "{listed}");
    // A new password while the login waits for its key leaves the printed sheet as good as it was.
    let new = bert.path("new-password");
    std::fs::write(&new, "another sentence entirely\n").unwrap();
    bert.ok(&["key", "password", "key", "--new-password-file", new.to_str().unwrap()]);
    accept(&app, "bert", text(&told, "words"));
    let back = recovered(&device(&app, "berts-other"), "bert", "back", text(&told, "recovery_code"));
    assert_eq!(back.code, 0, "{}", back.stderr);
}

/// Somebody's own home on a device that trusts the appliance.
fn device(app: &Appliance, name: &str) -> Home {
    let (identity, socket) = (app.home.path("identity"), app.socket());
    app.home.ok(&["trust", "export", "-o", identity.to_str().unwrap()]);
    let home = Home::new(app.dir(), name);
    home.ok(&["trust", "import", identity.to_str().unwrap(), "--socket", socket.to_str().unwrap()]);
    home
}

/// `peri recover` with this code; what the home says.
fn recovered(home: &Home, login: &str, name: &str, code: &str) -> Outcome {
    let file = home.path("code");
    std::fs::write(&file, code).unwrap();
    home.run(&["recover", login, "--name", name, "--code-file", file.to_str().unwrap(), "--sheet", "-"])
}

#[test]
fn an_administrator_who_enrols_himself_as_somebody_else_shows_by_ten_words_where_custodians_sign() {
    if quick() {
        return;
    }
    let app = Appliance::founded(AppConfig::default());
    let carla = Home::new(app.dir(), "carla");
    let hers = carla.ok(&["account", "request", "carla", "--role", "viewer", "--no-sheet"]);
    let link = invite(&app, "carla", &["--role", "viewer"]);
    let again = ["invite", "new", "carla", "--role", "viewer", "--as", "boss"];
    let refused = app.home.fails(2, &again);
    assert!(refused.contains("peri invite withdraw carla"), "a live link is not forgotten: {refused}");
    let (_, his) = enrol(&app, "not-carla", &link, "carla");
    let (hers, his) = (text(&hers, "words"), text(&his, "words"));
    assert_ne!(hers, his);
    app.home.ok(&["invite", "accept", "carla", "--words", his, "--sign-as", "boss", "--as", "boss", "--submit"]);

    let file = app.home.path("grant");
    let file = file.to_str().unwrap();
    let grant = ["grant", "new", "--to", "carla", "--cameras", "all", "--rights", "live", "--until", "+1d"];
    let proposed = app.home.ok(&[&grant[..], &["--sign-as", "dpo", "-o", file]].concat());
    let shown = app.home.ok(&["proposal", "show", file]);
    let signed = app.home.ok(&["proposal", "sign", file, "--sign-as", "council", "-o", file]);
    for said in [&proposed, &shown, &signed] {
        assert_eq!(said["keys"][0]["name"], "carla");
        assert_eq!(said["keys"][0]["words"], his, "the custodian sees whose key it is");
    }
    let output = app.home.command(&["proposal", "show", file]).output().unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains(&format!("to: carla (viewer), key: {his}")) && !shown.contains(hers), "{shown}");
    let roster = app.home.ok(&["roster", "show", "--as", "dpo"]);
    let words = |part: &str, name: &str| {
        let all = roster[part].as_array().unwrap();
        all.iter().find(|one| one["name"] == name).unwrap()["words"].as_str().unwrap().to_owned()
    };
    assert_eq!(words("accounts", "carla"), his);
    assert_eq!(words("seats", "dpo").split(' ').count(), 10);
}

#[test]
fn a_key_without_login_gets_one_a_spent_sheet_is_replaced_and_a_recovered_key_is_kept_whatever_fails_after() {
    if quick() {
        return;
    }
    let app = Appliance::founded(AppConfig::default());
    let words = |value: &serde_json::Value| text(value, "words").to_owned();
    let sheet = app.home.ok(&["key", "sheet", "dpo", "--login", "dpo", "--sheet", "-"]);
    let safe = device(&app, "safe");
    let back = recovered(&safe, "dpo", "dpo", text(&sheet, "recovery_code"));
    assert_eq!(text(&back.json(), "kind"), "seat", "a seat has a login, and its key comes back as one");
    app.home.fails(2, &["key", "sheet", "claim", "--login", "claim", "--sheet", "-"]);
    let sheet = app.home.ok(&["key", "sheet", "guard", "--login", " Guard@Example.org", "--sheet", "-"]);
    assert_eq!(text(&sheet, "login"), "guard@example.org");
    let other = device(&app, "other");
    // This home says that the appliance withholds a statement: its roster is believed no more, the key is there all the same.
    std::fs::write(other.keys().join("roster"), [0x81, 0x41, 0x00]).unwrap();
    let back = recovered(&other, "guard@example.org", "back", text(&sheet, "recovery_code"));
    assert_eq!(back.code, 0, "{}", back.stderr);
    let back = back.json();
    assert_eq!(words(&back), words(&sheet));
    assert!(other.fails(5, &["roster", "show", "--as", "back"]).contains("withholds"));

    // The code of that sheet opens the file in the first home still, once; then file and login have another.
    let code = app.home.path("code");
    std::fs::write(&code, text(&sheet, "recovery_code")).unwrap();
    let recover = ["key", "recover", "guard", "--code-file", code.to_str().unwrap(), "--sheet", "-"];
    let next = app.home.ok(&recover);
    assert_eq!(next["login_set"], true);
    assert!(app.home.run(&recover).code == 6, "the code before is void for the file");
    let third = device(&app, "third");
    let refused = recovered(&third, "guard@example.org", "back", text(&back, "recovery_code"));
    assert_eq!(refused.code, 3, "and for the login");
    for remedy in ["wrong_login", "guard@example.org", "peri key sheet", "--reset"] {
        assert!(refused.stderr.contains(remedy), "{remedy} in {}", refused.stderr);
    }

    // Another key for the account: its login follows.
    let new = app.home.ok(&["account", "request", "guard2", "--role", "viewer", "--no-sheet"]);
    let changed = app.home.ok(&["account", "change-key", "guard", "guard2", "--sign-as", "guard", "--sheet", "-"]);
    assert_eq!((&changed["submitted"], &changed["login_set"]), (&true.into(), &true.into()), "{changed}");
    let code = text(&changed, "recovery_code");
    let back = wait_for("the delay of one wrong attempt is over", secs(20), || {
        let outcome = recovered(&third, "guard@example.org", "back", code);
        assert!(outcome.code == 0 || outcome.stderr.contains("too_early"), "{}", outcome.stderr);
        (outcome.code == 0).then(|| outcome.json())
    });
    assert_eq!(words(&back), words(&new));
    third.ok(&["roster", "show", "--as", "back"]);
}

#[test]
fn ten_thousand_guesses_cost_a_handful_of_hashes_over_restarts_and_known_and_unknown_names_look_alike() {
    if quick() {
        return;
    }
    let mut app = Appliance::founded(AppConfig::default());
    let link = invite(&app, "anna", &["--role", "viewer"]);
    let (anna, told) = enrol(&app, "anna", &link, LOGIN);
    accept(&app, "anna", text(&told, "words"));
    let socket = app.socket();

    // Salts of unknown names are steady and different.
    let salt = |name: &str| -> PasswordParameters {
        let Reply::Answer(bytes) = exchange(&mut connect(&socket), &Ask::Prelogin(Prelogin { name: name.into() }))
        else {
            panic!("no parameters")
        };
        decode_strict(&bytes).unwrap()
    };
    let (known, unknown) = (salt(LOGIN), salt("nobody@example.org"));
    assert_eq!((salt(LOGIN), salt("nobody@example.org")), (known, unknown));
    assert!(known.rounds == unknown.rounds && known.salt != unknown.salt);

    for (round, name) in ["nobody@example.org", LOGIN].into_iter().enumerate() {
        let (hashed, early, slowest) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(Duration::ZERO));
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for thread in 0..20_u8 {
                let (hashed, early, socket) = (&hashed, &early, &socket);
                scope.spawn(move || {
                    let mut stream = connect(socket);
                    for guess in 0..500_u16 {
                        let mut key = [thread; 32];
                        key[..2].copy_from_slice(&guess.to_be_bytes());
                        let problem = problem(exchange(&mut stream, &login(name, key, key)));
                        match problem.status {
                            401 => hashed.fetch_add(1, Ordering::Relaxed),
                            429 => {
                                assert!(problem.retry_after_s >= Some(1), "{problem:?}");
                                early.fetch_add(1, Ordering::Relaxed)
                            }
                            _ => panic!("{problem}"),
                        };
                    }
                });
            }
            // Scribe serves others meanwhile.
            let mut stream = connect(&socket);
            for _ in 0..20 {
                let asked = Instant::now();
                assert!(matches!(exchange(&mut stream, &Ask::Hello { nonce: [7; 32] }), Reply::Answer(_)));
                let mut slowest = slowest.lock().unwrap();
                *slowest = slowest.max(asked.elapsed());
                drop(slowest);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let (hashed, early) = (hashed.into_inner(), early.into_inner());
        assert_eq!(hashed + early, 10_000);
        // One at once, the next ones after 1, 2, 4 … s.
        let most = 1 + (begun.elapsed().as_secs() + 1).ilog2() as usize + 1;
        assert!((1..=most).contains(&hashed), "{hashed} hashes in {:?}", begun.elapsed());
        assert!(*slowest.lock().unwrap() < secs(5), "{slowest:?}");
        // In the second round the restart lies before it: what the first counted stands.
        if round == 0 {
            app.restart();
            let guess = || problem(exchange(&mut connect(&socket), &login(name, [1; 32], [1; 32])));
            let first = wait_for("logins are open again", secs(30), || Some(guess()).filter(|p| p.status != 503));
            // Early, or the delay is over: then this was one failure more, and the next delay says what was before.
            let stands = if first.status == 401 { guess() } else { first.clone() };
            assert_eq!((stands.status, stands.code.as_str()), (429, "too_early"), "{stands}");
            let counted = first.status == 429 || stands.retry_after_s >= Some(2);
            assert!(counted, "a restart forgot {hashed} hashes: {stands:?}");
        }
    }

    // Her own device has a lane of its own: all that guessing does not keep her out.
    std::fs::remove_file(anna.keys().join("keys/key")).unwrap();
    let (crowded, enough) = (AtomicUsize::new(0), &AtomicUsize::new(0));
    std::thread::scope(|scope| {
        // Nor do attempts at ever new names, each of which is hashed: they wait in places of their own.
        for stranger in 0..24_u8 {
            let (socket, crowded) = (&socket, &crowded);
            scope.spawn(move || {
                let mut stream = connect(socket);
                for attempt in 0..1_000 {
                    let ask = login(&format!("somebody-{stranger}-{attempt}"), [stranger; 32], [stranger; 32]);
                    let problem = problem(exchange(&mut stream, &ask));
                    assert!(matches!(problem.status, 401 | 503), "{problem}");
                    crowded.fetch_add(usize::from(problem.code == "too_many_logins"), Ordering::Relaxed);
                    if enough.load(Ordering::Relaxed) > 0 {
                        return;
                    }
                }
            });
        }
        wait_for("strangers wait at the door", secs(60), || (crowded.load(Ordering::Relaxed) > 0).then_some(()));
        anna.ok(&["login", LOGIN, "--name", "key"]);
        enough.store(1, Ordering::Relaxed);
    });
    // But whoever has the device guesses as slowly as anybody, and an early right password is early.
    let device = Vault::open(&anna.keys()).unwrap().device_secret().unwrap();
    let stretched = Stretched::new(support_password(&anna).trim(), &device, known).unwrap();
    let mut stream = connect(&socket);
    let ask = |key: [u8; 32]| login(LOGIN, key, *device.lane_key().as_bytes());
    // Wrong until the delay is longer than any hash takes on a busy machine; then the right password is early.
    wait_for("wrong attempts add up", secs(90), || {
        let problem = problem(exchange(&mut stream, &ask([9; 32])));
        (problem.status == 429 && problem.retry_after_s >= Some(6)).then_some(())
    });
    let early = problem(exchange(&mut stream, &ask(*stretched.auth_key().as_bytes())));
    assert_eq!(early.status, 429, "{early}");
}

fn support_password(home: &Home) -> String {
    std::fs::read_to_string(home.path("password")).unwrap()
}

#[test]
fn a_stolen_database_and_a_list_with_the_right_password_open_nothing() {
    if quick() {
        return;
    }
    let app = Appliance::founded(AppConfig::default());
    let link = invite(&app, "anna", &["--role", "viewer"]);
    let (anna, told) = enrol(&app, "anna", &link, LOGIN);
    accept(&app, "anna", text(&told, "words"));
    let dump = superuser(&app, "SELECT encode(name, 'hex') || ' ' || encode(credential, 'hex') FROM peri.credential");
    let (_, hex) = dump.split_once(' ').expect("one login is stored");
    let stored: Vec<u8> =
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    let credential: Credential = canonical::decode("login", &stored).unwrap();
    let wrapped = WrappedUserKey::from_bytes(&credential.password.wrapped).unwrap();
    let password = support_password(&anna);
    let password = password.trim();
    // Positive control: with the device secret of her home it opens, and proves itself to the hash.
    let device = Vault::open(&anna.keys()).unwrap().device_secret().unwrap();
    let stretched = Stretched::new(password, &device, credential.parameters).unwrap();
    open_stretched(&wrapped, &stretched).unwrap();
    assert_eq!(Argon2id::STANDARD.verify(&stretched.auth_key(), &credential.password.phc), Ok(true));
    // The thief has the list, and everything the database says.
    for guess in [password, "password", "123456"] {
        for secret in [[0; 16], *credential.parameters.salt.first_chunk().unwrap(), *credential.account.as_bytes()] {
            let stretched = Stretched::new(guess, &DeviceSecret::from_bytes(secret), credential.parameters).unwrap();
            assert!(open_stretched(&wrapped, &stretched).is_err());
            assert_eq!(Argon2id::STANDARD.verify(&stretched.auth_key(), &credential.password.phc), Ok(false));
        }
    }
    // Nor does it name anybody.
    let all = superuser(&app, "SELECT encode(credential, 'escape') FROM peri.credential");
    assert!(!all.contains("anna") && !all.contains("example"), "{all}");
}
