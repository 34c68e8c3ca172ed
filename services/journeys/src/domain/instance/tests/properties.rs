//! Whatever the graph and whatever comes: no panic, and after every input the instance waits, goes on, or has ended.

use proptest::prelude::*;

use super::super::*;
use super::world::{DAY, World, text};
use crate::graph::{Graph, Names, Node};

/// A node by number, with ways to any of `count` nodes.
fn node(kind: u8, ways: [u8; 3], count: u8) -> String {
    let [x, y, z] = ways.map(|it| format!("n{}", it % count));
    match kind % 11 {
        0 => format!("{{wait: {{for: 1d, next: {x}}}}}"),
        1 => format!("{{wait_until: {{local_time: '09:00', weekdays: [MON, FRI], next: {x}}}}}"),
        2 => format!("{{wait_date: {{attribute: renewal, offset: -1d, next: {x}, missing: {y}}}}}"),
        3 => format!(
            "{{wait_event: {{any: [{{event: Order, where: 'event.total > 1', next: {x}}}, {{event: Visit, next: {y}}}], timeout: 2d, timed_out: {z}}}}}"
        ),
        4 => format!(
            "{{branch: {{cases: [{{when: 'attributes.score > 1', next: {x}}}, {{when: 'attributes.none', next: {y}}}], else: {z}}}}}"
        ),
        5 => format!(
            "{{split: {{salt: s, arms: [{{name: one, weight: 1, next: {x}}}, {{name: two, weight: 2, next: {y}}}]}}}}"
        ),
        6 => format!("{{decide: {{chosen: {x}, nothing: {y}, unavailable: {z}}}}}"),
        7 => format!(
            "{{touch: {{module: hello, channel: EMAIL, sent: {x}, skipped: {y}, failed: {z}}}}}"
        ),
        8 => format!("{{ask: {{survey: nps, channel: EMAIL, issued: {x}, declined: {y}}}}}"),
        9 => format!("{{set: {{attribute: tier, value: 'attributes.score', next: {x}}}}}"),
        _ => "{exit: {outcome: done}}".to_owned(),
    }
}

/// The graph, if it passes the check.
fn graph(nodes: &[(u8, [u8; 3])]) -> Option<Arc<Graph>> {
    let count = u8::try_from(nodes.len()).ok()?;
    let mut text = String::from(
        "journey: small\nsender: northwind\nmarkets: [DE]\naudiences: [HCP]\nentry: {api: {}}\nreentry: unlimited\nstart: n0\nexit_when: ['attributes.left']\ngoals: [{name: g, event: Order}]\nnodes:\n",
    );
    for (n, (kind, ways)) in nodes.iter().enumerate() {
        text.push_str(&format!("  n{n}: {}\n", node(*kind, *ways, count)));
    }
    let definition = authored::document::parse(&text).ok()?;
    Graph::compile(&definition, &Names::default()).ok().map(Arc::new)
}

fn input(world: &mut World, what: u8, hours: i64) {
    world.at = after(world.at, hours * DAY / 24);
    match what % 10 {
        0 | 1 => {
            world.look();
            assert!(world.state.paused.is_some() || !overhears(world), "{:?}", world.state);
        }
        2 => drop(world.event("Order", &[("total", text::number(2.0))])),
        3 => drop(world.event("Visit", &[])),
        4 => {
            let touch_id = world.state.touches.values().last().cloned().unwrap_or_default();
            world.settled(
                &touch_id,
                ["sent", "skipped", "failed", "nonsense"][usize::from(what / 10) % 4],
            );
        }
        5 => drop(world.answer(Answer::Unavailable("timeout".into()))),
        6 => {
            let timers = if what > 100 { TimerMode::Freeze } else { TimerMode::Run };
            world.does(Command::Pause { timers, reason: "x".into(), paused_at: world.at });
        }
        7 => drop(world.does(Command::Resume)),
        8 => {
            world.zone(["Asia/Tokyo", "", "America/New_York"][usize::from(what) % 3]);
            world.facts_changed();
        }
        _ => {
            world.reading.attributes.insert("score".into(), text::number(f64::from(what)));
            world
                .reading
                .attributes
                .insert("renewal".into(), text::time(after(world.at, hours * DAY)));
            world.facts_changed();
        }
    }
}

fn stands_well(state: &State) -> bool {
    let goes_on = state.open.iter().any(|it| it.reason == walk::CONTINUE);
    let stands = state.is_ended() || state.wait.is_some() || goes_on;
    stands && state.kept.len() <= walk::MOST_KEPT && (!state.is_ended() || state.kept.is_empty())
}

/// It waits for an interaction that it has.
fn overhears(world: &World) -> bool {
    let waits = world.state.wait.as_ref().and_then(|it| world.graph.nodes.get(&it.node));
    let Some(Node::WaitEvent { .. }) = waits else { return false };
    let alone = State { kept: Vec::new(), open: Vec::new(), ..world.state.clone() };
    let hears = |it| walk::hears(&world.graph, &alone, it) == Some(walk::EVENT);
    world.state.kept.iter().any(hears)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn an_instance_always_waits_goes_on_or_has_ended(
        nodes in proptest::collection::vec((any::<u8>(), any::<[u8; 3]>()), 1..8),
        inputs in proptest::collection::vec((any::<u8>(), 0..60_i64), 0..40),
    ) {
        let Some(graph) = graph(&nodes) else { return Ok(()) };
        let mut world = World::of(&graph);
        prop_assert!(stands_well(&world.state));
        for (what, hours) in inputs {
            input(&mut world, what, hours);
            prop_assert!(stands_well(&world.state), "{:?}", world.state);
            prop_assert!(world.events.len() < 20_000);
        }
        // The state is what the facts add up to, and a wait that is over when nothing else is open fires.
        let folded = world.events.iter().fold(State::default(), Instance::evolve);
        prop_assert_eq!(&folded, &world.state);
    }

    /// Facts in any order: evolve is total.
    #[test]
    fn evolve_takes_any_facts_in_any_order(
        nodes in proptest::collection::vec((any::<u8>(), any::<[u8; 3]>()), 1..8),
        inputs in proptest::collection::vec((any::<u8>(), 0..60_i64), 0..40),
        order in any::<u64>(),
    ) {
        let Some(graph) = graph(&nodes) else { return Ok(()) };
        let mut world = World::of(&graph);
        for (what, hours) in inputs {
            input(&mut world, what, hours);
        }
        let mut events = world.events;
        let length = events.len().max(1);
        for n in 0..events.len() {
            events.swap(n, usize::try_from(order.wrapping_mul(n as u64 + 7)).unwrap_or(0) % length);
        }
        let _ = events.iter().fold(State::default(), Instance::evolve);
    }
}
