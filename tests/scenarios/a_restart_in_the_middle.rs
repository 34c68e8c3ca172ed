//! Everything is killed while instances wait, and started again later: what fell due meanwhile happens, once.

use std::time::Duration;

use rapport_proto::delivery::v1::touch::State;
use rapport_proto::profiles::v1::GetPartyRequest;
use support::eventually;

use crate::in_both_topologies;
use crate::stage::{Stage, assert_proven};

in_both_topologies!(waits_outlive_their_processes, who_starts_again_is_told_the_time);

const JOURNEY: &str = r"
journey: patience
sender: northwind
markets: [US]
audiences: [HCP]
entry: {api: {}}
reentry: never
start: wait
nodes:
  wait: {wait: {for: 3d, next: write}}
  write: {touch: {module: letter, channel: EMAIL, sent: watch, skipped: out, failed: out}}
  watch: {wait_event: {any: [{event: Order Completed, next: ordered}], timeout: 7d, timed_out: late}}
  ordered: {exit: {outcome: ordered}}
  late: {exit: {outcome: late}}
  out: {exit: {outcome: out}}
";

async fn waits_outlive_their_processes(stage: &mut Stage) {
    stage.cast.publish_journey(JOURNEY).await.expect("published");
    stage.settle().await;
    let (orders, lapses) =
        (stage.physician("orders", "US").await, stage.physician("lapses", "US").await);
    for party in [&orders, &lapses] {
        stage.enter("patience", party).await;
    }
    stage.settle().await;
    for target in rapport::targets::TARGETS {
        stage.restart(target.name).await;
    }
    stage.pass(Duration::from_secs(4 * 86_400)).await;
    for party in [&orders, &lapses] {
        let touches = stage.touches(party).await;
        assert_eq!(touches.len(), 1);
        assert_eq!(touches[0].state(), State::Sent);
        assert_proven(&touches[0]);
        assert_eq!(stage.instance(party).await.node, "watch");
    }
    stage.interaction(&orders, "Order Completed", "order-1").await;
    for target in rapport::targets::TARGETS {
        stage.restart(target.name).await;
    }
    stage.pass(Duration::from_secs(8 * 86_400)).await;
    assert_eq!(stage.instance(&orders).await.outcome, "ordered");
    assert_eq!(stage.instance(&lapses).await.outcome, "late");
    assert_eq!(stage.outbox().len(), 2, "each message left once");
}

/// Nobody moves the clock meanwhile: who waits for the one that is away would wait for ever.
async fn who_starts_again_is_told_the_time(stage: &mut Stage) {
    let party = stage.physician("anna", "US").await;
    stage.platform.restart("profiles");
    let name = format!("tenants/acme/parties/{party}");
    eventually("profiles answers again", async || {
        let request = GetPartyRequest { name: name.clone(), ..Default::default() };
        stage.remote.parties.clone().get_party(request).await.is_ok()
    })
    .await;
    stage.settle().await;
}
