//! `rapport backup` and `rapport restore`: copies of stores in files.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use chassis::assembly::Target;
use chassis::root_key;
use chassis::settings::Settings;
use clap::Args;
use eventstore::backup::{self, Manifest, Tombstone};
use eventstore::{Database, DatabaseOptions, hex};
use tempfile::NamedTempFile;

use crate::cli::print;
use crate::targets;

#[derive(Args)]
pub(crate) struct Restore {
    /// Folder with `<target>.backup` of each target
    folder: PathBuf,
    /// Folder with other, later copies: subject keys that are destroyed there are destroyed. May be repeated
    #[arg(long = "tombstones", value_name = "FOLDER")]
    tombstones: Vec<PathBuf>,
}

/// Copies each store. A file is there once it is whole; nothing is begun while one of them would replace another.
pub(crate) async fn write(settings: &Settings, folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let targets = targets::select(&settings.targets)?;
    for path in targets.iter().map(|it| file_of(folder, it.name)) {
        anyhow::ensure!(!path.exists(), "{} is there already", path.display());
    }
    for target in targets {
        let path = file_of(folder, target.name);
        // Only who made it may read it; gone if anything fails.
        let partial = NamedTempFile::new_in(folder);
        let partial = partial.with_context(|| format!("write in {}", folder.display()))?;
        let mut out = BufWriter::new(partial);
        let database = open(settings, &target, false).await?;
        let schema = (target.schema)();
        let copied = backup::write(&database, target.name, &schema, &mut out).await;
        database.close().await;
        let manifest = copied.with_context(|| format!("copy {}", target.name))?;
        keep(out, &path).with_context(|| format!("write {}", path.display()))?;
        tell(&target, &manifest);
    }
    Ok(())
}

fn keep(out: BufWriter<NamedTempFile>, path: &Path) -> std::io::Result<()> {
    let mut file = out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    file.flush()?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// Fills each store. Nothing is begun while a file is missing.
pub(crate) async fn restore(settings: &Settings, ask: &Restore) -> anyhow::Result<()> {
    let kms = root_key::read(settings)?;
    let targets = targets::select(&settings.targets)?;
    for target in &targets {
        read(&file_of(&ask.folder, target.name))?;
    }
    for target in targets {
        let tombstones = tombstones(&ask.tombstones, target.name)?;
        let mut copy = read(&file_of(&ask.folder, target.name))?;
        let database = open(settings, &target, true).await?;
        let schema = (target.schema)();
        let (source, copy) = (target.name, &mut copy);
        let restored = backup::restore(&database, source, &schema, &*kms, copy, &tombstones).await;
        database.close().await;
        tell(&target, &restored.with_context(|| format!("restore {source}"))?);
    }
    Ok(())
}

fn tell(target: &Target, it: &Manifest) {
    let (name, position, chain) = (target.name, it.position, hex(&it.chain));
    let (taken_at, key) = (&it.taken_at, &it.key);
    print(&format!("{name}: {position} events, chain {chain}, as of {taken_at}, key {key}\n"));
}

fn tombstones(folders: &[PathBuf], target: &str) -> anyhow::Result<Vec<Tombstone>> {
    let mut all = Vec::new();
    for folder in folders {
        let path = file_of(folder, target);
        let found = backup::tombstones(&mut read(&path)?);
        all.extend(found.with_context(|| format!("read {}", path.display()))?);
    }
    Ok(all)
}

fn file_of(folder: &Path, target: &str) -> PathBuf {
    folder.join(format!("{target}.backup"))
}

fn read(path: &Path) -> anyhow::Result<BufReader<File>> {
    let file = File::open(path).with_context(|| format!("read {}", path.display()))?;
    Ok(BufReader::new(file))
}

async fn open(settings: &Settings, target: &Target, create: bool) -> anyhow::Result<Database> {
    let url = settings.database.url_for(target.name);
    let options = DatabaseOptions { create, max_connections: 1, ..DatabaseOptions::new(url) };
    let opened = Database::open(&options).await;
    opened.with_context(|| format!("open the store of {}", target.name))
}
