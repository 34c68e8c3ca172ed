//! Writes the samples of the golden corpus that are missing; it never overwrites one, because a sample is what was
//! released. Run it after adding an event: `cargo run -p profiles --example golden`.
//!
//! What a sample is, `eventstore::testing::golden` says.

use eventstore::testing::golden::{Sample, write_missing};
use prost::Message;
use prost_types::Timestamp;
use rapport_proto::Personal;
use rapport_proto::profiles::v1::{
    ClearField, ConsentDenied, ConsentExpired, ConsentGranted, ConsentKey, ConsentProof,
    ConsentWithdrawn, Frequency, InteractionConflicted, InteractionRecorded, InteractionRejected,
    PartyAttributesSet, PartyContactPointAdded, PartyContactPointRemoved,
    PartyContactPointVerified, PartyIdentifierAdded, PartyIdentifierRemoved, PartyMoved,
    PartyRegistered, PartyReleased, PartySuppressed, PreferenceStated, RelationEnded, RelationKind,
    RelationRecorded, Segment, SegmentCrossingExpected, SegmentEntered, SegmentExited,
    SegmentVersionActivated, SourceDisabled, SourceRegistered, SourceSchemaExtended, Trait,
    TraitKind, TraitVersionActivated, Verification, consent_event, interaction_event,
    membership_event, party_event, relation_event, segment_event, source_event, trait_event,
};
use rapport_proto::types::{
    Channel, Clear, ClearKind, Money, PartyKind, Purpose, Regime, Validity, clear,
};

fn main() -> std::io::Result<()> {
    let samples = [
        parties(),
        consents(),
        relations(),
        sources(),
        interactions(),
        segments(),
        vec![first_contact_point()],
    ];
    write_missing(env!("CARGO_MANIFEST_DIR"), samples.into_iter().flatten())
}

/// The first released shape: `verified` instead of `verification`.
fn first_contact_point() -> Sample {
    let today = PartyContactPointAdded {
        contact_point_id: "cpt_0kn2wznbkeq4zc9pa7b84q2m0f".into(),
        channel: Channel::Sms.into(),
        value: sealed(2),
        verification: Verification::Verified.into(),
        ..Default::default()
    };
    let mut first = PartyContactPointAdded { verification: 0, ..today.clone() };
    #[expect(deprecated, reason = "the first shape")]
    {
        first.verified = true;
    }
    let event = party_event::Event::ContactPointAdded(today);
    Sample {
        schema: "939ce6e044804fa6".into(),
        payload: first.encode_to_vec(),
        ..Sample::of(1, &event)
    }
}

fn sealed(seed: u8) -> Option<Personal> {
    Some(Personal::Sealed {
        key_id: "key_4r2c9m0t6qhx8vw3n5y7zp1kdg".into(),
        nonce: vec![seed; 24],
        ciphertext: (0..32).map(|byte| byte ^ seed).collect(),
    })
}

fn time(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds: 1_767_225_600 + seconds, nanos: 250_000_000 })
}

fn clear(value: clear::Value) -> Clear {
    Clear { value: Some(value) }
}

fn parties() -> Vec<Sample> {
    use party_event::Event;
    let contact_point_id = || "cpt_0kn2wznbkeq4zc9pa7b84q2m0f".to_owned();
    let euros = Money { currency_code: "EUR".into(), units: -12, nanos: -500_000_000 };
    let facts = [
        Event::Registered(PartyRegistered {
            kind: PartyKind::Hcp.into(),
            market: "DE".into(),
            language: "de".into(),
            time_zone: "Europe/Berlin".into(),
            source_id: "crm".into(),
        }),
        Event::AttributesSet(PartyAttributesSet {
            clear: [
                ("licence_valid".to_owned(), clear(clear::Value::Flag(true))),
                ("specialty".to_owned(), clear(clear::Value::Code("oncology".into()))),
                ("score".to_owned(), clear(clear::Value::Number(0.25))),
                ("spend".to_owned(), clear(clear::Value::Money(euros))),
                ("since".to_owned(), clear(clear::Value::Time(Timestamp { seconds: 1, nanos: 2 }))),
            ]
            .into(),
            personal: sealed(1),
            removed: vec!["tier".into()],
        }),
        Event::IdentifierAdded(PartyIdentifierAdded {
            number: 1,
            system: "npi".into(),
            value: sealed(3),
            valid: Some(Validity { from: time(0), until: time(60) }),
            verified_by: "nppes".into(),
        }),
        Event::IdentifierRemoved(PartyIdentifierRemoved { number: 1, reason: "error".into() }),
        Event::ContactPointVerified(PartyContactPointVerified {
            contact_point_id: contact_point_id(),
            verified_by: "double-opt-in".into(),
        }),
        Event::ContactPointRemoved(PartyContactPointRemoved {
            contact_point_id: contact_point_id(),
            reason: "bounced".into(),
        }),
        Event::Moved(PartyMoved {
            market: "AT".into(),
            language: "de-AT".into(),
            time_zone: "Europe/Vienna".into(),
        }),
        Event::Suppressed(PartySuppressed { reason: "complaint".into() }),
        Event::Released(PartyReleased { reason: "mistake".into() }),
        Event::PreferenceStated(PreferenceStated {
            channel: Channel::Email.into(),
            topic: "congress".into(),
            frequency: Frequency::Less.into(),
        }),
    ];
    let added = Event::ContactPointAdded(PartyContactPointAdded {
        contact_point_id: contact_point_id(),
        channel: Channel::Email.into(),
        value: sealed(4),
        verification: Verification::Unverified.into(),
        ..Default::default()
    });
    facts.iter().map(|fact| Sample::of(1, fact)).chain([Sample::of(2, &added)]).collect()
}

fn consents() -> Vec<Sample> {
    use consent_event::Event;
    let key = || {
        Some(ConsentKey {
            party_id: "pty_0kn2wznbkeq4zc9pa7b84q2m0f".into(),
            purpose: Purpose::Promotional.into(),
            channel: Channel::Email.into(),
            sender_id: "northwind".into(),
            market: "DE".into(),
        })
    };
    let proof = || {
        Some(ConsentProof {
            regime_shown: Regime::OptIn.into(),
            source: "paper-form".into(),
            evidence: sealed(5),
            text_version: "v3".into(),
            language: "de".into(),
            captured_at: time(0),
            effective_at: time(10),
        })
    };
    [
        Event::Granted(ConsentGranted { key: key(), proof: proof(), expires_at: time(100) }),
        Event::Denied(ConsentDenied { key: key(), proof: proof() }),
        Event::Withdrawn(ConsentWithdrawn {
            key: key(),
            proof: proof(),
            reason: "unsubscribe".into(),
        }),
        Event::Expired(ConsentExpired {
            key: key(),
            granted_at: time(10),
            effective_at: time(100),
        }),
    ]
    .iter()
    .map(|fact| Sample::of(1, fact))
    .collect()
}

fn relations() -> Vec<Sample> {
    use relation_event::Event;
    [
        Event::Recorded(RelationRecorded {
            kind: RelationKind::CoveredBy.into(),
            from_party_id: "pty_0kn2wznbkeq4zc9pa7b84q2m0f".into(),
            to_party_id: "pty_4r2c9m0t6qhx8vw3n5y7zp1kdg".into(),
            role: "primary".into(),
            product_id: "northwind-oncology".into(),
            valid: Some(Validity { from: time(0), until: None }),
        }),
        Event::Ended(RelationEnded { ended_at: time(5), reason: "territory-change".into() }),
    ]
    .iter()
    .map(|fact| Sample::of(1, fact))
    .collect()
}

fn sources() -> Vec<Sample> {
    use source_event::Event;
    let field = |name: &str, kind: ClearKind| ClearField { name: name.into(), kind: kind.into() };
    [
        Event::Registered(SourceRegistered {
            owner: "web team".into(),
            clear_fields: vec![field("total", ClearKind::Money), field("sku", ClearKind::Code)],
            write_key_hash: vec![7; 32],
        }),
        Event::SchemaExtended(SourceSchemaExtended {
            clear_fields: vec![field("vip", ClearKind::Flag)],
        }),
        Event::Disabled(SourceDisabled { reason: "retired".into() }),
    ]
    .iter()
    .map(|fact| Sample::of(1, fact))
    .collect()
}

fn interactions() -> Vec<Sample> {
    use interaction_event::Event;
    let (source_id, message_id) = (|| "web".to_owned(), || "m-1".to_owned());
    [
        Event::Recorded(InteractionRecorded {
            source_id: source_id(),
            message_id: message_id(),
            name: "Order Completed".into(),
            occurred_at: time(0),
            stated_at: time(900),
            clear: [("sku".to_owned(), clear(clear::Value::Code("NW-7".into())))].into(),
            personal: sealed(6),
            body_digest: vec![9; 32],
        }),
        Event::Rejected(InteractionRejected {
            source_id: source_id(),
            message_id: message_id(),
            code: "schema".into(),
            raw: sealed(7),
        }),
        Event::Conflicted(InteractionConflicted {
            source_id: source_id(),
            message_id: message_id(),
            raw: sealed(8),
        }),
    ]
    .iter()
    .map(|fact| Sample::of(1, fact))
    .collect()
}

fn segments() -> Vec<Sample> {
    let segment_id = "lapsing".to_owned();
    let party_id = "pty_0kn2wznbkeq4zc9pa7b84q2m0f".to_owned();
    let orders = Trait {
        r#trait: "orders_90d".into(),
        description: "Orders within ninety days".into(),
        kind: TraitKind::Count.into(),
        event: "Order Completed".into(),
        source: "web".into(),
        r#where: "event.total >= 10".into(),
        window: "90d".into(),
        ..Default::default()
    };
    let lapsing = Segment {
        segment: segment_id.clone(),
        description: "Ordered before, not lately".into(),
        rule: "traits.days_since_order >= 90 && traits.orders >= 2".into(),
    };
    let hash = |seed: u8| (0..32).map(|byte| byte ^ seed).collect();
    let activated = trait_event::Event::Activated(TraitVersionActivated {
        version: 2,
        r#trait: Some(orders),
        hash: hash(1),
    });
    let saved = segment_event::Event::Activated(SegmentVersionActivated {
        version: 3,
        segment: Some(lapsing),
        hash: hash(2),
    });
    let entered = membership_event::Event::Entered(SegmentEntered {
        segment_id: segment_id.clone(),
        version: 3,
        party_id: party_id.clone(),
        cause_position: 0,
        crossed_at: time(90 * 86_400),
    });
    let exited = membership_event::Event::Exited(SegmentExited {
        segment_id: segment_id.clone(),
        version: 3,
        party_id: party_id.clone(),
        cause_position: 4_711,
        crossed_at: time(95 * 86_400),
    });
    let expected = membership_event::Event::CrossingExpected(SegmentCrossingExpected {
        segment_id,
        version: 3,
        party_id,
        due_at: time(185 * 86_400),
    });
    let memberships = [entered, exited, expected];
    [Sample::of(1, &activated), Sample::of(1, &saved)]
        .into_iter()
        .chain(memberships.iter().map(|fact| Sample::of(1, fact)))
        .collect()
}
