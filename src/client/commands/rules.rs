//! The protection profile and snapshots of the roster: what k seats say about the installation as a whole.

use crate::context::Context;
use crate::exit::Error;
use crate::propose::{ProposeArgs, propose};
use crate::times;
use crate::ui::Report;
use clap::Args;
use peri_roster::body::{Body, Profile};
use serde_json::json;

/// `peri profile`
#[derive(Debug, Args)]
pub struct ProfileArgs {
    /// Longest retention an administrator may set (72h, 10d); what is not named stays as it is
    #[arg(long, value_name = "LENGTH", value_parser = length)]
    ceiling: Option<u64>,
    /// Who is told what, in words (repeatable; all of them, they replace those before)
    #[arg(long, value_name = "TEXT")]
    told: Vec<String>,
    /// A deviation in words (repeatable; all of them, they replace those before)
    #[arg(long, value_name = "TEXT")]
    exception: Vec<String>,
    /// Who signs.
    #[command(flatten)]
    propose: ProposeArgs,
}

fn length(text: &str) -> Result<u64, String> {
    times::length(text).map(|length| length.as_secs()).map_err(|error| error.to_string())
}

/// Runs `peri profile`.
///
/// # Errors
/// [`Error`].
pub fn profile(args: &ProfileArgs, context: &mut Context) -> Result<Report, Error> {
    if args.ceiling.is_none() && args.told.is_empty() && args.exception.is_empty() {
        return Err(Error::Usage("name what changes: --ceiling, --told or --exception".into()));
    }
    propose(context, &args.propose, |_, _, known| {
        let roster = &known.roster;
        let threshold = roster.threshold().ok_or_else(|| Error::Usage("nobody has claimed this appliance".into()))?;
        let present = roster.profile();
        let or_present = |new: &[String], old: fn(&Profile) -> &Vec<String>| match (new, present) {
            ([], Some(present)) => old(present).clone(),
            (new, _) => new.to_vec(),
        };
        Ok(Body::Profile(Box::new(Profile {
            serial: present.map_or(0, |profile| profile.serial) + 1,
            k: threshold.k,
            n: threshold.n,
            retention_ceiling_secs: args.ceiling.unwrap_or_else(|| roster.retention_ceiling().as_secs()),
            audio: false,
            masks: present.map_or_else(Vec::new, |profile| profile.masks.clone()),
            exceptions: or_present(&args.exception, |profile| &profile.exceptions),
            told: or_present(&args.told, |profile| &profile.told),
        })))
    })
}

/// Runs `peri roster snapshot`.
///
/// # Errors
/// [`Error`].
pub fn snapshot(args: &ProposeArgs, context: &mut Context) -> Result<Report, Error> {
    propose(context, args, |_, _, known| Ok(Body::Snapshot(known.set.snapshot())))
}

/// Runs `peri roster restore`: every home is a copy of the roster as it saw it.
///
/// # Errors
/// [`Error`].
pub fn restore(context: &mut Context) -> Result<Report, Error> {
    let mut session = context.session()?;
    let statements = context.statements()?;
    let mut refused: Vec<String> = Vec::new();
    for statement in &statements {
        match session.conn.submit(statement) {
            Ok(()) => {}
            Err(crate::conn::ConnError::Refused(problem)) => refused.push(problem.to_string()),
            Err(error) => return Err(error.into()),
        }
    }
    let (all, there) = (statements.len(), statements.len() - refused.len());
    let mut text = format!("{there} of the {all} statements that this home has seen are with the appliance");
    refused.iter().for_each(|why| text.push_str(&format!("\n  refused: {why}")));
    Ok(Report::new(text, json!({ "statements": all, "present": there, "refused": refused })))
}
