//! # How a process runs
//!
//! Everything a service needs around its domain, and nothing of any domain: settings, telemetry, callers, the layers
//! around every RPC, errors on the wire, peers, health, shutdown. No SQL of its own.
//!
//! The smallest complete service: a name, a schema for its store, and a function from its means to a value.
//!
//! ```no_run
//! use chassis::assembly::Target;
//! use chassis::lifecycle::Shutdown;
//! use chassis::service::Service;
//! use chassis::settings::{Settings, Sources};
//!
//! const NOTES: Target = Target {
//!     name: "notes",
//!     schema: eventstore::Schema::default,
//!     reasons: &[],
//!     // A real one adds `.serve(chassis::limited!(NoteServiceServer::new(api), deps.max_message_bytes))`.
//!     service: |_deps| Service::new(),
//! };
//!
//! # async fn main_() -> Result<(), Box<dyn std::error::Error>> {
//! let settings = Settings::load(&Sources::from_environment())?;
//! let shutdown = Shutdown::new();
//! shutdown.on_signals()?;
//! let process = chassis::run::start(&[NOTES], settings, shutdown).await?;
//! if let Some(token) = &process.token {
//!     eprintln!("authorization: Bearer {}", token.reveal());
//! }
//! process.stopped().await?;
//! # Ok(()) }
//! ```
//!
//! **A call.** [`layers`] stand inside the routes, so that a call over the network and one from a target in the same
//! process meet the same: trace and metrics, panics, deadline, load, token, permission, the tenant's pace; then the
//! handler, which finds its [`auth::Caller`] in the request's extensions. The handler takes its [`eventstore::Metadata`] from
//! [`deps::Deps::metadata`], answers refusals as a [`status::Problem`], and calls other targets through
//! [`peers::Peers`].
//!
//! **A process.** [`run::start`] binds both ports, opens and migrates the stores, builds the services of its targets,
//! refuses any RPC without a permission, starts relays, consumers and workers, and turns ready when every latch of
//! [`readiness`] is. [`tls`] is at the listener and on the way to other targets, and renews itself.
//! [`lifecycle::Shutdown`] takes it down in two stages.
//!
//! What must not be found here: a target's name outside [`auth::edges`]; a status code outside [`status`]; a task
//! that nobody waits for; a token, a key or a person's data in a log line.

pub mod admin;
pub mod assembly;
pub mod auth;
pub mod call;
pub mod command;
pub mod deps;
mod edge;
pub mod event_log;
pub mod layers;
pub mod lifecycle;
pub mod mask;
pub mod methods;
pub mod name;
pub mod page;
pub mod peers;
pub mod rate;
pub mod readiness;
pub mod request_id;
pub mod root_key;
pub mod run;
pub mod service;
pub mod settings;
pub mod simulation;
pub mod status;
pub mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
pub mod text;
pub mod tls;
pub mod token;

pub use assembly::Target;
pub use auth::Caller;
pub use call::Call;
pub use deps::Deps;
pub use service::Service;
pub use status::{Problem, Reason, Violation};
