//! What a person finds out about a touch whose outcome is unknown. A touch that was not sent gives back its places, so
//! both are one unit.

use chassis::command::of_command;
use chassis::status::{COMMAND_TOO_LARGE, CONFLICT, Problem, REQUEST_ID_REUSED};
use eventstore::{AsOf, ExecuteError, Metadata, Outcome, UnitError};
use rapport_proto::delivery::v1 as proto;

use chassis::name::unknown;

use super::Api;
use crate::convert::touch as parse;
use crate::domain::touch::{Command, Refusal, Touch};
use crate::ledger::Ledger;

/// How often a unit is decided anew.
pub(super) const ATTEMPTS: usize = 10;

impl Api {
    pub(super) async fn settle(
        &self,
        touch_id: &str,
        meta: &Metadata,
        command: Command,
    ) -> Result<(proto::Touch, u64), Problem> {
        let store = &self.deps.store;
        let ids = [touch_id.to_owned()];
        for _ in 0..ATTEMPTS {
            let mut ledger = Ledger::open(store, &meta.tenant, &ids).await?;
            match ledger.decide(touch_id, command.clone(), meta.at) {
                Ok(()) => {}
                Err(Refusal::Unknown) => return Err(unknown("name")),
                Err(refusal) => {
                    // The first run of the same request may have made the second impossible.
                    let Some(outcome) = store.find_request(meta).await? else {
                        return Err(refusal.into());
                    };
                    return self.settled(meta, touch_id, outcome).await;
                }
            }
            let unit = ledger.unit(store, meta.clone()).await.map_err(refused_unit)?;
            match store.append(unit).await {
                Outcome::Conflict => {}
                outcome => return self.settled(meta, touch_id, outcome).await,
            }
        }
        Err(Problem::of(CONFLICT))
    }

    async fn settled(
        &self,
        meta: &Metadata,
        touch_id: &str,
        outcome: Outcome,
    ) -> Result<(proto::Touch, u64), Problem> {
        let (as_of, position) = match outcome {
            Outcome::Committed { position } => (AsOf::Now, position),
            Outcome::Repeated { version, position, .. } => (AsOf::Version(version), position),
            other => return Err(refused(other)),
        };
        let loaded = self.deps.store.load::<Touch>(&meta.tenant, touch_id, as_of).await?;
        Ok((parse::touch(&meta.tenant, &loaded), position))
    }
}

/// Why a unit had no effect.
pub(super) fn refused(outcome: Outcome) -> Problem {
    let error: ExecuteError<Refusal> = match outcome {
        Outcome::RequestReused => {
            let remedy = REQUEST_ID_REUSED.remedy;
            return Problem::of(REQUEST_ID_REUSED).violation("request_id", remedy);
        }
        Outcome::Failed(error) => ExecuteError::Store(error),
        Outcome::Superseded => ExecuteError::Superseded,
        Outcome::Refused(reason) => ExecuteError::Taken(reason),
        Outcome::Conflict | Outcome::Committed { .. } | Outcome::Repeated { .. } => {
            ExecuteError::Conflict
        }
    };
    of_command(error, Into::into, |_| Problem::of(CONFLICT))
}

pub(super) fn refused_unit(error: UnitError) -> Problem {
    match error {
        UnitError::Store(error) => error.into(),
        other => Problem::new(COMMAND_TOO_LARGE, other.to_string()),
    }
}
