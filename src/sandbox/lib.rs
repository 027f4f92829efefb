//! What holds a process down, and what it may lean on: seccomp, Landlock, privileges, spawning, descriptor channels,
//! durable files, clocks, locked memory.
//!
//! The only crate of the workspace with `unsafe`; each use carries a SAFETY note and the reason why no safe call does.
//! What does not belong: any knowledge of video, keys, rosters or messages. Invariants:
//! - every open is relative to a directory descriptor and follows no symbolic link;
//! - every descriptor is born close-on-exec;
//! - nothing is reported as durable before fsync of the file *and* of its directory returned;
//! - only [`clock::SystemClock`] reads a clock.
#![allow(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod channel;
pub mod clock;
pub mod confine;
pub mod durable;
pub mod landlock;
pub mod memory;
#[cfg(test)]
mod policy;
pub mod poll;
pub mod privileges;
pub mod probe;
pub mod seccomp;
pub mod spawn;
