//! The API: one file per gRPC service, one method per RPC in proto order. Every method is the same five steps: caller,
//! authorise (the layer did), parse, execute or query, reply.

use std::collections::BTreeMap;
use std::sync::Arc;

use chassis::auth::Caller;
use chassis::deps::Deps;
use chassis::name::{own, own_tenant, unknown};
use chassis::status::{BEHIND, Problem};
use eventstore::{Decider, Executed, Metadata};

use crate::refusal::{self, NOT_LIVE};
use crate::rollup::built_in;
use crate::rollup::definition::{Definition, Series};
use crate::view::figure::{PATIENCE, late};
use crate::view::series::{Cache, live};

mod experiment;
mod metric;

/// What serves the RPCs.
#[derive(Clone)]
pub(crate) struct Api {
    deps: Deps,
    cache: Cache,
}

impl Api {
    pub(crate) fn new(deps: &Deps, cache: &Cache) -> Self {
        Self { deps: deps.clone(), cache: cache.clone() }
    }

    /// Position up to which this replica has certainly read.
    fn position(&self) -> u64 {
        self.deps.store.head().position
    }

    /// Waits until a series has read the positions an answer must include.
    async fn caught_up(
        &self,
        tenant: &str,
        series: &Series,
        hash: [u8; 32],
        wanted: &BTreeMap<String, u64>,
    ) -> Result<(), Problem> {
        let known = series.sources();
        if !wanted.keys().all(|it| known.contains(it.as_str())) {
            let names: Vec<&str> = known.into_iter().collect();
            let remedy = format!("Name the sources {} only.", names.join(", "));
            return Err(Problem::field("min_positions", remedy));
        }
        let store = &self.deps.store;
        let Some((source, at)) = late(store, tenant, series, hash, wanted).await? else {
            return Ok(());
        };
        let told = Problem::of(BEHIND).with("source", &source).with("position", &at);
        Err(told.retry_after(PATIENCE))
    }

    /// The definition in force of a metric that exists.
    async fn in_force(&self, tenant: &str, metric: &str) -> Result<Arc<Definition>, Problem> {
        if let Some(found) = live(&self.cache, self.deps.store.database(), tenant, metric).await? {
            return Ok(found);
        }
        self.deps.find::<crate::domain::metric::Metric>(tenant, metric, "name").await?;
        Err(Problem::of(NOT_LIVE))
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

/// What came with the platform has no versions of its own.
fn not_built_in(metric: &str) -> Result<(), Problem> {
    match built_in::find(metric) {
        Some(_) => Err(Problem::of(refusal::BUILT_IN)),
        None => Ok(()),
    }
}

/// Who takes a step in the life of a version: the person, also when a service acts for one.
fn by(caller: &Caller) -> String {
    caller.on_behalf_of.clone().unwrap_or_else(|| caller.subject.clone())
}

/// A comment of a person; may be empty.
fn comment(text: &str) -> Result<String, Problem> {
    Ok(chassis::text::prose("comment", text, 0..=2_000)?.to_owned())
}
