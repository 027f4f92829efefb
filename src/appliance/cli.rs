//! The command line of `peri-appliance`.

use crate::boot::Control;
use crate::{config, keeper, maintenance, migrate, portal, recorder, scribe, supervisor, walls};
use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};
use peri_sandbox::seccomp::Role;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The appliance: records cameras into sealed segments that nobody on this machine can open.
#[derive(Parser)]
#[command(name = "peri-appliance", version, about, long_about = None)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the appliance: supervisor, roles and (unless configured otherwise) a private PostgreSQL.
    Run {
        /// The configuration file.
        #[arg(long, default_value = "/etc/peri/appliance.toml")]
        config: PathBuf,
    },
    /// Check a configuration, or print the commented example.
    Config {
        /// The configuration file to check.
        #[arg(long, default_value = "/etc/peri/appliance.toml")]
        config: PathBuf,
        /// Print the commented example instead.
        #[arg(long)]
        example: bool,
    },
    /// Check segment files against the index; the appliance must be stopped.
    Fsck {
        /// The configuration file.
        #[arg(long, default_value = "/etc/peri/appliance.toml")]
        config: PathBuf,
        /// Bring the index into line with the files (files are evidence and never changed).
        #[arg(long)]
        repair: bool,
        /// Prove that no X of an epoch older than retention exists: key file, both roots, database, every file.
        #[arg(long)]
        prove_erased: bool,
        /// One JSON document instead of text.
        #[arg(long)]
        json: bool,
    },
    /// A role; started by `run` alone.
    #[command(hide = true)]
    Role {
        /// Which.
        name: RoleName,
    },
    /// Run an attack of the table from inside a role's walls and say what came of it.
    #[command(hide = true)]
    Probe {
        /// Whose walls.
        role: String,
        /// Which attack; `list` prints all.
        attack: String,
        /// The configuration file that decides the walls.
        #[arg(long, default_value = "/etc/peri/appliance.toml")]
        config: PathBuf,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum RoleName {
    Keeper,
    Scribe,
    Portal,
    Recorder,
    Migrate,
}

/// The program.
#[must_use]
pub fn run() -> ExitCode {
    match dispatch(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run { config } => supervisor::run(&config)?,
        Command::Config { example: true, .. } => say(config::EXAMPLE.trim_end()),
        Command::Config { config, .. } => {
            config::Config::read(&config)?;
            say("the configuration is valid");
        }
        Command::Fsck { config, repair, prove_erased, json } => {
            let config = config::Config::read(&config)?;
            let outcome = maintenance::run(&config, repair, prove_erased)?;
            say(&if json { outcome.to_json() } else { outcome.to_text() });
            return Ok(if outcome.is_good() { ExitCode::SUCCESS } else { ExitCode::from(1) });
        }
        Command::Role { name } => {
            let control = Control::inherited()?;
            match name {
                RoleName::Keeper => keeper::run(control),
                RoleName::Scribe => scribe::run(control),
                RoleName::Portal => portal::run(control),
                RoleName::Recorder => recorder::run(control),
                RoleName::Migrate => migrate::run(control),
            }?;
        }
        Command::Probe { role, attack, config } => probe(&role, &attack, &config)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Stands in the data directory, whose parts some attacks name, and behind the walls that production builds for the role.
fn probe(role: &str, attack: &str, config: &Path) -> anyhow::Result<()> {
    use peri_sandbox::probe::{ATTACKS, run};
    if attack == "list" {
        ATTACKS.iter().for_each(|attack| say(attack.name));
        return Ok(());
    }
    let role: Role = role.parse()?;
    let config = config::Config::read(config)?;
    std::env::set_current_dir(&config.data).context("the probe stands in the data directory")?;
    let root = nix::unistd::Uid::effective().is_root();
    let kept = if role == Role::Supervisor { walls::capabilities(root) } else { &[] };
    peri_sandbox::confine::confine(role, &walls::of(role, &config), kept, false)?;
    let result = run(attack).with_context(|| format!("there is no attack {attack}; `probe {role} list` prints all"))?;
    say(&format!("{result:?}"));
    Ok(())
}

#[allow(clippy::print_stdout, reason = "the one place where this program answers whoever called it")]
fn say(text: &str) {
    println!("{text}");
}

#[allow(clippy::print_stderr, reason = "errors of a command go to standard error")]
fn complain(text: &str) {
    eprintln!("peri-appliance: {text}");
}
