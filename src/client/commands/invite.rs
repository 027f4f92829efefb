//! Invitations: `peri invite` by whoever invites, `peri enrol` by whoever is invited.
//!
//! ```text
//!  inviter                               appliance                          invited
//!  invite new ── hash, verify key ──▶ kept
//!      └────────────── link, by whatever way, once ───────────────────────▶ enrol: keys, device secret, sheet
//!                                     key enrolled ◀── redemption, login ──┘   shows ten words
//!  invite accept ── the account's statement, naming the key whose ten words both see ──▶ roster
//! ```
//! What does not belong: rights. An invitation gives none, and neither does the account; grants do. Invariants: the link
//! is the only secret and travels outside; a key enters a statement only as the inviter saw its words; what was offered is
//! remembered as long as the appliance keeps it, so that each live link can be withdrawn and each key that was enrolled in
//! time can be accepted.

use crate::commands::key::{self, SheetArgs};
use crate::commands::{account::RoleArg, find};
use crate::conn;
use crate::context::{Context, Session};
use crate::exit::Error;
use crate::files;
use crate::login;
use crate::profile::{Identity, Profile};
use crate::propose::{ProposeArgs, propose};
use crate::times;
use crate::ui::Report;
use crate::vault::{KeyFile, KeyKind};
use clap::{Args, Subcommand};
use minicbor::{Decode, Encode};
use peri_access::invite::{Invitation, InvitationId};
use peri_access::wire::{Ask, InvitationBody, InvitationPage, Method, RedeemedPage};
use peri_domain::limits::{INVITATION_MAX, INVITATIONS_MAX};
use peri_domain::{AccountId, Fingerprint, Role, UtcNanos};
use peri_roster::body::{Body, ChangedBy, KeyChange, NewAccount};
use peri_seal::words::words;
use serde_json::json;
use std::path::PathBuf;

/// State file of the invitations made in this home.
const INVITED: &str = "invitations";
/// As many as an appliance keeps, with a pseudonym of 200 bytes each.
const INVITED_MAX: usize = INVITATIONS_MAX * 320;

/// `peri invite …`
#[derive(Debug, Subcommand)]
pub enum InviteCommand {
    /// Make a link that enrols one key, once
    New(NewArgs),
    /// Show the invitations of this home and whose keys they enrolled
    List,
    /// Take the unused invitations of somebody back
    Withdraw {
        /// Pseudonym of the invited one
        name: String,
    },
    /// Propose the account of an invited one, once his ten words are the same on both screens
    Accept(AcceptArgs),
}

/// `peri invite new`
#[derive(Debug, Args)]
pub struct NewArgs {
    /// Pseudonym of the invited one in the roster; with --reset the name of the account
    name: String,
    /// The one role of the account
    #[arg(long, value_enum, required_unless_present = "reset")]
    role: Option<RoleArg>,
    /// For an account there is, whose holder lost everything: a new key without grants
    #[arg(long, conflicts_with = "role")]
    reset: bool,
    /// Until when the link may be used, at most 14 days
    #[arg(long, value_name = "TIME", default_value = "+3d", allow_hyphen_values = true)]
    until: String,
    /// Write the link to FILE instead of printing it
    #[arg(long, value_name = "FILE")]
    link_file: Option<PathBuf>,
}

/// `peri invite accept`
#[derive(Debug, Args)]
pub struct AcceptArgs {
    /// Pseudonym of the invited one
    name: String,
    /// The ten words as the invited one read them to you; refused when they do not fit
    #[arg(long, value_name = "WORDS")]
    words: String,
    /// Who signs.
    #[command(flatten)]
    propose: ProposeArgs,
}

/// `peri enrol`
#[derive(Debug, Args)]
pub struct EnrolArgs {
    /// Name of the key in this home
    name: String,
    /// File with the link; without it, it is asked for
    #[arg(long, value_name = "FILE")]
    link_file: Option<PathBuf>,
    /// Login name for other devices and for recovery, for example a mail address [default: NAME]
    #[arg(long, value_name = "TEXT")]
    login: Option<String>,
    /// Recovery sheet.
    #[command(flatten)]
    sheet: SheetArgs,
}

/// An invitation as its maker remembers it.
#[derive(Debug, Clone, Encode, Decode)]
struct Invited {
    #[n(0)]
    id: InvitationId,
    #[n(1)]
    account: AccountId,
    #[n(2)]
    role: Role,
    #[n(3)]
    name: String,
    #[n(4)]
    not_after: UtcNanos,
    #[n(5)]
    reset: bool,
}

/// What a link says. `peri:enrol/CLAIM/APPLIANCE/ACCOUNT/ROLE#FRAGMENT`: claim key and identity (so that the invited
/// one's client knows the appliance without comparing words), the account, and the secret behind the `#`.
pub struct Link {
    claim: Fingerprint,
    appliance: Fingerprint,
    account: AccountId,
    role: Role,
    invitation: Invitation,
}

impl Link {
    /// Reads a link; blanks around it do not matter.
    ///
    /// # Errors
    /// [`Error::Usage`], which says what is missing.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let bad = |why: &str| Error::Usage(format!("this is no invitation link of Peri: {why}; copy the whole link"));
        let (place, fragment) = text.trim().split_once('#').ok_or_else(|| bad("there is no #"))?;
        let invitation = Invitation::parse(fragment).map_err(|error| Error::Usage(error.to_string()))?;
        let parts: Vec<&str> =
            place.strip_prefix("peri:enrol/").ok_or_else(|| bad("it begins otherwise"))?.split('/').collect();
        let [claim, appliance, account, role] = parts[..] else { return Err(bad("a part is missing")) };
        let role =
            Role::ALL.into_iter().find(|known| known.to_string() == role).ok_or_else(|| bad("an unknown role"))?;
        let id = |text: &str| text.parse::<Fingerprint>().map_err(|error| bad(&error.to_string()));
        let account = account.parse().map_err(|error: peri_domain::ids::ParseIdError| bad(&error.to_string()))?;
        Ok(Self { claim: id(claim)?, appliance: id(appliance)?, account, role, invitation })
    }

    /// The link as it is handed over; whoever has it enrols.
    #[must_use]
    pub fn to_text(&self) -> zeroize::Zeroizing<String> {
        let Self { claim, appliance, account, role, invitation } = self;
        let fragment = invitation.to_fragment();
        zeroize::Zeroizing::new(format!("peri:enrol/{claim}/{appliance}/{account}/{role}#{}", *fragment))
    }
}

/// Runs `peri invite …`.
///
/// # Errors
/// [`Error`].
pub fn run(command: InviteCommand, context: &mut Context) -> Result<Report, Error> {
    match command {
        InviteCommand::New(args) => new(&args, context),
        InviteCommand::List => list(context),
        InviteCommand::Withdraw { name } => withdraw(&name, context),
        InviteCommand::Accept(args) => accept(&args, context),
    }
}

fn inviter(file: &KeyFile) -> bool {
    matches!(file.kind, KeyKind::Account { role: Role::Administrator, .. } | KeyKind::Seat)
}

fn new(args: &NewArgs, context: &mut Context) -> Result<Report, Error> {
    let not_after = times::parse(&args.until, context.now())?;
    let mut session = context.session()?;
    let who = context.requester(inviter)?;
    let (account, role) = match args.role {
        Some(role) => (AccountId(conn::random()), role.into()),
        None => {
            let known = session.roster(context, &who)?;
            let account = find::account(&known.roster, &args.name)?;
            (account.id(), account.role())
        }
    };
    let now = context.now();
    let mut all = invited(context)?;
    // The appliance keeps them as long: who enrolled in time can be accepted afterwards.
    all.retain(|one| one.not_after + INVITATION_MAX > now);
    for one in all.iter().filter(|one| one.name == args.name && one.not_after > now) {
        if state(&mut session, &who, one)?.is_some_and(|page| page.key.is_none()) {
            return Err(Error::Usage(format!(
                "{0} has an invitation already, open until {1}: hand over its link, or take it back first with `peri invite \
                 withdraw {0}`",
                one.name, one.not_after
            )));
        }
    }
    let made = Invitation::generate(&mut peri_seal::rng::system());
    let offer = made.offer(account, not_after);
    // Remembered before it is offered: an answer that is lost leaves something to take back.
    all.push(Invited { id: offer.id, account, role, name: args.name.clone(), not_after, reset: args.reset });
    context.vault.set_state(INVITED, &all)?;
    let vm = session.vm();
    let () = session.conn.request(vm, Method::Offer, &offer, &who)?;
    let identity = &session.profile.identity;
    let link =
        Link { claim: identity.claim, appliance: identity.fingerprint(), account, role, invitation: made }.to_text();
    let mut document = json!({ "name": args.name, "account": account, "role": role, "until": not_after.to_string() });
    let text = match &args.link_file {
        Some(path) => {
            files::write(path, format!("{}\n", *link).as_bytes(), 0o600)?;
            document["link_file"] = json!(path);
            format!("link written to {}", path.display())
        }
        None => {
            document["link"] = json!(*link);
            (*link).clone()
        }
    };
    let next = format!("hand it to {0} alone, until {not_after}; then: peri invite accept {0} --words …", args.name);
    Ok(Report::new(format!("{text}\n{next}"), document))
}

fn list(context: &mut Context) -> Result<Report, Error> {
    let all = invited(context)?;
    let mut session = context.session()?;
    let who = context.requester(inviter)?;
    let (mut lines, mut documents) = (Vec::new(), Vec::new());
    for one in &all {
        let page = state(&mut session, &who, one)?;
        let words = page.as_ref().and_then(|page| page.key.as_ref()).map(|key| words(&key.fingerprint()).join(" "));
        let became = match (&page, &words) {
            (_, Some(words)) => format!("enrolled: {words}"),
            (None, _) => "not known to the appliance (any more)".into(),
            _ if one.not_after <= context.now() => "expired".into(),
            _ => "not used yet".into(),
        };
        lines.push(format!("{:<20} {:<14} until {}  {became}", one.name, one.role, one.not_after));
        documents.push(json!({ "name": one.name, "account": one.account, "role": one.role,
            "until": one.not_after.to_string(), "words": words, "known": page.is_some() }));
    }
    Ok(Report::new(lines.join("\n"), json!({ "invitations": documents })))
}

fn withdraw(name: &str, context: &mut Context) -> Result<Report, Error> {
    let mut all = invited(context)?;
    let found = all_of(&all, name)?;
    let mut session = context.session()?;
    let who = context.requester(inviter)?;
    let vm = session.vm();
    let mut withdrawn = Vec::new();
    let mut refused = None;
    for one in &found {
        match session.conn.request(vm, Method::Withdraw, &InvitationBody { id: one.id }, &who) {
            Ok(()) => withdrawn.push(one.id),
            // Used, or another key of this home made it.
            Err(conn::ConnError::Refused(problem)) if problem.status == 404 => refused = Some(problem),
            Err(error) => return Err(error.into()),
        }
    }
    if let Some(problem) = refused.filter(|_| withdrawn.is_empty()) {
        return Err(conn::ConnError::Refused(problem).into());
    }
    all.retain(|other| !withdrawn.contains(&other.id));
    context.vault.set_state(INVITED, &all)?;
    Ok(Report::new(format!("the invitation of {name} is void"), json!({ "name": name, "withdrawn": true })))
}

fn accept(args: &AcceptArgs, context: &mut Context) -> Result<Report, Error> {
    let found = all_of(&invited(context)?, &args.name)?;
    let mut session = context.session()?;
    let who = context.requester(inviter)?;
    let (mut known, mut used) = (false, None);
    for one in found {
        let page = state(&mut session, &who, &one)?;
        known |= page.is_some();
        if let Some(key) = page.and_then(|page| page.key) {
            used = Some((one, key));
            break;
        }
    }
    let (one, key) = used.ok_or_else(|| {
        Error::Usage(if known {
            format!("{} has not used the link yet", args.name)
        } else {
            "the appliance knows no such invitation (any more); invite again".into()
        })
    })?;
    key.validate().map_err(|error| Error::Verification(error.to_string()))?;
    let found = words(&key.fingerprint()).join(" ");
    if !args.words.split_whitespace().eq(found.split(' ')) {
        return Err(Error::Verification(format!(
            "the key that was enrolled says: {found}. Those are not the words of {}: somebody else used the link. Do not \
             accept it; invite again by another way",
            one.name
        )));
    }
    drop(session);
    let Invited { account: id, role, name, reset, .. } = one;
    let mut report = propose(context, &args.propose, |_, _, known| {
        if !reset {
            return Ok(Body::Account(Box::new(NewAccount { id, role, name, key })));
        }
        let account = find::account(&known.roster, &id.to_string())?;
        let (old, by) = (account.key().1, ChangedBy::Reset);
        Ok(Body::KeyChange(Box::new(KeyChange { account: id, old, new: key, by })))
    })?;
    report.json["words"] = json!(found);
    Ok(report)
}

fn invited(context: &Context) -> Result<Vec<Invited>, Error> {
    Ok(context.vault.state(INVITED, INVITED_MAX)?.unwrap_or_default())
}

/// All invitations of somebody, the newest first; at least one.
fn all_of(all: &[Invited], name: &str) -> Result<Vec<Invited>, Error> {
    let found: Vec<Invited> = all.iter().rev().filter(|one| one.name == name).cloned().collect();
    if found.is_empty() {
        let known: Vec<&str> = all.iter().map(|one| one.name.as_str()).collect();
        let text = format!("nobody called {name:?} was invited from this home ({})", known.join(", "));
        return Err(Error::Usage(text));
    }
    Ok(found)
}

/// What became of an invitation; `None` when the appliance knows none.
fn state(
    session: &mut Session,
    who: &peri_seal::keys::KeyPair,
    one: &Invited,
) -> Result<Option<InvitationPage>, Error> {
    let vm = session.vm();
    match session.conn.request(vm, Method::Invitation, &InvitationBody { id: one.id }, who) {
        Ok(page) => Ok(Some(page)),
        Err(conn::ConnError::Refused(problem)) if problem.status == 404 => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Runs `peri enrol`.
///
/// # Errors
/// [`Error`]. The key stays in the home, and no sheet is printed: the same command again goes on where it stopped.
pub fn enrol(args: &EnrolArgs, context: &mut Context) -> Result<Report, Error> {
    let link = context.passwords.secret("invitation link", args.link_file.as_deref())?;
    let link = Link::parse(&link)?;

    let path = context.socket(Profile::load(&context.vault).ok().and_then(|profile| profile.socket).as_deref())?;
    let (mut connection, certificate) = crate::context::connect(&path)?;
    let identity = Identity::new(&certificate, link.claim);
    if identity.fingerprint() != link.appliance {
        return Err(Error::Verification(
            "the appliance at this socket is not the one that the invitation is for; nothing was sent to it".into(),
        ));
    }
    Profile::pin(&context.vault, identity, Some(&path))?;
    let kind = KeyKind::Account { id: link.account, role: link.role };
    let name = login::fold(args.login.as_deref().unwrap_or(&args.name));
    let key::Begun { mut made, password, code, again } = key::make_or_open(context, &args.name, kind, &args.sheet)?;
    let redemption = link.invitation.redeem(&mut peri_seal::rng::system(), certificate.vm, &made.pair);
    let page: RedeemedPage =
        connection.answer(&Ask::Redeem(redemption)).map_err(|error| not_enrolled(error.into(), &args.name))?;
    if page.account != link.account {
        return Err(Error::Verification(
            "the appliance enrolled the key for another account than the link names".into(),
        ));
    }
    login::set(context, &mut connection, certificate.vm, &args.name, &made.pair, &name, &password, Some(&code))
        .map_err(|error| not_enrolled(error, &args.name))?;
    // Only now: a sheet must not name a login that does not take its code.
    if again {
        made.file = context
            .vault
            .renew_code(&args.name, &made.pair, &code)
            .map_err(|error| key::sheet_not_written(&args.name, &error.into()))?;
    }
    key::print_sheet(&mut made, &args.name, &code, &args.sheet, Some(&name))
        .map_err(|error| key::sheet_not_written(&args.name, &error))?;
    let words = words(&made.pair.fingerprint()).join(" ");
    made.json["login"] = json!(name);
    let text = format!(
        "key {} enrolled: {words}\nread these words to whoever invited you; once the account stands, `peri roster show` \
         works{}",
        args.name, made.text
    );
    Ok(Report::new(text, made.json))
}

/// The same error with what is there and how to go on.
fn not_enrolled(error: Error, key: &str) -> Error {
    let next = format!(
        "key {key} is kept in this home, and this run made no recovery sheet; once the cause is gone, the same command goes on \
         with that key (--login may name another login)"
    );
    Error::Conn(match error {
        Error::Conn(conn::ConnError::Refused(mut problem)) => {
            problem.detail = format!("{}; {next}", problem.detail);
            conn::ConnError::Refused(problem)
        }
        Error::Conn(conn::ConnError::Broken(source)) => conn::ConnError::AnswerLost(format!("{source}; {next}")),
        Error::Conn(conn::ConnError::AnswerLost(text)) => conn::ConnError::AnswerLost(format!("{text}; {next}")),
        error => return error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_was_refused_reads_that_there_is_no_sheet_and_that_the_same_command_goes_on() {
        let problem = peri_access::wire::Problem::new(409, "name_taken", "Name taken", "another has it");
        let broken = std::io::Error::from(std::io::ErrorKind::TimedOut);
        for (error, code) in [(conn::ConnError::Refused(problem), "name_taken"), (broken.into(), "unreachable")] {
            let error = not_enrolled(error.into(), "anna");
            assert_eq!(error.code(), code);
            let text = error.to_string();
            assert!(text.contains("no recovery sheet") && text.contains("same command"), "{text}");
            assert!(!text.contains("nothing was changed"), "{text}");
        }
    }

    #[test]
    fn a_link_says_what_is_missing_in_it() {
        let made = Invitation::generate(&mut peri_seal::rng::system());
        let (claim, account) = (Fingerprint([1; 32]), AccountId([2; 16]));
        let good = format!("peri:enrol/{claim}/{claim}/{account}/viewer#{}", *made.to_fragment());
        let link = Link::parse(&format!(" {good}\n")).unwrap();
        assert_eq!(
            (link.claim, link.account, link.role, link.invitation.id()),
            (claim, account, Role::Viewer, made.id())
        );
        assert_eq!(*link.to_text(), good);
        let cut = &good[..good.len() - 1];
        for (bad, word) in [
            (cut.to_owned(), "48 characters"),
            (good.replace('#', "/"), "no #"),
            (good.replace("viewer", "owner"), "unknown role"),
            (good.replace("peri:", "http:"), "begins otherwise"),
            (good.replace("/viewer", ""), "part is missing"),
        ] {
            let error = Link::parse(&bad).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(word), "{bad}: {error}");
        }
    }
}
