//! For the benchmark: a recorded decision made again, without gRPC and without a store.

use std::sync::Arc;

use eventstore::{Database, Error};
use rapport_proto::decisioning::v1::DecisionMade;

use crate::domain::simulate;
use crate::view::shared::{Cache, Shared};

/// What all decisions of a tenant share, read once.
pub struct Again(Arc<Shared>);

impl Again {
    /// Reads the live policy, the packs and the modules.
    pub async fn read(database: &Database, tenant: &str) -> Result<Self, Error> {
        Ok(Self(Cache::default().read(database, tenant).await?))
    }

    /// Makes a decision of the live policy again from its record: the same record, bit for bit.
    pub fn decide(&self, record: &DecisionMade) -> Option<DecisionMade> {
        let policy = self.0.policy.as_ref()?;
        let version = record.packs.get(&record.market).copied();
        let pack = version.and_then(|it| self.0.pack_version(&record.market, it));
        Some(simulate::again(record, policy, pack, &self.0.modules))
    }
}
