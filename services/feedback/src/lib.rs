//! # What customers answered, and what must be done about it: surveys, cases, safety screening
//!
//! `feedback` owns surveys, invitations and the one answer of each, cases with what was promised, and every free text a
//! customer writes, until safety has seen what it must see.
//!
//! | aggregate | stream | decides |
//! |---|---|---|
//! | survey | `survey/<id>` | what is asked, approved by a second person |
//! | invitation | `invitation/inv_…` | one question to one party |
//! | asked | `asked/<party_id>` | cooldowns, exactly |
//! | response | `response/rsp_…` | – |
//! | text | `text/txt_…` | who may read a free text; what becomes of a candidate |
//! | case | `case/cas_…` | clocks and targets |
//!
//! ```text
//! survey      CHECKED → APPROVED → LIVE → RETIRED
//! invitation  REQUESTED → ISSUED → SENT → ANSWERED | EXPIRED;  DECLINED(cooldown_…, quota, not_live, not_survey, not_sent)
//! text        UNSCREENED → CLEAR | CANDIDATE → HANDED_OFF → RECONCILED;  CANDIDATE → NOT_A_CASE
//! case        OPEN → RESPONDED → RESOLVED ⇄ REOPENED;  PAUSED(reason) beside
//! ```
//!
//! **Asking.** A journey's `InstanceFeedbackRequested`, or a call, states a timer that is due at once. Its handler
//! decides: is the survey live and its module a survey's, do the cooldowns of family and party allow it, is there a place
//! under the quota. A call whose survey has a module of another class is refused at once. What is issued and what counts are one unit; two that are decided at the same moment conflict on the party's `asked`
//! stream, and the last place of a quota is taken under the lock of the commit. `delivery` opens a touch for
//! `InvitationIssued` and lets it through its gate like any other; when it was not sent, the invitation is declined and
//! no longer counts.
//!
//! **Answering.** A personal link is `<url>/<token>`; the token names tenant and invitation and proves that we wrote
//! both ([`chassis::token`]). It is minted when a message is handed over, so no event, table or render hash holds it.
//! It takes one answer: that, the response, its texts and the cases it calls for are one unit.
//!
//! **Texts.** A text stands once, sealed under the party's key, in `TextReceived`; everything else names it by id.
//! Until the lexicon was applied nobody reads it, and it clears nothing while the name of a product may not have been
//! heard of; what could not be screened within 12 hours is a candidate. A candidate is read by safety alone, within 24
//! hours of the wall, escalating after 12, 18 and 24, until there is the receipt of the safety database or a person's
//! word, with reason and comment, that it is no case. After that it opens to those who may unseal texts
//! (`feedback.texts.unseal`), that of a medical question to medical roles only (`feedback.medical.unseal`).
//!
//! **Cases.** Targets are counted in business time of the case's own calendar; clocks stand in a pause and nowhere else
//! before the end. What counted so far is stated in the events, so later zone data changes no past.
//!
//! ```text
//! DraftSurvey{yaml} → ApproveSurvey (someone else) → ActivateSurvey
//! RequestInvitation{survey, party} → ISSUED → OpenLink{token} → SubmitResponse{token, answers} → rsp_…
//! ListSafetyCandidates → GetSafetyCandidate → HandOffSafetyCandidate{receipt}
//! ```
//!
//! What must not be found here: a text outside `domain::text` and what it opens to; a call in a consumer; a clock or a
//! random number in `domain` and `lexicon`; another service's calendar stopping the clock of safety.

mod consumers;
mod convert;
mod domain;
mod grpc;
mod lexicon;
mod refusal;
mod timers;
mod units;
mod view;

#[cfg(test)]
mod tests;

pub use refusal::REASONS;

use chassis::deps::Deps;
use chassis::limited;
use chassis::service::Service;
use eventstore::{Migration, Schema};
use rapport_proto::feedback::v1::case_service_server::CaseServiceServer;
use rapport_proto::feedback::v1::feedback_service_server::FeedbackServiceServer;
use rapport_proto::feedback::v1::safety_service_server::SafetyServiceServer;
use rapport_proto::feedback::v1::survey_service_server::SurveyServiceServer;

/// The tables and the view of own events.
pub fn schema() -> Schema {
    Schema {
        migrations: vec![Migration::portable(
            "feedback/0001_feedback",
            include_str!("../migrations/0001_feedback.sql"),
        )],
        views: vec![Box::new(view::Feedback)],
    }
}

/// The service: four gRPC services, three consumers, and the timers.
pub fn service(deps: &Deps) -> Service {
    standing(deps).timers(&deps.store, timers::Timers)
}

/// The service as it is between two timers.
fn standing(deps: &Deps) -> Service {
    deaf(deps).consume(consumers::products())
}

/// The service as it is while it hears of no product.
fn deaf(deps: &Deps) -> Service {
    let api = grpc::Api::new(deps);
    let max = deps.max_message_bytes;
    Service::new()
        .serve(limited!(SurveyServiceServer::new(api.clone()), max))
        .serve(limited!(FeedbackServiceServer::new(api.clone()), max))
        .serve(limited!(CaseServiceServer::new(api.clone()), max))
        .serve(limited!(SafetyServiceServer::new(api), max))
        .consume(consumers::reactions())
        .consume(consumers::parties())
}
