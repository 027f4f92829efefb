//! portal: faces clients, holds nothing lasting, serves only sealed bytes and the page that opens them elsewhere.
//!
//! ```text
//!  browser ── TLS 1.3 ──▶ http (actix-web) ─┐ routes: one table
//!             └─ socket ─▶ live ────────────┤
//!  peri ── socket of this machine ─▶ desk ──┴─▶ questions ══▶ scribe
//!                                    sealed ◀── descriptor ══╛
//! ```
//! It checks bounds and forms, forwards questions to scribe as typed messages and streams sealed segments from descriptors
//! that scribe opened for reading. It has no file, no lasting key (handshakes are signed by scribe, [`tls`]), no way out;
//! whatever it says about who asks is checked again by scribe. What does not belong: decisions, keys, words for people.

mod desk;
mod frames;
mod http;
mod identity;
pub mod live;
mod page;
mod questions;
pub mod routes;
mod sealed;
mod tls;

use crate::boot::{self, Control};
use crate::message::{Order, Peer, Report, Start};
use crate::walls;
use anyhow::Context as _;
pub use http::POLICY;
use peri_sandbox::channel::Channel;
use questions::Questions;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::Arc;

/// Runs the role until the supervisor goes away.
///
/// # Errors
/// What made it impossible to start; afterwards only the loss of the supervisor ends it.
pub(crate) fn run(mut control: Control) -> anyhow::Result<()> {
    let (start, fds) = control.start()?;
    let Start::Portal { need_landlock, names } = start else { anyhow::bail!("portal was started as something else") };
    let mut fds = fds.into_iter();
    let desk = UnixListener::from(fds.next().context("portal got no listening socket")?);
    desk.set_nonblocking(true)?;
    let page = fds.next().map(TcpListener::from);
    let questions = Arc::new(Questions::new(control.reporter()?));
    // Without methods that may be used this year there is no page; the command line's door is another matter.
    let crypto = page.is_some().then(tls::provider).transpose().unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr(), "portal cannot serve the page: {error:#}");
        None
    });
    if let Some(crypto) = &crypto {
        // The library's generator looks at what the kernel can do when it is used for the first time.
        crypto.secure_random.fill(&mut [0; 32]).map_err(|_| anyhow::anyhow!("the kernel gives no randomness"))?;
    }
    let page = page.zip(crypto).map(|(listener, crypto)| http::prepare(listener, names, crypto, questions.clone()));
    let landlock_abi = boot::confine(peri_sandbox::seccomp::Role::Portal, &walls::portal(), need_landlock)?;
    control.report(&Report::Ready { landlock_abi })?;
    let (end, ended) = tokio::sync::oneshot::channel();
    let asked = questions.clone();
    std::thread::Builder::new().name("control".into()).spawn(move || {
        // Nobody waits for it only when this process ends anyway.
        let _ = end.send(obey(&mut control, &questions));
    })?;
    actix_web::rt::System::new().block_on(async move {
        if let Some(page) = page {
            actix_web::rt::spawn(page);
        }
        tokio::select! {
            served = desk::serve(desk, asked) => served,
            ended = ended => ended.context("the control channel's thread is gone")?,
        }
    })
}

/// Takes the supervisor's orders until it goes away.
fn obey(control: &mut Control, questions: &Arc<Questions>) -> anyhow::Result<()> {
    loop {
        match control.next()? {
            Some((Order::Link(Peer::Scribe), Some(fd))) => {
                let channel = Arc::new(Channel::from(fd));
                questions.link(channel.clone());
                let questions = questions.clone();
                std::thread::Builder::new().name("scribe".into()).spawn(move || questions.receive(&channel))?;
            }
            Some((Order::Stop, _)) | None => return Ok(()),
            Some(_) => {}
        }
    }
}
