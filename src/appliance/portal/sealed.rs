//! Sealed bytes on their way out: of the past up to the end that scribe knows as durable, never beyond; of the live picture as
//! it is written, before it is durable, because a viewer who waits for the disk sees everything two seconds late.
//!
//! What does not belong: opening them; nothing here could. Invariant: a fragment's clear header is all that is looked into.

use super::questions::{More, Question};
use peri_domain::UtcNanos;
use peri_sandbox::clock::{Clock as _, SystemClock};
use peri_seal::segment::{FragmentHeader, FragmentKind, HEADER_LEN};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// How often a followed segment is looked at for growth: less than a fragment, so live waits for sealing, not for us.
const FOLLOW_EVERY: Duration = Duration::from_millis(50);
/// How long behind the end of its epoch a followed segment is waited for: its recorder writes what it still has of the
/// epoch, and scribe says closed. Where either is away, the stream ends without that.
const CLOSING: Duration = Duration::from_secs(2);
/// A viewer who has seen the present and is now so far behind it is shown the present again.
const BEHIND_MAX: Duration = Duration::from_secs(3);
/// Whole fragments that are sent at once: about a second of video, so that a viewer who catches up does so quickly.
const BATCH: usize = 512 * 1024;

/// A reader of one segment file. Reads are of the page cache or of one disk that records all the time: waiting for them on
/// the server's own thread costs less than handing them to another.
pub(super) struct Sealed {
    file: File,
    at: u64,
    end: u64,
    follow_until: Option<UtcNanos>,
    closed: bool,
    /// Whether the present was reached once.
    present: bool,
}

/// What a follower gets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Whole fragments.
    Fragments(Vec<u8>),
    /// So many bytes were left out; the next piece begins with a key picture and what it needs.
    Skipped(u64),
}

impl Sealed {
    pub(super) fn new(fd: OwnedFd, range: Range<u64>, follow_until: Option<UtcNanos>) -> Self {
        let closed = follow_until.is_none();
        Self { file: File::from(fd), at: range.start, end: range.end, follow_until, closed, present: false }
    }

    /// The next bytes, at most `max`; `None` at the end.
    pub(super) async fn next(&mut self, question: &mut Question, max: usize) -> io::Result<Option<Vec<u8>>> {
        loop {
            let there = self.known_end()?.saturating_sub(self.at);
            if there > 0 {
                let want = usize::try_from(there).unwrap_or(max).min(max);
                let bytes = self.read(self.at, want)?;
                self.at += bytes.len() as u64;
                return Ok((!bytes.is_empty()).then_some(bytes));
            }
            if !self.wait(question).await {
                return Ok(None);
            }
        }
    }

    /// The next whole fragments, or that some were left out; `None` at the end. The place it began at must be one where a
    /// fragment begins.
    pub(super) async fn next_fragments(&mut self, question: &mut Question) -> io::Result<Option<Piece>> {
        loop {
            let end = self.known_end()?;
            if let Some(piece) = self.fragments(end)? {
                return Ok(Some(piece));
            }
            self.present = true;
            if !self.wait(question).await {
                return Ok(None);
            }
        }
    }

    fn fragments(&mut self, end: u64) -> io::Result<Option<Piece>> {
        let Some((first, _)) = self.header(self.at, end)? else { return Ok(None) };
        let behind = SystemClock.utc().saturating_since(first.start);
        if self.present
            && behind > BEHIND_MAX
            && first.kind == FragmentKind::Media
            && let Some(skipped) = self.skip(end)?
        {
            return Ok(Some(Piece::Skipped(skipped)));
        }
        let from = self.at;
        while let Some((_, next)) = self.header(self.at, end)? {
            self.at = next;
            if next - from >= BATCH as u64 {
                break;
            }
        }
        let length = usize::try_from(self.at - from).map_err(io::Error::other)?;
        let bytes = self.read(from, length)?;
        Ok((bytes.len() == length).then_some(Piece::Fragments(bytes)))
    }

    /// Goes on at the last key picture there is, or at the initialisation fragment before it where that is new.
    fn skip(&mut self, end: u64) -> io::Result<Option<u64>> {
        let (mut at, mut init, mut target) = (self.at, None, None);
        while let Some((header, next)) = self.header(at, end)? {
            match header.kind {
                FragmentKind::Init => init = Some(at),
                FragmentKind::Media if header.key && at > self.at => target = Some(init.unwrap_or(at)),
                FragmentKind::Media => {}
            }
            at = next;
        }
        let Some(target) = target.filter(|target| *target > self.at) else { return Ok(None) };
        let skipped = target - self.at;
        (self.at, self.present) = (target, false);
        Ok(Some(skipped))
    }

    /// The header at `at` and where its fragment ends, where the whole fragment is there.
    fn header(&self, at: u64, end: u64) -> io::Result<Option<(FragmentHeader, u64)>> {
        let mut bytes = [0; HEADER_LEN];
        if at.checked_add(HEADER_LEN as u64).is_none_or(|needed| needed > end)
            || self.file.read_at(&mut bytes, at)? < HEADER_LEN
        {
            return Ok(None);
        }
        let header = FragmentHeader::decode(&bytes)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
        let next = at + header.total_len() as u64;
        Ok((next <= end).then_some((header, next)))
    }

    fn known_end(&self) -> io::Result<u64> {
        if self.follow_until.is_some() { Ok(self.file.metadata()?.len()) } else { Ok(self.end) }
    }

    fn read(&self, at: u64, want: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; want];
        let mut got = 0;
        while got < want {
            match self.file.read_at(&mut bytes[got..], at + got as u64)? {
                0 => break,
                n => got += n,
            }
        }
        bytes.truncate(got);
        Ok(bytes)
    }

    /// Waits for the file to grow; `false` when it will not any more.
    async fn wait(&mut self, question: &mut Question) -> bool {
        if self.closed || self.follow_until.is_some_and(|until| SystemClock.utc() >= until + CLOSING) {
            return false;
        }
        // Scribe is gone or says closed: what is written already is still the client's; then the stream ends.
        self.closed = !matches!(question.more(FOLLOW_EVERY).await, More::Nothing);
        true
    }
}
