//! What people write and publish: documents, their versions, the rules in them and the calendars
//! that they keep to. A library beside `chassis`; it owns no events, no tables and no calls.
//!
//! | module | what it knows |
//! |---|---|
//! | [`document`] | YAML to and from protobuf messages, with line and column of what is wrong; the hash of a version |
//! | [`version`] | the life of a version: drafted, checked, approved by somebody else, live, retired |
//! | [`rule`] | conditions and values in CEL: checked when written, bounded, three-valued when run |
//! | [`calendar`] | time zones, local times, quiet hours, texts of durations |
//!
//! Services hold what is authored and decide; this crate reads what people wrote and tells them, in
//! their own text, what is wrong with it.

pub mod calendar;
pub mod document;
pub mod rule;
pub mod version;
