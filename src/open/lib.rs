//! Opening what `peri-seal` sealed: wraps, shares, X, fragments, whole segments, users' stored keys.
//!
//! The only code that unseals. No server binary links this crate (checked by symbol and by `cargo tree`): it runs on the
//! machines of the people whom the customer named. What does not belong: the network, the command line, decisions about
//! who may look. Invariants: no secret is returned that does not match the commitment of a record; no plaintext is
//! returned that was not authenticated; errors name what is wrong and never fall back to a guess.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod content;
pub mod fragment;
pub mod post;
pub mod segment;
pub mod shares;
pub mod userkey;
pub mod wrap;

#[cfg(test)]
mod vectors;

pub use content::content_key;
pub use fragment::FragmentOpener;
pub use post::open_post;
pub use segment::{Ending, OpenSegment, SegmentReader};
pub use shares::{OpenedShare, join};
pub use wrap::{open_share, open_wrap, open_x};
