//! RTSPS: TLS to a camera, trusted by pin or by CA and by nothing else.
//!
//! The camera-side profile is wider than the portal's (cameras of ten years speak TLS 1.2 with RSA): each session's
//! version and suite go to the ledger as a recorded deviation where they lie outside TR-02102. A pin is the SHA-256 of
//! the certificate's SubjectPublicKeyInfo (RFC 7469 §2.4); expiry does not matter to it, so a camera that outlives its
//! certificate goes on recording.

use crate::message::CameraTrust;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Why there is no TLS session.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    /// The CA in the roster is not a certificate.
    #[error(
        "the CA given for this camera cannot be used: {0}; set the camera up again with the authority's DER certificate"
    )]
    Ca(String),
    /// The host part of the URL is neither name nor address.
    #[error("{0} is not a host name or address")]
    Host(String),
    /// rustls refused.
    #[error("TLS: {0}")]
    Rustls(#[from] rustls::Error),
}

/// A TLS client connection to the host of a camera.
///
/// # Errors
/// See [`TlsError`].
pub(super) fn connect(host: &str, trust: &CameraTrust) -> Result<Box<ClientConnection>, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
    let config = match trust {
        CameraTrust::Pin(pin) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Pinned { pin: pin.0, provider }))
            .with_no_client_auth(),
        CameraTrust::Ca(der) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from(der.to_vec())).map_err(|e| TlsError::Ca(e.to_string()))?;
            let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|e| TlsError::Ca(e.to_string()))?;
            builder.with_webpki_verifier(verifier).with_no_client_auth()
        }
        CameraTrust::PlainException => unreachable!("plain RTSP never reaches TLS"),
    };
    let name = ServerName::try_from(host.to_owned()).map_err(|_| TlsError::Host(host.into()))?;
    Ok(Box::new(ClientConnection::new(Arc::new(config), name)?))
}

/// Accepts exactly one key. The handshake signature is still checked, so the camera must hold its key.
#[derive(Debug)]
struct Pinned {
    pin: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let (_, certificate) = x509_parser::parse_x509_certificate(end_entity)
            .map_err(|_| rustls::Error::from(CertificateError::BadEncoding))?;
        if <[u8; 32]>::from(Sha256::digest(certificate.tbs_certificate.subject_pki.raw)) == self.pin {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// What of a session lies outside the recommended set of TR-02102-2 (2026-01); `None` when nothing does.
pub(super) fn deviation(session: &ClientConnection) -> Option<String> {
    let suite = session.negotiated_cipher_suite()?.suite();
    let version = session.protocol_version()?;
    let name = suite.as_str().unwrap_or("an unknown suite");
    let outside = version != rustls::ProtocolVersion::TLSv1_3 || name.contains("CHACHA20");
    outside.then(|| format!("the camera's TLS is {} with {name}", version.as_str().unwrap_or("an unknown version")))
}

/// Uses the library once, so that what it opens and tests at first use happens before the walls stand.
pub(super) fn warm_up() {
    let pin = CameraTrust::Pin(peri_domain::Hash([0; 32]));
    if let Ok(mut session) = connect("camera.invalid", &pin) {
        let mut hello = Vec::new();
        let _ = session.write_tls(&mut hello);
    }
}
