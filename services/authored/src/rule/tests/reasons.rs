//! Why a rule does not hold, and how it uses its names.

use super::*;

#[test]
fn clauses_are_the_conjuncts_as_written() {
    let table: [(&str, &[(usize, &str)]); 6] = [
        ("traits.opted", &[(1, "traits.opted")]),
        (
            "traits.opted && (party.kind == '&&'  &&  (traits.orders > 1))",
            &[(1, "traits.opted"), (18, "party.kind == '&&'"), (43, "traits.orders > 1")],
        ),
        (
            "(traits.opted || true) && has(attributes.x)",
            &[(2, "traits.opted || true"), (27, "has(attributes.x)")],
        ),
        ("traits.opted && true || true", &[(1, "traits.opted && true || true")]),
        ("(traits.opted) ? true && true : false", &[(1, "(traits.opted) ? true && true : false")]),
        ("traits.opted // and && more\n && true", &[(1, "traits.opted"), (33, "true")]),
    ];
    for (text, expected) in table {
        let rule = rule(text);
        let clauses: Vec<_> = rule.clauses().iter().map(|c| (c.column, c.text.as_str())).collect();
        assert_eq!(clauses, expected, "{text}");
    }
}

#[test]
fn the_first_failing_clause_is_told_with_value_and_requirement() {
    let table = [
        ("traits.orders >= 2", None),
        ("true && traits.orders >= 5", Some(("traits.orders = 3", ">= 5", None))),
        ("5 <= traits.orders", Some(("traits.orders = 3", ">= 5", None))),
        (
            "traits.spent > 1 && traits['orders-90d'] >= 2",
            Some(("traits.orders-90d = 1", ">= 2", None)),
        ),
        (
            "traits.spent > 1 && traits.orders >= 2",
            Some(("traits.spent is unknown", "> 1", Some("unknown:traits.spent"))),
        ),
        (
            "party.market in ['FR', 'IT']",
            Some(("party.market = \"DE\"", "in [\"FR\", \"IT\"]", None)),
        ),
        (
            "'new' in segments",
            Some(("segments = [\"lapsing\", \"prescriber\"]", "contains \"new\"", None)),
        ),
        ("traits.opted", Some(("traits.opted = false", "= true", None))),
        ("!attributes.licence_valid", Some(("attributes.licence_valid = true", "= false", None))),
        ("has(attributes.x)", Some(("attributes.x is unknown", "known", None))),
        (
            "traits.orders < traits.spent",
            Some(("traits.orders = 3", "< traits.spent (unknown)", Some("unknown:traits.spent"))),
        ),
        (
            "traits.opted || traits.orders * 2 > 9",
            Some((
                "traits.opted = false, traits.orders = 3",
                "traits.opted || traits.orders * 2 > 9",
                None,
            )),
        ),
    ];
    for (text, expected) in table {
        let failing = rule(text).first_failing(&facts());
        let found =
            failing.as_ref().map(|f| (f.value.as_str(), f.required.as_str(), f.unknown.as_deref()));
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn comparisons_tell_every_use_of_a_name() {
    let text = "2 <= traits.orders && traits.orders + 1 > 3 && party.kind in ['HCP'] && \
                has(traits.spent) && traits.opted && now > timestamp('1970-01-01T00:00:00Z') - \
                duration('1s') && segments.exists(s, s == party.kind)";
    let rule = rule(text);
    let found: Vec<_> = rule
        .comparisons()
        .iter()
        .map(|c| (c.name.as_str(), c.op, c.literal.as_ref().map(ToString::to_string), c.column))
        .collect();
    let expected = [
        ("traits.orders", Op::GreaterOrEqual, Some("2".to_owned()), 6),
        ("traits.orders", Op::Other, None, 23),
        ("party.kind", Op::In, Some("[\"HCP\"]".to_owned()), 48),
        ("traits.spent", Op::Has, None, 77),
        ("traits.opted", Op::Other, None, 94),
        ("now", Op::Greater, Some("timestamp(\"1969-12-31T23:59:59.000000Z\")".to_owned()), 110),
        ("segments", Op::Other, None, 170),
        ("party.kind", Op::Other, None, 194),
    ];
    assert_eq!(found, expected);
}
