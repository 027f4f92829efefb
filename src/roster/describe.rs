//! One line of English for a proposal: what a signer is asked to sign. Pages translate from the body, not from this.
//!
//! Invariant: everything that decides who may look at what is in the line: key, cameras, rights, span.

use crate::body::{Body, Cameras, ChangedBy, ClaimedBy, SeatKind, Span, Trust};
use crate::statement::Proposal;
use core::fmt::Display;
use peri_domain::Fingerprint;

impl Body {
    /// The kind in words.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Genesis(_) => "genesis",
            Self::Seat(_) => "seat",
            Self::SeatHandover(_) => "seat handover",
            Self::Profile(_) => "protection profile",
            Self::Account(_) => "account",
            Self::AccountRemoval(_) => "account removal",
            Self::KeyChange(_) => "key change",
            Self::Grant(_) => "grant",
            Self::GrantRenewal(_) => "grant renewal",
            Self::Revocation(_) => "revocation",
            Self::CameraAdd(_) => "new camera",
            Self::CameraRegister(_) => "camera registration",
            Self::CameraRemove(_) => "camera removal",
            Self::CameraReSetup(_) => "camera re-set-up",
            Self::Endpoint(_) => "endpoint",
            Self::Retention(_) => "retention",
            Self::Release(_) => "release",
            Self::Hold(_) => "hold",
            Self::Exception(_) => "exception",
            Self::EarlyErasure(_) => "early erasure",
            Self::Post(_) => "post",
            Self::Snapshot(_) => "snapshot",
        }
    }
}

impl Proposal {
    /// What it says, in one line for people.
    #[must_use]
    pub fn describe(&self) -> String {
        match &self.body {
            Body::Genesis(b) => format!(
                "claim VM {} by the {}: {} of {} seats, image {}, device key {}",
                self.vm,
                match b.claimed_by {
                    ClaimedBy::Customer => "customer",
                    ClaimedBy::Reseller => "RESELLER",
                },
                b.k,
                b.n,
                b.image.map_or("none (host install)".into(), |i| i.to_string()),
                short(b.device.fingerprint())
            ),
            Body::Seat(b) => format!("seat {} \"{}\" ({}) for key {}", b.index, b.name, kind(b.kind), key(&b.key)),
            Body::SeatHandover(b) => format!(
                "hand seat {} over from key {} to \"{}\" ({}), key {}",
                b.seat.index,
                short(b.from),
                b.seat.name,
                kind(b.seat.kind),
                key(&b.seat.key)
            ),
            Body::Profile(b) => format!(
                "protection profile {}: {} of {} seats, retention up to {}, no audio, {} masks, {} exceptions",
                b.serial,
                b.k,
                b.n,
                span_of(b.retention_ceiling_secs),
                b.masks.len(),
                b.exceptions.len()
            ),
            Body::Account(b) => format!("account \"{}\" ({}) as {} with key {}", b.name, b.id, b.role, key(&b.key)),
            Body::AccountRemoval(b) => format!("remove account {} for ever", b.account),
            Body::KeyChange(b) => format!(
                "{} of account {} from {} to {}",
                match b.by {
                    ChangedBy::Holder => "key change with all grants",
                    ChangedBy::Reset => "key reset without grants",
                },
                b.account,
                short(b.old),
                key(&b.new)
            ),
            Body::Grant(b) => format!(
                "grant {} on {} to account {} (key {}) from {} until {}{}",
                b.rights,
                cameras(&b.cameras),
                b.account,
                short(b.recipient),
                b.from,
                b.until,
                b.weekly.as_ref().map_or_else(String::new, |hours| format!(", only {}", hours.describe()))
            ),
            Body::GrantRenewal(b) => format!("renew {} until {}", list("grant", &b.grants), b.until),
            Body::Revocation(b) => {
                let keys: Vec<_> = b.keys.iter().copied().map(short).collect();
                let what: Vec<_> = [("key", keys), ("grant", b.grants.iter().map(|g| g.to_string()).collect())]
                    .into_iter()
                    .filter(|(_, items)| !items.is_empty())
                    .map(|(what, items)| list(what, &items))
                    .collect();
                format!("revoke {} for ever: {}", what.join(" and "), b.reason)
            }
            Body::CameraAdd(b) => format!("add camera {}{}{}", b.camera, setup(&b.setup), beside(b.beside)),
            Body::CameraRegister(b) => format!("register camera {}: its set-up is over", b.camera),
            Body::CameraRemove(b) => format!("remove camera {} and its device for ever", b.camera),
            Body::CameraReSetup(b) => {
                format!("set camera {} up again ({}){}{}", b.camera, b.serial, setup(&b.setup), beside(b.beside))
            }
            Body::Endpoint(b) if b.url.is_empty() => format!("end {:?} endpoint {}", b.kind, b.id),
            Body::Endpoint(b) => format!("allow calls to {:?} endpoint {} at {}", b.kind, b.id, b.url),
            Body::Retention(b) => format!("keep pictures for {}", span_of(b.secs)),
            Body::Release(b) => format!(
                "release past pictures of {} to account {} (key {})",
                span(&b.span),
                b.account,
                short(b.recipient)
            ),
            Body::Hold(b) => format!("hold pictures of {}", span(b)),
            Body::Exception(b) => format!(
                "exception from \"{}\" for {} until {}: {}",
                b.rule,
                b.camera.map_or("all cameras".into(), |c| format!("camera {c}")),
                b.until,
                b.reason
            ),
            Body::EarlyErasure(b) => format!("erase pictures early of {}", span(b)),
            Body::Post(b) => {
                let members: Vec<_> =
                    b.members.iter().map(|m| format!("{} (key {})", m.account, short(m.key))).collect();
                let members = list("member", &members);
                format!("post \"{}\" ({}) version {} with key {}: {members}", b.name, b.id, b.serial, key(&b.key))
            }
            Body::Snapshot(b) => {
                format!("vouch for the first {} statements, head {}", b.mark.count, b.mark.head)
            }
        }
    }
}

fn short(fingerprint: Fingerprint) -> String {
    // Eight bytes tell keys of one roster apart; whoever compares across screens uses the ten words.
    fingerprint.to_string()[..16].to_owned()
}

fn key(public: &peri_seal::keys::UserPublic) -> String {
    short(public.fingerprint())
}

const fn kind(kind: SeatKind) -> &'static str {
    match kind {
        SeatKind::Person => "person",
        SeatKind::Paper => "paper",
    }
}

fn cameras(cameras: &Cameras) -> String {
    match cameras {
        Cameras::All => "ALL cameras, later ones too".into(),
        Cameras::List(ids) => list("camera", ids),
    }
}

/// All items: a signer must see each.
fn list<T: Display>(what: &str, items: &[T]) -> String {
    let items: Vec<_> = items.iter().map(ToString::to_string).collect();
    let plural = if items.len() == 1 { "" } else { "s" };
    format!("{} {what}{plural} [{}]", items.len(), items.join(" "))
}

fn span(span: &Span) -> String {
    format!("{} from {} until {}: {}", cameras(&span.cameras), span.from, span.until, span.reason)
}

fn span_of(secs: u64) -> String {
    if secs.is_multiple_of(3600) { format!("{} h", secs / 3600) } else { format!("{secs} s") }
}

fn setup(setup: &crate::body::CameraSetup) -> String {
    let trust = match &setup.trust {
        Trust::Pin(pin) => format!("pin {pin}"),
        Trust::Ca(_) => "an authority".into(),
        Trust::Plain => "NOTHING: plain RTSP".into(),
    };
    format!(" \"{}\" at {} trusted by {trust}", setup.name, setup.url)
}

fn beside(other: Option<peri_domain::CameraId>) -> String {
    other.map_or_else(String::new, |id| format!(", SAME DEVICE as camera {id}"))
}
