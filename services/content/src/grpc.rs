//! The API: one file per gRPC service, one method per RPC in proto order. Every method is the same five steps: caller,
//! authorise (the layer did), parse, execute or query, reply.

use std::collections::BTreeMap;

use chassis::deps::Deps;
use chassis::name::{own, own_tenant, unknown};
use chassis::status::Problem;
use eventstore::{Decider, Executed, Metadata, Timestamp};

use crate::shelf::Shelf;
use crate::{consumers, refusal};

mod brands;
mod existing;
mod library;
mod module;
mod reading;

/// What serves the RPCs.
#[derive(Clone)]
pub(crate) struct Api {
    deps: Deps,
    shelf: Shelf,
}

impl Api {
    pub(crate) fn new(deps: &Deps) -> Self {
        Self { deps: deps.clone(), shelf: Shelf::default() }
    }

    fn now(&self) -> Timestamp {
        self.deps.clock.now()
    }

    /// Position up to which this replica has certainly read.
    fn position(&self) -> u64 {
        self.deps.store.head().position
    }

    /// Waits for the positions a read must include: own ones, and those of the sources that are read here.
    async fn caught_up(&self, positions: &BTreeMap<String, u64>) -> Result<(), Problem> {
        let known =
            |it: &String| it == self.deps.target || consumers::SOURCES.contains(&it.as_str());
        if !positions.keys().all(known) {
            let remedy = "Name the sources content, decisioning and journeys only.";
            return Err(Problem::field("min_positions", remedy));
        }
        self.deps.caught_up(&[consumers::NAME], positions).await
    }

    async fn execute<D>(
        &self,
        id: &str,
        meta: &Metadata,
        command: D::Command,
    ) -> Result<Executed<D::State>, Problem>
    where
        D: Decider,
        D::Refusal: Into<Problem>,
    {
        self.deps.store.execute::<D>(id, meta, command).await.map_err(refusal::of)
    }

    /// Refuses, unless the request was granted before: then its first outcome is the answer, whatever changed since.
    async fn unless_repeated(
        &self,
        meta: &Metadata,
        checked: Result<(), Problem>,
    ) -> Result<(), Problem> {
        match checked {
            Ok(()) => Ok(()),
            Err(problem) => self.deps.unless_repeated(meta, problem).await,
        }
    }
}
