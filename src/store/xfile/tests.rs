//! The key file under every fault at every step, and against a real TPM on a real disk.

use super::disk::DiskKeys;
use super::simulated::{Cache, Fault, World};
use super::*;
use crate::root::tpm::tests::Swtpm;
use peri_sandbox::durable::Dir;

const SLOTS: u32 = 12;

fn camera(n: u8) -> CameraId {
    CameraId([n; 16])
}

fn key(n: u8) -> Key {
    (camera(n), EpochNo(1))
}

enum Step {
    Restart,
    /// Where the file is full: a re-key first, as scribe does.
    Draw(u8),
    Drop(u8),
    Rekey,
    /// The next re-key is to make so many slots.
    Expect(u32),
}

/// A day in the life: creation, draws, an erasure, a restart, another erasure.
const SCRIPT: &[Step] = &[
    Step::Restart,
    Step::Draw(1),
    Step::Draw(2),
    Step::Draw(3),
    Step::Drop(1),
    Step::Rekey,
    Step::Draw(4),
    Step::Restart,
    Step::Draw(5),
    Step::Drop(2),
    Step::Drop(4),
    Step::Rekey,
    Step::Draw(6),
];

/// A site that grows: the file is full again and again, grows by what lives, shrinks, grows by what is expected.
const GROWTH: &[Step] = &[
    Step::Restart,
    Step::Draw(1),
    Step::Draw(2),
    Step::Draw(3),
    Step::Draw(4),
    Step::Drop(1),
    Step::Drop(2),
    Step::Drop(3),
    Step::Rekey,
    Step::Restart,
    Step::Draw(5),
    Step::Expect(9),
    Step::Rekey,
    Step::Draw(6),
    Step::Draw(7),
];

/// A script, the slots that it begins with, and how many X it erases.
type Script = (&'static [Step], u32, usize);

const SCRIPTS: [Script; 2] = [(SCRIPT, SLOTS, 3), (GROWTH, 2, 3)];

/// What the callers of the key file have been told.
#[derive(Default)]
struct Told {
    drawn: BTreeMap<Key, [u8; 32]>,
    /// A draw failed; its X may or may not be in the file, nobody uses it.
    failed: BTreeSet<Key>,
    /// `drop_keys` was called; whether it took effect may be unknown.
    dropping: BTreeSet<Key>,
    /// `drop_keys` returned.
    dropped: BTreeSet<Key>,
    /// A re-key or an opening after that returned.
    erased: BTreeSet<Key>,
}

struct Run {
    world: World,
    file: Option<XFile<World, World>>,
    slots: u32,
    told: Told,
}

impl Run {
    fn new(world: World, slots: u32) -> Self {
        Self { world, file: None, slots, told: Told::default() }
    }

    fn step(&mut self, step: &Step) -> Result<(), XFileError> {
        match step {
            Step::Restart => {
                self.file = None;
                let (file, _) = XFile::open(self.world.clone(), self.world.clone(), self.slots)?;
                self.file = Some(file);
                self.told.erased.extend(&self.told.dropped);
            }
            Step::Expect(slots) => {
                self.slots = *slots;
                self.file().expect(*slots);
            }
            Step::Draw(n) => match self.draw(*n) {
                Ok(x) => {
                    self.told.drawn.insert(key(*n), *x.as_bytes());
                }
                Err(error) => {
                    self.told.failed.insert(key(*n));
                    return Err(error);
                }
            },
            Step::Drop(n) => {
                self.told.dropping.insert(key(*n));
                self.file().drop_keys(&[key(*n)])?;
                self.told.dropped.insert(key(*n));
            }
            Step::Rekey => {
                self.file().rekey()?;
                self.told.erased.extend(&self.told.dropped);
            }
        }
        Ok(())
    }

    fn draw(&mut self, n: u8) -> Result<XSecret, XFileError> {
        match self.file().draw(camera(n), EpochNo(1)) {
            Err(XFileError::Full { .. }) => {
                self.step(&Step::Rekey)?;
                self.file().draw(camera(n), EpochNo(1))
            }
            drawn => drawn,
        }
    }

    fn file(&mut self) -> &mut XFile<World, World> {
        self.file.as_mut().unwrap()
    }

    /// Every X that a thief opens who holds every content the disk ever had and the root store as it is now.
    fn thief(&self) -> BTreeSet<[u8; 32]> {
        let (contents, slots) = self.world.loot();
        let mut found = BTreeSet::new();
        for entry in slots.iter().filter_map(|slot| RootEntry::decode(slot).unwrap()) {
            for content in &contents {
                let Some(header) = content.first_chunk::<{ format::HEADER_LEN }>() else { continue };
                let generation = u64::from_be_bytes(header[12..20].try_into().unwrap());
                let sealer = Sealer::new(&entry.key, generation);
                let Some(layout) = sealer.open_header(header) else { continue };
                for slot in 0..layout.slots {
                    let at = usize::try_from(layout.record_at(slot)).unwrap();
                    let Some(sealed) = content.get(at..).and_then(|c| c.first_chunk()) else { continue };
                    if let SlotState::Taken(record) = sealer.open(slot, sealed) {
                        found.insert(*record.x().as_bytes());
                    }
                }
            }
        }
        found
    }

    /// Under one root no slot ever had two contents: no (key, nonce) pair was used twice.
    fn check_nonces(&self, what: &str) {
        let mut seen = BTreeMap::<(Vec<u8>, usize), Vec<u8>>::new();
        for content in self.world.loot().0 {
            for (slot, sealed) in content.as_slice()[format::HEADER_LEN.min(content.len())..]
                .chunks_exact(format::RECORD_LEN)
                .take(content.get(8..12).map_or(0, |slots| u32::from_be_bytes(slots.try_into().unwrap()) as usize))
                .enumerate()
                .filter(|(_, sealed)| sealed.iter().any(|byte| *byte != 0))
            {
                let root = content[..format::HEADER_LEN].to_vec();
                let first = seen.entry((root, slot)).or_insert_with(|| sealed.to_vec());
                assert_eq!(first, sealed, "{what}: slot {slot} was sealed twice under one root");
            }
        }
    }

    fn check(&mut self, what: &str) {
        self.check_nonces(what);
        let loot = self.thief();
        for (key, x) in &self.told.drawn {
            if self.told.erased.contains(key) {
                assert!(!loot.contains(x), "{what}: erased X of {key:?} can still be opened");
                let got = self.file.as_ref().unwrap().get(key.0, key.1);
                assert!(matches!(got, Err(XFileError::Unknown { .. })), "{what}: {key:?} is handed out");
            } else if !self.told.dropping.contains(key) {
                let got = self.file.as_ref().unwrap().get(key.0, key.1);
                assert_eq!(
                    got.map(|x| *x.as_bytes()).ok(),
                    Some(*x),
                    "{what}: X of {key:?} was acknowledged and is lost"
                );
                assert!(loot.contains(x), "{what}: positive control: the thief of disk and TPM opens a living X");
            }
        }
        for key in self.file.as_ref().unwrap().living() {
            assert!(
                self.told.drawn.contains_key(&key) || self.told.failed.contains(&key),
                "{what}: {key:?} appeared from nowhere"
            );
        }
    }
}

fn operations_of((script, slots, erased): Script) -> usize {
    let mut run = Run::new(World::default(), slots);
    for step in script {
        run.step(step).unwrap();
    }
    let total = run.world.operations();
    run.check("no fault");
    assert_eq!(run.told.erased.len(), erased);
    total
}

#[test]
fn power_lost_at_any_operation_loses_no_acknowledged_x_and_revives_no_erased_one() {
    for script in SCRIPTS {
        let total = operations_of(script);
        assert!(total > 75, "the script exercises little: {total} operations");
        for at in 0..total {
            for fault in Fault::ALL.into_iter().filter(|fault| fault.is_cut()) {
                for cache in Cache::ALL {
                    let (steps, slots, _) = script;
                    let mut run = Run::new(World::with_fault(at, fault), slots);
                    let cut = steps.iter().try_for_each(|step| run.step(step));
                    assert!(cut.is_err() && run.world.is_off());
                    run.world.reboot(cache);
                    let what = format!("{slots} slots, operation {at}, {fault:?}, cache {cache:?}");
                    run.step(&Step::Restart).unwrap_or_else(|e| panic!("{what}: {e}"));
                    run.check(&what);
                    // And life goes on: nothing burned blocks new draws, another restart finds the same.
                    run.step(&Step::Draw(9)).unwrap();
                    run.step(&Step::Restart).unwrap();
                    run.check(&what);
                }
            }
        }
    }
}

#[test]
fn an_operation_that_fails_once_is_repaired_by_repeating_the_call() {
    for script in SCRIPTS {
        for at in 0..operations_of(script) {
            for fault in [Fault::Fails, Fault::FailsLate] {
                let (steps, slots, _) = script;
                let mut run = Run::new(World::with_fault(at, fault), slots);
                let what = format!("{slots} slots, operation {at}, {fault:?}");
                for step in steps {
                    let Err(error) = run.step(step) else { continue };
                    if run.file.as_ref().is_some_and(XFile::must_reopen) {
                        assert!(matches!(run.file().draw(camera(9), EpochNo(9)), Err(XFileError::Reopen)));
                        run.step(&Step::Restart).unwrap_or_else(|e| panic!("{what}: {error}, then {e}"));
                    }
                    run.step(step).unwrap_or_else(|e| panic!("{what}: {error}, then {e}"));
                }
                run.check(&what);
                run.step(&Step::Restart).unwrap();
                run.check(&what);
            }
        }
    }
}

#[test]
fn what_is_drawn_after_a_failed_rekey_is_never_lost_to_its_remains() {
    let (mut failed, mut refused) = (0, 0);
    for at in 0..20 {
        for (count, fault) in [(1, Fault::Fails), (1, Fault::FailsLate), (3, Fault::Fails), (3, Fault::FailsLate)] {
            for cache in Cache::ALL {
                let mut run = Run::new(World::default(), SLOTS);
                for step in [Step::Restart, Step::Draw(1)] {
                    run.step(&step).unwrap();
                }
                run.world.fail(run.world.operations() + at, count, fault);
                failed += usize::from(run.step(&Step::Rekey).is_err());
                run.world.fail(usize::MAX - 9, 0, fault);
                match run.step(&Step::Draw(2)) {
                    Ok(()) => {}
                    Err(XFileError::Reopen) => refused += 1,
                    Err(error) => panic!("operation {at}, {count} × {fault:?}: {error}"),
                }
                run.world.reboot(cache);
                run.step(&Step::Restart).unwrap();
                run.check(&format!("operation {at}, {count} × {fault:?}, cache {cache:?}"));
            }
        }
    }
    assert!(failed > 60 && refused > 0, "{failed} re-keys failed, {refused} draws were refused");
}

#[test]
fn a_slot_is_never_written_twice_under_one_root() {
    let world = World::default();
    let (mut file, _) = XFile::open(world.clone(), world.clone(), SLOTS).unwrap();
    for n in 1..=5 {
        file.draw(camera(n), EpochNo(1)).unwrap();
        file.drop_keys(&[key(n)]).unwrap();
    }
    assert_eq!(file.free_slots(), SLOTS - 5, "dropping frees no slot before the re-key");
    file.rekey().unwrap();
    assert_eq!(file.free_slots(), SLOTS);
    drop(file);
    let run = Run::new(world, SLOTS);
    run.check_nonces("five draws, five drops");
}

#[test]
fn a_full_file_says_so_and_a_rekey_gives_slots_back() {
    let world = World::default();
    let (mut file, opened) = XFile::open(world.clone(), world.clone(), 3).unwrap();
    assert!(opened.created);
    for n in 1..=3 {
        file.draw(camera(n), EpochNo(1)).unwrap();
    }
    let full = file.draw(camera(4), EpochNo(1)).err().unwrap();
    assert_eq!(full.in_short(), "key file full");
    assert!(full.to_string().contains("a re-key frees"), "{full}");
    assert!(matches!(file.draw(camera(1), EpochNo(1)), Err(XFileError::DrawnBefore { .. })));
    file.drop_keys(&[key(1), key(7)]).unwrap();
    assert!(matches!(file.draw(camera(1), EpochNo(1)), Err(XFileError::DrawnBefore { .. })), "not even when dropped");
    assert_eq!(file.rekey().unwrap().erased, [key(1)]);
    assert_eq!(file.slots(), 3);
    file.draw(camera(4), EpochNo(1)).unwrap();
    assert_eq!(file.free_slots(), 0);
}

#[test]
fn a_full_file_grows_at_the_rekey_and_keeps_every_x() {
    let world = World::default();
    let (mut file, _) = XFile::open(world.clone(), world.clone(), 3).unwrap();
    let mut drawn = BTreeMap::new();
    let mut rekeys = 0;
    for n in 1..=100 {
        let x = match file.draw(camera(n), EpochNo(1)) {
            Err(XFileError::Full { .. }) => {
                assert!(file.is_short() && file.rekey().unwrap().damaged.is_empty());
                rekeys += 1;
                file.draw(camera(n), EpochNo(1)).unwrap()
            }
            x => x.unwrap(),
        };
        drawn.insert(key(n), *x.as_bytes());
    }
    assert!((5..20).contains(&rekeys), "{rekeys} re-keys for 100 X: each must gain a quarter");
    let check = |file: &XFile<World, World>| {
        for (key, x) in &drawn {
            assert_eq!(file.get(key.0, key.1).unwrap().as_bytes(), x, "{key:?}");
        }
    };
    check(&file);
    drop(file);
    // Opening with fewer slots than live loses nothing either.
    let (mut file, opened) = XFile::open(world.clone(), world.clone(), 3).unwrap();
    assert_eq!((opened.live, file.slots()), (100, 126));
    check(&file);
    assert_eq!(
        evidence(&world, &mut world.clone()).unwrap().len(),
        100,
        "the proof of erasure sees all of a grown file"
    );
    file.expect(300);
    file.rekey().unwrap();
    assert_eq!((file.slots(), file.free_slots(), file.is_short()), (300, 200, false));
    check(&file);
}

#[test]
fn a_slot_that_a_failed_draw_took_is_free_again_after_the_rekey() {
    let world = World::default();
    let (mut file, _) = XFile::open(world.clone(), world.clone(), 3).unwrap();
    file.draw(camera(1), EpochNo(1)).unwrap();
    for _ in 0..2 {
        world.fail(world.operations(), 1, Fault::Fails);
        assert_eq!(file.draw(camera(2), EpochNo(1)).err().unwrap().in_short(), "key file not writable");
    }
    // The slots are burned, so that no nonce is used twice, but not for ever.
    assert_eq!((file.free_slots(), file.living().count()), (0, 1));
    file.rekey().unwrap();
    assert_eq!((file.free_slots(), file.living().count()), (2, 1));
    file.draw(camera(2), EpochNo(1)).unwrap();
}

#[test]
fn a_rotten_record_is_burned_and_reported_and_costs_only_itself() {
    let world = World::default();
    let (mut file, _) = XFile::open(world.clone(), world.clone(), SLOTS).unwrap();
    let x = *file.draw(camera(1), EpochNo(1)).unwrap().as_bytes();
    file.draw(camera(2), EpochNo(1)).unwrap();
    world.rot(format::HEADER_LEN + format::RECORD_LEN + 5);
    assert!(matches!(file.get(camera(2), EpochNo(1)), Err(XFileError::Damaged { slot: 1, .. })));
    drop(file);
    let (file, opened) = XFile::open(world.clone(), world, SLOTS).unwrap();
    assert_eq!((opened.burned, opened.live), (vec![1], 1));
    assert_eq!(file.get(camera(1), EpochNo(1)).unwrap().as_bytes(), &x);
}

#[test]
fn a_lost_tpm_is_named_and_only_an_explicit_word_starts_anew() {
    let world = World::default();
    let (mut file, _) = XFile::open(world.clone(), world.clone(), SLOTS).unwrap();
    file.draw(camera(1), EpochNo(1)).unwrap();
    drop(file);
    world.clear_tpm();
    let error = XFile::open(world.clone(), world.clone(), SLOTS).err().unwrap();
    assert!(matches!(&error, XFileError::NoPairOpens { files, roots } if files.len() == 1 && roots.is_empty()));
    assert!(error.to_string().contains("forget_x = true"), "{error}");
    let (mut file, opened) = XFile::open_or_forget(world.clone(), world.clone(), SLOTS, true).unwrap();
    assert!(opened.created);
    assert_eq!(file.every_commitment().unwrap().len(), 0);
    drop(file);
    assert_eq!(XFile::open(world.clone(), world, SLOTS).unwrap().1.live, 0);
}

#[test]
fn the_evidence_lists_living_and_dropped_x_until_the_rekey() {
    let world = World::default();
    let (mut file, _) = XFile::open(world.clone(), world, SLOTS).unwrap();
    let one = file.draw(camera(1), EpochNo(1)).unwrap().commit();
    let two = file.draw(camera(2), EpochNo(1)).unwrap().commit();
    file.drop_keys(&[key(2)]).unwrap();
    assert!(matches!(file.get(camera(2), EpochNo(1)), Err(XFileError::Unknown { .. })));
    let before = file.every_commitment().unwrap();
    assert_eq!(before, BTreeMap::from([(one, key(1)), (two, key(2))]), "dropped is pending, not erased");
    file.rekey().unwrap();
    assert_eq!(file.every_commitment().unwrap(), BTreeMap::from([(one, key(1))]));
}

#[test]
fn the_evidence_is_gathered_without_a_single_write() {
    let world = World::default();
    let (mut file, _) = XFile::open(world.clone(), world.clone(), SLOTS).unwrap();
    let one = file.draw(camera(1), EpochNo(1)).unwrap().commit();
    let two = file.draw(camera(2), EpochNo(1)).unwrap().commit();
    file.drop_keys(&[key(2)]).unwrap();
    drop(file);
    let before = world.loot();
    let found = evidence(&world, &mut world.clone()).unwrap();
    assert_eq!(found, BTreeMap::from([(one, key(1)), (two, key(2))]), "what is dropped can still be opened");
    assert_eq!(world.loot(), before, "no file and no root was written");
    assert_eq!(XFile::open(world.clone(), world, SLOTS).unwrap().1.live, 1);
}

#[test]
fn on_a_real_disk_with_a_real_tpm_erased_x_open_from_no_copy_of_the_disk() {
    let mut swtpm = Swtpm::start();
    let data = tempfile::tempdir().unwrap();
    let keys = || DiskKeys::new(Dir::open(data.path()).unwrap());
    let copy = |to: &tempfile::TempDir| {
        for entry in std::fs::read_dir(data.path()).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), to.path().join(entry.file_name())).unwrap();
        }
    };
    let (mut file, _) = XFile::open(keys(), swtpm.nv(), SLOTS_MIN).unwrap();
    let kept = *file.draw(camera(1), EpochNo(1)).unwrap().as_bytes();
    file.draw(camera(2), EpochNo(1)).unwrap();
    drop(file);
    swtpm.restart();
    let (mut file, opened) = XFile::open(keys(), swtpm.nv(), SLOTS_MIN).unwrap();
    assert_eq!((opened.live, opened.recovered), (2, false));
    let before = tempfile::tempdir().unwrap();
    copy(&before);
    file.drop_keys(&[key(2)]).unwrap();
    file.rekey().unwrap();
    assert_eq!(file.get(camera(1), EpochNo(1)).unwrap().as_bytes(), &kept);
    drop(file);
    assert_eq!(std::fs::read_dir(data.path()).unwrap().count(), 1, "one key file, nothing temporary");
    // The disk as it was before, with the TPM as it is now: the copy opens nothing.
    let stolen = XFile::open(DiskKeys::new(Dir::open(before.path()).unwrap()), swtpm.nv(), SLOTS_MIN);
    assert!(matches!(stolen, Err(XFileError::NoPairOpens { .. })));
    let (file, _) = XFile::open(keys(), swtpm.nv(), SLOTS_MIN).unwrap();
    assert_eq!(file.living().collect::<Vec<_>>(), [key(1)]);
}
