//! One address, several parties: what one of them says about it holds for all, from the commit that notes it.

use eventstore::{AsOf, Metadata, Outcome};
use rapport_proto::delivery::v1::ProviderEventKind as Kind;

use super::*;
use crate::domain::touch::{Command, Touch};
use crate::ledger::Ledger;

const NEIGHBOUR: &str = "pty_2";

/// A touch of the neighbour that waits for a peer.
async fn waiting(world: &World) -> String {
    world.script.lock().recipient.contact_point_id = "cpt_2".into();
    world.script.lock().recipient.same_address = vec!["cpt_2".into(), "cpt_1".into()];
    world.script.lock().down = "Render";
    let parent = format!("tenants/{ACME}/parties/{NEIGHBOUR}");
    world.request(proto::RequestTouchRequest { parent, ..email() }).await
}

/// What the gate opens for the neighbour's touch.
async fn opened(world: &World, touch_id: &str) -> Ledger {
    let store = world.store("delivery");
    let touch = store.load::<Touch>(ACME, touch_id, AsOf::Now).await.expect("read");
    let mut ledger = Ledger::of(&store, ACME, touch).await.expect("read");
    let address = ["cpt_1".to_owned(), "cpt_2".to_owned()];
    let neighbours = ledger.open_neighbours(&store, ACME, ("cpt_2", &address)).await;
    assert_eq!(neighbours.expect("read"), [PARTY]);
    ledger.insist();
    ledger
}

/// Commits something about the touch.
async fn commit(world: &World, touch_id: &str, mut ledger: Ledger) -> Outcome {
    let store = world.store("delivery");
    let until = START.plus(Duration::from_secs(60));
    let put_off = Command::Defer {
        until,
        verdicts: Vec::new(),
        time_zone: String::new(),
        market: String::new(),
    };
    ledger.decide(touch_id, put_off, START).expect("it awaits the gate");
    let meta = Metadata {
        tenant: ACME.into(),
        method: "test".into(),
        request_id: "put-off".into(),
        at: START,
        ..Default::default()
    };
    let unit = ledger.unit(&store, meta).await.expect("a unit");
    store.append(unit).await
}

#[tokio::test]
async fn what_a_neighbour_says_meanwhile_is_seen_before_anything_is_committed() {
    let world = World::start().await;
    let reached = world.email(State::Sent).await;
    let touch_id = waiting(&world).await;
    let ledger = opened(&world, &touch_id).await;
    let bounce = proto::ProviderEvent { hard: true, ..event("e-1", Kind::Bounced, &reached) };
    assert_eq!(world.report(bounce).await, "recorded");
    assert!(matches!(commit(&world, &touch_id, ledger).await, Outcome::Conflict));
    // Read again it stands, and the gate sees it.
    world.script.lock().down = "";
    let touch = world.reaches(&touch_id, State::Skipped).await;
    assert_eq!(
        (touch.reason.as_str(), touch.verdicts[1].detail.as_str()),
        ("suppressed", "bounced")
    );
    assert_eq!(world.files().len(), 1);
    world.harness.stop().await;
}

#[tokio::test]
async fn a_neighbour_who_says_nothing_holds_nobody_up() {
    let world = World::start().await;
    world.email(State::Sent).await;
    let touch_id = waiting(&world).await;
    let ledger = opened(&world, &touch_id).await;
    assert!(matches!(commit(&world, &touch_id, ledger).await, Outcome::Committed { .. }));
    world.script.lock().down = "";
    world.harness.clock.advance(Duration::from_secs(60));
    world.reaches(&touch_id, State::Sent).await;
    world.harness.stop().await;
}

#[tokio::test]
async fn whoever_has_another_address_now_is_reached_there() {
    let world = World::start().await;
    let reached = world.email(State::Sent).await;
    let bounce = proto::ProviderEvent { hard: true, ..event("e-1", Kind::Bounced, &reached) };
    assert_eq!(world.report(bounce).await, "recorded");
    assert_eq!(world.email(State::Skipped).await.reason, "suppressed");
    let moves_to = |contact_point: &str, same_address: &[&str]| {
        let mut script = world.script.lock();
        script.recipient.contact_point_id = contact_point.into();
        script.recipient.same_address = same_address.iter().map(|it| (*it).to_owned()).collect();
    };
    moves_to("cpt_2", &["cpt_2"]);
    world.email(State::Sent).await;
    // Another contact point with the dead address is as dead; a complaint is of the channel, wherever that leads.
    moves_to("cpt_3", &["cpt_3", "cpt_1"]);
    assert_eq!(world.email(State::Skipped).await.reason, "suppressed");
    assert_eq!(world.report(event("e-2", Kind::Complained, &reached)).await, "recorded");
    moves_to("cpt_2", &["cpt_2"]);
    let stopped = world.email(State::Skipped).await;
    assert_eq!(stopped.verdicts[1].detail, "complained");
    world.harness.stop().await;
}

#[tokio::test]
async fn whoever_moved_to_another_address_is_no_neighbour_there() {
    let world = World::start().await;
    let reached = world.email(State::Sent).await;
    let bounce = proto::ProviderEvent { hard: true, ..event("e-1", Kind::Bounced, &reached) };
    assert_eq!(world.report(bounce).await, "recorded");
    // The party is reached at another address too, which it shares.
    let release = proto::ReleaseRecipientRequest {
        name: format!("tenants/{ACME}/parties/{PARTY}"),
        reason: "corrected".into(),
        ..Default::default()
    };
    world.api().release_recipient(release).await.expect("released");
    world.script.lock().recipient.contact_point_id = "cpt_3".into();
    let elsewhere = world.email(State::Sent).await;
    let bounce = proto::ProviderEvent { hard: true, ..event("e-2", Kind::Bounced, &reached) };
    assert_eq!(world.report(bounce).await, "recorded");
    assert_eq!(elsewhere.contact_point_id, "cpt_3");
    // What was said of the first address does not hold for those who share the second.
    world.script.lock().recipient.contact_point_id = "cpt_4".into();
    world.script.lock().recipient.same_address = vec!["cpt_3".into(), "cpt_4".into()];
    let parent = format!("tenants/{ACME}/parties/{NEIGHBOUR}");
    let touch_id = world.request(proto::RequestTouchRequest { parent, ..email() }).await;
    world.reaches(&touch_id, State::Sent).await;
    world.harness.stop().await;
}
