use proptest::prelude::*;

use super::*;

const DAY: i64 = 86_400 * 1_000_000;

fn asked(reentry: Reentry, key: &str) -> Asked {
    Asked {
        tenant: "acme".into(),
        journey_id: "win-back".into(),
        version: 1,
        party_id: "pty_1".into(),
        entry_key: key.into(),
        market: "DE".into(),
        cause: None,
        request: 0,
        reentry,
        kept_out: None,
    }
}

struct World {
    state: State,
    at: Timestamp,
}

impl World {
    fn new() -> Self {
        Self { state: State::default(), at: Timestamp(1) }
    }

    fn does(&mut self, command: Command) -> Vec<Event> {
        let Ok(events) = Entry::decide(&self.state, command, self.at);
        self.state = events.iter().fold(std::mem::take(&mut self.state), Entry::evolve);
        events
    }

    /// `entered` or the rule.
    fn asks(&mut self, asked: Asked) -> String {
        self.does(Command::Answer(Box::new(asked)));
        match self.state.last.clone().expect("an answer") {
            Answer::Entered(_) => "entered".into(),
            Answer::Refused(rule) => rule,
        }
    }

    fn ends_all(&mut self) {
        let running: Vec<String> = self.state.runs().iter().map(|it| (*it).to_owned()).collect();
        for instance_id in running {
            self.does(Command::Close { instance_id, how: "completed" });
        }
    }
}

#[test]
fn reentry_rules_hold() {
    // For each rule: asked at once, while it runs, with another key, after the end, and a day after.
    let table = [
        (Reentry::Never, ["entered", "running", "running", "never", "never"]),
        (Reentry::AfterExit(DAY), ["entered", "running", "running", "gap", "entered"]),
        (Reentry::AfterExit(0), ["entered", "running", "running", "entered", "running"]),
        (Reentry::PerKey, ["entered", "key_used", "entered", "key_used", "key_used"]),
        (Reentry::Unlimited, ["entered", "entered", "entered", "entered", "entered"]),
    ];
    for (reentry, expected) in table {
        let mut world = World::new();
        let mut answers = vec![world.asks(asked(reentry, "a"))];
        answers.push(world.asks(asked(reentry, "a")));
        answers.push(world.asks(asked(reentry, "b")));
        world.ends_all();
        answers.push(world.asks(asked(reentry, "a")));
        world.at = Timestamp(world.at.0 + DAY);
        answers.push(world.asks(asked(reentry, "a")));
        assert_eq!(answers, expected, "{reentry:?}");
    }
}

#[test]
fn a_rule_of_the_version_at_hand_counts_for_entries_of_all_versions() {
    let mut world = World::new();
    assert_eq!(world.asks(asked(Reentry::Unlimited, "")), "entered");
    world.ends_all();
    assert_eq!(world.asks(Asked { version: 2, ..asked(Reentry::Never, "") }), "never");
}

#[test]
fn what_keeps_a_party_out_goes_before_its_history() {
    for rule in RULES {
        let mut world = World::new();
        let kept_out = Asked { kept_out: Some(rule), ..asked(Reentry::Unlimited, "") };
        assert_eq!(world.asks(kept_out), rule);
        assert!(world.state.runs().is_empty());
    }
}

#[test]
fn a_party_has_at_most_so_many_instances_at_once() {
    let mut world = World::new();
    for _ in 0..MOST_RUNNING {
        assert_eq!(world.asks(asked(Reentry::Unlimited, "")), "entered");
    }
    assert_eq!(world.asks(asked(Reentry::Unlimited, "")), "running");
}

#[test]
fn entries_are_numbered_by_key_and_ids_never_repeat() {
    let mut world = World::new();
    let mut ids = std::collections::BTreeSet::new();
    for key in ["a", "b", "a"] {
        let events = world.does(Command::Answer(Box::new(asked(Reentry::Unlimited, key))));
        let [Event::Entered(it)] = events.as_slice() else { panic!("entered") };
        ids.insert((it.instance_id.clone(), it.entry_number));
    }
    assert_eq!(
        ids.iter().map(|it| it.1).collect::<Vec<_>>().iter().filter(|it| **it == 2).count(),
        1
    );
    assert_eq!(ids.len(), 3);
}

fn requested(source: &str, position: u64) -> Command {
    let cause = Cause { source: source.into(), position, ..Default::default() };
    let requested = Box::new(proto::InstanceEntryRequested {
        journey_id: "win-back".into(),
        party_id: "pty_1".into(),
        cause: Some(cause),
        ..Default::default()
    });
    Command::Note { heard: None, requested: Some(requested) }
}

#[test]
fn the_same_event_asks_once() {
    let mut world = World::new();
    assert_eq!(world.does(requested("profiles", 7)).len(), 1);
    assert_eq!(world.does(requested("profiles", 7)).len(), 0);
    // One that was parked comes late, and another source counts for itself.
    assert_eq!(world.does(requested("profiles", 6)).len(), 1);
    assert_eq!(world.does(requested("delivery", 7)).len(), 1);
    assert_eq!(world.does(requested("profiles", 6)).len(), 0);
    assert_eq!(world.state.open.keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
    // Answered once, too.
    let answer = Asked { request: 1, ..asked(Reentry::Unlimited, "") };
    assert_eq!(world.does(Command::Answer(Box::new(answer.clone()))).len(), 1);
    assert_eq!(world.does(Command::Answer(Box::new(answer))).len(), 0);
}

fn heard(position: u64) -> Command {
    let cause = Cause { source: "profiles".into(), position, ..Default::default() };
    let heard = Box::new(proto::InstanceEntryHeard {
        event: "Order".into(),
        cause: Some(cause),
        ..Default::default()
    });
    Command::Note { heard: Some(heard), requested: None }
}

fn positions(state: &State, request: u64) -> Vec<u64> {
    let cause = |it: proto::InstanceWoken| it.cause.map_or(0, |it| it.position);
    state.heard_since(request).into_iter().map(cause).collect()
}

#[test]
fn what_comes_before_the_answer_is_heard_once_by_whom_asked_before_it() {
    let mut world = World::new();
    assert_eq!(world.does(heard(1)).len(), 0, "nobody asks");
    world.does(requested("profiles", 2));
    assert_eq!(world.does(heard(3)).len(), 1);
    assert_eq!(world.does(heard(3)).len(), 0);
    // One that asks itself is heard by the other only.
    let Command::Note { requested: asks, .. } = requested("profiles", 4) else { panic!("asks") };
    let Command::Note { heard: both, .. } = heard(4) else { panic!("heard") };
    assert_eq!(world.does(Command::Note { heard: both, requested: asks }).len(), 2);
    world.does(heard(5));
    assert_eq!(world.state.open.keys().copied().collect::<Vec<_>>(), [1, 4]);
    assert_eq!(positions(&world.state, 1), [3, 4, 5]);
    assert_eq!(positions(&world.state, 4), [5]);
    assert_eq!(positions(&world.state, 0), Vec::<u64>::new(), "a call is answered at once");
    let answer = |request| {
        let asked = Asked { request, ..asked(Reentry::Unlimited, "") };
        Command::Answer(Box::new(asked))
    };
    world.does(answer(1));
    assert_eq!(world.state.heard.len(), 1, "what the first one heard alone is gone");
    world.does(answer(4));
    assert!(world.state.heard.is_empty());
}

#[test]
fn only_so_much_is_heard_before_an_answer() {
    let mut world = World::new();
    world.does(requested("profiles", 1));
    for position in 0..100 {
        world.does(heard(position + 2));
    }
    assert_eq!(world.state.heard.len(), MOST_KEPT);
}

#[test]
fn an_end_is_noted_once() {
    let mut world = World::new();
    world.asks(asked(Reentry::Unlimited, ""));
    let id = (*world.state.runs().iter().next().expect("one runs")).to_owned();
    let close = Command::Close { instance_id: id, how: "exited" };
    assert_eq!(world.does(close.clone()).len(), 1);
    assert_eq!(world.does(close).len(), 0);
}

proptest! {
    /// After any order of asking and ending: what runs has entered, and a rule that allows one at a time holds.
    #[test]
    fn never_two_at_once_unless_allowed(steps in proptest::collection::vec((0..4_u8, 0..3_u8, 0..3_i64), 1..60)) {
        let mut world = World::new();
        for (what, key, days) in steps {
            world.at = Timestamp(world.at.0 + days * DAY);
            let key = key.to_string();
            match what {
                0 => { world.asks(asked(Reentry::AfterExit(DAY), &key)); }
                1 => { world.asks(asked(Reentry::Never, &key)); }
                2 => { world.does(requested("profiles", u64::try_from(days).unwrap_or(0))); }
                _ => world.ends_all(),
            }
            prop_assert!(world.state.runs().len() <= 1);
        }
    }
}
