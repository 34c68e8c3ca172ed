//! What events of other services say that can matter to a journey.

use std::collections::BTreeMap;

use eventstore::{Error, Recorded};
use prost::Message;
use rapport_proto::delivery::v1 as delivery;
use rapport_proto::journeys::v1::Crossing;
use rapport_proto::profiles::v1 as profiles;
use rapport_proto::types::Clear;

/// What an event says that can matter here.
pub(super) enum News {
    Interaction { name: String, properties: BTreeMap<String, Clear> },
    Crossed { segment: String, crossing: Crossing },
    Changed(Change),
    Settled { verdict: &'static str, detail: String },
}

/// What changed about a party.
#[derive(Default)]
pub(super) struct Change {
    /// What rules call it.
    pub(super) roots: &'static [&'static str],
    pub(super) interaction: Option<(String, BTreeMap<String, Clear>)>,
    /// The zone may be another one now.
    pub(super) moved: bool,
    pub(super) attributes: Vec<String>,
}

impl Change {
    pub(super) fn of(roots: &'static [&'static str]) -> Self {
        Self { roots, ..Self::default() }
    }

    /// An interaction changes traits; segments that follow from them have events of their own.
    pub(super) fn interaction(name: String, properties: BTreeMap<String, Clear>) -> Self {
        Self { interaction: Some((name, properties)), ..Self::of(&["traits"]) }
    }
}

/// `None` for what cannot.
pub(super) fn read(event: &Recorded) -> Result<Option<News>, Error> {
    let payload = &*event.envelope.payload;
    let Some(name) = event.envelope.r#type.strip_prefix("rapport.") else { return Ok(None) };
    Ok(Some(match name {
        "profiles.v1.InteractionRecorded" => {
            let it: profiles::InteractionRecorded = decode(payload)?;
            News::Interaction { name: it.name, properties: it.clear.into_iter().collect() }
        }
        "profiles.v1.SegmentEntered" => {
            let it: profiles::SegmentEntered = decode(payload)?;
            News::Crossed { segment: it.segment_id, crossing: Crossing::Entered }
        }
        "profiles.v1.SegmentExited" => {
            let it: profiles::SegmentExited = decode(payload)?;
            News::Crossed { segment: it.segment_id, crossing: Crossing::Exited }
        }
        "profiles.v1.PartyMoved" => {
            News::Changed(Change { moved: true, ..Change::of(&["party", "consent"]) })
        }
        "profiles.v1.PartyAttributesSet" => {
            let it: profiles::PartyAttributesSet = decode(payload)?;
            let attributes = it.clear.into_keys().chain(it.removed).collect();
            News::Changed(Change { attributes, ..Change::of(&["attributes"]) })
        }
        "profiles.v1.PartySuppressed" | "profiles.v1.PartyReleased" => {
            News::Changed(Change::of(&["party"]))
        }
        "profiles.v1.ConsentGranted"
        | "profiles.v1.ConsentDenied"
        | "profiles.v1.ConsentWithdrawn"
        | "profiles.v1.ConsentExpired" => News::Changed(Change::of(&["consent"])),
        "delivery.v1.TouchSent" => News::Settled { verdict: "sent", detail: String::new() },
        "delivery.v1.TouchSkipped" => {
            let it: delivery::TouchSkipped = decode(payload)?;
            News::Settled { verdict: "skipped", detail: it.reason }
        }
        "delivery.v1.TouchFailed" => {
            let it: delivery::TouchFailed = decode(payload)?;
            News::Settled { verdict: "failed", detail: it.code }
        }
        // A touch of which nothing is known yet is waited for until it is resolved.
        "delivery.v1.TouchResolved" => {
            let it: delivery::TouchResolved = decode(payload)?;
            let verdict = if it.sent { "sent" } else { "failed" };
            News::Settled { verdict, detail: if it.sent { String::new() } else { it.by } }
        }
        _ => return Ok(None),
    }))
}

fn decode<M: Message + Default>(payload: &[u8]) -> Result<M, Error> {
    M::decode(payload).map_err(|it| Error::corrupt(format!("an event of another service: {it}")))
}
