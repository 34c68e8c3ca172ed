use proptest::prelude::*;
use rapport_proto::decisioning::v1::Chosen;

use super::*;

const DAY: i64 = 86_400 * 1_000_000;

fn made() -> DecisionMade {
    let reward = |event: &str, within: &str, value| Reward {
        event: event.into(),
        within: within.into(),
        value,
    };
    DecisionMade {
        decision_id: "dec_1".into(),
        decided_at: Some(Timestamp(0).to_proto()),
        chosen: vec![Chosen {
            action: "write".into(),
            rewards: vec![reward("TouchClicked", "7d", 0.3), reward("Order Completed", "30d", 0.9)],
            ..Chosen::default()
        }],
        ..DecisionMade::default()
    }
}

fn seen(kind: &str, day: i64, position: u64) -> Command {
    Command::Observe(Seen {
        kind: kind.into(),
        occurred_at: Timestamp(day * DAY),
        source: "delivery".into(),
        position,
        reason: String::new(),
    })
}

/// What a sequence of wishes leads to: the state, and the kinds of the last events.
fn given(commands: impl IntoIterator<Item = Command>) -> (State, Vec<&'static str>) {
    let mut state = State::default();
    let mut last = Vec::new();
    for command in [Command::Make(Box::new(made()))].into_iter().chain(commands) {
        let events = Decision::decide(&state, command, Timestamp(0)).expect("granted");
        last = events
            .iter()
            .map(|it| match it {
                Event::Made(_) => "made",
                Event::OutcomeObserved(_) => "observed",
                Event::RewardClosed(_) => "closed",
                Event::RewardCorrected(_) => "corrected",
            })
            .collect();
        state = events.iter().fold(state, Decision::evolve);
    }
    (state, last)
}

#[test]
fn rewards_within_their_windows_add_up_once_each() {
    let (state, _) = given([
        seen("TouchSent", 0, 1),
        seen("TouchClicked", 2, 2),
        seen("TouchClicked", 3, 3),
        seen("TouchOpened", 3, 4),
        Command::Close,
    ]);
    assert_eq!((state.closed, state.reward, state.censored), (true, 0.3, false));
    assert_eq!(state.outcomes.len(), 4);
}

/// A mail that was forwarded, or a link checker.
#[test]
fn what_tells_nothing_new_keeps_out_nothing_that_does() {
    let many = || (1..).map(|position| seen("TaskDismissed", 1, position)).take(MOST_OUTCOMES);
    let full = MOST_OUTCOMES as u64;
    let (state, last) = given(many().chain([seen("TaskDismissed", 1, full + 1)]));
    assert_eq!((state.outcomes.len(), last), (MOST_OUTCOMES, vec![]));
    let late = [
        seen("TouchSent", 1, full + 1),
        seen("TouchClicked", 2, full + 2),
        seen("TouchClicked", 3, full + 3),
        seen("Order Completed", 4, full + 4),
    ];
    let (state, last) = given(many().chain(late));
    assert_eq!(last, ["observed", "closed"]);
    assert_eq!((state.reward, state.censored), (1.0, false));
    assert_eq!(state.outcomes.len(), MOST_OUTCOMES + 3, "a second click earns nothing");
}

#[test]
fn what_is_late_or_early_counts_nothing() {
    let (state, _) = given([
        seen("TouchSent", 0, 1),
        seen("TouchClicked", 8, 2),
        seen("Order Completed", -1, 3),
        Command::Close,
    ]);
    assert_eq!(state.reward, 0.0);
    // The end of the window counts.
    let (state, _) = given([seen("TouchSent", 0, 1), seen("TouchClicked", 7, 2), Command::Close]);
    assert_eq!(state.reward, 0.3);
}

#[test]
fn a_reward_of_one_closes_at_once_and_closing_again_is_harmless() {
    let (state, last) =
        given([seen("TouchSent", 0, 1), seen("TouchClicked", 1, 2), seen("Order Completed", 2, 3)]);
    assert_eq!(last, ["observed", "closed"]);
    assert_eq!(state.reward, 1.0);
    assert_eq!(Decision::decide(&state, Command::Close, Timestamp(0)), Ok(Vec::new()));
}

#[test]
fn a_treatment_that_never_reached_the_party_is_censored() {
    let (state, _) = given([seen("TouchSkipped", 0, 1), Command::Close]);
    assert_eq!((state.reward, state.censored), (0.0, true));
    let (state, _) = given([seen("Order Completed", 1, 1), Command::Close]);
    assert_eq!((state.reward, state.censored), (0.9, true));
}

#[test]
fn a_later_fact_corrects_a_closed_reward() {
    let (state, last) =
        given([seen("TouchSent", 0, 1), Command::Close, seen("Order Completed", 20, 9)]);
    assert_eq!(last, ["observed", "corrected"]);
    assert_eq!((state.closed, state.reward), (true, 0.9));
    let (_, last) = given([seen("TouchSent", 0, 1), Command::Close, seen("TouchOpened", 1, 9)]);
    assert_eq!(last, ["observed"]);
}

#[test]
fn the_same_fact_twice_is_harmless() {
    let (state, last) = given([seen("TouchSent", 0, 1), seen("TouchSent", 0, 1)]);
    assert_eq!((state.outcomes.len(), last.len()), (1, 0));
    let (_, last) = given([Command::Make(Box::new(made()))]);
    assert!(last.is_empty());
}

#[test]
fn nothing_comes_of_what_was_never_decided() {
    for command in [Command::Close, seen("TouchSent", 0, 1)] {
        let refused = Decision::decide(&State::default(), command, Timestamp(0));
        assert_eq!(refused, Err(Refusal::Unknown));
    }
}

proptest! {
    #[test]
    fn a_reward_is_closed_once_and_lies_between_nothing_and_one(
        facts in prop::collection::vec((0..4_usize, -2..40_i64, any::<bool>()), 0..20),
    ) {
        let kinds = ["TouchSent", "TouchClicked", "Order Completed", "TouchSkipped"];
        let mut state = eventstore::fold::<Decision>(&[Event::Made(made())]);
        let mut closed = 0;
        for (position, (kind, day, close)) in (1..).zip(facts) {
            let wish = if close { Command::Close } else { seen(kinds[kind], day, position) };
            let events = Decision::decide(&state, wish, Timestamp(0)).expect("granted");
            closed += events.iter().filter(|it| matches!(it, Event::RewardClosed(_))).count();
            state = events.iter().fold(state, Decision::evolve);
            prop_assert!((0.0..=1.0).contains(&state.reward));
        }
        prop_assert!(closed <= 1);
    }
}
