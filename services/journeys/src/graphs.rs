//! The definitions that instances run on, and what their versions let happen.
//!
//! A definition is read once: a version never changes. What it lets happen does, and another replica may have changed it
//! a moment ago: what is remembered of that may be old. So nobody acts on it alone. Whoever commits a step or an entry
//! by it insists, in the same unit, on the version of the journey's stream at which it was read; if the stream has moved
//! since, the unit conflicts, what was remembered is forgotten, and the step is decided anew. What is not committed, the
//! answer that a version lets nobody in or stands still, is always read.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use eventstore::{AsOf, Error, Store};

use crate::domain::journey::Journey;
use crate::graph::{Graph, Names};
use crate::view;
use crate::view::journey::Standing;

/// Definitions and journeys kept in memory, at most.
const KEPT: usize = 1_000;

type Key = (String, String, u32);
type Standings = Arc<BTreeMap<u32, Standing>>;

/// Definitions by tenant, journey and version; standings by tenant and journey. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Graphs {
    store: Store,
    read: Arc<Mutex<HashMap<Key, Arc<Graph>>>>,
    standings: Arc<Mutex<HashMap<(String, String), Standings>>>,
}

impl Graphs {
    pub(crate) fn new(store: &Store) -> Self {
        Self { store: store.clone(), read: Arc::default(), standings: Arc::default() }
    }

    /// A definition. It was checked before it was saved, so one that cannot be read is damaged.
    pub(crate) async fn get(
        &self,
        tenant: &str,
        journey_id: &str,
        version: u32,
    ) -> Result<Arc<Graph>, Error> {
        let key = (tenant.to_owned(), journey_id.to_owned(), version);
        if let Some(graph) = lock(&self.read).get(&key) {
            return Ok(graph.clone());
        }
        let journey = self.store.load::<Journey>(tenant, journey_id, AsOf::Now).await?.state;
        let definition = journey.definitions.get(&version);
        let graph = definition.and_then(|it| Graph::compile(it, &Names::default()).ok());
        let graph = Arc::new(graph.ok_or_else(|| {
            Error::corrupt(format!("version {version} of journey {journey_id} cannot be read"))
        })?);
        keep(&self.read, key, graph.clone());
        Ok(graph)
    }

    /// The version that lets parties in, with its standing, which may be old. That there is none is read.
    pub(crate) async fn entering(
        &self,
        tenant: &str,
        journey_id: &str,
    ) -> Result<Option<(u32, Standing)>, Error> {
        let enters = |all: &Standings| {
            let mut newest_first = all.iter().rev();
            let found = newest_first.find(|(_, it)| it.enters && it.moves())?;
            Some((*found.0, found.1.clone()))
        };
        if let Some(found) = self.remembered(tenant, journey_id).as_ref().and_then(enters) {
            return Ok(Some(found));
        }
        Ok(enters(&self.look(tenant, journey_id).await?))
    }

    /// What a version lets happen, which may be old if it moves; `None` when it never went live.
    pub(crate) async fn standing(
        &self,
        tenant: &str,
        journey_id: &str,
        version: u32,
    ) -> Result<Option<Standing>, Error> {
        let remembered = self.remembered(tenant, journey_id);
        let of = |all: &Standings| all.get(&version).cloned();
        if let Some(found) = remembered.as_ref().and_then(of).filter(Standing::moves) {
            return Ok(Some(found));
        }
        Ok(of(&self.look(tenant, journey_id).await?))
    }

    /// What was remembered of a journey was old.
    pub(crate) fn forget(&self, tenant: &str, journey_id: &str) {
        lock(&self.standings).remove(&(tenant.to_owned(), journey_id.to_owned()));
    }

    fn remembered(&self, tenant: &str, journey_id: &str) -> Option<Standings> {
        lock(&self.standings).get(&(tenant.to_owned(), journey_id.to_owned())).cloned()
    }

    async fn look(&self, tenant: &str, journey_id: &str) -> Result<Standings, Error> {
        let all = view::journey::all(self.store.database(), tenant, journey_id).await?;
        let all: Standings = Arc::new(all.into_iter().collect());
        keep(&self.standings, (tenant.to_owned(), journey_id.to_owned()), all.clone());
        Ok(all)
    }
}

fn keep<K: std::hash::Hash + Eq, V>(kept: &Mutex<HashMap<K, V>>, key: K, value: V) {
    let mut kept = lock(kept);
    if kept.len() >= KEPT {
        kept.clear();
    }
    kept.insert(key, value);
}

fn lock<T>(kept: &Mutex<T>) -> MutexGuard<'_, T> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}
