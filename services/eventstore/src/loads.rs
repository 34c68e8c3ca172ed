//! Reading streams for commands: what is asked for while one statement runs is read together by the
//! next, so that many commands at once cost few round trips.

use std::sync::Arc;

use tokio::sync::{Mutex, mpsc, oneshot};

use crate::error::Error;
use crate::event::Stored;
use crate::sql::Database;
use crate::store::stored;
use crate::values;

/// Streams read by one statement, at most.
const TOGETHER: usize = 64;
/// Statements on their way at once.
pub(crate) const READERS: usize = 2;

/// A stream somebody wants, whole.
pub(crate) struct Wanted {
    pub tenant: String,
    pub stream: String,
    pub reply: oneshot::Sender<Result<Vec<Stored>, Error>>,
}

/// Reads what is wanted until nobody can want anything any more.
pub(crate) async fn run(database: Database, queue: Arc<Mutex<mpsc::Receiver<Wanted>>>) {
    let mut wanted = Vec::with_capacity(TOGETHER);
    while queue.lock().await.recv_many(&mut wanted, TOGETHER).await > 0 {
        match read(&database, &wanted).await {
            Ok(found) => {
                for (one, events) in wanted.drain(..).zip(found) {
                    // Whoever gave up does not listen.
                    let _ = one.reply.send(Ok(events));
                }
            }
            // One of them is damaged: that is not the others' affair.
            Err(error) if !error.is_transient() && wanted.len() > 1 => {
                for one in wanted.drain(..) {
                    let found = read(&database, std::slice::from_ref(&one)).await;
                    let _ = one.reply.send(found.map(|mut it| it.pop().unwrap_or_default()));
                }
            }
            Err(error) => {
                let text = error.chain();
                let mut first = Some(error);
                for one in wanted.drain(..) {
                    let error = first.take().unwrap_or_else(|| Error::unavailable(text.clone()));
                    let _ = one.reply.send(Err(error));
                }
            }
        }
    }
}

async fn read(database: &Database, wanted: &[Wanted]) -> Result<Vec<Vec<Stored>>, Error> {
    let keys: Vec<_> =
        (0_u64..).zip(wanted).map(|(n, it)| values![n, &it.tenant, &it.stream]).collect();
    let rows = database
        .query_keys(
            "k(number, tenant, stream)",
            &keys,
            "SELECT e.position, e.chain, e.envelope, k.number FROM k
             JOIN event e ON e.tenant = k.tenant AND e.stream = k.stream",
        )
        .await?;
    let mut found = vec![Vec::new(); wanted.len()];
    for row in &rows {
        let number = usize::try_from(row.count(3)?).unwrap_or_default();
        if let Some(events) = found.get_mut(number) {
            events.push(stored(row)?);
        }
    }
    for events in &mut found {
        events.sort_by_key(|it: &Stored| it.position);
    }
    Ok(found)
}
