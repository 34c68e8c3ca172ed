//! How a decision comes about: what it depends on is gathered, the pure function decides, the record is durable before
//! the answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use chassis::status::{CONFLICT, Problem, REQUEST_ID_REUSED};
use eventstore::{AsOf, Decider as _, Metadata, Outcome, Timestamp, UnitError};
use rapport_proto::decisioning::v1 as proto;
use rapport_proto::profiles::v1::facts_service_client::FactsServiceClient;
use rapport_proto::profiles::v1::{GetFactsRequest, GetFactsResponse};

use super::Api;
use crate::convert;
use crate::domain::decide::facts::PartyFacts;
use crate::domain::decide::reads::Reads;
use crate::domain::decide::{Inputs, Wish, decide};
use crate::domain::decision::{Command, Decision, State};
use crate::domain::pack::{Answer, Question};
use crate::metrics;
use crate::refusal::{self, NO_LIVE_POLICY};
use crate::view::past::{Asked, Past};
use crate::view::shared::Shared;

/// Where facts come from.
const PROFILES: &str = "profiles";

impl Api {
    /// Decides once for a request: a repeat gets the record there is.
    pub(super) async fn make(
        &self,
        meta: &Metadata,
        wish: &Wish,
        min_positions: &BTreeMap<String, u64>,
    ) -> Result<(State, u64), Problem> {
        let decision_id = eventstore::derive_id(
            "dec",
            &[&meta.tenant, &meta.actor.subject, &meta.method, &meta.request_id, "dec", "0"],
        );
        let began = Instant::now();
        let made = self.decided(meta, &decision_id, wish, min_positions).await;
        metrics::decided(made.as_ref().ok(), began.elapsed());
        let made = match made {
            Ok(made) => made,
            Err(problem) => {
                self.deps.unless_repeated(meta, problem).await?;
                proto::DecisionMade::default()
            }
        };
        let latency_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.keep(meta, &decision_id, proto::DecisionMade { latency_us, ..made }).await
    }

    async fn decided(
        &self,
        meta: &Metadata,
        decision_id: &str,
        wish: &Wish,
        min_positions: &BTreeMap<String, u64>,
    ) -> Result<proto::DecisionMade, Problem> {
        self.caught_up(min_positions).await?;
        // What is read from here on includes at least this.
        let position = self.position();
        let (shared, facts, past) = Box::pin(self.gather(meta, wish, min_positions)).await?;
        let policy = shared.policy.as_ref().ok_or(Problem::of(NO_LIVE_POLICY))?;
        let at = meta.at;
        let party = convert::party(&facts, &shared.reads, wish, at);
        let affinity = |channel, topic: &str| {
            shared.affinity(&party.market, &past.counts, at, policy.half_life, (channel, topic))
        };
        Ok(decide(&Inputs {
            decision_id,
            at,
            salt: &policy.salt,
            wish,
            policy,
            party: &party,
            pack: shared.pack(&party.market, at),
            modules: &shared.modules,
            content_position: shared.content_position(),
            happenings: &past.happenings,
            affinity: &affinity,
            holdouts: &shared.holdouts,
            positions: self.positions(facts.positions, &shared, position),
            model: shared.model(),
        }))
    }

    /// What counts for everybody, what `profiles` and what own tables know of the party. The rules are those that are
    /// held; if the tables tell that they have changed, everything is read once more with those that count now.
    async fn gather(
        &self,
        meta: &Metadata,
        wish: &Wish,
        min_positions: &BTreeMap<String, u64>,
    ) -> Result<(Arc<Shared>, GetFactsResponse, Past), Problem> {
        let (tenant, party_id, at) = (&meta.tenant, &wish.party_id, meta.at);
        let mut shared = match self.cache.held(tenant).filter(|it| it.policy.is_some()) {
            Some(held) => held,
            None => self.shared(tenant).await?,
        };
        loop {
            let policy = shared.policy.clone().ok_or(Problem::of(NO_LIVE_POLICY))?;
            let asked = convert::asked(&shared.reads, wish);
            let past = Asked { tenant: tenant.clone(), party_id: party_id.clone(), policy, at };
            let (facts, past) = futures::join!(
                self.facts(tenant, party_id, at, asked, min_positions),
                self.pasts.read(past),
            );
            let (facts, past) = (facts?, past?);
            if shared.is_of(&past.revision) {
                return Ok((shared, facts, past));
            }
            shared = self.shared(tenant).await?;
        }
    }

    /// Everything `profiles` knows that a decision needs, in one read.
    async fn facts(
        &self,
        tenant: &str,
        party_id: &str,
        at: Timestamp,
        asked: GetFactsRequest,
        min_positions: &BTreeMap<String, u64>,
    ) -> Result<GetFactsResponse, Problem> {
        let mut min_positions = min_positions.clone();
        min_positions.remove(self.deps.store.source());
        let request = GetFactsRequest {
            name: chassis::name::print(tenant, &[("parties", party_id)]),
            time: Some(at.to_proto()),
            min_positions,
            ..asked
        };
        let mut profiles = FactsServiceClient::new(self.deps.peers.to(PROFILES));
        let reply = profiles.get_facts(request).await;
        reply.map(tonic::Response::into_inner).map_err(|status| refusal::of_peer(&status))
    }

    fn positions(
        &self,
        mut positions: BTreeMap<String, u64>,
        shared: &Shared,
        own: u64,
    ) -> BTreeMap<String, u64> {
        positions.insert(self.deps.store.source().to_owned(), own);
        if shared.content_position() > 0 {
            positions.insert("content".to_owned(), shared.content_position());
        }
        positions
    }

    /// Commits the record, or finds the one that an earlier run of the same request has committed.
    async fn keep(
        &self,
        meta: &Metadata,
        decision_id: &str,
        made: proto::DecisionMade,
    ) -> Result<(State, u64), Problem> {
        // The id follows from the request, so the stream is empty or the request was granted before: it is not read.
        let empty = State::default();
        let events = Decision::decide(&empty, Command::Make(Box::new(made)), meta.at)?;
        let state = events.iter().fold(empty.clone(), Decision::evolve);
        let mut unit = self.deps.store.unit(meta.clone());
        let pushed = unit.push::<Decision>(decision_id, 0, &empty, events).await;
        let unit = pushed.and_then(|()| unit.finish()).map_err(of_unit)?;
        match self.deps.store.append(unit).await {
            Outcome::Committed { position } => Ok((state, position)),
            Outcome::Repeated { version, position, .. } => {
                let version = AsOf::Version(version);
                let store = &self.deps.store;
                let loaded = store.load::<Decision>(&meta.tenant, decision_id, version).await?;
                Ok((loaded.state, position))
            }
            Outcome::RequestReused => {
                Err(Problem::of(REQUEST_ID_REUSED)
                    .violation("request_id", REQUEST_ID_REUSED.remedy))
            }
            Outcome::Conflict | Outcome::Superseded | Outcome::Refused(_) => {
                Err(Problem::of(CONFLICT))
            }
            Outcome::Failed(error) => Err(error.into()),
        }
    }

    /// What a country's rules answer, for a party or for parties in general.
    pub(super) async fn outbound(
        &self,
        tenant: &str,
        request: &proto::CheckOutboundRequest,
        question: Question,
        at: Timestamp,
        shared: &Shared,
    ) -> Result<Answer, Problem> {
        let Some(pack) = shared.pack(&request.market, at) else { return Ok(Answer::no_pack()) };
        if request.party_id.is_empty() {
            return Ok(pack.answer(question, None));
        }
        let mut party = PartyFacts::default();
        if pack.names(question).iter().any(|it| it.root() != "now") {
            let (reads, wish) = (Reads::of(&pack.names(question)), Wish::default());
            let asked = convert::asked(&reads, &wish);
            let party_id = &request.party_id;
            let facts = self.facts(tenant, party_id, at, asked, &request.min_positions).await?;
            party = convert::party(&facts, &reads, &wish, at);
        }
        party.set("now", at);
        Ok(pack.answer(question, Some(&party)))
    }
}

fn of_unit(error: UnitError) -> Problem {
    match error {
        UnitError::Store(error) => error.into(),
        other => Problem::new(chassis::status::COMMAND_TOO_LARGE, other.to_string()),
    }
}
