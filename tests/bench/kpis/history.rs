//! A year of three services, as they would have recorded it, and the same as JSON lines.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use authored::document::to_json;
use eventstore::consumer;
use eventstore::{
    About, CommitOptions, Decider, Error, Log, MAX_EVENTS, Metadata, Outcome, Schema, SourceReader,
    Store, Stored, Timestamp,
};
use futures::future::BoxFuture;
use rapport_proto::delivery::v1::{TouchDelivered, TouchOpened, TouchSent, touch_event};
use rapport_proto::feedback::v1::{Answer, QuestionKind, ResponseSubmitted, response_event};
use rapport_proto::profiles::v1::{InteractionRecorded, interaction_event};
use rapport_proto::types::{Clear, Envelope, Money, clear};
use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::caught_up;
use crate::measure::rate;
use crate::party::TENANT;
use crate::servers::open;

const SOURCES: [&str; 3] = ["delivery", "feedback", "profiles"];
const PARTIES: usize = 10_000;
/// Of ten things that happen six are interactions, one an answer, and one a touch of three facts.
const KINDS: usize = 8;
const START: Timestamp = Timestamp(1_767_225_600_000_000);
const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// Declares the facts of another service's aggregate, without its decisions; the state is what each is about.
macro_rules! facts {
    ($($name:ident, $aggregate:literal, $event:ty;)*) => {$(
        enum $name {}

        impl Decider for $name {
            const AGGREGATE: &'static str = $aggregate;
            type Command = std::convert::Infallible;
            type State = About;
            type Event = $event;
            type Refusal = std::convert::Infallible;

            fn decide(
                _: &About,
                command: Self::Command,
                _: Timestamp,
            ) -> Result<Vec<Self::Event>, Self::Refusal> {
                match command {}
            }

            fn evolve(state: About, _: &Self::Event) -> About {
                state
            }

            fn about(_: &str, state: &About, _: &Self::Event) -> About {
                state.clone()
            }
        }
    )*};
}

facts! {
    Touch, "touch", touch_event::Event;
    Response, "response", response_event::Event;
    Interaction, "interaction", interaction_event::Event;
}

/// The stores, and the file.
pub(super) struct History {
    pub(super) kpis: Store,
    pub(super) events: u64,
    log: Log,
    /// The log sees stores only as long as they are held.
    stores: Vec<Store>,
    folder: TempDir,
}

impl History {
    /// Writes so many events.
    pub(super) async fn write(count: usize) -> Result<Self> {
        let (folder, log) = (tempfile::tempdir()?, Log::local());
        let database = |of: &str| format!("sqlite://{}/{of}.db", folder.path().display());
        let mut stores = Vec::new();
        for source in SOURCES {
            let (url, commit) = (database(source), CommitOptions::default());
            stores.push(open(source, &url, Schema::default(), log.clone(), commit).await?);
        }
        let commit = CommitOptions::default();
        let kpis = open("kpis", &database("kpis"), ::kpis::schema(), log.clone(), commit).await?;
        // A touch has three facts.
        let things = count * KINDS / (KINDS + 2);
        let step = YEAR / u32::try_from(things.max(1))?;
        let at = |number: usize| START.plus(step * u32::try_from(number).unwrap_or(u32::MAX));
        let of = |kinds: std::ops::Range<usize>| {
            (0..things).filter(move |it| kinds.contains(&(it % KINDS)))
        };
        fill::<Touch>(&stores[0], of(0..1), at, touch).await?;
        fill::<Response>(&stores[1], of(1..2), at, |number| vec![answer(number)]).await?;
        fill::<Interaction>(&stores[2], of(2..KINDS), at, |number| vec![order(number)]).await?;
        let mut events = 0;
        for store in &stores {
            events += store.read_head().await?.position;
        }
        let history = Self { kpis, events, log, stores, folder };
        history.export().await?;
        Ok(history)
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("events.jsonl")
    }

    /// The events as an export has them, as far as figures read them.
    async fn export(&self) -> Result<()> {
        let mut file = BufWriter::new(File::create(self.file())?);
        for store in &self.stores {
            let mut after = 0;
            loop {
                let page = store.read(after, 5_000).await?;
                let Some(last) = page.last() else { break };
                after = last.position;
                for event in &page {
                    writeln!(file, "{}", line(store.source(), event)?)?;
                }
            }
        }
        Ok(file.flush()?)
    }

    /// Lets the figures follow everything there is.
    pub(super) async fn follow(&self) -> Result<()> {
        let (stop, mut running) = (CancellationToken::new(), JoinSet::new());
        let producers: Arc<dyn SourceReader> = Arc::new(Producers(self.log.clone()));
        for source in SOURCES {
            let (store, stop) = (self.kpis.clone(), stop.clone());
            let (consumer, producers) = (::kpis::consumer(), producers.clone());
            running.spawn(consumer::run(store, consumer, source.to_owned(), producers, stop));
        }
        for store in &self.stores {
            let head = store.read_head().await?.position;
            caught_up(&self.kpis, store.source(), head).await?;
        }
        stop.cancel();
        running.join_all().await;
        Ok(())
    }

    /// Events a second that DuckDB reads and computes figures from.
    pub(super) async fn computed(&self) -> Result<f64> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/oracle/figures.py");
        let mut python = Command::new(support::python());
        let output = python.arg(script).arg("--timed").arg(self.file()).output().await?;
        if !output.status.success() {
            bail!("DuckDB: {}", String::from_utf8_lossy(&output.stderr));
        }
        let told: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let events = told["events"].as_u64().context("a count")?;
        if events != self.events {
            bail!("DuckDB read {events} of {} events", self.events);
        }
        let seconds = told["seconds"].as_f64().context("a time")?;
        Ok(rate(events, Duration::from_secs_f64(seconds)))
    }

    pub(super) async fn close(self) {
        self.kpis.close().await;
        for store in self.stores {
            store.close().await;
        }
    }
}

/// Appends what happened, as much in a unit as one may hold.
async fn fill<D: Decider<State = About>>(
    store: &Store,
    numbers: impl Iterator<Item = usize>,
    at: impl Fn(usize) -> Timestamp,
    facts: impl Fn(usize) -> Vec<D::Event>,
) -> Result<()> {
    let mut numbers = numbers.peekable();
    while let Some(first) = numbers.peek().copied() {
        let meta = Metadata {
            tenant: TENANT.into(),
            method: "bench".into(),
            request_id: format!("{}-{first}", D::AGGREGATE),
            at: at(first),
            ..Metadata::default()
        };
        let mut unit = store.unit(meta);
        // The largest thing has three facts.
        for number in numbers.by_ref().take(MAX_EVENTS / 3) {
            let about = About {
                party_id: format!("pty_{:026}", number % PARTIES),
                market: if number.is_multiple_of(3) { "US".into() } else { "DE".into() },
                occurred_at: Some(at(number)),
                ..About::default()
            };
            unit.push::<D>(
                &format!("{}_{number:026}", &D::AGGREGATE[..3]),
                0,
                &about,
                facts(number),
            )
            .await?;
        }
        match store.append(unit.finish()?).await {
            Outcome::Committed { .. } => {}
            other => bail!("{other:?}"),
        }
    }
    Ok(())
}

fn touch(number: usize) -> Vec<touch_event::Event> {
    let machine = number.is_multiple_of(2);
    vec![
        touch_event::Event::Sent(TouchSent { adapter: "smtp".into(), ..TouchSent::default() }),
        touch_event::Event::Delivered(TouchDelivered::default()),
        touch_event::Event::Opened(TouchOpened { machine, ..TouchOpened::default() }),
    ]
}

fn answer(number: usize) -> response_event::Event {
    let score = i32::try_from(number % 11).unwrap_or_default();
    let of = |question: &str, kind: QuestionKind, score| Answer {
        question: question.into(),
        kind: kind.into(),
        score,
        ..Answer::default()
    };
    response_event::Event::Submitted(ResponseSubmitted {
        survey: "order-nps".into(),
        answers: vec![
            of("recommend", QuestionKind::Nps, score),
            of("satisfied", QuestionKind::Csat, score % 5 + 1),
        ],
        generated: true,
        ..ResponseSubmitted::default()
    })
}

/// Two of three interactions are orders.
fn order(number: usize) -> interaction_event::Event {
    let cents = i64::try_from(number % 20_000).unwrap_or_default();
    let nanos = i32::try_from(cents % 100).unwrap_or_default() * 10_000_000;
    let money = Money { currency_code: "EUR".into(), units: cents / 100, nanos };
    let value = Clear { value: Some(clear::Value::Money(money)) };
    let name = if number.is_multiple_of(3) { "Page Viewed" } else { "Order Completed" };
    interaction_event::Event::Recorded(InteractionRecorded {
        name: name.into(),
        clear: [("revenue".to_owned(), value)].into(),
        ..InteractionRecorded::default()
    })
}

fn line(source: &str, event: &Stored) -> Result<String> {
    let envelope = event.envelope()?;
    let payload = to_json(&envelope.r#type, &envelope.payload)?;
    let bare = Envelope { payload: Vec::new(), ..envelope };
    let mut shown = to_json("rapport.type.v1.Envelope", &prost::Message::encode_to_vec(&bare))?;
    shown["payload"] = payload;
    Ok(json!({"source": source, "position": event.position, "envelope": shown}).to_string())
}

/// Reads the stores themselves.
struct Producers(Log);

impl SourceReader for Producers {
    fn read<'a>(
        &'a self,
        source: &'a str,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Stored>, Error>> {
        Box::pin(async move { self.0.read(source, after, limit).await })
    }
}
