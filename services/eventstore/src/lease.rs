//! Lease rows: one live holder per name, by the database's clock. A lease saves work; safety never
//! depends on it.

use std::time::Duration;

use crate::error::Error;
use crate::sql::Database;
use crate::status::Held;
use crate::time::Timestamp;
use crate::values;

/// A lease that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What is leased, for example `relay/profiles`.
    pub name: String,
    /// Who holds it.
    pub holder: String,
    /// Grows with every change of holder.
    pub epoch: u64,
}

/// Takes or renews a lease; `None` while somebody else holds it.
pub async fn acquire(
    database: &Database,
    name: &str,
    holder: &str,
    ttl: Duration,
) -> Result<Option<Lease>, Error> {
    let mut tx = database.begin().await?;
    let now = now(&mut tx).await?;
    let rows = tx
        .query(
            "INSERT INTO lease (name, holder, epoch, expires_at) VALUES ($1, $2, 1, $4)
             ON CONFLICT (name) DO UPDATE SET
                 epoch = CASE WHEN lease.holder = $2 THEN lease.epoch ELSE lease.epoch + 1 END,
                 holder = $2,
                 expires_at = $4
             WHERE lease.holder = $2 OR lease.expires_at <= $3
             RETURNING epoch",
            values![name, holder, now, now.plus(ttl)],
        )
        .await?;
    tx.commit().await?;
    rows.first()
        .map(|row| {
            Ok(Lease { name: name.to_owned(), holder: holder.to_owned(), epoch: row.count(0)? })
        })
        .transpose()
}

/// Gives a lease up; harmless when it is lost already.
pub async fn release(database: &Database, lease: &Lease) -> Result<(), Error> {
    database
        .exec(
            "UPDATE lease SET expires_at = 0 WHERE name = $1 AND holder = $2 AND epoch = $3",
            values![&lease.name, &lease.holder, lease.epoch],
        )
        .await?;
    Ok(())
}

/// Gives up whatever a holder holds under a name.
pub(crate) async fn release_held(
    database: &Database,
    name: &str,
    holder: &str,
) -> Result<(), Error> {
    const RELEASE: &str = "UPDATE lease SET expires_at = 0 WHERE name = $1 AND holder = $2";
    database.exec(RELEASE, values![name, holder]).await.map(drop)
}

/// Every lease, by name, with the time it has left.
pub(crate) async fn list(tx: &mut crate::Tx) -> Result<Vec<Held>, Error> {
    let now = now(tx).await?;
    let rows = tx.query("SELECT name, holder, expires_at FROM lease ORDER BY name", vec![]).await?;
    let held = |row: &crate::Row| {
        let (name, holder) = (row.text(0)?.to_owned(), row.text(1)?.to_owned());
        Ok(Held { name, holder, left: row.time(2)?.since(now) })
    };
    rows.iter().map(held).collect()
}

/// The database's clock: replicas on machines whose clocks differ agree on it.
async fn now(tx: &mut crate::Tx) -> Result<Timestamp, Error> {
    if !tx.is_postgres() {
        return Ok(Timestamp::real());
    }
    let rows = tx
        .query("SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)", vec![])
        .await?;
    rows.first().map_or_else(|| Err(Error::corrupt("the database has no clock")), |it| it.time(0))
}
