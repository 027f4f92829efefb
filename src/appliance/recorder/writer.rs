//! From fragments to the disk: which epoch, sealing in place, one write per fragment, one sync per group of pictures.
//!
//! Invariants: a fragment is sealed once; a counter whose bytes did not reach the file is never used again (keeper hands
//! the epoch out anew, with a higher run); scribe is told of bytes only after `fdatasync`.

use crate::message::{EpochHandout, Event, Progress};
use peri_domain::limits::SYNC_MAX;
use peri_domain::{EpochNo, MediaDuration, UtcNanos};
use peri_ledger::EntryType;
use peri_media::fragment::{Fragment, Kind, Mp4Error, Output};
use peri_media::wallclock::WallClock;
use peri_sandbox::clock::{Clock, SystemClock};
use peri_sandbox::durable;
use peri_seal::ContentKey;
use peri_seal::scan::{Stop, TailScan};
use peri_seal::sealer::{FragmentMeta, Headroom, Sealer, TailHash};
use peri_seal::segment::{FragmentKind, HEADER_LEN};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Camera clock drift above this is worth an entry: 500 ppm is what the wall clock follows.
const DRIFT_PPM_MAX: f64 = 500.0;
/// Camera UTC further away than this is worth an entry: its burnt-in clock misleads people.
const CAMERA_OFFSET_MAX: Duration = Duration::from_secs(60);
/// Damage and leaps of the camera's clock are told at once and then summed up: no camera writes the ledger full.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// The account is kept in camera-seconds.
const ACCOUNT_GRAIN: Duration = Duration::from_secs(1);
/// The running epoch handed out anew, the next one, and one that replaces it.
const EPOCHS_IN_HAND_MAX: usize = 3;
/// UTC decides when an epoch ends; the monotonic clock only where UTC was set back, so it may be a little late but must
/// never be the first by a few microseconds, when the next epoch has not begun.
const DEADLINE_SLACK: Duration = Duration::from_secs(1);
/// An epoch that begins within this is waited for; asking keeper for another would take as long.
const STARTS_SOON: Duration = Duration::from_secs(2);
/// Events kept between two turns.
const EVENTS_MAX: usize = 32;

/// Writing failed; recording goes on when keeper hands the epoch out again, or another.
#[derive(Debug)]
pub(super) struct WriteError {
    pub(super) cause: String,
    pub(super) disk_full: bool,
    /// The epoch that keeper must hand out again, and whether its file is damaged.
    pub(super) hand_out_again: Option<(EpochNo, bool)>,
}

struct Current {
    epoch: EpochNo,
    file: File,
    sealer: Sealer,
    tail: TailHash,
    offset: u64,
    ends: UtcNanos,
    /// On the monotonic clock: an epoch is never longer than it was to be, wherever UTC jumps.
    deadline: Duration,
    /// Written but not synced.
    dirty: bool,
    keys: Vec<(u64, UtcNanos)>,
    from: Option<UtcNanos>,
    until: UtcNanos,
}

/// What happens often: the first is told, later ones are counted.
#[derive(Debug, Default)]
struct Sum {
    count: u64,
    last: String,
    told: Option<Duration>,
}

impl Sum {
    fn add(&mut self, text: String) {
        self.count += 1;
        self.last = text;
    }

    /// What is to be told now.
    fn due(&mut self, now: Duration) -> Option<String> {
        if self.count == 0 || self.told.is_some_and(|told| now.saturating_sub(told) < TELL_EVERY) {
            return None;
        }
        self.told = Some(now);
        let last = &self.last;
        Some(match std::mem::take(&mut self.count) {
            1 => last.clone(),
            count => format!("{count} times since the last entry, lastly: {last}"),
        })
    }
}

struct Next {
    handout: EpochHandout,
    file: File,
}

pub(super) struct Writer {
    clock: SystemClock,
    current: Option<Current>,
    /// In the order of their numbers.
    next: Vec<Next>,
    wall: WallClock,
    /// When the bytes being handled arrived.
    pub(super) arrival: UtcNanos,
    last_sync: Duration,
    progress: Vec<Progress>,
    events: Vec<Event>,
    error: Option<WriteError>,
    durable_until: Option<UtcNanos>,
    /// Where pictures went last, so that spans never overlap.
    last_until: UtcNanos,
    told_drift: bool,
    told_offset: bool,
    damage: Sum,
    leaps: Sum,
    /// When a picture was written last, on the monotonic clock.
    wrote: Duration,
    /// Why nothing is written although pictures come.
    paused: Option<&'static str>,
    /// Whether a picture was left out: what follows cannot be decoded before the next key picture, and is not recorded.
    broken: bool,
}

impl Writer {
    pub(super) fn new(now: UtcNanos) -> Self {
        Self {
            clock: SystemClock,
            current: None,
            next: Vec::new(),
            wall: WallClock::default(),
            arrival: now,
            last_sync: Duration::ZERO,
            progress: Vec::new(),
            events: Vec::new(),
            error: None,
            durable_until: None,
            last_until: UtcNanos(0),
            told_drift: false,
            told_offset: false,
            damage: Sum::default(),
            leaps: Sum::default(),
            wrote: Duration::ZERO,
            paused: None,
            broken: false,
        }
    }

    /// Stops writing for a reason, with everything written so far durable; or goes on.
    pub(super) fn pause(&mut self, why: Option<&'static str>) {
        if why.is_some() {
            self.sync(false);
        }
        self.paused = why;
    }

    /// Takes an epoch from keeper. It replaces earlier ones that would begin at or after its own start; the running one
    /// again (a new run, because a write failed) resumes it.
    pub(super) fn take_epoch(&mut self, handout: EpochHandout, fd: OwnedFd) {
        let file = File::from(fd);
        if self.current.as_ref().is_some_and(|current| current.epoch == handout.epoch) {
            // What the old run sealed and could not write is never written again.
            self.current = None;
        }
        self.next.retain(|held| {
            held.handout.epoch != handout.epoch
                && !(held.handout.epoch < handout.epoch && held.handout.starts >= handout.starts)
        });
        let at = self.next.partition_point(|held| held.handout.epoch < handout.epoch);
        self.next.insert(at, Next { handout, file });
        if self.next.len() > EPOCHS_IN_HAND_MAX {
            self.next.remove(0);
        }
    }

    /// Whether nothing can be recorded into now, nor soon: keeper must hear of it.
    pub(super) fn needs_epoch(&self, now: UtcNanos) -> bool {
        self.current.is_none() && self.next.first().is_none_or(|next| next.handout.starts > now + STARTS_SOON)
    }

    pub(super) fn has_epoch(&self) -> bool {
        self.current.is_some() || !self.next.is_empty()
    }

    /// How long until the next epoch begins; `None` when there is nothing to switch to or to end.
    pub(super) fn next_switch(&self, now: UtcNanos) -> Option<Duration> {
        match (&self.current, self.next.first()) {
            (_, Some(next)) => Some(next.handout.starts.saturating_since(now)),
            (Some(current), None) => Some(current.ends.saturating_since(now)),
            (None, None) => None,
        }
    }

    /// Whether the running epoch must end, or the next one begins. No epoch begins before its start: that may be the
    /// edge of somebody's grant.
    pub(super) fn switch_is_due(&self, utc: UtcNanos, monotonic: Duration) -> bool {
        let over = self.current.as_ref().is_some_and(|c| utc >= c.ends || monotonic >= c.deadline);
        over || self.next.first().is_some_and(|next| utc >= next.handout.starts)
    }

    /// Ends the running epoch and begins the newest whose time has come; returns it. Call after the fragmenter was cut.
    pub(super) fn switch(&mut self, utc: UtcNanos, monotonic: Duration) -> Option<EpochNo> {
        self.close();
        let begun = self.next.iter().rposition(|next| utc >= next.handout.starts)?;
        let next = self.next.drain(..=begun).next_back()?;
        if utc >= next.handout.ends {
            // Too late for this one (the clock jumped, or nothing was here to record): keeper makes another.
            return Some(next.handout.epoch);
        }
        let epoch = next.handout.epoch;
        match begin(next, utc, monotonic) {
            Ok(current) => {
                self.current = Some(current);
                Some(epoch)
            }
            Err(error) => {
                self.fail(WriteError {
                    cause: format!("the segment of epoch {epoch} cannot be written on: {error}"),
                    disk_full: false,
                    hand_out_again: Some((epoch, true)),
                });
                None
            }
        }
    }

    /// Ends the running segment with its final fragment, durable.
    pub(super) fn close(&mut self) {
        let Some(current) = &mut self.current else { return };
        let mut buffer = vec![0; HEADER_LEN];
        let meta = FragmentMeta {
            kind: FragmentKind::Media,
            key: false,
            last: true,
            start: current.until,
            duration: MediaDuration(0),
        };
        let sealed = Headroom::before(HEADER_LEN).map(|place| current.sealer.seal_in_place(meta, &mut buffer, place));
        if matches!(sealed, Some(Ok(_))) && current.file.write_all(&buffer).is_ok() {
            current.offset += buffer.len() as u64;
            current.tail.push(&buffer);
            current.dirty = true;
            self.sync(true);
        }
        self.current = None;
    }

    /// The connection ended: what was written becomes durable, the next connection has a new clock.
    pub(super) fn camera_gone(&mut self) {
        self.sync(false);
        self.wall = WallClock::default();
        // Its own clock may have been set meanwhile, or another device stands in its place.
        (self.told_drift, self.told_offset) = (false, false);
    }

    pub(super) fn sync_if_due(&mut self, now: Duration) {
        if now.saturating_sub(self.last_sync) >= SYNC_MAX {
            self.sync(false);
        }
    }

    fn sync(&mut self, closed: bool) {
        self.last_sync = self.clock.monotonic();
        let Some(current) = &mut self.current else { return };
        if !current.dirty {
            return;
        }
        if let Err(errno) = durable::sync_data(&current.file) {
            let epoch = current.epoch;
            self.current = None;
            self.fail(WriteError {
                cause: format!("the disk does not keep what is written ({errno}); check it"),
                disk_full: errno == nix::errno::Errno::ENOSPC,
                hand_out_again: Some((epoch, true)),
            });
            return;
        }
        current.dirty = false;
        let from = current.from.take().unwrap_or(current.until);
        self.progress.push(Progress {
            epoch: current.epoch,
            bytes: current.offset,
            run: current.sealer.run(),
            counter: current.sealer.next_counter().saturating_sub(1),
            tail: current.tail.current(),
            from,
            until: current.until,
            keys: std::mem::take(&mut current.keys),
            closed,
        });
        self.durable_until = Some(current.until);
    }

    fn fail(&mut self, error: WriteError) {
        self.error.get_or_insert(error);
    }

    pub(super) fn take_error(&mut self) -> Option<WriteError> {
        self.error.take()
    }

    pub(super) fn take_progress(&mut self) -> Vec<Progress> {
        std::mem::take(&mut self.progress)
    }

    pub(super) fn take_events(&mut self) -> Vec<Event> {
        let now = self.clock.monotonic();
        if let Some(text) = self.damage.due(now) {
            self.event(EntryType::StreamDamaged, text);
        }
        if let Some(text) = self.leaps.due(now) {
            self.event(EntryType::CameraClock, text);
        }
        std::mem::take(&mut self.events)
    }

    /// Why no picture was written for so long although an epoch runs; `None` when one was, or when it is not the camera's
    /// fault. The reason is empty where no packet was damaged.
    pub(super) fn starved(&self, now: Duration, patience: Duration) -> Option<&str> {
        let could = self.current.is_some() && self.paused.is_none();
        (could && now.saturating_sub(self.wrote) >= patience).then_some(self.damage.last.as_str())
    }

    pub(super) const fn durable_until(&self) -> Option<UtcNanos> {
        self.durable_until
    }

    fn event(&mut self, kind: EntryType, text: String) {
        if self.events.len() < EVENTS_MAX {
            self.events.push(Event::new(kind, None, text));
        }
    }

    pub(super) fn packets_lost(&mut self, lost: u16) {
        self.damage.add(format!("{lost} RTP packets are missing"));
    }

    pub(super) fn picture_dropped(&mut self, why: &str) {
        self.damage.add(format!("a picture was dropped: {why}"));
    }

    /// What the camera says of its own clock; information only, told once for each connection.
    pub(super) fn camera_clock(&mut self, drift_ppm: f64, utc_nanos: i64) {
        if drift_ppm.abs() > DRIFT_PPM_MAX && !std::mem::replace(&mut self.told_drift, true) {
            self.event(EntryType::CameraClock, format!("the camera's media clock drifts by {drift_ppm:.0} ppm"));
        }
        let offset = utc_nanos.saturating_sub(self.arrival.0).unsigned_abs();
        if u128::from(offset) > CAMERA_OFFSET_MAX.as_nanos() && !std::mem::replace(&mut self.told_offset, true) {
            let secs = offset / 1_000_000_000;
            self.event(EntryType::CameraClock, format!("the camera's clock is {secs} s away from the appliance's"));
        }
    }

    /// Seals and writes one fragment into the running epoch.
    fn write(&mut self, fragment: Fragment<'_>) -> io::Result<()> {
        // Init fragments still go out (they are small), so that what comes after the pause can be decoded.
        if fragment.kind == Kind::Media {
            self.broken = self.paused.is_some() || self.current.is_none() || (self.broken && !fragment.key);
            if self.broken {
                return Ok(());
            }
        }
        let Some(current) = &mut self.current else { return Ok(()) };
        let (kind, start, until) = match fragment.kind {
            Kind::Init => (FragmentKind::Init, self.last_until.max(self.arrival - Duration::from_secs(1)), None),
            Kind::Media => {
                let end_90k = fragment.start_90k + i64::from(fragment.duration.0);
                let (end, _) = self.wall.map(end_90k, self.arrival);
                let start = (end - fragment.duration.to_duration()).max(self.last_until);
                (FragmentKind::Media, start, Some(end.max(start)))
            }
        };
        if fragment.key && current.dirty {
            // A group of pictures is complete: it becomes durable before the next one is written.
            self.sync(false);
        }
        let Some(current) = &mut self.current else {
            self.broken = true;
            return Ok(());
        };
        let meta = FragmentMeta { kind, key: fragment.key, last: false, start, duration: fragment.duration };
        let at = fragment.start.saturating_sub(HEADER_LEN);
        let place = Headroom::before(fragment.start).ok_or_else(|| io::Error::other("no room for a header"))?;
        current.sealer.seal_in_place(meta, fragment.payload, place).map_err(io::Error::other)?;
        let sealed = &fragment.payload[at..];
        current.file.write_all(sealed)?;
        current.tail.push(sealed);
        if fragment.key {
            current.keys.push((current.offset, start));
        }
        current.offset += sealed.len() as u64;
        current.dirty = true;
        if let Some(until) = until {
            // Pictures do not come evenly: less than a second between two of one connection is no gap in the account.
            let joins = start.saturating_since(self.last_until) < ACCOUNT_GRAIN;
            current.from.get_or_insert(if joins { self.last_until } else { start });
            current.until = until;
            self.last_until = until;
            self.wrote = self.clock.monotonic();
        }
        Ok(())
    }
}

impl Output for Writer {
    fn fragment(&mut self, fragment: Fragment<'_>) {
        if let Err(error) = self.write(fragment) {
            let Some(current) = self.current.take() else { return };
            self.broken = true;
            // What was half written must not stand before what comes next; if even this fails, the tail scan cuts it.
            let _ = current.file.set_len(current.offset);
            let disk_full = error.raw_os_error() == Some(nix::libc::ENOSPC);
            self.fail(WriteError {
                cause: if disk_full { "disk full".into() } else { format!("a write failed: {error}") },
                disk_full,
                hand_out_again: Some((current.epoch, false)),
            });
        }
    }

    fn clock_jumped(&mut self, _: i64, by_90k: i64) {
        let seconds = by_90k as f64 / f64::from(MediaDuration::HZ);
        self.leaps.add(format!("the camera's media clock jumped by {seconds:+.1} s"));
    }

    fn failed(&mut self, error: Mp4Error) {
        self.damage.add(format!("pictures could not be written: {error}"));
    }
}

/// Opens an epoch for writing: a fresh one behind its head, a resumed one behind its last good fragment.
fn begin(next: Next, utc: UtcNanos, monotonic: Duration) -> Result<Current, String> {
    let Next { handout, file } = next;
    let length = file.metadata().map_err(|e| e.to_string())?.len();
    let (offset, counter, tail) = if length > handout.head_len {
        let mut scan = TailScan::open(&file).map_err(|e| e.to_string())?;
        if scan.record_hash() != handout.record_hash {
            return Err("the file belongs to another epoch record".into());
        }
        while scan.next_entry().map_err(|e| e.to_string())?.is_some() {}
        let end = scan.finish().map_err(|e| e.to_string())?;
        if end.finished {
            return Err("it has its final fragment already".into());
        }
        match end.stop {
            Stop::Clean => {}
            Stop::Torn { .. } => {
                file.set_len(end.good_len).map_err(|e| e.to_string())?;
                durable::sync_data(&file).map_err(|e| e.to_string())?;
            }
            damage @ (Stop::Corrupt { .. } | Stop::OutOfOrder { .. }) => return Err(damage.to_string()),
        }
        (end.good_len, end.next_counter, end.tail)
    } else {
        (length, 0, TailHash::new(&handout.record_hash))
    };
    let key = ContentKey::from_bytes(handout.key.0);
    let sealer = Sealer::new(key, handout.record_hash, handout.run, counter).map_err(|e| e.to_string())?;
    Ok(Current {
        epoch: handout.epoch,
        file,
        sealer,
        tail,
        offset,
        ends: handout.ends,
        deadline: monotonic + handout.ends.saturating_since(utc.max(handout.starts)) + DEADLINE_SLACK,
        dirty: false,
        keys: Vec::new(),
        from: None,
        until: utc,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARRIVAL: UtcNanos = UtcNanos::from_secs(1_800_000_000);

    fn told(writer: &mut Writer) -> Vec<String> {
        let events = writer.take_events();
        assert!(events.iter().all(|event| event.code == EntryType::CameraClock.code()));
        events.into_iter().map(|event| event.text).collect()
    }

    #[test]
    fn a_camera_clock_that_drifts_or_is_far_off_is_told_once_for_each_connection() {
        let mut writer = Writer::new(ARRIVAL);
        let hour = Duration::from_secs(3600);
        writer.camera_clock(DRIFT_PPM_MAX, (ARRIVAL + CAMERA_OFFSET_MAX).0);
        writer.camera_clock(-DRIFT_PPM_MAX, (ARRIVAL - CAMERA_OFFSET_MAX).0);
        assert_eq!(told(&mut writer), Vec::<String>::new(), "within bounds");
        for connection in 0..2 {
            for _ in 0..3 {
                writer.camera_clock(-10_000.0, (ARRIVAL - hour).0);
            }
            assert_eq!(
                told(&mut writer),
                [
                    "the camera's media clock drifts by -10000 ppm",
                    "the camera's clock is 3600 s away from the appliance's"
                ],
                "connection {connection}"
            );
            writer.camera_gone();
        }
        // Ahead counts as behind does, and each is told for itself.
        writer.camera_clock(0.0, (ARRIVAL + hour).0);
        assert_eq!(told(&mut writer), ["the camera's clock is 3600 s away from the appliance's"]);
        writer.camera_clock(501.0, (ARRIVAL + hour).0);
        assert_eq!(told(&mut writer), ["the camera's media clock drifts by 501 ppm"]);
    }
}
