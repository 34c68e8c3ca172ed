//! Where CEL's own interpreter gives true or false, so do we.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

/// Conditions in the part of the language where both agree: numbers are doubles on both sides.
fn condition() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        Just("traits.orders".to_owned()),
        Just("traits.spent".to_owned()),
        Just("attributes.beds".to_owned()),
        (-3_i8..6).prop_map(|n| format!("{n}.0")),
        (0_u8..8).prop_map(|n| format!("{n}.5")),
    ];
    let number = number.prop_recursive(2, 6, 2, |inner| {
        (inner.clone(), prop::sample::select(vec!["+", "-", "*", "/"]), inner)
            .prop_map(|(a, sign, b)| format!("({a} {sign} {b})"))
    });
    let text = prop::sample::select(vec![
        "party.market",
        "party.kind",
        "attributes.specialty",
        "traits.tier",
        "'DE'",
        "'HCP'",
        "\"onco\"",
    ]);
    let order = prop::sample::select(vec!["==", "!=", "<", "<=", ">", ">="]);
    let leaf = prop_oneof![
        4 => (number.clone(), order.clone(), number).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        3 => (text.clone(), order, text.clone()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        1 => (text.clone(), text.clone()).prop_map(|(a, b)| format!("{a}.startsWith({b})")),
        1 => (text.clone(), text.clone()).prop_map(|(a, b)| format!("{a}.contains({b})")),
        1 => text.clone().prop_map(|a| format!("{a} in ['DE', 'HCP', 'onco']")),
        1 => text.clone().prop_map(|a| format!("{a} in segments")),
        1 => text.prop_map(|a| format!("segments.exists(s, s != {a})")),
        1 => Just("scores.all(s, s > traits.orders)".to_owned()),
        1 => Just("traits.opted".to_owned()),
        1 => Just("has(attributes.beds)".to_owned()),
        1 => Just("has(attributes.missing)".to_owned()),
        1 => Just("true".to_owned()),
        1 => Just("false".to_owned()),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) && ({b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) || ({b})")),
            inner.clone().prop_map(|a| format!("!({a})")),
            (inner.clone(), inner.clone(), inner)
                .prop_map(|(a, b, c)| format!("({a}) ? ({b}) : ({c})")),
        ]
    })
}

fn rule_of(text: &str) -> Option<Rule> {
    Rule::compile(text, &catalogue(), &Type::Bool).ok()
}

/// Rows in which any fact may be missing.
fn row() -> impl Strategy<Value = Known> {
    let number = || prop::option::of((-4_i8..12).prop_map(|n| Value::from(f64::from(n) / 2.0)));
    let text = || {
        let texts = prop::sample::select(vec!["DE", "FR", "HCP", "oncology", ""]);
        prop::option::of(texts.prop_map(Value::from))
    };
    let texts = prop::collection::vec(prop::sample::select(vec!["DE", "HCP", "x"]), 0..3);
    let numbers = prop::collection::vec((0_i8..5).prop_map(f64::from), 0..3);
    let named = (
        [number(), number(), number()],
        [text(), text(), text(), text()],
        prop::option::of(any::<bool>().prop_map(Value::from)),
        prop::option::of(texts.prop_map(Value::list)),
        prop::option::of(numbers.prop_map(Value::list)),
    );
    named.prop_map(|(numbers, texts, opted, segments, scores)| {
        let names = [
            "traits.orders",
            "traits.spent",
            "attributes.beds",
            "party.market",
            "party.kind",
            "attributes.specialty",
            "traits.tier",
            "traits.opted",
            "segments",
            "scores",
        ];
        let values = numbers.into_iter().chain(texts).chain([opted, segments, scores]);
        names.iter().zip(values).filter_map(|(n, v)| Some(((*n).to_owned(), v?))).collect()
    })
}

fn cel_value(value: &Value) -> cel::Value {
    match value {
        Value::Bool(value) => (*value).into(),
        Value::Number(value) => (*value).into(),
        Value::Text(value) => value.to_string().into(),
        Value::List(values) => values.iter().map(cel_value).collect::<Vec<_>>().into(),
        Value::Time(_) | Value::Duration(_) => cel::Value::Null,
    }
}

/// The same facts for CEL's interpreter: a map for each root. A fact that is missing is an error
/// there, as ours is unknown.
fn context(facts: &Known) -> cel::Context<'static, 'static> {
    let mut context = cel::Context::default();
    let mut roots: HashMap<&str, HashMap<String, cel::Value>> =
        ["party", "traits", "attributes"].map(|root| (root, HashMap::new())).into();
    for (name, value) in facts {
        match name.split_once('.') {
            Some((root, key)) => {
                if let Some(map) = roots.get_mut(root) {
                    map.insert(key.to_owned(), cel_value(value));
                }
            }
            None => context.add_variable_from_value(name.clone(), cel_value(value)),
        }
    }
    for (root, map) in roots {
        context.add_variable_from_value(root, map);
    }
    context
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_cel_decides_we_decide_alike(text in condition(), facts in row()) {
        // Beyond our bounds, a division of constants by zero: we refuse what CEL would try.
        let Ok(rule) = Rule::compile(&text, &catalogue(), &Type::Bool) else { return Ok(()) };
        let ours = rule.check(&facts);
        let program = cel::Program::compile(&text).expect("we compiled it");
        match program.execute(&context(&facts)) {
            // CEL goes on with an infinite quotient, where we do not know.
            Ok(cel::Value::Bool(_)) if text.contains('/') && ours.unknown().is_some() => {}
            Ok(cel::Value::Bool(theirs)) => prop_assert_eq!(told(&ours), theirs.to_string()),
            Ok(other) => prop_assert!(false, "{other:?} is no truth"),
            Err(_) => prop_assert!(ours.unknown().is_some(), "CEL fails, we say {ours:?}"),
        }
    }

    #[test]
    fn a_failing_clause_is_told_exactly_when_the_rule_fails(text in condition(), facts in row()) {
        let Ok(rule) = Rule::compile(&text, &catalogue(), &Type::Bool) else { return Ok(()) };
        let truth = rule.check(&facts);
        let failing = rule.first_failing(&facts);
        prop_assert_eq!(failing.is_none(), truth.is_true());
        prop_assert_eq!(failing.and_then(|failing| failing.unknown), truth.unknown());
    }

    #[test]
    fn rules_judged_together_are_judged_as_each_alone(
        texts in prop::collection::vec(condition(), 1..5),
        facts in row(),
    ) {
        let mut rules = Rules::new(catalogue());
        // What is joined shares clauses with what it is joined from.
        let joined = texts.iter().map(|it| format!("({it})")).collect::<Vec<_>>().join(" && ");
        let ids: Vec<_> = (texts.iter().chain([&joined]))
            .filter_map(|text| Some((rule_of(text)?, rules.add(text).ok()?)))
            .collect();
        let judge = rules.over(&facts);
        for (rule, id) in ids {
            let together = judge.first_failing(id).map(std::borrow::Cow::into_owned);
            prop_assert_eq!(together, rule.first_failing(&facts));
            prop_assert_eq!(judge.holds(id), rule.check(&facts).is_true());
        }
    }

    #[test]
    fn no_text_makes_the_compiler_panic(text in any::<String>()) {
        let _ = Rule::compile(&text, &catalogue(), &Type::Any);
    }

    #[test]
    fn no_soup_of_tokens_makes_the_compiler_panic(
        tokens in prop::collection::vec(prop::sample::select(vec![
            "party", ".", "kind", "traits", "orders", "segments", "exists", "all", "map", "has",
            "(", ")", "[", "]", "{", "}", ",", ":", "?", "==", "<", "in", "&&", "||", "!", "-",
            "+", "%", "1", "1.5", "'a'", "\"", "r'", "x", "null", "b'a'", "duration", "size", "//",
            "\n", "`a`", "é", "\\", "for", "$", "0x", "1u", "'''", "@",
        ]), 0..24),
    ) {
        let _ = Rule::compile(&tokens.concat(), &catalogue(), &Type::Any);
        let _ = Rule::compile(&tokens.join(" "), &catalogue(), &Type::Any);
    }

    #[test]
    fn facts_of_any_type_are_never_a_panic(text in condition(), values in prop::collection::vec(
        prop_oneof![
            any::<f64>().prop_map(Value::from),
            any::<bool>().prop_map(Value::from),
            ".{0,3}".prop_map(Value::from),
            any::<i64>().prop_map(|t| Value::from(Timestamp(t))),
            any::<i64>().prop_map(Value::Duration),
            Just(Value::list([1.0])),
        ], 1..6)) {
        let Ok(rule) = Rule::compile(&text, &catalogue(), &Type::Bool) else { return Ok(()) };
        let next = std::cell::Cell::new(0);
        let facts = |_: &Name| {
            next.set(next.get() + 1);
            values.get(next.get() % values.len()).cloned()
        };
        let _ = rule.first_failing(&facts);
    }
}
