//! How PostgreSQL and SQLite read the index of events: each question from what narrows it most, in its order, and from
//! where its page begins, however much else there is.

use eventstore::testing::{Postgres, plan};
use eventstore::{Database, DatabaseOptions, Value, values};

use super::*;
use crate::index::{self, Filter, Place};

const TABLES: &str = include_str!("../../migrations/0001_audit.sql");

/// 20,000 events of each of two tenants, one an instant. A type is that of several persons' events, each person caused
/// several things, each of which concerned several parties.
const MANY: &str = "
    INSERT INTO event_index
    SELECT source, n, tenant, n, 'evt_' || n, 'party/' || n, 1, 'type_' || n % 10, n, 'person_' || n % 20, '', '',
        'cor_' || n % 200, '', 'pty_' || n % 1000, '', ''
    FROM generate_series(1, 20000) n, (VALUES ('acme', 'profiles'), ('umbrella', 'delivery')) AS of (tenant, source);
    ANALYZE;";

/// What is asked, and what it is looked up by in which index.
struct Question {
    sql: &'static str,
    values: Vec<Value>,
    index: &'static str,
    keys: Vec<String>,
}

impl Question {
    /// Whether the condition that an index is searched by has each of the keys.
    fn is_looked_up(&self, condition: &str) -> bool {
        let found = condition.replace(['(', ')', '"', ' '], "").replace("ROW", "");
        self.keys.iter().all(|it| found.contains(it))
    }
}

const PARTY: &str = "pty_7";
const CAUSE: &str = "cor_7";
const PERSON: &str = "person_7";
const TYPE: &str = "type_7";
const SOURCE: &str = "profiles";

/// What narrows a search, alone and with what narrows less; the index that answers it, and its column.
const SEARCHES: [([&str; 5], &str, &str); 10] = [
    (["", "", "", "", ""], "event_in_order", ""),
    (["", "", "", "", SOURCE], "event_in_order", ""),
    (["", "", "", TYPE, ""], "event_by_type", "type,"),
    (["", "", "", TYPE, SOURCE], "event_by_type", "type,"),
    (["", "", PERSON, "", ""], "event_by_subject", "subject,"),
    (["", "", PERSON, TYPE, SOURCE], "event_by_subject", "subject,"),
    (["", CAUSE, "", "", ""], "event_by_correlation", "correlation_id,"),
    (["", CAUSE, PERSON, TYPE, SOURCE], "event_by_correlation", "correlation_id,"),
    ([PARTY, "", "", "", ""], "event_of_party", "party_id,"),
    ([PARTY, CAUSE, PERSON, TYPE, SOURCE], "event_of_party", "party_id,"),
];

/// Every search of all times and of some, from both ends, its first page and one in the midst.
fn searches() -> Vec<Question> {
    let midst = Place { recorded_at: Timestamp(9_007), source: SOURCE.into(), position: 9_007 };
    let mut searches = Vec::new();
    for ([party_id, correlation_id, subject, r#type, source], index, column) in SEARCHES {
        let by = format!("{column}recorded_at,source,position");
        for (from, until) in [(i64::MIN, i64::MAX), (5_000, 15_000)] {
            let (from, until) = (Timestamp(from), Timestamp(until));
            let filter = Filter { party_id, correlation_id, subject, r#type, source, from, until };
            for (newest_first, end) in [(false, from), (true, until)] {
                for place in [&Place::before(end), &midst] {
                    let (sql, values) = filter.asked(ACME, newest_first, place, 51);
                    let keys = vec!["tenant=".into(), format!("{by}>"), format!("{by}<")];
                    searches.push(Question { sql, values, index, keys });
                }
            }
        }
    }
    searches
}

/// What is found by its position: the rows of a source, and the last of them.
fn lookups(index: &'static str) -> [Question; 2] {
    let asked = |sql, values, keys: &[&str]| {
        let keys = keys.iter().map(|it| (*it).to_owned()).collect();
        Question { sql, values, index, keys }
    };
    let page = ["source=", "position>", "position<"];
    [
        asked(index::ENTRIES, values![SOURCE, 7_000, 8_000], &page),
        asked(index::LAST, values![SOURCE], &["source="]),
    ]
}

/// Fails unless PostgreSQL goes to the place in the index, and reads from there what it answers and nothing else.
async fn postgresql_answers(database: &Database) {
    for it in searches().into_iter().chain(lookups("event_index_pkey")) {
        let plan = plan(database, "", it.sql, it.values.clone()).await;
        let line = |start: &str| plan.lines().find_map(|it| it.trim().strip_prefix(start));
        let cond = line("Index Cond: ").unwrap_or_default();
        let other = ["Seq Scan", "Sort"].iter().any(|it| plan.contains(it));
        let found = plan.contains(&format!(" {} ", it.index)) && it.is_looked_up(cond);
        assert!(found && !other, "{}\n{plan}", it.sql);
        let skipped = line("Rows Removed by Filter: ").unwrap_or("0");
        assert_eq!(skipped, "0", "{}\n{:?}\n{plan}", it.sql, it.values);
    }
}

#[tokio::test]
async fn postgresql_reads_events_from_the_index_that_narrows_most() {
    let server = Postgres::start();
    let url = server.database();
    let name = url.rsplit('/').next().expect("a name").to_owned();
    server.psql(&name, &format!("CREATE DOMAIN blob AS bytea; {TABLES}"));
    let database = Database::open(&DatabaseOptions::new(url)).await.expect("opened");
    // A plan that is made while there is nothing stays.
    postgresql_answers(&database).await;
    server.psql(&name, MANY);
    postgresql_answers(&database).await;
    database.close().await;
}

#[tokio::test]
async fn sqlite_reads_events_from_the_index_that_narrows_most() {
    let world = World::start().await;
    let database = world.harness.deps("audit").store.database();
    for it in searches().into_iter().chain(lookups("sqlite_autoindex_event_index_1")) {
        let plan = plan(database, "", it.sql, it.values.clone()).await;
        let through = format!(" INDEX {} (", it.index);
        let whole = |line: &str| {
            line.starts_with("SEARCH")
                && line.split_once(&through).is_some_and(|(_, by)| it.is_looked_up(by))
        };
        assert!(plan.lines().all(whole), "{}\n{plan}", it.sql);
    }
    world.harness.stop().await;
}
