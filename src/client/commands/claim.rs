//! The claim: key and provisioning data before ordering, genesis at the first meeting, seats after it.

use crate::commands::key::{self, SheetArgs};
use crate::commands::trust;
use crate::conn;
use crate::context::{Context, connect};
use crate::exit::Error;
use crate::files;
use crate::profile::{Identity, Profile};
use crate::propose::announce;
use crate::request::{Wanted, candidate};
use crate::ui::Report;
use crate::vault::KeyKind;
use crate::whose;
use clap::{Args, Subcommand};
use peri_domain::{Hash, Nonce};
use peri_roster::body::{Body, ClaimedBy, Genesis, Seat};
use peri_roster::provisioning::{PROVISIONING_MAX, Provisioning};
use peri_roster::{Proposal, Roster};
use peri_seal::keys::KeyPair;
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;

/// State file of the provisioning data.
const PROVISIONING_FILE: &str = "provisioning.cbor";

/// A statement of the claim is submitted at once; an hour covers clocks that differ.
const CLAIM_OPEN: Duration = Duration::from_secs(3_600);

/// `peri claim …`
#[derive(Debug, Subcommand)]
pub enum ClaimCommand {
    /// Make the claim key and the provisioning data, before ordering
    New(NewArgs),
    /// Claim the appliance that was started with our provisioning data
    Use(UseArgs),
    /// Fill seats: the claim key signs each; it is spent when all are filled
    Seat {
        /// A request file (`peri seat new`), or the name of a seat key in this home; the next free seat each
        #[arg(required = true, value_name = "REQUEST")]
        requests: Vec<String>,
    },
}

/// `peri claim new`
#[derive(Debug, Args)]
pub struct NewArgs {
    /// Name of the claim key in this home
    #[arg(long, default_value = "claim")]
    name: String,
    /// Where the provisioning data goes; it is public and belongs into the order
    #[arg(short, long, value_name = "FILE", default_value = "provisioning.cbor")]
    out: PathBuf,
    /// SHA-256 (hexadecimal) of the root metadata that updates must chain to; without it no updates are taken
    #[arg(long, value_name = "SHA256")]
    update_root: Option<Hash>,
    /// No image below this version may run
    #[arg(long, value_name = "X.Y.Z", default_value = env!("CARGO_PKG_VERSION"), value_parser = version)]
    lowest_version: Version,
    #[command(flatten)]
    sheet: SheetArgs,
}

/// `peri claim use`
#[derive(Debug, Args)]
pub struct UseArgs {
    /// Number of custodian seats
    #[arg(long, value_name = "N")]
    seats: u8,
    /// Seats that must sign together
    #[arg(long, value_name = "K")]
    threshold: u8,
    /// Confirm a threshold of 1: whoever holds one seat decides alone, and the ledger shows it for ever
    #[arg(long)]
    alone: bool,
    /// The reseller claims in the customer's place; shown for ever
    #[arg(long)]
    as_reseller: bool,
}

/// A version on the command line.
#[derive(Debug, Clone, Copy)]
struct Version([u32; 3]);

fn version(text: &str) -> Result<Version, String> {
    let parts: Vec<u32> = text.split('.').map_while(|part| part.parse().ok()).collect();
    match (<[u32; 3]>::try_from(parts), text.split('.').count()) {
        (Ok(parts), 3) => Ok(Version(parts)),
        _ => Err("write three numbers, for example 0.1.0".into()),
    }
}

/// Runs the command.
///
/// # Errors
/// [`Error`].
pub fn run(command: ClaimCommand, context: &mut Context) -> Result<Report, Error> {
    match command {
        ClaimCommand::New(args) => new(&args, context),
        ClaimCommand::Use(args) => use_claim(&args, context),
        ClaimCommand::Seat { requests } => seat(&requests, context),
    }
}

fn new(args: &NewArgs, context: &mut Context) -> Result<Report, Error> {
    if load(context)?.is_some() {
        return Err(Error::Usage(
            "this home has provisioning data already; keep one home per appliance: --home DIR".into(),
        ));
    }
    let made = key::make(context, &args.name, KeyKind::Claim, &args.sheet)?;
    let nonce = Nonce(conn::random());
    let provisioning = Provisioning::new(made.file.public.clone(), args.update_root, args.lowest_version.0, nonce);
    context.vault.set_state(PROVISIONING_FILE, &provisioning)?;
    files::write(&args.out, &provisioning.to_bytes(), 0o644)?;
    let digest = provisioning.digest();
    let mut document = made.json;
    document["provisioning"] = json!(args.out);
    document["digest"] = json!(digest);
    let text = format!(
        "claim key {:?} made; provisioning data in {} (public; its digest is {digest})\n\
         order or start the appliance with it, then: peri claim use --seats N --threshold K --socket PATH{}",
        args.name,
        args.out.display(),
        made.text
    );
    Ok(Report::new(text, document))
}

fn use_claim(args: &UseArgs, context: &mut Context) -> Result<Report, Error> {
    let (k, n) = (args.threshold, args.seats);
    if (k == 1) != args.alone {
        return Err(Error::Usage(if args.alone {
            format!("--alone means a threshold of 1, not {k}; drop one of the two")
        } else {
            "a threshold of 1 lets one person alone decide who may look; say so with --alone, or take at least 2".into()
        }));
    }
    let provisioning = load(context)?.ok_or_else(no_claim)?;
    let path = context.socket(Profile::load(&context.vault).ok().and_then(|profile| profile.socket).as_deref())?;
    let (mut conn, certificate) = connect(&path)?;
    if certificate.provisioning != provisioning.digest() {
        return Err(Error::Verification(format!(
            "this appliance was started with other provisioning data ({}) than ours ({}): it is not the one that was \
             ordered, or the claim key was swapped. Do not use it",
            certificate.provisioning,
            provisioning.digest()
        )));
    }
    if certificate.claimed {
        let again = Profile::load(&context.vault).is_ok_and(|profile| profile.identity.check(&certificate).is_ok());
        return Err(Error::Verification(if again {
            "this home has claimed this appliance already; go on with `peri claim seat`".into()
        } else {
            "this appliance is claimed already, and not by this home: somebody else holds our claim key. Do not use it"
                .into()
        }));
    }
    let pair = claim_key(context, &provisioning)?;
    let genesis = Genesis {
        provisioning: provisioning.digest(),
        claim_key: pair.public().clone(),
        device: certificate.device.clone(),
        image: None,
        k,
        n,
        claimed_by: if args.as_reseller { ClaimedBy::Reseller } else { ClaimedBy::Customer },
    };
    let not_after = context.now() + CLAIM_OPEN;
    let proposal =
        Proposal::new(certificate.vm, Body::Genesis(Box::new(genesis)), not_after, Nonce(conn::random()), 0)?;
    let statement = proposal.sign(pair.signing(), pair.fingerprint());
    // Pinned before the genesis leaves: if the answer is lost, the next run knows what it claimed.
    let profile = Profile::pin(&context.vault, Identity::new(&certificate, pair.fingerprint()), Some(&path))?;
    conn.submit(&statement.to_bytes())?;
    let mut document = trust::describe(&profile);
    document["threshold"] = json!(k);
    document["seats"] = json!(n);
    document["notices"] = json!(certificate.notices);
    let notices: String = certificate.notices.iter().map(|notice| format!("\nnotice: {notice}")).collect();
    let text = format!(
        "claimed appliance {} with {k} of {n} seats\n\
         trust level: declared (host install: nothing measures the image)\n\
         fingerprint: {}{notices}\n\
         now fill the seats: peri claim seat REQUEST…",
        certificate.vm,
        profile.identity.words()
    );
    Ok(Report::new(text, document))
}

fn seat(requests: &[String], context: &mut Context) -> Result<Report, Error> {
    let provisioning = load(context)?.ok_or_else(no_claim)?;
    let mut session = context.session()?;
    let pair = claim_key(context, &provisioning)?;
    let known = session.roster(context, &pair)?;
    let free = free_seats(&known.roster);
    if requests.len() > free.len() {
        return Err(Error::Usage(format!("{} requests, but {} seats are free", requests.len(), free.len())));
    }
    let mut proposals = Vec::new();
    for (who, index) in requests.iter().zip(&free) {
        let candidate = candidate(&context.vault, who)?;
        let Wanted::Seat(kind) = candidate.wanted else {
            return Err(Error::Usage(format!("{who:?} asks for an account, not for a seat")));
        };
        let body = Body::Seat(Box::new(Seat { index: *index, name: candidate.name, key: candidate.public, kind }));
        let not_after = context.now() + CLAIM_OPEN;
        let proposal = Proposal::new(session.vm(), body, not_after, Nonce(conn::random()), 0)?;
        // All of them before the first is signed: an unfit request stops the others, too.
        announce(context, "about to be signed and submitted", &proposal, None);
        proposals.push(proposal);
    }
    let (mut filled, mut lines) = (Vec::new(), Vec::new());
    for proposal in proposals {
        let statement = proposal.sign(pair.signing(), pair.fingerprint());
        let bytes = statement.to_bytes();
        session.conn.submit(&bytes)?;
        context.seen([bytes])?;
        let keys = whose::lines(&whose::of(&statement.proposal().body, None));
        lines.push(format!("{}{keys}", statement.describe()));
        filled.push(statement.describe());
    }
    let left = free.len() - requests.len();
    let document = json!({ "filled": filled, "free": left, "claim_key_spent": left == 0 });
    lines.push(if left == 0 {
        "all seats are filled; the claim key is spent".into()
    } else {
        format!("{left} seats are free")
    });
    Ok(Report::new(lines.join("\n"), document))
}

/// Numbers of the seats nobody holds.
fn free_seats(roster: &Roster) -> Vec<u8> {
    let taken: Vec<u8> = roster.seats().map(|seat| seat.index).collect();
    let n = roster.threshold().map_or(0, |threshold| threshold.n);
    (0..n).filter(|index| !taken.contains(index)).collect()
}

fn load(context: &Context) -> Result<Option<Provisioning>, Error> {
    Ok(context.vault.state(PROVISIONING_FILE, PROVISIONING_MAX)?)
}

fn no_claim() -> Error {
    Error::Usage("this home has no provisioning data; `peri claim new` makes them (before ordering)".into())
}

/// The claim key of the provisioning data, opened.
fn claim_key(context: &mut Context, provisioning: &Provisioning) -> Result<std::rc::Rc<KeyPair>, Error> {
    let keys = context.vault.all()?;
    let name = keys.into_iter().find(|(_, file)| file.public == provisioning.claim_key).map(|(name, _)| name);
    let name = name.ok_or_else(|| Error::Usage("the claim key of the provisioning data is not in this home".into()))?;
    context.unlock(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_three_numbers() {
        assert_eq!(version("0.12.3").map(|v| v.0), Ok([0, 12, 3]));
        for text in ["", "1", "1.2", "1.2.3.4", "1.2.x", "1..3", "-1.0.0"] {
            assert!(version(text).is_err(), "{text:?}");
        }
    }
}
