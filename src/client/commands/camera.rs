//! Cameras: adding, registering, removing, setting up again; and how long their pictures are kept.
//!
//! A camera's password is sealed here to the device key of the pinned appliance; it leaves this process in no other
//! form.

use crate::commands::find;
use crate::conn;
use crate::context::{Context, Known, Session};
use crate::exit::Error;
use crate::files;
use crate::propose::{ProposeArgs, propose};
use crate::times;
use crate::ui::Report;
use clap::{Args, Subcommand};
use peri_domain::{CameraId, Hash, purpose};
use peri_roster::body::{
    BLOB_MAX, Body, CameraAdd, CameraReSetup, CameraRegister, CameraRemove, CameraSetup, Retention, Trust,
    device_identity,
};
use peri_roster::{Roster, Statement};
use peri_seal::device::seal_to_device;
use peri_seal::rng;
use std::path::{Path, PathBuf};

/// `peri camera …`
#[derive(Debug, Subcommand)]
pub enum CameraCommand {
    /// Propose a camera
    Add {
        /// How to reach it.
        #[command(flatten)]
        setup: SetupArgs,
        /// Who signs.
        #[command(flatten)]
        propose: ProposeArgs,
    },
    /// Propose the registration of a camera: its set-up is over, and nobody sees it without a grant
    Register {
        /// Name or id of the camera
        camera: String,
        /// Who signs.
        #[command(flatten)]
        propose: ProposeArgs,
    },
    /// Propose the removal of a camera and its device, for ever
    Remove {
        /// Name or id of the camera
        camera: String,
        /// Who signs.
        #[command(flatten)]
        propose: ProposeArgs,
    },
    /// Propose another set-up for a camera (address, pin, password), or a way back for a removed device; k seats sign
    SetUpAgain {
        /// Name or id of the camera; without it, the device of a removed camera comes back under a new id
        camera: Option<String>,
        /// How to reach it.
        #[command(flatten)]
        setup: SetupArgs,
        /// Who signs.
        #[command(flatten)]
        propose: ProposeArgs,
    },
}

/// How to reach a camera.
#[derive(Debug, Args)]
pub struct SetupArgs {
    /// What people call it
    #[arg(long, value_name = "TEXT")]
    name: String,
    /// rtsps://host[:port]/path, or rtsp://address… with --plain-exception; without user and password
    #[arg(long)]
    url: String,
    /// User at the camera
    #[arg(long, value_name = "NAME", default_value = "")]
    user: String,
    /// File with the camera's password; without it the password is asked for when there is a --user
    #[arg(long, value_name = "FILE", requires = "user")]
    camera_password_file: Option<PathBuf>,
    /// SHA-256 (hexadecimal) of the SubjectPublicKeyInfo of the camera's certificate
    #[arg(long, value_name = "SHA256")]
    pin: Option<Hash>,
    /// DER certificate of the authority that signs the camera's
    #[arg(long, value_name = "FILE", conflicts_with = "pin")]
    ca: Option<PathBuf>,
    /// Plain RTSP: anybody on the way can see and change the picture; k seats take that on themselves
    #[arg(long, conflicts_with_all = ["pin", "ca"])]
    plain_exception: bool,
    /// Serial number or MAC of the device, so that it is known again under another name [default: its pin or address]
    #[arg(long, value_name = "TEXT")]
    serial: Option<String>,
    /// Another camera at the same device or address (a recorder or gateway with several channels); k seats sign
    #[arg(long, value_name = "CAMERA")]
    beside: Option<String>,
}

/// `peri retention`
#[derive(Debug, Args)]
pub struct RetentionArgs {
    /// How long pictures are kept, for example 72h; never above the ceiling of the protection profile
    length: String,
    /// Who signs.
    #[command(flatten)]
    propose: ProposeArgs,
}

/// Runs the command.
///
/// # Errors
/// [`Error`].
pub fn run(command: CameraCommand, context: &mut Context) -> Result<Report, Error> {
    match command {
        CameraCommand::Add { setup, propose: args } => {
            let camera = CameraId(conn::random());
            let mut report = propose(context, &args, |context, session, known| {
                let beside = beside(&setup, known)?;
                let setup = make_setup(&setup, camera, context, session)?;
                Ok(Body::CameraAdd(Box::new(CameraAdd { camera, setup, set_up_by: None, beside })))
            })?;
            report.json["camera"] = serde_json::json!(camera);
            Ok(report)
        }
        CameraCommand::Register { camera, propose: args } => propose(context, &args, |_, _, known| {
            Ok(Body::CameraRegister(CameraRegister { camera: find::camera(&known.roster, &camera)?.id }))
        }),
        CameraCommand::Remove { camera, propose: args } => propose(context, &args, |_, _, known| {
            Ok(Body::CameraRemove(CameraRemove { camera: find::camera(&known.roster, &camera)?.id }))
        }),
        CameraCommand::SetUpAgain { camera, setup, propose: args } => {
            propose(context, &args, |context, session, known| {
                let beside = beside(&setup, known)?;
                let (camera, serial) = match &camera {
                    Some(name) => find::camera(&known.roster, name).map(|camera| (camera.id, camera.serial + 1))?,
                    None => (CameraId(conn::random()), 0),
                };
                let setup = make_setup(&setup, camera, context, session)?;
                Ok(Body::CameraReSetup(Box::new(CameraReSetup { camera, serial, setup, beside })))
            })
        }
    }
}

/// Runs `peri retention`.
///
/// # Errors
/// [`Error`].
pub fn retention(args: &RetentionArgs, context: &mut Context) -> Result<Report, Error> {
    let secs = times::length(&args.length)?.as_secs();
    propose(context, &args.propose, |_, _, known| {
        let serial = 1 + known.set.statements().filter_map(|(_, bytes)| retention_serial(bytes)).max().unwrap_or(0);
        Ok(Body::Retention(Retention { serial, secs }))
    })
}

fn retention_serial(bytes: &[u8]) -> Option<u32> {
    match &Statement::from_bytes(bytes).ok()?.proposal().body {
        Body::Retention(retention) => Some(retention.serial),
        _ => None,
    }
}

fn beside(args: &SetupArgs, known: &Known) -> Result<Option<CameraId>, Error> {
    args.beside.as_deref().map(|name| find::camera(&known.roster, name).map(|camera| camera.id)).transpose()
}

/// The certificate of an authority: DER, which alone reaches the recorder. Another form would show itself only there.
fn authority(path: &Path) -> Result<Vec<u8>, Error> {
    let der = files::read(path, BLOB_MAX)?;
    // DER of a certificate begins with SEQUENCE (X.690 section 8.9).
    if der.first() != Some(&0x30) {
        let shown = path.display();
        return Err(Error::Usage(format!(
            "{shown} is no DER certificate; convert it: openssl x509 -in {shown} -outform DER -out ca.der"
        )));
    }
    Ok(der)
}

fn make_setup(
    args: &SetupArgs,
    camera: CameraId,
    context: &mut Context,
    session: &Session,
) -> Result<CameraSetup, Error> {
    let trust = match (&args.pin, &args.ca, args.plain_exception) {
        (Some(pin), _, _) => Trust::Pin(*pin),
        (None, Some(path), _) => Trust::Ca(authority(path)?),
        (None, None, true) => Trust::Plain,
        (None, None, false) => {
            return Err(Error::Usage(
                "say why the camera's address is to be trusted: --pin SHA256, --ca FILE, or --plain-exception for plain \
                 RTSP (k seats must sign)"
                    .into(),
            ));
        }
    };
    let device = match (&args.serial, &trust) {
        (Some(serial), _) => device_identity("serial", serial),
        (None, Trust::Pin(pin)) => device_identity("pin", &pin.to_string()),
        (None, _) => device_identity("url", &args.url),
    };
    let sealed_password = if args.user.is_empty() {
        Vec::new()
    } else {
        let password = context.passwords.secret("password of the camera", args.camera_password_file.as_deref())?;
        let device = &session.profile.identity.device;
        seal_to_device(&mut rng::system(), device, &purpose::camera_password(camera), password.as_bytes())
            .map_err(|error| Error::Verification(error.to_string()))?
    };
    Ok(CameraSetup {
        name: args.name.clone(),
        device,
        url: args.url.clone(),
        trust,
        user: args.user.clone(),
        sealed_password,
    })
}

/// How a camera's address is trusted, in a word.
#[must_use]
pub fn trust_word(roster: &Roster, camera: CameraId) -> &'static str {
    match roster.camera(camera).map(|camera| &camera.setup.trust) {
        Some(Trust::Pin(_)) => "pinned",
        Some(Trust::Ca(_)) => "authority",
        Some(Trust::Plain) => "PLAIN",
        None => "unknown",
    }
}
