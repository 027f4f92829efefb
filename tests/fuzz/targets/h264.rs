//! H.264: access units that were taken from packets give the same packets' content again; sizes agree with `h264-reader`.

use super::{Input, reached};
use h264_reader::nal::sps::SeqParameterSet;
use h264_reader::rbsp::{BitReader, decode_nal};
use peri_domain::limits::{ACCESS_UNIT_BYTES_MAX, ACCESS_UNIT_NALS_MAX, PARAMETER_SET_MAX};
use peri_media::h264::packetize::Packetizer;
use peri_media::h264::params::{ParameterSets, Sps};
use peri_media::h264::{Depacketizer, H264Error, Picture, Sink, Unit, UnitBuffer};
use peri_media::rtp::Packet;

/// One step of a stream that an input describes.
pub(crate) struct Step<'a> {
    /// The packet.
    pub(crate) packet: Packet<'a>,
    /// Packets missing before it.
    pub(crate) lost: u16,
    /// Bits for the caller: 0x10 and up of the first byte.
    pub(crate) flags: u8,
}

/// Steps of an input: flags, step of the timestamp, length, payload. Flag 1 is the marker, 2 a loss, 4 a far timestamp.
pub(crate) fn steps<'a>(input: &mut Input<'a>) -> Vec<Step<'a>> {
    let (mut out, mut timestamp, mut sequence) = (Vec::new(), 90_000_u32, 0_u16);
    while !input.is_empty() {
        let flags = input.byte();
        let step = u32::from(input.byte());
        timestamp = timestamp.wrapping_add(if flags & 4 != 0 { step << 24 } else { step * 600 });
        let lost = if flags & 2 != 0 { 1 } else { 0 };
        sequence = sequence.wrapping_add(1 + lost);
        let payload = input.piece();
        let packet = Packet { marker: flags & 1 != 0, payload_type: 96, sequence, timestamp, ssrc: 1, payload };
        out.push(Step { packet, lost, flags });
    }
    out
}

/// Collects access units whole.
#[derive(Default)]
pub(crate) struct Collected {
    buffer: UnitBuffer,
    /// Units with their bytes.
    pub(crate) units: Vec<(Unit, Vec<u8>)>,
    /// Pictures announced since the last unit.
    pictures: usize,
}

impl Sink for Collected {
    fn buffer(&mut self) -> &mut UnitBuffer {
        &mut self.buffer
    }

    fn picture(&mut self, _: &Picture<'_>) {
        self.pictures += 1;
    }

    fn unit(&mut self, unit: Unit) {
        assert!(!unit.picture || self.pictures > 0, "a picture that was never announced");
        self.pictures = 0;
        self.units.push((unit, self.buffer.unit().to_vec()));
        self.buffer.drop_unit();
    }
}

/// The NAL units of an access unit with 4-byte lengths; panics when they do not fill it.
pub(crate) fn nals(mut unit: &[u8]) -> Vec<&[u8]> {
    let mut out = Vec::new();
    while !unit.is_empty() {
        let (len, rest) = unit.split_first_chunk::<4>().expect("a length");
        let (nal, rest) = rest.split_at_checked(u32::from_be_bytes(*len) as usize).expect("a whole NAL unit");
        out.push(nal);
        unit = rest;
    }
    out
}

/// Depacketise, check, packetise, depacketise: the same access units.
pub(crate) fn access_units(data: &[u8]) {
    let mut input = Input(data);
    let shape = input.byte();
    let mut depack = Depacketizer::new(&[]);
    let mut first = Collected::default();
    for step in steps(&mut input) {
        if depack.push(&step.packet, step.lost, &mut first).as_ref().is_err_and(H264Error::is_fatal) {
            break;
        }
    }
    let mut packets = Packetizer {
        mtu: 20 + usize::from(shape >> 1),
        payload_type: 96,
        ssrc: 7,
        sequence: u16::MAX - 3,
        aggregate: shape & 1 == 1,
    };
    let (mut depack, mut again) = (Depacketizer::new(&[]), Collected::default());
    let mut expected = Vec::new();
    for (at, (unit, bytes)) in first.units.iter().enumerate() {
        let nals = nals(bytes);
        assert!(bytes.len() <= ACCESS_UNIT_BYTES_MAX && nals.len() <= ACCESS_UNIT_NALS_MAX);
        for nal in &nals {
            let kind = nal[0] & 0x1f;
            assert!(nal[0] & 0x80 == 0 && (1..=23).contains(&kind) && !matches!(kind, 7 | 8), "NAL unit {kind}");
            assert!(nal.len() == 1 || nal.last() != Some(&0), "trailing zeros");
        }
        let slices: Vec<u8> = nals.iter().map(|nal| nal[0] & 0x1f).filter(|kind| (1..=5).contains(kind)).collect();
        assert_eq!(unit.picture, !slices.is_empty());
        assert_eq!(unit.key, unit.picture && slices.iter().all(|kind| *kind == 5));
        // Start codes inside are taken apart only while the camera is on probation, so they may come out otherwise.
        if !unit.picture || nals.iter().any(|nal| nal.windows(3).any(|w| w == [0, 0, 1])) {
            continue;
        }
        reached();
        let timestamp = at as u32 * 3000;
        expected.push((Unit { timestamp, lost: 0, ..*unit }, bytes.clone()));
        packets.unit(timestamp, &nals, |bytes| {
            let packet = Packet::parse(bytes).expect("a packet of our own");
            depack.push(&packet, 0, &mut again).expect("a packet of our own");
        });
    }
    assert_eq!(again.units, expected, "packetised and taken apart again");
}

/// An SPS (first byte: header) read by two parsers; whatever is taken into force stays as it is.
pub(crate) fn sps(data: &[u8]) {
    let ours = Sps::parse(data);
    if let Ok(ours) = &ours {
        assert!(data.len() <= PARAMETER_SET_MAX && ours.width > 0 && ours.height > 0);
        let theirs = decode_nal(data).ok().and_then(|rbsp| SeqParameterSet::from_bits(BitReader::new(&*rbsp)).ok());
        // That reader does not know the chroma fields of the profiles of 3D and multiview coding.
        let known = !matches!(ours.profile[0], 118 | 128 | 138 | 139 | 134 | 135);
        if let Some(theirs) = theirs.filter(|_| known) {
            reached();
            assert_eq!(u32::from(theirs.id().id()), ours.id);
            assert_eq!(u8::from(theirs.profile_idc), ours.profile[0]);
            assert_eq!(theirs.chroma_info.bit_depth_luma_minus8, ours.luma_depth_minus8);
            assert_eq!(theirs.chroma_info.bit_depth_chroma_minus8, ours.chroma_depth_minus8);
            if let Ok(size) = theirs.pixel_dimensions() {
                assert_eq!(size, (u32::from(ours.width), u32::from(ours.height)));
            }
        }
    }
    let mut sets = ParameterSets::default();
    let taken = [data.to_vec()];
    let before = sets.clone();
    match sets.take(&taken) {
        Ok(_) => assert_eq!(sets.clone().take(&taken), Ok(false), "taking the same again changes nothing"),
        Err(_) => assert_eq!(sets, before, "a refused set changes nothing"),
    }
    if data.first().is_some_and(|header| header & 0x1f == 7) {
        assert_eq!(sets.sps(), ours.as_ref().ok());
    }
}
