//! Local times: the night in which an hour is missing, the one in which it comes twice, a party that moves to another
//! zone while it waits, and 29 February.

use rapport::remote::told;
use rapport_proto::profiles::v1::{MovePartyRequest, SetAttributesRequest};
use rapport_proto::types::{Clear, PartyKind, clear};

use crate::in_both_topologies;
use crate::stage::{Stage, at};

in_both_topologies!(waits_in_local_time);

const HALF_PAST_TWO: &str = r#"
journey: half-past-two
sender: northwind
markets: [DE]
audiences: [HCP]
entry: {api: {}}
reentry: unlimited
start: wait
nodes:
  wait: {wait_until: {local_time: "02:30", next: out}}
  out: {exit: {outcome: out}}
"#;

const ANNIVERSARY: &str = r#"
journey: anniversary
sender: northwind
markets: [DE]
audiences: [HCP]
entry: {api: {}}
reentry: never
start: wait
nodes:
  wait: {wait_date: {attribute: licensed_at, offset: "-1d", local_time: "09:00", next: out, missing: none}}
  out: {exit: {outcome: out}}
  none: {exit: {outcome: no_date}}
"#;

async fn waits_in_local_time(stage: &mut Stage) {
    for journey in [HALF_PAST_TWO, ANNIVERSARY] {
        stage.cast.publish_journey(journey).await.expect("published");
    }
    let berlin = stage.party("berlin", PartyKind::Hcp, "DE", "Europe/Berlin").await;
    let moving = stage.party("moving", PartyKind::Hcp, "DE", "Europe/Berlin").await;
    let undated = stage.party("undated", PartyKind::Hcp, "DE", "Europe/Berlin").await;
    stage.settle().await;

    // 28 March 2027: 02:00 is followed by 03:00, so half past two is three o'clock summer time.
    stage.reach(at("2027-03-27T12:00:00Z")).await;
    stage.enter("half-past-two", &berlin).await;
    stage.settle().await;
    assert_eq!(due(stage, &berlin).await, at("2027-03-28T01:00:00Z"));

    // 29 February 2028: the day before, at nine.
    let licensed_at = at("2028-02-29T12:00:00Z").to_proto();
    let value = Clear { value: Some(clear::Value::Time(licensed_at)) };
    let request = SetAttributesRequest {
        name: stage.remote.name("parties", &moving),
        attributes: [("licensed_at".to_owned(), value)].into(),
        ..Default::default()
    };
    told(stage.remote.parties.clone().set_attributes(request).await).expect("set");
    stage.settle().await;
    for party in [&moving, &undated] {
        stage.enter("anniversary", party).await;
    }
    stage.settle().await;
    assert_eq!(due(stage, &moving).await, at("2028-02-28T08:00:00Z"));
    assert_eq!(stage.instance(&undated).await.outcome, "no_date");

    // The zone changes in the middle of the wait: the rule is resolved again.
    move_to(stage, &moving, "America/New_York").await;
    stage.settle().await;
    assert_eq!(due(stage, &moving).await, at("2028-02-28T14:00:00Z"));

    // 4 April 2027: half past two comes twice in Auckland; the first of them counts.
    stage.reach(at("2027-04-02T22:00:00Z")).await;
    let auckland = stage.party("auckland", PartyKind::Hcp, "DE", "Pacific/Auckland").await;
    stage.settle().await;
    for party in [&auckland, &berlin] {
        stage.enter("half-past-two", party).await;
    }
    stage.settle().await;
    assert_eq!(due(stage, &auckland).await, at("2027-04-03T13:30:00Z"));
    assert_eq!(due(stage, &berlin).await, at("2027-04-03T00:30:00Z"));

    // A party moves to where half past two has gone by since the wait began: it fires at once.
    stage.reach(at("2027-04-03T00:29:00Z")).await;
    move_to(stage, &berlin, "Europe/Helsinki").await;
    stage.settle().await;
    let newest = stage.instances(&berlin).await.remove(0);
    assert_eq!(newest.outcome, "out", "{newest:#?}");
}

async fn due(stage: &Stage, party: &str) -> eventstore::Timestamp {
    let newest = stage.instances(party).await.remove(0);
    let due = newest.due_time.as_ref().and_then(eventstore::Timestamp::from_proto);
    due.unwrap_or_else(|| panic!("it waits: {newest:#?}"))
}

async fn move_to(stage: &Stage, party: &str, time_zone: &str) {
    let request = MovePartyRequest {
        name: stage.remote.name("parties", party),
        market: "DE".into(),
        language: "en".into(),
        time_zone: time_zone.into(),
        ..Default::default()
    };
    told(stage.remote.parties.clone().move_party(request).await).expect("moved");
}
