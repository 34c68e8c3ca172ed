//! Asking for a touch.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chassis::status::{BEHIND, Problem};
use eventstore::{AsOf, Decider as _, Error, Executed, Metadata, Outcome, UnitError};
use rapport_proto::delivery::v1::TouchRequested;

use super::Api;
use super::settle::refused_unit;
use crate::domain::sender::Sender;
use crate::domain::touch::{Command, State, Touch};
use crate::refusal::SENDER_UNKNOWN;

/// How long a request waits for the positions it names to be reached.
const PATIENCE: Duration = Duration::from_secs(2);
/// Pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Senders that are known to exist. None ever ceases to, so that what was found once holds.
#[derive(Clone, Default)]
pub(super) struct Senders(Arc<Mutex<HashSet<(String, String)>>>);

impl Senders {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<(String, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Api {
    /// Takes a touch on. Its id follows from the request, so its stream is empty or the request was granted before: it
    /// is read only when it turns out not to be empty.
    pub(super) async fn ask(
        &self,
        meta: &Metadata,
        wanted: TouchRequested,
    ) -> Result<Executed<State>, Problem> {
        self.is_sender(&meta.tenant, &wanted.sender_id).await?;
        self.reached(&wanted.positions).await?;
        let touch_id = wanted.touch_id.clone();
        let (command, empty) = (Command::Request(wanted), State::default());
        let events = Touch::decide(&empty, command.clone(), meta.at)?;
        let mut unit = self.deps.store.unit(meta.clone());
        let pushed = unit.push::<Touch>(&touch_id, 0, &empty, events.clone()).await;
        let unit = pushed.and_then(|()| unit.finish()).map_err(|it: UnitError| refused_unit(it))?;
        match self.deps.store.append(unit).await {
            Outcome::Committed { position } => Ok(Executed {
                state: events.iter().fold(empty, Touch::evolve),
                version: events.len() as u64,
                position,
                created_at: meta.at,
                updated_at: meta.at,
                repeated: false,
            }),
            Outcome::Failed(error) => Err(error.into()),
            _ => self.execute::<Touch>(&touch_id, meta, command).await,
        }
    }

    async fn is_sender(&self, tenant: &str, sender_id: &str) -> Result<(), Problem> {
        let key = (tenant.to_owned(), sender_id.to_owned());
        if self.senders.lock().contains(&key) {
            return Ok(());
        }
        let found = self.deps.store.load::<Sender>(tenant, sender_id, AsOf::Now).await?;
        if found.version == 0 {
            let remedy = "Name a sender that is registered.";
            return Err(Problem::of(SENDER_UNKNOWN).violation("sender_id", remedy));
        }
        self.senders.lock().insert(key);
        Ok(())
    }

    /// Waits a moment until the log has what the gate's reads are to include. A position that nobody has reached is
    /// refused here: the gate would wait for it until the touch is out of date.
    async fn reached(&self, positions: &BTreeMap<String, u64>) -> Result<(), Problem> {
        let until = Instant::now() + PATIENCE;
        for (source, position) in positions {
            let mut end = self.end_of(source).await?;
            while end < *position {
                if Instant::now() >= until {
                    let behind = Problem::of(BEHIND).with("source", source).with("position", &end);
                    return Err(behind.retry_after(PATIENCE));
                }
                tokio::time::sleep(LOOK_AGAIN).await;
                end = self.end_of(source).await?;
            }
        }
        Ok(())
    }

    /// Position of the last event of a source.
    async fn end_of(&self, source: &str) -> Result<u64, Error> {
        let log = &self.deps.log;
        match log.store(source) {
            Some(store) => Ok(store.read_head().await?.position),
            None => Ok(log.tail(source).await?.map_or(0, |it| it.last)),
        }
    }
}
