//! The TLS listener: what `policies/crypto.toml` allows, and handshakes that scribe signs.
//!
//! What does not belong: keys. Invariants: TLS 1.3 alone; no session is resumed, so there are no tickets and no early data
//! (a copy of early data would be a copy of a request); a method whose last year is over is not offered any more; the hash of a
//! handshake is all that leaves for scribe.

use super::questions::Questions;
use crate::message::{PortalToScribe, ScribeToPortal};
use anyhow::{Context as _, bail};
use peri_domain::UtcNanos;
use peri_sandbox::clock::{Clock as _, SystemClock};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{ServerConfig, SignatureAlgorithm, SignatureScheme, SupportedCipherSuite};
use serde::Deserialize;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// The one list of methods; its part for TLS is read here and nowhere else.
const POLICY: &str = include_str!("../../../policies/crypto.toml");
/// Certificates are looked at anew; scribe renews them weeks before they end.
const REFRESH: Duration = Duration::from_secs(3600);
/// While there is none.
const RETRY: Duration = Duration::from_millis(200);
/// What a server signs in TLS 1.3 begins with (RFC 8446 §4.4.3).
const SIGNED: &[u8] = b"TLS 1.3, server CertificateVerify\0";

#[derive(Deserialize)]
struct Policy {
    tls: TlsPolicy,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsPolicy {
    version: String,
    suite: Vec<Offered>,
    group: Vec<Offered>,
    signature: Vec<Offered>,
}

/// A method with its last year.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Offered {
    name: String,
    use_by: i16,
    #[serde(rename = "tr")]
    _tr: String,
}

/// What may be negotiated this year.
///
/// # Errors
/// A name that nobody here knows, or a year after which nothing is left.
pub(super) fn provider() -> anyhow::Result<Arc<CryptoProvider>> {
    provider_of(POLICY, year(SystemClock.utc())).map(Arc::new)
}

fn provider_of(policy: &str, year: i16) -> anyhow::Result<CryptoProvider> {
    let Policy { tls } = toml::from_str(policy).context("policies/crypto.toml")?;
    if tls.version != "1.3" {
        bail!("policies/crypto.toml: TLS {}; this listener speaks 1.3 alone", tls.version);
    }
    let live = |offered: &&Offered| offered.use_by >= year;
    let cipher_suites: Vec<_> = tls.suite.iter().filter(live).map(|o| suite(&o.name)).collect::<Result<_, _>>()?;
    let kx_groups: Vec<_> = tls.group.iter().filter(live).map(|o| group(&o.name)).collect::<Result<_, _>>()?;
    let signature = tls.signature.iter().filter(live).any(|offered| offered.name == "ECDSA P-384");
    if cipher_suites.is_empty() || kx_groups.is_empty() || !signature {
        bail!("policies/crypto.toml: of a kind of method for TLS none may be used in {year}; update the appliance");
    }
    Ok(CryptoProvider { cipher_suites, kx_groups, ..aws_lc_rs::default_provider() })
}

fn suite(name: &str) -> anyhow::Result<SupportedCipherSuite> {
    match name {
        "TLS_AES_256_GCM_SHA384" => Ok(aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384),
        "TLS_AES_128_GCM_SHA256" => Ok(aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256),
        other => bail!("policies/crypto.toml: this appliance knows no cipher suite {other}"),
    }
}

fn group(name: &str) -> anyhow::Result<&'static dyn SupportedKxGroup> {
    match name {
        "SecP256r1MLKEM768" => Ok(aws_lc_rs::kx_group::SECP256R1MLKEM768),
        "secp384r1" => Ok(aws_lc_rs::kx_group::SECP384R1),
        "secp256r1" => Ok(aws_lc_rs::kx_group::SECP256R1),
        other => bail!("policies/crypto.toml: this appliance knows no group {other}"),
    }
}

/// The methods whose last year this is: the customer is warned while there is time for an update.
pub(super) fn ending(year: i16) -> Vec<String> {
    let Ok(Policy { tls }) = toml::from_str(POLICY) else { return Vec::new() };
    let all = tls.suite.into_iter().chain(tls.group).chain(tls.signature);
    all.filter(|offered| offered.use_by <= year).map(|offered| offered.name).collect()
}

/// The year of an instant, in UTC.
pub(super) fn year(now: UtcNanos) -> i16 {
    time::OffsetDateTime::from_unix_timestamp_nanos(now.0.into()).map_or(i16::MAX, |at| at.year() as i16)
}

/// Waits for scribe's certificates, then configures the listener and keeps them fresh.
pub(super) async fn configure(crypto: Arc<CryptoProvider>, questions: Arc<Questions>) -> anyhow::Result<ServerConfig> {
    let key: Arc<dyn SigningKey> = Arc::new(Remote(questions.clone()));
    let first = loop {
        match chain(&questions).await {
            Some(chain) => break chain,
            None => tokio::time::sleep(RETRY).await,
        }
    };
    let shown = Arc::new(Shown(RwLock::new(Arc::new(CertifiedKey::new(first, key.clone())))));
    let refreshed = shown.clone();
    actix_web::rt::spawn(async move {
        loop {
            tokio::time::sleep(REFRESH).await;
            if let Some(chain) = chain(&questions).await {
                let fresh = Arc::new(CertifiedKey::new(chain, key.clone()));
                *refreshed.0.write().unwrap_or_else(PoisonError::into_inner) = fresh;
            }
        }
    });
    let builder = ServerConfig::builder_with_provider(crypto).with_protocol_versions(&[&rustls::version::TLS13])?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(shown);
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    Ok(config)
}

async fn chain(questions: &Arc<Questions>) -> Option<Vec<CertificateDer<'static>>> {
    let mut question = questions.put(|id| PortalToScribe::Certificates { id }).ok()?;
    match question.answer().await {
        Ok((ScribeToPortal::Certificates { chain, .. }, _)) if !chain.is_empty() => {
            Some(chain.into_iter().map(|der| CertificateDer::from(Vec::from(der))).collect())
        }
        _ => None,
    }
}

/// What is shown to whoever connects; by every name the same.
struct Shown(RwLock<Arc<CertifiedKey>>);

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown")
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// The listener's key, which lies in scribe.
#[derive(Clone)]
struct Remote(Arc<Questions>);

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Remote")
    }
}

impl SigningKey for Remote {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&SignatureScheme::ECDSA_NISTP384_SHA384).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for Remote {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let transcript = message.strip_prefix(&[b' '; 64]).and_then(|rest| rest.strip_prefix(SIGNED));
        let transcript = transcript.ok_or_else(|| rustls::Error::General("not a handshake of TLS 1.3".into()))?;
        self.0.sign_handshake(transcript).ok_or_else(|| rustls::Error::General("the signer is away".into()))
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP384_SHA384
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_offers_what_it_names_and_nothing_after_its_last_year() {
        let now = provider_of(POLICY, 2026).unwrap();
        let suites: Vec<_> = now.cipher_suites.iter().map(|suite| format!("{:?}", suite.suite())).collect();
        assert_eq!(suites, ["TLS13_AES_256_GCM_SHA384", "TLS13_AES_128_GCM_SHA256"]);
        let groups: Vec<_> = now.kx_groups.iter().map(|group| format!("{:?}", group.name())).collect();
        assert_eq!(groups, ["secp256r1MLKEM768", "secp384r1", "secp256r1"]);
        let later = provider_of(POLICY, 2032).map(|provider| provider.kx_groups.len());
        assert!(later.is_err() || later.unwrap() < 3, "classical groups end before hybrids");
        assert!(provider_of(POLICY, 2099).unwrap_err().to_string().contains("2099"));
        assert!(provider_of(&POLICY.replace("secp384r1", "x25519"), 2026).unwrap_err().to_string().contains("x25519"));
        assert!(ending(2026).is_empty() && ending(2040).len() >= 6);
    }
}
