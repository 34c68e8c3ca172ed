//! A store on any pair of adapters, with a small aggregate and a view to exercise it.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use eventstore::testing::{NatsServer, Postgres};
use eventstore::{
    About, Clock, CommitOptions, DatabaseOptions, Decider, Error, Ids, Log, Metadata, Migration,
    NatsOptions, Recorded, Schema, Secret, Store, StoreOptions, TimerOp, Timestamp, Tx, View,
    values,
};
use futures::future::BoxFuture;
use rapport_proto::Personal;
use rapport_proto::profiles::v1::party_event::Event;
use rapport_proto::profiles::v1::{
    PartyContactPointAdded, PartyMoved, PartyRegistered, PartySuppressed,
};
use rapport_proto::types::Actor;

/// 2027-01-15T08:00:00Z.
pub(crate) const START: Timestamp = Timestamp(1_800_000_000_000_000);

/// The servers are started once for all tests of this binary.
pub(crate) static POSTGRES: LazyLock<Postgres> = LazyLock::new(Postgres::start);
static NATS: LazyLock<NatsServer> = LazyLock::new(NatsServer::start);
static NATS_2_9: LazyLock<NatsServer> = LazyLock::new(NatsServer::start_2_9);

/// A pair of adapters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pair {
    SqliteLocal,
    SqliteNats29,
    PostgresLocal,
    PostgresNats,
}

/// Runs a generic test on every pair.
#[macro_export]
macro_rules! on_every_pair {
    ($($name:ident)*) => {$(
        mod $name {
            use $crate::rig::Pair;
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite_local() {
                super::$name($crate::rig::Rig::new(Pair::SqliteLocal).await).await;
            }
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite_nats_2_9() {
                super::$name($crate::rig::Rig::new(Pair::SqliteNats29).await).await;
            }
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres_local() {
                super::$name($crate::rig::Rig::new(Pair::PostgresLocal).await).await;
            }
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres_nats() {
                super::$name($crate::rig::Rig::new(Pair::PostgresNats).await).await;
            }
        }
    )*};
}

/// What a test of the suite runs on.
pub(crate) struct Rig {
    pub(crate) database: String,
    pub(crate) nats: Option<NatsOptions>,
    pub(crate) clock: Clock,
    pub(crate) store: Store,
    folder: tempfile::TempDir,
}

impl Rig {
    pub(crate) async fn new(pair: Pair) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = match pair {
            Pair::SqliteLocal | Pair::SqliteNats29 => {
                format!("sqlite://{}", folder.path().join("store.db").display())
            }
            Pair::PostgresLocal | Pair::PostgresNats => POSTGRES.database(),
        };
        let nats = match pair {
            Pair::SqliteLocal | Pair::PostgresLocal => None,
            Pair::SqliteNats29 => Some(&*NATS_2_9),
            Pair::PostgresNats => Some(&*NATS),
        };
        let nats = nats.map(|it| options(&it.url()));
        let clock = Clock::manual(START);
        let store = open(&database, log(nats.as_ref()).await, &clock, Ids::system()).await.unwrap();
        Self { database, nats, clock, store, folder }
    }

    /// Another replica of the same service.
    pub(crate) async fn replica(&self) -> Store {
        open(&self.database, log(self.nats.as_ref()).await, &self.clock, Ids::system())
            .await
            .unwrap()
    }

    /// A store of another service beside it, on the same log.
    pub(crate) async fn neighbour(&self, name: &str) -> Store {
        let database = if self.database.starts_with("sqlite") {
            format!("sqlite://{}", self.folder.path().join(format!("{name}.db")).display())
        } else {
            POSTGRES.database()
        };
        let options = store_options(name, &database, self.store.log().clone(), &self.clock);
        Store::open(options, schema()).await.unwrap()
    }

    pub(crate) fn is_remote(&self) -> bool {
        self.nats.is_some()
    }
}

/// Options under a prefix of its own, so that tests share a server.
pub(crate) fn options(url: &str) -> NatsOptions {
    let prefix = Ids::system().random("t").replace('_', "");
    NatsOptions { prefix, timeout: Duration::from_secs(20), ..NatsOptions::new(url) }
}

pub(crate) async fn log(options: Option<&NatsOptions>) -> Log {
    match options {
        None => Log::local(),
        Some(it) => Log::nats(it.clone()).await.unwrap(),
    }
}

pub(crate) fn store_options(source: &str, database: &str, log: Log, clock: &Clock) -> StoreOptions {
    StoreOptions {
        source: source.to_owned(),
        database: DatabaseOptions::new(database),
        migrate: true,
        commit: CommitOptions::default(),
        kms: Some(Secret::new([7; 32]).into()),
        clock: clock.clone(),
        ids: Ids::system(),
        log,
    }
}

pub(crate) async fn open(
    database: &str,
    log: Log,
    clock: &Clock,
    ids: Ids,
) -> Result<Store, Error> {
    let options = StoreOptions { ids, ..store_options("profiles", database, log, clock) };
    Store::open(options, schema()).await
}

pub(crate) fn schema() -> Schema {
    Schema {
        migrations: vec![Migration::portable(
            "test/0001",
            "CREATE TABLE place (tenant TEXT NOT NULL, id TEXT NOT NULL, market TEXT NOT NULL,
                 moves BIGINT NOT NULL, position BIGINT NOT NULL, PRIMARY KEY (tenant, id));
             CREATE TABLE taken (tenant TEXT NOT NULL, language TEXT NOT NULL,
                 PRIMARY KEY (tenant, language));",
        )],
        views: vec![Box::new(Places)],
    }
}

/// A party that lives somewhere and moves; the smallest aggregate with a refusal and a secret.
pub(crate) struct Place;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Opens the stream; a language is unique in the tenant when it is not empty.
    Open { language: String },
    /// Moves; already there is no event.
    Move(String),
    /// As many moves as asked, for large units.
    MoveOften(usize),
    /// A secret of some size.
    Hide(String),
    /// Sets the timer at an instant stated in microseconds.
    Remind(i64),
    /// What the timer fires.
    Close,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) open: bool,
    pub(crate) market: String,
    pub(crate) moves: u64,
    pub(crate) secret: String,
    pub(crate) closed: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("not open")]
    NotOpen,
    #[error("open already")]
    OpenAlready,
}

fn moved(market: &str) -> Event {
    Event::Moved(PartyMoved { market: market.into(), ..PartyMoved::default() })
}

impl Decider for Place {
    const AGGREGATE: &'static str = "party";
    type Command = Command;
    type State = State;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(state: &State, command: Command, _: Timestamp) -> Result<Vec<Event>, Refusal> {
        Ok(match command {
            Command::Open { .. } if state.open => return Err(Refusal::OpenAlready),
            Command::Open { language } => {
                vec![Event::Registered(PartyRegistered { language, ..PartyRegistered::default() })]
            }
            _ if !state.open => return Err(Refusal::NotOpen),
            Command::Move(market) if market == state.market => Vec::new(),
            Command::Move(market) => vec![moved(&market)],
            Command::MoveOften(times) => (0..times).map(|it| moved(&format!("{it}"))).collect(),
            Command::Hide(secret) => {
                vec![Event::ContactPointAdded(PartyContactPointAdded {
                    contact_point_id: "cpt".into(),
                    value: Some(Personal::text(secret)),
                    ..PartyContactPointAdded::default()
                })]
            }
            Command::Remind(due) => {
                vec![Event::Moved(PartyMoved {
                    market: state.market.clone(),
                    language: format!("remind {due}"),
                    ..PartyMoved::default()
                })]
            }
            Command::Close => {
                vec![Event::Suppressed(PartySuppressed { reason: "closed".into() })]
            }
        })
    }

    fn evolve(mut state: State, event: &Event) -> State {
        match event {
            Event::Registered(_) => state.open = true,
            Event::Moved(it) => {
                state.market.clone_from(&it.market);
                state.moves += 1;
            }
            Event::ContactPointAdded(it) => {
                let text = it.value.as_ref().and_then(Personal::as_text);
                state.secret = text.unwrap_or("(unreadable)").to_owned();
            }
            Event::Suppressed(_) => state.closed += 1,
            _ => {}
        }
        state
    }

    fn about(id: &str, _: &State, _: &Event) -> About {
        About { party_id: id.to_owned(), ..About::default() }
    }
}

/// Counts moves per party; refuses a language that is taken.
pub(crate) struct Places;

impl View for Places {
    fn name(&self) -> &'static str {
        "places"
    }

    fn tables(&self) -> &'static [&'static str] {
        &["place", "taken"]
    }

    fn apply<'a>(
        &'a self,
        tx: &'a mut Tx,
        events: &'a [Recorded],
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let mut rows = std::collections::BTreeMap::new();
            for event in events {
                let tenant = event.envelope.tenant.clone();
                match event.decode::<Event>()? {
                    Some(Event::Registered(it)) if !it.language.is_empty() => {
                        if it.language == "poison" {
                            return Err(Error::corrupt("poison"));
                        }
                        assert!(it.language != "panic", "this view panics");
                        let written = tx
                            .exec(
                                "INSERT INTO taken (tenant, language) VALUES ($1, $2)
                                 ON CONFLICT DO NOTHING",
                                values![&tenant, &it.language],
                            )
                            .await?;
                        if written == 0 {
                            return Err(Error::refused("LANGUAGE_TAKEN"));
                        }
                    }
                    Some(Event::Moved(it)) => {
                        let row = rows
                            .entry((tenant, event.id().to_owned()))
                            .or_insert_with(|| (String::new(), 0_u64, 0_u64));
                        *row = (it.market, row.1 + 1, event.position);
                    }
                    _ => {}
                }
            }
            let rows = rows
                .into_iter()
                .map(|((tenant, id), it)| values![tenant, id, it.0, it.1, it.2])
                .collect();
            tx.insert_many(
                "INSERT INTO place (tenant, id, market, moves, position)",
                rows,
                "ON CONFLICT (tenant, id) DO UPDATE SET market = excluded.market,
                     moves = place.moves + excluded.moves, position = excluded.position",
            )
            .await
            .map(drop)
        })
    }

    fn timers(&self, event: &Recorded) -> Result<Vec<TimerOp>, Error> {
        let Some(Event::Moved(it)) = event.decode::<Event>()? else { return Ok(Vec::new()) };
        let Some(due) = it.language.strip_prefix("remind ") else { return Ok(Vec::new()) };
        let id = event.id().to_owned();
        Ok(match due.parse() {
            Ok(0) | Err(_) => vec![TimerOp::Cancel { id }],
            Ok(due) => vec![TimerOp::Set {
                id,
                kind: "reminder",
                stream: event.envelope.stream.clone(),
                due_at: Timestamp(due),
            }],
        })
    }
}

/// Metadata of a command with a request id.
pub(crate) fn meta(request_id: &str) -> Metadata {
    meta_of("default", request_id)
}

pub(crate) fn meta_of(tenant: &str, request_id: &str) -> Metadata {
    Metadata {
        tenant: tenant.into(),
        actor: Actor { subject: "tester".into(), ..Actor::default() },
        method: "test".into(),
        request_id: request_id.into(),
        request_digest: request_id.as_bytes().to_vec(),
        at: START,
        ..Metadata::default()
    }
}

/// Opens a party and moves it `moves` times, one command each.
pub(crate) async fn fill(store: &Store, id: &str, moves: usize) {
    let open = Command::Open { language: String::new() };
    store.execute::<Place>(id, &meta(&format!("{id}-open")), open).await.unwrap();
    for number in 0..moves {
        let command = Command::Move(format!("m{number}"));
        store.execute::<Place>(id, &meta(&format!("{id}-{number}")), command).await.unwrap();
    }
}

/// The rows of the view, in key order.
pub(crate) async fn places(store: &Store) -> Vec<eventstore::Row> {
    store
        .query("SELECT tenant, id, market, moves, position FROM place ORDER BY tenant, id", vec![])
        .await
        .unwrap()
}

/// Waits for a condition, at most two minutes.
pub(crate) async fn eventually<F: Future<Output = bool>>(
    what: &str,
    mut condition: impl FnMut() -> F,
) {
    let give_up = tokio::time::Instant::now() + Duration::from_secs(120);
    while !condition().await {
        assert!(tokio::time::Instant::now() < give_up, "not within 120 s: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A producer that reads the store of this process: what gRPC does between processes.
pub(crate) struct Direct(pub(crate) Store);

impl eventstore::SourceReader for Direct {
    fn read<'a>(
        &'a self,
        _: &'a str,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<eventstore::Stored>, Error>> {
        Box::pin(self.0.read(after, limit))
    }
}

pub(crate) fn direct(store: &Store) -> Arc<dyn eventstore::SourceReader> {
    Arc::new(Direct(store.clone()))
}
