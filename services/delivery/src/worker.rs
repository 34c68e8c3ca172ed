//! Carries touches from step to step when their timers fall due.
//!
//! ```text
//! timer ─→ gather ─→ judge ─→ commit TouchReady + TouchAttempted ─→ hand over ─→ commit TouchSent | …
//!              └──────── again, when more than 5 s lie between ────────┘
//! ```
//!
//! The gate's verdicts, the places under the caps and the attempt are one unit, committed before the provider is called:
//! after a crash the attempt's own timer asks what became of it, and never sends a second message. An error of a peer is
//! no verdict: the timer fires again.

mod gather;
mod in_force;
mod recall;
mod reports;

use std::sync::Arc;
use std::time::Duration;

use chassis::auth::ServiceKeys;
use chassis::deps::Deps;
use eventstore::{
    AsOf, Error, Loaded, Metadata, Outcome as Committed, Store, Timer, TimerHandler, Timestamp,
    failpoint,
};
use futures::future::BoxFuture;

use crate::adapters::{Adapters, Message, Told};
use crate::domain::touch::{Command, Outcome, State, Status, Touch, is_unasked};
use crate::gate::{self, Gathered, Judgement};
use crate::ledger::Ledger;
use crate::link;
use crate::metrics;
use crate::view::provider_event::TAKEN;
use crate::view::task::RECALL;
use crate::view::{EXPIRY, REPORT, STEP, touch_of};
use gather::{Facts, Gatherer};

/// What was gathered longer ago than this lets nothing pass.
const FRESH: Duration = Duration::from_secs(5);
/// How often the gate starts again at once.
const RUNS: usize = 4;
/// How often a unit is decided anew because others of the party got ahead.
const TRIES: usize = 32;
/// An attempt of which nothing is known after this long is given up. Adapters end sooner.
pub(crate) const GIVES_UP: Duration = Duration::from_secs(120);
/// How often a provider is asked.
const ATTEMPTS: u32 = 10;
/// Pause before the second attempt; doubled each time up to the longest.
const SHORTEST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// As soon as possible, and yet another firing than the one that says so.
pub(crate) const SOON: Duration = Duration::from_millis(1);

/// Handles the timers of touches.
#[derive(Clone)]
pub(crate) struct Worker {
    gatherer: Arc<Gatherer>,
    adapters: Adapters,
    /// Under which survey forms are reached.
    survey_url: Arc<str>,
    service_keys: ServiceKeys,
}

/// What a run of the gate came to.
enum Run {
    /// There is nothing more to do.
    Done,
    /// It passed, and is to be handed over.
    Passed(Box<Passed>),
    /// What was gathered is too old.
    Stale,
}

struct Passed {
    /// As the commit left it.
    ledger: Ledger,
    touch: State,
    gathered: Gathered,
    gathered_at: Timestamp,
}

impl TimerHandler for Worker {
    fn fire<'a>(
        &'a self,
        store: &'a Store,
        timer: &'a Timer,
        meta: Metadata,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            if timer.kind == RECALL {
                return recall::recall(store, timer, meta).await;
            }
            if timer.kind == REPORT {
                return reports::look_again(store, &timer.key.id, meta).await;
            }
            let touch_id = touch_of(&timer.key.id);
            let touch = store.load::<Touch>(&meta.tenant, touch_id, AsOf::Now).await?;
            match (timer.kind.as_str(), touch.state.status) {
                (STEP | EXPIRY, _) if touch.state.awaits_gate() => {
                    Box::pin(self.pass(store, touch, meta)).await
                }
                (STEP, Status::Sending) => self.give_up(store, touch, meta).await,
                (STEP, Status::Unknown) => {
                    let elapsed =
                        Command::Resolve { by: "elapsed", sent: true, reason: String::new() };
                    let ledger = Ledger::of(store, &meta.tenant, touch).await?;
                    commit(store, ledger, touch_id, meta, elapsed).await
                }
                (EXPIRY, Status::Open | Status::Accepted) => {
                    let ledger = Ledger::of(store, &meta.tenant, touch).await?;
                    commit(store, ledger, touch_id, meta, Command::Expire).await
                }
                // Something else was faster; the firing is spent.
                _ => Ok(()),
            }
        })
    }
}

impl Worker {
    pub(crate) fn new(deps: &Deps) -> Self {
        Self {
            gatherer: Arc::new(Gatherer::new(deps)),
            adapters: Adapters::new(&deps.settings.delivery, deps.store.keys()),
            survey_url: deps.settings.survey_url().into(),
            service_keys: deps.service_keys.clone(),
        }
    }

    /// Runs the gate from step 1, and hands over what passes.
    async fn pass(
        &self,
        store: &Store,
        mut touch: Loaded<State>,
        meta: Metadata,
    ) -> Result<(), Error> {
        let adapter = self.adapters.of(touch.state.channel());
        let touch_id = touch.state.request.touch_id.clone();
        for _ in 0..RUNS {
            let (gathered_at, request) = (store.clock().now(), touch.state.request.clone());
            // Read before the streams: they include at least what stands up to here.
            let position = store.head().position;
            // The party's own streams are read beside the peers' answers, once: the commit insists that they still stand
            // as they were read, so that nothing which happens meanwhile is missed.
            let (mut facts, ledger) = futures::try_join!(
                Box::pin(self.gatherer.gather(&meta, &request, gathered_at)),
                Ledger::of(store, &meta.tenant, touch),
            )?;
            facts.gathered.position = position;
            let run = Gate { store, meta: &meta, touch_id: &touch_id, gathered_at, adapter };
            match Box::pin(run.conclude(facts, ledger)).await? {
                Run::Done => return Ok(()),
                Run::Stale => {}
                Run::Passed(passed) => return Box::pin(self.hand_over(store, meta, *passed)).await,
            }
            touch = store.load::<Touch>(&meta.tenant, &touch_id, AsOf::Now).await?;
            if !touch.state.awaits_gate() {
                return Ok(());
            }
        }
        Err(Error::unavailable("what the gate needs takes longer than it stays true"))
    }

    /// Calls the provider, outside any transaction, and notes what it told.
    async fn hand_over(&self, store: &Store, meta: Metadata, passed: Passed) -> Result<(), Error> {
        let Passed { ledger, touch, gathered, gathered_at } = passed;
        let now = store.clock().now();
        let told = if now.since(gathered_at) > FRESH {
            Told::Later { code: "stale".into() }
        } else {
            self.send(store, &meta.tenant, &touch, gathered, now).await
        };
        failpoint::reach("provider_after_call").await;
        note(store, meta, ledger, &touch, told).await
    }

    async fn send(
        &self,
        store: &Store,
        tenant: &str,
        touch: &State,
        gathered: Gathered,
        now: Timestamp,
    ) -> Told {
        let mut message = message(store, tenant, gathered, now);
        let invitation_id = &touch.request.invitation_id;
        if !invitation_id.is_empty() {
            let put = link::personalise(
                &mut message,
                &self.service_keys,
                &self.survey_url,
                invitation_id,
            );
            if let Err(code) = put {
                return Told::Refused { code: code.into() };
            }
        }
        failpoint::reach("provider_before_call").await;
        self.adapters.send(&touch.adapter, &message).await
    }

    /// Asks what became of an attempt that nobody has heard of since.
    async fn give_up(
        &self,
        store: &Store,
        touch: Loaded<State>,
        meta: Metadata,
    ) -> Result<(), Error> {
        let state = touch.state.clone();
        let ledger = Ledger::of(store, &meta.tenant, touch).await?;
        let id = &state.request.touch_id;
        let told = self.adapters.look_up(&state.adapter, state.channel(), id, "restarted").await;
        let outcome = outcome(&state, told, store.clock().now());
        let concluded = Command::Conclude { attempt: state.attempts, outcome };
        commit(store, ledger, id, meta, concluded).await
    }
}

/// Notes what a provider told. The streams stand as the attempt left them, unless somebody reported meanwhile: they are
/// read again only then.
async fn note(
    store: &Store,
    meta: Metadata,
    ledger: Ledger,
    touch: &State,
    told: Told,
) -> Result<(), Error> {
    // The firing was spent by the attempt; what came of it is another command.
    let request_id = format!("{}/{}", meta.request_id, touch.attempts);
    let meta = Metadata {
        request_id,
        method: "handover".into(),
        fires: None,
        at: store.clock().now(),
        ..meta
    };
    let outcome = outcome(touch, told, meta.at);
    let concluded = Command::Conclude { attempt: touch.attempts, outcome };
    commit(store, ledger, &touch.request.touch_id, meta, concluded).await
}

/// Commits a command on a touch with its consequences.
async fn commit(
    store: &Store,
    mut ledger: Ledger,
    touch_id: &str,
    meta: Metadata,
    command: Command,
) -> Result<(), Error> {
    for _ in 0..TRIES {
        if ledger.decide(touch_id, command.clone(), meta.at).is_err() || !ledger.is_changed() {
            return Ok(());
        }
        reports::place(store, &mut ledger, touch_id, &meta).await?;
        match append(store, &ledger, meta.clone()).await? {
            Appended::Yes | Appended::Elsewhere => return Ok(()),
            Appended::Conflict => {}
        }
        ledger = Ledger::open(store, &meta.tenant, &[touch_id.to_owned()]).await?;
    }
    Err(Error::unavailable(format!("{touch_id} kept changing")))
}

/// One run of the gate.
struct Gate<'a> {
    store: &'a Store,
    meta: &'a Metadata,
    touch_id: &'a str,
    gathered_at: Timestamp,
    adapter: &'static str,
}

impl Gate<'_> {
    /// Judges what was gathered together with what the store holds of the party, and commits what follows. When a
    /// stream was added to meanwhile, an unsubscription for example or a place that somebody else took, the unit is
    /// refused, and what stands now is judged.
    async fn conclude(&self, mut facts: Facts, mut ledger: Ledger) -> Result<Run, Error> {
        let Self { store, touch_id, gathered_at, .. } = *self;
        for _ in 0..TRIES {
            let touch = ledger.touch(touch_id);
            if !touch.awaits_gate() {
                return Ok(Run::Done);
            }
            let tenant = &self.meta.tenant;
            let address = (facts.contact_point_id(), facts.same_address());
            let neighbours = ledger.open_neighbours(store, tenant, address).await?;
            let at = store.clock().now();
            if at.since(gathered_at) > FRESH {
                return Ok(Run::Stale);
            }
            facts.complete(touch.request, &ledger, &neighbours);
            let judgement = gate::judge(&facts.gathered, at);
            ledger.insist();
            let verdict = metrics::verdict(&judgement.outcome);
            let wish = command(judgement, facts.market(), self.adapter, at);
            if ledger.decide(touch_id, wish, at).is_err() {
                return Ok(Run::Done);
            }
            match append(store, &ledger, Metadata { at, ..self.meta.clone() }).await? {
                Appended::Yes => {
                    metrics::judged(&verdict, &facts.gathered);
                    return Ok(self.passed(facts.gathered, ledger));
                }
                Appended::Elsewhere => return Ok(Run::Done),
                // Perhaps it moves again: that is one of the things that change a touch.
                Appended::Conflict if facts.gathered.stands_still() => return Ok(Run::Stale),
                Appended::Conflict => {}
            }
            facts.gathered.position = store.head().position;
            ledger = Ledger::open(store, tenant, &[touch_id.to_owned()]).await?;
        }
        Err(Error::unavailable(format!("the streams of {touch_id} kept changing")))
    }

    fn passed(&self, gathered: Gathered, mut ledger: Ledger) -> Run {
        ledger.committed();
        let touch = ledger.touch(self.touch_id);
        // The commit placed a task itself; what is not sent again is unknown.
        if touch.status != Status::Sending {
            return Run::Done;
        }
        Run::Passed(Box::new(Passed { ledger, touch, gathered, gathered_at: self.gathered_at }))
    }
}

/// What a judgement wishes of the touch.
fn command(judgement: Judgement, market: String, adapter: &'static str, at: Timestamp) -> Command {
    let Judgement { verdicts, outcome } = judgement;
    match outcome {
        gate::Outcome::Ready(ready) => {
            Command::HandOver { ready: *ready, adapter, gives_up_at: at.plus(GIVES_UP) }
        }
        gate::Outcome::Skip { reason, content } => {
            Command::Skip { reason, verdicts, content, market }
        }
        gate::Outcome::Defer { until, time_zone } => {
            Command::Defer { until, verdicts, time_zone, market }
        }
    }
}

/// What an adapter's answer means for the touch. An attempt of which nobody was asked is no provider's no: the gate
/// starts again, and ends the touch itself when it is out of date.
fn outcome(touch: &State, told: Told, now: Timestamp) -> Outcome {
    let again = |code: String, in_doubt: bool| {
        if is_unasked(&code, in_doubt) {
            let often = (touch.unasked + 1).checked_sub(ATTEMPTS).filter(|it| *it > 0);
            return Outcome::Again { at: now.plus(often.map_or(SOON, pause)), code, in_doubt };
        }
        let asked = touch.attempts.saturating_sub(touch.unasked);
        let at = now.plus(pause(asked));
        match asked >= ATTEMPTS || at >= touch.expires_at() {
            true if in_doubt || touch.in_doubt => Outcome::Unknown { code },
            true => Outcome::Refused { code },
            false => Outcome::Again { at, code, in_doubt },
        }
    };
    match told {
        Told::Taken { provider_id } => Outcome::Sent { provider_id },
        Told::Refused { code } => Outcome::Refused { code },
        Told::Unknown { code } => Outcome::Unknown { code },
        Told::Later { code } => again(code, false),
        Told::Repeat { code } => again(code, true),
    }
}

/// How long a provider is left in peace that was asked so often.
fn pause(asked: u32) -> Duration {
    SHORTEST_PAUSE.saturating_mul(1 << asked.saturating_sub(1).min(10)).min(LONGEST_PAUSE)
}

fn message(store: &Store, tenant: &str, gathered: Gathered, at: Timestamp) -> Message {
    let Gathered { request, recipient, content, sender, .. } = gathered;
    let (recipient, content) = (recipient.unwrap_or_default(), content.unwrap_or_default());
    Message {
        unsubscribe_token: crate::token::mint(store.keys(), tenant, &request.touch_id),
        tenant: tenant.to_owned(),
        channel: request.channel(),
        touch_id: request.touch_id,
        sender: sender.unwrap_or_default(),
        contact_point_id: recipient.contact_point_id,
        address: recipient.address,
        subject: content.subject,
        text: content.text,
        html: content.html,
        render_hash: content.render_hash,
        at,
    }
}

/// What became of a unit.
enum Appended {
    Yes,
    /// Somebody else did it.
    Elsewhere,
    Conflict,
}

async fn append(store: &Store, ledger: &Ledger, meta: Metadata) -> Result<Appended, Error> {
    let unit = ledger.unit(store, meta).await.map_err(|error| match error {
        eventstore::UnitError::Store(it) => it,
        other => Error::corrupt(other.to_string()),
    })?;
    match store.append(unit).await {
        Committed::Committed { .. } => Ok(Appended::Yes),
        Committed::Repeated { .. } | Committed::Superseded | Committed::RequestReused => {
            Ok(Appended::Elsewhere)
        }
        Committed::Conflict => Ok(Appended::Conflict),
        // A provider's event was recorded by another request meanwhile.
        Committed::Refused(reason) if reason == TAKEN => Ok(Appended::Conflict),
        Committed::Refused(reason) => Err(Error::corrupt(reason)),
        Committed::Failed(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
