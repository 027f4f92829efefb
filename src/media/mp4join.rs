//! For clients: joins the fragments of one or several epochs into one fragmented MP4 that players read.
//!
//! Sequence numbers and decode times are rewritten to one timeline that begins at zero; gaps are kept (by UTC) or closed.
//! Streaming: nothing but the current fragment is held. Changed parameter sets cannot be told to a `moov` that is already
//! written; with [`Entry::Avc3`] they are written in band before the next picture (ISO/IEC 14496-15 allows that under
//! `avc3`), with [`Entry::Avc1`], which more players know, a change is an error that says so.
//!
//! What does not belong: unsealing, choosing what to export. Servers have no use for this module.

use crate::mp4::{self, MDAT_HEADER, Mp4Error, SampleSize};
use core::time::Duration;
use peri_domain::limits::{FRAGMENT_BYTES_MAX, FRAGMENT_SAMPLES_MAX};
use peri_domain::{MediaDuration, UtcNanos};
use shiguredo_mp4::Decode;
use shiguredo_mp4::boxes::{MoofBox, MoovBox, SampleEntry};
use std::io::Write;

/// A difference of UTC smaller than this between two fragments is drift and rounding, no gap.
const GAP_MIN: Duration = Duration::from_millis(500);

/// What to do where nothing was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gaps {
    /// Time stands still in the picture: the file is as long as the span.
    Keep,
    /// The next picture follows at once.
    Close,
}

/// How the track is declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// Parameter sets in the header alone; a change is refused.
    Avc1,
    /// Changes are written in band.
    Avc3,
}

/// Why joining stopped.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// Not one of our fragments.
    #[error("fragment {number} is not readable: {what}")]
    Damaged {
        /// Number of the fragment, init included, from 1.
        number: u64,
        /// What is wrong.
        what: String,
    },
    /// The camera changed its picture format.
    #[error(
        "the camera changed its picture format at fragment {number}; export with in-band parameter sets or split the export there"
    )]
    ParametersChanged {
        /// Number of the fragment, init included, from 1.
        number: u64,
    },
    /// Boxes could not be written.
    #[error(transparent)]
    Boxes(#[from] Mp4Error),
    /// The file could not be written.
    #[error("the export file cannot be written")]
    Write(#[from] std::io::Error),
}

/// The running export.
#[derive(Debug)]
pub struct Joiner<W> {
    out: W,
    gaps: Gaps,
    entry: Entry,
    number: u64,
    sequence: u32,
    init: Option<Vec<u8>>,
    /// SPS and PPS to be written in band, with lengths.
    in_band: Vec<u8>,
    clock: Option<Clock>,
    scratch: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Clock {
    /// End of what is written, in the file and in the source.
    end: u64,
    source_end: u64,
    utc_end: UtcNanos,
}

impl<W: Write> Joiner<W> {
    /// Writes to `out`.
    pub const fn new(out: W, gaps: Gaps, entry: Entry) -> Self {
        Self {
            out,
            gaps,
            entry,
            number: 0,
            sequence: 0,
            init: None,
            in_band: Vec::new(),
            clock: None,
            scratch: Vec::new(),
        }
    }

    /// Takes an init fragment (`ftyp` + `moov`).
    ///
    /// # Errors
    /// [`JoinError`].
    pub fn init(&mut self, fragment: &[u8]) -> Result<(), JoinError> {
        self.number += 1;
        let number = self.number;
        match &self.init {
            Some(before) if before == fragment => {}
            Some(_) if self.entry == Entry::Avc1 => return Err(JoinError::ParametersChanged { number }),
            Some(_) => {
                self.in_band = parameter_sets(fragment).map_err(|what| JoinError::Damaged { number, what })?;
                self.init = Some(fragment.to_vec());
            }
            None => {
                parameter_sets(fragment).map_err(|what| JoinError::Damaged { number, what })?;
                let mut header = fragment.to_vec();
                if self.entry == Entry::Avc3 {
                    // Twelve bytes after its name, `stsd` holds the size and name of its one entry.
                    let stsd = find(&header, b"stsd").map(|at| at + 16);
                    let name = stsd.and_then(|at| header.get_mut(at..at + 4)).filter(|name| *name == b"avc1");
                    name.ok_or_else(|| JoinError::Damaged { number, what: "no avc1 entry".into() })?
                        .copy_from_slice(b"avc3");
                }
                self.out.write_all(&header)?;
                self.init = Some(fragment.to_vec());
            }
        }
        Ok(())
    }

    /// Takes a media fragment (`moof` + `mdat`) whose first picture was taken at `at`.
    ///
    /// # Errors
    /// [`JoinError`].
    pub fn media(&mut self, fragment: &[u8], at: UtcNanos) -> Result<(), JoinError> {
        self.number += 1;
        let number = self.number;
        let damaged = |what: &str| JoinError::Damaged { number, what: what.into() };
        if self.init.is_none() {
            return Err(damaged("it comes before the init fragment"));
        }
        let media = Media::parse(fragment).map_err(damaged)?;
        let duration: u64 = media.samples.iter().map(|s| u64::from(s.duration)).sum();
        let start = match self.clock {
            None => 0,
            Some(clock) => {
                // Inside one run the source's own times are exact; else the fragment follows directly.
                let step = media.decode_time.checked_sub(clock.source_end);
                let near = u64::from(MediaDuration::HZ) / 2;
                let back = clock.source_end.saturating_sub(media.decode_time);
                let continues = step.is_some_and(|s| s <= near) || (step.is_none() && back <= near);
                let follows = if continues { (clock.end + step.unwrap_or(0)).saturating_sub(back) } else { clock.end };
                let missing = at.saturating_since(clock.utc_end);
                if self.gaps == Gaps::Keep && missing >= GAP_MIN {
                    let ticks = missing.as_nanos() * u128::from(MediaDuration::HZ) / 1_000_000_000;
                    clock.end + u64::try_from(ticks).unwrap_or(0)
                } else {
                    follows
                }
            }
        };
        self.clock = Some(Clock {
            end: start + duration,
            source_end: media.decode_time.saturating_add(duration),
            utc_end: at + Duration::from_nanos(duration * 100_000 / 9),
        });
        let mut samples = media.samples;
        let extra = core::mem::take(&mut self.in_band);
        if let Some(first) = samples.first_mut() {
            first.size += extra.len() as u32;
        }
        self.sequence = self.sequence.wrapping_add(1);
        self.scratch.resize(mp4::MOOF_MAX + MDAT_HEADER, 0);
        let payload = (media.payload.len() + extra.len()) as u32;
        let len = mp4::media_header(self.sequence, start, media.key, &samples, payload, &mut self.scratch)?;
        self.out.write_all(&self.scratch[..len])?;
        self.out.write_all(&extra)?;
        self.out.write_all(media.payload)?;
        Ok(())
    }

    /// Flushes and gives the writer back.
    ///
    /// # Errors
    /// [`JoinError::Write`].
    pub fn finish(mut self) -> Result<W, JoinError> {
        self.out.flush()?;
        Ok(self.out)
    }
}

/// A media fragment taken apart.
struct Media<'a> {
    decode_time: u64,
    key: bool,
    samples: Vec<SampleSize>,
    payload: &'a [u8],
}

impl<'a> Media<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, &'static str> {
        if bytes.len() > FRAGMENT_BYTES_MAX {
            return Err("it is too long");
        }
        let size = bytes.first_chunk().map(|size| u32::from_be_bytes(*size) as usize);
        let moof =
            size.filter(|size| *size <= mp4::MOOF_MAX).and_then(|size| bytes.get(..size)).ok_or("no moof box")?;
        // The box parser makes up to 16 million samples (512 MiB) for each twenty bytes that claim them, so the claim, which
        // stands behind name, version and flags, is looked at before.
        let claims = |w: &[u8]| u32::from_be_bytes([w[8], w[9], w[10], w[11]]) as usize;
        if moof.windows(12).any(|w| w.starts_with(b"trun") && claims(w) > FRAGMENT_SAMPLES_MAX) {
            return Err("it claims more samples than a fragment has");
        }
        let (moof, used) = MoofBox::decode(moof).map_err(|_| "no moof box")?;
        let traf = moof.traf_boxes.first().ok_or("no track")?;
        let trun = traf.trun_boxes.first().ok_or("no samples")?;
        let mdat = bytes.get(used..).ok_or("no mdat box")?;
        let (head, payload) = mdat.split_first_chunk::<MDAT_HEADER>().ok_or("no mdat box")?;
        let size = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        if &head[4..] != b"mdat" || size != mdat.len() || trun.samples.len() > FRAGMENT_SAMPLES_MAX {
            return Err("mdat box does not fit");
        }
        let samples: Option<Vec<SampleSize>> =
            trun.samples.iter().map(|s| Some(SampleSize { duration: s.duration?, size: s.size? })).collect();
        let samples = samples.filter(|s| !s.is_empty()).ok_or("samples without size or duration")?;
        let total: u64 = samples.iter().map(|s| u64::from(s.size)).sum();
        if total != payload.len() as u64 {
            return Err("samples do not fill mdat");
        }
        Ok(Self {
            decode_time: traf.tfdt_box.as_ref().ok_or("no decode time")?.base_media_decode_time,
            key: trun.first_sample_flags.is_some_and(|f| f == mp4::KEY_FLAGS),
            samples,
            payload,
        })
    }
}

/// SPS and PPS of an init fragment, each with a 4-byte length.
fn parameter_sets(init: &[u8]) -> Result<Vec<u8>, String> {
    let moov = find(init, b"moov").and_then(|at| init.get(at - 4..)).ok_or("no moov box")?;
    let (moov, _) = MoovBox::decode(moov).map_err(|e| e.to_string())?;
    let stbl = moov.trak_boxes.first().map(|t| &t.mdia_box.minf_box.stbl_box).ok_or("no track")?;
    let Some(SampleEntry::Avc1(entry)) = stbl.stsd_box.entries.first() else { return Err("no avc1 entry".into()) };
    let mut out = Vec::new();
    for nal in entry.avcc_box.sps_list.iter().chain(&entry.avcc_box.pps_list) {
        out.extend_from_slice(&(nal.len() as u32).to_be_bytes());
        out.extend_from_slice(nal);
    }
    Ok(out)
}

/// Position of a box's name; at least 4, because its size stands before it.
fn find(bytes: &[u8], name: &[u8; 4]) -> Option<usize> {
    bytes.windows(4).position(|w| w == name).filter(|at| *at >= 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h264::params::ParameterSets;

    fn sets(sps: &[u8]) -> Vec<u8> {
        let mut sets = ParameterSets::default();
        sets.take(&[sps.to_vec(), vec![0x68, 0xee, 0x3c, 0x80]]).unwrap();
        mp4::init_segment(&sets).unwrap()
    }

    const ONE: &[u8] = &[
        0x67, 0x4d, 0x00, 0x29, 0x9a, 0x64, 0x03, 0xc0, 0x11, 0x3f, 0x2c, 0xd4, 0x04, 0x04, 0x05, 0, 0, 3, 3, 0xe8, 0,
        0, 0xea, 0x60, 4,
    ];
    const TWO: &[u8] = &[
        0x27, 0x4d, 0xe0, 0x28, 0x8d, 0x68, 5, 0, 0x5b, 0xa1, 0, 0, 3, 0, 1, 0, 0, 3, 0, 0x28, 0x0f, 0x14, 0x22, 0xa0,
    ];

    fn media(time: u64, key: bool) -> Vec<u8> {
        let mut head = [0; 700];
        let samples = [SampleSize { duration: 9000, size: 5 }, SampleSize { duration: 9000, size: 5 }];
        let len = mp4::media_header(77, time, key, &samples, 10, &mut head).unwrap();
        [&head[..len], &[0, 0, 0, 1, 0x65, 0, 0, 0, 1, 0x41]].concat()
    }

    /// Decode time and first sample size of each `moof`.
    fn times(mut file: &[u8]) -> Vec<(u64, u32)> {
        let mut out = Vec::new();
        while let Some((head, _)) = file.split_first_chunk::<8>() {
            let size = u32::from_be_bytes(head[..4].try_into().unwrap()) as usize;
            if &head[4..] == b"moof" {
                let media =
                    Media::parse(&file[..size + u32::from_be_bytes(file[size..size + 4].try_into().unwrap()) as usize])
                        .unwrap();
                out.push((media.decode_time, media.samples[0].size));
            }
            file = &file[size..];
        }
        out
    }

    #[test]
    fn epochs_become_one_timeline_with_gaps_kept_or_closed() {
        for (gaps, third) in [(Gaps::Keep, 18_000 + 18_003 + 900_000), (Gaps::Close, 36_003)] {
            let mut join = Joiner::new(Vec::new(), gaps, Entry::Avc1);
            join.init(&sets(ONE)).unwrap();
            join.media(&media(5_000_000_000, true), UtcNanos(0)).unwrap();
            join.media(&media(5_000_018_003, false), UtcNanos(200_000_000)).unwrap();
            join.init(&sets(ONE)).unwrap();
            join.media(&media(40, true), UtcNanos(10_400_000_000)).unwrap();
            let file = join.finish().unwrap();
            assert_eq!(times(&file), [(0, 5), (18_003, 5), (third, 5)]);
        }
    }

    #[test]
    fn changed_parameters_go_in_band_or_are_refused() {
        let mut join = Joiner::new(Vec::new(), Gaps::Close, Entry::Avc3);
        join.init(&sets(ONE)).unwrap();
        join.media(&media(0, true), UtcNanos(0)).unwrap();
        join.init(&sets(TWO)).unwrap();
        join.media(&media(18_000, true), UtcNanos(200_000_000)).unwrap();
        let file = join.finish().unwrap();
        assert_eq!(times(&file)[1].1, 5 + 4 + TWO.len() as u32 + 4 + 4);
        assert!(
            find(&file, b"avc3").is_some() && find(&file, b"avc1").is_some_and(|at| at < 40),
            "only the brand is avc1"
        );
        let mut join = Joiner::new(Vec::new(), Gaps::Close, Entry::Avc1);
        join.init(&sets(ONE)).unwrap();
        assert!(matches!(join.init(&sets(TWO)), Err(JoinError::ParametersChanged { number: 2 })));
    }

    #[test]
    fn samples_that_are_only_claimed_are_not_made() {
        let mut join = Joiner::new(Vec::new(), Gaps::Keep, Entry::Avc3);
        join.init(&sets(ONE)).unwrap();
        let mut claiming = media(0, true);
        let at = find(&claiming, b"trun").unwrap();
        claiming[at + 4..at + 12].copy_from_slice(&[0, 0, 0, 0, 0, 0xff, 0xff, 0xff]);
        let error = join.media(&claiming, UtcNanos(0)).unwrap_err();
        assert!(error.to_string().contains("claims more samples"), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn any_fragments_are_survived(bytes: Vec<u8>, at in 0..700_usize, value: u8) {
            let mut join = Joiner::new(Vec::new(), Gaps::Keep, Entry::Avc3);
            let _ = join.init(&bytes);
            join.init(&sets(ONE)).unwrap();
            let _ = join.media(&bytes, UtcNanos(0));
            let mut flipped = media(0, true);
            if let Some(byte) = flipped.get_mut(at) { *byte = value; }
            let _ = join.media(&flipped, UtcNanos(0));
        }
    }
}
