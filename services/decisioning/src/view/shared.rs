//! What all decisions of a tenant share, compiled and held in memory.
//!
//! Each part has a revision: the position of the last event that changed it, written in that event's transaction. Who
//! decides reads the revisions together with what else it reads; they prove that what is held is what stands in the
//! database, whichever replica changed it. Of what has moved only the parts that did are read again, once for all that
//! wait.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use eventstore::{Database, Error, Timestamp, values};
use prost::Message as _;
use rapport_proto::decisioning::v1 as proto;
use rapport_proto::types::Channel;

use super::affinity::Count;
use super::{holdout, outside, pack, policy};
use crate::domain::decide::content::Modules;
use crate::domain::decide::reads::Reads;
use crate::domain::decide::{Beta, Model};
use crate::domain::pack::Pack;
use crate::domain::policy::compiled::Compiled;

/// Mean and strength of a prior that nothing is known of.
const IGNORANT: (f64, f64) = (0.5, 2.0);

/// Source of the modules.
const CONTENT: &str = "content";

/// What all decisions of a tenant share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    revision: Revision,
    pub(crate) policy: Option<Arc<Compiled>>,
    packs: Arc<Vec<pack::InForce>>,
    pub(crate) holdouts: Arc<Vec<proto::HoldoutStarted>>,
    pub(crate) modules: Arc<Modules>,
    snapshot: Arc<Snapshot>,
    /// What decisions read of a party therefore.
    pub(crate) reads: Reads,
}

/// Positions of the last events that changed its parts: by aggregate, or by source for what others said.
pub(crate) type Revision = BTreeMap<String, u64>;

/// The priors of groups: mean and strength by market, channel and topic.
#[derive(Debug, Default)]
struct Snapshot {
    model: Option<Model>,
    priors: HashMap<(String, i32, String), (f64, f64)>,
}

impl Shared {
    /// Whether it is what stood in the database at a revision. An earlier one does not do either: a backup may have
    /// been put in place.
    pub(crate) fn is_of(&self, revision: &Revision) -> bool {
        self.revision == *revision
    }

    /// The snapshot that gave the priors.
    pub(crate) fn model(&self) -> Option<&Model> {
        self.snapshot.model.as_ref()
    }

    /// Position of `content` up to which the modules are known.
    pub(crate) fn content_position(&self) -> u64 {
        self.revision.get(CONTENT).copied().unwrap_or_default()
    }

    /// The pack that counts in a market at an instant: the one that took effect last, unless it was retired.
    pub(crate) fn pack(&self, market: &str, at: Timestamp) -> Option<&Pack> {
        let effective = |it: &&pack::InForce| it.market == market && it.effective_at <= at;
        let last = self.packs.iter().rfind(effective)?;
        (at < last.retired_at).then_some(&last.pack)
    }

    /// Version of that pack; 0 when there is none.
    pub(crate) fn version_in(&self, market: &str, at: Timestamp) -> u32 {
        self.pack(market, at).map_or(0, |it| it.version)
    }

    /// A version of a market's pack, whether or not it counts now.
    pub(crate) fn pack_version(&self, market: &str, version: u32) -> Option<&Pack> {
        let same = |it: &&pack::InForce| it.market == market && it.version == version;
        self.packs.iter().find(same).map(|it| &*it.pack)
    }

    /// Markets with a pack in force at an instant.
    pub(crate) fn markets(&self, at: Timestamp) -> Vec<String> {
        let mut markets: Vec<String> = self.packs.iter().map(|it| it.market.clone()).collect();
        markets.dedup();
        markets.retain(|it| self.pack(it, at).is_some());
        markets
    }

    /// α and β of a party: the prior of its group and its own counts, decayed to an instant (`data.md` 1.4).
    pub(crate) fn affinity(
        &self,
        market: &str,
        counts: &[Count],
        at: Timestamp,
        half_life: i64,
        (channel, topic): (Channel, &str),
    ) -> Beta {
        let (mean, strength) = self.prior(market, channel, topic);
        let own = counts.iter().find(|it| it.channel == channel && it.topic == topic);
        let (positive, total) = own.map_or((0.0, 0.0), |it| it.at(at, half_life));
        (strength * mean + positive, strength * (1.0 - mean) + (total - positive).max(0.0))
    }

    fn prior(&self, market: &str, channel: Channel, topic: &str) -> (f64, f64) {
        let of = |topic: &str| {
            self.snapshot
                .priors
                .get(&(market.to_owned(), i32::from(channel), topic.to_owned()))
                .copied()
        };
        of(topic).or_else(|| of("")).unwrap_or(IGNORANT)
    }
}

/// Holds what decisions share, by tenant. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Cache(Arc<Mutex<HashMap<String, Arc<Slot>>>>);

/// What is held of a tenant.
#[derive(Default)]
struct Slot {
    held: Mutex<Option<Arc<Shared>>>,
    /// One reads, the others wait for it.
    reading: tokio::sync::Mutex<()>,
}

impl Cache {
    /// What decisions of a tenant share, as it stands in the database.
    pub(crate) async fn read(
        &self,
        database: &Database,
        tenant: &str,
    ) -> Result<Arc<Shared>, Error> {
        let slot = self.slot(tenant);
        if let Some(held) = slot.held_at(&revision(database, tenant).await?) {
            return Ok(held);
        }
        let _alone = slot.reading.lock().await;
        let revision = revision(database, tenant).await?;
        if let Some(held) = slot.held_at(&revision) {
            return Ok(held);
        }
        let held = slot.held().clone();
        let read = Arc::new(read(database, tenant, revision, held.as_deref()).await?);
        *slot.held() = Some(read.clone());
        Ok(read)
    }

    /// What was held of a tenant when it was last looked at: whether it still stands, a revision tells.
    pub(crate) fn held(&self, tenant: &str) -> Option<Arc<Shared>> {
        self.slot(tenant).held().clone()
    }

    fn slot(&self, tenant: &str) -> Arc<Slot> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(tenant) {
            return slot.clone();
        }
        slots.entry(tenant.to_owned()).or_default().clone()
    }
}

impl Slot {
    fn held(&self) -> MutexGuard<'_, Option<Arc<Shared>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held_at(&self, revision: &Revision) -> Option<Arc<Shared>> {
        self.held().clone().filter(|it| it.is_of(revision))
    }
}

async fn revision(database: &Database, tenant: &str) -> Result<Revision, Error> {
    let mut read = revisions(database, &BTreeSet::from([tenant])).await?;
    Ok(read.remove(tenant).unwrap_or_default())
}

/// How far the parts of what is shared stand, by tenant.
pub(super) async fn revisions(
    database: &Database,
    tenants: &BTreeSet<&str>,
) -> Result<HashMap<String, Revision>, Error> {
    let keys: Vec<_> = tenants.iter().map(|it| values![*it]).collect();
    let rows = database
        .query_keys(
            "k(tenant)",
            &keys,
            "SELECT r.tenant, r.aggregate, r.number FROM k JOIN revision r ON r.tenant = k.tenant
             UNION ALL
             SELECT o.tenant, o.source, o.number
             FROM k JOIN outside_revision o ON o.tenant = k.tenant",
        )
        .await?;
    let mut revisions: HashMap<String, Revision> = HashMap::new();
    for row in &rows {
        let revision = revisions.entry(row.text(0)?.to_owned()).or_default();
        revision.insert(row.text(1)?.to_owned(), row.count(2)?);
    }
    Ok(revisions)
}

/// Reads the parts that have moved; the others are as they were. What is read after the revision is at least as new:
/// what is newer is read once more.
async fn read(
    database: &Database,
    tenant: &str,
    revision: Revision,
    held: Option<&Shared>,
) -> Result<Shared, Error> {
    let same = |part: &str| held.filter(|it| it.revision.get(part) == revision.get(part));
    let policy = match same("policy") {
        Some(held) => held.policy.clone(),
        None => policy::live(database, tenant).await?.map(Arc::new),
    };
    let packs = match same("rule_pack") {
        Some(held) => held.packs.clone(),
        None => {
            let compiled = held.map_or(&[][..], |it| &it.packs);
            Arc::new(pack::all(database, tenant, compiled).await?)
        }
    };
    let holdouts = match same("holdout") {
        Some(held) => held.holdouts.clone(),
        None => Arc::new(holdout::running(database, tenant).await?),
    };
    let snapshot = match same("model") {
        Some(held) => held.snapshot.clone(),
        None => Arc::new(snapshot(database, tenant).await?),
    };
    let modules = match same(CONTENT) {
        Some(held) => held.modules.clone(),
        None => Arc::new(outside::module::all(database, tenant).await?),
    };
    let standing = packs.iter().filter(|it| it.retired_at == Timestamp::MAX).map(|it| &*it.pack);
    let reads = policy.as_ref().map(|it| Reads::new(it, standing, &modules)).unwrap_or_default();
    Ok(Shared { revision, policy, packs, holdouts, modules, snapshot, reads })
}

async fn snapshot(database: &Database, tenant: &str) -> Result<Snapshot, Error> {
    let rows = database
        .query(
            "SELECT as_of, hash, published FROM prior_snapshot WHERE tenant = $1",
            values![tenant],
        )
        .await?;
    let Some(row) = rows.first() else { return Ok(Snapshot::default()) };
    let published = proto::ModelSnapshotPublished::decode(row.blob(2)?)
        .map_err(|it| Error::corrupt(format!("the snapshot of priors: {it}")))?;
    #[expect(clippy::cast_precision_loss, reason = "millionths of 200 at most")]
    let share = |millionths: i64| millionths as f64 / 1e6;
    let priors = (published.priors.into_iter())
        .map(|it| {
            let value = (share(it.mean_millionths), share(it.strength_millionths));
            ((it.market, it.channel, it.topic), value)
        })
        .collect();
    let model = Some(Model { as_of: row.time(0)?, hash: row.blob(1)?.to_vec() });
    Ok(Snapshot { model, priors })
}
