//! The one actix-web service: the routes of the table, bounds, headers, and how scribe's words become HTTP.
//!
//! ```text
//!  request ─▶ host, origin ─▶ route ─▶ body within size and time ─▶ frame ─▶ scribe ─▶ answer | problem+json | sealed bytes
//! ```
//! What does not belong: decisions, what a body means. Invariants: every answer carries the page's policy; nothing of a request
//! is written to a log; what cannot be served is said as RFC 9457; no answer names the program or its version.

use super::identity::{Identity, hex};
use super::live;
use super::page;
use super::questions::{Questions, away};
use super::routes::{self, Handler, Question, ROUTES, Route};
use super::sealed::Sealed;
use super::tls;
use crate::message::{ScribeToPortal, Source};
use actix_web::body::{BoxBody, SizedStream};
use actix_web::dev::Service as _;
use actix_web::http::{StatusCode, header};
use actix_web::middleware::DefaultHeaders;
use actix_web::web::{self, Bytes, Data, Payload};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, guard};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::{Either, ready};
use peri_access::proof::Proof;
use peri_access::wire::{Ask, CHUNK_MAX, Conflict, FetchBody, Method, Problem, Request, decode_strict};
use peri_domain::limits::{self, PORTAL_FRAME_IN_MAX};
use rustls::crypto::CryptoProvider;
use serde_json::json;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

/// What the page may do (W3C CSP 3, Trusted Types): its own files, pictures that it made itself, one worker.
pub const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; \
     media-src 'self' blob:; connect-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types peri-worker";
/// Nothing of the machine but its screen: pictures may fill it.
const FEATURES: &str = "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), microphone=(), \
     midi=(), payment=(), usb=(), fullscreen=(self), autoplay=(self)";

/// A statement is the largest body.
const BODY_MAX: usize = limits::STATEMENT_MAX + 1024;
/// Longest proof in a header: 128 bytes of bitmap, 16 reports of 30 bytes, 300 of the rest, in base64.
const PROOF_MAX: usize = 2048;
/// From the connection to the last byte of a request's head.
const HEAD_MAX: Duration = Duration::from_secs(5);
/// A page that asks every few seconds keeps its connection.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// Connections, in all: a page takes six and a socket; 60 pages fit.
const CONNECTIONS_MAX: usize = 512;
/// Handshakes at once, each of which costs scribe a signature of half a millisecond.
const HANDSHAKES_MAX: usize = 64;
/// One for streams that are busy with encryption, one for everybody else.
const WORKERS: usize = 2;

/// What handlers share.
pub(super) struct State {
    pub(super) questions: Arc<Questions>,
    pub(super) names: Vec<String>,
    pub(super) sockets: live::Sockets,
    identity: Identity,
}

/// Serves the page for ever, once scribe has shown its certificates. Called before the walls: the server counts the machine's
/// processors in files; what it returns runs behind them.
pub(super) fn prepare(
    listener: TcpListener,
    names: Vec<String>,
    crypto: Arc<CryptoProvider>,
    questions: Arc<Questions>,
) -> impl Future<Output = ()> {
    let asked = questions.clone();
    let state = Data::new(State { questions, names, sockets: live::Sockets::default(), identity: Identity::default() });
    let server = HttpServer::new(move || {
        let mut app = App::new()
            .app_data(state.clone())
            .wrap_fn(|request, service| match misdirected(request.request()) {
                None => Either::Left(service.call(request)),
                Some(problem) => Either::Right(ready(Ok(request.into_response(problem_of(&problem, false))))),
            })
            .wrap(headers())
            .default_service(web::to(not_found));
        for route in ROUTES {
            app = app.service(resource(route));
        }
        app
    });
    let server = server
        .workers(WORKERS)
        .max_connections(CONNECTIONS_MAX / WORKERS)
        .max_connection_rate(HANDSHAKES_MAX / WORKERS)
        .client_request_timeout(HEAD_MAX)
        .client_disconnect_timeout(HEAD_MAX)
        .keep_alive(KEEP_ALIVE)
        .tls_handshake_timeout(HEAD_MAX)
        // A fragment goes out at once.
        .tcp_nodelay(true)
        .disable_signals();
    async move {
        use std::io::Write as _;
        let served = async {
            let config = tls::configure(crypto, asked).await?;
            anyhow::Ok(server.listen_rustls_0_23(listener, config)?.run().await?)
        };
        if let Err(error) = served.await {
            // The desk goes on; the supervisor cannot mend what is wrong here.
            let _ = writeln!(std::io::stderr(), "portal cannot serve the page: {error:#}");
        }
    }
}

fn headers() -> DefaultHeaders {
    DefaultHeaders::new()
        .add((header::CONTENT_SECURITY_POLICY, POLICY))
        .add((header::STRICT_TRANSPORT_SECURITY, "max-age=31536000"))
        .add((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .add((header::X_FRAME_OPTIONS, "DENY"))
        .add((header::REFERRER_POLICY, "no-referrer"))
        .add((header::CACHE_CONTROL, "no-store"))
        .add(("cross-origin-opener-policy", "same-origin"))
        .add(("cross-origin-embedder-policy", "require-corp"))
        .add(("cross-origin-resource-policy", "same-origin"))
        .add(("permissions-policy", FEATURES))
}

/// Whether a request came here by mistake or by somebody else's page: another host's name (a browser whose DNS was bent), or
/// another page's origin.
fn misdirected(request: &HttpRequest) -> Option<Problem> {
    let state = request.app_data::<Data<State>>()?;
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if !state.names.iter().any(|name| is_host(host, name)) {
        let detail = format!("this appliance is {}; use that address", state.names.join(" or "));
        return Some(Problem::new(421, "misdirected", "This is another host", detail));
    }
    let origin = request.headers().get(header::ORIGIN);
    let same = origin.is_none_or(|origin| origin.to_str().is_ok_and(|o| o.strip_prefix("https://") == Some(host)));
    (!same).then(|| Problem::new(403, "other_origin", "Another page asks", "only this appliance's own page may ask"))
}

/// `name`, or `[name]` for an IPv6 address, with any port behind it.
fn is_host(host: &str, name: &str) -> bool {
    let name = if name.contains(':') { format!("[{name}]") } else { name.to_owned() };
    let rest = host.get(..name.len()).filter(|start| start.eq_ignore_ascii_case(&name)).map(|_| &host[name.len()..]);
    match rest {
        Some("") => true,
        Some(rest) => rest.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok()),
        None => false,
    }
}

fn resource(route: &'static Route) -> actix_web::Resource {
    let resource = web::resource(route.path).app_data(web::PayloadConfig::new(BODY_MAX));
    let resource = match (route.verb, route.handler) {
        (_, Handler::Page(name)) => resource.route(readable().to(move || async move { file(name) })),
        (_, Handler::Identity) => resource.route(readable().to(identity)),
        (_, Handler::Description) => resource.route(readable().to(|| async { json_of(&routes::description()) })),
        (_, Handler::Live) => resource.route(web::get().to(live::open)),
        (_, Handler::Question(question)) => {
            resource.route(web::post().to(move |request: HttpRequest, state: Data<State>, body: Payload| async move {
                answered(asked(question, &request, &state, body).await)
            }))
        }
        (_, Handler::Session(method)) => {
            resource.route(web::post().to(move |request: HttpRequest, state: Data<State>, body: Payload| async move {
                answered(in_session(method, &request, &state, body).await)
            }))
        }
    };
    resource.default_service(web::to(move || async move {
        let detail = format!("this path takes {}", route.verb);
        let mut response = problem_of(&Problem::new(405, "method", "Not with this method", detail), false);
        response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static(route.verb));
        response
    }))
}

/// GET, and HEAD, which is the same without a body (RFC 9110 §9.3.2).
fn readable() -> actix_web::Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

fn file(name: &'static str) -> HttpResponse {
    match page::file(name) {
        Some(bytes) => HttpResponse::Ok().content_type(page::media_type(name)).body(bytes),
        None => problem_of(&nothing_here(), false),
    }
}

async fn not_found() -> HttpResponse {
    problem_of(&nothing_here(), false)
}

fn nothing_here() -> Problem {
    Problem::new(404, "not_found", "Nothing is here", "the paths of this appliance are in /openapi.json")
}

async fn identity(state: Data<State>) -> HttpResponse {
    match state.identity.document(&state.questions).await {
        Ok(document) => json_of(&document),
        Err(problem) => problem_of(&problem, false),
    }
}

fn json_of(document: &serde_json::Value) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(document.to_string())
}

/// Where a request comes from.
pub(super) fn source(request: &HttpRequest) -> Option<Source> {
    request.peer_addr().map(|address| address.ip().into())
}

/// A refusal, and whether the request was taken up.
type Refused = (Problem, bool);

fn answered(result: Result<HttpResponse, Refused>) -> HttpResponse {
    result.unwrap_or_else(|(problem, taken)| problem_of(&problem, taken))
}

async fn body_of(body: Payload) -> Result<Bytes, Refused> {
    let too_long = || {
        let detail = format!("a body holds at most {BODY_MAX} bytes");
        (Problem::new(413, "too_long", "The body is too long", detail), false)
    };
    let slow = || (Problem::new(408, "slow", "The body came too slowly", "send it within seconds"), false);
    let read = tokio::time::timeout(PORTAL_FRAME_IN_MAX, body.to_bytes_limited(BODY_MAX)).await.map_err(|_| slow())?;
    match read {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => Err((Problem::new(400, "body", "The body cannot be read", error.to_string()), false)),
        Err(_) => Err(too_long()),
    }
}

async fn asked(
    question: Question,
    request: &HttpRequest,
    state: &State,
    body: Payload,
) -> Result<HttpResponse, Refused> {
    let body = body_of(body).await?;
    let malformed = |why: String| (Problem::new(400, "malformed", "The body cannot be read", why), false);
    let ask = decode_strict::<Ask>(&body).map_err(|error| malformed(error.to_string()))?;
    if !question.is(&ask) {
        return Err(malformed("it asks something else than this path is for".into()));
    }
    forward(ask, request, state).await
}

async fn in_session(
    method: Method,
    request: &HttpRequest,
    state: &State,
    body: Payload,
) -> Result<HttpResponse, Refused> {
    let body = body_of(body).await?;
    let proof = proof_of(request)?;
    if method == Method::Fetch && decode_strict::<FetchBody>(&body).is_ok_and(|body| body.follow) {
        let detail = "what is being recorded is followed over /v1/live; ask for a range here";
        return Err((Problem::new(400, "follow", "Not over this path", detail), false));
    }
    forward(Ask::Request(Request { method, body: body.to_vec().into(), proof }), request, state).await
}

fn proof_of(request: &HttpRequest) -> Result<Proof, Refused> {
    let refused = |why: &str| (Problem::new(401, "not_authenticated", "Not authenticated", why), false);
    let header = request.headers().get("peri-proof").filter(|header| header.len() <= PROOF_MAX);
    let header = header.ok_or_else(|| refused("the request carries no proof; log in"))?;
    let bytes = URL_SAFE_NO_PAD.decode(header.as_bytes()).map_err(|_| refused("the proof is not base64url"))?;
    decode_strict(&bytes).map_err(|_| refused("the proof cannot be read"))
}

async fn forward(ask: Ask, request: &HttpRequest, state: &State) -> Result<HttpResponse, Refused> {
    let mut question = state.questions.ask(ask, source(request)).map_err(|problem| (problem, false))?;
    match question.answer().await.map_err(|problem| (problem, false))? {
        (ScribeToPortal::Answer { body, .. }, _) => {
            Ok(HttpResponse::Ok().content_type("application/cbor").body(Vec::from(body)))
        }
        (ScribeToPortal::Problem { problem, .. }, _) => Err((problem, true)),
        (ScribeToPortal::NotTaken { problem, .. }, _) => Err((problem, false)),
        (ScribeToPortal::Conflict { conflict, .. }, _) => Ok(conflict_of(&conflict)),
        (ScribeToPortal::Stream { offset, end, .. }, Some(fd)) => {
            let end = end.max(offset);
            let sealed = Sealed::new(fd, offset..end, None);
            let bytes = futures_of(sealed, question);
            Ok(HttpResponse::Ok().content_type("application/octet-stream").body(SizedStream::new(end - offset, bytes)))
        }
        _ => Err((away(), false)),
    }
}

/// Sealed bytes as the body of an answer; read only as fast as the client takes them.
fn futures_of(
    sealed: Sealed,
    question: super::questions::Question,
) -> impl futures_util::Stream<Item = std::io::Result<Bytes>> {
    futures_util::stream::try_unfold((sealed, question), |(mut sealed, mut question)| async move {
        let bytes = sealed.next(&mut question, CHUNK_MAX / 4).await?;
        Ok(bytes.map(|bytes| (Bytes::from(bytes), (sealed, question))))
    })
}

/// RFC 9457, with what our clients need to know beside.
pub(super) fn problem_of(problem: &Problem, taken: bool) -> HttpResponse<BoxBody> {
    let mut document = json!({
        "type": format!("urn:peri:problem:{}", problem.code),
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code,
        "taken": taken,
    });
    if let Some(secs) = problem.retry_after_s {
        document["retry_after"] = secs.into();
    }
    problem_document(problem.status, problem.retry_after_s, &document)
}

fn conflict_of(conflict: &Conflict) -> HttpResponse<BoxBody> {
    let (name, detail) = match conflict {
        Conflict::Copy(_) => ("copy", "this request came before; say with the next one what you saw"),
        Conflict::GivenUp => ("given_up", "this request was reported as dead before"),
        Conflict::Resync(_) => ("resync", "sign again in a new channel, for this life of the appliance"),
        Conflict::ChannelEnded => ("channel_ended", "this channel has ended; go on in a new one"),
    };
    let mut document = json!({
        "type": format!("urn:peri:problem:{name}"),
        "title": "Not executed",
        "status": 409,
        "detail": detail,
        "code": name,
        "taken": false,
        "conflict": name,
    });
    match conflict {
        Conflict::Copy(nonce) => document["nonce"] = hex(&nonce.0).into(),
        Conflict::Resync(boot) => document["boot"] = hex(&boot.0.0).into(),
        Conflict::GivenUp | Conflict::ChannelEnded => {}
    }
    problem_document(409, None, &document)
}

fn problem_document(status: u16, retry_after: Option<u64>, document: &serde_json::Value) -> HttpResponse<BoxBody> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    response.content_type("application/problem+json");
    if let Some(secs) = retry_after {
        response.insert_header((header::RETRY_AFTER, secs.to_string()));
    }
    response.body(document.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_of_this_appliance_with_or_without_port() {
        for (host, name) in
            [("peri.example", "peri.example"), ("Peri.Example:8443", "peri.example"), ("[::1]:1", "::1")]
        {
            assert!(is_host(host, name), "{host}");
        }
        for (host, name) in [
            ("peri.example.evil", "peri.example"),
            ("xperi.example", "peri.example"),
            ("peri.example:", "peri.example"),
            ("peri.example:99999", "peri.example"),
            ("", "peri.example"),
            ("::1", "::1"),
        ] {
            assert!(!is_host(host, name), "{host}");
        }
    }
}
