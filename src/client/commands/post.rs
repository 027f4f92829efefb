//! Posts: one key for the people of a control room; k seats sign each version.
//!
//! A member makes each version's key in his own client, so that no custodian holds it. This client enforces that: it makes
//! a version only in a home that holds the key of an account which the version names and which is in office. It is a rule of
//! this client alone. The roster does not check who made a key, and cannot: a statement does not say who knew what. Nor does
//! it help where a custodian's keys and a member's lie in one home. Whoever signs asks who made it.

use crate::commands::find;
use crate::conn;
use crate::context::{Context, Known};
use crate::exit::Error;
use crate::propose::{ProposeArgs, propose};
use crate::ui::Report;
use clap::Subcommand;
use peri_domain::{AccountId, VmId};
use peri_roster::body::{Body, Post, PostMember};
use peri_seal::keys::KeyPair;
use peri_seal::post::{PostId, seal_post};
use peri_seal::rng;

/// `peri post …`
#[derive(Debug, Subcommand)]
pub enum PostCommand {
    /// Propose a post; a member runs this with -o, k seats sign the file
    New {
        /// What the post is called
        name: String,
        /// Its members: names or ids of accounts, separated by commas
        #[arg(long, value_name = "LIST")]
        members: String,
        /// Who signs.
        #[command(flatten)]
        propose: ProposeArgs,
    },
    /// Propose the next version of a post under a new key: whoever is not named is out, its grants go on
    Change {
        /// Name or id of the post
        post: String,
        /// All its members from then on
        #[arg(long, value_name = "LIST")]
        members: String,
        /// Who signs.
        #[command(flatten)]
        propose: ProposeArgs,
    },
}

/// Runs the command.
///
/// # Errors
/// [`Error`].
pub fn run(command: PostCommand, context: &mut Context) -> Result<Report, Error> {
    match command {
        PostCommand::New { name, members, propose: args } => propose(context, &args, |context, session, known| {
            version(context, session.vm(), known, AccountId(conn::random()), 1, name, &members)
        }),
        PostCommand::Change { post, members, propose: args } => propose(context, &args, |context, session, known| {
            let present = find::post(&known.roster, &post)?.present();
            version(context, session.vm(), known, present.id, present.serial + 1, present.name.clone(), &members)
        }),
    }
}

/// A version under a fresh key, which is forgotten here once it is sealed to every member.
fn version(
    context: &Context,
    vm: VmId,
    known: &Known,
    id: AccountId,
    serial: u32,
    name: String,
    members: &str,
) -> Result<Body, Error> {
    let mut rng = rng::system();
    let pair = KeyPair::generate(&mut rng);
    let place = PostId { vm, post: id, serial };
    let mut sealed = members
        .split(',')
        .map(|member| {
            let account = find::account(&known.roster, member.trim())?;
            let (public, key) = account.key();
            let sealed = seal_post(&mut rng, &pair, &place, public)
                .map_err(|why| Error::Verification(format!("{}: {why}", account.name())))?;
            Ok(PostMember { account: account.id(), key, sealed })
        })
        .collect::<Result<Vec<_>, Error>>()?;
    sealed.sort_unstable_by_key(|member| member.account);
    sealed.dedup_by_key(|member| member.account);
    let own: Vec<_> = context.vault.all()?.into_iter().map(|(_, file)| file.public.fingerprint()).collect();
    // Also whoever leaves does not make the next version: he would take its key along.
    if !sealed.iter().any(|m| own.contains(&m.key) && known.roster.account_by_key(m.key).is_some()) {
        return Err(Error::Usage(format!(
            "none of the members {members} has his key in this home, and a member makes the key of a post: let one of them \
             run this with -o FILE in his own home, then sign it here with `peri proposal sign FILE`"
        )));
    }
    Ok(Body::Post(Box::new(Post { id, serial, name, key: pair.public().clone(), members: sealed })))
}
