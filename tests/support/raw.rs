//! The protocol without the program `peri`: what an attacker with a key sends, not what our client would.

use super::Appliance;
use super::guard::Guarded;
use super::home::{Home, PASSWORD};
use peri_access::wire::{
    BirthCertificate, FetchBody, Method, OpenBody, OpenedPage, SegmentInfo, SegmentsPage, SpanBody,
};
use peri_client::conn::{ConnError, Connection};
use peri_client::vault::Vault;
use peri_domain::{Action, CameraId, EpochNo, UtcNanos};
use peri_seal::keys::KeyPair;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A connection, and who is at the other end.
pub fn connect(socket: &Path) -> (Connection<UnixStream>, BirthCertificate) {
    let mut connection = Connection::open(socket).unwrap();
    let certificate = connection.hello().unwrap();
    (connection, certificate)
}

/// The same through a process of another user, which passes on what it reads: the peer that the appliance sees is he.
pub fn connect_as(uid: u32, socket: &Path) -> (Connection<UnixStream>, BirthCertificate, Guarded) {
    const RELAY: &str = "import socket, sys, threading
to, here = socket.socket(socket.AF_UNIX), socket.socket(fileno=0)
to.connect(sys.argv[1])
def pump(a, b):
    while data := a.recv(65536):
        b.sendall(data)
threading.Thread(target=pump, args=(to, here), daemon=True).start()
pump(here, to)
";
    let (here, there) = UnixStream::pair().unwrap();
    here.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", RELAY]).arg(socket).stdin(Stdio::from(OwnedFd::from(there))).current_dir("/").uid(uid).gid(uid);
    let relay = Guarded::spawn(&mut command);
    let mut connection = Connection::over(here);
    let certificate = connection.hello().unwrap();
    (connection, certificate, relay)
}

/// A key of a home, open.
pub fn key(home: &Home, name: &str) -> KeyPair {
    Vault::open(&home.keys()).unwrap().unlock(name, PASSWORD).unwrap()
}

/// The id of a camera of the roster.
pub fn camera(appliance: &Appliance, name: &str) -> CameraId {
    let roster = appliance.home.ok(&["roster", "show", "--as", "rev"]);
    let cameras = roster["cameras"].as_array().unwrap();
    let camera = cameras.iter().find(|camera| camera["name"] == name).unwrap_or_else(|| panic!("no camera {name}"));
    camera["camera"].as_str().unwrap().parse().unwrap()
}

/// Segments of a span that this key may have.
///
/// # Errors
/// What the appliance says.
pub fn segments(
    appliance: &Appliance,
    who: &KeyPair,
    camera: CameraId,
    from: UtcNanos,
    until: UtcNanos,
) -> Result<Vec<SegmentInfo>, ConnError> {
    let (mut connection, certificate) = connect(&appliance.socket());
    let body = SpanBody { camera, from, until, action: Action::Export };
    let page: SegmentsPage = connection.request(certificate.vm, Method::Segments, &body, who)?;
    Ok(page.segments)
}

/// X of epochs, asked by this key.
///
/// # Errors
/// What the appliance says.
pub fn open(
    appliance: &Appliance,
    who: &KeyPair,
    camera: CameraId,
    epochs: &[EpochNo],
    action: Action,
) -> Result<OpenedPage, ConnError> {
    let (mut connection, certificate) = connect(&appliance.socket());
    let body = OpenBody { camera, epochs: epochs.to_vec(), action, purpose: "test".into() };
    connection.request(certificate.vm, Method::Open, &body, who)
}

/// The first sealed bytes of an epoch, asked by this key; how many came.
///
/// # Errors
/// What the appliance says.
pub fn fetch(
    appliance: &Appliance,
    who: &KeyPair,
    camera: CameraId,
    epoch: EpochNo,
    action: Action,
) -> Result<usize, ConnError> {
    let (mut connection, certificate) = connect(&appliance.socket());
    let body = FetchBody { camera, epoch, offset: 0, length: Some(64), follow: false, action };
    let mut bytes = Vec::new();
    connection.fetch(certificate.vm, &body, who)?.read_to_end(&mut bytes)?;
    Ok(bytes.len())
}
