//! The schema, its roles, and how a database comes to its present version.
//!
//! Three roles: the cluster's superuser (only to migrate; peer authentication as the account that runs PostgreSQL),
//! `peri_owner` who owns everything and cannot log in, and `peri_scribe` who logs in over the socket by peer
//! authentication and may only execute the functions of `peri_api`. Which account of the system is which role stands in
//! `pg_ident.conf` ([`peer_config`]). Invariant: a migration that ran is never changed (its digest is kept and
//! compared); a later version is one file more.

use peri_domain::Hash;
use peri_domain::limits::DATABASE_ANSWER_MAX;
use postgres::{Client, Config, NoTls};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The owner of all objects; cannot log in.
pub const OWNER: &str = "peri_owner";

/// The role of the application.
pub const SCRIBE: &str = "peri_scribe";

/// The database, unless tests choose another name.
pub const DATABASE: &str = "peri";

/// Every migration, oldest first: version and text.
const MIGRATIONS: [(i32, &str); 3] = [
    (1, include_str!("sql/001_ledger.sql")),
    (2, include_str!("sql/002_index.sql")),
    (3, include_str!("sql/003_access.sql")),
];

/// Why a database could not be brought to this version.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// PostgreSQL refused or is away.
    #[error("{what}: {}", crate::db::describe(source))]
    Postgres {
        /// What was being done.
        what: String,
        /// What PostgreSQL said.
        source: postgres::Error,
    },
    /// A migration that ran is not the one this program has.
    #[error(
        "migration {0} of the database differs from this program's; the program is older, or one of the two was altered"
    )]
    Altered(i32),
    /// The database is ahead.
    #[error("the database has version {found}, this program knows up to {known}; start the newer program")]
    Newer {
        /// Version of the database.
        found: i32,
        /// Newest version here.
        known: i32,
    },
    /// A name that could not be quoted safely.
    #[error("{0:?} is no name for a database or role: lower case letters, digits and _ only")]
    Name(String),
}

/// Where a cluster listens, and as whom to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Directory of the unix socket.
    pub socket_dir: PathBuf,
    /// Role to log in as.
    pub role: String,
    /// Database.
    pub database: String,
}

impl Endpoint {
    /// scribe's way in.
    #[must_use]
    pub fn scribe(socket_dir: &Path) -> Self {
        Self { socket_dir: socket_dir.to_owned(), role: SCRIBE.to_owned(), database: DATABASE.to_owned() }
    }

    /// The superuser's way in, to migrate.
    #[must_use]
    pub fn superuser(socket_dir: &Path) -> Self {
        Self { role: "postgres".to_owned(), ..Self::scribe(socket_dir) }
    }

    /// How long [`crate::db::Db`] waits for an answer: the application's caller has others to serve, the superuser's
    /// (checks, repairs) may take its time.
    pub(crate) fn patience(&self) -> Duration {
        if self.role == SCRIBE { DATABASE_ANSWER_MAX } else { Duration::from_secs(600) }
    }

    /// Connects; waits at most three seconds for the socket, and for a server that hangs behind it without bound. The
    /// application's calls are ended by the server after five seconds, and after three that they wait for a lock; the
    /// superuser's (migrations, checks) may take their time.
    ///
    /// # Errors
    /// What the crate `postgres` says.
    pub fn connect(&self) -> Result<Client, postgres::Error> {
        let mut config = Config::new();
        config
            .host_path(&self.socket_dir)
            .user(&self.role)
            .dbname(&self.database)
            .application_name("peri")
            .connect_timeout(Duration::from_secs(3));
        if self.role == SCRIBE {
            config.options("-c statement_timeout=5000 -c lock_timeout=3000");
        }
        config.connect(NoTls)
    }
}

/// `pg_hba.conf` and `pg_ident.conf` of a private cluster: the socket alone, peer authentication alone, and only these
/// pairs of (system account, role).
#[must_use]
pub fn peer_config(pairs: &[(&str, &str)]) -> (String, String) {
    let hba = "# Only the unix socket, only by who the kernel says the caller is.\nlocal all all peer map=peri\n";
    let ident = pairs.iter().map(|(account, role)| format!("peri {account} {role}\n")).collect();
    (hba.to_owned(), ident)
}

/// Makes roles and database where they are missing and applies the migrations that did not run yet. Idempotent; each
/// migration is one transaction. `superuser` must be a superuser's endpoint. Returns the version.
///
/// # Errors
/// [`SchemaError`]; a migration that failed left nothing behind.
pub fn migrate(superuser: &Endpoint) -> Result<i32, SchemaError> {
    let database = name(&superuser.database)?;
    let maintenance = Endpoint { database: "postgres".to_owned(), ..superuser.clone() };
    let mut client = maintenance.connect().map_err(failed("connecting as superuser"))?;
    for (role, login) in [(OWNER, "NOLOGIN"), (SCRIBE, "LOGIN")] {
        let known = client.query_opt("SELECT FROM pg_roles WHERE rolname = $1", &[&role]);
        if known.map_err(failed("reading roles"))?.is_none() {
            let create = format!(
                "CREATE ROLE {role} {login} NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT NOREPLICATION NOBYPASSRLS"
            );
            client.batch_execute(&create).map_err(failed(&format!("creating role {role}")))?;
        }
    }
    let known = client.query_opt("SELECT FROM pg_database WHERE datname = $1", &[&database]);
    if known.map_err(failed("reading databases"))?.is_none() {
        let create = format!("CREATE DATABASE {database} OWNER {OWNER} ENCODING 'UTF8' TEMPLATE template0");
        client.batch_execute(&create).map_err(failed("creating the database"))?;
    }
    // TEMP and CONNECT belong to everybody by default, in the maintenance databases too; here to nobody but ours.
    let close = format!(
        "REVOKE ALL ON DATABASE {database}, postgres, template1 FROM PUBLIC;
         GRANT CONNECT ON DATABASE {database} TO {SCRIBE};"
    );
    client.batch_execute(&close).map_err(failed("closing the databases"))?;

    let mut client = superuser.connect().map_err(failed("connecting to the database"))?;
    apply(&mut client)
}

fn apply(client: &mut Client) -> Result<i32, SchemaError> {
    let prepare = format!(
        "REVOKE ALL ON SCHEMA public FROM PUBLIC;
         CREATE SCHEMA IF NOT EXISTS peri_meta AUTHORIZATION {OWNER};
         CREATE TABLE IF NOT EXISTS peri_meta.migration (
             version integer PRIMARY KEY, digest bytea NOT NULL, applied timestamptz NOT NULL DEFAULT now());"
    );
    client.batch_execute(&prepare).map_err(failed("preparing the migrations"))?;
    let rows = client
        .query("SELECT version, digest FROM peri_meta.migration ORDER BY version", &[])
        .map_err(failed("reading which migrations ran"))?;
    let ran: Vec<(i32, Vec<u8>)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let known = MIGRATIONS[MIGRATIONS.len() - 1].0;
    if let Some((found, _)) = ran.last().filter(|(found, _)| *found > known) {
        return Err(SchemaError::Newer { found: *found, known });
    }
    for (version, sql) in MIGRATIONS {
        let digest = Hash(Sha256::digest(sql.as_bytes()).into());
        if let Some((_, before)) = ran.iter().find(|(found, _)| *found == version) {
            if before.as_slice() != digest.as_bytes() {
                return Err(SchemaError::Altered(version));
            }
            continue;
        }
        let what = format!("migration {version}");
        let mut transaction = client.transaction().map_err(failed(&what))?;
        transaction.batch_execute(&format!("SET LOCAL ROLE {OWNER}")).map_err(failed(&what))?;
        transaction.batch_execute(sql).map_err(failed(&what))?;
        // Default privileges can only be set for one's own future objects; what exists is closed here, all of it.
        let grants = format!(
            "REVOKE ALL ON ALL FUNCTIONS IN SCHEMA peri, peri_api FROM PUBLIC;
             REVOKE ALL ON ALL TABLES IN SCHEMA peri FROM PUBLIC, {SCRIBE};
             GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA peri_api TO {SCRIBE};
             RESET ROLE;"
        );
        transaction.batch_execute(&grants).map_err(failed(&what))?;
        transaction
            .execute(
                "INSERT INTO peri_meta.migration (version, digest) VALUES ($1, $2)",
                &[&version, &digest.as_bytes().as_slice()],
            )
            .map_err(failed(&what))?;
        transaction.commit().map_err(failed(&what))?;
    }
    Ok(known)
}

fn failed(what: &str) -> impl FnOnce(postgres::Error) -> SchemaError {
    let what = what.to_owned();
    |source| SchemaError::Postgres { what, source }
}

/// A name that needs no quoting.
fn name(text: &str) -> Result<&str, SchemaError> {
    let good = text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.len() <= 63
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if good { Ok(text) } else { Err(SchemaError::Name(text.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testdb::TestDb;
    use postgres::error::SqlState;

    #[test]
    fn migrating_twice_changes_nothing_and_an_altered_migration_is_named() {
        let cluster = TestDb::start();
        let superuser = Endpoint::superuser(cluster.socket_dir());
        assert_eq!(migrate(&superuser).unwrap(), 3);
        let mut client = superuser.connect().unwrap();
        client.execute("UPDATE peri_meta.migration SET digest = '\\x00' WHERE version = 1", &[]).unwrap();
        assert!(matches!(migrate(&superuser), Err(SchemaError::Altered(1))));
        client.execute("INSERT INTO peri_meta.migration VALUES (9, '\\x00')", &[]).unwrap();
        assert!(matches!(migrate(&superuser), Err(SchemaError::Newer { found: 9, known: 3 })));
        assert!(matches!(
            migrate(&Endpoint { database: "a; DROP".to_owned(), ..superuser }),
            Err(SchemaError::Name(_))
        ));
    }

    #[test]
    fn the_application_role_is_refused_everything_but_its_functions() {
        let cluster = TestDb::start();
        let mut client = Endpoint::scribe(cluster.socket_dir()).connect().unwrap();
        client.query("SELECT peri_api.add_statement('\\x01')", &[]).unwrap();
        let attacks = [
            ("read a table", "SELECT * FROM peri.ledger_entry"),
            ("insert", "INSERT INTO peri.roster_statement (digest, statement) VALUES ('\\x00', '\\x00')"),
            ("update", "UPDATE peri.roster_statement SET statement = '\\x02'"),
            ("delete", "DELETE FROM peri.roster_statement"),
            ("truncate", "TRUNCATE peri.ledger_entry CASCADE"),
            ("make a table", "CREATE TABLE mine (x int)"),
            ("make a table beside the functions", "CREATE TABLE peri_api.mine (x int)"),
            ("make a function", "CREATE FUNCTION peri_api.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'"),
            (
                "replace a function",
                "CREATE OR REPLACE FUNCTION peri_api.event_mark(p_run bytea) RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'",
            ),
            ("make a temporary table", "CREATE TEMP TABLE ledger_entry (x int)"),
            ("make a schema", "CREATE SCHEMA mine"),
            ("become the owner", "SET ROLE peri_owner"),
            ("become superuser", "SET ROLE postgres"),
            ("change the session's user", "SET SESSION AUTHORIZATION postgres"),
            ("read a file", "SELECT pg_read_file('/etc/passwd')"),
            ("read a file by COPY", "COPY (SELECT 1) TO '/tmp/peri-attack'"),
            ("run a program", "COPY (SELECT 1) TO PROGRAM 'true'"),
            ("disable the triggers", "ALTER TABLE peri.ledger_entry DISABLE TRIGGER ALL"),
            ("drop the triggers", "DROP TRIGGER append_only ON peri.ledger_entry"),
            ("play replica", "SET session_replication_role = replica"),
            ("call the trigger function", "SELECT peri.refuse_change()"),
            ("read the migrations", "SELECT * FROM peri_meta.migration"),
            ("change the system", "ALTER SYSTEM SET fsync = off"),
            ("make a role", "CREATE ROLE evil SUPERUSER"),
            ("write a large object to a file", "SELECT lo_export(1, '/tmp/peri-attack')"),
        ];
        for (what, sql) in attacks {
            let refusal = client.batch_execute(sql).expect_err(what);
            let code = refusal.code().unwrap_or_else(|| panic!("{what}: {refusal}"));
            let ours = [SqlState::INSUFFICIENT_PRIVILEGE, SqlState::INVALID_SCHEMA_NAME];
            assert!(ours.contains(code), "{what}: {refusal} ({})", code.code());
        }
        // No other database is open to it, and what it wrote is still there, once.
        let elsewhere = Endpoint { database: "postgres".to_owned(), ..Endpoint::scribe(cluster.socket_dir()) };
        assert!(elsewhere.connect().is_err());
        assert_eq!(client.query("SELECT * FROM peri_api.statements(0, 10)", &[]).unwrap().len(), 1);
    }

    #[test]
    fn not_even_the_owner_rewrites_the_ledger_by_accident() {
        let cluster = TestDb::start();
        let mut client = Endpoint::superuser(cluster.socket_dir()).connect().unwrap();
        client.batch_execute("SET ROLE peri_owner").unwrap();
        for sql in [
            "DELETE FROM peri.ledger_entry",
            "UPDATE peri.ledger_checkpoint SET size = 1",
            "TRUNCATE peri.ledger_checkpoint",
            "TRUNCATE peri.roster_statement",
            "UPDATE peri.ledger_detail SET detail = ''",
        ] {
            assert!(client.batch_execute(sql).is_err(), "{sql}");
        }
    }

    #[test]
    fn the_cluster_listens_on_no_port_and_knows_no_other_account() {
        let cluster = TestDb::start();
        let mut client = Endpoint::superuser(cluster.socket_dir()).connect().unwrap();
        let listens: String = client.query_one("SHOW listen_addresses", &[]).unwrap().get(0);
        assert_eq!(listens, "");
        let owner = Endpoint { role: OWNER.to_owned(), ..Endpoint::superuser(cluster.socket_dir()) };
        assert!(owner.connect().is_err());
    }
}
