//! The few boxes of ISO/IEC 14496-12 that a fragment needs: `ftyp` + `moov` once, `moof` + `mdat` header each time.
//!
//! The payload never passes through here. Invariant: one video track with id 1, timescale 90,000, `avc1`.

use crate::h264::params::ParameterSets;
use core::num::{NonZeroU16, NonZeroU32};
use peri_domain::MediaDuration;
use peri_domain::limits::FRAGMENT_SAMPLES_MAX;
use shiguredo_mp4::boxes::{
    Avc1Box, AvccBox, Brand, DinfBox, FtypBox, HdlrBox, MdhdBox, MdiaBox, MediaHeader, MfhdBox, MinfBox, MoofBox,
    MoovBox, MvexBox, MvhdBox, SampleEntry, StblBox, StcoBox, StscBox, StsdBox, StszBox, SttsBox, TfdtBox, TfhdBox,
    TkhdBox, TrafBox, TrakBox, TrexBox, TrunBox, TrunSample, VisualSampleEntryFields, VmhdBox,
};
use shiguredo_mp4::{Either, Encode, FixedPointNumber, LanguageCode, Mp4FileTime, SampleFlags, Uint};

/// Why boxes could not be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mp4Error {
    /// No SPS or no PPS yet.
    #[error("no complete parameter sets yet; the camera must send SPS and PPS before a key frame")]
    Incomplete,
    /// The encoder refused.
    #[error("MP4 box cannot be written: {0}")]
    Encode(String),
}

/// The only track.
pub(crate) const TRACK: u32 = 1;

/// Flags of a sample that others depend on and that depends on none (key), and of all others.
pub(crate) const KEY_FLAGS: SampleFlags = SampleFlags::from_fields(0, 2, 0, 0, 0, false, 0);
pub(crate) const DELTA_FLAGS: SampleFlags = SampleFlags::from_fields(0, 1, 0, 0, 0, true, 0);

/// Largest `moof` with [`FRAGMENT_SAMPLES_MAX`] samples: moof 8, mfhd 16, traf 8, tfhd 20, tfdt 20, trun 24 + 8 a sample.
pub(crate) const MOOF_MAX: usize = 8 + 16 + 8 + 20 + 20 + 24 + 8 * FRAGMENT_SAMPLES_MAX;

/// `mdat` with a 32-bit size.
pub(crate) const MDAT_HEADER: usize = 8;

/// One sample of a fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SampleSize {
    pub(crate) duration: u32,
    pub(crate) size: u32,
}

/// `ftyp` and `moov` for these parameter sets.
pub(crate) fn init_segment(sets: &ParameterSets) -> Result<Vec<u8>, Mp4Error> {
    let sps = sets.sps().filter(|_| sets.is_complete()).ok_or(Mp4Error::Incomplete)?;
    let high = !matches!(sps.profile[0], 66 | 77 | 88);
    let avc1 = Avc1Box {
        visual: VisualSampleEntryFields {
            data_reference_index: NonZeroU16::MIN,
            width: sps.width,
            height: sps.height,
            horizresolution: VisualSampleEntryFields::DEFAULT_HORIZRESOLUTION,
            vertresolution: VisualSampleEntryFields::DEFAULT_VERTRESOLUTION,
            frame_count: VisualSampleEntryFields::DEFAULT_FRAME_COUNT,
            compressorname: VisualSampleEntryFields::NULL_COMPRESSORNAME,
            depth: VisualSampleEntryFields::DEFAULT_DEPTH,
        },
        avcc_box: AvccBox {
            avc_profile_indication: sps.profile[0],
            profile_compatibility: sps.profile[1],
            avc_level_indication: sps.profile[2],
            length_size_minus_one: Uint::new(3),
            sps_list: sets.sps_nals().map(<[u8]>::to_vec).collect(),
            pps_list: sets.pps_nals().map(<[u8]>::to_vec).collect(),
            chroma_format: high.then(|| Uint::new(sps.chroma_format)),
            bit_depth_luma_minus8: high.then(|| Uint::new(sps.luma_depth_minus8)),
            bit_depth_chroma_minus8: high.then(|| Uint::new(sps.chroma_depth_minus8)),
            sps_ext_list: Vec::new(),
        },
        unknown_boxes: Vec::new(),
    };
    let (fixed_width, fixed_height) =
        (i16::try_from(sps.width).unwrap_or(i16::MAX), i16::try_from(sps.height).unwrap_or(i16::MAX));
    let never = Mp4FileTime::default();
    let timescale = NonZeroU32::new(MediaDuration::HZ).unwrap_or(NonZeroU32::MIN);
    let trak = TrakBox {
        tkhd_box: TkhdBox {
            flag_track_enabled: true,
            flag_track_in_movie: true,
            flag_track_in_preview: false,
            flag_track_size_is_aspect_ratio: false,
            creation_time: never,
            modification_time: never,
            track_id: TRACK,
            duration: 0,
            layer: TkhdBox::DEFAULT_LAYER,
            alternate_group: TkhdBox::DEFAULT_ALTERNATE_GROUP,
            volume: TkhdBox::DEFAULT_VIDEO_VOLUME,
            matrix: TkhdBox::DEFAULT_MATRIX,
            width: FixedPointNumber::new(fixed_width, 0),
            height: FixedPointNumber::new(fixed_height, 0),
        },
        edts_box: None,
        mdia_box: MdiaBox {
            mdhd_box: MdhdBox {
                creation_time: never,
                modification_time: never,
                timescale,
                duration: 0,
                language: LanguageCode::UNDEFINED,
            },
            hdlr_box: HdlrBox { handler_type: HdlrBox::HANDLER_TYPE_VIDE, name: b"\0".to_vec() },
            minf_box: MinfBox {
                media_header: Some(MediaHeader::Vmhd(VmhdBox::default())),
                dinf_box: DinfBox::LOCAL_FILE,
                stbl_box: StblBox {
                    stsd_box: StsdBox { entries: vec![SampleEntry::Avc1(avc1)] },
                    stts_box: SttsBox { entries: Vec::new() },
                    ctts_box: None,
                    cslg_box: None,
                    stsc_box: StscBox { entries: Vec::new() },
                    stsz_box: StszBox::Variable { entry_sizes: Vec::new() },
                    stco_or_co64_box: Either::A(StcoBox { chunk_offsets: Vec::new() }),
                    stss_box: None,
                    sdtp_box: None,
                    unknown_boxes: Vec::new(),
                },
                unknown_boxes: Vec::new(),
            },
            unknown_boxes: Vec::new(),
        },
        unknown_boxes: Vec::new(),
    };
    let moov = MoovBox {
        mvhd_box: MvhdBox {
            creation_time: never,
            modification_time: never,
            timescale,
            duration: 0,
            rate: MvhdBox::DEFAULT_RATE,
            volume: MvhdBox::DEFAULT_VOLUME,
            matrix: MvhdBox::DEFAULT_MATRIX,
            next_track_id: TRACK + 1,
        },
        trak_boxes: vec![trak],
        mvex_box: Some(MvexBox {
            mehd_box: None,
            trex_boxes: vec![TrexBox {
                track_id: TRACK,
                default_sample_description_index: 1,
                default_sample_duration: 0,
                default_sample_size: 0,
                default_sample_flags: SampleFlags::empty(),
            }],
            unknown_boxes: Vec::new(),
        }),
        unknown_boxes: Vec::new(),
    };
    let ftyp = FtypBox {
        major_brand: Brand::ISO5,
        minor_version: 0,
        compatible_brands: vec![Brand::ISO5, Brand::ISO6, Brand::MP41, Brand::AVC1],
    };
    let mut out = ftyp.encode_to_vec().map_err(refused)?;
    out.extend(moov.encode_to_vec().map_err(refused)?);
    Ok(out)
}

/// Writes `moof` and the header of an `mdat` of `payload` bytes to the start of `out`; returns their length.
pub(crate) fn media_header(
    sequence: u32,
    decode_time: u64,
    key: bool,
    samples: &[SampleSize],
    payload: u32,
    out: &mut [u8],
) -> Result<usize, Mp4Error> {
    let mut moof = MoofBox {
        mfhd_box: MfhdBox { sequence_number: sequence },
        traf_boxes: vec![TrafBox {
            tfhd_box: TfhdBox {
                track_id: TRACK,
                base_data_offset: None,
                sample_description_index: None,
                default_sample_duration: None,
                default_sample_size: None,
                default_sample_flags: Some(DELTA_FLAGS),
                duration_is_empty: false,
                default_base_is_moof: true,
            },
            tfdt_box: Some(TfdtBox { version: 1, base_media_decode_time: decode_time }),
            trun_boxes: vec![TrunBox {
                data_offset: Some(0),
                first_sample_flags: key.then_some(KEY_FLAGS),
                samples: samples
                    .iter()
                    .map(|s| TrunSample {
                        duration: Some(s.duration),
                        size: Some(s.size),
                        flags: None,
                        composition_time_offset: None,
                    })
                    .collect(),
            }],
            unknown_boxes: Vec::new(),
        }],
        unknown_boxes: Vec::new(),
    };
    let len = moof.encode(out).map_err(refused)?;
    // The offset has a fixed width, so writing it changes no length.
    if let Some(trun) = moof.traf_boxes.first_mut().and_then(|t| t.trun_boxes.first_mut()) {
        trun.data_offset = i32::try_from(len + MDAT_HEADER).ok();
    }
    moof.encode(out).map_err(refused)?;
    let header = out.get_mut(len..len + MDAT_HEADER).ok_or_else(|| Mp4Error::Encode("no room for mdat".into()))?;
    header[..4].copy_from_slice(&(payload + MDAT_HEADER as u32).to_be_bytes());
    header[4..].copy_from_slice(b"mdat");
    Ok(len + MDAT_HEADER)
}

pub(crate) fn refused(error: shiguredo_mp4::Error) -> Mp4Error {
    Mp4Error::Encode(error.to_string())
}
