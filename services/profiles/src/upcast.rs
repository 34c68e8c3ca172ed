//! How released shapes of events are read today. Stored bytes never change; old shapes are lifted when they are read.

use eventstore::Upcaster;
use prost::Message as _;
use rapport_proto::profiles::v1::{PartyContactPointAdded, Verification};

/// Every step, oldest first.
pub(crate) fn upcasters() -> Vec<Upcaster> {
    vec![Upcaster {
        type_name: "rapport.profiles.v1.PartyContactPointAdded",
        from: FIRST_CONTACT_POINT_ADDED,
        to: SECOND_CONTACT_POINT_ADDED,
        upcast: verified_to_verification,
    }]
}

/// The shape with `verified` (field 4), before `verification` (field 5).
pub(crate) const FIRST_CONTACT_POINT_ADDED: &str = "939ce6e044804fa6";
/// The shape with both.
pub(crate) const SECOND_CONTACT_POINT_ADDED: &str = "3a3a3e5ed305d551";

/// The first shape knew only whether an address was verified.
fn verified_to_verification(payload: &[u8]) -> Result<Vec<u8>, prost::DecodeError> {
    let mut added = PartyContactPointAdded::decode(payload)?;
    #[expect(deprecated, reason = "the one place that reads the first shape")]
    let verified = std::mem::take(&mut added.verified);
    let verification = if verified { Verification::Verified } else { Verification::Unverified };
    added.set_verification(verification);
    Ok(added.encode_to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_step_makes_todays_shape() {
        let made = upcasters().into_iter().map(|it| (it.type_name, it.to)).collect::<Vec<_>>();
        for (type_name, schema) in made {
            assert_eq!(
                rapport_proto::schema_of(type_name),
                schema,
                "{type_name} has a newer shape: add a step"
            );
        }
    }
}
