//! What an operator asks about a store, read from its tables as they are: of one that nobody could open, too.

use std::time::Duration;

use crate::error::Error;
use crate::event::Head;
use crate::lease;
use crate::migrate::{self, Applied};
use crate::secret;
use crate::sql::{Database, Row, Tx};
use crate::view::Schema;

/// How a store stands.
#[derive(Clone, Debug)]
pub struct Status {
    /// What of its schema this binary knows and the store has.
    pub schema: Applied,
    /// The rest; only read when the store's own tables are those of this binary.
    pub tables: Option<Tables>,
}

/// What its tables hold.
#[derive(Clone, Debug)]
pub struct Tables {
    /// Its end.
    pub head: Head,
    /// Why nobody writes; empty otherwise.
    pub fenced: String,
    /// Name of the key-encryption key that wraps its secret; empty before it is opened first.
    pub kek: String,
    /// Checkpoints as they are written, by consumer and source. What was passed over unread is not written at once.
    pub checkpoints: Vec<Checkpoint>,
    /// Parked events, by consumer and source.
    pub parked: Vec<ParkedEvents>,
    /// Timers that wait for their time.
    pub timers: u64,
    /// Timers that are tried no more.
    pub timers_parked: u64,
    /// Leases, by name.
    pub leases: Vec<Held>,
}

/// How far a consumer came in a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The consumer.
    pub consumer: String,
    /// The source it reads.
    pub source: String,
    /// The last position that is written as handled.
    pub position: u64,
}

/// How many events of a source a consumer parked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedEvents {
    /// The consumer.
    pub consumer: String,
    /// The source.
    pub source: String,
    /// How many.
    pub events: u64,
}

/// A lease as its row tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// What is leased.
    pub name: String,
    /// Who held it last.
    pub holder: String,
    /// For how long still, by the database's clock; zero when nobody holds it.
    pub left: Duration,
}

/// Reads how the store stands in one snapshot, and changes nothing.
pub async fn read(database: &Database, schema: &Schema) -> Result<Status, Error> {
    let mut tx = database.snapshot().await?;
    let schema = migrate::applied(&mut tx, &schema.migrations).await?;
    let own = schema.pending.iter().any(|it| migrate::is_own(it));
    let tables = if own { None } else { Some(tables(&mut tx).await?) };
    tx.rollback().await?;
    Ok(Status { schema, tables })
}

async fn tables(tx: &mut Tx) -> Result<Tables, Error> {
    let rows = tx.query("SELECT position, chain, fenced FROM head WHERE one = 1", vec![]).await?;
    let row = rows.first().ok_or_else(|| Error::corrupt("the head row is missing"))?;
    let head = Head { position: row.count(0)?, chain: row.hash(1)? };
    let fenced = row.text(2)?.to_owned();
    let checkpoints = "SELECT consumer, source, position FROM checkpoint ORDER BY consumer, source";
    let checkpoints = tx.query(checkpoints, vec![]).await?;
    let parked = "SELECT consumer, source, COUNT(*) FROM parked
                  GROUP BY consumer, source ORDER BY consumer, source";
    let parked = tx.query(parked, vec![]).await?;
    let timers = "SELECT COUNT(*), COUNT(CASE WHEN parked_at > 0 THEN 1 END) FROM timer";
    let timers = tx.query(timers, vec![]).await?;
    let (all, timers_parked) =
        timers.first().map_or(Ok((0, 0)), |row| Ok::<_, Error>((row.count(0)?, row.count(1)?)))?;
    Ok(Tables {
        head,
        fenced,
        kek: secret::key(tx).await?,
        checkpoints: checkpoints.iter().map(checkpoint).collect::<Result<_, _>>()?,
        parked: parked.iter().map(parked_events).collect::<Result<_, _>>()?,
        timers: all.saturating_sub(timers_parked),
        timers_parked,
        leases: lease::list(tx).await?,
    })
}

fn checkpoint(row: &Row) -> Result<Checkpoint, Error> {
    let (consumer, source) = (row.text(0)?.to_owned(), row.text(1)?.to_owned());
    Ok(Checkpoint { consumer, source, position: row.count(2)? })
}

fn parked_events(row: &Row) -> Result<ParkedEvents, Error> {
    let (consumer, source) = (row.text(0)?.to_owned(), row.text(1)?.to_owned());
    Ok(ParkedEvents { consumer, source, events: row.count(2)? })
}
