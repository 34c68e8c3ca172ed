//! `RulePackService`.

use authored::document;
use authored::version;
use chassis::auth::Caller;
use chassis::page::Page;
use chassis::status::Problem;
use chassis::text::Check;
use eventstore::{AsOf, Metadata};
use rapport_proto::decisioning::v1 as proto;
use rapport_proto::decisioning::v1::draft_rule_pack_request::Definition;
use rapport_proto::decisioning::v1::rule_pack_service_server::RulePackService;
use rapport_proto::is_market;
use rapport_proto::types::VersionInfo;
use tonic::{Request, Response, Status};

use super::{Api, comment, hash, own, own_tenant, step, unknown};
use crate::convert::{reason, time};
use crate::domain::authored::meant;
use crate::domain::later;
use crate::domain::pack::{Pack, check, coverage};
use crate::domain::rule_pack::{AHEAD, Command, Refusal, RulePack, names_of};
use crate::refusal::{self, PACK_INVALID};
use crate::view;

/// Archetypes in a row, at most.
const DEEPEST: usize = 4;

#[tonic::async_trait]
impl RulePackService for Api {
    async fn draft_rule_pack(
        &self,
        request: Request<proto::DraftRulePackRequest>,
    ) -> Result<Response<proto::DraftRulePackResponse>, Status> {
        let caller = Caller::of(&request)?;
        own_tenant(caller, &request.get_ref().parent)?;
        let meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let pack = definition(request.get_ref().definition.as_ref())?;
        let found = check::findings(&pack);
        if request.get_ref().validate_only {
            let position = self.position();
            let reply = proto::DraftRulePackResponse { findings: found, position, version: None };
            return Ok(Response::new(reply));
        }
        if !found.is_empty() {
            return Err(refusal::of_findings("pack", PACK_INVALID, &found).into());
        }
        let (id, hash) = (pack.rule_pack.clone(), document::hash(&pack));
        let draft = Command::Draft { by: step(caller, &meta), pack: Box::new(pack), hash };
        let done = self.execute::<RulePack>(&id, &meta, draft).await?;
        let version = done.state.versions.newest().map(|it| it.0).unwrap_or_default();
        Ok(Response::new(proto::DraftRulePackResponse {
            version: done.state.versions.info(version),
            findings: Vec::new(),
            position: done.position,
        }))
    }

    async fn simulate_rule_pack(
        &self,
        request: Request<proto::SimulateRulePackRequest>,
    ) -> Result<Response<proto::SimulateRulePackResponse>, Status> {
        let caller = Caller::of(&request)?;
        let id = own(caller, "name", &request.get_ref().name, "rulepacks")?;
        let meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let state = self.deps.find::<RulePack>(&caller.tenant, id, "name").await?.state;
        let version = meant(&state.versions, request.get_ref().version)
            .map_err(|it| Problem::from(Refusal::from(it)))?;
        let document = state.documents.get(&version).ok_or_else(|| unknown("version"))?;
        let inherited = self.inherited(&caller.tenant, document).await?;
        let pack = compile(version, document, &inherited);
        let failed = check::failures(document, &pack);
        if !failed.is_empty() {
            return Err(refusal::of_findings("pack", PACK_INVALID, &failed).into());
        }
        let unmapped = coverage::unmapped(&pack);
        let simulate = Command::Simulate {
            by: step(caller, &meta),
            version,
            tests: u32::try_from(document.tests.len()).unwrap_or(u32::MAX),
            unmapped,
            inherited: names_of(&inherited),
        };
        let done = self.execute::<RulePack>(id, &meta, simulate).await?;
        Ok(Response::new(proto::SimulateRulePackResponse {
            version: done.state.versions.info(version),
            position: done.position,
            unmapped,
        }))
    }

    async fn approve_rule_pack(
        &self,
        request: Request<proto::ApproveRulePackRequest>,
    ) -> Result<Response<proto::ApproveRulePackResponse>, Status> {
        let caller = Caller::of(&request)?;
        let id = own(caller, "name", &request.get_ref().name, "rulepacks")?;
        let meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let version = request.get_ref().version;
        let approve = Command::Approve {
            by: step(caller, &meta),
            version,
            hash: hash(&request.get_ref().hash)?,
            comment: comment(&request.get_ref().comment)?,
        };
        let (version, position) = self.step_of_pack(id, &meta, version, approve).await?;
        Ok(Response::new(proto::ApproveRulePackResponse { version, position }))
    }

    async fn activate_rule_pack(
        &self,
        request: Request<proto::ActivateRulePackRequest>,
    ) -> Result<Response<proto::ActivateRulePackResponse>, Status> {
        let caller = Caller::of(&request)?;
        let id = own(caller, "name", &request.get_ref().name, "rulepacks")?;
        let meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let mut check = Check::default();
        let wished = time(&mut check, "effective_time", request.get_ref().effective_time.as_ref());
        check.finish()?;
        let version = request.get_ref().version;
        let state = self.deps.find::<RulePack>(&caller.tenant, id, "name").await?.state;
        let document = state.documents.get(&version).ok_or_else(|| unknown("version"))?;
        let activate = Command::Activate {
            by: step(caller, &meta),
            version,
            effective_at: wished.unwrap_or_else(|| later(meta.at, AHEAD)),
            inherited: self.inherited(&caller.tenant, document).await?,
        };
        let (version, position) = self.step_of_pack(id, &meta, version, activate).await?;
        Ok(Response::new(proto::ActivateRulePackResponse { version, position }))
    }

    async fn retire_rule_pack(
        &self,
        request: Request<proto::RetireRulePackRequest>,
    ) -> Result<Response<proto::RetireRulePackResponse>, Status> {
        let caller = Caller::of(&request)?;
        let id = own(caller, "name", &request.get_ref().name, "rulepacks")?;
        let mut meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let reason = reason(&request.get_ref().reason)?;
        meta.reason.clone_from(&reason);
        let version = request.get_ref().version;
        let retire = Command::Retire { by: step(caller, &meta), version, reason };
        let (version, position) = self.step_of_pack(id, &meta, version, retire).await?;
        Ok(Response::new(proto::RetireRulePackResponse { version, position }))
    }

    async fn get_rule_pack(
        &self,
        request: Request<proto::GetRulePackRequest>,
    ) -> Result<Response<proto::GetRulePackResponse>, Status> {
        let caller = Caller::of(&request)?;
        let id = own(caller, "name", &request.get_ref().name, "rulepacks")?;
        self.caught_up(&request.get_ref().min_positions).await?;
        let position = self.position();
        let state = self.deps.find::<RulePack>(&caller.tenant, id, "name").await?.state;
        let live = state.versions.live().or_else(|| state.versions.newest()).map(|it| it.0);
        let version = match request.get_ref().version {
            0 => live.unwrap_or_default(),
            version => version,
        };
        let pack = state.documents.get(&version).cloned().ok_or_else(|| unknown("version"))?;
        let versions = state.versions.iter().filter_map(|it| state.versions.info(it.0)).collect();
        Ok(Response::new(proto::GetRulePackResponse {
            pack: Some(pack),
            version: state.versions.info(version),
            versions,
            position,
        }))
    }

    async fn list_rule_packs(
        &self,
        request: Request<proto::ListRulePacksRequest>,
    ) -> Result<Response<proto::ListRulePacksResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        own_tenant(caller, &request.parent)?;
        let arguments = [caller.tenant.as_str(), "rulepacks"];
        let page = Page::parse(request.page_size.min(500), &request.page_token, &arguments)?;
        let after = page.cursor().unwrap_or_default();
        let store = &self.deps.store;
        let listed = view::pack::list(store.database(), &caller.tenant, after, page.size + 1);
        let mut ids = listed.await.map_err(Problem::from)?;
        let next_page_token = page.cut(&mut ids, String::clone);
        let found =
            store.load_many::<RulePack>(&caller.tenant, &ids).await.map_err(Problem::from)?;
        let packs = (ids.into_iter().zip(found))
            .map(|(pack, it)| {
                let versions = it.state.versions;
                proto::RulePackSummary {
                    pack,
                    live_version: versions.live().map(|it| it.0).unwrap_or_default(),
                    newest: versions.newest().and_then(|it| versions.info(it.0)),
                }
            })
            .collect();
        Ok(Response::new(proto::ListRulePacksResponse { packs, next_page_token }))
    }

    async fn report_coverage(
        &self,
        request: Request<proto::ReportCoverageRequest>,
    ) -> Result<Response<proto::ReportCoverageResponse>, Status> {
        let caller = Caller::of(&request)?;
        own_tenant(caller, &request.get_ref().parent)?;
        let mut markets = request.get_ref().markets.clone();
        let mut check = Check::default();
        let fits = markets.len() <= 50 && markets.iter().all(|it| is_market(it));
        check.require(fits, "markets", "Name 50 ISO 3166-1 alpha-2 codes at most, in capitals.");
        check.finish()?;
        let position = self.position();
        let shared = self.shared(&caller.tenant).await?;
        let now = self.now();
        if markets.is_empty() {
            markets = shared.markets(now);
            markets.truncate(50);
        }
        let lines: Vec<_> =
            (markets.iter()).flat_map(|it| coverage::report(it, shared.pack(it, now))).collect();
        let without = lines.iter().filter(|it| it.rule.is_empty()).count();
        Ok(Response::new(proto::ReportCoverageResponse {
            unmapped: u32::try_from(without).unwrap_or(u32::MAX),
            lines,
            position,
        }))
    }
}

fn definition(definition: Option<&Definition>) -> Result<proto::RulePack, Problem> {
    match definition {
        Some(Definition::Pack(pack)) => Ok(pack.clone()),
        Some(Definition::Yaml(text)) => document::parse(text).map_err(refusal::of_document),
        None => Err(Problem::field("pack", "Give the rule pack as a message or as YAML.")),
    }
}

fn compile(version: u32, document: &proto::RulePack, inherited: &[proto::Inherited]) -> Pack {
    let layers = inherited.iter().filter_map(|it| Some((it.version, it.document.as_ref()?)));
    Pack::compile(std::iter::once((version, document)).chain(layers))
}

impl Api {
    /// The archetypes of a pack as they are live now, nearest first.
    async fn inherited(
        &self,
        tenant: &str,
        document: &proto::RulePack,
    ) -> Result<Vec<proto::Inherited>, Problem> {
        let refuse = |remedy: String| Problem::of(PACK_INVALID).violation("pack.inherits", remedy);
        let mut chain: Vec<proto::Inherited> = Vec::new();
        let mut next = document.inherits.clone();
        while !next.is_empty() {
            if next == document.rule_pack || chain.iter().any(|it| it.pack == next) {
                return Err(refuse(format!("Break the cycle: {next} inherits from itself.")));
            }
            if chain.len() >= DEEPEST {
                return Err(refuse(format!("Inherit from {DEEPEST} archetypes in a row at most.")));
            }
            let state = self.deps.store.load::<RulePack>(tenant, &next, AsOf::Now).await?.state;
            let live = state.versions.live().map(|(version, _): (u32, &version::Entry)| version);
            let Some(version) = live else {
                return Err(refuse(format!("Activate the archetype {next} first.")));
            };
            let archetype = state.documents.get(&version).cloned().unwrap_or_default();
            let above = archetype.inherits.clone();
            chain.push(proto::Inherited { pack: next, version, document: Some(archetype) });
            next = above;
        }
        Ok(chain)
    }

    async fn step_of_pack(
        &self,
        id: &str,
        meta: &Metadata,
        version: u32,
        command: Command,
    ) -> Result<(Option<VersionInfo>, u64), Problem> {
        let done = self.execute::<RulePack>(id, meta, command).await?;
        Ok((done.state.versions.info(version), done.position))
    }
}
