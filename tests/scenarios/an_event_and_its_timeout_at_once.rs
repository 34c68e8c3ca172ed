//! An event and the timeout of the wait for it at the same instant: the event wins, once.

use std::time::Duration;

use crate::in_both_topologies;
use crate::stage::Stage;

in_both_topologies!(the_order_comes_at_the_last_instant);

const JOURNEY: &str = r"
journey: patient
sender: northwind
markets: [US]
audiences: [HCP]
entry: {api: {}}
reentry: never
start: watch
nodes:
  watch: {wait_event: {any: [{event: Order Completed, next: ordered}], timeout: 2d, timed_out: late}}
  ordered: {exit: {outcome: ordered}}
  late: {exit: {outcome: late}}
";

async fn the_order_comes_at_the_last_instant(stage: &mut Stage) {
    stage.cast.publish_journey(JOURNEY).await.expect("published");
    stage.settle().await;
    let (early, late) = (stage.physician("early", "US").await, stage.physician("late", "US").await);
    for party in [&early, &late] {
        stage.enter("patient", party).await;
    }
    stage.settle().await;
    // The inputs of an instant are sent before its timers fire.
    let due = stage.now.plus(Duration::from_secs(2 * 86_400));
    stage.reach(due.minus(Duration::from_secs(1))).await;
    stage.time.set(due).await.expect("time goes on");
    stage.now = due;
    stage.interaction(&early, "Order Completed", "order-1").await;
    stage.settle().await;
    assert_eq!(stage.instance(&late).await.outcome, "late", "the timeout fired at this instant");
    stage.pass(Duration::from_secs(86_400)).await;

    let instance = stage.instance(&early).await;
    assert_eq!(instance.outcome, "ordered");
    let steps = stage.steps(&instance).await;
    let wins = |name: &str| steps.iter().filter(|it| *it == name).count();
    assert_eq!((wins("InstanceEventMatched"), wins("InstanceTimedOut")), (1, 0), "{steps:?}");
    assert_eq!(stage.instance(&late).await.outcome, "late");
}
