//! Bad input is refused with the field and the remedy, and nothing is half stored.

use super::*;

#[tokio::test]
async fn an_invitation_names_every_field_that_is_wrong() {
    let world = World::asking().await;
    let wrong = proto::RequestInvitationRequest {
        parent: parent(),
        survey: "Order NPS".into(),
        party_id: "pty 1".into(),
        channel: 99,
        sender_id: "N".into(),
        about_touch_id: "../x".into(),
        expire_time: Some(START.minus(DAY).to_proto()),
        ..Default::default()
    };
    let status = world.feedback().request_invitation(wrong).await.expect_err("refused");
    assert_eq!(status.code(), Code::InvalidArgument);
    let mut named = fields(&status);
    named.sort();
    let expected = ["about_touch_id", "channel", "expire_time", "party_id", "sender_id", "survey"];
    assert_eq!(named, expected);
    let unknown = proto::RequestInvitationRequest { survey: "unknown".into(), ..request(PARTY) };
    let status = world.feedback().request_invitation(unknown).await.expect_err("no such survey");
    assert_eq!((status.code(), fields(&status)), (Code::NotFound, vec!["survey".to_owned()]));
}

#[tokio::test]
async fn a_case_names_every_field_that_is_wrong() {
    let world = World::start().await;
    let hours = proto::WorkingHours {
        weekday: "MONDAY".into(),
        intervals: vec!["08:00-07:00".into(), "08:00-09:00".into()],
    };
    let wrong = proto::OpenCaseRequest {
        r#type: 0,
        party_id: String::new(),
        calendar: Some(proto::BusinessCalendar {
            time_zone: "Berlin".into(),
            hours: vec![hours],
            holidays: vec!["Christmas".into()],
        }),
        sla: Some(proto::Sla { first_response: "soon".into(), resolution: "-1h".into() }),
        language: "not a language".into(),
        text: "x".repeat(4_001),
        ..complaint("")
    };
    let status = world.cases().open_case(wrong).await.expect_err("refused");
    let mut named = fields(&status);
    named.sort();
    let expected = [
        "calendar.holidays[0]",
        "calendar.hours[0].intervals[0]",
        "calendar.hours[0].weekday",
        "calendar.time_zone",
        "language",
        "party_id",
        "sla.first_response",
        "sla.resolution",
        "text",
        "type",
    ];
    assert_eq!(named, expected);
    assert_eq!(world.store("feedback").read_head().await.expect("read").position, 0);
}

#[tokio::test]
async fn commands_on_cases_need_codes_and_a_case() {
    let world = World::start().await;
    let name = world.open(complaint("")).await.name;
    let pause = |name: &str, reason: &str| proto::PauseCaseRequest {
        name: name.into(),
        reason: reason.into(),
        ..Default::default()
    };
    for reason in ["", "because of it", &"x".repeat(65), "ä"] {
        let status = world.cases().pause_case(pause(&name, reason)).await.expect_err("refused");
        assert_eq!(
            (status.code(), fields(&status)),
            (Code::InvalidArgument, vec!["reason".to_owned()])
        );
    }
    let nobody = format!("tenants/{ACME}/cases/cas_0");
    let status = world.cases().pause_case(pause(&nobody, "x")).await.expect_err("no such case");
    assert_eq!(told(&status), (Code::NotFound, "NOT_FOUND".into()));
    for hostile in [
        "",
        "cases/x",
        "tenants/acme/cases/..",
        "tenants/acme/cases/x/y",
        "tenants/acme/cases/\u{0}",
    ] {
        let status = world.cases().pause_case(pause(hostile, "x")).await.expect_err("refused");
        assert_eq!(fields(&status), ["name"], "{hostile}");
    }
}

#[tokio::test]
async fn a_submission_says_whose_it_is() {
    let world = World::asking().await;
    let nobody = proto::SubmitResponseRequest { invitation: None, ..submit("", 9, "") };
    let status = world.feedback().submit_response(nobody).await.expect_err("refused");
    assert_eq!(fields(&status), ["invitation"]);
    let which = proto::submit_response_request::Invitation::InvitationId("inv_0".into());
    let unknown = proto::SubmitResponseRequest { invitation: Some(which), ..submit("", 9, "") };
    let status = world.feedback().submit_response(unknown).await.expect_err("refused");
    assert_eq!(
        (status.code(), fields(&status)),
        (Code::NotFound, vec!["invitation_id".to_owned()])
    );
}

#[tokio::test]
async fn lists_refuse_what_they_do_not_know() {
    let world = World::start().await;
    let list = proto::ListCasesRequest { parent: parent(), state: 99, ..Default::default() };
    let status = world.cases().list_cases(list).await.expect_err("refused");
    assert_eq!(fields(&status), ["state"]);
    let list = proto::ListCasesRequest { parent: parent(), page_size: -1, ..Default::default() };
    let status = world.cases().list_cases(list).await.expect_err("refused");
    assert_eq!(fields(&status), ["page_size"]);
    let list = proto::ListInvitationsRequest {
        parent: parent(),
        page_token: "nonsense".into(),
        ..Default::default()
    };
    let status = world.feedback().list_invitations(list).await.expect_err("refused");
    assert_eq!(told(&status).1, "PAGE_TOKEN_INVALID");
    let behind = proto::ListSurveysRequest {
        parent: parent(),
        min_positions: [("feedback".to_owned(), 1_000)].into(),
        ..Default::default()
    };
    let status = world.surveys().list_surveys(behind).await.expect_err("not there yet");
    assert_eq!(told(&status), (Code::Unavailable, "BEHIND".into()));
}
