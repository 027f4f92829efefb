//! Vectors of segment files, and tests over the same sample. What does not belong: keys and shares.

use super::{Rng, case, context, fixed, hex, unhex, with};
use crate::content;
use crate::fragment::FragmentError;
use crate::segment::{Ending, Expected, SegmentError, SegmentReader};
use peri_domain::{CameraId, MediaDuration, UtcNanos, VmId};
use peri_seal::ContentKey;
use peri_seal::keys::{KeyPair, UserPublic};
use peri_seal::record::EpochRecord;
use peri_seal::scan::TailScan;
use peri_seal::sealer::{FragmentMeta, Sealer, TailHash, begin};
use peri_seal::secret::{EpochSecret, XSecret, derive_content_key};
use peri_seal::segment::{FragmentKind, OrderError, encode_head, parse_head};
use peri_seal::wrap::{WrapKind, wrap_epoch};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::LazyLock;

/// The parts of a small segment: head, then whole fragments.
struct Sample {
    e: EpochSecret,
    x: XSecret,
    device: KeyPair,
    record: EpochRecord,
    head: Vec<u8>,
    fragments: Vec<Vec<u8>>,
    plaintexts: Vec<Vec<u8>>,
}

impl Sample {
    /// Init, three media fragments (the third from a second run), and an empty last one.
    fn new(seed: &str) -> Self {
        let mut rng = Rng::new(seed);
        let (device, user) = (KeyPair::generate(&mut rng), KeyPair::generate(&mut rng));
        let (e, x) = (EpochSecret::generate(&mut rng), XSecret::generate(&mut rng));
        let context = context(&e, &x, 1, 1);
        let wraps = [wrap_epoch(&mut rng, &e, &context, user.public()).unwrap()];
        let record = EpochRecord::sign_with(&mut rng, context, &wraps, device.signing()).unwrap();
        let head = encode_head(&record, &wraps).unwrap();
        let plaintexts: Vec<Vec<u8>> =
            [40, 100, 17, 64, 0].iter().zip(1..).map(|(len, byte)| vec![byte; *len]).collect();
        let sealer = |run, first| {
            let key = derive_content_key(&e, &x, &record.context.id());
            Sealer::new(key, record.hash(), run, first).unwrap()
        };
        let mut now = sealer(1, 0);
        let mut fragments = Vec::new();
        for (at, plaintext) in plaintexts.iter().enumerate() {
            if at == 3 {
                now = sealer(2, now.next_counter());
            }
            let mut buffer = Vec::new();
            let place = begin(&mut buffer);
            buffer.extend_from_slice(plaintext);
            let meta = FragmentMeta {
                kind: if at == 0 { FragmentKind::Init } else { FragmentKind::Media },
                key: at == 1,
                last: plaintext.is_empty(),
                start: UtcNanos(record.context.starts.0 + i64::try_from(at).unwrap() * 100_000_000),
                duration: MediaDuration(if at == 0 || plaintext.is_empty() { 0 } else { 9_000 }),
            };
            now.seal_in_place(meta, &mut buffer, place).unwrap();
            fragments.push(buffer);
        }
        Self { e, x, device, record, head, fragments, plaintexts }
    }

    fn file(&self, fragments: &[&[u8]]) -> Vec<u8> {
        [&self.head, &fragments.concat()].into_iter().flatten().copied().collect()
    }
}

/// Makes the checksum of a changed fragment fit again.
fn mend(fragment: &mut [u8]) {
    let body = fragment.len() - 4;
    let crc = crc32c::crc32c(&fragment[..body]).to_be_bytes();
    fragment[body..].copy_from_slice(&crc);
}

pub(super) fn segments() -> Value {
    let sample = Sample::new("segment");
    let f: Vec<&[u8]> = sample.fragments.iter().map(Vec::as_slice).collect();
    let key = derive_content_key(&sample.e, &sample.x, &sample.record.context.id());
    let mut tail = TailHash::new(&sample.record.hash());
    f.iter().for_each(|fragment| tail.push(fragment));
    let inputs = json!({
        "device": hex(sample.device.public().to_bytes()), "vm": sample.record.context.vm.to_string(),
        "camera": sample.record.context.camera.to_string(), "k": hex(key.as_bytes()), "file": hex(sample.file(&f)),
    });
    let outputs = |count: usize| {
        json!({
            "plaintexts": sample.plaintexts[..count].iter().map(hex).collect::<Vec<_>>(),
            "record_hash": sample.record.hash().to_string(),
        })
    };
    let mut flipped = f[2].to_vec();
    flipped[40] ^= 1;
    let mut forged = flipped.clone();
    mend(&mut forged);
    let mut header = f[2].to_vec();
    header[27] ^= 1;
    mend(&mut header);
    let mut head = sample.file(&f);
    head[100] ^= 1;
    let other = Sample::new("another device");
    let file = |fragments: &[&[u8]]| with(&inputs, "file", hex(sample.file(fragments)).into());
    let whole = sample.file(&f);
    let cut = |by: usize| with(&inputs, "file", hex(&whole[..whole.len() - by]).into());
    let mut good = outputs(5);
    good["tail_hash"] = tail.current().to_string().into();
    let cases = [
        case("whole", "good", &inputs, &good),
        case("power cut between fragments", "missing_final", &file(&f[..4]), &outputs(4)),
        case("no fragment at all", "missing_final", &file(&[]), &outputs(0)),
        case("cut inside the last fragment", "truncated", &cut(1), &outputs(4)),
        case("cut inside a header", "truncated", &cut(52 - 31), &outputs(4)),
        case("cut inside the head", "bad_head", &with(&inputs, "file", hex(&whole[..300]).into()), &outputs(0)),
        case("two fragments swapped", "reordered", &file(&[f[0], f[2], f[1], f[3], f[4]]), &outputs(1)),
        case("one fragment missing", "reordered", &file(&[f[0], f[1], f[3], f[4]]), &outputs(2)),
        case("one fragment twice", "repeated", &file(&[f[0], f[1], f[1], f[2], f[3], f[4]]), &outputs(2)),
        case("something after the last", "after_last", &file(&[f[0], f[1], f[2], f[3], f[4], f[4]]), &outputs(5)),
        case("wrong key", "wrong_key", &with(&inputs, "k", hex([7; 32]).into()), &outputs(0)),
        case("flipped bit", "flipped_bit", &file(&[f[0], f[1], &flipped, f[3], f[4]]), &outputs(2)),
        case("flipped bit, checksum mended", "forged", &file(&[f[0], f[1], &forged, f[3], f[4]]), &outputs(2)),
        case("header changed, checksum mended", "forged", &file(&[f[0], f[1], &header, f[3], f[4]]), &outputs(2)),
        case("head changed", "bad_head", &with(&inputs, "file", hex(head).into()), &outputs(0)),
        case(
            "other device",
            "other_device",
            &with(&inputs, "device", hex(other.device.public().to_bytes()).into()),
            &outputs(0),
        ),
        case(
            "other camera",
            "other_camera",
            &with(&inputs, "camera", CameraId([9; 16]).to_string().into()),
            &outputs(0),
        ),
        case("other VM", "other_vm", &with(&inputs, "vm", VmId([9; 16]).to_string().into()), &outputs(0)),
    ];
    json!({
        "about": "Segment files, byte by byte in compliance/segment-format.md. plaintexts: what opens before the error or the end.",
        "cases": cases,
    })
}

/// Reads a segment and says the class of its end and what opened before it.
fn read(file: &[u8], expected: &Expected<'_>, key: &ContentKey) -> (&'static str, Vec<Vec<u8>>) {
    let mut opened = Vec::new();
    let class = |error| match error {
        SegmentError::Head(_) => "bad_head",
        SegmentError::Record(_) => "other_device",
        SegmentError::OtherVm { .. } => "other_vm",
        SegmentError::OtherCamera { .. } => "other_camera",
        SegmentError::MediaBeforeInit { .. } => "media_before_init",
        SegmentError::Key(_) => "wrong_key",
        SegmentError::Io(_) => "io",
        SegmentError::Fragment { source, .. } => match source {
            FragmentError::WrongKey(_) => "wrong_key",
            FragmentError::Truncated { .. } => "truncated",
            FragmentError::Header(_) | FragmentError::Checksum { .. } => "flipped_bit",
            FragmentError::Forged { .. } => "forged",
            FragmentError::Order(OrderError::Missing { .. }) => "reordered",
            FragmentError::Order(OrderError::Repeated { .. }) => "repeated",
            FragmentError::Order(OrderError::RunBack { .. }) => "run_back",
            FragmentError::Order(OrderError::AfterLast) => "after_last",
        },
    };
    let reader = SegmentReader::open(std::io::Cursor::new(file), expected).and_then(|reader| reader.unlock(key));
    let mut segment = match reader {
        Ok(segment) => segment,
        Err(error) => return (class(error), opened),
    };
    loop {
        match segment.next_fragment() {
            Ok(Some(fragment)) => opened.push(fragment.payload.to_vec()),
            Ok(None) => break,
            Err(error) => return (class(error), opened),
        }
    }
    (if segment.ending() == Some(Ending::Final) { "good" } else { "missing_final" }, opened)
}

pub(super) fn check_segments(case: &Value) -> String {
    let (inputs, outputs) = (&case["inputs"], &case["outputs"]);
    let device = UserPublic::from_bytes(&unhex(&inputs["device"])).unwrap();
    let expected =
        Expected { device: &device, vm: VmId(fixed(&inputs["vm"])), camera: CameraId(fixed(&inputs["camera"])) };
    let file = unhex(&inputs["file"]);
    let (class, opened) = read(&file, &expected, &ContentKey::from_bytes(fixed(&inputs["k"])));
    let plaintexts: Vec<_> = outputs["plaintexts"].as_array().unwrap().iter().map(unhex).collect();
    assert_eq!(opened, plaintexts);
    if class == "good" {
        let head = parse_head(&file).unwrap();
        assert_eq!(head.record.hash().to_string(), outputs["record_hash"].as_str().unwrap());
        let end = TailScan::open(file.as_slice()).unwrap().finish().unwrap();
        assert_eq!(end.tail.current().to_string(), outputs["tail_hash"].as_str().unwrap());
    }
    class.into()
}

#[test]
fn no_changed_bit_of_a_fragment_opens_even_with_a_mended_checksum() {
    let sample = Sample::new("bits");
    let expected =
        Expected { device: sample.device.public(), vm: sample.record.context.vm, camera: sample.record.context.camera };
    let key = content::content_key(&sample.e, &sample.x, &sample.record).unwrap();
    let f: Vec<&[u8]> = sample.fragments.iter().map(Vec::as_slice).collect();
    for bit in 0..(f[2].len() - 4) * 8 {
        let mut bad = f[2].to_vec();
        bad[bit / 8] ^= 1 << (bit % 8);
        mend(&mut bad);
        let (class, opened) = read(&sample.file(&[f[0], f[1], &bad, f[3], f[4]]), &expected, &key);
        assert!(class != "good" && class != "missing_final", "bit {bit}");
        assert_eq!(opened, sample.plaintexts[..2], "bit {bit}");
    }
}

#[test]
fn a_fragment_of_another_epoch_does_not_open_even_under_the_same_key() {
    let (one, two) = (Sample::new("here"), Sample::new("there"));
    let key = derive_content_key(&one.e, &one.x, &one.record.context.id());
    let mut sealer = Sealer::new(key, two.record.hash(), 1, 0).unwrap();
    let mut moved = Vec::new();
    let place = begin(&mut moved);
    moved.extend_from_slice(b"from there");
    let meta = FragmentMeta {
        kind: FragmentKind::Init,
        key: false,
        last: false,
        start: UtcNanos(0),
        duration: MediaDuration(0),
    };
    sealer.seal_in_place(meta, &mut moved, place).unwrap();
    let expected =
        Expected { device: one.device.public(), vm: one.record.context.vm, camera: one.record.context.camera };
    let key = content::content_key(&one.e, &one.x, &one.record).unwrap();
    assert_eq!(read(&one.file(&[&moved]), &expected, &key), ("forged", vec![]));
}

#[test]
fn reading_can_go_on_at_an_index_entry() {
    let sample = Sample::new("seek");
    let expected =
        Expected { device: sample.device.public(), vm: sample.record.context.vm, camera: sample.record.context.camera };
    let key = content::content_key(&sample.e, &sample.x, &sample.record).unwrap();
    let file = sample.file(&sample.fragments.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let mut scan = TailScan::open(file.as_slice()).unwrap();
    let entries: Vec<_> = core::iter::from_fn(|| scan.next_entry().unwrap()).collect();
    let reader = SegmentReader::open(std::io::Cursor::new(&file), &expected).unwrap();
    assert!(EpochRecord::find_wrap(reader.wraps(), &sample.device.fingerprint(), WrapKind::User).is_none());
    let mut segment = reader.unlock(&key).unwrap();
    segment.seek(entries[2].offset, entries[2].header.counter).unwrap();
    for at in 2..5 {
        assert_eq!(segment.next_fragment().unwrap().unwrap().payload, sample.plaintexts[at]);
    }
    assert!(segment.next_fragment().unwrap().is_none());
    assert_eq!(segment.ending(), Some(Ending::Final));
}

#[test]
fn media_without_its_init_is_refused() {
    let sample = Sample::new("init");
    let record = &sample.record;
    let mut sealer =
        Sealer::new(derive_content_key(&sample.e, &sample.x, &record.context.id()), record.hash(), 9, 0).unwrap();
    let mut media = Vec::new();
    let place = begin(&mut media);
    media.push(1);
    let meta = FragmentMeta {
        kind: FragmentKind::Media,
        key: true,
        last: false,
        start: UtcNanos(0),
        duration: MediaDuration(1),
    };
    sealer.seal_in_place(meta, &mut media, place).unwrap();
    let expected = Expected { device: sample.device.public(), vm: record.context.vm, camera: record.context.camera };
    let key = content::content_key(&sample.e, &sample.x, record).unwrap();
    assert_eq!(read(&sample.file(&[&media]), &expected, &key), ("media_before_init", vec![]));
}

proptest! {
    /// Whatever is done to the fragments of a file – flipped, cut, copied, moved, repeated, with mended checksums – what
    /// opens is a prefix of what was sealed, and only the whole of it ends as final.
    #[test]
    fn what_opens_of_a_mangled_segment_is_a_prefix_of_what_was_sealed(
        picks in proptest::collection::vec((0..5_usize, any::<bool>(), any::<u16>(), any::<bool>()), 0..8),
        cut in proptest::option::of(0..400_usize),
    ) {
        static SAMPLE: LazyLock<Sample> = LazyLock::new(|| Sample::new("mangled"));
        let context = &SAMPLE.record.context;
        let expected = Expected { device: SAMPLE.device.public(), vm: context.vm, camera: context.camera };
        let key = content::content_key(&SAMPLE.e, &SAMPLE.x, &SAMPLE.record).unwrap();
        let parts: Vec<Vec<u8>> = picks
            .iter()
            .enumerate()
            .map(|(at, (pick, keep, bit, mending))| {
                // Half of the picks go on in order, so that deep places are reached.
                let mut part = SAMPLE.fragments[if *keep { at.min(4) } else { *pick }].clone();
                if !*keep && bit % 3 == 0 {
                    let place = usize::from(*bit) % (part.len() * 8);
                    part[place / 8] ^= 1 << (place % 8);
                    if *mending {
                        mend(&mut part);
                    }
                }
                part
            })
            .collect();
        let mut file = SAMPLE.file(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>());
        if let Some(cut) = cut {
            file.truncate(file.len() - cut.min(file.len()));
        }
        let (class, opened) = read(&file, &expected, &key);
        prop_assert!(SAMPLE.plaintexts.starts_with(&opened));
        prop_assert!(class != "good" || opened == SAMPLE.plaintexts);
    }

    #[test]
    fn arbitrary_fragments_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), marked in any::<bool>()) {
        static SAMPLE: LazyLock<Sample> = LazyLock::new(|| Sample::new("arbitrary"));
        let mut bytes = bytes;
        if marked && bytes.len() > 52 {
            bytes[..4].copy_from_slice(&[b'P', b'F', 2, 0]);
            let len = u32::try_from(bytes.len() - 52).unwrap();
            bytes[4..8].copy_from_slice(&len.to_be_bytes());
            bytes[12..16].fill(0);
            mend(&mut bytes);
        }
        let key = derive_content_key(&SAMPLE.e, &SAMPLE.x, &SAMPLE.record.context.id());
        let mut opener = crate::FragmentOpener::new(&key, &SAMPLE.record, peri_seal::segment::Order::stream()).unwrap();
        prop_assert!(opener.open_in_place(&mut bytes).is_err());
    }
}
