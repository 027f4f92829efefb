//! How things become entries: events of other roles within their bounds, scribe's own, and alarms.
//!
//! What does not belong: who may say what (`quota`), where entries go (`books`), how long alarms stand (`alarms`).

use super::{Scribe, quota};
use crate::message::Event;
use peri_domain::{CameraId, Nonce, limits};
use peri_ledger::EntryType;
use peri_sandbox::clock::Clock as _;
use std::time::Duration;

impl Scribe {
    /// An event from another role. A recorder may only speak of its own camera, and each role only of its own things.
    pub(super) fn take_event(&mut self, event: Event, sender: quota::Sender) {
        let Some(kind) = EntryType::from_code(event.code).filter(|kind| sender.may_enter(*kind)) else {
            if self.quotas.is_first_breach(sender) {
                let text = format!("{sender} wants to enter what is not its business (type {:#06x})", event.code);
                self.alarm(EntryType::SandboxViolation, sender.camera(), &text);
            }
            return;
        };
        if !self.quotas.take(sender, kind, self.clock.monotonic()) {
            return;
        }
        let camera = sender.camera().or(event.camera);
        let text = clean(&event.text, Event::TEXT_MAX);
        let alarming = matches!(
            kind,
            EntryType::RosterAlarm | EntryType::SandboxViolation | EntryType::RoleDied | EntryType::ClockJump
        );
        if alarming { self.alarm(kind, camera, &text) } else { self.record(kind, camera, &text) }
    }

    /// Tells of what was too much to be entered one by one.
    pub(super) fn sum_up(&mut self, now: Duration) {
        for (sender, kind, count) in self.quotas.over(now) {
            let text = format!("{count} more of {sender} within a minute");
            match kind {
                Some(kind) => self.record(kind, sender.camera(), &text),
                None => self.record(EntryType::RequestRefused, None, &format!("{text}, without a key in office")),
            }
        }
    }

    pub(super) fn alarm(&mut self, kind: EntryType, camera: Option<CameraId>, text: &str) {
        self.raise(kind, camera, text);
        self.record(kind, camera, text);
    }

    /// Puts an alarm where health shows it.
    pub(super) fn raise(&mut self, kind: EntryType, camera: Option<CameraId>, text: &str) {
        let line = match camera {
            Some(camera) => format!("{} {kind}: camera {camera}: {text}", self.clock.utc()),
            None => format!("{} {kind}: {text}", self.clock.utc()),
        };
        self.alarms.raise(line);
    }

    pub(super) fn record(&mut self, kind: EntryType, camera: Option<CameraId>, text: &str) {
        let detail = EventDetail { camera, text: text.to_owned() };
        let event = peri_ledger::Event::new(kind, self.clock.utc()).with_detail(salt(), &detail);
        self.enter(event);
    }

    pub(super) fn enter(&mut self, event: peri_ledger::Event) {
        let now = self.clock.monotonic();
        match &mut self.books {
            Some(books) => books.record(event, now),
            None if self.early_events.len() < limits::BATCH_ENTRIES_MAX => self.early_events.push(event),
            None => {}
        }
    }
}

/// Details of an event: what the commitment of the entry commits to.
#[derive(Debug, minicbor::Encode, minicbor::Decode)]
pub(crate) struct EventDetail {
    /// The camera concerned.
    #[n(0)]
    pub camera: Option<CameraId>,
    /// Plain words.
    #[n(1)]
    pub text: String,
}

/// Details of an opened epoch: the record itself, so that the ledger alone shows who could open what.
#[derive(Debug, minicbor::Encode, minicbor::Decode)]
pub(crate) struct EpochDetail {
    /// The camera.
    #[n(0)]
    pub camera: CameraId,
    /// Encoded epoch record.
    #[n(1)]
    pub record: minicbor::bytes::ByteVec,
}

/// A text from another process: bounded, and without control characters (PostgreSQL takes no NUL, terminals obey escapes).
pub(super) fn clean(text: &str, most: usize) -> String {
    text[..text.floor_char_boundary(most)].replace(char::is_control, " ")
}

pub(super) fn salt() -> Nonce {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).expect("the kernel always has randomness after boot");
    Nonce(salt)
}
