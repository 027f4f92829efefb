//! Names to things: cameras, accounts, grants and seats by name, id or the beginning of an id.
//!
//! Invariant: a name that fits two things is refused, never guessed.

use crate::exit::Error;
use peri_domain::{AccountId, CameraId, Fingerprint, Nonce};
use peri_roster::body::Cameras;
use peri_roster::roster::{Account, Camera, GrantState, SeatHolder};
use peri_roster::{PostState, Roster, RosterError};

/// Shortest beginning of an id that is taken for one: 32 bits.
const PREFIX_MIN: usize = 8;

/// A camera that is not removed.
///
/// # Errors
/// [`Error::Usage`] names what there is.
pub fn camera<'a>(roster: &'a Roster, text: &str) -> Result<&'a Camera, Error> {
    let cameras: Vec<_> = roster.cameras().filter(|camera| !camera.removed).collect();
    one("camera", text, &cameras, |camera| (camera.setup.name.clone(), camera.id.to_string())).copied()
}

/// Cameras of a grant: `all`, or names separated by commas.
///
/// # Errors
/// [`Error::Usage`].
pub fn cameras(roster: &Roster, text: &str) -> Result<Cameras, Error> {
    if text == "all" {
        return Ok(Cameras::All);
    }
    let mut list = text
        .split(',')
        .map(|name| camera(roster, name.trim()).map(|camera| camera.id))
        .collect::<Result<Vec<CameraId>, _>>()?;
    list.sort_unstable();
    list.dedup();
    Ok(Cameras::List(list))
}

/// An account that is not removed.
///
/// # Errors
/// [`Error::Usage`].
pub fn account<'a>(roster: &'a Roster, text: &str) -> Result<&'a Account, Error> {
    let accounts: Vec<_> = roster.accounts().filter(|account| !account.removed()).collect();
    one("account", text, &accounts, |account| (account.name().to_owned(), account.id().to_string())).copied()
}

/// A post.
///
/// # Errors
/// [`Error::Usage`].
pub fn post<'a>(roster: &'a Roster, text: &str) -> Result<&'a PostState, Error> {
    let posts: Vec<_> = roster.posts().collect();
    one("post", text, &posts, |post| (post.present().name.clone(), post.present().id.to_string())).copied()
}

/// Who may receive a grant: an account, or a post; its id and present key.
///
/// # Errors
/// [`Error::Usage`].
pub fn recipient(roster: &Roster, text: &str) -> Result<(AccountId, Fingerprint), Error> {
    if let Some(seat) = roster.seats().find(|seat| seat.name == text || seat.fingerprint.to_string() == text) {
        return Err(RosterError::GrantForCustodian { key: seat.fingerprint }.into());
    }
    let mut all: Vec<(String, AccountId, Fingerprint)> = roster
        .accounts()
        .filter(|account| !account.removed())
        .map(|account| (account.name().to_owned(), account.id(), account.key().1))
        .collect();
    let posts = roster.posts().map(PostState::present);
    all.extend(posts.map(|post| (post.name.clone(), post.id, post.key.fingerprint())));
    one("account or post", text, &all, |(name, id, _)| (name.clone(), id.to_string())).map(|(_, id, key)| (*id, *key))
}

/// A seat by number or name.
///
/// # Errors
/// [`Error::Usage`].
pub fn seat(roster: &Roster, text: &str) -> Result<SeatHolder, Error> {
    let seats: Vec<_> = roster.seats().collect();
    if let Some(seat) = text.parse().ok().and_then(|index: u8| seats.iter().find(|seat| seat.index == index)) {
        return Ok(seat.clone());
    }
    one("seat", text, &seats, |seat| (seat.name.clone(), seat.fingerprint.to_string())).cloned()
}

/// A grant by its id.
///
/// # Errors
/// [`Error::Usage`].
pub fn grant<'a>(roster: &'a Roster, text: &str) -> Result<(Nonce, &'a GrantState), Error> {
    let grants: Vec<_> = roster.grants().collect();
    one("grant", text, &grants, |(id, _)| (id.to_string(), id.to_string())).copied()
}

/// A key: a fingerprint, or the present key of an account, seat or post.
///
/// # Errors
/// [`Error::Usage`].
pub fn key(roster: &Roster, text: &str) -> Result<Fingerprint, Error> {
    if let Ok(fingerprint) = text.parse() {
        return Ok(fingerprint);
    }
    let mut holders: Vec<(String, Fingerprint)> =
        roster.accounts().map(|account| (account.name().to_owned(), account.key().1)).collect();
    holders.extend(roster.seats().map(|seat| (seat.name, seat.fingerprint)));
    holders.extend(roster.posts().map(|post| (post.present().name.clone(), post.present().key.fingerprint())));
    one("holder of a key", text, &holders, |(name, key)| (name.clone(), key.to_string())).map(|(_, key)| *key)
}

fn one<'a, T>(what: &str, text: &str, all: &'a [T], names: impl Fn(&T) -> (String, String)) -> Result<&'a T, Error> {
    let by = |fits: &dyn Fn(&str, &str) -> bool| -> Vec<&'a T> {
        all.iter()
            .filter(|item| {
                let (name, id) = names(item);
                fits(&name, &id)
            })
            .collect()
    };
    let exact = by(&|name, id| name == text || id == text);
    let found = if exact.is_empty() && text.len() >= PREFIX_MIN { by(&|_, id| id.starts_with(text)) } else { exact };
    match found.as_slice() {
        [one] => Ok(one),
        [] => {
            let known: Vec<_> = all.iter().map(|item| names(item).0).collect();
            let known =
                if known.is_empty() { "there is none".into() } else { format!("there are: {}", known.join(", ")) };
            Err(Error::Usage(format!("no {what} is called {text:?} ({known})")))
        }
        several => {
            let ids: Vec<_> = several.iter().map(|item| names(item).1).collect();
            Err(Error::Usage(format!("{text:?} is more than one {what}; name it by its id: {}", ids.join(", "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_fit_two_things_are_refused_and_ids_decide() {
        let all = [("gate", "aabbccdd00"), ("gate", "aabbccdd11"), ("yard", "ffeeddcc00")];
        let names = |item: &(&str, &str)| (item.0.to_owned(), item.1.to_owned());
        let find = |text| one("camera", text, &all, names).map(|item| item.1).map_err(|e| e.to_string());
        assert_eq!(find("yard"), Ok("ffeeddcc00"));
        assert_eq!(find("aabbccdd11"), Ok("aabbccdd11"));
        assert_eq!(find("ffeeddcc"), Ok("ffeeddcc00"));
        assert!(find("gate").unwrap_err().contains("aabbccdd00, aabbccdd11"));
        assert!(find("aabbccdd").unwrap_err().contains("more than one"));
        assert!(find("ffee").unwrap_err().contains("there are: gate, gate, yard"));
    }
}
