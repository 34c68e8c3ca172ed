use super::*;

/// Nobody ordered for ninety days who ordered twice before.
async fn lapsing(world: &World) {
    world.shop().await;
    world.save_trait(counted("orders")).await;
    world.save_trait(kind("days_since_order", proto::TraitKind::DaysSince)).await;
    world.save_segment("lapsing", "traits.days_since_order >= 90 && traits.orders >= 2").await;
}

#[tokio::test]
async fn a_party_lapses_at_the_end_of_the_ninetieth_day_and_comes_back_with_an_order() {
    let world = World::start().await;
    lapsing(&world).await;
    let party = world.party_of(PartyKind::Hcp).await;
    let last = Timestamp(START.0 - 1_234_567);
    world.orders(&party, &[Timestamp(last.0 - DAY), last]).await;
    world.settle().await;
    assert_eq!(world.crossings(&party, "lapsing").await, []);
    let head = world.head();
    let due = Timestamp(last.0 + 90 * DAY);
    world.pass(Timestamp(due.0 - 1)).await;
    assert_eq!((world.head(), world.members("lapsing").await.len()), (head, 0));

    world.pass(due).await;
    assert_eq!(world.crossings(&party, "lapsing").await, [(true, due, true)]);
    assert_eq!(world.head(), head + 1, "nothing else happened");
    assert_eq!(world.members("lapsing").await, [party.as_str()]);

    let back = Timestamp(due.0 + 5 * DAY);
    world.pass(back).await;
    world.orders(&party, &[back]).await;
    world.settle().await;
    assert_eq!(world.crossings(&party, "lapsing").await, [(true, due, true), (false, back, false)]);
    assert_eq!(world.members("lapsing").await, [] as [&str; 0]);
    let again = Timestamp(back.0 + 90 * DAY);
    world.pass(again).await;
    assert_eq!(world.crossings(&party, "lapsing").await[2], (true, again, true));
    world.harness.stop().await;
}

#[tokio::test]
async fn on_postgresql_a_party_lapses_at_the_same_instant_and_a_rebuild_changes_nothing() {
    let server = eventstore::testing::Postgres::start();
    let keys = tempfile::tempdir().expect("a temporary folder");
    let world = World::on_postgres(server.database(), keys.path()).await;
    lapsing(&world).await;
    let party = world.party_of(PartyKind::Hcp).await;
    world.orders(&party, &[day(-1), START]).await;
    world.settle().await;
    world.pass(day(90)).await;
    assert_eq!(world.crossings(&party, "lapsing").await, [(true, day(90), true)]);
    let before = super::history::tables(&world).await;
    for view in world.store().views() {
        world.store().rebuild(view.as_ref()).await.expect("rebuilt");
    }
    assert_eq!(super::history::tables(&world).await, before);
    let get = proto::GetSegmentRequest { name: segment_name("lapsing"), ..Default::default() };
    let found = world.segments().get_segment(get).await.expect("found").into_inner();
    assert_eq!((found.members, found.uses.len()), (1, 0));
    world.harness.stop().await;
}

#[tokio::test]
async fn a_clock_that_jumps_leaves_out_no_crossing() {
    let world = World::start().await;
    lapsing(&world).await;
    let party = world.party_of(PartyKind::Hcp).await;
    world.orders(&party, &[START, day(-1)]).await;
    world.settle().await;
    world.harness.clock.set(day(300));
    world.orders(&party, &[day(300)]).await;
    world.settle().await;
    let crossings = world.crossings(&party, "lapsing").await;
    let instants: Vec<_> = crossings.iter().map(|(inside, at, _)| (*inside, *at)).collect();
    assert_eq!(instants, [(true, day(90)), (false, day(300))]);
    world.harness.stop().await;
}

#[tokio::test]
async fn a_party_and_segment_have_one_timer_that_moves_only_when_it_must() {
    let world = World::start().await;
    lapsing(&world).await;
    let party = world.party_of(PartyKind::Hcp).await;
    for days in 0..10 {
        world.pass(day(days)).await;
        world.orders(&party, &[day(days)]).await;
        world.settle().await;
        assert_eq!(world.timers().await, i64::from(days > 0));
    }
    let stated = world.memberships(&party, "lapsing").await;
    assert_eq!(stated.len(), 1, "a later order needs the timer later: {stated:?}");
    // It fires too early and is stated again, for the last order.
    world.pass(day(91)).await;
    assert_eq!((world.memberships(&party, "lapsing").await.len(), world.timers().await), (2, 1));
    world.pass(day(99)).await;
    assert_eq!(world.crossings(&party, "lapsing").await, [(true, day(99), true)]);
    assert_eq!(world.timers().await, 0);
    world.harness.stop().await;
}

#[tokio::test]
async fn the_same_message_twice_moves_nobody() {
    let world = World::start().await;
    world.shop().await;
    world.save_trait(counted("orders")).await;
    world.save_segment("buyers", "traits.orders >= 2").await;
    let party = world.party_of(PartyKind::Hcp).await;
    for _ in 0..3 {
        world.orders(&party, &[START]).await;
    }
    world.settle().await;
    assert_eq!(world.crossings(&party, "buyers").await, []);
    world.orders(&party, &[day(-1)]).await;
    world.settle().await;
    let head = world.head();
    world.orders(&party, &[START, day(-1)]).await;
    world.settle().await;
    assert_eq!(world.head(), head);
    assert_eq!(world.crossings(&party, "buyers").await, [(true, START, false)]);
    world.harness.stop().await;
}

#[tokio::test]
async fn a_count_falls_when_an_order_leaves_the_window() {
    let world = World::start().await;
    world.shop().await;
    let window = proto::Trait { window: "30d".into(), ..counted("orders_30d") };
    world.save_trait(window).await;
    world.save_segment("active", "traits.orders_30d >= 2").await;
    let party = world.party_of(PartyKind::Hcp).await;
    world.orders(&party, &[day(-10), day(-3), START]).await;
    world.settle().await;
    assert_eq!(world.members("active").await, [party.as_str()]);
    world.pass(day(40)).await;
    // The second of three leaves at the end of its thirtieth day.
    assert_eq!(
        world.crossings(&party, "active").await,
        [(true, START, false), (false, day(27), true)]
    );
    world.harness.stop().await;
}

#[tokio::test]
async fn a_decayed_count_crosses_when_it_has_decayed() {
    let world = World::start().await;
    world.shop().await;
    let decayed =
        proto::Trait { half_life: "7d".into(), ..kind("heat", proto::TraitKind::DecayedCount) };
    world.save_trait(decayed).await;
    world.save_segment("hot", "traits.heat > 0.5").await;
    let party = world.party_of(PartyKind::Hcp).await;
    world.orders(&party, &[START, day(-7)]).await;
    world.settle().await;
    // 1.5 · 2^(-t / 7d) = 0.5
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "small")]
    let expected = START.0 + (7.0 * DAY as f64 * 3_f64.log2()) as i64;
    world.pass(Timestamp(expected - 2)).await;
    assert_eq!(world.crossings(&party, "hot").await, [(true, START, false)]);
    world.pass(Timestamp(expected + 2)).await;
    let crossings = world.crossings(&party, "hot").await;
    let (inside, at, by_time) = crossings[1];
    assert!(!inside && by_time && (at.0 - expected).abs() <= 2, "{at} {expected}");
    world.harness.stop().await;
}

#[tokio::test]
async fn a_month_ends_at_midnight_where_the_zone_says_so() {
    let world = World::start().await;
    world.shop().await;
    let monthly = proto::Trait {
        calendar: proto::CalendarWindow::Month.into(),
        time_zone: "Europe/Berlin".into(),
        ..counted("orders_this_month")
    };
    world.save_trait(monthly).await;
    world.save_segment("quiet", "traits.orders_this_month == 0").await;
    let party = world.party_of(PartyKind::Hcp).await;
    world.settle().await;
    // 20 March, before the clocks are changed on the 29th.
    let march = day(31 + 28 + 19);
    world.pass(march).await;
    world.orders(&party, &[march]).await;
    world.settle().await;
    world.pass(day(31 + 28 + 31 + 10)).await;
    let zone = calendar::Zone::parse("Europe/Berlin").expect("a zone");
    let april = calendar::end_of(&zone, march, calendar::Period::Month).expect("a month");
    assert_eq!(april, Timestamp(day(31 + 28 + 31).0 - DAY / 12), "midnight is at 22:00 UTC");
    let crossings = world.crossings(&party, "quiet").await;
    assert_eq!(crossings, [(true, START, false), (false, march, false), (true, april, true)]);
    world.harness.stop().await;
}

#[tokio::test]
async fn what_is_announced_for_later_counts_when_it_occurs() {
    let world = World::start().await;
    world.shop().await;
    world.save_trait(counted("orders")).await;
    world.save_segment("buyers", "traits.orders >= 1").await;
    let party = world.party_of(PartyKind::Hcp).await;
    let soon = Timestamp(START.0 + 60_000_000);
    world.orders(&party, &[soon]).await;
    world.settle().await;
    assert_eq!(world.members("buyers").await.len(), 0);
    world.pass(soon).await;
    assert_eq!(world.crossings(&party, "buyers").await, [(true, soon, true)]);
    world.harness.stop().await;
}

#[tokio::test]
async fn the_calendar_itself_opens_a_segment() {
    let world = World::start().await;
    let rule = "party.market == 'DE' && now >= timestamp('2026-02-01T00:00:00Z') \
                && now < timestamp('2026-03-01T00:00:00Z')";
    world.save_segment("february", rule).await;
    let party = world.party_of(PartyKind::Hcp).await;
    world.settle().await;
    world.pass(day(365)).await;
    let crossings = world.crossings(&party, "february").await;
    assert_eq!(crossings, [(true, day(31), true), (false, day(59), true)]);
    world.harness.stop().await;
}

#[tokio::test]
async fn every_kind_of_event_moves_who_it_concerns() {
    let world = World::start().await;
    for (id, rule) in [
        ("german", "party.market == 'DE'"),
        ("reachable", "party.state == 'ACTIVE'"),
        ("oncology", "attributes.specialty == 'oncology'"),
        ("unknown-specialty", "!has(attributes.specialty)"),
        ("allowed", "consent['PROMOTIONAL/EMAIL/northwind']"),
    ] {
        world.save_segment(id, rule).await;
    }
    let party = world.party_of(PartyKind::Hcp).await;
    world.settle().await;
    let inside = async || {
        world.settle().await;
        world.inside(&party).await
    };
    assert_eq!(inside().await, ["german", "reachable", "unknown-specialty"]);
    world.set_attribute(&party, "specialty", clear::Value::Code("oncology".into())).await;
    world.consents().record_consent(grant(&party)).await.expect("recorded");
    assert_eq!(inside().await, ["allowed", "german", "oncology", "reachable"]);
    let name = party_name(&party);
    let moved =
        proto::MovePartyRequest { name: name.clone(), market: "AT".into(), ..Default::default() };
    world.parties().move_party(moved).await.expect("moved");
    let suppress =
        proto::SuppressPartyRequest { name, reason: "complaint".into(), ..Default::default() };
    world.parties().suppress_party(suppress).await.expect("suppressed");
    assert_eq!(inside().await, ["oncology"]);
    for id in ["german", "reachable", "unknown-specialty", "allowed"] {
        assert_eq!(world.members(id).await, [] as [&str; 0], "{id}");
        assert_eq!(world.crossings(&party, id).await.len(), 2, "{id}");
    }
    assert_eq!(world.members("oncology").await, [party.as_str()]);
    world.harness.stop().await;
}

#[tokio::test]
async fn a_grant_that_runs_out_ends_the_membership_at_its_end() {
    let world = World::start().await;
    world.save_segment("allowed", "consent['PROMOTIONAL/EMAIL/northwind']").await;
    let party = world.party_of(PartyKind::Hcp).await;
    let until = day(30);
    let grant = proto::RecordConsentRequest { expire_time: time(until), ..grant(&party) };
    world.consents().record_consent(grant).await.expect("recorded");
    world.settle().await;
    world.pass(day(31)).await;
    let crossings = world.crossings(&party, "allowed").await;
    let instants: Vec<_> = crossings.iter().map(|(inside, at, _)| (*inside, *at)).collect();
    assert_eq!(instants, [(true, START), (false, until)]);
    world.harness.stop().await;
}
