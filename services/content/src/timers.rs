//! What time and endings bring about: expiry, a version that takes over, and withdrawal of everything that prints what
//! ended.
//!
//! Timers follow from events ([`crate::view`]). An end is noted by a command like any other; the commit that handles
//! the firing deletes the timer. A cascade is a work item: each claim or module is withdrawn in a unit of its own with
//! a derived request id, so that a crash in between repeats nothing and forgets nothing.

use eventstore::{AsOf, Decider, Error, ExecuteError, Metadata, Store, Timer, TimerHandler};
use futures::future::BoxFuture;

use crate::domain::asset::{self, Asset};
use crate::domain::claim::{self, Claim};
use crate::domain::module::{self, Module};
use crate::domain::reference::{self, Reference};
use crate::domain::review::{Command, Version, Versions};
use crate::view::{CASCADE, EXPIRY, USABLE, part_use};

/// Ids read at once.
const PAGE: u32 = 200;
/// The method of the commands of a cascade.
const METHOD: &str = "cascade";

/// Handles the timers of the service.
pub(crate) struct Ends;

impl TimerHandler for Ends {
    fn fire<'a>(
        &'a self,
        store: &'a Store,
        timer: &'a Timer,
        meta: Metadata,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let unknown =
                || Error::corrupt(format!("no such timer: {} {}", timer.kind, timer.key.id));
            let (aggregate, id, number) = parse(timer).ok_or_else(unknown)?;
            match (timer.kind.as_str(), aggregate) {
                (EXPIRY, "reference") => {
                    let expire = reference::Command::Expire { reason: "expired".into() };
                    run::<Reference>(store, id, meta, expire).await
                }
                (EXPIRY, "asset") => {
                    run::<Asset>(
                        store,
                        id,
                        meta,
                        asset::Command::Expire { reason: "expired".into() },
                    )
                    .await
                }
                (EXPIRY, "claim") => {
                    run::<Claim>(store, id, meta, Command::Expire { version: number }).await
                }
                (EXPIRY, "module") => {
                    run::<Module>(store, id, meta, Command::Expire { version: number }).await
                }
                (USABLE, "module") => {
                    run::<Module>(store, id, meta, Command::TakeOver { version: number }).await
                }
                (CASCADE, "reference") => Cascade { store, meta }.of_reference(id).await,
                (CASCADE, "claim") => Cascade { store, meta }.of_claim(id).await,
                (CASCADE, "module") => Cascade { store, meta }.of_module(id).await,
                _ => Err(unknown()),
            }
        })
    }
}

/// Aggregate, id and version: `<aggregate>/<id>/<version>/<kind>`.
fn parse(timer: &Timer) -> Option<(&str, &str, u32)> {
    let mut parts = timer.key.id.split('/');
    let (aggregate, id) = (parts.next()?, parts.next()?);
    // A cascade carries the place of its event, which may be larger than any version.
    let number = parts.next()?.parse::<u64>().ok()?;
    Some((aggregate, id, u32::try_from(number).unwrap_or(u32::MAX)))
}

async fn run<D: Decider>(
    store: &Store,
    id: &str,
    meta: Metadata,
    command: D::Command,
) -> Result<(), Error> {
    match store.execute::<D>(id, &meta, command).await {
        // Superseded: another replica did it.
        Ok(_) | Err(ExecuteError::Superseded) => Ok(()),
        Err(ExecuteError::Store(error)) => Err(error),
        Err(ExecuteError::Conflict) => Err(Error::unavailable(format!("{id} kept changing"))),
        Err(error) => Err(Error::corrupt(format!("{} {id}: {error}", D::AGGREGATE))),
    }
}

/// Withdraws what prints something that ended.
struct Cascade<'a> {
    store: &'a Store,
    /// Of the firing.
    meta: Metadata,
}

impl Cascade<'_> {
    /// Claims that cite an ended reference and nothing else that counts.
    async fn of_reference(&self, reference_id: &str) -> Result<(), Error> {
        let cause = format!("reference/{reference_id}");
        let mut after = String::new();
        loop {
            let ids = self.printing(&cause, "claim", &after).await?;
            let Some(last) = ids.last() else { return Ok(()) };
            after.clone_from(last);
            for id in &ids {
                let versions = self.versions::<Claim>(id).await?;
                for version in versions.approved() {
                    if self.lost_its_references(version, reference_id).await? {
                        self.withdraw::<Claim>(id, version.number, "reference_expired", &cause)
                            .await?;
                    }
                }
            }
        }
    }

    async fn lost_its_references(&self, version: &Version, ended: &str) -> Result<bool, Error> {
        let content = claim::content_of(version).unwrap_or_default();
        if !content.reference_ids.iter().any(|it| it == ended) {
            return Ok(false);
        }
        let tenant = &self.meta.tenant;
        let cited = self.store.load_many::<Reference>(tenant, &content.reference_ids).await?;
        Ok(!cited.iter().any(|it| it.state.counts_at(self.meta.at)))
    }

    /// Modules that print a claim of which no version may be printed any more.
    async fn of_claim(&self, claim_id: &str) -> Result<(), Error> {
        let usable = |it: &Version| {
            let content = claim::content_of(it).unwrap_or_default();
            crate::domain::instant(content.expires_at.as_ref()).is_none_or(|end| end > self.meta.at)
        };
        if self.versions::<Claim>(claim_id).await?.approved().any(usable) {
            return Ok(());
        }
        let cause = format!("claim/{claim_id}");
        self.of_part(&cause, &cause).await
    }

    /// Modules that print a module which a claim took with it: they printed the claim too.
    async fn of_module(&self, module_id: &str) -> Result<(), Error> {
        let versions = self.versions::<Module>(module_id).await?;
        let caused = versions.iter().rev().find(|it| !it.cause.is_empty());
        match caused {
            Some(version) if versions.approved().next().is_none() => {
                self.of_part(&format!("module/{module_id}"), &version.cause).await
            }
            _ => Ok(()),
        }
    }

    async fn of_part(&self, part: &str, cause: &str) -> Result<(), Error> {
        let mut after = String::new();
        loop {
            let ids = self.printing(part, "module", &after).await?;
            let Some(last) = ids.last() else { return Ok(()) };
            after.clone_from(last);
            for id in &ids {
                let versions = self.versions::<Module>(id).await?;
                for version in versions.approved().filter(|it| module::prints(it, part)) {
                    self.withdraw::<Module>(id, version.number, "claim_withdrawn", cause).await?;
                }
            }
        }
    }

    async fn printing(&self, part: &str, kind: &str, after: &str) -> Result<Vec<String>, Error> {
        part_use::printing(self.store.database(), &self.meta.tenant, part, kind, after, PAGE).await
    }

    async fn versions<D: Decider<State = Versions>>(&self, id: &str) -> Result<Versions, Error> {
        Ok(self.store.load::<D>(&self.meta.tenant, id, AsOf::Now).await?.state)
    }

    async fn withdraw<D: Decider<Command = Command>>(
        &self,
        id: &str,
        version: u32,
        reason: &str,
        cause: &str,
    ) -> Result<(), Error> {
        let meta = Metadata {
            method: METHOD.to_owned(),
            request_id: format!("{}/{}/{id}/{version}", self.meta.request_id, D::AGGREGATE),
            reason: reason.to_owned(),
            fires: None,
            ..self.meta.clone()
        };
        let withdraw =
            Command::Withdraw { version, reason: reason.to_owned(), cause: cause.to_owned() };
        run::<D>(self.store, id, meta, withdraw).await
    }
}
