//! Between messages and domain values. Requests are parsed whole: every field that is wrong is told at once.

use std::collections::BTreeSet;

use authored::calendar::duration;
use authored::rule::Value;
use chassis::status::Problem;
use chassis::text::Check;
use eventstore::Timestamp;
use rapport_proto::decisioning::v1 as proto;
use rapport_proto::is_market;
use rapport_proto::profiles::v1::{ConsentQuestion, GetFactsRequest, GetFactsResponse, Names};
use rapport_proto::types::{Audience, Channel, ContentClass, Purpose};

use crate::domain::decide::Wish;
use crate::domain::decide::facts::{PartyFacts, consent_key};
use crate::domain::decide::reads::Reads;
use crate::domain::holdout::is_exempt;
use crate::domain::instant;
use crate::domain::pack::Question;

/// How long a decision may be carried out when the request does not say.
const VALID_FOR: &str = "1d";
/// Names in a context, at most.
const MOST_CONTEXT: usize = 100;

/// Questions on consent in one call, at most; one that is not asked is answered no.
const MOST_QUESTIONS: usize = 200;

/// What a decision is asked for.
pub(crate) fn wish(party_id: &str, request: &proto::DecideRequest) -> Result<Wish, Problem> {
    let mut check = Check::default();
    let sender_id = check.keep(chassis::name::authored_id("sender_id", &request.sender_id));
    let named = |it: &i32| Channel::try_from(*it).is_ok_and(|it| it != Channel::Unspecified);
    let channels = request.channels.iter().all(named) && request.channels.len() <= 6;
    check.require(channels, "channels", "Name channels, each once.");
    check.require(request.k <= 5, "k", "Use 1 to 5, or 0 for 1.");
    check.require(request.groups.len() <= 100, "groups", "Name 100 groups at most.");
    let fits = request.context.len() <= MOST_CONTEXT;
    check.require(fits, "context", "Use 100 names at most.");
    for (name, value) in &request.context {
        let fits = (1..=128).contains(&name.len()) && Value::from_clear(value).is_some();
        let place = format!("context.{}", name.escape_debug());
        check.require(fits, &place, "Give it a name of 128 characters at most, and a value.");
    }
    let text = if request.valid_for.is_empty() { VALID_FOR } else { &request.valid_for };
    let valid_for = check.parse("valid_for", duration(text)).filter(|it| *it > 0);
    check.require(valid_for.is_some(), "valid_for", "Use a duration above 0, for example 3d.");
    let requested_by = check.text("requested_by", &request.requested_by, 0..=128);
    check.finish()?;
    Ok(Wish {
        party_id: party_id.to_owned(),
        sender_id: sender_id.unwrap_or_default().to_owned(),
        context: request.context.clone(),
        channels: request.channels().collect(),
        k: request.k.max(1),
        groups: request.groups.clone(),
        valid_for: valid_for.unwrap_or_default(),
        requested_by,
    })
}

/// What `profiles` is asked: what rules read, and a consent for everything that could be said.
pub(crate) fn asked(reads: &Reads, wish: &Wish) -> GetFactsRequest {
    let wanted = |it: &Channel| wish.channels.is_empty() || wish.channels.contains(it);
    let contacts = reads.contacts.iter().filter(|it| wanted(&it.1));
    let contacts = contacts.map(|(purpose, channel)| (*purpose, *channel, &wish.sender_id));
    // A name that can be no sender's is a question without an answer.
    let named = reads.consents.iter().filter(|it| chassis::name::is_authored_id(&it.2));
    let named = named.map(|(purpose, channel, sender_id)| (*purpose, *channel, sender_id));
    let mut questions: Vec<_> = contacts.chain(named).take(MOST_QUESTIONS).collect();
    questions.sort_unstable();
    questions.dedup();
    let question = |(purpose, channel, sender_id): (Purpose, Channel, &String)| ConsentQuestion {
        purpose: purpose.into(),
        channel: channel.into(),
        sender_id: sender_id.clone(),
    };
    let names = |ids: &BTreeSet<String>| Some(Names { ids: ids.iter().cloned().collect() });
    GetFactsRequest {
        traits: names(&reads.traits),
        attributes: names(&reads.attributes),
        // A rule reads the list of all segments, whichever it looks for in it.
        segments: (!reads.segments).then(Names::default),
        consents: questions.into_iter().map(question).collect(),
        ..GetFactsRequest::default()
    }
}

/// What `profiles` answered, as rules read it.
pub(crate) fn party(
    facts: &GetFactsResponse,
    reads: &Reads,
    wish: &Wish,
    at: Timestamp,
) -> PartyFacts {
    let mut party = PartyFacts::new(facts.kind(), &facts.market, &facts.state, at);
    for (name, text) in [("party.language", &facts.language), ("party.time_zone", &facts.time_zone)]
    {
        if !text.is_empty() {
            party.set(name, text.as_str());
        }
    }
    for (name, value) in &facts.attributes {
        party.set_clear("attributes", name, value);
    }
    for (name, value) in &facts.traits {
        party.set_clear("traits", name, value);
    }
    for (name, value) in &wish.context {
        party.set_clear("context", name, value);
    }
    if reads.segments {
        party.set_segments(facts.segments.iter().map(String::as_str));
    }
    for verdict in &facts.consents {
        if let Some(question) = &verdict.question {
            let key = consent_key(question.purpose(), question.channel(), &question.sender_id);
            party.set_consent(&key, verdict.allowed, &verdict.detail);
        }
    }
    party
}

/// The question of a CheckOutbound, with its instant if it names one.
pub(crate) fn outbound(
    request: &proto::CheckOutboundRequest,
) -> Result<(Question, Option<Timestamp>), Problem> {
    let mut check = Check::default();
    let question = Question {
        class: request.content_class(),
        audience: request.audience(),
        channel: request.channel(),
    };
    let stated = "Choose one of the values, not the unspecified one.";
    check.require(question.class != ContentClass::Unspecified, "content_class", stated);
    check.require(question.audience != Audience::Unspecified, "audience", stated);
    check.require(question.channel != Channel::Unspecified, "channel", stated);
    let market = is_market(&request.market);
    check.require(market, "market", "Use an ISO 3166-1 alpha-2 code in capitals, for example DE.");
    let party = request.party_id.is_empty() || chassis::name::is_id(&request.party_id);
    check.require(party, "party_id", "Use the id of a party, or leave it empty.");
    let at = time(&mut check, "time", request.time.as_ref());
    check.finish()?;
    Ok((question, at))
}

/// An instant that may be absent.
pub(crate) fn time(
    check: &mut Check,
    field: &str,
    time: Option<&prost_types::Timestamp>,
) -> Option<Timestamp> {
    let parsed = instant(time);
    check.require(time.is_none() || parsed.is_some(), field, "Use a time, or leave it empty.");
    parsed
}

/// A holdout to start.
pub(crate) fn holdout(
    request: &proto::StartHoldoutRequest,
) -> Result<proto::HoldoutStarted, Problem> {
    let mut check = Check::default();
    let holdout = request.holdout.clone().unwrap_or_default();
    check.keep(chassis::name::authored_id("holdout.holdout_id", &holdout.holdout_id));
    check.text("holdout.salt", &holdout.salt, 1..=128);
    check.text("holdout.period", &holdout.period, 1..=64);
    let share = holdout.share > 0.0 && holdout.share <= 0.5;
    check.require(share, "holdout.share", "Use a share above 0 and up to 0.5.");
    let classes: Vec<ContentClass> = holdout.content_classes().collect();
    let stated = !classes.is_empty() && !classes.contains(&ContentClass::Unspecified);
    check.require(stated, "holdout.content_classes", "Name at least one class.");
    let exempt = classes.into_iter().any(is_exempt);
    let remedy = "Leave out SERVICE and SAFETY_COMMUNICATION: they are never held out.";
    check.require(!exempt, "holdout.content_classes", remedy);
    check.finish()?;
    Ok(holdout)
}

/// A reason code.
pub(crate) fn reason(text: &str) -> Result<String, Problem> {
    let mut check = Check::default();
    let fits = (1..=128).contains(&text.len())
        && text.bytes().all(|it| it.is_ascii_alphanumeric() || b"_-.".contains(&it));
    check.require(fits, "reason", "Use a code of 1 to 128 letters, digits, '_', '-' and '.'.");
    check.finish()?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_is_asked_for_what_rules_read_and_for_nothing_else() {
        let promotional = |channel| (Purpose::Promotional, channel);
        let reads = Reads {
            traits: ["orders_90d".to_owned()].into(),
            consents: ["acme", "no sender"]
                .map(|it| (Purpose::Safety, Channel::Phone, it.to_owned()))
                .into(),
            contacts: [Channel::Email, Channel::FieldTask].map(promotional).into(),
            ..Reads::default()
        };
        let wish = Wish {
            sender_id: "northwind".to_owned(),
            channels: vec![Channel::Email],
            ..Wish::default()
        };
        let asked = asked(&reads, &wish);
        let consents: Vec<_> = (asked.consents.iter())
            .map(|it| (it.purpose(), it.channel(), it.sender_id.as_str()))
            .collect();
        let expected = [
            (Purpose::Promotional, Channel::Email, "northwind"),
            (Purpose::Safety, Channel::Phone, "acme"),
        ];
        assert_eq!(consents, expected);
        let names = |it: Option<Names>| it.map(|it| it.ids);
        assert_eq!(names(asked.traits), Some(vec!["orders_90d".to_owned()]));
        assert_eq!((names(asked.attributes), names(asked.segments)), (Some(vec![]), Some(vec![])));
        let segments = Reads { segments: true, ..reads };
        assert_eq!(super::asked(&segments, &wish).segments, None);
    }
}
