//! An image in a store of its own, and what it unpacks to.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

/// An image.
pub(crate) struct Image {
    pub(crate) id: String,
    /// In the layout of the Open Container Initiative.
    layout: String,
}

/// What a runtime starts: a file system and its configuration.
pub(crate) struct Bundle {
    pub(crate) folder: PathBuf,
}

impl Image {
    /// Builds it in a folder, with a store of its own.
    pub(crate) fn build(program: &Path, folder: &Path) -> Result<Self> {
        let (store, path) = (folder.join("store"), |it: &Path| it.display().to_string());
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/image/build");
        let id = run(script, &[&path(program), &path(&store)])?.trim().to_owned();
        let policy = folder.join("policy.json");
        fs::write(&policy, json!({"default": [{"type": "insecureAcceptAnything"}]}).to_string())?;
        let layout = format!("{}:rapport", path(&folder.join("layout")));
        let (root, policy) = (path(&store), path(&policy));
        let of_store =
            ["--root", &root, "--runroot", &format!("{root}/run"), "--storage-driver", "vfs"];
        let push =
            ["push", "--quiet", "--signature-policy", &policy, &id, &format!("oci:{layout}")];
        run("buildah", &[&of_store[..], &push[..]].concat())?;
        Ok(Self { id, layout })
    }

    /// Its configuration, as registries show it.
    pub(crate) fn config(&self) -> Result<Value> {
        let text = run("skopeo", &["inspect", "--config", &format!("oci:{}", self.layout)])?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Bytes that a node pulls: its layers, compressed.
    pub(crate) fn pulled(&self) -> Result<u64> {
        let text = run("skopeo", &["inspect", "--raw", &format!("oci:{}", self.layout)])?;
        let manifest: Value = serde_json::from_str(&text)?;
        let layers = manifest["layers"].as_array().context("layers")?;
        layers.iter().map(|it| it["size"].as_u64().context("a size")).sum()
    }

    /// Unpacks it.
    pub(crate) fn unpack(&self, folder: &Path) -> Result<Bundle> {
        let shown = folder.display().to_string();
        run("umoci", &["unpack", "--image", &self.layout, &shown])?;
        Ok(Bundle { folder: folder.to_owned() })
    }
}

impl Bundle {
    /// Every file, and how many bytes they have.
    pub(crate) fn contents(&self) -> Result<(Vec<String>, u64)> {
        let (root, mut files, mut bytes) = (self.folder.join("rootfs"), Vec::new(), 0);
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    folders.push(entry.path());
                } else {
                    bytes += entry.metadata()?.len();
                    files.push(entry.path().strip_prefix(&root)?.display().to_string());
                }
            }
        }
        files.sort();
        Ok((files, bytes))
    }

    /// Crates with their versions, as a scanner finds them in the program.
    pub(crate) fn crates(&self) -> Result<Vec<(String, String)>> {
        let syft = concat!(env!("CARGO_MANIFEST_DIR"), "/../.tools/bin/syft");
        let root = format!("dir:{}", self.folder.join("rootfs").display());
        let text = run(syft, &["scan", "--quiet", &root, "--output", "cyclonedx-json"])?;
        let found: Value = serde_json::from_str(&text)?;
        let components = found["components"].as_array().context("components")?;
        let cargo = components
            .iter()
            .filter(|it| it["purl"].as_str().is_some_and(|it| it.contains("cargo")));
        let field = |it: &Value, name: &str| it[name].as_str().map(str::to_owned).context("a name");
        cargo.map(|it| Ok((field(it, "name")?, field(it, "version")?))).collect()
    }

    /// Takes every right away, as the restricted profile of a cluster does, and gives variables and secrets.
    pub(crate) fn restrict(&self, variables: &[String], secrets: &Path) -> Result<()> {
        let file = self.folder.join("config.json");
        let mut config: Value = serde_json::from_str(&fs::read_to_string(&file)?)?;
        config["root"]["readonly"] = true.into();
        let process = &mut config["process"];
        process["terminal"] = false.into();
        process["noNewPrivileges"] = true.into();
        process["capabilities"] = json!({});
        process["env"]
            .as_array_mut()
            .context("variables")?
            .extend(variables.iter().map(|it| Value::from(it.as_str())));
        // The network is the machine's: the servers and the client are there.
        let namespaces = config["linux"]["namespaces"].as_array_mut().context("namespaces")?;
        namespaces.retain(|it| it["type"] != "network");
        config["mounts"].as_array_mut().context("mounts")?.push(json!({
            "destination": "/secrets",
            "type": "bind",
            "source": secrets,
            "options": ["bind", "ro", "nosuid", "nodev", "noexec"],
        }));
        Ok(fs::write(file, config.to_string())?)
    }
}

/// Runs a program to its end; what it printed.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let ended = Command::new(program).args(arguments).output();
    let ended =
        ended.with_context(|| format!("{program} is missing: `make check-image` installs it"))?;
    let said = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success(), "{program} {}: {said}", arguments.join(" "));
    Ok(String::from_utf8(ended.stdout)?)
}
