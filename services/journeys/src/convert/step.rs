//! Facts of an instance, told for people.

use eventstore::{Error, Recorded, Timestamp};
use rapport_proto::journeys::v1 as proto;
use rapport_proto::journeys::v1::TimerMode;
use rapport_proto::journeys::v1::instance_event::Event;
use rapport_proto::types::Channel;

/// What a step shows beside the envelope.
#[derive(Default)]
struct Told {
    node: String,
    text: String,
    reason: String,
    about: String,
}

/// A fact as a step; `None` when it is none of an instance.
pub(crate) fn step(event: &Recorded) -> Result<Option<proto::InstanceStep>, Error> {
    let Some(decoded) = event.decode::<Event>()? else { return Ok(None) };
    let Told { node, text, reason, about } = told(&decoded);
    let envelope = &event.envelope;
    Ok(Some(proto::InstanceStep {
        number: envelope.version,
        r#type: envelope.r#type.clone(),
        node,
        record_time: envelope.recorded_at,
        text,
        reason,
        about,
        event_id: envelope.id.clone(),
    }))
}

fn told(event: &Event) -> Told {
    let at = |node: &str, text: String| Told { node: node.to_owned(), text, ..Told::default() };
    match event {
        Event::Started(it) => at(
            &it.node,
            format!(
                "Entered version {} of {}, entry number {}.",
                it.version, it.journey_id, it.entry_number
            ),
        ),
        Event::WaitStarted(it) => wait_started(it),
        Event::TimerFired(it) => match &it.due_at {
            Some(_) => at(&it.node, format!("The wait is over; goes on at {}.", it.next)),
            None => Told {
                reason: "missing".into(),
                ..at(&it.node, format!("There is no date to wait for; goes on at {}.", it.next))
            },
        },
        Event::EventMatched(it) => {
            at(&it.node, format!("{} came; goes on at {}.", it.event, it.next))
        }
        Event::TimedOut(it) => Told {
            reason: "timed_out".into(),
            ..at(&it.node, format!("Nothing came in time; goes on at {}.", it.next))
        },
        Event::Branched(it) => {
            let which = if it.case < 0 {
                "No case holds".to_owned()
            } else {
                format!("Case {} holds", it.case + 1)
            };
            at(&it.node, format!("{which} ({}); goes on at {}.", values(it.values.iter()), it.next))
        }
        Event::Split(it) => {
            at(&it.node, format!("Assigned to {}; goes on at {}.", it.arm, it.next))
        }
        Event::DecisionRequested(it) => {
            at(&it.node, format!("Asks for a decision until {}.", time(&it.gives_up_at)))
        }
        Event::Decided(it) => decided(it),
        Event::TouchRequested(it) => Told {
            about: it.touch_id.clone(),
            ..at(
                &it.node,
                format!(
                    "Asks delivery to say {} by {}, not later than {}.",
                    it.module,
                    channel(it.channel()),
                    time(&it.expires_at)
                ),
            )
        },
        Event::TouchSettled(it) => {
            let text = match it.reason.as_str() {
                "" => format!("The touch was {}; goes on at {}.", it.verdict, it.next),
                reason => format!(
                    "The touch was {} because of {reason}; goes on at {}.",
                    it.verdict, it.next
                ),
            };
            Told { about: it.touch_id.clone(), reason: it.reason.clone(), ..at(&it.node, text) }
        }
        Event::FeedbackRequested(it) => Told {
            about: it.invitation_id.clone(),
            ..at(
                &it.node,
                format!(
                    "Asks {} by {}, not later than {}.",
                    it.survey,
                    channel(it.channel()),
                    time(&it.expires_at)
                ),
            )
        },
        Event::FeedbackSettled(it) => Told {
            about: it.invitation_id.clone(),
            reason: it.reason.clone(),
            ..at(&it.node, format!("The invitation was {}; goes on at {}.", it.verdict, it.next))
        },
        Event::AttributeSet(it) => match &it.value {
            Some(_) => at(&it.node, format!("Sets {}; goes on at {}.", it.attribute, it.next)),
            None => Told {
                reason: "unknown".into(),
                ..at(
                    &it.node,
                    format!(
                        "Leaves {} as it is: its value is not known; goes on at {}.",
                        it.attribute, it.next
                    ),
                )
            },
        },
        Event::GoalReached(it) => at("", format!("Reached the goal {}.", it.goal)),
        Event::Completed(it) => at(&it.node, format!("Completed: {}.", it.outcome)),
        Event::Exited(it) => Told {
            reason: it.rule.clone(),
            ..at(&it.node, format!("Exited: {} holds ({}).", it.rule, values(it.values.iter())))
        },
        Event::Paused(it) => {
            let timers =
                if it.timers() == TimerMode::Run { "timers run" } else { "timers stand still" };
            Told { reason: it.reason.clone(), ..at(&it.node, format!("Paused; {timers}.")) }
        }
        Event::Resumed(it) => at(&it.node, "Moves again.".to_owned()),
        Event::Ejected(it) => {
            Told { reason: it.reason.clone(), ..at(&it.node, "Ejected.".to_owned()) }
        }
        Event::Migrated(it) => {
            at(&it.node, format!("Moved from version {} to {}.", it.from_version, it.to_version))
        }
        Event::Woken(it) => woken(it),
    }
}

fn wait_started(it: &proto::InstanceWaitStarted) -> Told {
    let until = time(&it.due_at);
    let text = match (it.timeout, it.rule.as_str()) {
        (true, _) => format!("Waits for an event until {until}."),
        (false, "") => format!("Waits until {until}."),
        (false, rule) => {
            format!("Waits until {rule} in {}, which is {until}.", it.zones.join(", "))
        }
    };
    Told { node: it.node.clone(), text, ..Told::default() }
}

fn decided(it: &proto::InstanceDecided) -> Told {
    let text = match (it.unavailable.as_str(), it.action.as_str()) {
        ("", "DO_NOTHING") => format!("Decided to do nothing; goes on at {}.", it.next),
        ("", action) => {
            format!("Decided on {action} by {}; goes on at {}.", channel(it.channel()), it.next)
        }
        (why, _) => format!("No decision could be had ({why}); goes on at {}.", it.next),
    };
    Told {
        node: it.node.clone(),
        text,
        reason: it.unavailable.clone(),
        about: it.decision_id.clone(),
    }
}

fn woken(it: &proto::InstanceWoken) -> Told {
    let text = match it.reason.as_str() {
        "event" => format!("{} happened: looks at it.", it.event),
        "kept" => format!("{} happened: keeps it for a wait that follows.", it.event),
        "settled" => format!("Hears that it was {}.", it.verdict),
        "facts" => "Something about the party changed: looks whether that matters.".to_owned(),
        _ => format!("Goes on at {}.", it.node),
    };
    Told { node: it.node.clone(), text, reason: it.detail.clone(), about: it.about.clone() }
}

fn values<'a>(values: impl Iterator<Item = (&'a String, &'a String)>) -> String {
    let all: Vec<_> = values.map(|(name, value)| format!("{name} = {value}")).collect();
    if all.is_empty() { "nothing was read".to_owned() } else { all.join(", ") }
}

fn channel(channel: Channel) -> &'static str {
    channel.as_str_name().trim_start_matches("CHANNEL_")
}

/// To the second, UTC.
fn time(time: &Option<prost_types::Timestamp>) -> String {
    match time.as_ref().and_then(Timestamp::from_proto) {
        Some(at) => format!("{}Z", at.to_string().chars().take(19).collect::<String>()),
        None => "an unknown time".to_owned(),
    }
}
