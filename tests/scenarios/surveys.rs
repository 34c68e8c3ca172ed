//! A survey from its question to what follows: asked by message through the whole gate, answered at the gateway over
//! plain HTTP, read by nobody before it was screened, carried to its end by safety and by the people who work cases.

use std::time::Duration;

use rapport::remote::told;
use rapport_proto::delivery::v1::{GateStep, Touch, TouchCause};
use rapport_proto::feedback::v1::invitation::State as Invited;
use rapport_proto::feedback::v1::safety_candidate::State as Stands;
use rapport_proto::feedback::v1::{
    Case, CaseType, GetCaseRequest, GetInvitationRequest, GetResponseRequest,
    GetSafetyCandidateRequest, HandOffSafetyCandidateRequest, Invitation, ListCasesRequest,
    ListSafetyCandidatesRequest, PauseCaseRequest, ReconcileSafetyCandidateRequest,
    RequestInvitationRequest, ResolveCaseRequest, RespondCaseRequest, Response, ResumeCaseRequest,
    SafetyCandidate, ShownAnswer,
};
use rapport_proto::profiles::v1::{ConsentKey, RecordConsentRequest, consent};
use rapport_proto::types::{Channel, Purpose, Regime};
use support::{Message, Web};

use crate::in_both_topologies;
use crate::stage::{DE, Stage, assert_proven, assert_stopped, at};

in_both_topologies!(
    from_a_question_to_the_safety_database,
    a_journey_asks_and_goes_on_by_the_answer,
    only_what_was_signed_as_a_survey_asks
);

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

const MODULE: &str = include_str!("surveys/module.yaml");
const SURVEY: &str = include_str!("surveys/survey.yaml");
const JOURNEY: &str = include_str!("surveys/journey.yaml");

/// What the screening finds.
pub(crate) const HARM: &str = "After the second tablet a rash covered both arms.";

async fn from_a_question_to_the_safety_database(stage: &mut Stage) {
    asking(stage).await;
    let party = stage.physician("vogel", "DE").await;
    let letter = stage.ask_for_touch(&party, "letter").await;
    stage.settle().await;

    // Nobody agreed to be asked: the gate stops it like everything else, and it counts against no cooldown.
    let asked = ask(stage, &party, &letter).await;
    stage.settle().await;
    let declined = invitation(stage, &asked).await;
    let why = (declined.state(), declined.reason.as_str(), declined.detail.as_str());
    assert_eq!(why, (Invited::Declined, "not_sent", "consent"));
    assert_stopped(&stage.touch(&declined.touch_id).await, GateStep::Consent, "consent");

    agree(stage, &party).await;
    stage.reach(at("2027-01-04T09:30:00Z")).await;
    let asked = ask(stage, &party, &letter).await;
    stage.settle().await;
    let sent = invitation(stage, &asked).await;
    assert_eq!(sent.state(), Invited::Sent, "{sent:#?}");
    let touch = stage.touch(&sent.touch_id).await;
    assert_proven(&touch);
    let request = touch.request.clone().unwrap_or_default();
    assert_eq!((request.cause(), request.module.as_str()), (TouchCause::Invitation, "ask-nps"));

    // The form: what does not fit is said beside its question, and one answer is taken.
    let link = link_of(stage, &touch);
    let form = open(stage, &link).await;
    assert_eq!(form.status(), 200);
    assert!(form.text().contains("How likely are you to recommend us?"), "{}", form.text());
    assert_eq!(answer(stage, &link, "many", "").await.status(), 400);
    assert_eq!(invitation(stage, &asked).await.state(), Invited::Sent, "nothing was kept");
    let thanks = answer(stage, &link, "3", HARM).await;
    assert_eq!(thanks.status(), 200, "{}", thanks.text());
    for again in [answer(stage, &link, "10", "").await, open(stage, &link).await] {
        assert_eq!(again.status(), 410, "{}", again.text());
    }

    // What it is about is the letter, not the message that asked.
    let answered = invitation(stage, &asked).await;
    assert_eq!(answered.state(), Invited::Answered);
    let response = response(stage, &answered.response_id).await;
    assert_eq!((&response.about_touch_id, response.generated), (&letter, false));
    assert_eq!(response.answers[0].score, 3);
    // Screened yet or not: nobody reads it.
    assert!(["unscreened", "candidate"].contains(&shown(&response.answers[1]).1), "{response:#?}");
    assert_eq!(shown(&response.answers[1]).0, "");
    stage.settle().await;
    let response = self::response(stage, &answered.response_id).await;
    assert_eq!(shown(&response.answers[1]), ("", "candidate"));

    let candidate = the_candidate(stage, &response).await;
    // The bad score opened a case: 8 hours to respond, from Monday 10:30, when people work 9 to 12 and 13 to 17.
    let case = the_case(stage, &party).await;
    assert_eq!((case.r#type(), case.withheld.as_str()), (CaseType::FollowUp, "candidate"));
    assert_eq!(case.response_id, answered.response_id);
    assert_eq!(case.respond_by, Some(at("2027-01-05T10:30:00Z").to_proto()));
    // Wednesday is a holiday.
    assert_eq!(case.resolve_by, Some(at("2027-01-07T12:30:00Z").to_proto()));

    // Half, three quarters, all of the 24 hours: the night stops no clock of safety's.
    for (instant, level) in [
        ("2027-01-04T21:29:59Z", 0),
        ("2027-01-04T21:30:00Z", 1),
        ("2027-01-05T03:30:00Z", 2),
        ("2027-01-05T09:30:00Z", 3),
    ] {
        stage.reach(at(instant)).await;
        assert_eq!(candidates(stage).await[0].level, level, "{instant}");
    }
    hand_off(stage, &candidate.name).await;
    // Safety has it: those who may unseal texts read it now.
    let response = self::response(stage, &answered.response_id).await;
    assert_eq!(shown(&response.answers[1]), (HARM, ""));
    assert_eq!(the_case(stage, &party).await.text, HARM);

    the_case_ends(stage, &party).await;
}

/// The one candidate, as safety sees it.
async fn the_candidate(stage: &Stage, response: &Response) -> SafetyCandidate {
    let mut all = candidates(stage).await;
    assert_eq!(all.len(), 1, "{all:#?}");
    let candidate = all.remove(0);
    assert_eq!(candidate.hits, ["event.skin", "health.body", "health.product"]);
    assert_eq!((candidate.state(), &candidate.of), (Stands::Open, &response.name));
    assert_eq!(candidate.due_time, Some(at("2027-01-05T09:30:00Z").to_proto()));
    let request = GetSafetyCandidateRequest { name: candidate.name.clone(), ..Default::default() };
    let found = told(stage.remote.safety.clone().get_safety_candidate(request).await);
    assert_eq!(found.expect("safety reads it").text, HARM);
    candidate
}

/// Safety takes it: not without a receipt, and late is written down.
async fn hand_off(stage: &mut Stage, name: &str) {
    stage.pass(HOUR / 4).await;
    let request = |receipt: &str| HandOffSafetyCandidateRequest {
        name: name.into(),
        receipt: receipt.into(),
        ..Default::default()
    };
    let safety = || stage.remote.safety.clone();
    let refused = told(safety().hand_off_safety_candidate(request("")).await).expect_err("nothing");
    assert_eq!(refused.reason.as_deref(), Some("RECEIPT_REQUIRED"));
    let taken = told(safety().hand_off_safety_candidate(request("PV-2027-11")).await);
    let taken = taken.expect("handed off").candidate.expect("a candidate");
    assert_eq!((taken.state(), taken.receipt.as_str()), (Stands::HandedOff, "PV-2027-11"));
    let log = stage.platform.log_of("feedback").await;
    let handed_off = log.iter().find_map(|(_, envelope)| {
        use rapport_proto::feedback::v1::SafetyCandidateHandedOff as HandedOff;
        let is = envelope.r#type == <HandedOff as prost::Name>::full_name();
        is.then(|| <HandedOff as prost::Message>::decode(&*envelope.payload).expect("its payload"))
    });
    assert!(handed_off.expect("on the log").late);
    let request = ReconcileSafetyCandidateRequest {
        name: name.into(),
        case_number: "2027-000017".into(),
        ..Default::default()
    };
    let settled = told(safety().reconcile_safety_candidate(request).await).expect("reconciled");
    assert_eq!(settled.candidate.unwrap_or_default().state(), Stands::Reconciled);
    assert_eq!(candidates(stage).await, [], "none is open");
}

/// The case misses its first target, rests over a holiday, and is resolved.
async fn the_case_ends(stage: &mut Stage, party: &str) {
    stage.reach(at("2027-01-05T10:29:59Z")).await;
    assert_eq!(the_case(stage, party).await.breached, [""; 0]);
    stage.reach(at("2027-01-05T10:30:00Z")).await;
    let case = the_case(stage, party).await;
    assert_eq!(case.breached, ["first_response"]);
    let (cases, name) = (stage.remote.cases.clone(), case.name.clone());
    let request = RespondCaseRequest { name: name.clone(), ..Default::default() };
    told(cases.clone().respond_case(request).await).expect("responded");
    // Tuesday noon, after 5.5 and 3 hours of work.
    stage.reach(at("2027-01-05T11:00:00Z")).await;
    let reason = "waits_for_customer".to_owned();
    let request = PauseCaseRequest { name: name.clone(), reason, ..Default::default() };
    told(cases.clone().pause_case(request).await).expect("paused");
    stage.reach(at("2027-01-07T08:00:00Z")).await;
    let request = ResumeCaseRequest { name: name.clone(), ..Default::default() };
    let resumed = told(cases.clone().resume_case(request).await).expect("goes on").case;
    // 7.5 of 16 hours are left: Thursday 9 to 17, and half an hour of Friday.
    let due = resumed.unwrap_or_default().resolve_by;
    assert_eq!(due, Some(at("2027-01-08T08:30:00Z").to_proto()));
    stage.pass(HOUR).await;
    let outcome = "explained".to_owned();
    let request = ResolveCaseRequest { name: name.clone(), outcome, ..Default::default() };
    told(cases.clone().resolve_case(request).await).expect("resolved");
    stage.pass(DAY * 7).await;
    let request = GetCaseRequest { name, ..Default::default() };
    let case = told(cases.clone().get_case(request).await).expect("found").case.unwrap_or_default();
    assert_eq!((case.outcome.as_str(), case.business_seconds), ("explained", 34_200));
    assert_eq!(case.breached, ["first_response"], "the other target was kept");
}

async fn a_journey_asks_and_goes_on_by_the_answer(stage: &mut Stage) {
    asking(stage).await;
    stage.cast.publish_journey(JOURNEY).await.expect("published");
    stage.settle().await;
    let mut parties = Vec::new();
    for name in ["sorry", "glad", "silent", "spared"] {
        let party = stage.physician(name, "DE").await;
        agree(stage, &party).await;
        parties.push(party);
    }
    // This one was asked a moment ago.
    ask(stage, &parties[3], "").await;
    stage.settle().await;
    for (number, party) in parties.iter().enumerate() {
        stage.interaction(party, "Order Completed", &format!("order-{number}")).await;
    }
    stage.settle().await;
    for (party, score) in parties.iter().zip(["6", "9"]) {
        let touches = stage.touches(party).await;
        let [question, letter] = touches.as_slice() else { panic!("two: {touches:#?}") };
        assert_proven(question);
        assert_eq!(stage.instance(party).await.node, "hear");
        assert_eq!(answer(stage, &link_of(stage, question), score, "").await.status(), 200);
        // The question is about the letter of the same instance.
        let asked = question.request.clone().unwrap_or_default().invitation_id;
        let asked = invitation(stage, &stage.remote.name("invitations", &asked)).await;
        let letter = letter.request.clone().unwrap_or_default().touch_id;
        assert_eq!(response(stage, &asked.response_id).await.about_touch_id, letter);
    }
    stage.pass(DAY * 15).await;
    for (party, outcome) in parties.iter().zip(["unhappy", "happy", "silent", "spared"]) {
        let instance = stage.instance(party).await;
        assert_eq!(instance.outcome, outcome, "{instance:#?}");
        let steps = stage.steps(&instance).await;
        let heard = steps.iter().filter(|it| *it == "InstanceEventMatched").count();
        assert_eq!(heard, usize::from(outcome.ends_with("happy")), "{steps:?}");
    }
}

async fn only_what_was_signed_as_a_survey_asks(stage: &mut Stage) {
    asking(stage).await;
    let party = stage.physician("vogel", "DE").await;
    agree(stage, &party).await;
    let other = SURVEY.replace("ask-nps", "letter");
    stage.cast.put_survey_live(&other).await.expect("a live survey");
    stage.settle().await;
    let refused =
        told(stage.remote.feedback.clone().request_invitation(question(stage, &party, "")).await);
    let refused = refused.expect_err("a letter is no question");
    assert_eq!(refused.reason.as_deref(), Some("MODULE_NOT_SURVEY"));
    assert_eq!(stage.outbox(), [""; 0]);
}

/// Everything in force that a question needs: rules for RESEARCH, a signed module of class SURVEY, the live survey.
pub(crate) async fn asking(stage: &mut Stage) {
    let effective = stage.now.plus(Duration::from_secs(120));
    stage.cast.put_pack_in_force(&pack(), Some(effective)).await.expect("a pack in force");
    stage.pass(Duration::from_secs(180)).await;
    stage.cast.approve_module("ask-nps", MODULE).await.expect("an approved module");
    stage.settle().await;
    stage.cast.put_survey_live(SURVEY).await.expect("a live survey");
    stage.settle().await;
}

/// The stage's rules, with those of questions.
fn pack() -> String {
    let consent = "  - {purpose: RESEARCH, channels: [EMAIL], regime: OPT_IN}\noutbound:\n";
    let outbound = "  - {id: de-survey-hcp, content_classes: [SURVEY], audiences: [HCP], \
                    channels: [EMAIL], effect: ALLOW}\n";
    let review = "  - {content_classes: [SURVEY], roles: [MEDICAL, LEGAL]}\nquiet_hours:";
    DE.replace("outbound:\n", &format!("{consent}{outbound}")).replace("quiet_hours:", review)
}

/// The party agrees to be asked by e-mail.
pub(crate) async fn agree(stage: &mut Stage, party: &str) {
    let key = ConsentKey {
        party_id: party.into(),
        purpose: Purpose::Research.into(),
        channel: Channel::Email.into(),
        sender_id: "northwind".into(),
        market: "DE".into(),
    };
    let request = RecordConsentRequest {
        parent: stage.remote.parent.clone(),
        key: Some(key),
        state: consent::State::Granted.into(),
        regime_shown: Regime::OptIn.into(),
        source: "form".into(),
        text_version: "v1".into(),
        ..Default::default()
    };
    told(stage.remote.consents.clone().record_consent(request).await).expect("granted");
    stage.settle().await;
}

fn question(stage: &Stage, party: &str, about: &str) -> RequestInvitationRequest {
    RequestInvitationRequest {
        parent: stage.remote.parent.clone(),
        survey: "order-nps".into(),
        party_id: party.into(),
        channel: Channel::Email.into(),
        sender_id: "northwind".into(),
        about_touch_id: about.into(),
        ..Default::default()
    }
}

/// Asks a party over the API; the invitation's name.
pub(crate) async fn ask(stage: &Stage, party: &str, about: &str) -> String {
    let request = question(stage, party, about);
    let reply = told(stage.remote.feedback.clone().request_invitation(request).await);
    reply.expect("taken on").invitation.expect("an invitation").name
}

pub(crate) async fn invitation(stage: &Stage, name: &str) -> Invitation {
    let request = GetInvitationRequest { name: name.into(), ..Default::default() };
    let reply = told(stage.remote.feedback.clone().get_invitation(request).await);
    reply.expect("found").invitation.expect("an invitation")
}

/// The path of the personal link in the message as it left.
pub(crate) fn link_of(stage: &Stage, touch: &Touch) -> String {
    let letter = stage.letter(touch);
    let gateway = format!("http://{}", stage.platform.node("gateway").grpc);
    let link = letter.split_whitespace().find_map(|it| it.strip_prefix(&gateway));
    link.unwrap_or_else(|| panic!("no link to {gateway} in {letter}")).to_owned()
}

async fn open(stage: &Stage, link: &str) -> Message {
    let mut web = Web::new(stage.platform.node("gateway").grpc.clone());
    web.ask("GET", link, &[], b"").await.expect("an answer")
}

/// Sends the form, as a browser does.
pub(crate) async fn answer(stage: &Stage, link: &str, score: &str, why: &str) -> Message {
    let form = format!("score={score}&why={}", why.replace(' ', "+"));
    let mut web = Web::new(stage.platform.node("gateway").grpc.clone());
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    web.ask("POST", link, &headers, form.as_bytes()).await.expect("an answer")
}

pub(crate) async fn response(stage: &Stage, id: &str) -> Response {
    let name = stage.remote.name("responses", id);
    let request = GetResponseRequest { name, ..Default::default() };
    let reply = told(stage.remote.feedback.clone().get_response(request).await);
    reply.expect("found").response.expect("a response")
}

/// A text, or why it is withheld.
fn shown(answer: &ShownAnswer) -> (&str, &str) {
    (&answer.text, &answer.withheld)
}

pub(crate) async fn candidates(stage: &Stage) -> Vec<SafetyCandidate> {
    let parent = stage.remote.parent.clone();
    let request = ListSafetyCandidatesRequest { parent, ..Default::default() };
    let reply = told(stage.remote.safety.clone().list_safety_candidates(request).await);
    reply.expect("listed").candidates
}

/// The one case of a party that is not resolved.
async fn the_case(stage: &Stage, party: &str) -> Case {
    let request = ListCasesRequest {
        parent: stage.remote.parent.clone(),
        party_id: party.into(),
        ..Default::default()
    };
    let listed = told(stage.remote.cases.clone().list_cases(request).await).expect("listed").cases;
    let [case] = listed.as_slice() else { panic!("one: {listed:#?}") };
    let request = GetCaseRequest { name: case.name.clone(), ..Default::default() };
    let found = told(stage.remote.cases.clone().get_case(request).await);
    found.expect("found").case.expect("a case")
}
