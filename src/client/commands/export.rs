//! `peri export`: a span of one camera as an .mp4 file, with an account of what is missing in it.

use crate::commands::find;
use crate::context::{Context, Session};
use crate::exit::Error;
use crate::files::Draft;
use crate::footage::{self, Cutter, Expected, FootageError, Membership, Opened, Part, Plan};
use crate::times::{self, TIME_HELP};
use crate::ui::{Progress, Report};
use crate::vault::KeyKind;
use clap::Args;
use peri_access::wire::{CoverageKind, FetchBody, OPEN_EPOCHS_MAX, SegmentInfo, SpanBody};
use peri_domain::{Action, CameraId, Role, UtcNanos};
use peri_media::mp4join::{Entry, Gaps, JoinError, Joiner};
use peri_seal::keys::KeyPair;
use serde_json::{Value, json};
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Longest purpose, as the protocol has it.
const PURPOSE_MAX: usize = 400;

/// Lost time below this is rounding between two fragments.
const GAP_NANOS_MIN: i64 = 1_000_000;

/// `peri export`
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Name or id of the camera
    camera: String,
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, help = format!("Start: {TIME_HELP}"))]
    from: String,
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, help = format!("End: {TIME_HELP}"))]
    to: String,
    /// The .mp4 file; replaced only when the export is complete
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Why; goes into the ledger, where auditors read it
    #[arg(long, value_name = "TEXT", default_value = "")]
    purpose: String,
    /// Leave out the time in which nothing was recorded instead of letting the picture stand still
    #[arg(long)]
    close_gaps: bool,
    /// Parameter sets in band (avc3), for spans in which the camera's picture format changes; fewer players know it
    #[arg(long)]
    in_band: bool,
}

/// What has been written so far.
#[derive(Default)]
struct Tally {
    first: Option<UtcNanos>,
    fragments: u64,
    sealed_bytes: u64,
    /// Segments that end without their last fragment and are not being written.
    cut: Vec<u64>,
    /// Epochs that hold nothing for our key.
    closed: Vec<u64>,
}

/// Runs the command.
///
/// # Errors
/// [`Error`]; the output file is untouched then.
pub fn run(args: &ExportArgs, context: &mut Context) -> Result<Report, Error> {
    if args.purpose.len() > PURPOSE_MAX {
        return Err(Error::Usage(format!("the purpose is longer than {PURPOSE_MAX} bytes")));
    }
    let (from, until) = times::parse_span(&args.from, &args.to, context.now())?;
    let mut session = context.session()?;
    let who = context.requester(|file| {
        matches!(file.kind, KeyKind::Account { role: Role::Viewer | Role::External | Role::Technician, .. })
    })?;
    let known = session.roster(context, &who)?;
    let camera = find::camera(&known.roster, &args.camera)?;
    let (id, name) = (camera.id, camera.setup.name.clone());
    let plan = footage::plan(&mut session, &who, SpanBody { camera: id, from, until, action: Action::Export })?;
    if plan.segments.is_empty() {
        return Err(Error::Nothing(format!(
            "nothing is recorded of {name} between {from} and {until}{}",
            in_words(&missing(&plan, from, until))
        )));
    }
    let draft = Draft::create(&args.output, 0o600)?;
    let mut progress = context.ui.progress("export", millis(from, until));
    let gaps = if args.close_gaps { Gaps::Close } else { Gaps::Keep };
    let entry = if args.in_band { Entry::Avc3 } else { Entry::Avc1 };
    let mut export = Export {
        joiner: Joiner::new(BufWriter::with_capacity(1 << 20, draft.writer()?), gaps, entry),
        cutter: Cutter::new(from, until),
        tally: Tally::default(),
        posts: footage::memberships(&who, &known.roster),
        path: &args.output,
        from,
    };
    for batch in plan.segments.chunks(OPEN_EPOCHS_MAX) {
        if !export.batch(&mut session, &who, id, batch, &args.purpose, &mut progress)? {
            break;
        }
    }
    let Export { joiner, cutter, tally, .. } = export;
    joiner.finish().map_err(|error| join_error(error, &args.output))?;
    progress.finish();
    let Some(first) = tally.first else {
        return Err(match tally.closed.first() {
            Some(epoch) => {
                Error::Footage(FootageError::NotEntitled { epoch: peri_domain::EpochNo(*epoch), starts: from })
            }
            None => Error::Nothing(format!(
                "no key picture of {name} between {from} and {until}; take a longer span{}",
                in_words(&missing(&plan, from, until))
            )),
        });
    };
    draft.commit()?;
    Ok(report(args, &plan, &tally, &cutter, (from, until, first), &name))
}

/// A running export.
struct Export<'a> {
    joiner: Joiner<BufWriter<File>>,
    cutter: Cutter,
    tally: Tally,
    posts: Rc<[Membership]>,
    path: &'a Path,
    from: UtcNanos,
}

impl Export<'_> {
    /// Keys and pictures of up to 24 epochs. False when the span is over.
    fn batch(
        &mut self,
        session: &mut Session,
        who: &KeyPair,
        camera: CameraId,
        batch: &[SegmentInfo],
        purpose: &str,
        progress: &mut Progress,
    ) -> Result<bool, Error> {
        let epochs = batch.iter().map(|segment| segment.epoch).collect();
        let keys = footage::open_keys(session, who, &footage::open_body(camera, epochs, Action::Export, purpose))?
            .with_posts(&self.posts);
        let vm = session.vm();
        let device = session.profile.identity.device.clone();
        for segment in batch {
            let epoch = segment.epoch;
            let body = FetchBody { camera, epoch, offset: 0, length: None, follow: false, action: Action::Export };
            let stream = session.conn.fetch(vm, &body, who)?;
            let expected = Expected { device: &device, vm, camera, epoch };
            let opened = Opened::start(stream, &expected, who, &keys, segment.running);
            if let Err(Error::Footage(FootageError::NotEntitled { .. } | FootageError::Erased { .. })) = &opened {
                drop(opened);
                self.tally.closed.push(epoch.0);
                // The rest of the stream is on its way and of no use.
                session.reconnect()?;
                continue;
            }
            let mut opened = opened?;
            let mut on = true;
            while on && let Some((header, payload)) = opened.next_fragment()? {
                let (joiner, tally, path) = (&mut self.joiner, &mut self.tally, self.path);
                on = self.cutter.push(epoch, &header, payload, &mut |part| {
                    match part {
                        Part::Init(init) => joiner.init(init),
                        Part::Media(media, at) => {
                            tally.first.get_or_insert(at);
                            tally.fragments += 1;
                            joiner.media(media, at)
                        }
                    }
                    .map_err(|error| join_error(error, path))
                })?;
                progress.set(millis(self.from, header.start), self.tally.sealed_bytes + opened.position());
            }
            self.tally.sealed_bytes += opened.position();
            if on && !opened.complete() && !segment.running {
                self.tally.cut.push(epoch.0);
            }
            if !on {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn join_error(error: JoinError, path: &Path) -> Error {
    match error {
        JoinError::Write(source) => Error::File { what: "cannot write", path: path.to_owned(), source },
        JoinError::ParametersChanged { .. } => Error::Usage(format!("{error}; the option is --in-band")),
        other => Error::Verification(other.to_string()),
    }
}

fn report(
    args: &ExportArgs,
    plan: &Plan,
    tally: &Tally,
    cutter: &Cutter,
    (from, until, first): (UtcNanos, UtcNanos, UtcNanos),
    name: &str,
) -> Report {
    let gaps = missing(plan, from, until);
    let document = json!({
        "file": args.output,
        "camera": name,
        "from": from.to_string(),
        "until": until.to_string(),
        "starts": first.to_string(),
        "fragments": tally.fragments,
        "sealed_bytes": tally.sealed_bytes,
        "gaps": gaps,
        "cut_epochs": tally.cut,
        "closed_epochs": tally.closed,
        "skipped_fragments": cutter.skipped(),
    });
    let mut text = format!("{}: {name} from {first} to {until}, {} fragments", args.output.display(), tally.fragments);
    text.push_str(&in_words(&gaps));
    for (epochs, what) in [
        (&tally.cut, "ends without its last fragment: a power cut, or somebody cut it (the ledger tells which)"),
        (&tally.closed, "is erased, or not sealed to this key: left out"),
    ] {
        epochs.iter().for_each(|epoch| text.push_str(&format!("\n  epoch {epoch} {what}")));
    }
    Report::new(text, document)
}

/// What of the span is not there, and why.
fn missing(plan: &Plan, from: UtcNanos, until: UtcNanos) -> Vec<Value> {
    plan.coverage
        .iter()
        .filter(|span| span.kind != CoverageKind::Recorded)
        .map(|span| (span, span.from.max(from), span.until.min(until)))
        .filter(|(_, start, end)| end.0 - start.0 >= GAP_NANOS_MIN)
        .map(|(span, start, end)| {
            let kind = match span.kind {
                CoverageKind::Recorded => "recorded",
                CoverageKind::Lost => "lost",
                CoverageKind::Paused => "paused",
                CoverageKind::Erased => "erased",
            };
            json!({ "from": start.to_string(), "until": end.to_string(), "kind": kind, "cause": span.cause })
        })
        .collect()
}

fn in_words(gaps: &[Value]) -> String {
    let text = |gap: &Value, key: &str| gap[key].as_str().unwrap_or_default().to_owned();
    gaps.iter()
        .map(|gap| {
            let cause = text(gap, "cause");
            let cause = if cause.is_empty() { cause } else { format!(" ({cause})") };
            format!("\n  {} from {} to {}{cause}", text(gap, "kind"), text(gap, "from"), text(gap, "until"))
        })
        .collect()
}

fn millis(from: UtcNanos, until: UtcNanos) -> u64 {
    u64::try_from(until.saturating_since(from).as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use peri_access::wire::CoverageSpan;

    #[test]
    fn gaps_are_clipped_to_the_span_and_named() {
        let span = |from, until, kind, cause: &str| CoverageSpan {
            from: UtcNanos::from_secs(from),
            until: UtcNanos::from_secs(until),
            kind,
            cause: cause.into(),
        };
        let plan = Plan {
            segments: vec![],
            coverage: vec![
                span(0, 10, CoverageKind::Lost, "camera unreachable"),
                span(10, 20, CoverageKind::Recorded, ""),
                span(20, 40, CoverageKind::Erased, ""),
                span(40, 50, CoverageKind::Lost, "outside"),
            ],
        };
        let gaps = missing(&plan, UtcNanos::from_secs(5), UtcNanos::from_secs(30));
        assert_eq!(
            in_words(&gaps),
            "\n  lost from 1970-01-01T00:00:05.000Z to 1970-01-01T00:00:10.000Z (camera unreachable)\
             \n  erased from 1970-01-01T00:00:20.000Z to 1970-01-01T00:00:30.000Z"
        );
    }
}
