//! Reading last year's facts is a test: each event type has at least one sample of its released bytes, and today's code
//! must read all of them as it did when they were written. `examples/golden.rs` writes samples that are missing.

use eventstore::testing::golden::{Set, is_complete, reads_as_released};
use rapport_proto::delivery::v1::{
    pressure_event, recipient_event, report_event, sender_event, touch_event,
};

const CRATE: &str = env!("CARGO_MANIFEST_DIR");

fn sets() -> [Set; 5] {
    [
        Set::of::<pressure_event::Event>(),
        Set::of::<recipient_event::Event>(),
        Set::of::<report_event::Event>(),
        Set::of::<sender_event::Event>(),
        Set::of::<touch_event::Event>(),
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
