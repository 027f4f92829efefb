//! The thread that waits for PostgreSQL, so that scribe need not.
//!
//! The crate `postgres` waits for an answer as long as the connection stands, and a server that is stopped, or stuck in its
//! disk, keeps it standing. So connection and calls belong to a thread of their own, one call at a time, and whoever asks
//! waits for a bounded time. What was not answered by then is as if the connection had broken: its outcome is unknown.
//! Nobody waits for that thread again; until it ends, or is given up, the database counts as away ([`Hung`]).
//!
//! What does not belong: which calls there are, when to try again. Invariants: a late answer is never used; at most
//! [`HUNG_MAX`] threads wait for a server that does not answer.

use crate::schema::Endpoint;
use postgres::types::{IsNull, ToSql, Type, private::BytesMut, to_sql_checked};
use postgres::{Client, Error, Row, Statement};
use std::collections::HashMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// A thread that hangs for so long may hang for ever, while the server answers others: another is tried beside it.
const GIVE_UP: Duration = Duration::from_secs(60);
/// Threads that hang at once; with the one in use half of the connections that the private cluster allows.
const HUNG_MAX: usize = 3;

type Job = Box<dyn FnOnce(&mut Client) + Send>;

/// Why a call has no rows.
pub(super) enum Failed {
    /// The server or the driver says why; `broken`: the connection is gone with it.
    Said {
        /// What it said.
        error: Error,
        /// See there.
        broken: bool,
    },
    /// The call is impossible for its parameters.
    Parameters(String),
    /// No answer in time; the outcome is unknown and the session over.
    Silent(String),
}

/// A connection, behind its thread.
pub(super) struct Session {
    jobs: SyncSender<Job>,
    thread: JoinHandle<()>,
    prepared: HashMap<&'static str, Statement>,
    patience: Duration,
}

impl Session {
    /// Connects.
    ///
    /// # Errors
    /// With the thread that still waits, where one does.
    pub(super) fn open(endpoint: &Endpoint) -> Result<Self, (Failed, Option<JoinHandle<()>>)> {
        let (jobs, queue) = sync_channel::<Job>(1);
        let (tell, told) = sync_channel(1);
        let at = endpoint.clone();
        let work = move || match at.connect() {
            Ok(mut client) => {
                let _ = tell.send(Ok(()));
                while let Ok(job) = queue.recv() {
                    job(&mut client);
                }
            }
            Err(error) => drop(tell.send(Err(error))),
        };
        let started = Builder::new().name("database".into()).spawn(work);
        let thread = started.map_err(|error| (Failed::Silent(format!("no thread for the database: {error}")), None))?;
        let patience = endpoint.patience();
        match wait(&told, patience) {
            Ok(Ok(())) => Ok(Self { jobs, thread, prepared: HashMap::new(), patience }),
            Ok(Err(error)) => Err((Failed::Said { error, broken: true }, None)),
            Err(silent) => Err((silent, Some(thread))),
        }
    }

    /// Runs one prepared statement. After [`Failed::Silent`] the session must go ([`Session::into_thread`]).
    pub(super) fn run(&mut self, sql: &'static str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Failed> {
        let statement = match self.prepared.get(sql) {
            Some(statement) => statement.clone(),
            None => {
                let statement = self.ask(|client| client.prepare(sql))?;
                self.prepared.insert(sql, statement.clone());
                statement
            }
        };
        let params = encoded(&statement, params).map_err(Failed::Parameters)?;
        self.ask(move |client| {
            let params: Vec<&(dyn ToSql + Sync)> = params.iter().map(|param| param as _).collect();
            client.query(&statement, &params)
        })
    }

    fn ask<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Client) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Failed> {
        let (tell, told) = sync_channel(1);
        let job = move |client: &mut Client| {
            let result = call(client);
            // Who asked may have given up.
            let _ = tell.send(result.map_err(|error| (error, client.is_closed())));
        };
        if self.jobs.try_send(Box::new(job)).is_err() {
            return Err(Failed::Silent("the thread of the database ended".into()));
        }
        wait(&told, self.patience)?.map_err(|(error, broken)| Failed::Said { error, broken })
    }

    /// Ends the session: its thread ends after what it does now.
    pub(super) fn into_thread(self) -> JoinHandle<()> {
        self.thread
    }
}

fn wait<T>(told: &Receiver<T>, patience: Duration) -> Result<T, Failed> {
    told.recv_timeout(patience).map_err(|error| match error {
        RecvTimeoutError::Timeout => Failed::Silent(format!("no answer within {} ms", patience.as_millis())),
        RecvTimeoutError::Disconnected => Failed::Silent("the thread of the database ended".into()),
    })
}

/// Threads whose call was not answered in time.
#[derive(Default)]
pub(super) struct Hung {
    threads: Vec<JoinHandle<()>>,
    since: Duration,
}

impl Hung {
    pub(super) fn push(&mut self, thread: JoinHandle<()>, now: Duration) {
        self.threads.push(thread);
        self.since = now;
    }

    /// How long no other call should be tried; `None`: one may be.
    pub(super) fn keeps(&mut self, now: Duration) -> Option<Duration> {
        self.threads.retain(|thread| !thread.is_finished());
        let waited = now.saturating_sub(self.since);
        match self.threads.len() {
            0 => None,
            HUNG_MAX.. => Some(GIVE_UP),
            _ => GIVE_UP.checked_sub(waited).filter(|left| !left.is_zero()),
        }
    }
}

/// A parameter as the server reads it: it goes to another thread, what it was made from does not.
#[derive(Debug)]
struct Encoded(Option<BytesMut>);

impl ToSql for Encoded {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        let Some(bytes) = &self.0 else { return Ok(IsNull::Yes) };
        out.extend_from_slice(bytes);
        Ok(IsNull::No)
    }

    /// Which type it is was checked when it was encoded.
    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

fn encoded(statement: &Statement, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Encoded>, String> {
    let types = statement.params();
    if types.len() != params.len() {
        return Err(format!("{} parameters where {} are due", params.len(), types.len()));
    }
    let one = |(param, ty): (&&(dyn ToSql + Sync), &Type)| {
        let mut bytes = BytesMut::new();
        match param.to_sql_checked(ty, &mut bytes) {
            Ok(IsNull::Yes) => Ok(Encoded(None)),
            Ok(IsNull::No) => Ok(Encoded(Some(bytes))),
            Err(error) => Err(error.to_string()),
        }
    };
    params.iter().zip(types).map(one).collect()
}
