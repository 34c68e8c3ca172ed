//! One suite, every adapter: {SQLite, PostgreSQL} × {embedded log, JetStream 2.9, current JetStream}.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::disallowed_methods, reason = "tests stop what they spawn by a token")]

mod append;
mod backups;
mod consumers;
mod faults;
mod firing;
mod kills;
mod logs;
mod parking;
mod passing;
mod rig;
mod roles;
mod runs;
mod secrets;
mod timing;
