//! A chain over killed servers: facts of one service, reactions of another, timers that follow. Nothing is missed, done
//! twice, or parked for what was the servers' trouble.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use eventstore::consumer::{self, list_parked, read_checkpoint};
use eventstore::testing::{NatsServer, Postgres};
use eventstore::{
    AsOf, Clock, Consumer, Decider as _, Error, ExecuteError, Handler, Metadata, NatsOptions,
    Reactor, Recorded, Store, StoreOptions, Timer, TimerHandler, Unit, timers,
};
use futures::future::BoxFuture;

use crate::logs::line::{Load, Running, accounted, everything, grows_to};
use crate::rig::{Command, Place, START, direct, eventually, log, options, schema, store_options};

const NAME: &str = "mirror";

/// Opens a party for each that is registered, and reminds itself at once to close it.
struct Mirror;

impl Reactor for Mirror {
    fn reads(&self, type_name: &str) -> bool {
        type_name.ends_with(".PartyRegistered")
    }

    fn lane<'e>(&self, event: &'e Recorded) -> Option<&'e str> {
        Some(&event.envelope.stream)
    }

    fn react<'a>(
        &'a self,
        store: &'a Store,
        event: &'a Recorded,
        meta: Metadata,
    ) -> BoxFuture<'a, Result<Option<Unit>, Error>> {
        Box::pin(async move {
            let loaded = store.load::<Place>(&meta.tenant, event.id(), AsOf::Now).await?;
            let open = Command::Open { language: String::new() };
            let mut events = Place::decide(&loaded.state, open, meta.at)
                .map_err(|it| Error::corrupt(it.to_string()))?;
            let opened = events.iter().fold(loaded.state.clone(), Place::evolve);
            let remind = Command::Remind(START.0);
            events.extend(
                Place::decide(&opened, remind, meta.at)
                    .map_err(|it| Error::corrupt(it.to_string()))?,
            );
            let mut unit = store.unit(meta);
            unit.push::<Place>(event.id(), loaded.version, &loaded.state, events)
                .await
                .map_err(|it| Error::corrupt(it.to_string()))?;
            unit.finish().map(Some).map_err(|it| Error::corrupt(it.to_string()))
        })
    }
}

struct Closing;

impl TimerHandler for Closing {
    fn fire<'a>(
        &'a self,
        store: &'a Store,
        timer: &'a Timer,
        meta: Metadata,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let id = timer.stream.trim_start_matches("party/");
            match store.execute::<Place>(id, &meta, Command::Close).await {
                Ok(_) | Err(ExecuteError::Superseded) => Ok(()),
                Err(ExecuteError::Store(error)) => Err(error),
                Err(ExecuteError::Conflict) => Err(Error::unavailable("it kept changing")),
                Err(error) => Err(Error::corrupt(error.to_string())),
            }
        })
    }
}

async fn open(source: &str, database: &str, nats: &NatsOptions, clock: &Clock) -> Store {
    let options: StoreOptions = store_options(source, database, log(Some(nats)).await, clock);
    Store::open(options, schema()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_missed_or_parked_while_servers_are_killed() {
    let (mut postgres, mut server) = (Postgres::start(), NatsServer::start());
    let (nats, clock) = (options(&server.url()), Clock::manual(START));
    let producer = open("profiles", &postgres.database(), &nats, &clock).await;
    let mirror = open(NAME, &postgres.database(), &nats, &clock).await;
    let reactor = Consumer {
        name: NAME.into(),
        sources: vec!["profiles".into()],
        handler: Handler::Reactor(Arc::new(Mirror)),
    };
    let running = [
        Running::relay(&producer),
        Running::relay(&mirror),
        Running::new(|stop| {
            let (store, producer) = (mirror.clone(), direct(&producer));
            consumer::run(store, reactor, "profiles".into(), producer, stop)
        }),
        Running::new(|stop| timers::run(mirror.clone(), Arc::new(Closing), stop)),
    ];
    let load = Load::start(std::slice::from_ref(&producer), "p", 4, 400);
    for round in 1..=6 {
        grows_to(&producer, round * 300).await;
        match round % 3 {
            0 => {
                postgres.stop_at_once();
                server.kill();
                postgres.launch();
                server.launch();
            }
            1 => {
                postgres.stop_at_once();
                tokio::time::sleep(Duration::from_millis(200)).await;
                postgres.launch();
            }
            _ => {
                server.kill();
                tokio::time::sleep(Duration::from_millis(200)).await;
                server.launch();
            }
        }
    }
    load.done().await;
    let head = producer.read_head().await.unwrap();
    let handled =
        async || read_checkpoint(&mirror, NAME, "profiles").await.is_ok_and(|it| it == head);
    eventually("everything is handled", handled).await;
    let fired = async || mirror.next_due().await.is_ok_and(|it| it.is_none());
    eventually("everything fired", fired).await;
    for it in running {
        it.stop().await;
    }
    assert_eq!(list_parked(&mirror, 10).await.unwrap(), []);
    assert_eq!(timers::list_parked(&mirror, 10).await.unwrap(), []);
    let registered: Vec<_> = of_streams(&producer).await.into_keys().collect();
    let mirrored = of_streams(&mirror).await;
    assert_eq!(mirrored.keys().cloned().collect::<Vec<_>>(), registered);
    for (stream, events) in mirrored {
        assert_eq!(events, ["PartyRegistered", "PartyMoved", "PartySuppressed"], "{stream}");
    }
    accounted(&everything(&mirror).await);
    mirror.verify().await.unwrap().unwrap();
}

/// What happened to each stream, in order.
async fn of_streams(store: &Store) -> BTreeMap<String, Vec<String>> {
    let mut streams: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for event in everything(store).await {
        let envelope = event.envelope().unwrap();
        let kind = envelope.r#type.rsplit('.').next().unwrap().to_owned();
        streams.entry(envelope.stream).or_default().push(kind);
    }
    streams
}
