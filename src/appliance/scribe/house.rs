//! What is told of the house without a picture: its state, the roster as the page shows it, statements that wait for signatures.
//!
//! What does not belong: whether somebody may ask (`requests`), what the page makes of it. Invariants: whoever answers for
//! nothing but himself is told of his own cameras and grants alone; a statement waits here only with signatures that were
//! checked, and takes effect through keeper or not at all.

use super::requests::{ANSWER_MAX, Answered, away, decode, encode, pseudonym};
use super::{Scribe, clean};
use crate::message::Event;
use peri_access::decide::{self, Object, Principal, Standing};
use peri_access::house::{
    AccountState, HouseAccount, HouseBody, HouseCamera, HouseGrant, HouseItem, HouseMembership, HousePage, HouseSeat,
    ProposalsPage, ProposeBody,
};
use peri_access::wire::{CameraHealth, Health, Problem};
use peri_domain::limits::PROPOSAL_OPEN_MAX;
use peri_domain::{Action, CameraId, Fingerprint, Hash, Right, Rights, Role, UtcNanos};
use peri_ledger::EntryType;
use peri_roster::body::{Cameras, Trust};
use peri_roster::{Camera, PostState, Roster, Statement, Verified};
use peri_sandbox::clock::Clock as _;
use peri_sandbox::durable::{self, Dir};
use peri_seal::canonical;
use std::collections::{HashMap, HashSet};

/// Causes of lost cameras in one answer about health; beside them stand 512 cameras of 48 bytes and 50 alarms of 400.
const HEALTH_CAUSES: usize = 16 * 1024;
/// Cameras named in a notice.
const NOT_ROTATED_SHOWN: usize = 10;
/// Room of one page of the house for its items: its head, with 16 notices of a line, takes the rest.
const ITEMS_ROOM: usize = ANSWER_MAX - 16 * 1024;
/// Items of one page are short but for memberships (2 KiB) and grants that name many cameras.
const ITEM_OVERHEAD: usize = 8;

/// Statements that wait for signatures, in scribe's own directory.
const WAITING: &str = "proposals";
/// At most so many, and so many bytes of them: one answer holds all.
const WAITING_MAX: usize = 64;
const WAITING_BYTES_MAX: usize = ANSWER_MAX - 1024;

/// Of these with a signature of one key: nobody fills the inbox alone.
const WAITING_OF_ONE: usize = 16;

/// Statements that wait for signatures, oldest first, and which of the roster's were looked at.
#[derive(Default)]
pub(super) struct Inbox {
    waiting: Vec<Statement>,
    accepted: HashSet<Hash>,
    looked_at: usize,
}

impl Inbox {
    /// From the file; what cannot be read is left out, because whoever proposed it can do so again.
    pub(super) fn open(dir: &Dir) -> Self {
        let bytes = dir.read(WAITING, 2 * WAITING_BYTES_MAX).unwrap_or_default();
        let kept = canonical::decode::<Vec<minicbor::bytes::ByteVec>>("proposals", &bytes).unwrap_or_default();
        let waiting = kept.iter().filter_map(|bytes| Statement::from_bytes(bytes).ok()).collect();
        Self { waiting, ..Self::default() }
    }

    fn save(waiting: &[Statement], dir: &Dir) -> Result<(), Problem> {
        let statements: Vec<minicbor::bytes::ByteVec> = waiting.iter().map(|waits| waits.to_bytes().into()).collect();
        let bytes = canonical::encode(&statements);
        durable::write_atomic(dir, WAITING, &bytes, 0o600)
            .map_err(|error| away(&format!("the proposal could not be stored ({error}); make room and try again")))
    }

    fn page(&self) -> ProposalsPage {
        ProposalsPage { statements: self.waiting.iter().map(|statement| statement.to_bytes().into()).collect() }
    }

    /// Takes out what is over: too old, or in the roster. Each statement of the roster is looked at once.
    fn sweep(&mut self, now: UtcNanos, roster: &[Vec<u8>]) {
        if roster.len() < self.looked_at {
            self.looked_at = 0;
        }
        let new = roster[self.looked_at..].iter().filter_map(|bytes| Statement::from_bytes(bytes).ok());
        self.accepted.extend(new.map(|statement| statement.hash()));
        self.looked_at = roster.len();
        let accepted = &self.accepted;
        self.waiting.retain(|waits| waits.proposal().not_after >= now && !accepted.contains(&waits.hash()));
    }

    /// What waits afterwards: a new one more, or more signatures for one that waits; `None` where nothing is new.
    fn with(&self, statement: Statement, by: Fingerprint) -> Result<Option<Vec<Statement>>, Problem> {
        let crowded =
            |detail: &str| Err(Problem::new(429, "too_many_proposals", "Too many proposals", detail).retry_after(3600));
        let mut after = self.waiting.clone();
        let hash = statement.hash();
        match after.iter_mut().find(|waits| waits.hash() == hash) {
            Some(waits) => {
                let merged = waits.clone().merge(&statement);
                let merged =
                    merged.map_err(|error| Problem::new(400, "malformed", "Not a statement", error.to_string()))?;
                if merged == *waits {
                    return Ok(None);
                }
                *waits = merged;
            }
            None => {
                let own = |waits: &&Statement| waits.signers().any(|signer| signer == by);
                if after.iter().filter(own).count() >= WAITING_OF_ONE {
                    return crowded("too many of your proposals wait for signatures; let some of them end first");
                }
                after.push(statement);
            }
        }
        let bytes = after.iter().map(|waits| waits.to_bytes().len() + ITEM_OVERHEAD).sum::<usize>();
        if after.len() > WAITING_MAX || bytes > WAITING_BYTES_MAX {
            return crowded("too many proposals wait for signatures; sign or let some of them end, then propose again");
        }
        Ok(Some(after))
    }
}

/// Who is told of everybody: whoever answers for the house, and not only for what he may look at.
const fn sees_all(standing: Standing) -> bool {
    matches!(
        standing,
        Standing::Claim
            | Standing::Seat(_)
            | Standing::Account(_, Role::Administrator | Role::Custodian | Role::Auditor)
    )
}

impl Scribe {
    pub(super) fn read_health(&mut self, principal: Principal, body: &[u8]) -> Answered {
        let (): () = decode(body)?;
        self.allow(principal, Action::ReadLedger, Object::Health)?;
        let mut notices = self.notices();
        if let Some(since) = self.books.as_ref().and_then(|books| books.away_since()) {
            notices.push(format!("PostgreSQL is away since {since}; entries go to the spool, disclosure is refused"));
        }
        if !self.index.damaged.is_empty() {
            let count = self.index.damaged.len();
            notices.push(format!("{count} segment files cannot be read; run `peri-appliance fsck`"));
        }
        notices.extend(self.roster.as_ref().and_then(|roster| not_rotated(roster)));
        let mut cameras = self.index.health();
        // One answer holds 512 cameras, and if all are lost, each gets a part of a sentence.
        let each = HEALTH_CAUSES / cameras.len().max(1);
        for camera in &mut cameras {
            camera.lost.truncate(camera.lost.floor_char_boundary(each));
        }
        Ok(encode(&Health {
            now: self.clock.utc(),
            cameras,
            alarms: self.alarms.lines().to_vec(),
            free_bytes: self.store.free_bytes().unwrap_or(0),
            notices,
        }))
    }

    /// The roster as the page shows it to this account.
    pub(super) fn read_house(&mut self, principal: &Principal, body: &[u8]) -> Answered {
        let body: HouseBody = decode(body)?;
        self.allow(principal.clone(), Action::ReadRoster, Object::Roster)?;
        let now = self.now();
        let roster = self.roster.as_ref().ok_or_else(|| away("the roster is not loaded yet"))?;
        let genesis = roster.genesis().ok_or_else(|| away("nobody has claimed this appliance yet"))?;
        let health: HashMap<CameraId, CameraHealth> =
            self.index.health().into_iter().map(|camera| (camera.camera, camera)).collect();
        let items = items(roster, principal, &health, now);
        let threshold = roster.threshold();
        let name = match principal.standing() {
            Standing::Claim => String::new(),
            Standing::Seat(index) => {
                roster.seats().find(|seat| seat.index == index).map_or_else(String::new, |seat| seat.name)
            }
            Standing::Account(id, _) => {
                roster.account(id).map_or_else(String::new, |account| account.name().to_owned())
            }
        };
        let mut page = HousePage {
            now: self.clock.utc(),
            vm: roster.vm(),
            device: genesis.device.clone(),
            key: principal.fingerprint(),
            me: principal.standing(),
            name,
            k: threshold.map_or(0, |threshold| threshold.k),
            n: threshold.map_or(0, |threshold| threshold.n),
            retention_secs: roster.retention().as_secs().min(self.start.retention_secs.into()),
            ceiling_secs: roster.retention_ceiling().as_secs(),
            seat_set: roster.seat_set(),
            notices: self.notices(),
            items: Vec::new(),
            next: None,
        };
        let mut room = ITEMS_ROOM;
        let after = usize::try_from(body.after).unwrap_or(usize::MAX);
        for (at, item) in items.into_iter().enumerate().skip(after) {
            let Some(left) = room.checked_sub(encode(&item).len() + ITEM_OVERHEAD) else {
                page.next = Some(at as u64);
                break;
            };
            room = left;
            page.items.push(item);
        }
        Ok(encode(&page))
    }

    /// A statement for others to sign.
    pub(super) fn propose(&mut self, principal: Principal, body: &[u8]) -> Answered {
        let body: ProposeBody = decode(body)?;
        let by = principal.fingerprint();
        self.is_for_here(&body.statement)?;
        let statement = Statement::from_bytes(&body.statement)
            .map_err(|error| Problem::new(400, "malformed", "Not a statement", error.to_string()))?;
        self.allow(principal, Action::Invite, Object::Invitations)?;
        let now = self.now();
        let roster = self.roster.as_ref().ok_or_else(|| away("the roster is not loaded yet"))?;
        let genuine =
            |signer| decide::key_in_office(roster, signer).is_some_and(|(key, _)| statement.is_signed_by(&key));
        if !statement.signers().any(|signer| signer == by) || !statement.signers().all(genuine) {
            let detail = "it must carry your own signature, and every signature on it must be one of a key in office";
            return Err(Problem::new(400, "not_signed", "The statement is not signed by you", detail));
        }
        let not_after = statement.proposal().not_after;
        if not_after < now || not_after.saturating_since(now) > PROPOSAL_OPEN_MAX {
            let detail = "a proposal is open until a moment that is to come, at most 30 days ahead; make it anew";
            return Err(Problem::new(400, "ended", "The proposal is not open", detail));
        }
        self.inbox.sweep(now, &self.statements);
        let text = format!("{}: {}", statement.hash(), statement.describe());
        let Some(waiting) = self.inbox.with(statement, by)? else { return Ok(encode(&())) };
        Inbox::save(&waiting, &self.dir)?;
        self.inbox.waiting = waiting;
        self.enter_about(EntryType::ProposalSigned, pseudonym(by), clean(&text, Event::TEXT_MAX));
        Ok(encode(&()))
    }

    /// What waits for signatures.
    pub(super) fn read_proposals(&mut self, principal: Principal, body: &[u8]) -> Answered {
        let (): () = decode(body)?;
        self.allow(principal, Action::Invite, Object::Invitations)?;
        let now = self.now();
        self.inbox.sweep(now, &self.statements);
        Ok(encode(&self.inbox.page()))
    }
}

/// In one order as long as the roster does not change.
fn items(
    roster: &Verified<Roster>,
    principal: &Principal,
    health: &HashMap<CameraId, CameraHealth>,
    now: UtcNanos,
) -> Vec<HouseItem> {
    let all = sees_all(principal.standing());
    let own = match principal.standing() {
        Standing::Account(id, _) => Some(id),
        Standing::Claim | Standing::Seat(_) => None,
    };
    let own_grants: Vec<_> = own.map(|own| roster.grants_of(own).collect()).unwrap_or_default();
    let named = |camera: &Camera| {
        camera.set_up_by.is_some() && camera.set_up_by == own
            || own_grants.iter().any(|(_, state)| state.grant.cameras.contains(camera.id))
    };
    let cameras = roster.cameras().filter(|camera| all || named(camera)).map(|camera| {
        let rights = rights(roster, principal, camera.id, now);
        let state = health.get(&camera.id).filter(|_| all || !rights.is_empty());
        HouseItem::Camera(HouseCamera {
            id: camera.id,
            name: camera.setup.name.clone(),
            registered: camera.registered,
            removed: camera.removed,
            plain: matches!(camera.setup.trust, Trust::Plain),
            rights,
            recorded_until: state.and_then(|state| state.recorded_until),
            lost: state.map_or_else(String::new, |state| state.lost.clone()),
        })
    });
    let accounts = roster.accounts().filter(|account| all || Some(account.id()) == own).map(|account| {
        let state = match (account.removed(), roster.chain_revoked(account)) {
            (true, _) => AccountState::Removed,
            (false, true) => AccountState::Revoked,
            (false, false) => AccountState::InOffice,
        };
        let (id, role, name) = (account.id(), account.role(), account.name().to_owned());
        HouseItem::Account(HouseAccount { id, role, name, key: account.key().1, state })
    });
    let seats = roster.seats().filter(|_| all).map(|seat| {
        HouseItem::Seat(HouseSeat {
            index: seat.index,
            kind: seat.kind,
            name: seat.name,
            key: seat.fingerprint,
            revoked: seat.revoked,
        })
    });
    let grants: Vec<_> = if all { roster.grants().collect() } else { own_grants.clone() };
    let grants = grants.into_iter().map(|(nonce, state)| {
        HouseItem::Grant(HouseGrant {
            nonce,
            account: state.grant.account,
            rights: state.grant.rights,
            cameras: match &state.grant.cameras {
                Cameras::All => None,
                Cameras::List(list) => Some(list.clone()),
            },
            from: state.grant.from,
            until: state.until,
            weekly: state.grant.weekly.as_ref().map_or_else(String::new, |hours| hours.describe()),
            revoked: state.revoked,
        })
    });
    let key = principal.fingerprint();
    let memberships = roster.posts().flat_map(PostState::versions).filter_map(|version| {
        let member = version.members.iter().find(|member| member.key == key)?;
        Some(HouseItem::Membership(HouseMembership {
            post: version.id,
            serial: version.serial,
            key: version.key.fingerprint(),
            sealed: member.sealed.clone().into(),
        }))
    });
    cameras.chain(accounts).chain(seats).chain(grants).chain(memberships).collect()
}

/// What the asker may do with a camera now; the past is decided span by span.
fn rights(roster: &Verified<Roster>, principal: &Principal, camera: CameraId, now: UtcNanos) -> Rights {
    let may = |action: Action| {
        let object = Object::Pictures { camera, from: now, until: super::after(now), running: true };
        decide::decide(roster, principal.clone(), action, object, now).is_ok()
    };
    [(Action::WatchLive, Right::Live), (Action::PlayBack, Right::Playback), (Action::Export, Right::Export)]
        .into_iter()
        .filter(|(action, _)| may(*action))
        .fold(Rights::NONE, |rights, (_, right)| rights.with(right))
}

/// Whose password a person typed and nobody has replaced since: whoever typed it can still use it.
fn not_rotated(roster: &Roster) -> Option<String> {
    let typed = roster.cameras().filter(|c| c.registered && !c.removed && !c.setup.sealed_password.is_empty());
    let names: Vec<_> = typed.map(|camera| camera.setup.name.as_str()).collect();
    let shown = names[..names.len().min(NOT_ROTATED_SHOWN)].join(", ");
    let more = names.len().saturating_sub(NOT_ROTATED_SHOWN);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    (!names.is_empty()).then(|| {
        format!(
            "password_not_rotated: {shown}{more}: whoever typed this camera's password can still use it; change it in the \
             camera and set the camera up again"
        )
    })
}
