//! The roster as derived from its statements: seats, accounts, cameras, settings, tombstones. Read-only for everybody
//! outside this crate; reached through [`crate::Verified`] alone.
//!
//! What does not belong: how it is derived (`apply`, `evaluate`) and who may look at what (`grants`). Invariants: one
//! key has one owner for ever; nothing that was added ever disappears, tombstones only take its effect away; equal
//! sets of statements give equal rosters, whatever order they arrived in.

use crate::body::{
    CameraSetup, Cameras, Endpoint, EndpointKind, Exception, Genesis, Grant, Profile, Release, SeatKind, Span, Trust,
};
use crate::post::PostState;
use crate::set::Anchor;
use peri_domain::limits::RETENTION_DEFAULT;
use peri_domain::{AccountId, CameraId, Fingerprint, Hash, Nonce, Role, UtcNanos, VmId};
use peri_seal::digest;
use peri_seal::keys::UserPublic;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// Whose a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The claim key.
    Claim,
    /// The VM.
    Device,
    /// A seat of some seat set (number).
    Seat(u8),
    /// A past or present key of an account.
    Account(AccountId),
    /// A past or present key of a post; it never signs and never asks.
    Post(AccountId),
}

/// A seat with its present holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeatHolder {
    /// Number, 0 to n − 1.
    pub index: u8,
    /// Name.
    pub name: String,
    /// Person or paper.
    pub kind: SeatKind,
    /// Key.
    pub key: Arc<UserPublic>,
    /// Fingerprint of the key.
    pub fingerprint: Fingerprint,
    /// Whether the key was revoked: it signs nothing more and should get no further shares.
    pub revoked: bool,
}

/// k of n.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threshold {
    /// Seats that must sign together.
    pub k: u8,
    /// Seats.
    pub n: u8,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AccountKey {
    pub(crate) fingerprint: Fingerprint,
    pub(crate) public: Arc<UserPublic>,
    /// Whether the holder changed to it himself, so that grants to the key before it go on.
    pub(crate) carries_grants: bool,
}

/// An account and its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub(crate) id: AccountId,
    pub(crate) role: Role,
    pub(crate) name: String,
    pub(crate) keys: Vec<AccountKey>,
    pub(crate) removed: bool,
}

/// A camera and how to reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Camera {
    /// The camera.
    pub id: CameraId,
    /// Present set-up.
    pub setup: CameraSetup,
    /// 0 as added, one more with every re-set-up.
    pub serial: u32,
    /// Technician who may look until registration.
    pub set_up_by: Option<AccountId>,
    /// Whether its set-up is over.
    pub registered: bool,
    /// Whether it was removed for ever.
    pub removed: bool,
}

/// A grant with its renewals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantState {
    /// As signed.
    pub grant: Grant,
    /// End with all renewals (exclusive).
    pub until: UtcNanos,
    /// Whether the grant itself was revoked; its key or account may be gone all the same.
    pub revoked: bool,
}

/// A point in the life of a roster: hash over the count and the sorted ids of its effective statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, minicbor::Encode, minicbor::Decode)]
pub struct HeadMark {
    /// The hash.
    #[n(0)]
    pub head: Hash,
    /// How many statements.
    #[n(1)]
    pub count: u64,
}

/// The derived roster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roster {
    pub(crate) anchor: Anchor,
    pub(crate) verified_at: UtcNanos,
    pub(crate) mark: HeadMark,
    pub(crate) genesis: Option<Arc<Genesis>>,
    pub(crate) founding: BTreeMap<u8, SeatHolder>,
    /// Complete seat sets; index 0 is version 1.
    pub(crate) seat_sets: Vec<BTreeMap<u8, SeatHolder>>,
    pub(crate) owners: HashMap<Fingerprint, Owner>,
    pub(crate) accounts: BTreeMap<AccountId, Account>,
    pub(crate) posts: BTreeMap<AccountId, PostState>,
    pub(crate) cameras: BTreeMap<CameraId, Camera>,
    /// Cameras that have or had a device, address or pin.
    pub(crate) devices: BTreeMap<Hash, BTreeSet<CameraId>>,
    /// Cameras that k seats declared to share a device: each points to another of its family, roots to nothing.
    pub(crate) kin: BTreeMap<CameraId, CameraId>,
    pub(crate) grants: BTreeMap<Nonce, GrantState>,
    pub(crate) grants_of: BTreeMap<AccountId, Vec<Nonce>>,
    pub(crate) revoked_keys: BTreeSet<Fingerprint>,
    pub(crate) revoked_grants: BTreeSet<Nonce>,
    pub(crate) profile: Option<Arc<Profile>>,
    pub(crate) retention: Option<(u32, u64)>,
    pub(crate) endpoints: BTreeMap<Nonce, Endpoint>,
    pub(crate) releases: BTreeMap<Nonce, Release>,
    pub(crate) holds: BTreeMap<Nonce, Span>,
    pub(crate) exceptions: BTreeMap<Nonce, Exception>,
    pub(crate) erasures: BTreeMap<Nonce, Span>,
}

impl Account {
    /// The account.
    #[must_use]
    pub const fn id(&self) -> AccountId {
        self.id
    }

    /// Its one role.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Its pseudonym.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it was removed for ever.
    #[must_use]
    pub const fn removed(&self) -> bool {
        self.removed
    }

    /// Its present key; whether it is in office says [`Roster::account_by_key`].
    #[must_use]
    pub fn key(&self) -> (&UserPublic, Fingerprint) {
        let last = self.keys.last().expect("an account is made with its first key");
        (&last.public, last.fingerprint)
    }

    /// The present key and those before it from which the holder himself moved on: grants to any of them go on.
    pub fn chain(&self) -> impl Iterator<Item = Fingerprint> + '_ {
        let mut open = true;
        self.keys.iter().rev().map_while(move |key| {
            let included = open;
            open = open && key.carries_grants;
            included.then_some(key.fingerprint)
        })
    }
}

impl Roster {
    pub(crate) fn empty(anchor: Anchor) -> Self {
        Self {
            anchor,
            verified_at: UtcNanos(0),
            mark: mark_of(anchor.vm, &[]),
            genesis: None,
            founding: BTreeMap::new(),
            seat_sets: Vec::new(),
            owners: HashMap::from([(anchor.claim_key, Owner::Claim), (anchor.device, Owner::Device)]),
            accounts: BTreeMap::new(),
            posts: BTreeMap::new(),
            cameras: BTreeMap::new(),
            devices: BTreeMap::new(),
            kin: BTreeMap::new(),
            grants: BTreeMap::new(),
            grants_of: BTreeMap::new(),
            revoked_keys: BTreeSet::new(),
            revoked_grants: BTreeSet::new(),
            profile: None,
            retention: None,
            endpoints: BTreeMap::new(),
            releases: BTreeMap::new(),
            holds: BTreeMap::new(),
            exceptions: BTreeMap::new(),
            erasures: BTreeMap::new(),
        }
    }

    /// The VM.
    #[must_use]
    pub const fn vm(&self) -> VmId {
        self.anchor.vm
    }

    /// When it was asked for.
    #[must_use]
    pub const fn verified_at(&self) -> UtcNanos {
        self.verified_at
    }

    /// The head: what every segment, epoch record and entry is stamped with.
    #[must_use]
    pub const fn head(&self) -> Hash {
        self.mark.head
    }

    /// Effective statements.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.mark.count
    }

    /// Whether nothing is effective (before the claim).
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.mark.count == 0
    }

    /// Head and length.
    #[must_use]
    pub const fn mark(&self) -> HeadMark {
        self.mark
    }

    /// The genesis, once claimed.
    #[must_use]
    pub fn genesis(&self) -> Option<&Genesis> {
        self.genesis.as_deref()
    }

    /// Whether the VM is claimed.
    #[must_use]
    pub const fn claimed(&self) -> bool {
        self.genesis.is_some()
    }

    /// k of n, once claimed.
    #[must_use]
    pub fn threshold(&self) -> Option<Threshold> {
        self.genesis.as_ref().map(|g| Threshold { k: g.k, n: g.n })
    }

    /// Version of the seat set in office; 0 until every seat is filled.
    #[must_use]
    pub fn seat_set(&self) -> u32 {
        u32::try_from(self.seat_sets.len()).unwrap_or(u32::MAX)
    }

    /// The seats in office in the order of their numbers (during the founding: those filled so far).
    pub fn seats(&self) -> impl Iterator<Item = SeatHolder> + '_ {
        self.seat_sets
            .last()
            .unwrap_or(&self.founding)
            .values()
            .map(|seat| SeatHolder { revoked: self.revoked_keys.contains(&seat.fingerprint), ..seat.clone() })
    }

    /// The key of everybody who ever held a seat.
    pub fn former_seat_keys(&self) -> impl Iterator<Item = Fingerprint> + '_ {
        let sets = self.seat_sets.iter().chain([&self.founding]);
        sets.flat_map(|set| set.values().map(|seat| seat.fingerprint))
    }

    /// Every account, removed ones too.
    pub fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.accounts.values()
    }

    /// An account by its id.
    #[must_use]
    pub fn account(&self, id: AccountId) -> Option<&Account> {
        self.accounts.get(&id)
    }

    /// The account whose *present* key this is, unless key or account is revoked or removed.
    #[must_use]
    pub fn account_by_key(&self, key: Fingerprint) -> Option<&Account> {
        let Some(Owner::Account(id)) = self.owner(key) else { return None };
        self.account(id).filter(|account| self.account_in_office(account, key))
    }

    /// Whose key this is or was.
    #[must_use]
    pub fn owner(&self, key: Fingerprint) -> Option<Owner> {
        self.owners.get(&key).copied()
    }

    /// Every camera, removed ones too.
    pub fn cameras(&self) -> impl Iterator<Item = &Camera> {
        self.cameras.values()
    }

    /// A camera by its id.
    #[must_use]
    pub fn camera(&self, id: CameraId) -> Option<&Camera> {
        self.cameras.get(&id)
    }

    /// Whether the camera was removed for ever.
    #[must_use]
    pub fn removed(&self, id: CameraId) -> bool {
        self.camera(id).is_some_and(|camera| camera.removed)
    }

    /// Every grant, revoked and expired ones too.
    pub fn grants(&self) -> impl Iterator<Item = (Nonce, &GrantState)> {
        self.grants.iter().map(|(id, state)| (*id, state))
    }

    /// Tombstones over keys.
    #[must_use]
    pub const fn revoked_keys(&self) -> &BTreeSet<Fingerprint> {
        &self.revoked_keys
    }

    /// Tombstones over grants.
    #[must_use]
    pub const fn revoked_grants(&self) -> &BTreeSet<Nonce> {
        &self.revoked_grants
    }

    /// The protection profile, once set.
    #[must_use]
    pub fn profile(&self) -> Option<&Profile> {
        self.profile.as_deref()
    }

    /// Longest retention an administrator may set.
    #[must_use]
    pub fn retention_ceiling(&self) -> Duration {
        self.profile().map_or(RETENTION_DEFAULT, |p| Duration::from_secs(p.retention_ceiling_secs))
    }

    /// Retention in force: as set (default 72 h), never above the ceiling.
    #[must_use]
    pub fn retention(&self) -> Duration {
        self.retention.map_or(RETENTION_DEFAULT, |(_, secs)| Duration::from_secs(secs)).min(self.retention_ceiling())
    }

    /// Endpoints in force.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.values().filter(|endpoint| !endpoint.url.is_empty())
    }

    /// Endpoints in force of one kind.
    pub fn endpoints_of(&self, kind: EndpointKind) -> impl Iterator<Item = &Endpoint> {
        self.endpoints().filter(move |endpoint| endpoint.kind == kind)
    }

    /// Releases by id.
    #[must_use]
    pub const fn releases(&self) -> &BTreeMap<Nonce, Release> {
        &self.releases
    }

    /// Holds by id; a hold ends with its span or a revocation of its id.
    pub fn holds(&self) -> impl Iterator<Item = (Nonce, &Span)> {
        self.holds.iter().filter(|(id, _)| !self.revoked_grants.contains(id)).map(|(id, span)| (*id, span))
    }

    /// Exceptions in force at `at`.
    pub fn exceptions(&self, at: UtcNanos) -> impl Iterator<Item = (Nonce, &Exception)> {
        self.exceptions
            .iter()
            .filter(move |(id, e)| at < e.until && !self.revoked_grants.contains(id))
            .map(|(id, e)| (*id, e))
    }

    /// Early erasures by id.
    #[must_use]
    pub const fn erasures(&self) -> &BTreeMap<Nonce, Span> {
        &self.erasures
    }

    /// SHA-256 over everything derived: two versions of this code that derive differently notice.
    #[must_use]
    pub fn state_digest(&self) -> Hash {
        // Maps are ordered and `Debug` of every part is complete; `owners` alone is a hash map and follows from the
        // rest. The text form is never shown or parsed.
        let text = format!(
            "{:?}",
            (
                (&self.anchor, &self.genesis, &self.founding, &self.seat_sets, &self.accounts, &self.cameras),
                (&self.devices, &self.kin, &self.grants, &self.revoked_keys, &self.revoked_grants, &self.profile),
                (&self.retention, &self.endpoints, &self.releases, &self.holds, &self.exceptions, &self.erasures),
                &self.posts,
            )
        );
        digest::hash("roster-state", &[text.as_bytes()])
    }

    pub(crate) const fn claim_key(&self) -> Fingerprint {
        self.anchor.claim_key
    }

    pub(crate) fn k_or_one(&self) -> u32 {
        self.genesis.as_ref().map_or(1, |g| u32::from(g.k))
    }

    /// Seat numbers and keys of a complete seat set.
    pub(crate) fn seat_set_members(&self, version: u32) -> Option<Vec<(u8, Fingerprint)>> {
        let set = self.seat_sets.get(usize::try_from(version).ok()?.checked_sub(1)?)?;
        Some(set.iter().map(|(index, seat)| (*index, seat.fingerprint)).collect())
    }

    /// Whether the key holds a seat now.
    pub(crate) fn seat_in_office(&self, key: Fingerprint) -> bool {
        self.seats().any(|seat| seat.fingerprint == key && !seat.revoked)
    }

    /// Whether the key is the account's present one and nothing in its chain is revoked.
    pub(crate) fn account_in_office(&self, account: &Account, key: Fingerprint) -> bool {
        !account.removed && account.key().1 == key && !self.chain_revoked(account)
    }

    /// Whether the present key, or one from which it was reached by the holder's own change, is revoked: a thief of a
    /// key must not escape its revocation by changing it.
    #[must_use]
    pub fn chain_revoked(&self, account: &Account) -> bool {
        account.chain().any(|key| self.revoked_keys.contains(&key))
    }

    /// A camera outside this camera's family that has or had the same device, address or pin.
    pub(crate) fn device_conflict(
        &self,
        camera: CameraId,
        setup: &CameraSetup,
        beside: Option<CameraId>,
    ) -> Option<CameraId> {
        let families: BTreeSet<_> = [Some(camera), beside].into_iter().flatten().map(|id| self.family(id)).collect();
        let owners = device_marks(setup);
        let mut owners = owners.iter().filter_map(|mark| self.devices.get(mark)).flatten();
        owners.find(|owner| !families.contains(&self.family(**owner))).copied()
    }

    /// The root of a camera's family.
    pub(crate) fn family(&self, mut camera: CameraId) -> CameraId {
        // Roots are smaller than what points to them (see `apply::join`), so this ends.
        while let Some(next) = self.kin.get(&camera) {
            camera = *next;
        }
        camera
    }
}

/// What a device is known by: its identity, its pin, its address.
pub(crate) fn device_marks(setup: &CameraSetup) -> Vec<Hash> {
    let mut marks = vec![digest::hash("roster-device", &[b"identity", setup.device.as_bytes()])];
    if let Trust::Pin(pin) = &setup.trust {
        marks.push(digest::hash("roster-device", &[b"pin\0", pin.as_bytes()]));
    }
    if let Some(authority) = setup.authority() {
        marks.push(digest::hash("roster-device", &[b"address\0", authority.as_bytes()]));
    }
    marks
}

/// Head over ids that are sorted and without repetition.
pub(crate) fn mark_of(vm: VmId, sorted: &[Hash]) -> HeadMark {
    use sha2::Digest;
    let count = sorted.len() as u64;
    let mut state = digest::hasher("roster-head");
    state.update(vm.as_bytes());
    state.update(count.to_be_bytes());
    sorted.iter().for_each(|id| state.update(id.as_bytes()));
    HeadMark { head: digest::finish(state), count }
}

impl Cameras {
    /// Cameras in the list that the roster does not know.
    pub(crate) fn unknown(&self, roster: &Roster) -> Option<CameraId> {
        match self {
            Self::All => None,
            Self::List(list) => list.iter().copied().find(|id| roster.camera(*id).is_none()),
        }
    }
}
