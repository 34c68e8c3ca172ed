//! Manifests as they were last looked at: whoever changes the chart sees what changes with it.

use std::fs;
use std::path::PathBuf;

use super::helm::scenario;
use crate::{read, root};

/// Small ones, and what differs from one target to another.
const SCENARIOS: [&str; 3] = ["dev", "some-targets", "single"];

fn file(name: &str) -> PathBuf {
    root().join(format!("tests/deploy/golden/{name}.yaml"))
}

#[test]
fn manifests_are_those_that_were_looked_at() {
    for name in SCENARIOS {
        let (then, now) = (read(&file(name)), &scenario(name).text);
        let differs = then.lines().zip(now.lines()).position(|(then, now)| then != now);
        let line = differs.unwrap_or_else(|| then.lines().count().min(now.lines().count()));
        assert!(
            then == *now,
            "golden/{name}.yaml differs from line {} on: {:?}; look at it, then run `make chart`",
            line + 1,
            now.lines().nth(line)
        );
    }
}

#[test]
#[ignore = "make chart: writes the manifests"]
fn write_golden_manifests() {
    fs::create_dir_all(file("x").parent().expect("a folder")).expect("made");
    for name in SCENARIOS {
        fs::write(file(name), &scenario(name).text).expect("written");
    }
}
