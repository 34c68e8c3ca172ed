//! Follows this service's own events and moves parties over the borders of segments.

use std::collections::BTreeMap;
use std::sync::Arc;

use eventstore::{Consumer, Error, Handler, Metadata, Reactor, Recorded, Store, Unit};
use futures::future::BoxFuture;

use super::change::{self, Fact};
use super::definitions::Definitions;
use super::settle;
use super::walk::{Heard, walk};

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
    fn reads(&self, type_name: &str) -> bool {
        change::reads(type_name)
    }

    /// Memberships carry from one event to the next what it leads to.
    fn sees_run(&self) -> bool {
        true
    }

    fn react<'a>(
        &'a self,
        store: &'a Store,
        event: &'a Recorded,
        meta: Metadata,
    ) -> BoxFuture<'a, Result<Option<Unit>, Error>> {
        Box::pin(async move {
            let tenant = &event.envelope.tenant;
            let Some(fact) = Fact::of(event)? else { return Ok(None) };
            let live = self.definitions.live(tenant).await?;
            let heard = [Heard::new(&live, event, fact)];
            let steps = walk(&self.definitions, &live, tenant, &heard).await?;
            let steps: Vec<_> = steps.into_iter().flatten().collect();
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

    fn react_all<'a>(
        &'a self,
        store: &'a Store,
        run: Vec<(&'a Recorded, Metadata)>,
    ) -> BoxFuture<'a, Vec<Result<Option<Unit>, Error>>> {
        Box::pin(async move {
            let mut answers = Vec::new();
            let mut tenants: BTreeMap<&str, Vec<Told<'_>>> = BTreeMap::new();
            for (event, meta) in run {
                // What cannot be read ends the run.
                let Ok(fact) = Fact::of(event) else { break };
                let told = fact.map(|fact| Told { index: answers.len(), event, fact, meta });
                tenants.entry(&event.envelope.tenant).or_default().extend(told);
                answers.push(Ok(None));
            }
            for (tenant, told) in tenants {
                let indexes: Vec<_> = told.iter().map(|it| it.index).collect();
                match self.units(store, tenant, told).await {
                    Ok(units) => {
                        for (index, unit) in indexes.into_iter().zip(units) {
                            answers[index] = unit;
                        }
                    }
                    // The first failure ends the run.
                    Err(error) => {
                        if let Some(first) = indexes.first() {
                            answers[*first] = Err(error);
                        }
                    }
                }
            }
            answers
        })
    }
}

/// An event of a run that rules see.
struct Told<'e> {
    index: usize,
    event: &'e Recorded,
    fact: Fact,
    meta: Metadata,
}

impl Segments {
    /// The units that events of one tenant lead to.
    async fn units(
        &self,
        store: &Store,
        tenant: &str,
        told: Vec<Told<'_>>,
    ) -> Result<Vec<Result<Option<Unit>, Error>>, Error> {
        let live = self.definitions.live(tenant).await?;
        let (mut heard, mut metas) = (Vec::new(), Vec::new());
        for Told { event, fact, meta, .. } in told {
            heard.push(Heard::new(&live, event, fact));
            metas.push(meta);
        }
        let mut units = Vec::new();
        let steps = walk(&self.definitions, &live, tenant, &heard).await?;
        for (steps, meta) in steps.iter().zip(metas) {
            units.push(match settle::cut(steps)[..] {
                [] => Ok(None),
                [part] => settle::unit(store, &live, meta, part).await.map(Some),
                _ => Err(Error::unavailable("it leads to more than a unit")),
            });
        }
        Ok(units)
    }
}
