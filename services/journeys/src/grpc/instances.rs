//! What ends an instance from outside, and what tells the gate whether it lives.

use std::collections::BTreeMap;

use chassis::status::Problem;
use eventstore::{AsOf, Decider as _, Loaded, Metadata, Outcome};
use rapport_proto::journeys::v1 as proto;
use tonic::Status;

use super::Api;
use crate::convert::resource;
use crate::domain::instance::{Command, Input, Instance, Life, State, Step};
use crate::facts;
use crate::refusal;
use crate::units;
use crate::view;
use crate::view::journey::Standing;

/// How often an instance that keeps changing is looked at again.
const ATTEMPTS: usize = 10;

impl Api {
    pub(super) async fn eject(
        &self,
        instance_id: &str,
        meta: &Metadata,
        reason: &str,
    ) -> Result<(proto::Instance, u64), Status> {
        let store = &self.deps.store;
        if let Some(before) = store.find_request(meta).await.map_err(Problem::from)? {
            let Outcome::Repeated { version, position, .. } = before else {
                return Err(refusal::of_failure(units::Failure::RequestReused));
            };
            let then =
                store.load::<Instance>(&meta.tenant, instance_id, AsOf::Version(version)).await;
            let then = then.map_err(Problem::from)?;
            return Ok((resource::instance(&meta.tenant, &then), position));
        }
        for _ in 0..ATTEMPTS {
            let loaded = self.instance(&meta.tenant, instance_id, "name").await?;
            let eject = Command::Eject { reason: reason.to_owned() };
            let events = Instance::decide(&loaded.state, eject, meta.at).map_err(Problem::from)?;
            let committed = units::commit(store, meta, instance_id, &loaded, None, events).await;
            if let Some(position) = committed.map_err(refusal::of_failure)? {
                let now = self.instance(&meta.tenant, instance_id, "name").await?;
                return Ok((resource::instance(&meta.tenant, &now), position));
            }
        }
        Err(Problem::of(chassis::status::CONFLICT).into())
    }

    /// Whether an instance may say what a touch is about to say. An exit that is found is recorded.
    pub(super) async fn is_live(
        &self,
        instance_id: &str,
        meta: &Metadata,
        touch_id: &str,
        positions: &BTreeMap<String, u64>,
    ) -> Result<proto::CheckInstanceResponse, Status> {
        let store = &self.deps.store;
        let own = positions.get(store.source()).map(|it| (store.source().to_owned(), *it));
        self.caught_up(&own.into_iter().collect()).await?;
        for _ in 0..ATTEMPTS {
            let loaded = self.instance(&meta.tenant, instance_id, "name").await?;
            let standing = self.standing(meta, &loaded.state).await?;
            if let Some(rule) = keeps_silent(&loaded.state, standing.as_ref(), touch_id) {
                // Who is told that it stands still is told when it moves again: that is a fact of the instance.
                if let Some(standing) = standing.filter(|it| !it.moves())
                    && !units::follow(store, meta, instance_id, &loaded, &standing)
                        .await
                        .map_err(refusal::of_failure)?
                {
                    continue;
                }
                return Ok(self.verdict(&loaded, rule));
            }
            let step = self.fresh(meta, &loaded.state, positions).await?;
            let go = Command::Go { input: Input::Check, step };
            let events = Instance::decide(&loaded.state, go, meta.at).unwrap_or_default();
            if events.is_empty() {
                return Ok(self.verdict(&loaded, String::new()));
            }
            // Its own request id: the caller's repeats a question, not this exit.
            let meta = Metadata {
                request_id: format!("{instance_id}/{}", loaded.version),
                request_digest: Vec::new(),
                method: "check".to_owned(),
                ..meta.clone()
            };
            let committed = units::commit(store, &meta, instance_id, &loaded, None, events).await;
            committed.map_err(refusal::of_failure)?;
        }
        Err(Problem::of(chassis::status::CONFLICT).into())
    }

    /// What its version lets happen, as it is now.
    async fn standing(&self, meta: &Metadata, state: &State) -> Result<Option<Standing>, Problem> {
        let (start, database) = (state.start(), self.deps.store.database());
        let all = view::journey::all(database, &meta.tenant, &start.journey_id).await?;
        Ok(all.into_iter().find(|it| it.0 == start.version).map(|it| it.1))
    }

    async fn fresh(
        &self,
        meta: &Metadata,
        state: &State,
        positions: &BTreeMap<String, u64>,
    ) -> Result<Step, Status> {
        let start = state.start();
        let graph = self.graphs.get(&meta.tenant, &start.journey_id, start.version).await;
        let graph = graph.map_err(Problem::from)?;
        let read =
            facts::read(&self.deps, &meta.tenant, &start.party_id, &graph, meta.at, positions);
        let reading = read.await.map_err(refusal::of_peer)?.unwrap_or_default();
        Ok(Step { tenant: meta.tenant.clone(), graph, reading: reading.into() })
    }

    fn verdict(&self, loaded: &Loaded<State>, rule: String) -> proto::CheckInstanceResponse {
        proto::CheckInstanceResponse {
            live: rule.is_empty(),
            rule,
            instance_version: loaded.version,
            position: self.position(),
        }
    }
}

/// Why an instance says nothing, as far as that can be told without asking for facts.
fn keeps_silent(state: &State, standing: Option<&Standing>, touch_id: &str) -> Option<String> {
    if state.life == Life::Exited {
        return Some(state.outcome.clone());
    }
    if state.is_ended() {
        return Some("ended".to_owned());
    }
    if state.paused.is_some() || standing.is_some_and(Standing::is_paused) {
        return Some("paused".to_owned());
    }
    if standing.is_some_and(|it| it.retired) {
        return Some("ended".to_owned());
    }
    let waits = state.awaited_touch() == Some(touch_id);
    (!waits).then(|| "not_waiting".to_owned())
}
