//! Names as documents, rules and records write them: an enum's value without its prefix.

use rapport_proto::types::{Audience, Channel, ContentClass, PartyKind, Purpose};

/// `EMAIL`.
pub(crate) fn channel(channel: Channel) -> &'static str {
    short(channel.as_str_name(), "CHANNEL_")
}

/// The channel of a name; none for `UNSPECIFIED`.
pub(crate) fn channel_of(name: &str) -> Option<Channel> {
    CHANNELS.into_iter().find(|it| channel(*it) == name)
}

/// `PROMOTIONAL`.
pub(crate) fn purpose(purpose: Purpose) -> &'static str {
    short(purpose.as_str_name(), "PURPOSE_")
}

/// The purpose of a name; none for `UNSPECIFIED`.
pub(crate) fn purpose_of(name: &str) -> Option<Purpose> {
    let found = Purpose::from_str_name(&format!("PURPOSE_{name}"))?;
    (found != Purpose::Unspecified).then_some(found)
}

/// `HCP`.
pub(crate) fn kind(kind: PartyKind) -> &'static str {
    short(kind.as_str_name(), "PARTY_KIND_")
}

/// The kind of a name.
pub(crate) fn kind_of(name: &str) -> PartyKind {
    PartyKind::from_str_name(&format!("PARTY_KIND_{name}")).unwrap_or_default()
}

/// `HCP`.
pub(crate) fn audience(audience: Audience) -> &'static str {
    short(audience.as_str_name(), "AUDIENCE_")
}

fn short(name: &'static str, prefix: &str) -> &'static str {
    name.strip_prefix(prefix).unwrap_or(name)
}

/// Every channel.
pub(crate) const CHANNELS: [Channel; 6] = [
    Channel::Email,
    Channel::Sms,
    Channel::Webhook,
    Channel::Portal,
    Channel::FieldTask,
    Channel::Phone,
];

/// Every audience.
pub(crate) const AUDIENCES: [Audience; 7] = [
    Audience::Hcp,
    Audience::Patient,
    Audience::Public,
    Audience::Payer,
    Audience::Institution,
    Audience::Authority,
    Audience::Internal,
];

/// Every content class.
pub(crate) const CLASSES: [ContentClass; 7] = [
    ContentClass::RxPromotional,
    ContentClass::DiseaseAwareness,
    ContentClass::MedicalInformation,
    ContentClass::Service,
    ContentClass::Survey,
    ContentClass::SafetyCommunication,
    ContentClass::Internal,
];
