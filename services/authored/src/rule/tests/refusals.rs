//! What is no rule, where, and what to write instead.

use super::*;

#[track_caller]
fn all(table: &[(&str, usize, &str, &str)]) {
    for (text, column, says, remedy) in table {
        let problem = problem(text);
        let found = problem.to_string();
        assert_eq!(problem.column, *column, "{text}: {found}");
        assert!(problem.text.contains(says), "{text}: {found}");
        assert!(problem.remedy.contains(remedy), "{text}: {found}");
    }
}

#[test]
fn unknown_names_are_refused_with_the_nearest() {
    all(&[
        ("true && traits.order > 1", 9, "`traits.order` is not known", "`traits.orders`"),
        ("trait.orders > 1", 1, "`trait.orders`", "`traits.orders`"),
        ("market == 'DE'", 1, "`market`", "`party.market`"),
        ("traits.orders_90d > 1", 1, "`traits.orders_90d`", "`traits[\"orders-90d\"]`"),
        ("party.zodiac == 'x'", 1, "`party.zodiac`", "begin with attributes, consent, now"),
        ("(true) && !(has(party.nope))", 17, "`party.nope`", "begin with"),
        ("'ä€😀' == party.marked", 10, "`party.marked`", "`party.market`"),
        ("party == 'x'", 1, "group of names", "party.…"),
        ("attributes.a.b == 1", 1, "`attributes.a` has no fields", "`attributes.a`"),
        ("now.year > 1", 1, "`now` has no fields", "`now`"),
        ("segments[0] == 'x'", 10, "a key is a text", "`in`"),
        ("attributes[party.kind] == 1", 12, "a key is a text", "quotes"),
        ("segments.exists(s, s.name == 'x')", 20, "`s` has no fields", "alone"),
        ("party.kind in attributes", 1, "a key is a text", "has(attributes.…)"),
    ]);
}

#[test]
fn types_that_do_not_fit_are_refused() {
    all(&[
        ("traits.orders == 'x'", 18, "a number is compared with a text", "one type"),
        ("traits.orders", 1, "a number, where true or false is needed", "true or false"),
        ("true && traits.orders", 9, "a number", "true or false"),
        ("!party.kind", 2, "a text", "true or false"),
        ("traits.opted > false", 1, "no order", "=="),
        ("segments == ['a']", 1, "lists are not compared", "in"),
        ("traits.orders + 'a' > 1", 15, "do not go together", "numbers"),
        ("party.kind + 'a' == 'HCPa'", 12, "do not go together", "numbers"),
        ("now + now > now", 5, "do not go together", "durations"),
        ("now > duration('1d')", 7, "a time is compared with a duration", "one type"),
        ("1 in segments", 1, "a number is looked for in a list with a text", "one type"),
        ("1 in now", 6, "a time, where a list", "list"),
        ("size(now) > 1", 6, "a time has no size", "text or a list"),
        ("traits.orders.startsWith('a')", 1, "a number, where a text", "text"),
        ("party.kind.startsWith(1)", 23, "a number, where a text", "text"),
        ("traits.opted ? 1 : 'x'", 20, "one branch is a number, the other a text", "both"),
        ("now.exists(x, x)", 1, "a time, where a list", "list"),
        ("[1, 'a'].exists(x, x == 1)", 5, "a text, where a number", "number"),
        ("segments.exists(s, s > 1)", 24, "a text is compared with a number", "one type"),
    ]);
    let names = catalogue();
    assert!(Rule::compile("traits.orders", &names, &Type::Number).is_ok());
    assert!(Rule::compile("party.kind", &names, &Type::Number).is_err());
}

#[test]
fn what_is_not_in_the_language_is_refused() {
    all(&[
        ("traits.orders % 2 == 0", 1, "no `%`", "compare"),
        ("party.kind.matches('H.*')", 1, "no function `matches`", "startsWith"),
        ("true && string(1) == '1'", 9, "no function `string`", "size"),
        ("attributes.x == null", 17, "no null", "has"),
        ("attributes.x == b'x'", 17, "no bytes", "text"),
        ("{'a': 1}.a == 1", 1, "only names have fields", "name"),
        ("{'a': 1} == 1", 1, "no maps", "lists"),
        ("segments.map(s, s)", 1, "map, filter", "exists"),
        ("segments.exists_one(s, s == 'a')", 1, "map, filter", "exists"),
        ("segments.exists(now, now == 'a')", 1, "`now` has a meaning", "another name"),
        ("[party.kind].exists(s, s == 'a')", 2, "made of literals", "=="),
        ("[[1]].exists(s, true)", 2, "no lists", "one list"),
        ("now > timestamp('yesterday')", 17, "no timestamp", "2026"),
        ("now - now > duration('1w')", 22, "no duration", "14d"),
        ("now - now > duration('')", 22, "no duration", "14d"),
        ("now > timestamp(party.kind)", 17, "text in quotes", "conversion"),
        ("1 / 0 > 1", 1, "no value", "division by zero"),
        ("traits.orders > 9007199254740993", 17, "too large", "exact"),
        ("traits.orders > 1e999", 17, "", ""),
    ]);
}

#[test]
fn texts_that_do_not_parse_are_refused_where_they_break() {
    all(&[
        ("", 1, "empty", "true"),
        ("  \n", 1, "empty", "true"),
        ("traits.orders >", 16, "missing at the end", "CEL"),
        ("traits.orders >= >= 2", 18, "", "CEL"),
        ("true &&\n  traits.orders >=", 27, "missing at the end", "CEL"),
        ("'ä€😀' == ==", 10, "", "CEL"),
        ("party.kind == 'HCP", 15, "does not end", "quote"),
        ("(true", 1, "not closed", "`)`"),
        ("true)", 5, "closes nothing", "take it out"),
        ("[true)", 6, "closes nothing", "take it out"),
        ("traits.orders = 2", 15, "", "CEL"),
        ("a and b", 3, "", "CEL"),
    ]);
}
