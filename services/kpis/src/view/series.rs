//! The series of a tenant: built-in metrics, metrics in force, experiments.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use eventstore::{Database, Error, Row, Tx, digest, values};
use prost::Message as _;
use rapport_proto::kpis::v1::{Experiment, ExperimentClosed, Metric};

use crate::rollup::built_in;
use crate::rollup::definition::{Definition, Series, of_experiment};

const METRICS: &str = "SELECT version, document FROM live_metric WHERE tenant = $1 ORDER BY metric";
const EXPERIMENTS: &str =
    "SELECT document, closed FROM experiment WHERE tenant = $1 ORDER BY experiment";

/// What is fed, and up to where.
#[derive(Clone, Debug)]
pub(crate) struct Fed {
    pub(crate) compiled: Compiled,
    pub(crate) hash: [u8; 32],
    /// Positions after which nothing is added; none while it runs.
    pub(crate) until: Option<BTreeMap<String, u64>>,
}

/// A compiled document. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) enum Compiled {
    Metric(Arc<Definition>),
    Experiment(Arc<Series>),
}

impl Compiled {
    pub(crate) fn series(&self) -> &Series {
        match self {
            Self::Metric(it) => &it.series,
            Self::Experiment(it) => it,
        }
    }
}

impl Fed {
    pub(crate) fn series(&self) -> &Series {
        self.compiled.series()
    }

    /// Whether an event at a position of a source is still added.
    pub(crate) fn takes(&self, source: &str, position: u64) -> bool {
        let until = self.until.as_ref().map(|it| it.get(source).copied().unwrap_or_default());
        until.is_none_or(|it| position <= it)
    }
}

/// Compiled documents by their hash: compiling takes longer than a batch.
#[derive(Clone, Default)]
pub(crate) struct Cache(Arc<Mutex<HashMap<Named, Compiled>>>);

/// A document: its version, which an experiment has not, and its hash.
type Named = (u32, [u8; 32]);

/// Documents that are held; beyond that all are compiled anew.
const MOST_HELD: usize = 10_000;

impl Cache {
    /// Everything that a tenant's events feed, as a transaction sees it.
    pub(crate) async fn in_tx(&self, tx: &mut Tx, tenant: &str) -> Result<Vec<Fed>, Error> {
        let metrics = tx.query(METRICS, values![tenant]).await?;
        let experiments = tx.query(EXPERIMENTS, values![tenant]).await?;
        self.read(&metrics, &experiments)
    }

    /// The same as the database stands.
    pub(crate) async fn now(&self, database: &Database, tenant: &str) -> Result<Vec<Fed>, Error> {
        let metrics = database.query(METRICS, values![tenant]).await?;
        let experiments = database.query(EXPERIMENTS, values![tenant]).await?;
        self.read(&metrics, &experiments)
    }

    fn read(&self, metrics: &[Row], experiments: &[Row]) -> Result<Vec<Fed>, Error> {
        let mut all: Vec<Fed> = built_in::all().iter().map(fed).collect();
        for row in metrics {
            let version = u32::try_from(row.int(0)?).unwrap_or_default();
            let (bytes, hash) = (row.blob(1)?, digest(row.blob(1)?));
            let compiled = self.held((version, hash), || {
                let metric = Metric::decode(bytes).ok()?;
                Definition::compile(&metric, version).ok().map(Arc::new).map(Compiled::Metric)
            });
            // What a later release refuses is not fed; it can be seen in the metric's list of versions.
            all.extend(compiled.map(|compiled| Fed { compiled, hash, until: None }));
        }
        for row in experiments {
            let (bytes, hash) = (row.blob(0)?, digest(row.blob(0)?));
            let compiled = self.held((0, hash), || {
                let document = Experiment::decode(bytes).ok()?;
                of_experiment(&document).ok().map(Arc::new).map(Compiled::Experiment)
            });
            let closed = row.blob(1)?;
            let until = (!closed.is_empty())
                .then(|| ExperimentClosed::decode(closed).map(|it| it.positions))
                .transpose()
                .map_err(|it| Error::corrupt(format!("an experiment: {it}")))?;
            all.extend(compiled.map(|compiled| Fed { compiled, hash, until }));
        }
        Ok(all)
    }

    fn held(&self, name: Named, compile: impl FnOnce() -> Option<Compiled>) -> Option<Compiled> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = held.get(&name) {
            return Some(found.clone());
        }
        let Some(compiled) = compile() else {
            tracing::error!("a document in force does not compile, and feeds nothing");
            return None;
        };
        if held.len() >= MOST_HELD {
            held.clear();
        }
        held.insert(name, compiled.clone());
        Some(compiled)
    }
}

/// A built-in metric.
fn fed(definition: &Arc<Definition>) -> Fed {
    let (compiled, hash) = (Compiled::Metric(definition.clone()), definition.hash);
    Fed { compiled, hash, until: None }
}

/// The definition in force of a metric.
pub(crate) async fn live(
    cache: &Cache,
    database: &Database,
    tenant: &str,
    metric: &str,
) -> Result<Option<Arc<Definition>>, Error> {
    if let Some(found) = built_in::find(metric) {
        return Ok(Some(found.clone()));
    }
    let all = cache.now(database, tenant).await?;
    Ok(all.into_iter().find_map(|it| match it.compiled {
        Compiled::Metric(it) if it.metric.metric == metric => Some(it),
        Compiled::Metric(_) | Compiled::Experiment(_) => None,
    }))
}
