use eventstore::testing::{Given, given};
use proptest::prelude::*;

use super::*;

const HASH: [u8; 32] = [7; 32];

fn document() -> proto::Metric {
    proto::Metric { metric: "calls".into(), ..Default::default() }
}

fn draft(by: &str) -> Command {
    Command::Draft { by: by.into(), document: Box::new(document()), hash: HASH }
}

fn approve(by: &str) -> Command {
    Command::Approve { by: by.into(), version: 1, hash: None, comment: String::new() }
}

fn activate() -> Command {
    Command::Activate { by: "ada".into(), version: 1 }
}

fn retire() -> Command {
    Command::Retire { by: "ada".into(), version: 1, reason: "over".into() }
}

/// The events of commands, one after another.
fn after(commands: impl IntoIterator<Item = Command>) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    for command in commands {
        events.extend(given::<Metric>(events.clone()).when(command).events());
    }
    events
}

fn standing(commands: impl IntoIterator<Item = Command>) -> Given<Metric> {
    given(after(commands))
}

#[test]
fn a_version_goes_live_after_somebody_else_approved_it() {
    let refused = |it: &Refusal| matches!(it, Refusal::Life(_));
    standing([draft("ada")]).when(activate()).refused(refused);
    standing([draft("ada")])
        .when(approve("ada"))
        .refused(|it| *it == Refusal::Life(version::Refusal::AuthorMayNotApprove { version: 1 }));
    let state = standing([draft("ada"), approve("bea")]).when(activate()).state();
    assert_eq!(state.versions.live().map(|it| it.0), Some(1));
}

#[test]
fn repeats_change_nothing() {
    standing([draft("ada")]).when(draft("ada")).then([]);
    standing([draft("ada"), approve("bea")]).when(approve("bea")).then([]);
    standing([draft("ada"), approve("bea"), activate()]).when(activate()).then([]);
    standing([draft("ada"), approve("bea"), activate(), retire()]).when(retire()).then([]);
}

fn target(at_least: f64) -> proto::Target {
    proto::Target { target: "floor".into(), at_least: Some(at_least), ..Default::default() }
}

fn set(at_least: f64) -> Command {
    Command::SetTarget { target: Box::new(target(at_least)), judge_at: Timestamp(10) }
}

fn judged(bucket: i64, cause: &str) -> proto::TargetJudged {
    proto::TargetJudged {
        target: "floor".into(),
        bucket: Some(Timestamp(bucket).to_proto()),
        cause: cause.into(),
        judge_at: Some(Timestamp(bucket + 20).to_proto()),
        ..Default::default()
    }
}

/// The bucket that closed, and the one before it once more.
fn judge(before: &str, now: &str, bucket: i64) -> Command {
    Command::Judge {
        tenant: "acme".into(),
        metric: "calls".into(),
        judged: vec![judged(bucket - 10, before), judged(bucket, now)],
    }
}

fn names(events: &[Event]) -> Vec<&'static str> {
    use rapport_proto::EventSet as _;
    events.iter().filter_map(|it| it.type_name().rsplit('.').next()).collect()
}

#[test]
fn one_alert_stands_until_a_bucket_meets_the_target() {
    let first = after([set(5.0), judge("below", "below", 0)]);
    assert_eq!(names(&first), ["TargetSet", "TargetJudged", "AlertRaised"]);
    let second = given::<Metric>(first.clone()).when(judge("below", "below", 10)).events();
    assert_eq!(names(&second), ["TargetJudged"]);
    let third = given::<Metric>(first.into_iter().chain(second).collect::<Vec<_>>())
        .when(judge("below", "", 20))
        .events();
    assert_eq!(names(&third), ["TargetJudged", "AlertCleared"]);
}

#[test]
fn a_bucket_that_says_nothing_neither_raises_nor_clears() {
    let silent = |bucket: i64| proto::TargetJudged { silent: true, ..judged(bucket, "") };
    let judge_of = |judged: Vec<proto::TargetJudged>| Command::Judge {
        tenant: "acme".into(),
        metric: "calls".into(),
        judged,
    };
    let first = after([set(5.0), judge_of(vec![silent(-10), silent(0)])]);
    assert_eq!(names(&first), ["TargetSet", "TargetJudged"]);
    let past = after([set(5.0), judge("below", "below", 0)]);
    let then =
        given::<Metric>(past.clone()).when(judge_of(vec![judged(0, "below"), silent(10)])).events();
    assert_eq!(names(&then), ["TargetJudged"]);
    // Once something can be said of it, it is.
    let late = given::<Metric>(past.into_iter().chain(then).collect::<Vec<_>>())
        .when(judge_of(vec![judged(10, ""), silent(20)]))
        .events();
    assert_eq!(names(&late), ["TargetJudged", "AlertCleared", "TargetJudged"]);
}

#[test]
fn a_late_event_that_changes_a_judgement_is_told() {
    let past = after([set(5.0), judge("", "", 0)]);
    let late = given::<Metric>(past).when(judge("below", "", 10)).events();
    assert_eq!(names(&late), ["TargetJudged", "AlertRaised", "TargetJudged", "AlertCleared"]);
}

#[test]
fn another_target_clears_the_alert() {
    let past = after([set(5.0), judge("", "below", 0)]);
    let changed = given::<Metric>(past.clone()).when(set(1.0)).events();
    assert_eq!(names(&changed), ["AlertCleared", "TargetSet"]);
    given::<Metric>(past.clone()).when(set(5.0)).then([]);
    let removed = Command::RemoveTarget { target: "floor".into() };
    let removed = given::<Metric>(past).when(removed).state();
    assert!(removed.targets.is_empty());
}

#[test]
fn an_alert_is_cleared_by_hand_once() {
    let past = after([set(5.0), judge("", "below", 0)]);
    let alert_id = given::<Metric>(past.clone()).when(set(5.0)).state().targets["floor"]
        .alert
        .clone()
        .expect("an alert");
    assert!(alert_id.starts_with("alt_"));
    let clear = || Command::Clear { alert_id: alert_id.clone() };
    let cleared = given::<Metric>(past.clone()).when(clear()).events();
    assert_eq!(names(&cleared), ["AlertCleared"]);
    given::<Metric>(past.into_iter().chain(cleared).collect::<Vec<_>>()).when(clear()).then([]);
    given::<Metric>([]).when(clear()).refused(|it| *it == Refusal::UnknownAlert);
}

fn event() -> impl Strategy<Value = Event> {
    let version = 0_u32..4;
    prop_oneof![
        version.clone().prop_map(|version| Event::Drafted(proto::MetricVersionDrafted {
            version,
            ..Default::default()
        })),
        version.clone().prop_map(|version| Event::Approved(proto::MetricVersionApproved {
            version,
            ..Default::default()
        })),
        version.clone().prop_map(|version| Event::Activated(proto::MetricVersionActivated {
            version,
            ..Default::default()
        })),
        version.prop_map(|version| Event::Retired(proto::MetricVersionRetired {
            version,
            ..Default::default()
        })),
        any::<bool>().prop_map(|removed| Event::TargetSet(proto::TargetSet {
            target: Some(target(1.0)),
            removed,
            judge_at: None,
        })),
        (0_i64..5).prop_map(|bucket| Event::TargetJudged(judged(bucket, "below"))),
        Just(Event::AlertRaised(proto::AlertRaised {
            target: "floor".into(),
            ..Default::default()
        })),
        Just(Event::AlertCleared(proto::AlertCleared {
            target: "floor".into(),
            ..Default::default()
        })),
    ]
}

proptest! {
    #[test]
    fn any_order_of_facts_folds(events in prop::collection::vec(event(), 0..40)) {
        let state = events.iter().fold(State::default(), Metric::evolve);
        let _ = Metric::decide(&state, judge("", "above", 30), Timestamp(0));
        let _ = Metric::decide(&state, activate(), Timestamp(0));
    }
}
