//! What providers report about a touch. A report never moves a touch that was sent; it settles one whose outcome is
//! unknown, because nobody can open or return what never arrived.
//!
//! **Machines.** Mail systems fetch images and follow links before people do. An opening or a click is a machine's when
//! the provider says so, when its user agent is one of a short list, or when a link was followed within five seconds of
//! the hand-over. Such events are kept, and counted apart.

use std::time::Duration;

use eventstore::Timestamp;
use rapport_proto::delivery::v1 as proto;
use rapport_proto::delivery::v1::ProviderFact;
use rapport_proto::delivery::v1::touch_event::Event;

use super::{Refusal, State, Status, resolved};

/// A click sooner than this after the hand-over is a scanner's.
const TOO_SOON: Duration = Duration::from_secs(5);

/// Parts of the user agents of image proxies and link scanners, in lower case. Apple's Mail Privacy Protection fetches
/// as plain `Mozilla/5.0`.
const MACHINES: &[&str] = &[
    "googleimageproxy",
    "ggpht.com",
    "yahoomailproxy",
    "yahoocachesystem",
    "barracuda",
    "mimecast",
    "proofpoint",
    "safelinks",
    "bingpreview",
    "slackbot",
    "python-requests",
    "headlesschrome",
];

/// A report.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fact {
    pub(crate) source: ProviderFact,
    pub(crate) what: What,
}

/// What is reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Delivered,
    Opened { user_agent: String, machine: bool },
    Clicked { user_agent: String, machine: bool, link_id: String },
    Bounced { hard: bool, code: String },
    Complained,
    Unsubscribed,
}

/// Whether a user agent is a machine's.
pub(crate) fn is_machine(user_agent: &str) -> bool {
    let agent = user_agent.trim().to_ascii_lowercase();
    agent == "mozilla/5.0" || MACHINES.iter().any(|it| agent.contains(it))
}

pub(super) fn observe(state: &State, fact: Fact, at: Timestamp) -> Result<Vec<Event>, Refusal> {
    if state.attempts == 0 {
        return Err(Refusal::NotSent);
    }
    let mut events = Vec::new();
    if state.status == Status::Unknown {
        events.push(resolved(state, "provider", true, String::new(), String::new(), at));
    }
    events.push(event_of(state, fact));
    Ok(events)
}

fn event_of(state: &State, Fact { source, what }: Fact) -> Event {
    let occurred_at = super::instant(source.occurred_at.as_ref());
    let fact = Some(source);
    let said = |state: &State| {
        let request = &state.request;
        (
            request.party_id.clone(),
            state.purpose().into(),
            request.channel,
            request.sender_id.clone(),
        )
    };
    match what {
        What::Delivered => Event::Delivered(proto::TouchDelivered { fact }),
        What::Opened { user_agent, machine } => {
            let machine = machine || is_machine(&user_agent);
            Event::Opened(proto::TouchOpened { fact, machine })
        }
        What::Clicked { user_agent, machine, link_id } => {
            let soon = state.sent_at.is_some_and(|it| occurred_at.since(it) < TOO_SOON);
            let machine = machine || soon || is_machine(&user_agent);
            Event::Clicked(proto::TouchClicked { fact, link_id, machine })
        }
        What::Bounced { hard, code } => Event::Bounced(proto::TouchBounced { fact, hard, code }),
        What::Complained => {
            let (party_id, purpose, channel, sender_id) = said(state);
            let market = state.ready.market.clone();
            Event::Complained(proto::TouchComplained {
                fact,
                party_id,
                purpose,
                channel,
                sender_id,
                market,
            })
        }
        What::Unsubscribed => {
            let (party_id, purpose, channel, sender_id) = said(state);
            let market = state.ready.market.clone();
            Event::Unsubscribed(proto::TouchUnsubscribed {
                fact,
                party_id,
                purpose,
                channel,
                sender_id,
                market,
            })
        }
    }
}

pub(super) fn count(state: &mut State, event: &Event) {
    match event {
        Event::Delivered(_) => state.delivered = true,
        Event::Opened(it) if it.machine => state.machine_events += 1,
        Event::Opened(_) => state.opens += 1,
        Event::Clicked(it) if it.machine => state.machine_events += 1,
        Event::Clicked(_) => state.clicks += 1,
        Event::Bounced(_) | Event::Complained(_) | Event::Unsubscribed(_) => state.answered = true,
        _ => {}
    }
}

pub(super) fn source(event: &Event) -> Option<&ProviderFact> {
    match event {
        Event::Delivered(it) => it.fact.as_ref(),
        Event::Opened(it) => it.fact.as_ref(),
        Event::Clicked(it) => it.fact.as_ref(),
        Event::Bounced(it) => it.fact.as_ref(),
        Event::Complained(it) => it.fact.as_ref(),
        Event::Unsubscribed(it) => it.fact.as_ref(),
        _ => None,
    }
}

pub(super) fn occurred_at(event: &Event) -> Option<Timestamp> {
    source(event)?.occurred_at.as_ref().and_then(Timestamp::from_proto)
}
