//! Logins: what lets a person come back to a key, from another device or with the printed code.
//!
//! What does not belong: the keys' own files ([`crate::vault`]), asking for passwords. Invariants: the appliance gets
//! neither password nor code nor device secret, only what is derived from them for it; a recovered key lies in this home
//! before anything else is asked, because the code is spent by then; a login's name is remembered before it is set,
//! because the answer may get lost.

use crate::commands::key::{self, SheetArgs};
use crate::conn::{ConnError, Connection};
use crate::context::{Context, Session};
use crate::exit::Error;
use crate::ui::Report;
use crate::vault::{KeyFile, KeyKind};
use clap::Args;
use peri_access::login::{LoginRequest, Means, Prelogin};
use peri_access::setting::{NewWay, SignedSetting};
use peri_access::wire::{Ask, LoggedInPage};
use peri_domain::{AccountId, Role, VmId};
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
    Ok(logins(context)?.into_iter().find(|(name, _)| name == key).map(|(_, login)| login))
}

fn logins(context: &Context) -> Result<Vec<(String, String)>, Error> {
    Ok(context.vault.state(LOGINS, LOGINS_MAX)?.unwrap_or_default())
}

/// Remembers the login name of a key of this home; `None`: it has none.
///
/// # Errors
/// File errors.
pub fn remember(context: &Context, key: &str, name: Option<&str>) -> Result<(), Error> {
    let before = logins(context)?;
    let mut all = before.clone();
    all.retain(|(other, _)| other != key);
    all.extend(name.map(|name| (key.to_owned(), name.to_owned())));
    if all == before { Ok(()) } else { Ok(context.vault.set_state(LOGINS, &all)?) }
}

/// Sets the login of a key: the wraps under password and device secret, and under a new recovery code where one is given.
///
/// # Errors
/// [`Error`]. After a refusal this home remembers the login name that it knew before.
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
    let before = name_of(context, key)?;
    remember(context, key, Some(name))?;
    let done: Result<(), ConnError> = connection.answer(&Ask::Set(signed));
    match done {
        Err(ConnError::Refused(mut problem)) if problem.status < 500 => {
            // Certainly not set.
            remember(context, key, before.as_deref())?;
            if problem.code == "not_authenticated" {
                problem
                    .detail
                    .push_str("; a key made by `peri account request` gets a login once its account is in office");
            }
            Err(ConnError::Refused(problem).into())
        }
        other => Ok(other?),
    }
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
    let asked = session.conn.answer(&Ask::Login(request));
    let page: LoggedInPage = asked.map_err(|error| {
        not_logged_in(
            error,
            &format!(
                "try another spelling of the login name (asked for was {name:?}); on a device that did not know the key \
                 before, the printed recovery sheet brings it: `peri recover {name}`; if all is lost, an administrator \
                 invites again: `peri invite new ACCOUNT --reset`"
            ),
        )
    })?;
    let pair = opened(&page, |wrapped| open_stretched(wrapped, &stretched))?;
    // Nobody sees this code: the printed one is the login's, and `peri key sheet` makes one for this file, too.
    let code = RecoveryCode::generate(&mut rng::system());
    let file = install(context, &key, page.account, &pair, &password, &code)?;
    remember(context, &key, Some(&name))?;
    let file = learn_role(context, &mut session, &key, page.account, &pair).unwrap_or(file);
    let text = format!("key {key} is in this home; the printed recovery sheet holds on");
    Ok(Report::new(text, key::describe(&key, &file)))
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
    // A home that cannot be written is found out while the code still holds.
    context.vault.device_secret()?;
    context.vault.set_state(LOGINS, &logins(context)?)?;
    let mut session = context.session()?;
    let request = LoginRequest {
        name: name.clone(),
        means: Means::Recovery,
        auth_key: *code.auth_key().as_bytes(),
        lane_key: *code.lane_key().as_bytes(),
    };
    let asked = session.conn.answer(&Ask::Login(request));
    let page: LoggedInPage = asked.map_err(|error| {
        not_logged_in(
            error,
            &format!(
                "each code works once: take the newest sheet, and another spelling of the login name (asked for was \
                 {name:?}); a device that holds the key prints a new sheet: `peri key sheet NAME`; if all is lost, an \
                 administrator invites again: `peri invite new ACCOUNT --reset`"
            ),
        )
    })?;
    let pair = opened(&page, |wrapped| open_with_recovery(wrapped, &code))?;
    let next = RecoveryCode::generate(&mut rng::system());
    // The code is spent, and this is the only copy: into the home, before anything else is asked or can fail.
    let file = install(context, &key, page.account, &pair, &password, &next)?;
    let vm = session.vm();
    remember(context, &key, Some(&name))
        .and_then(|()| set(context, &mut session.conn, vm, &key, &pair, &name, &password, Some(&next)))
        .map_err(|error| {
            // No sheet is printed: the next one of `peri key sheet` holds. An error, so that nobody goes on in peace.
            Error::Usage(format!(
                "key {key} is in this home under the new password, but its login could not be set anew ({error}) and the \
                 old recovery sheet is spent: run `peri key sheet {key} --login {name}`, which sets the login and prints a \
                 new sheet"
            ))
        })?;
    let file = learn_role(context, &mut session, &key, page.account, &pair).unwrap_or(file);
    let mut made = key::Made { text: String::new(), json: key::describe(&key, &file), file, pair };
    key::print_sheet(&mut made, &key, &next, &args.sheet, Some(&name))
        .map_err(|error| key::sheet_not_written(&key, &error))?;
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

/// The same error with what to try next, where the login was refused or its answer got lost.
fn not_logged_in(error: ConnError, next: &str) -> Error {
    Error::Conn(match error {
        ConnError::Refused(mut problem) if problem.code == "wrong_login" => {
            problem.detail = format!("{}; {next}", problem.detail);
            ConnError::Refused(problem)
        }
        // The appliance may have answered, and a code is spent then: the next attempt tells.
        ConnError::Broken(source) => {
            ConnError::AnswerLost(format!("{source}; try the same command again, and if it is refused: {next}"))
        }
        error => error,
    })
}

/// Puts a key that came back into the home. What it is for is not known yet: see [`learn_role`].
fn install(
    context: &Context,
    key: &str,
    id: AccountId,
    pair: &KeyPair,
    password: &str,
    code: &RecoveryCode,
) -> Result<KeyFile, Error> {
    let kind = KeyKind::Account { id, role: Role::Viewer };
    Ok(context.vault.install(key, kind, pair, password, code, context.now())?)
}

/// Corrects the role of a key that came back. It only chooses which key signs where nobody says so, so whatever fails here
/// (an account not in office yet, an appliance that went away) leaves the provisional one; `None` then.
fn learn_role(context: &Context, session: &mut Session, key: &str, id: AccountId, pair: &KeyPair) -> Option<KeyFile> {
    let role = session.roster(context, pair).ok()?.roster.account(id)?.role();
    context.vault.set_kind(key, KeyKind::Account { id, role }).ok()
}

/// After a new password of a key in this home: its login gets it, too, and the new code where there is one. The login's
/// name; `None`: it has none.
///
/// # Errors
/// [`Error`].
pub fn renew(
    context: &Context,
    key: &str,
    pair: &KeyPair,
    password: &str,
    code: Option<&RecoveryCode>,
) -> Result<Option<String>, Error> {
    let Some(name) = name_of(context, key)? else { return Ok(None) };
    let mut session = context.session()?;
    let vm = session.vm();
    set(context, &mut session.conn, vm, key, pair, &name, password, code)?;
    Ok(Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_name_is_one_name_however_it_is_typed() {
        assert_eq!(fold(" Anna.M\u{fc}ller@Example.org\n"), fold("anna.mu\u{308}ller@example.org"));
        assert_eq!(fold("anna"), "anna");
    }

    #[test]
    fn a_refused_login_keeps_its_code_and_says_what_to_try_and_a_lost_answer_promises_nothing() {
        let refused = ConnError::Refused(peri_access::wire::Problem::new(401, "wrong_login", "Not logged in", "wrong"));
        let error = not_logged_in(refused, "try the sheet");
        assert_eq!((error.code().as_str(), error.exit_code()), ("wrong_login", 3));
        assert_eq!(error.to_string(), "Not logged in: wrong; try the sheet");
        let error = not_logged_in(std::io::Error::from(std::io::ErrorKind::TimedOut).into(), "try the sheet");
        assert_eq!(error.exit_code(), 4);
        let text = error.to_string();
        assert!(text.contains("try the sheet") && !text.contains("nothing was changed"), "{text}");
    }
}
