//! The same event sent twice begins one instance and says one thing.

use crate::in_both_topologies;
use crate::stage::Stage;

in_both_topologies!(the_same_order_twice);

const JOURNEY: &str = r"
journey: thanks
sender: northwind
markets: [US]
audiences: [HCP]
entry: {event: {event: Order Completed}}
reentry: unlimited
start: write
nodes:
  write: {touch: {module: letter, channel: EMAIL, sent: out, skipped: out, failed: out}}
  out: {exit: {outcome: out}}
";

async fn the_same_order_twice(stage: &mut Stage) {
    stage.cast.publish_journey(JOURNEY).await.expect("published");
    stage.settle().await;
    let party = stage.physician("ramos", "US").await;
    for _ in 0..2 {
        stage.interaction(&party, "Order Completed", "order-1").await;
        stage.settle().await;
    }
    assert_eq!(stage.instances(&party).await.len(), 1);
    assert_eq!(stage.outbox().len(), 1);
    stage.interaction(&party, "Order Completed", "order-2").await;
    stage.settle().await;
    assert_eq!(stage.instances(&party).await.len(), 2, "another order is another entry");
    assert_eq!(stage.outbox().len(), 2);
}
