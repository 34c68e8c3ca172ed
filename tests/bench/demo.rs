//! `rapport demo orders` from end to end: real orders through every target of one process, on a simulated clock.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use eventstore::Timestamp;
use rapport::demo::orders::{Audience, Part, Stage, tell};

use crate::Bench;
use crate::measure::rate;
use crate::report::{Report, Row};
use crate::site::{On, Site};

/// Customers of the whole story.
const CUSTOMERS: usize = 23_570;

pub(crate) async fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    for on in On::BOTH {
        let id = on.row("demo");
        if bench.wants(&id) || bench.wants_some(&id) {
            Box::pin(measured(bench, &id, on, report)).await?;
        }
    }
    Ok(())
}

async fn measured(bench: &Bench, id: &str, on: On, report: &mut Report) -> Result<()> {
    let mut settings = vec!["clock.mode=simulated".to_owned()];
    let told = match on {
        On::Sqlite => on.told().to_owned(),
        On::Postgres => {
            let log = bench.servers.fresh_log();
            settings.push(format!("log.url={}", bench.servers.nats().url()));
            settings.push(format!("log.prefix={}", log.prefix));
            format!("{} and nats-server", on.told())
        }
    };
    let settings: Vec<_> = settings.iter().map(String::as_str).collect();
    let site = Site::start(bench, on, &settings).await?;
    let mut stage = Stage {
        cast: site.cast()?,
        time: site.time()?,
        gateway: format!("http://{}", site.server.address),
    };
    let customers = bench.plan.volume(CUSTOMERS);
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    let share = customers as f64 / CUSTOMERS as f64;
    let story = tell(&mut stage, Part::with(share), &mut Nobody).await?;
    ensure!(story.chains_intact, "a chain is broken");
    let peak = peak(site.server.id()?)?;
    site.stop().await?;

    let seconds = std::time::Duration::from_secs_f64(story.wall_seconds);
    let of = format!(
        "{} orders of {} customers over 18 months on a simulated clock, with segments, decisions, journeys, the gate, \
         surveys, figures and the index, all targets in one process on {told}",
        story.orders, story.customers
    );
    let orders = format!("{of}: orders from the first registration to the report");
    report.add(Row::reported(id, orders, rate(story.orders, seconds), "orders/s"));
    let events = format!("the same: events of all sources ({})", story.events);
    report.add(Row::reported(
        &format!("{id}-events"),
        events,
        rate(story.events, seconds),
        "events/s",
    ));
    let memory = "the same: peak resident memory of the process";
    report.add(Row::reported(&format!("{id}-memory"), memory, peak, "MiB"));
    Ok(())
}

/// Who looks at the progress.
struct Nobody;

impl Audience for Nobody {
    async fn passed(&mut self, _: Timestamp, _: usize, _: usize) {}
}

/// MiB.
fn peak(process: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = text.lines().find_map(|it| it.strip_prefix("VmHWM:"));
    let kibibytes: f64 = line.context("VmHWM")?.trim().trim_end_matches(" kB").parse()?;
    Ok(kibibytes / 1_024.0)
}
