//! Who this appliance is, for everybody who can reach it: `/.well-known/peri`.
//!
//! What does not belong: proof. A client that must know asks `/v1/hello` with a nonce of its own and checks the signature.

use super::questions::Questions;
use super::{page, tls};
use crate::message::ScribeToPortal;
use peri_access::wire::{Ask, BirthCertificate, Problem, decode_strict};
use peri_sandbox::clock::{Clock as _, SystemClock};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A certificate costs keeper a signature; strangers get one of the last seconds.
const FRESH: Duration = Duration::from_secs(5);

/// The document, and when it was made by the monotonic clock.
#[derive(Default)]
pub(super) struct Identity(Mutex<Option<(Duration, Value)>>);

impl Identity {
    /// The document.
    ///
    /// # Errors
    /// Keeper or scribe is away.
    pub(super) async fn document(&self, questions: &Arc<Questions>) -> Result<Value, Problem> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let begun = SystemClock.monotonic();
        if let Some((_, document)) = kept.filter(|(made, _)| begun.saturating_sub(*made) < FRESH) {
            return Ok(document);
        }
        let mut nonce = [0; 32];
        getrandom::fill(&mut nonce).map_err(|e| Problem::new(500, "random", "No randomness", e.to_string()))?;
        let mut question = questions.ask(Ask::Hello { nonce }, None)?;
        let body = match question.answer().await? {
            (ScribeToPortal::Answer { body, .. }, _) => body,
            (ScribeToPortal::Problem { problem, .. } | ScribeToPortal::NotTaken { problem, .. }, _) => {
                return Err(problem);
            }
            _ => return Err(super::questions::away()),
        };
        let birth: BirthCertificate = decode_strict(&body).map_err(|_| super::questions::away())?;
        let now = SystemClock.utc();
        let ending =
            tls::ending(tls::year(now)).into_iter().map(|name| format!("use_by: {name} is used for the last year"));
        let notices: Vec<_> = birth.notices.into_iter().chain(ending).collect();
        let document = json!({
            "vm": birth.vm.to_string(),
            "claimed": birth.claimed,
            "identity_key": birth.device.fingerprint().to_string(),
            "provisioning": birth.provisioning.to_string(),
            "ledger_keys": birth.ledger_keys,
            "tls_key": birth.tls.as_ref().map(|tls| tls.key.to_string()),
            "tls_authority": birth.tls.as_ref().map(|tls| hex(&tls.authority)),
            "page": *page::HASH,
            "image": Value::Null,
            "notices": notices,
            "version": env!("CARGO_PKG_VERSION"),
        });
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((begun, document.clone()));
        Ok(document)
    }
}

/// Small hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        text.extend([byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or('?')));
        text
    })
}
