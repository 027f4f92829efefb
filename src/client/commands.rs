//! The commands, one file per subject; each takes its arguments and a [`crate::context::Context`] and returns a report.
//!
//! What does not belong: printing, parsing of the command line as a whole.

pub mod account;
pub mod camera;
pub mod claim;
pub mod export;
pub mod find;
pub mod grant;
pub mod invite;
pub mod key;
pub mod ledger;
pub mod post;
pub mod proposal;
pub mod rules;
pub mod seat;
pub mod show;
pub mod trust;
pub mod watch;
