//! An exit criterion holds, or the segment is left, while a touch is queued: it does not leave.

use rapport::remote::told;
use rapport_proto::delivery::v1::GateStep;
use rapport_proto::profiles::v1::SetAttributesRequest;
use rapport_proto::types::{Clear, clear};

use crate::in_both_topologies;
use crate::stage::{Stage, assert_stopped, at, verdict};

in_both_topologies!(an_attribute_changes_in_the_night, an_order_ends_lapsing_in_the_night);

const BY_ATTRIBUTE: &str = r#"
journey: by-attribute
sender: northwind
markets: [DE]
audiences: [HCP]
entry: {api: {}}
reentry: never
exit_when: ["attributes.retired == true"]
start: write
nodes:
  write: {touch: {module: letter, channel: EMAIL, sent: out, skipped: out, failed: out}}
  out: {exit: {outcome: out}}
"#;

async fn an_attribute_changes_in_the_night(stage: &mut Stage) {
    stage.cast.publish_journey(BY_ATTRIBUTE).await.expect("published");
    let party = stage.physician("vogel", "DE").await;
    stage.reach(at("2027-01-04T22:00:00Z")).await;
    stage.enter("by-attribute", &party).await;
    stage.settle().await;
    let request = SetAttributesRequest {
        name: stage.remote.name("parties", &party),
        attributes: [("retired".to_owned(), Clear { value: Some(clear::Value::Flag(true)) })]
            .into(),
        ..Default::default()
    };
    told(stage.remote.parties.clone().set_attributes(request).await).expect("set");
    stage.reach(at("2027-01-05T09:00:00Z")).await;

    let touch = stage.touches(&party).await.remove(0);
    assert_stopped(&touch, GateStep::Live, "exited");
    assert_eq!(verdict(&touch, GateStep::Live).rule, "attributes.retired == true");
    let instance = stage.instance(&party).await;
    assert_eq!(instance.outcome, "attributes.retired == true");
    assert_eq!(stage.outbox(), Vec::<String>::new());
}

const TRAITS: &[&str] = &[
    "trait: orders\nkind: COUNT\nevent: Order Completed\n",
    "trait: days_since_order\nkind: DAYS_SINCE\nevent: Order Completed\n",
];
const SEGMENT: &str = r"
segment: lapsing
rule: traits.orders >= 1 && traits.days_since_order >= 30
";
const BY_SEGMENT: &str = r#"
journey: by-segment
sender: northwind
markets: [DE]
audiences: [HCP]
entry: {segment: {segment: lapsing, crossing: ENTERED}}
reentry: never
exit_when: ["!('lapsing' in segments)"]
start: wait
nodes:
  wait: {wait: {for: 12h, next: write}}
  write: {touch: {module: letter, channel: EMAIL, sent: out, skipped: out, failed: out}}
  out: {exit: {outcome: out}}
"#;

async fn an_order_ends_lapsing_in_the_night(stage: &mut Stage) {
    for it in TRAITS {
        stage.cast.save_trait(it).await.expect("a trait");
    }
    stage.cast.save_segment(SEGMENT).await.expect("a segment");
    stage.settle().await;
    stage.cast.publish_journey(BY_SEGMENT).await.expect("published");
    let lapsed = stage.physician("lapsed", "DE").await;
    let returned = stage.physician("returned", "DE").await;
    for (party, order) in [(&lapsed, "order-1"), (&returned, "order-2")] {
        stage.interaction(party, "Order Completed", order).await;
    }
    stage.settle().await;
    // Time alone: on the thirtieth day both enter, without a new event.
    stage.reach(at("2027-02-03T09:00:00Z")).await;
    for party in [&lapsed, &returned] {
        assert_eq!(stage.instance(party).await.node, "wait");
    }
    stage.interaction(&returned, "Order Completed", "order-3").await;
    stage.reach(at("2027-02-04T12:00:00Z")).await;
    assert_eq!(stage.instance(&lapsed).await.outcome, "out");
    assert_eq!(stage.touches(&lapsed).await.len(), 1);
    assert_eq!(stage.instance(&returned).await.outcome, "!('lapsing' in segments)");
    assert_eq!(stage.touches(&returned).await.len(), 0, "nothing was asked for");
}
