//! From sealed segments to pictures: plan, keys, streams, cut.
//!
//! ```text
//! plan      Segments pages: which epochs, what is recorded, lost, paused, erased
//! keys      Open: X of up to 24 epochs, sealed to our key – the disclosure, in the ledger before it is answered
//! stream    Fetch: head → record signed by the pinned device? → E (own wrap) and X → K = what the record commits to?
//!           → fragments, each authenticated and in order
//! cut       from the last key picture at or before the start, to the end
//! ```
//! What does not belong: MP4 (peri-media joins), the command line. Invariants: nothing is handed on that did not
//! authenticate; memory is one fragment, one group of pictures and the keys of 24 epochs.

mod cut;

pub use cut::{Cutter, Part};

use crate::conn::ConnError;
use crate::context::Session;
use crate::exit::Error;
use minicbor::bytes::ByteVec;
use peri_access::wire::{
    CoverageSpan, Method, OPEN_EPOCHS_MAX, OpenBody, OpenedPage, SegmentInfo, SegmentsPage, SpanBody,
};
use peri_domain::{Action, CameraId, EpochNo, Fingerprint, Nonce, UtcNanos, VmId};
use peri_open::content::ContentError;
use peri_open::fragment::FragmentError;
use peri_open::wrap::WrapOpenError;
use peri_open::{FragmentOpener, content_key, open_post, open_wrap, open_x};
use peri_roster::{PostState, Roster};
use peri_seal::keys::{KeyPair, UserPublic};
use peri_seal::post::PostId;
use peri_seal::record::{EpochRecord, RecordError};
use peri_seal::secret::ContentKey;
use peri_seal::segment::{FragmentHeader, HEAD_LEN_MAX, HEADER_LEN, HeadError, Order, parse_head};
use peri_seal::wrap::{Wrap, WrapKind};
use std::collections::HashMap;
use std::io::{self, Read};
use std::rc::Rc;
use zeroize::Zeroizing;

/// Pages of one plan: far more than a year of one camera, so that a wrong appliance cannot keep us asking for ever.
const PAGES_MAX: usize = 100_000;

/// Why pictures do not come.
#[derive(Debug, thiserror::Error)]
pub enum FootageError {
    /// Head of a segment.
    #[error("epoch {epoch}: {source}")]
    Head {
        /// The epoch asked for.
        epoch: EpochNo,
        /// What is wrong.
        source: HeadError,
    },
    /// The record is not signed by the pinned device.
    #[error("epoch {epoch}: {source}; it was not recorded by this appliance")]
    Record {
        /// The epoch asked for.
        epoch: EpochNo,
        /// What is wrong.
        source: RecordError,
    },
    /// A segment of something else than asked for.
    #[error("the appliance sent epoch {found} of camera {camera} where epoch {epoch} was asked for")]
    Other {
        /// The epoch asked for.
        epoch: EpochNo,
        /// What came.
        found: EpochNo,
        /// Whose epoch it is.
        camera: CameraId,
    },
    /// Nothing in this epoch is sealed to our key.
    #[error(
        "epoch {epoch} (from {starts}) is not sealed to this key: when it began, no grant in the roster named this key, or \
         a post of its holder, for this camera. Custodians can release the past"
    )]
    NotEntitled {
        /// The epoch.
        epoch: EpochNo,
        /// Its start.
        starts: UtcNanos,
    },
    /// Erased in between.
    #[error("epoch {epoch} was erased before its key was answered")]
    Erased {
        /// The epoch.
        epoch: EpochNo,
    },
    /// E or X does not open.
    #[error(transparent)]
    Wrap(#[from] WrapOpenError),
    /// K is not what the record commits to.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// A fragment is damaged, forged or out of order.
    #[error("epoch {epoch}, byte {at}: {source}")]
    Fragment {
        /// The epoch.
        epoch: EpochNo,
        /// Where the fragment starts.
        at: u64,
        /// What is wrong.
        source: FragmentError,
    },
    /// Too long without a key picture.
    #[error(
        "epoch {epoch}: more than {} MiB without a key picture; set a shorter key interval at the camera",
        cut::LOOKBACK_MAX >> 20
    )]
    NoKeyPicture {
        /// The epoch.
        epoch: EpochNo,
    },
    /// Too many pages.
    #[error("the appliance's list of segments does not end; are client and appliance of the same version?")]
    Endless,
}

impl FootageError {
    /// See [`crate::exit::EXIT_CODES`].
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::NotEntitled { .. } | Self::Erased { .. } => 3,
            Self::Endless => 4,
            _ => 5,
        }
    }
}

/// What there is of a span.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Segments, oldest first.
    pub segments: Vec<SegmentInfo>,
    /// What became of each stretch of the span.
    pub coverage: Vec<CoverageSpan>,
}

/// Asks what there is of a span.
///
/// # Errors
/// Connection errors, refusals, [`FootageError::Endless`].
pub fn plan(session: &mut Session, who: &KeyPair, span: SpanBody) -> Result<Plan, Error> {
    let mut plan = Plan::default();
    let mut from = span.from;
    for _ in 0..PAGES_MAX {
        let body = SpanBody { from, ..span };
        let page: SegmentsPage = session.conn.request(session.profile.identity.vm, Method::Segments, &body, who)?;
        let last = plan.segments.last().map(|segment| segment.epoch);
        plan.segments.extend(page.segments.into_iter().filter(|segment| Some(segment.epoch) > last));
        plan.coverage.extend(page.coverage);
        match page.next {
            Some(next) if next > from => from = next,
            Some(_) => return Err(FootageError::Endless.into()),
            None => return Ok(plan),
        }
    }
    Err(FootageError::Endless.into())
}

/// X of some epochs as answered: still sealed to our key, bound to the request.
pub struct SealedKeys {
    request: Nonce,
    sealed: HashMap<EpochNo, ByteVec>,
    posts: Rc<[Membership]>,
}

/// A version of a post whose key was sealed to ours: what is wrapped to the post opens with it.
pub struct Membership {
    id: PostId,
    key: Fingerprint,
    sealed: Vec<u8>,
}

/// Every version of every post that names this key.
#[must_use]
pub fn memberships(who: &KeyPair, roster: &Roster) -> Rc<[Membership]> {
    let own = who.fingerprint();
    let versions = roster.posts().flat_map(PostState::versions);
    versions
        .filter_map(|version| {
            let member = version.members.iter().find(|member| member.key == own)?;
            let id = PostId { vm: roster.vm(), post: version.id, serial: version.serial };
            Some(Membership { id, key: version.key.fingerprint(), sealed: member.sealed.clone() })
        })
        .collect()
}

/// Asks for X of at most [`OPEN_EPOCHS_MAX`] epochs; this is what the ledger records as a disclosure.
///
/// # Errors
/// Connection errors and refusals.
pub fn open_keys(session: &mut Session, who: &KeyPair, body: &OpenBody) -> Result<SealedKeys, Error> {
    debug_assert!(body.epochs.len() <= OPEN_EPOCHS_MAX);
    let vm = session.vm();
    let (page, request): (OpenedPage, _) = session.conn.request_with_id(vm, Method::Open, body, who)?;
    let sealed = page.keys.into_iter().map(|key| (key.epoch, key.sealed)).collect();
    Ok(SealedKeys { request, sealed, posts: Rc::default() })
}

impl SealedKeys {
    /// With the posts that open what is not wrapped to our own key.
    #[must_use]
    pub fn with_posts(self, posts: &Rc<[Membership]>) -> Self {
        Self { posts: Rc::clone(posts), ..self }
    }

    /// Which epochs were answered.
    pub fn epochs(&self) -> impl Iterator<Item = EpochNo> {
        self.sealed.keys().copied()
    }

    /// K of an epoch: E from our own wrap or that of a post, X from the answer, both and K as the record commits to them.
    fn content_key(&self, who: &KeyPair, record: &EpochRecord, wraps: &[Wrap]) -> Result<ContentKey, FootageError> {
        let context = &record.context;
        let epoch = context.epoch;
        let to = |key| wraps.iter().find(move |wrap| wrap.kind == WrapKind::User && wrap.recipient == key);
        let through = || self.posts.iter().find_map(|post| Some((post, to(post.key)?)));
        let (post, wrap) = to(who.fingerprint())
            .map(|wrap| (None, wrap))
            .or_else(|| through().map(|(post, wrap)| (Some(post), wrap)))
            .ok_or(FootageError::NotEntitled { epoch, starts: context.starts })?;
        let sealed = self.sealed.get(&epoch).ok_or(FootageError::Erased { epoch })?;
        let e = match post {
            None => open_wrap(who, context, wrap)?,
            Some(post) => open_wrap(&open_post(who, &post.id, &post.key, &post.sealed)?, context, wrap)?,
        };
        let x = open_x(who, context, &self.request, sealed)?;
        Ok(content_key(&e, &x, record)?)
    }
}

/// Whose recording we accept.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// Key set of the pinned device.
    pub device: &'a UserPublic,
    /// The VM.
    pub vm: VmId,
    /// The camera.
    pub camera: CameraId,
    /// The epoch.
    pub epoch: EpochNo,
}

/// A segment as it arrives, opened fragment by fragment.
pub struct Opened<R> {
    source: R,
    epoch: EpochNo,
    opener: FragmentOpener,
    /// What was read beyond the head.
    ahead: Vec<u8>,
    buffer: Zeroizing<Vec<u8>>,
    at: u64,
    /// Whether the stream may stop in the middle of a fragment (it is still being written).
    running: bool,
}

impl<R: Read> Opened<R> {
    /// Reads and verifies the head, opens the key.
    ///
    /// # Errors
    /// [`FootageError`]; a broken connection as [`ConnError`].
    pub fn start(
        mut source: R,
        expected: &Expected<'_>,
        who: &KeyPair,
        keys: &SealedKeys,
        running: bool,
    ) -> Result<Self, Error> {
        let epoch = expected.epoch;
        let mut ahead = Vec::new();
        let mut want = 4_096;
        let head = loop {
            let from = ahead.len();
            ahead.resize(want, 0);
            let read = read_full(&mut source, &mut ahead[from..])?;
            ahead.truncate(from + read);
            match parse_head(&ahead) {
                Err(HeadError::Incomplete { need }) if ahead.len() == want && need <= HEAD_LEN_MAX => want = need,
                result => break result.map_err(|source| FootageError::Head { epoch, source })?,
            }
        };
        let record = head.record;
        record.verify(expected.device).map_err(|source| FootageError::Record { epoch, source })?;
        let context = &record.context;
        if (context.vm, context.camera, context.epoch) != (expected.vm, expected.camera, epoch) {
            return Err(FootageError::Other { epoch, found: context.epoch, camera: context.camera }.into());
        }
        let key = keys.content_key(who, &record, &head.wraps)?;
        let opener = FragmentOpener::new(&key, &record, Order::file()).map_err(|source| FootageError::Fragment {
            epoch,
            at: 0,
            source,
        })?;
        ahead.drain(..head.len);
        let at = head.len as u64;
        Ok(Self { source, epoch, opener, ahead, buffer: Zeroizing::new(Vec::new()), at, running })
    }

    /// The next fragment; `None` where the stream ends.
    ///
    /// # Errors
    /// [`FootageError::Fragment`]; a broken connection as [`ConnError`].
    pub fn next_fragment(&mut self) -> Result<Option<(FragmentHeader, &[u8])>, Error> {
        let (epoch, at) = (self.epoch, self.at);
        let fragment = |source| FootageError::Fragment { epoch, at, source };
        self.buffer.resize(HEADER_LEN, 0);
        let have = self.fill(0)?;
        if have == 0 || have < HEADER_LEN && self.running {
            return Ok(None);
        }
        if have < HEADER_LEN {
            return Err(fragment(FragmentError::Truncated { have, need: HEADER_LEN }).into());
        }
        let header: &[u8; HEADER_LEN] = self.buffer.first_chunk().expect("a whole header was read");
        let need = FragmentHeader::decode(header).map_err(|e| fragment(e.into()))?.total_len();
        self.buffer.resize(need, 0);
        let have = HEADER_LEN + self.fill(HEADER_LEN)?;
        if have < need && self.running {
            return Ok(None);
        }
        if have < need {
            return Err(fragment(FragmentError::Truncated { have, need }).into());
        }
        let (header, payload) = self.opener.open_in_place(&mut self.buffer).map_err(fragment)?;
        self.at += need as u64;
        Ok(Some((header, &self.buffer[payload])))
    }

    /// Whether the fragment marked as the last has come: nothing is missing at the end.
    #[must_use]
    pub const fn complete(&self) -> bool {
        self.opener.order().ended()
    }

    /// Bytes of the segment read so far.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.at
    }

    /// Fills the buffer from `from` on, out of what was read ahead and then the stream.
    fn fill(&mut self, from: usize) -> Result<usize, Error> {
        let target = &mut self.buffer[from..];
        let first = target.len().min(self.ahead.len());
        target[..first].copy_from_slice(&self.ahead[..first]);
        self.ahead.drain(..first);
        Ok(first + read_full(&mut self.source, &mut target[first..])?)
    }
}

/// Reads until the buffer is full or the stream ends; a refusal in mid-stream comes out as itself.
fn read_full(source: &mut impl Read, buffer: &mut [u8]) -> Result<usize, ConnError> {
    let mut done = 0;
    while done < buffer.len() {
        match source.read(&mut buffer[done..]) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                return Err(match error.downcast::<ConnError>() {
                    Ok(inner) => inner,
                    Err(error) => ConnError::Broken(error),
                });
            }
        }
    }
    Ok(done)
}

/// What an export or a live view asks for.
#[must_use]
pub fn open_body(camera: CameraId, epochs: Vec<EpochNo>, action: Action, purpose: &str) -> OpenBody {
    OpenBody { camera, epochs, action, purpose: purpose.to_owned() }
}

#[cfg(test)]
mod tests;
