//! Before the supervisor confines itself: directories and their owners, the private database cluster, the TPM's
//! connection, portal's listening sockets. Everything a role will need later is opened here once and passed as a
//! descriptor; afterwards the supervisor can open no file. One thing it makes anew: the connection to a swtpm that died.

use crate::config::Config;
use crate::message::Notice;
use anyhow::{Context as _, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use nix::unistd::{Uid, User, chown};
use peri_store::root::{Separation, check_separate_disk};
use peri_store::schema;
use std::fs::{self, DirBuilder, File, Permissions};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};

/// uid and gid of a role; `None` when the supervisor is not root and every role runs as its user.
pub(super) type Identity = Option<(u32, u32)>;

/// What the roles run with.
pub(super) struct Prepared {
    pub(super) keeper: Identity,
    pub(super) scribe: Identity,
    pub(super) portal: Identity,
    pub(super) postgres: Identity,
    pub(super) keeper_dir: OwnedFd,
    pub(super) scribe_dir: OwnedFd,
    pub(super) store_dir: OwnedFd,
    pub(super) tpm: OwnedFd,
    pub(super) tpm_state: Option<OwnedFd>,
    pub(super) listener: OwnedFd,
    pub(super) tls_listener: Option<OwnedFd>,
    pub(super) provisioning: Vec<u8>,
    pub(super) database_dir: PathBuf,
    pub(super) cluster: Option<Cluster>,
    pub(super) notices: Vec<Notice>,
}

/// The private cluster.
pub(super) struct Cluster {
    pub(super) program: PathBuf,
    pub(super) data: PathBuf,
    /// What the walls of the cluster allow: the supervisor could not look into it later.
    pub(super) parent: PathBuf,
    pub(super) log: OwnedFd,
}

/// Does it all.
pub(super) fn prepare(config: &Config) -> anyhow::Result<Prepared> {
    let root = Uid::effective().is_root();
    let identity = |name: &str, key: &str| -> anyhow::Result<Identity> {
        if !root {
            return Ok(None);
        }
        let user = User::from_name(name)?
            .with_context(|| format!("users.{key}: there is no user {name}; run scripts/setup, or name another"))?;
        Ok(Some((user.uid.as_raw(), user.gid.as_raw())))
    };
    let keeper = identity(&config.users.keeper, "keeper")?;
    let scribe = identity(&config.users.scribe, "scribe")?;
    let portal = identity(&config.users.portal, "portal")?;
    let postgres = identity(&config.users.postgres, "postgres")?;

    let provisioning = fs::read(&config.provisioning).with_context(|| {
        format!(
            "cannot read the provisioning data {}; the customer makes it with `peri claim new`",
            config.provisioning.display()
        )
    })?;
    peri_roster::Provisioning::from_bytes(&provisioning)
        .with_context(|| format!("{} is not provisioning data", config.provisioning.display()))?;

    directory(&config.data, 0o711, None)?;
    directory(&config.run, 0o711, None)?;
    let keeper_path = directory(&config.data.join("keeper"), 0o700, keeper)?;
    let scribe_path = directory(&config.data.join("scribe"), 0o700, scribe)?;
    let store_path = directory(&config.data.join("store"), 0o700, scribe)?;

    let mut notices = vec![Notice::Unwitnessed];
    if config.root_store.state.is_none() && is_socket(&config.root_store.tpm) {
        bail!(
            "root_store.state: {} is the socket of a software TPM, so the directory of its state must be given: whether it \
             lies on another disk than the data could not be checked, nor its writes synced",
            config.root_store.tpm.display()
        );
    }
    if let Some(state) = &config.root_store.state {
        let separation = check_separate_disk(&config.data, state, config.root_store.same_disk)?;
        if separation == Separation::SameDisk {
            notices.push(Notice::RootStoreSameDisk);
        }
    }
    if config.accept.no_landlock {
        notices.push(Notice::NoLandlock);
    }
    let tpm = connect_tpm(&config.root_store.tpm)?;
    let tpm_state = config.root_store.state.as_deref().map(open_dir).transpose()?;
    let listener = listen(&config.run.join("portal.sock"))?;
    let tls_listener = config.portal.as_ref().map(|portal| listen_tls(portal.listen)).transpose()?;
    let (database_dir, cluster) = match &config.database.socket_dir {
        Some(dir) => (dir.clone(), None),
        None => {
            let dir = directory(&config.run.join("postgres"), 0o711, postgres)?;
            (dir, Some(cluster(config, postgres)?))
        }
    };
    Ok(Prepared {
        keeper,
        scribe,
        portal,
        postgres,
        keeper_dir: open_dir(&keeper_path)?,
        scribe_dir: open_dir(&scribe_path)?,
        store_dir: open_dir(&store_path)?,
        tpm,
        tpm_state,
        listener,
        tls_listener,
        provisioning,
        database_dir,
        cluster,
        notices,
    })
}

fn is_socket(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

/// Makes a directory where it is missing and gives it to its owner; one that belongs to somebody else is refused.
fn directory(path: &Path, mode: u32, owner: Identity) -> anyhow::Result<PathBuf> {
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .with_context(|| format!("cannot create the directory {}", path.display()))?;
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_dir() {
        bail!("{} must be a directory, not a file or link", path.display());
    }
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    if let Some((uid, gid)) = owner {
        chown(path, Some(uid.into()), Some(gid.into()))
            .with_context(|| format!("cannot give {} to uid {uid}", path.display()))?;
    }
    Ok(path.to_owned())
}

fn open_dir(path: &Path) -> anyhow::Result<OwnedFd> {
    Ok(File::open(path).with_context(|| format!("cannot open {}", path.display()))?.into())
}

/// The TPM: a device, or a swtpm's socket. The supervisor keeps the connection, so that a restart of scribe does not
/// end a swtpm that serves one client.
pub(crate) fn connect_tpm(path: &Path) -> anyhow::Result<OwnedFd> {
    let kind = fs::metadata(path).with_context(|| {
        format!("root_store.tpm: there is nothing at {}; start the swtpm or name the TPM device", path.display())
    })?;
    if kind.file_type().is_socket() {
        // Never waiting: a swtpm that hangs must not stop whoever asks. `TpmNv` waits by itself, with patience.
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let stream = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        connect(stream.as_raw_fd(), &UnixAddr::new(path)?)
            .with_context(|| format!("root_store.tpm: nobody listens at {}; start the swtpm", path.display()))?;
        return Ok(stream);
    }
    let device = File::options().read(true).write(true).open(path);
    Ok(device.with_context(|| format!("root_store.tpm: cannot open {}", path.display()))?.into())
}

/// Whether the other end of a swtpm's connection is gone. A device has no other end.
pub(super) fn is_hung_up(tpm: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(tpm.as_fd(), PollFlags::empty())];
    let gone = PollFlags::POLLHUP | PollFlags::POLLERR;
    poll(&mut fds, PollTimeout::ZERO).is_ok() && fds[0].revents().is_some_and(|seen| seen.intersects(gone))
}

/// Portal's socket: everybody on the host may connect, because the peer's uid grants nothing.
fn listen(path: &Path) -> anyhow::Result<OwnedFd> {
    if UnixStream::connect(path).is_ok() {
        bail!("another appliance serves {} already; stop it, or set `run` to another directory", path.display());
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let listener = UnixListener::bind(path).with_context(|| format!("cannot listen at {}", path.display()))?;
    fs::set_permissions(path, Permissions::from_mode(0o666))?;
    Ok(listener.into())
}

/// Portal's TLS listener. It is made here because its port may need root; the supervisor never accepts from it.
fn listen_tls(address: SocketAddr) -> anyhow::Result<OwnedFd> {
    let listener = TcpListener::bind(address).with_context(|| {
        format!("portal.listen: cannot listen at {address}; is the port taken, or the address not one of this machine?")
    })?;
    listener.set_nonblocking(true)?;
    Ok(listener.into())
}

/// Makes the cluster at the first start. It grows under another name and is renamed when whole, so a cut in the middle
/// leaves nothing that looks like one.
fn cluster(config: &Config, owner: Identity) -> anyhow::Result<Cluster> {
    let parent = directory(&config.data.join("postgres"), 0o700, owner)?;
    let data = parent.join("data");
    let log = File::options()
        .create(true)
        .append(true)
        .open(parent.join("log"))
        .with_context(|| format!("cannot write the log of PostgreSQL in {}", parent.display()))?;
    let program = config.postgres_dir().join("postgres");
    let plan = Cluster { program, data: data.clone(), parent: parent.clone(), log: log.into() };
    if !plan.program.exists() {
        bail!(
            "database.bin_dir: there is no {}; run scripts/setup, or name the directory of PostgreSQL's programs",
            plan.program.display()
        );
    }
    let accounts = if Uid::effective().is_root() {
        (config.users.postgres.clone(), config.users.scribe.clone())
    } else {
        let me =
            User::from_uid(Uid::effective())?.context("this uid has no name, and peer authentication needs one")?;
        (me.name.clone(), me.name)
    };
    if !data.exists() {
        let growing = parent.join("data.new");
        let _ = fs::remove_dir_all(&growing);
        let mut initdb = std::process::Command::new(config.postgres_dir().join("initdb"));
        initdb
            .args(["--auth=peer", "--encoding=UTF8", "--locale=C", "--username=postgres", "--data-checksums"])
            .args(["--no-instructions", "-D"])
            .arg(&growing)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .current_dir("/");
        if let Some((uid, gid)) = owner {
            initdb.uid(uid).gid(gid);
        }
        let output = initdb.output().context("cannot run initdb")?;
        if !output.status.success() {
            bail!("initdb failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        fs::rename(&growing, &data)?;
        File::open(&parent)?.sync_all()?;
    }
    let (hba, ident) = schema::peer_config(&[(&accounts.0, "postgres"), (&accounts.1, schema::SCRIBE)]);
    for (name, text) in [("pg_hba.conf", hba), ("pg_ident.conf", ident)] {
        let path = data.join(name);
        fs::write(&path, text)?;
        if let Some((uid, gid)) = owner {
            chown(&path, Some(uid.into()), Some(gid.into()))?;
        }
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};

    #[test]
    fn a_dead_swtpm_is_noticed_and_connected_to_again_without_waiting_for_one_that_hangs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tpm");
        assert!(connect_tpm(&path).unwrap_err().to_string().contains("there is nothing at"));
        let listener = UnixListener::bind(&path).unwrap();
        let first = connect_tpm(&path).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert!(!is_hung_up(&first));
        drop((accepted, listener));
        assert!(is_hung_up(&first));
        assert!(format!("{:#}", connect_tpm(&path).unwrap_err()).contains("nobody listens at"));
        fs::remove_file(&path).unwrap();
        let listener = UnixListener::bind(&path).unwrap();
        let again = connect_tpm(&path).unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        UnixStream::from(again.try_clone().unwrap()).write_all(b"x").unwrap();
        let mut byte = [0];
        accepted.read_exact(&mut byte).unwrap();
        assert!(byte == *b"x" && !is_hung_up(&again));
        // Somebody listens and never accepts: refused at last instead of waiting for ever.
        let waiting: Vec<_> = (0..5_000).map(|_| connect_tpm(&path)).take_while(Result::is_ok).collect();
        assert!(waiting.len() < 5_000, "the backlog never filled");
    }
}
