//! `peri-appliance fsck`: the offline checks, with the appliance stopped. Runs as whoever may read everything (root).
//!
//! It starts the private cluster for itself where one is configured, and stops it again; for that time `pg_ident.conf` lets
//! root in. Nothing else is changed, and nothing made that root would own, unless `--repair` asks for it: then rows and
//! files of erased segments are. Key files and roots are only read.

use crate::config::Config;
use anyhow::{Context as _, bail};
use peri_domain::{Hash, UtcNanos, VmId};
use peri_ledger::{Entry, EntryType, Ledger, origin_of};
use peri_roster::{Anchor, Body, RosterSet, Statement};
use peri_sandbox::clock::{Clock, SystemClock};
use peri_sandbox::durable::Dir;
use peri_seal::record::EpochRecord;
use peri_store::db::Db;
use peri_store::fsck::{self, IndexView as _, erased};
use peri_store::retention::{Rules, SegmentState};
use peri_store::root::tpm::TpmNv;
use peri_store::schema::Endpoint;
use peri_store::segments::{SegmentKey, SegmentStore};
use peri_store::xfile::disk::DiskKeys;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What the checks say.
pub(crate) struct Outcome {
    report: fsck::Report,
    erased: Option<Erased>,
}

struct Erased {
    suspects: usize,
    /// X that the search of the key files met: that it sees any at all.
    seen: usize,
    candidates: u64,
    bytes: u64,
    places: Vec<String>,
    found: Vec<String>,
    /// What could hold an X and could not be read from here; while there is any, nothing is proved.
    unsearched: Vec<String>,
    proved: bool,
}

impl Erased {
    const fn verdict(&self) -> &'static str {
        if !self.found.is_empty() {
            "erasure NOT proved"
        } else if self.suspects == 0 {
            "nothing is past retention yet"
        } else if !self.proved {
            "erasure not proved, because not everything could be searched"
        } else {
            "erasure proved"
        }
    }
}

impl Outcome {
    /// Whether nothing is damaged, nothing that should be gone was found, and a proof that was asked for was given.
    pub(crate) fn is_good(&self) -> bool {
        let shown = |erased: &Erased| erased.found.is_empty() && (erased.proved || erased.suspects == 0);
        self.report.is_clean() && self.erased.as_ref().is_none_or(shown)
    }

    pub(crate) fn to_text(&self) -> String {
        let mut lines = vec![format!("{} segments, {} good bytes", self.report.segments, self.report.good_bytes)];
        lines.extend(self.report.repaired.iter().map(|problem| format!("repaired: {problem}")));
        lines.extend(self.report.problems.iter().map(ToString::to_string));
        if let Some(erased) = &self.erased {
            lines.push(format!(
                "erasure: {} epochs are erased or past retention; {} values in {} bytes at {} places tested against their \
                 commitments, {} X of other epochs seen by the same search",
                erased.suspects,
                erased.candidates,
                erased.bytes,
                erased.places.len(),
                erased.seen
            ));
            lines.extend(erased.found.iter().map(|found| format!("NOT ERASED: {found}")));
            lines.extend(erased.unsearched.iter().map(|place| format!("not searched: {place}")));
            lines.push(erased.verdict().into());
        }
        lines.push(if self.is_good() { "clean".into() } else { "not clean".into() });
        lines.join("\n")
    }

    pub(crate) fn to_json(&self) -> String {
        let erased = self.erased.as_ref().map(|erased| {
            serde_json::json!({
                "suspects": erased.suspects,
                "candidates": erased.candidates,
                "bytes": erased.bytes,
                "places": erased.places,
                "found": erased.found,
                "unsearched": erased.unsearched,
                "living": erased.seen,
                "proved": erased.proved,
                "verdict": erased.verdict(),
            })
        });
        serde_json::json!({
            "segments": self.report.segments,
            "good_bytes": self.report.good_bytes,
            "problems": self.report.problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "repaired": self.report.repaired.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "erased": erased,
            "clean": self.is_good(),
        })
        .to_string()
    }
}

/// Runs the checks.
pub(crate) fn run(config: &Config, repair: bool, prove_erased: bool) -> anyhow::Result<Outcome> {
    if UnixStream::connect(config.run.join("portal.sock")).is_ok() {
        bail!("the appliance is running; stop it first, because a file that grows cannot be checked");
    }
    let _cluster = Cluster::start(config)?;
    let socket_dir = config.database.socket_dir.clone().unwrap_or_else(|| config.run.join("postgres"));
    let vm = crate::keeper::vm_of(&Dir::open(&config.data.join("keeper"))?)?;
    let mut db =
        Db::new(Endpoint { role: "postgres".into(), ..Endpoint::scribe(&socket_dir) }, &origin_of(vm), SystemClock);
    let store = SegmentStore::open(&Dir::open(&config.data.join("store"))?)?;
    let report = fsck::fsck(&store, &mut db, repair)?;
    let erased = prove_erased.then(|| hunt(config, &mut db, &socket_dir, vm)).transpose()?;
    Ok(Outcome { report, erased })
}

/// Tests everything that could be an X against the commitments of every epoch past retention.
fn hunt(config: &Config, db: &mut Db, socket_dir: &Path, vm: VmId) -> anyhow::Result<Erased> {
    let suspects = suspects(config, db, vm)?;
    let mut hunt = erased::Hunt::new(&suspects);
    let keys = Dir::open(&config.data.join("scribe"))?.open_dir("x")?;
    let connection = crate::supervisor::connect_tpm(&config.root_store.tpm)?;
    let state = config.root_store.state.as_deref().map(|path| fs::File::open(path).map(Into::into)).transpose()?;
    let seen = hunt.key_files(&DiskKeys::new(keys), &mut TpmNv::open(connection, state)?)?;
    // Sealed bytes are video, not keys, and terabytes of it; everything else is read.
    let segments = config.data.join("store");
    hunt.tree(&config.data, &|path| path.starts_with(&segments))?;
    let mut dump = Command::new(config.postgres_dir().join("pg_dumpall"))
        .arg("--host")
        .arg(socket_dir)
        .args(["--username", "postgres", "--no-role-passwords"])
        .stdout(Stdio::piped())
        .stdin(Stdio::null())
        .spawn()
        .context("cannot run pg_dumpall")?;
    let output = dump.stdout.take().context("pg_dumpall has no output")?;
    hunt.bytes("dump of every database", output)?;
    if !dump.wait()?.success() {
        bail!("pg_dumpall failed; the proof would be incomplete");
    }
    let foreign = config.database.socket_dir.as_ref().map(|dir| {
        format!(
            "files and WAL of the foreign cluster that listens in {}; where it lies, its administrator must search them",
            dir.display()
        )
    });
    let unsearched: Vec<String> = foreign.into_iter().collect();
    Ok(Erased {
        suspects: hunt.suspects(),
        seen: seen.saturating_sub(hunt.found.iter().filter(|found| found.place == "X key file").count()),
        candidates: hunt.candidates,
        bytes: hunt.bytes,
        places: hunt.places.clone(),
        found: hunt
            .found
            .iter()
            .map(|found| format!("X of camera {}, epoch {} in {}", found.key.0, found.key.1, found.place))
            .collect(),
        proved: hunt.is_proved() && hunt.suspects() > 0 && unsearched.is_empty(),
        unsearched,
    })
}

/// Epochs whose X must be gone: what a row calls erased, and what is past retention by its row or, where the rows were
/// changed, by the epoch record in the ledger.
fn suspects(config: &Config, db: &mut Db, vm: VmId) -> anyhow::Result<Vec<(SegmentKey, Hash)>> {
    let now = SystemClock.utc();
    let rules = Rules { retention: retention(config, db, vm, now)?, per_camera: BTreeMap::new() };
    let grace = erased::GRACE
        .min(Duration::from_secs(u64::from(config.timing.rekey_secs) + u64::from(config.timing.epoch_secs)));
    let rows = db.rows()?;
    let mut suspects = erased::overdue_after(&rows, now, &rules, &[], grace);
    let gone = rows.iter().filter(|row| row.state == SegmentState::Erased);
    suspects.extend(gone.map(|row| (row.key, row.commit_x)));
    let mut next = 0;
    loop {
        let entries = db.ledger_range(Ledger::Technical, next)?;
        if entries.is_empty() {
            break;
        }
        for (leaf, bytes) in entries {
            let entry = Entry::from_bytes(&bytes)?;
            next = entry.ledger_seq + 1;
            if entry.kind != EntryType::EpochOpened {
                continue;
            }
            for (_, detail) in db.details(leaf)? {
                let Ok(opened) = minicbor::decode::<crate::scribe::EpochDetail>(&detail.cbor) else { continue };
                let Ok(record) = EpochRecord::from_bytes(&opened.record) else { continue };
                let context = record.context;
                if context.ends + rules.of(context.camera) + grace <= now {
                    suspects.push(((context.camera, context.epoch), context.commit_x));
                }
            }
        }
    }
    suspects.sort_unstable();
    suspects.dedup();
    Ok(suspects)
}

/// The retention that scribe goes by: the roster's, shortened by the configuration. The roster is the database's copy,
/// verified from the claim key of the order up; only statements of keeper's own device count.
fn retention(config: &Config, db: &mut Db, vm: VmId, now: UtcNanos) -> anyhow::Result<Duration> {
    let ordered = fs::read(&config.provisioning).context("cannot read the provisioning data")?;
    let claim_key = peri_roster::Provisioning::from_bytes(&ordered)?.claim_key.fingerprint();
    let provisioning = peri_seal::digest::hash("provisioning", &[&ordered]);
    let statements = db.statements()?;
    let genesis =
        statements.iter().find_map(|bytes| match Statement::from_bytes(bytes).ok()?.proposal().body.clone() {
            Body::Genesis(genesis) if genesis.claim_key.fingerprint() == claim_key => Some(genesis),
            _ => None,
        });
    let decided = genesis.map_or(peri_domain::limits::RETENTION_DEFAULT, |genesis| {
        let anchor = Anchor { vm, claim_key, provisioning, device: genesis.device.fingerprint() };
        // What does not verify changes nothing, as at keeper.
        RosterSet::read(anchor, &statements).set.verify(now).retention()
    });
    Ok(crate::scribe::retention_in_force(Duration::from_secs(config.timing.retention_secs.into()), decided))
}

/// The private cluster while the checks run.
struct Cluster {
    server: Option<Child>,
    ident: Option<(PathBuf, String)>,
}

impl Cluster {
    fn start(config: &Config) -> anyhow::Result<Self> {
        if config.database.socket_dir.is_some() {
            return Ok(Self { server: None, ident: None });
        }
        use std::os::unix::process::CommandExt as _;
        let data = config.data.join("postgres/data");
        // root comes in as superuser for the time of the checks; the supervisor writes the file anew at each start.
        let ident_path = data.join("pg_ident.conf");
        let ident = fs::read_to_string(&ident_path)?;
        fs::write(&ident_path, format!("{ident}peri root postgres\n"))?;
        let run = config.run.join("postgres");
        let mut command = Command::new(config.postgres_dir().join("postgres"));
        command.arg("-D").arg(&data).arg("-k").arg(&run).args(["-c", "listen_addresses="]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).env_clear().current_dir("/");
        if let Some(user) = nix::unistd::User::from_name(&config.users.postgres)?
            && nix::unistd::Uid::effective().is_root()
        {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        let server = command.spawn().context("cannot start the database")?;
        let cluster = Self { server: Some(server), ident: Some((ident_path, ident)) };
        let superuser = Endpoint::superuser(&run);
        for _ in 0..600 {
            if superuser.connect().is_ok() {
                return Ok(cluster);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        bail!("the database does not start; see {}", config.data.join("postgres/log").display())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some((path, text)) = self.ident.take() {
            let _ = fs::write(path, text);
        }
        if let Some(mut server) = self.server.take() {
            if let Ok(pid) = i32::try_from(server.id()) {
                let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGINT);
            }
            let _ = server.wait();
        }
    }
}
