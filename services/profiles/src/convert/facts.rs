//! Facts for the other services.

use std::collections::{BTreeMap, BTreeSet};

use chassis::status::Problem;
use eventstore::Timestamp;
use rapport_proto::Personal;
use rapport_proto::profiles::v1 as proto;
use rapport_proto::types::{Channel, Clear, Money, clear::Value};

use super::{authored_id, choice, time};
use crate::domain::party::{State, Status};
use crate::domain::segment::Question;
use crate::refusal::Fields;

/// Most consent questions and most names in one request.
const MOST_QUESTIONS: usize = 200;
const MOST_NAMES: usize = 1_000;

/// What `GetFacts` asks for beside the party.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) at: Option<Timestamp>,
    pub(crate) traits: Names,
    pub(crate) segments: Names,
    pub(crate) attributes: Names,
    pub(crate) questions: Vec<Question>,
}

/// The names asked about; without a list all there are.
#[derive(Debug)]
pub(crate) struct Names(Option<BTreeSet<String>>);

impl Names {
    pub(crate) fn include(&self, name: &str) -> bool {
        self.0.as_ref().is_none_or(|names| names.contains(name))
    }
}

pub(crate) fn wanted(request: &proto::GetFactsRequest) -> Result<Wanted, Problem> {
    let mut fields = Fields::default();
    let at = time(&mut fields, "time", request.time.as_ref());
    let traits = listed(&mut fields, "traits", request.traits.as_ref());
    let segments = listed(&mut fields, "segments", request.segments.as_ref());
    let attributes = listed(&mut fields, "attributes", request.attributes.as_ref());
    let few = request.consents.len() <= MOST_QUESTIONS;
    fields.require(few, "consents", "Ask 200 questions at most.");
    let mut questions = Vec::new();
    for (index, it) in request.consents.iter().take(MOST_QUESTIONS).enumerate() {
        questions.extend(question(&mut fields, &format!("consents[{index}]."), it));
    }
    fields.finish(at.map(|at| Wanted { at, traits, segments, attributes, questions }))
}

fn listed(fields: &mut Fields, field: &str, names: Option<&proto::Names>) -> Names {
    let few = names.is_none_or(|it| it.ids.len() <= MOST_NAMES);
    fields.require(few, field, "Name 1,000 at most.");
    Names(names.map(|it| it.ids.iter().cloned().collect()))
}

fn question(fields: &mut Fields, path: &str, it: &proto::ConsentQuestion) -> Option<Question> {
    let purpose = choice(fields, &format!("{path}purpose"), it.purpose);
    let channel = choice(fields, &format!("{path}channel"), it.channel);
    let sender_id = authored_id(fields, &format!("{path}sender_id"), &it.sender_id);
    Some(Question { purpose: purpose?, channel: channel?, sender_id: sender_id? })
}

/// What `ResolveRecipient` asks for beside the party.
#[derive(Debug)]
pub(crate) struct Recipient {
    pub(crate) question: Question,
    pub(crate) at: Option<Timestamp>,
}

pub(crate) fn recipient(request: &proto::ResolveRecipientRequest) -> Result<Recipient, Problem> {
    let asked = proto::ConsentQuestion {
        purpose: request.purpose,
        channel: request.channel,
        sender_id: request.sender_id.clone(),
    };
    let mut fields = Fields::default();
    let question = question(&mut fields, "", &asked);
    if !request.product_id.is_empty() {
        authored_id(&mut fields, "product_id", &request.product_id);
    }
    let at = time(&mut fields, "time", request.time.as_ref());
    let whole = || Some(Recipient { question: question?, at: at? });
    fields.finish(whole())
}

/// Checks that an authored document names no more than one can.
pub(crate) fn names(request: &proto::CheckNamesRequest) -> Result<(), Problem> {
    let mut fields = Fields::default();
    fields.require(request.traits.len() <= MOST_NAMES, "traits", "Name 1,000 traits at most.");
    let few = request.segments.len() <= MOST_NAMES;
    fields.require(few, "segments", "Name 1,000 segments at most.");
    fields.finish(Some(()))
}

/// The state as rules and gates read it.
pub(crate) fn state(status: Status) -> &'static str {
    match status {
        Status::Unknown => "",
        Status::Active => "ACTIVE",
        Status::Suppressed => "SUPPRESSED",
        Status::Erased => "ERASED",
    }
}

/// What may be printed in a message: clear and personal attributes as text. Of an erased party nothing may.
pub(crate) fn fields(party: &State) -> BTreeMap<String, String> {
    if party.status == Status::Erased {
        return BTreeMap::new();
    }
    let clear = party.attributes.iter().filter_map(|(name, it)| Some((name, text(it)?)));
    let personal = (party.personal.iter())
        .filter_map(|(name, it)| Some((name, it.as_text().map(str::to_owned)?)));
    clear.chain(personal).map(|(name, text)| (name.clone(), text)).collect()
}

/// A clear value as people read it, without a country's habits: `12.5`, `-0.50 EUR`, `2026-01-01T00:00:00.000000Z`,
/// `true`.
fn text(clear: &Clear) -> Option<String> {
    Some(match clear.value.as_ref()? {
        Value::Number(number) => number.to_string(),
        Value::Money(it) => money(it),
        Value::Code(code) => code.clone(),
        Value::Time(time) => crate::domain::instant(time)?.to_string(),
        Value::Flag(flag) => flag.to_string(),
    })
}

/// The amount with two decimals, or as many as it has.
fn money(it: &Money) -> String {
    let sign = if it.units < 0 || it.nanos < 0 { "-" } else { "" };
    let nanos = format!("{:09}", it.nanos.unsigned_abs());
    let decimals = nanos.trim_end_matches('0');
    let decimals = &nanos[..decimals.len().max(2)];
    format!("{sign}{}.{decimals} {}", it.units.unsigned_abs(), it.currency_code)
}

/// The contact point of a channel, and its value in clear.
pub(crate) fn contact_point(party: &State, channel: Channel) -> Option<(&str, &str)> {
    let (contact_point_id, held) = party.contact_point(channel)?;
    Some((contact_point_id, Personal::as_text(&held.value)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clear_values_are_printed_as_people_read_them() {
        let of = |units, nanos| Money { currency_code: "EUR".into(), units, nanos };
        let cases = [
            (Some(Value::Number(3.0)), Some("3")),
            (Some(Value::Number(-0.25)), Some("-0.25")),
            (Some(Value::Money(of(12, 500_000_000))), Some("12.50 EUR")),
            (Some(Value::Money(of(0, -1_000_000))), Some("-0.001 EUR")),
            (Some(Value::Money(of(-7, 0))), Some("-7.00 EUR")),
            (Some(Value::Code("oncology".into())), Some("oncology")),
            (Some(Value::Flag(false)), Some("false")),
            (
                Some(Value::Time(prost_types::Timestamp { seconds: 0, nanos: 0 })),
                Some("1970-01-01T00:00:00.000000Z"),
            ),
            (Some(Value::Time(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 })), None),
            (None, None),
        ];
        for (value, expected) in cases {
            assert_eq!(text(&Clear { value: value.clone() }).as_deref(), expected, "{value:?}");
        }
    }
}
