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
use peri_seal::rng;
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
    /// Open a key with its recovery sheet and give it a new password and a new sheet; also on another device, after
    /// copying the key file into its home
    Recover {
        /// Name of the key
        name: String,
        /// File with the recovery code; without it, it is asked for
        #[arg(long, value_name = "FILE")]
        code_file: Option<PathBuf>,
        /// The new recovery sheet: the old one is spent.
        #[command(flatten)]
        sheet: SheetArgs,
    },
    /// Make a new recovery sheet for a key, also for its login; the sheet before is void
    Sheet {
        /// Name of the key
        name: String,
        /// Set this login name for the key, whose account must be in office [default: the one it has, if any]
        #[arg(long, value_name = "TEXT")]
        login: Option<String>,
        /// The new recovery sheet.
        #[command(flatten)]
        sheet: SheetArgs,
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
            let login = login::renew(context, &name, &pair, &new, None)?;
            let file = context.vault.change_password(&name, &old, &new)?;
            let also = login.map_or("", |_| ", and so has its login");
            Ok(Report::new(format!("key {name} has a new password{also}"), describe(&name, &file)))
        }
        KeyCommand::Recover { name, code_file, sheet } => recover(context, &name, code_file.as_deref(), &sheet),
        KeyCommand::Sheet { name, login, sheet } => {
            let (made, login) = new_sheet(context, &name, login.as_deref(), &sheet)?;
            let also = login.map_or_else(String::new, |login| format!(", and so has its login {login}"));
            Ok(Report::new(
                format!("key {name} has a new recovery code{also}; older sheets are void{}", made.text),
                made.json,
            ))
        }
    }
}

/// Opens a key by its file and code. Both are new afterwards, and so are those of its login: what was forgotten, or was on
/// a sheet that somebody has seen by now, opens nothing any more.
fn recover(context: &mut Context, name: &str, code_file: Option<&Path>, sheet: &SheetArgs) -> Result<Report, Error> {
    check_sheet(sheet)?;
    context.vault.key(name)?;
    let code = context.passwords.secret("recovery code", code_file)?;
    let new = context.passwords.fresh(name)?;
    let next = RecoveryCode::generate(&mut rng::system());
    // The file first: it is why somebody is here, and it must open where no appliance can be reached.
    let (file, pair) = context.vault.recover(name, &code, &new, &next)?;
    let login = login::renew(context, name, &pair, &new, Some(&next));
    let mut made = Made { text: String::new(), json: describe(name, &file), file, pair };
    // A sheet names the login only where its code is the login's.
    let of_login = login.as_ref().ok().and_then(Option::as_deref);
    print_sheet(&mut made, name, &next, sheet, of_login).map_err(|error| sheet_not_written(name, &error))?;
    let also = match &login {
        // This device may never have heard of the login: the key file was copied here.
        Ok(None) if matches!(made.file.kind, KeyKind::Account { .. }) => format!(
            ".\nThis home knows of no login of it; if there is one, `peri key sheet {name} --login TEXT` sets it anew"
        ),
        Ok(None) => String::new(),
        Ok(Some(login)) => {
            made.json["login_set"] = json!(true);
            format!(", and so is its login {login}")
        }
        Err(error) => {
            made.json["login_set"] = json!(false);
            let why = login::why_not_set(error);
            format!(
                ".\nIts login could not be set anew ({why}): run `peri key sheet {name}`, which sets the login and prints \
                 another sheet"
            )
        }
    };
    let spent = spent(made.file.kind, of_login.is_some());
    let text = format!("key {name} is open again under the new password{also}\n{spent}{}", made.text);
    Ok(Report::new(text, made.json))
}

/// What the old code is still good for after a recovery by the key's file; `of_login`: its login has the next one.
fn spent(kind: KeyKind, of_login: bool) -> &'static str {
    if of_login || kind == KeyKind::Claim {
        "the old code is spent"
    } else {
        "the old code is spent for this file; a login of the key, if there is one, still takes it"
    }
}

/// Makes a new recovery code for a key of this home, and for its login: the one given, else the one it has. Returns what
/// there is to say, and the login's name.
///
/// # Errors
/// [`Error`]; where the login is refused, the sheet before still holds.
pub fn new_sheet(
    context: &mut Context,
    name: &str,
    login: Option<&str>,
    sheet: &SheetArgs,
) -> Result<(Made, Option<String>), Error> {
    check_sheet(sheet)?;
    let kind = context.vault.key(name)?.kind;
    let login = match login {
        Some(login) => Some(login::fold(login)),
        None => login::name_of(context, name)?,
    };
    if login.is_some() && kind == KeyKind::Claim {
        return Err(Error::Usage(format!("{name:?} is a {kind} key, which has no login; drop --login")));
    }
    let password = context.passwords.existing(name)?;
    let pair = context.vault.unlock(name, &password)?;
    let code = RecoveryCode::generate(&mut rng::system());
    // The login first: it is what can be refused or out of reach, and then nothing has changed and the sheet before holds.
    // Should the file fail after it, the password still opens the key, and the same command makes both anew.
    if let Some(login) = &login {
        let mut session = context.session()?;
        let vm = session.vm();
        login::set(context, &mut session.conn, vm, name, &pair, login, &password, Some(&code))?;
    }
    let file = context.vault.renew_code(name, &pair, &code)?;
    let mut made = Made { text: String::new(), json: describe(name, &file), file, pair };
    if let Some(login) = &login {
        made.json["login"] = json!(login);
    }
    print_sheet(&mut made, name, &code, sheet, login.as_deref()).map_err(|error| sheet_not_written(name, &error))?;
    Ok((made, login))
}

/// The code before is spent and nobody has seen the new one: what to do.
#[must_use]
pub fn sheet_not_written(name: &str, error: &Error) -> Error {
    Error::Usage(format!(
        "key {name} is in order, but its new recovery sheet could not be written ({error}) and the old one is spent: run \
         `peri key sheet {name} --sheet FILE`"
    ))
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
    // A key of the same name that was moved away may have had one.
    login::remember(context, name, None)?;
    let mut made = Made { text: String::new(), json: describe(name, &file), file, pair };
    print_sheet(&mut made, name, &code, sheet, None)?;
    Ok(made)
}

/// A key for a login that is about to be set.
pub struct Begun {
    /// The key; nothing is said of a sheet yet.
    pub made: Made,
    /// Opens it.
    pub password: Password,
    /// The code for the login and for the sheet.
    pub code: RecoveryCode,
    /// An earlier run made the key, so `code` is not in its file yet.
    pub again: bool,
}

/// Makes a key for a login, or opens the one that an earlier run made for the same account. No sheet is printed, and no
/// code of an earlier sheet is replaced: that is for after the login was set.
///
/// # Errors
/// As [`make`]; [`VaultError::Exists`] when the name is another key's.
pub fn make_or_open(context: &mut Context, name: &str, kind: KeyKind, sheet: &SheetArgs) -> Result<Begun, Error> {
    check_sheet(sheet)?;
    let (file, pair, password, code, again) = match context.vault.key(name) {
        Ok(before) if before.kind == kind => {
            let password = context.passwords.existing(name)?;
            let pair = context.vault.unlock(name, &password)?;
            (before, pair, password, RecoveryCode::generate(&mut rng::system()), true)
        }
        Ok(_) => return Err(VaultError::Exists(name.to_owned()).into()),
        Err(VaultError::Missing { .. }) => {
            let password = context.passwords.fresh(name)?;
            let now = context.now();
            let (file, pair, code) = context.vault.create(name, kind, &password, now)?;
            login::remember(context, name, None)?;
            (file, pair, password, code, false)
        }
        Err(error) => return Err(error.into()),
    };
    let made = Made { text: String::new(), json: describe(name, &file), file, pair };
    Ok(Begun { made, password, code, again })
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

#[cfg(test)]
mod tests {
    use super::*;
    use peri_domain::{AccountId, Role};

    #[test]
    fn an_old_code_is_called_spent_altogether_only_where_no_login_can_still_take_it() {
        let account = KeyKind::Account { id: AccountId([1; 16]), role: Role::Viewer };
        assert!(spent(account, false).contains("still takes it"));
        assert!(!spent(account, true).contains("still takes it"));
        assert!(spent(KeyKind::Seat, false).contains("still takes it"));
        assert!(!spent(KeyKind::Claim, false).contains("login"), "it has none");
    }
}
