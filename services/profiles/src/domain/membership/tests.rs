use eventstore::testing::{Given, given};
use proptest::prelude::*;

use super::*;

fn found(at: i64, inside: bool, next: Option<i64>) -> Command {
    Command::Settle(Settlement {
        party_id: "pty_1".into(),
        segment_id: "lapsing".into(),
        version: 3,
        at: Timestamp(at),
        inside,
        cause_position: 7,
        next: next.map(Timestamp),
    })
}

fn at(past: &[Event], now: i64) -> Given<Membership> {
    given::<Membership>(past.to_vec()).at(Timestamp(now))
}

#[test]
fn a_crossing_is_stated_once() {
    at(&[], 10).when(found(4, false, None)).then([]);
    let entered = at(&[], 10).when(found(5, true, None)).events();
    let [Event::Entered(it)] = &entered[..] else { panic!("{entered:?}") };
    assert_eq!((it.version, it.cause_position, it.party_id.as_str()), (3, 7, "pty_1"));
    at(&entered, 10).when(found(6, true, None)).then([]);
    let exited = at(&entered, 10).when(found(8, false, None));
    assert_eq!(exited.state().since, Timestamp(8));
}

#[test]
fn a_timer_is_stated_when_none_stands_or_when_it_is_needed_earlier() {
    let out = |next| found(5, false, next);
    let stated = at(&[], 10).when(out(Some(100))).events();
    assert!(matches!(stated[..], [Event::CrossingExpected(_)]));
    at(&stated, 20).when(out(Some(100))).then([]);
    at(&stated, 20).when(out(Some(200))).then([]);
    at(&stated, 20).when(out(None)).then([]);
    let earlier = at(&stated, 20).when(out(Some(50))).state();
    assert_eq!(earlier.due_at, Some(Timestamp(50)));
    let after_it_fired = at(&stated, 100).when(out(Some(200))).state();
    assert_eq!(after_it_fired.due_at, Some(Timestamp(200)));
}

#[test]
fn an_id_names_party_and_segment() {
    assert_eq!(parts(&id("pty_1", "lapsing-hcp")), Some(("pty_1", "lapsing-hcp")));
    assert_eq!(parts("pty_1"), None);
}

proptest! {
    #[test]
    fn entries_and_exits_take_turns(steps in prop::collection::vec((0..50_i64, any::<bool>()), 0..40)) {
        let mut past: Vec<Event> = Vec::new();
        for (instant, inside) in steps {
            past.extend(at(&past, 100).when(found(instant, inside, None)).events());
        }
        for (index, event) in past.iter().enumerate() {
            prop_assert_eq!(matches!(event, Event::Entered(_)), index % 2 == 0);
        }
    }
}
