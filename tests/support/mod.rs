//! What the integration tests stand on: cameras, a software TPM, whole appliances, homes of users, judges of pictures.
//!
//! Nothing here knows what a test wants to show, and nothing reaches into the product: the appliance is the program that
//! ships, started with a configuration file, and people are the program `peri`.
//!
//! Invariants: every process started here ends with the test process, however that ends, and so does every directory
//! ([`guard`]); every wait has a deadline and says what it waited for; two tests never share a directory or socket.
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test takes the part it needs; a panic is the report"
)]
#![allow(clippy::disallowed_methods, reason = "a test looks at the same clock as the people who look at the product")]

mod appliance;
mod camera;
pub mod guard;
mod home;
pub mod https;
pub mod raw;
pub mod video;

pub use appliance::{AppConfig, Appliance, Tpm, postgres_dir, processes, recorded_until};
pub use camera::{Camera, CameraOptions};
pub use home::{CameraSpec, Home, Outcome, camera_of};

use peri_domain::UtcNanos;
use peri_sandbox::clock::{Clock, SystemClock};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Root of the work tree.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The server program.
pub fn appliance_program() -> &'static str {
    env!("CARGO_BIN_EXE_peri-appliance")
}

/// The client program.
pub fn peri_program() -> &'static str {
    env!("CARGO_BIN_EXE_peri")
}

/// Whether the tests with cameras are left out (`scripts/test --quick`); says so when they are.
#[allow(clippy::print_stderr, reason = "a test that is left out says so")]
pub fn quick() -> bool {
    let quick = std::env::var_os("PERI_QUICK").is_some();
    if quick {
        eprintln!("left out: PERI_QUICK is set");
    }
    quick
}

/// The present time, as the product tells it.
pub fn now() -> UtcNanos {
    SystemClock.utc()
}

/// A directory that everybody may enter (roles have users of their own) and that ends with the value.
pub struct Dir(PathBuf);

impl Dir {
    /// Below `/tmp`.
    pub fn new(name: &str) -> Self {
        Self::below(Path::new("/tmp"), name)
    }

    /// Below `parent`, for instance another file system.
    pub fn below(parent: &Path, name: &str) -> Self {
        let dir = tempfile::Builder::new().prefix(&format!("peri-{name}-")).tempdir_in(parent).unwrap().keep();
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).unwrap();
        guard::directory(&dir);
        Self(dir)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A path in it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
        if !self.0.exists() {
            guard::directory_gone(&self.0);
        }
    }
}

/// Polls until `found` gives something.
///
/// # Panics
/// After `patience`, naming `what` was waited for.
#[track_caller]
pub fn wait_for<T>(what: &str, patience: Duration, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what}: not within {patience:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Seconds, short.
pub const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}
