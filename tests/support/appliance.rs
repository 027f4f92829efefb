//! A whole appliance as it ships: software TPM, configuration file, `peri-appliance run`, its log, its processes.

use super::guard::Guarded;
use super::home::camera_of;
use super::{Dir, Home, now, secs, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use peri_domain::UtcNanos;
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// A software TPM whose state lies on another file system than the data.
pub struct Tpm {
    process: Guarded,
    state: PathBuf,
    socket: PathBuf,
    _dir: Option<Dir>,
}

impl Tpm {
    /// Starts a swtpm with its state below `/dev/shm` and its socket in `run`.
    pub fn start(run: &Path) -> Self {
        let dir = Dir::below(Path::new("/dev/shm"), "tpm");
        let mut tpm = Self::at(dir.path(), run);
        tpm._dir = Some(dir);
        tpm
    }

    /// Starts a swtpm on a state directory that somebody else keeps.
    pub fn at(state: &Path, run: &Path) -> Self {
        let process = Self::spawn(state, run);
        Self { process, state: state.into(), socket: run.join("tpm.sock"), _dir: None }
    }

    /// Kills it; its state stays.
    pub fn kill(&mut self) {
        self.process.child().kill().unwrap();
        self.process.child().wait().unwrap();
    }

    /// Starts it again where it was, after [`Self::kill`].
    pub fn again(&mut self) {
        self.process = Self::spawn(&self.state, self.socket.parent().expect("a socket lies in a directory"));
    }

    fn spawn(state: &Path, run: &Path) -> Guarded {
        let socket = run.join("tpm.sock");
        let log = std::fs::File::create(run.join("tpm.log")).unwrap();
        let mut command = Command::new("swtpm");
        command
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .arg("--tpmstate")
            .arg(format!("dir={}", state.display()))
            .arg("--server")
            .arg(format!("type=unixio,path={}", socket.display()))
            .arg("--ctrl")
            .arg(format!("type=unixio,path={}", run.join("tpm.ctl").display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let _ = std::fs::remove_file(&socket);
        let process = Guarded::spawn(&mut command);
        // Between its file and its listening it refuses: the kernel's list tells the two apart (__SO_ACCEPTCON, 0x10000).
        let path = socket.to_str().unwrap();
        let listens = |line: &str| line.ends_with(path) && line.split_whitespace().nth(3) == Some("00010000");
        let sockets = || std::fs::read_to_string("/proc/net/unix").unwrap();
        wait_for("swtpm listens", secs(10), || sockets().lines().any(listens).then_some(()));
        process
    }

    /// Its socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Its state directory.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }
}

/// What a test wants of an appliance; the rest is as shipped.
#[derive(Clone, Default)]
pub struct AppConfig {
    /// Longest epoch.
    pub epoch_secs: Option<u32>,
    /// Re-key of the X file.
    pub rekey_secs: Option<u32>,
    /// Retention.
    pub retention_secs: Option<u32>,
    /// Resolvers for cameras given by name.
    pub resolvers: Vec<String>,
    /// First uid of recorders (0: as shipped).
    pub recorder_first: u32,
    /// Serves the page, as `localhost` at a free port.
    pub page: bool,
    /// Data directory; left out: in the appliance's own directory below `/tmp`.
    pub data: Option<PathBuf>,
    /// Further lines at the top of the file.
    pub extra: String,
    /// Program and arguments before `peri-appliance run …`, which it starts or becomes: `strace`, `setpriv`.
    pub wrapper: Vec<String>,
}

/// An appliance, its directory and its founders' home.
pub struct Appliance {
    process: Option<Guarded>,
    tpm: Option<Tpm>,
    page: Option<u16>,
    config: AppConfig,
    /// Keys of everybody.
    pub home: Home,
    dir: Dir,
}

impl Appliance {
    /// A new appliance: home, claim key, provisioning data, TPM; started, not claimed.
    pub fn start(config: AppConfig) -> Self {
        let mut appliance = Self::ordered(config);
        appliance.launch();
        appliance.wait_ready();
        appliance
    }

    /// The same, claimed and with accounts ([`Home::found`]).
    pub fn founded(config: AppConfig) -> Self {
        let appliance = Self::start(config);
        appliance.home.found(&appliance);
        appliance
    }

    /// Everything but the running appliance.
    pub fn ordered(config: AppConfig) -> Self {
        let dir = Dir::new("appliance");
        let home = Home::new(dir.path(), "home");
        let provisioning = home.claim_new();
        std::fs::copy(provisioning, dir.join("provisioning.cbor")).unwrap();
        let tpm = Tpm::start(dir.path());
        // Free a moment ago; whoever takes it meanwhile makes the start fail with his port's name.
        let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let page = config.page.then(free);
        let appliance = Self { process: None, tpm: Some(tpm), page, config, home, dir };
        appliance.write_config();
        appliance
    }

    /// Writes the configuration file anew, after a change of [`Self::config_mut`].
    pub fn write_config(&self) {
        let tpm = self.tpm.as_ref().expect("the TPM runs");
        let mut text = format!(
            "{}\ndata = {:?}\nrun = {:?}\nprovisioning = {:?}\n[root_store]\ntpm = {:?}\nstate = {:?}\n",
            self.config.extra,
            self.data(),
            self.dir.join("run"),
            self.dir.join("provisioning.cbor"),
            tpm.socket(),
            tpm.state(),
        );
        let _ = write!(
            text,
            "[database]\nbin_dir = {:?}\n[dns]\nresolvers = {:?}\n",
            postgres_dir(),
            self.config.resolvers
        );
        if self.config.recorder_first != 0 {
            let _ = writeln!(text, "[users]\nrecorder_first = {}", self.config.recorder_first);
        }
        if let Some(port) = self.page {
            let _ = writeln!(text, "[portal]\nlisten = \"127.0.0.1:{port}\"\nnames = [\"localhost\", \"127.0.0.1\"]");
        }
        text.push_str("[timing]\n");
        for (key, value) in [
            ("epoch_secs", self.config.epoch_secs),
            ("rekey_secs", self.config.rekey_secs),
            ("retention_secs", self.config.retention_secs),
        ] {
            if let Some(value) = value {
                let _ = writeln!(text, "{key} = {value}");
            }
        }
        std::fs::write(self.config_file(), text).unwrap();
    }

    /// What it was started with.
    pub fn config_mut(&mut self) -> &mut AppConfig {
        &mut self.config
    }

    /// Starts the process alone.
    pub fn launch(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.log_file()).unwrap();
        let mut words = self.config.wrapper.clone();
        words.extend([super::appliance_program().into(), "run".into(), "--config".into()]);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg(self.config_file()).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.process = Some(Guarded::spawn(&mut command));
    }

    /// Waits until it says who it is.
    #[track_caller]
    pub fn wait_ready(&mut self) {
        let socket = self.socket();
        let log = self.log_file();
        let process = self.process.as_mut().expect("the appliance was started");
        wait_for("the appliance says who it is", secs(30), || {
            assert!(process.is_running(), "the appliance ended: {}", std::fs::read_to_string(&log).unwrap_or_default());
            says_hello(&socket).then_some(())
        });
    }

    /// Ends it as a service manager does; returns its exit code.
    pub fn stop(&mut self) -> i32 {
        let mut process = self.process.take().expect("the appliance runs");
        process.signal(Signal::SIGTERM);
        let status = wait_for("the appliance stops", secs(30), || process.child().try_wait().unwrap());
        status.code().unwrap_or(-1)
    }

    /// Ends it at once, all roles with it.
    pub fn kill9(&mut self) {
        let roles = self.children();
        drop(self.process.take());
        wait_for("the roles end with the supervisor", secs(10), || {
            roles.iter().all(|(pid, _)| !Path::new(&format!("/proc/{pid}")).exists()).then_some(())
        });
    }

    /// Starts it again (after stopping it, if it runs) and waits until it is ready.
    #[track_caller]
    pub fn restart(&mut self) {
        if self.process.is_some() {
            self.stop();
        }
        if self.tpm.is_none() {
            return;
        }
        self.launch();
        self.wait_ready();
    }

    /// Starts it although it should refuse; returns exit code and what it says.
    #[track_caller]
    pub fn start_refused(&mut self) -> (i32, String) {
        let before = self.log().len();
        self.launch();
        let mut process = self.process.take().unwrap();
        let status = wait_for("the appliance refuses to start", secs(20), || process.child().try_wait().unwrap());
        (status.code().unwrap_or(-1), self.log()[before..].to_owned())
    }

    /// Process id of the supervisor.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("the appliance runs").id()
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Guarded::is_running)
    }

    /// Children of the supervisor with their command lines.
    fn children(&self) -> Vec<(u32, String)> {
        let Some(process) = &self.process else { return vec![] };
        let all = processes();
        let is_own = |(pid, parent, line): &&(u32, u32, String)| {
            [*pid, *parent].contains(&process.id()) && line.starts_with(super::appliance_program())
        };
        let own: Vec<u32> = all.iter().filter(is_own).map(|(pid, ..)| *pid).collect();
        // Started by a wrapper it is that one's child; else roles are children of the same program as well.
        let supervisor = if own.contains(&process.id()) { process.id() } else { *own.first().unwrap_or(&process.id()) };
        all.into_iter().filter(|(_, parent, _)| *parent == supervisor).map(|(pid, _, line)| (pid, line)).collect()
    }

    /// Processes of a role: `keeper`, `scribe`, `portal`, `recorder`, `postgres`.
    pub fn role_pids(&self, role: &str) -> Vec<u32> {
        let ending = format!("role {role}");
        let is = |line: &str| if role == "postgres" { line.contains("/postgres ") } else { line.ends_with(&ending) };
        self.children().into_iter().filter(|(_, line)| is(line)).map(|(pid, _)| pid).collect()
    }

    /// Sends a signal to every process of a role; returns their ids.
    pub fn signal_role(&self, role: &str, signal: Signal) -> Vec<u32> {
        let pids = self.role_pids(role);
        assert!(!pids.is_empty(), "no process of {role}: {:?}", self.children());
        for pid in &pids {
            kill(Pid::from_raw(pid.cast_signed()), signal).unwrap();
        }
        pids
    }

    /// Kills every process of a role and waits until others stand in their place.
    #[track_caller]
    pub fn kill_role(&self, role: &str, signal: Signal) {
        let before = self.signal_role(role, signal);
        wait_for(&format!("{role} is started anew"), secs(20), || {
            let pids = self.role_pids(role);
            (pids.len() >= before.len() && !pids.iter().any(|pid| before.contains(pid))).then_some(())
        });
    }

    /// Everything it logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Where it logs.
    pub fn log_file(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// Its data directory.
    pub fn data(&self) -> PathBuf {
        self.config.data.clone().unwrap_or_else(|| self.dir.join("data"))
    }

    /// The directory of everything.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its configuration file.
    pub fn config_file(&self) -> PathBuf {
        self.dir.join("appliance.toml")
    }

    /// Where the page is.
    pub fn page_port(&self) -> u16 {
        self.page.expect("the test asked for a page")
    }

    /// Portal's socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("run/portal.sock")
    }

    /// The TPM.
    pub fn tpm(&self) -> &Tpm {
        self.tpm.as_ref().expect("the TPM runs")
    }

    /// The TPM, to kill it.
    pub fn tpm_mut(&mut self) -> &mut Tpm {
        self.tpm.as_mut().expect("the TPM runs")
    }

    /// Runs `peri-appliance fsck` with these arguments; the appliance must be stopped.
    pub fn fsck(&self, args: &[&str]) -> Output {
        Command::new(super::appliance_program())
            .arg("fsck")
            .args(args)
            .arg("--config")
            .arg(self.config_file())
            .output()
            .unwrap()
    }

    /// Segment files, oldest first by name.
    pub fn segments(&self) -> Vec<PathBuf> {
        let mut files = vec![];
        collect(&self.data().join("store"), &mut files);
        files.retain(|file| file.extension().is_some_and(|ending| ending == "seg"));
        files.sort();
        files
    }

    /// The heads of all segments. The file of an epoch that is being prepared has none yet.
    pub fn heads(&self) -> Vec<(PathBuf, peri_seal::segment::Head)> {
        let head = |path: PathBuf| {
            let head = peri_seal::scan::read_head(&std::fs::File::open(&path).ok()?).ok()?;
            Some((path, head))
        };
        self.segments().into_iter().filter_map(head).collect()
    }

    /// Asks for health until it fits.
    #[track_caller]
    pub fn wait_until(&self, what: &str, patience: Duration, fits: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let deadline = now() + patience;
        loop {
            let outcome = self.home.run(&["health", "--as", "rev"]);
            if outcome.code == 0 {
                last = outcome.json();
                if fits(&last) {
                    return last;
                }
            }
            assert!(now() < deadline, "{what}: not within {patience:?}; {last}{}\n{}", outcome.stderr, self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until pictures of a camera after `since` are recorded.
    #[track_caller]
    pub fn wait_recorded(&self, camera: &str, since: UtcNanos) -> Value {
        self.wait_until(&format!("{camera} is recorded beyond {since}"), secs(40), |health| {
            recorded_until(health, camera).is_some_and(|until| until > since)
        })
    }
}

/// Until when a camera is recorded, by a health document.
pub fn recorded_until(health: &Value, camera: &str) -> Option<UtcNanos> {
    UtcNanos::parse_rfc3339(camera_of(health, camera)?["recorded_until"].as_str()?)
}

/// Whether an appliance answers a hello (its portal, keeper and scribe are up then).
fn says_hello(socket: &Path) -> bool {
    let hello = |stream: &mut UnixStream| -> std::io::Result<bool> {
        stream.set_read_timeout(Some(secs(2)))?;
        // CBOR of `Ask::Hello` with a nonce of zeros.
        let mut ask = vec![0x82, 0x00, 0x81, 0x58, 0x20];
        ask.extend([0; 32]);
        stream.write_all(&u32::try_from(ask.len()).unwrap().to_be_bytes())?;
        stream.write_all(&ask)?;
        let mut head = [0; 6];
        stream.read_exact(&mut head)?;
        // An array of two whose first is `Reply::Answer`.
        Ok(head[4..] == [0x82, 0x00])
    };
    UnixStream::connect(socket).is_ok_and(|mut stream| hello(&mut stream).unwrap_or(false))
}

/// Newest PostgreSQL that is installed.
pub fn postgres_dir() -> PathBuf {
    let mut versions: Vec<PathBuf> =
        std::fs::read_dir("/usr/lib/postgresql").unwrap().map(|entry| entry.unwrap().path().join("bin")).collect();
    versions.sort();
    versions.pop().expect("scripts/setup installs PostgreSQL")
}

/// Every process: id, parent, command line.
pub fn processes() -> Vec<(u32, u32, String)> {
    let entries = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    entries
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            let mut rest = stat[stat.rfind(')')? + 2..].split(' ');
            let state = rest.next()?;
            let parent = rest.next()?.parse().ok()?;
            let line = std::fs::read_to_string(entry.path().join("cmdline")).ok()?;
            (state != "Z").then(|| (pid, parent, line.trim_end_matches('\0').replace('\0', " ")))
        })
        .collect()
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok) {
        let path = entry.path();
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}
