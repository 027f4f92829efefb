//! Who may look at what, when: recipients of an epoch, edges of windows, and what speaks against one request.
//!
//! Two times. Wraps of E follow the *picture's* time: who has a right at that moment gets a wrap. X follows the time of
//! *asking* as well: both the pictures and the question must lie inside the window, and live means the running epoch
//! alone. Windows include their first moment and exclude their last; weekly hours narrow both. A grant to a post holds for
//! each of its members, who ask under their own keys. Custodians, administrators and auditors appear nowhere here. What
//! does not belong: proofs of who asks, and wraps themselves.

use crate::body::Cameras;
use crate::roster::{Account, Camera, GrantState, Owner, Roster};
use peri_domain::limits::RECIPIENTS_MAX;
use peri_domain::{AccountId, Action, CameraId, Fingerprint, Nonce, Right, Role, UtcNanos};
use peri_seal::keys::UserPublic;
use std::collections::BTreeSet;

/// What a permission rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// A grant (its id).
    Grant(Nonce),
    /// The technician setting up an unregistered camera.
    SetUp,
}

/// A permission that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrantRef {
    /// Who.
    pub account: AccountId,
    /// By what.
    pub basis: Basis,
    /// First moment after the permission, if it is known now.
    pub until: Option<UtcNanos>,
}

/// Why a request is refused; for the ledger and for the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The key is nobody's.
    #[error("this key is not in the roster; enrol it and ask for a grant")]
    UnknownKey,
    /// The key, or one before it, was revoked.
    #[error("this key was revoked; make a new key and ask for a new grant")]
    KeyRevoked,
    /// The account has another key by now.
    #[error("this key was replaced by another; use the present one")]
    KeyReplaced,
    /// The account was removed.
    #[error("this account was removed")]
    AccountRemoved,
    /// The role never looks.
    #[error("a {0} never gets a picture; only viewers, externals and technicians with a grant do")]
    RoleNever(Role),
    /// The camera is not in the roster.
    #[error("there is no such camera in the roster")]
    UnknownCamera,
    /// Its set-up is not over.
    #[error("the camera is not registered yet; it shows nothing to anybody but the technician who sets it up")]
    NotRegistered,
    /// Live from a removed camera.
    #[error("the camera was removed; only its past can be asked for")]
    CameraRemoved,
    /// Not something a grant is for.
    #[error("{0:?} is not given by a grant")]
    NotByGrant(Action),
    /// No grant names this camera.
    #[error("no grant covers this camera; k custodians can sign one")]
    NoGrant,
    /// A grant was there and is revoked.
    #[error("the grant was revoked; k custodians can sign a new one")]
    GrantRevoked,
    /// A grant is there without this right.
    #[error("the grant does not give this right ({0:?})")]
    RightMissing(Right),
    /// The question comes before the window.
    #[error("the grant begins at {0}")]
    NotYet(UtcNanos),
    /// The question comes after the window.
    #[error("the grant ended at {0}; k custodians can renew it")]
    Ended(UtcNanos),
    /// The question comes outside the weekly hours.
    #[error("it is outside the weekly hours of the grant; ask again within them")]
    OutsideHours,
    /// The pictures lie outside the window or the weekly hours.
    #[error("the pictures lie outside the grant's window or weekly hours; k custodians can release the past")]
    PictureOutside,
    /// The key of a post.
    #[error("this is the key of a post, which asks for nothing; ask with your own key, so that the ledger names you")]
    PostNeverAsks,
    /// Live means now.
    #[error("live means the running epoch only; ask for playback")]
    NotRunning,
    /// The span is empty.
    #[error("the span asked for is empty")]
    EmptySpan,
}

/// More recipients than one epoch is wrapped to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "camera {camera} would be wrapped to {found} keys, more than {RECIPIENTS_MAX}; give the control room a post key"
)]
pub struct TooManyRecipients {
    /// The camera.
    pub camera: CameraId,
    /// Entitled keys.
    pub found: usize,
}

impl Roster {
    /// Keys to which the epoch of this camera that contains `at` is wrapped: every account in office with any right in
    /// a window that contains `at`, and the technician of an unregistered camera. Ascending by fingerprint. Empty for
    /// unknown and removed cameras. Posts stand beside accounts.
    ///
    /// # Errors
    /// [`TooManyRecipients`].
    pub fn recipients(
        &self,
        camera: CameraId,
        at: UtcNanos,
    ) -> Result<Vec<(&UserPublic, Fingerprint)>, TooManyRecipients> {
        let Some(found) = self.camera(camera).filter(|c| !c.removed) else { return Ok(Vec::new()) };
        let granted = |id: AccountId| self.grants_for(id, camera).any(|(_, state)| state.holds_at(at));
        let entitled = |account: &&Account| {
            self.may_look(account) && if found.registered { granted(account.id()) } else { sets_up(found, account) }
        };
        let mut keys: Vec<_> = self.accounts().filter(entitled).map(Account::key).collect();
        if found.registered {
            let posts = self.posts().filter(|post| self.post_in_office(post) && granted(post.present().id));
            keys.extend(posts.map(|post| (&post.present().key, post.present().key.fingerprint())));
        }
        keys.sort_unstable_by_key(|(_, fingerprint)| *fingerprint);
        if keys.len() > RECIPIENTS_MAX {
            return Err(TooManyRecipients { camera, found: keys.len() });
        }
        Ok(keys)
    }

    /// Keys that one epoch would at most be wrapped to under the grants that still run at `now`, over each of these cameras
    /// and each later instant, when that is more than [`RECIPIENTS_MAX`]. Grants for all cameras count for cameras to come.
    pub(crate) fn crowd(&self, cameras: &Cameras, now: UtcNanos) -> Option<usize> {
        let living: Vec<&GrantState> = self
            .grants()
            .filter(|(id, state)| state.until > now && !self.grant_dead(*id, state))
            .map(|(_, state)| state)
            .collect();
        let people = |of: &dyn Fn(&GrantState) -> bool| {
            let accounts: BTreeSet<AccountId> =
                living.iter().filter(|state| of(state)).map(|state| state.grant.account).collect();
            accounts.len()
        };
        // As a rule there are few people, and nothing more is to be looked at.
        if people(&|_| true) <= RECIPIENTS_MAX {
            return None;
        }
        let covers = |state: &GrantState, camera: Option<CameraId>| match camera {
            Some(camera) => state.grant.cameras.contains(camera),
            None => matches!(state.grant.cameras, Cameras::All),
        };
        let begins: BTreeSet<UtcNanos> = living.iter().map(|state| state.grant.from.max(now)).collect();
        let of_camera = |camera| {
            // The number of people changes upwards only where a window begins; most have begun, which is one instant.
            begins
                .iter()
                .map(|at| people(&|state| covers(state, camera) && state.grant.from <= *at && *at < state.until))
                .max()
                .unwrap_or(0)
        };
        let named: Vec<Option<CameraId>> = match cameras {
            Cameras::All => self.cameras().map(|camera| Some(camera.id)).chain([None]).collect(),
            Cameras::List(list) => list.iter().copied().map(Some).collect(),
        };
        named.into_iter().map(of_camera).max().filter(|found| *found > RECIPIENTS_MAX)
    }

    /// The first edge of a grant window of this camera after `after`: an epoch ends there at the latest.
    #[must_use]
    pub fn next_edge(&self, camera: CameraId, after: UtcNanos) -> Option<UtcNanos> {
        self.grants()
            .filter(|(id, state)| !self.grant_dead(*id, state) && state.grant.cameras.contains(camera))
            .filter_map(|(_, state)| state.next_edge(after))
            .min()
    }

    /// Every grant to an account or post, dead ones too.
    pub fn grants_of(&self, holder: AccountId) -> impl Iterator<Item = (Nonce, &GrantState)> {
        let ids = self.grants_of.get(&holder).map_or(&[][..], Vec::as_slice);
        ids.iter().filter_map(|id| self.grants.get(id).map(|state| (*id, state)))
    }

    /// What the roster says on `key` doing `action` on the pictures of `camera` from `picture_from` (inclusive) until
    /// `picture_until` (exclusive), asked at `now`. For live the span is that of the running epoch. It finds the words for a
    /// refusal; whether a request is allowed is decided by the policies of `access`, which are tested to agree.
    ///
    /// # Errors
    /// [`Refusal`], the most telling one.
    pub fn grant_for(
        &self,
        key: Fingerprint,
        camera: CameraId,
        action: Action,
        picture_from: UtcNanos,
        picture_until: UtcNanos,
        now: UtcNanos,
    ) -> Result<GrantRef, Refusal> {
        let account = self.asker(key)?;
        let right = action.needs().ok_or(Refusal::NotByGrant(action))?;
        let found = self.camera(camera).ok_or(Refusal::UnknownCamera)?;
        if picture_from >= picture_until {
            return Err(Refusal::EmptySpan);
        }
        if right == Right::Live {
            if found.removed {
                return Err(Refusal::CameraRemoved);
            }
            if !(picture_from <= now && now < picture_until) {
                return Err(Refusal::NotRunning);
            }
        }
        if !found.registered {
            let setting_up = right == Right::Live && sets_up(found, account);
            let permission = GrantRef { account: account.id(), basis: Basis::SetUp, until: None };
            return if setting_up { Ok(permission) } else { Err(Refusal::NotRegistered) };
        }
        let fits = |state: &GrantState| -> Result<(), Refusal> {
            if !state.grant.rights.has(right) {
                return Err(Refusal::RightMissing(right));
            }
            if now < state.grant.from {
                return Err(Refusal::NotYet(state.grant.from));
            }
            if now >= state.until {
                return Err(Refusal::Ended(state.until));
            }
            if !state.holds_at(now) {
                return Err(Refusal::OutsideHours);
            }
            let cut = || state.next_edge(picture_from).is_some_and(|edge| edge < picture_until);
            if picture_from < state.grant.from || !state.holds_at(picture_from) || cut() {
                return Err(Refusal::PictureOutside);
            }
            Ok(())
        };
        // His own, and those of the posts that name him.
        let posts = self.posts_of(account.id()).map(|post| post.present().id);
        let holders: Vec<AccountId> = core::iter::once(account.id()).chain(posts).collect();
        let mut nearest = None;
        for (id, state) in holders.iter().flat_map(|holder| self.grants_for(*holder, camera)) {
            match fits(state) {
                Ok(()) => {
                    let until = state.next_edge(now).or(Some(state.until));
                    return Ok(GrantRef { account: account.id(), basis: Basis::Grant(id), until });
                }
                Err(why) => nearest = Some(nearer(nearest, why)),
            }
        }
        let revoked = || self.grants_named(account.id(), camera).any(|(_, state)| state.revoked);
        Err(nearest.unwrap_or_else(|| if revoked() { Refusal::GrantRevoked } else { Refusal::NoGrant }))
    }

    /// Whether a grant gives nothing any more, whatever the time.
    pub(crate) fn grant_dead(&self, id: Nonce, state: &GrantState) -> bool {
        let holder = state.grant.account;
        let in_office = match (self.account(holder), self.post(holder)) {
            (Some(account), _) => self.may_look(account),
            (None, Some(post)) => self.post_in_office(post),
            (None, None) => false,
        };
        !in_office || self.revoked_grants.contains(&id) || !self.is_recipient(holder, state.grant.recipient)
    }

    /// Whether what was granted to this key is still the account's or post's. k seats sign each version of a post, so its
    /// grants go on, save those to a key that was revoked by name.
    fn is_recipient(&self, holder: AccountId, key: Fingerprint) -> bool {
        match self.account(holder) {
            Some(account) => account.chain().any(|own| own == key),
            None => self.post(holder).is_some_and(|post| post.had(key)) && !self.revoked_keys.contains(&key),
        }
    }

    /// The account in office behind a key, with a role that may look.
    fn asker(&self, key: Fingerprint) -> Result<&Account, Refusal> {
        let account = match self.owner(key) {
            None => return Err(Refusal::UnknownKey),
            Some(Owner::Seat(_) | Owner::Claim) => return Err(Refusal::RoleNever(Role::Custodian)),
            Some(Owner::Device) => return Err(Refusal::UnknownKey),
            Some(Owner::Post(_)) => return Err(Refusal::PostNeverAsks),
            Some(Owner::Account(id)) => self.account(id).ok_or(Refusal::UnknownKey)?,
        };
        if account.removed() {
            return Err(Refusal::AccountRemoved);
        }
        if self.revoked_keys.contains(&key) {
            return Err(Refusal::KeyRevoked);
        }
        if account.key().1 != key {
            return Err(Refusal::KeyReplaced);
        }
        if self.chain_revoked(account) {
            return Err(Refusal::KeyRevoked);
        }
        if !account.role().may_receive_grant() {
            return Err(Refusal::RoleNever(account.role()));
        }
        Ok(account)
    }

    /// Grants, dead or not, of an account or post that name the camera and a key that counts for it.
    fn grants_named(&self, holder: AccountId, camera: CameraId) -> impl Iterator<Item = (Nonce, &GrantState)> {
        self.grants_of(holder)
            .filter(move |(_, state)| state.grant.cameras.contains(camera))
            .filter(move |(_, state)| self.is_recipient(holder, state.grant.recipient))
    }

    fn grants_for(&self, holder: AccountId, camera: CameraId) -> impl Iterator<Item = (Nonce, &GrantState)> {
        self.grants_named(holder, camera).filter(|(_, state)| !state.revoked)
    }
}

impl GrantState {
    /// Whether the instant lies in the window with its renewals and in the weekly hours.
    #[must_use]
    pub fn holds_at(&self, at: UtcNanos) -> bool {
        let hours = || self.grant.weekly.as_ref().is_none_or(|hours| hours.contains(at));
        self.grant.from <= at && at < self.until && hours()
    }

    /// The first instant after `after` at which it begins or ceases to hold.
    #[must_use]
    pub fn next_edge(&self, after: UtcNanos) -> Option<UtcNanos> {
        let (from, until) = (self.grant.from, self.until);
        let hours = || self.grant.weekly.as_ref().and_then(|hours| hours.next_edge(after.max(from)));
        match after {
            after if after >= until => None,
            after if after < from => Some(from),
            _ => Some(hours().map_or(until, |edge| edge.min(until))),
        }
    }
}

fn sets_up(camera: &Camera, account: &Account) -> bool {
    account.role() == Role::Technician && camera.set_up_by == Some(account.id())
}

/// Of several refusals the one that came furthest is told.
fn nearer(this: Option<Refusal>, other: Refusal) -> Refusal {
    const fn rank(refusal: Refusal) -> u8 {
        match refusal {
            Refusal::RightMissing(_) => 0,
            Refusal::Ended(_) => 1,
            Refusal::NotYet(_) => 2,
            _ => 3,
        }
    }
    this.filter(|this| rank(*this) >= rank(other)).unwrap_or(other)
}
