//! Writes the samples of the golden corpus that are missing; it never overwrites one, because a sample is what was
//! released. Run it after adding an event: `cargo run -p journeys --example golden`.
//!
//! What a sample is, `eventstore::testing::golden` says.

use eventstore::testing::golden::{Sample, write_missing};
use prost_types::Timestamp;
use rapport_proto::journeys::v1::{
    Cause, Crossing, Entry, EventCase, Exit, Goal, InstanceAttributeSet, InstanceBranched,
    InstanceCompleted, InstanceDecided, InstanceDecisionRequested, InstanceEjected,
    InstanceEntered, InstanceEntryClosed, InstanceEntryHeard, InstanceEntryRefused,
    InstanceEntryRequested, InstanceEventMatched, InstanceExited, InstanceFeedbackRequested,
    InstanceFeedbackSettled, InstanceGoalReached, InstanceMigrated, InstancePaused,
    InstanceResumed, InstanceSplit, InstanceStarted, InstanceTimedOut, InstanceTimerFired,
    InstanceTouchRequested, InstanceTouchSettled, InstanceWaitStarted, InstanceWoken, Journey,
    JourneyVersionActivated, JourneyVersionApproved, JourneyVersionChecked, JourneyVersionDrafted,
    JourneyVersionDraining, JourneyVersionPaused, JourneyVersionResumed, JourneyVersionRetired,
    Node, Nothing, Reentry, SegmentEntry, TimerMode, WaitEvent, entry, entry_event, instance_event,
    journey_event, node, reentry,
};
use rapport_proto::types::{Audience, Channel, Clear, clear};

fn main() -> std::io::Result<()> {
    let samples = [journeys(), entries(), instances()];
    write_missing(env!("CARGO_MANIFEST_DIR"), samples.into_iter().flatten())
}

fn time(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds: 1_767_225_600 + seconds, nanos: 250_000_000 })
}

fn code(value: &str) -> Clear {
    Clear { value: Some(clear::Value::Code(value.into())) }
}

fn cause() -> Option<Cause> {
    Some(Cause {
        source: "profiles".into(),
        position: 42,
        r#type: "rapport.profiles.v1.InteractionRecorded".into(),
        occurred_at: time(-5),
        recorded_at: time(0),
    })
}

const INSTANCE: &str = "ins_0kn2wznbkeq4zc9pa7b84q2m0f";
const PARTY: &str = "pty_4r2c9m0t6qhx8vw3n5y7zp1kdg";
const TOUCH: &str = "tch_2z37vrqyrvjt9mwpbtzfxc0vcp";

fn definition() -> Option<Journey> {
    let watch = WaitEvent {
        any: vec![EventCase {
            event: "Order Completed".into(),
            r#where: "event.total > 10".into(),
            next: "done".into(),
        }],
        timeout: "14d".into(),
        timed_out: "done".into(),
    };
    let step = |step| Node { step: Some(step) };
    Some(Journey {
        journey: "win-back".into(),
        description: "Brings customers back.".into(),
        sender: "northwind".into(),
        markets: vec!["DE".into()],
        audiences: vec![Audience::Hcp.into()],
        entry: Some(Entry {
            by: Some(entry::By::Segment(SegmentEntry {
                segment: "lapsing".into(),
                crossing: Crossing::Entered.into(),
            })),
        }),
        reentry: Some(Reentry { rule: Some(reentry::Rule::Never(Nothing {})) }),
        exit_when: vec!["party.state != 'ACTIVE'".into()],
        goals: vec![Goal {
            name: "ordered".into(),
            event: "Order Completed".into(),
            r#where: String::new(),
            within: "30d".into(),
            exit: true,
        }],
        start: "watch".into(),
        nodes: [
            ("watch".to_owned(), step(node::Step::WaitEvent(watch))),
            ("done".to_owned(), step(node::Step::Exit(Exit { outcome: "over".into() }))),
        ]
        .into(),
    })
}

fn journeys() -> Vec<Sample> {
    use journey_event::Event;
    let (version, hash, reason) = (2, vec![7; 32], || "incident".to_owned());
    [
        Event::Drafted(JourneyVersionDrafted {
            version,
            journey: definition(),
            hash: hash.clone(),
            author: "ada".into(),
            drafted_at: time(0),
        }),
        Event::Checked(JourneyVersionChecked {
            version,
            hash: hash.clone(),
            positions: [("content".to_owned(), 5)].into(),
            checked_at: time(1),
        }),
        Event::Approved(JourneyVersionApproved {
            version,
            hash: hash.clone(),
            comment: "Fine.".into(),
            approver: "grace".into(),
            approved_at: time(2),
        }),
        Event::Activated(JourneyVersionActivated {
            version,
            journey: definition(),
            hash,
            activated_at: time(3),
        }),
        Event::Paused(JourneyVersionPaused {
            version,
            timers: TimerMode::Freeze.into(),
            reason: reason(),
            paused_at: time(4),
        }),
        Event::Resumed(JourneyVersionResumed { version, resumed_at: time(5) }),
        Event::Draining(JourneyVersionDraining { version, reason: reason(), draining_at: time(6) }),
        Event::Retired(JourneyVersionRetired { version, reason: reason(), retired_at: time(7) }),
    ]
    .iter()
    .map(|it| Sample::of(1, it))
    .collect()
}

fn entries() -> Vec<Sample> {
    use entry_event::Event;
    let (journey_id, party_id, entry_key) =
        (|| "win-back".to_owned(), || PARTY.to_owned(), || "order-7".to_owned());
    [
        Event::Requested(InstanceEntryRequested {
            journey_id: journey_id(),
            version: 2,
            party_id: party_id(),
            entry_key: entry_key(),
            entry: [("sku".to_owned(), code("NW-7"))].into(),
            cause: cause(),
        }),
        Event::Refused(InstanceEntryRefused {
            journey_id: journey_id(),
            version: 2,
            party_id: party_id(),
            entry_key: entry_key(),
            rule: "gap".into(),
            cause: cause(),
            request: 3,
            market: "DE".into(),
        }),
        Event::Entered(InstanceEntered {
            instance_id: INSTANCE.into(),
            journey_id: journey_id(),
            version: 2,
            party_id: party_id(),
            entry_key: entry_key(),
            entry_number: 1,
            cause: cause(),
            request: 3,
            market: "DE".into(),
        }),
        Event::Closed(InstanceEntryClosed {
            instance_id: INSTANCE.into(),
            entry_key: entry_key(),
            ended_at: time(60),
            how: "completed".into(),
        }),
        Event::Heard(InstanceEntryHeard {
            journey_id: journey_id(),
            party_id: party_id(),
            event: "Order Completed".into(),
            properties: [("sku".to_owned(), code("NW-7"))].into(),
            cause: cause(),
        }),
    ]
    .iter()
    .map(|it| Sample::of(1, it))
    .collect()
}

fn instances() -> Vec<Sample> {
    beginnings().into_iter().chain(middles()).chain(ends()).map(|it| Sample::of(1, &it)).collect()
}

fn beginnings() -> Vec<instance_event::Event> {
    use instance_event::Event;
    let (node, next) = (|| "watch".to_owned(), || "done".to_owned());
    let entry = || [("sku".to_owned(), code("NW-7"))].into();
    vec![
        Event::Started(InstanceStarted {
            instance_id: INSTANCE.into(),
            journey_id: "win-back".into(),
            version: 2,
            hash: vec![7; 32],
            party_id: PARTY.into(),
            entry_key: "order-7".into(),
            entry_number: 1,
            entry: entry(),
            cause: cause(),
            node: node(),
            market: "DE".into(),
            started_at: time(1),
            sender_id: "northwind".into(),
        }),
        Event::WaitStarted(InstanceWaitStarted {
            node: node(),
            visit: 1,
            due_at: time(600),
            rule: "09:00 MON,TUE".into(),
            zones: vec!["Europe/Berlin".into()],
            tzdata: "2026e".into(),
            timeout: true,
            began_at: time(1),
        }),
        Event::TimerFired(InstanceTimerFired {
            node: node(),
            visit: 1,
            next: next(),
            due_at: time(600),
        }),
        Event::EventMatched(InstanceEventMatched {
            node: node(),
            visit: 1,
            event: "Order Completed".into(),
            next: next(),
            cause: cause(),
            properties: entry(),
        }),
        Event::TimedOut(InstanceTimedOut {
            node: node(),
            visit: 1,
            next: next(),
            due_at: time(600),
        }),
        Event::Branched(InstanceBranched {
            node: node(),
            visit: 1,
            case: -1,
            next: next(),
            values: [("traits.orders".to_owned(), "unknown".to_owned())].into(),
            positions: [("profiles".to_owned(), 42)].into(),
        }),
        Event::Split(InstanceSplit { node: node(), visit: 1, arm: "b".into(), next: next() }),
        Event::Woken(InstanceWoken {
            reason: "event".into(),
            node: node(),
            cause: cause(),
            properties: entry(),
            event: "Order Completed".into(),
            about: TOUCH.into(),
            verdict: "skipped".into(),
            detail: "cap".into(),
        }),
    ]
}

fn middles() -> Vec<instance_event::Event> {
    use instance_event::Event;
    let (node, next, party_id) = (|| "watch".to_owned(), || "done".to_owned(), || PARTY.to_owned());
    let (instance_id, sender_id) = (|| INSTANCE.to_owned(), || "northwind".to_owned());
    vec![
        Event::DecisionRequested(InstanceDecisionRequested {
            node: node(),
            visit: 1,
            gives_up_at: time(3_600),
        }),
        Event::Decided(InstanceDecided {
            node: node(),
            visit: 1,
            decision_id: "dec_1wz0".into(),
            action: "win-back-offer".into(),
            treatment: "mail".into(),
            module: "hello".into(),
            channel: Channel::Email.into(),
            expires_at: time(86_400),
            next: next(),
            unavailable: "NO_LIVE_POLICY".into(),
            positions: [("profiles".to_owned(), 42)].into(),
        }),
        Event::TouchRequested(InstanceTouchRequested {
            node: node(),
            visit: 1,
            touch_id: TOUCH.into(),
            party_id: party_id(),
            module: "hello".into(),
            channel: Channel::Email.into(),
            decision_id: "dec_1wz0".into(),
            sender_id: sender_id(),
            expires_at: time(86_400),
            slots: [("name".to_owned(), "win-back".to_owned())].into(),
            instance_id: instance_id(),
            journey_id: "win-back".into(),
            journey_version: 2,
        }),
        Event::TouchSettled(InstanceTouchSettled {
            node: node(),
            visit: 1,
            touch_id: TOUCH.into(),
            verdict: "skipped".into(),
            reason: "holdout".into(),
            next: next(),
            cause: cause(),
        }),
        Event::FeedbackRequested(InstanceFeedbackRequested {
            node: node(),
            visit: 1,
            invitation_id: "inv_7h2k".into(),
            party_id: party_id(),
            survey: "order-nps".into(),
            channel: Channel::Email.into(),
            sender_id: sender_id(),
            expires_at: time(86_400),
            about_touch_id: TOUCH.into(),
            instance_id: instance_id(),
            journey_id: "win-back".into(),
        }),
        Event::FeedbackSettled(InstanceFeedbackSettled {
            node: node(),
            visit: 1,
            invitation_id: "inv_7h2k".into(),
            verdict: "declined".into(),
            reason: "no_answer".into(),
            next: next(),
        }),
        Event::AttributeSet(InstanceAttributeSet {
            node: node(),
            visit: 1,
            party_id: party_id(),
            attribute: "tier".into(),
            value: Some(code("gold")),
            next: next(),
        }),
        Event::GoalReached(InstanceGoalReached { goal: "ordered".into(), cause: cause() }),
    ]
}

fn ends() -> Vec<instance_event::Event> {
    use instance_event::Event;
    let (node, reason) = (|| "watch".to_owned(), || "incident".to_owned());
    vec![
        Event::Completed(InstanceCompleted { outcome: "ordered".into(), node: node(), visit: 1 }),
        Event::Exited(InstanceExited {
            rule: "party.state != 'ACTIVE'".into(),
            node: node(),
            values: [("party.state".to_owned(), "\"SUPPRESSED\"".to_owned())].into(),
            cause: cause(),
            visit: 1,
        }),
        Event::Paused(InstancePaused {
            timers: TimerMode::Run.into(),
            reason: reason(),
            paused_at: time(4),
            node: node(),
            visit: 1,
        }),
        Event::Resumed(InstanceResumed {
            due_at: time(700),
            node: node(),
            visit: 1,
            decides: true,
            touch_id: TOUCH.into(),
        }),
        Event::Ejected(InstanceEjected { reason: reason(), node: node(), visit: 1 }),
        Event::Migrated(InstanceMigrated { from_version: 1, to_version: 2, node: node() }),
    ]
}
