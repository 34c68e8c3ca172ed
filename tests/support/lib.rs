//! What the whole-platform tests stand on: the platform in one process or one per target, on SQLite or
//! on PostgreSQL and NATS, with typed clients.

pub mod mirror;
mod node;
mod platform;
mod receiver;
mod time;

pub use node::Node;
pub use platform::{Client, Platform, Topology, eventually};
pub use receiver::{Receiver, certificate};
pub use time::Time;
