//! Scribe's part in recording: progress and loss from recorders, tails and account. Coming epochs: [`super::prepare`].

use super::quota::Sender;
use super::{EpochDetail, Scribe, Token, salt};
use crate::message::{Progress, RecorderToScribe, ScribeToPortal};
use peri_domain::limits::CAUSE_BYTES_MAX;
use peri_domain::{CameraId, EpochNo, UtcNanos};
use peri_ledger::EntryType;
use peri_sandbox::clock::Clock as _;
use peri_store::coverage::Coverage;
use peri_store::retention::SegmentState;
use std::time::Duration;

/// How far a recorder's time may lie ahead of scribe's: one machine, one clock, and a step of it in between.
const AHEAD_MAX: Duration = Duration::from_secs(2);
impl Scribe {
    pub(super) fn opened(&mut self, camera: CameraId, record: &[u8], head_len: u64) {
        let Ok(record) = peri_seal::record::EpochRecord::from_bytes(record) else { return };
        let hash = record.hash();
        let epoch = record.context.epoch;
        self.index.opened(camera, &record, head_len);
        let event = peri_ledger::Event::new(EntryType::EpochOpened, self.clock.utc())
            .with_digest(hash)
            .with_detail(salt(), &EpochDetail { camera, record: record.to_bytes().into() });
        self.enter(event);
        if let (Some(books), Some(segment)) = (&mut self.books, self.index.segment((camera, epoch))) {
            books.segment_opened(segment.row.clone());
        }
    }

    pub(super) fn hear_recorder(&mut self, token: u64) {
        let Some(camera) =
            self.recorders.iter().find(|(_, recorder)| recorder.token == Token(token)).map(|(camera, _)| *camera)
        else {
            return;
        };
        for _ in 0..crate::link::MESSAGES_PER_TURN {
            let Some(recorder) = self.recorders.get_mut(&camera) else { return };
            match recorder.link.recv() {
                Ok(Some((message, _))) => self.on_recorder(camera, message),
                Ok(None) => return,
                Err(_) => {
                    self.recorders.remove(&camera);
                    return;
                }
            }
        }
    }

    /// Why a report cannot be true. A recorder faces a camera: it may report what it wrote, nothing else.
    fn is_impossible(&mut self, camera: CameraId, progress: &Progress) -> Option<String> {
        let key = (camera, progress.epoch);
        // Keeper's word of the epoch may still be on its way; the file and its X are there.
        let drawn = |scribe: &Self| scribe.xfile.living().any(|living| living == key);
        if self.index.segment(key).is_none() && !(drawn(self) && self.index.adopt(&self.store, key)) {
            return Some(format!("epoch {} is not one of this camera", progress.epoch));
        }
        let row = &self.index.segment(key)?.row;
        if row.state > SegmentState::Closed {
            return Some(format!("epoch {} is erased", progress.epoch));
        }
        let latest = row.ends.max(self.clock.utc()) + AHEAD_MAX;
        if progress.from > progress.until || progress.until > latest {
            return Some(format!("pictures from {} to {}", progress.from, progress.until));
        }
        let length = self.store.length(camera, progress.epoch).map_or(0, |(length, _)| length);
        let outside = progress.keys.iter().any(|(offset, _)| *offset >= progress.bytes);
        (progress.bytes > length || outside)
            .then(|| format!("{} bytes of epoch {}, whose file has {length}", progress.bytes, progress.epoch))
    }

    pub(super) fn on_recorder(&mut self, camera: CameraId, message: RecorderToScribe) {
        self.silence.heard(camera, self.clock.monotonic());
        match message {
            RecorderToScribe::Progress(progress) => {
                if let Some(why) = self.is_impossible(camera, &progress) {
                    if self.quotas.is_first_breach(Sender::Recorder(camera)) {
                        let text = format!("its recorder reports what cannot be: {why}; such reports are ignored");
                        self.alarm(EntryType::StreamDamaged, Some(camera), &text);
                    }
                    return;
                }
                let closed = progress.closed.then_some(progress.epoch);
                if let Some(was_lost) = self.index.progress(camera, &progress) {
                    self.record(EntryType::CameraBack, Some(camera), &format!("was lost: {was_lost}"));
                }
                self.tails.progress(camera, &progress);
                if let Some(books) = &mut self.books {
                    books.progress(camera, &progress);
                    if progress.from < progress.until {
                        books.cover(camera, progress.from, progress.until, Coverage::Recorded, "");
                    }
                }
                if let Some(epoch) = closed {
                    self.close_segment(camera, epoch);
                }
            }
            RecorderToScribe::Lost { since, until, cause } => {
                // A camera has a say in this text, and it goes into every answer about health.
                let cause = super::clean(&cause, CAUSE_BYTES_MAX);
                // No account reaches beyond now.
                let until = until.min(self.clock.utc() + AHEAD_MAX);
                let since = since.min(until);
                if self.index.lost(camera, &cause) {
                    self.alarm(EntryType::CameraLost, Some(camera), &cause);
                }
                self.cover(camera, since, until, Coverage::Lost, &cause);
            }
            RecorderToScribe::Event(event) => self.take_event(event, Sender::Recorder(camera)),
            RecorderToScribe::DiskFull => self.make_room(),
        }
    }

    pub(super) fn close_segment(&mut self, camera: CameraId, epoch: EpochNo) {
        self.index.set_state((camera, epoch), SegmentState::Closed);
        if let (Some(books), Some((tail, ends))) = (&mut self.books, self.index.tail((camera, epoch))) {
            books.segment_closed(tail, ends);
        }
        self.record(EntryType::SegmentClosed, Some(camera), &format!("epoch {epoch}"));
        let done: Vec<u64> =
            self.followers.iter().filter(|f| (f.camera, f.epoch) == (camera, epoch)).map(|f| f.portal_id).collect();
        self.followers.retain(|f| (f.camera, f.epoch) != (camera, epoch));
        for id in done {
            self.tell_portal(ScribeToPortal::Closed { id }, None);
        }
    }

    pub(super) fn book_state(&mut self, key: (CameraId, EpochNo), state: SegmentState) {
        if let Some(books) = &mut self.books {
            books.state(key, state);
        }
    }

    pub(super) fn book_erased(&mut self, camera: CameraId, from: UtcNanos, until: UtcNanos, cause: &str) {
        if let Some(books) = &mut self.books {
            books.cover_erased(camera, from, until, cause);
        }
    }

    /// Cameras that nobody speaks for are lost, not forgotten: their time is accounted for, and health shows it.
    pub(super) fn notice_silence(&mut self, now: Duration) {
        if !self.roster_complete || !self.silence.is_due(now) {
            return;
        }
        let Some(roster) = &self.roster else { return };
        let cameras: Vec<CameraId> = roster.cameras().filter(|c| c.registered && !c.removed).map(|c| c.id).collect();
        let utc = self.clock.utc();
        for camera in cameras {
            if !self.recovery.holds(camera)
                && let Some(books) = &mut self.books
                && self.silence.begins(camera)
            {
                books.begin_account(camera, utc);
            }
            let linked = self.recorders.contains_key(&camera);
            let Some(cause) = self.silence.cause(camera, linked, now) else { continue };
            self.index.stopped(camera);
            if self.index.lost(camera, cause) {
                self.alarm(EntryType::CameraLost, Some(camera), cause);
            }
            let end = self.books.as_mut().and_then(|books| books.accounted_until(camera));
            self.cover(camera, end.unwrap_or(utc), utc, Coverage::Lost, cause);
        }
    }

    /// The tails of all segments that moved: one entry, and the leaves beside the segments.
    pub(super) fn write_tails(&mut self) {
        let Some((root, leaves)) = self.tails.take(self.clock.monotonic()) else { return };
        let event = peri_ledger::Event::new(EntryType::SegmentTail, self.clock.utc()).with_digest(root);
        let written = match &mut self.books {
            Some(books) => books.append_now(event.clone()),
            None => return,
        };
        match written {
            Ok(appended) => {
                if let Err(error) = self.store.write_leaves(appended.seq, &leaves) {
                    self.alarm(EntryType::StoreGap, None, &error.to_string());
                }
            }
            // Into the spool; its number is not known yet, so the leaves are kept under the root.
            Err(_) => {
                self.enter(event);
                if let Err(error) = self.store.write_leaves_of_root(&root, &leaves) {
                    self.alarm(EntryType::StoreGap, None, &error.to_string());
                }
            }
        }
    }

    pub(super) fn flush_books(&mut self) {
        let (monotonic, utc) = (self.clock.monotonic(), self.clock.utc());
        let Some(books) = &mut self.books else { return };
        let flushed = books.flush(monotonic, utc);
        if let Some(cause) = flushed.went_away {
            self.alarm(EntryType::StoreGap, None, &format!("{cause}; entries go to the spool, recording goes on"));
        }
        if let Some((since, spooled)) = flushed.came_back {
            let text = format!("PostgreSQL was away since {since}; {spooled} entries came from the spool");
            self.record(EntryType::SpoolReplayed, None, &text);
            self.compare_due = self.roster_complete;
        }
        if let Some((first, count)) = flushed.refused {
            let text =
                format!("PostgreSQL refused {count} rows, which are given up; the first: {first}; run fsck --repair");
            self.alarm(EntryType::StoreGap, None, &text);
        }
        if flushed.needs_replay {
            self.replay_index();
        }
        self.read_again(&flushed.differing);
        if flushed.answers {
            self.compare_rows();
        }
    }
}
