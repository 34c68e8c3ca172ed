//! `DecisionService`.

use chassis::auth::Caller;
use chassis::name;
use chassis::page::Page;
use chassis::status::Problem;
use eventstore::Timestamp;
use rapport_proto::decisioning::v1 as proto;
use rapport_proto::decisioning::v1::decision_service_server::DecisionService;
use tonic::{Request, Response, Status};

use super::{Api, own, own_tenant, unknown};
use crate::convert;
use crate::domain::decision::{Decision, State};
use crate::domain::explain::explain;
use crate::domain::holdout::{Command, Holdout, counting};
use crate::view;

#[tonic::async_trait]
impl DecisionService for Api {
    async fn decide(
        &self,
        request: Request<proto::DecideRequest>,
    ) -> Result<Response<proto::DecideResponse>, Status> {
        let caller = Caller::of(&request)?;
        let party_id = own(caller, "parent", &request.get_ref().parent, "parties")?;
        let meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let wish = convert::wish(party_id, request.get_ref())?;
        let (state, position) = self.make(&meta, &wish, &request.get_ref().min_positions).await?;
        let decision = Some(decision(&meta.tenant, state));
        Ok(Response::new(proto::DecideResponse { decision, position }))
    }

    async fn get_decision(
        &self,
        request: Request<proto::GetDecisionRequest>,
    ) -> Result<Response<proto::GetDecisionResponse>, Status> {
        let caller = Caller::of(&request)?;
        let id = own(caller, "name", &request.get_ref().name, "decisions")?;
        self.caught_up(&request.get_ref().min_positions).await?;
        let position = self.position();
        let found = self.deps.find::<Decision>(&caller.tenant, id, "name").await?;
        let decision = Some(decision(&caller.tenant, found.state));
        Ok(Response::new(proto::GetDecisionResponse { decision, position }))
    }

    async fn list_decisions(
        &self,
        request: Request<proto::ListDecisionsRequest>,
    ) -> Result<Response<proto::ListDecisionsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        let party_id = own(caller, "parent", &request.parent, "parties")?;
        self.caught_up(&request.min_positions).await?;
        let arguments = [caller.tenant.as_str(), "decisions", party_id];
        let page = Page::parse(request.page_size.min(500), &request.page_token, &arguments)?;
        let before = page.cursor().unwrap_or(i64::MAX);
        let database = self.deps.store.database();
        let limit = page.size + 1;
        let listed = view::decision::list(database, &caller.tenant, party_id, before, limit);
        let mut rows = listed.await.map_err(Problem::from)?;
        let next_page_token = page.cut(&mut rows, |(_, position)| *position);
        let decisions = rows.into_iter().map(|(summary, _)| summary).collect();
        Ok(Response::new(proto::ListDecisionsResponse { decisions, next_page_token }))
    }

    async fn explain_decision(
        &self,
        request: Request<proto::ExplainDecisionRequest>,
    ) -> Result<Response<proto::ExplainDecisionResponse>, Status> {
        let caller = Caller::of(&request)?;
        let id = own(caller, "name", &request.get_ref().name, "decisions")?;
        let found = self.deps.find::<Decision>(&caller.tenant, id, "name").await?;
        let made = found.state.made.ok_or_else(|| unknown("name"))?;
        Ok(Response::new(explain(&made)))
    }

    async fn check_outbound(
        &self,
        request: Request<proto::CheckOutboundRequest>,
    ) -> Result<Response<proto::CheckOutboundResponse>, Status> {
        let caller = Caller::of(&request)?;
        own_tenant(caller, &request.get_ref().parent)?;
        let request = request.get_ref();
        let (question, at) = convert::outbound(request)?;
        self.caught_up(&request.min_positions).await?;
        let position = self.position();
        let shared = self.shared(&caller.tenant).await?;
        let at = at.unwrap_or_else(|| self.now());
        let answer = self.outbound(&caller.tenant, request, question, at, &shared).await?;
        let (holdout, arm) = counting(&shared.holdouts, question.class, &request.party_id);
        Ok(Response::new(proto::CheckOutboundResponse {
            effect: answer.effect.into(),
            pack: answer.pack,
            pack_version: answer.version,
            rule: answer.rule,
            detail: answer.detail,
            holdout_id: holdout.map(|it| it.holdout_id.clone()).unwrap_or_default(),
            arm: arm.into(),
            policy_version: shared.policy.as_ref().map(|it| it.version).unwrap_or_default(),
            position,
            market_pack_version: shared.version_in(&request.market, at),
        }))
    }

    async fn start_holdout(
        &self,
        request: Request<proto::StartHoldoutRequest>,
    ) -> Result<Response<proto::StartHoldoutResponse>, Status> {
        let caller = Caller::of(&request)?;
        own_tenant(caller, &request.get_ref().parent)?;
        let meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let started = convert::holdout(request.get_ref())?;
        let id = started.holdout_id.clone();
        let done = self.execute::<Holdout>(&id, &meta, Command::Start(Box::new(started))).await?;
        let ended_at = done.state.ended.then_some(done.updated_at);
        let holdout = done.state.started.unwrap_or_default();
        let holdout = Some(shown(&meta.tenant, holdout, done.created_at, ended_at));
        Ok(Response::new(proto::StartHoldoutResponse { holdout, position: done.position }))
    }

    async fn end_holdout(
        &self,
        request: Request<proto::EndHoldoutRequest>,
    ) -> Result<Response<proto::EndHoldoutResponse>, Status> {
        let caller = Caller::of(&request)?;
        let id = own(caller, "name", &request.get_ref().name, "holdouts")?;
        let mut meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let reason = convert::reason(&request.get_ref().reason)?;
        meta.reason.clone_from(&reason);
        let done = self.execute::<Holdout>(id, &meta, Command::End { reason }).await?;
        let ended_at = done.state.ended.then_some(done.updated_at);
        let holdout = done.state.started.unwrap_or_default();
        let holdout = Some(shown(&meta.tenant, holdout, done.created_at, ended_at));
        Ok(Response::new(proto::EndHoldoutResponse { holdout, position: done.position }))
    }

    async fn list_holdouts(
        &self,
        request: Request<proto::ListHoldoutsRequest>,
    ) -> Result<Response<proto::ListHoldoutsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        own_tenant(caller, &request.parent)?;
        let arguments = [caller.tenant.as_str(), "holdouts"];
        let page = Page::parse(request.page_size.min(500), &request.page_token, &arguments)?;
        let after = page.cursor().unwrap_or_default();
        let database = self.deps.store.database();
        let listed = view::holdout::list(database, &caller.tenant, after, page.size + 1);
        let mut rows = listed.await.map_err(Problem::from)?;
        let next_page_token = page.cut(&mut rows, |it| it.holdout_id.clone());
        let holdouts = (rows.into_iter())
            .map(|it| {
                let ended_at = (it.ended_at != Timestamp::MAX).then_some(it.ended_at);
                shown(&caller.tenant, it.started, it.started_at, ended_at)
            })
            .collect();
        Ok(Response::new(proto::ListHoldoutsResponse { holdouts, next_page_token }))
    }
}

fn decision(tenant: &str, state: State) -> proto::Decision {
    let record = state.made.map(|it| *it).unwrap_or_default();
    proto::Decision {
        name: name::print(tenant, &[("decisions", &record.decision_id)]),
        record: Some(record),
        outcomes: state.outcomes,
        closed: state.closed,
        reward: state.reward,
        censored: state.censored,
    }
}

fn shown(
    tenant: &str,
    holdout: proto::HoldoutStarted,
    started_at: Timestamp,
    ended_at: Option<Timestamp>,
) -> proto::Holdout {
    proto::Holdout {
        name: name::print(tenant, &[("holdouts", &holdout.holdout_id)]),
        holdout: Some(holdout),
        start_time: Some(started_at.to_proto()),
        end_time: ended_at.map(Timestamp::to_proto),
    }
}
