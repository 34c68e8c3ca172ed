//! Group crash: what happens to the database happens to no half of a unit, and to nothing that was
//! acknowledged.

use std::io::Write as _;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use eventstore::testing::{Front, Postgres, free_port, mounting_is_permitted};
use eventstore::{
    Clock, Database, DatabaseOptions, Error, ExecuteError, Ids, Log, Recorded, Store, Tx, View,
};
use futures::future::{BoxFuture, join_all};
use rapport_proto::profiles::v1::party_event::Event;

use crate::logs::line::{Load, accounted, everything, grows_to, insist, replies_hold};
use crate::rig::{
    Command, POSTGRES, Place, Places, START, eventually, fill, meta, open, places, schema,
    store_options,
};

async fn embedded(database: &str) -> Store {
    open(database, Log::local(), &Clock::manual(START), Ids::system()).await.unwrap()
}

fn name_of(database: &str) -> &str {
    database.rsplit('/').next().unwrap()
}

/// The store is whole: chain, versions, units, and the view is what a rebuild makes.
async fn is_whole(store: &Store) {
    store.verify().await.unwrap().unwrap();
    accounted(&everything(store).await);
    let before = places(store).await;
    store.rebuild(&Places).await.unwrap();
    assert_eq!(places(store).await, before);
}

async fn health_becomes(store: &Store, healthy: bool) {
    let health = store.health();
    let there = || async {
        // A store that nobody asks does not notice that its database is gone.
        let _ = store.read_head().await;
        *health.borrow() == healthy
    };
    eventually(&format!("health becomes {healthy}"), there).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_on_two_hundred_hot_streams_do_not_deadlock() {
    const STREAMS: usize = 200;
    const COMMANDS: usize = 60;
    let database = POSTGRES.database();
    let replicas = join_all((0..3).map(|_| embedded(&database))).await;
    let deadlocks = || {
        let count = "SELECT deadlocks FROM pg_stat_database WHERE datname = ";
        POSTGRES.psql("postgres", &format!("{count}'{}'", name_of(&database)))
    };
    let before = deadlocks();
    join_all((0..STREAMS).map(|it| {
        let (store, party) = (&replicas[it % 3], format!("p{it}"));
        async move { insist(store, &party, "open", Command::Open { language: String::new() }).await }
    }))
    .await;
    let clients = (0..24).map(|client| {
        let store = replicas[client % 3].clone();
        tokio::spawn(async move {
            for number in 0..COMMANDS {
                // Each client visits the streams in an order of its own.
                let party = format!("p{}", (client * 37 + number * 61) % STREAMS);
                let request_id = format!("{client}-{number}");
                let command = Command::MoveOften(2);
                loop {
                    let meta = meta(&request_id);
                    match store.execute::<Place>(&party, &meta, command.clone()).await {
                        Ok(_) => break,
                        Err(ExecuteError::Conflict) => {}
                        // A slow machine may use up a commit's patience.
                        Err(ExecuteError::Store(error)) if error.is_transient() => {}
                        Err(error) => panic!("{error:?}"),
                    }
                }
            }
        })
    });
    for client in join_all(clients).await {
        client.unwrap();
    }
    let requests = accounted(&everything(&replicas[0]).await);
    assert_eq!(requests.len(), STREAMS + 24 * COMMANDS);
    is_whole(&replicas[1]).await;
    for replica in &replicas {
        replica.close().await;
    }
    assert_eq!(deadlocks(), before);
}

/// Stops its own process, once, in the middle of the transaction that holds the head lock.
struct Freezes(AtomicBool);

impl View for Freezes {
    fn name(&self) -> &'static str {
        "freezes"
    }

    fn tables(&self) -> &'static [&'static str] {
        &[]
    }

    fn apply<'a>(
        &'a self,
        _: &'a mut Tx,
        events: &'a [Recorded],
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            for event in events {
                let moved = event.decode::<Event>()?;
                let asked = matches!(moved, Some(Event::Moved(it)) if it.market == "freeze");
                if asked && !self.0.swap(true, Ordering::SeqCst) {
                    let own = std::process::id().to_string();
                    std::process::Command::new("kill").args(["-STOP", &own]).status().unwrap();
                    // The stop may arrive a moment later: it must not find the transaction over.
                    std::thread::sleep(Duration::from_millis(500));
                }
            }
            Ok(())
        })
    }
}

const FROZEN: &str = "FROZEN_REPLICA_DATABASE";

/// The child process of the test below.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by a_frozen_replica_does_not_hold_the_others_up_for_ever"]
#[expect(clippy::disallowed_methods, reason = "told by the test that started it")]
async fn frozen_replica() {
    let Ok(database) = std::env::var(FROZEN) else { return };
    let mut schema = schema();
    schema.views.push(Box::new(Freezes(AtomicBool::new(false))));
    let options = store_options("profiles", &database, Log::local(), &Clock::manual(START));
    let store = Store::open(options, schema).await.unwrap();
    insist(&store, "a", "frozen", Command::Move("freeze".into())).await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_replica_does_not_hold_the_others_up_for_ever() {
    let database = POSTGRES.database();
    let replicas = [embedded(&database).await, embedded(&database).await];
    fill(&replicas[0], "a", 2).await;
    fill(&replicas[1], "b", 2).await;
    let mut child = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["faults::frozen_replica", "--exact", "--ignored"])
        .env(FROZEN, &database)
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let pid = child.id().unwrap();
    let stopped = || async {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit(')').next().unwrap().trim_start().starts_with('T')
    };
    eventually("the child stops itself", stopped).await;
    let work = replicas.iter().zip(["a", "b"]).map(|(store, party)| async move {
        insist(store, party, "others", Command::Move("on".into())).await;
    });
    // The server ends the frozen session after 1 s; without that these would not end before their patience does.
    join_all(work).await;
    let resumed = std::process::Command::new("kill").args(["-CONT", &pid.to_string()]).status();
    assert!(resumed.unwrap().success());
    assert!(child.wait().await.unwrap().success());
    let requests = accounted(&everything(&replicas[0]).await);
    assert_eq!(requests["a-frozen"], 9, "it was appended after the others, once");
    is_whole(&replicas[0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_terminated_under_load_lose_nothing() {
    let database = POSTGRES.database();
    let replicas = [embedded(&database).await, embedded(&database).await];
    let load = Load::start(&replicas, "p", 8, 150);
    for round in 1..=15 {
        grows_to(&replicas[0], round * 100).await;
        POSTGRES.psql(
            "postgres",
            &format!(
                "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{}'",
                name_of(&database)
            ),
        );
    }
    let replies = load.done().await;
    replies_hold(&replicas[1], &replies).await;
    assert_eq!(accounted(&everything(&replicas[0]).await).len(), replies.len());
    is_whole(&replicas[0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_restarted_under_load_loses_nothing() {
    let mut server = Postgres::start();
    let database = server.database();
    let replicas = [embedded(&database).await, embedded(&database).await];
    let load = Load::start(&replicas, "p", 4, 150);
    for round in 1..=3 {
        grows_to(&replicas[0], round * 200).await;
        server.stop_at_once();
        health_becomes(&replicas[0], false).await;
        server.launch();
        health_becomes(&replicas[0], true).await;
    }
    let replies = load.done().await;
    replies_hold(&replicas[1], &replies).await;
    assert_eq!(accounted(&everything(&replicas[0]).await).len(), replies.len());
    is_whole(&replicas[0]).await;
}

/// A statement that takes long is waited for. One whose machine is lost is not: nothing ever comes back from there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_slow_is_waited_for_and_who_is_silent_is_not() {
    let port = free_port();
    let front = Front::start(port).await;
    front.lead_to(vec![format!("127.0.0.1:{}", POSTGRES.port())]);
    let url = POSTGRES.database().replace(&format!(":{}/", POSTGRES.port()), &format!(":{port}/"));
    let database = Database::open(&DatabaseOptions::new(url)).await.unwrap();
    let slow = database.query("SELECT 1 FROM pg_sleep(12)", vec![]).await;
    assert_eq!(slow.unwrap().len(), 1);
    let mut tx = database.begin().await.unwrap();
    tx.query("SELECT 1", vec![]).await.unwrap();
    front.fall_silent();
    let silent = tokio::time::timeout(Duration::from_secs(60), tx.query("SELECT 1", vec![]));
    let error = silent.await.expect("it is not waited for").unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    // What is free is as silent; a new connection is not.
    let again = tokio::time::timeout(Duration::from_secs(60), database.query("SELECT 1", vec![]));
    assert_eq!(again.await.expect("it is not waited for").unwrap().len(), 1);
    database.close().await;
}

/// An acknowledged command is on the standby: without one nothing is acknowledged, and what waited is there once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_waits_for_its_standby() {
    let server = Postgres::start();
    let standby = server.standby(server.port());
    server.wait_for_standby();
    let store = embedded(&server.database()).await;
    fill(&store, "a", 2).await;
    let before = everything(&store).await.len();
    drop(standby);
    let mut moved = Box::pin(insist(&store, "a", "waits", Command::Move("on".into())));
    let early = tokio::time::timeout(Duration::from_secs(12), &mut moved).await;
    assert!(early.is_err(), "no standby has it");
    server.psql("postgres", "ALTER SYSTEM RESET synchronous_standby_names");
    server.psql("postgres", "SELECT pg_reload_conf()");
    let reply = moved.await;
    replies_hold(&store, &[reply]).await;
    assert_eq!(everything(&store).await.len(), before + 1);
    is_whole(&store).await;
}

/// While the fault lasts, a command is unavailable, the store says so, and nothing is appended;
/// afterwards it is ready without being asked, and the same command goes through.
async fn unavailable_then_well(store: &Store, fault: impl FnOnce(), cure: impl FnOnce()) {
    fill(store, "a", 3).await;
    let before = everything(store).await.len();
    fault();
    let command = Command::MoveOften(256);
    let failed = || async {
        let result = store.execute::<Place>("a", &meta("a-during"), command.clone()).await;
        match result {
            Err(ExecuteError::Store(error)) if error.is_transient() => true,
            other => panic!("{other:?}"),
        }
    };
    assert!(failed().await);
    assert!(!*store.health().borrow());
    assert!(failed().await, "and again");
    assert_eq!(everything(store).await.len(), before);
    cure();
    health_becomes(store, true).await;
    let reply = insist(store, "a", "during", command.clone()).await;
    assert_eq!(reply.position as usize, before + 256);
    replies_hold(store, &[reply]).await;
    is_whole(store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_server_is_unavailable_until_it_is_not() {
    let server = Postgres::start();
    let store = embedded(&server.database()).await;
    let alter = |sql| {
        server.psql("postgres", sql);
        server.psql("postgres", "SELECT pg_reload_conf()");
        // The command returns before every session has read its configuration.
        let shown = || server.psql("postgres", "SHOW default_transaction_read_only");
        while (shown() == "on") != sql.contains(" SET ") {}
    };
    unavailable_then_well(
        &store,
        || alter("ALTER SYSTEM SET default_transaction_read_only = on"),
        || alter("ALTER SYSTEM RESET default_transaction_read_only"),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_under_postgresql_is_unavailable_until_there_is_room() {
    let Some(server) = Postgres::with_small_disk(64 * 1024 * 1024) else { return };
    let store = embedded(&server.database_on_small_disk()).await;
    unavailable_then_well(&store, || server.fill_disk(true), || server.fill_disk(false)).await;
}

const SMALL_DISK: &str = "SMALL_DISK_FOLDER";

/// The child process of the test below.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by a_full_disk_under_sqlite_is_unavailable_until_there_is_room"]
#[expect(clippy::disallowed_methods, reason = "told by the test that started it")]
async fn small_disk() {
    let Ok(folder) = std::env::var(SMALL_DISK) else { return };
    let store = embedded(&format!("sqlite://{folder}/store.db")).await;
    let ballast = format!("{folder}/ballast");
    let fill = || {
        let mut file = std::fs::File::create(&ballast).unwrap();
        while file.write_all(&[0; 4_096]).is_ok() {}
    };
    unavailable_then_well(&store, fill, || std::fs::remove_file(&ballast).unwrap()).await;
}

#[tokio::test]
async fn a_full_disk_under_sqlite_is_unavailable_until_there_is_room() {
    if !mounting_is_permitted() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // The disk is mounted where only the child sees it, and vanishes with the child.
    let script = r#"mount -t tmpfs -o size=16m tmpfs "$SMALL_DISK_FOLDER" && exec "$0" "$@""#;
    let mut child = tokio::process::Command::new("unshare")
        .args(["-m", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .args(["faults::small_disk", "--exact", "--ignored"])
        .env(SMALL_DISK, folder.path())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    assert!(child.wait().await.unwrap().success());
}
