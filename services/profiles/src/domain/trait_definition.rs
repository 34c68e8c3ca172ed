//! The definition of a computed trait: over interactions of one name, in a window.
//!
//! A definition is live once it is saved; the next version replaces it. What it comes to for a party is computed from
//! the party's interactions and an instant, see [`series`].

use authored::calendar::{self, Period, Zone};
use authored::rule::{Catalogue, Rule, Type};
use eventstore::{Decider, Timestamp};
use rapport_proto::profiles::v1 as proto;
use rapport_proto::profiles::v1::{CalendarWindow, TraitKind, trait_event::Event};

use super::Invalid;

pub(crate) mod series;

/// 24 hours in microseconds.
pub(crate) const DAY: i64 = 86_400_000_000;
/// Half life of a decayed count that states none.
const HALF_LIFE: i64 = 90 * DAY;

/// The aggregate; stream `trait/<id>`.
pub(crate) enum TraitDefinition {}

/// What can be wished of a trait.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Make a definition live; [`Trait::parse`] accepted it.
    Save(Box<proto::Trait>),
}

/// There is nothing to refuse: what a definition needs is checked before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {}

/// What the facts add up to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    /// The live version; 0 when there is none.
    pub(crate) version: u32,
    pub(crate) hash: Vec<u8>,
    pub(crate) definition: proto::Trait,
}

impl Decider for TraitDefinition {
    const AGGREGATE: &'static str = "trait";
    type Command = Command;
    type State = State;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(state: &State, command: Command, _at: Timestamp) -> Result<Vec<Event>, Refusal> {
        let Command::Save(definition) = command;
        let hash = authored::document::hash(&*definition).to_vec();
        if state.version > 0 && state.hash == hash {
            return Ok(Vec::new());
        }
        Ok(vec![Event::Activated(proto::TraitVersionActivated {
            version: state.version.saturating_add(1),
            r#trait: Some(*definition),
            hash,
        })])
    }

    fn evolve(_state: State, event: &Event) -> State {
        let Event::Activated(it) = event;
        State {
            version: it.version,
            hash: it.hash.clone(),
            definition: it.r#trait.clone().unwrap_or_default(),
        }
    }
}

/// A definition that can be computed.
#[derive(Clone, Debug)]
pub(crate) struct Trait {
    pub(crate) id: String,
    pub(crate) kind: Kind,
    pub(crate) event: String,
    /// Empty: every source.
    pub(crate) source: String,
    pub(crate) filter: Option<Rule>,
    pub(crate) window: Window,
}

/// How the value is computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Count,
    /// Of a property.
    Sum(String),
    Last(String),
    First(String),
    DaysSince,
    /// With a half life in microseconds.
    DecayedCount(i64),
}

/// Which interactions count at an instant.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Window {
    /// All that occurred.
    Ever,
    /// Those that occurred within so many microseconds.
    Sliding(i64),
    /// Those of the calendar's unit that the instant lies in.
    Calendar(Zone, Period),
}

/// What is wrong with which field.
pub(crate) type Fault = (&'static str, Invalid);

impl Trait {
    /// Reads a definition, or tells everything that is wrong with it.
    pub(crate) fn parse(stated: &proto::Trait) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let id = keep(&mut faults, "trait", id(&stated.r#trait));
        keep(&mut faults, "description", super::line(&stated.description, 0..=1000));
        let event = keep(&mut faults, "event", super::line(&stated.event, 1..=128));
        let source = keep(&mut faults, "source", source(&stated.source));
        let kind = kind(&mut faults, stated);
        let filter = keep(&mut faults, "where", filter(&stated.r#where));
        let window = window(&mut faults, stated);
        let whole = || {
            Some(Self {
                id: id?.to_owned(),
                kind: kind?,
                event: event?.to_owned(),
                source: source?.to_owned(),
                filter: filter?,
                window: window?,
            })
        };
        match whole() {
            Some(parsed) if faults.is_empty() => Ok(parsed),
            _ => Err(faults),
        }
    }

    /// Whether its value changes without a new interaction.
    pub(crate) fn depends_on_time(&self) -> bool {
        self.window != Window::Ever || matches!(self.kind, Kind::DaysSince | Kind::DecayedCount(_))
    }

    /// The property whose kind is that of the value; none when the value is a number.
    pub(crate) fn property(&self) -> Option<&str> {
        match &self.kind {
            Kind::Sum(property) | Kind::Last(property) | Kind::First(property) => Some(property),
            Kind::Count | Kind::DaysSince | Kind::DecayedCount(_) => None,
        }
    }

    /// Whether interactions of this name and source can count.
    pub(crate) fn looks_at(&self, name: &str, source: &str) -> bool {
        self.event == name && (self.source.is_empty() || self.source == source)
    }
}

fn keep<T>(faults: &mut Vec<Fault>, field: &'static str, parsed: Result<T, Invalid>) -> Option<T> {
    parsed.map_err(|invalid| faults.push((field, invalid))).ok()
}

/// A trait's id is a name in rules.
fn id(text: &str) -> Result<&str, Invalid> {
    let fits = (2..=63).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    fits.then_some(text).ok_or(Invalid::value(
        "Start with a lower-case letter, then 1 to 62 of a-z, 0-9 and _: it is a name in rules.",
    ))
}

fn source(text: &str) -> Result<&str, Invalid> {
    let fits = text.is_empty() || chassis::name::is_authored_id(text);
    fits.then_some(text)
        .ok_or(Invalid::value("Name a source by its id, or leave it empty for every source."))
}

fn kind(faults: &mut Vec<Fault>, stated: &proto::Trait) -> Option<Kind> {
    let wanted = TraitKind::try_from(stated.kind).unwrap_or_default();
    let half_life = half_life(faults, wanted, &stated.half_life);
    let property = || stated.property.clone();
    let kind = match wanted {
        TraitKind::Unspecified => {
            let remedy = "Choose COUNT, SUM, LAST, FIRST, DAYS_SINCE or DECAYED_COUNT.";
            faults.push(("kind", Invalid::value(remedy)));
            return None;
        }
        TraitKind::Count => Kind::Count,
        TraitKind::Sum => Kind::Sum(property()),
        TraitKind::Last => Kind::Last(property()),
        TraitKind::First => Kind::First(property()),
        TraitKind::DaysSince => Kind::DaysSince,
        TraitKind::DecayedCount => Kind::DecayedCount(half_life?),
    };
    let needed = matches!(kind, Kind::Sum(_) | Kind::Last(_) | Kind::First(_));
    let given = super::line(&stated.property, 0..=128);
    let named = keep(faults, "property", given)?;
    if needed == named.is_empty() {
        let remedy = "Name a clear property for SUM, LAST and FIRST, and for no other kind.";
        faults.push(("property", Invalid::value(remedy)));
    }
    Some(kind)
}

fn half_life(faults: &mut Vec<Fault>, kind: TraitKind, text: &str) -> Option<i64> {
    if text.is_empty() {
        return Some(HALF_LIFE);
    }
    if kind != TraitKind::DecayedCount {
        let remedy = "Leave it empty: only DECAYED_COUNT has a half life.";
        faults.push(("half_life", Invalid::value(remedy)));
        return None;
    }
    keep(faults, "half_life", span(text))
}

fn filter(text: &str) -> Result<Option<Rule>, Invalid> {
    if text.is_empty() {
        return Ok(None);
    }
    let names = Catalogue::new().open("event");
    Rule::compile(text, &names, &Type::Bool)
        .map(Some)
        .map_err(|problem| Invalid::Rule(problem.to_string()))
}

fn window(faults: &mut Vec<Fault>, stated: &proto::Trait) -> Option<Window> {
    let period = match CalendarWindow::try_from(stated.calendar) {
        Ok(CalendarWindow::Unspecified) => None,
        Ok(CalendarWindow::Day) => Some(Period::Day),
        Ok(CalendarWindow::Week) => Some(Period::Week),
        Ok(CalendarWindow::Month) => Some(Period::Month),
        Ok(CalendarWindow::Year) => Some(Period::Year),
        Err(_) => {
            faults.push(("calendar", Invalid::value("Choose DAY, WEEK, MONTH or YEAR.")));
            return None;
        }
    };
    if !stated.time_zone.is_empty() && period.is_none() {
        let remedy = "Leave it empty: only a calendar window has a zone.";
        faults.push(("time_zone", Invalid::value(remedy)));
    }
    match (stated.window.as_str(), period) {
        ("", None) => Some(Window::Ever),
        ("", Some(period)) => {
            let name = if stated.time_zone.is_empty() { "UTC" } else { &stated.time_zone };
            let zone = Zone::parse(name).map_err(|it| Invalid::value(it.remedy));
            keep(faults, "time_zone", zone).map(|zone| Window::Calendar(zone, period))
        }
        (_, Some(_)) => {
            let remedy = "Give a sliding window or a calendar window, not both.";
            faults.push(("window", Invalid::value(remedy)));
            None
        }
        (text, None) => keep(faults, "window", span(text)).map(Window::Sliding),
    }
}

/// A duration above zero, in microseconds.
fn span(text: &str) -> Result<i64, Invalid> {
    match calendar::duration(text) {
        Ok(micros) if micros > 0 => Ok(micros),
        Ok(_) => Err(Invalid::value("Use a duration above zero, for example 90d.")),
        Err(invalid) => Err(Invalid::value(invalid.remedy)),
    }
}

#[cfg(test)]
mod tests;
