//! Group backups: a copy of a store fills an empty one, and what happened since comes from the log.

use eventstore::backup::{self, Manifest, Tombstone};
use eventstore::{AsOf, Database, DatabaseOptions, Error, Ids, LocalKeys, Secret, Store};
use tokio_util::sync::CancellationToken;

use crate::on_every_pair;
use crate::rig::{
    Command, POSTGRES, Place, Rig, eventually, fill, log, meta, open, places, schema,
};

on_every_pair! {
    a_restored_store_goes_on_where_the_log_ends
    a_tail_with_a_lost_key_is_not_imported
    a_destroyed_key_does_not_come_back
    a_copy_is_refused_where_it_does_not_belong
    a_damaged_copy_changes_nothing
    a_copy_of_changed_facts_is_refused
}

const KEY: [u8; 32] = [7; 32];

/// A copy in memory.
async fn copy(store: &Store) -> Vec<u8> {
    let mut file = Vec::new();
    let manifest = backup::write(store.database(), "profiles", &schema(), &mut file).await.unwrap();
    assert_eq!((manifest.source.as_str(), manifest.position), ("profiles", store.head().position));
    file
}

/// An empty database of the same kind.
fn empty(rig: &Rig, folder: &tempfile::TempDir) -> String {
    match rig.database.starts_with("sqlite") {
        true => format!("sqlite://{}", folder.path().join("restored.db").display()),
        false => POSTGRES.database(),
    }
}

async fn restore(
    url: &str,
    mut file: &[u8],
    key: [u8; 32],
    tombstones: &[Tombstone],
) -> Result<Manifest, Error> {
    let database = Database::open(&DatabaseOptions::new(url)).await.unwrap();
    let (schema, kms) = (schema(), LocalKeys::new(Secret::new(key), Vec::new()));
    let restored =
        backup::restore(&database, "profiles", &schema, &kms, &mut file, tombstones).await;
    database.close().await;
    restored
}

async fn reopen(rig: &Rig, url: &str) -> Result<Store, Error> {
    open(url, log(rig.nats.as_ref()).await, &rig.clock, Ids::system()).await
}

/// Waits until everything is on the log, where there is one, and loses the store.
async fn lose(rig: &Rig) {
    if rig.is_remote() {
        let stop = CancellationToken::new();
        let relay = tokio::spawn(eventstore::relay::run(rig.store.clone(), stop.clone()));
        let end = rig.store.head().position;
        eventually("the relay is done", || async {
            let tail = rig.store.log().tail("profiles").await.unwrap();
            tail.is_some_and(|it| it.last == end)
        })
        .await;
        stop.cancel();
        relay.await.unwrap();
    }
    rig.store.close().await;
}

async fn timers(store: &Store) -> Vec<eventstore::Row> {
    store.query("SELECT id, stream, due_at FROM timer ORDER BY id", vec![]).await.unwrap()
}

async fn hide(store: &Store, id: &str, request_id: &str, secret: &str) {
    let command = Command::Hide(secret.to_owned());
    store.execute::<Place>(id, &meta(request_id), command).await.unwrap();
}

async fn secret(store: &Store, id: &str) -> String {
    store.load::<Place>("default", id, AsOf::Now).await.unwrap().state.secret
}

async fn a_restored_store_goes_on_where_the_log_ends(rig: Rig) {
    // More rows than a page has.
    fill(&rig.store, "a", 450).await;
    fill(&rig.store, "b", 3).await;
    hide(&rig.store, "a", "hide", "first").await;
    let remind = Command::Remind(9_000_000_000_000_000);
    rig.store.execute::<Place>("b", &meta("remind"), remind).await.unwrap();
    let file = copy(&rig.store).await;
    if rig.is_remote() {
        hide(&rig.store, "a", "hide again", "second").await;
        fill(&rig.store, "c", 20).await;
    }
    let (head, views, due) = (rig.store.head(), places(&rig.store).await, timers(&rig.store).await);
    let known = secret(&rig.store, "a").await;
    assert_eq!(due.len(), 1);
    lose(&rig).await;

    let folder = tempfile::tempdir().unwrap();
    let url = empty(&rig, &folder);
    restore(&url, &file, KEY, &[]).await.unwrap();
    let again = restore(&url, &file, KEY, &[]).await;
    assert!(matches!(again, Err(Error::Refused(it)) if it.contains("holds rows")));
    let store = reopen(&rig, &url).await.unwrap();
    assert_eq!(store.verify().await.unwrap().unwrap(), head);
    assert_eq!((places(&store).await, timers(&store).await), (views.clone(), due));
    assert_eq!(secret(&store, "a").await, known);
    store.rebuild(&*store.views()[0]).await.unwrap();
    assert_eq!(places(&store).await, views);
    // Requests are remembered, those from before the copy and those after it.
    fill(&store, "a", 450).await;
    if rig.is_remote() {
        fill(&store, "c", 20).await;
    }
    assert_eq!(store.head(), head, "answered, not repeated");
    fill(&store, "d", 1).await;
    assert_eq!(store.verify().await.unwrap().unwrap().position, head.position + 2);
}

async fn a_tail_with_a_lost_key_is_not_imported(rig: Rig) {
    fill(&rig.store, "a", 2).await;
    let file = copy(&rig.store).await;
    hide(&rig.store, "a", "hide", "made a key").await;
    lose(&rig).await;
    let folder = tempfile::tempdir().unwrap();
    let url = empty(&rig, &folder);
    restore(&url, &file, KEY, &[]).await.unwrap();
    let opened = reopen(&rig, &url).await;
    match rig.is_remote() {
        true => {
            let fenced = matches!(opened, Err(Error::Fenced(it)) if it.contains("does not hold"));
            assert!(fenced);
        }
        false => assert_eq!(opened.unwrap().head().position, 3),
    }
}

async fn a_destroyed_key_does_not_come_back(rig: Rig) {
    fill(&rig.store, "a", 0).await;
    fill(&rig.store, "b", 0).await;
    hide(&rig.store, "a", "hide a", "secret").await;
    hide(&rig.store, "b", "hide b", "kept").await;
    let before = copy(&rig.store).await;
    let at = crate::rig::START;
    assert!(rig.store.keys().destroy("default", "a", "erasure", at).await.unwrap());
    let after = copy(&rig.store).await;
    lose(&rig).await;
    assert_eq!(backup::tombstones(&mut &before[..]).unwrap(), []);
    let tombstones = backup::tombstones(&mut &after[..]).unwrap();
    assert_eq!(tombstones.len(), 1);
    for (file, tombstones) in [(&before, &tombstones[..]), (&after, &[])] {
        let folder = tempfile::tempdir().unwrap();
        let url = empty(&rig, &folder);
        restore(&url, file, KEY, tombstones).await.unwrap();
        let store = reopen(&rig, &url).await.unwrap();
        assert_eq!(secret(&store, "a").await, "(unreadable)");
        assert_eq!(secret(&store, "b").await, "kept");
        let why = "SELECT reason, length(wrapped) FROM subject_key WHERE subject = 'a'";
        let why = store.query(why, vec![]).await.unwrap();
        assert_eq!((why[0].text(0).unwrap(), why[0].int(1).unwrap()), ("erasure", 0));
        store.close().await;
    }
}

async fn a_copy_is_refused_where_it_does_not_belong(rig: Rig) {
    fill(&rig.store, "a", 1).await;
    let file = copy(&rig.store).await;
    let folder = tempfile::tempdir().unwrap();
    let url = empty(&rig, &folder);
    let database = Database::open(&DatabaseOptions::new(&url)).await.unwrap();
    let kms = LocalKeys::new(Secret::new(KEY), Vec::new());
    let refused = backup::restore(&database, "content", &schema(), &kms, &mut &file[..], &[]).await;
    assert!(refused.unwrap_err().to_string().contains("one of profiles"));
    let fewer = eventstore::Schema { migrations: Vec::new(), views: Vec::new() };
    let refused = backup::restore(&database, "profiles", &fewer, &kms, &mut &file[..], &[]).await;
    assert!(refused.unwrap_err().to_string().contains("with the binary that made it"));
    let refused = backup::write(&database, "profiles", &schema(), &mut Vec::new()).await;
    assert!(refused.unwrap_err().to_string().contains("test/0001"), "a copy of another schema");
    database.close().await;
    let refused = restore(&url, &file, [8; 32], &[]).await.unwrap_err().to_string();
    assert!(refused.contains("is not at hand"), "{refused}");
    restore(&url, &file, KEY, &[]).await.unwrap();
}

async fn a_damaged_copy_changes_nothing(rig: Rig) {
    fill(&rig.store, "a", 5).await;
    let file = copy(&rig.store).await;
    let folder = tempfile::tempdir().unwrap();
    let url = empty(&rig, &folder);
    let step = file.len() / 40;
    for at in (0..file.len()).step_by(step.max(1)) {
        let mut damaged = file.clone();
        damaged[at] ^= 1;
        assert!(restore(&url, &damaged, KEY, &[]).await.is_err(), "byte {at}");
        assert!(restore(&url, &file[..at], KEY, &[]).await.is_err(), "cut at {at}");
    }
    restore(&url, &file, KEY, &[]).await.unwrap();
    lose(&rig).await;
    let store = reopen(&rig, &url).await.unwrap();
    assert_eq!(store.verify().await.unwrap().unwrap().position, 6);
}

async fn a_copy_of_changed_facts_is_refused(rig: Rig) {
    fill(&rig.store, "a", 5).await;
    let mut tx = rig.store.database().begin().await.unwrap();
    if rig.store.database().is_postgres() {
        tx.exec("ALTER TABLE event DISABLE TRIGGER event_is_a_fact", vec![]).await.unwrap();
    } else {
        tx.exec("DROP TRIGGER event_is_not_updated", vec![]).await.unwrap();
    }
    tx.exec("UPDATE event SET chain = envelope WHERE position = 3", vec![]).await.unwrap();
    tx.commit().await.unwrap();
    let file = copy(&rig.store).await;
    let folder = tempfile::tempdir().unwrap();
    let refused = restore(&empty(&rig, &folder), &file, KEY, &[]).await.unwrap_err().to_string();
    assert!(refused.contains("event 3 of the copy breaks the chain"), "{refused}");
}
