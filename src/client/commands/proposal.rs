//! Proposals on their way between signers: reading, signing, joining, submitting.
//!
//! What a signer sees names every key in ten words, under the name that the verified roster gives to that key.

use crate::context::Context;
use crate::exit::Error;
use crate::files;
use crate::propose::{self, finish};
use crate::ui::Report;
use crate::whose;
use clap::Subcommand;
use peri_roster::{Roster, Statement, Verified};
use peri_seal::keys::KeyPair;
use peri_seal::words::words;
use serde_json::json;
use std::path::{Path, PathBuf};

/// `peri proposal …`
#[derive(Debug, Subcommand)]
pub enum ProposalCommand {
    /// Say what a proposal would do and who has signed it
    Show {
        /// The file
        file: PathBuf,
    },
    /// Add signatures of keys in this home
    Sign {
        /// The file; it is replaced by the signed one
        file: PathBuf,
        /// Sign with this key of this home (repeatable)
        #[arg(long = "sign-as", value_name = "NAME", required = true)]
        sign_as: Vec<String>,
        /// Write to another file instead
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Submit as soon as the signatures suffice
        #[arg(long)]
        submit: bool,
    },
    /// Hand a proposal to the appliance; copies with different signatures are joined
    Submit {
        /// The file, or several copies of the same proposal
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

/// Runs the command.
///
/// # Errors
/// [`Error`].
pub fn run(command: ProposalCommand, context: &mut Context) -> Result<Report, Error> {
    match command {
        ProposalCommand::Show { file } => {
            let statement = propose::read(&file)?;
            // Without a password: names are those that this home knows, words are those of the file.
            let roster = context.roster_seen_last()?;
            Ok(show(&statement, roster.as_deref()))
        }
        ProposalCommand::Sign { file, sign_as, output, submit } => {
            let statement = propose::read(&file)?;
            let signers = sign_as.iter().map(|name| context.unlock(name)).collect::<Result<Vec<_>, _>>()?;
            let sign = |statement: Statement| {
                signers.iter().fold(statement, |all, pair| all.sign(pair.signing(), pair.fingerprint()))
            };
            let path = output.unwrap_or(file);
            if submit {
                return send(context, statement, "about to be signed and submitted", sign, Some(&path));
            }
            let roster = match signers.first() {
                Some(pair) => newest(context, pair)?,
                None => context.roster_seen_last()?,
            };
            propose::announce(context, "about to be signed", statement.proposal(), roster.as_deref());
            let statement = sign(statement);
            files::write(&path, &statement.to_bytes(), 0o644)?;
            let mut report = show(&statement, roster.as_deref());
            report.text = format!("signed; written to {}\n{}", path.display(), report.text);
            Ok(report)
        }
        ProposalCommand::Submit { files } => {
            let mut copies = files.iter().map(|file| propose::read(file)).collect::<Result<Vec<_>, _>>()?.into_iter();
            let first = copies.next().ok_or_else(|| Error::Usage("name a proposal file".into()))?;
            let statement = copies.try_fold(first, |all, copy| all.merge(&copy))?;
            send(context, statement, "about to be submitted", |statement| statement, None)
        }
    }
}

/// Announces a statement, has it signed, and submits or writes it.
fn send(
    context: &mut Context,
    statement: Statement,
    doing: &str,
    sign: impl FnOnce(Statement) -> Statement,
    output: Option<&Path>,
) -> Result<Report, Error> {
    let mut session = context.session()?;
    let reader = context.reader()?;
    let known = session.roster(context, &reader)?;
    propose::announce(context, doing, statement.proposal(), Some(&*known.roster));
    finish(context, &mut session, &known, &sign(statement), output, false, false)
}

/// The newest roster to be had: the appliance's, or the one seen last where it cannot be reached or does not know the
/// signer. An appliance that is another one, or withholds statements, is an error: nobody should sign then.
fn newest(context: &Context, who: &KeyPair) -> Result<Option<Verified<Roster>>, Error> {
    match context.session().and_then(|mut session| session.roster(context, who)) {
        Ok(known) => Ok(Some(known.roster)),
        Err(error) if error.exit_code() == 5 => Err(error),
        Err(error) => {
            context.ui.note(&format!("names are from the roster that this home saw last: {error}"));
            context.roster_seen_last()
        }
    }
}

fn show(statement: &Statement, roster: Option<&Roster>) -> Report {
    let proposal = statement.proposal();
    let signers: Vec<_> = statement.signers().collect();
    let lines: String =
        signers.iter().map(|signer| format!("\n  signed by {signer}\n    {}", words(signer).join(" "))).collect();
    let keys = whose::of(&proposal.body, roster);
    let text = format!(
        "{}{}\n  for appliance {}\n  may be accepted until {}\n  id {}{lines}",
        statement.describe(),
        whose::lines(&keys),
        proposal.vm,
        proposal.not_after,
        statement.hash()
    );
    let document = json!({
        "keys": whose::document(&keys),
        "id": statement.hash(),
        "nonce": proposal.nonce,
        "kind": proposal.body.kind(),
        "what": statement.describe(),
        "vm": proposal.vm,
        "not_after": proposal.not_after.to_string(),
        "seat_set": proposal.seat_set,
        "signers": signers,
    });
    Report::new(text, document)
}
