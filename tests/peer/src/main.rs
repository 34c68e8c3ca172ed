//! A party that registers and moves, with a view of one row each, on `cqrs-es` and `postgres-es`: 64
//! commands at once, as `tests/bench/peer.rs` sends them to Rapport. Prints events per second as JSON.
//!
//! `peer <PostgreSQL URL> <seconds> <repetitions>`

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use cqrs_es::event_sink::EventSink;
use cqrs_es::persist::GenericQuery;
use cqrs_es::{Aggregate, DomainEvent, EventEnvelope, View};
use postgres_es::{PostgresCqrs, PostgresViewRepository, postgres_cqrs};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

const CLIENTS: usize = 64;
/// The library's own default is 10; the best of these is what counts.
const POOLS: [u32; 3] = [10, 24, 64];

/// The tables as the library's documentation gives them.
const TABLES: &str = "
CREATE TABLE events (
    aggregate_type text NOT NULL,
    aggregate_id text NOT NULL,
    sequence bigint CHECK (sequence >= 0) NOT NULL,
    event_type text NOT NULL,
    event_version text NOT NULL,
    payload json NOT NULL,
    metadata json NOT NULL,
    PRIMARY KEY (aggregate_type, aggregate_id, sequence)
);
CREATE TABLE place (
    view_id text NOT NULL,
    version bigint CHECK (version >= 0) NOT NULL,
    payload json NOT NULL,
    PRIMARY KEY (view_id)
);";

#[derive(Default, Serialize, Deserialize)]
struct Party {
    registered: bool,
    market: String,
}

enum Command {
    Register,
    Move(&'static str),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Event {
    Registered { market: String },
    Moved { market: String },
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        match self {
            Self::Registered { .. } => "PartyRegistered".into(),
            Self::Moved { .. } => "PartyMoved".into(),
        }
    }

    fn event_version(&self) -> String {
        "1".into()
    }
}

#[derive(Debug)]
struct Refusal;

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not in this state")
    }
}

impl std::error::Error for Refusal {}

impl Aggregate for Party {
    const TYPE: &'static str = "party";
    type Command = Command;
    type Event = Event;
    type Error = Refusal;
    type Services = ();

    async fn handle(
        &mut self,
        command: Command,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), Refusal> {
        let event = match command {
            Command::Register if !self.registered => Event::Registered { market: "DE".into() },
            Command::Move(market) if self.registered => Event::Moved { market: market.into() },
            Command::Register | Command::Move(_) => return Err(Refusal),
        };
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Registered { market } => {
                self.registered = true;
                self.market = market;
            }
            Event::Moved { market } => self.market = market,
        }
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Place {
    market: String,
    moves: u64,
}

impl View<Party> for Place {
    fn update(&mut self, event: &EventEnvelope<Party>) {
        match &event.payload {
            Event::Registered { market } => self.market.clone_from(market),
            Event::Moved { market } => {
                self.market.clone_from(market);
                self.moves += 1;
            }
        }
    }
}

type Framework = Arc<PostgresCqrs<Party>>;

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().context("a PostgreSQL URL")?;
    let time = Duration::from_secs(arguments.next().context("seconds")?.parse()?);
    let repetitions = arguments.next().context("repetitions")?.parse()?;
    let (mut create, mut append) = (0.0_f64, 0.0_f64);
    for connections in POOLS {
        let pool = PgPoolOptions::new().max_connections(connections).connect(&url).await?;
        let (created, appended) = measure(&pool, time, repetitions).await?;
        eprintln!("{connections} connections: create {created:.0}/s, append {appended:.0}/s");
        (create, append) = (create.max(created), append.max(appended));
        pool.close().await;
    }
    println!(
        "{{\"peer\": \"cqrs-es 0.5 with postgres-es 0.5\", \"create\": {create:.1}, \"append\": {append:.1}}}"
    );
    Ok(())
}

async fn measure(pool: &PgPool, time: Duration, repetitions: usize) -> Result<(f64, f64)> {
    sqlx::raw_sql("DROP TABLE IF EXISTS events, place").execute(pool).await?;
    sqlx::raw_sql(TABLES).execute(pool).await?;
    let places = Arc::new(PostgresViewRepository::<Place, Party>::new("place", pool.clone()));
    let mut query = GenericQuery::new(places);
    let failed = Arc::new(AtomicU64::new(0));
    let count = failed.clone();
    query.use_error_handler(Box::new(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    }));
    let framework: Framework = Arc::new(postgres_cqrs(pool.clone(), vec![Box::new(query)], ()));

    let mut clients: Vec<_> =
        (0..CLIENTS).map(|number| Client { number, done: 0, parties: None }).collect();
    let create = median(&framework, &mut clients, time, repetitions).await?;
    for client in &mut clients {
        client.parties = Some(client.done);
    }
    let append = median(&framework, &mut clients, time, repetitions).await?;
    let failed = failed.load(Ordering::Relaxed);
    anyhow::ensure!(failed == 0, "{failed} view updates failed");
    Ok((create, append))
}

struct Client {
    number: usize,
    done: usize,
    /// How many parties there are to move; `None` while it registers.
    parties: Option<usize>,
}

impl Client {
    async fn step(&mut self, framework: &Framework) -> Result<()> {
        const MARKETS: [&str; 2] = ["FR", "DE"];
        let (id, command) = match self.parties {
            None => (self.done, Command::Register),
            Some(parties) => {
                let step = self.done - parties;
                (step % parties, Command::Move(MARKETS[step / parties % 2]))
            }
        };
        let id = format!("pty_{:013}{id:013}", self.number);
        framework.execute(&id, command).await?;
        self.done += 1;
        Ok(())
    }
}

/// Warms up once, then lets all clients work for a while, again and again; median events per second.
async fn median(
    framework: &Framework,
    clients: &mut Vec<Client>,
    time: Duration,
    repetitions: usize,
) -> Result<f64> {
    drive(framework, clients, time).await?;
    let mut rates = Vec::new();
    for _ in 0..repetitions {
        rates.push(drive(framework, clients, time).await?);
    }
    rates.sort_by(f64::total_cmp);
    Ok(rates[rates.len() / 2])
}

async fn drive(framework: &Framework, clients: &mut Vec<Client>, time: Duration) -> Result<f64> {
    let start = Instant::now();
    let before: usize = clients.iter().map(|it| it.done).sum();
    let mut working = tokio::task::JoinSet::new();
    for mut client in clients.drain(..) {
        let framework = framework.clone();
        working.spawn(async move {
            while start.elapsed() < time {
                client.step(&framework).await?;
            }
            anyhow::Ok(client)
        });
    }
    while let Some(client) = working.join_next().await {
        clients.push(client??);
    }
    let after: usize = clients.iter().map(|it| it.done).sum();
    Ok((after - before) as f64 / start.elapsed().as_secs_f64())
}
