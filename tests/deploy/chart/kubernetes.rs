//! What Kubernetes and the operators would say of the objects: the schemas of each version, and the models of the
//! custom resources.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use super::helm::{
    NEWEST, chart, distinct, fails, helm, listed, outcome, scenario, scenarios, succeeds, template,
    told,
};
use super::objects::kind;
use crate::{read, root, tool};

/// Minor versions of Kubernetes 1 that the chart is for; the last one is [`NEWEST`].
const SUPPORTED: std::ops::RangeInclusive<u32> = 30..=37;

#[test]
fn helm_lint_finds_nothing() {
    for scenario in scenarios() {
        let mut lint = helm();
        lint.args(["lint", "--strict"]).arg(chart());
        for file in &scenario.files {
            lint.arg("--values").arg(file);
        }
        let told = succeeds(&mut lint);
        assert!(!told.contains("[WARNING]"), "{}: {told}", scenario.name);
    }
}

#[test]
fn every_kubernetes_it_is_for_knows_every_field() {
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().expect("a file");
    // Not the custom resources: nothing would be looked at.
    let distinct = distinct(false).into_iter().flat_map(|(_, objects)| objects);
    let known: Vec<_> = distinct.filter(|it| package(it).is_none()).collect();
    let documents: Vec<_> = known.iter().map(|it| format!("---\n{it}\n")).collect();
    fs::write(file.path(), documents.concat()).expect("written");
    for version in SUPPORTED.map(|it| format!("1.{it}")) {
        let mut check = tool("kubernetes-validate");
        let output = outcome(check.args(["--strict", "-k", &version]).arg(file.path()));
        let told = told(&output);
        assert!(output.status.success() && !told.contains("WARN"), "{version}: {told}");
        assert_eq!(told.matches(" passed for resource").count(), known.len(), "{told}");
    }
    assert_eq!(NEWEST, format!("1.{}", SUPPORTED.end()));
}

#[test]
fn a_field_that_kubernetes_does_not_know_is_found() {
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().expect("a file");
    let text = scenario("minimal").text.replace("readinessProbe", "readinesProbe");
    fs::write(file.path(), text).expect("written");
    let mut check = tool("kubernetes-validate");
    let told = fails(check.args(["--strict", "-k", NEWEST]).arg(file.path()));
    assert!(told.contains("readinesProbe"), "{told}");
}

#[test]
fn an_older_kubernetes_is_refused() {
    let minimal = &scenario("minimal").files;
    let told = fails(template(minimal).args(["--kube-version", "1.29"]));
    assert!(told.contains("chart requires kubeVersion"), "{told}");
    succeeds(template(minimal).args(["--kube-version", "1.30.4-vendor.1"]));
}

#[test]
fn what_is_made_is_the_same_on_every_kubernetes() {
    let templates = chart().join("templates");
    let files = ["yaml", "tpl"].iter().flat_map(|it| listed(&templates, it));
    for file in files.chain(listed(&templates.join("tests"), "yaml")) {
        let asks = read(&file).contains("Capabilities");
        assert!(!asks, "{} asks: then every version is to be looked at", file.display());
    }
    let every = scenario("every-knob");
    let oldest = format!("1.{}", SUPPORTED.start());
    let text = succeeds(template(&every.files).args(["--kube-version", &oldest]));
    assert!(text == every.text, "{oldest} is another one than {NEWEST}");
}

/// The models of each API group, by package.
const MODELS: [(&str, &str); 5] = [
    ("monitoring.coreos.com", "prometheus-operator"),
    ("gateway.networking.k8s.io", "gateway-api"),
    ("keda.sh", "keda"),
    ("cert-manager.io", "cert-manager"),
    ("external-secrets.io", "external-secrets"),
];

/// Every custom resource that the chart can make.
const KINDS: [&str; 8] = [
    "Certificate",
    "ExternalSecret",
    "GRPCRoute",
    "HTTPRoute",
    "PodMonitor",
    "PrometheusRule",
    "ScaledObject",
    "ServiceMonitor",
];

const CHECK: &str = r#"
import { readFileSync } from "node:fs";
const problems = [];
for (const {from, module, object} of JSON.parse(readFileSync(process.argv[1]))) {
  const Model = (await import(module))[object.kind];
  if (!Model) { problems.push(`${from}: no model of ${module} ${object.kind}`); continue; }
  try { new Model(object).validate(); }
  catch (error) { problems.push(`${from} ${object.kind}/${object.metadata.name}: ${error.message}`); }
}
console.log(JSON.stringify(problems));
"#;

#[test]
fn custom_resources_are_what_their_definitions_say() {
    let all = scenarios().iter().flat_map(|it| it.objects.iter().map(|of| (it.name.as_str(), of)));
    let custom: Vec<_> = all.filter(|(_, it)| package(it).is_some()).collect();
    let seen: BTreeSet<_> = custom.iter().map(|(_, it)| kind(it)).collect();
    let mut wanted = BTreeSet::from(KINDS);
    if listed(&chart().join("files/rules"), "yaml").is_empty() {
        wanted.remove("PrometheusRule");
    }
    assert_eq!(seen, wanted, "every kind is made in some scenario, and no other");
    assert_eq!(problems(&custom), Vec::<String>::new());
}

#[test]
fn a_custom_resource_that_is_wrong_is_found() {
    let monitors = &scenario("monitoring-all").objects;
    let mut monitor = monitors.iter().find(|it| kind(it) == "ServiceMonitor").expect("one").clone();
    monitor["spec"]["endpoints"][0]["interval"] = "half a minute".into();
    let told = problems(&[("broken", &monitor)]);
    assert!(told.len() == 1 && told[0].contains("interval"), "{told:?}");
}

/// The package with the models of an object's API group, if it is a custom resource.
fn package(object: &Value) -> Option<String> {
    let (group, version) = object["apiVersion"].as_str()?.split_once('/')?;
    let (_, package) = MODELS.iter().find(|(of, _)| *of == group)?;
    Some(format!("@kubernetes-models/{package}/{group}/{version}"))
}

fn problems(objects: &[(&str, &Value)]) -> Vec<String> {
    let folder = root().join(".tools/crd");
    let file = tempfile::NamedTempFile::new().expect("a file");
    let of = |(from, object): &(&str, &Value)| json!({"from": from, "module": package(object), "object": object});
    let list: Vec<_> = objects.iter().map(of).collect();
    fs::write(file.path(), Value::from(list).to_string()).expect("written");
    let mut node = tool("node");
    let told = succeeds(
        node.args(["--input-type=module", "-e", CHECK]).arg(file.path()).current_dir(folder),
    );
    serde_json::from_str(&told).expect("a list")
}
