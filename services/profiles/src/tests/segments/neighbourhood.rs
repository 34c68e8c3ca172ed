use rapport_proto::decisioning::v1 as decisioning;
use rapport_proto::journeys::v1 as journeys;
use rapport_proto::journeys::v1::journey_event::Event as Planned;

use super::super::neighbours::{line, pack};
use super::*;

fn journey(version: u32) -> Planned {
    let entry = journeys::entry::By::Segment(journeys::SegmentEntry {
        segment: "lapsing".into(),
        crossing: journeys::Crossing::Entered.into(),
    });
    Planned::Activated(journeys::JourneyVersionActivated {
        version,
        journey: Some(journeys::Journey {
            journey: "win-back".into(),
            description: "For those in segments of 'nobody'.".into(),
            entry: Some(journeys::Entry { by: Some(entry) }),
            exit_when: vec!["'excluded' in segments || traits.orders > 9".into()],
            ..Default::default()
        }),
        ..Default::default()
    })
}

async fn uses(world: &World, segment_id: &str, expected: &[(&str, &str, u32)]) {
    let request =
        || proto::GetSegmentRequest { name: segment_name(segment_id), ..Default::default() };
    let mut told = Vec::new();
    for _ in 0..24_000 {
        let found = world.segments().get_segment(request()).await.expect("found").into_inner();
        told = found.uses.into_iter().map(|it| (it.kind, it.id, it.version)).collect::<Vec<_>>();
        let same = told.iter().map(|(kind, id, version)| (&**kind, &**id, *version));
        if same.eq(expected.iter().copied()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{told:?} instead of {expected:?}");
}

#[tokio::test]
async fn a_segment_tells_which_live_documents_name_it() {
    let world = World::among_neighbours().await;
    for id in ["lapsing", "excluded", "kol", "nobody"] {
        world.save_segment(id, "true").await;
    }
    world.plans(ACME, "win-back", journey(1)).await;
    world.plans(ACME, "win-back", journey(2)).await;
    world.plans(UMBRELLA, "other", journey(1)).await;
    uses(&world, "lapsing", &[("journey", "win-back", 1), ("journey", "win-back", 2)]).await;
    uses(&world, "excluded", &[("journey", "win-back", 1), ("journey", "win-back", 2)]).await;
    uses(&world, "nobody", &[]).await;
    let retired = journeys::JourneyVersionRetired { version: 1, ..Default::default() };
    world.plans(ACME, "win-back", Planned::Retired(retired)).await;
    uses(&world, "lapsing", &[("journey", "win-back", 2)]).await;

    let policy = |version, rule: &str| {
        let group = decisioning::ActionGroup {
            group: "win-back".into(),
            eligibility: rule.into(),
            ..Default::default()
        };
        decisioning::policy_event::Event::Activated(decisioning::PolicyVersionActivated {
            version,
            policy: Some(decisioning::Policy { groups: vec![group], ..Default::default() }),
            ..Default::default()
        })
    };
    world.decides(policy(1, "\"kol\" in segments")).await;
    uses(&world, "kol", &[("policy", "default", 1)]).await;
    world.decides(policy(2, "true")).await;
    uses(&world, "kol", &[]).await;
    world.harness.stop().await;
}

#[tokio::test]
async fn a_rule_pack_moves_the_parties_of_its_market_when_it_takes_effect() {
    let world = World::among_neighbours().await;
    world.save_segment("allowed", "consent['PROMOTIONAL/EMAIL/northwind']").await;
    let german = world.party_of(PartyKind::Hcp).await;
    let american = world
        .register(proto::RegisterPartyRequest {
            market: "US".into(),
            ..registration(PartyKind::Hcp)
        })
        .await;
    world.settle().await;
    let opt_out = line(Regime::OptOut);
    world.activate(pack("DE", 1, vec![opt_out.clone()])).await;
    entered(&world, &[&german]).await;
    assert_eq!(world.crossings(&german, "allowed").await, [(true, START, true)]);
    // A pack that takes effect later moves them then, and one that is retired at once.
    let later = decisioning::RulePackActivated {
        effective_at: time(day(3)),
        ..pack("DE", 2, vec![line(Regime::OptIn)])
    };
    world.activate(later).await;
    expected(&world, 1).await;
    world.pass(day(3)).await;
    assert_eq!(world.crossings(&german, "allowed").await[1], (false, day(3), true));
    assert_eq!(world.crossings(&american, "allowed").await, []);
    world.harness.stop().await;
}

#[tokio::test]
async fn what_a_rule_pack_means_for_everybody_is_a_work_item_and_no_event_waits_for_it() {
    let world = World::among_neighbours().await;
    world.activate(pack("DE", 1, vec![line(Regime::OptOut)])).await;
    let decisioning = &world.harness.deps("decisioning").store;
    let stream = decisioning.read_stream(ACME, "rule_pack/DE", eventstore::AsOf::Now).await;
    let event = &stream.expect("read")[0];
    let stated = eventstore::TimerOp::Set {
        id: format!("rule_pack/DE/{}", event.position),
        kind: "segment.judge",
        stream: "rule_pack/DE".into(),
        due_at: event.recorded_at(),
    };
    let packs = &crate::view::pack::Packs;
    assert_eq!(eventstore::View::timers(packs, event).expect("stated"), [stated]);
    let definitions = crate::segments::Definitions::new(world.store());
    assert_eq!(crate::segments::consumer(&definitions).sources, ["profiles"]);
    world.harness.stop().await;
}

/// Waits until exactly these are in.
async fn entered(world: &World, parties: &[&String]) {
    for _ in 0..24_000 {
        if world.members("allowed").await.iter().eq(parties.iter().copied()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{:?} are in", world.members("allowed").await);
}

/// Waits until so many crossings are expected.
async fn expected(world: &World, timers: i64) {
    for _ in 0..24_000 {
        if world.timers().await == timers {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{} timers stand", world.timers().await);
}
