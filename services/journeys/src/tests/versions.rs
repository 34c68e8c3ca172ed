use rapport_proto::types::VersionState;

use super::*;

fn state(reply: &proto::GetJourneyResponse, version: u32) -> VersionState {
    reply.versions.iter().find(|it| it.version == version).expect("a version").state()
}

#[tokio::test]
async fn a_journey_goes_from_draft_to_live_and_the_same_again_changes_nothing() {
    let world = World::start().await;
    let first = world.draft(WELCOME).await.version.expect("a version");
    let again = world.draft(WELCOME).await.version.expect("a version");
    assert_eq!((first.version, first.state()), (1, VersionState::Draft));
    assert_eq!(first, again);
    world.harness.clock.advance(Duration::from_secs(60));
    assert_eq!(world.live(WELCOME).await, 1);
    let found = world.get().await;
    let live = found.version.clone().expect("a version");
    assert_eq!(
        (live.state(), live.author.as_str(), live.approver.as_str()),
        (VersionState::Live, "admin", "grace")
    );
    assert_ne!(live.live_time, live.draft_time);
    assert_eq!(found.journey.expect("a definition").nodes.len(), 4);
    world.harness.stop().await;
}

#[tokio::test]
async fn a_message_and_its_yaml_are_the_same_version() {
    let world = World::start().await;
    world.draft(WELCOME).await;
    let journey = world.get().await.journey.expect("a definition");
    let definition = Some(proto::draft_journey_request::Definition::Journey(journey));
    let request = proto::DraftJourneyRequest { parent: parent(), definition, ..Default::default() };
    let again = world.client().draft_journey(request).await.expect("saved").into_inner();
    assert_eq!(again.version.expect("a version").version, 1);
    world.harness.stop().await;
}

#[tokio::test]
async fn only_to_be_checked_saves_nothing() {
    let world = World::start().await;
    let broken = WELCOME.replace("next: hope", "next: nowhere");
    let request = proto::DraftJourneyRequest { validate_only: true, ..draft(&broken) };
    let reply = world.client().draft_journey(request).await.expect("checked").into_inner();
    let found: Vec<_> =
        reply.findings.iter().map(|it| (it.place.as_str(), it.code.as_str(), it.line)).collect();
    assert!(found.contains(&("nodes.rest.wait.next", "dangling", 9)));
    let clean = proto::DraftJourneyRequest { validate_only: true, ..draft(WELCOME) };
    let reply = world.client().draft_journey(clean).await.expect("checked").into_inner();
    assert_eq!((reply.findings, reply.version), (vec![], None));
    let name = proto::GetJourneyRequest { name: welcome(), ..Default::default() };
    let status = world.client().get_journey(name).await.expect_err("nothing was saved");
    assert_eq!(told(&status), (Code::NotFound, "NOT_FOUND".into()));
    world.harness.stop().await;
}

#[tokio::test]
async fn approval_needs_a_second_person_and_the_hash_that_was_checked() {
    let world = World::start().await;
    world.draft(WELCOME).await;
    let publish =
        proto::PublishJourneyRequest { name: welcome(), version: 1, ..Default::default() };
    let status = world.client().publish_journey(publish).await.expect_err("not approved");
    assert_eq!(told(&status), (Code::FailedPrecondition, "NOT_APPROVED".into()));
    let approve =
        proto::ApproveJourneyRequest { name: welcome(), version: 1, ..Default::default() };
    let status =
        world.as_person("grace").approve_journey(approve.clone()).await.expect_err("not checked");
    assert_eq!(told(&status), (Code::FailedPrecondition, "WRONG_STATE".into()));
    let check = proto::CheckJourneyRequest { name: welcome(), ..Default::default() };
    world.client().check_journey(check).await.expect("checked");
    let status = world.client().approve_journey(approve.clone()).await.expect_err("the author");
    assert_eq!(told(&status), (Code::FailedPrecondition, "AUTHOR_MAY_NOT_APPROVE".into()));
    let other = proto::ApproveJourneyRequest { hash: "00".repeat(32), ..approve.clone() };
    let status = world.as_person("grace").approve_journey(other).await.expect_err("another hash");
    assert_eq!(told(&status), (Code::FailedPrecondition, "CHECK_STALE".into()));
    world.as_person("grace").approve_journey(approve).await.expect("approved");
    world.harness.stop().await;
}

#[tokio::test]
async fn versions_pause_resume_drain_and_retire() {
    let world = World::start().await;
    world.live(WELCOME).await;
    let publish =
        proto::PublishJourneyRequest { name: welcome(), version: 1, ..Default::default() };
    let status = world.client().publish_journey(publish).await.expect_err("live");
    assert_eq!(told(&status), (Code::FailedPrecondition, "ALREADY_LIVE".into()));
    let pause = proto::PauseJourneyRequest {
        name: welcome(),
        timers: proto::TimerMode::Freeze.into(),
        reason: "incident".into(),
        ..Default::default()
    };
    world.client().pause_journey(pause).await.expect("paused");
    assert_eq!(state(&world.get().await, 1), VersionState::Paused);
    let resume = proto::ResumeJourneyRequest { name: welcome(), ..Default::default() };
    world.client().resume_journey(resume).await.expect("resumed");
    assert_eq!(state(&world.get().await, 1), VersionState::Live);
    // Another version drains this one.
    let second = WELCOME.replace("for: 10d", "for: 5d");
    assert_eq!(world.live(&second).await, 2);
    let found = world.get().await;
    assert_eq!((state(&found, 1), state(&found, 2)), (VersionState::Draining, VersionState::Live));
    let drain =
        proto::DrainJourneyRequest { name: welcome(), reason: "over".into(), ..Default::default() };
    world.client().drain_journey(drain).await.expect("drains");
    assert_eq!(state(&world.get().await, 2), VersionState::Draining);
    let retire = proto::RetireJourneyRequest {
        name: welcome(),
        version: 1,
        reason: "over".into(),
        ..Default::default()
    };
    world.client().retire_journey(retire).await.expect("retired");
    let found = world.get().await;
    assert_eq!(state(&found, 1), VersionState::Retired);
    assert!(found.versions[0].retire_time.is_some());
    world.harness.stop().await;
}

#[tokio::test]
async fn journeys_are_listed_by_pages_and_tenants_see_their_own() {
    let world = World::start().await;
    for id in ["alpha", "beta", "gamma"] {
        world.draft(&WELCOME.replace("journey: welcome", &format!("journey: {id}"))).await;
    }
    let mut ids = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = proto::ListJourneysRequest { parent: parent(), page_size: 2, page_token };
        let reply = world.client().list_journeys(request).await.expect("listed").into_inner();
        ids.extend(reply.journeys.into_iter().map(|it| it.journey_id));
        page_token = reply.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(ids, ["alpha", "beta", "gamma"]);
    let mut other = JourneyServiceClient::new(world.harness.person(UMBRELLA, "eve", &["*"]));
    let request =
        proto::ListJourneysRequest { parent: format!("tenants/{UMBRELLA}"), ..Default::default() };
    assert_eq!(other.list_journeys(request).await.expect("listed").into_inner().journeys, []);
    for name in
        [format!("tenants/{ACME}/journeys/alpha"), format!("tenants/{UMBRELLA}/journeys/alpha")]
    {
        let request = proto::GetJourneyRequest { name, ..Default::default() };
        assert_eq!(other.get_journey(request).await.expect_err("foreign").code(), Code::NotFound);
    }
    world.harness.stop().await;
}

#[tokio::test]
async fn a_repeated_request_gets_the_first_answer() {
    let world = World::start().await;
    let request = proto::DraftJourneyRequest { request_id: "draft-0001".into(), ..draft(WELCOME) };
    let first = world.client().draft_journey(request.clone()).await.expect("saved").into_inner();
    world.draft(&WELCOME.replace("10d", "11d")).await;
    let again = world.client().draft_journey(request).await.expect("answered").into_inner();
    assert_eq!(first.version, again.version);
    let other = proto::DraftJourneyRequest {
        request_id: "draft-0001".into(),
        ..draft(&WELCOME.replace("10d", "12d"))
    };
    let status = world.client().draft_journey(other).await.expect_err("another body");
    assert_eq!(told(&status), (Code::AlreadyExists, "REQUEST_ID_REUSED".into()));
    world.harness.stop().await;
}

#[tokio::test]
async fn a_check_that_cannot_ask_is_no_yes() {
    let world = World::start().await;
    let asks = WELCOME.replace(
        "{exit: {outcome: ordered}}",
        "{branch: {cases: [{when: 'traits.orders > 1', next: lapsed}], else: lapsed}}",
    );
    world.draft(&asks).await;
    let check = proto::CheckJourneyRequest { name: welcome(), ..Default::default() };
    let status = world.client().check_journey(check).await.expect_err("profiles is not there");
    assert_eq!(told(&status), (Code::Unavailable, "PEER_UNAVAILABLE".into()));
    world.harness.stop().await;
}
