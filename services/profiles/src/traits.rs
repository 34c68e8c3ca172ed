//! Computed traits: values of a party that follow from what it did.

use std::collections::BTreeMap;

use eventstore::{Error, Timestamp};
use rapport_proto::types::{Clear, ClearKind};

use crate::segments::Definitions;

/// Values of a party's traits at an instant, by id; all live traits, or those named. A trait without a value is
/// absent, and so is one that is not live.
pub(crate) async fn values(
    _definitions: &Definitions,
    _tenant: &str,
    _party_id: &str,
    _names: Option<&[String]>,
    _at: Timestamp,
) -> Result<BTreeMap<String, Clear>, Error> {
    Ok(BTreeMap::new())
}

/// What the live traits hold, by id; unspecified when no source declares the property yet.
pub(crate) async fn kinds(
    _definitions: &Definitions,
    _tenant: &str,
) -> Result<BTreeMap<String, ClearKind>, Error> {
    Ok(BTreeMap::new())
}
