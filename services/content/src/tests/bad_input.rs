use super::*;

async fn module_refused(
    world: &World,
    content: proto::ModuleContent,
) -> (Code, String, Vec<String>) {
    let status =
        world.modules().save_module(module_request("hello", content)).await.expect_err("refused");
    let remedies = violations(&status);
    assert!(remedies.iter().all(|it| it.remedy.ends_with('.')), "{remedies:?}");
    (status.code(), reason(&status).unwrap_or_default(), fields(&status))
}

#[tokio::test]
async fn a_module_is_refused_with_field_reason_and_remedy() {
    let world = World::start().await;
    let expect = |code: Code, reason: &str, fields: &[&str]| {
        (code, reason.to_owned(), fields.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>())
    };
    let invalid = |fields: &[&str]| expect(Code::InvalidArgument, "FIELD_INVALID", fields);
    let table: [(proto::ModuleContent, _); 7] = [
        (
            proto::ModuleContent::default(),
            invalid(&[
                "content.title",
                "content.content_class",
                "content.markets",
                "content.audiences",
                "content.variants",
            ]),
        ),
        (
            module_content("{{other}}"),
            expect(Code::InvalidArgument, "SLOT_UNKNOWN", &["content.variants[0].text"]),
        ),
        (
            proto::ModuleContent {
                variants: vec![variant(Channel::Email, "de", "a\r\nBcc: b", "c")],
                ..module_content("")
            },
            invalid(&["content.variants[0].subject"]),
        ),
        (
            with_slots("{{c}}", &[("c", SlotKind::Claim, "nowhere")]),
            invalid(&["content.slots[0].of"]),
        ),
        (
            with_slots("{{m}}", &[("m", SlotKind::Module, "nowhere")]),
            invalid(&["content.slots[0].of"]),
        ),
        (
            proto::ModuleContent { product_id: "nowhere".into(), ..module_content("x") },
            invalid(&["content.product_id"]),
        ),
        (
            proto::ModuleContent { asset_ids: vec!["nowhere".into()], ..module_content("x") },
            invalid(&["content.asset_ids[0]"]),
        ),
    ];
    for (content, expected) in table {
        assert_eq!(module_refused(&world, content).await, expected);
    }
    let huge = module_content(&"x".repeat(1 << 20));
    assert_eq!(module_refused(&world, huge).await, invalid(&["content"]));
    assert_eq!(world.head(), 0);
    world.harness.stop().await;
}

#[tokio::test]
async fn a_module_may_not_contain_itself() {
    let world = World::start().await;
    let holds = |id: &str| with_slots("{{m}}", &[("m", SlotKind::Module, id)]);
    let cycle = (
        Code::FailedPrecondition,
        "MODULE_CYCLE".to_owned(),
        vec!["content.slots[0].of".to_owned()],
    );
    assert_eq!(module_refused(&world, holds("hello")).await, cycle);
    world.save("hello", module_content("Hallo.")).await;
    world.save("one", holds("hello")).await;
    world.save("two", holds("one")).await;
    assert_eq!(module_refused(&world, holds("hello")).await, cycle);
    assert_eq!(module_refused(&world, holds("two")).await, cycle);
    // Five deep is too deep, though nothing comes back.
    for (id, inner) in [("three", "two"), ("four", "three")] {
        world.save(id, holds(inner)).await;
    }
    let five = world
        .modules()
        .save_module(module_request("five", holds("four")))
        .await
        .expect_err("too deep");
    assert_eq!(told(&five), (Code::FailedPrecondition, "MODULE_CYCLE".into()));
    world.harness.stop().await;
}

#[tokio::test]
async fn a_claim_is_refused_with_field_reason_and_remedy() {
    let world = World::start().await;
    world.reference("study", None).await;
    let refused = async |content: proto::ClaimContent| {
        let status =
            world.library().save_claim(claim_request("onset", content)).await.expect_err("refused");
        (told(&status), fields(&status))
    };
    let without = |field: &str| {
        ((Code::FailedPrecondition, "CLAIM_WITHOUT_REFERENCE".to_owned()), vec![field.to_owned()])
    };
    assert_eq!(refused(claim_content(&[])).await, without("content.reference_ids"));
    assert_eq!(refused(claim_content(&["nowhere"])).await, without("content.reference_ids[0]"));
    assert_eq!(
        refused(claim_content(&["study", "nowhere"])).await,
        without("content.reference_ids[1]")
    );
    let short = proto::ClaimContent { text: "Works.".into(), ..claim_content(&[]) };
    let both = vec!["content.text".to_owned(), "content.reference_ids".to_owned()];
    assert_eq!(refused(short).await, ((Code::InvalidArgument, "FIELD_INVALID".to_owned()), both));
    let product = proto::ClaimContent { product_id: "aspera".into(), ..claim_content(&["study"]) };
    assert_eq!(refused(product).await.1, ["content.product_id"]);
    world.harness.stop().await;
}

#[tokio::test]
async fn a_document_is_refused_with_line_and_column() {
    let world = World::start().await;
    let yaml = "title: Hello\nmarkets: [DE]\nvariant: []\n";
    let request = proto::SaveModuleRequest {
        definition: Some(proto::save_module_request::Definition::Yaml(yaml.into())),
        ..module_request("hello", module_content(""))
    };
    let status = world.modules().save_module(request).await.expect_err("refused");
    assert_eq!(fields(&status), ["definition"]);
    let remedy = &violations(&status)[0].remedy;
    assert!(remedy.starts_with("line 3, column 1:"), "{remedy}");
    let none = proto::SaveModuleRequest {
        definition: None,
        ..module_request("hello", module_content(""))
    };
    assert_eq!(fields(&world.modules().save_module(none).await.expect_err("refused")), ["content"]);
    world.harness.stop().await;
}

#[tokio::test]
async fn other_requests_are_refused_field_by_field() {
    let world = World::start().await;
    world.save("hello", module_content("Hallo.")).await;
    let id = proto::SaveModuleRequest {
        module_id: "Hello/..".into(),
        ..module_request("", module_content("x"))
    };
    assert_eq!(fields(&world.modules().save_module(id).await.expect_err("refused")), ["module_id"]);
    let review = proto::ReviewModuleRequest {
        name: module_name("hello"),
        offset_seconds: 60_000,
        ..Default::default()
    };
    let refused = world.modules_as("mia").review_module(review).await.expect_err("refused");
    let all =
        ["version", "role", "verdict", "content_hash", "printed_name", "meaning", "offset_seconds"];
    assert_eq!(fields(&refused), all);
    let withdraw = proto::WithdrawModuleRequest {
        name: module_name("hello"),
        reason: "we do not like it".into(),
        ..Default::default()
    };
    assert_eq!(
        fields(&world.modules().withdraw_module(withdraw).await.expect_err("refused")),
        ["reason"]
    );
    let render = proto::RenderRequest {
        name: module_name("hello"),
        market: "EU".into(),
        tone: "a b".into(),
        ..Default::default()
    };
    assert_eq!(
        fields(&world.modules().render(render).await.expect_err("refused")),
        ["market", "audience", "channel"]
    );
    let behind = proto::RenderRequest {
        min_positions: [("profiles".to_owned(), 1)].into(),
        ..render_request("hello")
    };
    assert_eq!(
        fields(&world.modules().render(behind).await.expect_err("refused")),
        ["min_positions"]
    );
    for name in ["tenants/acme/claims/hello", "hello", "tenants/acme/modules/../x"] {
        let get = proto::GetModuleRequest { name: name.into(), ..Default::default() };
        assert_eq!(fields(&world.modules().get_module(get).await.expect_err("refused")), ["name"]);
    }
    let get = proto::GetModuleRequest { name: module_name("nowhere"), ..Default::default() };
    assert_eq!(world.modules().get_module(get).await.expect_err("unknown").code(), Code::NotFound);
    let reference = proto::Reference {
        reference_id: "study".into(),
        expires_at: time(chassis::testing::START),
        ..Default::default()
    };
    let add = proto::AddReferenceRequest {
        parent: parent(),
        reference: Some(reference),
        ..Default::default()
    };
    let refused = world.library().add_reference(add).await.expect_err("refused");
    assert_eq!(fields(&refused), ["reference.citation", "reference.expires_at"]);
    let product = proto::Product {
        product_id: "a".into(),
        brand: "a\u{202e}".into(),
        markets: vec!["de".into()],
        ..Default::default()
    };
    let register = proto::RegisterProductRequest {
        parent: parent(),
        product: Some(product),
        ..Default::default()
    };
    let refused = world.library().register_product(register).await.expect_err("refused");
    assert_eq!(fields(&refused), ["product.product_id", "product.brand", "product.markets[0]"]);
    let store = proto::StoreAssetRequest { parent: parent(), ..Default::default() };
    assert_eq!(fields(&world.library().store_asset(store).await.expect_err("refused")), ["asset"]);
    world.harness.stop().await;
}
