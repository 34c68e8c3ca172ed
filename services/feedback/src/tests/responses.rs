//! Answers by personal link and by import.

use chassis::status;

use super::*;

fn import(name: &str, score: i32) -> proto::SubmitResponseRequest {
    let id = name.rsplit('/').next().expect("an id").to_owned();
    proto::SubmitResponseRequest {
        invitation: Some(proto::submit_response_request::Invitation::InvitationId(id)),
        generated: true,
        ..submit("", score, "")
    }
}

#[tokio::test]
async fn a_personal_link_opens_the_form_in_the_party_s_language_and_takes_one_answer() {
    let world = World::asking().await;
    world.party(PARTY, "DE", "de").await;
    let (name, token) = world.invited(PARTY).await;
    let open = || proto::OpenLinkRequest { parent: parent(), token: token.clone() };
    let form = world.feedback().open_link(open()).await.expect("open").into_inner();
    let survey = form.survey.expect("a form");
    assert_eq!((form.language.as_str(), survey.questions.len()), ("de", 2));
    assert_eq!((survey.follow_ups.len(), survey.module.as_str()), (0, ""), "nothing else");
    let kept = world.feedback().submit_response(submit(&token, 9, "Quick")).await;
    let response_id = kept.expect("kept").into_inner().response_id;
    let answered = world.reaches(&name, Invited::Answered).await;
    assert_eq!(answered.response_id, response_id);
    let response = world.response(&format!("tenants/{ACME}/responses/{response_id}")).await;
    assert_eq!((response.about_touch_id.as_str(), response.generated), ("tch_about", false));
    assert_eq!(response.answers[0].score, 9);
    let again = world.feedback().submit_response(submit(&token, 1, "")).await.expect_err("used");
    assert_eq!(told(&again), (Code::FailedPrecondition, "LINK_USED".into()));
    let again = world.feedback().open_link(open()).await.expect_err("used");
    assert_eq!(told(&again), (Code::FailedPrecondition, "LINK_USED".into()));
}

#[tokio::test]
async fn of_two_answers_at_once_one_is_kept() {
    let world = World::asking().await;
    let (_, token) = world.invited(PARTY).await;
    let (mut one, mut other) = (world.feedback(), world.feedback());
    let (a, b) = futures::join!(
        one.submit_response(submit(&token, 9, "one")),
        other.submit_response(submit(&token, 1, "other")),
    );
    let lost = [&a, &b].into_iter().filter_map(|it| it.as_ref().err()).collect::<Vec<_>>();
    assert_eq!(lost.len(), 1);
    assert_eq!(told(lost[0]).1, "LINK_USED");
}

#[tokio::test]
async fn repeating_a_request_gives_the_first_outcome() {
    let world = World::asking().await;
    let (_, token) = world.invited(PARTY).await;
    let once = || proto::SubmitResponseRequest {
        request_id: "answer-1".into(),
        ..submit(&token, 9, "Quick")
    };
    let first = world.feedback().submit_response(once()).await.expect("kept").into_inner();
    let second = world.feedback().submit_response(once()).await.expect("told again").into_inner();
    assert_eq!(first, second);
    let other =
        proto::SubmitResponseRequest { request_id: "answer-1".into(), ..submit(&token, 8, "") };
    let status = world.feedback().submit_response(other).await.expect_err("another body");
    assert_eq!(told(&status).1, "REQUEST_ID_REUSED");
}

#[tokio::test]
async fn a_forged_link_leads_nowhere() {
    let world = World::asking().await;
    let (_, token) = world.invited(PARTY).await;
    let (front, proof) = token.rsplit_once('.').expect("a proof");
    let flipped = if proof.starts_with('0') { "1" } else { "0" };
    for forged in [
        String::new(),
        "x".into(),
        front.to_owned(),
        format!("{front}."),
        format!("{front}.{flipped}{}", &proof[1..]),
        token.replace(ACME, UMBRELLA),
        format!("{token}0"),
        "x".repeat(10_000),
    ] {
        let open = proto::OpenLinkRequest { parent: parent(), token: forged.clone() };
        let status = world.feedback().open_link(open).await.expect_err("forged");
        assert_eq!(told(&status), (Code::NotFound, "NOT_FOUND".into()), "{forged}");
        let status = world.feedback().submit_response(submit(&forged, 9, "")).await;
        assert_eq!(told(&status.expect_err("forged")).1, "NOT_FOUND");
    }
}

#[tokio::test]
async fn the_token_is_shown_to_those_who_may_unseal_only() {
    let world = World::asking().await;
    let (name, token) = world.invited(PARTY).await;
    assert!(token.starts_with("acme.inv_"));
    assert_eq!(chassis::token::tenant_of(&token), Some(ACME));
    let request = proto::GetInvitationRequest { name, ..Default::default() };
    let mut reader = world.feedback_as(&["feedback.invitations.read"]);
    assert_eq!(reader.get_invitation(request).await.expect("found").into_inner().token, "");
}

#[tokio::test]
async fn an_import_needs_its_own_permission_and_says_what_is_generated() {
    let world = World::asking().await;
    let name = world.ask(request(PARTY)).await;
    world.reaches(&name, Invited::Issued).await;
    let mut form = world.feedback_as(&["feedback.responses.write"]);
    let status = form.submit_response(import(&name, 9)).await.expect_err("not permitted");
    assert_eq!(told(&status), (Code::PermissionDenied, "PERMISSION_MISSING".into()));
    let kept = world.feedback().submit_response(import(&name, 9)).await.expect("kept");
    let name = format!("tenants/{ACME}/responses/{}", kept.into_inner().response_id);
    assert!(world.response(&name).await.generated);
    let (_, token) = world.invited("pty_2").await;
    let dishonest = proto::SubmitResponseRequest { generated: true, ..submit(&token, 9, "") };
    let status = world.feedback().submit_response(dishonest).await.expect_err("a person answers");
    assert_eq!(fields(&status), ["generated"]);
}

#[tokio::test]
async fn the_gateway_may_open_and_submit_and_nothing_else() {
    let world = World::asking().await;
    let (name, token) = world.invited(PARTY).await;
    let gateway = || FeedbackServiceClient::new(world.harness.target("gateway", "feedback", ACME));
    let list = proto::ListResponsesRequest { parent: parent(), ..Default::default() };
    let status = gateway().list_responses(list).await.expect_err("no such edge");
    assert_eq!(status.code(), Code::PermissionDenied);
    let open = proto::OpenLinkRequest { parent: parent(), token: token.clone() };
    gateway().open_link(open).await.expect("open");
    let kept = gateway().submit_response(submit(&token, 9, "")).await;
    kept.expect("kept");
    let status = gateway().submit_response(import(&name, 9)).await.expect_err("no importer");
    assert_eq!(told(&status).1, "PERMISSION_MISSING");
}

#[tokio::test]
async fn answers_that_do_not_fit_are_refused_whole() {
    let world = World::asking().await;
    let (name, token) = world.invited(PARTY).await;
    let status = world.feedback().submit_response(submit(&token, 11, "hm")).await;
    let status = status.expect_err("no such score");
    assert_eq!(told(&status), (Code::InvalidArgument, "ANSWER_INVALID".into()));
    assert_eq!(fields(&status), ["answers[0].score"]);
    assert!(status::violations(&status)[0].remedy.contains("0 to 10"));
    world.reaches(&name, Invited::Issued).await;
    world.feedback().submit_response(submit(&token, 10, "hm")).await.expect("kept");
}

#[tokio::test]
async fn who_was_asked_by_a_version_answers_that_version() {
    let world = World::asking().await;
    let (_, token) = world.invited(PARTY).await;
    let other = NPS.replace("id: score, kind: NPS", "id: score, kind: CSAT");
    world.live(&other.replace("score_at_most: 6", "score_at_most: 2")).await;
    let kept = world.feedback().submit_response(submit(&token, 10, "")).await.expect("kept");
    let name = format!("tenants/{ACME}/responses/{}", kept.into_inner().response_id);
    assert_eq!(world.response(&name).await.version, 1);
}

#[tokio::test]
async fn a_bad_score_opens_a_case_and_a_good_one_does_not() {
    let world = World::asking().await;
    world.party(PARTY, "US", "en").await;
    let list = async || {
        let request = proto::ListCasesRequest { parent: parent(), ..Default::default() };
        world.cases().list_cases(request).await.expect("listed").into_inner().cases
    };
    world.answered("pty_happy", 7, "Fine").await;
    assert_eq!(list().await, []);
    let response = world.answered(PARTY, 6, "Slow").await;
    let cases = list().await;
    let [case] = cases.as_slice() else { panic!("one case: {cases:?}") };
    assert_eq!(case.r#type(), proto::CaseType::FollowUp);
    assert!(response.ends_with(&case.response_id));
    assert_eq!(case.respond_by, Some(world.now().plus(HOUR * 8).to_proto()));
    // It shows what was said, once that is clear.
    let shown = until(async || {
        let case = world.case(&case.name).await;
        (!case.text.is_empty()).then_some(case.text)
    });
    assert_eq!(shown.await.as_deref(), Some("Slow"));
    // Facts about a party stand in its market.
    let events = world.store("feedback").read_party(ACME, PARTY, 0, 100).await.expect("read");
    let submitted = events.iter().filter(|it| it.envelope.r#type.ends_with("ResponseSubmitted"));
    assert_eq!(submitted.map(|it| it.envelope.market.as_str()).collect::<Vec<_>>(), ["US"]);
}
