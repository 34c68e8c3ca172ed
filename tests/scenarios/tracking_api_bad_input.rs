//! What cannot be used is told to its sender, in JSON, with the field and the remedy; what came in a batch is kept.

use rapport::remote::told;
use rapport_proto::profiles::v1::DisableSourceRequest;
use serde_json::{Value, json};
use support::{Message, Topology, Web, eventually};

use crate::in_both_topologies;
use crate::tracking_api::shop::{KEY, Shop, basic};

in_both_topologies!(
    through tell:
    a_bad_item_is_kept_and_the_others_are_stored,
    every_bad_request_is_told_what_is_wrong,
    a_key_opens_its_source_only_while_it_is_active
);

async fn tell(topology: Topology, story: impl AsyncFnOnce(&mut Shop)) {
    let mut shop = Shop::open(topology, &[], None).await;
    story(&mut shop).await;
    shop.platform.stop();
}

fn track(id: &str) -> Value {
    json!({"type": "track", "messageId": id, "userId": "ada", "event": "Viewed"})
}

fn with(mut item: Value, field: &str, value: Value) -> Value {
    item[field] = value;
    item
}

async fn a_bad_item_is_kept_and_the_others_are_stored(shop: &mut Shop) {
    shop.customer("ada").await;
    let large = json!({"note": "x".repeat(33 << 10)});
    let deep = (0..60).fold(json!({}), |inner, _| json!({"x": inner}));
    let items = [
        track("m-0"),
        with(track("m-1"), "userId", Value::Null),
        with(track("m-2"), "type", json!("delete")),
        with(track("m-3"), "properties", large),
        with(track("m-4"), "timestamp", json!("yesterday")),
        with(track("m-5"), "userId", json!("nobody")),
        with(
            with(track("m-0"), "event", json!("Bought")),
            "timestamp",
            json!("2026-01-31T09:30:00Z"),
        ),
        with(track("m-7"), "properties", json!({"total": "many"})),
        track("m-8"),
        with(track("m-9"), "properties", deep),
    ];
    let batch = json!({"batch": items});
    let answer = shop.post("/v1/batch", &batch).await;
    assert_eq!((answer.status(), &answer.json()["success"]), (200, &json!(true)));
    let verdicts = answer.json()["rejected"].as_array().cloned().expect("verdicts");
    let told: Vec<_> = verdicts
        .iter()
        .map(|it| (it["index"].as_u64().expect("an index"), it["code"].as_str().expect("a code")))
        .collect();
    let expected = [
        (1, "schema"),
        (2, "unknown_type"),
        (3, "too_large"),
        (4, "bad_time"),
        (5, "unknown_party"),
        (6, "conflict"),
        (7, "schema"),
        (9, "schema"),
    ];
    assert_eq!(told, expected);
    assert!(verdicts.iter().all(|it| it["detail"].as_str().is_some_and(|it| it.len() > 10)));
    let log = shop.log().await;
    assert_eq!(log.recorded, [("m-0".to_owned(), 1), ("m-8".to_owned(), 1)].into());
    let mut kept: Vec<_> = log.refused.iter().map(|it| it.0.as_str()).collect();
    kept.sort_unstable();
    assert_eq!(kept, ["m-0", "m-1", "m-2", "m-3", "m-4", "m-5", "m-7", "m-9"]);

    // The same again is told the same, and leaves nothing.
    let again = shop.post("/v1/batch", &batch).await.json();
    assert_eq!(again["rejected"].as_array().map(Vec::len), Some(8), "{again}");
    assert_eq!(shop.log().await.head, log.head);
    // A corrected one is taken.
    let mended = json!({"batch": [track("m-1"), track("m-7")]});
    assert_eq!(shop.post("/v1/batch", &mended).await.json()["rejected"], json!([]));
    assert_eq!(shop.log().await.recorded.len(), 4);
}

/// Method, path, headers and body; status, code and field of the answer.
type Case<'a> =
    (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a str, u16, &'static str, &'static str);

async fn every_bad_request_is_told_what_is_wrong(shop: &mut Shop) {
    shop.customer("ada").await;
    let head = shop.log().await.head;
    let key = basic(KEY);
    let known = ("authorization", &*key);
    let many = json!({"batch": vec![json!({}); 2_501]}).to_string();
    let long =
        json!({"batch": [with(track("m-1"), "note", json!("x".repeat(501 << 10)))]}).to_string();
    let huge = " ".repeat((4 << 20) + 1);
    let single = |field: &str, value: Value| with(track("m-1"), field, value).to_string();
    let gzip = ("content-encoding", "gzip");
    let wide = json!({"batch": [], "context": {"note": "x".repeat(8 << 10)}}).to_string();
    let cases: [Case<'_>; 19] = [
        ("POST", "/v1/batch", &[known], "{", 400, "bad_json", ""),
        ("POST", "/v1/batch", &[known], "[]", 400, "batch", "batch"),
        ("POST", "/v1/batch", &[known], "{}", 400, "batch", "batch"),
        ("POST", "/v1/batch", &[known], r#"{"batch": {}}"#, 400, "batch", "batch"),
        ("POST", "/v1/batch", &[known], &many, 400, "batch", "batch"),
        ("POST", "/v1/batch", &[known], &long, 400, "batch", "batch"),
        ("POST", "/v1/batch", &[known], r#"{"batch": [], "sentAt": 5}"#, 400, "schema", "sentAt"),
        ("POST", "/v1/batch", &[known], r#"{"batch": [], "context": 5}"#, 400, "schema", "context"),
        ("POST", "/v1/batch", &[known], &wide, 400, "schema", "context"),
        ("POST", "/v1/batch", &[known], &huge, 413, "too_large", ""),
        ("POST", "/v1/batch", &[known, gzip], "{}", 400, "bad_encoding", "Content-Encoding"),
        ("POST", "/v1/batch", &[], r#"{"batch": []}"#, 401, "write_key", "Authorization"),
        ("POST", "/v1/track", &[], &track("m-1").to_string(), 401, "write_key", "Authorization"),
        ("POST", "/v1/track", &[known], &single("event", json!("")), 400, "schema", "event"),
        ("POST", "/v1/track", &[known], &single("userId", Value::Null), 400, "schema", "userId"),
        ("POST", "/v1/alias", &[known], &track("m-1").to_string(), 400, "schema", "previousId"),
        ("POST", "/v1/nothing", &[known], "{}", 404, "not_found", ""),
        ("POST", "/v1/%ff", &[known], "{}", 404, "not_found", ""),
        ("GET", "/v1/batch", &[known], "", 405, "method", ""),
    ];
    for (method, path, headers, body, status, code, field) in cases {
        // Of its own: a body that is too large may end the connection.
        let mut web = Web::new(shop.platform.node("gateway").grpc.clone());
        let answer = web.ask(method, path, headers, body.as_bytes()).await;
        let case = format!("{method} {path} {code} {field}");
        let answer = answer.unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(answer.status(), status, "{case}: {}", answer.text());
        let told = answer.json();
        let field_told = told["error"]["field"].as_str().unwrap_or_default();
        assert_eq!((&told["success"], field_told), (&json!(false), field), "{case}: {told}");
        assert_eq!(told["error"]["code"], code, "{case}: {told}");
        assert!(told["error"]["message"].as_str().is_some_and(|it| it.len() > 10), "{told}");
    }
    let log = shop.log().await;
    assert_eq!((log.head, log.recorded.len()), (head + 3, 0), "single messages are kept too");
}

async fn a_key_opens_its_source_only_while_it_is_active(shop: &mut Shop) {
    shop.customer("ada").await;
    let ask = async |shop: &mut Shop, key: &str, id: &str| -> Message {
        let body = with(track(id), "writeKey", json!(key)).to_string();
        shop.web.ask("POST", "/v1/track", &[], body.as_bytes()).await.expect("an answer")
    };
    assert_eq!(ask(shop, "key-of-nobody-at-all", "m-1").await.status(), 401);
    assert_eq!(ask(shop, KEY, "m-1").await.status(), 200);
    let request = DisableSourceRequest {
        name: shop.remote.name("sources", "shop"),
        reason: "left_the_shop".into(),
        ..Default::default()
    };
    told(shop.remote.sources.clone().disable_source(request).await).expect("disabled");
    let refused = ask(shop, KEY, "m-2").await;
    let code = &refused.json()["error"]["code"];
    assert_eq!((refused.status(), code), (401, &json!("write_key")), "at once");
    assert_eq!(ask(shop, KEY, "m-3").await.status(), 401);
    assert_eq!(shop.log().await.recorded.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_calls_too_often_is_told_when_to_come_back() {
    let settings = ["gateway.requests_per_second=1"];
    let shop = Shop::open(Topology::Embedded, &settings, None).await;
    let address = shop.platform.node("gateway").grpc.clone();
    eventually("a request is one too many", async || {
        let asks = (0..16).map(|_| async {
            let headers = [("authorization", &*basic(KEY))];
            let body = br#"{"batch": []}"#;
            let answer = Web::new(address.clone()).ask("POST", "/v1/batch", &headers, body).await;
            answer.expect("an answer")
        });
        let answers = futures::future::join_all(asks).await;
        let refused: Vec<_> = answers.iter().filter(|it| it.status() != 200).collect();
        for it in &refused {
            assert_eq!((it.status(), &it.json()["error"]["code"]), (429, &json!("rate_limited")));
            assert_eq!(it.header("retry-after"), Some("1"));
            assert_eq!(it.header("x-ratelimit-reset"), Some("1"));
        }
        !refused.is_empty()
    })
    .await;
    let mut platform = shop.platform;
    platform.stop();
}
