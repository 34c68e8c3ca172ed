//! Reactors: each event's unit moves the checkpoint, or neither happens.

use std::collections::HashSet;

use futures::future::{BoxFuture, join_all};

use super::runner::{Page, QUEUED, Runner, StreamName, TRIES, stream_name};
use super::{Reactor, guarded};
use crate::commit::Outcome;
use crate::error::Error;
use crate::event::{CheckpointMove, Head, Metadata, Recorded, Stored};
use crate::store::Store;

/// Events that are reacted to at the same time.
const TOGETHER: usize = 64;
/// Events of a run whose reactor sees it whole.
const SEEN_TOGETHER: usize = 256;

/// An event with its bytes, and where the checkpoint may go behind it.
struct Due<'p> {
    event: &'p Recorded,
    stored: &'p Stored,
    to: Option<Head>,
}

impl Runner<'_> {
    /// Gives the units of a page to the committer. The checkpoint moves with each unit of the source.
    pub(super) async fn react(&mut self, reactor: &dyn Reactor, page: &Page) -> Result<(), Error> {
        let mut parked = HashSet::new();
        if self.parked {
            let mut tx = self.store.database().begin().await?;
            parked = self.parked_streams(&mut tx).await?;
            tx.rollback().await?;
        }
        let due = page.events.iter().zip(&page.waiting);
        let due: Vec<_> =
            due.map(|(event, it)| Due { event, stored: &it.stored, to: it.to }).collect();
        let mut rest = due.as_slice();
        while !rest.is_empty() {
            let run = &rest[..run_of(reactor, rest, &parked)];
            let (done, alone) = match run.len() {
                1 => (0, 1),
                _ => self.react_together(reactor, run).await,
            };
            for due in &run[done..done + alone] {
                self.react_alone(reactor, due, &mut parked).await?;
            }
            rest = &rest[done + alone..];
            self.tell_reached();
        }
        Ok(())
    }

    /// Reacts to events that do not matter to each other at the same time, and commits their units
    /// together, in order. Returns how many are done, and how many of the others are to be looked at
    /// alone before there is a run again.
    async fn react_together(&mut self, reactor: &dyn Reactor, run: &[Due<'_>]) -> (usize, usize) {
        let (store, mut from) = (self.store, self.written);
        let all = run.iter().map(|due| (due.event, self.reaction(due.event, None))).collect();
        let react = async { Ok(reactor.react_all(store, all).await) };
        let reactions = guarded(react).await.unwrap_or_default();
        let mut appends: Vec<BoxFuture<'_, Option<Outcome>>> = Vec::with_capacity(run.len());
        for (due, reaction) in run.iter().zip(reactions) {
            // The first failure ends the run.
            let Ok(unit) = reaction else { break };
            let unit = unit.map(|mut unit| {
                unit.meta.moves = Some(self.moves(from, due.to));
                from = due.to.unwrap_or(from);
                unit
            });
            appends.push(Box::pin(async move {
                match unit {
                    Some(unit) => Some(store.append(unit).await),
                    None => None,
                }
            }));
        }
        let outcomes = join_all(appends).await;
        let mut done = 0;
        for (due, outcome) in run.iter().zip(outcomes) {
            match outcome {
                None => self.passed(due.to),
                Some(Outcome::Committed { .. }) => self.moved(due.to),
                // The checkpoint was lost: most of those behind it will have been done, too.
                Some(Outcome::Repeated { .. }) => return (done, run.len() - done),
                // Those behind it expected that it moves the checkpoint.
                Some(_) => break,
            }
            done += 1;
        }
        (done, (run.len() - done).min(1))
    }

    /// Handles one event, once everything before it is committed.
    async fn react_alone(
        &mut self,
        reactor: &dyn Reactor,
        due: &Due<'_>,
        parked: &mut HashSet<StreamName>,
    ) -> Result<(), Error> {
        let name = stream_name(due.event);
        if parked.contains(&name) {
            return self.park_now(due, QUEUED).await;
        }
        match self.react_to(reactor, due).await {
            Ok(true) => self.moved(due.to),
            Ok(false) => self.passed(due.to),
            Err(error) if error.is_outage() => return Err(error),
            Err(error) => {
                self.tell_parked(due.event, &error);
                self.park_now(due, &error.chain()).await?;
                parked.insert(name);
            }
        }
        Ok(())
    }

    /// Reacts to one event; returns whether it led to a unit.
    async fn react_to(&mut self, reactor: &dyn Reactor, due: &Due<'_>) -> Result<bool, Error> {
        let mut failure = Error::unavailable(format!("{} kept conflicting", self.consumer.name));
        for _ in 0..TRIES {
            let moves = self.moves(self.written, due.to);
            let meta = self.reaction(due.event, Some(moves));
            match react_once(reactor, self.store, due.event, meta).await {
                Ok(Some(Outcome::Committed { .. })) => return Ok(true),
                // Nothing to do, or done before and only the checkpoint was lost.
                Ok(None | Some(Outcome::Repeated { .. } | Outcome::RequestReused)) => {
                    return Ok(false);
                }
                Ok(Some(Outcome::Superseded)) => return Err(self.overtaken()),
                Ok(Some(Outcome::Conflict)) => {}
                Ok(Some(Outcome::Refused(reason))) => failure = Error::refused(reason),
                Ok(Some(Outcome::Failed(error))) | Err(error) if error.is_outage() => {
                    return Err(error);
                }
                Ok(Some(Outcome::Failed(error))) | Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Parks an event at once: a later unit may move the checkpoint past it.
    async fn park_now(&mut self, due: &Due<'_>, reason: &str) -> Result<(), Error> {
        let mut tx = self.store.database().begin().await?;
        if let Some(to) = due.to {
            self.move_to(&mut tx, to).await?;
        }
        self.park(&mut tx, due.event, due.stored, reason).await?;
        tx.commit().await?;
        self.moved(due.to);
        self.count_parked().await
    }

    /// A transaction moved the checkpoint, if the event ends a unit.
    fn moved(&mut self, to: Option<Head>) {
        if let Some(to) = to {
            self.wrote(to);
        }
    }

    /// Nothing came of an event.
    fn passed(&mut self, to: Option<Head>) {
        self.reached = to.unwrap_or(self.reached);
    }

    /// Where the checkpoint goes. Inside a unit of the source it stays where it is, and must be there all
    /// the same: another replica that is ahead may have found nothing to do about this event.
    fn moves(&self, from: Head, to: Option<Head>) -> CheckpointMove {
        let (consumer, source) = (self.consumer.name.clone(), self.source.to_owned());
        CheckpointMove { consumer, source, from: from.position, to: to.unwrap_or(from) }
    }

    fn reaction(&self, event: &Recorded, moves: Option<CheckpointMove>) -> Metadata {
        reaction(&self.consumer.name, self.source, event, moves, self.store)
    }
}

/// How many of these events are reacted to at the same time: they are in different lanes and streams,
/// unless the reactor sees to it. Inside a unit of the source the checkpoint rests, so whatever closes a
/// unit waits for the rest of it: it would move the checkpoint past a reaction that fails beside it.
fn run_of(reactor: &dyn Reactor, due: &[Due<'_>], parked: &HashSet<StreamName>) -> usize {
    let (sees_run, mut lanes, mut streams) = (reactor.sees_run(), HashSet::new(), HashSet::new());
    let (most, mut inside) = (if sees_run { SEEN_TOGETHER } else { TOGETHER }, false);
    let run = due.iter().take(most).take_while(|due| {
        let closes = inside && due.to.is_some();
        inside |= due.to.is_none();
        let name = stream_name(due.event);
        let free = !closes && !parked.contains(&name);
        free && (sees_run
            || streams.insert(name)
                && reactor.lane(due.event).is_some_and(|lane| lanes.insert(lane)))
    });
    run.count().max(1)
}

/// The reaction to an event, committed; `None` when there is nothing to do.
pub(super) async fn react_once(
    reactor: &dyn Reactor,
    store: &Store,
    event: &Recorded,
    meta: Metadata,
) -> Result<Option<Outcome>, Error> {
    match guarded(reactor.react(store, event, meta)).await? {
        Some(unit) => Ok(Some(store.append(unit).await)),
        None => Ok(None),
    }
}

/// Metadata of what a reactor does about an event: the request id is `<consumer>/<source>/<position>`.
pub(super) fn reaction(
    consumer: &str,
    source: &str,
    event: &Recorded,
    moves: Option<CheckpointMove>,
    store: &Store,
) -> Metadata {
    Metadata {
        tenant: event.envelope.tenant.clone(),
        actor: rapport_proto::types::Actor {
            subject: format!("service:{}", store.source()),
            kind: rapport_proto::types::actor::Kind::System.into(),
            ..Default::default()
        },
        method: format!("consumer/{consumer}"),
        request_id: format!("{consumer}/{source}/{}", event.position),
        correlation_id: event.envelope.correlation_id.clone(),
        causation_id: event.envelope.id.clone(),
        traceparent: event.envelope.traceparent.clone(),
        at: store.clock().now(),
        moves,
        ..Metadata::default()
    }
}
