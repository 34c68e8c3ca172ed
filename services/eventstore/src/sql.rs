//! The one place that knows which database it is: SQL texts are written once, in the portable subset,
//! and run here on SQLite or PostgreSQL.
//!
//! Tables hold no NULL: `''`, `0` and [`Timestamp::MAX`](crate::Timestamp::MAX) say "absent" where a
//! column says so. Many rows travel in one statement: as arrays on PostgreSQL (one prepared statement
//! for any number of rows), as small multi-row `VALUES` on SQLite.

mod pool;
mod postgres;
mod sqlite;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::metrics::Asked;
use pool::{Lent, Pool, Sizes};

/// How long a database may take to open.
const OPENING: Duration = Duration::from_secs(60);
/// Statements that a connection keeps prepared.
const STATEMENTS: usize = 500;
/// Rows of a statement on SQLite, one of these numbers: few statements are prepared, and few are run.
const CHUNKS: [usize; 8] = [64, 32, 16, 8, 4, 3, 2, 1];

/// A value going into or coming out of a statement.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Only ever read, never written.
    Null,
    /// BIGINT.
    Int(i64),
    /// TEXT.
    Text(String),
    /// DOUBLE PRECISION.
    Float(f64),
    /// blob.
    Blob(Vec<u8>),
}

macro_rules! value_from {
    ($($type:ty => |$it:ident| $value:expr),* $(,)?) => {$(
        impl From<$type> for Value {
            fn from($it: $type) -> Self {
                $value
            }
        }
    )*};
}

value_from! {
    i64 => |it| Self::Int(it),
    i32 => |it| Self::Int(it.into()),
    u32 => |it| Self::Int(it.into()),
    u64 => |it| Self::Int(i64::try_from(it).unwrap_or(i64::MAX)),
    bool => |it| Self::Int(it.into()),
    f64 => |it| Self::Float(it),
    &str => |it| Self::Text(it.to_owned()),
    String => |it| Self::Text(it),
    &String => |it| Self::Text(it.clone()),
    Vec<u8> => |it| Self::Blob(it),
    &[u8] => |it| Self::Blob(it.to_vec()),
    [u8; 32] => |it| Self::Blob(it.to_vec()),
    crate::Timestamp => |it| Self::Int(it.0),
}

/// Builds a list of [`Value`]s: `values![tenant, 5, &bytes[..]]`.
#[macro_export]
macro_rules! values {
    ($($value:expr),* $(,)?) => { vec![$($crate::Value::from($value)),*] };
}

/// A row that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Row(Vec<Value>);

impl Row {
    /// The integer in a column.
    pub fn int(&self, column: usize) -> Result<i64, Error> {
        match self.0.get(column) {
            Some(Value::Int(value)) => Ok(*value),
            other => Err(wrong(column, "an integer", other)),
        }
    }

    /// The integer in a column that cannot be negative.
    pub fn count(&self, column: usize) -> Result<u64, Error> {
        u64::try_from(self.int(column)?).map_err(|_| wrong(column, "a count", self.0.get(column)))
    }

    /// The instant in a column.
    pub fn time(&self, column: usize) -> Result<crate::Timestamp, Error> {
        self.int(column).map(crate::Timestamp)
    }

    /// The flag in a column.
    pub fn flag(&self, column: usize) -> Result<bool, Error> {
        self.int(column).map(|it| it != 0)
    }

    /// The number in a column.
    pub fn float(&self, column: usize) -> Result<f64, Error> {
        match self.0.get(column) {
            Some(Value::Float(value)) => Ok(*value),
            other => Err(wrong(column, "a number", other)),
        }
    }

    /// The text in a column.
    pub fn text(&self, column: usize) -> Result<&str, Error> {
        match self.0.get(column) {
            Some(Value::Text(value)) => Ok(value),
            other => Err(wrong(column, "a text", other)),
        }
    }

    /// All of them.
    pub(crate) fn into_values(self) -> Vec<Value> {
        self.0
    }

    /// The bytes in a column.
    pub fn blob(&self, column: usize) -> Result<&[u8], Error> {
        match self.0.get(column) {
            Some(Value::Blob(value)) => Ok(value),
            other => Err(wrong(column, "bytes", other)),
        }
    }

    /// The 32 bytes in a column.
    pub fn hash(&self, column: usize) -> Result<[u8; 32], Error> {
        let bytes = self.blob(column)?;
        bytes.try_into().map_err(|_| wrong(column, "32 bytes", self.0.get(column)))
    }
}

/// Says what kind of value was found, never which: it may be personal or secret.
fn wrong(column: usize, expected: &str, found: Option<&Value>) -> Error {
    let found = match found {
        None => "nothing",
        Some(Value::Null) => "NULL",
        Some(Value::Int(_)) => "an integer",
        Some(Value::Text(_)) => "a text",
        Some(Value::Float(_)) => "a number",
        Some(Value::Blob(_)) => "bytes",
    };
    Error::corrupt(format!("column {column} holds {found}, not {expected}"))
}

/// How a database is reached.
#[derive(Clone, Debug)]
pub struct DatabaseOptions {
    /// `sqlite://<file>` or `postgres://…`.
    pub url: String,
    /// What its metrics call it: the service that it belongs to.
    pub name: String,
    /// Connections for reading; SQLite and PostgreSQL each have one more for appending.
    pub max_connections: u32,
    /// How long to wait for a free connection.
    pub acquire_timeout: Duration,
    /// Whether an SQLite file that is not there is created; otherwise it is a reason not to open.
    pub create: bool,
}

impl DatabaseOptions {
    /// Options for a URL, named after its file or database, with ten reading connections and five seconds of patience.
    pub fn new(url: impl Into<String>) -> Self {
        let url = url.into();
        Self {
            name: name_of(&url).to_owned(),
            url,
            max_connections: 10,
            acquire_timeout: Duration::from_secs(5),
            create: true,
        }
    }
}

/// A service's own database: connections to read and keep views with, and one to append with.
#[derive(Clone, Debug)]
pub struct Database {
    pools: Pools,
    asked: Asked,
    /// Names this opening of an SQLite file.
    opened: String,
}

#[derive(Clone, Debug)]
enum Pools {
    Sqlite { read: Pool<sqlite::Connection>, write: Pool<sqlite::Connection> },
    Postgres { shared: Pool<postgres::Session>, append: Pool<postgres::Session> },
}

/// What a URL names, without anything that may be a credential: a password may hold what should have been escaped.
fn name_of(url: &str) -> &str {
    let (rest, query) = url.find(['?', '#']).map_or((url, ""), |at| url.split_at(at));
    match rest.split_once("://") {
        Some((scheme, rest)) if scheme != "sqlite" => {
            let place = rest.rsplit('@').next().filter(|_| !query.contains('@'));
            place.and_then(|it| it.split_once('/')).map_or("", |(_, path)| path)
        }
        _ => {
            let file = rest.rsplit('/').next().unwrap_or_default();
            file.strip_suffix(".db").unwrap_or(file)
        }
    }
}

/// The file an SQLite URL names: `sqlite://data/audit.db` is `data/audit.db`, `sqlite:///data/audit.db` is absolute.
pub fn sqlite_file(url: &str) -> &Path {
    let prefix = ["sqlite://", "sqlite:"].into_iter().find_map(|it| url.strip_prefix(it));
    Path::new(prefix.unwrap_or(url))
}

impl Database {
    /// Opens the database; creates an SQLite file that is not there, if it may.
    pub async fn open(options: &DatabaseOptions) -> Result<Self, Error> {
        let postgres = options.url.starts_with("postgres");
        let system = if postgres { "postgresql" } else { "sqlite" };
        let asked = Asked { system, name: Arc::from(options.name.as_str()) };
        let pools = match postgres {
            true => postgres::open(options, &asked).await?,
            false => sqlite::open(options, &asked).await?,
        };
        let opened = format!("sqlite/{}", crate::Timestamp::real().0);
        Ok(Self { pools, asked, opened })
    }

    /// `sqlite` or `postgresql`, as OpenTelemetry's `db.system.name` spells them.
    pub fn system(&self) -> &'static str {
        self.asked.system
    }

    /// What its metrics and spans call it.
    pub fn name(&self) -> &str {
        &self.asked.name
    }

    /// Whether it is PostgreSQL.
    pub fn is_postgres(&self) -> bool {
        matches!(self.pools, Pools::Postgres { .. })
    }

    /// Its connections.
    pub(crate) fn connections(&self) -> Sizes {
        match &self.pools {
            Pools::Sqlite { read, write } => read.sizes() + write.sizes(),
            Pools::Postgres { shared, append } => shared.sizes() + append.sizes(),
        }
    }

    /// Number of append connections opened so far: a new one must compare the log's tail first.
    pub(crate) fn generation(&self) -> u64 {
        match &self.pools {
            // An SQLite file is the same file on every connection.
            Pools::Sqlite { .. } => 0,
            Pools::Postgres { append, .. } => append.opened(),
        }
    }

    /// Starts a transaction of a lease, a rebuild or a person.
    pub async fn begin(&self) -> Result<Tx, Error> {
        Ok(Tx(match &self.pools {
            Pools::Sqlite { write, .. } => Inner::Sqlite(sqlite::begin(write, true).await?),
            Pools::Postgres { shared, .. } => Inner::Postgres(postgres::begin(shared, true).await?),
        }))
    }

    /// Starts a transaction that only reads, and sees everything as it stood at its first statement.
    pub async fn snapshot(&self) -> Result<Tx, Error> {
        match self.snapshot_once().await {
            Err(error) if error.is_transient() => {
                self.forget();
                self.snapshot_once().await
            }
            result => result,
        }
    }

    async fn snapshot_once(&self) -> Result<Tx, Error> {
        Ok(Tx(match &self.pools {
            Pools::Sqlite { read, .. } => Inner::Sqlite(sqlite::begin_reading(read).await?),
            Pools::Postgres { shared, .. } => {
                Inner::Postgres(postgres::begin_reading(shared).await?)
            }
        }))
    }

    /// Starts a transaction that nobody waits for the disk for. A power cut may undo it, whole and together with all
    /// of its kind after it, but nothing that was committed durably: for what is found missing then and done again.
    pub(crate) async fn begin_relaxed(&self) -> Result<Tx, Error> {
        Ok(Tx(match &self.pools {
            Pools::Sqlite { write, .. } => Inner::Sqlite(sqlite::begin(write, false).await?),
            Pools::Postgres { shared, .. } => {
                Inner::Postgres(postgres::begin(shared, false).await?)
            }
        }))
    }

    /// Starts a transaction on the append connection; its first statement must lock the head.
    pub(crate) async fn begin_append(&self) -> Result<Tx, Error> {
        Ok(Tx(match &self.pools {
            Pools::Sqlite { write, .. } => Inner::Sqlite(sqlite::begin(write, true).await?),
            Pools::Postgres { append, .. } => Inner::Postgres(postgres::begin(append, true).await?),
        }))
    }

    /// Names the running database: another one may be a standby that was promoted, or a restored copy.
    pub(crate) async fn identity(&self, tx: &mut Tx) -> Result<String, Error> {
        if !self.is_postgres() {
            return Ok(self.opened.clone());
        }
        let rows = tx
            .query(
                "SELECT CAST(s.system_identifier AS TEXT) || '/' || CAST(c.timeline_id AS TEXT)
                     || '/' || CAST(pg_postmaster_start_time() AS TEXT)
                     || '/' || (SELECT CAST(oid AS TEXT) FROM pg_database
                                WHERE datname = current_database())
                 FROM pg_control_system() s, pg_control_checkpoint() c",
                vec![],
            )
            .await?;
        rows.first().map_or_else(|| Ok(String::new()), |row| row.text(0).map(str::to_owned))
    }

    /// Runs one reading statement; once more when its connection turns out to be dead.
    pub async fn query(&self, sql: &'static str, args: Vec<Value>) -> Result<Vec<Row>, Error> {
        self.query_text(sql.to_owned(), Args::Values(args)).await
    }

    /// Runs one reading statement over many keys; see [`Tx::query_keys`].
    pub async fn query_keys(
        &self,
        keys: &'static str,
        rows: &[Vec<Value>],
        sql: &'static str,
    ) -> Result<Vec<Row>, Error> {
        let mut found = Vec::new();
        for (text, args) in over(self.is_postgres(), keys, rows, sql)? {
            found.extend(self.query_text(text, args).await?);
        }
        Ok(found)
    }

    async fn query_text(&self, sql: String, args: Args) -> Result<Vec<Row>, Error> {
        match self.query_once(sql.clone(), args.clone()).await {
            Err(error) if error.is_transient() => {
                self.forget();
                self.query_once(sql, args).await
            }
            result => result,
        }
    }

    async fn query_once(&self, sql: String, args: Args) -> Result<Vec<Row>, Error> {
        match &self.pools {
            Pools::Sqlite { read, .. } => {
                let mut connection = read.lend().await?;
                let (operation, began) = (first_word(&sql), Instant::now());
                let rows = connection.query(sql, args.values()?).await;
                let rows = connection.ended(operation, began, rows)?;
                connection.give_back();
                Ok(rows)
            }
            Pools::Postgres { shared, .. } => {
                let mut connection = shared.lend().await?;
                let (operation, began) = (first_word(&sql), Instant::now());
                let rows = postgres::query(&mut connection, sql, args).await;
                let rows = connection.ended(operation, began, rows)?;
                connection.give_back();
                Ok(rows)
            }
        }
    }

    /// Closes the free connections for reading.
    fn forget(&self) {
        match &self.pools {
            Pools::Sqlite { read, .. } => read.forget(),
            Pools::Postgres { shared, .. } => shared.forget(),
        }
    }

    /// Runs one writing statement in a transaction of its own; returns the number of rows.
    pub async fn exec(&self, sql: &'static str, args: Vec<Value>) -> Result<u64, Error> {
        let mut tx = self.begin().await?;
        let rows = tx.exec(sql, args).await?;
        tx.commit().await?;
        Ok(rows)
    }

    /// Closes every connection.
    pub async fn close(&self) {
        match &self.pools {
            Pools::Sqlite { read, write } => {
                read.close().await;
                write.close().await;
            }
            Pools::Postgres { shared, append } => {
                shared.close().await;
                append.close().await;
            }
        }
    }
}

/// A transaction; dropping it rolls back.
#[derive(Debug)]
pub struct Tx(Inner);

#[derive(Debug)]
enum Inner {
    Sqlite(Lent<sqlite::Connection>),
    Postgres(Lent<postgres::Session>),
}

impl Tx {
    /// Runs a reading statement.
    pub async fn query(&mut self, sql: &'static str, args: Vec<Value>) -> Result<Vec<Row>, Error> {
        self.query_text(sql.to_owned(), Args::Values(args)).await
    }

    /// Runs a writing statement; returns the number of rows.
    pub async fn exec(&mut self, sql: &'static str, args: Vec<Value>) -> Result<u64, Error> {
        self.exec_text(sql.to_owned(), Args::Values(args)).await
    }

    /// Runs a statement over many keys: `keys` names a table of them and its columns, for example
    /// `k(tenant, stream)`, and `sql` uses it.
    pub async fn query_keys(
        &mut self,
        keys: &'static str,
        rows: &[Vec<Value>],
        sql: &'static str,
    ) -> Result<Vec<Row>, Error> {
        let mut found = Vec::new();
        for (text, args) in over(self.is_postgres(), keys, rows, sql)? {
            found.extend(self.query_text(text, args).await?);
        }
        Ok(found)
    }

    /// Like [`Tx::query_keys`], for a writing statement.
    pub async fn exec_keys(
        &mut self,
        keys: &'static str,
        rows: &[Vec<Value>],
        sql: &'static str,
    ) -> Result<u64, Error> {
        let mut changed = 0;
        for (text, args) in over(self.is_postgres(), keys, rows, sql)? {
            changed += self.exec_text(text, args).await?;
        }
        Ok(changed)
    }

    /// Inserts many rows: `insert` is `INSERT INTO t (a, b)`, `conflict` what follows the values, for
    /// example `ON CONFLICT (a) DO UPDATE SET b = excluded.b`. Returns the number of rows written.
    pub async fn insert_many(
        &mut self,
        insert: &'static str,
        rows: Vec<Vec<Value>>,
        conflict: &'static str,
    ) -> Result<u64, Error> {
        self.insert_rows(insert, rows, conflict).await
    }

    /// The same for a table whose name is known when it runs.
    pub(crate) async fn insert_rows(
        &mut self,
        insert: &str,
        rows: Vec<Vec<Value>>,
        conflict: &str,
    ) -> Result<u64, Error> {
        let mut changed = 0;
        if self.is_postgres() {
            let Some(first) = rows.first() else { return Ok(0) };
            let text = format!("{insert} SELECT * FROM {} {conflict}", unnest(first)?);
            return self.exec_text(text, Args::Columns(rows)).await;
        }
        for chunk in chunks(rows, &CHUNKS[1..]) {
            let values = placeholders(chunk.len(), chunk.first().map_or(0, Vec::len));
            let text = format!("{insert} VALUES {values} {conflict}");
            let args = Args::Values(chunk.into_iter().flatten().collect());
            changed += self.exec_text(text, args).await?;
        }
        Ok(changed)
    }

    /// Commits.
    pub async fn commit(self) -> Result<(), Error> {
        self.end("COMMIT", "COMMIT".to_owned()).await
    }

    /// Runs a last statement, which takes no arguments, and commits, in one message.
    pub(crate) async fn commit_after(self, last: &str) -> Result<(), Error> {
        self.end("COMMIT", format!("{last}; COMMIT")).await
    }

    /// Rolls back.
    pub async fn rollback(self) -> Result<(), Error> {
        self.end("ROLLBACK", "ROLLBACK".to_owned()).await
    }

    async fn end(self, operation: &'static str, how: String) -> Result<(), Error> {
        let began = Instant::now();
        match self.0 {
            Inner::Sqlite(mut connection) => {
                let ended = connection.end(how).await;
                connection.ended(operation, began, ended)?;
                connection.give_back();
            }
            Inner::Postgres(mut connection) => {
                let ended = postgres::script(&mut connection, how).await;
                connection.ended(operation, began, ended)?;
                connection.give_back();
            }
        }
        Ok(())
    }

    /// Runs a script of statements; for migrations only.
    pub(crate) async fn script(&mut self, sql: &str) -> Result<(), Error> {
        match &mut self.0 {
            Inner::Sqlite(connection) => connection.script(sql.to_owned()).await,
            Inner::Postgres(connection) => postgres::script(connection, sql.to_owned()).await,
        }
    }

    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self.0, Inner::Postgres(_))
    }

    pub(crate) async fn query_text(&mut self, sql: String, args: Args) -> Result<Vec<Row>, Error> {
        let (operation, began) = (first_word(&sql), Instant::now());
        match &mut self.0 {
            Inner::Sqlite(connection) => {
                let rows = connection.query(sql, args.values()?).await;
                connection.ended(operation, began, rows)
            }
            Inner::Postgres(connection) => {
                let rows = postgres::query(connection, sql, args).await;
                connection.ended(operation, began, rows)
            }
        }
    }

    pub(crate) async fn exec_text(&mut self, sql: String, args: Args) -> Result<u64, Error> {
        let (operation, began) = (first_word(&sql), Instant::now());
        match &mut self.0 {
            Inner::Sqlite(connection) => {
                let rows = connection.exec(&sql, &args.values()?).await;
                connection.ended(operation, began, rows)
            }
            Inner::Postgres(connection) => {
                let rows = postgres::exec(connection, sql, args).await;
                connection.ended(operation, began, rows)
            }
        }
    }
}

/// What a statement does, as a label.
fn first_word(sql: &str) -> &'static str {
    let word = sql.trim_start().split(char::is_whitespace).next().unwrap_or_default();
    ["SELECT", "INSERT", "UPDATE", "DELETE", "WITH"]
        .into_iter()
        .find(|it| word.eq_ignore_ascii_case(it))
        .unwrap_or("_OTHER")
}

/// The statements that run `sql` over a table of keys, with their arguments.
pub(crate) fn over(
    postgres: bool,
    keys: &str,
    rows: &[Vec<Value>],
    sql: &str,
) -> Result<Vec<(String, Args)>, Error> {
    let Some(first) = rows.first() else { return Ok(Vec::new()) };
    if postgres {
        let text = format!("WITH {keys} AS (SELECT * FROM {}) {sql}", unnest(first)?);
        return Ok(vec![(text, Args::Columns(rows.to_vec()))]);
    }
    Ok(chunks(rows.to_vec(), &CHUNKS)
        .into_iter()
        .map(|chunk| {
            let values = placeholders(chunk.len(), first.len());
            let text = format!("WITH {keys} AS (VALUES {values}) {sql}");
            (text, Args::Values(chunk.into_iter().flatten().collect()))
        })
        .collect())
}

/// What a statement is given: one value per placeholder, or rows that travel as one array per column.
#[derive(Clone)]
pub(crate) enum Args {
    Values(Vec<Value>),
    Columns(Vec<Vec<Value>>),
}

impl Args {
    fn values(self) -> Result<Vec<Value>, Error> {
        match self {
            Self::Values(values) => Ok(values),
            Self::Columns(_) => Err(Error::corrupt("SQLite takes no arrays")),
        }
    }
}

/// `unnest($1::bigint[], $2::text[], …)` for rows like this one.
fn unnest(row: &[Value]) -> Result<String, Error> {
    let mut arrays = Vec::with_capacity(row.len());
    for (index, value) in row.iter().enumerate() {
        let kind = match value {
            Value::Int(_) => "bigint",
            Value::Text(_) => "text",
            Value::Float(_) => "double precision",
            Value::Blob(_) => "bytea",
            Value::Null => return Err(Error::corrupt("a NULL was to be written".to_owned())),
        };
        arrays.push(format!("${}::{kind}[]", index + 1));
    }
    Ok(format!("unnest({})", arrays.join(", ")))
}

/// `(?, ?), (?, ?)` for two rows of two columns.
fn placeholders(rows: usize, width: usize) -> String {
    let row = format!("({})", vec!["?"; width].join(", "));
    vec![row; rows].join(", ")
}

/// Cuts rows into chunks of few sizes, largest first, so that few statements are prepared.
fn chunks(rows: Vec<Vec<Value>>, sizes: &[usize]) -> Vec<Vec<Vec<Value>>> {
    let mut rest = rows.into_iter();
    let mut cut = Vec::new();
    for size in sizes {
        while rest.len() >= *size {
            cut.push(rest.by_ref().take(*size).collect());
        }
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::DatabaseOptions;

    #[test]
    fn a_database_is_named_after_no_credential() {
        for (url, name) in [
            ("sqlite://data/audit.db", "audit"),
            ("sqlite:audit.db?mode=ro", "audit"),
            ("postgres://user:password@host/audit", "audit"),
            ("postgresql://host:5432/audit?sslmode=require", "audit"),
            ("postgres:///audit?host=/run/postgresql", "audit"),
            ("postgres://user:password@host", ""),
            ("postgres://user:password@host?sslmode=require", ""),
            ("postgres://user:pass/word@host", ""),
            ("postgres://user:pass/word@host/audit", "audit"),
            ("postgres://user:p@ss/word@host/audit", "audit"),
            ("postgres://user:pass/wo?rd@host/audit", ""),
            ("postgres://user:pass/wo#rd@host/audit", ""),
            ("postgres://host/audit?user=user&password=p@ss/word", ""),
            ("other://user:password@host", ""),
        ] {
            assert_eq!(DatabaseOptions::new(url).name, name, "{url}");
        }
    }
}
