//! The metrics and span of one RPC, server and client side, by the OpenTelemetry conventions of 1.42.

use std::time::Duration;

use eventstore::metric::{Counter, Gauge, Histogram, Metric, UpDownCounter};
use tracing::{Span, field::Empty};

use crate::status::{code_name, is_server_fault};

/// The attribute that `rpc.status_code` will replace in a later release of the conventions.
pub const STATUS_CODE: &str = "rpc.response.status_code";

/// What stands for a method nobody declared, so that a client cannot invent label values.
pub const OTHER: &str = "_OTHER";

/// Seconds; the boundaries the conventions give `rpc.*.call.duration` and `http.server.request.duration`.
pub const BOUNDARIES: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

pub(crate) static SERVER_DURATION: Metric<Histogram, 4> = Metric::seconds(
    "rpc.server.call.duration",
    ["rpc.system.name", "rpc.method", STATUS_CODE, "error.type"],
    BOUNDARIES,
    "Duration of calls this process answered",
);
pub(crate) static CLIENT_DURATION: Metric<Histogram, 5> = Metric::seconds(
    "rpc.client.call.duration",
    ["rpc.system.name", "rpc.method", STATUS_CODE, "error.type", "server.address"],
    BOUNDARIES,
    "Duration of calls this process made to other targets",
);
pub(crate) static IN_FLIGHT: Metric<UpDownCounter, 0> =
    Metric::up_down("rapport.inflight", [], "Calls being worked on");
pub(crate) static IN_FLIGHT_LIMIT: Metric<Gauge, 0> =
    Metric::gauge("rapport.inflight.limit", [], "Calls that may be worked on at once");
pub(crate) static STREAMS: Metric<UpDownCounter, 0> =
    Metric::up_down("rapport.streams", [], "Streams held open");
pub(crate) static STREAMS_LIMIT: Metric<Gauge, 0> =
    Metric::gauge("rapport.streams.limit", [], "Streams that may be held open at once");
/// `reason`: in_flight or streams.
pub(crate) static SHED: Metric<Counter, 2> = Metric::counter(
    "rapport.shed",
    ["reason", "method"],
    "Calls refused because the process was at its limit",
);
pub(crate) static REJECTIONS: Metric<Counter, 2> = Metric::counter(
    "rapport.auth.rejections",
    ["reason", "method"],
    "Calls refused for their token or permission",
);
pub(crate) static PANICS: Metric<Counter, 1> =
    Metric::counter("rapport.rpc.panics", ["method"], "Handlers that panicked");

pub(crate) fn answered(method: &str, code: i32, took: Duration) {
    let code_name = code_name(code);
    let error = if is_server_fault(code) { code_name } else { "" };
    SERVER_DURATION.record(took, ["grpc", method, code_name, error]);
    tracing::debug!(method, code = code_name, took_ms = took.as_secs_f64() * 1e3, "answered");
}

pub(crate) fn called(method: &str, target: &str, code: i32, took: Duration) {
    let code_name = code_name(code);
    let error = if code == 0 { "" } else { code_name };
    CLIENT_DURATION.record(took, ["grpc", method, code_name, error, target]);
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
