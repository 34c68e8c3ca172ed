//! Parties.

use chassis::mask::Mask;
use chassis::status::Problem;
use eventstore::{Metadata, Timestamp};
use prost_types::FieldMask;
use rapport_proto::Personal;
use rapport_proto::profiles::v1 as proto;
use rapport_proto::profiles::v1::{Frequency, Verification};
use rapport_proto::types::{Channel, Clear};

use super::{authored_id, choice, choice_or_none, code, id, place, required, validity};
use crate::domain::Invalid;
use crate::domain::attribute::{Changes, MOST_AT_ONCE, Name};
use crate::domain::code::Code;
use crate::domain::contact_point::{Address, Schemes};
use crate::domain::identifier::Identifier;
use crate::domain::party::{
    Command, NewContactPoint, NewIdentifier, Preference, Registration, State, Status,
};
use crate::refusal::Fields;

/// Most identifiers and most contact points of a registration.
const MOST_AT_REGISTRATION: usize = 50;

/// An id that a retry derives again: from who asked for what, with which request id.
pub(crate) fn derived_id(prefix: &str, meta: &Metadata, ordinal: usize) -> String {
    let ordinal = ordinal.to_string();
    let parts = [
        meta.tenant.as_str(),
        &meta.actor.subject,
        &meta.method,
        &meta.request_id,
        prefix,
        &ordinal,
    ];
    eventstore::derive_id(prefix, &parts)
}

pub(crate) fn registration(
    request: &proto::RegisterPartyRequest,
    meta: &Metadata,
    schemes: Schemes,
) -> Result<Registration, Problem> {
    let mut fields = Fields::default();
    let kind = choice(&mut fields, "kind", request.kind);
    let place = place(&mut fields, &request.market, &request.language, &request.time_zone);
    let source_id = match request.source_id.as_str() {
        "" => Some(String::new()),
        source_id => authored_id(&mut fields, "source_id", source_id),
    };
    let attributes = changes(&mut fields, &request.attributes, &request.personal_attributes, &[]);
    let identifiers =
        listed(&mut fields, "identifiers", &request.identifiers, |fields, field, it, _| {
            identifier(fields, field, it)
        });
    let contact_points = listed(
        &mut fields,
        "contact_points",
        &request.contact_points,
        |fields, field, it, ordinal| {
            contact_point(fields, field, it, derived_id("cpt", meta, ordinal), schemes)
        },
    );
    let whole = || {
        Some(Registration {
            kind: kind?,
            place: place?,
            source_id: source_id?,
            attributes,
            identifiers: identifiers?,
            contact_points: contact_points?,
        })
    };
    fields.finish(whole())
}

/// Parses a list, each element under its own field path; too long a list is not walked.
fn listed<T, R>(
    fields: &mut Fields,
    field: &str,
    list: &[T],
    parse: impl Fn(&mut Fields, &str, &T, usize) -> Option<R>,
) -> Option<Vec<R>> {
    if list.len() > MOST_AT_REGISTRATION {
        fields.refuse(field, format!("Give at most {MOST_AT_REGISTRATION}; add more afterwards."));
        return None;
    }
    let parsed: Vec<_> = list
        .iter()
        .enumerate()
        .map(|(n, it)| parse(fields, &format!("{field}[{n}]"), it, n))
        .collect();
    parsed.into_iter().collect()
}

fn changes(
    fields: &mut Fields,
    clear: &std::collections::BTreeMap<String, Clear>,
    personal: &std::collections::BTreeMap<String, String>,
    removed: &[String],
) -> Changes {
    let mut changes = Changes::default();
    if clear.len() + personal.len() + removed.len() > MOST_AT_ONCE {
        fields.refuse("attributes", format!("Change at most {MOST_AT_ONCE} attributes at once."));
        return changes;
    }
    for (name, value) in clear {
        let set = Name::parse(name).and_then(|name| changes.set_clear(name, value.clone()));
        fields.keep(keyed("attributes", name), set);
    }
    for (name, value) in personal {
        let set = Name::parse(name).and_then(|name| changes.set_personal(name, value));
        fields.keep(keyed("personal_attributes", name), set);
    }
    for (index, name) in removed.iter().enumerate() {
        let set = Name::parse(name).and_then(|name| changes.remove(name));
        fields.keep(format!("remove[{index}]"), set);
    }
    changes
}

/// The path of a map's element; a name that is none itself is not repeated.
fn keyed(field: &str, name: &str) -> String {
    if Name::parse(name).is_ok() { format!("{field}[{name}]") } else { field.to_owned() }
}

fn identifier(fields: &mut Fields, field: &str, it: &proto::Identifier) -> Option<NewIdentifier> {
    let identifier =
        fields.keep(format!("{field}.value"), Identifier::parse(&it.system, &it.value));
    let valid = validity(fields, &format!("{field}.valid"), it.valid.as_ref());
    let verified_by =
        fields.keep(format!("{field}.verified_by"), Code::parse_optional(&it.verified_by));
    Some(NewIdentifier { identifier: identifier?, valid: valid?, verified_by: verified_by? })
}

fn contact_point(
    fields: &mut Fields,
    field: &str,
    it: &proto::ContactPoint,
    contact_point_id: String,
    schemes: Schemes,
) -> Option<NewContactPoint> {
    let verification: Option<Verification> =
        choice_or_none(fields, &format!("{field}.verification"), it.verification);
    let channel = choice(fields, &format!("{field}.channel"), it.channel)?;
    let address =
        fields.keep(format!("{field}.value"), Address::parse(channel, &it.value, schemes));
    let verified = verification? == Verification::Verified;
    Some(NewContactPoint { contact_point_id, address: address?, verified })
}

pub(crate) fn set_attributes(
    request: &proto::SetAttributesRequest,
    _meta: &Metadata,
) -> Result<Command, Problem> {
    let mut fields = Fields::default();
    let changes =
        changes(&mut fields, &request.attributes, &request.personal_attributes, &request.remove);
    let seen = match request.etag.as_str() {
        "" => Some(None),
        text => {
            let version =
                text.parse().map_err(|_| Invalid::value("Use the etag of a party as it was read."));
            fields.keep("etag", version).map(Some)
        }
    };
    fields.require(!changes.is_empty(), "attributes", "Set or remove at least one attribute.");
    fields.finish(seen.map(|seen| Command::SetAttributes { changes, seen }))
}

pub(crate) fn add_identifier(
    request: &proto::AddIdentifierRequest,
    _meta: &Metadata,
) -> Result<NewIdentifier, Problem> {
    let stated = required("identifier", request.identifier.as_ref())?;
    let mut fields = Fields::default();
    let parsed = identifier(&mut fields, "identifier", stated);
    fields.finish(parsed)
}

/// What a caller looks a party up by.
pub(crate) fn lookup(request: &proto::LookupPartyRequest) -> Result<Identifier, Problem> {
    let mut fields = Fields::default();
    let parsed = fields.keep("value", Identifier::parse(&request.system, &request.value));
    fields.finish(parsed)
}

pub(crate) fn remove_identifier(
    request: &proto::RemoveIdentifierRequest,
    _meta: &Metadata,
) -> Result<Command, Problem> {
    let mut fields = Fields::default();
    let reason = code(&mut fields, "reason", &request.reason);
    fields.require(request.number > 0, "number", "Use the number of an identifier of the party.");
    let number = request.number;
    fields.finish(reason.map(|reason| Command::RemoveIdentifier { number, reason }))
}

pub(crate) fn add_contact_point(
    request: &proto::AddContactPointRequest,
    meta: &Metadata,
    schemes: Schemes,
) -> Result<Command, Problem> {
    let stated = required("contact_point", request.contact_point.as_ref())?;
    let mut fields = Fields::default();
    let contact_point_id = derived_id("cpt", meta, 0);
    let parsed = contact_point(&mut fields, "contact_point", stated, contact_point_id, schemes);
    fields.finish(parsed.map(Command::AddContactPoint))
}

pub(crate) fn verify_contact_point(
    request: &proto::VerifyContactPointRequest,
    _meta: &Metadata,
) -> Result<Command, Problem> {
    let mut fields = Fields::default();
    let contact_point_id = id(&mut fields, "contact_point_id", &request.contact_point_id);
    let verified_by = code(&mut fields, "verified_by", &request.verified_by);
    let whole = || {
        Some(Command::VerifyContactPoint {
            contact_point_id: contact_point_id?,
            verified_by: verified_by?,
        })
    };
    fields.finish(whole())
}

pub(crate) fn remove_contact_point(
    request: &proto::RemoveContactPointRequest,
    _meta: &Metadata,
) -> Result<Command, Problem> {
    let mut fields = Fields::default();
    let contact_point_id = id(&mut fields, "contact_point_id", &request.contact_point_id);
    let reason = code(&mut fields, "reason", &request.reason);
    let whole = || {
        Some(Command::RemoveContactPoint { contact_point_id: contact_point_id?, reason: reason? })
    };
    fields.finish(whole())
}

pub(crate) fn move_party(
    request: &proto::MovePartyRequest,
    _meta: &Metadata,
) -> Result<Command, Problem> {
    let mut fields = Fields::default();
    let place = place(&mut fields, &request.market, &request.language, &request.time_zone);
    fields.finish(place.map(Command::Move))
}

pub(crate) fn suppress(
    request: &proto::SuppressPartyRequest,
    _meta: &Metadata,
) -> Result<Command, Problem> {
    let mut fields = Fields::default();
    let reason = code(&mut fields, "reason", &request.reason);
    fields.finish(reason.map(|reason| Command::Suppress { reason }))
}

pub(crate) fn release(
    request: &proto::ReleasePartyRequest,
    _meta: &Metadata,
) -> Result<Command, Problem> {
    let mut fields = Fields::default();
    let reason = code(&mut fields, "reason", &request.reason);
    fields.finish(reason.map(|reason| Command::Release { reason }))
}

pub(crate) fn state_preference(
    request: &proto::StatePreferenceRequest,
    _meta: &Metadata,
) -> Result<Command, Problem> {
    let stated = required("preference", request.preference.as_ref())?;
    let mut fields = Fields::default();
    let channel: Option<Channel> =
        choice_or_none(&mut fields, "preference.channel", stated.channel);
    let topic = fields.keep("preference.topic", Code::parse_optional(&stated.topic));
    let frequency: Option<Frequency> =
        choice(&mut fields, "preference.frequency", stated.frequency);
    let whole = || Some(Preference { channel: channel?, topic: topic?, frequency: frequency? });
    fields.finish(whole().map(Command::StatePreference))
}

/// The reason code an event's envelope carries for a regulated change.
pub(crate) fn reason_of(command: &Command) -> &str {
    match command {
        Command::RemoveIdentifier { reason, .. }
        | Command::RemoveContactPoint { reason, .. }
        | Command::Suppress { reason }
        | Command::Release { reason } => reason.as_str(),
        Command::Register(_)
        | Command::SetAttributes { .. }
        | Command::AddIdentifier(_)
        | Command::AddContactPoint(_)
        | Command::VerifyContactPoint { .. }
        | Command::Move(_)
        | Command::StatePreference(_) => "",
    }
}

/// A party as it was found, and what of it may be shown.
pub(crate) struct Found<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) party_id: &'a str,
    pub(crate) state: State,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    /// Whether the caller may see personal values.
    pub(crate) unsealed: bool,
}

impl Found<'_> {
    pub(crate) fn into_proto(self) -> proto::Party {
        let Self { state, unsealed, .. } = self;
        let personal = |value: &Personal| shown(value, unsealed);
        proto::Party {
            name: chassis::name::print(self.tenant, &[("parties", self.party_id)]),
            party_id: self.party_id.to_owned(),
            kind: state.kind.into(),
            state: status(state.status).into(),
            market: state.market,
            language: state.language,
            time_zone: state.time_zone,
            attributes: state.attributes,
            personal_attributes: (state.personal.iter())
                .filter(|_| unsealed)
                .map(|(name, value)| (name.clone(), personal(value)))
                .collect(),
            identifiers: (state.identifiers.into_iter())
                .map(|(number, it)| proto::Identifier {
                    number,
                    value: personal(&it.value),
                    system: it.system,
                    valid: it.valid.to_proto(),
                    verified_by: it.verified_by,
                })
                .collect(),
            contact_points: (state.contact_points.into_iter())
                .map(|(contact_point_id, it)| proto::ContactPoint {
                    contact_point_id,
                    channel: it.channel.into(),
                    value: personal(&it.value),
                    verification: verification(it.verified).into(),
                })
                .collect(),
            preferences: (state.preferences.into_iter())
                .map(|((channel, topic), frequency)| proto::Preference {
                    channel,
                    topic,
                    frequency: frequency.into(),
                })
                .collect(),
            etag: state.version.to_string(),
            create_time: Some(self.created_at.to_proto()),
            update_time: Some(self.updated_at.to_proto()),
        }
    }
}

/// A personal value, if it may be shown and is not erased.
pub(super) fn shown(value: &Personal, unsealed: bool) -> String {
    value.as_text().filter(|_| unsealed).unwrap_or_default().to_owned()
}

fn status(status: Status) -> proto::party::State {
    match status {
        Status::Unknown => proto::party::State::Unspecified,
        Status::Active => proto::party::State::Active,
        Status::Suppressed => proto::party::State::Suppressed,
        Status::Erased => proto::party::State::Erased,
    }
}

fn verification(verified: bool) -> Verification {
    if verified { Verification::Verified } else { Verification::Unverified }
}

const FIELDS: &[&str] = &[
    "name",
    "party_id",
    "kind",
    "state",
    "market",
    "language",
    "time_zone",
    "attributes",
    "personal_attributes",
    "identifiers",
    "contact_points",
    "preferences",
    "etag",
    "create_time",
    "update_time",
];

/// Which fields a reader wants.
pub(crate) fn read_mask(mask: Option<&FieldMask>) -> Result<Mask, Problem> {
    let paths = mask.map(|it| it.paths.as_slice()).unwrap_or_default();
    Mask::parse(paths, FIELDS)
        .map_err(|_| Problem::field("read_mask", format!("Choose from: *, {}.", FIELDS.join(", "))))
}

/// The party with the wanted fields only.
pub(crate) fn masked(party: proto::Party, mask: &Mask) -> proto::Party {
    fn wanted<T: Default>(mask: &Mask, path: &str, value: T) -> T {
        mask.pick(path, value).unwrap_or_default()
    }
    proto::Party {
        name: wanted(mask, "name", party.name),
        party_id: wanted(mask, "party_id", party.party_id),
        kind: wanted(mask, "kind", party.kind),
        state: wanted(mask, "state", party.state),
        market: wanted(mask, "market", party.market),
        language: wanted(mask, "language", party.language),
        time_zone: wanted(mask, "time_zone", party.time_zone),
        attributes: wanted(mask, "attributes", party.attributes),
        personal_attributes: wanted(mask, "personal_attributes", party.personal_attributes),
        identifiers: wanted(mask, "identifiers", party.identifiers),
        contact_points: wanted(mask, "contact_points", party.contact_points),
        preferences: wanted(mask, "preferences", party.preferences),
        etag: wanted(mask, "etag", party.etag),
        create_time: wanted(mask, "create_time", party.create_time),
        update_time: wanted(mask, "update_time", party.update_time),
    }
}
