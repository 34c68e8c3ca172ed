//! Follows this service's own events and moves parties over the borders of segments; and the rule packs, by which
//! consents are judged.

use std::sync::Arc;

use eventstore::{Consumer, Error, Handler, Metadata, Reactor, Recorded, Store, Unit};
use futures::future::BoxFuture;
use rapport_proto::decisioning::v1::rule_pack_event;

use super::change::Change;
use super::definitions::{Definitions, LiveSegment};
use super::facts::Needs;
use super::path::Occasion;
use super::settle::{self, Look};
use super::sweep::sweep;
use crate::view::party::Filter;

/// Name of the consumer.
pub(crate) const CONSUMER: &str = "segments";
/// Whose rule packs are followed, and the consumer that keeps them.
const PACKS: (&str, &str) = ("decisioning", "packs");

/// Reads this service's own events and those of rule packs.
pub(crate) fn consumer(definitions: &Definitions) -> Consumer {
    Consumer {
        name: CONSUMER.to_owned(),
        sources: vec![definitions.store().source().to_owned(), PACKS.0.to_owned()],
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
            if event.aggregate() == "rule_pack" {
                return self.pack(store, event, meta).await.map(|()| None);
            }
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
            .filter(|segment| change.concerns(segment, &live))
            .collect();
        if concerned.is_empty() {
            return Ok(None);
        }
        let needs = Needs::of(concerned.iter().map(|it| &it.needs));
        let party_ids = [event.envelope.party_id.clone()];
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

    /// Looks at everybody in the market of a rule pack that begins or ends. When it does so later, that is a turn like
    /// any other that time brings. Its position is none of this service's, so it is no cause in a crossing; the
    /// envelope names it.
    async fn pack(&self, store: &Store, event: &Recorded, meta: Metadata) -> Result<(), Error> {
        use rule_pack_event::Event;
        if !matches!(event.decode()?, Some(Event::Activated(_) | Event::Retired(_))) {
            return Ok(());
        }
        let kept = eventstore::consumer::read_checkpoint(store, PACKS.1, PACKS.0).await?;
        if kept.position < event.position {
            return Err(Error::unavailable("the rule pack is not kept yet"));
        }
        let occasion = Occasion::Event { at: event.recorded_at(), position: 0 };
        let market = Filter { market: event.id(), ..Filter::EVERYBODY };
        sweep(&self.definitions, store, &meta, &market, |live| {
            let asking = live.segments.values().filter(|it| !it.needs.questions.is_empty());
            let asking: Vec<_> = asking.map(|it| &**it).collect();
            (!asking.is_empty()).then_some((occasion, asking))
        })
        .await
    }
}
