//! # How facts are kept
//!
//! A service decides with two pure functions ([`Decider`]) and keeps what it decided in its own
//! [`Store`]: SQLite or PostgreSQL, the same code on both. The shared [`Log`] carries the facts to the
//! other services: a view on the stores in one process, NATS JetStream between many.
//!
//! **Write path.** [`Store::execute`] loads and folds the stream, decides, encodes each event once
//! ([`Unit`]), and hands the unit to the committer. One transaction takes many waiting units: it locks
//! the head row first, finds repeats and conflicts by reading, then writes events, request ids, views
//! and timers, moves the head and commits. Positions are 1, 2, 3 … in commit order without a gap, and
//! `chain_n = SHA-256(chain_{n-1} ‖ n ‖ SHA-256(bytes_n))` binds each event to all before it.
//!
//! **Read path.** A [`View`] is SQL written from events in the same transaction. A [`Consumer`] of
//! another service reads the log after its own checkpoint, checks gaps and the chain, and moves the
//! checkpoint in the transaction of its effects.
//!
//! **The log.** The [`relay`] publishes position *n* with the expected last sequence *n − 1*, so the
//! stream's sequence is the position and the server refuses everything else. Either side can refill the
//! other; two histories are told apart by their chains and nobody writes until a person decides.
//!
//! **Operation.** [`roles`] says what serving may do in the database, [`status`] how a store stands, [`metric`] what a
//! metric is; [`backup`] copies a store into a file and back.
//!
//! What must not be found here: gRPC, a domain, a clock or random source that is not an argument.

pub mod backup;
mod codec;
mod commit;
pub mod consumer;
mod decider;
mod error;
mod event;
#[doc(hidden)]
pub mod failpoint;
mod ids;
mod keys;
pub mod lease;
mod loads;
mod log;
pub mod metric;
mod metrics;
mod migrate;
mod reconcile;
pub mod relay;
mod replay;
pub mod roles;
mod secret;
mod sql;
pub mod status;
mod store;
#[cfg(feature = "testing")]
pub mod testing;
mod time;
pub mod timers;
mod together;
pub mod trace;
mod unit;
mod view;

pub use codec::lift;
pub use commit::Outcome;
pub use consumer::{Consumer, Handler, Parked, Reactor, SourceReader};
pub use decider::{Decider, fold};
pub use error::Error;
pub use event::{
    About, CheckpointMove, Hash, Head, Metadata, ORIGIN, Recorded, Stored, digest, next_chain,
};
pub use ids::{Ids, derive_id, draw, hex};
pub use keys::{DataKey, KeyState, Keyring};
pub use lease::Lease;
pub use log::{Batch, Log, NatsLog, NatsOptions, Reader, Tail, imported_api, subject_of};
pub use metrics::METRICS;
pub use migrate::Applied;
pub use reconcile::unfence;
pub use replay::{Fault, Rebuilt};
pub use secret::{KeyManagement, LocalKeys, Secret};
pub use sql::{Database, DatabaseOptions, Row, Tx, Value, sqlite_file};
pub use store::{AsOf, CommitOptions, ExecuteError, Executed, Loaded, Store, StoreOptions};
pub use time::{Clock, Timestamp};
pub use timers::{TIMER_METHOD, Timer, TimerHandler, TimerKey};
pub use together::Together;
pub use unit::{MAX_EVENTS, MAX_HEADERS, MAX_PAYLOAD, Unit, UnitBuilder, UnitError};
pub use view::{Migration, Schema, TimerOp, View};
