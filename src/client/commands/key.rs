//! Keys of the home: making (shared by claim, seat and account), listing, new passwords, recovery.

use crate::context::Context;
use crate::exit::Error;
use crate::files;
use crate::login;
use crate::password::Password;
use crate::sheet::Sheet;
use crate::ui::Report;
use crate::vault::{KeyFile, KeyKind, VaultError};
use clap::{Args, Subcommand};
use peri_seal::keys::KeyPair;
use peri_seal::userkey::RecoveryCode;
use peri_seal::words::words;
use serde_json::{Value, json};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// `peri key …`
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// List the keys of this home
    List,
    /// Give a key a new password
    Password {
        /// Name of the key
        name: String,
        /// File with the new password; without it, it is asked for
        #[arg(long, value_name = "FILE")]
        new_password_file: Option<PathBuf>,
    },
    /// Open a key with its recovery sheet and give it a new password; also on another device, after copying the key
    /// file into its home
    Recover {
        /// Name of the key
        name: String,
        /// File with the recovery code; without it, it is asked for
        #[arg(long, value_name = "FILE")]
        code_file: Option<PathBuf>,
    },
}

/// Where the recovery sheet goes.
#[derive(Debug, Clone, Args)]
pub struct SheetArgs {
    /// Write the recovery sheet to FILE as text and to FILE.svg with a QR code; `-` prints it. Without it the sheet is
    /// printed when standard output is a terminal
    #[arg(long, value_name = "FILE")]
    pub sheet: Option<PathBuf>,
    /// Make no recovery sheet: a forgotten password then costs the key
    #[arg(long, conflicts_with = "sheet")]
    pub no_sheet: bool,
}

/// Runs the command.
///
/// # Errors
/// [`Error`].
pub fn run(command: KeyCommand, context: &mut Context) -> Result<Report, Error> {
    match command {
        KeyCommand::List => list(context),
        KeyCommand::Password { name, new_password_file } => {
            context.vault.key(&name)?;
            let old = context.passwords.existing(&name)?;
            let new = context.passwords.fresh_from(&name, new_password_file.as_deref())?;
            let pair = context.vault.unlock(&name, &old)?;
            // The login first: where it cannot be set, nothing has changed.
            let login = login::renew(context, &name, &pair, &new)?;
            let file = context.vault.change_password(&name, &old, &new)?;
            let also = login.map_or("", |()| ", and so has its login");
            Ok(Report::new(format!("key {name} has a new password{also}"), describe(&name, &file)))
        }
        KeyCommand::Recover { name, code_file } => {
            context.vault.key(&name)?;
            let code = context.passwords.secret("recovery code", code_file.as_deref())?;
            let new = context.passwords.fresh(&name)?;
            let file = context.vault.recover(&name, &code, &new)?;
            Ok(Report::new(format!("key {name} is open again under the new password"), describe(&name, &file)))
        }
    }
}

/// A key just made, with what there is to say about it.
pub struct Made {
    /// The key's file.
    pub file: KeyFile,
    /// The key, opened.
    pub pair: KeyPair,
    /// For people.
    pub text: String,
    /// For programs.
    pub json: Value,
}

/// Makes a key: password, key file, recovery sheet.
///
/// # Errors
/// [`Error::Usage`] when nobody would see the recovery sheet.
pub fn make(context: &mut Context, name: &str, kind: KeyKind, sheet: &SheetArgs) -> Result<Made, Error> {
    check_sheet(sheet)?;
    let password = context.passwords.fresh(name)?;
    let now = context.now();
    let (file, pair, code) = context.vault.create(name, kind, &password, now)?;
    let mut made = Made { text: String::new(), json: describe(name, &file), file, pair };
    print_sheet(&mut made, name, &code, sheet, None)?;
    Ok(made)
}

/// Makes a key for a login, or goes on with the one that an earlier run made for the same account; its recovery code is
/// new either way.
///
/// # Errors
/// As [`make`]; [`VaultError::Exists`] when the name is another key's.
pub fn make_or_renew(
    context: &mut Context,
    name: &str,
    kind: KeyKind,
    sheet: &SheetArgs,
    login: Option<&str>,
) -> Result<(Made, Password, RecoveryCode), Error> {
    check_sheet(sheet)?;
    let (file, pair, password, code) = match context.vault.key(name) {
        Ok(file) if file.kind == kind => {
            let password = context.passwords.existing(name)?;
            let pair = context.vault.unlock(name, &password)?;
            let code = context.vault.renew_code(name, &pair)?;
            (file, pair, password, code)
        }
        Ok(_) => return Err(VaultError::Exists(name.to_owned()).into()),
        Err(VaultError::Missing { .. }) => {
            let password = context.passwords.fresh(name)?;
            let now = context.now();
            let (file, pair, code) = context.vault.create(name, kind, &password, now)?;
            (file, pair, password, code)
        }
        Err(error) => return Err(error.into()),
    };
    let mut made = Made { text: String::new(), json: describe(name, &file), file, pair };
    print_sheet(&mut made, name, &code, sheet, login)?;
    Ok((made, password, code))
}

fn printed(sheet: &SheetArgs) -> bool {
    match &sheet.sheet {
        Some(path) => path == Path::new("-"),
        None => !sheet.no_sheet,
    }
}

/// Whether somebody will see the recovery sheet.
///
/// # Errors
/// [`Error::Usage`].
pub fn check_sheet(sheet: &SheetArgs) -> Result<(), Error> {
    if printed(sheet) && sheet.sheet.is_none() && !std::io::stdout().is_terminal() {
        return Err(Error::Usage(
            "say where the recovery sheet goes: --sheet FILE, --sheet - to print it here, or --no-sheet if a forgotten \
             password may cost this key"
                .into(),
        ));
    }
    Ok(())
}

/// Prints or writes the recovery sheet, as asked for; `login`: the login name under which the code works anywhere.
///
/// # Errors
/// File errors.
pub fn print_sheet(
    made: &mut Made,
    name: &str,
    code: &RecoveryCode,
    sheet: &SheetArgs,
    login: Option<&str>,
) -> Result<(), Error> {
    let printed = printed(sheet);
    let path = sheet.sheet.as_deref().filter(|_| !printed);
    let code = code.to_text();
    let sheet = Sheet {
        name,
        kind: made.file.kind.to_string(),
        public: &made.file.public,
        created: made.file.created.to_string(),
        code: &code,
        login,
    };
    if printed {
        made.text = format!("\n{}", sheet.text());
        made.json["recovery_code"] = json!(*code);
    } else if let Some(path) = path {
        let mut svg = path.as_os_str().to_owned();
        svg.push(".svg");
        files::write(path, sheet.text().as_bytes(), 0o600)?;
        files::write(Path::new(&svg), sheet.svg().as_bytes(), 0o600)?;
        made.text = format!("\nrecovery sheet: {} (and .svg); print it and delete the files", path.display());
        made.json["sheet"] = json!(path);
    }
    Ok(())
}

fn list(context: &Context) -> Result<Report, Error> {
    let keys = context.vault.all()?;
    if keys.is_empty() {
        return Ok(Report::new(format!("no keys in {}", context.vault.path().display()), json!({ "keys": [] })));
    }
    let lines: Vec<_> = keys
        .iter()
        .map(|(name, file)| format!("{name:<20} {:<14} {}", file.kind, words(&file.public.fingerprint()).join(" ")))
        .collect();
    let documents: Vec<_> = keys.iter().map(|(name, file)| describe(name, file)).collect();
    Ok(Report::new(lines.join("\n"), json!({ "home": context.vault.path(), "keys": documents })))
}

/// A key for programs.
#[must_use]
pub fn describe(name: &str, file: &KeyFile) -> Value {
    let fingerprint = file.public.fingerprint();
    let mut document = json!({
        "key": name,
        "kind": file.kind.to_string(),
        "fingerprint": fingerprint,
        "words": words(&fingerprint).join(" "),
        "created": file.created.to_string(),
    });
    if let KeyKind::Account { id, .. } = file.kind {
        document["account"] = json!(id);
    }
    document
}
