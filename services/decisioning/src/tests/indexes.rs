//! How PostgreSQL and SQLite answer what every decision asks: from an index, however much else there is.

use eventstore::testing::Postgres;
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

/// What is asked, with a table of keys where it needs one, and the indexes that answer it.
fn cases() -> [(String, Vec<Value>, Vec<&'static str>); 4] {
    let over = |keys: &str, sql: &str| format!("WITH {keys} {sql}");
    let party = "SELECT 0 AS number, 'acme' AS tenant, 'pty_7' AS party_id";
    [
        (
            over(
                &format!(
                    "k AS ({party}, 2 AS kind, 'Visit' AS name, '' AS product_id,
                         '' AS reason, 3 AS since)"
                ),
                happening::FIND,
            ),
            values![],
            vec!["happening_of_party"],
        ),
        (
            over(&format!("k AS ({party}, 0 AS since)"), affinity::LEARNT),
            values![],
            vec!["decision_learnt"],
        ),
        (
            decision::AWAITING.to_owned(),
            values!["acme", "pty_7", "Order Completed", 20_i64],
            vec!["awaited_pkey", "sqlite_autoindex_awaited_1"],
        ),
        (
            decision::LIST.to_owned(),
            values!["acme", "pty_7", 1_000_i64, 50],
            vec!["decision_of_party"],
        ),
    ]
}

async fn plan(database: &Database, explain: &str, sql: &str, wanted: Vec<Value>) -> String {
    let text: &'static str = format!("{explain} {sql}").leak();
    let rows = database.query(text, wanted).await.expect("explained");
    let column = if database.is_postgres() { 0 } else { 3 };
    let lines: Vec<_> = rows.iter().map(|it| it.text(column).expect("a line").to_owned()).collect();
    lines.join("\n")
}

#[tokio::test]
async fn postgresql_reads_what_a_decision_needs_from_indexes() {
    let server = Postgres::start();
    let url = server.database();
    let name = url.rsplit('/').next().expect("a name").to_owned();
    server.psql(&name, &format!("CREATE DOMAIN blob AS bytea; {TABLES} {MANY}"));
    let database = Database::open(&DatabaseOptions::new(url)).await.expect("opened");
    for (sql, wanted, indexes) in cases() {
        let plan = plan(&database, "EXPLAIN", &sql, wanted).await;
        assert!(indexes.iter().any(|it| plan.contains(it)), "{sql}\n{plan}");
        assert!(!plan.contains("Seq Scan") && !plan.contains("Sort"), "{sql}\n{plan}");
    }
    database.close().await;
}

#[tokio::test]
async fn sqlite_reads_what_a_decision_needs_from_indexes() {
    let world = World::start().await;
    let database = world.harness.deps("decisioning").store.database();
    for (sql, wanted, indexes) in cases() {
        let plan = plan(database, "EXPLAIN QUERY PLAN", &sql, wanted).await;
        assert!(indexes.iter().any(|it| plan.contains(it)), "{sql}\n{plan}");
        let scans = plan.lines().filter(|it| it.contains("SCAN") && !it.contains("CONSTANT ROW"));
        assert_eq!(scans.filter(|it| !it.ends_with("SCAN k")).count(), 0, "{sql}\n{plan}");
    }
}
