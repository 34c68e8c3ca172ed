//! Cases.

use chassis::name;
use chassis::status::{Problem, Violation};
use chassis::text::Check;
use eventstore::{Metadata, Timestamp};
use rapport_proto::feedback::v1 as proto;

use super::{choice, choice_or_none, derived, id, language, optional_id, time};
use crate::domain::answers::{LONGEST, cleaned};
use crate::domain::case::{State, Status, seconds};
use crate::domain::promise::Promise;
use crate::units::NewCase;
use crate::view::case::Filter;

/// A case to open; its market is added later.
pub(crate) fn open(request: &proto::OpenCaseRequest, meta: &Metadata) -> Result<NewCase, Problem> {
    let mut check = Check::default();
    let type_: proto::CaseType = choice(&mut check, "type", request.r#type);
    let opened = proto::CaseOpened {
        case_id: derived("cas", meta),
        r#type: type_.into(),
        party_id: id(&mut check, "party_id", &request.party_id),
        about_touch_id: optional_id(&mut check, "about_touch_id", &request.about_touch_id),
        calendar: request.calendar.clone(),
        sla: request.sla.clone(),
        ..proto::CaseOpened::default()
    };
    let promise = Promise::read(request.calendar.as_ref(), request.sla.as_ref());
    for wrong in promise.err().into_iter().flatten() {
        check.refuse(&wrong.place, wrong.remedy);
    }
    let text = text(&mut check, &request.text);
    let language = language(&mut check, &request.language);
    check.finish().map(|()| NewCase { opened, text, language })
}

/// A customer's text; only spaces are none.
fn text(check: &mut Check, text: &str) -> String {
    let fits = text.len() <= 4 * LONGEST && text.chars().count() <= LONGEST;
    check.require(fits, "text", "Use at most 4,000 characters.");
    if fits && !text.trim().is_empty() { cleaned(text) } else { String::new() }
}

pub(crate) fn filter(request: &proto::ListCasesRequest) -> Result<Filter<'_>, Problem> {
    let mut check = Check::default();
    let state: Status = choice_or_none(&mut check, "state", request.state);
    let type_: proto::CaseType = choice_or_none(&mut check, "type", request.r#type);
    optional_id(&mut check, "party_id", &request.party_id);
    check.finish().map(|()| Filter { state, type_, party_id: &request.party_id })
}

/// A case without its text.
pub(crate) fn case(tenant: &str, state: &State, now: Timestamp) -> proto::Case {
    let opened = &state.opened;
    // Without the zone data that it was opened with, nobody can say how long it took so far.
    let worked = state.clocks(now).map_or(0, |it| it.worked);
    proto::Case {
        name: name::print(tenant, &[("cases", &opened.case_id)]),
        state: state.status.into(),
        r#type: opened.r#type,
        party_id: opened.party_id.clone(),
        about_touch_id: opened.about_touch_id.clone(),
        response_id: opened.response_id.clone(),
        paused: state.paused.clone().unwrap_or_default(),
        open_time: opened.opened_at,
        respond_by: time(state.respond_by),
        resolve_by: time(state.resolve_by),
        breached: state.breached.iter().cloned().collect(),
        outcome: state.outcome.clone(),
        text: String::new(),
        withheld: String::new(),
        business_seconds: seconds(worked),
    }
}

/// The reason of a pause or of opening again.
pub(crate) fn reason(value: &str) -> Result<String, Problem> {
    if value.is_empty() {
        return Err(Violation::new("reason", "Say why, with a code.").into());
    }
    super::code("reason", value)
}
