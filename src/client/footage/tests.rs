//! Segments as the appliance would send them, and the cut.

use super::*;
use peri_domain::{Hash, MediaDuration};
use peri_seal::rng;
use peri_seal::sealer::{FragmentMeta, Sealer, begin};
use peri_seal::secret::{EpochSecret, XSecret, derive_content_key};
use peri_seal::segment::FragmentKind;
use peri_seal::segment::encode_head;
use peri_seal::wrap::{seal_x, wrap_epoch};
use peri_seal::{EpochContext, EpochRecord, SUITE};

const VM: VmId = VmId([1; 16]);
const CAMERA: CameraId = CameraId([2; 16]);
const EPOCH: EpochNo = EpochNo(7);
const NONCE: Nonce = Nonce([3; 16]);

struct World {
    device: KeyPair,
    viewer: KeyPair,
    file: Vec<u8>,
    keys: SealedKeys,
}

fn secs(at: i64) -> UtcNanos {
    UtcNanos::from_secs(at)
}

/// A segment of one second per fragment from `start`: init, then key pictures every third second.
fn world() -> World {
    let (device, viewer) = (KeyPair::generate(&mut rng::system()), KeyPair::generate(&mut rng::system()));
    let (e, x) = (EpochSecret::generate(&mut rng::system()), XSecret::generate(&mut rng::system()));
    let id = peri_seal::EpochId { vm: VM, camera: CAMERA, epoch: EPOCH };
    let key = derive_content_key(&e, &x, &id);
    let context = EpochContext {
        suite: SUITE,
        vm: VM,
        camera: CAMERA,
        epoch: EPOCH,
        starts: secs(100),
        ends: secs(200),
        roster_head: Hash([4; 32]),
        roster_len: 9,
        commit_e: e.commit(),
        commit_x: x.commit(),
        commit_k: key.commit(),
        threshold: 1,
        seats: 1,
    };
    let wraps = vec![wrap_epoch(&mut rng::system(), &e, &context, viewer.public()).unwrap()];
    let record = EpochRecord::sign(context, &wraps, device.signing()).unwrap();
    let mut file = encode_head(&record, &wraps).unwrap();
    let mut sealer = Sealer::new(key, record.hash(), 1, 0).unwrap();
    for at in 0..10_i64 {
        let kind = if at == 0 { FragmentKind::Init } else { FragmentKind::Media };
        let meta = FragmentMeta {
            kind,
            key: at % 3 == 1,
            last: at == 9,
            start: secs(100 + at),
            duration: MediaDuration(if at == 0 { 0 } else { 90_000 }),
        };
        let headroom = begin(&mut file);
        file.extend_from_slice(format!("fragment {at}").as_bytes());
        sealer.seal_in_place(meta, &mut file, headroom).unwrap();
    }
    let sealed = seal_x(&mut rng::system(), &x, &id, &NONCE, viewer.public()).unwrap();
    let sealed = HashMap::from([(EPOCH, ByteVec::from(sealed))]);
    let keys = SealedKeys { request: NONCE, sealed, posts: Rc::default() };
    World { device, viewer, file, keys }
}

fn open_as<'a>(world: &'a World, who: &KeyPair, file: &'a [u8], running: bool) -> Result<Opened<&'a [u8]>, Error> {
    let expected = Expected { device: world.device.public(), vm: VM, camera: CAMERA, epoch: EPOCH };
    Opened::start(file, &expected, who, &world.keys, running)
}

fn texts(mut opened: Opened<&[u8]>) -> Result<(Vec<String>, bool), Error> {
    let mut texts = vec![];
    while let Some((_, payload)) = opened.next_fragment()? {
        texts.push(String::from_utf8(payload.to_vec()).unwrap());
    }
    Ok((texts, opened.complete()))
}

#[test]
fn an_entitled_viewer_opens_the_whole_segment() {
    let world = world();
    let (texts, complete) = texts(open_as(&world, &world.viewer, &world.file, false).unwrap()).unwrap();
    assert_eq!(texts.len(), 10);
    assert_eq!(texts[9], "fragment 9");
    assert!(complete);
}

#[test]
fn somebody_without_a_wrap_is_told_so() {
    let world = world();
    let stranger = KeyPair::generate(&mut rng::system());
    let error = open_as(&world, &stranger, &world.file, false).map(drop).unwrap_err();
    assert!(matches!(error, Error::Footage(FootageError::NotEntitled { epoch: EPOCH, .. })), "{error}");
    assert_eq!(error.exit_code(), 3);
}

#[test]
fn a_segment_of_another_device_camera_or_epoch_is_refused() {
    let world = world();
    let other = KeyPair::generate(&mut rng::system());
    let good = Expected { device: world.device.public(), vm: VM, camera: CAMERA, epoch: EPOCH };
    for (expected, code) in [
        (Expected { device: other.public(), ..good }, 5),
        (Expected { camera: CameraId([9; 16]), ..good }, 5),
        (Expected { vm: VmId([9; 16]), ..good }, 5),
        (Expected { epoch: EpochNo(8), ..good }, 5),
    ] {
        let error = Opened::start(&world.file[..], &expected, &world.viewer, &world.keys, false).map(drop).unwrap_err();
        assert_eq!(error.exit_code(), code, "{error}");
    }
}

#[test]
fn a_cut_flipped_or_answer_of_another_request_is_refused() {
    let mut world = world();
    let cut = &world.file[..world.file.len() - 5];
    assert!(texts(open_as(&world, &world.viewer, cut, false).unwrap()).is_err());
    let (running, complete) = texts(open_as(&world, &world.viewer, cut, true).unwrap()).unwrap();
    assert_eq!((running.len(), complete), (9, false), "a running segment may end anywhere");
    let mut flipped = world.file.clone();
    let at = flipped.len() - 30;
    flipped[at] ^= 1;
    assert_eq!(texts(open_as(&world, &world.viewer, &flipped, false).unwrap()).unwrap_err().exit_code(), 5);
    world.keys.request = Nonce([8; 16]);
    assert!(open_as(&world, &world.viewer, &world.file, false).is_err(), "X is bound to the request");
}

#[test]
fn an_erased_epoch_is_named() {
    let mut world = world();
    world.keys.sealed.clear();
    let error = open_as(&world, &world.viewer, &world.file, false).map(drop).unwrap_err();
    assert!(matches!(error, Error::Footage(FootageError::Erased { epoch: EPOCH })), "{error}");
}

fn header(kind: FragmentKind, key: bool, start: i64) -> FragmentHeader {
    let duration = MediaDuration(if kind == FragmentKind::Init { 0 } else { 90_000 });
    FragmentHeader { kind, key, last: false, len: 1, run: 1, counter: 0, start: secs(start), duration }
}

/// Runs (kind, key, start second) through a cutter; init comes out as `None`, media as its second.
fn cut(from: i64, until: i64, fragments: &[(FragmentKind, bool, i64)]) -> (Vec<Option<i64>>, u64) {
    let mut cutter = Cutter::new(secs(from), secs(until));
    let mut parts = vec![];
    for (kind, key, start) in fragments {
        let payload = if *kind == FragmentKind::Init { [start.to_be_bytes()[7]] } else { [0] };
        let on = cutter.push(EPOCH, &header(*kind, *key, *start), &payload, &mut |part| {
            parts.push(match part {
                Part::Init(_) => None,
                Part::Media(_, at) => Some(at.secs()),
            });
            Ok(())
        });
        if !on.unwrap() {
            break;
        }
    }
    (parts, cutter.skipped())
}

#[test]
fn a_cut_begins_with_the_key_picture_before_its_start_and_ends_in_time() {
    use FragmentKind::{Init, Media};
    let mut fragments = vec![(Init, false, 0)];
    fragments.extend((0..20).map(|at| (Media, at % 5 == 0, at)));
    let whole: Vec<_> = core::iter::once(None).chain((5..12).map(Some)).collect();
    assert_eq!(cut(8, 12, &fragments), (whole, 0));
    let exact: Vec<_> = core::iter::once(None).chain((10..12).map(Some)).collect();
    assert_eq!(cut(10, 12, &fragments), (exact, 0));
    assert_eq!(cut(100, 120, &fragments).0, vec![], "nothing of the span is there");
    assert_eq!(cut(-10, 0, &fragments).0, vec![]);
}

#[test]
fn pictures_before_the_first_key_picture_are_left_out_and_counted() {
    use FragmentKind::{Init, Media};
    let fragments = [(Init, false, 0), (Media, false, 0), (Media, false, 1), (Media, true, 2), (Media, false, 3)];
    assert_eq!(cut(0, 10, &fragments), (vec![None, Some(2), Some(3)], 2));
}

#[test]
fn repeated_parameters_go_out_once_and_changed_ones_again() {
    use FragmentKind::{Init, Media};
    let fragments =
        [(Init, false, 0), (Media, true, 0), (Init, false, 0), (Media, true, 1), (Init, false, 2), (Media, true, 2)];
    assert_eq!(cut(0, 10, &fragments).0, vec![None, Some(0), Some(1), None, Some(2)]);
}

#[test]
fn behind_an_epoch_that_is_missing_the_cut_goes_on_with_a_key_picture() {
    use FragmentKind::Media;
    let later = |epochs: u64| EpochNo(EPOCH.0 + epochs);
    let fragments = [
        (EPOCH, true, 0),
        // The next epoch begins between two key pictures, and follows.
        (later(1), false, 1),
        // One is missing.
        (later(3), false, 5),
        (later(3), false, 6),
        (later(3), true, 7),
        (later(3), false, 8),
        // One is missing, and what follows begins with a key picture.
        (later(5), true, 12),
        (later(5), false, 13),
    ];
    let mut cutter = Cutter::new(secs(0), secs(100));
    let mut seen = vec![];
    for (epoch, key, start) in fragments {
        let mut out = |part: Part<'_>| {
            if let Part::Media(_, at) = part {
                seen.push(at.secs());
            }
            Ok(())
        };
        cutter.push(epoch, &header(Media, key, start), &[0], &mut out).unwrap();
    }
    assert_eq!((seen, cutter.skipped()), (vec![0, 1, 7, 8, 12, 13], 2));
}

#[test]
fn behind_an_epoch_whose_end_is_missing_the_cut_goes_on_with_a_key_picture() {
    let later = EpochNo(EPOCH.0 + 1);
    // A tenth of a second of pictures is missing between the epochs, or a camera stood still for that long.
    for (whole, seen) in [(false, vec![0, 2]), (true, vec![0, 1, 2])] {
        let mut cutter = Cutter::new(secs(0), secs(100));
        let mut out = vec![];
        let mut push = |epoch, key, start: i64, last: bool, payload: &[u8]| {
            let mut header = header(FragmentKind::Media, key, 0);
            (header.start, header.last) = (UtcNanos(start * 100_000_000), last);
            let mut part = |part: Part<'_>| {
                if let Part::Media(_, at) = part {
                    out.push(at.secs());
                }
                Ok(())
            };
            cutter.push(epoch, &header, payload, &mut part).unwrap();
        };
        push(EPOCH, true, 0, false, &[0]);
        if whole {
            push(EPOCH, false, 10, true, &[]);
        }
        push(later, false, 11, false, &[0]);
        push(later, true, 21, false, &[0]);
        assert_eq!(out, seen, "whole: {whole}");
    }
}
