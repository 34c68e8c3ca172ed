use std::io::Write as _;

use super::*;

fn environment(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn load(file: &str, variables: &[(&str, &str)], flags: &[&str]) -> Result<Settings, Faults> {
    Settings::load(&Sources {
        file: Some(file.to_owned()),
        environment: environment(variables),
        flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
    })
}

fn keys(result: Result<Settings, Faults>) -> Vec<String> {
    result.expect_err("faults").0.into_iter().map(|fault| fault.key).collect()
}

/// Settings of a deployment: PostgreSQL, NATS, OIDC.
const PRODUCTION: &str = r#"
    database.url = "postgres://rapport:s3cret@db/{service}?sslmode=require&sslpassword=k3y"
    log.url = "nats://tok3n@n1:4222,nats://u:p4ss@n2:4222"
    auth = { mode = "oidc", issuer = "https://login.example.com", service_key_file = "/run/service.key" }
    keys.kek_file = "/run/kek"
    grpc.address = "0.0.0.0:8080"
    peers = { content = "http://user:pe3r@content:8080" }
"#;

#[test]
fn file_beats_default_variable_beats_file_flag_beats_variable() {
    let file = "grpc = { max_in_flight = 2, request_timeout_ms = 2000, shutdown_drain_ms = 2000 }";
    let settings = load(
        file,
        &[
            ("RAPPORT_GRPC_REQUEST_TIMEOUT_MS", "3000"),
            ("RAPPORT_GRPC_SHUTDOWN_DRAIN_MS", "3000"),
            ("HOME", "/"),
        ],
        &["grpc.shutdown_drain_ms=4000"],
    )
    .expect("valid");
    assert_eq!(settings.grpc.max_connection_age_s, 300);
    assert_eq!(settings.grpc.max_in_flight, 2);
    assert_eq!(settings.grpc.request_timeout_ms, 3000);
    assert_eq!(settings.grpc.shutdown_drain_ms, 4000);
}

#[test]
fn lists_and_maps_can_be_given_in_the_environment_and_by_flag() {
    let settings = load(
        "",
        &[
            ("RAPPORT_TARGETS", "profiles, content"),
            ("RAPPORT_PEERS_JOURNEYS", "http://journeys:8080"),
            ("RAPPORT_AUTH_ROLES", r#"{ reader = ["profiles.parties.read"] }"#),
        ],
        &["peers.kpis=http://kpis:8080", r#"tenants=["acme", "umbrella"]"#, "auth.roles.admin=*"],
    )
    .expect("valid");
    assert_eq!(settings.targets, ["profiles", "content"]);
    assert_eq!(settings.tenants, ["acme", "umbrella"]);
    assert_eq!(settings.peers["journeys"], "http://journeys:8080");
    assert_eq!(settings.peers["kpis"], "http://kpis:8080");
    assert_eq!(settings.auth.roles["reader"], ["profiles.parties.read"]);
    assert_eq!(settings.auth.roles["admin"], ["*"]);
}

#[test]
fn a_value_can_be_read_from_a_file() {
    let mut secret = tempfile::NamedTempFile::new().expect("file");
    writeln!(secret, "sqlite:///secret/{{service}}.db").expect("written");
    let path = secret.path().to_str().expect("utf-8");
    let settings = load("", &[("RAPPORT_DATABASE_URL_FILE", path)], &[]).expect("valid");
    assert_eq!(settings.database.url_for("profiles"), "sqlite:///secret/profiles.db");

    let both = load(
        "",
        &[("RAPPORT_DATABASE_URL_FILE", path), ("RAPPORT_DATABASE_URL", "sqlite://{service}")],
        &[],
    );
    assert_eq!(keys(both), ["RAPPORT_DATABASE_URL_FILE"]);
    let missing = load("", &[("RAPPORT_DATABASE_URL_FILE", "/no/such/file")], &[]);
    assert_eq!(keys(missing), ["RAPPORT_DATABASE_URL_FILE"]);
}

#[test]
fn a_key_that_ends_in_file_is_not_mistaken_for_a_file_to_read() {
    let settings = load("", &[("RAPPORT_KEYS_KEK_FILE", "/no/such/file")], &[]).expect("valid");
    assert_eq!(settings.keys.kek_file, PathBuf::from("/no/such/file"));
}

#[test]
fn every_problem_is_told_at_once_with_key_and_remedy() {
    let faults = load(
        "grpc.adress = \"127.0.0.1:1\"\ngrpc.max_in_flight = 0\nauth.mode = \"none\"\ntenants = [\"NotATenant\"]",
        &[("RAPPORT_GRPC_ADRESS", "x"), ("RAPPORT_TELEMETRY_SAMPLE_RATIO", "1.5"), ("RAPPORT_GRPC_REFLECTION", "yes")],
        &["log.replica=3", "nonsense"],
    )
    .expect_err("faults");
    let told: Vec<_> = faults.0.iter().map(|fault| fault.key.as_str()).collect();
    assert_eq!(
        told,
        [
            "auth.mode",
            "grpc.adress",
            "grpc.max_in_flight",
            "RAPPORT_GRPC_ADRESS",
            "telemetry.sample_ratio",
            "grpc.reflection",
            "log.replica",
            "nonsense",
            "tenants",
        ]
    );
    let text = faults.to_string();
    assert!(text.contains("Did you mean grpc.address?"), "{text}");
    assert!(text.contains("Did you mean RAPPORT_GRPC_ADDRESS?"), "{text}");
    assert!(text.contains("Did you mean log.replicas?"), "{text}");
    assert!(text.contains("Write a whole number from 1 to 1000000."), "{text}");
}

#[test]
fn development_tokens_are_refused_outside_embedded_mode() {
    assert!(Settings::default().is_embedded());
    for flag in [
        "grpc.address=0.0.0.0:8080",
        "log.url=nats://n:4222",
        "database.url=postgres://db/{service}",
    ] {
        let told = keys(load("", &[], &[flag]));
        assert_eq!(told, ["keys.kek_file", "auth.mode", "auth.service_key_file"], "{flag}");
    }
    assert!(load(PRODUCTION, &[], &[]).is_ok());
    assert_eq!(keys(load(PRODUCTION, &[], &["auth.mode=development"])), ["auth.mode"]);
}

#[test]
fn symmetric_algorithms_and_none_are_refused() {
    for algorithm in ["HS256", "none", ""] {
        assert_eq!(
            keys(load("", &[], &[&format!("auth.algorithms={algorithm}")])),
            ["auth.algorithms"]
        );
    }
}

#[test]
fn a_simulated_clock_needs_loopback_listeners() {
    assert!(load("", &[], &["clock.mode=simulated"]).is_ok());
    assert_eq!(
        keys(load("", &[], &["clock.mode=simulated", "admin.address=0.0.0.0:9090"])),
        ["clock.mode"]
    );
}

#[test]
fn every_service_needs_a_database_of_its_own() {
    assert_eq!(keys(load("", &[], &["database.url=sqlite://one.db"])), ["database.url"]);
}

#[test]
fn a_log_has_a_prefix_that_is_one_token() {
    assert!(load("", &[], &["log.prefix=orders-1"]).is_ok());
    // An account is of one target; without servers there are none.
    let alone = ["log.accounts=true", "log.url=nats://n:4222", "targets=profiles"];
    let accounts = |flags: &[&str]| load("", &[], flags).err().map(|it| it.to_string());
    let refused = |flags: &[&str]| accounts(flags).is_some_and(|it| it.contains("log.accounts"));
    assert!(refused(&alone[..2]) && refused(&[alone[0], alone[1], "targets=profiles,content"]));
    assert!(!refused(&alone) && !refused(&alone[..1]));
    for wrong in ["log.prefix=", "log.prefix=a.b", "log.prefix=a*", "log.prefix=A"] {
        assert_eq!(keys(load("", &[], &[wrong])), ["log.prefix"], "{wrong}");
    }
}

#[test]
fn a_database_file_takes_no_parameters() {
    let url = "database.url=sqlite://{service}.db?mode=ro";
    assert_eq!(keys(load("", &[], &[url])), ["database.url"]);
}

#[test]
fn printing_hides_every_secret_and_nothing_else() {
    let settings = load(PRODUCTION, &[], &[]).expect("valid");
    for text in [settings.print(), format!("{settings:?}")] {
        for secret in ["s3cret", "k3y", "tok3n", "p4ss", "pe3r"] {
            assert!(!text.contains(secret), "{secret} in:\n{text}");
        }
        assert!(
            text.contains("postgres://rapport:***@db/{service}?sslmode=require&sslpassword=***"),
            "{text}"
        );
        assert!(text.contains("nats://***@n1:4222,nats://u:***@n2:4222"), "{text}");
    }
}

#[test]
fn a_misfit_url_is_not_repeated_in_the_fault() {
    let faults = load("database.url = [\"postgres://u:s3cret@h/{service}\"]", &[], &[])
        .expect_err("no text");
    assert!(!faults.to_string().contains("s3cret"));
}

#[test]
fn awkward_passwords_are_hidden_too() {
    for (url, hidden) in [
        ("postgres://u:p@ss@h/db", "postgres://u:***@h/db"),
        ("postgres://u:p/ss@h/db", "postgres://u:***@h/db"),
        ("postgres://h/db", "postgres://h/db"),
        ("sqlite://./data/x.db", "sqlite://./data/x.db"),
        ("", ""),
    ] {
        assert_eq!(hide_credentials(url), hidden);
    }
}

#[test]
fn what_is_printed_can_be_read_again() {
    let settings = Settings::default();
    assert_eq!(load(&settings.print(), &[], &[]).expect("valid"), settings);
}

#[test]
fn the_reference_is_the_defaults_and_names_every_key() {
    let text = reference();
    assert_eq!(load(&text, &[], &[]).expect("valid"), Settings::default());
    for setting in TABLE {
        assert!(text.contains(setting.about), "{}", setting.key);
        assert!(setting.about.ends_with('.'), "{}: a sentence", setting.key);
    }
}
