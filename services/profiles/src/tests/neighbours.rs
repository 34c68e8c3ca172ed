//! The services whose facts flow into this one: only their stores, and what they would say.

use std::convert::Infallible;

use eventstore::{About, Decider, Metadata, Schema};
use rapport_proto::EventSet;
use rapport_proto::decisioning::v1 as decisioning;
use rapport_proto::delivery::v1 as delivery;
use rapport_proto::journeys::v1 as journeys;

use super::*;

const fn neighbour(name: &'static str) -> Target {
    let service = |_: &chassis::deps::Deps| chassis::service::Service::new();
    Target { name, schema: Schema::default, reasons: &[], service }
}

const NEIGHBOURS: [Target; 4] =
    [TARGET, neighbour("decisioning"), neighbour("delivery"), neighbour("journeys")];

/// An aggregate of a neighbour, which says what it is told to.
trait Aggregate: 'static {
    const SOURCE: &'static str;
    const NAME: &'static str;
    type Event: EventSet;
}

/// The neighbour decides nothing.
struct Said<A>(std::marker::PhantomData<A>);

impl<A: Aggregate> Decider for Said<A> {
    const AGGREGATE: &'static str = A::NAME;
    type Command = Vec<A::Event>;
    type State = ();
    type Event = A::Event;
    type Refusal = Infallible;

    fn decide(_: &(), command: Vec<A::Event>, _: Timestamp) -> Result<Vec<A::Event>, Infallible> {
        Ok(command)
    }

    fn evolve(_: (), _: &A::Event) {}

    fn about(_: &str, _: &(), _: &A::Event) -> About {
        About::default()
    }
}

enum Pack {}
impl Aggregate for Pack {
    const SOURCE: &'static str = "decisioning";
    const NAME: &'static str = "rule_pack";
    type Event = decisioning::rule_pack_event::Event;
}

enum Touch {}
impl Aggregate for Touch {
    const SOURCE: &'static str = "delivery";
    const NAME: &'static str = "touch";
    type Event = delivery::touch_event::Event;
}

enum Instance {}
impl Aggregate for Instance {
    const SOURCE: &'static str = "journeys";
    const NAME: &'static str = "instance";
    type Event = journeys::instance_event::Event;
}

enum JourneyVersions {}
impl Aggregate for JourneyVersions {
    const SOURCE: &'static str = "journeys";
    const NAME: &'static str = "journey";
    type Event = journeys::journey_event::Event;
}

enum PolicyVersions {}
impl Aggregate for PolicyVersions {
    const SOURCE: &'static str = "decisioning";
    const NAME: &'static str = "policy";
    type Event = decisioning::policy_event::Event;
}

impl World {
    /// `journeys` says something of a journey's versions.
    pub(super) async fn plans(
        &self,
        tenant: &str,
        id: &str,
        event: journeys::journey_event::Event,
    ) {
        self.hears::<JourneyVersions>(tenant, id, vec![event]).await;
    }

    /// `decisioning` says something of its policy.
    pub(super) async fn decides(&self, event: decisioning::policy_event::Event) {
        self.hears::<PolicyVersions>(ACME, "default", vec![event]).await;
    }

    pub(super) async fn among_neighbours() -> Self {
        Self { harness: Harness::start(&NEIGHBOURS).await }
    }

    /// A neighbour says something about a thing of a tenant, and this service handles it.
    async fn hears<A: Aggregate>(&self, tenant: &str, id: &str, events: Vec<A::Event>) {
        let store = &self.harness.deps(A::SOURCE).store;
        let meta = Metadata {
            tenant: tenant.into(),
            method: "test".into(),
            request_id: format!("request-{}", store.head().position),
            at: store.clock().now(),
            ..Metadata::default()
        };
        let said = store.execute::<Said<A>>(id, &meta, events).await.expect("said");
        self.has_handled(A::SOURCE, said.position).await;
    }

    /// Waits until this service has handled a source up to a position.
    async fn has_handled(&self, source: &str, position: u64) {
        let deps = self.harness.deps("profiles");
        let feeds = crate::consumers::FEEDS.iter().find(|it| it.0 == source).expect("a source");
        let handled = async {
            while deps.handled(feeds.1, source).await.expect("read") < position {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(120), handled).await.expect("handled");
        // The end that this process knows of may lag behind a moment.
        deps.store.read_head().await.expect("read");
    }

    /// `decisioning` activates a pack in `acme`.
    pub(super) async fn activate(&self, pack: decisioning::RulePackActivated) {
        self.activate_in(ACME, pack).await;
    }

    pub(super) async fn activate_in(&self, tenant: &str, pack: decisioning::RulePackActivated) {
        let market = pack.market.clone();
        let event = decisioning::rule_pack_event::Event::Activated(pack);
        self.hears::<Pack>(tenant, &market, vec![event]).await;
    }

    pub(super) async fn retire(&self, market: &str, version: u32) {
        let retired = decisioning::RulePackRetired {
            version,
            reason: "replaced".into(),
            ..Default::default()
        };
        let event = decisioning::rule_pack_event::Event::Retired(retired);
        self.hears::<Pack>(ACME, market, vec![event]).await;
    }

    /// `delivery` says something of a touch.
    pub(super) async fn touched(&self, event: delivery::touch_event::Event) {
        self.hears::<Touch>(ACME, "tch_1", vec![event]).await;
    }

    /// `journeys` asks for an attribute to be set.
    pub(super) async fn asks_to_set(&self, set: journeys::InstanceAttributeSet) {
        let event = journeys::instance_event::Event::AttributeSet(set);
        self.hears::<Instance>(ACME, "ins_1", vec![event]).await;
    }

    /// The checkpoint of a source is lost, and this service reads it again from the beginning.
    pub(super) async fn loses_its_checkpoint(&self, source: &str) {
        let database = self.harness.deps("profiles").store.database();
        let sql = "UPDATE checkpoint SET position = 0, chain = $2
                   WHERE consumer = 'profiles' AND source = $1";
        let values = eventstore::values![source, eventstore::ORIGIN];
        database.exec(sql, values).await.expect("forgotten");
        // The consumer that runs notices when it next moves its checkpoint, and starts over.
        match source {
            "delivery" => {
                let event = delivery::touch_event::Event::Opened(delivery::TouchOpened::default());
                self.touched(event).await;
            }
            _ => self.asks_to_set(journeys::InstanceAttributeSet::default()).await,
        }
    }
}

/// A pack of a market in force since ever, with lines about consent.
pub(super) fn pack(
    market: &str,
    version: u32,
    lines: Vec<decisioning::ConsentLine>,
) -> decisioning::RulePackActivated {
    decisioning::RulePackActivated {
        market: market.into(),
        version,
        document: Some(decisioning::RulePack {
            rule_pack: market.into(),
            consent: lines,
            ..Default::default()
        }),
        effective_at: time(Timestamp(0)),
        ..Default::default()
    }
}

/// A line about promotion by e-mail.
pub(super) fn line(regime: Regime) -> decisioning::ConsentLine {
    decisioning::ConsentLine {
        purpose: Purpose::Promotional.into(),
        channels: vec![Channel::Email.into()],
        regime: regime.into(),
        ..Default::default()
    }
}
