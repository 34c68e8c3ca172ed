//! The API: one file per gRPC service, one method per RPC in proto order. Every method is the same five steps: caller,
//! authorise (the layer did), parse, execute or query, reply.

use std::collections::BTreeMap;
use std::sync::Arc;

use chassis::auth::Caller;
use chassis::deps::Deps;
use chassis::name::{own, own_tenant, unknown};
use chassis::status::Problem;
use eventstore::{Decider, Executed, Metadata, Timestamp};

use crate::domain::authored::Step;
use crate::refusal;
use crate::view::outside::{CONSUMER, SOURCES};
use crate::view::past::Pasts;
use crate::view::shared::{Cache, Shared};

mod decide;
mod decision;
mod policy;
mod rule_pack;

/// What serves the RPCs.
#[derive(Clone)]
pub(crate) struct Api {
    deps: Deps,
    cache: Cache,
    pasts: Pasts,
}

impl Api {
    pub(crate) fn new(deps: &Deps) -> Self {
        let pasts = Pasts::new(deps.store.database());
        Self { deps: deps.clone(), cache: Cache::default(), pasts }
    }

    fn now(&self) -> Timestamp {
        self.deps.clock.now()
    }

    /// Position up to which this replica has certainly read.
    fn position(&self) -> u64 {
        self.deps.store.head().position
    }

    /// Waits for the positions a read must include.
    async fn caught_up(&self, positions: &BTreeMap<String, u64>) -> Result<(), Problem> {
        let own = self.deps.store.source();
        let known = |it: &String| it == own || SOURCES.contains(&it.as_str());
        if !positions.keys().all(known) {
            let remedy = format!("Name the sources {own}, {} only.", SOURCES.join(", "));
            return Err(Problem::field("min_positions", remedy));
        }
        if positions.is_empty() {
            return Ok(());
        }
        self.deps.caught_up(&[CONSUMER], positions).await
    }

    /// What all decisions of a tenant share.
    async fn shared(&self, tenant: &str) -> Result<Arc<Shared>, Problem> {
        Ok(self.cache.read(self.deps.store.database(), tenant).await?)
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
}

/// Who takes a step in the life of a version: the person, also when a service acts for one.
fn step(caller: &Caller, meta: &Metadata) -> Step {
    let by = caller.on_behalf_of.clone().unwrap_or_else(|| caller.subject.clone());
    Step { by, at: meta.at }
}

/// The hash that an approver has read; none when the request names none.
fn hash(text: &str) -> Result<Option<[u8; 32]>, Problem> {
    match text {
        "" => Ok(None),
        text => crate::domain::authored::parse_hash(text)
            .map(Some)
            .ok_or_else(|| Problem::field("hash", "Give 64 hexadecimal digits, or nothing.")),
    }
}

/// A comment of a person; may be empty.
fn comment(text: &str) -> Result<String, Problem> {
    Ok(chassis::text::prose("comment", text, 0..=2_000)?.to_owned())
}
