//! The tables that decisions and lists read, written from events in the transaction that appends them.
//!
//! One file per table. What other services said stands in [`outside`], written by a consumer. What all decisions of a
//! tenant share (policy, packs, modules, priors) is held in memory by [`shared`] and read again when its revision moves;
//! what belongs to one party is read for many decisions at once by [`past`].

use std::collections::BTreeMap;
use std::pin::Pin;

use eventstore::{Decider as _, Error, Recorded, TimerOp, Timestamp, Tx, View, values};
use rapport_proto::decisioning::v1::{model_event, policy_event};

use crate::domain::instant;
use crate::domain::model::{self, Model, next_midnight};

pub(crate) mod affinity;
pub(crate) mod decision;
pub(crate) mod happening;
pub(crate) mod holdout;
pub(crate) mod outside;
pub(crate) mod pack;
pub(crate) mod past;
pub(crate) mod policy;
pub(crate) mod shared;

/// What fires when the reward of a decision is to be settled.
pub(crate) const REWARD_CLOSE: &str = "decision.close";
/// What fires when the priors are to be published.
pub(crate) const MODEL_SNAPSHOT: &str = "model.snapshot";

/// The one view of the service.
pub(crate) struct Decisioning;

type Applied<'a> = Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>>;

impl View for Decisioning {
    fn name(&self) -> &'static str {
        "decisioning"
    }

    fn tables(&self) -> &'static [&'static str] {
        &[
            "revision",
            "live_policy",
            "pack",
            "pack_in_force",
            "holdout",
            "prior_snapshot",
            "decision",
            "awaited",
            "affinity",
        ]
    }

    fn apply<'a>(&'a self, tx: &'a mut Tx, events: &'a [Recorded]) -> Applied<'a> {
        Box::pin(async move {
            let of = |aggregate: &str| -> Vec<&Recorded> {
                events.iter().filter(|event| event.aggregate() == aggregate).collect()
            };
            policy::apply(tx, &of("policy")).await?;
            pack::apply(tx, &of("rule_pack")).await?;
            holdout::apply(tx, &of("holdout")).await?;
            affinity::apply_snapshots(tx, &of("model")).await?;
            let decisions = of("decision");
            decision::apply(tx, &decisions).await?;
            affinity::learn(tx, &decisions).await?;
            revise(tx, events).await
        })
    }

    fn timers(&self, event: &Recorded) -> Result<Vec<TimerOp>, Error> {
        match event.aggregate() {
            "decision" => decision_timers(event),
            "policy" => snapshot_after_activation(event),
            "model" => snapshot_after_snapshot(event),
            _ => Ok(Vec::new()),
        }
    }
}

/// Notes that what decisions share has changed. Decisions and their outcomes change nothing of it.
async fn revise(tx: &mut Tx, events: &[Recorded]) -> Result<(), Error> {
    let mut latest = BTreeMap::new();
    for event in events.iter().filter(|it| it.aggregate() != "decision") {
        latest.insert((event.envelope.tenant.as_str(), event.aggregate()), event.position);
    }
    let row = |((tenant, aggregate), position)| values![tenant, aggregate, position];
    tx.insert_many(
        "INSERT INTO revision (tenant, aggregate, number)",
        latest.into_iter().map(row).collect(),
        "ON CONFLICT (tenant, aggregate) DO UPDATE SET number = excluded.number",
    )
    .await
    .map(drop)
}

/// A decision with rewards states when its reward is settled at the latest; settled early, it needs no timer.
fn decision_timers(event: &Recorded) -> Result<Vec<TimerOp>, Error> {
    let id = event.id().to_owned();
    let type_name = event.envelope.r#type.as_str();
    if type_name.ends_with(".RewardClosed") {
        return Ok(vec![TimerOp::Cancel { id }]);
    }
    let Some(made) = decision::Kept::of(event)? else { return Ok(Vec::new()) };
    let due_at = instant(made.closes_at.as_ref());
    let stream = event.envelope.stream.clone();
    let set = due_at.map(|due_at| TimerOp::Set { id, kind: REWARD_CLOSE, stream, due_at });
    Ok(set.into_iter().collect())
}

fn snapshot_after_activation(event: &Recorded) -> Result<Vec<TimerOp>, Error> {
    match event.decode()? {
        Some(policy_event::Event::Activated(_)) => Ok(vec![snapshot(event.recorded_at())]),
        _ => Ok(Vec::new()),
    }
}

fn snapshot_after_snapshot(event: &Recorded) -> Result<Vec<TimerOp>, Error> {
    match event.decode()? {
        Some(model_event::Event::Published(it)) => {
            Ok(instant(it.as_of.as_ref()).map(snapshot).into_iter().collect())
        }
        None => Ok(Vec::new()),
    }
}

/// The timer of the snapshot at the first midnight after an instant. Each midnight has its own: one that is stated again
/// once it has fired, by an activation that commits late, must not take the place of the next.
fn snapshot(after: Timestamp) -> TimerOp {
    let due_at = next_midnight(after);
    let stream = format!("{}/{}", Model::AGGREGATE, model::id(due_at));
    TimerOp::Set { id: stream.clone(), kind: MODEL_SNAPSHOT, stream, due_at }
}
