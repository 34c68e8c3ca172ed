//! What rules mean.

use super::*;

#[track_caller]
fn all(table: &[(&str, &str)]) {
    let facts = facts();
    for (text, expected) in table {
        assert_eq!(told(&rule(text).check(&facts)), *expected, "{text}");
    }
}

#[track_caller]
fn values(table: &[(&str, Value)]) {
    let facts = facts();
    for (text, expected) in table {
        let rule = Rule::compile(text, &catalogue(), &Type::Any).expect(text);
        assert_eq!(rule.value(&facts), Ok(expected.clone()), "{text}");
    }
}

#[test]
fn comparisons_are_of_one_type() {
    all(&[
        ("traits.orders >= 3", "true"),
        ("traits.orders > 3", "false"),
        ("traits.orders < 3.5", "true"),
        ("traits.orders <= 3u", "true"),
        ("4 > traits.orders", "true"),
        ("traits.orders != 3", "false"),
        ("traits.orders == -3", "false"),
        ("party.market == 'DE'", "true"),
        ("party.market != \"DE\"", "false"),
        ("party.market < 'FR'", "true"),
        ("traits.opted == false", "true"),
        ("traits.last_visit < now", "true"),
        ("traits.last_visit > timestamp('1970-01-01T00:00:00Z')", "true"),
        ("duration('14d') == duration('336h')", "true"),
        ("attributes.specialty == attributes.specialty", "true"),
    ]);
}

#[test]
fn a_missing_fact_is_unknown_by_its_name() {
    all(&[
        ("traits.spent > 1", "unknown:traits.spent"),
        ("1 < traits.spent", "unknown:traits.spent"),
        ("!(traits.spent > 1)", "unknown:traits.spent"),
        ("traits.spent == traits.spent", "unknown:traits.spent"),
        ("traits.tier in ['A', 'B']", "unknown:traits.tier"),
        ("traits.tier.startsWith('A')", "unknown:traits.tier"),
        ("size(traits.tier) > 0", "unknown:traits.tier"),
        ("attributes.missing", "unknown:attributes.missing"),
        ("consent['SERVICE/SMS/x']", "unknown:consent.SERVICE/SMS/x"),
        ("attributes.missing ? true : true", "unknown:attributes.missing"),
        ("attributes.gone || traits.tier == 'A'", "unknown:attributes.gone"),
        ("[1, 2].exists(x, x > traits.spent)", "unknown:traits.spent"),
    ]);
}

#[test]
fn presence_is_never_unknown() {
    all(&[
        ("has(attributes.beds)", "true"),
        ("has(attributes.missing)", "false"),
        ("!has(attributes.missing)", "true"),
        ("has(traits.spent) && traits.spent > 1", "false"),
        ("!has(traits.spent) || traits.spent > 1", "true"),
        ("'orders-90d' in traits", "true"),
        ("'SERVICE/SMS/x' in consent", "false"),
    ]);
}

#[test]
fn a_fact_of_another_type_is_unknown() {
    all(&[
        ("attributes.specialty > 3", "unknown:attributes.specialty"),
        ("attributes.beds == 'many'", "unknown:attributes.beds"),
        ("attributes.beds", "unknown:attributes.beds"),
        ("attributes.beds && true", "unknown:attributes.beds"),
        ("attributes.beds == attributes.specialty", "unknown:attributes.beds"),
        ("attributes.since + attributes.since > now", "unknown:attributes.since"),
        ("(true ? attributes.beds : attributes.missing) == 'x'", "unknown:attributes.beds"),
        ("size(attributes.beds) == 1", "unknown:attributes.beds"),
        ("attributes.beds.contains('x')", "unknown:attributes.beds"),
        ("attributes.beds.exists(x, x)", "unknown:attributes.beds"),
    ]);
    let mut facts = facts();
    facts.insert("traits.orders".to_owned(), "three".into());
    assert_eq!(told(&rule("traits.orders > 2").check(&facts)), "unknown:traits.orders");
    for number in [f64::NAN, f64::INFINITY] {
        facts.insert("traits.orders".to_owned(), number.into());
        assert_eq!(told(&rule("traits.orders != 2").check(&facts)), "unknown:traits.orders");
    }
}

/// The three tables of Kleene, with `segments` standing for nothing else than the fact named.
#[test]
fn and_or_not_and_choice_follow_kleene_in_both_orders() {
    let terms = [("true", Some(true)), ("false", Some(false)), ("attributes.u", None)];
    let facts = Known::new();
    let expect =
        |truth: Option<bool>| truth.map_or("unknown:attributes.u".into(), |t| t.to_string());
    for (one, a) in terms {
        let not = a.map(|a| !a);
        assert_eq!(told(&rule(&format!("!{one}")).check(&facts)), expect(not));
        for (two, b) in terms {
            let and = match (a, b) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            };
            let or = match (a, b) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            };
            let choice = a.and_then(|a| if a { b } else { Some(true) });
            assert_eq!(told(&rule(&format!("{one} && {two}")).check(&facts)), expect(and));
            assert_eq!(told(&rule(&format!("{one} || {two}")).check(&facts)), expect(or));
            assert_eq!(told(&rule(&format!("{one} ? {two} : true")).check(&facts)), expect(choice));
        }
    }
}

#[test]
fn lists_are_searched_and_quantified() {
    all(&[
        ("party.market in ['DE', 'AT']", "true"),
        ("party.market in []", "false"),
        ("!(party.market in ['FR'])", "true"),
        ("traits.orders in [1, 2, 3]", "true"),
        ("'lapsing' in segments", "true"),
        ("'new' in segments", "false"),
        ("attributes.beds in [100, 120]", "true"),
        ("segments.exists(s, s.startsWith('pre'))", "true"),
        ("segments.all(s, size(s) > 3)", "true"),
        ("segments.all(s, s in ['lapsing'])", "false"),
        ("scores.exists(s, s > 4)", "false"),
        ("[].exists(s, s == 1)", "false"),
        ("[].all(s, s == 1)", "true"),
        ("scores.exists(s, segments.exists(t, s == 4 && t == 'lapsing'))", "true"),
        ("scores.exists(s, s > 3 || traits.spent > 1)", "true"),
        ("scores.all(s, s > 3 || traits.spent > 1)", "unknown:traits.spent"),
        ("scores.all(s, s > 3 && traits.spent > 1)", "false"),
        ("segments.size() == 2 && size(party.kind) == 3", "true"),
    ]);
}

#[test]
fn texts_are_searched() {
    all(&[
        ("attributes.specialty.startsWith('onco')", "true"),
        ("attributes.specialty.endsWith('logy')", "true"),
        ("attributes.specialty.contains('x')", "false"),
        ("'ä€😀'.size() == 3", "true"),
        ("\"it's\" == 'it\\'s' && r'\\d' == '\\\\d'", "true"),
    ]);
}

#[test]
fn numbers_times_and_durations_are_computed() {
    all(&[
        ("now - traits.last_visit == duration('10d')", "true"),
        ("now - duration('14d') < traits.last_visit", "true"),
        ("duration('14d') + traits.last_visit > now", "true"),
        ("now - attributes.since > duration('2h30m')", "true"),
        ("attributes.since + duration('90d') == now", "true"),
        ("traits.orders * 2 + 1 == 7 && -traits.orders == 0 - 3", "true"),
        ("10 / (traits.orders - 3) > 1", "unknown:traits.orders"),
        ("traits.orders / 0 > 1", "unknown:traits.orders"),
        ("now + duration('106751990d') > now", "unknown:now"),
        ("[0, 1].exists(x, 1 / x > 5)", "unknown:arithmetic"),
    ]);
    values(&[
        ("7 / 2", 3.5.into()),
        ("0.1 + 0.2", (0.1 + 0.2).into()),
        ("traits.orders + 1", 4.0.into()),
        ("duration('1h') - duration('90m')", Value::Duration(-1_800_000_000)),
        ("-duration('500ms')", Value::Duration(-500_000)),
        ("timestamp('1970-01-01T01:00:00+01:00')", Timestamp(0).into()),
        ("traits.opted ? 'yes' : 'no'", "no".into()),
        ("has(traits.spent) ? traits.spent : 0", 0.0.into()),
        ("attributes.specialty", "oncology".into()),
        ("segments", Value::list(["lapsing", "prescriber"])),
        ("['a', \"b\"]", Value::list(["a", "b"])),
    ]);
}

#[test]
fn a_rule_names_what_it_looks_at() {
    let text = "traits['orders-90d'] > 1 && consent['A/B/c'] && has(attributes.beds) && now > now";
    let rule = rule(text);
    let names: Vec<&str> = rule.names().iter().map(Name::as_str).collect();
    assert_eq!(names, ["attributes.beds", "consent.A/B/c", "now", "traits.orders-90d"]);
    let consent = rule.names().iter().nth(1).expect("four names");
    assert_eq!((consent.root(), consent.key()), ("consent", "A/B/c"));
    assert_eq!(Name::new("now", "").key(), "");
}

#[test]
fn a_row_serves_many_evaluations() {
    let rule = rule("traits.orders >= 2 && party.market in ['DE', 'AT']");
    let row = rule.bind(&facts());
    assert_eq!(rule.check_row(&row), Truth::True);
    assert_eq!(rule.check_row(&row), Truth::True);
    assert_eq!(rule.check_row(&Row::default()).unknown().as_deref(), Some("unknown:traits.orders"));
}

#[test]
fn facts_may_be_a_function() {
    let market = |name: &Name| (name.as_str() == "party.market").then(|| Value::from("DE"));
    assert!(rule("party.market == 'DE'").check(&market).is_true());
}

#[test]
fn clear_values_come_and_go() {
    for value in [Value::from(1.5), "x".into(), true.into(), Timestamp(5_000_001).into()] {
        let clear = value.to_clear().expect("has a clear form");
        assert_eq!(Value::from_clear(&clear), Some(value));
    }
    assert_eq!(Value::Duration(1).to_clear(), None);
}
