//! Scribe's part in recording: X and files for coming epochs, progress and loss from recorders, tails and account.

use super::{EpochDetail, Scribe, Token, index, salt};
use crate::message::{RecorderToScribe, ScribeToKeeper, ScribeToPortal, SecretBytes};
use peri_domain::limits::CAUSE_BYTES_MAX;
use peri_domain::{CameraId, EpochNo, UtcNanos};
use peri_ledger::EntryType;
use peri_sandbox::clock::Clock as _;
use peri_store::coverage::Coverage;
use peri_store::retention::SegmentState;

impl Scribe {
    /// Draws X and makes the segment file. X is durable before keeper hears of it, the file's name too.
    pub(super) fn prepare(&mut self, camera: CameraId) {
        let epoch = self.index.next_epoch(camera);
        let drawn = self.xfile.draw(camera, epoch).map_err(|e| e.to_string());
        let made = drawn.and_then(|x| self.store.create(camera, epoch).map(|fd| (x, fd)).map_err(|e| e.to_string()));
        match made {
            Ok((x, fd)) => {
                let x = SecretBytes(*x.as_bytes());
                self.tell_keeper(ScribeToKeeper::Prepared { camera, epoch, x }, Some(fd));
            }
            Err(why) => {
                // The number is not used again; an X without a segment is dropped with the next re-key.
                let _ = self.xfile.drop_keys(&[(camera, epoch)]);
                self.make_room();
                self.tell_keeper(ScribeToKeeper::PrepareFailed { camera, why }, None);
            }
        }
    }

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

    pub(super) fn discard(&mut self, camera: CameraId, epoch: EpochNo) {
        // Head and X of an epoch that nobody recorded into: no picture is lost.
        let _ = self.xfile.drop_keys(&[(camera, epoch)]);
        let _ = self.store.unlink(camera, epoch);
        self.index.remove((camera, epoch));
        self.book_state((camera, epoch), SegmentState::Erased);
    }

    pub(super) fn hear_recorder(&mut self, token: u64) {
        let Some(camera) =
            self.recorders.iter().find(|(_, recorder)| recorder.token == Token(token)).map(|(camera, _)| *camera)
        else {
            return;
        };
        loop {
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

    pub(super) fn on_recorder(&mut self, camera: CameraId, message: RecorderToScribe) {
        match message {
            RecorderToScribe::Progress(progress) => {
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
            RecorderToScribe::Lost { since, until, mut cause } => {
                // A camera has a say in this text, and it goes into every answer about health.
                cause.truncate(cause.floor_char_boundary(CAUSE_BYTES_MAX));
                if self.index.lost(camera, &cause) {
                    self.alarm(EntryType::CameraLost, Some(camera), &cause);
                }
                self.cover(camera, since, until, Coverage::Lost, &cause);
            }
            RecorderToScribe::Event(event) => self.take_event(event, Some(camera)),
            RecorderToScribe::DiskFull => self.make_room(),
        }
    }

    pub(super) fn close_segment(&mut self, camera: CameraId, epoch: EpochNo) {
        self.index.set_state((camera, epoch), SegmentState::Closed);
        self.book_state((camera, epoch), SegmentState::Closed);
        self.record(EntryType::SegmentClosed, Some(camera), &format!("epoch {epoch}"));
        let done: Vec<u64> =
            self.followers.iter().filter(|(_, c, e)| (*c, *e) == (camera, epoch)).map(|(id, _, _)| *id).collect();
        self.followers.retain(|(_, c, e)| (*c, *e) != (camera, epoch));
        for id in done {
            self.tell_portal(ScribeToPortal::Closed { id }, None);
        }
    }

    /// Brings rows up to what the files say, after PostgreSQL was away.
    pub(super) fn replay_index(&mut self) {
        for key in self.index.keys().collect::<Vec<_>>() {
            if let Some(replayed) = index::scan_file(&self.store, key) {
                self.book_scan(&replayed);
            }
        }
    }

    /// The account is written every ten seconds; what lies behind its end in the last segment of each camera was
    /// recorded all the same.
    pub(super) fn account_for_last_run(&mut self) {
        for key in self.index.unfinished() {
            if let Some(replayed) = index::scan_file(&self.store, key)
                && let Some((from, until)) = replayed.pictures
            {
                self.cover(key.0, from, until, Coverage::Recorded, "");
                // One that its recorder may be writing still stays open.
                let over = self.index.segment(key).is_none_or(|segment| segment.row.ends <= self.clock.utc());
                if over || replayed.finished {
                    self.book_scan(&replayed);
                }
            }
        }
        self.compare_rows();
    }

    /// Rows that waited in the memory of a scribe that died are made again from the files.
    pub(super) fn compare_rows(&mut self) {
        let Some(books) = &mut self.books else { return };
        let Ok(rows) = books.rows() else { return };
        let (missing, to_scan) = self.index.compare(&rows, self.clock.utc());
        missing.into_iter().for_each(|row| books.segment_opened(row));
        for key in to_scan {
            if let Some(replayed) = index::scan_file(&self.store, key) {
                self.book_scan(&replayed);
            }
        }
    }

    pub(super) fn cover(&mut self, camera: CameraId, from: UtcNanos, until: UtcNanos, state: Coverage, cause: &str) {
        if let Some(books) = &mut self.books {
            books.cover(camera, from, until, state, cause);
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

    /// What a scan of a file says goes into the index.
    pub(super) fn book_scan(&mut self, replayed: &peri_store::fsck::Replayed) {
        if self.index.running(replayed.row.key.0) == Some(replayed.row.key.1) {
            return;
        }
        if let Some(books) = &mut self.books {
            books.scanned(replayed.clone());
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
            // Into the spool; the leaves of such an entry are not kept, because its number is not known yet.
            Err(_) => self.enter(event),
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
        }
        if flushed.needs_replay {
            self.replay_index();
        }
        if flushed.needs_rows {
            self.compare_rows();
        }
    }
}
