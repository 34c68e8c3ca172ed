//! `PolicyService`.

use authored::document;
use chassis::auth::Caller;
use chassis::status::Problem;
use eventstore::Metadata;
use rapport_proto::decisioning::v1 as proto;
use rapport_proto::decisioning::v1::draft_policy_request::Definition;
use rapport_proto::decisioning::v1::policy_service_server::PolicyService;
use rapport_proto::types::{Finding, VersionInfo};
use tonic::{Request, Response, Status};

use super::{Api, comment, hash, own, own_tenant, step, unknown};
use crate::convert::reason;
use crate::domain::authored::meant;
use crate::domain::decision::Decision;
use crate::domain::policy::check::{Known, findings};
use crate::domain::policy::compiled::Compiled;
use crate::domain::policy::{Command, DEFAULT, Policy, State};
use crate::domain::simulate::{self, Tally};
use crate::refusal::{self, POLICY_INVALID};
use crate::view;

/// Decisions made again when the request does not say, and at most.
const DECISIONS: (u32, u32) = (1_000, 10_000);
/// Decisions read at once.
const PAGE: usize = 200;

#[tonic::async_trait]
impl PolicyService for Api {
    async fn draft_policy(
        &self,
        request: Request<proto::DraftPolicyRequest>,
    ) -> Result<Response<proto::DraftPolicyResponse>, Status> {
        let caller = Caller::of(&request)?;
        own_tenant(caller, &request.get_ref().parent)?;
        let meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let policy = definition(request.get_ref().definition.as_ref())?;
        let found = self.findings(&caller.tenant, &policy).await?;
        if request.get_ref().validate_only {
            let position = self.position();
            let reply = proto::DraftPolicyResponse { findings: found, position, version: None };
            return Ok(Response::new(reply));
        }
        if !found.is_empty() {
            let problem = refusal::of_findings("policy", POLICY_INVALID, &found);
            self.deps.unless_repeated(&meta, problem).await?;
        }
        let hash = document::hash(&policy);
        let draft = Command::Draft { by: step(caller, &meta), policy: Box::new(policy), hash };
        let done = self.execute::<Policy>(DEFAULT, &meta, draft).await?;
        let version = done.state.versions.newest().map(|it| it.0).unwrap_or_default();
        Ok(Response::new(proto::DraftPolicyResponse {
            version: done.state.versions.info(version),
            findings: Vec::new(),
            position: done.position,
        }))
    }

    async fn simulate_policy(
        &self,
        request: Request<proto::SimulatePolicyRequest>,
    ) -> Result<Response<proto::SimulatePolicyResponse>, Status> {
        let caller = Caller::of(&request)?;
        let id = own(caller, "name", &request.get_ref().name, "policies")?;
        let meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let state = self.deps.find::<Policy>(&caller.tenant, id, "name").await?.state;
        let version = meant(&state.versions, request.get_ref().version)
            .map_err(|it| Problem::from(crate::domain::policy::Refusal::from(it)))?;
        let decisions = match request.get_ref().decisions {
            0 => DECISIONS.0,
            wish => wish.min(DECISIONS.1),
        };
        let summary = self.simulate(&caller.tenant, &state, version, decisions).await?;
        let by = step(caller, &meta);
        let simulate = Command::Simulate { by, version, summary: Box::new(summary.clone()) };
        let done = self.execute::<Policy>(id, &meta, simulate).await?;
        Ok(Response::new(proto::SimulatePolicyResponse {
            version: done.state.versions.info(version),
            position: done.position,
            summary: Some(summary),
        }))
    }

    async fn approve_policy(
        &self,
        request: Request<proto::ApprovePolicyRequest>,
    ) -> Result<Response<proto::ApprovePolicyResponse>, Status> {
        let caller = Caller::of(&request)?;
        let id = own(caller, "name", &request.get_ref().name, "policies")?;
        let meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let version = request.get_ref().version;
        let approve = Command::Approve {
            by: step(caller, &meta),
            version,
            hash: hash(&request.get_ref().hash)?,
            comment: comment(&request.get_ref().comment)?,
        };
        let (version, position) = self.step_of_policy(id, &meta, version, approve).await?;
        Ok(Response::new(proto::ApprovePolicyResponse { version, position }))
    }

    async fn activate_policy(
        &self,
        request: Request<proto::ActivatePolicyRequest>,
    ) -> Result<Response<proto::ActivatePolicyResponse>, Status> {
        let caller = Caller::of(&request)?;
        let id = own(caller, "name", &request.get_ref().name, "policies")?;
        let meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let version = request.get_ref().version;
        let activate = Command::Activate { by: step(caller, &meta), version };
        let (version, position) = self.step_of_policy(id, &meta, version, activate).await?;
        Ok(Response::new(proto::ActivatePolicyResponse { version, position }))
    }

    async fn retire_policy(
        &self,
        request: Request<proto::RetirePolicyRequest>,
    ) -> Result<Response<proto::RetirePolicyResponse>, Status> {
        let caller = Caller::of(&request)?;
        let id = own(caller, "name", &request.get_ref().name, "policies")?;
        let mut meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let reason = reason(&request.get_ref().reason)?;
        meta.reason.clone_from(&reason);
        let version = request.get_ref().version;
        let retire = Command::Retire { by: step(caller, &meta), version, reason };
        let (version, position) = self.step_of_policy(id, &meta, version, retire).await?;
        Ok(Response::new(proto::RetirePolicyResponse { version, position }))
    }

    async fn get_policy(
        &self,
        request: Request<proto::GetPolicyRequest>,
    ) -> Result<Response<proto::GetPolicyResponse>, Status> {
        let caller = Caller::of(&request)?;
        let id = own(caller, "name", &request.get_ref().name, "policies")?;
        self.caught_up(&request.get_ref().min_positions).await?;
        let position = self.position();
        let state = self.deps.find::<Policy>(&caller.tenant, id, "name").await?.state;
        let live = state.versions.live().or_else(|| state.versions.newest()).map(|it| it.0);
        let version = match request.get_ref().version {
            0 => live.unwrap_or_default(),
            version => version,
        };
        let policy = state.documents.get(&version).cloned().ok_or_else(|| unknown("version"))?;
        let versions = state.versions.iter().filter_map(|it| state.versions.info(it.0)).collect();
        Ok(Response::new(proto::GetPolicyResponse {
            policy: Some(policy),
            version: state.versions.info(version),
            versions,
            position,
        }))
    }
}

fn definition(definition: Option<&Definition>) -> Result<proto::Policy, Problem> {
    match definition {
        Some(Definition::Policy(policy)) => Ok(policy.clone()),
        Some(Definition::Yaml(text)) => document::parse(text).map_err(refusal::of_document),
        None => Err(Problem::field("policy", "Give the policy as a message or as YAML.")),
    }
}

impl Api {
    async fn findings(
        &self,
        tenant: &str,
        policy: &proto::Policy,
    ) -> Result<Vec<Finding>, Problem> {
        let database = self.deps.store.database();
        let known = Known {
            now: self.now(),
            traits: view::outside::trait_name::all(database, tenant).await?,
            modules: self.shared(tenant).await?.modules.ids(),
        };
        Ok(findings(policy, &known))
    }

    /// Takes a step in the life of a version; a policy that nobody saved is not found.
    async fn step_of_policy(
        &self,
        id: &str,
        meta: &Metadata,
        version: u32,
        command: Command,
    ) -> Result<(Option<VersionInfo>, u64), Problem> {
        if id != DEFAULT {
            return Err(unknown("name"));
        }
        let done = self.execute::<Policy>(id, meta, command).await?;
        Ok((done.state.versions.info(version), done.position))
    }

    /// Makes the newest decisions again with a version.
    async fn simulate(
        &self,
        tenant: &str,
        state: &State,
        version: u32,
        decisions: u32,
    ) -> Result<proto::SimulationSummary, Problem> {
        let store = &self.deps.store;
        let document = state.documents.get(&version).ok_or_else(|| unknown("version"))?;
        let policy = Compiled::new(version, &document::hash(document), document);
        let shared = self.shared(tenant).await?;
        let mut tally = Tally::until(self.position());
        let ids = view::decision::newest(store.database(), tenant, decisions).await?;
        for page in ids.chunks(PAGE) {
            let found = store.load_many::<Decision>(tenant, page).await?;
            for before in found.into_iter().filter_map(|it| it.state.made) {
                let version = before.packs.get(&before.market).copied();
                let pack = version.and_then(|it| shared.pack_version(&before.market, it));
                let after = simulate::again(&before, &policy, pack, &shared.modules);
                tally.add(&before, &after);
            }
        }
        Ok(tally.finish())
    }
}
