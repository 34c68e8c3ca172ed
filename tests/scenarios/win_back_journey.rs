//! A customer is won back: an event lets them in, the next best action is decided, said in the morning of their own
//! clock, and what they do then decides how the journey ends.

use std::time::Duration;

use crate::in_both_topologies;
use crate::stage::{Stage, assert_proven};

in_both_topologies!(one_comes_back_and_one_does_not);

const DAY: Duration = Duration::from_secs(86_400);

const JOURNEY: &str = r#"
journey: win-back
sender: northwind
markets: [DE]
audiences: [HCP]
entry: {event: {event: Cart Abandoned}}
reentry: {after_exit: {gap: 90d}}
exit_when: ["party.state != 'ACTIVE'"]
goals: [{name: ordered, event: Order Completed, within: 30d}]
start: choose
nodes:
  choose: {decide: {slot: {channels: [EMAIL]}, groups: [win-back], valid_for: 3d, chosen: morning, nothing: letter, unavailable: lost}}
  morning: {wait_until: {local_time: "09:00", next: write}}
  write: {touch: {decision: choose, expires_after: 3d, sent: watch, skipped: lost, failed: lost}}
  letter: {touch: {module: letter, channel: EMAIL, sent: watch, skipped: lost, failed: lost}}
  watch: {wait_event: {any: [{event: Order Completed, next: done}], timeout: 14d, timed_out: lapsed}}
  done: {exit: {outcome: ordered}}
  lapsed: {exit: {outcome: no_order}}
  lost: {exit: {outcome: lost}}
"#;

async fn one_comes_back_and_one_does_not(stage: &mut Stage) {
    stage.cast.publish_journey(JOURNEY).await.expect("published");
    stage.settle().await;
    let back = stage.physician("back", "DE").await;
    let gone = stage.physician("gone", "DE").await;
    for (party, message) in [(&back, "cart-1"), (&gone, "cart-2")] {
        stage.interaction(party, "Cart Abandoned", message).await;
    }
    stage.settle().await;
    // The morning after.
    stage.pass(DAY).await;
    for party in [&back, &gone] {
        assert_eq!(stage.instance(party).await.node, "watch");
        let touches = stage.touches(party).await;
        assert_eq!(touches.len(), 1);
        assert_proven(&touches[0]);
    }
    stage.interaction(&back, "Order Completed", "order-1").await;
    stage.pass(DAY * 15).await;

    let won = stage.instance(&back).await;
    assert_eq!(
        (won.outcome.as_str(), won.goals.as_slice()),
        ("ordered", &["ordered".to_owned()][..])
    );
    assert_eq!(stage.instance(&gone).await.outcome, "no_order");
    let steps = stage.steps(&won).await;
    for step in
        ["InstanceDecided", "InstanceTouchSettled", "InstanceGoalReached", "InstanceEventMatched"]
    {
        assert_eq!(steps.iter().filter(|it| *it == step).count(), 1, "{step} in {steps:?}");
    }
    // The gap of the re-entry rule is not over.
    stage.interaction(&back, "Cart Abandoned", "cart-3").await;
    stage.settle().await;
    assert_eq!(stage.refusals(&back).await, ["gap"]);
    stage.instance(&back).await;
}
