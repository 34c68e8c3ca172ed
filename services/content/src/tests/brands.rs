//! Who is confined to brands sees and changes nothing of the others.

use std::collections::BTreeSet;

use rapport_proto::BY_BRAND;

use super::*;

/// Two brands; of each a product, a claim and a module, whose ids are these.
const BRANDS: [(&str, &str); 2] = [("relievia", "Relievia"), ("otherol", "Otherol")];

fn confined(world: &World, brands: &[&str]) -> Connection {
    let token = TokenSpec::new(ACME, "steward", &["content.*"]).roles(&["medical"]);
    let token = token.with("auth_time", AUTHENTICATED.into()).brands(brands);
    world.harness.with_token(&world.harness.issuer.mint(token))
}

fn product(id: &str, brand: &str) -> proto::RegisterProductRequest {
    let product =
        proto::Product { product_id: id.into(), brand: brand.into(), ..Default::default() };
    proto::RegisterProductRequest { parent: parent(), product: Some(product), ..Default::default() }
}

fn claim_about(id: &str) -> proto::ClaimContent {
    proto::ClaimContent { product_id: id.into(), ..claim_content(&["study"]) }
}

fn module_about(id: &str, claim: &str) -> proto::ModuleContent {
    let slots = [("claim", SlotKind::Claim, claim)];
    proto::ModuleContent { product_id: id.into(), ..with_slots("Hallo. {{claim}}", &slots) }
}

/// What names no product is there too.
async fn furnished() -> World {
    let world = World::start().await;
    world.reference("study", None).await;
    for (id, brand) in BRANDS {
        world.library().register_product(product(id, brand)).await.expect("registered");
        world.approved_claim(id, claim_about(id)).await;
        world.approved(id, module_about(id, id)).await;
    }
    world.save_claim("awareness", claim_content(&["study"])).await;
    world.save("awareness", module_content("Hallo.")).await;
    world
}

/// Calls every RPC that keeps to brands about one of them; how many things were shown.
async fn call_every_rpc(
    of: &Connection,
    (id, brand): (&str, &str),
) -> Vec<(&'static str, Result<usize, Status>)> {
    let (mut library, mut modules) =
        (LibraryServiceClient::new(of.clone()), ModuleServiceClient::new(of.clone()));
    let (claim, module) = (claim_name(id), module_name(id));
    let mut told = Vec::new();
    macro_rules! call {
        ($client:ident.$rpc:ident, $path:literal, $request:expr, $shown:expr) => {
            let answer = $client.$rpc($request).await;
            let path = concat!("/rapport.content.v1.", $path);
            told.push((path, answer.map(|it| $shown(it.into_inner()))));
        };
    }
    fn one<T>(_: T) -> usize {
        1
    }
    let all = parent();
    call!(library.register_product, "LibraryService/RegisterProduct", product(id, brand), one);
    let request = proto::ListProductsRequest { parent: all.clone(), ..Default::default() };
    let shown = |it: proto::ListProductsResponse| it.products.len();
    call!(library.list_products, "LibraryService/ListProducts", request, shown);
    let request = claim_request(id, claim_about(id));
    call!(library.save_claim, "LibraryService/SaveClaim", request, one);
    let request = proto::SubmitClaimRequest { name: claim.clone(), ..Default::default() };
    call!(library.submit_claim, "LibraryService/SubmitClaim", request, one);
    let request = claim_review(id, 1, "", ReviewRole::Medical);
    call!(library.review_claim, "LibraryService/ReviewClaim", request, one);
    let request = proto::GetClaimRequest { name: claim.clone(), ..Default::default() };
    call!(library.get_claim, "LibraryService/GetClaim", request, one);
    let request = proto::ListClaimsRequest { parent: all.clone(), ..Default::default() };
    let shown = |it: proto::ListClaimsResponse| it.claims.len();
    call!(library.list_claims, "LibraryService/ListClaims", request, shown);
    let request = module_request(id, module_about(id, id));
    call!(modules.save_module, "ModuleService/SaveModule", request, one);
    let request = proto::SubmitModuleRequest { name: module.clone(), ..Default::default() };
    call!(modules.submit_module, "ModuleService/SubmitModule", request, one);
    let request = module_review(id, 1, "", ReviewRole::Medical);
    call!(modules.review_module, "ModuleService/ReviewModule", request, one);
    let request = proto::GetModuleRequest { name: module.clone(), ..Default::default() };
    call!(modules.get_module, "ModuleService/GetModule", request, one);
    let request = proto::ListModulesRequest { parent: all.clone(), ..Default::default() };
    let shown = |it: proto::ListModulesResponse| it.modules.len();
    call!(modules.list_modules, "ModuleService/ListModules", request, shown);
    let request = proto::CheckUsableRequest {
        name: module.clone(),
        market: "DE".into(),
        audience: Audience::Hcp.into(),
        channel: Channel::Email.into(),
        ..Default::default()
    };
    call!(modules.check_usable, "ModuleService/CheckUsable", request, one);
    call!(modules.render, "ModuleService/Render", render_request(id), one);
    let reason = "obsolete".to_owned();
    let request =
        proto::WithdrawModuleRequest { name: module, reason: reason.clone(), ..Default::default() };
    call!(modules.withdraw_module, "ModuleService/WithdrawModule", request, one);
    let request = proto::WithdrawClaimRequest { name: claim, reason, ..Default::default() };
    call!(library.withdraw_claim, "LibraryService/WithdrawClaim", request, one);
    told
}

#[tokio::test]
async fn nothing_of_another_brand_is_seen_or_touched() {
    let world = furnished().await;
    let head = world.head();
    for (brands, own) in [(&["Otherol"][..], 1), (&["RELIEVIA"], 0), (&[], 0)] {
        for (path, answer) in call_every_rpc(&confined(&world, brands), BRANDS[0]).await {
            if path.contains("/List") {
                assert_eq!(answer.expect(path), own, "{path} {brands:?}");
                continue;
            }
            let told = told(&answer.expect_err(path));
            let hidden = told == (Code::NotFound, "NOT_FOUND".into());
            let refused = told == (Code::PermissionDenied, "BRAND_FORBIDDEN".into());
            assert!(hidden || refused, "{path} {brands:?}: {told:?}");
        }
    }
    assert_eq!(world.head(), head, "nothing was written");
    world.harness.stop().await;
}

#[tokio::test]
async fn of_its_own_brand_a_token_does_what_any_other_does() {
    let world = furnished().await;
    let answers = call_every_rpc(&confined(&world, &["Relievia", "Else"]), BRANDS[0]).await;
    let called: BTreeSet<_> = answers.iter().map(|it| it.0).collect();
    assert_eq!(called, BY_BRAND.iter().copied().collect(), "every RPC that keeps to brands");
    for (path, answer) in answers {
        match answer {
            Ok(shown) => assert_eq!(shown, 1, "{path}"),
            // It is approved already, and not by this hash.
            Err(status) => {
                let reason = told(&status).1;
                let reviewed = path.contains("/Submit") || path.contains("/Review");
                assert!(reviewed && !reason.starts_with("BRAND"), "{path}: {status:?}");
                assert_ne!(status.code(), Code::NotFound, "{path}");
            }
        }
    }
    // What names no product is listed for who is confined to nothing.
    for brands in [&["*"][..], &["Relievia", "*"]] {
        let mut modules = ModuleServiceClient::new(confined(&world, brands));
        let request = proto::ListModulesRequest { parent: parent(), ..Default::default() };
        assert_eq!(
            modules.list_modules(request).await.expect("listed").into_inner().modules.len(),
            3
        );
    }
    world.harness.stop().await;
}

#[tokio::test]
async fn nothing_is_moved_between_brands_nor_made_of_another_one() {
    let world = furnished().await;
    let head = world.head();
    let of = confined(&world, &["Relievia"]);
    let (mut library, mut modules) =
        (LibraryServiceClient::new(of.clone()), ModuleServiceClient::new(of));
    for request in [product("relievia", "Otherol"), product("otherol", "Relievia")] {
        let refused = library.register_product(request).await.expect_err("not its own");
        assert_eq!(told(&refused).1, "BRAND_FORBIDDEN");
    }
    for (id, about) in [("otherol", "relievia"), ("relievia", "otherol"), ("new", "nothing")] {
        let request = claim_request(id, claim_about(about));
        let refused = library.save_claim(request).await.expect_err("not its own");
        assert_eq!(told(&refused).1, "BRAND_FORBIDDEN", "{id} {about}");
        let request = module_request(id, module_about(about, "relievia"));
        let refused = modules.save_module(request).await.expect_err("not its own");
        assert_eq!(told(&refused).1, "BRAND_FORBIDDEN", "{id} {about}");
    }
    for claim in ["otherol", "awareness"] {
        let request = module_request("new", module_about("relievia", claim));
        let refused = modules.save_module(request).await.expect_err("made of others'");
        assert_eq!(fields(&refused), ["content.slots[0].of"], "{claim}");
    }
    assert_eq!(world.head(), head, "nothing was written");
    world.harness.stop().await;
}

#[tokio::test]
async fn a_page_is_full_of_its_own_however_much_of_others_lies_between() {
    let world = furnished().await;
    let mut library = world.library();
    library.register_product(product("a-1", "Relievia")).await.expect("registered");
    for number in 0..250 {
        let others = product(&format!("b-{number:03}"), "Otherol");
        library.register_product(others).await.expect("registered");
    }
    let mut own = LibraryServiceClient::new(confined(&world, &["Relievia"]));
    let (mut pages, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = proto::ListProductsRequest { parent: parent(), page_size: 1, page_token };
        let page = own.list_products(request).await.expect("listed").into_inner();
        pages.push(page.products.into_iter().map(|it| it.product_id).collect::<Vec<_>>());
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(pages, [["a-1"], ["relievia"]]);
    world.harness.stop().await;
}

#[tokio::test]
async fn what_cannot_be_a_name_is_refused_before_it_is_looked_up() {
    let world = furnished().await;
    let of = confined(&world, &["Relievia"]);
    let (mut library, mut modules) =
        (LibraryServiceClient::new(of.clone()), ModuleServiceClient::new(of));
    let request = claim_request("new", claim_about("a\0b"));
    let refused = library.save_claim(request).await.expect_err("no name");
    assert_eq!(fields(&refused), ["content.product_id"]);
    let request = module_request("new", module_about("relievia", "a\0b"));
    let refused = modules.save_module(request).await.expect_err("no name");
    assert_eq!(fields(&refused), ["content.slots[0].of"]);
    world.harness.stop().await;
}
