//! How the reactor comes from a touch to its decision.

use eventstore::{Metadata, Reactor as _, Recorded};
use rapport_proto::EventSet as _;
use rapport_proto::delivery::v1::{self as delivery, touch_event};

use super::learning::sent;
use super::*;
use crate::consumers::outcome::{Outcomes, is_one, seen};

/// The facts of touches that stand in the store of delivery.
async fn facts(world: &World) -> Vec<Recorded> {
    let store = &world.harness.deps("delivery").store;
    let stored = store.read(0, 100).await.expect("read");
    store.recorded(stored).await.expect("decoded")
}

async fn react(
    world: &World,
    outcomes: &Outcomes,
    event: &Recorded,
) -> Result<bool, eventstore::Error> {
    let store = &world.harness.deps("decisioning").store;
    let meta = Metadata {
        tenant: ACME.into(),
        method: "test".into(),
        request_id: format!("react/{}", event.position),
        at: world.harness.clock.now(),
        ..Metadata::default()
    };
    outcomes.react(store, event, meta).await.map(|unit| unit.is_some())
}

#[tokio::test]
async fn a_touch_that_was_asked_for_here_needs_no_table() {
    let world = World::among_others().await;
    let id = world.decided().await;
    world.touch("tch_1", &id, vec![sent()]).await;
    let mut events = facts(&world).await;
    // As if the other consumer had read none of it.
    for event in &mut events {
        event.position += 1_000_000;
        event.envelope.stream = "touch/tch_unread".into();
    }
    let outcomes = Outcomes::default();
    let early = react(&world, &outcomes, &events[1]).await.expect_err("nobody knows the touch yet");
    assert!(early.is_transient(), "{early}");
    assert!(!react(&world, &outcomes, &events[0]).await.expect("noted"));
    assert!(react(&world, &outcomes, &events[1]).await.expect("known"));
}

#[tokio::test]
async fn a_touch_that_was_asked_for_before_stands_in_the_table_or_was_never_asked_for() {
    let world = World::among_others().await;
    let id = world.decided().await;
    world.touch("tch_1", &id, vec![sent()]).await;
    world.touch("tch_2", "", vec![sent()]).await;
    world.read_all().await;
    let mut events = facts(&world).await;
    let outcomes = Outcomes::default();
    // Another fact of the touch, which the consumer that runs has not noted.
    let mut again = events[1].clone();
    again.position += 1_000_000;
    assert!(react(&world, &outcomes, &again).await.expect("known"));
    assert!(!react(&world, &outcomes, &events[3]).await.expect("it carries out no decision"));
    events[1].envelope.stream = "touch/tch_unknown".into();
    assert!(!react(&world, &outcomes, &events[1]).await.expect("nobody asked for it"));
}

#[tokio::test]
async fn every_fact_that_is_an_outcome_is_read() {
    use touch_event::Event as Fact;
    let world = World::among_others().await;
    let id = world.decided().await;
    world.touch("tch_1", &id, vec![]).await;
    let event = facts(&world).await.remove(0);
    let all = [
        Fact::Requested(delivery::TouchRequested::default()),
        Fact::Skipped(delivery::TouchSkipped::default()),
        Fact::Deferred(delivery::TouchDeferred::default()),
        Fact::Ready(delivery::TouchReady::default()),
        Fact::Attempted(delivery::TouchAttempted::default()),
        Fact::RetryScheduled(delivery::TouchRetryScheduled::default()),
        Fact::Sent(delivery::TouchSent::default()),
        Fact::Failed(delivery::TouchFailed::default()),
        Fact::Unresolved(delivery::TouchUnresolved::default()),
        Fact::Resolved(delivery::TouchResolved::default()),
        Fact::Delivered(delivery::TouchDelivered::default()),
        Fact::Opened(delivery::TouchOpened::default()),
        Fact::Clicked(delivery::TouchClicked::default()),
        Fact::Bounced(delivery::TouchBounced::default()),
        Fact::Complained(delivery::TouchComplained::default()),
        Fact::Unsubscribed(delivery::TouchUnsubscribed::default()),
        Fact::TaskAccepted(delivery::TaskAccepted::default()),
        Fact::TaskCompleted(delivery::TaskCompleted::default()),
        Fact::TaskDismissed(delivery::TaskDismissed::default()),
        Fact::TaskExpired(delivery::TaskExpired::default()),
        Fact::TaskWithdrawn(delivery::TaskWithdrawn::default()),
    ];
    for fact in all {
        assert_eq!(seen(&fact, &event).is_some(), is_one(fact.type_name()), "{fact:?}");
    }
}
