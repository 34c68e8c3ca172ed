//! The deployment's keys: from their files, or in embedded mode made once beside the databases.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use eventstore::{Ids, KeyManagement, LocalKeys, Secret, sqlite_file};
use zeroize::Zeroizing;

use crate::settings::Settings;

/// The key could not be read or made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("read the key-encryption key {path}")]
    Read { path: String, source: std::io::Error },
    #[error("write a new key to {path}")]
    Write { path: String, source: std::io::Error },
    #[error("{path} does not hold 32 bytes in base64")]
    Malformed { path: String },
}

/// What the settings name as key management.
pub type Kms = Arc<dyn KeyManagement>;

/// The keys the settings name. Only embedded mode makes one: elsewhere every replica must be given the same.
pub fn read_or_make(settings: &Settings) -> Result<Kms, Error> {
    let path = path(settings);
    if path != settings.keys.kek_file && !path.exists() {
        make(&path)?;
    }
    read(settings)
}

/// The keys the settings name, or the one that embedded mode made before: for commands that make nothing.
pub fn read(settings: &Settings) -> Result<Kms, Error> {
    let current = read_file(&path(settings))?;
    let others = settings.keys.other_kek_files.iter().map(|it| read_file(Path::new(it)));
    Ok(Arc::new(LocalKeys::new(current, others.collect::<Result<_, _>>()?)))
}

/// Where the key is that targets share. Links that were sent open with it, so embedded mode keeps what it made.
pub fn service_key(settings: &Settings) -> Result<PathBuf, Error> {
    let named = &settings.auth.service_key_file;
    if !named.as_os_str().is_empty() || !settings.is_embedded() {
        return Ok(named.clone());
    }
    let path = folder(settings).join("service.key");
    if !path.exists() {
        make(&path)?;
    }
    Ok(path)
}

fn path(settings: &Settings) -> PathBuf {
    let named = &settings.keys.kek_file;
    if named.as_os_str().is_empty() && settings.is_embedded() {
        folder(settings).join("root.key")
    } else {
        named.clone()
    }
}

/// Where embedded mode keeps its databases and what stands beside them: `sqlite://./data/{service}.db` → `./data`.
pub fn folder(settings: &Settings) -> PathBuf {
    let folder = sqlite_file(&settings.database.url).parent().unwrap_or(Path::new("."));
    // A folder of each service's own has no name yet: the key is one for all of them.
    folder.iter().take_while(|part| !part.to_string_lossy().contains("{service}")).collect()
}

fn read_file(path: &Path) -> Result<Secret, Error> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path).map(Zeroizing::new);
    let text = text.map_err(|source| Error::Read { path: shown.clone(), source })?;
    let bytes = STANDARD.decode(text.trim()).map(Zeroizing::new);
    let bytes = bytes.ok().and_then(|bytes| bytes.as_slice().try_into().ok());
    bytes.map(Secret::new).ok_or(Error::Malformed { path: shown })
}

/// Writes a new key for its owner's eyes only. Two processes that start at once agree on the file that came first.
fn make(path: &Path) -> Result<(), Error> {
    let key = Zeroizing::new(Ids::system().bytes::<32>());
    let failed = |source| Error::Write { path: path.display().to_string(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let draft = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)
        .map_err(failed)?;
    file.write_all(Zeroizing::new(STANDARD.encode(*key)).as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    // A link, unlike a rename, never replaces a key that something may be sealed with already.
    let linked = std::fs::hard_link(&draft, path);
    std::fs::remove_file(&draft).map_err(failed)?;
    match linked {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(failed(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(folder: &Path) -> Settings {
        let mut settings = Settings::default();
        settings.database.url = format!("sqlite://{}/data/{{service}}.db", folder.display());
        settings
    }

    #[test]
    fn embedded_mode_makes_one_key_and_keeps_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("folder");
        let settings = settings(folder.path());
        assert!(matches!(read(&settings), Err(Error::Read { .. })), "reading makes none");
        assert!(!folder.path().join("data").exists());
        let first = read_or_make(&settings).expect("made");
        assert_eq!(read(&settings).expect("there now").current(), first.current());
        assert_eq!(read_or_make(&settings).expect("read").current(), first.current());
        let about =
            std::fs::metadata(folder.path().join("data/root.key")).expect("beside the databases");
        assert_eq!(about.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_named_key_must_exist_and_be_32_bytes() {
        let folder = tempfile::tempdir().expect("folder");
        let mut settings = settings(folder.path());
        settings.keys.kek_file = folder.path().join("kek");
        assert!(matches!(read_or_make(&settings), Err(Error::Read { .. })));
        std::fs::write(&settings.keys.kek_file, STANDARD.encode([7; 31])).expect("written");
        assert!(matches!(read_or_make(&settings), Err(Error::Malformed { .. })));
        std::fs::write(&settings.keys.kek_file, STANDARD.encode([7; 32])).expect("written");
        let read = read_or_make(&settings).expect("read");
        assert_eq!(read.current(), Secret::new([7; 32]).fingerprint());
    }

    #[test]
    fn no_key_is_made_outside_embedded_mode() {
        let folder = tempfile::tempdir().expect("folder");
        let mut settings = settings(folder.path());
        settings.grpc.address = "0.0.0.0:1".parse().expect("address");
        assert!(read_or_make(&settings).is_err());
        assert!(!folder.path().join("data").exists());
    }
}
