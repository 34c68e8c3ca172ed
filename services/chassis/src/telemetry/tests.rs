use eventstore::metric::Counter;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use rapport_proto::eventlog::v1::event_log_service_client::EventLogServiceClient;
use rapport_proto::eventlog::v1::{GetHeadRequest, ReadEventsRequest};
use tonic::Request;

use super::*;
use crate::assembly::Target;
use crate::service::Service;
use crate::testing::{Harness, OtlpReceiver};

const PROFILES: Target = Target {
    name: "profiles",
    schema: eventstore::Schema::default,
    reasons: &[],
    service: |_| Service::new(),
};

#[tokio::test]
async fn metrics_are_served_with_descriptions_and_the_level_can_change() {
    let settings = settings::Settings::default().telemetry;
    let telemetry = start(&settings, "rapport-test").expect("started");
    static TEST: Metric<Counter, 1> = Metric::counter("rapport.test", ["what"], "A test");
    TEST.add(1, ["text"]);
    TEST.add(1, [""]);
    let text = telemetry.metrics_text().expect("encoded");
    assert!(text.contains("# HELP rapport_test_total A test"), "{text}");
    assert!(text.contains("rapport_test_total{what=\"text\"} 1"), "{text}");
    assert!(text.contains("rapport_test_total 1"), "an empty label is none: {text}");
    assert!(text.contains("rapport_build_info{version="), "{text}");
    telemetry.set_log_level("warn,chassis=debug").expect("changed");
    assert!(telemetry.log_level().contains("chassis=debug"));
    assert!(telemetry.set_log_level("loud").is_err());
    telemetry.set_log_level("info").expect("changed back");
    telemetry.flush(Duration::from_secs(5)).await;
}

/// The subscriber is this thread's only: calls in memory stay on it.
#[tokio::test]
async fn a_call_and_the_call_it_makes_are_one_trace_sent_by_otlp() {
    let receiver = OtlpReceiver::start().await;
    let mut settings = settings::Settings::default().telemetry;
    settings.otlp_endpoint = receiver.endpoint();
    let (telemetry, subscriber) = build(&settings, "rapport-profiles").expect("built");
    let harness = Harness::start(&[PROFILES]).await;
    {
        let _here = tracing::subscriber::set_default(subscriber);
        let mut client = EventLogServiceClient::new(harness.admin());
        let mut request =
            Request::new(ReadEventsRequest { source: "profiles".into(), ..Default::default() });
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        request.metadata_mut().insert("traceparent", parent.parse().expect("ASCII"));
        client.read_events(request).await.expect("answered");
        let unknown = GetHeadRequest { source: "nowhere".into() };
        client.get_head(unknown).await.expect_err("no such source");
        let mut peer = EventLogServiceClient::new(harness.deps("profiles").peers.to("profiles"));
        peer.get_head(GetHeadRequest { source: "profiles".into() }).await.expect("answered");
    }
    telemetry.flush(Duration::from_secs(20)).await;

    let server = receiver.wait_for_span("rapport.eventlog.v1.EventLogService/ReadEvents").await;
    assert_eq!(server.service, "rapport-profiles");
    assert_eq!(server.span.kind(), SpanKind::Server);
    assert_eq!(eventstore::hex(&server.span.trace_id), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(eventstore::hex(&server.span.parent_span_id), "b7ad6b7169203331");
    for (key, value) in [
        ("rpc.system.name", "grpc"),
        ("rpc.method", "rapport.eventlog.v1.EventLogService/ReadEvents"),
        ("rpc.response.status_code", "OK"),
    ] {
        assert_eq!(server.attribute(key), Some(value), "{key}");
    }
    assert_eq!(server.attribute("error.type"), None);

    let is = |kind: SpanKind, code: &'static str| {
        move |received: &crate::testing::ReceivedSpan| {
            received.span.name.ends_with("/GetHead")
                && received.span.kind() == kind
                && received.attribute("rpc.response.status_code") == Some(code)
        }
    };
    let refused = receiver.wait_for(is(SpanKind::Server, "NOT_FOUND")).await;
    let status = refused.span.status.clone().unwrap_or_default();
    assert_ne!(status.code(), StatusCode::Error, "a caller's mistake is no fault of the server");

    let client = receiver.wait_for(is(SpanKind::Client, "OK")).await;
    assert_eq!(client.attribute("server.address"), Some("profiles"));
    let server =
        receiver.wait_for(|it| is(SpanKind::Server, "OK")(it) && it.follows(&client)).await;
    assert_eq!(server.span.trace_id, client.span.trace_id);
}

/// Nobody listens there.
#[tokio::test]
async fn what_cannot_be_sent_by_otlp_is_counted() {
    let mut settings = settings::Settings::default().telemetry;
    let seen = start(&settings, "rapport-test").expect("started");
    settings.otlp_endpoint = format!("http://127.0.0.1:{}", eventstore::testing::free_port());
    let (telemetry, subscriber) = build(&settings, "rapport-test").expect("built");
    tracing::subscriber::with_default(subscriber, || drop(tracing::info_span!("lost").entered()));
    telemetry.meter.meter("test").u64_counter("lost").build().add(1, &[]);
    telemetry.flush(Duration::from_secs(60)).await;
    let text = seen.metrics_text().expect("encoded");
    for signal in ["traces", "metrics"] {
        let series = format!("rapport_telemetry_export_failures_total{{signal=\"{signal}\"}}");
        assert!(text.contains(&series), "no {series}: {text}");
    }
}

#[test]
fn a_level_is_of_our_own_lines() {
    let shown = |text| filter(text).expect("a filter").to_string();
    for quiet in ["info", "warn", "off", "info,sqlx=debug", "sqlx=trace"] {
        assert!(!shown(quiet).contains("profiles"), "{quiet} became {}", shown(quiet));
    }
    let verbose = shown("debug,sqlx=trace");
    for part in ["info", "profiles=debug", "chassis=debug", "sqlx=trace"] {
        assert!(verbose.split(',').any(|it| it == part), "{verbose} has no {part}");
    }
    assert!(!verbose.split(',').any(|it| it == "debug"), "{verbose}");

    let services = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut there: Vec<_> = std::fs::read_dir(services)
        .expect("the services")
        .map(|it| it.expect("an entry").file_name().to_string_lossy().into_owned())
        .chain(["rapport_proto".to_owned()])
        .collect();
    there.sort();
    assert_eq!(there, OURS);
}
