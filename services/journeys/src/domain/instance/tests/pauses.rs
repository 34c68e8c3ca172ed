use super::super::*;
use super::world::{DAY, START, World};

fn pause(timers: TimerMode, paused_at: Timestamp) -> Command {
    Command::Pause { timers, reason: "incident".into(), paused_at }
}

#[test]
fn frozen_timers_keep_what_was_left_and_running_ones_fire_when_it_ends() {
    // Due on day 10, paused on day 4 until day 6, or until day 12.
    let table = [
        (TimerMode::Freeze, 6, 12),
        (TimerMode::Freeze, 12, 18),
        (TimerMode::Run, 6, 10),
        (TimerMode::Run, 12, 12),
    ];
    for (timers, until, expected) in table {
        let mut world = World::start("  a: {wait: {for: 10d, next: z}}\n");
        world.at = after(START, 4 * DAY);
        assert_eq!(world.does(pause(timers, world.at)), ["InstancePaused"]);
        assert_eq!(world.does(pause(timers, world.at)), Vec::<&str>::new());
        world.at = after(START, until * DAY);
        assert_eq!(world.look(), Vec::<&str>::new(), "nothing moves");
        assert_eq!(world.does(Command::Resume), ["InstanceResumed"]);
        assert_eq!(world.due(), Some(after(START, expected * DAY)), "{timers:?} until day {until}");
        world.at = after(START, expected * DAY);
        assert_eq!(world.look(), ["InstanceTimerFired", "InstanceCompleted"]);
    }
}

#[test]
fn an_instance_that_follows_late_has_left_what_it_had_when_the_pause_began() {
    let mut world = World::start("  a: {wait: {for: 10d, next: z}}\n");
    // The version was paused on day 4, the instance follows when its timer fires on day 10.
    world.at = after(START, 10 * DAY);
    world.does(pause(TimerMode::Freeze, after(START, 4 * DAY)));
    world.at = after(START, 20 * DAY);
    world.does(Command::Resume);
    assert_eq!(world.due(), Some(after(START, 26 * DAY)));
}

#[test]
fn what_happens_in_a_pause_is_handled_when_it_ends() {
    let mut world = World::start(
        "  a: {wait_event: {any: [{event: Order, next: z}], timeout: 10d, timed_out: late}}\n  late: {exit: {outcome: late}}\n",
    );
    world.at = after(START, DAY);
    world.does(pause(TimerMode::Freeze, world.at));
    world.at = after(START, 2 * DAY);
    assert!(world.event("Order", &[]));
    assert_eq!(world.look(), Vec::<&str>::new());
    world.at = after(START, 30 * DAY);
    world.does(Command::Resume);
    world.look();
    assert_eq!(world.state.outcome, "done");
}

#[test]
fn a_decision_is_asked_for_again_after_a_pause() {
    let mut world = World::start("  a: {decide: {chosen: z, nothing: z, unavailable: z}}\n");
    world.does(pause(TimerMode::Run, world.at));
    world.at = after(START, DAY);
    world.does(Command::Resume);
    let Some(Event::Resumed(it)) = world.events.last() else { panic!("resumed") };
    assert!(it.decides);
    assert_eq!(it.due_at, Some(world.at.to_proto()));
    let Some(For::Decision { gives_up_at }) =
        world.state.wait.as_ref().map(|it| it.for_what.clone())
    else {
        panic!("decides")
    };
    assert_eq!(gives_up_at, after(world.at, PATIENCE));
}
