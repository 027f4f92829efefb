//! Sessions, windows and the client's half against a model: pages, browsers that send again, breaking connections,
//! restarts of scribe, and somebody who can copy every request and play it at any time.
//!
//! The network model is TCP as the portal passes it on: a request of a broken connection arrives before the break or
//! never. Signatures are left out (`proof` has them): the attacker here has what they would leave him, exact copies.

use crate::channel::{Outbox, Outcome};
use crate::proof::{BootEpoch, ChannelId, Genuine, Proof, Seen};
use crate::session::{Session, SessionKey, SessionSignature, SignedCertificate};
use crate::sessions::{Sessions, Verdict};
use peri_domain::{Nonce, UtcNanos, VmId};
use peri_seal::{KeyPair, rng};
use proptest::prelude::*;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::OnceLock;

const NOW: UtcNanos = UtcNanos::from_secs(1_000);
/// Chromium was seen to send three times; one more does no harm.
const RESENDS: u8 = 3;
const PAGES: usize = 3;

fn session() -> &'static Session {
    static SESSION: OnceLock<Session> = OnceLock::new();
    SESSION.get_or_init(|| {
        let (user, key) = (KeyPair::generate(&mut rng::system()), SessionKey::generate(&mut rng::system()));
        SignedCertificate::issue(VmId([0; 16]), &user, key.public(), NOW, UtcNanos::from_secs(9_000), PAGES as u16)
            .verify(VmId([0; 16]), user.public(), NOW)
            .unwrap()
    })
}

struct Message {
    genuine: Genuine,
    /// Counters whose answer the page had seen when it signed.
    answered: BTreeSet<u64>,
}

struct Page {
    channel: ChannelId,
    boot: BootEpoch,
    outbox: Outbox,
    answered: BTreeSet<u64>,
}

enum Stage {
    ToServer,
    ToPage(Verdict),
}

/// One connection with one request on it.
struct Flight {
    page: usize,
    message: usize,
    resends: u8,
    stage: Stage,
}

type Request = (ChannelId, u64);

struct World {
    server: Sessions,
    pages: Vec<Page>,
    flights: Vec<Flight>,
    sent: Vec<Message>,
    drawn: u64,
    executed: HashMap<Request, u32>,
    /// Requests whose answer the server knows to be seen.
    acknowledged: HashSet<Request>,
    /// Requests of which the attacker's copy came when they had been executed and not yet settled.
    copied: HashSet<Request>,
    attacked: bool,
    locked: bool,
}

impl World {
    fn new() -> Self {
        let mut server = Sessions::new(BootEpoch(nonce(1)));
        server.admit(session(), NOW).unwrap();
        let mut world = Self {
            server,
            pages: vec![],
            flights: vec![],
            sent: vec![],
            drawn: 1,
            executed: HashMap::new(),
            acknowledged: HashSet::new(),
            copied: HashSet::new(),
            attacked: false,
            locked: false,
        };
        for _ in 0..PAGES {
            let page = world.fresh_page();
            world.pages.push(page);
        }
        world
    }

    fn draw(&mut self) -> Nonce {
        self.drawn += 1;
        nonce(self.drawn)
    }

    fn fresh_page(&mut self) -> Page {
        let channel = ChannelId(self.draw());
        Page { channel, boot: self.server.boot(), outbox: Outbox::default(), answered: BTreeSet::new() }
    }

    /// F5, a resync, an ended channel: memory and connections of the page are gone.
    fn reload(&mut self, page: usize) {
        self.flights.retain(|flight| flight.page != page);
        self.pages[page] = self.fresh_page();
    }

    fn send(&mut self, at: usize) {
        let page = &mut self.pages[at];
        let Ok((counter, progress)) = page.outbox.begin() else { return };
        let genuine = Genuine::assumed(Proof {
            session: session().id(),
            channel: page.channel,
            counter,
            progress,
            boot: page.boot,
            signature: SessionSignature([0; 64]),
        });
        self.sent.push(Message { genuine, answered: page.answered.clone() });
        self.flights.push(Flight { page: at, message: self.sent.len() - 1, resends: 0, stage: Stage::ToServer });
    }

    /// Everything that reaches the server, from whomever, with all that must hold then.
    fn arrive(&mut self, message: usize, by_attacker: bool) -> Verdict {
        let fresh = self.draw();
        let Message { genuine, answered } = &self.sent[message];
        let verdict = self.server.arrive(genuine, fresh, NOW);
        let proof = genuine.proof();
        let request = (proof.channel, proof.counter);
        let before = self.executed.get(&request).copied().unwrap_or(0);
        match verdict {
            Verdict::Execute => {
                assert_eq!(before, 0, "executed twice");
                assert_eq!(proof.boot, self.server.boot());
                self.executed.insert(request, 1);
                for counter in answered {
                    let known = (proof.channel, *counter);
                    assert!(!self.copied.contains(&known), "a copy of {counter} and its answer went unnoticed");
                    self.acknowledged.insert(known);
                }
            }
            Verdict::Copy(_) => {
                assert_eq!(before, 1, "a copy of what never came");
                assert!(!self.acknowledged.contains(&request), "a copy after the acknowledgement did not lock");
                if by_attacker {
                    self.copied.insert(request);
                }
            }
            Verdict::Lock(reason) => {
                assert!(self.attacked, "an honest client was locked: {reason}");
                self.locked = true;
            }
            Verdict::Resync(_) => assert!(proof.boot != self.server.boot()),
            Verdict::GivenUp | Verdict::ChannelEnded => {
                assert!(!self.acknowledged.contains(&request), "a copy after the acknowledgement did not lock");
                assert!(by_attacker || verdict == Verdict::ChannelEnded, "an honest request was refused");
            }
            other => panic!("{other:?}"),
        }
        verdict
    }

    fn attack(&mut self, message: usize) {
        self.attacked = true;
        let (known, current) = {
            let proof = self.sent[message].genuine.proof();
            (self.acknowledged.contains(&(proof.channel, proof.counter)), proof.boot == self.server.boot())
        };
        let verdict = self.arrive(message, true);
        if known && current {
            assert!(matches!(verdict, Verdict::Lock(_)), "{verdict:?} for a copy after the acknowledgement");
        }
    }

    /// One step of a connection: the request reaches scribe, or the answer the page.
    fn step(&mut self, at: usize) {
        let (page, message) = (self.flights[at].page, self.flights[at].message);
        let verdict = match self.flights[at].stage {
            Stage::ToServer => {
                let verdict = self.arrive(message, false);
                self.flights[at].stage = Stage::ToPage(verdict);
                return;
            }
            Stage::ToPage(verdict) => verdict,
        };
        self.flights.swap_remove(at);
        let counter = self.sent[message].genuine.proof().counter;
        let outcome = match verdict {
            Verdict::Execute => Outcome::Answer,
            Verdict::Copy(nonce) => Outcome::Other(Seen::Nonce(nonce)),
            Verdict::Resync(_) | Verdict::ChannelEnded => return self.reload(page),
            _ => return,
        };
        let page = &mut self.pages[page];
        page.outbox.finish(counter, outcome).unwrap();
        if outcome == Outcome::Answer {
            page.answered.insert(counter);
        }
    }

    /// The connection ends; the browser sends the same bytes again on another one, or tells the page.
    fn break_connection(&mut self, at: usize, again: bool) {
        let Flight { page, message, resends, .. } = self.flights.swap_remove(at);
        if again && resends < RESENDS {
            self.flights.push(Flight { page, message, resends: resends + 1, stage: Stage::ToServer });
        } else {
            let counter = self.sent[message].genuine.proof().counter;
            self.pages[page].outbox.finish(counter, Outcome::Other(Seen::Failure)).unwrap();
        }
    }

    fn restart(&mut self) {
        let boot = BootEpoch(self.draw());
        self.server = Sessions::new(boot);
        self.server.admit(session(), NOW).unwrap();
        self.acknowledged.clear();
        self.copied.clear();
    }

    fn run(&mut self, script: &[(u8, u16)], attacker: bool) {
        for (what, which) in script {
            if self.locked {
                return;
            }
            let which = usize::from(*which);
            match what % 32 {
                0..=8 => self.send(which % PAGES),
                9..=22 if !self.flights.is_empty() => self.step(which % self.flights.len()),
                23..=25 if !self.flights.is_empty() => self.break_connection(which % self.flights.len(), true),
                26 if !self.flights.is_empty() => self.break_connection(which % self.flights.len(), false),
                27 if which % 8 == 0 => self.reload(which % PAGES),
                28 if which % 16 == 0 => self.restart(),
                29 if which % 8 == 0 => {
                    self.server.end_channel(session().id(), self.pages[which % PAGES].channel);
                }
                30..=31 if attacker && !self.sent.is_empty() => {
                    // Half of the copies are of recent requests: that is where it is close.
                    let age = if which % 2 == 0 { which % 8 } else { which };
                    self.attack(self.sent.len() - 1 - age % self.sent.len());
                }
                _ => {}
            }
        }
    }

    /// Lets everything arrive and every page say once more what it saw.
    fn settle(&mut self) {
        for _ in 0..PAGES * 40 {
            (0..PAGES).for_each(|page| self.send(page));
            while !self.locked && !self.flights.is_empty() {
                self.step(0);
            }
        }
    }
}

fn nonce(n: u64) -> Nonce {
    Nonce(u128::from(n).to_be_bytes())
}

fn scripts() -> impl Strategy<Value = Vec<(u8, u16)>> {
    proptest::collection::vec(any::<(u8, u16)>(), 0..600)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn an_honest_client_is_never_locked_and_nothing_is_executed_twice(script in scripts()) {
        let mut world = World::new();
        world.run(&script, false);
        world.settle();
        prop_assert!(!world.locked);
        // Once all is said, every page is at rest and nothing of it is in doubt.
        for page in &world.pages {
            prop_assert_eq!(page.outbox.pending(), 0);
        }
        (0..PAGES).for_each(|at| world.server.end_channel(session().id(), world.pages[at].channel));
        let last: BTreeSet<_> = world.pages.iter().map(|page| page.channel).collect();
        prop_assert!(world.server.take_notes().iter().all(|note| !last.contains(&note.channel)));
    }

    #[test]
    fn a_copy_locks_at_once_or_with_the_next_message_or_gains_ciphertext(script in scripts()) {
        let mut world = World::new();
        world.run(&script, true);
        if !world.locked {
            world.settle();
        }
        if world.locked {
            let any = world.sent.len() - 1;
            let verdict = world.server.arrive(&world.sent[any].genuine, nonce(0), NOW);
            prop_assert_eq!(verdict, Verdict::Locked);
        }
    }
}

#[test]
fn a_copy_that_is_never_resolved_is_noted_when_its_channel_ends() {
    let mut world = World::new();
    world.send(0);
    world.step(0);
    world.attack(0);
    world.attack(0);
    let channel = world.pages[0].channel;
    world.server.end_channel(session().id(), channel);
    world.server.end_channel(session().id(), channel);
    let notes = world.server.take_notes();
    assert_eq!(
        notes.iter().map(|note| (note.channel, note.counter, note.copies)).collect::<Vec<_>>(),
        [(channel, 1, 2)]
    );
    // The same when the session runs out, or another page pushes it out.
    let mut world = World::new();
    world.send(0);
    world.step(0);
    world.attack(0);
    for _ in 0..PAGES {
        world.reload(1);
        world.send(1);
        let last = world.flights.len() - 1;
        world.step(last);
    }
    assert_eq!(world.server.take_notes().len(), 1);
}

#[test]
fn copies_from_before_a_restart_are_worth_nothing_and_a_lock_outlives_it() {
    let mut world = World::new();
    world.send(0);
    world.step(0);
    world.step(0);
    world.send(0);
    world.step(0);
    let boot = world.server.boot();
    world.restart();
    for message in 0..2 {
        assert_eq!(world.arrive(message, true), Verdict::Resync(world.server.boot()));
    }
    assert!(boot != world.server.boot());
    world.server.restore_locked(session().id(), session().not_after());
    assert_eq!(world.server.arrive(&world.sent[0].genuine, nonce(0), NOW), Verdict::Locked);
    assert!(world.server.admit(session(), NOW).is_err());
    assert_eq!(world.server.arrive(&world.sent[0].genuine, nonce(0), session().not_after()), Verdict::Unknown);
}

#[test]
fn a_session_opens_a_bounded_number_of_channels() {
    let mut world = World::new();
    for _ in 0..peri_domain::limits::CHANNELS_MAX {
        world.reload(0);
        world.send(0);
        assert_eq!(world.arrive(world.sent.len() - 1, false), Verdict::Execute);
    }
    world.reload(0);
    world.send(0);
    let fresh = world.draw();
    assert_eq!(world.server.arrive(&world.sent.last().unwrap().genuine, fresh, NOW), Verdict::ChannelsSpent);
    // The channels before are still known: a copy from one of them opens nothing anew.
    assert_eq!(world.arrive(0, true), Verdict::ChannelEnded);
}

#[test]
fn one_account_cannot_take_every_session_and_a_page_is_not_ended_by_copies_of_another() {
    let user = KeyPair::generate(&mut rng::system());
    let made = || {
        let key = SessionKey::generate(&mut rng::system());
        SignedCertificate::issue(VmId([0; 16]), &user, key.public(), NOW, UtcNanos::from_secs(9_000), 1)
            .verify(VmId([0; 16]), user.public(), NOW)
            .unwrap()
    };
    let mut world = World::new();
    let admitted = (0..40).filter(|_| world.server.admit(&made(), NOW).is_ok()).count();
    assert_eq!(admitted, 32);
    let mut others = Sessions::new(BootEpoch(nonce(1)));
    others.admit(session(), NOW).unwrap();
    assert!(others.admit(&made(), NOW).is_ok());
    // Pages 0, 1, 2 in this order; copies of page 0 do not make it look busy.
    for page in 0..PAGES {
        world.send(page);
        world.step(page);
    }
    world.attack(0);
    let (gone, kept) = (world.pages[0].channel, world.pages[1].channel);
    world.reload(2);
    world.send(2);
    assert_eq!(world.arrive(world.sent.len() - 1, false), Verdict::Execute);
    let ended: Vec<_> = world.server.take_notes().iter().map(|note| note.channel).collect();
    assert_eq!(ended, [gone]);
    assert!(kept != gone);
}
