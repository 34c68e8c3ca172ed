//! How PostgreSQL and SQLite answer what is asked for every decision, event and page: from an index, however much else
//! there is.

use eventstore::testing::{Postgres, plan};
use eventstore::{Value, values};

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

/// A statement with the table of its keys and what it is asked for, and the indexes that answer it.
type Case = (&'static str, &'static str, Vec<Value>, &'static [&'static str]);

fn cases() -> [Case; 11] {
    [
        (
            "k(number, tenant)",
            revision::READ,
            values![0, "acme"],
            &["definition_in_order", "pack_revision"],
        ),
        (
            "k(number, tenant, party_id, name, since, until)",
            activity::READ,
            values![0, "acme", "pty_7", "Name 1", 3, 20],
            &["interaction_by_name"],
        ),
        (
            "k(tenant, party_id, segment_id)",
            membership::READ,
            values!["acme", "pty_7", "segment-1"],
            &["membership", "timer"],
        ),
        ("", membership::MEMBERS, values!["acme", "segment-1", "", 50], &["membership_inside"]),
        ("", sweep::STANDING, values!["acme"], &["timer"]),
        ("", source::OPENED, values!["acme", [7_u8; 32], 10], &["source_by_write_key"]),
        (
            "k(number, tenant, party_id, until)",
            sweep::LAST_SEEN,
            values![0, "acme", "pty_7", 1000],
            &["event_party"],
        ),
        (
            "",
            relation::LIST,
            values!["acme", "pty_7", "", 1, 0, 51],
            &["relation_from", "relation_to"],
        ),
        ("", interaction::LIST, values!["acme", "pty_7", 5, 0, 51], &["interaction_of_party"]),
        (
            "",
            interaction::LIST_OF_NAME,
            values!["acme", "pty_7", 5, 0, 51, "Name 1"],
            &["interaction_by_name"],
        ),
        ("", party::LIST_IN_MARKET, values!["acme", 5, 0, 0, 100, "M1"], &["party_in_market"]),
    ]
}

#[tokio::test]
async fn postgresql_reads_what_is_hot_from_indexes() {
    let (server, keys) = (Postgres::start(), tempfile::tempdir().expect("a temporary folder"));
    let world = World::on_postgres(server.database(), keys.path()).await;
    let database = world.harness.deps("profiles").store.database();
    for sql in MANY {
        database.exec(sql, values![]).await.expect(sql);
    }
    for (keys, sql, wanted, indexes) in cases() {
        let plan = plan(database, keys, sql, wanted).await;
        assert!(indexes.iter().all(|it| plan.contains(it)), "{sql}\n{plan}");
        assert!(!plan.contains("Seq Scan"), "{sql}\n{plan}");
    }
    world.harness.stop().await;
}

#[tokio::test]
async fn sqlite_reads_what_is_hot_from_indexes() {
    let world = World::start().await;
    let database = world.harness.deps("profiles").store.database();
    for (keys, sql, wanted, indexes) in cases() {
        let plan = plan(database, keys, sql, wanted).await;
        assert!(indexes.iter().all(|it| plan.contains(it)), "{sql}\n{plan}");
        let scans = plan.lines().filter(|it| it.contains("SCAN") && !it.contains("CONSTANT ROW"));
        let whole = |it: &&str| !["k", "starts", "ends"].iter().any(|name| it.ends_with(name));
        assert_eq!(scans.filter(whole).count(), 0, "{sql}\n{plan}");
    }
    world.harness.stop().await;
}
