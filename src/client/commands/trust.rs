//! Which appliance this home trusts: showing it, handing the identity to others, taking it over.

use crate::context::Context;
use crate::exit::Error;
use crate::files;
use crate::profile::{IDENTITY_MAX, Identity, Profile, ProfileError};
use crate::ui::Report;
use clap::Subcommand;
use serde_json::{Value, json};
use std::path::PathBuf;

/// `peri trust …`
#[derive(Debug, Subcommand)]
pub enum TrustCommand {
    /// Show the pinned appliance and compare it with what answers now
    Show,
    /// Write the identity file that others import
    Export {
        /// The file
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Trust the appliance of an identity file; compare the ten words with the claimer
    Import {
        /// The identity file
        file: PathBuf,
        /// The ten words as the claimer read them to you; refused when they do not fit
        #[arg(long, value_name = "WORDS")]
        words: Option<String>,
    },
}

/// Runs the command.
///
/// # Errors
/// [`Error`].
pub fn run(command: TrustCommand, context: &Context) -> Result<Report, Error> {
    match command {
        TrustCommand::Show => {
            let session = context.session()?;
            let mut document = describe(&session.profile);
            document["notices"] = json!(session.certificate.notices);
            let mut text = in_words(&session.profile.identity);
            for notice in &session.certificate.notices {
                text.push_str(&format!("\nnotice: {notice}"));
            }
            Ok(Report::new(text, document))
        }
        TrustCommand::Export { output } => {
            let profile = Profile::load(&context.vault)?;
            files::write(&output, &profile.identity.to_bytes(), 0o644)?;
            let text = format!("{}\nwritten to {}", in_words(&profile.identity), output.display());
            Ok(Report::new(text, describe(&profile)))
        }
        TrustCommand::Import { file, words } => {
            let identity = Identity::from_bytes(&file, &files::read(&file, IDENTITY_MAX)?)?;
            let found = identity.words();
            if words.is_some_and(|words| !words.split_whitespace().eq(found.split(' '))) {
                return Err(ProfileError::Words { found }.into());
            }
            let socket = context.socket(None).ok();
            let profile = Profile::pin(&context.vault, identity, socket.as_deref())?;
            let text = format!("{}\ncompare these words with the claimer", in_words(&profile.identity));
            Ok(Report::new(text, describe(&profile)))
        }
    }
}

fn in_words(identity: &Identity) -> String {
    format!("appliance {}\n{}", identity.vm, identity.words())
}

/// The identity for programs.
#[must_use]
pub fn describe(profile: &Profile) -> Value {
    let identity = &profile.identity;
    json!({
        "vm": identity.vm,
        "words": identity.words(),
        "fingerprint": identity.fingerprint(),
        "device": identity.device.fingerprint(),
        "claim_key": identity.claim,
        "provisioning": identity.provisioning,
        "ledger_keys": identity.ledger_keys,
        "trust": "declared",
        "socket": profile.socket,
    })
}
