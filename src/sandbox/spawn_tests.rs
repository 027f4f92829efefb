//! Children under test are shells and the real postgres, started from a throw-away process with one thread.

use super::*;
use crate::landlock::{Access, PathRule, Rules, kernel_abi, prepare};
use crate::probe::in_child;
use nix::unistd::Uid;
use std::path::PathBuf;

fn shell(script: &str) -> Command {
    Command {
        program: Program::Own,
        args: ["sh", "-c", script].map(str::to_owned).to_vec(),
        env: vec!["PATH=/usr/bin:/bin".to_owned(), "ONLY=this".to_owned()],
        user: None,
        fds: Vec::new(),
        limits: Limits::default(),
        confine: None,
    }
}

/// Starts a shell with the write end of a pipe at number 4, and returns what it wrote and how it ended.
fn output_of(programs: &Programs, mut command: Command) -> (String, Exit) {
    let (out, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
    command.fds.push((writer, 4));
    let child = spawn(programs, command).unwrap();
    let mut text = String::new();
    File::from(out).read_to_string(&mut text).unwrap();
    (text, wait(child.pid).unwrap())
}

fn shells() -> Programs {
    Programs::open_at(Path::new("/bin/sh"), None).unwrap()
}

#[test]
fn a_child_has_only_listed_descriptors_environment_and_no_new_privileges() {
    let exit = in_child(|| {
        // By the shell alone: around each program that it starts it blocks all signals for a moment.
        let mut command = shell(
            "for fd in 3 4 5 6 7 8 9 10 11 12 32 33 34 35 36; do [ -e /proc/$$/fd/$fd ] && printf '%s ' $fd >&4; done;
             echo >&4; echo $ONLY $HOME >&4; umask >&4;
             while read -r name value; do
                 case $name in NoNewPrivs:|SigBlk:|CapEff:) printf '%s\\t%s\\n' $name $value >&4;; esac
             done </proc/$$/status; ulimit -n >&4; exit 7",
        );
        command.limits = Limits { open_files: Some(40), ..Limits::default() };
        crate::poll::Signals::watch(&crate::poll::Signals::SUPERVISOR).unwrap();
        if Uid::effective().is_root() {
            command.user = Some((64_001, 64_001));
        }
        let (text, exit) = output_of(&shells(), command);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "4 ", "{text}");
        assert_eq!((lines[1], lines[2]), ("this", "0077"), "{text}");
        assert!(text.contains("NoNewPrivs:\t1") && text.contains("SigBlk:\t0000000000000000"), "{text}");
        assert!(!Uid::effective().is_root() || text.contains("CapEff:\t0000000000000000"), "{text}");
        assert_eq!(lines.last(), Some(&"40"), "{text}");
        assert_eq!(exit, Exit::Code(7));
    });
    assert_eq!(exit, Exit::Code(0));
}

#[test]
fn a_child_that_cannot_become_the_program_says_which_step_failed() {
    let exit = in_child(|| {
        let no_program = Programs::open_at(Path::new("/etc/passwd"), None).unwrap();
        let error = spawn(&no_program, shell("true")).unwrap_err();
        assert!(matches!(error, SpawnError::Child { step: "exec the program", source: Errno::EACCES }), "{error}");
        let mut command = shell("true");
        command.program = Program::Postgres;
        assert!(matches!(spawn(&shells(), command), Err(SpawnError::NoPostgres)));
        let mut command = shell("true");
        let fd = || OwnedFd::from(File::open("/dev/null").unwrap());
        command.fds = vec![(fd(), 4), (fd(), 4)];
        assert!(matches!(spawn(&shells(), command), Err(SpawnError::Descriptor(4))));
        let mut command = shell("true");
        command.fds = vec![(fd(), 10)];
        assert!(matches!(spawn(&shells(), command), Err(SpawnError::Descriptor(10))));
        assert!(matches!(spawn(&shells(), shell("a\0b")), Err(SpawnError::Argument(_))));
        assert_eq!(reap().unwrap(), [], "no child is left over");
    });
    assert_eq!(exit, Exit::Code(0));
}

#[test]
fn a_violation_is_told_from_other_ends() {
    let exit = in_child(|| {
        let mut command = shell("true");
        // The keeper's filter has no execveat.
        command.confine = Some((prepare(&Rules::default(), false).unwrap(), Role::Keeper));
        let child = spawn(&shells(), command).unwrap();
        assert_eq!(wait(child.pid).unwrap(), Exit::Violation);
        let child = spawn(&shells(), shell("kill -9 $$")).unwrap();
        assert_eq!(wait(child.pid).unwrap(), Exit::Signal(Signal::SIGKILL));
        let child = spawn(&shells(), shell("exec sleep 60")).unwrap();
        assert_eq!(reap().unwrap(), []);
        child.signal(Signal::SIGTERM).unwrap();
        assert_eq!(wait(child.pid).unwrap(), Exit::Signal(Signal::SIGTERM));
    });
    assert_eq!(exit, Exit::Code(0));
}

#[test]
fn a_role_ends_with_its_supervisor() {
    let (out, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
    let supervisor = in_child(|| {
        let mut command = shell("exec sleep 600");
        command.fds.push((writer.try_clone().unwrap(), 4));
        spawn(&shells(), command).unwrap();
    });
    assert_eq!(supervisor, Exit::Code(0));
    drop(writer);
    // The pipe ends when the last holder of its write end is dead.
    let channel = crate::channel::Channel::from(out);
    assert!(channel.wait_readable(Some(core::time::Duration::from_secs(10))).unwrap(), "the role lives on");
}

#[test]
fn only_named_binaries_can_be_executed_behind_landlock() {
    if kernel_abi() == 0 {
        return;
    }
    let exit = in_child(|| {
        let rules = Rules {
            paths: vec![
                PathRule::new("/bin/sh", Access::Execute),
                PathRule::new("/lib64/ld-linux-x86-64.so.2", Access::Execute),
                PathRule::new("/usr/lib", Access::Read),
                PathRule::new("/etc", Access::Read),
            ],
            ..Rules::default()
        };
        crate::landlock::restrict(&rules, false).unwrap();
        let child = spawn(&shells(), shell("exit 3")).unwrap();
        assert_eq!(wait(child.pid).unwrap(), Exit::Code(3));
        let child = spawn(&shells(), shell("/bin/true")).unwrap();
        assert_eq!(wait(child.pid).unwrap(), Exit::Code(126), "the shell is refused /bin/true");
        let other = Programs::open_at(Path::new("/bin/true"), None).unwrap();
        let error = spawn(&other, shell("")).unwrap_err();
        assert!(matches!(error, SpawnError::Child { step: "exec the program", source: Errno::EACCES }), "{error}");
    });
    assert_eq!(exit, Exit::Code(0));
}

/// Newest PostgreSQL of the machine, with initdb and psql beside it.
fn postgres_bin() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut all: Vec<_> =
        versions.flatten().map(|v| v.path().join("bin")).filter(|b| b.join("initdb").exists()).collect();
    all.sort();
    all.pop()
}

fn skipped(why: &str) {
    std::io::Write::write_all(&mut std::io::stderr(), format!("skipped: {why}\n").as_bytes()).unwrap();
}

/// A cluster in a directory of its own, owned by the machine's user `postgres`.
struct Cluster {
    bin: PathBuf,
    root: tempfile::TempDir,
    owner: nix::unistd::User,
}

impl Cluster {
    fn make() -> Option<Self> {
        let owner = nix::unistd::User::from_name("postgres").ok().flatten()?;
        let cluster = Self { bin: postgres_bin()?, root: tempfile::tempdir().unwrap(), owner };
        let (uid, gid) = (cluster.owner.uid.as_raw(), cluster.owner.gid.as_raw());
        std::os::unix::fs::chown(cluster.root.path(), Some(uid), Some(gid)).unwrap();
        let data = cluster.root.path().join("data");
        let args = ["-A", "peer", "--no-locale", "-E", "UTF8", "-N", "-D"];
        let made = cluster.run("initdb").args(args).arg(data).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Some(cluster)
    }

    /// A program of PostgreSQL as the owner, without walls.
    fn run(&self, program: &str) -> std::process::Command {
        use std::os::unix::process::CommandExt;
        let mut command = std::process::Command::new(self.bin.join(program));
        command.uid(self.owner.uid.as_raw()).gid(self.owner.gid.as_raw()).env_clear().current_dir("/");
        command
    }

    fn sql(&self, statements: &[&str]) -> (String, String) {
        let mut psql = self.run("psql");
        psql.args(["-d", "postgres", "-At", "-h"]).arg(self.root.path());
        for sql in statements {
            psql.args(["-c", sql]);
        }
        let out = psql.output().unwrap();
        (String::from_utf8_lossy(&out.stdout).into_owned(), String::from_utf8_lossy(&out.stderr).into_owned())
    }

    /// What a supervisor does, behind its own envelope; returns when postgres has ended.
    fn supervise(&self) {
        let postgres = self.bin.join("postgres");
        let path = |path: &str, access| PathRule::new(path, access);
        let rules = Rules {
            paths: vec![
                PathRule::new(&postgres, Access::Execute),
                path("/lib64/ld-linux-x86-64.so.2", Access::Execute),
                path("/usr", Access::Read),
                path("/etc", Access::Read),
                path("/proc", Access::Read),
                path("/dev/null", Access::ReadWrite),
                path("/dev/shm", Access::ReadWrite),
                PathRule::new(self.root.path(), Access::ReadWrite),
            ],
            ..Rules::default()
        };
        let programs = Programs::open(Some(&postgres)).unwrap();
        crate::landlock::restrict(&rules, false).unwrap();
        seccomp::apply(Role::Supervisor).unwrap();
        let root = self.root.path().display();
        let log = File::create(self.root.path().join("log")).unwrap();
        let command = Command {
            program: Program::Postgres,
            args: [format!("{}", postgres.display()), "-D".to_owned(), format!("{root}/data"), "-k".to_owned()]
                .into_iter()
                .chain([format!("{root}"), "-clisten_addresses=".to_owned(), "-cjit=off".to_owned()])
                .collect(),
            env: vec!["LC_ALL=C".to_owned()],
            user: Some((self.owner.uid.as_raw(), self.owner.gid.as_raw())),
            fds: vec![(log.into(), 2)],
            limits: Limits::default(),
            confine: Some((prepare(&rules, false).unwrap(), Role::Postgres)),
        };
        let child = spawn(&programs, command).unwrap();
        assert_eq!(wait(child.pid).unwrap(), Exit::Code(0));
    }
}

#[test]
fn postgres_runs_a_cluster_behind_envelope_filter_and_landlock() {
    if !Uid::effective().is_root() {
        return skipped("starting postgres as another user needs root");
    }
    let Some(cluster) = Cluster::make() else { return skipped("no PostgreSQL on this machine") };
    std::thread::scope(|scope| {
        let supervisor = scope.spawn(|| in_child(|| cluster.supervise()));
        let up = |_| {
            std::thread::sleep(core::time::Duration::from_millis(100));
            supervisor.is_finished() || cluster.sql(&["select 1"]).0 == "1\n"
        };
        let log = || std::fs::read_to_string(cluster.root.path().join("log")).unwrap_or_default();
        assert!((0..200).any(up) && !supervisor.is_finished(), "postgres did not come up: {}", log());
        let (text, errors) = cluster.sql(&[
            "create table t(a int primary key, b text)",
            "insert into t select g, repeat(md5(g::text), 20) from generate_series(1, 50000) g",
            "create function f() returns bigint language plpgsql as \
             $$ begin perform pg_sleep(0.05); return (select count(*) from t); end $$",
            "set work_mem = 64; create temp table s as select b from t order by b",
            "set max_parallel_workers_per_gather = 2; set parallel_setup_cost = 0; set min_parallel_table_scan_size = 0; \
             select count(*) from t where b like '%ab%'",
            "select f() + 42",
            "vacuum full t",
            "checkpoint",
            "create database u",
            "drop database u",
            "drop table t",
            "select pg_reload_conf()",
        ]);
        assert!(errors.is_empty() && text.lines().any(|l| l == "50042"), "{text}{errors}{}", log());
        let (_, errors) = cluster.sql(&["set statement_timeout = 100; select pg_sleep(5)"]);
        assert!(errors.contains("statement timeout"), "{errors}");
        let (_, errors) = cluster.sql(&["copy (select 1) to program 'true'"]);
        assert!(!errors.is_empty(), "postgres started a program");
        assert!((0..200).any(up) && !supervisor.is_finished(), "no recovery after a violation: {}", log());
        let pid = std::fs::read_to_string(cluster.root.path().join("data/postmaster.pid"));
        let pid = pid.ok().and_then(|p| p.lines().next()?.parse().ok());
        kill(Pid::from_raw(pid.unwrap_or_else(|| panic!("{}", log()))), Signal::SIGINT).unwrap();
        assert_eq!(supervisor.join().unwrap(), Exit::Code(0), "{}", log());
    });
}

#[test]
fn a_role_starts_behind_the_envelope_and_puts_its_own_walls_on() {
    let exit = in_child(|| {
        let programs = Programs::open(None).unwrap();
        let own = std::env::current_exe().unwrap();
        let rules = Rules {
            paths: vec![
                PathRule::new(&own, Access::Execute),
                PathRule::new("/lib64/ld-linux-x86-64.so.2", Access::Execute),
                PathRule::new("/usr", Access::Read),
                PathRule::new("/etc", Access::Read),
                PathRule::new("/proc", Access::Read),
                PathRule::new(std::env::temp_dir(), Access::ReadWrite),
            ],
            ..Rules::default()
        };
        let log = File::options().write(true).open("/dev/null").unwrap();
        privileges::keep_only(&privileges::Capability::SUPERVISOR).unwrap();
        crate::landlock::restrict(&rules, false).unwrap();
        seccomp::apply(Role::Supervisor).unwrap();
        // This very binary, with the test of a role that confines itself as its main.
        let mut command = shell("");
        command.args = ["role", "keeper_keeps_files", "--test-threads=1"].map(str::to_owned).to_vec();
        command.env.push(format!("TMPDIR={}", std::env::temp_dir().display()));
        command.fds.push((log.into(), 1));
        if Uid::effective().is_root() {
            command.user = Some((64_003, 64_003));
        }
        let child = spawn(&programs, command).unwrap();
        assert_eq!(wait(child.pid).unwrap(), Exit::Code(0));
    });
    assert_eq!(exit, Exit::Code(0));
}
