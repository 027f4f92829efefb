//! Who may do what, asked of the decision as scribe asks it: the whole table as a golden file, agreement with keeper's
//! wraps over random rosters, and facts that come from the verified roster alone.
//!
//! What does not belong: whether the policies are right for every case that can be written down
//! (`tests/proofs/policy_proofs.rs`).

mod office;

use nix::time::{ClockId, clock_gettime};
use office::lives::{self, event, lived, moment};
use office::*;
use peri_access::decide::{self, Denied, Object, Principal, Standing, decide};
use peri_access::entities::Facts;
use peri_access::session::{Session, SessionKey, SignedCertificate};
use peri_domain::{Action, CameraId, Nonce, Right, Rights, Role, UtcNanos, VmId};
use peri_roster::body::{Cameras, ChangedBy, Minutes, WeeklyHours};
use peri_roster::{Account, PostState, Roster, Verified};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::LazyLock;

const LOOKS: [Action; 3] = [Action::WatchLive, Action::PlayBack, Action::Export];
/// What there is besides pictures.
const HOUSE: [(Action, Object); 4] = [
    (Action::ReadRoster, Object::Roster),
    (Action::ReadLedger, Object::Ledger),
    (Action::ReadLedger, Object::Health),
    (Action::Invite, Object::Invitations),
];

/// A session that was opened at an appliance while the key was in office there.
fn session(vm: VmId, signer: usize) -> Session {
    let made = SessionKey::from_secret_bytes(&[3; 32]).expect("a small scalar is below the order");
    let certificate = SignedCertificate::issue(vm, key(signer), made.public(), NOW, at(HOUR), 1);
    certificate.verify(vm, key(signer).public(), NOW).expect("a good certificate")
}

fn principal(roster: &Verified<Roster>, signer: usize) -> Result<Principal, Denied> {
    decide::authenticate(roster, &session(roster.vm(), signer))
}

fn pictures(camera: CameraId, from: i64, until: i64, running: bool) -> Object {
    Object::Pictures { camera, from: at(from), until: at(until), running }
}

// --- the table ------------------------------------------------------------------------------------------------------

/// Takes [`VIEWER`]'s place after the holder changed to it, and after an administrator's reset.
const CHANGED: usize = FREE;
const RESET: usize = FREE + 1;
const LEFT: usize = FREE + 2;
const STOLEN: usize = FREE + 3;
const MOVED: usize = FREE + 4;
const LOST: usize = FREE + 5;
const NOBODY: usize = FREE + 6;
/// Two posts: one lost a member with its second version, the other waits for it, because a colleague's key was revoked.
const DESK: usize = FREE + 7;
const DESK_NOW: usize = FREE + 8;
const STRANDED_DESK: usize = FREE + 9;
const MEMBER: usize = FREE + 10;
const LEAVER: usize = FREE + 11;
const STRANDED: usize = FREE + 12;
const COLLEAGUE: usize = FREE + 13;

/// Rows of the table: who, and the key that signs.
const ASKERS: [(&str, usize); 22] = [
    ("owner or reseller (no key here)", NOBODY),
    ("claim key, spent", CLAIM),
    ("the appliance's own key", DEVICE),
    ("custodian", SEAT),
    ("custodian, key revoked", OTHER_SEAT),
    ("administrator", ADMINISTRATOR),
    ("auditor", AUDITOR),
    ("viewer", VIEWER),
    ("external", EXTERNAL),
    ("technician who sets it up", TECHNICIAN),
    ("technician, another one", OTHER_TECHNICIAN),
    ("viewer, account removed", LEFT),
    ("viewer, key revoked", STOLEN),
    ("viewer, replaced key", MOVED),
    ("viewer, own new key", CHANGED),
    ("viewer, lost key", LOST),
    ("viewer, key after a reset", RESET),
    ("viewer of another appliance", VIEWER),
    ("post, with the post's key", DESK_NOW),
    ("post, its member", MEMBER),
    ("post, its former member", LEAVER),
    ("post out of office, its member", STRANDED),
];

/// Those who get the grant of a row, as far as the roster lets them have one.
const GRANTED: [usize; 12] = [
    ADMINISTRATOR,
    AUDITOR,
    VIEWER,
    EXTERNAL,
    TECHNICIAN,
    OTHER_TECHNICIAN,
    LEFT,
    STOLEN,
    MOVED,
    LOST,
    DESK,
    STRANDED_DESK,
];

/// A state of camera 1 and of everybody's grant.
type State = (&'static str, fn(&mut Office, usize));

fn all() -> Rights {
    Rights::ALL
}

/// Fridays, from and until in minutes of the day in UTC. [`NOW`] is a Friday, 08:00 there.
fn fridays(from: u16, until: u16) -> Option<WeeklyHours> {
    const FRIDAY: u16 = 4 * 24 * 60;
    Some(WeeklyHours { zone: "UTC".into(), spans: vec![Minutes { from: FRIDAY + from, until: FRIDAY + until }] })
}

const STATES: [State; 19] = [
    ("no grant", |_, _| {}),
    ("grant: live, playback, export", |o, to| {
        o.grant(to, all(), Cameras::All, (-2 * HOUR, HOUR));
    }),
    ("grant: live", |o, to| {
        o.grant(to, Rights::NONE.with(Right::Live), Cameras::All, (-2 * HOUR, HOUR));
    }),
    ("grant: playback", |o, to| {
        o.grant(to, Rights::NONE.with(Right::Playback), Cameras::All, (-2 * HOUR, HOUR));
    }),
    ("grant: export", |o, to| {
        o.grant(to, Rights::NONE.with(Right::Export), Cameras::All, (-2 * HOUR, HOUR));
    }),
    ("grant for this camera", |o, to| {
        o.grant(to, all(), Cameras::List(vec![camera(1), camera(2)]), (-2 * HOUR, HOUR));
    }),
    ("grant for another camera", |o, to| {
        o.grant(to, all(), Cameras::List(vec![camera(2)]), (-2 * HOUR, HOUR));
    }),
    ("grant of a window after the pictures", |o, to| {
        o.grant(to, all(), Cameras::All, (-60, HOUR));
    }),
    ("grant expired", |o, to| {
        o.grant(to, all(), Cameras::All, (-2 * HOUR, 0));
    }),
    ("grant expired and renewed", |o, to| {
        let grant = o.grant(to, all(), Cameras::All, (-2 * HOUR, 0));
        o.renew(grant, HOUR);
    }),
    ("grant not begun", |o, to| {
        o.grant(to, all(), Cameras::All, (60, HOUR));
    }),
    ("grant revoked", |o, to| {
        let grant = o.grant(to, all(), Cameras::All, (-2 * HOUR, HOUR));
        o.revoke(&[], &[grant]);
    }),
    ("grant in its hours", |o, to| {
        o.grant_in(fridays(6 * 60, 9 * 60), to, all(), Cameras::All, (-2 * HOUR, HOUR));
    }),
    ("grant outside its hours", |o, to| {
        o.grant_in(fridays(6 * 60, 8 * 60), to, all(), Cameras::All, (-2 * HOUR, HOUR));
    }),
    ("grant of hours after the pictures", |o, to| {
        o.grant_in(fridays(7 * 60, 9 * 60), to, all(), Cameras::All, (-2 * HOUR, HOUR));
    }),
    ("grant whose hours end in the pictures", |o, to| {
        let spans = vec![(6 * 60, 7 * 60 - 1), (7 * 60, 8 * 60 + 1)];
        let spans = spans.into_iter().flat_map(|(from, until)| fridays(from, until).expect("hours").spans).collect();
        o.grant_in(Some(WeeklyHours { zone: "UTC".into(), spans }), to, all(), Cameras::All, (-2 * HOUR, HOUR));
    }),
    ("camera removed; full grant", |o, to| {
        o.grant(to, all(), Cameras::All, (-2 * HOUR, HOUR));
    }),
    ("camera not registered; no grant", |_, _| {}),
    ("camera not registered; full grant", |o, to| {
        o.grant(to, all(), Cameras::All, (-2 * HOUR, HOUR));
    }),
];

static STAFFED: LazyLock<Office> = LazyLock::new(|| {
    let mut office = Office::staffed(VM);
    [LEFT, STOLEN, MOVED, LOST].into_iter().for_each(|index| office.employ(index, Role::Viewer));
    [MEMBER, LEAVER, STRANDED, COLLEAGUE].into_iter().for_each(|index| office.employ(index, Role::External));
    office.man(1, 1, DESK, &[MEMBER, LEAVER]);
    office.man(2, 1, STRANDED_DESK, &[STRANDED, COLLEAGUE]);
    office.mount(2);
    office.register(2);
    office.mount(1);
    office
});

fn in_state((name, grant): State) -> Verified<Roster> {
    let mut office = STAFFED.clone();
    if !name.starts_with("camera not registered") {
        office.register(1);
    }
    GRANTED.into_iter().for_each(|to| grant(&mut office, to));
    if name.starts_with("camera removed") {
        office.dismantle(1);
    }
    office.revoke(&[STOLEN, OTHER_SEAT, COLLEAGUE], &[]);
    office.man(1, 2, DESK_NOW, &[MEMBER]);
    office.remove(LEFT);
    office.change_key(MOVED, MOVED, CHANGED, ChangedBy::Holder);
    office.change_key(LOST, LOST, RESET, ChangedBy::Reset);
    office.roster()
}

/// Two spans of camera 1: the epoch that is running, and one an hour ago.
fn look(roster: &Verified<Roster>, who: &Principal, action: Action) -> bool {
    let object = if action == Action::WatchLive {
        pictures(camera(1), -30, 30, true)
    } else {
        pictures(camera(1), -HOUR - 60, -HOUR, false)
    };
    decide(roster, who.clone(), action, object, NOW).is_ok()
}

/// `yes`, `-`, or `401` where not even the key is known.
fn cell(who: &Result<Principal, Denied>, may: impl Fn(&Principal) -> bool) -> &'static str {
    match who {
        Err(_) => "401",
        Ok(who) if may(who) => "yes",
        Ok(_) => "-",
    }
}

fn asker(roster: &Verified<Roster>, name: &str, signer: usize) -> Result<Principal, Denied> {
    if name == "viewer of another appliance" {
        // His session is one there, whether his key is known here or not.
        return decide::authenticate(roster, &session(VmId([8; 16]), signer));
    }
    principal(roster, signer)
}

fn table() -> String {
    let mut out = String::from(
        "Who may do what. One line for each kind of asker and state; what is not \"yes\" is denied, \"401\" before anything\n\
         is looked up. Live is the running epoch, playback and export one of an hour ago; registered unless said otherwise.\n\
         Written by tests/access.rs from the decision itself (PERI_BLESS=1), compared byte for byte in every run.\n\n",
    );
    let mut line = |cells: &[&str]| {
        let cell = |(cell, width): (&&str, usize)| format!("{cell:<width$} ");
        let row: String = cells.iter().zip([32, 38, 7, 9, 7, 6]).map(cell).collect();
        writeln!(out, "{}", row.trim_end()).expect("text");
    };
    line(&["PICTURES", "", "live", "playback", "export"]);
    let states: Vec<_> = STATES.into_iter().map(|state| (state.0, in_state(state))).collect();
    for (name, signer) in ASKERS {
        for (state, roster) in &states {
            let who = asker(roster, name, signer);
            let [live, playback, export] = LOOKS.map(|action| cell(&who, |who| look(roster, who, action)));
            line(&[name, state, live, playback, export]);
        }
    }
    line(&["", "", "", "", ""]);
    line(&["READING, INVITING", "", "roster", "ledger", "health", "invite"]);
    let roster = &states[0].1;
    let founding = Office::claimed(VM).roster();
    let askers = ASKERS.into_iter().map(|(name, signer)| (name, asker(roster, name, signer), roster));
    let claim = ("claim key, before any seat", principal(&founding, CLAIM), &founding);
    for (name, who, roster) in askers.chain([claim]) {
        let may = |(action, object)| cell(&who, |who| decide(roster, who.clone(), action, object, NOW).is_ok());
        let [roster, ledger, health, invite] = HOUSE.map(may);
        line(&[name, "", roster, ledger, health, invite]);
    }
    out
}

#[test]
fn the_table_of_roles_actions_and_states_is_the_golden_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/authz-matrix.txt");
    let found = table();
    if std::env::var_os("PERI_BLESS").is_some() {
        std::fs::write(&path, &found).expect("the golden file is written");
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = golden.lines().zip(found.lines()).find(|(old, new)| old != new);
    assert!(
        golden == found,
        "rights changed (first line that differs: {differs:?}); if that is meant, run with PERI_BLESS=1 and have the\n\
         difference of tests/golden/authz-matrix.txt reviewed",
    );
}

#[test]
fn roles_that_run_the_place_never_look_in_any_state() {
    // The golden file says the same; this says it where nobody can bless it away.
    for state in STATES {
        let roster = in_state(state);
        for index in [CLAIM, SEAT, OTHER_SEAT, ADMINISTRATOR, AUDITOR, NOBODY, DEVICE, DESK, DESK_NOW, LEAVER] {
            let Ok(who) = principal(&roster, index) else { continue };
            for action in LOOKS {
                assert!(!look(&roster, &who, action), "key {index}, {action:?}, {}", state.0);
            }
        }
        let who = principal(&roster, TECHNICIAN).expect("a technician");
        let (registered, granted) = (!state.0.starts_with("camera not"), !state.0.contains("no grant"));
        assert!(!(registered && !granted && look(&roster, &who, Action::WatchLive)), "{}", state.0);
    }
}

#[test]
fn nothing_but_the_listed_pairs_of_action_and_object_is_ever_allowed() {
    let roster = in_state(STATES[1]);
    let live = pictures(camera(1), -30, 30, true);
    for action in HOUSE.map(|(action, _)| action).into_iter().chain(LOOKS).chain([Action::ProposeRoster]) {
        for object in HOUSE.map(|(_, object)| object).into_iter().chain([live]) {
            let fits = HOUSE.contains(&(action, object)) || object == live && action.needs().is_some();
            for index in [SEAT, ADMINISTRATOR, AUDITOR, VIEWER] {
                let who = principal(&roster, index).expect("in office");
                assert!(fits || decide(&roster, who, action, object, NOW).is_err(), "{action:?} of {object:?}");
            }
        }
    }
    let who = principal(&roster, VIEWER).expect("in office");
    let unknown = pictures(camera(9), -30, 30, true);
    let denied = decide(&roster, who, Action::WatchLive, unknown, NOW).expect_err("no such camera");
    assert!(matches!(denied, Denied::Grant(_)), "{denied}");
}

// --- facts ----------------------------------------------------------------------------------------------------------

fn facts(roster: &Verified<Roster>, who: &Principal) -> serde_json::Value {
    let facts = Facts::of_camera(roster, who, camera(1)).expect("known");
    let mut list = facts.entities().to_json_value().expect("entities have a JSON form");
    let list = list.as_array_mut().expect("a list");
    list.sort_by_key(|entity| entity["uid"].to_string());
    serde_json::Value::Array(list.clone())
}

fn fact(facts: &serde_json::Value, kind: &str, attribute: &str) -> serde_json::Value {
    let of_kind = |entity: &&serde_json::Value| entity["uid"]["type"] == kind;
    let mut found = facts.as_array().expect("a list").iter().filter(of_kind);
    found.next().map_or(serde_json::Value::Null, |entity| entity["attrs"][attribute].clone())
}

#[test]
fn nothing_that_a_request_says_becomes_a_fact() {
    let mut office = STAFFED.clone();
    office.grant(VIEWER, Rights::NONE.with(Right::Live), Cameras::All, (-HOUR, HOUR));
    let roster = office.roster();
    let honest = principal(&roster, VIEWER).expect("in office");
    let expected = facts(&roster, &honest);
    // Of a request only its session comes this far, and of that only whose it is.
    for (number, issued, until, channels) in [(4, -HOUR, HOUR, 1), (5, 0, 60, 4), (6, 60, 9 * HOUR, 2)] {
        let made = SessionKey::from_secret_bytes(&[number; 32]).expect("a small scalar is below the order");
        let claims = SignedCertificate::issue(VM, key(VIEWER), made.public(), at(issued), at(until), channels);
        let session = claims.verify(VM, key(VIEWER).public(), NOW).expect("a good certificate");
        let who = decide::authenticate(&roster, &session).expect("in office");
        assert_eq!(facts(&roster, &who), expected);
    }
}

#[test]
fn facts_about_a_post_are_its_present_members_and_all_its_keys() {
    let mut office = STAFFED.clone();
    office.grant(DESK, all(), Cameras::All, (-HOUR, HOUR));
    let of = |office: &Office, who| facts(&office.roster(), &principal(&STAFFED.roster(), who).expect("in office"));
    let ids = |set: serde_json::Value| -> BTreeSet<String> {
        let id = |entity: &serde_json::Value| entity["__entity"]["id"].as_str().expect("text").to_owned();
        set.as_array().expect("a set").iter().map(id).collect()
    };
    let people = |who: &[usize]| BTreeSet::from_iter(who.iter().map(|index| account(*index).to_string()));
    let keys = |of: &[usize]| BTreeSet::from_iter(of.iter().map(|index| fingerprint(*index).to_string()));
    let was = of(&office, LEAVER);
    assert_eq!(fact(&was, "Post", "inOffice"), true);
    assert_eq!(ids(fact(&was, "Post", "members")), people(&[MEMBER, LEAVER]));
    assert_eq!(ids(fact(&was, "Post", "keys")), keys(&[DESK]));
    assert_eq!(fact(&was, "Grant", "post")["__entity"]["id"], post(1).to_string());
    assert_eq!(fact(&was, "Grant", "account"), serde_json::Value::Null);
    assert_eq!(fact(&of(&office, VIEWER), "Post", "members"), serde_json::Value::Null, "a post of others");

    office.man(1, 2, DESK_NOW, &[MEMBER]);
    // Who left is still told apart by the policies, not by a grant that is kept from them.
    let left = of(&office, LEAVER);
    assert_eq!(ids(fact(&left, "Post", "members")), people(&[MEMBER]));
    assert_eq!(fact(&left, "Grant", "post")["__entity"]["id"], post(1).to_string());
    assert_eq!(ids(fact(&left, "Post", "keys")), keys(&[DESK, DESK_NOW]));

    office.revoke(&[DESK], &[]);
    let revoked = of(&office, MEMBER);
    assert_eq!(ids(fact(&revoked, "Post", "keys")), keys(&[DESK_NOW]));
    assert_eq!(fact(&revoked, "Post", "inOffice"), true);
    office.remove(MEMBER);
    assert_eq!(fact(&of(&office, LEAVER), "Post", "inOffice"), false);
}

#[test]
fn every_fact_follows_the_roster_and_not_the_moment_of_authentication() {
    let mut office = STAFFED.clone();
    let grant = office.grant(VIEWER, Rights::NONE.with(Right::Live), Cameras::List(vec![camera(1)]), (-HOUR, HOUR));
    let before = office.roster();
    let who = principal(&before, VIEWER).expect("in office");
    let was = facts(&before, &who);
    assert_eq!(fact(&was, "Account", "role")["__entity"]["id"], "viewer");
    assert_eq!(fact(&was, "Grant", "rights")[0]["__entity"]["id"], "live");
    assert_eq!(fact(&was, "Grant", "cameras")[0]["__entity"]["id"], camera(1).to_string());
    assert_eq!(fact(&was, "Grant", "until"), at(HOUR).0);
    assert_eq!(fact(&was, "Camera", "setUpBy")["__entity"]["id"], account(TECHNICIAN).to_string());
    for (kind, attribute) in [
        ("Account", "removed"),
        ("Account", "keyRevoked"),
        ("Camera", "registered"),
        ("Camera", "removed"),
        ("Grant", "revoked"),
    ] {
        assert_eq!(fact(&was, kind, attribute), false, "{kind}.{attribute}");
    }
    assert_eq!(fact(&was, "Account", "keys").as_array().expect("a set").len(), 1);

    // The same principal, proven under the old roster, on the new one.
    type Change = fn(&mut Office, Nonce);
    let changes: [(&str, &str, Change, serde_json::Value); 8] = [
        ("Account", "removed", |o, _| o.remove(VIEWER), true.into()),
        ("Account", "keyRevoked", |o, _| o.revoke(&[VIEWER], &[]), true.into()),
        ("Camera", "registered", |o, _| o.register(1), true.into()),
        ("Camera", "removed", |o, _| o.dismantle(1), true.into()),
        ("Grant", "revoked", |o, grant| o.revoke(&[], &[grant]), true.into()),
        ("Grant", "until", |o, grant| o.renew(grant, 2 * HOUR), at(2 * HOUR).0.into()),
        ("Account", "key", |o, _| o.change_key(VIEWER, VIEWER, CHANGED, ChangedBy::Reset), entity_of(CHANGED)),
        ("Account", "key", |o, _| o.change_key(VIEWER, VIEWER, RESET, ChangedBy::Holder), entity_of(RESET)),
    ];
    for (kind, attribute, change, now) in changes {
        let mut office = office.clone();
        change(&mut office, grant);
        let roster = office.roster();
        assert_eq!(fact(&facts(&roster, &who), kind, attribute), now, "{kind}.{attribute}");
        let out = matches!((kind, attribute), ("Account", _));
        let reads = decide(&roster, who.clone(), Action::ReadRoster, Object::Roster, NOW).is_ok();
        assert_eq!(reads, !out, "{kind}.{attribute}: a principal that is out of office by now");
    }
    let mut office = office.clone();
    office.change_key(VIEWER, VIEWER, CHANGED, ChangedBy::Holder);
    let keys = fact(&facts(&office.roster(), &who), "Account", "keys");
    assert_eq!(keys.as_array().expect("a set").len(), 2, "grants to the key before go on");
}

fn entity_of(index: usize) -> serde_json::Value {
    serde_json::json!({ "__entity": { "type": "Key", "id": fingerprint(index).to_string() } })
}

// --- agreement with keeper ------------------------------------------------------------------------------------------

/// The rule once more, from the roster's own account of its grants and without the policies.
fn roster_says(
    roster: &Verified<Roster>,
    who: &Principal,
    action: Action,
    (camera, from, until, running): (CameraId, UtcNanos, UtcNanos, bool),
    now: UtcNanos,
) -> bool {
    (action != Action::WatchLive || running)
        && roster.grant_for(who.fingerprint(), camera, action, from, until, now).is_ok()
}

/// Every key that ever was in office, proven under the first roster, and those in office now.
fn askers(roster: &Verified<Roster>) -> Vec<Principal> {
    let first = lives::MOUNTED.roster();
    let stale = (0..FREE).filter_map(|index| principal(&first, index).ok());
    let present = (0..FREE + 3).filter_map(|index| principal(roster, index).ok());
    stale.chain(present).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Two independent readings of one roster: the policies, and the roster's own.
    #[test]
    fn policies_and_roster_agree_on_every_question(events in prop::collection::vec(event(), 0..14), now in moment()) {
        let roster = lived(&events).roster();
        let now = at(now);
        let spans = [(-1200, -600), (-600, 0), (-600, 600), (-300, 300), (0, 600), (600, 600)];
        for who in askers(&roster) {
            for number in 1..=4 {
                let camera = camera(number);
                for action in LOOKS {
                    for (from, until) in spans {
                        for running in [false, true] {
                            let (from, until) = (at(from), at(until));
                            let object = Object::Pictures { camera, from, until, running };
                            let allowed = decide(&roster, who.clone(), action, object, now);
                            let expected = roster_says(&roster, &who, action, (camera, from, until, running), now);
                            prop_assert_eq!(allowed.is_ok(), expected, "{:?} {:?} {:?}", who.standing(), action, object);
                            prop_assert!(!matches!(allowed, Err(Denied::Policy)));
                        }
                    }
                }
            }
        }
    }

    /// Nobody gets the X of an epoch whose E keeper would not wrap for him, and who has E and the right to play back now
    /// gets X.
    #[test]
    fn x_goes_to_those_to_whom_keeper_wraps_e(events in prop::collection::vec(event(), 0..14), now in moment()) {
        let roster = lived(&events).roster();
        let now = at(now);
        for who in askers(&roster) {
            for number in 1..=3 {
                let camera = camera(number);
                let removed = roster.removed(camera);
                for tick in -5..5 {
                    let (from, until) = (at(tick * 600), at(tick * 600 + 600));
                    let wrapped = |at| {
                        let keys = roster.recipients(camera, at).expect("few recipients");
                        let asker = roster.account_by_key(who.fingerprint()).map(Account::id);
                        let named = |post: &&PostState| {
                            post.present().members.iter().any(|member| Some(member.account) == asker)
                        };
                        let posts: Vec<_> =
                            roster.posts().filter(named).map(|post| post.present().key.fingerprint()).collect();
                        keys.iter().any(|(_, key)| *key == who.fingerprint() || posts.contains(key))
                    };
                    for action in LOOKS {
                        let running = from <= now && now < until;
                        let object = Object::Pictures { camera, from, until, running };
                        let allowed = decide(&roster, who.clone(), action, object, now).is_ok();
                        // Of a removed camera nothing is wrapped any more; its past was wrapped before.
                        prop_assert!(!allowed || removed || wrapped(from) && wrapped(until - std::time::Duration::from_nanos(1)));
                        if action != Action::WatchLive && !removed && wrapped(from) {
                            let right = action.needs().expect("a look");
                            let granted = match who.standing() {
                                Standing::Account(id, _) => {
                                    let own = roster.account(id).expect("known").chain().collect();
                                    let through = roster.posts_of(id).map(|post| {
                                        let keys = post.versions().map(|version| version.key.fingerprint());
                                        let keys = keys.filter(|key| !roster.revoked_keys().contains(key)).collect();
                                        (post.present().id, keys)
                                    });
                                    let holders: Vec<(_, Vec<_>)> = core::iter::once((id, own)).chain(through).collect();
                                    // Hours change on the grid of the pictures alone.
                                    holders.iter().any(|(holder, keys)| roster.grants_of(*holder).any(|(_, state)| {
                                        !state.revoked && state.grant.rights.has(right)
                                            && state.grant.cameras.contains(camera)
                                            && keys.contains(&state.grant.recipient)
                                            && state.holds_at(from) && until <= state.until && state.holds_at(now)
                                    }))
                                }
                                _ => false,
                            };
                            let registered = roster.camera(camera).is_some_and(|camera| camera.registered);
                            prop_assert_eq!(allowed, granted && registered, "{:?} {:?}", who.standing(), object);
                        }
                    }
                }
            }
        }
    }

    /// What the list of recordings shows is what each of them would be given on asking.
    #[test]
    fn windows_are_made_of_spans_that_are_allowed(
        events in prop::collection::vec(event(), 0..14), now in moment(), span in (-6..6_i64, 1..6_i64)
    ) {
        let roster = lived(&events).roster();
        let now = at(now);
        // Of the epochs that touch it, some begin before it and some end after it.
        let span = (at(span.0 * 600 + 300), at((span.0 + span.1) * 600 + 300));
        for who in askers(&roster) {
            for number in 1..=3 {
                for action in [Action::PlayBack, Action::Export] {
                    let windows = decide::windows(&roster, &who, action, camera(number), span, now);
                    for tick in -6..6 {
                        let (from, until) = (at(tick * 600), at(tick * 600 + 600));
                        if from >= span.1 || until <= span.0 || from > now {
                            continue;
                        }
                        let listed = windows.iter().any(|window| window.0 <= from && until <= window.1);
                        let object = Object::Pictures { camera: camera(number), from, until, running: false };
                        prop_assert_eq!(listed, decide(&roster, who.clone(), action, object, now).is_ok());
                    }
                }
            }
        }
    }
}

// --- cost -----------------------------------------------------------------------------------------------------------

/// A decision stands before every disclosure in scribe's one thread.
#[test]
fn a_decision_costs_far_less_than_the_signature_it_follows() {
    let mut office = STAFFED.clone();
    office.register(1);
    office.grant(VIEWER, all(), Cameras::All, (-2 * HOUR, HOUR));
    let roster = office.roster();
    let who = principal(&roster, VIEWER).expect("in office");
    let ask = || look(&roster, &who, Action::PlayBack);
    assert!(ask());
    let rounds = 2000;
    // Of this thread's processor time: how busy the machine is does not count.
    let spent = || std::time::Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a clock"));
    let begin = spent();
    (0..rounds).for_each(|_| assert!(ask()));
    let each = (spent() - begin) / rounds;
    assert!(each < std::time::Duration::from_millis(2), "{each:?} per decision");
}
