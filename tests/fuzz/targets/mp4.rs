//! Fragments: what the fragmenter writes an independent reader (`mp4-atom`) reads, with every access unit in it once and
//! in order; the joiner keeps payloads and makes one timeline.

use super::fixture::{PPS, SPS};
use super::h264::{Collected, nals, steps};
use super::{Input, reached};
use mp4_atom::{Any, Decode};
use peri_domain::UtcNanos;
use peri_media::fragment::{Fragment, Fragmenter, Kind, Mp4Error, Output};
use peri_media::h264::{Depacketizer, H264Error};
use peri_media::mp4join::{Entry, Gaps, Joiner};
use std::sync::LazyLock;

#[derive(Default)]
struct Out {
    fragments: Vec<(Kind, i64, u32, u32, Vec<u8>)>,
    jumps: usize,
}

impl Output for Out {
    fn fragment(&mut self, fragment: Fragment<'_>) {
        assert!(fragment.start >= HEADROOM, "no room for the header");
        let bytes = fragment.bytes().to_vec();
        self.fragments.push((fragment.kind, fragment.start_90k, fragment.duration.0, fragment.samples, bytes));
    }

    fn clock_jumped(&mut self, _: i64, by_90k: i64) {
        assert_ne!(by_90k, 0);
        self.jumps += 1;
    }

    fn failed(&mut self, error: Mp4Error) {
        // Pictures larger than an MP4 box can say are refused before; nothing else may fail.
        panic!("boxes could not be written: {error}");
    }
}

const HEADROOM: usize = 32;

/// What an independent reader finds in a media fragment: decode time, (duration, size) of the samples, payload.
struct Read {
    time: u64,
    samples: Vec<(u32, u32)>,
    payload: Vec<u8>,
}

fn read_media(mut bytes: &[u8]) -> Option<Read> {
    let Ok(Any::Moof(moof)) = Any::decode(&mut bytes) else { return None };
    let Ok(Any::Mdat(mdat)) = Any::decode(&mut bytes) else { return None };
    let traf = moof.traf.first().filter(|_| bytes.is_empty())?;
    let samples = traf.trun.first()?.samples.iter();
    Some(Read {
        time: traf.tfdt.as_ref()?.base_media_decode_time,
        samples: samples.map(|s| Some((s.duration?, s.size?))).collect::<Option<_>>()?,
        payload: mdat.data.to_vec(),
    })
}

/// As access units, but into fragments; bits 0x10 and 0x20 of a step cut and flush before it.
pub(crate) fn fragments(data: &[u8]) {
    let mut input = Input(data);
    let _shape = input.byte();
    let all = steps(&mut input);
    let (mut alone, mut collected) = (Depacketizer::new(&[]), Collected::default());
    let (mut depack, mut fragmenter, mut out) = (Depacketizer::new(&[]), Fragmenter::new(HEADROOM), Out::default());
    for step in &all {
        if step.flags & 0x10 != 0 {
            fragmenter.cut(&mut out);
        }
        if step.flags & 0x20 != 0 {
            fragmenter.flush(&mut out);
        }
        let one = alone.push(&step.packet, step.lost, &mut collected);
        let other = depack.push(&step.packet, step.lost, &mut fragmenter.with(&mut out));
        assert_eq!(one, other, "the sink decides about an error");
        if one.as_ref().is_err_and(H264Error::is_fatal) {
            break;
        }
    }
    fragmenter.flush(&mut out);
    let mut units = collected.units.iter().filter(|(unit, _)| unit.picture);
    let mut end = None;
    let mut joiner = Joiner::new(Vec::new(), Gaps::Keep, Entry::Avc3);
    let mut media = 0;
    for (kind, start, duration, count, bytes) in &out.fragments {
        let mut rest = &bytes[..];
        if *kind == Kind::Init {
            assert!(matches!(Any::decode(&mut rest), Ok(Any::Ftyp(_))));
            let Ok(Any::Moov(moov)) = Any::decode(&mut rest) else { panic!("no moov") };
            assert!(rest.is_empty() && moov.trak[0].mdia.mdhd.timescale == 90_000);
            joiner.init(bytes).expect("an init fragment of our own");
            continue;
        }
        media += 1;
        reached();
        let read = read_media(rest).expect("a fragment of ours reads");
        assert_eq!(read.time, u64::try_from(*start).expect("times begin at a 32-bit timestamp"));
        assert!(end.is_none_or(|end| *start >= end), "overlaps the fragment before: {end:?} {start}");
        assert_eq!(read.samples.len(), *count as usize);
        assert_eq!(read.samples.iter().map(|s| s.0).sum::<u32>(), *duration);
        assert_eq!(read.samples.iter().map(|s| s.1 as usize).sum::<usize>(), read.payload.len());
        // The last duration is a guess until the next picture comes, so only the start of a fragment is exact.
        end = Some(start + 1);
        let mut payload = &read.payload[..];
        for (_, size) in &read.samples {
            let (sample, rest) = payload.split_at(*size as usize);
            assert!(!nals(sample).is_empty());
            assert!(units.any(|(_, unit)| unit == sample), "a sample that is no access unit of the camera, or twice");
            payload = rest;
        }
        let utc = UtcNanos(start.saturating_mul(100_000) / 9);
        joiner.media(bytes, utc).expect("a media fragment of our own");
    }
    let file = joiner.finish().expect("a Vec takes everything");
    let mut rest = &file[..];
    let (mut seen, mut last) = (0, None);
    while !rest.is_empty() {
        if let Any::Moof(moof) = Any::decode(&mut rest).expect("a joined file reads") {
            let time = moof.traf[0].tfdt.as_ref().expect("tfdt").base_media_decode_time;
            assert_eq!(last.is_none(), time == 0, "one timeline from zero");
            assert!(last.is_none_or(|last| time >= last));
            last = Some(time);
            seen += 1;
        }
    }
    assert_eq!(seen, media);
}

/// Bytes of somebody else as fragments: first byte odd: a good init fragment, else the first piece is taken for one.
pub(crate) fn join(data: &[u8]) {
    let mut input = Input(data);
    let shape = input.byte();
    let entry = if shape & 2 == 0 { Entry::Avc1 } else { Entry::Avc3 };
    let mut joiner = Joiner::new(Vec::new(), Gaps::Close, entry);
    let init = if shape & 1 == 1 { GOOD_INIT.clone() } else { input.piece().to_vec() };
    if joiner.init(&init).is_err() {
        return;
    }
    let mut payloads = Vec::new();
    while !input.is_empty() {
        let fragment = input.piece();
        if joiner.media(fragment, UtcNanos(0)).is_ok() {
            reached();
            // The other reader may refuse what ours takes (versions of boxes); what we write it must read.
            payloads.push(read_media(fragment).map(|read| (read.samples, read.payload)));
        }
    }
    let file = joiner.finish().expect("a Vec takes everything");
    assert_eq!(file.len() - init.len() > 0, !payloads.is_empty());
    let mut rest = &file[init.len()..];
    for expected in payloads {
        let (Ok(Any::Moof(moof)), Ok(Any::Mdat(mdat))) = (Any::decode(&mut rest), Any::decode(&mut rest)) else {
            panic!("a joined fragment does not read");
        };
        let Some((samples, payload)) = expected else { continue };
        assert_eq!(mdat.data, payload);
        let written = moof.traf[0].trun[0].samples.iter();
        assert!(written.map(|s| (s.duration.unwrap_or(0), s.size.unwrap_or(0))).eq(samples));
    }
    assert!(rest.is_empty());
}

/// An init fragment as our recorder writes it.
static GOOD_INIT: LazyLock<Vec<u8>> = LazyLock::new(|| good_fragments().remove(0));

/// An init fragment and two media fragments as our recorder writes them.
pub(crate) fn good_fragments() -> Vec<Vec<u8>> {
    use peri_media::h264::packetize::Packetizer;
    let mut packets = Packetizer { mtu: 200, payload_type: 96, ssrc: 1, sequence: 0, aggregate: true };
    let (mut depack, mut fragmenter, mut out) = (Depacketizer::new(&[]), Fragmenter::new(HEADROOM), Out::default());
    for picture in 0..3_u8 {
        let slice = [if picture == 0 { 0x65 } else { 0x41 }, picture, 7, 7];
        let units: &[&[u8]] = if picture == 0 { &[SPS, PPS, &slice] } else { &[&slice] };
        packets.unit(u32::from(picture) * 9000, units, |bytes| {
            let packet = peri_media::rtp::Packet::parse(bytes).expect("our own");
            depack.push(&packet, 0, &mut fragmenter.with(&mut out)).expect("our own");
        });
    }
    fragmenter.flush(&mut out);
    out.fragments.into_iter().map(|(.., bytes)| bytes).collect()
}
