//! Experiments, and how they were closed.

use eventstore::{Database, Error, Recorded, Row, Timestamp, Tx, values};
use prost::Message as _;
use rapport_proto::kpis::v1::experiment_event::Event;
use rapport_proto::kpis::v1::{Experiment, ExperimentClosed};

pub(super) async fn apply(tx: &mut Tx, events: &[&Recorded]) -> Result<(), Error> {
    for event in events {
        let tenant = &event.envelope.tenant;
        match event.decode()? {
            Some(Event::Started(it)) => {
                let document = it.experiment.unwrap_or_default().encode_to_vec();
                let none: &[u8] = &[];
                let at = event.recorded_at();
                tx.insert_many(
                    "INSERT INTO experiment (tenant, experiment, started_at, closed_at, document, closed)",
                    vec![values![tenant, event.id(), at, Timestamp::MAX, document, none]],
                    "ON CONFLICT (tenant, experiment) DO NOTHING",
                )
                .await?;
            }
            Some(Event::Closed(it)) => {
                tx.exec(
                    "UPDATE experiment SET closed_at = $3, closed = $4
                     WHERE tenant = $1 AND experiment = $2",
                    values![tenant, event.id(), event.recorded_at(), it.encode_to_vec()],
                )
                .await?;
            }
            None => {}
        }
    }
    Ok(())
}

/// An experiment and when it ran.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) document: Experiment,
    pub(crate) started_at: Timestamp,
    pub(crate) closed_at: Timestamp,
    pub(crate) closed: Option<ExperimentClosed>,
}

/// Experiments after one, in the order of their ids.
pub(crate) async fn list(
    database: &Database,
    tenant: &str,
    after: &str,
    limit: u32,
) -> Result<Vec<Kept>, Error> {
    let rows = database
        .query(
            "SELECT document, started_at, closed_at, closed FROM experiment
             WHERE tenant = $1 AND experiment > $2 ORDER BY experiment LIMIT $3",
            values![tenant, after, limit],
        )
        .await?;
    rows.iter().map(read).collect()
}

/// One experiment.
pub(crate) async fn find(
    database: &Database,
    tenant: &str,
    experiment: &str,
) -> Result<Option<Kept>, Error> {
    let rows = database
        .query(
            "SELECT document, started_at, closed_at, closed FROM experiment
             WHERE tenant = $1 AND experiment = $2",
            values![tenant, experiment],
        )
        .await?;
    rows.first().map(read).transpose()
}

fn read(row: &Row) -> Result<Kept, Error> {
    let corrupt = |it: prost::DecodeError| Error::corrupt(format!("an experiment: {it}"));
    let closed_at = row.time(2)?;
    let closed = (closed_at < Timestamp::MAX)
        .then(|| ExperimentClosed::decode(row.blob(3)?).map_err(corrupt))
        .transpose()?;
    Ok(Kept {
        document: Experiment::decode(row.blob(0)?).map_err(corrupt)?,
        started_at: row.time(1)?,
        closed_at,
        closed,
    })
}
