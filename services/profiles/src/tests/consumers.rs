//! What the facts of other services change here.

use std::time::Duration;

use rapport_proto::delivery::v1 as delivery;
use rapport_proto::delivery::v1::touch_event::Event as TouchEvent;
use rapport_proto::journeys::v1::InstanceAttributeSet;
use rapport_proto::types::{Clear, clear};

use super::neighbours::{line, pack};
use super::*;

const DAY: Duration = Duration::from_secs(86_400);

fn fact(at: Timestamp) -> Option<delivery::ProviderFact> {
    Some(delivery::ProviderFact {
        provider: "smtp".into(),
        provider_event_id: "e-1".into(),
        occurred_at: time(at),
    })
}

fn unsubscribed(party_id: &str, at: Timestamp) -> TouchEvent {
    TouchEvent::Unsubscribed(delivery::TouchUnsubscribed {
        fact: fact(at),
        party_id: party_id.into(),
        purpose: Purpose::Promotional.into(),
        channel: Channel::Email.into(),
        sender_id: "northwind".into(),
        market: "DE".into(),
    })
}

fn complained(party_id: &str, at: Timestamp) -> TouchEvent {
    TouchEvent::Complained(delivery::TouchComplained {
        fact: fact(at),
        party_id: party_id.into(),
        purpose: Purpose::Promotional.into(),
        channel: Channel::Email.into(),
        sender_id: "northwind".into(),
        market: "DE".into(),
    })
}

async fn consents(world: &World, party_id: &str) -> Vec<proto::Consent> {
    let list = proto::ListConsentsRequest { parent: party_name(party_id), ..Default::default() };
    world.consents().list_consents(list).await.expect("listed").into_inner().consents
}

async fn check(world: &World, party_id: &str, at: Timestamp) -> proto::CheckConsentResponse {
    let request = proto::CheckConsentRequest {
        parent: parent(),
        key: Some(consent_key(party_id)),
        time: time(at),
        ..Default::default()
    };
    world.consents().check_consent(request).await.expect("a verdict").into_inner()
}

async fn parked(world: &World) -> usize {
    let store = &world.harness.deps("profiles").store;
    eventstore::consumer::list_parked(store, 100).await.expect("read").len()
}

#[tokio::test]
async fn an_unsubscribe_and_a_complaint_withdraw_the_consent_from_when_they_were_made() {
    let world = World::among_neighbours().await;
    let start = chassis::testing::START;
    for (say, reason) in [
        (unsubscribed as fn(&str, Timestamp) -> TouchEvent, "unsubscribed"),
        (complained, "complained"),
    ] {
        let party_id = world.party_of(PartyKind::Hcp).await;
        let earlier = world.harness.clock.now();
        world.consents().record_consent(grant(&party_id)).await.expect("recorded");
        world.harness.clock.advance(DAY * 2);
        world.touched(say(&party_id, earlier.plus(DAY))).await;
        let told = consents(&world, &party_id).await;
        assert_eq!((told.len(), told[0].state()), (1, proto::consent::State::Withdrawn));
        assert_eq!((told[0].reason.as_str(), told[0].source.as_str()), (reason, "delivery"));
        assert_eq!(told[0].effective_time, time(earlier.plus(DAY)));
        assert!(check(&world, &party_id, earlier.plus(DAY / 2)).await.allowed);
        assert_eq!(check(&world, &party_id, earlier.plus(DAY)).await.detail, "withdrawn");
    }
    // The event says who caused it and why.
    let store = &world.harness.deps("profiles").store;
    let last = store.read(world.head() - 1, 1).await.expect("read").remove(0);
    let envelope = last.envelope().expect("an envelope");
    assert_eq!(envelope.r#type, "rapport.profiles.v1.ConsentWithdrawn");
    assert_eq!(
        (envelope.reason.as_str(), envelope.method.as_str()),
        ("complained", "consumer/profiles")
    );
    assert_eq!(envelope.request_id, "profiles/delivery/2");
    assert!(world.harness.clock.now() > start);
    world.harness.stop().await;
}

#[tokio::test]
async fn an_objection_without_any_record_stops_what_an_opt_out_regime_allowed() {
    let world = World::among_neighbours().await;
    let party_id = world.party_of(PartyKind::Hcp).await;
    world.activate(pack("DE", 1, vec![line(Regime::OptOut)])).await;
    let now = world.harness.clock.now();
    assert!(check(&world, &party_id, now).await.allowed);
    world.touched(unsubscribed(&party_id, now)).await;
    let reply = check(&world, &party_id, now).await;
    assert_eq!((reply.allowed, reply.detail.as_str()), (false, "withdrawn"));
    world.harness.stop().await;
}

#[tokio::test]
async fn the_same_fact_counts_once() {
    let world = World::among_neighbours().await;
    let party_id = world.party_of(PartyKind::Hcp).await;
    let now = world.harness.clock.now();
    world.touched(unsubscribed(&party_id, now)).await;
    let head = world.head();
    // Told again by the provider under another id, and read again after a lost checkpoint.
    world.touched(unsubscribed(&party_id, now)).await;
    assert_eq!(world.head(), head);
    world.loses_its_checkpoint("delivery").await;
    assert_eq!(world.head(), head);
    assert_eq!(parked(&world).await, 0);
    world.harness.stop().await;
}

#[tokio::test]
async fn an_objection_from_the_future_counts_from_now() {
    let world = World::among_neighbours().await;
    let party_id = world.party_of(PartyKind::Hcp).await;
    let now = world.harness.clock.now();
    world.touched(complained(&party_id, now.plus(DAY))).await;
    assert_eq!(consents(&world, &party_id).await[0].effective_time, time(now));
    world.harness.stop().await;
}

fn set(party_id: &str, attribute: &str, value: Option<clear::Value>) -> InstanceAttributeSet {
    InstanceAttributeSet {
        node: "mark".into(),
        visit: 1,
        party_id: party_id.into(),
        attribute: attribute.into(),
        value: value.map(|value| Clear { value: Some(value) }),
        next: "done".into(),
    }
}

#[tokio::test]
async fn a_journey_sets_an_attribute_once_and_an_unknown_value_leaves_it() {
    let world = World::among_neighbours().await;
    let party_id = world.party_of(PartyKind::Hcp).await;
    let tier = || Some(clear::Value::Code("gold".into()));
    world.asks_to_set(set(&party_id, "tier", tier())).await;
    let attributes = world.get(&party_id).await.attributes;
    assert_eq!(attributes, [("tier".to_owned(), Clear { value: tier() })].into());
    let head = world.head();
    world.asks_to_set(set(&party_id, "tier", tier())).await;
    world.asks_to_set(set(&party_id, "tier", None)).await;
    world.loses_its_checkpoint("journeys").await;
    assert_eq!(world.head(), head);
    assert_eq!(parked(&world).await, 0);
    world.harness.stop().await;
}

#[tokio::test]
async fn facts_about_a_party_that_is_erased_or_not_there_change_nothing() {
    let world = World::among_neighbours().await;
    let erased = world.register(professional()).await;
    let now = world.harness.clock.now();
    world.erase(&erased).await;
    let head = world.head();
    for party_id in [erased.as_str(), "pty_nobody", ""] {
        world.touched(unsubscribed(party_id, now)).await;
        world.touched(complained(party_id, now)).await;
        world.asks_to_set(set(party_id, "tier", Some(clear::Value::Flag(true)))).await;
    }
    assert_eq!((world.head(), parked(&world).await), (head, 0));
    world.harness.stop().await;
}

#[tokio::test]
async fn a_fact_that_makes_no_sense_is_parked_for_a_person() {
    let world = World::among_neighbours().await;
    let party_id = world.party_of(PartyKind::Hcp).await;
    let head = world.head();
    world.asks_to_set(set(&party_id, "No Name", Some(clear::Value::Flag(true)))).await;
    let elsewhere = TouchEvent::Unsubscribed(delivery::TouchUnsubscribed {
        party_id: party_id.clone(),
        market: "XX".into(),
        ..Default::default()
    });
    world.touched(elsewhere).await;
    assert_eq!((world.head(), parked(&world).await), (head, 2));
    world.harness.stop().await;
}
