//! What is wrong with a pack: found when it is drafted, and by its own tests when it is simulated.

use std::collections::{BTreeMap, BTreeSet};

use ::authored::calendar::{Calendar, QuietHours, duration};
use ::authored::rule::{Rule, Type, Value};
use rapport_proto::decisioning::v1 as proto;
use rapport_proto::decisioning::v1::{Effect, OutboundEffect, RulePackTest};
use rapport_proto::is_market;
use rapport_proto::types::{Audience, Channel, ContentClass, Finding, PartyKind, Purpose, Regime};

use super::{ANY, Pack, Question, UNMAPPED, catalogue};
use crate::domain::names;
use crate::domain::policy::check::{Findings, is_text};

/// Lines of a section, and tests, at most.
const MOST: usize = 500;

/// Everything that is wrong with a document by itself.
pub(crate) fn findings(pack: &proto::RulePack) -> Vec<Finding> {
    let mut found = Findings::default();
    id(&mut found, pack);
    consent(&mut found, &pack.consent);
    outbound(&mut found, &pack.outbound);
    review(&mut found, &pack.review);
    quiet_hours(&mut found, pack.quiet_hours.as_ref());
    calendar(&mut found, pack.calendar.as_ref());
    let unstated = pack.enabled_kinds().any(|it| it == PartyKind::Unspecified);
    found.require(!unstated, "enabled_kinds", "value_invalid", "Name kinds of party.");
    tests(&mut found, pack);
    found.done()
}

fn id(found: &mut Findings, pack: &proto::RulePack) {
    let id = &pack.rule_pack;
    let fits = is_market(id) || chassis::name::is_authored_id(id);
    let remedy =
        "Use an ISO 3166-1 alpha-2 code such as DE, or an archetype's id such as eu-strict.";
    found.require(fits, "rule_pack", "id_invalid", remedy);
    let inherits = &pack.inherits;
    if !inherits.is_empty() {
        let archetype = chassis::name::is_authored_id(inherits) && !is_market(inherits);
        found.require(archetype, "inherits", "id_invalid", "Name an archetype, not a market.");
        found.require(inherits != id, "inherits", "cycle", "A pack cannot inherit from itself.");
    }
}

fn consent(found: &mut Findings, lines: &[proto::ConsentLine]) {
    found.most("consent", lines.len(), MOST);
    let mut taken = BTreeSet::new();
    for (index, line) in lines.iter().enumerate() {
        let place = format!("consent[{index}]");
        found.require(
            line.purpose() != Purpose::Unspecified,
            &format!("{place}.purpose"),
            "value_invalid",
            "Name a purpose.",
        );
        found.require(
            line.regime() != Regime::Unspecified,
            &format!("{place}.regime"),
            "value_invalid",
            "Use OPT_IN, OPT_OUT or NOT_REQUIRED.",
        );
        channels(found, &format!("{place}.channels"), &line.channels().collect::<Vec<_>>());
        for channel in line.channels() {
            let once = taken.insert((line.purpose, i32::from(channel)));
            found.require(
                once,
                &format!("{place}.channels"),
                "duplicate",
                "One line for each purpose and channel.",
            );
        }
        if !line.expires_after.is_empty() {
            found.parse(&format!("{place}.expires_after"), duration(&line.expires_after));
        }
        let id = line.id.is_empty() || is_text(&line.id, 128);
        found.require(
            id,
            &format!("{place}.id"),
            "id_invalid",
            "Use one line of 128 characters at most.",
        );
    }
}

fn channels(found: &mut Findings, place: &str, channels: &[Channel]) {
    let stated = !channels.is_empty() && !channels.contains(&Channel::Unspecified);
    found.require(stated, place, "value_invalid", "Name at least one channel.");
}

fn outbound(found: &mut Findings, lines: &[proto::OutboundLine]) {
    found.most("outbound", lines.len(), MOST);
    let mut ids = BTreeSet::new();
    for (index, line) in lines.iter().enumerate() {
        let place = format!("outbound[{index}]");
        let at = |field: &str| format!("{place}.{field}");
        found.id(&at("id"), &line.id);
        found.require(ids.insert(&line.id), &at("id"), "duplicate", "Use another id.");
        found.require(line.id != UNMAPPED, &at("id"), "id_invalid", "`unmapped` is taken.");
        let classes: Vec<_> = line.content_classes().collect();
        let stated = !classes.is_empty() && !classes.contains(&ContentClass::Unspecified);
        found.require(stated, &at("content_classes"), "value_invalid", "Name at least one class.");
        let audiences: Vec<_> = line.audiences().collect();
        let stated = !audiences.is_empty() && !audiences.contains(&Audience::Unspecified);
        found.require(stated, &at("audiences"), "value_invalid", "Name at least one audience.");
        let known = |it: &String| it == ANY || names::channel_of(it).is_some();
        found.require(
            !line.channels.is_empty() && line.channels.iter().all(known),
            &at("channels"),
            "channel_unknown",
            "Use ANY, or names such as EMAIL, SMS, WEBHOOK, PORTAL, FIELD_TASK, PHONE.",
        );
        found.require(
            line.effect() != Effect::Unspecified,
            &at("effect"),
            "value_invalid",
            "Use ALLOW or DENY.",
        );
        if !line.when.is_empty() {
            found.rule(&at("when"), Rule::compile(&line.when, &catalogue(), &Type::Bool));
        }
    }
}

fn review(found: &mut Findings, lines: &[proto::ReviewLine]) {
    found.most("review", lines.len(), MOST);
    for (index, line) in lines.iter().enumerate() {
        let classes: Vec<_> = line.content_classes().collect();
        let stated = !classes.is_empty() && !classes.contains(&ContentClass::Unspecified);
        let place = format!("review[{index}].content_classes");
        found.require(stated, &place, "value_invalid", "Name at least one class.");
        let known = |it: &String| ["MEDICAL", "LEGAL", "REGULATORY"].contains(&it.as_str());
        found.require(
            !line.roles.is_empty() && line.roles.iter().all(known),
            &format!("review[{index}].roles"),
            "value_invalid",
            "Use MEDICAL, LEGAL, REGULATORY; at least one.",
        );
    }
}

fn quiet_hours(found: &mut Findings, quiet: Option<&proto::QuietHours>) {
    let Some(quiet) = quiet else { return };
    channels(found, "quiet_hours.channels", &quiet.channels().collect::<Vec<_>>());
    found.parse("quiet_hours", QuietHours::parse(&quiet.from, &quiet.to, &quiet.also));
}

fn calendar(found: &mut Findings, calendar: Option<&proto::Calendar>) {
    let Some(it) = calendar else { return };
    let stated = !it.time_zones.is_empty();
    found.require(stated, "calendar.time_zones", "value_invalid", "Name at least one zone.");
    found.most("calendar.holidays", it.holidays.len(), 2_000);
    found.parse("calendar", Calendar::parse(&it.time_zones, &it.weekend, &it.holidays));
}

fn tests(found: &mut Findings, pack: &proto::RulePack) {
    found.most("tests", pack.tests.len(), MOST);
    for (index, test) in pack.tests.iter().enumerate() {
        let place = format!("tests[{index}]");
        let stated = test.content_class() != ContentClass::Unspecified
            && test.audience() != Audience::Unspecified
            && test.channel() != Channel::Unspecified
            && test.expect() != Effect::Unspecified;
        let remedy = "State content_class, audience, channel and expect.";
        found.require(stated, &place, "value_invalid", remedy);
        for (name, value) in &test.attributes {
            let place = format!("{place}.attributes.{name}");
            found.require(
                Value::from_clear(value).is_some(),
                &place,
                "value_invalid",
                "Give a value.",
            );
        }
    }
}

/// Runs a pack's own tests; what fails, with what it answered instead.
pub(crate) fn failures(document: &proto::RulePack, pack: &Pack) -> Vec<Finding> {
    let mut found = Findings::default();
    for (index, test) in document.tests.iter().enumerate() {
        if let Some(text) = failure(test, pack) {
            found.add(&format!("tests[{index}]"), "test_failed", &text);
        }
    }
    found.done()
}

fn failure(test: &RulePackTest, pack: &Pack) -> Option<String> {
    let question = Question {
        class: test.content_class(),
        audience: test.audience(),
        channel: test.channel(),
    };
    let attributes: BTreeMap<String, Value> = (test.attributes.iter())
        .filter_map(|(name, value)| Some((format!("attributes.{name}"), Value::from_clear(value)?)))
        .collect();
    let answer = pack.answer(question, Some(&attributes));
    let expected = match test.expect() {
        Effect::Allow => OutboundEffect::Allow,
        Effect::Deny | Effect::Unspecified => OutboundEffect::Deny,
    };
    let answered =
        if answer.rule.is_empty() { answer.detail.as_str() } else { answer.rule.as_str() };
    let same_rule = test.rule.is_empty() || test.rule == answered;
    if answer.effect == expected && same_rule {
        return None;
    }
    let effect = if answer.allows() { "ALLOW" } else { "DENY" };
    let detail = if answer.detail.is_empty() || answer.rule.is_empty() {
        String::new()
    } else {
        format!(" ({})", answer.detail)
    };
    Some(format!("It is answered {effect} by {answered}{detail}. Change the line or the test."))
}
