//! A private PostgreSQL cluster for tests, with the schema in it: a directory under /tmp, the unix socket alone, gone
//! when dropped. For tests only (feature `testdb`); needs root and the Debian package `postgresql`.

use crate::db::Db;
use crate::schema::{Endpoint, migrate, peer_config};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, chown};
use peri_sandbox::clock::SystemClock;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// A running cluster. Every failure here panics with what PostgreSQL said: the test cannot go on without it.
#[derive(Debug)]
pub struct TestDb {
    dir: TempDir,
    account: User,
    durable: bool,
    server: Option<Child>,
}

impl TestDb {
    /// A cluster that does not wait for the disk (fast).
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(false)
    }

    /// A cluster as in production: a commit waits for the disk.
    #[must_use]
    pub fn start_durable() -> Self {
        Self::start_with(true)
    }

    fn start_with(durable: bool) -> Self {
        let account = User::from_name("postgres").ok().flatten().expect("the account postgres (package postgresql)");
        let dir = tempfile::Builder::new().prefix("peri-db.").tempdir().expect("a directory under /tmp");
        chown(dir.path(), Some(account.uid), Some(account.gid)).expect("root");
        let mut db = Self { dir, account, durable, server: None };
        let output = db
            .command("initdb")
            .args(["--no-sync", "--auth=peer", "--encoding=UTF8", "--locale=C", "--username=postgres", "-D"])
            .arg(db.data())
            .output()
            .expect("initdb");
        assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
        let (hba, ident) =
            peer_config(&[("postgres", "postgres"), ("root", "postgres"), ("root", crate::schema::SCRIBE)]);
        fs::write(db.data().join("pg_hba.conf"), hba).expect("pg_hba.conf");
        fs::write(db.data().join("pg_ident.conf"), ident).expect("pg_ident.conf");
        db.resume();
        migrate(&Endpoint::superuser(db.socket_dir())).expect("the schema");
        db
    }

    /// Directory of the socket.
    #[must_use]
    pub fn socket_dir(&self) -> &Path {
        self.dir.path()
    }

    /// Directory of the data files.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// A connection of the application role.
    #[must_use]
    pub fn db(&self, origin: &str) -> Db {
        Db::new(Endpoint::scribe(self.socket_dir()), origin, SystemClock)
    }

    /// Starts the server (again) and waits until it answers.
    pub fn resume(&mut self) {
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).arg("-k").arg(self.socket_dir()).args(["-c", "listen_addresses="]);
        if !self.durable {
            // Commits still reach the kernel, so what was committed survives a crash of the server (not of the machine).
            command.args(["-c", "fsync=off"]);
        }
        let log = fs::File::create(self.dir.path().join("log")).expect("a log file");
        self.server = Some(command.stderr(log).stdout(Stdio::null()).spawn().expect("postgres"));
        let maintenance = Endpoint { database: "postgres".to_owned(), ..Endpoint::superuser(self.socket_dir()) };
        for _ in 0..200 {
            if maintenance.connect().is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("postgres did not start: {}", fs::read_to_string(self.dir.path().join("log")).unwrap_or_default());
    }

    /// Stops the server in order; connections are cut.
    pub fn pause(&mut self) {
        self.end(Signal::SIGINT);
    }

    /// Stops the server as a crash would.
    pub fn crash(&mut self) {
        self.end(Signal::SIGQUIT);
    }

    /// Stops every process of the server where it stands, as a stuck disk or a suspended machine does: connections stay,
    /// nothing answers.
    pub fn hang(&self) {
        for pid in self.processes() {
            let _ = kill(pid, Signal::SIGSTOP);
        }
    }

    /// Lets a server that hangs go on.
    pub fn wake(&self) {
        for pid in self.processes() {
            let _ = kill(pid, Signal::SIGCONT);
        }
    }

    /// The server's process and its children.
    fn processes(&self) -> Vec<Pid> {
        let Some(server) = &self.server else { return Vec::new() };
        let id = server.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        let all = children.split_whitespace().filter_map(|pid| pid.parse().ok()).chain(i32::try_from(id));
        all.map(Pid::from_raw).collect()
    }

    fn end(&mut self, signal: Signal) {
        // A server that hangs would not hear anything else.
        self.wake();
        if let Some(mut server) = self.server.take() {
            let pid = Pid::from_raw(i32::try_from(server.id()).expect("a pid"));
            let _ = kill(pid, signal);
            let _ = server.wait();
        }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self::program(program));
        command.uid(self.account.uid.as_raw()).gid(self.account.gid.as_raw()).current_dir("/").env_clear();
        command
    }
}

/// A program of the newest PostgreSQL of this machine.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let newest = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|e| e.path()).max();
    newest.expect("/usr/lib/postgresql (package postgresql)").join("bin").join(name)
}

impl Drop for TestDb {
    fn drop(&mut self) {
        self.end(Signal::SIGINT);
    }
}
