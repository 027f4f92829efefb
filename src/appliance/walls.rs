//! The Landlock rules of every process, one function each: what production puts on is what `probe` tries attacks behind.
//!
//! What does not belong: system calls (`policies/seccomp/`), putting the walls on (`boot`, `supervisor`). Rules are
//! inherited, so the supervisor's are at least the union of its roles': where that is more than it needs itself, the
//! table of attacks (`peri_sandbox::probe`) and the decision record 0003 say so.

use crate::config::Config;
use peri_sandbox::landlock::{Access, PathRule, Rules};
use peri_sandbox::privileges::Capability;
use peri_sandbox::seccomp::Role;
use std::path::{Path, PathBuf};

/// keeper: its own directory.
pub(crate) fn keeper(own: PathBuf) -> Rules {
    only(vec![PathRule::new(own, Access::ReadWrite)])
}

/// scribe: its own directory, the store, and the socket directory of PostgreSQL where it exists already.
pub(crate) fn scribe(own: PathBuf, store: PathBuf, database_dir: &Path) -> Rules {
    let mut paths = vec![PathRule::new(own, Access::ReadWrite), PathRule::new(store, Access::ReadWrite)];
    if database_dir.exists() {
        paths.push(PathRule::new(database_dir, Access::ReadWrite));
    }
    only(paths)
}

/// portal: nothing; its socket and the segments it streams are handed to it.
pub(crate) fn portal() -> Rules {
    Rules::default()
}

/// recorder: no file, and one TCP port.
pub(crate) fn recorder(port: u16) -> Rules {
    Rules { connect_ports: vec![port], ..Rules::default() }
}

/// The one-shot migration: the socket directory of PostgreSQL.
pub(crate) fn migrate(database_dir: &Path) -> Rules {
    only(vec![PathRule::new(database_dir, Access::ReadWrite)])
}

/// The private PostgreSQL: its program, the directory of its cluster, its socket directory, and what a program loads.
pub(crate) fn postgres(program: &Path, cluster: &Path, database_dir: &Path) -> Rules {
    let mut paths = vec![
        PathRule::new(program, Access::Execute),
        PathRule::new(cluster, Access::ReadWrite),
        PathRule::new(database_dir, Access::ReadWrite),
    ];
    paths.extend(loaded(Some(program)));
    only(paths)
}

/// The supervisor: two programs, the directories of the roles, and any TCP port to connect to, because a recorder may not
/// be denied the port of a camera that nobody knows yet.
pub(crate) fn supervisor(config: &Config, program: Option<&Path>, database_dir: &Path) -> Rules {
    let mut paths = vec![
        PathRule::new("/proc/self/exe", Access::Execute),
        PathRule::new(config.data.clone(), Access::ReadWrite),
        PathRule::new(config.run.clone(), Access::ReadWrite),
    ];
    match program {
        Some(program) => paths.push(PathRule::new(program, Access::Execute)),
        None => paths.push(PathRule::new(database_dir, Access::ReadWrite)),
    }
    paths.extend(loaded(program));
    Rules { paths, any_connect: true, ..Rules::default() }
}

/// What the supervisor keeps of root's capabilities; without root it has none.
pub(crate) fn capabilities(root: bool) -> &'static [Capability] {
    if root { &Capability::SUPERVISOR } else { &[] }
}

/// The rules of a role as the configuration decides them: for `probe`, which nobody hands descriptors to.
pub(crate) fn of(role: Role, config: &Config) -> Rules {
    let program = config.database.socket_dir.is_none().then(|| config.postgres_dir().join("postgres"));
    let database_dir = config.database.socket_dir.clone().unwrap_or_else(|| config.run.join("postgres"));
    match role {
        Role::Supervisor => supervisor(config, program.as_deref(), &database_dir),
        Role::Recorder => recorder(RTSP_PORT),
        Role::Keeper => keeper(config.data.join("keeper")),
        Role::Scribe => scribe(config.data.join("scribe"), config.data.join("store"), &database_dir),
        Role::Portal => portal(),
        Role::Postgres => {
            postgres(&config.postgres_dir().join("postgres"), &config.data.join("postgres"), &database_dir)
        }
        Role::Migrate => migrate(&database_dir),
    }
}

/// The port of a camera whose URL names none.
const RTSP_PORT: u16 = 554;

/// Files below `/etc` that a C library, its resolver of users and OpenSSL read when a program starts. Nothing else of
/// `/etc`: the supervisor is uid 0, to whom passwords and keys of the machine belong.
const ETC: [&str; 10] = [
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/group",
    "/etc/localtime",
    "/etc/timezone",
    "/etc/gai.conf",
    "/etc/hosts",
    "/etc/ssl/openssl.cnf",
];

/// The dynamic loader of both programs, what they load, and what PostgreSQL reads. The loader cannot be executed by
/// name: the filter allows execveat on two descriptors alone. `/proc` is whole because no rule can name the `/proc/self`
/// of a process that is yet to be; what of it may be read, the kernel decides by uid and by Landlock's own ban of tracing.
fn loaded(program: Option<&Path>) -> Vec<PathRule> {
    // PostgreSQL's libraries and catalogues lie beside its programs.
    let installation = program.and_then(Path::parent).and_then(Path::parent).map(|dir| (dir, Access::Read));
    let fixed = [
        ("/lib64/ld-linux-x86-64.so.2", Access::Execute),
        ("/lib", Access::Read),
        ("/lib64", Access::Read),
        ("/usr/lib", Access::Read),
        ("/usr/share", Access::Read),
        ("/proc", Access::Read),
        ("/dev/null", Access::ReadWrite),
        ("/dev/urandom", Access::Read),
    ];
    fixed
        .into_iter()
        .chain(ETC.map(|path| (path, Access::Read)))
        .map(|(path, access)| (Path::new(path), access))
        .chain(installation)
        .filter(|(path, _)| path.exists())
        .map(|(path, access)| PathRule::new(path, access))
        .collect()
}

fn only(paths: Vec<PathRule>) -> Rules {
    Rules { paths, ..Rules::default() }
}
