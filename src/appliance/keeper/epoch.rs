//! Making an epoch: draw E, derive K, wrap E to the entitled, share it to the seats, sign the record, forget E.
//!
//! E lives only inside [`make`]: it is wrapped, shared and dropped (zeroised) before the function returns, so nothing
//! that could leak later ever holds it.

use peri_domain::{EpochNo, Fingerprint, Hash, UtcNanos};
use peri_roster::{GrantState, Roster, Threshold, TooManyRecipients, Verified};
use peri_seal::keys::{KeyPair, UserPublic};
use peri_seal::record::{EpochContext, EpochId, EpochRecord, SUITE};
use peri_seal::secret::{ContentKey, EpochSecret, XSecret, derive_content_key};
use peri_seal::wrap::{split_epoch, wrap_epoch, wrap_share};
use peri_seal::{digest, rng, segment};

/// Why there is no audience.
#[derive(Debug, thiserror::Error)]
pub(super) enum AudienceError {
    /// Nobody claimed this appliance yet.
    #[error("nobody has claimed this appliance")]
    Unclaimed,
    /// See the roster.
    #[error(transparent)]
    TooMany(#[from] TooManyRecipients),
}

/// Who can open an epoch: the people whose grants hold throughout it, and the seats.
#[derive(Clone)]
pub(super) struct Audience {
    recipients: Vec<UserPublic>,
    seats: Vec<(u8, UserPublic)>,
    threshold: u8,
    seat_count: u8,
    /// Equal digests: the same people, so a running epoch need not end.
    pub(super) digest: Hash,
}

impl Audience {
    /// Of one camera at one instant; grant windows do not change inside an epoch, because epochs end at their edges.
    pub(super) fn of(
        roster: &Verified<Roster>,
        camera: peri_domain::CameraId,
        at: UtcNanos,
        grants_count: bool,
    ) -> Result<Self, AudienceError> {
        let recipients: Vec<UserPublic> = if grants_count {
            roster.recipients(camera, at)?.into_iter().map(|(key, _)| key.clone()).collect()
        } else {
            Vec::new()
        };
        // A revoked seat gets no further shares; its share index stays its own.
        let seats: Vec<(u8, UserPublic)> = roster
            .seats()
            .filter(|seat| !seat.revoked)
            .map(|seat| (seat.index, UserPublic::clone(&seat.key)))
            .collect();
        let Threshold { k: threshold, n: seat_count } = roster.threshold().ok_or(AudienceError::Unclaimed)?;
        let mut state = digest::hasher("audience");
        let mut fingerprints: Vec<Fingerprint> = recipients.iter().map(UserPublic::fingerprint).collect();
        fingerprints.sort_unstable();
        use sha2::Digest as _;
        for fingerprint in &fingerprints {
            state.update([0]);
            state.update(fingerprint.as_bytes());
        }
        for (index, key) in &seats {
            state.update([1, *index]);
            state.update(key.fingerprint().as_bytes());
        }
        // The grants themselves: a further right or an earlier beginning must not wait for the end of an epoch.
        let in_force = |state: &GrantState| {
            grants_count && !state.revoked && state.grant.cameras.contains(camera) && state.holds_at(at)
        };
        for (id, _) in roster.grants().filter(|(_, state)| in_force(state)) {
            state.update([3]);
            state.update(id.as_bytes());
        }
        state.update([2, threshold, seat_count]);
        Ok(Self { recipients, seats, threshold, seat_count, digest: digest::finish(state) })
    }
}

/// What [`make`] leaves behind.
pub(super) struct Made {
    /// Bytes of the segment's head: record, wraps, shares.
    pub(super) head: Vec<u8>,
    /// The signed record.
    pub(super) record: EpochRecord,
    /// K, for the recorder.
    pub(super) key: ContentKey,
    /// Recipients that could not be wrapped to, and why.
    pub(super) skipped: Vec<String>,
}

/// Makes one epoch.
///
/// # Errors
/// Names the recipient whose key cannot be wrapped to, or the rule the record breaks.
pub(super) fn make(
    device: &KeyPair,
    id: EpochId,
    (starts, ends): (UtcNanos, UtcNanos),
    x: &XSecret,
    audience: &Audience,
    roster: &Verified<Roster>,
) -> Result<Made, Box<dyn std::error::Error + Send + Sync>> {
    let mut rng = rng::system();
    let e = EpochSecret::generate(&mut rng);
    let key = derive_content_key(&e, x, &id);
    let context = EpochContext {
        suite: SUITE,
        vm: id.vm,
        camera: id.camera,
        epoch: id.epoch,
        starts,
        ends,
        roster_head: roster.head(),
        roster_len: roster.len(),
        commit_e: e.commit(),
        commit_x: x.commit(),
        commit_k: key.commit(),
        threshold: audience.threshold,
        seats: audience.seat_count,
    };
    let mut wraps = Vec::with_capacity(audience.recipients.len() + audience.seats.len());
    let mut skipped = Vec::new();
    for recipient in &audience.recipients {
        match wrap_epoch(&mut rng, &e, &context, recipient) {
            Ok(wrap) => wraps.push(wrap),
            // One unusable key must not stop the camera; the others and the seats get theirs.
            Err(error) => skipped.push(error.to_string()),
        }
    }
    let shares = split_epoch(&mut rng, &e, audience.threshold, audience.seat_count)?;
    for (index, seat) in &audience.seats {
        // Seats count from 0, shares from 1 in the same order; a share belongs to its seat whatever becomes of the others.
        if let Some(share) = shares.get(usize::from(*index)) {
            wraps.push(wrap_share(&mut rng, share, &context, seat)?);
        }
    }
    let record = EpochRecord::sign(context, &wraps, device.signing())?;
    let head = segment::encode_head(&record, &wraps)?;
    Ok(Made { head, record, key, skipped })
}

/// The end of an epoch that starts at `starts`: a grant window's edge, else the longest epoch less a jitter, so that
/// the cameras of a site do not all change at once. Edges count from `grants_at` on, the time that grants are decided by.
/// `jitter` is a uniform draw from 0..=255.
pub(super) fn end_of(
    roster: &Verified<Roster>,
    camera: peri_domain::CameraId,
    (starts, grants_at): (UtcNanos, UtcNanos),
    longest: core::time::Duration,
    jitter: u8,
) -> UtcNanos {
    let shortened = longest - longest.mul_f64(f64::from(jitter) / 255.0 / 8.0);
    let planned = starts + shortened;
    roster.next_edge(camera, grants_at).map_or(planned, |edge| edge.min(planned))
}

/// An epoch that keeper has handed out or will.
pub(super) struct Epoch {
    pub(super) no: EpochNo,
    pub(super) record_hash: Hash,
    pub(super) key: ContentKey,
    pub(super) run: u32,
    pub(super) starts: UtcNanos,
    pub(super) ends: UtcNanos,
    pub(super) head_len: u64,
    pub(super) audience: Hash,
}
