//! The page as it was built with this program: files of `src/web`, embedded, and the hash by which anybody can compare them.
//!
//! What does not belong: making it (`build.rs`, `src/web/build.mjs`).

use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::sync::LazyLock;

macro_rules! embedded {
    ($($name:literal),*) => { &[$(($name, include_bytes!(concat!(env!("OUT_DIR"), "/page/", $name)))),*] };
}

/// Name and bytes, by name.
const FILES: &[(&str, &[u8])] =
    embedded!("app.css", "app.js", "icon.svg", "index.html", "manifest.webmanifest", "worker.js");

/// The bytes of a file.
pub(super) fn file(name: &str) -> Option<&'static [u8]> {
    FILES.iter().find(|(found, _)| *found == name).map(|(_, bytes)| *bytes)
}

/// What a file is.
pub(super) fn media_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("webmanifest") => "application/manifest+json",
        _ => "application/octet-stream",
    }
}

/// SHA-256 over each file in the order of their names: name, a zero byte, length (64 bits, big-endian), bytes.
pub(super) static HASH: LazyLock<String> = LazyLock::new(|| {
    let mut hash = Sha256::new();
    for (name, bytes) in FILES {
        hash.update(name.as_bytes());
        hash.update([0]);
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    }
    hash.finalize().iter().fold(String::new(), |mut text, byte| {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
});
