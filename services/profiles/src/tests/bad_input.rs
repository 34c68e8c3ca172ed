use rapport_proto::types::{Clear, Validity, clear};

use super::*;

/// What people send who mean harm, or whose program is broken.
fn hostile() -> Vec<String> {
    vec![
        "a\0b".into(),
        "a\nb".into(),
        "a\u{7f}b".into(),
        "a\u{202e}b".into(),
        "a\u{2066}b".into(),
        "\u{feff}a".into(),
        "a/../b".into(),
        "'; DROP TABLE party; --".into(),
        "x".repeat(1 << 20),
    ]
}

async fn refused(world: &World, request: proto::RegisterPartyRequest) -> Status {
    world.parties().register_party(request).await.expect_err("refused")
}

#[tokio::test]
async fn hostile_strings_are_refused_in_every_field_of_a_registration() {
    let world = World::start().await;
    type Put = fn(&mut proto::RegisterPartyRequest, String);
    let places: [(&str, Put); 11] = [
        ("parent", |it, text| it.parent = text),
        ("market", |it, text| it.market = text),
        ("language", |it, text| it.language = text),
        ("time_zone", |it, text| it.time_zone = text),
        ("source_id", |it, text| it.source_id = text),
        ("request_id", |it, text| it.request_id = text + " "),
        ("identifiers[0].value", |it, text| it.identifiers = vec![identifier(&text, "1")]),
        ("identifiers[0].verified_by", |it, text| {
            it.identifiers =
                vec![proto::Identifier { verified_by: text, ..identifier("crm", "1") }];
        }),
        ("contact_points[0].value", |it, text| it.contact_points = vec![email(&text)]),
        ("attributes", |it, text| {
            it.attributes = [(text, Clear { value: Some(clear::Value::Flag(true)) })].into();
        }),
        ("personal_attributes", |it, text| {
            it.personal_attributes = [(text, "x".to_owned())].into()
        }),
    ];
    for text in hostile() {
        for (field, put) in places {
            let mut request = registration(PartyKind::Hcp);
            put(&mut request, text.clone());
            let status = refused(&world, request).await;
            assert_eq!(status.code(), Code::InvalidArgument, "{field}: {text:.20?}");
            assert_eq!(fields(&status), [field], "{text:.20?}");
            assert!(!status.message().contains(&text) && status.message().len() < 1_000);
        }
    }
    assert_eq!(world.head(), 0);
    world.harness.stop().await;
}

#[tokio::test]
async fn hostile_values_of_free_fields_are_refused() {
    let world = World::start().await;
    for text in hostile().into_iter().filter(|it| !it.starts_with("a/") && !it.starts_with('\'')) {
        let mut request = registration(PartyKind::Hcp);
        request.identifiers = vec![identifier("crm", &text)];
        assert_eq!(fields(&refused(&world, request).await), ["identifiers[0].value"]);
        if text.contains('\n') {
            // A personal attribute may have lines.
            continue;
        }
        let mut request = registration(PartyKind::Hcp);
        request.personal_attributes = [("note".to_owned(), text)].into();
        assert_eq!(fields(&refused(&world, request).await), ["personal_attributes[note]"]);
    }
    world.harness.stop().await;
}

#[tokio::test]
async fn hostile_names_name_nothing() {
    let world = World::start().await;
    for text in hostile() {
        for name in [text.clone(), party_name(&text), format!("tenants/{text}/parties/pty_1")] {
            let get = proto::GetPartyRequest { name, ..Default::default() };
            let status = world.parties().get_party(get).await.expect_err("refused");
            assert_eq!(
                (told(&status).1.as_str(), fields(&status)),
                ("FIELD_INVALID", vec!["name".to_owned()])
            );
        }
    }
    world.harness.stop().await;
}

#[tokio::test]
async fn values_that_no_enum_has_are_refused() {
    let world = World::start().await;
    for kind in [0, 9, -1, i32::MAX] {
        let status =
            refused(&world, proto::RegisterPartyRequest { kind, ..registration(PartyKind::Hcp) })
                .await;
        assert_eq!(
            (status.code(), fields(&status)),
            (Code::InvalidArgument, vec!["kind".to_owned()])
        );
    }
    let list =
        proto::ListPartiesRequest { parent: parent(), kind: 99, state: -7, ..Default::default() };
    let status = world.parties().list_parties(list).await.expect_err("refused");
    assert_eq!(fields(&status), ["kind", "state"]);
    let point = proto::ContactPoint { channel: 77, verification: 9, ..email(EMAIL) };
    let request =
        proto::RegisterPartyRequest { contact_points: vec![point], ..registration(PartyKind::Hcp) };
    let told_fields = fields(&refused(&world, request).await);
    assert_eq!(told_fields, ["contact_points[0].verification", "contact_points[0].channel"]);
    let mut key = consent_key("pty_1");
    (key.purpose, key.channel) = (0, 55);
    let check = proto::CheckConsentRequest {
        parent: parent(),
        key: Some(key),
        regime: 8,
        ..Default::default()
    };
    let status = world.consents().check_consent(check).await.expect_err("refused");
    assert_eq!(fields(&status), ["key.purpose", "key.channel", "regime"]);
    world.harness.stop().await;
}

#[tokio::test]
async fn everything_wrong_is_told_at_once_with_what_to_do() {
    let world = World::start().await;
    let backwards = Validity { from: time(Timestamp(2)), until: time(Timestamp(1)) };
    let request = proto::RegisterPartyRequest {
        parent: parent(),
        market: "XX".into(),
        language: "klingon!".into(),
        time_zone: "Mars/Olympus".into(),
        identifiers: vec![
            identifier("npi", "1234567890"),
            proto::Identifier { valid: Some(backwards), ..identifier("crm", "1") },
        ],
        contact_points: vec![email("nobody")],
        attributes: [("score".to_owned(), Clear { value: Some(clear::Value::Number(f64::NAN)) })]
            .into(),
        ..Default::default()
    };
    let status = refused(&world, request).await;
    assert_eq!(told(&status), (Code::InvalidArgument, "FIELD_INVALID".into()));
    let expected = [
        "kind",
        "market",
        "language",
        "time_zone",
        "attributes[score]",
        "identifiers[0].value",
        "identifiers[1].valid",
        "contact_points[0].value",
    ];
    assert_eq!(fields(&status), expected);
    assert!(violations(&status).iter().all(|it| it.remedy.ends_with('.')));
    world.harness.stop().await;
}

#[tokio::test]
async fn a_reason_of_its_own_names_what_is_wrong() {
    let world = World::start().await;
    let market =
        proto::RegisterPartyRequest { market: "XX".into(), ..registration(PartyKind::Hcp) };
    assert_eq!(
        told(&refused(&world, market).await),
        (Code::InvalidArgument, "MARKET_UNKNOWN".into())
    );
    for value in ["1234567890", "123", "0000000000", "12345678９x"] {
        let request = proto::RegisterPartyRequest {
            identifiers: vec![identifier("npi", value)],
            ..registration(PartyKind::Hcp)
        };
        let status = refused(&world, request).await;
        assert_eq!(told(&status), (Code::InvalidArgument, "IDENTIFIER_INVALID".into()), "{value}");
    }
    let patient = proto::RegisterPartyRequest {
        identifiers: vec![identifier("npi", NPI)],
        ..registration(PartyKind::Patient)
    };
    let status = refused(&world, patient).await;
    assert_eq!(told(&status), (Code::FailedPrecondition, "KIND_CONFLICT".into()));
    world.harness.stop().await;
}

#[tokio::test]
async fn too_much_of_anything_is_refused() {
    let world = World::start().await;
    let identifiers = (0..51).map(|n| identifier("crm", &n.to_string())).collect();
    let request = proto::RegisterPartyRequest { identifiers, ..registration(PartyKind::Hcp) };
    assert_eq!(fields(&refused(&world, request).await), ["identifiers"]);
    let many = (0..201).map(|n| (format!("a{n}"), "x".to_owned())).collect();
    let request =
        proto::RegisterPartyRequest { personal_attributes: many, ..registration(PartyKind::Hcp) };
    assert_eq!(fields(&refused(&world, request).await), ["attributes"]);
    // 200 attributes are allowed, but not 400 KiB in one event.
    let heavy = (0..200).map(|n| (format!("a{n}"), "x".repeat(2000))).collect();
    let request =
        proto::RegisterPartyRequest { personal_attributes: heavy, ..registration(PartyKind::Hcp) };
    assert_eq!(told(&refused(&world, request).await).1, "COMMAND_TOO_LARGE");
    let source = proto::RegisterSourceRequest {
        clear_fields: vec![proto::ClearField { name: "a".into(), kind: 1 }; 501],
        ..source_registration("web")
    };
    let status = world.sources().register_source(source).await.expect_err("refused");
    assert_eq!(fields(&status), ["clear_fields"]);
    let page = proto::ListPartiesRequest { parent: parent(), page_size: -1, ..Default::default() };
    let status = world.parties().list_parties(page).await.expect_err("refused");
    assert_eq!(fields(&status), ["page_size"]);
    let huge = proto::RegisterPartyRequest {
        market: "x".repeat(64 << 20),
        ..registration(PartyKind::Hcp)
    };
    let status = refused(&world, huge).await;
    assert!(matches!(status.code(), Code::ResourceExhausted | Code::OutOfRange), "{status:?}");
    world.harness.stop().await;
}

#[tokio::test]
async fn a_page_token_of_another_query_is_refused() {
    let world = World::start().await;
    for _ in 0..3 {
        world.party_of(PartyKind::Hcp).await;
    }
    let list = proto::ListPartiesRequest { parent: parent(), page_size: 1, ..Default::default() };
    let page = world.parties().list_parties(list.clone()).await.expect("a page").into_inner();
    let other = proto::ListPartiesRequest {
        page_token: page.next_page_token,
        kind: PartyKind::Hcp.into(),
        ..list.clone()
    };
    for request in [other, proto::ListPartiesRequest { page_token: "forged".into(), ..list }] {
        let status = world.parties().list_parties(request).await.expect_err("refused");
        assert_eq!(told(&status), (Code::InvalidArgument, "PAGE_TOKEN_INVALID".into()));
    }
    world.harness.stop().await;
}

#[tokio::test]
async fn sources_and_relations_refuse_what_they_cannot_be() {
    let world = World::start().await;
    type Put = fn(&mut proto::RegisterSourceRequest);
    let cases: [(&str, Put); 5] = [
        ("source_id", |it| it.source_id = "Web".into()),
        ("owner", |it| it.owner = String::new()),
        ("write_key", |it| it.write_key = "short".into()),
        ("write_key", |it| it.write_key = "sixteen letters\u{202e}x".into()),
        ("clear_fields[1]", |it| it.clear_fields[1].kind = 0),
    ];
    for (field, put) in cases {
        let mut request = source_registration("web");
        put(&mut request);
        let status = world.sources().register_source(request).await.expect_err("refused");
        assert_eq!(
            (status.code(), fields(&status)),
            (Code::InvalidArgument, vec![field.to_owned()])
        );
    }
    let empty = proto::RecordRelationRequest { parent: parent(), ..Default::default() };
    let status = world.parties().record_relation(empty).await.expect_err("refused");
    assert_eq!(fields(&status), ["relation"]);
    world.harness.stop().await;
}

#[tokio::test]
async fn strangers_learn_nothing() {
    let world = World::start().await;
    let get = || proto::GetPartyRequest { name: party_name("pty_1"), ..Default::default() };
    let connections = [world.harness.without_token(), world.harness.with_token("nonsense")];
    for connection in connections {
        let status =
            PartyServiceClient::new(connection).get_party(get()).await.expect_err("refused");
        assert_eq!(status.code(), Code::Unauthenticated);
    }
    let nobody = world.harness.person(ACME, "nobody", &[]);
    let status = PartyServiceClient::new(nobody).get_party(get()).await.expect_err("refused");
    assert_eq!(told(&status), (Code::PermissionDenied, "PERMISSION_MISSING".into()));
    world.harness.stop().await;
}
