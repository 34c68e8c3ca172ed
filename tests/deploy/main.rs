//! What deploys and watches Rapport, checked without a cluster.

mod chart;
mod compose;
mod lifecycle;
mod monitoring;
mod secrets;

use std::path::{Path, PathBuf};
use std::process::Command;

/// The program, as it is built with the tests.
const PROGRAM: &str = env!("CARGO_BIN_EXE_program");

/// The repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the crate stands in it")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A program that tests/setup has installed.
fn tool(name: &str) -> Command {
    let path = root().join(".tools/bin").join(name);
    assert!(path.exists(), "{} is missing: run tests/setup", path.display());
    Command::new(path)
}
