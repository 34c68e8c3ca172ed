//! # Whether it works: metrics, figures, targets, alerts, experiments
//!
//! `kpis` reads every event of every service, its own too, whole, and is the only place that computes figures. It owns what a
//! figure means (a metric, signed off by a second person), what it should be (a target), and which arms are compared
//! (an experiment). It assigns nobody to anything and holds no personal data: sealed fields cannot be named.
//!
//! | aggregate | stream | decides |
//! |---|---|---|
//! | metric | `metric/<id>` | the life of its versions, its targets, the alerts about them |
//! | experiment | `experiment/<id>` | that an analysis is defined before its data are looked at, and when it is closed |
//!
//! ```text
//! version     DRAFT (checked) ─by somebody else─▶ APPROVED ─▶ LIVE (all of history is computed) ─▶ RETIRED
//! target      set ─▶ judged whenever a bucket closes          alert  raised ─▶ cleared (met, target changed, by hand)
//! experiment  RUNNING ─▶ CLOSED (its result stays)
//! ```
//!
//! **Computing.** A document in force is a *series*: CEL over the clear fields of a few kinds of events. Each event
//! adds *contributions* to the series that read it (`rollup`): a bucket by `occurred_at` in the metric's zone, the
//! values of dimensions, a key, a value in millionths. They are kept, because a figure drills down to its events; sums of
//! them are kept beside, in the same transaction, because most figures are sums. A series that comes later than the
//! events reads the past from the log (`past`), then the consumer feeds it.
//!
//! Invariants:
//! - A figure is a function of the events up to its positions: sums are integers, distinct and quantiles are exact, spans
//!   follow Kaplan and Meier, and nothing asks a clock. So the order in which sources arrive cannot show, a late event
//!   changes its old bucket, and a rebuild from nothing gives the same bits.
//! - Every figure names the hash of its definition and the position of each source, and lists its events.
//! - A cell with some but fewer parties of a kind than the definition allows is hidden, and with it as many others of
//!   its row, its column and its time as it takes that no sum tells it; its events are not listed. A filter or a range
//!   shows what the table shows (`rollup::suppression`, which also says what is not looked for). A party whose kind was
//!   not read yet may be of any kind.
//! - Nobody approves what they wrote. What came with the platform is in force for everybody as version 1, and changes
//!   with a release only.
//! - A comparison is withheld when the sizes of the arms contradict the plan (χ², p < 0.001), and when an arm tells of
//!   some but fewer than five patients, whose outcomes are not shown either.
//!
//! ```text
//! DraftMetric{parent: "tenants/acme", yaml: "metric: calls\nunit: COUNT\n…"} → version 1, DRAFT
//! QueryFigures{name: "tenants/acme/metrics/nps", group_by: ["market"]} → 2026-W02, DE: 41.7 (n 36, 14.2 to 69.1)
//! GetExperiment{name: "tenants/acme/experiments/winback"} → treated − control: 0.031 (−0.004 to 0.066), p 0.62
//! ```

mod consumers;
mod convert;
mod domain;
mod grpc;
mod past;
mod refusal;
pub(crate) mod rollup;
mod timers;
mod view;

#[cfg(test)]
mod tests;

pub use refusal::REASONS;

use chassis::deps::Deps;
use chassis::limited;
use chassis::service::Service;
use eventstore::{Migration, Schema};
use rapport_proto::kpis::v1::experiment_service_server::ExperimentServiceServer;
use rapport_proto::kpis::v1::metric_service_server::MetricServiceServer;

/// The tables and the view.
pub fn schema() -> Schema {
    Schema {
        migrations: vec![Migration::portable(
            "kpis/0001_kpis",
            include_str!("../migrations/0001_kpis.sql"),
        )],
        views: vec![Box::new(view::Kpis)],
    }
}

/// The service: two gRPC services, the consumer of all other services' events, what falls due, and the past that a new
/// release's metrics have not read.
pub fn service(deps: &Deps) -> Service {
    let cache = view::series::Cache::default();
    deaf(deps, &cache).consume(consumers::consumer(&cache))
}

/// The service as it is while it reads nothing that others say.
fn deaf(deps: &Deps, cache: &view::series::Cache) -> Service {
    let api = grpc::Api::new(deps, cache);
    let max_bytes = deps.max_message_bytes;
    let (store, tenants, late) = (deps.store.clone(), deps.settings.tenants.clone(), cache.clone());
    Service::new()
        .serve(limited!(MetricServiceServer::new(api.clone()), max_bytes))
        .serve(limited!(ExperimentServiceServer::new(api), max_bytes))
        .timers(&deps.store, timers::Due { cache: cache.clone() })
        .work("past", |stop| past::catch_up(store, late, tenants, stop))
}

/// What keeps figures up to date, for who measures it without a service around it.
#[cfg(feature = "testing")]
pub fn consumer() -> eventstore::Consumer {
    consumers::consumer(&view::series::Cache::default())
}
