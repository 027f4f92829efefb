//! Which appliance this home trusts: showing it, handing the identity to others, taking it over.

use crate::context::Context;
use crate::exit::Error;
use crate::files;
use crate::profile::{IDENTITY_MAX, Identity, Profile, ProfileError};
use crate::ui::Report;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Subcommand;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
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
    /// Write the certificate of the appliance's own authority, for browsers to import: it can vouch for this appliance's names
    /// alone
    Authority {
        /// The file (PEM)
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
}

/// RFC 7468.
fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
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
        TrustCommand::Authority { output } => {
            let session = context.session()?;
            // Signed by the pinned device, over our nonce.
            let tls = session.certificate.tls.as_ref().ok_or_else(|| {
                Error::Nothing("this appliance has no page; give it one with [portal] in its configuration".into())
            })?;
            files::write(&output, pem(&tls.authority).as_bytes(), 0o644)?;
            let digest = Sha256::digest(tls.authority.as_slice());
            let print: Vec<_> = digest.iter().map(|byte| format!("{byte:02X}")).collect();
            let text = format!(
                "{}: import it into the browser as an authority for websites; there it shows as SHA-256 fingerprint\n{}",
                output.display(),
                print.join(":")
            );
            Ok(Report::new(text, json!({ "file": output, "sha256": print.join(":"), "tls_key": tls.key.to_string() })))
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
