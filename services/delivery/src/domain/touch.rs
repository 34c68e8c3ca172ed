//! One message, call or task to one party.
//!
//! ```text
//! REQUESTED ─┬→ SKIPPED
//!            ├→ DEFERRED ──(until)──→ REQUESTED
//!            └→ READY → SENDING ─┬→ SENT                      a task: OPEN → ACCEPTED → COMPLETED | DISMISSED | EXPIRED | WITHDRAWN
//!                                ├→ FAILED
//!                                ├→ REQUESTED (refused for now; the gate starts again)
//!                                └→ UNKNOWN → SENT | FAILED
//! ```
//!
//! What may have reached the party is never SKIPPED, never sent by itself again unless the adapter repeats it with the
//! same key, and always ends SENT, FAILED or UNKNOWN.

use std::time::Duration;

use eventstore::{About, Decider, Timestamp};
use rapport_proto::delivery::v1 as proto;
use rapport_proto::delivery::v1::touch_event::Event;
use rapport_proto::delivery::v1::{
    DismissReason, GateStep, ProviderFact, TouchAttempted, TouchReady, TouchRequested, Verdict,
    VerdictOutcome,
};
use rapport_proto::purpose_of;
use rapport_proto::types::{Channel, ContentClass, Purpose};

use super::{instant, is_task};

mod fact;

pub(crate) use fact::{Fact, What, is_machine};
pub(crate) use proto::touch::State as Status;

/// After this long a touch whose outcome nobody told counts as sent.
pub(crate) const COUNTS_AS_SENT: Duration = Duration::from_secs(24 * 3600);

/// Codes of attempts that ended before anybody was asked: the gate's facts had grown old, or the process had ended.
const UNASKED: [&str; 2] = ["stale", "restarted"];

/// Whether an attempt that is tried again ended before anybody was asked.
pub(crate) fn is_unasked(code: &str, in_doubt: bool) -> bool {
    !in_doubt && UNASKED.contains(&code)
}

/// The aggregate; stream `touch/<tch id>`.
pub(crate) enum Touch {}

/// What can be wished of a touch.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Take it on.
    Request(TouchRequested),
    /// The gate stops it.
    Skip {
        reason: String,
        verdicts: Vec<Verdict>,
        content: Vec<proto::ContentPart>,
        market: String,
    },
    /// The gate puts it off.
    Defer { until: Timestamp, verdicts: Vec<Verdict>, time_zone: String, market: String },
    /// The gate lets it pass; it is handed over at once.
    HandOver { ready: TouchReady, adapter: &'static str, gives_up_at: Timestamp },
    /// What an attempt came to.
    Conclude { attempt: u32, outcome: Outcome },
    /// It is known now what became of it.
    Resolve { by: &'static str, sent: bool, reason: String },
    /// A provider reports.
    Observe(Fact),
    /// A field user takes the task on.
    Accept { by: String },
    /// It is done; with what the gate found then.
    Complete { by: String, outcome: String, judged: Judged },
    /// It is dismissed.
    Dismiss { by: String, reason: DismissReason },
    /// Its time is over.
    Expire,
    /// It may not be done any more.
    Withdraw(Withdrawal),
}

/// Why a task may not be done any more; with all verdicts if the gate judged it again.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Withdrawal {
    pub(crate) reason: String,
    pub(crate) detail: String,
    pub(crate) verdicts: Vec<Verdict>,
}

/// What the gate found when it judged a task again.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Judged {
    /// Of steps 1 to 10.
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) content: Vec<proto::ContentPart>,
    pub(crate) render_hash: String,
}

/// What an attempt came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The provider took it; its id, if it gave one.
    Sent { provider_id: String },
    /// The provider refused it for good.
    Refused { code: String },
    /// It is tried again; `in_doubt` when the provider may have taken it and knows a repeat.
    Again { at: Timestamp, code: String, in_doubt: bool },
    /// Nobody knows.
    Unknown { code: String },
}

/// Why a wish was not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("there is no such touch")]
    Unknown,
    #[error("the touch is in another state")]
    WrongState,
    #[error("the touch was asked for with another content")]
    Exists,
    #[error("nothing was handed over for this touch")]
    NotSent,
}

/// What the facts add up to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    pub(crate) request: TouchRequested,
    pub(crate) status: Status,
    pub(crate) reason: String,
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) ready: TouchReady,
    pub(crate) attempts: u32,
    /// Attempts of which the provider was never asked.
    pub(crate) unasked: u32,
    pub(crate) adapter: String,
    /// The provider may have taken an earlier attempt.
    pub(crate) in_doubt: bool,
    pub(crate) provider_id: String,
    pub(crate) next_at: Option<Timestamp>,
    pub(crate) sent_at: Option<Timestamp>,
    pub(crate) delivered: bool,
    pub(crate) opens: u32,
    pub(crate) clicks: u32,
    pub(crate) machine_events: u32,
    pub(crate) task_user: String,
    /// It came back, or the recipient complained or unsubscribed: so it had arrived somewhere.
    pub(crate) answered: bool,
}

impl State {
    pub(crate) fn exists(&self) -> bool {
        self.status != Status::Unspecified
    }

    pub(crate) fn channel(&self) -> Channel {
        self.request.channel()
    }

    pub(crate) fn expires_at(&self) -> Timestamp {
        instant(self.request.expires_at.as_ref())
    }

    /// Unspecified until the gate let it pass.
    pub(crate) fn purpose(&self) -> Purpose {
        purpose_of(self.ready.content_class())
    }

    /// Whether the gate has to run.
    pub(crate) fn awaits_gate(&self) -> bool {
        match self.status {
            Status::Requested | Status::Deferred | Status::Ready => true,
            Status::Unspecified
            | Status::Skipped
            | Status::Sending
            | Status::Sent
            | Status::Failed
            | Status::Unknown
            | Status::Open
            | Status::Accepted
            | Status::Completed
            | Status::Dismissed
            | Status::Expired
            | Status::Withdrawn => false,
        }
    }

    /// Whether it is a task that somebody may still do.
    pub(crate) fn is_open_task(&self) -> bool {
        matches!(self.status, Status::Open | Status::Accepted)
    }

    /// Whether a provider has told that it took it.
    fn was_reported(&self) -> bool {
        self.delivered || self.opens + self.clicks + self.machine_events > 0 || self.answered
    }
}

/// The state a fact leads to; `None` when it moves none.
pub(crate) fn status_after(channel: Channel, event: &Event) -> Option<Status> {
    Some(match event {
        Event::Requested(_) | Event::RetryScheduled(_) => Status::Requested,
        Event::Skipped(_) => Status::Skipped,
        Event::Deferred(_) => Status::Deferred,
        Event::Ready(_) => Status::Ready,
        Event::Attempted(_) => Status::Sending,
        Event::Sent(_) if is_task(channel) => Status::Open,
        Event::Sent(_) => Status::Sent,
        Event::Failed(_) => Status::Failed,
        Event::Unresolved(_) => Status::Unknown,
        Event::Resolved(it) => {
            if it.sent {
                Status::Sent
            } else {
                Status::Failed
            }
        }
        Event::TaskAccepted(_) => Status::Accepted,
        Event::TaskCompleted(_) => Status::Completed,
        Event::TaskDismissed(_) => Status::Dismissed,
        Event::TaskExpired(_) => Status::Expired,
        Event::TaskWithdrawn(_) => Status::Withdrawn,
        Event::Delivered(_)
        | Event::Opened(_)
        | Event::Clicked(_)
        | Event::Bounced(_)
        | Event::Complained(_)
        | Event::Unsubscribed(_) => return None,
    })
}

impl Decider for Touch {
    const AGGREGATE: &'static str = "touch";
    type Command = Command;
    type State = State;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(state: &State, command: Command, at: Timestamp) -> Result<Vec<Event>, Refusal> {
        if let Command::Request(request) = command {
            return match state.exists() {
                false => Ok(vec![Event::Requested(request)]),
                true if state.request == request => Ok(Vec::new()),
                true => Err(Refusal::Exists),
            };
        }
        if !state.exists() {
            return Err(Refusal::Unknown);
        }
        match command {
            Command::Request(_) => Ok(Vec::new()),
            Command::Skip { reason, verdicts, content, market } => {
                gated(state)?;
                let skipped = proto::TouchSkipped { reason, verdicts, content, market };
                Ok(vec![match state.in_doubt {
                    true => unresolved("repeat_stopped", at),
                    false => Event::Skipped(skipped),
                }])
            }
            Command::Defer { until, verdicts, time_zone, market } => {
                gated(state)?;
                let until = Some(until.to_proto());
                let deferred = proto::TouchDeferred { until, verdicts, time_zone, market };
                Ok(vec![Event::Deferred(deferred)])
            }
            Command::HandOver { ready, adapter, gives_up_at } => {
                gated(state)?;
                // Only the place that may have it already knows a repeat.
                let elsewhere = ready.contact_point_id != state.ready.contact_point_id
                    || adapter != state.adapter;
                if state.in_doubt && elsewhere {
                    return Ok(vec![unresolved("recipient_changed", at)]);
                }
                Ok(hand_over(state, ready, adapter, gives_up_at, at))
            }
            Command::Conclude { attempt, outcome } => Ok(conclude(state, attempt, outcome, at)),
            Command::Resolve { by, sent, reason } => resolve(state, by, sent, reason, at),
            Command::Observe(fact) => fact::observe(state, fact, at),
            Command::Accept { by } => match state.status {
                Status::Open => Ok(vec![Event::TaskAccepted(proto::TaskAccepted { by })]),
                Status::Accepted if state.task_user == by => Ok(Vec::new()),
                _ => Err(Refusal::WrongState),
            },
            Command::Complete { by, outcome, judged } => {
                workable(state)?;
                let Judged { verdicts, content, render_hash } = judged;
                Ok(vec![Event::TaskCompleted(proto::TaskCompleted {
                    by,
                    outcome,
                    verdicts,
                    content,
                    render_hash,
                })])
            }
            Command::Dismiss { by, reason } => {
                workable(state)?;
                let dismissed = proto::TaskDismissed { by, reason: reason.into() };
                Ok(vec![Event::TaskDismissed(dismissed)])
            }
            Command::Expire => Ok(match workable(state) {
                Ok(()) if state.expires_at() <= at => {
                    let expired_at = state.request.expires_at;
                    vec![Event::TaskExpired(proto::TaskExpired { expired_at })]
                }
                _ => Vec::new(),
            }),
            Command::Withdraw(Withdrawal { reason, detail, verdicts }) => {
                Ok(match workable(state) {
                    Ok(()) => {
                        let accepted = state.status == Status::Accepted;
                        let withdrawn = proto::TaskWithdrawn { reason, detail, verdicts, accepted };
                        vec![Event::TaskWithdrawn(withdrawn)]
                    }
                    // It is over already.
                    Err(_) => Vec::new(),
                })
            }
        }
    }

    fn evolve(mut state: State, event: &Event) -> State {
        if let Event::Requested(it) = event {
            state.request = it.clone();
        }
        if let Some(status) = status_after(state.channel(), event) {
            state.status = status;
            state.next_at = None;
        }
        match event {
            Event::Requested(_) | Event::TaskExpired(_) => {}
            Event::Skipped(it) => {
                state.reason.clone_from(&it.reason);
                state.verdicts.clone_from(&it.verdicts);
                state.ready.content.clone_from(&it.content);
                state.learn_market(&it.market);
            }
            Event::Deferred(it) => {
                // What may have left keeps all by which it left: the verdicts, the market and its place.
                if !state.in_doubt {
                    state.verdicts.clone_from(&it.verdicts);
                    state.ready.reserved.clear();
                    state.learn_market(&it.market);
                }
                state.next_at = it.until.as_ref().and_then(Timestamp::from_proto);
            }
            Event::Ready(it) => {
                state.verdicts.clone_from(&it.verdicts);
                state.verdicts.push(not_reached(GateStep::Provider));
                state.ready = TouchReady { verdicts: Vec::new(), ..it.clone() };
            }
            Event::Attempted(it) => {
                state.attempts = it.attempt;
                state.adapter.clone_from(&it.adapter);
                state.next_at = it.gives_up_at.as_ref().and_then(Timestamp::from_proto);
            }
            Event::RetryScheduled(it) => {
                state.in_doubt |= it.in_doubt;
                state.unasked += u32::from(is_unasked(&it.code, it.in_doubt));
                state.next_at = it.retry_at.as_ref().and_then(Timestamp::from_proto);
            }
            Event::Sent(it) => {
                state.provider_id.clone_from(&it.provider_id);
                state.sent(it.verdict.as_ref());
            }
            Event::Failed(it) => {
                state.reason.clone_from(&it.code);
                state.conclude(it.verdict.as_ref());
            }
            Event::Unresolved(it) => {
                state.reason.clone_from(&it.code);
                state.next_at = it.counts_as_sent_at.as_ref().and_then(Timestamp::from_proto);
            }
            Event::Resolved(it) => {
                state.reason.clone_from(&it.reason);
                if it.sent {
                    state.sent(it.verdict.as_ref())
                } else {
                    state.conclude(it.verdict.as_ref())
                }
            }
            Event::TaskAccepted(it) => state.task_user.clone_from(&it.by),
            Event::TaskCompleted(it) => {
                state.task_user.clone_from(&it.by);
                state.reason.clone_from(&it.outcome);
                // Facts of before tasks were judged again have none.
                if !it.verdicts.is_empty() {
                    state.judged_again(&it.verdicts);
                    state.ready.content.clone_from(&it.content);
                    state.ready.render_hash.clone_from(&it.render_hash);
                }
            }
            Event::TaskWithdrawn(it) => {
                state.reason.clone_from(&it.reason);
                if !it.verdicts.is_empty() {
                    state.verdicts.clone_from(&it.verdicts);
                }
            }
            Event::TaskDismissed(it) => {
                state.task_user.clone_from(&it.by);
                state.reason = dismiss_name(it.reason()).to_owned();
            }
            Event::Delivered(_)
            | Event::Opened(_)
            | Event::Clicked(_)
            | Event::Bounced(_)
            | Event::Complained(_)
            | Event::Unsubscribed(_) => fact::count(&mut state, event),
        }
        state
    }

    fn about(_id: &str, state: &State, event: &Event) -> About {
        let purpose = match state.ready.content_class() {
            ContentClass::Unspecified => "",
            class => purpose_of(class).as_str_name().trim_start_matches("PURPOSE_"),
        };
        About {
            party_id: state.request.party_id.clone(),
            market: state.ready.market.clone(),
            purpose: purpose.to_owned(),
            occurred_at: fact::occurred_at(event),
            ..About::default()
        }
    }
}

impl State {
    /// What an earlier run was told stands until another is told otherwise.
    fn learn_market(&mut self, market: &str) {
        if !market.is_empty() {
            market.clone_into(&mut self.ready.market);
        }
    }

    fn sent(&mut self, verdict: Option<&Verdict>) {
        self.sent_at =
            verdict.and_then(|it| it.checked_at.as_ref()).and_then(Timestamp::from_proto);
        self.conclude(verdict);
    }

    /// Puts the verdicts of another run before that of step 11.
    fn judged_again(&mut self, verdicts: &[Verdict]) {
        self.verdicts.retain(|it| it.step() == GateStep::Provider);
        self.verdicts.splice(0..0, verdicts.iter().cloned());
    }

    /// Puts the verdict of step 11 behind the ten others.
    fn conclude(&mut self, verdict: Option<&Verdict>) {
        self.verdicts.retain(|it| it.step() != GateStep::Provider);
        self.verdicts.extend(verdict.cloned());
    }
}

/// `NOT_RELEVANT` for the value of that name.
pub(crate) fn dismiss_name(reason: DismissReason) -> &'static str {
    reason.as_str_name().trim_start_matches("DISMISS_REASON_")
}

pub(crate) fn not_reached(step: GateStep) -> Verdict {
    Verdict { step: step.into(), outcome: VerdictOutcome::NotReached.into(), ..Verdict::default() }
}

fn gated(state: &State) -> Result<(), Refusal> {
    if state.awaits_gate() { Ok(()) } else { Err(Refusal::WrongState) }
}

fn workable(state: &State) -> Result<(), Refusal> {
    if state.is_open_task() { Ok(()) } else { Err(Refusal::WrongState) }
}

/// A task is placed by the commit itself: nobody is called, so it is sent in the same unit.
fn hand_over(
    state: &State,
    ready: TouchReady,
    adapter: &'static str,
    gives_up_at: Timestamp,
    at: Timestamp,
) -> Vec<Event> {
    let attempted = TouchAttempted {
        attempt: state.attempts + 1,
        idempotency_key: state.request.touch_id.clone(),
        adapter: adapter.to_owned(),
        gives_up_at: Some(gives_up_at.to_proto()),
    };
    let mut events = vec![Event::Ready(ready), Event::Attempted(attempted)];
    if is_task(state.channel()) {
        events.push(sent(adapter, String::new(), at));
    }
    events
}

/// An outcome that comes late, after the attempt was given up, still tells what became of it.
fn conclude(state: &State, attempt: u32, outcome: Outcome, at: Timestamp) -> Vec<Event> {
    if state.attempts != attempt {
        return Vec::new();
    }
    match (state.status, outcome) {
        (Status::Sending, Outcome::Sent { provider_id }) => {
            vec![sent(&state.adapter, provider_id, at)]
        }
        (
            Status::Sending,
            Outcome::Refused { .. } | Outcome::Unknown { .. } | Outcome::Again { .. },
        ) if state.was_reported() => {
            vec![sent(&state.adapter, String::new(), at)]
        }
        (Status::Sending, Outcome::Refused { code }) if !state.in_doubt => {
            let verdict = Some(eleventh(false, &code, &code, at));
            vec![Event::Failed(proto::TouchFailed { code, verdict })]
        }
        (Status::Sending, Outcome::Refused { code } | Outcome::Unknown { code }) => {
            vec![unresolved(&code, at)]
        }
        (Status::Sending, Outcome::Again { at: retry_at, code, in_doubt }) => {
            vec![Event::RetryScheduled(proto::TouchRetryScheduled {
                retry_at: Some(retry_at.to_proto()),
                code,
                attempts: state.attempts,
                in_doubt,
            })]
        }
        (Status::Unknown, Outcome::Sent { provider_id }) => {
            vec![resolved(state, "provider", true, String::new(), provider_id, at)]
        }
        _ => Vec::new(),
    }
}

fn resolve(
    state: &State,
    by: &'static str,
    sent: bool,
    reason: String,
    at: Timestamp,
) -> Result<Vec<Event>, Refusal> {
    match state.status {
        Status::Unknown => Ok(vec![resolved(state, by, sent, reason, String::new(), at)]),
        Status::Sent if sent => Ok(Vec::new()),
        Status::Failed if !sent => Ok(Vec::new()),
        _ => Err(Refusal::WrongState),
    }
}

fn sent(adapter: &str, provider_id: String, at: Timestamp) -> Event {
    Event::Sent(proto::TouchSent {
        verdict: Some(eleventh(true, "", &provider_id, at)),
        provider_id,
        adapter: adapter.to_owned(),
    })
}

fn unresolved(code: &str, at: Timestamp) -> Event {
    Event::Unresolved(proto::TouchUnresolved {
        code: code.to_owned(),
        counts_as_sent_at: Some(at.plus(COUNTS_AS_SENT).to_proto()),
    })
}

fn resolved(
    state: &State,
    by: &str,
    sent: bool,
    reason: String,
    provider_id: String,
    at: Timestamp,
) -> Event {
    let verdict = Verdict { rule: by.to_owned(), ..eleventh(sent, &reason, &provider_id, at) };
    Event::Resolved(proto::TouchResolved {
        by: by.to_owned(),
        sent,
        reason,
        provider_id,
        verdict: Some(verdict),
        adapter: state.adapter.clone(),
    })
}

/// The verdict of step 11.
fn eleventh(passed: bool, detail: &str, proof: &str, at: Timestamp) -> Verdict {
    let outcome = if passed { VerdictOutcome::Pass } else { VerdictOutcome::Fail };
    Verdict {
        step: GateStep::Provider.into(),
        outcome: outcome.into(),
        reason: if passed { String::new() } else { "provider_rejected".to_owned() },
        detail: detail.to_owned(),
        proof_ids: (!proof.is_empty()).then(|| proof.to_owned()).into_iter().collect(),
        checked_at: Some(at.to_proto()),
        ..Verdict::default()
    }
}

/// Where a provider's event came from.
pub(crate) fn provider_fact(event: &Event) -> Option<&ProviderFact> {
    fact::source(event)
}

#[cfg(test)]
mod tests;
