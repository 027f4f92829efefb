//! Name resolution over port 53 of the configured resolvers, in the recorder itself; the messages are in `crate::dns`.
//!
//! A name proves nothing here: only the pin or CA behind it makes the other end trustworthy, so plain RTSP takes an
//! address. glibc's resolver would read files and load modules that this process has no right to.

use crate::dns::{Answer, Kind, answer, question};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

/// One try at one resolver; the resolvers of a local network answer in milliseconds.
const TRY: Duration = Duration::from_secs(2);

/// RFC 6891 §6.2.5 recommends 4,096 as the largest; without EDNS 512 is what comes.
const ANSWER_MAX: usize = 4_096;

/// Why a name has no address.
#[derive(Debug, thiserror::Error)]
pub(super) enum ResolveError {
    /// No resolver is configured.
    #[error(
        "the camera is given by the name {name}, but no resolver is configured; set dns.resolvers or use an address"
    )]
    NoResolver {
        /// The name.
        name: String,
    },
    /// Not a host name.
    #[error("{name} is not a host name")]
    BadName {
        /// The name.
        name: String,
    },
    /// The resolvers say that there is no such name, or that it has no address.
    #[error("host unknown: {name} has no address at the configured resolvers; check the name in the camera's URL")]
    NoSuchHost {
        /// The name.
        name: String,
    },
    /// No resolver answered properly.
    #[error("no resolver answered for {name} ({last}); check dns.resolvers")]
    NoAnswer {
        /// The name.
        name: String,
        /// The last failure.
        last: String,
    },
}

/// Addresses of a name, IPv4 first. `random` supplies query ids.
///
/// # Errors
/// See [`ResolveError`].
pub(super) fn resolve(
    name: &str,
    resolvers: &[SocketAddr],
    random: impl Fn() -> u16,
) -> Result<Vec<IpAddr>, ResolveError> {
    if resolvers.is_empty() {
        return Err(ResolveError::NoResolver { name: name.into() });
    }
    let mut last = String::new();
    for resolver in resolvers {
        let mut found = Vec::new();
        let mut denied = false;
        for kind in [Kind::V4, Kind::V6] {
            match ask(name, kind, *resolver, random()) {
                Ok(Answer::Addresses(addresses)) => found.extend(addresses),
                Ok(Answer::NoSuchName) => denied = true,
                Err(AskError::BadName) => return Err(ResolveError::BadName { name: name.into() }),
                Err(AskError::Io(error)) => last = format!("{resolver}: {error}"),
            }
        }
        if !found.is_empty() {
            return Ok(found);
        }
        if denied {
            return Err(ResolveError::NoSuchHost { name: name.into() });
        }
    }
    Err(ResolveError::NoAnswer { name: name.into(), last })
}

enum AskError {
    BadName,
    Io(io::Error),
}

impl From<io::Error> for AskError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn ask(name: &str, kind: Kind, resolver: SocketAddr, id: u16) -> Result<Answer, AskError> {
    let query = question(name, kind, id).ok_or(AskError::BadName)?;
    let any: SocketAddr = match resolver {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    // The kernel draws the source port; together with the id an off-path forger has 2^30 to guess (RFC 5452).
    let socket = UdpSocket::bind(any)?;
    socket.connect(resolver)?;
    socket.set_read_timeout(Some(TRY))?;
    socket.send(&query)?;
    let mut buffer = [0; ANSWER_MAX];
    // A few foreign or late packets may come first; the timeout of each bounds the whole.
    for _ in 0..4 {
        let length = socket.recv(&mut buffer)?;
        if let Some(answer) = answer(&buffer[..length], name, kind, id) {
            return Ok(answer);
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "answers that do not fit the question").into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use simple_dns::rdata::{A, CNAME, RData};
    use simple_dns::{CLASS, Name, Packet, QTYPE, Question, RCODE, ResourceRecord, TYPE};

    fn reply(id: u16, records: Vec<ResourceRecord<'static>>, rcode: RCODE) -> Vec<u8> {
        let mut packet = Packet::new_reply(id);
        *packet.rcode_mut() = rcode;
        packet.questions.push(Question::new(
            Name::new_unchecked("cam.example"),
            QTYPE::TYPE(TYPE::A),
            CLASS::IN.into(),
            false,
        ));
        packet.answers = records;
        packet.build_bytes_vec().unwrap()
    }

    fn serve(make: impl Fn(u16) -> Vec<u8> + Send + 'static) -> SocketAddr {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((_, from)) = server.recv_from(&mut buffer) {
                let id = u16::from_be_bytes([buffer[0], buffer[1]]);
                server.send_to(&make(id), from).unwrap();
            }
        });
        address
    }

    #[test]
    fn an_alias_is_followed_to_its_address() {
        let server = serve(|id| {
            let alias = Name::new_unchecked("real.example");
            reply(
                id,
                vec![
                    ResourceRecord::new(
                        Name::new_unchecked("CAM.example"),
                        CLASS::IN,
                        1,
                        RData::CNAME(CNAME(alias.clone())),
                    ),
                    ResourceRecord::new(alias, CLASS::IN, 1, RData::A(A { address: 0x7f00_0001 })),
                ],
                RCODE::NoError,
            )
        });
        let found = resolve("cam.example", &[server], || 7).unwrap();
        assert_eq!(found, [IpAddr::V4(Ipv4Addr::LOCALHOST)]);
    }

    #[test]
    fn an_unknown_host_is_named() {
        let server = serve(|id| reply(id, vec![], RCODE::NameError));
        let error = resolve("cam.example", &[server], || 7).unwrap_err();
        assert!(error.to_string().contains("host unknown: cam.example"), "{error}");
    }

    #[test]
    fn an_answer_with_another_id_does_not_count() {
        assert!(answer(&reply(8, vec![], RCODE::NameError), "cam.example", Kind::V4, 7).is_none());
    }

    #[test]
    fn without_resolvers_a_name_is_refused_with_the_remedy() {
        let error = resolve("cam.example", &[], || 7).unwrap_err();
        assert!(error.to_string().contains("dns.resolvers"), "{error}");
    }
}
