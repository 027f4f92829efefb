//! Facts as Cedar entities, copied from `Verified<Roster>` and from nothing else.
//!
//! What does not belong: questions (decide), requests (wire). Invariants: a fact is a function of the verified roster and
//! of *which* key, camera and appliance are meant, so nothing that a request says becomes an attribute; what the roster
//! does not know has no entity, and a policy that needs it denies. Names and attributes are those of
//! `policies/access/schema.cedarschema`; entities that do not fit it are refused there.
//!
//! Only a verified roster can be copied from:
//! ```compile_fail
//! fn copy(roster: &peri_roster::Roster, asker: &peri_access::decide::Principal) {
//!     let _ = peri_access::entities::Facts::of_appliance(roster, asker);
//! }
//! ```

use crate::decide::{Principal, Standing};
use crate::policy::Policies;
use cedar_policy::{Entities, Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression};
use core::fmt::Display;
use peri_domain::{AccountId, CameraId, Fingerprint, Nonce, Right, UtcNanos};
use peri_roster::body::{Cameras, WeeklyHours};
use peri_roster::{Account, Camera, GrantState, PostState, Roster, Verified};
use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

/// Types of entities, parsed once.
struct Types {
    vm: EntityTypeName,
    key: EntityTypeName,
    role: EntityTypeName,
    right: EntityTypeName,
    claim_key: EntityTypeName,
    seat: EntityTypeName,
    account: EntityTypeName,
    camera: EntityTypeName,
    post: EntityTypeName,
    grant: EntityTypeName,
    action: EntityTypeName,
}

static TYPES: LazyLock<Types> = LazyLock::new(|| {
    let name = |text: &str| text.parse().expect("a name of the schema");
    Types {
        vm: name("Vm"),
        key: name("Key"),
        role: name("Role"),
        right: name("Right"),
        claim_key: name("ClaimKey"),
        seat: name("Seat"),
        account: name("Account"),
        camera: name("Camera"),
        post: name("Post"),
        grant: name("Grant"),
        action: name("Action"),
    }
});

/// What is known about an asker and an object.
#[derive(Debug)]
pub struct Facts {
    entities: Entities,
    asker: EntityUid,
    object: EntityUid,
    grants: Vec<GrantFact>,
}

/// A grant of the asker, or of a post of his, among the facts, whether or not it counts.
#[derive(Debug, Clone)]
pub(crate) struct GrantFact {
    pub(crate) uid: EntityUid,
    pub(crate) from: UtcNanos,
    pub(crate) until: UtcNanos,
    pub(crate) weekly: Option<WeeklyHours>,
}

impl Facts {
    /// About an asker and the appliance itself; `None` when the roster does not know the asker.
    #[must_use]
    pub fn of_appliance(roster: &Verified<Roster>, asker: &Principal) -> Option<Self> {
        Self::build(roster, asker, uid(&TYPES.vm, roster.vm()), Vec::new(), Vec::new())
    }

    /// About an asker, all his grants, those of every post that ever named him, and a camera; `None` when the roster does not know one of the two.
    #[must_use]
    pub fn of_camera(roster: &Verified<Roster>, asker: &Principal, camera: CameraId) -> Option<Self> {
        let camera = roster.camera(camera)?;
        let account = match asker.standing() {
            Standing::Account(id, _) => Some(id),
            Standing::Claim | Standing::Seat(_) => None,
        };
        // Whether he still belongs to it is for the policies to say.
        let names = |post: &&PostState| {
            post.versions().any(|version| version.members.iter().any(|member| Some(member.account) == account))
        };
        let posts: Vec<_> = roster.posts().filter(names).collect();
        let holders = account.into_iter().chain(posts.iter().map(|post| post.present().id));
        let mut grants: Vec<_> = holders.flat_map(|holder| roster.grants_of(holder)).collect();
        // The one that lasts longest is the likeliest to fit.
        grants.sort_by_key(|(id, state)| (core::cmp::Reverse(state.until), *id));
        let fact = |(id, state): &(Nonce, &GrantState)| GrantFact {
            uid: uid(&TYPES.grant, *id),
            from: state.grant.from,
            until: state.until,
            weekly: state.grant.weekly.clone(),
        };
        let facts = grants.iter().map(fact).collect();
        let entities = grants.into_iter().map(|(id, state)| grant_entity(roster, id, state));
        let posts = posts.into_iter().map(|post| post_entity(roster, post));
        let entities = entities.chain(posts).chain([camera_entity(roster, camera)]).collect::<Option<_>>()?;
        Self::build(roster, asker, uid(&TYPES.camera, camera.id), entities, facts)
    }

    /// The facts as Cedar holds them.
    #[must_use]
    pub const fn entities(&self) -> &Entities {
        &self.entities
    }

    pub(crate) const fn asker(&self) -> &EntityUid {
        &self.asker
    }

    pub(crate) const fn object(&self) -> &EntityUid {
        &self.object
    }

    pub(crate) fn grants(&self) -> &[GrantFact] {
        &self.grants
    }

    fn build(
        roster: &Verified<Roster>,
        asker: &Principal,
        object: EntityUid,
        mut entities: Vec<Entity>,
        grants: Vec<GrantFact>,
    ) -> Option<Self> {
        let entity = match asker.standing() {
            Standing::Claim => claim_entity(roster)?,
            Standing::Seat(index) => seat_entity(roster, index)?,
            Standing::Account(id, _) => account_entity(roster, roster.account(id)?)?,
        };
        let asker = entity.uid();
        entities.push(entity);
        let entities = Entities::from_entities(entities, Some(Policies::shipped().schema())).ok()?;
        Some(Self { entities, asker, object, grants })
    }
}

/// An action of the schema.
pub(crate) fn action(name: &str) -> EntityUid {
    uid(&TYPES.action, name)
}

/// A key in a context.
pub(crate) fn key(fingerprint: Fingerprint) -> RestrictedExpression {
    link(uid(&TYPES.key, fingerprint))
}

/// A reference to an entity.
pub(crate) fn link(uid: EntityUid) -> RestrictedExpression {
    RestrictedExpression::new_entity_uid(uid)
}

/// A moment.
pub(crate) fn moment(time: UtcNanos) -> RestrictedExpression {
    RestrictedExpression::new_long(time.0)
}

fn claim_entity(roster: &Verified<Roster>) -> Option<Entity> {
    let key = roster.genesis()?.claim_key.fingerprint();
    entity(
        uid(&TYPES.claim_key, key),
        [
            ("vm", vm(roster)),
            ("key", self::key(key)),
            // Spent once every seat is filled, which is when the first seat set is in office.
            ("spent", RestrictedExpression::new_bool(roster.seat_set() > 0)),
        ],
    )
}

fn seat_entity(roster: &Verified<Roster>, index: u8) -> Option<Entity> {
    let seat = roster.seats().find(|seat| seat.index == index)?;
    entity(
        uid(&TYPES.seat, index),
        [("vm", vm(roster)), ("key", key(seat.fingerprint)), ("revoked", RestrictedExpression::new_bool(seat.revoked))],
    )
}

fn account_entity(roster: &Verified<Roster>, account: &Account) -> Option<Entity> {
    entity(
        account_uid(account.id()),
        [
            ("vm", vm(roster)),
            ("role", link(uid(&TYPES.role, account.role()))),
            ("key", key(account.key().1)),
            ("keys", RestrictedExpression::new_set(account.chain().map(key))),
            ("keyRevoked", RestrictedExpression::new_bool(roster.chain_revoked(account))),
            ("removed", RestrictedExpression::new_bool(account.removed())),
        ],
    )
}

fn camera_entity(roster: &Verified<Roster>, camera: &Camera) -> Option<Entity> {
    let set_up_by = camera.set_up_by.map(|account| ("setUpBy", link(account_uid(account))));
    entity(
        uid(&TYPES.camera, camera.id),
        [
            ("vm", vm(roster)),
            ("registered", RestrictedExpression::new_bool(camera.registered)),
            ("removed", RestrictedExpression::new_bool(camera.removed)),
        ]
        .into_iter()
        .chain(set_up_by),
    )
}

fn post_entity(roster: &Verified<Roster>, post: &PostState) -> Option<Entity> {
    let present = post.present();
    let keys = post.versions().map(|version| version.key.fingerprint());
    let keys = keys.filter(|key| !roster.revoked_keys().contains(key));
    let members = present.members.iter().map(|member| link(account_uid(member.account)));
    entity(
        post_uid(present.id),
        [
            ("vm", vm(roster)),
            ("keys", RestrictedExpression::new_set(keys.map(key))),
            ("members", RestrictedExpression::new_set(members)),
            ("inOffice", RestrictedExpression::new_bool(roster.post_in_office(post))),
        ],
    )
}

fn grant_entity(roster: &Verified<Roster>, id: Nonce, state: &GrantState) -> Option<Entity> {
    let grant = &state.grant;
    let rights = [(Right::Live, "live"), (Right::Playback, "playback"), (Right::Export, "export")];
    let rights = rights.into_iter().filter(|(right, _)| grant.rights.has(*right));
    let cameras = match &grant.cameras {
        Cameras::All => None,
        Cameras::List(list) => {
            Some(RestrictedExpression::new_set(list.iter().map(|camera| link(uid(&TYPES.camera, camera)))))
        }
    };
    let holder = match roster.account(grant.account) {
        Some(_) => ("account", link(account_uid(grant.account))),
        None => ("post", link(post_uid(roster.post(grant.account)?.present().id))),
    };
    entity(
        uid(&TYPES.grant, id),
        [
            ("vm", vm(roster)),
            holder,
            ("recipient", key(grant.recipient)),
            ("rights", RestrictedExpression::new_set(rights.map(|(_, name)| link(uid(&TYPES.right, name))))),
            ("from", moment(grant.from)),
            ("until", moment(state.until)),
            ("revoked", RestrictedExpression::new_bool(state.revoked)),
        ]
        .into_iter()
        .chain(cameras.map(|set| ("cameras", set))),
    )
}

fn entity(
    uid: EntityUid,
    attributes: impl IntoIterator<Item = (&'static str, RestrictedExpression)>,
) -> Option<Entity> {
    let attributes: HashMap<_, _> = attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Entity::new(uid, attributes, HashSet::new()).ok()
}

fn vm(roster: &Verified<Roster>) -> RestrictedExpression {
    link(uid(&TYPES.vm, roster.vm()))
}

fn account_uid(id: AccountId) -> EntityUid {
    uid(&TYPES.account, id)
}

fn post_uid(id: AccountId) -> EntityUid {
    uid(&TYPES.post, id)
}

fn uid(of: &EntityTypeName, id: impl Display) -> EntityUid {
    EntityUid::from_type_name_and_id(of.clone(), EntityId::new(id.to_string()))
}
