use rapport_proto::types::ClearKind;

use super::*;

/// The example of the contract.
const WIN_BACK: &str = r#"
journey: win-back
sender: northwind-pharma
markets: [US, DE]
audiences: [HCP]
entry: {segment: {segment: lapsing, crossing: ENTERED}}
reentry: {after_exit: {gap: 90d}}
exit_when: ["party.state != 'ACTIVE'"]     # not "left lapsing": the order that ends lapsing is what this journey waits for
goals: [{name: ordered, event: Order Completed, within: 30d}]
start: choose
nodes:
  choose: {decide: {slot: {channels: [EMAIL], k: 1}, groups: [win-back], valid_for: 3d, chosen: morning, nothing: watch, unavailable: watch}}
  morning: {wait_until: {local_time: "09:00", weekdays: [MON, TUE, WED, THU, FRI], next: write}}
  write: {touch: {decision: choose, expires_after: 3d, sent: watch, skipped: watch, failed: watch}}
  watch: {wait_event: {any: [{event: Order Completed, next: listen}], timeout: 14d, timed_out: lapsed}}
  listen: {ask: {survey: order-nps, channel: EMAIL, expires_after: 3d, issued: done, declined: done}}
  done: {exit: {outcome: ordered}}
  lapsed: {exit: {outcome: no_order}}
"#;

/// A small journey with nodes of one's own.
fn yaml(nodes: &str) -> String {
    format!(
        "journey: small\nsender: northwind\nmarkets: [DE]\naudiences: [HCP]\nentry: {{api: {{}}}}\nreentry: unlimited\nstart: a\nnodes:\n{nodes}"
    )
}

fn found(yaml: &str) -> Vec<(String, String)> {
    check(yaml).into_iter().map(|it| (it.place, it.code)).collect()
}

#[test]
fn the_example_of_the_contract_checks_clean() {
    assert_eq!(check(WIN_BACK), []);
    let journey = document::parse(WIN_BACK).expect("a journey");
    let graph = Graph::compile(&journey, &Names::default()).expect("clean");
    assert_eq!(graph.nodes.len(), 7);
    assert_eq!(graph.segments(), BTreeSet::from(["lapsing".to_owned()]));
    assert!(graph.reads_clock() && graph.exits_by(&["party"]) && !graph.exits_by(&["traits"]));
}

#[test]
fn every_finding_names_its_place() {
    const END: &str = "  z: {exit: {outcome: done}}\n";
    let table: &[(&str, &str, &str)] = &[
        ("a: {wait: {for: 1d, next: nowhere}}", "nodes.a.wait.next", "dangling"),
        ("a: {wait: {for: 1d}}", "nodes.a.wait.next", "outcome_missing"),
        ("a: {wait: {for: 1 day, next: z}}", "nodes.a.wait.for", "duration_invalid"),
        ("a: {wait: {for: 0s, next: z}}", "nodes.a.wait.for", "duration_invalid"),
        (
            "a: {wait_until: {local_time: '25:00', next: z}}",
            "nodes.a.wait_until.local_time",
            "time_invalid",
        ),
        (
            "a: {wait_until: {local_time: '09:00', weekdays: [MONDAY], next: z}}",
            "nodes.a.wait_until.weekdays[0]",
            "time_invalid",
        ),
        (
            "a: {wait_date: {attribute: renewal, offset: soon, next: z, missing: z}}",
            "nodes.a.wait_date.offset",
            "duration_invalid",
        ),
        (
            "a: {wait_date: {attribute: renewal, next: z}}",
            "nodes.a.wait_date.missing",
            "outcome_missing",
        ),
        (
            "a: {wait_date: {attribute: 'a b', next: z, missing: z}}",
            "nodes.a.wait_date.attribute",
            "field_invalid",
        ),
        (
            "a: {wait_event: {any: [{event: X, next: z}], timed_out: z}}",
            "nodes.a.wait_event.timeout",
            "duration_invalid",
        ),
        (
            "a: {wait_event: {any: [{event: X, next: z}], timeout: 1d}}",
            "nodes.a.wait_event.timed_out",
            "outcome_missing",
        ),
        ("a: {wait_event: {timeout: 1d, timed_out: z}}", "nodes.a.wait_event.any", "field_missing"),
        (
            "a: {wait_event: {any: [{event: X, where: 'traits.x > 1', next: z}], timeout: 1d, timed_out: z}}",
            "nodes.a.wait_event.any[0].where",
            "rule_invalid",
        ),
        (
            "a: {branch: {cases: [{when: 'party.market == 1', next: z}], else: z}}",
            "nodes.a.branch.cases[0].when",
            "rule_invalid",
        ),
        (
            "a: {branch: {cases: [{when: 'true', next: z}]}}",
            "nodes.a.branch.else",
            "outcome_missing",
        ),
        ("a: {branch: {else: z}}", "nodes.a.branch.cases", "field_missing"),
        (
            "a: {branch: {cases: [{when: 'consent[\"X/EMAIL/northwind\"]', next: z}], else: z}}",
            "nodes.a.branch.cases[0].when",
            "rule_invalid",
        ),
        (
            "a: {split: {salt: s, arms: [{name: one, weight: 1, next: z}]}}",
            "nodes.a.split.arms",
            "field_missing",
        ),
        (
            "a: {split: {salt: s, arms: [{name: one, weight: 0, next: z}, {name: two, weight: 1, next: z}]}}",
            "nodes.a.split.arms[0].weight",
            "field_invalid",
        ),
        (
            "a: {split: {salt: s, arms: [{name: one, weight: 1, next: z}, {name: one, weight: 1, next: z}]}}",
            "nodes.a.split.arms[1].name",
            "field_invalid",
        ),
        ("a: {decide: {chosen: z, nothing: z}}", "nodes.a.decide.unavailable", "outcome_missing"),
        (
            "a: {decide: {slot: {k: 9}, chosen: z, nothing: z, unavailable: z}}",
            "nodes.a.decide.slot.k",
            "field_invalid",
        ),
        ("a: {touch: {sent: z, skipped: z, failed: z}}", "nodes.a.touch.module", "field_missing"),
        (
            "a: {touch: {module: hello, sent: z, skipped: z, failed: z}}",
            "nodes.a.touch.channel",
            "field_missing",
        ),
        (
            "a: {touch: {decision: z, module: hello, channel: EMAIL, sent: z, skipped: z, failed: z}}",
            "nodes.a.touch.module",
            "field_invalid",
        ),
        (
            "a: {touch: {decision: z, sent: z, skipped: z, failed: z}}",
            "nodes.a.touch.decision",
            "dangling",
        ),
        (
            "a: {touch: {module: hello, channel: EMAIL, slots: {x: '1 +'}, sent: z, skipped: z, failed: z}}",
            "nodes.a.touch.slots.x",
            "rule_invalid",
        ),
        (
            "a: {ask: {survey: nps, channel: EMAIL, about: z, issued: z, declined: z}}",
            "nodes.a.ask.about",
            "dangling",
        ),
        ("a: {ask: {survey: nps, issued: z, declined: z}}", "nodes.a.ask.channel", "field_missing"),
        ("a: {set: {attribute: tier, value: '1', next: gone}}", "nodes.a.set.next", "dangling"),
        (
            "a: {set: {attribute: tier, value: 'tier ==', next: z}}",
            "nodes.a.set.value",
            "rule_invalid",
        ),
        ("a: {exit: {outcome: 'not a code'}}", "nodes.a.exit.outcome", "field_invalid"),
        ("a: {}", "nodes.a", "field_missing"),
        ("a: {wait: {for: 1d, next: z}}\n  B: {exit: {outcome: x}}", "nodes.B", "id_invalid"),
        ("a: {wait: {for: 1d, next: z}}\n  b: {exit: {outcome: x}}", "nodes.b", "unreachable"),
        (
            "a: {set: {attribute: tier, value: '1', next: b}}\n  b: {set: {attribute: tier, value: '2', next: a}}",
            "nodes.a",
            "cycle_without_wait",
        ),
        ("b: {exit: {outcome: x}}", "start", "no_start"),
        (
            "a: {decide: {chosen: t, nothing: t, unavailable: z}}\n  t: {touch: {decision: a, sent: z, skipped: z, failed: z}}",
            "nodes.t.touch.decision",
            "decision_not_made",
        ),
    ];
    for (nodes, place, code) in table {
        let text = yaml(&format!("  {nodes}\n{END}"));
        let findings = found(&text);
        assert!(
            findings.contains(&((*place).to_owned(), (*code).to_owned())),
            "{nodes}: {place} {code} in {findings:?}"
        );
        assert!(findings.iter().all(|(_, code)| CODES.contains(&code.as_str())), "{findings:?}");
    }
}

#[test]
fn fields_of_the_document_are_findings_too() {
    let good = yaml("  a: {exit: {outcome: done}}\n");
    assert_eq!(found(&good), []);
    let table: &[(&str, &str, &str, &str)] = &[
        ("journey: small", "journey: Small", "journey", "id_invalid"),
        ("sender: northwind", "sender: 'a b'", "sender", "id_invalid"),
        ("markets: [DE]", "markets: []", "markets", "field_missing"),
        ("markets: [DE]", "markets: [Germany]", "markets[0]", "field_invalid"),
        ("audiences: [HCP]", "audiences: []", "audiences", "field_missing"),
        ("entry: {api: {}}\n", "", "entry", "field_missing"),
        (
            "entry: {api: {}}",
            "entry: {event: {event: X, where: 'party.market'}}",
            "entry.event.where",
            "rule_invalid",
        ),
        ("reentry: unlimited\n", "", "reentry", "reentry_missing"),
        (
            "reentry: unlimited",
            "reentry: {after_exit: {gap: never}}",
            "reentry.after_exit.gap",
            "duration_invalid",
        ),
        (
            "reentry: unlimited",
            "exit_when: ['party.state']\nreentry: never",
            "exit_when[0]",
            "rule_invalid",
        ),
        (
            "reentry: unlimited",
            "goals: [{name: g, event: ''}]\nreentry: never",
            "goals[0].event",
            "field_missing",
        ),
        ("markets: [DE]", "market: [DE]", "", "shape"),
    ];
    for (from, to, place, code) in table {
        let findings = found(&good.replace(from, to));
        assert!(
            findings.contains(&((*place).to_owned(), (*code).to_owned())),
            "{to}: {findings:?}"
        );
    }
    let segment =
        good.replace("entry: {api: {}}", "entry: {segment: {segment: lapsing, crossing: ENTERED}}");
    let per_key = segment.replace("reentry: unlimited", "reentry: per_key");
    assert_eq!(found(&per_key), [("reentry".to_owned(), "field_invalid".to_owned())]);
}

#[test]
fn a_rule_that_is_none_is_told_with_its_column_and_line() {
    let text = yaml(
        "  a:\n    branch:\n      cases: [{when: \"party.market == 'DE' && party.kin == 'HCP'\", next: z}]\n      else: z\n  z: {exit: {outcome: done}}\n",
    );
    let findings = check(&text);
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!((findings[0].column, findings[0].line), (25, 9), "{findings:?}");
    assert!(findings[0].text.contains("party.kind"), "{}", findings[0].text);
}

#[test]
fn what_may_settle_at_once_is_no_wait() {
    let cycle = |node: &str| {
        yaml(&format!(
            "  a: {node}\n  b: {{branch: {{cases: [{{when: 'true', next: a}}], else: z}}}}\n  z: {{exit: {{outcome: done}}}}\n"
        ))
    };
    let settles = [
        "{touch: {module: hello, channel: EMAIL, sent: b, skipped: b, failed: b}}",
        "{ask: {survey: nps, channel: EMAIL, issued: b, declined: b}}",
        "{decide: {chosen: b, nothing: b, unavailable: b}}",
        "{wait_date: {attribute: renewal, next: b, missing: b}}",
        "{set: {attribute: tier, value: '1', next: b}}",
    ];
    for node in settles {
        assert_eq!(
            found(&cycle(node)),
            [("nodes.a".to_owned(), "cycle_without_wait".to_owned())],
            "{node}"
        );
    }
    let waits = [
        "{wait: {for: 1s, next: b}}",
        "{wait_until: {local_time: '09:00', next: b}}",
        "{wait_event: {any: [{event: X, next: b}], timeout: 1d, timed_out: b}}",
    ];
    for node in waits {
        assert_eq!(found(&cycle(node)), [], "{node}");
    }
}

#[test]
fn a_journey_is_bounded() {
    let mut nodes = String::new();
    for n in 0..=MOST_NODES {
        nodes.push_str(&format!("  n{n}: {{exit: {{outcome: done}}}}\n"));
    }
    let findings = found(&yaml(&nodes));
    assert_eq!(findings, [("nodes".to_owned(), "too_large".to_owned())]);
}

#[test]
fn types_of_traits_are_checked_once_they_are_known() {
    let text = yaml(
        "  a: {branch: {cases: [{when: \"traits.orders_90d == 'many'\", next: z}], else: z}}\n  z: {exit: {outcome: done}}\n",
    );
    assert_eq!(found(&text), []);
    let journey = document::parse(&text).expect("a journey");
    let traits = BTreeMap::from([("orders_90d".to_owned(), ClearKind::Number)]);
    let findings = Graph::compile(&journey, &Names { traits: Some(traits) }).expect_err("a type");
    assert_eq!(findings[0].code, "rule_invalid");
}

#[test]
fn names_that_rules_use_are_known() {
    let text = yaml(
        "  a: {branch: {cases: [{when: \"'lapsing' in segments && !(\\\"vip\\\" in segments) && consent['PROMOTIONAL/EMAIL/northwind'] && traits.orders > 1\", next: z}], else: z}}\n  z: {exit: {outcome: done}}\n",
    );
    let journey = document::parse(&text).expect("a journey");
    let graph = Graph::compile(&journey, &Names::default()).expect("clean");
    assert_eq!(graph.segments().into_iter().collect::<Vec<_>>(), ["lapsing", "vip"]);
    assert_eq!(graph.traits().into_iter().collect::<Vec<_>>(), ["orders"]);
    assert_eq!(graph.consents().len(), 1);
    assert_eq!(graph.consents()[0].sender_id, "northwind");
}
