mod early;
mod pauses;
mod properties;
mod times;
mod world;

use world::{World, journey, text};

use super::*;
use crate::graph::Arm;

fn node(world: &World) -> &str {
    &world.state.node
}

#[test]
fn a_wait_lasts_exactly_as_long_as_it_says() {
    let mut world = World::start("  a: {wait: {for: 2d, next: z}}\n");
    assert_eq!(world.due(), Some(after(world::START, 2 * world::DAY)));
    world.at = after(world::START, 2 * world::DAY - 1);
    assert_eq!(world.look(), Vec::<&str>::new());
    world.at = after(world::START, 2 * world::DAY);
    assert_eq!(world.look(), ["InstanceTimerFired", "InstanceCompleted"]);
    assert_eq!((world.state.life, world.state.outcome.as_str()), (Life::Completed, "done"));
}

#[test]
fn an_event_is_matched_by_the_first_case_that_holds() {
    let nodes = "  a: {wait_event: {any: [{event: Order, where: 'event.total > 100', next: big}, {event: Order, next: small}, {event: Visit, where: 'event.place == entry.place', next: big}], timeout: 3d, timed_out: late}}\n  big: {exit: {outcome: big}}\n  small: {exit: {outcome: small}}\n  late: {exit: {outcome: late}}\n";
    let table = [
        ("Order", vec![("total", text::number(200.0))], Some("big")),
        ("Order", vec![("total", text::number(1.0))], Some("small")),
        ("Order", vec![], Some("small")),
        ("Visit", vec![("place", text::code("berlin"))], Some("big")),
        ("Visit", vec![("place", text::code("paris"))], None),
        ("Other", vec![], None),
    ];
    for (name, properties, expected) in table {
        let mut world = World::start(nodes);
        let properties: Vec<_> = properties.into_iter().collect();
        let concerned = world.event(name, &properties);
        assert_eq!(concerned, expected.is_some(), "{name} {properties:?}");
        world.look();
        assert_eq!(world.state.is_ended().then_some(world.state.outcome.as_str()), expected);
    }
    let mut world = World::start(nodes);
    world.at = after(world.at, 3 * world::DAY);
    assert_eq!(world.look(), ["InstanceTimedOut", "InstanceCompleted"]);
    assert_eq!(world.state.outcome, "late");
}

#[test]
fn an_event_and_its_timeout_at_the_same_instant_is_the_event_once() {
    let nodes = "  a: {wait_event: {any: [{event: Order, next: z}], timeout: 3d, timed_out: late}}\n  late: {exit: {outcome: late}}\n";
    // Recorded a moment before, at the instant, and a moment after the timeout; looked at when both are known.
    for (offset, expected) in [(-1, "done"), (0, "done"), (1, "late")] {
        let mut world = World::start(nodes);
        let due = after(world::START, 3 * world::DAY);
        world.at = after(due, offset);
        world.event("Order", &[]);
        world.at = after(due, 10);
        world.look();
        assert_eq!(world.state.outcome, expected, "{offset}");
        assert_eq!(world.look(), Vec::<&str>::new());
    }
}

#[test]
fn goals_come_before_exit_criteria_and_both_before_the_node() {
    let definition = journey(
        "exit_when: ['attributes.left']\ngoals: [{name: ordered, event: Order}]\n",
        "  a: {wait_event: {any: [{event: Order, next: z}], timeout: 3d, timed_out: z}}\n",
    );
    let mut world = World::of(&definition);
    world.reading.attributes.insert("left".into(), text::flag(true));
    world.event("Order", &[]);
    assert_eq!(world.look(), ["InstanceGoalReached", "InstanceExited"]);
    assert_eq!((world.state.life, world.state.outcome.as_str()), (Life::Exited, "attributes.left"));
    assert!(world.state.goals.contains("ordered"));
}

#[test]
fn a_goal_may_end_the_instance_and_is_reached_once_and_in_time() {
    let goals = |exit: bool| {
        journey(
            &format!(
                "goals: [{{name: ordered, event: Order, where: 'event.total > 10', within: 2d, exit: {exit}}}]\n"
            ),
            "  a: {wait: {for: 9d, next: z}}\n",
        )
    };
    let total = |value| [("total", text::number(value))];
    let mut world = World::of(&goals(true));
    assert!(!world.event("Order", &total(1.0)));
    assert!(world.event("Order", &total(11.0)));
    assert_eq!(world.look(), ["InstanceGoalReached", "InstanceCompleted"]);
    assert_eq!(world.state.outcome, "ordered");

    let mut world = World::of(&goals(false));
    world.event("Order", &total(11.0));
    assert_eq!(world.look(), ["InstanceGoalReached"]);
    assert!(!world.event("Order", &total(11.0)), "once");
    assert_eq!(world.look(), Vec::<&str>::new());

    let mut late = World::of(&goals(true));
    late.at = after(world::START, 2 * world::DAY + 1);
    late.event("Order", &total(11.0));
    assert_eq!(late.look(), Vec::<&str>::new());
}

#[test]
fn exit_criteria_hold_at_the_start_on_every_input_and_before_a_touch() {
    let definition = journey(
        "exit_when: [\"party.state != 'ACTIVE'\"]\n",
        "  a: {wait: {for: 1d, next: t}}\n  t: {touch: {module: hello, channel: EMAIL, sent: z, skipped: z, failed: z}}\n",
    );
    let mut world = World::of(&definition);
    world.reading.state = "SUPPRESSED".into();
    world.at = after(world.at, world::DAY);
    assert_eq!(world.look(), ["InstanceExited"]);
    let mut suppressed = World::unstarted(&definition);
    suppressed.reading.state = "SUPPRESSED".into();
    assert_eq!(suppressed.begin(), ["InstanceStarted", "InstanceExited"]);
    // Unknown is no.
    let mut unknown = World::of(&definition);
    unknown.reading.state = String::new();
    unknown.facts_changed();
    assert_eq!(unknown.look(), Vec::<&str>::new());
}

#[test]
fn a_branch_takes_the_first_case_and_tells_what_it_read() {
    let nodes = "  a: {branch: {cases: [{when: 'attributes.score > 5', next: z}, {when: \"party.market == 'DE'\", next: german}], else: z}}\n  german: {exit: {outcome: german}}\n";
    let world = World::start(nodes);
    assert_eq!(world.state.outcome, "german");
    let Some(Event::Branched(it)) = world.events.get(1) else { panic!("{:?}", world.events) };
    assert_eq!((it.case, it.next.as_str()), (1, "german"));
    let told: Vec<_> = it.values.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(told.len(), 2);
    assert!(told.contains(&"attributes.score=unknown".to_owned()));
    assert!(told.contains(&"party.market=\"DE\"".to_owned()));
}

#[test]
fn a_split_is_by_weight_and_sticks_to_the_party() {
    let nodes = "  a: {split: {salt: s, arms: [{name: one, weight: 3, next: w}, {name: two, weight: 1, next: w}]}}\n  w: {wait: {for: 1d, next: a}}\n";
    let mut world = World::start(nodes);
    let arm = world.state.arms["a"].clone();
    world.at = after(world.at, world::DAY);
    assert_eq!(world.look(), ["InstanceTimerFired", "InstanceSplit", "InstanceWaitStarted"]);
    assert_eq!(world.state.arms["a"], arm);
    let arms = [("one", 3), ("two", 1)].map(|(name, weight)| Arm {
        name: name.into(),
        weight,
        next: String::new(),
    });
    let ones = (0..10_000).filter(|n| {
        walk::choice::draw("s", &format!("pty_{n}"), &arms).is_some_and(|it| it.name == "one")
    });
    let share = ones.count();
    assert!((7_300..7_700).contains(&share), "{share} of 10,000");
}

fn decision(action: &str, expires_at: Option<Timestamp>) -> Answer {
    let decision = Decision {
        decision_id: "dec_1".into(),
        action: action.into(),
        treatment: "mail".into(),
        module: "hello".into(),
        channel: Channel::Email,
        expires_at,
    };
    Answer::Decided(decision, BTreeMap::from([("profiles".to_owned(), 7)]))
}

const DECIDES: &str = "  a: {decide: {chosen: t, nothing: n, unavailable: u}}\n  t: {touch: {decision: a, expires_after: 3d, slots: {name: \"decision.action\", gone: 'attributes.gone'}, sent: z, skipped: s, failed: f}}\n  n: {exit: {outcome: nothing}}\n  u: {exit: {outcome: unavailable}}\n  s: {exit: {outcome: skipped}}\n  f: {exit: {outcome: failed}}\n";

#[test]
fn a_decision_leads_on_by_its_answer() {
    let table = [
        (decision("win-back", None), None),
        (decision(walk::DO_NOTHING, None), Some("nothing")),
        (Answer::Unavailable("NO_LIVE_POLICY".into()), Some("unavailable")),
    ];
    for (answer, expected) in table {
        let mut world = World::start(DECIDES);
        assert!(matches!(
            world.state.wait.as_ref().map(|it| &it.for_what),
            Some(For::Decision { .. })
        ));
        // Looking does not answer it.
        assert_eq!(world.look(), Vec::<&str>::new());
        world.answer(answer);
        assert_eq!(world.state.is_ended().then_some(world.state.outcome.as_str()), expected);
    }
}

#[test]
fn a_touch_carries_out_the_decision_and_waits_for_what_becomes_of_it() {
    for (verdict, expected) in [("sent", "done"), ("skipped", "skipped"), ("failed", "failed")] {
        let mut world = World::start(DECIDES);
        let expires_at = after(world.at, world::DAY);
        world.answer(decision("win-back", Some(expires_at)));
        let Some(Event::TouchRequested(it)) = world.events.last() else {
            panic!("{:?}", world.events)
        };
        assert_eq!((it.module.as_str(), it.decision_id.as_str()), ("hello", "dec_1"));
        assert_eq!(it.expires_at, Some(expires_at.to_proto()), "not longer than the decision");
        assert_eq!(it.slots.get("name").map(String::as_str), Some("win-back"));
        assert!(!it.slots.contains_key("gone"));
        let touch_id = it.touch_id.clone();
        assert_eq!(world.state.awaited_touch(), Some(touch_id.as_str()));
        world.settled("tch_other", verdict);
        assert_eq!(world.look(), Vec::<&str>::new(), "another touch");
        world.settled(&touch_id, verdict);
        assert_eq!(world.look(), ["InstanceTouchSettled", "InstanceCompleted"]);
        assert_eq!(world.state.outcome, expected);
    }
}

#[test]
fn a_touch_without_its_decision_is_skipped() {
    // Not through the check: the definition is older than it.
    let mut world = World::start(
        "  a: {decide: {chosen: t, nothing: z, unavailable: z}}\n  t: {touch: {decision: a, sent: z, skipped: s, failed: z}}\n  s: {exit: {outcome: skipped}}\n",
    );
    world.state.decisions.clear();
    let mut answer = decision("win-back", None);
    if let Answer::Decided(it, _) = &mut answer {
        it.decision_id.clear();
    }
    world.answer(answer);
    assert_eq!(world.state.outcome, "skipped");
    let settled = world.events.iter().find_map(|it| match it {
        Event::TouchSettled(it) => Some(it.reason.as_str()),
        _ => None,
    });
    assert_eq!(settled, Some("no_decision"));
}

#[test]
fn touches_have_an_id_for_each_visit() {
    let nodes = "  a: {touch: {module: hello, channel: EMAIL, sent: w, skipped: w, failed: w}}\n  w: {wait: {for: 1d, next: a}}\n";
    let mut world = World::start(nodes);
    let first = world.state.touches["a"].clone();
    world.settled(&first, "sent");
    world.look();
    world.at = after(world.at, world::DAY);
    world.look();
    assert_ne!(world.state.touches["a"], first);
    assert_eq!(World::start(nodes).state.touches["a"], first, "a second run gives the same id");
}

#[test]
fn feedback_is_settled_or_counts_as_declined_in_time() {
    let nodes = "  a: {ask: {survey: nps, channel: EMAIL, expires_after: 2d, issued: z, declined: no}}\n  no: {exit: {outcome: declined}}\n";
    let mut world = World::start(nodes);
    let Some(For::Invitation(id)) = world.state.wait.as_ref().map(|it| it.for_what.clone()) else {
        panic!("an invitation")
    };
    world.settled(&id, "issued");
    assert_eq!(world.look(), ["InstanceFeedbackSettled", "InstanceCompleted"]);
    assert_eq!(world.state.outcome, "done");
    let mut world = World::start(nodes);
    world.at = after(world.at, 2 * world::DAY);
    world.look();
    assert_eq!(world.state.outcome, "declined");
    let Some(Event::FeedbackSettled(it)) = world.events.iter().rev().nth(1) else {
        panic!("settled")
    };
    assert_eq!((it.verdict.as_str(), it.reason.as_str()), ("declined", "no_answer"));
}

#[test]
fn an_attribute_is_set_or_left_as_it_is() {
    for (value, known) in [("'gold'", true), ("attributes.score + 1", false)] {
        let world = World::start(&format!(
            "  a: {{set: {{attribute: tier, value: \"{value}\", next: z}}}}\n"
        ));
        let Some(Event::AttributeSet(it)) = world.events.get(1) else {
            panic!("{:?}", world.events)
        };
        assert_eq!(it.value.is_some(), known);
        assert_eq!(world.state.outcome, "done");
    }
}

#[test]
fn a_long_way_goes_on_in_the_next_unit() {
    let mut nodes = String::new();
    for n in 0..150 {
        let next = if n == 149 { "z".to_owned() } else { format!("n{}", n + 1) };
        nodes
            .push_str(&format!("  n{n}: {{set: {{attribute: tier, value: '1', next: {next}}}}}\n"));
    }
    let definition =
        journey("", &format!("  a: {{set: {{attribute: tier, value: '1', next: n0}}}}\n{nodes}"));
    let mut world = World::of(&definition);
    let mut units = 1;
    while !world.state.is_ended() {
        assert_eq!(
            world.events.last().map(rapport_proto::EventSet::type_name),
            Some("rapport.journeys.v1.InstanceWoken")
        );
        world.look();
        units += 1;
        assert!(units < 10);
    }
    assert_eq!((units, world.state.outcome.as_str()), (3, "done"));
}

#[test]
fn an_instance_that_ended_stays_ended() {
    let mut world = World::start("  a: {wait: {for: 1d, next: z}}\n");
    let eject = |state: &State| {
        Instance::decide(state, Command::Eject { reason: "mistake".into() }, world::START)
    };
    let events = eject(&world.state).expect("ejected");
    world.keep(events);
    assert_eq!((world.state.life, node(&world)), (Life::Ejected, "a"));
    assert_eq!(eject(&world.state), Err(Refusal::Ended));
    world.at = after(world.at, 9 * world::DAY);
    assert_eq!(world.look(), Vec::<&str>::new());
    assert_eq!(eject(&State::default()), Err(Refusal::Unknown));
}

#[test]
fn wakes_that_only_say_that_facts_changed_do_not_pile_up() {
    let mut world = World::start("  a: {wait: {for: 1d, next: z}}\n");
    for _ in 0..50 {
        world.facts_changed();
    }
    assert_eq!(world.state.open.len(), 1);
}
