//! What rules may know about a party.

use rapport_proto::types::{Clear, clear};

use super::neighbours::{line, pack};
use super::*;

fn ask(party_id: &str, consents: Vec<proto::ConsentQuestion>) -> proto::GetFactsRequest {
    proto::GetFactsRequest { name: party_name(party_id), consents, ..Default::default() }
}

fn question(purpose: Purpose, channel: Channel, sender_id: &str) -> proto::ConsentQuestion {
    proto::ConsentQuestion {
        purpose: purpose.into(),
        channel: channel.into(),
        sender_id: sender_id.into(),
    }
}

async fn facts(world: &World, request: proto::GetFactsRequest) -> proto::GetFactsResponse {
    world.facts().get_facts(request).await.expect("facts").into_inner()
}

#[tokio::test]
async fn rules_know_the_clear_side_of_a_party_and_nothing_personal() {
    let world = World::start().await;
    let flag = Clear { value: Some(clear::Value::Flag(true)) };
    let request = proto::RegisterPartyRequest {
        attributes: [("licence_valid".to_owned(), flag.clone())].into(),
        ..professional()
    };
    let party_id = world.register(request).await;
    let found = facts(&world, ask(&party_id, vec![])).await;
    assert_eq!((found.party_id.as_str(), found.kind()), (party_id.as_str(), PartyKind::Hcp));
    let place = (found.market.as_str(), found.language.as_str(), found.time_zone.as_str());
    assert_eq!(place, ("DE", "de", "Europe/Berlin"));
    assert_eq!(found.state, "ACTIVE");
    assert_eq!(found.attributes, [("licence_valid".to_owned(), flag)].into());
    assert_eq!(found.time, time(chassis::testing::START));
    assert_eq!(found.positions["profiles"], world.head());
    assert!(found.consents.is_empty());
    let told = format!("{found:?}");
    for personal in [NPI, EMAIL, "Lovelace"] {
        assert!(!told.contains(personal), "{personal}");
    }
    world.harness.stop().await;
}

#[tokio::test]
async fn each_consent_question_is_answered_in_its_place() {
    let world = World::among_neighbours().await;
    let party_id = world.register(professional()).await;
    let by_task = rapport_proto::decisioning::v1::ConsentLine {
        channels: vec![Channel::FieldTask.into()],
        ..line(Regime::NotRequired)
    };
    world.activate(pack("DE", 5, vec![line(Regime::OptIn), by_task])).await;
    world.consents().record_consent(grant(&party_id)).await.expect("recorded");
    let questions = vec![
        question(Purpose::Promotional, Channel::Email, "southwind"),
        question(Purpose::Promotional, Channel::Email, "northwind"),
        question(Purpose::Promotional, Channel::FieldTask, "northwind"),
        question(Purpose::Service, Channel::Email, "northwind"),
        question(Purpose::Promotional, Channel::Email, "northwind"),
    ];
    let found = facts(&world, ask(&party_id, questions.clone())).await;
    let told: Vec<_> = (found.consents.iter())
        .map(|it| (it.allowed, it.regime(), it.detail.as_str(), it.pack.as_str(), it.pack_version))
        .collect();
    let expected = [
        (false, Regime::OptIn, "no_record", "DE", 5),
        (true, Regime::OptIn, "", "DE", 5),
        (true, Regime::NotRequired, "", "DE", 5),
        (false, Regime::OptIn, "no_record", "", 0),
        (true, Regime::OptIn, "", "DE", 5),
    ];
    assert_eq!(told, expected);
    let asked: Vec<_> = found.consents.into_iter().map(|it| it.question.expect("it")).collect();
    assert_eq!(asked, questions);
    let decisioning = world.harness.deps("decisioning").store.head().position;
    assert_eq!(found.positions["decisioning"], decisioning);
    assert_eq!((found.positions["delivery"], found.positions["journeys"]), (0, 0));
    world.harness.stop().await;
}

#[tokio::test]
async fn consents_are_those_of_the_instant_asked_about() {
    let world = World::start().await;
    let party_id = world.register(professional()).await;
    world.consents().record_consent(grant(&party_id)).await.expect("recorded");
    let questions = || vec![question(Purpose::Promotional, Channel::Email, "northwind")];
    let start = chassis::testing::START;
    let day = std::time::Duration::from_secs(86_400);
    for (at, allowed) in [(start.minus(day), false), (start, true), (start.plus(day), true)] {
        let request = proto::GetFactsRequest { time: time(at), ..ask(&party_id, questions()) };
        let found = facts(&world, request).await;
        assert_eq!((found.time, found.consents[0].allowed), (time(at), allowed));
        // Everything else is as it is now.
        assert_eq!(found.state, "ACTIVE");
    }
    world.harness.stop().await;
}

/// Declares the trait `orders` and the segment `buyers`, and records one order at an instant.
async fn buys(world: &World, party_id: &str, at: Timestamp) {
    let mut segments = SegmentServiceClient::new(world.harness.admin());
    let orders = proto::Trait {
        r#trait: "orders".into(),
        kind: proto::TraitKind::Count.into(),
        event: "Order Completed".into(),
        ..Default::default()
    };
    let save = proto::SaveTraitRequest {
        parent: parent(),
        definition: Some(proto::save_trait_request::Definition::Trait(orders)),
        ..Default::default()
    };
    segments.save_trait(save).await.expect("saved");
    let buyers = proto::Segment {
        segment: "buyers".into(),
        rule: "traits.orders > 0".into(),
        ..Default::default()
    };
    let save = proto::SaveSegmentRequest {
        parent: parent(),
        definition: Some(proto::save_segment_request::Definition::Segment(buyers)),
        ..Default::default()
    };
    segments.save_segment(save).await.expect("saved");
    world.source("web").await;
    let order = proto::NewInteraction {
        message_id: "m-1".into(),
        name: "Order Completed".into(),
        occurred_time: time(at),
        party: Some(proto::new_interaction::Party::PartyId(party_id.into())),
        ..Default::default()
    };
    let record = proto::RecordInteractionsRequest {
        parent: format!("tenants/{ACME}/sources/web"),
        interactions: vec![order],
        ..Default::default()
    };
    world.sources().record_interactions(record).await.expect("recorded");
}

#[tokio::test]
async fn traits_and_segments_are_those_of_the_instant_asked_about() {
    let world = World::start().await;
    let party_id = world.register(professional()).await;
    let start = chassis::testing::START;
    buys(&world, &party_id, start).await;
    let number = |number| Clear { value: Some(clear::Value::Number(number)) };
    let found = facts(&world, ask(&party_id, vec![])).await;
    assert_eq!(found.traits, [("orders".to_owned(), number(1.0))].into());
    assert_eq!(found.segments, ["buyers"]);
    let before = proto::GetFactsRequest {
        traits: Some(proto::Names { ids: vec!["orders".into(), "no_such_trait".into()] }),
        time: time(Timestamp(start.0 - 1)),
        ..ask(&party_id, vec![])
    };
    let before = facts(&world, before).await;
    assert_eq!(before.traits, [("orders".to_owned(), number(0.0))].into());
    assert_eq!(before.segments, Vec::<String>::new());
    world.harness.stop().await;
}

#[tokio::test]
async fn a_document_learns_which_names_exist_and_of_what_type() {
    let world = World::start().await;
    let party_id = world.register(professional()).await;
    buys(&world, &party_id, chassis::testing::START).await;
    let names = proto::CheckNamesRequest {
        parent: parent(),
        traits: vec!["orders".into(), "orderz".into()],
        segments: vec!["buyers".into(), "sellers".into()],
        ..Default::default()
    };
    let found = world.facts().check_names(names.clone()).await.expect("checked").into_inner();
    assert_eq!(found.traits, [("orders".to_owned(), i32::from(ClearKind::Number))].into());
    assert_eq!(found.segments, [("buyers".to_owned(), 1)].into());
    let theirs = FactsServiceClient::new(world.harness.target("journeys", "profiles", UMBRELLA));
    let names = proto::CheckNamesRequest { parent: format!("tenants/{UMBRELLA}"), ..names };
    let found = theirs.clone().check_names(names).await.expect("checked").into_inner();
    assert!(found.traits.is_empty() && found.segments.is_empty());
    world.harness.stop().await;
}

#[tokio::test]
async fn of_an_erased_party_rules_know_that_it_is() {
    let world = World::start().await;
    let request = proto::RegisterPartyRequest {
        attributes: [("vip".to_owned(), Clear { value: Some(clear::Value::Flag(true)) })].into(),
        ..professional()
    };
    let party_id = world.register(request).await;
    world.consents().record_consent(grant(&party_id)).await.expect("recorded");
    world.erase(&party_id).await;
    let questions = vec![question(Purpose::Promotional, Channel::Email, "northwind")];
    let found = facts(&world, ask(&party_id, questions)).await;
    assert_eq!((found.state.as_str(), found.attributes.len()), ("ERASED", 0));
    assert!(!found.consents[0].allowed);
    world.harness.stop().await;
}

#[tokio::test]
async fn a_party_that_is_not_there_has_no_facts() {
    let world = World::start().await;
    let party_id = world.register(professional()).await;
    let refused = world.facts().get_facts(ask("pty_nobody", vec![])).await.expect_err("unknown");
    assert_eq!((told(&refused).1.as_str(), fields(&refused)), ("NOT_FOUND", vec!["name".into()]));
    let theirs = FactsServiceClient::new(world.harness.target("journeys", "profiles", UMBRELLA));
    let request = proto::GetFactsRequest {
        name: format!("tenants/{UMBRELLA}/parties/{party_id}"),
        ..Default::default()
    };
    assert_eq!(
        theirs.clone().get_facts(request).await.expect_err("unknown").code(),
        Code::NotFound
    );
    let direct = theirs.clone().get_facts(ask(&party_id, vec![])).await.expect_err("unknown");
    assert_eq!(direct.code(), Code::NotFound);
    world.harness.stop().await;
}

#[tokio::test]
async fn the_targets_that_need_facts_may_ask_and_no_other() {
    let world = World::start().await;
    let party_id = world.register(professional()).await;
    for (from, facts, recipient) in [
        ("journeys", true, false),
        ("decisioning", true, false),
        ("delivery", false, true),
        ("content", false, false),
    ] {
        let client = FactsServiceClient::new(world.harness.target(from, "profiles", ACME));
        let asked = client.clone().get_facts(ask(&party_id, vec![])).await;
        assert_eq!(asked.is_ok(), facts, "{from}");
        let request = proto::ResolveRecipientRequest {
            name: party_name(&party_id),
            channel: Channel::Email.into(),
            purpose: Purpose::Service.into(),
            sender_id: "northwind".into(),
            ..Default::default()
        };
        let resolved = client.clone().resolve_recipient(request).await;
        assert_eq!(resolved.is_ok(), recipient, "{from}");
    }
    world.harness.stop().await;
}

#[tokio::test]
async fn what_is_wrong_with_the_questions_is_told_at_once() {
    let world = World::start().await;
    let good = || question(Purpose::Promotional, Channel::Email, "northwind");
    let wrong = proto::GetFactsRequest {
        time: Some(prost_types::Timestamp { seconds: i64::MIN, nanos: 0 }),
        ..ask(
            "pty_1",
            vec![
                good(),
                proto::ConsentQuestion { purpose: 0, channel: 99, sender_id: "a\nb".into() },
            ],
        )
    };
    let refused = world.facts().get_facts(wrong).await.expect_err("refused");
    let named = ["time", "consents[1].purpose", "consents[1].channel", "consents[1].sender_id"];
    assert_eq!(fields(&refused), named);
    let refused = world.facts().get_facts(ask("pty_1", vec![good(); 201])).await;
    assert_eq!(fields(&refused.expect_err("too many")), ["consents"]);
    let names = proto::CheckNamesRequest {
        parent: parent(),
        traits: vec!["orders".into(); 1_001],
        segments: vec!["lapsing".into(); 1_001],
        ..Default::default()
    };
    let refused = world.facts().check_names(names).await.expect_err("too many");
    assert_eq!(fields(&refused), ["traits", "segments"]);
    world.harness.stop().await;
}
