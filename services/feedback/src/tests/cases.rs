//! Cases from a complaint to its end.

use super::*;

fn berlin() -> Option<proto::BusinessCalendar> {
    let day = |weekday: &str| proto::WorkingHours {
        weekday: weekday.into(),
        intervals: vec!["08:00-12:00".into(), "13:00-17:00".into()],
    };
    Some(proto::BusinessCalendar {
        time_zone: "Europe/Berlin".into(),
        hours: ["MON", "TUE", "WED", "THU", "FRI"].map(day).to_vec(),
        holidays: vec!["2026-01-01".into()],
    })
}

/// The harness begins on Thursday, 1 January 2026, 01:00 in Berlin: a holiday.
fn promised() -> proto::OpenCaseRequest {
    let sla = proto::Sla { first_response: "2h".into(), resolution: "12h".into() };
    proto::OpenCaseRequest {
        calendar: berlin(),
        sla: Some(sla),
        ..complaint("The parcel is late.")
    }
}

fn at(hours: u32) -> Option<prost_types::Timestamp> {
    Some(START.plus(HOUR * hours).to_proto())
}

#[tokio::test]
async fn a_case_runs_against_its_calendar() {
    let world = World::start().await;
    let case = world.open(promised()).await;
    assert_eq!((case.state(), case.open_time), (proto::case::State::Open, at(0)));
    // Friday 10:00 in Berlin; 8 h on Friday and 4 h on Monday.
    assert_eq!((case.respond_by, case.resolve_by), (at(33), at(24 * 4 + 11)));
    world.advance(HOUR * 32);
    let name = || case.name.clone();
    let respond = proto::RespondCaseRequest { name: name(), ..Default::default() };
    let responded = world.cases().respond_case(respond).await.expect("responded").into_inner();
    let responded = responded.case.expect("a case");
    assert_eq!((responded.state(), responded.respond_by), (proto::case::State::Responded, None));
    assert_eq!(responded.business_seconds, 3_600);
    let pause =
        proto::PauseCaseRequest { name: name(), reason: "waiting".into(), ..Default::default() };
    let paused = world.cases().pause_case(pause).await.expect("paused").into_inner().case;
    assert_eq!(paused.map(|it| (it.paused, it.resolve_by)), Some(("waiting".into(), None)));
    world.advance(DAY * 7);
    let resume = proto::ResumeCaseRequest { name: name(), ..Default::default() };
    let resumed = world.cases().resume_case(resume).await.expect("resumed").into_inner().case;
    // A week later 11 h are left: 7 h on Friday, 4 h on Monday.
    assert_eq!(resumed.and_then(|it| it.resolve_by), at(24 * 11 + 11));
    let resolve =
        proto::ResolveCaseRequest { name: name(), outcome: "refund".into(), ..Default::default() };
    let resolved = world.cases().resolve_case(resolve).await.expect("resolved").into_inner().case;
    let resolved = resolved.expect("a case");
    assert_eq!(
        (resolved.state(), resolved.outcome.as_str()),
        (proto::case::State::Resolved, "refund")
    );
    assert_eq!((resolved.business_seconds, resolved.breached.len()), (3_600, 0));
    let reopen =
        proto::ReopenCaseRequest { name: name(), reason: "no_money".into(), ..Default::default() };
    let reopened = world.cases().reopen_case(reopen).await.expect("reopened").into_inner().case;
    assert_eq!(reopened.and_then(|it| it.resolve_by), at(24 * 11 + 11));
}

#[tokio::test]
async fn targets_that_are_missed_are_noted_when_their_time_comes() {
    let world = World::start().await;
    let case = world.open(promised()).await;
    let breached = async |count: usize| {
        let found = until(async || {
            let case = world.case(&case.name).await;
            (case.breached.len() == count).then_some(case.breached)
        });
        found.await.expect("noted")
    };
    world.advance(HOUR * 33);
    assert_eq!(breached(1).await, ["first_response"]);
    world.advance(DAY * 4);
    assert_eq!(breached(2).await, ["first_response", "resolution"]);
}

#[tokio::test]
async fn a_pause_misses_nothing() {
    let world = World::start().await;
    let case = world.open(promised()).await;
    let other = world.open(promised()).await;
    let pause = proto::PauseCaseRequest {
        name: case.name.clone(),
        reason: "waiting".into(),
        ..Default::default()
    };
    world.cases().pause_case(pause).await.expect("paused");
    world.advance(DAY * 10);
    let missed = until(async || (world.case(&other.name).await.breached.len() == 2).then_some(()));
    missed.await.expect("the other one is missed");
    assert_eq!(world.case(&case.name).await.breached, [""; 0]);
}

#[tokio::test]
async fn cases_are_listed_by_what_is_due_next() {
    let world = World::start().await;
    let with = |resolution: &str| {
        let sla = proto::Sla { first_response: String::new(), resolution: resolution.into() };
        proto::OpenCaseRequest { sla: Some(sla), ..complaint("") }
    };
    let (late, soon, never) =
        (world.open(with("9h")).await, world.open(with("1h")).await, world.open(with("")).await);
    let resolve = proto::ResolveCaseRequest {
        name: world.open(with("1h")).await.name,
        outcome: "done".into(),
        ..Default::default()
    };
    world.cases().resolve_case(resolve).await.expect("resolved");
    let page = async |page_token: String, state: proto::case::State| {
        let request = proto::ListCasesRequest {
            parent: parent(),
            page_size: 2,
            page_token,
            state: state.into(),
            ..Default::default()
        };
        world.cases().list_cases(request).await.expect("listed").into_inner()
    };
    let first = page(String::new(), proto::case::State::Unspecified).await;
    let second = page(first.next_page_token, proto::case::State::Unspecified).await;
    let all = first.cases.iter().chain(&second.cases).map(|it| it.name.as_str());
    assert_eq!(all.collect::<Vec<_>>(), [soon.name, late.name, never.name]);
    assert_eq!(page(String::new(), proto::case::State::Resolved).await.cases.len(), 1);
}

#[tokio::test]
async fn a_medical_question_opens_to_medical_roles_only() {
    let world = World::start().await;
    let medical = proto::OpenCaseRequest {
        r#type: proto::CaseType::MedicalInquiry.into(),
        ..complaint("Which studies are there on children?")
    };
    let case = world.open(medical).await;
    let seen = async |permissions: &[&str]| {
        let request = proto::GetCaseRequest { name: case.name.clone(), ..Default::default() };
        let permissions = [&["feedback.cases.read"], permissions].concat();
        let reply = world.cases_as(&permissions).get_case(request).await.expect("found");
        let case = reply.into_inner().case.expect("a case");
        (case.text, case.withheld)
    };
    let clear = until(async || (seen(&[]).await.1 == "not_permitted").then_some(()));
    clear.await.expect("screened");
    assert_eq!(seen(&["feedback.texts.unseal"]).await.1, "not_permitted");
    let (text, withheld) = seen(&["feedback.medical.unseal"]).await;
    assert_eq!((text.as_str(), withheld.as_str()), ("Which studies are there on children?", ""));
}

#[tokio::test]
async fn a_case_is_opened_for_somebody_who_is_known() {
    let world = World::start().await;
    let status = world.cases().open_case(complaint("Who am I?")).await.expect_err("nobody");
    assert_eq!(told(&status), (Code::NotFound, "PARTY_UNKNOWN".into()));
    assert_eq!(fields(&status), ["party_id"]);
    assert_eq!(world.store("feedback").read_head().await.expect("read").position, 0);
    world.party(PARTY, "DE", "de").await;
    world.cases().open_case(complaint("Me.")).await.expect("opened");
}

#[tokio::test]
async fn opening_twice_with_one_request_id_opens_one() {
    let world = World::start().await;
    let once = || proto::OpenCaseRequest { request_id: "case-0001".into(), ..promised() };
    let (first, second) = (world.open(once()).await, world.open(once()).await);
    assert_eq!(first.name, second.name);
    world.party("pty_2", "DE", "de").await;
    let other = proto::OpenCaseRequest { party_id: "pty_2".into(), ..once() };
    let status = world.cases().open_case(other).await.expect_err("another body");
    assert_eq!(told(&status).1, "REQUEST_ID_REUSED");
}

#[tokio::test]
async fn many_cases_of_a_new_party_are_opened_at_once() {
    let world = World::start().await;
    let texts: Vec<_> = (0..16).map(|it| format!("Parcel {it} is late")).collect();
    let opened = texts.iter().map(|it| world.open(complaint(it)));
    let opened = futures::future::join_all(opened).await;
    let names: std::collections::BTreeSet<_> = opened.into_iter().map(|it| it.name).collect();
    assert_eq!(names.len(), 16);
}
