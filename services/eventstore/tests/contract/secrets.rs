//! Group secrets: the key-encryption key of a store is exchanged, and what was sealed before stays readable.

use std::sync::Arc;

use eventstore::{AsOf, Error, KeyManagement, LocalKeys, Log, Secret, Store, StoreOptions};

use crate::on_every_pair;
use crate::rig::{Command, Place, Rig, log, meta, open, schema, store_options};

on_every_pair! {
    a_secret_outlives_the_key_that_wraps_it
    a_store_that_had_no_secret_keeps_its_keys
    replicas_that_open_at_once_have_one_secret
}

/// A key-encryption key made of one byte; those of the rig are of 7.
fn key(of: u8) -> Secret {
    Secret::new([of; 32])
}

fn keys(current: u8, others: &[u8]) -> Arc<dyn KeyManagement> {
    Arc::new(LocalKeys::new(key(current), others.iter().map(|it| key(*it)).collect()))
}

async fn opened(rig: &Rig, kms: Arc<dyn KeyManagement>) -> Result<Store, Error> {
    opened_to(rig, kms, true).await
}

/// To work with it, or only to look at it.
async fn opened_to(rig: &Rig, kms: Arc<dyn KeyManagement>, work: bool) -> Result<Store, Error> {
    let log = log(rig.nats.as_ref()).await;
    let mut options = store_options("profiles", &rig.database, log, &rig.clock);
    options.database.create = work;
    Store::open(StoreOptions { kms: Some(kms), ..options }, schema()).await
}

async fn hide(store: &Store, id: &str, secret: &str) {
    let open = Command::Open { language: String::new() };
    store.execute::<Place>(id, &meta(&format!("open {id}")), open).await.unwrap();
    let hide = Command::Hide(secret.to_owned());
    store.execute::<Place>(id, &meta(&format!("hide {id}")), hide).await.unwrap();
}

async fn hidden(store: &Store, id: &str) -> String {
    store.load::<Place>("default", id, AsOf::Now).await.unwrap().state.secret
}

async fn kek(store: &Store) -> String {
    let status = eventstore::status::read(store.database(), &schema()).await.unwrap();
    status.tables.unwrap().kek
}

async fn a_secret_outlives_the_key_that_wraps_it(rig: Rig) {
    hide(&rig.store, "a", "first").await;
    let index = rig.store.keys().blind_index("default", &["somebody"]);
    assert_eq!(kek(&rig.store).await, key(7).fingerprint());
    rig.store.close().await;

    // Everybody has both keys before one takes the place of the other.
    let store = opened(&rig, keys(7, &[8])).await.unwrap();
    assert_eq!(kek(&store).await, key(7).fingerprint());
    store.close().await;
    let store = opened_to(&rig, keys(8, &[7]), false).await.unwrap();
    assert_eq!(kek(&store).await, key(7).fingerprint(), "who looks changes nothing");
    assert_eq!(hidden(&store, "a").await, "first");
    store.close().await;
    let store = opened(&rig, keys(8, &[7])).await.unwrap();
    assert_eq!(kek(&store).await, key(8).fingerprint());
    hide(&store, "b", "second").await;
    store.close().await;

    let store = opened(&rig, keys(8, &[])).await.unwrap();
    assert_eq!(
        (hidden(&store, "a").await, hidden(&store, "b").await),
        ("first".into(), "second".into())
    );
    assert_eq!(store.keys().blind_index("default", &["somebody"]), index, "people are found");
    store.close().await;
    for (kms, why) in [(keys(7, &[]), "is not at hand"), (keys(9, &[7]), "is not at hand")] {
        let refused = opened(&rig, kms).await.err().map(|it| it.chain()).unwrap_or_default();
        assert!(refused.contains(why) && refused.contains(&key(8).fingerprint()), "{refused}");
    }
}

async fn a_store_that_had_no_secret_keeps_its_keys(rig: Rig) {
    // As it was before there were secrets: keys were derived from the key-encryption key itself.
    let wrapped = keys(7, &[]).wrap("profiles", &key(7)).await.unwrap();
    let write = "UPDATE store_secret SET wrapped = $1";
    rig.store.database().exec(write, vec![wrapped.into()]).await.unwrap();
    rig.store.close().await;
    let store = opened(&rig, keys(7, &[])).await.unwrap();
    hide(&store, "a", "first").await;
    store.database().exec("DELETE FROM store_secret", vec![]).await.unwrap();
    store.close().await;

    let refused = opened(&rig, keys(8, &[7])).await.err().map(|it| it.chain()).unwrap_or_default();
    assert!(refused.contains("start once with its key-encryption key alone"), "{refused}");
    let refused = opened(&rig, keys(8, &[])).await.err().map(|it| it.chain()).unwrap_or_default();
    assert!(refused.contains("were not derived from the key-encryption key"), "{refused}");
    opened(&rig, keys(7, &[])).await.unwrap().close().await;
    let store = opened(&rig, keys(8, &[7])).await.unwrap();
    assert_eq!(hidden(&store, "a").await, "first");
    store.close().await;
}

async fn replicas_that_open_at_once_have_one_secret(rig: Rig) {
    rig.store.database().exec("DELETE FROM store_secret", vec![]).await.unwrap();
    let open = || open(&rig.database, Log::local(), &rig.clock, eventstore::Ids::system());
    let stores = futures::future::join_all((0..4).map(|_| open())).await;
    let mut indexes = Vec::new();
    for store in stores {
        let store = store.unwrap();
        indexes.push(store.keys().blind_index("default", &["somebody"]));
        store.close().await;
    }
    indexes.dedup();
    assert_eq!(indexes.len(), 1);
}
