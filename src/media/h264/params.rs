//! Parameter sets (ITU-T H.264 clauses 7.3.2.1 and 7.3.2.2): just enough of them for `avcC` and the picture's size.
//!
//! Invariants: reads at most `PARAMETER_SET_MAX` bytes; every size is checked against level 6.2; what follows the fields
//! that are needed (VUI and garbage that some cameras append) is not looked at.

use peri_domain::limits::{PARAMETER_SET_MAX, PARAMETER_SETS_MAX, PICTURE_MBS_MAX, PICTURE_SIDE_MBS_MAX};

/// Why a parameter set is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParamError {
    /// Ends early.
    #[error("H.264 parameter set ends in the middle of {0}")]
    Short(&'static str),
    /// A value that H.264 does not allow.
    #[error("H.264 parameter set has an impossible {0}")]
    Value(&'static str),
    /// Too long or too many.
    #[error("H.264 parameter sets exceed {PARAMETER_SET_MAX} bytes or {PARAMETER_SETS_MAX} of a kind")]
    TooMuch,
}

/// What an SPS says about the pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sps {
    /// `profile_idc`, constraint flags and `level_idc`, as `avcC` and codec strings want them.
    pub profile: [u8; 3],
    /// `seq_parameter_set_id`.
    pub id: u32,
    /// `chroma_format_idc`: 1 is 4:2:0.
    pub chroma_format: u8,
    /// Luma bit depth minus 8.
    pub luma_depth_minus8: u8,
    /// Chroma bit depth minus 8.
    pub chroma_depth_minus8: u8,
    /// Width in pixels after cropping.
    pub width: u16,
    /// Height in pixels after cropping.
    pub height: u16,
}

/// Bits of a raw byte sequence payload, with emulation prevention removed on the fly (clause 7.4.1).
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    zeros: u8,
    current: u8,
    left: u8,
}

impl<'a> Bits<'a> {
    /// `nal` without its header byte.
    const fn new(nal: &'a [u8]) -> Self {
        Self { bytes: nal, at: 0, zeros: 0, current: 0, left: 0 }
    }

    fn bit(&mut self, what: &'static str) -> Result<u32, ParamError> {
        if self.left == 0 {
            let mut byte = *self.bytes.get(self.at).ok_or(ParamError::Short(what))?;
            self.at += 1;
            if self.zeros >= 2 && byte == 3 {
                self.zeros = 0;
                byte = *self.bytes.get(self.at).ok_or(ParamError::Short(what))?;
                self.at += 1;
            }
            self.zeros = if byte == 0 { self.zeros.saturating_add(1) } else { 0 };
            self.current = byte;
            self.left = 8;
        }
        self.left -= 1;
        Ok(u32::from(self.current >> self.left & 1))
    }

    fn bits(&mut self, count: u8, what: &'static str) -> Result<u32, ParamError> {
        (0..count).try_fold(0_u32, |value, _| Ok(value << 1 | self.bit(what)?))
    }

    /// `ue(v)`, clause 9.1; at most 32 leading zeros.
    fn ue(&mut self, what: &'static str) -> Result<u32, ParamError> {
        let mut zeros = 0;
        while self.bit(what)? == 0 {
            zeros += 1;
            if zeros > 31 {
                return Err(ParamError::Value(what));
            }
        }
        Ok((1_u32 << zeros) - 1 + self.bits(zeros, what)?)
    }

    /// `se(v)`; only its range of ±2^30 is used.
    fn se(&mut self, what: &'static str) -> Result<i64, ParamError> {
        let value = i64::from(self.ue(what)?);
        Ok(if value & 1 == 1 { (value + 1) / 2 } else { -(value / 2) })
    }
}

fn small<T: TryFrom<u32>>(value: u32, most: u32, what: &'static str) -> Result<T, ParamError> {
    if value > most { Err(ParamError::Value(what)) } else { T::try_from(value).map_err(|_| ParamError::Value(what)) }
}

impl Sps {
    /// Parses a whole NAL unit of type 7, header byte included.
    ///
    /// # Errors
    /// [`ParamError`].
    pub fn parse(nal: &[u8]) -> Result<Self, ParamError> {
        if nal.len() > PARAMETER_SET_MAX {
            return Err(ParamError::TooMuch);
        }
        let (head, _) = nal.split_first_chunk::<4>().ok_or(ParamError::Short("profile and level"))?;
        if head[0] & 0x1f != 7 {
            return Err(ParamError::Value("NAL unit type"));
        }
        let profile = [head[1], head[2], head[3]];
        let mut bits = Bits::new(&nal[4..]);
        let id = small(bits.ue("seq_parameter_set_id")?, 31, "seq_parameter_set_id")?;
        let (mut chroma_format, mut luma_depth_minus8, mut chroma_depth_minus8) = (1, 0, 0);
        let mut separate_planes = false;
        if matches!(profile[0], 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135) {
            chroma_format = small(bits.ue("chroma_format_idc")?, 3, "chroma_format_idc")?;
            separate_planes = chroma_format == 3 && bits.bit("separate_colour_plane_flag")? == 1;
            luma_depth_minus8 = small(bits.ue("bit_depth_luma")?, 6, "bit_depth_luma")?;
            chroma_depth_minus8 = small(bits.ue("bit_depth_chroma")?, 6, "bit_depth_chroma")?;
            bits.bit("qpprime_y_zero_transform_bypass_flag")?;
            if bits.bit("seq_scaling_matrix_present_flag")? == 1 {
                let lists = if chroma_format == 3 { 12 } else { 8 };
                for list in 0..lists {
                    if bits.bit("seq_scaling_list_present_flag")? == 1 {
                        skip_scaling_list(&mut bits, if list < 6 { 16 } else { 64 })?;
                    }
                }
            }
        }
        small::<u8>(bits.ue("log2_max_frame_num")?, 12, "log2_max_frame_num")?;
        match bits.ue("pic_order_cnt_type")? {
            0 => {
                small::<u8>(bits.ue("log2_max_pic_order_cnt_lsb")?, 12, "log2_max_pic_order_cnt_lsb")?;
            }
            1 => {
                bits.bit("delta_pic_order_always_zero_flag")?;
                bits.se("offset_for_non_ref_pic")?;
                bits.se("offset_for_top_to_bottom_field")?;
                let cycle =
                    small::<u32>(bits.ue("num_ref_frames_in_pic_order_cnt_cycle")?, 255, "pic_order_cnt cycle")?;
                for _ in 0..cycle {
                    bits.se("offset_for_ref_frame")?;
                }
            }
            2 => {}
            _ => return Err(ParamError::Value("pic_order_cnt_type")),
        }
        bits.ue("max_num_ref_frames")?;
        bits.bit("gaps_in_frame_num_value_allowed_flag")?;
        let side = |value: u32, what| small::<u32>(value, PICTURE_SIDE_MBS_MAX - 1, what).map(|v| v + 1);
        let width_mbs = side(bits.ue("pic_width_in_mbs")?, "pic_width_in_mbs")?;
        let map_units = side(bits.ue("pic_height_in_map_units")?, "pic_height_in_map_units")?;
        let frame_mbs_only = bits.bit("frame_mbs_only_flag")?;
        let height_mbs = map_units * (2 - frame_mbs_only);
        if height_mbs > PICTURE_SIDE_MBS_MAX || width_mbs * height_mbs > PICTURE_MBS_MAX {
            return Err(ParamError::Value("picture size"));
        }
        if frame_mbs_only == 0 {
            bits.bit("mb_adaptive_frame_field_flag")?;
        }
        bits.bit("direct_8x8_inference_flag")?;
        let (mut width, mut height) = (width_mbs * 16, height_mbs * 16);
        if bits.bit("frame_cropping_flag")? == 1 {
            // Table 6-1 and equations 7-19 to 7-22.
            let chroma = if separate_planes { 0 } else { chroma_format };
            let unit_x = if matches!(chroma, 1 | 2) { 2 } else { 1 };
            let unit_y = (2 - frame_mbs_only) * if chroma == 1 { 2 } else { 1 };
            let mut crop = |unit: u32, of: u32| -> Result<u32, ParamError> {
                let both = u64::from(bits.ue("frame_crop offset")?) + u64::from(bits.ue("frame_crop offset")?);
                let cut = both * u64::from(unit);
                u32::try_from(cut)
                    .ok()
                    .and_then(|cut| of.checked_sub(cut))
                    .filter(|v| *v > 0)
                    .ok_or(ParamError::Value("cropping"))
            };
            width = crop(unit_x, width)?;
            height = crop(unit_y, height)?;
        }
        let pixels = |value: u32| u16::try_from(value).map_err(|_| ParamError::Value("picture size"));
        Ok(Self {
            profile,
            id,
            chroma_format,
            luma_depth_minus8,
            chroma_depth_minus8,
            width: pixels(width)?,
            height: pixels(height)?,
        })
    }
}

/// Clause 7.3.2.1.1.1.
fn skip_scaling_list(bits: &mut Bits<'_>, size: u32) -> Result<(), ParamError> {
    let (mut last, mut next) = (8_i64, 8_i64);
    for _ in 0..size {
        if next != 0 {
            next = (last + bits.se("delta_scale")?).rem_euclid(256);
        }
        if next != 0 {
            last = next;
        }
    }
    Ok(())
}

/// `pic_parameter_set_id` and `seq_parameter_set_id` of a whole NAL unit of type 8.
fn pps_ids(nal: &[u8]) -> Result<(u32, u32), ParamError> {
    if nal.len() > PARAMETER_SET_MAX {
        return Err(ParamError::TooMuch);
    }
    let mut bits = Bits::new(nal.get(1..).unwrap_or(&[]));
    Ok((
        small(bits.ue("pic_parameter_set_id")?, 255, "pic_parameter_set_id")?,
        small(bits.ue("seq_parameter_set_id of the picture set")?, 31, "seq_parameter_set_id of the picture set")?,
    ))
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    id: u32,
    sps: u32,
    nal: Vec<u8>,
}

/// The parameter sets in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParameterSets {
    sps: Vec<Held>,
    pps: Vec<Held>,
    main: Option<Sps>,
}

impl ParameterSets {
    /// Whether pictures can be described: at least one SPS and a PPS that refers to it.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.main.is_some_and(|main| self.pps.iter().any(|p| p.sps == main.id))
    }

    /// What the newest SPS says.
    #[must_use]
    pub const fn sps(&self) -> Option<&Sps> {
        self.main.as_ref()
    }

    /// All SPS NAL units.
    pub fn sps_nals(&self) -> impl Iterator<Item = &[u8]> {
        self.sps.iter().map(|h| h.nal.as_slice())
    }

    /// All PPS NAL units.
    pub fn pps_nals(&self) -> impl Iterator<Item = &[u8]> {
        self.pps.iter().map(|h| h.nal.as_slice())
    }

    /// Takes the sets of one access unit into force; says whether anything changed. A changed SPS drops those of its PPS
    /// that did not come along with it, because they were made for its predecessor.
    ///
    /// # Errors
    /// [`ParamError`]; then nothing has changed.
    pub fn take(&mut self, nals: &[Vec<u8>]) -> Result<bool, ParamError> {
        if nals.is_empty() {
            return Ok(false);
        }
        let mut next = self.clone();
        let is_sps = |nal: &&Vec<u8>| nal.first().is_some_and(|h| h & 0x1f == 7);
        let is_pps = |nal: &&Vec<u8>| nal.first().is_some_and(|h| h & 0x1f == 8);
        let pps =
            nals.iter().filter(is_pps).map(|nal| Ok((pps_ids(nal)?, nal))).collect::<Result<Vec<_>, ParamError>>()?;
        for nal in nals.iter().filter(is_sps) {
            let parsed = Sps::parse(nal)?;
            let same = next.sps.iter().any(|h| h.id == parsed.id && h.nal == *nal);
            if !same && pps.iter().any(|((_, of), _)| *of == parsed.id) {
                next.pps.retain(|h| h.sps != parsed.id);
            }
            put(&mut next.sps, parsed.id, parsed.id, nal)?;
            next.main = Some(parsed);
        }
        for ((id, of), nal) in pps {
            put(&mut next.pps, id, of, nal)?;
        }
        let changed = next != *self;
        *self = next;
        Ok(changed)
    }
}

fn put(list: &mut Vec<Held>, id: u32, sps: u32, nal: &[u8]) -> Result<(), ParamError> {
    if let Some(held) = list.iter_mut().find(|h| h.id == id) {
        if held.nal != nal {
            *held = Held { id, sps, nal: nal.to_vec() };
        }
    } else if list.len() < PARAMETER_SETS_MAX {
        list.push(Held { id, sps, nal: nal.to_vec() });
    } else {
        return Err(ParamError::TooMuch);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;

    fn decode(text: &str) -> Vec<u8> {
        base64::engine::general_purpose::STANDARD.decode(text).unwrap()
    }

    #[test]
    fn sizes_of_known_cameras_are_read() {
        for (text, size, profile) in [
            ("Z00AKZpkA8ARPyzUBAQFAAADA+gAAOpgBA==", (1920, 1080), 0x4d),
            ("J03gKI1oBQBboQAAAwABAAADACgPFCKg", (1280, 720), 0x4d),
            ("Z2QAFqzZQKAzsBEAAAMAAQAAAwAUDxYtlg==", (640, 400), 0x64),
        ] {
            let Ok(sps) = Sps::parse(&decode(text)) else { panic!("{text}: {:?}", Sps::parse(&decode(text))) };
            assert_eq!(((sps.width, sps.height), sps.profile[0]), (size, profile), "{text}");
        }
    }

    #[test]
    fn impossible_sizes_and_cut_off_sets_are_refused() {
        let good = decode("Z00AKZpkA8ARPyzUBAQFAAADA+gAAOpgBA==");
        assert!(matches!(Sps::parse(&good[..8]), Err(ParamError::Short(_))));
        assert_eq!(Sps::parse(&[0x67, 0x4d, 0, 0x29, 0, 0, 0, 0]), Err(ParamError::Value("seq_parameter_set_id")));
        // Baseline, id 0, counters 0, then a width of 2^16 macroblocks.
        let huge = [0x67, 66, 0, 30, 0b1111_1100, 0, 0x00, 0b1000_0000, 0, 0, 0b1110_0000];
        assert!(Sps::parse(&huge).is_err());
        assert_eq!(Sps::parse(&vec![0x67; PARAMETER_SET_MAX + 1]), Err(ParamError::TooMuch));
    }

    #[test]
    fn changed_sps_drops_the_picture_sets_of_its_predecessor() {
        let (one, pps) = (decode("Z00AKZpkA8ARPyzUBAQFAAADA+gAAOpgBA=="), decode("aO48gA=="));
        let two = decode("J03gKI1oBQBboQAAAwABAAADACgPFCKg");
        let mut sets = ParameterSets::default();
        assert_eq!(sets.take(std::slice::from_ref(&one)), Ok(true));
        assert!(!sets.is_complete());
        assert_eq!(sets.take(std::slice::from_ref(&pps)), Ok(true));
        assert!(sets.is_complete());
        assert_eq!(sets.take(&[one, pps.clone()]), Ok(false));
        let other = vec![0x28, 0xee, 0x04];
        assert_eq!(sets.take(&[two.clone(), other.clone()]), Ok(true));
        assert_eq!(sets.pps_nals().collect::<Vec<_>>(), [&other[..]]);
        assert_eq!(sets.sps().map(|s| s.width), Some(1280));
        assert!(sets.take(&[vec![0x67, 1]]).is_err());
        assert_eq!(sets.sps().map(|s| s.width), Some(1280));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_survived(mut bytes: Vec<u8>) {
            bytes.insert(0, 0x67);
            let _ = Sps::parse(&bytes);
            let mut sets = ParameterSets::default();
            let _ = sets.take(&[bytes.clone()]);
            bytes[0] = 0x68;
            let _ = sets.take(&[bytes]);
        }
    }
}
