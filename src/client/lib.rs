//! The command line for people: keys, claim, roster proposals, export, live pictures.
//!
//! Life of a command: [`run`] parses, opens the home, hands a [`context::Context`] to one function of [`commands`] and
//! prints the report it returns. This crate opens pictures (through `peri-open`), so no server binary links it.
//!
//! Invariants, as absences: no private key is on disk in clear ([`vault`]); no secret is an argument or an environment
//! variable ([`password`]); nothing is believed from an appliance other than the pinned one ([`profile`]); no roster,
//! record, key or fragment is used before its signature or commitment is checked; a file named on the command line is
//! written as a whole or not at all ([`files`]); only [`ui`] prints.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod cli;
pub mod commands;
pub mod conn;
pub mod context;
pub mod exit;
pub mod files;
pub mod footage;
pub mod hours;
pub mod login;
pub mod password;
pub mod profile;
pub mod propose;
pub mod request;
pub mod sheet;
pub mod times;
pub mod ui;
pub mod vault;
pub mod whose;

#[cfg(test)]
mod testkit;
#[cfg(test)]
mod tests_flow;

use clap::Parser;
use std::process::ExitCode;

/// The program: parses the process's arguments, runs the command, prints, and says how it ended (see
/// [`exit::EXIT_CODES`]).
#[must_use]
pub fn run() -> ExitCode {
    let cli = cli::Cli::parse();
    let ui = ui::Ui::new(cli.common.json);
    match start(cli, ui).and_then(|report| ui.report(&report)) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads our output has read enough (`peri roster show | head`).
        Err(exit::Error::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            ui.error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

fn start(cli: cli::Cli, ui: ui::Ui) -> Result<ui::Report, exit::Error> {
    if let cli::Command::Completions { shell } = cli.command {
        return Ok(cli::completions(shell));
    }
    let common = cli.common;
    let home = match common.home {
        Some(home) => home,
        None => {
            let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(Into::into);
            vault::Vault::default_path(variable("XDG_DATA_HOME"), variable("HOME"))?
        }
    };
    let mut context = context::Context::new(
        ui,
        vault::Vault::open(&home)?,
        password::Passwords::new(&common.password_file),
        Box::new(peri_sandbox::clock::SystemClock),
        common.socket,
        common.signing_as,
    );
    cli::run(cli.command, &mut context)
}
