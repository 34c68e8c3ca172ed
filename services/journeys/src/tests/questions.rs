//! A question that an instance asks, and what `feedback` makes of it.

use proto::instance::State as S;
use rapport_proto::feedback::v1::invitation_event::Event as Invited;
use rapport_proto::feedback::v1::response_event::Event::Submitted;
use rapport_proto::feedback::v1::{
    Answer, InvitationDeclined, InvitationIssued, QuestionKind, ResponseSubmitted,
};
use rapport_proto::profiles::v1::{InteractionRecorded, interaction_event};
use rapport_proto::types::{Clear, clear};

use super::peers::{Answered, Interaction, Invitation, write};
use super::*;

const ASK: &str = "journey: welcome
sender: northwind
markets: [DE]
audiences: [HCP]
entry: {event: {event: Started}}
reentry: never
start: listen
nodes:
  listen: {ask: {survey: order-nps, channel: EMAIL, expires_after: 3d, issued: asked, declined: spared}}
  asked: {exit: {outcome: asked}}
  spared: {exit: {outcome: spared}}
";

/// How an instance ends whose question is answered with this, and why.
async fn ends_by(said: impl FnOnce(String) -> Invited) -> (String, String) {
    let (world, _) = World::among_peers(ASK).await;
    world.happens("Started").await;
    let instance = world.comes(|it| it.state() == S::Waiting).await;
    let id = instance.name.rsplit('/').next().expect("an id").to_owned();
    let store = &world.harness.deps("journeys").store;
    let stream = format!("instance/{id}");
    let read = || store.read_stream(ACME, &stream, eventstore::AsOf::Now);
    let asked = read().await.expect("read").iter().find_map(|it| {
        match it.decode::<proto::instance_event::Event>().expect("decoded") {
            Some(proto::instance_event::Event::FeedbackRequested(it)) => Some(it.invitation_id),
            _ => None,
        }
    });
    let asked = asked.expect("it asks");
    let feedback = &world.harness.deps("feedback").store;
    write::<Invitation>(feedback, &asked, said(asked.clone())).await;
    let ended = world.comes(|it| it.state() == S::Completed).await;
    let reason = read().await.expect("read").iter().find_map(|it| {
        match it.decode::<proto::instance_event::Event>().expect("decoded") {
            Some(proto::instance_event::Event::FeedbackSettled(it)) => Some(it.reason),
            _ => None,
        }
    });
    (ended.outcome, reason.expect("it is settled"))
}

#[tokio::test]
async fn a_question_that_is_issued_or_declined_lets_its_instance_go_on() {
    let issued = |invitation_id| {
        Invited::Issued(InvitationIssued { invitation_id, ..InvitationIssued::default() })
    };
    assert_eq!(ends_by(issued).await, ("asked".to_owned(), String::new()));
    let declined = |invitation_id| {
        Invited::Declined(InvitationDeclined {
            invitation_id,
            reason: "cooldown_family".into(),
            ..InvitationDeclined::default()
        })
    };
    assert_eq!(ends_by(declined).await, ("spared".to_owned(), "cooldown_family".to_owned()));
}

const HEAR: &str = "journey: welcome
sender: northwind
markets: [DE]
audiences: [HCP]
entry: {event: {event: Started}}
reentry: never
start: hear
nodes:
  hear:
    wait_event:
      any:
        - {event: rapport.feedback.v1.ResponseSubmitted, where: \"event.survey == 'other'\", next: other}
        - {event: rapport.feedback.v1.ResponseSubmitted, where: \"event.score <= 6 && event.topic == 'price'\", next: dear}
      timeout: 14d
      timed_out: other
  dear: {exit: {outcome: dear}}
  other: {exit: {outcome: other}}
";

#[tokio::test]
async fn an_answer_decides_how_its_party_s_instance_goes_on() {
    let (world, _) = World::among_peers(HEAR).await;
    world.happens("Started").await;
    world.comes(|it| it.state() == S::Waiting).await;
    // A party cannot answer by an interaction of that name.
    let other = Clear { value: Some(clear::Value::Code("other".into())) };
    let forged = InteractionRecorded {
        name: "rapport.feedback.v1.ResponseSubmitted".into(),
        clear: [("survey".to_owned(), other)].into(),
        ..InteractionRecorded::default()
    };
    let profiles = &world.harness.deps("profiles").store;
    let forged = interaction_event::Event::Recorded(forged);
    write::<Interaction>(profiles, "itx_forged", forged).await;
    let feedback = &world.harness.deps("feedback").store;
    let answer = |question: &str, kind: QuestionKind| Answer {
        question: question.into(),
        kind: kind.into(),
        ..Answer::default()
    };
    // What is answered otherwise is heard, and is not what it waits for.
    for score in [9, 3] {
        let scored = Answer { score, ..answer("score", QuestionKind::Nps) };
        let choices = vec!["price".to_owned()];
        let chosen = Answer { choices, ..answer("topic", QuestionKind::SingleChoice) };
        let text = Answer { text_id: "txt_1".into(), ..answer("why", QuestionKind::Text) };
        let submitted = ResponseSubmitted {
            survey: "order-nps".into(),
            answers: vec![scored, chosen, text],
            ..ResponseSubmitted::default()
        };
        write::<Answered>(feedback, &format!("rsp_{score}"), Submitted(submitted)).await;
    }
    assert_eq!(world.comes(|it| it.state() == S::Completed).await.outcome, "dear");
}
