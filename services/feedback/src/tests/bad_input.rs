//! Bad input is refused with the field and the remedy, and nothing is half stored.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, Value};

use super::withheld::{methods, requests};
use super::*;

/// Calls without a field that can be wrong, beside those of every call.
const ANYTHING: [&str; 2] = ["generated", "validate_only"];

/// What is wrong in a field, whatever call it is in. A field that is new says here what is wrong in it.
fn wrong(field: &FieldDescriptor) -> Vec<Value> {
    let texts = |texts: &[&str]| texts.iter().map(|it| Value::String((*it).to_owned())).collect();
    let long = |length: usize| Value::String("x".repeat(length));
    match (field.name(), field.kind()) {
        ("name", _) => texts(&[
            "",
            "x",
            "tenants/acme",
            "tenants/acme/things/x",
            "tenants/acme/cases/..",
            "tenants/umbrella/cases/cas_1",
            "tenants/acme/surveys/a/b",
            "tenants/acme/invitations/\u{0}",
        ]),
        ("parent", _) => texts(&["", "acme", "tenants/", "tenants/acme/x", "tenants/umbrella"]),
        ("token", _) => [texts(&["x", "acme.inv_1.0"]), vec![long(100_000)]].concat(),
        ("invitation_id", _) => texts(&["", "inv_0", "\u{0}"]),
        ("request_id", _) => {
            [texts(&["short", "with\u{7}bell", "ümläuts-"]), vec![long(129)]].concat()
        }
        ("page_token", _) => texts(&["nonsense", "\u{0}"]),
        ("page_size", _) => vec![Value::I32(-1), Value::I32(i32::MIN)],
        ("version", _) => vec![Value::U32(99), Value::U32(u32::MAX)],
        ("hash", _) => texts(&["x", "é", &"g".repeat(64), &"0".repeat(63)]),
        ("comment", _) => vec![long(3_000), Value::String("a\u{0}b".into())],
        ("text", _) => vec![long(4_001)],
        ("language", _) => texts(&["not a language", "é", &"x".repeat(36)]),
        ("receipt" | "case_number", _) => [texts(&["", " ", "a\nb"]), vec![long(129)]].concat(),
        ("reason" | "outcome", _) => [texts(&["", "because of it", "ä"]), vec![long(65)]].concat(),
        ("survey" | "party_id" | "about_touch_id" | "sender_id", Kind::String) => {
            texts(&["a b", "../x", "\u{0}", &"x".repeat(200)])
        }
        ("yaml", _) => texts(&["", "survey: [", "survey: a\nunknown: b\n", "\u{0}"]),
        (_, Kind::Enum(_)) => vec![Value::EnumNumber(99), Value::EnumNumber(-1)],
        ("survey" | "calendar" | "sla" | "expire_time" | "answers", Kind::Message(_)) => Vec::new(),
        (name, _) if ANYTHING.contains(&name) || field.is_map() => Vec::new(),
        (name, kind) => panic!("say what is wrong in {name}: {kind:?}"),
    }
}

/// What a refusal may call a field: what a text holds is told by its place in there.
fn is_named(field: &str, told: &[String]) -> bool {
    told.iter().any(|it| it == field || (field == "yaml" && it.starts_with("definition")))
}

#[tokio::test]
async fn every_call_names_every_field_that_is_wrong_and_changes_nothing() {
    let world = World::with(STANDING).await;
    let mut refused = 0;
    for (number, method) in methods(&["rapport.feedback.v1."]).iter().enumerate() {
        let hidden = world.hidden(number, true).await;
        let own = |request: &DynamicMessage| hidden.is_of(method, request);
        let request = requests(method, &hidden, number).into_iter().find(own);
        let request = request.unwrap_or_else(|| panic!("{} takes no name", method.full_name()));
        let mut request = request;
        // What is only checked is not refused.
        request.clear_field_by_name("validate_only");
        let head = world.store("feedback").read_head().await.expect("read").position;
        for field in method.input().fields() {
            for value in wrong(&field) {
                let mut request = request.clone();
                request.set_field(&field, value.clone());
                let status = world.call(method, &request).await.err();
                let what = format!("{} {} = {value:?}", method.name(), field.name());
                let status = status.unwrap_or_else(|| panic!("{what} was taken"));
                let told = fields(&status);
                assert!(is_named(field.name(), &told), "{what}: {told:?} {status:?}");
                assert!(reason(&status).is_some(), "{what}: {status:?}");
                let typed = [Code::InvalidArgument, Code::NotFound].contains(&status.code());
                assert!(typed, "{what}: {status:?}");
                refused += 1;
            }
        }
        let after = world.store("feedback").read_head().await.expect("read").position;
        assert_eq!(after, head, "{} changed something", method.full_name());
    }
    assert!(refused > 300, "{refused}");
}

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
