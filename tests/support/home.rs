//! A home: the keys of the people of a test, and the program `peri` that uses them.

use super::Appliance;
use peri_domain::UtcNanos;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The password of every key in a test.
pub const PASSWORD: &str = "correct horse battery staple";

/// What a run of `peri` came to.
#[derive(Debug)]
pub struct Outcome {
    /// Exit code; see `peri --help`.
    pub code: i32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: String,
}

impl Outcome {
    /// Standard output as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout)
            .unwrap_or_else(|error| panic!("no JSON ({error}): {}", String::from_utf8_lossy(&self.stdout)))
    }
}

/// A directory of keys with its password.
#[derive(Clone)]
pub struct Home {
    dir: PathBuf,
    socket: Option<PathBuf>,
}

/// A camera to set up.
pub struct CameraSpec<'a> {
    /// Name.
    pub name: &'a str,
    /// Address.
    pub url: &'a str,
    /// Pin; `None`: plain exception.
    pub pin: Option<&'a str>,
    /// User and password.
    pub login: Option<(&'a str, &'a str)>,
    /// Camera at the same device.
    pub beside: Option<&'a str>,
}

impl Home {
    /// A new home below `parent` (which owns and ends it).
    pub fn new(parent: &Path, name: &str) -> Self {
        let dir = parent.join(name);
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("password"), format!("{PASSWORD}\n")).unwrap();
        Self { dir, socket: None }
    }

    /// The same people at another socket.
    pub fn at(&self, socket: &Path) -> Self {
        Self { dir: self.dir.clone(), socket: Some(socket.into()) }
    }

    /// Where files of this home's commands lie.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Where the keys lie.
    pub fn keys(&self) -> PathBuf {
        self.dir.join("keys")
    }

    /// A command of `peri`, ready to run.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(super::peri_program());
        command.args(args).arg("--home").arg(self.keys()).arg("--password-file").arg(self.dir.join("password"));
        if let Some(socket) = &self.socket {
            command.arg("--socket").arg(socket);
        }
        command.current_dir(&self.dir).stdin(Stdio::null());
        command
    }

    /// Runs `peri --json`.
    pub fn run(&self, args: &[&str]) -> Outcome {
        let output = self.command(args).arg("--json").output().unwrap();
        Outcome {
            code: output.status.code().unwrap_or(-1),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs `peri --json`, which must succeed.
    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> Value {
        let outcome = self.run(args);
        assert!(outcome.code == 0, "peri {}: exit {}: {}", args.join(" "), outcome.code, outcome.stderr);
        outcome.json()
    }

    /// Runs `peri --json`, which must fail with this code; returns standard error.
    #[track_caller]
    pub fn fails(&self, code: i32, args: &[&str]) -> String {
        let outcome = self.run(args);
        let stdout = String::from_utf8_lossy(&outcome.stdout);
        assert!(
            outcome.code == code,
            "peri {}: exit {} instead of {code}: {stdout}{}",
            args.join(" "),
            outcome.code,
            outcome.stderr
        );
        outcome.stderr
    }

    /// Makes the claim key; returns the provisioning data for the order.
    pub fn claim_new(&self) -> PathBuf {
        let out = self.path("provisioning.cbor");
        self.ok(&["claim", "new", "--no-sheet", "--out", out.to_str().unwrap()]);
        out
    }

    /// Claim with two of three seats (`dpo`, `council`, `mgmt`), administrator `boss`, viewer `guard`, auditor `rev`.
    pub fn found(&self, appliance: &Appliance) {
        self.claim(appliance, &["dpo", "council", "mgmt"], 2);
        self.account("boss", "administrator", &["dpo", "council"]);
        self.account("guard", "viewer", &["boss"]);
        self.account("rev", "auditor", &["boss"]);
    }

    /// Claim and seats.
    pub fn claim(&self, appliance: &Appliance, seats: &[&str], threshold: u8) {
        let socket = appliance.socket();
        let (n, k) = (seats.len().to_string(), threshold.to_string());
        let mut args = vec!["claim", "use", "--socket", socket.to_str().unwrap(), "--seats", &n, "--threshold", &k];
        if threshold == 1 {
            args.push("--alone");
        }
        self.ok(&args);
        for seat in seats {
            self.ok(&["seat", "new", seat, "--no-sheet"]);
        }
        let requests: Vec<String> = seats.iter().map(|seat| format!("{seat}.request")).collect();
        let mut args = vec!["claim", "seat"];
        args.extend(requests.iter().map(String::as_str));
        self.ok(&args);
    }

    /// Key and account.
    pub fn account(&self, name: &str, role: &str, signers: &[&str]) {
        self.ok(&["account", "request", name, "--role", role, "--no-sheet"]);
        self.signed(&["account", "new", &format!("{name}.request")], signers);
    }

    /// A command that proposes, signed by these keys; must be accepted.
    #[track_caller]
    pub fn signed(&self, args: &[&str], signers: &[&str]) -> Value {
        let mut args = args.to_vec();
        signers.iter().for_each(|signer| args.extend(["--sign-as", signer]));
        args.push("--submit");
        self.ok(&args)
    }

    /// Adds and registers a camera, signed by `dpo` and `council`.
    #[track_caller]
    pub fn camera(&self, spec: &CameraSpec<'_>) {
        let password = self.path(&format!("{}.camera-password", spec.name));
        let password = password.to_str().unwrap();
        let mut args = vec!["camera", "add", "--name", spec.name, "--url", spec.url];
        match spec.pin {
            Some(pin) => args.extend(["--pin", pin]),
            None => args.push("--plain-exception"),
        }
        if let Some((user, secret)) = spec.login {
            std::fs::write(password, secret).unwrap();
            args.extend(["--user", user, "--camera-password-file", password]);
        }
        if let Some(camera) = spec.beside {
            args.extend(["--beside", camera]);
        }
        self.signed(&args, &["dpo", "council"]);
        self.signed(&["camera", "register", spec.name], &["dpo", "council"]);
    }

    /// Adds and registers an RTSPS camera.
    #[track_caller]
    pub fn add_camera(&self, name: &str, url: &str, pin: &str, user: &str, password: &str) {
        self.camera(&CameraSpec { name, url, pin: Some(pin), login: Some((user, password)), beside: None });
    }

    /// A grant of the custodians until tomorrow.
    #[track_caller]
    pub fn grant(&self, to: &str, cameras: &str, rights: &str) -> Value {
        self.grant_until(to, cameras, rights, "+1d")
    }

    /// A grant of the custodians.
    #[track_caller]
    pub fn grant_until(&self, to: &str, cameras: &str, rights: &str, until: &str) -> Value {
        let args = ["grant", "new", "--to", to, "--cameras", cameras, "--rights", rights, "--until", until];
        self.signed(&args, &["dpo", "mgmt"])
    }

    /// Exports a span with the key `who`; `Err` holds exit code and standard error. The report lies beside the file
    /// with the ending `.json`.
    pub fn export(&self, who: &str, camera: &str, from: UtcNanos, to: UtcNanos) -> Result<PathBuf, (i32, String)> {
        self.export_with(who, camera, from, to, &[])
    }

    /// The same, with further options.
    pub fn export_with(
        &self,
        who: &str,
        camera: &str,
        from: UtcNanos,
        to: UtcNanos,
        more: &[&str],
    ) -> Result<PathBuf, (i32, String)> {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let file = self.path(&format!("{camera}-{}.mp4", NUMBER.fetch_add(1, Ordering::Relaxed)));
        let (from, to) = (from.to_string(), to.to_string());
        let path = file.to_str().unwrap();
        let said = ["export", camera, "--from", &from, "--to", &to, "-o", path, "--as", who, "--purpose", "test"];
        let outcome = self.run(&[&said[..], more].concat());
        if outcome.code != 0 {
            return Err((outcome.code, outcome.stderr));
        }
        std::fs::write(file.with_extension("json"), &outcome.stdout).unwrap();
        Ok(file)
    }

    /// The report of an export.
    pub fn report(&self, export: &Path) -> Value {
        serde_json::from_slice(&std::fs::read(export.with_extension("json")).unwrap()).unwrap()
    }

    /// State of the appliance, asked by the auditor.
    #[track_caller]
    pub fn health(&self) -> Value {
        self.ok(&["health", "--as", "rev"])
    }

    /// The whole ledger, verified, as the auditor gets it, with the last `tail` entries.
    #[track_caller]
    pub fn ledger(&self, tail: usize) -> Value {
        self.ok(&["ledger", "--as", "rev", "--tail", &tail.to_string()])
    }
}

/// One camera of a health document.
pub fn camera_of<'a>(health: &'a Value, name: &str) -> Option<&'a Value> {
    health["cameras"].as_array()?.iter().find(|camera| camera["name"] == name)
}
