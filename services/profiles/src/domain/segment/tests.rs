use eventstore::testing::given;

use super::*;

fn traits() -> Traits {
    let known = |type_, depends_on_time| Known { type_, depends_on_time };
    [
        ("orders", known(Type::Number, false)),
        ("orders_90d", known(Type::Number, true)),
        ("days_since_order", known(Type::Number, true)),
        ("last_sku", known(Type::Text, false)),
    ]
    .map(|(id, it)| (id.to_owned(), it))
    .into()
}

fn why(text: &str) -> String {
    match rule(text, &traits()) {
        Ok(_) => panic!("accepted: {text}"),
        Err(Invalid::Rule(why)) => why,
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn a_rule_reads_everything_that_is_known_of_a_party() {
    for good in [
        "party.kind == 'HCP' && party.market in ['DE', 'AT'] && party.state == 'ACTIVE'",
        "attributes.specialty == 'oncology' && has(attributes.licence)",
        "traits.days_since_order >= 90 && traits.orders >= 2",
        "90 <= traits.days_since_order",
        "traits.orders_90d in [0, 1]",
        "has(traits.days_since_order)",
        "!(traits.orders_90d > 3) || traits.last_sku == 'a'",
        "traits.orders * 2 > traits.orders + 1",
        "consent['PROMOTIONAL/EMAIL/northwind']",
        "now >= timestamp('2026-06-01T00:00:00Z')",
    ] {
        assert!(rule(good, &traits()).is_ok(), "{good}: {:?}", rule(good, &traits()));
    }
}

#[test]
fn a_name_that_time_changes_is_compared_with_literals_only() {
    for (bad, column) in [
        ("traits.orders_90d > traits.orders", "column 1:"),
        ("traits.orders > 1 && traits.orders > traits.orders_90d", "column 38:"),
        ("traits.days_since_order + 1 > 90", "column 1:"),
        ("now > attributes.until", "column 1:"),
        ("now - duration('1d') > timestamp('2026-01-01T00:00:00Z')", "column 1:"),
    ] {
        let why = why(bad);
        assert!(why.starts_with(column), "{bad}: {why}");
        assert!(why.contains("changes with time alone"), "{bad}: {why}");
        assert!(why.contains("compare it with a literal"), "{bad}: {why}");
    }
}

#[test]
fn a_rule_that_cannot_run_is_refused_with_its_column() {
    for (bad, told) in [
        ("traits.ordres >= 2", "column 1:"),
        ("party.market == 'DE' && traits.unknown > 1", "column 25:"),
        ("traits.orders == 'two'", "column"),
        ("traits.orders", "column"),
        ("party.name == 'Ada'", "column"),
        ("segments.exists(s, s == 'a')", "column"),
        ("traits.orders >=", "column"),
        ("", "column"),
        ("party.market == 'DE' && consent['EMAIL']", "column 25:"),
        ("consent['PROMOTIONAL/EMAIL/North Wind']", "column 1:"),
        ("consent['UNSPECIFIED/EMAIL/northwind']", "column 1:"),
    ] {
        let why = why(bad);
        assert!(why.starts_with(told), "{bad}: {why}");
    }
    assert!(why("traits.ordres >= 2").contains("did you mean `traits.orders`?"));
}

#[test]
fn a_bomb_is_refused_when_it_is_saved() {
    for bomb in ["(".repeat(5_000), "!".repeat(1_000) + "true", vec!["true"; 500].join(" && ")] {
        assert!(rule(&bomb, &traits()).is_err());
    }
}

#[test]
fn everything_wrong_with_a_definition_is_told() {
    let stated = proto::Segment {
        segment: "Lapsing Customers".into(),
        description: "\u{7}".into(),
        rule: "traits.nothing > 1".into(),
    };
    let faults = Segment::parse(&stated, &traits()).expect_err("refused");
    let fields: Vec<_> = faults.iter().map(|(field, _)| *field).collect();
    assert_eq!(fields, ["segment", "description", "rule"]);
}

#[test]
fn the_same_document_is_already_so_and_another_is_the_next_version() {
    let save = |rule: &str| {
        let segment = "lapsing".to_owned();
        Command::Save(Box::new(proto::Segment { segment, rule: rule.into(), ..Default::default() }))
    };
    let first = given::<SegmentDefinition>([]).when(save("true")).events();
    given::<SegmentDefinition>(first.clone()).when(save("true")).then([]);
    assert_eq!(given::<SegmentDefinition>(first).when(save("false")).state().version, 2);
}
