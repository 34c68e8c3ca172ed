//! The live traits and segments of every tenant, compiled once for each version.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use eventstore::{Error, Store, Timestamp};
use prost::Message;

use super::facts::Needs;
use crate::domain::segment::Segment;
use crate::domain::trait_definition::Trait;
use crate::view::definition::{self as view, Definition, Kind};

/// What is live. Cheap to clone; clones share what they compiled.
#[derive(Clone)]
pub(crate) struct Definitions {
    store: Store,
    known: Arc<Mutex<HashMap<String, Arc<Live>>>>,
}

/// What is live in a tenant.
#[derive(Debug, Default)]
pub(crate) struct Live {
    /// Position of the newest definition.
    position: u64,
    pub(crate) traits: BTreeMap<String, Arc<LiveTrait>>,
    pub(crate) segments: BTreeMap<String, Arc<LiveSegment>>,
}

#[derive(Debug)]
pub(crate) struct LiveTrait {
    pub(crate) definition: Trait,
    pub(crate) version: u32,
    pub(crate) live_at: Timestamp,
    pub(crate) position: u64,
}

#[derive(Debug)]
pub(crate) struct LiveSegment {
    pub(crate) definition: Segment,
    pub(crate) version: u32,
    pub(crate) live_at: Timestamp,
    pub(crate) position: u64,
    /// What its rule reads.
    pub(crate) needs: Needs,
}

impl LiveSegment {
    /// Whether it was live, with its traits as they are, when an event was recorded. What is live since looks at
    /// everybody itself.
    pub(super) fn follows(&self, position: u64, live: &Live) -> bool {
        let mut traits = self.needs.traits.iter().filter_map(|id| live.traits.get(id));
        self.position < position && traits.all(|it| it.position < position)
    }
}

impl Definitions {
    pub(crate) fn new(store: &Store) -> Self {
        Self { store: store.clone(), known: Arc::default() }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// What is live in a tenant now. Only what changed since it was last asked for is compiled.
    pub(crate) async fn live(&self, tenant: &str) -> Result<Arc<Live>, Error> {
        let newest = view::newest(self.store.database(), tenant).await?;
        let known = self.known(tenant);
        if known.position == newest {
            return Ok(known);
        }
        let rows = view::all(self.store.database(), tenant).await?;
        let live = Arc::new(compile(rows, &known));
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(tenant.to_owned(), live.clone());
        Ok(live)
    }

    fn known(&self, tenant: &str) -> Arc<Live> {
        let all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(tenant).cloned().unwrap_or_default()
    }
}

fn compile(rows: Vec<Definition>, known: &Live) -> Live {
    let mut live = Live::default();
    for row in rows {
        live.position = live.position.max(row.position);
        let id = row.id.clone();
        match row.kind {
            Kind::Trait => {
                let same = known.traits.get(&id).filter(|it| it.position == row.position);
                let compiled = same.cloned().or_else(|| compile_trait(&row).map(Arc::new));
                live.traits.extend(compiled.map(|it| (id, it)));
            }
            Kind::Segment => {
                let same = known.segments.get(&id).filter(|it| it.position == row.position);
                let compiled = same.cloned().or_else(|| compile_segment(&row).map(Arc::new));
                live.segments.extend(compiled.map(|it| (id, it)));
            }
        }
    }
    live
}

/// A definition was checked when it was saved. One that today's code refuses counts for nobody, and is told.
fn compile_trait(row: &Definition) -> Option<LiveTrait> {
    let definition = decoded(row).and_then(|it| {
        Trait::parse(&it).map_err(|faults| {
            let told = faults.into_iter().map(|(field, it)| format!("{field}: {it}"));
            told.collect::<Vec<_>>().join(" ")
        })
    });
    let Definition { version, live_at, position, .. } = *row;
    let definition = definition.map_err(|why| tell(row, &why)).ok()?;
    Some(LiveTrait { definition, version, live_at, position })
}

fn compile_segment(row: &Definition) -> Option<LiveSegment> {
    let definition = decoded(row).and_then(|it| Segment::of(&it).map_err(|it| it.to_string()));
    let Definition { version, live_at, position, .. } = *row;
    let definition = definition.map_err(|why| tell(row, &why)).ok()?;
    let needs = Needs::of_rule(&definition.rule);
    Some(LiveSegment { definition, version, live_at, position, needs })
}

fn decoded<M: Message + Default>(row: &Definition) -> Result<M, String> {
    M::decode(&*row.document).map_err(|error| error.to_string())
}

fn tell(row: &Definition, why: &str) {
    tracing::error!(
        kind = row.kind.as_str(),
        id = row.id,
        version = row.version,
        why,
        "a live definition is refused"
    );
}
