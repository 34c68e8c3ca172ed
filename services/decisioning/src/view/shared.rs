//! What all decisions of a tenant share, compiled and held in memory. It is read again when a revision has moved: one
//! small statement per decision tells, whichever replica changed it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use eventstore::{Database, Error, Timestamp, values};
use prost::Message as _;
use rapport_proto::decisioning::v1 as proto;
use rapport_proto::types::Channel;

use super::affinity::Count;
use super::{holdout, outside, pack, policy};
use crate::domain::decide::content::Modules;
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
    pub(crate) policy: Option<Compiled>,
    packs: Vec<pack::InForce>,
    pub(crate) holdouts: Vec<proto::HoldoutStarted>,
    pub(crate) modules: Modules,
    pub(crate) model: Option<Model>,
    priors: HashMap<(String, i32, String), (f64, f64)>,
}

/// Positions of the last events that changed it, by source; the own one has no name.
type Revision = BTreeMap<String, u64>;

impl Shared {
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
        self.packs.iter().find(same).map(|it| &it.pack)
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
            self.priors.get(&(market.to_owned(), i32::from(channel), topic.to_owned())).copied()
        };
        of(topic).or_else(|| of("")).unwrap_or(IGNORANT)
    }
}

/// Holds what decisions share, by tenant. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Cache(Arc<Mutex<HashMap<String, Arc<Shared>>>>);

impl Cache {
    /// What decisions of a tenant share, as it stands in the database.
    pub(crate) async fn read(
        &self,
        database: &Database,
        tenant: &str,
    ) -> Result<Arc<Shared>, Error> {
        let revision = revision(database, tenant).await?;
        let held = self.held().get(tenant).cloned();
        if let Some(held) = held.filter(|it| it.revision == revision) {
            return Ok(held);
        }
        let loaded = Arc::new(load(database, tenant, revision).await?);
        self.held().insert(tenant.to_owned(), loaded.clone());
        Ok(loaded)
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Shared>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn revision(database: &Database, tenant: &str) -> Result<Revision, Error> {
    let rows = database
        .query(
            "SELECT '' AS source, number FROM revision WHERE tenant = $1
             UNION ALL
             SELECT source, number FROM outside_revision WHERE tenant = $1",
            values![tenant],
        )
        .await?;
    rows.iter().map(|row| Ok((row.text(0)?.to_owned(), row.count(1)?))).collect()
}

/// What is read after the revision is at least as new: what is newer is read once more.
async fn load(database: &Database, tenant: &str, revision: Revision) -> Result<Shared, Error> {
    let (model, priors) = snapshot(database, tenant).await?;
    Ok(Shared {
        policy: policy::live(database, tenant).await?,
        packs: pack::all(database, tenant).await?,
        holdouts: holdout::running(database, tenant).await?,
        modules: outside::module::all(database, tenant).await?,
        revision,
        model,
        priors,
    })
}

type Priors = HashMap<(String, i32, String), (f64, f64)>;

async fn snapshot(database: &Database, tenant: &str) -> Result<(Option<Model>, Priors), Error> {
    let rows = database
        .query(
            "SELECT as_of, hash, published FROM prior_snapshot WHERE tenant = $1",
            values![tenant],
        )
        .await?;
    let Some(row) = rows.first() else { return Ok((None, Priors::new())) };
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
    Ok((Some(Model { as_of: row.time(0)?, hash: row.blob(1)?.to_vec() }), priors))
}
