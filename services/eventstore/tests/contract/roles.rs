//! The role that serves: what it needs it can do, and what would rewrite history it cannot.

use std::time::Duration;

use eventstore::{Clock, Database, DatabaseOptions, Ids, Log, Store, StoreOptions, lease, roles};

use crate::rig::{POSTGRES, START, fill, open, schema, store_options};

const TTL: Duration = Duration::from_secs(5);

/// What the owner of the tables could do to facts, and to the guard around them.
const ATTEMPTS: [&str; 11] = [
    "UPDATE event SET envelope = envelope",
    "DELETE FROM event",
    "TRUNCATE event",
    "ALTER TABLE event DISABLE TRIGGER ALL",
    "DROP TRIGGER event_is_a_fact ON event",
    "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    "DROP TABLE event",
    "ALTER TABLE event ADD COLUMN another BIGINT",
    "CREATE TABLE another (id BIGINT)",
    "DELETE FROM migration",
    "SET ROLE postgres",
];

#[tokio::test]
async fn the_role_that_serves_changes_no_fact_and_no_table() {
    let database = POSTGRES.database();
    let clock = Clock::manual(START);
    let owner = open(&database, Log::local(), &clock, Ids::system()).await.unwrap();
    let missing = roles::grant(owner.database(), "nobody\" here").await.unwrap_err().to_string();
    assert!(missing.contains("create it"), "{missing}");
    // A name that must be quoted.
    let role = format!("Serves {}", std::process::id());
    POSTGRES.psql("postgres", &format!("CREATE ROLE \"{role}\" LOGIN"));
    for _ in 0..2 {
        roles::grant(owner.database(), &role).await.unwrap();
    }
    owner.close().await;

    let url = database.replace("postgres@", &format!("{}@", role.replace(' ', "%20")));
    let options = store_options("profiles", &url, Log::local(), &clock);
    let store = Store::open(StoreOptions { migrate: false, ..options }, schema()).await.unwrap();
    fill(&store, "p1", 3).await;
    store.verify().await.unwrap().unwrap();
    let before = store.head();
    let held = lease::acquire(store.database(), "a", "b", TTL).await.unwrap();
    lease::release(store.database(), &held.unwrap()).await.unwrap();
    store.forget_requests().await.unwrap();

    let serving = Database::open(&DatabaseOptions::new(&url)).await.unwrap();
    for attempt in ATTEMPTS {
        let told = serving.exec(attempt, vec![]).await.unwrap_err().chain();
        let refused = ["permission denied", "must be owner"];
        assert!(refused.iter().any(|it| told.contains(it)), "{attempt}: {told}");
    }
    assert_eq!(store.read_head().await.unwrap(), before);
    store.verify().await.unwrap().unwrap();
    store.close().await;
}

#[tokio::test]
async fn who_may_not_migrate_is_told_to() {
    let database = POSTGRES.database();
    let options = store_options("profiles", &database, Log::local(), &Clock::manual(START));
    let opened = Store::open(StoreOptions { migrate: false, ..options }, schema()).await;
    let told = opened.err().map(|it| it.to_string()).unwrap_or_default();
    assert!(told.contains("rapport migrate"), "{told}");
}
