//! Instances on their way, from the entry to the exit: every step an event, durable before the next.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use eventstore::Timestamp;
use rapport::demo::until_within;
use rapport::remote::told;
use rapport_proto::journeys::v1::journey_service_client::JourneyServiceClient;
use rapport_proto::journeys::v1::{GetJourneyRequest, RequestEntryRequest};

use crate::Bench;
use crate::measure::{Client, LONGEST, alone, drive, rate};
use crate::raw;
use crate::report::{Report, Row};
use crate::site::{Authorised, On, Site};
use crate::world::World;

const CLIENTS: usize = 64;
const PARTIES: usize = 1_000;
/// After this long as many instances leave as enter.
const SETTLING: Duration = Duration::from_secs(2);
const JOURNEY: &str = include_str!("world/journey.yaml");
const POLICY: &str = "policy: default\n";

pub(crate) async fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    for on in On::BOTH {
        let id = on.row("journey");
        if bench.wants(&id) {
            report.add(Box::pin(measured(bench, &id, on)).await?);
        }
    }
    Ok(())
}

async fn measured(bench: &Bench, id: &str, on: On) -> Result<Row> {
    let world = Box::pin(World::open(bench, on, 0, POLICY)).await?;
    world.cast.publish_journey(JOURNEY).await?;
    let parties: Arc<[String]> = world.physicians(bench.plan.volume(PARTIES).max(64)).await?.into();
    let mut clients = Entering::several(&world.site, &parties);
    let mut each = 0;
    let value = alone(bench.plan, async || {
        let before = world.site.head("journeys").await?;
        drive(&mut clients, SETTLING + bench.plan.time).await?;
        let end = Timestamp::real();
        over(&world).await?;
        let steps = Steps::since(&world.site, before, end.minus(bench.plan.time), end).await?;
        ensure!(steps.instances > 0, "nobody entered");
        each = steps.all / steps.instances;
        Ok(rate(steps.between, bench.plan.time))
    })
    .await?;
    world.site.stop().await?;
    let what = format!(
        "events of journey instances on {}: branch, split, wait of 1 s, branch, exit, {each} events each; {CLIENTS} \
         clients enter {} parties over the API, again and again",
        on.told(),
        parties.len()
    );
    let row = Row::reported(id, what, value, "transitions/s");
    Ok(match on {
        On::Sqlite => row,
        On::Postgres => row.beside(raw::inserts(bench, CLIENTS, 500).await?),
    })
}

/// Waits until no instance stands at a node.
async fn over(world: &World) -> Result<()> {
    until_within(LONGEST, "every instance is over", async || {
        let name = world.cast.author.name("journeys", "race");
        let request = GetJourneyRequest { name, ..Default::default() };
        let reply = told(world.cast.author.journeys.clone().get_journey(request).await)?;
        Ok(reply.nodes.iter().all(|it| it.instances == 0).then_some(()))
    })
    .await
}

/// What instances did.
#[derive(Default)]
struct Steps {
    all: u64,
    between: u64,
    instances: u64,
}

impl Steps {
    /// After a position; those between two instants are counted once more.
    async fn since(site: &Site, before: u64, from: Timestamp, to: Timestamp) -> Result<Self> {
        let mut steps = Self::default();
        site.recorded("journeys", before, |event| {
            if event.stream.starts_with("instance/") {
                let at = event.recorded_at.as_ref().and_then(Timestamp::from_proto);
                steps.all += 1;
                steps.between += u64::from(at.is_some_and(|it| from <= it && it < to));
                steps.instances += u64::from(event.version == 1);
            }
        })
        .await?;
        Ok(steps)
    }
}

/// Enters one party after another.
struct Entering {
    client: JourneyServiceClient<Authorised>,
    parties: Arc<[String]>,
    entered: Arc<AtomicU64>,
}

impl Entering {
    fn several(site: &Site, parties: &Arc<[String]>) -> Vec<Self> {
        let entered = Arc::new(AtomicU64::new(0));
        let entering = |_| Self {
            client: JourneyServiceClient::new(site.connect()),
            parties: parties.clone(),
            entered: entered.clone(),
        };
        (0..CLIENTS).map(entering).collect()
    }
}

impl Client for Entering {
    async fn step(&mut self) -> Result<u64> {
        let number = self.entered.fetch_add(1, Ordering::Relaxed);
        let party_id = self.parties[usize::try_from(number)? % self.parties.len()].clone();
        let request = RequestEntryRequest {
            parent: format!("{}/journeys/race", Site::parent()),
            party_id,
            request_id: format!("enter-race-{number}"),
            ..Default::default()
        };
        let refused = self.client.request_entry(request).await?.into_inner().refused;
        ensure!(refused.is_empty(), "refused: {refused}");
        Ok(1)
    }
}
