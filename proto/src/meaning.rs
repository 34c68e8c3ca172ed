//! The fixed tables of the domain: what follows from what, and is never chosen freely.

use crate::types::{Audience, ContentClass, PartyKind, Purpose};

/// Who a party of a kind counts as when something is said to it.
pub fn audience_of(kind: PartyKind) -> Audience {
    match kind {
        PartyKind::Unspecified => Audience::Unspecified,
        PartyKind::Hcp | PartyKind::Pharmacist => Audience::Hcp,
        PartyKind::Patient => Audience::Patient,
        PartyKind::Caregiver => Audience::Public,
        PartyKind::Payer => Audience::Payer,
        PartyKind::Hco => Audience::Institution,
        PartyKind::Regulator => Audience::Authority,
        PartyKind::Employee => Audience::Internal,
    }
}

/// Why a party is contacted when content of a class is said.
pub fn purpose_of(class: ContentClass) -> Purpose {
    match class {
        ContentClass::Unspecified => Purpose::Unspecified,
        ContentClass::RxPromotional | ContentClass::DiseaseAwareness => Purpose::Promotional,
        ContentClass::MedicalInformation => Purpose::MedicalInformation,
        ContentClass::Service => Purpose::Service,
        ContentClass::Survey => Purpose::Research,
        ContentClass::SafetyCommunication => Purpose::Safety,
        ContentClass::Internal => Purpose::Internal,
    }
}
