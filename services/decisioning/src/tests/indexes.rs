//! How PostgreSQL and SQLite answer what every decision asks: from an index, however much else there is.

use eventstore::testing::{Postgres, plan};
use eventstore::{Database, DatabaseOptions, Value, values};

use super::*;
use crate::view::{affinity, decision, happening};

const TABLES: &str = include_str!("../../migrations/0001_decisioning.sql");

/// 1,000 parties, each with 40 visits, and 40 decisions of which half were learnt from.
const MANY: &str = "
    INSERT INTO happening
    SELECT 'acme', p || '/' || n, 'pty_' || p, 2, 'Visit', n, '', '', '', 0
    FROM generate_series(1, 1000) p, generate_series(1, 40) n;
    INSERT INTO decision
    SELECT 'acme', p || '/' || n, 'pty_' || p, p * 40 + n, n, 'DE', 'write', 'mail', 'win-back', 1, '', 0.5, 0, '',
        n % 2 - 1
    FROM generate_series(1, 1000) p, generate_series(1, 40) n;
    INSERT INTO awaited
    SELECT 'acme', 'pty_' || p, 'Order Completed', p || '/' || n, n, n + 5
    FROM generate_series(1, 1000) p, generate_series(1, 40) n;
    ANALYZE;";

/// A statement with the table of its keys and what it is asked for, and the indexes that answer it.
type Case = (&'static str, &'static str, Vec<Value>, &'static [&'static str]);

fn cases() -> [Case; 4] {
    [
        (
            "k(number, tenant, party_id, kind, name, product_id, reason, since)",
            happening::FIND,
            values![0, "acme", "pty_7", 2, "Visit", "", "", 3],
            &["happening_of_party"],
        ),
        (
            "k(number, tenant, party_id, since)",
            affinity::LEARNT,
            values![0, "acme", "pty_7", 0],
            &["decision_learnt"],
        ),
        (
            "",
            decision::AWAITING,
            values!["acme", "pty_7", "Order Completed", 20],
            &["awaited_pkey", "sqlite_autoindex_awaited_1"],
        ),
        ("", decision::LIST, values!["acme", "pty_7", 1_000, 50], &["decision_of_party"]),
    ]
}

#[tokio::test]
async fn postgresql_reads_what_a_decision_needs_from_indexes() {
    let server = Postgres::start();
    let url = server.database();
    let name = url.rsplit('/').next().expect("a name").to_owned();
    server.psql(&name, &format!("CREATE DOMAIN blob AS bytea; {TABLES} {MANY}"));
    let database = Database::open(&DatabaseOptions::new(url)).await.expect("opened");
    for (keys, sql, wanted, indexes) in cases() {
        let plan = plan(&database, keys, sql, wanted).await;
        assert!(indexes.iter().any(|it| plan.contains(it)), "{sql}\n{plan}");
        // What is found in the index is the answer, and in its order.
        let more = ["Seq Scan", "Sort", "Rows Removed"].iter().any(|it| plan.contains(it));
        assert!(!more, "{sql}\n{plan}");
    }
    database.close().await;
}

#[tokio::test]
async fn sqlite_reads_what_a_decision_needs_from_indexes() {
    let world = World::start().await;
    let database = world.harness.deps("decisioning").store.database();
    for (keys, sql, wanted, indexes) in cases() {
        let plan = plan(database, keys, sql, wanted).await;
        assert!(indexes.iter().any(|it| plan.contains(it)), "{sql}\n{plan}");
        let scans = plan.lines().filter(|it| it.contains("SCAN") && !it.contains("CONSTANT ROW"));
        assert_eq!(scans.filter(|it| !it.ends_with("SCAN k")).count(), 0, "{sql}\n{plan}");
    }
}
