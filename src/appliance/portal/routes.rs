//! The one table of routes: method, path, action, handler. What serves them, what describes them (`/openapi.json`) and what tests
//! them (no session, wrong role, foreign object, entry in the ledger) is all made from it.
//!
//! What does not belong: decisions. The action named here is for the description and the tests; scribe asks the policies itself.

use peri_access::wire::{Ask, Method};
use peri_domain::Action;
use serde_json::{Value, json};

/// A way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// `GET` or `POST`.
    pub verb: &'static str,
    /// The path, without parameters: what is asked stands in bodies alone.
    pub path: &'static str,
    /// Who serves it.
    pub handler: Handler,
    /// What is decided on, where something is; a picture's action stands in the body and is one of three.
    pub action: Option<Action>,
    /// What it is for, in a sentence.
    pub summary: &'static str,
}

/// Who serves a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handler {
    /// A file of the page.
    Page(&'static str),
    /// Who this appliance is.
    Identity,
    /// This table, as OpenAPI 3.1.
    Description,
    /// A question outside of sessions; the body is its whole frame.
    Question(Question),
    /// A request in a session, with its proof in the header `Peri-Proof`.
    Session(Method),
    /// The socket of a page.
    Live,
}

/// Questions outside of sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants of `peri_access::wire::Ask`, where they are described")]
pub enum Question {
    Hello,
    Nonce,
    Submit,
    OpenSession,
    Prelogin,
    Login,
    Set,
    Redeem,
}

impl Question {
    /// Whether the frame asks this.
    #[must_use]
    pub const fn is(self, ask: &Ask) -> bool {
        matches!(
            (self, ask),
            (Self::Hello, Ask::Hello { .. })
                | (Self::Nonce, Ask::Nonce)
                | (Self::Submit, Ask::Submit { .. })
                | (Self::OpenSession, Ask::Open(_))
                | (Self::Prelogin, Ask::Prelogin(_))
                | (Self::Login, Ask::Login(_))
                | (Self::Set, Ask::Set(_))
                | (Self::Redeem, Ask::Redeem(_))
        )
    }
}

const fn get(path: &'static str, handler: Handler, summary: &'static str) -> Route {
    Route { verb: "GET", path, handler, action: None, summary }
}

const fn ask(path: &'static str, question: Question, summary: &'static str) -> Route {
    Route { verb: "POST", path, handler: Handler::Question(question), action: None, summary }
}

const fn session(method: Method, action: Option<Action>, summary: &'static str) -> Route {
    Route { verb: "POST", path: method.path(), handler: Handler::Session(method), action, summary }
}

/// The table.
pub const ROUTES: &[Route] = &[
    get("/", Handler::Page("index.html"), "The page"),
    get("/app.js", Handler::Page("app.js"), "Its program"),
    get("/worker.js", Handler::Page("worker.js"), "Where pictures are opened"),
    get("/app.css", Handler::Page("app.css"), "Its look"),
    get("/icon.svg", Handler::Page("icon.svg"), "Its sign"),
    get("/manifest.webmanifest", Handler::Page("manifest.webmanifest"), "What installs it"),
    get("/.well-known/peri", Handler::Identity, "Who this appliance is: keys, digests, claim"),
    get("/openapi.json", Handler::Description, "This description"),
    get("/v1/live", Handler::Live, "Live pictures: sealed fragments over one socket; each stream begins with a proof"),
    ask("/v1/hello", Question::Hello, "The birth certificate over a nonce"),
    ask("/v1/nonce", Question::Nonce, "A nonce for the opening of a session"),
    ask("/v1/submit", Question::Submit, "A signed statement for the roster"),
    ask("/v1/open-session", Question::OpenSession, "A session begins or is shown again"),
    ask("/v1/prelogin", Question::Prelogin, "How to stretch a password"),
    ask("/v1/login", Question::Login, "A login: the wrapped key for whoever proves the password"),
    ask("/v1/set", Question::Set, "A login is set by the key it is for"),
    ask("/v1/redeem", Question::Redeem, "An invitation enrols a key"),
    session(Method::Roster, Some(Action::ReadRoster), "Statements of the roster"),
    session(Method::Segments, Some(Action::PlayBack), "What is recorded of a camera in a span"),
    session(Method::Open, Some(Action::PlayBack), "X of epochs, sealed to the asker: the disclosure"),
    session(Method::Fetch, Some(Action::PlayBack), "Sealed bytes of a recording"),
    session(Method::Health, Some(Action::ReadLedger), "State of the appliance"),
    session(Method::Ledger, Some(Action::ReadLedger), "Entries of the ledger"),
    session(Method::Logout, None, "The session ends"),
    session(Method::Offer, Some(Action::Invite), "Somebody is invited"),
    session(Method::Invitation, Some(Action::Invite), "What became of an invitation"),
    session(Method::Withdraw, Some(Action::Invite), "An invitation is taken back"),
    session(Method::House, Some(Action::ReadRoster), "The roster as the page shows it"),
    session(Method::Propose, Some(Action::Invite), "A statement for others to sign"),
    session(Method::Proposals, Some(Action::Invite), "Statements that wait for signatures"),
];

/// OpenAPI 3.1.
#[must_use]
pub fn description() -> Value {
    let mut paths = serde_json::Map::new();
    for route in ROUTES {
        paths.insert(route.path.into(), json!({ route.verb.to_lowercase(): operation(route) }));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Peri appliance",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Bodies are canonical CBOR (RFC 8949 \u{a7}4.2.1); refusals are RFC 9457."
        },
        "paths": paths,
        "components": {
            "securitySchemes": {
                "proof": {
                    "type": "apiKey", "in": "header", "name": "Peri-Proof",
                    "description": "base64url of a proof: session, channel, counter, progress, boot epoch, signature"
                }
            },
            "schemas": {
                "Problem": {
                    "type": "object",
                    "required": ["type", "title", "status", "detail", "code", "taken"],
                    "properties": {
                        "type": { "type": "string" },
                        "title": { "type": "string" },
                        "status": { "type": "integer" },
                        "detail": { "type": "string" },
                        "code": { "type": "string" },
                        "taken": { "type": "boolean", "description": "whether it is an answer to a request that was taken up" },
                        "retry_after": { "type": "integer" },
                        "conflict": { "enum": ["copy", "given_up", "resync", "channel_ended"] },
                        "nonce": { "type": "string" },
                        "boot": { "type": "string" }
                    }
                }
            }
        }
    })
}

fn operation(route: &Route) -> Value {
    let good = match route.handler {
        Handler::Page(name) => json!({ super::page::media_type(name): {} }),
        Handler::Identity | Handler::Description => json!({ "application/json": { "schema": { "type": "object" } } }),
        Handler::Live => json!({}),
        Handler::Session(Method::Fetch) => json!({ "application/octet-stream": {} }),
        Handler::Question(_) | Handler::Session(_) => json!({ "application/cbor": {} }),
    };
    let problem = json!({
        "description": "Refused or failed, with cause and remedy",
        "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } }
    });
    let status = if route.handler == Handler::Live { "101" } else { "200" };
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": route.summary,
        "responses": { status: { "description": route.summary, "content": good }, "default": problem }
    });
    let body = json!({
        "required": true,
        "content": { "application/cbor": { "schema": { "type": "string", "contentMediaType": "application/cbor" } } }
    });
    match route.handler {
        Handler::Question(_) => operation["requestBody"] = body,
        Handler::Session(_) => {
            operation["requestBody"] = body;
            operation["security"] = json!([{ "proof": [] }]);
        }
        Handler::Page(_) | Handler::Identity | Handler::Description | Handler::Live => {}
    }
    operation
}

fn operation_id(route: &Route) -> String {
    let name = route.path.trim_matches('/').replace(['/', '.', '-'], "_");
    if name.is_empty() { "page".into() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_method_of_a_session_has_its_route_and_no_path_stands_twice() {
        let methods: Vec<_> = ROUTES
            .iter()
            .filter_map(|route| if let Handler::Session(method) = route.handler { Some(method) } else { None })
            .collect();
        assert_eq!(methods, Method::ALL);
        let paths: BTreeSet<_> = ROUTES.iter().map(|route| route.path).collect();
        assert_eq!(paths.len(), ROUTES.len());
        let ids: BTreeSet<_> = ROUTES.iter().map(operation_id).collect();
        assert_eq!(ids.len(), ROUTES.len());
    }
}
