//! What happens when a timer falls due: facts are read, the instance goes on, and what happened is committed with the
//! firing, or not at all.
//!
//! **An event and its timeout.** Before a wait's timer counts, the worker reads facts, learns up to which position of
//! `profiles` they reach, and waits until this service's own consumer has handled everything up to there. An
//! interaction that was recorded when the timer fired is then a wake of the instance, and [`walk`](crate::domain::instance::walk)
//! puts both in the order of their instants, the wake first at a tie. Whatever is recorded later is later: the first
//! commit wins by the version of the instance's stream, and the loser is decided again from what it finds.

use std::time::Duration;

use chassis::Call;
use chassis::deps::Deps;
use eventstore::{AsOf, Decider as _, Error, Metadata, Store, Timer, TimerHandler};
use futures::future::BoxFuture;
use futures::{StreamExt as _, TryStreamExt as _};
use rapport_proto::decisioning::v1::decision_service_client::DecisionServiceClient;
use rapport_proto::decisioning::v1::{DecideRequest, DecideResponse};
use rapport_proto::journeys::v1 as proto;
use tonic::{Code, Status};

use crate::consumers::REPORTS;
use crate::domain::entry::{self, Entry};
use crate::domain::instance::{Answer, Command, Decision, For, Input, Instance, State, Step, walk};
use crate::facts;
use crate::graph::Node;
use crate::graphs::Graphs;
use crate::units::{self, Wish};
use crate::view::journey::Standing;
use crate::view::{self, DECIDE, ENTRY, FOLLOW, LOOK};

/// How long one firing may take.
const BOUND: Duration = Duration::from_secs(10);
/// How often an instance that keeps changing is looked at again.
const ATTEMPTS: usize = 10;
/// Instances that follow their version at the same time, and in one batch.
const AT_ONCE: usize = 16;
const BATCH: u32 = 200;

/// Does what timers stand for.
pub(crate) struct Worker {
    deps: Deps,
    graphs: Graphs,
}

impl TimerHandler for Worker {
    fn fire<'a>(
        &'a self,
        store: &'a Store,
        timer: &'a Timer,
        meta: Metadata,
    ) -> BoxFuture<'a, Result<(), Error>> {
        let call = Call::of_tenant(&timer.key.tenant, BOUND);
        Box::pin(call.scope(async move {
            match timer.kind.as_str() {
                ENTRY => self.enter(store, timer, meta).await,
                LOOK | DECIDE => self.go(store, timer, meta).await,
                FOLLOW => self.follow(store, timer, meta).await,
                _ => Err(unknown(timer)),
            }
        }))
    }
}

fn unknown(timer: &Timer) -> Error {
    Error::corrupt(format!("no such timer: {} {}", timer.kind, timer.key.id))
}

/// The second and third part of a timer's id.
fn parts(timer: &Timer) -> Result<(&str, &str), Error> {
    let mut parts = timer.key.id.splitn(3, '/').skip(1);
    parts.next().zip(parts.next()).ok_or_else(|| unknown(timer))
}

impl Worker {
    pub(crate) fn new(deps: &Deps, graphs: &Graphs) -> Self {
        Self { deps: deps.clone(), graphs: graphs.clone() }
    }

    /// Answers the request that was written down at a version of the entry's stream.
    async fn enter(&self, store: &Store, timer: &Timer, meta: Metadata) -> Result<(), Error> {
        let (stream, version) = parts(timer)?;
        let version: u64 = version.parse().map_err(|_| unknown(timer))?;
        let loaded = store.load::<Entry>(&meta.tenant, stream, AsOf::Now).await?;
        let Some(requested) = loaded.state.open.get(&version) else { return Ok(()) };
        let (journey_id, party_id) =
            entry::parse_stream_id(stream).ok_or_else(|| unknown(timer))?;
        let wish = Wish {
            journey_id: journey_id.to_owned(),
            party_id: party_id.to_owned(),
            entry_key: requested.entry_key.clone(),
            entry: requested.entry.clone().into_iter().collect(),
            cause: requested.cause.clone(),
            request: version,
        };
        units::enter(&self.deps, &self.graphs, &meta, &wish, Some(loaded)).await?;
        Ok(())
    }

    /// Looks at an instance, or asks for its decision. What is decided on is read before facts are: if it has changed by
    /// the commit, that conflicts and everything is read again.
    async fn go(&self, store: &Store, timer: &Timer, meta: Metadata) -> Result<(), Error> {
        let (instance_id, place) = parts(timer)?;
        for _ in 0..ATTEMPTS {
            let loaded = store.load::<Instance>(&meta.tenant, instance_id, AsOf::Now).await?;
            let state = &loaded.state;
            // What stands still is looked at when it moves again.
            if state.started.is_none() || state.is_ended() || state.paused.is_some() {
                return Ok(());
            }
            let proto::InstanceStarted { journey_id, version, .. } = state.start();
            let standing = self.graphs.standing(&meta.tenant, &journey_id, version).await?;
            if let Some(standing) = standing.as_ref().filter(|it| !it.moves()) {
                if units::follow(store, &meta, instance_id, &loaded, standing).await? {
                    return Ok(());
                }
                continue;
            }
            let input = match timer.kind.as_str() {
                DECIDE => match self.ask(&meta, state, place).await? {
                    Some(answer) => Input::Answered(Box::new(answer)),
                    None => return Ok(()),
                },
                _ => Input::Look,
            };
            let step = self.step(&meta, state, timer).await?;
            let events =
                Instance::decide(state, Command::Go { input, step }, meta.at).unwrap_or_default();
            if events.is_empty() {
                return Ok(());
            }
            let by = standing.map(|it| it.stream_version);
            if units::commit(store, &meta, instance_id, &loaded, by, events).await?.is_some() {
                return Ok(());
            }
            self.graphs.forget(&meta.tenant, &journey_id);
        }
        Err(Error::unavailable("the instance kept changing"))
    }

    /// Definition and facts. A party that is not known any more has none: everything about it is unknown.
    async fn step(&self, meta: &Metadata, state: &State, timer: &Timer) -> Result<Step, Error> {
        let start = state.start();
        let graph = self.graphs.get(&meta.tenant, &start.journey_id, start.version).await?;
        let positions = state.positions();
        let read =
            facts::read(&self.deps, &meta.tenant, &start.party_id, &graph, meta.at, &positions);
        let reading = read.await.map_err(units::Failure::from)?.unwrap_or_default();
        // Only a wait's own timer can beat an event.
        if timer.key.id.starts_with("w/") {
            let read = facts::of_profiles(&reading.positions);
            let behind =
                |problem: chassis::status::Problem| Error::unavailable(problem.message.to_string());
            self.deps.caught_up(&[REPORTS], &read).await.map_err(behind)?;
        }
        Ok(Step { tenant: meta.tenant.clone(), graph, reading: reading.into() })
    }

    /// Asks for the decision an instance waits for; `None` when it waits for none, or for another one.
    async fn ask(
        &self,
        meta: &Metadata,
        state: &State,
        place: &str,
    ) -> Result<Option<Answer>, Error> {
        let Some(wait) = &state.wait else { return Ok(None) };
        let For::Decision { gives_up_at } = wait.for_what else { return Ok(None) };
        if place != format!("{}/{}", wait.node, wait.visit) {
            return Ok(None);
        }
        let start = state.start();
        let graph = self.graphs.get(&meta.tenant, &start.journey_id, start.version).await?;
        let Some(Node::Decide { slot, groups, valid_for, .. }) = graph.nodes.get(&wait.node) else {
            return Ok(Some(Answer::Unavailable("no_node".to_owned())));
        };
        let request = DecideRequest {
            parent: chassis::name::print(&meta.tenant, &[("parties", &start.party_id)]),
            sender_id: graph.sender_id.clone(),
            context: start.entry.clone(),
            channels: slot.channels.clone(),
            k: slot.k,
            groups: groups.clone(),
            valid_for: valid_for.clone(),
            requested_by: start.instance_id.clone(),
            request_id: format!("{}/{place}", start.instance_id),
            min_positions: Default::default(),
        };
        let mut decisioning = DecisionServiceClient::new(self.deps.peers.to("decisioning"));
        match decisioning.decide(request).await {
            Ok(reply) => Ok(Some(decided(reply.into_inner()))),
            Err(status) if is_final(&status) || meta.at >= gives_up_at => {
                let why = chassis::status::reason(&status);
                Ok(Some(Answer::Unavailable(why.unwrap_or_else(|| status.code().to_string()))))
            }
            Err(status) => Err(units::Failure::from(status).into()),
        }
    }

    /// Makes the instances of a version follow it: they pause, resume or end.
    async fn follow(&self, store: &Store, timer: &Timer, meta: Metadata) -> Result<(), Error> {
        let (journey_id, _) = parts(timer)?;
        let versions = view::journey::all(store.database(), &meta.tenant, journey_id).await?;
        for (version, standing) in versions {
            // Who is to stand still does not yet; who is to move stands still; who is to end may do either.
            let wanted: &[bool] = match (standing.retired, standing.is_paused()) {
                (true, _) => &[false, true],
                (false, true) => &[false],
                (false, false) => &[true],
            };
            for paused in wanted {
                self.follow_all(store, &meta, journey_id, (version, &standing), *paused).await?;
            }
        }
        Ok(())
    }

    async fn follow_all(
        &self,
        store: &Store,
        meta: &Metadata,
        journey_id: &str,
        (version, standing): (u32, &Standing),
        paused: bool,
    ) -> Result<(), Error> {
        let (database, tenant, of) = (store.database(), &meta.tenant, (journey_id, version));
        let mut after = String::new();
        loop {
            let found = view::instance::running(database, tenant, of, paused, &after, BATCH);
            let found = found.await?;
            let Some(last) = found.last() else { return Ok(()) };
            after.clone_from(last);
            let follow: Vec<_> =
                found.iter().map(|id| self.follow_one(store, meta, id, of, standing)).collect();
            let followed = futures::stream::iter(follow).buffer_unordered(AT_ONCE);
            followed.try_collect::<Vec<()>>().await?;
        }
    }

    /// The version may change while its instances follow: each follows what is true now.
    async fn follow_one(
        &self,
        store: &Store,
        meta: &Metadata,
        instance_id: &str,
        (journey_id, version): (&str, u32),
        standing: &Standing,
    ) -> Result<(), Error> {
        let mut standing = standing.clone();
        for _ in 0..ATTEMPTS {
            let loaded = store.load::<Instance>(&meta.tenant, instance_id, AsOf::Now).await?;
            if units::follow(store, meta, instance_id, &loaded, &standing).await? {
                return Ok(());
            }
            self.graphs.forget(&meta.tenant, journey_id);
            let now = self.graphs.standing(&meta.tenant, journey_id, version).await?;
            standing = now.unwrap_or(standing);
        }
        Err(Error::unavailable("the instance kept changing"))
    }
}

/// Whether asking again gives the same answer.
fn is_final(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::InvalidArgument | Code::NotFound | Code::FailedPrecondition | Code::PermissionDenied
    )
}

/// The first place of the slate is carried out.
fn decided(reply: DecideResponse) -> Answer {
    let record = reply.decision.and_then(|it| it.record).unwrap_or_default();
    let chosen = record.chosen.first().cloned().unwrap_or_default();
    let nothing = chosen.action.is_empty() || chosen.module.is_empty();
    let decision = Decision {
        channel: chosen.channel(),
        expires_at: crate::domain::instant(record.expires_at.as_ref()),
        decision_id: record.decision_id,
        action: if nothing { walk::DO_NOTHING.to_owned() } else { chosen.action },
        treatment: chosen.treatment,
        module: chosen.module,
    };
    Answer::Decided(decision, record.positions.into_iter().collect())
}
