//! Surveys from a text to being asked.

use rapport_proto::types::VersionState;

use super::*;

fn name() -> String {
    format!("tenants/{ACME}/surveys/order-nps")
}

async fn get(world: &World, version: u32) -> proto::GetSurveyResponse {
    let request = proto::GetSurveyRequest { name: name(), version, ..Default::default() };
    world.surveys().get_survey(request).await.expect("found").into_inner()
}

#[tokio::test]
async fn a_survey_goes_live_with_a_second_person_and_is_replaced_by_the_next() {
    let world = World::start().await;
    let drafted = world.surveys().draft_survey(draft(NPS)).await.expect("saved").into_inner();
    let hash = drafted.version.expect("a version").hash;
    let approve =
        proto::ApproveSurveyRequest { name: name(), version: 1, hash, ..Default::default() };
    let status = world.surveys().approve_survey(approve).await.expect_err("the author");
    assert_eq!(told(&status), (Code::FailedPrecondition, "AUTHOR_MAY_NOT_APPROVE".into()));
    assert_eq!(world.live(NPS).await, 1, "the same document is the same version");
    let other = NPS.replace("How likely?", "How likely is it?");
    assert_eq!(world.live(&other).await, 2);
    let reply = get(&world, 0).await;
    let states: Vec<_> =
        reply.versions.iter().map(rapport_proto::types::VersionInfo::state).collect();
    assert_eq!(states, [VersionState::Retired, VersionState::Live]);
    assert_eq!(reply.version.map(|it| it.version), Some(2));
    assert_eq!(
        get(&world, 1).await.survey.expect("a survey").questions[0].text["en"],
        "How likely?"
    );
}

#[tokio::test]
async fn retiring_ends_it_once() {
    let world = World::asking().await;
    let retire = || proto::RetireSurveyRequest {
        name: name(),
        version: 1,
        reason: "replaced".into(),
        ..Default::default()
    };
    for _ in 0..2 {
        let reply = world.surveys().retire_survey(retire()).await.expect("retired").into_inner();
        assert_eq!(reply.version.expect("a version").state(), VersionState::Retired);
    }
    let activate = proto::ActivateSurveyRequest { name: name(), version: 1, ..Default::default() };
    let status = world.surveys().activate_survey(activate).await.expect_err("it is over");
    assert_eq!(told(&status), (Code::FailedPrecondition, "WRONG_STATE".into()));
}

#[tokio::test]
async fn what_is_wrong_is_told_with_line_and_place() {
    let world = World::start().await;
    let wrong = NPS.replace("score_at_most: 6", "score_at_most: 66");
    let status = world.surveys().draft_survey(draft(&wrong)).await.expect_err("refused");
    assert_eq!(told(&status), (Code::InvalidArgument, "SURVEY_INVALID".into()));
    assert_eq!(fields(&status), ["definition.follow_ups[0].score_at_most"]);
    let unknown = format!("{NPS}colour: red\n");
    let status = world.surveys().draft_survey(draft(&unknown)).await.expect_err("refused");
    assert!(violations(&status)[0].remedy.starts_with("line 9: "), "{status:?}");
    let only_checked = proto::DraftSurveyRequest { validate_only: true, ..draft(&wrong) };
    let reply = world.surveys().draft_survey(only_checked).await.expect("checked").into_inner();
    assert_eq!((reply.version, reply.findings.len()), (None, 1));
    let list = proto::ListSurveysRequest { parent: parent(), ..Default::default() };
    let listed = world.surveys().list_surveys(list).await.expect("listed").into_inner();
    assert_eq!(listed.surveys, [], "nothing is half stored");
}

#[tokio::test]
async fn surveys_are_listed_by_id_in_pages() {
    let world = World::start().await;
    for id in ["bbb", "aaa", "ccc"] {
        world.live(&NPS.replace("order-nps", id)).await;
    }
    let list = |page_token| proto::ListSurveysRequest {
        parent: parent(),
        page_size: 2,
        page_token,
        ..Default::default()
    };
    let first =
        world.surveys().list_surveys(list(String::new())).await.expect("listed").into_inner();
    let second = world.surveys().list_surveys(list(first.next_page_token)).await.expect("listed");
    let second = second.into_inner();
    let all = first.surveys.iter().chain(&second.surveys);
    assert_eq!(all.map(|it| it.survey.as_str()).collect::<Vec<_>>(), ["aaa", "bbb", "ccc"]);
    assert_eq!(second.next_page_token, "");
}
