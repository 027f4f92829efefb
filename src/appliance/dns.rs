//! DNS messages (RFC 1035): the one question a recorder asks, and what counts as its answer.
//!
//! Read from outside, so a parser of its own without sockets; who asks whom and how often is `recorder::dns`. Invariant:
//! an answer counts only for the very name, kind and id that were asked.

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QTYPE, Question, RCODE, TYPE};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Aliases followed inside one answer.
const ALIASES_MAX: usize = 8;

/// Which addresses are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// IPv4, record type A.
    V4,
    /// IPv6, record type AAAA.
    V6,
}

impl Kind {
    const fn record(self) -> TYPE {
        match self {
            Self::V4 => TYPE::A,
            Self::V6 => TYPE::AAAA,
        }
    }
}

/// What a resolver says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// These addresses; none of IPv6 is the normal case, not a missing name.
    Addresses(Vec<IpAddr>),
    /// There is no such name, or it has no IPv4 address.
    NoSuchName,
}

/// The question; `None` when the name is no host name.
#[must_use]
pub fn question(name: &str, kind: Kind, id: u16) -> Option<Vec<u8>> {
    let name = Name::new(name.trim_end_matches('.')).ok().filter(Name::is_valid_hostname)?;
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    packet.questions.push(Question::new(name, QTYPE::TYPE(kind.record()), CLASS::IN.into(), false));
    packet.build_bytes_vec().ok()
}

/// Reads an answer; `None` for what is no answer to this question.
#[must_use]
pub fn answer(bytes: &[u8], name: &str, kind: Kind, id: u16) -> Option<Answer> {
    let packet = Packet::parse(bytes).ok()?;
    let wanted = Name::new(name.trim_end_matches('.')).ok()?;
    let asked = packet.questions.first()?;
    if packet.id() != id
        || !packet.has_flags(PacketFlag::RESPONSE)
        || !same_name(&asked.qname, &wanted)
        || asked.qtype != QTYPE::TYPE(kind.record())
    {
        return None;
    }
    match packet.rcode() {
        RCODE::NoError => {}
        RCODE::NameError => return Some(Answer::NoSuchName),
        _ => return None,
    }
    let mut current = wanted;
    for _ in 0..ALIASES_MAX {
        let alias = packet.answers.iter().find_map(|record| match &record.rdata {
            RData::CNAME(target) if same_name(&record.name, &current) => Some(target.0.clone()),
            _ => None,
        });
        match alias {
            Some(target) => current = target,
            None => break,
        }
    }
    let addresses = packet
        .answers
        .iter()
        .filter(|record| same_name(&record.name, &current))
        .filter_map(|record| match &record.rdata {
            RData::A(a) => Some(IpAddr::V4(Ipv4Addr::from(a.address))),
            RData::AAAA(a) => Some(IpAddr::V6(Ipv6Addr::from(a.address))),
            _ => None,
        })
        .collect::<Vec<_>>();
    if addresses.is_empty() && kind == Kind::V6 {
        return Some(Answer::Addresses(addresses));
    }
    Some(if addresses.is_empty() { Answer::NoSuchName } else { Answer::Addresses(addresses) })
}

/// Names compare without case (RFC 4343).
fn same_name(a: &Name<'_>, b: &Name<'_>) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    a.map(<[u8]>::to_ascii_lowercase).eq(b.map(<[u8]>::to_ascii_lowercase))
}
