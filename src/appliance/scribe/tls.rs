//! The TLS listener's identity: the customer's authority, the listener's key, its certificates.
//!
//! Both private keys lie in scribe's own directory and never leave this process: portal hands in the hash of a handshake and
//! gets a signature. What is signed is built here (RFC 8446 §4.4.3), so that the same key makes no other statement for a portal
//! that is not itself any more. The authority can vouch for the configured names alone (RFC 5280 §4.2.1.10): whoever imports it
//! trusts it for nothing else. What does not belong: the protocol (portal, rustls).
//!
//! ```text
//!  start ── names as before? ─ yes ─▶ authority, key from files      no or none ─▶ new authority, same key
//!  Certificates ──▶ certificate young enough and of this clock? ── no ──▶ issue ──▶ [leaf, authority]
//! ```

use anyhow::Context as _;
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use p384::ecdsa::signature::RandomizedSigner as _;
use p384::ecdsa::{DerSignature, SigningKey};
use p384::pkcs8::EncodePublicKey as _;
use peri_access::wire::TlsIdentity;
use peri_domain::{Hash, UtcNanos};
use peri_sandbox::durable::{self, Dir};
use peri_seal::{canonical, rng};
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer,
    KeyIdMethod, KeyUsagePurpose, NameConstraints, PublicKeyData, SanType, SerialNumber, SignatureAlgorithm,
};
use sha2::{Digest as _, Sha256};
use std::net::IpAddr;
use std::time::Duration;
use time::OffsetDateTime;
use zeroize::Zeroizing;

const FILE: &str = "tls.key";
const FILE_MAX: usize = 8 * 1024;
const DAY: Duration = Duration::from_secs(24 * 3600);
/// A certificate lives 90 days and is renewed when a third of that is left, so that a clock that stood still for weeks and an
/// administrator on holiday cost nothing.
const LEAF_DAYS: u32 = 90;
const RENEW_DAYS: u32 = 30;
/// The authority lives longer than the appliance; its names and the customer's import bound it.
const AUTHORITY_DAYS: u32 = 20 * 365;
/// Clocks of clients may be behind.
const BACK: Duration = Duration::from_secs(3600);

/// What lies in the file: version, names, both keys, the authority's certificate.
#[derive(Encode, Decode)]
struct Kept {
    #[n(0)]
    version: u16,
    #[n(1)]
    names: Vec<String>,
    #[n(2)]
    authority_key: ByteVec,
    #[n(3)]
    authority: ByteVec,
    #[n(4)]
    key: ByteVec,
}

/// See the module.
pub(super) struct Tls {
    names: Vec<String>,
    authority_key: Key,
    authority: Vec<u8>,
    key: Key,
    leaf: Option<(Vec<u8>, UtcNanos)>,
}

/// A P-384 key that rcgen can sign with; its public half as SEC1 point and as SubjectPublicKeyInfo.
struct Key {
    signing: SigningKey,
    point: Vec<u8>,
    spki: Vec<u8>,
}

impl Key {
    fn new(signing: SigningKey) -> anyhow::Result<Self> {
        let public = signing.verifying_key();
        let point = public.to_sec1_point(false).as_bytes().to_vec();
        let spki = public.to_public_key_der().context("a P-384 key has a public half")?.as_bytes().to_vec();
        Ok(Self { signing, point, spki })
    }

    fn generate() -> anyhow::Result<Self> {
        loop {
            let mut bytes = Zeroizing::new([0; 48]);
            getrandom::fill(bytes.as_mut()).context("the kernel gives no randomness")?;
            // All but one in 2^190 are good.
            if let Ok(key) = SigningKey::from_slice(bytes.as_ref()) {
                return Self::new(key);
            }
        }
    }

    fn identifier(&self) -> KeyIdMethod {
        KeyIdMethod::PreSpecified(Sha256::digest(&self.point)[..20].to_vec())
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature: DerSignature = self.signing.sign_with_rng(&mut rng::system(), message);
        signature.as_bytes().to_vec()
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P384_SHA384
    }
}

impl rcgen::SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(Self::sign(self, message))
    }
}

impl Tls {
    /// Reads the keys, or makes them at the first start; other names than before make another authority.
    pub(super) fn open(dir: &Dir, names: &[String], now: UtcNanos) -> anyhow::Result<Self> {
        let kept = match dir.read(FILE, FILE_MAX) {
            Ok(bytes) => Some(canonical::decode::<Kept>("TLS keys", &Zeroizing::new(bytes)).context(
                "scribe/tls.key is damaged; move it away to get a new authority, which every browser must import anew",
            )?),
            Err(error) if error.is_missing() => None,
            Err(error) => return Err(error).context("scribe/tls.key cannot be read"),
        };
        if let Some(kept) = kept.as_ref().filter(|kept| kept.names == names) {
            let key = |bytes: &[u8]| Key::new(SigningKey::from_slice(bytes).context("scribe/tls.key holds no key")?);
            let (authority_key, key) = (key(&kept.authority_key)?, key(&kept.key)?);
            return Ok(Self {
                names: names.to_vec(),
                authority_key,
                authority: kept.authority.to_vec(),
                key,
                leaf: None,
            });
        }
        let key = match &kept {
            Some(kept) => Key::new(SigningKey::from_slice(&kept.key).context("scribe/tls.key holds no key")?)?,
            None => Key::generate()?,
        };
        let authority_key = Key::generate()?;
        let authority = authority(&authority_key, names, now)?;
        let kept = Kept {
            version: 1,
            names: names.to_vec(),
            authority_key: authority_key.signing.to_bytes().to_vec().into(),
            authority: authority.clone().into(),
            key: key.signing.to_bytes().to_vec().into(),
        };
        durable::write_atomic(dir, FILE, &Zeroizing::new(canonical::encode(&kept)), 0o600)
            .context("scribe/tls.key cannot be written")?;
        Ok(Self { names: names.to_vec(), authority_key, authority, key, leaf: None })
    }

    /// For the birth certificate.
    pub(super) fn identity(&self) -> TlsIdentity {
        let key = Hash(Sha256::digest(&self.key.spki).into());
        TlsIdentity { key, authority: self.authority.clone().into() }
    }

    /// The listener's certificate and the authority's, in DER.
    pub(super) fn chain(&mut self, now: UtcNanos) -> anyhow::Result<Vec<ByteVec>> {
        let fresh =
            |(_, issued): &&(Vec<u8>, UtcNanos)| *issued <= now && now < *issued + DAY * (LEAF_DAYS - RENEW_DAYS);
        let leaf = match self.leaf.as_ref().filter(fresh) {
            Some((leaf, _)) => leaf.clone(),
            None => {
                let leaf = self.issue(now)?;
                self.leaf = Some((leaf.clone(), now));
                leaf
            }
        };
        Ok(vec![leaf.into(), self.authority.clone().into()])
    }

    fn issue(&self, now: UtcNanos) -> anyhow::Result<Vec<u8>> {
        let mut leaf = params(&self.names[0], &self.key, now, LEAF_DAYS)?;
        for name in &self.names {
            leaf.subject_alt_names.push(match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(name.as_str().try_into()?),
            });
        }
        leaf.use_authority_key_identifier_extension = true;
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let above = authority_params(&self.authority_key, &self.names, now)?;
        let issuer = Issuer::from_params(&above, &self.authority_key);
        Ok(leaf.signed_by(&self.key, &issuer)?.der().to_vec())
    }

    /// Signs a handshake of TLS 1.3: RFC 8446 §4.4.3 around the hash of its transcript. `None` for what is no such hash.
    pub(super) fn sign_handshake(&self, transcript: &[u8]) -> Option<Vec<u8>> {
        // SHA-256 or SHA-384, by the cipher suite.
        if !matches!(transcript.len(), 32 | 48) {
            return None;
        }
        let context = b"TLS 1.3, server CertificateVerify\0";
        Some(self.key.sign(&[&[b' '; 64][..], context, transcript].concat()))
    }
}

fn authority(key: &Key, names: &[String], now: UtcNanos) -> anyhow::Result<Vec<u8>> {
    Ok(authority_params(key, names, now)?.self_signed(key)?.der().to_vec())
}

fn authority_params(key: &Key, names: &[String], now: UtcNanos) -> anyhow::Result<CertificateParams> {
    let mut params = params(&format!("Peri: {}", names[0]), key, now, AUTHORITY_DAYS)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let permitted = |name: &String| match name.parse::<IpAddr>() {
        Ok(address) => {
            GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(address, if address.is_ipv4() { 32 } else { 128 }))
        }
        Err(_) => GeneralSubtree::DnsName(name.clone()),
    };
    let mut permitted_subtrees: Vec<_> = names.iter().map(permitted).collect();
    // A kind of name without a subtree of its own would be free (RFC 5280 §4.2.1.10).
    let mut excluded_subtrees = Vec::new();
    let addresses: Vec<IpAddr> = names.iter().filter_map(|name| name.parse().ok()).collect();
    for (there, any) in [
        (addresses.iter().any(IpAddr::is_ipv4), CidrSubnet::from_v4_prefix([0; 4], 0)),
        (addresses.iter().any(IpAddr::is_ipv6), CidrSubnet::from_v6_prefix([0; 16], 0)),
    ] {
        if !there {
            excluded_subtrees.push(GeneralSubtree::IpAddress(any));
        }
    }
    if addresses.len() == names.len() {
        permitted_subtrees.push(GeneralSubtree::DnsName("peri.invalid".into()));
    }
    params.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees });
    Ok(params)
}

fn params(name: &str, key: &Key, now: UtcNanos, days: u32) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new())?;
    let time = |at: UtcNanos| OffsetDateTime::from_unix_timestamp_nanos(at.0.into());
    params.not_before = time(UtcNanos(now.0.saturating_sub(i64::try_from(BACK.as_nanos())?)))?.replace_nanosecond(0)?;
    params.not_after = time(now + DAY * days)?.replace_nanosecond(0)?;
    let mut serial = [0; 16];
    getrandom::fill(&mut serial).context("the kernel gives no randomness")?;
    // Positive, and of a length that every client takes.
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.distinguished_name = rcgen::DistinguishedName::new();
    // A common name holds 64 characters at most (RFC 5280, appendix A).
    params.distinguished_name.push(DnType::CommonName, name.chars().take(64).collect::<String>());
    params.key_identifier_method = key.identifier();
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;
    use p384::ecdsa::signature::Verifier as _;
    use x509_parser::prelude::*;

    fn dir() -> (tempfile::TempDir, Dir) {
        let place = tempfile::tempdir().unwrap();
        let dir = Dir::open(place.path()).unwrap();
        (place, dir)
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    const NOW: UtcNanos = UtcNanos(1_795_563_000_000_000_000);

    #[test]
    fn keys_outlive_a_restart_and_other_names_make_another_authority_for_the_same_key() {
        let (_place, dir) = dir();
        let ours = names(&["peri.example", "192.0.2.7"]);
        let first = Tls::open(&dir, &ours, NOW).unwrap().identity();
        assert_eq!(Tls::open(&dir, &ours, NOW + DAY).unwrap().identity(), first);
        let moved = Tls::open(&dir, &names(&["other.example"]), NOW).unwrap().identity();
        assert!(moved.key == first.key && moved.authority != first.authority);
    }

    #[test]
    fn the_certificate_verifies_under_the_authority_which_can_vouch_for_nothing_else() {
        let (_place, dir) = dir();
        let mut tls = Tls::open(&dir, &names(&["peri.example", "192.0.2.7"]), NOW).unwrap();
        let chain = tls.chain(NOW).unwrap();
        let (_, leaf) = X509Certificate::from_der(&chain[0]).unwrap();
        let (_, above) = X509Certificate::from_der(&chain[1]).unwrap();
        assert_eq!(leaf.issuer(), above.subject());
        let signature = DerSignature::try_from(&leaf.signature_value.data[..]).unwrap();
        let signer = tls.authority_key.signing.verifying_key();
        signer.verify(leaf.tbs_certificate.as_ref(), &signature).unwrap();
        let constraints = above.name_constraints().unwrap().unwrap();
        assert!(constraints.critical);
        let permitted = format!("{:?}", constraints.value.permitted_subtrees);
        assert!(permitted.contains("peri.example"), "{permitted}");
        assert_eq!(constraints.value.permitted_subtrees.as_ref().unwrap().len(), 2);
        assert_eq!(constraints.value.excluded_subtrees.as_ref().unwrap().len(), 1, "no IPv6 address at all");
        let basic = above.basic_constraints().unwrap().unwrap();
        assert!(basic.value.ca && basic.value.path_len_constraint == Some(0));
        assert!(leaf.basic_constraints().unwrap().is_none_or(|basic| !basic.value.ca));
    }

    #[test]
    fn a_certificate_is_renewed_in_time_and_when_the_clock_went_back() {
        let (_place, dir) = dir();
        let mut tls = Tls::open(&dir, &names(&["peri.example"]), NOW).unwrap();
        let first = tls.chain(NOW).unwrap();
        assert_eq!(tls.chain(NOW + DAY * 59).unwrap(), first);
        let second = tls.chain(NOW + DAY * 61).unwrap();
        assert!(second[0] != first[0] && second[1] == first[1]);
        assert_ne!(tls.chain(NOW).unwrap()[0], second[0]);
    }

    #[test]
    fn only_the_hash_of_a_handshake_is_signed_and_only_as_that_of_a_server() {
        let (_place, dir) = dir();
        let tls = Tls::open(&dir, &names(&["peri.example"]), NOW).unwrap();
        assert!(tls.sign_handshake(&[7; 47]).is_none() && tls.sign_handshake(&[]).is_none());
        let signature = DerSignature::try_from(&tls.sign_handshake(&[7; 48]).unwrap()[..]).unwrap();
        let said = [&[b' '; 64][..], b"TLS 1.3, server CertificateVerify\0", &[7; 48]].concat();
        let public = tls.key.signing.verifying_key();
        public.verify(&said, &signature).unwrap();
        assert!(public.verify(&[7; 48], &signature).is_err());
    }
}
