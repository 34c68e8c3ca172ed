//! How a party is reached, and whether it may be.

use rapport_proto::types::{Clear, Validity, clear};

use super::*;

fn resolve(party_id: &str, channel: Channel) -> proto::ResolveRecipientRequest {
    proto::ResolveRecipientRequest {
        name: party_name(party_id),
        channel: channel.into(),
        purpose: Purpose::Promotional.into(),
        sender_id: "northwind".into(),
        ..Default::default()
    }
}

async fn recipient(world: &World, party_id: &str) -> proto::ResolveRecipientResponse {
    by(world, party_id, Channel::Email).await
}

async fn by(world: &World, party_id: &str, channel: Channel) -> proto::ResolveRecipientResponse {
    let request = resolve(party_id, channel);
    world.facts().resolve_recipient(request).await.expect("resolved").into_inner()
}

fn point(channel: Channel, value: &str) -> proto::ContactPoint {
    proto::ContactPoint { channel: channel.into(), value: value.into(), ..Default::default() }
}

/// Adds a contact point and returns its id.
async fn add(world: &World, party_id: &str, point: proto::ContactPoint) -> String {
    let before = world.get(party_id).await.contact_points;
    let request = proto::AddContactPointRequest {
        name: party_name(party_id),
        contact_point: Some(point),
        ..Default::default()
    };
    let added = world.parties().add_contact_point(request).await.expect("added").into_inner();
    let points = added.party.expect("a party").contact_points;
    let new = points.into_iter().find(|it| !before.contains(it)).expect("a new one");
    new.contact_point_id
}

async fn verify(world: &World, party_id: &str, contact_point_id: &str) {
    let request = proto::VerifyContactPointRequest {
        name: party_name(party_id),
        contact_point_id: contact_point_id.into(),
        verified_by: "call".into(),
        ..Default::default()
    };
    world.parties().verify_contact_point(request).await.expect("verified");
}

async fn remove(world: &World, party_id: &str, contact_point_id: &str) {
    let request = proto::RemoveContactPointRequest {
        name: party_name(party_id),
        contact_point_id: contact_point_id.into(),
        reason: "left".into(),
        ..Default::default()
    };
    world.parties().remove_contact_point(request).await.expect("removed");
}

#[tokio::test]
async fn a_verified_contact_point_comes_first_and_then_the_oldest() {
    let world = World::start().await;
    let party_id = world.party_of(PartyKind::Hcp).await;
    let none = recipient(&world, &party_id).await;
    assert_eq!((none.found, none.contact_point_id.as_str(), none.address.as_str()), (true, "", ""));
    assert!(none.same_address.is_empty());

    let addresses: Vec<_> = (0..6).map(|it| format!("ada{it}@example.org")).collect();
    let mut ids = Vec::new();
    for address in &addresses {
        ids.push(add(&world, &party_id, email(address)).await);
        let found = recipient(&world, &party_id).await;
        assert_eq!((found.contact_point_id, found.address), (ids[0].clone(), addresses[0].clone()));
    }
    verify(&world, &party_id, &ids[4]).await;
    assert_eq!(recipient(&world, &party_id).await.contact_point_id, ids[4]);
    verify(&world, &party_id, &ids[3]).await;
    assert_eq!(recipient(&world, &party_id).await.contact_point_id, ids[3]);
    remove(&world, &party_id, &ids[3]).await;
    remove(&world, &party_id, &ids[4]).await;
    remove(&world, &party_id, &ids[0]).await;
    assert_eq!(recipient(&world, &party_id).await.address, addresses[1]);
    world.harness.stop().await;
}

/// The setting by which `delivery` goes to such an address is the one by which it is taken on.
#[tokio::test]
async fn a_receiver_on_this_machine_is_taken_on_where_the_settings_let_webhooks_go_there() {
    for let_through in [false, true] {
        let change = |settings: &mut Settings| settings.delivery.webhook_private = let_through;
        let world = World { harness: Harness::with(&[TARGET], change).await };
        let hook = || point(Channel::Webhook, "http://127.0.0.1:8080/in");
        let request = proto::RegisterPartyRequest {
            contact_points: vec![hook()],
            ..registration(PartyKind::Hcp)
        };
        let registered = world.parties().register_party(request).await;
        assert_eq!(registered.is_ok(), let_through);
        let name = party_name(&world.party_of(PartyKind::Hcp).await);
        let contact_point = Some(hook());
        let add = proto::AddContactPointRequest { name, contact_point, ..Default::default() };
        let added = world.parties().add_contact_point(add).await;
        if let Err(refused) = &added {
            assert_eq!(fields(refused), ["contact_point.value"]);
        }
        assert_eq!(added.is_ok(), let_through);
        world.harness.stop().await;
    }
}

#[tokio::test]
async fn every_channel_has_its_own_contact_points() {
    let world = World::start().await;
    let party_id = world.party_of(PartyKind::Hcp).await;
    let number = add(&world, &party_id, point(Channel::Phone, "+49 30 1234567")).await;
    let hook = add(&world, &party_id, point(Channel::Webhook, "https://example.org/in")).await;
    let rows = [
        (Channel::Email, "", ""),
        (Channel::Sms, "", ""),
        (Channel::Phone, number.as_str(), "+49301234567"),
        (Channel::Webhook, hook.as_str(), "https://example.org/in"),
        (Channel::Portal, "", ""),
        (Channel::FieldTask, "", ""),
    ];
    for (channel, id, address) in rows {
        let found = by(&world, &party_id, channel).await;
        let told = (found.found, found.contact_point_id.as_str(), found.address.as_str());
        assert_eq!(told, (true, id, address), "{channel:?}");
    }
    world.harness.stop().await;
}

#[tokio::test]
async fn whoever_has_or_had_the_same_address_is_told() {
    let world = World::start().await;
    let (ada, bob) = (world.party_of(PartyKind::Hcp).await, world.party_of(PartyKind::Hcp).await);
    let mine = add(&world, &ada, email("Ada@Example.org")).await;
    let theirs = add(&world, &bob, email("ada@example.org")).await;
    add(&world, &bob, email("bob@example.org")).await;
    let mut same = vec![mine.clone(), theirs.clone()];
    same.sort();
    assert_eq!(recipient(&world, &ada).await.same_address, same);
    // Removing it does not make a suppression of it forgotten; adding it again is one more.
    remove(&world, &bob, &theirs).await;
    let again = add(&world, &bob, email("ADA@example.org")).await;
    same.push(again.clone());
    same.sort();
    verify(&world, &bob, &again).await;
    for party_id in [&ada, &bob] {
        assert_eq!(recipient(&world, party_id).await.same_address, same);
    }
    // The same party of another tenant is nobody here.
    let umbrella = world.harness.person(UMBRELLA, "admin", &["*"]);
    let theirs = proto::RegisterPartyRequest {
        parent: format!("tenants/{UMBRELLA}"),
        contact_points: vec![email("ada@example.org")],
        ..registration(PartyKind::Hcp)
    };
    PartyServiceClient::new(umbrella).register_party(theirs).await.expect("registered");
    assert_eq!(recipient(&world, &ada).await.same_address, same);
    // A rebuild reads the same from the log.
    let store = &world.harness.deps("profiles").store;
    store.rebuild(store.views()[0].as_ref()).await.expect("rebuilt");
    assert_eq!(recipient(&world, &ada).await.same_address, same);
    world.harness.stop().await;
}

#[tokio::test]
async fn attributes_are_printed_as_text() {
    let world = World::start().await;
    let party_id = world.register(professional()).await;
    let set = proto::SetAttributesRequest {
        name: party_name(&party_id),
        attributes: [
            ("specialty".to_owned(), Clear { value: Some(clear::Value::Code("oncology".into())) }),
            ("visits".to_owned(), Clear { value: Some(clear::Value::Number(3.0)) }),
        ]
        .into(),
        ..Default::default()
    };
    world.parties().set_attributes(set).await.expect("set");
    let found = recipient(&world, &party_id).await;
    let expected = [("last_name", "Lovelace"), ("specialty", "oncology"), ("visits", "3")];
    assert_eq!(found.fields, expected.map(|(a, b)| (a.to_owned(), b.to_owned())).into());
    assert_eq!((found.language.as_str(), found.time_zone.as_str()), ("de", "Europe/Berlin"));
    assert_eq!((found.kind(), found.market.as_str()), (PartyKind::Hcp, "DE"));
    world.harness.stop().await;
}

#[tokio::test]
async fn the_consent_that_decides_is_told_with_it() {
    let world = World::start().await;
    let party_id = world.register(professional()).await;
    let refused = recipient(&world, &party_id).await.consent.expect("a verdict");
    assert_eq!((refused.allowed, refused.detail.as_str()), (false, "no_pack"));
    let granted = world.consents().record_consent(grant(&party_id)).await.expect("recorded");
    let consent_id = granted.into_inner().consent.expect("a consent").consent_id;
    let found = recipient(&world, &party_id).await;
    let verdict = found.consent.expect("a verdict");
    assert!(verdict.allowed && verdict.detail.is_empty());
    assert_eq!((verdict.consent_id, verdict.position), (consent_id, world.head()));
    assert_eq!(verdict.question.expect("the question").sender_id, "northwind");
    assert_eq!(found.positions["profiles"], world.head());
    // The grant is about e-mail; and before it was captured it did not count.
    assert!(!by(&world, &party_id, Channel::Sms).await.consent.expect("a verdict").allowed);
    let before = proto::ResolveRecipientRequest {
        time: time(Timestamp(chassis::testing::START.0 - 1)),
        ..resolve(&party_id, Channel::Email)
    };
    let before = world.facts().resolve_recipient(before).await.expect("resolved").into_inner();
    assert!(!before.consent.expect("a verdict").allowed);
    world.harness.stop().await;
}

#[tokio::test]
async fn a_suppressed_party_is_told_apart_from_one_that_does_not_consent() {
    let world = World::start().await;
    let party_id = world.register(professional()).await;
    world.consents().record_consent(grant(&party_id)).await.expect("recorded");
    let suppress = proto::SuppressPartyRequest {
        name: party_name(&party_id),
        reason: "complaint".into(),
        ..Default::default()
    };
    world.parties().suppress_party(suppress).await.expect("suppressed");
    let found = recipient(&world, &party_id).await;
    assert_eq!((found.state.as_str(), found.address.as_str()), ("SUPPRESSED", EMAIL));
    assert!(found.consent.expect("a verdict").allowed);
    world.harness.stop().await;
}

#[tokio::test]
async fn nothing_personal_is_left_of_an_erased_party() {
    let world = World::start().await;
    let party_id = world.register(professional()).await;
    let rep = world.party_of(PartyKind::Employee).await;
    cover(&world, &party_id, &rep, "", Validity::default()).await;
    world.consents().record_consent(grant(&party_id)).await.expect("recorded");
    world.erase(&party_id).await;
    let found = recipient(&world, &party_id).await;
    assert_eq!((found.found, found.state.as_str()), (true, "ERASED"));
    let verdict = found.consent.expect("a verdict");
    assert_eq!((verdict.allowed, verdict.detail.as_str()), (false, "no_record"));
    let left = (found.contact_point_id, found.address, found.same_address, found.fields);
    assert_eq!(left, Default::default());
    assert_eq!(found.assignee_party_id, "");
    world.harness.stop().await;
}

#[tokio::test]
async fn a_party_that_is_not_there_is_an_answer_and_so_is_one_of_another_tenant() {
    let world = World::start().await;
    let party_id = world.register(professional()).await;
    let unknown = recipient(&world, "pty_nobody").await;
    let umbrella = FactsServiceClient::new(world.harness.target("delivery", "profiles", UMBRELLA));
    let request = proto::ResolveRecipientRequest {
        name: format!("tenants/{UMBRELLA}/parties/{party_id}"),
        ..resolve(&party_id, Channel::Email)
    };
    let theirs = umbrella.clone().resolve_recipient(request).await.expect("resolved").into_inner();
    for found in [unknown, theirs] {
        let positions = found.positions.clone();
        let nothing = proto::ResolveRecipientResponse { positions, ..Default::default() };
        assert_eq!(found, nothing);
    }
    let refused = umbrella.clone().resolve_recipient(resolve(&party_id, Channel::Email)).await;
    assert_eq!(refused.expect_err("refused").code(), Code::NotFound);
    world.harness.stop().await;
}

/// Relates a party to an employee, and returns the relation's id.
async fn cover(
    world: &World,
    party_id: &str,
    employee: &str,
    product_id: &str,
    valid: Validity,
) -> String {
    let relation = proto::Relation {
        kind: proto::RelationKind::CoveredBy.into(),
        from_party_id: party_id.into(),
        to_party_id: employee.into(),
        product_id: product_id.into(),
        valid: Some(valid),
        ..Default::default()
    };
    let request = proto::RecordRelationRequest {
        parent: parent(),
        relation: Some(relation),
        ..Default::default()
    };
    let recorded = world.parties().record_relation(request).await.expect("recorded").into_inner();
    recorded.relation.expect("a relation").relation_id
}

async fn assignee(world: &World, party_id: &str, product_id: &str, at: Timestamp) -> String {
    let request = proto::ResolveRecipientRequest {
        product_id: product_id.into(),
        time: time(at),
        ..resolve(party_id, Channel::FieldTask)
    };
    let found = world.facts().resolve_recipient(request).await.expect("resolved").into_inner();
    found.assignee_party_id
}

#[tokio::test]
async fn a_field_task_goes_to_who_covers_the_party_for_the_product_at_the_instant() {
    let world = World::start().await;
    let doctor = world.party_of(PartyKind::Hcp).await;
    let clinic = world.party_of(PartyKind::Hco).await;
    let mut reps = Vec::new();
    for _ in 0..3 {
        reps.push(world.party_of(PartyKind::Employee).await);
    }
    let start = chassis::testing::START;
    let at = |hours: u64| start.plus(std::time::Duration::from_secs(hours * 3_600));
    let span = |from, until| Validity { from: time(at(from)), until: time(at(until)) };
    assert_eq!(assignee(&world, &doctor, "", start).await, "");
    // The first for everything, the second for one product, the third afterwards.
    let general = cover(&world, &doctor, &reps[0], "", span(0, 10)).await;
    cover(&world, &doctor, &reps[1], "cardiox", span(1, 5)).await;
    cover(&world, &doctor, &reps[2], "", span(10, 20)).await;
    // Another kind of relation, and another party's coverage, say nothing.
    let affiliated = proto::Relation {
        kind: proto::RelationKind::Affiliated.into(),
        from_party_id: doctor.clone(),
        to_party_id: clinic.clone(),
        ..Default::default()
    };
    let request = proto::RecordRelationRequest {
        parent: parent(),
        relation: Some(affiliated),
        ..Default::default()
    };
    world.parties().record_relation(request).await.expect("recorded");
    cover(&world, &clinic, &reps[2], "cardiox", span(0, 20)).await;
    let rows = [
        ("", 0, &reps[0]),
        ("cardiox", 0, &reps[0]),
        ("cardiox", 1, &reps[1]),
        ("cardiox", 5, &reps[0]),
        ("other", 2, &reps[0]),
        ("", 2, &reps[0]),
        ("", 10, &reps[2]),
    ];
    for (product, hours, expected) in rows {
        let found = assignee(&world, &doctor, product, at(hours)).await;
        assert_eq!(&found, expected, "{product} after {hours} h");
    }
    assert_eq!(assignee(&world, &doctor, "", at(20)).await, "");
    let end = proto::EndRelationRequest {
        name: format!("tenants/{ACME}/relations/{general}"),
        reason: "left".into(),
        end_time: time(at(2)),
        ..Default::default()
    };
    world.parties().end_relation(end).await.expect("ended");
    assert_eq!(assignee(&world, &doctor, "other", at(2)).await, "");
    assert_eq!(assignee(&world, &doctor, "", at(2)).await, reps[1], "somebody who is there");
    assert_eq!(assignee(&world, &doctor, "cardiox", at(2)).await, reps[1]);
    world.harness.stop().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_question_is_told_at_once() {
    let world = World::start().await;
    let request = proto::ResolveRecipientRequest {
        channel: 0,
        purpose: 77,
        sender_id: "North Wind".into(),
        product_id: "../x".into(),
        time: Some(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 }),
        ..resolve("pty_1", Channel::Email)
    };
    let refused = world.facts().resolve_recipient(request).await.expect_err("refused");
    assert_eq!(fields(&refused), ["purpose", "channel", "sender_id", "product_id", "time"]);
    for name in ["", "pty_1", "tenants/acme/sources/web", "tenants/acme/parties/a\0b"] {
        let request = proto::ResolveRecipientRequest {
            name: name.into(),
            ..resolve("pty_1", Channel::Email)
        };
        let refused = world.facts().resolve_recipient(request).await.expect_err("refused");
        assert_eq!(fields(&refused), ["name"]);
    }
    world.harness.stop().await;
}
