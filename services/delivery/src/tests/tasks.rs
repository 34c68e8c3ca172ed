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
