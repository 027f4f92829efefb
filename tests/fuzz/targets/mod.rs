//! The fuzz targets: one function for every parser of bytes from outside, each with an oracle beyond "does not panic".
//!
//! Shared by the short run in every test run (`tests/fuzz_short.rs`) and the long one (`scripts/fuzz`, libFuzzer). A
//! target panics when its oracle fails. What does not belong: choosing inputs. Invariant: a target depends on its input
//! alone (no clock, no randomness that it judges), so that a kept input fails again.

pub(crate) mod access;
pub(crate) mod appliance;
pub(crate) mod auth;
pub(crate) mod client;
pub(crate) mod fixture;
pub(crate) mod h264;
pub(crate) mod ledger;
pub(crate) mod mp4;
pub(crate) mod records;
pub(crate) mod roster;
pub(crate) mod rtp;
pub(crate) mod rtsp;
pub(crate) mod sdp;
pub(crate) mod seeds;
pub(crate) mod segment;
pub(crate) mod store;
pub(crate) mod tpm;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// One target.
pub(crate) struct Target {
    /// Name on the command line and of its folder below `tests/fuzz/corpus/`.
    pub(crate) name: &'static str,
    /// Longest input that teaches anything.
    pub(crate) max_len: usize,
    /// Runs one input; panics when the oracle fails.
    pub(crate) run: fn(&[u8]),
}

const fn target(name: &'static str, max_len: usize, run: fn(&[u8])) -> Target {
    Target { name, max_len, run }
}

/// Every target.
pub(crate) const TARGETS: &[Target] = &[
    target("rtsp_wire", 2048, rtsp::wire),
    target("rtsp_client", 4096, rtsp::client),
    target("rtsp_server", 2048, rtsp::server),
    target("sdp", 2048, sdp::sdp),
    target("auth", 1024, auth::auth),
    target("rtp", 1024, rtp::rtp),
    target("rtcp", 512, rtp::rtcp),
    target("sps", 512, h264::sps),
    target("h264", 4096, h264::access_units),
    target("fragment", 4096, mp4::fragments),
    target("mp4join", 2048, mp4::join),
    target("segment_scan", 8192, segment::scan),
    target("segment_open", 8192, segment::open),
    target("fragment_header", 32, segment::header),
    target("keys", 2048, records::keys),
    target("epoch_records", 2048, records::epoch_records),
    target("userkey", 512, records::userkey),
    target("statement", 8192, roster::statement),
    target("provisioning", 4096, roster::provisioning),
    target("snapshot", 4096, roster::snapshot),
    target("ledger_entry", 2048, ledger::entry),
    target("note", 2048, ledger::note),
    target("access_wire", 8192, appliance::access),
    target("messages", 8192, appliance::messages),
    target("config", 4096, appliance::config),
    target("dns", 1024, appliance::dns),
    target("spool", 2048, appliance::spool),
    target("tpm", 1024, tpm::tpm),
    target("certificate", 512, access::certificate),
    target("proof", 2048, access::proof),
    target("invitation", 1024, access::invitation),
    target("onetime", 1024, access::onetime),
    target("attempts", 1024, access::attempts),
    target("device_sealed", 2048, records::device_sealed),
    target("client_files", 4096, client::files),
    target("typed", 64, client::typed),
    target("xfile", 64, store::xfile),
    target("leaves", 1024, store::leaves),
];

/// The target of a name.
#[must_use]
pub(crate) fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

thread_local! {
    static REACHED: core::cell::Cell<u64> = const { core::cell::Cell::new(0) };
}

/// A target calls this where its oracle begins to judge: a run that never gets there would prove nothing.
pub(crate) fn reached() {
    REACHED.set(REACHED.get() + 1);
}

/// How often this thread's targets have judged.
#[must_use]
pub(crate) fn judged() -> u64 {
    REACHED.get()
}

/// Where files of targets lie: in memory, because runs sync.
static SHM: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let memory = Path::new("/dev/shm");
    let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("peri-fuzz.").tempdir_in(base).expect("a temporary folder")
});

/// A folder of this thread's own, for files of this kind.
pub(crate) fn folder(kind: &str) -> PathBuf {
    use std::os::unix::fs::DirBuilderExt;
    let folder = SHM.path().join(format!("{kind} {:?}", std::thread::current().id()));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).expect("a folder");
    folder
}

/// A reader for inputs that have structure; it never fails, it only runs dry.
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    /// The next byte; 0 when there is none.
    pub(crate) fn byte(&mut self) -> u8 {
        let byte = self.0.first().copied().unwrap_or(0);
        self.0 = self.0.get(1..).unwrap_or_default();
        byte
    }

    /// Up to so many bytes.
    pub(crate) fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A piece with its 16-bit big-endian length before it.
    pub(crate) fn piece(&mut self) -> &'a [u8] {
        let len = usize::from(self.byte()) << 8 | usize::from(self.byte());
        self.take(len)
    }

    /// Whether it ran dry.
    #[must_use]
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Cuts bytes as a network may: one by one while they are few, else into uneven pieces.
pub(crate) fn pieces(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut state = bytes.iter().fold(0x9e37_79b9_u32, |sum, byte| sum.rotate_left(5) ^ u32::from(*byte));
    let single = bytes.len() < 256 && state & 1 == 0;
    let mut rest = bytes;
    core::iter::from_fn(move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let len = if single { 1 } else { 1 + (state >> 24) as usize % 61 };
        let (piece, after) = rest.split_at(len.min(rest.len()));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

/// What holds for every strict decoder, given as bytes → re-encoded bytes: what it accepts it writes again byte by byte,
/// and neither a longer nor a shorter string is accepted with it. Returns whether the bytes were accepted.
pub(crate) fn canonical(bytes: &[u8], decode: impl Fn(&[u8]) -> Option<Vec<u8>>) -> bool {
    let Some(again) = decode(bytes) else { return false };
    reached();
    assert_eq!(again, bytes, "decoded, but encodes to something else");
    let longer = [bytes, &[0]].concat();
    assert!(decode(&longer).is_none(), "a trailing byte is accepted");
    assert!(decode(&bytes[..bytes.len() - 1]).is_none(), "a shorter string is accepted too");
    true
}
