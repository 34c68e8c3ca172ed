use super::*;

fn task(channel: Channel) -> proto::RequestTouchRequest {
    proto::RequestTouchRequest {
        channel: channel.into(),
        expire_time: time(START.plus(Duration::from_secs(3600))),
        ..email()
    }
}

async fn open(world: &World) -> proto::Touch {
    let touch_id = world.request(task(Channel::FieldTask)).await;
    world.reaches(&touch_id, State::Open).await
}

async fn tasks(
    world: &World,
    change: impl FnOnce(&mut proto::ListTasksRequest),
) -> Vec<proto::Touch> {
    let mut request = proto::ListTasksRequest { parent: parent(), ..Default::default() };
    change(&mut request);
    world.api().list_tasks(request).await.expect("listed").into_inner().tasks
}

#[tokio::test]
async fn a_task_passes_the_whole_gate_and_goes_to_who_covers_the_party() {
    let world = World::start().await;
    let touch = open(&world).await;
    assert_eq!((touch.assignee_party_id.as_str(), touch.verdicts.len()), ("pty_rep", 11));
    assert!(world.files().is_empty());
    assert_eq!(tasks(&world, |it| it.assignee_party_id = "pty_rep".into()).await.len(), 1);
    assert_eq!(tasks(&world, |it| it.assignee_party_id = "pty_other".into()).await.len(), 0);
    assert_eq!(tasks(&world, |it| it.market = "DE".into()).await.len(), 1);
    assert_eq!(tasks(&world, |it| it.state = State::Completed.into()).await.len(), 0);
    world.harness.stop().await;
}

#[tokio::test]
async fn a_task_is_accepted_and_done() {
    let world = World::start().await;
    let touch = open(&world).await;
    let accept = proto::AcceptTaskRequest { name: touch.name.clone(), ..Default::default() };
    for _ in 0..2 {
        let reply = world.api().accept_task(accept.clone()).await.expect("accepted").into_inner();
        assert_eq!(reply.touch.expect("a task").state(), State::Accepted);
    }
    let other = world.harness.person(ACME, "other", &["delivery.tasks.write"]);
    let refused = DeliveryServiceClient::new(other).accept_task(accept).await.expect_err("taken");
    assert_eq!(told(&refused), (Code::FailedPrecondition, "WRONG_STATE".into()));
    let complete = proto::CompleteTaskRequest {
        name: touch.name.clone(),
        outcome: "talked".into(),
        ..Default::default()
    };
    let done = world
        .api()
        .complete_task(complete)
        .await
        .expect("done")
        .into_inner()
        .touch
        .expect("a task");
    assert_eq!(
        (done.state(), done.task_user.as_str(), done.reason.as_str()),
        (State::Completed, "admin", "talked")
    );
    assert!(tasks(&world, |_| ()).await.is_empty());
    assert_eq!(world.store("delivery").next_due().await.expect("read"), None);
    world.harness.stop().await;
}

#[tokio::test]
async fn a_task_is_dismissed_with_a_reason_or_runs_out() {
    let world = World::start().await;
    let touch = open(&world).await;
    let dismiss = |reason: proto::DismissReason| proto::DismissTaskRequest {
        name: touch.name.clone(),
        reason: reason.into(),
        ..Default::default()
    };
    let refused = dismiss(proto::DismissReason::Unspecified);
    let refused = world.api().dismiss_task(refused).await.expect_err("why?");
    assert_eq!(fields(&refused), ["reason"]);
    let dismissed = dismiss(proto::DismissReason::WrongTime);
    let dismissed = world.api().dismiss_task(dismissed).await.expect("dismissed").into_inner();
    assert_eq!(dismissed.touch.expect("a task").reason, "WRONG_TIME");

    let second = open(&world).await;
    world.harness.clock.advance(Duration::from_secs(3600));
    let touch_id = second.request.expect("what was asked for").touch_id;
    world.reaches(&touch_id, State::Expired).await;
    world.harness.stop().await;
}

#[tokio::test]
async fn tasks_come_by_due_time_page_by_page() {
    let world = World::start().await;
    let mut names = Vec::new();
    for seconds in [300, 100, 200] {
        let request = proto::RequestTouchRequest {
            expire_time: time(START.plus(Duration::from_secs(seconds))),
            ..task(Channel::Portal)
        };
        let touch_id = world.request(request).await;
        names.push((seconds, world.reaches(&touch_id, State::Open).await.name));
    }
    names.sort();
    let page = async |token: &str| {
        let request = proto::ListTasksRequest {
            parent: parent(),
            page_size: 2,
            page_token: token.into(),
            ..Default::default()
        };
        world.api().list_tasks(request).await.expect("listed").into_inner()
    };
    let first = page("").await;
    let second = page(&first.next_page_token).await;
    let all: Vec<_> = first.tasks.iter().chain(&second.tasks).map(|it| it.name.clone()).collect();
    assert_eq!(all, names.into_iter().map(|it| it.1).collect::<Vec<_>>());
    world.harness.stop().await;
}

fn accept(touch: &proto::Touch) -> proto::AcceptTaskRequest {
    proto::AcceptTaskRequest { name: touch.name.clone(), ..Default::default() }
}

fn complete(touch: &proto::Touch) -> proto::CompleteTaskRequest {
    let (name, outcome) = (touch.name.clone(), "talked".into());
    proto::CompleteTaskRequest { name, outcome, request_id: "complete-1".into() }
}

fn id(touch: &proto::Touch) -> String {
    touch.request.clone().unwrap_or_default().touch_id
}

/// Content is withdrawn, and nobody has told `delivery` yet.
fn withdraw_content(world: &World) {
    let content = &mut world.script.lock().content;
    content.content_reason = "content_withdrawn".into();
    content.content_detail = "withdrawn".into();
    content.render_hash.clear();
}

fn is_withdrawn(refused: &Status, reason: &str) {
    assert_eq!(told(refused), (Code::FailedPrecondition, "TASK_WITHDRAWN".into()));
    let said = violations(refused).remove(0);
    assert!(said.field == "name" && said.remedy.contains(reason), "{said:?}");
}

/// Checks that a task is over for a reason and keeps no place, and nothing will happen to it.
async fn ended(world: &World, touch: &proto::Touch, reason: &str) -> proto::Touch {
    let touch = world.get(&id(touch)).await;
    assert_eq!((touch.state(), touch.reason.as_str()), (State::Withdrawn, reason), "{touch:#?}");
    assert_eq!(touch.verdicts.len(), 11);
    assert!(tasks(world, |_| ()).await.is_empty());
    assert_eq!(tasks(world, |it| it.state = State::Withdrawn.into()).await.len(), 1);
    assert_eq!(world.store("delivery").next_due().await.expect("read"), None);
    touch
}

#[tokio::test]
async fn a_task_whose_content_was_withdrawn_is_not_taken_on() {
    let world = World::start().await;
    let touch = open(&world).await;
    withdraw_content(&world);
    for _ in 0..2 {
        let refused = world.api().accept_task(accept(&touch)).await.expect_err("withdrawn");
        if told(&refused).1 == "WRONG_STATE" {
            continue;
        }
        is_withdrawn(&refused, "content_withdrawn");
    }
    let touch = ended(&world, &touch, "content_withdrawn").await;
    let step = |step: proto::GateStep| {
        touch.verdicts.iter().find(|it| it.step() == step).expect("a verdict").clone()
    };
    assert_eq!(step(proto::GateStep::Content).outcome(), proto::VerdictOutcome::Fail);
    assert_eq!(step(proto::GateStep::Consent).outcome(), proto::VerdictOutcome::Pass);
    world.harness.stop().await;
}

#[tokio::test]
async fn a_task_whose_content_was_withdrawn_is_not_done_and_who_took_it_on_counts() {
    let world = World::start().await;
    let touch = open(&world).await;
    world.api().accept_task(accept(&touch)).await.expect("accepted");
    withdraw_content(&world);
    let refused = world.api().complete_task(complete(&touch)).await.expect_err("withdrawn");
    is_withdrawn(&refused, "content_withdrawn");
    let touch = ended(&world, &touch, "content_withdrawn").await;
    assert_eq!(touch.task_user, "admin");
    let events = world.store("delivery").read(0, 1_000).await.expect("read");
    let types: Vec<_> = events.iter().map(|it| it.envelope().expect("decodes").r#type).collect();
    let released = "rapport.delivery.v1.ContactReleased";
    assert!(!types.iter().any(|it| it == released), "the party may have been reached: {types:?}");
    world.harness.stop().await;
}

#[tokio::test]
async fn whoever_may_not_be_addressed_any_more_is_no_task_either() {
    let world = World::start().await;
    let touch = open(&world).await;
    world.api().accept_task(accept(&touch)).await.expect("accepted");
    let denied = |world: &World| {
        let recipient = &mut world.script.lock().recipient;
        let consent = recipient.consent.as_mut().expect("a verdict");
        (consent.allowed, consent.detail) = (false, "withdrawn".into());
    };
    denied(&world);
    let refused = world.api().complete_task(complete(&touch)).await.expect_err("no consent");
    is_withdrawn(&refused, "consent");
    ended(&world, &touch, "consent").await;
    world.harness.stop().await;
}

#[tokio::test]
async fn a_peer_that_cannot_be_asked_lets_no_task_be_done() {
    let world = World::start().await;
    let touch = open(&world).await;
    let head = world.head().await;
    for rpc in ["Render", "ResolveRecipient", "CheckOutbound"] {
        world.script.lock().down = rpc;
        let refused = world.api().complete_task(complete(&touch)).await.expect_err("down");
        assert_eq!(told(&refused), (Code::Unavailable, "PEER_UNAVAILABLE".into()));
    }
    assert_eq!(world.head().await, head, "nothing was recorded");
    world.script.lock().down = "";
    let request = complete(&touch);
    let done = world.api().complete_task(request.clone()).await.expect("done").into_inner();
    // A repeat is answered, whatever holds by then.
    withdraw_content(&world);
    let again = world.api().complete_task(request).await.expect("repeated").into_inner();
    assert_eq!(again, done);
    world.harness.stop().await;
}

#[tokio::test]
async fn a_task_is_done_with_what_is_approved_then() {
    let world = World::start().await;
    let touch = open(&world).await;
    assert_eq!((touch.content[0].version, touch.render_hash.as_str()), (1, &*"ab".repeat(32)));
    {
        let mut script = world.script.lock();
        script.content.parts[0].version = 2;
        script.content.render_hash = "ef".repeat(32);
        // A holdout that began since stops nothing that was placed.
        script.outbound.arm = rapport_proto::decisioning::v1::Arm::HeldOut.into();
    }
    let done = world.api().complete_task(complete(&touch)).await.expect("done").into_inner();
    let done = done.touch.expect("a task");
    assert_eq!((done.content[0].version, done.render_hash.as_str()), (2, &*"ef".repeat(32)));
    assert_eq!(done.verdicts.len(), 11);
    for it in &done.verdicts {
        assert_eq!(it.outcome(), proto::VerdictOutcome::Pass, "{it:#?}");
    }
    world.harness.stop().await;
}

#[tokio::test]
async fn a_module_that_ends_takes_the_tasks_with_it_that_carry_it() {
    use rapport_proto::content::v1::{ModuleExpired, ModuleWithdrawn, module_event::Event};
    let world = World::start().await;
    let withdrawn =
        |version: u32| Event::Withdrawn(ModuleWithdrawn { version, ..Default::default() });
    let [first, second] = [open(&world).await, {
        world.script.lock().content.parts[0].version = 2;
        open(&world).await
    }];
    let content = world.store("content");
    // Of another module, and of a version that none carries.
    peers::write::<peers::Module>(&content, "other", withdrawn(0)).await;
    peers::write::<peers::Module>(&content, "welcome", withdrawn(3)).await;
    peers::write::<peers::Module>(&content, "welcome", withdrawn(1)).await;
    let touch = world.reaches(&id(&first), State::Withdrawn).await;
    assert_eq!((touch.reason.as_str(), touch.verdicts.len()), ("content_withdrawn", 11));
    assert_eq!(world.get(&id(&second)).await.state(), State::Open);
    let expired = Event::Expired(ModuleExpired { version: 2 });
    peers::write::<peers::Module>(&content, "welcome", expired).await;
    let touch = world.reaches(&id(&second), State::Withdrawn).await;
    assert_eq!(touch.reason, "content_expired");
    let refused = world.api().accept_task(accept(&touch)).await.expect_err("over");
    assert_eq!(told(&refused), (Code::FailedPrecondition, "WRONG_STATE".into()));
    // What is done is done.
    world.script.lock().content.parts[0].version = 4;
    let third = open(&world).await;
    world.api().complete_task(complete(&third)).await.expect("done");
    peers::write::<peers::Module>(&content, "welcome", withdrawn(0)).await;
    let fourth = open(&world).await;
    world.reaches(&id(&fourth), State::Open).await;
    assert_eq!(world.get(&id(&third)).await.state(), State::Completed);
    world.harness.stop().await;
}
