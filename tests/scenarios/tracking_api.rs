//! What shops and portals send with their SDKs becomes what is known of a customer, once.

use std::io::Write as _;
use std::time::{Duration, Instant};

use eventstore::Timestamp;
use rapport::remote::told;
use rapport_proto::profiles::v1::{
    CheckConsentRequest, ListConsentsRequest, RecordConsentRequest, consent,
};
use rapport_proto::types::{Regime, clear};
use serde_json::{Value, json};
use support::Topology;

use crate::in_both_topologies;
use crate::stage::consent_key;

pub(crate) mod shop;

use shop::{KEY, Shop, basic};

in_both_topologies!(
    through tell:
    a_customer_is_known_by_what_sdks_say,
    a_batch_is_stored_once_and_in_order,
    browsers_may_send_too,
    a_batch_that_grows_on_its_way_is_stored,
    what_is_refused_or_repeated_changes_no_customer,
    a_preference_that_is_off_is_a_withdrawal,
    a_withdrawal_counts_whatever_its_clock_says_and_whoever_says_it
);

async fn tell(topology: Topology, story: impl AsyncFnOnce(&mut Shop)) {
    let mut shop = Shop::open(topology, &["grpc.web_origins=https://shop.example"], None).await;
    story(&mut shop).await;
    shop.platform.stop();
}

async fn a_customer_is_known_by_what_sdks_say(shop: &mut Shop) {
    // Before it is known: recorded, of nobody.
    let visit = json!({"messageId": "m-1", "anonymousId": "v-1", "name": "Home"});
    assert_eq!(shop.post("/v1/page", &visit).await.json()["success"], true);

    let traits = json!({
        "kind": "PHARMACIST", "market": "US", "language": "en", "tier": "gold", "email": "ada@example.org"
    });
    let identify =
        json!({"messageId": "m-2", "userId": "c-1", "anonymousId": "v-1", "traits": traits});
    let answer = shop.post("/v1/identify", &identify).await;
    assert_eq!((answer.status(), &answer.json()["rejected"]), (200, &json!([])));
    let party = shop.lookup("user-id", "c-1").await.expect("registered");
    let known_too = shop.lookup("anonymous-id", "v-1").await.expect("known by both");
    assert_eq!(known_too.party_id, party.party_id);
    let tier = party.attributes["tier"].value.clone();
    assert_eq!(tier, Some(clear::Value::Code("gold".into())));
    assert!(!party.attributes.contains_key("email"), "what is not declared is personal");

    let item = |id: &str, more: Value| {
        let mut item = json!({"messageId": id, "userId": "c-1"});
        item.as_object_mut().expect("an object").extend(more.as_object().expect("one").clone());
        item
    };
    let calls = [
        ("track", item("m-3", json!({"event": "Order Completed", "properties": {"total": 12.5}}))),
        ("page", item("m-4", json!({"name": "Basket"}))),
        ("screen", item("m-5", json!({"name": "Start"}))),
        ("group", item("m-6", json!({"groupId": "g-1", "traits": {"name": "Northside"}}))),
        ("alias", item("m-7", json!({"previousId": "v-2"}))),
        ("identify", item("m-8", json!({"traits": {"tier": "platinum"}}))),
        ("t", json!({"messageId": "m-9", "anonymousId": "v-2", "event": "Order Returned"})),
    ];
    for (call, body) in calls {
        let answer = shop.post(&format!("/v1/{call}"), &body).await;
        assert_eq!(answer.status(), 200, "{call}: {}", answer.text());
    }
    let party = shop.lookup("user-id", "c-1").await.expect("registered");
    let tier = party.attributes["tier"].value.clone();
    assert_eq!(tier, Some(clear::Value::Code("platinum".into())));
    let mut did = shop.did(&party.party_id).await;
    did.sort();
    let expected = [
        "Alias",
        "Group",
        "Identify",
        "Identify",
        "Order Completed",
        "Order Returned",
        "Page Viewed",
        "Screen Viewed",
    ];
    assert_eq!(did, expected, "everything but the first visit");
    assert_eq!(shop.log().await.recorded["m-1"], 1, "which is recorded too");
}

async fn a_batch_is_stored_once_and_in_order(shop: &mut Shop) {
    let (ada, bob) = (shop.customer("ada").await, shop.customer("bob").await);
    let who = |n: usize| if n.is_multiple_of(3) { "bob" } else { "ada" };
    let item = |n: usize| {
        json!({
            "type": "track", "messageId": format!("m-{n:04}"), "userId": who(n), "event": "Viewed",
            "timestamp": "2026-01-31T09:30:00.000Z",
        })
    };
    let sent = |at: &str, count: usize| json!({"batch": (0..count).map(item).collect::<Vec<_>>(), "sentAt": at, "context": {"ip": "::1"}});
    // As an SDK sends it: compressed, under a type that is none.
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(sent("2026-01-31T09:31:00Z", 600).to_string().as_bytes()).expect("written");
    let (body, key) = (gzip.finish().expect("compressed"), basic(KEY));
    let headers = [
        ("authorization", &*key),
        ("content-type", "application/x-www-form-urlencoded"),
        ("content-encoding", "gzip"),
    ];
    let answer = shop.web.ask("POST", "/v1/batch", &headers, &body).await.expect("an answer");
    let answer = answer.json();
    assert_eq!((&answer["success"], &answer["rejected"]), (&json!(true), &json!([])), "{answer}");
    let log = shop.log().await;
    assert_eq!(answer["positions"]["profiles"], log.head.to_string(), "where it holds");
    for (name, party_id) in [("ada", &ada), ("bob", &bob)] {
        let of = log.in_order.iter().filter(|it| it.1 == *party_id).map(|it| it.0.clone());
        let expected = (0..600).filter(|n| who(*n) == name).map(|n| format!("m-{n:04}"));
        assert!(of.eq(expected), "{name}'s in the order of the batch");
    }

    // Sent again, later, by another clock, and with more: only that is new.
    let again = shop.post("/v1/batch", &sent("2026-01-31T11:00:00Z", 601)).await.json();
    assert_eq!((&again["success"], &again["rejected"]), (&json!(true), &json!([])), "{again}");
    let (before, log) = (log.head, shop.log().await);
    assert_eq!((log.head, log.recorded.len(), log.refused.len()), (before + 1, 601, 0));
}

async fn browsers_may_send_too(shop: &mut Shop) {
    let origin = ("origin", "https://shop.example");
    let asked = [
        origin,
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,content-type,x-retry-count"),
    ];
    let answer = shop.web.ask("OPTIONS", "/v1/batch", &asked, b"").await.expect("an answer");
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://shop.example"));
    let allowed = answer.header("access-control-allow-headers").unwrap_or_default();
    assert!(allowed.contains("x-retry-count"), "{allowed}");
    let stranger = [("origin", "https://elsewhere.example"), asked[1]];
    let answer = shop.web.ask("OPTIONS", "/v1/batch", &stranger, b"").await.expect("an answer");
    assert_ne!(answer.header("access-control-allow-origin"), Some("https://elsewhere.example"));

    // analytics.js asks for its settings, then sends text with the key in the body, so that nobody has to be asked.
    let path = format!("/v1/projects/{KEY}/settings");
    let settings = shop.web.ask("GET", &path, &[origin], b"").await.expect("an answer").json();
    assert_eq!(settings["integrations"]["Segment.io"]["apiKey"], KEY);
    let visit = json!({
        "writeKey": KEY, "messageId": "m-1", "anonymousId": "v-1", "userId": null, "name": "Home",
        "sentAt": "2026-01-31T09:30:00.000Z", "timestamp": "2026-01-31T09:30:00.000Z", "_metadata": {},
    });
    let plain = [origin, ("content-type", "text/plain")];
    let visit = visit.to_string();
    for path in ["/v1/p", "/v1/m"] {
        let answer = shop.web.ask("POST", path, &plain, visit.as_bytes()).await.expect("an answer");
        assert_eq!((answer.status(), &answer.json()["success"]), (200, &json!(true)), "{path}");
        let allowed = answer.header("access-control-allow-origin");
        assert_eq!(allowed, Some("https://shop.example"));
    }
    assert_eq!(shop.log().await.recorded, [("m-1".to_owned(), 1)].into());
}

async fn a_batch_that_grows_on_its_way_is_stored(shop: &mut Shop) {
    // 8 KB of numbers are more than 40 KB to `profiles`, which takes 4 MB at once.
    let context = json!({"numbers": vec![1; 3_900]});
    let item = |n: usize| json!({"type": "track", "messageId": format!("m-{n}"), "anonymousId": "v-1", "event": "Viewed"});
    let batch = json!({"batch": (0..100).map(item).collect::<Vec<_>>(), "context": context});
    let give_up = Instant::now() + Duration::from_secs(600);
    loop {
        let answer = shop.post("/v1/batch", &batch).await;
        // A slow machine may not be done in time: then, as an SDK does, the same again.
        if answer.status() == 503 && Instant::now() < give_up {
            continue;
        }
        assert_eq!(answer.status(), 200, "{}", answer.text());
        assert_eq!(answer.json()["rejected"], json!([]));
        break;
    }
    assert_eq!(shop.log().await.recorded.len(), 100);
}

async fn what_is_refused_or_repeated_changes_no_customer(shop: &mut Shop) {
    let identify = |id: &str, user_id: &str, traits: Value| json!({"messageId": id, "userId": user_id, "traits": traits});
    let tier = async |shop: &Shop| {
        let party = shop.lookup("user-id", "ada").await.expect("registered");
        assert!(party.attributes.len() <= 1, "{:?}", party.attributes);
        party.attributes.get("tier").and_then(|it| it.value.clone())
    };
    let code = |it: &str| Some(clear::Value::Code(it.into()));
    let new = |tier: Value| json!({"kind": "PHARMACIST", "market": "US", "tier": tier});
    let misfit = identify("m-0", "ada", new(json!(7)));
    let answer = shop.post("/v1/identify", &misfit).await;
    assert_eq!((answer.status(), &answer.json()["error"]["code"]), (400, &json!("schema")));
    assert_eq!(shop.lookup("user-id", "ada").await, None, "refused, so nobody is registered");

    let first = identify("m-1", "ada", new(json!("gold")));
    assert_eq!(shop.post("/v1/identify", &first).await.status(), 200);
    assert_eq!(tier(shop).await, code("gold"));
    let second = identify("m-2", "ada", json!({"tier": "platinum"}));
    assert_eq!(shop.post("/v1/identify", &second).await.status(), 200);
    assert_eq!(tier(shop).await, code("platinum"));
    let head = shop.log().await.head;
    for again in [&first, &second, &first] {
        assert_eq!(shop.post("/v1/identify", again).await.status(), 200);
        assert_eq!(tier(shop).await, code("platinum"), "what is repeated sets nothing back");
    }
    assert_eq!(shop.log().await.head, head);
    let other = identify("m-2", "ada", json!({"tier": "silver"}));
    let misfit = identify("m-3", "ada", json!({"tier": 7, "email": "ada@example.org"}));
    for (refused, code) in [(other, "conflict"), (misfit, "schema")] {
        let answer = shop.post("/v1/identify", &refused).await;
        assert_eq!((answer.status(), &answer.json()["error"]["code"]), (400, &json!(code)));
    }
    assert_eq!(tier(shop).await, code("platinum"));
}

/// Records a grant for the consent key of a party.
async fn grant(shop: &Shop, party_id: &str) {
    let grant = RecordConsentRequest {
        parent: shop.remote.parent.clone(),
        key: Some(consent_key(party_id, "US")),
        state: consent::State::Granted.into(),
        regime_shown: Regime::OptIn.into(),
        source: "form".into(),
        text_version: "v1".into(),
        ..Default::default()
    };
    told(shop.remote.consents.clone().record_consent(grant).await).expect("granted");
    assert!(is_allowed(shop, party_id).await);
}

async fn is_allowed(shop: &Shop, party_id: &str) -> bool {
    let check = CheckConsentRequest {
        parent: shop.remote.parent.clone(),
        key: Some(consent_key(party_id, "US")),
        regime: Regime::OptIn.into(),
        ..Default::default()
    };
    let reply = told(shop.remote.consents.clone().check_consent(check).await);
    reply.expect("a verdict").allowed
}

fn preferences(id: &str, preferences: &Value) -> Value {
    json!({
        "messageId": id, "userId": "ada", "event": "Segment Consent Preference Updated",
        "context": {"consent": {"categoryPreferences": preferences}},
    })
}

async fn a_preference_that_is_off_is_a_withdrawal(shop: &mut Shop) {
    let party = shop.customer("ada").await;
    grant(shop, &party).await;
    let updated = |id: &str, on: bool| {
        preferences(id, &json!({"PROMOTIONAL/EMAIL/northwind": on, "Advertising": false}))
    };
    let answer = shop.post("/v1/track", &updated("m-1", false)).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert!(!is_allowed(shop, &party).await);
    // "On" is no consent: nobody says what was agreed to.
    let answer = shop.post("/v1/track", &updated("m-2", true)).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert!(!is_allowed(shop, &party).await);
}

async fn a_withdrawal_counts_whatever_its_clock_says_and_whoever_says_it(shop: &mut Shop) {
    let party = shop.customer("ada").await;
    let off = json!({"PROMOTIONAL/EMAIL/northwind": false});
    let now = Timestamp::real();
    let hour = Duration::from_secs(3_600);
    for (id, stated) in [("m-ahead", now.plus(hour)), ("m-behind", now.minus(hour * 24))] {
        grant(shop, &party).await;
        let mut message = preferences(id, &off);
        message["timestamp"] = json!(stated.to_string());
        let answer = shop.post("/v1/track", &message).await;
        assert_eq!(answer.status(), 200, "{id}: {}", answer.text());
        assert!(!is_allowed(shop, &party).await, "{id}");
        let list = ListConsentsRequest {
            parent: shop.remote.name("parties", &party),
            ..Default::default()
        };
        let listed = told(shop.remote.consents.clone().list_consents(list).await).expect("listed");
        assert_eq!(listed.consents[0].evidence, format!("{id}, stated {stated}"));
    }

    // Whoever is known by an anonymous id is known.
    let identify = json!({"messageId": "m-1", "userId": "ada", "anonymousId": "v-1", "traits": {}});
    assert_eq!(shop.post("/v1/identify", &identify).await.status(), 200);
    grant(shop, &party).await;
    let mut message = preferences("m-2", &off);
    (message["userId"], message["anonymousId"]) = (Value::Null, json!("v-1"));
    let answer = shop.post("/v1/track", &message).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert!(!is_allowed(shop, &party).await);

    // What cannot be read is told, and hinders nothing that can.
    grant(shop, &party).await;
    let mixed = json!({
        "PROMOTIONAL/EMAIL/northwind": false, "PROMOTIONAL/Email/northwind": false, "A/B/c": true,
    });
    let answer = shop.post("/v1/track", &preferences("m-3", &mixed)).await;
    let field = "context.consent.categoryPreferences.PROMOTIONAL/Email/northwind";
    let error = &answer.json()["error"];
    assert_eq!(
        (answer.status(), &error["code"], &error["field"]),
        (400, &json!("schema"), &json!(field))
    );
    assert!(!is_allowed(shop, &party).await);
    let mut item = preferences("m-4", &json!({"PROMOTIONAL/EMAIL/northwind": "off"}));
    item["type"] = json!("track");
    let answer = shop.post("/v1/batch", &json!({"batch": [item]})).await;
    assert_eq!(answer.json()["rejected"][0]["code"], "schema", "{}", answer.text());
}
