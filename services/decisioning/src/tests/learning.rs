//! What came of decisions, from the facts of other services: their stores are real, and what they would have decided is
//! appended as it would stand there.

use std::sync::Arc;

use eventstore::{Decider, Metadata, Outcome, Schema};
use rapport_proto::delivery::v1::{
    TaskDismissed, TouchClicked, TouchReady, TouchRequested, TouchSent, TouchSkipped, touch_event,
};
use rapport_proto::profiles::v1::{InteractionRecorded, interaction_event};

use super::*;
use crate::domain::decide::tests::{AT, fixture};
use crate::domain::decision::Decision;
use crate::domain::model;
use crate::domain::policy::compiled::Compiled;
use crate::domain::policy::{DEFAULT, Policy};
use crate::view;
use crate::view::past::{Asked, Past, Pasts};

const DAY: i64 = 86_400_000_000;

/// Declares the facts of another service's aggregate, without its decisions.
macro_rules! facts {
    ($name:ident, $aggregate:literal, $event:ty) => {
        enum $name {}

        impl Decider for $name {
            const AGGREGATE: &'static str = $aggregate;
            type Command = std::convert::Infallible;
            type State = ();
            type Event = $event;
            type Refusal = std::convert::Infallible;

            fn decide(
                _: &(),
                command: Self::Command,
                _: Timestamp,
            ) -> Result<Vec<Self::Event>, Self::Refusal> {
                match command {}
            }

            fn evolve(_: (), _: &Self::Event) {}

            fn about(_: &str, _: &(), _: &Self::Event) -> eventstore::About {
                eventstore::About {
                    party_id: "pty_1".into(),
                    occurred_at: Some(START),
                    ..Default::default()
                }
            }
        }
    };
}

facts!(Touch, "touch", touch_event::Event);
facts!(Interaction, "interaction", interaction_event::Event);

const fn source(name: &'static str) -> Target {
    Target {
        name,
        schema: Schema::default,
        reasons: &[],
        service: |_| chassis::service::Service::new(),
    }
}

impl World {
    pub(super) async fn among_others() -> Self {
        let targets = [source("content"), source("delivery"), source("profiles"), TARGET];
        Self { harness: Harness::start(&targets).await }
    }

    async fn append<D: Decider<State = ()>>(
        &self,
        of: &str,
        id: &str,
        events: Vec<D::Event>,
    ) -> u64 {
        let store = &self.harness.deps(of).store;
        let version = store.load::<D>(ACME, id, eventstore::AsOf::Now).await.expect("read").version;
        let mut unit = store.unit(self.meta(&format!("{of}/{id}/{version}")));
        unit.push::<D>(id, version, &(), events).await.expect("pushed");
        match store.append(unit.finish().expect("a unit")).await {
            Outcome::Committed { position } => position,
            other => panic!("{other:?}"),
        }
    }

    fn meta(&self, request_id: &str) -> Metadata {
        Metadata {
            tenant: ACME.into(),
            method: "test".into(),
            request_id: request_id.into(),
            at: self.harness.clock.now(),
            ..Metadata::default()
        }
    }

    /// A decision of an e-mail, as `Decide` would have recorded it.
    pub(super) async fn decided(&self) -> String {
        let mut world = fixture();
        let made = (0..)
            .map(|number| {
                world.decision_id = format!("dec_{number}");
                world.decide()
            })
            .find(|it| it.chosen[0].treatment == "mail")
            .expect("it is drawn some time");
        let id = made.decision_id.clone();
        let events = Decision::decide(
            &Default::default(),
            crate::domain::decision::Command::Make(Box::new(made)),
            AT,
        )
        .expect("made");
        let store = &self.harness.deps("decisioning").store;
        let mut unit = store.unit(self.meta(&format!("decide/{id}")));
        unit.push::<Decision>(&id, 0, &Default::default(), events).await.expect("pushed");
        let outcome = store.append(unit.finish().expect("a unit")).await;
        assert!(matches!(outcome, Outcome::Committed { .. }));
        id
    }

    pub(super) async fn touch(
        &self,
        touch_id: &str,
        decision_id: &str,
        then: Vec<touch_event::Event>,
    ) {
        let requested = touch_event::Event::Requested(TouchRequested {
            touch_id: touch_id.into(),
            party_id: "pty_1".into(),
            channel: Channel::Email.into(),
            decision_id: decision_id.into(),
            ..Default::default()
        });
        let events = [requested].into_iter().chain(then).collect();
        self.append::<Touch>("delivery", touch_id, events).await;
    }

    async fn decision(&self, id: &str) -> proto::Decision {
        let name = format!("tenants/{ACME}/decisions/{id}");
        let get = proto::GetDecisionRequest { name, ..Default::default() };
        let reply = self.decisions().get_decision(get).await.expect("found").into_inner();
        reply.decision.expect("a decision")
    }

    /// Waits until a decision is as expected.
    async fn until(&self, id: &str, what: impl Fn(&proto::Decision) -> bool) -> proto::Decision {
        let expected = async || Some(self.decision(id).await).filter(|it| what(it));
        super::until("the decision is as expected", expected).await
    }

    async fn past(&self, tenant: &str, policy: &proto::Policy) -> Past {
        let policy = Arc::new(Compiled::new(1, &[], policy));
        let asked = Asked { tenant: tenant.into(), party_id: "pty_1".into(), policy, at: START };
        let database = self.harness.deps("decisioning").store.database();
        Pasts::new(database).read(asked).await.expect("read")
    }

    /// What was published at the midnight after so many days.
    async fn priors_of(&self, days: i64) -> Vec<eventstore::Recorded> {
        let stream = format!("model/{}", model::id(Timestamp(START.0 + days * DAY)));
        let store = &self.harness.deps("decisioning").store;
        store.read_stream(ACME, &stream, eventstore::AsOf::Now).await.expect("read")
    }

    async fn priors_are_published(&self, days: i64) {
        let published = async || (!self.priors_of(days).await.is_empty()).then_some(());
        super::until(&format!("priors of day {days}"), published).await;
    }

    /// Ids and instants of the timers that publish priors.
    async fn nights(&self) -> Vec<(String, i64)> {
        let query =
            "SELECT id, due_at FROM timer WHERE kind = 'model.snapshot' ORDER BY due_at, id";
        let store = &self.harness.deps("decisioning").store;
        let rows = store.query(query, Vec::new()).await.expect("read");
        rows.iter()
            .map(|it| (it.text(0).expect("an id").to_owned(), it.int(1).expect("an instant")))
            .collect()
    }

    pub(super) async fn read_all(&self) {
        for of in ["content", "delivery", "profiles"] {
            let position = self.harness.deps(of).store.head().position;
            let deps = self.harness.deps("decisioning");
            super::until("what others said is read", async || {
                let handled = deps.handled(view::outside::CONSUMER, of).await.expect("read");
                (handled >= position).then_some(())
            })
            .await;
        }
    }
}

pub(super) fn sent() -> touch_event::Event {
    touch_event::Event::Sent(TouchSent::default())
}

fn clicked(machine: bool) -> touch_event::Event {
    touch_event::Event::Clicked(TouchClicked { machine, ..Default::default() })
}

fn order(at: Timestamp) -> Vec<interaction_event::Event> {
    vec![interaction_event::Event::Recorded(InteractionRecorded {
        source_id: "shop".into(),
        message_id: "m".into(),
        name: "Order Completed".into(),
        occurred_at: time(at),
        ..Default::default()
    })]
}

#[tokio::test]
async fn an_interaction_that_is_rewarded_closes_the_last_decision_and_is_learnt_from() {
    let world = World::among_others().await;
    let id = world.decided().await;
    world.touch("tch_1", &id, vec![sent(), clicked(true)]).await;
    world.until(&id, |it| it.outcomes.len() == 1).await;
    world.append::<Interaction>("profiles", "itx_1", order(START)).await;
    let decision = world.until(&id, |it| it.closed).await;
    assert_eq!((decision.reward, decision.censored), (1.0, false));
    let kinds: Vec<_> = decision.outcomes.iter().map(|it| (it.kind.as_str(), it.value)).collect();
    assert_eq!(kinds, [("TouchSent", 0.0), ("Order Completed", 1.0)]);
    let counts = world.past(ACME, &small_policy()).await.counts;
    let counts: Vec<_> =
        counts.iter().map(|it| (it.topic.as_str(), it.at(AT, 86_400_000_000))).collect();
    assert_eq!(counts, [("", (1.0, 1.0)), ("asthma", (1.0, 1.0))]);
}

#[tokio::test]
async fn the_order_in_which_rewards_are_closed_shows_in_no_bit() {
    let world = World::among_others().await;
    let store = &world.harness.deps("decisioning").store;
    let mut sums = Vec::new();
    for (tenant, order) in [(ACME, [0, 1, 2, 3, 4]), (UMBRELLA, [3, 1, 4, 0, 2])] {
        for number in order {
            let id = format!("dec_{number}");
            let decided_at = Timestamp(START.0 + i64::from(number) * 7_654_321_987);
            let made = proto::DecisionMade {
                party_id: "pty_1".into(),
                market: if number == 4 { "FR".into() } else { "DE".into() },
                chosen: vec![proto::Chosen {
                    action: "write".into(),
                    channel: Channel::Email.into(),
                    topic: "asthma".into(),
                    ..Default::default()
                }],
                decided_at: time(decided_at),
                ..Default::default()
            };
            let reward = 0.1 + 0.2 * f64::from(number);
            let closed = proto::RewardClosed { reward, ..Default::default() };
            let events = vec![
                proto::decision_event::Event::Made(made),
                proto::decision_event::Event::RewardClosed(closed),
            ];
            let meta = Metadata { tenant: tenant.into(), ..world.meta(&id) };
            let mut unit = store.unit(meta);
            unit.push::<Decision>(&id, 0, &Default::default(), events).await.expect("pushed");
            let outcome = store.append(unit.finish().expect("a unit")).await;
            assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
        }
        let counts = world.past(tenant, &small_policy()).await.counts;
        let at = Timestamp(START.0 + 9 * 86_400_000_000);
        let counts = counts.into_iter().map(|it| it.at(at, 90 * 86_400_000_000));
        let bits: Vec<_> = counts.map(|(a, b)| (a.to_bits(), b.to_bits())).collect();
        assert_eq!(bits.len(), 2);
        let groups = view::affinity::groups(store.database(), tenant).await.expect("read");
        sums.push((bits, groups));
    }
    assert_eq!(sums[0], sums[1]);
}

#[tokio::test]
async fn a_decision_that_nothing_came_of_is_closed_when_its_longest_window_is_over() {
    let world = World::among_others().await;
    let id = world.decided().await;
    world.touch("tch_1", &id, vec![sent()]).await;
    world.until(&id, |it| it.outcomes.len() == 1).await;
    world.pass(14 * 86_400 - 1);
    assert!(!world.decision(&id).await.closed);
    world.pass(1);
    let decision = world.until(&id, |it| it.closed).await;
    assert_eq!((decision.reward, decision.censored), (0.0, false));
    // An order that happened in time and is reported late corrects it.
    world.append::<Interaction>("profiles", "itx_1", order(START)).await;
    let decision = world.until(&id, |it| it.outcomes.len() == 2).await;
    assert_eq!((decision.reward, decision.censored), (1.0, false));
}

#[tokio::test]
async fn a_skipped_touch_is_censored_and_nothing_is_learnt() {
    let world = World::among_others().await;
    let id = world.decided().await;
    let skipped = TouchSkipped { reason: "holdout".into(), ..Default::default() };
    world.touch("tch_1", &id, vec![touch_event::Event::Skipped(skipped)]).await;
    let decision = world.until(&id, |it| it.outcomes.len() == 1).await;
    assert_eq!(decision.outcomes[0].reason, "holdout");
    world.pass(14 * 86_400);
    assert!(world.until(&id, |it| it.closed).await.censored);
    let counts = world.past(ACME, &small_policy()).await.counts;
    assert!(counts.is_empty());
}

#[tokio::test]
async fn contacts_count_until_they_are_given_back() {
    let world = World::among_others().await;
    let id = world.decided().await;
    let ready = || touch_event::Event::Ready(TouchReady::default());
    let dismissed = TaskDismissed {
        reason: rapport_proto::delivery::v1::DismissReason::NotRelevant.into(),
        ..Default::default()
    };
    world.touch("tch_1", &id, vec![ready(), touch_event::Event::TaskDismissed(dismissed)]).await;
    world.touch("tch_2", "", vec![ready(), touch_event::Event::Skipped(Default::default())]).await;
    // What may have gone out already counts while it is put off: delivery gives nothing back.
    let put_off = touch_event::Event::Deferred(Default::default());
    world.touch("tch_4", "", vec![ready(), put_off]).await;
    // Safety communication is no contact that counts.
    let safety = TouchReady {
        content_class: rapport_proto::types::ContentClass::SafetyCommunication.into(),
        ..Default::default()
    };
    world.touch("tch_3", "", vec![touch_event::Event::Ready(safety)]).await;
    world.append::<Interaction>("profiles", "itx_1", order(START)).await;
    world.read_all().await;
    let mut policy = fixture().policy;
    policy.contact_policy = vec![proto::ContactLine {
        id: "all".into(),
        counts: vec!["EMAIL".into(), "Order Completed".into()],
        window: "7d".into(),
        max: 9,
        ..Default::default()
    }];
    policy.suppressions = vec![proto::OutcomeSuppression {
        outcome: "TaskDismissed".into(),
        window: "7d".into(),
        duration: "7d".into(),
        ..Default::default()
    }];
    let found = world.past(ACME, &policy).await.happenings;
    let mut found: Vec<_> = found.into_iter().map(|it| (it.name, it.reason, it.action)).collect();
    found.sort();
    let told = |name: &str, reason: &str, action: &str| {
        (name.to_owned(), reason.to_owned(), action.to_owned())
    };
    let expected = [
        told("EMAIL", "", ""),
        told("EMAIL", "", ""),
        told("Order Completed", "", ""),
        told("TaskDismissed", "NOT_RELEVANT", "write"),
    ];
    assert_eq!(found, expected);
    assert!(world.past(UMBRELLA, &policy).await.happenings.is_empty());
}

#[tokio::test]
async fn priors_are_published_at_midnight_and_every_midnight_after() {
    let world = World::among_others().await;
    world.policy(small_policy()).await;
    let id = world.decided().await;
    world.touch("tch_1", &id, vec![sent()]).await;
    world.until(&id, |it| it.outcomes.len() == 1).await;
    world.append::<Interaction>("profiles", "itx_1", order(START)).await;
    world.until(&id, |it| it.closed).await;
    for day in 1..=2 {
        world.pass(86_400);
        world.priors_are_published(day).await;
    }
    assert_eq!(world.priors_of(2).await.len(), 1);
    let events = world.priors_of(1).await;
    assert_eq!(events.len(), 1);
    let Some(proto::model_event::Event::Published(published)) = events[0].decode().expect("whole")
    else {
        panic!("another event")
    };
    assert_eq!(published.as_of, time(Timestamp(START.0 + 86_400 * 1_000_000)));
    let topics: Vec<_> = (published.priors.iter())
        .map(|it| (it.market.as_str(), it.topic.as_str(), it.strength_millionths))
        .collect();
    assert_eq!(topics, [("DE", "", 2_000_000), ("DE", "asthma", 2_000_000)]);
}

/// Its request was taken on before midnight, and its commit came after what was due then.
#[tokio::test]
async fn an_activation_that_crosses_midnight_does_not_end_the_nights() {
    let world = World::among_others().await;
    world.policy(small_policy()).await;
    world.pass(86_400);
    world.priors_are_published(1).await;
    let store = &world.harness.deps("decisioning").store;
    let before = Timestamp(START.0 + DAY - 100_000);
    let loaded = store.load::<Policy>(ACME, DEFAULT, eventstore::AsOf::Now).await.expect("read");
    let activated = proto::PolicyVersionActivated {
        version: 2,
        policy: Some(small_policy()),
        ..Default::default()
    };
    let events = vec![proto::policy_event::Event::Activated(activated)];
    let mut unit = store.unit(Metadata { at: before, ..world.meta("activate") });
    let version = loaded.version;
    unit.push::<Policy>(DEFAULT, version, &loaded.state, events).await.expect("pushed");
    let outcome = store.append(unit.finish().expect("a unit")).await;
    assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
    let second = Timestamp(START.0 + 2 * DAY);
    let next = vec![(format!("model/{}", model::id(second)), second.0)];
    let only_next = async || (world.nights().await == next).then_some(());
    super::until("what was stated again is done", only_next).await;
    assert_eq!(world.priors_of(1).await.len(), 1);
    world.pass(86_400);
    world.priors_are_published(2).await;
}

#[tokio::test]
async fn a_night_that_an_earlier_release_stated_is_kept_once() {
    let world = World::among_others().await;
    world.policy(small_policy()).await;
    let mut tx = world.harness.deps("decisioning").store.database().begin().await.expect("begun");
    // It had one timer for all nights.
    let earlier = "UPDATE timer SET id = 'model' WHERE kind = 'model.snapshot'";
    tx.exec(earlier, Vec::new()).await.expect("written");
    tx.commit().await.expect("committed");
    world.policy(proto::Policy { do_nothing_score: 0.5, ..small_policy() }).await;
    let first = START.0 + DAY;
    let stated =
        [("model".to_owned(), first), (format!("model/{}", model::id(Timestamp(first))), first)];
    assert_eq!(world.nights().await, stated);
    for day in 1..=2 {
        world.pass(86_400);
        world.priors_are_published(day).await;
        assert_eq!(world.priors_of(day).await.len(), 1);
    }
    let third = Timestamp(START.0 + 3 * DAY);
    let next = vec![(format!("model/{}", model::id(third)), third.0)];
    let only_next = async || (world.nights().await == next).then_some(());
    super::until("the old one is done", only_next).await;
}
