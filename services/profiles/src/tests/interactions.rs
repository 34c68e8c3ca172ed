use std::time::Duration;

use prost_types::{Struct, Value, value::Kind};
use proto::new_interaction::Party;
use proto::record_interactions_response::verdict::Outcome;
use tokio::task::JoinSet;

use super::*;

fn text(text: &str) -> Value {
    Value { kind: Some(Kind::StringValue(text.into())) }
}

fn order(message_id: &str, party: Option<Party>) -> proto::NewInteraction {
    let properties =
        [("sku".to_owned(), text("NW-7")), ("note".to_owned(), text("allergic to penicillin"))];
    proto::NewInteraction {
        message_id: message_id.into(),
        name: "Order Completed".into(),
        occurred_time: time(chassis::testing::START),
        party,
        properties: Some(Struct { fields: properties.into() }),
        ..proto::NewInteraction::default()
    }
}

fn by_npi() -> Option<Party> {
    Some(Party::Identifier(proto::IdentifierRef { system: "npi".into(), value: NPI.into() }))
}

fn request(interactions: Vec<proto::NewInteraction>) -> proto::RecordInteractionsRequest {
    proto::RecordInteractionsRequest {
        parent: format!("tenants/{ACME}/sources/web"),
        interactions,
        ..Default::default()
    }
}

async fn outcomes(
    world: &World,
    request: proto::RecordInteractionsRequest,
) -> Vec<(Outcome, String)> {
    let reply = world.sources().record_interactions(request).await.expect("verdicts").into_inner();
    reply.verdicts.into_iter().map(|it| (it.outcome(), it.code)).collect()
}

async fn world_with_source() -> (World, String) {
    let world = World::start().await;
    let party_id = world.register(professional()).await;
    world.source("web").await;
    (world, party_id)
}

async fn listed(world: &World, connection: Connection, party_id: &str) -> Vec<proto::Interaction> {
    let _ = world;
    let list =
        proto::ListInteractionsRequest { parent: party_name(party_id), ..Default::default() };
    SourceServiceClient::new(connection)
        .list_interactions(list)
        .await
        .expect("listed")
        .into_inner()
        .interactions
}

#[tokio::test]
async fn a_message_counts_once_whoever_repeats_it() {
    let (world, party_id) = world_with_source().await;
    let message = || order("m-1", by_npi());
    let recorded = (Outcome::Recorded, String::new());
    let duplicate = (Outcome::Duplicate, String::new());
    let both = outcomes(&world, request(vec![message(), message()])).await;
    assert_eq!(both, [recorded.clone(), duplicate.clone()]);
    let head = world.head();
    assert_eq!(outcomes(&world, request(vec![message()])).await, [duplicate]);
    assert_eq!(world.head(), head);
    assert_eq!(listed(&world, world.harness.admin(), &party_id).await.len(), 1);
    world.harness.stop().await;
}

#[tokio::test]
async fn a_duplicate_says_when_requests_of_the_first_may_be_forgotten() {
    let (world, _) = world_with_source().await;
    let message = || order("m-1", by_npi());
    outcomes(&world, request(vec![message()])).await;
    world.harness.clock.advance(Duration::from_secs(48 * 3_600));
    let again = outcomes(&world, request(vec![message(), order("m-2", by_npi())])).await;
    assert_eq!(again, [(Outcome::Duplicate, String::new()), (Outcome::Recorded, String::new())]);
    world.harness.clock.advance(Duration::from_secs(1));
    let late = (Outcome::Duplicate, "late".to_owned());
    let again = request(vec![message(), order("m-2", by_npi())]);
    assert_eq!(outcomes(&world, again).await, [late, (Outcome::Duplicate, String::new())]);
    let other = proto::NewInteraction { name: "Order Closed".into(), ..message() };
    let conflict = (Outcome::Conflicted, String::new());
    assert_eq!(outcomes(&world, request(vec![other])).await, [conflict]);
    world.harness.stop().await;
}

#[tokio::test]
async fn many_at_once_record_each_message_once() {
    let (world, party_id) = world_with_source().await;
    let batch = || (0..16).map(|n| order(&format!("m-{n}"), by_npi())).collect::<Vec<_>>();
    let mut sends = JoinSet::new();
    for _ in 0..6 {
        let (mut sources, request) = (world.sources(), request(batch()));
        sends.spawn(async move { sources.record_interactions(request).await });
    }
    let mut recorded = 0;
    for reply in sends.join_all().await {
        recorded += reply
            .expect("verdicts")
            .into_inner()
            .verdicts
            .iter()
            .filter(|it| it.outcome() == Outcome::Recorded)
            .count();
    }
    assert_eq!(recorded, 16);
    assert_eq!(listed(&world, world.harness.admin(), &party_id).await.len(), 16);
    world.harness.stop().await;
}

#[tokio::test]
async fn the_same_request_gets_the_same_verdicts() {
    let (world, _) = world_with_source().await;
    outcomes(&world, request(vec![order("m-1", by_npi())])).await;
    let again = proto::RecordInteractionsRequest {
        request_id: "request-1".into(),
        ..request(vec![
            order("m-1", by_npi()),
            order("m-2", by_npi()),
            order("m-2", None),
            proto::NewInteraction { occurred_time: None, ..order("m-3", None) },
        ])
    };
    let first =
        world.sources().record_interactions(again.clone()).await.expect("verdicts").into_inner();
    let found: Vec<_> =
        first.verdicts.iter().map(proto::record_interactions_response::Verdict::outcome).collect();
    assert_eq!(
        found,
        [Outcome::Duplicate, Outcome::Recorded, Outcome::Conflicted, Outcome::Rejected]
    );
    let head = world.head();
    let second =
        world.sources().record_interactions(again.clone()).await.expect("verdicts").into_inner();
    assert_eq!((second, world.head()), (first, head));
    let other =
        proto::RecordInteractionsRequest { interactions: vec![order("m-9", None)], ..again };
    let refused = world.sources().record_interactions(other).await.expect_err("another body");
    assert_eq!(told(&refused), (Code::AlreadyExists, "REQUEST_ID_REUSED".into()));
    world.harness.stop().await;
}

#[tokio::test]
async fn another_body_under_the_same_id_is_kept_as_a_conflict() {
    let (world, party_id) = world_with_source().await;
    outcomes(&world, request(vec![order("m-1", by_npi())])).await;
    let other =
        || proto::NewInteraction { name: "Order Cancelled".into(), ..order("m-1", by_npi()) };
    let head = world.head();
    assert_eq!(
        outcomes(&world, request(vec![other()])).await,
        [(Outcome::Conflicted, String::new())]
    );
    assert_eq!(world.head(), head + 1);
    assert_eq!(
        outcomes(&world, request(vec![other()])).await,
        [(Outcome::Conflicted, String::new())]
    );
    assert_eq!(world.head(), head + 1, "the same conflict is kept once");
    let kept = listed(&world, world.harness.admin(), &party_id).await;
    assert_eq!((kept.len(), kept[0].name.as_str()), (1, "Order Completed"));
    world.harness.stop().await;
}

#[tokio::test]
async fn what_cannot_be_recorded_is_rejected_with_a_code_and_kept_sealed() {
    let (world, _) = world_with_source().await;
    let bad_property =
        Struct { fields: [("sku".to_owned(), Value { kind: Some(Kind::BoolValue(true)) })].into() };
    let huge = Struct { fields: [("note".to_owned(), text(&"x".repeat(70_000)))].into() };
    let nobody = Some(Party::PartyId("pty_nobody".into()));
    let bad_npi =
        Some(Party::Identifier(proto::IdentifierRef { system: "npi".into(), value: "1".into() }));
    let cases = [
        (proto::NewInteraction { properties: Some(bad_property), ..order("m-1", None) }, "schema"),
        (proto::NewInteraction { properties: Some(huge), ..order("m-2", None) }, "too_large"),
        (proto::NewInteraction { occurred_time: None, ..order("m-3", None) }, "bad_time"),
        (proto::NewInteraction { name: "a\u{202e}b".into(), ..order("m-4", None) }, "unknown_type"),
        (order("m-5", nobody), "unknown_party"),
        (order("m-6", bad_npi), "unknown_party"),
        (order("m\n7", None), "schema"),
        (order("", None), "schema"),
        (order(&"m".repeat(129), None), "schema"),
    ];
    let count = cases.len();
    let head = world.head();
    let sent = || request(cases.iter().map(|it| it.0.clone()).collect());
    let found = outcomes(&world, sent()).await;
    let expected: Vec<_> = cases.iter().map(|it| (Outcome::Rejected, it.1.to_owned())).collect();
    assert_eq!(found, expected);
    assert_eq!(world.head(), head + count as u64);
    outcomes(&world, sent()).await;
    assert_eq!(world.head(), head + count as u64, "a repeated rejection is kept once");
    let store = &world.harness.deps("profiles").store;
    for event in store.read(head, 100).await.expect("read") {
        assert!(!String::from_utf8_lossy(&event.envelope).contains("penicillin"));
    }
    // Mended, it is recorded under the same id.
    assert_eq!(outcomes(&world, request(vec![order("m-1", None)])).await[0].0, Outcome::Recorded);
    world.harness.stop().await;
}

#[tokio::test]
async fn undeclared_properties_are_sealed_and_shown_only_to_those_who_may() {
    let (world, party_id) = world_with_source().await;
    outcomes(&world, request(vec![order("m-1", by_npi())])).await;
    let all = listed(&world, world.harness.admin(), &party_id).await;
    assert_eq!(all[0].properties.keys().collect::<Vec<_>>(), ["sku"]);
    let personal = all[0].personal_properties.as_ref().expect("unsealed");
    assert_eq!(personal.fields["note"], text("allergic to penicillin"));
    let reader = world.harness.person(ACME, "reader", &["profiles.interactions.read"]);
    let clear = listed(&world, reader, &party_id).await;
    assert_eq!((clear[0].personal_properties.as_ref(), clear[0].properties.len()), (None, 1));
    world.harness.stop().await;
}

#[tokio::test]
async fn interactions_are_listed_in_the_order_in_which_they_happened() {
    let (world, party_id) = world_with_source().await;
    let at = |message_id: &str, seconds: u64| proto::NewInteraction {
        occurred_time: time(chassis::testing::START.plus(Duration::from_secs(seconds))),
        ..order(message_id, by_npi())
    };
    outcomes(&world, request(vec![at("m-3", 30), at("m-1", 10), at("m-2", 10)])).await;
    // Ten years ahead: clamped to now, which is before the others.
    outcomes(&world, request(vec![at("m-0", 315_360_000)])).await;
    let mut list = proto::ListInteractionsRequest {
        parent: party_name(&party_id),
        page_size: 3,
        interaction_name: "Order Completed".into(),
        ..Default::default()
    };
    let first = world.sources().list_interactions(list.clone()).await.expect("a page").into_inner();
    list.page_token = first.next_page_token;
    let second =
        world.sources().list_interactions(list.clone()).await.expect("a page").into_inner();
    let ids: Vec<_> = first
        .interactions
        .iter()
        .chain(&second.interactions)
        .map(|it| it.message_id.as_str())
        .collect();
    assert_eq!(ids, ["m-0", "m-1", "m-2", "m-3"]);
    let other = proto::ListInteractionsRequest {
        interaction_name: "Page Viewed".into(),
        page_token: String::new(),
        ..list
    };
    assert!(
        world
            .sources()
            .list_interactions(other)
            .await
            .expect("a page")
            .into_inner()
            .interactions
            .is_empty()
    );
    world.harness.stop().await;
}

#[tokio::test]
async fn only_an_active_source_records() {
    let (world, _) = world_with_source().await;
    let unknown = proto::RecordInteractionsRequest {
        parent: format!("tenants/{ACME}/sources/unknown"),
        ..request(vec![order("m-1", None)])
    };
    let refused = world.sources().record_interactions(unknown).await.expect_err("unknown");
    assert_eq!((refused.code(), fields(&refused)), (Code::NotFound, vec!["parent".to_owned()]));
    let disable = proto::DisableSourceRequest {
        name: format!("tenants/{ACME}/sources/web"),
        reason: "retired".into(),
        ..Default::default()
    };
    world.sources().disable_source(disable).await.expect("disabled");
    let refused = world
        .sources()
        .record_interactions(request(vec![order("m-1", None)]))
        .await
        .expect_err("disabled");
    assert_eq!(told(&refused), (Code::FailedPrecondition, "SOURCE_DISABLED".into()));
    for count in [0, 257] {
        let refused =
            world.sources().record_interactions(request(vec![order("m", None); count])).await;
        assert_eq!(fields(&refused.expect_err("too few or too many")), ["interactions"]);
    }
    world.harness.stop().await;
}

#[tokio::test]
async fn a_source_is_registered_extended_and_listed() {
    let world = World::start().await;
    world.source("web").await;
    world.source("app").await;
    let extend = proto::ExtendSourceSchemaRequest {
        name: format!("tenants/{ACME}/sources/web"),
        clear_fields: vec![proto::ClearField { name: "vip".into(), kind: ClearKind::Flag.into() }],
        ..Default::default()
    };
    let extended =
        world.sources().extend_source_schema(extend).await.expect("extended").into_inner();
    let get = proto::GetSourceRequest { name: format!("tenants/{ACME}/sources/web") };
    let got = world.sources().get_source(get).await.expect("found").into_inner();
    assert_eq!(
        (got.source.as_ref(), got.source.as_ref().map(|it| it.clear_fields.len())),
        (extended.source.as_ref(), Some(3))
    );
    let list = proto::ListSourcesRequest { parent: parent(), ..Default::default() };
    let listed = world.sources().list_sources(list).await.expect("listed").into_inner().sources;
    assert_eq!(listed.iter().map(|it| it.source_id.as_str()).collect::<Vec<_>>(), ["app", "web"]);
    let other = proto::RegisterSourceRequest {
        owner: "somebody else".into(),
        ..source_registration("web")
    };
    let refused = world.sources().register_source(other).await.expect_err("exists");
    assert_eq!(told(&refused), (Code::AlreadyExists, "SOURCE_EXISTS".into()));
    world.harness.stop().await;
}

#[tokio::test]
async fn messages_of_an_erased_party_are_refused_and_those_of_others_recorded() {
    let (world, party_id) = world_with_source().await;
    world.erase(&party_id).await;
    let erased = order("m-1", Some(Party::PartyId(party_id)));
    let found = outcomes(&world, request(vec![erased, order("m-2", None)])).await;
    let expected =
        [(Outcome::Rejected, "unknown_party".to_owned()), (Outcome::Recorded, String::new())];
    assert_eq!(found, expected);
    world.harness.stop().await;
}

fn vip(message_id: &str, party: Option<Party>) -> proto::NewInteraction {
    let mut stated = order(message_id, party);
    stated.properties.as_mut().expect("properties").fields.insert("vip".into(), text("yes"));
    stated
}

#[tokio::test]
async fn the_same_request_gets_the_same_verdicts_whatever_changed_since() {
    let (world, party_id) = world_with_source().await;
    let later = || {
        let reference = proto::IdentifierRef { system: "crm".into(), value: "K-9".into() };
        order("m-1", Some(Party::Identifier(reference)))
    };
    let sent = |request_id: &str| proto::RecordInteractionsRequest {
        request_id: request_id.into(),
        ..request(vec![later(), order("m-2", by_npi()), vip("m-3", None), order("m-2", by_npi())])
    };
    let ask = async |request_id| {
        let reply = world.sources().record_interactions(sent(request_id)).await;
        reply.expect("verdicts").into_inner()
    };
    let (first, nothing_new) = (ask("request-1").await, ask("request-2").await);
    let told = |reply: &proto::RecordInteractionsResponse| -> Vec<_> {
        reply.verdicts.iter().map(|it| (it.outcome(), it.code.clone())).collect()
    };
    let (rejected, duplicate) =
        ((Outcome::Rejected, "unknown_party".to_owned()), (Outcome::Duplicate, String::new()));
    let recorded = (Outcome::Recorded, String::new());
    assert_eq!(
        told(&first),
        [rejected.clone(), recorded.clone(), recorded.clone(), duplicate.clone()]
    );
    assert_eq!(told(&nothing_new), [rejected, duplicate.clone(), duplicate.clone(), duplicate]);

    let remove = proto::RemoveIdentifierRequest {
        name: party_name(&party_id),
        number: 1,
        reason: "moved".into(),
        ..Default::default()
    };
    world.parties().remove_identifier(remove).await.expect("removed");
    let newcomer = proto::RegisterPartyRequest {
        identifiers: vec![identifier("npi", NPI), identifier("crm", "K-9")],
        ..registration(PartyKind::Hcp)
    };
    world.register(newcomer).await;
    let extend = proto::ExtendSourceSchemaRequest {
        name: format!("tenants/{ACME}/sources/web"),
        clear_fields: vec![proto::ClearField { name: "vip".into(), kind: ClearKind::Flag.into() }],
        ..Default::default()
    };
    world.sources().extend_source_schema(extend).await.expect("extended");
    assert_eq!(ask("request-1").await, first);
    assert_eq!(outcomes(&world, request(vec![later()])).await, [recorded]);
    assert_eq!((ask("request-1").await, ask("request-2").await), (first, nothing_new));
    world.harness.stop().await;
}

#[tokio::test]
async fn a_request_of_many_large_messages_gets_the_same_verdicts() {
    let (world, _) = world_with_source().await;
    // The last message alone is known with another body, so its verdict follows from the end of the unit.
    outcomes(&world, request(vec![order("m-255", None)])).await;
    let large = |n: usize| {
        let properties = Struct { fields: [("note".to_owned(), text(&"x".repeat(16_000)))].into() };
        proto::NewInteraction {
            properties: Some(properties),
            party: Some(Party::PartyId("pty_nobody".into())),
            ..order(&format!("m-{n}"), None)
        }
    };
    let sent = proto::RecordInteractionsRequest {
        request_id: "request-1".into(),
        ..request((0..256).map(large).collect())
    };
    let head = world.head();
    let first = outcomes(&world, sent.clone()).await;
    assert_eq!(first, vec![(Outcome::Rejected, "unknown_party".to_owned()); 256]);
    let store = &world.harness.deps("profiles").store;
    assert!(store.read(head, 256).await.expect("read").len() < 256, "more than a page");
    assert_eq!(outcomes(&world, sent).await, first);
    world.harness.stop().await;
}

#[tokio::test]
async fn messages_of_many_erased_parties_are_refused_at_once() {
    let (world, _) = world_with_source().await;
    let mut messages = vec![order("m", None)];
    for n in 0..12 {
        let party_id = world
            .register(proto::RegisterPartyRequest {
                contact_points: vec![email(EMAIL)],
                ..registration(PartyKind::Hcp)
            })
            .await;
        world.erase(&party_id).await;
        messages.push(order(&format!("m-{n}"), Some(Party::PartyId(party_id))));
    }
    let found = outcomes(&world, request(messages)).await;
    let refused = (Outcome::Rejected, "unknown_party".to_owned());
    assert_eq!(found[0], (Outcome::Recorded, String::new()));
    assert_eq!(found[1..], vec![refused; 12]);
    world.harness.stop().await;
}

#[tokio::test]
async fn equal_bodies_have_different_digests_in_every_message_source_and_tenant() {
    let (world, _) = world_with_source().await;
    world.source("app").await;
    let umbrella = || SourceServiceClient::new(world.harness.person(UMBRELLA, "admin", &["*"]));
    let parent = format!("tenants/{UMBRELLA}");
    let registration =
        proto::RegisterSourceRequest { parent: parent.clone(), ..source_registration("web") };
    umbrella().register_source(registration).await.expect("registered");
    let to = |parent: String| proto::RecordInteractionsRequest {
        parent,
        ..request(vec![order("m-1", None)])
    };
    outcomes(&world, to(format!("tenants/{ACME}/sources/web"))).await;
    outcomes(&world, to(format!("tenants/{ACME}/sources/app"))).await;
    let elsewhere = umbrella().record_interactions(to(format!("{parent}/sources/web"))).await;
    assert_eq!(elsewhere.expect("verdicts").into_inner().verdicts[0].outcome(), Outcome::Recorded);
    let store = &world.harness.deps("profiles").store;
    let rows = store.query("SELECT body_digest FROM interaction", vec![]).await.expect("read");
    let digests: Vec<_> = rows.iter().map(|row| row.blob(0).expect("bytes")).collect();
    assert_eq!(digests.len(), 3);
    for (n, digest) in digests.iter().enumerate() {
        assert!(!digests[..n].contains(digest));
    }
    world.harness.stop().await;
}

#[tokio::test]
async fn a_write_key_opens_the_active_source_of_its_tenant_that_stated_it() {
    let world = World::start().await;
    for (id, write_key) in
        [("web", "k".repeat(32)), ("app", "l".repeat(32)), ("old", "m".repeat(32))]
    {
        let request = proto::RegisterSourceRequest { write_key, ..source_registration(id) };
        world.sources().register_source(request).await.expect("registered");
    }
    world.source("keyless").await;
    let disable = proto::DisableSourceRequest {
        name: format!("tenants/{ACME}/sources/old"),
        reason: "replaced".into(),
        ..Default::default()
    };
    world.sources().disable_source(disable).await.expect("disabled");
    let ask = async |connection: Connection, tenant: &str, write_key: &str| {
        let mut client = SourceServiceClient::new(connection);
        let parent = format!("tenants/{tenant}");
        let request = proto::AuthenticateSourceRequest { parent, write_key: write_key.into() };
        let reply = client.authenticate_source(request).await;
        reply.map(|it| it.into_inner().source.expect("a source").source_id)
    };
    let opens = async |tenant: &str, write_key: &str| {
        ask(world.harness.target("gateway", "profiles", tenant), tenant, write_key).await
    };
    assert_eq!(opens(ACME, &"l".repeat(32)).await.expect("opened"), "app");
    for (tenant, key) in [(ACME, "m"), (ACME, "n"), (UMBRELLA, "l")] {
        let refused = opens(tenant, &key.repeat(32)).await.expect_err("it opens none");
        assert_eq!(refused.code(), Code::NotFound, "{tenant} {key}");
    }
    assert_eq!(opens(ACME, "").await.expect_err("no key").code(), Code::NotFound);
    // Whatever a person may do, keys are not there to be tried.
    for key in ["l", "n"] {
        let person = world.harness.person(ACME, "eve", &["*"]);
        let refused = ask(person, ACME, &key.repeat(32)).await.expect_err("a person");
        assert_eq!(told(&refused), (Code::PermissionDenied, "PERMISSION_MISSING".into()));
    }
    world.harness.stop().await;
}

#[tokio::test]
async fn a_message_of_somebody_who_may_be_known_is_recorded_either_way() {
    let (world, party_id) = world_with_source().await;
    let visitor = proto::IdentifierRef { system: "anonymous-id".into(), value: "v-1".into() };
    let perhaps = |message_id: &str, party: Option<Party>| proto::NewInteraction {
        party_optional: true,
        ..order(message_id, party)
    };
    let unknown = || Some(Party::Identifier(visitor.clone()));
    let both = outcomes(&world, request(vec![perhaps("m-1", unknown()), perhaps("m-2", by_npi())]));
    assert_eq!(
        both.await,
        [(Outcome::Recorded, String::new()), (Outcome::Recorded, String::new())]
    );
    let of_party = listed(&world, world.harness.admin(), &party_id).await;
    assert_eq!(of_party.iter().map(|it| &*it.message_id).collect::<Vec<_>>(), ["m-2"]);
    let surely = outcomes(&world, request(vec![order("m-3", unknown())])).await;
    assert_eq!(surely, [(Outcome::Rejected, "unknown_party".to_owned())]);
    world.harness.stop().await;
}

#[tokio::test]
async fn what_the_sender_s_digest_says_is_a_repeat_is_one_however_it_is_shaped() {
    let (world, _) = world_with_source().await;
    let shaped = |message_id: &str, digest: &[u8], name: &str| proto::NewInteraction {
        sender_digest: digest.to_vec(),
        name: name.into(),
        ..order(message_id, by_npi())
    };
    let told = |it| (it, String::new());
    let first = request(vec![shaped("m-1", b"one", "Order Completed"), shaped("m-2", b"bad", "")]);
    let rejected = (Outcome::Rejected, "unknown_type".to_owned());
    assert_eq!(outcomes(&world, first).await, [told(Outcome::Recorded), rejected.clone()]);
    let head = world.head();
    let mut later = shaped("m-2", b"bad", "");
    later.occurred_time = None;
    let again = request(vec![shaped("m-1", b"one", "Order Closed"), later]);
    assert_eq!(outcomes(&world, again).await, [told(Outcome::Duplicate), rejected]);
    assert_eq!(world.head(), head, "what was refused is kept once");
    let other = request(vec![shaped("m-1", b"two", "Order Completed")]);
    assert_eq!(outcomes(&world, other).await, [told(Outcome::Conflicted)]);
    let unusable = proto::NewInteraction {
        unusable: "bad_time".into(),
        ..shaped("m-4", b"four", "Order Completed")
    };
    let refused = (Outcome::Rejected, "bad_time".to_owned());
    assert_eq!(outcomes(&world, request(vec![unusable])).await, [refused]);
    let long = request(vec![shaped("m-3", &[1; 65], "Order Completed")]);
    assert_eq!(outcomes(&world, long).await, [(Outcome::Rejected, "schema".to_owned())]);
    world.harness.stop().await;
}
