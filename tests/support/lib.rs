//! What the whole-platform tests stand on: the platform in one process or one per target, on SQLite or
//! on PostgreSQL and NATS, with typed clients.

mod collector;
pub mod mirror;
mod node;
mod platform;
mod proxy;
mod receiver;
mod replicas;
mod web;

use std::io::Write as _;

pub use collector::Collector;
pub use eventstore::testing::Front;
pub use node::Node;
pub use platform::{Client, Ground, Platform, TESTER, Topology, eventually};
pub use proxy::{Fate, Proxy};
pub use rapport::demo::Time;
pub use receiver::{Receiver, python};
pub use replicas::{REPLICAS, Replicas};
pub use web::{Message, Web};

/// Tells whoever runs the tests what was seen; what a test that passes prints is hidden.
pub fn tell(line: &str) {
    // Nobody may listen.
    let _ = writeln!(std::io::stderr(), "{line}");
}
