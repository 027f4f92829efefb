//! `peri roster show` and `peri health`.

use crate::commands::camera::trust_word;
use crate::context::Context;
use crate::exit::Error;
use crate::propose::ProposeArgs;
use crate::times::human;
use crate::ui::Report;
use crate::vault::KeyKind;
use crate::whose::in_words;
use clap::Subcommand;
use peri_access::wire::{Health, Method};
use peri_domain::{AccountId, Role, UtcNanos};
use peri_roster::body::Cameras;
use peri_roster::{Roster, RosterSet, Statement, Status};
use serde_json::{Value, json};

/// `peri roster …`
#[derive(Debug, Subcommand)]
pub enum RosterCommand {
    /// Fetch and verify the roster, then show seats, accounts, posts, cameras, grants, profile and what waits
    Show,
    /// Propose a snapshot: k seats vouch for the statements so far, so that the appliance starts fast with many
    Snapshot {
        /// Who signs.
        #[command(flatten)]
        propose: ProposeArgs,
    },
    /// Hand every statement that this home has seen back to an appliance that lost some
    Restore,
}

/// Runs `peri roster show`.
///
/// # Errors
/// [`Error`].
pub fn roster(context: &mut Context) -> Result<Report, Error> {
    let mut session = context.session()?;
    let who = context.reader()?;
    let known = session.roster(context, &who)?;
    let now = context.now();
    let document = document(&known.roster, &known.set, now);
    Ok(Report::new(text(&document), document))
}

fn document(roster: &Roster, set: &RosterSet, now: UtcNanos) -> Value {
    let seats: Vec<_> = roster
        .seats()
        .map(|seat| {
            json!({
                "seat": seat.index, "name": seat.name, "key": seat.fingerprint, "words": in_words(&seat.fingerprint),
                "revoked": seat.revoked,
            })
        })
        .collect();
    let accounts: Vec<_> = roster
        .accounts()
        .map(|account| {
            let key = account.key().1;
            json!({
                "account": account.id(), "name": account.name(), "role": account.role(), "key": key,
                "words": in_words(&key),
                "in_office": roster.account_by_key(key).is_some(), "removed": account.removed(),
            })
        })
        .collect();
    let posts: Vec<_> = roster
        .posts()
        .map(|state| {
            let post = state.present();
            let key = post.key.fingerprint();
            let members: Vec<_> = post.members.iter().map(|member| name_of(roster, member.account)).collect();
            json!({
                "post": post.id, "name": post.name, "version": post.serial, "key": key,
                "words": in_words(&key), "members": members, "in_office": roster.post_in_office(state),
            })
        })
        .collect();
    let cameras: Vec<_> = roster
        .cameras()
        .map(|camera| {
            json!({
                "camera": camera.id, "name": camera.setup.name, "url": camera.setup.url,
                "trust": trust_word(roster, camera.id), "registered": camera.registered, "removed": camera.removed,
            })
        })
        .collect();
    let grants: Vec<_> = roster
        .grants()
        .map(|(id, state)| {
            let grant = &state.grant;
            let cameras = match &grant.cameras {
                Cameras::All => json!("all"),
                Cameras::List(list) => json!(list),
            };
            let whose = name_of(roster, grant.account);
            json!({
                "grant": id, "account": grant.account, "name": whose, "key": grant.recipient,
                "rights": grant.rights.to_string(), "cameras": cameras,
                "from": grant.from.to_string(), "until": state.until.to_string(),
                "hours": grant.weekly.as_ref().map(|hours| hours.describe()),
                "state": if state.revoked { "revoked" } else if now >= state.until { "ended" } else { "in force" },
            })
        })
        .collect();
    json!({
        "vm": roster.vm(), "head": roster.head(), "statements": roster.len(),
        "threshold": roster.threshold().map(|t| json!({ "k": t.k, "n": t.n })),
        "seat_set": roster.seat_set(), "seats": seats, "accounts": accounts, "posts": posts, "cameras": cameras,
        "grants": grants,
        "profile": roster.profile().map(|profile| json!({
            "serial": profile.serial, "k": profile.k, "n": profile.n, "told": profile.told,
            "retention_ceiling_secs": profile.retention_ceiling_secs, "audio": profile.audio,
            "masks": profile.masks.len(), "exceptions": profile.exceptions,
        })),
        "retention_secs": roster.retention().as_secs(), "pending": pending(set),
    })
}

/// Name of an account or post.
fn name_of(roster: &Roster, id: AccountId) -> String {
    let account = roster.account(id).map(|account| account.name().to_owned());
    account.or_else(|| roster.post(id).map(|post| post.present().name.clone())).unwrap_or_default()
}

/// Statements without effect so far.
fn pending(set: &RosterSet) -> Vec<Value> {
    set.statements()
        .filter_map(|(id, bytes)| {
            let why = match set.status(id)? {
                Status::Effective => return None,
                Status::Waiting(why) | Status::Void(why) => why.to_string(),
            };
            let what = Statement::from_bytes(bytes).ok()?.describe();
            Some(json!({ "id": id, "what": what, "why": why }))
        })
        .collect()
}

fn text(document: &Value) -> String {
    let word = |value: &Value, key: &str| value[key].as_str().map_or_else(|| value[key].to_string(), str::to_owned);
    let mut out = format!(
        "appliance {}\nhead {} over {} statements\nretention {}",
        word(document, "vm"),
        word(document, "head"),
        word(document, "statements"),
        human(std::time::Duration::from_secs(document["retention_secs"].as_u64().unwrap_or(0))),
    );
    if let Some(threshold) = document["threshold"].as_object() {
        out.push_str(&format!("\n{} of {} seats decide together", threshold["k"], threshold["n"]));
    }
    if let Some(profile) = document["profile"].as_object() {
        let ceiling = std::time::Duration::from_secs(profile["retention_ceiling_secs"].as_u64().unwrap_or(0));
        out.push_str(&format!("\nprofile {}: retention up to {}, no audio", profile["serial"], human(ceiling)));
        for (key, title) in [("told", "told"), ("exceptions", "exception")] {
            let lines = profile[key].as_array().into_iter().flatten().filter_map(Value::as_str);
            lines.for_each(|line| out.push_str(&format!("\n  {title}: {line}")));
        }
    }
    let mut section = |title: &str, key: &str, line: &dyn Fn(&Value) -> String| {
        let items = document[key].as_array().map_or(&[][..], Vec::as_slice);
        if !items.is_empty() {
            out.push_str(&format!("\n\n{title}"));
            items.iter().for_each(|item| out.push_str(&format!("\n  {}", line(item))));
        }
    };
    let flag = |item: &Value, key: &str, text: &'static str| if item[key] == true { text } else { "" };
    section("Seats", "seats", &|s| {
        let (name, state) = (word(s, "name"), flag(s, "revoked", "  REVOKED"));
        format!("{} {name:<20} {}{state}\n      {}", s["seat"], word(s, "key"), word(s, "words"))
    });
    section("Accounts", "accounts", &|a| {
        let gone = if a["removed"] == true { "  removed" } else { flag_not(a, "in_office", "  REVOKED") };
        let (name, role, words) = (word(a, "name"), word(a, "role"), word(a, "words"));
        format!("{name:<20} {role:<14} {}{gone}\n      {words}", word(a, "account"))
    });
    section("Posts", "posts", &|p| {
        let names: Vec<_> = p["members"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let state = flag_not(p, "in_office", "  PAUSED: a member or the key is out of office; peri post change");
        let (name, members, words) = (word(p, "name"), names.join(", "), word(p, "words"));
        format!("{name:<20} version {}  {}: {members}{state}\n      {words}", p["version"], word(p, "post"))
    });
    section("Cameras", "cameras", &|c| {
        let state = if c["removed"] == true { "removed" } else { flag_not(c, "registered", "NOT REGISTERED") };
        format!("{:<20} {} {:<10} {}  {state}", word(c, "name"), word(c, "camera"), word(c, "trust"), word(c, "url"))
    });
    section("Grants", "grants", &|g| {
        let cameras =
            g["cameras"].as_array().map_or_else(|| "all cameras".into(), |list| format!("{} cameras", list.len()));
        format!(
            "{} {:<20} {} on {cameras}, {} to {}{}  {}",
            word(g, "grant"),
            word(g, "name"),
            word(g, "rights"),
            word(g, "from"),
            word(g, "until"),
            g["hours"].as_str().map_or_else(String::new, |hours| format!(", only {hours}")),
            word(g, "state")
        )
    });
    section("Waiting", "pending", &|p| format!("{} ({})", word(p, "what"), word(p, "why")));
    out
}

fn flag_not(item: &Value, key: &str, text: &'static str) -> &'static str {
    if item[key] == true { "" } else { text }
}

/// Runs `peri health`.
///
/// # Errors
/// [`Error`].
pub fn health(context: &mut Context) -> Result<Report, Error> {
    let mut session = context.session()?;
    let who = context.requester(|file| match file.kind {
        KeyKind::Seat => true,
        KeyKind::Account { role, .. } => matches!(role, Role::Administrator | Role::Auditor),
        KeyKind::Claim => false,
    })?;
    let vm = session.vm();
    let health: Health = session.conn.request(vm, Method::Health, &(), &who)?;
    let known = session.roster(context, &who)?;
    let name = |id| known.roster.camera(id).map_or_else(|| format!("{id}"), |camera| camera.setup.name.clone());
    let mut text = format!("clock {}, {:.1} GB free", health.now, health.free_bytes as f64 / 1e9);
    let mut cameras = Vec::new();
    for camera in &health.cameras {
        let name = name(camera.camera);
        let until = camera.recorded_until;
        let age = until.map_or_else(
            || "no picture yet".into(),
            |until| format!("recorded until {} ago", human(health.now.saturating_since(until))),
        );
        let state = if camera.lost.is_empty() { "recording".into() } else { format!("NOT RECORDING: {}", camera.lost) };
        text.push_str(&format!("\n  {name:<20} {age}, {state}"));
        cameras.push(json!({
            "camera": camera.camera, "name": name, "recorded_until": until.map(|until| until.to_string()),
            "lost": camera.lost, "epoch": camera.epoch.map(|epoch| epoch.0),
        }));
    }
    for (title, lines) in [("ALARM", &health.alarms), ("notice", &health.notices)] {
        lines.iter().for_each(|line| text.push_str(&format!("\n{title}: {line}")));
    }
    let document = json!({
        "now": health.now.to_string(), "free_bytes": health.free_bytes, "cameras": cameras,
        "alarms": health.alarms, "notices": health.notices,
    });
    Ok(Report::new(text, document))
}
