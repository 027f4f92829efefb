//! Logins: what lets a person come back to a key, from another device or with the printed code.
//!
//! What does not belong: the keys' own files ([`crate::vault`]), asking for passwords. Invariants: the appliance gets
//! neither password nor code nor device secret, only what is derived from them for it; a recovered key lies in this home
//! before the login is set anew, because the code is spent by then.

use crate::commands::key::{self, SheetArgs};
use crate::conn::{ConnError, Connection};
use crate::context::Context;
use crate::exit::Error;
use crate::ui::Report;
use crate::vault::KeyKind;
use clap::Args;
use peri_access::login::{LoginRequest, Means, Prelogin};
use peri_access::setting::{NewWay, SignedSetting};
use peri_access::wire::{Ask, LoggedInPage};
use peri_domain::VmId;
use peri_open::userkey::{open_stretched, open_with_recovery};
use peri_seal::keys::KeyPair;
use peri_seal::rng;
use peri_seal::userkey::{PasswordParameters, RecoveryCode, Stretched, WrappedUserKey};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use unicode_normalization::UnicodeNormalization;

/// State file: login names of keys of this home.
const LOGINS: &str = "logins";
const LOGINS_MAX: usize = 64 * 1024;

/// `peri login`
#[derive(Debug, Args)]
pub struct LoginArgs {
    /// Login name
    login: String,
    /// Name of the key in this home [default: the login name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

/// `peri recover`
#[derive(Debug, Args)]
pub struct RecoverArgs {
    /// Login name
    login: String,
    /// Name of the key in this home [default: the login name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// File with the recovery code; without it, it is asked for
    #[arg(long, value_name = "FILE")]
    code_file: Option<PathBuf>,
    /// The new recovery sheet: the old one is spent.
    #[command(flatten)]
    sheet: SheetArgs,
}

/// A login name as it is sent: without blanks around it, in NFC, in lower case.
#[must_use]
pub fn fold(name: &str) -> String {
    name.trim().nfc().collect::<String>().to_lowercase()
}

/// The login name of a key of this home.
///
/// # Errors
/// File errors.
pub fn name_of(context: &Context, key: &str) -> Result<Option<String>, Error> {
    let all: Vec<(String, String)> = context.vault.state(LOGINS, LOGINS_MAX)?.unwrap_or_default();
    Ok(all.into_iter().find(|(name, _)| name == key).map(|(_, login)| login))
}

/// Sets the login of a key: the wraps under password and device secret, and under a new recovery code where one is given.
///
/// # Errors
/// [`Error`].
#[expect(clippy::too_many_arguments, reason = "each is another thing of the person's")]
pub fn set(
    context: &Context,
    connection: &mut Connection<UnixStream>,
    vm: VmId,
    key: &str,
    pair: &KeyPair,
    name: &str,
    password: &str,
    code: Option<&RecoveryCode>,
) -> Result<(), Error> {
    let rng = &mut rng::system();
    let device = context.vault.device_secret()?;
    let parameters = PasswordParameters::generate(rng);
    let stretched = Stretched::new(password, &device, parameters).expect("generated parameters have the least rounds");
    let by_password = NewWay {
        auth_key: *stretched.auth_key().as_bytes(),
        lane: device.lane_key().commit(),
        wrapped: stretched.wrap(pair).to_bytes().into(),
    };
    let by_code = code.map(|code| NewWay {
        auth_key: *code.auth_key().as_bytes(),
        lane: code.lane_key().commit(),
        wrapped: code.wrap(rng, pair).to_bytes().into(),
    });
    let signed = SignedSetting::new(vm, pair, name, context.now(), parameters, by_password, by_code);
    let () = connection.answer(&Ask::Set(signed))?;
    remember(context, key, name)
}

/// Runs `peri login`: fetches a key to a device that holds its device secret.
///
/// # Errors
/// [`Error`].
pub fn login(args: &LoginArgs, context: &mut Context) -> Result<Report, Error> {
    let name = fold(&args.login);
    let key = args.name.clone().unwrap_or_else(|| name.clone());
    context.vault.free(&key)?;
    let mut session = context.session()?;
    let password = context.passwords.existing(&key)?;
    let parameters: PasswordParameters = session.conn.answer(&Ask::Prelogin(Prelogin { name: name.clone() }))?;
    let device = context.vault.device_secret()?;
    let stretched = Stretched::new(&password, &device, parameters).map_err(|e| Error::Verification(e.to_string()))?;
    let request = LoginRequest {
        name: name.clone(),
        means: Means::Password,
        auth_key: *stretched.auth_key().as_bytes(),
        lane_key: *device.lane_key().as_bytes(),
    };
    let page: LoggedInPage = session.conn.answer(&Ask::Login(request))?;
    let pair = opened(&page, |wrapped| open_stretched(wrapped, &stretched))?;
    drop(session);
    let code = RecoveryCode::generate(&mut rng::system());
    let file = install(context, &key, &page, &pair, &password, &code)?;
    remember(context, &key, &name)?;
    Ok(Report::new(format!("key {key} is in this home; the printed recovery sheet holds on"), file))
}

/// Runs `peri recover`: fetches a key with its printed code, to whatever device.
///
/// # Errors
/// [`Error`].
pub fn recover(args: &RecoverArgs, context: &mut Context) -> Result<Report, Error> {
    let name = fold(&args.login);
    let key = args.name.clone().unwrap_or_else(|| name.clone());
    context.vault.free(&key)?;
    key::check_sheet(&args.sheet)?;
    let code = context.passwords.secret("recovery code", args.code_file.as_deref())?;
    // A slip of the hand is named here, and costs no attempt.
    let code =
        RecoveryCode::parse(&code).map_err(|error| Error::Usage(format!("this is no recovery code: {error}")))?;
    let password = context.passwords.fresh(&key)?;
    let mut session = context.session()?;
    let request = LoginRequest {
        name: name.clone(),
        means: Means::Recovery,
        auth_key: *code.auth_key().as_bytes(),
        lane_key: *code.lane_key().as_bytes(),
    };
    let page: LoggedInPage = session.conn.answer(&Ask::Login(request))?;
    let pair = opened(&page, |wrapped| open_with_recovery(wrapped, &code))?;
    let next = RecoveryCode::generate(&mut rng::system());
    let mut document = install(context, &key, &page, &pair, &password, &next)?;
    let vm = session.vm();
    let set = set(context, &mut session.conn, vm, &key, &pair, &name, &password, Some(&next));
    let mut made = key::Made { file: context.vault.key(&key)?, pair, text: String::new(), json: document.take() };
    key::print_sheet(&mut made, &key, &next, &args.sheet, Some(&name))?;
    if let Err(error) = set {
        // The code is spent; the key is here. Said as an error, so that nobody throws the old sheet away in peace.
        return Err(Error::Usage(format!(
            "key {key} is in this home, but its login could not be set anew ({error}): run `peri key password {key}`"
        )));
    }
    let text =
        format!("key {key} is in this home under the new password; the old recovery sheet is spent{}", made.text);
    Ok(Report::new(text, made.json))
}

fn opened(
    page: &LoggedInPage,
    open: impl Fn(&WrappedUserKey) -> Result<KeyPair, peri_open::userkey::UserKeyOpenError>,
) -> Result<KeyPair, Error> {
    let wrapped = WrappedUserKey::from_bytes(&page.wrapped).map_err(|error| Error::Verification(error.to_string()))?;
    open(&wrapped).map_err(|error| Error::Verification(error.to_string()))
}

/// Puts a key that came back into the home; the roster says what it is.
fn install(
    context: &mut Context,
    key: &str,
    page: &LoggedInPage,
    pair: &KeyPair,
    password: &str,
    code: &RecoveryCode,
) -> Result<serde_json::Value, Error> {
    let mut session = context.session()?;
    let role = match session.roster(context, pair) {
        Ok(known) => known.roster.account(page.account).map(peri_roster::roster::Account::role),
        // Not in office (yet): what the roster says is unknown, and the key is more important.
        Err(Error::Conn(ConnError::Refused(problem))) if problem.status == 401 => None,
        Err(error) => return Err(error),
    };
    let role = role.unwrap_or(peri_domain::Role::Viewer);
    let kind = KeyKind::Account { id: page.account, role };
    let now = context.now();
    let file = context.vault.install(key, kind, pair, password, code, now)?;
    Ok(key::describe(key, &file))
}

fn remember(context: &Context, key: &str, name: &str) -> Result<(), Error> {
    let mut all: Vec<(String, String)> = context.vault.state(LOGINS, LOGINS_MAX)?.unwrap_or_default();
    all.retain(|(other, _)| other != key);
    all.push((key.to_owned(), name.to_owned()));
    Ok(context.vault.set_state(LOGINS, &all)?)
}

/// After a new password of a key in this home: its login gets it, too. `None`: it has none.
///
/// # Errors
/// [`Error`].
pub fn renew(context: &mut Context, key: &str, pair: &KeyPair, password: &str) -> Result<Option<()>, Error> {
    let Some(name) = name_of(context, key)? else { return Ok(None) };
    let mut session = context.session()?;
    let vm = session.vm();
    set(context, &mut session.conn, vm, key, pair, &name, password, None).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_name_is_one_name_however_it_is_typed() {
        assert_eq!(fold(" Anna.M\u{fc}ller@Example.org\n"), fold("anna.mu\u{308}ller@example.org"));
        assert_eq!(fold("anna"), "anna");
    }
}
