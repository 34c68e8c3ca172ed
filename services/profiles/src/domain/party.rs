//! A party: who a customer is and how to reach them.

use std::collections::{BTreeMap, BTreeSet};

use eventstore::{About, Decider, Timestamp};
use rapport_proto::Personal;
use rapport_proto::profiles::v1 as proto;
use rapport_proto::profiles::v1::{Frequency, Verification, party_event::Event};
use rapport_proto::types::{Channel, Clear, PartyKind};

use super::attribute::Changes;
use super::code::Code;
use super::contact_point::Address;
use super::identifier::{self, Identifier};
use super::place::Place;
use super::validity::Validity;

/// Most identifiers, contact points and preferences of one party: a stream stays short enough to fold at every command.
pub(crate) const MOST_OF_EACH: usize = 200;
/// Most attributes of one party.
pub(crate) const MOST_ATTRIBUTES: usize = 1000;
/// Reason of an identifier that was added again with another validity or verification.
const REPLACED: &str = "replaced";

/// The aggregate; stream `party/<pty id>`.
pub(crate) enum Party {}

/// What can be wished of a party.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Make the party known.
    Register(Box<Registration>),
    /// Set and remove attributes; refused if the party changed since the version given.
    SetAttributes { changes: Changes, seen: Option<u64> },
    /// Say that an external identifier names the party.
    AddIdentifier(NewIdentifier),
    /// Say that an identifier no longer names the party.
    RemoveIdentifier { number: u32, reason: Code },
    /// Say that the party can be reached at an address.
    AddContactPoint(NewContactPoint),
    /// Say that an address is the party's.
    VerifyContactPoint { contact_point_id: String, verified_by: Code },
    /// Say that the party is no longer reached at an address.
    RemoveContactPoint { contact_point_id: String, reason: Code },
    /// Move to another market, language or time zone.
    Move(Place),
    /// Stop every contact.
    Suppress { reason: Code },
    /// End the suppression.
    Release { reason: Code },
    /// State how often the party wants to hear about a topic.
    StatePreference(Preference),
}

/// A new party.
#[derive(Clone, Debug)]
pub(crate) struct Registration {
    pub(crate) kind: PartyKind,
    pub(crate) place: Place,
    pub(crate) source_id: String,
    pub(crate) attributes: Changes,
    pub(crate) identifiers: Vec<NewIdentifier>,
    pub(crate) contact_points: Vec<NewContactPoint>,
}

/// An identifier to add.
#[derive(Clone, Debug)]
pub(crate) struct NewIdentifier {
    pub(crate) identifier: Identifier,
    pub(crate) valid: Validity,
    pub(crate) verified_by: Option<Code>,
}

/// A contact point to add.
#[derive(Clone, Debug)]
pub(crate) struct NewContactPoint {
    pub(crate) contact_point_id: String,
    pub(crate) address: Address,
    pub(crate) verified: bool,
}

/// A preference; no channel means every channel, no topic every topic.
#[derive(Clone, Debug)]
pub(crate) struct Preference {
    pub(crate) channel: Channel,
    pub(crate) topic: Option<Code>,
    pub(crate) frequency: Frequency,
}

/// Why a wish was not granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the party is not known")]
    Unknown,
    #[error("the party is known with another kind")]
    OtherKind,
    #[error("a party of this kind cannot have an identifier of this system")]
    NotForKind,
    #[error("the party is erased")]
    Erased,
    #[error("the party changed since it was read")]
    Changed,
    #[error("the party has no such identifier")]
    NoIdentifier,
    #[error("the party has no such contact point")]
    NoContactPoint,
    #[error("the party has as many {0} as a party can have")]
    Full(&'static str),
}

/// Whether a party may be contacted and changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Status {
    /// Not registered.
    #[default]
    Unknown,
    Active,
    Suppressed,
    /// The subject key is destroyed: a personal value came back erased.
    Erased,
}

/// What the facts add up to. Personal values are [`Personal`]: they are never printed, and may be erased.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    /// Number of facts so far: the version of the stream.
    pub(crate) version: u64,
    pub(crate) status: Status,
    pub(crate) kind: PartyKind,
    pub(crate) market: String,
    pub(crate) language: String,
    pub(crate) time_zone: String,
    pub(crate) attributes: BTreeMap<String, Clear>,
    pub(crate) personal: BTreeMap<String, Personal>,
    /// Identifiers that hold, by number.
    pub(crate) identifiers: BTreeMap<u32, HeldIdentifier>,
    /// The highest number given so far.
    pub(crate) last_number: u32,
    /// Contact points in use, by id.
    pub(crate) contact_points: BTreeMap<String, HeldContactPoint>,
    /// Frequency by channel (its number) and topic.
    pub(crate) preferences: BTreeMap<(i32, String), Frequency>,
}

/// An identifier that holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HeldIdentifier {
    pub(crate) system: String,
    pub(crate) value: Personal,
    pub(crate) valid: Validity,
    pub(crate) verified_by: String,
}

/// A contact point in use.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HeldContactPoint {
    pub(crate) channel: Channel,
    pub(crate) value: Personal,
    pub(crate) verified: bool,
    /// Version of the stream at which it was added.
    pub(crate) since: u64,
}

impl State {
    /// The contact point by which a channel reaches the party: a verified one before others, then the oldest.
    pub(crate) fn contact_point(&self, channel: Channel) -> Option<(&str, &HeldContactPoint)> {
        (self.contact_points.iter())
            .filter(|(_, held)| held.channel == channel)
            .min_by_key(|(_, held)| (!held.verified, held.since))
            .map(|(id, held)| (id.as_str(), held))
    }
}

impl Decider for Party {
    const AGGREGATE: &'static str = "party";
    type Command = Command;
    type State = State;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(state: &State, command: Command, _at: Timestamp) -> Result<Vec<Event>, Refusal> {
        match (&command, state.status) {
            (_, Status::Erased) => return Err(Refusal::Erased),
            (Command::Register(new), Status::Unknown) => return register(new),
            (Command::Register(new), _) if new.kind != state.kind => {
                return Err(Refusal::OtherKind);
            }
            (Command::Register(_), _) => return Ok(Vec::new()),
            (_, Status::Unknown) => return Err(Refusal::Unknown),
            (_, Status::Active | Status::Suppressed) => {}
        }
        let mut draft = Draft::of(state);
        match command {
            Command::Register(_) => {}
            Command::SetAttributes { seen: Some(version), .. } if version != state.version => {
                return Err(Refusal::Changed);
            }
            Command::SetAttributes { changes, .. } => draft.set_attributes(&changes)?,
            Command::AddIdentifier(new) => draft.add_identifier(&new)?,
            Command::RemoveIdentifier { number, reason } => {
                draft.remove_identifier(number, &reason)?
            }
            Command::AddContactPoint(new) => draft.add_contact_point(&new)?,
            Command::VerifyContactPoint { contact_point_id, verified_by } => {
                draft.verify_contact_point(contact_point_id, &verified_by)?;
            }
            Command::RemoveContactPoint { contact_point_id, reason } => {
                draft.remove_contact_point(contact_point_id, &reason)?;
            }
            Command::Move(place) => draft.move_to(&place),
            Command::Suppress { reason } => draft.suppress(&reason),
            Command::Release { reason } => draft.release(&reason),
            Command::StatePreference(preference) => draft.state_preference(&preference)?,
        }
        Ok(draft.events)
    }

    fn evolve(state: State, event: &Event) -> State {
        evolve(state, event)
    }

    fn about(id: &str, state: &State, _event: &Event) -> About {
        About { party_id: id.to_owned(), market: state.market.clone(), ..About::default() }
    }
}

fn register(new: &Registration) -> Result<Vec<Event>, Refusal> {
    let mut draft = Draft::of(&State::default());
    draft.add(Event::Registered(proto::PartyRegistered {
        kind: new.kind.into(),
        market: new.place.market.as_str().to_owned(),
        language: new.place.language_text(),
        time_zone: new.place.time_zone_text(),
        source_id: new.source_id.clone(),
    }));
    draft.set_attributes(&new.attributes)?;
    for identifier in &new.identifiers {
        draft.add_identifier(identifier)?;
    }
    for contact_point in &new.contact_points {
        draft.add_contact_point(contact_point)?;
    }
    Ok(draft.events)
}

/// Facts about to be stated, and what they would add up to: a command that states several sees its own.
struct Draft {
    state: State,
    events: Vec<Event>,
}

impl Draft {
    fn of(state: &State) -> Self {
        Self { state: state.clone(), events: Vec::new() }
    }

    fn add(&mut self, event: Event) {
        self.state = evolve(std::mem::take(&mut self.state), &event);
        self.events.push(event);
    }

    fn set_attributes(&mut self, changes: &Changes) -> Result<(), Refusal> {
        let state = &self.state;
        let clear: BTreeMap<_, _> = (changes.clear.iter())
            .filter(|(name, value)| state.attributes.get(*name) != Some(value))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let values: BTreeMap<_, _> = (changes.personal.iter())
            .filter(|(name, value)| {
                state.personal.get(*name).and_then(Personal::as_text) != Some(value.as_str())
            })
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let removed: Vec<_> = (changes.removed.iter())
            .filter(|name| {
                state.attributes.contains_key(*name) || state.personal.contains_key(*name)
            })
            .cloned()
            .collect();
        if clear.is_empty() && values.is_empty() && removed.is_empty() {
            return Ok(());
        }
        let personal =
            (!values.is_empty()).then(|| Personal::message(&proto::PersonalAttributes { values }));
        self.add(Event::AttributesSet(proto::PartyAttributesSet { clear, personal, removed }));
        let count = self.state.attributes.len() + self.state.personal.len();
        room(count <= MOST_ATTRIBUTES, "attributes")
    }

    fn add_identifier(&mut self, new: &NewIdentifier) -> Result<(), Refusal> {
        if !identifier::fits(new.identifier.system(), self.state.kind) {
            return Err(Refusal::NotForKind);
        }
        let verified_by = super::code::text(new.verified_by.as_ref());
        let known = self.state.identifiers.iter().find(|(_, held)| held.is(&new.identifier));
        if let Some((number, held)) = known {
            if held.valid == new.valid && held.verified_by == verified_by {
                return Ok(());
            }
            let removed =
                proto::PartyIdentifierRemoved { number: *number, reason: REPLACED.into() };
            self.add(Event::IdentifierRemoved(removed));
        }
        room(self.state.identifiers.len() < MOST_OF_EACH, "identifiers")?;
        self.add(Event::IdentifierAdded(proto::PartyIdentifierAdded {
            number: self.state.last_number.saturating_add(1),
            system: new.identifier.system().to_owned(),
            value: Some(Personal::text(new.identifier.value())),
            valid: new.valid.to_proto(),
            verified_by,
        }));
        Ok(())
    }

    fn remove_identifier(&mut self, number: u32, reason: &Code) -> Result<(), Refusal> {
        if self.state.identifiers.contains_key(&number) {
            let reason = reason.as_str().to_owned();
            self.add(Event::IdentifierRemoved(proto::PartyIdentifierRemoved { number, reason }));
            return Ok(());
        }
        let was_removed = (1..=self.state.last_number).contains(&number);
        if was_removed { Ok(()) } else { Err(Refusal::NoIdentifier) }
    }

    fn add_contact_point(&mut self, new: &NewContactPoint) -> Result<(), Refusal> {
        let known = self.state.contact_points.iter().find(|(_, held)| held.is(&new.address));
        if let Some((id, held)) = known {
            if new.verified && !held.verified {
                let id = id.clone();
                self.add(Event::ContactPointVerified(proto::PartyContactPointVerified {
                    contact_point_id: id,
                    verified_by: "stated".into(),
                }));
            }
            return Ok(());
        }
        room(self.state.contact_points.len() < MOST_OF_EACH, "contact points")?;
        let verification =
            if new.verified { Verification::Verified } else { Verification::Unverified };
        self.add(Event::ContactPointAdded(proto::PartyContactPointAdded {
            contact_point_id: new.contact_point_id.clone(),
            channel: new.address.channel().into(),
            value: Some(Personal::text(new.address.value())),
            verification: verification.into(),
            ..Default::default()
        }));
        Ok(())
    }

    fn verify_contact_point(&mut self, id: String, verified_by: &Code) -> Result<(), Refusal> {
        let held = self.state.contact_points.get(&id).ok_or(Refusal::NoContactPoint)?;
        if !held.verified {
            self.add(Event::ContactPointVerified(proto::PartyContactPointVerified {
                contact_point_id: id,
                verified_by: verified_by.as_str().to_owned(),
            }));
        }
        Ok(())
    }

    fn remove_contact_point(&mut self, id: String, reason: &Code) -> Result<(), Refusal> {
        if !self.state.contact_points.contains_key(&id) {
            return Err(Refusal::NoContactPoint);
        }
        self.add(Event::ContactPointRemoved(proto::PartyContactPointRemoved {
            contact_point_id: id,
            reason: reason.as_str().to_owned(),
        }));
        Ok(())
    }

    fn move_to(&mut self, place: &Place) {
        let moved = proto::PartyMoved {
            market: place.market.as_str().to_owned(),
            language: place.language_text(),
            time_zone: place.time_zone_text(),
        };
        let state = &self.state;
        let stays = (&state.market, &state.language, &state.time_zone)
            == (&moved.market, &moved.language, &moved.time_zone);
        if !stays {
            self.add(Event::Moved(moved));
        }
    }

    fn suppress(&mut self, reason: &Code) {
        if self.state.status != Status::Suppressed {
            let reason = reason.as_str().to_owned();
            self.add(Event::Suppressed(proto::PartySuppressed { reason }));
        }
    }

    fn release(&mut self, reason: &Code) {
        if self.state.status == Status::Suppressed {
            let reason = reason.as_str().to_owned();
            self.add(Event::Released(proto::PartyReleased { reason }));
        }
    }

    fn state_preference(&mut self, wish: &Preference) -> Result<(), Refusal> {
        let topic = super::code::text(wish.topic.as_ref());
        let key = (i32::from(wish.channel), topic.clone());
        if self.state.preferences.get(&key) == Some(&wish.frequency) {
            return Ok(());
        }
        self.add(Event::PreferenceStated(proto::PreferenceStated {
            channel: wish.channel.into(),
            topic,
            frequency: wish.frequency.into(),
        }));
        room(self.state.preferences.len() <= MOST_OF_EACH, "preferences")
    }
}

fn room(left: bool, what: &'static str) -> Result<(), Refusal> {
    if left { Ok(()) } else { Err(Refusal::Full(what)) }
}

impl HeldIdentifier {
    fn is(&self, other: &Identifier) -> bool {
        self.system == other.system() && self.value.as_text() == Some(other.value())
    }
}

impl HeldContactPoint {
    fn is(&self, other: &Address) -> bool {
        self.channel == other.channel() && self.value.as_text() == Some(other.value())
    }
}

/// A fact that does not fit the state is taken at its word: it was accepted once.
fn evolve(mut state: State, event: &Event) -> State {
    state.version += 1;
    match event {
        Event::Registered(it) => {
            state.kind = it.kind();
            state.status = Status::Active;
            place(&mut state, &it.market, &it.language, &it.time_zone);
        }
        Event::AttributesSet(it) => attributes_set(&mut state, it),
        Event::IdentifierAdded(it) => identifier_added(&mut state, it),
        Event::IdentifierRemoved(it) => {
            state.identifiers.remove(&it.number);
        }
        Event::ContactPointAdded(it) => contact_point_added(&mut state, it),
        Event::ContactPointVerified(it) => {
            if let Some(held) = state.contact_points.get_mut(&it.contact_point_id) {
                held.verified = true;
            }
        }
        Event::ContactPointRemoved(it) => {
            state.contact_points.remove(&it.contact_point_id);
        }
        Event::Moved(it) => place(&mut state, &it.market, &it.language, &it.time_zone),
        Event::Suppressed(_) => turn(&mut state, Status::Suppressed),
        Event::Released(_) => turn(&mut state, Status::Active),
        Event::PreferenceStated(it) => {
            state.preferences.insert((it.channel, it.topic.clone()), it.frequency());
        }
    }
    state
}

/// An erased party stays erased, whatever was said before the key was destroyed.
fn turn(state: &mut State, status: Status) {
    if state.status != Status::Erased {
        state.status = status;
    }
}

fn place(state: &mut State, market: &str, language: &str, time_zone: &str) {
    market.clone_into(&mut state.market);
    language.clone_into(&mut state.language);
    time_zone.clone_into(&mut state.time_zone);
}

fn attributes_set(state: &mut State, set: &proto::PartyAttributesSet) {
    note_erasure(state, set.personal.as_ref());
    let personal: Option<proto::PersonalAttributes> =
        set.personal.as_ref().and_then(Personal::as_message);
    let values = personal.unwrap_or_default().values;
    let touched: BTreeSet<&String> =
        set.clear.keys().chain(values.keys()).chain(&set.removed).collect();
    for name in touched {
        state.attributes.remove(name);
        state.personal.remove(name);
    }
    state.attributes.extend(set.clear.clone());
    state.personal.extend(values.into_iter().map(|(name, value)| (name, Personal::text(value))));
}

fn identifier_added(state: &mut State, added: &proto::PartyIdentifierAdded) {
    note_erasure(state, added.value.as_ref());
    state.last_number = state.last_number.max(added.number);
    state.identifiers.insert(
        added.number,
        HeldIdentifier {
            system: added.system.clone(),
            value: added.value.clone().unwrap_or_default(),
            valid: Validity::of(added.valid.as_ref()),
            verified_by: added.verified_by.clone(),
        },
    );
}

fn contact_point_added(state: &mut State, added: &proto::PartyContactPointAdded) {
    note_erasure(state, added.value.as_ref());
    state.contact_points.insert(
        added.contact_point_id.clone(),
        HeldContactPoint {
            channel: added.channel(),
            value: added.value.clone().unwrap_or_default(),
            verified: added.verification() == Verification::Verified,
            since: state.version,
        },
    );
}

fn note_erasure(state: &mut State, value: Option<&Personal>) {
    if value == Some(&Personal::Erased) {
        state.status = Status::Erased;
    }
}

#[cfg(test)]
mod tests;
