//! migrate: one shot, under the uid of the database's superuser: brings the schema to this version and ends.

use crate::boot::{self, Control};
use crate::message::{Report, Start};
use crate::walls;
use peri_sandbox::clock::{Clock, SystemClock};
use peri_sandbox::seccomp::Role;
use peri_store::schema::{self, Endpoint};
use std::path::Path;
use std::time::Duration;

/// PostgreSQL recovers from a crash in seconds; a large write-ahead log takes a minute.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(100);

/// Runs the migrations once the cluster answers.
///
/// # Errors
/// When the cluster does not answer in time, or its schema is newer or altered.
pub(crate) fn run(mut control: Control) -> anyhow::Result<()> {
    let (start, _) = control.start()?;
    let Start::Migrate { database_dir, need_landlock } = start else {
        anyhow::bail!("migrate was started as something else")
    };
    let rules = walls::migrate(Path::new(&database_dir));
    let landlock_abi = boot::confine(Role::Migrate, &rules, need_landlock)?;
    let superuser = Endpoint::superuser(Path::new(&database_dir));
    let clock = SystemClock;
    let deadline = clock.monotonic() + PATIENCE;
    loop {
        match schema::migrate(&superuser) {
            Ok(_) => return control.report(&Report::Ready { landlock_abi }),
            Err(schema::SchemaError::Postgres { .. }) if clock.monotonic() < deadline => std::thread::sleep(PAUSE),
            Err(error) => return Err(error.into()),
        }
    }
}
