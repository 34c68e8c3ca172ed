//! A membership's timer: time alone may have moved the party.

use eventstore::{Error, Metadata, Outcome, Store, Timer, Timestamp, consumer, values};

use super::definitions::Definitions;
use super::facts::Needs;
use super::path::Occasion;
use super::reactor::CONSUMER;
use super::settle::{self, Look};
use crate::domain::membership;

/// How often the membership is looked at again after somebody else changed it.
const TRIES: usize = 5;

/// Looks at a party and segment at the instant the timer was due.
pub(crate) async fn cross(
    definitions: &Definitions,
    store: &Store,
    timer: &Timer,
    meta: Metadata,
) -> Result<(), Error> {
    let id = timer.stream.split_once('/').map(|it| it.1).and_then(membership::parts);
    let (party_id, segment_id) =
        id.ok_or_else(|| Error::corrupt(format!("no membership: {}", timer.stream)))?;
    let occasion = Occasion::Time { due_at: timer.key.due_at };
    if is_awaited(store, &meta.tenant, party_id, timer.key.due_at).await? {
        return Err(Error::unavailable("what happened before is not followed yet"));
    }
    let party_ids = [party_id.to_owned()];
    for _ in 0..TRIES {
        let live = definitions.live(&meta.tenant).await?;
        let segments: Vec<_> = live.segments.get(segment_id).map(|it| &**it).into_iter().collect();
        let needs = Needs { party: true, ..Needs::of(segments.iter().map(|it| &it.needs)) };
        let look = Look { tenant: &meta.tenant, party_ids: &party_ids, occasion, now: meta.at };
        let steps = settle::steps(store, &live, &segments, &needs, &look).await?;
        let unit = settle::unit(store, &live, meta.clone(), &steps).await?;
        match store.append(unit).await {
            Outcome::Committed { .. }
            | Outcome::Repeated { .. }
            | Outcome::RequestReused
            // Moved, or another replica fired it.
            | Outcome::Superseded => return Ok(()),
            Outcome::Conflict => {}
            Outcome::Refused(reason) => return Err(Error::refused(reason)),
            Outcome::Failed(error) => return Err(error),
        }
    }
    Err(Error::unavailable(format!("{} kept changing", timer.stream)))
}

/// Whether the reactor has still to follow something about the party that was recorded before an instant: what that
/// moves crosses first, whoever is late.
async fn is_awaited(
    store: &Store,
    tenant: &str,
    party_id: &str,
    before: Timestamp,
) -> Result<bool, Error> {
    let followed = consumer::read_checkpoint(store, CONSUMER, store.source()).await?.position;
    let rows = store
        .query(
            "SELECT recorded_at FROM event
             WHERE tenant = $1 AND party_id = $2 AND party_id <> '' AND position > $3
                 AND stream NOT LIKE 'membership/%'
             ORDER BY position LIMIT 1",
            values![tenant, party_id, followed],
        )
        .await?;
    rows.first().map_or(Ok(false), |row| Ok(row.time(0)? < before))
}
