//! What events of other services say that can matter to a journey.

use std::collections::BTreeMap;

use eventstore::{Error, Recorded};
use prost::Message;
use rapport_proto::delivery::v1 as delivery;
use rapport_proto::feedback::v1 as feedback;
use rapport_proto::feedback::v1::QuestionKind;
use rapport_proto::journeys::v1::Crossing;
use rapport_proto::profiles::v1 as profiles;
use rapport_proto::types::{Clear, clear};

/// What an event says that can matter here.
pub(super) enum News {
    Crossed { segment: String, crossing: Crossing },
    Changed(Change),
    Settled { verdict: &'static str, detail: String },
}

/// What changed about a party.
#[derive(Default)]
pub(super) struct Change {
    /// What rules call it.
    pub(super) roots: &'static [&'static str],
    pub(super) interaction: Option<Interaction>,
    /// The zone may be another one now.
    pub(super) moved: bool,
    pub(super) attributes: Vec<String>,
}

impl Change {
    pub(super) fn of(roots: &'static [&'static str]) -> Self {
        Self { roots, ..Self::default() }
    }

    /// An interaction changes traits; segments that follow from them have events of their own.
    fn interaction(name: String, properties: BTreeMap<String, Clear>) -> Self {
        let interaction = Some(Interaction { name, properties });
        Self { interaction, ..Self::of(&["traits"]) }
    }
}

/// What somebody did, or answered.
pub(super) struct Interaction {
    pub(super) name: String,
    /// Clear ones.
    pub(super) properties: BTreeMap<String, Clear>,
}

/// Events that can matter.
#[derive(Clone, Copy)]
enum Kind {
    Interaction,
    Entered,
    Exited,
    Moved,
    Attributes,
    State,
    Consent,
    Sent,
    Skipped,
    Failed,
    Resolved,
    Issued,
    Declined,
    Answered,
}

fn kind(type_name: &str) -> Option<Kind> {
    Some(match type_name.strip_prefix("rapport.")? {
        "profiles.v1.InteractionRecorded" => Kind::Interaction,
        "profiles.v1.SegmentEntered" => Kind::Entered,
        "profiles.v1.SegmentExited" => Kind::Exited,
        "profiles.v1.PartyMoved" => Kind::Moved,
        "profiles.v1.PartyAttributesSet" => Kind::Attributes,
        "profiles.v1.PartySuppressed" | "profiles.v1.PartyReleased" => Kind::State,
        "profiles.v1.ConsentGranted"
        | "profiles.v1.ConsentDenied"
        | "profiles.v1.ConsentWithdrawn"
        | "profiles.v1.ConsentExpired" => Kind::Consent,
        "delivery.v1.TouchSent" => Kind::Sent,
        "delivery.v1.TouchSkipped" => Kind::Skipped,
        "delivery.v1.TouchFailed" => Kind::Failed,
        // A touch of which nothing is known yet is waited for until it is resolved.
        "delivery.v1.TouchResolved" => Kind::Resolved,
        "feedback.v1.InvitationIssued" => Kind::Issued,
        "feedback.v1.InvitationDeclined" => Kind::Declined,
        "feedback.v1.ResponseSubmitted" => Kind::Answered,
        _ => return None,
    })
}

/// Whether an event of a type can matter.
pub(super) fn reads(type_name: &str) -> bool {
    kind(type_name).is_some()
}

/// `None` for what cannot.
pub(super) fn read(event: &Recorded) -> Result<Option<News>, Error> {
    let payload = &*event.envelope.payload;
    let Some(kind) = kind(&event.envelope.r#type) else { return Ok(None) };
    let settled = |verdict, detail| News::Settled { verdict, detail };
    Ok(Some(match kind {
        Kind::Interaction => {
            let it: profiles::InteractionRecorded = decode(payload)?;
            News::Changed(Change::interaction(it.name, it.clear))
        }
        Kind::Entered => {
            let it: profiles::SegmentEntered = decode(payload)?;
            News::Crossed { segment: it.segment_id, crossing: Crossing::Entered }
        }
        Kind::Exited => {
            let it: profiles::SegmentExited = decode(payload)?;
            News::Crossed { segment: it.segment_id, crossing: Crossing::Exited }
        }
        Kind::Moved => News::Changed(Change { moved: true, ..Change::of(&["party", "consent"]) }),
        Kind::Attributes => {
            let it: profiles::PartyAttributesSet = decode(payload)?;
            let attributes = it.clear.into_keys().chain(it.removed).collect();
            News::Changed(Change { attributes, ..Change::of(&["attributes"]) })
        }
        Kind::State => News::Changed(Change::of(&["party"])),
        Kind::Consent => News::Changed(Change::of(&["consent"])),
        Kind::Sent => settled("sent", String::new()),
        Kind::Skipped => {
            let it: delivery::TouchSkipped = decode(payload)?;
            settled("skipped", it.reason)
        }
        Kind::Failed => {
            let it: delivery::TouchFailed = decode(payload)?;
            settled("failed", it.code)
        }
        Kind::Resolved => {
            let it: delivery::TouchResolved = decode(payload)?;
            match it.sent {
                true => settled("sent", String::new()),
                false => settled("failed", it.by),
            }
        }
        Kind::Issued => settled("issued", String::new()),
        Kind::Declined => {
            let it: feedback::InvitationDeclined = decode(payload)?;
            settled("declined", it.reason)
        }
        Kind::Answered => {
            let it: feedback::ResponseSubmitted = decode(payload)?;
            let properties = answers(it);
            let interaction = Some(Interaction { name: event.envelope.r#type.clone(), properties });
            News::Changed(Change { interaction, ..Change::default() })
        }
    }))
}

/// What rules may read of an answer: scores and single choices, never a text.
fn answers(it: feedback::ResponseSubmitted) -> BTreeMap<String, Clear> {
    let code = |code| clear::Value::Code(code);
    let answered = it.answers.into_iter().filter_map(|answer| {
        let value = match answer.kind() {
            QuestionKind::Nps | QuestionKind::Csat | QuestionKind::Ces => {
                clear::Value::Number(answer.score.into())
            }
            QuestionKind::SingleChoice => code(answer.choices.into_iter().next()?),
            QuestionKind::MultipleChoice | QuestionKind::Text | QuestionKind::Unspecified => {
                return None;
            }
        };
        Some((answer.question, value))
    });
    let survey = ("survey".to_owned(), code(it.survey));
    answered.chain([survey]).map(|(name, value)| (name, Clear { value: Some(value) })).collect()
}

fn decode<M: Message + Default>(payload: &[u8]) -> Result<M, Error> {
    M::decode(payload).map_err(|it| Error::corrupt(format!("an event of another service: {it}")))
}
