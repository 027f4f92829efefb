//! RTP payloads of H.264 (RFC 6184) to access units, without collecting them anywhere first.
//!
//! [`Depacketizer::push`] appends the bytes of each NAL unit once, with a 4-byte length before it, to the [`UnitBuffer`] of
//! the [`Sink`]; for a fragment that buffer *is* the later `mdat`. Single NAL units, STAP-A and FU-A are read (packetization
//! modes 0 and 1); STAP-B, MTAP and FU-B are refused by name.
//!
//! ```text
//!         packet            marker, or another timestamp after a NAL unit that may end a picture
//!  Idle ─────────▶ Unit ───────────────────────────────────────▶ Done ──packet──▶ Unit
//!                   │ loss or damage inside                        ▲
//!                   └─────────▶ Skip (same timestamp) ──new timestamp──▶ Unit
//! ```
//! - SPS and PPS never reach the buffer: they go to [`ParameterSets`], and the picture that follows announces a change.
//! - SEI is kept: cameras sign and time-stamp pictures there. Access unit delimiters are kept too: samples stay
//!   byte for byte what the camera sent, `avc1` allows them, and they cost six bytes.
//! - An access unit never ends with SPS, PPS or SEI (H.264 7.4.1.2.3): markers and timestamps that say otherwise are a
//!   known fault of cameras and are ignored.
//! - Some cameras pack several NAL units with Annex B start codes into one. Non-picture units are always searched for
//!   them, picture units until [`PROBE_UNITS`] in a row were clean; that keeps the search out of the running cost.
//!
//! Invariant: what [`Sink::unit`] sees is complete: no access unit with a packet missing inside gets there.

pub mod packetize;
pub mod params;

use crate::rtp::Packet;
use params::{ParamError, ParameterSets};
use peri_domain::limits::{ACCESS_UNIT_BYTES_MAX, ACCESS_UNIT_NALS_MAX, PARAMETER_SETS_MAX};

/// Clean picture units after which the search for stray start codes ends; a broken camera shows itself in the first.
const PROBE_UNITS: u16 = 64;

/// A packet or access unit that cannot be used. The access unit is dropped; the next one is tried unless [`Self::is_fatal`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum H264Error {
    /// Packetization we do not read.
    #[error(
        "the camera sends {0} (interleaved packetization, RFC 6184 section 5.7); choose packetization mode 0 or 1 in the camera"
    )]
    Interleaved(&'static str),
    /// Not a payload of RFC 6184.
    #[error("damaged H.264 payload: {0}")]
    Damaged(&'static str),
    /// More than an access unit may have.
    #[error(
        "access unit exceeds {ACCESS_UNIT_BYTES_MAX} bytes or {ACCESS_UNIT_NALS_MAX} NAL units; lower the bit rate of key frames in the camera"
    )]
    TooLarge,
    /// Unusable SPS or PPS.
    #[error(transparent)]
    Parameters(#[from] ParamError),
}

impl H264Error {
    /// Whether every further packet would fail the same way.
    #[must_use]
    pub const fn is_fatal(&self) -> bool {
        matches!(self, Self::Interleaved(_))
    }
}

/// Bytes of finished access units followed by those of the running one.
#[derive(Debug, Default)]
pub struct UnitBuffer {
    pub(crate) bytes: Vec<u8>,
    pub(crate) unit_at: usize,
    nal_at: Option<usize>,
}

impl UnitBuffer {
    /// The running access unit: NAL units with 4-byte big-endian lengths.
    #[must_use]
    pub fn unit(&self) -> &[u8] {
        &self.bytes[self.unit_at..]
    }

    /// Makes the running access unit a finished one.
    pub fn keep_unit(&mut self) {
        self.nal_at = None;
        self.unit_at = self.bytes.len();
    }

    /// Drops the running access unit.
    pub fn drop_unit(&mut self) {
        self.nal_at = None;
        self.bytes.truncate(self.unit_at);
    }

    /// The running access unit was moved to `unit_at` from `from`: the running NAL unit moved with it.
    pub(crate) fn move_nal(&mut self, from: usize) {
        self.nal_at = self.nal_at.map(|at| self.unit_at + at.saturating_sub(from));
    }

    fn begin(&mut self, header: u8) {
        self.nal_at = Some(self.bytes.len());
        self.bytes.extend_from_slice(&[0, 0, 0, 0, header]);
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), H264Error> {
        if self.bytes.len() - self.unit_at + bytes.len() > ACCESS_UNIT_BYTES_MAX {
            return Err(H264Error::TooLarge);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// Where the running NAL unit lies without its length, trailing zeros cut (H.264 7.4.1 forbids them).
    fn finish(&mut self) -> usize {
        let at = self.nal_at.take().unwrap_or(self.bytes.len());
        let body = at + 4;
        while self.bytes.len() > body + 1 && self.bytes.last() == Some(&0) {
            self.bytes.pop();
        }
        let len = self.bytes.len().saturating_sub(body) as u32;
        if let Some(prefix) = self.bytes.get_mut(at..body) {
            prefix.copy_from_slice(&len.to_be_bytes());
        }
        body
    }
}

/// The first picture byte of an access unit is about to be appended.
#[derive(Debug)]
pub struct Picture<'a> {
    /// RTP timestamp.
    pub timestamp: u32,
    /// Whether it is an IDR picture.
    pub key: bool,
    /// Parameter sets in force from here.
    pub parameters: &'a ParameterSets,
    /// Whether they differ from those of the last picture.
    pub changed: bool,
    /// Packets lost since the last access unit, as [`Unit::lost`].
    pub lost: u16,
}

/// An access unit is complete; its bytes are [`UnitBuffer::unit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    /// RTP timestamp.
    pub timestamp: u32,
    /// Whether it is an IDR picture and nothing else.
    pub key: bool,
    /// Whether it holds a picture at all.
    pub picture: bool,
    /// Packets lost before it since the last unit.
    pub lost: u16,
}

/// Where access units go. A sink that fails keeps its error for the caller to look at after the push.
pub trait Sink {
    /// The buffer to append to.
    fn buffer(&mut self) -> &mut UnitBuffer;
    /// Called once per access unit, before the first slice and after everything that precedes it.
    fn picture(&mut self, picture: &Picture<'_>);
    /// The running access unit is complete; the sink keeps or drops it.
    fn unit(&mut self, unit: Unit);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Unit,
    Done,
    Skip(u32),
}

/// The state between two packets of one stream.
#[derive(Debug)]
pub struct Depacketizer {
    state: State,
    sets: ParameterSets,
    sets_changed: bool,
    staged: Vec<Vec<u8>>,
    /// Header of the NAL unit whose fragments are arriving.
    fragmented: Option<u8>,
    timestamp: u32,
    nals: usize,
    last_type: u8,
    picture: bool,
    key: bool,
    lost: u16,
    /// Clean units left to look at; `u16::MAX`: a start code was found, look for ever.
    probe: u16,
}

impl Depacketizer {
    /// For a stream whose SDP announced these parameter sets (possibly none; unusable ones are ignored).
    #[must_use]
    pub fn new(announced: &[Vec<u8>]) -> Self {
        let mut sets = ParameterSets::default();
        let split: Vec<Vec<u8>> = announced.iter().flat_map(|s| packetize::annex_b(s)).map(<[u8]>::to_vec).collect();
        let sets_changed = sets.take(&split).unwrap_or(false);
        Self {
            state: State::Idle,
            sets,
            sets_changed,
            staged: Vec::new(),
            fragmented: None,
            timestamp: 0,
            nals: 0,
            last_type: 0,
            picture: false,
            key: false,
            lost: 0,
            probe: PROBE_UNITS,
        }
    }

    /// Parameter sets seen so far.
    #[must_use]
    pub const fn parameters(&self) -> &ParameterSets {
        &self.sets
    }

    /// Takes one packet in order; `lost` packets are missing before it.
    ///
    /// # Errors
    /// [`H264Error`]; the access unit it belongs to is dropped and the stream may go on.
    pub fn push(&mut self, packet: &Packet<'_>, lost: u16, sink: &mut impl Sink) -> Result<(), H264Error> {
        let timestamp = packet.timestamp;
        match self.state {
            State::Unit if lost > 0 => {
                sink.buffer().drop_unit();
                if self.timestamp == timestamp {
                    self.lost = self.lost.saturating_add(lost);
                    self.skip(packet);
                    return Ok(());
                }
                self.start(timestamp, lost);
            }
            State::Unit if self.timestamp != timestamp => {
                if self.fragmented.is_some() {
                    sink.buffer().drop_unit();
                    self.start(timestamp, 0);
                } else if self.nals > 0 && can_end_unit(self.last_type) {
                    self.end(sink);
                    self.start(timestamp, 0);
                } else {
                    self.timestamp = timestamp;
                }
            }
            State::Unit => {}
            State::Skip(of) if of == timestamp => {
                self.lost = self.lost.saturating_add(lost);
                return Ok(());
            }
            State::Idle | State::Done | State::Skip(_) => {
                let before = self.lost;
                self.start(timestamp, lost.saturating_add(before));
            }
        }
        let first_ever = self.state == State::Idle;
        self.state = State::Unit;
        let result = self.payload(packet, lost > 0 || first_ever, sink);
        match result {
            Ok(true) => {}
            Ok(false) => {
                sink.buffer().drop_unit();
                self.skip(packet);
                return Ok(());
            }
            Err(error) => {
                sink.buffer().drop_unit();
                self.skip(packet);
                return Err(error);
            }
        }
        if packet.marker && self.nals > 0 && self.fragmented.is_none() && can_end_unit(self.last_type) {
            self.end(sink);
            self.state = State::Done;
        }
        Ok(())
    }

    fn start(&mut self, timestamp: u32, lost: u16) {
        self.timestamp = timestamp;
        self.lost = lost;
        self.nals = 0;
        self.last_type = 0;
        self.picture = false;
        self.key = false;
        self.fragmented = None;
        self.staged.clear();
    }

    fn skip(&mut self, packet: &Packet<'_>) {
        self.fragmented = None;
        self.staged.clear();
        self.state = if packet.marker { State::Done } else { State::Skip(packet.timestamp) };
    }

    fn end(&mut self, sink: &mut impl Sink) {
        // Sets that came without a picture wait for the next one.
        if let Ok(changed) = self.sets.take(&self.staged) {
            self.sets_changed |= changed;
        }
        self.staged.clear();
        let unit = Unit { timestamp: self.timestamp, key: self.key, picture: self.picture, lost: self.lost };
        self.lost = 0;
        sink.unit(unit);
    }

    /// `Ok(false)`: the middle of a NAL unit whose start was lost.
    fn payload(&mut self, packet: &Packet<'_>, after_gap: bool, sink: &mut impl Sink) -> Result<bool, H264Error> {
        let payload = packet.payload;
        let header = *payload.first().ok_or(H264Error::Damaged("empty payload"))?;
        if header & 0x80 != 0 {
            return Err(H264Error::Damaged("forbidden bit set (RFC 6184 section 5.3)"));
        }
        if self.fragmented.is_some() && header & 0x1f != 28 {
            return Err(H264Error::Damaged("another NAL unit in the middle of a fragmented one"));
        }
        match header & 0x1f {
            1..=23 => self.whole(payload, true, sink)?,
            24 => {
                let mut rest = &payload[1..];
                if rest.is_empty() {
                    return Err(H264Error::Damaged("empty STAP-A"));
                }
                while !rest.is_empty() {
                    let (len, after) =
                        rest.split_first_chunk::<2>().ok_or(H264Error::Damaged("STAP-A ends inside a length"))?;
                    let len = usize::from(u16::from_be_bytes(*len));
                    let nal = after.get(..len).filter(|n| !n.is_empty());
                    self.whole(nal.ok_or(H264Error::Damaged("STAP-A with an impossible length"))?, true, sink)?;
                    rest = &after[len..];
                }
            }
            28 => return self.fragment(packet, header, after_gap, sink),
            25 => return Err(H264Error::Interleaved("STAP-B")),
            26 | 27 => return Err(H264Error::Interleaved("MTAP")),
            29 => return Err(H264Error::Interleaved("FU-B")),
            _ => return Err(H264Error::Damaged("undefined NAL unit type")),
        }
        Ok(true)
    }

    /// FU-A, RFC 6184 section 5.8.
    fn fragment(
        &mut self,
        packet: &Packet<'_>,
        indicator: u8,
        after_gap: bool,
        sink: &mut impl Sink,
    ) -> Result<bool, H264Error> {
        let (head, piece) = packet.payload.split_first_chunk::<2>().ok_or(H264Error::Damaged("FU-A without header"))?;
        let (first, last) = (head[1] & 0x80 != 0, head[1] & 0x40 != 0);
        let header = indicator & 0xe0 | head[1] & 0x1f;
        if packet.marker && !last {
            return Err(H264Error::Damaged("access unit ends inside a fragmented NAL unit"));
        }
        match (first, self.fragmented) {
            (true, Some(_)) => return Err(H264Error::Damaged("FU-A begins while another one runs")),
            (true, None) => {
                self.begin(header, sink)?;
                self.fragmented = Some(header);
            }
            (false, Some(_)) => {}
            (false, None) if after_gap => return Ok(false),
            (false, None) => return Err(H264Error::Damaged("FU-A continues what never began")),
        }
        sink.buffer().append(piece)?;
        if last {
            // Both bits at once are forbidden, but some cameras send small NAL units so.
            let header = self.fragmented.take().unwrap_or(header);
            self.finish(header, true, sink)?;
        }
        Ok(true)
    }

    fn whole(&mut self, nal: &[u8], search: bool, sink: &mut impl Sink) -> Result<(), H264Error> {
        let header = nal[0];
        self.begin(header, sink)?;
        sink.buffer().append(&nal[1..])?;
        self.finish(header, search, sink)
    }

    fn begin(&mut self, header: u8, sink: &mut impl Sink) -> Result<(), H264Error> {
        let kind = header & 0x1f;
        if header & 0x80 != 0 || kind == 0 || kind > 23 {
            return Err(H264Error::Damaged("undefined NAL unit type"));
        }
        self.nals += 1;
        if self.nals > ACCESS_UNIT_NALS_MAX {
            return Err(H264Error::TooLarge);
        }
        self.last_type = kind;
        if (1..=5).contains(&kind) {
            if !self.picture {
                self.picture = true;
                self.key = kind == 5;
                self.sets_changed |= self.sets.take(&self.staged)?;
                self.staged.clear();
                let changed = core::mem::take(&mut self.sets_changed);
                let Self { timestamp, key, lost, .. } = *self;
                sink.picture(&Picture { timestamp, key, parameters: &self.sets, changed, lost });
            }
            self.key &= kind == 5;
        }
        sink.buffer().begin(header);
        Ok(())
    }

    fn finish(&mut self, header: u8, search: bool, sink: &mut impl Sink) -> Result<(), H264Error> {
        let kind = header & 0x1f;
        let buffer = sink.buffer();
        let body = buffer.finish();
        if search && (self.probe > 0 || matches!(kind, 6..=9)) {
            if start_code(&buffer.bytes[body..]).is_some() {
                return self.split(body, sink);
            }
            if kind <= 5 && self.probe < u16::MAX {
                self.probe -= 1;
            }
        }
        if matches!(kind, 7 | 8) {
            let nal = buffer.bytes[body..].to_vec();
            buffer.bytes.truncate(body - 4);
            if self.staged.len() >= 2 * PARAMETER_SETS_MAX {
                return Err(ParamError::TooMuch.into());
            }
            self.staged.push(nal);
        }
        Ok(())
    }

    /// The NAL unit at `body` is really an Annex B stream: takes it out and puts its parts in, one by one.
    fn split(&mut self, body: usize, sink: &mut impl Sink) -> Result<(), H264Error> {
        self.probe = u16::MAX;
        self.nals -= 1;
        let buffer = sink.buffer();
        let stream = buffer.bytes[body..].to_vec();
        buffer.bytes.truncate(body - 4);
        packetize::annex_b(&stream).try_for_each(|nal| self.whole(nal, false, sink))
    }
}

/// H.264 7.4.1.2.3: SPS, PPS and SEI precede the picture of their access unit.
const fn can_end_unit(kind: u8) -> bool {
    !matches!(kind, 6..=8)
}

/// Position of the first `00 00 01`.
pub(crate) fn start_code(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    // Every start code has its 1 at an index of at least 2: look for that byte's neighbourhood in steps of three.
    while let Some(window) = bytes.get(from..from + 3) {
        match window[2] {
            0 => from += 1,
            1 if window[0] == 0 && window[1] == 0 => return Some(from),
            _ => from += 3,
        }
    }
    None
}

#[cfg(test)]
mod tests;
