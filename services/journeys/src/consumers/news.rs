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

/// How the names of our events begin.
const OURS: &str = "rapport.";

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

    /// An interaction changes traits; segments that follow from them have events of their own. Anybody with a write key
    /// names interactions: none is heard by a name that an event of ours could have.
    fn interaction(name: String, properties: BTreeMap<String, Clear>) -> Self {
        let interaction = Some(Interaction { name, properties });
        let interaction = interaction.filter(|it| !it.name.starts_with(OURS));
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
    Some(match type_name.strip_prefix(OURS)? {
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

/// What rules may read of an answer: scores and single choices, never a text. What is told of the answer itself stands
/// before what was answered to a question of the same name.
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
    let itself = [("survey", code(it.survey)), ("generated", clear::Value::Flag(it.generated))];
    let itself = itself.map(|(name, value)| (name.to_owned(), value));
    // Of two with one name the later stays.
    answered.chain(itself).map(|(name, value)| (name, Clear { value: Some(value) })).collect()
}

fn decode<M: Message + Default>(payload: &[u8]) -> Result<M, Error> {
    M::decode(payload).map_err(|it| Error::corrupt(format!("an event of another service: {it}")))
}

#[cfg(test)]
mod tests {
    use rapport_proto::feedback::v1::Answer;

    use super::*;

    #[test]
    fn no_interaction_is_heard_by_the_name_of_an_event_of_ours() {
        let heard = |name: &str| {
            let change = Change::interaction(name.to_owned(), BTreeMap::new());
            assert_eq!(change.roots, ["traits"]);
            change.interaction.is_some()
        };
        assert!(heard("Order Completed") && heard("rapport"));
        assert!(!heard("rapport.feedback.v1.ResponseSubmitted"));
    }

    #[test]
    fn scores_and_single_choices_are_read_and_never_a_text() {
        let answer = |question: &str, kind: QuestionKind| Answer {
            question: question.into(),
            kind: kind.into(),
            score: 3,
            choices: vec!["price".into(), "time".into()],
            text_id: "txt_1".into(),
        };
        let submitted = feedback::ResponseSubmitted {
            survey: "order-nps".into(),
            generated: true,
            answers: vec![
                answer("score", QuestionKind::Nps),
                answer("topic", QuestionKind::SingleChoice),
                answer("topics", QuestionKind::MultipleChoice),
                answer("why", QuestionKind::Text),
                // What they are called does not hide which survey it was, nor who answered.
                answer("survey", QuestionKind::SingleChoice),
                answer("generated", QuestionKind::Csat),
            ],
            ..Default::default()
        };
        let read = answers(submitted);
        let code = |it: &str| clear::Value::Code(it.into());
        let expected = [
            ("generated", clear::Value::Flag(true)),
            ("score", clear::Value::Number(3.0)),
            ("survey", code("order-nps")),
            ("topic", code("price")),
        ];
        let expected = expected.map(|it| (it.0.to_owned(), Clear { value: Some(it.1) }));
        assert_eq!(read, expected.into());
    }
}
