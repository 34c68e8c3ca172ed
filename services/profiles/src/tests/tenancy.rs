//! Nothing of one tenant is ever seen or touched with the token of another.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use prost::Message as _;
use rapport_proto::ACCESS;
use rapport_proto::types::{Clear, clear};
use tonic::Request;

use super::*;

/// The names a caller uses: a tenant, and ids of things that exist in `acme`.
#[derive(Clone, Debug)]
pub(super) struct Names {
    tenant: String,
    doctor: String,
    clinic: String,
    relation: String,
    source: String,
}

/// What an RPC answered, as bytes.
pub(super) type Answer = Result<Vec<u8>, Status>;

/// Calls every RPC of the service once, in an order in which each can succeed.
pub(super) async fn call_every_rpc(
    connection: &Connection,
    names: &Names,
) -> Vec<(String, Answer)> {
    let mut parties = PartyServiceClient::new(connection.clone());
    let mut consents = ConsentServiceClient::new(connection.clone());
    let mut sources = SourceServiceClient::new(connection.clone());
    let mut facts = FactsServiceClient::new(connection.clone());
    let mut answers: Vec<(String, Answer)> = Vec::new();

    let parent = format!("tenants/{}", names.tenant);
    let name = format!("{parent}/parties/{}", names.doctor);
    let source = format!("{parent}/sources/{}", names.source);
    let reason = || "test".to_owned();
    let key = || Some(consent_key(&names.doctor));

    macro_rules! call {
        ($client:ident, $service:literal, $rpc:literal, $method:ident, $request:expr) => {{
            let reply = $client.$method(Request::new($request)).await;
            let path = concat!("/rapport.profiles.v1.", $service, "/", $rpc).to_owned();
            answers.push((
                path,
                reply.as_ref().map(|it| it.get_ref().encode_to_vec()).map_err(Clone::clone),
            ));
            reply.map(tonic::Response::into_inner).unwrap_or_default()
        }};
    }
    let registration =
        proto::RegisterPartyRequest { parent: parent.clone(), ..registration(PartyKind::Patient) };
    call!(parties, "PartyService", "RegisterParty", register_party, registration);
    call!(
        parties,
        "PartyService",
        "GetParty",
        get_party,
        proto::GetPartyRequest { name: name.clone(), ..Default::default() }
    );
    call!(
        parties,
        "PartyService",
        "LookupParty",
        lookup_party,
        proto::LookupPartyRequest {
            parent: parent.clone(),
            system: "npi".into(),
            value: NPI.into(),
            ..Default::default()
        }
    );
    call!(
        parties,
        "PartyService",
        "ListParties",
        list_parties,
        proto::ListPartiesRequest { parent: parent.clone(), ..Default::default() }
    );
    call!(
        parties,
        "PartyService",
        "SetAttributes",
        set_attributes,
        proto::SetAttributesRequest {
            name: name.clone(),
            attributes: [("vip".to_owned(), Clear { value: Some(clear::Value::Flag(true)) })]
                .into(),
            ..Default::default()
        }
    );
    let added = call!(
        parties,
        "PartyService",
        "AddIdentifier",
        add_identifier,
        proto::AddIdentifierRequest {
            name: name.clone(),
            identifier: Some(identifier("crm", "K-7")),
            ..Default::default()
        }
    );
    let number = added.party.and_then(|it| it.identifiers.last().map(|it| it.number)).unwrap_or(2);
    call!(
        parties,
        "PartyService",
        "RemoveIdentifier",
        remove_identifier,
        proto::RemoveIdentifierRequest {
            name: name.clone(),
            number,
            reason: reason(),
            ..Default::default()
        }
    );
    let added = call!(
        parties,
        "PartyService",
        "AddContactPoint",
        add_contact_point,
        proto::AddContactPointRequest {
            name: name.clone(),
            contact_point: Some(email("other@example.org")),
            ..Default::default()
        }
    );
    let other = added
        .party
        .and_then(|it| it.contact_points.into_iter().find(|it| it.value.starts_with("other")));
    let contact_point_id = other.map_or_else(|| "cpt_1".to_owned(), |it| it.contact_point_id);
    call!(
        parties,
        "PartyService",
        "VerifyContactPoint",
        verify_contact_point,
        proto::VerifyContactPointRequest {
            name: name.clone(),
            contact_point_id: contact_point_id.clone(),
            verified_by: "call".into(),
            ..Default::default()
        }
    );
    call!(
        parties,
        "PartyService",
        "RemoveContactPoint",
        remove_contact_point,
        proto::RemoveContactPointRequest {
            name: name.clone(),
            contact_point_id,
            reason: reason(),
            ..Default::default()
        }
    );
    call!(
        parties,
        "PartyService",
        "MoveParty",
        move_party,
        proto::MovePartyRequest { name: name.clone(), market: "AT".into(), ..Default::default() }
    );
    call!(
        parties,
        "PartyService",
        "SuppressParty",
        suppress_party,
        proto::SuppressPartyRequest { name: name.clone(), reason: reason(), ..Default::default() }
    );
    call!(
        parties,
        "PartyService",
        "ReleaseParty",
        release_party,
        proto::ReleasePartyRequest { name: name.clone(), reason: reason(), ..Default::default() }
    );
    call!(
        parties,
        "PartyService",
        "StatePreference",
        state_preference,
        proto::StatePreferenceRequest {
            name: name.clone(),
            preference: Some(proto::Preference {
                frequency: proto::Frequency::Less.into(),
                ..Default::default()
            }),
            ..Default::default()
        }
    );
    call!(
        parties,
        "PartyService",
        "RecordRelation",
        record_relation,
        proto::RecordRelationRequest {
            parent: parent.clone(),
            relation: Some(proto::Relation {
                kind: proto::RelationKind::Affiliated.into(),
                from_party_id: names.doctor.clone(),
                to_party_id: names.clinic.clone(),
                ..Default::default()
            }),
            ..Default::default()
        }
    );
    call!(
        parties,
        "PartyService",
        "EndRelation",
        end_relation,
        proto::EndRelationRequest {
            name: format!("{parent}/relations/{}", names.relation),
            reason: reason(),
            ..Default::default()
        }
    );
    call!(
        parties,
        "PartyService",
        "ListRelations",
        list_relations,
        proto::ListRelationsRequest { parent: name.clone(), ..Default::default() }
    );
    call!(
        parties,
        "PartyService",
        "ListTimelineEntries",
        list_timeline_entries,
        proto::ListTimelineEntriesRequest { parent: name.clone(), ..Default::default() }
    );

    call!(
        consents,
        "ConsentService",
        "RecordConsent",
        record_consent,
        proto::RecordConsentRequest { parent: parent.clone(), ..grant(&names.doctor) }
    );
    call!(
        consents,
        "ConsentService",
        "WithdrawConsent",
        withdraw_consent,
        proto::WithdrawConsentRequest {
            parent: parent.clone(),
            key: key(),
            reason: reason(),
            source: "web".into(),
            ..Default::default()
        }
    );
    call!(
        consents,
        "ConsentService",
        "CheckConsent",
        check_consent,
        proto::CheckConsentRequest { parent: parent.clone(), key: key(), ..Default::default() }
    );
    call!(
        consents,
        "ConsentService",
        "ListConsents",
        list_consents,
        proto::ListConsentsRequest { parent: name.clone(), ..Default::default() }
    );

    call!(
        facts,
        "FactsService",
        "GetFacts",
        get_facts,
        proto::GetFactsRequest { name: name.clone(), ..Default::default() }
    );
    call!(
        facts,
        "FactsService",
        "ResolveRecipient",
        resolve_recipient,
        proto::ResolveRecipientRequest {
            name: name.clone(),
            channel: Channel::Email.into(),
            purpose: Purpose::Promotional.into(),
            sender_id: "northwind".into(),
            ..Default::default()
        }
    );
    call!(
        facts,
        "FactsService",
        "CheckNames",
        check_names,
        proto::CheckNamesRequest { parent: parent.clone(), ..Default::default() }
    );

    call!(
        sources,
        "SourceService",
        "RegisterSource",
        register_source,
        proto::RegisterSourceRequest {
            parent: parent.clone(),
            write_key: WRITE_KEY.into(),
            ..source_registration("app")
        }
    );
    call!(
        sources,
        "SourceService",
        "AuthenticateSource",
        authenticate_source,
        proto::AuthenticateSourceRequest { parent: parent.clone(), write_key: WRITE_KEY.into() }
    );
    call!(
        sources,
        "SourceService",
        "ExtendSourceSchema",
        extend_source_schema,
        proto::ExtendSourceSchemaRequest {
            name: source.clone(),
            clear_fields: vec![proto::ClearField {
                name: "vip".into(),
                kind: ClearKind::Flag.into()
            }],
            ..Default::default()
        }
    );
    call!(
        sources,
        "SourceService",
        "GetSource",
        get_source,
        proto::GetSourceRequest { name: source.clone() }
    );
    call!(
        sources,
        "SourceService",
        "ListSources",
        list_sources,
        proto::ListSourcesRequest { parent: parent.clone(), ..Default::default() }
    );
    call!(
        sources,
        "SourceService",
        "RecordInteractions",
        record_interactions,
        proto::RecordInteractionsRequest {
            parent: source.clone(),
            interactions: vec![proto::NewInteraction {
                message_id: "m-1".into(),
                name: "Order Completed".into(),
                occurred_time: time(chassis::testing::START),
                party: Some(proto::new_interaction::Party::PartyId(names.doctor.clone())),
                ..Default::default()
            }],
            ..Default::default()
        }
    );
    call!(
        sources,
        "SourceService",
        "ListInteractions",
        list_interactions,
        proto::ListInteractionsRequest { parent: name, ..Default::default() }
    );
    super::segments::call_every_rpc(connection, &parent, &mut answers).await;
    call!(
        sources,
        "SourceService",
        "DisableSource",
        disable_source,
        proto::DisableSourceRequest { name: source, reason: reason(), ..Default::default() }
    );
    answers
}

/// A world in which `acme` has a little of everything, and its names.
pub(super) async fn furnished() -> (World, Names) {
    furnish(World::start().await).await
}

async fn furnish(world: World) -> (World, Names) {
    let doctor = world.register(professional()).await;
    let clinic = world.party_of(PartyKind::Hco).await;
    let relation = proto::Relation {
        kind: proto::RelationKind::Affiliated.into(),
        from_party_id: doctor.clone(),
        to_party_id: clinic.clone(),
        ..Default::default()
    };
    let record = proto::RecordRelationRequest {
        parent: parent(),
        relation: Some(relation),
        ..Default::default()
    };
    let recorded = world.parties().record_relation(record).await.expect("recorded").into_inner();
    let relation = recorded.relation.expect("a relation").relation_id;
    world.consents().record_consent(grant(&doctor)).await.expect("recorded");
    world.source("web").await;
    (world, Names { tenant: ACME.into(), doctor, clinic, relation, source: "web".into() })
}

/// What a person who may do everything asked was done, unless it is for services only.
fn assert_done(path: &str, answer: &Answer) {
    match answer {
        Err(refused) if path.ends_with("/AuthenticateSource") => {
            assert_eq!(refused.code(), Code::PermissionDenied, "{path}");
        }
        answer => assert!(answer.is_ok(), "{path}: {answer:?}"),
    }
}

fn is_ours(path: &str) -> bool {
    path.starts_with("/rapport.profiles.v1.")
}

#[tokio::test]
async fn the_table_of_calls_has_every_rpc_and_each_can_succeed() {
    let (world, names) = furnished().await;
    let answers = call_every_rpc(&world.harness.admin(), &names).await;
    for (path, answer) in &answers {
        assert_done(path, answer);
    }
    let mut called: Vec<_> = answers.iter().map(|it| it.0.as_str()).collect();
    let mut declared: Vec<_> = ACCESS.iter().map(|it| it.0).filter(|it| is_ours(it)).collect();
    called.sort_unstable();
    declared.sort_unstable();
    assert_eq!(called, declared);
    world.harness.stop().await;
}

#[tokio::test]
async fn every_rpc_answers_on_postgresql_and_a_rebuild_changes_nothing() {
    let server = eventstore::testing::Postgres::start();
    let keys = tempfile::tempdir().expect("a temporary folder");
    let world = World::on_postgres(server.database(), keys.path()).await;
    let (world, names) = furnish(world).await;
    for (path, answer) in call_every_rpc(&world.harness.admin(), &names).await {
        assert_done(&path, &answer);
    }
    let before = super::view::tables(&world).await;
    let store = &world.harness.deps("profiles").store;
    store.rebuild(store.views()[0].as_ref()).await.expect("rebuilt");
    assert_eq!(super::view::tables(&world).await, before);
    world.harness.stop().await;
}

#[tokio::test]
async fn the_token_of_another_tenant_gets_nothing_by_full_name() {
    let (world, names) = furnished().await;
    let head = world.head();
    let stranger = world.harness.person(UMBRELLA, "stranger", &["*"]);
    for (path, answer) in call_every_rpc(&stranger, &names).await {
        let refused = answer.expect_err(&path);
        assert_eq!(told(&refused), (Code::NotFound, "NOT_FOUND".into()), "{path}");
    }
    assert_eq!(world.head(), head, "nothing of acme was touched");
    world.harness.stop().await;
}

#[tokio::test]
async fn without_its_permission_no_rpc_answers() {
    let (world, names) = furnished().await;
    let nobody = world.harness.person(ACME, "nobody", &["profiles.parties.unseal"]);
    for (path, answer) in call_every_rpc(&nobody, &names).await {
        let refused = answer.expect_err(&path);
        assert_eq!(told(&refused), (Code::PermissionDenied, "PERMISSION_MISSING".into()), "{path}");
    }
    world.harness.stop().await;
}

/// What must never reach a stranger: everything personal or made by `acme`.
fn secrets(names: &Names) -> Vec<String> {
    let made = [&names.clinic, &names.relation].map(Clone::clone);
    made.into_iter()
        .chain([NPI, EMAIL, "Lovelace", "scan 7", "web team"].map(str::to_owned))
        .collect()
}

fn holds(bytes: &[u8], secret: &str) -> bool {
    bytes.windows(secret.len()).any(|it| it == secret.as_bytes())
}

#[test]
fn whatever_ids_a_stranger_guesses_nothing_of_another_tenant_comes_back() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let (world, names) = runtime.block_on(furnished());
    let acme = world.harness.deps("profiles").store.clone();
    let before =
        runtime.block_on(acme.read_party(ACME, &names.doctor, 0, 1000)).expect("read").len();
    let secrets = secrets(&names);
    // A stranger asks in its own tenant, or in acme's, for ids that exist there, or for others.
    let guess =
        |real: &String| prop_oneof![3 => Just(real.clone()), 1 => "[a-z]{3}_[0-9a-z]{4,26}"];
    let tenants =
        prop_oneof![2 => Just(UMBRELLA.to_owned()), 1 => Just(ACME.to_owned()), 1 => "[a-z]{2,8}"];
    let guesses = (
        tenants,
        guess(&names.doctor),
        guess(&names.clinic),
        guess(&names.relation),
        prop_oneof![Just(names.source.clone()), "[a-z]{2,8}"],
        "[a-z]{3,12}",
    );
    let mut runner =
        TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&guesses, |(tenant, doctor, clinic, relation, source, subject)| {
        let stranger = world.harness.person(UMBRELLA, &subject, &["*"]);
        let asked = Names { tenant, doctor, clinic, relation, source };
        for (path, answer) in runtime.block_on(call_every_rpc(&stranger, &asked)) {
            if asked.tenant != UMBRELLA {
                prop_assert_eq!(
                    answer.as_ref().expect_err(&path).code(),
                    Code::NotFound,
                    "{}",
                    path
                );
            }
            let told = match answer {
                Ok(bytes) => bytes,
                Err(status) => [status.message().as_bytes(), status.details()].concat(),
            };
            for secret in &secrets {
                // A registration of the stranger's own repeats the words of this table, not of acme.
                let own = secret == "web team";
                prop_assert!(own || !holds(&told, secret), "{} tells {}", path, secret);
            }
        }
        Ok(())
    });
    outcome.expect("nothing comes back");
    let after =
        runtime.block_on(acme.read_party(ACME, &names.doctor, 0, 1000)).expect("read").len();
    assert_eq!(after, before, "nothing of acme was touched");
    runtime.block_on(world.harness.stop());
}
