//! Every target is killed again and again (SIGKILL) while instances run on PostgreSQL and nats-server, and orders come at
//! any time: every instance ends where it ends when nobody is killed, no message is sent twice, and what a receiver is
//! told twice has one id.

use std::iter;
use std::time::Duration;

use eventstore::Ids;
use rapport::targets::TARGETS;
use rapport_proto::delivery::v1::touch::State;
use support::Topology;

use crate::stage::Stage;
use crate::stage::crowd::{
    Ends, JOURNEY, arrived, assemble, assert_same, below, ends, over_webhooks, record, schedule,
    seed, settled,
};

/// Parties that run through the journey, and kills while they are on their way.
const PARTIES: usize = 52;
/// The same where messages leave as webhooks.
const OVER_WEBHOOKS: usize = 20;
const _: () = assert!(OVER_WEBHOOKS >= 2 * TARGETS.len(), "every target is killed");
/// Pause after a kill, in which things go on.
const BREATH: Duration = Duration::from_millis(200);

/// Nothing is rewarded before two weeks are over: a midnight in between publishes no priors, and the same is drawn for
/// everybody in either run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_instance_ends_where_an_undisturbed_run_does() {
    let (undisturbed, stage) = by_mail(None).await;
    stage.finish().await;
    let (disturbed, stage) = by_mail(Some(seed())).await;
    assert_same(&stage, &undisturbed, &disturbed).await;
    stage.finish().await;
}

/// Every second kill is of the target that calls the receiver.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_webhook_arrives_and_is_repeated_under_its_id_only() {
    let (mut stage, receiver, parties) = over_webhooks("/ok", OVER_WEBHOOKS).await;
    let ids = Ids::seeded(seed());
    run(&mut stage, &parties, &ids, killed(&ids).flat_map(|it| [it, "delivery"])).await;
    arrived(&stage, &parties, &receiver).await;
    stage.finish().await;
}

/// A run whose messages are files; without a seed nobody is killed.
async fn by_mail(seed: Option<u64>) -> (Ends, Stage) {
    let mut stage = Stage::on_system_clock(Topology::Distributed, |_| ()).await;
    stage.cast.publish_journey(JOURNEY).await.expect("published");
    let parties = assemble(&stage, PARTIES).await;
    let ids = Ids::seeded(seed.unwrap_or_default());
    match seed {
        Some(_) => run(&mut stage, &parties, &ids, killed(&ids)).await,
        None => run(&mut stage, &parties, &ids, iter::empty()).await,
    }
    let ends = ends(&stage, &parties).await;
    let sent = ends.values().flat_map(|it| &it.1).filter(|it| it.1 == State::Sent as i32).count();
    assert_eq!(stage.outbox().len(), sent, "as many files as messages sent");
    (ends, stage)
}

/// Everybody starts and orders, and after each request a target is killed and starts again, until all have ended.
async fn run(
    stage: &mut Stage,
    parties: &[String],
    ids: &Ids,
    mut killed: impl Iterator<Item = &'static str>,
) {
    let (some, others) = parties.split_at(parties.len() / 2);
    for pair in iter::zip(schedule(ids, some), schedule(ids, others)) {
        record(stage, &[pair.0, pair.1]).await;
        if let Some(target) = killed.next() {
            stage.platform.restart(target);
            stage.meet();
            tokio::time::sleep(BREATH).await;
        }
    }
    settled(stage, parties).await;
}

/// Who is killed: each target once, and then any, by chance.
fn killed(ids: &Ids) -> impl Iterator<Item = &'static str> {
    let mut all: Vec<_> = TARGETS.iter().map(|it| it.name).collect();
    for last in (1..all.len()).rev() {
        all.swap(last, below(ids, last + 1));
    }
    let any = iter::repeat_with(|| TARGETS[below(ids, TARGETS.len())].name);
    all.into_iter().chain(any)
}
