//! Rebuilding a view from the log, beside a scan of the event table.

use std::time::Instant;

use anyhow::Result;
use eventstore::{CommitOptions, Log};
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;

use crate::Bench;
use crate::measure::{in_turn, rate};
use crate::party::{Places, schema};
use crate::raw;
use crate::relay::fill;
use crate::report::{Report, Row};
use crate::servers::open;

const EVENTS: usize = 200_000;
/// Events a replay reads at once.
const PAGE: i64 = 2_000;

pub(crate) async fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    if !bench.wants("rebuild") {
        return Ok(());
    }
    let url = bench.servers.postgres().database();
    fill(&url, bench.plan.volume(EVENTS) as u64).await?;
    let store = open("bench", &url, schema(), Log::local(), CommitOptions::default()).await?;
    let mut connection = PgConnection::connect(&url).await?;
    let compared = in_turn(
        bench.plan,
        async || {
            let start = Instant::now();
            let rebuilt = store.rebuild(&Places).await?;
            Ok(rate(rebuilt.events, start.elapsed()))
        },
        async || {
            let start = Instant::now();
            let rows = raw::scan(&mut connection, PAGE).await?;
            Ok(rate(rows, start.elapsed()))
        },
    )
    .await?;
    store.close().await;
    let what = "rebuild of a view with a row per party (ten events each) from the log on PostgreSQL; \
                reference: raw scan of the event table";
    report.add(Row::compared("rebuild", what, &compared, 0.15));
    Ok(())
}
