//! Follows this service's own events and moves parties over the borders of segments.

use std::sync::Arc;

use eventstore::{Consumer, Error, Handler, Metadata, Reactor, Recorded, Store, Unit};
use futures::future::BoxFuture;

use super::change::Change;
use super::definitions::{Definitions, Live, LiveSegment};
use super::facts::Needs;
use super::path::{MOST_TURNS, Occasion};
use super::settle::{self, Look};

/// Name of the consumer.
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
            match Change::of(event)? {
                Some(change) => self.change(store, event, &change, meta).await,
                None => Ok(None),
            }
        })
    }
}

impl Segments {
    /// Looks at the party an event is about.
    async fn change(
        &self,
        store: &Store,
        event: &Recorded,
        change: &Change,
        meta: Metadata,
    ) -> Result<Option<Unit>, Error> {
        let tenant = &event.envelope.tenant;
        let live = self.definitions.live(tenant).await?;
        let concerned: Vec<&LiveSegment> = (live.segments.values().map(|it| &**it))
            .filter(|segment| segment.follows(event.position, &live))
            .filter(|segment| change.concerns(segment, &live))
            .collect();
        if concerned.is_empty() {
            return Ok(None);
        }
        let needs = Needs::of(concerned.iter().map(|it| &it.needs));
        let party_ids = [event.envelope.party_id.clone()];
        self.turn(store, &live, &concerned, event, &meta).await?;
        let occasion = Occasion::Event { at: event.recorded_at(), position: event.position };
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
    }

    /// Does what timers were to do before an event: what time alone turned crosses first.
    async fn turn(
        &self,
        store: &Store,
        live: &Live,
        concerned: &[&LiveSegment],
        event: &Recorded,
        meta: &Metadata,
    ) -> Result<(), Error> {
        let (tenant, party_id) = (event.envelope.tenant.as_str(), &event.envelope.party_id);
        let (at, party_ids) = (event.recorded_at(), std::slice::from_ref(party_id));
        for _ in 0..MOST_TURNS {
            let mut turned = false;
            for (segment, due_at) in settle::overdue(store, tenant, party_id, concerned, at).await?
            {
                let needs = Needs { party: true, ..segment.needs.clone() };
                let occasion = Occasion::Time { due_at };
                let look = Look { tenant, party_ids, occasion, now: meta.at };
                let steps = settle::steps(store, live, &[segment], &needs, &look).await?;
                for part in settle::cut(&steps) {
                    turned = true;
                    if !settle::append_part(store, live, meta, part).await? {
                        return Err(Error::unavailable("memberships changed at the same time"));
                    }
                }
            }
            if !turned {
                return Ok(());
            }
        }
        Err(Error::unavailable("more is due than is followed at once"))
    }
}
