use super::*;

#[tokio::test]
async fn lists_go_on_page_by_page() {
    let world = World::start().await;
    for id in ["aa", "bb", "cc"] {
        let product =
            proto::Product { product_id: id.into(), brand: id.into(), ..Default::default() };
        let request = proto::RegisterProductRequest {
            parent: parent(),
            product: Some(product),
            ..Default::default()
        };
        world.library().register_product(request).await.expect("registered");
        world.reference(id, None).await;
        world.save_claim(id, claim_content(&[id])).await;
        world.save(id, module_content("Hallo.")).await;
    }
    world.submit("bb").await;
    let (mut tokens, mut seen) = ([const { String::new() }; 4], [const { Vec::new() }; 4]);
    for _ in 0..2 {
        let request = proto::ListProductsRequest {
            parent: parent(),
            page_size: 2,
            page_token: tokens[0].clone(),
        };
        let page = world.library().list_products(request).await.expect("listed").into_inner();
        seen[0].extend(page.products.into_iter().map(|it| it.product_id));
        tokens[0] = page.next_page_token;
        let request = proto::ListReferencesRequest {
            parent: parent(),
            page_size: 2,
            page_token: tokens[1].clone(),
        };
        let page = world.library().list_references(request).await.expect("listed").into_inner();
        seen[1].extend(page.references.into_iter().map(|it| it.reference_id));
        tokens[1] = page.next_page_token;
        let request = proto::ListClaimsRequest {
            parent: parent(),
            page_size: 2,
            page_token: tokens[2].clone(),
            state: 0,
        };
        let page = world.library().list_claims(request).await.expect("listed").into_inner();
        seen[2].extend(page.claims.into_iter().map(|it| it.claim_id));
        tokens[2] = page.next_page_token;
        let request = proto::ListModulesRequest {
            parent: parent(),
            page_size: 2,
            page_token: tokens[3].clone(),
            state: 0,
        };
        let page = world.modules().list_modules(request).await.expect("listed").into_inner();
        assert!(page.modules.iter().all(|it| it.versions.iter().all(|it| it.content.is_none())));
        seen[3].extend(page.modules.into_iter().map(|it| it.module_id));
        tokens[3] = page.next_page_token;
    }
    assert_eq!(tokens, [""; 4]);
    for ids in seen {
        assert_eq!(ids, ["aa", "bb", "cc"]);
    }
    let request = proto::ListModulesRequest {
        parent: parent(),
        state: State::InReview.into(),
        ..Default::default()
    };
    let page = world.modules().list_modules(request).await.expect("listed").into_inner();
    assert_eq!(page.modules.iter().map(|it| it.module_id.as_str()).collect::<Vec<_>>(), ["bb"]);
    world.harness.stop().await;
}

#[tokio::test]
async fn what_is_usable_is_listed_as_it_may_be_used_now() {
    let world = World::start().await;
    world.reference("study", None).await;
    world.approved_claim("onset", claim_content(&["study"])).await;
    world.approved("claims", with_slots("{{c}}", &[("c", SlotKind::Claim, "onset")])).await;
    let mut english = module_content("Hallo.");
    english.variants.push(variant(Channel::Email, "en", "Hello", "Hello."));
    world.approved("english", english).await;
    let mut french = module_content("Bonjour.");
    french.variants[0].language = "fr".into();
    french.default_languages.clear();
    world.approved("french", french).await;
    let short = proto::ModuleContent {
        variants: vec![variant(Channel::Sms, "de", "", "Hallo.")],
        ..module_content("")
    };
    world.approved("short", short).await;
    world.save("draft", module_content("Hallo.")).await;

    let usable = async |channel: Channel, language: &str, page_size: i32| {
        let (mut ids, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = proto::ListUsableModulesRequest {
                parent: parent(),
                page_size,
                page_token,
                market: "DE".into(),
                audience: Audience::Hcp.into(),
                channel: channel.into(),
                language: language.into(),
                time: None,
            };
            let page =
                world.modules().list_usable_modules(request).await.expect("listed").into_inner();
            ids.extend(page.modules.into_iter().map(|it| it.module_id));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return ids;
            }
        }
    };
    assert_eq!(usable(Channel::Email, "", 0).await, ["claims", "english", "french"]);
    assert_eq!(usable(Channel::Email, "", 1).await, ["claims", "english", "french"]);
    // The last is not in this language: a page without anything is the last one, or goes on.
    assert_eq!(usable(Channel::Email, "en", 1).await, ["claims", "english"]);
    assert_eq!(usable(Channel::Email, "en", 2).await, ["claims", "english"]);
    assert_eq!(usable(Channel::Sms, "de", 0).await, ["short"]);
    assert_eq!(usable(Channel::Portal, "de", 0).await, Vec::<String>::new());
    let expire = proto::ExpireReferenceRequest {
        name: format!("tenants/{ACME}/references/study"),
        reason: "retracted".into(),
        ..Default::default()
    };
    world.library().expire_reference(expire).await.expect("ended");
    assert_eq!(usable(Channel::Email, "", 0).await, ["english", "french"]);
    world.harness.stop().await;
}

#[tokio::test]
async fn what_is_usable_is_looked_for_among_what_is_approved_for_it_then() {
    let world = World::start().await;
    let hour = |hours: u32| time(chassis::testing::START.plus(Duration::from_secs(3600) * hours));
    let of = |change: &dyn Fn(&mut proto::ModuleContent)| {
        let mut content = module_content("Hallo.");
        change(&mut content);
        content
    };
    world.approved("always", module_content("Hallo.")).await;
    world
        .approved(
            "austrian",
            of(&|it| {
                it.markets = vec!["AT".into()];
                it.default_languages = [("AT".to_owned(), "de".to_owned())].into();
            }),
        )
        .await;
    world.approved("early", of(&|it| it.expires_at = hour(1))).await;
    world.approved("late", of(&|it| it.usable_from = hour(1))).await;
    world.approved("replaced", module_content("Alt.")).await;
    world.approved("replaced", module_content("Neu.")).await;
    for id in ["withdrawn", "of-two"] {
        world.approved(id, module_content("Hallo.")).await;
    }
    let withdraw = async |id: &str, version: u32| {
        let request = proto::WithdrawModuleRequest {
            name: module_name(id),
            version,
            reason: "wrong".into(),
            ..Default::default()
        };
        world.modules().withdraw_module(request).await.expect("withdrawn");
    };
    withdraw("withdrawn", 0).await;
    world.approved("of-two", of(&|it| it.usable_from = hour(1))).await;
    withdraw("of-two", 1).await;

    let ask = |at: Option<prost_types::Timestamp>| proto::ListUsableModulesRequest {
        parent: parent(),
        market: "DE".into(),
        audience: Audience::Hcp.into(),
        channel: Channel::Email.into(),
        time: at,
        ..Default::default()
    };
    let usable = async |at: Option<prost_types::Timestamp>| -> Vec<(String, u32)> {
        let reply = world.modules().list_usable_modules(ask(at)).await.expect("listed");
        let modules = reply.into_inner().modules.into_iter();
        modules.map(|it| (it.module_id, it.version)).collect()
    };
    let is = |ids: &[(&str, u32)]| -> Vec<(String, u32)> {
        ids.iter().map(|(id, version)| ((*id).to_owned(), *version)).collect()
    };
    assert_eq!(usable(None).await, is(&[("always", 1), ("early", 1), ("replaced", 2)]));
    let later = is(&[("always", 1), ("late", 1), ("of-two", 2), ("replaced", 2)]);
    assert_eq!(usable(hour(1)).await, later);
    // Where to look is where something is: nothing of others, and nothing that is over.
    let store = &world.harness.deps("content").store;
    let rows =
        "SELECT module_id, version FROM usable WHERE market = 'DE' ORDER BY module_id, version";
    let rows = store.query(rows, vec![]).await.expect("read");
    let looked: Vec<_> = (rows.iter())
        .map(|row| (row.text(0).expect("an id").to_owned(), row.count(1).expect("a version")))
        .collect();
    let expected = [("always", 1), ("early", 1), ("late", 1), ("of-two", 2), ("replaced", 2)];
    assert_eq!(looked, expected.map(|(id, version)| (id.to_owned(), version)));
    world.harness.stop().await;
}

#[tokio::test]
async fn a_list_shows_what_counts_and_a_look_at_one_version_all_of_it() {
    let world = World::start().await;
    for text in ["Eins.", "Zwei.", "Drei."] {
        world.approved("hello", module_content(text)).await;
    }
    world.save("hello", module_content("Vier.")).await;
    world.save("hello", module_content("Entwurf.")).await;
    let list = proto::ListModulesRequest { parent: parent(), ..Default::default() };
    let listed = world.modules().list_modules(list).await.expect("listed").into_inner();
    let numbers = |module: &proto::Module| -> Vec<u32> {
        module.versions.iter().map(|it| it.version).collect()
    };
    assert_eq!(numbers(&listed.modules[0]), [3, 5]);
    let whole = world.module("hello").await;
    assert_eq!(numbers(&whole), [1, 2, 3, 4, 5]);
    let told: Vec<_> =
        whole.versions.iter().filter(|it| it.content.is_some()).map(|it| it.version).collect();
    assert_eq!(told, [3, 5], "the approved and the newest");
    let one = |version| {
        let name = module_name("hello");
        proto::GetModuleRequest { name, version, ..Default::default() }
    };
    let first = world.modules().get_module(one(1)).await.expect("found").into_inner().module;
    let first = first.expect("a module");
    assert_eq!(numbers(&first), [1]);
    let content = first.versions[0].content.clone().expect("its content");
    assert_eq!(content.variants[0].text, "Eins.");
    let status = world.modules().get_module(one(9)).await.expect_err("no such version");
    assert_eq!((status.code(), fields(&status)), (Code::NotFound, vec!["version".to_owned()]));
    world.harness.stop().await;
}

#[tokio::test]
async fn another_tenant_finds_nothing() {
    let world = World::start().await;
    world.reference("study", None).await;
    world.save_claim("onset", claim_content(&["study"])).await;
    let draft = world.save("hello", module_content("Hallo.")).await;
    let stranger = || ModuleServiceClient::new(world.harness.person(UMBRELLA, "spy", &["*"]));
    let library = || LibraryServiceClient::new(world.harness.person(UMBRELLA, "spy", &["*"]));
    let not_found =
        |status: Status| assert_eq!(told(&status), (Code::NotFound, "NOT_FOUND".into()));
    let name = module_name("hello");
    let get = proto::GetModuleRequest { name: name.clone(), ..Default::default() };
    not_found(stranger().get_module(get).await.expect_err("foreign"));
    not_found(stranger().render(render_request("hello")).await.expect_err("foreign"));
    let submit = proto::SubmitModuleRequest { name: name.clone(), ..Default::default() };
    not_found(stranger().submit_module(submit).await.expect_err("foreign"));
    let review = module_review("hello", 1, &draft.content_hash, ReviewRole::Medical);
    not_found(stranger().review_module(review).await.expect_err("foreign"));
    let withdraw = proto::WithdrawModuleRequest {
        name: name.clone(),
        reason: "spite".into(),
        ..Default::default()
    };
    not_found(stranger().withdraw_module(withdraw).await.expect_err("foreign"));
    let uses = proto::ListModuleUsesRequest { parent: claim_name("onset"), ..Default::default() };
    not_found(stranger().list_module_uses(uses).await.expect_err("foreign"));
    not_found(
        stranger()
            .save_module(module_request("hello", module_content("x")))
            .await
            .expect_err("foreign"),
    );
    let list = proto::ListModulesRequest { parent: parent(), ..Default::default() };
    not_found(stranger().list_modules(list).await.expect_err("foreign"));
    let get = proto::GetClaimRequest { name: claim_name("onset"), ..Default::default() };
    not_found(library().get_claim(get).await.expect_err("foreign"));
    let expire = proto::ExpireReferenceRequest {
        name: format!("tenants/{ACME}/references/study"),
        reason: "spite".into(),
        ..Default::default()
    };
    not_found(library().expire_reference(expire).await.expect_err("foreign"));
    let own = format!("tenants/{UMBRELLA}");
    let list = proto::ListModulesRequest { parent: own.clone(), ..Default::default() };
    assert!(stranger().list_modules(list).await.expect("listed").into_inner().modules.is_empty());
    // A claim of another tenant does not exist in a slot either.
    let content = with_slots("{{c}}", &[("c", SlotKind::Claim, "onset")]);
    let save = proto::SaveModuleRequest { parent: own, ..module_request("mine", content) };
    let refused = stranger().save_module(save).await.expect_err("unknown claim");
    assert_eq!(fields(&refused), ["content.slots[0].of"]);
    world.harness.stop().await;
}

#[tokio::test]
async fn a_rebuild_gives_the_tables_that_were_kept_live() {
    let world = World::start().await;
    world.reference("study", None).await;
    world.approved_claim("onset", claim_content(&["study"])).await;
    world.approved("hello", with_slots("{{c}}", &[("c", SlotKind::Claim, "onset")])).await;
    world.approved("hello", with_slots("{{c}}!", &[("c", SlotKind::Claim, "onset")])).await;
    world.save("hello", module_content("Drei.")).await;
    world.approved("gone", module_content("Weg.")).await;
    let withdraw = proto::WithdrawModuleRequest {
        name: module_name("gone"),
        reason: "old".into(),
        ..Default::default()
    };
    world.modules().withdraw_module(withdraw).await.expect("withdrawn");
    let store = &world.harness.deps("content").store;
    let tables = async || {
        let newest = "SELECT tenant, kind, id, version, state FROM newest ORDER BY 1, 2, 3";
        let usable = "SELECT market, audience, channel, module_id, version, usable_from, expires_at FROM usable
                      ORDER BY 1, 2, 3, 4, 5";
        let uses = "SELECT part, kind, id, version, place, prints, state FROM part_use ORDER BY 1, 2, 3, 4, 5";
        let library = "SELECT tenant, reference_id FROM reference UNION SELECT tenant, product_id FROM product ORDER BY 1, 2";
        let mut rows = Vec::new();
        for sql in [newest, usable, uses, library] {
            rows.extend(store.query(sql, vec![]).await.expect("read"));
        }
        rows
    };
    let before = tables().await;
    assert!(before.len() > 6);
    store.rebuild(store.views()[0].as_ref()).await.expect("rebuilt");
    assert_eq!(tables().await, before);
    world.harness.stop().await;
}
