//! Access units to fragments of fMP4, each at most `FRAGMENT_MAX` of media, unless the camera itself pauses that long
//! between two pictures.
//!
//! The depacketiser appends to the buffer that the fragment is made of; `moof` is written right-aligned into a reserve in
//! front of the payload, so nothing ever moves, and in front of that the caller gets `headroom` free bytes for its own
//! header and the room behind the payload for a tag. Layout of the buffer when a fragment is handed out:
//!
//! ```text
//! | headroom | unused reserve | moof | mdat header | samples … |
//!                              ▲ Fragment::start                ▲ payload.len()
//! ```
//! Rules: a key frame begins a fragment; so does a change of parameter sets, after a new *init* fragment; so does a jump of
//! the camera's clock. Nothing is written before the first key frame with parameter sets. A full fragment goes out with its
//! last picture's marker, without waiting for the next picture: the last duration is then the previous step, which the next
//! fragment's own decode time corrects.
//!
//! What does not belong: sealing, UTC (`wallclock`), files.

use crate::h264::{Picture, Sink, Unit, UnitBuffer};
pub use crate::mp4::Mp4Error;
use crate::mp4::{self, MDAT_HEADER, MOOF_MAX, SampleSize};
use crate::timeline::Timeline;
use peri_domain::MediaDuration;
use peri_domain::limits::{
    ACCESS_UNIT_BYTES_MAX, FRAGMENT_BUFFER_KEEP, FRAGMENT_BYTES_MAX, FRAGMENT_MAX, FRAGMENT_SAMPLES_MAX,
};

/// [`FRAGMENT_MAX`] in ticks of 90 kHz.
const MAX_90K: i64 = FRAGMENT_MAX.as_millis() as i64 * (MediaDuration::HZ as i64) / 1000;

/// What a fragment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `ftyp` + `moov`: needed before the media that follow.
    Init,
    /// `moof` + `mdat`.
    Media,
}

/// A finished fragment on its way out.
#[derive(Debug)]
pub struct Fragment<'a> {
    /// Init or media.
    pub kind: Kind,
    /// Whether it begins with a key frame.
    pub key: bool,
    /// Set on the init fragment that follows a cut ([`Fragmenter::cut_at`], [`Fragmenter::cut`]).
    pub after_cut: bool,
    /// Decode time of the first sample on the unwrapped 90 kHz timeline (of the next one, for init).
    pub start_90k: i64,
    /// Sum of the samples' durations; zero for init.
    pub duration: MediaDuration,
    /// Number of samples.
    pub samples: u32,
    /// The buffer: the fragment is `payload[start..]`; at least `headroom` bytes before `start` may be overwritten and
    /// bytes may be appended. It may also be swapped for another one.
    pub payload: &'a mut Vec<u8>,
    /// Where the fragment begins in `payload`.
    pub start: usize,
}

impl Fragment<'_> {
    /// The bytes of the fragment.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.payload[self.start..]
    }
}

/// Where fragments go. An output that fails keeps its error for the caller to look at.
pub trait Output {
    /// A fragment is ready.
    fn fragment(&mut self, fragment: Fragment<'_>);

    /// The camera's clock jumped by so many ticks (negative: backwards); the timeline goes on without the jump.
    fn clock_jumped(&mut self, at_90k: i64, by_90k: i64);

    /// Boxes could not be written; the samples are lost.
    fn failed(&mut self, error: Mp4Error);
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    at: i64,
    size: u32,
    duration: u32,
    key: bool,
}

/// Collects samples of one connection to a camera.
#[derive(Debug)]
pub struct Fragmenter {
    buffer: UnitBuffer,
    headroom: usize,
    samples: Vec<Sample>,
    timeline: Timeline,
    /// Time of the picture whose bytes are arriving.
    arriving: Option<i64>,
    sequence: u32,
    init: Option<Vec<u8>>,
    init_due: bool,
    after_cut: bool,
    cut_at: Option<i64>,
    /// Access units dropped because no key frame with parameter sets had come yet.
    pub waiting_units: u64,
}

impl Fragmenter {
    /// With so many free bytes before each fragment.
    #[must_use]
    pub fn new(headroom: usize) -> Self {
        let mut new = Self {
            buffer: UnitBuffer::default(),
            headroom,
            samples: Vec::with_capacity(FRAGMENT_SAMPLES_MAX),
            timeline: Timeline::default(),
            arriving: None,
            sequence: 0,
            init: None,
            init_due: false,
            after_cut: false,
            cut_at: None,
            waiting_units: 0,
        };
        new.reset_buffer();
        new
    }

    /// The sink for [`crate::h264::Depacketizer::push`].
    pub fn with<'a, O: Output>(&'a mut self, out: &'a mut O) -> Writer<'a, O> {
        Writer { fragmenter: self, out }
    }

    /// Lets the first sample at or after this time begin a new fragment, with an init fragment before it that says
    /// [`Fragment::after_cut`]: where one epoch ends and the next begins, be it in the middle of a group of pictures.
    pub fn cut_at(&mut self, at_90k: i64) {
        self.cut_at = Some(at_90k);
    }

    /// Hands out what is complete now; the next fragment again comes with an init fragment that says `after_cut`.
    pub fn cut(&mut self, out: &mut impl Output) {
        self.flush(out);
        self.cut_at = None;
        self.init_due = self.init.is_some();
        self.after_cut = true;
    }

    /// Hands out what is complete now, for a camera that stalls or goes away.
    pub fn flush(&mut self, out: &mut impl Output) {
        self.emit(out);
    }

    /// End of the last complete sample on the timeline, as far as known.
    #[must_use]
    pub fn end_90k(&self) -> Option<i64> {
        self.samples.last().map(|s| s.at + i64::from(s.duration))
    }

    /// Timeline of the stream, to place sender reports.
    #[must_use]
    pub const fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    const fn reserve(&self) -> usize {
        self.headroom + MOOF_MAX + MDAT_HEADER
    }

    fn reset_buffer(&mut self) {
        let reserve = self.reserve();
        let bytes = &mut self.buffer.bytes;
        bytes.clear();
        if bytes.capacity() > FRAGMENT_BUFFER_KEEP {
            bytes.shrink_to(FRAGMENT_BUFFER_KEEP / 4);
        }
        bytes.resize(reserve, 0);
        self.buffer.unit_at = reserve;
    }

    fn picture(&mut self, picture: &Picture<'_>, out: &mut impl Output) {
        let placed = self.timeline.place(picture.timestamp);
        let at = placed.at_90k;
        if let Some(by_90k) = placed.jumped_90k {
            self.emit(out);
            out.clock_jumped(at, by_90k);
        } else if let Some(last) = self.samples.last_mut().filter(|_| picture.lost == 0) {
            // Pictures lost in between are a gap, not a longer picture.
            last.duration = u32::try_from(at - last.at).unwrap_or(last.duration);
        }
        if self.cut_at.is_some_and(|cut| at >= cut) {
            self.cut(out);
        }
        let first = self.samples.first().map_or(at, |s| s.at);
        let new_sets = picture.parameters.is_complete()
            && (picture.changed || self.init.is_none())
            && (picture.key || self.init.is_some());
        if picture.key || new_sets || at - first >= MAX_90K {
            self.emit(out);
        }
        if new_sets {
            match mp4::init_segment(picture.parameters) {
                Ok(init) => {
                    self.init = Some(init);
                    self.init_due = true;
                }
                Err(error) => out.failed(error),
            }
        }
        if self.init_due {
            self.emit_init(at, out);
        }
        self.arriving = Some(at);
    }

    fn unit(&mut self, unit: Unit, out: &mut impl Output) {
        let at = self.arriving.take();
        let (Some(at), true, true) = (at, unit.picture, self.init.is_some()) else {
            self.waiting_units += u64::from(unit.picture);
            self.buffer.drop_unit();
            return;
        };
        let size = self.buffer.unit().len() as u32;
        self.buffer.keep_unit();
        let step = self.timeline.step();
        self.samples.push(Sample { at, size, duration: step, key: unit.key });
        let first = self.samples[0].at;
        if at - first + 2 * i64::from(step) > MAX_90K
            || self.samples.len() == FRAGMENT_SAMPLES_MAX
            || self.buffer.bytes.len() > FRAGMENT_BYTES_MAX - ACCESS_UNIT_BYTES_MAX
        {
            self.emit(out);
        }
    }

    fn emit(&mut self, out: &mut impl Output) {
        let Some(first) = self.samples.first().copied() else { return };
        // Bytes of the access unit that is still arriving belong to the next fragment; as a rule these are none, or a
        // delimiter and SEI before a key frame.
        let carried = self.buffer.unit().to_vec();
        let carried_from = self.buffer.unit_at;
        self.buffer.bytes.truncate(self.buffer.unit_at);
        let sizes: Vec<SampleSize> =
            self.samples.iter().map(|s| SampleSize { duration: s.duration, size: s.size }).collect();
        let duration = sizes.iter().fold(0_u32, |sum, s| sum.saturating_add(s.duration));
        let reserve = self.reserve();
        let payload = (self.buffer.bytes.len() - reserve) as u32;
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = [0; MOOF_MAX + MDAT_HEADER];
        let time = u64::try_from(first.at).unwrap_or(0);
        match mp4::media_header(self.sequence, time, first.key, &sizes, payload, &mut header) {
            Ok(len) => {
                let start = reserve - len;
                self.buffer.bytes[start..reserve].copy_from_slice(&header[..len]);
                out.fragment(Fragment {
                    kind: Kind::Media,
                    key: first.key,
                    after_cut: false,
                    start_90k: first.at,
                    duration: MediaDuration(duration),
                    samples: sizes.len() as u32,
                    payload: &mut self.buffer.bytes,
                    start,
                });
            }
            Err(error) => out.failed(error),
        }
        self.samples.clear();
        self.reset_buffer();
        self.buffer.bytes.extend_from_slice(&carried);
        // A cut may come in the middle of a NAL unit whose length is still to be written.
        self.buffer.move_nal(carried_from);
    }

    fn emit_init(&mut self, at: i64, out: &mut impl Output) {
        let Some(init) = &self.init else { return };
        let mut payload = vec![0; self.headroom];
        payload.extend_from_slice(init);
        self.init_due = false;
        out.fragment(Fragment {
            kind: Kind::Init,
            key: false,
            after_cut: core::mem::take(&mut self.after_cut),
            start_90k: at,
            duration: MediaDuration(0),
            samples: 0,
            payload: &mut payload,
            start: self.headroom,
        });
    }
}

/// A [`Fragmenter`] with the output its fragments go to.
#[derive(Debug)]
pub struct Writer<'a, O> {
    fragmenter: &'a mut Fragmenter,
    out: &'a mut O,
}

impl<O: Output> Sink for Writer<'_, O> {
    fn buffer(&mut self) -> &mut UnitBuffer {
        &mut self.fragmenter.buffer
    }

    fn picture(&mut self, picture: &Picture<'_>) {
        self.fragmenter.picture(picture, self.out);
    }

    fn unit(&mut self, unit: Unit) {
        self.fragmenter.unit(unit, self.out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h264::Depacketizer;
    use crate::rtp::Packet;
    use proptest::prelude::*;

    #[derive(Debug, PartialEq)]
    struct Seen {
        kind: Kind,
        key: bool,
        after_cut: bool,
        start: i64,
        duration: u32,
        samples: u32,
        bytes: Vec<u8>,
    }

    #[derive(Default)]
    struct Log {
        seen: Vec<Seen>,
        jumps: Vec<i64>,
    }

    impl Output for Log {
        fn fragment(&mut self, f: Fragment<'_>) {
            assert!(f.start >= 48, "headroom");
            f.payload[..48].fill(0xaa);
            let bytes = f.bytes().to_vec();
            self.seen.push(Seen {
                kind: f.kind,
                key: f.key,
                after_cut: f.after_cut,
                start: f.start_90k,
                duration: f.duration.0,
                samples: f.samples,
                bytes,
            });
        }

        fn clock_jumped(&mut self, _: i64, by: i64) {
            self.jumps.push(by);
        }

        fn failed(&mut self, error: Mp4Error) {
            panic!("{error}");
        }
    }

    const SPS: &[u8] = &[
        0x67, 0x4d, 0x00, 0x29, 0x9a, 0x64, 0x03, 0xc0, 0x11, 0x3f, 0x2c, 0xd4, 0x04, 0x04, 0x05, 0x00, 0x00, 0x03,
        0x03, 0xe8, 0x00, 0x00, 0xea, 0x60, 0x04,
    ];
    const PPS: &[u8] = &[0x68, 0xee, 0x3c, 0x80];

    struct Feed {
        depack: Depacketizer,
        fragmenter: Fragmenter,
        log: Log,
        sequence: u16,
    }

    impl Feed {
        fn new() -> Self {
            Self {
                depack: Depacketizer::new(&[SPS.to_vec(), PPS.to_vec()]),
                fragmenter: Fragmenter::new(48),
                log: Log::default(),
                sequence: 0,
            }
        }

        fn nal(&mut self, timestamp: u32, marker: bool, payload: &[u8]) {
            let packet = Packet { marker, payload_type: 96, sequence: self.sequence, timestamp, ssrc: 1, payload };
            self.sequence = self.sequence.wrapping_add(1);
            let _ = self.depack.push(&packet, 0, &mut self.fragmenter.with(&mut self.log));
        }

        fn media(&self) -> Vec<&Seen> {
            self.log.seen.iter().filter(|s| s.kind == Kind::Media).collect()
        }
    }

    #[test]
    fn a_cut_in_the_middle_of_a_nal_unit_tears_nothing() {
        let mut feed = Feed::new();
        feed.nal(3000, true, &[0x65, 1]);
        feed.nal(6000, true, &[0x41, 2]);
        // FU-A: start, middle, end of one slice; the fragmenter is cut after each piece.
        for (marker, header, byte) in [(false, 0x81, 3), (false, 0x01, 4), (true, 0x41, 5)] {
            feed.nal(9000, marker, &[0x7c, header, byte]);
            feed.fragmenter.cut(&mut feed.log);
        }
        let bytes: Vec<u8> = feed.media().iter().flat_map(|seen| seen.bytes.clone()).collect();
        let whole = [0, 0, 0, 4, 0x61, 3, 4, 5];
        assert!(bytes.windows(whole.len()).any(|window| window == whole), "the slice is whole");
        assert_eq!(feed.media().iter().map(|m| m.samples).sum::<u32>(), 3);
    }

    #[test]
    fn fragments_begin_with_key_frames_stay_below_250_ms_and_hold_the_samples() {
        let mut feed = Feed::new();
        feed.nal(0, true, &[0x41, 1]);
        for i in 1..=40_u32 {
            // 15 pictures a second, a key frame every ten, SEI before it.
            if i % 10 == 1 {
                feed.nal(i * 6000, false, &[6, 5, i as u8]);
                feed.nal(i * 6000, true, &[0x65, i as u8]);
            } else {
                feed.nal(i * 6000, true, &[0x41, i as u8]);
            }
        }
        feed.fragmenter.flush(&mut feed.log);
        assert_eq!(feed.fragmenter.waiting_units, 1);
        assert_eq!(feed.log.seen[0].kind, Kind::Init);
        assert_eq!(&feed.log.seen[0].bytes[4..8], b"ftyp");
        let media = feed.media();
        assert_eq!(media.iter().map(|m| m.samples).sum::<u32>(), 40);
        let mut at = 6000;
        for fragment in &media {
            assert_eq!(fragment.start, at);
            at += i64::from(fragment.duration);
            assert!(fragment.duration <= 22_500 && &fragment.bytes[4..8] == b"moof");
        }
        assert_eq!(
            media.iter().filter(|m| m.key).map(|m| m.start).collect::<Vec<_>>(),
            [6000, 66_000, 126_000, 186_000]
        );
        assert!(media[0].bytes.windows(13).any(|w| w == [0, 0, 0, 3, 6, 5, 1, 0, 0, 0, 2, 0x65, 1]));
    }

    #[test]
    fn full_fragment_does_not_wait_for_the_next_picture() {
        let mut feed = Feed::new();
        for i in 0..3_u32 {
            feed.nal(i * 6000, true, &[if i == 0 { 0x65 } else { 0x41 }, 1]);
        }
        assert_eq!(feed.media().len(), 1);
        assert_eq!((feed.media()[0].samples, feed.media()[0].duration), (3, 18_000));
    }

    #[test]
    fn changed_parameter_sets_give_a_new_init_and_a_cut_gives_it_again() {
        let mut feed = Feed::new();
        feed.nal(0, true, &[0x65, 1]);
        let other = [
            0x27, 0x4d, 0xe0, 0x28, 0x8d, 0x68, 0x05, 0x00, 0x5b, 0xa1, 0, 0, 3, 0, 1, 0, 0, 3, 0, 0x28, 0x0f, 0x14,
            0x22, 0xa0,
        ];
        feed.nal(6000, false, &other);
        feed.nal(6000, false, PPS);
        feed.nal(6000, true, &[0x65, 2]);
        feed.fragmenter.cut_at(18_000);
        feed.nal(12_000, true, &[0x41, 3]);
        feed.nal(18_000, true, &[0x41, 4]);
        feed.fragmenter.flush(&mut feed.log);
        let kinds: Vec<_> = feed.log.seen.iter().map(|s| (s.kind, s.key, s.after_cut, s.start)).collect();
        assert_eq!(
            kinds,
            [
                (Kind::Init, false, false, 0),
                (Kind::Media, true, false, 0),
                (Kind::Init, false, false, 6000),
                (Kind::Media, true, false, 6000),
                (Kind::Init, false, true, 18_000),
                (Kind::Media, false, false, 18_000),
            ]
        );
        assert_ne!(feed.log.seen[0].bytes, feed.log.seen[2].bytes);
        assert_eq!(feed.log.seen[2].bytes, feed.log.seen[4].bytes);
    }

    #[test]
    fn lost_pictures_are_a_gap_and_a_pause_of_the_camera_is_not() {
        for (lost, first) in [(0, 30_000), (3, 12_000)] {
            let mut feed = Feed::new();
            feed.nal(0, true, &[0x65, 1]);
            feed.nal(6000, true, &[0x41, 1]);
            let packet =
                Packet { marker: true, payload_type: 96, sequence: 9, timestamp: 30_000, ssrc: 1, payload: &[0x41, 2] };
            feed.depack.push(&packet, lost, &mut feed.fragmenter.with(&mut feed.log)).unwrap();
            feed.fragmenter.flush(&mut feed.log);
            let media: Vec<_> = feed.media().iter().map(|m| (m.start, m.duration)).collect();
            assert_eq!(media, [(0, first), (30_000, 24_000)]);
        }
    }

    #[test]
    fn clock_jump_is_reported_and_the_timeline_goes_on() {
        let mut feed = Feed::new();
        feed.nal(900_000_000, true, &[0x65, 1]);
        feed.nal(900_006_000, true, &[0x41, 1]);
        feed.nal(5, true, &[0x41, 1]);
        feed.fragmenter.flush(&mut feed.log);
        assert_eq!(feed.log.jumps, [5 - 900_006_000]);
        assert_eq!(feed.media().iter().map(|m| m.start).collect::<Vec<_>>(), [900_000_000, 900_012_000]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_packets_give_rising_bounded_fragments(
            packets in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..30), any::<u16>(), any::<bool>(), 0..5_u8), 0..120)
        ) {
            let mut feed = Feed::new();
            let mut ts = 0_u32;
            for (mut payload, step, marker, what) in packets {
                ts = ts.wrapping_add(u32::from(step));
                if let (Some(first), 1..) = (payload.first_mut(), what) {
                    *first = [0, 0x65, 0x41, 0x06, 0x7c][usize::from(what)];
                }
                feed.nal(ts, marker, &payload);
            }
            feed.fragmenter.flush(&mut feed.log);
            let mut last = i64::MIN;
            for fragment in feed.media() {
                prop_assert!(fragment.start > last);
                last = fragment.start;
                prop_assert!(fragment.samples as usize <= FRAGMENT_SAMPLES_MAX);
                prop_assert!(fragment.bytes.len() <= FRAGMENT_BYTES_MAX);
                let moof = u32::from_be_bytes(fragment.bytes[..4].try_into().unwrap()) as usize;
                let mdat = u32::from_be_bytes(fragment.bytes[moof..moof + 4].try_into().unwrap()) as usize;
                prop_assert_eq!(moof + mdat, fragment.bytes.len());
            }
        }
    }
}
