//! Joining shares to E.
//!
//! Interpolation never fails by itself: shares of two epochs, a flipped bit or a seat given twice all give *some* secret.
//! So every share carries where it comes from, and what comes out is compared with the record's commitment to E: the
//! right E or an error that says what was mixed, never a wrong key. What does not belong: opening share wraps (wrap).

use peri_domain::{CameraId, EpochNo, Fingerprint, VmId};
use peri_seal::record::{EpochContext, EpochId};
use peri_seal::secret::EpochSecret;
use peri_seal::wrap::{Share, index_fits};
use vsss_rs::Gf256;
use zeroize::Zeroizing;

/// A share in clear with its origin.
pub struct OpenedShare {
    share: Share,
    epoch: EpochId,
    seat: Fingerprint,
}

/// Why shares did not give E.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// Not enough seats.
    #[error("{have} of the {need} shares that are needed: ask {} more seats", need - have)]
    TooFew {
        /// Shares there are.
        have: usize,
        /// k.
        need: usize,
    },
    /// One seat's share twice.
    #[error("the share of seat {seat} (index {index}) was given twice: ask another seat")]
    SameSeatTwice {
        /// The seat.
        seat: Fingerprint,
        /// x of the share.
        index: u8,
    },
    /// A share of another VM.
    #[error("the share of seat {seat} belongs to VM {found}, not {expected}")]
    OtherVm {
        /// The seat.
        seat: Fingerprint,
        /// Its VM.
        found: VmId,
        /// The VM of the record.
        expected: VmId,
    },
    /// A share of another camera.
    #[error("the share of seat {seat} belongs to camera {found}, not {expected}: ask the seat for the right one")]
    OtherCamera {
        /// The seat.
        seat: Fingerprint,
        /// Its camera.
        found: CameraId,
        /// The camera of the record.
        expected: CameraId,
    },
    /// A share of another epoch.
    #[error("the share of seat {seat} belongs to epoch {found}, not {expected}: ask the seat for the right one")]
    OtherEpoch {
        /// The seat.
        seat: Fingerprint,
        /// Its epoch.
        found: EpochNo,
        /// The epoch of the record.
        expected: EpochNo,
    },
    /// An index that no seat of this epoch has.
    #[error("the share of seat {seat} has index {index}, which no seat of this epoch has")]
    Index {
        /// The seat.
        seat: Fingerprint,
        /// x of the share.
        index: u8,
    },
    /// One share is wrong and the others suffice to say which.
    #[error("the share of seat {seat} (index {index}) is wrong: leave it out, and tell that seat")]
    WrongShare {
        /// The seat.
        seat: Fingerprint,
        /// x of the share.
        index: u8,
    },
    /// The shares give something else than E.
    #[error(
        "the shares do not give the secret of epoch {epoch:?}: at least one was changed; ask a further seat to find which"
    )]
    Commitment {
        /// The epoch.
        epoch: EpochId,
    },
}

impl OpenedShare {
    /// A share with the epoch and the seat it comes from.
    #[must_use]
    pub const fn new(share: Share, epoch: EpochId, seat: Fingerprint) -> Self {
        Self { share, epoch, seat }
    }

    /// The share.
    #[must_use]
    pub const fn share(&self) -> &Share {
        &self.share
    }

    /// Its epoch.
    #[must_use]
    pub const fn epoch(&self) -> &EpochId {
        &self.epoch
    }

    /// Its seat.
    #[must_use]
    pub const fn seat(&self) -> Fingerprint {
        self.seat
    }
}

/// Joins the shares of at least k seats.
///
/// # Errors
/// [`JoinError`]; never an E that the context does not commit to.
pub fn join(shares: &[OpenedShare], context: &EpochContext) -> Result<EpochSecret, JoinError> {
    for (at, one) in shares.iter().enumerate() {
        check_origin(one, context)?;
        let twice = |other: &OpenedShare| {
            other.seat == one.seat || (context.threshold > 1 && other.share.index() == one.share.index())
        };
        if shares[..at].iter().any(twice) {
            return Err(JoinError::SameSeatTwice { seat: one.seat, index: one.share.index() });
        }
    }
    let (have, need) = (shares.len(), usize::from(context.threshold));
    if have < need.max(1) {
        return Err(JoinError::TooFew { have, need: need.max(1) });
    }
    if let Some(e) = combine(shares.iter(), context) {
        return Ok(e);
    }
    // With one share more than needed a single wrong one shows: without it the others fit.
    if have > need {
        for (at, suspect) in shares.iter().enumerate() {
            let others = shares.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, share)| share);
            if combine(others, context).is_some() {
                return Err(JoinError::WrongShare { seat: suspect.seat, index: suspect.share.index() });
            }
        }
    }
    Err(JoinError::Commitment { epoch: context.id() })
}

fn check_origin(share: &OpenedShare, context: &EpochContext) -> Result<(), JoinError> {
    let (seat, found) = (share.seat, &share.epoch);
    if found.vm != context.vm {
        return Err(JoinError::OtherVm { seat, found: found.vm, expected: context.vm });
    }
    if found.camera != context.camera {
        return Err(JoinError::OtherCamera { seat, found: found.camera, expected: context.camera });
    }
    if found.epoch != context.epoch {
        return Err(JoinError::OtherEpoch { seat, found: found.epoch, expected: context.epoch });
    }
    let index = share.share.index();
    if index_fits(index, context.threshold, context.seats) { Ok(()) } else { Err(JoinError::Index { seat, index }) }
}

/// The value at 0 of the polynomials through these shares, if it is E. With k = 1 every share must be E itself.
fn combine<'a>(shares: impl Iterator<Item = &'a OpenedShare>, context: &EpochContext) -> Option<EpochSecret> {
    let candidate = if context.threshold == 1 {
        let mut values = shares.map(|share| *share.share.value());
        let first = values.next()?;
        values.all(|value| value == first).then_some(first)?
    } else {
        let points: Zeroizing<Vec<Vec<u8>>> = Zeroizing::new(
            shares.map(|share| [&[share.share.index()], share.share.value().as_slice()].concat()).collect(),
        );
        Zeroizing::new(Gf256::combine_bytes(&*points).ok()?).as_slice().try_into().ok()?
    };
    let e = EpochSecret::from_bytes(candidate);
    (e.commit() == context.commit_e).then_some(e)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::{Rng, context};
    use crate::wrap::open_share;
    use peri_seal::keys::KeyPair;
    use peri_seal::secret::XSecret;
    use peri_seal::wrap::{split_epoch, wrap_share};

    struct Epoch {
        e: EpochSecret,
        context: EpochContext,
        shares: Vec<Share>,
        seats: Vec<KeyPair>,
    }

    impl Epoch {
        fn new(rng: &mut Rng, k: u8, n: u8, change: impl FnOnce(&mut EpochContext)) -> Self {
            let (e, x) = (EpochSecret::generate(rng), XSecret::generate(rng));
            let mut context = context(&e, &x, k, n);
            change(&mut context);
            let shares = split_epoch(rng, &e, k, n).unwrap();
            let seats = (0..n).map(|_| KeyPair::generate(rng)).collect();
            Self { e, context, shares, seats }
        }

        /// Through the whole path: wrapped to the seat, opened by the seat.
        fn opened(&self, at: usize) -> OpenedShare {
            let seat = &self.seats[at];
            let wrap = wrap_share(&mut Rng::new("share"), &self.shares[at], &self.context, seat.public()).unwrap();
            open_share(seat, &self.context, &wrap).unwrap()
        }

        fn join(&self, shares: &[OpenedShare]) -> Result<[u8; 32], JoinError> {
            join(shares, &self.context).map(|e| *e.as_bytes())
        }
    }

    fn flipped(share: &OpenedShare) -> OpenedShare {
        let mut value = *share.share.value();
        value[17] ^= 4;
        OpenedShare::new(Share::from_parts(share.share.index(), value), share.epoch, share.seat)
    }

    #[test]
    fn any_k_of_n_seats_give_e_and_more_do_too() {
        let mut rng = Rng::new("join");
        for (k, n) in [(2, 3), (3, 5), (2, 2)] {
            let epoch = Epoch::new(&mut rng, k, n, |_| {});
            let (k, n) = (usize::from(k), usize::from(n));
            let last: Vec<_> = (n - k..n).rev().map(|at| epoch.opened(at)).collect();
            assert_eq!(epoch.join(&last).unwrap(), *epoch.e.as_bytes());
            let all: Vec<_> = (0..n).map(|at| epoch.opened(at)).collect();
            assert_eq!(epoch.join(&all).unwrap(), *epoch.e.as_bytes());
        }
    }

    #[test]
    fn k_1_takes_one_seat_and_no_polynomial() {
        let epoch = Epoch::new(&mut Rng::new("alone"), 1, 2, |_| {});
        assert_eq!(epoch.join(&[epoch.opened(1)]).unwrap(), *epoch.e.as_bytes());
        assert_eq!(epoch.join(&[epoch.opened(0), epoch.opened(1)]).unwrap(), *epoch.e.as_bytes());
        assert!(matches!(epoch.join(&[flipped(&epoch.opened(0))]), Err(JoinError::Commitment { .. })));
        assert!(matches!(epoch.join(&[]), Err(JoinError::TooFew { have: 0, need: 1 })));
    }

    #[test]
    fn mixed_shares_are_refused_by_name_never_joined() {
        let mut rng = Rng::new("mixed");
        let one = Epoch::new(&mut rng, 2, 3, |_| {});
        let next = Epoch::new(&mut rng, 2, 3, |context| context.epoch = context.epoch.next());
        let yard = Epoch::new(&mut rng, 2, 3, |context| context.camera = CameraId([7; 16]));
        let house = Epoch::new(&mut rng, 2, 3, |context| context.vm = VmId([7; 16]));
        assert!(matches!(one.join(&[one.opened(0)]), Err(JoinError::TooFew { have: 1, need: 2 })));
        assert!(matches!(one.join(&[one.opened(0), one.opened(0)]), Err(JoinError::SameSeatTwice { index: 1, .. })));
        assert!(matches!(one.join(&[one.opened(0), next.opened(1)]), Err(JoinError::OtherEpoch { .. })));
        assert!(matches!(one.join(&[one.opened(0), yard.opened(1)]), Err(JoinError::OtherCamera { .. })));
        assert!(matches!(one.join(&[one.opened(0), house.opened(1)]), Err(JoinError::OtherVm { .. })));
        assert!(matches!(one.join(&[one.opened(0), flipped(&one.opened(1))]), Err(JoinError::Commitment { .. })));
        // Relabelled as if they were of this epoch: the commitment still refuses.
        let foreign = OpenedShare::new(
            Share::from_parts(2, *next.opened(1).share.value()),
            one.context.id(),
            one.seats[1].fingerprint(),
        );
        assert!(matches!(one.join(&[one.opened(0), foreign]), Err(JoinError::Commitment { .. })));
        // One share more than needed names the wrong one.
        let named = one.join(&[one.opened(0), flipped(&one.opened(1)), one.opened(2)]).unwrap_err();
        assert_eq!(named, JoinError::WrongShare { seat: one.seats[1].fingerprint(), index: 2 });
        // The whole secret of a k = 1 epoch does not pass as a share, nor an index beyond n.
        for index in [0, 4] {
            let odd = OpenedShare::new(
                Share::from_parts(index, *one.e.as_bytes()),
                one.context.id(),
                one.seats[2].fingerprint(),
            );
            assert!(matches!(one.join(&[one.opened(0), odd]), Err(JoinError::Index { .. })));
        }
    }

    #[test]
    fn a_share_wrap_cannot_be_given_another_index() {
        let epoch = Epoch::new(&mut Rng::new("index"), 2, 3, |_| {});
        let seat = &epoch.seats[0];
        let mut wrap = wrap_share(&mut Rng::new("w"), &epoch.shares[0], &epoch.context, seat.public()).unwrap();
        wrap.share_index = 2;
        assert!(open_share(seat, &epoch.context, &wrap).is_err());
    }
}
