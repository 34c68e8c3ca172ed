//! The API: one file per gRPC service, one method per RPC in proto order. Every method is the same five steps: caller,
//! authorise (the layer did), parse, execute or query, reply.

use std::collections::BTreeMap;
use std::sync::Arc;

use chassis::auth::Caller;
use chassis::deps::Deps;
use chassis::name::{own, own_tenant, unknown};
use chassis::status::Problem;
use eventstore::{
    AsOf, Decider, Error, ExecuteError, Executed, Loaded, Metadata, Outcome, Timestamp, Together,
};

use crate::consumers::FEEDS;
use crate::domain::identifier::Identifier;
use crate::domain::party::{Party, State, Status};
use crate::refusal::{self, PARTY_ERASED};
use crate::segments::{Definitions, Live};
use crate::view::identifier::Holder;
use crate::view::revision::Revision;
use crate::{convert, view};

mod consent;
mod facts;
mod interactions;
mod party;
mod segment;
mod source;

/// The permission to see personal values, beside the one a method declares.
const UNSEAL: &str = "profiles.parties.unseal";

/// Where a read begins: what it finds includes at least this.
struct Frontier {
    /// Up to which position of each source.
    positions: BTreeMap<String, u64>,
    live: Arc<Live>,
}

/// What serves the RPCs.
#[derive(Clone)]
pub(crate) struct Api {
    deps: Deps,
    /// What traits and segments are live.
    definitions: Definitions,
    /// How far consumers came.
    handled: Together<(), Handled>,
}

/// By consumer and source.
type Handled = Arc<BTreeMap<(String, String), u64>>;

impl Api {
    pub(crate) fn new(deps: &Deps, definitions: &Definitions) -> Self {
        let handled = Together::new(deps.store.clone(), |store, asked: Vec<()>| async move {
            let handled = Arc::new(eventstore::consumer::handled(&store).await?);
            Ok(vec![handled; asked.len()])
        });
        Self { deps: deps.clone(), definitions: definitions.clone(), handled }
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
        convert::min_position(positions, self.deps.store.source())?;
        self.deps.caught_up(&[], positions).await
    }

    /// The same for a read into which other services' facts flow. What this service does not read adds nothing to the
    /// answer, so there is nothing to wait for.
    async fn caught_up_with_all(&self, positions: &BTreeMap<String, u64>) -> Result<(), Problem> {
        let waits = positions.iter().map(|(source, position)| async move {
            let feeding = FEEDS.iter().filter(|(fed, _)| fed == source).map(|(_, it)| *it);
            let consumers: Vec<_> = feeding.collect();
            self.deps.caught_up(&consumers, &[(source.clone(), *position)].into()).await
        });
        futures::future::try_join_all(waits).await.map(drop)
    }

    /// Where a tenant's facts stand, once they stand where the caller wants. What is read from now on is read in
    /// whatever order, so this is read before all of it.
    async fn frontier(
        &self,
        tenant: &str,
        wanted: &BTreeMap<String, u64>,
    ) -> Result<Frontier, Problem> {
        let (mut positions, mut revision) = self.standing(tenant).await?;
        let behind = |(source, position): (&String, &u64)| {
            positions.get(source).is_some_and(|standing| standing < position)
        };
        if wanted.iter().any(behind) {
            self.caught_up_with_all(wanted).await?;
            (positions, revision) = self.standing(tenant).await?;
        }
        let live = self.definitions.at(tenant, revision).await?;
        Ok(Frontier { positions, live })
    }

    /// Up to which position of each source everything is in what is read from now on, and at which revision what is
    /// held in memory is right.
    async fn standing(&self, tenant: &str) -> Result<(BTreeMap<String, u64>, Revision), Error> {
        let store = &self.deps.store;
        let own = self.position();
        let (handled, revision) =
            futures::try_join!(self.handled.read(()), self.definitions.revision(tenant))?;
        // A consumer that has no checkpoint yet has handled nothing.
        let of = |(source, consumer): (&str, &str)| {
            let position = handled.get(&(consumer.to_owned(), source.to_owned()));
            (source.to_owned(), position.copied().unwrap_or_default())
        };
        let mut positions: BTreeMap<_, _> = FEEDS.into_iter().map(of).collect();
        positions.insert(store.source().to_owned(), own);
        Ok((positions, revision))
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
        match self.deps.store.execute::<D>(id, meta, command).await {
            // The subject's key is destroyed; the first run of the same request may have been before.
            Err(error @ ExecuteError::Store(Error::Refused(_))) => {
                self.first_outcome::<D>(id, meta).await?.ok_or_else(|| refusal::of(error))
            }
            done => done.map_err(refusal::of),
        }
    }

    /// What a request that was granted before came to then; nothing if it was not.
    async fn first_outcome<D: Decider>(
        &self,
        id: &str,
        meta: &Metadata,
    ) -> Result<Option<Executed<D::State>>, Problem> {
        let store = &self.deps.store;
        let Some(Outcome::Repeated { version, position, .. }) = store.find_request(meta).await?
        else {
            return Ok(None);
        };
        let loaded = store.load::<D>(&meta.tenant, id, AsOf::Version(version)).await?;
        let Loaded { state, created_at, updated_at, .. } = loaded;
        Ok(Some(Executed { state, version, position, created_at, updated_at, repeated: true }))
    }

    /// Refuses a party outside of the markets that the caller is confined to, as if there were none.
    async fn in_reach(&self, caller: &Caller, party_id: &str, field: &str) -> Result<(), Problem> {
        if caller.markets.is_none() {
            return Ok(());
        }
        let found = self.deps.find::<Party>(&caller.tenant, party_id, field).await?;
        if caller.reaches(&found.state.market) { Ok(()) } else { Err(unknown(field)) }
    }

    /// A party that can still be talked about.
    async fn living(&self, tenant: &str, party_id: &str, field: &str) -> Result<State, Problem> {
        let party = self.deps.find::<Party>(tenant, party_id, field).await?.state;
        if party.status == Status::Erased { Err(erased(field)) } else { Ok(party) }
    }

    /// A party that a command is about: it can still be talked about, or could be when the request was granted.
    async fn concerned(
        &self,
        meta: &Metadata,
        party_id: &str,
        field: &str,
    ) -> Result<State, Problem> {
        let party = self.deps.find::<Party>(&meta.tenant, party_id, field).await?.state;
        if party.status == Status::Erased {
            self.deps.unless_repeated(meta, erased(field)).await?;
        }
        Ok(party)
    }

    /// Who claims these identifiers, in the order asked, whether or not the claims hold now.
    async fn holders(
        &self,
        tenant: &str,
        identifiers: &[Identifier],
    ) -> Result<Vec<Option<Holder>>, Problem> {
        let store = &self.deps.store;
        Ok(view::identifier::find(store.database(), store.keys(), tenant, identifiers).await?)
    }

    /// Which parties these identifiers name now.
    async fn named(
        &self,
        tenant: &str,
        identifiers: &[Identifier],
    ) -> Result<Vec<Option<String>>, Problem> {
        let (now, holders) = (self.now(), self.holders(tenant, identifiers).await?);
        let holding = |it: Holder| it.valid.holds_at(now).then_some(it.party_id);
        Ok(holders.into_iter().map(|it| it.and_then(holding)).collect())
    }
}

fn erased(field: &str) -> Problem {
    Problem::of(PARTY_ERASED).violation(field, PARTY_ERASED.remedy)
}

fn unsealed(caller: &Caller) -> bool {
    caller.permissions.allow(UNSEAL)
}
