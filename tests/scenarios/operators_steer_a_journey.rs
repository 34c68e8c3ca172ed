//! What people do to a journey that runs: its timers stand still or run on in a pause, nothing new enters while it
//! drains, and one party is taken out. What it notes about a party is an attribute of that party.

use std::time::Duration;

use eventstore::Timestamp;
use rapport::remote::told;
use rapport_proto::journeys::v1::instance::State;
use rapport_proto::journeys::v1::{
    DrainJourneyRequest, EjectInstanceRequest, PauseJourneyRequest, ResumeJourneyRequest, TimerMode,
};
use rapport_proto::profiles::v1::GetPartyRequest;
use rapport_proto::types::{Clear, clear};

use crate::in_both_topologies;
use crate::stage::Stage;

in_both_topologies!(a_pause_a_drain_and_an_end);

const DAY: Duration = Duration::from_secs(86_400);

const JOURNEY: &str = r#"
journey: rest
sender: northwind
markets: [DE]
audiences: [HCP]
entry: {api: {}}
reentry: unlimited
start: note
nodes:
  note: {set: {attribute: resting, value: "true", next: wait}}
  wait: {wait: {for: 10d, next: done}}
  done: {exit: {outcome: rested}}
"#;

async fn a_pause_a_drain_and_an_end(stage: &mut Stage) {
    stage.cast.publish_journey(JOURNEY).await.expect("published");
    let [ada, ben, cyn] = [
        stage.physician("ada", "DE").await,
        stage.physician("ben", "DE").await,
        stage.physician("cyn", "DE").await,
    ];
    stage.enter("rest", &ada).await;
    let began = stage.now;
    stage.settle().await;
    assert_eq!(attribute(stage, &ada, "resting").await, Some(clear::Value::Flag(true)));
    assert_eq!(due(stage, &ada).await, Some(began.plus(DAY * 10)));

    // Two days of ten have gone by when everything stands still, for twelve.
    stage.pass(DAY * 2).await;
    pause(stage, TimerMode::Freeze).await;
    stage.pass(DAY * 12).await;
    assert_eq!(stage.instance(&ada).await.state(), State::Paused);
    assert_eq!(stage.enter("rest", &ben).await.refused, "not_live");
    resume(stage).await;
    assert_eq!(due(stage, &ada).await, Some(stage.now.plus(DAY * 8)), "what was left is left");

    // Now its timers run on: what fell due in the pause happens when it ends.
    pause(stage, TimerMode::Run).await;
    stage.pass(DAY * 9).await;
    assert_eq!(stage.instance(&ada).await.state(), State::Paused);
    resume(stage).await;
    assert_eq!(stage.instance(&ada).await.outcome, "rested");

    let taken_out = stage.enter("rest", &ben).await.instance.expect("entered");
    let eject = EjectInstanceRequest {
        name: taken_out.name,
        reason: "left_the_practice".into(),
        ..Default::default()
    };
    told(stage.remote.journeys.clone().eject_instance(eject).await).expect("ejected");
    stage.settle().await;
    let instance = stage.instance(&ben).await;
    assert_eq!(
        (instance.state(), instance.outcome.as_str()),
        (State::Ejected, "left_the_practice")
    );

    stage.enter("rest", &cyn).await;
    let drain = DrainJourneyRequest {
        name: stage.remote.name("journeys", "rest"),
        version: 1,
        reason: "season_over".into(),
        ..Default::default()
    };
    told(stage.remote.journeys.clone().drain_journey(drain).await).expect("draining");
    stage.settle().await;
    assert_eq!(stage.enter("rest", &ben).await.refused, "not_live");
    assert_eq!(stage.refusals(&ben).await, ["not_live", "not_live"]);
    // Who is in goes on to the end.
    stage.pass(DAY * 11).await;
    assert_eq!(stage.instance(&cyn).await.outcome, "rested");
}

async fn pause(stage: &mut Stage, timers: TimerMode) {
    let request = PauseJourneyRequest {
        name: stage.remote.name("journeys", "rest"),
        timers: timers.into(),
        reason: "incident".into(),
        ..Default::default()
    };
    told(stage.remote.journeys.clone().pause_journey(request).await).expect("paused");
    stage.settle().await;
}

async fn resume(stage: &mut Stage) {
    let name = stage.remote.name("journeys", "rest");
    let request = ResumeJourneyRequest { name, ..Default::default() };
    told(stage.remote.journeys.clone().resume_journey(request).await).expect("resumed");
    stage.settle().await;
}

async fn due(stage: &Stage, party_id: &str) -> Option<Timestamp> {
    stage.instance(party_id).await.due_time.as_ref().and_then(Timestamp::from_proto)
}

async fn attribute(stage: &Stage, party_id: &str, name: &str) -> Option<clear::Value> {
    let request =
        GetPartyRequest { name: stage.remote.name("parties", party_id), ..Default::default() };
    let found = told(stage.remote.parties.clone().get_party(request).await).expect("found");
    let party = found.party.expect("a party");
    party.attributes.get(name).and_then(|it: &Clear| it.value.clone())
}
