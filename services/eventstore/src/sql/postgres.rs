//! PostgreSQL, through sqlx.

mod server;

use std::time::Instant;

use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgRow};
use sqlx::{
    Arguments as _, AssertSqlSafe, Column as _, Executor as _, Row as _, TypeInfo as _,
    ValueRef as _,
};

use server::Server;

use super::pool::{self, Lent, Pool};
use super::{Args, DatabaseOptions, OPENING, Pools, Row, STATEMENTS, Value};
use crate::error::Error;
use crate::metrics::Asked;

/// A connection, and how to ask about it.
pub(super) struct Session {
    connection: PgConnection,
    server: Server,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Session").field(&self.server.name()).finish()
    }
}

impl pool::Connection for Session {
    type Options = PgConnectOptions;

    async fn open(options: &PgConnectOptions) -> Result<Self, Error> {
        let server = Server::named(options);
        Ok(Self { connection: server.connect().await?, server })
    }

    async fn close(self) {
        let _ = sqlx::Connection::close(self.connection).await;
    }
}

/// Opens the connections: those to read and keep views with, and the one that appends.
pub(super) async fn open(options: &DatabaseOptions, asked: &Asked) -> Result<Pools, Error> {
    // The server notices a vanished client, and a client that sits in a transaction loses it.
    let connect: PgConnectOptions = options.url.parse::<PgConnectOptions>()?.options([
        ("lock_timeout", "5s"),
        ("tcp_keepalives_idle", "5"),
        ("tcp_keepalives_interval", "2"),
        ("tcp_keepalives_count", "3"),
        // Every statement finds its rows by an index. A plan that was made and kept while a table was
        // small must not scan it when it is large.
        ("enable_seqscan", "off"),
        ("enable_hashjoin", "off"),
        ("enable_mergejoin", "off"),
        // Therefore the values do not matter to a plan: it is made once.
        ("plan_cache_mode", "force_generic_plan"),
        ("jit", "off"),
    ]);
    let connect = connect.statement_cache_capacity(STATEMENTS);
    let (size, patience) = (options.max_connections.max(2), options.acquire_timeout);
    let readers = connect.clone().options([("idle_in_transaction_session_timeout", "10s")]);
    let shared = Pool::<Session>::new(readers, asked.clone(), size, patience);
    shared.lend_within(OPENING).await?.give_back();
    let writer = connect
        .options([("idle_in_transaction_session_timeout", "1s"), ("synchronous_commit", "on")]);
    let append = Pool::new(writer, asked.clone(), 1, patience);
    Ok(Pools::Postgres { shared, append })
}

/// Starts a transaction. Nobody waits for the disk for one that is not durable.
pub(super) async fn begin(pool: &Pool<Session>, durable: bool) -> Result<Lent<Session>, Error> {
    let mut session = pool.lend().await?;
    let begin = match durable {
        true => "BEGIN",
        false => "BEGIN; SET LOCAL synchronous_commit = off",
    };
    let began = Instant::now();
    let Session { connection, server } = &mut *session;
    let answer = server.answers(connection.execute(begin)).await;
    if let Err(error) = session.ended("BEGIN", began, answer) {
        pool.forget();
        return Err(error);
    }
    Ok(session)
}

/// Starts a transaction that only reads.
pub(super) async fn begin_reading(pool: &Pool<Session>) -> Result<Lent<Session>, Error> {
    let mut session = pool.lend().await?;
    let began = Instant::now();
    let Session { connection, server } = &mut *session;
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";
    let answer = server.answers(connection.execute(begin)).await;
    session.ended("BEGIN", began, answer)?;
    Ok(session)
}

/// Runs a reading statement.
pub(super) async fn query(
    session: &mut Session,
    sql: String,
    args: Args,
) -> Result<Vec<Row>, Error> {
    let query = sqlx::query_with(AssertSqlSafe(sql), bound(args)?);
    let Session { connection, server } = session;
    server.answers(query.fetch_all(connection)).await?.iter().map(row).collect()
}

/// Runs a writing statement; the number of rows.
pub(super) async fn exec(session: &mut Session, sql: String, args: Args) -> Result<u64, Error> {
    let query = sqlx::query_with(AssertSqlSafe(sql), bound(args)?);
    let Session { connection, server } = session;
    Ok(server.answers(query.execute(connection)).await?.rows_affected())
}

/// Runs statements that take no arguments.
pub(super) async fn script(session: &mut Session, sql: String) -> Result<(), Error> {
    let Session { connection, server } = session;
    server.answers(connection.execute(sqlx::raw_sql(AssertSqlSafe(sql)))).await?;
    Ok(())
}

fn bound(args: Args) -> Result<PgArguments, Error> {
    let mut bound = PgArguments::default();
    match args {
        Args::Values(values) => {
            for value in values {
                match value {
                    Value::Null => {
                        return Err(Error::corrupt("a NULL was to be written".to_owned()));
                    }
                    Value::Int(it) => bound.add(it),
                    Value::Text(it) => bound.add(it),
                    Value::Float(it) => bound.add(it),
                    Value::Blob(it) => bound.add(it),
                }
                .map_err(sqlx::Error::Encode)?;
            }
        }
        Args::Columns(rows) => bind_columns(&mut bound, rows)?,
    }
    Ok(bound)
}

/// Binds one array per column.
fn bind_columns(bound: &mut PgArguments, rows: Vec<Vec<Value>>) -> Result<(), Error> {
    let width = rows.first().map_or(0, Vec::len);
    let mut rows: Vec<_> = rows.into_iter().map(Vec::into_iter).collect();
    for _ in 0..width {
        let column: Vec<Value> = rows.iter_mut().filter_map(Iterator::next).collect();
        let mut array = Array::default();
        for value in column {
            array.push(value);
        }
        match array {
            Array { ints, .. } if !ints.is_empty() => bound.add(ints),
            Array { texts, .. } if !texts.is_empty() => bound.add(texts),
            Array { floats, .. } if !floats.is_empty() => bound.add(floats),
            Array { blobs, .. } => bound.add(blobs),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(())
}

#[derive(Default)]
struct Array {
    ints: Vec<i64>,
    texts: Vec<String>,
    floats: Vec<f64>,
    blobs: Vec<Vec<u8>>,
}

impl Array {
    fn push(&mut self, value: Value) {
        match value {
            // `unnest` refused a NULL before.
            Value::Null => {}
            Value::Int(it) => self.ints.push(it),
            Value::Text(it) => self.texts.push(it),
            Value::Float(it) => self.floats.push(it),
            Value::Blob(it) => self.blobs.push(it),
        }
    }
}

fn row(found: &PgRow) -> Result<Row, Error> {
    let mut values = Vec::with_capacity(found.len());
    for (index, column) in found.columns().iter().enumerate() {
        if found.try_get_raw(index)?.is_null() {
            values.push(Value::Null);
            continue;
        }
        values.push(match column.type_info().name() {
            "INT8" => Value::Int(found.try_get_unchecked(index)?),
            "INT4" => Value::Int(found.try_get_unchecked::<i32, _>(index)?.into()),
            "BOOL" => Value::Int(found.try_get_unchecked::<bool, _>(index)?.into()),
            "FLOAT8" => Value::Float(found.try_get_unchecked(index)?),
            "BYTEA" | "blob" => Value::Blob(found.try_get_unchecked(index)?),
            "TEXT" | "VARCHAR" | "NAME" => Value::Text(found.try_get_unchecked(index)?),
            other => {
                let text = format!("column {} has type {other}", column.name());
                return Err(Error::corrupt(text));
            }
        });
    }
    Ok(Row(values))
}
