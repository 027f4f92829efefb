//! Questions on their way to scribe: numbered, answered by number, told at once when scribe goes away.
//!
//! What does not belong: what is asked. Invariants: a question ends with its value, and then nothing waits for it any more; an
//! answer that nobody waits for is dropped; a client that does not listen never holds up the answers of others.

use crate::boot::Reporter;
use crate::message::{Peer, PortalToScribe, Report, ScribeToPortal, Source};
use peri_access::wire::{Ask, Method, Problem, decode_strict};
use peri_domain::limits;
use peri_sandbox::channel::Channel;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// Longest wait for scribe: the ledger's batch, a database that is just coming back, 24 sealed X.
const SCRIBE_PATIENCE: Duration = Duration::from_secs(30);
/// A handshake waits on a worker of the server, and others with it: less.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(3);
/// All that scribe ever says to one question: its answer, and that a stream is over.
const ANSWERS: usize = 4;

/// What scribe says, and the descriptor that comes along.
pub(super) type FromScribe = (ScribeToPortal, Option<OwnedFd>);

enum Waiting {
    Task(mpsc::Sender<FromScribe>),
    /// A handshake: rustls asks for a signature and waits.
    Thread(SyncSender<FromScribe>),
}

/// See the module.
pub(super) struct Questions {
    scribe: Mutex<Option<Arc<Channel>>>,
    pending: Mutex<HashMap<u64, Waiting>>,
    next_id: AtomicU64,
    supervisor: Reporter,
}

/// A question that was sent.
pub(super) struct Question {
    id: u64,
    asked: Arc<Questions>,
    answers: mpsc::Receiver<FromScribe>,
    /// Scribe counts it among those who are shown the running epoch.
    follows: bool,
}

/// What a wait for more brought.
pub(super) enum More {
    /// Scribe's next word.
    Said,
    /// Scribe is gone, or has said all.
    Over,
    /// Nothing in this time.
    Nothing,
}

/// Scribe cannot be asked.
pub(super) fn away() -> Problem {
    Problem::new(
        503,
        "scribe_away",
        "The appliance cannot answer just now",
        "its ledger process is restarting; recording goes on; try again in a few seconds",
    )
    .retry_after(2)
}

impl Questions {
    pub(super) fn new(supervisor: Reporter) -> Self {
        let (scribe, pending) = (Mutex::new(None), Mutex::new(HashMap::new()));
        Self { scribe, pending, next_id: AtomicU64::new(1), supervisor }
    }

    /// A new scribe. Questions to the old one are never answered; each waiting client is told at once.
    pub(super) fn link(&self, channel: Arc<Channel>) {
        *lock(&self.scribe) = Some(channel);
        lock(&self.pending).clear();
    }

    /// Takes scribe's messages until the link dies. The supervisor makes it anew where scribe lives.
    pub(super) fn receive(&self, channel: &Channel) {
        let mut buffer = vec![0; limits::MESSAGE_MAX];
        loop {
            let (length, mut fds) = match channel.recv(&mut buffer) {
                Ok(Some(received)) => received,
                Ok(None) => match channel.wait_readable(None) {
                    Ok(_) => continue,
                    Err(_) => break,
                },
                Err(_) => break,
            };
            let Ok(message) = decode_strict::<ScribeToPortal>(&buffer[..length]) else { break };
            // The queue of one question holds all that scribe ever says to it; a full one belongs to a dead client.
            match lock(&self.pending).get(&message.id()) {
                Some(Waiting::Task(waiting)) => drop(waiting.try_send((message, fds.pop()))),
                Some(Waiting::Thread(waiting)) => drop(waiting.try_send((message, fds.pop()))),
                None => {}
            }
        }
        let mut current = lock(&self.scribe);
        if current.as_ref().is_some_and(|c| std::ptr::eq(Arc::as_ptr(c), channel)) {
            *current = None;
            drop(current);
            lock(&self.pending).clear();
            // A supervisor that is gone ends this process anyway.
            let _ = self.supervisor.report(&Report::LinkLost(Peer::Scribe));
        }
    }

    /// A client's frame.
    pub(super) fn ask(self: &Arc<Self>, ask: Ask, source: Option<Source>) -> Result<Question, Problem> {
        let ask = Box::new(ask);
        let follows = matches!(&*ask, Ask::Request(request) if request.method == Method::Fetch);
        let mut question = self.put(|id| PortalToScribe::Ask { id, ask, source })?;
        // Until the answer says otherwise: whoever goes away before it must not be counted on.
        question.follows = follows;
        Ok(question)
    }

    /// Any question.
    pub(super) fn put(self: &Arc<Self>, make: impl FnOnce(u64) -> PortalToScribe) -> Result<Question, Problem> {
        let (sender, answers) = mpsc::channel(ANSWERS);
        let id = self.send(Waiting::Task(sender), make)?;
        Ok(Question { id, asked: self.clone(), answers, follows: false })
    }

    /// The signature of a handshake; waits for it.
    pub(super) fn sign_handshake(&self, transcript: &[u8]) -> Option<Vec<u8>> {
        let (sender, answers) = std::sync::mpsc::sync_channel(1);
        let transcript = transcript.to_vec().into();
        let asked = self.send(Waiting::Thread(sender), |id| PortalToScribe::SignHandshake { id, transcript });
        let id = asked.ok()?;
        let answer = answers.recv_timeout(HANDSHAKE_PATIENCE);
        lock(&self.pending).remove(&id);
        match answer {
            Ok((ScribeToPortal::HandshakeSigned { signature, .. }, _)) if !signature.is_empty() => {
                Some(signature.into())
            }
            _ => None,
        }
    }

    fn send(&self, waiting: Waiting, make: impl FnOnce(u64) -> PortalToScribe) -> Result<u64, Problem> {
        let scribe = lock(&self.scribe).clone().ok_or_else(away)?;
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let message = minicbor::to_vec(make(id)).expect("encoding into a Vec cannot fail");
        lock(&self.pending).insert(id, waiting);
        if scribe.send(&message, &[]).is_err() {
            lock(&self.pending).remove(&id);
            return Err(away());
        }
        Ok(id)
    }
}

impl Question {
    /// Scribe's answer.
    ///
    /// # Errors
    /// That it is away.
    pub(super) async fn answer(&mut self) -> Result<FromScribe, Problem> {
        match tokio::time::timeout(SCRIBE_PATIENCE, self.answers.recv()).await {
            Ok(Some(said)) => {
                self.follows = matches!(said.0, ScribeToPortal::Stream { follow_until: Some(_), .. });
                Ok(said)
            }
            Ok(None) | Err(_) => Err(away()),
        }
    }

    /// Waits for more, at most so long. What comes behind a stream is always that it is over.
    pub(super) async fn more(&mut self, patience: Duration) -> More {
        match tokio::time::timeout(patience, self.answers.recv()).await {
            Ok(Some(_)) => {
                self.follows = false;
                More::Said
            }
            Ok(None) => More::Over,
            Err(_) => More::Nothing,
        }
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        lock(&self.asked.pending).remove(&self.id);
        let scribe = if self.follows { lock(&self.asked.scribe).clone() } else { None };
        if let Some(scribe) = scribe {
            let left = PortalToScribe::Left { id: self.id };
            // Gone: then it counts nobody any more.
            let _ = scribe.send(&minicbor::to_vec(left).expect("encoding into a Vec cannot fail"), &[]);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panicked thread leaves these maps whole: each change is one insert or remove.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Order;
    use peri_sandbox::channel::Typed;

    fn questions() -> (Arc<Questions>, Typed<Order, Report>) {
        let (ours, theirs) = Channel::pair().unwrap();
        (Arc::new(Questions::new(ours.into())), Typed::new(theirs))
    }

    fn link(questions: &Arc<Questions>) -> (Channel, std::thread::JoinHandle<()>) {
        let (ours, scribe) = Channel::pair().unwrap();
        let ours = Arc::new(ours);
        questions.link(ours.clone());
        let for_thread = questions.clone();
        (scribe, std::thread::spawn(move || for_thread.receive(&ours)))
    }

    #[test]
    fn a_dead_link_is_reported_once_and_a_replaced_one_is_not() {
        let (questions, mut supervisor) = questions();
        let (old, old_thread) = link(&questions);
        let (new, new_thread) = link(&questions);
        drop(old);
        old_thread.join().unwrap();
        assert!(lock(&questions.scribe).is_some(), "the new link stands");
        assert_eq!(supervisor.recv().unwrap(), None);

        // Bytes that are no message break a link just as a dead peer does.
        let mut waiting = questions.ask(Ask::Nonce, None).unwrap();
        new.send(&[0xff], &[]).unwrap();
        new_thread.join().unwrap();
        assert!(lock(&questions.scribe).is_none());
        assert_eq!(supervisor.recv().unwrap(), Some(Report::LinkLost(Peer::Scribe)));
        assert_eq!(supervisor.recv().unwrap(), None);
        assert!(waiting.answers.try_recv().is_err(), "who waits is told at once");
        assert!(questions.ask(Ask::Nonce, None).is_err());
        drop(waiting);
        assert!(lock(&questions.pending).is_empty());
    }
}
