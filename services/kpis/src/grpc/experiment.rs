//! `ExperimentService`.

use chassis::auth::Caller;
use chassis::page::Page;
use chassis::status::Problem;
use eventstore::{Error, Timestamp};
use rapport_proto::kpis::v1 as proto;
use rapport_proto::kpis::v1::experiment::AssignedBy;
use rapport_proto::kpis::v1::experiment_service_server::ExperimentService;
use tonic::{Request, Response, Status};

use super::{Api, own, own_tenant, unknown};
use crate::convert;
use crate::domain::experiment::{Command, Experiment};
use crate::domain::instant;
use crate::rollup::experiment::FEW_PATIENTS;
use crate::view;
use crate::view::experiment::Kept;
use crate::view::figure::Told;
use crate::view::series::Fed;

#[tonic::async_trait]
impl ExperimentService for Api {
    async fn start_experiment(
        &self,
        request: Request<proto::StartExperimentRequest>,
    ) -> Result<Response<proto::StartExperimentResponse>, Status> {
        let caller = Caller::of(&request)?;
        own_tenant(caller, &request.get_ref().parent)?;
        let meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let document = convert::experiment(request.get_ref())?;
        let id = document.experiment.clone();
        let start = Command::Start(Box::new(document));
        let done = self.execute::<Experiment>(&id, &meta, start).await?;
        let (experiment, position) = (done.state.document, done.position);
        Ok(Response::new(proto::StartExperimentResponse { experiment, position }))
    }

    async fn close_experiment(
        &self,
        request: Request<proto::CloseExperimentRequest>,
    ) -> Result<Response<proto::CloseExperimentResponse>, Status> {
        let caller = Caller::of(&request)?;
        let id = own(caller, "name", &request.get_ref().name, "experiments")?;
        let mut meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let reason = convert::reason(&request.get_ref().reason)?;
        meta.reason.clone_from(&reason);
        let (_, fed) = self.experiment(&caller.tenant, id).await?;
        let store = &self.deps.store;
        let told = view::figure::of_experiment(store, &caller.tenant, &fed).await;
        let Told { as_of, positions, .. } = told.map_err(Problem::from)?;
        let close = Command::Close { reason, positions, as_of };
        let position = self.execute::<Experiment>(id, &meta, close).await?.position;
        let (kept, fed) = self.experiment(&caller.tenant, id).await?;
        let found = self.compared(&caller.tenant, &kept, &fed, Redraws::default()).await?;
        let result = Some(found.result);
        Ok(Response::new(proto::CloseExperimentResponse { result, position }))
    }

    async fn get_experiment(
        &self,
        request: Request<proto::GetExperimentRequest>,
    ) -> Result<Response<proto::GetExperimentResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        let id = own(caller, "name", &request.name, "experiments")?;
        let (kept, fed) = self.experiment(&caller.tenant, id).await?;
        let times = convert::draws(&kept.document, request)?;
        let (series, hash) = (fed.series(), fed.hash);
        self.caught_up(&caller.tenant, series, hash, &request.min_positions).await?;
        let redraws = Redraws { seed: request.seed.clone(), times };
        let found = self.compared(&caller.tenant, &kept, &fed, redraws).await?;
        let closed = kept.closed_at < Timestamp::MAX;
        Ok(Response::new(proto::GetExperimentResponse {
            result: Some(found.result),
            coverage: found.coverage,
            start_time: Some(kept.started_at.to_proto()),
            close_time: closed.then(|| kept.closed_at.to_proto()),
            experiment: Some(kept.document),
        }))
    }

    async fn list_experiments(
        &self,
        request: Request<proto::ListExperimentsRequest>,
    ) -> Result<Response<proto::ListExperimentsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let (request, tenant) = (request.get_ref(), caller.tenant.as_str());
        own_tenant(caller, &request.parent)?;
        let arguments = [tenant, "experiments"];
        let page = Page::parse(request.page_size.min(500), &request.page_token, &arguments)?;
        let after = page.cursor().unwrap_or_default();
        let database = self.deps.store.database();
        let listed = view::experiment::list(database, tenant, after, page.size + 1);
        let mut rows = listed.await.map_err(Problem::from)?;
        let next_page_token = page.cut(&mut rows, |it| it.document.experiment.clone());
        let experiments = rows.into_iter().map(|it| it.document).collect();
        Ok(Response::new(proto::ListExperimentsResponse { experiments, next_page_token }))
    }
}

/// Arms that are drawn anew.
#[derive(Clone, Debug, Default)]
struct Redraws {
    seed: String,
    times: u32,
}

/// A result, and what drawing the arms anew told.
struct Found {
    result: proto::ExperimentResult,
    coverage: Option<f64>,
}

/// Compares the arms. It takes as long as there are parties, so no other call waits behind it.
fn compare(document: &proto::Experiment, told: &Told, redraws: &Redraws) -> Result<Found, Problem> {
    let plan = convert::plan(document);
    let units = plan.units(&told.contributions, told.as_of);
    let most = units.most_draws();
    if redraws.times > most {
        let remedy = format!("Use {most} at most for so many parties.");
        return Err(Problem::field("rerandomise", remedy));
    }
    let compared = plan.compare(&units, &told.patients);
    let coverage = match &document.assigned_by {
        // The holdout's own name stands for its period: any will do, as long as it is always the same. Of few patients
        // nothing is told: whoever chooses the arms could ask about each party by itself.
        Some(AssignedBy::Holdout(holdout)) if compared.withheld != FEW_PATIENTS => {
            plan.coverage(&units, &redraws.seed, redraws.times, holdout)
        }
        _ => None,
    };
    Ok(Found { result: convert::result(&compared, told.positions.clone()), coverage })
}

impl Api {
    async fn experiment(&self, tenant: &str, id: &str) -> Result<(Kept, Fed), Problem> {
        let database = self.deps.store.database();
        let kept = view::experiment::find(database, tenant, id).await?;
        let kept = kept.ok_or_else(|| unknown("name"))?;
        let name = format!("experiment/{id}");
        let all = self.cache.now(database, tenant).await?;
        let fed = all.into_iter().find(|it| it.series().name == name);
        Ok((kept, fed.ok_or_else(|| unknown("name"))?))
    }

    /// What was read of an experiment; of a closed one, what had been when it was closed.
    async fn compared(
        &self,
        tenant: &str,
        kept: &Kept,
        fed: &Fed,
        redraws: Redraws,
    ) -> Result<Found, Problem> {
        let mut told = view::figure::of_experiment(&self.deps.store, tenant, fed).await?;
        if let Some(closed) = &kept.closed {
            told.as_of = instant(closed.as_of.as_ref()).unwrap_or_default();
            told.positions.clone_from(&closed.positions);
        }
        let document = kept.document.clone();
        let compared = tokio::task::spawn_blocking(move || compare(&document, &told, &redraws));
        compared.await.map_err(|it| Error::corrupt(format!("compare the arms: {it}")))?
    }
}
