//! What comes from outside over HTTP about a message that was sent: one click in a mail program, and what a provider
//! reports and signs.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use eventstore::Timestamp;
use hmac::{Hmac, KeyInit as _, Mac as _};
use rapport::remote::told;
use rapport_proto::delivery::v1::touch::State;
use rapport_proto::delivery::v1::{GateStep, Touch};
use rapport_proto::profiles::v1::CheckConsentRequest;
use serde_json::{Value, json};
use sha2::Sha256;
use support::{Message, Platform, Topology, Web};

use crate::in_both_topologies;
use crate::stage::{Stage, assert_stopped, consent_key};

in_both_topologies!(through tell: one_click_is_a_withdrawal, only_what_a_provider_signed_counts);

const SECRET: &[u8] = b"a secret of the relay, 32 bytes.";

async fn tell(topology: Topology, story: impl AsyncFnOnce(&mut Stage)) {
    let signed = |platform: &mut Platform| {
        let file = platform.folder().join("relay");
        std::fs::write(&file, format!("whsec_{}\n", STANDARD.encode(SECRET))).expect("a file");
        let setting = format!("gateway.provider_secret_files.relay={}", file.display());
        platform.extra.push(setting);
    };
    let mut stage = Box::pin(Stage::open_with(topology, signed, None)).await;
    story(&mut stage).await;
    stage.finish().await;
}

async fn one_click_is_a_withdrawal(stage: &mut Stage) {
    let party = stage.physician("vogel", "DE").await;
    let touch = sent(stage, &party).await;
    let link = unsubscribe_link(stage, &touch);
    // Programs look at links before people do.
    let page = ask(stage, "GET", &link, &[], b"").await;
    assert_eq!(page.status(), 200);
    assert!(page.text().contains("<form method=\"post\">"), "{}", page.text());
    let policy = page.header("content-security-policy").unwrap_or_default();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    stage.settle().await;
    assert_eq!(consent(stage, &party).await, (true, String::new()));

    // Nobody ends somebody else's messages by guessing.
    let forged = format!("{}0", &link[..link.len() - 1]);
    let forged = if forged == link { format!("{}1", &link[..link.len() - 1]) } else { forged };
    for link in [forged.as_str(), "/u/acme/tch_1.0", "/u/nobody/tch_1.0", "/u/acme/%ff"] {
        assert_eq!(ask(stage, "POST", link, &[], b"").await.status(), 404, "{link}");
    }
    stage.settle().await;
    assert_eq!(consent(stage, &party).await, (true, String::new()));

    let form = [("content-type", "application/x-www-form-urlencoded")];
    for _ in 0..2 {
        let done = ask(stage, "POST", &link, &form, b"List-Unsubscribe=One-Click").await;
        assert_eq!(done.status(), 200, "{}", done.text());
    }
    let next = stage.ask_for_touch(&party, "letter").await;
    stage.settle().await;
    assert_stopped(&stage.touch(&next).await, GateStep::Recipient, "suppressed");
    assert_eq!(consent(stage, &party).await, (false, "withdrawn".to_owned()));
    assert_eq!(stage.outbox().len(), 1);

    // Who consented again and clicks the same old link says it anew.
    stage.pass(Duration::from_secs(60)).await;
    stage.grant(&party, "DE").await;
    stage.settle().await;
    assert_eq!(consent(stage, &party).await, (true, String::new()));
    stage.pass(Duration::from_secs(60)).await;
    let done = ask(stage, "POST", &link, &form, b"List-Unsubscribe=One-Click").await;
    assert_eq!(done.status(), 200, "{}", done.text());
    let next = stage.ask_for_touch(&party, "letter").await;
    stage.settle().await;
    assert_stopped(&stage.touch(&next).await, GateStep::Recipient, "suppressed");
    assert_eq!(consent(stage, &party).await, (false, "withdrawn".to_owned()));
    assert_eq!(stage.outbox().len(), 1);
}

/// Provider, headers and body; status, code and field of the answer.
type Case<'a> = (&'a str, &'a [(String, String)], &'a Value, u16, &'static str, &'static str);

async fn only_what_a_provider_signed_counts(stage: &mut Stage) {
    let party = stage.physician("vogel", "DE").await;
    let touch = sent(stage, &party).await;
    let id = touch.request.clone().unwrap_or_default().touch_id;
    // Nobody clicks as soon as programs do.
    stage.pass(Duration::from_secs(60)).await;
    let person = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Thunderbird/128.0";
    let event = |event: &str, kind: &str| json!({"id": event, "type": kind, "touch_id": id, "user_agent": person});
    let body = json!({"events": [event("e-1", "delivered"), event("e-2", "clicked")]});
    let told = report(stage, "relay", &signed(&body), &body).await;
    assert_eq!(told.status(), 200, "{}", told.text());
    let outcomes = |told: &Message| -> Vec<String> {
        let results = told.json()["results"].as_array().cloned().expect("results");
        results.iter().map(|it| it["outcome"].as_str().expect("an outcome").to_owned()).collect()
    };
    assert_eq!(outcomes(&told), ["recorded"; 2]);
    assert_eq!(outcomes(&report(stage, "relay", &signed(&body), &body).await), ["repeated"; 2]);

    let other = json!({"events": [event("e-3", "complained")]});
    let wrong = json!({"events": [event("e-3", "sang")]});
    let cases: [Case<'_>; 5] = [
        ("relay", &signed(&body), &other, 401, "signature", "webhook-signature"),
        ("relay", &[], &other, 401, "signature", "webhook-timestamp"),
        ("nobody", &signed(&other), &other, 404, "not_found", ""),
        ("relay", &signed(&wrong), &wrong, 400, "schema", "events[0].type"),
        ("relay", &signed(&json!({})), &json!({}), 400, "schema", "events"),
    ];
    for (provider, headers, body, status, code, field) in cases {
        let refused = report(stage, provider, headers, body).await;
        assert_eq!(refused.status(), status, "{}", refused.text());
        let error = &refused.json()["error"];
        assert_eq!(
            (&error["code"], error["field"].as_str().unwrap_or_default()),
            (&json!(code), field)
        );
    }
    stage.settle().await;
    let touch = stage.touch(&id).await;
    assert_eq!((touch.delivered, touch.clicks), (true, 1), "{touch:#?}");
    assert_eq!(consent(stage, &party).await, (true, String::new()), "nobody complained");
}

async fn sent(stage: &mut Stage, party: &str) -> Touch {
    let touch = stage.ask_for_touch(party, "letter").await;
    stage.settle().await;
    let touch = stage.touch(&touch).await;
    assert_eq!(touch.state(), State::Sent, "{touch:#?}");
    touch
}

/// Path of the link that mail programs post to, from the letter as it left.
fn unsubscribe_link(stage: &Stage, touch: &Touch) -> String {
    let id = touch.request.clone().unwrap_or_default().touch_id;
    let file = stage.platform.folder().join("outbox/acme").join(format!("{id}.eml"));
    let flat = stage.platform.folder().join("outbox").join(format!("{id}.eml"));
    let letter = std::fs::read_to_string(&file).or_else(|_| std::fs::read_to_string(&flat));
    // Long headers are folded.
    let letter = letter.expect("a letter").replace("\r\n ", "");
    let header = letter.lines().find_map(|it| it.strip_prefix("List-Unsubscribe: <https://"));
    let (_, path) = header.and_then(|it| it.split_once('/')).expect("a link in the letter");
    format!("/{}", path.trim_end().trim_end_matches('>'))
}

async fn ask(
    stage: &Stage,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Message {
    let mut web = Web::new(stage.platform.node("gateway").grpc.clone());
    web.ask(method, path, headers, body).await.expect("an answer")
}

async fn report(
    stage: &Stage,
    provider: &str,
    headers: &[(String, String)],
    body: &Value,
) -> Message {
    let path = format!("/v1/providers/acme/{provider}/events");
    let headers: Vec<_> = headers.iter().map(|it| (it.0.as_str(), it.1.as_str())).collect();
    ask(stage, "POST", &path, &headers, body.to_string().as_bytes()).await
}

/// As Standard Webhooks signs.
fn signed(body: &Value) -> Vec<(String, String)> {
    let stamp = (Timestamp::real().0 / 1_000_000).to_string();
    let mac = Hmac::<Sha256>::new_from_slice(SECRET).expect("a key");
    let mac = mac.chain_update(format!("msg_1.{stamp}.{body}")).finalize().into_bytes();
    vec![
        ("webhook-id".into(), "msg_1".into()),
        ("webhook-timestamp".into(), stamp),
        ("webhook-signature".into(), format!("v1,{}", STANDARD.encode(mac))),
    ]
}

/// Whether `profiles` allows a letter, and why not.
async fn consent(stage: &Stage, party: &str) -> (bool, String) {
    let request = CheckConsentRequest {
        parent: stage.remote.parent.clone(),
        key: Some(consent_key(party, "DE")),
        ..Default::default()
    };
    let reply = told(stage.remote.consents.clone().check_consent(request).await);
    let reply = reply.expect("a verdict");
    (reply.allowed, reply.detail)
}
