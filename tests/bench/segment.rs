//! What parties do, until traits and segments have followed.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use eventstore::{Store, Timestamp, consumer};
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use rapport::demo::Cast;
use rapport::remote::told;
use rapport_proto::profiles::v1::source_service_client::SourceServiceClient;
use rapport_proto::profiles::v1::{
    ClearField, NewInteraction, RecordInteractionsRequest, RegisterSourceRequest, new_interaction,
};
use rapport_proto::types::{ClearKind, PartyKind};

use crate::Bench;
use crate::measure::{alone, rate};
use crate::report::{Report, Row};
use crate::site::{Authorised, On, Site};

const SEGMENTS: usize = 50;
/// Five of each of four names of interactions.
const TRAITS: usize = 20;
const NAMES: [&str; 4] = ["Order Completed", "Page Viewed", "Call Completed", "Visit Ended"];
const KINDS: [&str; 5] = [
    "kind: COUNT",
    "kind: COUNT\nwindow: 30d",
    "kind: SUM\nproperty: amount",
    "kind: DAYS_SINCE",
    "kind: DECAYED_COUNT\nhalf_life: 30d",
];
const PARTIES: usize = 1_000;
const INTERACTIONS: usize = 5_000;
/// Interactions in a request.
const BULK: usize = 250;
/// How long what follows may take.
const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) async fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    for on in On::BOTH {
        let id = on.row("segments");
        if bench.wants(&id) {
            report.add(Box::pin(measured(bench, &id, on)).await?);
        }
    }
    Ok(())
}

async fn measured(bench: &Bench, id: &str, on: On) -> Result<Row> {
    let site = Site::start(bench, on, &[]).await?;
    let parties = site.register(PartyKind::Hcp, bench.plan.volume(PARTIES)).await?;
    define(&site.cast()?).await?;
    let store = site.store("profiles").await?;
    caught_up(&store).await?;
    let mut source = Shop { client: SourceServiceClient::new(site.connect()), parties, told: 0 };
    let (count, head) = (bench.plan.volume(INTERACTIONS), store.read_head().await?.position);
    let value = alone(bench.plan, async || {
        let start = Instant::now();
        source.tell(count).await?;
        caught_up(&store).await?;
        Ok(rate(count as u64, start.elapsed()))
    })
    .await?;
    let head = store.read_head().await?.position - head;
    store.close().await;
    let (mut entered, all) = (0_u64, source.told as u64);
    site.recorded("profiles", 0, |event| {
        entered += u64::from(event.r#type.ends_with(".SegmentEntered"))
    })
    .await?;
    site.stop().await?;
    let what = format!(
        "interactions through gRPC on {}, {count} at a time, until {SEGMENTS} segments over {TRAITS} traits have \
         followed; {} parties, {entered} entries, {} further events for {all} interactions",
        on.told(),
        source.parties.len(),
        head.saturating_sub(all),
    );
    Ok(Row::reported(id, what, value, "updates/s"))
}

fn trait_id(number: usize) -> String {
    format!("trait_{}", number % TRAITS)
}

/// Traits by name and kind; segments that compare two of them.
async fn define(cast: &Cast) -> Result<()> {
    let amount = ClearField { name: "amount".into(), kind: ClearKind::Number.into() };
    let request = RegisterSourceRequest {
        parent: Site::parent(),
        source_id: "shop".into(),
        owner: "bench".into(),
        clear_fields: vec![amount],
        ..RegisterSourceRequest::default()
    };
    told(cast.author.sources.clone().register_source(request).await)?;
    for number in 0..TRAITS {
        let (name, kind) = (NAMES[number % NAMES.len()], KINDS[number / NAMES.len()]);
        let yaml = format!(
            "trait: {}\ndescription: Number {number}\nevent: {name}\n{kind}\n",
            trait_id(number)
        );
        cast.save_trait(&yaml).await.with_context(|| yaml)?;
    }
    for number in 0..SEGMENTS {
        let mut yaml = format!("segment: segment-{number}\ndescription: Number {number}\n");
        let (one, other) = (trait_id(number), trait_id(number + 7));
        let _ = writeln!(
            yaml,
            "rule: traits.{one} >= {} && traits.{other} >= {}",
            number % 9,
            number % 4
        );
        cast.save_segment(&yaml).await.with_context(|| yaml)?;
    }
    Ok(())
}

/// Waits until the segments have followed everything that was recorded, themselves included.
async fn caught_up(store: &Store) -> Result<()> {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let done = consumer::read_checkpoint(store, "segments", "profiles").await?.position;
        let head = store.read_head().await?.position;
        if done >= head {
            return Ok(());
        }
        if Instant::now() > give_up {
            bail!("the segments followed {done} of {head} events in {} s", PATIENCE.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A source whose customers do one thing after another.
struct Shop {
    client: SourceServiceClient<Authorised>,
    parties: Vec<String>,
    told: usize,
}

impl Shop {
    async fn tell(&mut self, count: usize) -> Result<()> {
        let last = self.told + count;
        while self.told < last {
            let bulk = BULK.min(last - self.told);
            let interactions =
                (self.told..self.told + bulk).map(|it| self.interaction(it)).collect();
            self.told += bulk;
            let request = RecordInteractionsRequest {
                parent: format!("{}/sources/shop", Site::parent()),
                interactions,
                ..Default::default()
            };
            self.client.record_interactions(request).await?;
        }
        Ok(())
    }

    fn interaction(&self, number: usize) -> NewInteraction {
        let amount = Value { kind: Some(Kind::NumberValue(12.5)) };
        NewInteraction {
            message_id: format!("message-{number}"),
            // Every party does each of them.
            name: NAMES[number / self.parties.len() % NAMES.len()].into(),
            occurred_time: Some(Timestamp::real().to_proto()),
            party: Some(new_interaction::Party::PartyId(
                self.parties[number % self.parties.len()].clone(),
            )),
            properties: Some(Struct { fields: [("amount".to_owned(), amount)].into() }),
            ..NewInteraction::default()
        }
    }
}
