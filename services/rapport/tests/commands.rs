//! The commands, run as an operator runs them, and the documents that are generated from the code.

#[path = "commands/backups.rs"]
mod backups;
#[path = "commands/demo.rs"]
mod demo;
#[path = "commands/deployment.rs"]
mod deployment;
#[path = "commands/operators.rs"]
mod operators;
#[path = "commands/people.rs"]
mod people;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use chassis::lifecycle::Shutdown;
use chassis::settings::{Settings, Sources};
use eventstore::{Database, DatabaseOptions, values};
use rapport_proto::profiles::v1::RegisterPartyRequest;
use rapport_proto::profiles::v1::party_service_client::PartyServiceClient;
use rapport_proto::types::PartyKind;
use serde_json::Value;
use tonic::Request;
use tonic::transport::Channel;

/// Runs the binary in a folder.
fn rapport(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rapport"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("rapport runs")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn succeeds(folder: &Path, arguments: &[&str]) -> String {
    let output = rapport(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn fails(folder: &Path, arguments: &[&str]) -> String {
    let output = rapport(folder, arguments);
    assert!(!output.status.success(), "{arguments:?}: {}", text(&output));
    text(&output)
}

fn settings(folder: &Path) -> Settings {
    let url = format!("sqlite://{}/data/{{service}}.db", folder.display());
    let flags = vec![
        format!("database.url={url}"),
        "grpc.address=127.0.0.1:0".into(),
        "admin.address=127.0.0.1:0".into(),
    ];
    Settings::load(&Sources { flags, ..Sources::default() }).expect("valid")
}

/// Serves, registers some parties, checks health from outside, and stops.
async fn serve_and_register(folder: &Path, parties: usize) {
    let process = rapport::start(settings(folder), Shutdown::new()).await.expect("started");
    let token = process.token.as_ref().expect("embedded").reveal().to_owned();
    let channel = Channel::from_shared(format!("http://{}", process.grpc)).expect("an address");
    let mut client = PartyServiceClient::new(channel.connect_lazy());
    for number in 0..parties {
        let mut request = Request::new(RegisterPartyRequest {
            parent: "tenants/default".into(),
            kind: PartyKind::Hco.into(),
            market: "DE".into(),
            request_id: format!("register-{number:04}"),
            ..RegisterPartyRequest::default()
        });
        let bearer = format!("Bearer {token}").parse().expect("ASCII");
        request.metadata_mut().insert("authorization", bearer);
        client.register_party(request).await.expect("registered");
    }
    let (folder, admin) = (folder.to_owned(), process.admin.to_string());
    let asked = tokio::task::spawn_blocking(move || {
        succeeds(&folder, &["health", "--address", &admin]);
        admin
    });
    let admin = asked.await.expect("asked");
    process.stop().await.expect("stopped");
    let folder = std::env::temp_dir();
    fails(&folder, &["health", "--address", &admin]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_reads_rebuilds_and_verifies() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path();
    let targets = succeeds(here, &["targets"]);
    assert_eq!(
        targets,
        "profiles\ncontent\ndecisioning\njourneys\ndelivery\nfeedback\nkpis\naudit\ngateway\n"
    );
    let migrated = targets.lines().map(|it| format!("{it}: up to date\n")).collect::<String>();
    assert_eq!(succeeds(here, &["migrate"]), migrated);
    serve_and_register(here, 3).await;

    let exported = succeeds(here, &["events", "export", "profiles"]);
    let lines: Vec<Value> =
        exported.lines().map(|it| serde_json::from_str(it).expect("JSON")).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[2]["position"], 3);
    assert_eq!(lines[0]["type"], "rapport.profiles.v1.PartyRegistered");
    let after = succeeds(here, &["events", "export", "profiles", "--after", "2"]);
    assert_eq!(after.lines().count(), 1);
    fails(here, &["events", "export", "nowhere"]);

    assert_eq!(succeeds(here, &["rebuild", "profiles"]), "profiles: 3 events replayed\n");
    fails(here, &["rebuild", "nothing"]);
    // What a consumer keeps of others is filled by its service, which replays from the start.
    let rules = "delivery.rules: emptied; it is filled again when delivery runs\n";
    assert_eq!(succeeds(here, &["rebuild", "delivery.rules"]), rules);
    assert!(fails(here, &["rebuild", "segments_of_nobody"]).contains("no target has"));
    assert!(fails(here, &["rebuild", "delivery.profiles"]).contains("no target has"));
    let said = fails(here, &["rebuild", "decisioning.outcomes"]);
    assert!(said.contains("is a reactor"), "{said}");
    let verified = succeeds(here, &["store", "verify"]);
    let chain = lines[2]["chain"].as_str().expect("a chain");
    assert!(verified.starts_with(&format!("profiles: 3 events, chain {chain}\n")), "{verified}");
    assert_eq!(verified.lines().count(), targets.lines().count(), "{verified}");
    assert_eq!(succeeds(here, &["parked", "list"]), "");
    let unfenced = targets.lines().map(|it| format!("{it}: was not fenced\n")).collect::<String>();
    assert_eq!(succeeds(here, &["store", "unfence"]), unfenced);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verify_finds_the_first_fault() {
    let folder = tempfile::tempdir().expect("a folder");
    serve_and_register(folder.path(), 4).await;
    let url = settings(folder.path()).database.url_for("profiles");
    let database = Database::open(&DatabaseOptions::new(url)).await.expect("opened");
    let mut tx = database.begin().await.expect("begun");
    tx.exec("DROP TRIGGER event_is_not_deleted", vec![]).await.expect("dropped");
    tx.exec("DELETE FROM event WHERE position = $1", values![2_i64]).await.expect("deleted");
    tx.commit().await.expect("committed");
    database.close().await;
    let said = fails(folder.path(), &["store", "verify"]);
    assert!(said.starts_with("profiles: position 2: "), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parked_timer_is_listed_and_retried() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path();
    serve_and_register(here, 1).await;
    let url = settings(here).database.url_for("profiles");
    let database = Database::open(&DatabaseOptions::new(url)).await.expect("opened");
    let parked =
        "INSERT INTO timer (tenant, id, kind, stream, due_at, claimed_until, parked_at, reason)
                  VALUES ('default', 't', 'test', 'party/p', 0, 0, 1, 'no such timer')";
    database.exec(parked, vec![]).await.expect("parked");
    database.close().await;
    let listed = "timers profiles default party/p t: no such timer\n";
    assert_eq!(succeeds(here, &["parked", "list"]), listed);
    let retry = ["parked", "retry", "timers", "profiles", "default", "party/p"];
    let told = "timers: 1 of party/p fire again when profiles runs\n";
    assert_eq!(succeeds(here, &retry), told);
    assert_eq!(succeeds(here, &["parked", "list"]), "");
}

/// What could not be read is parked; once it can, the same command applies it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parked_event_is_listed_and_retried() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path();
    serve_and_register(here, 2).await;
    let open = async |target| {
        let url = settings(here).database.url_for(target);
        Database::open(&DatabaseOptions::new(url)).await.expect("opened")
    };
    let profiles = open("profiles").await;
    let event = "SELECT stream, chain, envelope FROM event WHERE position = 2";
    let event = profiles.query(event, vec![]).await.expect("read").remove(0);
    let stream = event.text(0).expect("a stream");
    profiles.close().await;
    let audit = open("audit").await;
    let mut tx = audit.begin().await.expect("begun");
    let gone = "DELETE FROM event_index WHERE source = 'profiles' AND position = 2";
    tx.exec(gone, vec![]).await.expect("deleted");
    let parked =
        "INSERT INTO parked VALUES ('audit', 'profiles', 2, 'default', $1, 'why', 1, $2, $3)";
    let damaged = values![stream, event.blob(1).expect("a chain"), &[0_u8, 1, 2][..]];
    tx.exec(parked, damaged).await.expect("parked");
    tx.commit().await.expect("committed");

    let listed = format!("audit profiles default {stream} 2: why\n");
    assert_eq!(succeeds(here, &["parked", "list"]), listed);
    let retry = ["parked", "retry", "audit", "profiles", "default", stream];
    let said = fails(here, &retry);
    assert!(said.contains("damaged"), "{said}");
    assert_eq!(succeeds(here, &["parked", "list"]), listed, "it waits on");

    let whole = values![event.blob(2).expect("an envelope")];
    audit.exec("UPDATE parked SET envelope = $1", whole).await.expect("mended");
    assert_eq!(succeeds(here, &retry), format!("audit: 1 events of {stream} applied\n"));
    assert_eq!(succeeds(here, &["parked", "list"]), "");
    let there = "SELECT stream FROM event_index WHERE source = 'profiles' AND position = 2";
    let there = audit.query(there, vec![]).await.expect("read");
    assert_eq!(there.first().and_then(|it| it.text(0).ok()), Some(stream));
    audit.close().await;
}

/// Every command that looks at stores, by what it needs.
const LOOKS: [&[&str]; 4] = [
    &["store", "verify"],
    &["events", "export", "profiles"],
    &["events", "tail", "profiles"],
    &["parked", "list"],
];
const CHANGES: [&[&str]; 2] = [
    &["rebuild", "profiles"],
    &["parked", "retry", "journeys", "profiles", "default", "party/pty_1"],
];

#[test]
fn a_store_that_is_not_there_is_refused_and_nothing_is_made() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path();
    for arguments in LOOKS {
        let said = fails(here, arguments);
        assert!(said.contains("./data/profiles.db"), "{said}");
    }
    for arguments in CHANGES {
        let said = fails(here, arguments);
        assert!(said.contains("read the key-encryption key ./data/root.key"), "{said}");
    }
    assert_eq!(std::fs::read_dir(here).expect("read").count(), 0, "nothing was made");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_not_up_to_date_is_refused_and_stays_as_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path();
    succeeds(here, &["migrate"]);
    let url = settings(here).database.url_for("profiles");
    let database = Database::open(&DatabaseOptions::new(url)).await.expect("opened");
    let pending = "DELETE FROM migration WHERE name = 'profiles/0001_profiles'";
    database.exec(pending, vec![]).await.expect("deleted");
    for arguments in LOOKS.iter().chain(&CHANGES) {
        let said = fails(here, arguments);
        assert!(said.contains("migration profiles/0001_profiles is pending"), "{said}");
    }
    let applied = database.query("SELECT name FROM migration", vec![]).await.expect("read");
    assert!(applied.iter().all(|it| it.text(0).expect("a name") != "profiles/0001_profiles"));
    database.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_auditor_verifies_and_exports_without_the_deployments_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path();
    serve_and_register(here, 2).await;
    std::fs::remove_file(here.join("data/root.key")).expect("it was made");
    assert!(succeeds(here, &["store", "verify"]).starts_with("profiles: 2 events"));
    assert_eq!(succeeds(here, &["events", "export", "profiles"]).lines().count(), 2);
    let said = fails(here, &["rebuild", "profiles"]);
    assert!(said.contains("read the key-encryption key ./data/root.key"), "{said}");
    assert!(!here.join("data/root.key").exists(), "no other key was made");
}

#[test]
fn settings_are_checked_whole_and_printed_without_secrets() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path();
    assert_eq!(succeeds(here, &["config", "check"]), "the settings are valid\n");
    let said =
        fails(here, &["config", "check", "--set", "commit.max_units=0", "--set", "tenant=a"]);
    assert!(said.contains("commit.max_units") && said.contains("tenants"), "{said}");
    let said = fails(here, &["config", "check", "--target", "nothing"]);
    assert!(said.contains("there is no target \"nothing\""), "{said}");
    std::fs::write(here.join("rapport.toml"), "[log]\nurl = \"nats://user:hunter2@host\"\n")
        .expect("written");
    let said = fails(here, &["config", "print", "--config", "rapport.toml"]);
    assert!(said.contains("keys.kek_file"), "outside embedded mode a key is needed: {said}");
    let postgres = "database.url=postgres://u:hunter2@db/{service}";
    let printed = succeeds(
        here,
        &[
            "config",
            "print",
            "--set",
            postgres,
            "--set",
            "keys.kek_file=k",
            "--set",
            "auth.mode=oidc",
            "--set",
            "auth.issuer=https://login.example.com",
            "--set",
            "auth.service_key_file=s",
        ],
    );
    assert!(printed.contains("u:***@db") && !printed.contains("hunter2"), "{printed}");
}

/// The committed document equals what the code generates; the message says how to mend it.
fn is_generated(file: &str, arguments: &[&str]) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(file);
    let generated = succeeds(Path::new("."), arguments);
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == generated,
        "{file} is out of date: cargo run --bin rapport -- {} > {file}",
        arguments.join(" ")
    );
}

#[test]
fn the_settings_reference_is_generated_from_the_code() {
    is_generated("deploy/rapport.toml", &["reference", "settings"]);
}

#[test]
fn the_error_catalogue_is_generated_from_the_code() {
    is_generated("deploy/errors.md", &["reference", "errors"]);
}

#[test]
fn the_metrics_are_generated() {
    is_generated("deploy/metrics.yaml", &["reference", "metrics"]);
}

#[test]
fn the_graph_in_the_chart_is_generated() {
    is_generated("charts/rapport/files/graph.yaml", &["reference", "graph"]);
}

#[test]
fn the_accounts_of_nats_in_the_chart_are_generated() {
    is_generated("charts/rapport/files/nats-accounts.conf", &["reference", "nats"]);
}

/// A server as a child process on a free port, in embedded mode; killed when it is dropped.
struct Server {
    child: std::process::Child,
    url: String,
}

impl Server {
    fn start(folder: &Path) -> Self {
        Self::start_with(folder, &[])
    }

    fn start_with(folder: &Path, settings: &[String]) -> Self {
        use std::io::{BufRead as _, BufReader};
        let free = ["--set", "grpc.address=127.0.0.1:0", "--set", "admin.address=127.0.0.1:0"];
        let mut child = Command::new(env!("CARGO_BIN_EXE_rapport"))
            .arg("serve")
            .args(free)
            .args(settings.iter().flat_map(|it| ["--set", it.as_str()]))
            .current_dir(folder)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("rapport starts");
        let said = BufReader::new(child.stdout.take().expect("piped"));
        let address = said
            .lines()
            .map_while(Result::ok)
            .find_map(|it| it.strip_prefix("grpc: ").map(str::to_owned));
        Self { child, url: format!("http://{}", address.expect("it says where it listens")) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already; waiting reaps it either way.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_demo_tells_a_story_and_every_command_it_prints_works() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path();
    let server = Server::start(here);
    let told = succeeds(here, &["--url", &server.url, "demo", "chain"]);
    let letters = std::fs::read_dir(here.join("data/outbox")).expect("an outbox").count();
    assert_eq!(letters, 1, "{told}");

    let commands: Vec<Vec<&str>> = told
        .lines()
        .filter_map(|it| it.trim().strip_prefix("see it: "))
        .map(|it| it.split(' ').skip(1).collect())
        .collect();
    assert!(commands.len() >= 8, "{told}");
    for command in &commands {
        let shown = succeeds(here, command);
        assert!(!shown.is_empty(), "{command:?}");
        // Events are one JSON object a line; everything else is for people.
        if !command.contains(&"events") {
            let wide = shown.lines().find(|it| it.chars().count() > 100);
            assert_eq!(wide, None, "{command:?}");
            let json = succeeds(here, &[command.as_slice(), &["--output", "json"]].concat());
            serde_json::from_str::<Value>(&json).expect("JSON");
        }
    }
    let why = commands.iter().rfind(|it| it.contains(&"why")).expect("the story says why");
    let shown = succeeds(here, why);
    for step in ["live", "consent", "country_rule", "content", "cap", "render", "provider"] {
        assert!(shown.contains(step), "{step} is missing: {shown}");
    }
    // Withdrawn a moment ago, by the last command.
    let reviewed = commands.iter().find(|it| it.contains(&"review")).expect("a review");
    assert!(succeeds(here, reviewed).contains("withdrawn"));
}

#[test]
fn a_journey_is_checked_without_a_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path();
    let journey = |nodes: &str| {
        let text = format!(
            "journey: letters\nsender: northwind\nmarkets: [DE]\naudiences: [HCP]\n\
             entry: {{api: {{}}}}\nreentry: never\nstart: first\nnodes:\n{nodes}"
        );
        std::fs::write(here.join("journey.yaml"), text).expect("written");
        ["journey", "check", "journey.yaml"]
    };
    let done = "  done: {exit: {outcome: done}}\n";
    let sound = journey(&format!("  first: {{wait: {{for: 1d, next: done}}}}\n{done}"));
    assert_eq!(succeeds(here, &sound), "nothing was found\n");
    let findings = [
        (format!("  first: {{wait: {{for: 1d, next: nowhere}}}}\n{done}"), "dangling"),
        (
            "  first: {branch: {cases: [{when: 'true', next: first}], else: first}}\n".into(),
            "cycle",
        ),
        (
            format!(
                "  first: {{branch: {{cases: [{{when: 'party.kin == 1', next: done}}], else: done}}}}\n{done}"
            ),
            "column",
        ),
    ];
    for (nodes, expected) in findings {
        let arguments = journey(&nodes);
        let said = fails(here, &arguments);
        assert!(said.contains("first") && said.contains(expected), "{expected}: {said}");
        let json = rapport(here, &[&arguments[..], &["--output", "json"]].concat());
        let found: Value = serde_json::from_slice(&json.stdout).expect("JSON");
        assert!(found["findings"][0]["text"].is_string(), "{found}");
    }
    std::fs::write(here.join("journey.yaml"), "journey: x\nnodess: {}\n").expect("written");
    let said = fails(here, &["journey", "check", "journey.yaml"]);
    assert!(said.contains("line 2") && said.contains("nodess"), "{said}");
}

#[test]
fn a_command_for_people_says_what_is_missing() {
    let folder = tempfile::tempdir().expect("a folder");
    let said = fails(folder.path(), &["customer", "show", "pty_1"]);
    assert!(said.contains("--token") && said.contains("development.token"), "{said}");
    let nobody = ["--token", "t", "--url", "http://127.0.0.1:1", "customer", "show", "pty_1"];
    let said = fails(folder.path(), &nobody);
    assert!(said.contains("Unavailable"), "{said}");
}
