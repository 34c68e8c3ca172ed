//! Follows events in their order: what they are judged by is read once for all of them, and what one leads to counts
//! for the next.

use std::collections::{BTreeMap, BTreeSet};

use eventstore::{Error, Recorded, Timestamp};

use super::change::Fact;
use super::definitions::{Definitions, Live, LiveSegment};
use super::facts::{self, Asked, Facts, Needs};
use super::path::Occasion;
use super::settle::{Step, horizon};
use super::sweep::{self, Sweep};
use crate::view::membership::{self, Held, Memberships};

/// Turns followed before one event. Who turns more often is left to the timers.
const MOST_TURNS: usize = 32;

/// An event that rules see.
pub(super) struct Heard<'e, 'l> {
    event: &'e Recorded,
    fact: Fact,
    /// Segments of which it can change the outcome, and which follow it.
    concerned: Vec<&'l LiveSegment>,
}

impl<'e, 'l> Heard<'e, 'l> {
    /// What stands only since the event was recorded looks at everybody itself.
    pub(super) fn new(live: &'l Live, event: &'e Recorded, fact: Fact) -> Self {
        let mut concerned = live.concerned(&fact);
        concerned.retain(|it| it.stands.position < event.position);
        Self { event, fact, concerned }
    }
}

/// A party that events are about.
#[derive(Default)]
struct Party {
    /// Which events, in their order.
    events: Vec<usize>,
    segments: BTreeSet<String>,
    needs: Needs,
}

/// What is new about memberships after each of these events of a tenant. What is read first may follow from nothing
/// that is read later: a sweep that is over has moved the memberships, and whoever moved them knew no newer rule pack.
pub(super) async fn walk<'l>(
    definitions: &Definitions,
    live: &'l Live,
    tenant: &str,
    heard: &[Heard<'_, 'l>],
) -> Result<Vec<Vec<Step<'l>>>, Error> {
    let mut found: Vec<Vec<Step<'l>>> = heard.iter().map(|_| Vec::new()).collect();
    let parties = parties(heard);
    let (Some(first), false) = (heard.first(), parties.is_empty()) else { return Ok(found) };
    let pairs: Vec<_> = (parties.iter())
        .flat_map(|(id, it)| it.segments.iter().map(|segment_id| (*id, segment_id.as_str())))
        .collect();
    let store = definitions.store();
    let sweeps = sweep::standing(store, live, tenant).await?;
    let held = membership::of(store.database(), tenant, &pairs).await?;
    let asked: Vec<_> = parties.iter().map(|(id, it)| asked(id, it, heard)).collect();
    let reach = (earliest(heard, &held), first.event.position - 1);
    let (same, (facts, mut consents)) = futures::try_join!(
        definitions.are_still(live, tenant),
        facts::load_until(store, live, tenant, &asked, reach)
    )?;
    if !same {
        return Err(Error::unavailable("definitions or rule packs changed meanwhile"));
    }
    let mut walk = Walk { held, sweeps, horizon: horizon(store) };
    for (party, mut facts) in parties.values().zip(facts) {
        for index in &party.events {
            let Heard { event, fact, concerned } = &heard[*index];
            let mut steps = BTreeMap::new();
            for segment in concerned {
                walk.catch_up(&facts, segment, event.recorded_at(), &mut steps)?;
            }
            if let Fact::Consent(said) = fact {
                consents.note(event.id(), said);
            }
            facts.note(fact, &party.needs, &consents);
            let (at, position) = (event.recorded_at(), event.position);
            for segment in concerned {
                walk.look(&facts, segment, Occasion::Event { at, position }, &mut steps);
            }
            found[*index] = steps.into_values().collect();
        }
    }
    Ok(found)
}

/// The parties that any segment is concerned about.
fn parties<'e>(heard: &[Heard<'e, '_>]) -> BTreeMap<&'e str, Party> {
    let mut parties: BTreeMap<&str, Party> = BTreeMap::new();
    for (index, Heard { event, concerned, .. }) in heard.iter().enumerate() {
        let party = parties.entry(&event.envelope.party_id).or_default();
        party.events.push(index);
        for segment in concerned {
            if party.segments.insert(segment.definition.id.clone()) {
                party.needs.extend(&segment.needs);
            }
        }
    }
    parties.retain(|_, it| !it.segments.is_empty());
    parties
}

fn asked<'a>(party_id: &'a str, party: &'a Party, heard: &'a [Heard<'_, '_>]) -> Asked<'a> {
    let markets = party.events.iter().filter_map(|index| heard[*index].fact.market());
    Asked { markets: markets.collect(), ..Asked::new(party_id, &party.needs) }
}

/// The first instant that is looked at.
fn earliest(heard: &[Heard<'_, '_>], held: &Memberships) -> Timestamp {
    let events = heard.iter().map(|it| it.event.recorded_at());
    let timers = held.values().filter(|it| it.timer_stands).filter_map(|it| it.state.due_at);
    events.chain(timers).min().unwrap_or_default()
}

/// Steps of one event, by segment.
type Steps<'l> = BTreeMap<&'l str, Step<'l>>;

struct Walk<'l> {
    held: Memberships,
    sweeps: Vec<Sweep<'l>>,
    horizon: Timestamp,
}

impl<'l> Walk<'l> {
    /// Does what comes before an event: what time alone turned, and what a sweep finds that is not over. Each looks at
    /// what the event does not change yet.
    fn catch_up(
        &mut self,
        facts: &Facts<'_>,
        segment: &'l LiveSegment,
        at: Timestamp,
        steps: &mut Steps<'l>,
    ) -> Result<(), Error> {
        let mut turned = None;
        for _ in 0..MOST_TURNS {
            let Held { state, timer_stands, .. } = self.membership(facts, segment);
            let due = state.due_at.filter(|it| *timer_stands && *it <= at && turned != Some(*it));
            let due = due.filter(|it| state.since < *it && segment.stands.at < *it);
            let Some(due_at) = due else {
                let swept = self.sweeps.iter().filter(|it| it.looks_at(segment));
                let causes: Vec<u64> = swept.map(|it| it.cause.position).collect();
                for position in causes {
                    self.look(facts, segment, Occasion::Event { at, position }, steps);
                }
                return Ok(());
            };
            turned = Some(due_at);
            self.look(facts, segment, Occasion::Time { due_at }, steps);
        }
        Err(Error::unavailable("more is due than is followed at once"))
    }

    fn look(
        &mut self,
        facts: &Facts<'_>,
        segment: &'l LiveSegment,
        occasion: Occasion,
        steps: &mut Steps<'l>,
    ) {
        let horizon = self.horizon;
        let held = self.membership(facts, segment);
        let Some(step) = Step::of(facts, segment, held, occasion, horizon) else { return };
        match steps.get_mut(segment.definition.id.as_str()) {
            Some(before) => before.join(step),
            None => drop(steps.insert(&segment.definition.id, step)),
        }
    }

    fn membership(&mut self, facts: &Facts<'_>, segment: &LiveSegment) -> &mut Held {
        self.held.entry((facts.party_id.clone(), segment.definition.id.clone())).or_default()
    }
}
