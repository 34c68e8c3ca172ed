use super::*;

#[tokio::test]
async fn a_figure_says_what_it_is_and_drills_down_to_its_events() {
    let world = World::start().await;
    world.answered("pty_1", 10, day(0)).await;
    world.answered("pty_2", 0, day(1)).await;
    let last = world.answered("pty_3", 9, day(8)).await;
    world.read_all().await;
    let request = proto::QueryFiguresRequest {
        name: metric_name("nps"),
        group_by: vec!["market".into()],
        min_positions: [("feedback".to_owned(), last)].into(),
        ..Default::default()
    };
    let figures = world.ask(request).await;
    let values: Vec<_> = figures.iter().map(|it| (it.value, it.n)).collect();
    assert_eq!(values, [(Some(0.0), 2), (Some(100.0), 1)]);
    let first = &figures[0];
    assert_eq!(first.dimensions["market"], "DE");
    assert_eq!(first.positions["feedback"], last);
    assert_eq!((first.version, first.definition_hash.len()), (1, 64));
    assert!(first.small && first.lower.is_some() && !first.suppressed);
    // 2026-01-01 is a Thursday: its week began on 29 December.
    assert_eq!(first.bucket_start, Some(day(-3).to_proto()));
    assert_eq!(first.bucket_end, Some(day(4).to_proto()));

    let events = |page_token| proto::ListFigureEventsRequest {
        name: metric_name("nps"),
        bucket_start: first.bucket_start,
        dimensions: first.dimensions.clone(),
        page_size: 1,
        page_token,
    };
    let one = world.metrics().list_figure_events(events(String::new())).await.expect("a page");
    let one = one.into_inner();
    let two = world.metrics().list_figure_events(events(one.next_page_token)).await;
    let two = two.expect("a page").into_inner();
    assert_eq!(two.next_page_token, "");
    let items: Vec<_> = one.items.iter().chain(&two.items).collect();
    let places: Vec<_> = items.iter().map(|it| (it.source.as_str(), it.position)).collect();
    assert_eq!(places, [("feedback", 1), ("feedback", 2)]);
    let store = &world.harness.deps("feedback").store;
    let stored = store.read(0, 1).await.expect("read");
    assert_eq!(items[0].event_id, stored[0].envelope().expect("an envelope").id);
}

#[tokio::test]
async fn a_cell_with_few_patients_is_hidden_with_its_events() {
    let world = World::start().await;
    for number in 0..4 {
        let party = format!("pty_{number}");
        world.register(&party, PartyKind::Patient).await;
        world.did(&party, "Order Completed", day(0)).await;
    }
    for number in 4..9 {
        let party = format!("pty_{number}");
        world.register(&party, PartyKind::Pharmacist).await;
        world.did(&party, "Order Completed", day(0)).await;
    }
    world.read_all().await;
    let hidden = world.total("orders").await;
    assert_eq!((hidden.suppressed, hidden.value, hidden.n), (true, None, 0));
    let by_kind =
        proto::QueryFiguresRequest { group_by: vec!["party_kind".into()], ..total("orders") };
    let shown = |it: &proto::Figure| (it.dimensions["party_kind"].clone(), it.value);
    let kinds: Vec<_> = world.ask(by_kind).await.iter().map(shown).collect();
    // The whole is hidden, so that nothing can be subtracted from it.
    assert_eq!(kinds, [("PATIENT".into(), None), ("PHARMACIST".into(), Some(5.0))]);
    let only = proto::QueryFiguresRequest {
        r#where: [("party_kind".to_owned(), "PHARMACIST".to_owned())].into(),
        ..total("orders")
    };
    assert_eq!(world.ask(only).await[0].value, Some(5.0));
    let events = proto::ListFigureEventsRequest {
        name: metric_name("orders"),
        bucket_start: Some(day(-3).to_proto()),
        ..Default::default()
    };
    let refused = world.metrics().list_figure_events(events).await.expect_err("hidden");
    assert_eq!(told(&refused), (Code::FailedPrecondition, "SUPPRESSED".into()));

    world.register("pty_9", PartyKind::Patient).await;
    world.did("pty_9", "Order Completed", day(0)).await;
    world.read_all().await;
    assert_eq!(world.total("orders").await.value, Some(10.0));
}

#[tokio::test]
async fn a_metric_of_ones_own_hides_few_patients_too() {
    let world = World::start().await;
    world.live(CALLS).await;
    let metric = CALLS.replace("metric: calls", "metric: calls-two");
    world.live(&format!("{metric}suppress_below: {{PATIENT: 2}}\n")).await;
    for number in 0..4 {
        let party = format!("pty_{number}");
        world.register(&party, PartyKind::Patient).await;
        world.did(&party, "Call Completed", day(0)).await;
    }
    world.did("pty_4", "Call Completed", day(0)).await;
    world.read_all().await;
    for metric in ["calls", "calls-two"] {
        let total = total(metric);
        let figures = world.until(total, |it| !it.is_empty()).await;
        assert_eq!((figures[0].suppressed, figures[0].value), (true, None), "{metric}");
        let events = proto::ListFigureEventsRequest {
            name: metric_name(metric),
            bucket_start: Some(day(0).to_proto()),
            ..Default::default()
        };
        let refused = world.metrics().list_figure_events(events).await.expect_err("hidden");
        assert_eq!(told(&refused), (Code::FailedPrecondition, "SUPPRESSED".into()));
    }
}

#[tokio::test]
async fn of_patients_only_is_read_who_is_in_a_cell() {
    let world = World::start().await;
    for number in 0..3 {
        world.register(&format!("pty_{number}"), PartyKind::Patient).await;
        world.did(&format!("pty_{number}"), "Order Completed", day(0)).await;
    }
    for number in 3..40 {
        world.did(&format!("pty_{number}"), "Order Completed", day(7 * (number % 4))).await;
    }
    world.read_all().await;
    let by_kind = proto::QueryFiguresRequest {
        total: false,
        group_by: vec!["party_kind".into()],
        ..total("orders")
    };
    let figures = world.ask(by_kind).await;
    let shown = |it: &&proto::Figure| it.dimensions["party_kind"] == "PHARMACIST" && !it.suppressed;
    let hidden: Vec<_> = figures.iter().filter(|it| it.suppressed).collect();
    // The patients' cell, and nothing that it could be computed from.
    assert_eq!(hidden[0].dimensions["party_kind"], "PATIENT");
    assert_eq!(figures.iter().filter(shown).count(), 4, "{figures:?}");
    let weeks = proto::QueryFiguresRequest { total: false, ..total("orders") };
    let weeks: Vec<_> = world.ask(weeks).await.iter().map(|it| it.suppressed).collect();
    // A week without any patient goes with the one that has three: together they are no more than these, alone it is told.
    assert_eq!(weeks.iter().filter(|it| **it).count(), 1, "{weeks:?}");
}

#[tokio::test]
async fn who_is_not_known_yet_may_be_a_patient() {
    let world = World::start().await;
    for number in 0..4 {
        world.stranger_did(&format!("pty_{number}"), "Order Completed", day(0)).await;
    }
    world.read_all().await;
    let hidden = world.total("orders").await;
    assert_eq!((hidden.suppressed, hidden.value), (true, None));
    for number in 0..4 {
        world.register(&format!("pty_{number}"), PartyKind::Pharmacist).await;
    }
    world.read_all().await;
    let shown = world.total("orders").await;
    assert_eq!((shown.suppressed, shown.value), (false, Some(4.0)));
}

#[tokio::test]
async fn the_whole_minus_the_others_tells_nothing_of_a_small_cell() {
    let world = World::start().await;
    let visited = async |market: &str, patients: std::ops::Range<u32>, week: i64| {
        for number in patients {
            let party = format!("pty_{market}_{number}");
            let registered =
                PartyRegistered { kind: PartyKind::Patient.into(), ..Default::default() };
            let about = |at| About { market: market.into(), ..about(&party, at) };
            if week == 0 {
                let events = vec![party_event::Event::Registered(registered)];
                world.append::<Party>(&party, about(day(0)), events).await;
            }
            let it = InteractionRecorded { name: "Order Completed".into(), ..Default::default() };
            let events = vec![interaction_event::Event::Recorded(it)];
            let id = format!("itx_{party}_{week}");
            world.append::<Interaction>(&id, about(day(week * 7)), events).await;
        }
    };
    visited("DE", 0..3, 0).await;
    visited("FR", 0..6, 0).await;
    visited("US", 0..9, 0).await;
    visited("DE", 0..6, 1).await;
    visited("FR", 0..6, 1).await;
    visited("US", 0..9, 1).await;
    world.read_all().await;
    // Of the first week DE is too small; FR goes with it, and both of the other week, or a sum would tell.
    let by = proto::QueryFiguresRequest {
        name: metric_name("orders"),
        group_by: vec!["market".into()],
        ..Default::default()
    };
    let shown = |it: &proto::Figure| (it.dimensions["market"].clone(), it.value);
    let shown: Vec<_> = world.ask(by.clone()).await.iter().map(shown).collect();
    let week = [("DE", None), ("FR", None), ("US", Some(9.0))];
    let week = week.map(|(market, value)| (market.to_owned(), value));
    assert_eq!(shown, [week.clone(), week].concat());
    // A filter, a range and a list of events show what the table shows.
    let filtered = |market: &str| proto::QueryFiguresRequest {
        group_by: Vec::new(),
        r#where: [("market".to_owned(), market.to_owned())].into(),
        ..by.clone()
    };
    let values =
        |figures: Vec<proto::Figure>| figures.iter().map(|it| it.value).collect::<Vec<_>>();
    assert_eq!(values(world.ask(filtered("FR")).await), [None, None]);
    assert_eq!(values(world.ask(filtered("US")).await), [Some(9.0), Some(9.0)]);
    let second = proto::QueryFiguresRequest { from: Some(day(4).to_proto()), ..filtered("FR") };
    assert_eq!(values(world.ask(second.clone()).await), [None]);
    let cut = proto::QueryFiguresRequest { total: true, ..second };
    assert_eq!(values(world.ask(cut).await), [None]);
    let events = proto::ListFigureEventsRequest {
        name: metric_name("orders"),
        bucket_start: Some(day(4).to_proto()),
        dimensions: [("market".to_owned(), "FR".to_owned())].into(),
        ..Default::default()
    };
    let refused = world.metrics().list_figure_events(events).await.expect_err("hidden");
    assert_eq!(told(&refused), (Code::FailedPrecondition, "SUPPRESSED".into()));
    assert_eq!(world.total("orders").await.value, Some(39.0));
    let weeks = proto::QueryFiguresRequest { group_by: Vec::new(), ..by };
    assert_eq!(values(world.ask(weeks).await), [Some(18.0), Some(21.0)]);
}

#[tokio::test]
async fn rates_join_events_of_a_touch_and_list_both() {
    use rapport_proto::delivery::v1::TouchOpened;
    let world = World::start().await;
    world.sent("tch_1", "pty_1", day(0)).await;
    world.sent("tch_2", "pty_2", day(0)).await;
    let opened =
        |machine| vec![touch_event::Event::Opened(TouchOpened { machine, ..Default::default() })];
    world.append::<Touch>("tch_1", about("pty_1", day(9)), opened(false)).await;
    world.append::<Touch>("tch_2", about("pty_2", day(9)), opened(true)).await;
    world.read_all().await;
    let rate = world.total("open-rate").await;
    assert_eq!((rate.value, rate.n), (Some(0.5), 2));
    let events = proto::ListFigureEventsRequest {
        name: metric_name("open-rate"),
        bucket_start: Some(day(-3).to_proto()),
        ..Default::default()
    };
    let listed = world.metrics().list_figure_events(events).await.expect("listed").into_inner();
    let positions: Vec<_> = listed.items.iter().map(|it| it.position).collect();
    assert_eq!(positions, [1, 2, 3]);
}
