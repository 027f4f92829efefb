//! The protocol without the program `peri`: what an attacker with a key sends, not what our client would.

use super::Appliance;
use super::home::{Home, PASSWORD};
use peri_access::wire::{BirthCertificate, SegmentInfo, SegmentsPage, SpanBody};
use peri_client::conn::{ConnError, Connection};
use peri_client::vault::Vault;
use peri_domain::{Action, CameraId, UtcNanos};
use peri_seal::keys::KeyPair;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// A connection, and who is at the other end.
pub fn connect(socket: &Path) -> (Connection<UnixStream>, BirthCertificate) {
    let mut connection = Connection::open(socket).unwrap();
    let certificate = connection.hello().unwrap();
    (connection, certificate)
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
    let page: SegmentsPage = connection.request(certificate.vm, peri_access::wire::Method::Segments, &body, who)?;
    Ok(page.segments)
}
