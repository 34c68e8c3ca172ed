use eventstore::Value;

use super::*;

/// Everything the view's tables hold, as text.
pub(super) async fn tables(world: &World) -> Vec<String> {
    let store = &world.harness.deps("profiles").store;
    let queries = [
        "SELECT tenant, party_id, kind, state, market, registered_position FROM party ORDER BY 1, 2",
        "SELECT tenant, value_index, party_id, number, valid_from, valid_until FROM identifier ORDER BY 1, 2",
        "SELECT tenant, contact_point_id, value_index FROM contact_point ORDER BY 1, 2",
        "SELECT tenant, party_id, consent_id FROM consent ORDER BY 1, 2, 3",
        "SELECT tenant, relation_id, from_party_id, to_party_id, valid_from, valid_until, kind, product_id
         FROM relation ORDER BY 1, 2",
        "SELECT tenant, source_id, write_key FROM source ORDER BY 1, 2",
        "SELECT tenant, source_id, message_id, interaction_id, party_id, name, occurred_at, position, body_digest
         FROM interaction ORDER BY 1, 2, 3",
    ];
    let mut found = Vec::new();
    for query in queries {
        let rows = store.query(query, Vec::<Value>::new()).await.expect("read");
        assert!(!rows.is_empty(), "{query}");
        found.push(format!("{rows:?}"));
    }
    found
}

/// A little of everything.
async fn live(world: &World) {
    let doctor = world.register(professional()).await;
    let clinic = world.party_of(PartyKind::Hco).await;
    let taken = world.parties().register_party(professional()).await;
    assert!(taken.is_err());
    let name = party_name(&doctor);
    let moved =
        proto::MovePartyRequest { name: name.clone(), market: "AT".into(), ..Default::default() };
    world.parties().move_party(moved).await.expect("moved");
    let suppress = proto::SuppressPartyRequest {
        name: name.clone(),
        reason: "complaint".into(),
        ..Default::default()
    };
    world.parties().suppress_party(suppress).await.expect("suppressed");
    let add = proto::AddIdentifierRequest {
        name: name.clone(),
        identifier: Some(identifier("crm", "K-7")),
        ..Default::default()
    };
    world.parties().add_identifier(add).await.expect("added");
    let remove = proto::RemoveIdentifierRequest {
        name,
        number: 1,
        reason: "error".into(),
        ..Default::default()
    };
    world.parties().remove_identifier(remove).await.expect("removed");
    let relation = proto::Relation {
        kind: proto::RelationKind::Affiliated.into(),
        from_party_id: doctor.clone(),
        to_party_id: clinic,
        ..Default::default()
    };
    let record = proto::RecordRelationRequest {
        parent: parent(),
        relation: Some(relation),
        ..Default::default()
    };
    let relation_id = world.parties().record_relation(record).await.expect("recorded").into_inner();
    let end = proto::EndRelationRequest {
        name: format!(
            "tenants/{ACME}/relations/{}",
            relation_id.relation.expect("a relation").relation_id
        ),
        reason: "moved".into(),
        ..Default::default()
    };
    world.parties().end_relation(end).await.expect("ended");
    world.consents().record_consent(grant(&doctor)).await.expect("recorded");
    world.source("web").await;
    let interaction = proto::NewInteraction {
        message_id: "m-1".into(),
        name: "Order Completed".into(),
        occurred_time: time(chassis::testing::START),
        party: Some(proto::new_interaction::Party::PartyId(doctor)),
        ..Default::default()
    };
    let record = proto::RecordInteractionsRequest {
        parent: format!("tenants/{ACME}/sources/web"),
        interactions: vec![interaction],
        ..Default::default()
    };
    world.sources().record_interactions(record).await.expect("recorded");
}

#[tokio::test]
async fn a_rebuild_gives_the_tables_that_were_kept_live() {
    let world = World::start().await;
    live(&world).await;
    let before = tables(&world).await;
    let store = &world.harness.deps("profiles").store;
    store.rebuild(store.views()[0].as_ref()).await.expect("rebuilt");
    assert_eq!(tables(&world).await, before);
    world.harness.stop().await;
}

#[tokio::test]
async fn no_table_and_no_event_holds_a_personal_value() {
    let world = World::start().await;
    live(&world).await;
    let store = &world.harness.deps("profiles").store;
    let mut kept = tables(&world).await;
    let events = store.read(0, 1000).await.expect("read");
    kept.extend(events.iter().map(|it| String::from_utf8_lossy(&it.envelope).into_owned()));
    for personal in [NPI, EMAIL, "Lovelace", "K-7", "scan 7"] {
        assert!(kept.iter().all(|it| !it.contains(personal)), "{personal}");
    }
    world.harness.stop().await;
}

#[tokio::test]
async fn a_rebuild_after_erasure_forgets_the_identifier() {
    let world = World::start().await;
    let party_id = world.register(professional()).await;
    let store = &world.harness.deps("profiles").store;
    world.erase(&party_id).await;
    store.rebuild(store.views()[0].as_ref()).await.expect("rebuilt");
    let rows = store.query("SELECT number FROM identifier", vec![]).await.expect("read");
    assert!(rows.is_empty());
    world.harness.stop().await;
}
