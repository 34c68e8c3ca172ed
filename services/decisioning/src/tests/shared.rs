use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::{join_all, maybe_done};

use super::*;
use crate::domain::policy::compiled::Compiled;
use crate::view::past::{Asked, Past, Pasts};
use crate::view::shared::Cache;

impl World {
    fn database(&self) -> &eventstore::Database {
        self.harness.deps("decisioning").store.database()
    }
}

fn asked(party_id: String, policy: &Arc<Compiled>, at: Timestamp) -> Asked {
    Asked { tenant: ACME.into(), party_id, policy: policy.clone(), at }
}

#[tokio::test]
async fn what_another_replica_changed_shows_with_the_next_decision_and_only_that_is_read_again() {
    let world = World::start().await;
    world.pack("DE", GERMANY).await;
    let first = world.policy(small_policy()).await;
    // A replica beside the one that serves the API: it learns of changes from the database only.
    let (cache, pasts) = (Cache::default(), Pasts::new(world.database()));
    let held = cache.read(world.database(), ACME).await.expect("read");
    let policy = held.policy.clone().expect("a policy");
    assert_eq!(policy.version, first);
    let now = || world.harness.clock.now();
    let past = pasts.read(asked("pty_1".into(), &policy, now())).await.expect("read");
    assert!(held.is_of(&past.revision));

    let second = world.policy(proto::Policy { do_nothing_score: 0.5, ..small_policy() }).await;
    let past = pasts.read(asked("pty_1".into(), &policy, now())).await.expect("read");
    assert!(!held.is_of(&past.revision));
    let after = cache.read(world.database(), ACME).await.expect("read");
    assert_eq!(after.policy.as_ref().map(|it| it.version), Some(second));
    let pack = |shared: &crate::view::shared::Shared| {
        std::ptr::from_ref(shared.pack("DE", now()).expect("a pack"))
    };
    assert_eq!(pack(&held), pack(&after), "the pack is the one that was compiled");

    world.pack("AT", &GERMANY.replace("rule_pack: DE", "rule_pack: AT")).await;
    let last = cache.read(world.database(), ACME).await.expect("read");
    assert!(last.pack("AT", now()).is_some());
    assert_eq!(pack(&held), pack(&last));
    let same = |one: &Option<Arc<Compiled>>, two: &Option<Arc<Compiled>>| match (one, two) {
        (Some(one), Some(two)) => Arc::ptr_eq(one, two),
        _ => false,
    };
    assert!(same(&after.policy, &last.policy), "the policy is the one that was compiled");
    assert_eq!(last.reads.attributes, ["licence_valid".to_owned()].into());
}

/// The past of parties 0 to 99: party n has n interactions, the newest of them n hours ago.
async fn with_pasts(world: &World) {
    let mut tx = world.database().begin().await.expect("a transaction");
    let mut rows = Vec::new();
    for party in 0..100_i64 {
        for number in 0..party {
            let at = Timestamp(START.0 - 3_600_000_000 * (party + number));
            rows.push(eventstore::values![
                ACME,
                format!("{party}/{number}"),
                format!("pty_{party}"),
                i32::from(proto::HappeningKind::Interaction),
                "Visit",
                at,
                "",
                "",
                "",
                0_i64
            ]);
        }
    }
    let insert = "INSERT INTO happening (tenant, happening_id, party_id, kind, name, happened_at,
                      reason, product_id, decision_id, channel)";
    tx.insert_many(insert, rows, "").await.expect("written");
    tx.commit().await.expect("committed");
}

fn counting_visits() -> Arc<Compiled> {
    let visits = proto::ContactLine {
        id: "visits".into(),
        counts: vec!["Visit".into(), "EMAIL".into()],
        window: "7d".into(),
        max: 3,
        ..Default::default()
    };
    let policy = proto::Policy { contact_policy: vec![visits], ..small_policy() };
    Arc::new(Compiled::new(1, &[], &policy))
}

#[tokio::test]
async fn what_many_ask_for_at_the_same_time_is_what_each_would_be_told_alone() {
    let world = World::start().await;
    with_pasts(&world).await;
    let (policy, pasts) = (counting_visits(), Pasts::new(world.database()));
    let party = |number: usize| asked(format!("pty_{}", number % 100), &policy, START);
    let mut alone: Vec<Past> = Vec::new();
    for number in 0..100 {
        alone.push(pasts.read(party(number)).await.expect("read"));
    }
    // Of the visits within a week those are told that happened within it, newest first.
    let visits: BTreeMap<_, _> =
        (0..).zip(&alone).map(|it| (it.0, it.1.happenings.len())).collect();
    assert_eq!(
        (visits[&0], visits[&50], visits[&84], visits[&90], visits[&99]),
        (0, 50, 84, 78, 69)
    );
    let times: Vec<_> = alone[90].happenings.iter().map(|it| it.at).collect();
    assert!(times.is_sorted_by(|a, b| a.map(|it| it.seconds) > b.map(|it| it.seconds)));

    let asked: Vec<_> = (0..300).map(party).collect();
    let together = join_all(asked.iter().map(|it| pasts.read(it.clone()))).await;
    for (number, past) in together.into_iter().enumerate() {
        assert_eq!(past.expect("read"), alone[number % 100]);
    }
}

#[tokio::test]
async fn who_gives_up_while_reading_for_others_leaves_them_their_answers() {
    let world = World::start().await;
    with_pasts(&world).await;
    let (policy, pasts) = (counting_visits(), Pasts::new(world.database()));
    let asked: Vec<_> = (0..20).map(|it| asked(format!("pty_{it}"), &policy, START)).collect();
    let begun = asked.iter().map(|it| Box::pin(maybe_done(pasts.read(it.clone()))));
    let mut reads: Vec<_> = begun.collect();
    // The first two begin to read, and what they read for includes each other and all that wait by then.
    for read in &mut reads {
        let _ = futures::poll!(read.as_mut());
    }
    drop(reads.drain(..2));
    join_all(reads.iter_mut().map(|it| it.as_mut())).await;
    for (number, mut read) in reads.into_iter().enumerate() {
        let past = read.as_mut().take_output().expect("an answer");
        assert_eq!(past.expect("read").happenings.len(), number + 2);
    }
}

impl World {
    /// What happened to the first party: name, product, and how many seconds ago.
    async fn happened(
        &self,
        kind: proto::HappeningKind,
        what: impl Iterator<Item = (&str, &str, i64)>,
    ) {
        let row = |(number, (name, product, ago)): (usize, (&str, &str, i64))| {
            let (id, at) = (format!("{number:03}"), Timestamp(START.0 - 1_000_000 * ago));
            let kind = i32::from(kind);
            eventstore::values![ACME, id, "pty_1", kind, name, at, "", product, "", 0_i64]
        };
        let mut tx = self.database().begin().await.expect("a transaction");
        let insert =
            "INSERT INTO happening (tenant, happening_id, party_id, kind, name, happened_at,
                          reason, product_id, decision_id, channel)";
        tx.insert_many(insert, what.enumerate().map(row).collect(), "").await.expect("written");
        tx.commit().await.expect("committed");
    }
}

/// How many seconds ago something happened.
fn ago(it: &proto::Happening) -> i64 {
    START.0 / 1_000_000 - it.at.map_or(0, |it| it.seconds)
}

#[tokio::test]
async fn of_what_happened_very_often_the_newest_hundred_are_read() {
    let world = World::start().await;
    // Three at each instant, a second apart.
    let visits = (0..900).map(|number| ("Visit", "", number / 3));
    world.happened(proto::HappeningKind::Interaction, visits).await;
    let pasts = Pasts::new(world.database());
    let past = pasts.read(asked("pty_1".into(), &counting_visits(), START)).await.expect("read");
    assert_eq!(past.happenings.len(), 100);
    assert_eq!(past.happenings.last().map(ago), Some(33));
}

#[tokio::test]
async fn what_a_line_counts_of_its_product_is_not_cut_away_by_other_products() {
    let world = World::start().await;
    let others = (0..300).map(|number| ("EMAIL", "relievia", number));
    let own = [("EMAIL", "calmolin", 1_000), ("EMAIL", "calmolin", 2_000)];
    // The last of them is older than the window of the line.
    let old = [("EMAIL", "calmolin", 7 * 86_400)];
    let all = others.chain(own).chain(old);
    world.happened(proto::HappeningKind::Contact, all).await;
    let line = |id: &str, product: &str| proto::ContactLine {
        id: id.into(),
        counts: vec!["EMAIL".into()],
        product_id: product.into(),
        window: "7d".into(),
        max: 2,
        ..Default::default()
    };
    let read = async |lines: Vec<proto::ContactLine>| {
        let policy = proto::Policy { contact_policy: lines, ..small_policy() };
        let policy = Arc::new(Compiled::new(1, &[], &policy));
        let pasts = Pasts::new(world.database());
        pasts.read(asked("pty_1".into(), &policy, START)).await.expect("read").happenings
    };
    let own = read(vec![line("own", "calmolin")]).await;
    assert_eq!(own.iter().map(ago).collect::<Vec<_>>(), [1_000, 2_000]);
    // What several lines look at is told once, newest first.
    let lines = vec![line("own", "calmolin"), line("all", ""), line("other", "relievia")];
    let expected: Vec<_> = (0..100).chain([1_000, 2_000]).collect();
    assert_eq!(read(lines).await.iter().map(ago).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn what_a_suppression_counts_is_not_cut_away_by_other_actions_channels_and_reasons() {
    let world = World::start().await;
    let mut tx = world.database().begin().await.expect("a transaction");
    for action in ["call", "write"] {
        let decided = "INSERT INTO decision (tenant, decision_id, party_id, position, decided_at,
                           market, action, treatment, action_group, channel, topic, pi, arm,
                           requested_by, learnt)";
        let position = i64::from(action == "write");
        let row = eventstore::values![
            ACME, action, "pty_1", position, START, "DE", action, "mail", "all", 1_i64, "", 0.5,
            0_i64, "", -1_i64
        ];
        tx.insert_many(decided, vec![row], "").await.expect("written");
    }
    let row = |(ago, (name, reason, decision, channel)): (i64, (&str, &str, &str, i64))| {
        let (id, at) = (format!("{ago:04}"), Timestamp(START.0 - 1_000_000 * ago));
        let kind = i32::from(proto::HappeningKind::Outcome);
        eventstore::values![ACME, id, "pty_1", kind, name, at, reason, "", decision, channel]
    };
    // A mail was passed on and clicked by many.
    let clicks = std::iter::repeat_n(("TouchClicked", "", "write", 1), 300);
    let own = [("TouchClicked", "", "call", 1), ("TouchClicked", "", "write", 3)];
    let others = std::iter::repeat_n(("TaskDismissed", "WRONG_TIME", "write", 4), 1_500);
    let reason = [("TaskDismissed", "NOT_RELEVANT", "write", 4)];
    let all = clicks.chain(own).chain(others).chain(reason);
    let insert = "INSERT INTO happening (tenant, happening_id, party_id, kind, name, happened_at,
                      reason, product_id, decision_id, channel)";
    tx.insert_many(insert, (0..).zip(all).map(row).collect(), "").await.expect("written");
    tx.commit().await.expect("committed");
    let line = |outcome: &str, reason: &str| proto::OutcomeSuppression {
        outcome: outcome.into(),
        reason: reason.into(),
        window: "7d".into(),
        duration: "30d".into(),
        ..Default::default()
    };
    let lines = vec![line("TouchClicked", ""), line("TaskDismissed", "NOT_RELEVANT")];
    let policy = proto::Policy { suppressions: lines, ..small_policy() };
    let policy = Arc::new(Compiled::new(1, &[], &policy));
    let pasts = Pasts::new(world.database());
    let past = pasts.read(asked("pty_1".into(), &policy, START)).await.expect("read");
    let expected: Vec<_> = (0..100).chain([300, 301, 1_802]).collect();
    assert_eq!(past.happenings.iter().map(ago).collect::<Vec<_>>(), expected);
}
