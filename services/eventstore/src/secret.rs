//! The secret of a store: 32 random bytes from which its keys are derived. It is kept wrapped by a key-encryption key,
//! which a [`KeyManagement`] holds and never gives away. So the key-encryption key can be exchanged: one row is wrapped
//! again, and everything that was sealed stays as it is.

use std::fmt::{self, Debug};
use std::sync::Arc;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use futures::future::BoxFuture;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::ids::{Ids, hex};
use crate::keys::{Keyring, mac};
use crate::sql::{Database, Tx};
use crate::values;

/// 32 secret bytes, from which other keys are derived.
#[derive(Clone)]
pub struct Secret(Zeroizing<[u8; 32]>);

impl Secret {
    /// From 32 secret bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// A key for one use: HMAC-SHA-256 of the use's name under the secret (NIST SP 800-108, one block).
    pub fn derive(&self, name: &str) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(mac(&self.0, &[name.as_bytes()]))
    }

    /// By which it is recognised, and not found.
    pub fn fingerprint(&self) -> String {
        hex(&self.derive("rapport/fingerprint/v1")[..8])
    }
}

impl Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// What holds key-encryption keys: files, or a service that never gives them away. It is asked when a store is opened,
/// and at no other time.
pub trait KeyManagement: Debug + Send + Sync {
    /// Name of the key that wraps now.
    fn current(&self) -> String;

    /// Wraps by the current key. What was wrapped for one context opens for no other.
    fn wrap<'a>(
        &'a self,
        context: &'a str,
        secret: &'a Secret,
    ) -> BoxFuture<'a, Result<Vec<u8>, Error>>;

    /// Opens what was wrapped by the key of a name; refused when there is no such key or it is not its work.
    fn unwrap<'a>(
        &'a self,
        key: &'a str,
        context: &'a str,
        wrapped: &'a [u8],
    ) -> BoxFuture<'a, Result<Secret, Error>>;

    /// From what stores that were made before stores had secrets of their own derive their keys.
    fn of_old_stores(&self) -> Option<Secret> {
        None
    }
}

/// Key-encryption keys at hand, named by their fingerprints. The first wraps; each opens what it wrapped.
#[derive(Clone, Debug)]
pub struct LocalKeys {
    current: Secret,
    others: Vec<Secret>,
}

impl LocalKeys {
    /// Of the key that wraps, and others that may have wrapped before or will after it.
    pub fn new(current: Secret, others: Vec<Secret>) -> Self {
        Self { current, others }
    }
}

impl From<Secret> for Arc<dyn KeyManagement> {
    fn from(key: Secret) -> Self {
        Arc::new(LocalKeys::new(key, Vec::new()))
    }
}

fn cipher(key: &Secret) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(&Key::from(*key.derive("rapport/store-secret/v1")))
}

impl KeyManagement for LocalKeys {
    fn current(&self) -> String {
        self.current.fingerprint()
    }

    fn wrap<'a>(
        &'a self,
        context: &'a str,
        secret: &'a Secret,
    ) -> BoxFuture<'a, Result<Vec<u8>, Error>> {
        Box::pin(async move {
            let nonce = Ids::system().bytes::<24>();
            let payload = Payload { msg: &secret.0[..], aad: context.as_bytes() };
            let sealed = cipher(&self.current).encrypt(&XNonce::from(nonce), payload);
            let sealed = sealed.map_err(|_| Error::corrupt("wrap the secret of a store"))?;
            Ok([&nonce[..], &sealed].concat())
        })
    }

    fn unwrap<'a>(
        &'a self,
        key: &'a str,
        context: &'a str,
        wrapped: &'a [u8],
    ) -> BoxFuture<'a, Result<Secret, Error>> {
        Box::pin(async move {
            let mut all = [&self.current].into_iter().chain(&self.others);
            let found = all.find(|it| it.fingerprint() == key).ok_or_else(|| {
                Error::refused(format!(
                    "the key-encryption key {key} wrapped this and is not at hand, only {}",
                    self.current()
                ))
            })?;
            let open = || {
                let (nonce, sealed) = wrapped.split_first_chunk::<24>()?;
                let payload = Payload { msg: sealed, aad: context.as_bytes() };
                let plain = cipher(found).decrypt(&XNonce::from(*nonce), payload).ok()?;
                Zeroizing::new(plain).as_slice().try_into().ok().map(Secret::new)
            };
            open().ok_or_else(|| Error::corrupt(format!("{key} did not wrap this for {context}")))
        })
    }

    fn of_old_stores(&self) -> Option<Secret> {
        // Of several, nobody knows which one it was.
        self.others.is_empty().then(|| self.current.clone())
    }
}

/// The secret of a store, made if it has none; wrapped again if another key wraps now, unless somebody only looks.
pub(crate) async fn open(
    database: &Database,
    source: &str,
    kms: &dyn KeyManagement,
    looks: bool,
) -> Result<Secret, Error> {
    let mut tx = database.begin().await?;
    let found = read(&mut tx).await?;
    if let Some((key, wrapped)) = found {
        tx.rollback().await?;
        let secret = kms.unwrap(&key, source, &wrapped).await?;
        if key != kms.current() && !looks {
            let again = kms.wrap(source, &secret).await?;
            let now = kms.current();
            let changed = database
                .exec(
                    "UPDATE store_secret SET kek = $1, wrapped = $2 WHERE one = 1 AND kek = $3",
                    values![&now, again, &key],
                )
                .await?;
            if changed > 0 {
                tracing::info!(source, before = key, now, "another key wraps the store's secret");
            }
        }
        return Ok(secret);
    }
    let old = is_old(&mut tx).await?;
    tx.rollback().await?;
    let secret = match old {
        false => Secret::new(Ids::system().bytes()),
        true => of_old_store(database, kms).await?,
    };
    let wrapped = kms.wrap(source, &secret).await?;
    let made = database
        .exec(
            "INSERT INTO store_secret (one, kek, wrapped) VALUES (1, $1, $2) ON CONFLICT DO NOTHING",
            values![kms.current(), wrapped],
        )
        .await?;
    if made > 0 {
        return Ok(secret);
    }
    // Another replica was faster: its secret is the store's.
    Box::pin(open(database, source, kms, looks)).await
}

/// The secret of a store whose keys were derived before it had one. Another key would be its secret for ever, and nothing
/// that was sealed would open: it has to show that it is the one.
async fn of_old_store(database: &Database, kms: &dyn KeyManagement) -> Result<Secret, Error> {
    let secret = kms.of_old_stores().ok_or_else(|| {
        Error::refused("the store has no secret yet: start once with its key-encryption key alone")
    })?;
    if !Keyring::new(database.clone(), Ids::system(), &secret).fits().await? {
        return Err(Error::refused(format!(
            "the store has no secret yet, and its keys were not derived from the key-encryption key {}: start once \
             with the one they were derived from, alone",
            kms.current()
        )));
    }
    Ok(secret)
}

/// Which key wraps a store's secret; empty while it has none.
pub(crate) async fn key(tx: &mut Tx) -> Result<String, Error> {
    Ok(read(tx).await?.map_or_else(String::new, |it| it.0))
}

/// Looks whether a store's secret can be opened.
pub(crate) async fn verify(
    tx: &mut Tx,
    source: &str,
    kms: &dyn KeyManagement,
) -> Result<(), Error> {
    let (key, wrapped) = read(tx).await?.ok_or_else(|| Error::corrupt("there is no secret"))?;
    kms.unwrap(&key, source, &wrapped).await.map(drop)
}

async fn read(tx: &mut Tx) -> Result<Option<(String, Vec<u8>)>, Error> {
    let rows = tx.query("SELECT kek, wrapped FROM store_secret WHERE one = 1", vec![]).await?;
    rows.first().map(|row| Ok((row.text(0)?.to_owned(), row.blob(1)?.to_vec()))).transpose()
}

/// Whether keys may have been derived before the store had a secret.
async fn is_old(tx: &mut Tx) -> Result<bool, Error> {
    let look = "SELECT position + (SELECT COUNT(*) FROM subject_key) FROM head WHERE one = 1";
    let rows = tx.query(look, vec![]).await?;
    Ok(rows.first().map_or(Ok(0), |it| it.int(0))? > 0)
}
