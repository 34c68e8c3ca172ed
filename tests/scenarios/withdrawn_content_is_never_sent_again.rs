//! Content is withdrawn while instances wait: nothing of it leaves any more.

use std::time::Duration;

use rapport::remote::told;
use rapport_proto::content::v1::WithdrawModuleRequest;
use rapport_proto::delivery::v1::GateStep;
use rapport_proto::delivery::v1::touch::State;

use crate::in_both_topologies;
use crate::stage::{Stage, assert_proven, assert_stopped};

in_both_topologies!(two_letters_a_week_apart);

const JOURNEY: &str = r"
journey: two-letters
sender: northwind
markets: [DE]
audiences: [HCP]
entry: {api: {}}
reentry: never
start: first
nodes:
  first: {touch: {module: letter, channel: EMAIL, sent: week, skipped: week, failed: week}}
  week: {wait: {for: 7d, next: second}}
  second: {touch: {module: letter, channel: EMAIL, sent: done, skipped: done, failed: done}}
  done: {exit: {outcome: done}}
";

async fn two_letters_a_week_apart(mut stage: Stage) {
    stage.cast.publish_journey(JOURNEY).await.expect("published");
    stage.settle().await;
    let party = stage.physician("vogel", "DE").await;
    stage.enter("two-letters", &party).await;
    stage.settle().await;
    let first = stage.touches(&party).await;
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].state(), State::Sent, "{:#?}", first[0]);
    assert_proven(&first[0]);
    assert_eq!(stage.outbox().len(), 1);

    let request = WithdrawModuleRequest {
        name: stage.remote.name("modules", "letter"),
        reason: "safety_signal".into(),
        ..Default::default()
    };
    told(stage.remote.modules.clone().withdraw_module(request).await).expect("withdrawn");
    stage.pass(Duration::from_secs(8 * 86_400)).await;

    let touches = stage.touches(&party).await;
    assert_eq!(touches.len(), 2);
    assert_stopped(&touches[0], GateStep::Content, "content_withdrawn");
    assert_eq!(stage.outbox().len(), 1, "nothing more left");
    let instance = stage.instance(&party).await;
    assert_eq!(instance.outcome, "done", "a skipped touch goes on by `skipped`");
}
