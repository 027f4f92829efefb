//! Certificates and signatures of sessions: what holds, and what no change of gets through.

use super::*;
use peri_seal::rng;

const VM: VmId = VmId([1; 16]);
const NOW: UtcNanos = UtcNanos::from_secs(1_000_000);

fn at(offset: i64) -> UtcNanos {
    UtcNanos::from_secs(1_000_000 + offset)
}

#[test]
fn a_certificate_holds_for_its_vm_key_and_time_only() {
    let (user, other) = (KeyPair::generate(&mut rng::system()), KeyPair::generate(&mut rng::system()));
    let session = SessionKey::generate(&mut rng::system());
    let issue = |from, to, channels| SignedCertificate::issue(VM, &user, session.public(), at(from), at(to), channels);
    let good = issue(-10, 3600, 4);
    let read = SignedCertificate::from_bytes(&good.to_bytes()).unwrap();
    let proven = read.verify(VM, user.public(), NOW).unwrap();
    assert_eq!((proven.id(), proven.signer(), proven.channels()), (session.public().id(), user.fingerprint(), 4));

    let refused = |signed: &SignedCertificate| signed.verify(VM, user.public(), NOW).unwrap_err();
    assert!(matches!(good.verify(VmId([2; 16]), user.public(), NOW), Err(SessionError::OtherVm { .. })));
    assert!(matches!(good.verify(VM, other.public(), NOW), Err(SessionError::OtherSigner { .. })));
    assert!(matches!(refused(&issue(-3600, 0, 4)), SessionError::Expired { since_s: 0 }));
    assert!(matches!(refused(&issue(121, 3600, 4)), SessionError::Ahead { ahead_s: 121 }));
    assert!(issue(120, 3600, 4).verify(VM, user.public(), NOW).is_ok());
    assert!(matches!(refused(&issue(-10, 12 * 3600 - 9, 4)), SessionError::Length));
    assert!(matches!(refused(&issue(10, 10, 4)), SessionError::Length));
    assert!(matches!(refused(&issue(-10, 3600, 0)), SessionError::Channels { found: 0 }));
    assert!(matches!(refused(&issue(-10, 3600, 65)), SessionError::Channels { found: 65 }));
}

#[test]
fn nothing_in_a_certificate_can_be_changed() {
    let user = KeyPair::generate(&mut rng::system());
    let (mine, thiefs) = (SessionKey::generate(&mut rng::system()), SessionKey::generate(&mut rng::system()));
    let good = SignedCertificate::issue(VM, &user, mine.public(), at(-10), at(3600), 4);
    let change = |edit: &dyn Fn(&mut SessionCertificate)| {
        let mut bad = good.clone();
        edit(&mut bad.certificate);
        bad.verify(VM, user.public(), NOW).unwrap_err()
    };
    assert!(matches!(change(&|c| c.session = thiefs.public()), SessionError::Signature(_)));
    assert!(matches!(change(&|c| c.not_after = at(7200)), SessionError::Signature(_)));
    assert!(matches!(change(&|c| c.issued = at(-9)), SessionError::Signature(_)));
    assert!(matches!(change(&|c| c.channels = 64), SessionError::Signature(_)));
    assert!(matches!(change(&|c| c.version = 2), SessionError::Version { found: 2 }));
    assert!(matches!(change(&|c| c.session.0[0] = 5), SessionError::Key));
    let mut longer = good.to_bytes();
    longer.push(0);
    assert!(SignedCertificate::from_bytes(&longer).is_err());
}

#[test]
fn a_session_signature_holds_for_its_message_context_and_key_only() {
    let (one, two) = (SessionKey::generate(&mut rng::system()), SessionKey::generate(&mut rng::system()));
    let signature = one.sign(&mut rng::system(), "proof", b"message");
    one.public().verify("proof", b"message", &signature).unwrap();
    assert!(one.public().verify("other", b"message", &signature).is_err());
    assert!(one.public().verify("proof", b"massage", &signature).is_err());
    assert!(two.public().verify("proof", b"message", &signature).is_err());
    assert!(one.sign(&mut rng::system(), "proof", b"message") != signature);
    let again = SessionKey::from_secret_bytes(&one.to_secret_bytes()).unwrap();
    assert_eq!(again.public(), one.public());
}

#[test]
fn a_certificate_is_shown_by_the_holder_of_the_session_key_for_one_nonce_only() {
    let user = KeyPair::generate(&mut rng::system());
    let (mine, thiefs) = (SessionKey::generate(&mut rng::system()), SessionKey::generate(&mut rng::system()));
    let certified = SignedCertificate::issue(VM, &user, mine.public(), at(-10), at(3600), 4);
    let shown = Opening::new(&mut rng::system(), certified.clone(), Nonce([1; 16]), &mine);
    assert_eq!(shown.verify(VM, user.public(), NOW).unwrap().id(), mine.public().id());
    let copied = Opening { nonce: Nonce([2; 16]), ..shown.clone() };
    assert!(matches!(copied.verify(VM, user.public(), NOW), Err(SessionError::Proof)));
    let stolen = Opening::new(&mut rng::system(), certified, Nonce([1; 16]), &thiefs);
    assert!(matches!(stolen.verify(VM, user.public(), NOW), Err(SessionError::Proof)));
    let later = SignedCertificate::issue(VM, &user, mine.public(), at(-10), at(3601), 4);
    let moved = Opening { certified: later, ..shown };
    assert!(matches!(moved.verify(VM, user.public(), NOW), Err(SessionError::Proof)));
}
