//! The same story told to one process on SQLite and to one process per target on PostgreSQL and NATS
//! gets the same answers.

use rapport_proto::profiles::v1::{
    CheckConsentRequest, Consent, ConsentKey, GetPartyRequest, Identifier, LookupPartyRequest,
    RecordConsentRequest, RegisterPartyRequest, WithdrawConsentRequest, consent, get_party_request,
};
use rapport_proto::types::{Channel, PartyKind, Purpose, Regime};
use support::{Platform, Topology};

use crate::NODE;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consent_story() {
    let embedded = story(Topology::Embedded).await;
    let distributed = story(Topology::Distributed).await;
    assert_eq!(embedded, distributed);
}

/// Registers, consents, withdraws; returns every answer that does not depend on the clock.
async fn story(topology: Topology) -> Vec<String> {
    let mut platform = Platform::new(topology, NODE).await;
    platform.start(None);
    let mut client = platform.client("acme");
    let mut told = Vec::new();

    let registered = client
        .parties
        .register_party(RegisterPartyRequest {
            parent: "tenants/acme".into(),
            kind: PartyKind::Hcp.into(),
            market: "US".into(),
            identifiers: vec![Identifier {
                system: "npi".into(),
                value: "1234567893".into(),
                ..Identifier::default()
            }],
            request_id: "story-register".into(),
            ..RegisterPartyRequest::default()
        })
        .await
        .expect("registered")
        .into_inner();
    let party = registered.party.expect("a party");
    told.push(format!("{} at {}", party.name, registered.position));

    let key = ConsentKey {
        party_id: party.party_id.clone(),
        purpose: Purpose::Promotional.into(),
        channel: Channel::Email.into(),
        sender_id: "northwind".into(),
        market: "US".into(),
    };
    let granted = client
        .consents
        .record_consent(RecordConsentRequest {
            parent: "tenants/acme".into(),
            key: Some(key.clone()),
            state: consent::State::Granted.into(),
            regime_shown: Regime::OptIn.into(),
            source: "web-form".into(),
            text_version: "v1".into(),
            request_id: "story-grant".into(),
            ..RecordConsentRequest::default()
        })
        .await
        .expect("granted")
        .into_inner();
    told.push(id_of(granted.consent));
    told.push(check(&mut client, &key).await);
    client
        .consents
        .withdraw_consent(WithdrawConsentRequest {
            parent: "tenants/acme".into(),
            key: Some(key.clone()),
            reason: "asked_to_stop".into(),
            source: "phone".into(),
            request_id: "story-withdraw".into(),
            ..WithdrawConsentRequest::default()
        })
        .await
        .expect("withdrawn");
    told.push(check(&mut client, &key).await);

    let lookup = LookupPartyRequest {
        parent: "tenants/acme".into(),
        system: "npi".into(),
        value: "1234567893".into(),
        ..LookupPartyRequest::default()
    };
    let found = client.parties.lookup_party(lookup.clone()).await.expect("found").into_inner();
    told.push(found.party.expect("a party").party_id);
    let as_of = GetPartyRequest {
        name: party.name.clone(),
        as_of: Some(get_party_request::AsOf::AsOfPosition(1)),
        ..GetPartyRequest::default()
    };
    let then = client.parties.get_party(as_of.clone()).await.expect("a party").into_inner();
    told.push(format!("{} identifiers at 1", then.party.expect("a party").identifiers.len()));

    // Another tenant finds nothing, by any way.
    let mut stranger = platform.client("umbrella");
    let lookup = LookupPartyRequest { parent: "tenants/umbrella".into(), ..lookup };
    for answer in [
        stranger.parties.get_party(as_of).await.map(drop),
        stranger.parties.lookup_party(lookup).await.map(drop),
    ] {
        told.push(format!("{:?}", answer.expect_err("nothing").code()));
    }
    platform.stop();
    told
}

fn id_of(consent: Option<Consent>) -> String {
    consent.expect("a consent").consent_id
}

async fn check(client: &mut support::Client, key: &ConsentKey) -> String {
    let request = CheckConsentRequest {
        parent: "tenants/acme".into(),
        key: Some(key.clone()),
        regime: Regime::OptIn.into(),
        ..CheckConsentRequest::default()
    };
    let verdict = client.consents.check_consent(request).await.expect("a verdict").into_inner();
    format!(
        "{} {:?} {} at {}",
        verdict.allowed, verdict.detail, verdict.consent_id, verdict.position
    )
}
