//! Builds the image without a daemon, looks into it, and runs it as a cluster would: read-only, as nobody, without
//! capabilities, against a real PostgreSQL and nats-server.
//!
//! ```text
//! make check-image
//! ```
//!
//! It needs root, `buildah`, `skopeo`, `umoci` and `runc`; the container shares the network of the machine, so nothing
//! here says how it fares behind a pod's.

mod container;
mod image;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use chassis::testing::{AUDIENCE, OidcIssuer};
use clap::Parser;
use eventstore::testing::{NatsServer, Postgres, free_port, mounting_is_permitted};
use rapport::remote::{Addresses, Remote, told};
use rapport::targets::TARGETS;
use rapport_proto::audit::v1::VerifyLogRequest;
use rapport_proto::profiles::v1::{GetPartyRequest, RegisterPartyRequest};
use rapport_proto::types::PartyKind;

use container::Container;
use image::Image;

/// Bytes that it may have, unpacked: every node holds it.
const BUDGET: u64 = 40_000_000;
/// Everything in it.
const FILES: [&str; 2] = ["etc/ssl/certs/ca-certificates.crt", "rapport"];
const NOBODY: &str = "65532:65532";
const TENANT: &str = "default";

#[derive(Parser)]
struct Arguments {
    /// The program of the image, static.
    program: PathBuf,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let folder = tempfile::tempdir()?;
    let image = made(&arguments.program, folder.path())?;
    match mounting_is_permitted() {
        true => Box::pin(runs(&image, folder.path())).await,
        false => Ok(()),
    }
}

/// Builds it twice, and looks into it.
fn made(program: &Path, folder: &Path) -> Result<Image> {
    let first = Image::build(program, &folder.join("first"))?;
    let image = Image::build(program, &folder.join("second"))?;
    ensure!(first.id == image.id, "built twice: {} and {}", first.id, image.id);
    shown("built twice, one id", &image.id);

    let bundle = image.unpack(&folder.join("bundle"))?;
    let (files, bytes) = bundle.contents()?;
    ensure!(files == FILES, "it holds {files:?}");
    shown("holds nothing else than", &files.join(", "));
    ensure!(bytes < BUDGET, "it has {bytes} bytes, more than {BUDGET}");
    shown("bytes, unpacked", &bytes.to_string());
    shown("bytes that a node pulls", &image.pulled()?.to_string());

    let crates = bundle.crates()?;
    for name in ["rapport", "eventstore", "chassis", "tonic", "rustls"] {
        ensure!(crates.iter().any(|it| it.0 == name), "its bill of materials lacks {name}");
    }
    let locked = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock"))?;
    for (name, version) in &crates {
        let known = locked.contains(&format!("name = \"{name}\"\nversion = \"{version}\""));
        ensure!(known, "{name} {version} is in it and not in Cargo.lock");
    }
    shown("crates in its bill of materials, all of Cargo.lock", &crates.len().to_string());

    let config = image.config()?;
    let about = &config["config"];
    ensure!(about["User"] == NOBODY, "it runs as {}", about["User"]);
    ensure!(about["Entrypoint"][0] == "/rapport", "it starts {}", about["Entrypoint"]);
    for label in ["title", "description", "licenses", "version", "revision"] {
        let name = format!("org.opencontainers.image.{label}");
        let value = about["Labels"][&name].as_str().unwrap_or_default();
        ensure!(!value.is_empty(), "it has no label {name}");
        shown(&name, value);
    }
    Ok(image)
}

/// Serves every target in a container; what was written is there after another start.
async fn runs(image: &Image, folder: &Path) -> Result<()> {
    let (postgres, nats) = (Postgres::start(), NatsServer::start());
    for target in TARGETS {
        postgres.psql("postgres", &format!("CREATE DATABASE image_{}", target.name));
    }
    let issuer = OidcIssuer::start().await;
    let secrets = folder.join("secrets");
    std::fs::create_dir(&secrets)?;
    // 32 bytes in base64.
    std::fs::write(secrets.join("kek"), "BwcH".repeat(10) + "Bwc=")?;
    std::fs::write(secrets.join("service-key"), "a key for this image and for nothing else")?;
    let (grpc, admin) = (free_port(), free_port());
    let variables = [
        ("GRPC_ADDRESS", format!("127.0.0.1:{grpc}")),
        ("ADMIN_ADDRESS", format!("127.0.0.1:{admin}")),
        ("DATABASE_URL", postgres.url("image_{service}")),
        ("LOG_URL", nats.url()),
        ("AUTH_MODE", "oidc".to_owned()),
        ("AUTH_ISSUER", issuer.url().to_owned()),
        ("AUTH_AUDIENCE", AUDIENCE.to_owned()),
        ("AUTH_SERVICE_KEY_FILE", "/secrets/service-key".to_owned()),
        ("KEYS_KEK_FILE", "/secrets/kek".to_owned()),
    ];
    let variables = variables.map(|(name, value)| format!("RAPPORT_{name}={value}"));
    let all = format!("http://127.0.0.1:{grpc}");
    let addresses = Addresses { all, ..Addresses::default() };
    let remote = Remote::new(&addresses, TENANT, &issuer.token(TENANT, "image", &["*"]))?;

    let container = start(image, folder, "first", &variables, &secrets).await?;
    let registered = RegisterPartyRequest {
        parent: remote.parent.clone(),
        kind: PartyKind::Hcp.into(),
        market: "DE".into(),
        request_id: "register-in-image".into(),
        ..RegisterPartyRequest::default()
    };
    let party = told(remote.parties.clone().register_party(registered).await)?.party;
    let name = party.context("a registered party")?.name;
    container.stop()?;
    shown("asked to stop", "ended well");

    let container = start(image, folder, "second", &variables, &secrets).await?;
    let asked = GetPartyRequest { name: name.clone(), ..GetPartyRequest::default() };
    let found = told(remote.parties.clone().get_party(asked).await)?.party;
    ensure!(found.is_some_and(|it| it.name == name), "{name} is gone");
    shown("is there after another start", &name);
    indexed(&remote).await?;
    shown("reached the index of audit through the log", &name);
    container.stop()
}

/// Starts a container, and checks that it has no rights.
async fn start(
    image: &Image,
    folder: &Path,
    name: &str,
    variables: &[String],
    secrets: &Path,
) -> Result<Container> {
    let bundle = image.unpack(&folder.join(name))?;
    bundle.restrict(variables, secrets)?;
    let container = Container::start(name, &bundle, &folder.join("runc"))?;
    container.healthy().await?;
    shown("rapport health, inside", "ok");
    let status = container.status()?;
    for (what, wanted) in [("Uid", "65532"), ("Gid", "65532"), ("CapEff", NONE), ("CapBnd", NONE)] {
        let found = status.get(what).map_or("", String::as_str);
        ensure!(found.split('\t').all(|it| it == wanted), "{what} is {found}");
    }
    ensure!(status.get("NoNewPrivs").is_some_and(|it| it == "1"), "it may gain privileges");
    ensure!(container.root_is_read_only()?, "its root may be written");
    shown("runs as nobody, without capabilities, read-only", name);
    Ok(container)
}

/// No capability, as the kernel shows it.
const NONE: &str = "0000000000000000";

/// Waits until the index has every event of `profiles`.
async fn indexed(remote: &Remote) -> Result<()> {
    let mut left = 600;
    loop {
        let request =
            VerifyLogRequest { parent: remote.parent.clone(), ..VerifyLogRequest::default() };
        let mut answer = told(remote.audit.clone().verify_log(request).await)?;
        while let Some(found) = answer.message().await? {
            let found = found.source.unwrap_or_default();
            if found.source == "profiles" && found.events > 0 && found.index_complete {
                ensure!(found.gap_free && found.chain_intact, "{found:?}");
                return Ok(());
            }
        }
        left -= 1;
        ensure!(left > 0, "the index of audit does not have what was registered");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

fn shown(what: &str, value: &str) {
    println!("ok  {what}: {value}");
}
