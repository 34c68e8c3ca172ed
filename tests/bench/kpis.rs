//! Figures: computed again from a million events beside DuckDB, kept up to date while orders come, and read.

mod history;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use eventstore::{Store, Timestamp, consumer};
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use rapport_proto::kpis::v1::QueryFiguresRequest;
use rapport_proto::kpis::v1::metric_service_client::MetricServiceClient;
use rapport_proto::profiles::v1::source_service_client::SourceServiceClient;
use rapport_proto::profiles::v1::{
    ClearField, NewInteraction, RecordInteractionsRequest, RegisterSourceRequest, new_interaction,
};
use rapport_proto::types::{ClearKind, PartyKind};

use crate::Bench;
use crate::measure::{Client, alone, evenly, in_turn, percentile, rate};
use crate::report::{Report, Row};
use crate::site::{Authorised, On, Site};
use history::History;

/// The consumer.
const NAME: &str = "kpis";
const EVENTS: usize = 1_000_000;
const PARTIES: usize = 500;
const PATIENTS: usize = 20;
const ORDERS: usize = 10_000;
/// Orders in a request.
const BULK: usize = 250;
/// Questions a second.
const QUESTIONS: f64 = 50.0;
/// How long everything may take to be read.
const PATIENCE: Duration = Duration::from_secs(1_800);
/// What is asked in turn: a metric, its dimensions, and whether it is the total.
const ASKED: [(&str, &[&str], bool); 4] = [
    ("orders", &["market"], false),
    ("order-value", &[], true),
    ("ordering-parties", &["market"], false),
    ("touches-sent", &["market", "adapter"], false),
];

pub(crate) async fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    if bench.wants("kpis-rebuild") {
        report.add(Box::pin(rebuild(bench)).await?);
    }
    for on in On::BOTH {
        let (updates, read) = (on.row("kpis-updates"), on.row("kpis-read"));
        if bench.wants(&updates) || bench.wants_some(&read) {
            Box::pin(followed_and_read(bench, report, on)).await?;
        }
    }
    Ok(())
}

async fn rebuild(bench: &Bench) -> Result<Row> {
    let count = bench.plan.volume(EVENTS);
    let history = History::write(count).await?;
    // A run takes as long as many others together.
    let mut plan = bench.plan;
    plan.repetitions = plan.repetitions.min(1);
    let compared = in_turn(
        plan,
        async || {
            consumer::reset(&history.kpis, &::kpis::consumer()).await?;
            let start = Instant::now();
            history.follow().await?;
            Ok(rate(history.events, start.elapsed()))
        },
        async || history.computed().await,
    )
    .await?;
    let what = format!(
        "figures of all built-in metrics from nothing, from {} interactions, answers and facts about touches on embedded \
         SQLite, kept as sums and as the events that each drills down to; reference: DuckDB reading the same events as \
         JSON lines and computing the same figures once, keeping none",
        history.events
    );
    history.close().await;
    let row = Row::reported("kpis-rebuild", what, compared.value, "events/s");
    Ok(row.beside(compared.reference))
}

async fn followed_and_read(bench: &Bench, report: &mut Report, on: On) -> Result<()> {
    let site = Site::start(bench, on, &[]).await?;
    let mut parties = site.register(PartyKind::Hcp, bench.plan.volume(PARTIES)).await?;
    // So many that no figure is hidden, and each is looked at.
    parties.extend(site.register(PartyKind::Patient, PATIENTS).await?);
    let (profiles, kpis) = (site.store("profiles").await?, site.store("kpis").await?);
    let mut shop = Shop::open(&site, parties).await?;
    let count = bench.plan.volume(ORDERS);
    let value = alone(bench.plan, async || {
        let start = Instant::now();
        shop.sell(count).await?;
        let head = profiles.read_head().await?.position;
        caught_up(&kpis, "profiles", head).await?;
        Ok(rate(count as u64, start.elapsed()))
    })
    .await?;
    if bench.wants(&on.row("kpis-updates")) {
        let what = format!(
            "orders through gRPC on {}, {count} at a time, until the figures have followed; every other service follows \
             them too",
            on.told(),
        );
        report.add(Row::reported(&on.row("kpis-updates"), what, value, "updates/s"));
    }
    if bench.wants_some(&on.row("kpis-read")) {
        let readers: Vec<_> = (0..4).map(|first| Reader::new(&site, first)).collect();
        let millis = evenly(&readers, QUESTIONS, bench.plan.time).await?;
        let what = format!(
            "a question about figures over {} orders on {}, {QUESTIONS} a second",
            shop.sold,
            on.told(),
        );
        for (name, percent) in [("median", 50), ("99th percentile", 99)] {
            let id = format!("{}-p{percent}", on.row("kpis-read"));
            let value = percentile(&millis, percent);
            report.add(Row::reported(&id, format!("{what}: {name}"), value, "ms"));
        }
    }
    profiles.close().await;
    kpis.close().await;
    site.stop().await
}

/// Waits until the figures have followed a source to a position.
async fn caught_up(store: &Store, source: &str, position: u64) -> Result<()> {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let done = consumer::read_checkpoint(store, NAME, source).await?.position;
        if done >= position {
            return Ok(());
        }
        if Instant::now() > give_up {
            bail!("the figures followed {done} of {position} events of {source}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A shop whose customers order again and again.
struct Shop {
    client: SourceServiceClient<Authorised>,
    parties: Vec<String>,
    sold: usize,
}

impl Shop {
    async fn open(site: &Site, parties: Vec<String>) -> Result<Self> {
        let mut client = SourceServiceClient::new(site.connect());
        let revenue = ClearField { name: "revenue".into(), kind: ClearKind::Number.into() };
        let request = RegisterSourceRequest {
            parent: Site::parent(),
            source_id: "shop".into(),
            owner: "bench".into(),
            clear_fields: vec![revenue],
            ..RegisterSourceRequest::default()
        };
        client.register_source(request).await?;
        Ok(Self { client, parties, sold: 0 })
    }

    async fn sell(&mut self, count: usize) -> Result<()> {
        let last = self.sold + count;
        while self.sold < last {
            let bulk = BULK.min(last - self.sold);
            let interactions = (self.sold..self.sold + bulk).map(|it| self.order(it)).collect();
            self.sold += bulk;
            let request = RecordInteractionsRequest {
                parent: format!("{}/sources/shop", Site::parent()),
                interactions,
                ..Default::default()
            };
            self.client.record_interactions(request).await?;
        }
        Ok(())
    }

    fn order(&self, number: usize) -> NewInteraction {
        let revenue = Value { kind: Some(Kind::NumberValue(12.5)) };
        // A year of orders, day by day.
        let ago = Duration::from_secs(u64::try_from(number % 365).unwrap_or_default() * 86_400);
        NewInteraction {
            message_id: format!("order-{number}"),
            name: "Order Completed".into(),
            occurred_time: Some(Timestamp::real().minus(ago).to_proto()),
            party: Some(new_interaction::Party::PartyId(
                self.parties[number % self.parties.len()].clone(),
            )),
            properties: Some(Struct { fields: [("revenue".to_owned(), revenue)].into() }),
            ..NewInteraction::default()
        }
    }
}

/// Somebody who asks one question after another.
#[derive(Clone)]
struct Reader {
    client: MetricServiceClient<Authorised>,
    next: usize,
}

impl Reader {
    fn new(site: &Site, next: usize) -> Self {
        Self { client: MetricServiceClient::new(site.connect()), next }
    }
}

impl Client for Reader {
    async fn step(&mut self) -> Result<u64> {
        let (metric, group_by, total) = ASKED[self.next % ASKED.len()];
        self.next += 1;
        let request = QueryFiguresRequest {
            name: format!("{}/metrics/{metric}", Site::parent()),
            group_by: group_by.iter().map(|it| (*it).to_owned()).collect(),
            total,
            ..Default::default()
        };
        self.client.query_figures(request).await.with_context(|| metric)?;
        Ok(1)
    }
}
