//! Consent under the rule packs of the markets.

use std::time::Duration;

use rapport_proto::decisioning::v1::{ConsentLine, Inherited, RulePack, RulePackActivated};

use super::neighbours::{line, pack};
use super::*;

const DAY: Duration = Duration::from_secs(86_400);

async fn check(world: &World, party_id: &str) -> proto::CheckConsentResponse {
    check_under(world, party_id, Regime::Unspecified).await
}

async fn check_under(world: &World, party_id: &str, regime: Regime) -> proto::CheckConsentResponse {
    let request = proto::CheckConsentRequest {
        parent: parent(),
        key: Some(consent_key(party_id)),
        regime: regime.into(),
        ..Default::default()
    };
    world.consents().check_consent(request).await.expect("a verdict").into_inner()
}

async fn withdraw(world: &World, party_id: &str) -> String {
    let request = proto::WithdrawConsentRequest {
        parent: parent(),
        key: Some(consent_key(party_id)),
        reason: "unsubscribe".into(),
        source: "web".into(),
        ..Default::default()
    };
    let reply = world.consents().withdraw_consent(request).await.expect("withdrawn").into_inner();
    reply.consent.expect("a consent").consent_id
}

fn told(reply: &proto::CheckConsentResponse) -> (bool, Regime, &str, &str, u32) {
    (reply.allowed, reply.regime(), &reply.detail, &reply.pack, reply.pack_version)
}

#[tokio::test]
async fn without_a_pack_only_a_grant_allows() {
    let world = World::among_neighbours().await;
    let party_id = world.party_of(PartyKind::Hcp).await;
    for stated in [Regime::Unspecified, Regime::OptIn, Regime::OptOut, Regime::NotRequired] {
        let reply = check_under(&world, &party_id, stated).await;
        assert_eq!(told(&reply), (false, Regime::OptIn, "no_pack", "", 0), "{stated:?}");
    }
    world.consents().record_consent(grant(&party_id)).await.expect("recorded");
    let reply = check(&world, &party_id).await;
    assert_eq!(told(&reply), (true, Regime::OptIn, "", "", 0));
    assert!(!reply.consent_id.is_empty());
    world.harness.stop().await;
}

#[tokio::test]
async fn under_opt_out_the_rule_and_a_position_prove_it_until_somebody_objects() {
    let world = World::among_neighbours().await;
    let party_id = world.party_of(PartyKind::Hcp).await;
    world.activate(pack("DE", 4, vec![line(Regime::OptOut)])).await;
    let reply = check(&world, &party_id).await;
    assert_eq!(told(&reply), (true, Regime::OptOut, "", "DE", 4));
    assert_eq!((reply.consent_id.as_str(), reply.position), ("", world.head()));
    // The asker may insist on more, not on less.
    let tightened = check_under(&world, &party_id, Regime::OptIn).await;
    assert_eq!(told(&tightened), (false, Regime::OptIn, "no_record", "", 0));
    let loosened = check_under(&world, &party_id, Regime::NotRequired).await;
    assert_eq!(told(&loosened), told(&reply));

    let consent_id = withdraw(&world, &party_id).await;
    let reply = check(&world, &party_id).await;
    assert_eq!(told(&reply), (false, Regime::OptOut, "withdrawn", "DE", 4));
    assert_eq!((reply.consent_id, reply.position), (consent_id, world.head()));
    world.harness.stop().await;
}

#[tokio::test]
async fn where_no_consent_is_required_an_objection_changes_nothing() {
    let world = World::among_neighbours().await;
    let party_id = world.party_of(PartyKind::Hcp).await;
    world.activate(pack("DE", 1, vec![line(Regime::NotRequired)])).await;
    withdraw(&world, &party_id).await;
    let reply = check(&world, &party_id).await;
    assert_eq!(told(&reply), (true, Regime::NotRequired, "", "DE", 1));
    assert_eq!(reply.consent_id, "");
    world.harness.stop().await;
}

#[tokio::test]
async fn a_line_is_inherited_from_the_nearest_archetype_that_has_one() {
    let world = World::among_neighbours().await;
    let party_id = world.party_of(PartyKind::Hcp).await;
    let archetype = |name: &str, version, consent| Inherited {
        pack: name.into(),
        version,
        document: Some(RulePack { rule_pack: name.into(), consent, ..Default::default() }),
    };
    let inherited = vec![
        archetype("eu-strict", 7, vec![]),
        archetype("eu", 2, vec![line(Regime::OptOut)]),
        archetype("world", 1, vec![line(Regime::NotRequired)]),
    ];
    world.activate(RulePackActivated { inherited, ..pack("DE", 1, vec![]) }).await;
    let reply = check(&world, &party_id).await;
    assert_eq!(told(&reply), (true, Regime::OptOut, "", "eu", 2));
    // A pack of another market says nothing here, nor does one of another tenant.
    world.activate(pack("AT", 9, vec![line(Regime::NotRequired)])).await;
    world.activate_in(UMBRELLA, pack("DE", 9, vec![line(Regime::NotRequired)])).await;
    assert_eq!(told(&check(&world, &party_id).await), told(&reply));
    world.harness.stop().await;
}

#[tokio::test]
async fn a_pack_counts_from_its_instant_until_it_is_retired_and_no_earlier_one_comes_back() {
    let world = World::among_neighbours().await;
    let party_id = world.party_of(PartyKind::Hcp).await;
    let start = chassis::testing::START;
    world.activate(pack("DE", 1, vec![line(Regime::NotRequired)])).await;
    let later = RulePackActivated {
        effective_at: time(start.plus(DAY)),
        ..pack("DE", 2, vec![line(Regime::OptOut)])
    };
    world.activate(later).await;
    assert_eq!(told(&check(&world, &party_id).await), (true, Regime::NotRequired, "", "DE", 1));
    world.harness.clock.advance(DAY);
    assert_eq!(told(&check(&world, &party_id).await), (true, Regime::OptOut, "", "DE", 2));
    world.harness.clock.advance(DAY);
    world.retire("DE", 2).await;
    assert_eq!(told(&check(&world, &party_id).await), (false, Regime::OptIn, "no_pack", "", 0));
    // What counted then still did then.
    let then = proto::CheckConsentRequest {
        parent: parent(),
        key: Some(consent_key(&party_id)),
        time: time(start.plus(DAY)),
        ..Default::default()
    };
    let then = world.consents().check_consent(then).await.expect("a verdict").into_inner();
    assert_eq!(told(&then), (true, Regime::OptOut, "", "DE", 2));
    world.activate(pack("DE", 3, vec![line(Regime::NotRequired)])).await;
    // It took effect before the retired one did.
    assert_eq!(told(&check(&world, &party_id).await).2, "no_pack");
    world.harness.stop().await;
}

#[tokio::test]
async fn a_grant_runs_out_when_the_pack_says_so() {
    let world = World::among_neighbours().await;
    let party_id = world.party_of(PartyKind::Hcp).await;
    let lasting = ConsentLine { expires_after: "2d".into(), ..line(Regime::OptIn) };
    world.activate(pack("DE", 1, vec![lasting])).await;
    world.consents().record_consent(grant(&party_id)).await.expect("recorded");
    world.harness.clock.advance(DAY * 2 - Duration::from_micros(1));
    assert!(check(&world, &party_id).await.allowed);
    world.harness.clock.advance(Duration::from_micros(1));
    let reply = check(&world, &party_id).await;
    assert_eq!(told(&reply), (false, Regime::OptIn, "expired", "DE", 1));
    assert!(!reply.consent_id.is_empty());
    world.harness.stop().await;
}

#[tokio::test]
async fn under_double_opt_in_a_grant_counts_once_the_contact_point_is_verified() {
    let world = World::among_neighbours().await;
    let party_id = world.register(professional()).await;
    let double = ConsentLine { double_opt_in: true, ..line(Regime::OptIn) };
    world.activate(pack("DE", 1, vec![double])).await;
    world.consents().record_consent(grant(&party_id)).await.expect("recorded");
    let reply = check(&world, &party_id).await;
    assert_eq!(told(&reply), (false, Regime::OptIn, "no_record", "DE", 1));
    assert_eq!(reply.consent_id, "");
    let contact_point_id = world.get(&party_id).await.contact_points.remove(0).contact_point_id;
    let verify = proto::VerifyContactPointRequest {
        name: party_name(&party_id),
        contact_point_id,
        verified_by: "confirmation-link".into(),
        ..Default::default()
    };
    world.parties().verify_contact_point(verify).await.expect("verified");
    assert_eq!(told(&check(&world, &party_id).await), (true, Regime::OptIn, "", "DE", 1));
    world.harness.stop().await;
}

#[tokio::test]
async fn a_reader_waits_for_the_pack_it_asks_for() {
    let world = World::among_neighbours().await;
    let party_id = world.party_of(PartyKind::Hcp).await;
    world.activate(pack("DE", 1, vec![line(Regime::OptOut)])).await;
    let ask = |source: &str, position| proto::CheckConsentRequest {
        parent: parent(),
        key: Some(consent_key(&party_id)),
        min_positions: [(source.to_owned(), position)].into(),
        ..Default::default()
    };
    let head = world.harness.deps("decisioning").store.head().position;
    let reply = world.consents().check_consent(ask("decisioning", head)).await.expect("read");
    assert!(reply.into_inner().allowed);
    // What this service does not read adds nothing to the answer.
    world.consents().check_consent(ask("feedback", 9_999)).await.expect("read");
    let behind = world.consents().check_consent(ask("decisioning", head + 1)).await;
    let behind = behind.expect_err("it never comes");
    assert_eq!(super::told(&behind), (Code::Unavailable, "BEHIND".into()));
    world.harness.stop().await;
}

/// An event that was parked is applied after later ones: what replicas hold must not outlive it.
#[tokio::test]
async fn a_pack_that_is_applied_late_is_noticed_like_any_other() {
    let world = World::among_neighbours().await;
    world.activate(pack("DE", 1, vec![line(Regime::OptOut)])).await;
    world.activate(pack("US", 1, vec![line(Regime::OptOut)])).await;
    let database = world.harness.deps("profiles").store.database();
    let revision =
        async || crate::view::revision::of(database, &[ACME.into()]).await.expect("read")[0].packs;
    let newest = revision().await;
    let decisioning = &world.harness.deps("decisioning").store;
    let events = decisioning.read_stream(ACME, "rule_pack/DE", eventstore::AsOf::Now).await;
    let late = events.expect("read");
    let mut tx = database.begin().await.expect("begun");
    eventstore::View::apply(&crate::view::pack::Packs, &mut tx, &late).await.expect("applied");
    tx.commit().await.expect("committed");
    assert!(revision().await < newest);
    world.harness.stop().await;
}
