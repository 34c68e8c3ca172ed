//! What was gathered more than five seconds ago lets nothing pass: the gate starts again at step one.

use super::*;

/// How often a peer was asked.
fn asked(world: &World, rpc: &str) -> usize {
    world.script.lock().asked.iter().filter(|it| it.starts_with(rpc)).count()
}

/// A world that knows what the module means, so that a run of the gate asks each peer once.
async fn world() -> World {
    let world = World::start().await;
    world.email(State::Sent).await;
    world.script.lock().asked.clear();
    world
}

/// Time passes, but not while the gate runs: its answers would be old on a machine that is slow.
fn rest(world: &World) {
    let (called, returned) = world.store("delivery").firings();
    if called == returned {
        world.harness.clock.advance(Duration::from_secs(1));
    }
}

#[tokio::test]
async fn what_was_gathered_five_seconds_ago_still_counts() {
    let world = world().await;
    world.script.lock().slow = ("CheckOutbound", Duration::from_secs(5));
    let touch = world.email(State::Sent).await;
    assert_eq!((asked(&world, "ResolveRecipient"), touch.attempts), (1, 1));
    world.harness.stop().await;
}

#[tokio::test]
async fn what_was_gathered_longer_ago_is_gathered_again() {
    let world = world().await;
    // One answer takes too long; by then consent was withdrawn, which the recipient told before does not say.
    world.script.lock().slow = ("CheckOutbound", Duration::from_micros(5_000_001));
    let touch_id = world.request(email()).await;
    let again = async || (asked(&world, "ResolveRecipient") > 1).then_some(());
    until(again).await.expect("gathered again");
    world.script.lock().recipient.consent.as_mut().expect("a verdict").allowed = false;
    world.script.lock().slow = ("", Duration::ZERO);
    // Runs may all have been slow: the timer is tried again after a pause.
    let ended = async || {
        rest(&world);
        let touch = world.get(&touch_id).await;
        (touch.state() == State::Skipped).then_some(touch)
    };
    let touch = until(ended).await.expect("judged by what is true now");
    assert_eq!((touch.reason.as_str(), world.files().len()), ("consent", 1));
    world.harness.stop().await;
}

#[tokio::test]
async fn nothing_leaves_while_no_answer_is_fresh() {
    let world = world().await;
    world.script.lock().slow = ("Render", Duration::from_secs(6));
    let touch_id = world.request(email()).await;
    let often = async || (asked(&world, "Render") >= 4).then_some(());
    until(often).await.expect("the gate starts again at once");
    let touch = world.get(&touch_id).await;
    assert_eq!((touch.state(), touch.attempts), (State::Requested, 0));
    assert_eq!(world.files().len(), 1, "only what was sent before");
    world.script.lock().slow = ("", Duration::ZERO);
    let sent = async || {
        rest(&world);
        (world.get(&touch_id).await.state() == State::Sent).then_some(())
    };
    until(sent).await.expect("sent once answers are fresh");
    assert_eq!(world.files().len(), 2);
    world.harness.stop().await;
}
