//! Depacketiser against hand-made packets, the packetiser, and chance.

use super::packetize::{Packetizer, annex_b};
use super::*;
use crate::rtp::{Order, Receiver};
use proptest::prelude::*;

/// Collects access units whole.
#[derive(Default)]
struct Collected {
    buffer: UnitBuffer,
    units: Vec<(Unit, Vec<u8>)>,
    changes: usize,
}

impl Sink for Collected {
    fn buffer(&mut self) -> &mut UnitBuffer {
        &mut self.buffer
    }

    fn picture(&mut self, picture: &Picture<'_>) {
        self.changes += usize::from(picture.changed);
    }

    fn unit(&mut self, unit: Unit) {
        self.units.push((unit, self.buffer.unit().to_vec()));
        self.buffer.drop_unit();
    }
}

fn packet(sequence: u16, timestamp: u32, marker: bool, payload: &[u8]) -> Packet<'_> {
    Packet { marker, payload_type: 96, sequence, timestamp, ssrc: 1, payload }
}

fn avcc(nals: &[&[u8]]) -> Vec<u8> {
    nals.iter().flat_map(|n| [&(n.len() as u32).to_be_bytes(), *n].concat()).collect()
}

const SPS: &[u8] = &[
    0x67, 0x4d, 0x00, 0x29, 0x9a, 0x64, 0x03, 0xc0, 0x11, 0x3f, 0x2c, 0xd4, 0x04, 0x04, 0x05, 0x00, 0x00, 0x03, 0x03,
    0xe8, 0x00, 0x00, 0xea, 0x60, 0x04,
];
const PPS: &[u8] = &[0x68, 0xee, 0x3c, 0x80];
const SEI: &[u8] = &[6, 5, 1, 2, 3];

#[test]
fn parameter_sets_leave_sei_stays_and_marks_on_them_end_nothing() {
    let (mut sink, mut depack) = (Collected::default(), Depacketizer::new(&[]));
    for (i, (mark, ts, nal)) in
        [(true, 1, SPS), (true, 1, PPS), (true, 1, SEI), (true, 2, &[0x65, 1, 2][..]), (false, 3, &[0x41, 9])]
            .into_iter()
            .enumerate()
    {
        depack.push(&packet(i as u16, ts, mark, nal), 0, &mut sink).unwrap();
    }
    depack.push(&packet(5, 4, false, &[0x41, 8]), 0, &mut sink).unwrap();
    assert_eq!(sink.changes, 1);
    assert_eq!(sink.units[0], (Unit { timestamp: 2, key: true, picture: true, lost: 0 }, avcc(&[SEI, &[0x65, 1, 2]])));
    assert_eq!(sink.units[1], (Unit { timestamp: 3, key: false, picture: true, lost: 0 }, avcc(&[&[0x41, 9]])));
    assert_eq!(depack.parameters().sps().map(|s| (s.width, s.height)), Some((1920, 1080)));
}

#[test]
fn annex_b_inside_one_nal_unit_is_taken_apart() {
    let (mut sink, mut depack) = (Collected::default(), Depacketizer::new(&[]));
    let stream = [SPS, &[0, 0, 0, 1], PPS, &[0, 0, 1], SEI, &[0, 0, 0, 1], &[0x65, 7, 7, 0, 0]].concat();
    depack.push(&packet(0, 1, true, &stream), 0, &mut sink).unwrap();
    assert!(depack.parameters().is_complete());
    assert_eq!(sink.units[0].1, avcc(&[SEI, &[0x65, 7, 7]]));
    assert!(sink.units[0].0.key && sink.changes == 1);
    // The same inside FU-A.
    let (mut sink, mut depack) = (Collected::default(), Depacketizer::new(&[]));
    let (one, two) = stream[1..].split_at(24);
    depack.push(&packet(0, 1, false, &[&[0x7c, 0x87], one].concat()), 0, &mut sink).unwrap();
    depack.push(&packet(1, 1, true, &[&[0x7c, 0x47], two].concat()), 0, &mut sink).unwrap();
    assert_eq!(sink.units[0].1, avcc(&[SEI, &[0x65, 7, 7]]));
}

#[test]
fn loss_inside_an_access_unit_drops_it_and_is_counted_on_the_next() {
    let (mut sink, mut depack) = (Collected::default(), Depacketizer::new(&[]));
    depack.push(&packet(0, 1, false, &[0x7c, 0x85, 1]), 0, &mut sink).unwrap();
    depack.push(&packet(3, 1, false, &[0x7c, 0x05, 1]), 2, &mut sink).unwrap();
    depack.push(&packet(4, 1, true, &[0x7c, 0x45, 1]), 0, &mut sink).unwrap();
    depack.push(&packet(5, 2, true, &[0x41, 1]), 0, &mut sink).unwrap();
    assert_eq!(sink.units, [(Unit { timestamp: 2, key: false, picture: true, lost: 2 }, avcc(&[&[0x41, 1]]))]);
    // The tail of the last one lost, the head of the next one too.
    depack.push(&packet(6, 3, false, &[0x41, 2]), 0, &mut sink).unwrap();
    depack.push(&packet(9, 4, false, &[0x7c, 0x01, 2]), 2, &mut sink).unwrap();
    depack.push(&packet(10, 5, true, &[0x41, 3]), 0, &mut sink).unwrap();
    assert_eq!(sink.units.len(), 2);
    assert_eq!(sink.units[1].0.timestamp, 5);
}

#[test]
fn a_stream_joined_in_the_middle_of_a_nal_unit_waits_for_the_next_one() {
    let (mut sink, mut depack) = (Collected::default(), Depacketizer::new(&[]));
    depack.push(&packet(0, 1, false, &[0x7c, 0x05, 1]), 0, &mut sink).unwrap();
    depack.push(&packet(1, 1, true, &[0x7c, 0x45, 1]), 0, &mut sink).unwrap();
    depack.push(&packet(2, 2, true, &[0x7c, 0xc5, 1]), 0, &mut sink).unwrap();
    assert_eq!(sink.units[0].1, avcc(&[&[0x65, 1]]));
}

#[test]
fn interleaved_modes_are_refused_by_name_and_damage_costs_one_access_unit() {
    for (kind, name) in [(25, "STAP-B"), (26, "MTAP"), (27, "MTAP"), (29, "FU-B")] {
        let error =
            Depacketizer::new(&[]).push(&packet(0, 1, true, &[kind, 1]), 0, &mut Collected::default()).unwrap_err();
        assert!(error.is_fatal() && error.to_string().contains(name));
    }
    for bad in [&[][..], &[0x81, 1], &[24], &[24, 0, 5, 1], &[24, 0, 0], &[0x1c], &[0x1c, 0x9e, 1], &[30, 1], &[0]] {
        let (mut sink, mut depack) = (Collected::default(), Depacketizer::new(&[]));
        depack.push(&packet(0, 1, false, &[0x41, 1]), 0, &mut sink).unwrap();
        assert!(!depack.push(&packet(1, 1, false, bad), 0, &mut sink).unwrap_err().is_fatal(), "{bad:?}");
        depack.push(&packet(2, 1, true, &[0x41, 1]), 0, &mut sink).unwrap();
        depack.push(&packet(3, 2, true, &[0x41, 2]), 0, &mut sink).unwrap();
        assert_eq!(sink.units.len(), 1, "{bad:?}");
    }
}

#[test]
fn oversized_access_units_end_within_the_limit() {
    let (mut sink, mut depack) = (Collected::default(), Depacketizer::new(&[]));
    let mut piece = vec![0xff; 60_000];
    piece[..2].copy_from_slice(&[0x7c, 0x85]);
    depack.push(&packet(0, 1, false, &piece), 0, &mut sink).unwrap();
    piece[1] = 0x05;
    let error = (1..1000).find_map(|i| depack.push(&packet(i, 1, false, &piece), 0, &mut sink).err());
    assert_eq!(error, Some(H264Error::TooLarge));
    assert!(sink.buffer.unit().is_empty());
    let many = (0..2000).find_map(|i| depack.push(&packet(i, 2, false, &[0x41, 1]), 0, &mut sink).err());
    assert_eq!(many, Some(H264Error::TooLarge));
}

#[test]
fn search_for_start_codes_finds_each_alignment() {
    for pad in 0..7 {
        let mut bytes = vec![5; pad];
        bytes.extend_from_slice(&[0, 0, 1, 9]);
        assert_eq!(start_code(&bytes), Some(pad));
    }
    assert_eq!(start_code(&[0, 0, 0, 1]), Some(1));
    assert_eq!(start_code(&[0, 1, 0, 2, 0, 0]), None);
    assert_eq!(annex_b(&[0, 0, 0, 1, 9, 0, 0, 1, 8, 0]).collect::<Vec<_>>(), [&[9][..], &[8]]);
}

/// NAL units without start codes and without zeros at the end.
fn nal(kinds: &'static [u8]) -> impl Strategy<Value = Vec<u8>> {
    (prop::sample::select(kinds), prop::collection::vec(1..=255_u8, 1..4000)).prop_map(|(kind, mut body)| {
        body.insert(0, 0x60 | kind);
        body
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_packetised_comes_back(
        units in prop::collection::vec((prop::collection::vec(nal(&[6, 9]), 0..3), prop::collection::vec(nal(&[1, 5]), 1..4)), 1..6),
        mtu in 15..1500_usize, aggregate: bool, sequence: u16,
    ) {
        let mut packets = Vec::new();
        let mut packetizer = Packetizer { mtu, payload_type: 96, ssrc: 7, sequence, aggregate };
        let mut expected = Vec::new();
        for (i, (before, pictures)) in units.iter().enumerate() {
            let nals: Vec<&[u8]> = before.iter().chain(pictures).map(Vec::as_slice).collect();
            packetizer.unit(i as u32 * 3000, &nals, |p| packets.push(p.to_vec()));
            expected.push(avcc(&nals));
        }
        let (mut sink, mut depack, mut receiver) = (Collected::default(), Depacketizer::new(&[]), Receiver::new(96));
        for bytes in &packets {
            prop_assert!(bytes.len() <= mtu);
            let parsed = Packet::parse(bytes).unwrap();
            prop_assert_eq!(receiver.accept(&parsed), Ok(Order::Next));
            depack.push(&parsed, 0, &mut sink).unwrap();
        }
        let units: Vec<_> = sink.units.into_iter().map(|u| u.1).collect();
        prop_assert_eq!(units, expected);
    }

    #[test]
    fn any_payloads_are_survived_within_bounds(
        packets in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..40), 0..3_u32, any::<bool>(), 0..3_u16), 0..60)
    ) {
        let (mut sink, mut depack) = (Collected::default(), Depacketizer::new(&[]));
        let mut total = 0;
        for (i, (payload, ts, mark, lost)) in packets.iter().enumerate() {
            let _ = depack.push(&packet(i as u16, *ts, *mark, payload), *lost, &mut sink);
            total += 5 * payload.len();
            prop_assert!(sink.buffer.bytes.len() <= total);
        }
        for (_, bytes) in &sink.units {
            let mut rest = &bytes[..];
            while let Some((len, after)) = rest.split_first_chunk::<4>() {
                rest = &after[u32::from_be_bytes(*len) as usize..];
            }
            prop_assert!(rest.is_empty());
        }
    }
}
