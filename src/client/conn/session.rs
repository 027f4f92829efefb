//! A session that this connection holds: its key, its certificate, its present channel.
//!
//! What does not belong: sending, what answers mean. Invariants: the session key is in memory only and is wiped with it; a
//! session asks for one channel, so that a second process with a copy of its key shows.

use super::random;
use peri_access::channel::{ChannelError, Outbox, Outcome};
use peri_access::proof::{BootEpoch, ChannelId, Proof};
use peri_access::session::{Opening, SessionKey, SignedCertificate};
use peri_access::wire::{Method, Request, request_line};
use peri_domain::{Nonce, UtcNanos, VmId};
use peri_seal::keys::KeyPair;
use peri_seal::rng;
use std::time::Duration;

/// Length of a session: most commands take seconds; who watches longer certifies anew, the roster key being open. It also
/// bounds how long the session of a client that was killed stands in scribe.
const LENGTH: Duration = Duration::from_secs(15 * 60);
/// A session that ends so soon is not used for another request: the two clocks may differ by so much.
const MARGIN: Duration = Duration::from_secs(60);

/// See the module.
pub(super) struct Held {
    vm: VmId,
    key: SessionKey,
    certified: SignedCertificate,
    boot: BootEpoch,
    channel: ChannelId,
    outbox: Outbox,
}

impl Held {
    /// A new session key, certified by `who`; not shown yet.
    pub(super) fn new(vm: VmId, who: &KeyPair, now: UtcNanos) -> Self {
        let key = SessionKey::generate(&mut rng::system());
        let certified = SignedCertificate::issue(vm, who, key.public(), now, now + LENGTH, 1);
        let (boot, channel) = (BootEpoch(Nonce([0; 16])), ChannelId(Nonce(random())));
        Self { vm, key, certified, boot, channel, outbox: Outbox::default() }
    }

    /// What is shown to scribe.
    pub(super) fn opening(&self, nonce: Nonce) -> Opening {
        Opening::new(&mut rng::system(), self.certified.clone(), nonce, &self.key)
    }

    /// Whether it is too late for another request.
    pub(super) fn is_ending(&self, now: UtcNanos) -> bool {
        now + MARGIN >= self.certified.certificate.not_after
    }

    /// Goes on in a new channel, under a new life of scribe where there is one.
    pub(super) fn new_channel(&mut self, boot: Option<BootEpoch>) {
        self.boot = boot.unwrap_or(self.boot);
        self.channel = ChannelId(Nonce(random()));
        self.outbox = Outbox::default();
    }

    /// The next request of the channel, and its number.
    ///
    /// # Errors
    /// [`ChannelError::Full`].
    pub(super) fn sign(&mut self, method: Method, body: Vec<u8>) -> Result<(Request, u64), ChannelError> {
        let (counter, progress) = self.outbox.begin()?;
        let line = request_line(method, &body).expect("our methods have request lines");
        let (rng, key) = (&mut rng::system(), &self.key);
        let proof = Proof::sign(rng, key, self.vm, self.boot, self.channel, counter, progress, &line);
        Ok((Request { method, body: body.into(), proof }, counter))
    }

    /// What became of a request. One of a channel that was left is of no interest any more.
    pub(super) fn settle(&mut self, counter: u64, outcome: Outcome) {
        let _ = self.outbox.finish(counter, outcome);
    }
}
