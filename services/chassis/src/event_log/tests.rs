//! Who reads what of a source, and how it pages, follows and heals.

use std::convert::Infallible;

use eventstore::{Decider, Metadata, Schema, Timestamp};
use rapport_proto::profiles::v1::SourceDisabled;
use rapport_proto::profiles::v1::source_event::Event;
use rapport_proto::types::Envelope;

use super::*;
use crate::assembly::Target;
use crate::service::Service;
use crate::status::reason;
use crate::testing::{Connection, Harness};

const READ: &[&str] = &["eventlog.events.read"];

const PROFILES: Target =
    Target { name: "profiles", schema: Schema::default, reasons: &[], service: |_| Service::new() };

/// States whatever it is told.
struct Anything;

impl Decider for Anything {
    const AGGREGATE: &'static str = "source";
    type Command = ();
    type State = ();
    type Event = Event;
    type Refusal = Never;

    fn decide(_: &(), _: (), _: Timestamp) -> Result<Vec<Event>, Never> {
        Ok(vec![Event::Disabled(SourceDisabled::default())])
    }

    fn evolve(_: (), _: &Event) {}
}

#[derive(Debug, thiserror::Error)]
#[error("never")]
struct Never(Infallible);

async fn append(harness: &Harness, tenant: &str, number: usize) {
    let meta = Metadata {
        tenant: tenant.into(),
        method: "test".into(),
        request_id: format!("request-{number}"),
        at: harness.clock.now(),
        ..Metadata::default()
    };
    let store = &harness.deps("profiles").store;
    store.execute::<Anything>(&format!("s{number}"), &meta, ()).await.expect("appended");
}

/// Five events: acme, umbrella, acme, umbrella, acme.
async fn harness() -> Harness {
    let harness = Harness::start(&[PROFILES]).await;
    for number in 1..=5 {
        append(&harness, if number % 2 == 1 { "acme" } else { "umbrella" }, number).await;
    }
    harness
}

async fn read(
    connection: Connection,
    after: u64,
    limit: i32,
) -> Result<ReadEventsResponse, Status> {
    let request = ReadEventsRequest { source: "profiles".into(), after_position: after, limit };
    Ok(EventLogServiceClient::new(connection).read_events(request).await?.into_inner())
}

fn positions(reply: &ReadEventsResponse) -> Vec<u64> {
    reply.events.iter().map(|event| event.position).collect()
}

#[tokio::test]
async fn a_person_sees_the_events_of_its_own_tenant_only() {
    let harness = harness().await;
    for (tenant, expected) in [("acme", vec![1, 3, 5]), ("umbrella", vec![2, 4])] {
        let reply = read(harness.person(tenant, "ada", READ), 0, 0).await.expect("read");
        assert_eq!(positions(&reply), expected);
        assert_eq!((reply.next_after_position, reply.head_position), (5, 0));
        let tenants = reply.events.iter().map(|event| {
            <Envelope as prost::Message>::decode(event.envelope.as_slice())
                .expect("an envelope")
                .tenant
        });
        assert!(tenants.into_iter().all(|of| of == tenant));
    }
}

#[tokio::test]
async fn nobody_hears_of_another_tenants_events_by_any_method() {
    let harness = harness().await;
    let mut client = EventLogServiceClient::new(harness.person("umbrella", "eve", READ));
    let reply = read(harness.person("umbrella", "eve", READ), 4, 0).await.expect("read");
    assert_eq!((positions(&reply), reply.head_position), (vec![], 0), "only acme wrote after 4");

    let request = TailEventsRequest { source: "profiles".into(), after_position: 0 };
    let mut tail = client.tail_events(request).await.expect("begun").into_inner();
    append(&harness, "acme", 6).await;
    append(&harness, "umbrella", 7).await;
    for expected in [2, 4, 7] {
        let reply = tail.message().await.expect("no error").expect("goes on");
        assert_eq!(reply.event.expect("an event").position, expected);
    }

    let head = || GetHeadRequest { source: "profiles".into() };
    let status = client.get_head(head()).await.expect_err("tells about all tenants");
    assert_eq!(reason(&status).as_deref(), Some("PERMISSION_MISSING"));
    let operator = harness.person("umbrella", "otto", &["eventlog.heads.read"]);
    for connection in [operator, harness.target("kpis", "profiles", "")] {
        let reply = EventLogServiceClient::new(connection).get_head(head()).await.expect("told");
        assert_eq!(reply.get_ref().position, 7);
    }
}

#[tokio::test]
async fn a_target_reads_everything_and_pages_end_where_the_next_begins() {
    let harness = harness().await;
    let target = || harness.target("kpis", "profiles", "");
    let first = read(target(), 0, 2).await.expect("read");
    assert_eq!(
        (positions(&first), first.next_after_position, first.head_position),
        (vec![1, 2], 2, 5)
    );
    let rest = read(target(), first.next_after_position, 1000).await.expect("read");
    assert_eq!((positions(&rest), rest.next_after_position), (vec![3, 4, 5], 5));
    let end = read(target(), 5, 0).await.expect("read");
    assert_eq!((positions(&end), end.next_after_position), (vec![], 5));
}

#[tokio::test]
async fn odd_requests_are_refused_with_the_field() {
    let harness = harness().await;
    for limit in [-1, 1001] {
        let status = read(harness.admin(), 0, limit).await.expect_err("refused");
        assert_eq!(crate::status::violations(&status)[0].field, "limit");
    }
    let request = GetHeadRequest { source: "else\u{202e}where".into() };
    let status =
        EventLogServiceClient::new(harness.admin()).get_head(request).await.expect_err("refused");
    assert_eq!(
        (status.code(), reason(&status).as_deref()),
        (tonic::Code::NotFound, Some("NOT_FOUND"))
    );
}

#[tokio::test]
async fn strangers_and_people_without_the_permission_read_nothing() {
    let harness = harness().await;
    let status = read(harness.without_token(), 0, 0).await.expect_err("no token");
    assert_eq!(reason(&status).as_deref(), Some("TOKEN_MISSING"));
    let status = read(harness.person("acme", "ada", &["profiles.parties.read"]), 0, 0)
        .await
        .expect_err("denied");
    assert_eq!(reason(&status).as_deref(), Some("PERMISSION_MISSING"));
    let status = read(harness.person("stranger", "eve", READ), 0, 0).await.expect_err("denied");
    assert_eq!(reason(&status).as_deref(), Some("TENANT_UNKNOWN"));
}

#[tokio::test]
async fn a_tail_goes_on_live_and_skips_what_is_not_the_readers() {
    let harness = harness().await;
    let request = TailEventsRequest { source: "profiles".into(), after_position: 3 };
    let mut client = EventLogServiceClient::new(harness.person("acme", "ada", READ));
    let mut tail = client.tail_events(request).await.expect("begun").into_inner();
    let next = async |tail: &mut tonic::Streaming<TailEventsResponse>| {
        tail.message()
            .await
            .expect("no error")
            .and_then(|reply| reply.event)
            .expect("an event")
            .position
    };
    assert_eq!(next(&mut tail).await, 5);
    append(&harness, "umbrella", 6).await;
    append(&harness, "acme", 7).await;
    assert_eq!(next(&mut tail).await, 7);
}

#[tokio::test]
async fn a_consumer_heals_from_the_producer_with_chains_intact() {
    let harness = harness().await;
    let deps = harness.deps("profiles");
    let healer = Healer::new(deps.peers.clone());
    let healed = healer.read("profiles", 1, 3).await.expect("read");
    assert_eq!(healed, deps.store.read(1, 3).await.expect("read"));
    let error = healer.read("nowhere", 0, 3).await.expect_err("unreachable");
    assert!(error.is_transient());
}
