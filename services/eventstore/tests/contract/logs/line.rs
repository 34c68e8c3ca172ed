//! A producer that relays, a consumer of another service that counts, and a load: what faults are
//! thrown at, and what must hold after every one of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command as Program;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream;
use eventstore::consumer::read_checkpoint;
use eventstore::testing::NatsServer;
use eventstore::{
    Clock, Consumer, Error, ExecuteError, Executed, Handler, Ids, Log, Migration, NatsOptions,
    Recorded, Row, Schema, Store, Stored, Tx, View, relay, values,
};
use futures::StreamExt as _;
use futures::future::{BoxFuture, join_all};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::rig::{
    Command, POSTGRES, Place, Places, START, State, direct, eventually, log, meta, open, options,
    places, store_options,
};

/// Which database the producer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    Sqlite,
    Postgres,
}

/// Runs a generic test on SQLite with nats-server 2.9 and on PostgreSQL with a current one, each
/// server started for this test alone.
#[macro_export]
macro_rules! on_both_servers {
    ($($name:ident)*) => {$(
        mod $name {
            use eventstore::testing::NatsServer;
            use $crate::logs::line::On;
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite_nats_2_9() {
                super::$name(NatsServer::start_2_9(), On::Sqlite).await;
            }
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres_nats() {
                super::$name(NatsServer::start(), On::Postgres).await;
            }
        }
    )*};
}

/// A task that runs until it is told to stop, or dropped.
pub(crate) struct Running {
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl Running {
    pub(crate) fn new<F: Future<Output = ()> + Send + 'static>(
        work: impl FnOnce(CancellationToken) -> F,
    ) -> Self {
        let stop = CancellationToken::new();
        let task = Some(tokio::spawn(work(stop.clone())));
        Self { stop, task }
    }

    pub(crate) fn relay(store: &Store) -> Self {
        let store = store.clone();
        Self::new(|stop| relay::run(store, stop))
    }

    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take() {
            task.await.unwrap();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A relayed store and a counter behind the log.
pub(crate) struct Line {
    pub(crate) on: On,
    pub(crate) database: String,
    pub(crate) nats: NatsOptions,
    pub(crate) clock: Clock,
    pub(crate) store: Store,
    pub(crate) counter: Counter,
    pub(crate) relay: Option<Running>,
    pub(crate) folder: tempfile::TempDir,
}

impl Line {
    pub(crate) async fn start(server: &NatsServer, on: On) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = match on {
            On::Sqlite => format!("sqlite://{}", folder.path().join("store.db").display()),
            On::Postgres => POSTGRES.database(),
        };
        Self::over(options(&server.url()), on, database, folder).await
    }

    pub(crate) async fn over(
        nats: NatsOptions,
        on: On,
        database: String,
        folder: tempfile::TempDir,
    ) -> Self {
        let clock = Clock::manual(START);
        let store = open(&database, log(Some(&nats)).await, &clock, Ids::system()).await.unwrap();
        let relay = Some(Running::relay(&store));
        let counter = Counter::start(&nats, folder.path(), &store).await;
        Self { on, database, nats, clock, store, counter, relay, folder }
    }

    /// Another replica, with a connection to the log of its own.
    pub(crate) async fn replica(&self) -> Store {
        self.reopen(&self.database).await.unwrap()
    }

    pub(crate) async fn reopen(&self, database: &str) -> Result<Store, Error> {
        open(database, log(Some(&self.nats)).await, &self.clock, Ids::system()).await
    }

    /// Stops relay and counter and closes the store.
    pub(crate) async fn close(&mut self) {
        if let Some(relay) = self.relay.take() {
            relay.stop().await;
        }
        self.counter.pause().await;
        self.store.close().await;
    }

    /// Goes on with a database, relay and counter.
    pub(crate) async fn go_on(&mut self, database: &str) -> Result<(), Error> {
        self.store = self.reopen(database).await?;
        database.clone_into(&mut self.database);
        self.relay = Some(Running::relay(&self.store));
        self.counter.resume(&self.store);
        Ok(())
    }

    /// Copies the database of a closed store; returns the copy's URL.
    pub(crate) async fn copy_database(&self) -> String {
        match self.on {
            On::Sqlite => {
                let copy = self.folder.path().join("older.db");
                let store = self.folder.path().join("store.db");
                // A connection that was dropped closes its file a moment later.
                let log = store.with_extension("db-wal");
                eventually("the store is closed", || async { !log.exists() }).await;
                std::fs::copy(store, &copy).unwrap();
                format!("sqlite://{}", copy.display())
            }
            On::Postgres => {
                let name = self.database.rsplit('/').next().unwrap();
                let copy = format!("{name}_older");
                POSTGRES.psql("postgres", &format!("CREATE DATABASE {copy} TEMPLATE {name}"));
                POSTGRES.url(&copy)
            }
        }
    }

    pub(crate) async fn stream(&self) -> jetstream::stream::Stream {
        stream(&self.nats).await
    }

    /// Waits until the log and the counter have what the store has, then looks at everything: the
    /// stream holds the store's bytes at every position, the counter each event once and in order.
    /// Only messages that the test deleted may be missing from the stream.
    pub(crate) async fn settles(&self, deleted: &[u64]) {
        let head = self.store.verify().await.unwrap().unwrap();
        let last = || async {
            let tail = self.store.log().tail(self.store.source()).await;
            matches!(tail, Ok(Some(it)) if it.last == head.position)
        };
        eventually("the log has what the store has", last).await;
        let events = everything(&self.store).await;
        let stream = self.stream().await;
        let seen: Vec<_> = futures::stream::iter(&events)
            .map(|event| on_the_log(&stream, event.position))
            .buffered(64)
            .collect()
            .await;
        for (event, seen) in events.iter().zip(seen) {
            match seen {
                Some(it) => assert_eq!(it, *event, "position {}", event.position),
                None => assert!(deleted.contains(&event.position), "{} is gone", event.position),
            }
        }
        self.counter.agrees(&self.store).await;
        accounted(&events);
        let before = places(&self.store).await;
        self.store.rebuild(&Places).await.unwrap();
        assert_eq!(places(&self.store).await, before, "the view is what a rebuild makes");
    }
}

/// The stream of the tests' source.
pub(crate) async fn stream(nats: &NatsOptions) -> jetstream::stream::Stream {
    let servers: Vec<_> = nats.url.split(',').collect();
    let context = jetstream::new(async_nats::connect(servers).await.unwrap());
    context.get_stream(format!("{}-profiles", nats.prefix)).await.unwrap()
}

async fn on_the_log(stream: &jetstream::stream::Stream, position: u64) -> Option<Stored> {
    let message = stream.get_raw_message(position).await.ok()?;
    let chain = message.headers.get("rapport-chain").unwrap().as_str();
    let chain: Vec<u8> =
        (0..32).map(|it| u8::from_str_radix(&chain[it * 2..it * 2 + 2], 16).unwrap()).collect();
    Some(Stored {
        position: message.sequence,
        chain: chain.try_into().unwrap(),
        envelope: message.payload,
        hop: String::new(),
    })
}

/// Every event of a store.
pub(crate) async fn everything(store: &Store) -> Vec<Stored> {
    let mut events: Vec<Stored> = Vec::new();
    loop {
        let page = store.read(events.len() as u64, 1_000).await.unwrap();
        if page.is_empty() {
            return events;
        }
        events.extend(page);
    }
}

/// Every unit is whole, stands together and was committed once. Returns where each request ended.
pub(crate) fn accounted(events: &[Stored]) -> BTreeMap<String, u64> {
    let mut requests = BTreeMap::new();
    let mut rest = events;
    while let Some(first) = rest.first() {
        let first = first.envelope().unwrap();
        let (unit, more) = rest.split_at(first.unit_size as usize);
        for (index, event) in (0..).zip(unit) {
            let it = event.envelope().unwrap();
            assert_eq!((it.unit_index, &it.request_id), (index, &first.request_id));
        }
        let last = unit.last().unwrap().position;
        let twice = requests.insert(first.request_id.clone(), last);
        assert_eq!(twice, None, "{} was committed twice", first.request_id);
        rest = more;
    }
    requests
}

/// A consumer in a store of its own that writes down every application of every event.
pub(crate) struct Counter {
    store: Store,
    running: Option<Running>,
}

impl Counter {
    /// Starts one from the beginning of the source.
    pub(crate) async fn start(nats: &NatsOptions, folder: &Path, producer: &Store) -> Self {
        let name = Ids::system().random("kpis");
        let database = format!("sqlite://{}", folder.join(format!("{name}.db")).display());
        let clock = Clock::manual(START);
        let options = store_options("kpis", &database, log(Some(nats)).await, &clock);
        let table = "CREATE TABLE seen (step BIGINT PRIMARY KEY, position BIGINT NOT NULL,
             id TEXT NOT NULL)";
        let schema = Schema {
            migrations: vec![Migration::portable("test/seen", table)],
            ..Schema::default()
        };
        let mut counter =
            Self { store: Store::open(options, schema).await.unwrap(), running: None };
        counter.resume(producer);
        counter
    }

    pub(crate) fn resume(&mut self, producer: &Store) {
        let consumer = Consumer {
            name: "counting".into(),
            sources: vec!["profiles".into()],
            handler: Handler::View(Arc::new(Seen)),
        };
        let (store, producer) = (self.store.clone(), direct(producer));
        self.running = Some(Running::new(|stop| {
            eventstore::consumer::run(store, consumer, "profiles".into(), producer, stop)
        }));
    }

    pub(crate) async fn pause(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
    }

    pub(crate) async fn position(&self) -> u64 {
        read_checkpoint(&self.store, "counting", "profiles").await.unwrap().position
    }

    /// It comes to where the producer is, having applied each event once and in order.
    pub(crate) async fn agrees(&self, producer: &Store) {
        let head = producer.read_head().await.unwrap();
        let there = || async { self.position().await >= head.position };
        eventually("the consumer has what the store has", there).await;
        let checkpoint = read_checkpoint(&self.store, "counting", "profiles").await.unwrap();
        assert_eq!(checkpoint, head);
        let seen = "SELECT step, position, id FROM seen ORDER BY step";
        let seen = self.store.query(seen, vec![]).await.unwrap();
        let read = |row: &Row| {
            (row.count(0).unwrap(), row.count(1).unwrap(), row.text(2).unwrap().to_owned())
        };
        let seen: Vec<_> = seen.iter().map(read).collect();
        let wanted: Vec<_> = everything(producer)
            .await
            .iter()
            .map(|it| (it.position, it.position, it.envelope().unwrap().id))
            .collect();
        assert!(seen == wanted, "each event once and in order: {} of {}", seen.len(), wanted.len());
    }
}

/// One row per application, numbered: an event applied twice is there twice.
struct Seen;

impl View for Seen {
    fn name(&self) -> &'static str {
        "seen"
    }

    fn tables(&self) -> &'static [&'static str] {
        &["seen"]
    }

    fn apply<'a>(
        &'a self,
        tx: &'a mut Tx,
        events: &'a [Recorded],
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let rows = tx.query("SELECT COALESCE(MAX(step), 0) FROM seen", vec![]).await?;
            let steps = rows[0].count(0)? + 1;
            let rows = (steps..)
                .zip(events)
                .map(|(step, it)| values![step, it.position, &it.envelope.id])
                .collect();
            tx.insert_many("INSERT INTO seen (step, position, id)", rows, "").await.map(drop)
        })
    }
}

/// What a client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) party: String,
    pub(crate) request_id: String,
    pub(crate) command: Command,
    pub(crate) version: u64,
    pub(crate) position: u64,
    pub(crate) state: State,
}

/// Commands to one party: streams stay short, so that loading them costs little.
const COMMANDS: usize = 20;

/// Writers at work.
pub(crate) struct Load(Vec<JoinHandle<Vec<Reply>>>);

impl Load {
    /// Each writer opens parties of its own and sends commands of one to three events, one after
    /// another, to the stores in turn. What is unavailable is sent again with the same request id.
    pub(crate) fn start(stores: &[Store], name: &str, writers: usize, commands: usize) -> Self {
        let writer = |number: usize| {
            let (stores, name) = (stores.to_vec(), name.to_owned());
            async move {
                let mut replies = Vec::new();
                for turn in 0..commands {
                    let (party, step) = (turn / COMMANDS, turn % COMMANDS);
                    let command = match step {
                        0 => Command::Open { language: String::new() },
                        _ => Command::MoveOften(step % 3 + 1),
                    };
                    let store = &stores[(number + turn) % stores.len()];
                    let party = format!("{name}{number}-{party}");
                    replies.push(insist(store, &party, &step.to_string(), command).await);
                }
                replies
            }
        };
        Self((0..writers).map(|it| tokio::spawn(writer(it))).collect())
    }

    /// Every reply that was given.
    pub(crate) async fn done(self) -> Vec<Reply> {
        join_all(self.0).await.into_iter().flat_map(Result::unwrap).collect()
    }
}

/// Sends a command until it is answered, as a client does.
pub(crate) async fn insist(store: &Store, party: &str, id: &str, command: Command) -> Reply {
    let give_up = tokio::time::Instant::now() + Duration::from_secs(60);
    let request_id = format!("{party}-{id}");
    loop {
        match store.execute::<Place>(party, &meta(&request_id), command.clone()).await {
            Ok(done) => return reply(party, request_id, command, done),
            Err(ExecuteError::Store(error)) if error.is_transient() => {
                assert!(tokio::time::Instant::now() < give_up, "{request_id}: {}", error.chain());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => panic!("{request_id}: {error}"),
        }
    }
}

fn reply(party: &str, request_id: String, command: Command, done: Executed<State>) -> Reply {
    let Executed { version, position, state, .. } = done;
    Reply { party: party.to_owned(), request_id, command, version, position, state }
}

/// What was acknowledged is there once, and asking again gives the first reply.
pub(crate) async fn replies_hold(store: &Store, replies: &[Reply]) {
    let requests = accounted(&everything(store).await);
    for told in replies {
        assert_eq!(requests.get(&told.request_id), Some(&told.position), "{told:?}");
        let again = store
            .execute::<Place>(&told.party, &meta(&told.request_id), told.command.clone())
            .await
            .unwrap();
        assert!(again.repeated, "{told:?}");
        let again = reply(&told.party, told.request_id.clone(), told.command.clone(), again);
        assert_eq!(again, *told);
    }
}

/// Waits until a store has some events.
pub(crate) async fn grows_to(store: &Store, position: u64) {
    eventually("the load goes on", || async { store.head().position >= position }).await;
}

/// Copies a folder with owners and times.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    let copied = Program::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success(), "copy {}", from.display());
}

/// Puts an older copy of a folder in its place.
pub(crate) fn put_back(older: &Path, place: &Path) {
    std::fs::remove_dir_all(place).unwrap();
    std::fs::rename(older, place).unwrap();
}

/// The first events of a stream, on a stream under another prefix.
pub(crate) async fn copy_stream(from: &NatsOptions, events: u64) -> NatsOptions {
    let to = options(&from.url);
    let source = stream(from).await;
    let context = jetstream::new(async_nats::connect(&to.url).await.unwrap());
    let config = jetstream::stream::Config {
        name: format!("{}-profiles", to.prefix),
        subjects: vec![format!("{}.profiles.>", to.prefix)],
        ..Default::default()
    };
    context.create_stream(config).await.unwrap();
    for position in 1..=events {
        let message = source.get_raw_message(position).await.unwrap();
        let subject = message.subject.replacen(&from.prefix, &to.prefix, 1);
        let sent = context.publish_with_headers(subject, message.headers, message.payload).await;
        assert_eq!(sent.unwrap().await.unwrap().sequence, position);
    }
    to
}

/// A log that is none of the others.
pub(crate) fn another_log() -> Log {
    Log::local()
}
