//! A target that reads `profiles`: one row per event, so that an event applied twice breaks a key.

use chassis::{Service, Target};
use eventstore::{Consumer, Error, Handler, Migration, Recorded, Schema, Tx, View, values};
use std::sync::Arc;

/// Name of its consumer.
pub const CONSUMER: &str = "mirror.effects";

/// The row of the table of targets.
pub const TARGET: Target = Target { name: "mirror", schema, reasons: &[], service };

fn schema() -> Schema {
    Schema {
        migrations: vec![Migration::portable(
            "mirror/0001_effects",
            "CREATE TABLE effect (
                 position BIGINT PRIMARY KEY, event_id TEXT NOT NULL UNIQUE, stream TEXT NOT NULL)",
        )],
        ..Schema::default()
    }
}

fn service(_: &chassis::Deps) -> Service {
    Service::new().consume(Consumer {
        name: CONSUMER.into(),
        sources: vec!["profiles".into()],
        handler: Handler::View(Arc::new(Effects)),
    })
}

struct Effects;

impl View for Effects {
    fn name(&self) -> &'static str {
        "effects"
    }

    fn tables(&self) -> &'static [&'static str] {
        &["effect"]
    }

    fn apply<'a>(
        &'a self,
        tx: &'a mut Tx,
        events: &'a [Recorded],
    ) -> futures::future::BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let rows = events
                .iter()
                .map(|it| values![it.position, &it.envelope.id, &it.envelope.stream])
                .collect();
            tx.insert_many("INSERT INTO effect (position, event_id, stream)", rows, "")
                .await
                .map(drop)
        })
    }
}
