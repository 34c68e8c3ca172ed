//! One command sent to `profiles` in one process, with a consumer in another, is one trace: spans, and log lines. A process
//! that stops sends what it has.

use std::collections::BTreeSet;

use chassis::testing::OtlpReceiver;
use eventstore::hex;
use rapport_proto::profiles::v1::{ContactPoint, Identifier, RegisterPartyRequest};
use rapport_proto::types::{Channel, PartyKind};
use serde_json::Value;
use support::{Client, Collector, Platform, Topology, Web, eventually};

use crate::NODE;

const NPI: &str = "1234567893";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_database_relay_and_consumer_spans_are_one_trace() {
    let receiver = OtlpReceiver::start().await;
    one_trace(&receiver, &receiver.endpoint()).await;
}

/// The same after a collector that others wrote has read it all and written it anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_hands_on_the_same_trace() {
    let receiver = OtlpReceiver::start().await;
    let collector = Collector::start(&receiver.endpoint()).await;
    one_trace(&receiver, &collector.endpoint()).await;
    // What was measured was sent when the processes stopped.
    let measured = async || receiver.metrics().iter().any(|it| it == "rpc.server.call.duration");
    eventually("metrics come through the collector", measured).await;
}

async fn one_trace(receiver: &OtlpReceiver, endpoint: &str) {
    let mut platform = traced(endpoint).await;
    register(&platform, TRACE).await;

    let named = async |prefix: &'static str| {
        receiver
            .wait_for(|it| it.span.name.starts_with(prefix) && hex(&it.span.trace_id) == TRACE)
            .await
    };
    let server = named("rapport.profiles.v1.PartyService/RegisterParty").await;
    let database = named("append profiles").await;
    let relay = named("send ").await;
    let consumer = named("process mirror.effects").await;

    use chassis::testing::ReceivedSpan;
    let child = |child: &ReceivedSpan, parent: &ReceivedSpan| {
        assert_eq!(child.span.parent_span_id, parent.span.span_id, "{}", child.span.name);
    };
    child(&database, &server);
    child(&relay, &server);
    child(&consumer, &relay);
    for (later, earlier) in [(&consumer, &relay), (&relay, &server)] {
        let linked =
            |it: &ReceivedSpan| it.span.links.iter().any(|it| it.span_id == earlier.span.span_id);
        assert!(linked(later), "{} is not linked to {}", later.span.name, earlier.span.name);
    }
    assert_eq!(server.service, "rapport-profiles");
    assert_eq!(consumer.service, "rapport-mirror");
    assert_eq!(database.attribute("db.system.name"), Some("postgresql"));
    assert_eq!(server.attribute("rpc.response.status_code"), Some("OK"));

    // What was logged meanwhile leads to the same trace and span.
    let said = platform.node("profiles").said();
    let mut lines = said.lines().filter_map(|it| serde_json::from_str::<Value>(it).ok());
    let line = lines.find(|it| it["trace_id"] == TRACE && it["message"] == "answered");
    let line = line.unwrap_or_else(|| panic!("no line of the trace: {said}"));
    assert_eq!(line["span_id"], hex(&server.span.span_id), "{line}");
    platform.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_measured_before_a_stop_is_lost() {
    let receiver = OtlpReceiver::start().await;
    let mut platform = traced(&receiver.endpoint()).await;
    let traces: Vec<_> = (1..=40).map(|it| format!("{it:032x}")).collect();
    for trace in &traces {
        register(&platform, trace).await;
    }
    // At once: most of it is still in the process.
    platform.stop();
    let spans = receiver.spans();
    let served = spans.iter().filter(|it| it.span.name.ends_with("/RegisterParty"));
    let served: BTreeSet<_> = served.map(|it| hex(&it.span.trace_id)).collect();
    let missing: Vec<_> = traces.iter().filter(|it| !served.contains(*it)).collect();
    assert!(missing.is_empty(), "{} of {} are lost", missing.len(), traces.len());
    let metrics = receiver.metrics();
    assert!(metrics.iter().any(|it| it == "rpc.server.call.duration"), "{metrics:?}");
}

/// What nobody may read in a log, at the most talkative level.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_and_no_person_is_in_a_log_line() {
    let receiver = OtlpReceiver::start().await;
    let mut platform = Platform::new(Topology::Distributed, NODE).await;
    platform.extra.push(format!("telemetry.otlp_endpoint={}", receiver.endpoint()));
    platform.extra.push("telemetry.log_level=trace".into());
    platform.start(None);
    let email = "ada.lovelace@example.org";
    let request = RegisterPartyRequest {
        parent: "tenants/acme".into(),
        kind: PartyKind::Hcp.into(),
        market: "DE".into(),
        identifiers: vec![Identifier {
            system: "npi".into(),
            value: NPI.into(),
            ..Identifier::default()
        }],
        contact_points: vec![ContactPoint {
            channel: Channel::Email.into(),
            value: email.into(),
            ..ContactPoint::default()
        }],
        ..RegisterPartyRequest::default()
    };
    let token = platform.issuer.token("acme", "tester", &["*"]);
    let mut client = Client::new(&platform.nodes()[0].grpc, &token);
    client.parties.register_party(request.clone()).await.expect("granted");
    client.parties.register_party(request).await.expect_err("the number is taken");
    receiver.wait_for(|it| it.span.name.starts_with("process mirror.effects")).await;

    let (_, password, _) = platform.nats_user("profiles");
    let files = ["kek", "service"].map(|it| std::fs::read_to_string(platform.folder().join(it)));
    let mut secrets =
        vec![email.to_owned(), NPI.to_owned(), token, password.replace(' ', "%20"), password];
    secrets.extend(files.map(|it| it.expect("a file").trim().to_owned()));
    let spans = format!("{:?}", receiver.spans());
    for secret in &secrets {
        for node in platform.nodes() {
            assert!(!node.said().contains(secret), "a log line has {secret}: {}", node.said());
        }
        assert!(!spans.contains(secret), "a span has {secret}");
    }
    assert!(platform.node("profiles").said().contains("answered"), "it is talkative");
    platform.stop();
}

/// Each call answered is a line at DEBUG, with the trace that the caller named.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_level_changes_while_it_runs() {
    let mut platform = Platform::new(Topology::Distributed, NODE).await;
    platform.extra.push("telemetry.log_level=info".into());
    platform.extra.push("telemetry.log_format=json".into());
    platform.start(None);
    let mut admin = Web::new(platform.node("profiles").admin.clone());
    let traces = [1, 2, 3].map(|it| format!("{it:032x}"));
    for (trace, then) in traces.iter().zip(["info,profiles=debug,chassis=debug", "info", "loud"]) {
        register(&platform, trace).await;
        let answer = admin.ask("PUT", "/log-level", &[], then.as_bytes()).await.expect("answered");
        let refused = answer.start.contains("400");
        assert_eq!(refused, then == "loud", "{}", answer.start);
    }
    let answer = admin.ask("GET", "/log-level", &[], &[]).await.expect("answered");
    assert_eq!(answer.text(), "info\n");
    let node = platform.node("profiles");
    let told = |trace: &String| node.said().lines().any(|it| it.contains(trace.as_str()));
    eventually("the line of the second call is written", async || told(&traces[1])).await;
    assert_eq!(traces.each_ref().map(told), [false, true, false], "{}", node.said());
    platform.stop();
}

/// A platform that sends what it measures, and logs in detail.
async fn traced(endpoint: &str) -> Platform {
    let mut platform = Platform::new(Topology::Distributed, NODE).await;
    platform.extra.push(format!("telemetry.otlp_endpoint={endpoint}"));
    platform.extra.push("telemetry.log_level=debug".into());
    platform.extra.push("telemetry.log_format=json".into());
    platform.start(None);
    platform
}

/// Registers a party in a trace.
async fn register(platform: &Platform, trace: &str) {
    let mut request = tonic::Request::new(RegisterPartyRequest {
        parent: "tenants/acme".into(),
        kind: PartyKind::Hcp.into(),
        market: "DE".into(),
        ..RegisterPartyRequest::default()
    });
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    request.metadata_mut().insert("traceparent", parent.parse().expect("ASCII"));
    platform.client("acme").parties.register_party(request).await.expect("granted");
}
