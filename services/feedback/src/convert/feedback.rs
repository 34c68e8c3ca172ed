//! Invitations and responses.

use chassis::name;
use chassis::status::Problem;
use chassis::text::Check;
use eventstore::{Loaded, Metadata, Timestamp};
use rapport_proto::feedback::v1 as proto;
use rapport_proto::types::Channel;

use super::{authored_id, choice, derived, id, language, optional_id, time};
use crate::domain::{HOUR, invitation, later, response};

/// How long a request may wait to be sent unless it says otherwise.
const SENT_WITHIN: i64 = 72 * HOUR;
/// The last instant that a request may name: the end of the year 9999.
const LAST: Timestamp = Timestamp(253_402_300_799_000_000);

/// What is asked for. The market is the caller's to add.
pub(crate) fn request(
    request: &proto::RequestInvitationRequest,
    meta: &Metadata,
) -> Result<proto::InvitationRequested, Problem> {
    let mut check = Check::default();
    let expires_at = match &request.expire_time {
        None => later(meta.at, SENT_WITHIN),
        Some(stated) => {
            let known = Timestamp::from_proto(stated).filter(|it| (meta.at..LAST).contains(it));
            check.require(known.is_some(), "expire_time", "Use a time that is yet to come.");
            known.unwrap_or_default()
        }
    };
    let requested = proto::InvitationRequested {
        invitation_id: derived("inv", meta),
        survey: authored_id(&mut check, "survey", &request.survey),
        party_id: id(&mut check, "party_id", &request.party_id),
        channel: choice::<Channel>(&mut check, "channel", request.channel).into(),
        sender_id: authored_id(&mut check, "sender_id", &request.sender_id),
        about_touch_id: optional_id(&mut check, "about_touch_id", &request.about_touch_id),
        expires_at: Some(expires_at.to_proto()),
        ..proto::InvitationRequested::default()
    };
    check.finish().map(|()| requested)
}

/// The invitation an answer states.
pub(crate) fn stated_invitation(text: &str) -> Result<String, Problem> {
    let mut check = Check::default();
    let stated = id(&mut check, "invitation_id", text);
    check.finish().map(|()| stated)
}

/// The language an answer states.
pub(crate) fn stated_language(text: &str) -> Result<String, Problem> {
    let mut check = Check::default();
    let stated = language(&mut check, text);
    check.finish().map(|()| stated)
}

pub(crate) fn invitation(
    tenant: &str,
    invitation_id: &str,
    loaded: &Loaded<invitation::State>,
) -> proto::Invitation {
    let state = &loaded.state;
    let (requested, issued) = (&state.requested, state.issued.clone().unwrap_or_default());
    proto::Invitation {
        name: name::print(tenant, &[("invitations", invitation_id)]),
        state: state.status.into(),
        survey: requested.survey.clone(),
        version: issued.version,
        party_id: requested.party_id.clone(),
        channel: requested.channel,
        touch_id: issued.touch_id,
        about_touch_id: requested.about_touch_id.clone(),
        reason: state.reason.clone(),
        detail: state.detail.clone(),
        response_id: state.response_id.clone(),
        request_time: time(Some(loaded.created_at)),
        answer_until: issued.answer_until,
    }
}

/// What a form shows: the questions, nothing of how the survey is run.
pub(crate) fn form(survey: &proto::Survey) -> proto::Survey {
    proto::Survey {
        survey: survey.survey.clone(),
        questions: survey.questions.clone(),
        ..proto::Survey::default()
    }
}

/// A response; `shown` gives a text by its id, or why it is withheld.
pub(crate) fn response(
    tenant: &str,
    loaded: &Loaded<response::State>,
    shown: impl Fn(&str) -> (String, String),
) -> proto::Response {
    let it = loaded.state.submitted.clone();
    let answers = it.answers.into_iter().map(|answer| {
        let (text, withheld) = shown(&answer.text_id);
        proto::ShownAnswer {
            question: answer.question,
            kind: answer.kind,
            score: answer.score,
            choices: answer.choices,
            text,
            withheld,
            text_id: answer.text_id,
        }
    });
    proto::Response {
        name: name::print(tenant, &[("responses", &it.response_id)]),
        invitation_id: it.invitation_id,
        survey: it.survey,
        version: it.version,
        party_id: it.party_id,
        about_touch_id: it.about_touch_id,
        answers: answers.collect(),
        generated: it.generated,
        submit_time: time(Some(loaded.created_at)),
    }
}
