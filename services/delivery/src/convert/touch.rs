//! Touches and tasks.

use std::collections::BTreeMap;
use std::time::Duration;

use chassis::name;
use chassis::status::Problem;
use chassis::text::{self, Check};
use eventstore::{Loaded, Metadata, Timestamp};
use rapport_proto::delivery::v1 as proto;
use rapport_proto::delivery::v1::{TouchCause, TouchRequested};
use rapport_proto::types::Channel;

use super::{authored_id, choice, code, optional_code, optional_id, time};
use crate::domain::touch::{Command, State, Status};

/// How long a touch may wait when the request does not say.
const VALID: Duration = Duration::from_secs(3 * 86_400);
/// How far ahead it may be asked for.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);
/// Values a module's slots may get, and the length of each.
const SLOTS: usize = 100;
const SLOT_LENGTH: usize = 4_000;

/// The touch a call asks for.
pub(crate) fn request(
    request: &proto::RequestTouchRequest,
    party_id: &str,
    meta: &Metadata,
) -> Result<TouchRequested, Problem> {
    let mut check = Check::default();
    let module = authored_id(&mut check, "module", &request.module);
    let channel: Option<Channel> = choice(&mut check, "channel", request.channel);
    let sender_id = authored_id(&mut check, "sender_id", &request.sender_id);
    let decision_id = optional_id(&mut check, "decision_id", &request.decision_id);
    let expires_at = time(&mut check, "expire_time", request.expire_time.as_ref()).flatten();
    let expires_at = expires_at.unwrap_or_else(|| meta.at.plus(VALID));
    let soon = expires_at > meta.at && expires_at <= meta.at.plus(LONGEST);
    check.require(soon, "expire_time", "Use a time after now and at most 366 days ahead.");
    slots(&mut check, &request.slots);
    positions(&mut check, &request.min_positions);
    check.finish()?;
    Ok(TouchRequested {
        touch_id: derived_id(meta),
        cause: TouchCause::Api.into(),
        party_id: party_id.to_owned(),
        module,
        channel: channel.unwrap_or_default().into(),
        sender_id,
        decision_id,
        instance_id: String::new(),
        invitation_id: String::new(),
        expires_at: Some(expires_at.to_proto()),
        slots: request.slots.clone(),
        positions: request.min_positions.clone(),
        journey_id: String::new(),
    })
}

/// An id that a retry derives again.
fn derived_id(meta: &Metadata) -> String {
    let parts =
        [&meta.tenant, &meta.actor.subject, &meta.method, &meta.request_id].map(String::as_str);
    let [tenant, subject, method, request_id] = parts;
    eventstore::derive_id("tch", &[tenant, subject, method, request_id, "tch", "0"])
}

fn slots(check: &mut Check, slots: &BTreeMap<String, String>) {
    check.require(slots.len() <= SLOTS, "slots", "Give at most 100 values.");
    for (slot, value) in slots.iter().take(SLOTS) {
        let named = (1..=64).contains(&slot.len())
            && slot.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        check.require(named, "slots", "Name slots with 1 to 64 of A-Z, a-z, 0-9, '_' and '-'.");
        check.keep(text::prose("slots", value, 0..=SLOT_LENGTH));
    }
}

fn positions(check: &mut Check, positions: &BTreeMap<String, u64>) {
    let sources = ["profiles", "content", "decisioning", "journeys", "delivery"];
    let known = positions.keys().all(|it| sources.contains(&it.as_str()));
    check.require(known, "min_positions", "Name profiles, content, decisioning or journeys.");
    // Positions are counted in 63 bits.
    let possible = positions.values().all(|it| i64::try_from(*it).is_ok());
    check.require(possible, "min_positions", "Use positions that replies told you.");
}

/// What a person found out about a touch.
pub(crate) fn settle(request: &proto::SettleTouchRequest) -> Result<Command, Problem> {
    let mut check = Check::default();
    let reason = code(&mut check, "reason", &request.reason);
    check.finish()?;
    Ok(Command::Resolve { by: "person", sent: request.sent, reason })
}

/// What came of a task.
pub(crate) fn outcome(request: &proto::CompleteTaskRequest) -> Result<String, Problem> {
    let mut check = Check::default();
    let outcome = optional_code(&mut check, "outcome", &request.outcome);
    check.finish()?;
    Ok(outcome)
}

pub(crate) fn dismiss(request: &proto::DismissTaskRequest, by: String) -> Result<Command, Problem> {
    let mut check = Check::default();
    let reason: Option<proto::DismissReason> = choice(&mut check, "reason", request.reason);
    check.finish()?;
    Ok(Command::Dismiss { by, reason: reason.unwrap_or_default() })
}

/// The states of tasks a list asks for.
pub(crate) fn task_states(state: i32) -> Result<[Status; 2], Problem> {
    match Status::try_from(state) {
        Ok(Status::Unspecified) => Ok([Status::Open, Status::Accepted]),
        Ok(
            it @ (Status::Open
            | Status::Accepted
            | Status::Completed
            | Status::Dismissed
            | Status::Expired
            | Status::Withdrawn),
        ) => Ok([it, it]),
        _ => Err(Problem::field(
            "state",
            "Use OPEN, ACCEPTED, COMPLETED, DISMISSED, EXPIRED or WITHDRAWN, or leave it unspecified.",
        )),
    }
}

/// The touch as it stands.
pub(crate) fn touch(tenant: &str, loaded: &Loaded<State>) -> proto::Touch {
    let it = loaded.state.clone();
    proto::Touch {
        name: name::print(tenant, &[("touches", &it.request.touch_id)]),
        request: Some(it.request),
        state: it.status.into(),
        reason: it.reason,
        verdicts: it.verdicts,
        content: it.ready.content,
        render_hash: it.ready.render_hash,
        contact_point_id: it.ready.contact_point_id,
        reserved: it.ready.reserved,
        attempts: it.attempts,
        provider_id: it.provider_id,
        next_time: it.next_at.map(Timestamp::to_proto),
        create_time: Some(loaded.created_at.to_proto()),
        send_time: it.sent_at.map(Timestamp::to_proto),
        delivered: it.delivered,
        opens: it.opens,
        clicks: it.clicks,
        machine_events: it.machine_events,
        assignee_party_id: it.ready.assignee_party_id,
        task_user: it.task_user,
        market: it.ready.market,
    }
}
