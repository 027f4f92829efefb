//! From a camera's bytes to fragments of fMP4: RTSP, SDP, RTP, H.264, and the helper that joins fragments again.
//!
//! What does not belong: sockets, clocks, files, passwords at rest, keys. Everything here is sans-I/O: bytes and times
//! come in as arguments, bytes and events go out. Every parser of outside bytes takes `&[u8]`, never panics, and stays
//! within `peri_domain::limits`.
//!
//! ```text
//! socket ─▶ rtsp::client ─▶ rtp ─▶ h264::Depacketizer ─▶ fragment::Fragmenter ─▶ (seal)
//!              ▲ sdp          │          writes NAL units once, straight into the fragment's buffer
//!              auth           └▶ wallclock (arrival times, sender reports)
//! ```
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod auth;
pub mod fragment;
pub mod h264;
pub mod mp4join;
pub mod rtp;
pub mod rtsp;
pub mod sdp;
pub mod timeline;
pub mod wallclock;

mod mp4;
