//! `peri watch`: the live picture of one camera as MP4, to a file or a player on standard output.
//!
//! Each epoch asks for its X anew, so a revocation ends the picture with the running epoch. The start is the last key
//! picture before the present: what was recorded earlier in the running epoch is read (counters must have no gap) and
//! thrown away.

use crate::commands::find;
use crate::conn::ConnError;
use crate::context::Context;
use crate::exit::Error;
use crate::footage::{self, Cutter, Expected, Opened, Part};
use crate::times;
use crate::ui::Report;
use crate::vault::KeyKind;
use clap::Args;
use peri_access::wire::FetchBody;
use peri_domain::{Action, EpochNo, Role, UtcNanos};
use peri_media::mp4join::{Entry, Gaps, JoinError, Joiner};
use serde_json::json;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

/// Pause before asking again while the next epoch has not begun.
const RETRY: Duration = Duration::from_millis(200);

/// Attempts in a row without a new epoch: half a minute, then the camera is gone for longer than a change of epochs.
const RETRIES_MAX: u32 = 150;

/// `peri watch`
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Name or id of the camera
    camera: String,
    /// Write to FILE; `-` is standard output, for a player: peri watch gate | ffplay -
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// Stop after this much picture (for example 30s)
    #[arg(long = "for", value_name = "LENGTH")]
    duration: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// [`Error`]; a player that goes away is none.
pub fn run(args: &WatchArgs, context: &mut Context) -> Result<Report, Error> {
    let to_stdout = args.output.as_os_str() == "-";
    if to_stdout && io::stdout().is_terminal() {
        return Err(Error::Usage("standard output is a terminal; name a file with -o, or pipe into a player".into()));
    }
    let length = args.duration.as_deref().map(times::length).transpose()?;
    let mut session = context.session()?;
    let who = context.requester(|file| {
        matches!(file.kind, KeyKind::Account { role: Role::Viewer | Role::External | Role::Technician, .. })
    })?;
    let known = session.roster(context, &who)?;
    let camera = find::camera(&known.roster, &args.camera)?;
    let (id, name) = (camera.id, camera.setup.name.clone());
    let failed = |source| Error::File { what: "cannot write", path: args.output.clone(), source };
    // The file is touched only once there is something to write: a refusal leaves what was there.
    let begin = || -> Result<Live, Error> {
        // Straight to the descriptor: each fragment goes out as soon as it is opened, none waits in a line buffer.
        let out = if to_stdout {
            io::stdout().as_fd().try_clone_to_owned().map(File::from)
        } else {
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&args.output)
        };
        Ok(Live {
            joiner: Joiner::new(out.map_err(failed)?, Gaps::Keep, Entry::Avc3),
            cutter: Cutter::new(UtcNanos(i64::MAX), UtcNanos(i64::MAX)),
            length,
            first: None,
            fragments: 0,
        })
    };
    let mut live: Option<Live> = None;
    let posts = footage::memberships(&who, &known.roster);
    let vm = session.vm();
    let device = session.profile.identity.device.clone();
    // A camera may be silent for long; that the appliance lives shows in the connection itself.
    session.conn.wait_for_ever()?;
    let mut last: Option<EpochNo> = None;
    let mut idle = 0;
    let ended = loop {
        let body = footage::open_body(id, vec![], Action::WatchLive, "");
        let keys = footage::open_keys(&mut session, &who, &body)?.with_posts(&posts);
        let stream = match keys.epochs().max().filter(|epoch| Some(*epoch) > last) {
            Some(epoch) => {
                let action = Action::WatchLive;
                let body = FetchBody { camera: id, epoch, offset: 0, length: None, follow: true, action };
                match session.conn.fetch(vm, &body, &who) {
                    Ok(stream) => Some((epoch, stream)),
                    // X is answered when its entry is durable; by then the epoch may be over: the next one is asked for,
                    // which says no if we are no longer entitled.
                    Err(ConnError::Refused(problem)) if problem.status == 404 => None,
                    Err(error) => return Err(error.into()),
                }
            }
            None => None,
        };
        let Some((epoch, stream)) = stream else {
            idle += 1;
            if idle > RETRIES_MAX {
                return Err(Error::Nothing(format!(
                    "no live picture of {name}: no epoch is running; see `peri health`"
                )));
            }
            std::thread::sleep(RETRY);
            continue;
        };
        (idle, last) = (0, Some(epoch));
        let past = stream.length();
        let expected = Expected { device: &device, vm, camera: id, epoch };
        let mut opened = Opened::start(stream, &expected, &who, &keys, true)?;
        let live = match &mut live {
            Some(live) => live,
            none => none.insert(begin()?),
        };
        match live.follow(&mut opened, epoch, past) {
            Ok(true) => {}
            Ok(false) => break "as long as asked for",
            Err(Error::File { source, .. } | Error::Output(source)) if source.kind() == io::ErrorKind::BrokenPipe => {
                break "the player is gone";
            }
            Err(Error::File { source, .. }) => return Err(failed(source)),
            Err(error) => return Err(error),
        }
    };
    let live = live.expect("the loop ends only after it followed a stream");
    let (first, fragments) = (live.first, live.fragments);
    match live.joiner.finish() {
        Ok(_) => {}
        Err(JoinError::Write(source)) if source.kind() == io::ErrorKind::BrokenPipe => {}
        Err(JoinError::Write(source)) => return Err(failed(source)),
        Err(error) => return Err(write_error(error)),
    }
    if to_stdout {
        return Ok(Report::silent());
    }
    let first = first.map_or_else(String::new, |first| first.to_string());
    let document = json!({
        "file": args.output, "camera": name, "starts": first, "fragments": fragments, "ended": ended
    });
    Ok(Report::new(format!("{}: {name} from {first}, {fragments} fragments", args.output.display()), document))
}

/// A running view.
struct Live {
    joiner: Joiner<File>,
    cutter: Cutter,
    length: Option<Duration>,
    first: Option<UtcNanos>,
    fragments: u64,
}

impl Live {
    /// Follows one epoch to its end; `past` bytes of it were there already. False when it was long enough.
    fn follow<R: io::Read>(&mut self, opened: &mut Opened<R>, epoch: EpochNo, past: u64) -> Result<bool, Error> {
        loop {
            let at = opened.position();
            let Some((header, payload)) = opened.next_fragment()? else { return Ok(true) };
            // Once all that had been recorded before we came is read, this fragment is the present.
            if !self.cutter.started() && at + header.total_len() as u64 >= past {
                self.cutter.start_at(header.start);
            }
            let (joiner, first, fragments) = (&mut self.joiner, &mut self.first, &mut self.fragments);
            let mut end = None;
            self.cutter.push(epoch, &header, payload, &mut |part| {
                match part {
                    Part::Init(init) => joiner.init(init),
                    Part::Media(media, at) => {
                        end = Some(at.saturating_since(*first.get_or_insert(at)));
                        *fragments += 1;
                        joiner.media(media, at)
                    }
                }
                .map_err(write_error)
            })?;
            if self.length.is_some_and(|length| end.is_some_and(|end| end >= length)) {
                return Ok(false);
            }
        }
    }
}

fn write_error(error: JoinError) -> Error {
    match error {
        JoinError::Write(source) => Error::Output(source),
        other => Error::Verification(other.to_string()),
    }
}
