//! Reading last year's facts is a test: each event type has at least one sample of its released bytes, and today's code
//! must read all of them as it did when they were written. `examples/golden.rs` writes samples that are missing.

use std::collections::BTreeSet;

use eventstore::testing::golden::{Set, corpus, is_complete, reads_as_released};
use rapport_proto::profiles::v1::{
    consent_event, interaction_event, membership_event, party_event, relation_event, segment_event,
    source_event, trait_event,
};

const CRATE: &str = env!("CARGO_MANIFEST_DIR");

fn sets() -> [Set; 8] {
    [
        Set::of::<consent_event::Event>(),
        Set::of::<interaction_event::Event>(),
        Set::of::<membership_event::Event>(),
        Set::of::<party_event::Event>(),
        Set::of::<relation_event::Event>(),
        Set::of::<segment_event::Event>(),
        Set::of::<source_event::Event>(),
        Set::of::<trait_event::Event>(),
    ]
}

#[test]
fn released_bytes_read_as_they_did() {
    reads_as_released(CRATE, &sets());
}

#[test]
fn every_event_has_a_sample() {
    is_complete(CRATE, &sets());
}

#[test]
fn a_contact_point_is_kept_in_both_released_shapes() {
    let schemas: BTreeSet<_> = corpus(CRATE)
        .into_iter()
        .filter(|it| it.type_name.ends_with(".PartyContactPointAdded"))
        .map(|it| it.schema)
        .collect();
    let step = rapport_proto::UPCASTERS
        .iter()
        .find(|it| it.type_name.ends_with(".PartyContactPointAdded"))
        .expect("a step");
    assert_eq!(schemas, [step.from, step.to].map(str::to_owned).into());
}
