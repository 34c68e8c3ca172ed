//! Writes the samples of the golden corpus that are missing; it never overwrites one, because a sample is what was
//! released. Run it after adding an event: `cargo run -p feedback --example golden`.
//!
//! What a sample is, `eventstore::testing::golden` says.

use eventstore::testing::golden::{Sample, write_missing};
use prost_types::Timestamp;
use rapport_proto::Personal;
use rapport_proto::feedback::v1::{
    Answer, BusinessCalendar, CaseBreached, CaseOpened, CasePaused, CaseReopened, CaseResolved,
    CaseResponded, CaseResumed, CaseType, Choice, Cooldown, FollowUp, InvitationAnswered,
    InvitationDeclined, InvitationExpired, InvitationIssued, InvitationRequested, InvitationSent,
    PartyAsked, PartyNotAsked, Question, QuestionKind, ResponseSubmitted, SafetyCandidateDismissed,
    SafetyCandidateEscalated, SafetyCandidateHandedOff, SafetyCandidateOpened,
    SafetyCandidateReconciled, Sla, Survey, SurveyVersionActivated, SurveyVersionApproved,
    SurveyVersionDrafted, SurveyVersionRetired, TextReceived, TextScreened, WorkingHours,
    asked_event, case_event, invitation_event, response_event, survey_event, text_event,
};
use rapport_proto::types::Channel;

const INVITATION: &str = "inv_1x0c9m0t6qhx8vw3n5y7zp1kdg";
const PARTY: &str = "pty_4r2c9m0t6qhx8vw3n5y7zp1kdg";
const RESPONSE: &str = "rsp_0kn2wznbkeq4zc9pa7b84q2m0f";
const CASE: &str = "cas_7kn2wznbkeq4zc9pa7b84q2m0f";
const TEXT: &str = "txt_5kn2wznbkeq4zc9pa7b84q2m0f";
const CANDIDATE: &str = "saf_3kn2wznbkeq4zc9pa7b84q2m0f";
const TOUCH: &str = "tch_2z37vrqyrvjt9mwpbtzfxc0vcp";
const ABOUT: &str = "tch_9z37vrqyrvjt9mwpbtzfxc0vcp";
const INSTANCE: &str = "ins_0kn2wznbkeq4zc9pa7b84q2m0f";

fn main() -> std::io::Result<()> {
    let samples = [surveys(), invitations(), asked(), responses(), cases(), texts()];
    write_missing(env!("CARGO_MANIFEST_DIR"), samples.into_iter().flatten())
}

fn time(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds: 1_767_225_600 + seconds, nanos: 250_000_000 })
}

fn sealed() -> Option<Personal> {
    let key_id = "key_6kn2wznbkeq4zc9pa7b84q2m0f".to_owned();
    Some(Personal::Sealed { key_id, nonce: vec![7; 24], ciphertext: vec![1, 2, 3] })
}

fn said(text: &str) -> std::collections::BTreeMap<String, String> {
    [("en".to_owned(), text.to_owned())].into()
}

fn calendar() -> Option<BusinessCalendar> {
    let intervals = vec!["08:00-12:00".into(), "13:00-24:00".into()];
    Some(BusinessCalendar {
        time_zone: "Europe/Berlin".into(),
        hours: vec![WorkingHours { weekday: "MON".into(), intervals }],
        holidays: vec!["2026-12-25".into()],
    })
}

fn sla() -> Option<Sla> {
    Some(Sla { first_response: "4h".into(), resolution: "40h".into() })
}

fn document() -> Option<Survey> {
    let choice = |code: &str| Choice { code: code.into(), text: said(code) };
    Some(Survey {
        survey: "order-nps".into(),
        family: "nps".into(),
        description: "After an order.".into(),
        module: "ask-nps".into(),
        questions: vec![
            Question {
                id: "score".into(),
                kind: QuestionKind::Nps.into(),
                text: said("How likely?"),
                required: true,
                choices: vec![],
            },
            Question {
                id: "channel".into(),
                kind: QuestionKind::SingleChoice.into(),
                text: said("Where?"),
                required: false,
                choices: vec![choice("web"), choice("phone")],
            },
        ],
        cooldown: Some(Cooldown { family: "90d".into(), global: "14d".into() }),
        answer_within: "14d".into(),
        quota: 500,
        products: vec!["cardiol".into()],
        follow_ups: vec![FollowUp {
            question: "score".into(),
            score_at_most: Some(6),
            r#type: CaseType::FollowUp.into(),
            calendar: calendar(),
            sla: sla(),
        }],
    })
}

fn surveys() -> Vec<Sample> {
    use survey_event::Event;
    let (version, hash) = (2, || vec![7; 32]);
    samples(&[
        Event::Drafted(SurveyVersionDrafted {
            version,
            document: document(),
            hash: hash(),
            author: "ada".into(),
            drafted_at: time(0),
        }),
        Event::Approved(SurveyVersionApproved {
            version,
            hash: hash(),
            comment: "Fine.".into(),
            approver: "grace".into(),
            approved_at: time(1),
        }),
        Event::Activated(SurveyVersionActivated {
            version,
            document: document(),
            hash: hash(),
            activated_at: time(2),
        }),
        Event::Retired(SurveyVersionRetired {
            version,
            reason: "replaced".into(),
            retired_at: time(3),
        }),
    ])
}

fn invitations() -> Vec<Sample> {
    use invitation_event::Event;
    let (invitation_id, instance_id) = (|| INVITATION.to_owned(), || INSTANCE.to_owned());
    samples(&[
        Event::Requested(InvitationRequested {
            invitation_id: invitation_id(),
            survey: "order-nps".into(),
            party_id: PARTY.into(),
            channel: Channel::Email.into(),
            sender_id: "northwind".into(),
            about_touch_id: ABOUT.into(),
            instance_id: instance_id(),
            journey_id: "win-back".into(),
            expires_at: time(86_400),
            market: "DE".into(),
        }),
        Event::Issued(InvitationIssued {
            invitation_id: invitation_id(),
            survey: "order-nps".into(),
            version: 2,
            family: "nps".into(),
            party_id: PARTY.into(),
            module: "ask-nps".into(),
            channel: Channel::Email.into(),
            sender_id: "northwind".into(),
            about_touch_id: ABOUT.into(),
            instance_id: instance_id(),
            touch_id: TOUCH.into(),
            expires_at: time(86_400),
            answer_until: time(1_209_600),
            journey_id: "win-back".into(),
            quota: 500,
        }),
        Event::Declined(InvitationDeclined {
            invitation_id: invitation_id(),
            reason: "cooldown_family".into(),
            detail: String::new(),
            next_allowed_at: time(864_000),
            instance_id: instance_id(),
        }),
        Event::Sent(InvitationSent {
            invitation_id: invitation_id(),
            touch_id: TOUCH.into(),
            instance_id: instance_id(),
        }),
        Event::Answered(InvitationAnswered {
            invitation_id: invitation_id(),
            response_id: RESPONSE.into(),
            instance_id: instance_id(),
        }),
        Event::Expired(InvitationExpired {
            invitation_id: invitation_id(),
            instance_id: instance_id(),
        }),
    ])
}

fn asked() -> Vec<Sample> {
    use asked_event::Event;
    samples(&[
        Event::Asked(PartyAsked {
            party_id: PARTY.into(),
            invitation_id: INVITATION.into(),
            family: "nps".into(),
            asked_at: time(0),
        }),
        Event::NotAsked(PartyNotAsked { party_id: PARTY.into(), invitation_id: INVITATION.into() }),
    ])
}

fn responses() -> Vec<Sample> {
    let score = Answer {
        question: "score".into(),
        kind: QuestionKind::Nps.into(),
        score: 6,
        choices: vec![],
        text_id: String::new(),
    };
    let text = Answer {
        question: "why".into(),
        kind: QuestionKind::Text.into(),
        score: 0,
        choices: vec![],
        text_id: TEXT.into(),
    };
    let chosen = Answer {
        question: "channel".into(),
        kind: QuestionKind::SingleChoice.into(),
        score: 0,
        choices: vec!["web".into()],
        text_id: String::new(),
    };
    samples(&[response_event::Event::Submitted(ResponseSubmitted {
        response_id: RESPONSE.into(),
        invitation_id: INVITATION.into(),
        survey: "order-nps".into(),
        version: 2,
        party_id: PARTY.into(),
        about_touch_id: ABOUT.into(),
        answers: vec![score, text, chosen],
        generated: true,
        instance_id: INSTANCE.into(),
        market: "DE".into(),
    })])
}

fn cases() -> Vec<Sample> {
    use case_event::Event;
    let case_id = || CASE.to_owned();
    samples(&[
        Event::Opened(CaseOpened {
            case_id: case_id(),
            r#type: CaseType::MedicalInquiry.into(),
            party_id: PARTY.into(),
            about_touch_id: ABOUT.into(),
            response_id: RESPONSE.into(),
            calendar: calendar(),
            sla: sla(),
            respond_by: time(14_400),
            resolve_by: time(144_000),
            text_id: TEXT.into(),
            market: "DE".into(),
            opened_at: time(0),
        }),
        Event::Responded(CaseResponded { case_id: case_id(), business_seconds: 60 }),
        Event::Paused(CasePaused {
            case_id: case_id(),
            reason: "waiting_for_customer".into(),
            paused_at: time(120),
            worked_micros: 60_000_001,
            elapsed_micros: 120_000_000,
        }),
        Event::Resumed(CaseResumed {
            case_id: case_id(),
            respond_by: time(20_000),
            resolve_by: time(200_000),
            resumed_at: time(600),
        }),
        Event::Resolved(CaseResolved {
            case_id: case_id(),
            outcome: "refund".into(),
            business_seconds: 60,
            elapsed_seconds: 120,
            worked_micros: 60_000_001,
            elapsed_micros: 120_000_000,
        }),
        Event::Reopened(CaseReopened {
            case_id: case_id(),
            reason: "not_done".into(),
            resolve_by: time(300_000),
            reopened_at: time(900),
        }),
        Event::Breached(CaseBreached {
            case_id: case_id(),
            target: "resolution".into(),
            due_at: time(144_000),
        }),
    ])
}

fn texts() -> Vec<Sample> {
    use text_event::Event;
    let (text_id, candidate_id) = (|| TEXT.to_owned(), || CANDIDATE.to_owned());
    samples(&[
        Event::Received(TextReceived {
            text_id: text_id(),
            party_id: PARTY.into(),
            of: "response".into(),
            of_id: RESPONSE.into(),
            language: "en".into(),
            products: vec!["cardiol".into()],
            text: sealed(),
            received_at: time(0),
            market: "DE".into(),
            medical: true,
        }),
        Event::Screened(TextScreened {
            text_id: text_id(),
            lexicon_version: "0123456789ab".into(),
            hits: vec!["event.nausea".into(), "health.care".into()],
            products: vec!["cardiol".into()],
            clear: false,
            content_position: 0,
        }),
        Event::Opened(SafetyCandidateOpened {
            candidate_id: candidate_id(),
            text_id: text_id(),
            party_id: PARTY.into(),
            received_at: time(0),
            due_at: time(86_400),
        }),
        Event::Escalated(SafetyCandidateEscalated { candidate_id: candidate_id(), level: 2 }),
        Event::HandedOff(SafetyCandidateHandedOff {
            candidate_id: candidate_id(),
            receipt: "PV-2026-7".into(),
            late: true,
        }),
        Event::Reconciled(SafetyCandidateReconciled {
            candidate_id: candidate_id(),
            case_number: "2026-000017".into(),
        }),
        Event::Dismissed(SafetyCandidateDismissed {
            candidate_id: candidate_id(),
            reason: "no_event".into(),
            comment: sealed(),
        }),
    ])
}

fn samples<E: rapport_proto::EventSet + std::fmt::Debug>(events: &[E]) -> Vec<Sample> {
    events.iter().map(|it| Sample::of(1, it)).collect()
}
