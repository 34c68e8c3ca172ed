//! Hostile and mistaken requests are refused with the field and the remedy.

use super::*;

#[tokio::test]
async fn a_document_that_does_not_parse_is_told_with_line_and_column() {
    let world = World::start().await;
    for (yaml, place) in [
        ("rule_pack: DE\nunknown: 1\n", "line 2, column 1"),
        ("rule_pack: DE\noutbound:\n  - {id: x, effect: MAYBE}\n", "line 3, column 21"),
        ("rule_pack: [\n", "line"),
    ] {
        let refused = world.draft_pack(yaml).await.expect_err("malformed");
        assert_eq!(told(&refused), (Code::InvalidArgument, "FIELD_INVALID".into()));
        let violations = violations(&refused);
        assert_eq!(violations[0].field, "yaml");
        assert!(violations[0].remedy.contains(place), "{}", violations[0].remedy);
    }
}

#[tokio::test]
async fn rules_that_do_not_parse_name_their_column() {
    let world = World::start().await;
    let deep = format!("{}true{}", "(".repeat(200), ")".repeat(200));
    let long = vec!["attributes.tier > 1.0"; 500].join(" && ");
    for rule in [
        "party.kind == ",
        "party.kin == 'HCP'",
        "attributes.tier + 1.0",
        "party.kind == 5.0",
        "[1.0, 2.0].map(x, x * 2.0) == [2.0]",
        &deep,
        &long,
    ] {
        let mut policy = small_policy();
        policy.actions[0].suitability = rule.into();
        let refused = world.draft_policy(policy).await.expect_err("no rule");
        assert_eq!(told(&refused), (Code::InvalidArgument, "RULE_INVALID".into()));
        let violation = &violations(&refused)[0];
        assert_eq!(violation.field, "policy.actions[0].suitability");
        assert!(violation.remedy.starts_with("rule_invalid: column "), "{}", violation.remedy);
        let pack = GERMANY.replace("attributes.licence_valid\"", &format!("{rule}\""));
        let refused = world.draft_pack(&pack).await.expect_err("no rule");
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
    assert_eq!(world.head(), 0);
}

#[tokio::test]
async fn every_field_that_is_wrong_is_told_at_once() {
    let world = World::start().await;
    let request = proto::DecideRequest {
        parent: format!("tenants/{ACME}/parties/pty_1"),
        sender_id: "No Sender".into(),
        channels: vec![0],
        k: 6,
        valid_for: "soon".into(),
        requested_by: "a\u{202e}b".into(),
        context: [(String::new(), Default::default())].into(),
        ..Default::default()
    };
    let refused = world.decisions().decide(request).await.expect_err("refused");
    let expected =
        ["sender_id", "channels", "k", "context.", "valid_for", "valid_for", "requested_by"];
    assert_eq!(fields(&refused), expected);
    let request = proto::CheckOutboundRequest {
        parent: parent(),
        market: "Germany".into(),
        party_id: "a b".into(),
        ..Default::default()
    };
    let refused = world.decisions().check_outbound(request).await.expect_err("refused");
    assert_eq!(fields(&refused), ["content_class", "audience", "channel", "market", "party_id"]);
    let request = proto::StartHoldoutRequest {
        parent: parent(),
        holdout: Some(proto::HoldoutStarted {
            share: 0.9,
            content_classes: vec![ContentClass::Service.into()],
            ..Default::default()
        }),
        ..Default::default()
    };
    let refused = world.decisions().start_holdout(request).await.expect_err("refused");
    let expected = [
        "holdout.holdout_id",
        "holdout.salt",
        "holdout.period",
        "holdout.share",
        "holdout.content_classes",
    ];
    assert_eq!(fields(&refused), expected);
}

#[tokio::test]
async fn positions_of_strangers_are_refused_and_future_ones_are_not_waited_for_long() {
    let world = World::start().await;
    let with = |source: &str| proto::CheckOutboundRequest {
        min_positions: [(source.to_owned(), 1_000)].into(),
        ..question(Audience::Hcp)
    };
    let refused = world.decisions().check_outbound(with("kpis")).await.expect_err("a stranger");
    assert_eq!(fields(&refused), ["min_positions"]);
    let behind = world.decisions().check_outbound(with("decisioning")).await.expect_err("behind");
    assert_eq!(told(&behind), (Code::Unavailable, "BEHIND".into()));
}
