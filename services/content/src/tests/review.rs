use super::*;

#[tokio::test]
async fn a_claim_and_a_module_pass_their_review() {
    let world = World::start().await;
    world.reference("study", None).await;
    let draft = world.save_claim("onset-fast", claim_content(&["study"])).await;
    assert_eq!((draft.state(), draft.author.as_str()), (State::Draft, "author"));
    world.submit_claim("onset-fast").await;
    let submitted = world.claim("onset-fast").await.versions.remove(0);
    assert_eq!(submitted.state(), State::InReview);
    // No pack is known: every role is asked for, and the answer says why.
    assert_eq!(submitted.roles().collect::<Vec<_>>(), REVIEWERS.map(|it| it.0));
    let packs: Vec<_> = submitted.packs.iter().map(|it| (it.pack.as_str(), it.version)).collect();
    assert_eq!(packs, [("DE", 0), ("AT", 0)]);
    for (n, (role, subject)) in REVIEWERS.into_iter().enumerate() {
        world.harness.clock.advance(Duration::from_secs(60));
        let request = claim_review("onset-fast", 1, &draft.content_hash, role);
        let reply =
            world.library_as(subject).review_claim(request).await.expect("reviewed").into_inner();
        let version = reply.claim.expect("a claim").versions.remove(0);
        assert_eq!(version.state(), if n == 2 { State::Approved } else { State::InReview });
        let review = version.reviews.last().expect("one").clone();
        let signature = review.signature.clone().expect("signed");
        assert_eq!((review.round, review.role()), (1, role));
        assert_eq!(signature.signature_id, reply.signature_id);
        assert!(signature.signature_id.starts_with("sig_") && signature.signature_id.len() == 30);
        assert_eq!(
            (signature.signer.as_str(), signature.printed_name.as_str()),
            (subject, "Dr. Signer")
        );
        let authenticated_at = signature.authenticated_at.map(|it| it.seconds);
        assert_eq!((signature.offset_seconds, authenticated_at), (-18_000, Some(AUTHENTICATED)));
        assert_eq!(signature.signed_at, time(world.harness.clock.now()));
        assert_eq!(signature.content_hash, draft.content_hash);
    }
    let version = world.claim("onset-fast").await.versions.remove(0);
    let times: Vec<_> =
        version.stage_times.iter().map(|it| (it.stage.as_str(), it.seconds, it.open)).collect();
    let expected = [
        ("draft", 0, false),
        ("in_review", 180, false),
        ("medical", 60, false),
        ("legal", 120, false),
        ("regulatory", 180, false),
    ];
    assert_eq!(times, expected);

    world.approved("hello", with_slots("{{c}}", &[("c", SlotKind::Claim, "onset-fast")])).await;
    let module = world.module("hello").await;
    assert_eq!(module.versions[0].state(), State::Approved);
    assert!(module.versions[0].content.is_some());
    world.harness.stop().await;
}

#[tokio::test]
async fn a_rejected_version_is_resubmitted_or_written_anew() {
    let world = World::start().await;
    let draft = world.save("hello", module_content("Hallo.")).await;
    world.submit("hello").await;
    let approve = module_review("hello", 1, &draft.content_hash, ReviewRole::Medical);
    let silent = proto::ReviewModuleRequest { verdict: Verdict::Reject.into(), ..approve.clone() };
    let refused = world.modules_as("mia").review_module(silent.clone()).await.expect_err("silent");
    assert_eq!(told(&refused), (Code::InvalidArgument, "COMMENT_REQUIRED".into()));
    assert_eq!(fields(&refused), ["comment"]);
    let reject =
        proto::ReviewModuleRequest { comment: "Too bold.\nTone it down.".into(), ..silent };
    world.modules_as("mia").review_module(reject).await.expect("rejected");
    let version = world.module("hello").await.versions.remove(0);
    assert_eq!(
        (version.state(), version.reviews[0].comment.as_str()),
        (State::ChangesRequested, "Too bold.\nTone it down.")
    );
    // Nobody else can sign it now.
    let late = module_review("hello", 1, &draft.content_hash, ReviewRole::Legal);
    let refused = world.modules_as("leo").review_module(late).await.expect_err("returned");
    assert_eq!(told(&refused), (Code::FailedPrecondition, "WRONG_STATE".into()));

    // The same bytes go into another round; other bytes are another version.
    let same = world.save("hello", module_content("Hallo.")).await;
    assert_eq!((same.version, same.state()), (1, State::ChangesRequested));
    world.submit("hello").await;
    assert_eq!(world.module("hello").await.versions[0].state(), State::InReview);
    let other = world.approved("hello", module_content("Guten Tag.")).await;
    assert_eq!(other.version, 2);
    let states: Vec<_> =
        world.module("hello").await.versions.iter().map(proto::ModuleVersion::state).collect();
    assert_eq!(states, [State::InReview, State::Approved]);
    let newest = world.approved("hello", module_content("Servus.")).await;
    assert_eq!(newest.version, 3);
    let states: Vec<_> =
        world.module("hello").await.versions.iter().map(proto::ModuleVersion::state).collect();
    assert_eq!(states, [State::InReview, State::Superseded, State::Approved]);
    world.harness.stop().await;
}

#[tokio::test]
async fn the_wrong_person_role_or_hash_cannot_sign() {
    let world = World::start().await;
    let draft = world.save("hello", module_content("Hallo.")).await;
    world.submit("hello").await;
    let review = |role| module_review("hello", 1, &draft.content_hash, role);
    let refused = async |subject: &str, request: proto::ReviewModuleRequest| {
        let status = world.modules_as(subject).review_module(request).await.expect_err("refused");
        (told(&status), fields(&status))
    };
    let because = |reason: &str, field: &str| {
        ((Code::FailedPrecondition, reason.to_owned()), vec![field.to_owned()])
    };
    assert_eq!(
        refused("author", review(ReviewRole::Medical)).await,
        because("AUTHOR_MAY_NOT_SIGN", "role")
    );
    let other = module_review("hello", 1, &"0".repeat(64), ReviewRole::Medical);
    assert_eq!(refused("mia", other).await, because("HASH_MISMATCH", "content_hash"));
    world.modules_as("mia").review_module(review(ReviewRole::Medical)).await.expect("signed");
    assert_eq!(refused("mia", review(ReviewRole::Legal)).await, because("ALREADY_SIGNED", "role"));
    assert_eq!(
        refused("max", review(ReviewRole::Medical)).await,
        because("ALREADY_SIGNED", "role")
    );
    let unknown = module_review("hello", 7, &draft.content_hash, ReviewRole::Legal);
    assert_eq!(
        refused("leo", unknown).await,
        ((Code::NotFound, "NOT_FOUND".into()), vec!["version".into()])
    );
    // A permission to write is none to sign.
    let writer =
        world.harness.person(ACME, "leo", &["content.modules.write", "content.modules.read"]);
    let status = ModuleServiceClient::new(writer)
        .review_module(review(ReviewRole::Legal))
        .await
        .expect_err("refused");
    assert_eq!(told(&status), (Code::PermissionDenied, "PERMISSION_MISSING".into()));
    world.harness.stop().await;
}

#[tokio::test]
async fn a_role_is_signed_by_whose_token_names_it_and_by_nobody_else() {
    let world = World::start().await;
    world.reference("study", None).await;
    let claim = world.save_claim("onset", claim_content(&["study"])).await;
    world.submit_claim("onset").await;
    let module = world.save("hello", module_content("Hallo.")).await;
    world.submit("hello").await;
    let head = world.head();
    // No permission stands for a role, and no other role does.
    let everything = world.harness.person(ACME, "root", &["*"]);
    for person in [everything, world.holding("max", &["medical"])] {
        let review = module_review("hello", 1, &module.content_hash, ReviewRole::Legal);
        for verdict in [Verdict::Approve, Verdict::Reject] {
            let review = proto::ReviewModuleRequest {
                verdict: verdict.into(),
                comment: "No.".into(),
                ..review.clone()
            };
            let status = ModuleServiceClient::new(person.clone()).review_module(review).await;
            let status = status.expect_err("not their role");
            assert_eq!(told(&status), (Code::PermissionDenied, "ROLE_NOT_HELD".into()));
            let said = violations(&status).remove(0);
            assert!(said.field == "role" && said.remedy.contains("legal"), "{said:?}");
        }
        let review = claim_review("onset", 1, &claim.content_hash, ReviewRole::Legal);
        let status = LibraryServiceClient::new(person).review_claim(review).await;
        let status = status.expect_err("not their role");
        assert_eq!(told(&status), (Code::PermissionDenied, "ROLE_NOT_HELD".into()));
    }
    assert_eq!(world.head(), head, "nothing was recorded");
    // Issuers write roles as they like.
    let review = module_review("hello", 1, &module.content_hash, ReviewRole::Legal);
    let written = world.holding("leo", &["Legal"]);
    ModuleServiceClient::new(written).review_module(review).await.expect("signed");
    world.harness.stop().await;
}

#[tokio::test]
async fn who_wrote_a_version_signs_no_role_of_it_whatever_roles_the_token_names() {
    let world = World::start().await;
    let draft = world.save("hello", module_content("Hallo.")).await;
    world.submit("hello").await;
    for (role, name) in [
        (ReviewRole::Medical, "medical"),
        (ReviewRole::Legal, "legal"),
        (ReviewRole::Regulatory, "regulatory"),
    ] {
        let review = module_review("hello", 1, &draft.content_hash, role);
        let author = ModuleServiceClient::new(world.holding("author", &[name]))
            .review_module(review.clone())
            .await;
        assert_eq!(told(&author.expect_err("the author")).1, "AUTHOR_MAY_NOT_SIGN");
        let other = world.holding(&format!("other-{name}"), &[name]);
        ModuleServiceClient::new(other).review_module(review).await.expect("signed");
    }
    assert!(world.check("hello").await.usable);
    world.harness.stop().await;
}

#[tokio::test]
async fn a_repeated_request_gets_the_first_answer() {
    let world = World::start().await;
    let id = |n: u32| format!("request-{n:04}");
    let save = proto::SaveModuleRequest {
        request_id: id(1),
        ..module_request("hello", module_content("Hallo."))
    };
    let first = world.modules().save_module(save.clone()).await.expect("saved").into_inner();
    world.save("hello", module_content("Anders.")).await;
    let again = world.modules().save_module(save.clone()).await.expect("repeated").into_inner();
    assert_eq!(again, first);
    let other = proto::SaveModuleRequest { module_id: "other".into(), ..save };
    let refused = world.modules().save_module(other).await.expect_err("reused");
    assert_eq!(told(&refused), (Code::AlreadyExists, "REQUEST_ID_REUSED".into()));

    let draft = world.save("signed", module_content("Hallo.")).await;
    world.submit("signed").await;
    let review = module_review("signed", 1, &draft.content_hash, ReviewRole::Medical);
    let review = proto::ReviewModuleRequest { request_id: id(2), ..review };
    let first =
        world.modules_as("mia").review_module(review.clone()).await.expect("signed").into_inner();
    let head = world.head();
    let again = world.modules_as("mia").review_module(review).await.expect("repeated").into_inner();
    assert_eq!((again.signature_id, again.position), (first.signature_id, first.position));
    assert_eq!(world.head(), head);

    // What the claim cites has ended since: the answer is still the first one.
    world.reference("study", None).await;
    let save = proto::SaveClaimRequest {
        request_id: id(3),
        ..claim_request("onset", claim_content(&["study"]))
    };
    let first = world.library().save_claim(save.clone()).await.expect("saved").into_inner();
    let expire = proto::ExpireReferenceRequest {
        name: format!("tenants/{ACME}/references/study"),
        reason: "retracted".into(),
        request_id: id(4),
    };
    let ended = world.library().expire_reference(expire.clone()).await.expect("ended").into_inner();
    let again = world.library().expire_reference(expire).await.expect("repeated").into_inner();
    assert_eq!(again, ended);
    let again = world.library().save_claim(save).await.expect("repeated").into_inner();
    assert_eq!((again.version, again.position), (first.version, first.position));
    let refused =
        world.library().save_claim(claim_request("onset", claim_content(&["study"]))).await;
    assert_eq!(
        told(&refused.expect_err("ended")),
        (Code::FailedPrecondition, "CLAIM_WITHOUT_REFERENCE".into())
    );
    world.harness.stop().await;
}

#[tokio::test]
async fn the_same_content_again_changes_nothing() {
    let world = World::start().await;
    world.save("hello", module_content("Hallo.")).await;
    let head = world.head();
    assert_eq!(world.save("hello", module_content("Hallo.")).await.version, 1);
    let yaml = "title: Hello\ncontent_class: RX_PROMOTIONAL\ntopic: onset\nmarkets: [DE]\naudiences: [HCP]\n\
                default_languages: {DE: de}\nvariants:\n  - {channel: EMAIL, language: de, subject: Hallo, text: Hallo.}\n";
    let request = proto::SaveModuleRequest {
        definition: Some(proto::save_module_request::Definition::Yaml(yaml.into())),
        ..module_request("hello", module_content(""))
    };
    let reply = world.modules().save_module(request).await.expect("saved").into_inner();
    assert_eq!(reply.version, 1, "YAML and message are forms of one model");
    assert_eq!(world.head(), head);
    world.harness.stop().await;
}
