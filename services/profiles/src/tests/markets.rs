//! Who is confined to markets sees and changes nothing of the others.

use chassis::testing::TokenSpec;
use rapport_proto::BY_MARKET;

use super::tenancy::{call_every_rpc, furnished};
use super::*;

fn confined(world: &World, markets: &[&str]) -> Connection {
    let spec = TokenSpec::new(ACME, "steward", &["*"]).markets(markets);
    world.harness.with_token(&world.harness.issuer.mint(spec))
}

#[tokio::test]
async fn nothing_of_another_market_is_seen_or_touched() {
    let (world, names) = furnished().await;
    let head = world.head();
    for markets in [&["FR"][..], &["FR", "IT"], &[]] {
        for (path, answer) in call_every_rpc(&confined(&world, markets), &names).await {
            if path.ends_with("/ListParties") && markets.len() == 1 {
                // Of the one market it is for, where nobody lives.
                assert_eq!(answer.ok(), Some(Vec::new()));
                continue;
            }
            let (code, reason) = told(&answer.expect_err(&path));
            match BY_MARKET.contains(&path.as_str()) {
                true => {
                    let hidden = (code, reason.as_str()) == (Code::NotFound, "NOT_FOUND");
                    let told =
                        (code, reason.as_str()) == (Code::PermissionDenied, "MARKET_FORBIDDEN");
                    assert!(hidden || told, "{path}: {code:?} {reason}");
                }
                false => assert_eq!(reason, "MARKETS_UNHEEDED", "{path}"),
            }
        }
    }
    assert_eq!(world.head(), head, "nothing was written");
    world.harness.stop().await;
}

#[tokio::test]
async fn in_its_own_market_a_token_does_what_any_other_does() {
    let (world, names) = furnished().await;
    let mut asked = 0;
    for (path, answer) in call_every_rpc(&confined(&world, &["DE"]), &names).await {
        match BY_MARKET.contains(&path.as_str()) {
            // It moves the party out of its market.
            true if path.ends_with("/MoveParty") => {
                let (code, reason) = told(&answer.expect_err(&path));
                assert_eq!((code, reason.as_str()), (Code::PermissionDenied, "MARKET_FORBIDDEN"));
            }
            true => assert!(answer.is_ok(), "{path}: {answer:?}"),
            false => assert_eq!(told(&answer.expect_err(&path)).1, "MARKETS_UNHEEDED", "{path}"),
        }
        asked += 1;
    }
    assert!(asked > BY_MARKET.len(), "{asked}");
    for (path, answer) in call_every_rpc(&confined(&world, &["*"]), &names).await {
        let market = answer.err().map(|it| told(&it).1).unwrap_or_default();
        assert!(!market.starts_with("MARKET"), "{path}: {market}");
    }
    world.harness.stop().await;
}

#[tokio::test]
async fn a_list_is_of_a_market_that_is_named_or_of_the_only_one() {
    let (world, _) = furnished().await;
    let listed = async |markets: &[&str], market: &str| {
        let request = proto::ListPartiesRequest {
            parent: parent(),
            market: market.into(),
            ..Default::default()
        };
        let mut client = PartyServiceClient::new(confined(&world, markets));
        client.list_parties(request).await.map(|it| it.into_inner().parties.len())
    };
    let everybody = listed(&["*"], "").await.expect("listed");
    assert_eq!(listed(&["DE"], "").await.expect("its own"), everybody);
    assert_eq!(listed(&["DE", "FR"], "FR").await.expect("nobody there"), 0);
    for (markets, market) in [(&["DE", "FR"][..], ""), (&["FR"], "DE"), (&[], "")] {
        let refused = listed(markets, market).await.expect_err("of others");
        assert_eq!(told(&refused).1, "MARKET_FORBIDDEN", "{markets:?} {market:?}");
    }
    world.harness.stop().await;
}

#[tokio::test]
async fn a_relation_is_told_of_only_where_both_ends_are_in_reach() {
    let world = World::start().await;
    let doctor = world.party_of(PartyKind::Hcp).await;
    let abroad = proto::RegisterPartyRequest {
        parent: parent(),
        kind: PartyKind::Hco.into(),
        market: "FR".into(),
        ..Default::default()
    };
    let abroad = world.register(abroad).await;
    let clinic = world.party_of(PartyKind::Hco).await;
    for to in [&abroad, &clinic] {
        let relation = proto::Relation {
            kind: proto::RelationKind::Affiliated.into(),
            from_party_id: doctor.clone(),
            to_party_id: to.clone(),
            ..Default::default()
        };
        let request = proto::RecordRelationRequest {
            parent: parent(),
            relation: Some(relation),
            ..Default::default()
        };
        world.parties().record_relation(request).await.expect("recorded");
    }
    let listed = async |markets: &[&str]| {
        let request =
            proto::ListRelationsRequest { parent: party_name(&doctor), ..Default::default() };
        let mut client = PartyServiceClient::new(confined(&world, markets));
        let listed = client.list_relations(request).await.expect("listed").into_inner();
        let ends = listed.relations.into_iter().map(|it| it.to_party_id);
        ends.collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(listed(&["DE"]).await, [clinic.clone()].into());
    assert_eq!(listed(&["DE", "FR"]).await, [clinic, abroad].into());
    world.harness.stop().await;
}
