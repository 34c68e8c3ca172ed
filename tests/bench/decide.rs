//! `Decide` through gRPC, the record durable before the answer; and the same decisions made again in process.

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Result, ensure};
use decisioning::testing::Again;
use prost::Message as _;
use rapport_proto::decisioning::v1::decision_service_client::DecisionServiceClient;
use rapport_proto::decisioning::v1::{DecideRequest, DecisionMade};

use crate::Bench;
use crate::measure::{Client, alone, drive, evenly, percentile, rate};
use crate::party::TENANT;
use crate::raw;
use crate::report::{Report, Row};
use crate::site::{Authorised, On, Site};
use crate::world::{SENDER, World};

const CLIENTS: usize = 64;
const ACTIONS: usize = 30;
const PARTIES: usize = 2_000;
/// Decisions that are looked at and made again.
const SAMPLE: usize = 500;
/// The latency is measured for so many times the length of a repetition.
const STEADY: u32 = 5;

pub(crate) async fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    for on in On::BOTH {
        if bench.wants_some(&on.row("decide")) {
            Box::pin(measured(bench, on, report)).await?;
        }
    }
    Ok(())
}

async fn measured(bench: &Bench, on: On, report: &mut Report) -> Result<()> {
    let world = Box::pin(World::open(bench, on, ACTIONS, &policy())).await?;
    let parties: Arc<[String]> = world.physicians(bench.plan.volume(PARTIES).max(20)).await?.into();
    let mut clients = Asker::several(&world.site, &parties);
    let id = on.row("decide");
    let highest = alone(bench.plan, async || drive(&mut clients, bench.plan.time).await).await?;
    let records = Records::read(&world.site).await?;
    let what = format!(
        "Decide through gRPC on {}, {CLIENTS} clients on the same machine, the record durable before the answer: \
         {ACTIONS} actions × 2 treatments, rules of 5 conditions, {} parties with 20 attributes",
        on.told(),
        parties.len(),
    );
    let row = Row::reported(&id, &what, highest, "decisions/s").at_least(1_500.0);
    report.add(match on {
        On::Sqlite => row,
        On::Postgres => row.beside(raw::inserts(bench, CLIENTS, records.bytes).await?),
    });
    let millis = evenly(&clients, 0.7 * highest, STEADY * bench.plan.time).await?;
    let (p50, p99) = (percentile(&millis, 50), percentile(&millis, 99));
    let at = format!("Decide on {}, at 70 % of the highest rate, from when it was due", on.told());
    report.add(Row::reported(&format!("{id}-p50"), format!("{at}: median"), p50, "ms"));
    let what = format!("{at}: 99th percentile");
    report.add(Row::reported(&format!("{id}-p99"), what, p99, "ms").below(15.0));
    let what = format!(
        "mean payload of these records: {} candidates each, of which {} stand to the end",
        records.candidates, records.survivors
    );
    let bytes = u32::try_from(records.bytes)?;
    report.add(Row::reported(&format!("{id}-bytes"), what, bytes.into(), "bytes"));
    let what = "the same decisions made again from their records, in one thread: no gRPC, no store";
    let again = again(bench, &world.site, &records.sample).await?;
    report.add(Row::reported(&format!("{id}-pure"), what, again, "decisions/s"));
    world.site.stop().await
}

/// What was recorded.
struct Records {
    sample: Vec<DecisionMade>,
    /// Means of the sample.
    bytes: usize,
    candidates: usize,
    survivors: usize,
}

impl Records {
    async fn read(site: &Site) -> Result<Self> {
        let mut payloads = Vec::new();
        site.recorded("decisioning", 0, |event| {
            if event.r#type.ends_with(".DecisionMade") && payloads.len() < SAMPLE {
                payloads.push(event.payload.clone());
            }
        })
        .await?;
        ensure!(!payloads.is_empty(), "nothing was decided");
        let mean = |sum: usize| sum / payloads.len();
        let decoded = payloads.iter().map(|it| DecisionMade::decode(&**it));
        let sample = decoded.collect::<Result<Vec<_>, _>>()?;
        let candidates = || sample.iter().flat_map(|it| &it.candidates);
        Ok(Self {
            bytes: mean(payloads.iter().map(Vec::len).sum()),
            candidates: mean(candidates().count()),
            survivors: mean(candidates().filter(|it| it.pi > 0.0).count()),
            sample,
        })
    }
}

/// Recorded decisions made again, per second; each must come out as it was.
async fn again(bench: &Bench, site: &Site, records: &[DecisionMade]) -> Result<f64> {
    let store = site.store("decisioning").await?;
    let rules = Again::read(store.database(), TENANT).await?;
    store.close().await;
    for record in records {
        ensure!(rules.decide(record).as_ref() == Some(record), "{} differs", record.decision_id);
    }
    alone(bench.plan, async || {
        let (start, mut count) = (Instant::now(), 0);
        while start.elapsed() < bench.plan.time {
            for record in records {
                black_box(rules.decide(black_box(record)));
            }
            count += records.len() as u64;
        }
        Ok(rate(count, start.elapsed()))
    })
    .await
}

/// Actions with a rule of five conditions; a party passes about half of them, by its visits.
fn policy() -> String {
    let mut yaml = "policy: default\ngroups:\n  - {group: win-back}\nactions:\n".to_owned();
    for number in 0..ACTIONS {
        let rule = format!(
            "party.market in ['DE', 'AT'] && attributes.specialty == 'oncology' && attributes.digital == true \
             && attributes.visits >= {} && traits.orders_90d > 1",
            number % 10
        );
        let _ = write!(
            yaml,
            "  - action: write-{number}\n    group: win-back\n    description: Writes letter {number}\n    \
             value: {}\n    eligibility: \"{rule}\"\n    \
             rewards: [{{event: Order Completed, within: 14d, value: 1}}]\n    treatments:\n      \
             - {{treatment: mail, channel: EMAIL, module: letter-{number}}}\n      \
             - {{treatment: visit, channel: FIELD_TASK, module: letter-{number}}}\n",
            number + 1
        );
    }
    yaml + "contact_policy:\n  - {id: weekly, counts: [EMAIL], window: 7d, max: 100, hard: true}\n\
            explore: {epsilon: 0.02}\n"
}

/// Asks what is best for one party after another.
#[derive(Clone)]
struct Asker {
    client: DecisionServiceClient<Authorised>,
    parties: Arc<[String]>,
    asked: Arc<AtomicU64>,
}

impl Asker {
    fn several(site: &Site, parties: &Arc<[String]>) -> Vec<Self> {
        let asked = Arc::new(AtomicU64::new(0));
        let asker = |_| Self {
            client: DecisionServiceClient::new(site.connect()),
            parties: parties.clone(),
            asked: asked.clone(),
        };
        (0..CLIENTS).map(asker).collect()
    }
}

impl Client for Asker {
    async fn step(&mut self) -> Result<u64> {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let party_id = &self.parties[usize::try_from(number)? % self.parties.len()];
        let request = DecideRequest {
            parent: format!("{}/parties/{party_id}", Site::parent()),
            sender_id: SENDER.into(),
            request_id: format!("decide-{number}"),
            ..DecideRequest::default()
        };
        self.client.decide(request).await?;
        Ok(1)
    }
}
