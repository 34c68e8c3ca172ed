//! Traits and segments: definitions, who crosses when, and that the log alone says so.

mod crossings;
mod definitions;
mod history;
mod lag;
mod members;
mod neighbourhood;

use std::time::Duration;

use authored::calendar;
use chassis::testing::START;
use eventstore::{Decider as _, Recorded, Store};
use prost::Message as _;
use rapport_proto::profiles::v1::membership_event::Event;
use rapport_proto::profiles::v1::segment_service_client::SegmentServiceClient;
use rapport_proto::types::{Clear, Money, clear};

use super::*;
use crate::domain::membership::Membership;
use crate::segments::facts::{self, Asked, Needs};
use crate::segments::{CONSUMER, Definitions};

const DAY: i64 = 86_400_000_000;

/// Days after the start.
fn day(days: i64) -> Timestamp {
    Timestamp(START.0 + days * DAY)
}

fn counted(id: &str) -> proto::Trait {
    proto::Trait {
        r#trait: id.into(),
        kind: proto::TraitKind::Count.into(),
        event: "Order".into(),
        ..Default::default()
    }
}

fn kind(id: &str, kind: proto::TraitKind) -> proto::Trait {
    proto::Trait { kind: kind.into(), ..counted(id) }
}

impl World {
    fn segments(&self) -> SegmentServiceClient<Connection> {
        SegmentServiceClient::new(self.harness.admin())
    }

    fn store(&self) -> &Store {
        &self.harness.deps("profiles").store
    }

    fn now(&self) -> Timestamp {
        self.harness.clock.now()
    }

    async fn save_trait(&self, stated: proto::Trait) -> proto::SaveTraitResponse {
        let request = proto::SaveTraitRequest {
            parent: parent(),
            definition: Some(proto::save_trait_request::Definition::Trait(stated)),
            ..Default::default()
        };
        self.segments().save_trait(request).await.expect("saved").into_inner()
    }

    async fn save_segment(&self, id: &str, rule: &str) -> proto::SaveSegmentResponse {
        let saved = self.segments().save_segment(segment(id, rule)).await;
        saved.expect("saved").into_inner()
    }

    /// Orders of a party at these instants; each has a message id of its own.
    async fn orders(&self, party_id: &str, at: &[Timestamp]) {
        let orders = at.iter().map(|at| order(party_id, *at, 10)).collect();
        self.report(orders).await;
    }

    async fn report(&self, interactions: Vec<proto::NewInteraction>) {
        let request = proto::RecordInteractionsRequest {
            parent: format!("tenants/{ACME}/sources/shop"),
            interactions,
            ..Default::default()
        };
        let reply = self.sources().record_interactions(request).await.expect("recorded");
        let verdicts = reply.into_inner().verdicts;
        assert!(verdicts.iter().all(|it| it.code.is_empty()), "{verdicts:?}");
    }

    /// A source whose orders have a total and a code.
    async fn shop(&self) {
        self.sources().register_source(source_registration("shop")).await.expect("registered");
    }

    /// Waits until everything that is due now has happened: events are followed, timers have fired.
    async fn settle(&self) {
        let (deps, store) = (self.harness.deps("profiles"), self.store());
        let settled = async {
            loop {
                let head = store.read_head().await.expect("read").position;
                let followed = deps.handled(CONSUMER, "profiles").await.expect("read") == head;
                let due = store.next_due().await.expect("read").is_some_and(|it| it <= self.now());
                if followed && !due && store.read_head().await.expect("read").position == head {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), settled).await.expect("settled");
    }

    /// Moves the clock and lets happen what then happens.
    async fn pass(&self, to: Timestamp) {
        self.harness.clock.set(to);
        self.settle().await;
    }

    /// The segments a party is in by the facts alone, whatever was stated.
    async fn inside(&self, party_id: &str) -> Vec<String> {
        let live = Definitions::new(self.store()).live(ACME).await.expect("live");
        let needs = Needs::of_party(live.segments.values().map(|it| &*it.needs));
        let asked = [Asked::new(party_id, &needs)];
        let found = facts::load(self.store(), &live, ACME, &asked, self.now()).await;
        let found = &found.expect("read")[0];
        let inside = live.segments.values();
        let inside = inside.filter(|it| found.hold(&it.definition.rule, self.now()));
        inside.map(|it| it.definition.id.clone()).collect()
    }

    /// All events about a membership.
    async fn memberships(&self, party_id: &str, segment_id: &str) -> Vec<Event> {
        let stream = format!("{}/{party_id}.{segment_id}", Membership::AGGREGATE);
        let events = self.store().read_stream(ACME, &stream, eventstore::AsOf::Now).await;
        let events: Vec<Recorded> = events.expect("read");
        events.iter().map(|it| it.decode().expect("decoded").expect("a membership")).collect()
    }

    /// Crossings as `(in, at, caused by time)`.
    async fn crossings(&self, party_id: &str, segment_id: &str) -> Vec<(bool, Timestamp, bool)> {
        let at = |time: Option<prost_types::Timestamp>| {
            Timestamp::from_proto(&time.expect("an instant")).expect("an instant")
        };
        let events = self.memberships(party_id, segment_id).await;
        let crossing = |event| match event {
            Event::Entered(it) => Some((true, at(it.crossed_at), it.cause_position == 0)),
            Event::Exited(it) => Some((false, at(it.crossed_at), it.cause_position == 0)),
            Event::CrossingExpected(_) => None,
        };
        events.into_iter().filter_map(crossing).collect()
    }

    /// How many timers of crossings stand.
    async fn timers(&self) -> i64 {
        let sql = "SELECT COUNT(*) FROM timer WHERE kind = 'segment.crossing'";
        self.store().query(sql, vec![]).await.expect("read")[0].int(0).expect("a count")
    }

    async fn members(&self, segment_id: &str) -> Vec<String> {
        let request = proto::ListSegmentMembersRequest {
            parent: segment_name(segment_id),
            ..Default::default()
        };
        let reply = self.segments().list_segment_members(request).await.expect("listed");
        reply.into_inner().members.into_iter().map(|it| it.party_id).collect()
    }

    async fn set_attribute(&self, party_id: &str, name: &str, value: clear::Value) {
        let request = proto::SetAttributesRequest {
            name: party_name(party_id),
            attributes: [(name.to_owned(), Clear { value: Some(value) })].into(),
            ..Default::default()
        };
        self.parties().set_attributes(request).await.expect("set");
    }
}

fn segment(id: &str, rule: &str) -> proto::SaveSegmentRequest {
    let segment = proto::Segment { segment: id.into(), rule: rule.into(), ..Default::default() };
    proto::SaveSegmentRequest {
        parent: parent(),
        definition: Some(proto::save_segment_request::Definition::Segment(segment)),
        request_id: String::new(),
    }
}

fn segment_name(id: &str) -> String {
    format!("tenants/{ACME}/segments/{id}")
}

fn order(party_id: &str, at: Timestamp, euros: i64) -> proto::NewInteraction {
    let text = |text: &str| prost_types::Value {
        kind: Some(prost_types::value::Kind::StringValue(text.into())),
    };
    let amount = [("currency_code", text("EUR")), ("amount", text(&euros.to_string()))];
    let total =
        prost_types::Struct { fields: amount.map(|(name, value)| (name.to_owned(), value)).into() };
    let total = prost_types::Value { kind: Some(prost_types::value::Kind::StructValue(total)) };
    proto::NewInteraction {
        message_id: format!("{party_id}-{}", at.0),
        name: "Order".into(),
        occurred_time: time(at),
        party: Some(proto::new_interaction::Party::PartyId(party_id.into())),
        properties: Some(prost_types::Struct { fields: [("total".to_owned(), total)].into() }),
        ..Default::default()
    }
}

/// Calls every RPC of the service once, for the table of all calls.
pub(super) async fn call_every_rpc(
    connection: &Connection,
    parent: &str,
    answers: &mut Vec<(String, Result<Vec<u8>, Status>)>,
) {
    let mut client = SegmentServiceClient::new(connection.clone());
    macro_rules! call {
        ($rpc:literal, $method:ident, $request:expr) => {{
            let reply = client.$method($request).await;
            let path = concat!("/rapport.profiles.v1.SegmentService/", $rpc).to_owned();
            answers.push((path, reply.map(|it| it.into_inner().encode_to_vec())));
        }};
    }
    let parent = parent.to_owned();
    let name = format!("{parent}/segments/buyers");
    let definition = Some(proto::save_trait_request::Definition::Trait(counted("orders")));
    let save = proto::SaveTraitRequest { parent: parent.clone(), definition, ..Default::default() };
    call!("SaveTrait", save_trait, save);
    let list = proto::ListTraitsRequest { parent: parent.clone(), ..Default::default() };
    call!("ListTraits", list_traits, list);
    let save = segment("buyers", "true");
    let save = proto::SaveSegmentRequest { parent: parent.clone(), ..save };
    call!("SaveSegment", save_segment, save);
    let get = proto::GetSegmentRequest { name: name.clone(), ..Default::default() };
    call!("GetSegment", get_segment, get);
    let list = proto::ListSegmentsRequest { parent: parent.clone(), ..Default::default() };
    call!("ListSegments", list_segments, list);
    let preview =
        proto::PreviewSegmentRequest { parent, rule: "true".into(), ..Default::default() };
    call!("PreviewSegment", preview_segment, preview);
    let members = proto::ListSegmentMembersRequest { parent: name, ..Default::default() };
    call!("ListSegmentMembers", list_segment_members, members);
}
