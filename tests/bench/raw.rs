//! What the store is compared with: sqlx on the same table and indexes, and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::Result;
use eventstore::{CommitOptions, Log, Schema};
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Executor as _};

use crate::Bench;
use crate::measure::{Client, alone, drive};
use crate::party::{TENANT, party_id};
use crate::servers::{Servers, open};

const COLUMNS: &str = "INSERT INTO event
    (position, tenant, stream, version, party_id, recorded_at, chain, envelope)";

/// A database with the schema of a store and nobody who uses it as one.
pub(crate) async fn database(servers: &Servers, schema: Schema) -> Result<String> {
    let url = servers.postgres().database();
    let store = open("raw", &url, schema, Log::local(), CommitOptions::default()).await?;
    store.close().await;
    Ok(url)
}

/// Inserts rows of a size, a thousand to a transaction, in one statement of one array per column.
pub(crate) struct Bulk {
    connection: PgConnection,
    streams: Vec<Stream>,
    rows: usize,
    position: i64,
    envelope: Vec<u8>,
}

struct Stream {
    name: String,
    party_id: String,
    version: i64,
}

impl Bulk {
    pub(crate) async fn new(
        url: &str,
        streams: usize,
        rows: usize,
        envelope: Vec<u8>,
    ) -> Result<Self> {
        let connection = PgConnection::connect(url).await?;
        let stream = |number| {
            let party_id = party_id([0, number]);
            Stream { name: format!("party/{party_id}"), party_id, version: 0 }
        };
        let streams = (0..streams).map(stream).collect();
        Ok(Self { connection, streams, rows, position: 0, envelope })
    }
}

impl Client for Bulk {
    async fn step(&mut self) -> Result<u64> {
        let (mut positions, mut names, mut versions) = (Vec::new(), Vec::new(), Vec::new());
        let mut parties = Vec::new();
        for row in 0..self.rows {
            let number = row * self.streams.len() / self.rows;
            let stream = &mut self.streams[number];
            stream.version += 1;
            self.position += 1;
            positions.push(self.position);
            names.push(stream.name.clone());
            versions.push(stream.version);
            parties.push(stream.party_id.clone());
        }
        let mut tx = self.connection.begin().await?;
        sqlx::query(sqlx::AssertSqlSafe(format!(
            "{COLUMNS} SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[],
                 $5::text[], $6::bigint[], $7::bytea[], $8::bytea[])"
        )))
        .bind(positions)
        .bind(vec![TENANT; self.rows])
        .bind(names)
        .bind(versions)
        .bind(parties)
        .bind(vec![1_800_000_000_000_000_i64; self.rows])
        .bind(vec![vec![7_u8; 32]; self.rows])
        .bind(vec![self.envelope.clone(); self.rows])
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(self.rows as u64)
    }
}

/// Inserts one row to a transaction, on a connection of its own.
pub(crate) struct Single {
    connection: PgConnection,
    position: Arc<AtomicI64>,
    name: String,
    version: i64,
    envelope: Vec<u8>,
}

impl Single {
    /// So many of them, on so many connections.
    pub(crate) async fn several(url: &str, count: usize, envelope: &[u8]) -> Result<Vec<Self>> {
        let position = Arc::new(AtomicI64::new(0));
        let mut all = Vec::new();
        for number in 0..count {
            all.push(Self {
                connection: PgConnection::connect(url).await?,
                position: position.clone(),
                name: party_id([1, number]),
                version: 0,
                envelope: envelope.to_vec(),
            });
        }
        Ok(all)
    }
}

impl Client for Single {
    async fn step(&mut self) -> Result<u64> {
        self.version += 1;
        let mut tx = self.connection.begin().await?;
        sqlx::query(sqlx::AssertSqlSafe(format!(
            "{COLUMNS} VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
        )))
        .bind(self.position.fetch_add(1, Ordering::Relaxed) + 1)
        .bind(TENANT)
        .bind(format!("party/{}", self.name))
        .bind(self.version)
        .bind(&self.name)
        .bind(1_800_000_000_000_000_i64)
        .bind(vec![7_u8; 32])
        .bind(&self.envelope)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(1)
    }
}

/// Durable inserts per second of rows of a size, one to a transaction, by so many clients.
pub(crate) async fn inserts(bench: &Bench, clients: usize, bytes: usize) -> Result<f64> {
    let url = database(&bench.servers, Schema::default()).await?;
    let mut singles = Single::several(&url, clients, &vec![7; bytes]).await?;
    alone(bench.plan, async || drive(&mut singles, bench.plan.time).await).await
}

/// Reads the event table page by page and decodes nothing; returns how many rows there were.
pub(crate) async fn scan(connection: &mut PgConnection, page: i64) -> Result<u64> {
    use sqlx::Row as _;
    let (mut after, mut count) = (0_i64, 0);
    loop {
        let query = sqlx::query(
            "SELECT position, chain, envelope FROM event
             WHERE position > $1 ORDER BY position LIMIT $2",
        );
        let rows = connection.fetch_all(query.bind(after).bind(page)).await?;
        let Some(last) = rows.last() else { return Ok(count) };
        after = last.try_get(0)?;
        count += rows.len() as u64;
    }
}
