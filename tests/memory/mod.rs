//! Searching memory and files for many short secrets at once, in every shape in which they are written down.
//!
//! What does not belong: what is a secret, and where it may be. A needle is found by its first eight bytes in a table and
//! then compared whole, so the cost hardly depends on the number of needles.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};

/// Bytes of the key of the table; no shape of a needle is shorter.
const KEY: usize = 8;

/// Where is searched: stretches of bytes that do not touch.
pub(crate) struct Haystack(Vec<Vec<u8>>);

impl Haystack {
    /// One stretch.
    pub(crate) fn of(bytes: Vec<u8>) -> Self {
        Self(vec![bytes])
    }

    /// Bytes in all.
    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }
}

/// All readable memory of a process, as root sees it: what `gcore` writes, and the pages that are marked as not to be
/// dumped. The process is stopped meanwhile.
pub(crate) fn memory_of(pid: u32) -> Haystack {
    use nix::sys::signal::{Signal, kill};
    let process = nix::unistd::Pid::from_raw(pid.cast_signed());
    kill(process, Signal::SIGSTOP).unwrap_or_else(|error| panic!("{pid}: {error}"));
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("root reads the map");
    let mut memory = fs::File::open(format!("/proc/{pid}/mem")).expect("root reads the memory");
    let mut stretches = Vec::new();
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (range, rights) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let name = words.nth(3).unwrap_or_default();
        if !rights.starts_with('r') || ["[vvar]", "[vvar_vclock]", "[vsyscall]"].contains(&name) {
            continue;
        }
        let bound = |text: &str| u64::from_str_radix(text, 16).expect("an address");
        let (from, to) = range.split_once('-').map(|(from, to)| (bound(from), bound(to))).expect("a range");
        let mut bytes = vec![0; usize::try_from(to - from).expect("it fits")];
        memory.seek(SeekFrom::Start(from)).expect("an address of the map");
        match memory.read_exact(&mut bytes) {
            Ok(()) => stretches.push(bytes),
            Err(error) => assert!(!rights.starts_with("rw"), "{pid}: {line}: {error}"),
        }
    }
    kill(process, Signal::SIGCONT).expect("it is stopped");
    assert!(stretches.len() > 10, "{pid} has memory");
    Haystack(stretches)
}

/// What is searched for.
pub(crate) struct Needles<K> {
    shapes: Vec<(Vec<u8>, usize)>,
    names: Vec<(K, String)>,
}

impl<K> Default for Needles<K> {
    fn default() -> Self {
        Self { shapes: Vec::new(), names: Vec::new() }
    }
}

impl<K: Copy + Ord> Needles<K> {
    /// Adds secrets under one name, in all shapes.
    pub(crate) fn push(&mut self, kind: K, what: &str, secrets: &[Vec<u8>]) {
        let name = self.names.len();
        self.names.push((kind, what.to_owned()));
        for secret in secrets {
            assert!(secret.len() >= 16, "{what}: too short to be told from chance");
            let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
            let mut shapes = vec![secret.clone(), hex.to_uppercase().into_bytes(), hex.into_bytes()];
            // base64 of a longer text shows the secret at one of three shifts; the characters at both ends also depend on
            // what stands around it.
            for before in 0..3 {
                for url in [false, true] {
                    let text = base64(&[vec![0; before], secret.clone()].concat(), url);
                    let whole = (before + secret.len()) * 8 / 6;
                    let from = (before * 8).div_ceil(6);
                    shapes.push(text.as_bytes()[from..whole].to_vec());
                }
            }
            self.shapes.extend(shapes.into_iter().map(|shape| (shape, name)));
        }
    }

    /// The search.
    pub(crate) fn finder(self) -> Finder<K> {
        let mut table: HashMap<[u8; KEY], Vec<usize>> = HashMap::new();
        let mut sieve = vec![0_u64; 1 << 10];
        for (at, (shape, _)) in self.shapes.iter().enumerate() {
            let key: [u8; KEY] = shape[..KEY].try_into().expect("no shape is shorter");
            table.entry(key).or_default().push(at);
            let bit = sieve_bit(&key);
            sieve[bit >> 6] |= 1 << (bit & 63);
        }
        Finder { needles: self, table, sieve }
    }
}

/// 16 bits out of the first four bytes: most places are ruled out by them alone.
fn sieve_bit(bytes: &[u8]) -> usize {
    let word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    (word.wrapping_mul(0x9E37_79B1) >> 16) as usize
}

/// See [`Needles::finder`].
pub(crate) struct Finder<K> {
    needles: Needles<K>,
    table: HashMap<[u8; KEY], Vec<usize>>,
    sieve: Vec<u64>,
}

impl<K: Copy + Ord> Finder<K> {
    /// What is there, by kind and name.
    pub(crate) fn find(&self, place: &Haystack) -> BTreeSet<(K, String)> {
        let mut found = BTreeSet::new();
        for bytes in &place.0 {
            for (at, window) in bytes.windows(KEY).enumerate() {
                let bit = sieve_bit(window);
                if self.sieve[bit >> 6] & (1 << (bit & 63)) == 0 {
                    continue;
                }
                let Some(candidates) = self.table.get(window) else { continue };
                let whole = candidates.iter().map(|shape| &self.needles.shapes[*shape]);
                for (_, name) in whole.filter(|(shape, _)| bytes[at..].starts_with(shape)) {
                    found.insert(*name);
                }
            }
        }
        found.into_iter().map(|name: usize| self.needles.names[name].clone()).collect()
    }

    /// Only the kinds.
    pub(crate) fn kinds(&self, place: &Haystack) -> BTreeSet<K> {
        self.find(place).into_iter().map(|(kind, _)| kind).collect()
    }
}

/// base64 without padding (RFC 4648, sections 4 and 5).
pub(crate) fn base64(bytes: &[u8], url: bool) -> String {
    const COMMON: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let letter = |six: u32| match six {
        62 => {
            if url {
                '-'
            } else {
                '+'
            }
        }
        63 => {
            if url {
                '_'
            } else {
                '/'
            }
        }
        six => char::from(COMMON[six as usize]),
    };
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let word = group.iter().fold(0, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        text.extend((0..=group.len()).map(|at| letter(word >> (18 - 6 * at) & 63)));
    }
    text
}
