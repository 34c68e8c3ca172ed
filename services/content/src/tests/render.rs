use eventstore::{CommitOptions, DatabaseOptions, Ids, Log, Metadata, Store, StoreOptions};

use super::*;
use crate::domain::module::Module;
use crate::domain::review::Command;

#[tokio::test]
async fn an_approved_module_is_rendered_with_the_proof_of_its_approval() {
    let world = World::start().await;
    world.reference("study", None).await;
    let claim = world.approved_claim("onset-fast", claim_content(&["study"])).await;
    let mut content = with_slots(
        "Guten Tag {{name}},\n{{claim}}\n{{footer}}",
        &[
            ("name", SlotKind::PartyField, "last_name"),
            ("claim", SlotKind::Claim, "onset-fast"),
            ("footer", SlotKind::Module, "footer"),
        ],
    );
    content.variants[0].html = "<p>{{name}}</p><p>{{claim}}</p>{{footer}}".into();
    content.slots[0].required = true;
    let mut footer = module_content("Impressum {{link}}");
    footer.variants[0].html = "<a href=\"{{link}}\">Impressum</a>".into();
    footer.slots = vec![slot("link", SlotKind::Link, "")];
    let footer = world.approved("footer", footer).await;
    let module = world.approved("hello", content).await;

    let request = proto::RenderRequest {
        slots: [("link".to_owned(), "https://example.org/?a=1&b=2".to_owned())].into(),
        party_fields: [("last_name".to_owned(), "<b>Ada</b> {{claim}}\u{202e}".to_owned())].into(),
        ..render_request("hello")
    };
    let reply = world.render(request.clone()).await;
    assert_eq!((reply.content_reason.as_str(), reply.render_reason.as_str()), ("", ""));
    assert_eq!(reply.subject, "Hallo");
    assert_eq!(
        reply.text,
        "Guten Tag <b>Ada</b> {{claim}},\nWorks within one hour in adults & adolescents.\nImpressum \
         https://example.org/?a=1&b=2"
    );
    assert_eq!(
        reply.html,
        "<p>&lt;b&gt;Ada&lt;/b&gt; {{claim}}</p><p>Works within one hour in adults &amp; adolescents.</p>\
         <a href=\"https://example.org/?a=1&amp;b=2\">Impressum</a>"
    );
    let parts: Vec<_> =
        reply.parts.iter().map(|it| (it.kind.as_str(), it.id.as_str(), it.version)).collect();
    assert_eq!(
        parts,
        [("module", "hello", 1), ("claim", "onset-fast", 1), ("module", "footer", 1)]
    );
    let hashes: Vec<_> = reply.parts.iter().map(|it| it.content_hash.as_str()).collect();
    assert_eq!(hashes, [&module.content_hash, &claim.content_hash, &footer.content_hash]);
    assert!(reply.parts.iter().all(|it| it.signature_ids.len() == 3));
    assert_eq!(
        (reply.language.as_str(), reply.topic.as_str(), reply.position),
        ("de", "onset", world.head())
    );
    assert_eq!(reply.content_class(), ContentClass::RxPromotional);
    let again = world.render(request).await;
    assert_eq!(again, reply);
    assert!(world.check("hello").await.usable);
    world.harness.stop().await;
}

#[tokio::test]
async fn what_is_not_approved_is_not_rendered() {
    let world = World::start().await;
    let told = |reply: proto::RenderResponse| (reply.content_reason, reply.content_detail);
    let not = |detail: &str| ("content_not_approved".to_owned(), detail.to_owned());
    assert_eq!(told(world.render(render_request("hello")).await), not("unknown"));
    let version = world.save("hello", module_content("Hallo.")).await;
    assert_eq!(told(world.render(render_request("hello")).await), not("draft"));
    world.submit("hello").await;
    assert_eq!(told(world.render(render_request("hello")).await), not("in_review"));
    for (role, subject) in REVIEWERS {
        let request = module_review("hello", 1, &version.content_hash, role);
        world.modules_as(subject).review_module(request).await.expect("reviewed");
    }
    assert_eq!(world.render(render_request("hello")).await.text, "Hallo.");
    type Change = fn(&mut proto::RenderRequest);
    let elsewhere = |change: Change| {
        let mut request = render_request("hello");
        change(&mut request);
        request
    };
    let table: [(Change, &str); 3] = [
        (|it| it.market = "FR".into(), "market"),
        (|it| it.audience = Audience::Patient.into(), "audience"),
        (|it| it.channel = Channel::Sms.into(), "channel"),
    ];
    for (change, detail) in table {
        assert_eq!(told(world.render(elsewhere(change)).await), not(detail));
    }
    let withdraw = proto::WithdrawModuleRequest {
        name: module_name("hello"),
        reason: "outdated".into(),
        ..Default::default()
    };
    world.modules().withdraw_module(withdraw).await.expect("withdrawn");
    let reply = world.render(render_request("hello")).await;
    assert_eq!(reply.position, world.head());
    assert_eq!(told(reply), ("content_withdrawn".into(), "withdrawn".into()));
    world.harness.stop().await;
}

#[tokio::test]
async fn a_module_whose_stored_bytes_differ_from_those_that_were_signed_is_not_rendered() {
    let world = World::start().await;
    world.approved("hello", module_content("Sicher und wirksam.")).await;
    assert_eq!(world.render(render_request("hello")).await.text, "Sicher und wirksam.");
    let store = &world.harness.deps("content").store;
    let mut tx = store.database().begin().await.expect("begun");
    let rows = tx
        .query(
            "SELECT position, envelope FROM event WHERE stream = 'module/hello' AND version = 1",
            vec![],
        )
        .await
        .expect("read");
    let position = rows[0].count(0).expect("a position");
    let mut bytes = rows[0].blob(1).expect("bytes").to_vec();
    let place = bytes.windows(6).position(|it| it == b"Sicher").expect("the text is there");
    bytes[place..place + 6].copy_from_slice(b"Harmlo");
    // The store refuses to change a fact; whoever forges one has the database.
    tx.exec("DROP TRIGGER event_is_not_updated", vec![]).await.expect("dropped");
    let forge = "UPDATE event SET envelope = $1 WHERE position = $2";
    tx.exec(forge, eventstore::values![bytes, position]).await.expect("forged");
    tx.commit().await.expect("committed");
    // What this process has read is what was signed, whatever stands there now; it is never the forgery.
    assert_eq!(world.render(render_request("hello")).await.text, "Sicher und wirksam.");
    // With whatever is recorded next, everything is read again.
    world.reference("study", None).await;
    let reply = world.render(render_request("hello")).await;
    assert_eq!(
        (reply.content_reason.as_str(), reply.content_detail.as_str()),
        ("content_not_approved", "tampered")
    );
    world.harness.stop().await;
}

#[tokio::test]
async fn what_another_replica_withdraws_is_not_rendered_from_memory() {
    let world = World::start().await;
    world.approved("hello", module_content("Guten Tag")).await;
    for _ in 0..2 {
        assert_eq!(world.render(render_request("hello")).await.content_reason, "");
    }
    // Another process on the same database, of which this one hears nothing.
    let deps = world.harness.deps("content");
    let options = StoreOptions {
        source: "content".into(),
        database: DatabaseOptions::new(deps.settings.database.url_for("content")),
        migrate: false,
        commit: CommitOptions::default(),
        kms: Some(chassis::root_key::read(&deps.settings).expect("keys")),
        clock: deps.clock.clone(),
        ids: Ids::system(),
        log: Log::local(),
    };
    let replica = Store::open(options, crate::schema()).await.expect("opened");
    let meta = Metadata {
        tenant: ACME.into(),
        method: "test".into(),
        request_id: "withdraw".into(),
        at: deps.clock.now(),
        ..Metadata::default()
    };
    let withdraw = Command::Withdraw { version: 0, reason: "r".into(), cause: String::new() };
    replica.execute::<Module>("hello", &meta, withdraw).await.expect("withdrawn");
    replica.close().await;
    let reply = world.render(render_request("hello")).await;
    assert_eq!(reply.content_reason, "content_withdrawn");
    assert!(!world.check("hello").await.usable);
    world.harness.stop().await;
}
