//! No secret is in the repository, as far as a scanner knows secrets when it sees them. What it takes for tests and
//! examples by its own rules it passes over.

use std::fs;
use std::path::Path;

use crate::{root, tool};

/// Whether the scanner finds anything in a folder, and what.
fn found(folder: &Path) -> (bool, String) {
    let mut trivy = tool("trivy");
    trivy.args(["fs", "--scanners", "secret", "--quiet", "--exit-code", "3"]);
    for built in ["target", ".tools", ".git", "data"] {
        trivy.arg("--skip-dirs").arg(folder.join(built));
    }
    let ended = trivy.arg(folder).output().expect("it runs");
    let said = String::from_utf8_lossy(&[ended.stdout, ended.stderr].concat()).into_owned();
    match ended.status.code() {
        Some(0) => (false, said),
        Some(3) => (true, said),
        code => panic!("trivy ended with {code:?}: {said}"),
    }
}

#[test]
fn none_is_in_the_repository() {
    let (any, said) = found(&root());
    assert!(!any, "{said}");
}

#[test]
fn one_would_be_seen() {
    let folder = tempfile::Builder::new().prefix("repository").tempdir().expect("a folder");
    fs::write(folder.path().join("settings.toml"), "outbox = \"./data\"\n").expect("written");
    assert!(!found(folder.path()).0);
    // In two parts, so that this file has none.
    let token = ["ghp_", "0123456789abcdefABCDEF0123456789abcd"].concat();
    fs::write(folder.path().join("deploy.sh"), format!("TOKEN={token}\n")).expect("written");
    assert!(found(folder.path()).0);
}
