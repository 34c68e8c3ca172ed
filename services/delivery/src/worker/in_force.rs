//! The rules that `decisioning` answered by: a version of a market's pack, a version of the policy.
//!
//! A version never changes once it was activated, so what was read of it is kept. Which version is in force is never
//! remembered: each answer of `CheckOutbound` names the ones that it was given by, and nothing else is judged by. One
//! that has not arrived here yet is waited for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use eventstore::{Database, Error};
use rapport_proto::decisioning::v1::CheckOutboundResponse;

use crate::gate::caps::Policy;
use crate::gate::rules::Pack;
use crate::view;

/// Versions kept in memory, at most.
const KEPT: usize = 10_000;

/// Tenant, market and version; the policy is no market's.
type Key = (String, String, u32);

/// Versions that were read.
#[derive(Default)]
pub(super) struct InForce {
    packs: Kept<Pack>,
    policies: Kept<Policy>,
}

impl InForce {
    /// The pack of a market and the policy that an answer names; `None` where it says that there is none.
    pub(super) async fn named_by(
        &self,
        told: &CheckOutboundResponse,
        database: &Database,
        tenant: &str,
        market: &str,
    ) -> Result<(Option<Arc<Pack>>, Option<Arc<Policy>>), Error> {
        let key = |market: &str, version| (tenant.to_owned(), market.to_owned(), version);
        let version = told.market_pack_version;
        let read = || Box::pin(view::rules::pack(database, tenant, market, version));
        let pack = self.packs.get(key(market, version), read);
        let version = told.policy_version;
        let read = || Box::pin(view::rules::policy(database, tenant, version));
        let policy = self.policies.get(key("", version), read);
        futures::try_join!(pack, policy)
    }
}

struct Kept<T>(Mutex<HashMap<Key, Arc<T>>>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Kept<T> {
    async fn get<R>(&self, key: Key, read: impl FnOnce() -> R) -> Result<Option<Arc<T>>, Error>
    where
        R: Future<Output = Result<Option<T>, Error>>,
    {
        if key.2 == 0 {
            return Ok(None);
        }
        if let Some(found) = self.lock().get(&key) {
            return Ok(Some(found.clone()));
        }
        let Some(found) = read().await? else {
            let behind = "the rules in force have not arrived from decisioning yet";
            return Err(Error::unavailable(behind));
        };
        let (found, mut kept) = (Arc::new(found), self.lock());
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(key, found.clone());
        Ok(Some(found))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Arc<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
