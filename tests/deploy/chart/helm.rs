//! The real `helm`, and what it makes of the chart in every scenario.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use rapport::targets::TARGETS;
use serde_json::Value;

use super::yaml;
use crate::{root, tool};

pub(crate) const RELEASE: &str = "r";
pub(crate) const NAMESPACE: &str = "rapport";
/// The newest that the schemas are known of.
pub(crate) const NEWEST: &str = "1.37";

/// One way to install the chart: `ci/minimal.yaml`, perhaps a preset before it and one more file of `ci/` after it; or the
/// values of the example, which is named `values`.
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) files: Vec<PathBuf>,
    /// What `helm template` prints.
    pub(crate) text: String,
    pub(crate) objects: Vec<Value>,
}

/// Every scenario, rendered once.
pub(crate) fn scenarios() -> &'static [Scenario] {
    static ALL: OnceLock<Vec<Scenario>> = OnceLock::new();
    ALL.get_or_init(|| {
        let mut files = listed(&chart().join("ci"), "yaml");
        files.sort();
        assert!(files.len() >= 12, "{files:?}");
        files.push(chart().join("examples/values.yaml"));
        files.into_iter().map(Scenario::of).collect()
    })
}

pub(crate) fn scenario(name: &str) -> &'static Scenario {
    scenarios().iter().find(|it| it.name == name).expect("a file of ci/")
}

/// The objects of every scenario that differ from those before in more than names; in more than their data, if that does
/// not matter.
pub(crate) fn distinct(data: bool) -> Vec<(&'static Scenario, Vec<&'static Value>)> {
    let mut seen = BTreeSet::new();
    let of = |it: &'static Scenario| {
        (it, it.objects.iter().filter(|it| seen.insert(shape(it, data))).collect())
    };
    scenarios().iter().map(of).collect()
}

/// An object without the names in it.
fn shape(object: &Value, data: bool) -> String {
    let mut object = object.clone();
    if let Some(data) = object.get_mut("data").and_then(Value::as_object_mut).filter(|_| !data) {
        data.values_mut().for_each(|it| *it = "".into());
    }
    if let Some(notes) = object.pointer_mut("/spec/template/metadata/annotations") {
        notes["checksum/config"] = "".into();
    }
    let shown = object.to_string();
    TARGETS.iter().fold(shown, |shown, it| shown.replace(it.name, "target"))
}

impl Scenario {
    fn of(file: PathBuf) -> Self {
        let name = stem(&file);
        let minimal = chart().join("ci/minimal.yaml");
        let mut files: Vec<PathBuf> = match name.as_str() {
            "dev" | "ha" => vec![chart().join(format!("values-{name}.yaml"))],
            _ => Vec::new(),
        };
        if name != "values" {
            files.push(minimal.clone());
        }
        if file != minimal {
            files.push(file);
        }
        let text = succeeds(template(&files).args(["--kube-version", NEWEST]));
        let objects = yaml::documents(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        Self { name, files, text, objects }
    }
}

/// `helm template` with files of values.
pub(crate) fn template(files: &[PathBuf]) -> Command {
    let mut command = helm();
    command.args(["template", RELEASE]).arg(chart()).args(["--namespace", NAMESPACE]);
    for file in files {
        command.arg("--values").arg(file);
    }
    command
}

/// `helm`, kept from what the machine has set up for it.
pub(crate) fn helm() -> Command {
    let mut command = tool("helm");
    let home = std::env::temp_dir().join("rapport-helm");
    for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        command.env(name, &home);
    }
    command.env_remove("KUBECONFIG");
    command
}

#[track_caller]
pub(crate) fn succeeds(command: &mut Command) -> String {
    let output = outcome(command);
    let told = told(&output);
    assert!(output.status.success(), "{command:?}: {}\n{told}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[track_caller]
pub(crate) fn fails(command: &mut Command) -> String {
    let output = outcome(command);
    let told = told(&output);
    assert!(!output.status.success(), "{command:?} succeeded:\n{told}");
    told
}

pub(crate) fn outcome(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().expect("the program starts")
}

pub(crate) fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Files of a folder whose names end so.
pub(crate) fn listed(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|it| it.expect("an entry").path());
    let mut files: Vec<_> =
        paths.filter(|it| it.extension().is_some_and(|it| it == extension)).collect();
    files.sort();
    files
}

pub(crate) fn stem(path: &Path) -> String {
    path.file_stem().expect("a name").to_string_lossy().into_owned()
}

pub(crate) fn chart() -> PathBuf {
    root().join("charts/rapport")
}

/// A rule that holds for every scenario.
#[track_caller]
pub(crate) fn obeyed(rule: &str, offences: &[String]) {
    assert!(offences.is_empty(), "{rule}\n  {}\n", offences.join("\n  "));
}
