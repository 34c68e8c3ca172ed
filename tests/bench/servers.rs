//! PostgreSQL, nats-server and stores on them.

use std::sync::OnceLock;

use anyhow::Result;
use eventstore::testing::{NatsServer, Postgres};
use eventstore::{
    Clock, CommitOptions, DatabaseOptions, Ids, Log, NatsOptions, Schema, Secret, Store,
    StoreOptions,
};

/// Servers, each started when it is first needed.
#[derive(Default)]
pub(crate) struct Servers {
    postgres: OnceLock<Postgres>,
    nats: OnceLock<NatsServer>,
}

impl Servers {
    pub(crate) fn postgres(&self) -> &Postgres {
        self.postgres.get_or_init(Postgres::start)
    }

    pub(crate) fn nats(&self) -> &NatsServer {
        self.nats.get_or_init(NatsServer::start)
    }

    /// The log under a prefix that nobody used before.
    pub(crate) fn fresh_log(&self) -> NatsOptions {
        let prefix = Ids::system().random("bench").replace('_', "");
        NatsOptions { prefix, ..NatsOptions::new(self.nats().url()) }
    }
}

/// Opens a store on the system clock.
pub(crate) async fn open(
    source: &str,
    database: &str,
    schema: Schema,
    log: Log,
    commit: CommitOptions,
) -> Result<Store> {
    let options = StoreOptions {
        source: source.to_owned(),
        database: DatabaseOptions::new(database),
        migrate: true,
        commit,
        kms: Some(Secret::new([7; 32]).into()),
        clock: Clock::system(),
        ids: Ids::system(),
        log,
    };
    Ok(Store::open(options, schema).await?)
}
