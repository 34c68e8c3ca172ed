//! `rapport smoke`: a running deployment as a client sees it. It asks every target whether it is ready and answers, and
//! follows one write from the service that takes it to the consumer of another one that has read it.

mod trip;

use std::process::ExitCode;
use std::time::Duration;

use chassis::settings::Settings;
use clap::Args;
use futures::StreamExt as _;
use rapport_proto::audit::v1::SearchEventsRequest;
use rapport_proto::content::v1::ListModulesRequest;
use rapport_proto::decisioning::v1::ListRulePacksRequest;
use rapport_proto::delivery::v1::ListTouchesRequest;
use rapport_proto::feedback::v1::ListSurveysRequest;
use rapport_proto::journeys::v1::ListJourneysRequest;
use rapport_proto::kpis::v1::ListMetricsRequest;
use rapport_proto::profiles::v1::ListPartiesRequest;
use serde_json::{Value, json};
use tokio::time::Instant;
use tonic::{Code, Response, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::cli::print;
use crate::people::{Output, RemoteArgs};
use crate::remote::{Refused, Remote};
use crate::targets;

/// Between two tries of what may pass.
const PAUSE: Duration = Duration::from_millis(200);

#[derive(Args)]
pub(crate) struct Smoke {
    /// Seconds after which what is not in order counts as failed
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
    /// Market of the party that is registered
    #[arg(long, default_value = "DE")]
    market: String,
}

/// What was looked at, and what was found.
struct Check {
    name: String,
    took: Duration,
    found: Result<String, String>,
}

/// Looks, prints a line for each thing as it is known; exit code 1 when something is not in order.
pub(crate) async fn run(
    ask: &Smoke,
    remote: &RemoteArgs,
    settings: &Settings,
) -> anyhow::Result<ExitCode> {
    let output = remote.output;
    let remote = remote.connect(settings)?;
    let until = Instant::now() + Duration::from_secs(ask.timeout);
    let mut checks = Vec::new();
    let targets = targets::select(&settings.targets)?;
    let looks = targets.iter().map(|it| target(&remote, it.name, until));
    let mut looks = futures::stream::iter(looks).buffered(targets.len());
    while let Some(found) = looks.next().await {
        found.into_iter().for_each(|it| note(&mut checks, it, output));
    }
    trip::run(&remote, &ask.market, until, &mut |it| note(&mut checks, it, output)).await;
    let passed = checks.iter().all(|it| it.found.is_ok());
    if output == Output::Json {
        let checks: Vec<_> = checks.iter().map(Check::value).collect();
        print(&format!("{:#}\n", json!({"passed": passed, "checks": checks})));
    }
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn note(checks: &mut Vec<Check>, check: Check, output: Output) {
    if output == Output::Table {
        let (word, found) = match &check.found {
            Ok(found) => ("ok", found),
            Err(error) => ("FAILED", error),
        };
        let took = check.took.as_millis();
        print(&format!("{word:<6} {took:>6} ms  {}: {found}\n", check.name));
    }
    checks.push(check);
}

impl Check {
    /// Looks until it is in order, or will not be, or the time is over.
    async fn of<T>(
        name: impl Into<String>,
        until: Instant,
        ask: impl AsyncFn() -> Result<T, Status>,
        judge: impl FnOnce(&T) -> Result<String, String>,
    ) -> (Self, Option<T>) {
        let (name, start) = (name.into(), Instant::now());
        let answer = answered(until, ask).await;
        let (found, answer) = match answer {
            Ok(answer) => (judge(&answer), Some(answer)),
            Err(status) => (Err(Refused::from(status).to_string()), None),
        };
        let answer = answer.filter(|_| found.is_ok());
        (Self { name, took: start.elapsed(), found }, answer)
    }

    fn value(&self) -> Value {
        let took = u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX);
        let (Ok(found) | Err(found)) = &self.found;
        json!({"check": self.name, "ok": self.found.is_ok(), "took_ms": took, "found": found})
    }
}

/// Asks again while it may pass and there is time.
async fn answered<T>(
    until: Instant,
    ask: impl AsyncFn() -> Result<T, Status>,
) -> Result<T, Status> {
    loop {
        let answer = tokio::time::timeout_at(until, ask()).await;
        let answer = answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("the time is over")));
        match answer {
            Err(status) if Instant::now() + PAUSE < until && may_pass(&status) => {
                tokio::time::sleep(PAUSE).await;
            }
            answer => return answer,
        }
    }
}

fn may_pass(status: &Status) -> bool {
    Refused::from(status.clone()).may_pass()
}

/// What a target says of itself, and whether it answers.
async fn target(remote: &Remote, target: &'static str, until: Instant) -> Vec<Check> {
    let (health, here) =
        Check::of(format!("{target} health"), until, || health(remote, target), told_health).await;
    let mut checks = vec![health];
    if here == Some(ServingStatus::Serving) {
        let judge = |listed: &Option<Vec<String>>| told_services(target, listed.as_deref());
        let name = format!("{target} reflection");
        checks.push(Check::of(name, until, || services(remote, target), judge).await.0);
    }
    if target != chassis::assembly::GATEWAY {
        let reads = |(): &()| Ok("answers".to_owned());
        let name = format!("{target} read");
        checks.push(Check::of(name, until, || read(remote, target), reads).await.0);
    }
    checks
}

/// What the process at a target's address says of the target; `ServiceUnknown` when another process has it.
async fn health(remote: &Remote, target: &str) -> Result<ServingStatus, Status> {
    let request = HealthCheckRequest { service: target.to_owned() };
    match HealthClient::new(remote.way(target)).check(request).await {
        Ok(answer) if answer.get_ref().status() == ServingStatus::Serving => {
            Ok(ServingStatus::Serving)
        }
        Ok(answer) => Err(Status::unavailable(answer.get_ref().status().as_str_name())),
        Err(status) if status.code() == Code::NotFound => Ok(ServingStatus::ServiceUnknown),
        Err(status) => Err(status),
    }
}

fn told_health(status: &ServingStatus) -> Result<String, String> {
    Ok(match status {
        ServingStatus::Serving => "SERVING".to_owned(),
        _ => "not in the process at this address".to_owned(),
    })
}

/// The services that reflection lists; nothing when it is off.
async fn services(remote: &Remote, target: &str) -> Result<Option<Vec<String>>, Status> {
    let list = MessageRequest::ListServices(String::new());
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(list) };
    let asked = futures::stream::iter([request]);
    let mut client = ServerReflectionClient::new(remote.way(target));
    let answer = match client.server_reflection_info(asked).await {
        Err(status) if status.code() == Code::Unimplemented => return Ok(None),
        answer => answer?.into_inner().message().await?,
    };
    match answer.and_then(|it| it.message_response) {
        Some(MessageResponse::ListServicesResponse(it)) => {
            Ok(Some(it.service.into_iter().map(|it| it.name).collect()))
        }
        _ => Err(Status::internal("reflection did not list the services")),
    }
}

fn told_services(target: &str, listed: Option<&[String]>) -> Result<String, String> {
    let Some(listed) = listed else { return Ok("off".to_owned()) };
    let package = format!("rapport.{target}.");
    let own = listed.iter().filter(|it| it.starts_with(&package)).count();
    match own {
        0 if target != chassis::assembly::GATEWAY => Err(format!("lists nothing of {package}*")),
        _ => Ok(format!("lists {} services, {own} of them its own", listed.len())),
    }
}

/// A question that costs little and is answered from the target's own store.
async fn read(remote: &Remote, target: &str) -> Result<(), Status> {
    macro_rules! page {
        ($client:ident.$list:ident, $request:ident) => {{
            let request =
                $request { parent: remote.parent.clone(), page_size: 1, ..Default::default() };
            remote.$client.clone().$list(request).await.map(|_: Response<_>| ())
        }};
    }
    match target {
        "profiles" => page!(parties.list_parties, ListPartiesRequest),
        "content" => page!(modules.list_modules, ListModulesRequest),
        "decisioning" => page!(packs.list_rule_packs, ListRulePacksRequest),
        "journeys" => page!(journeys.list_journeys, ListJourneysRequest),
        "delivery" => page!(delivery.list_touches, ListTouchesRequest),
        "feedback" => page!(surveys.list_surveys, ListSurveysRequest),
        "kpis" => page!(metrics.list_metrics, ListMetricsRequest),
        "audit" => page!(audit.search_events, SearchEventsRequest),
        other => Err(Status::internal(format!("no question is known that {other} answers"))),
    }
}
