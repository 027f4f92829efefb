//! Posts: one key for the people of a control room, wrapped to each of its named members.
//!
//! An epoch is wrapped once to the post instead of once to everybody in it, and a grant to the post outlasts a change of
//! shift. The post itself never asks for anything: each member asks under his own key, and the ledger names him. Who
//! leaves takes a copy of the post's key along, so every change of the members makes the next version under a new key,
//! and what follows is wrapped to that one alone. What does not belong: sealing the key (`peri_seal::post`), which the
//! client of a member does; no seat has to hold the key to sign for it.
//!
//! Invariants: a post is in office while its present key is not revoked and *every* member of its present version is in
//! office: a member who was removed or revoked gets no further epoch wrapped through the post, at the price that his
//! colleagues wait for the next version. Older versions only open what was wrapped to them.

use crate::error::RosterError;
use crate::roster::{Account, Owner, Roster};
use minicbor::{Decode, Encode};
use peri_domain::{AccountId, Fingerprint};
use peri_seal::keys::UserPublic;
use std::collections::BTreeMap;

/// A version of a post.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Post {
    /// Names the post over its versions; no account has this id.
    #[n(0)]
    pub id: AccountId,
    /// Follows the version in force; the first is 1.
    #[n(1)]
    pub serial: u32,
    /// What people call it.
    #[n(2)]
    pub name: String,
    /// Its key, new in every version.
    #[n(3)]
    pub key: UserPublic,
    /// Who belongs to it, strictly ascending by account.
    #[n(4)]
    pub members: Vec<PostMember>,
}

/// A member of a post.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct PostMember {
    /// The member.
    #[n(0)]
    pub account: AccountId,
    /// His key.
    #[n(1)]
    pub key: Fingerprint,
    /// The post's private key, sealed to it (`peri_seal::post`); opaque here.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub sealed: Vec<u8>,
}

/// A post with all its versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostState {
    pub(crate) versions: BTreeMap<u32, Post>,
}

impl PostState {
    /// The version in force.
    #[must_use]
    pub fn present(&self) -> &Post {
        self.versions.values().next_back().expect("a post is made with its first version")
    }

    /// Every version, oldest first: epochs of its time were wrapped to its key.
    pub fn versions(&self) -> impl Iterator<Item = &Post> {
        self.versions.values()
    }

    /// Whether the key is or was the post's.
    pub(crate) fn had(&self, key: Fingerprint) -> bool {
        self.versions.values().any(|version| version.key.fingerprint() == key)
    }
}

impl Roster {
    /// Every post.
    pub fn posts(&self) -> impl Iterator<Item = &PostState> {
        self.posts.values()
    }

    /// A post by its id.
    #[must_use]
    pub fn post(&self, id: AccountId) -> Option<&PostState> {
        self.posts.get(&id)
    }

    /// Whether epochs are wrapped to the post: its key is not revoked and all its members are in office.
    #[must_use]
    pub fn post_in_office(&self, post: &PostState) -> bool {
        let present = post.present();
        !self.revoked_keys.contains(&present.key.fingerprint()) && present.members.iter().all(|m| self.is_member(m))
    }

    /// Posts in office that name this account.
    pub fn posts_of(&self, account: AccountId) -> impl Iterator<Item = &PostState> {
        self.posts().filter(move |post| {
            post.present().members.iter().any(|member| member.account == account) && self.post_in_office(post)
        })
    }

    /// Whether the member may still look: his account is in office, under the key named or one he changed to himself.
    fn is_member(&self, member: &PostMember) -> bool {
        self.account(member.account)
            .is_some_and(|account| self.may_look(account) && account.chain().any(|key| key == member.key))
    }

    pub(crate) fn may_look(&self, account: &Account) -> bool {
        account.role().may_receive_grant() && self.account_in_office(account, account.key().1)
    }

    /// Whether each member's key was his account's at some time, and his role one that may look.
    pub(crate) fn check_members(&self, post: &Post) -> Result<(), RosterError> {
        for member in &post.members {
            match self.owner(member.key) {
                Some(Owner::Seat(_) | Owner::Claim) => return Err(RosterError::GrantForCustodian { key: member.key }),
                Some(Owner::Account(id)) if id == member.account => {}
                _ => {
                    let (key, account) = (member.key, member.account);
                    let why = format!("key {key} is not a key of account {account}; name the member's own key");
                    return Err(RosterError::Invalid { what: "post", why });
                }
            }
            let role = self.account(member.account).map(Account::role);
            if let Some(role) = role.filter(|role| !role.may_receive_grant()) {
                return Err(RosterError::GrantForRole { account: member.account, role });
            }
        }
        Ok(())
    }
}
