//! Rules that would cost too much are refused before they are parsed, or give up when they run.

use std::thread;

use super::*;

#[test]
fn bombs_are_refused() {
    let many = |text: &str| text.repeat(10_000);
    let bombs = [
        format!("{}true{}", many("("), many(")")),
        format!("{}true{}", "(".repeat(900), ")".repeat(900)),
        format!("{}true{}", "(".repeat(40), ")".repeat(40)),
        many("["),
        "[".repeat(1_900),
        many("!") + "true",
        "!".repeat(1_900) + "true",
        "-".repeat(1_900) + "1 == 1",
        many("'a' + ") + "'a' == 'a'",
        "1+".repeat(500) + "1 == 1",
        "1+".repeat(60) + "1 == 1",
        "true ? true : ".repeat(40) + "true",
        "a".repeat(100_000),
        "attributes".to_owned() + &".a".repeat(900) + " == 1",
        "party".to_owned() + &"[0]".repeat(180) + " == 1",
        format!("party.kind in [{}]", "'a',".repeat(101)),
        "segments.exists(a, segments.exists(b, segments.exists(c, true)))".to_owned(),
        "'".to_owned() + &many("a"),
        many("é"),
    ];
    for bomb in bombs {
        let start: String = bomb.chars().take(30).collect();
        assert!(Rule::compile(&bomb, &catalogue(), &Type::Bool).is_err(), "{start}…");
    }
}

/// Requests are served on stacks of 2 MiB that are in part used up.
#[test]
fn the_deepest_rules_fit_a_small_stack() {
    let deepest = || {
        for text in [
            format!("{}true{}", "(".repeat(32), ")".repeat(32)),
            "true ? true : ".repeat(24) + "true",
            "1 + ".repeat(30) + "1 == 31",
            "true && ".repeat(98) + "true",
            "!(".repeat(30) + "true" + &")".repeat(30),
            format!("party.kind in [{}'a']", "'a',".repeat(99)),
        ] {
            let result = Rule::compile(&text, &catalogue(), &Type::Bool);
            assert!(result.is_ok(), "{text}: {result:?}");
        }
    };
    let small = thread::Builder::new().stack_size(1 << 20).spawn(deepest);
    small.expect("a thread").join().expect("no overflow");
}

#[test]
fn long_conjunctions_are_no_deep_ones() {
    let text = "has(attributes.beds) && ".repeat(30) + "traits.orders == 3";
    assert_eq!(rule(&text).check(&facts()), Truth::True);
    assert_eq!(rule(&text).clauses().len(), 31);
}

#[test]
fn a_rule_gives_up_when_its_budget_is_spent() {
    let rule = rule("scores.all(a, scores.all(b, a + b >= 0))");
    let mut facts = Known::new();
    for (size, expected) in [(10_i64, "true"), (100_000, "unknown:cost")] {
        facts.insert("scores".to_owned(), Value::list(0..size));
        assert_eq!(told(&rule.check(&facts)), expected);
    }
}

#[test]
fn a_budget_that_clauses_spend_together_is_the_rules() {
    let costly = |least: i32| format!("scores.all(a, scores.all(b, a + b >= {least}))");
    let text = format!("{} && {}", costly(0), costly(-1));
    let facts = Known::from([("scores".to_owned(), Value::list(0..40_i64))]);
    assert_eq!(told(&rule(&costly(0)).check(&facts)), "true");
    let alone = rule(&text);
    assert_eq!(told(&alone.check(&facts)), "unknown:cost");
    let failing = alone.first_failing(&facts).expect("it does not hold");
    assert_eq!((failing.clause, failing.unknown), (costly(-1), Some("unknown:cost".to_owned())));
    let mut rules = Rules::new(catalogue());
    let (one, both) = (rules.add(&costly(0)), rules.add(&text));
    let judge = rules.over(&facts);
    assert!(judge.holds(one.expect("a rule")));
    let failing = judge.first_failing(both.expect("a rule")).expect("it does not hold");
    assert_eq!(failing.unknown.as_deref(), Some("unknown:cost"));
}

#[test]
fn rules_judged_together_look_every_fact_up_once() {
    let mut rules = Rules::new(catalogue());
    let ids: Vec<_> = (0..30)
        .map(|least| rules.add(&format!("party.kind == 'HCP' && traits.orders >= {least}")))
        .collect();
    let looked_up = std::cell::RefCell::new(Vec::new());
    let known = |name: &Name| {
        looked_up.borrow_mut().push(name.to_string());
        facts().get(name.as_str()).cloned()
    };
    let judge = rules.over(&known);
    let holding = ids.into_iter().filter(|it| judge.holds(it.clone().expect("a rule")));
    assert_eq!(holding.count(), 4);
    assert_eq!(*looked_up.borrow(), ["party.kind", "traits.orders"]);
}
