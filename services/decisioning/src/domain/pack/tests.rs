use std::collections::BTreeMap;

use ::authored::rule::Value;
use proptest::prelude::*;
use rapport_proto::decisioning::v1::{OutboundLine, RulePack, RulePackTest};

use super::*;

const QUESTION: Question = Question {
    class: ContentClass::RxPromotional,
    audience: Audience::Hcp,
    channel: Channel::Email,
};

fn line(id: &str, effect: Effect, when: &str) -> OutboundLine {
    OutboundLine {
        id: id.into(),
        content_classes: vec![ContentClass::RxPromotional.into()],
        audiences: vec![Audience::Hcp.into()],
        channels: vec!["EMAIL".into()],
        effect: effect.into(),
        when: when.into(),
    }
}

fn document(id: &str, lines: Vec<OutboundLine>) -> RulePack {
    RulePack { rule_pack: id.into(), outbound: lines, ..RulePack::default() }
}

fn pack(layers: &[RulePack]) -> Pack {
    Pack::compile((3..).zip(layers))
}

fn told(answer: &Answer) -> (OutboundEffect, &str, &str, &str) {
    (answer.effect, &answer.pack, &answer.rule, &answer.detail)
}

fn party(licence: Option<bool>) -> BTreeMap<String, Value> {
    licence.map(|it| ("attributes.licence".to_owned(), Value::from(it))).into_iter().collect()
}

#[test]
fn the_nearest_layer_with_a_line_answers() {
    use Effect::{Allow, Deny};
    use OutboundEffect as Told;
    let country = |lines| document("DE", lines);
    let archetype = |lines| document("eu", lines);
    let table = [
        // Nothing anywhere.
        (vec![], vec![], (Told::Deny, "DE", "", "unmapped")),
        // Inherited.
        (vec![], vec![line("far", Allow, "")], (Told::Allow, "eu", "far", "")),
        (vec![], vec![line("far", Deny, "")], (Told::Deny, "eu", "far", "")),
        // The nearest wins, either way.
        (
            vec![line("near", Allow, "")],
            vec![line("far", Deny, "")],
            (Told::Allow, "DE", "near", ""),
        ),
        (
            vec![line("near", Deny, "")],
            vec![line("far", Allow, "")],
            (Told::Deny, "DE", "near", ""),
        ),
        // In a layer DENY beats ALLOW, whatever their order.
        (vec![line("yes", Allow, ""), line("no", Deny, "")], vec![], (Told::Deny, "DE", "no", "")),
    ];
    for (near, far, expected) in table {
        let answer = pack(&[country(near), archetype(far)]).answer(QUESTION, Some(&party(None)));
        assert_eq!(told(&answer), expected);
    }
}

#[test]
fn an_unknown_condition_is_no_for_allow_and_yes_for_deny() {
    use OutboundEffect as Told;
    let allow = || line("yes", Effect::Allow, "attributes.licence");
    let deny = || line("no", Effect::Deny, "attributes.licence");
    let unknown = "unknown:attributes.licence";
    let table = [
        (vec![allow()], Some(true), (Told::Allow, "DE", "yes", "")),
        (vec![allow()], Some(false), (Told::Deny, "DE", "yes", "")),
        (vec![allow()], None, (Told::Deny, "DE", "yes", unknown)),
        (vec![deny()], Some(true), (Told::Deny, "DE", "no", "")),
        (vec![deny()], Some(false), (Told::Deny, "DE", "", "unmapped")),
        (vec![deny()], None, (Told::Deny, "DE", "no", unknown)),
        (vec![line("all", Effect::Allow, ""), deny()], Some(false), (Told::Allow, "DE", "all", "")),
        (vec![line("all", Effect::Allow, ""), deny()], None, (Told::Deny, "DE", "no", unknown)),
    ];
    for (lines, licence, expected) in table {
        let answer = pack(&[document("DE", lines)]).answer(QUESTION, Some(&party(licence)));
        assert_eq!(told(&answer), expected);
    }
}

#[test]
fn a_nearer_condition_narrows_what_is_farther() {
    let near = document("DE", vec![line("licensed", Effect::Allow, "attributes.licence")]);
    let far = document("eu", vec![line("everybody", Effect::Allow, "")]);
    let pack = pack(&[near, far]);
    let answer = pack.answer(QUESTION, Some(&party(Some(false))));
    assert_eq!(told(&answer), (OutboundEffect::Deny, "DE", "licensed", ""));
}

#[test]
fn without_a_party_what_depends_on_one_is_conditional() {
    use OutboundEffect as Told;
    let when = "attributes.licence";
    let table = [
        (vec![line("yes", Effect::Allow, when)], vec![], (Told::Conditional, "yes")),
        (vec![line("no", Effect::Deny, when)], vec![], (Told::Deny, "")),
        (
            vec![line("no", Effect::Deny, when)],
            vec![line("far", Effect::Allow, "")],
            (Told::Conditional, "no"),
        ),
        (
            vec![line("no", Effect::Deny, when), line("yes", Effect::Allow, "")],
            vec![],
            (Told::Conditional, "no"),
        ),
        (
            vec![line("never", Effect::Deny, ""), line("yes", Effect::Allow, when)],
            vec![],
            (Told::Deny, "never"),
        ),
        (vec![line("yes", Effect::Allow, "")], vec![], (Told::Allow, "yes")),
    ];
    for (near, far, expected) in table {
        let pack = pack(&[document("DE", near), document("eu", far)]);
        let answer = pack.answer(QUESTION, None);
        assert_eq!((answer.effect, answer.rule.as_str()), expected);
    }
}

#[test]
fn any_stands_for_every_channel() {
    let mut open = line("open", Effect::Allow, "");
    open.channels = vec![ANY.into()];
    let pack = pack(&[document("DE", vec![open])]);
    for channel in super::names::CHANNELS {
        assert!(pack.answer(Question { channel, ..QUESTION }, None).allows());
    }
}

/// A newer release wrote them, and this one reads them after a rollback.
#[test]
fn a_line_of_channels_that_are_not_known_says_nothing() {
    let of = |channels: &[&str]| {
        let channels = channels.iter().map(|it| (*it).to_owned()).collect();
        OutboundLine { channels, ..line("newer", Effect::Allow, "") }
    };
    for channels in [&["HOLOGRAM"][..], &[]] {
        let newer = pack(&[document("DE", vec![of(channels)])]);
        for channel in names::CHANNELS {
            let answer = newer.answer(Question { channel, ..QUESTION }, None);
            assert_eq!(told(&answer), (OutboundEffect::Deny, "DE", "", UNMAPPED), "{channel:?}");
        }
    }
    let both = pack(&[document("DE", vec![of(&["HOLOGRAM", "EMAIL"])])]);
    assert!(both.answer(QUESTION, None).allows());
    assert!(!both.answer(Question { channel: Channel::Sms, ..QUESTION }, None).allows());
}

#[test]
fn kinds_that_are_not_known_enable_nobody_else() {
    let enabling = |kinds: &[i32]| RulePack {
        enabled_kinds: kinds.to_vec(),
        ..document("DE", vec![line("yes", Effect::Allow, "")])
    };
    let (hcp, patient) = (PartyKind::Hcp, PartyKind::Patient);
    let enabled = |layers: &[RulePack]| (pack(layers).enables(hcp), pack(layers).enables(patient));
    assert_eq!(enabled(&[enabling(&[])]), (true, true), "none is stated");
    assert_eq!(enabled(&[enabling(&[99])]), (false, false));
    assert_eq!(enabled(&[enabling(&[99, hcp.into()])]), (true, false));
    // What is stated nearest counts, readable or not.
    assert_eq!(enabled(&[enabling(&[99]), enabling(&[hcp.into()])]), (false, false));
    assert_eq!(enabled(&[enabling(&[]), enabling(&[hcp.into()])]), (true, false));
}

#[test]
fn coverage_counts_every_combination_and_what_is_unmapped() {
    let country = document("DE", vec![line("yes", Effect::Allow, "")]);
    let pack = pack(std::slice::from_ref(&country));
    assert_eq!(coverage::questions().count(), 7 * 6 * 7);
    assert_eq!(coverage::unmapped(&pack), 293);
    let report = coverage::report("DE", Some(&pack));
    assert_eq!(report.iter().filter(|it| it.rule == "yes").count(), 1);
    assert!(coverage::report("FR", None).iter().all(|it| it.effect() == OutboundEffect::Deny));
}

#[test]
fn a_pack_is_tested_by_its_own_tests() {
    let mut country = document("DE", vec![line("yes", Effect::Allow, "attributes.licence")]);
    let test = |expect: Effect, rule: &str, licence: Option<bool>| RulePackTest {
        content_class: ContentClass::RxPromotional.into(),
        audience: Audience::Hcp.into(),
        channel: Channel::Email.into(),
        attributes: licence
            .map(|it| {
                let flag = rapport_proto::types::clear::Value::Flag(it);
                ("licence".to_owned(), rapport_proto::types::Clear { value: Some(flag) })
            })
            .into_iter()
            .collect(),
        expect: expect.into(),
        rule: rule.into(),
    };
    country.tests = vec![
        test(Effect::Allow, "yes", Some(true)),
        test(Effect::Deny, "yes", None),
        test(Effect::Allow, "", Some(false)),
        test(Effect::Deny, "unmapped", Some(false)),
    ];
    let failed = check::failures(&country, &pack(std::slice::from_ref(&country)));
    let places: Vec<_> = failed.iter().map(|it| it.place.as_str()).collect();
    assert_eq!(places, ["tests[2]", "tests[3]"]);
    assert_eq!(failed[0].text, "It is answered DENY by yes. Change the line or the test.");
}

#[test]
fn a_document_that_contradicts_itself_has_findings_with_places() {
    let mut bad = document("Germany", vec![line("x", Effect::Allow, "attributes.a &&")]);
    bad.outbound.push(line("x", Effect::Unspecified, "party.kin == 'HCP'"));
    bad.outbound[1].channels = vec!["FAX".into()];
    bad.inherits = "FR".into();
    let found: Vec<_> =
        check::findings(&bad).into_iter().map(|it| (it.place, it.code, it.column > 0)).collect();
    let expected = [
        ("rule_pack", "id_invalid", false),
        ("inherits", "id_invalid", false),
        ("outbound[0].when", "rule_invalid", true),
        ("outbound[1].id", "duplicate", false),
        ("outbound[1].channels", "channel_unknown", false),
        ("outbound[1].effect", "value_invalid", false),
        ("outbound[1].when", "rule_invalid", true),
    ];
    let expected: Vec<_> =
        expected.into_iter().map(|it| (it.0.to_owned(), it.1.to_owned(), it.2)).collect();
    assert_eq!(found, expected);
}

proptest! {
    #[test]
    fn what_is_allowed_in_general_is_allowed_for_everybody(
        lines in prop::collection::vec((any::<bool>(), any::<bool>()), 0..5),
        licence in prop::option::of(any::<bool>()),
        split in 0..5_usize,
    ) {
        let lines: Vec<_> = (lines.into_iter().enumerate())
            .map(|(index, (allow, conditional))| {
                let effect = if allow { Effect::Allow } else { Effect::Deny };
                let when = if conditional { "attributes.licence" } else { "" };
                line(&format!("line-{index}"), effect, when)
            })
            .collect();
        let (near, far) = lines.split_at(split.min(lines.len()));
        let pack = pack(&[document("DE", near.to_vec()), document("eu", far.to_vec())]);
        let (general, own) =
            (pack.answer(QUESTION, None), pack.answer(QUESTION, Some(&party(licence))));
        prop_assert_ne!(own.effect, OutboundEffect::Conditional);
        if general.effect != OutboundEffect::Conditional {
            prop_assert_eq!(general.effect, own.effect);
        }
    }
}
