//! Segments: the scan agrees with a naive one, a prefix scans as a prefix, and nothing opens that was not sealed.
//!
//! Checksums would stop nearly every changed input, so each is run twice: as it is, and with every CRC-32C mended – as
//! an attacker would do.

use super::fixture::{SEGMENTS, fixed, unhex};
use super::reached;
use peri_domain::{CameraId, VmId};
use peri_open::segment::{Ending, Expected, SegmentReader};
use peri_seal::ContentKey;
use peri_seal::keys::UserPublic;
use peri_seal::scan::{IndexEntry, ScanEnd, Stop, TailScan, read_head};
use peri_seal::sealer::TailHash;
use peri_seal::segment::{CRC_LEN, FragmentHeader, HEADER_LEN, MAGIC, OVERHEAD, Order, encode_head, parse_head};
use std::io::Cursor;
use std::sync::LazyLock;

/// The input with its checksums made right, as far as its lengths lead.
fn mended(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    let mut at = MAGIC.len();
    let length = |out: &[u8], at: usize| Some(u32::from_be_bytes(*out.get(at..)?.first_chunk()?) as usize);
    let mend = |out: &mut Vec<u8>, at: usize, end: usize| -> Option<usize> {
        let crc = crc32c::crc32c(out.get(at..end)?).to_be_bytes();
        out.get_mut(end..end + CRC_LEN)?.copy_from_slice(&crc);
        Some(end + CRC_LEN)
    };
    for _ in 0..2 {
        let Some(next) = length(&out, at).and_then(|len| mend(&mut out, at, at + 4 + len)) else { return out };
        at = next;
    }
    while let Some(len) = length(&out, at + 4) {
        let Some(next) = mend(&mut out, at, at + len + OVERHEAD - CRC_LEN) else { return out };
        at = next;
    }
    out
}

/// A fragment header: what decodes is what encodes.
pub(crate) fn header(data: &[u8]) {
    let Some(bytes) = data.first_chunk::<HEADER_LEN>() else { return };
    let Ok(header) = FragmentHeader::decode(bytes) else { return };
    reached();
    assert_eq!(header.encode(), *bytes);
    assert!(header.check().is_ok() && header.total_len() >= OVERHEAD);
}

fn scanned(bytes: &[u8]) -> Option<(Vec<IndexEntry>, ScanEnd)> {
    let mut scan = TailScan::open(bytes).ok()?;
    let mut entries = Vec::new();
    while let Some(entry) = scan.next_entry().expect("memory does not fail") {
        entries.push(entry);
    }
    Some((entries, scan.finish().expect("memory does not fail")))
}

/// The whole file in memory, one loop.
fn naively(bytes: &[u8]) -> Option<(usize, u64, TailHash)> {
    let head = parse_head(bytes).ok()?;
    let (mut at, mut count) = (head.len, 0);
    let (mut order, mut tail) = (Order::file(), TailHash::new(&head.record.hash()));
    while let Some(header) = bytes.get(at..).and_then(<[u8]>::first_chunk).map(FragmentHeader::decode) {
        let Ok(header) = header else { break };
        let Some(fragment) = bytes.get(at..at + header.total_len()) else { break };
        let (body, crc) = fragment.split_at(fragment.len() - CRC_LEN);
        if crc32c::crc32c(body).to_be_bytes() != *crc || order.take(&header).is_err() {
            break;
        }
        tail.push(fragment);
        at += fragment.len();
        count += 1;
    }
    Some((at, count, tail))
}

/// Head round trip, scan against the naive scan, prefixes.
pub(crate) fn scan(data: &[u8]) {
    for bytes in [data, &mended(data)] {
        if let Ok(head) = parse_head(bytes) {
            assert_eq!(encode_head(&head.record, &head.wraps).expect("what parses can be written"), bytes[..head.len]);
            assert_eq!(read_head(bytes).expect("read as it parses"), head);
        }
        let Some((entries, end)) = scanned(bytes) else {
            assert!(naively(bytes).is_none());
            continue;
        };
        reached();
        let good = usize::try_from(end.good_len).expect("within the input");
        assert_eq!(naively(bytes), Some((good, end.fragments, end.tail)));
        assert!(good <= bytes.len() && entries.len() as u64 == end.fragments && entries.last() == end.last.as_ref());
        for entry in &entries {
            let at = usize::try_from(entry.offset).expect("within the input");
            assert_eq!(entry.header.encode(), bytes[at..at + HEADER_LEN]);
        }
        let (same, clean) = scanned(&bytes[..good]).expect("its head is good");
        assert_eq!((&same, clean), (&entries, ScanEnd { stop: Stop::Clean, ..end }), "the good part scans well");
        // Cut anywhere: never more than before, and what is found is the beginning.
        for cut in [good.saturating_sub(1), bytes.len() / 2, bytes.len() - bytes.len() / 3] {
            let Some((fewer, end)) = scanned(&bytes[..cut]) else { continue };
            assert!(end.good_len <= cut as u64 && entries.starts_with(&fewer));
        }
    }
}

/// A genuine segment: who recorded it, with which key, what is in it.
struct Genuine {
    device: UserPublic,
    vm: VmId,
    camera: CameraId,
    key: [u8; 32],
    plaintexts: Vec<Vec<u8>>,
}

static GENUINE: LazyLock<Genuine> = LazyLock::new(|| {
    let (inputs, outputs) = (&SEGMENTS[0]["inputs"], &SEGMENTS[0]["outputs"]);
    Genuine {
        device: UserPublic::from_bytes(&unhex(&inputs["device"])).expect("a vector"),
        vm: VmId(fixed(&inputs["vm"])),
        camera: CameraId(fixed(&inputs["camera"])),
        key: fixed(&inputs["k"]),
        plaintexts: outputs["plaintexts"].as_array().expect("a list").iter().map(unhex).collect(),
    }
});

/// Whatever is done to a segment, what opens is the beginning of what was recorded.
pub(crate) fn open(data: &[u8]) {
    let genuine = &*GENUINE;
    let expected = Expected { device: &genuine.device, vm: genuine.vm, camera: genuine.camera };
    for bytes in [data, &mended(data)] {
        let Ok(reader) = SegmentReader::open(Cursor::new(bytes), &expected) else { continue };
        let mut segment = reader.unlock(&ContentKey::from_bytes(genuine.key)).expect("the record is this device's");
        let mut opened = Vec::new();
        while let Ok(Some(fragment)) = segment.next_fragment() {
            reached();
            opened.push(fragment.payload.to_vec());
        }
        assert!(genuine.plaintexts.starts_with(&opened), "opened what nobody sealed");
        if segment.ending() == Some(Ending::Final) {
            assert_eq!(opened, genuine.plaintexts, "a cut passes for the whole");
        }
    }
}
