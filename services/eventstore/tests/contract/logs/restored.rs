//! The store was restored from an older copy: what the log still has is imported before anything is
//! written, with all that follows from it.

use std::path::PathBuf;

use eventstore::testing::{NatsServer, Postgres};
use eventstore::timers::fire_due;
use eventstore::{AsOf, Error, ExecuteError, Metadata, Row, Store, Timer, TimerHandler};
use futures::future::BoxFuture;

use super::line::{
    Line, Load, On, Reply, copy_folder, copy_stream, everything, insist, put_back, replies_hold,
};
use crate::on_both_servers;
use crate::rig::{Command, POSTGRES, Place, START, eventually, fill, meta, options, places};

on_both_servers! {
    a_store_restored_from_a_copy_has_everything_again
    a_log_that_ends_inside_a_unit_is_refused
    a_log_that_names_a_lost_key_is_refused
}

/// Closes the party whose timer fires.
struct Closes;

impl TimerHandler for Closes {
    fn fire<'a>(
        &'a self,
        store: &'a Store,
        timer: &'a Timer,
        meta: Metadata,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let done = store.execute::<Place>(&timer.key.id, &meta, Command::Close).await;
            done.map(drop).map_err(|it| Error::refused(it.to_string()))
        })
    }
}

async fn timers(store: &Store) -> Vec<Row> {
    let all = "SELECT tenant, id, kind, stream, due_at FROM timer ORDER BY tenant, id";
    store.query(all, vec![]).await.unwrap()
}

async fn remind(store: &Store, party: &str, id: &str, hours: i64) {
    let due = if hours < 0 { 0 } else { START.0 + hours * 3_600_000_000 };
    insist(store, party, id, Command::Remind(due)).await;
}

async fn a_store_restored_from_a_copy_has_everything_again(server: NatsServer, on: On) {
    let mut line = Line::start(&server, on).await;
    for party in ["kept", "cancelled", "fired", "moved", "secret"] {
        fill(&line.store, party, 1).await;
    }
    remind(&line.store, "cancelled", "r", 1).await;
    remind(&line.store, "moved", "r", 1).await;
    remind(&line.store, "fired", "r", 0).await;
    insist(&line.store, "secret", "s", Command::Hide("old".into())).await;
    line.settles(&[]).await;
    line.close().await;
    let older = line.copy_database().await;
    let url = line.database.clone();
    line.go_on(&url).await.unwrap();

    remind(&line.store, "kept", "r2", 5).await;
    remind(&line.store, "cancelled", "r2", -1).await;
    remind(&line.store, "moved", "r2", 7).await;
    assert_eq!(fire_due(&line.store, &Closes).await.unwrap(), 1);
    let hidden = insist(&line.store, "secret", "s2", Command::Hide("new".into())).await;
    // More than one page, with units across its end.
    let replies = Load::start(std::slice::from_ref(&line.store), "p", 3, 150).done().await;
    line.settles(&[]).await;
    let (events, timed) = (everything(&line.store).await, timers(&line.store).await);
    let shown = places(&line.store).await;
    assert_eq!(timed.len(), 2);
    line.close().await;

    line.go_on(&older).await.unwrap();
    assert_eq!(everything(&line.store).await, events, "imported before anything is written");
    assert_eq!(timers(&line.store).await, timed);
    assert_eq!(places(&line.store).await, shown);
    replies_hold(&line.store, &replies).await;
    replies_hold(&line.store, &[hidden]).await;
    assert_eq!(fire_due(&line.store, &Closes).await.unwrap(), 0, "it fired before the loss");
    let secret = line.store.load::<Place>("default", "secret", AsOf::Now).await.unwrap();
    assert_eq!(secret.state.secret, "new");
    fill(&line.store, "after", 5).await;
    assert_eq!(line.store.head().position, events.len() as u64 + 6);
    line.settles(&[]).await;
}

async fn a_log_that_ends_inside_a_unit_is_refused(server: NatsServer, on: On) {
    let mut line = Line::start(&server, on).await;
    fill(&line.store, "a", 4).await;
    line.close().await;
    let older = line.copy_database().await;
    let url = line.database.clone();
    line.go_on(&url).await.unwrap();
    insist(&line.store, "a", "unit", Command::MoveOften(5)).await;
    line.settles(&[]).await;
    let before = line.nats.clone();
    // The database failed over while the relay was in the middle of the unit.
    line.nats = copy_stream(&before, 8).await;
    line.close().await;
    let error = line.go_on(&older).await.unwrap_err().to_string();
    assert!(error.contains("inside a unit: event 8 of party \"a\" is 3 of 5"), "{error}");
    line.nats = before;
    line.go_on(&older).await.unwrap();
    line.settles(&[]).await;
}

async fn a_log_that_names_a_lost_key_is_refused(server: NatsServer, on: On) {
    let mut line = Line::start(&server, on).await;
    fill(&line.store, "a", 4).await;
    line.close().await;
    let older = line.copy_database().await;
    let url = line.database.clone();
    line.go_on(&url).await.unwrap();
    fill(&line.store, "secret", 0).await;
    insist(&line.store, "secret", "s", Command::Hide("x".into())).await;
    fill(&line.store, "b", 4).await;
    line.settles(&[]).await;
    line.close().await;
    let error = line.go_on(&older).await.unwrap_err().to_string();
    assert!(error.contains("event 7 of party \"secret\" names key key_"), "{error}");
}

/// A database server of this test's own, whose data folder is exchanged under a running service.
struct Swap {
    postgres: Postgres,
    older: PathBuf,
    line: Line,
}

impl Swap {
    async fn start(server: &NatsServer) -> Self {
        let postgres = Postgres::start();
        let folder = tempfile::tempdir().unwrap();
        let older = folder.path().join("older");
        let database = postgres.database();
        let line = Line::over(options(&server.url()), On::Postgres, database, folder).await;
        Self { postgres, older, line }
    }

    fn copy(&mut self) {
        self.postgres.stop_at_once();
        copy_folder(&self.postgres.data(), &self.older);
        self.postgres.launch();
    }

    fn restore(&mut self) {
        self.postgres.stop_at_once();
        put_back(&self.older, &self.postgres.data());
        self.postgres.launch();
    }

    fn position(&self) -> String {
        let name = self.line.database.rsplit('/').next().unwrap();
        self.postgres.psql(name, "SELECT position FROM head")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_restored_under_a_running_service_imports_before_it_writes() {
    let server = NatsServer::start();
    let mut swap = Swap::start(&server).await;
    let replica = swap.line.replica().await;
    let stores = [swap.line.store.clone(), replica];
    let mut replies = Load::start(&stores, "p", 2, 20).done().await;
    swap.line.settles(&[]).await;
    swap.copy();
    replies.extend(Load::start(&stores, "q", 3, 150).done().await);
    swap.line.settles(&[]).await;
    let before = everything(&swap.line.store).await;
    swap.restore();
    let next: Vec<Reply> = vec![
        insist(&stores[1], "p0-0", "next", Command::MoveOften(2)).await,
        insist(&stores[0], "p1-0", "next", Command::MoveOften(2)).await,
    ];
    let head = before.len() as u64;
    assert_eq!([next[0].position, next[1].position], [head + 2, head + 4]);
    assert_eq!(everything(&stores[0]).await[..before.len()], before);
    replies.extend(next);
    replies_hold(&stores[1], &replies).await;
    swap.line.settles(&[]).await;
}

/// The same server, the same connections: only the tables went back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_restored_under_a_running_service_are_noticed_by_the_next_write() {
    const TABLES: [&str; 6] = ["head", "event", "request", "timer", "place", "subject_key"];
    let server = NatsServer::start();
    let line = Line::start(&server, On::Postgres).await;
    let psql = |sql: String| POSTGRES.psql(line.database.rsplit('/').next().unwrap(), &sql);
    fill(&line.store, "a", 4).await;
    for table in TABLES {
        psql(format!("CREATE TABLE older_{table} AS TABLE {table}"));
    }
    let mut replies = Load::start(std::slice::from_ref(&line.store), "p", 2, 40).done().await;
    line.settles(&[]).await;
    let before = everything(&line.store).await;
    let back = TABLES.map(|it| format!("DELETE FROM {it}; INSERT INTO {it} TABLE older_{it};"));
    psql(format!("BEGIN; ALTER TABLE event DISABLE TRIGGER USER; {} COMMIT", back.concat()));
    let next = insist(&line.store, "a", "next", Command::MoveOften(2)).await;
    assert_eq!(next.position, before.len() as u64 + 2);
    assert_eq!(everything(&line.store).await[..before.len()], before);
    replies.push(next);
    replies_hold(&line.store, &replies).await;
    line.settles(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_lost_under_a_running_service_is_missed_though_it_is_in_memory() {
    let server = NatsServer::start();
    let mut swap = Swap::start(&server).await;
    let store = swap.line.store.clone();
    fill(&store, "a", 4).await;
    swap.copy();
    insist(&store, "secret", "o", Command::Open { language: String::new() }).await;
    insist(&store, "secret", "s", Command::Hide("x".into())).await;
    swap.line.settles(&[]).await;
    assert_eq!(
        store.load::<Place>("default", "secret", AsOf::Now).await.unwrap().state.secret,
        "x"
    );
    swap.restore();
    let refused = || async {
        let result = store.execute::<Place>("a", &meta("next"), Command::Move("X".into())).await;
        match result {
            Err(ExecuteError::Store(Error::Fenced(it))) => {
                assert!(it.contains("event 7 of party \"secret\" names key key_"), "{it}");
                true
            }
            Err(ExecuteError::Store(Error::Unavailable { .. })) => false,
            other => panic!("{other:?}"),
        }
    };
    eventually("the write is refused", refused).await;
    assert!(!*store.health().borrow());
    assert_eq!(swap.position(), "5");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_database_is_not_written_while_the_log_cannot_be_asked() {
    let mut server = NatsServer::start();
    let mut swap = Swap::start(&server).await;
    fill(&swap.line.store, "a", 4).await;
    swap.line.settles(&[]).await;
    server.kill();
    swap.postgres.stop_at_once();
    swap.postgres.launch();
    let store = swap.line.store.clone();
    let asked = || async {
        let result = store.execute::<Place>("a", &meta("next"), Command::Move("X".into())).await;
        match result {
            Err(ExecuteError::Store(error)) if error.is_transient() => {
                // Until then, connections that died are found out one by one.
                error.chain().contains("look up a stream")
            }
            other => panic!("{other:?}"),
        }
    };
    eventually("the log is asked in vain", asked).await;
    assert!(!*store.health().borrow());
    assert_eq!(swap.position(), "5");
    server.launch();
    let mut health = store.health();
    health.wait_for(|it| *it).await.unwrap();
    store.execute::<Place>("a", &meta("next"), Command::Move("X".into())).await.unwrap();
    assert_eq!(store.head().position, 6);
    swap.line.settles(&[]).await;
}
