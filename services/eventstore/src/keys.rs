//! Subject keys: one per (tenant, subject), wrapped by a key of the store's, and everything else that is
//! derived from the store's [`Secret`]: blind indexes and request digests.
//!
//! Destroying a subject's key leaves ciphertext, hashes and proofs as they are and makes the personal
//! fields unreadable for ever. Plaintext keys stay in memory for at most five minutes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::event::Hash;
use crate::ids::Ids;
use crate::secret::Secret;
use crate::sql::{Database, Tx};
use crate::time::Timestamp;
use crate::values;

/// Keys by (tenant, key id).
type States = HashMap<(String, String), KeyState>;

/// Keys by subject, each with itself as a new one if it has just been made; nothing for one that is destroyed.
pub(crate) type SubjectKeys = BTreeMap<String, Option<(DataKey, Option<NewKey>)>>;

/// Keys in the clear, with since when they are held.
#[derive(Default)]
struct Cache {
    held: HashMap<(String, String), (KeyState, Instant)>,
    /// How often a key was destroyed. What was read from the database before the last time is not kept.
    destroyed: u64,
}

const KEPT: Duration = Duration::from_secs(300);
/// Beyond this many cached keys the cache starts afresh.
const CACHED: usize = 100_000;

/// HMAC-SHA-256 over length-prefixed parts.
pub(crate) fn mac(key: &[u8; 32], parts: &[&[u8]]) -> Hash {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// A subject's key in the clear.
#[derive(Clone)]
pub struct DataKey {
    /// Its id, `key_…`.
    pub key_id: String,
    pub(crate) secret: Arc<Zeroizing<[u8; 32]>>,
}

impl std::fmt::Debug for DataKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DataKey({})", self.key_id)
    }
}

/// What became of the key that seals an event.
#[derive(Clone, Debug, Default)]
pub enum KeyState {
    /// At hand.
    Live(DataKey),
    /// Destroyed: personal fields read as erased.
    Destroyed,
    /// The event has none, or this process does not hold it.
    #[default]
    Absent,
}

/// A key made for a subject that has none yet; it is stored in the unit that first uses it.
#[derive(Clone, Debug)]
pub(crate) struct NewKey {
    pub subject: String,
    pub key_id: String,
    pub wrapped: Vec<u8>,
}

pub(crate) fn destroyed_key() -> Error {
    Error::refused("the subject's key is destroyed")
}

/// The keys of one store.
#[derive(Clone)]
pub struct Keyring(Arc<Inner>);

struct Inner {
    database: Database,
    ids: Ids,
    wrapping: Zeroizing<[u8; 32]>,
    index: Zeroizing<[u8; 32]>,
    digest: Zeroizing<[u8; 32]>,
    cache: Mutex<Cache>,
}

impl Keyring {
    pub(crate) fn new(database: Database, ids: Ids, secret: &Secret) -> Self {
        Self(Arc::new(Inner {
            database,
            ids,
            wrapping: secret.derive("rapport/subject-keys/v1"),
            index: secret.derive("rapport/blind-index/v1"),
            digest: secret.derive("rapport/request-digest/v1"),
            cache: Mutex::default(),
        }))
    }

    /// A blind index: a keyed HMAC by which a personal value can be looked up, never a bare hash.
    pub fn blind_index(&self, tenant: &str, parts: &[&str]) -> Hash {
        let mut all = vec![tenant.as_bytes()];
        all.extend(parts.iter().map(|it| it.as_bytes()));
        mac(&self.0.index, &all)
    }

    /// A keyed digest of a request's body; the same body has another digest in another tenant.
    pub fn request_digest(&self, tenant: &str, body: &[u8]) -> Hash {
        mac(&self.0.digest, &[tenant.as_bytes(), body])
    }

    /// The key of a subject, made if there is none. `Err` when it is destroyed.
    pub(crate) async fn for_subject(
        &self,
        tenant: &str,
        subject: &str,
    ) -> Result<(DataKey, Option<NewKey>), Error> {
        let destroyed = self.lock().destroyed;
        let found = self
            .0
            .database
            .query(
                "SELECT key_id, wrapped, destroyed_at FROM subject_key
                 WHERE tenant = $1 AND subject = $2",
                values![tenant, subject],
            )
            .await?;
        let Some(row) = found.first() else {
            return self.make(tenant, subject).map(|(key, new)| (key, Some(new)));
        };
        if row.int(2)? != 0 {
            return Err(destroyed_key());
        }
        let key = self.unwrap(tenant, row.text(0)?, row.blob(1)?)?;
        self.remember(destroyed, tenant, KeyState::Live(key.clone()), &key.key_id);
        Ok((key, None))
    }

    /// The same for many subjects by one statement; nothing for those whose keys are destroyed.
    pub(crate) async fn for_subjects(
        &self,
        tenant: &str,
        subjects: &BTreeSet<&str>,
    ) -> Result<SubjectKeys, Error> {
        let destroyed = self.lock().destroyed;
        let wanted: Vec<_> = subjects.iter().map(|subject| values![tenant, *subject]).collect();
        let found = self
            .0
            .database
            .query_keys(
                "k(tenant, subject)",
                &wanted,
                "SELECT s.subject, s.key_id, s.wrapped, s.destroyed_at FROM k
                 JOIN subject_key s ON s.tenant = k.tenant AND s.subject = k.subject",
            )
            .await?;
        let mut keys = SubjectKeys::new();
        for row in found {
            let held = if row.int(3)? == 0 {
                let key = self.unwrap(tenant, row.text(1)?, row.blob(2)?)?;
                self.remember(destroyed, tenant, KeyState::Live(key.clone()), &key.key_id);
                Some((key, None))
            } else {
                None
            };
            keys.insert(row.text(0)?.to_owned(), held);
        }
        for subject in subjects.iter().filter(|it| !keys.contains_key(**it)).collect::<Vec<_>>() {
            let (key, new) = self.make(tenant, subject)?;
            keys.insert((*subject).to_owned(), Some((key, Some(new))));
        }
        Ok(keys)
    }

    /// The keys by which events are sealed, each at most once from the database.
    pub(crate) async fn open(&self, wanted: Vec<(&str, &str)>) -> Result<States, Error> {
        let Cached { mut states, missing, destroyed } = self.cached(wanted);
        if missing.is_empty() {
            return Ok(states);
        }
        states.extend(self.read(missing, destroyed).await?);
        Ok(states)
    }

    async fn read(&self, missing: Vec<(String, String)>, destroyed: u64) -> Result<States, Error> {
        let rows: Vec<_> = missing.iter().map(|(tenant, key)| values![tenant, key]).collect();
        let found = self
            .0
            .database
            .query_keys(
                "k(tenant, key_id)",
                &rows,
                "SELECT s.tenant, s.key_id, s.wrapped, s.destroyed_at FROM k
                 JOIN subject_key s ON s.tenant = k.tenant AND s.key_id = k.key_id",
            )
            .await?;
        let mut states = HashMap::new();
        for row in found {
            let (tenant, key_id) = (row.text(0)?, row.text(1)?);
            let state = if row.int(3)? == 0 {
                KeyState::Live(self.unwrap(tenant, key_id, row.blob(2)?)?)
            } else {
                KeyState::Destroyed
            };
            self.remember(destroyed, tenant, state.clone(), key_id);
            states.insert((tenant.to_owned(), key_id.to_owned()), state);
        }
        Ok(states)
    }

    /// Whether a subject's key opens with these keys; true where there is none.
    pub(crate) async fn fits(&self) -> Result<bool, Error> {
        let one = "SELECT tenant, key_id, wrapped FROM subject_key WHERE destroyed_at = 0 LIMIT 1";
        let rows = self.0.database.query(one, vec![]).await?;
        let Some(row) = rows.first() else {
            return Ok(true);
        };
        Ok(self.unwrap(row.text(0)?, row.text(1)?, row.blob(2)?).is_ok())
    }

    /// Destroys a subject's key: overwritten and marked before this returns.
    pub async fn destroy(
        &self,
        tenant: &str,
        subject: &str,
        reason: &str,
        at: Timestamp,
    ) -> Result<bool, Error> {
        let changed = self
            .0
            .database
            .exec(
                "UPDATE subject_key SET wrapped = $3, destroyed_at = $4, reason = $5
                 WHERE tenant = $1 AND subject = $2 AND destroyed_at = 0",
                values![tenant, subject, Vec::new(), at.0.max(1), reason],
            )
            .await?;
        let mut cache = self.lock();
        cache.held.clear();
        cache.destroyed += 1;
        Ok(changed > 0)
    }

    fn make(&self, tenant: &str, subject: &str) -> Result<(DataKey, NewKey), Error> {
        let key_id = self.0.ids.random("key");
        let secret = Arc::new(Zeroizing::new(self.0.ids.bytes::<32>()));
        let nonce: [u8; 24] = self.0.ids.bytes();
        let aad = [tenant, &key_id].join("\0");
        let payload = Payload { msg: &secret[..], aad: aad.as_bytes() };
        let ciphertext = XChaCha20Poly1305::new(&Key::from(*self.0.wrapping))
            .encrypt(&XNonce::from(nonce), payload)
            .map_err(|_| Error::corrupt("wrap a subject key"))?;
        let wrapped = [&nonce[..], &ciphertext].concat();
        let new = NewKey { subject: subject.to_owned(), key_id: key_id.clone(), wrapped };
        Ok((DataKey { key_id, secret }, new))
    }

    fn unwrap(&self, tenant: &str, key_id: &str, wrapped: &[u8]) -> Result<DataKey, Error> {
        let open = || {
            let (nonce, ciphertext) = wrapped.split_first_chunk::<24>()?;
            let aad = [tenant, key_id].join("\0");
            let plain = XChaCha20Poly1305::new(&Key::from(*self.0.wrapping))
                .decrypt(&XNonce::from(*nonce), Payload { msg: ciphertext, aad: aad.as_bytes() })
                .ok()?;
            let secret: [u8; 32] = Zeroizing::new(plain).as_slice().try_into().ok()?;
            Some(DataKey { key_id: key_id.to_owned(), secret: Arc::new(Zeroizing::new(secret)) })
        };
        open().ok_or_else(|| {
            Error::corrupt(format!("{key_id} does not open with the keys of this store"))
        })
    }

    fn cached(&self, wanted: Vec<(&str, &str)>) -> Cached {
        let cache = self.lock();
        let (mut states, mut missing) = (HashMap::new(), Vec::new());
        for (tenant, key_id) in wanted {
            let name = (tenant.to_owned(), key_id.to_owned());
            if states.contains_key(&name) {
                continue;
            }
            match cache.held.get(&name) {
                Some((state, since)) if since.elapsed() < KEPT => {
                    states.insert(name, state.clone());
                }
                _ => {
                    states.insert(name.clone(), KeyState::Absent);
                    missing.push(name);
                }
            }
        }
        Cached { states, missing, destroyed: cache.destroyed }
    }

    /// Keeps a key that was read when so many were destroyed. If another one was since, it may be this one.
    fn remember(&self, destroyed: u64, tenant: &str, state: KeyState, key_id: &str) {
        let mut cache = self.lock();
        if cache.destroyed != destroyed {
            return;
        }
        if cache.held.len() >= CACHED {
            cache.held.clear();
        }
        cache.held.insert((tenant.to_owned(), key_id.to_owned()), (state, Instant::now()));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.0.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is held of the keys that are wanted.
struct Cached {
    states: States,
    missing: Vec<(String, String)>,
    destroyed: u64,
}

/// Stores the keys that units brought along.
pub(crate) async fn store_new(tx: &mut Tx, rows: Vec<Vec<crate::Value>>) -> Result<(), Error> {
    tx.insert_many(
        "INSERT INTO subject_key (tenant, key_id, subject, wrapped, destroyed_at, reason)",
        rows,
        "",
    )
    .await
    .map(drop)
}

impl NewKey {
    /// Its row.
    pub(crate) fn row(&self, tenant: &str) -> Vec<crate::Value> {
        values![tenant, &self.key_id, &self.subject, self.wrapped.clone(), 0_i64, ""]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Clock, CommitOptions, DatabaseOptions, Log, Schema, Store, StoreOptions, Timestamp,
    };

    async fn store(folder: &tempfile::TempDir) -> Store {
        let url = format!("sqlite://{}", folder.path().join("store.db").display());
        let options = StoreOptions {
            source: "profiles".into(),
            database: DatabaseOptions::new(url),
            migrate: true,
            commit: CommitOptions::default(),
            kms: Some(Secret::new([7; 32]).into()),
            clock: Clock::manual(Timestamp(1)),
            ids: Ids::system(),
            log: Log::local(),
        };
        Store::open(options, Schema::default()).await.expect("opened")
    }

    /// A subject whose key is stored.
    async fn keyed(store: &Store) -> String {
        let (key, new) = store.keys().for_subject("acme", "pty_1").await.expect("made");
        let rows = new.iter().map(|it| it.row("acme")).collect();
        let mut tx = store.database().begin().await.expect("begun");
        store_new(&mut tx, rows).await.expect("stored");
        tx.commit().await.expect("committed");
        key.key_id
    }

    #[tokio::test]
    async fn a_key_read_before_its_destruction_is_not_kept_after_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store(&folder).await;
        let (keys, key_id) = (store.keys(), keyed(&store).await);
        // The steps of `open`, with the destruction between reading the row and keeping the key.
        let Cached { missing, destroyed, .. } = keys.cached(vec![("acme", &key_id)]);
        let (live, _) = keys.for_subject("acme", "pty_1").await.expect("live");
        assert!(keys.destroy("acme", "pty_1", "test", Timestamp(1)).await.expect("destroyed"));
        keys.remember(destroyed, "acme", KeyState::Live(live), &key_id);
        assert_eq!(keys.cached(vec![("acme", &key_id)]).missing, missing, "nothing is kept");

        let name = ("acme".to_owned(), key_id.clone());
        let read = keys.open(vec![("acme", &key_id)]).await.expect("read");
        assert!(matches!(read[&name], KeyState::Destroyed), "{read:?}");
        let held = keys.cached(vec![("acme", &key_id)]);
        assert!(matches!(held.states[&name], KeyState::Destroyed), "kept from now on");
        keys.for_subject("acme", "pty_1").await.expect_err("destroyed");
    }

    #[tokio::test]
    async fn keys_of_many_subjects_are_those_of_each() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store(&folder).await;
        let (keys, key_id) = (store.keys(), keyed(&store).await);
        let wanted = BTreeSet::from(["pty_1", "pty_2"]);
        let found = keys.for_subjects("acme", &wanted).await.expect("read");
        let known = found["pty_1"].as_ref().expect("live");
        assert!(known.0.key_id == key_id && known.1.is_none(), "{known:?}");
        let made = found["pty_2"].as_ref().expect("made");
        assert_eq!(made.1.as_ref().map(|it| &it.key_id), Some(&made.0.key_id));
        keys.destroy("acme", "pty_1", "test", Timestamp(1)).await.expect("destroyed");
        let found = keys.for_subjects("acme", &wanted).await.expect("read");
        assert!(found["pty_1"].is_none() && found["pty_2"].is_some());
    }

    #[tokio::test]
    async fn a_key_is_read_once_while_nothing_is_destroyed() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store(&folder).await;
        let (keys, key_id) = (store.keys(), keyed(&store).await);
        keys.open(vec![("acme", &key_id)]).await.expect("read");
        assert!(keys.cached(vec![("acme", &key_id)]).missing.is_empty());
        // Of somebody else: what is held is given up, and kept again once it is read again.
        keys.destroy("acme", "pty_2", "test", Timestamp(1)).await.expect("nothing to destroy");
        assert_eq!(keys.cached(vec![("acme", &key_id)]).missing.len(), 1);
        keys.open(vec![("acme", &key_id)]).await.expect("read");
        assert!(keys.cached(vec![("acme", &key_id)]).missing.is_empty());
    }
}
