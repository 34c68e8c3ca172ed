//! Sources and what they report.

use chassis::status::Problem;
use prost::Message as _;
use rapport_proto::Personal;
use rapport_proto::profiles::v1 as proto;
use rapport_proto::profiles::v1::{NewInteraction, new_interaction, source};
use rapport_proto::types::ClearKind;

use super::{authored_id, code};
use crate::domain::identifier::Identifier;
use crate::domain::interaction::{self, Code, Raw};
use crate::domain::source::{Command, Field, MOST_FIELDS, State, Status, schema};
use crate::domain::{self, Invalid};
use crate::refusal::Fields;

/// Bytes an interaction may have.
const MOST_BYTES: usize = 64 * 1024;
/// Bytes a sender's digest may have.
const MOST_DIGEST: usize = 64;

/// The source's id and the command that registers it.
pub(crate) fn register(
    request: &proto::RegisterSourceRequest,
) -> Result<(String, Command), Problem> {
    let mut fields = Fields::default();
    let source_id = authored_id(&mut fields, "source_id", &request.source_id);
    let owner = fields.keep("owner", domain::line(&request.owner, 1..=128).map(str::to_owned));
    let clear_fields = clear_fields(&mut fields, &request.clear_fields);
    let write_key_hash = fields.keep("write_key", write_key_hash(&request.write_key));
    let whole = || {
        let command = Command::Register {
            owner: owner?,
            clear_fields: clear_fields?,
            write_key_hash: write_key_hash?,
        };
        Some((source_id?, command))
    };
    fields.finish(whole())
}

/// Only the hash is kept: a key of 16 random characters cannot be guessed from it.
fn write_key_hash(key: &str) -> Result<Vec<u8>, Invalid> {
    let fits = (16..=256).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic());
    match key {
        "" => Ok(Vec::new()),
        key if fits => Ok(eventstore::digest(key.as_bytes()).to_vec()),
        _ => Err(Invalid::value("Use 16 to 256 printable ASCII characters, or leave it empty.")),
    }
}

fn clear_fields(fields: &mut Fields, stated: &[proto::ClearField]) -> Option<Vec<Field>> {
    if stated.len() > MOST_FIELDS {
        fields.refuse("clear_fields", format!("Declare at most {MOST_FIELDS} properties."));
        return None;
    }
    let parsed: Vec<_> = (stated.iter().enumerate())
        .map(|(n, it)| {
            let kind = ClearKind::try_from(it.kind).unwrap_or_default();
            fields.keep(format!("clear_fields[{n}]"), Field::parse(&it.name, kind))
        })
        .collect();
    parsed.into_iter().collect()
}

pub(crate) fn extend(request: &proto::ExtendSourceSchemaRequest) -> Result<Command, Problem> {
    let mut fields = Fields::default();
    fields.require(
        !request.clear_fields.is_empty(),
        "clear_fields",
        "Declare at least one property.",
    );
    let clear_fields = clear_fields(&mut fields, &request.clear_fields);
    fields.finish(clear_fields.map(|clear_fields| Command::Extend { clear_fields }))
}

/// The command, and the reason for the envelope.
pub(crate) fn disable(request: &proto::DisableSourceRequest) -> Result<(Command, String), Problem> {
    let mut fields = Fields::default();
    let reason = code(&mut fields, "reason", &request.reason);
    fields.finish(reason.map(|reason| {
        let text = reason.as_str().to_owned();
        (Command::Disable { reason }, text)
    }))
}

pub(crate) fn source(tenant: &str, source_id: &str, state: State) -> proto::Source {
    let named = match state.status {
        Status::Unknown => source::State::Unspecified,
        Status::Active => source::State::Active,
        Status::Disabled => source::State::Disabled,
    };
    proto::Source {
        name: chassis::name::print(tenant, &[("sources", source_id)]),
        source_id: source_id.to_owned(),
        owner: state.owner,
        state: named.into(),
        clear_fields: (state.clear_fields.into_iter())
            .map(|(name, kind)| proto::ClearField { name, kind: kind.into() })
            .collect(),
    }
}

/// Who a message says did it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Who {
    Nobody,
    Party(String),
    Identifier(Identifier),
    /// Whoever has the identifier, or nobody.
    Perhaps(Identifier),
}

/// A message that can be recorded once its party is known.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) message: interaction::Message,
    pub(crate) who: Who,
}

/// A message that cannot be recorded: why, and what would mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rejected {
    pub(crate) message_id: String,
    pub(crate) code: Code,
    pub(crate) detail: String,
    pub(crate) raw: Raw,
}

/// Reads one message of a source, whose keyed digest is given.
pub(crate) fn report(
    source_id: &str,
    source: &State,
    stated: &NewInteraction,
    body_digest: Vec<u8>,
) -> Result<Report, Rejected> {
    let mut raw = stated.encode_to_vec();
    let message_id = message_id(&stated.message_id);
    let refuse = |code, detail: String, raw: Vec<u8>| Rejected {
        message_id: message_id.unwrap_or_default().to_owned(),
        code,
        detail,
        raw: Raw(raw),
    };
    if raw.len() > MOST_BYTES {
        raw.truncate(MOST_BYTES);
        return Err(refuse(
            Code::TooLarge,
            format!("Send at most {MOST_BYTES} bytes in a message."),
            raw,
        ));
    }
    let Some(message_id) = message_id else {
        let detail = "Give a message_id of 1 to 128 printable ASCII characters.";
        return Err(refuse(Code::Schema, detail.to_owned(), raw));
    };
    if stated.sender_digest.len() > MOST_DIGEST {
        let detail = format!("Give a sender_digest of at most {MOST_DIGEST} bytes.");
        return Err(refuse(Code::Schema, detail, raw));
    }
    if !stated.unusable.is_empty() {
        let known = [Code::TooLarge, Code::BadTime, Code::UnknownType];
        let code = known.into_iter().find(|it| it.as_str() == stated.unusable);
        let detail = "Correct it as its sender was told.".to_owned();
        return Err(refuse(code.unwrap_or(Code::Schema), detail, raw));
    }
    let parsed = parse(source, stated);
    let (name, occurred_at, sorted, who) = match parsed {
        Ok(parsed) => parsed,
        Err((code, detail)) => return Err(refuse(code, detail, raw)),
    };
    let message = interaction::Message {
        source_id: source_id.to_owned(),
        message_id: message_id.to_owned(),
        name,
        occurred_at,
        clear: sorted.clear,
        personal: sorted.personal.map(|it| Raw(it.encode_to_vec())),
        body_digest,
        raw: Raw(raw),
    };
    Ok(Report { message, who })
}

type Parsed = (String, eventstore::Timestamp, schema::Sorted, Who);

fn parse(source: &State, stated: &NewInteraction) -> Result<Parsed, (Code, String)> {
    let name = domain::line(&stated.name, 1..=128).map_err(|_| {
        (Code::UnknownType, "Name what happened in 1 to 128 characters.".to_owned())
    })?;
    let occurred_at = stated.occurred_time.as_ref().and_then(domain::instant).ok_or_else(|| {
        (Code::BadTime, "Give occurred_time, between the years 1 and 9999.".to_owned())
    })?;
    let properties = stated.properties.clone().unwrap_or_default();
    let sorted = schema::sort(&source.clear_fields, properties)
        .map_err(|misfit| (Code::Schema, misfit.to_string()))?;
    let who = match &stated.party {
        None => Who::Nobody,
        Some(new_interaction::Party::PartyId(id)) if chassis::name::is_id(id) => {
            Who::Party(id.clone())
        }
        Some(new_interaction::Party::PartyId(_)) => {
            return Err((Code::UnknownParty, "Use the id of a registered party.".to_owned()));
        }
        Some(new_interaction::Party::Identifier(it)) => {
            let who = if stated.party_optional { Who::Perhaps } else { Who::Identifier };
            Identifier::parse(&it.system, &it.value)
                .map(who)
                .map_err(|invalid| (Code::UnknownParty, invalid.to_string()))?
        }
    };
    Ok((name.to_owned(), occurred_at, sorted, who))
}

/// The id of a message, if it can be one.
pub(crate) fn message_id(text: &str) -> Option<&str> {
    let fits =
        (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    fits.then_some(text)
}

pub(crate) fn interaction(
    interaction_id: &str,
    party_id: &str,
    recorded: proto::InteractionRecorded,
    unsealed: bool,
) -> proto::Interaction {
    let personal = recorded.personal.as_ref().filter(|_| unsealed);
    proto::Interaction {
        interaction_id: interaction_id.to_owned(),
        source_id: recorded.source_id,
        message_id: recorded.message_id,
        name: recorded.name,
        occurred_time: recorded.occurred_at,
        properties: recorded.clear,
        personal_properties: personal.and_then(Personal::as_message),
        party_id: party_id.to_owned(),
    }
}
