//! A journey writes and then waits for an order. For a day nobody knows whether the message left; the order that is
//! placed meanwhile counts.

use std::time::Duration;

use rapport_proto::delivery::v1::touch::State;
use support::{Receiver, Topology, eventually};

use crate::in_both_topologies;
use crate::stage::Stage;

in_both_topologies!(
    through stopped_inside_the_call: an_order_while_nobody_knows_whether_the_message_left,
);

const JOURNEY: &str = r"
journey: patient
sender: northwind
markets: [DE]
audiences: [HCP]
entry: {api: {}}
reentry: never
start: write
nodes:
  write: {touch: {module: letter, channel: EMAIL, sent: watch, skipped: held, failed: lost}}
  watch: {wait_event: {any: [{event: Order Completed, next: ordered}], timeout: 14d, timed_out: late}}
  ordered: {exit: {outcome: ordered}}
  late: {exit: {outcome: late}}
  held: {exit: {outcome: held}}
  lost: {exit: {outcome: lost}}
";

/// The process that hands mail over to an SMTP server stands still within the first call.
async fn stopped_inside_the_call(topology: Topology, story: impl AsyncFnOnce(&mut Stage)) {
    let receiver = Receiver::smtp();
    let inside = Some("provider_inside_call");
    let mut stage = Stage::open_with(topology, |it| receiver.takes_mail_of(it), inside).await;
    story(&mut stage).await;
    stage.finish().await;
}

async fn an_order_while_nobody_knows_whether_the_message_left(stage: &mut Stage) {
    stage.cast.publish_journey(JOURNEY).await.expect("published");
    let party = stage.physician("accept", "DE").await;
    {
        let entered = async {
            stage.enter("patient", &party).await;
            stage.time.clone().settle().await.expect("time goes on");
        };
        let reached = eventually("the message is on its way", async || stage.platform.parked());
        tokio::pin!(entered, reached);
        // The process that stands still may not have answered.
        tokio::select! {
            () = &mut entered => reached.await,
            () = &mut reached => {}
        }
    }
    stage.restart("delivery").await;
    stage.pass(Duration::from_secs(600)).await;
    assert_eq!(stage.touches(&party).await[0].state(), State::Unknown);
    stage.interaction(&party, "Order Completed", "order-1").await;
    stage.settle().await;
    let instance = stage.instance(&party).await;
    assert_eq!((instance.node.as_str(), instance.outcome.as_str()), ("write", ""));
    stage.pass(Duration::from_secs(24 * 3600)).await;
    assert_eq!(stage.touches(&party).await[0].state(), State::Sent);
    let instance = stage.instance(&party).await;
    assert_eq!(instance.outcome, "ordered");
    let steps = stage.steps(&instance).await;
    let expected = [
        "InstanceStarted",
        "InstanceTouchRequested",
        "InstanceWoken",
        "InstanceWoken",
        "InstanceTouchSettled",
        "InstanceWaitStarted",
        "InstanceEventMatched",
        "InstanceCompleted",
    ];
    assert_eq!(steps, expected);
}
