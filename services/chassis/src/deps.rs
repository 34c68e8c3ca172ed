//! What a service is given: named, never positional, and nothing global.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use eventstore::consumer::wait_until_reached;
use eventstore::{AsOf, Clock, Decider, Ids, Loaded, Log, Metadata, Store};

use crate::auth::ServiceKeys;
use crate::name::unknown;
use crate::peers::Peers;
use crate::settings::Settings;
use crate::status::{BEHIND, Problem};

/// How long a read waits for the positions it was asked to include.
const PATIENCE: Duration = Duration::from_secs(2);
/// Pause between two looks at a consumer's checkpoint.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A service's means. Cheap to clone.
#[derive(Clone)]
pub struct Deps {
    /// The service's own name: the source of its events.
    pub target: &'static str,
    pub store: Store,
    pub log: Log,
    pub clock: Clock,
    pub ids: Ids,
    pub peers: Peers,
    /// For links that one target mints and another one opens.
    pub service_keys: ServiceKeys,
    /// What is in force, for what only one service needs to know.
    pub settings: Arc<Settings>,
    /// For [`limited!`](crate::limited).
    pub max_message_bytes: usize,
}

impl Deps {
    /// Waits until this replica has seen what `min_positions` asks for: its own commits, and for other sources what
    /// the named consumers, those that feed the answer, have handled.
    pub async fn caught_up(
        &self,
        consumers: &[&str],
        min_positions: &BTreeMap<String, u64>,
    ) -> Result<(), Problem> {
        let until = Instant::now() + PATIENCE;
        for (source, position) in min_positions {
            if source == self.target {
                let seen = self.store.wait_for(*position, PATIENCE).await?;
                if !seen {
                    return Err(behind(source, self.store.head().position));
                }
                continue;
            }
            for consumer in consumers {
                loop {
                    let here = wait_until_reached(&self.store, consumer, source, *position);
                    let here = tokio::time::timeout(LOOK_AGAIN, here).await.is_ok();
                    // What another replica follows shows in its checkpoint alone, and what a person reset too.
                    let seen = self.handled(consumer, source).await?;
                    if seen >= *position {
                        break;
                    }
                    if Instant::now() >= until {
                        return Err(behind(source, seen));
                    }
                    if here {
                        tokio::time::sleep(LOOK_AGAIN).await;
                    }
                }
            }
        }
        Ok(())
    }

    /// A stream as it stands, or NOT_FOUND for the field that named it.
    pub async fn find<D: Decider>(
        &self,
        tenant: &str,
        id: &str,
        field: &str,
    ) -> Result<Loaded<D::State>, Problem> {
        let loaded = self.store.load::<D>(tenant, id, AsOf::Now).await?;
        if loaded.version == 0 { Err(unknown(field)) } else { Ok(loaded) }
    }

    /// Refuses, unless the request was granted before: then its first outcome is the answer, whatever changed since.
    pub async fn unless_repeated(&self, meta: &Metadata, problem: Problem) -> Result<(), Problem> {
        match self.store.find_request(meta).await? {
            Some(_) => Ok(()),
            None => Err(problem),
        }
    }

    /// Up to which position of a source a consumer of this service has handled everything.
    pub async fn handled(&self, consumer: &str, source: &str) -> Result<u64, eventstore::Error> {
        Ok(eventstore::consumer::read_checkpoint(&self.store, consumer, source).await?.position)
    }
}

fn behind(source: &str, seen: u64) -> Problem {
    Problem::of(BEHIND).with("source", source).with("position", &seen).retry_after(PATIENCE)
}
