//! A membership's timer: time alone may have moved the party.

use eventstore::{Error, Metadata, Outcome, Store, Timer};

use super::definitions::Definitions;
use super::facts::Needs;
use super::path::Occasion;
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
