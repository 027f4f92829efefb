//! Invitations: a link that enrols one client key, once.
//!
//! What does not belong: rights. An invitation gives none; seats then sign the grant that names the enrolled key's
//! fingerprint. Invariants: the secret is made in the inviting client and travels only in the link's `#fragment`,
//! which browsers send to no server; the server keeps a hash and a verification key, so it can neither make nor use
//! an invitation; the redeemer proves both the invitation and the key that he enrols.
//!
//! ```text
//!  secret (32)  = 256 random bits          fragment = base64url(secret ‖ checksum (4)), 48 characters
//!  id           = SHA-256("peri/v1/invitation-id\0" ‖ secret)
//!  redeem key   = P-256 scalar from HKDF-SHA-256(secret, no salt, "peri/v1/invitation-key\0" ‖ try (1))
//!
//!  offered ── redeemed in time ──▶ used by K ── K again: the same answer; another key: refused, alarm
//!     └────── not_after ─────────▶ expired
//! ```

use crate::session::{SessionKey, SessionPublic, SessionSignature};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hkdf::Hkdf;
use minicbor::{Decode, Encode};
use peri_domain::limits::{INVITATION_MAX, INVITATIONS_MAX};
use peri_domain::{AccountId, Fingerprint, Hash, UtcNanos, VmId};
use peri_seal::canonical::{self, CanonicalError};
use peri_seal::digest::{hash, labelled};
use peri_seal::keys::{KeyPair, Signature, UserPublic};
use peri_seal::rng::CryptoRng;
use sha2::Sha256;
use std::collections::BTreeMap;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Context of both signatures of a redemption.
pub const INVITATION_CONTEXT: &str = "invitation";
/// Characters of a fragment.
pub const FRAGMENT_LEN: usize = 48;

const CHECKSUM_LEN: usize = 4;

/// Open invitations of one inviter: nobody takes more than a 64th of all.
const OF_ONE_MAX: usize = INVITATIONS_MAX / 64;
/// With those that were used or have ended, which are kept for a while: nobody takes more than a quarter.
const OF_ONE_KEPT_MAX: usize = INVITATIONS_MAX / 4;

/// The secret of an invitation, on the inviter's and the invited one's side; wiped on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Invitation([u8; 32]);

/// By what the server finds an invitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct InvitationId(#[n(0)] pub Hash);

/// What the inviting client gives to the server, inside a request of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Offer {
    /// The invitation.
    #[n(0)]
    pub id: InvitationId,
    /// Verifies its redemption.
    #[n(1)]
    pub verify: SessionPublic,
    /// The account that the enrolled key is proposed for.
    #[n(2)]
    pub account: AccountId,
    /// First instant at which it is void; at most [`INVITATION_MAX`] ahead.
    #[n(3)]
    pub not_after: UtcNanos,
}

/// Enrols a key.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Redemption {
    /// The invitation.
    #[n(0)]
    pub id: InvitationId,
    /// The new key.
    #[n(1)]
    pub key: UserPublic,
    /// By the invitation's key over (VM, id, fingerprint).
    #[n(2)]
    pub invited: SessionSignature,
    /// By the new key over the same.
    #[n(3)]
    pub possession: Signature,
}

/// A key that was enrolled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enrolled {
    /// For this account.
    pub account: AccountId,
    /// The key.
    pub fingerprint: Fingerprint,
    /// Not a repetition: write the entry, tell the inviter.
    pub first: bool,
}

/// A link that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FragmentError {
    /// Cut off or run together.
    #[error("an invitation has {FRAGMENT_LEN} characters behind the #, this one has {found}; copy the whole link")]
    Length {
        /// Characters found.
        found: usize,
    },
    /// Not base64url.
    #[error("the invitation holds a character that no invitation has; copy the link again")]
    Character,
    /// Some character is wrong.
    #[error("the invitation has a typing error (its checksum does not fit); copy the link again")]
    Checksum,
}

/// Why an invitation is not made or not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InviteError {
    /// Never offered here, or long over.
    #[error("this appliance knows no such invitation; ask the inviter for a new one, or check the address in the link")]
    Unknown,
    /// Too late.
    #[error("the invitation ended {since_s} s ago; ask the inviter for a new one")]
    Expired {
        /// Seconds.
        since_s: u64,
    },
    /// Used by somebody else. Alarm: if the invited one did not enrol key `by`, somebody read his link.
    #[error("the invitation was used before, for key {by}; if that was not you, tell the inviter at once")]
    Used {
        /// The key that was enrolled.
        by: Fingerprint,
    },
    /// The redeemer has not the secret, or not the key.
    #[error("the redemption is not signed by the {what}; open the link again")]
    Signature {
        /// Which signature.
        what: &'static str,
    },
    /// The key is no key.
    #[error("the key to be enrolled is not valid; make a new one")]
    Key,
    /// Offered twice.
    #[error("this invitation exists already; make a new one")]
    Exists,
    /// Ends too late or has ended.
    #[error("an invitation ends within {} days from now", INVITATION_MAX.as_secs() / 86_400)]
    Length,
    /// Too many of one inviter.
    #[error(
        "you have {OF_ONE_MAX} open invitations, or {OF_ONE_KEPT_MAX} with those that were used or ended lately; withdraw \
         some, or let another administrator invite"
    )]
    Yours,
    /// Too many.
    #[error("{INVITATIONS_MAX} invitations are kept; wait until some have ended")]
    Full,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
struct Entry {
    #[n(0)]
    offer: Offer,
    /// Who invited: he alone is told what became of it.
    #[n(1)]
    by: Fingerprint,
    /// The key that was enrolled.
    #[n(2)]
    key: Option<UserPublic>,
}

/// The server's side. Make the changed entry ([`Invitations::entry`]) durable before answering.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Invitations {
    all: BTreeMap<InvitationId, Entry>,
    /// Which of them enrolled a key.
    by_key: BTreeMap<Fingerprint, InvitationId>,
}

impl Invitation {
    /// A new one, in the inviting client.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut secret = [0; 32];
        rng.fill_bytes(&mut secret);
        Self(secret)
    }

    /// What stands behind the `#` of the link, and in the QR code.
    #[must_use]
    pub fn to_fragment(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new([0; 32 + CHECKSUM_LEN]);
        bytes[..32].copy_from_slice(&self.0);
        bytes[32..].copy_from_slice(&self.checksum());
        Zeroizing::new(URL_SAFE_NO_PAD.encode(&bytes[..]))
    }

    /// Reads a fragment; blanks around it do not matter.
    ///
    /// # Errors
    /// [`FragmentError`] says what is wrong, never what it holds.
    pub fn parse(fragment: &str) -> Result<Self, FragmentError> {
        let fragment = fragment.trim().trim_start_matches('#');
        let found = fragment.chars().count();
        if found != FRAGMENT_LEN {
            return Err(FragmentError::Length { found });
        }
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(fragment).map_err(|_| FragmentError::Character)?);
        let (secret, checksum) = bytes.split_at(32);
        let invitation = Self(secret.try_into().expect("split at 32"));
        if invitation.checksum() == checksum { Ok(invitation) } else { Err(FragmentError::Checksum) }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> InvitationId {
        InvitationId(hash("invitation-id", &[&self.0]))
    }

    /// What the inviting client offers to the server.
    #[must_use]
    pub fn offer(&self, account: AccountId, not_after: UtcNanos) -> Offer {
        Offer { id: self.id(), verify: self.key().public(), account, not_after }
    }

    /// What the invited client sends: its new key under both signatures.
    #[must_use]
    pub fn redeem(&self, rng: &mut impl CryptoRng, vm: VmId, pair: &KeyPair) -> Redemption {
        let message = message(vm, self.id(), pair.fingerprint());
        Redemption {
            id: self.id(),
            key: pair.public().clone(),
            invited: self.key().sign(rng, INVITATION_CONTEXT, &message),
            possession: pair.sign(INVITATION_CONTEXT, &message),
        }
    }

    fn key(&self) -> SessionKey {
        // A uniform 256-bit string is a scalar but for one in 2^32 (P-256 is that close to 2^256); then the next try.
        let keys = (0..=u8::MAX).filter_map(|attempt| {
            let mut scalar = Zeroizing::new([0; 32]);
            let info = labelled("invitation-key", &[&[attempt]]);
            Hkdf::<Sha256>::new(None, &self.0).expand(&info, &mut scalar[..]).expect("32 bytes are one block");
            SessionKey::from_secret_bytes(&scalar)
        });
        keys.into_iter().next().expect("256 failures in a row have a chance of 2^-8192")
    }

    fn checksum(&self) -> [u8; CHECKSUM_LEN] {
        let digest = hash("invitation-check", &[&self.0]);
        [digest.0[0], digest.0[1], digest.0[2], digest.0[3]]
    }
}

impl Invitations {
    /// Takes an offer from somebody who may invite.
    ///
    /// # Errors
    /// [`InviteError::Exists`], [`InviteError::Length`], [`InviteError::Yours`], [`InviteError::Full`].
    pub fn offer(&mut self, offer: Offer, by: Fingerprint, now: UtcNanos) -> Result<(), InviteError> {
        // What ended longer ago than an invitation may last gives no better error than an unknown one.
        let kept = self.all.len();
        self.all.retain(|_, entry| now.saturating_since(entry.offer.not_after) <= INVITATION_MAX);
        if self.all.len() < kept {
            self.index();
        }
        if self.all.contains_key(&offer.id) {
            return Err(InviteError::Exists);
        }
        if offer.not_after <= now || offer.not_after.saturating_since(now) > INVITATION_MAX {
            return Err(InviteError::Length);
        }
        if self.all.len() >= INVITATIONS_MAX {
            return Err(InviteError::Full);
        }
        let his: Vec<&Entry> = self.all.values().filter(|entry| entry.by == by).collect();
        let open = his.iter().filter(|entry| entry.key.is_none() && now < entry.offer.not_after).count();
        if open >= OF_ONE_MAX || his.len() >= OF_ONE_KEPT_MAX {
            return Err(InviteError::Yours);
        }
        self.all.insert(offer.id, Entry { offer, by, key: None });
        Ok(())
    }

    /// Enrols a key. The same key again gets the same answer, so that a lost answer costs nothing.
    ///
    /// # Errors
    /// [`InviteError`]; nothing has changed then.
    pub fn redeem(&mut self, vm: VmId, redemption: &Redemption, now: UtcNanos) -> Result<Enrolled, InviteError> {
        let entry = self.all.get_mut(&redemption.id).ok_or(InviteError::Unknown)?;
        let fingerprint = redemption.key.fingerprint();
        let message = message(vm, redemption.id, fingerprint);
        // Signatures first: whoever has not the secret learns nothing about the invitation.
        entry
            .offer
            .verify
            .verify(INVITATION_CONTEXT, &message, &redemption.invited)
            .map_err(|_| InviteError::Signature { what: "invitation" })?;
        redemption.key.validate().map_err(|_| InviteError::Key)?;
        redemption
            .key
            .verify(INVITATION_CONTEXT, &message, &redemption.possession)
            .map_err(|_| InviteError::Signature { what: "key to be enrolled" })?;
        let account = entry.offer.account;
        match entry.key.as_ref().map(UserPublic::fingerprint) {
            Some(by) if by == fingerprint => return Ok(Enrolled { account, fingerprint, first: false }),
            Some(by) => return Err(InviteError::Used { by }),
            None if now >= entry.offer.not_after => {
                let since_s = now.saturating_since(entry.offer.not_after).as_secs();
                return Err(InviteError::Expired { since_s });
            }
            None => {}
        }
        entry.key = Some(redemption.key.clone());
        self.by_key.insert(fingerprint, redemption.id);
        Ok(Enrolled { account, fingerprint, first: true })
    }

    /// Whether this is an unused invitation of his, which he may take back.
    #[must_use]
    pub fn is_unused(&self, id: InvitationId, by: Fingerprint) -> bool {
        self.all.get(&id).is_some_and(|entry| entry.by == by && entry.key.is_none())
    }

    /// The inviter takes an unused invitation back. `false` when he has none.
    pub fn withdraw(&mut self, id: InvitationId, by: Fingerprint) -> bool {
        self.is_unused(id, by) && self.all.remove(&id).is_some()
    }

    /// What became of an invitation, for whoever made it: the offer, and the key that was enrolled.
    #[must_use]
    pub fn of(&self, id: InvitationId, by: Fingerprint) -> Option<(&Offer, Option<&UserPublic>)> {
        let entry = self.all.get(&id).filter(|entry| entry.by == by)?;
        Some((&entry.offer, entry.key.as_ref()))
    }

    /// The offer of an invitation.
    #[must_use]
    pub fn offer_of(&self, id: InvitationId) -> Option<Offer> {
        self.all.get(&id).map(|entry| entry.offer)
    }

    /// A key that an invitation enrolled, and by which offer.
    #[must_use]
    pub fn enrolled(&self, key: Fingerprint) -> Option<(&UserPublic, Offer)> {
        let entry = self.all.get(self.by_key.get(&key)?)?;
        Some((entry.key.as_ref()?, entry.offer))
    }

    /// The canonical bytes of one, to be kept.
    #[must_use]
    pub fn entry(&self, id: InvitationId) -> Option<Vec<u8>> {
        self.all.get(&id).map(canonical::encode)
    }

    /// Takes back what [`Invitations::entry`] gave: at a start, or where a change could not be made durable.
    ///
    /// # Errors
    /// [`CanonicalError`].
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), CanonicalError> {
        let entry: Entry = canonical::decode("stored invitation", bytes)?;
        let id = entry.offer.id;
        if let Some(key) = &entry.key {
            self.by_key.insert(key.fingerprint(), id);
        }
        if self.all.insert(id, entry).is_some_and(|before| before.key.is_some()) {
            self.index();
        }
        Ok(())
    }

    /// Finds keys by invitation anew: one key may have been enrolled by two.
    fn index(&mut self) {
        let enrolled = self.all.iter().filter_map(|(id, entry)| Some((entry.key.as_ref()?.fingerprint(), *id)));
        self.by_key = enrolled.collect();
    }
}

fn message(vm: VmId, id: InvitationId, fingerprint: Fingerprint) -> Vec<u8> {
    canonical::encode(&(vm, id, fingerprint))
}

#[cfg(test)]
mod tests {
    use super::*;
    use peri_seal::rng;

    const VM: VmId = VmId([1; 16]);
    const ACCOUNT: AccountId = AccountId([2; 16]);
    const BOSS: Fingerprint = Fingerprint([3; 32]);

    fn at(secs: i64) -> UtcNanos {
        UtcNanos::from_secs(1_700_000_000 + secs)
    }

    #[test]
    fn a_link_enrols_one_key_once_and_repeats_its_answer() {
        let (invited, thief) = (KeyPair::generate(&mut rng::system()), KeyPair::generate(&mut rng::system()));
        let made = Invitation::generate(&mut rng::system());
        let mut server = Invitations::default();
        server.offer(made.offer(ACCOUNT, at(100)), BOSS, at(0)).unwrap();
        assert_eq!(server.offer(made.offer(ACCOUNT, at(100)), BOSS, at(0)), Err(InviteError::Exists));
        let read = Invitation::parse(&format!(" #{} ", *made.to_fragment())).unwrap();
        let redemption = read.redeem(&mut rng::system(), VM, &invited);
        let enrolled = Enrolled { account: ACCOUNT, fingerprint: invited.fingerprint(), first: true };
        assert_eq!(server.redeem(VM, &redemption, at(99)), Ok(enrolled));
        let kept = server.entry(made.id()).unwrap();
        let mut server = Invitations::default();
        server.restore(&kept).unwrap();
        assert_eq!(server.of(made.id(), BOSS).unwrap().1, Some(invited.public()));
        assert_eq!(server.of(made.id(), invited.fingerprint()), None, "the inviter alone is told");
        let found = server.enrolled(invited.fingerprint()).map(|(key, offer)| (key, offer.account));
        assert_eq!(found, Some((invited.public(), ACCOUNT)));
        assert_eq!(server.enrolled(thief.fingerprint()), None);
        assert_eq!(server.redeem(VM, &redemption, at(500)), Ok(Enrolled { first: false, ..enrolled }));
        let second = server.redeem(VM, &read.redeem(&mut rng::system(), VM, &thief), at(99));
        assert_eq!(second, Err(InviteError::Used { by: invited.fingerprint() }));
        assert!(!server.withdraw(made.id(), BOSS));
    }

    #[test]
    fn late_unknown_and_forged_redemptions_are_named() {
        let (invited, thief) = (KeyPair::generate(&mut rng::system()), KeyPair::generate(&mut rng::system()));
        let made = Invitation::generate(&mut rng::system());
        let mut server = Invitations::default();
        let redemption = made.redeem(&mut rng::system(), VM, &invited);
        assert_eq!(server.redeem(VM, &redemption, at(0)), Err(InviteError::Unknown));
        let lasts = i64::try_from(INVITATION_MAX.as_secs()).unwrap();
        assert_eq!(server.offer(made.offer(ACCOUNT, at(lasts + 1)), BOSS, at(0)), Err(InviteError::Length));
        assert_eq!(server.offer(made.offer(ACCOUNT, at(0)), BOSS, at(0)), Err(InviteError::Length));
        server.offer(made.offer(ACCOUNT, at(100)), BOSS, at(0)).unwrap();
        // The portal sees a redemption and puts its own key into it.
        let other = made.redeem(&mut rng::system(), VmId([9; 16]), &invited);
        let swapped = Redemption { key: thief.public().clone(), ..redemption.clone() };
        let borrowed = Redemption { possession: other.possession, ..redemption.clone() };
        for (forged, what) in [(other, "invitation"), (swapped, "invitation"), (borrowed, "key to be enrolled")] {
            assert_eq!(server.redeem(VM, &forged, at(1)), Err(InviteError::Signature { what }));
        }
        assert_eq!(server.redeem(VM, &redemption, at(100)), Err(InviteError::Expired { since_s: 0 }));
        assert!(!server.withdraw(made.id(), Fingerprint([9; 32])), "another one's");
        assert!(server.withdraw(made.id(), BOSS));
        assert_eq!(server.redeem(VM, &redemption, at(1)), Err(InviteError::Unknown));
    }

    #[test]
    fn what_the_server_keeps_redeems_nothing() {
        let made = Invitation([5; 32]);
        let mut server = Invitations::default();
        server.offer(made.offer(ACCOUNT, at(100)), BOSS, at(0)).unwrap();
        let kept = server.entry(made.id()).unwrap();
        assert!(!kept.windows(32).any(|bytes| bytes == made.0), "the secret");
        assert!(!kept.windows(32).any(|bytes| bytes == &made.key().to_secret_bytes()[..]), "the redeem key");
    }

    #[test]
    fn a_slip_of_the_hand_is_noticed_and_named() {
        let text = Invitation([5; 32]).to_fragment();
        assert_eq!(text.len(), FRAGMENT_LEN);
        for at in 0..FRAGMENT_LEN {
            let mut wrong = text.as_bytes().to_vec();
            wrong[at] = if wrong[at] == b'A' { b'B' } else { b'A' };
            let wrong = String::from_utf8(wrong).unwrap();
            assert_eq!(Invitation::parse(&wrong).err(), Some(FragmentError::Checksum), "{at}");
        }
        assert_eq!(Invitation::parse(&text[1..]).err(), Some(FragmentError::Length { found: 47 }));
        assert_eq!(Invitation::parse(&text.replacen(&text[..1], "!", 1)).err(), Some(FragmentError::Character));
    }

    #[test]
    fn one_inviter_does_not_take_the_room_of_all() {
        let mut server = Invitations::default();
        let offer = || Invitation::generate(&mut rng::system()).offer(ACCOUNT, at(100));
        let taken = (0..100).filter(|_| server.offer(offer(), BOSS, at(0)).is_ok()).count();
        assert_eq!(taken, OF_ONE_MAX);
        assert_eq!(server.offer(offer(), BOSS, at(0)), Err(InviteError::Yours));
        assert_eq!(server.offer(offer(), Fingerprint([9; 32]), at(0)), Ok(()));
        assert_eq!(
            server.offer(Offer { not_after: at(200), ..offer() }, BOSS, at(100)),
            Ok(()),
            "the first have ended"
        );
        // Whoever uses up his own invitations does not take the room of others either.
        let mut server = Invitations::default();
        let pair = KeyPair::generate(&mut rng::system());
        let mut taken = 0;
        while taken <= INVITATIONS_MAX {
            let made = Invitation::generate(&mut rng::system());
            if server.offer(made.offer(ACCOUNT, at(100)), BOSS, at(0)).is_err() {
                break;
            }
            if taken % OF_ONE_MAX == 0 {
                server.redeem(VM, &made.redeem(&mut rng::system(), VM, &pair), at(0)).unwrap();
            } else {
                // As if it had been used: what is kept of it counts the same.
                let mut entry = server.all.get(&made.id()).unwrap().clone();
                entry.key = Some(pair.public().clone());
                server.all.insert(made.id(), entry);
            }
            taken += 1;
        }
        assert_eq!(taken, OF_ONE_KEPT_MAX);
        assert_eq!(server.offer(offer(), BOSS, at(0)), Err(InviteError::Yours));
        assert_eq!(server.offer(offer(), Fingerprint([9; 32]), at(0)), Ok(()));
        assert_eq!(server.enrolled(pair.fingerprint()).map(|(_, offer)| offer.account), Some(ACCOUNT));
    }
}
