//! Session descriptions (RFC 8866) of cameras: finds the H.264 track and nothing else.
//!
//! Cameras send broken `o=`, `b=`, `c=` and `t=` lines, bytes that are no UTF-8, and lines that end with CR alone. None of
//! that matters for the picture, so only `m=` and `a=` lines reach the parser (`sdp-types`). Audio is recognised only to be
//! left alone: its tracks are never set up.

use base64::Engine as _;
use peri_domain::limits::{PARAMETER_SET_MAX, PARAMETER_SETS_MAX, SDP_MAX};

/// Why a description offers nothing we can record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// Longer than the limit.
    #[error("the camera's description has {0} bytes, more than {SDP_MAX}")]
    TooLong(usize),
    /// Not SDP.
    #[error("the camera's description cannot be read: {0}")]
    Unreadable(String),
    /// No video track at all.
    #[error("the camera offers no video track ({offered}); enable the video stream in the camera")]
    NoVideo {
        /// Kinds of the offered tracks.
        offered: String,
    },
    /// Video, but not H.264.
    #[error("the camera sends {codec}, which cannot be recorded yet; set the camera to H.264")]
    UnsupportedCodec {
        /// Name from the description.
        codec: String,
    },
    /// H.264 in a form we do not read.
    #[error("the camera sends H.264 with {what}; choose packetization mode 0 or 1 and a 90 kHz clock in the camera")]
    UnsupportedMode {
        /// What is different.
        what: String,
    },
}

/// The track to set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VideoTrack {
    /// RTP payload type.
    pub payload_type: u8,
    /// Track's `a=control`, verbatim.
    pub control: Option<String>,
    /// NAL units of `sprop-parameter-sets`; empty where absent or broken (they then come in band).
    pub parameter_sets: Vec<Vec<u8>>,
    /// Pictures per second × 1000, if announced.
    pub milli_fps: Option<u32>,
}

/// What the description says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Session's `a=control`, verbatim.
    pub control: Option<String>,
    /// The H.264 track.
    pub video: VideoTrack,
    /// Whether there are audio tracks (which stay untouched).
    pub has_audio: bool,
}

/// Parses a description.
///
/// # Errors
/// [`SdpError`].
pub fn parse(body: &[u8]) -> Result<Description, SdpError> {
    if body.len() > SDP_MAX {
        return Err(SdpError::TooLong(body.len()));
    }
    let session =
        sdp_types::Session::parse(reduced(body).as_bytes()).map_err(|e| SdpError::Unreadable(e.to_string()))?;
    if session.medias.is_empty() {
        return Err(SdpError::Unreadable("it has no m= line".into()));
    }
    let mut refused = None;
    let mut video = None;
    for media in session.medias.iter().filter(|m| m.media.eq_ignore_ascii_case("video")) {
        match read_video(media) {
            Ok(track) => {
                video = Some(track);
                break;
            }
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    let Some(video) = video else {
        return Err(refused.unwrap_or_else(|| SdpError::NoVideo {
            offered: session.medias.iter().map(|m| shown(&m.media)).collect::<Vec<_>>().join(", "),
        }));
    };
    Ok(Description {
        control: attribute(&session.attributes, "control"),
        video,
        has_audio: session.medias.iter().any(|m| m.media.eq_ignore_ascii_case("audio")),
    })
}

/// Only the lines that matter, as UTF-8 with LF.
fn reduced(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let mut out = String::with_capacity(text.len() + 8);
    out.push_str("v=0\n");
    for line in text.split(['\n', '\r', '\0']) {
        if line.starts_with("m=") || line.starts_with("a=") {
            out.push_str(line.trim_end());
            out.push('\n');
        }
    }
    out
}

fn read_video(media: &sdp_types::Media) -> Result<VideoTrack, SdpError> {
    let types: Vec<&str> = media.fmt.split_ascii_whitespace().collect();
    let mut codecs = Vec::new();
    let mut found = None;
    for value in media.attributes.iter().filter(|a| a.attribute == "rtpmap").filter_map(|a| a.value.as_deref()) {
        let Some((kind, encoding)) = value.trim().split_once(' ') else { continue };
        if !types.contains(&kind) {
            continue;
        }
        let (name, clock) = encoding.trim().split_once('/').unwrap_or((encoding.trim(), ""));
        codecs.push(shown(name));
        if name.eq_ignore_ascii_case("H264") && found.is_none() {
            let clock = clock.split('/').next().unwrap_or("");
            if clock != "90000" {
                return Err(SdpError::UnsupportedMode { what: format!("a clock of {} Hz", shown(clock)) });
            }
            found = kind.parse::<u8>().ok().filter(|k| *k < 128).map(|number| (number, kind));
        }
    }
    let Some((payload_type, kind)) = found else {
        if codecs.is_empty() {
            codecs.push(static_codec(types.first().copied().unwrap_or("")));
        }
        return Err(SdpError::UnsupportedCodec { codec: codecs.join(", ") });
    };
    let mut parameter_sets = Vec::new();
    for value in media.attributes.iter().filter(|a| a.attribute == "fmtp").filter_map(|a| a.value.as_deref()) {
        let Some((of, parameters)) = value.trim().split_once(' ') else { continue };
        if of != kind {
            continue;
        }
        for (key, value) in parameters.split(';').filter_map(|p| p.trim().split_once('=')) {
            if key.eq_ignore_ascii_case("packetization-mode") && value.trim() == "2" {
                return Err(SdpError::UnsupportedMode { what: "interleaved packetization (mode 2)".into() });
            }
            if key.eq_ignore_ascii_case("sprop-parameter-sets") {
                parameter_sets = sprop(value);
            }
        }
    }
    Ok(VideoTrack {
        payload_type,
        control: attribute(&media.attributes, "control"),
        parameter_sets,
        milli_fps: attribute(&media.attributes, "framerate")
            .and_then(|v| v.trim().parse::<f64>().ok())
            .filter(|fps| (0.01..=1000.0).contains(fps))
            .map(|fps| (fps * 1000.0) as u32),
    })
}

/// RFC 6184 section 8.1; a broken list counts as none.
fn sprop(value: &str) -> Vec<Vec<u8>> {
    let engine = base64::engine::GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        base64::engine::GeneralPurposeConfig::new()
            .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent)
            .with_decode_allow_trailing_bits(true),
    );
    let decoded: Option<Vec<Vec<u8>>> = value
        .split(',')
        .filter(|part| !part.trim().is_empty())
        .map(|part| engine.decode(part.trim()).ok().filter(|nal| !nal.is_empty() && nal.len() <= PARAMETER_SET_MAX))
        .collect();
    decoded.filter(|sets| sets.len() <= 2 * PARAMETER_SETS_MAX).unwrap_or_default()
}

fn attribute(attributes: &[sdp_types::Attribute], name: &str) -> Option<String> {
    attributes.iter().find(|a| a.attribute == name).and_then(|a| a.value.as_deref()).map(|v| v.trim().to_owned())
}

/// Names of the static video payload types (RFC 3551 table 5) that cameras still send.
fn static_codec(payload_type: &str) -> String {
    match payload_type {
        "26" => "JPEG".into(),
        "31" => "H261".into(),
        "32" => "MPV".into(),
        "33" => "MP2T".into(),
        "34" => "H263".into(),
        other => format!("an unnamed codec (payload type {})", shown(other)),
    }
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=x\r\nt=0 0\r\na=control:*\r\nm=audio 0 RTP/AVP 0\r\na=control:track2\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1;sprop-parameter-sets=Z00AKZpkA8ARPyzUBAQFAAADA+gAAOpgBA==,aO48gA==\r\na=control:track1\r\na=framerate:12.5\r\n";

    #[test]
    fn h264_track_is_found_behind_audio() {
        let found = parse(GOOD.as_bytes()).unwrap();
        assert_eq!(found.control.as_deref(), Some("*"));
        assert!(found.has_audio);
        assert_eq!((found.video.payload_type, found.video.control.as_deref()), (96, Some("track1")));
        assert_eq!(found.video.parameter_sets[1], [0x68, 0xee, 0x3c, 0x80]);
        assert_eq!(found.video.milli_fps, Some(12_500));
    }

    #[test]
    fn carriage_returns_alone_broken_lines_and_latin1_do_not_matter() {
        let mut bytes = GOOD
            .replace("\r\n", "\r")
            .replace("t=0 0\r", "")
            .replace("o=- 0 0 IN IP4 0.0.0.0", "o=\u{fffd}")
            .into_bytes();
        bytes.push(0xe9);
        assert_eq!(parse(&bytes).unwrap().video.payload_type, 96);
        let spaced = GOOD.replace("H264/90000", "H264/90000 ").replace("m=video 0", "b=AS:x\r\nm=video 0");
        assert!(parse(spaced.as_bytes()).is_ok());
    }

    #[test]
    fn broken_or_missing_parameter_sets_are_awaited_in_band() {
        for broken in ["sprop-parameter-sets=!!,aO48gA==", "x=y", "sprop-parameter-sets="] {
            let text = GOOD.replace("sprop-parameter-sets=Z00AKZpkA8ARPyzUBAQFAAADA+gAAOpgBA==,aO48gA==", broken);
            assert!(parse(text.as_bytes()).unwrap().video.parameter_sets.is_empty(), "{broken}");
        }
        let bare = GOOD.replace(
            "a=fmtp:96 packetization-mode=1;sprop-parameter-sets=Z00AKZpkA8ARPyzUBAQFAAADA+gAAOpgBA==,aO48gA==",
            "a=fmtp:96",
        );
        assert!(parse(bare.as_bytes()).is_ok());
    }

    #[test]
    fn what_cannot_be_recorded_is_named_with_its_remedy() {
        let error = parse(GOOD.replace("H264", "H265").as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "the camera sends H265, which cannot be recorded yet; set the camera to H.264");
        let error = parse(b"v=0\r\nm=video 0 RTP/AVP 26\r\n").unwrap_err();
        assert!(error.to_string().contains("JPEG"));
        assert!(matches!(parse(b"v=0\r\nm=audio 0 RTP/AVP 0\r\n"), Err(SdpError::NoVideo { .. })));
        assert!(matches!(parse(GOOD.replace("mode=1", "mode=2").as_bytes()), Err(SdpError::UnsupportedMode { .. })));
        assert!(matches!(parse(&vec![b'a'; SDP_MAX + 1]), Err(SdpError::TooLong(_))));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }

        #[test]
        fn any_lines_are_survived(lines in proptest::collection::vec("[vma]=[ -~]{0,60}", 0..12)) {
            let _ = parse(lines.join("\n").as_bytes());
        }
    }
}
