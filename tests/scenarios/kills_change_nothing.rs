//! Every target is killed again and again (SIGKILL) while instances run on PostgreSQL and nats-server, and orders come at
//! any time: every instance ends where it ends when nobody is killed, no message is sent twice, and what a receiver is
//! told twice has one id.

use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::time::Duration;

use eventstore::{Ids, Timestamp};
use rapport::remote::told;
use rapport::targets::TARGETS;
use rapport_proto::delivery::v1::Touch;
use rapport_proto::delivery::v1::touch::State;
use rapport_proto::profiles::v1::{NewInteraction, RecordInteractionsRequest, new_interaction};
use rapport_proto::types::{Channel, PartyKind};
use support::{Receiver, Topology, eventually};

use crate::stage::{LETTER, POLICY, Stage};

/// Parties that run through the journey, and kills while they are on their way.
const PARTIES: usize = 52;
/// The same where messages leave as webhooks.
const OVER_WEBHOOKS: usize = 20;
const _: () = assert!(OVER_WEBHOOKS >= 2 * TARGETS.len(), "every target is killed");
/// How long everything may take to settle after the last kill: a claim of a killed process holds for half a minute, and
/// the machine may be slow.
const PATIENCE: Duration = Duration::from_secs(600);
/// Pause after a kill, in which things go on.
const BREATH: Duration = Duration::from_millis(200);

const JOURNEY: &str = r#"
journey: hardy
sender: northwind
markets: [US]
audiences: [HCP]
entry: {event: {event: Started}}
reentry: never
start: choose
nodes:
  choose: {decide: {slot: {channels: [EMAIL]}, groups: [win-back], chosen: write, nothing: part, unavailable: lost}}
  write: {touch: {decision: choose, sent: part, skipped: held, failed: lost}}
  part: {split: {salt: hardy, arms: [{name: a, weight: 1, next: pause}, {name: b, weight: 1, next: watch}]}}
  pause: {wait: {for: 2s, next: again}}
  again: {touch: {module: letter, channel: EMAIL, sent: done, skipped: held, failed: lost}}
  watch: {wait_event: {any: [{event: Ordered, next: ordered}], timeout: 1h, timed_out: late}}
  done: {exit: {outcome: done}}
  ordered: {exit: {outcome: ordered}}
  late: {exit: {outcome: late}}
  held: {exit: {outcome: held}}
  lost: {exit: {outcome: lost}}
"#;

/// What became of a party: outcome, and per touch its module and state.
type Ends = BTreeMap<String, (String, Vec<(String, i32)>)>;

/// Nothing is rewarded before two weeks are over: a midnight in between publishes no priors, and the same is drawn for
/// everybody in either run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_instance_ends_where_an_undisturbed_run_does() {
    let (undisturbed, stage) = by_mail(None).await;
    stage.finish().await;
    let outcomes: BTreeSet<_> = undisturbed.values().map(|it| it.0.as_str()).collect();
    assert!(outcomes.contains("done") && outcomes.contains("ordered"), "{outcomes:?}");
    let seed = seed();
    let (disturbed, stage) = by_mail(Some(seed)).await;
    let mut differing = Vec::new();
    for (party, ends) in disturbed.iter().filter(|it| undisturbed.get(it.0) != Some(it.1)) {
        let steps = stage.steps(&stage.instance(party).await).await;
        differing.push(format!("{:?} became {ends:?}: {steps:?}", undisturbed.get(party)));
    }
    assert_eq!(differing, Vec::<String>::new(), "seed {seed}");
    stage.finish().await;
}

/// Every second kill is of the target that calls the receiver.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_webhook_arrives_and_is_repeated_under_its_id_only() {
    let mut receiver = None;
    let change = |it: &mut _| receiver = Some(Receiver::of_webhooks(it));
    let mut stage = Stage::on_system_clock(Topology::Distributed, change).await;
    let receiver = receiver.expect("a receiver");
    let called = |text: &str| text.replace("EMAIL", "WEBHOOK").replace("letter", "notice");
    stage.cast.approve_module("notice", &called(LETTER)).await.expect("approved");
    // Once others have heard of the module.
    let (policy, journey) = (called(POLICY), called(JOURNEY).replace("US", "DE"));
    eventually("a policy", async || stage.cast.put_policy_live(&policy).await.is_ok()).await;
    eventually("a journey", async || stage.cast.publish_journey(&journey).await.is_ok()).await;
    let url = format!("https://127.0.0.1:{}/ok", receiver.port);
    let mut parties = Vec::new();
    for number in 0..OVER_WEBHOOKS {
        let address = (Channel::Webhook, url.clone());
        let name = format!("p{number}");
        parties.push(stage.party_at(&name, PartyKind::Hcp, "DE", "", address).await);
    }
    let ids = Ids::seeded(seed());
    run(&mut stage, &parties, &ids, killed(&ids).flat_map(|it| [it, "delivery"])).await;
    arrived(&stage, &parties, &receiver).await;
    stage.finish().await;
}

/// A seed by chance, which the output of a failing test tells.
fn seed() -> u64 {
    let seed = u64::from_be_bytes(Ids::system().bytes::<8>());
    println!("seed of the kills: {seed}");
    seed
}

/// A run whose messages are files; without a seed nobody is killed.
async fn by_mail(seed: Option<u64>) -> (Ends, Stage) {
    let mut stage = Stage::on_system_clock(Topology::Distributed, |_| ()).await;
    stage.cast.publish_journey(JOURNEY).await.expect("published");
    let mut parties = Vec::new();
    for number in 0..PARTIES {
        parties.push(stage.party(&format!("p{number}"), PartyKind::Hcp, "US", "").await);
    }
    let ids = Ids::seeded(seed.unwrap_or_default());
    match seed {
        Some(_) => run(&mut stage, &parties, &ids, killed(&ids)).await,
        None => run(&mut stage, &parties, &ids, iter::empty()).await,
    }
    (ends(&stage, &parties).await, stage)
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
        record(stage, pair.into()).await;
        if let Some(target) = killed.next() {
            stage.platform.restart(target);
            stage.meet();
            tokio::time::sleep(BREATH).await;
        }
    }
    settled(stage, parties).await;
}

/// What a party does: name of the interaction, and the party.
type Did<'p> = (&'static str, &'p str);

/// Everybody starts in turn, and orders at any time after that: at once, while a decision is made or a message is on its
/// way, or when the instance has waited for it for long.
fn schedule<'p>(ids: &Ids, parties: &'p [String]) -> Vec<Did<'p>> {
    let mut schedule: Vec<Did<'p>> = parties.iter().map(|it| ("Started", it.as_str())).collect();
    for party in parties {
        let started = schedule.iter().position(|it| *it == ("Started", party)).expect("starts");
        let after = below(ids, schedule.len() - started);
        schedule.insert(started + 1 + after, ("Ordered", party));
    }
    schedule
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

/// A number below another one, by chance.
fn below(ids: &Ids, limit: usize) -> usize {
    usize::from(u16::from_be_bytes(ids.bytes())) % limit
}

/// Records what two parties did, in one request and so in one unit; tried again until `profiles` is there.
async fn record(stage: &Stage, pair: [Did<'_>; 2]) {
    let message_id = |(name, party): Did<'_>| format!("{name}-{party}");
    let interaction = |did: Did<'_>| NewInteraction {
        message_id: message_id(did),
        name: did.0.into(),
        occurred_time: Some(Timestamp::real().to_proto()),
        party: Some(new_interaction::Party::PartyId(did.1.to_owned())),
        ..NewInteraction::default()
    };
    let request = RecordInteractionsRequest {
        parent: stage.remote.name("sources", "shop"),
        interactions: pair.map(interaction).into(),
        request_id: format!("record-{}", message_id(pair[0])),
    };
    eventually("the interactions are recorded", async || {
        told(stage.remote.sources.clone().record_interactions(request.clone()).await).is_ok()
    })
    .await;
}

/// Waits until every party's instance has ended.
async fn settled(stage: &Stage, parties: &[String]) {
    let give_up = tokio::time::Instant::now() + PATIENCE;
    for party in parties {
        loop {
            let instances = stage.instances(party).await;
            let newest = instances.first();
            if newest.is_some_and(|it| it.end_time.is_some()) {
                break;
            }
            if tokio::time::Instant::now() > give_up {
                let steps = match newest {
                    Some(it) => stage.steps(it).await,
                    None => Vec::new(),
                };
                panic!(
                    "{party} does not settle: {newest:?} {steps:?} {:?}",
                    stage.touches(party).await
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Where everybody ended; checks that each message left once.
async fn ends(stage: &Stage, parties: &[String]) -> Ends {
    let files = stage.outbox();
    let mut ends = Ends::new();
    for party in parties {
        let mut touches = stage.touches(party).await;
        touches.sort_by_key(|it| it.create_time.map(|at| (at.seconds, at.nanos)));
        for touch in touches.iter().filter(|it| it.state() == State::Sent) {
            let id = &touch.request.as_ref().expect("a request").touch_id;
            let left = files.iter().filter(|it| it.contains(id.as_str())).count();
            assert_eq!(left, 1, "{id} left once");
        }
        let told = |it: &Touch| (it.request.clone().unwrap_or_default().module, it.state);
        let instance = stage.instance(party).await;
        ends.insert(party.clone(), (instance.outcome, touches.iter().map(told).collect()));
    }
    let sent = ends.values().flat_map(|it| &it.1).filter(|it| it.1 == State::Sent as i32).count();
    assert_eq!(files.len(), sent, "as many files as messages sent");
    ends
}

/// Checks that every message arrived, and that the receiver was told of no other: twice only of one that was tried twice.
async fn arrived(stage: &Stage, parties: &[String], receiver: &Receiver) {
    let mut sent = Vec::new();
    for party in parties {
        let outcome = stage.instance(party).await.outcome;
        let touches = stage.touches(party).await;
        assert!(outcome == "done" || outcome == "ordered", "{outcome}: {touches:#?}");
        sent.extend(touches);
    }
    // It has told of each before it answered, but a line may still be on its way to here.
    eventually("the receiver tells of every message", async || {
        let told = calls(receiver);
        sent.iter().all(|it| told.contains_key(touch_id(it)))
    })
    .await;
    let mut told = calls(receiver);
    for touch in &sent {
        let calls = told.remove(touch_id(touch)).unwrap_or_default();
        assert_eq!(touch.state(), State::Sent, "{touch:#?}");
        assert!((1..=touch.attempts).contains(&calls), "{calls} calls: {touch:#?}");
    }
    assert_eq!(told, BTreeMap::new(), "nobody asked for these");
    assert_eq!(stage.outbox(), Vec::<String>::new());
}

/// How often the receiver was told of each message.
fn calls(receiver: &Receiver) -> BTreeMap<String, u32> {
    let mut told = BTreeMap::new();
    for line in receiver.lines() {
        let id = line.rsplit(' ').next().unwrap_or_default();
        *told.entry(id.to_owned()).or_default() += 1;
    }
    told
}

fn touch_id(touch: &Touch) -> &str {
    touch.request.as_ref().map(|it| it.touch_id.as_str()).unwrap_or_default()
}
