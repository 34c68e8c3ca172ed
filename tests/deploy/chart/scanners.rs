//! What scanners find in the rendered manifests, but for what is written down with a reason.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use super::helm::{distinct, obeyed, outcome, scenarios, succeeds, told};
use super::objects::items;
use super::yaml;
use crate::{read, root, tool};

/// Findings that are left standing: by scanner and rule, why.
fn accepted(scanner: &str) -> BTreeSet<String> {
    let all = yaml::document(&read(&root().join("tests/deploy/accepted.yaml")));
    let of = all[scanner].as_object().expect("a map from rule to reason");
    for (rule, reason) in of {
        assert!(reason.as_str().is_some_and(|it| it.len() > 20), "{rule} needs a reason");
    }
    of.keys().cloned().collect()
}

/// Compares what was found with what is accepted: a reason that nothing needs is removed.
fn compare(scanner: &str, found: &BTreeSet<(String, String)>) {
    let accepted = accepted(scanner);
    let others = found.iter().filter(|(rule, _)| !accepted.contains(rule));
    let others: Vec<_> = others.map(|(rule, what)| format!("{rule} {what}")).collect();
    obeyed(
        &format!("{scanner} finds nothing else than what accepted.yaml gives a reason for."),
        &others,
    );
    let unused: Vec<_> =
        accepted.into_iter().filter(|it| !found.iter().any(|(rule, _)| rule == it)).collect();
    obeyed(&format!("Every rule of {scanner} in accepted.yaml is found."), &unused);
}

/// A folder with a file for each scenario, as helm prints it.
fn manifests() -> tempfile::TempDir {
    let folder = folder();
    for it in scenarios() {
        fs::write(folder.path().join(format!("{}.yaml", it.name)), &it.text).expect("written");
    }
    folder
}

fn folder() -> tempfile::TempDir {
    // Checkov passes over what is hidden.
    tempfile::Builder::new().prefix("manifests").tempdir().expect("a folder")
}

#[test]
fn checkov_finds_nothing_new() {
    let folder = manifests();
    let mut checkov = tool("checkov");
    checkov.args(["--framework", "kubernetes", "--skip-download", "--quiet", "--compact"]);
    checkov.args(["--output", "json", "--soft-fail", "--directory"]).arg(folder.path());
    let report: Value = serde_json::from_str(&succeeds(&mut checkov)).expect("JSON");
    assert!(report["summary"]["passed"].as_u64() > Some(100), "{}", report["summary"]);
    let failed = items(&report["results"]["failed_checks"]).iter();
    let found = failed
        .map(|it| (text(&it["check_id"]), format!("{} {}", it["check_name"], it["resource"])));
    compare("checkov", &found.collect());
}

#[test]
fn trivy_finds_nothing_new() {
    // It takes its time for each object, so that it gets those alone that differ.
    let folder = folder();
    let mut files = 0;
    for (scenario, objects) in distinct(true).iter().filter(|it| !it.1.is_empty()) {
        let documents: Vec<_> = objects.iter().map(|it| format!("---\n{it}\n")).collect();
        let file = folder.path().join(format!("{}.yaml", scenario.name));
        fs::write(file, documents.concat()).expect("written");
        files += 1;
    }
    let mut trivy = tool("trivy");
    trivy.args(["config", "--skip-check-update", "--quiet", "--format", "json", "--cache-dir"]);
    trivy.arg(folder.path().join("cache")).arg(folder.path());
    let report: Value = serde_json::from_str(&succeeds(&mut trivy)).expect("JSON");
    let results = items(&report["Results"]);
    assert_eq!(results.len(), files, "{report:#}");
    let all = results.iter().flat_map(|it| items(&it["Misconfigurations"]));
    let found = all.map(|it| (text(&it["AVDID"]), format!("{} {}", it["Title"], it["Message"])));
    compare("trivy", &found.collect());
}

#[test]
fn yamllint_finds_nothing() {
    let folder = manifests();
    let rules = "{extends: default, rules: {line-length: disable, comments: disable, comments-indentation: disable, \
                 empty-lines: {max-end: 1}, indentation: {spaces: 2, indent-sequences: whatever}, braces: {max-spaces-inside: 0}, \
                 octal-values: disable}}";
    let chart = root().join("charts/rapport");
    let mut lint = tool("yamllint");
    lint.args(["--strict", "-d", rules]).arg(folder.path());
    for written in ["values.yaml", "values-dev.yaml", "values-ha.yaml", "Chart.yaml", "ci"] {
        lint.arg(chart.join(written));
    }
    let output = outcome(&mut lint);
    // A document that starts, and does not say so, is none to Kubernetes either.
    let told = told(&output);
    let found = told.lines().filter(|it| it.contains("error") || it.contains("warning"));
    let found = found.filter(|it| !it.contains("(document-start)"));
    obeyed("yamllint finds nothing.", &found.map(str::to_owned).collect::<Vec<_>>());
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
