//! The API: one file per gRPC service, one method per RPC in proto order. Every method is the same five steps: caller,
//! authorise (the layer did), parse, execute or query, reply.

mod case;
mod feedback;
mod safety;
mod survey;
mod texts;

use std::collections::BTreeMap;

use chassis::deps::Deps;
use chassis::status::Problem;
use eventstore::{Decider, Executed, Metadata};

use crate::consumers::FEEDS;
use crate::refusal;

/// What serves the RPCs.
#[derive(Clone)]
pub(crate) struct Api {
    deps: Deps,
}

impl Api {
    pub(crate) fn new(deps: &Deps) -> Self {
        Self { deps: deps.clone() }
    }

    /// Position up to which this replica has certainly read.
    fn position(&self) -> u64 {
        self.deps.store.head().position
    }

    /// Waits for the positions a read must include. What this service does not read adds nothing to the answer, so
    /// there is nothing to wait for.
    async fn caught_up(&self, positions: &BTreeMap<String, u64>) -> Result<(), Problem> {
        for (source, position) in positions {
            let feeding = FEEDS.iter().filter(|(fed, _)| fed == source).map(|(_, it)| *it);
            let consumers: Vec<_> = feeding.collect();
            self.deps.caught_up(&consumers, &[(source.clone(), *position)].into()).await?;
        }
        Ok(())
    }

    async fn execute<D: Decider>(
        &self,
        id: &str,
        meta: &Metadata,
        command: D::Command,
        told: impl FnOnce(D::Refusal) -> Problem,
    ) -> Result<Executed<D::State>, Problem> {
        let done = self.deps.store.execute::<D>(id, meta, command).await;
        done.map_err(|error| refusal::of(error, told))
    }
}
