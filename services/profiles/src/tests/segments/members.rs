use super::*;

#[tokio::test]
async fn a_new_version_looks_at_everybody() {
    let world = World::start().await;
    let mut parties = Vec::new();
    for _ in 0..5 {
        parties.push(world.party_of(PartyKind::Hcp).await);
    }
    for party in &parties[..2] {
        world.set_attribute(party, "tier", clear::Value::Number(1.0)).await;
    }
    let first = world.save_segment("top", "attributes.tier <= 1").await;
    world.settle().await;
    assert_eq!(world.members("top").await.len(), 2);
    let crossings = world.crossings(&parties[0], "top").await;
    assert_eq!(crossings, [(true, START, false)]);
    world.harness.clock.set(day(1));
    let second = world.save_segment("top", "!(attributes.tier <= 1)").await;
    let versions = [first, second].map(|it| it.version.expect("a version").version);
    assert_eq!(versions, [1, 2]);
    world.settle().await;
    // Unknown is false, whatever it is negated by.
    assert_eq!(world.members("top").await, [] as [&str; 0]);
    world.save_segment("top", "!has(attributes.tier)").await;
    world.settle().await;
    let members = world.members("top").await;
    assert_eq!(members.len(), 3);
    assert!(parties[2..].iter().all(|it| members.contains(it)));
    assert_eq!(world.crossings(&parties[0], "top").await[1], (false, day(1), false));
    world.harness.stop().await;
}

#[tokio::test]
async fn a_new_version_of_a_trait_looks_at_everybody_in_segments_that_use_it() {
    let world = World::start().await;
    world.shop().await;
    world.save_trait(counted("orders")).await;
    world.save_segment("buyers", "traits.orders >= 2").await;
    let party = world.party_of(PartyKind::Hcp).await;
    world.orders(&party, &[day(-40), START]).await;
    world.settle().await;
    assert_eq!(world.members("buyers").await, [party.as_str()]);
    let saved = world.save_trait(proto::Trait { window: "30d".into(), ..counted("orders") }).await;
    assert_eq!(saved.version.expect("a version").version, 2);
    world.settle().await;
    assert_eq!(world.members("buyers").await, [] as [&str; 0]);
    world.harness.stop().await;
}

#[tokio::test]
async fn more_members_than_a_unit_or_a_page_can_hold() {
    let world = World::start().await;
    for _ in 0..130 {
        world.party_of(PartyKind::Hcp).await;
    }
    for n in 0..3 {
        let rule =
            format!("party.kind == 'HCP' && now < timestamp('2027-0{}-01T00:00:00Z')", n + 1);
        world.save_segment(&format!("all-{n}"), &rule).await;
    }
    world.settle().await;
    for n in 0..3 {
        let request = proto::GetSegmentRequest {
            name: segment_name(&format!("all-{n}")),
            ..Default::default()
        };
        let found = world.segments().get_segment(request).await.expect("found").into_inner();
        assert_eq!(found.members, 130);
    }
    assert_eq!(world.timers().await, 390);
    let (mut members, mut token) = (Vec::new(), String::new());
    loop {
        let request = proto::ListSegmentMembersRequest {
            parent: segment_name("all-1"),
            page_size: 50,
            page_token: token,
            ..Default::default()
        };
        let page = world.segments().list_segment_members(request).await.expect("a page");
        let page = page.into_inner();
        assert!(page.members.iter().all(|it| it.version == 1 && it.enter_time == time(START)));
        members.extend(page.members.into_iter().map(|it| it.party_id));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert!(members.len() == 130 && members.is_sorted());
    let foreign = proto::ListSegmentMembersRequest {
        parent: segment_name("all-2"),
        page_token: "nonsense".into(),
        ..Default::default()
    };
    let refused = world.segments().list_segment_members(foreign).await.expect_err("refused");
    assert_eq!(told(&refused), (Code::InvalidArgument, "PAGE_TOKEN_INVALID".into()));
    world.harness.stop().await;
}

#[tokio::test]
async fn a_party_enters_more_segments_than_a_unit_can_hold() {
    let world = World::start().await;
    for n in 0..140 {
        let rule =
            format!("party.kind == 'HCP' && now < timestamp('2028-01-01T00:00:{:02}Z')", n % 60);
        world.save_segment(&format!("segment-{n}"), &rule).await;
    }
    let party = world.party_of(PartyKind::Hcp).await;
    world.settle().await;
    assert_eq!(world.timers().await, 140);
    for n in [0, 70, 139] {
        assert_eq!(world.members(&format!("segment-{n}")).await, [party.as_str()]);
    }
    world.harness.stop().await;
}

#[tokio::test]
async fn a_preview_counts_by_market_and_consent_and_saves_nothing() {
    let world = World::start().await;
    world.shop().await;
    world.save_trait(counted("orders")).await;
    world.save_trait(kind("last_total", proto::TraitKind::DaysSince)).await;
    let mut parties = Vec::new();
    for market in ["DE", "DE", "US", "US", "US"] {
        let request =
            proto::RegisterPartyRequest { market: market.into(), ..registration(PartyKind::Hcp) };
        parties.push(world.register(request).await);
    }
    world.consents().record_consent(grant(&parties[0])).await.expect("recorded");
    world.orders(&parties[1], &[START]).await;
    world.settle().await;
    let head = world.head();
    let preview = async |rule: &str, asked: bool| {
        let consent = proto::ConsentQuestion {
            purpose: Purpose::Promotional.into(),
            channel: Channel::Email.into(),
            sender_id: "northwind".into(),
        };
        let request = proto::PreviewSegmentRequest {
            parent: parent(),
            rule: rule.into(),
            consent: asked.then_some(consent),
        };
        world.segments().preview_segment(request).await.expect("counted").into_inner()
    };
    let counts = |reply: &proto::PreviewSegmentResponse| -> Vec<(String, String, u64)> {
        let counts = reply.counts.iter();
        counts.map(|it| (it.market.clone(), it.consent.clone(), it.parties)).collect()
    };
    let group = |market: &str, consent: &str, parties| (market.into(), consent.into(), parties);

    let all = preview("traits.orders >= 0", true).await;
    assert_eq!((all.parties, all.members, all.unknown), (5, 5, 0));
    assert_eq!(all.sample_party_ids.len(), 5);
    let expected =
        [group("DE", "allowed", 1), group("DE", "no_pack", 1), group("US", "no_pack", 3)];
    assert_eq!(counts(&all), expected);

    let recent = preview("traits.last_total < 10", false).await;
    assert_eq!((recent.parties, recent.members, recent.unknown), (5, 1, 4));
    assert_eq!(counts(&recent), [group("DE", "", 1)]);
    assert_eq!(recent.sample_party_ids, [parties[1].as_str()]);
    assert_eq!(world.head(), head);
    world.harness.stop().await;
}

/// What is named is told as it is told beside everything else, and nothing more is.
#[tokio::test]
async fn facts_tell_what_is_named_and_nothing_else() {
    let world = World::start().await;
    world.shop().await;
    world.save_trait(counted("orders")).await;
    world.save_trait(kind("days_since_order", proto::TraitKind::DaysSince)).await;
    world.save_segment("buyers", "traits.orders >= 1").await;
    world.save_segment("allowed", "consent['PROMOTIONAL/EMAIL/northwind']").await;
    world.save_segment("tops", "attributes.tier == 1 && traits.days_since_order < 5").await;
    let party = world.party_of(PartyKind::Hcp).await;
    world.set_attribute(&party, "tier", clear::Value::Number(1.0)).await;
    world.set_attribute(&party, "vip", clear::Value::Flag(true)).await;
    world.consents().record_consent(grant(&party)).await.expect("recorded");
    world.orders(&party, &[START]).await;
    let facts =
        async |traits: Option<&[&str]>, segments: Option<&[&str]>, attributes: Option<&[&str]>| {
            let names = |names: Option<&[&str]>| {
                let ids = names?.iter().map(|it| (*it).to_owned()).collect();
                Some(proto::Names { ids })
            };
            let request = proto::GetFactsRequest {
                name: party_name(&party),
                traits: names(traits),
                segments: names(segments),
                attributes: names(attributes),
                consents: vec![proto::ConsentQuestion {
                    purpose: Purpose::Promotional.into(),
                    channel: Channel::Email.into(),
                    sender_id: "northwind".into(),
                }],
                ..Default::default()
            };
            world.facts().get_facts(request).await.expect("facts").into_inner()
        };
    world.settle().await;
    let all = facts(None, None, None).await;
    assert_eq!(all.segments, ["allowed", "buyers", "tops"]);
    assert_eq!((all.traits.len(), all.attributes.len()), (2, 2));
    assert!(all.consents[0].allowed);
    let (traits, segments, attributes) =
        (["orders", "days_since_order"], ["allowed", "buyers", "tops"], ["tier", "vip"]);
    let chosen = |names: &[&'static str], choice: usize| -> Vec<&'static str> {
        let chosen = names.iter().enumerate().filter(|(index, _)| choice >> index & 1 == 1);
        chosen.map(|(_, name)| *name).collect()
    };
    for choice in 0..8 {
        let traits = [chosen(&traits, choice), vec!["nothing"]].concat();
        let segments = [chosen(&segments, choice), vec!["nobody"]].concat();
        let attributes = chosen(&attributes, choice);
        let some = facts(Some(&traits), Some(&segments), Some(&attributes)).await;
        let mut expected = all.clone();
        expected.traits.retain(|id, _| traits.contains(&id.as_str()));
        expected.segments.retain(|id| segments.contains(&id.as_str()));
        expected.attributes.retain(|name, _| attributes.contains(&name.as_str()));
        assert_eq!(some, expected, "{choice}");
    }
    let many = vec!["x"; 1_001];
    let request = proto::GetFactsRequest {
        name: party_name(&party),
        segments: Some(proto::Names { ids: many.iter().map(|it| (*it).to_owned()).collect() }),
        ..Default::default()
    };
    let refused = world.facts().get_facts(request).await.expect_err("too many");
    assert_eq!(fields(&refused), ["segments"]);
    world.harness.stop().await;
}

#[tokio::test]
async fn facts_tell_traits_and_segments_at_an_instant() {
    let world = World::start().await;
    world.shop().await;
    world.save_trait(counted("orders")).await;
    let sum = proto::Trait { property: "total".into(), ..kind("spent", proto::TraitKind::Sum) };
    world.save_trait(sum).await;
    world.save_segment("buyers", "traits.orders >= 2").await;
    let party = world.party_of(PartyKind::Hcp).await;
    world.report(vec![order(&party, START, 12), order(&party, day(-9), 30)]).await;
    let facts = async |at: Option<Timestamp>| {
        let request = proto::GetFactsRequest {
            name: party_name(&party),
            time: at.and_then(time),
            min_positions: [("profiles".to_owned(), world.head())].into(),
            ..Default::default()
        };
        world.facts().get_facts(request).await.expect("facts").into_inner()
    };
    let now = facts(None).await;
    let euros = |units| {
        let money = Money { currency_code: "EUR".into(), units, nanos: 0 };
        Some(clear::Value::Money(money))
    };
    assert_eq!(now.traits["orders"].value, Some(clear::Value::Number(2.0)));
    assert_eq!(now.traits["spent"].value, euros(42));
    assert_eq!(now.segments, ["buyers"]);
    let before = facts(Some(day(-1))).await;
    assert_eq!(before.traits["spent"].value, euros(30));
    assert_eq!(before.segments, [] as [&str; 0]);
    // Who needs no trait does not have one computed.
    let without = proto::GetFactsRequest {
        name: party_name(&party),
        traits: Some(proto::Names::default()),
        ..Default::default()
    };
    let facts = world.facts().get_facts(without).await.expect("facts").into_inner();
    assert_eq!((facts.traits.len(), facts.segments), (0, vec!["buyers".to_owned()]));
    world.harness.stop().await;
}
