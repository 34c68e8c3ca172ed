//! chassis

pub mod admin;
pub mod assembly;
pub mod auth;
pub mod call;
pub mod command;
pub mod deps;
pub mod event_log;
pub mod layers;
pub mod lifecycle;
pub mod mask;
pub mod methods;
pub mod name;
pub mod page;
pub mod peers;
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
