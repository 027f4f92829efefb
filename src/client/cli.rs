//! The command line: what can be typed, and which function each command calls.
//!
//! What does not belong: what the commands do. Invariant: no secret is ever an argument or an environment variable.

use crate::commands::{
    account, camera, claim, export, grant, invite, key, ledger, post, proposal, rules, seat, show, trust, watch,
};
use crate::context::Context;
use crate::exit::{EXIT_CODES, Error};
use crate::login;
use crate::ui::Report;
use clap::{Args, CommandFactory, Parser, Subcommand};
use std::path::PathBuf;

/// Command line of Peri: claim an appliance, decide who may look, look
#[derive(Debug, Parser)]
#[command(name = "peri", version, max_term_width = 100, after_help = EXIT_CODES, propagate_version = true)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub common: Common,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Where keys are kept [default: $XDG_DATA_HOME/peri or ~/.local/share/peri]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Common options")]
    pub home: Option<PathBuf>,
    /// Where the appliance listens (remembered in the home)
    #[arg(long, global = true, value_name = "PATH", help_heading = "Common options")]
    pub socket: Option<PathBuf>,
    /// The key of this home that signs requests, where more than one would do
    #[arg(long = "as", global = true, value_name = "NAME", help_heading = "Common options")]
    pub signing_as: Option<String>,
    /// File with the password of keys, or NAME=FILE for one key (repeatable). Without it passwords are typed, or read
    /// line by line from standard input when that is no terminal
    #[arg(long, global = true, value_name = "[NAME=]FILE", help_heading = "Common options")]
    pub password_file: Vec<String>,
    /// One JSON document on standard output; progress and errors as JSON lines on standard error
    #[arg(long, global = true, help_heading = "Common options")]
    pub json: bool,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Claim an appliance: make the claim key, use it, fill the seats
    #[command(subcommand)]
    Claim(claim::ClaimCommand),
    /// Which appliance this home trusts
    #[command(subcommand)]
    Trust(trust::TrustCommand),
    /// Keys of this home
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Custodian seats
    #[command(subcommand)]
    Seat(seat::SeatCommand),
    /// Accounts
    #[command(subcommand)]
    Account(account::AccountCommand),
    /// Invite somebody: a link that enrols one key, once
    #[command(subcommand)]
    Invite(invite::InviteCommand),
    /// Use an invitation: make a key in this home, enrol it and set its login; then the recovery sheet is printed. After a
    /// failure the same command goes on with that key
    Enrol(invite::EnrolArgs),
    /// Fetch a key to a device that knew it, with its password
    Login(login::LoginArgs),
    /// Fetch a key to any device, with its printed recovery code
    Recover(login::RecoverArgs),
    /// Cameras
    #[command(subcommand)]
    Camera(camera::CameraCommand),
    /// Who may look at what, until when
    #[command(subcommand)]
    Grant(grant::GrantCommand),
    /// Posts: one key for the people of a control room
    #[command(subcommand)]
    Post(post::PostCommand),
    /// Propose the protection profile: retention ceiling, who is told what, exceptions; k seats sign
    Profile(rules::ProfileArgs),
    /// Revoke keys or grants for ever
    Revoke(grant::RevokeArgs),
    /// How long pictures are kept
    Retention(camera::RetentionArgs),
    /// Proposals on their way between signers
    #[command(subcommand)]
    Proposal(proposal::ProposalCommand),
    /// The roster: accounts, seats, cameras, grants
    #[command(subcommand)]
    Roster(show::RosterCommand),
    /// State of the appliance and its cameras
    Health,
    /// Fetch the ledger and verify all of it
    Ledger(ledger::LedgerArgs),
    /// Save a span of recorded video as an .mp4 file
    Export(export::ExportArgs),
    /// Watch a camera live: MP4 to a file or standard output
    Watch(watch::WatchArgs),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Runs a command.
///
/// # Errors
/// What the command says.
pub fn run(command: Command, context: &mut Context) -> Result<Report, Error> {
    match command {
        Command::Claim(command) => claim::run(command, context),
        Command::Trust(command) => trust::run(command, context),
        Command::Key(command) => key::run(command, context),
        Command::Seat(command) => seat::run(command, context),
        Command::Account(command) => account::run(command, context),
        Command::Invite(command) => invite::run(command, context),
        Command::Enrol(args) => invite::enrol(&args, context),
        Command::Login(args) => login::login(&args, context),
        Command::Recover(args) => login::recover(&args, context),
        Command::Camera(command) => camera::run(command, context),
        Command::Grant(command) => grant::run(command, context),
        Command::Post(command) => post::run(command, context),
        Command::Profile(args) => rules::profile(&args, context),
        Command::Revoke(args) => grant::revoke(args, context),
        Command::Retention(args) => camera::retention(&args, context),
        Command::Proposal(command) => proposal::run(command, context),
        Command::Roster(show::RosterCommand::Show) => show::roster(context),
        Command::Roster(show::RosterCommand::Snapshot { propose }) => rules::snapshot(&propose, context),
        Command::Roster(show::RosterCommand::Restore) => rules::restore(context),
        Command::Health => show::health(context),
        Command::Ledger(args) => ledger::run(&args, context),
        Command::Export(args) => export::run(&args, context),
        Command::Watch(args) => watch::run(&args, context),
        Command::Completions { shell } => Ok(completions(shell)),
    }
}

/// The completion script of a shell.
#[must_use]
pub fn completions(shell: clap_complete::Shell) -> Report {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "peri", &mut script);
    let text = String::from_utf8_lossy(&script).into_owned();
    let json = serde_json::json!({ "shell": shell.to_string(), "script": text });
    Report::new(text, json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_and_option_has_help() {
        fn walk(command: &clap::Command, path: &str) {
            assert!(command.get_about().is_some(), "{path} has no help");
            for argument in command.get_arguments().filter(|a| !a.is_hide_set()) {
                assert!(argument.get_help().is_some(), "{path} {} has no help", argument.get_id());
            }
            for sub in command.get_subcommands() {
                walk(sub, &format!("{path} {}", sub.get_name()));
            }
        }
        walk(&Cli::command(), "peri");
    }

    #[test]
    fn no_option_takes_a_secret_but_by_file() {
        fn walk(command: &clap::Command) {
            for argument in command.get_arguments() {
                let id = argument.get_id().as_str();
                let secret = ["password", "secret", "code", "token"].iter().any(|word| id.contains(word));
                assert!(!secret || id.ends_with("_file"), "{id}");
            }
            command.get_subcommands().for_each(walk);
        }
        walk(&Cli::command());
    }

    #[test]
    fn completions_name_the_commands() {
        assert!(completions(clap_complete::Shell::Bash).text.contains("proposal"));
    }
}
