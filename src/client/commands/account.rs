//! Accounts: the owner makes a key and a request; whoever may sign enters it into the roster.

use crate::commands::key::{self, SheetArgs};
use crate::commands::{find, seat};
use crate::conn;
use crate::context::Context;
use crate::exit::Error;
use crate::login;
use crate::propose::{ProposeArgs, propose};
use crate::request::{Wanted, candidate};
use crate::ui::Report;
use crate::vault::KeyKind;
use clap::{Subcommand, ValueEnum};
use peri_domain::{AccountId, Fingerprint, Role};
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
    ///
    /// A login opens one key. Where the holder changes a key of this home that has one, and the new key is in this home too,
    /// the login opens the new key as soon as the change is accepted, with a new recovery sheet. In all other cases whoever
    /// has the new key runs `peri key sheet NAME --login TEXT` once the change is accepted.
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
        /// The recovery sheet of the new key, where its login is set.
        #[command(flatten)]
        sheet: SheetArgs,
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
        AccountCommand::ChangeKey { account, request, reset, propose: args, sheet } => {
            change_key(context, &account, &request, reset, &args, &sheet)
        }
    }
}

/// A login of this home that opens the key to be replaced.
struct Moving {
    login: String,
    /// The replaced key in this home.
    old: String,
    /// The new one, if it lies here too.
    new: Option<String>,
}

fn change_key(
    context: &mut Context,
    account: &str,
    request: &str,
    reset: bool,
    args: &ProposeArgs,
    sheet: &SheetArgs,
) -> Result<Report, Error> {
    let mut moving = None;
    let mut report = propose(context, args, |context, _, known| {
        let account = find::account(&known.roster, account)?;
        let candidate = candidate(&context.vault, request)?;
        let Wanted::Account { .. } = candidate.wanted else { return Err(not_an_account(request)) };
        let old = account.key().1;
        if !reset {
            moving = moves(context, old, candidate.public.fingerprint())?;
        }
        // Found out before anything is signed: the login gets a new code, and somebody must see it.
        if moving.as_ref().is_some_and(|moving| moving.new.is_some()) && !args.no_submit {
            key::check_sheet(sheet)?;
        }
        let by = if reset { ChangedBy::Reset } else { ChangedBy::Holder };
        Ok(Body::KeyChange(Box::new(KeyChange { account: account.id(), old, new: candidate.public, by })))
    })?;
    let Some(Moving { login, old, new }) = moving else { return Ok(report) };
    let follow = format!("peri key sheet {} --login {login}", new.as_deref().unwrap_or("NAME"));
    match new.filter(|_| report.json["submitted"] == true) {
        Some(new) => match key::new_sheet(context, &new, Some(&login), sheet) {
            Ok((made, _)) => {
                login::remember(context, &old, None)?;
                report.text.push_str(&format!("\nits login {login} opens the new key now{}", made.text));
                report.json["login_set"] = true.into();
                report.json["recovery_code"] = made.json["recovery_code"].clone();
            }
            Err(error) => {
                report.json["login_set"] = false.into();
                report.text.push_str(&format!("\nITS LOGIN {login} STILL OPENS THE REPLACED KEY ({}); run: {follow}", login::why_not_set(&error)));
            }
        },
        None => report.text.push_str(&format!(
            "\nthe login {login} opens the replaced key; once the change is accepted, whoever has the new key runs: {follow}"
        )),
    }
    Ok(report)
}

/// Whether the key to be replaced lies in this home and has a login.
fn moves(context: &Context, old: Fingerprint, new: Fingerprint) -> Result<Option<Moving>, Error> {
    let keys = context.vault.all()?;
    let name =
        |key: Fingerprint| keys.iter().find(|(_, file)| file.public.fingerprint() == key).map(|(name, _)| name.clone());
    let Some(old) = name(old) else { return Ok(None) };
    Ok(login::name_of(context, &old)?.map(|login| Moving { login, old, new: name(new) }))
}

fn not_an_account(request: &str) -> Error {
    Error::Usage(format!("{request:?} asks for a seat, not for an account; seats are filled by `peri claim seat`"))
}
