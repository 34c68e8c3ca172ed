//! Two histories of one store: nobody writes until a person decides.

use eventstore::testing::NatsServer;
use eventstore::{Error, ExecuteError, Ids, Store, Stored};

use super::line::{Line, On, another_log, copy_folder, everything};
use crate::on_both_servers;
use crate::rig::{Command, Place, eventually, fill, meta, open};

on_both_servers! {
    a_fork_shorter_than_the_log_is_refused
    a_fork_longer_than_the_log_is_refused
    a_fork_the_relay_sees_fences_every_replica
}

async fn a_fork_shorter_than_the_log_is_refused(server: NatsServer, on: On) {
    forked(server, on, 3).await;
}

async fn a_fork_longer_than_the_log_is_refused(server: NatsServer, on: On) {
    forked(server, on, 60).await;
}

/// Restored to position 31, written to while it saw another log, then shown the log again.
async fn forked(server: NatsServer, on: On, written: usize) {
    let mut line = Line::start(&server, on).await;
    fill(&line.store, "a", 30).await;
    line.settles(&[]).await;
    line.close().await;
    let older = line.copy_database().await;
    let url = line.database.clone();
    line.go_on(&url).await.unwrap();
    fill(&line.store, "b", 20).await;
    line.settles(&[]).await;
    let theirs = everything(&line.store).await;
    line.close().await;

    let forked = open(&older, another_log(), &line.clock, Ids::system()).await.unwrap();
    fill(&forked, "c", written).await;
    let ours = everything(&forked).await;
    for _ in 0..2 {
        let error = line.reopen(&older).await.err().unwrap();
        tells_the_fork(&error, 32, &ours, &theirs);
    }
    // A replica that was open all the time refuses too.
    writes_nothing(&forked, "replica").await;
    assert_eq!(everything(&forked).await, ours);
    // Cleared while the log still tells another history, it is fenced again.
    assert!(eventstore::unfence(forked.database()).await.unwrap());
    assert!(!eventstore::unfence(forked.database()).await.unwrap());
    let error = line.reopen(&older).await.err().unwrap();
    tells_the_fork(&error, 32, &ours, &theirs);
    // The other branch is none the worse.
    line.go_on(&url).await.unwrap();
    fill(&line.store, "d", 5).await;
    line.settles(&[]).await;
}

fn tells_the_fork(error: &Error, position: usize, ours: &[Stored], theirs: &[Stored]) {
    let Error::Fenced(text) = error else { panic!("{error}") };
    assert!(text.contains(&format!("part at position {position}\n")), "{text}");
    for branch in [ours, theirs] {
        let first = branch[position - 1].envelope().unwrap().id;
        assert!(text.contains(&first), "{first} is not in {text}");
    }
}

async fn writes_nothing(store: &Store, request_id: &str) {
    let command = Command::Move("X".into());
    let refused = store.execute::<Place>("a", &meta(request_id), command).await;
    assert!(matches!(refused, Err(ExecuteError::Store(Error::Fenced(_)))), "{refused:?}");
    assert!(!*store.health().borrow());
}

/// The log's folder is exchanged for one that another history filled.
async fn a_fork_the_relay_sees_fences_every_replica(mut server: NatsServer, on: On) {
    let line = Line::start(&server, on).await;
    let replica = line.replica().await;
    fill(&line.store, "a", 10).await;
    line.settles(&[]).await;
    let ours = everything(&line.store).await;

    let mut elsewhere = match on {
        On::Sqlite => NatsServer::start_2_9(),
        On::Postgres => NatsServer::start(),
    };
    let mut other = Line::start(&elsewhere, on).await;
    other.close().await;
    other.nats.prefix.clone_from(&line.nats.prefix);
    let url = other.database.clone();
    other.go_on(&url).await.unwrap();
    fill(&other.store, "a", 15).await;
    let published = || async {
        let tail = other.store.log().tail("profiles").await.unwrap();
        tail.is_some_and(|it| it.last == 16)
    };
    eventually("the other history is published", published).await;
    let theirs = everything(&other.store).await;
    other.close().await;

    server.kill();
    elsewhere.kill();
    std::fs::remove_dir_all(server.storage()).unwrap();
    copy_folder(&elsewhere.storage(), &server.storage());
    server.launch();
    let fenced =
        || async { line.store.compare_with_log().await.is_err_and(|it| !it.is_transient()) };
    eventually("the relay sees the fork", fenced).await;
    let error = line.store.compare_with_log().await.err().unwrap();
    tells_the_fork(&error, 1, &ours, &theirs);
    writes_nothing(&line.store, "x").await;
    writes_nothing(&replica, "y").await;
    assert_eq!(everything(&line.store).await, ours);
}
