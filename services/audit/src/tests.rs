//! The service through its API: the sources are real stores, what their services would have decided is appended as it
//! would stand there.

mod indexes;

use std::time::Duration;

use chassis::assembly::Target;
use chassis::status::{reason, violations};
use chassis::testing::{Connection, Harness, START, TENANTS};
use eventstore::{Decider, Metadata, ORIGIN, Outcome, Schema, Timestamp, digest, hex, next_chain};
use futures::TryStreamExt as _;
use rapport_proto::Personal;
use rapport_proto::audit::v1 as proto;
use rapport_proto::audit::v1::audit_service_client::AuditServiceClient;
use rapport_proto::delivery::v1::{TouchSent, touch_event};
use rapport_proto::profiles::v1::{PartyAttributesSet, PartyRegistered, party_event};
use rapport_proto::types::{Actor, Clear, PartyKind};
use tonic::Code;

use crate::SOURCES;

const ACME: &str = TENANTS[0];
const UMBRELLA: &str = TENANTS[1];

const TARGET: Target = Target {
    name: "audit",
    schema: crate::schema,
    reasons: crate::REASONS,
    service: crate::service,
};

/// Declares the facts of another service's aggregate, without its decisions.
macro_rules! facts {
    ($name:ident, $aggregate:literal, $event:ty) => {
        enum $name {}

        impl Decider for $name {
            const AGGREGATE: &'static str = $aggregate;
            type Command = std::convert::Infallible;
            type State = ();
            type Event = $event;
            type Refusal = std::convert::Infallible;

            fn decide(
                _: &(),
                command: Self::Command,
                _: Timestamp,
            ) -> Result<Vec<Self::Event>, Self::Refusal> {
                match command {}
            }

            fn evolve(_: (), _: &Self::Event) {}

            fn about(_: &str, _: &(), _: &Self::Event) -> eventstore::About {
                eventstore::About { party_id: "pty_1".into(), ..Default::default() }
            }
        }
    };
}

facts!(Party, "party", party_event::Event);
facts!(Touch, "touch", touch_event::Event);

const fn source(name: &'static str) -> Target {
    Target {
        name,
        schema: Schema::default,
        reasons: &[],
        service: |_| chassis::service::Service::new(),
    }
}

struct World {
    harness: Harness,
}

impl World {
    async fn start() -> Self {
        let targets: Vec<_> = SOURCES.into_iter().map(source).chain([TARGET]).collect();
        Self { harness: Harness::start(&targets).await }
    }

    /// Three facts of acme's party in two services, and one of umbrella's.
    async fn told() -> Self {
        let world = Self::start().await;
        world.append::<Party>(ACME, "profiles", vec![registered(), attributes()]).await;
        world.harness.clock.set(Timestamp(START.0 + 60_000_000));
        let sent = touch_event::Event::Sent(TouchSent::default());
        world.append::<Touch>(ACME, "delivery", vec![sent]).await;
        world.append::<Party>(UMBRELLA, "profiles", vec![registered()]).await;
        world.read_all().await;
        world
    }

    async fn append<D: Decider<State = ()>>(&self, tenant: &str, of: &str, events: Vec<D::Event>) {
        self.append_to::<D>("1", tenant, of, events).await;
    }

    async fn append_to<D: Decider<State = ()>>(
        &self,
        id: &str,
        tenant: &str,
        of: &str,
        events: Vec<D::Event>,
    ) {
        let store = &self.harness.deps(of).store;
        let actor = Actor { subject: "ada".into(), ..Actor::default() };
        let mut unit = store.unit(Metadata {
            tenant: tenant.into(),
            actor,
            method: "/test".into(),
            request_id: format!("{of}-request-{id}"),
            correlation_id: "cause".into(),
            at: self.harness.clock.now(),
            ..Metadata::default()
        });
        unit.push::<D>(id, 0, &(), events).await.expect("pushed");
        let appended = store.append(unit.finish().expect("a unit")).await;
        assert!(matches!(appended, Outcome::Committed { .. }), "{appended:?}");
    }

    /// Waits until the index has everything.
    async fn read_all(&self) {
        let head = |of: &&str| (of.to_string(), self.harness.deps(of).store.head().position);
        let deps = self.harness.deps("audit");
        let indexed = async {
            for (of, head) in SOURCES.iter().map(head) {
                while deps.handled(crate::INDEX, &of).await.expect("read") < head {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(120), indexed).await.expect("the index caught up");
    }

    fn api(&self) -> AuditServiceClient<Connection> {
        AuditServiceClient::new(self.harness.admin())
    }

    async fn search(&self, request: proto::SearchEventsRequest) -> proto::SearchEventsResponse {
        self.api().search_events(request).await.expect("searched").into_inner()
    }

    async fn verify(&self, sources: &[&str]) -> Vec<proto::VerifiedSource> {
        let sources = sources.iter().map(|it| (*it).to_owned()).collect();
        let request = proto::VerifyLogRequest { parent: parent(), sources };
        let found = self.api().verify_log(request).await.expect("verified").into_inner();
        let found: Vec<_> = found.try_collect().await.expect("verified");
        found.into_iter().filter_map(|it| it.source).collect()
    }

    async fn fault_of_profiles(&self) -> proto::VerifiedSource {
        self.verify(&["profiles"]).await.remove(0)
    }

    async fn export(&self, request: proto::ExportEventsRequest) -> Vec<serde_json::Value> {
        let pages = self.api().export_events(request).await.expect("exported").into_inner();
        let pages: Vec<_> = pages.try_collect().await.expect("exported");
        let text: String = pages.into_iter().map(|it| it.lines).collect();
        text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }
}

fn parent() -> String {
    format!("tenants/{ACME}")
}

fn all() -> proto::SearchEventsRequest {
    proto::SearchEventsRequest { parent: parent(), ..Default::default() }
}

fn registered() -> party_event::Event {
    let registered = PartyRegistered {
        kind: PartyKind::Hcp.into(),
        market: "DE".into(),
        ..PartyRegistered::default()
    };
    party_event::Event::Registered(registered)
}

fn attributes() -> party_event::Event {
    let clear = Clear { value: Some(rapport_proto::types::clear::Value::Number(3.0)) };
    party_event::Event::AttributesSet(PartyAttributesSet {
        clear: [("beds".to_owned(), clear)].into(),
        personal: Some(Personal::text("secret")),
        ..PartyAttributesSet::default()
    })
}

fn places(found: &proto::SearchEventsResponse) -> Vec<(&str, u64)> {
    found.events.iter().map(|it| (it.source.as_str(), it.position)).collect()
}

#[tokio::test]
async fn a_timeline_joins_the_services_in_the_order_of_their_clock() {
    let world = World::told().await;
    let timeline = proto::SearchEventsRequest { party_id: "pty_1".into(), ..all() };
    let found = world.search(timeline.clone()).await;
    assert_eq!(places(&found), [("profiles", 1), ("profiles", 2), ("delivery", 1)]);
    let first = &found.events[0];
    assert_eq!(first.r#type, "rapport.profiles.v1.PartyRegistered");
    assert_eq!(first.actor.as_ref().map(|it| it.subject.as_str()), Some("ada"));
    let newest = world.search(proto::SearchEventsRequest { newest_first: true, ..timeline }).await;
    assert_eq!(places(&newest), [("delivery", 1), ("profiles", 2), ("profiles", 1)]);
}

#[tokio::test]
async fn each_question_narrows() {
    let world = World::told().await;
    let sent = "rapport.delivery.v1.TouchSent";
    let later = Timestamp(START.0 + 1).to_proto();
    let questions = [
        (proto::SearchEventsRequest { correlation_id: "cause".into(), ..all() }, 3),
        (proto::SearchEventsRequest { correlation_id: "another".into(), ..all() }, 0),
        (proto::SearchEventsRequest { actor: "ada".into(), ..all() }, 3),
        (proto::SearchEventsRequest { actor: "bob".into(), ..all() }, 0),
        (proto::SearchEventsRequest { r#type: sent.into(), ..all() }, 1),
        (proto::SearchEventsRequest { source: "profiles".into(), ..all() }, 2),
        (proto::SearchEventsRequest { from: Some(later), ..all() }, 1),
        (proto::SearchEventsRequest { until: Some(later), ..all() }, 2),
        (proto::SearchEventsRequest { party_id: "pty_1".into(), r#type: sent.into(), ..all() }, 1),
    ];
    for (question, count) in questions {
        assert_eq!(world.search(question.clone()).await.events.len(), count, "{question:?}");
    }
}

#[tokio::test]
async fn pages_in_both_directions_give_each_event_once() {
    let world = World::told().await;
    for newest_first in [false, true] {
        let (mut seen, mut page_token) = (Vec::new(), String::new());
        loop {
            let request =
                proto::SearchEventsRequest { page_size: 1, page_token, newest_first, ..all() };
            let found = world.search(request).await;
            seen.extend(places(&found).into_iter().map(|(of, at)| (of.to_owned(), at)));
            page_token = found.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        seen.sort();
        let expected = [("delivery", 1), ("profiles", 1), ("profiles", 2)];
        assert_eq!(seen, expected.map(|(of, at)| (of.to_owned(), at)));
    }
}

#[tokio::test]
async fn a_tenant_sees_its_own_events_only() {
    let world = World::told().await;
    let connection = world.harness.person(UMBRELLA, "eve", &["*"]);
    let mut api = AuditServiceClient::new(connection);
    let request = proto::SearchEventsRequest { parent: format!("tenants/{UMBRELLA}"), ..all() };
    let found = api.search_events(request).await.expect("searched").into_inner();
    assert_eq!(places(&found), [("profiles", 3)]);
    let foreign = api.search_events(all()).await.expect_err("foreign");
    assert_eq!(foreign.code(), Code::NotFound);
    for name in
        ["tenants/umbrella/sources/profiles/events/1", "tenants/acme/sources/profiles/events/1"]
    {
        let request = proto::GetEventRequest { name: name.into() };
        let refused = api.get_event(request).await.expect_err("foreign");
        assert_eq!(refused.code(), Code::NotFound);
    }
}

#[tokio::test]
async fn an_event_is_shown_with_its_payload_and_what_is_sealed_stays_sealed() {
    let world = World::told().await;
    let name = format!("{}/sources/profiles/events/2", parent());
    let request = proto::GetEventRequest { name };
    let found = world.api().get_event(request).await.expect("found").into_inner();
    let json: serde_json::Value = serde_json::from_str(&found.json).expect("JSON");
    assert_eq!(json["payload"]["clear"]["beds"]["number"], 3.0);
    assert_eq!(json["payload"]["personal"], serde_json::json!({"sealed": true}));
    assert_eq!(found.chain.len(), 64);
}

#[tokio::test]
async fn an_export_carries_what_recomputes_the_chain() {
    use base64::Engine as _;
    let world = World::start().await;
    world.append::<Party>(ACME, "profiles", vec![registered(), attributes()]).await;
    world
        .append::<Touch>(ACME, "delivery", vec![touch_event::Event::Sent(TouchSent::default())])
        .await;
    world.read_all().await;
    let request = proto::ExportEventsRequest { parent: parent(), ..Default::default() };
    let lines = world.export(request.clone()).await;
    let order: Vec<_> =
        lines.iter().map(|it| (it["source"].as_str(), it["position"].as_u64())).collect();
    let expected = [("delivery", 1), ("profiles", 1), ("profiles", 2)];
    assert_eq!(order, expected.map(|(of, at)| (Some(of), Some(at))));
    let mut chain = ORIGIN;
    for (line, position) in lines[1..].iter().zip(1..) {
        let bytes = line["bytes"].as_str().expect("bytes");
        let bytes = base64::engine::general_purpose::STANDARD.decode(bytes).expect("base64");
        chain = next_chain(&chain, position, &digest(&bytes));
        assert_eq!(line["chain"], hex(&chain));
    }
    let nobody = proto::ExportEventsRequest { party_id: "pty_2".into(), ..request };
    assert_eq!(world.export(nobody).await, Vec::<serde_json::Value>::new());
}

/// Attributes of some size.
fn large(number: usize) -> party_event::Event {
    let text = format!("{number}").repeat(100 << 10);
    let value = rapport_proto::types::clear::Value::Code(text);
    party_event::Event::AttributesSet(PartyAttributesSet {
        clear: [("note".to_owned(), Clear { value: Some(value) })].into(),
        ..PartyAttributesSet::default()
    })
}

#[tokio::test]
async fn large_events_are_exported_in_many_answers_and_go_on_where_they_were_cut() {
    let world = World::start().await;
    world.append::<Party>(ACME, "profiles", (0..9).map(large).collect()).await;
    for stream in 2..6 {
        let events = (0..9).map(large).collect();
        world.append_to::<Party>(&stream.to_string(), ACME, "profiles", events).await;
    }
    world.read_all().await;
    let request = proto::ExportEventsRequest { parent: parent(), ..Default::default() };
    let positions = |lines: &[serde_json::Value]| -> Vec<u64> {
        lines.iter().filter_map(|it| it["position"].as_u64()).collect()
    };
    let lines = world.export(request.clone()).await;
    assert_eq!(positions(&lines), (1..=45).collect::<Vec<_>>());
    let after = [("profiles".to_owned(), 40)].into();
    let rest = world.export(proto::ExportEventsRequest { after, ..request.clone() }).await;
    assert_eq!(positions(&rest), [41, 42, 43, 44, 45]);
    let after = [("profiles".to_owned(), 45)].into();
    let rest = world.export(proto::ExportEventsRequest { after, ..request.clone() }).await;
    assert_eq!(positions(&rest), [0_u64; 0]);
    let after = [("crm".to_owned(), 1)].into();
    let unknown = proto::ExportEventsRequest { after, ..request };
    let refused = world.api().export_events(unknown).await.expect_err("unknown");
    assert_eq!(violations(&refused)[0].field, "after");
}

#[tokio::test]
async fn a_whole_log_verifies() {
    let world = World::told().await;
    let whole = world.verify(&[]).await;
    assert_eq!(whole.len(), SOURCES.len());
    let profiles = whole.iter().find(|it| it.source == "profiles").expect("profiles");
    assert_eq!((profiles.events, profiles.rows, profiles.head), (3, 3, 3));
    assert!(
        whole.iter().all(|it| it.gap_free && it.chain_intact && it.index_complete),
        "{whole:?}"
    );
}

/// What a fault is: gap-free, chain intact, index complete, and in words.
type Fault = (bool, bool, bool, &'static str);

impl World {
    /// Verifies what somebody did to the rows of the index.
    async fn index_says(&self, sql: &'static str) -> proto::VerifiedSource {
        let index = self.harness.deps("audit").store.database();
        assert_eq!(index.exec(sql, vec![]).await.expect("tampered"), 1, "{sql}");
        self.fault_of_profiles().await
    }

    /// Verifies what somebody did to the events of `profiles`, once its guards are gone.
    async fn log_says(
        &self,
        tampering: &[(&'static str, Vec<eventstore::Value>)],
    ) -> proto::VerifiedSource {
        let producer = self.harness.deps("profiles").store.database();
        for guard in ["DROP TRIGGER event_is_not_updated", "DROP TRIGGER event_is_not_deleted"] {
            producer.exec(guard, vec![]).await.expect("dropped");
        }
        for (sql, values) in tampering {
            assert_eq!(producer.exec(sql, values.clone()).await.expect("tampered"), 1, "{sql}");
        }
        self.fault_of_profiles().await
    }

    /// The events of `profiles` as they stand.
    async fn stored(&self) -> Vec<eventstore::Stored> {
        self.harness.deps("profiles").store.read(0, 10).await.expect("read")
    }
}

fn fault(found: &proto::VerifiedSource) -> (bool, bool, bool, &str) {
    (found.gap_free, found.chain_intact, found.index_complete, &found.fault)
}

#[tokio::test]
async fn whatever_is_done_to_the_index_is_named() {
    let other: Fault = (true, true, false, "the index says something else of position 2");
    let cases = [
        (
            "UPDATE event_index SET chain = x'00' WHERE source = 'profiles' AND position = 2",
            (true, true, false, "the index was told another event at position 2"),
        ),
        (
            "DELETE FROM event_index WHERE source = 'profiles' AND position = 2",
            (true, true, false, "the index lacks position 2"),
        ),
        (
            "INSERT INTO event_index SELECT source, 9, tenant, recorded_at, event_id, stream, version, type, occurred_at,
                 subject, actor, method, correlation_id, causation_id, party_id, reason, chain
             FROM event_index WHERE source = 'profiles' AND position = 2",
            (true, true, false, "the index has position 9, which nobody wrote"),
        ),
        ("UPDATE event_index SET party_id = 'pty_9' WHERE source = 'profiles' AND position = 2", other),
        ("UPDATE event_index SET subject = 'eve' WHERE source = 'profiles' AND position = 2", other),
        ("UPDATE event_index SET actor = x'0a03657665' WHERE source = 'profiles' AND position = 2", other),
        ("UPDATE event_index SET tenant = 'umbrella' WHERE source = 'profiles' AND position = 2", other),
        ("UPDATE event_index SET type = 'other' WHERE source = 'profiles' AND position = 2", other),
        ("UPDATE event_index SET recorded_at = 0 WHERE source = 'profiles' AND position = 2", other),
        ("UPDATE event_index SET occurred_at = 0 WHERE source = 'profiles' AND position = 2", other),
        ("UPDATE event_index SET correlation_id = '' WHERE source = 'profiles' AND position = 2", other),
    ];
    let world = World::told().await;
    let index = world.harness.deps("audit").store.database();
    index.exec("CREATE TABLE kept AS SELECT * FROM event_index", vec![]).await.expect("kept");
    for (sql, expected) in cases {
        assert_eq!(fault(&world.index_says(sql).await), expected, "{sql}");
        index.exec("DELETE FROM event_index", vec![]).await.expect("emptied");
        let back = "INSERT INTO event_index SELECT * FROM kept";
        index.exec(back, vec![]).await.expect("as it was");
    }
    assert_eq!(world.fault_of_profiles().await.fault, "");
}

#[tokio::test]
async fn whatever_is_done_to_the_log_is_named() {
    use prost::Message as _;
    let set = "UPDATE event SET envelope = $1 WHERE position = $2";
    let link = "UPDATE event SET chain = $1 WHERE position = $2";

    let world = World::told().await;
    let mut envelope = world.stored().await[1].envelope().expect("an envelope");
    envelope.actor = Some(Actor { subject: "eve".into(), ..Actor::default() });
    let forged = envelope.encode_to_vec();
    let found = world.log_says(&[(set, eventstore::values![forged.clone(), 2_u64])]).await;
    assert_eq!(fault(&found), (true, false, false, "the chain breaks at position 2"));

    // With every later link made anew it is a chain again, but another one than the index was told.
    let world = World::told().await;
    let events = world.stored().await;
    let mut chain = events[0].chain;
    let mut tampering = vec![(set, eventstore::values![forged.clone(), 2_u64])];
    for event in &events[1..] {
        let bytes = if event.position == 2 { &forged[..] } else { &event.envelope[..] };
        chain = next_chain(&chain, event.position, &digest(bytes));
        tampering.push((link, eventstore::values![chain, event.position]));
    }
    let found = world.log_says(&tampering).await;
    let told = "the index was told another event at position 2";
    assert_eq!(fault(&found), (true, true, false, told));

    let world = World::told().await;
    let found = world.log_says(&[(link, eventstore::values![ORIGIN, 1_u64])]).await;
    assert_eq!(fault(&found), (true, false, false, "the chain breaks at position 1"));

    // Two events in each other's place.
    let world = World::told().await;
    let events = world.stored().await;
    let at = |from: usize, to: u64| (set, eventstore::values![events[from].envelope.to_vec(), to]);
    let found = world.log_says(&[at(0, 2), at(1, 1)]).await;
    assert_eq!(fault(&found), (true, false, false, "the chain breaks at position 1"));

    let gone = "DELETE FROM event WHERE position = $1";
    let world = World::told().await;
    let found = world.log_says(&[(gone, eventstore::values![1_u64])]).await;
    assert_eq!(fault(&found), (false, false, false, "0 is followed by 2"));
    assert_eq!(found.events, 0);

    let world = World::told().await;
    let found = world.log_says(&[(gone, eventstore::values![3_u64])]).await;
    assert_eq!(fault(&found), (false, false, false, "nothing after position 2 of 3"));
}

#[tokio::test]
async fn what_the_index_has_not_read_is_verified_too() {
    let world = World::told().await;
    let index = world.harness.deps("audit").store.database();
    let stuck = "CREATE TRIGGER stuck BEFORE INSERT ON event_index WHEN NEW.source = 'profiles'
         BEGIN SELECT RAISE(ABORT, 'stuck'); END";
    index.exec(stuck, vec![]).await.expect("stuck");
    for party in ["2", "3"] {
        world.append_to::<Party>(party, ACME, "profiles", vec![registered()]).await;
    }
    let behind = world.fault_of_profiles().await;
    assert_eq!(fault(&behind), (true, true, false, "the index lacks position 4"));
    assert_eq!((behind.events, behind.rows, behind.head), (5, 3, 5));

    let tampering = "UPDATE event SET envelope = $1 WHERE position = 5";
    let forged = eventstore::values![b"forged".to_vec()];
    let found = world.log_says(&[(tampering, forged)]).await;
    assert_eq!(fault(&found), (true, false, false, "the index lacks position 4"));

    index.exec("DROP TRIGGER stuck", vec![]).await.expect("free");
}

#[tokio::test]
async fn an_index_that_is_behind_is_waited_for() {
    let world = World::start().await;
    world.append::<Party>(ACME, "profiles", vec![registered(), attributes()]).await;
    let found = world.fault_of_profiles().await;
    assert_eq!(fault(&found), (true, true, true, ""));
    assert_eq!((found.events, found.rows, found.head), (2, 2, 2));
}

#[tokio::test]
async fn bad_questions_name_the_field() {
    let world = World::start().await;
    let (early, late) = (START.to_proto(), Timestamp(START.0 + 1).to_proto());
    let questions = [
        (proto::SearchEventsRequest { source: "crm".into(), ..all() }, "source"),
        (proto::SearchEventsRequest { from: Some(late), until: Some(early), ..all() }, "until"),
        (proto::SearchEventsRequest { page_size: -1, ..all() }, "page_size"),
        (proto::SearchEventsRequest { page_token: "x".into(), ..all() }, "page_token"),
        (proto::SearchEventsRequest { parent: "acme".into(), ..Default::default() }, "parent"),
    ];
    for (question, field) in questions {
        let refused = world.api().search_events(question).await.expect_err("refused");
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        assert_eq!(violations(&refused)[0].field, field);
    }
    for name in ["tenants/acme/events/1", "tenants/acme/sources/profiles/events/0", "x"] {
        let request = proto::GetEventRequest { name: name.into() };
        let refused = world.api().get_event(request).await.expect_err("refused");
        assert_eq!(violations(&refused)[0].field, "name", "{refused:?}");
    }
    let request = proto::VerifyLogRequest { parent: parent(), sources: vec!["crm".into()] };
    let refused = world.api().verify_log(request).await.expect_err("refused");
    assert_eq!(violations(&refused)[0].field, "sources");
}

#[tokio::test]
async fn what_is_not_indexed_yet_is_waited_for_and_then_said() {
    let world = World::start().await;
    let min_positions = [("profiles".to_owned(), 5)].into();
    let mut api = world.api();
    let asked = api.search_events(proto::SearchEventsRequest { min_positions, ..all() });
    let refused = tokio::time::timeout(Duration::from_secs(120), asked).await.expect("an answer");
    let refused = refused.expect_err("behind");
    assert_eq!((refused.code(), reason(&refused).as_deref()), (Code::Unavailable, Some("BEHIND")));
}
