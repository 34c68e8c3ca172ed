//! What one replica remembers while another one changes a journey.

use eventstore::AsOf;

use super::early::WIN_BACK;
use super::peers::PARTY;
use super::*;
use crate::domain::entry::Answer;
use crate::domain::instance::Instance;
use crate::graphs::Graphs;
use crate::units::{self, Wish};

async fn pause(world: &World) {
    let request = proto::PauseJourneyRequest {
        name: welcome(),
        timers: proto::TimerMode::Freeze.into(),
        reason: "incident".into(),
        ..Default::default()
    };
    world.client().pause_journey(request).await.expect("paused");
}

async fn resume(world: &World) {
    let request = proto::ResumeJourneyRequest { name: welcome(), ..Default::default() };
    world.client().resume_journey(request).await.expect("resumed");
}

#[tokio::test]
async fn nobody_enters_by_what_was_remembered_of_a_version() {
    let (world, _facts) = World::among_peers(WIN_BACK).await;
    let deps = world.harness.deps("journeys");
    let other = Graphs::new(&deps.store);
    let entering = async || other.entering(ACME, "welcome").await.expect("read");
    assert!(entering().await.is_some());
    pause(&world).await;
    assert!(entering().await.is_some(), "as it was remembered");
    let wish = |party_id: &str| Wish {
        journey_id: "welcome".into(),
        party_id: party_id.into(),
        entry_key: String::new(),
        entry: Default::default(),
        cause: None,
        request: 0,
    };
    let enter = async |party_id: &str| {
        let meta = world.meta(&format!("enter/{party_id}"));
        let wish = wish(party_id);
        let entered = Box::pin(units::enter(deps, &other, &meta, &wish, None));
        let call = chassis::Call::of_tenant(ACME, PATIENCE);
        let answered = call.scope(entered).await;
        answered.expect("answered").answer.expect("an answer")
    };
    assert_eq!(enter("pty_2").await, Answer::Refused("not_live".into()));
    resume(&world).await;
    assert!(matches!(enter("pty_3").await, Answer::Entered(_)), "that it stands still was read");
    world.harness.stop().await;
}

#[tokio::test]
async fn nobody_moves_or_stands_still_by_what_was_remembered_of_a_version() {
    let (world, _facts) = World::among_peers(WIN_BACK).await;
    let store = &world.harness.deps("journeys").store;
    let other = Graphs::new(store);
    let standing = async || {
        other.standing(ACME, "welcome", 1).await.expect("read").expect("it went live once")
    };
    world.happens("Started").await;
    let instance = world.comes(|it| it.node == "write").await;
    let moving = standing().await;
    pause(&world).await;
    world.comes(|it| it.state() == proto::instance::State::Paused).await;
    assert_eq!(standing().await, moving, "as it was remembered");
    other.forget(ACME, "welcome");
    let paused = standing().await;
    assert!(paused.is_paused());
    resume(&world).await;
    assert!(standing().await.moves(), "that it stands still is read each time");
    let moves = |it: &proto::Instance| it.state() == proto::instance::State::Waiting;
    world.comes(moves).await;

    let id = &instance.instance_id;
    let load = async || store.load::<Instance>(ACME, id, AsOf::Now).await.expect("read");
    let loaded = load().await;
    // One that is slow follows a pause that is over, another one goes on as before the pause.
    let followed = units::follow(store, &world.meta("follow"), id, &loaded, &paused).await;
    assert!(!followed.expect("tried"));
    let goal = proto::InstanceGoalReached { goal: "g".into(), cause: None };
    let goal = vec![proto::instance_event::Event::GoalReached(goal)];
    let by = Some(moving.stream_version);
    let gone = units::commit(store, &world.meta("go"), id, &loaded, by, goal).await;
    assert_eq!(gone.expect("tried"), None);
    assert_eq!(load().await.version, loaded.version);
    assert_eq!(world.comes(moves).await.party_id, PARTY);
    world.harness.stop().await;
}
