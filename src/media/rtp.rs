//! RTP and RTCP (RFC 3550) as a camera sends them over TCP: header, order, loss, sender reports.
//!
//! What does not belong: payload formats (`h264`), framing in the RTSP connection (`rtsp`).
//! Invariants: borrowed payloads, no allocation per packet; a packet is never delivered twice; one SSRC per SETUP.

use peri_domain::limits::RTP_LATE_MAX;

/// A packet that breaks RFC 3550.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RtpError {
    /// Shorter than its own header says.
    #[error("RTP packet of {len} bytes is cut off in its {part}")]
    Short {
        /// Bytes there.
        len: usize,
        /// Which part is missing.
        part: &'static str,
    },
    /// Not version 2.
    #[error("RTP version {0}, expected 2: the camera's stream is damaged")]
    Version(u8),
    /// Padding longer than the payload.
    #[error("RTP padding of {padding} bytes exceeds the payload of {payload} bytes")]
    Padding {
        /// Padding length byte.
        padding: u8,
        /// Payload length with padding.
        payload: usize,
    },
    /// Another source speaks on our channel.
    #[error(
        "the stream changed its source from {from:08x} to {to:08x} without a new SETUP: another sender, or the camera restarted; reconnect"
    )]
    SourceChanged {
        /// SSRC until now.
        from: u32,
        /// SSRC of this packet.
        to: u32,
    },
    /// Not the payload type that SDP announced.
    #[error("RTP payload type {found}, the camera announced {expected}")]
    PayloadType {
        /// Of the packet.
        found: u8,
        /// Of the SDP.
        expected: u8,
    },
}

/// A parsed packet; the payload borrows from the read buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Marker bit; for H.264 the last packet of an access unit.
    pub marker: bool,
    /// 7-bit payload type.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp in ticks of the media clock.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
    /// Payload without padding.
    pub payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Parses one packet (RFC 3550 section 5.1, header extension section 5.3.1).
    ///
    /// # Errors
    /// [`RtpError`] naming what is wrong.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RtpError> {
        let len = bytes.len();
        let short = |part| RtpError::Short { len, part };
        let (fixed, rest) = bytes.split_first_chunk::<12>().ok_or_else(|| short("header"))?;
        if fixed[0] >> 6 != 2 {
            return Err(RtpError::Version(fixed[0] >> 6));
        }
        let csrc = 4 * usize::from(fixed[0] & 15);
        let mut payload = rest.get(csrc..).ok_or_else(|| short("CSRC list"))?;
        if fixed[0] & 0x10 != 0 {
            let (head, rest) = payload.split_first_chunk::<4>().ok_or_else(|| short("header extension"))?;
            let words = usize::from(u16::from_be_bytes([head[2], head[3]]));
            payload = rest.get(4 * words..).ok_or_else(|| short("header extension"))?;
        }
        if fixed[0] & 0x20 != 0 {
            let padding = payload.last().copied().ok_or_else(|| short("padding"))?;
            let keep = payload.len().checked_sub(usize::from(padding)).filter(|_| padding > 0);
            payload = &payload[..keep.ok_or(RtpError::Padding { padding, payload: payload.len() })?];
        }
        Ok(Self {
            marker: fixed[1] & 0x80 != 0,
            payload_type: fixed[1] & 0x7f,
            sequence: u16::from_be_bytes([fixed[2], fixed[3]]),
            timestamp: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            ssrc: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
            payload,
        })
    }

    /// Writes the packet with a plain 12-byte header (replayer, tests).
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[0x80, self.payload_type & 0x7f | u8::from(self.marker) << 7]);
        out.extend_from_slice(&self.sequence.to_be_bytes());
        out.extend_from_slice(&self.timestamp.to_be_bytes());
        out.extend_from_slice(&self.ssrc.to_be_bytes());
        out.extend_from_slice(self.payload);
    }
}

/// What the order check says about a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The next one.
    Next,
    /// `lost` packets are missing before this one.
    Gap {
        /// Missing packets; a restarted sequence counts as 1.
        lost: u16,
    },
    /// Seen before or too late; drop it.
    Duplicate,
}

/// Checks source and sequence of one stream between SETUP and its end.
#[derive(Debug)]
pub struct Receiver {
    payload_type: u8,
    ssrc: Option<u32>,
    next: u16,
    /// Packets taken.
    pub packets: u64,
    /// Packets missing.
    pub lost: u64,
    /// Packets dropped as duplicates.
    pub duplicates: u64,
}

impl Receiver {
    /// For a stream of this payload type; the source is learned from the first packet, because cameras announce it
    /// wrongly too often.
    #[must_use]
    pub const fn new(payload_type: u8) -> Self {
        Self { payload_type, ssrc: None, next: 0, packets: 0, lost: 0, duplicates: 0 }
    }

    /// Judges a packet.
    ///
    /// # Errors
    /// [`RtpError::SourceChanged`] and [`RtpError::PayloadType`].
    pub fn accept(&mut self, packet: &Packet<'_>) -> Result<Order, RtpError> {
        if packet.payload_type != self.payload_type {
            return Err(RtpError::PayloadType { found: packet.payload_type, expected: self.payload_type });
        }
        let order = match self.ssrc {
            None => Order::Next,
            Some(from) if from != packet.ssrc => return Err(RtpError::SourceChanged { from, to: packet.ssrc }),
            Some(_) => match packet.sequence.wrapping_sub(self.next) {
                0 => Order::Next,
                lost @ 1..=0x7fff => Order::Gap { lost },
                late if late.wrapping_neg() <= RTP_LATE_MAX => {
                    self.duplicates += 1;
                    return Ok(Order::Duplicate);
                }
                _ => Order::Gap { lost: 1 },
            },
        };
        if let Order::Gap { lost } = order {
            self.lost += u64::from(lost);
        }
        self.packets += 1;
        self.ssrc = Some(packet.ssrc);
        self.next = packet.sequence.wrapping_add(1);
        Ok(order)
    }

    /// Source of the stream, once a packet came.
    #[must_use]
    pub const fn ssrc(&self) -> Option<u32> {
        self.ssrc
    }
}

/// An RTCP packet we care about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rtcp {
    /// Sender report: the camera's idea of UTC at an RTP timestamp.
    SenderReport {
        /// Source.
        ssrc: u32,
        /// NTP time, 32.32 fixed point seconds since 1900.
        ntp: u64,
        /// RTP timestamp of that moment.
        rtp: u32,
    },
    /// The source ends.
    Bye {
        /// First source named.
        ssrc: u32,
    },
}

/// Walks a compound RTCP packet (RFC 3550 section 6.1); unknown parts are skipped.
///
/// # Errors
/// [`RtpError`] at the first part that is cut off or of another version.
pub fn parse_rtcp(bytes: &[u8], mut each: impl FnMut(Rtcp)) -> Result<(), RtpError> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let short = |part| RtpError::Short { len: bytes.len(), part };
        let (head, _) = rest.split_first_chunk::<4>().ok_or_else(|| short("RTCP header"))?;
        if head[0] >> 6 != 2 {
            return Err(RtpError::Version(head[0] >> 6));
        }
        let len = 4 + 4 * usize::from(u16::from_be_bytes([head[2], head[3]]));
        let body = rest.get(4..len).ok_or_else(|| short("RTCP packet"))?;
        match (head[1], head[0] & 31) {
            (200, _) => {
                let (report, _) = body.split_first_chunk::<16>().ok_or_else(|| short("sender report"))?;
                let word = |at: usize| u32::from_be_bytes([report[at], report[at + 1], report[at + 2], report[at + 3]]);
                each(Rtcp::SenderReport {
                    ssrc: word(0),
                    ntp: u64::from(word(4)) << 32 | u64::from(word(8)),
                    rtp: word(12),
                });
            }
            (203, 1..) => {
                let (ssrc, _) = body.split_first_chunk::<4>().ok_or_else(|| short("BYE"))?;
                each(Rtcp::Bye { ssrc: u32::from_be_bytes(*ssrc) });
            }
            _ => {}
        }
        rest = &rest[len..];
    }
    Ok(())
}

/// What the sender reports say about the camera's clock; information for health pages, never used for time stamps.
#[derive(Debug, Default, Clone, Copy)]
pub struct SenderClock {
    first: Option<(u64, u32)>,
    last: Option<(u64, i64)>,
    ticks: i64,
    last_rtp: u32,
}

impl SenderClock {
    /// Takes a report.
    pub fn report(&mut self, ntp: u64, rtp: u32) {
        if self.first.is_none() {
            self.first = Some((ntp, rtp));
        } else {
            self.ticks = self.ticks.saturating_add(i64::from(rtp.wrapping_sub(self.last_rtp) as i32));
        }
        self.last_rtp = rtp;
        self.last = Some((ntp, self.ticks));
    }

    /// Camera's UTC in nanoseconds since 1970 at the last report with that report's RTP timestamp; `None` before one.
    /// Era 0 of NTP ends in 2036; values below 1970 are read as era 1.
    #[must_use]
    pub fn latest(&self) -> Option<(i64, u32)> {
        let (ntp, _) = self.last?;
        const UNIX_IN_NTP: i64 = 2_208_988_800;
        let mut secs = (ntp >> 32) as i64 - UNIX_IN_NTP;
        if secs < 0 {
            secs += 1 << 32;
        }
        let nanos = ((ntp & 0xffff_ffff) * 1_000_000_000) >> 32;
        Some((secs.saturating_mul(1_000_000_000).saturating_add(nanos as i64), self.last_rtp))
    }

    /// How much faster the media clock runs than the camera's own NTP clock, in parts per million, once at least ten
    /// seconds lie between two reports.
    #[must_use]
    pub fn drift_ppm(&self) -> Option<f64> {
        let ((first, _), (last, ticks)) = (self.first?, self.last?);
        let ntp_secs = last.wrapping_sub(first) as i64 as f64 / 4_294_967_296.0;
        (ntp_secs >= 10.0).then(|| (ticks as f64 / 90_000.0 / ntp_secs - 1.0) * 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet(sequence: u16, ssrc: u32) -> Packet<'static> {
        Packet { marker: false, payload_type: 96, sequence, timestamp: 0, ssrc, payload: b"x" }
    }

    #[test]
    fn csrc_extension_and_padding_are_cut_away() {
        let bytes =
            [0xb1, 0xe0, 0, 7, 0, 0, 0, 9, 0, 0, 0, 5, 1, 1, 1, 1, 0xbe, 0xde, 0, 1, 2, 2, 2, 2, b'h', b'i', 0, 2];
        let parsed = Packet::parse(&bytes).unwrap();
        assert_eq!(
            parsed,
            Packet { marker: true, payload_type: 96, sequence: 7, timestamp: 9, ssrc: 5, payload: b"hi" }
        );
        assert_eq!(Packet::parse(&bytes[..27]), Err(RtpError::Padding { padding: 0, payload: 3 }));
        assert_eq!(Packet::parse(&bytes[..22]), Err(RtpError::Short { len: 22, part: "header extension" }));
        assert_eq!(Packet::parse(&[0x40; 12]), Err(RtpError::Version(1)));
    }

    #[test]
    fn gaps_are_counted_duplicates_dropped_and_a_new_source_refused() {
        let mut receiver = Receiver::new(96);
        assert_eq!(receiver.accept(&packet(65_534, 1)), Ok(Order::Next));
        assert_eq!(receiver.accept(&packet(65_535, 1)), Ok(Order::Next));
        assert_eq!(receiver.accept(&packet(2, 1)), Ok(Order::Gap { lost: 2 }));
        assert_eq!(receiver.accept(&packet(2, 1)), Ok(Order::Duplicate));
        assert_eq!(receiver.accept(&packet(30_000, 1)), Ok(Order::Gap { lost: 29_997 }));
        assert_eq!(receiver.accept(&packet(5, 1)), Ok(Order::Gap { lost: 1 }));
        assert_eq!(receiver.accept(&packet(6, 2)), Err(RtpError::SourceChanged { from: 1, to: 2 }));
        assert_eq!((receiver.packets, receiver.lost, receiver.duplicates), (5, 30_000, 1));
        let other = Packet { payload_type: 97, ..packet(6, 1) };
        assert_eq!(receiver.accept(&other), Err(RtpError::PayloadType { found: 97, expected: 96 }));
    }

    #[test]
    fn sender_reports_give_time_and_drift() {
        let mut sr = vec![0x80, 200, 0, 6, 0, 0, 0, 1];
        sr.extend_from_slice(&(2_208_988_800_u32 + 100).to_be_bytes());
        sr.extend_from_slice(&0x8000_0000_u32.to_be_bytes());
        sr.extend_from_slice(&77_u32.to_be_bytes());
        sr.extend_from_slice(&[0; 8]);
        sr.extend_from_slice(&[0x81, 203, 0, 1, 0, 0, 0, 1]);
        let mut seen = Vec::new();
        parse_rtcp(&sr, |r| seen.push(r)).unwrap();
        let Rtcp::SenderReport { ntp, rtp, .. } = seen[0] else { panic!("{seen:?}") };
        assert_eq!(seen[1], Rtcp::Bye { ssrc: 1 });
        let mut clock = SenderClock::default();
        clock.report(ntp, rtp);
        assert_eq!(clock.latest(), Some((100_500_000_000, 77)));
        clock.report(ntp + (100 << 32), rtp + 9_000_900);
        assert!((clock.drift_ppm().unwrap() - 100.0).abs() < 0.1);
        assert!(parse_rtcp(&sr[..10], |_| ()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived_and_lie_within(bytes: Vec<u8>) {
            if let Ok(packet) = Packet::parse(&bytes) {
                prop_assert!(packet.payload.len() + 12 <= bytes.len());
            }
            let _ = parse_rtcp(&bytes, |_| ());
        }

        #[test]
        fn written_packets_parse_back(marker: bool, pt in 0..128_u8, sequence: u16, timestamp: u32, ssrc: u32, payload: Vec<u8>) {
            let packet = Packet { marker, payload_type: pt, sequence, timestamp, ssrc, payload: &payload };
            let mut bytes = Vec::new();
            packet.write(&mut bytes);
            prop_assert_eq!(Packet::parse(&bytes), Ok(packet));
        }
    }
}
