//! Logins, failed attempts and invitations in PostgreSQL, as bytes whose meaning `peri-access` knows.
//!
//! What does not belong: what may be answered to whom, hashing, delays. A call that returns `Ok` was committed to disk;
//! the caller answers only then.

use crate::db::{Db, DbError};
use peri_domain::{AccountId, Fingerprint, Hash, UtcNanos};

/// Rows read at once.
const PAGE: i32 = 1024;

/// What came of setting a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Set {
    /// It stands.
    Done,
    /// Another account has this name.
    Taken,
    /// A newer setting stands: this one was held back or is a copy.
    Old,
}

/// A login to be set.
#[derive(Debug, Clone, Copy)]
pub struct NewLogin<'a> {
    /// The key that signed it.
    pub signer: Fingerprint,
    /// Keyed digest of its name.
    pub name: Hash,
    /// Whose.
    pub account: AccountId,
    /// When the client made it.
    pub issued: UtcNanos,
    /// Canonical bytes.
    pub credential: &'a [u8],
}

fn set_of(rows: &[postgres::Row]) -> Result<Set, DbError> {
    match rows.first().ok_or(DbError::Row("credential"))?.get::<_, i16>(0) {
        0 => Ok(Set::Done),
        1 => Ok(Set::Taken),
        _ => Ok(Set::Old),
    }
}

/// Failures of one subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRow {
    /// Canonical bytes of the subject.
    pub subject: Vec<u8>,
    /// Canonical bytes of its record.
    pub record: Vec<u8>,
    /// When all is forgiven.
    pub forgiven: UtcNanos,
}

impl Db {
    /// The login of a name, by its keyed digest.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn credential(&mut self, name: Hash) -> Result<Option<Vec<u8>>, DbError> {
        let rows = self.call("SELECT * FROM peri_api.credential($1)", &[&name.as_bytes().as_slice()])?;
        Ok(rows.first().map(|row| row.get(0)))
    }

    /// The login of an account that this key set, with the time at which it was made.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn credential_by(
        &mut self,
        account: AccountId,
        signer: Fingerprint,
    ) -> Result<Option<(UtcNanos, Vec<u8>)>, DbError> {
        let (account, signer) = (account.as_bytes().as_slice(), signer.as_bytes().as_slice());
        let rows = self.call("SELECT * FROM peri_api.credential_by($1, $2)", &[&account, &signer])?;
        Ok(rows.first().map(|row| (UtcNanos(row.get(0)), row.get(1))))
    }

    /// The login that waits for this key, with the time at which it was made.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn waiting_credential(&mut self, signer: Fingerprint) -> Result<Option<(UtcNanos, Vec<u8>)>, DbError> {
        let rows = self.call("SELECT * FROM peri_api.credential_waiting($1)", &[&signer.as_bytes().as_slice()])?;
        Ok(rows.first().map(|row| (UtcNanos(row.get(0)), row.get(1))))
    }

    /// Sets the login of an account by its key in office; what waited for that key is gone then.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn set_credential(&mut self, login: &NewLogin<'_>) -> Result<Set, DbError> {
        let NewLogin { signer, name, account, issued, credential } = login;
        let (signer, name, account) = (signer.as_bytes(), name.as_bytes().as_slice(), account.as_bytes().as_slice());
        let sql = "SELECT peri_api.credential_set($1, $2, $3, $4, $5)";
        set_of(&self.call(sql, &[&signer.as_slice(), &name, &account, &issued.0, credential])?)
    }

    /// Keeps a login that counts once its key is in office, until `kept`.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn keep_credential(&mut self, login: &NewLogin<'_>, kept: UtcNanos, now: UtcNanos) -> Result<Set, DbError> {
        let NewLogin { signer, name, account, issued, credential } = login;
        let (signer, name, account) = (signer.as_bytes(), name.as_bytes().as_slice(), account.as_bytes().as_slice());
        let sql = "SELECT peri_api.credential_keep($1, $2, $3, $4, $5, $6, $7)";
        set_of(&self.call(sql, &[&signer.as_slice(), &name, &account, &issued.0, credential, &kept.0, &now.0])?)
    }

    /// Keys whose logins wait, with the accounts that these are for.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn waiting_credentials(&mut self) -> Result<Vec<(Fingerprint, AccountId)>, DbError> {
        let mut all = Vec::new();
        let mut after: Vec<u8> = Vec::new();
        loop {
            let rows = self.call("SELECT * FROM peri_api.credentials_waiting($1, $2)", &[&after, &PAGE])?;
            let Some(last) = rows.last() else { return Ok(all) };
            after = last.get(0);
            for row in &rows {
                let (signer, account) = (Fingerprint::from_slice(row.get(0)), AccountId::from_slice(row.get(1)));
                all.push(signer.zip(account).ok_or(DbError::Row("waiting credential"))?);
            }
        }
    }

    /// The login that waited for this key stands. `None`: nothing waited.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn stand_credential(&mut self, signer: Fingerprint) -> Result<Option<Set>, DbError> {
        let rows = self.call("SELECT peri_api.credential_stands($1)", &[&signer.as_bytes().as_slice()])?;
        Ok(Some(set_of(&rows)?).filter(|set| *set != Set::Old))
    }

    /// Replaces a login by what is left of it, if it is still `before`; whether it was.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn spend_credential(&mut self, account: AccountId, before: &[u8], after: &[u8]) -> Result<bool, DbError> {
        let account = account.as_bytes().as_slice();
        Ok(self.call("SELECT peri_api.credential_spend($1, $2, $3)", &[&account, &before, &after])?[0].get(0))
    }

    /// Forgets the logins of these accounts.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn drop_credentials(&mut self, accounts: &[AccountId]) -> Result<(), DbError> {
        let accounts: Vec<&[u8]> = accounts.iter().map(|account| account.as_bytes().as_slice()).collect();
        self.call("SELECT peri_api.credentials_drop($1)", &[&accounts]).map(drop)
    }

    /// Keeps the newest record of each subject, and lets go of what was forgiven before `now`.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn put_attempts(&mut self, rows: &[AttemptRow], now: UtcNanos) -> Result<(), DbError> {
        let subjects: Vec<&[u8]> = rows.iter().map(|row| row.subject.as_slice()).collect();
        let records: Vec<&[u8]> = rows.iter().map(|row| row.record.as_slice()).collect();
        let forgiven: Vec<i64> = rows.iter().map(|row| row.forgiven.0).collect();
        self.call("SELECT peri_api.attempts_put($1, $2, $3, $4)", &[&subjects, &records, &forgiven, &now.0])?;
        Ok(())
    }

    /// All records of attempts.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn attempts(&mut self) -> Result<Vec<Vec<u8>>, DbError> {
        self.all("SELECT * FROM peri_api.attempts($1, $2)")
    }

    /// Keeps an invitation until `kept`, and lets go of those that are over by `now`.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn put_invitation(&mut self, id: Hash, entry: &[u8], kept: UtcNanos, now: UtcNanos) -> Result<(), DbError> {
        let id = id.as_bytes().as_slice();
        self.call("SELECT peri_api.invitation_put($1, $2, $3, $4)", &[&id, &entry, &kept.0, &now.0])?;
        Ok(())
    }

    /// Forgets an invitation.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn drop_invitation(&mut self, id: Hash) -> Result<(), DbError> {
        self.call("SELECT peri_api.invitation_drop($1)", &[&id.as_bytes().as_slice()]).map(drop)
    }

    /// All invitations.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn invitations(&mut self) -> Result<Vec<Vec<u8>>, DbError> {
        self.all("SELECT * FROM peri_api.invitations($1, $2)")
    }

    /// Second columns of a table, page by page in order of the first.
    fn all(&mut self, sql: &'static str) -> Result<Vec<Vec<u8>>, DbError> {
        let mut all = Vec::new();
        let mut after: Vec<u8> = Vec::new();
        loop {
            let rows = self.call(sql, &[&after, &PAGE])?;
            let Some(last) = rows.last() else { return Ok(all) };
            after = last.get(0);
            all.extend(rows.iter().map(|row| row.get::<_, Vec<u8>>(1)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testdb::TestDb;

    #[test]
    fn a_name_belongs_to_one_account_and_an_older_setting_never_comes_back() {
        let cluster = TestDb::start();
        let mut db = cluster.db("test");
        let (anna, bert) = (AccountId([1; 16]), AccountId([2; 16]));
        let (one, two) = (Hash([1; 32]), Hash([2; 32]));
        fn login(name: Hash, account: AccountId, issued: i64, credential: &[u8]) -> NewLogin<'_> {
            let signer = Fingerprint([account.0[0]; 32]);
            NewLogin { signer, name, account, issued: UtcNanos(issued), credential }
        }
        assert_eq!(db.credential(one).unwrap(), None);
        assert_eq!(db.set_credential(&login(one, anna, 10, b"first")).unwrap(), Set::Done);
        assert_eq!(db.set_credential(&login(one, bert, 20, b"his")).unwrap(), Set::Taken);
        assert_eq!(db.set_credential(&login(one, anna, 10, b"copy")).unwrap(), Set::Old);
        assert_eq!(db.set_credential(&login(two, anna, 11, b"second")).unwrap(), Set::Done);
        assert_eq!((db.credential(one).unwrap(), db.credential(two).unwrap()), (None, Some(b"second".to_vec())));
        let (key, other) = (Fingerprint([1; 32]), Fingerprint([2; 32]));
        assert_eq!(db.credential_by(anna, key).unwrap(), Some((UtcNanos(11), b"second".to_vec())));
        assert_eq!(db.credential_by(anna, other).unwrap(), None, "of another key");
        assert_eq!(db.set_credential(&login(one, bert, 1, b"his")).unwrap(), Set::Done);
        assert!(!db.spend_credential(anna, b"first", b"less").unwrap());
        assert!(db.spend_credential(anna, b"second", b"less").unwrap());
        assert!(!db.spend_credential(anna, b"second", b"less").unwrap(), "spent once");
        assert_eq!(db.credential(two).unwrap(), Some(b"less".to_vec()));
        db.drop_credentials(&[anna]).unwrap();
        assert_eq!((db.credential_by(anna, key).unwrap(), db.credential(one).unwrap()), (None, Some(b"his".to_vec())));
    }

    #[test]
    fn a_login_that_waits_for_its_key_touches_nothing_until_it_stands() {
        let cluster = TestDb::start();
        let mut db = cluster.db("test");
        let (anna, bert) = (AccountId([1; 16]), AccountId([2; 16]));
        let (name, other) = (Hash([1; 32]), Hash([2; 32]));
        let (old, new, foreign) = (Fingerprint([1; 32]), Fingerprint([2; 32]), Fingerprint([3; 32]));
        let (kept, now) = (UtcNanos(1_000), UtcNanos(0));
        let stands = NewLogin { signer: old, name, account: anna, issued: UtcNanos(10), credential: b"stands" };
        assert_eq!(db.set_credential(&stands).unwrap(), Set::Done);
        let waits = NewLogin { signer: new, issued: UtcNanos(5), credential: b"waits", ..stands };
        assert_eq!(db.keep_credential(&waits, kept, now).unwrap(), Set::Done);
        assert_eq!(db.keep_credential(&waits, kept, now).unwrap(), Set::Old, "a copy");
        let taken = NewLogin { signer: foreign, account: bert, ..waits };
        assert_eq!(db.keep_credential(&taken, kept, now).unwrap(), Set::Taken);
        assert_eq!(db.credential(name).unwrap(), Some(b"stands".to_vec()), "what waits opens nothing");
        assert_eq!(db.waiting_credentials().unwrap(), [(new, anna)]);
        assert_eq!(db.waiting_credential(new).unwrap(), Some((UtcNanos(5), b"waits".to_vec())));
        assert_eq!(db.stand_credential(old).unwrap(), None);
        assert_eq!(db.stand_credential(new).unwrap(), Some(Set::Done), "made earlier, by a key that came later");
        assert_eq!(
            (db.credential(name).unwrap(), db.waiting_credentials().unwrap()),
            (Some(b"waits".to_vec()), vec![])
        );
        // What a key in office sets itself leaves nothing that could come over it later.
        let again = NewLogin { signer: foreign, name: other, account: bert, ..waits };
        assert_eq!(db.keep_credential(&again, kept, now).unwrap(), Set::Done);
        assert_eq!(db.set_credential(&NewLogin { credential: b"his", ..again }).unwrap(), Set::Done);
        assert_eq!(db.stand_credential(foreign).unwrap(), None);
        // Another key of the account may be of a device whose clock is behind; the same key's older setting is a copy.
        assert_eq!(db.set_credential(&NewLogin { signer: old, issued: UtcNanos(1), ..again }).unwrap(), Set::Done);
        assert_eq!(db.set_credential(&NewLogin { signer: old, issued: UtcNanos(1), ..again }).unwrap(), Set::Old);
        // A name that is somebody's by now: what waits for it goes on waiting.
        let late = NewLogin { signer: Fingerprint([4; 32]), name: Hash([9; 32]), account: AccountId([9; 16]), ..waits };
        assert_eq!(db.keep_credential(&late, kept, now).unwrap(), Set::Done);
        let quick = NewLogin { signer: old, name: late.name, ..again };
        assert_eq!(db.set_credential(&quick).unwrap(), Set::Done);
        assert_eq!(db.stand_credential(late.signer).unwrap(), Some(Set::Taken));
        assert_eq!(db.waiting_credentials().unwrap(), [(late.signer, late.account)]);
        db.drop_credentials(&[late.account]).unwrap();
        // What never came into office goes in time, and with a removal.
        assert_eq!(db.keep_credential(&NewLogin { issued: UtcNanos(6), ..again }, kept, now).unwrap(), Set::Done);
        db.drop_credentials(&[bert]).unwrap();
        assert_eq!((db.waiting_credentials().unwrap(), db.credential(other).unwrap()), (vec![], None));
        assert_eq!(db.keep_credential(&again, kept, now).unwrap(), Set::Done);
        assert_eq!(db.keep_credential(&waits, kept, UtcNanos(1_001)).unwrap(), Set::Done);
        assert_eq!(db.waiting_credentials().unwrap(), [(new, anna)]);
    }

    #[test]
    fn attempts_and_invitations_are_kept_until_their_time_is_over() {
        let cluster = TestDb::start();
        let mut db = cluster.db("test");
        let row = |subject: u16, record: &[u8], forgiven| AttemptRow {
            subject: subject.to_be_bytes().to_vec(),
            record: record.to_vec(),
            forgiven: UtcNanos(forgiven),
        };
        let many: Vec<AttemptRow> = (0..1_500).map(|n| row(n, b"old", 10)).collect();
        db.put_attempts(&many, UtcNanos(0)).unwrap();
        assert_eq!(db.attempts().unwrap().len(), 1_500);
        db.put_attempts(&[row(7, b"new", 30)], UtcNanos(10)).unwrap();
        let kept = db.attempts().unwrap();
        assert_eq!((kept.len(), kept.iter().filter(|record| *record == b"new").count()), (1_500, 1));
        db.put_attempts(&[], UtcNanos(11)).unwrap();
        assert_eq!(db.attempts().unwrap(), [b"new"]);

        db.put_invitation(Hash([1; 32]), b"open", UtcNanos(10), UtcNanos(0)).unwrap();
        db.put_invitation(Hash([1; 32]), b"used", UtcNanos(10), UtcNanos(5)).unwrap();
        db.put_invitation(Hash([2; 32]), b"other", UtcNanos(20), UtcNanos(5)).unwrap();
        assert_eq!(db.invitations().unwrap(), [b"used".to_vec(), b"other".to_vec()]);
        db.put_invitation(Hash([3; 32]), b"third", UtcNanos(20), UtcNanos(11)).unwrap();
        db.drop_invitation(Hash([3; 32])).unwrap();
        assert_eq!(db.invitations().unwrap(), [b"other".to_vec()]);
    }
}
