//! RTP and RTCP: what is read can be written; a compound is the sum of its parts; no packet is delivered twice.

use super::{Input, reached};
use peri_domain::limits::RTP_LATE_MAX;
use peri_media::rtp::{Order, Packet, Receiver, Rtcp, SenderClock, parse_rtcp};

/// A first packet for the round trip, then pieces as packets of one stream for the order check.
pub(crate) fn rtp(data: &[u8]) {
    if let Ok(packet) = Packet::parse(data) {
        reached();
        assert!(data.as_ptr_range().start <= packet.payload.as_ptr_range().start);
        let mut plain = Vec::new();
        packet.write(&mut plain);
        assert_eq!(Packet::parse(&plain), Ok(packet));
        if data[0] == 0x80 {
            assert_eq!(plain, data, "a plain header is written as it came");
        }
    }
    let mut input = Input(data);
    let mut receiver = Receiver::new(96);
    let mut last = None;
    let (mut accepted, mut dropped, mut lost) = (0, 0, 0);
    while !input.is_empty() {
        let flags = input.byte();
        let sequence = u16::from_be_bytes([input.byte(), input.byte()]);
        let ssrc = u32::from(flags >> 7);
        let packet = Packet { marker: false, payload_type: 96, sequence, timestamp: 0, ssrc, payload: b"x" };
        match receiver.accept(&packet) {
            Ok(Order::Duplicate) => dropped += 1,
            Ok(order) => {
                accepted += 1;
                if let Order::Gap { lost: missing } = order {
                    assert!(missing > 0);
                    lost += u64::from(missing);
                } else if let Some(last) = last {
                    assert_eq!(sequence, u16::wrapping_add(last, 1));
                }
                let behind = last.map(|last| u16::wrapping_sub(last, sequence));
                assert!(behind.is_none_or(|behind| behind >= RTP_LATE_MAX), "delivered twice or late");
                last = Some(sequence);
            }
            Err(_) => assert!(receiver.ssrc().is_some_and(|known| known != ssrc)),
        }
    }
    assert_eq!((receiver.packets, receiver.duplicates, receiver.lost), (accepted, dropped, lost));
}

fn parts(bytes: &[u8]) -> (Vec<Rtcp>, bool) {
    let mut out = Vec::new();
    let good = parse_rtcp(bytes, |part| out.push(part)).is_ok();
    (out, good)
}

/// A compound reads as its parts one after the other, up to the first bad one.
pub(crate) fn rtcp(data: &[u8]) {
    let (whole, good) = parts(data);
    let (mut summed, mut all, mut at) = (Vec::new(), true, 0);
    while all && at < data.len() {
        let len = data.get(at + 2..at + 4).map_or(4, |len| 4 + 4 * usize::from(u16::from_be_bytes([len[0], len[1]])));
        let end = (at + len).min(data.len());
        let (part, good) = parts(&data[at..end]);
        summed.extend(part);
        all = good;
        at = end;
    }
    assert_eq!((&whole, good), (&summed, all));
    let mut clock = SenderClock::default();
    for report in whole {
        let Rtcp::SenderReport { ntp, rtp, .. } = report else { continue };
        clock.report(ntp, rtp);
        reached();
        let (nanos, at) = clock.latest().expect("there was a report");
        assert_eq!(at, rtp);
        // Back to NTP, within the rounding of a nanosecond (4.3 steps of 2^-32 s).
        let secs = (nanos.div_euclid(1_000_000_000) + 2_208_988_800) as u64 & 0xffff_ffff;
        assert_eq!(secs, ntp >> 32, "{nanos}");
        let fraction = nanos.rem_euclid(1_000_000_000) as u64;
        assert!((ntp & 0xffff_ffff).abs_diff((fraction << 32) / 1_000_000_000) <= 5);
        assert!(clock.drift_ppm().is_none_or(f64::is_finite));
    }
}
