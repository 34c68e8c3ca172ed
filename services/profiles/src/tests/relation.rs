use super::*;

fn relation(kind: proto::RelationKind, from: &str, to: &str) -> proto::RecordRelationRequest {
    proto::RecordRelationRequest {
        parent: parent(),
        relation: Some(proto::Relation {
            kind: kind.into(),
            from_party_id: from.into(),
            to_party_id: to.into(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn list(party_id: &str, valid_at: Option<Timestamp>) -> proto::ListRelationsRequest {
    proto::ListRelationsRequest {
        parent: party_name(party_id),
        valid_at: valid_at.map(Timestamp::to_proto),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_relation_is_listed_from_either_end_until_it_ends() {
    let world = World::start().await;
    let (doctor, clinic) =
        (world.party_of(PartyKind::Hcp).await, world.party_of(PartyKind::Hco).await);
    let request = relation(proto::RelationKind::Affiliated, &doctor, &clinic);
    let recorded = world.parties().record_relation(request).await.expect("recorded").into_inner();
    let recorded = recorded.relation.expect("a relation");
    for end in [&doctor, &clinic] {
        let listed =
            world.parties().list_relations(list(end, None)).await.expect("listed").into_inner();
        assert_eq!(listed.relations, std::slice::from_ref(&recorded));
    }
    let end = proto::EndRelationRequest {
        name: format!("tenants/{ACME}/relations/{}", recorded.relation_id),
        reason: "moved".into(),
        ..Default::default()
    };
    let ended = world.parties().end_relation(end.clone()).await.expect("ended").into_inner();
    let now = chassis::testing::START;
    assert_eq!(ended.relation.expect("a relation").valid.expect("an end").until, time(now));
    assert_eq!(
        world.parties().end_relation(end).await.expect("harmless").into_inner().position,
        ended.position
    );
    let count = async |at| {
        let listed = world.parties().list_relations(list(&clinic, at)).await.expect("listed");
        listed.into_inner().relations.len()
    };
    assert_eq!(
        (count(None).await, count(Some(now)).await, count(Some(Timestamp(now.0 - 1))).await),
        (1, 0, 1)
    );
    world.harness.stop().await;
}

#[tokio::test]
async fn relations_join_known_parties_of_the_right_kinds() {
    let world = World::start().await;
    let (doctor, patient) =
        (world.party_of(PartyKind::Hcp).await, world.party_of(PartyKind::Patient).await);
    let treats = |from: &str, to: &str| relation(proto::RelationKind::Treats, from, to);
    world.parties().record_relation(treats(&doctor, &patient)).await.expect("recorded");
    let wrong =
        world.parties().record_relation(treats(&patient, &doctor)).await.expect_err("wrong way");
    assert_eq!(told(&wrong), (Code::FailedPrecondition, "KIND_CONFLICT".into()));
    let nobody =
        world.parties().record_relation(treats(&doctor, "pty_nobody")).await.expect_err("nobody");
    assert_eq!(
        (nobody.code(), fields(&nobody)),
        (Code::NotFound, vec!["relation.to_party_id".to_owned()])
    );
    let mut product = treats(&doctor, &patient);
    product.relation.as_mut().expect("a relation").product_id = "oncology".into();
    let refused = world.parties().record_relation(product).await.expect_err("no product");
    assert_eq!(fields(&refused), ["relation.product_id"]);
    world.harness.stop().await;
}

#[tokio::test]
async fn a_repeat_after_the_erasure_of_an_end_gets_the_first_reply() {
    let world = World::start().await;
    let (doctor, clinic) =
        (world.register(professional()).await, world.party_of(PartyKind::Hco).await);
    let record = proto::RecordRelationRequest {
        request_id: "request-1".into(),
        ..relation(proto::RelationKind::Affiliated, &doctor, &clinic)
    };
    let recorded = world.parties().record_relation(record.clone()).await.expect("recorded");
    let recorded = recorded.into_inner();
    let relation_id = &recorded.relation.as_ref().expect("a relation").relation_id;
    let end = proto::EndRelationRequest {
        name: format!("tenants/{ACME}/relations/{relation_id}"),
        reason: "moved".into(),
        request_id: "request-2".into(),
        ..Default::default()
    };
    let ended = world.parties().end_relation(end.clone()).await.expect("ended").into_inner();
    world.erase(&doctor).await;
    let again = world.parties().record_relation(record.clone()).await.expect("the first reply");
    assert_eq!(again.into_inner(), recorded);
    let again = world.parties().end_relation(end).await.expect("the first reply");
    assert_eq!(again.into_inner(), ended);
    let new = proto::RecordRelationRequest { request_id: "request-3".into(), ..record };
    let refused = world.parties().record_relation(new).await.expect_err("erased");
    assert_eq!(told(&refused), (Code::FailedPrecondition, "PARTY_ERASED".into()));
    world.harness.stop().await;
}

#[tokio::test]
async fn a_relation_stands_on_the_timeline_of_the_party_it_starts_at() {
    let world = World::start().await;
    let (doctor, patient) =
        (world.party_of(PartyKind::Hcp).await, world.party_of(PartyKind::Patient).await);
    let treats = relation(proto::RelationKind::Treats, &doctor, &patient);
    world.parties().record_relation(treats).await.expect("recorded");
    let summaries = async |party_id: &str| -> Vec<String> {
        let list = proto::ListTimelineEntriesRequest {
            parent: party_name(party_id),
            ..Default::default()
        };
        let listed = world.parties().list_timeline_entries(list).await.expect("listed");
        listed.into_inner().timeline_entries.into_iter().map(|it| it.summary).collect()
    };
    assert_eq!(summaries(&doctor).await, ["Party registered", "Relation recorded"]);
    assert_eq!(summaries(&patient).await, ["Party registered"]);
    world.harness.stop().await;
}
