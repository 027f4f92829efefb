//! A camera: `tests/cameras/camera.py` as a child.

use super::guard::Guarded;
use super::{Dir, root, secs, wait_for};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

/// What kind of camera; see `camera.py --help`.
#[derive(Clone)]
pub struct CameraOptions {
    /// Mounts; empty: footage and clock.
    pub mounts: Vec<&'static str>,
    /// RTSPS with a certificate of its own (the same one after [`Camera::restart`]).
    pub tls: bool,
    /// Digest user and password.
    pub user: Option<(&'static str, &'static str)>,
    /// Address to listen on.
    pub address: &'static str,
    /// Port; 0: any.
    pub port: u16,
    /// More arguments.
    pub extra: Vec<String>,
}

impl Default for CameraOptions {
    fn default() -> Self {
        Self { mounts: vec![], tls: true, user: Some(("cam", "secret1")), address: "127.0.0.1", port: 0, extra: vec![] }
    }
}

impl CameraOptions {
    /// A camera without TLS and password.
    pub fn plain() -> Self {
        Self { tls: false, user: None, ..Self::default() }
    }

    /// With these mounts.
    pub fn mounts(self, mounts: &[&'static str]) -> Self {
        Self { mounts: mounts.to_vec(), ..self }
    }
}

/// A running camera.
pub struct Camera {
    process: Option<Guarded>,
    dir: Dir,
    options: CameraOptions,
    ready: Value,
}

impl Camera {
    /// Starts one and waits until it accepts connections.
    pub fn start(options: CameraOptions) -> Self {
        let dir = Dir::new("camera");
        if options.tls {
            let made = Command::new("openssl")
                .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"])
                .args(["-subj", "/CN=camera", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout"])
                .arg(dir.join("key.pem"))
                .arg("-out")
                .arg(dir.join("cert.pem"))
                .output()
                .unwrap();
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        }
        let mut camera = Self { process: None, dir, options, ready: Value::Null };
        camera.launch();
        camera
    }

    fn launch(&mut self) {
        let options = &self.options;
        let mut command = Command::new("/usr/bin/python3");
        command.arg(root().join("tests/cameras/camera.py"));
        command.args(["--address", options.address, "--port", &options.port.to_string()]);
        for mount in &options.mounts {
            command.args(["--mount", mount]);
        }
        if let Some((user, password)) = options.user {
            command.args(["--user", user, "--password", password]);
        }
        if options.tls {
            command.arg("--cert").arg(self.dir.join("cert.pem")).arg("--key").arg(self.dir.join("key.pem"));
        }
        command.args(&options.extra);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(std::fs::File::create(self.dir.join("stderr")).unwrap());
        let mut process = Guarded::spawn(&mut command);
        let mut line = String::new();
        BufReader::new(process.child().stdout.take().unwrap()).read_line(&mut line).unwrap();
        let stderr = || std::fs::read_to_string(self.dir.join("stderr")).unwrap_or_default();
        self.ready = serde_json::from_str(&line).unwrap_or_else(|_| panic!("the camera did not start: {}", stderr()));
        self.options.port = u16::try_from(self.ready["port"].as_u64().unwrap()).unwrap();
        self.process = Some(process);
    }

    /// Address of a mount.
    pub fn url(&self, mount: &str) -> String {
        self.ready["urls"][mount].as_str().unwrap_or_else(|| panic!("no mount {mount}")).to_owned()
    }

    /// SHA-256 of its public key, hexadecimal.
    pub fn pin(&self) -> String {
        self.ready["pin_sha256"].as_str().expect("only RTSPS has a pin").to_owned()
    }

    /// The whole ready line.
    pub fn ready(&self) -> &Value {
        &self.ready
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.options.port
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("the camera is off").id()
    }

    /// Drops every client.
    pub fn disconnect(&mut self) {
        self.say("disconnect");
    }

    /// Switches it off.
    pub fn quit(&mut self) {
        self.say("quit");
        if let Some(mut process) = self.process.take() {
            wait_for("the camera ends", secs(5), || (!process.is_running()).then_some(()));
        }
    }

    /// Switches it off (if it runs) and on again: same port, same certificate.
    pub fn restart(&mut self) {
        if self.process.is_some() {
            self.quit();
        }
        self.launch();
    }

    fn say(&mut self, word: &str) {
        let process = self.process.as_mut().expect("the camera is off");
        writeln!(process.child().stdin.as_mut().unwrap(), "{word}").unwrap();
    }
}
