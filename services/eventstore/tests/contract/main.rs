//! One suite, every adapter: {SQLite, PostgreSQL} × {embedded log, JetStream 2.9, current JetStream}.

mod append;
mod consumers;
mod faults;
mod logs;
mod rig;
mod timing;
