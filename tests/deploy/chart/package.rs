//! The package of the chart, signed with a key that is thrown away, and what it holds.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::helm::{chart, fails, helm, listed, succeeds};
use super::yaml;
use crate::read;

/// A key ring with one key.
fn ring(folder: &Path) -> PathBuf {
    let home = folder.join("gpg");
    fs::create_dir(&home).expect("made");
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).expect("mine alone");
    let gpg = || {
        let mut command = Command::new("gpg");
        command.arg("--homedir").arg(&home).args(["--batch", "--quiet", "--yes"]);
        command
    };
    succeeds(gpg().args(["--passphrase", "", "--quick-generate-key", "chart", "rsa2048"]));
    let ring = folder.join("ring.gpg");
    succeeds(gpg().arg("--output").arg(&ring).args(["--passphrase", "", "--export-secret-keys"]));
    succeeds(Command::new("gpgconf").arg("--homedir").arg(&home).args(["--kill", "all"]));
    ring
}

#[test]
fn the_package_is_signed_and_a_changed_one_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let ring = ring(folder.path());
    let mut package = helm();
    package.arg("package").arg(chart()).arg("--destination").arg(folder.path());
    succeeds(package.args(["--sign", "--key", "chart", "--keyring"]).arg(&ring));
    let [file] = <[_; 1]>::try_from(listed(folder.path(), "tgz")).expect("one package");
    let verify = || {
        let mut command = helm();
        command.arg("verify").arg(&file).arg("--keyring").arg(&ring);
        command
    };
    succeeds(&mut verify());
    succeeds(helm().args(["lint", "--strict"]).arg(&file).arg("--values").arg(minimal()));

    let mut bytes = fs::read(&file).expect("read");
    bytes.push(0);
    fs::write(&file, bytes).expect("written");
    let told = fails(&mut verify());
    assert!(told.contains("sha256 sum does not match"), "{told}");
}

fn minimal() -> PathBuf {
    chart().join("ci/minimal.yaml")
}

#[test]
fn the_chart_has_the_version_of_the_program() {
    let about = yaml::document(&read(&chart().join("Chart.yaml")));
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(about["appVersion"], version);
    let images = about["annotations"]["artifacthub.io/images"].as_str().unwrap_or_default();
    assert!(images.contains(&format!("rapport:{version}\n")), "{images}");
}
