//! How PostgreSQL and SQLite answer what is asked for every decision, event and page: from an index, however much else
//! there is.

use eventstore::testing::Postgres;
use eventstore::{Database, Value, values};

use super::*;
use crate::segments::sweep;
use crate::view::{activity, interaction, membership, party, relation, revision, source};

/// 2,000 parties in 20 markets, each with 30 interactions, ten memberships with their timers, and relations both ways.
const MANY: [&str; 7] = [
    "INSERT INTO party
     SELECT 'acme', 'pty_' || n, 1, 1, 'M' || (n % 20), n FROM generate_series(1, 2000) n",
    "INSERT INTO interaction
     SELECT 'acme', 's', p || '/' || n, 'itx', 'pty_' || p, 'Name ' || (n % 3), n, n, '', ''
     FROM generate_series(1, 2000) p, generate_series(1, 30) n",
    "INSERT INTO membership
     SELECT 'acme', 'segment-' || s, 'pty_' || p, p % 2, 1, 0, p, 1
     FROM generate_series(1, 2000) p, generate_series(1, 10) s",
    "INSERT INTO timer (tenant, id, kind, stream, due_at, claimed_until)
     SELECT 'acme', 'membership/pty_' || p || '.segment-' || s, 'segment.crossing', 'x', p, 0
     FROM generate_series(1, 2000) p, generate_series(1, 10) s",
    "INSERT INTO relation
     SELECT 'acme', 'rel_' || n, 'pty_' || n, 'pty_' || (n % 7), 0, 9223372036854775807, 1, ''
     FROM generate_series(1, 2000) n",
    "INSERT INTO event
     SELECT n, 'acme', 'party/pty_' || n, 1, 'pty_' || (n % 200), n, '', '' FROM generate_series(1, 2000) n",
    "ANALYZE",
];

/// What is asked, with a table of keys where it needs one, and the indexes that answer it.
fn cases() -> Vec<(String, Vec<Value>, Vec<&'static str>)> {
    let over = |keys: &str, sql: &str| format!("WITH k AS (SELECT 'acme' AS tenant, {keys}) {sql}");
    let party = "'pty_7' AS party_id";
    vec![
        (
            over("0 AS number", revision::READ),
            values![],
            vec!["definition_in_order", "pack_revision"],
        ),
        (
            over(
                &format!("0 AS number, {party}, 'Name 1' AS name, 3 AS since, 20 AS until"),
                activity::READ,
            ),
            values![],
            vec!["interaction_by_name"],
        ),
        (
            over(&format!("{party}, 'segment-1' AS segment_id"), membership::READ),
            values![],
            vec!["membership", "timer"],
        ),
        (
            membership::MEMBERS.into(),
            values!["acme", "segment-1", "", 50],
            vec!["membership_inside"],
        ),
        (sweep::STANDING.into(), values!["acme"], vec!["timer"]),
        (source::OPENED.into(), values!["acme", [7_u8; 32], 10], vec!["source_by_write_key"]),
        (
            over(&format!("0 AS number, {party}, 1000 AS until"), sweep::LAST_SEEN),
            values![],
            vec!["event_party"],
        ),
        (
            relation::LIST.into(),
            values!["acme", "pty_7", "", 1, 0, 51],
            vec!["relation_from", "relation_to"],
        ),
        (
            interaction::LIST.into(),
            values!["acme", "pty_7", 5_i64, 0, 51],
            vec!["interaction_of_party"],
        ),
        (
            interaction::LIST_OF_NAME.into(),
            values!["acme", "pty_7", 5_i64, 0, 51, "Name 1"],
            vec!["interaction_by_name"],
        ),
        (
            party::LIST_IN_MARKET.into(),
            values!["acme", 5_i64, 0, 0, 100, "M1"],
            vec!["party_in_market"],
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
async fn postgresql_reads_what_is_hot_from_indexes() {
    let (server, keys) = (Postgres::start(), tempfile::tempdir().expect("a temporary folder"));
    let world = World::on_postgres(server.database(), keys.path()).await;
    let database = world.harness.deps("profiles").store.database();
    for sql in MANY {
        database.exec(sql, values![]).await.expect(sql);
    }
    for (sql, wanted, indexes) in cases() {
        let plan = plan(database, "EXPLAIN", &sql, wanted).await;
        assert!(indexes.iter().all(|it| plan.contains(it)), "{sql}\n{plan}");
        assert!(!plan.contains("Seq Scan"), "{sql}\n{plan}");
    }
    world.harness.stop().await;
}

#[tokio::test]
async fn sqlite_reads_what_is_hot_from_indexes() {
    let world = World::start().await;
    let database = world.harness.deps("profiles").store.database();
    for (sql, wanted, indexes) in cases() {
        let plan = plan(database, "EXPLAIN QUERY PLAN", &sql, wanted).await;
        assert!(indexes.iter().all(|it| plan.contains(it)), "{sql}\n{plan}");
        let scans = plan.lines().filter(|it| it.contains("SCAN") && !it.contains("CONSTANT ROW"));
        let whole = |it: &&str| !["k", "starts", "ends"].iter().any(|name| it.ends_with(name));
        assert_eq!(scans.filter(whole).count(), 0, "{sql}\n{plan}");
    }
    world.harness.stop().await;
}
