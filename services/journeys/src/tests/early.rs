//! What happens before an instance waits for it, with the reactor and the workers as they run, and the services around
//! them as tests set them.

use eventstore::Reactor as _;
use proto::instance::State as S;
use rapport_proto::decisioning::v1::{
    Calendar, RulePack as Document, RulePackActivated, RulePackRetired, rule_pack_event,
};
use rapport_proto::delivery::v1::{TouchSent, touch_event};
use rapport_proto::profiles::v1::{InteractionRecorded, interaction_event};

use super::crowds::happened;
use super::peers::{self, Facts, Interaction, PARTY, RulePack, Touch, physician, write};
use super::*;
use crate::consumers::Reports;
use crate::graphs::Graphs;

/// Says something, then waits for an order.
pub(super) const WIN_BACK: &str = "journey: welcome
sender: northwind
markets: [DE]
audiences: [HCP]
entry: {event: {event: Started}}
reentry: never
start: write
nodes:
  write: {touch: {module: letter, channel: EMAIL, sent: watch, skipped: watch, failed: watch}}
  watch: {wait_event: {any: [{event: Ordered, next: done}], timeout: 14d, timed_out: late}}
  done: {exit: {outcome: ordered}}
  late: {exit: {outcome: late}}
";

impl World {
    /// With the services around it, and a journey that is live.
    pub(super) async fn among_peers(yaml: &str) -> (Self, Facts) {
        let [profiles, delivery, feedback, decisioning] = peers::TARGETS;
        let targets = [profiles, delivery, feedback, decisioning, TARGET];
        let world = Self { harness: Harness::start(&targets).await };
        let facts = peers::facts_of(world.harness.deps("journeys"));
        *facts.lock() = Some(physician());
        publish(&world, yaml).await;
        (world, facts)
    }

    fn store_of(&self, target: &str) -> &eventstore::Store {
        &self.harness.deps(target).store
    }

    pub(super) async fn happens(&self, name: &str) {
        let recorded = InteractionRecorded { name: name.into(), ..Default::default() };
        let event = interaction_event::Event::Recorded(recorded);
        write::<Interaction>(self.store_of("profiles"), &format!("int_{name}"), event).await;
    }

    /// The events of a stream, as the journeys service has it, once it satisfies something.
    async fn told(&self, stream: &str, enough: impl Fn(&[String]) -> bool) -> Vec<String> {
        let store = self.store_of("journeys");
        let told = async {
            loop {
                let events = store.read_stream(ACME, stream, eventstore::AsOf::Now).await;
                let names: Vec<_> = (events.expect("read").iter())
                    .filter_map(|it| it.envelope.r#type.rsplit('.').next().map(str::to_owned))
                    .collect();
                if enough(&names) {
                    return names;
                }
                tokio::time::sleep(GLANCE).await;
            }
        };
        tokio::time::timeout(PATIENCE, told).await.expect("in time")
    }

    /// The only instance, once it has come somewhere.
    pub(super) async fn comes(&self, there: impl Fn(&proto::Instance) -> bool) -> proto::Instance {
        let request = || proto::ListInstancesRequest { parent: parent(), ..Default::default() };
        let comes = async {
            loop {
                let listed = self.client().list_instances(request()).await.expect("listed");
                match listed.into_inner().instances.pop() {
                    Some(instance) if there(&instance) => return instance,
                    _ => tokio::time::sleep(GLANCE).await,
                }
            }
        };
        tokio::time::timeout(PATIENCE, comes).await.expect("in time")
    }
}

/// Content is not asked about here: the journey is live as if it had been checked.
async fn publish(world: &World, yaml: &str) {
    use crate::domain::journey::{self, Journey};
    let definition: proto::Journey = authored::document::parse(yaml).expect("a journey");
    let store = world.store_of("journeys");
    let meta = eventstore::Metadata {
        tenant: ACME.into(),
        method: "test".into(),
        request_id: "publish".into(),
        at: world.harness.clock.now(),
        ..Default::default()
    };
    let hash = vec![1; 32];
    let drafted = proto::JourneyVersionDrafted {
        version: 1,
        journey: Some(definition.clone()),
        hash: hash.clone(),
        ..Default::default()
    };
    let activated = proto::JourneyVersionActivated {
        version: 1,
        journey: Some(definition),
        hash,
        ..Default::default()
    };
    let events = vec![
        proto::journey_event::Event::Drafted(drafted),
        proto::journey_event::Event::Activated(activated),
    ];
    let mut unit = store.unit(meta);
    let state = journey::State::default();
    unit.push::<Journey>("welcome", 0, &state, events).await.expect("pushed");
    let outcome = store.append(unit.finish().expect("a unit")).await;
    assert!(matches!(outcome, eventstore::Outcome::Committed { .. }), "{outcome:?}");
}

fn count(names: &[String], name: &str) -> usize {
    names.iter().filter(|it| *it == name).count()
}

#[tokio::test]
async fn an_order_that_is_placed_while_its_mail_is_on_its_way_counts() {
    let (world, _facts) = World::among_peers(WIN_BACK).await;
    world.happens("Started").await;
    let instance = world.comes(|it| it.node == "write").await;
    let stream = format!("instance/{}", instance.instance_id);
    world.happens("Ordered").await;
    let kept = world.told(&stream, |it| count(it, "InstanceWoken") > 0).await;
    assert_eq!(kept, ["InstanceStarted", "InstanceTouchRequested", "InstanceWoken"]);
    assert_eq!(world.store_of("journeys").next_due().await.expect("read"), None, "no look");
    // A day later it is known what became of the mail.
    world.harness.clock.advance(std::time::Duration::from_secs(86_400));
    let request =
        proto::ListInstanceStepsRequest { parent: instance.name.clone(), ..Default::default() };
    let steps = world.client().list_instance_steps(request).await.expect("listed");
    let steps = steps.into_inner().steps;
    let last = steps.last().expect("a step");
    assert_eq!(last.text, "Ordered happened: keeps it for a wait that follows.");
    let touch_id = &steps[1].about;
    let sent = touch_event::Event::Sent(TouchSent::default());
    write::<Touch>(world.store_of("delivery"), touch_id, sent).await;
    let ended = world.comes(|it| it.end_time.is_some()).await;
    assert_eq!((ended.state(), ended.outcome.as_str()), (S::Completed, "ordered"));
    world.harness.stop().await;
}

#[tokio::test]
async fn an_order_that_is_placed_before_the_instance_has_started_counts() {
    let (world, facts) = World::among_peers(WIN_BACK).await;
    // Nobody can tell whether the party may enter.
    *facts.lock() = None;
    world.happens("Started").await;
    let stream = format!("entry/welcome.{PARTY}");
    world.told(&stream, |it| it == ["InstanceEntryRequested"]).await;
    world.happens("Browsed").await;
    world.happens("Ordered").await;
    let heard = world.told(&stream, |it| it.len() > 1).await;
    assert_eq!(heard, ["InstanceEntryRequested", "InstanceEntryHeard"]);
    *facts.lock() = Some(physician());
    let instance = world.comes(|it| it.node == "write").await;
    let steps = format!("instance/{}", instance.instance_id);
    let steps = world.told(&steps, |it| it.len() > 2).await;
    assert_eq!(steps, ["InstanceStarted", "InstanceTouchRequested", "InstanceWoken"]);
    let loaded = world.store_of("journeys").load::<crate::domain::instance::Instance>(
        ACME,
        &instance.instance_id,
        eventstore::AsOf::Now,
    );
    let state = loaded.await.expect("read").state;
    let touch_id = state.awaited_touch().expect("a touch");
    let sent = touch_event::Event::Sent(TouchSent::default());
    write::<Touch>(world.store_of("delivery"), touch_id, sent).await;
    assert_eq!(world.comes(|it| it.end_time.is_some()).await.outcome, "ordered");
    // The request was answered: what comes now is nobody's.
    let rows = world.store_of("journeys").query("SELECT request FROM entry_request", vec![]).await;
    assert_eq!(rows.expect("read").len(), 0);
    world.harness.stop().await;
}

#[tokio::test]
async fn an_entry_that_is_answered_while_an_order_is_handled_is_looked_for_again() {
    let (world, _facts) = World::among_peers(WIN_BACK).await;
    let store = world.store_of("journeys");
    // The entry was found, and when its stream is read it has been answered: the instance was not found yet.
    let found = "INSERT INTO entry_request (tenant, party_id, journey_id, request, version)
         VALUES ($1, $2, 'welcome', 1, 1)";
    store.database().exec(found, eventstore::values![ACME, PARTY]).await.expect("written");
    let reports = Reports::new(store, &Graphs::new(store));
    let react = async |name: &str| {
        let event = happened(store, name, 7).await;
        reports.react(store, &event, world.meta("journeys/profiles/7")).await
    };
    assert!(react("Ordered").await.is_err_and(|it| it.is_transient()), "it is handled again");
    assert!(react("Browsed").await.is_ok_and(|it| it.is_none()), "what nobody wants is nothing");
    world.harness.stop().await;
}

#[tokio::test]
async fn a_pack_that_was_retired_does_not_bring_an_earlier_one_back() {
    let (world, _facts) = World::among_peers(WIN_BACK).await;
    let store = world.store_of("decisioning");
    let now = world.harness.clock.now();
    let activated = |version: u32, zone: &str| {
        let calendar = Calendar { time_zones: vec![zone.into()], ..Default::default() };
        let document = Document { calendar: Some(calendar), ..Default::default() };
        rule_pack_event::Event::Activated(RulePackActivated {
            market: "DE".into(),
            version,
            document: Some(document),
            effective_at: Some(now.to_proto()),
            ..Default::default()
        })
    };
    let zones = async || {
        let deps = world.harness.deps("journeys");
        deps.caught_up(
            &[crate::view::zone::CONSUMER],
            &[("decisioning".to_owned(), store.head().position)].into(),
        )
        .await
        .expect("handled");
        let zones = crate::view::zone::of_market(deps.store.database(), ACME, "DE", now).await;
        zones.expect("read").iter().map(|it| it.name().to_owned()).collect::<Vec<_>>()
    };
    write::<RulePack>(store, "DE", activated(1, "Europe/Paris")).await;
    write::<RulePack>(store, "DE", activated(2, "Europe/Berlin")).await;
    assert_eq!(zones().await, ["Europe/Berlin"]);
    let retired = RulePackRetired { version: 2, ..Default::default() };
    write::<RulePack>(store, "DE", rule_pack_event::Event::Retired(retired)).await;
    let ends: Vec<_> = crate::view::zone::ends().iter().map(|it| it.name().to_owned()).collect();
    assert_eq!(zones().await, ends, "no rules, and not those of Paris");
    write::<RulePack>(store, "DE", activated(3, "Europe/Rome")).await;
    assert_eq!(zones().await, ["Europe/Rome"]);
    world.harness.stop().await;
}
