//! Every parser of the product, and the fuzz target that tries it or the reason why none does. What counts as a parser is
//! read out of the sources: a function that is named like one and takes bytes or text, or one that calls a decoder. So a
//! new one shows as a row that is missing, and one that went as a row too many.
//!
//! What does not belong: the targets. `Decode` implementations have no row of their own: they run within the decoders here.

use crate::tree::{File, files_below};
use std::collections::BTreeSet;

/// Names of parsers begin with these.
const NAMES: [&str; 5] = ["from_", "parse", "decode", "read_", "try_from"];

/// What a parser takes.
const TAKEN: [&str; 6] = ["[u8", "&str", "String", "UnixStream", "&Row", "&Note"];

/// What calls one of these parses, whatever its name.
const DECODERS: [&str; 14] = [
    "canonical::decode(",
    "minicbor::decode(",
    "minicbor::decode::<",
    "decode_strict(",
    "decode_strict::<",
    "toml::from_str(",
    "serde_json::from_",
    "URL_SAFE_NO_PAD.decode(",
    "STANDARD.decode(",
    "from_be_bytes(",
    "from_le_bytes(",
    "Packet::parse(",
    "Message::parse(",
    "PasswordHash::new(",
];

/// Parser, the target that tries it, and how the target's source gets to it.
pub(crate) const TRIED: &[(&str, &str, &str)] = &[
    ("access/attempts.rs Attempts::from_bytes", "attempts", "Attempts::from_bytes"),
    ("access/invite.rs Invitation::parse", "invitation", "Invitation::parse"),
    ("access/invite.rs Invitations::restore", "invitation", "kept.restore("),
    ("access/onetime.rs Chain::from_bytes", "onetime", "Chain::from_bytes"),
    ("access/onetime.rs Holder::from_bytes", "onetime", "Holder::from_bytes"),
    ("access/proof.rs Proof::from_text", "proof", "Proof::from_text"),
    ("access/session.rs SignedCertificate::from_bytes", "certificate", "SignedCertificate::from_bytes"),
    ("access/wire.rs decode_strict", "access_wire", "decode_strict::<T>"),
    ("appliance/config.rs Config::parse", "config", "Config::parse"),
    ("appliance/config.rs Resolver::try_from", "config", "Config::parse"),
    ("appliance/dns.rs answer", "dns", "dns::answer"),
    ("client/commands/invite.rs Link::parse", "typed", "Link::parse("),
    ("client/hours.rs parse", "typed", "hours::parse("),
    ("client/profile.rs Identity::from_bytes", "client_files", "Identity::from_bytes"),
    ("client/request.rs KeyRequest::from_bytes", "client_files", "KeyRequest::from_bytes"),
    ("client/times.rs parse", "typed", "times::parse("),
    ("client/times.rs parse_span", "typed", "times::parse_span"),
    ("client/vault.rs Vault::key", "client_files", "vault.key("),
    ("client/vault.rs Vault::state", "client_files", "Profile::load"),
    ("domain/ids.rs $name::from_slice", "typed", "CameraId::from_slice"),
    ("domain/ids.rs $name::from_str", "typed", "parse::<CameraId>"),
    ("domain/ids.rs decode_hex", "typed", "parse::<CameraId>"),
    ("domain/time.rs UtcNanos::parse_rfc3339", "typed", "times::parse("),
    ("ledger/checkpoint.rs Checkpoint::from_str", "note", "parse::<Checkpoint>"),
    ("ledger/checkpoint.rs Checkpoint::try_from", "note", "Checkpoint::try_from"),
    ("ledger/entry.rs Entry::from_bytes", "ledger_entry", "Entry::from_bytes"),
    ("ledger/entry.rs Event::from_bytes", "ledger_entry", "Event::from_bytes"),
    ("ledger/entry.rs from_canonical", "ledger_entry", "Entry::from_bytes"),
    ("ledger/note.rs Note::from_str", "note", "parse::<Note>"),
    ("ledger/note.rs VerifyKey::from_str", "note", "parse::<VerifyKey>"),
    ("ledger/note.rs parse_line", "note", "parse::<Note>"),
    ("media/h264.rs Depacketizer::payload", "h264", "Depacketizer"),
    ("media/h264/params.rs Sps::parse", "sps", "Sps::parse"),
    ("media/mp4join.rs Media::parse", "mp4join", "joiner.media("),
    ("media/rtp.rs Packet::parse", "rtp", "Packet::parse"),
    ("media/rtp.rs parse_rtcp", "rtcp", "parse_rtcp"),
    ("media/rtsp/wire.rs next", "rtsp_wire", "wire::next"),
    ("media/sdp.rs parse", "sdp", "sdp::parse"),
    ("roster/provisioning.rs Provisioning::from_bytes", "provisioning", "Provisioning::from_bytes"),
    ("roster/snapshot.rs RosterSet::read_covered", "snapshot", "RosterSet::read("),
    ("roster/snapshot.rs RosterSet::read_vouched", "snapshot", "RosterSet::read("),
    ("roster/statement.rs Proposal::from_bytes", "statement", "Proposal::from_bytes"),
    ("roster/statement.rs Statement::from_bytes", "statement", "Statement::from_bytes"),
    ("sandbox/channel.rs decode_canonical", "messages", "typed.recv()"),
    ("seal/canonical.rs decode", "epoch_records", "cbor::decode::<Wrap>"),
    ("seal/keys.rs UserPublic::from_bytes", "keys", "UserPublic::from_bytes"),
    ("seal/keys.rs UserPublic::from_parts", "keys", "UserPublic::from_parts"),
    ("seal/record.rs EpochRecord::from_bytes", "epoch_records", "EpochRecord::from_bytes"),
    ("seal/scan.rs TailScan::step", "segment_scan", "TailScan::open"),
    ("seal/segment.rs FragmentHeader::decode", "fragment_header", "FragmentHeader::decode"),
    ("seal/segment.rs parse_head", "segment_scan", "parse_head"),
    ("seal/segment.rs section", "segment_scan", "parse_head"),
    ("seal/userkey.rs RecoveryCode::parse", "userkey", "RecoveryCode::parse"),
    ("seal/userkey.rs WrappedUserKey::from_bytes", "userkey", "WrappedUserKey::from_bytes"),
    ("store/root.rs RootEntry::decode", "tpm", "RootEntry::decode"),
    ("store/root/tpm.rs TpmNv::receive", "tpm", "TpmNv::open"),
    ("store/segments.rs SegmentStore::leaves_of", "leaves", "store.read_leaves"),
    ("store/spool.rs parse", "spool", "Spool::open"),
    ("store/spool.rs parse_one", "spool", "Spool::open"),
    ("store/xfile/format.rs Record::key", "xfile", "XFile::open"),
    ("store/xfile/format.rs Sealer::open_header", "xfile", "XFile::open"),
];

const ANY_IS_GOOD: &str = "takes so many bytes, and any are a value: there is no form to get wrong";
const SECRET: &str =
    "takes a scalar of ours that lay wrapped or in a file of this process; the library checks its range";
const WITHIN: &str = "hands on what another row reads, and looks at no byte itself";
const OWN_FILE: &str = "keeper's own file, which no other role can write; damage is tried in the tests beside it";
const WRITES: &str = "only writes, or numbers what the kernel drew";
const OWN_POLICY: &str = "policies/crypto.toml, which is part of the program; its tests read it";
const AT_BUILD: &str = "reads the policies of this source tree while it is built; a wrong one stops the build";

/// Parsers that no target tries, with the reason.
pub(crate) const NOT_TRIED: &[(&str, &str)] = &[
    ("access/attempts.rs AttemptKey::from_bytes", ANY_IS_GOOD),
    ("access/login.rs SaltKey::from_bytes", ANY_IS_GOOD),
    (
        "access/login.rs Argon2id::verify",
        "the library parses the PHC text; the costs that count are bounded in its tests",
    ),
    ("access/onetime.rs OneTimeKey::from_bytes", ANY_IS_GOOD),
    ("access/session.rs SessionKey::from_secret_bytes", SECRET),
    ("appliance/keeper/files.rs Identity::load_or_create", OWN_FILE),
    ("appliance/keeper/files.rs Remembered::read", OWN_FILE),
    ("appliance/keeper/files.rs frame", OWN_FILE),
    ("appliance/keeper/files.rs read_seen", OWN_FILE),
    ("appliance/keeper/files.rs vm_of", OWN_FILE),
    (
        "appliance/maintenance.rs suspects",
        "details of the ledger, whose commitments are checked: what does not read is none",
    ),
    ("appliance/portal/desk.rs converse", WITHIN),
    (
        "appliance/portal/frames.rs read_frame",
        "a length and so many bytes; hostile clients try it in tests/portal_attacks.rs",
    ),
    ("appliance/portal/http.rs asked", WITHIN),
    ("appliance/portal/http.rs in_session", WITHIN),
    ("appliance/portal/http.rs proof_of", WITHIN),
    ("appliance/portal/identity.rs Identity::document", WITHIN),
    ("appliance/portal/live.rs begin", WITHIN),
    ("appliance/portal/live.rs converse", WITHIN),
    ("appliance/portal/questions.rs Questions::receive", WITHIN),
    ("appliance/portal/tls.rs ending", OWN_POLICY),
    ("appliance/portal/tls.rs provider_of", OWN_POLICY),
    ("appliance/recorder/session.rs Feed::rtp", WITHIN),
    (
        "appliance/scribe/alarms.rs Alarms::open",
        "scribe's own file of texts, read by decode_strict; its bounds have a test",
    ),
    ("appliance/scribe/door.rs Scribe::try_entrance", WITHIN),
    ("appliance/scribe/door.rs read", WITHIN),
    ("appliance/scribe/house.rs Scribe::read_health", WITHIN),
    ("appliance/scribe/house.rs Scribe::read_house", WITHIN),
    ("appliance/scribe/house.rs Scribe::read_proposals", WITHIN),
    ("appliance/scribe/requests.rs Scribe::read_ledger", WITHIN),
    ("appliance/scribe/requests.rs Scribe::read_roster", WITHIN),
    ("appliance/scribe/requests.rs Scribe::read_segments", WITHIN),
    ("appliance/scribe/requests.rs decode", WITHIN),
    ("client/commands/ledger.rs read_note", WITHIN),
    ("client/conn.rs Connection::answer", WITHIN),
    ("client/conn.rs Connection::request_with_id", WITHIN),
    ("client/conn.rs Connection::receive", "a length below a bound and so many bytes, from the pinned appliance"),
    ("client/files.rs Draft::create", WRITES),
    (
        "client/password.rs Passwords::from_lines",
        "lines of the person at the keyboard; any text within the bound is a password",
    ),
    ("client/password.rs read_file", "a password file of that person; any text within the bound is a password"),
    ("client/request.rs from_home", WITHIN),
    ("ledger/entry.rs Ledger::from_str", "one of a handful of words on the command line"),
    ("ledger/note.rs LedgerKeys::from_bytes", SECRET),
    ("ledger/note.rs LedgerKeys::from_parts", SECRET),
    ("ledger/note.rs VerifyKey::fmt", WRITES),
    (
        "media/auth.rs Answer::from_header",
        "takes any text of a link between roles, but for controls; target messages carries it",
    ),
    ("sandbox/durable.rs Dir::from_fd", "takes a descriptor; the text is a label for errors"),
    ("sandbox/policy.rs parse", AT_BUILD),
    ("sandbox/policy.rs parse_condition", AT_BUILD),
    ("sandbox/policy.rs parse_rule", AT_BUILD),
    ("sandbox/seccomp.rs Role::from_str", "one of a handful of words, from our own supervisor"),
    ("seal/keys.rs KeyPair::from_halves", SECRET),
    ("seal/keys.rs KeyPair::from_secret_bytes", SECRET),
    ("seal/keys.rs SigningKey::from_secret_bytes", SECRET),
    ("seal/secret.rs $name::from_bytes", ANY_IS_GOOD),
    ("seal/userkey.rs AuthKey::from_bytes", ANY_IS_GOOD),
    ("seal/userkey.rs DeviceSecret::from_bytes", ANY_IS_GOOD),
    ("seal/userkey.rs LaneKey::from_bytes", ANY_IS_GOOD),
    ("seal/userkey.rs RecoveryCode::checksum", WRITES),
    ("seal/userkey.rs RecoveryCode::from_bytes", ANY_IS_GOOD),
    ("seal/userkey.rs RecoveryCode::to_text", WRITES),
    ("seal/wrap.rs Share::from_parts", ANY_IS_GOOD),
    (
        "store/index.rs parse",
        "rows of PostgreSQL: the library decodes them by the types of our schema, each number is converted",
    ),
];

/// Every parser of the sources, as "file function".
pub(crate) fn found() -> BTreeSet<String> {
    let product = |file: &File| {
        let tests = |part: &str| part.starts_with("test") || matches!(part, "vectors" | "vectors.rs" | "simulated.rs");
        file.path.ends_with(".rs") && !file.path.ends_with("_tests.rs") && !file.path.split('/').skip(2).any(tests)
    };
    let files = files_below("src").into_iter().filter(product);
    files.flat_map(|file| parsers(file.path.trim_start_matches("src/"), file.source())).collect()
}

/// The parsers of one file.
pub(crate) fn parsers(path: &str, text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let (mut owner, mut function, mut out) = ("", None, Vec::new());
    for (at, line) in lines.iter().enumerate() {
        let code = line.trim();
        if *line == "#[cfg(test)]" && lines[at + 1..].iter().take(2).any(|l| l.starts_with("mod ") && l.ends_with('{'))
        {
            break;
        }
        if code.starts_with("//") {
            continue;
        }
        if code.starts_with("impl") && !line.ends_with(';') {
            owner = implemented(code);
        }
        if let Some(name) = declared(code) {
            owner = if line.starts_with(' ') { owner } else { "" };
            let whole = if owner.is_empty() { name.to_owned() } else { format!("{owner}::{name}") };
            function = Some(format!("{path} {whole}"));
            let head = lines[at..].iter().take(14).scan(false, |ended, line| {
                (!core::mem::replace(ended, line.ends_with(['{', ';', '}']))).then_some(*line)
            });
            let head = head.collect::<Vec<_>>().join(" ");
            let taken = head.split_once(name).map_or("", |(_, rest)| rest.split("->").next().unwrap_or_default());
            let fills = taken.contains("&mut [u8]") || taken.contains("Decoder");
            if NAMES.iter().any(|start| name.starts_with(start)) && !fills && TAKEN.iter().any(|t| taken.contains(t)) {
                out.extend(function.clone());
            }
        }
        if DECODERS.iter().any(|call| code.contains(call)) {
            out.extend(function.clone());
        }
    }
    out
}

/// The name of the function that a line declares.
fn declared(code: &str) -> Option<&str> {
    let before = |at: &usize| *at == 0 || code.as_bytes()[at - 1] == b' ';
    let at = code.match_indices("fn ").map(|(at, _)| at).find(before)?;
    let name = &code[at + 3..];
    let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')?;
    (end > 0).then_some(&name[..end])
}

/// The type of an `impl`, without its parameters.
fn implemented(code: &str) -> &str {
    let of = match code.rsplit_once(" for ") {
        Some((_, of)) => of,
        None if code.starts_with("impl<") => code.split_once("> ").map_or("", |(_, of)| of),
        None => code.trim_start_matches("impl "),
    };
    let of = of.trim_start_matches('&');
    &of[..of.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '$' | ':')).unwrap_or(of.len())]
}
