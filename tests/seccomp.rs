//! The walls of the roles, tried from inside and read from outside: attacks behind the filter and the Landlock rules of
//! production, in the shipped binary and beside a running appliance; the state of every process of it, what the roles
//! really call, and what happens to a role that breaks a wall.
//!
//! What does not belong: single rules (`src/sandbox` runs each with allowed and mutated arguments), secrets
//! (`hunt.rs`).

mod support;
mod trace;
mod walls;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use peri_sandbox::probe::{ATTACKS, Outcome, Wall, attempt_without_walls};
use peri_sandbox::seccomp::{Role, table};
use peri_sandbox::spawn::Exit;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use support::guard::Guarded;
use support::{AppConfig, Appliance, Camera, CameraOptions, CameraSpec, Dir, now, processes, quick, secs, wait_for};
use walls::{NEEDED, REAL, forbidden_call, probe};

#[test]
fn every_attack_from_inside_every_role_is_killed_or_refused() {
    let known: Vec<_> = ATTACKS.iter().map(|attack| attack.name).collect();
    for name in NEEDED {
        assert!(known.contains(&name), "the attack {name} is missing from the table");
    }
    // Its directories, sockets and processes are what the attacks reach for; its configuration decides the walls.
    let appliance = Appliance::start(AppConfig { recorder_first: 60_500, ..AppConfig::default() });
    let config = appliance.config_file();
    let mut faults = Vec::new();
    for role in Role::ALL {
        // The control that a probe lives up to its attack: without one it says so, behind the same walls.
        let idle = probe(role, "nothing", &config);
        let said = String::from_utf8_lossy(&idle.stderr).into_owned();
        assert!(idle.status.code() == Some(1) && said.contains("there is no attack nothing"), "{role}: {idle:?}");
        for attack in ATTACKS {
            let output = probe(role, attack.name, &config);
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let killed = output.status.signal() == Some(nix::libc::SIGSYS);
            // What is not there refuses nothing.
            let refused = output.status.success() && said.starts_with("Refused(") && !said.contains("ENOENT");
            let succeeded = output.status.success() && said.starts_with("Succeeded");
            // Who is root already becomes nothing new; it has no capability that root would bring.
            let moot = role == Role::Supervisor && attack.name == "become-root";
            let permitted = moot || attack.permitted.iter().any(|(who, _)| *who == role);
            let stopped = match attack.wall {
                Wall::Seccomp => killed,
                Wall::Refusal => killed || refused,
            };
            if permitted != succeeded || !(stopped || succeeded) {
                faults.push(format!("{role}, {}: {:?} {said:?}", attack.name, output.status));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn the_attacks_work_where_no_wall_stands() {
    let mut faults = Vec::new();
    for name in REAL {
        let outcome = attempt_without_walls(name).expect("a child can be had");
        // An exec that works ends as `true` does.
        let works = matches!(outcome, Outcome::Succeeded | Outcome::Unclear(Exit::Code(0)));
        if !works {
            faults.push(format!("{name}: {outcome:?}"));
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

// ----------------------------------------------------------------------------------------- a running appliance, read

/// Two cameras, one of them over TLS, a viewer with a grant, pictures coming in.
struct Site {
    appliance: Appliance,
    cameras: [Camera; 2],
}

impl Site {
    fn new(config: AppConfig) -> Self {
        Self::on(Appliance::start(config))
    }

    fn on(appliance: Appliance) -> Self {
        let since = now();
        let home = appliance.home.clone();
        home.found(&appliance);
        let cameras = [
            Camera::start(CameraOptions::default().mounts(&["footage"])),
            Camera::start(CameraOptions { tls: false, ..CameraOptions::default() }.mounts(&["clock"])),
        ];
        home.add_camera("footage", &cameras[0].url("footage"), &cameras[0].pin(), "cam", "secret1");
        let login = Some(("cam", "secret1"));
        let url = cameras[1].url("clock");
        home.camera(&CameraSpec { name: "clock", url: &url, pin: None, login, beside: None });
        home.grant("guard", "all", "live,playback,export");
        appliance.wait_recorded("footage", since);
        appliance.wait_recorded("clock", since);
        Self { appliance, cameras }
    }

    /// The one that the tests which only look, or only kill single roles, share.
    fn shared() -> MutexGuard<'static, Self> {
        static SITE: OnceLock<Mutex<Site>> = OnceLock::new();
        let config = || AppConfig { recorder_first: 61_000, epoch_secs: Some(20), ..AppConfig::default() };
        SITE.get_or_init(|| Mutex::new(Self::new(config()))).lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn one(&self, role: &str) -> u32 {
        let pids = self.appliance.role_pids(role);
        assert_eq!(pids.len(), 1, "{role}: {pids:?}");
        pids[0]
    }
}

/// Lines `Key:\tvalue` of `/proc/PID/status`.
fn status(pid: u32) -> BTreeMap<String, String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_else(|error| panic!("{pid}: {error}"));
    let line = |line: &str| line.split_once(':').map(|(key, value)| (key.to_owned(), value.trim().to_owned()));
    text.lines().filter_map(line).collect()
}

/// What descriptors point to.
fn descriptors(pid: u32) -> BTreeMap<u32, String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap_or_else(|error| panic!("{pid}: {error}"));
    let target = |entry: fs::DirEntry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        Some((number, fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned()))
    };
    entries.filter_map(Result::ok).filter_map(target).collect()
}

/// Inodes of all sockets of this network namespace: family, and whether it listens; for TCP also the remote port.
fn sockets() -> BTreeMap<String, (&'static str, bool, u16)> {
    let mut found = BTreeMap::new();
    for family in ["tcp", "tcp6", "udp", "udp6", "raw", "raw6", "icmp", "packet", "netlink", "unix"] {
        let Ok(table) = fs::read_to_string(format!("/proc/net/{family}")) else { continue };
        for line in table.lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (inode, listens, port) = match family {
                // Num RefCount Protocol Flags Type St Inode Path; __SO_ACCEPTCON is 0x10000.
                "unix" => (words[6], u32::from_str_radix(words[3], 16).is_ok_and(|flags| flags & 0x1_0000 != 0), 0),
                "packet" => (words[8], false, 0),
                "netlink" => (words[9], false, 0),
                // sl local remote st … inode; TCP_LISTEN is 0x0A.
                _ => {
                    let port = words[2].rsplit(':').next().and_then(|port| u16::from_str_radix(port, 16).ok());
                    (words[9], words[3] == "0A", port.unwrap_or(0))
                }
            };
            found.insert(inode.to_owned(), (family, listens, port));
        }
    }
    found
}

/// A process and everything below it.
fn descendants(pid: u32) -> Vec<u32> {
    let all = processes();
    let mut found = vec![pid];
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        found.extend(all.iter().filter(|(_, of, _)| *of == parent).map(|(pid, ..)| *pid));
        at += 1;
    }
    found
}

const ROLES: [&str; 5] = ["keeper", "scribe", "portal", "recorder", "postgres"];

#[test]
fn every_process_is_filtered_without_privileges_and_under_a_uid_of_its_own() {
    if quick() {
        return;
    }
    let site = Site::shared();
    let supervisor = site.appliance.pid();
    // CAP_KILL 5, CAP_SETGID 6, CAP_SETUID 7.
    const KEPT: u64 = 1 << 5 | 1 << 6 | 1 << 7;
    let set =
        |status: &BTreeMap<String, String>, name: &str| u64::from_str_radix(&status[name], 16).expect("hexadecimal");
    let mut owners = BTreeMap::new();
    let named = ROLES.iter().flat_map(|role| site.appliance.role_pids(role).into_iter().map(move |pid| (*role, pid)));
    let processes: Vec<(&str, u32)> = named.chain([("supervisor", supervisor)]).collect();
    assert_eq!(processes.len(), 7, "two recorders, one of each other: {processes:?}");
    for (role, pid) in &processes {
        let status = status(*pid);
        assert_eq!((status["Seccomp"].as_str(), status["NoNewPrivs"].as_str()), ("2", "1"), "{role}");
        let filters: u32 = status["Seccomp_filters"].parse().expect("a number");
        // Two of the envelope; each role has two of its own on top.
        assert_eq!(filters, if *role == "supervisor" { 2 } else { 4 }, "{role}");
        let kept = if *role == "supervisor" { KEPT } else { 0 };
        for name in ["CapEff", "CapPrm"] {
            assert_eq!(set(&status, name), kept, "{role}: {name}");
        }
        for name in ["CapInh", "CapAmb"] {
            assert_eq!(set(&status, name), 0, "{role}: {name}");
        }
        // Nobody but CAP_SETPCAP can empty the bounding set, which the supervisor gave up; it bounds nothing but execs,
        // which gain nothing under no_new_privs and SECBIT_NOROOT.
        assert_eq!(set(&status, "CapBnd") & !KEPT, 0, "{role}: CapBnd");
        let ids: BTreeSet<&str> = status["Uid"].split_whitespace().chain(status["Gid"].split_whitespace()).collect();
        assert_eq!(status["Groups"], "", "{role}: supplementary groups");
        let uid: u32 = status["Uid"].split_whitespace().next().and_then(|uid| uid.parse().ok()).expect("a uid");
        assert_eq!(uid == 0, *role == "supervisor", "{role} runs as {ids:?}");
        let uids: BTreeSet<&str> = status["Uid"].split_whitespace().collect();
        assert_eq!(uids.len(), 1, "{role}: real, effective, saved and file system uid are one: {ids:?}");
        assert_eq!(owners.insert(uid, (*role, *pid)), None, "{role} shares uid {uid}");
        // An undumpable process belongs to root in /proc: nobody of its uid reads its memory. (postgres becomes what it
        // is by an exec, which sets that back.)
        if *role != "postgres" {
            let owner = fs::metadata(format!("/proc/{pid}/mem")).expect("it runs").uid();
            assert_eq!(owner, 0, "{role}: its memory belongs to uid {owner}");
        }
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("it runs");
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit of core files");
        assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{role}: {core}");
    }
    let recorders: Vec<u32> = owners.iter().filter(|(_, (role, _))| *role == "recorder").map(|(uid, _)| *uid).collect();
    assert_eq!(recorders, [61_000, 61_001], "recorders have uids of the configured range");
    // Everybody below postgres stands behind its walls too.
    for pid in descendants(site.one("postgres")) {
        let status = status(pid);
        assert_eq!((status["Seccomp"].as_str(), set(&status, "CapEff")), ("2", 0), "child {pid} of postgres");
    }
}

#[test]
fn every_process_holds_only_descriptors_of_its_task() {
    if quick() {
        return;
    }
    let site = Site::shared();
    let data = site.appliance.data();
    let own_binary = support::appliance_program();
    let (log, socket) = (site.appliance.log_file(), site.appliance.socket());
    let mut faults = Vec::new();
    let mut looked_at = BTreeMap::new();
    let named = ROLES.iter().flat_map(|role| site.appliance.role_pids(role).into_iter().map(move |pid| (*role, pid)));
    let processes: Vec<(&str, u32)> = named.chain([("supervisor", site.appliance.pid())]).collect();
    let listening: BTreeSet<String> = fs::read_to_string("/proc/net/unix")
        .expect("the kernel lists unix sockets")
        .lines()
        .filter(|line| line.ends_with(socket.to_str().expect("UTF-8")))
        .filter_map(|line| line.split_whitespace().nth(6).map(str::to_owned))
        .collect();
    for (role, top) in processes {
        let pids = if role == "postgres" { descendants(top) } else { vec![top] };
        for pid in pids {
            let held = descriptors(pid);
            let sockets = sockets();
            let mut outside = 0;
            for (number, target) in held {
                *looked_at.entry(role).or_insert(0) += 1;
                let path = Path::new(&target);
                let within = |part: &str| path.starts_with(data.join(part));
                let directory = fs::metadata(format!("/proc/{pid}/fd/{number}")).is_ok_and(|held| held.is_dir());
                let expected = if let Some(inode) = target.strip_prefix("socket:[") {
                    let inode = inode.trim_end_matches(']');
                    // Channels are pairs without a name, which the kernel lists as unix sockets too.
                    match sockets.get(inode) {
                        Some(("unix", false, _)) => true,
                        Some(("unix", true, _)) => match role {
                            "portal" | "supervisor" => listening.contains(inode),
                            _ => role == "postgres",
                        },
                        Some(("tcp", false, port)) => {
                            outside += 1;
                            role == "recorder" && site.cameras.iter().any(|camera| camera.port() == *port)
                        }
                        // Closed between the two looks.
                        None => !descriptors(pid).contains_key(&number),
                        Some(_) => false,
                    }
                } else if number <= 2 {
                    target == "/dev/null" || path == log || (role == "postgres" && within("postgres/log"))
                } else if directory {
                    // Handed over by the supervisor, and what is opened below it.
                    match role {
                        "keeper" => within("keeper"),
                        "scribe" => within("scribe") || within("store") || path.starts_with("/dev/shm"),
                        "supervisor" => {
                            ["keeper", "scribe", "store"].into_iter().any(within) || path.starts_with("/dev/shm")
                        }
                        _ => false,
                    }
                } else if target.starts_with("anon_inode:") || target.starts_with("pipe:") {
                    // A pipe is the death watch of the postmaster, or scribe's own, with both of its ends: how the thread
                    // that hashes wakes the other.
                    let ends = descriptors(pid).values().filter(|held| **held == target).count();
                    !target.starts_with("pipe:") || role == "postgres" || role == "scribe" && ends == 2
                } else {
                    let segment = within("store") && path.extension().is_some_and(|ending| ending == "seg");
                    match role {
                        "recorder" | "portal" => segment,
                        "keeper" => segment || within("keeper"),
                        "scribe" => within("scribe") || within("store"),
                        "postgres" => within("postgres"),
                        _ => path == Path::new(own_binary) || path.ends_with("bin/postgres") || within("postgres/log"),
                    }
                };
                if !expected {
                    faults.push(format!("{role} {pid}: {number} -> {target}"));
                }
            }
            if outside > 1 {
                faults.push(format!("{role} {pid} has {outside} connections"));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    assert!(looked_at.len() == 6 && looked_at.values().all(|seen| *seen > 3), "{looked_at:?}");
}

// ----------------------------------------------------------------------------------------------- a wall that is broken

/// Makes a live process of a role call what its filter forbids; how long until another one stands in its place, and
/// which.
fn break_a_wall(site: &Site, role: &str) -> (Duration, u32) {
    let before = site.appliance.role_pids(role);
    let pid = before[0];
    let strace = forbidden_call(pid);
    wait_for(&format!("{role} is ended by its filter"), secs(20), || {
        (!site.appliance.role_pids(role).contains(&pid)).then_some(())
    });
    let begin = now();
    let said = strace.ended();
    assert!(said.contains("killed by SIGSYS"), "{role}: {said}");
    let fresh = || site.appliance.role_pids(role).into_iter().find(|pid| !before.contains(pid));
    let fresh = wait_for(&format!("{role} is started anew"), secs(20), fresh);
    (now().saturating_since(begin), fresh)
}

fn alarms(health: &Value) -> impl Iterator<Item = &str> {
    health["alarms"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn violations_in_the_ledger(site: &Site) -> u64 {
    site.appliance.home.ledger(0)["kinds"]["sandbox_violation"].as_u64().unwrap_or(0)
}

#[test]
fn a_role_that_breaks_a_wall_is_named_alarmed_and_started_anew_while_the_others_go_on() {
    if quick() {
        return;
    }
    let site = Site::shared();
    let others = |site: &Site, but: u32| -> BTreeSet<u32> {
        let pids = ROLES.iter().flat_map(|role| site.appliance.role_pids(role));
        pids.filter(|pid| *pid != but).collect()
    };
    for role in ["recorder", "portal", "keeper", "scribe"] {
        let pid = site.appliance.role_pids(role)[0];
        let bystanders = others(&site, pid);
        let logged = site.appliance.log().len();
        let (_, fresh) = break_a_wall(&site, role);
        let what = "tried a system call that its policy forbids";
        let said = site.appliance.log()[logged..].to_owned();
        assert!(said.lines().any(|line| line.contains(&format!(" {role} ")) && line.contains(what)), "{role}: {said}");
        assert!(others(&site, fresh).is_superset(&bystanders), "{role} took others with it");
        site.appliance.wait_until(&format!("{role} is named"), secs(20), |health| {
            alarms(health).any(|line| line.contains("sandbox_violation") && line.contains(role))
        });
        // Every violation of this appliance so far, those of other tests included, is logged and entered once.
        let logged = || site.appliance.log().matches(what).count() as u64;
        wait_for("every violation is entered", secs(20), || {
            (violations_in_the_ledger(&site) == logged()).then_some(())
        });
    }
    let since = now();
    site.appliance.wait_recorded("footage", since);
    site.appliance.wait_recorded("clock", since);
}

#[test]
fn a_role_that_keeps_breaking_walls_waits_longer_each_time() {
    if quick() {
        return;
    }
    let site = Site::shared();
    let waits: Vec<Duration> = (0..3).map(|_| break_a_wall(&site, "portal").0).collect();
    // From 250 ms on, doubled with each death of a process that had not lived 30 s; polling adds up to 50 ms.
    assert!(waits[1] > waits[0] + Duration::from_millis(100), "{waits:?}");
    assert!(waits[2] > waits[1] + Duration::from_millis(200), "{waits:?}");
    wait_for("portal answers again", secs(20), || {
        (site.appliance.home.run(&["health", "--as", "rev"]).code == 0).then_some(())
    });
}

// -------------------------------------------------------------------------------------------- what the roles really call

/// Rules that no run below uses, each with the roles that do without it and the reason why it stays.
const GOLDEN: &str = "tests/golden/seccomp-unused.txt";

/// Runs an appliance through everything it does, with a tracer on every process of it. (The name of its test comes
/// first, so that it runs beside the others, which share one appliance.)
fn traced_day(dir: &Path) {
    let config = AppConfig {
        recorder_first: 61_500,
        epoch_secs: Some(4),
        rekey_secs: Some(6),
        retention_secs: Some(10),
        page: true,
        ..AppConfig::default()
    };
    let mut appliance = Appliance::ordered(config);
    appliance.launch();
    let supervisor = Pid::from_raw(appliance.pid().cast_signed());
    kill(supervisor, Signal::SIGSTOP).expect("it was just started");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-ff", "-q", "-e", "raw=all", "-e", "raw=!execveat", "-e", "signal=none", "-o"]);
    strace.arg(dir.join("t")).args(["-p", &supervisor.to_string()]);
    let mut strace = Guarded::spawn(strace.stdin(Stdio::null()).stderr(Stdio::null()));
    let traced = || status(appliance.pid()).get("TracerPid").is_some_and(|pid| pid != "0").then_some(());
    wait_for("the tracer is there", secs(10), traced);
    kill(supervisor, Signal::SIGCONT).expect("it waits");
    appliance.wait_ready();
    let mut site = Site::on(appliance);
    let home = site.appliance.home.clone();
    let watched = home.path("watched.mp4");
    let mut watch = Guarded::spawn(&mut home.command(&[
        "watch",
        "clock",
        "--for",
        "3s",
        "--as",
        "guard",
        "-o",
        watched.to_str().expect("UTF-8"),
    ]));
    wait_for("an export", secs(20), || home.export("guard", "footage", now() - secs(6), now()).ok());
    wait_for("the live picture ends", secs(90), || (!watch.is_running()).then_some(()));
    assert!(fs::metadata(&watched).is_ok_and(|file| file.len() > 1_000), "no live picture");
    // A camera that goes away and comes back; a recorder that ends with it and without.
    site.cameras[0].restart();
    for role in ["recorder", "keeper", "scribe", "portal", "postgres"] {
        site.appliance.kill_role(role, Signal::SIGKILL);
        site.appliance.wait_until("it answers again", secs(40), |_| true);
    }
    let since = now();
    site.appliance.wait_recorded("footage", since);
    site.appliance.wait_recorded("clock", since);
    wait_for("an export after all restarts", secs(20), || home.export("guard", "clock", now() - secs(6), now()).ok());
    wait_for("a segment past retention is erased", secs(60), || {
        home.ledger(0)["kinds"]["erased"].as_u64().filter(|erased| *erased > 0)
    });
    home.fails(
        3,
        &["export", "clock", "--from", "-1m", "--to", "-50s", "-o", "no.mp4", "--as", "boss", "--purpose", "x"],
    );
    home.ledger(1);
    let https = support::https::Https::to(&site.appliance);
    for path in ["/", "/app.js", "/.well-known/peri"] {
        assert_eq!(https.ask("GET", path, &[], b"").status, 200, "{path}");
    }
    let mut page = support::https::Page::open(&https, &support::raw::key(&home, "rev"));
    assert_eq!(page.request(peri_access::wire::Method::Health, &()).status, 200);
    assert_eq!(site.appliance.stop(), 0, "{}", site.appliance.log());
    wait_for("the tracer ends", secs(20), || (!strace.is_running()).then_some(()));
    assert!(!site.appliance.log().contains("forbids"), "{}", site.appliance.log());
}

#[test]
fn a_day_under_a_tracer_calls_nothing_beyond_the_tables_and_no_rule_is_idle_without_a_reason() {
    if quick() {
        return;
    }
    let dir = Dir::new("trace");
    traced_day(dir.path());
    let usage = trace::Usage::read(dir.path());
    assert_eq!(usage.roots, 1, "one process was traced from its start");
    for role in Role::ALL {
        let calls = usage.calls.get(&role).copied().unwrap_or(0);
        assert!(calls > 100, "{role} was hardly seen: {calls} calls");
    }
    assert!(usage.foreign.is_empty(), "calls that no rule allows:\n{:#?}", usage.foreign);
    // Its walls would let it, because recorders inherit them. (What it opens are paths for the Landlock rules of what it
    // starts, O_PATH and within its own walls.)
    let outside = ["socket", "connect", "bind", "listen", "accept", "accept4", "sendto", "recvfrom"];
    let made: Vec<&str> = outside.into_iter().filter(|name| usage.supervisor.contains_key(*name)).collect();
    assert!(usage.supervisor.len() > 10 && made.is_empty(), "the supervisor called {made:?}: {:?}", usage.supervisor);
    let text = fs::read_to_string(support::root().join(GOLDEN)).unwrap_or_default();
    let golden = golden(&text);
    let known: BTreeSet<(String, String)> = Role::ALL
        .iter()
        .flat_map(|role| table(*role))
        .map(|rule| (rule.source.to_owned(), trace::label(rule)))
        .collect();
    let mut faults: Vec<String> = golden
        .keys()
        .filter(|rule| !known.contains(*rule))
        .map(|(source, rule)| format!("{GOLDEN} names a rule that does not exist: {source} | {rule}"))
        .collect();
    let unused = usage.unused();
    for ((source, rule), roles) in &unused {
        let argued = golden.get(&(source.clone(), rule.clone()));
        let new: Vec<String> =
            roles.iter().map(Role::to_string).filter(|role| !argued.is_some_and(|a| a.contains(role))).collect();
        if !new.is_empty() {
            faults.push(format!("unused without a reason: {source} | {rule} | {}", new.join(" ")));
        }
    }
    report(&usage, &unused);
    assert!(faults.is_empty(), "remove the rule, or argue for it in {GOLDEN}:\n{}", faults.join("\n"));
}

#[allow(clippy::print_stdout, reason = "the report of the ratchet; the harness shows it on request and on failure")]
fn report(usage: &trace::Usage, unused: &BTreeMap<(String, String), BTreeSet<Role>>) {
    for role in Role::ALL {
        let idle: Vec<&str> =
            unused.iter().filter(|(_, roles)| roles.contains(&role)).map(|((_, r), _)| r.as_str()).collect();
        let (rules, calls) = (table(role).len(), usage.calls.get(&role).copied().unwrap_or(0));
        println!("{role}: {rules} rules, {calls} calls seen, {} idle: {}", idle.len(), idle.join(" "));
        println!("{role}: used once: {}", usage.once(role).join(" "));
    }
}

/// `source | rule | roles | reason` by rule; a line without a reason fails.
fn golden(text: &str) -> BTreeMap<(String, String), BTreeSet<String>> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    lines
        .map(|line| {
            let parts: Vec<&str> = line.split(" | ").map(str::trim).collect();
            let [source, rule, roles, reason] = parts[..] else { panic!("{GOLDEN}: {line}") };
            assert!(reason.len() > 10, "{GOLDEN}: no reason: {line}");
            ((source.to_owned(), rule.to_owned()), roles.split(' ').map(str::to_owned).collect())
        })
        .collect()
}
