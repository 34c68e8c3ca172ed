//! How released shapes of events are read today. Stored bytes never change; old shapes are lifted when they are read,
//! by whichever service reads them.

use prost::Message as _;

use crate::profiles::v1::{PartyContactPointAdded, Verification};

/// Lifts one released shape of an event to the next. Pure.
#[derive(Clone, Copy)]
pub struct Upcaster {
    /// Full protobuf name of the event.
    pub type_name: &'static str,
    /// Schema hash of the shape it lifts, as it stands in envelopes.
    pub from: &'static str,
    /// Schema hash of the shape it makes.
    pub to: &'static str,
    /// The payload in the old shape to the payload in the new one.
    pub upcast: fn(&[u8]) -> Result<Vec<u8>, prost::DecodeError>,
}

/// Every step, oldest first.
pub const UPCASTERS: &[Upcaster] = &[
    // The first shape had `verified` (field 4), the second has `verification` (field 5) beside it.
    Upcaster {
        type_name: "rapport.profiles.v1.PartyContactPointAdded",
        from: "939ce6e044804fa6",
        to: "3a3a3e5ed305d551",
        upcast: verified_to_verification,
    },
];

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
        for step in UPCASTERS {
            let goes_on =
                UPCASTERS.iter().any(|it| it.type_name == step.type_name && it.from == step.to);
            assert!(
                goes_on || crate::schema_of(step.type_name) == step.to,
                "{} has a newer shape: add a step",
                step.type_name
            );
        }
    }
}
