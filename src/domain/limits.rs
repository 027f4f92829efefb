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

/// Connections of clients to the portal at once. Each costs a thread of 256 KiB of stack and up to 3 MiB while it streams,
/// 420 MiB in all; a control room with 64 tiles and its people fits.
pub const PORTAL_CONNECTIONS_MAX: usize = 128;

/// Of these by one account of the system: whoever opens as many as it gets leaves three quarters to others.
pub const PORTAL_CONNECTIONS_PER_UID: usize = PORTAL_CONNECTIONS_MAX / 4;

/// From the first byte of a client's frame to its last: 33 KiB over a local socket take a millisecond, and a person's key is
/// opened before a frame begins.
pub const PORTAL_FRAME_IN_MAX: Duration = Duration::from_secs(5);

/// For a client to take one frame: a chunk of 1 MiB at 35 KiB/s, slower than any video.
pub const PORTAL_FRAME_OUT_MAX: Duration = Duration::from_secs(30);

/// Between two frames of a client: a page that asks once a minute keeps its connection.
pub const PORTAL_IDLE_MAX: Duration = Duration::from_secs(120);

/// One message between two roles. A roster statement is the largest thing that travels; 64 KiB is also the bound of a
/// transparency-log entry (C2SP tlog-tiles: 65,535 bytes).
pub const MESSAGE_MAX: usize = 64 * 1024;

/// Cause of a loss, as account and health show it: a sentence. Cameras have a say in it.
pub const CAUSE_BYTES_MAX: usize = 200;

/// Descriptors in one message.
pub const MESSAGE_FDS_MAX: usize = 2;

/// One roster statement with its signatures: smaller than a message, so that it travels whole.
pub const STATEMENT_MAX: usize = 32 * 1024;

/// Statements in a roster: 10,000 must verify within a second from a snapshot.
pub const STATEMENTS_MAX: usize = 20_000;

/// People an epoch is wrapped to one by one. Each wrap costs about 3 ms of CPU and 1.7 KiB per epoch; above this number
/// a post key with named members serves.
pub const RECIPIENTS_MAX: usize = 100;

/// Members of a post: a statement holds the post's private key sealed to each (1.8 KiB), its own key (1.7 KiB) and the
/// signatures of all seats, and stays below [`STATEMENT_MAX`]. A larger control room has a post for each shift.
pub const POST_MEMBERS_MAX: usize = 15;

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

/// Longest time scribe waits for an answer of PostgreSQL before it counts as away: a commit takes milliseconds, and tens of
/// them on a disk that spins up. Keeper asks for an epoch a minute ahead, so recording does not notice.
pub const DATABASE_ANSWER_MAX: Duration = Duration::from_secs(2);

/// Entries the spool takes while PostgreSQL is away: a tail entry every 10 s fills it in more than a day even with
/// 500 cameras opening epochs.
pub const SPOOL_ENTRIES_MAX: usize = 65_536;

/// Bytes the spool takes: 1 KiB an event on average, a quarter of [`DISK_RESERVE_BYTES`], read back in one piece.
pub const SPOOL_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Free space below which the oldest segments go early; the key file, roster and ledger live from this reserve.
pub const DISK_RESERVE_BYTES: u64 = 256 * 1024 * 1024;

/// A restarted role waits at least this long, doubling to [`RESTART_DELAY_MAX`] while it keeps dying.
pub const RESTART_DELAY_MIN: Duration = Duration::from_millis(250);
/// See [`RESTART_DELAY_MIN`].
pub const RESTART_DELAY_MAX: Duration = Duration::from_secs(60);

/// Header block of one RTSP message: real cameras stay under 2 KiB, eight times that is generous.
pub const RTSP_HEADER_MAX: usize = 16 * 1024;

/// Session description of one camera: real ones stay under 4 KiB; the largest body of an RTSP message that is read.
pub const SDP_MAX: usize = 64 * 1024;

/// One parameter of an authentication challenge (realm, nonce, opaque): nonces seen in the field are below 128 bytes.
pub const AUTH_PARAM_MAX: usize = 1024;

/// Challenges looked at in one 401 answer: four algorithms of Digest, their `-sess` forms, Basic.
pub const AUTH_CHALLENGES_MAX: usize = 9;

/// Longest wait for the answer to an RTSP request; cameras that start an encoder take up to 5 s.
pub const RTSP_RESPONSE_MAX: Duration = Duration::from_secs(10);

/// Longest silence of a playing camera before the connection counts as dead; longer than a key frame at 0.1 fps.
pub const RTP_SILENCE_MAX: Duration = Duration::from_secs(15);

/// Session timeout used where a camera names none (RFC 2326 section 12.37: 60 s).
pub const RTSP_SESSION_DEFAULT: Duration = Duration::from_secs(60);

/// One RTP packet in an interleaved frame (RFC 2326 section 10.12: the length field has 16 bits).
pub const RTP_PACKET_MAX: usize = 65_535;

/// How far a late RTP packet may lie behind the newest one and still count as a duplicate; over TCP none is late, so
/// this is a second of video at 256 packets and everything beyond it is a restarted sequence.
pub const RTP_LATE_MAX: u16 = 256;

/// One access unit: half of a fragment, so that a fragment always has room for the next one; a 4K key frame is 2 MB.
pub const ACCESS_UNIT_BYTES_MAX: usize = FRAGMENT_BYTES_MAX / 2;

/// NAL units of one access unit: 4K cut into slices of one Ethernet frame each at 100 kB per picture is about 70.
pub const ACCESS_UNIT_NALS_MAX: usize = 1024;

/// One parameter set: `avcC` has 16 bits for its length, real ones are below 100 bytes, scaling lists included.
pub const PARAMETER_SET_MAX: usize = 1024;

/// Parameter sets of one kind kept per camera: cameras send one, encoders with several profiles up to four.
pub const PARAMETER_SETS_MAX: usize = 8;

/// Macroblocks of a picture (H.264 table A-1, level 6.2) and of one side, √(8 × that) (H.264 A.3.1).
pub const PICTURE_MBS_MAX: u32 = 139_264;
/// See [`PICTURE_MBS_MAX`].
pub const PICTURE_SIDE_MBS_MAX: u32 = 1_055;

/// Samples of one fragment: 250 ms at 240 fps are 60. It also bounds the size of `moof`.
pub const FRAGMENT_SAMPLES_MAX: usize = 64;

/// Largest fragment buffer kept between fragments: 250 ms at 20 Mbit/s are 625 kB; a larger one is given back.
pub const FRAGMENT_BUFFER_KEEP: usize = 1024 * 1024;

/// Largest step of media time taken for a pause of the camera; beyond it the timeline starts anew.
pub const MEDIA_STEP_MAX: Duration = Duration::from_secs(10);

/// Longest time a roster proposal stays open for acceptance: custodians meet within a month, and a signature that was
/// collected and held back does not wait in somebody's drawer for years.
pub const PROPOSAL_OPEN_MAX: Duration = Duration::from_secs(30 * 86_400);

/// Fewest PBKDF2 rounds over a user's password: the design's floor, 0.6 s on a desktop core and 0.4 s in a browser. A
/// stored key with fewer was weakened and is refused.
pub const PBKDF2_ROUNDS_MIN: u32 = 600_000;
/// Most PBKDF2 rounds that a stored key is believed: 16 times the least, about ten seconds; more would only stall the
/// client of whoever's stored key was changed.
pub const PBKDF2_ROUNDS_MAX: u32 = 16 * PBKDF2_ROUNDS_MIN;

/// Longest secret sealed to a device: a camera's user name and password, or the private key of its TLS client.
pub const DEVICE_SECRET_BYTES_MAX: usize = 4 * 1024;

/// Longest session: a working shift of 12 hours, after which the roster key certifies a new session key.
pub const SESSION_MAX: Duration = Duration::from_secs(12 * 3600);

/// How far a client's clock may run ahead when it certifies a session: NTP keeps machines within a second, people who
/// set clocks by hand within a minute or two.
pub const CLOCK_AHEAD_MAX: Duration = Duration::from_secs(120);

/// Counters of one channel that may be unsettled at once; 16 times what a page with 64 tiles has in flight.
pub const PROOF_WINDOW: u64 = 1_024;

/// Outcomes that one proof reports beside plain answers. Honest ones are requests whose connection broke; the rest
/// travels with the next proof. Keeps a proof below 1 KiB.
pub const PROOF_REPORTS_MAX: usize = 16;

/// Longest path with query in a proof: ours are below 200 bytes, and common proxies stop at 8 KiB.
pub const PROOF_PATH_MAX: usize = 2 * 1024;

/// Fresh nonces kept for the copies of one request; Chromium re-sends up to three times. Later copies get the last one.
pub const COPY_NONCES_MAX: usize = 8;

/// Channels (pages, processes) that one session has open at once; a control room has some dozen windows.
pub const CHANNELS_AT_ONCE_MAX: u16 = 64;

/// Channels of one session in its whole life: a page load in less than every minute of [`SESSION_MAX`].
pub const CHANNELS_MAX: usize = 1_024;

/// Sessions at once: several for each of some hundred people.
pub const SESSIONS_MAX: usize = 2_048;

/// Longest delay after failed attempts; 24 guesses a day.
pub const ATTEMPT_DELAY_MAX: Duration = Duration::from_secs(3600);

/// Quiet time after a delay that takes back one failure: as long as the longest delay, so that waiting is never worth
/// more guesses than guessing on.
pub const ATTEMPT_FORGIVE: Duration = ATTEMPT_DELAY_MAX;

/// Accounts, prefixes and lanes whose failures are counted one by one: 65,536 × about 200 bytes are 13 MB.
pub const ATTEMPT_ENTRIES_MAX: usize = 65_536;

/// Longest login name in bytes: RFC 5321 mail addresses have 254.
pub const LOGIN_NAME_MAX: usize = 254;

/// Longest life of an invitation: it lies in a mailbox or on a sheet until then.
pub const INVITATION_MAX: Duration = Duration::from_secs(14 * 86_400);

/// Invitations kept, used and expired ones included until they are swept a life after their end.
pub const INVITATIONS_MAX: usize = 4_096;
