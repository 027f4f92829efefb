//! Keys on disk: who opens them, with what, and what lies there in clear.

use super::*;

const NOW: UtcNanos = UtcNanos(1);
const PASSWORD: &str = "a sentence nobody guesses";

fn home() -> (tempfile::TempDir, Vault) {
    let dir = tempfile::tempdir().unwrap();
    let vault = Vault::open(&dir.path().join("peri")).unwrap();
    (dir, vault)
}

#[test]
fn a_key_opens_with_its_password_and_with_no_other() {
    let (_dir, vault) = home();
    let (file, _, _) = vault.create("seat-1", KeyKind::Seat, PASSWORD, NOW).unwrap();
    assert_eq!(*vault.unlock("seat-1", PASSWORD).unwrap().public(), file.public);
    let error = vault.unlock("seat-1", "a sentence somebody guesses").map(drop).unwrap_err();
    assert!(matches!(error, VaultError::Locked { .. }), "{error}");
    assert_eq!(error.exit_code(), 6);
    assert!(matches!(vault.create("seat-1", KeyKind::Seat, PASSWORD, NOW), Err(VaultError::Exists(_))));
}

#[test]
fn the_right_password_is_worth_nothing_without_the_device_secret() {
    let (dir, vault) = home();
    vault.create("viewer", KeyKind::Seat, PASSWORD, NOW).unwrap();
    std::fs::write(dir.path().join("peri/device-secret"), [7; DEVICE_SECRET_LEN]).unwrap();
    assert!(matches!(vault.unlock("viewer", PASSWORD), Err(VaultError::Locked { .. })));
    std::fs::write(dir.path().join("peri/device-secret"), [7; 3]).unwrap();
    assert!(matches!(vault.unlock("viewer", PASSWORD), Err(VaultError::DeviceSecret(3))));
}

#[test]
fn the_recovery_code_brings_a_key_back_on_another_device() {
    let (_dir, vault) = home();
    let (file, _, code) = vault.create("viewer", KeyKind::Claim, PASSWORD, NOW).unwrap();
    let (other_dir, other) = home();
    std::fs::copy(vault.path().join("keys/viewer"), other_dir.path().join("peri/keys/viewer")).unwrap();
    assert!(other.unlock("viewer", PASSWORD).is_err());
    let (wrong, next) = (RecoveryCode::generate(&mut rng::system()), RecoveryCode::generate(&mut rng::system()));
    let recover = |code: &str, next: &RecoveryCode| other.recover("viewer", code, "another sentence", next);
    assert!(recover(&wrong.to_text(), &next).is_err());
    assert!(matches!(recover("nonsense", &next), Err(VaultError::Code(_))));
    let (_, pair) = recover(&code.to_text(), &next).map_err(|error| error.to_string()).unwrap();
    assert_eq!(*pair.public(), file.public);
    assert!(recover(&code.to_text(), &wrong).is_err(), "a code opens a file once");
    assert!(recover(&next.to_text(), &wrong).is_ok(), "the next one does");
    assert_eq!(*other.unlock("viewer", "another sentence").unwrap().public(), file.public);
    assert!(vault.unlock("viewer", PASSWORD).is_ok(), "the first device is not touched");
}

#[test]
fn a_directory_of_keys_that_takes_no_file_is_found_out_and_the_trial_leaves_nothing() {
    let (dir, vault) = home();
    vault.create("viewer", KeyKind::Seat, PASSWORD, NOW).unwrap();
    vault.try_keys().unwrap();
    let keys = dir.path().join("peri/keys");
    assert_eq!(std::fs::read_dir(&keys).unwrap().count(), 1, "only the key");
    // Permissions do not stop every user; a directory that is gone does.
    std::fs::remove_dir_all(&keys).unwrap();
    assert!(matches!(vault.try_keys(), Err(VaultError::Files(_))));
}

#[test]
fn a_changed_password_replaces_the_old_one() {
    let (_dir, vault) = home();
    vault.create("viewer", KeyKind::Seat, PASSWORD, NOW).unwrap();
    assert!(vault.change_password("viewer", "wrong password", "new password").is_err());
    vault.change_password("viewer", PASSWORD, "new password").unwrap();
    assert!(vault.unlock("viewer", PASSWORD).is_err());
    assert!(vault.unlock("viewer", "new password").is_ok());
}

#[test]
fn no_file_of_the_home_holds_a_private_key_in_clear_and_none_is_readable_by_others() {
    let (dir, vault) = home();
    vault.create("viewer", KeyKind::Seat, PASSWORD, NOW).unwrap();
    let secret = vault.unlock("viewer", PASSWORD).unwrap().to_secret_bytes();
    for file in ["keys/viewer", "device-secret"] {
        let path = dir.path().join("peri").join(file);
        let bytes = std::fs::read(&path).unwrap();
        for half in [&secret[..32], &secret[32..]] {
            assert!(!bytes.windows(16).any(|w| w == &half[..16]), "{file}");
        }
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }
    std::fs::set_permissions(vault.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    assert!(matches!(Vault::open(vault.path()), Err(VaultError::Open { mode: 0o755, .. })));
}

#[test]
fn a_key_file_put_in_the_place_of_another_is_noticed() {
    let (_dir, vault) = home();
    vault.create("one", KeyKind::Seat, PASSWORD, NOW).unwrap();
    vault.create("two", KeyKind::Seat, PASSWORD, NOW).unwrap();
    let (mut one, two) = (vault.key("one").unwrap(), vault.key("two").unwrap());
    one.locked = two.locked;
    vault.store("one", &one).unwrap();
    assert!(vault.unlock("one", PASSWORD).is_err());
}

#[test]
fn names_cannot_leave_the_home() {
    let (_dir, vault) = home();
    for name in ["", ".", "..", "../x", "a/b", ".hidden", "ä", "a b", &"x".repeat(41)] {
        assert!(matches!(vault.create(name, KeyKind::Seat, PASSWORD, NOW), Err(VaultError::Name(_))), "{name:?}");
    }
}

#[test]
fn the_default_home_follows_the_environment() {
    let path =
        |data: Option<&str>, home: Option<&str>| Vault::default_path(data.map(Into::into), home.map(Into::into)).ok();
    assert_eq!(path(Some("/d"), Some("/h")), Some("/d/peri".into()));
    assert_eq!(path(Some("relative"), Some("/h")), Some("/h/.local/share/peri".into()));
    assert_eq!(path(None, None), None);
}

#[test]
fn runs_at_the_same_time_write_one_after_the_other_and_share_one_device_secret() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let secrets: Vec<[u8; 16]> = std::thread::scope(|scope| {
        let run = |number: u64| {
            let vault = Vault::open(&home).unwrap();
            let secret = *vault.device_secret().unwrap().as_bytes();
            (0..40).for_each(|round| vault.set_state("shared", &(number, round)).unwrap());
            secret
        };
        let runs: Vec<_> = (0..8).map(|number| scope.spawn(move || run(number))).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    assert!(secrets.windows(2).all(|pair| pair[0] == pair[1]), "a key would be locked under a secret that is gone");
    assert!(Vault::open(&home).unwrap().state::<(u64, u64)>("shared", 64).unwrap().is_some());
}
