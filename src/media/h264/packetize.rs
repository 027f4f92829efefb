//! The other direction: access units to RTP payloads (RFC 6184), for the replayer, the gateway and tests.
//!
//! Small NAL units are gathered into STAP-A where asked, large ones cut into FU-A. Invariant: no packet exceeds the MTU,
//! the marker is set on the last packet of an access unit alone.

use crate::rtp::Packet;

/// Cuts access units into packets of one stream.
#[derive(Debug, Clone)]
pub struct Packetizer {
    /// Largest RTP packet, header included.
    pub mtu: usize,
    /// Payload type.
    pub payload_type: u8,
    /// Source.
    pub ssrc: u32,
    /// Sequence number of the next packet.
    pub sequence: u16,
    /// Whether neighbouring small NAL units share a packet.
    pub aggregate: bool,
}

impl Packetizer {
    /// Cuts the NAL units of one access unit; each finished packet is handed to `each`.
    ///
    /// # Panics
    /// If the MTU leaves no room for a byte of payload (less than 15).
    pub fn unit(&mut self, timestamp: u32, nals: &[&[u8]], mut each: impl FnMut(&[u8])) {
        assert!(self.mtu >= 15, "an MTU below 15 bytes carries nothing");
        let room = self.mtu - 12;
        let mut payloads: Vec<Vec<u8>> = Vec::new();
        let mut at = 0;
        while at < nals.len() {
            let nal = nals[at];
            at += 1;
            if nal.is_empty() {
                continue;
            }
            if nal.len() > room {
                let (header, body) = (nal[0], &nal[1..]);
                let pieces = body.chunks(room - 2);
                let last = pieces.len() - 1;
                for (i, piece) in pieces.enumerate() {
                    let bits = u8::from(i == 0) << 7 | u8::from(i == last) << 6;
                    let mut payload = vec![header & 0xe0 | 28, bits | header & 0x1f];
                    payload.extend_from_slice(piece);
                    payloads.push(payload);
                }
                continue;
            }
            let mut gathered = vec![nal];
            let mut size = 1 + 2 + nal.len();
            while self.aggregate && at < nals.len() && size + 2 + nals[at].len() <= room && !nals[at].is_empty() {
                size += 2 + nals[at].len();
                gathered.push(nals[at]);
                at += 1;
            }
            if let [single] = gathered[..] {
                payloads.push(single.to_vec());
            } else {
                let importance = gathered.iter().map(|n| n[0] & 0x60).max().unwrap_or(0);
                let mut payload = vec![importance | 24];
                for nal in gathered {
                    payload.extend_from_slice(&u16::try_from(nal.len()).unwrap_or(u16::MAX).to_be_bytes());
                    payload.extend_from_slice(nal);
                }
                payloads.push(payload);
            }
        }
        let last = payloads.len().saturating_sub(1);
        let mut bytes = Vec::with_capacity(self.mtu);
        for (i, payload) in payloads.iter().enumerate() {
            bytes.clear();
            let marker = i == last;
            let Self { payload_type, ssrc, sequence, .. } = *self;
            Packet { marker, payload_type, sequence, timestamp, ssrc, payload }.write(&mut bytes);
            self.sequence = self.sequence.wrapping_add(1);
            each(&bytes);
        }
    }
}

/// The NAL units of an Annex B byte stream, without start codes and trailing zeros.
pub fn annex_b(stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(stream);
    core::iter::from_fn(move || {
        let here = rest?;
        let (nal, after) = match super::start_code(here) {
            Some(at) => (&here[..at], Some(&here[at + 3..])),
            None => (here, None),
        };
        rest = after;
        let end = nal.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
        Some(&nal[..end])
    })
    .filter(|nal| !nal.is_empty())
}
