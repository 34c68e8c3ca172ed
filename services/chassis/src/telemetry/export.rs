//! What leaves by OTLP, and how often it could not: an exporter that nobody hears is silent otherwise.

use std::time::Duration;

use eventstore::metric::{Counter, Metric};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

pub(super) static FAILURES: Metric<Counter, 1> = Metric::counter(
    "rapport.telemetry.export.failures",
    ["signal"],
    "Batches of traces or metrics that could not be sent by OTLP and are lost",
);

/// An exporter whose failures are counted.
#[derive(Debug)]
pub(super) struct Counted<E>(pub(super) E);

fn counted(signal: &str, result: OTelSdkResult) -> OTelSdkResult {
    if result.is_err() {
        FAILURES.add(1, [signal]);
    }
    result
}

impl<E: SpanExporter> SpanExporter for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        counted("traces", self.0.export(batch).await)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}

impl<E: PushMetricExporter> PushMetricExporter for Counted<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        counted("metrics", self.0.export(metrics).await)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.0.temporality()
    }
}
