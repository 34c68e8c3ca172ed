//! SQLite, in the thread that asks: most statements take microseconds, less than the way to another thread and back.
//! What may take long goes to a thread for blocking work: opening, closing, scripts, commits that wait for the disk,
//! folding the log file into the database, and a question that turned out long.

use std::ffi::c_int;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{ErrorCode, OpenFlags, ToSql};
use tokio::task::{consume_budget, spawn_blocking};

use super::pool::{self, Lent, Pool};
use super::{DatabaseOptions, OPENING, Pools, Row, STATEMENTS, Value, sqlite_file};
use crate::error::Error;
use crate::metrics::Asked;

/// Instructions of SQLite's machine between two looks at the patience that is left.
const STRIDE: c_int = 1_000;
/// Looks before a question counts as long: some milliseconds.
const PATIENCE: u32 = 100;
/// Pages of the log file (4 KiB each) before they are written into the database, rarely and in one go.
const FOLDED_AT: u32 = 8_000;
/// What a connection that writes keeps of the database in memory, in KiB; it alone changes it, so all of it holds.
const CACHE: i64 = 8_000;
/// Between two tries to write while another process does.
const RETRY: Duration = Duration::from_millis(5);

/// How a file is opened.
#[derive(Debug)]
pub(super) struct Options {
    file: PathBuf,
    flags: OpenFlags,
    busy_timeout: Duration,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    /// Away while it works in another thread; whoever gave up waiting does not get it back.
    db: Option<rusqlite::Connection>,
    /// Looks that are left.
    left: Arc<AtomicU32>,
    /// Whether its commits wait for the disk.
    durable: bool,
    /// Pages of the log file after the last commit.
    logged: Arc<AtomicU32>,
}

/// Opens the connections to a file; creates one that is not there, if it may.
pub(super) async fn open(options: &DatabaseOptions, asked: &Asked) -> Result<Pools, Error> {
    let file = sqlite_file(&options.url);
    if !options.create && !file.exists() {
        return Err(Error::unavailable(format!("there is no database {}", file.display())));
    }
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)
            .map_err(|it| Error::unavailable(format!("create {}: {it}", folder.display())))?;
    }
    let may_create =
        if options.create { OpenFlags::SQLITE_OPEN_CREATE } else { OpenFlags::empty() };
    let flags = |mode| mode | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let busy_timeout = options.acquire_timeout;
    let connect = |flags| Options { file: file.to_owned(), flags, busy_timeout };
    let write = connect(flags(OpenFlags::SQLITE_OPEN_READ_WRITE | may_create));
    let write = Pool::<Connection>::new(write, asked.clone(), 1, options.acquire_timeout);
    // Makes the file, or says at once why it cannot.
    write.lend_within(OPENING).await?.give_back();
    let read = connect(flags(OpenFlags::SQLITE_OPEN_READ_ONLY));
    let size = options.max_connections.max(1);
    let read = Pool::new(read, asked.clone(), size, options.acquire_timeout);
    Ok(Pools::Sqlite { read, write })
}

/// Starts a transaction that writes. A durable commit writes the log file's pages of those before it to the disk, too.
pub(super) async fn begin(
    pool: &Pool<Connection>,
    durable: bool,
) -> Result<Lent<Connection>, Error> {
    let until = Instant::now() + pool.patience();
    let mut connection = pool.lend().await?;
    let began = Instant::now();
    let writes = loop {
        match connection.began(durable) {
            Ok(true) => break Ok(()),
            Ok(false) if Instant::now() >= until => {
                break Err(Error::unavailable("another process writes into the database"));
            }
            Ok(false) => tokio::time::sleep(RETRY).await,
            Err(error) => break Err(error),
        }
    };
    connection.ended("BEGIN", began, writes)?;
    Ok(connection)
}

/// Starts a transaction that only reads.
pub(super) async fn begin_reading(pool: &Pool<Connection>) -> Result<Lent<Connection>, Error> {
    let mut connection = pool.lend().await?;
    connection.here()?.execute_batch("BEGIN")?;
    Ok(connection)
}

impl pool::Connection for Connection {
    type Options = Options;

    async fn open(options: &Options) -> Result<Self, Error> {
        let (file, flags) = (options.file.clone(), options.flags);
        let busy_timeout = options.busy_timeout;
        let left = Arc::new(AtomicU32::new(u32::MAX));
        let looks = left.clone();
        let logged = Arc::new(AtomicU32::new(0));
        let pages_after = logged.clone();
        let opened = spawn_blocking(move || {
            let mut db = rusqlite::Connection::open_with_flags(file, flags)?;
            db.busy_timeout(busy_timeout)?;
            db.set_prepared_statement_cache_capacity(STATEMENTS);
            // A plan does not depend on values: a statement is not planned again for each.
            db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
            // A look when nothing is left interrupts the statement.
            let looked = move || looks.fetch_sub(1, Ordering::Relaxed) == 0;
            db.progress_handler(STRIDE, Some(looked))?;
            if flags.contains(OpenFlags::SQLITE_OPEN_READ_WRITE) {
                db.pragma_update(None, "journal_mode", "wal")?;
                db.pragma_update(None, "synchronous", "full")?;
                db.pragma_update(None, "cache_size", -CACHE)?;
                let noted = move |_: &mut _, pages| {
                    pages_after.store(u32::try_from(pages).unwrap_or_default(), Ordering::Relaxed);
                    Ok(())
                };
                db.wal_hook(Some(noted))?;
                // Whoever waits to write does not hold the thread.
                db.busy_timeout(Duration::ZERO)?;
            }
            Ok::<_, Error>(db)
        });
        let db = opened.await.map_err(|_| lost())??;
        let durable = flags.contains(OpenFlags::SQLITE_OPEN_READ_WRITE);
        Ok(Self { db: Some(db), left, durable, logged })
    }

    async fn close(self) {
        // Another thread than the caller's waits for the disk.
        let _ = spawn_blocking(move || drop(self.db)).await;
    }
}

impl Connection {
    /// The connection, for what is short.
    fn here(&mut self) -> Result<&mut rusqlite::Connection, Error> {
        self.left.store(u32::MAX, Ordering::Relaxed);
        self.db.as_mut().ok_or_else(lost)
    }

    /// Works in a thread for blocking work.
    async fn elsewhere<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&rusqlite::Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.left.store(u32::MAX, Ordering::Relaxed);
        let db = self.db.take().ok_or_else(lost)?;
        let worked = spawn_blocking(move || (work(&db), db)).await;
        let (result, db) = worked.map_err(|_| lost())?;
        self.db = Some(db);
        result
    }

    /// Whether a transaction that writes began; not while another process writes.
    fn began(&mut self, durable: bool) -> Result<bool, Error> {
        if self.durable != durable {
            let mode = if durable { "full" } else { "normal" };
            self.here()?.pragma_update(None, "synchronous", mode)?;
            self.durable = durable;
        }
        match self.here()?.prepare_cached("BEGIN IMMEDIATE")?.raw_execute() {
            Ok(_) => Ok(true),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Runs a reading statement.
    pub(super) async fn query(&mut self, sql: String, args: Vec<Value>) -> Result<Vec<Row>, Error> {
        consume_budget().await;
        let left = self.left.clone();
        if let Some(rows) = ask(self.here()?, &sql, &args, Some(&left))? {
            return Ok(rows);
        }
        tracing::debug!(sql, "a long question");
        self.elsewhere(move |db| ask(db, &sql, &args, None)?.ok_or_else(lost)).await
    }

    /// Runs a writing statement; the number of rows.
    pub(super) async fn exec(&mut self, sql: &str, args: &[Value]) -> Result<u64, Error> {
        consume_budget().await;
        let mut statement = self.here()?.prepare_cached(sql)?;
        bind(&mut statement, args)?;
        Ok(statement.raw_execute()? as u64)
    }

    /// Runs statements that take no arguments.
    pub(super) async fn script(&mut self, sql: String) -> Result<(), Error> {
        self.elsewhere(move |db| Ok(db.execute_batch(&sql)?)).await
    }

    /// Runs the last statements of a transaction.
    pub(super) async fn end(&mut self, sql: String) -> Result<(), Error> {
        consume_budget().await;
        match self.durable {
            true => self.script(sql).await?,
            false => self.here()?.execute_batch(&sql)?,
        }
        if self.logged.load(Ordering::Relaxed) < FOLDED_AT {
            return Ok(());
        }
        self.logged.store(0, Ordering::Relaxed);
        self.elsewhere(|db| {
            // The commit stands; what cannot be folded now is folded after another one.
            if let Err(error) = db.execute_batch("PRAGMA wal_checkpoint(PASSIVE)") {
                tracing::debug!(%error, "fold the log file into the database");
            }
            Ok(())
        })
        .await
    }
}

/// The rows. With looks to count: nothing when it would take long, and only reads.
fn ask(
    db: &rusqlite::Connection,
    sql: &str,
    args: &[Value],
    left: Option<&AtomicU32>,
) -> Result<Option<Vec<Row>>, Error> {
    let mut statement = db.prepare_cached(sql)?;
    bind(&mut statement, args)?;
    let left = left.filter(|_| statement.readonly());
    if let Some(left) = left {
        left.store(PATIENCE, Ordering::Relaxed);
    }
    let width = statement.column_count();
    let mut found = Vec::new();
    let mut rows = statement.raw_query();
    loop {
        match rows.next() {
            Ok(Some(row)) => {
                let values = (0..width).map(|it| value(row.get_ref(it)?));
                found.push(Row(values.collect::<Result<_, Error>>()?));
            }
            Ok(None) => return Ok(Some(found)),
            Err(error) => {
                let interrupted =
                    error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted);
                return if left.is_some() && interrupted { Ok(None) } else { Err(error.into()) };
            }
        }
    }
}

/// Gives a statement its values: `$3` is the third, and the third `?` without a number too.
fn bind(statement: &mut rusqlite::Statement<'_>, args: &[Value]) -> Result<(), Error> {
    for index in 1..=statement.parameter_count() {
        let number = match statement.parameter_name(index) {
            Some(name) => name.trim_start_matches('$').parse().unwrap_or_default(),
            None => index,
        };
        let value = number.checked_sub(1).and_then(|it: usize| args.get(it));
        let value = value.ok_or_else(|| Error::corrupt("a statement lacks a value"))?;
        statement.raw_bind_parameter(index, value)?;
    }
    Ok(())
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => {
                let refused = Error::corrupt("a NULL was to be written");
                return Err(rusqlite::Error::ToSqlConversionFailure(refused.into()));
            }
            Self::Int(it) => ValueRef::Integer(*it),
            Self::Text(it) => ValueRef::Text(it.as_bytes()),
            Self::Float(it) => ValueRef::Real(*it),
            Self::Blob(it) => ValueRef::Blob(it),
        }))
    }
}

fn value(found: ValueRef<'_>) -> Result<Value, Error> {
    Ok(match found {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(it) => Value::Int(it),
        ValueRef::Real(it) => Value::Float(it),
        ValueRef::Text(it) => {
            let text = str::from_utf8(it).map_err(|_| Error::corrupt("a text is not UTF-8"))?;
            Value::Text(text.to_owned())
        }
        ValueRef::Blob(it) => Value::Blob(it.to_vec()),
    })
}

fn lost() -> Error {
    Error::unavailable("the connection to the database is lost")
}

#[cfg(test)]
mod tests;
