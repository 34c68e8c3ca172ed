//! How PostgreSQL answers the lists: from an index and in its order, however much else there is.

use eventstore::testing::{Postgres, plan};
use eventstore::{Database, DatabaseOptions, values};

use crate::view::{newest, part_use, usable};

/// A library of 20,000 modules in 20 markets; each prints one of 100 claims.
const MANY: &str = "
    INSERT INTO usable
    SELECT 'acme', 'M' || (n % 20), 1, 1, 'module-' || lpad(n::text, 6, '0'), 1, -9223372036854775808,
        CASE WHEN n % 3 = 0 THEN 5 ELSE 9223372036854775807 END
    FROM generate_series(1, 20000) n;
    INSERT INTO newest
    SELECT 'acme', 'module', 'module-' || lpad(n::text, 6, '0'), 1, 1 + n % 7
    FROM generate_series(1, 20000) n;
    INSERT INTO part_use
    SELECT 'acme', 'claim/claim-' || (n % 100), 'module', 'module-' || lpad(n::text, 6, '0'), 1, 'slots.c', 1, 1 + n % 7
    FROM generate_series(1, 20000) n;
    INSERT INTO plan_use
    SELECT 'acme', 'module/module-' || lpad(n::text, 6, '0'), 'journey', 'journey-' || n, 1, 'nodes.write'
    FROM generate_series(1, 20000) n;
    ANALYZE;";

/// The most rows that a step of a plan met.
fn most(plan: &str) -> u64 {
    let met = plan.split("actual rows=").skip(1);
    let met = met.filter_map(|it| it.split([' ', '.']).next()?.parse().ok());
    met.max().expect("the plan was run")
}

#[tokio::test]
async fn lists_are_read_from_an_index_in_its_order() {
    let server = Postgres::start();
    let url = server.database();
    let name = url.rsplit('/').next().expect("a name").to_owned();
    let tables = include_str!("../../migrations/0001_content.sql");
    server.psql(&name, &format!("CREATE DOMAIN blob AS bytea; {tables} {MANY}"));
    let database = Database::open(&DatabaseOptions::new(url)).await.expect("opened");
    let claim = "claim/claim-7";
    let cases = [
        (usable::LIST, values!["acme", "M7", 1, 1, "module-000100", 7, 51], "usable_pkey"),
        (newest::LIST, values!["acme", "module", "module-000100", 51], "newest_pkey"),
        (
            newest::LIST_IN_STATE,
            values!["acme", "module", 4, "module-000100", 51],
            "newest_in_state",
        ),
        (
            part_use::PRINTING,
            values!["acme", claim, "module", 4, "module-000100", 200],
            "part_use_pkey",
        ),
        (part_use::LIST, values!["acme", claim, "", "", 0, "", 51], "part_use_pkey"),
    ];
    for (sql, wanted, index) in cases {
        let plan = plan(&database, "", sql, wanted).await;
        assert!(plan.contains(index) && !plan.contains("Seq Scan"), "{sql}\n{plan}");
        // In order of the index: a page costs what it holds, of each of two tables at most.
        assert!(most(&plan) <= 2 * 51, "{sql}\n{plan}");
    }
    database.close().await;
}
