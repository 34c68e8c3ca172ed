//! One command sent to `profiles` in one process, with a consumer in another, is one trace.

use chassis::testing::OtlpReceiver;
use rapport_proto::profiles::v1::RegisterPartyRequest;
use rapport_proto::types::PartyKind;
use support::{Platform, Topology};

use crate::NODE;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_database_relay_and_consumer_spans_are_one_trace() {
    let receiver = OtlpReceiver::start().await;
    let mut platform = Platform::new(Topology::Distributed, NODE).await;
    platform.extra.push(format!("telemetry.otlp_endpoint={}", receiver.endpoint()));
    platform.start(None);
    let mut request = tonic::Request::new(RegisterPartyRequest {
        parent: "tenants/acme".into(),
        kind: PartyKind::Hcp.into(),
        market: "DE".into(),
        ..RegisterPartyRequest::default()
    });
    let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    request.metadata_mut().insert("traceparent", parent.parse().expect("ASCII"));
    platform.client("acme").parties.register_party(request).await.expect("granted");

    let named = async |prefix: &'static str| {
        receiver
            .wait_for(|it| {
                it.span.name.starts_with(prefix)
                    && it.span.trace_id.iter().map(|it| format!("{it:02x}")).collect::<String>()
                        == TRACE
            })
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
    assert!(
        consumer.span.links.iter().any(|it| it.span_id == relay.span.span_id),
        "the consumer's span is linked to the one that sent the event"
    );
    assert_eq!(server.service, "rapport-profiles");
    assert_eq!(consumer.service, "rapport-mirror");
    assert_eq!(database.attribute("db.system.name"), Some("postgresql"));
    assert_eq!(server.attribute("rpc.response.status_code"), Some("OK"));
    platform.stop();
}
