//! Accounts: the owner makes a key and a request; whoever may sign enters it into the roster.

use crate::commands::key::{self, SheetArgs};
use crate::commands::{find, seat};
use crate::conn;
use crate::context::Context;
use crate::exit::Error;
use crate::propose::{ProposeArgs, propose};
use crate::request::{Wanted, candidate};
use crate::ui::Report;
use crate::vault::KeyKind;
use clap::{Subcommand, ValueEnum};
use peri_domain::{AccountId, Role};
use peri_roster::body::{AccountRemoval, Body, ChangedBy, KeyChange, NewAccount};
use std::path::PathBuf;

/// `peri account …`
#[derive(Debug, Subcommand)]
pub enum AccountCommand {
    /// Make a key for yourself in this home and write the request for an account
    Request {
        /// Name of the key in this home
        name: String,
        /// The one role of the account
        #[arg(long, value_enum)]
        role: RoleArg,
        /// Pseudonym in the roster; never a person's real name [default: NAME]
        #[arg(long, value_name = "TEXT")]
        pseudonym: Option<String>,
        /// Where the request goes [default: NAME.request]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Recovery sheet.
        #[command(flatten)]
        sheet: SheetArgs,
    },
    /// Propose an account: administrators by k seats, others by one administrator or k seats
    New {
        /// A request file (`peri account request`), or the name of an account key in this home
        request: String,
        /// Who signs.
        #[command(flatten)]
        propose: ProposeArgs,
    },
    /// Propose the removal of an account, for ever
    Remove {
        /// Name or id of the account
        account: String,
        /// Who signs.
        #[command(flatten)]
        propose: ProposeArgs,
    },
    /// Propose another key for an account, signed by its present key (grants go on)
    ChangeKey {
        /// Name or id of the account
        account: String,
        /// Request file with the new key, or a key in this home
        request: String,
        /// The present key is lost: an administrator or k seats sign, and the new key starts without grants
        #[arg(long)]
        reset: bool,
        /// Who signs.
        #[command(flatten)]
        propose: ProposeArgs,
    },
}

/// A role on the command line; custodians are seats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RoleArg {
    /// Accounts, network, health; never a picture
    Administrator,
    /// Sees what a grant says
    Viewer,
    /// Control room or police: a viewer from outside
    External,
    /// Sets cameras up
    Technician,
    /// Ledger, evidence, configuration; never a picture
    Auditor,
}

impl From<RoleArg> for Role {
    fn from(role: RoleArg) -> Self {
        match role {
            RoleArg::Administrator => Self::Administrator,
            RoleArg::Viewer => Self::Viewer,
            RoleArg::External => Self::External,
            RoleArg::Technician => Self::Technician,
            RoleArg::Auditor => Self::Auditor,
        }
    }
}

/// Runs the command.
///
/// # Errors
/// [`Error`].
pub fn run(command: AccountCommand, context: &mut Context) -> Result<Report, Error> {
    match command {
        AccountCommand::Request { name, role, pseudonym, output, sheet } => {
            let (id, role) = (AccountId(conn::random()), role.into());
            let made = key::make(context, &name, KeyKind::Account { id, role }, &sheet)?;
            let title = pseudonym.as_deref().unwrap_or(&name);
            seat::request(context, &name, title, Wanted::Account { id, role }, output, made)
        }
        AccountCommand::New { request, propose: args } => propose(context, &args, |context, _, _| {
            let candidate = candidate(&context.vault, &request)?;
            let Wanted::Account { id, role } = candidate.wanted else { return Err(not_an_account(&request)) };
            Ok(Body::Account(Box::new(NewAccount { id, role, name: candidate.name, key: candidate.public })))
        }),
        AccountCommand::Remove { account, propose: args } => propose(context, &args, |_, _, known| {
            let account = find::account(&known.roster, &account)?.id();
            Ok(Body::AccountRemoval(AccountRemoval { account }))
        }),
        AccountCommand::ChangeKey { account, request, reset, propose: args } => {
            propose(context, &args, |context, _, known| {
                let account = find::account(&known.roster, &account)?;
                let candidate = candidate(&context.vault, &request)?;
                let Wanted::Account { .. } = candidate.wanted else { return Err(not_an_account(&request)) };
                Ok(Body::KeyChange(Box::new(KeyChange {
                    account: account.id(),
                    old: account.key().1,
                    new: candidate.public,
                    by: if reset { ChangedBy::Reset } else { ChangedBy::Holder },
                })))
            })
        }
    }
}

fn not_an_account(request: &str) -> Error {
    Error::Usage(format!("{request:?} asks for a seat, not for an account; seats are filled by `peri claim seat`"))
}
