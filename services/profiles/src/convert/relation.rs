//! Relations.

use chassis::status::Problem;
use eventstore::Timestamp;
use rapport_proto::profiles::v1 as proto;
use rapport_proto::profiles::v1::RelationKind;

use super::{authored_id, choice, code, id, required, time, validity};
use crate::domain::code::Code;
use crate::domain::relation::{Command, State};
use crate::domain::validity::Validity;
use crate::refusal::Fields;

/// A relation as a caller states it; what the parties are is not theirs to say.
pub(crate) struct Stated {
    pub(crate) kind: RelationKind,
    pub(crate) from_party_id: String,
    pub(crate) to_party_id: String,
    pub(crate) role: Option<Code>,
    pub(crate) product_id: String,
    pub(crate) valid: Validity,
}

pub(crate) fn stated(request: &proto::RecordRelationRequest) -> Result<Stated, Problem> {
    let stated = required("relation", request.relation.as_ref())?;
    let mut fields = Fields::default();
    let kind: Option<RelationKind> = choice(&mut fields, "relation.kind", stated.kind);
    let from_party_id = id(&mut fields, "relation.from_party_id", &stated.from_party_id);
    let to_party_id = id(&mut fields, "relation.to_party_id", &stated.to_party_id);
    let role = fields.keep("relation.role", Code::parse_optional(&stated.role));
    let product_id = match stated.product_id.as_str() {
        "" => Some(String::new()),
        product_id => authored_id(&mut fields, "relation.product_id", product_id),
    };
    let for_product = kind.is_none_or(|kind| kind == RelationKind::CoveredBy);
    fields.require(
        for_product || stated.product_id.is_empty(),
        "relation.product_id",
        "Leave it empty: only COVERED_BY is about a product.",
    );
    let valid = validity(&mut fields, "relation.valid", stated.valid.as_ref());
    let whole = || {
        Some(Stated {
            kind: kind?,
            from_party_id: from_party_id?,
            to_party_id: to_party_id?,
            role: role?,
            product_id: product_id?,
            valid: valid?,
        })
    };
    fields.finish(whole())
}

/// The command, and the reason for the envelope.
pub(crate) fn end(request: &proto::EndRelationRequest) -> Result<(Command, String), Problem> {
    let mut fields = Fields::default();
    let reason = code(&mut fields, "reason", &request.reason);
    let at: Option<Option<Timestamp>> = time(&mut fields, "end_time", request.end_time.as_ref());
    let whole = || {
        let reason = reason?;
        let text = reason.as_str().to_owned();
        Some((Command::End { at: at?, reason }, text))
    };
    fields.finish(whole())
}

pub(crate) fn relation(relation_id: &str, state: &State) -> proto::Relation {
    let recorded = state.recorded.clone().unwrap_or_default();
    let mut valid = Validity::of(recorded.valid.as_ref());
    // Whichever end comes first is the end.
    valid.until = [valid.until, state.ended_at].into_iter().flatten().min();
    proto::Relation {
        relation_id: relation_id.to_owned(),
        kind: recorded.kind,
        from_party_id: recorded.from_party_id,
        to_party_id: recorded.to_party_id,
        role: recorded.role,
        product_id: recorded.product_id,
        valid: valid.to_proto(),
    }
}
