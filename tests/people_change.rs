//! People come and go on a running appliance: seats change hands, accounts end and come back, posts are manned, and each
//! epoch opens for those who were entitled when it began.
//!
//! What does not belong: the rules (`peri-roster`, `tests/access.rs`), how keys come to people (`getting_in.rs`).
#![allow(clippy::unwrap_used)]

mod support;

use peri_domain::UtcNanos;
use support::*;

/// A span that lies after what was just decided, with the epoch that was running then left out; waits until it is recorded.
fn next_span(app: &Appliance) -> (UtcNanos, UtcNanos) {
    let from = now() + secs(5);
    app.wait_recorded("clock", from + secs(4));
    (from, from + secs(3))
}

#[test]
fn seats_accounts_and_posts_change_and_each_epoch_is_for_those_who_were_entitled_when_it_began() {
    if quick() {
        return;
    }
    let app = Appliance::founded(AppConfig { epoch_secs: Some(4), ..AppConfig::default() });
    let home = &app.home;
    let camera = Camera::start(CameraOptions::plain().mounts(&["clock"]));
    home.camera(&CameraSpec { name: "clock", url: &camera.url("clock"), pin: None, login: None, beside: None });
    home.grant("guard", "all", "live,playback,export");
    let (early, early_end) = next_span(&app);

    // The first seat passes on; what its former holder signed goes on, and can be renewed by the seats of today.
    home.ok(&["seat", "new", "heir", "--no-sheet"]);
    let handover = ["seat", "handover", "dpo", "heir.request"];
    home.fails(7, &[&handover[..], &["--sign-as", "dpo"]].concat());
    home.signed(&handover, &["dpo", "council"]);
    let (from, to) = next_span(&app);
    home.export("guard", "clock", from, to).unwrap();
    let more = ["grant", "new", "--to", "guard", "--cameras", "all", "--rights", "live", "--until", "+2d"];
    let refused = home.fails(7, &[&more[..], &["--sign-as", "council", "--sign-as", "dpo"]].concat());
    assert!(refused.contains("1 of 2"), "the former holder signs: {refused}");
    let roster = home.ok(&["roster", "show", "--as", "rev"]);
    let grant = roster["grants"][0]["grant"].as_str().unwrap().to_owned();
    home.signed(&["grant", "renew", &grant, "--until", "+2d"], &["heir", "council"]);

    // An account ends with its grants. Who comes back with a new key has what is granted to that, and nothing of before.
    home.ok(&["account", "remove", "guard", "--sign-as", "boss"]);
    let removed = now();
    assert_eq!(home.export("guard", "clock", early, early_end).unwrap_err().0, 3);
    home.account("again", "viewer", &["boss"]);
    let to_again = ["grant", "new", "--to", "again", "--cameras", "clock", "--rights", "export", "--until", "+1d"];
    home.signed(&to_again, &["heir", "council"]);
    let (from, to) = next_span(&app);
    home.export("again", "clock", from, to).unwrap();
    let (code, text) = home.export("again", "clock", early, early_end).unwrap_err();
    assert_eq!(code, 3, "{text}");

    // A post opens for its members, by one key for all of them.
    home.account("anna", "external", &["boss"]);
    home.signed(&["post", "new", "desk", "--members", "anna"], &["heir", "council"]);
    let to_desk = ["grant", "new", "--to", "desk", "--cameras", "clock", "--rights", "export", "--until", "+1d"];
    home.signed(&to_desk, &["heir", "council"]);
    let (manned, manned_end) = next_span(&app);
    home.export("anna", "clock", manned, manned_end).unwrap();
    home.ok(&["account", "remove", "anna", "--sign-as", "boss"]);
    assert_eq!(home.export("anna", "clock", manned, manned_end).unwrap_err().0, 3);

    // Nothing is wrapped to who is gone.
    let guard = raw::key(home, "guard").fingerprint();
    let (mut before, mut after) = (0, 0);
    for (_, head) in app.heads() {
        let count = head.wraps.iter().filter(|wrap| wrap.recipient == guard).count();
        // One epoch may have been in hand.
        let late = head.record.context.starts > removed + secs(5);
        *(if late { &mut after } else { &mut before }) += count;
    }
    assert!(before > 0 && after == 0, "{before} wraps before the removal, {after} after it");
}
