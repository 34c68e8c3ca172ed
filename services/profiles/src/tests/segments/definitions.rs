use rapport_proto::types::VersionState;

use super::*;

async fn refuse_trait(world: &World, stated: proto::Trait) -> Status {
    let request = proto::SaveTraitRequest {
        parent: parent(),
        definition: Some(proto::save_trait_request::Definition::Trait(stated)),
        ..Default::default()
    };
    world.segments().save_trait(request).await.expect_err("refused")
}

async fn refuse_segment(world: &World, rule: &str) -> Status {
    world.segments().save_segment(segment("any", rule)).await.expect_err("refused")
}

#[tokio::test]
async fn a_definition_is_live_in_one_step_and_the_same_one_changes_nothing() {
    let world = World::start().await;
    let first = world.save_trait(counted("orders")).await;
    let again = world.save_trait(counted("orders")).await;
    assert_eq!(again, first);
    let version = first.version.expect("a version");
    assert_eq!((version.version, version.state()), (1, VersionState::Live));
    assert_eq!((version.author.as_str(), version.hash.len()), ("admin", 64));
    assert_eq!((version.live_time, version.draft_time), (time(START), time(START)));
    let head = world.head();
    let saved = world.save_segment("buyers", "traits.orders >= 2").await;
    assert_eq!(saved.position, head + 1);
    world.harness.clock.set(day(1));
    let next = world.save_segment("buyers", "traits.orders >= 3").await;
    let version = next.version.expect("a version");
    assert_eq!((version.version, version.live_time), (2, time(day(1))));
    world.harness.stop().await;
}

#[tokio::test]
async fn a_request_that_is_repeated_gets_its_first_answer() {
    let world = World::start().await;
    let save = |rule: &str| proto::SaveSegmentRequest {
        request_id: "request-1".into(),
        ..segment("buyers", rule)
    };
    let first = world.segments().save_segment(save("true")).await.expect("saved").into_inner();
    world.save_segment("buyers", "false").await;
    let again = world.segments().save_segment(save("true")).await.expect("saved").into_inner();
    assert_eq!((again.version, again.position), (first.version, first.position));
    let other = world.segments().save_segment(save("false")).await.expect_err("refused");
    assert_eq!(told(&other), (Code::AlreadyExists, "REQUEST_ID_REUSED".into()));
    world.harness.stop().await;
}

#[tokio::test]
async fn documents_are_written_as_yaml_and_refused_with_line_and_column() {
    let world = World::start().await;
    let save = async |text: &str| {
        let request = proto::SaveTraitRequest {
            parent: parent(),
            definition: Some(proto::save_trait_request::Definition::Yaml(text.into())),
            ..Default::default()
        };
        world.segments().save_trait(request).await
    };
    let saved = save("trait: orders_90d\nkind: COUNT\nevent: Order Completed\nwindow: 90d\n").await;
    let saved = saved.expect("saved").into_inner().r#trait.expect("a trait");
    assert_eq!((saved.kind(), saved.window.as_str()), (proto::TraitKind::Count, "90d"));
    let refused = save("trait: orders\nkind: COUNTS\nevnt: Order\n").await.expect_err("refused");
    assert_eq!(told(&refused), (Code::InvalidArgument, "FIELD_INVALID".into()));
    let remedies: Vec<_> = violations(&refused).into_iter().map(|it| it.remedy).collect();
    assert!(remedies.iter().any(|it| it.starts_with("line 2,")), "{remedies:?}");
    assert!(remedies.iter().any(|it| it.starts_with("line 3,")), "{remedies:?}");
    let request = proto::SaveSegmentRequest {
        parent: parent(),
        definition: Some(proto::save_segment_request::Definition::Yaml(
            "segment: busy\nrule: \"traits.orders_90d >= 10\"\n".into(),
        )),
        ..Default::default()
    };
    world.segments().save_segment(request).await.expect("saved");
    world.harness.stop().await;
}

#[tokio::test]
async fn a_rule_is_checked_when_it_is_saved() {
    let world = World::start().await;
    world.shop().await;
    world.save_trait(counted("orders")).await;
    world.save_trait(proto::Trait { window: "90d".into(), ..counted("orders_90d") }).await;
    let sku = proto::Trait { property: "sku".into(), ..kind("last_sku", proto::TraitKind::Last) };
    world.save_trait(sku).await;
    for (rule, column) in [
        ("traits.orders_90d > traits.orders", "column 1:"),
        ("traits.orders > 1 && traits.orders_90d * 2 > 3", "column 22:"),
        ("traits.order > 1", "column 1:"),
        ("traits.last_sku > 3", "column"),
        ("party.market = 'DE'", "column"),
        ("", "column"),
        (&"(".repeat(3_000), "column"),
    ] {
        let refused = refuse_segment(&world, rule).await;
        assert_eq!(told(&refused), (Code::InvalidArgument, "RULE_INVALID".into()), "{rule}");
        let found = violations(&refused);
        assert_eq!(found[0].field, "segment.rule");
        assert!(found[0].remedy.contains(column), "{rule}: {}", found[0].remedy);
        let preview = proto::PreviewSegmentRequest {
            parent: parent(),
            rule: rule.into(),
            ..Default::default()
        };
        let refused = world.segments().preview_segment(preview).await.expect_err("refused");
        assert_eq!(told(&refused), (Code::InvalidArgument, "RULE_INVALID".into()), "{rule}");
    }
    world.harness.stop().await;
}

#[tokio::test]
async fn a_trait_does_not_break_the_segments_that_use_it() {
    let world = World::start().await;
    world.save_trait(counted("orders")).await;
    world.save_trait(counted("visits")).await;
    world.save_segment("buyers", "traits.orders * 2 > traits.visits").await;
    let windowed = proto::Trait { window: "90d".into(), ..counted("orders") };
    let refused = refuse_trait(&world, windowed).await;
    assert_eq!(told(&refused), (Code::InvalidArgument, "RULE_INVALID".into()));
    let remedy = &violations(&refused)[0].remedy;
    assert!(remedy.contains("buyers") && remedy.contains("column 1:"), "{remedy}");
    world.save_trait(proto::Trait { event: "Purchase".into(), ..counted("orders") }).await;
    world.harness.stop().await;
}

#[tokio::test]
async fn bad_requests_are_refused_by_field() {
    let world = World::start().await;
    let refused = refuse_trait(&world, proto::Trait::default()).await;
    assert_eq!(told(&refused), (Code::InvalidArgument, "FIELD_INVALID".into()));
    assert_eq!(fields(&refused), ["trait.trait", "trait.event", "trait.kind"]);
    let mut broken = counted("orders");
    broken.r#where = "event.total >".into();
    let refused = refuse_trait(&world, broken).await;
    assert_eq!(told(&refused), (Code::InvalidArgument, "RULE_INVALID".into()));
    assert_eq!(fields(&refused), ["trait.where"]);
    let empty = proto::SaveTraitRequest { parent: parent(), ..Default::default() };
    let refused = world.segments().save_trait(empty).await.expect_err("refused");
    assert_eq!(fields(&refused), ["definition"]);
    let refused = world.segments().save_segment(segment("Top", "true")).await.expect_err("refused");
    assert_eq!(fields(&refused), ["segment.segment"]);
    let consent = proto::ConsentQuestion { sender_id: "North Wind".into(), ..Default::default() };
    let preview = proto::PreviewSegmentRequest {
        parent: parent(),
        rule: "true".into(),
        consent: Some(consent),
    };
    let refused = world.segments().preview_segment(preview).await.expect_err("refused");
    assert_eq!(fields(&refused), ["consent.purpose", "consent.channel", "consent.sender_id"]);
    for id in ["nothing", "x"] {
        let get = proto::GetSegmentRequest { name: segment_name(id), ..Default::default() };
        let refused = world.segments().get_segment(get).await.expect_err("refused");
        assert_eq!(told(&refused), (Code::NotFound, "NOT_FOUND".into()));
    }
    let min_positions = [("journeys".to_owned(), 1)].into();
    let get = proto::GetSegmentRequest { name: segment_name("any"), min_positions };
    let refused = world.segments().get_segment(get).await.expect_err("refused");
    assert_eq!(fields(&refused), ["min_positions"]);
    world.harness.stop().await;
}

#[tokio::test]
async fn definitions_are_listed_by_id_in_pages() {
    let world = World::start().await;
    for n in 0..5 {
        world.save_trait(counted(&format!("orders_{n}"))).await;
        world.save_segment(&format!("segment-{n}"), "true").await;
    }
    let (mut traits, mut token) = (Vec::new(), String::new());
    for _ in 0..3 {
        let request =
            proto::ListTraitsRequest { parent: parent(), page_size: 2, page_token: token };
        let page = world.segments().list_traits(request).await.expect("a page").into_inner();
        traits.extend(page.traits.into_iter().map(|it| it.r#trait));
        token = page.next_page_token;
    }
    assert_eq!((traits.len(), traits.is_sorted(), token.as_str()), (5, true, ""));
    let request = proto::ListSegmentsRequest { parent: parent(), ..Default::default() };
    let listed = world.segments().list_segments(request).await.expect("listed").into_inner();
    assert_eq!(listed.segments.len(), 5);
    let other = SegmentServiceClient::new(world.harness.person(UMBRELLA, "eve", &["*"]));
    let request =
        proto::ListSegmentsRequest { parent: format!("tenants/{UMBRELLA}"), ..Default::default() };
    let listed = other.clone().list_segments(request).await.expect("listed").into_inner();
    assert_eq!(listed.segments, []);
    world.harness.stop().await;
}

#[tokio::test]
async fn names_are_told_with_types_and_versions() {
    let world = World::start().await;
    world.shop().await;
    world.save_trait(counted("orders")).await;
    let of = |id: &str, kind_, property: &str| proto::Trait {
        property: property.into(),
        ..kind(id, kind_)
    };
    world.save_trait(of("spent", proto::TraitKind::Sum, "total")).await;
    world.save_trait(of("last_sku", proto::TraitKind::Last, "sku")).await;
    world.save_trait(of("first_other", proto::TraitKind::First, "other")).await;
    world.save_segment("buyers", "traits.orders > 1").await;
    let text = |ids: &[&str]| ids.iter().map(|it| (*it).to_owned()).collect();
    let request = proto::CheckNamesRequest {
        parent: parent(),
        traits: text(&["orders", "spent", "last_sku", "first_other", "nothing"]),
        segments: text(&["buyers", "nobody"]),
        ..Default::default()
    };
    let known = world.facts().check_names(request).await.expect("known").into_inner();
    let expected = [
        ("first_other", ClearKind::Unspecified),
        ("last_sku", ClearKind::Code),
        ("orders", ClearKind::Number),
        ("spent", ClearKind::Money),
    ];
    let expected = expected.map(|(id, kind)| (id.to_owned(), i32::from(kind)));
    assert_eq!(
        known.traits.into_iter().collect::<std::collections::BTreeMap<_, _>>(),
        expected.into()
    );
    assert_eq!(known.segments.into_iter().collect::<Vec<_>>(), [("buyers".to_owned(), 1)]);
    world.harness.stop().await;
}

/// What one replica changes counts on another at its next read, though both hold what they compiled.
#[tokio::test]
async fn a_replica_that_holds_definitions_notices_that_another_one_changed_them() {
    let world = World::start().await;
    world.save_trait(counted("orders")).await;
    world.save_segment("buyers", "traits.orders >= 1").await;
    let other = Definitions::new(world.store());
    let rule = async || {
        let live = other.live(ACME).await.expect("live");
        live.segments["buyers"].definition.rule.text().to_owned()
    };
    let held = other.live(ACME).await.expect("live");
    assert!(std::sync::Arc::ptr_eq(&held, &other.live(ACME).await.expect("live")), "it is held");
    assert_eq!(rule().await, "traits.orders >= 1");
    world.save_segment("buyers", "traits.orders >= 2").await;
    assert_eq!(rule().await, "traits.orders >= 2");
    world.save_trait(counted("visits")).await;
    let live = other.live(ACME).await.expect("live");
    assert_eq!((live.traits.len(), live.segments.len()), (2, 1));
    assert_eq!(other.live(UMBRELLA).await.expect("live").segments.len(), 0);
    world.harness.stop().await;
}

/// The index finds exactly the segments whose rule names what an event changes.
#[tokio::test]
async fn an_event_concerns_the_segments_whose_rules_name_what_it_changes() {
    let world = World::start().await;
    world.shop().await;
    world.save_trait(counted("orders")).await;
    let big = proto::Trait { r#where: "event.total > 50.0".into(), ..counted("big_orders") };
    world.save_trait(big).await;
    world.save_trait(proto::Trait { event: "Visit".into(), ..counted("visits") }).await;
    for (id, rule) in [
        ("always", "now >= timestamp('2026-02-01T00:00:00Z')"),
        ("orders", "traits.orders > 0"),
        ("big", "traits.big_orders > 0"),
        ("visits", "traits.visits > 0"),
        ("tier", "attributes.tier == 1"),
        ("state", "party.state == 'ACTIVE'"),
        ("market", "party.market == 'DE'"),
        ("mail", "consent['PROMOTIONAL/EMAIL/northwind']"),
        ("sms", "consent['PROMOTIONAL/SMS/northwind']"),
    ] {
        world.save_segment(&format!("by-{id}"), rule).await;
    }
    let party = world.party_of(PartyKind::Hcp).await;
    world.orders(&party, &[START]).await;
    world.set_attribute(&party, "tier", clear::Value::Number(1.0)).await;
    world.set_attribute(&party, "other", clear::Value::Number(1.0)).await;
    world.consents().record_consent(grant(&party)).await.expect("recorded");
    let name = party_name(&party);
    let moved =
        proto::MovePartyRequest { name: name.clone(), market: "AT".into(), ..Default::default() };
    world.parties().move_party(moved).await.expect("moved");
    let reason = "complaint".to_owned();
    let suppress = proto::SuppressPartyRequest { name, reason, ..Default::default() };
    world.parties().suppress_party(suppress).await.expect("suppressed");
    let live = Definitions::new(world.store()).live(ACME).await.expect("live");
    let events = world.store().read_party(ACME, &party, 0, 100).await.expect("read");
    let told = events.iter().filter(|it| it.aggregate() != "membership");
    let concerned: Vec<Vec<&str>> = told
        .map(|event| {
            let ids = crate::segments::concerned(&live, event).expect("read");
            ids.into_iter().filter_map(|it| it.strip_prefix("by-")).collect()
        })
        .collect();
    let all = ["always", "big", "mail", "market", "orders", "sms", "state", "tier", "visits"];
    let expected: [&[&str]; 7] = [
        &all,
        // The order of ten is not a big one, and no visit.
        &["orders"],
        &["tier"],
        &[],
        &["mail"],
        &["mail", "market", "sms"],
        &["state"],
    ];
    assert_eq!(concerned, expected);
    world.harness.stop().await;
}
