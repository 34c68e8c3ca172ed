//! `deploy/compose.yaml`: that it is a compose file, and fits the program, the chart and the files beside it. It is not run.

use std::collections::BTreeSet;
use std::path::Path;

use chassis::settings::{Settings, Sources};
use rapport::targets::TARGETS;

use crate::{read, root, tool};

fn validated(path: &Path) -> bool {
    let mut check = tool("check-jsonschema");
    check.args(["--builtin-schema", "vendor.compose-spec"]).arg(path);
    check.output().expect("it runs").status.success()
}

#[test]
fn it_is_a_compose_file() {
    let path = root().join("deploy/compose.yaml");
    assert!(validated(&path), "run check-jsonschema to see why");
    let folder = tempfile::tempdir().expect("a folder");
    let broken = folder.path().join("compose.yaml");
    let text = read(&root().join("deploy/compose.yaml")).replacen("depends_on:", "depend_on:", 1);
    std::fs::write(&broken, text).expect("written");
    assert!(!validated(&broken), "a misspelt key is accepted");
}

/// Its rules are the chart's, which the compose file mounts at another place.
#[test]
fn prometheus_takes_its_settings_and_rules() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("prometheus.yml");
    let accepted = |text: &str| {
        std::fs::write(&path, text).expect("written");
        let mut check = tool("promtool");
        check.args(["check", "config"]).arg(&path);
        let output = check.output().expect("it runs");
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    };
    let text = read(&root().join("deploy/prometheus/prometheus.yml"));
    let rules = root().join("charts/rapport/files/rules").display().to_string();
    let here = text.replace("/etc/prometheus/rules", &rules);
    let (good, said) = accepted(&here);
    assert!(good && said.contains("rules found"), "{said}");
    let (good, said) = accepted(&here.replacen("scrape_configs:", "scrape_config:", 1));
    assert!(!good, "a misspelt key is accepted: {said}");
}

/// The lines under a key, as far as they stand further in.
fn under<'t>(text: &'t str, key: &str) -> Vec<&'t str> {
    let deep = |line: &str| line.len() - line.trim_start().len();
    let mut lines = text.lines().skip_while(|it| !it.trim_start().starts_with(key));
    let first = lines.next().unwrap_or_else(|| panic!("no {key}"));
    lines.take_while(|it| it.trim().is_empty() || deep(it) > deep(first)).collect()
}

/// What `${NAME:?why}` and `${NAME:-value}` may stand for.
fn filled(value: &str) -> String {
    let Some((before, rest)) = value.split_once("${") else { return value.to_owned() };
    let (variable, after) = rest.split_once('}').expect("closed");
    let name = variable.split(':').next().unwrap_or_default();
    let filler = if name.ends_with("ISSUER") { "https://login.example.com" } else { "word" };
    format!("{before}{filler}{}", filled(after))
}

#[test]
fn the_program_takes_its_settings() {
    let text = read(&root().join("deploy/compose.yaml"));
    let lines = under(&text, "environment: &settings");
    let pair = |line: &&str| {
        let (name, value) = line.trim().split_once(": ").expect("a name and a value");
        (name.to_owned(), filled(value.trim_matches('"')))
    };
    let environment: Vec<_> = lines.iter().map(pair).collect();
    for target in TARGETS {
        let flags = vec![format!("targets={}", target.name)];
        let sources = Sources { environment: environment.clone(), flags, ..Sources::default() };
        let settings = Settings::load(&sources).unwrap_or_else(|it| panic!("{it}"));
        assert_eq!((settings.grpc.address.port(), settings.admin.address.port()), (8080, 9090));
        assert!(!settings.database.is_sqlite() && !settings.log.is_local());
        for (peer, url) in &settings.peers {
            assert_eq!(*url, format!("http://{peer}:8080"));
        }
        assert_eq!(settings.peers.len(), TARGETS.len(), "each target can be reached");
        let files = [&settings.keys.kek_file, &settings.auth.service_key_file];
        for file in files.map(|it| it.display().to_string()) {
            let secret = file.strip_prefix("/run/secrets/").expect("a secret");
            assert!(text.contains(&format!("{secret}: {{file: ")), "{secret} is not given");
        }
    }
    // The ports are those of the chart's golden pods.
    let golden = read(&root().join("tests/deploy/golden/dev.yaml"));
    for port in ["8080", "9090"] {
        assert!(golden.contains(&format!("containerPort: {port}")), "{port}");
    }
}

#[test]
fn every_target_is_served_watched_and_has_a_database() {
    let text = read(&root().join("deploy/compose.yaml"));
    let (scraped, databases) = (
        read(&root().join("deploy/prometheus/prometheus.yml")),
        read(&root().join("deploy/compose/postgres.sql")),
    );
    let names: BTreeSet<_> = TARGETS.iter().map(|it| it.name).collect();
    for name in &names {
        let service = under(&text, &format!("{name}:")).join("\n");
        assert!(service.contains(&format!("--target={name}]")), "{name}: {service}");
        assert!(scraped.contains(&format!("- {name}:9090")), "{name} is not read");
        assert!(databases.contains(&format!("CREATE DATABASE {name};")), "{name}");
    }
    assert_eq!(databases.matches("CREATE DATABASE").count(), names.len());
    assert_eq!(text.matches("--target=").count(), names.len());
}

#[test]
fn what_it_mounts_and_builds_is_there() {
    let text = read(&root().join("deploy/compose.yaml"));
    let mut mounted = 0;
    for line in text.lines().map(str::trim) {
        let line = line.trim_start_matches("- ").trim_start_matches("volumes: [\"");
        let Some((host, _)) = line.split_once(':').filter(|it| it.0.starts_with('.')) else {
            continue;
        };
        assert!(root().join("deploy").join(host).exists(), "{host} is not there");
        mounted += 1;
    }
    assert!(mounted >= 6, "{mounted} mounts were seen");
    assert!(text.contains("dockerfile: deploy/image/Dockerfile"));
    for image in text.lines().filter_map(|it| it.trim().strip_prefix("image: docker.io/")) {
        let tag = image.rsplit_once(':').expect("a version").1;
        assert!(tag.starts_with(|it: char| it.is_ascii_digit() || it == 'v'), "{image}");
    }
}
