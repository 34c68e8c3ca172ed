//! Follows this service's own events and moves parties over the borders of segments.

use std::sync::Arc;

use eventstore::{Consumer, Error, Handler, Metadata, Reactor, Recorded, Store, Unit};
use futures::future::BoxFuture;

use super::change::Change;
use super::definitions::{Definitions, LiveSegment};
use super::facts::Needs;
use super::path::Occasion;
use super::settle::{self, Look};

/// Name of the consumer of this service's own events.
pub(crate) const CONSUMER: &str = "segments";

/// Reads this service's own events.
pub(crate) fn consumer(definitions: &Definitions) -> Consumer {
    Consumer {
        name: CONSUMER.to_owned(),
        sources: vec![definitions.store().source().to_owned()],
        handler: Handler::Reactor(Arc::new(Segments { definitions: definitions.clone() })),
    }
}

struct Segments {
    definitions: Definitions,
}

impl Reactor for Segments {
    fn react<'a>(
        &'a self,
        store: &'a Store,
        event: &'a Recorded,
        meta: Metadata,
    ) -> BoxFuture<'a, Result<Option<Unit>, Error>> {
        Box::pin(async move {
            let Some(change) = Change::of(event)? else { return Ok(None) };
            let tenant = &event.envelope.tenant;
            let live = self.definitions.live(tenant).await?;
            let concerned: Vec<&LiveSegment> = (live.segments.values().map(|it| &**it))
                .filter(|segment| change.concerns(segment, &live))
                .collect();
            if concerned.is_empty() {
                return Ok(None);
            }
            let needs = Needs::of(concerned.iter().map(|it| &it.needs));
            let party_ids = [event.envelope.party_id.clone()];
            let (at, position) = (event.recorded_at(), event.position);
            let occasion = Occasion::Event { at, position };
            let look = Look { tenant, party_ids: &party_ids, occasion, now: meta.at };
            let steps = settle::steps(store, &live, &concerned, &needs, &look).await?;
            let parts = settle::cut(&steps);
            let Some((last, before)) = parts.split_last() else { return Ok(None) };
            for part in before {
                if !settle::append_part(store, &live, &meta, part).await? {
                    return Err(Error::unavailable("memberships changed at the same time"));
                }
            }
            settle::unit(store, &live, meta, last).await.map(Some)
        })
    }
}
