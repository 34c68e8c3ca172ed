//! Consent is withdrawn between the decision and the hand-over: the gate blocks it and says by which consent.

use std::time::Duration;

use rapport_proto::delivery::v1::GateStep;

use crate::in_both_topologies;
use crate::stage::{Stage, assert_stopped, at, verdict};

in_both_topologies!(a_night_between_decision_and_send);

const JOURNEY: &str = r"
journey: evening
sender: northwind
markets: [DE]
audiences: [HCP]
entry: {api: {}}
reentry: never
start: choose
nodes:
  choose: {decide: {slot: {channels: [EMAIL]}, groups: [win-back], valid_for: 3d, chosen: write, nothing: out, unavailable: out}}
  write: {touch: {decision: choose, sent: out, skipped: out, failed: out}}
  out: {exit: {outcome: out}}
";

async fn a_night_between_decision_and_send(stage: &mut Stage) {
    stage.cast.publish_journey(JOURNEY).await.expect("published");
    // 22:00 in Berlin: the gate defers until the morning.
    stage.reach(at("2027-01-04T21:00:00Z")).await;
    // Doing nothing is drawn now and then; one of several physicians is written to.
    let mut party = String::new();
    for number in 0..20 {
        party = stage.physician(&format!("physician{number}"), "DE").await;
        stage.enter("evening", &party).await;
        stage.settle().await;
        if !stage.touches(&party).await.is_empty() {
            break;
        }
    }
    let deferred = stage.touches(&party).await.remove(0);
    let until = deferred.next_time.as_ref().and_then(eventstore::Timestamp::from_proto);
    assert_eq!(until, Some(at("2027-01-05T07:00:00Z")), "eight in Berlin: {deferred:#?}");

    stage.withdraw_consent(&party, "DE").await;
    stage.pass(Duration::from_secs(12 * 3600)).await;
    let touch = stage.touches(&party).await.remove(0);
    assert_stopped(&touch, GateStep::Consent, "consent");
    let consent = verdict(&touch, GateStep::Consent);
    assert_eq!(consent.detail, "withdrawn");
    assert!(consent.proof_ids.iter().any(|it| it.starts_with("con_")), "{consent:#?}");
    assert_eq!(stage.outbox(), Vec::<String>::new());
}
