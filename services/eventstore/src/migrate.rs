//! Migrations: append-only, forward-only; the checksum of each applied step is kept and compared.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::ids::hex;
use crate::sql::{Database, Tx};
use crate::time::Timestamp;
use crate::values;
use crate::view::Migration;

/// The event store's own tables: the only SQL with a dialect.
pub(crate) const OWN: [Migration; 3] = [
    Migration {
        name: "eventstore/0001_eventstore",
        sqlite: include_str!("../migrations/sqlite/0001_eventstore.sql"),
        postgres: include_str!("../migrations/postgres/0001_eventstore.sql"),
    },
    Migration::portable(
        "eventstore/0002_parked_timers",
        include_str!("../migrations/0002_parked_timers.sql"),
    ),
    Migration::portable(
        "eventstore/0003_store_secret",
        include_str!("../migrations/0003_store_secret.sql"),
    ),
];

/// What a store has of the steps that a binary knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Steps this binary knows.
    pub known: u64,
    /// Those of them that the store has not.
    pub pending: Vec<String>,
    /// Those of them whose text is another one by now.
    pub edited: Vec<String>,
    /// Steps the store has and this binary does not know: a newer one made them.
    pub newer: Vec<String>,
}

/// Compares what was applied with the event store's own steps and these; changes nothing.
pub(crate) async fn applied(tx: &mut Tx, steps: &[Migration]) -> Result<Applied, Error> {
    let mut found = HashMap::new();
    if is_there(tx).await? {
        for row in tx.query("SELECT name, checksum FROM migration ORDER BY name", vec![]).await? {
            found.insert(row.text(0)?.to_owned(), row.text(1)?.to_owned());
        }
    }
    let mut applied = Applied::default();
    for step in OWN.iter().chain(steps) {
        applied.known += 1;
        match found.remove(step.name) {
            None => applied.pending.push(step.name.to_owned()),
            Some(checksum) if checksum != step.checksum(tx.is_postgres()) => {
                applied.edited.push(step.name.to_owned());
            }
            Some(_) => {}
        }
    }
    applied.newer = found.into_keys().collect();
    applied.newer.sort();
    Ok(applied)
}

/// Whether a step is the event store's own.
pub(crate) fn is_own(name: &str) -> bool {
    OWN.iter().any(|it| it.name == name)
}

/// Applies what is missing, or says what is.
pub(crate) async fn run(
    database: &Database,
    migrations: &[Migration],
    apply: bool,
) -> Result<(), Error> {
    let mut tx = database.begin().await?;
    if tx.is_postgres() {
        // Replicas that start together take turns.
        tx.query("SELECT CAST(pg_advisory_xact_lock(7236820351) AS TEXT)", vec![]).await?;
    }
    // Who applies nothing may have no right to make tables.
    if apply {
        tx.script(
            "CREATE TABLE IF NOT EXISTS migration (
                 name TEXT PRIMARY KEY, checksum TEXT NOT NULL, applied_at BIGINT NOT NULL)",
        )
        .await?;
    }
    if !apply && !is_there(&mut tx).await? {
        return Err(Error::unavailable("the store has no tables: run `rapport migrate`"));
    }
    for step in migrations {
        step_once(&mut tx, step, apply).await?;
    }
    tx.commit().await
}

/// Whether anything was ever applied.
async fn is_there(tx: &mut Tx) -> Result<bool, Error> {
    let look = match tx.is_postgres() {
        true => "SELECT COUNT(*) FROM pg_class WHERE oid = to_regclass('migration')",
        false => "SELECT COUNT(*) FROM sqlite_master WHERE name = 'migration'",
    };
    let rows = tx.query(look, vec![]).await?;
    Ok(rows.first().map_or(Ok(0), |it| it.count(0))? > 0)
}

async fn step_once(tx: &mut Tx, step: &Migration, apply: bool) -> Result<(), Error> {
    let (sql, checksum) = (step.sql(tx.is_postgres()), step.checksum(tx.is_postgres()));
    let applied =
        tx.query("SELECT checksum FROM migration WHERE name = $1", values![step.name]).await?;
    if let Some(row) = applied.first() {
        if row.text(0)? != checksum {
            let what = format!("migration {} was edited after it was applied", step.name);
            return Err(Error::corrupt(what));
        }
        return Ok(());
    }
    if !apply {
        let what = format!("migration {} is pending: run `rapport migrate`", step.name);
        return Err(Error::unavailable(what));
    }
    tx.script(sql).await?;
    tx.exec(
        "INSERT INTO migration (name, checksum, applied_at) VALUES ($1, $2, $3)",
        values![step.name, checksum, Timestamp::real()],
    )
    .await?;
    Ok(())
}

impl Migration {
    fn sql(&self, postgres: bool) -> &'static str {
        if postgres { self.postgres } else { self.sqlite }
    }

    fn checksum(&self, postgres: bool) -> String {
        hex(&Sha256::digest(self.sql(postgres)))
    }
}
