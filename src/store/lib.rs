//! Everything that lies on disk or in the database: schema and ledger rows, the X key file, segment files, retention,
//! fsck.
//!
//! What does not belong: decisions about who may look (roster, access), opening of sealed bytes (no key of this crate
//! opens a fragment alone).
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod coverage;
pub mod db;
pub mod fsck;
pub mod index;
pub mod journal;
pub mod logins;
pub mod retention;
pub mod root;
pub mod schema;
pub mod segments;
pub mod spool;
#[cfg(any(test, feature = "testdb"))]
pub mod testdb;
pub mod xfile;
