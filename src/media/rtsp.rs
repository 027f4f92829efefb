//! RTSP/1.0 (RFC 2326) over one TCP or TLS connection with interleaved RTP: client, small server, and their wire format.
//!
//! What does not belong: sockets, TLS, name resolution, passwords (see `auth`), reconnecting.

pub mod client;
pub mod server;
pub mod wire;

pub use rtsp_types::Url;

use crate::auth::AuthError;
use crate::sdp::SdpError;
use peri_domain::limits::{RTP_SILENCE_MAX, RTSP_RESPONSE_MAX};

/// Bytes a read buffer must hold so that every allowed message fits: the longest header and the longest body, which is
/// more than the longest interleaved packet.
pub const INPUT_BUFFER_MIN: usize = peri_domain::limits::RTSP_HEADER_MAX + peri_domain::limits::SDP_MAX;

/// Why a session with a camera ended or never began.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RtspError {
    /// The address is not usable.
    #[error("camera address {url:?} is not usable: {reason}")]
    Address {
        /// Address without credentials.
        url: String,
        /// What is wrong and what to write instead.
        reason: &'static str,
    },
    /// The bytes are not RTSP.
    #[error(transparent)]
    Wire(#[from] wire::WireError),
    /// Authentication cannot be done.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// User name or password are wrong.
    #[error("the camera refuses user name or password for its realm {realm:?}; correct the camera's credentials")]
    WrongPassword {
        /// Realm as the camera names it.
        realm: String,
    },
    /// The camera points elsewhere.
    #[error("the camera redirects to {location:?}, which is not followed; configure that address if it is right")]
    Redirected {
        /// Where to.
        location: String,
    },
    /// A request was refused.
    #[error("the camera answered {method} with {status} {reason:?}{remedy}")]
    Refused {
        /// Method of the request.
        method: &'static str,
        /// RTSP status.
        status: u16,
        /// Its text.
        reason: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// The answer lacks something.
    #[error("the camera's answer to {method} is unusable: {what}")]
    BadAnswer {
        /// Method of the request.
        method: &'static str,
        /// What is wrong.
        what: String,
    },
    /// The description offers nothing usable.
    #[error(transparent)]
    Description(#[from] SdpError),
    /// No answer.
    #[error("no answer to {method} within {} s; is the camera overloaded?", RTSP_RESPONSE_MAX.as_secs())]
    Timeout {
        /// Method of the request.
        method: &'static str,
    },
    /// No video.
    #[error("the camera sent no video for {} s; is its encoder running?", RTP_SILENCE_MAX.as_secs())]
    Silent,
}
