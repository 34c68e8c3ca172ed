use super::*;

const HOUR: Duration = Duration::from_secs(3_600);

async fn expire_reference(world: &World, id: &str) {
    let request = proto::ExpireReferenceRequest {
        name: format!("tenants/{ACME}/references/{id}"),
        reason: "retracted".into(),
        ..Default::default()
    };
    world.library().expire_reference(request).await.expect("ended");
}

/// A root with a footer that prints a claim that cites a study.
async fn chain(world: &World) {
    world.reference("study", None).await;
    world.approved_claim("onset", claim_content(&["study"])).await;
    world.approved("footer", with_slots("{{c}}", &[("c", SlotKind::Claim, "onset")])).await;
    world.approved("root", with_slots("{{m}}", &[("m", SlotKind::Module, "footer")])).await;
    world.approved("alone", module_content("Hallo.")).await;
    assert!(world.check("root").await.usable);
}

#[tokio::test]
async fn what_a_reference_carried_goes_with_it() {
    let world = World::start().await;
    chain(&world).await;
    expire_reference(&world, "study").await;
    // At once, whether or not anything else has been withdrawn yet.
    let checked = world.check("root").await;
    assert_eq!((checked.usable, checked.reason.as_str()), (false, "content_withdrawn"));
    for id in ["footer", "root"] {
        let version = world.module_becomes(id, 1, State::Withdrawn).await;
        assert_eq!(
            (version.reason.as_str(), version.cause.as_str()),
            ("claim_withdrawn", "claim/onset")
        );
    }
    let claim = world.claim("onset").await.versions.remove(0);
    assert_eq!(claim.state(), State::Withdrawn);
    assert_eq!(
        (claim.reason.as_str(), claim.cause.as_str()),
        ("reference_expired", "reference/study")
    );
    assert!(world.check("alone").await.usable);
    world.harness.stop().await;
}

#[tokio::test]
async fn a_claim_stands_while_one_of_its_references_does() {
    let world = World::start().await;
    for id in ["first", "second"] {
        world.reference(id, None).await;
    }
    world.approved_claim("onset", claim_content(&["first", "second"])).await;
    world.approved("hello", with_slots("{{c}}", &[("c", SlotKind::Claim, "onset")])).await;
    expire_reference(&world, "first").await;
    assert!(world.check("hello").await.usable);
    expire_reference(&world, "second").await;
    assert!(!world.check("hello").await.usable);
    world.module_becomes("hello", 1, State::Withdrawn).await;
    world.harness.stop().await;
}

#[tokio::test]
async fn a_withdrawn_claim_takes_its_modules_with_it_unless_another_version_is_approved() {
    let world = World::start().await;
    chain(&world).await;
    let better = proto::ClaimContent {
        text: "Works within two hours in adults.".into(),
        ..claim_content(&["study"])
    };
    world.approved_claim("onset", better).await;
    let reply = world.render(render_request("root")).await;
    assert_eq!(
        (reply.text.as_str(), reply.parts[2].version),
        ("Works within two hours in adults.", 2)
    );
    // The superseded version may go without harm.
    let withdraw = |version| proto::WithdrawClaimRequest {
        name: claim_name("onset"),
        version,
        reason: "unsafe".into(),
        ..Default::default()
    };
    world.library().withdraw_claim(withdraw(1)).await.expect("already over");
    assert!(world.check("root").await.usable);
    world.library().withdraw_claim(withdraw(0)).await.expect("withdrawn");
    let reply = world.render(render_request("root")).await;
    assert_eq!(reply.content_reason, "content_withdrawn");
    world.module_becomes("root", 1, State::Withdrawn).await;
    // A version that does not print it may be approved and used.
    world.approved("root", module_content("Ohne.")).await;
    assert_eq!(world.render(render_request("root")).await.text, "Ohne.");
    world.harness.stop().await;
}

#[tokio::test]
async fn time_ends_modules_claims_references_and_assets() {
    let world = World::start().await;
    let end = |hours: u32| chassis::testing::START.plus(HOUR * hours);
    world.reference("study", time(end(3))).await;
    let claim = proto::ClaimContent { expires_at: time(end(2)), ..claim_content(&["study"]) };
    world.approved_claim("onset", claim).await;
    let asset = proto::Asset {
        asset_id: "logo".into(),
        sha256: "0".repeat(64),
        media_type: "image/png".into(),
        rights_until: time(end(4)),
    };
    let store =
        proto::StoreAssetRequest { parent: parent(), asset: Some(asset), ..Default::default() };
    world.library().store_asset(store).await.expect("stored");
    let timed = proto::ModuleContent { expires_at: time(end(1)), ..module_content("Bald vorbei.") };
    world.approved("timed", timed).await;
    world.approved("hello", with_slots("{{c}}", &[("c", SlotKind::Claim, "onset")])).await;
    let shown = proto::ModuleContent { asset_ids: vec!["logo".into()], ..module_content("Bild.") };
    world.approved("shown", shown).await;

    let ahead = proto::RenderRequest { time: time(end(1)), ..render_request("timed") };
    assert_eq!(world.render(ahead).await.content_reason, "content_expired");
    assert!(world.check("timed").await.usable);
    world.harness.clock.set(end(1));
    let checked = world.check("timed").await;
    assert_eq!(
        (checked.usable, checked.reason.as_str(), checked.detail.as_str()),
        (false, "content_expired", "expired")
    );
    world.module_becomes("timed", 1, State::Expired).await;

    assert!(world.check("hello").await.usable);
    world.harness.clock.set(end(2));
    assert!(!world.check("hello").await.usable);
    let version = world.module_becomes("hello", 1, State::Withdrawn).await;
    assert_eq!(version.cause, "claim/onset");
    assert_eq!(world.claim("onset").await.versions[0].state(), State::Expired);

    assert!(world.check("shown").await.usable);
    world.harness.clock.set(end(4));
    assert_eq!(world.check("shown").await.detail, "asset/logo: expired");
    let store = &world.harness.deps("content").store;
    let gone = async {
        while store.next_due().await.expect("read").is_some() {
            tokio::time::sleep(GLANCE).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("every timer is handled");
    let events = store.read(0, 1_000).await.expect("read");
    let types: Vec<_> = events.iter().map(|it| it.envelope().expect("decodes").r#type).collect();
    for ended in ["ModuleExpired", "ClaimExpired", "ReferenceExpired", "AssetExpired"] {
        let named = format!("rapport.content.v1.{ended}");
        assert_eq!(types.iter().filter(|it| **it == named).count(), 1, "{ended}");
    }
    world.harness.stop().await;
}

#[tokio::test]
async fn a_version_takes_over_when_its_time_comes() {
    let world = World::start().await;
    let from = chassis::testing::START.plus(HOUR);
    world.approved("hello", module_content("Alt.")).await;
    let next = proto::ModuleContent { usable_from: time(from), ..module_content("Neu.") };
    world.approved("hello", next).await;
    assert_eq!(world.render(render_request("hello")).await.text, "Alt.");
    world.harness.clock.set(from);
    assert_eq!(world.render(render_request("hello")).await.text, "Neu.");
    world.module_becomes("hello", 1, State::Superseded).await;
    assert_eq!(world.module("hello").await.versions[1].state(), State::Approved);
    world.harness.stop().await;
}
