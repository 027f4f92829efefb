//! The proof that X of old epochs is gone: every place where one could still be is searched for their commitments.
//!
//! A commitment is a hash of X alone, so any 32 bytes can be tested against all old epochs with one hash. Searched are
//! the slots of the X file under every root that the store still holds ([`Hunt::x_file`]) and any bytes given
//! ([`Hunt::bytes`], [`Hunt::tree`]): each 32-byte window as it is, and each run of hexadecimal or base64 digits decoded,
//! which is how a database dump writes bytes.
//!
//! What does not belong: which epochs are old (`retention::Rules`), the dump itself. Limits: it proves absence from
//! what it is shown; encrypted copies under keys of others, disk sectors no longer in any file, and memory are not.
//! A positive control belongs to each use: a living X must be found by the same search.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use peri_domain::limits::{EPOCH_MAX, REKEY_EVERY};
use peri_domain::{Hash, UtcNanos};
use peri_seal::XSecret;
use zeroize::Zeroizing;

use crate::retention::{Hold, Rules, SegmentRow};
use crate::root::RootStore;
use crate::segments::SegmentKey;
use crate::xfile::{KeyDir, XFile, XFileError, evidence};

/// After its time an X may live on so long: the sweep that finds it comes once an epoch, the re-key once an hour.
pub const GRACE: Duration = Duration::from_secs(REKEY_EVERY.as_secs() + EPOCH_MAX.as_secs());

/// Bytes of one X.
const X_LEN: usize = 32;
/// Hexadecimal digits of one X.
const HEX_LEN: usize = 2 * X_LEN;
/// Base64 digits that hold one X which starts so many bits into the first digit (an X in the middle of a longer encoded
/// value starts at 0, 2 or 4): 256 bits and these, rounded up to digits of 6 bits.
const BASE64_LENS: [(u32, usize); 3] = [(0, 43), (2, 43), (4, 44)];
/// A window with so many zero bytes is no X: of random 32 bytes one in 10^16 has eleven. Skips empty pages quickly.
const ZEROS_MAX: usize = 10;
/// Bytes read at once.
const CHUNK: usize = 1 << 20;

/// Where an X was found that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its epoch.
    pub key: SegmentKey,
    /// The place, for people.
    pub place: String,
}

/// A search under way, and afterwards the evidence.
pub struct Hunt {
    suspects: BTreeMap<Hash, SegmentKey>,
    /// Candidates hashed.
    pub candidates: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Places searched.
    pub places: Vec<String>,
    /// What was found; must be empty.
    pub found: Vec<Found>,
}

/// Rows whose X must be gone at `now`: past retention and [`GRACE`], and not held.
#[must_use]
pub fn overdue(rows: &[SegmentRow], now: UtcNanos, rules: &Rules, holds: &[Hold]) -> Vec<(SegmentKey, Hash)> {
    overdue_after(rows, now, rules, holds, GRACE)
}

/// As [`overdue`], for an appliance that re-keys more often.
#[must_use]
pub fn overdue_after(
    rows: &[SegmentRow],
    now: UtcNanos,
    rules: &Rules,
    holds: &[Hold],
    grace: Duration,
) -> Vec<(SegmentKey, Hash)> {
    let late = |row: &&SegmentRow| rules.expired(row, now - grace) && !holds.iter().any(|hold| hold.covers(row));
    rows.iter().filter(late).map(|row| (row.key, row.commit_x)).collect()
}

impl Hunt {
    /// For these epochs.
    #[must_use]
    pub fn new(suspects: &[(SegmentKey, Hash)]) -> Self {
        Self {
            suspects: suspects.iter().map(|(key, commit)| (*commit, *key)).collect(),
            candidates: 0,
            bytes: 0,
            places: Vec::new(),
            found: Vec::new(),
        }
    }

    /// Epochs searched for.
    #[must_use]
    pub fn suspects(&self) -> usize {
        self.suspects.len()
    }

    /// Whether nothing was found. Says nothing unless places were searched.
    #[must_use]
    pub fn is_proved(&self) -> bool {
        self.found.is_empty() && !self.places.is_empty()
    }

    /// Searches every record of every key file that a root still opens, current and spare.
    ///
    /// # Errors
    /// What disk or root store say.
    pub fn x_file<D: KeyDir, R: RootStore>(&mut self, xfile: &mut XFile<D, R>) -> Result<(), XFileError> {
        let commitments = xfile.every_commitment()?;
        self.x_commitments(commitments.into_keys());
        Ok(())
    }

    /// As [`Self::x_file`], on files that belong to a stopped scribe: read only. Returns how many X the search saw, which
    /// is its positive control.
    ///
    /// # Errors
    /// What disk or root store say.
    pub fn key_files<D: KeyDir, R: RootStore>(&mut self, dir: &D, roots: &mut R) -> Result<usize, XFileError> {
        let commitments = evidence(dir, roots)?;
        let seen = commitments.len();
        self.x_commitments(commitments.into_keys());
        Ok(seen)
    }

    fn x_commitments(&mut self, commitments: impl Iterator<Item = Hash>) {
        self.places.push("X key file, under every root".to_owned());
        for commit in commitments {
            self.candidates += 1;
            self.note(commit, "X key file");
        }
    }

    /// Searches all files below a directory (or one file). `skip` names paths to leave out (sealed segments hold no X).
    ///
    /// # Errors
    /// When something cannot be read; the proof is incomplete then.
    pub fn tree(&mut self, path: &Path, skip: &dyn Fn(&Path) -> bool) -> io::Result<()> {
        if skip(path) {
            return Ok(());
        }
        let kind = std::fs::symlink_metadata(path)?.file_type();
        if kind.is_dir() {
            let mut below = std::fs::read_dir(path)?.map(|e| e.map(|e| e.path())).collect::<io::Result<Vec<_>>>()?;
            below.sort();
            return below.iter().try_for_each(|path| self.tree(path, skip));
        }
        if !kind.is_file() {
            return Ok(()); // sockets and pipes hold nothing; a link's target is searched where it is
        }
        self.bytes(&path.display().to_string(), File::open(path)?)
    }

    /// Searches a stream: a dump, a log, a file.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn bytes(&mut self, place: &str, mut source: impl Read) -> io::Result<()> {
        self.places.push(place.to_owned());
        let mut buffer = Zeroizing::new(vec![0; CHUNK + HEX_LEN]);
        let mut kept = 0;
        loop {
            let read = source.read(&mut buffer[kept..])?;
            if read == 0 {
                return Ok(());
            }
            self.bytes += read as u64;
            // Windows that started in the part kept and were whole there were seen before; testing them twice is cheap.
            let have = kept + read;
            self.windows(place, &buffer[..have]);
            self.digits(place, &buffer[..have], (0, HEX_LEN), hex_value, 4);
            for shape in BASE64_LENS {
                self.digits(place, &buffer[..have], shape, base64_value, 6);
            }
            kept = have.min(HEX_LEN - 1);
            buffer.copy_within(have - kept..have, 0);
        }
    }

    fn windows(&mut self, place: &str, bytes: &[u8]) {
        let Some(first) = bytes.first_chunk::<X_LEN>() else { return };
        let zero = |byte: u8| usize::from(byte == 0);
        let mut zeros: usize = first.iter().copied().map(zero).sum();
        for (at, window) in bytes.windows(X_LEN).enumerate() {
            if at > 0 {
                zeros = zeros + zero(window[X_LEN - 1]) - zero(bytes[at - 1]);
            }
            if zeros <= ZEROS_MAX {
                self.test(place, window.try_into().expect("a window of 32"));
            }
        }
    }

    /// Tests every run of `len` digits of `bits` bits each, at every offset, without the first `skip` bits.
    fn digits(&mut self, place: &str, bytes: &[u8], (skip, len): (u32, usize), value: fn(u8) -> Option<u8>, bits: u32) {
        let mut run = 0;
        for at in 0..bytes.len() {
            run = if value(bytes[at]).is_some() { run + 1 } else { 0 };
            if run < len {
                continue;
            }
            let mut x = Zeroizing::new([0; X_LEN]);
            let (mut filled, mut pending, mut have) = (0, 0_u32, 0);
            for (position, digit) in bytes[at + 1 - len..=at].iter().enumerate() {
                pending = pending << bits | u32::from(value(*digit).unwrap_or(0));
                have += if position == 0 { bits - skip } else { bits };
                if have >= 8 && filled < X_LEN {
                    have -= 8;
                    x[filled] = u8::try_from(pending >> have & 0xFF).unwrap_or(0);
                    filled += 1;
                }
            }
            self.test(place, &x);
        }
    }

    fn test(&mut self, place: &str, x: &[u8; X_LEN]) {
        self.candidates += 1;
        self.note(XSecret::from_bytes(*x).commit(), place);
    }

    fn note(&mut self, commit: Hash, place: &str) {
        if let Some(key) = self.suspects.get(&commit) {
            let found = Found { key: *key, place: place.to_owned() };
            if !self.found.contains(&found) {
                self.found.push(found);
            }
        }
    }
}

fn hex_value(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Both alphabets of RFC 4648 §4 and §5.
fn base64_value(digit: u8) -> Option<u8> {
    match digit {
        b'A'..=b'Z' => Some(digit - b'A'),
        b'a'..=b'z' => Some(digit - b'a' + 26),
        b'0'..=b'9' => Some(digit - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use peri_domain::{CameraId, EpochNo};

    const X: [u8; 32] = *b"\x00\x9f0123456789abcdefghijklmnopqr\xfe\xff";

    fn hunt() -> Hunt {
        let key = (CameraId([1; 16]), EpochNo(7));
        Hunt::new(&[(key, XSecret::from_bytes(X).commit())])
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    fn base64(bytes: &[u8], alphabet: &[u8; 64]) -> String {
        let mut out = String::new();
        for chunk in bytes.chunks(3) {
            let word = chunk.iter().fold(0_u32, |word, b| word << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
            for digit in 0..=chunk.len() {
                out.push(char::from(alphabet[(word >> (18 - 6 * digit) & 63) as usize]));
            }
        }
        out
    }

    #[test]
    fn a_left_x_is_found_in_every_form_and_at_every_place() {
        let plain = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let url = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let forms = [
            X.to_vec(),
            format!("COPY x FROM stdin;\n1\t\\\\x{}\n", hex(&X)).into_bytes(),
            hex(&X).to_uppercase().into_bytes(),
            base64(&X, plain).into_bytes(),
            base64(&X, url).into_bytes(),
            base64(&[&[9], X.as_slice(), &[8]].concat(), plain).into_bytes(),
            base64(&[&[9, 9], X.as_slice(), &[8]].concat(), plain).into_bytes(),
            format!("key={}", hex(&[&[1, 2, 3], X.as_slice(), &[4]].concat())).into_bytes(),
        ];
        for form in forms {
            // Also across the border of two reads.
            for before in [0, 1, 4_095, CHUNK - 40, CHUNK - 1, CHUNK + 63] {
                let mut text = vec![b' '; before];
                text.extend_from_slice(&form);
                let mut hunt = hunt();
                hunt.bytes("dump", text.as_slice()).unwrap();
                assert_eq!(hunt.found.len(), 1, "{:?} after {before}", String::from_utf8_lossy(&form));
                assert!(!hunt.is_proved());
            }
        }
    }

    #[test]
    fn other_bytes_are_no_match_and_zeros_cost_nothing() {
        let mut other = X;
        other[31] ^= 1;
        let mut hunt = hunt();
        assert!(!hunt.is_proved(), "nothing searched proves nothing");
        hunt.bytes("zeros", vec![0; 1 << 16].as_slice()).unwrap();
        assert_eq!(hunt.candidates, 0);
        hunt.bytes("other", other.as_slice()).unwrap();
        assert!(hunt.is_proved());
        assert_eq!(hunt.bytes, (1 << 16) + 32);
    }

    #[test]
    fn a_tree_is_searched_but_for_what_is_skipped() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("a/b")).unwrap();
        std::fs::write(root.path().join("a/b/left.tmp"), X).unwrap();
        std::fs::write(root.path().join("a/one.seg"), X).unwrap();
        let mut hunt = hunt();
        hunt.tree(root.path(), &|path| path.extension().is_some_and(|e| e == "seg")).unwrap();
        assert_eq!(hunt.found.len(), 1);
        assert!(hunt.found[0].place.ends_with("a/b/left.tmp"));
        assert!(hunt.tree(&root.path().join("missing"), &|_| false).is_err(), "an unreadable place is no proof");
    }

    #[test]
    fn an_x_that_strayed_into_the_database_is_found_in_its_text_dump() {
        let cluster = crate::testdb::TestDb::start();
        let dump = || {
            let socket = cluster.socket_dir().to_str().unwrap();
            let output = std::process::Command::new(crate::testdb::program("pg_dumpall"))
                .args(["--host", socket, "--username", "postgres"])
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            output.stdout
        };
        let mut clean = hunt();
        clean.bytes("dump", dump().as_slice()).unwrap();
        assert!(clean.is_proved() && clean.bytes > 10_000);
        let mut db = cluster.db("peri/test");
        db.add_statement(&[b"statement with ".as_slice(), &X, b" inside"].concat()).unwrap();
        let mut dirty = hunt();
        dirty.bytes("dump", dump().as_slice()).unwrap();
        assert_eq!(dirty.found.len(), 1);
        // And in the files of the cluster as they lie there, write-ahead log included.
        let mut files = hunt();
        files.tree(&cluster.data().join("pg_wal"), &|_| false).unwrap();
        assert_eq!(files.found.len(), 1);
    }
}
