//! HTTP authentication as RTSP uses it: reading challenges, choosing the strongest, computing the answer.
//!
//! The client state machine never sees a password: it hands a [`Challenge`] out and takes an [`Answer`] back. The side
//! that knows the password calls [`answer`]. Digest is RFC 7616 (MD5, SHA-256, SHA-512-256 and their `-sess` forms, `qop=auth`
//! or none, `userhash`), Basic is RFC 7617 and only offered over TLS. MD5 is here because most cameras know nothing else;
//! its use is a recorded deviation of the camera-side crypto profile.
//!
//! Invariants: no password in an error or a `Debug` text; intermediate password equivalents are wiped.

use base64::Engine as _;
use minicbor::{Decode, Encode};
use peri_domain::limits::{AUTH_CHALLENGES_MAX, AUTH_PARAM_MAX};
use zeroize::{Zeroize, Zeroizing};

/// Why a challenge cannot be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// The `WWW-Authenticate` header does not parse.
    #[error("the camera's authentication challenge cannot be read ({detail}); update the camera's firmware")]
    Unreadable {
        /// What the parser says.
        detail: String,
    },
    /// No offered scheme is one we speak.
    #[error("the camera offers no usable authentication ({offered}); enable Digest authentication in the camera")]
    NoneUsable {
        /// Schemes that were offered.
        offered: String,
    },
    /// Only Basic is offered and the connection is not TLS.
    #[error(
        "the camera offers only Basic authentication without TLS, which would show its password to the network; enable Digest or RTSPS in the camera"
    )]
    BasicWithoutTls,
    /// User name, password or client nonce contain characters that no header may carry.
    #[error(
        "user name, password and nonce must not contain control characters (and no colon in the user name for Basic)"
    )]
    BadCharacters,
}

/// What a camera may ask for, in rising strength.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Scheme {
    /// RFC 7617; the password itself travels.
    #[n(0)]
    Basic,
    /// RFC 7616 with MD5.
    #[n(1)]
    DigestMd5,
    /// RFC 7616 with SHA-256.
    #[n(2)]
    DigestSha256,
    /// RFC 7616 with SHA-512/256.
    #[n(3)]
    DigestSha512_256,
}

/// One challenge bound to one request: everything the holder of the password needs, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Challenge {
    /// Scheme and algorithm.
    #[n(0)]
    pub scheme: Scheme,
    /// Whether HA1 is bound to the nonces (`-sess`).
    #[n(1)]
    pub session: bool,
    /// Protection space, as the camera names it.
    #[n(2)]
    pub realm: String,
    /// Server nonce.
    #[n(3)]
    pub nonce: String,
    /// To be sent back unchanged.
    #[n(4)]
    pub opaque: Option<String>,
    /// Whether the camera speaks `qop=auth` (else RFC 2069 form).
    #[n(5)]
    pub qop_auth: bool,
    /// Whether the user name must be sent hashed.
    #[n(6)]
    pub userhash: bool,
    /// How many answers this nonce has now been used for, from 1.
    #[n(7)]
    pub nc: u32,
    /// RTSP method of the request.
    #[n(8)]
    pub method: String,
    /// Request URI, exactly as sent.
    #[n(9)]
    pub uri: String,
    /// Whether the last answer was refused only because its nonce was old.
    #[n(10)]
    pub stale: bool,
}

/// Value of an `Authorization` header; wiped on drop, no `Debug`.
#[derive(Clone)]
pub struct Answer(Zeroizing<String>);

impl Answer {
    /// From a finished header value; `None` if it could break out of its header.
    #[must_use]
    pub fn from_header(value: String) -> Option<Self> {
        let value = Zeroizing::new(value);
        (!value.is_empty() && !has_controls(&value)).then_some(Self(value))
    }

    /// The header value.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Reads one or several joined `WWW-Authenticate` values and picks the strongest usable challenge (Digest SHA-512-256 >
/// SHA-256 > MD5 > Basic, the last only if `tls`). `method` and `uri` stay empty and `nc` 0 until a request is bound.
///
/// # Errors
/// [`AuthError`] when nothing is readable or usable.
pub fn choose(header: &str, tls: bool) -> Result<Challenge, AuthError> {
    let parsed = http_auth::parse_challenges(header)
        .map_err(|e| AuthError::Unreadable { detail: e.to_string().chars().take(120).collect() })?;
    let mut best: Option<Challenge> = None;
    let mut basic_refused = false;
    for candidate in parsed.iter().take(AUTH_CHALLENGES_MAX) {
        let Some(found) = read_challenge(candidate) else { continue };
        if found.scheme == Scheme::Basic && !tls {
            basic_refused = true;
        } else if best.as_ref().is_none_or(|b| found.scheme > b.scheme) {
            best = Some(found);
        }
    }
    match best {
        Some(challenge) => Ok(challenge),
        None if basic_refused => Err(AuthError::BasicWithoutTls),
        None => Err(AuthError::NoneUsable {
            offered: parsed.iter().take(AUTH_CHALLENGES_MAX).map(|c| c.scheme).collect::<Vec<_>>().join(", "),
        }),
    }
}

fn read_challenge(from: &http_auth::ChallengeRef<'_>) -> Option<Challenge> {
    let mut out = Challenge {
        scheme: Scheme::DigestMd5,
        session: false,
        realm: String::new(),
        nonce: String::new(),
        opaque: None,
        qop_auth: false,
        userhash: false,
        nc: 0,
        method: String::new(),
        uri: String::new(),
        stale: false,
    };
    let mut qop_seen = false;
    let digest = from.scheme.eq_ignore_ascii_case("digest");
    if !digest {
        if !from.scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        out.scheme = Scheme::Basic;
    }
    for (name, value) in &from.params {
        let value = value.to_unescaped();
        if value.len() > AUTH_PARAM_MAX || has_controls(&value) {
            return None;
        }
        match name.to_ascii_lowercase().as_str() {
            "realm" => out.realm = value,
            "nonce" => out.nonce = value,
            "opaque" => out.opaque = Some(value),
            "stale" => out.stale = value.eq_ignore_ascii_case("true"),
            "userhash" => out.userhash = value.eq_ignore_ascii_case("true"),
            "qop" => {
                qop_seen = true;
                out.qop_auth = value.split(',').any(|q| q.trim().eq_ignore_ascii_case("auth"));
            }
            "algorithm" if digest => {
                let value = value.to_ascii_uppercase();
                let (name, session) = value.strip_suffix("-SESS").map_or((value.as_str(), false), |name| (name, true));
                out.session = session;
                out.scheme = match name {
                    "MD5" => Scheme::DigestMd5,
                    "SHA-256" => Scheme::DigestSha256,
                    "SHA-512-256" => Scheme::DigestSha512_256,
                    _ => return None,
                };
            }
            _ => {}
        }
    }
    // A digest without nonce means nothing; a qop list without `auth` asks for auth-int, which we do not speak.
    (!digest || (!out.nonce.is_empty() && (!qop_seen || out.qop_auth))).then_some(out)
}

/// `nextnonce` of an `Authentication-Info` header (RFC 7616 section 3.5), if it names one.
#[must_use]
pub fn next_nonce(header: &str) -> Option<String> {
    // The header is a bare parameter list; under an invented scheme it parses like a challenge.
    let text = format!("Digest {header}");
    let parsed = http_auth::parse_challenges(&text).ok()?;
    let (_, value) = parsed.first()?.params.iter().find(|(name, _)| name.eq_ignore_ascii_case("nextnonce"))?;
    let value = value.to_unescaped();
    (!value.is_empty() && value.len() <= AUTH_PARAM_MAX && !has_controls(&value)).then_some(value)
}

/// Computes the `Authorization` value for a challenge. `cnonce` is drawn by the caller (at least 128 random bits as text);
/// it is unused for Basic.
///
/// # Errors
/// [`AuthError::BadCharacters`].
pub fn answer(challenge: &Challenge, user: &str, password: &str, cnonce: &str) -> Result<Answer, AuthError> {
    let texts = [&challenge.realm, &challenge.nonce, &challenge.method, &challenge.uri];
    if has_controls(user)
        || has_controls(password)
        || has_controls(cnonce)
        || texts.into_iter().any(|t| has_controls(t))
        || challenge.opaque.as_deref().is_some_and(has_controls)
        || (challenge.scheme == Scheme::Basic && user.contains(':'))
    {
        return Err(AuthError::BadCharacters);
    }
    if challenge.scheme == Scheme::Basic {
        let pair = Zeroizing::new(format!("{user}:{password}"));
        let text = Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(pair.as_bytes()));
        return Ok(Answer(Zeroizing::new(format!("Basic {}", text.as_str()))));
    }
    let hash = |parts: &[&str]| digest_hex(challenge.scheme, parts);
    let response = digest_response(challenge, user, password, cnonce);
    let name = if challenge.userhash { hash(&[user, &challenge.realm]) } else { Zeroizing::new(quoted(user)) };
    let mut text = format!(
        "Digest username=\"{}\", realm=\"{}\", nonce=\"{}\", uri=\"{}\", response=\"{}\"",
        name.as_str(),
        quoted(&challenge.realm),
        quoted(&challenge.nonce),
        quoted(&challenge.uri),
        response.as_str()
    );
    // Without `algorithm` MD5 is meant; some old cameras choke on the word, so it is left out exactly there.
    if challenge.scheme != Scheme::DigestMd5 || challenge.session {
        text += ", algorithm=";
        text += match challenge.scheme {
            Scheme::DigestSha256 => "SHA-256",
            Scheme::DigestSha512_256 => "SHA-512-256",
            Scheme::DigestMd5 | Scheme::Basic => "MD5",
        };
        if challenge.session {
            text += "-sess";
        }
    }
    if challenge.qop_auth || challenge.session {
        text += &format!(", cnonce=\"{}\"", quoted(cnonce));
    }
    if challenge.qop_auth {
        text += &format!(", qop=auth, nc={:08x}", challenge.nc);
    }
    if let Some(opaque) = &challenge.opaque {
        text += &format!(", opaque=\"{}\"", quoted(opaque));
    }
    if challenge.userhash {
        text += ", userhash=true";
    }
    Ok(Answer(Zeroizing::new(text)))
}

/// The `response` value of RFC 7616 section 3.4.1 as lower case hexadecimal.
#[must_use]
pub fn digest_response(challenge: &Challenge, user: &str, password: &str, cnonce: &str) -> Zeroizing<String> {
    let hash = |parts: &[&str]| digest_hex(challenge.scheme, parts);
    let mut ha1 = hash(&[user, &challenge.realm, password]);
    if challenge.session {
        ha1 = hash(&[&ha1, &challenge.nonce, cnonce]);
    }
    let ha2 = hash(&[&challenge.method, &challenge.uri]);
    if challenge.qop_auth {
        hash(&[&ha1, &challenge.nonce, &format!("{:08x}", challenge.nc), cnonce, "auth", &ha2])
    } else {
        hash(&[&ha1, &challenge.nonce, &ha2])
    }
}

/// Hash over the parts joined by colons.
fn digest_hex(scheme: Scheme, parts: &[&str]) -> Zeroizing<String> {
    fn run<D: sha2::Digest>(parts: &[&str]) -> Zeroizing<String> {
        let mut hasher = D::new();
        for (i, part) in parts.iter().enumerate() {
            if i > 0 {
                hasher.update(b":");
            }
            hasher.update(part.as_bytes());
        }
        let mut digest = hasher.finalize();
        let text = digest.iter().fold(String::with_capacity(64), |mut text, byte| {
            text.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
            text.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
            text
        });
        digest.as_mut_slice().zeroize();
        Zeroizing::new(text)
    }
    match scheme {
        Scheme::Basic | Scheme::DigestMd5 => run::<md5::Md5>(parts),
        Scheme::DigestSha256 => run::<sha2::Sha256>(parts),
        Scheme::DigestSha512_256 => run::<sha2::Sha512_256>(parts),
    }
}

fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

fn has_controls(text: &str) -> bool {
    text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mufasa(scheme: Scheme) -> Challenge {
        Challenge {
            scheme,
            session: false,
            realm: "http-auth@example.org".into(),
            nonce: "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v".into(),
            opaque: Some("FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS".into()),
            qop_auth: true,
            userhash: false,
            nc: 1,
            method: "GET".into(),
            uri: "/dir/index.html".into(),
            stale: false,
        }
    }

    const CNONCE: &str = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";

    #[test]
    fn rfc7616_md5_and_sha256_examples_hold() {
        let response = |s| digest_response(&mufasa(s), "Mufasa", "Circle of Life", CNONCE);
        assert_eq!(response(Scheme::DigestMd5).as_str(), "8ca523f5e9506fed4657c9700eebdbec");
        assert_eq!(
            response(Scheme::DigestSha256).as_str(),
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"
        );
    }

    #[test]
    fn rfc7616_sha512_256_example_holds_as_corrected_by_erratum_4897() {
        let challenge = Challenge {
            scheme: Scheme::DigestSha512_256,
            realm: "api@example.org".into(),
            nonce: "5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK".into(),
            opaque: Some("HRPCssKJSGjCrkzDg8OhwpzCiGPChXYjwrI2QmXDnsOS".into()),
            userhash: true,
            uri: "/doe.json".into(),
            ..mufasa(Scheme::DigestSha512_256)
        };
        let cnonce = "NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v";
        let header = answer(&challenge, "J\u{e4}s\u{f8}n Doe", "Secret, or not?", cnonce).unwrap();
        let header = header.as_str();
        assert!(header.contains("793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b"), "{header}");
        assert!(header.contains("3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5"), "{header}");
        assert!(header.ends_with("userhash=true"));
    }

    #[test]
    fn strongest_of_several_challenges_wins_and_basic_needs_tls() {
        let all = "Basic realm=\"c\", Digest realm=\"c\", nonce=\"1\", Digest realm=\"c\", nonce=\"3\", algorithm=SHA-512-256, qop=\"auth\", Digest realm=\"c\", nonce=\"2\", algorithm=SHA-256";
        let best = choose(all, true).unwrap();
        assert_eq!((best.scheme, best.nonce.as_str(), best.qop_auth), (Scheme::DigestSha512_256, "3", true));
        assert_eq!(choose("Basic realm=\"c\"", false), Err(AuthError::BasicWithoutTls));
        assert_eq!(choose("Basic realm=\"c\"", true).unwrap().scheme, Scheme::Basic);
        assert!(matches!(choose("Negotiate", true), Err(AuthError::NoneUsable { .. })));
        assert!(matches!(
            choose("Digest realm=\"c\", nonce=\"1\", qop=\"auth-int\"", true),
            Err(AuthError::NoneUsable { .. })
        ));
    }

    #[test]
    fn md5_answer_without_qop_is_the_form_old_cameras_know() {
        let challenge = Challenge { qop_auth: false, opaque: None, ..mufasa(Scheme::DigestMd5) };
        let header = answer(&challenge, "a\"b", "x", "n").unwrap();
        assert!(header.as_str().starts_with("Digest username=\"a\\\"b\", realm="));
        assert!(!header.as_str().contains("cnonce") && !header.as_str().contains("algorithm"));
    }

    #[test]
    fn header_injection_is_refused() {
        assert!(answer(&mufasa(Scheme::DigestMd5), "a\r\nX: y", "x", "n").is_err());
        assert!(Answer::from_header("Basic x\r\nY: z".into()).is_none());
        assert_eq!(next_nonce("nextnonce=\"abc\", qop=auth").as_deref(), Some("abc"));
        assert_eq!(next_nonce("rspauth=\"abc\""), None);
    }

    proptest::proptest! {
        #[test]
        fn any_challenge_text_is_survived(text in "\\PC{0,300}", tls: bool) {
            let _ = choose(&text, tls);
            let _ = next_nonce(&text);
        }
    }
}
