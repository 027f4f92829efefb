//! Every limit in one place, each with its reason. A limit that is not here is not a limit.

use core::time::Duration;

/// Longest epoch (design: a changed set of recipients takes effect, and a lost key costs, at most this much).
pub const EPOCH_MAX: Duration = Duration::from_secs(15 * 60);

/// Longest fragment: bounds what live viewers wait for and what a torn write can cost.
pub const FRAGMENT_MAX: Duration = Duration::from_millis(250);

/// Longest time written data may stay only in the page cache; a shorter group of pictures shortens it.
pub const SYNC_MAX: Duration = Duration::from_secs(2);

/// Time between two ledger entries over the tails of all segments.
pub const TAIL_ENTRY_EVERY: Duration = Duration::from_secs(10);

/// Retention unless the profile says otherwise (EDPB Guidelines 3/2019: more than 72 h needs growing justification).
pub const RETENTION_DEFAULT: Duration = Duration::from_secs(72 * 3600);

/// Time between two re-keyings of the X file; erased X is gone for good after the next one.
pub const REKEY_EVERY: Duration = Duration::from_secs(3600);

/// One message between two roles. A roster statement is the largest thing that travels; 64 KiB is also the bound of a
/// transparency-log entry (C2SP tlog-tiles: 65,535 bytes).
pub const MESSAGE_MAX: usize = 64 * 1024;

/// Descriptors in one message.
pub const MESSAGE_FDS_MAX: usize = 2;

/// One roster statement with its signatures: smaller than a message, so that it travels whole.
pub const STATEMENT_MAX: usize = 32 * 1024;

/// Statements in a roster: 10,000 must verify within a second from a snapshot.
pub const STATEMENTS_MAX: usize = 20_000;

/// People an epoch is wrapped to one by one. Each wrap costs about 3 ms of CPU and 1.7 KiB per epoch; above this number
/// a post key with named members serves.
pub const RECIPIENTS_MAX: usize = 100;

/// Custodian seats (shares are points of GF(256), and more than 16 people never meet in practice).
pub const SEATS_MAX: u8 = 16;

/// Cameras of one appliance: one uid each from the configured range, 64 of today's largest sites fit.
pub const CAMERAS_MAX: usize = 512;

/// Ciphertext of one fragment: 250 ms at 100 Mbit/s is 3.1 MB; a 4K key frame alone may take 2 MB.
pub const FRAGMENT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Entries of one ledger batch, and the longest time an entry waits for its batch.
pub const BATCH_ENTRIES_MAX: usize = 256;
/// See [`BATCH_ENTRIES_MAX`].
pub const BATCH_WAIT_MAX: Duration = Duration::from_secs(1);

/// Entries the spool takes while PostgreSQL is away: a tail entry every 10 s fills it in more than a day even with
/// 500 cameras opening epochs.
pub const SPOOL_ENTRIES_MAX: usize = 65_536;

/// Free space below which the oldest segments go early; the key file, roster and ledger live from this reserve.
pub const DISK_RESERVE_BYTES: u64 = 256 * 1024 * 1024;

/// A restarted role waits at least this long, doubling to [`RESTART_DELAY_MAX`] while it keeps dying.
pub const RESTART_DELAY_MIN: Duration = Duration::from_millis(250);
/// See [`RESTART_DELAY_MIN`].
pub const RESTART_DELAY_MAX: Duration = Duration::from_secs(60);
