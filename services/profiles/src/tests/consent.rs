use std::time::Duration;

use super::neighbours::{line, pack};
use super::*;

const DAY: Duration = Duration::from_secs(86_400);

fn check(party_id: &str, regime: Regime) -> proto::CheckConsentRequest {
    proto::CheckConsentRequest {
        parent: parent(),
        key: Some(consent_key(party_id)),
        regime: regime.into(),
        ..Default::default()
    }
}

async fn verdict(world: &World, party_id: &str, regime: Regime) -> (bool, String) {
    let reply = world
        .consents()
        .check_consent(check(party_id, regime))
        .await
        .expect("a verdict")
        .into_inner();
    assert_eq!(reply.allowed, reply.detail.is_empty());
    (reply.allowed, reply.detail)
}

fn withdrawal(party_id: &str) -> proto::WithdrawConsentRequest {
    proto::WithdrawConsentRequest {
        parent: parent(),
        key: Some(consent_key(party_id)),
        reason: "unsubscribe".into(),
        source: "web".into(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_grant_allows_until_it_is_withdrawn() {
    let world = World::among_neighbours().await;
    world.activate(pack("DE", 1, vec![line(Regime::OptOut)])).await;
    let party_id = world.party_of(PartyKind::Hcp).await;
    assert_eq!(verdict(&world, &party_id, Regime::OptIn).await, (false, "no_record".into()));
    assert_eq!(verdict(&world, &party_id, Regime::Unspecified).await, (true, String::new()));
    assert_eq!(verdict(&world, &party_id, Regime::OptOut).await, (true, String::new()));

    let granted =
        world.consents().record_consent(grant(&party_id)).await.expect("recorded").into_inner();
    let consent = granted.consent.expect("a consent");
    assert_eq!(
        (consent.state(), consent.evidence.as_str()),
        (proto::consent::State::Granted, "scan 7")
    );
    let reply =
        world.consents().check_consent(check(&party_id, Regime::OptIn)).await.expect("a verdict");
    let reply = reply.into_inner();
    assert_eq!((reply.allowed, reply.consent_id), (true, consent.consent_id.clone()));
    assert!(reply.position >= granted.position);

    world.harness.clock.advance(DAY);
    world.consents().withdraw_consent(withdrawal(&party_id)).await.expect("withdrawn");
    for regime in [Regime::OptIn, Regime::OptOut] {
        assert_eq!(verdict(&world, &party_id, regime).await, (false, "withdrawn".into()));
    }
    let then = proto::CheckConsentRequest {
        time: time(chassis::testing::START),
        ..check(&party_id, Regime::OptIn)
    };
    assert!(world.consents().check_consent(then).await.expect("a verdict").into_inner().allowed);
    world.harness.stop().await;
}

#[tokio::test]
async fn every_part_of_the_key_matters() {
    let world = World::among_neighbours().await;
    world.activate(pack("DE", 1, vec![line(Regime::OptIn)])).await;
    let party_id = world.party_of(PartyKind::Hcp).await;
    world.consents().record_consent(grant(&party_id)).await.expect("recorded");
    let changes: [fn(&mut proto::ConsentKey); 4] = [
        |key| key.purpose = Purpose::Service.into(),
        |key| key.channel = Channel::Sms.into(),
        |key| key.sender_id = "southwind".into(),
        |key| key.market = "AT".into(),
    ];
    for change in changes {
        let mut request = check(&party_id, Regime::OptIn);
        change(request.key.as_mut().expect("a key"));
        let reply = world.consents().check_consent(request).await.expect("a verdict").into_inner();
        assert_eq!((reply.allowed, reply.detail.as_str()), (false, "no_record"));
    }
    world.harness.stop().await;
}

#[tokio::test]
async fn a_grant_runs_out_and_its_end_is_noted_once() {
    let world = World::start().await;
    let party_id = world.party_of(PartyKind::Hcp).await;
    let end = chassis::testing::START.plus(DAY);
    let request = proto::RecordConsentRequest { expire_time: time(end), ..grant(&party_id) };
    world.consents().record_consent(request).await.expect("recorded");
    let store = world.harness.deps("profiles").store.clone();
    assert_eq!(store.next_due().await.expect("read"), Some(end));
    let head = world.head();
    world.harness.clock.set(end);
    assert_eq!(verdict(&world, &party_id, Regime::OptIn).await, (false, "expired".into()));
    assert!(
        store.wait_for(head + 1, Duration::from_secs(120)).await.expect("read"),
        "the timer fires"
    );
    assert_eq!(store.next_due().await.expect("read"), None);
    let list = proto::ListConsentsRequest { parent: party_name(&party_id), ..Default::default() };
    let listed = world.consents().list_consents(list).await.expect("listed").into_inner().consents;
    assert_eq!((listed.len(), listed[0].state()), (1, proto::consent::State::Expired));
    let events = store.read_party(ACME, &party_id, head, 10).await.expect("read");
    let types: Vec<_> = events.iter().map(|it| it.envelope.r#type.as_str()).collect();
    assert_eq!(types, ["rapport.profiles.v1.ConsentExpired"]);
    world.harness.stop().await;
}

#[tokio::test]
async fn the_end_of_a_withdrawn_grant_is_not_noted() {
    let world = World::start().await;
    let party_id = world.party_of(PartyKind::Hcp).await;
    let end = chassis::testing::START.plus(DAY);
    let request = proto::RecordConsentRequest { expire_time: time(end), ..grant(&party_id) };
    world.consents().record_consent(request).await.expect("recorded");
    world.harness.clock.advance(DAY / 2);
    world.consents().withdraw_consent(withdrawal(&party_id)).await.expect("withdrawn");
    let store = world.harness.deps("profiles").store.clone();
    let head = world.head();
    world.harness.clock.set(end);
    let gone = async {
        while store.next_due().await.expect("read").is_some() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), gone).await.expect("the timer is handled");
    assert_eq!(world.head(), head);
    world.harness.stop().await;
}

#[tokio::test]
async fn statements_are_refused_with_their_reason() {
    let world = World::start().await;
    let party_id = world.party_of(PartyKind::Hcp).await;
    let ahead = chassis::testing::START.plus(Duration::from_secs(301));
    let early = Timestamp(chassis::testing::START.0 - 1);
    let cases = [
        (
            proto::RecordConsentRequest { captured_time: time(ahead), ..grant(&party_id) },
            "CONSENT_IN_FUTURE",
            "captured_time",
        ),
        (
            proto::RecordConsentRequest { effective_time: time(early), ..grant(&party_id) },
            "CONSENT_INVALID",
            "effective_time",
        ),
        (
            proto::RecordConsentRequest { expire_time: time(early), ..grant(&party_id) },
            "CONSENT_INVALID",
            "expire_time",
        ),
        (
            proto::RecordConsentRequest { text_version: String::new(), ..grant(&party_id) },
            "CONSENT_INVALID",
            "text_version",
        ),
        (
            proto::RecordConsentRequest {
                state: proto::consent::State::Expired.into(),
                ..grant(&party_id)
            },
            "FIELD_INVALID",
            "state",
        ),
        (proto::RecordConsentRequest { key: None, ..grant(&party_id) }, "FIELD_INVALID", "key"),
        (grant("pty_nobody"), "NOT_FOUND", "key.party_id"),
    ];
    for (request, reason, field) in cases {
        let refused = world.consents().record_consent(request).await.expect_err(reason);
        assert_eq!((told(&refused).1.as_str(), fields(&refused)), (reason, vec![field.to_owned()]));
    }
    world.harness.stop().await;
}

#[tokio::test]
async fn nobody_is_contacted_who_is_not_known() {
    let world = World::start().await;
    for regime in [Regime::OptOut, Regime::NotRequired] {
        let refused =
            world.consents().check_consent(check("pty_nobody", regime)).await.expect_err("unknown");
        assert_eq!(refused.code(), Code::NotFound);
    }
    world.harness.stop().await;
}

#[tokio::test]
async fn evidence_is_shown_only_with_the_permission_to_unseal() {
    let world = World::start().await;
    let party_id = world.party_of(PartyKind::Hcp).await;
    world.consents().record_consent(grant(&party_id)).await.expect("recorded");
    let reader = world.harness.person(ACME, "reader", &["profiles.consents.read"]);
    let list = proto::ListConsentsRequest { parent: party_name(&party_id), ..Default::default() };
    let listed =
        ConsentServiceClient::new(reader).list_consents(list).await.expect("listed").into_inner();
    assert_eq!(
        (listed.consents[0].evidence.as_str(), listed.consents[0].source.as_str()),
        ("", "paper-form")
    );
    world.harness.stop().await;
}

#[tokio::test]
async fn what_was_said_in_one_market_does_not_count_in_another() {
    let world = World::start().await;
    let party_id = world.party_of(PartyKind::Hcp).await;
    world.consents().record_consent(grant(&party_id)).await.expect("recorded");
    assert_eq!(verdict(&world, &party_id, Regime::OptIn).await, (true, String::new()));
    let move_to = |market: &str| proto::MovePartyRequest {
        name: party_name(&party_id),
        market: market.into(),
        ..Default::default()
    };
    world.parties().move_party(move_to("FR")).await.expect("moved");
    for regime in [Regime::OptIn, Regime::OptOut, Regime::NotRequired, Regime::Unspecified] {
        assert_eq!(verdict(&world, &party_id, regime).await, (false, "no_record".into()));
    }
    world.parties().move_party(move_to("DE")).await.expect("moved back");
    assert_eq!(verdict(&world, &party_id, Regime::OptIn).await, (true, String::new()));
    world.harness.stop().await;
}

#[tokio::test]
async fn a_repeat_after_erasure_gets_the_first_reply() {
    let world = World::start().await;
    let party_id = world.register(professional()).await;
    let recording =
        proto::RecordConsentRequest { request_id: "request-1".into(), ..grant(&party_id) };
    let withdrawing = proto::WithdrawConsentRequest {
        evidence: "call 9".into(),
        request_id: "request-2".into(),
        ..withdrawal(&party_id)
    };
    let record = async |it: &proto::RecordConsentRequest| {
        Ok::<_, Status>(world.consents().record_consent(it.clone()).await?.into_inner())
    };
    let withdraw = async |it: &proto::WithdrawConsentRequest| {
        Ok::<_, Status>(world.consents().withdraw_consent(it.clone()).await?.into_inner())
    };
    let granted = record(&recording).await.expect("recorded");
    let withdrawn = withdraw(&withdrawing).await.expect("withdrawn");
    world.erase(&party_id).await;

    // What is erased is not shown again; everything else is as it was told.
    let without = |consent: Option<proto::Consent>| {
        consent.map(|it| proto::Consent { evidence: String::new(), ..it })
    };
    let again = record(&recording).await.expect("the first reply");
    assert_eq!(
        (without(again.consent), again.position),
        (without(granted.consent), granted.position)
    );
    let again = withdraw(&withdrawing).await.expect("the first reply");
    assert_eq!(
        (without(again.consent), again.position),
        (without(withdrawn.consent), withdrawn.position)
    );
    let new = proto::RecordConsentRequest { request_id: "request-3".into(), ..recording };
    let refused = record(&new).await.expect_err("erased");
    assert_eq!(told(&refused), (Code::FailedPrecondition, "PARTY_ERASED".into()));
    world.harness.stop().await;
}
