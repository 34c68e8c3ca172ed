//! The live traits and segments of every tenant and the rule packs of its markets, compiled once for each version.
//!
//! What is held stays right because every commit that changes a definition or a pack changes the tenant's
//! [`Revision`], which is read before every use: one small statement, whichever replica made the change.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use eventstore::{Database, Error, Store, Timestamp, Together};
use prost::Message;

use super::change::Index;
use super::facts::Needs;
use crate::domain::segment::Segment;
use crate::domain::trait_definition::Trait;
use crate::view::activity::Activities;
use crate::view::definition::{self as view, Definition, Kind};
use crate::view::pack::{self, Dated};
use crate::view::revision::{self, Revision};

/// What is live. Cheap to clone; clones share what they compiled.
#[derive(Clone)]
pub(crate) struct Definitions {
    store: Store,
    revisions: Together<String, Revision>,
    activities: Activities,
    known: Arc<Mutex<HashMap<String, Arc<Live>>>>,
}

/// What is live in a tenant.
#[derive(Debug)]
pub(crate) struct Live {
    revision: Revision,
    /// What parties did, which traits are made of.
    pub(super) activities: Activities,
    pub(crate) traits: BTreeMap<String, LiveTrait>,
    pub(crate) segments: BTreeMap<String, LiveSegment>,
    /// Which segments look at what.
    pub(super) index: Index,
    packs: Packs,
}

#[derive(Clone, Debug)]
pub(crate) struct LiveTrait {
    pub(crate) definition: Arc<Trait>,
    pub(crate) version: u32,
    pub(crate) went_live: Moment,
}

#[derive(Clone, Debug)]
pub(crate) struct LiveSegment {
    pub(crate) definition: Arc<Segment>,
    pub(crate) version: u32,
    pub(crate) went_live: Moment,
    /// What its rule reads.
    pub(crate) needs: Arc<Needs>,
    /// When it came to mean what it means: when it went live, or the last of its traits.
    pub(super) stands: Moment,
}

/// An instant, and the position in the log at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment {
    pub(crate) position: u64,
    pub(crate) at: Timestamp,
}

impl Definitions {
    pub(crate) fn new(store: &Store) -> Self {
        let activities = Activities::of(store.database());
        let database = store.database().clone();
        let revisions = Together::new(database, |database, tenants: Vec<String>| async move {
            revision::of(&database, &tenants).await
        });
        Self { store: store.clone(), revisions, activities, known: Arc::default() }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// What is live in a tenant now.
    pub(crate) async fn live(&self, tenant: &str) -> Result<Arc<Live>, Error> {
        let revision = self.revision(tenant).await?;
        self.at(tenant, revision).await
    }

    /// What is live in a tenant at a revision that was read just now. Only what changed since it was last asked for is
    /// compiled.
    pub(crate) async fn at(&self, tenant: &str, revision: Revision) -> Result<Arc<Live>, Error> {
        let known = self.known(tenant);
        if known.revision == revision {
            return Ok(known);
        }
        let rows = view::all(self.store.database(), tenant).await?;
        let live = Arc::new(compile(rows, &known, revision));
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(tenant.to_owned(), live.clone());
        Ok(live)
    }

    /// Whether nothing else is live by now: memberships that were read before follow from nothing newer.
    pub(super) async fn are_still(&self, live: &Live, tenant: &str) -> Result<bool, Error> {
        Ok(self.revision(tenant).await? == live.revision)
    }

    /// The revision at which what is held of a tenant is right.
    pub(crate) async fn revision(&self, tenant: &str) -> Result<Revision, Error> {
        self.revisions.read(tenant.to_owned()).await
    }

    fn known(&self, tenant: &str) -> Arc<Live> {
        let all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(tenant).cloned().unwrap_or_else(|| Arc::new(Live::nothing(&self.activities)))
    }
}

impl Live {
    fn nothing(activities: &Activities) -> Self {
        Self {
            revision: Revision::default(),
            activities: activities.clone(),
            traits: BTreeMap::new(),
            segments: BTreeMap::new(),
            index: Index::default(),
            packs: Packs::default(),
        }
    }

    /// The rule packs of a market that count from an instant on, in the order in which they take effect.
    pub(crate) async fn packs(
        &self,
        database: &Database,
        tenant: &str,
        market: &str,
        from: Timestamp,
    ) -> Result<Arc<[Dated]>, Error> {
        if let Some(held) = self.packs.held(market, from) {
            return Ok(held);
        }
        let dated: Arc<[Dated]> = pack::from(database, tenant, market, from).await?.into();
        self.packs.keep(market, from, dated.clone());
        Ok(dated)
    }
}

/// By market the packs that count from an instant on.
#[derive(Clone, Debug, Default)]
struct Packs(Arc<Mutex<HashMap<String, Held>>>);

/// The packs of a tenant, and as of when they were read.
type Held = (Timestamp, Arc<[Dated]>);

impl Packs {
    fn held(&self, market: &str, from: Timestamp) -> Option<Arc<[Dated]>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(market).filter(|(first, _)| *first <= from).map(|(_, dated)| dated.clone())
    }

    fn keep(&self, market: &str, from: Timestamp, dated: Arc<[Dated]>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(market.to_owned(), (from, dated));
    }
}

fn compile(rows: Vec<Definition>, known: &Live, revision: Revision) -> Live {
    let same_packs = known.revision.packs == revision.packs;
    let mut live = Live {
        revision: Revision { definitions: 0, ..revision },
        packs: if same_packs { known.packs.clone() } else { Packs::default() },
        ..Live::nothing(&known.activities)
    };
    for row in rows {
        // The rows may be newer than the revision.
        live.revision.definitions = live.revision.definitions.max(row.position);
        let id = row.id.clone();
        match row.kind {
            Kind::Trait => {
                let same = known.traits.get(&id).filter(|it| it.went_live == moment(&row));
                let compiled = same.cloned().or_else(|| compile_trait(&row));
                live.traits.extend(compiled.map(|it| (id, it)));
            }
            Kind::Segment => {
                let same = known.segments.get(&id).filter(|it| it.went_live == moment(&row));
                let compiled = same.cloned().or_else(|| compile_segment(&row));
                live.segments.extend(compiled.map(|it| (id, it)));
            }
        }
    }
    let Live { traits, segments, .. } = &mut live;
    for segment in segments.values_mut() {
        let used = segment.needs.traits.iter().filter_map(|id| traits.get(id));
        let moments = used.map(|it| it.went_live).chain([segment.went_live]);
        segment.stands = moments.max().unwrap_or(segment.went_live);
    }
    live.index = Index::new(&live);
    live
}

fn moment(row: &Definition) -> Moment {
    Moment { position: row.position, at: row.live_at }
}

/// A definition was checked when it was saved. One that today's code refuses counts for nobody, and is told.
fn compile_trait(row: &Definition) -> Option<LiveTrait> {
    let definition = decoded(row).and_then(|it| {
        Trait::parse(&it).map_err(|faults| {
            let told = faults.into_iter().map(|(field, it)| format!("{field}: {it}"));
            told.collect::<Vec<_>>().join(" ")
        })
    });
    let definition = Arc::new(definition.map_err(|why| tell(row, &why)).ok()?);
    Some(LiveTrait { definition, version: row.version, went_live: moment(row) })
}

fn compile_segment(row: &Definition) -> Option<LiveSegment> {
    let definition = decoded(row).and_then(|it| Segment::of(&it).map_err(|it| it.to_string()));
    let definition = Arc::new(definition.map_err(|why| tell(row, &why)).ok()?);
    let needs = Arc::new(Needs::of_rule(&definition.rule));
    let went_live = moment(row);
    Some(LiveSegment { definition, version: row.version, went_live, needs, stands: went_live })
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
