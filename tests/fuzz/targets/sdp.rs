//! Session descriptions: the junk around the lines that matter changes nothing; what was read can be written again.

use peri_media::sdp::{self, Description};

/// Two oracles: noise invariance and round trip.
pub(crate) fn sdp(data: &[u8]) {
    let Ok(found) = sdp::parse(data) else { return };
    super::reached();
    // Only `m=` and `a=` lines count; whatever a camera puts between them must not matter.
    let text = String::from_utf8_lossy(data);
    let mut noisy = String::from("v=0\r\no=- x y IN IP4 broken\r\ns=\r\n");
    for line in text.split(['\n', '\r', '\0']).filter(|line| line.starts_with("m=") || line.starts_with("a=")) {
        noisy += line;
        noisy += "\r\nb=AS:what\r\nc=IN\r\n";
    }
    if noisy.len() <= peri_domain::limits::SDP_MAX {
        assert_eq!(sdp::parse(noisy.as_bytes()).as_ref(), Ok(&found), "noise matters");
    }
    let again = written(&found);
    if again.len() <= peri_domain::limits::SDP_MAX {
        assert_eq!(sdp::parse(again.as_bytes()).as_ref(), Ok(&found), "{again}");
    }
}

fn written(description: &Description) -> String {
    let video = &description.video;
    let kind = video.payload_type;
    let mut out = String::from("v=0\n");
    if let Some(control) = &description.control {
        out += &format!("a=control:{control}\n");
    }
    if description.has_audio {
        out += "m=audio 0 RTP/AVP 0\n";
    }
    out += &format!("m=video 0 RTP/AVP {kind}\na=rtpmap:{kind} H264/90000\n");
    if !video.parameter_sets.is_empty() {
        let sets: Vec<String> = video.parameter_sets.iter().map(|set| base64(set)).collect();
        out += &format!("a=fmtp:{kind} packetization-mode=1;sprop-parameter-sets={}\n", sets.join(","));
    }
    if let Some(control) = &video.control {
        out += &format!("a=control:{control}\n");
    }
    match video.milli_fps {
        Some(1_000_000) => out += "a=framerate:1000\n",
        // Half a step more, so that the cut to an integer does not depend on binary fractions.
        Some(milli) => out += &format!("a=framerate:{}.{:03}5\n", milli / 1000, milli % 1000),
        None => {}
    }
    out
}

/// RFC 4648, written here so that the round trip does not use the library under test.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    bytes
        .chunks(3)
        .flat_map(|chunk| {
            let word = chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
            (0..4).map(
                move |at| {
                    if at > chunk.len() { '=' } else { char::from(ALPHABET[(word >> (18 - 6 * at) & 63) as usize]) }
                },
            )
        })
        .collect()
}
