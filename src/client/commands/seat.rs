//! Seats: making a seat key and its request; handing a seat over. Seats at the founding are filled by `peri claim seat`.

use crate::commands::find;
use crate::commands::key::{self, SheetArgs};
use crate::context::Context;
use crate::exit::Error;
use crate::files;
use crate::propose::{ProposeArgs, propose};
use crate::request::{KeyRequest, Wanted, candidate};
use crate::ui::Report;
use crate::vault::KeyKind;
use clap::Subcommand;
use peri_roster::body::{Body, Seat, SeatHandover, SeatKind};
use serde_json::json;
use std::path::PathBuf;

/// `peri seat …`
#[derive(Debug, Subcommand)]
pub enum SeatCommand {
    /// Make a seat key in this home and write the request for it
    New {
        /// Name of the key in this home
        name: String,
        /// What the seat is called in the roster ("works council") [default: NAME]
        #[arg(long, value_name = "TEXT")]
        title: Option<String>,
        /// The seat is a printed sheet in a safe
        #[arg(long)]
        paper: bool,
        /// Where the request goes [default: NAME.request]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Recovery sheet.
        #[command(flatten)]
        sheet: SheetArgs,
    },
    /// Hand a seat over to another key, by k seats
    Handover {
        /// Number or name of the seat
        seat: String,
        /// Request file of the new holder, or a seat key in this home
        request: String,
        /// Who signs.
        #[command(flatten)]
        propose: ProposeArgs,
    },
}

/// Runs the command.
///
/// # Errors
/// [`Error`].
pub fn run(command: SeatCommand, context: &mut Context) -> Result<Report, Error> {
    match command {
        SeatCommand::New { name, title, paper, output, sheet } => {
            let made = key::make(context, &name, KeyKind::Seat, &sheet)?;
            let kind = if paper { SeatKind::Paper } else { SeatKind::Person };
            request(context, &name, title.as_deref().unwrap_or(&name), Wanted::Seat(kind), output, made)
        }
        SeatCommand::Handover { seat, request, propose: args } => propose(context, &args, |context, _, known| {
            let holder = find::seat(&known.roster, &seat)?;
            let candidate = candidate(&context.vault, &request)?;
            let Wanted::Seat(kind) = candidate.wanted else {
                return Err(Error::Usage(format!("{request:?} asks for an account, not for a seat")));
            };
            let seat = Seat { index: holder.index, name: candidate.name, key: candidate.public, kind };
            Ok(Body::SeatHandover(Box::new(SeatHandover { from: holder.fingerprint, seat })))
        }),
    }
}

/// Writes the request for a key just made.
///
/// # Errors
/// File errors, a wrong password in between.
pub(super) fn request(
    context: &mut Context,
    name: &str,
    title: &str,
    wanted: Wanted,
    output: Option<PathBuf>,
    made: key::Made,
) -> Result<Report, Error> {
    let pair = context.remember(name, made.pair);
    let request = KeyRequest::new(&pair, wanted, title);
    let output = output.unwrap_or_else(|| format!("{name}.request").into());
    files::write(&output, &request.to_bytes(), 0o644)?;
    let mut document = made.json;
    document["request"] = json!(output);
    let text = format!(
        "key {name} made: {}\nrequest in {}; whoever signs it in compares these words with you{}",
        request.words(),
        output.display(),
        made.text
    );
    Ok(Report::new(text, document))
}
