//! A name of another tenant names nothing.

use super::*;

#[tokio::test]
async fn another_tenant_sees_nothing_and_changes_nothing() {
    let world = World::asking().await;
    let response = world.answered(PARTY, 3, "I have a rash").await;
    let candidate = world.has_candidates(1).await.pop().expect("a candidate").name;
    let case = proto::ListCasesRequest { parent: parent(), ..Default::default() };
    let case =
        world.cases().list_cases(case).await.expect("listed").into_inner().cases.remove(0).name;
    let stranger = || world.harness.person(UMBRELLA, "mallory", &["*"]);
    let mut feedback = FeedbackServiceClient::new(stranger());
    let mut cases = CaseServiceClient::new(stranger());
    let mut safety = SafetyServiceClient::new(stranger());
    let mut surveys = SurveyServiceClient::new(stranger());
    let survey = format!("tenants/{ACME}/surveys/order-nps");
    for own in [false, true] {
        let name = |name: &str| if own { name.replace(ACME, UMBRELLA) } else { name.to_owned() };
        let get = proto::GetResponseRequest { name: name(&response), ..Default::default() };
        let mut refused = vec![feedback.get_response(get).await.expect_err("refused")];
        let get = proto::GetCaseRequest { name: name(&case), ..Default::default() };
        refused.push(cases.get_case(get).await.expect_err("refused"));
        let respond = proto::RespondCaseRequest { name: name(&case), ..Default::default() };
        refused.push(cases.respond_case(respond).await.expect_err("refused"));
        let get = proto::GetSafetyCandidateRequest { name: name(&candidate), ..Default::default() };
        refused.push(safety.get_safety_candidate(get).await.expect_err("refused"));
        let hand_off = proto::HandOffSafetyCandidateRequest {
            name: name(&candidate),
            receipt: "PV-1".into(),
            ..Default::default()
        };
        refused.push(safety.hand_off_safety_candidate(hand_off).await.expect_err("refused"));
        let get = proto::GetSurveyRequest { name: name(&survey), ..Default::default() };
        refused.push(surveys.get_survey(get).await.expect_err("refused"));
        for status in refused {
            assert_eq!(told(&status), (Code::NotFound, "NOT_FOUND".into()));
        }
    }
    let parent = format!("tenants/{UMBRELLA}");
    let list = proto::ListSafetyCandidatesRequest { parent: parent.clone(), ..Default::default() };
    let listed = safety.list_safety_candidates(list).await.expect("listed").into_inner();
    assert_eq!(listed.candidates, []);
    let list = proto::ListResponsesRequest { parent, ..Default::default() };
    let listed = feedback.list_responses(list).await.expect("listed").into_inner();
    assert_eq!(listed.responses, []);
}
