//! What happens before the wait for it.

use proptest::prelude::*;

use super::super::walk::{EVENT, KEPT, MOST_KEPT};
use super::super::*;
use super::world::{DAY, START, World, journey, text};

const TOUCH: &str =
    "  a: {touch: {module: hello, channel: EMAIL, sent: w, skipped: w, failed: w}}\n";
const WATCH: &str = "  w: {wait_event: {any: [{event: Order, where: 'event.total > 10', next: z}], timeout: 3d, timed_out: late}}\n  late: {exit: {outcome: late}}\n";

fn total(value: f64) -> [(&'static str, Clear); 1] {
    [("total", text::number(value))]
}

/// What became of the touch is known now.
fn settle(world: &mut World) -> Vec<&'static str> {
    let touch_id = world.state.awaited_touch().expect("a touch").to_owned();
    world.settled(&touch_id, "sent");
    world.look()
}

/// Which interactions matched, by a number each has.
fn matched(world: &World) -> Vec<(String, Option<Clear>)> {
    let matched = world.events.iter().filter_map(|it| match it {
        Event::EventMatched(it) => Some((it.node.clone(), it.properties.get("total").cloned())),
        _ => None,
    });
    matched.collect()
}

#[test]
fn an_order_while_a_touch_is_settled_counts() {
    let mut world = World::start(&format!("{TOUCH}{WATCH}"));
    assert_eq!(world.told("Order", &total(1.0)), None, "not what will be waited for");
    assert_eq!(world.told("Visit", &[]), None);
    // A day goes by in which nobody knows what became of the message.
    world.at = after(world.at, DAY);
    assert_eq!(world.told("Order", &total(11.0)), Some(KEPT));
    world.at = after(world.at, 1);
    assert_eq!(world.told("Order", &total(12.0)), Some(KEPT));
    assert_eq!(world.look(), Vec::<&str>::new());
    world.at = after(world.at, DAY);
    assert_eq!(
        settle(&mut world),
        [
            "InstanceTouchSettled",
            "InstanceWaitStarted",
            "InstanceEventMatched",
            "InstanceCompleted"
        ]
    );
    assert_eq!(matched(&world), [("w".to_owned(), Some(text::number(11.0)))], "the oldest");
    assert_eq!(world.state.outcome, "done");
}

#[test]
fn without_one_the_wait_lasts_as_long_as_it_says() {
    let mut world = World::start(&format!("{TOUCH}{WATCH}"));
    world.at = after(world.at, DAY);
    assert_eq!(settle(&mut world), ["InstanceTouchSettled", "InstanceWaitStarted"]);
    assert_eq!(world.due(), Some(after(START, 4 * DAY)));
    world.at = after(START, 4 * DAY);
    assert_eq!(world.look(), ["InstanceTimedOut", "InstanceCompleted"]);
}

#[test]
fn an_order_while_a_decision_is_made_counts_also_behind_the_touch() {
    let mut world = World::start(&format!(
        "  a: {{decide: {{chosen: t, nothing: w, unavailable: w}}}}\n  t: {{touch: {{decision: a, sent: w, skipped: w, failed: w}}}}\n{WATCH}"
    ));
    assert_eq!(world.told("Order", &total(11.0)), Some(KEPT));
    world.answer(Answer::Unavailable("timeout".into()));
    assert_eq!(world.state.outcome, "done");
}

#[test]
fn what_waits_for_a_look_when_an_answer_comes_is_looked_at_first() {
    let definition = journey(
        "goals: [{name: ordered, event: Order}]\n",
        &format!("  a: {{decide: {{chosen: w, nothing: w, unavailable: w}}}}\n{WATCH}"),
    );
    let mut world = World::of(&definition);
    // A goal is looked at; and it is kept.
    assert_eq!(world.told("Order", &total(11.0)), Some(EVENT));
    assert_eq!(
        world.answer(Answer::Unavailable("timeout".into())),
        [
            "InstanceGoalReached",
            "InstanceWoken",
            "InstanceDecided",
            "InstanceWaitStarted",
            "InstanceEventMatched",
            "InstanceCompleted"
        ]
    );
    // Looked at before the answer, it is kept once.
    let mut world = World::of(&definition);
    world.event("Order", &total(11.0));
    assert_eq!(world.look(), ["InstanceGoalReached", "InstanceWoken"]);
    assert_eq!(world.look(), Vec::<&str>::new());
    assert_eq!((world.state.open.len(), world.state.kept.len()), (0, 1));
    world.answer(Answer::Unavailable("timeout".into()));
    assert_eq!(world.state.outcome, "done");
}

#[test]
fn what_was_recorded_before_a_wait_was_over_is_not_heard_after_it() {
    let nodes = format!(
        "  a: {{touch: {{module: hello, channel: EMAIL, sent: p, skipped: p, failed: p}}}}\n  p: {{wait: {{for: 1d, next: w}}}}\n{WATCH}"
    );
    // Nothing is kept across a wait that is not over: neither before it begins, nor while it lasts.
    let mut world = World::start(&nodes);
    assert_eq!(world.told("Order", &total(11.0)), None);
    settle(&mut world);
    let due = world.due().expect("a timer");
    world.at = due;
    assert_eq!(world.told("Order", &total(12.0)), None, "an event precedes a timer");
    // The worker is late: what comes after the instant is heard as if it had been there.
    world.at = after(due, 1);
    assert_eq!(world.told("Order", &total(13.0)), Some(KEPT));
    world.at = after(due, 10);
    world.look();
    assert_eq!(matched(&world), [("w".to_owned(), Some(text::number(13.0)))]);
}

#[test]
fn an_order_after_a_timeout_that_nobody_looked_at_is_for_the_next_wait() {
    let nodes = format!(
        "  a: {{wait_event: {{any: [{{event: Order, next: z}}], timeout: 1d, timed_out: t}}}}\n  t: {{touch: {{module: hello, channel: EMAIL, sent: w, skipped: w, failed: w}}}}\n{WATCH}"
    );
    for (late, expected) in [(0, "a"), (1, "w")] {
        let mut world = World::start(&nodes);
        world.at = after(START, DAY + late);
        world.event("Order", &total(11.0));
        world.at = after(world.at, 10);
        world.look();
        if !world.state.is_ended() {
            settle(&mut world);
        }
        assert_eq!(matched(&world), [(expected.to_owned(), Some(text::number(11.0)))]);
    }
}

#[test]
fn each_wait_takes_its_own_from_the_line() {
    let nodes = "  a: {touch: {module: hello, channel: EMAIL, sent: b, skipped: b, failed: b}}\n  b: {wait_event: {any: [{event: Order, next: c}], timeout: 3d, timed_out: z}}\n  c: {touch: {module: hello, channel: EMAIL, sent: d, skipped: d, failed: d}}\n  d: {wait_event: {any: [{event: Visit, next: e}], timeout: 3d, timed_out: z}}\n  e: {wait_event: {any: [{event: Order, next: z}], timeout: 3d, timed_out: z}}\n";
    let mut world = World::start(nodes);
    for (n, name) in (1_u8..).zip(["Visit", "Order", "Order", "Visit", "Other"]) {
        world.at = after(world.at, 1);
        assert_eq!(world.event(name, &total(n.into())), name != "Other");
    }
    settle(&mut world);
    settle(&mut world);
    // The first visit stands before the order that ended the wait before; the second order before the visit.
    let expected = [("b", 2.0), ("d", 4.0)].map(|(node, n)| (node.into(), Some(text::number(n))));
    assert_eq!(matched(&world), expected);
    assert_eq!((world.state.node.as_str(), world.state.kept.len()), ("e", 0));
}

#[test]
fn an_instance_that_has_not_started_hears_what_it_would_have_heard() {
    let watch = journey(
        "goals: [{name: ordered, event: Order}]\n",
        "  a: {wait_event: {any: [{event: Order, where: 'entry.place == event.place', next: z}], timeout: 3d, timed_out: z}}\n",
    );
    let mut world = World::unstarted(&watch);
    let requested = proto::InstanceEntryRequested {
        entry: [("place".to_owned(), text::code("berlin"))].into(),
        cause: Some(proto::Cause { recorded_at: Some(START.to_proto()), ..Default::default() }),
        ..Default::default()
    };
    let asked = State::asked_for(&requested, &watch);
    let order =
        |world: &mut World, place| world.interaction("Order", &[("place", text::code(place))]);
    let (paris, berlin) = (order(&mut world, "paris"), order(&mut world, "berlin"));
    assert_eq!(walk::hears(&watch, &asked, &paris), Some(EVENT), "a goal");
    assert_eq!(walk::hears(&watch, &asked, &berlin), Some(EVENT));
    world.at = after(world.at, 5);
    assert_eq!(
        world.begin_having_heard(vec![paris, berlin]),
        [
            "InstanceStarted",
            "InstanceWaitStarted",
            "InstanceGoalReached",
            "InstanceEventMatched",
            "InstanceCompleted"
        ]
    );
    // Behind a touch it is kept.
    let mut world = World::unstarted(&journey("", &format!("{TOUCH}{WATCH}")));
    let order = world.interaction("Order", &total(11.0));
    let other = world.interaction("Order", &total(1.0));
    world.at = after(world.at, 5);
    assert_eq!(
        world.begin_having_heard(vec![other, order]),
        ["InstanceStarted", "InstanceTouchRequested", "InstanceWoken"]
    );
    settle(&mut world);
    assert_eq!(world.state.outcome, "done");
}

#[test]
fn only_so_much_is_kept_and_each_event_once() {
    let mut world = World::start(&format!("{TOUCH}{WATCH}"));
    for n in 0..2 * MOST_KEPT {
        world.at = after(world.at, 1);
        assert_eq!(world.event("Order", &total(11.0)), n < MOST_KEPT);
    }
    assert_eq!(world.state.kept.len(), MOST_KEPT);
    let again = world.state.kept[0].clone();
    assert_eq!(world.does(Command::Wake(vec![again.clone()])), Vec::<&str>::new());
    world.keep(vec![Event::Woken(again)]);
    assert_eq!(world.state.kept.len(), MOST_KEPT);
    // For a wait and for a goal that stand still one of a kind is enough.
    let goals = journey(
        "goals: [{name: visited, event: Visit}]\n",
        "  a: {wait_event: {any: [{event: Order, next: z}], timeout: 3d, timed_out: z}}\n",
    );
    let mut world = World::of(&goals);
    world.does(Command::Pause {
        timers: TimerMode::Freeze,
        reason: "incident".into(),
        paused_at: START,
    });
    for (name, written) in [("Order", true), ("Order", false), ("Visit", true), ("Visit", false)] {
        assert_eq!(world.event(name, &[]), written, "{name}");
    }
}

#[test]
fn what_comes_in_a_pause_is_kept_too() {
    for timers in [TimerMode::Freeze, TimerMode::Run] {
        let mut world = World::start(&format!("{TOUCH}{WATCH}"));
        world.does(Command::Pause { timers, reason: "incident".into(), paused_at: world.at });
        world.at = after(world.at, DAY);
        assert_eq!(world.told("Order", &total(11.0)), Some(KEPT));
        world.does(Command::Resume);
        let Some(Event::Resumed(it)) = world.events.last() else { panic!("resumed") };
        assert_eq!(Some(it.touch_id.as_str()), world.state.awaited_touch(), "to be judged again");
        settle(&mut world);
        assert_eq!(world.state.outcome, "done");
    }
}

#[test]
fn a_pause_that_comes_to_be_known_late_loses_nothing() {
    for timers in [TimerMode::Freeze, TimerMode::Run] {
        let mut world = World::start(
            "  a: {wait_event: {any: [{event: Order, next: z}], timeout: 1d, timed_out: t}}\n  t: {wait_event: {any: [{event: Order, next: late}], timeout: 1d, timed_out: late}}\n  late: {exit: {outcome: late}}\n",
        );
        let paused_at = after(START, DAY - 10);
        // The time seems to be over, and the order to be for the next wait.
        world.at = after(START, DAY + 10);
        assert_eq!(world.told("Order", &[]), Some(KEPT));
        world.does(Command::Pause { timers, reason: "incident".into(), paused_at });
        world.at = after(START, 2 * DAY);
        world.does(Command::Resume);
        world.look();
        assert_eq!(world.state.outcome, "done", "{timers:?}");
    }
}

/// A chain of waits for `x`, `y` or both, with touches between some of them.
fn chain(links: &[(u8, bool)]) -> String {
    let mut nodes = String::new();
    for (n, (which, said)) in links.iter().enumerate() {
        let name = |n: usize, prefix: &str| match (n, n < links.len()) {
            (_, false) => "z".to_owned(),
            (0, _) if prefix == "t" => "a".to_owned(),
            _ => format!("{prefix}{n}"),
        };
        let (touch, watch, next) = (name(n, "t"), name(n, "w"), name(n + 1, "t"));
        let first = if *said {
            format!(
                "{{touch: {{module: hello, channel: EMAIL, sent: {watch}, skipped: {watch}, failed: {watch}}}}}"
            )
        } else {
            format!("{{set: {{attribute: tier, value: '1', next: {watch}}}}}")
        };
        nodes.push_str(&format!("  {touch}: {first}\n"));
        let case = |event: &str| format!("{{event: {event}, next: {next}}}");
        let any = match which % 3 {
            0 => case("x"),
            1 => case("y"),
            _ => format!("{}, {}", case("x"), case("y")),
        };
        nodes.push_str(&format!(
            "  {watch}: {{wait_event: {{any: [{any}], timeout: 90d, timed_out: z}}}}\n"
        ));
    }
    nodes
}

/// Which interaction ends which wait, when looks and outcomes of touches come only now and then.
fn ends(nodes: &str, inputs: &[(bool, bool)], prompt: bool) -> Vec<(String, Option<Clear>)> {
    let mut world = World::start(nodes);
    let goes_on = |world: &mut World| {
        for _ in 0..100 {
            world.look();
            match world.state.awaited_touch() {
                Some(_) => drop(settle(world)),
                None => return,
            }
        }
    };
    for (n, (x, looks)) in (0_u8..).zip(inputs) {
        world.at = after(world.at, 1);
        world.event(if *x { "x" } else { "y" }, &total(n.into()));
        if prompt || *looks {
            goes_on(&mut world);
        }
    }
    goes_on(&mut world);
    matched(&world)
}

proptest! {
    #[test]
    fn an_instance_that_is_looked_at_late_goes_the_way_it_would_have_gone(
        links in proptest::collection::vec((any::<u8>(), any::<bool>()), 1..6),
        inputs in proptest::collection::vec((any::<bool>(), any::<bool>()), 0..15),
    ) {
        let nodes = chain(&links);
        prop_assert_eq!(ends(&nodes, &inputs, false), ends(&nodes, &inputs, true));
    }
}
