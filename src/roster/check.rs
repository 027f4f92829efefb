//! The checks of a body that need nothing but the value: lengths, orders, spans, and what can never be right.
//!
//! What does not belong: whether it fits the roster (`apply`, `admit`). Invariant: a text that passes shows a signer
//! exactly what is there.

use crate::body::*;
use crate::error::RosterError;
use peri_domain::limits::{POST_MEMBERS_MAX, SEATS_MAX};
use peri_domain::{Role, UtcNanos};
use peri_seal::post::POST_SEALED_LEN;

impl Body {
    /// The checks that need nothing but the value.
    ///
    /// # Errors
    /// [`RosterError::Invalid`] says what is impossible.
    pub fn check(&self) -> Result<(), RosterError> {
        self.check_text().map_err(|why| RosterError::Invalid { what: self.kind(), why })
    }

    fn check_text(&self) -> Result<(), String> {
        match self {
            Self::Genesis(b) => {
                need(1 <= b.k && b.k <= b.n && b.n <= SEATS_MAX, || {
                    format!("{} of {} seats; 1 ≤ k ≤ n ≤ {SEATS_MAX} must hold", b.k, b.n)
                })?;
                need(b.claim_key != b.device, || "claim key and device key are the same".into())
            }
            Self::Seat(b) => check_seat(b),
            Self::SeatHandover(b) => check_seat(&b.seat),
            Self::Profile(b) => b.check(),
            Self::Account(b) => {
                need(b.role != Role::Custodian, || "custodians are seats, not accounts; propose a seat".into())?;
                check_line("name", &b.name)
            }
            Self::AccountRemoval(_) | Self::KeyChange(_) | Self::CameraRegister(_) | Self::CameraRemove(_) => Ok(()),
            Self::Grant(b) => {
                need(!b.rights.is_empty(), || "gives no right; name live, playback or export".into())?;
                b.weekly.as_ref().map_or(Ok(()), WeeklyHours::check)?;
                check_cameras(&b.cameras)?;
                check_window(b.from, b.until)
            }
            Self::GrantRenewal(b) => {
                need(!b.grants.is_empty(), || "names no grant".into())?;
                check_ascending("grants", &b.grants)
            }
            Self::Revocation(b) => {
                need(!(b.keys.is_empty() && b.grants.is_empty()), || "names neither key nor grant".into())?;
                check_ascending("keys", &b.keys)?;
                check_ascending("grants", &b.grants)?;
                check_line("reason", &b.reason)
            }
            Self::CameraAdd(b) => b.setup.check(),
            Self::CameraReSetup(b) => {
                need(b.serial > 0 || b.beside.is_some(), || {
                    "serial 0 makes a new camera of a known device: name the camera it was".into()
                })?;
                b.setup.check()
            }
            Self::Endpoint(b) => {
                check_len("URL", &b.url, URL_MAX)?;
                check_len("key", &b.key, URL_MAX)
            }
            Self::Retention(b) => need(b.secs <= RETENTION_SECS_MAX, || "longer than ten years".into()),
            Self::Post(b) => {
                check_line("name", &b.name)?;
                need((1..=POST_MEMBERS_MAX).contains(&b.members.len()), || {
                    format!(
                        "a post has 1 to {POST_MEMBERS_MAX} members, this has {}; make a second post",
                        b.members.len()
                    )
                })?;
                need(b.members.windows(2).all(|pair| pair[0].account < pair[1].account), || {
                    "members are not strictly ascending".into()
                })?;
                need(b.members.iter().all(|member| member.sealed.len() == POST_SEALED_LEN), || {
                    format!("a sealed post key has {POST_SEALED_LEN} bytes")
                })
            }
            Self::Snapshot(_) => Ok(()),
            Self::Release(b) => b.span.check(),
            Self::Hold(b) | Self::EarlyErasure(b) => b.check(),
            Self::Exception(b) => {
                check_line("rule", &b.rule)?;
                check_line("reason", &b.reason)
            }
        }
    }
}

impl Profile {
    fn check(&self) -> Result<(), String> {
        need(!self.audio, || "audio is never recorded; set it to false".into())?;
        need(self.retention_ceiling_secs <= RETENTION_SECS_MAX, || "retention ceiling above ten years".into())?;
        need(self.masks.len() <= LIST_MAX && self.exceptions.len() <= 64 && self.told.len() <= 64, || {
            "too many masks, exceptions or recipients of notices".into()
        })?;
        for mask in &self.masks {
            need((3..=32).contains(&mask.corners.len()), || "a mask has 3 to 32 corners".into())?;
            need(mask.corners.iter().all(|c| c.x <= 1000 && c.y <= 1000), || "a mask leaves the picture".into())?;
        }
        self.exceptions.iter().chain(&self.told).try_for_each(|line| check_line("line", line))
    }
}

impl Span {
    fn check(&self) -> Result<(), String> {
        check_cameras(&self.cameras)?;
        check_line("reason", &self.reason)?;
        check_window(self.from, self.until)
    }
}

impl CameraSetup {
    fn check(&self) -> Result<(), String> {
        check_line("name", &self.name)?;
        check_len("URL", &self.url, URL_MAX)?;
        check_len("user", &self.user, TEXT_MAX)?;
        need(self.sealed_password.len() <= BLOB_MAX, || format!("sealed password longer than {BLOB_MAX} bytes"))?;
        let scheme = match &self.trust {
            Trust::Pin(_) => "rtsps://",
            Trust::Ca(der) => {
                need(!der.is_empty() && der.len() <= BLOB_MAX, || format!("authority not of 1 to {BLOB_MAX} bytes"))?;
                "rtsps://"
            }
            Trust::Plain => "rtsp://",
        };
        let authority = self.authority().filter(|a| !a.is_empty());
        need(self.url.starts_with(scheme) && authority.is_some(), || format!("the URL must be {scheme}host[:port]/…"))?;
        need(authority.is_some_and(|a| !a.contains('@')), || {
            "the URL carries a user or password; seal the password to the device key instead".into()
        })
    }

    /// `host[:port]` of the URL in lower case, the default port (RTSP 554, RTSPS 322; RFC 7826 §4.2) left out.
    pub(crate) fn authority(&self) -> Option<String> {
        let (scheme, rest) = self.url.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next()?.to_ascii_lowercase();
        let default = if scheme == "rtsps" { ":322" } else { ":554" };
        Some(authority.strip_suffix(default).unwrap_or(&authority).to_owned())
    }
}

fn need(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}

fn check_seat(seat: &Seat) -> Result<(), String> {
    need(seat.index < SEATS_MAX, || format!("seat {} of at most {SEATS_MAX}", seat.index))?;
    check_line("name", &seat.name)
}

fn check_window(from: UtcNanos, until: UtcNanos) -> Result<(), String> {
    need(from < until, || format!("ends ({until}) before it begins ({from})"))
}

fn check_cameras(cameras: &Cameras) -> Result<(), String> {
    let Cameras::List(list) = cameras else { return Ok(()) };
    need(!list.is_empty(), || "names no camera".into())?;
    check_ascending("cameras", list)
}

fn check_ascending<T: Ord>(what: &str, list: &[T]) -> Result<(), String> {
    need(list.len() <= LIST_MAX, || format!("more than {LIST_MAX} {what}; split it"))?;
    need(list.windows(2).all(|pair| pair[0] < pair[1]), || format!("{what} are not strictly ascending"))
}

fn check_line(what: &str, text: &str) -> Result<(), String> {
    need(!text.trim().is_empty(), || format!("{what} is empty"))?;
    check_len(what, text, TEXT_MAX)
}

/// Length, and no character that would make a signer see something else than what is there (Unicode UAX #9 controls).
fn check_len(what: &str, text: &str, max: usize) -> Result<(), String> {
    need(text.len() <= max, || format!("{what} is longer than {max} bytes"))?;
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    need(!text.chars().any(hidden), || format!("{what} contains a hidden or control character"))
}
