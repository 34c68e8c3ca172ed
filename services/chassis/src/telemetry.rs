//! Traces, metrics and logs, instrumented once.
//!
//! - **Spans** are `tracing` spans. Their names and attributes follow the OpenTelemetry conventions: an RPC's span is
//!   named after its full method, `rapport.profiles.v1.PartyService/RegisterParty`. They leave by OTLP when an
//!   endpoint is set; ids exist in any case, for logs and for the `traceparent` of events.
//! - **Metrics** are OpenTelemetry instruments with two readers on one provider: Prometheus on the admin port,
//!   always, and OTLP when an endpoint is set. No label ever holds a tenant, a party or a stream id.
//! - **Logs** are one line an event on stderr, as text or JSON, with the trace and span ids.
//!
//! A process starts telemetry once; a second start (tests that serve several servers) gets the first one's handle.

mod export;
pub(crate) mod line;
pub mod propagation;
pub mod rpc;

use std::sync::OnceLock;
use std::time::Duration;

use eventstore::metric::{Gauge, Metric, Metrics, Watched};
use opentelemetry::trace::{TraceContextExt as _, TraceId, TracerProvider as _};
use opentelemetry::{Context, Key, KeyValue, global};
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use prometheus::Encoder as _;
use tracing::{Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::settings;
use export::Counted;

/// Name of the meter and tracer, and the resource's `service.namespace`.
const SCOPE: &str = "rapport";

static BUILD_INFO: Metric<Gauge, 1> =
    Metric::gauge("rapport.build_info", ["version"], "Always 1; the labels tell the build");
static TASKS: Metric<Watched, 0> = Metric::watched("rapport.runtime.tasks", "Tokio tasks alive");
static QUEUE: Metric<Watched, 0> = Metric::watched(
    "rapport.runtime.queue",
    "Tokio tasks waiting for a worker in the global queue",
);
pub(crate) static LOG_CONNECTED: Metric<Gauge, 0> = Metric::gauge(
    "rapport.log.connected",
    [],
    "1 while the connection to the log stands, 0 while it does not",
);
pub(crate) static READY: Metric<Gauge, 1> = Metric::gauge(
    "rapport.ready",
    ["service"],
    "1 while a target of this process may get traffic, 0 while it may not",
);

/// Every metric of this crate.
pub static METRICS: Metrics = &[
    &rpc::SERVER_DURATION,
    &rpc::CLIENT_DURATION,
    &rpc::IN_FLIGHT,
    &rpc::IN_FLIGHT_LIMIT,
    &rpc::STREAMS,
    &rpc::STREAMS_LIMIT,
    &rpc::SHED,
    &rpc::REJECTIONS,
    &rpc::PANICS,
    &BUILD_INFO,
    &export::FAILURES,
    &TASKS,
    &QUEUE,
    &LOG_CONNECTED,
    &crate::tls::EXPIRES,
    &READY,
];

/// The running telemetry of this process.
#[derive(Clone, Debug)]
pub struct Telemetry {
    tracer: SdkTracerProvider,
    meter: SdkMeterProvider,
    prometheus: prometheus::Registry,
    level: reload::Handle<EnvFilter, Registry>,
}

/// Telemetry could not be started or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("build the OTLP exporter")]
    Otlp(#[from] opentelemetry_otlp::ExporterBuildError),
    #[error("build the Prometheus exporter")]
    Prometheus(#[from] opentelemetry_sdk::error::OTelSdkError),
    #[error("encode metrics")]
    Encode(#[from] prometheus::Error),
    #[error("`{0}` is no level or filter")]
    Filter(String),
}

static RUNNING: OnceLock<Telemetry> = OnceLock::new();

/// Starts telemetry for this process under a service name such as `rapport-profiles`, inside a Tokio runtime.
pub fn start(settings: &settings::Telemetry, service: &str) -> Result<Telemetry, Error> {
    if let Some(running) = RUNNING.get() {
        return Ok(running.clone());
    }
    let (telemetry, subscriber) = build(settings, service)?;
    let telemetry = RUNNING.get_or_init(|| telemetry).clone();
    global::set_meter_provider(telemetry.meter.clone());
    eventstore::metric::start();
    global::set_tracer_provider(telemetry.tracer.clone());
    // A test harness may have a subscriber already; its logs are then its own affair.
    let _ = subscriber.try_init();
    watch_runtime();
    Ok(telemetry)
}

/// Telemetry, and the subscriber that feeds it; nothing global.
fn build(
    settings: &settings::Telemetry,
    service: &str,
) -> Result<(Telemetry, impl Subscriber + Send + Sync + 'static), Error> {
    let resource = Resource::builder()
        .with_service_name(service.to_owned())
        .with_attributes([
            KeyValue::new("service.namespace", SCOPE),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        ])
        .with_attributes(instance())
        .build();
    let (meter, prometheus) = meter(settings, resource.clone())?;
    let tracer = tracer(settings, resource)?;
    let filter = filter(&settings.log_level)?;
    let (filter, level) = reload::Layer::new(filter);
    let subscriber = tracing_subscriber::registry()
        .with(line::layer(settings.log_format, filter))
        .with(spans(&tracer));
    Ok((Telemetry { tracer, meter, prometheus, level }, subscriber))
}

impl Telemetry {
    /// The Prometheus text exposition.
    pub fn metrics_text(&self) -> Result<String, Error> {
        let mut text = Vec::new();
        prometheus::TextEncoder::new().encode(&self.prometheus.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// The log filter in force.
    pub fn log_level(&self) -> String {
        self.level.with_current(ToString::to_string).unwrap_or_default()
    }

    /// Changes the log filter while running.
    pub fn set_log_level(&self, text: &str) -> Result<(), Error> {
        let refused = || Error::Filter(text.to_owned());
        if !is_filter(text) {
            return Err(refused());
        }
        self.level.reload(filter(text)?).map_err(|_| refused())
    }

    /// Sends what is buffered, waiting at most `bound`. Exporters block, so they get a thread.
    pub async fn flush(&self, bound: Duration) {
        let (tracer, meter) = (self.tracer.clone(), self.meter.clone());
        let flush =
            tokio::task::spawn_blocking(move || (tracer.force_flush(), meter.force_flush()));
        match tokio::time::timeout(bound, flush).await {
            Ok(Ok((Ok(()), Ok(())))) => {}
            Ok(told) => tracing::warn!(?told, "the last traces or metrics were not sent"),
            Err(_) => tracing::warn!("the last traces or metrics were not sent in time"),
        }
    }
}

/// The crates whose lines are ours: they log no secret and no person's data at any level.
const OURS: [&str; 14] = [
    "audit",
    "authored",
    "chassis",
    "content",
    "decisioning",
    "delivery",
    "eventstore",
    "feedback",
    "gateway",
    "journeys",
    "kpis",
    "profiles",
    "rapport",
    "rapport_proto",
];

/// The filter of a text. A level beyond INFO is for our own lines: those of libraries may hold what goes over the wire, so
/// whoever wants them names them.
fn filter(text: &str) -> Result<EnvFilter, Error> {
    let mut parts = Vec::new();
    for part in text.split(',') {
        match part.trim().parse::<LevelFilter>() {
            Ok(level) if level > LevelFilter::INFO => {
                parts.push(LevelFilter::INFO.to_string());
                parts.extend(OURS.iter().map(|it| format!("{it}={level}")));
            }
            _ => parts.push(part.to_owned()),
        }
    }
    EnvFilter::try_new(parts.join(",")).map_err(|_| Error::Filter(text.to_owned()))
}

/// True when the text is a level or a filter directive list.
pub(crate) fn is_filter(text: &str) -> bool {
    !text.trim().is_empty() && EnvFilter::try_new(text).is_ok() && {
        // EnvFilter reads a bare unknown word as a target; a word alone shall be a level.
        text.contains(['=', ',', '[']) || text.parse::<LevelFilter>().is_ok()
    }
}

/// The trace id of the span we are in; `None` outside any trace.
pub fn current_trace_id() -> Option<String> {
    let id = Context::current().span().span_context().trace_id();
    (id != TraceId::INVALID).then(|| id.to_string())
}

/// Spans at INFO and above become OpenTelemetry spans, whatever the log level is. Events stay in the log.
fn spans<S>(tracer: &SdkTracerProvider) -> impl tracing_subscriber::Layer<S> + use<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    tracing_opentelemetry::layer()
        .with_tracer(tracer.tracer(SCOPE))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_target(false)
        .with_filter(filter_fn(|about| about.is_span() && *about.level() <= Level::INFO))
}

fn tracer(settings: &settings::Telemetry, resource: Resource) -> Result<SdkTracerProvider, Error> {
    // Without a receiver a new trace has ids and nothing more: recording it would be work for nobody.
    let ratio = if settings.otlp_endpoint.is_empty() { 0.0 } else { settings.sample_ratio };
    let root = Sampler::TraceIdRatioBased(ratio);
    let builder = SdkTracerProvider::builder()
        .with_resource(resource)
        .with_sampler(Sampler::ParentBased(Box::new(root)));
    if settings.otlp_endpoint.is_empty() {
        return Ok(builder.build());
    }
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(&settings.otlp_endpoint)
        .build()?;
    Ok(builder.with_batch_exporter(Counted(exporter)).build())
}

fn meter(
    settings: &settings::Telemetry,
    resource: Resource,
) -> Result<(SdkMeterProvider, prometheus::Registry), Error> {
    let registry = prometheus::Registry::new();
    let pull = opentelemetry_prometheus::exporter()
        .with_registry(registry.clone())
        .scope_info_enabled(false)
        .build()?;
    let builder = SdkMeterProvider::builder().with_resource(resource).with_reader(pull);
    if settings.otlp_endpoint.is_empty() {
        return Ok((builder.build(), registry));
    }
    let exporter = opentelemetry_otlp::MetricExporter::builder()
        .with_tonic()
        .with_endpoint(&settings.otlp_endpoint)
        .build()?;
    let reader = PeriodicReader::builder(Counted(exporter)).build();
    Ok((builder.with_reader(reader).build(), registry))
}

/// A name for this process, unless the deployment gives one in `OTEL_RESOURCE_ATTRIBUTES`.
fn instance() -> Option<KeyValue> {
    let key = Key::from_static_str("service.instance.id");
    let given = Resource::builder().build().get(&key).is_some();
    (!given).then(|| KeyValue::new(key, eventstore::Ids::system().random("process")))
}

/// What an SRE asks about the process itself.
fn watch_runtime() {
    BUILD_INFO.set(1.0, [env!("CARGO_PKG_VERSION")]);
    let Ok(runtime) = tokio::runtime::Handle::try_current() else {
        return;
    };
    let tasks = runtime.clone();
    TASKS.watch(move || tasks.metrics().num_alive_tasks() as f64);
    QUEUE.watch(move || runtime.metrics().global_queue_depth() as f64);
}

#[cfg(test)]
mod tests;
