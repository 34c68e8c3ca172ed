//! What the whole-platform tests stand on: the platform in one process or one per target, on SQLite or
//! on PostgreSQL and NATS, with typed clients.

pub mod mirror;
mod node;
mod platform;
mod proxy;
mod receiver;
mod web;

pub use node::Node;
pub use platform::{Client, Platform, Topology, eventually};
pub use proxy::{Fate, Proxy};
pub use rapport::demo::Time;
pub use receiver::{Receiver, python};
pub use web::{Message, Web};
