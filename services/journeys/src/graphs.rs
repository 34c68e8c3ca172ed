//! The definitions that instances run on, read once: a version never changes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use eventstore::{AsOf, Error, Store};

use crate::domain::journey::Journey;
use crate::graph::{Graph, Names};

/// Definitions kept in memory, at most.
const KEPT: usize = 1_000;

type Key = (String, String, u32);

/// Definitions by tenant, journey and version. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Graphs {
    store: Store,
    read: Arc<Mutex<HashMap<Key, Arc<Graph>>>>,
}

impl Graphs {
    pub(crate) fn new(store: &Store) -> Self {
        Self { store: store.clone(), read: Arc::default() }
    }

    /// A definition. It was checked before it was saved, so one that cannot be read is damaged.
    pub(crate) async fn get(
        &self,
        tenant: &str,
        journey_id: &str,
        version: u32,
    ) -> Result<Arc<Graph>, Error> {
        let key = (tenant.to_owned(), journey_id.to_owned(), version);
        if let Some(graph) = self.lock().get(&key) {
            return Ok(graph.clone());
        }
        let journey = self.store.load::<Journey>(tenant, journey_id, AsOf::Now).await?.state;
        let definition = journey.definitions.get(&version);
        let graph = definition.and_then(|it| Graph::compile(it, &Names::default()).ok());
        let graph = Arc::new(graph.ok_or_else(|| {
            Error::corrupt(format!("version {version} of journey {journey_id} cannot be read"))
        })?);
        let mut read = self.lock();
        if read.len() >= KEPT {
            read.clear();
        }
        read.insert(key, graph.clone());
        Ok(graph)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Arc<Graph>>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
