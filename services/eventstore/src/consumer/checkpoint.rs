//! Where consumers stand: a row each, and in memory how far beyond it nothing was to be handled.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::error::Error;
use crate::event::Head;
use crate::sql::{Row, Tx, Value};
use crate::store::Store;
use crate::values;

/// How far the runners of this process came.
#[derive(Default)]
pub(crate) struct Reached {
    stands: Mutex<HashMap<(String, String), Stand>>,
    moved: watch::Sender<()>,
}

/// Everything up to `reached` is handled, provided that the row stands at `written` or later. It stands
/// earlier when a person reset the consumer or a backup was put in place: then memory says nothing.
#[derive(Clone, Copy)]
struct Stand {
    written: u64,
    reached: Head,
}

impl Reached {
    pub(super) fn note(&self, consumer: &str, source: &str, written: Head, reached: Head) {
        let stand = Stand { written: written.position, reached };
        let name = (consumer.to_owned(), source.to_owned());
        self.stands().insert(name, stand);
        self.moved.send_replace(());
    }

    fn position(&self, consumer: &str, source: &str) -> u64 {
        let name = (consumer.to_owned(), source.to_owned());
        self.stands().get(&name).map_or(0, |it| it.reached.position)
    }

    fn stands(&self) -> MutexGuard<'_, HashMap<(String, String), Stand>> {
        self.stands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The further one of a row and of what is known beyond it.
    fn beyond(&self, name: &(String, String), row: Head) -> Head {
        match self.stands().get(name) {
            Some(it) if it.written <= row.position && row.position < it.reached.position => {
                it.reached
            }
            _ => row,
        }
    }
}

/// Up to where a consumer has handled a source. Its row, made when there is none, may be somewhat behind:
/// what was passed over unread is not written at once.
pub async fn read_checkpoint(store: &Store, consumer: &str, source: &str) -> Result<Head, Error> {
    let row = read_written(store, consumer, source).await?;
    Ok(store.0.reached.beyond(&(consumer.to_owned(), source.to_owned()), row))
}

/// Up to where the runner of this process has handled a source, without asking the database.
pub fn reached(store: &Store, consumer: &str, source: &str) -> u64 {
    store.0.reached.position(consumer, source)
}

/// Waits until the runner of this process has handled a source up to a position.
pub async fn wait_until_reached(store: &Store, consumer: &str, source: &str, position: u64) {
    let mut moved = store.0.reached.moved.subscribe();
    while reached(store, consumer, source) < position {
        // It lives as long as the store.
        let _ = moved.changed().await;
    }
}

/// The checkpoint as it is written: where a runner starts.
pub(super) async fn read_written(
    store: &Store,
    consumer: &str,
    source: &str,
) -> Result<Head, Error> {
    const READ: &str = "SELECT position, chain FROM checkpoint WHERE consumer = $1 AND source = $2";
    let mut rows = store.query(READ, values![consumer, source]).await?;
    if rows.is_empty() {
        let origin = Head::default();
        store
            .database()
            .exec(
                "INSERT INTO checkpoint (consumer, source, position, chain)
                 VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
                values![consumer, source, origin.position, origin.chain],
            )
            .await?;
        rows = store.query(READ, values![consumer, source]).await?;
    }
    let row = rows.first().ok_or_else(|| Error::corrupt("the checkpoint is missing"))?;
    Ok(Head { position: row.count(0)?, chain: row.hash(1)? })
}

/// Up to which position each consumer has handled each of its sources, in one read.
pub async fn handled(store: &Store) -> Result<BTreeMap<(String, String), u64>, Error> {
    let read = |row: &Row| {
        let name = (row.text(0)?.to_owned(), row.text(1)?.to_owned());
        let written = Head { position: row.count(2)?, chain: row.hash(3)? };
        let position = store.0.reached.beyond(&name, written).position;
        Ok((name, position))
    };
    let sql = "SELECT consumer, source, position, chain FROM checkpoint";
    store.query(sql, vec![]).await?.iter().map(read).collect()
}

/// Compare-and-set; `false` when the checkpoint is not where it was expected.
pub(super) async fn compare_and_set(
    tx: &mut Tx,
    consumer: &str,
    source: &str,
    from: Head,
    to: Head,
) -> Result<bool, Error> {
    let moved = tx
        .exec(
            "UPDATE checkpoint SET position = $3, chain = $4
             WHERE consumer = $1 AND source = $2 AND position = $5",
            values![consumer, source, to.position, to.chain, from.position],
        )
        .await?;
    Ok(moved == 1)
}

/// Moves a reactor's checkpoint inside a unit's transaction; the committer has compared it.
pub(crate) async fn move_checkpoint(tx: &mut Tx, row: Vec<Value>) -> Result<(), Error> {
    tx.exec(
        "UPDATE checkpoint SET position = $3, chain = $4 WHERE consumer = $1 AND source = $2",
        row,
    )
    .await
    .map(drop)
}
