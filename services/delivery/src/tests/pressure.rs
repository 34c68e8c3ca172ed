//! How often a party is contacted: read from a row that stands for its stream.

use eventstore::{AsOf, values};
use rapport_proto::decisioning::v1::{ContactLine, Policy as PolicyDocument};
use rapport_proto::profiles::v1::{InteractionRecorded, interaction_event};

use super::peers::{Interaction, write};
use super::*;
use crate::domain::pressure::Pressure;
use crate::gate::caps::Policy;
use crate::view;

/// The row and the stream say the same.
async fn agree(world: &World) {
    let store = world.store("delivery");
    let stream = store.load::<Pressure>(ACME, PARTY, AsOf::Now).await.expect("read");
    let rows = view::pressure::of_parties(store.database(), ACME, &[PARTY.into()]).await;
    let row = rows.expect("read").remove(0);
    assert!(!row.state.contacts.is_empty() && row.version > 0);
    assert_eq!((row.version, row.state), (stream.version, stream.state));
}

#[tokio::test]
async fn a_row_says_what_its_stream_adds_up_to() {
    let world = World::start().await;
    world.email(State::Sent).await;
    agree(&world).await;
    // One is given back.
    world.script.lock().recipient.address = "not an address".into();
    world.email(State::Failed).await;
    agree(&world).await;
    let store = world.store("delivery");
    store.rebuild(&view::Delivery).await.expect("rebuilt");
    agree(&world).await;
    world.harness.stop().await;
}

#[tokio::test]
async fn a_row_that_is_behind_lets_nothing_pass() {
    let world = World::start().await;
    world.email(State::Sent).await;
    let store = world.store("delivery");
    let mut tx = store.database().begin().await.expect("a transaction");
    let gone = "DELETE FROM pressure WHERE tenant = $1 AND party_id = $2";
    assert_eq!(tx.exec(gone, values![ACME, PARTY]).await.expect("deleted"), 1);
    tx.commit().await.expect("committed");
    world.script.lock().asked.clear();
    let touch_id = world.request(email()).await;
    let twice = async || {
        let asked = world.script.lock().asked.iter().filter(|it| it.starts_with("Render")).count();
        (asked > 1).then_some(())
    };
    until(twice).await.expect("tried again");
    assert_eq!(world.get(&touch_id).await.state(), State::Requested);
    store.rebuild(&view::Delivery).await.expect("rebuilt");
    world.reaches(&touch_id, State::Sent).await;
    agree(&world).await;
    world.harness.stop().await;
}

#[tokio::test]
async fn of_interactions_only_those_are_read_that_a_line_can_count() {
    let world = World::start().await;
    let day = Duration::from_secs(86_400);
    let profiles = world.store("profiles");
    for number in 0..9 {
        let name = if number % 3 == 0 { "Visit" } else { "Call Completed" };
        let recorded = interaction_event::Event::Recorded(InteractionRecorded {
            name: name.into(),
            ..Default::default()
        });
        world.harness.clock.advance(day);
        write::<Interaction>(&profiles, &format!("itx_{number}"), recorded).await;
    }
    let deps = world.harness.deps("delivery");
    let end = profiles.head().position;
    let handled = async || {
        let handled = deps.handled(crate::CONTACTS, "profiles").await.expect("read");
        (handled >= end).then_some(())
    };
    until(handled).await.expect("consumed");
    let line = |counts: &str, window: &str, max| ContactLine {
        id: counts.to_lowercase(),
        counts: vec!["EMAIL".into(), counts.into()],
        window: window.into(),
        max,
        hard: true,
        ..Default::default()
    };
    let document = PolicyDocument {
        contact_policy: vec![line("Call Completed", "30d", 2), line("Visit", "2d", 50)],
        ..Default::default()
    };
    let (policy, now) = (Policy::compile(1, &document), world.harness.clock.now());
    let database = world.store("delivery").database().clone();
    let read = view::contact::of_party(&database, ACME, PARTY, &policy, now).await.expect("read");
    let found: Vec<_> = read.iter().map(|it| (it.name.as_str(), now.since(it.at))).collect();
    // Six calls in the window, of which a line for two needs two; three visits, of which none is that young.
    assert_eq!(found, [("Call Completed", Duration::ZERO), ("Call Completed", day)]);
    world.harness.stop().await;
}
