//! `rapport smoke` and `rapport status`, as an operator runs them.

use std::path::Path;

use chassis::testing::{AUDIENCE, OidcIssuer, TokenSpec};
use eventstore::{Database, DatabaseOptions};
use serde_json::Value;

use super::deployment::Deployment;
use super::{Server, fails, rapport, settings, succeeds, text};

const OTHERS: [&str; 8] =
    ["profiles", "content", "decisioning", "journeys", "delivery", "feedback", "kpis", "audit"];

/// What `deploy/operations.md` says that smoke needs.
const RIGHTS: [&str; 10] = [
    "profiles.parties.write",
    "profiles.parties.operate",
    "profiles.parties.read",
    "content.modules.read",
    "decisioning.rulepacks.read",
    "journeys.journeys.read",
    "delivery.touches.read",
    "feedback.surveys.read",
    "kpis.metrics.read",
    "audit.events.read",
];

/// The line about a check.
fn line<'a>(said: &'a str, check: &str) -> &'a str {
    let named = format!("  {check}: ");
    said.lines().find(|it| it.contains(&named)).unwrap_or_else(|| panic!("no {check}: {said}"))
}

#[test]
fn a_deployment_is_smoked_and_left_tidy() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path();
    let server = Server::start(here);
    let said = succeeds(here, &["--url", &server.url, "smoke"]);
    assert!(said.lines().all(|it| it.starts_with("ok ")), "{said}");
    for target in OTHERS {
        assert!(line(&said, &format!("{target} health")).ends_with("SERVING"), "{said}");
        assert!(line(&said, &format!("{target} reflection")).contains("lists"), "{said}");
        assert!(line(&said, &format!("{target} read")).ends_with("answers"), "{said}");
    }
    assert!(line(&said, "clean up").contains("stays, suppressed and without identifier"), "{said}");

    let json = succeeds(here, &["--url", &server.url, "--output", "json", "smoke"]);
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["passed"], true, "{json}");
    // One write of each run, though it was sent twice, and what tidied up behind it.
    let checks = json["checks"].as_array().expect("checks");
    assert!(checks.iter().all(|it| it["took_ms"].is_u64()), "{json}");
    let types: Vec<_> = succeeds(here, &["events", "export", "profiles"])
        .lines()
        .map(|it| serde_json::from_str::<Value>(it).expect("JSON")["type"].to_string())
        .map(|it| it.rsplit('.').next().unwrap_or_default().trim_matches('"').to_owned())
        .collect();
    let run =
        ["PartyRegistered", "PartyIdentifierAdded", "PartyIdentifierRemoved", "PartySuppressed"];
    assert_eq!(types, [run, run].concat());
}

#[test]
fn what_is_not_there_fails_within_the_timeout() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path();
    // Without `audit` nobody reads what is written.
    let server = Server::start_with(here, &["targets=profiles,content".into()]);
    let smoke = ["--url", &server.url, "--target", "profiles,content,audit", "smoke", "--timeout"];
    let started = std::time::Instant::now();
    let said = fails(here, &[&smoke[..], &["2"]].concat());
    assert!(started.elapsed().as_secs() < 20, "{said}");
    for (check, word) in [
        ("profiles read", "ok"),
        ("content health", "ok"),
        ("audit read", "FAILED"),
        ("read by a consumer", "FAILED"),
        ("clean up", "ok"),
    ] {
        assert!(line(&said, check).starts_with(word), "{check}: {said}");
    }
    let off = Server::start_with(
        here,
        &[
            "targets=content".into(),
            "grpc.reflection=never".into(),
            "database.url=sqlite://off/{service}.db".into(),
        ],
    );
    let said = fails(here, &["--url", &off.url, "--target", "content", "smoke", "--timeout", "1"]);
    assert!(line(&said, "content reflection").ends_with(": off"), "{said}");
    let nowhere = ["--url", "http://127.0.0.1:1", "smoke", "--timeout", "1"];
    let json = rapport(here, &[&nowhere[..], &["--output", "json"]].concat());
    let json: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(json["passed"], false, "{json}");
    assert!(json["checks"].as_array().is_some_and(|it| it.iter().all(|it| it["ok"] == false)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_address_of_a_gateway_is_enough() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path();
    let issuer = OidcIssuer::start().await;
    let keys = here.join("service.keys");
    std::fs::write(&keys, "a key that every target of this deployment holds\n").expect("written");
    let common = [
        "auth.mode=oidc".to_owned(),
        format!("auth.issuer={}", issuer.url()),
        format!("auth.audience={AUDIENCE}"),
        format!("auth.service_key_file={}", keys.display()),
    ];
    let targets = format!("targets={}", OTHERS.join(","));
    let behind = Server::start_with(here, &[&common[..], &[targets]].concat());
    let peers = OTHERS.map(|it| format!("peers.{it}={}", behind.url));
    let front = ["targets=gateway".to_owned()];
    let front = Server::start_with(here, &[&common[..], &front, &peers].concat());
    let token = |permissions: &[&str]| issuer.mint(TokenSpec::new("default", "smoke", permissions));
    // No more rights than its documentation names.
    let enough = token(&RIGHTS);
    let smoke = |token: &str| {
        rapport(here, &["--url", &front.url, "--token", token, "smoke", "--timeout", "20"])
    };
    let output = smoke(&enough);
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    assert!(line(&said, "gateway health").ends_with("SERVING"), "{said}");
    assert!(line(&said, "profiles health").ends_with("not in the process at this address"));
    assert!(line(&said, "profiles read").ends_with("answers"), "{said}");
    // A right that is missing is told, at once.
    let output = smoke(&token(&RIGHTS[1..]));
    let said = text(&output);
    assert!(!output.status.success(), "{said}");
    assert!(line(&said, "write").contains("PERMISSION_MISSING"), "{said}");
}

/// One change in a store.
async fn change(url: String, sql: &'static str) {
    let database = Database::open(&DatabaseOptions::new(url)).await.expect("opened");
    database.exec(sql, vec![]).await.expect("changed");
    database.close().await;
}

pub(super) fn status(folder: &Path, set: &[String], attention: bool) -> (String, Value) {
    let set: Vec<_> = set.iter().flat_map(|it| ["--set", it.as_str()]).collect();
    let look = |more: &[&str]| {
        let output = rapport(folder, &[&set[..], &["status"], more].concat());
        assert_eq!(output.status.success(), !attention, "{}", text(&output));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let told = look(&[]);
    assert_eq!(told.lines().find(|it| it.chars().count() > 100), None);
    (told, serde_json::from_str(&look(&["--output", "json"])).expect("JSON"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_tells_positions_and_what_needs_attention() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path();
    let (told, _) = status(here, &[], true);
    assert!(told.contains("profiles: the store cannot be read: there is no database"), "{told}");
    assert_eq!(std::fs::read_dir(here).expect("read").count(), 0, "nothing was made");

    let server = Server::start(here);
    succeeds(here, &["--url", &server.url, "smoke"]);
    // Beside a running process, and after it.
    status(here, &[], false);
    drop(server);
    let (told, json) = status(here, &[], false);
    assert!(told.ends_with("\nnothing needs attention\n"), "{told}");
    let profiles = &json["targets"][0];
    assert_eq!(profiles["target"], "profiles");
    assert!(profiles["position"].as_u64() >= Some(3), "{profiles}");
    assert_eq!(profiles["outbox"], 0);
    assert_eq!(profiles["schema"]["pending"], serde_json::json!([]));
    let lag = |target: &str| {
        let targets = json["targets"].as_array().expect("targets");
        let one = targets.iter().find(|it| it["target"] == target).expect("the target");
        let consumers = one["consumers"].as_array().expect("consumers");
        let of = consumers.iter().find(|it| it["source"] == "profiles").expect("reads profiles");
        (of["position"].as_u64(), of["lag"].as_u64())
    };
    let (position, behind) = lag("audit");
    assert_eq!(position.zip(behind).map(|it| it.0 + it.1), profiles["position"].as_u64());

    let url = |target: &str| settings(here).database.url_for(target);
    let cases: [(&str, &str, &str, &str); 5] = [
        (
            "profiles",
            "INSERT INTO timer (tenant, id, kind, stream, due_at, claimed_until, parked_at, reason)
             VALUES ('default', 't', 'test', 'party/p', 0, 0, 1, 'no such timer')",
            "DELETE FROM timer WHERE id = 't'",
            "profiles: 1 timers parked, see `rapport parked list`",
        ),
        (
            "audit",
            "INSERT INTO parked VALUES ('audit', 'kpis', 9, 'default', 's/1', 'why', 1, '', '')",
            "DELETE FROM parked WHERE position = 9",
            "audit: 1 events of kpis parked by audit, see `rapport parked list`",
        ),
        (
            "content",
            "UPDATE head SET fenced = 'the store and the log part at position 3'",
            "UPDATE head SET fenced = ''",
            "content: fenced, see `rapport store unfence`: the store and the log part at position 3",
        ),
        (
            "kpis",
            "INSERT INTO migration VALUES ('kpis/9999_next', 'c', 1)",
            "DELETE FROM migration WHERE name = 'kpis/9999_next'",
            "kpis: applied by a newer binary than this one: kpis/9999_next",
        ),
        (
            "audit",
            "DELETE FROM migration WHERE name = 'audit/0001_audit'",
            "SELECT 1",
            "audit: pending, run `rapport migrate`: audit/0001_audit",
        ),
    ];
    for (target, breaks, mends, expected) in cases {
        change(url(target), breaks).await;
        let (told, json) = status(here, &[], true);
        assert!(told.replace("\n  ", " ").contains(expected), "{expected}: {told}");
        assert_eq!(json["attention"], serde_json::json!([expected]), "{told}");
        if mends != "SELECT 1" {
            change(url(target), mends).await;
            status(here, &[], false);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_tells_what_is_not_on_the_log_yet() {
    let mut deployment = Deployment::new(true).await;
    let (folder, set) = (deployment.here().to_owned(), deployment.set.clone());
    let here = folder.as_path();
    let server = deployment.serve();
    let token = deployment.token();
    let smoke = ["--url", &server.url, "--token", &token, "smoke"];
    succeeds(here, &deployment.with(&smoke));
    let profiles = |json: &Value| json["targets"][0].clone();
    // The relay has published it all: `audit` has read it from the log.
    let (told, json) = status(here, &set, false);
    let at = profiles(&json)["position"].as_u64().expect("a position");
    let lease = &profiles(&json)["leases"][0];
    assert_eq!(lease["lease"], "relay/profiles", "{told}");
    assert!(lease["left_seconds"].as_f64() > Some(0.0), "{told}");
    assert!(at >= 3 && profiles(&json)["log"].as_u64() <= Some(at), "{told}");
    drop(server);

    deployment.nats.kill();
    let (_, json) = status(here, &set, true);
    let attention = json["attention"].to_string();
    assert!(attention.contains("profiles: the log cannot be read: "), "{attention}");
    // A log that has nothing: the relay fills it again.
    std::fs::remove_dir_all(deployment.nats.storage()).expect("removed");
    deployment.nats.launch();
    let (told, json) = status(here, &set, false);
    assert_eq!(profiles(&json)["outbox"].as_u64(), Some(at), "{told}");
    let server = deployment.serve();
    let filled = async || {
        let (_, json) = status(here, &set, false);
        profiles(&json)["outbox"] == 0 && profiles(&json)["log"] == at
    };
    for _ in 0..100 {
        if filled().await {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(filled().await);
    drop(server);
    let postgres = deployment.postgres.as_ref().expect("on PostgreSQL");
    change(postgres.url("profiles"), "UPDATE head SET position = 1").await;
    let (_, json) = status(here, &set, true);
    let attention = json["attention"].to_string();
    assert!(attention.contains(&format!("the store ends at 1, the log at {at}")), "{attention}");
}
