//! Grants and revocations.

use crate::commands::find;
use crate::context::Context;
use crate::exit::Error;
use crate::hours;
use crate::propose::{ProposeArgs, propose};
use crate::times::{self, TIME_HELP};
use crate::ui::Report;
use clap::{Args, Subcommand};
use peri_domain::{Right, Rights};
use peri_roster::body::{Body, Grant, GrantRenewal, Revocation, WeeklyHours};

/// `peri grant …`
#[derive(Debug, Subcommand)]
pub enum GrantCommand {
    /// Propose a grant; k seats sign
    New(NewArgs),
    /// Propose a later end for grants; k seats sign
    Renew {
        /// Ids of the grants
        #[arg(required = true, value_name = "GRANT")]
        grants: Vec<String>,
        /// New end.
        #[arg(long, value_name = "TIME", allow_hyphen_values = true, help = format!("New end: {TIME_HELP}"))]
        until: String,
        /// Who signs.
        #[command(flatten)]
        propose: ProposeArgs,
    },
}

/// `peri grant new`
#[derive(Debug, Args)]
pub struct NewArgs {
    /// Name or id of the account or post that may look
    #[arg(long, value_name = "ACCOUNT")]
    to: String,
    /// Cameras by name or id, separated by commas, or `all` (later ones too)
    #[arg(long, value_name = "LIST")]
    cameras: String,
    /// live, playback, export, separated by commas
    #[arg(long, value_name = "LIST", value_parser = rights)]
    rights: Rights,
    #[arg(long, value_name = "TIME", default_value = "now", allow_hyphen_values = true,
        help = format!("First moment of the pictures: {TIME_HELP}"))]
    from: String,
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, help = format!("End of the grant: {TIME_HELP}"))]
    until: String,
    /// Only at these hours of the week: "Mon-Fri 08:00-18:00" (repeatable)
    #[arg(long, value_name = "HOURS", requires = "zone")]
    hours: Vec<String>,
    /// Time zone of --hours, by its IANA name (Europe/Berlin): the hours follow its clock, summer time too
    #[arg(long, value_name = "ZONE", requires = "hours")]
    zone: Option<String>,
    /// Who signs.
    #[command(flatten)]
    propose: ProposeArgs,
}

/// `peri revoke`
#[derive(Debug, Args)]
pub struct RevokeArgs {
    /// A key: fingerprint, or name of its account, seat or post (repeatable)
    #[arg(long, value_name = "KEY", required_unless_present = "grant")]
    key: Vec<String>,
    /// A grant by its id (repeatable)
    #[arg(long, value_name = "GRANT")]
    grant: Vec<String>,
    /// Why; goes into the roster
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Who signs.
    #[command(flatten)]
    propose: ProposeArgs,
}

fn rights(text: &str) -> Result<Rights, String> {
    text.split(',').try_fold(Rights::NONE, |rights, word| match word.trim() {
        "live" => Ok(rights.with(Right::Live)),
        "playback" => Ok(rights.with(Right::Playback)),
        "export" => Ok(rights.with(Right::Export)),
        other => Err(format!("{other:?} is no right; there are live, playback and export")),
    })
}

/// Runs the command.
///
/// # Errors
/// [`Error`].
pub fn run(command: GrantCommand, context: &mut Context) -> Result<Report, Error> {
    match command {
        GrantCommand::New(args) => propose(context, &args.propose, |context, _, known| {
            let (from, until) = times::parse_span(&args.from, &args.until, context.now())?;
            let (account, recipient) = find::recipient(&known.roster, &args.to)?;
            let weekly = match &args.zone {
                Some(zone) => {
                    Some(WeeklyHours { zone: zone.clone(), spans: hours::parse(&args.hours).map_err(Error::Usage)? })
                }
                None => None,
            };
            Ok(Body::Grant(Box::new(Grant {
                recipient,
                account,
                rights: args.rights,
                cameras: find::cameras(&known.roster, &args.cameras)?,
                from,
                until,
                weekly,
            })))
        }),
        GrantCommand::Renew { grants, until, propose: args } => propose(context, &args, |context, _, known| {
            let until = times::parse(&until, context.now())?;
            let ids = grants.iter().map(|text| find::grant(&known.roster, text).map(|(id, _)| id));
            Ok(Body::GrantRenewal(GrantRenewal { grants: sorted(ids)?, until }))
        }),
    }
}

/// Runs `peri revoke`.
///
/// # Errors
/// [`Error`].
pub fn revoke(args: RevokeArgs, context: &mut Context) -> Result<Report, Error> {
    let mut report = propose(context, &args.propose, |_, _, known| {
        let keys = sorted(args.key.iter().map(|text| find::key(&known.roster, text)))?;
        let grants = sorted(args.grant.iter().map(|text| find::grant(&known.roster, text).map(|(id, _)| id)))?;
        Ok(Body::Revocation(Revocation { keys, grants, reason: args.reason.clone() }))
    })?;
    if report.json["submitted"] == true {
        report.text.push_str(
            "\nit counts from the next epoch of each camera on, at most 15 minutes from now; what was opened before stays opened",
        );
    }
    Ok(report)
}

fn sorted<T: Ord>(items: impl Iterator<Item = Result<T, Error>>) -> Result<Vec<T>, Error> {
    let mut items = items.collect::<Result<Vec<_>, _>>()?;
    items.sort_unstable();
    items.dedup();
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_named_and_anything_else_is_refused() {
        assert_eq!(rights("live,playback, export"), Ok(Rights::ALL));
        assert_eq!(rights("live"), Ok(Rights::NONE.with(Right::Live)));
        assert!(rights("").is_err());
        assert!(rights("live,delete").unwrap_err().contains("delete"));
    }
}
