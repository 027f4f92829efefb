//! Chains of one-time keys against crashes, lost answers and a copied client. Sealing is left out (the next key
//! travels in clear between the halves): `peri-seal` has its tests, and opening is not for this crate.

use super::*;
use peri_seal::rng;
use proptest::prelude::*;
use std::sync::OnceLock;

const VM: VmId = VmId([1; 16]);

fn client() -> &'static KeyPair {
    static CLIENT: OnceLock<KeyPair> = OnceLock::new();
    CLIENT.get_or_init(|| KeyPair::generate(&mut rng::system()))
}

fn begin() -> (Chain, Holder) {
    let first = OneTimeKey::generate(&mut rng::system());
    (Chain::new(client().fingerprint(), first.commit()), Holder::Ready(first))
}

fn redeem(chain: &mut Chain, redemption: &Redemption) -> Result<(OneTimeKey, bool), ChainError> {
    let next = OneTimeKey::generate(&mut rng::system());
    let done = chain.redeem(VM, client().public(), redemption, &next, |_, key| Ok(key.as_bytes().to_vec()))?;
    Ok((OneTimeKey::from_bytes(done.sealed.try_into().unwrap()), done.first))
}

fn whole_session(chain: &mut Chain, holder: &mut Holder) -> Result<(), ChainError> {
    let (redemption, _) = holder.redeem(&mut rng::system(), VM, client());
    let (next, _) = redeem(chain, &redemption)?;
    let confirmation = holder.answered(VM, client(), next).unwrap();
    chain.confirm(VM, client().public(), &confirmation)?;
    holder.confirmed();
    Ok(())
}

#[test]
fn a_lost_answer_locks_nobody_and_a_repeat_gets_the_same_answer() {
    let (mut chain, mut holder) = begin();
    let (redemption, _) = holder.redeem(&mut rng::system(), VM, client());
    let (lost, first) = redeem(&mut chain, &redemption).unwrap();
    assert!(first);
    let mut holder = Holder::from_bytes(&holder.to_bytes()).unwrap();
    let mut chain = Chain::from_bytes(&chain.to_bytes()).unwrap();
    let (again, _) = holder.redeem(&mut rng::system(), VM, client());
    assert!(again.session == redemption.session);
    let (next, first) = redeem(&mut chain, &again).unwrap();
    assert!(!first && next == lost);
    // The confirmation is lost too; the next session says as much.
    let old = holder.answered(VM, client(), next).unwrap();
    whole_session(&mut chain, &mut holder).unwrap();
    assert!(matches!(chain.confirm(VM, client().public(), &old), Err(ChainError::NotNext)));
    whole_session(&mut chain, &mut holder).unwrap();
    assert_eq!(chain.locked(), None);
}

#[test]
fn use_by_another_session_or_after_confirmation_locks() {
    let (mut chain, mut holder) = begin();
    let mut thief = holder.clone();
    let (mine, _) = holder.redeem(&mut rng::system(), VM, client());
    let (his, _) = thief.redeem(&mut rng::system(), VM, client());
    redeem(&mut chain, &mine).unwrap();
    assert!(matches!(redeem(&mut chain, &his), Err(ChainError::Lock(ChainLock::TwoSessions))));
    assert!(matches!(redeem(&mut chain, &mine), Err(ChainError::Locked(ChainLock::TwoSessions))));

    let (mut chain, mut holder) = begin();
    let (copied, _) = holder.clone().redeem(&mut rng::system(), VM, client());
    whole_session(&mut chain, &mut holder).unwrap();
    assert!(matches!(redeem(&mut chain, &copied), Err(ChainError::Lock(ChainLock::SpentKey))));
    assert_eq!(Chain::from_bytes(&chain.to_bytes()).unwrap().locked(), Some(ChainLock::SpentKey));
}

#[test]
fn nothing_without_the_client_key_changes_a_chain() {
    let (mut chain, mut holder) = begin();
    let (good, _) = holder.redeem(&mut rng::system(), VM, client());
    let thief = KeyPair::generate(&mut rng::system());
    // He has the one-time key and everything that travelled, not the client key.
    let (by_other, _) = holder.clone().redeem(&mut rng::system(), VM, &thief);
    let other_session = SessionKey::generate(&mut rng::system()).public();
    let swapped = Redemption { session: other_session, ..good.clone() };
    let guessed = Redemption { key: OneTimeKey::from_bytes([0; 32]), ..good.clone() };
    let before = chain.clone();
    for bad in [by_other, swapped, guessed] {
        assert!(matches!(redeem(&mut chain, &bad), Err(ChainError::Signature { .. })));
        assert_eq!(chain, before);
    }
    let next = OneTimeKey::generate(&mut rng::system());
    let elsewhere = chain.redeem(VmId([2; 16]), client().public(), &good, &next, |_, _| Ok(vec![]));
    assert!(matches!(elsewhere, Err(ChainError::Signature { .. })));
    let sealed = chain.redeem(VM, client().public(), &good, &next, |spent, next| {
        seal_next(&mut rng::system(), VM, client().public(), spent, next)
    });
    let sealed = sealed.unwrap().sealed;
    assert!(!sealed.windows(32).any(|bytes| bytes == next.as_bytes()));
    assert!(!chain.to_bytes().windows(32).any(|bytes| bytes == next.as_bytes() || bytes == good.key.as_bytes()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Any interleaving of crashes, losses and restarts: never locked. Then a copy of the client is taken at any
    /// moment; once both have had a whole session, the chain is locked.
    #[test]
    fn an_honest_client_is_never_locked_and_two_holders_always_are(
        script in proptest::collection::vec(0..8_u8, 0..30),
        thief_first: bool,
    ) {
        let (mut chain, mut holder) = begin();
        for step in script {
            // `stored` is what survives a crash of the client at the end of the step; every change is stored first.
            let (redemption, _) = holder.redeem(&mut rng::system(), VM, client());
            if step == 0 { continue; } // crashed before sending, or the request was lost
            let (next, _) = redeem(&mut chain, &redemption).unwrap();
            chain = Chain::from_bytes(&chain.to_bytes()).unwrap();
            if step == 1 { continue; } // the answer was lost
            if step == 2 { // the browser sent it again, and the page gets that answer
                prop_assert!(redeem(&mut chain, &redemption).unwrap().0 == next);
            }
            let confirmation = holder.answered(VM, client(), next).unwrap();
            holder = Holder::from_bytes(&holder.to_bytes()).unwrap();
            if step == 3 { continue; } // the confirmation was lost
            chain.confirm(VM, client().public(), &confirmation).unwrap();
            if step == 4 { // its answer was lost, and it is sent again
                let again = holder.confirmation(VM, client()).unwrap();
                chain.confirm(VM, client().public(), &again).unwrap();
            }
            if step >= 5 { holder.confirmed(); }
            prop_assert_eq!(chain.locked(), None);
        }
        let mut copy = holder.clone();
        let turns = if thief_first { [true, false, true, false] } else { [false, true, false, true] };
        let locked = turns.iter().any(|thief| {
            let who = if *thief { &mut copy } else { &mut holder };
            matches!(whole_session(&mut chain, who), Err(ChainError::Lock(_)))
        });
        prop_assert!(locked, "two holders went on unnoticed");
    }
}
