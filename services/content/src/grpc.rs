//! The API: one file per gRPC service, one method per RPC in proto order. Every method is the same five steps: caller,
//! authorise (the layer did), parse, execute or query, reply.

use std::collections::BTreeMap;

use chassis::auth::Caller;
use chassis::deps::Deps;
use chassis::name;
use chassis::status::{NOT_FOUND, Problem};
use eventstore::{AsOf, Decider, Executed, Loaded, Metadata, Timestamp};

use crate::{consumers, refusal};

mod existing;
mod library;
mod module;
mod reading;

/// What serves the RPCs.
#[derive(Clone)]
pub(crate) struct Api {
    deps: Deps,
}

impl Api {
    pub(crate) fn new(deps: &Deps) -> Self {
        Self { deps: deps.clone() }
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

    /// A stream as it stands, or NOT_FOUND for the field that named it.
    async fn find<D: Decider>(
        &self,
        tenant: &str,
        id: &str,
        field: &str,
    ) -> Result<Loaded<D::State>, Problem> {
        let loaded = self.deps.store.load::<D>(tenant, id, AsOf::Now).await?;
        if loaded.version == 0 { Err(unknown(field)) } else { Ok(loaded) }
    }

    /// Refuses, unless the request was granted before: then its first outcome is the answer, whatever changed since.
    async fn unless_repeated(
        &self,
        meta: &Metadata,
        checked: Result<(), Problem>,
    ) -> Result<(), Problem> {
        let Err(problem) = checked else { return Ok(()) };
        match self.deps.store.find_request(meta).await? {
            Some(_) => Ok(()),
            None => Err(problem),
        }
    }
}

/// The id in the name of one of the caller's own things. A name of another tenant names nothing.
fn own<'a>(
    caller: &Caller,
    field: &str,
    text: &'a str,
    collection: &str,
) -> Result<&'a str, Problem> {
    let parsed = name::parse(field, text, &[collection])?;
    if parsed.tenant == caller.tenant { Ok(parsed.id()) } else { Err(unknown(field)) }
}

/// Checks that a parent is the caller's own tenant.
fn own_tenant(caller: &Caller, parent: &str) -> Result<(), Problem> {
    let parsed = name::parse("parent", parent, &[])?;
    if parsed.tenant == caller.tenant { Ok(()) } else { Err(unknown("parent")) }
}

fn unknown(field: &str) -> Problem {
    Problem::of(NOT_FOUND).violation(field, "Name something that exists in your tenant.")
}
