//! What recording costs: CPU and memory beside FFmpeg's, what a kill loses, how many cameras a core carries.
//!
//! The replayer's own CPU is not counted; both sides get the same bytes from it. What does not belong: the machinery of
//! the replayer and of the appliance.

use crate::replay::{FPS, PASSWORD, Replayer, USER, material};
use crate::site::Site;
use crate::support::{Dir, guard::Guarded, now, root, secs};
use crate::{Goal, Measure, meter};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Cameras of the comparison.
const CAMERAS: usize = 10;
/// Sessions are set up, first keys and files made: this is before the steady state.
const SETTLE: Duration = Duration::from_secs(10);
/// Length of the steady state that is compared.
const SPAN: Duration = Duration::from_secs(60);
/// Steps of cameras on one core, each measured for [`STEP_SPAN`]; an appliance has at most 512.
const STEPS: [usize; 4] = [100, 250, 400, 500];
/// See [`STEPS`].
const STEP_SPAN: Duration = Duration::from_secs(15);

/// The comparison's appliance with its cameras.
pub(crate) struct Bench {
    site: Site,
    replayer: Replayer,
}

fn replayer(whole: bool) -> Replayer {
    Replayer::start(&material(&root().join("target/footage")).expect("FFmpeg and the footage of scripts/setup"), whole)
}

impl Bench {
    /// Ten cameras record.
    pub(crate) fn start() -> Self {
        let replayer = replayer(false);
        let mut site = Site::start(None);
        site.record(CAMERAS, &replayer);
        Self { site, replayer }
    }

    /// `record.cpu_per_camera_hour`; and ours in seconds, for what is measured against it. FFmpeg runs at the same time
    /// from the same source, so that both find the machine in the same state.
    pub(crate) fn cpu(&mut self, compare: bool) -> (Vec<Measure>, f64) {
        let dir = Dir::new("ffmpeg");
        let others: Vec<Guarded> = (0..if compare { CAMERAS } else { 0 })
            .map(|number| {
                let url =
                    self.replayer.url(&format!("ffmpeg{number}")).replace("://", &format!("://{USER}:{PASSWORD}@"));
                let mut command = Command::new("ffmpeg");
                command.args(["-v", "error", "-nostdin", "-rtsp_transport", "tcp", "-i", &url, "-c", "copy"]);
                command.args(["-movflags", "frag_keyframe+empty_moov", "-f", "mp4"]);
                command.arg(dir.join(format!("{number}.mp4"))).stdin(Stdio::null());
                Guarded::spawn(&mut command)
            })
            .collect();
        let mut roots = vec![self.site.appliance.pid()];
        roots.extend(others.iter().map(Guarded::id));
        std::thread::sleep(SETTLE);
        self.replayer.stats();
        let (mut shares, passed) = meter::cpu_during(&roots, SPAN);
        let stats = self.replayer.stats();
        let hours = CAMERAS as f64 * passed.as_secs_f64() / 3600.0;
        let baseline = shares.remove("ffmpeg").map(|cpu| cpu / hours);
        let ours = shares.values().sum::<f64>() / hours;
        let mut note = format!("{CAMERAS} cameras, {:.0} s; per camera-hour:", passed.as_secs_f64());
        for (role, cpu) in &shares {
            note.push_str(&format!(" {role} {:.2}", cpu / hours));
        }
        note.push_str(&sound(&stats));
        let pss = others.iter().filter_map(|other| meter::pss(other.id())).sum::<f64>() / CAMERAS as f64;
        note.push_str(&format!(
            "\nbaseline: {CAMERAS} x ffmpeg -c copy to fMP4 at the same time, PSS {pss:.1} MiB each"
        ));
        let measure = Measure {
            name: "record.cpu_per_camera_hour".into(),
            value: ours,
            unit: "s",
            baseline,
            goal: Some(Goal::RatioAtMost(0.5)),
            note,
        };
        (if compare { vec![measure] } else { vec![] }, ours)
    }

    /// `record.pss_per_camera`: of a recorder, the mean.
    pub(crate) fn memory(&mut self) -> Vec<Measure> {
        let sizes: Vec<f64> = self.site.appliance.role_pids("recorder").into_iter().filter_map(meter::pss).collect();
        let most = sizes.iter().copied().fold(0.0, f64::max);
        vec![Measure {
            name: "record.pss_per_camera".into(),
            value: sizes.iter().sum::<f64>() / sizes.len() as f64,
            unit: "MiB",
            baseline: None,
            goal: Some(Goal::ValueAtMost(4.0)),
            note: format!("{} recorders, the largest {most:.2} MiB", sizes.len()),
        }]
    }

    /// `crash.lost_ms`: every recorder is killed; the longest hole in one camera's export.
    pub(crate) fn crash(&mut self) -> Vec<Measure> {
        let camera = "camera0";
        let appliance = &self.site.appliance;
        // Killed twice, so that two places in the group of pictures are hit.
        let mut kills = Vec::new();
        let from = now();
        for _ in 0..2 {
            let since = now() + Duration::from_millis(2_700);
            appliance.wait_recorded(camera, since);
            kills.push(now());
            appliance.kill_role("recorder", Signal::SIGKILL);
        }
        let back = now();
        appliance.wait_recorded(camera, back + secs(4));
        let file = appliance
            .home
            .export("guard", camera, from, back + secs(4))
            .unwrap_or_else(|(code, error)| panic!("export: exit {code}: {error}"));
        let times = picture_times(&file);
        let step = 1_000.0 / f64::from(FPS);
        let mut holes: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]) * 1e3 - step).collect();
        holes.sort_by(f64::total_cmp);
        let found: Vec<f64> = holes.iter().rev().take(kills.len()).copied().collect();
        vec![Measure {
            name: "crash.lost_ms".into(),
            value: found.iter().copied().fold(0.0, f64::max),
            unit: "ms",
            baseline: None,
            goal: None,
            note: format!(
                "kill -9 of all {CAMERAS} recorders, twice: {} pictures of camera0 exported, holes {}; a hole runs from the last \
                 picture on disk to the first after the restart",
                times.len(),
                found.iter().map(|hole| format!("{hole:.0} ms")).collect::<Vec<_>>().join(" and ")
            ),
        }]
    }
}

/// Decode times of all pictures of a file, in seconds.
fn picture_times(file: &std::path::Path) -> Vec<f64> {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", "v", "-show_entries", "packet=dts_time", "-of", "csv=p=0"])
        .arg(file)
        .output()
        .expect("ffprobe");
    String::from_utf8_lossy(&output.stdout).lines().filter_map(|l| l.trim_end_matches(',').parse().ok()).collect()
}

/// Words about the replayer where it was not up to it.
fn sound(stats: &Value) -> String {
    let (dropped, late) = (stats["dropped"].as_u64().unwrap_or(0), stats["late_ms"].as_f64().unwrap_or(0.0));
    format!("\nreplayer: {} pictures sent, {dropped} not taken, at most {late:.0} ms late", stats["sent"])
}

/// `record.cameras_per_core`: the appliance on core 0, replayer on the last one, more and more cameras until pictures
/// are lost or the core is full.
pub(crate) fn cameras_per_core() -> Vec<Measure> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut replayer = replayer(true);
    pin(replayer.id(), cores - 1);
    let mut site = Site::start(Some(0));
    let (mut carried, mut note) = (0, String::new());
    let mut limit = format!("not reached; {} is the largest number tried", STEPS[STEPS.len() - 1]);
    for count in STEPS {
        site.record(count, &replayer);
        // Setting up cameras costs CPU, too: begin when that is over and every account is current.
        std::thread::sleep(secs(3));
        replayer.stats();
        let disk = written(site.appliance.pid());
        let (shares, passed) = meter::cpu_during(&[site.appliance.pid()], STEP_SPAN);
        let stats = replayer.stats();
        let disk = (written(site.appliance.pid()) - disk) / passed.as_secs_f64() / 1e6;
        let share = shares.values().sum::<f64>() / passed.as_secs_f64();
        let dropped = stats["dropped"].as_u64().unwrap_or(0);
        let late = stats["late_ms"].as_f64().unwrap_or(0.0);
        let lost = count.saturating_sub(stats["viewers"].as_u64().unwrap_or(0) as usize);
        note.push_str(&format!(
            "{count} cameras: {:.0} % of the core (recorders {:.0} %), {disk:.0} MB/s written, {dropped} pictures not \
             taken, {lost} connections lost, replayer at most {late:.0} ms late\n",
            share * 100.0,
            shares.get("recorder").copied().unwrap_or(0.0) / passed.as_secs_f64() * 100.0,
        ));
        if dropped > 0 || lost > 0 {
            limit = if late > 500.0 {
                format!("the replayer, at {count}")
            } else if share > 0.9 {
                format!("the core, at {count}")
            } else {
                format!("the disk ({disk:.0} MB/s), at {count}")
            };
            break;
        }
        carried = count;
    }
    vec![Measure {
        name: "record.cameras_per_core".into(),
        value: carried as f64,
        unit: "",
        baseline: None,
        goal: Some(Goal::ValueAtLeast(250.0)),
        note: format!("{note}limit: {limit}"),
    }]
}

/// Bytes handed to the disk by a tree of processes.
fn written(root: u32) -> f64 {
    let of = |id: u32| {
        let text = std::fs::read_to_string(format!("/proc/{id}/io")).ok()?;
        text.lines().find_map(|line| line.strip_prefix("write_bytes: "))?.parse::<f64>().ok()
    };
    meter::tree(root).into_iter().filter_map(of).sum()
}

fn pin(id: u32, core: usize) {
    let mut set = nix::sched::CpuSet::new();
    let pinned =
        set.set(core).and_then(|()| nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(id.cast_signed()), &set));
    pinned.expect("the core is there");
}
