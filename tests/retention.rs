//! T17, T19: what is past its time opens for nobody, and a full disk takes the oldest first and says so.
//!
//! What does not belong: holds, early erasure by custodians.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod attack;
mod support;

use attack::camera::{Script, Scripted, good, wrong_clock};
use attack::{Desk, now, segment_files, total, until};
use peri_access::wire::CoverageKind;
use peri_domain::{CameraId, EpochNo, Hash, UtcNanos};
use peri_ledger::EntryType;
use peri_open::segment::Expected;
use peri_open::{SegmentReader, content_key, join, open_share, open_wrap};
use peri_roster::body::Trust;
use peri_sandbox::durable::Dir as DataDir;
use peri_seal::record::EpochRecord;
use peri_seal::secret::{EpochSecret, XSecret};
use peri_seal::wrap::{Wrap, WrapKind};
use peri_store::root::tpm::TpmNv;
use peri_store::xfile::disk::DiskKeys;
use peri_store::xfile::{SLOTS_MIN, XFile, evidence};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;
use support::{AppConfig, Appliance, Dir, Tpm, secs};

const NAMES: [&str; 4] = ["dpo", "council", "guard", "rev"];

/// A recording appliance whose viewer `guard` may see everything.
fn recording(config: AppConfig, script: Script) -> (Appliance, Scripted, CameraId) {
    let scripted = Scripted::start(&[("camera", script)]);
    let appliance = Appliance::founded(config);
    let mut desk = Desk::of(&appliance, &NAMES);
    let grant = desk.grant_of("guard");
    desk.say(grant, &["dpo", "council"]);
    let spec = ("door".to_owned(), scripted.url(0, "camera"), Trust::Plain);
    let camera = desk.add_cameras(&[spec], ["dpo", "council"])[0];
    recorded_beyond(&mut desk, now());
    (appliance, scripted, camera)
}

fn recorded_beyond(desk: &mut Desk, time: UtcNanos) {
    until(&format!("recorded beyond {time}"), secs(30), || {
        let health = desk.health("rev").ok()?;
        health.cameras.iter().any(|c| c.recorded_until.is_some_and(|until| until > time)).then_some(())
    });
}

fn copy(from: &Path, to: &Path) {
    // A disk is copied as it is at each moment: what goes away meanwhile is missed, as a thief would.
    let _ = Command::new("cp").arg("-a").arg(from).arg(to).output().unwrap();
    assert!(to.exists());
}

/// An old segment: its head and where its copy lies.
struct Old {
    path: PathBuf,
    record: EpochRecord,
    wraps: Vec<Wrap>,
}

fn old_segments(data: &Path) -> Vec<Old> {
    let read = |path: PathBuf| {
        let head = peri_seal::scan::read_head(&File::open(&path).unwrap()).unwrap();
        let used = fs::metadata(&path).unwrap().len() > head.len as u64;
        used.then_some(Old { path, record: head.record, wraps: head.wraps })
    };
    segment_files(data).into_iter().filter_map(read).collect()
}

/// E as the former viewer's key opens it, which must be E as the seats join it: neither is what is missing.
fn e_of(desk: &Desk, old: &Old) -> EpochSecret {
    let context = &old.record.context;
    let own = |name: &str, kind| {
        let recipient = desk.key(name).fingerprint();
        old.wraps.iter().find(|wrap| wrap.recipient == recipient && wrap.kind == kind).unwrap()
    };
    let e = open_wrap(desk.key("guard"), context, own("guard", WrapKind::User)).unwrap();
    let shares: Vec<_> = ["dpo", "council"]
        .iter()
        .map(|seat| open_share(desk.key(seat), context, own(seat, WrapKind::Share)).unwrap())
        .collect();
    let joined = join(&shares, context).unwrap();
    assert_eq!(e.commit(), joined.commit());
    e
}

/// Every X that these key files give under this state of the TPM, by the key file's index and by whatever it still holds.
fn every_x(keys: &Path, tpm_state: &Path) -> (BTreeMap<(CameraId, EpochNo), XSecret>, Vec<Hash>) {
    // On copies: opening completes what was interrupted, and a thief keeps his original.
    let run = Dir::new("thief");
    let state = Dir::below(Path::new("/dev/shm"), "thief-tpm");
    copy(&tpm_state.join("."), &state.join("state"));
    copy(keys, &run.join("x"));
    let tpm = Tpm::at(&state.join("state"), run.path());
    let dir = || DataDir::open(&run.join("x")).unwrap();
    let root = || {
        let stream: OwnedFd = UnixStream::connect(tpm.socket()).unwrap().into();
        TpmNv::open(stream, None).unwrap()
    };
    let commitments = {
        let mut root = root();
        evidence(&DiskKeys::new(dir()), &mut root).map(|found| found.into_keys().collect()).unwrap_or_default()
    };
    let mut found = BTreeMap::new();
    std::thread::sleep(Duration::from_millis(200));
    match XFile::open(DiskKeys::new(dir()), root(), SLOTS_MIN) {
        Ok((xfile, _)) => {
            for key in xfile.living().collect::<Vec<_>>() {
                found.insert(key, xfile.get(key.0, key.1).unwrap());
            }
        }
        Err(error) => eprintln!("the key files do not open: {error}"),
    }
    (found, commitments)
}

/// Tries every X on the segment; the number of fragments that open.
fn opens(desk: &Desk, old: &Old, xs: &BTreeMap<(CameraId, EpochNo), XSecret>) -> usize {
    let e = e_of(desk, old);
    let Some(key) = xs.values().find_map(|x| content_key(&e, x, &old.record).ok()) else { return 0 };
    let context = &old.record.context;
    let expected = Expected { device: &desk.identity.device, vm: context.vm, camera: context.camera };
    let mut segment = SegmentReader::open(File::open(&old.path).unwrap(), &expected).unwrap().unlock(&key).unwrap();
    let mut pictures = 0;
    // The copy was made while it was written: its last fragment may be torn.
    while let Ok(Some(fragment)) = segment.next_fragment() {
        pictures += usize::from(fragment.payload.windows(4).any(|window| window == b"mdat"));
    }
    pictures
}

#[test]
fn after_retention_nothing_opens_from_this_disk_or_an_older_copy_of_it() {
    if support::quick() {
        return;
    }
    let config =
        AppConfig { epoch_secs: Some(3), rekey_secs: Some(3), retention_secs: Some(10), ..AppConfig::default() };
    let (mut appliance, _camera, _) = recording(config, good);
    let desk = Desk::of(&appliance, &NAMES);
    std::thread::sleep(secs(6));
    // A copy of disk and TPM at one moment, made before anything is erased.
    let thief = Dir::new("copy");
    let tpm_before = Dir::below(Path::new("/dev/shm"), "tpm-copy");
    copy(&appliance.data(), &thief.join("data"));
    copy(&appliance.tpm().state().join("."), &tpm_before.join("state"));
    let olds = old_segments(&thief.join("data"));
    assert!(olds.len() >= 2, "{} segments in the copy", olds.len());
    let gone = |appliance: &Appliance| {
        let left = old_segments(&appliance.data());
        !left.iter().any(|segment| olds.iter().any(|old| old.record == segment.record))
    };
    until("all of the copy is erased here", secs(60), || gone(&appliance).then_some(()));
    // Grace of the proof: a re-key and an epoch.
    std::thread::sleep(secs(7));
    assert_eq!(appliance.stop(), 0);
    // At once: what was living at the stop grows too old while nobody erases it.
    let proved = appliance.fsck(&["--prove-erased"]);
    assert!(proved.status.success(), "{}", said(&proved));
    assert!(said(&proved).contains("erasure proved"), "{}", said(&proved));

    let suspects: Vec<Hash> = olds.iter().map(|old| old.record.context.commit_x).collect();
    let none = |what: &str, keys: &Path, tpm: &Path| {
        let (xs, commitments) = every_x(keys, tpm);
        assert!(!suspects.iter().any(|commit| commitments.contains(commit)), "{what}: an old X is there");
        for old in &olds {
            assert_eq!(opens(&desk, old, &xs), 0, "{what}: epoch {} opens", old.record.context.epoch);
        }
    };
    let (keys_now, keys_before) = (appliance.data().join("scribe/x"), thief.join("data/scribe/x"));
    none("the disk as it is", &keys_now, appliance.tpm().state());
    none("a copy from before, with today's TPM", &keys_before, appliance.tpm().state());
    none("the disk as it is, with the TPM of before", &keys_now, &tpm_before.join("state"));
    // The threat model says what the search would find: disk and TPM of one moment open what they could open then.
    let (xs, commitments) = every_x(&keys_before, &tpm_before.join("state"));
    assert!(suspects.iter().all(|commit| commitments.contains(commit)), "the positive control finds nothing");
    for old in &olds {
        assert!(opens(&desk, old, &xs) > 0, "epoch {} does not open in the control", old.record.context.epoch);
    }

    // In clear it is nowhere: files of both, write-ahead log of the database included.
    for tree in [appliance.data(), thief.join("data")] {
        for file in attack::files_below(&tree) {
            let bytes = fs::read(&file).unwrap();
            for (key, x) in &xs {
                let clear = bytes.windows(32).any(|window| window == x.as_bytes());
                assert!(!clear, "X of {key:?} stands in {}", file.display());
            }
        }
    }
    the_proof_can_fail(&appliance, &xs, &olds);
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The proof that auditors run fails, and names what it found, where an old X lies about.
fn the_proof_can_fail(appliance: &Appliance, xs: &BTreeMap<(CameraId, EpochNo), XSecret>, olds: &[Old]) {
    let context = &olds[0].record.context;
    let x = &xs[&(context.camera, context.epoch)];
    let hex: String = x.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    for (name, bytes) in [("stray", x.as_bytes().to_vec()), ("stray.txt", format!("note: {hex}\n").into_bytes())] {
        let stray = appliance.data().join(name);
        fs::write(&stray, bytes).unwrap();
        let found = appliance.fsck(&["--prove-erased"]);
        assert_eq!(found.status.code(), Some(1), "{}", said(&found));
        let named = format!("X of camera {}, epoch {} in {}", context.camera, context.epoch, stray.display());
        assert!(said(&found).contains(&named), "{named}: {}", said(&found));
        fs::remove_file(stray).unwrap();
    }
}

/// A small file system in memory, gone with the value.
struct SmallDisk(Dir);

impl SmallDisk {
    fn new(mib: u64) -> Self {
        let dir = Dir::new("disk");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m,mode=755"), "tmpfs"])
            .arg(dir.path())
            .status()
            .unwrap();
        assert!(mounted.success(), "mount");
        Self(dir)
    }

    fn free(&self) -> u64 {
        let stat = nix::sys::statvfs::statvfs(self.0.path()).unwrap();
        stat.blocks_available() * stat.fragment_size()
    }

    /// Makes the ballast as large as it must be for so much to be free.
    fn leave_free(&self, bytes: u64) {
        let path = self.0.join("ballast");
        let have = fs::metadata(&path).map_or(0, |meta| meta.len());
        let want = (have + self.free()).saturating_sub(bytes);
        let file = File::options().create(true).truncate(false).write(true).open(&path).unwrap();
        if want > have {
            nix::fcntl::fallocate(
                &file,
                nix::fcntl::FallocateFlags::empty(),
                have.cast_signed(),
                (want - have).cast_signed(),
            )
            .unwrap();
        } else {
            file.set_len(want).unwrap();
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

fn count(kinds: &[EntryType], kind: EntryType) -> usize {
    kinds.iter().filter(|found| **found == kind).count()
}

/// Bytes that files below a directory occupy.
fn occupied(dir: &Path) -> u64 {
    attack::files_below(dir).iter().filter_map(|file| fs::metadata(file).ok()).map(|meta| meta.blocks() * 512).sum()
}

/// With recording stopped for want of room: a re-key, a statement of the roster and their entries find room in the reserve,
/// pictures take nothing of it, and what is taken is little.
fn what_lives_from_the_reserve_goes_on(appliance: &Appliance, disk: &SmallDisk, desk: &mut Desk) {
    /// A quarter of what this camera would write meanwhile.
    const PICTURES_MAX: u64 = 96 * 1024;
    const OTHERS_MAX: u64 = 1024 * 1024;
    /// PostgreSQL takes a file of its log at once.
    const DATABASE_MAX: u64 = 17 * 1024 * 1024;
    let data = appliance.data();
    let sizes = || (disk.free(), occupied(&data.join("store")), occupied(&data.join("postgres")));
    let kinds = desk.entries("rev");
    let before = sizes();
    let stopped = now();
    let grant = desk.grant_of("guard");
    desk.say(grant, &["dpo", "council"]);
    until("a re-key and a statement with recording stopped", secs(20), || {
        let more = desk.entries("rev");
        let grew = |kind| count(&more, kind) > count(&kinds, kind);
        let both = grew(EntryType::Rekeyed) && grew(EntryType::RosterAccepted);
        (both && now() > stopped + secs(5)).then_some(())
    });
    let after = sizes();
    let grown = |before: u64, after: u64| after.saturating_sub(before);
    let (pictures, database) = (grown(before.1, after.1), grown(before.2, after.2));
    let taken = grown(after.0, before.0);
    eprintln!("of the reserve: {pictures} bytes for segments, {database} for the database, {taken} in all");
    assert!(pictures <= PICTURES_MAX, "segments grew by {pictures} bytes on a full disk");
    assert!(database <= DATABASE_MAX, "the database grew by {database} bytes");
    assert!(taken.saturating_sub(database) <= OTHERS_MAX, "{taken} bytes of the reserve were taken");
}

#[test]
fn a_full_disk_takes_the_oldest_first_and_says_so_and_recording_comes_back() {
    if support::quick() {
        return;
    }
    const RESERVE: u64 = peri_domain::limits::DISK_RESERVE_BYTES;
    let disk = SmallDisk::new(640);
    let config =
        AppConfig { epoch_secs: Some(3), rekey_secs: Some(4), data: Some(disk.0.join("data")), ..AppConfig::default() };
    let (mut appliance, _camera, camera) = recording(config, wrong_clock);
    let mut desk = Desk::of(&appliance, &NAMES);
    let began = now();
    until("some segments", secs(40), || (segment_files(&appliance.data()).len() >= 7).then_some(()));
    let first = segment_files(&appliance.data())[0].clone();

    // A little below the reserve: the oldest go, and it is enough.
    disk.leave_free(RESERVE - 300 * 1024);
    until("the oldest segment goes", secs(20), || (!first.exists()).then_some(()));
    let short = now();
    recorded_beyond(&mut desk, short + secs(3));
    let kinds = desk.entries("rev");
    assert!(kinds.contains(&EntryType::ErasedEarly), "no entry of an early erasure");
    let alarms = desk.health("rev").unwrap().alarms;
    assert!(alarms.iter().any(|alarm| alarm.contains("the oldest recordings go before their time")), "{alarms:#?}");

    // Far below it: nothing more may go, and recording stops before the reserve is eaten.
    disk.leave_free(RESERVE / 2);
    let full = now();
    until("the loss is told", secs(20), || {
        let health = desk.health("rev").ok()?;
        health.cameras.iter().any(|c| c.camera == camera && c.lost.contains("disk full")).then_some(())
    });
    what_lives_from_the_reserve_goes_on(&appliance, &disk, &mut desk);

    // Room again.
    fs::remove_file(disk.0.join("ballast")).unwrap();
    let room = now();
    recorded_beyond(&mut desk, room + secs(1));
    until("the end of the shortage is entered", secs(20), || {
        desk.entries("rev").contains(&EntryType::DiskOk).then_some(())
    });
    let account = desk.account_of(camera, began, "guard");
    let lost: Vec<_> = account.iter().filter(|s| s.kind == CoverageKind::Lost && s.until > full).collect();
    assert!(!lost.is_empty() && lost.iter().all(|stretch| stretch.cause.contains("disk full")), "{account:#?}");
    for stretch in lost {
        assert!(stretch.from + secs(3) >= full, "lost before the disk was full: {stretch:?}");
    }
    assert!(total(&account, CoverageKind::Erased) > secs(2), "{account:#?}");
    let kinds = desk.entries("rev");
    assert!(!kinds.contains(&EntryType::RoleDied), "{}", appliance.log());
    // The camera's clock is in another year and drifts: each is told once for the connection, and loses no picture.
    assert_eq!(count(&kinds, EntryType::CameraClock), 2, "{kinds:?}");
    appliance.home.ledger(0);
    assert_eq!(appliance.stop(), 0);
    let checked = appliance.fsck(&[]);
    assert!(checked.status.success(), "{}{}", String::from_utf8_lossy(&checked.stdout), appliance.log());
}
