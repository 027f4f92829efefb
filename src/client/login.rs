//! Logins: what lets a person come back to a key, from another device or with the printed code.
//!
//! What does not belong: the keys' own files ([`crate::vault`]), asking for passwords. Invariants: the appliance gets
//! neither password nor code nor device secret, only what is derived from them for it; a recovered key lies in this home
//! before anything else is asked, because the code is spent by then (where that fails, its login gets the next code at
//! once); a login's name is remembered before it is set, because the answer may get lost.

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
/// [`Error`]. After a refusal this home remembers the login name that it knew before; after a lost answer the new one.
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
    let signed = setting(context, vm, pair, name, password, code)?;
    let before = name_of(context, key)?;
    remember(context, key, Some(name))?;
    let done: Result<(), ConnError> = connection.answer(&Ask::Set(signed));
    let Err(error) = done else { return Ok(()) };
    if certainly_not_set(&error) {
        remember(context, key, before.as_deref())?;
    }
    Err(Error::Conn(not_set(error)))
}

/// What the appliance is asked to keep for a login.
fn setting(
    context: &Context,
    vm: VmId,
    pair: &KeyPair,
    name: &str,
    password: &str,
    code: Option<&RecoveryCode>,
) -> Result<SignedSetting, Error> {
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
    Ok(SignedSetting::new(vm, pair, name, context.now(), parameters, by_password, by_code))
}

/// Whether the appliance said so early that it kept nothing. Other failures on its side leave that open.
fn certainly_not_set(error: &ConnError) -> bool {
    matches!(error, ConnError::Refused(problem) if problem.status < 500 || problem.code == "too_many_logins")
}

/// The same error with what it means for the login.
fn not_set(error: ConnError) -> ConnError {
    match error {
        ConnError::Refused(mut problem) if problem.code == "not_authenticated" => {
            problem
                .detail
                .push_str("; a key made by `peri account request` gets a login once its account is in office");
            ConnError::Refused(problem)
        }
        ConnError::Broken(source) => ConnError::AnswerLost(format!(
            "{source}; the login may have been set, and older sheets may be void; run the same command again"
        )),
        error => error,
    }
}

/// Why a login was not set, for commands that name another remedy than running them again.
#[must_use]
pub fn why_not_set(error: &Error) -> String {
    match error {
        Error::Conn(ConnError::AnswerLost(_)) => {
            "the answer of the appliance got lost, so it may have been set all the same".into()
        }
        error => error.to_string(),
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
    context.vault.try_keys()?;
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
    let file = match install(context, &key, page.account, &pair, &password, &next) {
        Ok(file) => file,
        Err(error) => {
            let outcome = rescue(args, context, &mut session, &key, page.account, pair, &name, &password, &next);
            return Err(not_installed(&key, &name, &error, outcome));
        }
    };
    let vm = session.vm();
    remember(context, &key, Some(&name))
        .and_then(|()| set(context, &mut session.conn, vm, &key, &pair, &name, &password, Some(&next)))
        .map_err(|error| {
            // No sheet is printed: the next one of `peri key sheet` holds. An error, so that nobody goes on in peace.
            let why = why_not_set(&error);
            Error::Usage(format!(
                "key {key} is in this home under the new password, but its login could not be set anew ({why}) and the \
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

/// The code is spent and the key cannot be written here: its login is set under the new password and the next code, and
/// the sheet is printed at once, because the command ends with an error. Writes nothing into the home.
#[expect(clippy::too_many_arguments, reason = "each is another thing of the person's")]
fn rescue(
    args: &RecoverArgs,
    context: &Context,
    session: &mut Session,
    key: &str,
    id: AccountId,
    pair: KeyPair,
    name: &str,
    password: &str,
    next: &RecoveryCode,
) -> Result<(), Error> {
    let kind = KeyKind::Account { id, role: Role::Viewer };
    let file = context.vault.locked_up(kind, &pair, password, next, context.now())?;
    let signed = setting(context, session.vm(), &pair, name, password, Some(next))?;
    let done: Result<(), ConnError> = session.conn.answer(&Ask::Set(signed));
    // After a lost answer, too: the sheet may hold, and it is all there is.
    if let Err(error) = &done
        && !matches!(error, ConnError::Broken(_))
    {
        return Ok(done?);
    }
    let mut made = key::Made { text: String::new(), json: key::describe(key, &file), file, pair };
    if key::print_sheet(&mut made, key, next, &args.sheet, Some(name)).is_err() {
        // The disk may be full for the sheet as well.
        let here = SheetArgs { sheet: Some("-".into()), no_sheet: false };
        key::print_sheet(&mut made, key, next, &here, Some(name))?;
    }
    context.ui.report(&Report::new(made.text, made.json))?;
    Ok(done.map_err(not_set)?)
}

/// What became of a key that could not be written after its code was spent.
fn not_installed(key: &str, name: &str, error: &Error, rescued: Result<(), Error>) -> Error {
    let then = match rescued {
        Ok(()) => format!(
            "its login has the new password, and a new sheet, if one was asked for, is above or in its file; once the \
             home can be written, `peri login {name} --name {key}` brings the key to this device, and the new sheet to any"
        ),
        Err(error) => format!(
            "setting its login anew failed, too ({}); if a new sheet is above or in its file, try it: `peri recover {name}`; \
             a device that holds the key prints a new one: `peri key sheet NAME`; if all is lost, an administrator invites \
             again: `peri invite new ACCOUNT --reset`",
            why_not_set(&error)
        ),
    };
    Error::Usage(format!(
        "the old recovery sheet is spent, but key {key} could not be written into this home ({error}); {then}"
    ))
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
        // The ledger failed after the check: a code may be spent all the same.
        ConnError::Refused(mut problem) if problem.code == "ledger_away" => {
            problem.detail = format!("{}; try the same command again, and if it is refused: {next}", problem.detail);
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
    let known = session.roster(context, pair).ok()?;
    let seat = || known.roster.seats().any(|seat| seat.fingerprint == pair.fingerprint() && !seat.revoked);
    let kind = match known.roster.account(id) {
        Some(account) => KeyKind::Account { id, role: account.role() },
        None => seat().then_some(KeyKind::Seat)?,
    };
    context.vault.set_kind(key, kind).ok()
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
        // The ledger failed after the code was taken.
        let away = ConnError::Refused(peri_access::wire::Problem::new(503, "ledger_away", "Not now", "disk"));
        let error = not_logged_in(away, "try the sheet");
        assert_eq!((error.code().as_str(), error.exit_code()), ("ledger_away", 3));
        let text = error.to_string();
        assert!(text.contains("same command again") && text.ends_with("try the sheet"), "{text}");
    }

    #[test]
    fn a_name_is_forgotten_only_where_nothing_was_set_and_a_lost_answer_says_what_may_have_happened() {
        let refused = |status, code| ConnError::Refused(peri_access::wire::Problem::new(status, code, "No", "no"));
        for (status, code, certain) in [
            (409, "name_taken", true),
            (503, "too_many_logins", true),
            (503, "ledger_away", false),
            (500, "hash", false),
        ] {
            assert_eq!(certainly_not_set(&refused(status, code)), certain, "{code}");
        }
        let broken = || ConnError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
        assert!(!certainly_not_set(&broken()));
        let error = Error::Conn(not_set(broken()));
        let text = error.to_string();
        assert!(text.contains("may have been set") && !text.contains("nothing was changed"), "{text}");
        assert!(!why_not_set(&error).contains("same command"), "commands with another remedy");
        let error = Error::Conn(not_set(refused(401, "not_authenticated")));
        assert!(error.to_string().contains("in office"), "{error}");
    }

    #[test]
    fn a_key_that_could_not_be_written_is_not_said_to_be_safe_unless_its_login_is() {
        let full = Error::Usage("disk full".into());
        let told = |rescued| not_installed("back", "anna", &full, rescued).to_string();
        let (safe, lost) = (told(Ok(())), told(Err(Error::Usage("gone".into()))));
        assert!(safe.contains("disk full") && safe.contains("`peri login anna --name back`"), "{safe}");
        assert!(lost.contains("gone") && lost.contains("--reset") && !lost.contains("peri login"), "{lost}");
    }
}
