//! Proposals: making, signing, handing on, submitting.
//!
//! A proposal is a file that passes between signers; every creating command can also sign at once with keys of this
//! home and submits as soon as the signatures suffice. Whether they do is decided by the same verifier that the
//! appliance runs. What does not belong: what is proposed (the commands).

use crate::context::{Context, Known, Session};
use crate::exit::Error;
use crate::ui::Report;
use crate::{conn, files, times, whose};
use clap::Args;
use peri_domain::Nonce;
use peri_domain::limits::STATEMENT_MAX;
use peri_roster::{Body, Proposal, Roster, RosterError, Statement};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Options of every command that proposes something.
#[derive(Debug, Clone, Args)]
pub struct ProposeArgs {
    /// Sign at once with this key of this home (repeatable)
    #[arg(long = "sign-as", value_name = "NAME")]
    pub sign_as: Vec<String>,
    /// Write the proposal to FILE, for the next signer
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Insist on submitting: fail when signatures are missing (without it, a proposal with enough signatures is
    /// submitted unless only -o is wanted: see --no-submit)
    #[arg(long, conflicts_with = "no_submit")]
    pub submit: bool,
    /// Never submit, only write the file
    #[arg(long, requires = "output")]
    pub no_submit: bool,
    /// Until when the appliance may accept it
    #[arg(long, value_name = "TIME", default_value = "+7d", allow_hyphen_values = true)]
    pub accept_until: String,
}

/// Builds a body from the verified roster, signs, submits or writes it.
///
/// # Errors
/// What the roster's rules, the appliance or the files say; [`Error::Signatures`] when signatures are missing and no
/// file was asked for.
pub fn propose(
    context: &mut Context,
    args: &ProposeArgs,
    make: impl FnOnce(&mut Context, &Session, &Known) -> Result<Body, Error>,
) -> Result<Report, Error> {
    if args.sign_as.is_empty() && args.output.is_none() {
        return Err(Error::Usage(
            "say who signs (--sign-as NAME, repeatable) or where the proposal goes for others to sign (-o FILE)".into(),
        ));
    }
    let not_after = times::parse(&args.accept_until, context.now())?;
    let mut session = context.session()?;
    let signers = args.sign_as.iter().map(|name| context.unlock(name)).collect::<Result<Vec<_>, _>>()?;
    let reader = signers.first().map_or_else(|| context.reader(), |pair| Ok(Rc::clone(pair)))?;
    let known = session.roster(context, &reader)?;
    let body = make(context, &session, &known)?;
    let nonce = Nonce(conn::random());
    let proposal = Proposal::new(session.vm(), body, not_after, nonce, known.roster.seat_set())?;
    announce(context, "about to be proposed", &proposal, Some(&*known.roster));
    let statement = signers
        .iter()
        .fold(Statement::unsigned(proposal), |statement, pair| statement.sign(pair.signing(), pair.fingerprint()));
    finish(context, &mut session, &known, &statement, args.output.as_deref(), args.no_submit, args.submit)
}

/// Says what a proposal does and whose keys it is about, before anything is signed, sent or written. Nothing is asked, so
/// whoever wants to compare first uses `peri proposal show`; but the words are there also where the act fails or its
/// answer gets lost. A note on standard error, with `--json`, too.
pub(crate) fn announce(context: &Context, doing: &str, proposal: &Proposal, roster: Option<&Roster>) {
    let keys = whose::lines(&whose::of(&proposal.body, roster));
    context.ui.note(&format!("{doing}: {}{keys}", proposal.describe()));
}

/// Submits a statement if its signatures suffice, else writes it or says who is missing. The caller has announced it.
pub(crate) fn finish(
    context: &Context,
    session: &mut Session,
    known: &Known,
    statement: &Statement,
    output: Option<&Path>,
    never: bool,
    insist: bool,
) -> Result<Report, Error> {
    let bytes = statement.to_bytes();
    if let Some(path) = output {
        files::write(path, &bytes, 0o644)?;
    }
    // Ten words of every key in it: those who sign compare them with whoever should hold the key.
    let keys = whose::of(&statement.proposal().body, Some(&*known.roster));
    let what = format!("{}{}", statement.describe(), whose::lines(&keys));
    let mut document = json!({
        "keys": whose::document(&keys),
        "id": statement.hash(),
        "nonce": statement.proposal().nonce,
        "what": statement.describe(),
        "kind": statement.proposal().body.kind(),
        "signatures": statement.signers().count(),
        "file": output,
    });
    let missing = if never { None } else { missing(context, known, &bytes)? };
    match (missing, output) {
        (None, _) if !never => {
            session.conn.submit(&bytes)?;
            document["submitted"] = json!(true);
            Ok(Report::new(format!("accepted: {what}"), document))
        }
        (Some(why), None) => Err(Error::Signatures(format!("{why}; write it with -o FILE and let the others sign"))),
        (Some(why), Some(_)) if insist => Err(Error::Signatures(why)),
        (why, path) => {
            let path = path.unwrap_or(Path::new("-"));
            document["submitted"] = json!(false);
            document["missing"] = json!(why);
            let next = why.map_or(String::new(), |why| format!("\nnot yet submitted: {why}"));
            let text = format!(
                "proposed: {what}{next}\nwritten to {}; the next signer runs: peri proposal sign {} --sign-as NAME",
                path.display(),
                path.display()
            );
            Ok(Report::new(text, document))
        }
    }
}

/// What is missing until the appliance admits the statement; `None` when nothing is. A statement that it never would
/// is an error.
fn missing(context: &Context, known: &Known, bytes: &[u8]) -> Result<Option<String>, Error> {
    match known.set.clone().admit(bytes, context.now()) {
        Ok(_) => Ok(None),
        Err(why @ (RosterError::NeedsSigners { .. } | RosterError::Waiting { .. })) => Ok(Some(why.to_string())),
        Err(why) => Err(why.into()),
    }
}

/// Reads a proposal file.
///
/// # Errors
/// File errors, or the roster's word on what is wrong with the bytes.
pub fn read(path: &Path) -> Result<Statement, Error> {
    Ok(Statement::from_bytes(&files::read(path, STATEMENT_MAX)?)?)
}
