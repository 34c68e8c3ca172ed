//! A message that a journey asked for waits for the morning when the journey is paused. It is neither sent nor given up
//! in the pause: when the journey moves again it is judged from the first step. Only its own time runs on.

use std::time::Duration;

use rapport::remote::told;
use rapport_proto::delivery::v1::GateStep;
use rapport_proto::delivery::v1::touch::State;
use rapport_proto::journeys::v1::{PauseJourneyRequest, ResumeJourneyRequest, TimerMode};

use crate::in_both_topologies;
use crate::stage::{Stage, assert_proven, assert_stopped};

in_both_topologies!(a_night_and_a_morning);

const HOUR: Duration = Duration::from_secs(3_600);

const JOURNEY: &str = r"
journey: patient
sender: northwind
markets: [DE]
audiences: [HCP]
entry: {api: {}}
reentry: unlimited
start: write
nodes:
  write: {touch: {module: letter, channel: EMAIL, expires_after: 2d, sent: done, skipped: held, failed: lost}}
  done: {exit: {outcome: done}}
  held: {exit: {outcome: held}}
  lost: {exit: {outcome: lost}}
";

async fn a_night_and_a_morning(stage: &mut Stage) {
    stage.cast.publish_journey(JOURNEY).await.expect("published");
    let [willing, unwilling, late] = [
        stage.physician("ada", "DE").await,
        stage.physician("ben", "DE").await,
        stage.physician("cyn", "DE").await,
    ];
    // Monday, nine in the evening.
    stage.pass(HOUR * 11).await;
    for party in [&willing, &unwilling] {
        stage.enter("patient", party).await;
    }
    stage.pass(HOUR).await;
    pause(stage, TimerMode::Freeze).await;
    stage.withdraw_consent(&unwilling, "DE").await;
    // Tuesday, nine in the morning.
    stage.pass(HOUR * 11).await;
    for party in [&willing, &unwilling] {
        let touch = stage.touches(party).await.remove(0);
        assert_eq!((touch.state(), touch.attempts), (State::Deferred, 0), "{touch:#?}");
    }
    assert_eq!(stage.outbox(), Vec::<String>::new());
    resume(stage).await;
    let sent = stage.touches(&willing).await.remove(0);
    assert_eq!(sent.state(), State::Sent, "{sent:#?}");
    assert_proven(&sent);
    assert_eq!(stage.instance(&willing).await.outcome, "done");
    let stopped = stage.touches(&unwilling).await.remove(0);
    assert_stopped(&stopped, GateStep::Consent, "consent");
    assert_eq!(stage.instance(&unwilling).await.outcome, "held");

    // The same where timers run: nothing is said. What is out of date when the pause ends is not said at all.
    stage.pass(HOUR * 12).await;
    stage.enter("patient", &late).await;
    pause(stage, TimerMode::Run).await;
    stage.pass(HOUR * 47).await;
    assert_eq!(stage.touches(&late).await[0].state(), State::Deferred);
    stage.pass(HOUR).await;
    assert_stopped(&stage.touches(&late).await[0], GateStep::Live, "stale");
    resume(stage).await;
    assert_eq!(stage.instance(&late).await.outcome, "held");
    assert_eq!(stage.outbox().len(), 1);
}

async fn pause(stage: &mut Stage, timers: TimerMode) {
    let request = PauseJourneyRequest {
        name: stage.remote.name("journeys", "patient"),
        timers: timers.into(),
        reason: "incident".into(),
        ..Default::default()
    };
    told(stage.remote.journeys.clone().pause_journey(request).await).expect("paused");
    stage.settle().await;
}

async fn resume(stage: &mut Stage) {
    let name = stage.remote.name("journeys", "patient");
    let request = ResumeJourneyRequest { name, ..Default::default() };
    told(stage.remote.journeys.clone().resume_journey(request).await).expect("resumed");
    stage.settle().await;
}
