//! Candidates of safety cases.

use chassis::name;
use chassis::status::Problem;
use chassis::text::{self, Check};
use rapport_proto::feedback::v1 as proto;
use rapport_proto::feedback::v1::safety_candidate::State as Shown;

use super::{choice_or_none, time};
use crate::domain::is_code;
use crate::domain::text::{Command, State, Status};
use crate::refusal::RECEIPT_REQUIRED;

/// Which candidates a list shows.
pub(crate) fn state(value: i32) -> Result<Shown, Problem> {
    let mut check = Check::default();
    let state: Shown = choice_or_none(&mut check, "state", value);
    check.finish().map(|()| if state == Shown::Unspecified { Shown::Open } else { state })
}

pub(crate) fn hand_off(receipt: &str) -> Result<Command, Problem> {
    match text::line("receipt", receipt, 1..=128) {
        Ok(receipt) => Ok(Command::HandOff { receipt: receipt.to_owned() }),
        Err(wrong) => Err(Problem::of(RECEIPT_REQUIRED).violation(wrong.field, wrong.remedy)),
    }
}

pub(crate) fn reconcile(case_number: &str) -> Result<Command, Problem> {
    let mut check = Check::default();
    let case_number = check.text("case_number", case_number, 1..=128);
    check.finish().map(|()| Command::Reconcile { case_number })
}

pub(crate) fn dismiss(
    request: &proto::DismissSafetyCandidateRequest,
    person: bool,
) -> Result<Command, Problem> {
    let mut check = Check::default();
    let remedy = "Say why, with a code: 1 to 64 of A-Z, a-z, 0-9, '.', '_', ':' and '-'.";
    check.require(is_code(&request.reason), "reason", remedy);
    let comment = check.prose("comment", &request.comment, 1..=1_000);
    let reason = request.reason.clone();
    check.finish().map(|()| Command::Dismiss { reason, comment, person })
}

/// A candidate without its text; `None` for a text that is none.
pub(crate) fn candidate(tenant: &str, state: &State) -> Option<proto::SafetyCandidate> {
    let shown = match state.status {
        Status::Unknown | Status::Unscreened | Status::Clear => return None,
        Status::Candidate => Shown::Open,
        Status::HandedOff => Shown::HandedOff,
        Status::Reconciled => Shown::Reconciled,
        Status::NotACase => Shown::NotACase,
    };
    let received = &state.received;
    let collection = if received.of == "case" { "cases" } else { "responses" };
    Some(proto::SafetyCandidate {
        name: name::print(tenant, &[("safetyCandidates", &state.candidate_id)]),
        state: shown.into(),
        text_id: received.text_id.clone(),
        party_id: received.party_id.clone(),
        hits: state.hits.clone(),
        products: state.products.clone(),
        receive_time: received.received_at,
        due_time: time(Some(state.due_at())),
        level: state.level,
        receipt: state.receipt.clone(),
        case_number: state.case_number.clone(),
        reason: state.reason.clone(),
        of: name::print(tenant, &[(collection, &received.of_id)]),
    })
}
