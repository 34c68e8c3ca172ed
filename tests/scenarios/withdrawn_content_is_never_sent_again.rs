//! Content is withdrawn while instances wait: nothing of it leaves any more, and nobody may say it who was asked to.

use std::time::Duration;

use rapport::remote::told;
use rapport_proto::content::v1::WithdrawModuleRequest;
use rapport_proto::delivery::v1::touch::State;
use rapport_proto::delivery::v1::{AcceptTaskRequest, CompleteTaskRequest, GateStep};
use rapport_proto::types::Channel;

use crate::in_both_topologies;
use crate::stage::{LETTER, Stage, assert_proven, assert_stopped};

in_both_topologies!(two_letters_a_week_apart, what_was_to_be_said_in_person);

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

async fn two_letters_a_week_apart(stage: &mut Stage) {
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

    withdraw(stage, "letter").await;
    stage.pass(Duration::from_secs(8 * 86_400)).await;

    let touches = stage.touches(&party).await;
    assert_eq!(touches.len(), 2);
    assert_stopped(&touches[0], GateStep::Content, "content_withdrawn");
    assert_eq!(stage.outbox().len(), 1, "nothing more left");
    let instance = stage.instance(&party).await;
    assert_eq!(instance.outcome, "done", "a skipped touch goes on by `skipped`");
}

async fn withdraw(stage: &Stage, module: &str) {
    let request = WithdrawModuleRequest {
        name: stage.remote.name("modules", module),
        reason: "safety_signal".into(),
        ..Default::default()
    };
    told(stage.remote.modules.clone().withdraw_module(request).await).expect("withdrawn");
}

async fn what_was_to_be_said_in_person(stage: &mut Stage) {
    let talk = LETTER.replace("channel: EMAIL", "channel: FIELD_TASK");
    stage.cast.approve_module("talk", &talk).await.expect("approved");
    let mut tasks = Vec::new();
    for name in ["done", "begun", "waiting"] {
        let party = stage.physician(name, "DE").await;
        tasks.push(stage.ask_for_touch_by(Channel::FieldTask, &party, "talk").await);
    }
    stage.settle().await;
    let mut delivery = stage.remote.delivery.clone();
    let name = |task: &str| stage.remote.name("touches", task);
    let accept = |task: &str| AcceptTaskRequest { name: name(task), ..Default::default() };
    let complete = |task: &str| CompleteTaskRequest { name: name(task), ..Default::default() };
    told(delivery.complete_task(complete(&tasks[0])).await).expect("done");
    told(delivery.accept_task(accept(&tasks[1])).await).expect("accepted");

    withdraw(stage, "talk").await;
    // At once, before `delivery` has heard of it.
    let refused = told(delivery.accept_task(accept(&tasks[2])).await).expect_err("withdrawn");
    assert_eq!(refused.reason.as_deref(), Some("TASK_WITHDRAWN"), "{refused}");
    assert!(refused.to_string().contains("content_withdrawn"), "{refused}");
    stage.settle().await;
    let done =
        CompleteTaskRequest { name: stage.remote.name("touches", &tasks[1]), ..Default::default() };
    let refused = told(delivery.complete_task(done).await);
    assert_eq!(refused.expect_err("withdrawn").reason.as_deref(), Some("WRONG_STATE"));
    let mut states = Vec::new();
    for task in &tasks {
        let touch = stage.touch(task).await;
        states.push((touch.state(), touch.reason));
    }
    let withdrawn = (State::Withdrawn, "content_withdrawn".to_owned());
    assert_eq!(states, [(State::Completed, String::new()), withdrawn.clone(), withdrawn]);
}
