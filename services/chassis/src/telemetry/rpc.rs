//! The metrics and span of one RPC, server and client side, by the OpenTelemetry conventions of 1.42.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter, UpDownCounter};
use tracing::{Span, field::Empty};

use crate::status::{Reason, code_name, is_server_fault};

/// The attribute that `rpc.status_code` will replace in a later release of the conventions.
pub const STATUS_CODE: &str = "rpc.response.status_code";

/// What stands for a method nobody declared, so that a client cannot invent label values.
pub const OTHER: &str = "_OTHER";

/// Seconds; the boundaries the conventions give `rpc.*.call.duration`.
const BOUNDARIES: [f64; 13] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5];

/// The instruments of the layer and of peers.
#[derive(Clone, Debug)]
pub struct Instruments {
    server: Histogram<f64>,
    client: Histogram<f64>,
    pub(crate) in_flight: UpDownCounter<i64>,
    in_flight_limit: Gauge<u64>,
    pub(crate) streams: UpDownCounter<i64>,
    streams_limit: Gauge<u64>,
    shed: Counter<u64>,
    rejections: Counter<u64>,
    panics: Counter<u64>,
}

impl Instruments {
    pub fn new(meter: &Meter) -> Self {
        let duration = |name: &'static str, about: &'static str| {
            let mut boundaries = BOUNDARIES.to_vec();
            boundaries.push(10.0);
            meter
                .f64_histogram(name)
                .with_unit("s")
                .with_description(about)
                .with_boundaries(boundaries)
                .build()
        };
        let counter = |name: &'static str, about: &'static str| {
            meter.u64_counter(name).with_description(about).build()
        };
        Self {
            server: duration("rpc.server.call.duration", "Duration of calls this process answered"),
            client: duration(
                "rpc.client.call.duration",
                "Duration of calls this process made to other targets",
            ),
            in_flight: meter
                .i64_up_down_counter("rapport.inflight")
                .with_description("Calls being worked on")
                .build(),
            in_flight_limit: meter
                .u64_gauge("rapport.inflight.limit")
                .with_description("Calls that may be worked on at once")
                .build(),
            streams: meter
                .i64_up_down_counter("rapport.streams")
                .with_description("Streams held open")
                .build(),
            streams_limit: meter
                .u64_gauge("rapport.streams.limit")
                .with_description("Streams that may be held open at once")
                .build(),
            shed: counter("rapport.shed", "Calls refused because the process was at its limit"),
            rejections: counter(
                "rapport.auth.rejections",
                "Calls refused for their token or permission",
            ),
            panics: counter("rapport.rpc.panics", "Handlers that panicked"),
        }
    }

    pub(crate) fn answered(&self, method: &'static str, code: i32, took: Duration) {
        self.server.record(took.as_secs_f64(), &attributes(method, code, is_server_fault(code)));
    }

    pub(crate) fn called(&self, method: &'static str, target: &str, code: i32, took: Duration) {
        let mut attributes = attributes(method, code, code != 0);
        attributes.push(KeyValue::new("server.address", target.to_owned()));
        self.client.record(took.as_secs_f64(), &attributes);
    }

    pub(crate) fn limits(&self, calls: usize, streams: usize) {
        self.in_flight_limit.record(calls as u64, &[]);
        self.streams_limit.record(streams as u64, &[]);
    }

    /// Refused for a limit: `in_flight` or `streams`.
    pub(crate) fn shed(&self, method: &'static str, limit: &'static str) {
        self.shed.add(1, &[KeyValue::new("reason", limit), KeyValue::new("method", method)]);
    }

    pub(crate) fn rejected(&self, method: &'static str, reason: &Reason) {
        self.rejections
            .add(1, &[KeyValue::new("reason", reason.name), KeyValue::new("method", method)]);
    }

    pub(crate) fn panicked(&self, method: &'static str) {
        self.panics.add(1, &[KeyValue::new("method", method)]);
    }
}

fn attributes(method: &'static str, code: i32, failed: bool) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new("rpc.system.name", "grpc"),
        KeyValue::new("rpc.method", method),
        KeyValue::new(STATUS_CODE, code_name(code)),
    ];
    if failed {
        attributes.push(KeyValue::new("error.type", code_name(code)));
    }
    attributes
}

pub(crate) fn server_span(method: &'static str) -> Span {
    tracing::info_span!(
        "rpc.server",
        otel.name = method,
        otel.kind = "server",
        otel.status_code = Empty,
        rpc.system.name = "grpc",
        rpc.method = method,
        rpc.response.status_code = Empty,
        "error.type" = Empty,
    )
}

pub(crate) fn client_span(method: &'static str, target: &str) -> Span {
    tracing::info_span!(
        "rpc.client",
        otel.name = method,
        otel.kind = "client",
        otel.status_code = Empty,
        rpc.system.name = "grpc",
        rpc.method = method,
        rpc.response.status_code = Empty,
        server.address = target,
        "error.type" = Empty,
    )
}

/// Records the outcome; a fault marks the span as an error.
pub(crate) fn close_span(span: &Span, code: i32, failed: bool) {
    span.record(STATUS_CODE, code_name(code));
    if failed {
        span.record("error.type", code_name(code));
        span.record("otel.status_code", "ERROR");
    }
}
