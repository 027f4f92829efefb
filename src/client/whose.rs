//! Whose keys a statement is about, in the ten words that people compare before they sign.
//!
//! The one line that says what a statement does names a key by sixteen digits, which nobody reads aloud. What does not
//! belong: that line (`peri_roster`), and what is done with a statement ([`crate::propose`]). Invariants: the words are
//! those of the key in the statement itself; the name of a key that is in the roster already comes from the verified
//! roster by that very key, never from what the statement says of it. A key that the statement enters brings its name
//! along, and that name is a claim: so compare the words.

use peri_domain::{Fingerprint, Nonce};
use peri_roster::body::{Body, Post};
use peri_roster::{Owner, Roster};
use peri_seal::words::words;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What a statement names: a key, or something whose key only the roster could tell.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Named {
    Key(Fingerprint),
    /// `account …`, `grant …`: the roster at hand does not know it.
    Unknown(String),
}

/// A key in a statement, and its holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whose {
    /// What the statement does with the key: `to`, `new key`, `member`.
    part: &'static str,
    /// Name and kind of the holder; `None`: the roster at hand knows no such key.
    holder: Option<(String, String)>,
    named: Named,
}

impl Whose {
    /// A key that the statement enters, under the name it brings along.
    fn entered(part: &'static str, name: &str, kind: String, key: Fingerprint) -> Self {
        Self { part, holder: Some((name.to_owned(), kind)), named: Named::Key(key) }
    }

    /// A key that is in the roster, if it is.
    fn known(part: &'static str, key: Fingerprint, roster: Option<&Roster>) -> Self {
        Self { part, holder: roster.and_then(|roster| holder(roster, key)), named: Named::Key(key) }
    }

    /// Something of which the roster at hand cannot say whose it is.
    fn unknown(part: &'static str, what: String) -> Self {
        Self { part, holder: None, named: Named::Unknown(what) }
    }

    /// One line.
    fn line(&self) -> String {
        let named = match &self.named {
            Named::Key(key) => format!("key: {}", in_words(key)),
            Named::Unknown(what) => what.clone(),
        };
        match &self.holder {
            Some((name, kind)) => format!("{}: {name} ({kind}), {named}", self.part),
            None => format!("{}: NOBODY in the roster that this home saw last, {named}", self.part),
        }
    }

    fn json(&self) -> Value {
        let (name, kind) = self.holder.as_ref().map(|(name, kind)| (name, kind)).unzip();
        let (key, unknown) = match &self.named {
            Named::Key(key) => (Some(key), None),
            Named::Unknown(what) => (None, Some(what)),
        };
        let words = key.map(in_words);
        json!({ "part": self.part, "name": name, "kind": kind, "key": key, "words": words, "unknown": unknown })
    }
}

/// The ten words of a key.
#[must_use]
pub fn in_words(key: &Fingerprint) -> String {
    words(key).join(" ")
}

/// The keys that a statement entitles, enters, replaces or ends; `roster`: the verified one that names their holders.
#[must_use]
pub fn of(body: &Body, roster: Option<&Roster>) -> Vec<Whose> {
    match body {
        Body::Seat(b) => vec![Whose::entered("seat", &b.name, format!("seat {}", b.index), b.key.fingerprint())],
        Body::SeatHandover(b) => {
            let (seat, kind) = (&b.seat, format!("seat {}", b.seat.index));
            vec![Whose::known("from", b.from, roster), Whose::entered("to", &seat.name, kind, seat.key.fingerprint())]
        }
        Body::Account(b) => vec![Whose::entered("account", &b.name, b.role.to_string(), b.key.fingerprint())],
        Body::AccountRemoval(b) => {
            let account = roster.and_then(|roster| roster.account(b.account));
            vec![account.map_or_else(
                || Whose::unknown("removed", format!("account {}", b.account)),
                |account| Whose::known("removed", account.key().1, roster),
            )]
        }
        Body::KeyChange(b) => {
            let old = Whose::known("old key", b.old, roster);
            let new = Whose { part: "new key", named: Named::Key(b.new.fingerprint()), ..old.clone() };
            vec![old, new]
        }
        Body::Grant(b) => recipient(b.recipient, roster),
        Body::GrantRenewal(b) => {
            let grants: BTreeMap<Nonce, Fingerprint> =
                roster.into_iter().flat_map(Roster::grants).map(|(id, state)| (id, state.grant.recipient)).collect();
            let keys: BTreeSet<Fingerprint> = b.grants.iter().filter_map(|id| grants.get(id).copied()).collect();
            let mut all: Vec<Whose> = keys.into_iter().flat_map(|key| recipient(key, roster)).collect();
            let unknown = b.grants.iter().filter(|id| !grants.contains_key(id));
            all.extend(unknown.map(|id| Whose::unknown("to", format!("grant {id}"))));
            all
        }
        Body::Release(b) => recipient(b.recipient, roster),
        Body::Revocation(b) => b.keys.iter().map(|key| Whose::known("revoked", *key, roster)).collect(),
        Body::Post(b) => {
            let mut all = vec![Whose::entered("post", &b.name, format!("version {}", b.serial), b.key.fingerprint())];
            all.extend(members(b, roster));
            all
        }
        _ => vec![],
    }
}

/// Whoever looks by a grant: an account, or a post with each of its members.
fn recipient(key: Fingerprint, roster: Option<&Roster>) -> Vec<Whose> {
    let mut all = vec![Whose::known("to", key, roster)];
    if let Some(known) = roster
        && let Some(Owner::Post(id)) = known.owner(key)
        && let Some(post) = known.post(id)
    {
        all.extend(members(post.present(), roster));
    }
    all
}

fn members(post: &Post, roster: Option<&Roster>) -> Vec<Whose> {
    post.members.iter().map(|member| Whose::known("member", member.key, roster)).collect()
}

/// Name and kind of whoever holds or held a key.
fn holder(roster: &Roster, key: Fingerprint) -> Option<(String, String)> {
    Some(match roster.owner(key)? {
        Owner::Claim => ("claim".into(), "claim key".into()),
        Owner::Device => ("appliance".into(), "device key".into()),
        Owner::Seat(index) => {
            let seat = roster.seats().find(|seat| seat.fingerprint == key);
            let kind = if seat.is_some() { format!("seat {index}") } else { format!("held seat {index} before") };
            (seat.map_or_else(String::new, |seat| seat.name), kind)
        }
        Owner::Account(id) => {
            let account = roster.account(id)?;
            let past = if account.key().1 == key { "" } else { ", not the present key" };
            (account.name().to_owned(), format!("{}{past}", account.role()))
        }
        Owner::Post(id) => {
            let post = roster.post(id)?.present();
            let past = if post.key.fingerprint() == key { "" } else { ", of an earlier version" };
            (post.name.clone(), format!("post{past}"))
        }
    })
}

/// One line each, below what the statement does; nothing where no key is meant.
#[must_use]
pub fn lines(all: &[Whose]) -> String {
    all.iter().map(|one| format!("\n  {}", one.line())).collect()
}

/// For programs.
#[must_use]
pub fn document(all: &[Whose]) -> Value {
    all.iter().map(Whose::json).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use peri_domain::{AccountId, Rights, Role, UtcNanos};
    use peri_roster::body::{AccountRemoval, Cameras, Grant, GrantRenewal, NewAccount};
    use peri_seal::keys::KeyPair;
    use peri_seal::rng;

    #[test]
    fn a_new_account_is_shown_with_the_words_of_the_key_it_enters() {
        let pair = KeyPair::generate(&mut rng::system());
        let key = pair.public().clone();
        let account = NewAccount { id: AccountId([1; 16]), role: Role::Viewer, name: "anna".into(), key };
        let all = of(&Body::Account(Box::new(account)), None);
        let expected = in_words(&pair.fingerprint());
        assert_eq!(lines(&all), format!("\n  account: anna (viewer), key: {expected}"));
        assert_eq!(document(&all)[0]["words"], expected);
    }

    #[test]
    fn a_recipient_whom_the_roster_does_not_know_has_no_name_but_words() {
        let grant = Grant {
            recipient: Fingerprint([7; 32]),
            account: AccountId([1; 16]),
            rights: Rights::ALL,
            cameras: Cameras::All,
            from: UtcNanos(0),
            until: UtcNanos(1),
            weekly: None,
        };
        let all = of(&Body::Grant(Box::new(grant)), None);
        let text = lines(&all);
        assert!(text.contains("NOBODY") && text.contains(&in_words(&Fingerprint([7; 32]))), "{text}");
        assert!(document(&all)[0]["name"].is_null());
    }

    #[test]
    fn a_removal_and_a_renewal_that_the_roster_does_not_know_are_not_passed_over_in_silence() {
        let (account, grant) = (AccountId([3; 16]), Nonce([4; 16]));
        let removal = Body::AccountRemoval(AccountRemoval { account });
        let renewal = Body::GrantRenewal(GrantRenewal { grants: vec![grant], until: UtcNanos(1) });
        for (body, what) in [(removal, format!("account {account}")), (renewal, format!("grant {grant}"))] {
            let all = of(&body, None);
            let text = lines(&all);
            assert!(text.contains("NOBODY in the roster that this home saw last") && text.ends_with(&what), "{text}");
            let document = document(&all);
            assert!(document[0]["key"].is_null() && document[0]["unknown"] == what, "{document}");
        }
    }
}
