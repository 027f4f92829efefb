//! Portal's questions: each is checked here again, whatever portal says about it.

use super::quota::Sender;
use super::{EventDetail, Follower, PortalLink, Scribe, Waiting, salt, tls};
use crate::link::{self, MESSAGES_PER_TURN};
use crate::message::{PortalToScribe, ScribeToKeeper, ScribeToPortal, Source};
use peri_access::Allowed;
use peri_access::decide::{self, Denied, Object, Principal};
use peri_access::wire::{
    Ask, CoverageKind, CoverageSpan, FetchBody, LedgerBody, LedgerPage, Method, OPEN_EPOCHS_MAX, OpenBody, OpenedPage,
    Problem, Request, RosterBody, RosterPage, SealedX, SegmentInfo, SegmentsPage, SpanBody, decode_strict,
};
use peri_domain::{Action, EpochNo, Fingerprint, Nonce, Pseudonym, UtcNanos, limits};
use peri_ledger::{EntryType, Event};
use peri_roster::Statement;
use peri_sandbox::clock::Clock as _;
use peri_seal::record::EpochId;
use peri_seal::{rng, wrap};
use peri_store::coverage::{Coverage, Span};
use peri_store::retention::SegmentState;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

/// Room for answers in one message between roles, with its frame.
pub(super) const ANSWER_MAX: usize = limits::MESSAGE_MAX - 1024;
/// Segments and coverage rows of one page: 60 and 100 bytes each, half of a message together.
const SEGMENTS_PAGE: usize = 240;
const COVERAGE_PAGE: usize = 120;
/// Questions that wait for keeper at once: two for each connection of portal.
const WAITING_MAX: usize = 256;
/// Live pictures of one account at once: two walls of 64.
const FOLLOWED_MAX: usize = 128;
/// Longest purpose of an export.
const PURPOSE_MAX: usize = 400;

/// An answer's CBOR, or why not.
pub(super) type Answered = Result<Vec<u8>, Problem>;

/// The ledger or keeper is away: disclosure is refused, recording goes on.
pub(super) fn away(detail: &str) -> Problem {
    Problem::new(503, "ledger_away", "The appliance cannot answer just now", detail)
}

pub(super) fn encode<T: minicbor::Encode<()>>(answer: &T) -> Vec<u8> {
    minicbor::to_vec(answer).expect("encoding into a Vec cannot fail")
}

impl Scribe {
    pub(super) fn hear_portal(&mut self) {
        for _ in 0..MESSAGES_PER_TURN {
            let Some((message, _)) = link::next_of(&mut self.portal) else { return };
            match message {
                PortalToScribe::Ask { id, ask, source } => self.on_ask(id, *ask, source.map(Source::address)),
                PortalToScribe::Left { id } => self.followers.retain(|follower| follower.portal_id != id),
                PortalToScribe::Certificates { id } => self.show_certificates(id),
                PortalToScribe::SignHandshake { id, transcript } => {
                    let signature = self.tls.as_ref().and_then(|tls| tls.sign_handshake(&transcript));
                    let signature = signature.unwrap_or_default().into();
                    self.tell_portal(ScribeToPortal::HandshakeSigned { id, signature }, None);
                }
            }
        }
    }

    fn show_certificates(&mut self, id: u64) {
        let now = self.clock.utc();
        let chain = match self.tls.as_mut().map(|tls| tls.chain(now)) {
            Some(Ok(chain)) => chain,
            None => Vec::new(),
            Some(Err(error)) => {
                self.alarm(EntryType::StoreGap, None, &format!("no certificate for the page: {error:#}"));
                Vec::new()
            }
        };
        self.tell_portal(ScribeToPortal::Certificates { id, chain }, None);
    }

    pub(super) fn tell_portal(&mut self, message: ScribeToPortal, fd: Option<OwnedFd>) {
        let Some(link): &mut Option<PortalLink> = &mut self.portal else { return };
        let sent = match fd {
            Some(fd) => link.send_with(message, fd),
            None => link.send(message),
        };
        if sent.is_err() {
            self.portal = None;
        }
    }

    pub(super) fn answer(&mut self, id: u64, answered: Answered) {
        match answered {
            // Never to be sent: the link would be taken for broken, and nobody asks anything any more.
            Ok(body) if body.len() > ANSWER_MAX => {
                let detail = format!("the answer has {} bytes, more than {ANSWER_MAX}", body.len());
                let problem = Problem::new(500, "answer_too_long", "The answer is too long", detail);
                self.tell_portal(ScribeToPortal::Problem { id, problem }, None);
            }
            Ok(body) => self.tell_portal(ScribeToPortal::Answer { id, body: body.into() }, None),
            Err(problem) => self.tell_portal(ScribeToPortal::Problem { id, problem }, None),
        }
    }

    /// Answers a question that waited for keeper.
    pub(super) fn answer_waiting(&mut self, question: u64, answered: Answered) {
        if let Some(Waiting { portal_id, .. }) = self.waiting.remove(&question) {
            self.answer(portal_id, answered);
        }
    }

    pub(super) fn fail_waiting(&mut self, why: &str) {
        let questions: Vec<u64> = self.waiting.keys().copied().collect();
        for question in questions {
            self.answer_waiting(question, Err(away(why)));
        }
    }

    fn ask_keeper(&mut self, portal_id: u64, make: impl FnOnce(u64) -> ScribeToKeeper) {
        if self.keeper.is_none() {
            return self.answer(portal_id, Err(away("keeper is restarting; try again in a moment")));
        }
        if self.waiting.len() >= WAITING_MAX {
            return self.answer(portal_id, Err(away("too many questions wait for keeper; try again in a moment")));
        }
        let question = self.next_question;
        self.next_question += 1;
        self.waiting.insert(question, Waiting { portal_id, since: self.clock.monotonic() });
        self.tell_keeper(make(question), None);
    }

    fn on_ask(&mut self, id: u64, ask: Ask, source: Option<IpAddr>) {
        match ask {
            Ask::Hello { nonce } => {
                let (ledger_keys, notices) = (self.ledger_keys.clone(), self.notices());
                let tls = self.tls.as_ref().map(tls::Tls::identity);
                self.ask_keeper(id, |id| ScribeToKeeper::Certify { id, nonce, ledger_keys, notices, tls });
            }
            Ask::Nonce => {
                let nonce = salt();
                self.talks.nonces.issue(nonce, self.clock.monotonic());
                self.answer(id, Ok(encode(&nonce)));
            }
            Ask::Submit { statement } => {
                if statement.len() > limits::STATEMENT_MAX {
                    let detail =
                        format!("it has {} bytes, at most {} are accepted", statement.len(), limits::STATEMENT_MAX);
                    return self.answer(id, Err(Problem::new(413, "too_long", "The statement is too long", detail)));
                }
                if let Err(problem) = self.is_for_here(&statement) {
                    self.enter_misdirected(&statement, &problem);
                    return self.answer(id, Err(problem));
                }
                self.ask_keeper(id, |question| ScribeToKeeper::Submit { id: question, statement });
            }
            Ask::Open(opening) => self.on_opening(id, &opening),
            Ask::Request(request) => self.on_request(id, &request),
            Ask::Prelogin(ask) => {
                let answered = self.on_prelogin(&ask);
                self.answer(id, answered);
            }
            Ask::Login(request) => self.on_login(id, &request, source),
            Ask::Set(signed) => self.on_setting(id, signed),
            Ask::Redeem(redemption) => {
                let answered = self.on_redemption(&redemption);
                self.answer(id, answered);
            }
        }
    }

    /// What is no statement, or one for another appliance, costs keeper nothing. All else keeper alone decides.
    pub(super) fn is_for_here(&self, bytes: &[u8]) -> Result<(), Problem> {
        let refused =
            |why: String| Err(Problem::new(409, "statement_refused", "The roster does not accept this statement", why));
        match Statement::from_bytes(bytes) {
            Err(error) => refused(error.to_string()),
            Ok(statement) => match &self.identity {
                Some(here) if statement.proposal().vm != here.vm => {
                    let vm = statement.proposal().vm;
                    refused(format!("it is for appliance {vm}, this is {}; send it there", here.vm))
                }
                _ => Ok(()),
            },
        }
    }

    /// A statement that names a key in office is entered, within bounds, because its signature was not looked at; all else is
    /// counted.
    fn enter_misdirected(&mut self, bytes: &[u8], problem: &Problem) {
        let now = self.clock.monotonic();
        let owned = |signer| self.roster.as_ref().is_some_and(|roster| roster.owner(signer).is_some());
        if !Statement::from_bytes(bytes).is_ok_and(|statement| statement.signers().any(owned)) {
            self.quotas.stranger(now);
        } else if self.quotas.take(Sender::Keeper, EntryType::RosterRefused, now) {
            self.record(EntryType::RosterRefused, None, &problem.detail);
        }
    }

    /// What a request asks, once it is known who asks and that it came for the first time.
    pub(super) fn execute(&mut self, id: u64, principal: Principal, request: &Request) {
        let body = request.body.as_slice();
        let answered = match request.method {
            Method::Roster => self.read_roster(principal, body),
            Method::Segments => self.read_segments(principal, body),
            Method::Open => self.open(principal, body, request.proof.request_id()),
            Method::Fetch => match self.fetch(id, principal, request) {
                // Answered by a stream.
                Ok(()) => return,
                Err(problem) => Err(problem),
            },
            Method::Health => self.read_health(principal, body),
            Method::Ledger => self.read_ledger(principal, body),
            Method::Offer => self.offer(principal, body),
            Method::Invitation => self.invitation(principal, body),
            Method::Withdraw => self.withdraw(principal, body),
            Method::House => self.read_house(&principal, body),
            Method::Propose => self.propose(principal, body),
            Method::Proposals => self.read_proposals(principal, body),
            Method::Logout => self.log_out(request.proof.session, &principal),
        };
        self.answer(id, answered);
    }

    /// Asks the one decision; a refusal goes to the ledger.
    pub(super) fn allow(&mut self, principal: Principal, action: Action, object: Object) -> Result<Allowed, Problem> {
        let now = self.now();
        self.allow_at(principal, action, object, now)
    }

    /// As [`Self::allow`], for an object that is a moment: the question is of that moment too.
    fn allow_at(
        &mut self,
        principal: Principal,
        action: Action,
        object: Object,
        now: UtcNanos,
    ) -> Result<Allowed, Problem> {
        let Some(roster) = &self.roster else { return Err(away("the roster is not loaded yet")) };
        let asker = principal.clone();
        decide::decide(roster, principal, action, object, now).map_err(|denied| {
            let kind = if action.needs().is_some() { EntryType::DisclosureRefused } else { EntryType::RequestRefused };
            self.refused(&asker, kind, &denied.to_string());
            match denied {
                Denied::Grant(why) => Problem::new(404, "no_grant", "No such camera for this account", why),
                other => Problem::new(403, "forbidden", "Not allowed", other.to_string()),
            }
        })
    }

    fn refused(&mut self, principal: &Principal, kind: EntryType, why: &str) {
        let detail = EventDetail { camera: None, text: why.to_owned() };
        let event =
            Event::new(kind, self.clock.utc()).about(pseudonym(principal.fingerprint())).with_detail(salt(), &detail);
        self.enter(event);
    }

    fn read_roster(&mut self, principal: Principal, body: &[u8]) -> Answered {
        let body: RosterBody = decode(body)?;
        self.allow(principal, Action::ReadRoster, Object::Roster)?;
        let roster = self.roster.as_ref().ok_or_else(|| away("the roster is not loaded yet"))?;
        let mut page = RosterPage { statements: Vec::new(), total: self.statements.len() as u64, head: roster.head() };
        let mut room = ANSWER_MAX;
        let after = usize::try_from(body.after).unwrap_or(usize::MAX);
        for statement in self.statements.iter().skip(after) {
            let Some(left) = room.checked_sub(statement.len() + 8) else { break };
            room = left;
            page.statements.push(statement.clone().into());
        }
        Ok(encode(&page))
    }

    fn read_segments(&mut self, principal: Principal, body: &[u8]) -> Answered {
        let body: SpanBody = decode(body)?;
        if body.from >= body.until || body.action.needs().is_none() {
            let detail = "the span must begin before it ends, and the action be live, playback or export";
            return Err(Problem::new(400, "bad_span", "Not a span", detail));
        }
        let now = self.now();
        let roster = self.roster.as_ref().ok_or_else(|| away("the roster is not loaded yet"))?;
        // The account must hold the right somewhere in the span; segments without it are left out below.
        let windows = decide::windows(roster, &principal, body.action, body.camera, (body.from, body.until), now);
        let entitled = |from: UtcNanos, until: UtcNanos| {
            if body.action != Action::WatchLive {
                // One grant, and one stretch of its hours, covers the whole segment.
                return windows.iter().any(|window| window.0 <= from && until <= window.1);
            }
            let object = Object::Pictures { camera: body.camera, from, until, running: true };
            from <= now && now < until && decide::decide(roster, principal.clone(), body.action, object, now).is_ok()
        };
        let db = self.books.as_mut().ok_or_else(|| away("the ledger is not open yet"))?;
        db.write_index().map_err(|e| away(&e.to_string()))?;
        let mut page = SegmentsPage { segments: Vec::new(), coverage: Vec::new(), next: None };
        // From the files, which are the truth; the database knows where the key pictures lie.
        for (segment, ends) in self.index.between(body.camera, body.from, body.until) {
            let row = &segment.row;
            // What counts is the epoch as signed in its record, not how far it got.
            if row.state >= SegmentState::ErasePending || !entitled(row.starts, row.ends) {
                continue;
            }
            if page.segments.len() >= SEGMENTS_PAGE {
                page.next = Some(row.starts);
                break;
            }
            let gops = db.db().gops(row.key).map_err(|e| away(&e.to_string()))?;
            let seek = gops.iter().take_while(|gop| gop.starts <= body.from).last();
            page.segments.push(SegmentInfo {
                epoch: row.key.1,
                starts: row.starts,
                ends,
                bytes: row.bytes,
                running: self.index.running(body.camera) == Some(row.key.1),
                seek: seek.map_or(segment.head_len, |gop| gop.offset),
            });
        }
        if page.segments.is_empty() {
            let object = Object::Pictures { camera: body.camera, from: body.from, until: body.until, running: false };
            self.allow(principal, body.action, object)?;
        }
        let db = self.books.as_mut().ok_or_else(|| away("the ledger is not open yet"))?;
        let coverage =
            db.db().coverage_between(body.camera, body.from, body.until).map_err(|e| away(&e.to_string()))?;
        let windows = merged(windows);
        let coverage = coverage.into_iter().flat_map(|span| clipped(span, &windows));
        for span in coverage {
            if page.coverage.len() >= COVERAGE_PAGE {
                page.next = Some(page.next.map_or(span.starts, |next| next.min(span.starts)));
                break;
            }
            page.coverage.push(CoverageSpan {
                from: span.starts,
                until: span.ends,
                kind: match span.state {
                    Coverage::Recorded => CoverageKind::Recorded,
                    Coverage::Lost => CoverageKind::Lost,
                    Coverage::Paused => CoverageKind::Paused,
                    Coverage::Erased => CoverageKind::Erased,
                },
                cause: span.cause,
            });
        }
        Ok(encode(&page))
    }

    /// The disclosure: X of epochs, sealed to the asker's roster key. The intent is durable in the ledger before anything is sealed.
    fn open(&mut self, principal: Principal, body: &[u8], request: Nonce) -> Answered {
        let body: OpenBody = decode(body)?;
        if body.purpose.len() > PURPOSE_MAX || body.epochs.len() > OPEN_EPOCHS_MAX {
            let detail = format!("at most {OPEN_EPOCHS_MAX} epochs and {PURPOSE_MAX} bytes of purpose");
            return Err(Problem::new(400, "too_much", "Too much at once", detail));
        }
        if body.action == Action::Export && body.purpose.trim().is_empty() {
            let detail = "an export is entered with its purpose; give one";
            return Err(Problem::new(400, "no_purpose", "The purpose is missing", detail));
        }
        let now = self.now();
        // An epoch that is over counts as running until its recorder reports; a viewer who follows asks right then, and is
        // told that there is nothing yet.
        let lasts = |epoch: &EpochNo| {
            let segment = self.index.segment((body.camera, *epoch));
            segment.is_some_and(|segment| segment.row.starts <= now && now < segment.row.ends)
        };
        let epochs = match body.action {
            Action::WatchLive => self.index.running(body.camera).filter(lasts).into_iter().collect(),
            _ => body.epochs.clone(),
        };
        let mut allowed: Option<Allowed> = None;
        let mut open = Vec::new();
        for epoch in epochs {
            let Some(object) = self.pictures(body.camera, epoch) else { continue };
            allowed = Some(self.allow(principal.clone(), body.action, object)?);
            open.push(epoch);
        }
        let Some(allowed) = allowed else {
            // Nothing of what was asked exists (any more). Whether the camera does is told to the entitled alone.
            let now = self.now();
            let object = Object::Pictures { camera: body.camera, from: now, until: super::after(now), running: true };
            self.allow_at(principal, body.action, object, now)?;
            return Ok(encode(&OpenedPage { keys: Vec::new() }));
        };
        self.disclose(&allowed, &body, &open)?;
        let vm = self.identity.as_ref().ok_or_else(|| away("keeper is restarting"))?.vm;
        let mut page = OpenedPage { keys: Vec::new() };
        for epoch in open {
            // Erased between question and answer: missing in the answer, as documented.
            let Ok(x) = self.xfile.get(body.camera, epoch) else { continue };
            let id = EpochId { vm, camera: body.camera, epoch };
            let sealed = wrap::seal_x(&mut rng::system(), &x, &id, &request, allowed.principal().key())
                .map_err(|e| Problem::new(500, "seal", "X could not be sealed to this key", e.to_string()))?;
            page.keys.push(SealedX { epoch, sealed: sealed.into() });
        }
        Ok(encode(&page))
    }

    fn pictures(&self, camera: peri_domain::CameraId, epoch: EpochNo) -> Option<Object> {
        let segment = self.index.segment((camera, epoch))?;
        let running = self.index.running(camera) == Some(epoch);
        (segment.row.state < SegmentState::ErasePending).then_some(Object::Pictures {
            camera,
            from: segment.row.starts,
            until: segment.row.ends,
            running,
        })
    }

    /// Enters a disclosure durably, or refuses it.
    fn disclose(&mut self, allowed: &Allowed, body: &OpenBody, epochs: &[EpochNo]) -> Result<(), Problem> {
        let kind = match allowed.action() {
            Action::WatchLive => EntryType::LiveIntent,
            Action::Export => EntryType::ExportIntent,
            _ => EntryType::DisclosureIntent,
        };
        let detail = DisclosureDetail {
            camera: body.camera,
            epochs: epochs.to_vec(),
            action: allowed.action(),
            purpose: body.purpose.clone(),
        };
        let event = Event::new(kind, self.clock.utc())
            .about(pseudonym(allowed.principal().fingerprint()))
            .with_detail(salt(), &detail);
        let books = self.books.as_mut().ok_or_else(|| away("the ledger is not open yet"))?;
        books.append_now(event).map(drop).map_err(|error| {
            away(&format!(
                "the ledger cannot take the entry of this disclosure ({error}); recording goes on; bring PostgreSQL back"
            ))
        })
    }

    fn fetch(&mut self, id: u64, principal: Principal, request: &Request) -> Result<(), Problem> {
        let body: FetchBody = decode(&request.body)?;
        let gone = || Problem::new(404, "no_segment", "No such recording", "it does not exist or is erased");
        let Some(object) = self.pictures(body.camera, body.epoch) else {
            let now = self.now();
            let object = Object::Pictures { camera: body.camera, from: now, until: super::after(now), running: true };
            self.allow_at(principal, body.action, object, now)?;
            return Err(gone());
        };
        let key = principal.fingerprint();
        self.allow(principal, body.action, object)?;
        if body.follow && self.followers.iter().filter(|follower| follower.key == key).count() >= FOLLOWED_MAX {
            let detail = format!("{FOLLOWED_MAX} live pictures of this account are open; close some of them");
            return Err(Problem::new(429, "too_many_streams", "Too many live pictures", detail));
        }
        if body.follow && self.index.running(body.camera) == Some(body.epoch) && body.action != Action::WatchLive {
            let detail = "what is being recorded is followed with the right to the live picture; ask for that";
            return Err(Problem::new(403, "not_live", "Only the live picture can be followed", detail));
        }
        let segment = self.index.segment((body.camera, body.epoch)).ok_or_else(gone)?;
        let (known, ends) = (segment.row.bytes, segment.row.ends);
        let running = self.index.running(body.camera) == Some(body.epoch);
        let end = body.length.map_or(known, |length| body.offset.saturating_add(length).min(known)).max(body.offset);
        let fd = self.store.open_read(body.camera, body.epoch).map_err(|_| gone())?;
        let follow_until = (body.follow && running).then_some(ends);
        if follow_until.is_some() {
            let session = request.proof.session;
            self.followers.push(Follower { portal_id: id, camera: body.camera, epoch: body.epoch, session, key });
        }
        self.tell_portal(ScribeToPortal::Stream { id, offset: body.offset, end, follow_until }, Some(fd));
        Ok(())
    }

    fn read_ledger(&mut self, principal: Principal, body: &[u8]) -> Answered {
        let body: LedgerBody = decode(body)?;
        self.allow(principal, Action::ReadLedger, Object::Ledger)?;
        // With everything that follows from it: an outage that ends here must be told too.
        self.flush_books();
        let books = self.books.as_mut().ok_or_else(|| away("the ledger is not open yet"))?;
        let mut room = ANSWER_MAX;
        let entries = books.db().entries(body.from).map_err(|e| away(&e.to_string()))?;
        let mut page = LedgerPage { entries: Vec::new(), size: 0, checkpoint: String::new() };
        let mut last = body.from;
        for (index, entry) in entries {
            let Some(left) = room.checked_sub(entry.len() + 8) else { break };
            if left < limits::MESSAGE_MAX / 8 {
                break;
            }
            room = left;
            last = index + 1;
            page.entries.push(entry.into());
        }
        let checkpoints = books.db().checkpoints(last.saturating_sub(1)).map_err(|e| away(&e.to_string()))?;
        if let Some((size, note)) = checkpoints.into_iter().last() {
            page.size = size;
            page.checkpoint = note;
        }
        Ok(encode(&page))
    }
}

/// Windows ascending and without overlap.
fn merged(mut windows: Vec<(UtcNanos, UtcNanos)>) -> Vec<(UtcNanos, UtcNanos)> {
    windows.sort_unstable();
    let mut merged: Vec<(UtcNanos, UtcNanos)> = Vec::new();
    for (from, until) in windows {
        match merged.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(until),
            _ => merged.push((from, until)),
        }
    }
    merged
}

/// The parts of a span that lie in a window: when a camera was down is nobody's business who could not have looked.
fn clipped(span: Span, windows: &[(UtcNanos, UtcNanos)]) -> impl Iterator<Item = Span> {
    let part = move |(from, until): &(UtcNanos, UtcNanos)| {
        let (starts, ends) = (span.starts.max(*from), span.ends.min(*until));
        (starts < ends).then(|| Span { starts, ends, ..span.clone() })
    };
    windows.iter().filter_map(part)
}

/// Details of a disclosure.
#[derive(Debug, minicbor::Encode, minicbor::Decode)]
pub(super) struct DisclosureDetail {
    /// The camera.
    #[n(0)]
    pub camera: peri_domain::CameraId,
    /// The epochs.
    #[n(1)]
    pub epochs: Vec<EpochNo>,
    /// Live, playback or export.
    #[n(2)]
    pub action: Action,
    /// Why, in the asker's words.
    #[n(3)]
    pub purpose: String,
}

/// The account without its name: the first half of its key's fingerprint, the same in every entry until the key changes.
pub(super) fn pseudonym(key: Fingerprint) -> Pseudonym {
    let mut half = [0; 16];
    half.copy_from_slice(&key.as_bytes()[..16]);
    Pseudonym(half)
}

pub(super) fn decode<'b, T>(body: &'b [u8]) -> Result<T, Problem>
where
    T: minicbor::Decode<'b, ()> + minicbor::Encode<()>,
{
    decode_strict(body).map_err(|e| Problem::new(400, "malformed", "The request's body cannot be read", e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_without_parameters_has_one_body() {
        assert_eq!(encode(&()), [0x80]);
        assert!(decode::<()>(&[0x80]).is_ok());
        // Nothing, null, something in it, something behind it, another form of the same.
        for body in [&[][..], &[0xf6], &[0x81, 0x00], &[0x80, 0x00], &[0x9f, 0xff], &[0x98, 0x00]] {
            assert_eq!(decode::<()>(body).err().map(|problem| problem.code), Some("malformed".into()), "{body:x?}");
        }
    }

    #[test]
    fn an_account_is_cut_to_the_windows_of_the_grants() {
        let span = |from, until| Span {
            starts: UtcNanos(from),
            ends: UtcNanos(until),
            state: Coverage::Lost,
            cause: "no answer".into(),
        };
        let windows = [(UtcNanos(10), UtcNanos(20)), (UtcNanos(30), UtcNanos(40))];
        let cut = |from, until| clipped(span(from, until), &windows).collect::<Vec<_>>();
        assert_eq!(cut(0, 100), [span(10, 20), span(30, 40)]);
        assert_eq!(cut(12, 35), [span(12, 20), span(30, 35)]);
        assert_eq!(cut(20, 30), []);
        assert_eq!(cut(0, 10), []);
    }
}
