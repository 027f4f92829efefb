//! The appliance: supervisor and roles, each a process of its own with its own uid, filter and Landlock rules.
//!
//! ```text
//!  supervisor ── starts and links ──▶ keeper, scribe, portal, recorder × n, postgres
//!  camera ─▶ recorder ─ sealed ─▶ segment file      keeper ─ K ─▶ recorder      scribe ─ X, file ─▶ keeper
//!  client ─▶ portal ─▶ scribe ─▶ keeper (statements)
//! ```
//! What does not belong: opening of sealed bytes (no crate here links `peri-open`), provisioning. Invariants, as
//! absences: `portal` cannot name a content key; `recorder` names no file; `scribe` never meets E; `keeper` has no
//! network and no database; `supervisor` reads no message between roles.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod boot;
pub mod cli;
pub mod config;
pub mod dns;
mod keeper;
mod link;
mod maintenance;
pub mod message;
mod migrate;
mod portal;
pub use portal::{POLICY, live, routes};
mod recorder;
mod scribe;
mod supervisor;
mod walls;
