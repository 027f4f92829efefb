//! Scribe's part in a coming epoch: its segment file and its X, or in a few words why there are none.
//!
//! The file comes first: one that cannot be made takes no slot of the key file. A full key file is re-keyed at once, which
//! frees the slots of erased X and lets it grow; the failed draw of a sick disk takes a slot until the next re-key only.
//! Whatever stands in the way is told once as an alarm, and to keeper each time, so that the account of every camera that
//! then has nothing to record into names the cause.
//!
//! What does not belong: what keeper does with X, when a file ends (`erasure`).

use super::Scribe;
use crate::message::{ScribeToKeeper, SecretBytes};
use peri_domain::{CameraId, EpochNo};
use peri_ledger::EntryType;
use peri_sandbox::clock::Clock as _;
use peri_seal::XSecret;
use peri_store::retention::SegmentState;
use peri_store::segments::SegmentError;
use peri_store::xfile::XFileError;
use std::os::fd::OwnedFd;

/// Why there is no epoch: the first words are the cause that the account shows.
#[derive(Debug, thiserror::Error)]
pub(super) enum PrepareError {
    /// The segment file.
    #[error("{why}: {0}", why = in_short(.0))]
    File(#[from] SegmentError),
    /// The key file.
    #[error("{why}: {0}", why = XFileError::in_short(.0))]
    Key(#[from] XFileError),
    /// The key file is full, and the re-key that would make room failed.
    #[error("key file full, and {why}: its re-key fails, it is tried again by itself")]
    Stuck {
        /// Why the re-key fails, in short.
        why: &'static str,
    },
}

fn in_short(error: &SegmentError) -> &'static str {
    match error {
        SegmentError::Disk(error) if error.errno() == Some(nix::errno::Errno::ENOSPC) => "disk full",
        _ => "segment file cannot be made",
    }
}

/// What stands in the way of new epochs, so that it is told once.
#[derive(Debug, Default)]
pub(super) struct Trouble(Option<String>);

impl Trouble {
    /// Whether this cause is news. Camera and epoch differ each time, the first words do not.
    fn is_news(&mut self, why: &str) -> bool {
        let cause = why.split_once(':').map_or(why, |(cause, _)| cause);
        self.0.replace(cause.to_owned()).as_deref() != Some(cause)
    }

    /// Whether it is over now.
    fn is_over(&mut self) -> bool {
        self.0.take().is_some()
    }
}

impl Scribe {
    /// X and the file's name are durable before keeper hears of them.
    pub(super) fn prepare(&mut self, camera: CameraId) {
        let epoch = self.index.next_epoch(camera);
        match self.make(camera, epoch) {
            Ok((x, fd)) => {
                if self.trouble.is_over() {
                    self.record(EntryType::StoreGap, None, "over: epochs can be prepared again");
                }
                let x = SecretBytes(*x.as_bytes());
                self.tell_keeper(ScribeToKeeper::Prepared { camera, epoch, x }, Some(fd));
            }
            Err(error) => {
                let why = error.to_string();
                if self.trouble.is_news(&why) {
                    self.alarm(EntryType::StoreGap, None, &format!("no epoch can be prepared: {why}"));
                }
                self.make_room();
                self.tell_keeper(ScribeToKeeper::PrepareFailed { camera, why }, None);
            }
        }
    }

    fn make(&mut self, camera: CameraId, epoch: EpochNo) -> Result<(XSecret, OwnedFd), PrepareError> {
        let fd = self.store.create(camera, epoch)?;
        let drawn = self.draw(camera, epoch);
        if drawn.is_err() {
            // One that stays behind is empty, and goes at the next start as prepared and never used.
            let _ = self.store.unlink(camera, epoch);
        }
        Ok((drawn?, fd))
    }

    fn draw(&mut self, camera: CameraId, epoch: EpochNo) -> Result<XSecret, PrepareError> {
        match self.xfile.draw(camera, epoch) {
            Err(XFileError::Full { .. }) => {
                let now = self.clock.monotonic();
                self.expect_slots();
                // One that failed a moment ago, or would gain nothing, is not tried for every camera: a silent TPM takes its
                // time, and so does a file that cannot grow any more.
                if self.xfile.is_short() && self.erasure.may_rekey(now) {
                    self.rekey(now);
                }
                if let Some(why) = self.erasure.rekey_fails() {
                    return Err(PrepareError::Stuck { why });
                }
                Ok(self.xfile.draw(camera, epoch)?)
            }
            drawn => Ok(drawn?),
        }
    }

    pub(super) fn discard(&mut self, camera: CameraId, epoch: EpochNo) {
        // Head and X of an epoch that nobody recorded into: no picture is lost. Whatever keeper says, one that holds
        // fragments stays: erasing pictures is retention's business.
        let recorded = self.index.segment((camera, epoch)).is_some_and(|segment| segment.used);
        if recorded || self.index.running(camera) == Some(epoch) {
            return;
        }
        let _ = self.xfile.drop_keys(&[(camera, epoch)]);
        let _ = self.store.unlink(camera, epoch);
        self.index.remove((camera, epoch));
        self.book_state((camera, epoch), SegmentState::Erased);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_words_name_the_cause_and_each_cause_is_told_once() {
        let full = PrepareError::from(XFileError::Full { slots: 4_096 }).to_string();
        assert!(full.starts_with("key file full: all 4096 slots"), "{full}");
        let stuck = PrepareError::Stuck { why: "TPM gone" }.to_string();
        assert!(stuck.starts_with("key file full, and TPM gone: "), "{stuck}");
        let no_space = std::io::Error::from_raw_os_error(nix::errno::Errno::ENOSPC as i32);
        let disk = PrepareError::from(XFileError::Io { doing: "drawing X", source: no_space }).to_string();
        assert!(disk.starts_with("disk full: "), "{disk}");
        let mut trouble = Trouble::default();
        assert!(!trouble.is_over() && trouble.is_news(&full) && !trouble.is_news(&full));
        assert!(trouble.is_news(&stuck) && trouble.is_news(&disk) && trouble.is_over() && !trouble.is_over());
        assert!(trouble.is_news(&disk), "after it was over it is news again");
    }
}
