use std::time::Duration;

use prost_types::FieldMask;
use proto::get_party_request::AsOf;
use rapport_proto::types::{Clear, clear};
use tokio::task::JoinSet;

use super::*;

fn flag(name: &str, value: bool) -> (String, Clear) {
    (name.to_owned(), Clear { value: Some(clear::Value::Flag(value)) })
}

fn set(party_id: &str, value: bool) -> proto::SetAttributesRequest {
    proto::SetAttributesRequest {
        name: party_name(party_id),
        attributes: [flag("licence_valid", value)].into(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_registered_party_is_found_by_id_and_by_identifier() {
    let world = World::start().await;
    let reply =
        world.parties().register_party(professional()).await.expect("registered").into_inner();
    let party = reply.party.expect("a party");
    assert_eq!(party.name, party_name(&party.party_id));
    assert_eq!((party.kind(), party.state()), (PartyKind::Hcp, proto::party::State::Active));
    assert_eq!(
        (party.identifiers[0].value.as_str(), party.contact_points[0].value.as_str()),
        (NPI, EMAIL)
    );
    assert_eq!(party.personal_attributes["last_name"], "Lovelace");
    assert_eq!((party.create_time, party.etag.as_str()), (time(chassis::testing::START), "4"));
    assert_eq!(world.get(&party.party_id).await, party);

    let lookup = |value: &str| proto::LookupPartyRequest {
        parent: parent(),
        system: "npi".into(),
        value: value.into(),
        ..Default::default()
    };
    let found = world.parties().lookup_party(lookup(NPI)).await.expect("found").into_inner();
    assert_eq!(found.party, Some(party));
    let nobody = world.parties().lookup_party(lookup("1245319599")).await.expect_err("nobody");
    assert_eq!(told(&nobody), (Code::NotFound, "NOT_FOUND".into()));
    world.harness.stop().await;
}

#[tokio::test]
async fn a_repeated_request_gets_the_first_reply_and_another_body_is_refused() {
    let world = World::start().await;
    let request = proto::RegisterPartyRequest { request_id: "request-1".into(), ..professional() };
    let first =
        world.parties().register_party(request.clone()).await.expect("registered").into_inner();
    let party_id = first.party.as_ref().expect("a party").party_id.clone();
    world.parties().set_attributes(set(&party_id, true)).await.expect("set");
    let head = world.head();
    let again =
        world.parties().register_party(request.clone()).await.expect("repeated").into_inner();
    assert_eq!((again, world.head()), (first, head));

    let other = proto::RegisterPartyRequest { market: "AT".into(), ..request };
    let refused = world.parties().register_party(other).await.expect_err("another body");
    assert_eq!(told(&refused), (Code::AlreadyExists, "REQUEST_ID_REUSED".into()));
    world.harness.stop().await;
}

#[tokio::test]
async fn personal_values_are_shown_only_with_the_permission_to_unseal() {
    let world = World::start().await;
    let party_id = world.register(professional()).await;
    let reader = world.harness.person(ACME, "reader", &["profiles.parties.read"]);
    let request = proto::GetPartyRequest { name: party_name(&party_id), ..Default::default() };
    let reply =
        PartyServiceClient::new(reader).get_party(request).await.expect("found").into_inner();
    let party = reply.party.expect("a party");
    assert_eq!(
        (party.identifiers[0].system.as_str(), party.identifiers[0].value.as_str()),
        ("npi", "")
    );
    assert_eq!(party.contact_points[0].value, "");
    assert!(party.personal_attributes.is_empty());
    world.harness.stop().await;
}

#[tokio::test]
async fn an_identifier_names_one_party_at_a_time() {
    let world = World::start().await;
    let first = world.register(professional()).await;
    let taken = world.parties().register_party(professional()).await.expect_err("taken");
    assert_eq!(told(&taken), (Code::AlreadyExists, "IDENTIFIER_TAKEN".into()));
    assert_eq!(fields(&taken), ["identifiers[0].value"]);

    let second = world.party_of(PartyKind::Hcp).await;
    let add = proto::AddIdentifierRequest {
        name: party_name(&second),
        identifier: Some(identifier("npi", NPI)),
        request_id: "request-add".into(),
    };
    let taken = world.parties().add_identifier(add.clone()).await.expect_err("taken");
    assert_eq!(told(&taken), (Code::AlreadyExists, "IDENTIFIER_TAKEN".into()));

    let remove = |party: &str, number| proto::RemoveIdentifierRequest {
        name: party_name(party),
        number,
        reason: "error".into(),
        ..Default::default()
    };
    world.parties().remove_identifier(remove(&first, 1)).await.expect("removed");
    let added = world.parties().add_identifier(add.clone()).await.expect("free").into_inner();

    // The repeat is the first outcome, although the identifier went on to a third party.
    world.parties().remove_identifier(remove(&second, 1)).await.expect("removed");
    world.register(professional()).await;
    let again = world.parties().add_identifier(add).await.expect("repeated").into_inner();
    assert_eq!(again, added);
    world.harness.stop().await;
}

#[tokio::test]
async fn two_who_claim_an_identifier_at_once_do_not_both_get_it() {
    let world = World::start().await;
    let mut claims = JoinSet::new();
    for n in 0..8 {
        let mut parties = world.parties();
        let request =
            proto::RegisterPartyRequest { request_id: format!("request-{n}"), ..professional() };
        claims.spawn(async move { parties.register_party(request).await });
    }
    let mut granted = 0;
    for claim in claims.join_all().await {
        match claim {
            Ok(_) => granted += 1,
            Err(refused) => {
                assert_eq!(told(&refused), (Code::AlreadyExists, "IDENTIFIER_TAKEN".into()))
            }
        }
    }
    assert_eq!(granted, 1);
    world.harness.stop().await;
}

#[tokio::test]
async fn an_identifier_counts_while_it_is_valid() {
    let world = World::start().await;
    let start = chassis::testing::START;
    let from = start.plus(Duration::from_secs(60));
    let until = start.plus(Duration::from_secs(120));
    let valid = rapport_proto::types::Validity { from: time(from), until: time(until) };
    let ours = proto::Identifier { valid: Some(valid), ..identifier("crm", "K-7") };
    let request =
        proto::RegisterPartyRequest { identifiers: vec![ours], ..registration(PartyKind::Patient) };
    let party_id = world.register(request).await;
    let lookup = || proto::LookupPartyRequest {
        parent: parent(),
        system: "crm".into(),
        value: " K-7".into(),
        ..Default::default()
    };
    assert!(world.parties().lookup_party(lookup()).await.is_err());
    world.harness.clock.set(from);
    let found = world.parties().lookup_party(lookup()).await.expect("valid now").into_inner();
    assert_eq!(found.party.expect("a party").party_id, party_id);
    world.harness.clock.set(until);
    assert!(world.parties().lookup_party(lookup()).await.is_err());
    let next = proto::RegisterPartyRequest {
        identifiers: vec![identifier("crm", "K-7")],
        ..registration(PartyKind::Patient)
    };
    let next = world.register(next).await;
    let found = world.parties().lookup_party(lookup()).await.expect("the next holder").into_inner();
    assert_eq!(found.party.expect("a party").party_id, next);
    world.harness.stop().await;
}

#[tokio::test]
async fn a_party_is_read_as_of_a_position_and_a_time() {
    let world = World::start().await;
    let first =
        world.parties().register_party(professional()).await.expect("registered").into_inner();
    let before = first.party.expect("a party");
    world.harness.clock.advance(Duration::from_secs(60));
    world.parties().set_attributes(set(&before.party_id, true)).await.expect("set");
    let get = |as_of| proto::GetPartyRequest {
        name: party_name(&before.party_id),
        as_of,
        ..Default::default()
    };
    let at = |as_of| {
        let mut parties = world.parties();
        async move { parties.get_party(get(Some(as_of))).await.map(|it| it.into_inner().party) }
    };
    let of_position = at(AsOf::AsOfPosition(first.position)).await.expect("known then");
    let of_time = at(AsOf::AsOfTime(chassis::testing::START.to_proto())).await.expect("known then");
    assert_eq!((of_position.as_ref(), of_time.as_ref()), (Some(&before), Some(&before)));
    let now = world.get(&before.party_id).await;
    assert_eq!((now.attributes.len(), before.attributes.len()), (1, 0));
    assert_eq!(now.update_time, time(world.harness.clock.now()));
    let too_early = at(AsOf::AsOfTime(Timestamp(chassis::testing::START.0 - 1).to_proto())).await;
    assert_eq!(told(&too_early.expect_err("not known then")), (Code::NotFound, "NOT_FOUND".into()));
    world.harness.stop().await;
}

#[tokio::test]
async fn a_position_that_was_not_reached_is_waited_for_and_then_refused() {
    let world = World::start().await;
    let party_id = world.party_of(PartyKind::Hcp).await;
    let get = |source: &str, position| proto::GetPartyRequest {
        name: party_name(&party_id),
        min_positions: [(source.to_owned(), position)].into(),
        ..Default::default()
    };
    world.parties().get_party(get("profiles", world.head())).await.expect("reached");
    let behind =
        world.parties().get_party(get("profiles", 1_000_000)).await.expect_err("not reached");
    assert_eq!(told(&behind), (Code::Unavailable, "BEHIND".into()));
    let foreign = world.parties().get_party(get("content", 1)).await.expect_err("not ours");
    assert_eq!(fields(&foreign), ["min_positions"]);
    world.harness.stop().await;
}

#[tokio::test]
async fn a_reader_gets_the_fields_asked_for() {
    let world = World::start().await;
    let party_id = world.register(professional()).await;
    let get = |path: &str| proto::GetPartyRequest {
        name: party_name(&party_id),
        read_mask: Some(FieldMask { paths: vec![path.into()] }),
        ..Default::default()
    };
    let reply = world.parties().get_party(get("market")).await.expect("found").into_inner();
    assert_eq!(reply.party, Some(proto::Party { market: "DE".into(), ..Default::default() }));
    let refused = world.parties().get_party(get("shoe_size")).await.expect_err("no such field");
    assert_eq!(fields(&refused), ["read_mask"]);
    world.harness.stop().await;
}

#[tokio::test]
async fn an_etag_protects_what_was_read() {
    let world = World::start().await;
    let party_id = world.party_of(PartyKind::Hcp).await;
    let etag = world.get(&party_id).await.etag;
    let update =
        |value| proto::SetAttributesRequest { etag: etag.clone(), ..set(&party_id, value) };
    world.parties().set_attributes(update(true)).await.expect("unchanged since");
    let refused = world.parties().set_attributes(update(false)).await.expect_err("changed since");
    assert_eq!(told(&refused), (Code::Aborted, "ETAG_MISMATCH".into()));
    world.harness.stop().await;
}

#[tokio::test]
async fn checking_a_registration_changes_nothing() {
    let world = World::start().await;
    let request = proto::RegisterPartyRequest { validate_only: true, ..professional() };
    let head = world.head();
    let reply = world.parties().register_party(request.clone()).await.expect("valid").into_inner();
    let party_id = reply.party.expect("a preview").party_id;
    let get = proto::GetPartyRequest { name: party_name(&party_id), ..Default::default() };
    assert_eq!(world.parties().get_party(get).await.expect_err("not there").code(), Code::NotFound);
    assert_eq!(world.head(), head);
    world.register(professional()).await;
    let taken = world.parties().register_party(request).await.expect_err("taken by now");
    assert_eq!(told(&taken), (Code::AlreadyExists, "IDENTIFIER_TAKEN".into()));
    world.harness.stop().await;
}

#[tokio::test]
async fn lists_page_in_order_of_registration() {
    let world = World::start().await;
    let mut registered = Vec::new();
    for n in 0..5 {
        let kind = if n % 2 == 0 { PartyKind::Hcp } else { PartyKind::Patient };
        registered.push(world.party_of(kind).await);
    }
    let suppress = proto::SuppressPartyRequest {
        name: party_name(&registered[2]),
        reason: "complaint".into(),
        ..Default::default()
    };
    world.parties().suppress_party(suppress).await.expect("suppressed");

    let list = |change: fn(&mut proto::ListPartiesRequest)| {
        let mut request =
            proto::ListPartiesRequest { parent: parent(), page_size: 2, ..Default::default() };
        change(&mut request);
        let mut parties = world.parties();
        async move {
            let (mut ids, mut pages) = (Vec::new(), 0);
            loop {
                let page =
                    parties.list_parties(request.clone()).await.expect("a page").into_inner();
                ids.extend(page.parties.into_iter().map(|it| it.party_id));
                pages += 1;
                if page.next_page_token.is_empty() {
                    return (ids, pages);
                }
                request.page_token = page.next_page_token;
            }
        }
    };
    assert_eq!(list(|_| ()).await, (registered.clone(), 3));
    let patients = list(|it| it.kind = PartyKind::Patient.into()).await;
    assert_eq!(patients, (vec![registered[1].clone(), registered[3].clone()], 1));
    let suppressed = list(|it| it.state = proto::party::State::Suppressed.into()).await;
    assert_eq!(suppressed, (vec![registered[2].clone()], 1));
    assert_eq!(list(|it| it.market = "AT".into()).await, (vec![], 1));
    world.harness.stop().await;
}

#[tokio::test]
async fn contact_points_and_preferences_follow_their_commands() {
    let world = World::start().await;
    let party_id = world.party_of(PartyKind::Hcp).await;
    let name = || party_name(&party_id);
    let add = proto::AddContactPointRequest {
        name: name(),
        contact_point: Some(email("Ada@Example.ORG")),
        request_id: "request-1".into(),
    };
    let added = world.parties().add_contact_point(add.clone()).await.expect("added").into_inner();
    let point = added.party.clone().expect("a party").contact_points.remove(0);
    assert_eq!(
        (point.value.as_str(), point.verification()),
        ("Ada@example.org", proto::Verification::Unverified)
    );
    assert_eq!(world.parties().add_contact_point(add).await.expect("repeated").into_inner(), added);

    let contact_point_id = point.contact_point_id;
    let verify = proto::VerifyContactPointRequest {
        name: name(),
        contact_point_id: contact_point_id.clone(),
        verified_by: "double-opt-in".into(),
        ..Default::default()
    };
    let party =
        world.parties().verify_contact_point(verify).await.expect("verified").into_inner().party;
    assert_eq!(
        party.expect("a party").contact_points[0].verification(),
        proto::Verification::Verified
    );

    let state = |frequency: proto::Frequency| proto::StatePreferenceRequest {
        name: name(),
        preference: Some(proto::Preference {
            channel: Channel::Email.into(),
            topic: "congress".into(),
            frequency: frequency.into(),
        }),
        ..Default::default()
    };
    world.parties().state_preference(state(proto::Frequency::Less)).await.expect("stated");
    let party =
        world.parties().state_preference(state(proto::Frequency::Never)).await.expect("stated");
    let preferences = party.into_inner().party.expect("a party").preferences;
    assert_eq!((preferences.len(), preferences[0].frequency()), (1, proto::Frequency::Never));

    let remove = proto::RemoveContactPointRequest {
        name: name(),
        contact_point_id,
        reason: "bounced".into(),
        ..Default::default()
    };
    world.parties().remove_contact_point(remove.clone()).await.expect("removed");
    assert!(world.get(&party_id).await.contact_points.is_empty());
    let gone = world.parties().remove_contact_point(remove).await.expect_err("gone");
    assert_eq!(
        (told(&gone).1.as_str(), fields(&gone)),
        ("NOT_FOUND", vec!["contact_point_id".to_owned()])
    );
    world.harness.stop().await;
}

#[tokio::test]
async fn a_timeline_tells_what_happened_by_whom_and_why() {
    let world = World::start().await;
    let party_id = world.register(professional()).await;
    world.consents().record_consent(grant(&party_id)).await.expect("recorded");
    let suppress = proto::SuppressPartyRequest {
        name: party_name(&party_id),
        reason: "complaint".into(),
        ..Default::default()
    };
    world.parties().suppress_party(suppress).await.expect("suppressed");
    let mut request = proto::ListTimelineEntriesRequest {
        parent: party_name(&party_id),
        page_size: 4,
        ..Default::default()
    };
    let mut entries = Vec::new();
    loop {
        let page = world
            .parties()
            .list_timeline_entries(request.clone())
            .await
            .expect("a page")
            .into_inner();
        entries.extend(page.timeline_entries);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    let summaries: Vec<_> = entries.iter().map(|it| it.summary.as_str()).collect();
    let expected = [
        "Party registered",
        "Party attributes set",
        "Party identifier added",
        "Party contact point added",
        "Consent granted",
        "Party suppressed",
    ];
    assert_eq!(summaries, expected);
    assert!(entries.iter().map(|it| it.position).is_sorted());
    let last = entries.last().expect("an entry");
    assert_eq!((last.reason.as_str(), last.actor.as_str()), ("complaint", "admin"));
    assert!(!format!("{entries:?}").contains(EMAIL));
    world.harness.stop().await;
}

#[tokio::test]
async fn an_erased_party_shows_nothing_and_accepts_nothing() {
    let world = World::start().await;
    let party_id = world.register(professional()).await;
    world.erase(&party_id).await;
    let party = world.get(&party_id).await;
    assert_eq!(party.state(), proto::party::State::Erased);
    assert_eq!(
        (party.identifiers[0].value.as_str(), party.contact_points[0].value.as_str()),
        ("", "")
    );
    let refused = world.parties().set_attributes(set(&party_id, true)).await.expect_err("erased");
    assert_eq!(told(&refused), (Code::FailedPrecondition, "PARTY_ERASED".into()));
    let refused = world.consents().record_consent(grant(&party_id)).await.expect_err("erased");
    assert_eq!(told(&refused), (Code::FailedPrecondition, "PARTY_ERASED".into()));
    world.harness.stop().await;
}

#[tokio::test]
async fn an_identifier_is_taken_before_it_holds() {
    let world = World::start().await;
    let day = std::time::Duration::from_secs(86_400);
    let (start, end) = (chassis::testing::START.plus(day), chassis::testing::START.plus(day * 2));
    let valid = rapport_proto::types::Validity { from: time(start), until: time(end) };
    let party_id = world
        .register(proto::RegisterPartyRequest {
            identifiers: vec![proto::Identifier { valid: Some(valid), ..identifier("npi", NPI) }],
            ..registration(PartyKind::Hcp)
        })
        .await;
    let other = || proto::RegisterPartyRequest {
        identifiers: vec![identifier("npi", NPI)],
        ..registration(PartyKind::Hcp)
    };
    let look_up = async || {
        let lookup = proto::LookupPartyRequest {
            parent: parent(),
            system: "npi".into(),
            value: NPI.into(),
            ..Default::default()
        };
        let found = world.parties().lookup_party(lookup).await?.into_inner();
        Ok::<_, Status>(found.party.expect("a party").party_id)
    };
    for time in [chassis::testing::START, start] {
        world.harness.clock.set(time);
        let refused = world.parties().register_party(other()).await.expect_err("taken");
        assert_eq!(told(&refused), (Code::AlreadyExists, "IDENTIFIER_TAKEN".into()));
        // The field is named by the check before the unit only, never by the view.
        assert_eq!(fields(&refused), ["identifiers[0].value"]);
        match time == start {
            true => assert_eq!(look_up().await.expect("found"), party_id),
            false => assert_eq!(look_up().await.expect_err("not yet").code(), Code::NotFound),
        }
    }
    world.harness.clock.set(end);
    assert_eq!(look_up().await.expect_err("no longer").code(), Code::NotFound);
    let second = world.register(other()).await;
    assert_eq!(look_up().await.expect("found"), second);
    world.harness.stop().await;
}
