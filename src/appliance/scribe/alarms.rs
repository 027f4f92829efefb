//! Alarms that stand: the newest ones, shown with health, in a small file so that a restart of scribe forgets none.
//!
//! Each alarm is an entry of the ledger too; this list needs no database, so it is there when PostgreSQL is what the alarm
//! is about. What does not belong: what is an alarm. Durability point: an alarm is on disk a second after it was raised.

use peri_access::wire::decode_strict;
use peri_sandbox::durable::{self, Dir};
use std::time::Duration;

/// All of them go into one answer about health.
const ALARMS_MAX: usize = 50;
const ALARM_BYTES_MAX: usize = 400;
/// The list as CBOR: each text with its head, and the head of the array.
const FILE_BYTES_MAX: usize = ALARMS_MAX * (ALARM_BYTES_MAX + 3) + 3;
const NAME: &str = "alarms";
/// A flood of alarms does not become a flood of syncs.
const SAVE_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Alarms {
    /// Newest first.
    lines: Vec<String>,
    unsaved: bool,
    saved: Option<Duration>,
}

impl Alarms {
    /// The alarms of the run before; when they cannot be read, none, and why.
    pub(super) fn open(dir: &Dir) -> (Self, Option<String>) {
        let read = || -> Result<Vec<String>, String> {
            if !dir.has(NAME).map_err(|e| e.to_string())? {
                return Ok(Vec::new());
            }
            let bytes = dir.read(NAME, FILE_BYTES_MAX).map_err(|e| e.to_string())?;
            let lines: Vec<String> = decode_strict(&bytes).map_err(|e| e.to_string())?;
            let fits = lines.len() <= ALARMS_MAX && lines.iter().all(|line| line.len() <= ALARM_BYTES_MAX);
            if fits { Ok(lines) } else { Err("more than are ever written".into()) }
        };
        match read() {
            Ok(lines) => (Self { lines, ..Self::default() }, None),
            Err(why) => {
                let text =
                    format!("the list of standing alarms cannot be read ({why}); the ledger still has each of them");
                (Self::default(), Some(text))
            }
        }
    }

    pub(super) fn raise(&mut self, line: String) {
        self.lines.insert(0, line[..line.floor_char_boundary(ALARM_BYTES_MAX)].to_owned());
        self.lines.truncate(ALARMS_MAX);
        self.unsaved = true;
    }

    pub(super) fn lines(&self) -> &[String] {
        &self.lines
    }

    pub(super) fn save_when_due(&mut self, dir: &Dir, now: Duration) {
        if self.unsaved && self.saved.is_none_or(|saved| now.saturating_sub(saved) >= SAVE_EVERY) {
            self.saved = Some(now);
            self.save(dir);
        }
    }

    /// What cannot be written now (a full disk, which has an alarm of its own) is written with the next one.
    pub(super) fn save(&mut self, dir: &Dir) {
        let bytes = minicbor::to_vec(&self.lines).expect("encoding into a Vec cannot fail");
        self.unsaved = durable::write_atomic(dir, NAME, &bytes, 0o600).is_err();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn alarms_outlive_a_restart_within_their_bounds() {
        let root = tempfile::tempdir().unwrap();
        let dir = Dir::open(root.path()).unwrap();
        let (mut alarms, why) = Alarms::open(&dir);
        assert!(alarms.lines().is_empty() && why.is_none());
        for number in 0..=ALARMS_MAX {
            alarms.raise(format!("{number} {}", "ü".repeat(ALARM_BYTES_MAX)));
        }
        alarms.save_when_due(&dir, Duration::ZERO);
        let (again, why) = Alarms::open(&dir);
        assert_eq!((again.lines(), why), (alarms.lines(), None));
        assert!(again.lines().len() == ALARMS_MAX && again.lines()[0].starts_with("50 "), "the newest first");

        // Not at once again, but within a second.
        alarms.raise("one more".into());
        alarms.save_when_due(&dir, SAVE_EVERY / 2);
        assert!(Alarms::open(&dir).0.lines()[0].starts_with("50 "));
        alarms.save_when_due(&dir, SAVE_EVERY);
        assert_eq!(Alarms::open(&dir).0.lines()[0], "one more");
        // Nothing new is nothing to write.
        dir.unlink(NAME).unwrap();
        alarms.save_when_due(&dir, 9 * SAVE_EVERY);
        assert!(!dir.has(NAME).unwrap());
    }

    #[test]
    fn a_damaged_list_is_named_and_what_could_not_be_written_is_written_later() {
        let root = tempfile::tempdir().unwrap();
        let dir = Dir::open(root.path()).unwrap();
        let too_many = minicbor::to_vec(vec!["x"; ALARMS_MAX + 1]).unwrap();
        let too_long = minicbor::to_vec(["x".repeat(ALARM_BYTES_MAX + 1)]).unwrap();
        for bytes in [&[0xff][..], &[0x80, 0x00], &too_many, &too_long, &vec![0; FILE_BYTES_MAX + 1]] {
            durable::write_atomic(&dir, NAME, bytes, 0o600).unwrap();
            let (alarms, why) = Alarms::open(&dir);
            assert!(alarms.lines().is_empty() && why.unwrap().contains("the ledger still has"), "{bytes:.8x?}");
        }
        let (mut alarms, _) = Alarms::open(&dir);
        // A directory in the place of the file: it can be neither replaced nor read.
        dir.unlink(NAME).unwrap();
        std::fs::create_dir(root.path().join(NAME)).unwrap();
        alarms.raise("kept".into());
        alarms.save_when_due(&dir, SAVE_EVERY);
        std::fs::remove_dir(root.path().join(NAME)).unwrap();
        alarms.save_when_due(&dir, 2 * SAVE_EVERY);
        assert_eq!(Alarms::open(&dir).0.lines(), ["kept"]);
    }
}
