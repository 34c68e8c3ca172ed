//! Free texts on a whole platform: real reviews of medicines through the screening, and nobody who reads a text that
//! was not let go, whatever they call.

mod reviews;
mod walk;

use rapport::remote::told;
use rapport_proto::feedback::v1::{
    CaseType, HandOffSafetyCandidateRequest, ListResponsesRequest, OpenCaseRequest,
};
use rapport_proto::kpis::v1::{ListFigureEventsRequest, QueryFiguresRequest};

use crate::in_both_topologies;
use crate::stage::Stage;
use crate::surveys::{agree, answer, ask, asking, candidates, invitation, link_of, response};
use walk::Walk;

in_both_topologies!(nobody_reads_a_text_that_was_not_let_go);

/// What is looked for in every answer.
const CANARY: &str = "yellow-canary-4711";

/// Calls that find nothing on this stage, or ask for more than their kind of value; all others that only read are
/// answered.
const UNANSWERED: [&str; 25] = [
    "LibraryService/GetClaim",
    "ModuleService/CheckUsable",
    "ModuleService/ListUsableModules",
    "ModuleService/Render",
    "DecisionService/CheckOutbound",
    "DecisionService/ExplainDecision",
    "DecisionService/GetDecision",
    "PolicyService/GetPolicy",
    "DeliveryService/GetWebhookSecret",
    "FeedbackService/OpenLink",
    "SafetyService/GetSafetyCandidate",
    "JourneyService/GetInstance",
    "JourneyService/GetJourney",
    "JourneyService/ListInstanceSteps",
    "ExperimentService/GetExperiment",
    "MetricService/ListFigureEvents",
    "ConsentService/CheckConsent",
    "PartyService/LookupParty",
    "SegmentService/GetSegment",
    "SegmentService/ListSegmentMembers",
    "SegmentService/PreviewSegment",
    "SourceService/AuthenticateSource",
    "SourceService/GetSource",
    "SimulationService/SetTime",
    "SimulationService/Settle",
];

/// Tells an address to who may unseal one.
const UNSEALS: &str = "/rapport.profiles.v1.FactsService/ResolveRecipient";

async fn nobody_reads_a_text_that_was_not_let_go(stage: &mut Stage) {
    asking(stage).await;
    let party = stage.physician("vogel", "DE").await;
    agree(stage, &party).await;
    let asked = ask(stage, &party, "").await;
    stage.settle().await;
    let touch = stage.touch(&invitation(stage, &asked).await.touch_id).await;
    let text = format!("I threw up, {CANARY}");
    let thanks = answer(stage, &link_of(stage, &touch), "2", &text.replace(',', "%2C")).await;
    assert_eq!(thanks.status(), 200, "{}", thanks.text());
    let request = OpenCaseRequest {
        parent: stage.remote.parent.clone(),
        r#type: CaseType::MedicalInquiry.into(),
        party_id: party.clone(),
        text: format!("May I take it while pregnant? {CANARY}"),
        ..Default::default()
    };
    let case = told(stage.remote.cases.clone().open_case(request).await).expect("opened").case;
    let answered = invitation(stage, &asked).await.response_id;
    let mut names = vec![
        asked.clone(),
        case.unwrap_or_default().name,
        stage.remote.name("responses", &answered),
        stage.remote.name("surveys", "order-nps"),
        stage.remote.name("metrics", "nps"),
        stage.remote.name("parties", &party),
        stage.remote.name("touches", &touch.request.clone().unwrap_or_default().touch_id),
        stage.remote.name("modules", "ask-nps"),
        stage.remote.name("rulepacks", "DE"),
    ];

    // Perhaps it is screened by now, perhaps not: nobody reads it, whoever they are.
    let reply = response(stage, &answered).await;
    assert!(["unscreened", "candidate"].contains(&&*reply.answers[1].withheld), "{reply:#?}");
    for walk in [Walk::of_everybody(stage, &names), Walk::without_unsealing(stage, &names)] {
        walk.through_reads(CANARY).await;
    }
    stage.settle().await;
    let found = candidates(stage).await;
    assert_eq!(found.len(), 2, "{found:#?}");
    names.extend(found.iter().map(|it| it.name.clone()));
    names.extend(text_events(stage).await);
    for walk in [Walk::of_everybody(stage, &names), Walk::without_unsealing(stage, &names)] {
        let answers = walk.through_reads(CANARY).await;
        let unanswered =
            Walk::reads().into_iter().filter(|it| !answers.contains(it) && it != UNSEALS);
        let unanswered: Vec<_> =
            unanswered.filter_map(|it| it.rsplit('.').next().map(str::to_owned)).collect();
        assert_eq!(unanswered, UNANSWERED);
    }
    drill_down(stage).await;
    nobody_of_another_tenant(stage, &names, &party).await;

    // Let go by safety, it opens to those who may unseal texts, and to nobody else.
    for it in &found {
        let request = HandOffSafetyCandidateRequest {
            name: it.name.clone(),
            receipt: "PV-1".into(),
            ..Default::default()
        };
        told(stage.remote.safety.clone().hand_off_safety_candidate(request).await).expect("taken");
    }
    let request =
        ListResponsesRequest { parent: stage.remote.parent.clone(), ..Default::default() };
    let listed = told(stage.remote.feedback.clone().list_responses(request).await);
    assert_eq!(listed.expect("listed").responses[0].answers[1].text, text);
    let walk = Walk::without_unsealing(stage, &names);
    walk.through_reads(CANARY).await;
    let answers = walk.through_all_of_feedback(CANARY).await;
    for call in ["FeedbackService/ListResponses", "SurveyService/GetSurvey", "CaseService/GetCase"]
    {
        assert!(answers.iter().any(|it| it.ends_with(call)), "{call} answered nothing");
    }
}

/// Whatever somebody of another tenant asks for, changes and all: what is named here is not found, and what they read
/// in their own name holds nothing of here.
async fn nobody_of_another_tenant(stage: &Stage, names: &[String], party: &str) {
    Walk::of_another_tenant(stage, names, &stage.remote.parent).is_refused().await;
    let theirs: Vec<_> =
        names.iter().map(|it| it.replace(&stage.remote.parent, "tenants/umbrella")).collect();
    let walk = Walk::of_another_tenant(stage, &theirs, "tenants/umbrella");
    for secret in ["tenants/acme", "vogel"] {
        walk.through_reads(secret).await;
    }
    let answers = walk.through_reads(party).await;
    for call in
        ["PartyService/ListParties", "AuditService/SearchEvents", "EventLogService/ReadEvents"]
    {
        assert!(answers.iter().any(|it| it.ends_with(call)), "{call} answered nothing");
    }
}

/// Names of the events of texts, as audit has them.
async fn text_events(stage: &Stage) -> Vec<String> {
    let log = stage.platform.log_of("feedback").await;
    let texts = log.iter().filter(|(_, it)| it.stream.starts_with("text/"));
    let name =
        |position: &u64| format!("{}/events/{position}", stage.remote.name("sources", "feedback"));
    texts.map(|(position, _)| name(position)).collect()
}

/// The figure counts the answer, and leads to its event: a position, never what was said.
async fn drill_down(stage: &Stage) {
    let name = stage.remote.name("metrics", "nps");
    let request = QueryFiguresRequest { name: name.clone(), ..Default::default() };
    let figures = told(stage.remote.metrics.clone().query_figures(request).await);
    let figures = figures.expect("figures").figures;
    let [figure] = figures.as_slice() else { panic!("one: {figures:#?}") };
    assert_eq!(figure.n, 1, "{figure:#?}");
    let request = ListFigureEventsRequest {
        name,
        bucket_start: figure.bucket_start,
        dimensions: figure.dimensions.clone(),
        ..Default::default()
    };
    let items = told(stage.remote.metrics.clone().list_figure_events(request).await);
    let items = items.expect("events").items;
    assert_eq!(items.len(), 1);
    assert!(!format!("{items:?} {figures:?}").contains(CANARY));
}
