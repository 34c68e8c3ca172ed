//! Traits and segments.

use authored::document;
use chassis::status::{FIELD_INVALID, Problem};
use eventstore::Timestamp;
use prost::Name;
use rapport_proto::profiles::v1 as proto;
use rapport_proto::profiles::v1::{save_segment_request, save_trait_request};
use rapport_proto::types::{VersionInfo, VersionState};

use super::{authored_id, choice};
use crate::domain::membership;
use crate::domain::segment::Question;
use crate::domain::trait_definition::{Fault, Trait};
use crate::refusal::Fields;

/// The definition of a trait, and that it can be computed.
pub(crate) fn save_trait(
    request: &proto::SaveTraitRequest,
) -> Result<(proto::Trait, Trait), Problem> {
    let stated = match &request.definition {
        Some(save_trait_request::Definition::Trait(stated)) => stated.clone(),
        Some(save_trait_request::Definition::Yaml(text)) => yaml(text)?,
        None => return Err(missing()),
    };
    let parsed = Trait::parse(&stated).map_err(|faults| refuse("trait", faults))?;
    Ok((stated, parsed))
}

/// The definition of a segment, not yet checked against the live traits.
pub(crate) fn save_segment(request: &proto::SaveSegmentRequest) -> Result<proto::Segment, Problem> {
    match &request.definition {
        Some(save_segment_request::Definition::Segment(stated)) => Ok(stated.clone()),
        Some(save_segment_request::Definition::Yaml(text)) => yaml(text),
        None => Err(missing()),
    }
}

fn missing() -> Problem {
    Problem::field("definition", "Give the definition as a message or as YAML.")
}

/// Each problem says where in the text it is.
fn yaml<M: prost::Message + Name + Default>(text: &str) -> Result<M, Problem> {
    document::parse(text).map_err(|problems| {
        let message = "the document cannot be read";
        problems.into_iter().fold(Problem::new(FIELD_INVALID, message), |told, problem| {
            told.violation("yaml", problem.to_string())
        })
    })
}

/// Everything that is wrong with a definition.
pub(crate) fn refuse(document: &str, faults: Vec<Fault>) -> Problem {
    let mut fields = Fields::default();
    for (field, invalid) in faults {
        fields.keep(format!("{document}.{field}"), Err::<(), _>(invalid));
    }
    match fields.finish(None::<std::convert::Infallible>) {
        Ok(never) => match never {},
        Err(problem) => problem,
    }
}

/// The consent question of a preview.
pub(crate) fn question(stated: &proto::ConsentQuestion) -> Result<Question, Problem> {
    let mut fields = Fields::default();
    let purpose = choice(&mut fields, "consent.purpose", stated.purpose);
    let channel = choice(&mut fields, "consent.channel", stated.channel);
    let sender_id = authored_id(&mut fields, "consent.sender_id", &stated.sender_id);
    let whole = || Some(Question { purpose: purpose?, channel: channel?, sender_id: sender_id? });
    fields.finish(whole())
}

/// A version that is live since it was drafted.
pub(crate) fn version(number: u32, hash: &[u8], author: String, at: Timestamp) -> VersionInfo {
    VersionInfo {
        version: number,
        state: VersionState::Live.into(),
        hash: eventstore::hex(hash),
        author,
        draft_time: Some(at.to_proto()),
        live_time: Some(at.to_proto()),
        ..VersionInfo::default()
    }
}

pub(crate) fn member(party_id: String, state: &membership::State) -> proto::SegmentMember {
    proto::SegmentMember {
        party_id,
        enter_time: Some(state.since.to_proto()),
        version: state.version,
    }
}
