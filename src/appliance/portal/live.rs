//! The socket of a page: live pictures of any number of cameras, each stream begun by a proven request.
//!
//! ```text
//!  page ── [0, [stream, frame of a fetch that follows]] ─▶ scribe ── Stream ─▶ pump ── [stream, Chunk] ─▶ page
//!       ── [1, [stream]] ─────────────────────────────────────────────────▶ stop
//! ```
//! The proof is the ticket: it stands in the first message, is fresh, and works once. Two seconds of a slow connection are
//! buffered; whoever falls further behind is shown the present again, from a key picture on. What does not belong: decisions;
//! opening. Invariants: a socket that says nothing for ten seconds at its start ends; a session's end closes its streams,
//! because scribe says so.

use super::http::{State, problem_of, source};
use super::questions::away;
use super::sealed::{Piece, Sealed};
use crate::message::{ScribeToPortal, Source};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use actix_ws::{AggregatedMessage, Session};
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use peri_access::wire::{Ask, FetchBody, Method, Problem, Reply, decode_strict};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Sockets at once: each page has one.
const SOCKETS_MAX: usize = 256;
/// Streams of one socket: the largest wall.
const STREAMS_MAX: usize = 64;
/// A message: a request with body and proof.
const MESSAGE_MAX: usize = 8 * 1024;
/// The first message must come within this time.
const TICKET_MAX: Duration = Duration::from_secs(10);
/// Somebody is asked whether he is still there, and is not when he has not answered before the next question.
const PING_EVERY: Duration = Duration::from_secs(20);

/// Open sockets.
#[derive(Default)]
pub(super) struct Sockets(Arc<AtomicUsize>);

/// One of the sockets that there may be.
struct Place(Arc<AtomicUsize>);

impl Sockets {
    fn take(&self) -> Option<Place> {
        let place = Place(self.0.clone());
        // Counted first; a place that is too many is given back by its drop.
        (self.0.fetch_add(1, Ordering::AcqRel) < SOCKETS_MAX).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What a page says.
#[derive(Debug, PartialEq, Eq, Encode, Decode)]
pub enum Said {
    /// Begin a stream.
    #[n(0)]
    Start {
        /// Chosen by the page; not one that runs.
        #[n(0)]
        stream: u32,
        /// A whole frame: a fetch that follows.
        #[n(1)]
        frame: ByteVec,
    },
    /// End a stream.
    #[n(1)]
    Stop {
        /// The stream.
        #[n(0)]
        stream: u32,
    },
}

/// What a page is told.
#[derive(Debug, PartialEq, Eq, Encode, Decode)]
pub struct Told {
    /// Of which stream.
    #[n(0)]
    pub stream: u32,
    /// What.
    #[n(1)]
    pub reply: Reply,
}

/// Upgrades a connection.
pub(super) async fn open(request: HttpRequest, body: Payload, state: Data<State>) -> HttpResponse {
    // Browsers always name the page that asks; programs without one are no pages.
    if !request.headers().contains_key(actix_web::http::header::ORIGIN) {
        let detail = "a socket is opened by this appliance's own page";
        return problem_of(&Problem::new(403, "other_origin", "Another page asks", detail), false);
    }
    let Some(place) = state.sockets.take() else {
        let detail = format!("{SOCKETS_MAX} pages are open; close some of them");
        return problem_of(&Problem::new(503, "too_many_connections", "Too many pages", detail).retry_after(10), false);
    };
    match actix_ws::handle(&request, body) {
        Ok((response, session, messages)) => {
            let messages = messages.max_frame_size(MESSAGE_MAX).aggregate_continuations();
            let messages = messages.max_continuation_size(MESSAGE_MAX);
            let from = source(&request);
            actix_web::rt::spawn(async move {
                converse(session, messages, &state, from).await;
                drop(place);
            });
            response
        }
        Err(error) => problem_of(&Problem::new(400, "no_socket", "Not a WebSocket", error.to_string()), false),
    }
}

async fn converse(
    mut session: Session,
    mut messages: actix_ws::AggregatedMessageStream,
    state: &Data<State>,
    from: Option<Source>,
) {
    let mut streams: HashMap<u32, JoinHandle<()>> = HashMap::new();
    let mut started = false;
    let mut heard = true;
    loop {
        let patience = if started { PING_EVERY } else { TICKET_MAX };
        let message = match tokio::time::timeout(patience, messages.recv()).await {
            Ok(Some(Ok(message))) => message,
            Ok(None | Some(Err(_))) => break,
            Err(_) if started && std::mem::replace(&mut heard, false) => {
                if session.ping(b"").await.is_err() {
                    break;
                }
                continue;
            }
            Err(_) => break,
        };
        heard = true;
        let said = match message {
            AggregatedMessage::Binary(bytes) => decode_strict::<Said>(&bytes),
            AggregatedMessage::Ping(bytes) => {
                if session.pong(&bytes).await.is_err() {
                    break;
                }
                continue;
            }
            AggregatedMessage::Pong(_) => continue,
            AggregatedMessage::Text(_) | AggregatedMessage::Close(_) => break,
        };
        streams.retain(|_, stream| !stream.is_finished());
        match said {
            Ok(Said::Start { stream, frame }) if streams.len() < STREAMS_MAX && !streams.contains_key(&stream) => {
                started = true;
                let (session, state) = (session.clone(), state.clone());
                streams.insert(stream, actix_web::rt::spawn(follow(session, stream, frame.into(), state, from)));
            }
            Ok(Said::Start { stream, .. }) => {
                let detail = format!("a page shows at most {STREAMS_MAX} cameras, each under a number of its own");
                let problem = Problem::new(429, "too_many_streams", "Too many streams", detail);
                if tell(&mut session, stream, Reply::NotTaken(problem)).await.is_err() {
                    break;
                }
            }
            Ok(Said::Stop { stream }) => {
                if let Some(stream) = streams.remove(&stream) {
                    stream.abort();
                }
            }
            Err(_) => break,
        }
    }
    streams.into_values().for_each(|stream| stream.abort());
    // Gone already, or going now.
    let _ = session.close(None).await;
}

async fn follow(mut session: Session, stream: u32, frame: Vec<u8>, state: Data<State>, from: Option<Source>) {
    let last = match begin(&frame, &state, from).await {
        Ok((mut question, mut sealed, length)) => {
            if tell(&mut session, stream, Reply::Stream { length }).await.is_err() {
                return;
            }
            loop {
                let reply = match sealed.next_fragments(&mut question).await {
                    Ok(Some(Piece::Fragments(bytes))) => Reply::Chunk(bytes.into()),
                    Ok(Some(Piece::Skipped(bytes))) => Reply::Skipped(bytes),
                    Ok(None) => break Reply::End,
                    Err(error) => {
                        let detail = format!("{error}; ask for the live picture again");
                        break Reply::Problem(Problem::new(500, "unreadable", "The recording cannot be read", detail));
                    }
                };
                if tell(&mut session, stream, reply).await.is_err() {
                    return;
                }
            }
        }
        Err(reply) => reply,
    };
    // A page that is gone needs no last word.
    let _ = tell(&mut session, stream, last).await;
}

async fn begin(
    frame: &[u8],
    state: &State,
    from: Option<Source>,
) -> Result<(super::questions::Question, Sealed, u64), Reply> {
    let refused = |why: String| Reply::NotTaken(Problem::new(400, "malformed", "Not the start of a stream", why));
    let ask = decode_strict::<Ask>(frame).map_err(|error| refused(error.to_string()))?;
    let follows = matches!(&ask, Ask::Request(request) if request.method == Method::Fetch
        && decode_strict::<FetchBody>(&request.body).is_ok_and(|body| body.follow));
    if !follows {
        return Err(refused("a stream begins with a fetch that follows".into()));
    }
    let mut question = state.questions.ask(ask, from).map_err(Reply::NotTaken)?;
    match question.answer().await.map_err(Reply::NotTaken)? {
        (ScribeToPortal::Stream { offset, end, follow_until, .. }, Some(fd)) => {
            let end = end.max(offset);
            Ok((question, Sealed::new(fd, offset..end, follow_until), end - offset))
        }
        (ScribeToPortal::Problem { problem, .. }, _) => Err(Reply::Problem(problem)),
        (ScribeToPortal::NotTaken { problem, .. }, _) => Err(Reply::NotTaken(problem)),
        (ScribeToPortal::Conflict { conflict, .. }, _) => Err(Reply::Conflict(conflict)),
        _ => Err(Reply::NotTaken(away())),
    }
}

/// Waits while the page does not take what it was sent: what is sent stays bounded.
async fn tell(session: &mut Session, stream: u32, reply: Reply) -> Result<(), actix_ws::Closed> {
    let told = minicbor::to_vec(Told { stream, reply }).expect("encoding into a Vec cannot fail");
    session.binary(told).await
}
