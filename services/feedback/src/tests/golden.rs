//! Reading last year's facts is a test: each event type has at least one sample of its released bytes, and today's code
//! must read all of them as it did when they were written. `examples/golden.rs` writes samples that are missing.

use eventstore::testing::golden::{Set, is_complete, reads_as_released};
use rapport_proto::feedback::v1::{
    asked_event, case_event, invitation_event, response_event, survey_event, text_event,
};

const CRATE: &str = env!("CARGO_MANIFEST_DIR");

fn sets() -> [Set; 6] {
    [
        Set::of::<asked_event::Event>(),
        Set::of::<case_event::Event>(),
        Set::of::<invitation_event::Event>(),
        Set::of::<response_event::Event>(),
        Set::of::<survey_event::Event>(),
        Set::of::<text_event::Event>(),
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
