//! The birth certificate: who an appliance is, signed by its device key over a client's nonce.
//!
//! What does not belong: whether that device is the right one (the claimer's client compares it with the order).

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use peri_domain::{Hash, VmId};
use peri_seal::keys::{Signature, SigningKey, UserPublic};

/// Context of the birth certificate's signature by the device key.
pub const BIRTH_CONTEXT: &str = "peri/v1/birth";

/// Identity of the appliance, signed by its device key over the client's nonce.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct BirthCertificate {
    /// The VM.
    #[n(0)]
    pub vm: VmId,
    /// Device keys: HPKE for sealed camera passwords, signing for epoch records.
    #[n(1)]
    pub device: UserPublic,
    /// C2SP signed-note verifier keys of the ledger, one text line each.
    #[n(2)]
    pub ledger_keys: Vec<String>,
    /// SHA-256 of the provisioning data that this appliance was started with.
    #[n(3)]
    pub provisioning: Hash,
    /// Whether a genesis stands.
    #[n(4)]
    pub claimed: bool,
    /// Roster head and number of statements.
    #[n(5)]
    pub roster_head: Hash,
    /// See `roster_head`.
    #[n(6)]
    pub roster_len: u64,
    /// Things the customer must know before trusting: `unwitnessed`, `root_store_same_disk`, `no_landlock` ….
    #[n(7)]
    pub notices: Vec<String>,
    /// The nonce of [`crate::wire::Ask::Hello`].
    #[cbor(n(8), with = "minicbor::bytes")]
    pub nonce: [u8; 32],
    /// Device signature over the CBOR of all other fields under [`BIRTH_CONTEXT`]; all zero while unsigned.
    #[n(9)]
    pub signature: Signature,
    /// By what browsers and native clients know the TLS listener; `None` where there is none.
    #[n(10)]
    pub tls: Option<TlsIdentity>,
}

/// The TLS listener's identity: native clients pin the key, browsers import the authority.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct TlsIdentity {
    /// SHA-256 of the SubjectPublicKeyInfo of the listener's key; the same over all its certificates.
    #[n(0)]
    pub key: Hash,
    /// Certificate (DER) of the authority, which can vouch for this appliance's names alone (RFC 5280 §4.2.1.10).
    #[n(1)]
    pub authority: ByteVec,
}

impl BirthCertificate {
    /// Signs in place.
    pub fn sign(&mut self, key: &SigningKey) {
        self.signature = key.sign(BIRTH_CONTEXT, &self.unsigned());
    }

    /// Whether the certificate's own device key signed it over this nonce.
    #[must_use]
    pub fn is_genuine(&self, nonce: &[u8; 32]) -> bool {
        self.nonce == *nonce && self.device.verify(BIRTH_CONTEXT, &self.unsigned(), &self.signature).is_ok()
    }

    fn unsigned(&self) -> Vec<u8> {
        let bare = Self { signature: Signature([0; 96]), ..self.clone() };
        minicbor::to_vec(bare).expect("encoding into a Vec cannot fail")
    }
}
