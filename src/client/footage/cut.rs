//! The cut: from the last key picture at or before the start of a span to its end.
//!
//! What does not belong: keys, streams, MP4. Invariants: what goes out begins with parameters and a key picture; behind an
//! epoch that is missing it goes on with a key picture.

use crate::exit::Error;
use crate::footage::FootageError;
use core::time::Duration;
use peri_domain::{EpochNo, UtcNanos};
use peri_seal::segment::{FragmentHeader, FragmentKind};

/// Longest group of pictures that is held while looking for the start: 64 MiB is half a minute at 16 Mbit/s.
pub(super) const LOOKBACK_MAX: usize = 64 * 1024 * 1024;

/// Cuts a sequence of fragments to a span: begins with the last key picture at or before its start.
pub struct Cutter {
    from: UtcNanos,
    until: UtcNanos,
    started: bool,
    /// Parameters in force, and whether they were handed on.
    init: Vec<u8>,
    init_due: bool,
    /// The group of pictures that may contain the start.
    group: Vec<(FragmentHeader, Vec<u8>)>,
    held: usize,
    /// Pictures before the first key picture: they cannot be shown.
    skipped: u64,
    /// Epoch and end of the last fragment with pictures. Within an epoch none is missing.
    last: Option<(EpochNo, UtcNanos)>,
    /// Whether the final fragment of that epoch came: nothing is missing at its end.
    whole: bool,
    /// An epoch or the end of one is missing, and no key picture has come since.
    torn: bool,
}

/// A fragment of the next epoch that begins later than this behind the last one does not follow it.
const HOLE: Duration = Duration::from_millis(250);

/// The same where the epoch before came without its end: shorter than any picture stands, longer than drift and rounding.
const SEAM: Duration = Duration::from_millis(15);

/// What goes out of a [`Cutter`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'a> {
    /// Parameters for what follows.
    Init(&'a [u8]),
    /// Pictures from this instant on.
    Media(&'a [u8], UtcNanos),
}

impl Cutter {
    /// For the span `[from, until)`.
    #[must_use]
    pub const fn new(from: UtcNanos, until: UtcNanos) -> Self {
        Self {
            from,
            until,
            started: false,
            init: Vec::new(),
            init_due: false,
            group: Vec::new(),
            held: 0,
            skipped: 0,
            last: None,
            whole: false,
            torn: false,
        }
    }

    /// Moves the start to `from` if nothing has gone out yet (live: "now" is known only when the past has been read).
    pub fn start_at(&mut self, from: UtcNanos) {
        self.from = from;
    }

    /// Takes the next fragment; hands on what belongs to the span. False when the span is over.
    ///
    /// # Errors
    /// [`FootageError::NoKeyPicture`], and what `out` says.
    pub fn push(
        &mut self,
        epoch: EpochNo,
        header: &FragmentHeader,
        payload: &[u8],
        out: &mut impl FnMut(Part<'_>) -> Result<(), Error>,
    ) -> Result<bool, Error> {
        if header.kind == FragmentKind::Init {
            if self.init != payload {
                self.init = payload.to_vec();
                self.init_due = true;
            }
            return Ok(true);
        }
        if payload.is_empty() {
            self.whole |= header.last;
            return Ok(true);
        }
        if header.start >= self.until {
            self.release(out)?;
            return Ok(false);
        }
        let hole = if core::mem::take(&mut self.whole) { HOLE } else { SEAM };
        let follows = |(of, ends)| of == epoch || header.start <= ends + hole;
        self.torn = !header.key && (self.torn || !self.last.is_none_or(follows));
        self.last = Some((epoch, header.start + header.duration.to_duration()));
        if self.torn {
            // What stands between an epoch that is missing and the next key picture shows in no player.
            self.skipped += 1;
            return Ok(true);
        }
        if self.started {
            self.emit(header.start, payload, out)?;
            return Ok(true);
        }
        if header.key {
            self.group.clear();
            self.held = 0;
        } else if self.group.is_empty() {
            self.skipped += 1;
            return Ok(true);
        }
        self.held += payload.len();
        if self.held > LOOKBACK_MAX {
            return Err(FootageError::NoKeyPicture { epoch }.into());
        }
        self.group.push((*header, payload.to_vec()));
        if header.start + header.duration.to_duration() > self.from {
            self.release(out)?;
        }
        Ok(true)
    }

    /// Whether a picture has gone out.
    #[must_use]
    pub const fn started(&self) -> bool {
        self.started
    }

    /// Fragments that could not be shown because no key picture had come yet.
    #[must_use]
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Hands on the held group if it reaches into the span.
    fn release(&mut self, out: &mut impl FnMut(Part<'_>) -> Result<(), Error>) -> Result<(), Error> {
        let reaches = self.group.last().is_some_and(|(h, _)| h.start + h.duration.to_duration() > self.from);
        for (header, payload) in core::mem::take(&mut self.group).into_iter().filter(|_| reaches) {
            self.started = true;
            self.emit(header.start, &payload, out)?;
        }
        Ok(())
    }

    fn emit(
        &mut self,
        start: UtcNanos,
        payload: &[u8],
        out: &mut impl FnMut(Part<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if core::mem::take(&mut self.init_due) {
            out(Part::Init(&self.init))?;
        }
        out(Part::Media(payload, start))
    }
}
